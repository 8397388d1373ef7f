"""Every declared answer of every question, sent through the whole sandbox as a student's would be.

Right answers must earn full marks, named mistakes and answers that are too big less than full, and the
notebook as it was handed out nothing, without an error. One submission answers all questions of a chapter, so
a chapter takes as many submissions as its question with most answers has.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from course_lib import course
from course_lib.exercises.question import (
    ChoiceQuestion,
    CodeQuestion,
    NumberQuestion,
    Question,
    chapter_module,
)
from course_lib.grading import sandbox
from course_lib.grading.grade import Terms
from course_lib.grading.intake import Submission
from course_lib.grading.release import Release, code_cells
from course_lib.grading.run import Order, grade_all, quiet

FULL, LESS, NOTHING = "full marks", "less than full marks", "nothing"


@dataclass(frozen=True)
class Trial:
    """One answer of one question, and what it must earn."""

    question: str
    answer: str
    must_earn: str

    def holds(self, points: float, of: float) -> bool:
        """Whether these points are what it must earn."""
        return {FULL: points == of, LESS: points < of, NOTHING: points == 0}[self.must_earn]


def selftest(chapters: Sequence[str], jobs: int, seed: str = "selftest") -> list[str]:
    """Runs all trials of the chapters and prints what does not hold; returns it."""
    sandbox.require(unsafe=False)
    terms = Terms(seed)
    trials = {s.key: (s, tried) for chapter in chapters for s, tried in submissions(chapter, terms)}
    order = Order(Path(), Path(), jobs=jobs)
    waiting, faults = [s for s, _ in trials.values()], []
    with tqdm(total=len(waiting), desc="selftest", unit=" notebooks", disable=quiet()) as bar:
        for submission, result in grade_all(waiting, terms, order):
            faults += list(_faults(result, trials[submission.key][1]))
            bar.update()
    for fault in sorted(faults):
        print(fault)
    count = sum(len(tried) for _, tried in trials.values())
    print(f"{count} answers in {len(waiting)} notebooks: {len(faults)} do not earn what they should")
    return faults


def _faults(result: dict, tried: Sequence[Trial]) -> Iterator[str]:
    if result.get("fault"):
        yield f"{result['file']}: {result['fault']}"
        return
    found = {question["id"]: question for question in result["questions"]}
    for trial in tried:
        q = found[trial.question]
        if not trial.holds(q["points"], q["of"]):
            earned = f"{q['points']:g} of {q['of']:g}"
            yield f"{trial.question} {trial.answer}: {trial.must_earn} expected, {earned} earned: {q['message']}"


def submissions(chapter: str, terms: Terms) -> Iterator[tuple[Submission, list[Trial]]]:
    """The chapter as handed out, then notebooks that answer each question in every declared way."""
    released = terms.release(chapter)
    untouched = [Trial(q.id, "as handed out", NOTHING) for q in released.questions]
    path = course.notebooks_folder() / course.load().chapter(chapter).notebook
    yield _submission(chapter, "untouched", [source for source, _ in code_cells(path)]), untouched
    columns = [list(answers(question)) for question in released.questions]
    helpers = list(declarations(chapter))
    for i in range(max(map(len, columns))):
        row = [(q, c[i]) for q, c in zip(released.questions, columns, strict=True) if i < len(c)]
        cells = [_cell(released, question, code) for question, (_, code) in row]
        yield _submission(chapter, f"answers {i + 1}", helpers + cells), [trial for _, (trial, _) in row]


def answers(question: Question) -> Iterator[tuple[Trial, str]]:
    """Every declared answer of a question, as an expression."""
    if isinstance(question, CodeQuestion):
        right, wrong = [question.reference, *question.accepted], [*question.wrong, *question.too_big]
        for functions, earns in ((right, FULL), (wrong, LESS)):
            yield from ((Trial(question.id, fn.__name__, earns), fn.__name__) for fn in functions)
    elif isinstance(question, ChoiceQuestion):
        for key in sorted(question.options, key=lambda key: key != question.answer):
            yield Trial(question.id, f"option {key}", FULL if key == question.answer else NOTHING), repr(key)
    elif isinstance(question, NumberQuestion):
        yield Trial(question.id, "the number", FULL), repr(question.value())
        for slip, _ in question.slips():
            yield Trial(question.id, f"{slip:g}", NOTHING), repr(slip)


def declarations(chapter: str) -> Iterator[str]:
    """The statements of a chapter's module, one a cell: those that declare questions fail, and need not run."""
    text = inspect.getsource(chapter_module(chapter))
    for statement in ast.parse(text).body:
        yield ast.get_source_segment(text, statement) or ""


def _cell(released: Release, question: Question, code: str) -> str:
    name = released.names[question.id]
    return f'{name} = {code}\n\ncheck("{question.id}", {name})'


def _submission(chapter: str, student: str, sources: list[str]) -> Submission:
    return Submission(student, "", f"{chapter} {student}", "", chapter, tuple(sources))
