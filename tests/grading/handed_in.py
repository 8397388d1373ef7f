"""Notebooks as students hand them in, built from cells, and results as the grader keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from course_lib import course
from course_lib.grading.release import code_cells

MEAN = "def running_mean(v):\n    return v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]"
SOLVED = (
    "import torch\nfrom course_lib.exercises import ask, check, score",
    f'{MEAN}\n\n\ncheck("00.1", running_mean)',
    'answer_00_2 = "B"\n\ncheck("00.2", answer_00_2)',
    'answer_00_3 = "D"\n\ncheck("00.3", answer_00_3)',
)


def notebook_bytes(cells: Iterable[str], outputs: Iterable[dict] = ()) -> bytes:
    """A notebook of format 4.5 with these code cells, the first one with outputs."""
    found = [
        {
            "cell_type": "code",
            "id": f"c{i}",
            "metadata": {},
            "execution_count": None,
            "outputs": list(outputs) if i == 0 else [],
            "source": source,
        }
        for i, source in enumerate(cells)
    ]
    prose = {"cell_type": "markdown", "id": "prose", "metadata": {}, "source": "Some prose."}
    notebook = {"cells": [prose, *found], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook).encode()


def released_cells(chapter: str = "00") -> list[str]:
    """The code cells of a chapter as it was handed out."""
    path = course.notebooks_folder() / course.load().chapter(chapter).notebook
    return [source for source, _ in code_cells(path)]


def question(id: str, points: float = 1, of: float = 1, **more: object) -> dict:
    """A question's result as JSON has it."""
    state = "passed" if points == of else "failed"
    cases = [{"label": "case 1", "state": state, "message": ""}]
    return {
        "id": id,
        "title": "A title",
        "of": of,
        "points": points,
        "state": state,
        "message": "",
        "cases": cases,
    } | more


def result(student: str, file: str = "", questions: Iterable[dict] = (), **more: object) -> dict:
    """A submission's result as JSON has it."""
    questions = list(questions)
    return {
        "key": f"{student}-{file}",
        "student": student,
        "id": "",
        "file": file or f"{student}.ipynb",
        "sha256": f"sha of {student} {file}",
        "chapter": questions[0]["id"][:2] if questions else None,
        "questions": questions,
        "trouble": [],
        "seconds": 1.5,
    } | more
