"""The block-sparse engine: a block of queries beside the blocks of keys that it may see, and nothing else.

    o_t = Σ_{i ∈ S(t)} p_{ti} v_i,     p_{ti} ∝ exp(scale · q_tᵀ k_i) over i ∈ S(t) ⊆ {1 … t}

A pattern lists, for each block of queries, the blocks of keys that hold all of its sets S(t), and says which pairs
inside them are hidden. A block of C queries with w listed keys costs 2Cw(K + V) FLOPs, so T tokens cost O(T·w) time
and memory, and no T×T tensor is made. Keys are cut once (`split`): slicing them block by block would give a backward
pass in O(T²) (chapter 13). "parallel", the definition, applies the whole T×T mask instead. Chapter 06; arXiv
1904.10509, 2007.14062.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pattern:
    """Which keys the queries see, a block at a time. Positions count from 0, the oldest key of the cache.

    block: tokens of a block; block n holds the positions n·block … (n + 1)·block − 1.
    listed: number of a query block -> the key blocks that it meets, in rising order and none later than its own.
    hidden: positions of queries `[C, 1]`, of keys `[n]` -> `[C, n]`, True for a pair of the listed that is not seen.
    singles: positions of keys that queries see besides, in rising order; `hidden` says which.
    """

    block: int
    listed: Callable[[int], Sequence[int]]
    hidden: Callable[[Tensor, Tensor], Tensor]
    singles: tuple[int, ...] = ()


def later(i: Tensor, j: Tensor) -> Tensor:
    """Hidden: keys that come after the query."""
    return j > i


def attend(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """q `[B, H, T_q, K]`, scaled, the last T_q tokens of k `[B, H, T, K]` and v `[B, H, T, V]` -> `[B, H, T_q, V]`."""
    keys, values = _Blocks(k, pattern), _Blocks(v, pattern)
    out = []
    for first, q_c in query_blocks(q, k.shape[2] - q.shape[2], pattern.block):
        seen = pattern.listed(first // pattern.block)
        besides = [n for n, at in enumerate(keys.singles) if at < first and at // pattern.block not in seen]
        j = keys.positions(seen, besides, q.device)
        i = torch.arange(first, first + q_c.shape[2], device=q.device)[:, None]
        scores = q_c @ keys.take(seen, besides).mT
        weights = scores.masked_fill_(pattern.hidden(i, j), -math.inf).softmax(-1)
        out.append(weights @ values.take(seen, besides))
    return torch.cat(out, dim=2)


def query_blocks(q: Tensor, first: int, block: int) -> list[tuple[int, Tensor]]:
    """(position, queries) of each block that q `[B, H, T_q, K]` meets; its first token stands at `first`."""
    end = first + q.shape[2]
    starts = [first, *range(first - first % block + block, end, block)]
    sizes = [after - before for before, after in pairwise([*starts, end])]
    return list(zip(starts, q.split(sizes, dim=2), strict=True))


class _Blocks:
    """Keys or values cut into blocks, and the single ones of a pattern."""

    def __init__(self, x: Tensor, pattern: Pattern) -> None:
        self.block, self.length = pattern.block, x.shape[2]
        self.blocks = x.split(pattern.block, dim=2)
        self.singles = [at for at in pattern.singles if at < self.length]
        self.alone = self._take_singles(x) if self.singles else ()

    def _take_singles(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.index_select(2, torch.tensor(self.singles, device=x.device)).split(1, dim=2)

    def take(self, seen: Sequence[int], besides: Sequence[int]) -> Tensor:
        """The single ones with these numbers, then the blocks."""
        return torch.cat([*(self.alone[n] for n in besides), *(self.blocks[n] for n in seen)], dim=2)

    def positions(self, seen: Sequence[int], besides: Sequence[int], device: torch.device) -> Tensor:
        """Where what `take` returns stands."""
        within = torch.arange(self.block, device=device)
        at = (torch.tensor(list(seen), device=device)[:, None] * self.block + within).flatten()
        at = at[: sum(self.blocks[n].shape[2] for n in seen)]  # the last block may be a part
        if not besides:
            return at
        return torch.cat([torch.tensor([self.singles[n] for n in besides], device=device), at])


def read_by(pattern: Pattern, t: int, device: torch.device) -> Tensor:
    """Positions of the keys that a query at t must read, in rising order: a decoder needs no other."""
    seen = pattern.listed(t // pattern.block)
    within = [at for n in seen for at in range(n * pattern.block, min((n + 1) * pattern.block, t + 1))]
    besides = [at for at in pattern.singles if at < t and at // pattern.block not in seen]
    i, j = torch.tensor([[t]], device=device), torch.tensor([*besides, *within], device=device)
    return j[~pattern.hidden(i, j)[0]]


def attend_masked(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """The definition: softmax over the pairs where `seen` `[…, T, T]` is True; its last T_q rows are those of q."""
    scores = q @ k.mT
    return scores.masked_fill(~seen[..., -q.shape[2] :, :], -math.inf).softmax(-1) @ v
