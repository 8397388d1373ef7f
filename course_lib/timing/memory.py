"""How many bytes a function holds at its worst moment.

Peak memory is the largest sum of live allocations, counted from the moment before the call:
peak = max over t of the sum of (allocated − freed) up to t. On a CPU torch's allocator reports every
allocation and every release to the profiler, so the count is exact, the same on every system, and blind to
other programs. On a GPU the caching allocator keeps the same maximum itself. Python objects and the inputs
(made before) are not counted; what `fn` returns is. Chapters 01 and 02.
"""

from collections.abc import Callable

import torch

from course_lib import runtime
from course_lib.timing.sampling import no_garbage_collection


def peak_memory(fn: Callable[[], object]) -> int:
    """Bytes that `fn()` allocates at most at one time, over what was there before.

    Exact for tensors: 64 MiB of float32 are 67,108,864 (on a GPU rounded up to its allocator's blocks of
    512). One call is made. The record costs about 30 µs per small operation: a function of 40,000 of them
    takes 1.2 s instead of 0.1 s, so use it for bytes and `bench` for time.
    """
    # A collection during the call would free tensors of forgotten reference cycles and book them as its gain.
    with no_garbage_collection():
        return _peak_gpu(fn) if runtime.device().type == "cuda" else _peak_cpu(fn)


def _peak_gpu(fn: Callable[[], object]) -> int:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    kept = fn()
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() - before
    del kept
    return peak


def _peak_cpu(fn: Callable[[], object]) -> int:
    records = _allocator_records(fn)
    live = peak = 0
    for record in records:
        live += record.cpu_memory_usage()
        peak = max(peak, live)
    return peak


def _allocator_records(fn: Callable[[], object]) -> list:
    """The profiler's records of one call, in order; an allocation counts +bytes, a release −bytes, others 0.

    The older of torch's two CPU profilers is used: for 40,000 small operations it takes 1.2 s where
    `torch.profiler.profile` takes 13 s, and it prints nothing to stderr. Imported here, not above, so that
    a torch without it takes away this function and not the whole course.
    """
    from torch._C._profiler import _ExperimentalConfig
    from torch.autograd import (
        ProfilerConfig,
        ProfilerState,
        _disable_profiler_legacy,
        _enable_profiler_legacy,
    )

    # state, shapes, memory, stacks, FLOPs, modules: memory only
    config = ProfilerConfig(ProfilerState.CPU, False, True, False, False, False, _ExperimentalConfig())
    _enable_profiler_legacy(config)
    try:
        kept = fn()
    finally:
        threads = _disable_profiler_legacy()
    del kept
    return _in_order(threads)


def _in_order(threads: list[list]) -> list:
    """Merge the records of all threads by time (autograd may run the backward pass on another thread)."""
    records = [record for thread in threads for record in thread]
    start = next(record for record in records if record.name() == "__start_profile")
    # A stable sort: records of one thread keep their order where the clock's microseconds tie.
    return records if len(threads) == 1 else sorted(records, key=start.cpu_elapsed_us)
