"""How close a function comes to what the machine could do, and which of its two ceilings it meets.

An operation of F FLOPs that moves M bytes takes at least max(F / GEMM rate, M / bandwidth) seconds. Its arithmetic
intensity F / M says which of the two is larger: above the machine's balance (`Rates.balance`) the arithmetic is, and
the operation is compute-bound; below it the traffic is, and it is memory-bound. The attained fraction is that least
time over the measured one. Chapter 02; Williams, Waterman and Patterson 2009.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from course_lib.timing import _format
from course_lib.timing.ceilings import Rates, calibrate
from course_lib.timing.sampling import Timing, bench


@dataclass(frozen=True)
class Roofline(_format.Exported):
    """A measured function under this machine's two ceilings."""

    timing: Timing
    flops: float
    bytes: float
    rates: Rates

    @property
    def intensity(self) -> float:
        """FLOPs per byte."""
        return self.flops / self.bytes

    @property
    def bound(self) -> str:
        """ "compute" or "memory": which ceiling is the lower one for this function."""
        return "compute" if self.intensity >= self.rates.balance else "memory"

    @property
    def least_s(self) -> float:
        """Seconds at the lower ceiling."""
        return max(self.flops / self.rates.gemm_flops, self.bytes / self.rates.bandwidth_bytes)

    @property
    def fraction(self) -> float:
        """Least over measured time: 1 is all the machine has. Data that stays in a cache can pass 1."""
        return self.least_s / self.timing.median_s

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON."""
        read_off = {"intensity": self.intensity, "bound": self.bound, "fraction": self.fraction}
        return asdict(self) | {"timing": self.timing.to_dict()} | read_off

    def raw_samples(self) -> dict[str, tuple[float, ...]]:
        """Seconds of every sample."""
        return self.timing.raw_samples()

    def rows(self) -> list[list[str]]:
        """The cells of a table: what, how much."""
        return [
            ["measured", _format.seconds(self.timing.median_s)],
            ["least", f"{_format.seconds(self.least_s)} ({self.bound}-bound)"],
            ["attained", f"{self.fraction:.0%}"],
            ["intensity", f"{self.intensity:,.2f} FLOP per byte (balance {self.rates.balance:,.1f})"],
        ]

    def __str__(self) -> str:
        return "\n".join(f"{what}: {how_much}" for what, how_much in self.rows())

    def _repr_html_(self) -> str:
        return _format.html_table(["", self.timing.label], self.rows(), caption=str(self.rates.device))


def roofline(
    fn: Callable[[], object],
    flops: float,
    bytes: float,
    *,
    rates: Rates | None = None,
    budget_s: float = 0.5,
    label: str = "",
) -> Roofline:
    """Time `fn` and hold it against the ceilings of this machine (`calibrate()` unless `rates` are given).

    flops, bytes: what a call computes and moves, from `course_lib.cost` or by counting. Raises ValueError where one of
    them is not above 0. Chapter 02.
    """
    for name, value in (("flops", flops), ("bytes", bytes)):
        if value <= 0:
            raise ValueError(f"{name} is {value}; expected a number above 0")
    return Roofline(bench(fn, budget_s=budget_s, label=label), flops, bytes, rates or calibrate())
