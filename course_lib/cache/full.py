"""The key–value cache: every key and every value, for as long as the text lasts.

Keys `[B, capacity, H_kv, K]` and values `[B, capacity, H_kv, V]` lie in buffers with room to spare. Where a token does
not fit, the capacity doubles: n tokens cost fewer than 2n copies of old tokens over the whole text, so an append is
O(1) on average, where joining a new token to an exact-size tensor copies n(n − 1)/2 of them. With H_kv < H query
heads share a key (grouped queries, arXiv 2305.13245) and the cache is smaller by H / H_kv. Chapter 04.
"""

from torch import Tensor

from course_lib.attention import checks, softmax_attention
from course_lib.attention.softmax import FORMS
from course_lib.cache.base import Cache, grown, tensor_bytes


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
        return self._buffers[0].shape[1] if self._buffers else 0

    def _write(self, k: Tensor, v: Tensor) -> None:
        start, end = len(self), len(self) + k.shape[1]
        if end > self.capacity:
            buffers = self._buffers or (k[:, :0], v[:, :0])
            self._buffers = tuple(grown(x, start, max(end, 2 * self.capacity)) for x in buffers)
        for buffer, new in zip(self._buffers, (k, v), strict=True):
            buffer[:, start:end] = new

    def _read(self, q: Tensor) -> Tensor:
        o, _ = softmax_attention(q, **self._held(), **self._options)
        return o

    def _held(self) -> dict[str, Tensor]:
        return {name: x[:, : len(self)] for name, x in zip("kv", self._buffers, strict=False)}

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._buffers = tuple(tensors.values())

    def _drop_after(self, length: int) -> None:
        """Nothing to do: the length says how much of the buffers is in use."""
