"""From a submission to its points: what a cell or a case costs that ends the sandbox, and what is told of it."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from course_lib.exercises.cases import Case, Limit, Shapes
from course_lib.exercises.question import CodeQuestion, NumberQuestion
from course_lib.grading import grade as grading
from course_lib.grading import run as runner
from course_lib.grading.grade import Result, Terms
from course_lib.grading.intake import Submission
from course_lib.grading.release import Release
from course_lib.grading.run import Order
from course_lib.grading.sandbox import Limits, RefusedError

LIMITS = Limits(cell_seconds=2, case_seconds=1)


def draw(case: Case, rng: torch.Generator) -> tuple[torch.Tensor]:
    return (torch.rand(case.T, generator=rng, dtype=case.dtype),)


def double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def triple(x: torch.Tensor) -> torch.Tensor:
    return 3 * x


def question(id: str, limited: bool = False, **options: object) -> CodeQuestion:
    """A function that doubles, with four secret cases of at least 3 numbers, or with one limit."""
    hidden = (
        [Limit("large", T=1000, K=1, V=1, cpu_seconds=1, gigabytes=0.05)]
        if limited
        else [Shapes(3, T=(3, 9))]
    )
    common = {"objective": "o", "title": f"Question {id}", "points": 4, "minutes": 1, "difficulty": 1}
    return CodeQuestion(
        **common
        | {"id": id, "inputs": draw, "reference": double, "visible": [Case("visible", T=4)]}
        | {"hidden": hidden, "wrong": {triple: "Two, not three."}}
        | options
    )


NUMBER = NumberQuestion(
    **{"id": "08.3", "objective": "o", "title": "A number", "points": 1, "minutes": 1, "difficulty": 1},
    question="How many?",
    answer=42,
)


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Grades cells as a chapter with these questions; f and g answer 08.1 and 08.2."""

    def run(*cells: str, questions: tuple = (question("08.1"),), **limits: object) -> Result:
        released = Release("08", questions, {"08.1": "f", "08.2": "g", "08.3": "n"}, frozenset(), frozenset())
        monkeypatch.setattr(Terms, "release", lambda self, chapter: released)
        submission = Submission("a", "", "a.ipynb", "", "08", ("import os, torch", *cells))
        return grading.grade(submission, Terms("a secret seed", limits=replace(LIMITS, **limits)))

    return run


RIGHT = "def f(x):\n    return 2 * x"
OTHER = "def g(x):\n    return x + x"
KILLS = "os._exit(1)"


def test_a_right_answer_earns_everything_and_a_missing_one_nothing(graded) -> None:
    result = graded(RIGHT, questions=(question("08.1"), question("08.2")))
    first, second = result.questions
    assert (first.points, first.state, first.message) == (4, "passed", "")
    assert (second.points, second.state) == (0, "missing")
    assert "nowhere" in second.message


def test_a_cell_that_ends_the_sandbox_is_left_out_and_costs_nothing_else(graded) -> None:
    result = graded(RIGHT, KILLS, OTHER, questions=(question("08.1"), question("08.2")))
    assert [q.points for q in result.questions] == [4, 4]
    assert len(result.trouble) == 1
    assert "code cell 3 was left out" in result.trouble[0]


def test_an_answer_defined_in_the_cell_that_ends_the_sandbox_is_missing(graded) -> None:
    result = graded(f"{RIGHT}\n{KILLS}")
    assert (result.questions[0].points, result.questions[0].state) == (0, "missing")
    assert "left out" in result.questions[0].message


def test_a_case_that_ends_the_sandbox_costs_itself(graded) -> None:
    cells = "calls = []\ndef f(x):\n    if len(x) == 4: os._exit(1)\n    return 2 * x", OTHER
    sizes = [Case("visible", T=4), Case("larger", T=5)]
    result = graded(*cells, questions=(question("08.1", visible=sizes), question("08.2")))
    first, second = result.questions
    ended = [case for case in first.cases if "the process ended" in case.message]
    assert 0 < first.points < 4
    assert {case.state for case in ended} == {"failed"}
    assert first.points == round(4 * (1 - len(ended) / len(first.cases)), 2)
    assert second.points == 4


def test_an_answer_that_always_ends_the_sandbox_leaves_restarts_to_the_others(graded, monkeypatch) -> None:
    monkeypatch.setattr(grading, "MAX_ENDS", 2)
    deadly = question("08.1", hidden=[Shapes(9)])
    result = graded("def f(x):\n    os._exit(1)", OTHER, questions=(deadly, question("08.2")))
    first, second = result.questions
    tried = [case for case in first.cases if "not tried" not in case.message]
    assert (first.points, len(tried), len(first.cases)) == (0, 2, 10)
    assert second.points == 4


def test_after_a_time_out_the_question_is_over(graded) -> None:
    result = graded("def f(x):\n    while True: pass", OTHER, questions=(question("08.1"), question("08.2")))
    first, second = result.questions
    assert [case.state for case in first.cases] == ["timeout", "failed", "failed", "failed"]
    assert {case.message for case in first.cases[1:]} == {grading.WAITED}
    assert (first.points, second.points) == (0, 4)


def test_a_notebook_that_takes_too_much_in_all_is_given_up(graded) -> None:
    result = graded(KILLS, RIGHT, submission_seconds=0.1)
    assert result.questions[0].points == 0
    assert "not tried" in result.questions[0].message


# Limits

LARGE = question("08.1", limited=True)
LIMITED = """
def f(x):
    if len(x) == 1000:
        work()
    return 2 * x
"""


def test_a_limit_that_is_kept_is_passed(graded) -> None:
    assert graded("def work(): pass", LIMITED, questions=(LARGE,)).questions[0].points == 4


@pytest.mark.parametrize(
    ("work", "word"),
    [
        ("x = torch.ones(200_000_000, dtype=torch.uint8)", "memory"),
        ("while True: pass", "time"),
        (
            "open('/tmp/large', 'wb').write(bytes(60_000_000)); open('/tmp/x', 'wb').write(bytes(60_000_000))",
            "memory",
        ),
    ],
)
def test_a_limit_that_is_broken_is_failed(graded, work: str, word: str) -> None:
    result = graded(f"def work():\n    {work}", LIMITED, questions=(LARGE,)).questions[0]
    assert result.cases[-1].label == "limit: large"
    assert word in result.cases[-1].message
    assert 0 < result.points < 4


def test_room_made_beforehand_counts(graded) -> None:
    held = "room = torch.ones(600_000_000, dtype=torch.uint8)\ndef work(): room.add_(1)"
    assert "memory" in graded(held, LIMITED, questions=(LARGE,)).questions[0].cases[-1].message


def test_a_limit_that_fails_by_what_was_freed_before_gets_a_second_trial(graded, monkeypatch) -> None:
    trials = []
    call = grading._Run._call

    def watched(self, asked, name, case):
        trials.append((type(case).__name__, self.sparing))
        return call(self, asked, name, case)

    monkeypatch.setattr(grading._Run, "_call", watched)
    holes = "def work():\n    if 'MALLOC_MMAP_THRESHOLD_' not in os.environ: raise MemoryError"
    result = graded(holes, LIMITED, questions=(LARGE,)).questions[0]
    assert [sparing for kind, sparing in trials if kind == "Limit"] == [False, True]
    assert result.points == 4


def test_the_second_trial_is_given_no_more_seconds(graded) -> None:
    trick = """
    import time
    def work():
        if 'MALLOC_MMAP_THRESHOLD_' not in os.environ: raise MemoryError
        end = time.process_time() + 1.6
        while time.process_time() < end: pass
    """
    result = graded("\n".join(row[4:] for row in trick.splitlines()), LIMITED, questions=(LARGE,))
    assert result.questions[0].cases[-1].state == "timeout"


# What is told


def test_a_visible_case_is_told_in_full_and_a_secret_one_by_its_kind(graded) -> None:
    told = graded("def f(x):\n    raise ValueError(f'my own {len(x)}')").questions[0]
    assert "ValueError: my own 4" in told.message
    assert {case.message for case in told.cases} == {"your code raised ValueError."}
    knows = "def f(x):\n    if len(x) == 4 and not calls: return calls.append(1) or 2 * x\n"
    leak = f"calls = []\n{knows}    raise type('E%d' % (1e6 * x[0]), (Exception,), {{}})(x.tolist())"
    hidden = graded(leak).questions[0]
    assert {case.message for case in hidden.cases} == {"your code raised an error of its own."}
    assert hidden.message == "case 1: your code raised an error of its own."


def test_a_named_mistake_gets_its_hint_and_others_their_kind(graded) -> None:
    answers = "[2 * x, 3 * x, x[1:], x - 1, x / 0]"
    cell = f"calls = []\ndef f(x):\n    calls.append(1)\n    return {answers}[len(calls) - 1]"
    result = graded(cell).questions[0]
    kinds = [grading.HIDDEN_WORDS[kind] for kind in ("shape", "value", "nonfinite")]
    assert [case.message for case in result.cases] == ["Two, not three.", *kinds]
    assert result.message == "case 1: Two, not three."


def test_an_answer_to_another_question_cannot_carry_a_secret_case_out(graded) -> None:
    spy = "n = 0\ndef f(x):\n    global n\n    n = float(x[0])\n    return 2 * x"
    first, number = graded(spy, questions=(question("08.1"), NUMBER)).questions
    assert first.points == 4
    assert number.message.startswith("0:")  # as the cells left it: it was taken before any case had run


# Runs


def test_a_result_without_all_questions_is_not_done(tmp_path, monkeypatch) -> None:
    released = SimpleNamespace(questions=(question("08.1"), question("08.2")))
    monkeypatch.setattr(Terms, "release", lambda self, chapter: released)
    submission, terms = Submission("a", "", "a.ipynb", "", "08", ("pass",)), Terms("a secret seed")
    order = Order(tmp_path, tmp_path)
    for ids, done in ((["08.1"], False), (["08.1", "08.2"], True)):
        result = {"questions": [{"id": id} for id in ids]}
        runner._keep(result, submission, terms, order, tmp_path)
        assert runner._graded(submission, order, terms, tmp_path) is done


def test_a_sandbox_that_does_not_start_is_nobodys_fault(graded, monkeypatch) -> None:
    monkeypatch.setattr("course_lib.grading.sandbox.sys.executable", "/usr/bin/nowhere")
    with pytest.raises(RefusedError, match="does not start"):
        graded(RIGHT)


def test_the_same_seed_gives_the_same_cases() -> None:
    one, two, other = (
        grading.secret_cases.__wrapped__(seed, question("08.1"))
        for seed in ("seed one", "seed one", "seed two")
    )
    assert one == two != other
