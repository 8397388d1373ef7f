"""Sparse attention: patterns pair by pair, forms at many blocks, linear memory and backward, and what layers reach."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import assert_within, shapes
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib.attention import (
    bigbird_attention,
    bigbird_mask,
    block_sparse_attention,
    block_sparse_mask,
    causal_mask,
    dilated_attention,
    dilated_mask,
    flex_window_attention,
    global_window_attention,
    global_window_mask,
    moba,
    moba_mask,
    receptive_field,
    sliding_window_attention,
    softmax_attention,
    window_mask,
)
from course_lib.attention.masks import drawn_blocks

EXACT = 1e-10
SMALL = {
    sliding_window_attention: {"window": 8},
    dilated_attention: {"window": 8, "stride": 3},
    global_window_attention: {"window": 8, "global_tokens": (0, 5)},
    bigbird_attention: {"block_size": 8},
    moba: {"block_size": 8, "top_k": 3},
}
every_pattern = pytest.mark.parametrize("fn", SMALL, ids=lambda fn: fn.__name__)
MODES = st.sampled_from(["parallel", "chunk"])


def pairs(T, seen):
    """The mask whose entry (t, i) is seen(t, i)."""
    return torch.tensor([[seen(t, i) for i in range(T)] for t in range(T)]).view(T, T).bool()


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 6), st.lists(st.integers(0, 50), max_size=3))
def test_masks_pair_by_pair(T, window, stride, positions):
    def near(t, i):
        return 0 <= t - i < window

    assert torch.equal(causal_mask(T), pairs(T, lambda t, i: i <= t))
    assert torch.equal(window_mask(T, window), pairs(T, near))
    apart = range(0, window * stride, stride)
    assert torch.equal(dilated_mask(T, window, stride), pairs(T, lambda t, i: t - i in apart))
    expected = pairs(T, lambda t, i: i <= t and (near(t, i) or t in positions or i in positions))
    assert torch.equal(global_window_mask(T, window, positions), expected)


def test_bigbird_is_what_it_is_drawn_as():
    mask = bigbird_mask(
        24, block_size=3, window_blocks=2, global_blocks=1, random_blocks=2, seed=1
    )  # 8 blocks
    blocks = mask.view(8, 3, 8, 3).any(1).any(2)
    for n, row in enumerate(blocks.tolist()):
        assert row[0]
        assert all(row[max(0, n - 1) : n + 1])
        assert not any(row[n + 1 :])
        assert sum(row) == min(n + 1, 5)  # one global, two random, two of the window
    inside = mask.view(8, 3, 8, 3).transpose(1, 2)[torch.arange(8), torch.arange(8)]
    assert torch.equal(inside, causal_mask(3).expand(8, 3, 3))


@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 9), st.integers(-3, 60), st.integers(0, 9))
def test_drawn_blocks(seed, n, start, stop, count):
    drawn = drawn_blocks(seed, n, start, stop, count)
    assert drawn == sorted(set(drawn))
    assert set(drawn) <= set(range(start, stop))
    assert len(drawn) == min(count, max(stop - start, 0))


def test_every_block_is_drawn_as_often_as_the_others():
    """Over 6,000 draws of 3 among 12 each comes 1,500 ± 34 times; 5 standard deviations."""
    for vary in ("seed", "n"):
        drawn = [
            drawn_blocks(**{"seed": 7, "n": 7} | {vary: i}, start=2, stop=14, count=3) for i in range(6000)
        ]
        counts = torch.tensor(drawn).flatten().bincount(minlength=14)[2:]
        assert (counts - 1500).abs().max() < 170


def test_a_longer_text_meets_the_same_random_blocks():
    short, long = (bigbird_mask(T, block_size=4, random_blocks=2, seed=3) for T in (50, 200))
    assert torch.equal(long[:50, :50], short)
    assert not torch.equal(bigbird_mask(200, block_size=4, random_blocks=2, seed=4), long)


@every_pattern
@settings(max_examples=10)
@given(
    st.integers(100, 260), st.integers(0, 60), st.integers(5, 40), st.sampled_from([1, 2]), st.integers(0, 99)
)
def test_forms_agree_over_many_blocks(fn, T, past, C, groups, seed):
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (
        torch.randn(2, T, h, 4, generator=rng, dtype=torch.float64) for h in (2, 2 // groups, 2 // groups)
    )
    if "window" in SMALL[fn] and fn is not global_window_attention:
        past = min(past, 7 * SMALL[fn].get("stride", 1))  # what their caches hold at most
    cache = k[:, :past], v[:, :past]
    options = SMALL[fn] | {"initial_state": cache, "chunk_size": C}
    slow = "recurrent" if fn is sliding_window_attention else "parallel"
    expected = fn(q, k, v, mode=slow, **options)[0]
    assert_within(fn(q, k, v, mode="chunk", **options)[0], expected, EXACT, v.abs().max())


@given(shapes(), MODES, st.integers(0, 99))
def test_patterns_that_hide_nothing_are_causal_softmax(shape, mode, seed):
    q, k, v = shape.qkv()
    T, setting = shape.T, {"mode": mode, "chunk_size": shape.C}
    expected, _ = softmax_attention(q, k, v, mode="parallel")
    every = torch.ones(T, T, dtype=torch.bool).tril()
    for o, _ in (
        dilated_attention(q, k, v, window=T, stride=1, **setting),
        global_window_attention(q, k, v, window=1, global_tokens=range(T), **setting),
        bigbird_attention(q, k, v, block_size=3, window_blocks=1, random_blocks=T, seed=seed, **setting),
        block_sparse_attention(q, k, v, block_mask=every, block_size=1 + seed % 5, **setting),
        moba(q, k, v, block_size=3, top_k=T, **setting),
    ):
        assert_within(o, expected, EXACT, v.abs().max())


@given(shapes(), MODES, st.integers(1, 9), st.integers(1, 5))
def test_patterns_that_are_windows(shape, mode, window, stride):
    q, k, v = shape.qkv()
    setting = {"mode": mode, "chunk_size": shape.C}
    near, _ = sliding_window_attention(q, k, v, window=window, mode="recurrent")
    for o, _ in (
        dilated_attention(q, k, v, window=window, stride=1, **setting),
        global_window_attention(q, k, v, window=window, global_tokens=(), **setting),
    ):
        assert_within(o, near, EXACT, v.abs().max())
    apart, _ = dilated_attention(q, k, v, window=window, stride=stride, **setting)
    for first in range(min(stride, shape.T)):  # each class of tokens is a window of its own
        mine = (x[:, first::stride] for x in (q, k, v))
        alone, _ = sliding_window_attention(*mine, window=window, mode="recurrent")
        assert_within(apart[:, first::stride], alone, EXACT, v.abs().max())


def block_masks(N, seed):
    drawn = torch.rand(N, N, generator=torch.Generator().manual_seed(seed)) < 0.4
    return (drawn | torch.eye(N, dtype=torch.bool)).tril()


@given(shapes(), st.integers(1, 7), st.integers(0, 99), st.data())
def test_block_sparse_attention_is_its_mask(shape, block_size, seed, data):
    H_kv = data.draw(st.sampled_from([n for n in (1, 2, 3) if shape.H % n == 0]))
    q, k, v = (x.requires_grad_() for x in shape.qkv(H_kv=H_kv))
    mask = block_masks(-(-shape.T // block_size) + seed % 3, seed)
    seen = block_sparse_mask(shape.T, mask, block_size=block_size)
    assert torch.equal(seen, pairs(shape.T, lambda t, i: i <= t and mask[t // block_size, i // block_size]))
    shared = shape.H // H_kv
    scores = torch.einsum("bthk,bihk->bhti", q, k.repeat_interleave(shared, 2)) * shape.K**-0.5
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    expected = torch.einsum("bhti,bihv->bthv", weights, v.repeat_interleave(shared, 2))
    wanted = torch.autograd.grad(expected.square().sum(), (q, k, v))
    setting = {"block_mask": mask, "block_size": block_size}
    for mode in ("parallel", "chunk"):
        o, _ = block_sparse_attention(q, k, v, mode=mode, **setting)
        assert_within(o, expected, EXACT, v.abs().max())
        for actual, want in zip(torch.autograd.grad(o.square().sum(), (q, k, v)), wanted, strict=True):
            assert_within(actual, want, EXACT, 1 + want.abs().max())
    cut = data.draw(st.integers(0, shape.T))
    first, cache = block_sparse_attention(
        *(x[:, :cut] for x in (q, k, v)), output_final_state=True, **setting
    )
    second, _ = block_sparse_attention(*(x[:, cut:] for x in (q, k, v)), initial_state=cache, **setting)
    assert_within(torch.cat([first, second], 1), expected, EXACT, v.abs().max())


@given(shapes(), st.integers(1, 7), st.integers(0, 99))
def test_bigbird_is_block_sparse_with_its_blocks(shape, block_size, seed):
    q, k, v = shape.qkv()
    N = -(-shape.T // block_size)
    mask = bigbird_mask(N, block_size=1, seed=seed)
    o, _ = block_sparse_attention(q, k, v, block_mask=mask, block_size=block_size)
    assert_within(o, bigbird_attention(q, k, v, block_size=block_size, seed=seed)[0], EXACT, v.abs().max())


def test_moba_finds_the_block_that_it_is_asked_for():
    """The keys of block 2 point where the last query looks: it reads this block and its own, and no other."""
    k = torch.randn(1, 24, 1, 6, generator=torch.Generator().manual_seed(0)) * 0.1
    k[:, 8:12, :, 0] += 3
    q = torch.zeros(1, 24, 1, 6)
    q[..., 0] = 1
    mask = moba_mask(q, k, block_size=4, top_k=2)[0, 0]
    assert mask[23].nonzero().flatten().tolist() == [8, 9, 10, 11, 20, 21, 22, 23]
    assert mask[21].nonzero().flatten().tolist() == [8, 9, 10, 11, 20, 21]
    assert mask[10].sum() == 4 + 3  # one of the two blocks before, and its own up to itself
    assert torch.equal(moba_mask(q[:, -5:], k, block_size=4, top_k=2)[0, 0], mask[-5:])
    v = torch.zeros(1, 24, 1, 24)
    v[0, :, 0] = torch.eye(24)
    o, _ = moba(q, k, v, block_size=4, top_k=2)
    assert torch.equal(o[0, :, 0] > 0, mask)


def test_the_mask_of_moba_in_half_precision_and_of_few_tokens():
    rng = torch.Generator().manual_seed(2)
    q, k = (torch.randn(1, 200, 2, 8, generator=rng).bfloat16() for _ in range(2))
    expected = moba_mask(q.float(), k.float(), block_size=4)
    assert torch.equal(moba_mask(q, k, block_size=4), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(moba_mask(q.float(), k.float(), block_size=4), expected)
    assert moba_mask(q[:, :0], k).shape == (1, 2, 0, 200)
    assert moba_mask(q[:, :0], k[:, :0]).shape == (1, 2, 0, 0)
    assert moba_mask(q[:, :1], k[:, :1]).all()


def test_every_head_of_moba_chooses_for_itself():
    rng = torch.Generator().manual_seed(1)
    q, k = torch.randn(1, 64, 4, 8, generator=rng), torch.randn(1, 64, 2, 8, generator=rng)
    mask = moba_mask(q, k, block_size=4, top_k=3)[0]
    assert all(not torch.equal(mask[0], mask[h]) for h in (1, 2, 3))
    assert mask[:, 63].sum(-1).tolist() == [12] * 4


class Sizes(TorchDispatchMode):
    """The largest tensor that an operation makes, and the numbers that all of them make together."""

    largest, total = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            made = [x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
            self.largest, self.total = max([self.largest, *made]), self.total + sum(made)
        return out


def sizes(fn, T, **options):
    """Of a forward and a backward pass at length T."""
    q, k, v = (torch.randn(1, T, 1, 4, requires_grad=True) for _ in range(3))
    with Sizes() as counted:
        fn(q, k, v, chunk_size=16, **SMALL[fn], **options)[0].sum().backward()
    return counted


@every_pattern
def test_forward_and_backward_make_no_more_than_linear_numbers(fn):
    """Nothing of T × T; and twice the length makes twice the numbers, but for the scores that MoBA chooses by."""
    T = 2048
    long, short = sizes(fn, T), sizes(fn, T // 2)
    assert long.largest < T * 8 * 4 * 4  # T queries with 3 blocks of 8 keys of 4 channels, and room
    assert long.largest <= 2.05 * short.largest
    routing = T * T // 8 if fn is moba else 0
    assert long.total < 2.05 * short.total + 4 * routing
    if fn is not sliding_window_attention:
        assert sizes(fn, T // 2, mode="parallel").largest >= (T // 2) ** 2  # which the definition does make


@given(st.integers(1, 20), st.integers(1, 5), st.integers(1, 4))
def test_a_window_reaches_its_layers_times_as_far(T, window, layers):
    reached = receptive_field(*[window_mask(T, window)] * layers)
    assert torch.equal(reached, window_mask(T, layers * (window - 1) + 1))


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 999))
def test_the_receptive_field_is_what_gradients_reach(T, layers, seed):
    """Layers x ← x + W x with random weights where the mask is: the derivative is zero where nothing reaches."""
    rng = torch.Generator().manual_seed(seed)
    masks = [(torch.rand(T, T, generator=rng) < 0.2).tril() for _ in range(layers)]

    def model(x):
        weights = torch.Generator().manual_seed(seed)
        for mask in masks:
            x = x + (torch.rand(T, T, generator=weights, dtype=torch.float64) + 0.1) * mask @ x
        return x

    jacobian = torch.autograd.functional.jacobian(model, torch.zeros(T, dtype=torch.float64))
    assert torch.equal(receptive_field(*masks), jacobian != 0)


def test_two_halves_of_the_sparse_transformer_reach_everything():
    local, strided = window_mask(64, 8), dilated_mask(64, 8, 8)
    assert torch.equal(receptive_field(local, strided), causal_mask(64))
    assert not torch.equal(receptive_field(strided, strided), causal_mask(64))


@pytest.mark.parametrize("fn", [dilated_attention, global_window_attention, bigbird_attention, moba])
def test_receptive_fields_of_outputs_are_the_masks(fn):
    """What moves an output is what the mask shows, at the defaults of the tests and with a value of its own a token."""
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 50, 1, 4, generator=rng) for _ in range(2))
    v = torch.eye(50)[None, :, None]
    options = SMALL[fn]
    masks = {
        dilated_attention: lambda: dilated_mask(50, **options),
        global_window_attention: lambda: global_window_mask(50, **options),
        bigbird_attention: lambda: bigbird_mask(50, **options),
        moba: lambda: moba_mask(q, k, **options)[0, 0],
    }
    assert torch.equal(fn(q, k, v, **options)[0][0, :, 0] > 0, masks[fn]())


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@given(shapes(max_T=300), st.integers(1, 200))
@settings(max_examples=10)
def test_flex_attention_uncompiled_is_the_window(shape, window):
    q, k, v = shape.qkv()
    o, _ = sliding_window_attention(q, k, v, window=window)
    torch.testing.assert_close(flex_window_attention(q, k, v, window=window, compiled=False), o)
