"""One function timed, and several compared.

A running time is a distribution, not a number: `bench` warms up, takes samples until its budget is spent, and
reports the median with the 20 % and 80 % quantiles. The minimum flatters, the mean believes every hiccup.
`compare` takes one sample of each function per round, so that a slow moment of the machine meets all of them;
its ratio is the median over rounds of a_i / b_i, which such moments cancel out of.
Derived in chapter 02.
"""

import gc
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median

import numpy as np
import torch

from course_lib import runtime
from course_lib.timing import _format, clocks

NOISY = 1.3  # q80 / q20 above which a number should be taken again
WARM_UP_SHARE = 0.2  # of the budget, at most
STABLE = 0.9  # warm once a call takes at least this share of the one before

Fn = Callable[[], object]


@dataclass(frozen=True)
class Timing(_format.Exported):
    """Seconds per call: median and 20 % and 80 % quantiles of n samples, and what they were measured on."""

    median_s: float
    q20_s: float
    q80_s: float
    n: int
    clock: str
    threads: int
    device: str
    label: str = ""
    samples: tuple[float, ...] = field(default=(), repr=False)
    issue_s: float | None = None  # on a GPU: how long the host takes to queue the call

    @property
    def ms(self) -> float:
        """The median in milliseconds."""
        return self.median_s * 1e3

    @property
    def spread(self) -> float:
        """q80 / q20: 1 is a quiet machine."""
        return self.q80_s / self.q20_s if self.q20_s > 0 else float("inf")

    @property
    def noisy(self) -> bool:
        """Whether the spread is above 1.3: take the number again when the machine is quiet."""
        return self.spread > NOISY

    @property
    def launch_bound(self) -> bool:
        """Whether a GPU waited for the host: queueing the call takes as long as running it. `graphed` mends that."""
        return self.issue_s is not None and self.issue_s >= self.median_s

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON."""
        read_off = {"spread": self.spread, "noisy": self.noisy, "launch_bound": self.launch_bound}
        return asdict(self) | {"samples": list(self.samples)} | read_off

    def raw_samples(self) -> dict[str, tuple[float, ...]]:
        """Seconds of every sample."""
        return {self.label or "call": self.samples}

    def row(self) -> list[str]:
        """The cells of this timing in a table: label, median, quantiles, n."""
        quantiles = f"{_format.seconds(self.q20_s)} – {_format.seconds(self.q80_s)}"
        flags = [flag for flag, on in (("noisy", self.noisy), ("launch-bound", self.launch_bound)) if on]
        label = " ".join([self.label or "call", *(f"({flag})" for flag in flags)])
        return [label, _format.seconds(self.median_s), quantiles, str(self.n)]

    def __str__(self) -> str:
        label, middle, quantiles, n = self.row()
        return f"{label}: {middle}  (20–80 %: {quantiles}, n = {n}, {self._where()})"

    def _repr_html_(self) -> str:
        return _format.html_table(HEADER, [self.row()], caption=self._where())

    def _where(self) -> str:
        return f"{self.clock}, {self.threads} thread{'s' if self.threads != 1 else ''}, {self.device}"


HEADER = ("", "median", "20–80 %", "n")


@dataclass(frozen=True, repr=False)
class Comparison(_format.Exported):
    """Functions timed in the same rounds: `timings[name]`, and `ratio(a, b)` between two of them."""

    timings: dict[str, Timing]

    def ratio(self, a: str, b: str) -> float:
        """How many times as long `a` takes as `b`: the median of the ratios within each round."""
        pairs = zip(self._samples(a), self._samples(b), strict=True)
        return median(x / y for x, y in pairs)

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON."""
        return {name: timing.to_dict() for name, timing in self.timings.items()}

    def raw_samples(self) -> dict[str, tuple[float, ...]]:
        """Seconds of every sample, by function."""
        return {name: timing.samples for name, timing in self.timings.items()}

    def _samples(self, name: str) -> tuple[float, ...]:
        if name not in self.timings:
            raise ValueError(f"no function {name!r} was compared; there are {', '.join(self.timings)}")
        return self.timings[name].samples

    def _rows(self) -> list[list[str]]:
        first = next(iter(self.timings))
        return [[*t.row(), f"{self.ratio(name, first):.2f}×"] for name, t in self.timings.items()]

    def _header(self) -> list[str]:
        return [*HEADER, f"against {next(iter(self.timings))}"]

    def __str__(self) -> str:
        return _format.text_table(self._header(), self._rows())

    __repr__ = __str__  # the table, also where a notebook or a prompt shows plain text

    def _repr_html_(self) -> str:
        where = next(iter(self.timings.values()))._where()
        return _format.html_table(self._header(), self._rows(), caption=where)


def bench(
    fn: Fn,
    *,
    budget_s: float = 0.5,
    min_samples: int = 5,
    clock: str | clocks.Read = "auto",
    flush_l2: bool = True,
    label: str = "",
) -> Timing:
    """Time `fn()` and return a `Timing` in seconds per call.

    Make the inputs before, outside `fn`: whatever `fn` does is timed. Samples are taken until `budget_s`
    seconds have passed, and never fewer than `min_samples`, so a slow function takes longer than the
    budget. `clock` is "auto" (see `course_lib.timing.clocks`), "process_time", "perf_counter", "cuda" or a
    function; `flush_l2` empties a GPU's L2 cache before each sample (without effect on a CPU). Raises
    ValueError for a budget or a number of samples that is not positive. Chapter 02.
    """
    _check_positive(budget_s=budget_s, min_samples=min_samples)
    timer = clocks.choose(clock, flush_l2=flush_l2)
    end = timer.wall() + budget_s
    calls = timer.calls(warm_up(fn, timer, budget_s))
    samples: list[float] = []
    with no_garbage_collection():
        while len(samples) < min_samples or timer.wall() < end:
            samples.append(timer.time(fn, calls))
    return summarise(samples, timer, label, timer.issue(fn))


def compare(
    fns: Mapping[str, Fn],
    *,
    rounds: int | None = None,
    budget_s: float = 2.0,
    min_rounds: int = 5,
    max_rounds: int | None = None,
    clock: str | clocks.Read = "auto",
    flush_l2: bool = True,
) -> Comparison:
    """Time several functions in interleaved rounds and return a `Comparison`.

    A round takes one sample of each function, every second round in reverse order. There are `rounds` of
    them, or as many as fit into `budget_s` seconds, at least `min_rounds` and at most `max_rounds`. Chapter 02.
    """
    if rounds is not None:
        min_rounds = max_rounds = rounds
    most = math.inf if max_rounds is None else max_rounds
    _check_positive(budget_s=budget_s, min_rounds=min_rounds, rounds=most)
    _check_functions(fns)
    timer = clocks.choose(clock, flush_l2=flush_l2)
    end = timer.wall() + budget_s
    calls = {name: timer.calls(warm_up(fn, timer, budget_s / len(fns))) for name, fn in fns.items()}
    samples: dict[str, list[float]] = {name: [] for name in fns}
    done = 0
    with no_garbage_collection():
        while done < min_rounds or (done < most and timer.wall() < end):
            one_round(fns, calls, samples, timer, backwards=done % 2 == 1)
            done += 1
    issued = {name: timer.issue(fn) for name, fn in fns.items()}
    return Comparison({name: summarise(taken, timer, name, issued[name]) for name, taken in samples.items()})


def one_round(
    fns: Mapping[str, Fn],
    calls: Mapping[str, int],
    samples: Mapping[str, list[float]],
    timer: clocks.Clock,
    *,
    backwards: bool,
) -> None:
    """Append one sample of every function; with the order turned round, nobody always follows the same."""
    names = list(fns)
    for name in reversed(names) if backwards else names:
        samples[name].append(timer.time(fns[name], calls[name]))


def warm_up(fn: Fn, timer: clocks.Clock, budget_s: float) -> float:
    """Call `fn` until it gets no faster, once at least and for a fifth of the budget at most.

    Returns the seconds of the fastest call: one that was interrupted says nothing about the function.
    """
    end = timer.wall() + WARM_UP_SHARE * budget_s
    last = fastest = timer.time(fn)
    while timer.wall() < end:
        before, last = last, timer.time(fn)
        fastest = min(fastest, last)
        if last >= STABLE * before:
            break
    return fastest


def summarise(
    samples: list[float], timer: clocks.Clock, label: str = "", issue_s: float | None = None
) -> Timing:
    """Median and quantiles of samples in seconds, with the clock, threads and device they were taken on."""
    q20, q50, q80 = np.quantile(samples, [0.2, 0.5, 0.8])
    where = runtime.machine().device
    threads = torch.get_num_threads()
    return Timing(
        float(q50),
        float(q20),
        float(q80),
        len(samples),
        timer.name,
        threads,
        where,
        label,
        tuple(samples),
        issue_s,
    )


def training_step(fn: Callable[..., object], *inputs: torch.Tensor) -> Fn:
    """A call without arguments for `bench`: forward and backward of `fn(*inputs)`, whose first result is the output.

    The gradient that comes in is all ones and is made here, before anything is timed; so are the leaves.
    """
    leaves = [x.detach().requires_grad_() for x in inputs]

    def output() -> torch.Tensor:
        answer = fn(*leaves)
        return answer[0] if isinstance(answer, tuple) else answer

    incoming = torch.ones_like(output())
    return lambda: torch.autograd.grad(output(), leaves, incoming)


def graphed(fn: Fn) -> Fn:
    """`fn` recorded once as a CUDA graph and then replayed, which takes the gaps between launches out of a timing.

    The replay works on the tensors of the recording: `fn` must not read values or allocate by what it sees. Raises
    ValueError without a GPU, where there is nothing to record. Chapter 02.
    """
    if runtime.device().type != "cuda":
        raise ValueError("graphed needs a CUDA GPU; on a CPU there are no launches to take out")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the first calls of a kernel may not be recorded
        for _ in range(3):
            fn()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fn()
    return graph.replay


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of a sample would be measured as part of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name} is {value}; expected a number above 0")


def _check_functions(fns: Mapping[str, Fn]) -> None:
    if not isinstance(fns, Mapping) or not fns:
        raise ValueError(
            f"fns is {fns!r}; expected a dictionary from a name to a function, with at least one entry"
        )
