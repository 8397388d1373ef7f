"""Softmax attention: every query compares itself with every key it may see.

    o_t = Σ_{i≤t} p_{ti} v_i,     p_{ti} = exp(s_{ti}) / Σ_{j≤t} exp(s_{tj}),     s_{ti} = scale · q_tᵀ k_i

"parallel" is that definition with all T×T scores in memory. "chunk" passes once over blocks of keys and
keeps a running maximum m, a running sum l and the output so far, rescaled by exp(m_old − m_new) when the
maximum rises: still quadratic time, but linear memory (chapter 03; arXiv 1805.02867, 2112.05682). "sdpa" is
torch's fused kernel. What it carries is the past itself, the key–value cache (chapter 04).
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.packing import run_packed, sequence_lengths
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.attention.registry import Argument, Row

FORMS = ("parallel", "chunk", "sdpa")
Cache = tuple[Tensor, Tensor]


def softmax_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    g: None = None,
    beta: None = None,
    scale: float | None = None,
    causal: bool = True,
    initial_state: Cache | None = None,
    output_final_state: bool = False,
    cu_seqlens: Tensor | None = None,
    mode: str = "chunk",
    chunk_size: int = 64,
) -> tuple[Tensor, Cache | None]:
    """Softmax attention in O(T²) time: returns the output and, if asked for, the key–value cache.

    q: `[B, T_q, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides
    H: query head h reads key head h // (H / H_kv) (grouped-query attention, arXiv 2305.13245).
    g, beta: must be None; this mixer has no gates.
    scale: factor of the scores, `K ** -0.5` by default.
    causal: a query sees keys up to its own position, and the queries are the **last** T_q of all keys, so
        T_q ≤ T. Otherwise every query sees every key, and T_q is free.
    initial_state: the cache (k, v) of earlier tokens, `[B, T_0, H_kv, ·]` in the dtype of k; put before
        k and v.
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T = T_q; then B = 1. Their caches differ in
        length and do not stack, so no state goes in or out with it.
    mode: "parallel" (the definition), "chunk" (one pass over blocks of `chunk_size` keys; memory linear in
        T unless autograd keeps the blocks), "sdpa" (`torch.nn.functional.scaled_dot_product_attention`, in
        the dtype of q, or of autocast).

    Returns o `[B, T_q, H, V]` in the dtype of v, and the cache `(k, v)` of T_0 + T tokens or None. Raises
    TypeError or ValueError for arguments that do not fit. Derived in chapters 01 and 03; arXiv 1706.03762.
    """
    checks.check_no_gates("softmax_attention", g=g, beta=beta)
    checks.check_flag("causal", causal)
    checks.check_flag("output_final_state", output_final_state)
    checks.check_qkv(q, k, v, kv_groups=True)
    checks.check_scale(scale)
    checks.check_form(mode, FORMS, chunk_size)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    attend = partial(_attend, scale=scale, causal=causal, mode=mode, chunk_size=chunk_size)
    if cu_seqlens is not None:
        return _packed(attend, q, k, v, cu_seqlens, initial_state, output_final_state), None
    k, v = extend(initial_state, k, v, "initial_state")
    return attend(q, k, v), (k, v) if output_final_state else None


def softmax_attention_step(
    q: Tensor, k: Tensor, v: Tensor, state: Cache | None = None, *, scale: float | None = None
) -> tuple[Tensor, Cache]:
    """One token of `softmax_attention`: reads the whole cache, so O(T·(K + V)) time and memory.

    q: `[B, H, K]`. k: `[B, H_kv, K]`. v: `[B, H_kv, V]`. state: the cache that a step or
    `softmax_attention` returned; None is the empty past. Returns o `[B, H, V]` and a new cache with this
    token behind it. The cache is copied to grow by one token; chapter 05 builds caches that do not
    copy.
    """
    checks.check_qkv(q, k, v, dim=3, kv_groups=True)
    checks.check_scale(scale)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    keys, values = extend(state, k[:, None], v[:, None], "state")
    with no_autocast(q):
        q_t, k_all, v_all = cast_up(q, keys, values, dtype=working_dtype(q))
        # The query heads of a group are rows of one product, so a shared cache is read once.
        rows = q_t.unflatten(1, (k.shape[1], -1))  # [B, H_kv, H / H_kv, K]
        scores = rows @ k_all.permute(0, 2, 3, 1) * scale  # [B, H_kv, H / H_kv, T]
        o = scores.softmax(-1) @ v_all.transpose(1, 2)
    return o.flatten(1, 2).to(v.dtype), (keys, values)


def extend(cache: Cache | None, k: Tensor, v: Tensor, argument: str) -> Cache:
    """The keys and values of the cache followed by the new ones."""
    if cache is None:
        return k, v
    B, _, H_kv, K = k.shape
    expected = {"k": (B, None, H_kv, K), "v": (B, None, H_kv, v.shape[-1])}
    checks.check_states(argument, cache, expected, k.dtype, k.device)
    if cache[0].shape[1] != cache[1].shape[1]:
        raise ValueError(
            f"{argument} must hold as many keys as values, got {cache[0].shape[1]} keys and "
            f"{cache[1].shape[1]} values: pass on what an earlier call returned"
        )
    with no_autocast(k):
        return torch.cat([cache[0], k], dim=1), torch.cat([cache[1], v], dim=1)


def refuse_packed_caches(initial_state: object, output_final_state: bool) -> None:
    """Caches of packed sequences differ in length."""
    if initial_state is not None or output_final_state:
        raise ValueError(
            "initial_state and output_final_state must be unset with cu_seqlens: caches of packed sequences "
            "differ in length and do not stack; make one call per sequence to carry them"
        )


def _packed(
    attend: partial,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    initial_state: object,
    output_final_state: bool,
) -> Tensor:
    refuse_packed_caches(initial_state, output_final_state)
    checks.check_same_length(q, k)
    lengths = sequence_lengths(cu_seqlens, *q.shape[:2])
    o, _ = run_packed(lambda *tokens: (attend(*tokens[:3]), None), (q, k, v), lengths, [None] * len(lengths))
    return o


def _attend(
    q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool, mode: str, chunk_size: int
) -> Tensor:
    """One of the forms, on all keys: `[B, T_q, H, V]`."""
    T_q, T = q.shape[1], k.shape[1]
    checks.check_keys_for_queries(T_q, T, causal)
    if mode == "sdpa":
        return _sdpa(q, k, v, scale, causal)
    with no_autocast(q):
        q, k_all, v_all = cast_up(
            q, *share(q, k, v), dtype=working_dtype(q)
        )  # before the scale: q · scale rounds in q's dtype
        q_h, k_h, v_h = (x.transpose(1, 2) for x in (q * scale, k_all, v_all))  # [B, H, T, ·]
        if mode == "parallel" or T_q == 0:
            o = _parallel(q_h, k_h, v_h, causal)
        else:
            o = _chunk(q_h, k_h, v_h, causal, chunk_size)
    return o.transpose(1, 2).to(v.dtype)


def share(q: Tensor, k: Tensor, v: Tensor) -> Cache:
    """One key and value head per query head: head h of q reads head h // (H / H_kv)."""
    groups = q.shape[2] // k.shape[2]
    return (k, v) if groups == 1 else (k.repeat_interleave(groups, dim=2), v.repeat_interleave(groups, dim=2))


def _hide_future(scores: Tensor, ahead: int) -> Tensor:
    """-inf where a key comes later than its query; row 0 may see the first `ahead` + 1 columns."""
    future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(ahead + 1)
    return scores.masked_fill_(future, -math.inf)


def _parallel(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """softmax(QKᵀ + mask) V; scores and probabilities, T_q × T each, are in memory together."""
    scores = q @ k.mT
    if causal:
        scores = _hide_future(scores, ahead=k.shape[2] - q.shape[2])
    return scores.softmax(-1) @ v


def _chunk(q: Tensor, k: Tensor, v: Tensor, causal: bool, chunk_size: int) -> Tensor:
    """A block of queries at a time, each in one pass over the key blocks it may see."""
    blocks = list(zip(k.split(chunk_size, dim=2), v.split(chunk_size, dim=2), strict=True))
    first = k.shape[2] - q.shape[2]  # position of the first query
    out = []
    for n, q_c in enumerate(q.split(chunk_size, dim=2)):
        out.append(_one_pass(q_c, blocks, first + n * chunk_size if causal else k.shape[2]))
    return torch.cat(out, dim=2)


def _one_pass(q: Tensor, blocks: list[tuple[Tensor, Tensor]], position: int) -> Tensor:
    """Online softmax of a block of queries, the first of which sees keys up to `position`."""
    m = q.new_full((*q.shape[:-1], 1), -math.inf)  # running maximum
    l = torch.zeros_like(m)  # running Σ exp(s − m)
    o = q.new_zeros(*q.shape[:-1], blocks[0][1].shape[-1])  # running Σ exp(s − m) v
    start = 0
    for k_c, v_c in blocks:
        if start >= position + q.shape[2]:
            break  # this block and all later ones lie in the future of every query here
        scores = q @ k_c.mT
        if start + k_c.shape[2] > position + 1:
            scores = _hide_future(scores, ahead=position - start)
        m_new = torch.maximum(m, scores.amax(-1, keepdim=True))
        p, shrink = (scores - m_new).exp(), (m - m_new).exp()
        l, o, m = l * shrink + p.sum(-1, keepdim=True), o * shrink + p @ v_c, m_new
        start += k_c.shape[2]
    return o / l


def _sdpa(q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool) -> Tensor:
    """torch's kernel. Its causal flag aligns queries with the first keys; here they are the last."""
    T_q, T = q.shape[1], k.shape[1]
    mask = None
    if causal and 1 < T_q < T:
        mask = torch.ones(T_q, T, dtype=torch.bool, device=q.device).tril(T - T_q)
    o = F.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in (q, k, v)),
        attn_mask=mask,
        is_causal=causal and T_q == T,
        scale=scale,
        enable_gqa=q.shape[2] != k.shape[2],
    )
    return o.transpose(1, 2).to(v.dtype)


SOFTMAX = Row(
    name="softmax_attention",
    fn=softmax_attention,
    step=softmax_attention_step,
    family="softmax",
    transition="none: keeps every token",
    arguments={"q": Argument("BTHK"), "k": Argument("BTGK"), "v": Argument("BTGV")},
    state={"k": "BTGK", "v": "BTGV"},
    keeps="inputs",
    causal=(True, False),
    kv_groups=True,
    forms=FORMS,
    fast="sdpa",
    paper="1706.03762",
    chapter="01",
    flops=cost.softmax_flops,
)
