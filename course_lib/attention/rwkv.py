"""RWKV-6 reads before it writes, with a bonus for the present token; RWKV-7 edits its memory.

    RWKV-6:  o_t = scale · (S_{t-1} + diag(u) k_t v_tᵀ)ᵀ r_t,     S_t = diag(e^{w_t}) S_{t-1} + k_t v_tᵀ
    RWKV-7:  S_t = diag(e^{w_t}) S_{t-1} + b_t (a_tᵀ S_{t-1}) + k_t v_tᵀ,     o_t = scale · S_tᵀ r_t

In RWKV-7 a reads the undecayed state and b writes what a read: with a = −κ̂ and b = η ⊙ κ̂ (κ̂ of length 1) the
transition diag(e^w) − (η ⊙ κ̂) κ̂ᵀ takes something out along κ̂, which need not be the key that is written.
The RWKV models use scale = 1. Chapters 10 and 11; arXiv 2404.05892, 2503.14456.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks, decay, delta
from course_lib.attention.carrying import (
    Options,
    check_options,
    one_token,
    over_sequence,
    scale_of,
)
from course_lib.attention.registry import Argument, Row

RKV = ("r", "k", "v")


def rwkv6(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    w: Tensor,
    u: Tensor,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """RWKV-6's time mixing: reads the state before this token's decay and write, plus a bonus for the token.

    r (the queries), k: `[B, T, H, K]`. v: `[B, T, H, V]`. All of one floating dtype. Any T, including 0.
    w: `[B, T, H, K]`, log of the decay, at most 0.  u: `[H, K]`, the bonus.
    scale: `K ** -0.5` by default; the RWKV models use 1.
    initial_state: S `[B, H, K, V]` that an earlier call returned, float32 (float64 for float64 inputs).

    Other options, result and errors as `gla`. Derived in chapter 10; arXiv 2404.05892.
    """
    checks.check_qkv(r, k, v, names=RKV)
    checks.check_gate("w", w, r.shape, "[B, T, H, K]", r)
    checks.check_companion("u", u, r.shape[2:], "[H, K]", r)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    factor = check_options("rwkv6", r, k, options, decay.FORMS, RKV)

    def form(r: Tensor, k: Tensor, v: Tensor, w: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        r = r * factor
        o, S = decay.run(mode, r, k, v, w, S, chunk_size=chunk_size, strict=True)
        return o + _bonus(r, k, v, u), S

    return over_sequence(form, (r, k, v, w), (*r.shape[2:], v.shape[3]), options)


def rwkv6_step(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    w: Tensor,
    u: Tensor,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of `rwkv6`: r, k, w `[B, H, K]`, v `[B, H, V]`, u `[H, K]`, state S `[B, H, K, V]` or None.

    Returns o `[B, H, V]` and the new state; the given one is not changed. Errors as `rwkv6`.
    """
    checks.check_qkv(r, k, v, dim=3, names=RKV)
    checks.check_gate("w", w, r.shape, "[B, H, K]", r)
    checks.check_companion("u", u, r.shape[1:], "[H, K]", r)
    factor = scale_of(r, scale)

    def step(r: Tensor, k: Tensor, v: Tensor, w: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        r = r * factor
        o, S = decay.step(r, k, v, w, S, strict=True)
        return o + _bonus(r, k, v, u), S

    return one_token(step, (r, k, v, w), (*r.shape[1:], v.shape[2]), state)


def _bonus(r: Tensor, k: Tensor, v: Tensor, u: Tensor) -> Tensor:
    """(diag(u) k vᵀ)ᵀ r = (Σ_κ r_κ u_κ k_κ) v."""
    return (r * u.to(r.dtype) * k).sum(-1, keepdim=True) * v


def rwkv7(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    w: Tensor,
    a: Tensor,
    b: Tensor,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """RWKV-7's time mixing: S_t = diag(e^{w_t}) S_{t-1} + b_t (a_tᵀ S_{t-1}) + k_t v_tᵀ, o_t = scale · S_tᵀ r_t.

    r (the queries), k, a, b: `[B, T, H, K]`. v: `[B, T, H, V]`. r, k, v of one floating dtype. Any T.
    w: `[B, T, H, K]`, log of the decay, at most 0.
    a, b: what asks the state as it was before this token's decay, and what writes the answer back. RWKV-7 has
    a = −κ̂ and b = η ⊙ κ̂ with |κ̂| = 1 and η in (0, 1); other pairs can make the state grow.
    scale: `K ** -0.5` by default; the RWKV models use 1.

    Other options, result and errors as `rwkv6`. Derived in chapter 11; arXiv 2503.14456.
    """
    checks.check_qkv(r, k, v, names=RKV)
    checks.check_gate("w", w, r.shape, "[B, T, H, K]", r)
    checks.check_companion("a", a, r.shape, "[B, T, H, K]", r)
    checks.check_companion("b", b, r.shape, "[B, T, H, K]", r)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    factor = check_options("rwkv7", r, k, options, delta.FORMS, RKV)

    def form(
        r: Tensor, k: Tensor, v: Tensor, w: Tensor, a: Tensor, b: Tensor, S: Tensor
    ) -> tuple[Tensor, Tensor]:
        return delta.run(mode, r * factor, -a, b, None, k, v, w, S, chunk_size=chunk_size, strict=True)

    return over_sequence(form, (r, k, v, w, a, b), (*r.shape[2:], v.shape[3]), options)


def rwkv7_step(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    w: Tensor,
    a: Tensor,
    b: Tensor,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of `rwkv7`: r, k, w, a, b `[B, H, K]`, v `[B, H, V]`, state and errors as `rwkv6_step`."""
    checks.check_qkv(r, k, v, dim=3, names=RKV)
    checks.check_gate("w", w, r.shape, "[B, H, K]", r)
    checks.check_companion("a", a, r.shape, "[B, H, K]", r)
    checks.check_companion("b", b, r.shape, "[B, H, K]", r)
    factor = scale_of(r, scale)

    def step(
        r: Tensor, k: Tensor, v: Tensor, w: Tensor, a: Tensor, b: Tensor, S: Tensor
    ) -> tuple[Tensor, Tensor]:
        return delta.step(r * factor, -a, b, None, k, v, w, S, strict=True)

    return one_token(step, (r, k, v, w, a, b), (*r.shape[1:], v.shape[2]), state)


def _removal(arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    """a = −κ̂ and b = η ⊙ κ̂: a takes out what lies along κ̂, channel by channel as strongly as η says."""
    kappa = F.normalize(arguments["a"], dim=-1)
    return arguments | {"a": -kappa, "b": torch.sigmoid(arguments["b"]) * kappa}


_SHARED = {
    "state": {"S": "BHKV"},
    "forms": decay.FORMS,
    "fast": "chunk",
}
_RKV = {"r": Argument("BTHK"), "k": Argument("BTHK"), "v": Argument("BTHV"), "w": Argument("BTHK", "gate")}
RWKV6 = Row(
    name="rwkv6",
    fn=rwkv6,
    step=rwkv6_step,
    family="decay",
    transition="diag(e^{w_t}), read before the write, bonus u",
    arguments=_RKV | {"u": Argument("HK")},
    paper="2404.05892",
    chapter="10",
    flops=cost.linear_flops,
    **_SHARED,
)
RWKV7 = Row(
    name="rwkv7",
    fn=rwkv7,
    step=rwkv7_step,
    family="delta",
    transition="diag(e^{w_t}) + b_t a_tᵀ",
    arguments=_RKV | {"a": Argument("BTHK"), "b": Argument("BTHK")},
    paper="2503.14456",
    chapter="11",
    flops=cost.rwkv7_flops,
    couple=_removal,
    **_SHARED,
)
