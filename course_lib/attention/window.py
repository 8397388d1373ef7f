"""Sliding-window attention: softmax over the last w tokens, so linear in T for a fixed window.

    o_t = Σ_{t−w<i≤t} p_{ti} v_i,     p_{ti} ∝ exp(scale · q_tᵀ k_i)

The window counts the token itself. Queries are taken a block at a time beside the keys they can see, the block's
own and the w − 1 before it: O(T·w) time and memory, and no T×T mask anywhere. What is older than the window is
out of sight for one layer, and L layers see at most L(w − 1) tokens back. It carries the last w − 1 keys and
values. Chapter 06; arXiv 2004.05150, 1904.10509.
"""

import math
from collections import deque
from functools import partial

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.carrying import scale_of
from course_lib.attention.packing import run_packed, sequence_lengths
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.attention.registry import DEFAULT_WINDOW, Argument, Row
from course_lib.attention.softmax import Cache, extend, refuse_packed_caches, share, softmax_attention_step

FORMS = ("recurrent", "chunk")


def sliding_window_attention(
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
    window: int = DEFAULT_WINDOW,
) -> tuple[Tensor, Cache | None]:
    """Causal softmax attention over the last `window` tokens, the token itself included, in O(T·window).

    q: `[B, T, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides H (grouped
    queries as in `softmax_attention`). Any T, including 0.
    window: at least 1; from T on it is causal softmax attention.
    g, beta: must be None. causal: must be True. scale: factor of the scores, `K ** -0.5` by default.
    initial_state: the cache (k, v) that an earlier call with this window returned, `[B, W, H_kv, ·]` in the dtype of
        k; W is the number of earlier tokens, and window − 1 at most.
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1, and no state goes in or out.
    mode: "recurrent" (token by token), "chunk" (blocks of `chunk_size` queries).

    Returns o `[B, T, H, V]` in the dtype of v, and the cache of the last window − 1 tokens or None. Raises TypeError
    or ValueError for arguments that do not fit. Derived in chapter 06; arXiv 2004.05150.
    """
    checks.check_no_gates("sliding_window_attention", g=g, beta=beta)
    checks.check_qkv(q, k, v, kv_groups=True)
    checks.check_same_length(q, k)
    checks.check_causal("sliding_window_attention", causal)
    checks.check_form(mode, FORMS, chunk_size)
    checks.check_count("window", window)
    scale = scale_of(q, scale)

    attend = partial(_attend, scale=scale, window=window, mode=mode, chunk_size=chunk_size)
    checks.check_flag("output_final_state", output_final_state)
    lengths = sequence_lengths(cu_seqlens, *q.shape[:2])
    if lengths is not None:
        refuse_packed_caches(initial_state, output_final_state)
        empty = [(k[:, :0], v[:, :0])] * len(lengths)
        return run_packed(attend, (q, k, v), lengths, empty)[0], None
    cache = _checked(initial_state, k, v, window, "initial_state")
    o, _ = attend(q, k, v, cache)
    if not output_final_state:
        return o, None
    with no_autocast(q):
        return o, _last(*(torch.cat(pair, dim=1) for pair in zip(cache, (k, v), strict=True)), window - 1)


def sliding_window_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Cache | None = None,
    *,
    scale: float | None = None,
    window: int = DEFAULT_WINDOW,
) -> tuple[Tensor, Cache]:
    """One token of `sliding_window_attention`, in O(window) however long the past is.

    q: `[B, H, K]`. k: `[B, H_kv, K]`. v: `[B, H_kv, V]`. state: the cache of a step or of the whole call; None is the
    empty past. Returns o `[B, H, V]` and a new cache of at most window − 1 tokens. Errors as the whole call.
    """
    checks.check_qkv(q, k, v, dim=3, kv_groups=True)
    checks.check_count("window", window)
    state = _checked(state, k[:, None], v[:, None], window, "state")
    o, cache = softmax_attention_step(q, k, v, state, scale=scale)
    return o, _last(*cache, window - 1)


def _checked(cache: Cache | None, k: Tensor, v: Tensor, window: int, argument: str) -> Cache:
    """The cache, checked, or an empty one."""
    if cache is None:
        return k[:, :0], v[:, :0]
    extend(cache, k[:, :0], v[:, :0], argument)
    if cache[0].shape[1] >= window:
        raise ValueError(
            f"{argument} must hold at most window − 1 = {window - 1} tokens, got {cache[0].shape[1]}: pass on what "
            f"a call with the same window returned"
        )
    return cache


def _last(k: Tensor, v: Tensor, n: int) -> Cache:
    """The last n tokens, as tensors of their own: a view would keep all T alive."""
    start = max(k.shape[1] - n, 0)
    return k[:, start:].clone(), v[:, start:].clone()


def _attend(
    q: Tensor, k: Tensor, v: Tensor, cache: Cache, *, scale: float, window: int, mode: str, chunk_size: int
) -> tuple[Tensor, None]:
    if q.shape[1] == 0:
        return q.new_empty(*q.shape[:3], v.shape[-1]), None
    form = _recurrent if mode == "recurrent" else _chunk
    with no_autocast(q):
        every = (q, *share(q, k, v), *share(q, *cache))
        q_up, k_up, v_up, *cache_up = cast_up(*every, dtype=working_dtype(q))
        return form(q_up * scale, k_up, v_up, cache_up, window, chunk_size).to(v.dtype), None


def _recurrent(q: Tensor, k: Tensor, v: Tensor, cache: list[Tensor], window: int, _: int) -> Tensor:
    """The definition, token by token: each query with the keys in its window."""
    keys, values = deque(cache[0].unbind(1), maxlen=window), deque(cache[1].unbind(1), maxlen=window)
    out = []
    for q_t, k_t, v_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True):
        keys.append(k_t)
        values.append(v_t)
        weights = torch.einsum("bhk,nbhk->bhn", q_t, torch.stack(list(keys))).softmax(-1)
        out.append(torch.einsum("bhn,nbhv->bhv", weights, torch.stack(list(values))))
    return torch.stack(out, dim=1)


def _chunk(q: Tensor, k: Tensor, v: Tensor, cache: list[Tensor], window: int, chunk_size: int) -> Tensor:
    """A block of queries at a time, with the blocks of keys in which its first query can see something."""
    seen = deque([(-cache[0].shape[1], *(x.transpose(1, 2) for x in cache))])  # (position, keys, values)
    out = []
    blocks = zip(*(x.transpose(1, 2).split(chunk_size, dim=2) for x in (q, k, v)), strict=True)
    for n, (q_c, k_c, v_c) in enumerate(blocks):
        start = n * chunk_size
        seen.append((start, k_c, v_c))
        while seen[0][0] + seen[0][1].shape[2] <= start - window + 1:
            seen.popleft()
        keys, values = (torch.cat(blocks, dim=2) for blocks in list(zip(*seen, strict=True))[1:])
        hidden = _hidden(q_c.shape[2], keys.shape[2], start - seen[0][0], window, q.device)
        out.append((q_c @ keys.mT).masked_fill_(hidden, -math.inf).softmax(-1) @ values)
    return torch.cat(out, dim=2).transpose(1, 2)


def _hidden(queries: int, keys: int, ahead: int, window: int, device: torch.device) -> Tensor:
    """True where key j is not among the last `window` of query i, which stands `ahead` + i keys in."""
    distance = ahead + torch.arange(queries, device=device)[:, None] - torch.arange(keys, device=device)
    return (distance < 0) | (distance >= window)


WINDOW = Row(
    name="sliding_window_attention",
    fn=sliding_window_attention,
    step=sliding_window_attention_step,
    family="window",
    transition="none: keeps the last w − 1 tokens",
    arguments={"q": Argument("BTHK"), "k": Argument("BTGK"), "v": Argument("BTGV")},
    state={"k": "BWGK", "v": "BWGV"},
    keeps="inputs",
    kv_groups=True,
    forms=FORMS,
    fast="chunk",
    paper="2004.05150",
    chapter="06",
    flops=cost.window_flops,
)
