"""HGRN: a gated recurrence on vectors; the smallest linear-time mixer there is.

    h_t = e^{g_t} ⊙ h_{t-1} + x_t,     o_t = h_t

The state is one number a channel, so it can remember that something came, but hardly what; HGRN2 widens it to a
matrix. Chapters 10 and 12; arXiv 2311.04823.
"""

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.carrying import Options, one_token, over_sequence
from course_lib.attention.precision import LOG2E
from course_lib.attention.registry import Argument, Row
from course_lib.attention.scan import associative_scan, scan

FORMS = ("parallel", "recurrent", "chunk")


def hgrn(
    x: Tensor,
    *,
    g: Tensor,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """HGRN's recurrence: h_t = e^{g_t} ⊙ h_{t-1} + x_t, and o_t = h_t.

    x: `[B, T, D]`, inputs, in HGRN multiplied by 1 − e^g already. g: `[B, T, D]`, log of the forget gate, at most 0.
    initial_state: h `[B, D]` that an earlier call returned, float32 (float64 for float64 inputs).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1 and states are `[N, D]`.
    mode: "parallel" (associative scan), "recurrent" (token by token), "chunk" (`chunk_size` tokens of e^g at a
        time, then one multiply-add a token).

    Returns o `[B, T, D]` in the dtype of x, and h after the last token or None. Raises TypeError or ValueError for
    arguments that do not fit; g above 0 is looked for on a CPU only. Derived in chapter 10; arXiv 2311.04823.
    """
    checks.check_tensor("x", x, 3, "[B, T, D]")
    checks.check_gate("g", g, x.shape, "[B, T, D]", x)
    checks.check_form(mode, FORMS, chunk_size)
    options = Options(None, True, initial_state, output_final_state, cu_seqlens, mode, chunk_size)

    def form(x: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return _run(mode, x, g, h)

    return over_sequence(form, (x, g), x.shape[2:], options, state_name="h")


def hgrn_step(x: Tensor, state: Tensor | None = None, *, g: Tensor) -> tuple[Tensor, Tensor]:
    """One token of `hgrn`: x, g `[B, D]`, state h `[B, D]` or None. Returns o `[B, D]` and the new state."""
    checks.check_tensor("x", x, 2, "[B, D]")
    checks.check_gate("g", g, x.shape, "[B, D]", x)
    return one_token(_step, (x, g), x.shape[1:], state, state_name="h")


def _step(x: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    h = g.exp() * h + x
    return h, h.clone()  # what a caller does to the output must not reach the memory


def _run(mode: str, x: Tensor, g: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    """The form called `mode`, one of `FORMS`."""
    if x.shape[1] == 0:
        return x, h
    if mode != "recurrent":
        states = (associative_scan if mode == "parallel" else scan)((g * LOG2E).exp2(), x, h)
        return states, states[:, -1].clone()  # a view would keep all T states alive
    out = []
    for x_t, g_t in zip(x.unbind(1), g.unbind(1), strict=True):
        o_t, h = _step(x_t, g_t, h)
        out.append(o_t)
    return torch.stack(out, dim=1), h


HGRN = Row(
    name="hgrn",
    fn=hgrn,
    step=hgrn_step,
    family="ssm",
    transition="e^{g_t}, elementwise",
    arguments={"x": Argument("BTD"), "g": Argument("BTD", "gate")},
    state={"h": "BD"},
    forms=FORMS,
    fast="chunk",
    paper="2311.04823",
    chapter="10",
    flops=cost.elementwise_flops,
)
