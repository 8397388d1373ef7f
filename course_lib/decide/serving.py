"""What it costs to serve a workload with an architecture on a machine: time, memory, money.

    seconds of a pass = max(FLOPs / FLOP rate, bytes / bandwidth) + overhead

A pass reads a prompt or takes one decoding step, for all requests of a batch. It computes 2 FLOPs a weight and token,
and what the mixers add; it moves every weight once, and what the mixers carry. Both terms are kept, so that one sees
which limit binds. Counts come from `course_lib.cost`; times are lower bounds, as far as the ceilings are. Left out:
activations beside the mixers' own, and that embeddings need no arithmetic. Chapters 18 and 19; Williams, Waterman and
Patterson 2009.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from course_lib import cost
from course_lib.attention.checks import check_count, choose
from course_lib.attention.registry import Table
from course_lib.decide.inputs import Architecture, Machine, Workload, check_amount
from course_lib.timing import _format

Tokens = int | np.ndarray  # one length, or many at once


class Work(NamedTuple):
    """FLOPs and bytes of a pass."""

    flops: Tokens
    bytes: Tokens


# --- one mixer ----------------------------------------------------------------------------------------


def _seen(family: str, a: Architecture, n: Tokens) -> Tokens:
    """Of n tokens, those that a cache of this family holds."""
    return np.minimum(n, a.window) if family == "window" else n


def _has_state(family: str) -> bool:
    return family in ("linear", "delta")


def _read_flops(family: str, a: Architecture, B: int, T: int, P: int) -> int:
    """The mixer of one layer on T new tokens after P that it has seen."""
    size = a.heads, a.head_size, a.head_size
    if family == "linear":
        return cost.linear_flops(B, T, *size, a.chunk)
    if family == "delta":
        return cost.delta_flops(B, T, *size, a.chunk)
    if family == "window":
        P = -(-P // a.chunk) * a.chunk  # new tokens start a new block
        return cost.window_flops(B, P + T, *size, a.window, a.chunk) - cost.window_flops(
            B, P, *size, a.window, a.chunk
        )
    return cost.softmax_flops(B, P + T, *size) - cost.softmax_flops(B, P, *size)


def _read_bytes(family: str, a: Architecture, B: int, T: int, P: int) -> float:
    """q, k, v and o of T tokens, and the state of each chunk or the P tokens in the cache."""
    size = B, T, a.heads, a.head_size, a.head_size
    if _has_state(family):
        return cost.linear_bytes_moved(*size, a.chunk, a.itemsize, a.state_itemsize)
    return cost.softmax_bytes_moved(*size, a.itemsize, fused=True) + _carried(family, a, B, P)


def _step_flops(family: str, a: Architecture, B: int, n: Tokens) -> Tokens:
    """The mixer of one layer on one token, the last of n."""
    size = a.heads, a.head_size, a.head_size
    if family == "linear":
        return cost.linear_flops(B, 1, *size, C=1)
    if family == "delta":
        return cost.delta_flops(B, 1, *size, C=1)
    return cost.decode_step_flops(B, _seen(family, a, n), *size, parameters=0)


def _step_bytes(family: str, a: Architecture, B: int, n: Tokens) -> Tokens:
    """A cache is read; a state is read and written."""
    return _carried(family, a, B, n) * (2 if _has_state(family) else 1)


def _carried(family: str, a: Architecture, B: int, n: Tokens) -> Tokens:
    """Bytes that one layer carries after n tokens."""
    K = a.head_size
    if _has_state(family):
        return cost.state_bytes(B, a.heads, K, K, itemsize=a.state_itemsize, normalize=False)
    return cost.cache_bytes(B, _seen(family, a, n), a.kv_heads, K, K, itemsize=a.cache_itemsize)


# --- one pass through the model -----------------------------------------------------------------------


def reading(a: Architecture, B: int, T: int, P: int = 0) -> Work:
    """FLOPs and bytes of reading T tokens after P that are carried already, for B requests."""
    flops = sum(layers * _read_flops(f, a, B, T, P) for f, layers in a.families.items())
    moved = sum(layers * _read_bytes(f, a, B, T, P) for f, layers in a.families.items())
    return Work(2 * a.weights * B * T + flops, a.weights * a.itemsize + moved)


def step(a: Architecture, B: int, n: Tokens) -> Work:
    """FLOPs and bytes of one decoding step of B requests that each carry n tokens with it; n may be an array."""
    flops = sum(layers * _step_flops(f, a, B, n) for f, layers in a.families.items())
    moved = sum(layers * _step_bytes(f, a, B, n) for f, layers in a.families.items())
    return Work(2 * a.weights * B + flops, a.weights * a.itemsize + moved)


@dataclass(frozen=True)
class Time:
    """Seconds of a pass, by what needs them: arithmetic and traffic happen at once, the overhead beside them."""

    compute_s: float
    memory_s: float
    overhead_s: float = 0.0

    @property
    def seconds(self) -> float:
        """The longer of both, and the overhead."""
        return max(self.compute_s, self.memory_s) + self.overhead_s

    @property
    def bound(self) -> str:
        """The largest term: "compute", "memory" or "overhead"."""
        terms = {"compute": self.compute_s, "memory": self.memory_s, "overhead": self.overhead_s}
        return max(terms, key=terms.__getitem__)

    def __str__(self) -> str:
        return f"{_format.seconds(self.seconds)} ({self.bound}-bound)"


@dataclass(frozen=True)
class Memory:
    """Bytes at the longest moment of a batch: weights once, caches and states for every request."""

    weights: float
    caches: float
    states: float

    @property
    def carried(self) -> float:
        """Caches and states."""
        return self.caches + self.states

    @property
    def total(self) -> float:
        """All three."""
        return self.weights + self.carried

    def __str__(self) -> str:
        parts = {"weights": self.weights, "caches": self.caches, "states": self.states}
        named = ", ".join(f"{name} {_format.size(x)}" for name, x in parts.items() if x)
        return f"{_format.size(self.total)} ({named})"


def _time(work: Work, machine: Machine) -> Time:
    return Time(work.flops / machine.flops, work.bytes / machine.bandwidth, machine.overhead_s)


# --- a workload ---------------------------------------------------------------------------------------


def first_token(w: Workload, a: Architecture, m: Machine, turn: int | None = None) -> Time:
    """Time to the first output token of a turn: reading what it has to read.

    turn counts from 1; None is the slower of the first one, which reads the document, and the last one, which has the
    longest context. Raises TypeError or ValueError for a turn that the workload does not have. Chapters 18 and 19.
    """
    if turn is None:
        return max((first_token(w, a, m, t) for t in (1, w.turns)), key=lambda time: time.seconds)
    _check_turn(w, turn)
    return _time(reading(a, w.batch, w.read(turn), w.held(turn)), m)


def per_token(w: Workload, a: Architecture, m: Machine, turn: int | None = None) -> Time:
    """Time of the last, slowest decoding step of a turn, which gives every request of the batch one token.

    turn counts from 1; None is the last. Raises TypeError or ValueError for a turn that the workload does not have.
    Chapters 18 and 19.
    """
    return _time(step(a, w.batch, _longest(w, turn)), m)


def memory(w: Workload, a: Architecture, turn: int | None = None) -> Memory:
    """Bytes at the last decoding step of a turn; turn as in `per_token`. Chapters 18 and 19."""
    n = _longest(w, turn)
    caches = sum(x * _carried(f, a, w.batch, n) for f, x in a.families.items() if not _has_state(f))
    states = sum(x * _carried(f, a, w.batch, n) for f, x in a.families.items() if _has_state(f))
    return Memory(a.weights * a.itemsize, float(caches), float(states))


def request_seconds(w: Workload, a: Architecture, m: Machine) -> float:
    """Seconds from the start of a batch to its last token: every turn is read, and then decoded step by step."""
    turns = range(1, w.turns + 1)
    contexts = np.array([w.context(turn) for turn in turns], dtype=float)
    lengths = contexts[:, None] + np.arange(1, w.output)  # [turns, output − 1]: tokens carried at each step
    work = step(a, w.batch, lengths)
    steps = np.maximum(work.flops / m.flops, work.bytes / m.bandwidth) + m.overhead_s
    decoding = np.broadcast_to(steps, lengths.shape).sum()  # a state costs the same at every length
    return sum(first_token(w, a, m, turn).seconds for turn in turns) + float(decoding)


def tokens_per_second(w: Workload, a: Architecture, m: Machine) -> float:
    """Output tokens of the whole batch over its seconds."""
    return w.batch * w.turns * w.output / request_seconds(w, a, m)


def money(w: Workload, a: Architecture, m: Machine, requests: float = 1000) -> float:
    """What so many requests cost, in the currency of the price: requests / batch batches, one after the other.

    Raises ValueError for a machine without a price, or requests that are not above 0.
    """
    check_amount("requests", requests)
    if m.price_per_hour is None:
        raise ValueError(
            "price_per_hour must be given for a sum of money, got None: enter what an hour costs"
        )
    return requests / w.batch * request_seconds(w, a, m) / 3600 * m.price_per_hour


def largest_batch(w: Workload, a: Architecture, m: Machine) -> int:
    """Most requests whose caches and states fit beside the weights; 0 where not one does. `w.batch` does not count."""
    held = memory(w, a)
    return max(0, int((m.memory_bytes - held.weights) // (held.carried / w.batch)))


def mixer_share(w: Workload, a: Architecture) -> float:
    """Part of the FLOPs of reading, over all turns, that the mixers take: no other mixer can save more (Amdahl).

    For softmax layers of width d = heads · head_size with 12d² parameters it is `cost.attention_share`. Chapter 16.
    """
    turns = range(1, w.turns + 1)
    flops = sum(reading(a, w.batch, w.read(turn), w.held(turn)).flops for turn in turns)
    return 1 - sum(2 * a.weights * w.batch * w.read(turn) for turn in turns) / flops


def _longest(w: Workload, turn: int | None) -> int:
    """Tokens carried at the last decoding step of a turn: the last token is written and not read."""
    if turn is not None:
        _check_turn(w, turn)
    return w.context(turn or w.turns) + w.output - 1


def _check_turn(w: Workload, turn: int) -> None:
    check_count("turn", turn)
    if turn > w.turns:
        raise ValueError(f"turn must be at most the {w.turns} of the workload, got {turn}")


# --- side by side -------------------------------------------------------------------------------------

QUANTITIES: dict[str, Callable[[Workload, Architecture, Machine], float]] = {
    "first token": lambda w, a, m: first_token(w, a, m).seconds,
    "per token": lambda w, a, m: per_token(w, a, m).seconds,
    "memory": lambda w, a, m: memory(w, a).total,
    "seconds": request_seconds,
    "money": money,
}


def comparison(w: Workload, architectures: Sequence[Architecture], m: Machine) -> Table:
    """A line an architecture: first token, per token, request, tokens a second, memory, largest batch, money."""
    columns = (
        "",
        "first token",
        "per token",
        "request",
        "tokens/s",
        "memory",
        "fit at once",
        "price of 1,000",
    )
    return Table(columns, tuple(_cells(w, a, m) for a in architectures))


def amount(x: float) -> str:
    """A sum of money: two decimals, or three digits where it is small."""
    return f"{x:,.2f}" if x >= 1 else f"{x:#.3g}"


def _limited(time: Time) -> str:
    """Short, so that a cell of the table has two lines at most."""
    return f"{_format.seconds(time.seconds)} ({time.bound})"


def _rate(x: float) -> str:
    """Two digits where it is small: a slow rate is not 0."""
    return f"{x:,.0f}" if x >= 9.95 else f"{x:.2g}"


def _cells(w: Workload, a: Architecture, m: Machine) -> tuple[str, ...]:
    return (
        a.name,
        _limited(first_token(w, a, m)),
        _limited(per_token(w, a, m)),
        _format.seconds(request_seconds(w, a, m)),
        _rate(tokens_per_second(w, a, m)),
        _format.size(memory(w, a).total),
        f"{largest_batch(w, a, m):,}",
        "no price" if m.price_per_hour is None else amount(money(w, a, m)),
    )


@dataclass(frozen=True)
class BreakEven:
    """From `at` on, the architecture called `above` costs no more than the one called `below`, cheaper until then."""

    at: int
    below: str
    above: str

    def __str__(self) -> str:
        return f"{self.below} below {self.at:,}, {self.above} from there"


POINTS = 200  # lengths that `break_even` looks at before it closes in


def break_even(
    first: Architecture,
    second: Architecture,
    w: Workload,
    m: Machine,
    *,
    by: str = "seconds",
    vary: str = "prompt",
    low: int = 1,
    high: int = 1_000_000,
) -> BreakEven | None:
    """The first value of `vary` in low … high at which the cheaper of two architectures no longer is; None without one.

    by: one of `QUANTITIES`.  vary: "prompt", "document", "output", "turns" or "batch" of the workload. It looks at 200
    values a constant factor apart and closes in on the first change by halving, so two changes between neighbours can
    hide. Raises TypeError or ValueError for arguments that do not fit. Chapter 18.
    """
    quantity = choose("by", by, QUANTITIES)
    choose("vary", vary, dict.fromkeys(("prompt", "document", "output", "turns", "batch")))
    for argument, n in (("low", low), ("high", high)):
        check_count(argument, n)
    if low > high:
        raise ValueError(f"low must be at most high = {high:,}, got {low:,}")

    def lead(n: int) -> float:
        """How much less the first one costs."""
        there = replace(w, **{vary: n})
        return quantity(there, second, m) - quantity(there, first, m)

    values = np.unique(np.geomspace(low, high, POINTS).round().astype(int)).tolist()
    leads = ((n, lead(n)) for n in values)
    before, ahead = next(((n, x) for n, x in leads if x), (None, 0.0))
    after = next((n for n, x in leads if x * ahead <= 0), None)
    if before is None or after is None:
        return None
    at = _first_change(lambda n: lead(n) * ahead <= 0, values[values.index(after) - 1], after)
    below, above = (first, second) if ahead > 0 else (second, first)
    return BreakEven(at, below.name, above.name)


def _first_change(changed: Callable[[int], bool], before: int, after: int) -> int:
    """Halving: `changed` is false at `before` and true at `after`; the first integer where it is true."""
    while after - before > 1:
        middle = (before + after) // 2
        before, after = (before, middle) if changed(middle) else (middle, after)
    return after
