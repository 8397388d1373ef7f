"""Questions of chapter 02: a trace read rightly, an interval for a median, three ceilings, and a table refereed."""

import math
from collections.abc import Callable
from statistics import NormalDist

import torch
from torch import Tensor

from course_lib.timing.pretend import PretendMachine

from .question import Case, ChoiceQuestion, CodeQuestion, NumberQuestion, Option, Shapes

# --- 02.1 the benchmark, repaired from its trace ------------------------------------------------------


def recorded_calls(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]:
    """T, began, called, returned, finished `[n]` of calls in mixed order, and how many calls warm a length up.

    The host now and then does something else for long enough that the queue runs empty.
    """
    machine = PretendMachine(work_s=2e-6 * (1 + torch.rand((), generator=rng).item()))
    lengths = [300 * (i + 1) + int(torch.randint(200, (), generator=rng)) for i in range(case.lengths)]
    order = torch.tensor(lengths).repeat(case.warm_up + case.runs)
    for T in order[torch.randperm(len(order), generator=rng)].tolist():
        machine.kernel(machine.make_inputs(T))
        if torch.rand((), generator=rng) < 0.4:
            machine.synchronize()
            machine.idle(5e-3)
    T, *stamps = zip(*machine.calls, strict=True)
    return torch.tensor(T), *(torch.tensor(s, dtype=torch.float64) for s in stamps), case.warm_up


def _medians(T: Tensor, seconds: Tensor, warm_up: int, middle: Callable[[Tensor], Tensor]) -> Tensor:
    """`middle` of the calls after the first `warm_up` at each length, lengths ascending."""
    return torch.stack([middle(seconds[length == T][warm_up:]) for length in T.unique()])


def _work(called: Tensor, finished: Tensor) -> Tensor:
    """The device begins a call when it is made or when the work before it is done, whichever is later."""
    before = torch.cat([called[:1], finished[:-1]])
    return finished - torch.maximum(called, before)


def trace_reference(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    """The median work of a call at each length; `[number of lengths]`."""
    return _medians(T, _work(called, finished), warm_up, torch.median)


def trace_by_loop(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    taken, free = {}, -math.inf
    for length, start, end in zip(T.tolist(), called.tolist(), finished.tolist(), strict=True):
        taken.setdefault(length, []).append(end - max(start, free))
        free = end
    kept = [sorted(taken[length][warm_up:]) for length in sorted(taken)]
    return torch.tensor([samples[len(samples) // 2] for samples in kept], dtype=torch.float64)


def launch_only(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, returned - called, warm_up, torch.median)


def inputs_inside(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, finished - began, warm_up, torch.median)


def queue_inside(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, finished - called, warm_up, torch.median)


def idle_inside(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, finished - torch.cat([called[:1], finished[:-1]]), warm_up, torch.median)


def not_warmed_up(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return trace_reference(T, began, called, returned, finished, 0)


def warmed_up_once(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T[warm_up:], _work(called, finished)[warm_up:], 0, torch.median)


def mean_of_trace(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, _work(called, finished), warm_up, torch.mean)


def fastest_of_trace(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, _work(called, finished), warm_up, torch.min)


def single_run(
    T: Tensor, began: Tensor, called: Tensor, returned: Tensor, finished: Tensor, warm_up: int
) -> Tensor:
    return _medians(T, _work(called, finished), warm_up, lambda samples: samples[0])


# --- 02.3 an interval for the median ------------------------------------------------------------------


def some_samples(case: Case, rng: torch.Generator) -> tuple[Tensor, float]:
    """T running times in no order, with a long tail, and the confidence asked for."""
    usual = 1 + 0.1 * torch.rand(case.T, generator=rng, dtype=torch.float64)
    tail = -torch.log1p(-torch.rand(case.T, generator=rng, dtype=torch.float64))
    return 1e-3 * (usual + tail * (torch.rand(case.T, generator=rng) < 0.3)), case.confidence


def _tail(k: int, n: int) -> float:
    """Probability of fewer than k heads among n coins."""
    return sum(math.comb(n, i) for i in range(k)) / 2**n


def _rank(n: int, risk: float) -> int:
    """The largest k whose outside, on one side, has no more than this probability; at least 1."""
    return max([k for k in range(1, n // 2 + 1) if _tail(k, n) <= risk], default=1)


def _report(samples: Tensor, k: int) -> tuple[float, float, float]:
    ordered = samples.sort().values
    return samples.quantile(0.5).item(), ordered[k - 1].item(), ordered[len(samples) - k].item()


def interval_reference(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    """Median, and the k-th smallest and k-th largest sample for the largest k that is still safe enough."""
    return _report(samples, _rank(len(samples), (1 - confidence) / 2))


def interval_inwards(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    """The same, walking inwards from both ends while the coins allow it."""
    ordered, n = sorted(samples.tolist()), len(samples)
    low, weight, outside = 0, 1.0, 2 * 0.5**n
    while low + 2 <= n // 2:
        weight *= (n - low) / (low + 1)
        if outside + 2 * weight * 0.5**n > 1 - confidence:
            break
        outside, low = outside + 2 * weight * 0.5**n, low + 1
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return middle, ordered[low], ordered[n - 1 - low]


def not_sorted(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    k, n = _rank(len(samples), (1 - confidence) / 2), len(samples)
    middle = (samples[(n - 1) // 2] + samples[n // 2]) / 2
    return middle.item(), samples[k - 1].item(), samples[n - k].item()


def least_and_greatest(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    return _report(samples, 1)


def quantiles_of_samples(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    q20, q50, q80 = samples.quantile(torch.tensor([0.2, 0.5, 0.8], dtype=samples.dtype)).tolist()
    return q50, q20, q80


def mean_and_deviation(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    mean, deviation = samples.mean().item(), samples.std().item()
    return mean, mean - deviation, mean + deviation


def mean_and_error(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    mean, error = samples.mean().item(), samples.std().item() / len(samples) ** 0.5
    return mean, mean - z * error, mean + z * error


def one_side_only(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    return _report(samples, _rank(len(samples), 1 - confidence))


def one_rank_inside(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    return _report(samples, _rank(len(samples), (1 - confidence) / 2) + 1)


def mean_in_the_middle(samples: Tensor, confidence: float) -> tuple[float, float, float]:
    return samples.mean().item(), *interval_reference(samples, confidence)[1:]


# --- 02.4 three ceilings ------------------------------------------------------------------------------


def operations(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float, float, float]:
    """FLOPs, bytes and measured seconds `[n]`, then FLOP/s, bytes/s and seconds of a launch."""
    rate, bandwidth, launch = 1e11 * case.speed, 2e10 * case.speed, 2e-5
    size = 10 ** (9 * torch.rand(case.count, generator=rng, dtype=torch.float64))
    intensity = 10 ** (4 * torch.rand(case.count, generator=rng, dtype=torch.float64) - 1)
    flops, traffic = size, size / intensity
    least = torch.maximum(flops / rate, traffic / bandwidth).clamp(min=launch)
    slack = 1 + 3 * torch.rand(case.count, generator=rng, dtype=torch.float64)
    return flops, traffic, least * slack, rate, bandwidth, launch


def _bounds(flops: Tensor, traffic: Tensor, rate: float, bandwidth: float, launch: float) -> Tensor:
    return torch.stack([torch.full_like(flops, launch), traffic / bandwidth, flops / rate])


def ceilings_reference(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    """(0 launch, 1 memory, 2 compute) and the least possible over the measured time; both `[n]`."""
    least, which = _bounds(flops, traffic, rate, bandwidth, launch).max(0)
    return which, least / seconds


def ceilings_by_intensity(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    compute = flops / traffic >= rate / bandwidth
    longer = torch.where(compute, flops / rate, traffic / bandwidth)
    which = torch.where(longer < launch, 0, torch.where(compute, 2, 1))
    return which, longer.clamp(min=launch) / seconds


def launch_forgotten(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    return ceilings_reference(flops, traffic, seconds, rate, bandwidth, 0.0)


def smallest_of_three(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    least, which = _bounds(flops, traffic, rate, bandwidth, launch).min(0)
    return which, least / seconds


def sum_of_three(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    bounds = _bounds(flops, traffic, rate, bandwidth, launch)
    return bounds.argmax(0), bounds.sum(0) / seconds


def fraction_upside_down(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    which, fraction = ceilings_reference(flops, traffic, seconds, rate, bandwidth, launch)
    return which, 1 / fraction


def always_of_the_flops(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    which, _ = ceilings_reference(flops, traffic, seconds, rate, bandwidth, launch)
    return which, flops / rate / seconds


def rates_swapped(
    flops: Tensor, traffic: Tensor, seconds: Tensor, rate: float, bandwidth: float, launch: float
) -> tuple[Tensor, Tensor]:
    return ceilings_reference(flops, traffic, seconds, bandwidth, rate, launch)


# --- the declarations ---------------------------------------------------------------------------------

TRACE = CodeQuestion(
    id="02.1",
    objective="fix-benchmark",
    title="Repair a benchmark from its trace",
    points=3,
    minutes=15,
    difficulty=2,
    inputs=recorded_calls,
    reference=trace_reference,
    visible=[
        Case("one length", lengths=1, warm_up=4, runs=5, seed=1),
        Case("two lengths", lengths=2, warm_up=4, runs=7, seed=2),
        Case("three lengths", lengths=3, warm_up=5, runs=5, seed=3),
    ],
    hidden=[Shapes(4, lengths=(2, 3), warm_up=(4, 5), runs=[5, 7])],
    wrong={
        launch_only: "that is how long each call took to *return*. Was the work done by then?",
        inputs_inside: "the making of the inputs is still in your times.",
        queue_inside: "a call that is made while the device is still busy stands in a queue, and your time counts the "
        "standing as work.",
        idle_inside: "where the device had nothing to do before a call was made, your time counts the idling as work.",
        not_warmed_up: "the first calls at a length are slow, and they are among your samples.",
        warmed_up_once: "you drop the first calls of the whole trace. Is a length warm because another one is?",
        mean_of_trace: "an interrupted call pulls your number up: that is the mean of the samples.",
        fastest_of_trace: "that is the luckiest call of each length, not the usual one.",
        single_run: "one sample of each length decides your result, and that one may be an outlier.",
    },
    accepted=[trace_by_loop],
    tolerance=lambda case: 1e-9,  # differences of clock readings cancel
    outputs=("seconds [lengths]",),
)

TWENTY_MICROSECONDS = ChoiceQuestion(
    id="02.2",
    objective="fix-benchmark",
    title="Back in 20 µs",
    points=1,
    minutes=3,
    difficulty=1,
    question="A call of a GPU kernel returned after 20 µs, read off a good clock. True or false, and why: so the "
    "kernel takes 20 µs.",
    options={
        "A": Option(
            "True: the next line of Python runs only when this one is finished.",
            why="the *call* is finished then. All it had to do was put the kernel into a queue.",
        ),
        "B": Option(
            "True: putting a kernel into a queue costs nothing, so the 20 µs are the kernel's own.",
            why="it is the other way round: putting it into the queue is what took the time.",
        ),
        "C": Option(
            "False: the call only queued the kernel, which may take much less or much more than 20 µs.",
            why="the 20 µs are the launch. Wait for the device before you read the clock, or use two events.",
        ),
        "D": Option(
            "False: the kernel takes less than 20 µs, because the call contains the kernel and the launch.",
            why="the kernel may still be running, or waiting, when the call returns: it is not contained in it.",
        ),
        "E": Option(
            "False: no clock that Python can read resolves 20 µs.",
            why="`time.perf_counter` resolves well below a microsecond. The clock is not what is wrong here.",
        ),
    },
    answer="C",
)

INTERVAL = CodeQuestion(
    id="02.3",
    objective="report-interval",
    title="A median with its interval",
    points=2,
    minutes=12,
    difficulty=2,
    inputs=some_samples,
    reference=interval_reference,
    visible=[
        Case("eleven samples", T=11, confidence=0.95, seed=4),
        Case("twenty samples", T=20, confidence=0.9, seed=5),
        Case("five samples", T=5, confidence=0.9, seed=6),
    ],
    hidden=[Shapes(4, T=(8, 60), confidence=[0.8, 0.9, 0.95, 0.99])],
    wrong={
        not_sorted: "you count positions in the order in which the samples came, not in order of size.",
        least_and_greatest: "smallest and largest sample always: with many samples that is far wider than it must be.",
        quantiles_of_samples: "those quantiles say how far single *calls* spread, however many you take; they do not "
        "say how well the median is known.",
        mean_and_deviation: "mean and standard deviation: a few interrupted calls move both, and a deviation says "
        "how calls spread, not how well a middle is known.",
        mean_and_error: "that is an interval for the *mean*, and it takes the samples to be normally distributed; "
        "a long tail is not.",
        one_side_only: "you give the whole risk to each side: the interval may miss below *and* above.",
        one_rank_inside: "your interval is one sample too narrow at each end: its coverage is below what was asked.",
        mean_in_the_middle: "the interval is right. The number that it belongs to is not the mean.",
    },
    accepted=[interval_inwards],
    outputs=("median", "low", "high"),
)

CEILINGS = CodeQuestion(
    id="02.4",
    objective="name-limit",
    title="Name the limit, with a third ceiling",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=operations,
    reference=ceilings_reference,
    visible=[
        Case("six operations", count=6, speed=1, seed=7),
        Case("twelve operations on a faster machine", count=12, speed=8, seed=8),
    ],
    hidden=[Shapes(4, count=(12, 30), speed=(1, 20))],
    wrong={
        launch_forgotten: "a tiny operation still has to be started, and that takes `launch` seconds at least.",
        smallest_of_three: "all three times must pass before the result is there: you pick the one that is over first.",
        sum_of_three: "the three happen at the same time: you add them up.",
        fraction_upside_down: "your fractions are upside down: the attained part is the limit over the time.",
        always_of_the_flops: "the limits are right. The fraction is that of the arithmetic everywhere, also where "
        "arithmetic is not what the operation waits for.",
        rates_swapped: "FLOPs are divided by bytes a second somewhere, or bytes by FLOP/s.",
    },
    accepted=[ceilings_by_intensity],
    outputs=("which [n]", "fraction [n]"),
)

LEAST_TIME = NumberQuestion(
    id="02.5",
    objective="referee-table",
    title="Can row 5 be true?",
    points=1,
    minutes=4,
    difficulty=1,
    question="The table's chip multiplies matrices at 100 TFLOP/s at most. Row 5 forms x xᵀ for a batch of 8 with "
    "n = 16,384 and d = 64. Counted as a full product, without use of its symmetry: how many milliseconds does it "
    "take at the very least?",
    answer=lambda: 1e3 * 2 * 8 * 16_384**2 * 64 / 100e12,
    unit="ms",
    wrong={
        1.374: "half of it: a multiply-add is two FLOPs, and all n × n entries are to be counted.",
        0.3436: "that is one of the eight sequences of the batch.",
        0.00275: "that is in seconds.",
        0.02113: "that is the entry of the table, and the question is whether it can be true.",
        0.000168: "each of the n × n results is a sum over d products, and there are n² of them, not n.",
    },
)

TABLE = ChoiceQuestion(
    id="02.6",
    objective="referee-table",
    title="Four mistakes in a table",
    points=2,
    minutes=8,
    difficulty=3,
    question="Seven suspicions are listed under the table. Four of them are right, and can be seen in the table and "
    "its caption. Which four?",
    options={
        "A": Option(
            "1, 2, 4 and 7",
            why="suspicion 2 does not hold: compute row 2's least time as you did for row 5, and compare.",
        ),
        "B": Option(
            "1, 3, 5 and 7",
            why="suspicion 3 does not hold: divide row 3's two times yourself.",
        ),
        "C": Option(
            "1, 4, 6 and 7",
            why="suspicion 6 does not hold: a doubled n means four times the results, so four times the time is what "
            "a healthy row should show.",
        ),
        "D": Option(
            "4, 5, 6 and 7",
            why="suspicion 6 does not hold: a doubled n means four times the results, so growth by four is healthy. "
            "And one row does not grow at all.",
        ),
        "E": Option(
            "1, 4, 5 and 7",
            why="row 1 takes longer than row 3 with a sixteenth of the work; row 4 compares 8 sequences with 4; row 5 "
            "is done before the chip could have done it; and one run with four digits says nothing about spread.",
        ),
        "F": Option(
            "2, 4, 5 and 7",
            why="suspicion 2 does not hold: row 2's time lies above its least possible time. And look down the "
            "column of the two calls again.",
        ),
    },
    answer="E",
)

QUESTIONS = [TRACE, TWENTY_MICROSECONDS, INTERVAL, CEILINGS, LEAST_TIME, TABLE]
