"""A Transformer block with a pluggable mixer.

    x ← x + W_o (gate(x) ⊙ norm(mix(q, k, v)))        q, k, v = conv(W_qkv x)
    x ← x + W_2 gelu(W_1 norm(x))

Only `mix` differs between models: any row of the registry fits. What linear models like to have around it
is optional here: a short causal convolution on q, k, v (Mamba, DeltaNet), L2-normalised q and k (DeltaNet),
an RMS norm on each head's output and a gate (RetNet, GLA). A block can be cut anywhere: it hands over the
mixer's state and the convolution's last inputs. Chapter 08 puts linear attention inside it.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import mixer as find_mixer


class BlockState(NamedTuple):
    """What a block carries: the mixer's state, and the last width − 1 inputs of the convolution (or None)."""

    mixer: Any
    conv: Tensor | None


class ShortConvolution(nn.Module):
    """Causal depthwise convolution: each channel becomes a weighted sum of its own last `width` values."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(width, channels).uniform_(-bound, bound))

    def forward(self, x: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x `[B, T, channels]`, the `width − 1` inputs before it (None = zeros) -> y, last inputs now."""
        before = len(self.weight) - 1
        if last is None:
            last = x.new_zeros(x.shape[0], before, x.shape[2])
        padded = torch.cat([last, x], dim=1)
        T = x.shape[1]
        taps = self.weight.to(x.dtype)  # under autocast x is bfloat16, and so stays y
        y = sum(w * padded[:, i : i + T] for i, w in enumerate(taps))
        return y, padded[:, T:].clone()  # a view would keep all T inputs alive


class Mixer(nn.Module):
    """Projections around one sequence mixer. Options as in `Block`; x `[B, T, d]` -> `[B, T, d]`."""

    def __init__(
        self,
        d: int,
        heads: int,
        mixer: str = "softmax_attention",
        *,
        kv_heads: int | None = None,
        conv: int = 0,
        qk_norm: bool = False,
        out_norm: bool = False,
        gate: bool = False,
        **mixer_kwargs: Any,
    ) -> None:
        super().__init__()
        self.row = find_mixer(mixer)
        self.heads, self.kv_heads = heads, _check_heads(d, heads, kv_heads)
        self.mixer_kwargs = {"mode": self.row.fast} | mixer_kwargs
        # Registered, so that .to() and an optimiser see the parameters of a learned feature map.
        self.learned = nn.ModuleList(x for x in mixer_kwargs.values() if isinstance(x, nn.Module))
        K = d // heads
        self.widths = [heads * K, self.kv_heads * K, self.kv_heads * K]
        self.to_qkv = nn.Linear(d, sum(self.widths), bias=False)
        self.conv = ShortConvolution(sum(self.widths), conv) if conv else None
        self.qk_norm = qk_norm
        self.out_norm = nn.RMSNorm(K) if out_norm else nn.Identity()
        self.to_gate = nn.Linear(d, d, bias=False) if gate else None
        self.to_out = nn.Linear(d, d, bias=False)

    def forward(
        self, x: Tensor, state: BlockState | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, BlockState]:
        mixed, last = state or BlockState(None, None)
        qkv = self.to_qkv(x)
        if self.conv is not None:
            qkv, last = self.conv(qkv, last)
        o, mixed = self.row.fn(
            *self._heads(qkv), initial_state=mixed, output_final_state=return_state, **self.mixer_kwargs
        )
        # Under autocast o is bfloat16 and the parameters are float32: a norm belongs in float32.
        o = self.out_norm(o.to(self.to_out.weight.dtype)).flatten(2)
        if self.to_gate is not None:
            o = o * F.silu(self.to_gate(x))
        y = self.to_out(o)
        return (y, BlockState(mixed, last)) if return_state else y

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, ·] -> q `[B, T, H, K]`, k and v with the heads that the mixer takes."""
        q, k, v = (
            x.unflatten(-1, (-1, self.widths[0] // self.heads)) for x in qkv.split(self.widths, dim=-1)
        )
        if self.qk_norm:
            # On a GPU, autocast takes the norm in float32: back to the dtype of v.
            q, k = (F.normalize(x, dim=-1).to(v.dtype) for x in (q, k))
        if not self.row.kv_groups:
            k, v = (x.repeat_interleave(self.heads // self.kv_heads, dim=2) for x in (k, v))
        return q, k, v


class Block(nn.Module):
    """One pre-norm Transformer layer: x + mix(norm(x)), then x + mlp(norm(x)).

    d: model width.  heads: H; each has K = V = d / H channels.  mixer: a name from
    `course_lib.attention.table()`.
    kv_heads: heads of k and v (default H); a mixer that keeps one state per query head sees them repeated.
    conv: width of the short convolution on q, k, v; 0 is none.  qk_norm: q and k of length 1 per head.
    out_norm: RMS norm of each head's output.  gate: output times silu(W_g x).  mlp_ratio: MLP width over d.
    mixer_kwargs: passed to the mixer, such as `mode` (default: the row's fast form) or `feature_map`.

    Raises ValueError for a name that the registry does not have, and heads that do not divide d. Chapter 08.
    """

    def __init__(
        self,
        d: int,
        heads: int,
        mixer: str = "softmax_attention",
        *,
        kv_heads: int | None = None,
        conv: int = 0,
        qk_norm: bool = False,
        out_norm: bool = False,
        gate: bool = False,
        mlp_ratio: int = 4,
        **mixer_kwargs: Any,
    ) -> None:
        super().__init__()
        options = {"kv_heads": kv_heads, "conv": conv, "qk_norm": qk_norm, "out_norm": out_norm, "gate": gate}
        self.norm_mix, self.norm_mlp = nn.RMSNorm(d), nn.RMSNorm(d)
        self.mix = Mixer(d, heads, mixer, **options, **mixer_kwargs)
        self.mlp = nn.Sequential(
            nn.Linear(d, mlp_ratio * d, bias=False), nn.GELU(), nn.Linear(mlp_ratio * d, d, bias=False)
        )

    def forward(
        self, x: Tensor, state: BlockState | None = None, return_state: bool = False
    ) -> Tensor | tuple[Tensor, BlockState]:
        """x `[B, T, d]` -> `[B, T, d]`, and the state after the last token if `return_state`.

        state: what an earlier call returned for the tokens before x; None is the start of the text.
        """
        if not return_state:
            return self._mlp(x + self.mix(self.norm_mix(x), state))
        mixed, state = self.mix(self.norm_mix(x), state, return_state=True)
        return self._mlp(x + mixed), state

    def _mlp(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.norm_mlp(x))


def count_parameters(module: nn.Module) -> int:
    """How many numbers of `module` are trained."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _check_heads(d: int, heads: int, kv_heads: int | None) -> int:
    """The number of key–value heads, if all of them fit."""
    if heads < 1 or d % heads:
        raise ValueError(
            f"heads must divide the width d = {d}, got {heads}: each head has d / heads channels"
        )
    kv_heads = heads if kv_heads is None else kv_heads
    if kv_heads < 1 or heads % kv_heads:
        raise ValueError(
            f"kv_heads must divide heads = {heads}, got {kv_heads}: each is shared by a group of heads"
        )
    return kv_heads
