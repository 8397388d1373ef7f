"""One measurement repeated over the sequence length T: the curve from which a scaling law is read.

time ≈ c · T^p is a straight line of slope p on log–log axes: `exponent` is that slope over the last points,
and `crossover` is the T at which two lines meet. Every shape is called once before anything is timed (first
calls pay for one-off work), the curves are sampled in turns, and a curve ends where its next point,
extrapolated from its last two, would pass the budget of time or memory. It says so in `stopped` and
invents nothing beyond. Chapters 01, 08 and 15.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from statistics import median

import numpy as np
from tqdm import tqdm

from course_lib import runtime
from course_lib.timing import _format, clocks
from course_lib.timing.memory import peak_memory
from course_lib.timing.sampling import no_garbage_collection, one_round, warm_up
from course_lib.timing.stamp import Environment, environment

MEASURES = {"time": _format.seconds, "memory": _format.size}
MIN_ROUNDS, MAX_ROUNDS = 3, 25
WARM_UP_CALLS = 2  # one under the memory record, one timed
POINT_SHARE = 0.02  # of the budget, for warming up one point
FITTED_POINTS = 3
OUT_OF_MEMORY = ("out of memory", "can't allocate", "not enough memory")

Samples = dict[str, dict[int, tuple[float, ...]]]
Inputs = Callable[[int], tuple]


@dataclass(frozen=True, repr=False)
class Sweep:
    """Raw samples by curve and T (seconds, or bytes for measure="memory"), and what is read off them.

    `values[name][T]` is the median; `stopped[name] = (T, reason)`: the first T a curve left out, and why.
    """

    title: str
    measure: str
    samples: Samples
    stopped: dict[str, tuple[int, str]]
    environment: Environment
    clock: str

    @property
    def names(self) -> tuple[str, ...]:
        """The curves, in the order in which they were given."""
        return tuple(self.samples)

    @property
    def values(self) -> dict[str, dict[int, float]]:
        """The median of each point's samples."""
        return {
            name: {T: median(taken) for T, taken in curve.items()} for name, curve in self.samples.items()
        }

    def lengths(self, name: str) -> list[int]:
        """The T at which this curve was measured."""
        return sorted(self._curve(name))

    def exponent(self, name: str, last: int = FITTED_POINTS) -> float:
        """Slope p of time ≈ c · T^p, fitted in log–log over the last points: 1 is linear, 2 quadratic."""
        values = {T: value for T, value in self._curve(name).items() if value > 0}
        lengths = sorted(values)[-last:]
        if len(lengths) < 2:
            raise ValueError(
                f"{name!r} has {len(lengths)} points above 0; a slope needs 2. Allow a larger budget_s."
            )
        slope, _ = np.polyfit(np.log(lengths), np.log([values[T] for T in lengths]), 1)
        return float(slope)

    def crossover(self, a: str, b: str) -> float | None:
        """The T at which `a` and `b` change places for the last time; None if they never do.

        Only lengths where both were measured count. Between the two lengths around it, both are taken as
        straight lines on log–log axes.
        """
        return last_crossing([(T, math.log(ratio)) for T, ratio in self.ratio(a, b).items() if ratio > 0])

    def ratio(self, a: str, b: str) -> dict[int, float]:
        """Median of `a` over that of `b` at each T where both were measured; above 1, `b` is cheaper.

        A T where `b` is 0 has no ratio.
        """
        curve_a, curve_b = self._curve(a), self._curve(b)
        both = sorted(curve_a.keys() & curve_b.keys())
        return {T: curve_a[T] / curve_b[T] for T in both if curve_b[T] > 0}

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON; lengths become text."""
        curves = {
            name: {str(T): list(taken) for T, taken in curve.items()} for name, curve in self.samples.items()
        }
        stopped = {name: list(where) for name, where in self.stopped.items()}
        what = {"title": self.title, "measure": self.measure, "clock": self.clock}
        return what | {"stopped": stopped, "environment": self.environment.to_dict(), "samples": curves}

    def notes(self) -> list[str]:
        """One line for each curve that ended early."""
        return [f"{name} ends before T = {T:,}: {reason}" for name, (T, reason) in self.stopped.items()]

    def rows(self) -> list[list[str]]:
        """A row for each T with the median of every curve, and one with the exponents."""
        write, values = MEASURES[self.measure], self.values
        lengths = sorted({T for curve in values.values() for T in curve})
        cells = [[f"{T:,}", *(write(c[T]) if T in c else "–" for c in values.values())] for T in lengths]
        return [*cells, ["exponent", *(self._exponent_cell(name) for name in self.names)]]

    def __str__(self) -> str:
        return "\n".join(
            [*self._caption(), _format.text_table(["T", *self.names], self.rows()), *self.notes()]
        )

    __repr__ = __str__  # the table, also where a notebook or a prompt shows plain text

    def _repr_html_(self) -> str:
        table = _format.html_table(["T", *self.names], self.rows(), caption=" – ".join(self._caption()))
        return table + "".join(f"<p>{escape(note)}</p>" for note in self.notes())

    def _caption(self) -> list[str]:
        where = f"{self.environment}, {self.clock}"
        return [self.title, where] if self.title else [where]

    def _exponent_cell(self, name: str) -> str:
        measurable = sum(value > 0 for value in self._curve(name).values())
        return f"{self.exponent(name):.2f}" if measurable > 1 else "–"

    def _curve(self, name: str) -> dict[int, float]:
        if name not in self.samples:
            raise ValueError(f"no curve {name!r} was measured; there are {', '.join(self.names)}")
        return self.values[name]


def sweep(
    fns: Mapping[str, Callable],
    make_inputs: Inputs,
    lengths: Sequence[int],
    *,
    budget_s: float = 20.0,
    memory_limit: int | None = None,
    measure: str = "time",
    title: str = "",
    clock: str | clocks.Read = "auto",
    flush_l2: bool = True,
) -> Sweep:
    """Measure `fns[name](*make_inputs(T))` over lengths T and return a `Sweep`.

    Inputs are made outside what is measured, once for all curves.  measure="time": medians of 3 to 25
    interleaved samples in seconds; measure="memory": peak bytes of one call. A curve stops when its next
    point would need more than what is left of `budget_s`, or more memory than `memory_limit` bytes
    (default: a third of the machine's). Raises ValueError for an unknown measure, no curves, or lengths
    that are not positive.
    """
    lengths = list(lengths)
    _check(fns, lengths, measure, budget_s)
    limit = runtime.machine().device_memory_bytes // 3 if memory_limit is None else memory_limit
    timer = clocks.choose(clock, flush_l2=flush_l2)
    survey = _Survey(dict(fns), timer, budget_s, limit, rounds=MIN_ROUNDS if measure == "time" else 0)
    wanted = sorted(set(lengths))
    with runtime.progress(len(wanted) * (2 if measure == "time" else 1), title or "sweep") as bar:
        for T in wanted:
            survey.visit(T, make_inputs)
            bar.update()
        samples = _sample(survey, make_inputs, bar) if measure == "time" else _as_samples(survey.peaks)
    name = timer.name if measure == "time" else "allocator"
    return Sweep(title, measure, samples, survey.stopped, environment(), name)


class _Survey:
    """The first pass: calls every function at every T and learns its seconds, bytes, and where to stop."""

    def __init__(
        self, fns: dict[str, Callable], timer: clocks.Clock, budget_s: float, limit: int, rounds: int
    ):
        self.fns, self.timer, self.limit, self.rounds = fns, timer, limit, rounds
        self.budget_s, self.start = budget_s, timer.wall()
        self.seconds: dict[str, dict[int, float]] = {name: {} for name in fns}
        self.peaks: dict[str, dict[int, float]] = {name: {} for name in fns}
        self.stopped: dict[str, tuple[int, str]] = {}

    def left(self) -> float:
        """Seconds of the budget that are neither spent nor needed for the samples of the points so far."""
        promised = sum(t for curve in self.seconds.values() for t in curve.values())
        return self.budget_s - (self.timer.wall() - self.start) - self.rounds * promised

    def visit(self, T: int, make_inputs: Inputs) -> None:
        """Call at T every function that may go on; inputs for nobody are not made."""
        going = [name for name in self.fns if name not in self.stopped]
        inputs = make_inputs(T) if going else ()
        for name in going:
            reason = self.objection(name, T) or self.call(name, T, inputs)
            if reason:
                self.stopped[name] = (T, reason)

    def objection(self, name: str, T: int) -> str:
        """Why this curve must not be measured at T; empty if it may."""
        peak = extrapolate(self.peaks[name], T)
        if peak > self.limit:
            return f"it would need about {_format.size(peak)} and the limit is {_format.size(self.limit)}"
        call = extrapolate(self.seconds[name], T)
        if call * (self.rounds + WARM_UP_CALLS) > self.left():
            left = _format.seconds(max(0.0, self.left()))
            return (
                f"a call would take about {_format.seconds(call)} and {left} of {self.budget_s:g} s are left"
            )
        return ""

    def call(self, name: str, T: int, inputs: tuple) -> str:
        """Warm this shape up and write down what it costs; the reason if memory runs out after all."""
        fn = partial(self.fns[name], *inputs)
        try:
            peak = peak_memory(fn)
            seconds = warm_up(fn, self.timer, POINT_SHARE * self.budget_s if self.rounds else 0.0)
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return "memory ran out"
        self.peaks[name][T], self.seconds[name][T] = peak, seconds
        return ""


def extrapolate(curve: Mapping[int, float], T: int) -> float:
    """The power law through the last two points, at T; one point is taken to grow with T², none is 0.

    Growth is never taken to be negative: at small T, noise can make a curve fall.
    """
    if not curve:
        return 0.0
    *before, last = sorted(curve)
    slope = 2.0
    if before and min(curve[last], curve[before[-1]]) > 0:
        slope = max(0.0, math.log(curve[last] / curve[before[-1]]) / math.log(last / before[-1]))
    return curve[last] * (T / last) ** slope


def _sample(survey: _Survey, make_inputs: Inputs, bar: tqdm) -> Samples:
    """The second pass: the same number of interleaved rounds at every T that the survey reached."""
    reached = sorted({T for curve in survey.seconds.values() for T in curve})
    one_of_each = sum(
        max(t, clocks.SHORTEST_SAMPLE_S) for curve in survey.seconds.values() for t in curve.values()
    )
    # left() has the smallest number of rounds set aside already.
    spare = max(0.0, survey.left()) / one_of_each if one_of_each else 0.0
    rounds = min(MAX_ROUNDS, survey.rounds + int(spare))
    samples: Samples = {name: {} for name in survey.fns}
    for T in reached:
        for name, taken in _sample_length(survey, T, make_inputs(T), rounds).items():
            samples[name][T] = tuple(taken)
        bar.update()
    return samples


def _sample_length(survey: _Survey, T: int, inputs: tuple, rounds: int) -> dict[str, list[float]]:
    fns = {name: partial(fn, *inputs) for name, fn in survey.fns.items() if T in survey.seconds[name]}
    calls = {name: survey.timer.calls(survey.seconds[name][T]) for name in fns}
    samples: dict[str, list[float]] = {name: [] for name in fns}
    with no_garbage_collection():
        for i in range(rounds):
            one_round(fns, calls, samples, survey.timer, backwards=i % 2 == 1)
    return samples


def _as_samples(peaks: Mapping[str, Mapping[int, float]]) -> Samples:
    return {name: {T: (peak,) for T, peak in curve.items()} for name, curve in peaks.items()}


def last_crossing(gaps: Sequence[tuple[int, float]]) -> float | None:
    """The T at which the log ratio of (T, log ratio) points, by ascending T, last changes sign; None if it never does.

    The points are joined by straight lines on a logarithmic T axis. A tie says nothing about who comes first; where one
    lies between two leaders, they meet there.
    """
    apart = [(T, gap) for T, gap in gaps if gap != 0]
    changes = [pair for pair in itertools.pairwise(apart) if pair[0][1] * pair[1][1] < 0]
    if not changes:
        return None
    (T0, gap0), (T1, gap1) = changes[-1]
    tied = [T for T, gap in gaps if gap == 0 and T0 < T < T1]
    return float(tied[0]) if tied else T0 * (T1 / T0) ** (gap0 / (gap0 - gap1))


def _out_of_memory(error: Exception) -> bool:
    """torch has its own error on a GPU and a plain RuntimeError on a CPU."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)


def _check(fns: Mapping[str, Callable], lengths: Sequence[int], measure: str, budget_s: float) -> None:
    if not isinstance(fns, Mapping) or not fns:
        raise ValueError(
            f"fns is {fns!r}; expected a dictionary from a curve's name to a function of the inputs"
        )
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths is {lengths!r}; expected at least one length, each 1 or more")
    if measure not in MEASURES:
        raise ValueError(f"measure is {measure!r}; expected one of {', '.join(MEASURES)}")
    if budget_s <= 0:
        raise ValueError(f"budget_s is {budget_s}; expected a number of seconds above 0")
