"""From what an answer returned to a verdict, and from the verdicts of all cases to one message.

A wrong result is first held against the named wrong answers, since their hints say most; only then is it
described by its structure, shape, precision, NaN, or by where it first goes wrong. A named wrong answer is
believed only where it differs from the right one, and preferred when it explains every case.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from course_lib.exercises.attempt import Attempt, attempt
from course_lib.exercises.cases import Case, Limit
from course_lib.exercises.compare import compare, loosen
from course_lib.exercises.question import CodeQuestion


@dataclass(frozen=True)
class Verdict:
    """One case's outcome. `state`: passed, failed, raised, timeout or not attempted. `matches`: wrong answers
    it equals. `kind`: what a failed value differs in, see `compare.Difference`.
    """

    case: Case
    state: str
    message: str = ""
    matches: tuple[Callable, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Report:
    """An answer's outcome over its cases, or for a choice or number its one outcome (`total` is then 0)."""

    id: str
    state: str
    message: str = ""
    passed: int = 0
    total: int = 0
    points: float = 0
    of: float = 0


def judge(question: CodeQuestion, case: Case, value: object, expected: object = None) -> Verdict:
    """Whether `value` is right for `case`. The grader calls this with values that came out of its sandbox, and
    with the `expected` result where it has it already.
    """
    expected = question.expected(case) if expected is None else expected
    rtol = question.tolerance(case)
    try:
        difference = compare(value, expected, rtol, case, question.outputs)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - an object that claims to be what it is not; ours to survive
        return Verdict(case, "failed", f"a {type(value).__name__} came back that cannot be compared.")
    if difference is None:
        return Verdict(case, "passed")
    return Verdict(case, "failed", difference.message, _matches(question, case, value, rtol), difference.kind)


def _matches(question: CodeQuestion, case: Case, value: object, rtol: float) -> tuple[Callable, ...]:
    """The named wrong answers that give `value` and not the right result; on a Limit none is tried, since it
    may be a large one.

    A float32 value is compared at float32's accuracy, where a wrong answer must still differ from the right one.
    """
    if isinstance(case, Limit):
        return ()
    rtol, expected = loosen(rtol, value, case.dtype), question.expected(case)
    alike = (wrong for wrong in question.wrong if _equals(wrong, question, case, value, rtol))
    return tuple(wrong for wrong in alike if not _equals(wrong, question, case, expected, rtol))


def _equals(wrong: Callable, question: CodeQuestion, case: Case, value: object, rtol: float) -> bool:
    try:
        with torch.no_grad():
            return compare(value, wrong(*question.arguments(case)), rtol) is None
    except Exception:  # noqa: BLE001 - a wrong answer that fails here explains no result
        return False


def try_case(question: CodeQuestion, case: Case, answer: Callable) -> Verdict:
    """Run `answer` on a case and judge what came back."""
    outcome: Attempt = attempt(question, case, answer)
    if outcome.state == "returned":
        return judge(question, case, outcome.value)
    return Verdict(case, outcome.state, outcome.message)


def try_cases(question: CodeQuestion, answer: Callable, cases: Sequence[Case]) -> Report:
    """Run `answer` on the cases in order. A time-out ends the trial: the other cases would wait as well."""
    verdicts = []
    for case in cases:
        verdicts.append(try_case(question, case, answer))
        if verdicts[-1].state in ("not attempted", "timeout"):
            break
    return summarise(question, verdicts, len(cases))


def summarise(question: CodeQuestion, verdicts: Sequence[Verdict], total: int) -> Report:
    """One report: the state and message of the first case that is not passed."""
    passed = sum(verdict.state == "passed" for verdict in verdicts)
    first = next((v for v in verdicts if v.state != "passed"), None)
    if first is None:
        return Report(question.id, "passed", "", passed, total, question.points, question.points)
    if first.state == "not attempted":
        return Report(question.id, "not attempted", of=question.points)
    case, message = _explain(question, verdicts, first)
    return Report(question.id, first.state, f"{case.name}: {message}", passed, total, 0, question.points)


def _explain(question: CodeQuestion, verdicts: Sequence[Verdict], first: Verdict) -> tuple[Case, str]:
    """A named wrong answer's hint if one fits, the first failing case's own message otherwise."""
    if not first.matches:
        return first.case, first.message
    everywhere = [wrong for wrong in first.matches if all(_fits(wrong, question, v) for v in verdicts)]
    return first.case, question.wrong[(everywhere or first.matches)[0]]


def _fits(wrong: Callable, question: CodeQuestion, verdict: Verdict) -> bool:
    """Whether a wrong answer would have had this verdict: right where the student's is, else equal to it."""
    if isinstance(verdict.case, Limit):
        return True
    if verdict.state != "passed":
        return wrong in verdict.matches
    expected, rtol = question.expected(verdict.case), question.tolerance(verdict.case)
    return _equals(wrong, question, verdict.case, expected, rtol)
