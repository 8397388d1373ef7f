"""The concept graph: read, checked, and turned into the words around a chapter.

A course is a directed acyclic graph and its numbering is one topological order of it: every chapter stands
after all that it needs. Headers, footers and the README's table are functions of the graph alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from course_lib.course import STATUSES, Chapter, Course, from_dict

TABLE_MARKS = ("<!-- chapters:begin -->", "<!-- chapters:end -->")
COLAB = "https://colab.research.google.com/github/{repository}/blob/{ref}/notebooks/{notebook}"
BINDER = "https://mybinder.org/v2/gh/{repository}/{ref}?urlpath=lab/tree/notebooks/{notebook}"


def read(root: Path) -> dict[str, Any]:
    """The contents of the checkout's `notebooks/course.yml`; ValueError where it is no YAML or no course."""
    return parse((root / "notebooks" / "course.yml").read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Any]:
    """What the text of a `course.yml` holds; ValueError as in `read`."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ValueError(f"notebooks/course.yml{line}: {getattr(error, 'problem', error)}") from error
    if not isinstance(data, dict):
        raise ValueError("notebooks/course.yml: title, parts, tracks and chapters are expected")
    return data


def load(root: Path) -> Course:
    """The course of a checkout; ValueError lists every fault of its graph."""
    course = from_dict(read(root))
    if faults := list(graph_faults(course)):
        raise ValueError("notebooks/course.yml: " + "; ".join(faults))
    return course


def as_json(root: Path) -> str:
    """The text of `course_lib/course.json`."""
    return json.dumps(read(root), indent=1, ensure_ascii=False) + "\n"


# ---- faults -----------------------------------------------------------------------------------


def graph_faults(course: Course) -> Iterator[str]:
    """Everything that makes the graph no concept graph, one sentence each."""
    yield from _field_faults(course)
    yield from _edge_faults(course)
    yield from _cycle_faults(course)


def _field_faults(course: Course) -> Iterator[str]:
    seen: set[str] = set()
    for c in course.chapters:
        if c.number in seen:
            yield f"chapter {c.number} is there twice: {c.slug} needs another number"
        seen.add(c.number)
        if c.part not in course.parts:
            yield f"chapter {c.number}: unknown part {c.part!r}; there are {', '.join(course.parts)}"
        if c.status not in STATUSES:
            yield f"chapter {c.number}: status is {c.status!r}, expected one of {', '.join(STATUSES)}"
        if unknown := set(c.tracks) - set(course.tracks):
            yield f"chapter {c.number}: unknown track {', '.join(sorted(unknown))}"
        if not 3 <= len(c.objectives) <= 5:
            yield f"chapter {c.number}: {len(c.objectives)} objectives, expected three to five"


def _edge_faults(course: Course) -> Iterator[str]:
    position = {c.number: i for i, c in enumerate(course.chapters)}
    for c in course.chapters:
        for number, why in c.learn_before.items():
            if number not in position:
                yield f"chapter {c.number}: unknown prerequisite {number!r} in learn_before"
            elif position[number] >= position[c.number]:
                yield f"chapter {c.number} stands before its prerequisite {number}: no topological order"
            if not (why or "").strip():
                yield f"chapter {c.number}: no reason given for prerequisite {number}"


def _cycle_faults(course: Course) -> Iterator[str]:
    try:
        TopologicalSorter({c.number: set(c.learn_before) for c in course.chapters}).prepare()
    except CycleError as error:
        yield "the prerequisites form a cycle: " + " → ".join(error.args[1])


# ---- words ------------------------------------------------------------------------------------


def header(course: Course, chapter: Chapter) -> str:
    """The first cell: title, badges, part and minutes, what to learn before, objectives."""
    blocks = [f"# {chapter.number} · {chapter.title}{' ★' if chapter.star else ''}"]
    if badges := _badges(course, chapter):
        blocks.append(badges)
    blocks.append(f"*Part {chapter.part} · {course.parts[chapter.part]} · about {chapter.minutes} minutes*")
    blocks.append("**Learn before**\n\n" + _edges(course, chapter.learn_before, "Nothing: start here."))
    blocks.append("**You will be able to**\n\n" + "\n".join(f"- {o.text}" for o in chapter.objectives))
    return "\n\n".join(blocks)


def footer(course: Course, chapter: Chapter) -> str:
    """The last cell: what the chapter opens, and why."""
    after = course.learn_after(chapter.number)
    return "## Learn after\n\n" + _edges(course, after, "Nothing further: this is the last chapter.")


def chapter_table(course: Course) -> str:
    """The README's chapter table, without its marks."""
    rows = ["| # | Chapter | Part | Minutes | Learn before | Status |", "|---|---|---|---|---|---|"]
    for c in course.chapters:
        title = f"[{c.title}](notebooks/{c.notebook})" if c.ready else c.title
        before = ", ".join(c.learn_before) or "–"
        star = " ★" if c.star else ""
        rows.append(f"| {c.number}{star} | {title} | {c.part} | {c.minutes} | {before} | {c.status} |")
    return "\n".join(rows)


def with_table(readme: str, course: Course) -> str:
    """The README with its chapter table renewed; ValueError when the marks are missing."""
    begin, end = TABLE_MARKS
    if begin not in readme or end not in readme:
        raise ValueError(f"README.md has no place for the chapter table: add the lines {begin} and {end}")
    before, rest = readme.split(begin, 1)
    return f"{before}{begin}\n{chapter_table(course)}\n{end}{rest.split(end, 1)[1]}"


def _edges(course: Course, edges: dict[str, str], none: str) -> str:
    if not edges:
        return none
    return "\n".join(f"- {_link(course.chapter(number))}: {why}" for number, why in edges.items())


def _link(chapter: Chapter) -> str:
    label = f"{chapter.number} {chapter.title}"
    return f"[{label}]({chapter.notebook})" if chapter.ready else f"{label} (planned)"


def _badges(course: Course, chapter: Chapter) -> str:
    """Colab and Binder read from GitHub by OWNER/NAME, so any other address has no badges."""
    if course.repository.count("/") != 1 or ":" in course.repository:
        return ""
    fields = {"repository": course.repository, "ref": course.ref, "notebook": chapter.notebook}
    return f"[Open in Colab]({COLAB.format(**fields)}) · [Open in Binder]({BINDER.format(**fields)})"
