"""What was handed out, read from the student notebooks: which name answers which question, and which cells
are the course's own.

A submission's check cells decide nothing: a question is answered by the name that the released notebook
checks, whatever the student did to the cell around it.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from course_lib import course
from course_lib.exercises.question import CodeQuestion, Question, chapter_questions
from course_lib.grading.secret import graded_cases

ID = re.compile(r"\d\d\.\d+")
MAGIC = re.compile(r"(\s*)(?:[%!?]|[\w, ]+=\s*[%!])")  # %time, !ls, files = !ls
CALLS = ("check", "ask")
UNCOMPARED = "nbval-ignore-output"  # the tag of cells that measure, train or draw


@dataclass(frozen=True)
class Release:
    """A chapter as it was handed out. `names` maps a question's id to the name that answers it.

    `exercises` and `idle` are sources of cells, without their outer white space: the stubs, and cells that
    only measure, train or draw.
    """

    chapter: str
    questions: tuple[Question, ...]
    names: dict[str, str]
    exercises: frozenset[str]
    idle: frozenset[str]

    def skips(self, source: str) -> bool:
        """Whether a cell is the course's own and gives nothing to grade: it need not run."""
        return source.strip() in self.exercises or source.strip() in self.idle


@lru_cache
def release(chapter: str, private: Path | None = None) -> Release:
    """The released chapter; `private` is a folder with questions, and perhaps notebooks, of a teacher's own."""
    number = course.load().chapter(chapter)
    notebooks = [course.notebooks_folder() / number.notebook]
    if private is not None and (private / number.notebook).is_file():
        notebooks.append(private / number.notebook)
    cells = [cell for path in notebooks for cell in code_cells(path)]
    names = dict(pair for source, _ in cells for pair in checked(source))
    exercises = {source.strip() for source, _ in cells if checked_names(source)}
    idle = {source.strip() for source, tags in cells if UNCOMPARED in tags}
    setup = {source.strip() for source, _ in cells if source.startswith("# Finds course_lib here")}
    questions = tuple(_questions(chapter, private))
    return Release(chapter, questions, names, frozenset(exercises), frozenset(idle | setup))


def code_cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(source, tags) of the code cells of a notebook of the course's own."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield "".join(cell["source"]), cell["metadata"].get("tags", [])


def _questions(chapter: str, private: Path | None) -> list[Question]:
    """The course's questions, with a teacher's own in their place or after them."""
    found = {question.id: question for question in chapter_questions(chapter)}
    path = private / f"{course.load().chapter(chapter).module}.py" if private is not None else None
    if path is not None and path.is_file():
        for question in _declared(path):
            if question.chapter != chapter:
                raise ValueError(f"{path}: question {question.id} does not belong to chapter {chapter}")
            found[question.id] = question
    return list(found.values())


def _declared(path: Path) -> list[Question]:
    """The QUESTIONS of a teacher's own module, which may be a copy of the course's: its imports work."""
    spec = importlib.util.spec_from_file_location(f"course_lib.exercises.private_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return list(module.QUESTIONS)
    except Exception as error:  # whatever is wrong with it, the teacher should read where
        raise ValueError(f"{path}: {type(error).__name__}: {error}") from error


def check_private(folder: Path) -> None:
    """ValueError where a teacher's folder has no module or notebook of a chapter, or one that cannot be used."""
    ready = course.load().ready
    mine = [
        c.number for c in ready if any((folder / name).is_file() for name in (f"{c.module}.py", c.notebook))
    ]
    if not mine:
        example = ready[0]
        raise ValueError(
            f"{folder} has nothing to grade by: a module such as {example.module}.py is expected, and where students "
            f"got a notebook of yours, {example.notebook}"
        )
    for question in (question for number in mine for question in release(number, folder).questions):
        if isinstance(question, CodeQuestion):
            graded_cases(question, seed="")


def checked(source: str) -> Iterator[tuple[str, str]]:
    """(id, name) of every `check("08.2", name)` in a cell; nothing from a cell that is no Python."""
    for call in _calls(source):
        if call.func.id == "check" and len(call.args) == 2 and isinstance(call.args[1], ast.Name):
            yield call.args[0].value, call.args[1].id


def checked_names(source: str) -> list[str]:
    """The names that a cell checks."""
    return [name for _, name in checked(source)]


def _calls(source: str) -> Iterator[ast.Call]:
    """The calls of `check` and `ask` on an id, among a cell's statements."""
    for node in ast.walk(_parsed(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in CALLS
            and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
            and ID.fullmatch(node.args[0].value)
        ):
            yield node


def _parsed(source: str) -> ast.Module:
    """A cell's syntax tree: as it stands, else with its lines of magic left out, else an empty one."""
    rows = [match[1] + "pass" if (match := MAGIC.match(row)) else row for row in source.splitlines()]
    for text in (source, "\n".join(rows)):
        try:
            with warnings.catch_warnings():  # "\d" in a student's string is not the teacher's to read of
                warnings.simplefilter("ignore")
                return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return ast.parse("")


def defined(source: str) -> set[str]:
    """The names that a cell's own statements define or assign."""
    found = set()
    for node in _parsed(source).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def chapter_of(sources: Iterable[str]) -> str | None:
    """The chapter that a notebook's code is about: by the ids that it checks or asks, else by the names it defines."""
    sources = list(sources)
    ready = [chapter.number for chapter in course.load().ready]
    votes = Counter(call.args[0].value[:2] for source in sources for call in _calls(source))
    votes = Counter({number: count for number, count in votes.items() if number in ready})
    if not votes:
        names = set().union(*map(defined, sources)) if sources else set()
        known = {number: set(release(number).names.values()) for number in ready}
        votes = Counter({number: len(names & known[number]) for number in ready if names & known[number]})
    return min(votes, key=lambda number: (-votes[number], number)) if votes else None
