"""The two ceilings of this machine: how fast it multiplies, and how fast it moves bytes.

GEMM rate = 2 n³ / time of an n×n matrix product (a multiply-add is 2 FLOPs).
Bandwidth = 2 × bytes / time of a copy between tensors larger than the caches (each byte is read and written).
Their quotient, FLOPs per byte, is the arithmetic intensity above which an operation can be compute-bound.
Chapters 00 and 02.
"""

from dataclasses import asdict, dataclass

import torch

from course_lib import runtime
from course_lib.timing import _format
from course_lib.timing.sampling import Timing, bench

GEMM_N = {"cpu": 1024, "cuda": 4096}
COPY_BYTES = {"cpu": 2**27, "cuda": 2**30}  # one tensor; no cache holds both


@dataclass(frozen=True)
class Rates:
    """Measured ceilings: `gemm_flops` in FLOP/s and `bandwidth_bytes` in bytes/s, read plus written."""

    gemm_flops: float
    bandwidth_bytes: float
    dtype: str
    threads: int
    device: str

    @property
    def balance(self) -> float:
        """FLOPs per byte at which both ceilings take equally long."""
        return self.gemm_flops / self.bandwidth_bytes

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON."""
        return asdict(self)

    def rows(self) -> list[list[str]]:
        """The cells of this calibration in a table: what, how much."""
        return [
            ["matrix product", f"{self.gemm_flops / 1e9:,.0f} GFLOP/s"],
            ["memory bandwidth", f"{self.bandwidth_bytes / 1e9:,.0f} GB/s"],
            ["balance", f"{self.balance:,.1f} FLOP per byte"],
        ]

    def __str__(self) -> str:
        return "\n".join(f"{what}: {how_much}" for what, how_much in self.rows()) + f"\n({self._where()})"

    def _repr_html_(self) -> str:
        return _format.html_table(["", "measured"], self.rows(), caption=self._where())

    def _where(self) -> str:
        return f"{self.dtype}, {self.threads} thread{'s' if self.threads != 1 else ''}, {self.device}"


_known: dict[tuple[str, int, torch.dtype], Rates] = {}


def calibrate(seconds: float = 1.0, dtype: torch.dtype = torch.float32, *, again: bool = False) -> Rates:
    """The GEMM rate and the memory bandwidth, measured within about `seconds`.

    They are measured once for a device, a number of threads and a dtype, and remembered until the program ends;
    `again` measures anew.
    """
    machine = runtime.machine()
    key = (machine.device, machine.threads, dtype)
    if again or key not in _known:
        _known[key] = _measure(seconds, dtype)
    return _known[key]


def _measure(seconds: float, dtype: torch.dtype) -> Rates:
    machine = runtime.machine()
    gemm = 2 * GEMM_N[runtime.device().type] ** 3 / _product(seconds / 2, dtype).median_s
    copy = 2 * COPY_BYTES[runtime.device().type] / _copy(seconds / 2, dtype).median_s
    return Rates(gemm, copy, str(dtype).removeprefix("torch."), machine.threads, machine.device)


def _product(budget_s: float, dtype: torch.dtype) -> Timing:
    n = GEMM_N[runtime.device().type]
    a = torch.ones(n, n, dtype=dtype, device=runtime.device())
    b, out = a.clone(), torch.empty_like(a)
    return bench(lambda: torch.mm(a, b, out=out), budget_s=budget_s, min_samples=3, label="matrix product")


def _copy(budget_s: float, dtype: torch.dtype) -> Timing:
    count = COPY_BYTES[runtime.device().type] // dtype.itemsize
    source = torch.ones(count, dtype=dtype, device=runtime.device())
    target = torch.empty_like(source)
    return bench(lambda: target.copy_(source), budget_s=budget_s, min_samples=3, label="copy")
