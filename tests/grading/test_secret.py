"""The cases that answers are graded on: fixed by the seed, unlike what students saw, and named without data."""

from __future__ import annotations

import pytest
import torch

from course_lib import course
from course_lib.exercises.cases import Case, Limit, Shapes
from course_lib.exercises.compare import compare
from course_lib.exercises.question import CodeQuestion, chapter_questions
from course_lib.grading.secret import graded_cases

CODE = [
    question
    for chapter in course.load().ready
    for question in chapter_questions(chapter.number)
    if isinstance(question, CodeQuestion)
]


def question(**changes: object) -> CodeQuestion:
    """A question with a visible case, a limit between its hidden cases, and random shapes."""
    declared = {
        "id": "08.1",
        "objective": "o",
        "title": "t",
        "points": 1,
        "minutes": 1,
        "difficulty": 1,
        "inputs": lambda case, rng: (torch.randn(case.T, case.V, generator=rng),),
        "reference": lambda v: v,
        "visible": [Case("seen", T=3, V=2)],
        "hidden": [
            Limit("long", T=50, K=1, V=1, cpu_seconds=1, gigabytes=1),
            Case("fixed", T=7, V=2),
            Shapes(3),
        ],
    }
    return CodeQuestion(**(declared | changes))


@pytest.mark.parametrize("q", CODE, ids=lambda q: q.id)
def test_every_question_of_the_course_has_secret_cases_that_the_seed_fixes(q):
    first, again, other = (graded_cases(q, seed) for seed in ("seed one", "seed one", "seed two"))
    assert first
    assert first == again
    assert [g.label for g in first] == [g.label for g in other]
    ordinary = [(g.case, h.case) for g, h in zip(first, other, strict=True) if not isinstance(g.case, Limit)]
    assert all(a != b for a, b in ordinary)


@pytest.mark.parametrize("q", CODE, ids=lambda q: q.id)
def test_no_secret_input_of_the_course_is_one_that_students_saw(q):
    seen = [q.arguments(case) for case in q.visible if not isinstance(case, Limit)]
    secret = [g.case for g in graded_cases(q, "a seed") if not isinstance(g.case, Limit)]
    assert not any(
        compare(q.arguments(case), arguments, 0.0) is None
        for case in secret
        for arguments in seen
        if _numbers(arguments) > 4
    )


def _numbers(arguments: tuple) -> int:
    """How many numbers there are: of two or three, any two cases may agree."""
    return sum(value.numel() for value in arguments if isinstance(value, torch.Tensor))


def test_other_questions_get_other_numbers_from_one_seed():
    one, two = graded_cases(question(), "seed"), graded_cases(question(id="08.2"), "seed")
    assert one[0].case.seed != two[0].case.seed


def test_limits_come_last_and_labels_hold_no_sizes():
    found = graded_cases(question(), "seed")
    assert [g.label for g in found] == [*(f"case {i}" for i in range(1, 6)), "limit: long"]
    assert isinstance(found[-1].case, Limit)


def test_a_visible_case_keeps_its_sizes_and_gets_new_numbers():
    q = question(hidden=())
    (secret,) = graded_cases(q, "seed")
    assert secret.case.sizes() == q.visible[0].sizes()
    assert not torch.equal(q.arguments(secret.case)[0], q.arguments(q.visible[0])[0])


def test_a_visible_case_of_plain_sizes_is_left_out():
    q = question(inputs=lambda case, rng: (case.T, case.V), hidden=[Case("other", T=9)])
    assert [g.case.T for g in graded_cases(q, "seed")] == [9]


def test_a_question_with_no_secret_case_is_refused():
    q = question(inputs=lambda case, rng: (case.T,), hidden=())
    with pytest.raises(ValueError, match=r"08\.1 has no case"):
        graded_cases(q, "seed")
