"""Sparse attention with a pattern that is fixed beforehand: dilated windows, global tokens, BigBird, given blocks.

    o_t = Σ_{i ∈ S(t)} p_{ti} v_i,     p_{ti} ∝ exp(scale · q_tᵀ k_i) over i ∈ S(t)

    dilated          S(t) = {t, t − s, …, t − (w − 1)s}                        w keys
    global + window  S(t) = {t − w < i ≤ t} ∪ G, all i ≤ t for t ∈ G           w + |G| keys
    BigBird          the last blocks, the first blocks, blocks drawn at random  ≈ (their number) · block keys
    block-sparse     the blocks that a mask marks

Each S(t) has a bounded size, so all are O(T·w). Which tokens are out of sight does not depend on what they say: that
is what routing (`moba`) changes. Only a dilated window may drop old tokens; the others keep the whole cache, since
a block that this query skips may be one that a later query reads. Chapter 06; arXiv 1904.10509, 2004.05150,
2007.14062.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib import cost
from course_lib.attention import blocks, checks, masks
from course_lib.attention.blocks import Pattern, attend_masked, later
from course_lib.attention.cached import Kept, grown, heads_first, last, over_cache
from course_lib.attention.carrying import Options, scale_of
from course_lib.attention.masks import DEFAULT_BLOCK
from course_lib.attention.registry import DEFAULT_STRIDE, DEFAULT_WINDOW, Argument, Row
from course_lib.attention.softmax import Cache, softmax_attention_step
from course_lib.attention.window import window_pattern

FORMS = ("parallel", "chunk")


def dilated_attention(
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
    stride: int = DEFAULT_STRIDE,
) -> tuple[Tensor, Cache | None]:
    """Causal softmax attention over every `stride`-th token back, `window` of them: O(T·window), reach (w − 1)·s.

    q: `[B, T, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides H.
    window, stride: at least 1; stride 1 is `sliding_window_attention`. With window ≥ T / stride it is the strided half
    of the Sparse Transformer, whose other half is a window of `stride`: two layers of them, O(T·√T) for a stride of
    √T, reach every token.
    g, beta: must be None. causal: must be True. scale: factor of the scores, `K ** -0.5` by default.
    initial_state: the cache (k, v) that an earlier call with these options returned, (window − 1)·stride tokens at
        most.
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1, and no state goes in or out.
    mode: "parallel" (the T×T mask), "chunk" (tokens of one remainder mod stride see each other only, so each of the
    `stride` classes is a window of its own, in blocks of `chunk_size` queries).

    Returns o `[B, T, H, V]` in the dtype of v, and the cache of the last (window − 1)·stride tokens or None. Raises
    TypeError or ValueError for arguments that do not fit. Derived in chapter 06; arXiv 1904.10509.
    """
    kept = _dilated_kept(window, stride)
    forms = {
        "parallel": lambda q, k, v: attend_masked(
            q, k, v, masks.dilated_mask(k.shape[2], window, stride).to(q.device)
        ),
        "chunk": partial(_dilated, window=window, stride=stride, chunk_size=chunk_size),
    }
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return over_cache("dilated_attention", forms, q, k, v, options, g=g, beta=beta, kept=kept)


def dilated_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Cache | None = None,
    *,
    scale: float | None = None,
    window: int = DEFAULT_WINDOW,
    stride: int = DEFAULT_STRIDE,
) -> tuple[Tensor, Cache]:
    """One token of `dilated_attention`: reads `window` of the (window − 1)·stride tokens that it keeps.

    q: `[B, H, K]`. k: `[B, H_kv, K]`. v: `[B, H_kv, V]`. state: the cache of a step or of the whole call; None is the
    empty past. Returns o `[B, H, V]` and a new cache. Errors as the whole call.
    """
    kept = _dilated_kept(window, stride)
    keys, values = grown(q, k, v, state, scale, kept)
    past = keys.shape[1] - 1
    mine = slice(past % stride, past, stride)
    o, _ = softmax_attention_step(q, k, v, (keys[:, mine], values[:, mine]), scale=scale)
    return o, last(keys, values, kept)


def _dilated_kept(window: int, stride: int) -> Kept:
    checks.check_count("window", window)
    checks.check_count("stride", stride)
    return Kept((window - 1) * stride, "(window − 1) · stride")


def _dilated(q: Tensor, k: Tensor, v: Tensor, *, window: int, stride: int, chunk_size: int) -> Tensor:
    """Tokens that stand `stride` apart are neighbours in their class, so a dilated window is a plain one there."""
    H, T_q, T = q.shape[1], q.shape[2], k.shape[2]
    before, after = (T - T_q) % stride, -T % stride  # so that both ends are whole rows of classes
    classes = (_by_class(q, before, after, stride), *(_by_class(x, 0, after, stride) for x in (k, v)))
    o = blocks.attend(*classes, window_pattern(window, chunk_size))
    return o.unflatten(1, (H, stride)).transpose(2, 3).flatten(2, 3)[:, :, before : before + T_q]


def _by_class(x: Tensor, before: int, after: int, stride: int) -> Tensor:
    """[B, H, T, ·] -> `[B, H·stride, ⌈T / stride⌉, ·]`: a head for each remainder of the position mod stride."""
    padded = F.pad(x, (0, 0, before, after))
    return padded.unflatten(2, (padded.shape[2] // stride, stride)).transpose(2, 3).flatten(1, 2)


def global_window_attention(
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
    global_tokens: Sequence[int] = (0,),
) -> tuple[Tensor, Cache | None]:
    """Longformer's pattern, causal: a window, and global tokens that all later ones see and that see all before them.

    q: `[B, T, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides H.
    window: at least 1, the token itself included. global_tokens: their positions, counted from the first token of the
    cache (of each sequence, where they are packed); () is a plain window. O(T·(window + G)) for G of them; two layers
    reach every token only through a global one, and only what came before that one.
    g, beta: must be None. causal: must be True. scale: factor of the scores, `K ** -0.5` by default.
    initial_state: the cache (k, v) of all earlier tokens, `[B, T_0, H_kv, ·]`. A global token still to come sees all of
    them; where all are in the past, the global tokens and the last window − 1 would do (attention sinks, chapter 05).
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1, and no state goes in or out.
    mode: "parallel" (the T×T mask), "chunk" (blocks of `chunk_size` queries).

    Returns o `[B, T, H, V]` in the dtype of v, and the cache of all tokens or None. Raises TypeError or ValueError for
    arguments that do not fit. The paper is bidirectional and gives global tokens projections of their own. Derived in
    chapter 06; arXiv 2004.05150.
    """
    checks.check_count("window", window)
    positions = masks.check_positions(global_tokens)
    forms = {
        "parallel": lambda q, k, v: attend_masked(
            q, k, v, masks.global_window_mask(k.shape[2], window, positions).to(q.device)
        ),
        "chunk": partial(_global_window, window=window, positions=positions, chunk_size=chunk_size),
    }
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return over_cache("global_window_attention", forms, q, k, v, options, g=g, beta=beta)


def global_window_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Cache | None = None,
    *,
    scale: float | None = None,
    window: int = DEFAULT_WINDOW,
    global_tokens: Sequence[int] = (0,),
) -> tuple[Tensor, Cache]:
    """One token of `global_window_attention`: reads the window and the global tokens, or all if it is global itself.

    q: `[B, H, K]`. k: `[B, H_kv, K]`. v: `[B, H_kv, V]`. state: the cache of a step or of the whole call; None is the
    empty past. Returns o `[B, H, V]` and a new cache. Errors as the whole call.
    """
    checks.check_count("window", window)
    positions = masks.check_positions(global_tokens)
    keys, values = grown(q, k, v, state, scale)
    t = keys.shape[1] - 1
    if t in positions:
        return softmax_attention_step(q, k, v, state, scale=scale)
    return _step(_global_window_pattern(window, positions, 64), q, keys, values, scale), (keys, values)


def _global_window_pattern(window: int, positions: tuple[int, ...], block: int) -> Pattern:
    near = window_pattern(window, block)

    def hidden(i: Tensor, j: Tensor) -> Tensor:
        everywhere = (j[:, None] == torch.tensor(positions, dtype=j.dtype, device=j.device)).any(-1)
        return (near.hidden(i, j) & ~everywhere) | later(i, j)

    return Pattern(block, near.listed, hidden if positions else near.hidden, positions)


def _global_window(
    q: Tensor, k: Tensor, v: Tensor, *, window: int, positions: tuple[int, ...], chunk_size: int
) -> Tensor:
    """Every query with its window and the global keys; then the global queries with all that is before them."""
    o = blocks.attend(q, k, v, _global_window_pattern(window, positions, chunk_size))
    first, T = k.shape[2] - q.shape[2], k.shape[2]
    mine = [at for at in positions if first <= at < T]
    if not mine:
        return o
    at = torch.tensor(mine, device=q.device)
    scores = q.index_select(2, at - first) @ k[:, :, : mine[-1] + 1].mT
    hidden = later(at[:, None], torch.arange(mine[-1] + 1, device=q.device))
    theirs = scores.masked_fill_(hidden, -math.inf).softmax(-1) @ v[:, :, : mine[-1] + 1]
    return o.index_copy(2, at - first, theirs)


def bigbird_attention(
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
    block_size: int = DEFAULT_BLOCK,
    window_blocks: int = 2,
    global_blocks: int = 1,
    random_blocks: int = 1,
    seed: int = 0,
) -> tuple[Tensor, Cache | None]:
    """BigBird's pattern, causal: each block of queries sees the last blocks, the first ones, and random ones between.

    q: `[B, T, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides H.
    block_size: tokens of a block. window_blocks: the last blocks, at least 1, the query's own included. global_blocks:
    the first blocks of the text, from 0. random_blocks: from 0, drawn from those between by `seed` and the number of
    the block alone, so a longer text or a decoder meets the same ones; all heads share them.
    g, beta: must be None. causal: must be True. scale: factor of the scores, `K ** -0.5` by default.
    initial_state: the cache (k, v) of all earlier tokens, `[B, T_0, H_kv, ·]`: a later block may draw any of them.
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1, and no state goes in or out.
    mode: "parallel" (the T×T mask), "chunk" (blocks of `block_size` queries; `chunk_size` is without effect).

    Returns o `[B, T, H, V]` in the dtype of v, and the cache of all tokens or None. Raises TypeError or ValueError for
    arguments that do not fit. In the paper, which is bidirectional, global tokens also see all; here the first blocks
    see all before them anyway. Derived in chapter 06; arXiv 2007.14062.
    """
    given = {
        "block_size": block_size,
        "window_blocks": window_blocks,
        "global_blocks": global_blocks,
        "random_blocks": random_blocks,
        "seed": seed,
    }
    pattern = _bigbird_pattern(**given)
    forms = {
        "parallel": lambda q, k, v: attend_masked(
            q, k, v, masks.bigbird_mask(k.shape[2], **given).to(q.device)
        ),
        "chunk": partial(blocks.attend, pattern=pattern),
    }
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return over_cache("bigbird_attention", forms, q, k, v, options, g=g, beta=beta)


def bigbird_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Cache | None = None,
    *,
    scale: float | None = None,
    block_size: int = DEFAULT_BLOCK,
    window_blocks: int = 2,
    global_blocks: int = 1,
    random_blocks: int = 1,
    seed: int = 0,
) -> tuple[Tensor, Cache]:
    """One token of `bigbird_attention`: reads (window + global + random) blocks and keeps every token.

    q: `[B, H, K]`. k: `[B, H_kv, K]`. v: `[B, H_kv, V]`. state: the cache of a step or of the whole call; None is the
    empty past. Returns o `[B, H, V]` and a new cache. Errors as the whole call.
    """
    pattern = _bigbird_pattern(block_size, window_blocks, global_blocks, random_blocks, seed)
    keys, values = grown(q, k, v, state, scale)
    return _step(pattern, q, keys, values, scale), (keys, values)


def _bigbird_pattern(
    block_size: int, window_blocks: int, global_blocks: int, random_blocks: int, seed: int
) -> Pattern:
    masks.check_bigbird(block_size, window_blocks, global_blocks, random_blocks, seed)

    def listed(n: int) -> list[int]:
        near = n - window_blocks + 1
        between = masks.drawn_blocks(seed, n, global_blocks, near, random_blocks)
        first = range(min(global_blocks, max(near, 0)))
        return [*first, *between, *range(max(near, 0), n + 1)]

    return Pattern(block_size, listed, later)


def block_sparse_attention(
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
    block_mask: Tensor,
    block_size: int = DEFAULT_BLOCK,
) -> tuple[Tensor, Cache | None]:
    """Causal softmax attention over the blocks of keys that `block_mask` marks for each block of queries.

    Not a row of the registry: the mask must cover every position, so it belongs to one length of text and has no step
    that could go on for ever; and a block has no way to guess a mask. Decode by calling this with `initial_state`.

    q: `[B, T, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides H.
    block_mask: boolean `[N, N]`, N·block_size at least the tokens of the cache and the call; row n says which key
    blocks the queries n·block_size … see. False above the diagonal, and no row empty; inside a block of the diagonal
    a query sees no later key. The same for all heads and sequences.
    Everything else as in `bigbird_attention`, whose pattern is such a mask. Reading the mask costs (T / block_size)²
    tests; the rest is linear in the number of marked blocks. Derived in chapter 06; arXiv 1904.10509.
    """
    masks.check_block_mask(block_mask, block_size)
    marked = block_mask.cpu()
    pattern = Pattern(block_size, lambda n: marked[n].nonzero().flatten().tolist(), later)

    def chunk(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        masks.check_covers(block_mask, block_size, k.shape[2])
        return blocks.attend(q, k, v, pattern)

    def parallel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = masks.block_sparse_mask(k.shape[2], block_mask, block_size=block_size)
        return attend_masked(q, k, v, seen.to(q.device))

    forms = {"parallel": parallel, "chunk": chunk}
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return over_cache("block_sparse_attention", forms, q, k, v, options, g=g, beta=beta)


def _step(pattern: Pattern, q: Tensor, keys: Tensor, values: Tensor, scale: float | None) -> Tensor:
    """The last token's output, from those keys of the cache that its pattern reads."""
    at = blocks.read_by(pattern, keys.shape[1] - 1, q.device)
    read = keys.index_select(1, at), values.index_select(1, at)

    def form(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (q @ k.mT).softmax(-1) @ v

    return heads_first(form, q[:, None], *read, scale=scale_of(q, scale))[:, 0]


KEYS = {"q": Argument("BTHK"), "k": Argument("BTGK"), "v": Argument("BTGV")}

DILATED = Row(
    name="dilated_attention",
    fn=dilated_attention,
    step=dilated_attention_step,
    family="sparse",
    transition="none: keeps the last (w − 1)s tokens, reads w",
    arguments=KEYS,
    state={"k": "BRGK", "v": "BRGV"},
    keeps="inputs",
    kv_groups=True,
    forms=FORMS,
    fast="chunk",
    paper="1904.10509",
    chapter="06",
    flops=cost.dilated_flops,
)

GLOBAL_WINDOW = Row(
    name="global_window_attention",
    fn=global_window_attention,
    step=global_window_attention_step,
    family="sparse",
    transition="none: keeps all tokens, reads w and the global ones",
    arguments=KEYS,
    state={"k": "BTGK", "v": "BTGV"},
    keeps="inputs",
    kv_groups=True,
    forms=FORMS,
    fast="chunk",
    paper="2004.05150",
    chapter="06",
    flops=cost.global_window_flops,
)

BIGBIRD = Row(
    name="bigbird_attention",
    fn=bigbird_attention,
    step=bigbird_attention_step,
    family="sparse",
    transition="none: keeps all tokens, reads a few blocks",
    arguments=KEYS,
    state={"k": "BTGK", "v": "BTGV"},
    keeps="inputs",
    kv_groups=True,
    forms=FORMS,
    fast="chunk",
    paper="2007.14062",
    chapter="06",
    flops=cost.bigbird_flops,
)
