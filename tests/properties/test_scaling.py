"""Scaling on curves whose truth is known: exponents, crossings and their intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.timing import Sweep, environment
from course_lib.timing.scaling import Scaling

LENGTHS = [2**i for i in range(6, 14)]
HERE = environment()


def simulated(curves, lengths=LENGTHS, noise=0.1, n=7, seed=0):
    """A sweep of made-up samples: curve(T) times log-normal noise."""
    generator = np.random.default_rng(seed)
    samples = {
        name: {T: tuple(f(T) * np.exp(noise * generator.standard_normal(n))) for T in lengths}
        for name, f in curves.items()
    }
    return Sweep("made up", "time", samples, {}, HERE, "given")


@given(st.sampled_from([1, 2]), st.floats(1e-9, 1e-6), st.integers(0, 2**32))
def test_an_exponent_is_recovered_under_noise_and_a_constant_overhead(p, c, seed):
    """The overhead is as large as the shortest call, so the last three points are hardly touched by it."""
    taken = simulated({"a": lambda T: c * (64**p + T**p)}, seed=seed)
    found = Scaling(taken).exponent("a")
    assert abs(found.value - p) < 0.25
    assert found.low <= found.value <= found.high


def test_the_interval_of_an_exponent_covers_the_truth():
    """A 95 % interval, on 200 sweeps: 90 % at least."""
    covered = 0
    for seed in range(200):
        found = Scaling(simulated({"a": lambda T: 1e-6 * T**1.5}, seed=seed)).exponent("a")
        covered += found.low <= 1.5 <= found.high
    assert covered >= 180


@pytest.mark.parametrize("crossing", [100, 300, 1000, 3000])
def test_the_interval_of_a_crossing_covers_the_truth(crossing):
    curves = {"linear": lambda T: 1e-6 * crossing * T, "quadratic": lambda T: 1e-6 * T * T}
    covered = 0
    for seed in range(100):
        found = Scaling(simulated(curves, seed=seed)).crossover("quadratic", "linear")
        covered += found.T is not None and found.low <= crossing <= found.high
    assert covered >= 90


@pytest.mark.parametrize("ratio", [1.0, 1.02, 1.5, 4.0])
def test_no_crossing_is_invented(ratio):
    """Two curves that never meet, or are the same."""
    curves = {"a": lambda T: 1e-6 * T, "b": lambda T: ratio * 1e-6 * T}
    for seed in range(100):
        found = Scaling(simulated(curves, seed=seed)).crossover("a", "b")
        assert found.T is None
        assert "not within the measured range" in str(found)


@given(st.floats(50, 8000), st.integers(0, 2**32))
def test_who_is_called_first_does_not_matter(crossing, seed):
    curves = {"a": lambda T: 1e-6 * crossing * T, "b": lambda T: 1e-6 * T * T}
    taken = Scaling(simulated(curves, seed=seed))
    one, other = taken.crossover("a", "b"), taken.crossover("b", "a")
    assert (one.T is None) == (other.T is None)
    if one.T is not None:
        assert pytest.approx(other.T) == one.T
        assert one.low <= one.T <= one.high


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_extrapolation_holds_its_truth_and_warns_far_out(seed):
    taken = Scaling(simulated({"a": lambda T: 1e-6 * T**2}, seed=seed, noise=0.05))
    near, far = taken.extrapolate("a", 4 * LENGTHS[-1]), taken.extrapolate("a", 5 * LENGTHS[-1])
    assert not near.warning
    assert "more than 4 times the longest measured T = 8,192" in far.warning
    assert near.low < near.value < near.high
    truth = 1e-6 * near.T**2
    assert near.low / 1.25 < truth < near.high * 1.25


def test_local_exponents_and_residuals_show_what_a_fit_hides():
    curve = {"a": lambda T: 1e-6 * (1000 * T + T * T)}
    taken = Scaling(simulated(curve, noise=0.0), last=None)
    local = list(taken.local_exponents("a").values())
    assert local == sorted(local)
    assert local[0] == pytest.approx(1, abs=0.1)
    assert local[-1] == pytest.approx(2, abs=0.15)
    residuals = list(taken.residuals("a").values())
    assert residuals[0] > 1
    assert residuals[3] < 1
    assert residuals[-1] > 1


def test_the_same_seed_gives_the_same_numbers_and_errors_name_the_curve():
    taken = simulated({"a": lambda T: T})
    assert Scaling(taken).exponent("a") == Scaling(taken).exponent("a")
    assert Scaling(taken, seed=1).exponent("a").low != Scaling(taken).exponent("a").low
    for call in (Scaling(taken).exponent, Scaling(taken).local_exponents, Scaling(taken).residuals):
        with pytest.raises(ValueError, match="no curve 'b' was measured; there are a"):
            call("b")
    with pytest.raises(ValueError, match="T is 0; expected a length of 1 or more"):
        Scaling(taken).extrapolate("a", 0)
    one_point = simulated({"a": lambda T: T}, lengths=[64])
    with pytest.raises(ValueError, match="has 1 points above 0; a slope needs 2"):
        Scaling(one_point).exponent("a")


def test_a_scaling_is_a_table():
    taken = Scaling(simulated({"a": lambda T: T, "b": lambda T: T * T}))
    assert len(str(taken).splitlines()) == 3
    assert taken._repr_html_().count("<tr>") == 3
    assert set(taken.to_dict()) == {"a", "b"}


def test_a_tie_between_two_leaders_is_passed_over():
    steady = {
        "a": dict(zip((128, 256, 512), (1.0, 2.0, 8.0), strict=True)),
        "b": {128: 1.5, 256: 2.0, 512: 3.0},
    }
    taken = simulated(
        {name: lambda T, curve=curve: curve[T] for name, curve in steady.items()}, (128, 256, 512), 0.0
    )
    found = Scaling(taken).crossover("a", "b")
    assert 128 < found.T < 512
    assert found.low == pytest.approx(found.T)
    same = simulated({"a": lambda T: T, "b": lambda T: T}, noise=0.0)
    assert Scaling(same).crossover("a", "b").T is None
