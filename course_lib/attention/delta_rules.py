"""The delta rule and its gated relatives: replace what a key holds instead of adding to it.

    S_t = (I − β_t k_t k_tᵀ) diag(e^{g_t}) S_{t-1} + β_t k_t v_tᵀ,     o_t = scale · S_tᵀ q_t

DeltaNet has no gate, Gated DeltaNet one a head (then the order does not matter), Kimi Delta Attention one a
key channel: decay first, then correct; the factors do not commute. The write is one step of gradient descent, of
size β, on ½‖Sᵀk − v‖². For a key of length 1, β = 1 makes the memory answer v exactly, β = 2 mirrors what it held
(an eigenvalue of −1), and beyond 2 / |k|² the state grows. Chapter 11; arXiv 2406.06484, 2412.06464, 2510.26692.
"""

from torch import Tensor

from course_lib import cost
from course_lib.attention import checks, delta
from course_lib.attention.carrying import (
    Options,
    check_options,
    one_token,
    over_sequence,
    scale_of,
)
from course_lib.attention.registry import Argument, Row, qkv

NORM_EPS = 1e-6  # under the square root, as flash-linear-attention and Transformers have it


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
    qk_norm: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """DeltaNet: S_t = (I − β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ, o_t = scale · S_tᵀ q_t.

    q, k: `[B, T, H, K]`. v: `[B, T, H, V]`. All of one floating dtype. Any T, including 0.
    beta: `[B, T, H]`, strength of the write between 0 and 2; required. g: must be None.
    scale: `K ** -0.5` by default.
    causal: must be True: corrections have an order.
    initial_state: S `[B, H, K, V]` that an earlier call returned, float32 (float64 for float64 inputs).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1 and states are `[N, H, K, V]`.
    mode: "parallel" (T×T products), "recurrent" (token by token), "chunk" (`chunk_size` tokens at a time).
    qk_norm: divide q and k by √(Σ x² + 10⁻⁶) first. Keys longer than √(2 / β) make the state grow.

    Returns o `[B, T, H, V]` in the dtype of q, and S `[B, H, K, V]` after the last token or None. Raises
    TypeError or ValueError for arguments that do not fit; values are looked at on a CPU only. Derived in chapter
    11; arXiv 2406.06484.
    """
    checks.check_qkv(q, k, v)
    checks.check_no_gates("delta_rule", g=g)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return _corrected("delta_rule", q, k, v, None, beta, options, qk_norm)


def delta_rule_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    beta: Tensor,
    scale: float | None = None,
    qk_norm: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token of `delta_rule`: q, k `[B, H, K]`, v `[B, H, V]`, beta `[B, H]`, state S `[B, H, K, V]` or None.

    Returns o `[B, H, V]` and the new state; the given one is not changed. Errors as `delta_rule`.
    """
    checks.check_qkv(q, k, v, dim=3)
    return _corrected_step(q, k, v, None, beta, state, scale, qk_norm)


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
    qk_norm: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Gated DeltaNet: S_t = e^{g_t} (I − β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ, o_t = scale · S_tᵀ q_t.

    g: `[B, T, H]`, log of the decay, at most 0. beta: `[B, T, H]`, between 0 and 2. Both are required.

    Other shapes, options and errors as `delta_rule`. Derived in chapter 11; arXiv 2412.06464.
    """
    checks.check_qkv(q, k, v)
    checks.check_gate("g", g, q.shape[:3], "[B, T, H]", q)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return _corrected("gated_delta_rule", q, k, v, g, beta, options, qk_norm)


def gated_delta_rule_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    qk_norm: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token of `gated_delta_rule`: g and beta are `[B, H]`; the rest as `delta_rule_step`."""
    checks.check_qkv(q, k, v, dim=3)
    checks.check_gate("g", g, q.shape[:2], "[B, H]", q)
    return _corrected_step(q, k, v, g, beta, state, scale, qk_norm)


def kda(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: Tensor | None = None,
    beta: Tensor | None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
    qk_norm: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Kimi Delta Attention: S_t = (I − β_t k_t k_tᵀ) diag(e^{g_t}) S_{t-1} + β_t k_t v_tᵀ, o_t = scale · S_tᵀ q_t.

    The state decays first and is corrected then. g: `[B, T, H, K]`, log of the decay of each key channel, at
    most 0. beta: `[B, T, H]`, between 0 and 2. Both are required.

    Other shapes, options and errors as `delta_rule`. Derived in chapter 11; arXiv 2510.26692.
    """
    checks.check_qkv(q, k, v)
    checks.check_gate("g", g, q.shape, "[B, T, H, K]", q)
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return _corrected("kda", q, k, v, g, beta, options, qk_norm)


def kda_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor | None = None,
    *,
    g: Tensor,
    beta: Tensor,
    scale: float | None = None,
    qk_norm: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token of `kda`: g is `[B, H, K]`, beta `[B, H]`; the rest as `delta_rule_step`."""
    checks.check_qkv(q, k, v, dim=3)
    checks.check_gate("g", g, q.shape, "[B, H, K]", q)
    return _corrected_step(q, k, v, g, beta, state, scale, qk_norm)


def _corrected(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    options: Options,
    qk_norm: bool,
) -> tuple[Tensor, Tensor | None]:
    checks.check_rate("beta", beta, q.shape[:3], "[B, T, H]", q)
    checks.check_flag("qk_norm", qk_norm)
    scale = check_options(name, q, k, options, delta.FORMS)

    def form(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor, S: Tensor
    ) -> tuple[Tensor, Tensor]:
        q, a, k, r = _ask_and_write(q, k, v, beta, scale, qk_norm)
        return delta.run(options.mode, q, a, k, r, None, None, g, S, chunk_size=options.chunk_size)

    return over_sequence(form, (q, k, v, g, beta), (*q.shape[2:], v.shape[3]), options)


def _corrected_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor,
    state: Tensor | None,
    scale: float | None,
    qk_norm: bool,
) -> tuple[Tensor, Tensor]:
    checks.check_rate("beta", beta, q.shape[:2], "[B, H]", q)
    factor = scale_of(q, scale)

    def step(
        q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, beta: Tensor, S: Tensor
    ) -> tuple[Tensor, Tensor]:
        q, a, k, r = _ask_and_write(q, k, v, beta, factor, qk_norm)
        return delta.step(q, a, k, r, None, None, g, S)

    return one_token(step, (q, k, v, g, beta), (*q.shape[1:], v.shape[2]), state)


def _ask_and_write(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float, qk_norm: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, a = βk, k and r = βv: ask what k holds, write the difference to v."""
    if qk_norm:
        q, k = (x * (x.square().sum(-1, keepdim=True) + NORM_EPS).rsqrt() for x in (q, k))
    beta = beta[..., None]
    return q * scale, beta * k, k, beta * v


_SHARED = {
    "family": "delta",
    "state": {"S": "BHKV"},
    "forms": delta.FORMS,
    "fast": "chunk",
    "chapter": "11",
    "flops": cost.delta_flops,
}
_BETA = Argument("BTH", "rate")
_QKV = qkv() | {"k": Argument("BTHK", "key")}
DELTA_RULE = Row(
    name="delta_rule",
    fn=delta_rule,
    step=delta_rule_step,
    transition="I − β_t k_t k_tᵀ",
    arguments=_QKV | {"beta": _BETA},
    paper="2406.06484",
    **_SHARED,
)
GATED_DELTA_RULE = Row(
    name="gated_delta_rule",
    fn=gated_delta_rule,
    step=gated_delta_rule_step,
    transition="e^{g_t} (I − β_t k_t k_tᵀ)",
    arguments=_QKV | {"g": Argument("BTH", "gate"), "beta": _BETA},
    paper="2412.06464",
    **_SHARED,
)
KDA = Row(
    name="kda",
    fn=kda,
    step=kda_step,
    transition="(I − β_t k_t k_tᵀ) diag(e^{g_t})",
    arguments=_QKV | {"g": Argument("BTHK", "gate"), "beta": _BETA},
    paper="2510.26692",
    **_SHARED,
)
