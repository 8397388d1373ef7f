"""Grades in the form in which a learning platform takes them.

canvas      grades-canvas.csv: the gradebook's import. Columns Student, ID, SIS User ID, SIS Login ID, Section, and
            one per chapter; the second row holds the points possible.
moodle      grades-moodle.csv: the grading worksheet of one assignment. Columns Identifier, Full name, Email
            address, Status, Grade, Maximum grade, Grade can be changed, Last modified (submission), Last modified
            (grade), Feedback comments. Moodle refuses a file without Identifier, Grade or Last modified (grade).
nbgrader    grades-nbgrader.csv: what `nbgrader export` writes. Columns assignment, duedate, timestamp,
            student_id, last_name, first_name, email, raw_score, late_submission_penalty, score, max_score.
gradescope  gradescope/<student>.json: one autograder result a student: score, visibility, output, tests (name,
            score, max_score, output, output_format, visibility).

What a platform must fill in itself (sections, e-mail addresses) stays empty, and so does the grade of a student
whom a person must look at. Names match by the platform's id where the submissions came in its zip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from course_lib import course
from course_lib.grading.report import Student, as_csv, file_names, html_body, shown, students
from course_lib.timing.store import write_whole

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE = (
    *("Identifier", "Full name", "Email address", "Status", "Grade", "Maximum grade", "Grade can be changed"),
    *("Last modified (submission)", "Last modified (grade)", "Feedback comments"),
)
NBGRADER = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score"),
)


def export(grades: Path, platform: str) -> list[Path]:
    """Writes the platform's files beside the grades and returns their paths."""
    return PLATFORMS[platform](grades, students(_results(grades)))


def _results(grades: Path) -> list[dict]:
    """The results that the run's own tables show: of what was handed in before and replaced, none."""
    record = grades / "run.json"
    if not record.is_file():
        raise ValueError(
            f"{grades} has no run.json: a folder is expected that `course grade` wrote and finished (--resume)"
        )
    listed = json.loads(record.read_text(encoding="utf-8"))["results"]
    stored = (json.loads(path.read_text(encoding="utf-8")) for path in (grades / "results").glob("*.json"))
    wanted = {_identity(result) for result in listed}
    return [result for result in stored if _identity(result) in wanted]


def _identity(result: dict) -> tuple[str, str, str]:
    return result["student"], result["file"], result["sha256"]


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
    """One column a chapter; a chapter that was not handed in stays empty. A row whose name holds the words
    "Points Possible" would change every assignment, so no name keeps them.
    """
    chapters = _chapters(people)
    rows = [[*CANVAS, *map(_name, chapters)], ["Points Possible", "", "", "", "", *chapters.values()]]
    for person in people:
        reached, name = _by_chapter(person), person.name.replace("Points Possible", "points possible")
        rows.append([name, person.id, "", "", "", *(reached.get(chapter, "") for chapter in chapters)])
    return [_written(grades / "grades-canvas.csv", as_csv(rows))]


def moodle(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One grade a student: all chapters together, with the feedback page."""
    rows: list[Sequence[object]] = [MOODLE]
    for person in people:
        identifier = f"Participant {person.id}" if person.id else ""
        grade = ("", "") if person.open else (person.points, person.of)
        rows.append([identifier, person.name, "", "", *grade, "Yes", "-", "-", html_body(person)])
    return [_written(grades / "grades-moodle.csv", as_csv(rows))]


def nbgrader(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One row a chapter and student."""
    rows: list[Sequence[object]] = [NBGRADER]
    for chapter, possible in _chapters(people).items():
        for person in people:
            points = _by_chapter(person).get(chapter)
            if points is not None:
                who = (person.id or person.name, "", person.name, "")
                rows.append((_name(chapter), "", "", *who, points, 0, points, possible))
    return [_written(grades / "grades-nbgrader.csv", as_csv(rows))]


def gradescope(grades: Path, people: Sequence[Student]) -> list[Path]:
    """One JSON a student."""
    folder = grades / "gradescope"
    folder.mkdir(exist_ok=True)
    return [
        _written(
            folder / f"{name}.json", json.dumps(_autograded(person), indent=1, ensure_ascii=False) + "\n"
        )
        for name, person in zip(file_names(people), people, strict=True)
    ]


def _autograded(person: Student) -> dict:
    """With neither score nor tests, which would be added up, where a person must look first."""
    tests = [
        {
            "name": f"{q['id']} {q['title']}",
            "score": q["points"],
            "max_score": q["of"],
            "output": shown(q["message"]),
            "output_format": "text",
            "visibility": "visible",
        }
        for q in person.questions
        if not person.open
    ]
    trouble = [shown(line) for result in person.counted for line in result["trouble"]]
    score = {} if person.open else {"score": person.points}
    return score | {"visibility": "visible", "output": "\n".join(trouble), "tests": tests}


def _written(path: Path, text: str) -> Path:
    write_whole(path, text)
    return path


PLATFORMS: dict[str, Callable[[Path, Sequence[Student]], list[Path]]] = {
    "canvas": canvas,
    "moodle": moodle,
    "nbgrader": nbgrader,
    "gradescope": gradescope,
}
