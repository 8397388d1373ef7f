"""How one sample of a running time is taken.

CPU, one thread: the CPU time of this process (`time.process_time`), which a busy neighbour on a shared
machine does not lengthen. CPU, several threads: wall time (`time.perf_counter`), because CPU time adds the
threads up. GPU: two CUDA events around the call, after its L2 cache has been flushed, and a synchronisation
before reading. A call shorter than 100 µs is repeated within one sample, so that reading the clock (0.3 µs)
stays below 1 %. Chapter 02 shows what goes wrong otherwise.
"""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from course_lib import runtime

NAMES = ("auto", "process_time", "perf_counter", "cuda")
SHORTEST_SAMPLE_S = 100e-6
SHORTEST_CALL_S = 100e-9  # a call that a coarse clock reads as 0 takes at least this long
ISSUED = 5  # calls whose queueing is timed
FLUSH_BYTES = 256 * 2**20  # more than any GPU's L2 cache

Read = Callable[[], float]


@dataclass(frozen=True)
class Clock:
    """`read` gives the seconds that are reported, `wall` the seconds that a time budget is spent in."""

    name: str
    read: Read
    wall: Read = time.perf_counter

    def time(self, fn: Callable[[], object], calls: int = 1) -> float:
        """Seconds per call, over `calls` calls in a row."""
        start = self.read()
        for _ in range(calls):
            fn()
        return (self.read() - start) / calls

    def issue(self, fn: Callable[[], object]) -> float | None:
        """Seconds until `fn()` returns where that is before its work is done; None where it is the same."""
        return None

    def calls(self, estimate_s: float) -> int:
        """How many calls make one sample long enough to be read off this clock."""
        return max(1, math.ceil(SHORTEST_SAMPLE_S / max(estimate_s, SHORTEST_CALL_S)))


@dataclass(frozen=True)
class CudaClock(Clock):
    """CUDA events; one call a sample, since a second call in a row would find the cache warm."""

    flush: torch.Tensor | None = None

    def time(self, fn: Callable[[], object], calls: int = 1) -> float:
        if self.flush is not None:
            self.flush.zero_()  # also gives the host time to queue the call, which hides the launch
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            fn()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3 / calls

    def issue(self, fn: Callable[[], object]) -> float | None:
        taken = []
        for _ in range(ISSUED):
            torch.cuda.synchronize()
            start = time.perf_counter()
            fn()
            taken.append(time.perf_counter() - start)
        torch.cuda.synchronize()
        return median(taken)

    def calls(self, estimate_s: float) -> int:
        return 1 if self.flush is not None else super().calls(estimate_s)


def choose(clock: str | Read = "auto", *, flush_l2: bool = True) -> Clock:
    """The clock of that name. A function that returns seconds is also taken, and then tells the budget's
    time too (so that a test can time without waiting).

    "auto" is "cuda" on a GPU, "process_time" on a CPU with one torch thread, else "perf_counter"; on
    Windows never "process_time", which moves there in steps of 16 ms.
    """
    if callable(clock):
        return Clock("given", clock, clock)
    name = _automatic() if clock == "auto" else clock
    if name == "cuda":
        return _cuda(flush_l2)
    if name not in NAMES:
        raise ValueError(f"clock is {clock!r}; expected a function or one of {', '.join(NAMES)}")
    return Clock(name, _synchronised(getattr(time, name)))


def _automatic() -> str:
    if runtime.device().type == "cuda":
        return "cuda"
    alone = torch.get_num_threads() == 1 and platform.system() != "Windows"
    return "process_time" if alone else "perf_counter"


def _cuda(flush_l2: bool) -> Clock:
    if runtime.device().type != "cuda":
        raise ValueError('clock is "cuda" but torch sees no CUDA GPU; use "auto"')
    buffer = torch.empty(FLUSH_BYTES, dtype=torch.int8, device="cuda") if flush_l2 else None
    return CudaClock("cuda", _synchronised(time.perf_counter), flush=buffer)


def _synchronised(read: Read) -> Read:
    """On a GPU a call returns before its work is done: wait for it, then read."""
    if runtime.device().type != "cuda":
        return read

    def wait_and_read() -> float:
        torch.cuda.synchronize()
        return read()

    return wait_and_read
