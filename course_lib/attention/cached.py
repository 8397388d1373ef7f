"""What every mixer that carries keys and values does around its form: check, put the past in front, cast, cast back.

A form gets queries that are scaled already and the keys and values of all tokens that the cache and the call hold,
heads first, `[B, H, T, ·]`, one key head a query head; the queries are the last of these tokens. It returns
`[B, H, T_q, V]`. What is handed on is every token, or the last of them where older ones are out of reach for good.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.carrying import Options, scale_of
from course_lib.attention.packing import run_packed, sequence_lengths
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.attention.softmax import Cache, extend, refuse_packed_caches, share

Form = Callable[[Tensor, Tensor, Tensor], Tensor]


class Kept(NamedTuple):
    """The most tokens that a cache hands on, and the formula of that number for an error."""

    tokens: int
    formula: str


def over_cache(
    name: str,
    forms: Mapping[str, Form],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: Options,
    *,
    g: object = None,
    beta: object = None,
    kept: Kept | None = None,
) -> tuple[Tensor, Cache | None]:
    """`forms[mode]` on the cache and the tokens, per packed sequence if there are any; o, and the cache if asked for.

    q `[B, T, H, K]`, k `[B, T, H_kv, K]`, v `[B, T, H_kv, V]`. kept: None hands on every token.
    """
    checks.check_no_gates(name, g=g, beta=beta)
    checks.check_qkv(q, k, v, kv_groups=True)
    checks.check_same_length(q, k)
    checks.check_causal(name, options.causal)
    checks.check_form(options.mode, tuple(forms), options.chunk_size)
    checks.check_flag("output_final_state", options.output_final_state)
    attend = partial(heads_first, forms[options.mode], scale=scale_of(q, options.scale))
    lengths = sequence_lengths(options.cu_seqlens, *q.shape[:2])
    if lengths is not None:
        refuse_packed_caches(options.initial_state, options.output_final_state)
        nothing = [None] * len(lengths)
        return run_packed(lambda q, k, v, _: (attend(q, k, v), None), (q, k, v), lengths, nothing)[0], None
    keys, values = extended(options.initial_state, k, v, "initial_state", kept)
    return attend(q, keys, values), last(keys, values, kept) if options.output_final_state else None


def grown(
    q: Tensor, k: Tensor, v: Tensor, state: Cache | None, scale: float | None, kept: Kept | None = None
) -> Cache:
    """The checks of a step, and its cache: one token q `[B, H, K]`, k `[B, H_kv, K]`, v `[B, H_kv, V]` behind `state`.

    Like `softmax_attention_step` it copies the cache to grow it by one token; chapter 05 builds caches that do not.
    """
    checks.check_qkv(q, k, v, dim=3, kv_groups=True)
    checks.check_scale(scale)
    return extended(state, k[:, None], v[:, None], "state", kept)


def heads_first(form: Form, q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Tensor:
    """The form in the working dtype, without autocast, one key head a query head; o in the dtype of v."""
    if 0 in q.shape[:2]:
        return q.new_empty(*q.shape[:3], v.shape[-1], dtype=v.dtype)
    with no_autocast(q):
        up = cast_up(
            q, *share(q, k, v), dtype=working_dtype(q)
        )  # before the scale, which rounds in q's dtype
        q_h, k_h, v_h = (x.transpose(1, 2) for x in up)
        return form(q_h * scale, k_h, v_h).transpose(1, 2).to(v.dtype)


def extended(cache: Cache | None, k: Tensor, v: Tensor, argument: str, kept: Kept | None = None) -> Cache:
    """The keys and values of the cache, checked, and the new ones behind them."""
    keys, values = extend(cache, k, v, argument)
    past = keys.shape[1] - k.shape[1]
    if kept is not None and past > kept.tokens:
        raise ValueError(
            f"{argument} must hold at most {kept.formula} = {kept.tokens} tokens, got {past}: pass on what a call "
            f"with the same options returned"
        )
    return keys, values


def last(k: Tensor, v: Tensor, kept: Kept | None = None) -> Cache:
    """The tokens that are handed on, as tensors of their own where they are a part: a view would keep all alive."""
    if kept is None:
        return k, v
    start = max(k.shape[1] - kept.tokens, 0)
    return k[:, start:].clone(), v[:, start:].clone()
