"""`course build --check`: every way in which notebooks, sources, graph and questions can disagree.

Nothing is executed and nothing is written. Each fault is one line that starts with the place where it must
be mended. Outputs are not compared here: running the notebooks is the test suite's part.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator
from pathlib import Path

from nbformat import NotebookNode

from course_lib.authoring import build, graph, outputs, source, style
from course_lib.course import Chapter, Course, from_dict

ALT_LENGTH = 40
STRICT_SHARE = 0.6
DOTS_PER_METRE = 3938  # 100 dpi
IGNORED = "nbval-ignore-output"
SHORT = 12
WORDS = 40  # characters of prose that are quoted
TRIVIAL = re.compile(r"^(return( \w+)?|(from [\w.]+ )?import .*|else:|try:|pass|continue|break)$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(<?([^)\s>]+)[^)]*\)")
IMAGE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
HTML_LINK = re.compile(r"""<(?:a|img)\b[^>]*?\b(?:href|src)=["']([^"']+)["']""")
HTML_IMAGE = re.compile(r"<img\b[^>]*>")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)
QUESTIONS = """
import importlib, json, sys
found = {}
for number, module in json.loads(sys.argv[1]).items():
    try:
        questions = importlib.import_module("course_lib.exercises." + module).QUESTIONS
    except ModuleNotFoundError as error:
        if error.name != "course_lib.exercises." + module:
            raise
        questions = []
    found[number] = [[question.id, question.objective] for question in questions]
print(json.dumps(found))
"""


def check(root: Path, numbers: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """All faults, and notes that are no faults. `numbers` limits the chapters looked into."""
    course = from_dict(graph.read(root))
    faults = [f"notebooks/course.yml: {fault}" for fault in graph.graph_faults(course)]
    if faults:
        return faults, []
    chapters, notes = build.chosen(course, numbers), []
    questions = declared_questions(root, chapters)
    faults += generated_faults(root, course)
    faults += stray_faults(root, course)
    for chapter in chapters:
        try:
            chapter_source = source.read(root, chapter)
        except source.SourceError as error:
            faults.append(str(error))
            continue
        faults += question_faults(chapter_source, questions[chapter.number])
        faults += strict_faults(chapter_source)
        faults += dollar_faults(chapter_source)
        faults += style.style_faults(
            root, chapter_source.path, (root / chapter_source.path).read_text("utf-8")
        )
        notebook = build.read_notebook(build.target(root, chapter, solution=False))
        if notebook is None:
            faults.append(f"{chapter.name}: there is no notebook; run `course build {chapter.number}`")
            continue
        fresh = source.assemble(course, chapter_source, solution=False)
        faults += notebook_faults(root, chapter_source, fresh, notebook)
        notes += stale_notes(root, chapter, fresh, notebook)
    faults += page_faults(root)
    return faults, notes


def notebook_faults(
    root: Path, chapter_source: source.Source, fresh: NotebookNode, notebook: NotebookNode
) -> Iterator[str]:
    """Every fault of one stored student notebook."""
    name = chapter_source.chapter.name
    yield from (f"{name}: {fault}" for fault in drift(fresh, notebook))
    yield from (f"{name}: {fault}" for fault in leaks(chapter_source, notebook))
    yield from (f"{name}: {fault}" for fault in figure_faults(notebook))
    yield from (f"{name}: {fault}" for fault in output_faults(root, notebook))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for link in broken_links(cell.source, root / "notebooks"):
                yield f"{name}: cell {cell.id}: broken link {link}"


# ---- cells ------------------------------------------------------------------------------------


def drift(fresh: NotebookNode, stored: NotebookNode) -> Iterator[str]:
    """How the stored cells differ from those the source gives, outputs aside."""
    wanted = {cell.id: cell for cell in fresh.cells}
    there = {cell.get("id", "?"): cell for cell in stored.cells}
    for cell_id in wanted.keys() - there.keys():
        yield f"{_called(wanted[cell_id])} is missing in the notebook; run `course build`"
    for cell_id in there.keys() - wanted.keys():
        yield f"{_called(there[cell_id])} is not in the source; edit the source and run `course build`"
    for cell_id in wanted.keys() & there.keys():
        if _face(wanted[cell_id]) != _face(there[cell_id]):
            yield f"cell {cell_id} differs from its source; edit the source and run `course build`"
    if wanted.keys() == there.keys() and len(stored.cells) != len(fresh.cells):
        yield "a cell is there twice; run `course build`"
    elif wanted.keys() == there.keys() and list(wanted) != list(there):
        yield "the cells are in another order than in the source; run `course build`"
    stamp = stored.metadata.get("course", {})
    if build.code_digest(fresh) == build.code_digest(stored) and stamp.get("code") != build.code_digest(
        fresh
    ):
        yield "its outputs were made by other code; run `course build`"
    expected = source.notebook_metadata()
    if {k: v for k, v in stored.metadata.items() if k != "course"} != expected:
        yield "its metadata were changed; run `course build`"


def _called(cell: NotebookNode) -> str:
    """Prose has no name of its own in the source: its first words."""
    if cell.cell_type == "code":
        return f"cell {cell.get('id', '?')}"
    text = " ".join(cell.source.split())
    return f"the prose '{text[:WORDS]}{'…' if len(text) > WORDS else ''}'"


def _face(cell: NotebookNode) -> tuple[str, str, dict]:
    return cell.cell_type, cell.source, dict(cell.metadata)


def stale_notes(root: Path, chapter: Chapter, fresh: NotebookNode, stored: NotebookNode) -> Iterator[str]:
    """Whether `course build` would execute the notebook anew."""
    if reason := build.stale(root, fresh, stored):
        yield f"{chapter.name}: outputs are older than what made them: {reason}"


def strict_faults(chapter_source: source.Source) -> Iterator[str]:
    """At least 60 % of the code cells must be compared with their stored outputs by the tests."""
    code = [cell for cell in chapter_source.cells if cell.kind == "code"]
    strict = sum(IGNORED not in cell.tags for cell in code)
    if strict < STRICT_SHARE * len(code):
        yield (
            f"{chapter_source.path}: {strict} of {len(code)} code cells are compared strictly, "
            f"fewer than {STRICT_SHARE:.0%}; remove {IGNORED} where the output is deterministic"
        )


def output_faults(root: Path, notebook: NotebookNode) -> Iterator[str]:
    """Stored outputs that a build never writes: errors, stderr, machine paths, dead widgets."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if cell.execution_count is None:
            yield f"cell {cell.id} was not executed"
        if any(output.output_type == "error" for output in cell.outputs):
            yield f"cell {cell.id} holds an error"
        if any(outputs.is_noise(output) for output in cell.outputs):
            yield f"cell {cell.id} holds stderr or a widget view"
        if path := outputs.path_in_output(cell, root):
            yield f"cell {cell.id} holds the machine's path {path!r}"
        if why := outputs.broken_check(cell):
            yield f"cell {cell.id} holds a question that is itself broken: {why}"


def dollar_faults(chapter_source: source.Source) -> Iterator[str]:
    """A `$` directly before a code span: JupyterLab takes it for a part of the code, and formulas fall apart."""
    for cell in (cell for cell in chapter_source.cells if cell.kind == "markdown"):
        for span in CODE.finditer(cell.text):
            if cell.text[: span.start()].endswith("$"):
                yield f"{chapter_source.path}: a $ stands directly before {span[0]}; put a space between"


# ---- solutions --------------------------------------------------------------------------------


def leaks(chapter_source: source.Source, notebook: NotebookNode) -> Iterator[str]:
    """Lines of solutions that occur anywhere in the student's notebook: sources, outputs, metadata."""
    haystack = "\n".join(_strings(notebook))
    for cell_id, line in secret_lines(chapter_source):
        if line in haystack:
            yield f"a line of the solution in cell {cell_id} leaked: {line!r}"


def secret_lines(chapter_source: source.Source) -> Iterator[tuple[str, str]]:
    """Cell id and line of every solution line that gives something away.

    Short and trivial lines do not, nor does a line that an earlier cell has already shown as teaching.
    """
    shown: set[str] = set()
    for cell in chapter_source.cells:
        for line in source.solution_lines(cell):
            if len(line) >= SHORT and not TRIVIAL.match(line) and line not in shown:
                yield cell.id, line
        shown.update(row.strip() for row in source.render(cell, solution=False).splitlines())


def _strings(value: object) -> Iterator[str]:
    """Every string inside a notebook; images are left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not str(key).startswith("image/"):
                yield from _strings(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _strings(entry)


# ---- questions --------------------------------------------------------------------------------


def declared_questions(root: Path, chapters: Iterable[Chapter]) -> dict[str, list[tuple[str, str]]]:
    """Chapter number → (question id, objective id), asked of the checkout's own course_lib."""
    modules = json.dumps({chapter.number: chapter.module for chapter in chapters})
    command = [sys.executable, "-c", QUESTIONS, modules]
    asked = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ValueError(f"the questions cannot be read: {_first_cause(asked.stderr)}")
    found = json.loads(asked.stdout)
    return {number: [(q, objective) for q, objective in entries] for number, entries in found.items()}


def _first_cause(traceback: str) -> str:
    """The error, behind the line of the question file that it comes from."""
    places = re.findall(r'File "[^"]*[/\\](course_lib[/\\]exercises[/\\]\w+\.py)", line (\d+)', traceback)
    where = "{}:{}: ".format(*places[0]) if places else ""
    return where + traceback.strip().splitlines()[-1]


def question_faults(chapter_source: source.Source, questions: list[tuple[str, str]]) -> Iterator[str]:
    """Objectives and questions must cover each other, and the source must check every question."""
    chapter, path = chapter_source.chapter, chapter_source.path
    objectives = {objective.id for objective in chapter.objectives}
    for objective in sorted(objectives - {o for _, o in questions}):
        yield f"{chapter.name}: objective {objective} has no question"
    for question, objective in questions:
        if objective not in objectives:
            yield f"{chapter.name}: question {question} names no objective of its chapter: {objective!r}"
    asked = {q for c in chapter_source.cells if c.kind == "code" for q in build.CHECKED.findall(c.text)}
    declared = {question for question, _ in questions}
    yield from (f"{path}: question {q} is declared but never checked" for q in sorted(declared - asked))
    yield from (f"{path}: question {q} is checked but not declared" for q in sorted(asked - declared))


# ---- figures, links, pages --------------------------------------------------------------------


def figure_faults(notebook: NotebookNode) -> Iterator[str]:
    """A figure needs alt text that states its finding, and at most 100 dots an inch."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            yield from _image_faults(cell)
            continue
        for output in cell.outputs:
            for kind in (k for k in output.get("data", {}) if k.startswith("image/")):
                alt = output.metadata.get(kind, {}).get("alt", "")
                if len(alt) < ALT_LENGTH:
                    yield f"cell {cell.id}: a figure has {_alt_words(alt)}"
                if kind == "image/png" and (dots := png_dots_per_metre(output.data[kind])) > DOTS_PER_METRE:
                    yield f"cell {cell.id}: a figure has {dots * 0.0254:.0f} dpi, at most 100"


def _image_faults(cell: NotebookNode) -> Iterator[str]:
    text = CODE.sub("", cell.source)
    alts = [alt for alt, _ in IMAGE.findall(text)]
    alts += ["".join(re.findall(r"""alt=["']([^"']*)""", tag)) for tag in HTML_IMAGE.findall(text)]
    yield from (f"cell {cell.id}: a figure has {_alt_words(alt)}" for alt in alts if len(alt) < ALT_LENGTH)


def _alt_words(alt: str) -> str:
    return f"an alt text of {len(alt)} characters, at least {ALT_LENGTH}" if alt else "no alt text"


def png_dots_per_metre(data: str) -> int:
    """The resolution a PNG states in its pHYs chunk, 0 when it states none."""
    raw = b64decode(data)
    at = raw.find(b"pHYs", 0, 200)
    return struct.unpack(">I", raw[at + 4 : at + 8])[0] if at > 0 else 0


def broken_links(text: str, folder: Path) -> Iterator[str]:
    """Relative link targets in Markdown that name no file; anchors and code are not looked at."""
    text = CODE.sub("", text)
    targets = [*LINK.findall(text), *(t for _, t in IMAGE.findall(text)), *HTML_LINK.findall(text)]
    for target in targets:
        path = target.split("#")[0]
        if path and not re.match(r"^[a-z][a-z0-9+.-]*:", path, re.I) and not (folder / path).exists():
            yield target


def page_faults(root: Path) -> Iterator[str]:
    """Broken links in the Markdown pages beside the notebooks."""
    for path in [*sorted(root.glob("*.md")), *sorted((root / "data").glob("*.md"))]:
        for link in broken_links(path.read_text(encoding="utf-8"), path.parent):
            yield f"{path.relative_to(root).as_posix()}: broken link {link}"


def generated_faults(root: Path, course: Course) -> Iterator[str]:
    """course.json and the README's table must say what course.yml says."""
    copy, readme = root / "course_lib" / "course.json", root / "README.md"
    if not copy.is_file() or copy.read_text(encoding="utf-8") != graph.as_json(root):
        yield "course_lib/course.json differs from notebooks/course.yml; run `course build`"
    text = readme.read_text(encoding="utf-8")
    try:
        if graph.with_table(text, course) != text:
            yield "README.md: the chapter table differs from notebooks/course.yml; run `course build`"
    except ValueError as error:
        yield str(error)


def stray_faults(root: Path, course: Course) -> Iterator[str]:
    """Notebooks and sources that no ready chapter owns."""
    folder = root / "notebooks"
    owned = {c.notebook for c in course.ready} | {f"{c.name}.md" for c in course.ready}
    for path in [*folder.glob("*.ipynb"), *(folder / "source").glob("*.md")]:
        if path.name not in owned:
            yield f"{path.relative_to(root).as_posix()} belongs to no chapter that is ready in course.yml"
