"""Every attack of `course_lib.grading.attacks` succeeds against a naive grader, so that it is worth being tried."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import naive
import pytest

from course_lib.grading import attacks
from course_lib.grading.attacks import ATTACKS

BY_NAME = {attack.name: attack for attack in ATTACKS}
HABITS = sorted({attack.habit for attack in ATTACKS})
PATIENCE, IMPATIENCE = 60, 6  # seconds; the second where the naive grader should never deliver anything
HONEST = (
    "import torch\ndef running_mean(v): return torch.stack([v[: t + 1].mean(0) for t in range(len(v))])",
    attacks.CHOICES,
)


@pytest.fixture(scope="module")
def naively(tmp_path_factory):
    """What the naive grader delivers for each attack, and the words of its bait, which stays laid."""
    base = tmp_path_factory.mktemp("naive")
    with attacks.bait(base) as words:

        def run(number, grader):
            attack, folder = ATTACKS[number], base / str(number)
            seconds = IMPATIENCE if attack.shows == attacks.SILENCE else PATIENCE
            data = attack.data(words)
            return naively_graded(grader, folder, attack.habit, data, attack.student, seconds)

        yield dict(zip(BY_NAME, in_two_processes(run, range(len(ATTACKS))), strict=True)), words


@pytest.fixture(scope="module")
def honestly(tmp_path_factory):
    """What the naive grader delivers for an honest notebook, by habit."""
    base, data = tmp_path_factory.mktemp("honest"), attacks.notebook(HONEST)

    def run(habit, grader):
        return naively_graded(grader, base / habit, habit, data, "Ada Lovelace", PATIENCE).score

    return dict(zip(HABITS, in_two_processes(run, HABITS), strict=True))


def in_two_processes(run, items):
    """`run(item, grader)` of each item, two at a time."""
    free = SimpleQueue()

    def with_a_grader(item):
        grader = free.get()
        try:
            return run(item, grader)
        finally:
            free.put(grader)

    with naive.Grader() as one, naive.Grader() as other, ThreadPoolExecutor(2) as pool:
        free.put(one)
        free.put(other)
        return list(pool.map(with_a_grader, items))


def naively_graded(grader, folder, habit, data, student, seconds):
    folder.mkdir()
    (folder / "submission.ipynb").write_bytes(data)
    (folder / "student").write_bytes(os.fsencode(student))
    return grader.grade(habit, folder, seconds)


def succeeds(attack, outcome, words):
    """Whether an attack's success shows in what the naive grader delivers."""
    return {
        attacks.POINTS: lambda: outcome.score is not None and outcome.score > attack.fair[1],
        attacks.SILENCE: lambda: outcome.score is None,
        attacks.LEAK: lambda: attacks.tells_secret(outcome.feedback, words["WORD"]),
        attacks.MARKUP: lambda: attacks.has_markup(outcome.feedback) or attacks.has_formula(outcome.table),
        attacks.BULK: lambda: len(outcome.feedback) > attacks.BULK_CHARACTERS,
        attacks.TRACE: lambda: appears(f"{words['FOLDER']}/trace"),
    }[attack.shows]()


def appears(path, seconds=20):
    end = time.monotonic() + seconds
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.1)
    return os.path.exists(path)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_naive_grader_falls(naively, name):
    outcomes, words = naively
    outcome = outcomes[name]
    assert succeeds(BY_NAME[name], outcome, words), (outcome.score, outcome.feedback[:300])


@pytest.mark.parametrize("habit", HABITS)
def test_a_naive_grader_works_on_honest_notebooks(honestly, habit):
    asked = {"npload": 2, "second": 1, "course": 2}  # points of what these ask at all
    assert honestly[habit] == asked.get(habit, 3)
