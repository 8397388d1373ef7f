"""dtypes, autocast, NaN, empty and strided inputs, and the transforms of torch: compile, vmap, grad."""

from functools import partial

import pytest
import torch

from course_lib.attention import (
    linear_attention,
    linear_attention_step,
    softmax_attention,
    softmax_attention_step,
)

FORMS = [
    *((linear_attention, mode) for mode in ("parallel", "recurrent", "chunk")),
    *((softmax_attention, mode) for mode in ("parallel", "chunk", "sdpa")),
]
OURS = [case for case in FORMS if case[1] != "sdpa"]
every_form = pytest.mark.parametrize(("fn", "mode"), FORMS, ids=lambda x: getattr(x, "__name__", x))
our_forms = pytest.mark.parametrize(("fn", "mode"), OURS, ids=lambda x: getattr(x, "__name__", x))


def qkv(B=2, T=11, H=2, K=4, V=3, dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(B, T, H, n, generator=rng).to(dtype) for n in (K, K, V)]


@our_forms
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_computes_in_float32_and_rounds_once(fn, mode, dtype):
    q, k, v = qkv(dtype=dtype)
    o, _ = fn(q, k, v, mode=mode)
    assert o.dtype == dtype
    assert torch.equal(o, fn(q.float(), k.float(), v.float(), mode=mode)[0].to(dtype))


def test_linear_state_is_float32_and_softmax_cache_keeps_its_dtype():
    for dtype, state_dtype in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        _, state = linear_attention(*qkv(dtype=dtype), output_final_state=True)
        assert {x.dtype for x in state} == {state_dtype}
        _, cache = softmax_attention(*qkv(dtype=dtype), output_final_state=True)
        assert {x.dtype for x in cache} == {dtype}


def test_a_long_sum_of_bfloat16_keys_does_not_stall():
    """4,096 times 1 is 4,096; a bfloat16 sum stops at 256, where its ulp is 2."""
    ones = torch.ones(1, 4096, 1, 1, dtype=torch.bfloat16)
    _, S = linear_attention(
        ones, ones, ones, feature_map="identity", normalize=False, output_final_state=True
    )
    assert S.item() == 4096


@our_forms
def test_autocast_changes_nothing(fn, mode):
    q, k, v = qkv()
    plain, state = fn(q, k, v, mode=mode, output_final_state=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        o, cast = fn(q, k, v, mode=mode, output_final_state=True)
    assert torch.equal(o, plain)
    assert all(torch.equal(a, b) for a, b in zip(state, cast, strict=True))


@pytest.mark.parametrize("step", [linear_attention_step, softmax_attention_step])
def test_autocast_changes_no_step(step):
    token = [x[:, 0] for x in qkv()]
    plain, _ = step(*token)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(step(*token)[0], plain)


@pytest.mark.parametrize("which", [0, 1, 2])
@every_form
def test_nan_in_is_nan_out(fn, mode, which):
    """A NaN at token 7 reaches every later output that reads it: q its own, k and v all from there on."""
    tokens = qkv()
    tokens[which][:, 7] = float("nan")
    o, _ = fn(*tokens, mode=mode, chunk_size=4)
    assert o[:, 7].isnan().all()
    assert o[:, 8:].isnan().all() == (which > 0)


def test_features_that_vanish_divide_zero_by_zero():
    q, k, v = qkv()
    for mode in ("parallel", "recurrent", "chunk"):
        o, _ = linear_attention(-q.abs(), k, v, mode=mode, feature_map="relu")
        assert o.isnan().all()


@every_form
def test_no_tokens(fn, mode):
    q, k, v = (x.requires_grad_() for x in qkv(T=0))
    o, state = fn(q, k, v, mode=mode, output_final_state=True)
    assert o.shape == (2, 0, 2, 3)
    if fn is linear_attention:
        assert [x.abs().sum().item() for x in state] == [0, 0]


@every_form
def test_strided_inputs(fn, mode):
    q, k, v = qkv()
    strided = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    sliced = [torch.cat([x, x], dim=-1)[..., : x.shape[-1]] for x in (q, k, v)]
    expanded = [x[:1].expand(2, -1, -1, -1) for x in (q, k, v)]
    o, _ = fn(q, k, v, mode=mode, chunk_size=4)
    for other in (strided, sliced):
        torch.testing.assert_close(fn(*other, mode=mode, chunk_size=4)[0], o)
    torch.testing.assert_close(fn(*expanded, mode=mode, chunk_size=4)[0][1], o[0])


def test_inputs_and_states_are_left_alone():
    q, k, v = qkv()
    _, state = linear_attention(q, k, v, output_final_state=True)
    before = [x.clone() for x in (q, k, v, *state)]
    linear_attention(q, k, v, initial_state=state)
    linear_attention_step(q[:, 0], k[:, 0], v[:, 0], state)
    assert all(torch.equal(a, b) for a, b in zip(before, (q, k, v, *state), strict=True))


def test_a_zero_key_writes_nothing_only_without_elu():
    """elu(0) + 1 is 1: padding with zero keys would change the normaliser, so nothing here pads."""
    q, k, v = qkv()
    for feature_map, moved in (("elu", True), ("relu", False)):
        _, (_, z) = linear_attention(q, k, v, feature_map=feature_map, output_final_state=True)
        tail = torch.zeros_like(k[:, :3])
        _, (_, padded) = linear_attention(
            *(torch.cat([x, pad], 1) for x, pad in ((q, tail), (k, tail), (v, torch.zeros_like(v[:, :3])))),
            feature_map=feature_map,
            output_final_state=True,
        )
        assert torch.equal(padded, z) != moved


def test_scale_cancels_when_normalised_and_multiplies_otherwise():
    q, k, v = qkv()
    assert torch.equal(linear_attention(q, k, v, scale=7.0)[0], linear_attention(q, k, v)[0])
    plain, _ = linear_attention(q, k, v, normalize=False)
    torch.testing.assert_close(linear_attention(q, k, v, normalize=False, scale=1.0)[0], plain * 4**0.5)


def test_a_feature_map_may_change_K():
    q, k, v = qkv()

    def wide(x):
        return torch.cat([x.relu(), (-x).relu(), torch.ones_like(x)], dim=-1)

    whole, end = linear_attention(q, k, v, feature_map=wide, output_final_state=True)
    assert end[0].shape == (2, 2, 12, 3)
    first, state = linear_attention(*(x[:, :6] for x in (q, k, v)), feature_map=wide, output_final_state=True)
    second, _ = linear_attention(*(x[:, 6:] for x in (q, k, v)), feature_map=wide, initial_state=state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


@pytest.mark.parametrize("fn", [linear_attention, softmax_attention])
def test_the_chunk_form_compiles_into_one_graph(fn):
    q, k, v = qkv()
    f = partial(fn, chunk_size=4, output_final_state=True)
    o, state = torch.compile(f, fullgraph=True, backend="eager")(q, k, v)
    expected, expected_state = f(q, k, v)
    torch.testing.assert_close(o, expected)
    torch.testing.assert_close(state, expected_state)


@every_form
def test_vmap_and_grad_of_torch_func(fn, mode):
    q, k, v = qkv()
    f = partial(fn, mode=mode, chunk_size=4)
    stacked = [torch.stack([x, 2 * x]) for x in (q, k, v)]
    o = torch.vmap(lambda *x: f(*x)[0])(*stacked)
    torch.testing.assert_close(o[1], f(2 * q, 2 * k, 2 * v)[0])
    gradient = torch.func.grad(lambda q: f(q, k, v)[0].sum())(q)
    q.requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(f(q, k, v)[0].sum(), q)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mode", ["parallel", "chunk"])
def test_softmax_scales_in_the_working_precision(dtype, mode):
    """K ** -0.5 is no power of two at K = 48, so q · scale rounds: it must be rounded in float32.

    The reference starts from the same rounded inputs, so what is left is the rounding of the output to `dtype`
    (eps / 2 of its size) and float32's own error, far below it.
    """
    generator = torch.Generator().manual_seed(0)
    q, k, v = (3 * torch.randn(3, 1, 200, 2, 48, generator=generator)).to(dtype)
    exact, _ = softmax_attention(q.double(), k.double(), v.double(), mode="parallel")
    o, _ = softmax_attention(q, k, v, mode=mode)
    bound = torch.finfo(dtype).eps / 2 * exact.abs().max() * 1.01
    assert (o.double() - exact).abs().max() <= bound
