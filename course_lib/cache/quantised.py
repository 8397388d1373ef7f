"""Fewer bits for a number: keys rounded channel by channel, values token by token, the newest tokens not at all.

    code = round((x − low) / step),     step = (high − low) / (2^bits − 1),     x ≈ low + step · code

low and high are those of a group of numbers that share a step. Keys have a few channels that are large for every
token: a step shared along a token would be made for them and lose all other channels, so a key's group is one channel
of `group` tokens. Values have no such channels, and a weighted sum of tokens forgives errors of single tokens, so
theirs is one token. The newest tokens, which matter most and do not fill a group yet, stay as they are. Codes are
packed, 8 / bits of them in a byte. Chapter 05; KIVI, arXiv 2402.02750.
"""

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.cache.base import Cache
from course_lib.cache.buffers import Buffers
from course_lib.cache.full import attend_to, softmax_options

BITS = (2, 4, 8)
KEYS = {"per channel": -2, "per token": -1}  # the axis along which keys share a step


class QuantisedCache(Cache):
    """Softmax attention over all tokens, of which all but the newest `residual` or a few more have `bits` bits.

    Once `residual + group` tokens are there and have been attended, the oldest `group` of them are rounded, so between
    `residual` and `residual + group − 1` stay full. A piece is read before it is rounded: a prompt in one piece is
    read exactly. Reading unpacks all tokens of this layer for a moment.

    nbytes: a group takes group·(K + V)·bits / 8 bytes of codes a head, and a low and a step in the inputs' dtype for
    each of its key channels and for each of its values. `truncate` works back to the oldest token that is still full.
    bits: 2, 4 or 8. keys: "per channel", or "per token" to see why not. group: a multiple of 8 / bits. residual: at
    least 1. scale, mode, chunk_size: as in `FullCache`. Chapter 05; arXiv 2402.02750.
    """

    def __init__(
        self,
        *,
        bits: int = 4,
        group: int = 32,
        residual: int = 128,
        keys: str = "per channel",
        scale: float | None = None,
        mode: str = "sdpa",
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        _check_bits(bits)
        for name, n in (("group", group), ("residual", residual)):
            checks.check_count(name, n)
        if group * bits % 8:
            raise ValueError(
                f"group must be a multiple of {8 // bits}, so that {bits}-bit codes fill whole bytes, got {group}"
            )
        self._axis = checks.choose("keys", keys, KEYS)
        self.bits, self.group, self.residual = bits, group, residual
        self._options = softmax_options(scale, mode, chunk_size)
        self._groups = Buffers()  # a row a group: codes, step and low of its keys, then of its values
        self._full = Buffers()  # k and v of the newest tokens

    @property
    def nbytes(self) -> int:
        return self._groups.nbytes + self._full.nbytes

    @property
    def reserved(self) -> int:
        return self._groups.reserved + self._full.reserved

    @property
    def rounded(self) -> int:
        """Tokens that are held as codes."""
        return self._groups.used * self.group

    def _write(self, k: Tensor, v: Tensor) -> None:
        self._round_oldest()
        self._full.extend(k.transpose(1, 2), v.transpose(1, 2))

    def _read(self, q: Tensor) -> Tensor:
        self._check_heads(q)
        k, v = self._full.tensors
        if self.rounded:
            old_k, old_v = self._unpacked()
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
        o = attend_to(q, k.transpose(1, 2), v.transpose(1, 2), **self._options)
        self._round_oldest()
        return o

    def _round_oldest(self) -> None:
        """Turn full tokens into codes, a group at a time, as long as `residual` remain."""
        n = (self._full.used - self.residual) // self.group
        if n < 1:
            return
        old = (x[:, :, : n * self.group].unflatten(2, (n, self.group)) for x in self._full.tensors)
        packed = (
            part for x, axis in zip(old, (self._axis, -1), strict=True) for part in self._packed(x, axis)
        )
        self._groups.extend(*packed)
        self._full.replace(tuple(x[:, :, n * self.group :].clone() for x in self._full.tensors))

    def _packed(self, x: Tensor, axis: int) -> tuple[Tensor, ...]:
        """Codes, step and low of x `[B, H_kv, n, group, ·]`, a row for each group: `[B, H_kv, n, ·]`."""
        codes, step, low = quantise(x, self.bits, axis)
        return pack(codes, self.bits).flatten(3), step.flatten(3), low.flatten(3)

    def _unpacked(self) -> tuple[Tensor, Tensor]:
        """k and v of the rounded tokens: `[B, H_kv, rounded, ·]`."""
        rows = self._groups.tensors
        sizes = (x.shape[-1] for x in self._like)
        axes = (self._axis, -1)
        return tuple(
            self._restored(rows[3 * i : 3 * i + 3], size, axis)
            for i, (size, axis) in enumerate(zip(sizes, axes, strict=True))
        )

    def _restored(self, rows: tuple[Tensor, ...], size: int, axis: int) -> Tensor:
        codes, step, low = rows
        shared = (1, size) if axis == -2 else (self.group, 1)
        codes = unpack(codes.unflatten(3, (-1, size)), self.bits)
        x = dequantise(codes, step.unflatten(3, shared), low.unflatten(3, shared))
        return x.flatten(2, 3)

    def _held(self) -> dict[str, Tensor]:
        groups = {f"group {i}": x for i, x in enumerate(self._groups.tensors)}
        return groups | dict(zip("kv", self._full.tensors, strict=False))

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._full.replace(tuple(tensors[name] for name in "kv" if name in tensors))
        self._groups.replace(tuple(x for name, x in tensors.items() if name.startswith("group")))

    def _drop_after(self, length: int) -> None:
        if length < self.rounded:
            raise RuntimeError(
                f"a quantised cache cannot go back to {length} of its {len(self)} tokens: the first {self.rounded} are "
                f"rounded in groups of {self.group}, with steps that depend on the tokens to be forgotten. Keep a "
                f"snapshot() of the moment you may want back and restore() it"
            )
        self._full.used = length - self.rounded


def quantise(x: Tensor, bits: int, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (uint8, the shape of x), step and low (dtype of x, size 1 along `axis`) such that x ≈ low + step · code.

    The numbers along `axis` share a step; no error is larger than half of it, but for the rounding of step and low
    themselves. bits: 2, 4 or 8. Raises TypeError or ValueError. Chapter 05; arXiv 2402.02750.
    """
    _check_bits(bits)
    checks.check_tensor("x", x, x.dim() if isinstance(x, Tensor) else 1, "[…]")
    with no_autocast(x):
        low, high = (f(x, dim=axis, keepdim=True) for f in (torch.amin, torch.amax))
        (wide_x, wide_low, wide_high) = cast_up(x, low, high, dtype=working_dtype(x))
        levels = 2**bits - 1
        step = ((wide_high - wide_low) / levels).to(x.dtype)
        divisor = step.to(wide_x.dtype).masked_fill(step == 0, 1)  # all equal: every code is 0
        codes = ((wide_x - wide_low) / divisor).round().clamp(0, levels).to(torch.uint8)
    return codes, step, low


def dequantise(codes: Tensor, step: Tensor, low: Tensor) -> Tensor:
    """low + step · code, in the dtype of step."""
    dtype = working_dtype(step)
    with no_autocast(step):
        return torch.addcmul(low.to(dtype), step.to(dtype), codes.to(dtype)).to(step.dtype)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Codes `[…, n, m]` of `bits` bits, 8 / bits neighbours along n in a byte: uint8 `[…, n · bits / 8, m]`."""
    per_byte = 8 // bits
    parts = codes.unflatten(-2, (-1, per_byte)).unbind(-2)
    packed = torch.zeros_like(parts[0])
    for i, part in enumerate(parts):
        packed |= part << bits * i
    return packed


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The codes `[…, n, m]` that `pack` put into `[…, n · bits / 8, m]`."""
    parts = [packed >> bits * i & 2**bits - 1 for i in range(8 // bits)]
    return torch.stack(parts, dim=-2).flatten(-3, -2)


def _check_bits(bits: object) -> None:
    if isinstance(bits, bool) or bits not in BITS:
        raise ValueError(f"bits must be one of {', '.join(map(str, BITS))}, got {bits!r}")
