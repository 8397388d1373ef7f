"""What a decision needs to know: the work, the models, the machine, and what each model remembers.

Every number is an argument. A ceiling of a machine and a recall carry the words that say where they were measured;
nothing is assumed for a number that nobody gave. Chapter 18.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from course_lib import cost, runtime
from course_lib.attention.checks import check_count, check_counts, check_flag, choose
from course_lib.timing.ceilings import Rates, calibrate

FAMILIES = {
    "softmax": "a cache of every key and value",
    "window": "a cache of the last keys and values",
    "linear": "a state of K × V numbers a head, added to",
    "delta": "a state of K × V numbers a head, corrected",
}


def check_amount(argument: str, x: object, *, least: float = 0.0, most: float = math.inf) -> None:
    """A finite number above `least` and at most `most`."""
    if isinstance(x, bool) or not isinstance(x, int | float):
        raise TypeError(f"{argument} must be a number, got {type(x).__name__}")
    if not least < x <= most or math.isinf(x):
        expected = f"above {least:g}" if most == math.inf else f"above {least:g} and at most {most:g}"
        raise ValueError(f"{argument} must be a finite number {expected}, got {x}")


def check_share(argument: str, x: object) -> None:
    """A number from 0 to 1."""
    if x != 0 or isinstance(x, bool):
        check_amount(argument, x, most=1.0)


def check_source(argument: str, x: object) -> None:
    """Words that say where a number comes from."""
    if not isinstance(x, str) or not x.strip():
        raise ValueError(f"{argument} must say where the numbers come from, got {x!r}")


@dataclass(frozen=True)
class Workload:
    """What is served. All lengths in tokens (`course_lib.tasks.tokens_in` makes them of words).

        document prompt output | prompt output | … prompt output        `turns` times, then the request is over

    document: read once, before the first prompt.  prompt: read in every turn.  output: written in every turn, of which
    reading gives the first token and each decoding step one more.  turns: of a request.  batch: requests served
    together, in step with each other.  recall: the least share of right answers that will do, 0 for any.
    first_token_s, per_token_s: the longest wait in seconds that will do, None for any.  keeps: what is carried is kept
    from turn to turn; otherwise each turn reads everything before it again.

    Raises TypeError or ValueError for counts below 1 (document: below 0), and numbers out of range.
    """

    name: str
    prompt: int
    output: int
    turns: int = 1
    document: int = 0
    batch: int = 1
    recall: float = 0.0
    first_token_s: float | None = None
    per_token_s: float | None = None
    keeps: bool = True

    def __post_init__(self) -> None:
        check_counts(prompt=self.prompt, output=self.output, turns=self.turns, batch=self.batch)
        if self.document != 0 or isinstance(self.document, bool):
            check_count("document", self.document)
        check_share("recall", self.recall)
        for argument in ("first_token_s", "per_token_s"):
            if getattr(self, argument) is not None:
                check_amount(argument, getattr(self, argument))
        check_flag("keeps", self.keeps)

    def context(self, turn: int) -> int:
        """Tokens up to the end of the prompt of a turn (from 1): what its first output token depends on."""
        return self.document + (turn - 1) * (self.prompt + self.output) + self.prompt

    def held(self, turn: int) -> int:
        """Of these, how many are carried from earlier turns: all but the prompt and the last token written."""
        return self.context(turn) - self.prompt - 1 if self.keeps and turn > 1 else 0

    def read(self, turn: int) -> int:
        """Of these, how many the model has to read in this turn."""
        return self.context(turn) - self.held(turn)


@dataclass(frozen=True)
class Architecture:
    """A decoder-only model.

    layers of width d, each with a mixer of `heads` query heads, `kv_heads` key–value heads (of the families with a
    cache) and K = V = head_size.  pattern: families of `FAMILIES`, repeated over the layers: ("softmax",), or a hybrid
    ("linear", "linear", "linear", "softmax").  itemsize: bytes of a weight and an activation.  cache_itemsize,
    state_itemsize: bytes of a number in a cache, in a state.  parameters: all of them; None stands for 12d² a layer,
    four projections d × d and an MLP of width 4d, as `cost.layer_flops` counts.  window: tokens that a window layer
    sees.  chunk: tokens in a chunk of the chunk and window forms.

    Raises TypeError or ValueError for what does not fit, or a window or chunk that the pattern needs and that is None.
    """

    name: str
    layers: int
    d: int
    heads: int
    kv_heads: int
    head_size: int
    pattern: Sequence[str]
    itemsize: float
    cache_itemsize: float
    state_itemsize: float
    parameters: int | None = None
    window: int | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        sizes = ("layers", "d", "heads", "kv_heads", "head_size")
        check_counts(**{argument: getattr(self, argument) for argument in sizes})
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads must divide the {self.heads} heads, got {self.kv_heads}")
        if isinstance(self.pattern, str) or not self.pattern:
            raise ValueError(f'pattern must be a sequence such as ("softmax",), got {self.pattern!r}')
        for family in self.pattern:
            choose("pattern", family, FAMILIES)
        for argument in ("itemsize", "cache_itemsize", "state_itemsize"):
            check_amount(argument, getattr(self, argument))
        if self.parameters is not None:
            check_count("parameters", self.parameters)
        self._check_needed("window", {"window"})
        self._check_needed("chunk", {"window", "linear", "delta"})

    def _check_needed(self, argument: str, families: set[str]) -> None:
        needed = families & set(self.families)
        if getattr(self, argument) is not None:
            check_count(argument, getattr(self, argument))
        elif needed:
            raise ValueError(f"{argument} must be given for {' and '.join(sorted(needed))} layers, got None")

    @cached_property
    def families(self) -> dict[str, int]:
        """How many layers each family has."""
        return dict(Counter(self.pattern[i % len(self.pattern)] for i in range(self.layers)))

    @property
    def weights(self) -> int:
        """Parameters of the model."""
        if self.parameters is not None:
            return self.parameters
        per_token = cost.layer_flops(1, self.d) - cost.softmax_flops(1, 1, 1, self.d, self.d)
        return self.layers * per_token // 2  # 2 FLOPs a weight


@dataclass(frozen=True)
class Machine:
    """What serves.

    flops: FLOP/s of matrix products.  bandwidth: bytes/s.  memory_bytes: for weights, caches and states.  source: where
    these come from, such as "measured by calibrate()", a file of data/measurements or the maker's data sheet.
    price_per_hour: in any currency, None if there is none.  overhead_s: measured seconds that every pass through the
    model takes beside what the ceilings explain (launches, the program around it: chapter 16).

    Raises TypeError or ValueError for numbers that are not above 0 (overhead_s: below 0), or no source.
    """

    name: str
    flops: float
    bandwidth: float
    memory_bytes: float
    source: str
    price_per_hour: float | None = None
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        for argument in ("flops", "bandwidth", "memory_bytes"):
            check_amount(argument, getattr(self, argument))
        check_source("source", self.source)
        if self.price_per_hour is not None:
            check_amount("price_per_hour", self.price_per_hour)
        if self.overhead_s != 0 or isinstance(self.overhead_s, bool):
            check_amount("overhead_s", self.overhead_s)

    @classmethod
    def here(
        cls,
        *,
        price_per_hour: float | None = None,
        overhead_s: float = 0.0,
        rates: Rates | None = None,
    ) -> "Machine":
        """This machine with the ceilings that `calibrate()` measures now (or measured earlier: `rates`)."""
        rates = rates or calibrate()
        threads = f"{rates.threads} thread{'s' if rates.threads != 1 else ''}"
        return cls(
            name=rates.device,
            flops=rates.gemm_flops,
            bandwidth=rates.bandwidth_bytes,
            memory_bytes=runtime.machine().device_memory_bytes,
            source=f"measured here by calibrate(): {rates.dtype}, {threads}",
            price_per_hour=price_per_hour,
            overhead_s=overhead_s,
        )


@dataclass(frozen=True)
class Recall:
    """Share of right answers (0 … 1) that an architecture gave, and where that was measured.

    Raises TypeError or ValueError for a value out of range, or no source.
    """

    value: float
    source: str

    def __post_init__(self) -> None:
        check_share("value", self.value)
        check_source("source", self.source)
