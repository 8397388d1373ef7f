"""Every attack gets its fair score from the grader. (That it would succeed against a naive one: tests/slow.)"""

import pytest

from course_lib.grading import attacks
from course_lib.grading.attacks import ATTACKS

BY_NAME = {attack.name: attack for attack in ATTACKS}


@pytest.fixture(scope="module")
def graded():
    """The grader's outcomes by name."""
    return {outcome.attack.name: outcome for outcome in attacks.run_attacks(2)}


def test_names_are_unique():
    assert len(BY_NAME) == len(ATTACKS)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_grader_is_fair(graded, name):
    assert graded[name].faults == ()


def test_nothing_is_left_behind(graded):
    assert set(graded) == set(BY_NAME)
