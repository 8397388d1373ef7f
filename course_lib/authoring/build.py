"""Writes the notebooks of a checkout, and re-executes only those whose outputs may have changed.

Outputs depend on the code cells, on the course_lib modules that the kernel imported, and on the pinned
versions. Each notebook's metadata keeps a hash of every one of these; while they all agree, new prose is
written around the old outputs. The address in the set-up cell is no part of the hash: publishing a course
re-executes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from course_lib.authoring import graph, source, style
from course_lib.authoring.outputs import broken_check, clean, path_in_output
from course_lib.course import Chapter, Course
from course_lib.run import Execution, answers, execute, kernel_environment

HEAVY_BYTES = 600_000
SIZE = "laptop"  # of the stored outputs, whatever machine builds them
CHECKED = re.compile(r"""\bcheck\(\s*["'](\d\d\.\d+)["']""")


class BuildError(RuntimeError):
    """A chapter that could not be built; the message names the chapter, the cell and the source line."""


# ---- what decides -----------------------------------------------------------------------------


def code_digest(notebook: NotebookNode) -> str:
    """A hash of the code cells in order; the stamped address counts as empty."""
    texts = [c.source for c in notebook.cells if c.cell_type == "code"]
    texts = [re.sub(r'^ADDRESS = ".*"', 'ADDRESS = ""', text, flags=re.M) for text in texts]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def output_digest(notebook: NotebookNode) -> str:
    """A hash of all outputs, so that a build sees when somebody changed what it had stored."""
    stored = [[cell.execution_count, cell.outputs] for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:16]


def module_digests(root: Path, modules: Iterable[str]) -> dict[str, str]:
    """Path in the checkout → hash of the file, for the modules that are files of its course_lib."""
    digests = {}
    for module in modules:
        stem = root.joinpath(*module.split("."))
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                digests[path.relative_to(root).as_posix()] = _file_digest(path)
    return dict(sorted(digests.items()))


def _file_digest(path: Path) -> str:
    """Of the text, not the bytes, so that a checkout with Windows line ends agrees."""
    text = path.read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pins(root: Path) -> dict[str, str]:
    """The pinned version of every package that the course needs at run time."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]}
    rows = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(row.split("==") for row in rows if "==" in row and not row.startswith("#"))
    return {name: pinned[name] for name in sorted(wanted)}


def stale(root: Path, fresh: NotebookNode, old: NotebookNode | None) -> str | None:
    """Why the outputs of `old` cannot be kept for `fresh`; None when they can."""
    stamp = old.metadata.get("course") if old is not None else None
    if not stamp:
        return "not built before"
    if not stamp["code"] == code_digest(fresh) == code_digest(old):
        return "its code changed"
    if stamp.get("outputs") != output_digest(old):
        return "its stored outputs are not those of the last build"
    if stamp["pins"] != pins(root):
        return "the pinned versions changed"
    for path, digest in stamp["modules"].items():
        if not (root / path).is_file() or _file_digest(root / path) != digest:
            return f"{path} changed"
    return None


# ---- one notebook -----------------------------------------------------------------------------


def target(root: Path, chapter: Chapter, *, solution: bool) -> Path:
    """Where a notebook is written: beside the sources for students, under `build/` with solutions."""
    folder = root / "build" / "solutions" if solution else root / "notebooks"
    return folder / chapter.notebook


def read_notebook(path: Path) -> NotebookNode | None:
    """A stored notebook, or None when there is none that can be read."""
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError):
        return None


def build_notebook(
    root: Path, course: Course, chapter_source: source.Source, *, solution: bool, force: bool = False
) -> str:
    """Builds one notebook and says in a few words what was done. Raises BuildError."""
    chapter = chapter_source.chapter
    path = target(root, chapter, solution=solution)
    fresh, old = source.assemble(course, chapter_source, solution=solution), read_notebook(path)
    reason = "asked for" if force else stale(root, fresh, old)
    if reason:
        result = run_notebook(root, chapter_source, fresh, solution=solution)
        fresh, done = result.notebook, f"executed in {result.seconds:.1f} s ({reason})"
    else:
        keep_outputs(fresh, old)
        done = "unchanged" if fresh.cells == old.cells else "prose rewritten, outputs kept"
    write_atomically(path, nbformat.writes(fresh) + "\n")
    return done + _weight(path)


def run_notebook(
    root: Path, chapter_source: source.Source, fresh: NotebookNode, *, solution: bool
) -> Execution:
    """Executes a fresh notebook, cleans its outputs and stamps it."""
    with tempfile.TemporaryDirectory() as temporary:
        progress = Path(temporary) / "progress.json"
        search = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
        env = kernel_environment(COURSE_SIZE=SIZE, COURSE_PROGRESS=str(progress), PYTHONPATH=search)
        result = execute(fresh, folder=root / "notebooks", env=env)
        states = answers(progress)
    if result.failures:
        raise BuildError(_failure_text(chapter_source, result, solution=solution))
    name = chapter_source.chapter.name
    for cell in _code_cells(result.notebook):
        if why := broken_check(cell):
            raise BuildError(f"{name}: the question in cell {cell.id} is itself broken: {why}")
    if solution:
        _demand_passes(chapter_source, states)
    for cell in result.notebook.cells:
        clean(cell)
        if found := path_in_output(cell, root):
            raise BuildError(f"{name}: the output of cell {cell.id} holds the machine's path {found!r}")
    result.notebook.metadata = nbformat.from_dict(
        source.notebook_metadata() | {"course": _stamp(root, fresh, result)}
    )
    return result


def _stamp(root: Path, fresh: NotebookNode, result: Execution) -> dict[str, Any]:
    modules = module_digests(root, result.modules)
    return {
        "code": code_digest(fresh),
        "outputs": output_digest(result.notebook),
        "modules": modules,
        "pins": pins(root),
    }


def keep_outputs(fresh: NotebookNode, old: NotebookNode) -> None:
    """Moves outputs and stamp from `old`; its code cells are the same ones, in the same order."""
    pairs = zip(_code_cells(fresh), _code_cells(old), strict=True)
    for new, stored in pairs:
        new.outputs, new.execution_count = stored.outputs, stored.execution_count
    fresh.metadata["course"] = old.metadata["course"]


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _failure_text(chapter_source: source.Source, result: Execution, *, solution: bool) -> str:
    failure = result.failures[0]
    line = chapter_source.line(failure.cell_id, failure.line or 1, solution=solution)
    place = f"{chapter_source.path}:{line}" if line else "the set-up cell"
    kind = "solution" if solution else "student"
    name = chapter_source.chapter.name
    return f"{name} ({kind} notebook): cell {failure.cell_id} failed at {place}: {failure.reason}"


def _demand_passes(chapter_source: source.Source, states: dict[str, str]) -> None:
    """Every question that the chapter checks must pass in its solution notebook."""
    asked = [(q, c.id) for c in chapter_source.cells if c.kind == "code" for q in CHECKED.findall(c.text)]
    for question, cell_id in asked:
        if (state := states.get(question, "never checked")) != "passed":
            name = chapter_source.chapter.name
            raise BuildError(f"{name}: the solution of question {question} in cell {cell_id}: {state}")


def _weight(path: Path) -> str:
    size = path.stat().st_size
    return f"  ! {size / 1000:.0f} kB, more than {HEAVY_BYTES // 1000} kB" if size > HEAVY_BYTES else ""


# ---- the checkout -----------------------------------------------------------------------------


def build(
    root: Path, numbers: Iterable[str] = (), *, force: bool = False, echo: Callable[[str], None] = print
) -> int:
    """Builds the chosen ready chapters (all when none is named). Returns how many notebooks failed."""
    course = graph.load(root)
    write_graph(root, course, echo)
    failed = 0
    for chapter in chosen(course, numbers):
        for solution in (False, True):
            label = f"{chapter.name}{' (solution)' if solution else ''}"
            try:
                done = build_notebook(
                    root, course, source.read(root, chapter), solution=solution, force=force
                )
                echo(f"{label}: {done}")
            except (BuildError, source.SourceError) as error:
                failed += 1
                echo(f"error: {error}")
    return failed


def format_sources(root: Path, numbers: Iterable[str] = ()) -> None:
    """Formats the code cells of the chosen chapters' sources, in place; ValueError names a cell that is no Python."""
    for chapter in chosen(graph.load(root), numbers):
        path = source.source_path(root, chapter)
        text = path.read_text(encoding="utf-8")
        if faults := list(style.syntax_faults(path.relative_to(root).as_posix(), text)):
            raise ValueError("; ".join(faults))
        write_atomically(path, style.formatted(root, text))


def chosen(course: Course, numbers: Iterable[str]) -> list[Chapter]:
    """The chapters with these numbers, all ready ones when none is given; ValueError for a planned one."""
    chapters = [course.chapter(number) for number in numbers] or list(course.ready)
    for chapter in chapters:
        if not chapter.ready:
            raise ValueError(f"chapter {chapter.number} is planned: it has no source yet")
    return chapters


def write_graph(root: Path, course: Course, echo: Callable[[str], None] = print) -> None:
    """Renews what is made from the graph alone: course.json and the README's chapter table."""
    write_atomically(root / "course_lib" / "course.json", graph.as_json(root))
    readme = root / "README.md"
    try:
        write_atomically(readme, graph.with_table(readme.read_text(encoding="utf-8"), course))
    except ValueError as error:
        echo(f"! {error}")


def write_unexecuted(root: Path, chapters: Iterable[Chapter], folder: Path) -> dict[str, Path]:
    """Writes solution notebooks without outputs, for `course run --solution`; chapter number → file."""
    course, paths = graph.load(root), {}
    for chapter in chapters:
        notebook = source.assemble(course, source.read(root, chapter), solution=True)
        paths[chapter.number] = folder / chapter.notebook
        write_atomically(paths[chapter.number], nbformat.writes(notebook) + "\n")
    return paths


def publish(root: Path, repository: str, ref: str) -> Course:
    """Stamps the address into course.yml and every built notebook, without executing anything.

    ValueError, before anything is written, for an address that would not survive in YAML and in a cell.
    """
    for what, value in (("repository", repository), ("ref", ref)):
        if not re.fullmatch(r"[\w.:/@+~-]+", value):
            raise ValueError(f"{what} is {value!r}; letters, digits and . : / @ + ~ - are expected")
    path = root / "notebooks" / "course.yml"
    text = re.sub(
        r"^repository:.*$", f'repository: "{repository}"', path.read_text(encoding="utf-8"), flags=re.M
    )
    write_atomically(path, re.sub(r"^ref:.*$", f'ref: "{ref}"', text, flags=re.M))
    course = graph.load(root)
    write_graph(root, course)
    rewrite_prose(root, course, course.ready)
    return course


def rewrite_prose(root: Path, course: Course, chapters: Iterable[Chapter]) -> None:
    """Renews headers, footers and addresses in what is built of these chapters; outputs stay."""
    for chapter in chapters:
        chapter_source = source.read(root, chapter)
        for solution in (False, True):
            _restamp(root, course, chapter_source, solution=solution)


def _restamp(root: Path, course: Course, chapter_source: source.Source, *, solution: bool) -> None:
    path = target(root, chapter_source.chapter, solution=solution)
    old = read_notebook(path)
    fresh = source.assemble(course, chapter_source, solution=solution)
    if old is not None and code_digest(old) == code_digest(fresh):
        keep_outputs(fresh, old)
        write_atomically(path, nbformat.writes(fresh) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step, and leaves it alone when it already says the same."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
