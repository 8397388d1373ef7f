"""Linear attention: softmax's exp(q·k) replaced by φ(q)·φ(k), so that keys and values can be summed once.

    o_t = φ(q_t)ᵀ S_t / φ(q_t)ᵀ z_t,     S_t = Σ_{i≤t} φ(k_i) v_iᵀ,     z_t = Σ_{i≤t} φ(k_i)

The normaliser z is the same sum with the value 1, so it travels as one more value column: v ← [v, 1] turns
the state into [S, z] in every form. Without `normalize` the answer is `scale`·φ(q_t)ᵀ S_t. Chapter 08
derives it; Katharopoulos et al., arXiv 2006.16236.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks, decay
from course_lib.attention.carrying import apply
from course_lib.attention.packing import sequence_lengths
from course_lib.attention.precision import LOG2E, cast_up, no_autocast, working_dtype
from course_lib.attention.registry import Row, qkv

FeatureMap = Callable[[Tensor], Tensor]
State = Tensor | tuple[Tensor, Tensor]


def elu(x: Tensor) -> Tensor:
    """elu(x) + 1: e^x below zero, 1 + x above, so positive everywhere. Note that a padded zero becomes 1."""
    above = x.relu()
    return ((x - above) * LOG2E).exp2() + above


def identity(x: Tensor) -> Tensor:
    """x itself: with `normalize=False` this is the plain recurrence on q and k."""
    return x


def taylor(x: Tensor) -> Tensor:
    """[1, y, y ⊗ y / √2] with y = x / K^(1/4), so that φ(q)ᵀφ(k) = 1 + s + s²/2 with s = qᵀk / √K.

    The Taylor polynomial of exp(s), positive everywhere; K grows to 1 + K + K² (arXiv 2402.18668).
    """
    y = x * x.shape[-1] ** -0.25
    squares = (y[..., :, None] * y[..., None, :]).flatten(-2) * 0.5**0.5
    return torch.cat([torch.ones_like(y[..., :1]), y, squares], dim=-1)


feature_maps: dict[str, FeatureMap] = {"elu": elu, "relu": F.relu, "identity": identity, "taylor": taylor}


def linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: None = None,
    beta: None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: State | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
    feature_map: str | FeatureMap = "elu",
    normalize: bool = True,
) -> tuple[Tensor, State | None]:
    """Linear attention in O(T) time: returns the output and, if asked for, the state after the last token.

    q, k: `[B, T, H, K]`. v: `[B, T, H, V]`. All of one floating dtype. Any T, including 0.
    g, beta: must be None; this mixer has no gates.
    scale: factor of the unnormalised output, `K ** -0.5` by default. With `normalize` it cancels.
    causal: token t reads tokens up to t; otherwise all tokens read the state after the last.
    initial_state: what an earlier call returned: S `[B, H, K, V]`, or `(S, z)` with z `[B, H, K]` when
        normalised; float32 (float64 for float64 inputs). The tokens it holds come before the first one
        here.
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1 and the states are
        `[N, H, K, V]`.
    mode: "parallel" (T×T products), "recurrent" (token by token), "chunk" (`chunk_size` tokens at a time).
    feature_map: "elu" (elu + 1), "relu", "identity", "taylor" (second order, K becomes 1 + K + K²), or a
        callable on `[B, T, H, K]` that may change K only. It is given the working precision, float32 or float64,
        and one sequence of a pack at a time; positions in it start at this call's first token.
    normalize: divide by φ(q)ᵀz. Where that is 0 (relu features that are all 0, or identity features that
        cancel) the definition is 0/0 and the result is NaN or infinite, not silently 0; a map that stays
        positive avoids it (elu + 1 does down to about −100, where float32 ends).

    Returns o `[B, T, H, V]` in the dtype of v, and the state or None. Raises TypeError or ValueError for
    arguments that do not fit. Derived in chapter 08; arXiv 2006.16236.
    """
    checks.check_no_gates("linear_attention", g=g, beta=beta)
    for flag, x in (("causal", causal), ("normalize", normalize), ("output_final_state", output_final_state)):
        checks.check_flag(flag, x)
    checks.check_qkv(q, k, v)
    checks.check_same_length(q, k)
    checks.check_scale(scale)
    checks.check_form(mode, decay.FORMS, chunk_size)
    lengths = sequence_lengths(cu_seqlens, *q.shape[:2])
    factor = _factor(q, scale, normalize)
    with no_autocast(q):
        if callable(feature_map):  # it may look at the whole sequence, so it gets it
            q, k = _features_of_sequences(feature_map, q, k, lengths)
        phi = (
            identity
            if callable(feature_map)
            else checks.choose("feature_map", feature_map, feature_maps, " or a callable")
        )
        N = q.shape[0] if lengths is None else len(lengths)
        state = _start("initial_state", initial_state, N, phi(q[:0]), v, normalize)

        def form(q: Tensor, k: Tensor, v: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
            q_f, k_f, values = _prepare(q, k, v, phi, factor, normalize)
            if causal:
                o, S = decay.run(mode, q_f, k_f, values, None, S, chunk_size=chunk_size)
            else:
                o, S = _everywhere(q_f, k_f, values, S)
            return (o[..., :-1] / o[..., -1:] if normalize else o).to(v.dtype), S

        pieces = chunk_size if causal and mode == "chunk" else None
        o, final = apply(form, (q, k, v), lengths, _joined(state), pieces)
    if not output_final_state:
        return o, None
    return o, (final[..., :-1], final[..., -1]) if normalize else final


def linear_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: State | None = None,
    *,
    scale: float | None = None,
    feature_map: str | FeatureMap = "elu",
    normalize: bool = True,
) -> tuple[Tensor, State]:
    """One token of `linear_attention` in O(K·V) time and memory, however long the past is.

    q, k: `[B, H, K]`. v: `[B, H, V]`. state: what a step or `linear_attention` returned; None is the empty
    past. Returns o `[B, H, V]` and the new state; the given one is not changed. Options and errors as
    `linear_attention`.
    """
    checks.check_qkv(q, k, v, dim=3)
    checks.check_scale(scale)
    with no_autocast(q):
        phi = (
            feature_map
            if callable(feature_map)
            else checks.choose("feature_map", feature_map, feature_maps, " or a callable")
        )
        q_t, k_t, v_t = _prepare(q, k, v, phi, _factor(q, scale, normalize), normalize=False)
        S, *z = _start("state", state, q.shape[0], k_t, v, normalize)
        o, S = decay.step(q_t, k_t, v_t, None, S)
        if not normalize:
            return o.to(v.dtype), S
        # [S, z] as one tensor, as in the forms, would copy all of S for every token.
        z_t = z[0] + k_t
        return (o / torch.linalg.vecdot(q_t, z_t)[..., None]).to(v.dtype), (S, z_t)


def _factor(q: Tensor, scale: float | None, normalize: bool) -> float | None:
    """What q is multiplied by: nothing when normalised, since numerator and denominator share the factor."""
    if normalize:
        return None
    return q.shape[-1] ** -0.5 if scale is None else scale


def _prepare(
    q: Tensor, k: Tensor, v: Tensor, phi: FeatureMap, factor: float | None, normalize: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """φ(q), φ(k) and [v, 1] in the working precision: φ after the cast, since elu(x) + 1 cancels below zero.

    v ← [v, 1] and S ← [S, z]: the engine then sums the normaliser as one more value column.
    """
    q, k, v = cast_up(q, k, v, dtype=working_dtype(v))
    q, k = _features(phi, q, k)
    return q if factor is None else q * factor, k, F.pad(v, (0, 1), value=1.0) if normalize else v


def _features(phi: FeatureMap, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    q_f, k_f = phi(q), phi(k)
    checks.check_features(q_f, q)
    checks.check_features(k_f, k)
    return q_f, k_f


def _features_of_sequences(
    phi: FeatureMap, q: Tensor, k: Tensor, lengths: list[int] | None
) -> tuple[Tensor, Tensor]:
    """φ on whole sequences in the working precision; packed ones do not see one another."""
    q, k = cast_up(q, k, dtype=working_dtype(q))
    if lengths is None:
        return _features(phi, q, k)
    found = [_features(phi, *pair) for pair in zip(q.split(lengths, 1), k.split(lengths, 1), strict=True)]
    q_f, k_f = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    return q_f, k_f


def _start(
    argument: str, state: State | None, N: int, k: Tensor, v: Tensor, normalize: bool
) -> tuple[Tensor, ...]:
    """(S,) or (S, z) before the first token: the caller's, checked, or zeros. k has the width of the features."""
    shape, dtype = (N, k.shape[-2], k.shape[-1]), working_dtype(v)
    expected = {"S": (*shape, v.shape[-1])} | ({"z": shape} if normalize else {})
    if state is None:
        return tuple(v.new_zeros(shape, dtype=dtype) for shape in expected.values())
    states = state if normalize else (state,)
    checks.check_states(argument, states, expected, dtype, v.device)
    return states


def _joined(state: Sequence[Tensor]) -> Tensor:
    """S, or [S, z] as one tensor."""
    S, *z = state
    return torch.cat([S, z[0][..., None]], dim=-1) if z else S


def _everywhere(q: Tensor, k: Tensor, v: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """Without a direction there is one form: write every token, then let every token read."""
    S = S + k.transpose(1, 2).mT @ v.transpose(1, 2)
    return (q.transpose(1, 2) @ S).transpose(1, 2), S


LINEAR = Row(
    name="linear_attention",
    fn=linear_attention,
    step=linear_attention_step,
    family="decay",
    transition="I",
    arguments=qkv(),
    state={"S": "BHKV", "z": "BHK"},
    causal=(True, False),
    forms=decay.FORMS,
    fast="chunk",
    paper="2006.16236",
    chapter="08",
    flops=cost.linear_flops,
)
