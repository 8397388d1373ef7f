"""Caches: how often they copy, what they refuse, and what stays untouched when they do."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.attention.rope import rope
from course_lib.cache import CACHES, FACTORS, CacheRow, FullCache, LinearState, register

B, T, H, K, V = 2, 3, 4, 6, 5
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


@pytest.mark.parametrize("kind", [FullCache, LinearState])
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


@pytest.mark.parametrize("kind", [FullCache, LinearState])
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


@pytest.mark.parametrize("kind", [FullCache, LinearState])
@pytest.mark.parametrize("case", QUERIES)
def test_a_refused_query_says_why_and_changes_nothing(kind, case):
    q, error, words = QUERIES[case]
    cache = holding(kind)
    with pytest.raises(error) as caught:
        cache.attend(q)
    assert words in str(caught.value)
    torch.testing.assert_close(cache.attend(Q), VALUES)


@pytest.mark.parametrize("kind", [FullCache, LinearState])
def test_attending_before_anything_was_appended(kind):
    with pytest.raises(ValueError, match="the cache is empty"):
        kind().attend(Q)


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
@pytest.mark.parametrize("kind", [FullCache, LinearState])
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
