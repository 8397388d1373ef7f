"""Softmax attention: definition, one-pass form, torch's kernel, step and every split give one answer."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import softmax_oracle
from strategies import Shape, assert_within, bound, shapes
from torch.utils.flop_counter import FlopCounterMode

from course_lib.attention import softmax_attention, softmax_attention_step

FORMS = ("parallel", "chunk", "sdpa")
EXACT = 1e-10
GROUPS = st.sampled_from([1, 2, 3])


def grouped(shape: Shape, groups: int, dtype=torch.float64):
    """q with H · groups heads, k and v with H."""
    wide = Shape(shape.B, shape.T, shape.H * groups, shape.K, shape.V, shape.C, shape.seed)
    return wide.qkv(dtype, H_kv=shape.H)


@given(shapes(max_T=20), GROUPS, st.booleans(), st.data())
def test_every_form_is_the_definition(shape, groups, causal, data):
    q, k, v = grouped(shape, groups)
    q = q[:, shape.T - data.draw(st.integers(0, shape.T), label="T_q") :]
    scale = data.draw(st.sampled_from([None, 0.3, 2.0]), label="scale")
    expected = softmax_oracle(q, k, v, causal=causal, scale=scale)
    for mode in FORMS:
        o, _ = softmax_attention(q, k, v, mode=mode, causal=causal, chunk_size=shape.C, scale=scale)
        assert_within(o, expected, EXACT, v.abs().max())


@given(shapes(max_T=100), GROUPS)
def test_forms_agree_in_float32_as_far_as_rounding_allows(shape, groups):
    """A score is off by K·u·Σ|q||k|, and exp hands that on as a relative error of a weight."""
    q, k, v = grouped(shape, groups, torch.float32)
    exact, _ = softmax_attention(q.double(), k.double(), v.double(), mode="parallel")
    largest_score = q.abs().sum(-1).max() * k.abs().max() * shape.K**-0.5
    for mode in FORMS:
        o, _ = softmax_attention(q, k, v, mode=mode, chunk_size=shape.C)
        allowed = bound(shape, torch.float32) * (1 + largest_score)
        assert_within(o, exact, float(allowed), v.abs().max())


@given(shapes(), GROUPS, st.data())
def test_split_anywhere_with_a_carried_cache_is_one_pass(shape, groups, data):
    q, k, v = grouped(shape, groups)
    cut = data.draw(st.integers(0, shape.T), label="cut")
    first, second = (data.draw(st.sampled_from(FORMS), label="form") for _ in range(2))
    options = {"chunk_size": shape.C, "output_final_state": True}
    whole, _ = softmax_attention(q, k, v, mode="parallel")
    a, cache = softmax_attention(q[:, :cut], k[:, :cut], v[:, :cut], mode=first, **options)
    b, cache = softmax_attention(
        q[:, cut:], k[:, cut:], v[:, cut:], mode=second, initial_state=cache, **options
    )
    assert_within(torch.cat([a, b], dim=1), whole, EXACT, v.abs().max())
    assert torch.equal(cache[0], k)
    assert torch.equal(cache[1], v)


@given(shapes(max_T=16), GROUPS, st.sampled_from([None, 2.0]))
def test_step_by_step_is_prefill(shape, groups, scale):
    q, k, v = grouped(shape, groups)
    whole, _ = softmax_attention(q, k, v, chunk_size=shape.C, scale=scale)
    cache = None
    for t in range(shape.T):
        o, cache = softmax_attention_step(q[:, t], k[:, t], v[:, t], cache, scale=scale)
        assert_within(o, whole[:, t], EXACT, v.abs().max())
    assert torch.equal(cache[0], k)
    assert torch.equal(cache[1], v)


@given(shapes(), st.sampled_from(FORMS), st.data())
def test_the_future_moves_no_past_output(shape, mode, data):
    q, k, v = shape.qkv()
    cut = data.draw(st.integers(0, shape.T), label="cut")
    o, _ = softmax_attention(q, k, v, mode=mode, chunk_size=shape.C)
    later = [torch.cat([x[:, :cut], x[:, cut:].flip(1) * 3 + 1], dim=1) for x in (q, k, v)]
    moved, _ = softmax_attention(*later, mode=mode, chunk_size=shape.C)
    assert_within(moved[:, :cut], o[:, :cut], EXACT, v.abs().max())


@given(shapes(max_T=20), GROUPS, st.booleans())
def test_gradients_of_all_forms_are_equal(shape, groups, causal):
    inputs = [x.requires_grad_() for x in grouped(shape, groups)]
    rng = torch.Generator().manual_seed(shape.seed)
    w = torch.randn(*inputs[0].shape[:3], shape.V, generator=rng, dtype=torch.float64)
    gradients = []
    for mode in FORMS:
        o, _ = softmax_attention(*inputs, mode=mode, causal=causal, chunk_size=shape.C)
        gradients.append(torch.autograd.grad((o * w).sum(), inputs))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("mode", FORMS)
def test_gradcheck(mode):
    inputs = tuple(x.requires_grad_() for x in grouped(Shape(B=1, T=5, H=1, K=2, V=2, C=2, seed=0), 2))
    assert torch.autograd.gradcheck(lambda *qkv: softmax_attention(*qkv, mode=mode, chunk_size=2)[0], inputs)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), shapes(), st.sampled_from(FORMS), st.booleans())
def test_packed_sequences_are_separate_calls(lengths, shape, mode, causal):
    q, k, v = grouped(Shape(1, sum(lengths), shape.H, shape.K, shape.V, shape.C, shape.seed), 2)
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    options = {"mode": mode, "causal": causal, "chunk_size": shape.C}
    packed, _ = softmax_attention(q, k, v, cu_seqlens=bounds, **options)
    for i, j in pairwise(bounds.tolist()):
        o, _ = softmax_attention(q[:, i:j], k[:, i:j], v[:, i:j], **options)
        assert_within(packed[:, i:j], o, EXACT, 1.0)


@given(shapes(min_T=2, max_T=30), st.floats(1e2, 1e6))
def test_one_pass_survives_scores_that_overflow_exp(shape, factor):
    q, k, v = shape.qkv()
    expected, _ = softmax_attention(q * factor, k, v, mode="parallel")
    o, _ = softmax_attention(q * factor, k, v, mode="chunk", chunk_size=shape.C)
    # A score of size s is off by K·u·s, and exp hands that on as a relative error.
    scores = factor * mass_of_scores(q, k)
    assert_within(o, expected, bound(shape, torch.float64) * (1 + float(scores)), v.abs().max())


def mass_of_scores(q, k):
    return torch.einsum("bthk,bihk->bhti", q.abs(), k.abs()).max()


@given(st.integers(1, 8), st.integers(1, 8))
def test_blocks_in_the_future_are_skipped(N, C):
    """Of the N × N pairs of blocks, N(N + 1)/2 are computed."""
    q, k, v = Shape(B=1, T=N * C, H=1, K=3, V=5, C=C, seed=0).qkv()
    with FlopCounterMode(display=False) as counter:
        softmax_attention(q, k, v, chunk_size=C)
    assert counter.get_total_flops() == N * (N + 1) // 2 * 2 * C * C * (3 + 5)
