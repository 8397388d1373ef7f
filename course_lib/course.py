"""The concept graph as the student's code sees it.

A chapter is a node; `learn_before` holds its incoming edges, each with the reason for it. `learn_after` is
the inverse and is computed, never typed, so the two directions cannot disagree. The graph is written by
hand in `notebooks/course.yml`; `course build` copies it into `course.json`, so that no YAML parser is
needed here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

STATUSES = ("ready", "planned")
FIELDS = (
    "number",
    "slug",
    "title",
    "part",
    "minutes",
    "status",
    "star",
    "tracks",
    "learn_before",
    "objectives",
)


@dataclass(frozen=True)
class Objective:
    """What a reader can do after the chapter: an id, and a sentence that starts with an observable verb."""

    id: str
    text: str


@dataclass(frozen=True)
class Chapter:
    """One chapter. `learn_before` maps a chapter's number to the one-line reason for reading it first."""

    number: str
    slug: str
    title: str
    part: str
    minutes: int
    status: str
    star: bool
    tracks: tuple[str, ...]
    learn_before: dict[str, str]
    objectives: tuple[Objective, ...]

    @property
    def name(self) -> str:
        """The stem that source, notebook and solution share: `08_linear-attention`."""
        return f"{self.number}_{self.slug}"

    @property
    def notebook(self) -> str:
        """The file a student opens: `08_linear-attention.ipynb`."""
        return f"{self.name}.ipynb"

    @property
    def module(self) -> str:
        """The module in `course_lib.exercises` that declares its questions: `linear_attention`."""
        return self.slug.replace("-", "_")

    @property
    def ready(self) -> bool:
        """Whether the chapter is written, and not only planned."""
        return self.status == "ready"


@dataclass(frozen=True)
class Course:
    """The whole graph. `repository` is `OWNER/NAME` or an address git understands; empty until published."""

    title: str
    repository: str
    ref: str
    parts: dict[str, str]
    tracks: dict[str, str]
    chapters: tuple[Chapter, ...]

    def chapter(self, number: str) -> Chapter:
        """The chapter with this two-digit number; ValueError names the numbers there are."""
        for chapter in self.chapters:
            if chapter.number == number:
                return chapter
        known = ", ".join(chapter.number for chapter in self.chapters)
        raise ValueError(f"there is no chapter {number!r}; the course has {known}")

    def learn_after(self, number: str) -> dict[str, str]:
        """The chapters that name this one under `learn_before`, and the reason each of them gives."""
        self.chapter(number)
        return {c.number: c.learn_before[number] for c in self.chapters if number in c.learn_before}

    @property
    def ready(self) -> tuple[Chapter, ...]:
        """The chapters that are written."""
        return tuple(chapter for chapter in self.chapters if chapter.ready)


def from_dict(data: dict[str, Any]) -> Course:
    """Builds the course from what `course.yml` or `course.json` holds."""
    return Course(
        title=data["title"],
        repository=data["repository"],
        ref=data["ref"],
        parts=dict(data["parts"]),
        tracks=dict(data["tracks"]),
        chapters=tuple(_chapter(entry) for entry in data["chapters"]),
    )


def _chapter(entry: dict[str, Any]) -> Chapter:
    if missing := [name for name in FIELDS if name not in entry]:
        raise ValueError(f"chapter {entry.get('number', '?')}: {', '.join(missing)} is missing")
    return Chapter(
        number=entry["number"],
        slug=entry["slug"],
        title=entry["title"],
        part=entry["part"],
        minutes=entry["minutes"],
        status=entry["status"],
        star=entry["star"],
        tracks=tuple(entry["tracks"]),
        learn_before=dict(entry["learn_before"]),
        objectives=tuple(Objective(id, text) for id, text in entry["objectives"].items()),
    )


@lru_cache(maxsize=1)
def load() -> Course:
    """The course that belongs to this installation."""
    path = Path(__file__).with_name("course.json")
    return from_dict(json.loads(path.read_text(encoding="utf-8")))


def checkout() -> Path | None:
    """The folder of the checkout this package runs from, or None when it was installed as a wheel."""
    root = Path(__file__).resolve().parent.parent
    return root if (root / "pyproject.toml").is_file() and (root / "notebooks").is_dir() else None


def notebooks_folder() -> Path:
    """Where the released notebooks are: `notebooks/` of the checkout, or the copy inside a wheel."""
    root = checkout()
    return root / "notebooks" if root else Path(__file__).with_name("notebooks")
