"""`check`, `ask` and `score`: what a student calls. None of them ever raises, whatever is handed in.

A notebook runs from top to bottom before anything is solved, so an unsolved, wrong or crashing answer is
shown and noted, and the next cell runs. `evaluate` is the same judgement without display or saving.
"""

from collections.abc import Sequence

from course_lib import course
from course_lib.exercises import progress
from course_lib.exercises.cases import Case
from course_lib.exercises.display import Message, card, line, show_safely, table
from course_lib.exercises.judge import Report, try_cases
from course_lib.exercises.predict import as_number, show_value
from course_lib.exercises.question import (
    ChoiceQuestion,
    CodeQuestion,
    NumberQuestion,
    Question,
    chapter_questions,
    find,
)

SYMBOLS = {"passed": "✓", "failed": "✗", "raised": "✗", "timeout": "✗", "not attempted": ""}


def check(id: str, answer: object) -> None:
    """Judge an answer to a question, show the result and note it in progress.json."""
    show_safely(lambda: _check(id, answer))


def ask(id: str) -> None:
    """Show a question: title, minutes, difficulty, points, objective, and for a choice its options."""
    show_safely(lambda: _question_card(find(_id(id))))


def score(chapter: str) -> None:
    """Show the table of a chapter's questions with their states and points, and note it in progress.json."""
    show_safely(lambda: _score_table(f"{chapter:02d}" if isinstance(chapter, int) else str(chapter)))


# check


def _check(id: str, answer: object) -> Message:
    question = find(_id(id))
    report = evaluate(question, answer)
    notes = progress.record(report.id, report.state, report.points, report.of)
    return report_line(report, notes)


def _id(id: object) -> str:
    if not isinstance(id, str):
        raise LookupError('the question\'s id comes first, in quotes: check("08.2", your_answer)')
    return id.strip()


def report_line(report: Report, notes: Sequence[str] = ()) -> Message:
    """`08.2  ✗ 1 of 3 cases   ragged: …`"""
    if report.state == "not attempted":
        return line(report.id, "", "not attempted yet", report.message, notes)
    status = f"{report.passed} of {report.total} cases" if report.total else ""
    return line(report.id, SYMBOLS[report.state], status, report.message, notes)


def evaluate(question: Question, answer: object, cases: Sequence[Case] | None = None) -> Report:
    """Judge an answer. Code runs on `cases`, by default the visible ones."""
    if answer is ... or answer is None:
        return Report(question.id, "not attempted", of=question.points)
    if isinstance(question, CodeQuestion):
        return _evaluate_code(question, answer, question.visible if cases is None else cases)
    if isinstance(question, ChoiceQuestion):
        return _evaluate_choice(question, answer)
    return _evaluate_number(question, answer)


def _single(question: Question, right: bool, message: str) -> Report:
    points = question.points if right else 0
    return Report(question.id, "passed" if right else "failed", message, points=points, of=question.points)


def _evaluate_code(question: CodeQuestion, answer: object, cases: Sequence[Case]) -> Report:
    if not callable(answer):
        kind = type(answer).__name__
        message = f"hand over the function itself, without calling it: a value of type {kind} came."
        return _single(question, False, message)
    return try_cases(question, answer, cases)


def _evaluate_choice(question: ChoiceQuestion, answer: object) -> Report:
    keys = {key.casefold(): key for key in question.options}
    key = keys.get(answer.strip(" ().").casefold()) if isinstance(answer, str) else None
    if key is None:
        return _single(
            question, False, f"answer with one of {', '.join(map(repr, question.options))}, in quotes."
        )
    return _single(question, key == question.answer, f"{key}: {question.options[key].why}")


def _evaluate_number(question: NumberQuestion, answer: object) -> Report:
    try:
        number = as_number(answer)
    except (TypeError, ValueError) as error:
        return _single(question, False, f"{error}.")
    came = f"{show_value(number)} {question.unit}".strip()
    if _near(number, question.value(), question.rtol):
        return _single(question, True, came)
    hints = [hint for wrong, hint in question.slips() if _near(number, wrong, question.rtol)]
    unit = f" Is your number in {question.unit}?" if question.unit else ""
    plain = f"{came}: not within {100 * question.rtol:g} % of the answer.{unit}"
    return _single(question, False, hints[0] if hints else plain)


def _near(number: float, target: float, rtol: float) -> bool:
    return abs(number - target) <= rtol * abs(target)


# ask


def _question_card(question: Question) -> Message:
    paragraphs = [] if isinstance(question, CodeQuestion) else [question.question]
    options = []
    if isinstance(question, ChoiceQuestion):
        options = [(key, option.text) for key, option in question.options.items()]
    if isinstance(question, NumberQuestion) and question.unit:
        paragraphs.append(f"Answer with a number, in {question.unit}.")
    return card(f"{question.id} · {question.title}", _facts(question), paragraphs, options)


def _facts(question: Question) -> str:
    minutes = f"{question.minutes} minute{'s' if question.minutes != 1 else ''}"
    dots = "●" * question.difficulty + "○" * (3 - question.difficulty)
    return f"{minutes} · difficulty {dots} · {_points(question.points)} · objective: {_objective(question)}"


def _points(points: float) -> str:
    return f"{points:g} point{'s' if points != 1 else ''}"


def _objective(question: Question) -> str:
    """The objective's sentence from the concept graph, or its id where the graph does not have it."""
    chapters = [c for c in course.load().chapters if c.number == question.chapter]
    texts = {objective.id: objective.text for chapter in chapters for objective in chapter.objectives}
    return texts.get(question.objective, question.objective)


# score


def _score_table(chapter: str) -> Message:
    questions = chapter_questions(chapter)

    def change(data: progress.Data) -> None:
        for q in questions:
            data["answers"].setdefault(q.id, {"state": "not attempted", "points": 0, "of": q.points})

    data, notes = progress.update(change)
    rows = [_score_row(question, data["answers"][question.id]) for question in questions]
    reached = sum(_reached(question, data["answers"][question.id]) for question in questions)
    rows.append(["", "total", "", f"{reached:g} of {sum(q.points for q in questions):g}", ""])
    local = "A local score: it comes from the visible cases. The grader draws others."
    return table(
        f"Chapter {chapter}", ("question", "title", "state", "points", "objective"), rows, [local, *notes]
    )


def _score_row(question: Question, entry: dict) -> list[str]:
    state = _state(entry)
    label = f"{SYMBOLS[state]} {state}".strip()
    points = f"{_reached(question, entry):g} of {question.points:g}"
    return [question.id, question.title, label, points, _objective(question)]


def _state(entry: dict) -> str:
    state = entry.get("state")
    return state if isinstance(state, str) and state in SYMBOLS else "not attempted"


def _reached(question: Question, entry: dict) -> float:
    return question.points if _state(entry) == "passed" else 0
