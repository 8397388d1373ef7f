"""One row per kind of cache: which factor of the size formula it attacks, what it weighs, and where it is derived.

    bytes = B · L · T · (2 · H_kv · D) · bytes per number ÷ utilisation,     with 2D = K + V

B sequences, L layers, T tokens, H_kv key–value heads of size D; utilisation is the part of the reserved memory that
is in use. A new kind is one file with a `Cache` and a row, and one line in `course_lib.cache`; tests walk over all
rows. Chapter 04 derives the formula, chapter 05 attacks its factors.
"""

from collections.abc import Callable
from dataclasses import dataclass

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.registry import Table
from course_lib.cache.base import Cache

BUDGET = 256  # tokens that a cache with a limit keeps unless told otherwise
FACTORS = {
    "none": "the yardstick: every factor in full",
    "B": "share what several sequences have in common",
    "L": "keep fewer layers' tokens",
    "T": "keep fewer tokens",
    "2·H_kv·D": "keep fewer numbers per token and layer",
    "bytes": "keep each number in fewer bits",
    "utilisation": "reserve no more than is used",
    "all": "keep no tokens at all, but a state",
}


@dataclass(frozen=True)
class CacheRow:
    """name: what it is called.  make: a new, empty cache.  attacks: one of `FACTORS`.  idea: in a line.

    nbytes: (B, T, H, H_kv, K, V, itemsize) -> bytes of one layer in use once T tokens have been appended and attended.
    exact: attend gives the mixer's own outputs, not an approximation.  mixer: whose outputs those are.
    chapter: number of the chapter that derives it.  paper: arXiv id.
    """

    name: str
    make: Callable[[], Cache]
    attacks: str
    idea: str
    nbytes: Callable[[int, int, int, int, int, int, int], int]
    mixer: str
    chapter: str
    paper: str
    exact: bool = True
    kv_groups: bool = True

    def __post_init__(self) -> None:
        checks.choose("attacks", self.attacks, FACTORS)


class CacheRegistry(dict[str, CacheRow]):
    """Name → row; shown as a table."""

    def table(self) -> Table:
        """A line a cache: what it attacks, its idea and the chapter that derives it."""
        rows = [(row.name, row.attacks, row.idea, row.chapter) for row in self.values()]
        return Table(("cache", "attacks", "idea", "chapter"), tuple(rows))

    def __str__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


CACHES = CacheRegistry()


def register(row: CacheRow) -> None:
    """Add a row; its name must be new."""
    if row.name in CACHES:
        raise ValueError(f"name must be new, got {row.name!r}, which is registered already")
    CACHES[row.name] = row


def full_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int) -> int:
    """Every key and value of H_kv heads: B·T·H_kv·(K + V)·itemsize."""
    return cost.cache_bytes(B, T, H_kv, K, V, itemsize=itemsize)


def linear_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int) -> int:
    """S and z of H heads in at least float32, whatever T."""
    return cost.state_bytes(B, H, K, V, itemsize=max(itemsize, 4))


def window_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int) -> int:
    """The last 256 tokens of H_kv heads."""
    return cost.kept_cache_bytes(B, T, H_kv, K, V, BUDGET, itemsize=itemsize)


def heavy_hitter_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int) -> int:
    """256 tokens of H_kv heads, with a sum and a position each."""
    return cost.heavy_hitter_bytes(B, T, H_kv, K, V, BUDGET, itemsize=itemsize)


def snapkv_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int) -> int:
    """256 tokens of a prompt of T."""
    return cost.snapkv_bytes(B, T, 0, H_kv, K, V, BUDGET, itemsize=itemsize)


def quantised_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int, *, bits: int) -> int:
    """All tokens of H_kv heads, at `bits` bits but for the newest."""
    return cost.quantised_bytes(B, T, H_kv, K, V, bits, itemsize=itemsize)


def latent_bytes(B: int, T: int, H: int, H_kv: int, K: int, V: int, itemsize: int) -> int:
    """A turned key of size K and a latent of size V for all heads."""
    return cost.latent_bytes(B, T, V, K, itemsize=itemsize)
