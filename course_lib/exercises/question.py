"""A question, declared once: the student's check, the teacher's grader and the question's own test all read
it.

A code question is its inputs, its reference, and the wrong answers students really give, each with its own
hint; a choice explains every option; a number knows the slips that lead to the wrong ones. Declarations live
in `course_lib/exercises/<slug with underscores>.py` and export QUESTIONS; only the chapter asked for is
imported.
"""

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

import torch

from course_lib import course
from course_lib.exercises.cases import Case, Limit, Shapes
from course_lib.exercises.compare import by_dtype_and_length

__all__ = [
    "Case",
    "ChoiceQuestion",
    "CodeQuestion",
    "Limit",
    "NumberQuestion",
    "Option",
    "Question",
    "Shapes",
    "by_dtype_and_length",
    "chapter_questions",
    "find",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """What all kinds share. `objective` is an objective's id in the chapter; `difficulty` is 1, 2 or 3."""

    id: str
    objective: str
    title: str
    points: float
    minutes: int
    difficulty: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d\d\.\d+", self.id):
            raise ValueError(f"id {self.id!r}: chapter, dot, number is expected, such as '08.2'")
        if self.difficulty not in (1, 2, 3):
            raise ValueError(f"difficulty of {self.id} is {self.difficulty!r}; 1, 2 or 3 is expected")
        if self.points <= 0 or self.minutes <= 0:
            raise ValueError(
                f"points and minutes of {self.id} must be above 0; {self.points}, {self.minutes} came"
            )

    @property
    def chapter(self) -> str:
        return self.id[:2]


@dataclass(frozen=True, kw_only=True, eq=False)
class CodeQuestion(Question):
    """A function to write.

    `inputs(case, rng)` gives the positional arguments, `reference(*arguments)` the right result: a tensor,
    number, string, None, or a tuple, list or dict of those. `wrong` maps functions that make a known mistake
    to its hint, `accepted` are right answers written differently, `too_big` right ones that must fail a
    Limit. `outputs` names the results and their axes for messages: ("o [B, T, H, V]", "state [B, H, K, V]").
    """

    inputs: Callable[[Case, torch.Generator], tuple]
    reference: Callable
    visible: Sequence[Case]
    hidden: Sequence[Case | Shapes] = ()
    wrong: Mapping[Callable, str] = field(default_factory=dict)
    accepted: Sequence[Callable] = ()
    too_big: Sequence[Callable] = ()
    tolerance: Callable[[Case], float] = by_dtype_and_length
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.visible:
            raise ValueError(f"{self.id} has no visible case: a student could not check anything")

    def arguments(self, case: Case) -> tuple:
        """Fresh arguments for one call: equal each time, sharing no memory with those of any other call."""
        return clone(tuple(self.inputs(case, case.generator())))

    def expected(self, case: Case) -> object:
        """The right result for a case."""
        with torch.no_grad():
            return self.reference(*self.arguments(case))

    def argument_names(self) -> list[str]:
        """The reference's parameter names: how messages call the inputs."""
        return list(inspect.signature(self.reference).parameters)


def clone(value: object) -> object:
    """A copy of nested tuples, lists and dicts whose tensors share nothing; other values (iterators) pass
    through.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, Mapping):
        return {key: clone(item) for key, item in value.items()}
    return type(value)(clone(item) for item in value) if type(value) in (tuple, list) else value


@dataclass(frozen=True)
class Option:
    """One option of a choice, and why it is right or wrong."""

    text: str
    why: str


@dataclass(frozen=True, kw_only=True, eq=False)
class ChoiceQuestion(Question):
    """One of several options; every option explains itself."""

    question: str
    options: Mapping[str, Option]
    answer: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer not in self.options:
            raise ValueError(
                f"answer of {self.id} is {self.answer!r}, which is not one of {', '.join(self.options)}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class NumberQuestion(Question):
    """A number within `rtol`. `answer` and the keys of `wrong` are numbers or functions of nothing that
    return one.
    """

    question: str
    answer: float | Callable[[], float]
    unit: str = ""
    rtol: float = 0.01
    wrong: Mapping[float | Callable[[], float], str] = field(default_factory=dict)

    def value(self) -> float:
        """The right number."""
        return _number(self.answer)

    def slips(self) -> Iterator[tuple[float, str]]:
        """Each known wrong number with its hint."""
        return ((_number(key), hint) for key, hint in self.wrong.items())


def _number(value: float | Callable[[], float]) -> float:
    return float(value() if callable(value) else value)


# From an id to its question


def chapter_questions(chapter: str) -> list[Question]:
    """The questions of a chapter, in order. LookupError for a chapter that is not in the course or has none
    yet.
    """
    return list(chapter_module(chapter).QUESTIONS)


def find(id: str) -> Question:
    """The question with this id, importing only its chapter. LookupError lists the chapter's ids."""
    chapter = id.partition(".")[0]
    questions = {question.id: question for question in chapter_questions(chapter)}
    if id not in questions:
        raise LookupError(f"there is no question {id}; chapter {chapter} has {', '.join(questions)}")
    return questions[id]


def chapter_module(chapter: str) -> ModuleType:
    """The declarations of a chapter: `course_lib.exercises.<slug with underscores>`."""
    modules = {c.number: c.module for c in course.load().chapters}
    if chapter not in modules:
        raise LookupError(f"there is no chapter {chapter}; the course has {', '.join(modules)}")
    name = f"{__package__}.{modules[chapter]}"
    if importlib.util.find_spec(name) is None:
        raise LookupError(f"chapter {chapter} has no questions yet")
    return importlib.import_module(name)
