"""Models meet where their gates agree: each pair below is one formula written twice."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import assert_within, shapes

from course_lib.attention import (
    delta_rule,
    gated_delta_rule,
    gla,
    hgrn,
    hgrn2,
    kda,
    lightning_attention,
    linear_attention,
    mixer,
    retention,
    rwkv6,
    rwkv7,
    selective_scan,
    simple_gla,
    sliding_window_attention,
    softmax_attention,
    ssd,
)

EXACT = 1e-10
MODES = st.sampled_from(["parallel", "recurrent", "chunk"])


def same(a, b):
    """Outputs and states of two calls agree."""
    for actual, expected in zip(a, b, strict=True):
        assert_within(actual, expected, EXACT, 1 + expected.abs().max())


def unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


def setting(shape, mode):
    return {"chunk_size": shape.C, "mode": mode, "output_final_state": True}


def plain(q, k, v, **options):
    return linear_attention(q, k, v, feature_map="identity", normalize=False, **options)


@given(shapes(), MODES)
def test_gates_of_zero_are_linear_attention(shape, mode):
    q, k, v = shape.qkv()
    expected = plain(q, k, v, **setting(shape, mode))
    same(simple_gla(q, k, v, g=torch.zeros(q.shape[:3]), **setting(shape, mode)), expected)
    same(gla(q, k, v, g=torch.zeros(q.shape), **setting(shape, mode)), expected)
    # RWKV-6 with a bonus of 1 reads what it has just written.
    u = torch.ones(q.shape[2:])
    same(rwkv6(q, k, v, w=torch.zeros(q.shape), u=u, **setting(shape, mode)), expected)


@given(shapes(), MODES, st.floats(-3, 0))
def test_one_gate_for_all_channels_is_one_gate_a_head(shape, mode, g):
    q, k, v = shape.qkv()
    heads = g * torch.rand(q.shape[:3], dtype=torch.float64)
    channels = heads[..., None].expand(q.shape)
    same(
        gla(q, k, v, g=channels, **setting(shape, mode)), simple_gla(q, k, v, g=heads, **setting(shape, mode))
    )
    beta = torch.rand(q.shape[:3], dtype=torch.float64)
    same(
        kda(q, unit(k), v, g=channels, beta=beta, **setting(shape, mode)),
        gated_delta_rule(q, unit(k), v, g=heads, beta=beta, **setting(shape, mode)),
    )


@given(shapes(), MODES)
def test_a_constant_gate_is_retention_or_lightning(shape, mode):
    q, k, v = shape.qkv()
    h = torch.arange(shape.H, dtype=torch.float64)
    g = (1 - 2 ** (-5 - h)).log().expand(q.shape[:3])
    same(retention(q, k, v, **setting(shape, mode)), simple_gla(q, k, v, g=g, **setting(shape, mode)))
    g = (-8 * h / shape.H * (1 - 2 / 6)).expand(q.shape[:3])
    options = setting(shape, mode)
    same(lightning_attention(q, k, v, layer=2, layers=6, **options), simple_gla(q, k, v, g=g, **options))


@given(shapes(), MODES)
def test_hgrn2_is_gla_whose_key_is_what_is_forgotten(shape, mode):
    q, g, v = shape.qkv()
    g = -g.abs()
    same(hgrn2(q, v, g=g, **setting(shape, mode)), gla(q, 1 - g.exp(), v, g=g, **setting(shape, mode)))


@given(shapes(), MODES)
def test_strength_zero_leaves_the_memory_alone(shape, mode):
    q, k, v = shape.qkv()
    S = torch.randn(shape.B, shape.H, shape.K, shape.V, dtype=torch.float64)
    none = torch.zeros(q.shape[:3])
    options = setting(shape, mode) | {"initial_state": S, "beta": none, "scale": 1.0}
    for fn, gates in (
        (delta_rule, {}),
        (gated_delta_rule, {"g": none}),
        (kda, {"g": torch.zeros(q.shape)}),
    ):
        o, after = fn(q, k, v, **gates, **options)
        assert torch.equal(after, S), fn.__name__
        assert_within(o, torch.einsum("bthk,bhkv->bthv", q, S), EXACT, 1 + o.abs().max())


@given(shapes(max_T=6), MODES)
def test_the_delta_rule_adds_where_keys_are_orthonormal_and_new(shape, mode):
    """Each key written once at full strength into an empty memory: there is nothing to correct."""
    q, _, v = shape.qkv()
    T, K = shape.T, max(shape.K, shape.T)
    q = torch.randn(*q.shape[:3], K, dtype=torch.float64)
    keys, _ = torch.linalg.qr(torch.randn(K, K, dtype=torch.float64))
    k = keys[:T, None].expand(shape.B, T, shape.H, K)
    beta = torch.ones(q.shape[:3])
    same(delta_rule(q, k, v, beta=beta, **setting(shape, mode)), plain(q, k, v, **setting(shape, mode)))


@given(shapes(), MODES)
def test_rwkv7_without_decay_that_removes_what_it_writes_is_the_delta_rule(shape, mode):
    q, k, v = shape.qkv()
    k = unit(k)
    beta = 2 * torch.rand(q.shape[:3], dtype=torch.float64)
    removal = {"w": torch.zeros(q.shape), "a": -beta[..., None] * k, "b": k}
    same(
        rwkv7(q, k, beta[..., None] * v, **removal, **setting(shape, mode)),
        delta_rule(q, k, v, beta=beta, **setting(shape, mode)),
    )


@given(shapes(), MODES)
def test_mamba_2_is_simple_gla(shape, mode):
    """The duality: C asks, B is the key, Δx the value, ΔA the gate."""
    C, B, x = shape.qkv()
    dt = torch.rand(x.shape[:3], dtype=torch.float64)
    A = -torch.rand(shape.H, dtype=torch.float64)
    expected = simple_gla(C, B, dt[..., None] * x, g=dt * A, scale=1.0, **setting(shape, mode))
    same(ssd(x, dt, A, B, C, **setting(shape, mode)), expected)


@given(shapes(), MODES)
def test_mamba_with_one_number_of_state_is_hgrn(shape, mode):
    u, delta, _ = (x.flatten(2) for x in shape.qkv())
    delta, ones = delta.abs(), torch.ones(*u.shape[:2], 1, dtype=torch.float64)
    A = -torch.rand(u.shape[2], 1, dtype=torch.float64)
    y, h = selective_scan(u, delta, A, ones, ones, **setting(shape, mode))
    same((y, h[..., 0]), hgrn(delta * u, g=delta * A[:, 0], **setting(shape, mode)))


@given(shapes(), st.sampled_from(["recurrent", "chunk"]), st.integers(0, 5))
def test_a_window_as_long_as_the_sequence_is_causal_softmax(shape, mode, more):
    q, k, v = shape.qkv()
    o, _ = sliding_window_attention(q, k, v, window=shape.T + more, mode=mode, chunk_size=shape.C)
    assert_within(o, softmax_attention(q, k, v, mode="parallel")[0], EXACT, v.abs().max())


@given(shapes(), st.sampled_from(["recurrent", "chunk"]))
def test_a_window_of_one_sees_the_token_itself(shape, mode):
    q, k, v = shape.qkv()
    o, cache = sliding_window_attention(
        q, k, v, window=1, mode=mode, chunk_size=shape.C, output_final_state=True
    )
    assert_within(o, v, EXACT, v.abs().max())
    assert [x.shape[1] for x in cache] == [0, 0]


@pytest.mark.parametrize("mode", ["parallel", "recurrent", "chunk"])
def test_strength_two_flips_the_sign_and_counts_parity(mode):
    """The exact construction: k = e₁, β = 2x, v = 0, so each 1 in x multiplies the memory by −1."""
    T = 10_000 if mode != "parallel" else 200
    x = torch.randint(0, 2, (T,), generator=torch.Generator().manual_seed(0)).double()
    k = torch.ones(1, T, 1, 1, dtype=torch.float64)
    o, _ = delta_rule(
        k,
        k,
        0 * k,
        beta=2 * x[None, :, None],
        initial_state=torch.ones(1, 1, 1, 1, dtype=torch.float64),
        scale=1.0,
        mode=mode,
    )
    assert torch.equal(o.flatten(), 1 - 2 * (x.cumsum(0) % 2))


def test_taylor_features_are_the_polynomial():
    q, k, v = (torch.randn(1, 9, 2, 5, generator=torch.Generator().manual_seed(n)).double() for n in range(3))
    s = torch.einsum("bthk,bihk->bhti", q, k) / math.sqrt(5)
    weights = (1 + s + s**2 / 2).tril()
    expected = torch.einsum("bhti,bihv->bthv", weights / weights.sum(-1, keepdim=True), v)
    o, (S, _) = linear_attention(q, k, v, feature_map="taylor", output_final_state=True)
    assert S.shape == (1, 2, 1 + 5 + 25, 5)
    torch.testing.assert_close(o, expected)


@pytest.mark.parametrize("name", ["rwkv7", "kda", "gated_delta_rule"])
def test_the_order_of_decay_and_correction_matters(name):
    """Were the state corrected before its decay, outputs would be far off: a test that tells the two apart."""
    row = mixer(name)
    given = row.example(1, 12, 1, 8, 8, dtype=torch.float64)
    o, _ = row.fn(**given)
    S, outputs = torch.zeros(8, 8, dtype=torch.float64), []
    for t in range(12):
        at = {key: x[0, t, 0] for key, x in given.items()}
        g = at["w"] if name == "rwkv7" else at["g"].expand(8)
        if name == "rwkv7":
            kept = g.exp()[:, None] * S
            S = kept + torch.outer(at["b"], kept.T @ at["a"]) + torch.outer(at["k"], at["v"])
        else:
            corrected = S + at["beta"] * torch.outer(at["k"], at["v"] - S.T @ at["k"])
            S = g.exp()[:, None] * corrected
        outputs.append(S.T @ at["r" if name == "rwkv7" else "q"] / math.sqrt(8))
    assert (torch.stack(outputs) - o[0, :, 0]).norm() > 0.05 * o.norm()
