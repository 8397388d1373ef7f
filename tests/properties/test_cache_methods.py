"""Each cache that forgets, rounds or shares, against its definition: lists of the tokens that are kept, token by token.

`slow` definitions below loop over sequences, heads and tokens and know nothing of slots, rings or pages.
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Shape, assert_within, shapes
from test_cache import EXACT, fed, pieces

from course_lib import cost
from course_lib.attention import sliding_window_attention, softmax_attention
from course_lib.attention.rope import rope
from course_lib.cache import (
    FullCache,
    HeavyHitterCache,
    LatentCache,
    PagedCache,
    PagePool,
    QuantisedCache,
    SinkCache,
    SnapKVCache,
    WindowCache,
)
from course_lib.cache.quantised import dequantise, pack, quantise, unpack

SMALL = st.integers(1, 6)
GROUPS = st.sampled_from([1, 2, 3])


def grouped(shape, groups, dtype=torch.float64, even=False):
    K = 2 * shape.K if even else shape.K
    wide = Shape(shape.B, shape.T, shape.H * groups, K, shape.V, shape.C, shape.seed)
    return wide.qkv(dtype, H_kv=shape.H)


def attended(q, k, v):
    """The last tokens of k and v read all of them, by the definition of attention."""
    return softmax_attention(q, k, v, mode="parallel")[0]


def weights_of(q_t, keys):
    """q_t `[K]`, keys: list of `[K]` -> list of weights."""
    scores = torch.stack([q_t @ k_j for k_j in keys]) * len(q_t) ** -0.5
    return scores.softmax(0)


# Windows, with and without sinks


def slow_window(q, k, v, sinks, window, turn=False):
    """Token t reads the first `sinks` tokens and the last `window`, at places 0, 1, … in the cache."""
    out = []
    for t in range(q.shape[1]):
        seen = [j for j in range(t + 1) if j < sinks or j > t - window]
        places = torch.arange(len(seen))
        q_t, k_t = q[:, t : t + 1], k[:, seen]
        if turn:
            q_t, k_t = rope(q_t, places[-1:]), rope(k_t, places)
        out.append(attended(q_t, k_t, v[:, seen]))
    return torch.cat(out, dim=1)


@given(shapes(max_T=24), GROUPS, st.integers(1, 9), st.data())
def test_a_window_reads_the_last_tokens(shape, groups, window, data):
    q, k, v = grouped(shape, groups)
    cache = WindowCache(window=window, chunk_size=shape.C)
    o = fed(cache, q, k, v, pieces(shape.T, data))
    assert_within(o, slow_window(q, k, v, 0, window), EXACT, v.abs().max())
    assert cache.nbytes == cost.kept_cache_bytes(
        shape.B, shape.T, shape.H, shape.K, shape.V, window, itemsize=8
    )
    assert cache.nbytes <= cache.reserved <= 8 * shape.B * shape.H * window * (shape.K + shape.V)


@given(shapes(max_T=24), GROUPS, SMALL, st.integers(1, 9), st.booleans(), st.data())
def test_sinks_and_a_window_read_by_place(shape, groups, sinks, window, turn, data):
    q, k, v = grouped(shape, groups, even=turn)
    cache = SinkCache(sinks=sinks, window=window, rope=turn, chunk_size=shape.C)
    o = fed(cache, q, k, v, pieces(shape.T, data))
    assert_within(o, slow_window(q, k, v, sinks, window, turn), EXACT, v.abs().max())
    size = (shape.B, shape.T, shape.H, k.shape[-1], shape.V)
    assert cache.nbytes == cost.kept_cache_bytes(*size, sinks + window, itemsize=8)


@pytest.mark.parametrize("kind", ["window", "sinks", "turned sinks"])
@given(shapes(max_T=20), st.data())
def test_within_its_window_nothing_is_lost(kind, shape, data):
    q, k, v = grouped(shape, 2, even=True)
    plain = q
    turn = kind == "turned sinks"
    cache = WindowCache(window=20) if kind == "window" else SinkCache(sinks=1, window=19, rope=turn)
    o = fed(cache, q, k, v, pieces(shape.T, data))
    if turn:
        positions = torch.arange(shape.T)
        q, k = rope(q, positions), rope(k, positions)
    assert_within(o, attended(q, k, v), EXACT, v.abs().max())
    assert_within(cache.attend(plain[:, -1:]), o[:, -1:], EXACT, v.abs().max())


@given(shapes(min_T=2, max_T=20), st.integers(0, 3), st.integers(1, 6), st.booleans(), st.data())
def test_a_truncated_window_never_saw_the_rest_or_says_why_not(shape, sinks, window, attend, data):
    q, k, v = grouped(shape, 1)
    cut = data.draw(st.integers(0, shape.T - 1), label="cut")
    cache = SinkCache(sinks=sinks, window=window) if sinks else WindowCache(window=window)
    lengths = pieces(shape.T, data)
    start = shape.T - lengths[-1]
    if start:
        fed(cache, *(x[:, :start] for x in (q, k, v)), lengths[:-1])
    cache.append(k[:, start:], v[:, start:])
    if attend:
        cache.attend(q[:, -1:])
    settled = shape.T if attend or lengths[-1] == 1 else start
    if cut < settled > sinks + window:
        with pytest.raises(RuntimeError, match=f"cannot go back to {cut} of its {shape.T} tokens"):
            cache.truncate(cut)
        return
    cache.truncate(cut)
    assert len(cache) == cut
    rest = [x[:, cut:] for x in (q, k, v)]
    expected = slow_window(q, k, v, sinks, window)[:, cut:]
    assert_within(fed(cache, *rest, pieces(shape.T - cut, data)), expected, EXACT, v.abs().max())


# Heavy hitters


def slow_heavy(q, k, v, recent, heavy, lengths):
    """Outputs, and for each sequence and key head the positions kept at the end; a piece is read before it is cut."""
    B, T, H, _ = q.shape
    groups = H // k.shape[2]
    o, kept = torch.zeros(B, T, H, v.shape[-1], dtype=q.dtype), {}
    for b in range(B):
        for h in range(k.shape[2]):
            total, start = {}, 0
            for n in lengths:
                total |= dict.fromkeys(range(start, start + n), 0.0)
                for t in range(start, start + n):
                    seen = [j for j in total if j <= t]
                    for head in range(h * groups, (h + 1) * groups):
                        weights = weights_of(q[b, t, head], [k[b, j, h] for j in seen])
                        o[b, t, head] = sum(w * v[b, j, h] for w, j in zip(weights, seen, strict=True))
                        for w, j in zip(weights.tolist(), seen, strict=True):
                            total[j] += w
                start += n
                old = [j for j in total if j < start - recent]
                over = len(total) - recent - heavy
                for j in sorted(old, key=lambda j: (total[j], j))[: max(over, 0)]:
                    del total[j]
            kept[b, h] = sorted(total)
    return o, kept


@given(shapes(max_T=16), GROUPS, SMALL, SMALL, st.data())
def test_heavy_hitters_are_those_looked_at_most(shape, groups, recent, heavy, data):
    q, k, v = grouped(shape, groups)
    q, lengths = 3 * q, pieces(shape.T, data)
    cache = HeavyHitterCache(recent=recent, heavy=heavy, chunk_size=shape.C)
    o = fed(cache, q, k, v, lengths)
    expected, kept = slow_heavy(q, k, v, recent, heavy, lengths)
    assert_within(o, expected, EXACT, v.abs().max())
    for (b, h), positions in kept.items():
        assert cache.kept[b, h].tolist() == positions
    size = (shape.B, shape.T, shape.H, shape.K, shape.V, recent + heavy)
    assert cache.nbytes == cost.heavy_hitter_bytes(*size, itemsize=8)


@given(shapes(min_T=2, max_T=16), SMALL, SMALL, st.data())
def test_heavy_hitters_go_on_from_a_snapshot(shape, recent, heavy, data):
    q, k, v = grouped(shape, 1)
    cut = data.draw(st.integers(1, shape.T - 1), label="cut")
    cache, other = (HeavyHitterCache(recent=recent, heavy=heavy) for _ in range(2))
    fed(cache, *(x[:, :cut] for x in (q, k, v)), [1] * cut)
    other.restore(cache.snapshot())
    rest, lengths = [x[:, cut:] for x in (q, k, v)], pieces(shape.T - cut, data)
    assert torch.equal(fed(cache, *rest, lengths), fed(other, *rest, lengths))
    assert torch.equal(cache.kept, other.kept)


def test_tokens_that_nobody_looked_at_go_first_and_the_oldest_of_equals():
    """Four tokens come without a query; the fifth's query looks at all, then two must go: 0, and the lightest."""
    cache = HeavyHitterCache(recent=1, heavy=2)
    cache.append(torch.zeros(1, 4, 1, 2), torch.zeros(1, 4, 1, 1))
    cache.append(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 1))  # the four are cut to 1, 2, 3 first
    assert cache.kept.flatten().tolist() == [1, 2, 3, 4]
    cache.attend(torch.zeros(1, 1, 1, 2))
    assert cache.kept.flatten().tolist() == [2, 3, 4]


# SnapKV


def slow_snapkv(q, k, budget, observation, pool, T):
    """For each sequence and key head the prompt positions that stay."""
    groups, kept = q.shape[2] // k.shape[2], {}
    for b in range(k.shape[0]):
        for h in range(k.shape[2]):
            votes = [0.0] * (T - observation)
            for t in range(T - min(observation, q.shape[1]), T):
                for head in range(h * groups, (h + 1) * groups):
                    weights = weights_of(q[b, t - T, head], list(k[b, : t + 1, h])).tolist()
                    votes = [x + w for x, w in zip(votes, weights, strict=False)]
            half = pool // 2
            pooled = [max(votes[max(j - half, 0) : j + half + 1]) for j in range(len(votes))]
            best = sorted(range(len(votes)), key=lambda j: (-pooled[j], j))[: budget - observation]
            kept[b, h] = sorted(best) + list(range(T - observation, T))
    return kept


@given(shapes(min_T=4, max_T=20), GROUPS, st.integers(1, 4), SMALL, st.sampled_from([1, 3, 5]), st.data())
def test_the_end_of_the_prompt_chooses(shape, groups, observation, more, pool, data):
    q, k, v = grouped(shape, groups)
    q = 3 * q
    prompt = data.draw(st.integers(1, shape.T - 1), label="prompt")
    asked = data.draw(st.integers(1, prompt), label="queries of the prompt")
    budget = observation + more
    cache = SnapKVCache(budget=budget, observation=observation, pool=pool)
    cache.append(k[:, :1], v[:, :1])
    if prompt > 1:
        cache.append(k[:, 1:prompt], v[:, 1:prompt])
    o = cache.attend(q[:, prompt - asked : prompt])
    assert_within(o, attended(q[:, :prompt], k[:, :prompt], v[:, :prompt])[:, -asked:], EXACT, v.abs().max())
    rest = [x[:, prompt:] for x in (q, k, v)]
    after = fed(cache, *rest, pieces(shape.T - prompt, data))
    generated = shape.T - prompt
    size = (shape.B, prompt, generated, shape.H, shape.K, shape.V, budget)
    assert cache.nbytes == cost.snapkv_bytes(*size, itemsize=8)
    if prompt <= budget:
        assert cache.kept is None
        assert_within(after, attended(q, k, v)[:, prompt:], EXACT, v.abs().max())
        return
    kept = slow_snapkv(q[:, prompt - asked : prompt], k, budget, observation, pool, prompt)
    for (b, h), positions in kept.items():
        assert cache.kept[b, h].tolist() == positions
        here = positions + list(range(prompt, shape.T))
        heads = slice(h * groups, (h + 1) * groups)
        expected = attended(
            q[b : b + 1, prompt:, heads], k[b : b + 1, here, h : h + 1], v[b : b + 1, here, h : h + 1]
        )
        assert_within(after[b : b + 1, :, heads], expected, EXACT, v.abs().max())
    other = SnapKVCache(budget=budget, observation=observation, pool=pool)
    other.restore(cache.snapshot())
    other.truncate(prompt)
    assert torch.equal(fed(other, *rest, [1] * generated), fed_again(cache, rest, prompt))


def fed_again(cache, rest, length):
    """The same tokens once more after `length`."""
    cache.truncate(length)
    return fed(cache, *rest, [1] * rest[0].shape[1])


# Fewer bits


def rounded(numbers, bits, dtype):
    """What is left of a list of numbers that share a step, low and step rounded to `dtype`."""
    low, levels = min(numbers), 2**bits - 1
    step = torch.tensor((max(numbers) - low) / levels, dtype=dtype).item()
    return [low + step * (round((x - low) / step) if step else 0) for x in numbers]


def slow_rounded(x, bits, axis, dtype):
    """x `[B, group, H_kv, ·]`, rounded along the tokens ("per channel") or along the channels."""
    y = x.clone()
    for b in range(x.shape[0]):
        for h in range(x.shape[2]):
            table = x[b, :, h] if axis == "per token" else x[b, :, h].T
            lines = torch.tensor([rounded(line, bits, dtype) for line in table.tolist()], dtype=x.dtype)
            y[b, :, h] = lines if axis == "per token" else lines.T
    return y


@given(
    shapes(max_T=24),
    GROUPS,
    st.sampled_from([2, 4, 8]),
    st.sampled_from(["per channel", "per token"]),
    st.data(),
)
def test_old_tokens_are_rounded_in_groups_and_new_ones_are_not(shape, groups, bits, keys, data):
    q, k, v = grouped(shape, groups)
    group = data.draw(st.sampled_from([4, 8]), label="group")
    residual = data.draw(SMALL, label="residual")
    cache = QuantisedCache(bits=bits, group=group, residual=residual, keys=keys)
    held_k, held_v, done, start, out = k.clone(), v.clone(), 0, 0, []
    for n in pieces(shape.T, data):
        here = slice(start, start + n)
        cache.append(k[:, here], v[:, here])
        out.append(cache.attend(q[:, here]))
        start += n
        assert_within(
            out[-1], attended(q[:, here], held_k[:, :start], held_v[:, :start]), 1e-9, 1 + v.abs().max()
        )
        while start - done >= residual + group:
            piece = slice(done, done + group)
            held_k[:, piece] = slow_rounded(k[:, piece], bits, keys, k.dtype)
            held_v[:, piece] = slow_rounded(v[:, piece], bits, "per token", v.dtype)
            done += group
        assert cache.rounded == done
    size = (shape.B, shape.T, shape.H, shape.K, shape.V, bits, group, residual)
    assert cache.nbytes == cost.quantised_bytes(*size, itemsize=8, per_channel=keys == "per channel")
    assert cache.nbytes <= cache.reserved
    other = QuantisedCache(bits=bits, group=group, residual=residual, keys=keys)
    other.restore(cache.snapshot())
    assert torch.equal(other.attend(q[:, -1:]), cache.attend(q[:, -1:]))
    cut = data.draw(st.integers(0, shape.T), label="cut")
    if cut < done:
        with pytest.raises(RuntimeError, match=f"cannot go back to {cut} of its {shape.T} tokens"):
            cache.truncate(cut)
    elif cut:
        cache.truncate(cut)
        o = cache.attend(q[:, cut - 1 : cut])
        assert_within(
            o, attended(q[:, cut - 1 : cut], held_k[:, :cut], held_v[:, :cut]), 1e-9, 1 + v.abs().max()
        )


@given(
    st.sampled_from([2, 4, 8]),
    st.integers(0, 2**32),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
)
def test_no_number_moves_by_more_than_half_a_step(bits, seed, dtype):
    x = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
    x[0] = x[0, 0, 0]  # equal numbers have no range
    for axis in (-1, -2):
        codes, step, low = quantise(x, bits, axis)
        error = (dequantise(codes, step, low).double() - x.double()).abs()
        # Rounding the step moves the last level by at most levels·u of a step, and low and the result round too.
        slack = 4 * torch.finfo(dtype).eps * x.double().abs().amax()
        assert bool((error <= step.double() / 2 + slack).all())
        assert torch.equal(dequantise(*quantise(x, bits, axis))[0], x[0])
        assert torch.equal(unpack(pack(codes, bits), bits), codes)
        assert pack(codes, bits).numel() * 8 == codes.numel() * bits


# Latents


@given(shapes(max_T=16), st.integers(1, 6), st.sampled_from([torch.float64, torch.float32]), st.data())
def test_absorbed_projections_equal_the_keys_and_values_they_would_make(shape, d_c, dtype, data):
    d_rope, rng = shape.C % 5, torch.Generator().manual_seed(shape.seed)

    def normal(*size):
        return torch.randn(*size, generator=rng, dtype=torch.float64).to(dtype)

    up_keys, up_values = normal(shape.H, d_c, shape.K), normal(shape.H, d_c, shape.V)
    r, c = normal(shape.B, shape.T, 1, d_rope), normal(shape.B, shape.T, 1, d_c)
    q = normal(shape.B, shape.T, shape.H, shape.K + d_rope)
    cache = LatentCache(up_keys, up_values)
    lengths = pieces(shape.T, data)
    o = fed(cache, q, r, c, lengths)
    k, v = cache.expanded()
    made = torch.stack([c[:, :, 0] @ up_keys[h] for h in range(shape.H)], 2)
    assert_within(k, torch.cat([made, r.expand(-1, -1, shape.H, -1)], -1), 1e-5, 1 + made.abs().max())
    # A score is off by at most its terms' rounding, and so are weights and outputs: 1e-6 of the largest numbers.
    size = (1 + k.abs().max() * q.abs().max() * k.shape[-1]) * (1 + v.abs().max())
    assert_within(o, attended(q, k, v), 1e-6 if dtype == torch.float32 else 1e-13, size)
    assert cache.nbytes == cost.latent_bytes(shape.B, shape.T, d_c, d_rope, itemsize=dtype.itemsize)
    absorbed = torch.cat([torch.einsum("bthk,hck->bthc", q[..., : shape.K], up_keys), q[..., shape.K :]], -1)
    plain = LatentCache(scale=(shape.K + d_rope) ** -0.5)
    latent = fed(plain, absorbed, r, c, lengths)
    assert_within(torch.einsum("bthc,hcv->bthv", latent, up_values), o, 1e-5, size)
    cut = data.draw(st.integers(1, shape.T), label="cut")
    cache.truncate(cut)
    assert_within(cache.attend(q[:, cut - 1 : cut]), o[:, cut - 1 : cut], 1e-5, size)


# Pages


def check_pool(pool, caches):
    """Owners are what the tables say, no page is without one, and a token counts once."""
    owners = {}
    for cache in caches:
        for page in (page for pages in cache.table for page in pages):
            owners[page] = owners.get(page, 0) + 1
        assert all(len(pages) == -(-len(cache) // pool.page_size) for pages in cache.table)
    assert {number: page.owners for number, page in pool.pages.items()} == owners
    filled = {}
    for cache in caches:
        for page, n in cache.filled().items():
            filled[page] = max(n, filled.get(page, 0))
    assert pool.nbytes == sum(filled.values()) * pool.slot_bytes
    assert pool.reserved == len(owners) * pool.page_size * pool.slot_bytes
    assert pool.limit is None or len(owners) <= pool.limit


@given(
    shapes(max_T=6), st.integers(1, 4), st.sampled_from([None, 12]), st.lists(st.integers(0, 99), max_size=14)
)
def test_pages_hold_what_separate_full_caches_hold(shape, page_size, limit, moves):
    """Append, fork, truncate, snapshot and let go, in any order; every cache beside its own full copies of k and v."""
    pool = PagePool(page_size, limit=limit)
    rng = torch.Generator().manual_seed(shape.seed)
    pairs = [(PagedCache(pool), None, None)]
    for move in moves:
        i, action = move % len(pairs), move // 10
        cache, k, v = pairs[i]
        B = shape.B if k is None else k.shape[0]
        try:
            if action < 5 or k is None:
                n = move % 3 + 1
                new = [torch.randn(B, n, shape.H, m, generator=rng) for m in (shape.K, shape.V)]
                cache.append(*new)
                held = new if k is None else [torch.cat(pair, 1) for pair in zip((k, v), new, strict=True)]
                pairs[i] = (cache, *held)
            elif action < 7 and len(pairs) < 5:
                copies = move % 2 + 1
                pairs.append((cache.fork(copies), *(x.repeat_interleave(copies, 0) for x in (k, v))))
            elif action < 8:
                length = move % (len(cache) + 1)
                cache.truncate(length)
                pairs[i] = (cache, k[:, :length], v[:, :length])
            elif action < 9:
                cache.restore(cache.snapshot())
            elif len(pairs) > 1:
                del pairs[i], cache
        except MemoryError:
            assert limit is not None
            if not len(cache) and k is not None:  # a restore that did not fit
                pairs[i] = (cache, k[:, :0], v[:, :0])
        check_pool(pool, [cache for cache, *_ in pairs])
        for cache, k, v in pairs:
            assert len(cache) == (0 if k is None else k.shape[1])
            if len(cache):
                q = torch.randn(k.shape[0], 1, 2 * shape.H, shape.K, generator=rng)
                torch.testing.assert_close(cache.attend(q), attended(q, k, v), rtol=1e-5, atol=1e-5)
    pairs, cache = [], None
    assert not pool.pages
    assert pool.reserved == pool.nbytes == 0


@given(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20), st.integers(1, 7))
def test_a_prompt_shared_by_several_sequences_is_held_once(copies, shared, more, page_size):
    pool = PagePool(page_size)
    prompt = PagedCache(pool)
    prompt.append(torch.ones(1, shared, 2, 3), torch.ones(1, shared, 2, 5))
    cache = prompt.fork(copies)
    assert cache.nbytes == prompt.nbytes == pool.nbytes
    del prompt
    cache.append(torch.ones(copies, more, 2, 3), torch.ones(copies, more, 2, 5))
    size = (copies, shared + more, 2, 3, 5, page_size, shared)
    assert cache.reserved == pool.reserved == cost.paged_bytes(*size, itemsize=4)
    own = cost.cache_bytes(copies, shared + more - shared // page_size * page_size, 2, 3, 5, itemsize=4)
    whole_pages = cost.cache_bytes(1, shared // page_size * page_size, 2, 3, 5, itemsize=4)
    assert cache.nbytes == pool.nbytes == whole_pages + own


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 9))
def test_utilisation_is_tokens_over_slots(lengths, page_size):
    pool = PagePool(page_size)
    caches = []
    for n in lengths:
        caches.append(PagedCache(pool))
        caches[-1].append(torch.ones(1, n, 1, 1), torch.ones(1, n, 1, 1))
    assert pool.utilisation == pytest.approx(cost.utilisation(lengths, page_size=page_size))
    assert caches[0].utilisation == pytest.approx(cost.utilisation(lengths[:1], page_size=page_size))
    assert cost.utilisation(lengths, longest=40) == pytest.approx(sum(lengths) / (40 * len(lengths)))


def test_definitions_agree_with_the_mixers():
    """The slow window is the course's sliding-window attention, so both are what they say."""
    q, k, v = Shape(2, 9, 2, 3, 4, 1, 0).qkv()
    torch.testing.assert_close(
        slow_window(q, k, v, 0, 4), sliding_window_attention(q, k, v, window=4, mode="recurrent")[0]
    )
    cache = FullCache()
    torch.testing.assert_close(fed(cache, q, k, v, [9]), slow_window(q, k, v, 0, 9))
