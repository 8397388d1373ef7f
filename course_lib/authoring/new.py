"""`course new chapter`: a small whole chapter to write over, which every check accepts from its first minute.

It brings a source, a question file and the entry in course.yml, whose text is added to and otherwise left as it
stands. Everything is refused or prepared before anything is written, and course.yml is replaced last: a chapter
that the graph knows has its files.
"""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from course_lib.authoring import build, graph, source
from course_lib.course import Chapter, Course, from_dict

TEMPLATE = Path(__file__).with_name("template")
PLACE = "NN"  # stands for the chapter's number in the template
MINUTES = 30
OBJECTIVES = {
    "write-memory": "write a memory that forgets, token by token",
    "stretch-memory": "name the change that makes a fading memory reach further back",
    "halve-weight": "compute after how many tokens half of a word's weight is left",
}
FIRST_STEPS = "predicting, checking and revealing work as they do there"
ENTRY = re.compile(r'^  - number: "(\d\d)"$', re.M)


def chapter(
    root: Path,
    slug: str,
    *,
    title: str | None = None,
    number: str | None = None,
    part: str | None = None,
    learn_before: Mapping[str, str] | None = None,
) -> list[str]:
    """Writes the new chapter and says what to do next, a line each. ValueError, before anything is written,
    for a slug, number or file that exists and for a place in the graph that does not fit.

    `learn_before` maps a chapter's number to the reason for reading it first; by default the course's first.
    """
    old = graph.load(root)
    _check_slug(old, slug)
    number = number or f"{max(int(c.number) for c in old.chapters) + 1:02}"
    entry = _entry(
        slug,
        title=title or slug.replace("-", " ").capitalize(),
        number=number,
        part=part or list(old.parts)[-1],
        track=list(old.tracks)[-1],
        learn_before=learn_before or {old.chapters[0].number: FIRST_STEPS},
    )
    path = root / "notebooks" / "course.yml"
    grown = _with_entry(path.read_text(encoding="utf-8"), entry, number)
    new = _checked(root, grown, number)
    _write(_files(root, new), path, grown)
    course = graph.load(root)
    build.write_graph(root, course)
    build.rewrite_prose(root, course, [c for c in course.ready if c.number in new.learn_before])
    return list(_next_steps(root, new))


def _check_slug(course: Course, slug: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug) or keyword.iskeyword(slug):
        raise ValueError(
            f"the slug is {slug!r}; a letter, then words of a-z and 0-9 with single dashes are expected: fading-memory"
        )
    if there := next((c for c in course.chapters if c.slug == slug), None):
        planned = "" if there.ready else ": write its source and questions, and set its status to ready"
        raise ValueError(
            f"chapter {there.number} has the slug {slug!r} already; it is {there.status}{planned}"
        )


def _entry(
    slug: str, *, title: str, number: str, part: str, track: str, learn_before: Mapping[str, str]
) -> str:
    """The chapter's lines in course.yml. A JSON string is a YAML string, whatever is in it."""
    rows = [
        f'  - number: "{number}"',
        f"    slug: {slug}",
        f"    title: {_quoted(title)}",
        f"    part: {part}",
        f"    minutes: {MINUTES}",
        "    status: ready",
        "    star: false",
        f"    tracks: [{track}]",
        "    learn_before:",
        *(f"      {_quoted(before)}: {_quoted(why)}" for before, why in learn_before.items()),
        "    objectives:",
        *(f"      {name}: {words}" for name, words in OBJECTIVES.items()),
    ]
    return "\n".join(rows) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _with_entry(text: str, entry: str, number: str) -> str:
    """The graph's text with the entry before the first chapter that has a larger number, or at its end."""
    later = next((match for match in ENTRY.finditer(text) if match[1] > number), None)
    if later is None:
        return f"{text.rstrip()}\n\n{entry}"
    return f"{text[: later.start()]}{entry}\n{text[later.start() :]}"


def _checked(root: Path, grown: str, number: str) -> Chapter:
    """The new chapter as the grown graph gives it; ValueError says why it cannot be."""
    if not re.fullmatch(r"\d\d", number):
        raise ValueError(f"the number is {number!r}; two digits are expected, such as 22")
    course = from_dict(graph.parse(grown))
    if faults := list(graph.graph_faults(course)):
        raise ValueError("; ".join(faults))
    new = course.chapter(number)
    for path in (*_files(root, new), build.target(root, new, solution=False)):
        if path.exists():
            raise ValueError(f"{path.relative_to(root).as_posix()} exists already")
    return new


def _files(root: Path, new: Chapter) -> dict[Path, str]:
    """What is written beside the graph: path → text."""
    targets = {
        source.source_path(root, new): "chapter.md",
        root / "course_lib" / "exercises" / f"{new.module}.py": "questions.py.txt",
    }
    templates = {path: (TEMPLATE / name).read_text(encoding="utf-8") for path, name in targets.items()}
    return {path: text.replace(PLACE, new.number) for path, text in templates.items()}


def _write(files: Mapping[Path, str], graph_path: Path, grown: str) -> None:
    """All of it or nothing: until the graph is replaced, an error takes the new files away again."""
    try:
        for path, text in files.items():
            build.write_atomically(path, text)
        build.write_atomically(graph_path, grown)
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _next_steps(root: Path, new: Chapter) -> Iterator[str]:
    yield f'chapter {new.number} "{new.title}": its entry is in notebooks/course.yml, with objectives to replace'
    yield from (f"wrote {path.relative_to(root).as_posix()}" for path in _files(root, new))
    yield f"next: course build {new.number}, then course build --check"
