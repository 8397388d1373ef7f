"""Linear attention that forgets at one rate a head: RetNet, Lightning, and simple GLA where the rate is data.

    S_t = e^{g_t} S_{t-1} + k_t v_tᵀ,     o_t = scale · S_tᵀ q_t

RetNet fixes e^g = 1 − 2^(−5−h) for head h, Lightning e^g = exp(−8h/H · (1 − layer / layers)); simple GLA reads
g `[B, T, H]` from the input, as Mamba-2 does (`ssd`). A token's weight falls by half every ln 2 / |g| tokens.
Chapter 10; arXiv 2307.08621, 2401.04658, 2312.06635.
"""

import math

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.carrying import Options, decayed, decayed_step
from course_lib.attention.decay import FORMS
from course_lib.attention.registry import Argument, Row, qkv


def retention_decay(H: int) -> list[float]:
    """log γ_h = log(1 − 2^(−5−h)) of RetNet's H heads."""
    return [math.log1p(-(2.0 ** (-5 - h))) for h in range(H)]


def lightning_decay(H: int, layer: int, layers: int) -> list[float]:
    """−8h/H · (1 − layer / layers): head 0 never forgets, and deeper layers forget more slowly."""
    return [-8 * h / H * (1 - layer / layers) for h in range(H)]


def simple_gla(
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
    """Linear attention with one gate a head and token: S_t = e^{g_t} S_{t-1} + k_t v_tᵀ, o_t = scale · S_tᵀ q_t.

    q, k: `[B, T, H, K]`. v: `[B, T, H, V]`. All of one floating dtype. Any T, including 0.
    g: `[B, T, H]`, log of the decay, at most 0; required.
    beta: must be None. causal: must be True: a decay needs a direction.
    scale: `K ** -0.5` by default.
    initial_state: S `[B, H, K, V]` that an earlier call returned, float32 (float64 for float64 inputs).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1 and states are `[N, H, K, V]`.
    mode: "parallel" (T×T products), "recurrent" (token by token), "chunk" (`chunk_size` tokens at a time).

    Returns o `[B, T, H, V]` in the dtype of q, and S `[B, H, K, V]` after the last token or None. Raises
    TypeError or ValueError for arguments that do not fit; g above 0 is looked for on a CPU only. Derived in
    chapter 10; arXiv 2312.06635.
    """
    checks.check_qkv(q, k, v)
    checks.check_no_gates("simple_gla", beta=beta)
    checks.check_gate("g", g, q.shape[:3], "[B, T, H]", q)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return decayed("simple_gla", q, k, v, g, options)


def simple_gla_step(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor | None = None, *, g: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """One token of `simple_gla`: q, k `[B, H, K]`, v `[B, H, V]`, g `[B, H]`, state S `[B, H, K, V]` or None.

    Returns o `[B, H, V]` and the new state; the given one is not changed. Errors as `simple_gla`.
    """
    checks.check_qkv(q, k, v, dim=3)
    checks.check_gate("g", g, q.shape[:2], "[B, H]", q)
    return decayed_step(q, k, v, g, state, scale)


def retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: None = None,
    beta: None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Tensor | None]:
    """RetNet's retention: `simple_gla` with the fixed decay 1 − 2^(−5−h) of head h; rotations are not applied.

    Shapes, options and errors as `simple_gla`, but g must be None. Derived in chapter 10; arXiv 2307.08621.
    """
    checks.check_qkv(q, k, v)
    checks.check_no_gates("retention", g=g, beta=beta)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return decayed("retention", q, k, v, _everywhere(retention_decay(q.shape[2]), q), options)


def retention_step(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor | None = None, *, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """One token of `retention`; shapes, state and errors as `simple_gla_step`, without g."""
    checks.check_qkv(q, k, v, dim=3)
    return decayed_step(q, k, v, _everywhere(retention_decay(q.shape[1]), q), state, scale)


def lightning_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: None = None,
    beta: None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
    layer: int = 0,
    layers: int = 1,
) -> tuple[Tensor, Tensor | None]:
    """Lightning attention: `simple_gla` with the fixed decay exp(−8h/H · (1 − layer / layers)) of head h.

    layer, layers: which of how many layers this is; head 0 never forgets, and heads that forget within a chunk make
    all take the safe path. Shapes, options and errors as `simple_gla`, but g must be None. Derived in chapter 10;
    arXiv 2401.04658 (the rates are TransNormerLLM's, 2307.14995).
    """
    checks.check_qkv(q, k, v)
    checks.check_no_gates("lightning_attention", g=g, beta=beta)
    checks.check_layer(layer, layers)
    g = _everywhere(lightning_decay(q.shape[2], layer, layers), q)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return decayed("lightning_attention", q, k, v, g, options)


def lightning_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    scale: float | None = None,
    layer: int = 0,
    layers: int = 1,
) -> tuple[Tensor, Tensor]:
    """One token of `lightning_attention`; shapes, state and errors as `simple_gla_step`, without g."""
    checks.check_qkv(q, k, v, dim=3)
    checks.check_layer(layer, layers)
    return decayed_step(q, k, v, _everywhere(lightning_decay(q.shape[1], layer, layers), q), state, scale)


def _everywhere(decay_of_heads: list[float], q: Tensor) -> Tensor:
    """The heads' log decays at every token: `[B, T, H]`, or `[B, H]` for one token."""
    dtype = torch.promote_types(q.dtype, torch.float32)
    return torch.tensor(decay_of_heads, dtype=dtype, device=q.device).expand(q.shape[:-1])


_SHARED = {
    "family": "decay",
    "state": {"S": "BHKV"},
    "forms": FORMS,
    "fast": "chunk",
    "chapter": "10",
    "flops": cost.linear_flops,
}
SIMPLE_GLA = Row(
    name="simple_gla",
    fn=simple_gla,
    step=simple_gla_step,
    transition="e^{g_t} per head and token",
    arguments=qkv(g=Argument("BTH", "gate")),
    paper="2312.06635",
    **_SHARED,
)
RETENTION = Row(
    name="retention",
    fn=retention,
    step=retention_step,
    transition="1 − 2^(−5−h) per head",
    arguments=qkv(),
    paper="2307.08621",
    **_SHARED,
)
LIGHTNING = Row(
    name="lightning_attention",
    fn=lightning_attention,
    step=lightning_attention_step,
    transition="exp(−8h/H · (1 − layer / layers)) per head",
    arguments=qkv(),
    paper="2401.04658",
    **_SHARED,
)
