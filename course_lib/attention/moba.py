"""Mixture of block attention (MoBA): every query picks the blocks of keys that it reads, by their mean key.

    s_{tn} = q_tᵀ k̄_n,   k̄_n = mean of the keys of block n        for the complete blocks n before the query's own
    o_t = softmax attention over the top_k − 1 blocks with the largest s_{tn}, and over the query's own block up to t

A sparse pattern that depends on what the tokens say. The products with the chosen blocks are linear in T, top_k · block
keys a query. The choice is not: every query is compared with all T / block means, K·T² / block FLOPs a head, a
quadratic term with a small constant. And since any later query may choose any block, the whole cache is kept.

Queries are not gathered beside their keys, which would copy top_k · block keys for each; the pairs of a query and a
chosen block are sorted by block instead, so that all queries of a block meet it in one product, and the softmaxes over
single blocks are put together by their sums: o = Σ_n e^{l_n} o_n / Σ_n e^{l_n} with l_n = log Σ_{i ∈ n} e^{s_i}. The
choice itself has no gradient. Chapter 06; arXiv 2502.13189.
"""

import math
from functools import partial

import torch
from torch import Tensor

from course_lib import cost
from course_lib.attention import checks
from course_lib.attention.blocks import attend_masked, later, query_blocks
from course_lib.attention.cached import grown, heads_first, over_cache
from course_lib.attention.carrying import Options, scale_of
from course_lib.attention.masks import DEFAULT_BLOCK
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.attention.registry import Argument, Row
from course_lib.attention.softmax import Cache, share

FORMS = ("parallel", "chunk")
DEFAULT_TOP_K = 4  # blocks, the query's own included
PIECE = 16  # tiles that are computed at a time


def moba(
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
    top_k: int = DEFAULT_TOP_K,
) -> tuple[Tensor, Cache | None]:
    """Causal softmax attention over the query's own block and the top_k − 1 earlier ones whose mean key suits it best.

    q: `[B, T, H, K]`. k: `[B, T, H_kv, K]`. v: `[B, T, H_kv, V]`. All of one floating dtype. H_kv divides H; every
    query head chooses for itself.
    block_size: tokens of a block, counted from the first token of the cache. top_k: blocks a query reads, its own
    included, at least 1; with top_k ≥ T / block_size it is causal softmax attention.
    g, beta: must be None. causal: must be True. scale: factor of the scores, `K ** -0.5` by default.
    initial_state: the cache (k, v) of all earlier tokens, `[B, T_0, H_kv, ·]`.
    cu_seqlens: `[N + 1]` boundaries of N sequences packed along T; then B = 1, and no state goes in or out.
    mode: "parallel" (the T×T mask), "chunk" (routes and reads `chunk_size` queries at a time).

    Returns o `[B, T, H, V]` in the dtype of v, and the cache of all tokens or None. Raises TypeError or ValueError for
    arguments that do not fit. Time: O(T · top_k · block_size) to read and O(T² / block_size) to choose. Derived in
    chapter 06; arXiv 2502.13189.
    """
    _check(block_size, top_k)
    forms = {
        "parallel": partial(_parallel, block_size=block_size, top_k=top_k),
        "chunk": partial(_chunk, block_size=block_size, top_k=top_k, chunk_size=chunk_size),
    }
    options = Options(scale, causal, initial_state, output_final_state, cu_seqlens, mode, chunk_size)
    return over_cache("moba", forms, q, k, v, options, g=g, beta=beta)


def moba_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Cache | None = None,
    *,
    scale: float | None = None,
    block_size: int = DEFAULT_BLOCK,
    top_k: int = DEFAULT_TOP_K,
) -> tuple[Tensor, Cache]:
    """One token of `moba`: scores every mean key, then attends to top_k blocks. It keeps every token.

    q: `[B, H, K]`. k: `[B, H_kv, K]`. v: `[B, H_kv, V]`. state: the cache of a step or of the whole call; None is the
    empty past. The means are formed anew, so this step reads every key; a cache that holds them too would read
    T / block_size means in their place, which still grows with T. Returns o `[B, H, V]` and a new cache. Errors as the
    whole call.
    """
    _check(block_size, top_k)
    keys, values = grown(q, k, v, state, scale)
    form = partial(_chunk, block_size=block_size, top_k=top_k, chunk_size=1)
    return heads_first(form, q[:, None], keys, values, scale=scale_of(q, scale))[:, 0], (keys, values)


def moba_mask(q: Tensor, k: Tensor, *, block_size: int = DEFAULT_BLOCK, top_k: int = DEFAULT_TOP_K) -> Tensor:
    """Which keys each query reads: boolean `[B, H, T, T]`, for teaching and tests. q, k as in `moba`; no scale enters.

    q may hold the last T_q of the T tokens of k only; then the mask is `[B, H, T_q, T]`. Raises TypeError or
    ValueError. Chapter 06; arXiv 2502.13189.
    """
    _check(block_size, top_k)
    checks.check_qkv(q, k, k, kv_groups=True)
    checks.check_keys_for_queries(q.shape[1], k.shape[1], causal=True)
    with no_autocast(q):
        up = cast_up(q, share(q, k, k)[0], dtype=working_dtype(q))
        return _seen(*(x.transpose(1, 2) for x in up), block_size, top_k)


def _check(block_size: int, top_k: int) -> None:
    checks.check_count("block_size", block_size)
    checks.check_count("top_k", top_k)


def _seen(q: Tensor, k: Tensor, block_size: int, top_k: int) -> Tensor:
    """The definition of the pattern, query by query: `[B, H, T_q, T]`."""
    T = k.shape[2]
    t, i = torch.arange(T - q.shape[2], T, device=q.device)[:, None], torch.arange(T, device=q.device)
    own = (t // block_size == i // block_size).expand(*q.shape[:2], -1, -1)
    chosen, valid = _route(q, k, block_size, top_k, max(q.shape[2], 1))
    for n, real in zip(chosen.unbind(-1), valid.unbind(-1), strict=True):
        own = own | ((i // block_size == n[..., None]) & real[..., None])
    return own & (i <= t)


def _parallel(q: Tensor, k: Tensor, v: Tensor, *, block_size: int, top_k: int) -> Tensor:
    return attend_masked(q, k, v, _seen(q, k, block_size, top_k))


def _route(q: Tensor, k: Tensor, block_size: int, top_k: int, chunk_size: int) -> tuple[Tensor, Tensor]:
    """Numbers of the earlier blocks that each query chooses, and which are real: `[B, H, T_q, r]` twice.

    r is top_k − 1, or the number of blocks before the last query's own where that is less. A query with fewer blocks
    before its own chooses these; what fills up its row is not real.
    """
    T_q, T = q.shape[2], k.shape[2]
    earlier = max(T - 1, 0) // block_size
    r = min(top_k - 1, earlier)
    means = k.detach()[:, :, : earlier * block_size].unflatten(2, (earlier, block_size)).mean(3)
    chosen, valid, first = [], [], T - T_q
    for q_c in q.detach().split(chunk_size, dim=2):
        end = first + q_c.shape[2]
        # As many blocks as the last of these queries may choose, and never fewer than topk wants.
        n = torch.arange(max(r, (end - 1) // block_size), device=q.device)
        own = torch.arange(first, end, device=q.device)[:, None] // block_size
        best = (q_c @ means[:, :, : len(n)].mT).masked_fill_(n >= own, -math.inf).topk(r, dim=-1)
        chosen.append(best.indices)
        valid.append(best.values != -math.inf)
        first = end
    return torch.cat(chosen, dim=2), torch.cat(valid, dim=2)


def _chunk(q: Tensor, k: Tensor, v: Tensor, *, block_size: int, top_k: int, chunk_size: int) -> Tensor:
    """Each query's own block, and the blocks it chose; put together by the sums of their softmaxes."""
    T_q, T = q.shape[2], k.shape[2]
    o, mass = _own_blocks(q, k, v, block_size)
    if min(top_k - 1, (T - 1) // block_size) == 0:
        return o
    chosen, valid = _route(q, k, block_size, top_k, chunk_size)
    pairs = sum(
        min(top_k - 1, at // block_size) * q_c.shape[2] for at, q_c in query_blocks(q, T - T_q, block_size)
    )
    o_far, mass_far = _chosen_blocks(q, k, v, chosen, valid, pairs, block_size, chunk_size)
    parts = torch.cat([mass[..., None], mass_far.masked_fill(~valid, -math.inf)], dim=-1).softmax(-1)
    near, far = parts.split([1, parts.shape[-1] - 1], dim=-1)
    return near * o + (far[..., None] * o_far.masked_fill(~valid[..., None], 0)).sum(-2)


def _own_blocks(q: Tensor, k: Tensor, v: Tensor, block_size: int) -> tuple[Tensor, Tensor]:
    """Causal attention inside each block: o `[B, H, T_q, V]`, and log Σ e^s `[B, H, T_q]`."""
    keys, values = k.split(block_size, dim=2), v.split(block_size, dim=2)
    outputs, masses = [], []
    for first, q_c in query_blocks(q, k.shape[2] - q.shape[2], block_size):
        n = first // block_size
        i = torch.arange(first, first + q_c.shape[2], device=q.device)[:, None]
        j = torch.arange(n * block_size, n * block_size + keys[n].shape[2], device=q.device)
        o, mass = _softmax((q_c @ keys[n].mT).masked_fill_(later(i, j), -math.inf), values[n])
        outputs.append(o)
        masses.append(mass)
    return torch.cat(outputs, dim=2), torch.cat(masses, dim=2)


def _softmax(scores: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """softmax(scores) V, and the logarithm of what the exponentials sum to."""
    highest = scores.amax(-1, keepdim=True)
    p = (scores - highest).exp_()
    total = p.sum(-1, keepdim=True)
    return p @ v / total, (highest + total.log()).squeeze(-1)


def _chosen_blocks(
    q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, valid: Tensor, pairs: int, block_size: int, tile: int
) -> tuple[Tensor, Tensor]:
    """Attention of every query to each block that it chose: o `[B, H, T_q, r, V]`, log Σ e^s `[B, H, T_q, r]`.

    The pairs of a query and a block stand in tiles of `tile` queries that share a block; how many tiles there are at
    most is known beforehand, so every shape is. pairs: how many are real.
    """
    (B, H, T_q, r), V = chosen.shape, v.shape[3]
    earlier = (k.shape[2] - 1) // block_size
    tiles = (pairs + earlier * (tile - 1)) // tile
    whole = [
        x[:, :, : earlier * block_size].unflatten(2, (earlier, block_size)).flatten(0, 1) for x in (k, v)
    ]
    at = (x.flatten(0, 1) for x in _tiled(chosen.flatten(2), valid.flatten(2), earlier, tiles, tile, r))
    heads = zip(*(x.unbind(0) for x in (q.flatten(0, 1), *whole, *at)), strict=True)
    o, mass = zip(*(_one_head(*head, tile) for head in heads), strict=True)
    return torch.stack(o).view(B, H, T_q, r, V), torch.stack(mass).view(B, H, T_q, r)


def _one_head(
    q: Tensor, k: Tensor, v: Tensor, place: Tensor, of_tile: Tensor, of_slot: Tensor, tile: int
) -> tuple[Tensor, Tensor]:
    """q `[T_q, K]` and blocks k `[n, block, K]`, v `[n, block, V]` of one head: o `[pairs, V]`, log Σ e^s `[pairs]`.

    A head at a time, a few tiles at a time: what is copied and what is computed stays in the processor's cache.
    """
    queries = q.index_select(0, of_slot).unflatten(0, (len(of_tile), tile))
    tiles = (queries, k.index_select(0, of_tile), v.index_select(0, of_tile))
    parts = [
        _softmax(q_c @ k_c.mT, v_c) for q_c, k_c, v_c in zip(*(x.split(PIECE) for x in tiles), strict=True)
    ]
    o, mass = (torch.cat(x).flatten(0, 1) for x in zip(*parts, strict=True))
    return o.index_select(0, place), mass.index_select(0, place)


def _tiled(
    block: Tensor, valid: Tensor, earlier: int, tiles: int, tile: int, r: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where each pair stands among the tiles, the block of each tile, and the query of each place in them.

    block, valid: `[B, H, T_q·r]`, pair p belongs to query p // r. Returns `[B, H, T_q·r]`, `[B, H, tiles]` and
    `[B, H, tiles·tile]`. What is not real stands at place 0, and an empty place holds query 0: neither is read.
    """
    lead, P = block.shape[:2], block.shape[2]
    group = torch.where(valid, block, earlier)  # those that are not real come last
    sorted_group, order = group.sort(dim=-1, stable=True)
    counts = group.new_zeros(*lead, earlier + 1).scatter_add(-1, group, torch.ones_like(group))
    starts = counts.cumsum(-1) - counts
    tiles_before = (counts + tile - 1) // tile
    tiles_before = tiles_before.cumsum(-1) - tiles_before
    rank = torch.arange(P, device=block.device) - starts.gather(-1, sorted_group)
    place = tiles_before.gather(-1, sorted_group) * tile + rank
    real = sorted_group < earlier
    # One place more than there are takes what is not real.
    target = torch.where(real, place, tiles * tile)
    of_slot = group.new_zeros(*lead, tiles * tile + 1).scatter(-1, target, order // r)[..., :-1]
    of_tile = group.new_zeros(*lead, tiles + 1).scatter(-1, target // tile, sorted_group)[..., :-1]
    at = torch.zeros_like(group).scatter(-1, order, torch.where(real, place, 0))
    return at, of_tile, of_slot


MOBA = Row(
    name="moba",
    fn=moba,
    step=moba_step,
    family="routed",
    transition="none: keeps all tokens, reads the blocks it chooses",
    arguments={"q": Argument("BTHK"), "k": Argument("BTGK"), "v": Argument("BTGV")},
    state={"k": "BTGK", "v": "BTGV"},
    keeps="inputs",
    kv_groups=True,
    forms=FORMS,
    fast="chunk",
    paper="2502.13189",
    chapter="06",
    flops=cost.moba_flops,
)
