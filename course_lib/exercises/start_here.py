"""Questions of chapter 00: how a question behaves, what your machine can do, and how to read the map."""

import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Option, Shapes


def values(case: Case, rng: torch.Generator) -> tuple[Tensor]:
    """Random v `[T, V]`."""
    return (torch.randn(case.T, case.V, generator=rng, dtype=torch.float64).to(case.dtype),)


def mean_reference(v: Tensor) -> Tensor:
    """Row t is the mean of the rows 0 … t; `[T, V]`."""
    return torch.stack([v[: t + 1].mean(0) for t in range(len(v))])


def mean_by_cumsum(v: Tensor) -> Tensor:
    return v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]


def mean_by_matrix(v: Tensor) -> Tensor:
    weights = torch.ones(len(v), len(v), dtype=v.dtype).tril()
    return weights / weights.sum(-1, keepdim=True) @ v


def mean_of_everything(v: Tensor) -> Tensor:
    return v.mean(0).expand_as(v)


def divided_by_T(v: Tensor) -> Tensor:
    return v.cumsum(0) / len(v)


def not_divided(v: Tensor) -> Tensor:
    return v.cumsum(0)


def divided_by_t_from_zero(v: Tensor) -> Tensor:
    return v.cumsum(0) / torch.arange(len(v)).clamp(min=1)[:, None]


def own_token_left_out(v: Tensor) -> Tensor:
    count = torch.arange(len(v)).clamp(min=1)[:, None]
    return (v.cumsum(0) - v) / count


def mean_along_V(v: Tensor) -> Tensor:
    return v.cumsum(1) / torch.arange(1, v.shape[1] + 1)


RUNNING_MEAN = CodeQuestion(
    id="00.1",
    objective="use-check",
    title="A running mean",
    points=1,
    minutes=5,
    difficulty=1,
    inputs=values,
    reference=mean_reference,
    visible=[
        Case("four tokens", T=4, V=2),
        Case("nine tokens", T=9, V=3),
        Case("one token", T=1, V=4),
    ],
    hidden=[Shapes(4)],
    wrong={
        mean_of_everything: "every row is the mean of all tokens, also of later ones: row t may use rows 0 … t.",
        divided_by_T: "you divide by T everywhere; row t averages t + 1 tokens.",
        not_divided: "these are running sums: what turns a sum into a mean?",
        divided_by_t_from_zero: "row t averages t + 1 tokens, not t: counting starts at zero.",
        own_token_left_out: "row t leaves out token t itself.",
        mean_along_V: "you average along the features: the running mean goes along T, the first axis.",
    },
    accepted=[mean_by_cumsum, mean_by_matrix],
)

WHAT_LIMITS = ChoiceQuestion(
    id="00.2",
    objective="machine-rates",
    title="Which rate is the limit?",
    points=1,
    minutes=3,
    difficulty=1,
    question="A machine multiplies matrices at 100 GFLOP/s and moves 20 GB/s to and from memory. One operation "
    "adds two vectors of 100 million float32 numbers: 0.1 GFLOP of arithmetic and 1.2 GB of traffic. What "
    "limits it, and how long does it take at least?",
    options={
        "A": Option(
            "Arithmetic: about 1 ms.",
            why="0.1 GFLOP at 100 GFLOP/s takes 1 ms, but then the numbers must still come and go: compare it "
            "with the time of the traffic.",
        ),
        "B": Option(
            "Memory traffic: about 60 ms.",
            why="1.2 GB at 20 GB/s takes 60 ms, and the arithmetic needs only 1 ms of that: the operation is "
            "memory-bound.",
        ),
        "C": Option(
            "Both equally: about 61 ms, one after the other.",
            why="arithmetic and traffic overlap, so the longer of the two sets the time. Are the two equal here?",
        ),
        "D": Option(
            "Neither: an addition is too simple to have a limit.",
            why="every operation has two lower bounds: its FLOPs over the FLOP rate, and its bytes over the bandwidth.",
        ),
    },
    answer="B",
)

READ_THE_MAP = ChoiceQuestion(
    id="00.3",
    objective="read-map",
    title="The way to chapter 16",
    points=1,
    minutes=3,
    difficulty=1,
    question="You want to know whether linear attention is faster below 100 tokens (chapter 16). Follow its "
    "*learn before* lines back to this chapter. Which set of chapters must you have read on the way?",
    options={
        "A": Option(
            "Only chapter 15, because it alone is listed as chapter 16's prerequisite.",
            why="chapter 15 has prerequisites of its own: follow each of its lines back as well.",
        ),
        "B": Option(
            "All chapters with a smaller number, 00 to 15.",
            why="numbers give an order that works for everybody. The map tells you what *you* need: some of these "
            "chapters lie on no path to chapter 16.",
        ),
        "C": Option(
            "Chapters 01, 04 and 08, which explain linear attention itself.",
            why="they are needed, but chapter 15 measures as well: look for the second line into it.",
        ),
        "D": Option(
            "Chapters 01, 02, 04, 08 and 15.",
            why="15 needs 02 and 08; 08 needs 01 and 04; 04 needs 01; and 01 and 02 need this chapter.",
        ),
    },
    answer="D",
)

QUESTIONS = [RUNNING_MEAN, WHAT_LIMITS, READ_THE_MAP]
