"""What a decoder carries from token to token, behind one interface: append, attend, and how many bytes it holds.

    cache.append(k, v)      # T ≥ 1 new tokens
    o = cache.attend(q)     # the queries of the last T_q tokens appended; causal among themselves

A cache is for inference: it keeps no graph of what it stores. The first tokens fix the batch, the heads, the head
sizes, the dtype and the device. Chapter 04.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from course_lib.attention import checks


@dataclass(frozen=True)
class Snapshot:
    """What a cache held at one moment, apart from the cache: writing to the cache does not change it."""

    kind: str
    length: int
    like: tuple[Tensor, Tensor] | None
    tensors: Mapping[str, Tensor]


class Cache(ABC):
    """One layer's memory of a text. `len(cache)` is the number of tokens it has been given."""

    def __init__(self) -> None:
        self._length = 0
        self._like: tuple[Tensor, Tensor] | None = None  # an empty k and v: shapes, dtype, device

    def __len__(self) -> int:
        return self._length

    def append(self, k: Tensor, v: Tensor) -> None:
        """Store T ≥ 1 tokens: k `[B, T, H_kv, K]`, v `[B, T, H_kv, V]`, of one dtype and device.

        Raises TypeError or ValueError where they do not fit together, or not what the cache holds already.
        """
        _check_new_tokens(k, v)
        if self._like is not None:
            _check_same_kind(k, v, *self._like)
        self._write(k.detach(), v.detach())
        if self._like is None:
            self._like = tuple(x.detach()[:, :0].clone() for x in (k, v))
        self._length += k.shape[1]

    def attend(self, q: Tensor) -> Tensor:
        """Outputs `[B, T_q, H, V]` of the queries q `[B, T_q, H, K]` of the last T_q ≥ 1 tokens appended.

        Each sees every token up to its own that the cache still holds. Raises TypeError or ValueError where q does not
        fit.
        """
        checks.check_tensor("q", q, 4, "[B, T_q, H, K]")
        if self._like is None:
            raise ValueError(
                "attend needs at least one token, but the cache is empty: append its k and v first"
            )
        if q.shape[1] < 1:
            raise ValueError("q must have at least one token, got 0")
        return self._read(q)

    def snapshot(self) -> Snapshot:
        """What is held now, as a copy: `restore` returns to it, from this cache or another one like it."""
        return Snapshot(type(self).__name__, self._length, self._like, _copies(self._held()))

    def restore(self, snapshot: Snapshot) -> None:
        """Hold again what was held when `snapshot` was taken. Raises TypeError for another kind's snapshot."""
        kind = type(self).__name__
        if not isinstance(snapshot, Snapshot) or snapshot.kind != kind:
            got = snapshot.kind if isinstance(snapshot, Snapshot) else type(snapshot).__name__
            raise TypeError(f"snapshot must be one of a {kind}, got {got}: pass on what snapshot() returned")
        self._length, self._like = snapshot.length, snapshot.like
        self._hold(_copies(snapshot.tensors))

    def truncate(self, length: int) -> None:
        """Forget all tokens but the first `length`, where this kind of cache can (see its class).

        Raises TypeError or ValueError for a length that is not between 0 and `len(cache)`.
        """
        if isinstance(length, bool) or not isinstance(length, int):
            raise TypeError(f"length must be an integer, got {type(length).__name__}")
        if not 0 <= length <= len(self):
            raise ValueError(f"length must lie between 0 and the {len(self)} tokens held, got {length}")
        if length < len(self):
            self._drop_after(length)
            self._length = length

    def _check_heads(self, q: Tensor) -> None:
        """q fits the keys held: batch, head size, dtype, device, and a number of heads that H_kv divides."""
        checks.check_qkv(q, *self._like, kv_groups=True)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes that hold tokens in use."""

    @property
    @abstractmethod
    def reserved(self) -> int:
        """Bytes taken from the machine: `nbytes`, and room that is kept for more."""

    @abstractmethod
    def _write(self, k: Tensor, v: Tensor) -> None:
        """Store checked tokens, or raise and change nothing; `len(self)` still counts those before them."""

    @abstractmethod
    def _read(self, q: Tensor) -> Tensor:
        """Outputs for a checked q."""

    @abstractmethod
    def _held(self) -> dict[str, Tensor]:
        """All tensors in use, by name; `_hold` takes them back."""

    @abstractmethod
    def _hold(self, tensors: dict[str, Tensor]) -> None:
        """The counterpart of `_held`; the tensors belong to the cache from now on."""

    @abstractmethod
    def _drop_after(self, length: int) -> None:
        """Forget tokens from `length` on, or raise RuntimeError and say why not."""


def check_newest(q: Tensor, available: int, why: str) -> None:
    """The queries are of the `available` newest tokens; `why` says where those before them went."""
    if q.shape[1] > available:
        raise ValueError(f"q must have at most the {available} tokens {why}, got {q.shape[1]}")


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.clone() for name, x in tensors.items()}


def tensor_bytes(*tensors: Tensor) -> int:
    """Bytes of the elements of these tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)


def _check_new_tokens(k: Tensor, v: Tensor) -> None:
    checks.check_tensor("k", k, 4, "[B, T, H_kv, K]")
    checks.check_tensor("v", v, 4, "[B, T, H_kv, V]")
    if k.dtype != v.dtype:
        raise TypeError(f"v must have the dtype of k, {k.dtype}, got {v.dtype}: convert it with .to(k.dtype)")
    if k.device != v.device:
        raise ValueError(f"v must be on {k.device}, got {v.device}: move it with .to({str(k.device)!r})")
    if k.shape[:3] != v.shape[:3]:
        raise ValueError(
            f"v must have the shape [B, T, H_kv, ·] = {list(k.shape[:3])} of k, got {list(v.shape[:3])}: "
            f"each key carries one value"
        )
    if k.shape[1] < 1:
        raise ValueError("k must have at least one token, got 0")


def _check_same_kind(k: Tensor, v: Tensor, like_k: Tensor, like_v: Tensor) -> None:
    """New tokens have the batch, heads, head sizes, dtype and device of the first ones."""
    for name, x, like in (("k", k, like_k), ("v", v, like_v)):
        if (x.shape[0], *x.shape[2:]) != (like.shape[0], *like.shape[2:]):
            expected = ["any" if axis == 1 else n for axis, n in enumerate(like.shape)]
            raise ValueError(
                f"{name} must have the shape [{', '.join(map(str, expected))}] of the tokens held, "
                f"got {list(x.shape)}: only T may change from call to call"
            )
        if x.dtype != like.dtype:
            raise TypeError(f"{name} must have the dtype of the tokens held, {like.dtype}, got {x.dtype}")
        if x.device != like.device:
            raise ValueError(
                f"{name} must be on the device of the tokens held, {like.device}, got {x.device}"
            )
