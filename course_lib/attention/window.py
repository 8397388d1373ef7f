"""Sliding-window attention: softmax over the last w tokens, so linear in T for a fixed window.

    o_t = Σ_{t−w<i≤t} p_{ti} v_i,     p_{ti} ∝ exp(scale · q_tᵀ k_i)

The window counts the token itself. Queries are taken a block at a time beside the keys they can see, the block's
own and the w − 1 before it: O(T·w) time and memory, and no T×T mask anywhere. What is older than the window is
out of sight for one layer, and L layers see at most L(w − 1) tokens back. It carries the last w − 1 keys and
values. Chapter 06; arXiv 2004.05150, 1904.10509.
"""

from functools import partial

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.blocks import Pattern, attend
from course_lib.attention.cached import Kept, grown, last, over_cache
from course_lib.attention.carrying import Options
from course_lib.attention.registry import DEFAULT_WINDOW, Argument, Row
from course_lib.attention.softmax import Cache, softmax_attention_step

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
    kept = _kept(window)
    forms = {
        "recurrent": partial(_recurrent, window=window),
        "chunk": partial(attend, pattern=window_pattern(window, chunk_size)),
    }
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return over_cache("sliding_window_attention", forms, q, k, v, options, g=g, beta=beta, kept=kept)


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
    kept = _kept(window)
    keys, values = grown(q, k, v, state, scale, kept)
    o, _ = softmax_attention_step(q, k, v, (keys[:, :-1], values[:, :-1]), scale=scale)
    return o, last(keys, values, kept)


def _kept(window: int) -> Kept:
    checks.check_count("window", window)
    return Kept(window - 1, "window − 1")


def window_pattern(window: int, block: int) -> Pattern:
    """The last `window` tokens, for queries in blocks of `block`."""

    def listed(n: int) -> range:
        return range(max(0, (n * block - window + 1) // block), n + 1)

    def hidden(i: Tensor, j: Tensor) -> Tensor:
        distance = i - j
        return (distance < 0) | (distance >= window)

    return Pattern(block, listed, hidden)


def _recurrent(q: Tensor, k: Tensor, v: Tensor, *, window: int) -> Tensor:
    """The definition, token by token: each query with the keys in its window."""
    keys, values = k.unbind(2), v.unbind(2)
    out = []
    for t, q_t in enumerate(q.unbind(2), start=len(keys) - q.shape[2]):
        seen = slice(max(t - window + 1, 0), t + 1)
        weights = torch.einsum("bhk,nbhk->bhn", q_t, torch.stack(keys[seen])).softmax(-1)
        out.append(torch.einsum("bhn,nbhv->bhv", weights, torch.stack(values[seen])))
    return torch.stack(out, dim=2)


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
