"""Tensors that grow together: what most caches keep their tokens in.

They lie head by head, `[B, H_kv, capacity, ·]`, so that a decoding step reads one head's tokens from one place. Where
a token does not fit, the capacity doubles: n tokens cost fewer than 2n copies of old ones, so an append is O(1) on
average. Chapter 04.
"""

import torch
from torch import Tensor

from course_lib.cache.base import tensor_bytes


class Buffers:
    """Rows of several tensors, of which the first `used` are in use; `limit` rows at most where the owner says so."""

    def __init__(self, limit: int | None = None) -> None:
        self.used = 0
        self._limit = limit
        self._tensors: tuple[Tensor, ...] = ()

    @property
    def capacity(self) -> int:
        """Rows there is room for."""
        return self._tensors[0].shape[2] if self._tensors else 0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Views of the rows in use, `[B, H_kv, used, ·]` each; () before the first row."""
        return tuple(x[:, :, : self.used] for x in self._tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use."""
        return tensor_bytes(*self.tensors)

    @property
    def reserved(self) -> int:
        """Bytes of all rows."""
        return tensor_bytes(*self._tensors)

    def extend(self, *new: Tensor) -> None:
        """Put rows `[B, H_kv, T, ·]`, a tensor for each, behind those in use."""
        start, end = self.used, self.used + new[0].shape[2]
        if end > self.capacity:
            old = self._tensors or tuple(x[:, :, :0] for x in new)
            capacity = max(end, min(2 * self.capacity, self._limit or 2 * self.capacity))
            self._tensors = tuple(_grown(x, start, capacity) for x in old)
        for buffer, x in zip(self._tensors, new, strict=True):
            buffer[:, :, start:end] = x
        self.used = end

    def replace(self, tensors: tuple[Tensor, ...]) -> None:
        """Hold exactly these from now on; they belong to the buffers."""
        self._tensors = tensors
        self.used = tensors[0].shape[2] if tensors else 0


def _grown(buffer: Tensor, used: int, capacity: int) -> Tensor:
    """A buffer `[B, H_kv, capacity, ·]` that begins with the first `used` rows of the old one."""
    larger = torch.empty(
        (*buffer.shape[:2], capacity, buffer.shape[3]), dtype=buffer.dtype, device=buffer.device
    )
    larger[:, :, :used] = buffer[:, :, :used]
    return larger
