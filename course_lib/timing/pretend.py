"""A machine whose clock we move ourselves, so that a timer can be held against the truth.

Like a GPU it only queues a call and returns: the work begins once all work before it is done, and `synchronize`
waits for that. Like any machine it is slow at first (anew for every length), is now and then interrupted, and is now
and then lucky. Nothing in it is random, and reading its clock costs nothing. Chapter 02.

    host    | inputs | launch | inputs | launch |  …
    device           | work of call 0 ·················| work of call 1 ···
"""

import math
import random
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

COLD = (40.0, 3.0, 2.0, 1.5)  # what the first calls at a length take, in usual calls
INTERRUPTED, LUCKY = 4.0, 0.8  # every fifth and every seventh call


class Call(NamedTuple):
    """What a profiler would write down: the length, and four readings of the clock in seconds."""

    T: int
    began: float  # the host begins to make the inputs
    called: float  # the host calls the kernel
    returned: float  # the call returns to the host
    finished: float  # the device has done the work


@dataclass
class PretendMachine:
    """`clock`, `make_inputs`, `kernel`, `synchronize`, `idle`; `calls` is the record of all that was done."""

    work_s: float = 2e-6  # per token: the truth that a timer is after
    input_s: float = 0.5e-6  # per token
    launch_s: float = 20e-6  # per call
    slows_after: float = math.inf  # from this call on all work takes half as long again: the machine got hot
    calls: list[Call] = field(default_factory=list)
    now: float = 0.0
    began: float = 0.0
    free_at: float = 0.0

    def clock(self) -> float:
        """Seconds since the machine was switched on."""
        return self.now

    def idle(self, seconds: float) -> None:
        """The host does something else."""
        self.now += seconds

    def make_inputs(self, T: int) -> torch.Tensor:
        """T numbers, made by the host in its own time."""
        self.began = self.now
        self.now += self.input_s * T
        return torch.zeros(T)

    def kernel(self, x: torch.Tensor) -> None:
        """Queue the work for x and return."""
        called = self.now
        self.free_at = max(called, self.free_at) + self._work(len(x))
        self.now += self.launch_s
        self.calls.append(Call(len(x), min(self.began, called), called, self.now, self.free_at))
        self.began = self.now

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        self.now = max(self.now, self.free_at)

    def _work(self, T: int) -> float:
        i = sum(call.T == T for call in self.calls)
        usual = T * self.work_s * (1.5 if len(self.calls) >= self.slows_after else 1.0)
        if i < len(COLD):
            return usual * COLD[i]
        return usual * (INTERRUPTED if i % 5 == 4 else LUCKY if i % 7 == 5 else 1.0)


def noisy_samples(n: int, interrupted: float = 0.1, seed: int = 0) -> list[float]:
    """n running times of a call that takes 1 ms, in seconds: a little jitter, and a long tail of interruptions.

    Interruptions hit a share `interrupted` of the calls and add 3 ms on average. The same seed gives the same times.
    """
    draw = random.Random(seed)
    return [1e-3 * (1 + _jitter(draw) + _interruption(draw, interrupted)) for _ in range(n)]


def _jitter(draw: random.Random) -> float:
    return 0.02 * (draw.random() + draw.random() - 1)


def _interruption(draw: random.Random, share: float) -> float:
    hit, length = draw.random() < share, -3 * math.log(1 - draw.random())
    return length if hit else 0.0
