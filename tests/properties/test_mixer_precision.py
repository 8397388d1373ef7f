"""Float32 stays within what rounding allows, at every length, chunk size and steepness of the gates.

The bound. A recurrence that multiplies its state by decays of at most 1 and adds products chains at most T sums over
K and a few roundings, so an output is off by at most 2(K + T + 8)·u times the sum of the absolute values of what it
adds up (Higham, chapter 3), which is what the same mixer gives for |q|, |k|, |v| in float64. A decay e^G is off by
|G|·u more, and |G| counts only while e^G does: |G| e^G < 1. Factors of a product reach e^{±40}: 3 · 40 · log2(e)
more units. A delta rule with |k| = 1 and β ≤ 1 never lengthens a state, so every step adds at most 2(K + C + 8)·u of
the largest state.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import assert_within

from course_lib.attention import gates, mixer

U = torch.finfo(torch.float32).eps
DECAYS = ["retention", "simple_gla", "gla", "hgrn2", "rwkv6", "ssd", "hgrn", "selective_scan"]
DELTAS = ["delta_rule", "gated_delta_rule", "kda"]
CHUNKS = st.sampled_from([1, 2, 3, 7, 8, 16, 33, 64, 100])


def example(name, T, steepness, seed=0, H=2, K=8, V=8):
    """Float32 arguments whose gates reach down to −`steepness` a token."""
    row = mixer(name)
    given = row.example(1, T, H, K, V, seed=seed)
    for key, x in row.arguments.items():
        if x.kind == "gate":
            given[key] = -steepness * torch.rand(
                given[key].shape, generator=torch.Generator().manual_seed(seed)
            )
        if x.kind == "step size":  # times A, which is about −0.7
            given[key] = steepness * torch.rand(
                given[key].shape, generator=torch.Generator().manual_seed(seed)
            )
    return given


def absolute(name, given):
    """The same arguments with nothing that cancels: gates as they are, signals without their signs."""
    kinds = mixer(name).arguments
    return {
        key: x.double().abs() if kinds[key].kind in ("signal", "key") else x.double()
        for key, x in given.items()
    }


def within_rounding(name, given, **options):
    """The float32 answer is within the bound of the float64 recurrence."""
    fn, T = mixer(name).fn, options.pop("T")
    exact, S = fn(**{key: x.double() for key, x in given.items()}, mode="recurrent", output_final_state=True)
    o, S32 = fn(**given, output_final_state=True, **options)
    if name in DELTAS or name == "rwkv7":
        size = 8**0.5 * max(1.0, S.norm(), exact.norm(dim=-1).max() * 8**0.5)
        tolerance = 2 * T * (8 + 64 + 8) * U
        assert_within(o, exact, tolerance, size)
        assert_within(S32, S, tolerance, size)
    else:
        mass, mass_S = fn(**absolute(name, given), mode="recurrent", output_final_state=True)
        tolerance = (2 * (8 + T + 8) + 3 * 40 * gates.LOG2E) * U
        assert_within(o, exact, tolerance, mass + 1e-30)
        assert_within(S32, S, tolerance, mass_S + 1e-30)


@pytest.mark.parametrize("name", [*DECAYS, *DELTAS, "rwkv7"])
@settings(max_examples=15)
@given(
    T=st.integers(1, 150),
    C=CHUNKS,
    steepness=st.sampled_from([0.0, 0.01, 0.5, 1.2, 1.3, 5, 50]),
    seed=st.integers(0, 99),
)
def test_any_steepness_at_any_chunk_size(name, T, C, steepness, seed):
    given = example(name, T, steepness, seed)
    within_rounding(name, given, T=T, chunk_size=C)


@pytest.mark.parametrize("name", [*DECAYS, *DELTAS, "rwkv7"])
@pytest.mark.parametrize("steepness", [0.02, 50.0])
def test_long_sequences(name, steepness):
    within_rounding(name, example(name, 8192, steepness, H=1), T=8192)


@pytest.mark.parametrize("g", [-79.9, -80.1, -88.0, -300.0])
@pytest.mark.parametrize("name", ["simple_gla", "gla", "rwkv6", "gated_delta_rule", "kda", "rwkv7"])
def test_both_sides_of_the_border(name, g, monkeypatch):
    """Gates that sum to g over a chunk, spread evenly or all in one token."""
    paths = []
    for path in (gates.Factorised, gates.Halved):
        init = path.__init__
        monkeypatch.setattr(
            path, "__init__", lambda self, g, init=init, path=path: (paths.append(path), init(self, g))[1]
        )
    for spread in (torch.ones(64) / 64, torch.nn.functional.one_hot(torch.tensor(20), 64).float()):
        given = example(name, 128, 1.0)
        key = "w" if "w" in given else "g"
        shape = given[key].shape
        given[key] = (g * spread).repeat(2).view(1, 128, *[1] * (len(shape) - 2)).expand(shape).clone()
        within_rounding(name, given, T=128, chunk_size=64)
    assert set(paths) == {gates.Factorised if g > -80 else gates.Halved}


@pytest.mark.parametrize("name", ["simple_gla", "gla", "kda", "rwkv7"])
def test_a_gate_of_minus_infinity_forgets_everything(name):
    given = example(name, 50, 1.0)
    key = "w" if "w" in given else "g"
    given[key][:, 20] = -torch.inf
    o, S = mixer(name).fn(**given, output_final_state=True, chunk_size=16)
    afresh = {n: x[:, 20:] if x.dim() > 2 else x for n, x in given.items()}
    o_afresh, S_afresh = mixer(name).fn(**afresh, output_final_state=True, chunk_size=16)
    if name != "rwkv7":  # its correction reads the state as it was before the decay
        torch.testing.assert_close(o[:, 20:], o_afresh)
        torch.testing.assert_close(S, S_afresh)
    assert o.isfinite().all()


@pytest.mark.parametrize("name", ["simple_gla", "gla", "gated_delta_rule", "kda", "rwkv6", "rwkv7"])
@pytest.mark.parametrize("steepness", [1.0, 1.3, 50.0])
def test_gradients_at_both_sides_of_the_border(name, steepness):
    """Float64 gradients of the chunk form and of the token loop, where every chunk is gentle and where none is."""
    gradients = []
    for mode in ("recurrent", "chunk"):
        given = {key: x.double().requires_grad_() for key, x in example(name, 130, steepness).items()}
        o, S = mixer(name).fn(**given, mode=mode, output_final_state=True)
        gradients.append(torch.autograd.grad(o.square().sum() + S.square().sum(), list(given.values())))
    for actual, expected in zip(*gradients, strict=True):
        assert_within(actual, expected, 1e-9, 1 + expected.abs().max())


@pytest.mark.parametrize("name", ["simple_gla", "gla", "kda"])
def test_large_signals_just_inside_the_border(name):
    """Factors that started at the chunk's first token would reach e^79 and overflow with these."""
    given = example(name, 128, 1.0)
    loud = {key: 1e4 * given[key] if name != "kda" or key == "v" else given[key] for key in ("q", "k", "v")}
    given |= loud | {"g": torch.full_like(given["g"], -79.5 / 64)}
    within_rounding(name, given, T=128)


@pytest.mark.parametrize("name", ["simple_gla", "gla", "ssd", "gated_delta_rule", "kda"])
def test_gate_gradients_of_a_scaled_loss(name):
    """GradScaler starts at 65,536; e^80 times a state times that must not meet before what makes it small again."""
    gradients = []
    for mode in ("recurrent", "chunk"):
        given = example(name, 256, 1.0, H=1, K=64, V=64)
        key = "dt" if name == "ssd" else "g"
        given[key] = torch.full_like(given[key], 1.0 if name == "ssd" else -1.24)
        if name == "ssd":
            given["A"] = torch.full_like(given["A"], -1.24)
        given[key].requires_grad_()
        o, _ = mixer(name).fn(**given, mode=mode)
        gradients.append(torch.autograd.grad(o.sum() * 65536, given[key])[0])
    assert gradients[1].isfinite().all()
    assert_within(gradients[1], gradients[0], 1e-3, gradients[0].abs().max())


def test_a_convolution_whose_powers_underflow():
    one = torch.ones(1, 1, dtype=torch.complex64)
    u, delta = torch.ones(1, 3, 1), torch.tensor([40.0])
    answers = [mixer("s4d").fn(u, delta, -0.5 * one, one, one, mode=mode)[0] for mode in mixer("s4d").forms]
    for o in answers:
        torch.testing.assert_close(o, torch.full_like(o, 4.0))
