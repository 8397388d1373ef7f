"""Inputs with a known structure, and what a cache makes of them: which method needs which structure.

On random keys every token is as good as any other, so whatever a cache forgets costs the same and a ranking says
nothing. Trained models are not random: the first tokens take weight that nobody needs (sinks), a few tokens are looked
at by everybody (heavy hitters), most of the rest is near by, and some key channels are large for every token
(outliers). `planted` puts any of these into random q, k, v; `decode_error` decodes with a cache and compares. Chapters
05 and 19; arXiv 2309.17453, 2306.14048, 2402.02750.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks, softmax_attention
from course_lib.cache.base import Cache

# Arguments of `planted`. Random inputs are the control.
PLANTS: dict[str, dict[str, Any]] = {
    "random": {},
    "sinks": {"sinks": 4, "near": 1 / 12},
    "heavy hitters": {"heavy": 8},
    "outlier channels": {"outliers": 4},
}
OUTLIER = 20.0
NEAREST = 1 / 16  # a bell that is narrower would need scores beyond 25
SPREAD = math.exp(0.5)  # mean of exp(score) over random tokens, whose scores have variance 1


def planted(
    B: int,
    T: int,
    H: int,
    D: int,
    *,
    H_kv: int | None = None,
    sinks: int = 0,
    heavy: int = 0,
    outliers: int = 0,
    near: float = 0.0,
    share: float = 0.7,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Random normal q `[B, T, H, D]` and k, v `[B, T, H_kv, D]` (float32) with structure in them.

    sinks: so many first tokens together take about `share` of a late query's weight; their values are a tenth as large.
    heavy: so many tokens, drawn for each sequence and key head from the first half after the sinks, take about `share`;
        their values are like all others. Where both are planted, each kind takes half of it.
    near: the rest of the weight falls off like a bell of this width, a part of T from 1/16 to 1; 0 spreads it evenly.
    outliers: so many channels of each key head are 20 larger for every token. That adds the same to all scores of a
        query, so attention stays what it is.
    share: above 0 and below 1. D: at least 4. The same for the same seed and arguments. Raises TypeError or ValueError.
    Chapter 05.
    """
    H_kv = H if H_kv is None else H_kv
    counts = {"B": B, "T": T, "H": H, "D": D, "H_kv": H_kv}
    _check(counts, {"sinks": sinks, "heavy": heavy, "outliers": outliers}, near, share)
    rng = torch.Generator().manual_seed(seed)
    q = torch.randn(B, T, H_kv, H // H_kv, D, generator=rng)  # the heads of a group beside each other
    k, v = torch.randn(2, B, T, H_kv, 1, D, generator=rng)
    looked, east, north = torch.linalg.qr(torch.randn(H_kv, 1, D, 3, generator=rng)).Q.unbind(-1)
    if sinks or heavy or near:  # these directions then hold what is planted and no noise
        for direction in (looked, east, north):
            q, k = (x - (x * direction).sum(-1, keepdim=True) * direction for x in (q, k))
    chosen = {"sinks": _first(k, sinks), "heavy": _drawn(k, sinks, heavy, rng)}  # True for these tokens
    mass = T * SPREAD  # Σ exp(score) over all tokens
    if near:
        strength = (math.pi * near) ** -2  # exp(strength · cos(π d / T)) is a bell of width near · T
        mass *= math.exp(strength) * near * math.sqrt(math.pi / 2)
        angle = torch.arange(T)[:, None, None, None] * math.pi / T
        place = math.sqrt(strength) * D**0.25 * (angle.cos() * east + angle.sin() * north)  # [T, H_kv, 1, D]
        q, k = q + place, torch.where(chosen["sinks"] | chosen["heavy"], k, k + place)
    if sinks or heavy:
        pull = math.sqrt(6) * D**0.25  # of every query
        q = q + pull * looked
        for name, n in (("sinks", sinks), ("heavy", heavy)):
            part = share / (2 if sinks and heavy else 1)
            score = math.log(part / (1 - share) * mass / (n * SPREAD)) if n else 0.0
            k = torch.where(chosen[name], k + score * math.sqrt(D) / pull * looked, k)
    v = torch.where(chosen["sinks"], v / 10, v)
    channels = torch.rand(H_kv, 1, D, generator=rng).argsort(-1) < outliers
    k = k + OUTLIER * channels
    return q.flatten(2, 3), k.squeeze(3), v.squeeze(3)


def _first(x: Tensor, n: int) -> Tensor:
    """True for the first n tokens of x `[B, T, H_kv, 1, D]`: `[T, 1, 1, 1]`."""
    return (torch.arange(x.shape[1]) < n)[:, None, None, None]


def _drawn(x: Tensor, first: int, n: int, rng: torch.Generator) -> Tensor:
    """True for n tokens of the first half, not before `first`: `[B, T, H_kv, 1, 1]`, drawn for each B and H_kv."""
    B, T, H_kv = x.shape[:3]
    lots = torch.rand(B, T, H_kv, 1, 1, generator=rng)
    lots[:, :first] = lots[:, T // 2 :] = 2
    return lots.argsort(1).argsort(1) < n


def _check(counts: dict[str, int], plants: dict[str, int], near: float, share: float) -> None:
    for name, n in counts.items():
        checks.check_count(name, n)
    for name, n in plants.items():
        if n != 0:
            checks.check_count(name, n)
    T, D = counts["T"], counts["D"]
    if counts["H"] % counts["H_kv"]:
        raise ValueError(f"H_kv must divide the {counts['H']} heads of q, got {counts['H_kv']}")
    if D < 4:
        raise ValueError(f"D must be at least 4, room for the planted directions, got {D}")
    if plants["sinks"] + plants["heavy"] > T // 2:
        raise ValueError(
            f"sinks and heavy must fit into the first half of {T} tokens, got {plants['sinks']} and {plants['heavy']}"
        )
    if plants["outliers"] > D:
        raise ValueError(f"outliers must be at most the {D} channels, got {plants['outliers']}")
    if near and not NEAREST <= near <= 1:
        raise ValueError(f"near must be 0, or a part of T from 1/16 to 1, got {near}")
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")


@dataclass(frozen=True)
class DecodeError:
    """How far a cache's decoded outputs are from those of all tokens, and what it weighs at the end.

    error: ‖o − o_full‖ / ‖o_full‖ over all decoded tokens.  by_step: the same for each of them, `[T − prompt]`.
    nbytes: of the cache after the last token.  full_nbytes: of a `FullCache` then.
    """

    error: float
    by_step: Tensor
    nbytes: int
    full_nbytes: int

    @property
    def part(self) -> float:
        """Bytes as a part of the full cache's."""
        return self.nbytes / self.full_nbytes


def decode_error(cache: Cache, q: Tensor, k: Tensor, v: Tensor, *, prompt: int) -> DecodeError:
    """Give an empty cache the first `prompt` tokens in one piece and the others one by one; compare those.

    q `[B, T, H, K]`, k `[B, T, H_kv, K]`, v `[B, T, H_kv, V]`; prompt from 1 to T − 1. The prompt's own outputs do not
    count: several methods read it exactly. The yardstick is `softmax_attention` with its default scale. Raises
    TypeError or ValueError. Chapters 05 and 19.
    """
    checks.check_count("prompt", prompt)
    if len(cache):
        raise ValueError(f"cache must be empty, got one with {len(cache)} tokens: make a new one")
    if prompt >= q.shape[1]:
        raise ValueError(
            f"prompt must be below the {q.shape[1]} tokens, so that some are decoded, got {prompt}"
        )
    full, _ = softmax_attention(q, k, v, mode="sdpa")
    lengths = [prompt] + [1] * (q.shape[1] - prompt)
    out = []
    for q_n, k_n, v_n in zip(*(x.split(lengths, dim=1) for x in (q, k, v)), strict=True):
        cache.append(k_n, v_n)
        out.append(cache.attend(q_n))
    wanted = full[:, prompt:].double()
    off = torch.cat(out[1:], dim=1).double() - wanted
    by_step = (x.transpose(0, 1).flatten(1).norm(dim=1) for x in (off, wanted))
    B, T, H_kv, K = k.shape
    weight = cost.cache_bytes(B, T, H_kv, K, v.shape[-1], itemsize=k.element_size())
    return DecodeError(float(off.norm() / wanted.norm()), torch.div(*by_step), cache.nbytes, weight)
