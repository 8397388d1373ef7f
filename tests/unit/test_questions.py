"""Every declared question of every chapter that is ready, held to what a question promises.

The stub is "not attempted"; the reference and each accepted answer earn full marks on visible and on hidden
cases; each named wrong answer is rejected with its own hint; answers that are too big fail a limit; and
every option is explained, every objective asked for.
"""

import random
import re
from collections.abc import Callable
from functools import cache
from itertools import combinations

import pytest

from course_lib import course
from course_lib.exercises.check import evaluate
from course_lib.exercises.compare import compare
from course_lib.exercises.question import (
    Case,
    ChoiceQuestion,
    CodeQuestion,
    Limit,
    NumberQuestion,
    Question,
    Shapes,
    chapter_questions,
    find,
)

SECRET = 20_260_811
LONGEST = 4096  # limits are scaled down to this length, with their bytes in proportion
SHORTEST_WHY = 40


@cache
def questions() -> list[Question]:
    return [question for chapter in course.load().ready for question in chapter_questions(chapter.number)]


def of_kind(kind: type[Question]) -> list:
    return [pytest.param(question, id=question.id) for question in questions() if isinstance(question, kind)]


def functions(field: str) -> list:
    code = [question for question in questions() if isinstance(question, CodeQuestion)]
    pairs = [(question, fn) for question in code for fn in getattr(question, field)]
    return [pytest.param(question, fn, id=f"{question.id}-{fn.__name__}") for question, fn in pairs]


def hidden_cases(question: CodeQuestion) -> list[Case]:
    """Hidden cases as the grader draws them, limits left to a test of their own."""
    rng = random.Random(SECRET)
    drawn = [entry.cases(rng) if isinstance(entry, Shapes) else [entry] for entry in question.hidden]
    return [case for cases in drawn for case in cases if not isinstance(case, Limit)]


def limits(question: CodeQuestion) -> list[Limit]:
    found = [case for case in (*question.visible, *question.hidden) if isinstance(case, Limit)]
    return [case.scaled(min(LONGEST, case.T)) for case in found]


def plain(question: CodeQuestion) -> list[Case]:
    return [case for case in question.visible if not isinstance(case, Limit)]


def test_there_are_questions() -> None:
    assert len(questions()) >= 3


def test_ids_are_unique_and_lead_back_to_their_question() -> None:
    ids = [question.id for question in questions()]
    assert len(set(ids)) == len(ids)
    for question in questions():
        assert find(question.id) is question


@pytest.mark.parametrize("chapter", [pytest.param(c, id=c.number) for c in course.load().ready])
def test_every_objective_has_a_question_and_every_question_an_objective(chapter: course.Chapter) -> None:
    asked = {question.objective for question in chapter_questions(chapter.number)}
    assert asked == {objective.id for objective in chapter.objectives}
    assert all(question.chapter == chapter.number for question in chapter_questions(chapter.number))


# Code


def stub(*arguments: object) -> None:
    raise NotImplementedError


@pytest.mark.parametrize("question", of_kind(Question))
def test_an_empty_answer_is_not_attempted(question: Question) -> None:
    empty = [..., stub] if isinstance(question, CodeQuestion) else [...]
    for answer in empty:
        report = evaluate(question, answer)
        assert (report.state, report.points) == ("not attempted", 0)


@pytest.mark.parametrize("question", of_kind(CodeQuestion))
def test_inputs_are_the_same_each_time(question: CodeQuestion) -> None:
    """A changed input is found by drawing it again, and the grader sends one draw and judges by another."""
    for case in (*question.visible, *hidden_cases(question)):
        once, again = (question.arguments(case) for _ in range(2))
        assert compare(once, again, 0.0) is None
    assert question.hidden, "the grader has no case of its own"


@pytest.mark.parametrize("question", of_kind(CodeQuestion))
def test_the_reference_earns_full_marks(question: CodeQuestion) -> None:
    _full_marks(question, question.reference)


@pytest.mark.parametrize(("question", "fn"), functions("accepted"))
def test_accepted_answers_earn_full_marks(question: CodeQuestion, fn: Callable) -> None:
    _full_marks(question, fn)


def _full_marks(question: CodeQuestion, fn: Callable) -> None:
    for cases in (plain(question), hidden_cases(question), limits(question)):
        report = evaluate(question, fn, cases)
        assert report.state == "passed", report.message
        assert report.points == question.points


@pytest.mark.parametrize(("question", "fn"), functions("wrong"))
def test_a_wrong_answer_gets_its_own_hint(question: CodeQuestion, fn: Callable) -> None:
    report = evaluate(question, fn, plain(question))
    assert (report.state, report.points) == ("failed", 0)
    assert report.message.endswith(f": {question.wrong[fn]}"), report.message


@pytest.mark.parametrize(("question", "fn"), functions("wrong"))
def test_a_wrong_answer_is_rejected_on_hidden_cases(question: CodeQuestion, fn: Callable) -> None:
    report = evaluate(question, fn, hidden_cases(question))
    assert report.state in ("failed", "raised"), "no hidden case tells this mistake from the right answer"


@pytest.mark.parametrize("question", of_kind(CodeQuestion))
def test_wrong_answers_differ_from_each_other_on_the_visible_cases(question: CodeQuestion) -> None:
    assert len(set(question.wrong.values())) == len(question.wrong)
    for one, other in combinations(question.wrong, 2):
        told_apart = any(_differ(question, case, one, other) for case in plain(question))
        assert told_apart, f"{one.__name__} and {other.__name__} give the same results"


def _differ(question: CodeQuestion, case: Case, one: Callable, other: Callable) -> bool:
    results = [fn(*question.arguments(case)) for fn in (one, other)]
    return compare(*results, question.tolerance(case)) is not None


@pytest.mark.parametrize(("question", "fn"), functions("too_big"))
def test_too_big_an_answer_fails_a_limit_and_nothing_else(question: CodeQuestion, fn: Callable) -> None:
    assert evaluate(question, fn, plain(question)).state == "passed"
    states = (evaluate(question, fn, [limit]).state for limit in limits(question))
    assert any(state in ("failed", "timeout") for state in states), "no limit stops this answer"


@pytest.mark.parametrize("question", of_kind(CodeQuestion))
def test_a_limit_has_something_to_stop(question: CodeQuestion) -> None:
    assert bool(limits(question)) == bool(question.too_big)
    assert all(case.hint for case in question.visible if isinstance(case, Limit))


# Choices and numbers


@pytest.mark.parametrize("question", of_kind(ChoiceQuestion))
def test_every_option_explains_itself(question: ChoiceQuestion) -> None:
    assert len(question.options) >= 2
    for key, option in question.options.items():
        assert len(option.why) >= SHORTEST_WHY, f"option {key} of {question.id}"
        report = evaluate(question, key)
        assert report.state == ("passed" if key == question.answer else "failed")
        assert report.message == f"{key}: {option.why}"
    assert len({option.text for option in question.options.values()}) == len(question.options)


@pytest.mark.parametrize("id", ["15.3", "15.6"])
def test_numbers_of_one_length_stand_under_each_other(id: str) -> None:
    """A browser folds plain spaces, and prose has letters of different widths."""
    rows = [line for line in find(id).question.splitlines() if line.startswith("`")]
    assert len(rows) > 1
    assert all(row.endswith("`") and " " not in row for row in rows)
    ends = [[m.end() for m in re.finditer(r"[\d.,]+(?=[\s`])", row)][-5:] for row in rows]
    assert ends.count(ends[0]) == len(rows)


@pytest.mark.parametrize("question", of_kind(ChoiceQuestion))
def test_no_wrong_option_names_the_right_letter(question: ChoiceQuestion) -> None:
    for key, option in question.options.items():
        assert key == question.answer or f"option {question.answer}" not in option.why


@pytest.mark.parametrize("question", of_kind(NumberQuestion))
def test_a_number_is_right_and_its_slips_are_wrong(question: NumberQuestion) -> None:
    assert evaluate(question, question.value()).state == "passed"
    assert question.wrong
    for slip, hint in question.slips():
        report = evaluate(question, slip)
        assert (report.state, report.message) == ("failed", hint)
