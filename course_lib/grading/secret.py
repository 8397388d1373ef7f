"""The cases that a submission is graded on: other numbers than the student saw, fixed by one secret seed.

All submissions of a run meet the same cases, and the same seed gives the same cases again. A visible case
keeps its sizes and gets new numbers; where its inputs do not depend on them (a case of plain sizes) it is
left out, since an answer could have been written for it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from course_lib.exercises.cases import Case, Limit, Shapes
from course_lib.exercises.compare import compare
from course_lib.exercises.question import CodeQuestion


@dataclass(frozen=True)
class Graded:
    """A case of the grader's. `label` is what students and teachers see of it."""

    label: str
    case: Case


def graded_cases(question: CodeQuestion, seed: str) -> list[Graded]:
    """The secret cases of a question, limits last, so that what is slow comes after what is cheap.

    ValueError for a question that has none: every answer to it would be right.
    """
    rng = random.Random(f"{seed}\0{question.id}")
    found = [case for visible in question.visible if (case := _renewed(question, visible, rng)) is not None]
    for entry in question.hidden:
        found += entry.cases(rng) if isinstance(entry, Shapes) else [entry.reseeded(rng.getrandbits(62))]
    ordinary = [case for case in found if not isinstance(case, Limit)]
    limits = [case for case in found if isinstance(case, Limit)]
    if not found:
        raise ValueError(f"{question.id} has no case whose inputs depend on its seed: declare hidden ones")
    labels = [f"case {i}" for i in range(1, len(ordinary) + 1)] + [f"limit: {case.name}" for case in limits]
    return [Graded(label, case) for label, case in zip(labels, ordinary + limits, strict=True)]


def _renewed(question: CodeQuestion, visible: Case, rng: random.Random) -> Case | None:
    case = visible.reseeded(rng.getrandbits(62))
    if isinstance(case, Limit):
        return case
    same = compare(question.arguments(case), question.arguments(visible), 0.0) is None
    return None if same else case
