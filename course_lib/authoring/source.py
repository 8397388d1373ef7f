"""A chapter source becomes cells: with its solutions, or without them.

A source is MyST Markdown. Code cells may hold blocks between `### BEGIN SOLUTION` and `### END SOLUTION`.
For the solution notebook only the two marks go. For the student, a block inside a function becomes `raise
NotImplementedError`, and a block at the top level disappears, so that the `...` above it stays. A cell's id
is its `:name:`, else the chapter's number and a hash of the cell as it stands in the source.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupytext.myst import MystMetadataParsingError
from nbformat import NotebookNode

from course_lib.authoring import graph
from course_lib.course import Chapter, Course

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
STUB = "raise NotImplementedError"
FENCE = re.compile(r"^`{3,}\s*\{code-cell\}")
NAME = re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$")
GITHUB = re.compile(r"^[\w.-]+/[\w.-]+$")


class SourceError(ValueError):
    """A fault in a chapter source; the message starts with `path:line:`."""


@dataclass(frozen=True)
class Cell:
    """A cell of a source, solutions included; `line` is where its text starts in the file (1-based)."""

    kind: str
    id: str
    text: str
    tags: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Source:
    """A chapter source; `path` is relative to the checkout, for messages."""

    chapter: Chapter
    path: str
    cells: tuple[Cell, ...]

    def line(self, cell_id: str, student_line: int, *, solution: bool) -> int | None:
        """The line in the source file of a built cell's line (1-based); None for a cell not from here."""
        for cell in self.cells:
            if cell.id == cell_id:
                kept = lines(cell.text, solution=solution)
                return cell.line + kept[min(student_line, len(kept)) - 1][0]
        return None


# ---- reading ----------------------------------------------------------------------------------


def source_path(root: Path, chapter: Chapter) -> Path:
    """Where a chapter is edited."""
    return root / "notebooks" / "source" / f"{chapter.name}.md"


def read(root: Path, chapter: Chapter) -> Source:
    """Reads and checks a chapter source; SourceError names the path and the line of a fault."""
    path = source_path(root, chapter)
    relative = path.relative_to(root).as_posix()
    if not path.is_file():
        raise SourceError(f"{relative}:1: chapter {chapter.number} is ready in course.yml but has no source")
    text = path.read_text(encoding="utf-8")
    cells = _identified(chapter, list(_cells(text, relative)), relative)
    for cell in cells:
        if cell.kind == "code":
            _check_markers(cell, relative)
    return Source(chapter, relative, tuple(cells))


def _cells(text: str, path: str) -> Iterator[Cell]:
    """The cells as jupytext reads them, each with its line; the id is still the bare `:name:` or empty."""
    starts = (first for first, _ in code_spans(text))
    try:
        notebook = jupytext.reads(text, fmt="md:myst")
    except (ValueError, MystMetadataParsingError) as error:
        raise SourceError(f"{path}: jupytext cannot read it: {' '.join(str(error).split())}") from error
    line = 1
    for cell in notebook.cells:
        if cell.cell_type == "code":
            line = next(starts)
        name, tags = cell.metadata.get("name", ""), tuple(cell.metadata.get("tags", ()))
        yield Cell(cell.cell_type, name, cell.source.rstrip(), tags, line)
        line += cell.source.count("\n") + 2


def code_spans(text: str) -> list[tuple[int, int]]:
    """First and last line (1-based, inclusive) of the code of every code cell, in order; options left out."""
    rows, spans, index = text.splitlines(), [], 0
    while index < len(rows):
        if FENCE.match(rows[index]):
            fence = re.match("`+", rows[index])[0]
            index += 1
            while index < len(rows) and (rows[index].startswith(":") or not rows[index].strip()):
                index += 1
            first = index + 1
            while index < len(rows) and rows[index].rstrip() != fence:
                index += 1
            spans.append((first, index))
        index += 1
    return spans


def _identified(chapter: Chapter, cells: list[Cell], path: str) -> list[Cell]:
    """Gives every cell its id. Equal cells are numbered, so that ids stay unique and stable."""
    seen: Counter[str] = Counter()
    result = []
    for cell in cells:
        name = cell.id or f"{chapter.number}-{_digest(cell)}"
        if cell.id and not NAME.match(cell.id):
            raise SourceError(
                f"{path}:{cell.line}: :name: {cell.id!r} may hold only a-z, 0-9 and single dashes"
            )
        if cell.id and seen[name]:
            raise SourceError(f"{path}:{cell.line}: :name: {cell.id!r} is there twice")
        seen[name] += 1
        result.append(replace(cell, id=name if seen[name] == 1 else f"{name}-{seen[name]}"))
    return result


def _digest(cell: Cell) -> str:
    return hashlib.sha256(f"{cell.kind}\n{cell.text}".encode()).hexdigest()[:8]


# ---- solutions --------------------------------------------------------------------------------


def lines(text: str, *, solution: bool) -> list[tuple[int, str]]:
    """The lines of a built code cell, each with its 0-based offset in the source cell."""
    functions = [] if solution or BEGIN not in text else _functions(text)
    kept: list[tuple[int, str]] = []
    inside = False
    for offset, row in enumerate(text.splitlines()):
        mark = row.strip()
        if mark == BEGIN:
            inside = True
            if _within(functions, offset + 1):
                kept.append((offset, row[: len(row) - len(row.lstrip())] + STUB))
        elif mark == END:
            inside = False
        elif solution or not inside:
            kept.append((offset, row))
    return kept or [(0, "")]


def render(cell: Cell, *, solution: bool) -> str:
    """The text of a built cell."""
    if cell.kind != "code":
        return cell.text
    return "\n".join(row for _, row in lines(cell.text, solution=solution)).strip("\n")


def solution_lines(cell: Cell) -> list[str]:
    """The lines inside the solution blocks of a cell, stripped."""
    if cell.kind != "code":
        return []
    student = {offset for offset, _ in lines(cell.text, solution=False)}
    return [row.strip() for offset, row in lines(cell.text, solution=True) if offset not in student]


def _check_markers(cell: Cell, path: str) -> None:
    """Marks come in pairs, and an indented block stands inside a function, where it can become a stub."""
    opened = None
    for offset, row in enumerate(cell.text.splitlines()):
        mark = row.strip()
        if (mark == BEGIN) == (opened is not None) and mark in (BEGIN, END):
            raise SourceError(f"{path}:{cell.line + offset}: {mark} without its partner")
        if mark == BEGIN:
            opened = offset
            _check_place(cell, path, offset, row)
        elif mark == END:
            opened = None
        elif "BEGIN SOLUTION" in row or "END SOLUTION" in row:
            raise SourceError(
                f"{path}:{cell.line + offset}: write the mark as {BEGIN!r} or {END!r}, on its own line"
            )
    if opened is not None:
        raise SourceError(f"{path}:{cell.line + opened}: {BEGIN} without its partner")


def _check_place(cell: Cell, path: str, offset: int, row: str) -> None:
    try:
        functions = _functions(cell.text)
    except SyntaxError as error:
        line = cell.line + (error.lineno or 1) - 1
        raise SourceError(
            f"{path}:{line}: a cell with a solution must be plain Python: {error.msg}"
        ) from error
    if row != row.lstrip() and not _within(functions, offset + 1):
        raise SourceError(
            f"{path}:{cell.line + offset}: an indented solution must stand inside a function; "
            "move it into one, or to the top level"
        )


def _functions(text: str) -> list[tuple[int, int]]:
    """First and last line of every function in the text."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [(n.lineno, n.end_lineno or n.lineno) for n in ast.walk(ast.parse(text)) if isinstance(n, kinds)]


def _within(functions: list[tuple[int, int]], line: int) -> bool:
    return any(first < line <= last for first, last in functions)


# ---- notebooks --------------------------------------------------------------------------------


def assemble(course: Course, source: Source, *, solution: bool) -> NotebookNode:
    """The notebook without outputs: header, set-up, the source's cells, footer."""
    chapter, number = source.chapter, source.chapter.number
    setup = _code(setup_text(course), f"{number}-setup")
    setup.metadata["jupyter"] = {"source_hidden": True}  # JupyterLab folds it: no chapter is about set-up
    cells = [_markdown(graph.header(course, chapter), f"{number}-header"), setup]
    for cell in source.cells:
        text = render(cell, solution=solution)
        cells.append(_code(text, cell.id, cell.tags) if cell.kind == "code" else _markdown(text, cell.id))
    cells.append(_markdown(graph.footer(course, chapter), f"{number}-footer"))
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook_metadata())


def notebook_metadata() -> dict[str, Any]:
    """A kernel and language that name no version, so that building elsewhere gives the same bytes."""
    return {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "pygments_lexer": "ipython3",
        },
    }


def setup_text(course: Course) -> str:
    """The one set-up cell, with the course's address in it once it is published."""
    text = Path(__file__).with_name("setup_cell.py").read_text(encoding="utf-8").rstrip()
    return text.replace('ADDRESS = ""', f'ADDRESS = "{address(course)}"')


def address(course: Course) -> str:
    """What pip installs the course from; empty before `course publish`."""
    if not course.repository:
        return ""
    base = f"https://github.com/{course.repository}" if GITHUB.match(course.repository) else course.repository
    return f"git+{base}@{course.ref}"


def _markdown(text: str, cell_id: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text, id=cell_id)


def _code(text: str, cell_id: str, tags: tuple[str, ...] = ()) -> NotebookNode:
    return nbformat.v4.new_code_cell(text, id=cell_id, metadata={"tags": list(tags)} if tags else {})
