"""S4D: a linear time-invariant state-space model, diagonal and complex; a recurrence and a convolution at once.

    h' = A h + B u   →   h_t = Ā h_{t-1} + B̄ u_t,   Ā = e^{ΔA},  B̄ = (Ā − 1) / A · B,   y_t = 2 Re(C h_t) + D u_t

Since Ā does not depend on the token, h_t = Σ_i Ā^{t−i} B̄ u_i, and y is u convolved with κ_l = 2 Re(C Ā^l B̄): one
FFT over the sequence, T log T once κ is there, which takes D·N·T exponentials. Input-dependent models lose exactly
this form. Each complex number stands for itself and its conjugate, hence the 2 Re. Chapter 12; arXiv 2206.11893.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.carrying import Options, one_token, over_sequence
from course_lib.attention.precision import working_dtype
from course_lib.attention.registry import Argument, Row
from course_lib.attention.scan import scan

FORMS = ("recurrent", "chunk", "convolution")


class Discrete(NamedTuple):
    """The system per token: ΔA, Ā = e^{ΔA}, B̄ and C, all `[D, N]` complex."""

    exponent: Tensor
    A: Tensor
    B: Tensor
    C: Tensor


def s4d(
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
    """S4D with zero-order hold: h_t = e^{ΔA} h_{t-1} + (e^{ΔA} − 1) / A · B u_t, y_t = 2 Re(C h_t) + D u_t.

    u: `[B, T, D]`, floating. delta: `[D]`, the step size of each channel, at least 0. A: `[D, N]` complex, real part
    at most 0. B, C: `[D, N]` complex. D: `[D]`, the skip, or None. The parameters' precision is taken to u's.
    initial_state: h `[B, D, N]` that an earlier call returned, complex64 (complex128 for float64 u).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1 and there is one state a sequence.
    mode: "recurrent" (token by token), "chunk" (one multiply-add a token), "convolution" (FFT over the sequence: for
        understanding; it holds `[D, N, T]` powers, and its rounding is relative to the largest output of all).

    Returns y `[B, T, D]` in the dtype of u, and h after the last token or None. Raises TypeError or ValueError
    for arguments that do not fit; signs are looked at on a CPU only. Derived in chapter 12; arXiv 2206.11893.
    """
    checks.check_s4d(u=u, delta=delta, A=A, B=B, C=C, D=D, dim=3)
    checks.check_form(mode, FORMS, chunk_size)
    options = Options(None, True, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    system = _discretise(delta, A, B, C, u)

    def form(u: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = _run(mode, u, system, h)
        return y if D is None else y + D.to(u.dtype) * u, h

    return over_sequence(form, (u,), A.shape, options, state_name="h", state_dtype=system.A.dtype, chunks=1)


def s4d_step(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    state: Tensor | None = None,
    *,
    D: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token of `s4d`: u `[B, D]`, state h `[B, D, N]` or None. Returns y `[B, D]` and the new state."""
    checks.check_s4d(u=u, delta=delta, A=A, B=B, C=C, D=D, dim=2)
    system = _discretise(delta, A, B, C, u)

    def step(u: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = _step(u, system, h)
        return y if D is None else y + D.to(u.dtype) * u, h

    return one_token(step, (u,), A.shape, state, state_name="h", state_dtype=system.A.dtype)


def _discretise(delta: Tensor, A: Tensor, B: Tensor, C: Tensor, u: Tensor) -> Discrete:
    """Ā, B̄ and C in the complex working precision of u; (e^{ΔA} − 1) / A is Δ where A is 0."""
    dtype = torch.complex128 if working_dtype(u) == torch.float64 else torch.complex64
    A, B, C, delta = (x.to(dtype) for x in (A, B, C, delta[:, None]))
    exponent = delta * A
    growth = torch.expm1(exponent)  # e^{ΔA} − 1; also twice as fast as exp on complex numbers
    still = A == 0
    held = torch.where(still, delta, growth / torch.where(still, 1.0, A))
    return Discrete(exponent, growth + 1, held * B, C)


def _run(mode: str, u: Tensor, system: Discrete, h: Tensor) -> tuple[Tensor, Tensor]:
    """The form called `mode`, one of `FORMS`."""
    if u.numel() == 0:
        return u, h
    form = {"recurrent": _recurrent, "chunk": _chunk, "convolution": _convolution}[mode]
    return form(u, system, h)


def _step(u: Tensor, system: Discrete, h: Tensor) -> tuple[Tensor, Tensor]:
    _, A, B, C = system
    h = A * h + B * u[..., None]  # [B, D, N]
    return 2 * (C * h).sum(-1).real, h


def _recurrent(u: Tensor, system: Discrete, h: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, token by token."""
    out = []
    for u_t in u.unbind(1):
        y_t, h = _step(u_t, system, h)
        out.append(y_t)
    return torch.stack(out, dim=1), h


def _chunk(u: Tensor, system: Discrete, h: Tensor) -> tuple[Tensor, Tensor]:
    _, A, B, C = system
    states = scan(A[None, None], B * u[..., None], h)  # [B, T, D, N]
    return 2 * (C * states).sum(-1).real, states[:, -1].clone()  # a view would keep all T states alive


def _convolution(u: Tensor, system: Discrete, h: Tensor) -> tuple[Tensor, Tensor]:
    """y = κ ∗ u, and what the state before the first token still adds."""
    exponent, _, B, C = system
    T = u.shape[1]
    powers = (exponent[..., None] * torch.arange(T + 1, device=u.device)).exp()  # [D, N, T + 1]
    kernel = 2 * torch.einsum("dn,dnt->dt", C * B, powers[..., :T]).real
    n = 2 * T  # room for the whole answer, so that nothing wraps around
    spectrum = torch.fft.rfft(u.mT, n) * torch.fft.rfft(kernel, n)
    y = torch.fft.irfft(spectrum, n)[..., :T].mT
    y = y + 2 * torch.einsum("bdn,dnt->btd", C * h, powers[..., 1:]).real
    written = torch.einsum("dnt,btd->bdn", powers[..., :T].flip(-1), u.to(h.dtype))
    return y, powers[..., T] * h + B * written


S4D = Row(
    name="s4d",
    fn=s4d,
    step=s4d_step,
    family="ssm",
    transition="exp(ΔA), fixed, complex, elementwise",
    arguments={
        "u": Argument("BTD"),
        "delta": Argument("D", "step size"),
        "A": Argument("DN", "modes"),
        "B": Argument("DN", "complex"),
        "C": Argument("DN", "complex"),
        "D": Argument("D"),
    },
    state={"h": "BDN"},
    keeps="complex64",
    forms=FORMS,
    fast="chunk",
    paper="2206.11893",
    chapter="12",
    flops=cost.s4d_flops,
)
