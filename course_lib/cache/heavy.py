"""Heavy hitters: the newest tokens, and of the older ones those that queries have looked at most.

Each key–value head adds up the attention weight that each of its tokens has received from every query since it came.
When the budget is full, the token of the smallest sum that is not among the newest goes: one head may forget a word
that another one keeps. A token is never asked for again once it has gone, so a fact that nobody looked at early is
lost, however important it becomes. Chapter 05; H2O, arXiv 2306.14048.
"""

import math

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.cache.base import Cache, check_newest
from course_lib.cache.buffers import Buffers


class HeavyHitterCache(Cache):
    """Softmax attention over `recent + heavy` tokens a head: the newest, and those of the largest summed weight.

    A piece is read whole: each of its queries sees what was held before it and the piece up to its own token; then
    the tokens over the budget go, those of the smallest sums first and of equal sums the oldest. So a prompt in one
    piece is read exactly. With grouped queries a sum is over the query heads of the group. Attend each append once:
    tokens whose queries were never asked have given no weight, and `truncate` raises RuntimeError.

    nbytes: K + V numbers, the sum in at least float32 and a position in int32, for each token and head held.
    recent, heavy: at least 1 each. scale: `K ** -0.5` by default. chunk_size: queries of a piece that are read
    together. Chapter 05; arXiv 2306.14048.
    """

    def __init__(
        self, *, recent: int = 128, heavy: int = 128, scale: float | None = None, chunk_size: int = 64
    ) -> None:
        super().__init__()
        for name, n in (("recent", recent), ("heavy", heavy), ("chunk_size", chunk_size)):
            checks.check_count(name, n)
        checks.check_scale(scale)
        self.recent, self.heavy = recent, heavy
        self._scale, self._chunk_size = scale, chunk_size
        self._slots = Buffers(limit=self.budget + 1)  # k, v, sum of weights, position
        self._unread = 0  # tokens appended since the last attend

    @property
    def budget(self) -> int:
        """Tokens a head keeps."""
        return self.recent + self.heavy

    @property
    def nbytes(self) -> int:
        return self._slots.nbytes

    @property
    def reserved(self) -> int:
        return self._slots.reserved

    @property
    def kept(self) -> Tensor:
        """Positions of the tokens each head holds, ascending: int64 `[B, H_kv, n]`. ValueError while empty."""
        if not self._slots.tensors:
            raise ValueError("kept needs at least one token, but the cache is empty")
        return self._slots.tensors[3].squeeze(-1).long().sort(-1).values

    def _write(self, k: Tensor, v: Tensor) -> None:
        self._evict()
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        weight = torch.zeros(*k.shape[:3], 1, dtype=working_dtype(k), device=k.device)
        position = torch.arange(len(self), len(self) + k.shape[2], dtype=torch.int32, device=k.device)
        self._slots.extend(k, v, weight, position[:, None].expand(*k.shape[:3], 1))
        self._unread = k.shape[2]

    def _read(self, q: Tensor) -> Tensor:
        self._check_heads(q)
        check_newest(q, self._unread, "appended since the last attend: what older ones saw may be gone")
        with no_autocast(q):
            t = torch.arange(len(self) - q.shape[1], len(self), device=q.device)
            blocks = zip(q.split(self._chunk_size, 1), t.split(self._chunk_size), strict=True)
            o = torch.cat([self._attended(q_c, t_c) for q_c, t_c in blocks], dim=1)
        self._evict()
        self._unread = 0
        return o

    def _attended(self, q: Tensor, t: Tensor) -> Tensor:
        """Outputs of a block of queries at positions t; adds their weights to the sums."""
        k, v, weight, position = self._slots.tensors
        q_up, k_up, v_up = cast_up(q, k, v, dtype=working_dtype(q))
        weights = causal_weights(q_up, k_up, t, position.squeeze(-1), self._scale)
        weight += weights.sum((2, 3))[..., None]
        o = weights @ v_up[:, :, None]  # [B, H_kv, H / H_kv, T_q, V]
        return o.flatten(1, 2).transpose(1, 2).to(v.dtype)

    def _evict(self) -> None:
        over = self._slots.used - self.budget
        if over == 1:
            self._overwrite_lightest()
        elif over > 0:
            chosen = self._heaviest()
            self._slots.replace(tuple(take(x, chosen) for x in self._slots.tensors))

    def _overwrite_lightest(self) -> None:
        """One token too many: the last slot's takes the place of the lightest, and nothing else moves."""
        _, _, weight, position = (x.squeeze(-1) for x in self._slots.tensors)
        weight = weight.masked_fill(position >= len(self) - self.recent, math.inf)
        lightest = weight == weight.amin(-1, keepdim=True)
        slot = position.masked_fill(~lightest, torch.iinfo(torch.int32).max).argmin(-1, keepdim=True)
        for x in self._slots.tensors:
            x.scatter_(2, slot[..., None].expand(-1, -1, -1, x.shape[-1]), x[:, :, -1:].clone())
        self._slots.used -= 1

    def _heaviest(self) -> Tensor:
        """Slots to keep, in the order of their positions: the newest, then the heaviest `[B, H_kv, budget]`."""
        _, _, weight, position = (x.squeeze(-1) for x in self._slots.tensors)
        weight = weight.masked_fill(position >= len(self) - self.recent, math.inf)
        newest_first = position.argsort(descending=True)
        order = weight.gather(-1, newest_first).argsort(descending=True, stable=True)
        chosen = newest_first.gather(-1, order[..., : self.budget])
        return chosen.gather(-1, position.gather(-1, chosen).argsort())

    def _held(self) -> dict[str, Tensor]:
        slots = dict(zip(("k", "v", "weight", "position"), self._slots.tensors, strict=False))
        return slots | {"unread": torch.tensor(self._unread)}

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._unread = int(tensors.pop("unread"))
        self._slots.replace(tuple(tensors.values()))

    def _drop_after(self, length: int) -> None:
        raise RuntimeError(
            f"a cache of heavy hitters cannot go back to {length} of its {len(self)} tokens: the later ones have added "
            f"their weights to the sums, and may have pushed others out. Keep a snapshot() of the moment you may want "
            f"back and restore() it"
        )


def causal_weights(q: Tensor, k: Tensor, t: Tensor, position: Tensor, scale: float | None) -> Tensor:
    """Attention weights of q `[B, T_q, H, K]` at positions t `[T_q]` on k `[B, H_kv, n, K]`.

    position: of the keys, `[n]` or `[B, H_kv, n]`. Returns `[B, H_kv, H / H_kv, T_q, n]`: heads of a group stand
    together.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    rows = q.transpose(1, 2).unflatten(1, (k.shape[1], -1)) * scale
    scores = rows @ k[:, :, None].mT
    hidden = position[..., None, None, :] > t[:, None]
    return scores.masked_fill(hidden, -math.inf).softmax(-1)


def take(x: Tensor, slots: Tensor) -> Tensor:
    """The rows of x `[B, H_kv, n, ·]` at `slots` `[B, H_kv, m]`, which each head chooses for itself."""
    return x.gather(2, slots[..., None].expand(-1, -1, -1, x.shape[-1]))
