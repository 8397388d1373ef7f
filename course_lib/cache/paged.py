"""Pages: memory is handed out in blocks of a few tokens, and a table says where each block of a text lies.

A cache in one piece must be as long as the text may become. Pages follow the text as it grows: what is reserved and
not used is the rest of the last page, less than a page a sequence. And sequences that begin alike can point to the
same pages. Each page counts its owners; one of them that wants to write into a shared page copies it first.

    table of sequence 0:   3 → 7 → 2                 pages 3 and 7 have two owners
    table of sequence 1:   3 → 7 → 5                 pages 2 and 5 were copied or begun apart

Here a read gathers the pages side by side; the kernels of vLLM follow the table instead. Chapters 05 and 19;
PagedAttention, arXiv 2309.06180.
"""

import heapq
import weakref
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.cache.base import Cache, tensor_bytes
from course_lib.cache.full import attend_to, softmax_options

PAGE_SIZE = 16  # tokens


@dataclass
class Page:
    """k `[H_kv, page_size, K]`, v `[H_kv, page_size, V]`, and in how many tables it stands."""

    k: Tensor
    v: Tensor
    owners: int = 1


class PagePool:
    """Pages for any number of caches with the same heads, head sizes, dtype and device.

    page_size: tokens a page. limit: pages there is memory for, or None. A page is made when it is needed and given
    back with its last owner. Chapter 05; arXiv 2309.06180.
    """

    def __init__(self, page_size: int = PAGE_SIZE, *, limit: int | None = None) -> None:
        checks.check_count("page_size", page_size)
        if limit is not None:
            checks.check_count("limit", limit)
        self.page_size, self.limit = page_size, limit
        self.pages: dict[int, Page] = {}
        self._free: list[int] = []  # a heap of the numbers below the highest that no page has
        self._caches: weakref.WeakSet[PagedCache] = weakref.WeakSet()

    @property
    def nbytes(self) -> int:
        """Bytes that hold tokens in use: a token that several sequences share counts once."""
        filled: dict[int, int] = {}
        for cache in self._caches:
            for page, tokens in cache.filled().items():
                filled[page] = max(filled.get(page, 0), tokens)
        return sum(filled.values()) * self.slot_bytes

    @property
    def reserved(self) -> int:
        """Bytes of all pages that have an owner."""
        return len(self.pages) * self.page_size * self.slot_bytes

    @property
    def utilisation(self) -> float:
        """Part of the reserved bytes that is in use; 1 for no pages."""
        return self.nbytes / self.reserved if self.pages else 1.0

    @property
    def slot_bytes(self) -> int:
        """Bytes of one token; 0 before the first page."""
        page = next(iter(self.pages.values()), None)
        return tensor_bytes(page.k, page.v) // self.page_size if page else 0

    def check(self, k: Tensor, v: Tensor, wanted: int) -> None:
        """Tokens like these fit the pages, and `wanted` more pages can be had. ValueError, TypeError, MemoryError."""
        if self.pages:
            page = next(iter(self.pages.values()))
            _check_like(k, v, page)
        if self.limit is not None and len(self.pages) + wanted > self.limit:
            raise MemoryError(
                f"{wanted} more pages of {self.page_size} tokens are wanted, but {len(self.pages)} of the pool's "
                f"{self.limit} are in use: let go of a cache, truncate one, or share a prefix with fork()"
            )

    def new(self, k: Tensor, v: Tensor) -> int:
        """The number of a new page for tokens like k, v `[T, H_kv, ·]`."""
        return self._add(Page(*(x.new_empty(x.shape[1], self.page_size, x.shape[2]) for x in (k, v))))

    def _add(self, page: Page) -> int:
        """The lowest free number, which is the page's from now on."""
        number = heapq.heappop(self._free) if self._free else len(self.pages)
        self.pages[number] = page
        return number

    def share(self, number: int) -> None:
        """One more owner."""
        self.pages[number].owners += 1

    def release(self, numbers: Iterable[int]) -> None:
        """One owner fewer for each; a page without owners is given back."""
        for number in numbers:
            self.pages[number].owners -= 1
            if not self.pages[number].owners:
                del self.pages[number]
                heapq.heappush(self._free, number)

    def own(self, number: int) -> int:
        """For one of its owners: this page where there is no other, else a copy of it, and one owner fewer here."""
        page = self.pages[number]
        if page.owners == 1:
            return number
        page.owners -= 1
        return self._add(Page(page.k.clone(), page.v.clone()))

    def register(self, cache: "PagedCache") -> None:
        """Count this cache's tokens, and take its pages back when it is gone."""
        self._caches.add(cache)
        weakref.finalize(cache, _release_all, self, cache.table).atexit = False


class PagedCache(Cache):
    """Softmax attention over all tokens, which lie in pages of a pool: exact, and `truncate` gives pages back.

    table: for each sequence of the batch the numbers of its pages, in order. `fork` shares them. `nbytes` counts a
    slot once however many sequences of this cache share it; caches that share a page count it each, and the pool's
    `nbytes` once. A full pool raises MemoryError, and an append
    then changes nothing. A snapshot is a copy of all tokens: to keep a
    moment cheaply, fork.
    pool: where the pages come from; None makes one of `PAGE_SIZE` tokens a page without a limit. scale, mode,
    chunk_size: as in `FullCache`. Chapters 05 and 19; arXiv 2309.06180.
    """

    def __init__(
        self,
        pool: PagePool | None = None,
        *,
        scale: float | None = None,
        mode: str = "sdpa",
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        if pool is not None and not isinstance(pool, PagePool):
            raise TypeError(f"pool must be a PagePool or None, got {type(pool).__name__}")
        self._options = softmax_options(scale, mode, chunk_size)
        self.pool = PagePool() if pool is None else pool
        self.table: list[list[int]] = []
        self.pool.register(self)

    @property
    def nbytes(self) -> int:
        return sum(self.filled().values()) * self.pool.slot_bytes

    @property
    def reserved(self) -> int:
        return len(self.filled()) * self.pool.page_size * self.pool.slot_bytes

    @property
    def utilisation(self) -> float:
        """Part of the reserved bytes that is in use; 1 for an empty cache."""
        return self.nbytes / self.reserved if self.table else 1.0

    def filled(self) -> dict[int, int]:
        """Page number -> tokens of this cache that lie there."""
        P = self.pool.page_size
        return {page: min(P, len(self) - i * P) for pages in self.table for i, page in enumerate(pages)}

    def fork(self, copies: int = 1) -> "PagedCache":
        """A cache that goes on from here by itself, on the same pages: O(pages) time and no tokens copied.

        copies: how often each sequence of the batch stands in it, next to each other; B becomes B · copies.
        """
        checks.check_count("copies", copies)
        other = PagedCache(self.pool, **self._options)
        other._length = self._length
        if self._like is not None:
            other._like = tuple(x.repeat_interleave(copies, dim=0) for x in self._like)
        for pages in self.table:
            for _ in range(copies):
                other.table.append(list(pages))
                for page in pages:
                    self.pool.share(page)
        return other

    def _write(self, k: Tensor, v: Tensor) -> None:
        self._store(k, v, len(self))

    def _store(self, k: Tensor, v: Tensor, start: int) -> None:
        """Put tokens at the positions from `start` on, in pages of their own."""
        P, end = self.pool.page_size, start + k.shape[1]
        self.pool.check(k, v, self._pages_wanted(k.shape[0], start, end))
        if not self.table:
            self.table.extend([] for _ in range(k.shape[0]))
        for pages, k_b, v_b in zip(self.table, k, v, strict=True):
            for i in range(start // P, -(-end // P)):
                if i == len(pages):
                    pages.append(self.pool.new(k_b, v_b))
                pages[i] = self.pool.own(pages[i])
                page, first, last = self.pool.pages[pages[i]], max(start, i * P), min(end, (i + 1) * P)
                for buffer, x in ((page.k, k_b), (page.v, v_b)):
                    buffer[:, first - i * P : last - i * P] = x[first - start : last - start].transpose(0, 1)

    def _pages_wanted(self, B: int, start: int, end: int) -> int:
        """New pages for each sequence, and copies of last pages that are shared and not full; a last owner keeps it."""
        P = self.pool.page_size
        wanted = B * (-(-end // P) - -(-start // P))
        if start % P and self.table:
            lasts = [pages[-1] for pages in self.table]
            wanted += sum(min(lasts.count(page), self.pool.pages[page].owners - 1) for page in set(lasts))
        return wanted

    def _read(self, q: Tensor) -> Tensor:
        return attend_to(q, *self._gathered(), **self._options)

    def _gathered(self) -> tuple[Tensor, Tensor]:
        """k and v of all tokens side by side: `[B, T, H_kv, ·]`."""
        rows = [[self.pool.pages[number] for number in pages] for pages in self.table]
        k, v = (
            torch.stack([torch.cat([getattr(page, name) for page in row], dim=1) for row in rows])
            for name in "kv"
        )
        return tuple(x[:, :, : len(self)].transpose(1, 2) for x in (k, v))

    def _held(self) -> dict[str, Tensor]:
        return dict(zip("kv", self._gathered(), strict=True)) if self.table else {}

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        _release_all(self.pool, self.table)
        try:
            if tensors:
                self._store(tensors["k"], tensors["v"], 0)
        except MemoryError:
            self._length = 0  # its own pages are gone by now, and what was to come does not fit
            raise

    def _drop_after(self, length: int) -> None:
        keep = -(-length // self.pool.page_size)
        for pages in self.table:
            self.pool.release(pages[keep:])
            del pages[keep:]
        if not keep:
            self.table.clear()


def _release_all(pool: PagePool, table: list[list[int]]) -> None:
    """Give all pages of a table back and leave it empty."""
    for pages in table:
        pool.release(pages)
    table.clear()


def _check_like(k: Tensor, v: Tensor, page: Page) -> None:
    for name, x, held in (("k", k, page.k), ("v", v, page.v)):
        if (x.shape[2], x.shape[3]) != (held.shape[0], held.shape[2]):
            raise ValueError(
                f"{name} must have the {held.shape[0]} heads of size {held.shape[2]} of the pool's pages, got "
                f"{list(x.shape)}: caches of other shapes need a pool of their own"
            )
        if x.dtype != held.dtype:
            raise TypeError(f"{name} must have the dtype of the pool's pages, {held.dtype}, got {x.dtype}")
        if x.device != held.device:
            raise ValueError(f"{name} must be on {held.device} like the pool's pages, got {x.device}")
