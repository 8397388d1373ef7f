"""The key–value cache: every key and every value, for as long as the text lasts.

Keys `[B, H_kv, capacity, K]` and values `[B, H_kv, capacity, V]` lie in buffers with room to spare: head by head, so
that a decoding step reads one head's tokens from one place (on a CPU, with 16,384 tokens of 8 heads, that takes a
third of the time of token by token). Where a token does not fit, the capacity doubles: n tokens cost fewer than 2n
copies of old tokens over the whole text, so an append is O(1) on average, where joining a new token to an exact-size
tensor copies n(n − 1)/2 of them. With H_kv < H query heads share a key (grouped queries, arXiv 2305.13245) and the
cache is smaller by H / H_kv. Chapter 04.
"""

from typing import Any

from torch import Tensor

from course_lib.attention import checks, softmax_attention
from course_lib.attention.softmax import FORMS
from course_lib.cache.base import Cache
from course_lib.cache.buffers import Buffers


class FullCache(Cache):
    """Softmax attention over all tokens so far: `nbytes` is B·T·H_kv·(K + V)·itemsize, of which T grows.

    scale, mode, chunk_size: as in `softmax_attention`, which computes the outputs in its own precision. Any number of
    query heads that H_kv divides. `truncate` forgets the last tokens at no cost. Chapter 04.
    """

    def __init__(self, *, scale: float | None = None, mode: str = "sdpa", chunk_size: int = 64) -> None:
        super().__init__()
        self._options = softmax_options(scale, mode, chunk_size)
        self._buffers = Buffers()

    @property
    def nbytes(self) -> int:
        return self._buffers.nbytes

    @property
    def reserved(self) -> int:
        return self._buffers.reserved

    @property
    def capacity(self) -> int:
        """Tokens there is room for."""
        return self._buffers.capacity

    def _write(self, k: Tensor, v: Tensor) -> None:
        self._buffers.extend(k.transpose(1, 2), v.transpose(1, 2))

    def _read(self, q: Tensor) -> Tensor:
        return attend_to(q, *(x.transpose(1, 2) for x in self._buffers.tensors), **self._options)

    def _held(self) -> dict[str, Tensor]:
        return dict(zip("kv", self._buffers.tensors, strict=False))

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._buffers.replace(tuple(tensors[name] for name in "kv" if name in tensors))

    def _drop_after(self, length: int) -> None:
        self._buffers.used = length


def softmax_options(scale: float | None, mode: str, chunk_size: int) -> dict[str, Any]:
    """Checked keyword arguments for `attend_to`."""
    checks.check_scale(scale)
    checks.check_form(mode, FORMS, chunk_size)
    return {"scale": scale, "mode": mode, "chunk_size": chunk_size}


def attend_to(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """Causal softmax attention of the last tokens' q `[B, T_q, H, K]` to k, v `[B, T, H_kv, ·]`: `[B, T_q, H, V]`."""
    H, H_kv = q.shape[2], k.shape[2]
    if q.shape[1] > 1 or H_kv == H or H % H_kv:
        return softmax_attention(q, k, v, **options)[0]
    # One token of grouped heads: those of a group stand as queries beside each other, so that their key is read
    # once, where torch's kernel reads it for each of them.
    heads = q.squeeze(1).unflatten(1, (H_kv, -1)).transpose(1, 2)  # [B, H / H_kv, H_kv, K]
    o, _ = softmax_attention(heads, k, v, causal=False, **options)
    return o.transpose(1, 2).flatten(1, 2).unsqueeze(1)
