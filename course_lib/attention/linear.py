"""Linear attention: softmax's exp(q·k) replaced by φ(q)·φ(k), so that keys and values can be summed once.

    o_t = φ(q_t)ᵀ S_t / φ(q_t)ᵀ z_t,     S_t = Σ_{i≤t} φ(k_i) v_iᵀ,     z_t = Σ_{i≤t} φ(k_i)

The normaliser z is the same sum with the value 1, so it travels as one more value column: v ← [v, 1] turns
the state into [S, z] in every form. Without `normalize` the answer is `scale`·φ(q_t)ᵀ S_t. Chapter 08
derives it; Katharopoulos et al., arXiv 2006.16236.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import checks, decay
from course_lib.attention.packing import run_packed, sequence_lengths
from course_lib.attention.precision import cast_up, no_autocast

FeatureMap = Callable[[Tensor], Tensor]
State = Tensor | tuple[Tensor, Tensor]


def elu(x: Tensor) -> Tensor:
    """elu(x) + 1: positive everywhere, e^x below zero. Note that a padded zero becomes 1."""
    return F.elu(x) + 1


def identity(x: Tensor) -> Tensor:
    """x itself: with `normalize=False` this is the plain recurrence on q and k."""
    return x


feature_maps: dict[str, FeatureMap] = {"elu": elu, "relu": F.relu, "identity": identity}


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
    feature_map: "elu" (elu + 1), "relu", "identity", or a callable on `[B, T, H, K]` that may change K
        only. It is given the working precision, float32 or float64.
    normalize: divide by φ(q)ᵀz. Where that is 0 (relu features that are all 0, or identity features that
        cancel) the definition is 0/0 and the result is NaN or infinite, not silently 0; a map that stays
        positive avoids it.

    Returns o `[B, T, H, V]` in the dtype of v, and the state or None. Raises TypeError or ValueError for
    arguments that do not fit. Derived in chapter 08; arXiv 2006.16236.
    """
    checks.check_no_gates("linear_attention", g, beta)
    checks.check_qkv(q, k, v)
    checks.check_same_length(q, k)
    checks.check_scale(scale)
    checks.check_form(mode, decay.FORMS, chunk_size)
    lengths = None if cu_seqlens is None else sequence_lengths(cu_seqlens, *q.shape[:2])
    with no_autocast(q):
        tokens = _features(q, k, v, feature_map, _factor(q, scale, normalize))
        sequences = q.shape[0] if lengths is None else len(lengths)
        state = _start("initial_state", initial_state, sequences, *tokens[1:], normalize)
        if normalize:
            tokens, state = _append_normaliser(tokens, state)
        o, final = _run(mode, tokens, state[0], lengths, causal=causal, chunk_size=chunk_size)
        if normalize:
            o, final = o[..., :-1] / o[..., -1:], (final[..., :-1], final[..., -1])
    return o.to(v.dtype), final if output_final_state else None


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
        q_t, k_t, v_t = _features(q, k, v, feature_map, _factor(q, scale, normalize))
        S, *z = _start("state", state, q.shape[0], k_t, v_t, normalize)
        o, S = decay.step(q_t, k_t, v_t, S)
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


def _features(
    q: Tensor, k: Tensor, v: Tensor, feature_map: str | FeatureMap, factor: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """φ(q), φ(k) and v in the working precision: φ after the cast, since elu(x) + 1 cancels below zero."""
    phi = feature_map if callable(feature_map) else checks.choose("feature_map", feature_map, feature_maps)
    q, k, v = cast_up(q, k, v)
    q_f, k_f = phi(q), phi(k)
    checks.check_features(q_f, q)
    checks.check_features(k_f, k)
    return q_f if factor is None else q_f * factor, k_f, v


def _start(
    argument: str, state: State | None, N: int, k: Tensor, v: Tensor, normalize: bool
) -> tuple[Tensor, ...]:
    """(S,) or (S, z) before the first token: the caller's, checked, or zeros."""
    shape = (N, k.shape[-2], k.shape[-1])
    expected = {"S": (*shape, v.shape[-1])} | ({"z": shape} if normalize else {})
    if state is None:
        return tuple(k.new_zeros(shape) for shape in expected.values())
    states = state if normalize else (state,)
    checks.check_states(argument, states, expected, k.dtype, k.device)
    return states


def _append_normaliser(
    tokens: Sequence[Tensor], state: Sequence[Tensor]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """v ← [v, 1] and S ← [S, z]: the engine then sums the normaliser as one more value column."""
    (q, k, v), (S, z) = tokens, state
    return (q, k, F.pad(v, (0, 1), value=1.0)), (torch.cat([S, z[..., None]], dim=-1),)


def _run(
    mode: str, tokens: Sequence[Tensor], state: Tensor, lengths: list[int] | None, **options: bool | int
) -> tuple[Tensor, Tensor]:
    run = partial(decay.run, mode, **options)
    if lengths is None:
        return run(*tokens, state)
    o, finals = run_packed(run, tokens, lengths, state.split(1))
    return o, torch.cat(finals)
