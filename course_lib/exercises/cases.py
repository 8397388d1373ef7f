"""The inputs a question is tried on: named cases, hidden shapes drawn from a secret seed, cases with limits.

A case holds the course's letters (B T H K V), a seed and a dtype; whatever else a question needs (a chunk
size C, a window) rides along as an extra and reads like an attribute. Equal cases give equal inputs:
everything random in them comes from `case.generator()`. A `Limit` is a case that also bounds CPU seconds and
the bytes held at once, which is how O(T) is told from O(T²) when the values cannot tell them apart.
"""

import copy
import random
from dataclasses import dataclass

import torch

LETTERS = ("B", "T", "H", "K", "V")
Range = int | tuple[int, int] | list


@dataclass(frozen=True, init=False)
class Case:
    """One set of sizes: `Case("ragged", B=2, T=13, H=2, K=4, V=6, C=4)`; `case.C` is 4, `case.extra` is {"C":
    4}.
    """

    name: str
    B: int
    T: int
    H: int
    K: int
    V: int
    seed: int
    dtype: torch.dtype
    extras: tuple[tuple[str, object], ...]

    def __init__(
        self,
        name: str,
        B: int = 1,
        T: int = 8,
        H: int = 1,
        K: int = 4,
        V: int = 4,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
        **extra: object,
    ) -> None:
        fields = {"name": name, "B": B, "T": T, "H": H, "K": K, "V": V, "seed": seed, "dtype": dtype}
        for key, value in (fields | {"extras": tuple(extra.items())}).items():
            object.__setattr__(self, key, value)
        for letter in LETTERS:
            size = getattr(self, letter)
            if not isinstance(size, int) or size < 1:
                raise ValueError(f"{letter} of case {name!r} is {size!r}; a whole number ≥ 1 is expected")

    def __getattr__(self, key: str) -> object:
        # Called only for what the dataclass does not have. `__dict__` and not `self.extras`: while a case is
        # being unpickled there are no extras yet, and asking for them here would never end.
        extra = dict(self.__dict__.get("extras", ()))
        if key in extra:
            return extra[key]
        known = ", ".join((*LETTERS, "seed", "dtype", *extra))
        raise AttributeError(f"a case has no {key!r}; it has {known}")

    @property
    def extra(self) -> dict[str, object]:
        """What the question added to the letters, such as {"C": 4}."""
        return dict(self.extras)

    def sizes(self) -> dict[str, int]:
        """Every letter with a size, extras included: what axes can be named after."""
        extra = {k: v for k, v in self.extras if isinstance(v, int) and not isinstance(v, bool)}
        return {letter: getattr(self, letter) for letter in LETTERS} | extra

    def reseeded(self, seed: int) -> "Case":
        """The same sizes, and limits if it has any, with other random numbers."""
        other = copy.copy(self)
        object.__setattr__(other, "seed", seed)
        return other

    def generator(self) -> torch.Generator:
        """A fresh CPU generator at this case's seed: the only source of randomness for its inputs."""
        return torch.Generator().manual_seed(self.seed)


class Limit(Case):
    """A case that must be answered within `cpu_seconds` of CPU time and `gigabytes` (10⁹ bytes) held at once.

    The bytes are torch's allocations during the call, inputs not counted. `hint` ends the message of an
    answer that held too much: what a good answer keeps, and what it need not keep.
    """

    cpu_seconds: float
    gigabytes: float
    hint: str

    def __init__(
        self,
        name: str,
        *,
        T: int,
        K: int,
        V: int,
        cpu_seconds: float,
        gigabytes: float,
        B: int = 1,
        H: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        hint: str = "",
        **extra: object,
    ) -> None:
        super().__init__(name, B=B, T=T, H=H, K=K, V=V, seed=seed, dtype=dtype, **extra)
        for key, value in {"cpu_seconds": cpu_seconds, "gigabytes": gigabytes, "hint": hint}.items():
            object.__setattr__(self, key, value)

    def scaled(self, T: int) -> "Limit":
        """The same case at length T with the bytes in proportion: what is linear in T passes or fails alike.

        The CPU seconds stay: a short run is mostly what every run costs, so a share of them proves nothing.
        """
        return Limit(
            self.name,
            **{letter: getattr(self, letter) for letter in LETTERS if letter != "T"},
            T=T,
            cpu_seconds=self.cpu_seconds,
            gigabytes=self.gigabytes * T / self.T,
            seed=self.seed,
            dtype=self.dtype,
            hint=self.hint,
            **self.extra,
        )


class Shapes:
    """`n` hidden cases of random sizes. A range is a pair (first, last), a fixed whole number, or a list to
    pick from.
    """

    DEFAULTS = {"B": (1, 3), "T": (1, 40), "H": (1, 3), "K": (2, 8), "V": (2, 8)}  # noqa: RUF012 - never written

    def __init__(self, n: int, *, dtype: torch.dtype = torch.float64, **ranges: Range) -> None:
        if n < 1:
            raise ValueError(f"Shapes({n}): at least one hidden case is expected")
        self.n, self.dtype, self.ranges = n, dtype, self.DEFAULTS | ranges

    def draw(self, rng: random.Random, name: str = "hidden") -> Case:
        """One case: sizes and seed from `rng`, so that one secret number fixes all hidden cases."""
        sizes = {key: _pick(span, rng) for key, span in self.ranges.items()}
        return Case(name, **sizes, seed=rng.getrandbits(62), dtype=self.dtype)

    def cases(self, rng: random.Random) -> list[Case]:
        """All n cases, named "hidden 1" to "hidden n": names that tell a student nothing about the data."""
        return [self.draw(rng, f"hidden {i + 1}") for i in range(self.n)]


def _pick(span: Range, rng: random.Random) -> object:
    if isinstance(span, tuple):
        return rng.randint(*span)
    return rng.choice(span) if isinstance(span, list) else span
