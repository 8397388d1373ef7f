"""Mamba and Mamba-2: a state-space model whose step size, input and output depend on the token.

    Mamba:    h_t = exp(Δ_t A) ⊙ h_{t-1} + (Δ_t u_t) B_tᵀ,     y_t = h_t C_t + D ⊙ u_t        (h ∈ R^{D×N})
    Mamba-2:  S_t = e^{Δ_t A} S_{t-1} + B_t (Δ_t x_t)ᵀ,        y_t = S_tᵀ C_t + D x_t          (S ∈ R^{N×P})

Mamba has its own decay for each of D·N numbers, so its state never becomes a matrix product: it is a scan.
Mamba-2 has one decay a head, and then it *is* simple GLA with q = C, k = B, v = Δx, g = ΔA: the duality of
chapter 12. arXiv 2312.00752, 2405.21060.
"""

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks, decay
from course_lib.attention.carrying import Options, one_token, over_sequence
from course_lib.attention.precision import LOG2E
from course_lib.attention.registry import Argument, Row
from course_lib.attention.scan import associative_scan, scan

FORMS = ("parallel", "recurrent", "chunk")


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """Mamba's selective scan: h_t = exp(Δ_t A) ⊙ h_{t-1} + (Δ_t u_t) B_tᵀ, y_t = h_t C_t + D ⊙ u_t.

    u, delta: `[B, T, D]`, inputs and step sizes after the softplus, at least 0. A: `[D, N]`, at most 0.
    B, C: `[B, T, N]`, shared by all channels. D: `[D]`, the skip, or None. u, delta, B, C of one floating dtype.
    initial_state: h `[B, D, N]` that an earlier call returned, float32 (float64 for float64 inputs).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1 and there is one state a sequence.
    mode: "parallel" (associative scan), "recurrent" (token by token), "chunk" (`chunk_size` tokens of exp(ΔA)
        at a time, then one multiply-add a token).

    Returns y `[B, T, D]` in the dtype of u, and h after the last token or None. Raises TypeError or ValueError
    for arguments that do not fit; signs are looked at on a CPU only. Derived in chapter 12; arXiv 2312.00752.
    """
    checks.check_scan(u=u, delta=delta, A=A, B=B, C=C, D=D, dim=3)
    checks.check_form(mode, FORMS, chunk_size)
    options = Options(None, True, initial_state, output_final_state, cu_seqlens, mode, chunk_size)

    def form(u: Tensor, delta: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = _run(mode, u, delta, A.to(u.dtype), B, C, h)
        return y if D is None else y + D.to(u.dtype) * u, h

    return over_sequence(form, (u, delta, B, C), A.shape, options, state_name="h", chunks=1)


def selective_scan_step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor | None = None,
    *,
    D: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of `selective_scan`: u, delta `[B, D]`, B, C `[B, N]`, state h `[B, D, N]` or None.

    Returns y `[B, D]` and the new state; the given one is not changed. Errors as `selective_scan`.
    """
    checks.check_scan(u=u, delta=delta, A=A, B=B, C=C, D=D, dim=2)

    def step(u: Tensor, delta: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = _step(u, delta, A.to(u.dtype), B, C, h)
        return y if D is None else y + D.to(u.dtype) * u, h

    return one_token(step, (u, delta, B, C), A.shape, state, state_name="h")


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """Mamba-2's state-space dual: S_t = e^{Δ_t A} S_{t-1} + B_t (Δ_t x_t)ᵀ, y_t = S_tᵀ C_t + D x_t.

    x: `[B, T, H, P]`. dt: `[B, T, H]`, step sizes after the softplus, at least 0. A: `[H]`, at most 0.
    B, C: `[B, T, G, N]`; G divides H, and head h reads group h // (H / G). D: `[H]`, the skip, or None.
    x, B, C of one floating dtype. Any T, including 0.
    initial_state: S `[B, H, N, P]` that an earlier call returned, float32 (float64 for float64 inputs).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1.
    mode: "parallel" (T×T products), "recurrent" (token by token), "chunk" (`chunk_size` tokens at a time).

    Returns y `[B, T, H, P]` in the dtype of x, and S after the last token or None. Raises TypeError or ValueError
    for arguments that do not fit; signs are looked at on a CPU only. Derived in chapter 12; arXiv 2405.21060.
    """
    checks.check_ssd(x=x, dt=dt, A=A, B=B, C=C, D=D, dim=4)
    checks.check_form(mode, decay.FORMS, chunk_size)
    options = Options(None, True, initial_state, output_final_state, cu_seqlens, mode, chunk_size)

    def form(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        B, C = _to_heads(B, C, x.shape[2])
        y, S = decay.run(mode, C, B, dt[..., None] * x, dt * A.to(dt.dtype), S, chunk_size=chunk_size)
        return y if D is None else y + D.to(x.dtype)[:, None] * x, S

    return over_sequence(form, (x, dt, B, C), (x.shape[2], B.shape[3], x.shape[3]), options)


def ssd_step(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor | None = None,
    *,
    D: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of `ssd`: x `[B, H, P]`, dt `[B, H]`, B, C `[B, G, N]`, state S `[B, H, N, P]` or None.

    Returns y `[B, H, P]` and the new state; the given one is not changed. Errors as `ssd`.
    """
    checks.check_ssd(x=x, dt=dt, A=A, B=B, C=C, D=D, dim=3)

    def step(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
        B, C = _to_heads(B, C, x.shape[1])
        y, S = decay.step(C, B, dt[..., None] * x, dt * A.to(dt.dtype), S)
        return y if D is None else y + D.to(x.dtype)[:, None] * x, S

    return one_token(step, (x, dt, B, C), (x.shape[1], B.shape[2], x.shape[2]), state)


def _to_heads(B: Tensor, C: Tensor, H: int) -> tuple[Tensor, Tensor]:
    """`[…, G, N]` -> `[…, H, N]`: every head of a group reads the same B and C."""
    repeat = H // B.shape[-2]
    return (B, C) if repeat == 1 else (B.repeat_interleave(repeat, -2), C.repeat_interleave(repeat, -2))


def _run(
    mode: str, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor
) -> tuple[Tensor, Tensor]:
    """The form called `mode`, one of `FORMS`."""
    if u.shape[1] == 0:
        return u, h
    if mode == "recurrent":
        return _recurrent(u, delta, A, B, C, h)
    a = (delta[..., None] * (A * LOG2E)).exp2()  # [B, T, D, N]
    b = (delta * u)[..., None] * B[:, :, None]
    states = (associative_scan if mode == "parallel" else scan)(a, b, h)
    return (C[..., None, :] @ states.mT).squeeze(-2), states[
        :, -1
    ].clone()  # a view would keep all T states alive


def _recurrent(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, token by token."""
    out = []
    for u_t, delta_t, B_t, C_t in zip(*(x.unbind(1) for x in (u, delta, B, C)), strict=True):
        y_t, h = _step(u_t, delta_t, A, B_t, C_t, h)
        out.append(y_t)
    return torch.stack(out, dim=1), h


def _step(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    h = (delta[..., None] * A).exp() * h + (delta * u)[..., None] * B[:, None]  # [B, D, N]
    return (h @ C[..., None]).squeeze(-1), h


SELECTIVE_SCAN = Row(
    name="selective_scan",
    fn=selective_scan,
    step=selective_scan_step,
    family="ssm",
    transition="exp(Δ_t A), elementwise",
    arguments={
        "u": Argument("BTD"),
        "delta": Argument("BTD", "step size"),
        "A": Argument("DN", "negative"),
        "B": Argument("BTN"),
        "C": Argument("BTN"),
        "D": Argument("D"),
    },
    state={"h": "BDN"},
    forms=FORMS,
    fast="chunk",
    paper="2312.00752",
    chapter="12",
    flops=cost.scan_flops,
)
SSD = Row(
    name="ssd",
    fn=ssd,
    step=ssd_step,
    family="decay",
    transition="exp(Δ_t A) per head",
    arguments={
        "x": Argument("BTHP"),
        "dt": Argument("BTH", "step size"),
        "A": Argument("H", "negative"),
        "B": Argument("BTGN"),
        "C": Argument("BTGN"),
        "D": Argument("H"),
    },
    state={"S": "BHNP"},
    forms=decay.FORMS,
    fast="chunk",
    paper="2405.21060",
    chapter="12",
    flops=cost.linear_flops,
    kv_groups=True,
)
