"""Run a student's function on one case, and say how that ended.

Nothing the function does gets out, except the student's own Ctrl-C. An error is told the way a helpful
neighbour would: its type and message, and the line of the student's own code where it happened, not our
frames and not torch's.
"""

import inspect
import linecache
import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

import torch

from course_lib.exercises import limits
from course_lib.exercises.cases import Case, Limit
from course_lib.exercises.display import error_text
from course_lib.exercises.question import CodeQuestion

WALL_PER_CPU = 10  # a Limit counts CPU seconds; this bounds an answer that sleeps
LINE_LENGTH = 100
LIBRARIES = tuple(
    str(Path(path).resolve()) + os.sep
    for path in {Path(__file__).parents[1], *map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))}
)


@dataclass(frozen=True)
class Attempt:
    """How one call ended. `state`: returned, not attempted, raised, timeout, failed (nothing to compare)."""

    state: str
    value: object = None
    message: str = ""


def attempt(question: CodeQuestion, case: Case, answer: Callable) -> Attempt:
    """Call `answer` on fresh inputs within the case's limits. Only KeyboardInterrupt gets out."""
    arguments = question.arguments(case)
    try:
        value = _call(answer, arguments, case)
    except KeyboardInterrupt:
        raise
    except limits.TimeLimit:
        return Attempt("timeout", message=_too_slow(case))
    except limits.MemoryLimit as error:
        return Attempt("failed", message=_too_big(case, error.nbytes))
    except BaseException as error:  # noqa: BLE001 - SystemExit from quit() included: it would end the kernel
        return _raised(error, len(arguments))
    return _returned(question, case, arguments, value)


def _call(answer: Callable, arguments: tuple, case: Case) -> object:
    # The contexts are outside the time limit: an exception that landed in their __exit__ would leave the
    # whole notebook without gradients, or under the cap.
    with torch.set_grad_enabled(torch.is_grad_enabled()):
        if isinstance(case, Limit):
            return _call_capped(answer, arguments, case)
        return limits.call_within(lambda: answer(*arguments), wall_seconds=limits.WALL_SECONDS)


def _call_capped(answer: Callable, arguments: tuple, case: Limit) -> object:
    wall = WALL_PER_CPU * case.cpu_seconds
    with limits.MemoryCap(case.gigabytes * 1e9) as cap:
        value = limits.call_within(
            lambda: answer(*arguments), wall_seconds=wall, cpu_seconds=case.cpu_seconds
        )
    if cap.exceeded is not None:  # the answer caught it and went on
        raise cap.exceeded
    return value


def _returned(question: CodeQuestion, case: Case, arguments: tuple, value: object) -> Attempt:
    if value is ...:
        return Attempt("not attempted")
    if inspect.isgenerator(value) or inspect.iscoroutine(value):
        value.close()
        keyword = "a yield" if inspect.isgenerator(value) else "an async"
        message = f"your function has {keyword} in it, so calling it runs nothing: return the result."
        return Attempt("failed", message=message)
    changed = _changed_input(question, case, arguments)
    if changed is not None:
        message = f"your function changes its input {changed} in place: work on a new tensor."
        return Attempt("failed", message=message)
    return Attempt("returned", value)


def _changed_input(question: CodeQuestion, case: Case, arguments: tuple) -> str | None:
    fresh = question.arguments(case)
    names = question.argument_names()
    for i, (after, before) in enumerate(zip(arguments, fresh, strict=True)):
        if not _same(after, before):
            return names[i] if i < len(names) else f"number {i + 1}"
    return None


def _same(after: object, before: object) -> bool:
    if isinstance(before, torch.Tensor):
        return after.shape == before.shape and torch.equal(torch.nan_to_num(after), torch.nan_to_num(before))
    if isinstance(before, dict):
        return after.keys() == before.keys() and all(_same(after[key], before[key]) for key in before)
    if isinstance(before, (list, tuple)):
        return len(after) == len(before) and all(map(_same, after, before))
    return True  # an iterator is there to be used up


# Messages


def _too_slow(case: Case) -> str:
    if isinstance(case, Limit):
        took = f"T = {case.T:,} took more than {case.cpu_seconds:g} CPU seconds"
        return f"{took}: {case.hint or 'is there a loop over T inside a loop over T?'}"
    took = f"no result after {limits.WALL_SECONDS:g} seconds"
    return f"{took}: does every loop end, and is there a loop over T inside a loop over T?"


def _too_big(case: Limit, nbytes: int) -> str:
    held, allowed = _told_apart(nbytes, case.gigabytes * 1e9)
    message = f"at T = {case.T:,} your function held {held} at once, {allowed} are allowed"
    return f"{message}: {case.hint or 'what grows with T, and need not?'}"


def _told_apart(*sizes: float) -> list[str]:
    """The sizes with three digits, or with as many as it takes to tell them apart: few bytes can be too many."""
    for digits in range(3, 17):
        texts = [_megabytes(nbytes, digits) for nbytes in sizes]
        if len(set(texts)) == len(texts):
            break
    return texts


def _megabytes(nbytes: float, digits: int) -> str:
    unit, name = (1e9, "GB") if nbytes >= 999.5e6 else (1e6, "MB")  # or 3 digits would say 1e+03 MB
    return f"{nbytes / unit:,.{digits}g} {name}"


def _raised(error: BaseException, count: int) -> Attempt:
    if isinstance(error, NotImplementedError) and not error.args:
        return Attempt("not attempted")
    where = _own_line(error.__traceback__)
    if where is None and isinstance(error, TypeError):
        where = f"It is called with {count} positional argument{'s' if count != 1 else ''}."
    message = f"{type(error).__name__}: {error_text(error)}".removesuffix(": ")
    return Attempt("raised", message=f"your code raised {message}" + (f"   {where}" if where else ""))


def _own_line(traceback: TracebackType | None) -> str | None:
    """`line 3 of recurrent: state = state + k * v`, for the innermost frame of the student's own code."""
    own = None
    while traceback is not None:
        if not _is_library(traceback.tb_frame):
            own = (traceback.tb_frame.f_code, traceback.tb_lineno)
        traceback = traceback.tb_next
    if own is None:
        return None
    code, number = own
    text = linecache.getline(code.co_filename, number).strip()
    text = text if len(text) <= LINE_LENGTH else text[:LINE_LENGTH] + " …"
    return f"line {number - code.co_firstlineno + 1} of {code.co_name}" + (f": {text}" if text else "")


def _is_library(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    if name.startswith("<frozen"):
        return True
    # A notebook cell's file name need not exist; where it does, it lies in a temporary folder.
    return "ipykernel" not in name and str(Path(name).resolve()).startswith(LIBRARIES)
