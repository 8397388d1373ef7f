"""Grades in the form in which a learning platform takes them.

canvas      grades-canvas.csv: the gradebook's import. Columns Student, ID, SIS User ID, SIS Login ID, Section, and
            one per chapter; the second row holds the points possible.
moodle      grades-moodle.csv: the grading worksheet of one assignment. Columns Identifier, Full name, Grade,
            Maximum grade, Feedback comments.
nbgrader    grades-nbgrader.csv: what `nbgrader export` writes. Columns assignment, duedate, timestamp,
            student_id, last_name, first_name, email, raw_score, late_submission_penalty, score, max_score.
gradescope  gradescope/<student>.json: one autograder result a student: score, visibility, tests (name, score,
            max_score, output).

What a platform must fill in itself (sections, e-mail addresses) stays empty. Names match by the platform's id
where the submissions came in its zip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import course
from course_lib.grading.report import Student, as_csv, as_markdown, file_names, students
from course_lib.timing.store import write_whole

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = ("Identifier", "Full name", "Grade", "Maximum grade", "Feedback comments")
NBGRADER = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score"),
)


def export(grades: Path, platform: str) -> list[Path]:
    """Writes the platform's files beside the grades and returns their paths."""
    results = sorted((grades / "results").glob("*.json"))
    if not results:
        raise ValueError(f"{grades} holds no results: a folder that `course grade` wrote is expected")
    people = students(json.loads(path.read_text(encoding="utf-8")) for path in results)
    return PLATFORMS[platform](grades, people)


def _chapters(people: Sequence[Student]) -> dict[str, float]:
    """The chapters handed in, with what can be reached in each."""
    found = {}
    for person in people:
        for result in person.counted:
            if result["chapter"] and result["questions"]:
                found[result["chapter"]] = sum(q["of"] for q in result["questions"])
    return dict(sorted(found.items()))


def _by_chapter(person: Student) -> dict[str, float]:
    return {
        r["chapter"]: round(sum(q["points"] for q in r["questions"]), 2)
        for r in person.counted
        if r["chapter"] and r["questions"]
    }


def _name(chapter: str) -> str:
    return course.load().chapter(chapter).name


def canvas(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One column a chapter; a chapter that was not handed in stays empty."""
    chapters = _chapters(people)
    rows = [[*CANVAS, *map(_name, chapters)], ["    Points Possible", "", "", "", "", *chapters.values()]]
    for person in people:
        reached = _by_chapter(person)
        rows.append([person.name, person.id, "", "", "", *(reached.get(chapter, "") for chapter in chapters)])
    return [_written(grades / "grades-canvas.csv", as_csv(rows))]


def moodle(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One grade a student: all chapters together."""
    rows: list[Sequence[object]] = [MOODLE]
    for person in people:
        identifier = f"Participant {person.id}" if person.id else ""
        rows.append([identifier, person.name, person.points, person.of, as_markdown(person)])
    return [_written(grades / "grades-moodle.csv", as_csv(rows))]


def nbgrader(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One row a student and chapter."""
    possible, rows = _chapters(people), [NBGRADER]
    for person in people:
        for chapter, points in _by_chapter(person).items():
            who = (person.id or person.name, "", person.name, "")
            rows.append((_name(chapter), "", "", *who, points, 0, points, possible[chapter]))
    return [_written(grades / "grades-nbgrader.csv", as_csv(rows))]


def gradescope(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One JSON a student."""
    folder = grades / "gradescope"
    folder.mkdir(exist_ok=True)
    paths = []
    for name, person in zip(file_names(people), people, strict=True):
        tests = [
            {
                "name": f"{q['id']} {q['title']}",
                "score": q["points"],
                "max_score": q["of"],
                "output": q["message"][:600],
                "output_format": "text",
                "visibility": "visible",
            }
            for q in person.questions
        ]
        result = {"score": person.points, "visibility": "visible", "tests": tests}
        paths.append(
            _written(folder / f"{name}.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
        )
    return paths


def _written(path: Path, text: str) -> Path:
    write_whole(path, text)
    return path


PLATFORMS: dict[str, Callable[[Path, Sequence[Student]], list[Path]]] = {
    "canvas": canvas,
    "moodle": moodle,
    "nbgrader": nbgrader,
    "gradescope": gradescope,
}
