"""Is `bench` right? Five kernels beside torch's own timer, its overhead, and memory of a known size.

    python -m course_lib.timing.validate

prints for each kernel the ratio of `bench` to `torch.utils.benchmark.Timer` (on a GPU also to Triton's `do_bench`), as
the median of five interleaved runs: within 5 % is agreement. Overhead is what `bench` reports beyond a call that takes
one millisecond by the same clock: below 2 %. Both use wall time, which is what the other timers have. Chapter 02.
"""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch.utils.benchmark import Timer

from course_lib import runtime
from course_lib.attention import linear_attention, softmax_attention
from course_lib.timing.memory import peak_memory
from course_lib.timing.sampling import bench

RUNS, BUDGET_S = 5, 0.3
KNOWN_BYTES = 64 * 2**20


def kernels() -> dict[str, Callable[[], object]]:
    """Compute-bound, memory-bound, and in between."""
    where = {"device": runtime.device()}
    square, column = torch.randn(512, 512, **where), torch.randn(2**21, **where)
    q = torch.randn(1, 1024, 4, 64, **where)
    return {
        "matrix product": lambda: square @ square,
        "sum of vectors": lambda: column + column,
        "softmax": lambda: square.softmax(-1),
        "softmax attention": lambda: softmax_attention(q, q, q, mode="sdpa"),
        "linear attention": lambda: linear_attention(q, q, q),
    }


def others() -> dict[str, Callable[[Callable[[], object]], float]]:
    """Seconds by the timers that are there."""
    found = {"torch Timer": _torch_timer}
    if runtime.device().type == "cuda":
        found["triton do_bench"] = _do_bench
    return found


def _torch_timer(fn: Callable[[], object]) -> float:
    timer = Timer("fn()", globals={"fn": fn}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=BUDGET_S).median


def _do_bench(fn: Callable[[], object]) -> float:
    from triton.testing import do_bench

    return do_bench(fn, return_mode="median") / 1e3


def _ours(fn: Callable[[], object], other: str) -> float:
    """`bench` under the other timer's conditions: torch's keeps the L2 cache warm, Triton's empties it."""
    if runtime.device().type == "cuda":
        return bench(fn, budget_s=BUDGET_S, flush_l2=other != "torch Timer").median_s
    return bench(fn, budget_s=BUDGET_S, clock="perf_counter").median_s


def agreement(fn: Callable[[], object], other: str) -> float:
    """Median over interleaved runs of `bench` over the other timer."""
    return median(_ours(fn, other) / others()[other](fn) for _ in range(RUNS))


def overhead() -> float:
    """What `bench` reports of a call that takes one millisecond, beyond that millisecond."""

    def one_millisecond() -> None:
        end = time.perf_counter() + 1e-3
        while time.perf_counter() < end:
            pass

    return bench(one_millisecond, clock="perf_counter").median_s / 1e-3 - 1


def memory() -> float:
    """`peak_memory` of a tensor over its size."""
    return (
        peak_memory(lambda: torch.empty(KNOWN_BYTES, dtype=torch.int8, device=runtime.device())) / KNOWN_BYTES
    )


def main() -> None:
    """Print the three validations."""
    torch.set_num_threads(1)
    for other in others():
        for name, fn in kernels().items():
            print(f"{name:>18}: bench / {other} = {agreement(fn, other):.3f}")
    print(f"{'overhead':>18}: {overhead():.2%} of a call of 1 ms")
    print(f"{'peak memory':>18}: {memory():.4f} of the size of a tensor")


if __name__ == "__main__":
    main()
