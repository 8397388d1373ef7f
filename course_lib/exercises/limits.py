"""Time and memory limits for code that runs in this very process: on Linux, macOS, Windows and in Colab.

Time: a watchdog thread raises `TimeLimit` inside the running thread (`PyThreadState_SetAsyncExc`), since
signals do not exist everywhere. It is a BaseException, so `except Exception` does not swallow it, and it is
raised again every 50 ms where a bare `except` did. Memory: a dispatch mode sees every torch operation, adds
up the bytes of the storages that are alive, and raises `MemoryLimit` before an operation whose result would
pass the cap: the laptop never swaps.
"""

import contextlib
import ctypes
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache
from types import FrameType

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WALL_SECONDS = 20.0  # for one ordinary case
POLL_SECONDS = 0.05
WIDEST_DTYPE = 16  # bytes of a complex128
MAX_SIZE = 2**48


class TimeLimit(BaseException):
    """The call took longer than it may."""


class MemoryLimit(BaseException):
    """The call held, or was about to hold, more than it may. `nbytes` is how much."""

    def __init__(self, nbytes: int = 0) -> None:
        super().__init__(nbytes)
        self.nbytes = nbytes


# Time


def call_within(fn: Callable[[], object], *, wall_seconds: float, cpu_seconds: float = math.inf) -> object:
    """fn(), or TimeLimit once either clock has passed its limit. Other exceptions of fn go through.

    A call into C (one huge matrix product) cannot be interrupted; it ends in TimeLimit when it comes back.
    """
    dog = _Watchdog(wall_seconds, cpu_seconds)
    try:
        try:
            result = dog.run(fn)
        finally:
            dog.stand_down()
    except TimeLimit:
        # It may have landed in the stand_down above, before that took effect. It cannot land in this one: the
        # watchdog looks for the frame of `run` on this thread's stack before it shoots, and that is left.
        dog.stand_down()
        raise
    if dog.over():
        raise TimeLimit
    return result


class _Watchdog:
    """Raises TimeLimit in the thread that made it, from `run` until `stand_down`.

    The race to lose is an exception that arrives after the call has ended, somewhere in the notebook's next
    cell. Shots are fired under a lock, and only while `done` is false; `stand_down` takes the same lock, sets
    `done`, and withdraws a shot that was fired and has not landed. So once `stand_down` has returned nothing
    can arrive.
    """

    def __init__(self, wall_seconds: float, cpu_seconds: float) -> None:
        self.wall_end = time.perf_counter() + wall_seconds
        self.cpu_end = time.process_time() + cpu_seconds
        self.target = threading.get_ident()
        # Re-entrant, because a shot that lands inside `stand_down` makes its thread come back for the lock.
        self.lock = threading.RLock()
        self.done = False
        self.frame: FrameType | None = None  # of `run`: while it is on the stack, the call has not ended
        self.wake = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="course-time-limit", daemon=True)

    def run(self, fn: Callable[[], object]) -> object:
        self.frame = sys._getframe()
        self.thread.start()
        return fn()

    def over(self) -> bool:
        return time.perf_counter() > self.wall_end or time.process_time() > self.cpu_end

    def stand_down(self) -> None:
        with self.lock:
            self.done, self.frame = True, None
            _raise_in(self.target, None)
        self.wake.set()

    def _watch(self) -> None:
        while not self.wake.wait(POLL_SECONDS):
            if self.over():
                with self.lock:
                    frames = self._frames()
                    if self.done or not frames:
                        return
                    # A module whose import is cut short stays broken until a restart: let it finish.
                    if not any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in frames):
                        _raise_in(self.target, TimeLimit)

    def _frames(self) -> list[FrameType]:
        """The stack from the answer's innermost frame out to `run`; empty once `run` has been left."""
        frames, frame = [], sys._current_frames().get(self.target)
        while frame is not None and frame is not self.frame:
            frames.append(frame)
            frame = frame.f_back
        return [*frames, frame] if frame is not None else []


def _raise_in(thread_id: int, exception: type[BaseException] | None) -> None:
    """Make a thread raise at its next bytecode; None withdraws an exception that it has not raised yet."""
    pointer = ctypes.py_object(exception) if exception is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), pointer)


# Memory


class MemoryCap(TorchDispatchMode):
    """`with MemoryCap(nbytes) as cap:` bounds what torch operations inside hold at once; `cap.peak` tells it.

    Counted are the storages that operations inside create, from birth to death: views add nothing, inputs are
    not counted, what autograd keeps for the backward pass is. About 5 to 20 µs an operation.
    """

    def __init__(self, cap_bytes: float) -> None:
        super().__init__()
        self.cap_bytes = cap_bytes
        self.now = self.peak = 0
        self.exceeded: MemoryLimit | None = None
        self._alive: dict[int, weakref.ref] = {}

    def __enter__(self) -> "MemoryCap":
        _import_what_dispatch_needs()
        return super().__enter__()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if self.exceeded is not None:  # a bare `except` swallowed it: nothing runs any more
            raise self.exceeded
        kwargs = kwargs or {}
        inputs = _tensors((*args, *kwargs.values()))
        for tensor in inputs:
            self._count(tensor, created=False)
        if _may_be_large(func, args, inputs, self.cap_bytes - self.now):
            self._foresee(func, args, kwargs)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            self._count(tensor, created=True)
        return out

    def _count(self, tensor: torch.Tensor, created: bool) -> None:
        """Count a storage once: one that arrives as an argument before any operation made it is not ours."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._alive:
            return
        nbytes = storage.nbytes() if created else 0
        self._alive[key] = weakref.ref(storage, lambda _: self._forget(key, nbytes))
        self.now += nbytes
        self.peak = max(self.peak, self.now)
        if self.now > self.cap_bytes:
            self._stop(self.now)

    def _forget(self, key: int, nbytes: int) -> None:
        self._alive.pop(key, None)
        self.now -= nbytes

    def _stop(self, nbytes: int) -> None:
        self.exceeded = MemoryLimit(nbytes)
        raise self.exceeded

    def _foresee(self, func: Callable, args: tuple, kwargs: dict) -> None:
        """Stop before an operation that would pass the cap: try it on shapes alone (the meta device)."""
        wanted = _bytes_of_result(func, args, kwargs)
        if self.now + wanted > self.cap_bytes:
            self._stop(self.now + wanted)


@cache
def _import_what_dispatch_needs() -> None:
    """The first operation under a mode imports a second's worth of torch: not at the answer's expense."""
    with TorchDispatchMode(), contextlib.suppress(NotImplementedError):
        torch.zeros(1)
    _bytes_of_result(torch.ops.aten.add.Tensor, (torch.zeros(1), torch.zeros(1)), {})


def _tensors(values: object) -> list[torch.Tensor]:
    """The tensors in an operation's arguments or results: bare, or in one level of list."""
    if isinstance(values, torch.Tensor):
        return [values]
    found = []
    for value in values if isinstance(values, (tuple, list)) else ():
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found.extend(item for item in value if isinstance(item, torch.Tensor))
    return found


def _may_be_large(func: Callable, args: tuple, inputs: list[torch.Tensor], room: float) -> bool:
    """Whether it is worth asking for the result's size; that costs as much as a small operation itself."""
    if not inputs:
        return True
    if _largest_result(args) * WIDEST_DTYPE <= room:
        return False
    shapes = {tensor.shape for tensor in inputs if tensor.ndim > 0}
    return len(shapes) > 1 or torch.Tag.pointwise not in func.tags  # a sum of equal shapes has that shape


def _largest_result(args: tuple) -> int:
    """A bound without arithmetic on shapes: few results have more elements than all sizes multiplied."""
    bound = 1
    for value in args:
        if isinstance(value, torch.Tensor):
            bound *= max(1, value.numel())
        elif isinstance(value, (tuple, list)):
            bound *= _largest_result(value)
        elif isinstance(value, int) and 1 < value < MAX_SIZE:  # a slice's end is 2⁶³ − 1: no size
            bound *= value
    return bound


def _bytes_of_result(func: Callable, args: tuple, kwargs: dict) -> int:
    """New bytes that an operation makes; 0 for views, in-place operations and shapes found from values."""
    known: dict[int, torch.Tensor] = {}
    with contextlib.suppress(RuntimeError, NotImplementedError, TypeError, ValueError):
        meta_args, meta_kwargs = _to_meta(args, known), _to_meta(kwargs, known)
        if "device" in kwargs or not known:
            meta_kwargs["device"] = torch.device("meta")
        out = func(*meta_args, **meta_kwargs)
        new = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in _tensors(out)}
        old = {t.untyped_storage()._cdata for t in known.values()}
        return sum(nbytes for key, nbytes in new.items() if key not in old)
    return 0


def _to_meta(value: object, known: dict[int, torch.Tensor]) -> object:
    if isinstance(value, torch.Tensor):
        if id(value) not in known:
            known[id(value)] = value.detach().to("meta")
        return known[id(value)]
    if isinstance(value, dict):
        return {key: _to_meta(item, known) for key, item in value.items()}
    return type(value)(_to_meta(item, known) for item in value) if type(value) in (tuple, list) else value
