"""Cases: equal sizes give equal inputs, secret shapes come from one seed, and limits scale with T."""

import pickle
import random

import pytest
import torch

from course_lib.exercises.question import Case, Limit, Shapes


def test_extras_read_like_letters() -> None:
    case = Case("ragged", T=13, C=4)
    assert (case.T, case.C, case.extra) == (13, 4, {"C": 4})
    assert case.sizes() == {"B": 1, "T": 13, "H": 1, "K": 4, "V": 4, "C": 4}
    with pytest.raises(AttributeError, match="a case has no 'window'; it has B, T, H, K, V, seed, dtype, C"):
        _ = case.window


def test_a_case_is_frozen_hashable_and_survives_pickling() -> None:
    case = Case("ragged", T=13, C=4)
    with pytest.raises(AttributeError):
        case.T = 5
    assert len({case, Case("ragged", T=13, C=4), Case("ragged", T=13, C=5)}) == 2
    assert pickle.loads(pickle.dumps(case)) == case


def test_the_generator_depends_on_the_seed_alone() -> None:
    first, again, other = (torch.randn(3, generator=Case("x", seed=s).generator()) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [0, -1, 2.5, "4"])
def test_sizes_are_whole_numbers_from_one(size: object) -> None:
    with pytest.raises(ValueError, match="T of case 'x'"):
        Case("x", T=size)


def test_hidden_shapes_come_from_one_seed() -> None:
    shapes = Shapes(5, T=(3, 9), K=4, C=[2, 16])
    drawn = shapes.cases(random.Random(1))
    assert drawn == shapes.cases(random.Random(1)) != shapes.cases(random.Random(2))
    assert [case.name for case in drawn] == [f"hidden {i}" for i in range(1, 6)]
    assert all(3 <= case.T <= 9 and case.K == 4 and case.C in (2, 16) for case in drawn)
    assert len({case.seed for case in drawn}) == 5


def test_both_ends_of_a_range_are_drawn() -> None:
    lengths = {case.T for case in Shapes(60, T=(1, 3)).cases(random.Random(0))}
    assert lengths == {1, 2, 3}


def test_a_scaled_limit_keeps_its_proportions() -> None:
    limit = Limit("long", T=4000, K=8, V=8, cpu_seconds=20, gigabytes=0.4, hint="one state", C=16, seed=3)
    small = limit.scaled(1000)
    assert (small.T, small.cpu_seconds, small.gigabytes) == (1000, 20, 0.1)
    assert (small.K, small.C, small.seed, small.dtype, small.hint) == (8, 16, 3, torch.float32, "one state")
