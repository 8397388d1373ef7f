"""Every cache, appended in any pieces, gives its mixer's outputs and weighs what its row says; rope knows distances."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import Shape, assert_within, shapes

from course_lib.attention import linear_attention, sliding_window_attention, softmax_attention
from course_lib.attention.rope import rope
from course_lib.cache import CACHES, FullCache, LinearState

EXACT = 1e-10
WHOLE = {
    "softmax_attention": lambda q, k, v: softmax_attention(q, k, v, mode="parallel")[0],
    "linear_attention": lambda q, k, v: linear_attention(q, k, v, mode="recurrent")[0],
    "sliding_window_attention": lambda q, k, v: sliding_window_attention(q, k, v, mode="recurrent")[0],
}
ROWS = pytest.mark.parametrize("row", [row for row in CACHES.values() if row.exact], ids=lambda row: row.name)
ALL_ROWS = pytest.mark.parametrize("row", CACHES.values(), ids=lambda row: row.name)


def drawn(row, shape, data, dtype=torch.float64):
    """q, k, v, with grouped heads where the row has them; of a latent, one head of k and v and absorbed queries."""
    groups = data.draw(st.sampled_from([1, 2, 3]), label="groups") if row.kv_groups else 1
    wide = Shape(shape.B, shape.T, shape.H * groups, shape.K, shape.V, shape.C, shape.seed)
    q, k, v = wide.qkv(dtype, H_kv=shape.H)
    if row.name != "latent":
        return q, k, v
    for_latent, *_ = replace(wide, K=shape.V, seed=shape.seed + 1).qkv(dtype)
    return torch.cat([for_latent, q], -1), k[:, :, :1], v[:, :, :1]


def whole(row, q, k, v):
    """The outputs of the row's mixer; a latent is part of its own key."""
    return WHOLE[row.mixer](q, torch.cat([v, k], -1) if row.name == "latent" else k, v)


def pieces(T, data):
    """Lengths ≥ 1 that add up to T."""
    cuts = sorted(data.draw(st.sets(st.integers(1, T - 1)), label="cuts")) if T > 1 else []
    return [b - a for a, b in zip([0, *cuts], [*cuts, T], strict=True)]


def fed(cache, q, k, v, lengths):
    """Outputs of append and attend, piece by piece."""
    parts = zip(*(x.split(lengths, dim=1) for x in (q, k, v)), strict=True)
    out = []
    for q_n, k_n, v_n in parts:
        cache.append(k_n, v_n)
        out.append(cache.attend(q_n))
    return torch.cat(out, dim=1)


@ROWS
@given(shapes(max_T=24), st.data())
def test_pieces_give_the_whole(row, shape, data):
    q, k, v = drawn(row, shape, data)
    cache = row.make()
    o = fed(cache, q, k, v, pieces(shape.T, data))
    assert_within(o, whole(row, q, k, v), EXACT, 1 + v.abs().max())
    assert len(cache) == shape.T


@ALL_ROWS
@given(shapes(max_T=24), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]), st.data())
def test_it_weighs_what_its_row_says(row, shape, dtype, data):
    q, k, v = drawn(row, shape, data, dtype)
    cache = row.make()
    o = fed(cache, q, k, v, pieces(shape.T, data))
    assert o.dtype == dtype
    expected = row.nbytes(shape.B, shape.T, q.shape[2], shape.H, shape.K, shape.V, dtype.itemsize)
    assert cache.nbytes == expected <= cache.reserved


@ROWS
@given(shapes(max_T=24), st.data())
def test_queries_are_the_last_tokens_appended(row, shape, data):
    q, k, v = drawn(row, shape, data)
    first = data.draw(st.integers(0, shape.T - 1), label="appended, not attended")
    T_q = data.draw(st.integers(1, shape.T - first), label="T_q")
    cache = row.make()
    if first:
        cache.append(k[:, :first], v[:, :first])
    cache.append(k[:, first:], v[:, first:])
    o = cache.attend(q[:, -T_q:])
    assert_within(o, whole(row, q, k, v)[:, -T_q:], EXACT, 1 + v.abs().max())


@ROWS
@given(shapes(min_T=2, max_T=20), st.booleans(), st.data())
def test_a_restored_snapshot_continues_as_if_nothing_had_followed(row, shape, waiting, data):
    q, k, v = drawn(row, shape, data)
    cut = data.draw(st.integers(0, shape.T - 1), label="cut")
    cache, other = row.make(), row.make()
    if cut:
        cache.append(k[:, :cut], v[:, :cut])
        if not waiting:
            cache.attend(q[:, :cut])
    snapshot, bytes_then = cache.snapshot(), cache.nbytes
    fed(cache, 3 * q, k + 1, -v, pieces(shape.T, data))  # another continuation, longer than the true one
    expected = whole(row, q, k, v)[:, cut:]
    for target in (cache, other, cache):
        target.restore(snapshot)
        assert len(target) == cut
        assert target.nbytes == bytes_then
        rest = (x[:, cut:] for x in (q, k, v))
        assert_within(fed(target, *rest, pieces(shape.T - cut, data)), expected, EXACT, 1 + v.abs().max())


@given(shapes(min_T=2, max_T=20), st.data())
def test_a_truncated_cache_is_one_that_never_saw_the_rest(shape, data):
    q, k, v = shape.qkv()
    cut = data.draw(st.integers(0, shape.T - 1), label="cut")
    cache = FullCache()
    fed(cache, 3 * q, torch.cat([k[:, :cut], k[:, cut:] + 1], 1), v, pieces(shape.T, data))
    cache.append(-k, v)
    cache.truncate(cut)
    if cut:
        cache.append(k[:, :0].new_ones(shape.B, 1, shape.H, shape.K), v[:, :1])
        cache.truncate(cut)
    cache.append(k[:, cut:], v[:, cut:])
    expected = (k, torch.cat([v[:, :cut], v[:, cut:]], 1))
    o, _ = softmax_attention(q, *expected, mode="parallel")
    assert_within(cache.attend(q), o, EXACT, v.abs().max())


@given(
    shapes(max_T=20), st.sampled_from(["parallel", "chunk", "sdpa"]), st.sampled_from([None, 0.3]), st.data()
)
def test_options_reach_the_mixers(shape, mode, scale, data):
    q, k, v = shape.qkv()
    o = fed(FullCache(scale=scale, mode=mode, chunk_size=shape.C), q, k, v, pieces(shape.T, data))
    assert_within(o, softmax_attention(q, k, v, scale=scale)[0], EXACT, v.abs().max())
    options = {"scale": scale, "feature_map": "identity", "normalize": False, "chunk_size": shape.C}
    cache = LinearState(**options)
    o = fed(cache, q, k, v, pieces(shape.T, data))
    expected, S = linear_attention(q, k, v, output_final_state=True, **options)
    assert_within(o, expected, 1e-9, 1 + expected.abs().max())
    assert cache.nbytes == S.numel() * 8
    LinearState(**options).restore(cache.snapshot())


# Positions that turn


def turned(shape, first):
    q, k, v = Shape(shape.B, shape.T, shape.H, 2 * shape.K, shape.V, shape.C, shape.seed).qkv()
    positions = torch.arange(first, first + shape.T)
    return rope(q, positions), rope(k, positions), v, q, k


@given(shapes(max_T=12), st.integers(0, 10_000))
def test_only_distances_count(shape, offset):
    """Every score stays when all positions move by the same offset."""
    q, k, *_ = turned(shape, 0)
    q_moved, k_moved, *_ = turned(shape, offset)
    scores = torch.einsum("bthk,bshk->bhts", q, k)
    moved = torch.einsum("bthk,bshk->bhts", q_moved, k_moved)
    torch.testing.assert_close(moved, scores, rtol=1e-9, atol=1e-9)


@given(shapes(max_T=12), st.integers(0, 10_000))
def test_turning_keeps_lengths_and_position_0_changes_nothing(shape, first):
    q_turned, _, _, q, _ = turned(shape, first)
    torch.testing.assert_close(q_turned.norm(dim=-1), q.norm(dim=-1))
    still = rope(q, torch.zeros(shape.T, dtype=torch.long))
    assert torch.equal(still, q)


@given(shapes(max_T=12), st.integers(0, 1000))
def test_it_is_a_turn_in_the_complex_plane(shape, first):
    q_turned, _, _, q, _ = turned(shape, first)
    half = q.shape[-1] // 2
    frequencies = 10_000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(first, first + shape.T, dtype=torch.float64)[:, None, None] * frequencies
    z = torch.complex(q[..., :half].contiguous(), q[..., half:].contiguous()) * torch.exp(1j * angles)
    torch.testing.assert_close(q_turned, torch.cat([z.real, z.imag], -1))


@given(shapes(max_T=16), st.data())
def test_turned_once_and_cached_is_turned_as_a_whole(shape, data):
    q, k, v, q_plain, k_plain = turned(shape, 0)
    cache, out = FullCache(), []
    for n in pieces(shape.T, data):
        at = torch.arange(len(cache), len(cache) + n)
        cache.append(rope(k_plain[:, at], at), v[:, at])
        out.append(cache.attend(rope(q_plain[:, at], at)))
    assert_within(torch.cat(out, 1), softmax_attention(q, k, v)[0], EXACT, v.abs().max())


@given(shapes(max_T=8), st.data())
def test_each_sequence_of_a_batch_may_stand_elsewhere(shape, data):
    q, *_ = shape.qkv()
    q = torch.cat([q, q], -1)
    positions = torch.tensor(
        [[data.draw(st.integers(0, 99)) for _ in range(shape.T)] for _ in range(shape.B)]
    )
    together = rope(q, positions)
    for b in range(shape.B):
        assert torch.equal(together[b : b + 1], rope(q[b : b + 1], positions[b]))
