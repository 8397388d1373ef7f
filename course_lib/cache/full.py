"""The key–value cache: every key and every value, for as long as the text lasts.

Keys `[B, H_kv, capacity, K]` and values `[B, H_kv, capacity, V]` lie in buffers with room to spare: head by head, so
that a decoding step reads one head's tokens from one place (on a CPU, with 16,384 tokens of 8 heads, that takes a
third of the time of token by token). Where a token does not fit, the capacity doubles: n tokens cost fewer than 2n
copies of old tokens over the whole text, so an append is O(1) on average, where joining a new token to an exact-size
tensor copies n(n − 1)/2 of them. With H_kv < H query heads share a key (grouped queries, arXiv 2305.13245) and the
cache is smaller by H / H_kv. Chapter 04.
"""

import torch
from torch import Tensor

from course_lib.attention import checks, softmax_attention
from course_lib.attention.softmax import FORMS
from course_lib.cache.base import Cache, tensor_bytes


class FullCache(Cache):
    """Softmax attention over all tokens so far: `nbytes` is B·T·H_kv·(K + V)·itemsize, of which T grows.

    scale, mode, chunk_size: as in `softmax_attention`, which computes the outputs in its own precision. Any number of
    query heads that H_kv divides. `truncate` forgets the last tokens at no cost. Chapter 04.
    """

    def __init__(self, *, scale: float | None = None, mode: str = "sdpa", chunk_size: int = 64) -> None:
        super().__init__()
        checks.check_scale(scale)
        checks.check_form(mode, FORMS, chunk_size)
        self._options = {"scale": scale, "mode": mode, "chunk_size": chunk_size}
        self._buffers: tuple[Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return tensor_bytes(*self._held().values())

    @property
    def reserved(self) -> int:
        return tensor_bytes(*self._buffers)

    @property
    def capacity(self) -> int:
        """Tokens there is room for."""
        return self._buffers[0].shape[2] if self._buffers else 0

    def _write(self, k: Tensor, v: Tensor) -> None:
        new = k.transpose(1, 2), v.transpose(1, 2)
        start, end = len(self), len(self) + k.shape[1]
        if end > self.capacity:
            old = self._buffers or tuple(x[:, :, :0] for x in new)
            self._buffers = tuple(_grown(x, start, max(end, 2 * self.capacity)) for x in old)
        for buffer, x in zip(self._buffers, new, strict=True):
            buffer[:, :, start:end] = x

    def _read(self, q: Tensor) -> Tensor:
        k, v = (x.transpose(1, 2) for x in self._held().values())
        H, H_kv = q.shape[2], k.shape[2]
        if q.shape[1] > 1 or H_kv == H or H % H_kv:
            return softmax_attention(q, k, v, **self._options)[0]
        # One token of grouped heads: those of a group stand as queries beside each other, so that their key is read
        # once, where torch's kernel reads it for each of them.
        heads = q.squeeze(1).unflatten(1, (H_kv, -1)).transpose(1, 2)  # [B, H / H_kv, H_kv, K]
        o, _ = softmax_attention(heads, k, v, causal=False, **self._options)
        return o.transpose(1, 2).flatten(1, 2).unsqueeze(1)

    def _held(self) -> dict[str, Tensor]:
        return {name: x[:, :, : len(self)] for name, x in zip("kv", self._buffers, strict=False)}

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._buffers = tuple(tensors.values())

    def _drop_after(self, length: int) -> None:
        """Nothing to do: the length says how much of the buffers is in use."""


def _grown(buffer: Tensor, used: int, capacity: int) -> Tensor:
    """A buffer `[B, H_kv, capacity, ·]` that begins with the first `used` tokens of the old one."""
    larger = torch.empty(
        (*buffer.shape[:2], capacity, buffer.shape[3]), dtype=buffer.dtype, device=buffer.device
    )
    larger[:, :, :used] = buffer[:, :, :used]
    return larger
