"""A ring of slots: the first tokens may keep theirs, the others take turns.

Token j lies in slot j while there is room; after that the token that falls out of the window leaves its slot to the
newest one, so nothing is ever moved. Softmax attention does not ask in which order tokens lie (chapter 04), so one
query reads the slots as they are. A piece of several tokens waits beside the ring until it has been attended: its
first query still needs tokens that its last ones push out. Chapters 05 and 19.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.cache.base import Cache, check_newest, tensor_bytes
from course_lib.cache.buffers import Buffers
from course_lib.cache.full import attend_to


class Ring:
    """The first `sinks` rows and the last `window` of all rows `[B, H_kv, ·, ·]` written so far."""

    def __init__(self, window: int, sinks: int = 0) -> None:
        self.window, self.sinks = window, sinks
        self.count = 0  # rows written so far
        self.buffers = Buffers(limit=window + sinks)

    def write(self, *new: Tensor) -> None:
        """Put rows `[B, H_kv, T, ·]` behind those written so far, in the slots of those that fall out."""
        room = self.window + self.sinks - self.buffers.used
        self.count += new[0].shape[2]
        if room > 0:
            self.buffers.extend(*(x[:, :, :room] for x in new))
        rest = [x[:, :, room:][:, :, -self.window :] for x in new]
        if rest[0].shape[2]:
            device = rest[0].device
            late = torch.arange(self.count - rest[0].shape[2], self.count, device=device) - self.sinks
            for buffer, x in zip(self.buffers.tensors, rest, strict=True):
                buffer[:, :, self.sinks + late % self.window] = x

    def order(self, device: torch.device) -> Tensor:
        """The slots in use, the oldest token's first: `[used]`."""
        slots = torch.arange(self.buffers.used, device=device)
        if self.complete:
            return slots
        turned = (self.count - self.sinks + slots[: self.window]) % self.window
        return torch.cat([slots[: self.sinks], self.sinks + turned])

    @property
    def complete(self) -> bool:
        """Nothing has fallen out yet."""
        return self.count == self.buffers.used


class RingCache(Cache):
    """What windows have in common. One query may be asked again; several only until their piece has been attended."""

    def __init__(self, window: int, sinks: int, scale: float | None, chunk_size: int) -> None:
        super().__init__()
        checks.check_count("window", window)
        checks.check_scale(scale)
        checks.check_count("chunk_size", chunk_size)
        self.window, self.sinks = window, sinks
        self._scale, self._chunk_size = scale, chunk_size
        self._ring = Ring(window, sinks)
        self._waiting: tuple[Tensor, ...] = ()  # k and v of a piece that has not been attended yet

    @property
    def nbytes(self) -> int:
        return self._ring.buffers.nbytes + tensor_bytes(*self._waiting)

    @property
    def reserved(self) -> int:
        return self._ring.buffers.reserved + tensor_bytes(*self._waiting)

    def _write(self, k: Tensor, v: Tensor) -> None:
        self._settle()
        self._waiting = k.transpose(1, 2).clone(), v.transpose(1, 2).clone()
        if k.shape[1] == 1:
            self._settle()

    def _settle(self) -> None:
        """Let the waiting piece take its place in the ring."""
        if self._waiting:
            self._ring.write(*self._waiting)
            self._waiting = ()

    def _read(self, q: Tensor) -> Tensor:
        self._check_heads(q)
        available = len(self) if self._ring.complete else len(self) - self._ring.count + 1
        check_newest(q, available, "that still have all they may see; older ones have lost some of it")
        if q.shape[1] == 1:
            self._settle()
            return self._read_one(q, *(x.transpose(1, 2) for x in self._ring.buffers.tensors))
        o = self._read_piece(q, *self._in_order())
        self._settle()
        return o

    def _in_order(self) -> tuple[Tensor, Tensor]:
        """k and v of all tokens held, those that wait too, oldest first: `[B, n, H_kv, ·]`."""
        if not self._ring.count:
            return tuple(x.transpose(1, 2) for x in self._waiting)
        held = (x.index_select(2, self._ring.order(x.device)) for x in self._ring.buffers.tensors)
        if self._waiting:
            held = (torch.cat(pair, dim=2) for pair in zip(held, self._waiting, strict=True))
        return tuple(x.transpose(1, 2) for x in held)

    def _read_one(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The newest token's output from the tokens of the ring in any order."""
        return attend_to(q, k, v, scale=self._scale, mode="sdpa")

    @abstractmethod
    def _read_piece(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Outputs of the last tokens of k and v, which are all that is held in order."""

    def _held(self) -> dict[str, Tensor]:
        ring = dict(zip(("k", "v"), self._ring.buffers.tensors, strict=False))
        return ring | dict(zip(("k waiting", "v waiting"), self._waiting, strict=False))

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._waiting = tuple(tensors[name] for name in ("k waiting", "v waiting") if name in tensors)
        waiting = self._waiting[0].shape[2] if self._waiting else 0
        self._ring.buffers.replace(tuple(tensors[name] for name in "kv" if name in tensors))
        self._ring.count = len(self) - waiting

    def _drop_after(self, length: int) -> None:
        if length < self._ring.count and not self._ring.complete:
            raise RuntimeError(
                f"a window cannot go back to {length} of its {len(self)} tokens: the tokens that the last ones pushed "
                f"out are gone. Keep a snapshot() of the moment you may want back and restore() it"
            )
        self._waiting = tuple(x[:, :, : max(length - self._ring.count, 0)] for x in self._waiting)
        if not any(x.shape[2] for x in self._waiting):
            self._waiting = ()
        if length < self._ring.count:
            self._ring.count = self._ring.buffers.used = length
