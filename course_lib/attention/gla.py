"""Gates for every key channel: a memory whose rows fade at their own, data-dependent rates.

    S_t = diag(e^{g_t}) S_{t-1} + k_t v_tᵀ,     o_t = scale · S_tᵀ q_t

GLA computes g from the input. HGRN2 ties the key to the gate, k = 1 − e^g: what a row forgets is what it can
take in. Chapter 10; arXiv 2312.06635, 2404.07904.
"""

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.carrying import Options, decayed, decayed_step
from course_lib.attention.decay import FORMS
from course_lib.attention.precision import working_dtype
from course_lib.attention.registry import Argument, Row, qkv


def gla(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: Tensor | None = None,
    beta: None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """Gated linear attention: S_t = diag(e^{g_t}) S_{t-1} + k_t v_tᵀ, o_t = scale · S_tᵀ q_t.

    g: `[B, T, H, K]`, log of the decay of each key channel, at most 0; required. Gates that sum to less than
    −80 over some chunk take a path that is slower and safe for any g.

    Other shapes, options and errors as `simple_gla`. Derived in chapter 10; arXiv 2312.06635.
    """
    checks.check_qkv(q, k, v)
    checks.check_no_gates("gla", beta=beta)
    checks.check_gate("g", g, q.shape, "[B, T, H, K]", q)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return decayed("gla", q, k, v, g, options)


def gla_step(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor | None = None, *, g: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """One token of `gla`: q, k, g `[B, H, K]`, v `[B, H, V]`; state and errors as `simple_gla_step`."""
    checks.check_qkv(q, k, v, dim=3)
    checks.check_gate("g", g, q.shape, "[B, H, K]", q)
    return decayed_step(q, k, v, g, state, scale)


def hgrn2(
    q: Tensor,
    v: Tensor,
    *,
    g: Tensor | None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """HGRN2: `gla` with the key 1 − e^g, so that S_t is a weighted mean of the past along every row.

    g: `[B, T, H, K]`, log of the forget gate, at most 0; required. There is no k.

    Other shapes, options and errors as `gla`. Derived in chapter 10; arXiv 2404.07904.
    """
    checks.check_qkv(q, q, v, names=("q", "q", "v"))
    checks.check_gate("g", g, q.shape, "[B, T, H, K]", q)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return decayed("hgrn2", q, _key(q, g), v, g, options)


def hgrn2_step(
    q: Tensor, v: Tensor, state: Tensor | None = None, *, g: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """One token of `hgrn2`: q, g `[B, H, K]`, v `[B, H, V]`; state and errors as `simple_gla_step`."""
    checks.check_qkv(q, q, v, dim=3, names=("q", "q", "v"))
    checks.check_gate("g", g, q.shape, "[B, H, K]", q)
    return decayed_step(q, _key(q, g), v, g, state, scale)


def _key(q: Tensor, g: Tensor) -> Tensor:
    """1 − e^g in the working precision, also where g is near 0 and 1 − e^g would cancel."""
    return -torch.expm1(g.to(working_dtype(q)))


_SHARED = {
    "family": "decay",
    "transition": "diag(e^{g_t})",
    "state": {"S": "BHKV"},
    "forms": FORMS,
    "fast": "chunk",
    "chapter": "10",
    "flops": cost.linear_flops,
}
GLA = Row(
    name="gla",
    fn=gla,
    step=gla_step,
    arguments=qkv(g=Argument("BTHK", "gate")),
    paper="2312.06635",
    **_SHARED,
)
HGRN2 = Row(
    name="hgrn2",
    fn=hgrn2,
    step=hgrn2_step,
    arguments={"q": Argument("BTHK"), "v": Argument("BTHV"), "g": Argument("BTHK", "gate")},
    paper="2404.07904",
    **_SHARED,
)
