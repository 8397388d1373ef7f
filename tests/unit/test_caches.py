"""Caches: how often they copy, what they refuse, and what stays untouched when they do."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.attention import delta_rule
from course_lib.attention.rope import rope
from course_lib.cache import (
    CACHES,
    FACTORS,
    CacheRow,
    DeltaState,
    FullCache,
    HeavyHitterCache,
    LatentCache,
    LinearState,
    PagedCache,
    PagePool,
    QuantisedCache,
    SinkCache,
    SnapKVCache,
    WindowCache,
    register,
)
from course_lib.cache.planted import PLANTS, decode_error, planted
from course_lib.cache.quantised import quantise

B, T, H, K, V = 2, 3, 4, 6, 5
# A latent has one head of k and v and its own sizes; `LATENT` below gives it its own bad inputs.
KINDS = [
    FullCache,
    LinearState,
    WindowCache,
    SinkCache,
    HeavyHitterCache,
    SnapKVCache,
    QuantisedCache,
    PagedCache,
]
Q, KEYS, VALUES = torch.ones(B, T, H, K), torch.ones(B, T, H, K), torch.ones(B, T, H, V)


def holding(kind, k=KEYS, v=VALUES):
    cache = kind()
    cache.append(k, v)
    return cache


class CopiedNumbers(TorchDispatchMode):
    """How many numbers `copy_` wrote."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.copy_.default:
            self.total += args[1].numel()
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("n", [1, 2, 64, 100, 1000])
def test_n_appends_copy_fewer_than_three_times_n_tokens(n):
    """Each token once when it comes, and all old ones at each doubling: fewer than n + 2n in all, not n²/2."""
    cache, token = FullCache(), (torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    with CopiedNumbers() as copied:
        for _ in range(n):
            cache.append(*token)
    assert 2 * n <= copied.total < 2 * 3 * n
    assert n <= cache.capacity < 2 * n or n == cache.capacity
    assert cache.nbytes == 8 * n
    assert cache.reserved == 8 * cache.capacity


def test_a_long_prompt_reserves_what_it_needs_and_the_next_token_doubles_it():
    cache = FullCache()
    cache.append(torch.ones(1, 100, 2, 4), torch.ones(1, 100, 2, 4))
    assert cache.capacity == 100
    cache.append(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4))
    assert cache.capacity == 200
    cache.append(torch.ones(1, 500, 2, 4), torch.ones(1, 500, 2, 4))
    assert cache.capacity == 601


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_is_a_copy_without_a_graph(kind):
    k, v = KEYS.clone().requires_grad_(), VALUES.clone().requires_grad_()
    cache = holding(kind, k, v)
    with torch.no_grad():
        k.mul_(100)
        v.mul_(100)
    o = cache.attend(Q)
    assert not o.requires_grad
    torch.testing.assert_close(o, VALUES)  # equal values, so every average of them


def test_a_state_that_has_been_attended_no_longer_grows():
    cache = LinearState()
    for n in (1, 50, 7):
        cache.append(torch.ones(1, n, 2, 4), torch.ones(1, n, 2, 4))
        assert cache.waiting == n
        cache.attend(torch.ones(1, n, 2, 4))
        assert cache.waiting == 0
        assert cache.nbytes == cache.reserved == 4 * 2 * (4 * 4 + 4)
    assert len(cache) == 58


def test_an_empty_cache_weighs_nothing():
    for row in CACHES.values():
        cache = row.make()
        assert (len(cache), cache.nbytes, cache.reserved) == (0, 0, 0)
        cache.restore(row.make().snapshot())
        assert len(cache) == 0


NEW = {
    "k is an array": (
        np.ones((B, T, H, K)),
        VALUES,
        TypeError,
        "k must be a torch.Tensor [B, T, H_kv, K], got ndarray",
    ),
    "v is a list": (KEYS, [1.0], TypeError, "v must be a torch.Tensor"),
    "whole numbers": (KEYS.long(), VALUES, TypeError, "k must be a floating-point tensor"),
    "one token without T": (
        KEYS[:, 0],
        VALUES[:, 0],
        ValueError,
        "k must have 4 axes [B, T, H_kv, K], got 3",
    ),
    "two dtypes": (
        KEYS,
        VALUES.double(),
        TypeError,
        "v must have the dtype of k, torch.float32, got torch.float64",
    ),
    "two devices": (KEYS, VALUES.to("meta"), ValueError, "v must be on cpu, got meta"),
    "two lengths": (
        KEYS,
        VALUES[:, :2],
        ValueError,
        "v must have the shape [B, T, H_kv, ·] = [2, 3, 4] of k",
    ),
    "two batches": (KEYS[:1], VALUES, ValueError, "= [1, 3, 4] of k, got [2, 3, 4]"),
    "no tokens": (KEYS[:, :0], VALUES[:, :0], ValueError, "k must have at least one token, got 0"),
    "other heads": (KEYS[:, :, :2], VALUES[:, :, :2], ValueError, "k must have the shape [2, any, 4, 6]"),
    "other values": (KEYS, KEYS, ValueError, "v must have the shape [2, any, 4, 5] of the tokens held"),
    "other dtype": (KEYS.double(), VALUES.double(), TypeError, "k must have the dtype of the tokens held"),
    "other device": (
        KEYS.to("meta"),
        VALUES.to("meta"),
        ValueError,
        "k must be on the device of the tokens held",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", NEW)
def test_a_refused_append_says_why_and_changes_nothing(kind, case):
    k, v, error, words = NEW[case]
    cache = holding(kind)
    with pytest.raises(error) as caught:
        cache.append(k, v)
    assert words in str(caught.value)
    assert len(cache) == T
    torch.testing.assert_close(cache.attend(Q), VALUES)


QUERIES = {
    "a list": ([1.0], TypeError, "q must be a torch.Tensor [B, T_q, H, K], got list"),
    "no token": (Q[:, :0], ValueError, "q must have at least one token"),
    "three axes": (Q[0], ValueError, "q must have 4 axes"),
    "too many": (torch.ones(B, 4, H, K), ValueError, "q must have at most the 3 tokens"),
    "head size": (torch.ones(B, 1, H, 7), ValueError, "must have the head size K"),
    "batch": (Q[:1], ValueError, "must have one batch size"),
    "dtype": (Q.double(), TypeError, "must have one dtype"),
    "device": (Q.to("meta"), ValueError, "must be on one device"),
    "heads": (torch.ones(B, 1, 3, K), ValueError, "heads of q"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", QUERIES)
def test_a_refused_query_says_why_and_changes_nothing(kind, case):
    q, error, words = QUERIES[case]
    cache = holding(kind)
    with pytest.raises(error) as caught:
        cache.attend(q)
    assert words in str(caught.value)
    torch.testing.assert_close(cache.attend(Q), VALUES)


@pytest.mark.parametrize("kind", KINDS)
def test_attending_before_anything_was_appended(kind):
    with pytest.raises(ValueError, match="the cache is empty"):
        kind().attend(Q)


def test_what_latents_refuse_says_why_and_changes_nothing():
    up_keys, up_values = torch.ones(H, 5, 4), torch.ones(H, 5, 7)
    cache = LatentCache(up_keys, up_values)
    for k, v, error, words in (
        (KEYS, VALUES, ValueError, "k and v must have one head, got 4"),
        (KEYS[:, :, :1], KEYS[:, :, :1], ValueError, "v must have the latent size d_c = 5 of up_keys, got 6"),
        (KEYS[:, :, :1].double(), VALUES[:, :, :1].double(), TypeError, "v must have the dtype of up_keys"),
    ):
        with pytest.raises(error, match=words):
            cache.append(k, v)
        assert (len(cache), cache.nbytes) == (0, 0)
    with pytest.raises(ValueError, match="expanded needs the up-projections and at least one token"):
        cache.expanded()
    cache.append(KEYS[:, :, :1], VALUES[:, :, :1])
    for q, words in (
        (torch.ones(B, 1, H, 6), "must have the head size K = 6 of q, got 10"),
        (torch.ones(B, 1, 3, 10), "q must have the 4 heads of up_keys, got 3"),
    ):
        with pytest.raises(ValueError, match=words):
            cache.attend(q)
    assert cache.attend(torch.ones(B, 1, H, 10)).shape == (B, 1, H, 7)
    for projections, words in (
        ((up_keys, None), "both be given or both be None"),
        ((up_keys, up_values[:2]), "up_values must have the shape"),
    ):
        with pytest.raises(ValueError, match=words):
            LatentCache(*projections)


BAD_OPTIONS = {
    "window": (WindowCache, {"window": 0}, ValueError, "window must be at least 1"),
    "no sinks": (SinkCache, {"sinks": 0}, ValueError, "sinks must be at least 1"),
    "rope": (SinkCache, {"rope": 1}, TypeError, "rope must be True or False"),
    "heavy": (HeavyHitterCache, {"heavy": 1.5}, TypeError, "heavy must be an integer"),
    "budget": (SnapKVCache, {"budget": 32}, ValueError, "budget must be above the 32 observing tokens"),
    "pool width": (SnapKVCache, {"pool": 4}, ValueError, "pool must be odd"),
    "bits": (QuantisedCache, {"bits": 3}, ValueError, "bits must be one of 2, 4, 8, got 3"),
    "group": (QuantisedCache, {"bits": 2, "group": 6}, ValueError, "group must be a multiple of 4"),
    "keys": (
        QuantisedCache,
        {"keys": "per head"},
        ValueError,
        "keys must be one of 'per channel', 'per token'",
    ),
    "pool": (PagedCache, {"pool": 16}, TypeError, "pool must be a PagePool or None, got int"),
    "page": (PagePool, {"page_size": 0}, ValueError, "page_size must be at least 1"),
    "scale": (SinkCache, {"scale": -1.0}, ValueError, "scale must be a finite number above 0"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_options_that_are_refused(case):
    kind, options, error, words = BAD_OPTIONS[case]
    with pytest.raises(error, match=words):
        kind(**options)


def test_odd_head_sizes_cannot_be_turned():
    cache = SinkCache(rope=True)
    with pytest.raises(ValueError, match="k must have an even head size K, got 5"):
        cache.append(VALUES, VALUES)
    assert len(cache) == 0
    with pytest.raises(ValueError, match="the cache is empty"):
        cache.attend(VALUES)


def test_caches_that_keep_a_budget_keep_256_tokens_by_default():
    """So that a comparison of the rows compares equal memories."""
    for kind in (WindowCache, SinkCache, HeavyHitterCache, SnapKVCache):
        cache = kind()
        cache.append(torch.ones(1, 300, 1, 2), torch.ones(1, 300, 1, 2))
        cache.attend(torch.ones(1, 300, 1, 2))
        held = cache.nbytes // (24 if kind is HeavyHitterCache else 16)
        assert (held, cache.nbytes % 8) == (256, 0)


def test_a_window_answers_again_for_its_newest_token_only():
    cache = WindowCache(window=2)
    cache.append(KEYS, VALUES)
    torch.testing.assert_close(cache.attend(Q), VALUES)
    torch.testing.assert_close(cache.attend(Q[:, :1]), VALUES[:, :1])
    with pytest.raises(ValueError, match="q must have at most the 1 tokens that still have all they may see"):
        cache.attend(Q)


def test_heavy_hitters_and_snapkv_say_what_they_cannot_undo():
    heavy, snap = HeavyHitterCache(recent=1, heavy=1), SnapKVCache(budget=2, observation=1)
    for cache, words in ((heavy, "added their weights to the sums"), (snap, "only those that its end chose")):
        cache.append(KEYS, VALUES)
        cache.attend(Q)
        with pytest.raises(RuntimeError, match=f"cannot go back to 2 of its 3 tokens.*{words}.*snapshot"):
            cache.truncate(2)
        with pytest.raises(ValueError, match="q must have at most the 0 tokens"):
            cache.attend(Q[:, :1])
        assert len(cache) == T
    with pytest.raises(ValueError, match="kept needs at least one token"):
        HeavyHitterCache().kept  # noqa: B018


def test_n_tokens_cost_a_window_n_copies():
    """No token moves once it lies in the ring: each is copied once to wait, once into its slot, and twice to grow."""
    cache, token = WindowCache(window=64), (torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    with CopiedNumbers() as copied:
        for _ in range(64):
            cache.append(*token)
    grown = copied.total
    with CopiedNumbers() as copied:
        for _ in range(1000):
            cache.append(*token)
    assert grown < 2 * 3 * 64
    assert copied.total <= 2 * 1000
    assert cache.reserved == cache.nbytes == 2 * 4 * 64


def test_a_full_pool_says_so_and_changes_nothing():
    pool = PagePool(2, limit=3)
    cache, other = PagedCache(pool), PagedCache(pool)
    cache.append(torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1))  # two pages, the second with a free slot
    with pytest.raises(
        MemoryError, match="2 more pages of 2 tokens are wanted, but 2 of the pool's 3 are in use"
    ):
        other.append(torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    assert (len(other), other.nbytes, len(pool.pages)) == (0, 0, 2)
    with pytest.raises(ValueError, match="the cache is empty"):
        other.attend(torch.ones(1, 1, 1, 1))
    fork = cache.fork()
    fork.append(
        torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    )  # copies the page that both share: the last one
    with pytest.raises(MemoryError):
        cache.append(torch.ones(1, 2, 1, 1), torch.ones(1, 2, 1, 1))
    cache.append(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1))
    assert cache.table != fork.table
    assert cache.table[0][0] == fork.table[0][0]
    assert pool.pages[cache.table[0][0]].owners == 2


@pytest.mark.parametrize(
    ("k", "v", "error", "words"),
    [
        (
            KEYS[:, :, :2],
            VALUES[:, :, :2],
            ValueError,
            "k must have the 4 heads of size 6 of the pool's pages",
        ),
        (KEYS, KEYS, ValueError, "v must have the 4 heads of size 5"),
        (KEYS.double(), VALUES.double(), TypeError, "k must have the dtype of the pool's pages"),
        (KEYS.to("meta"), VALUES.to("meta"), ValueError, "k must be on cpu like the pool's pages"),
    ],
)
def test_a_pool_has_pages_of_one_kind(k, v, error, words):
    pool = PagePool()
    first, second = PagedCache(pool), PagedCache(pool)
    first.append(KEYS, VALUES)
    with pytest.raises(error, match=words):
        second.append(k, v)
    assert len(second) == 0


def test_a_pool_is_used_up_to_the_rest_of_each_last_page():
    pool = PagePool(4)
    assert (pool.utilisation, PagedCache(pool).utilisation) == (1.0, 1.0)
    cache = PagedCache(pool)
    cache.append(torch.ones(2, 5, 1, 1), torch.ones(2, 5, 1, 1))
    assert pool.utilisation == cache.utilisation == 10 / 16


# Planted structure


def weight_on(q, k, tokens):
    """Share of the last quarter's weight that the first `tokens` keys, or the heaviest, get."""
    group = q.shape[2] // k.shape[2]
    scores = torch.einsum("bthk,bshk->bhts", q[:, -q.shape[1] // 4 :], k.repeat_interleave(group, 2))
    return (scores * q.shape[-1] ** -0.5).softmax(-1)[..., tokens].sum(-1).mean()


@pytest.mark.parametrize("length", [128, 512])
@pytest.mark.parametrize("seed", range(3))
def test_planted_tokens_take_their_share(length, seed):
    """Of late queries' weight, up to the part of the bell that the end of the text cuts off and to random scores."""
    q, k, v = planted(2, length, 4, 64, H_kv=2, seed=seed, **PLANTS["sinks"])
    assert 0.5 < weight_on(q, k, slice(0, 4)) < 0.8
    assert v[:, :4].std() == pytest.approx(0.1, rel=0.2)
    q, k, _ = planted(2, length, 4, 64, seed=seed)
    assert weight_on(q, k, slice(0, 4)) < 0.1
    q, k, v = planted(1, length, 1, 64, seed=seed, heavy=8)
    scores = (q[0, -length // 4 :, 0] @ k[0, :, 0].T / 8).softmax(-1).mean(0)
    heaviest = scores.topk(8)
    assert 0.5 < heaviest.values.sum() < 0.85
    assert int(heaviest.indices.max()) < length // 2


def test_outlier_channels_change_no_attention():
    options = {"H_kv": 1, "seed": 3}
    q, k, v = planted(1, 40, 2, 8, **options)
    _, k_out, v_out = planted(1, 40, 2, 8, outliers=2, **options)
    moved = (k_out - k).abs().amax((0, 1, 2))
    assert sorted(moved.round().tolist()) == [0] * 6 + [20, 20]
    assert torch.equal(v, v_out)
    full = decode_error(FullCache(), q, k_out, v_out, prompt=10)
    plain = decode_error(FullCache(), q, k, v, prompt=10)
    assert full.error < 1e-5
    assert plain.error < 1e-5
    assert full.part == 1


@pytest.mark.parametrize("seed", range(3))
def test_each_method_needs_its_structure(seed):
    """A fifth of the tokens each; the factors are far from 1, and on random inputs none of the evictors is near."""
    budget = {
        "window": lambda: WindowCache(window=64),
        "sinks": lambda: SinkCache(sinks=4, window=60),
        "heavy": lambda: HeavyHitterCache(recent=32, heavy=32),
        "snap": lambda: SnapKVCache(budget=64, observation=16),
    }
    error = {}
    for plant, options in PLANTS.items():
        q, k, v = planted(1, 320, 2, 32, seed=seed, **options)
        error[plant] = {
            name: decode_error(make(), q, k, v, prompt=256).error for name, make in budget.items()
        }
    assert error["sinks"]["window"] > 4 * error["sinks"]["sinks"]
    assert error["heavy hitters"]["window"] > 2 * error["heavy hitters"]["heavy"]
    assert error["heavy hitters"]["sinks"] > 2 * error["heavy hitters"]["snap"]
    assert min(error["random"].values()) > 0.5
    q, k, v = planted(1, 320, 2, 32, seed=seed, **PLANTS["outlier channels"])
    keys = ("per token", "per channel")
    wrong, right = (decode_error(QuantisedCache(keys=axis), q, k, v, prompt=256).error for axis in keys)
    assert wrong > 2 * right


def test_errors_are_relative_and_by_step():
    q, k, v = planted(2, 12, 2, 4, seed=1)
    cache = WindowCache(window=2)
    found = decode_error(cache, q, k, v, prompt=8)
    full, short = FullCache(), WindowCache(window=2)
    for x in (full, short):
        x.append(k, v)
    wanted, got = full.attend(q)[:, 8:], short.attend(q)[:, 8:]
    assert found.error == pytest.approx(float((got - wanted).norm() / wanted.norm()), rel=1e-4)
    steps = (got - wanted).square().sum((0, 2, 3)).sqrt()
    torch.testing.assert_close(found.by_step.float(), steps / wanted.square().sum((0, 2, 3)).sqrt())
    assert (found.nbytes, found.part) == (cache.nbytes, 2 / 12)
    with pytest.raises(ValueError, match="cache must be empty, got one with 12 tokens"):
        decode_error(cache, q, k, v, prompt=8)
    with pytest.raises(ValueError, match="prompt must be below the 12 tokens"):
        decode_error(WindowCache(), q, k, v, prompt=12)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"sinks": -1}, ValueError, "sinks must be at least 1"),
        ({"heavy": 1.5}, TypeError, "heavy must be an integer"),
        ({"sinks": 5, "heavy": 6}, ValueError, "sinks and heavy must fit into the first half of 20"),
        ({"outliers": 9}, ValueError, "outliers must be at most the 8 channels"),
        ({"near": 0.01}, ValueError, "near must be 0, or a part of T"),
        ({"share": 1.0}, ValueError, "share must lie between 0 and 1"),
        ({"H_kv": 3}, ValueError, "H_kv must divide the 4 heads"),
        ({"D": 3}, ValueError, "D must be at least 4"),
        ({"T": 0}, ValueError, "T must be at least 1"),
    ],
)
def test_what_cannot_be_planted(options, error, words):
    with pytest.raises(error, match=words):
        planted(**{"B": 1, "T": 20, "H": 4, "D": 8} | options)


def test_numbers_are_quantised_with_known_bits():
    with pytest.raises(ValueError, match="bits must be one of 2, 4, 8, got 16"):
        quantise(KEYS, 16, -1)
    with pytest.raises(TypeError, match=r"x must be a torch\.Tensor"):
        quantise([1.0], 8, -1)
    codes, step, low = quantise(torch.tensor([[0.0, 1.0, 3.0]]), 2, -1)
    assert (codes.tolist(), step.tolist(), low.tolist()) == ([[0, 1, 3]], [[1.0]], [[0.0]])


def test_a_state_is_read_once_for_each_append():
    cache = holding(LinearState)
    cache.attend(Q)
    with pytest.raises(ValueError, match=r"at most the 0 tokens appended since the last attend.*only a sum"):
        cache.attend(Q[:, :1])


def test_a_cache_may_be_read_again():
    cache = holding(FullCache)
    assert torch.equal(cache.attend(Q), cache.attend(Q))


@pytest.mark.parametrize(
    ("length", "error", "words"),
    [
        (-1, ValueError, "between 0 and the 3"),
        (4, ValueError, "got 4"),
        (1.0, TypeError, "integer"),
        (True, TypeError, "bool"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_that_cannot_be_truncated_to(kind, length, error, words):
    with pytest.raises(error, match=words):
        holding(kind).truncate(length)


def test_a_linear_state_says_why_it_cannot_be_truncated():
    cache = holding(LinearState)
    cache.truncate(T)  # nothing to take away
    with pytest.raises(RuntimeError, match=r"cannot go back to 2 of its 3 tokens.*under gates.*snapshot\(\)"):
        cache.truncate(2)
    assert len(cache) == T


def test_a_snapshot_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="snapshot must be one of a LinearState, got FullCache"):
        LinearState().restore(holding(FullCache).snapshot())
    with pytest.raises(TypeError, match="got tuple"):
        FullCache().restore((KEYS, VALUES))


def test_options_are_checked_where_they_are_given():
    with pytest.raises(ValueError, match="mode must be one of"):
        FullCache(mode="flash")
    with pytest.raises(ValueError, match="scale must be a finite number"):
        FullCache(scale=0)


def test_every_row_attacks_a_factor_and_has_a_chapter():
    assert {row.attacks for row in CACHES.values()} <= set(FACTORS)
    assert all(name == row.name and len(row.chapter) == 2 for name, row in CACHES.items())
    for name in CACHES:
        assert name in str(CACHES)
        assert name in CACHES._repr_html_()
    with pytest.raises(ValueError, match="name must be new"):
        register(CACHES["full"])
    with pytest.raises(ValueError, match="attacks must be one of"):
        CacheRow("x", FullCache, "H", "", lambda *_: 0, "softmax_attention", "04", "")


ROPE = {
    "odd": (torch.ones(1, 3, 1, 5), torch.arange(3), ValueError, "x must have an even head size K, got 5"),
    "axes": (torch.ones(3, 1, 4), torch.arange(3), ValueError, "x must have 4 axes [B, T, H, K]"),
    "a list": (Q, [0, 1, 2], TypeError, "positions must be a torch.Tensor [T] or [B, T], got list"),
    "fractions": (Q, torch.arange(3.0), TypeError, "positions must be whole numbers, got torch.float32"),
    "flags": (Q, torch.ones(3, dtype=torch.bool), TypeError, "positions must be whole numbers"),
    "too many": (Q, torch.arange(4), ValueError, "positions must have the shape [T] = [3]"),
    "device": (Q, torch.arange(3, device="meta"), ValueError, "positions must be on cpu, got meta"),
}


@pytest.mark.parametrize("case", ROPE)
def test_rope_refuses(case):
    x, positions, error, words = ROPE[case]
    with pytest.raises(error) as caught:
        rope(x, positions)
    assert words in str(caught.value)


@pytest.mark.parametrize(("base", "error"), [(1.0, ValueError), ("10", TypeError), (True, TypeError)])
def test_rope_refuses_a_base(base, error):
    with pytest.raises(error, match="base must be"):
        rope(Q, torch.arange(T), base=base)


def test_rope_pairs_a_channel_with_the_one_half_a_head_away():
    """Llama's convention: a unit vector on channel 0 of 4 turns towards channel 2, at 1 radian a position."""
    x = torch.tensor([1.0, 0, 0, 0]).view(1, 1, 1, 4)
    expected = torch.tensor([np.cos(3.0), 0, np.sin(3.0), 0], dtype=torch.float32)
    torch.testing.assert_close(rope(x, torch.tensor([3])).flatten(), expected)


def test_rope_at_far_positions_is_exact_to_the_dtype():
    x = torch.randn(1, 1, 1, 64, generator=torch.Generator().manual_seed(0))
    far = torch.tensor([1_000_000])
    torch.testing.assert_close(rope(x, far).double(), rope(x.double(), far), rtol=0, atol=1e-6)
    assert rope(x.bfloat16(), far).dtype == torch.bfloat16


def test_a_restored_cache_does_not_write_into_its_snapshot():
    """Cut to one token and written over, then restored again: the old tokens are back."""
    cache = holding(FullCache)
    snapshot = cache.snapshot()
    cache.restore(snapshot)
    cache.truncate(1)
    cache.append(-KEYS[:, :2], -VALUES[:, :2])
    cache.restore(snapshot)
    torch.testing.assert_close(cache.attend(Q), VALUES)


# --- the state of the delta rule ----------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [[9], [4, 5], [1] * 9])
def test_a_delta_state_gives_what_the_delta_rule_gives_however_it_is_cut(lengths):
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 9, 3, 4, generator=rng, dtype=torch.float64)
    k = torch.nn.functional.normalize(k, dim=-1)
    expected, S = delta_rule(q, k, v, beta=torch.full((2, 9, 3), 0.7).double(), output_final_state=True)
    cache, out = DeltaState(beta=0.7), []
    for parts in zip(*(x.split(lengths, dim=1) for x in (q, k, v)), strict=True):
        cache.append(*parts[1:])
        out.append(cache.attend(parts[0]))
    torch.testing.assert_close(torch.cat(out, 1), expected)
    assert cache.nbytes == S.numel() * 8
    torch.testing.assert_close(cache.snapshot().tensors["S"], S)


def test_a_key_of_zeros_leaves_a_delta_state_as_it_was():
    cache = DeltaState()
    key = torch.nn.functional.normalize(torch.ones(1, 1, 1, 4), dim=-1)
    cache.append(key, torch.ones(1, 1, 1, 4))
    cache.attend(key)
    before = cache.snapshot()
    cache.append(torch.zeros(1, 5, 1, 4), torch.randn(1, 5, 1, 4))
    cache.attend(key.expand(1, 5, 1, 4))
    assert torch.equal(cache.snapshot().tensors["S"], before.tensors["S"])
    with pytest.raises(RuntimeError, match="cannot go back"):
        cache.truncate(1)
    cache.restore(before)
    assert len(cache) == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"beta": 0.0}, ValueError, "beta must be above 0 and at most 2, got 0.0"),
        ({"beta": 2.5}, ValueError, "got 2.5"),
        ({"beta": True}, TypeError, "beta must be a number, got bool"),
        ({"scale": "1"}, TypeError, "scale"),
    ],
)
def test_a_delta_state_refuses_options_that_do_not_fit(options, error, words):
    with pytest.raises(error, match=words):
        DeltaState(**options)
