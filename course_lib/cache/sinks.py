"""Sinks and a window: the first s tokens stay, because every query leans on them; then the last w.

A softmax must put its weight somewhere, and trained models put what they do not need on the first tokens, whatever
they say. A window that evicts them makes the weights of the rest too large. Positions are places in the cache: with
s = 2 sinks and a window of 3, after token 8,

    token   0  1  6  7  8
    place   0  1  2  3  4

so no distance is ever larger than the model was trained for. A token's place changes as others leave; therefore keys
are stored as they are, before they are turned, and turned by their place when they are read. Chapters 05 and 19;
StreamingLLM, arXiv 2309.17453.
"""

import math

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.attention.rope import rope
from course_lib.attention.softmax import share
from course_lib.cache.ring import RingCache


class SinkCache(RingCache):
    """Softmax attention over the first `sinks` and the last `window` tokens: `sinks + window` tokens at most.

    Token t sees token j where j < sinks or j > t − window, and j ≤ t; so a piece gives what its tokens one by one do.
    A piece that has not been attended yet lies beside the others. Several queries at once must be among the tokens
    appended since the last attend, unless nothing has been evicted yet; `truncate` works until then.

    rope: turn queries and keys by their places in the cache (K must be even); append keys and ask queries that have
    not been turned. Without it they are used as they come. rope_base: as `base` of `rope`. scale: `K ** -0.5` by
    default. chunk_size: queries of a piece that are read together. Chapters 05 and 19; arXiv 2309.17453.
    """

    def __init__(
        self,
        *,
        sinks: int = 4,
        window: int = 252,
        rope: bool = False,
        rope_base: float = 10_000.0,
        scale: float | None = None,
        chunk_size: int = 64,
    ) -> None:
        checks.check_count("sinks", sinks)
        checks.check_flag("rope", rope)
        super().__init__(window, sinks, scale, chunk_size)
        self._rope, self._rope_base = rope, rope_base

    def _write(self, k: Tensor, v: Tensor) -> None:
        if self._rope and k.shape[-1] % 2:
            raise ValueError(
                f"k must have an even head size K, got {k.shape[-1]}: rope turns pairs of channels"
            )
        super()._write(k, v)

    def _turned(self, x: Tensor, places: Tensor) -> Tensor:
        return rope(x, places, base=self._rope_base) if self._rope else x

    def _read_one(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        places = self._ring.order(q.device).argsort()  # slot -> place
        return super()._read_one(self._turned(q, places.amax()[None]), self._turned(k, places), v)

    def _read_piece(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scale = q.shape[-1] ** -0.5 if self._scale is None else self._scale
        with no_autocast(q):
            q_up, k_up, v_up = cast_up(q, *share(q, k, v), dtype=working_dtype(q))
            start, out = len(self) - q.shape[1], []
            for q_c in (q_up * scale).split(self._chunk_size, dim=1):
                out.append(self._read_block(q_c, k_up, v_up, start))
                start += q_c.shape[1]
        return torch.cat(out, dim=1).to(v.dtype)

    def _read_block(self, q: Tensor, k: Tensor, v: Tensor, start: int) -> Tensor:
        """Outputs of the tokens `start`, `start + 1`, …: scores with the sinks beside scores with their windows."""
        t = torch.arange(start, start + q.shape[1], device=q.device)
        s = min(self.sinks, len(self))
        gone = len(self) - k.shape[1]  # tokens between the sinks and the oldest one of the window
        first = max(start - self.window + 1, s + gone)  # the block's oldest token that is no sink
        here = slice(first - gone, max(start + q.shape[1] - gone, first - gone))
        k_w, v_w = k[:, here], v[:, here]
        j = torch.arange(k_w.shape[1], device=q.device)
        to_window = _scores(self._turned(q, (t - first).clamp(min=0)), self._turned(k_w, j))
        distance = (t - first)[:, None] - j
        to_window = to_window.masked_fill((distance < 0) | (distance >= self.window), -math.inf)
        i = torch.arange(s, device=q.device)
        places = t.clamp(max=self.sinks + self.window - 1)
        to_sinks = _scores(self._turned(q, places), self._turned(k[:, :s], i))
        to_sinks = to_sinks.masked_fill(i > t[:, None], -math.inf)
        weights = torch.cat([to_sinks, to_window], dim=-1).softmax(-1)
        return torch.einsum("bhtn,bnhv->bthv", weights, torch.cat([v[:, :s], v_w], dim=1))


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """`[B, H, T_q, n]`"""
    return torch.einsum("bthk,bnhk->bhtn", q, k)
