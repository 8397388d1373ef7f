"""What a sweep says about growth, and how sure it is.

time ≈ c · T^p is a straight line on log–log axes, log time = log c + p · log T, and p is its slope. A median of a few
samples is uncertain, so every number here comes with an interval: the samples' relative deviations from their medians
are pooled over the curve, drawn anew for every T, and everything is computed again from each of the 1,000 curves that
this gives (a residual bootstrap; Efron 1979). The interval holds the middle 95 % of the answers. It speaks of noise
only: that a power law is the right shape is for the residuals and the local exponents to say. Chapter 15.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from course_lib.timing import _format
from course_lib.timing.sweeps import FITTED_POINTS, Sweep, last_crossing

DRAWS = 1000
MIDDLE = (2.5, 97.5)  # percentiles of an interval
SURE = 0.995  # share of the draws that must agree on who is cheaper at a length
TOO_FAR = 4  # times the longest measured T


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} – {self.high:.3g})"


@dataclass(frozen=True)
class Crossing:
    """Where two curves change places: T with its interval, or None and the reason why there is none to report."""

    T: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        return self.reason or f"T ≈ {self.T:,.0f} ({self.low:,.0f} – {self.high:,.0f})"


@dataclass(frozen=True)
class Extrapolation:
    """What the fitted power law says at T, with its interval, and a warning where that is far from all data."""

    T: int
    value: float
    low: float
    high: float
    warning: str = ""

    def __str__(self) -> str:
        note = f"; {self.warning}" if self.warning else ""
        return f"T = {self.T:,}: {self.value:.3g} ({self.low:.3g} – {self.high:.3g}){note}"


@dataclass(frozen=True, repr=False)
class Scaling(_format.Exported):
    """Exponents, crossings and extrapolations of a sweep, each with an interval.

    last: how many of a curve's longest T the power law is fitted to (None: all). seed: of the bootstrap; the same
    sweep and seed give the same numbers.
    """

    sweep: Sweep
    last: int | None = FITTED_POINTS
    seed: int = 0

    def exponent(self, name: str) -> Estimate:
        """Slope p of time ≈ c · T^p over the last points. Raises ValueError for fewer than 2 points above 0."""
        return _interval(self._fits(name)[:, 0])

    def local_exponents(self, name: str) -> dict[tuple[int, int], float]:
        """Slope between each length and the next: a power law has the same everywhere."""
        T, times = self._points(name)
        slopes = np.diff(np.log(times)) / np.diff(np.log(T))
        return {(int(a), int(b)): float(p) for a, b, p in zip(T, T[1:], slopes, strict=False)}

    def residuals(self, name: str) -> dict[int, float]:
        """Measured over fitted at every length: near 1 where the power law of the last points holds."""
        T, times = self._points(name)
        p, c = self._fits(name)[0]
        return {int(t): float(x / np.exp(c + p * np.log(t))) for t, x in zip(T, times, strict=True)}

    def extrapolate(self, name: str, T: int) -> Extrapolation:
        """The fitted power law at T, in the sweep's unit. Past four times the longest measured T it warns."""
        if T < 1:
            raise ValueError(f"T is {T}; expected a length of 1 or more")
        p, c = self._fits(name).T
        estimate = _interval(np.exp(c + p * np.log(T)))
        longest = max(self.sweep.lengths(name))
        warning = ""
        if TOO_FAR * longest < T:
            warning = f"more than {TOO_FAR} times the longest measured T = {longest:,}: caches and memory may end first"
        return Extrapolation(T, estimate.value, estimate.low, estimate.high, warning)

    def crossover(self, a: str, b: str) -> Crossing:
        """Where `a` and `b` change places for the last time, if the samples are sure that they do.

        Sure means that 99.5 % of the draws agree on who is cheaper at some length, and on the other one at a longer
        length. Otherwise T is None and `reason` says what was seen.
        """
        T = sorted(set(self.sweep.lengths(a)) & set(self.sweep.lengths(b)))
        if not T:
            return Crossing(None, reason=f"{a} and {b} were measured at no common length")
        gaps = np.log(self._drawn(a, T)) - np.log(self._drawn(b, T))
        ahead = (gaps[1:] > 0).mean(axis=0)  # share of draws in which b is cheaper
        sides = np.where(ahead >= SURE, 1, np.where(ahead <= 1 - SURE, -1, 0))
        sure = sides[sides != 0]
        if len(sure) == 0 or not (np.diff(sure) != 0).any():
            return Crossing(None, reason=_no_crossing(a, b, T, sure))
        measured, *drawn = (last_crossing(list(zip(T, gap, strict=True))) for gap in gaps)
        low, middle, high = np.percentile([x for x in drawn if x], (MIDDLE[0], 50, MIDDLE[1]))
        return Crossing(measured or float(middle), float(low), float(high))

    def rows(self) -> list[list[str]]:
        """A row a curve: exponent with its interval, and the local exponents from short to long."""
        rows = []
        for name in self.sweep.names:
            local = " ".join(f"{p:.2f}" for p in self.local_exponents(name).values())
            rows.append([name, str(self.exponent(name)), local])
        return rows

    def __str__(self) -> str:
        return _format.text_table(HEADER, self.rows())

    __repr__ = __str__  # the table, also where a notebook or a prompt shows plain text

    def _repr_html_(self) -> str:
        return _format.html_table(
            HEADER, self.rows(), caption=f"{self.sweep.environment}, {self.sweep.clock}"
        )

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON."""
        exponents = {name: self.exponent(name) for name in self.sweep.names}
        return {
            name: {
                "exponent": [e.value, e.low, e.high],
                "local": {f"{a}–{b}": p for (a, b), p in self.local_exponents(name).items()},
            }
            for name, e in exponents.items()
        }

    def raw_samples(self) -> dict[str, tuple[float, ...]]:
        """Seconds of every sample, by curve and T."""
        curves = self.sweep.samples.items()
        return {f"{name}, T = {T}": samples for name, curve in curves for T, samples in curve.items()}

    def _points(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and medians of a curve, without those too short for the clock."""
        values = {T: value for T, value in self.sweep.values[self._known(name)].items() if value > 0}
        if len(values) < 2:
            raise ValueError(
                f"{name!r} has {len(values)} points above 0; a slope needs 2. Allow a larger budget_s."
            )
        T = np.array(sorted(values))
        return T, np.array([values[t] for t in T])

    def _fits(self, name: str) -> np.ndarray:
        """Slope and intercept of log time over log T: the measured medians first, then every draw `[1 + draws, 2]`."""
        T, _ = self._points(name)
        T = T[-self.last :] if self.last else T
        return np.polyfit(np.log(T), np.log(self._drawn(name, list(T))).T, 1).T

    def _drawn(self, name: str, lengths: list[int]) -> np.ndarray:
        """Medians at these lengths: as measured in row 0, then one curve a draw."""
        T = self.sweep.lengths(self._known(name))
        columns = [T.index(length) for length in lengths]
        return self._curves[name][:, columns]

    def _known(self, name: str) -> str:
        if name not in self.sweep.samples:
            raise ValueError(f"no curve {name!r} was measured; there are {', '.join(self.sweep.names)}")
        return name

    @cached_property
    def _curves(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(self.seed)
        return {name: _resample(curve, generator) for name, curve in self.sweep.samples.items()}


HEADER = ("", "exponent", "from one T to the next")


def _resample(curve: dict[int, tuple[float, ...]], generator: np.random.Generator) -> np.ndarray:
    """[1 + draws, lengths]: the medians, then medians of samples whose deviations are drawn from the whole curve's."""
    T = sorted(curve)
    medians = np.array([np.median(curve[t]) for t in T])
    pool = np.concatenate([_deviations(np.array(curve[t])) for t in T])
    drawn = [np.median(generator.choice(pool, (DRAWS, len(curve[t]))), axis=1) for t in T]
    return np.vstack([medians, medians * np.exp(np.array(drawn).T)])


def _deviations(samples: np.ndarray) -> np.ndarray:
    """log(sample / median), widened because a median of few samples lies too close to them."""
    middle, n = np.median(samples), len(samples)
    if middle <= 0 or n < 2:
        return np.zeros(n)
    return np.log(np.maximum(samples, 1e-12) / middle) * (n / (n - 1)) ** 0.5


def _interval(draws: np.ndarray) -> Estimate:
    low, high = np.percentile(draws[1:], MIDDLE)
    return Estimate(float(draws[0]), float(low), float(high))


def _no_crossing(a: str, b: str, T: list[int], sure: np.ndarray) -> str:
    span = f"T = {T[0]:,} … {T[-1]:,}"
    if len(sure) == 0:
        return f"not within the measured range: {a} and {b} cannot be told apart at any of {span}"
    cheaper, other = (b, a) if sure[0] > 0 else (a, b)
    return f"not within the measured range: {cheaper} is cheaper than {other} wherever they differ in {span}"
