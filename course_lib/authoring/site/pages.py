"""What Sphinx reads: a copy of each chapter with its place in the course, and pages cut from files that exist.

The folder mirrors the checkout, so that relative links in the README, in CONTRIBUTING and between notebooks lead
where they should. A section of the README is cut out by its heading; no sentence is written twice.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from course_lib.authoring.site import docstrings
from course_lib.concept_map import concept_map_html
from course_lib.course import Chapter, Course

# Each page of the API reference, in reading order: module → what it is about.
MODULES = {
    "course_lib.attention": "Sequence mixers",
    "course_lib.cache": "What a decoder carries",
    "course_lib.models": "Blocks and language models",
    "course_lib.tasks": "Tasks and texts",
    "course_lib.training": "Training",
    "course_lib.experiments": "Recorded trainings",
    "course_lib.timing": "Measuring",
    "course_lib.cost": "Cost formulas",
    "course_lib.decide": "Choosing an architecture",
    "course_lib.plots": "Figures",
    "course_lib.widgets": "Widgets",
    "course_lib.exercises": "Exercises",
    "course_lib.exercises.question": "Declaring a question",
    "course_lib.runtime": "What the machine can do",
    "course_lib.course": "The concept graph",
}
COPIED = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "data/README.md", "data/measurements/prefill-cpu.png")
WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---"  # no column of contents beside the page
ABOUT = {"CONTRIBUTING": "Contributing", "data/README": "Measurements", "CHANGELOG": "Changelog"}


def write(root: Path, course: Course, folder: Path) -> None:
    """Writes the source folder of the site, which must be empty or new."""
    for name in COPIED:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)
    texts = {"index.md": front(root, course), "map.md": map_page(course), "api/index.md": api_index(root)}
    texts |= {"start.md": start(root), "teachers.md": teachers(root)}
    texts |= {f"api/{module}.md": api_page(module) for module in MODULES}
    for chapter in course.ready:
        notebook = json.loads((root / "notebooks" / chapter.notebook).read_text(encoding="utf-8"))
        texts[f"notebooks/{chapter.notebook}"] = json.dumps(chapter_page(course, chapter, notebook))
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


# ---- chapters -----------------------------------------------------------------------------------


def chapter_page(course: Course, chapter: Chapter, notebook: dict[str, Any]) -> dict[str, Any]:
    """The stored notebook with its tracks under the header, the set-up folded, and links to pages in its outputs."""
    header, setup, *_ = cells = notebook["cells"]
    header["source"] = "\n\n".join(
        ["".join(header["source"]), tracks_text(course, chapter), _way_in(chapter)]
    )
    setup["metadata"]["tags"] = ["hide-input"]
    for cell in cells:
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):
                output["data"]["text/html"] = linked("".join(output["data"]["text/html"]))
    return notebook


def tracks_text(course: Course, chapter: Chapter) -> str:
    """The tracks a chapter is on, each with its neighbours there."""
    lines = [f"- {_track_line(course, chapter, track)}" for track in chapter.tracks]
    return "**Tracks**\n\n" + "\n".join(lines)


def _way_in(chapter: Chapter) -> str:
    """What a reader does who wants more than to read."""
    install = "[install the course](../start.md)"
    return f"This page is for reading. To run it and answer: {install}, open `{chapter.notebook}`."


def _track_line(course: Course, chapter: Chapter, track: str) -> str:
    stops = [c for c in course.chapters if track in c.tracks]
    at = stops.index(chapter)
    before = f"after {reference(stops[at - 1])}" if at else "the first chapter"
    after = f"before {reference(stops[at + 1])}" if at + 1 < len(stops) else "the last chapter"
    return f"[{track}](../map.md#{track}): {before}, {after}"


def reference(chapter: Chapter, folder: str = "") -> str:
    """A link to a chapter's page; a planned one has none, and says so."""
    label = f"{chapter.number} {chapter.title}"
    return f"[{label}]({folder}{chapter.notebook})" if chapter.ready else f"{label} (planned)"


def linked(html: str, folder: str = "") -> str:
    """HTML whose links to notebooks lead to their pages in `folder`."""
    return re.sub(r'href="([\w.-]+)\.ipynb"', rf'href="{folder}\1.html"', html)


def alternatives(notebook: dict[str, Any]) -> list[str]:
    """The alternative text of every stored figure, in order; empty where it has none."""
    outputs = (output for cell in notebook["cells"] for output in cell.get("outputs", ()))
    return [
        output.get("metadata", {}).get("image/png", {}).get("alt", "")
        for output in outputs
        if "image/png" in output.get("data", {})
    ]


# ---- pages from the README ----------------------------------------------------------------------


def section(text: str, heading: str) -> str:
    """A level-two section of a Markdown text, with its heading; ValueError when there is none."""
    parts = re.split(r"^(?=## )", text, flags=re.M)
    for part in parts:
        if part.startswith(f"## {heading}\n"):
            return part.rstrip() + "\n"
    raise ValueError(f"README.md has no section {heading!r}, which a page of the site is made of")


def front(root: Path, course: Course) -> str:
    """The first page: the README's opening, the chapters, and the tables of contents."""
    readme = _readme(root)
    opening = re.split(r"^## ", readme, maxsplit=1, flags=re.M)[0].rstrip()
    way = "[Install it and start](start.md), or see [how the chapters hang together](map.md)."
    blocks = [opening, way, section(readme, "Chapters"), section(readme, "Licence")]
    return "\n\n".join([*blocks, *_contents(course)]) + "\n"


def _contents(course: Course) -> list[str]:
    """Tables of contents: how to start, the written chapters of each part, and what else there is."""
    tables = [_toctree("Start", ["map", "start"])]
    for part, title in course.parts.items():
        if names := [f"notebooks/{c.name}" for c in course.ready if c.part == part]:
            tables.append(_toctree(f"Part {part} · {title}", names))
    about = [f"{title} <{name}>" for name, title in ABOUT.items()]
    return [*tables, _toctree("Teach, use, contribute", ["teachers", "api/index", *about])]


def _toctree(caption: str, names: list[str]) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *names, "```"])


def start(root: Path) -> str:
    """How to install and run the course, from the README."""
    readme = _readme(root)
    ways = section(readme, "Two commands"), section(readme, "Other ways to run it")
    return "\n".join(["# Install and start\n", *ways])


def teachers(root: Path) -> str:
    """The teacher's guide, from the README."""
    readme = _readme(root)
    more = "How to write a chapter or a question: [Contributing](CONTRIBUTING.md).\n"
    guide = section(readme, "For teachers"), section(readme, "Grading a class")
    return "\n".join(["# Teacher's guide\n", *guide, more])


def _readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


# ---- the map ------------------------------------------------------------------------------------


def map_page(course: Course) -> str:
    """The concept graph as a figure of links, and every track as a list."""
    figure = (
        '<div class="concept-map" role="region" aria-label="Concept map" tabindex="0">\n'
        + linked(concept_map_html(course), "notebooks/")
        + "\n</div>"
    )
    lead = "An arrow leads from a chapter to what builds on it. Choose a chapter to open it."
    tracks = [_track_section(course, track, text) for track, text in course.tracks.items()]
    return "\n\n".join([WIDE, "# Map and tracks", lead, figure, *tracks]) + "\n"


def _track_section(course: Course, track: str, text: str) -> str:
    stops = [c for c in course.chapters if track in c.tracks]
    minutes = sum(c.minutes for c in stops)
    lines = [f"- {reference(c, 'notebooks/')}" for c in stops]
    return f"## {track}\n\n{text} About {minutes / 60:.0f} hours.\n\n" + "\n".join(lines)


# ---- the API reference --------------------------------------------------------------------------


def api_index(root: Path) -> str:
    """What the library holds, from the README, and a line for each module."""
    library = section(_readme(root), "As a library").replace("(data/", "(../data/")
    lines = [f"- [{title}]({module}.md): `{module}`" for module, title in MODULES.items()]
    parts = ["# API reference\n", library, "## Modules\n", *lines, "", _toctree("Modules", list(MODULES))]
    return "\n".join(parts)


def api_page(module: str) -> str:
    """One module: what it says of itself, a table of its public names, then each with its docstring."""
    loaded = importlib.import_module(module)
    about = docstrings.as_rst((inspect.getdoc(loaded) or "").splitlines())
    table = [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in public(loaded)), ""]
    members = [f".. automodule:: {module}", "   :members:"]
    block = ["```{eval-rst}", f".. currentmodule:: {module}", "", *about, *table, *members, "```"]
    return "\n".join([f"# {MODULES[module]}", "", *block]) + "\n"


def public(module: ModuleType) -> list[str]:
    """The functions and classes that a module offers: those in `__all__`, else its own without an underscore."""
    names = getattr(module, "__all__", None) or [n for n, x in vars(module).items() if _is_own(module, n, x)]
    return [name for name in names if callable(getattr(module, name)) and getattr(module, name).__doc__]


def _is_own(module: ModuleType, name: str, thing: Any) -> bool:
    return not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
