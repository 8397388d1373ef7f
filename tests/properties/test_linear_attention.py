"""Linear attention: three forms, a step and every split give one answer, which is the sum over i."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import elu_plus_one, linear_oracle
from strategies import Shape, assert_within, bound, mass, shapes
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from course_lib.attention import linear_attention, linear_attention_step

FORMS = ("parallel", "recurrent", "chunk")
MAPS = {"elu": elu_plus_one, "relu": torch.relu, "identity": lambda x: x}
EXACT = 1e-10


def size_of(q, k, v, phi, normalize):
    """What an error is relative to: a weighted mean is at most max|v|, a sum at most its mass."""
    return (
        v.abs().max().double() if normalize else mass(phi(q).double(), phi(k).double(), v.double()) + 1e-300
    )


@given(shapes(max_T=24), st.sampled_from(["elu/normalised", "elu", "relu", "identity"]), st.booleans())
def test_every_form_is_the_sum_over_tokens(shape, name, causal):
    feature_map, _, normalize = name.partition("/")
    q, k, v = shape.qkv()
    phi, normalize = MAPS[feature_map], bool(normalize)
    o, S, z = linear_oracle(q, k, v, phi=phi, normalize=normalize, causal=causal)
    options = {"feature_map": feature_map, "normalize": normalize, "causal": causal, "chunk_size": shape.C}
    for mode in FORMS:
        actual, state = linear_attention(q, k, v, mode=mode, output_final_state=True, **options)
        assert_within(actual, o, EXACT, size_of(q, k, v, phi, normalize))
        S_actual, z_actual = state if normalize else (state, z)
        torch.testing.assert_close(S_actual, S, rtol=EXACT, atol=EXACT)
        torch.testing.assert_close(z_actual, z, rtol=EXACT, atol=EXACT)


@given(shapes(max_T=150))
def test_forms_agree_in_float32_as_far_as_rounding_allows(shape):
    q, k, v = shape.qkv(torch.float32)
    for normalize, phi in ((True, torch.abs), (False, MAPS["identity"])):
        options = {"feature_map": phi, "normalize": normalize, "scale": 1.0, "chunk_size": shape.C}
        exact, _ = linear_attention(q.double(), k.double(), v.double(), mode="parallel", **options)
        size = size_of(q, k, v, phi, normalize)
        for mode in FORMS:
            o, _ = linear_attention(q, k, v, mode=mode, **options)
            assert o.dtype == torch.float32
            assert_within(o, exact, bound(shape, torch.float32), size)


@given(shapes(), st.data())
def test_split_anywhere_with_a_carried_state_is_one_pass(shape, data):
    q, k, v = shape.qkv()
    cut = data.draw(st.integers(0, shape.T), label="cut")
    first, second = (data.draw(st.sampled_from(FORMS), label="form") for _ in range(2))
    normalize = data.draw(st.booleans(), label="normalize")
    options = {"normalize": normalize, "output_final_state": True, "chunk_size": shape.C}
    whole, end = linear_attention(q, k, v, **options)
    a, middle = linear_attention(q[:, :cut], k[:, :cut], v[:, :cut], mode=first, **options)
    b, last = linear_attention(
        q[:, cut:], k[:, cut:], v[:, cut:], mode=second, initial_state=middle, **options
    )
    assert_within(torch.cat([a, b], dim=1), whole, EXACT, size_of(q, k, v, elu_plus_one, normalize))
    torch.testing.assert_close(last, end, rtol=EXACT, atol=EXACT)


@given(shapes(max_T=20), st.booleans())
def test_step_by_step_is_prefill(shape, normalize):
    q, k, v = shape.qkv()
    whole, end = linear_attention(q, k, v, normalize=normalize, output_final_state=True, chunk_size=shape.C)
    state = None
    for t in range(shape.T):
        o, state = linear_attention_step(q[:, t], k[:, t], v[:, t], state, normalize=normalize)
        size = v.abs().max() if normalize else size_of(q, k, v, elu_plus_one, normalize)[:, t]
        assert_within(o, whole[:, t], EXACT, size)
    torch.testing.assert_close(state, end, rtol=EXACT, atol=EXACT)


@given(shapes(), st.sampled_from(FORMS), st.data())
def test_the_future_moves_no_past_output(shape, mode, data):
    q, k, v = shape.qkv()
    cut = data.draw(st.integers(0, shape.T), label="cut")
    o, _ = linear_attention(q, k, v, mode=mode, chunk_size=shape.C)
    later = [torch.cat([x[:, :cut], x[:, cut:].flip(1) * 3 + 1], dim=1) for x in (q, k, v)]
    moved, _ = linear_attention(*later, mode=mode, chunk_size=shape.C)
    assert torch.equal(moved[:, :cut], o[:, :cut])


@given(shapes(min_T=2), st.sampled_from(FORMS), st.data())
def test_without_causal_the_first_output_reads_the_last_token(shape, mode, data):
    q, k, v = shape.qkv()
    o, _ = linear_attention(q, k, v, mode=mode, causal=False, chunk_size=shape.C)
    v[:, -1] += 1
    moved, _ = linear_attention(q, k, v, mode=mode, causal=False, chunk_size=shape.C)
    assert bool(((moved - o)[:, 0] > 0).all())


@given(shapes(max_T=24), st.booleans(), st.booleans())
def test_gradients_of_all_forms_are_equal(shape, normalize, causal):
    rng = torch.Generator().manual_seed(shape.seed)
    inputs = [x.requires_grad_() for x in shape.qkv()]
    w = torch.randn(*inputs[2].shape, generator=rng, dtype=torch.float64)
    w_S = torch.randn(shape.B, shape.H, shape.K, shape.V, generator=rng, dtype=torch.float64)
    gradients = []
    for mode in FORMS:
        options = {"normalize": normalize, "causal": causal, "mode": mode, "chunk_size": shape.C}
        o, state = linear_attention(*inputs, output_final_state=True, **options)
        loss = (o * w).sum() + ((state[0] if normalize else state) * w_S).sum()
        gradients.append(torch.autograd.grad(loss, inputs))
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("mode", FORMS)
@pytest.mark.parametrize("normalize", [True, False])
def test_gradcheck(mode, normalize):
    shape = Shape(B=1, T=5, H=2, K=2, V=3, C=2, seed=0)
    rng = torch.Generator().manual_seed(1)
    S = torch.rand(1, 2, 2, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    z = torch.rand(1, 2, 2, generator=rng, dtype=torch.float64, requires_grad=True)

    def f(q, k, v, S, z):
        state = (S, z) if normalize else S
        return linear_attention(q, k, v, initial_state=state, mode=mode, normalize=normalize, chunk_size=2)[0]

    assert torch.autograd.gradcheck(f, (*(x.requires_grad_() for x in shape.qkv()), S, z))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4), shapes(), st.sampled_from(FORMS), st.booleans())
def test_packed_sequences_are_separate_calls(lengths, shape, mode, normalize):
    shape = Shape(1, sum(lengths), shape.H, shape.K, shape.V, shape.C, shape.seed)
    q, k, v = shape.qkv()
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    options = {"mode": mode, "normalize": normalize, "chunk_size": shape.C, "output_final_state": True}
    _, start = linear_attention(*Shape(len(lengths), 3, shape.H, shape.K, shape.V, 2, 7).qkv(), **options)
    packed, ends = linear_attention(q, k, v, cu_seqlens=bounds, initial_state=start, **options)
    pick = (lambda s, n: tuple(x[n : n + 1] for x in s)) if normalize else (lambda s, n: s[n : n + 1])
    for n, (i, j) in enumerate(pairwise(bounds.tolist())):
        o, end = linear_attention(q[:, i:j], k[:, i:j], v[:, i:j], initial_state=pick(start, n), **options)
        torch.testing.assert_close(packed[:, i:j], o, rtol=EXACT, atol=EXACT)
        torch.testing.assert_close(pick(ends, n), end, rtol=EXACT, atol=EXACT)


def test_a_map_that_looks_at_positions_sees_one_sequence_at_a_time():
    def by_position(x):
        return x.relu() + 0.1 + torch.arange(x.shape[1], dtype=x.dtype)[:, None, None]

    q, k, v = Shape(B=1, T=5, H=2, K=3, V=4, C=2, seed=0).qkv()
    packed, _ = linear_attention(q, k, v, feature_map=by_position, cu_seqlens=torch.tensor([0, 2, 5]))
    for i, j in ((0, 2), (2, 5)):
        o, _ = linear_attention(q[:, i:j], k[:, i:j], v[:, i:j], feature_map=by_position)
        torch.testing.assert_close(packed[:, i:j], o, rtol=EXACT, atol=EXACT)


class CountNumbers(TorchDispatchMode):
    """How many numbers all operations write: work that no clock disturbs."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.total += sum(x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor))
        return out


def numbers_written_backward(T):
    q, k, v = (x.requires_grad_() for x in Shape(B=1, T=T, H=1, K=4, V=4, C=4, seed=0).qkv())
    o, _ = linear_attention(q, k, v, chunk_size=4)
    with CountNumbers() as count:
        o.sum().backward()
    return count.total


def test_backward_of_the_chunk_form_is_linear_in_T():
    """Twice the tokens add twice the work; slicing inside the loop would add four times the work."""
    at_128, at_256, at_512 = map(numbers_written_backward, (128, 256, 512))
    assert at_512 - at_256 == 2 * (at_256 - at_128)
