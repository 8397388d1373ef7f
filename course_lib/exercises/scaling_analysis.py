"""Questions of chapter 15: from a table of timings to a claim about growth.

A reader's own times have no key, so the functions are graded on made-up times whose law is known: samples around
c₀ + c₁T + c₂T² with relative noise and a few hiccups, and pairs of curves that cross where they were told to.
"""

import math
from itertools import pairwise
from statistics import fmean, median

import numpy as np
import torch

from .question import Case, ChoiceQuestion, CodeQuestion, Option, Shapes

Curve = dict[int, float]
Samples = dict[int, list[float]]

SHORTEST = 32
FITTED = 4  # the longest lengths, through which an exponent is fitted
NOISE = 0.06
HICCUP = 0.12  # share of the samples during which the machine did something else


def _uniform(rng: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def _noisy(seconds: float, n: int, rng: torch.Generator) -> list[float]:
    """n samples of a time: relative noise, and now and then a hiccup that only ever makes it longer."""
    spread = torch.randn(n, generator=rng, dtype=torch.float64).mul(NOISE).exp()
    slow = 1 + 2 * (torch.rand(n, generator=rng, dtype=torch.float64) < HICCUP)
    return (seconds * spread * slow).tolist()


# --- 15.1 the exponent at the long end ----------------------------------------------------------------


def timings(case: Case, rng: torch.Generator) -> tuple[Samples]:
    """case.T lengths with case.V samples each, around c₀ + c₁T + c₂T²."""
    c0, c1, c2 = _uniform(rng, 2e-4, 8e-4), _uniform(rng, 2e-7, 8e-7), _uniform(rng, 4e-11, 2e-10)
    lengths = [SHORTEST * 2**i for i in range(case.T)]
    return ({T: _noisy(c0 + c1 * T + c2 * T * T, case.V, rng) for T in lengths},)


def _slope(T: list[int], seconds: list[float]) -> float:
    return float(np.polyfit(np.log(T), np.log(seconds), 1)[0])


def _long_end(samples: Samples) -> list[int]:
    return sorted(samples)[-FITTED:]


def exponent_reference(samples: Samples) -> float:
    """Slope of log median over log T through the four longest lengths."""
    T = _long_end(samples)
    return _slope(T, [median(samples[t]) for t in T])


def exponent_by_sums(samples: Samples) -> float:
    """The same, from the sums of least squares and in base 2."""
    points = [(math.log2(T), math.log2(np.median(samples[T]))) for T in _long_end(samples)]
    x0, y0 = (fmean(column) for column in zip(*points, strict=True))
    return sum((x - x0) * (y - y0) for x, y in points) / sum((x - x0) ** 2 for x, _ in points)


def fitted_on_raw_axes(samples: Samples) -> float:
    T = _long_end(samples)
    return float(np.polyfit(T, [median(samples[t]) for t in T], 1)[0])


def overhead_included(samples: Samples) -> float:
    T = sorted(samples)
    return _slope(T, [median(samples[t]) for t in T])


def end_points_only(samples: Samples) -> float:
    T = _long_end(samples)
    return _slope([T[0], T[-1]], [median(samples[T[0]]), median(samples[T[-1]])])


def last_two_only(samples: Samples) -> float:
    T = sorted(samples)[-2:]
    return _slope(T, [median(samples[t]) for t in T])


def minimum_for_median(samples: Samples) -> float:
    T = _long_end(samples)
    return _slope(T, [min(samples[t]) for t in T])


def mean_for_median(samples: Samples) -> float:
    T = _long_end(samples)
    return _slope(T, [fmean(samples[t]) for t in T])


def length_not_logged(samples: Samples) -> float:
    T = _long_end(samples)
    return float(np.polyfit(T, np.log([median(samples[t]) for t in T]), 1)[0])


# --- 15.2 a crossover, or none ------------------------------------------------------------------------

KINDS = ("once", "back", "several", "never", "ragged")


def two_curves(case: Case, rng: torch.Generator) -> tuple[Curve, Curve]:
    """Two curves over case.T lengths whose ratio changes sides as case.kind says.

    once: b is cheaper from some length on. back: a is. several: three changes, the last towards b. never: they come
    nearer and do not meet. ragged: once, but b lacks the two shortest lengths and a the longest.
    """
    lengths = [SHORTEST * 2**i for i in range(case.T)]
    b = [1e-5 * (T / SHORTEST) ** _uniform(rng, 1.0, 1.1) for T in lengths]
    gaps = _gaps(case.kind, case.T, rng)
    a = {T: seconds * math.exp(gap) for T, seconds, gap in zip(lengths, b, gaps, strict=True)}
    b = dict(zip(lengths, b, strict=True))
    if case.kind == "ragged":
        del a[lengths[-1]], b[lengths[0]], b[lengths[1]]
    return a, b


def _gaps(kind: str, n: int, rng: torch.Generator) -> list[float]:
    """log(a / b) at every length: below 0 where a is cheaper."""
    sizes = [_uniform(rng, 0.1, 0.9) for _ in range(n)]
    if kind == "never":
        return [-0.1 * (n - i) - 0.02 * size for i, size in enumerate(sizes)]
    change = 3 + int(_uniform(rng, 0, n - 5))
    signs = [-1 if i < change else 1 for i in range(n)]
    if kind == "several":
        signs[change - 1], signs[change] = 1, -1
    if kind == "back":
        signs = [-sign for sign in signs]
    return [sign * size for sign, size in zip(signs, sizes, strict=True)]


Gap = tuple[int, float]


def _gaps_of(a: Curve, b: Curve) -> list[Gap]:
    return [(T, math.log(a[T] / b[T])) for T in sorted(a.keys() & b.keys())]


def _changes(a: Curve, b: Curve) -> list[tuple[Gap, Gap]]:
    return [pair for pair in pairwise(_gaps_of(a, b)) if pair[0][1] * pair[1][1] < 0]


def _meet(left: Gap, right: Gap) -> float:
    (T0, gap0), (T1, gap1) = left, right
    return T0 * (T1 / T0) ** (gap0 / (gap0 - gap1))


def crossover_reference(a: Curve, b: Curve) -> float | None:
    """The last change of sides, on straight lines between neighbours on log–log axes; None without a change."""
    changes = _changes(a, b)
    return _meet(*changes[-1]) if changes else None


def crossover_from_the_right(a: Curve, b: Curve) -> float | None:
    """The same, walking from the longest length down."""
    T = sorted(set(a) & set(b), reverse=True)
    for right, left in pairwise(T):
        g_left, g_right = np.log([a[left] / b[left], a[right] / b[right]])
        if g_left * g_right < 0:
            share = abs(g_left) / (abs(g_left) + abs(g_right))
            return float(np.exp(np.log(left) + share * (np.log(right) - np.log(left))))
    return None


def first_sample_after(a: Curve, b: Curve) -> float | None:
    changes = _changes(a, b)
    return float(changes[-1][1][0]) if changes else None


def first_change(a: Curve, b: Curve) -> float | None:
    changes = _changes(a, b)
    return _meet(*changes[0]) if changes else None


def extrapolated(a: Curve, b: Curve) -> float | None:
    return crossover_reference(a, b) or _meet(*_gaps_of(a, b)[-2:])


def raw_axes(a: Curve, b: Curve) -> float | None:
    changes = _changes(a, b)
    if not changes:
        return None
    T0, T1 = (T for T, _ in changes[-1])
    d0, d1 = a[T0] - b[T0], a[T1] - b[T1]
    return T0 + (T1 - T0) * d0 / (d0 - d1)


def length_on_a_raw_axis(a: Curve, b: Curve) -> float | None:
    changes = _changes(a, b)
    if not changes:
        return None
    (T0, gap0), (T1, gap1) = changes[-1]
    return T0 + (T1 - T0) * gap0 / (gap0 - gap1)


def one_direction_only(a: Curve, b: Curve) -> float | None:
    changes = [pair for pair in _changes(a, b) if pair[0][1] < 0]
    return _meet(*changes[-1]) if changes else None


def matched_by_position(a: Curve, b: Curve) -> float | None:
    T = sorted(a)
    paired = dict(zip(T, (b[t] for t in sorted(b)), strict=False))
    return crossover_reference(a, paired)


# --- 15.4 four times the longest length ---------------------------------------------------------------


def _medians(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    T = sorted(samples)
    return np.array(T, dtype=float), np.array([median(samples[t]) for t in T])


def _at_four_times(T: np.ndarray, seconds: np.ndarray, degree: int = 2) -> float:
    return float(np.polyval(np.polyfit(T, seconds, degree, w=1 / seconds), 4 * T[-1]))


def prediction_reference(samples: Samples) -> float:
    """c₀ + c₁T + c₂T² through the medians with relative errors, at 4 × the longest T."""
    return _at_four_times(*_medians(samples))


def prediction_by_least_squares(samples: Samples) -> float:
    """The same from a system of equations, each divided by its own time, with T in units of the longest."""
    T, seconds = _medians(samples)
    x = T / T.max()
    rows = np.stack([np.ones_like(x), x, x**2], axis=1) / seconds[:, None]
    c, *_ = np.linalg.lstsq(rows, np.ones_like(x), rcond=None)
    return float(c @ np.array([1.0, 4.0, 16.0]))


def absolute_errors(samples: Samples) -> float:
    T, seconds = _medians(samples)
    return float(np.polyval(np.polyfit(T, seconds, 2), 4 * T[-1]))


def wrong_weights(samples: Samples) -> float:
    T, seconds = _medians(samples)
    return float(np.polyval(np.polyfit(T, seconds, 2, w=1 / seconds**2), 4 * T[-1]))


def power_law_of_all(samples: Samples) -> float:
    T, seconds = _medians(samples)
    return float(np.exp(np.polyval(np.polyfit(np.log(T), np.log(seconds), 1), np.log(4 * T[-1]))))


def sixteen_times_the_last(samples: Samples) -> float:
    return float(16 * _medians(samples)[1][-1])


def four_times_the_last(samples: Samples) -> float:
    return float(4 * _medians(samples)[1][-1])


def square_forgotten(samples: Samples) -> float:
    return _at_four_times(*_medians(samples), degree=1)


def constant_forgotten(samples: Samples) -> float:
    T, seconds = _medians(samples)
    c1, c2 = np.linalg.lstsq(np.stack([T, T**2], axis=1) / seconds[:, None], np.ones_like(T), rcond=None)[0]
    return float(c1 * 4 * T[-1] + c2 * 16 * T[-1] ** 2)


def at_the_longest(samples: Samples) -> float:
    T, seconds = _medians(samples)
    return float(np.polyval(np.polyfit(T, seconds, 2, w=1 / seconds), T[-1]))


def means_fitted(samples: Samples) -> float:
    T, _ = _medians(samples)
    return _at_four_times(T, np.array([fmean(samples[t]) for t in sorted(samples)]))


def _close(case: Case) -> float:
    """Two ways of solving least squares agree to far more than this, and no mistake comes so near."""
    return 1e-6


# --- the declarations ---------------------------------------------------------------------------------

EXPONENT = CodeQuestion(
    id="15.1",
    objective="fit-exponent",
    title="The exponent at the long end",
    points=2,
    minutes=10,
    difficulty=2,
    inputs=timings,
    reference=exponent_reference,
    visible=[
        Case("nine lengths, seven samples each", T=9, V=7, seed=1),
        Case("six lengths, eight samples each", T=6, V=8, seed=2),
        Case("twelve lengths, five samples each", T=12, V=5, seed=3),
    ],
    hidden=[Shapes(6, T=(6, 12), V=(5, 12))],
    wrong={
        fitted_on_raw_axes: "that slope has a unit, seconds a token. An exponent has none: which axes make a "
        "power law a straight line?",
        overhead_included: "the line goes through all lengths, also through those at which the time is mostly "
        "overhead.",
        end_points_only: "only the first and the last of the four lengths are used: noise in either of them "
        "moves the slope, and the other two are wasted.",
        last_two_only: "two lengths are used, four are asked for: with two, all noise goes into the slope.",
        minimum_for_median: "the minimum is the luckiest sample, and its luck differs from length to length: "
        "take the middle one.",
        mean_for_median: "one hiccup moves a mean as far as it likes: which middle does it leave alone?",
        length_not_logged: "the times are logarithms, the lengths are not: that fits an exponential.",
    },
    accepted=[exponent_by_sums],
)

CROSSOVER = CodeQuestion(
    id="15.2",
    objective="locate-crossover",
    title="The last crossing, or none",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=two_curves,
    reference=crossover_reference,
    visible=[
        Case("b overtakes once", T=8, kind="once", seed=1),
        Case("a comes back", T=8, kind="back", seed=2),
        Case("three noisy crossings", T=9, kind="several", seed=3),
        Case("near, but no crossing", T=7, kind="never", seed=4),
        Case("not measured at the same lengths", T=9, kind="ragged", seed=5),
    ],
    hidden=[Shapes(2, T=(7, 10), kind=[kind]) for kind in KINDS],
    wrong={
        first_sample_after: "that is the first length at which the order has changed: the curves met somewhere "
        "before it.",
        first_change: "the curves change places more than once, and this is not the last time.",
        extrapolated: "the two lines meet beyond the longest length, where nobody measured. What should the "
        "function say about a crossing that it has not seen?",
        raw_axes: "the curves are joined by straight lines on raw axes; on log–log axes they meet elsewhere.",
        length_on_a_raw_axis: "the times are compared by logarithms, but T itself is interpolated as it is: the "
        "horizontal axis is logarithmic too.",
        one_direction_only: "only changes in one direction are found: the second curve may also lose its lead.",
        matched_by_position: "the i-th time of one curve is compared with the i-th of the other, though they may "
        "belong to different lengths.",
    },
    accepted=[crossover_from_the_right],
)


def _table(*rows: str) -> str:
    """Rows as they are written here: in one font, with spaces that HTML keeps."""
    return "\n".join(f"`{row}`".replace(" ", "\N{NO-BREAK SPACE}") for row in rows)


WHICH_IS_LINEAR = ChoiceQuestion(
    id="15.3",
    objective="extrapolate",
    title="Which one is linear?",
    points=1,
    minutes=5,
    difficulty=2,
    question="Two models, forward time in milliseconds, noise below 1 %:\n\n"
    + _table(
        "T        256  512  1,024  2,048  4,096",
        "model P  8.1  8.5   10.0   16.0   40.0",
        "model Q  3.0  6.0   12.0   24.0   48.0",
    )
    + "\n\nWhich of them is linear, and what do you expect at T = 16,384?",
    options={
        "A": Option(
            "P: from 256 to 4,096 tokens its time grew only 5-fold. At 16,384 it takes about 60 ms, Q 190 ms.",
            why="a fit over all five lengths gives P an exponent near 0.55, and 60 ms with it. But most of each of P's "
            "first three times is one constant: look at what the last doublings do.",
        ),
        "B": Option(
            "Both, and P stays ahead: four times the length is four times the time, 160 ms against 192 ms.",
            why="Q doubles with every doubling. P's last doubling multiplied its time by 2.5, more than a linear "
            "model's can, and that factor is still rising.",
        ),
        "C": Option(
            "Q, with about 190 ms. P is about 8 ms plus a quadratic rest, which gives about 520 ms.",
            why="Q doubles at each step, and 8 + 2 (T / 1,024)² fits all of P's times. P is the faster model at "
            "1,024, 2,048 and 4,096 tokens, and the slower one by far at 16,384.",
        ),
        "D": Option(
            "Q, with about 190 ms. P is quadratic, so sixteen times its last time: 640 ms.",
            why="the verdict on P is right and its number is not: 8 of the 40 ms are there at any length and do not "
            "grow sixteen-fold.",
        ),
        "E": Option(
            "Neither can be told: five lengths are too few for an exponent.",
            why="five would be few with noise of 30 %. Here each is exact to 1 %, and the steps from one length to "
            "the next are far apart: 2, 2, 2, 2 against 1.05, 1.2, 1.6, 2.5.",
        ),
    },
    answer="C",
)

PREDICTION = CodeQuestion(
    id="15.4",
    objective="extrapolate",
    title="Four times the longest length",
    points=2,
    minutes=10,
    difficulty=3,
    inputs=timings,
    reference=prediction_reference,
    visible=[
        Case("nine lengths, seven samples each", T=9, V=7, seed=11),
        Case("seven lengths, eight samples each", T=7, V=8, seed=12),
        Case("eleven lengths, five samples each", T=11, V=5, seed=13),
    ],
    hidden=[Shapes(6, T=(6, 12), V=(5, 12))],
    tolerance=_close,
    wrong={
        absolute_errors: "seconds are fitted as seconds: the longest lengths decide almost alone, and the short ones, "
        "which fix the constant, count for next to nothing. The noise is a percentage.",
        wrong_weights: "numpy squares the weighted residual itself: with your weights the short lengths decide "
        "almost alone.",
        power_law_of_all: "that is one power law through all lengths, a straight line on log–log axes. Does a sum of "
        "three terms look like one there?",
        sixteen_times_the_last: "all of the last time is taken to grow with T², also the overhead.",
        four_times_the_last: "the time is taken to be proportional to T.",
        square_forgotten: "the curve has no T² term: beyond the data it stays a straight line.",
        constant_forgotten: "the curve goes through zero at T = 0: there is no overhead in it.",
        at_the_longest: "that is the fitted time at the longest measured length.",
        means_fitted: "one hiccup moves a mean as far as it likes: fit the curve to the medians.",
    },
    accepted=[prediction_by_least_squares],
)

WHAT_BREAKS = ChoiceQuestion(
    id="15.5",
    objective="extrapolate",
    title="What breaks first?",
    points=1,
    minutes=4,
    difficulty=2,
    question="Naive causal softmax, B = 1, 8 heads, float32, was measured up to T = 8,192 on a machine with 32 GB. "
    "Its power law has the exponent 2.02 (2.00 – 2.04) and says 11 s at T = 32,768. What is most likely to break "
    "this prediction?",
    options={
        "A": Option(
            "The interval: an exponent of 2.04 instead of 2.02 changes the time at four times the length a lot.",
            why="0.02 more in the exponent is a factor of 4 to the power 0.02, which is 3 %. There is a far larger "
            "danger than that.",
        ),
        "B": Option(
            "Memory: the tables of scores and probabilities may no longer fit, and the call will not finish.",
            why="a fit knows seconds only. Count bytes before you believe a time: the two tables take "
            "2 · 32,768² · 8 · 4 bytes = 69 GB; at T = 8,192 they took 4.3 GB and fitted.",
        ),
        "C": Option(
            "The overhead: a constant term grows with T too, and will dominate at the long end.",
            why="a constant does not grow: the longer the text, the smaller its share. It misleads at the short end.",
        ),
        "D": Option(
            "Nothing: four times the longest length is where the interval was made for.",
            why="the interval describes the noise of the samples. It knows nothing of what happens at lengths at which "
            "no sample was taken.",
        ),
        "E": Option(
            "The exponent: with more tokens attention becomes cubic.",
            why="the number of pairs is T² at any T, and each pair costs the same arithmetic. What may change is how "
            "long its numbers take to arrive.",
        ),
    },
    answer="B",
)

FLAW = ChoiceQuestion(
    id="15.6",
    objective="find-flaw",
    title="Find the flaw",
    points=2,
    minutes=6,
    difficulty=2,
    question="A report on a new mixer: one thread, B = 1, 8 heads of 64, float32, medians of 25 interleaved "
    "samples, compared with PyTorch's fused attention at the same shapes.\n\n"
    + _table(
        "T                32    64   128   256   512  1,024",
        "new mixer, ms  0.40  0.41  0.45  0.51  0.63   0.88",
    )
    + "\n\n“A log–log fit over all six lengths gives an exponent of 0.22 (0.20 – 0.24). The mixer is sublinear; at "
    "T = 65,536 it needs 1.9 ms.” Which objection decides?",
    options={
        "A": Option(
            "The interval: 25 samples are too few to know an exponent to ± 0.02.",
            why="25 samples with a small spread allow that. The interval is a right answer about noise; the "
            "question is whether a single power law describes the curve.",
        ),
        "B": Option(
            "The baseline: a naive softmax flatters every linear model.",
            why="true in general, and not here: the baseline is fused and has equal shapes. The claim about growth "
            "does not use a baseline at all.",
        ),
        "C": Option(
            "The lengths: time should be plotted against T², since attention is quadratic.",
            why="an exponent is read off log–log axes whatever its value. Plotting against T² would assume the answer.",
        ),
        "D": Option(
            "The fitted range: about 0.38 ms of every time are overhead, and the steps still steepen. The last two "
            "lengths alone point to about 32 ms.",
            why="the local exponents climb from 0.04 to 0.48, so no power law holds yet. From 512 to 1,024 tokens "
            "the time grows by 0.25 ms, about 0.49 µs a token: 65,536 tokens are 32 ms.",
        ),
        "E": Option(
            "The times: every token must be read, so no mixer can be sublinear, and the table must be wrong.",
            why="every token must be read, so in the end the exponent cannot stay below 1. But the times can be "
            "perfectly right: what is wrong is the conclusion drawn from them.",
        ),
    },
    answer="D",
)

QUESTIONS = [EXPONENT, CROSSOVER, WHICH_IS_LINEAR, PREDICTION, WHAT_BREAKS, FLAW]
