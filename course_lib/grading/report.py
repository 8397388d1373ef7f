"""What a teacher and a student read of a run: two tables, a page for each student, and the run's own record.

Everything here was written by strangers, names included: HTML is escaped, spreadsheets get no formulas, long
words are cut. A student with several notebooks of one chapter is given the best of them.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from course_lib import course
from course_lib.timing.store import write_whole

MAX_NAME, MAX_WORDS = 100, 600
FORMULA = ("=", "+", "-", "@", "\t", "\r", "|", "%")
SYMBOLS = {"passed": "✓", "partly": "◐", "not attempted": "–"}
STYLE = (
    "body{font-family:system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em;line-height:1.45}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #8888;padding:.4em .7em;"
    "text-align:left;vertical-align:top}td:nth-child(3){white-space:nowrap}"
)


@dataclass(frozen=True)
class Student:
    """A student's counted results: the best notebook of each chapter. `rest` were handed in beside them."""

    name: str
    id: str
    counted: tuple[dict, ...]
    rest: tuple[dict, ...]

    @property
    def questions(self) -> Iterator[dict]:
        """Every question of every counted chapter."""
        for result in self.counted:
            yield from result["questions"]

    @property
    def points(self) -> float:
        """Reached in all."""
        return round(sum(q["points"] for q in self.questions), 2)

    @property
    def of(self) -> float:
        """What could be reached in the chapters handed in."""
        return round(sum(q["of"] for q in self.questions), 2)


def students(results: Iterable[dict]) -> list[Student]:
    """The results by student, in the order of the names."""
    by_name: dict[str, list[dict]] = {}
    for result in results:
        by_name.setdefault(result["student"], []).append(result)
    return [_student(name, by_name[name]) for name in sorted(by_name)]


def _student(name: str, results: list[dict]) -> Student:
    best: dict[str | None, dict] = {}
    for result in sorted(results, key=lambda r: (-_points(r), r["file"])):
        best.setdefault(result["chapter"], result)
    counted = sorted(best.values(), key=lambda r: (r["chapter"] or "", r["file"]))
    rest = [r for r in results if r not in counted]
    return Student(name, next((r["id"] for r in results if r["id"]), ""), tuple(counted), tuple(rest))


def _points(result: dict) -> float:
    return sum(q["points"] for q in result["questions"])


# Files


def write(out: Path, results: list[dict], about: dict) -> None:
    """grades.csv, per-case.csv, feedback/ and run.json, each written whole."""
    people = students(results)
    write_whole(out / "grades.csv", as_csv(grades(people)))
    write_whole(out / "per-case.csv", as_csv(per_case(people)))
    (out / "feedback").mkdir(exist_ok=True)
    for name, person in zip(file_names(people), people, strict=True):
        write_whole(out / "feedback" / f"{name}.html", as_html(person))
        write_whole(out / "feedback" / f"{name}.md", as_markdown(person))
    handed_in = [
        {key: r.get(key) for key in ("student", "file", "sha256", "chapter", "seconds", "fault")}
        for r in results
    ]
    record = about | {"results": sorted(handed_in, key=lambda r: (r["student"], r["file"]))}
    write_whole(out / "run.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def grades(people: Sequence[Student]) -> list[list[object]]:
    """Student × question. Empty: the chapter was not handed in, or a person must look at it (note)."""
    ids = sorted({q["id"] for person in people for q in person.questions}, key=_in_order)
    rows: list[list[object]] = [["student", "id", "points", "of", *ids, "note"]]
    for person in people:
        reached = {q["id"]: q["points"] for q in person.questions}
        rows.append(
            [
                person.name,
                person.id,
                person.points,
                person.of,
                *(reached.get(i, "") for i in ids),
                _note(person),
            ]
        )
    return rows


def _in_order(question: str) -> tuple[int, ...]:
    return tuple(int(part) for part in question.split("."))


def _note(person: Student) -> str:
    faults = [f"not graded: {r['file']}: {r['fault']}" for r in person.counted if r.get("fault")]
    troubles = [f"{r['file']}: {t}" for r in person.counted if not r["questions"] for t in r["trouble"]]
    return _cut("; ".join(faults or troubles))


def per_case(people: Sequence[Student]) -> list[list[object]]:
    """Every case of every counted question."""
    rows: list[list[object]] = [["student", "id", "chapter", "file", "question", "of", "case", "state"]]
    for person in people:
        for result in person.counted:
            for q in result["questions"]:
                rows += [
                    [
                        person.name,
                        person.id,
                        result["chapter"],
                        result["file"],
                        q["id"],
                        q["of"],
                        c["label"],
                        c["state"],
                    ]
                    for c in q["cases"] or [{"label": "", "state": q["state"]}]
                ]
    return rows


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """The rows as CSV that a spreadsheet shows and never computes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([plain(cell) for cell in row] for row in rows)
    return text.getvalue()


def plain(cell: object) -> object:
    """A cell without line breaks; one that a spreadsheet would take for a formula is quoted."""
    if not isinstance(cell, str):
        return "" if cell is None else f"{cell:g}" if isinstance(cell, float) else cell
    text = " ".join(cell.split()) if cell.strip() else ""
    return f"'{text}" if text.startswith(FORMULA) or cell.startswith(FORMULA) else text


def file_names(people: Sequence[Student]) -> list[str]:
    """A file name for each student, from letters and digits of the name; equal ones are told apart."""
    names, seen = [], set()
    for person in people:
        name = re.sub(r"[^\w.-]+", "-", person.name).strip("-.")[:MAX_NAME] or "student"
        if name.casefold() in seen or name != person.name:
            name = f"{name}-{sha256(person.name.encode('utf-8', 'replace')).hexdigest()[:8]}"
        seen.add(name.casefold())
        names.append(name)
    return names


# Feedback


def _cut(text: str, length: int = MAX_WORDS) -> str:
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= length else text[:length] + " …"


def _heading(result: dict) -> str:
    known = {c.number: c.title for c in course.load().chapters}
    chapter = result["chapter"]
    return f"Chapter {chapter} · {known.get(chapter, '')}" if chapter else _cut(result["file"], MAX_NAME)


def _rows(result: dict) -> Iterator[tuple[str, str, str, str]]:
    """(id and title, state, points, words) of every question."""
    for q in result["questions"]:
        passed = sum(c["state"] == "passed" for c in q["cases"])
        cases = (
            f" ({passed} of {len(q['cases'])} cases)"
            if len(q["cases"]) > 1 and q["state"] in ("partly", "failed")
            else ""
        )
        state = f"{SYMBOLS.get(q['state'], '✗')} {q['state']}{cases}"
        yield f"{q['id']} {q['title']}", state, f"{q['points']:g} of {q['of']:g}", _cut(q["message"])


FOOTER = (
    "Each case that passes earns its share of a question's points. The cases are not those of the notebook: they "
    "have other numbers, which nobody has seen."
)


def as_html(person: Student) -> str:
    """A page that runs nothing: text only, escaped."""

    def e(text: str) -> str:
        return html.escape(text, quote=True)

    parts = []
    for result in person.counted:
        parts.append(f"<h2>{e(_heading(result))}</h2>")
        parts += [f"<p>{e(_cut(trouble))}</p>" for trouble in result["trouble"]]
        rows = "".join(
            "<tr>" + "".join(f"<td>{e(cell)}</td>" for cell in row) + "</tr>" for row in _rows(result)
        )
        if rows:
            head = "<tr><th>question</th><th>result</th><th>points</th><th>what was found</th></tr>"
            parts.append(f"<table>{head}{rows}</table>")
    parts += [
        f"<p>Not counted, since another notebook of the chapter has more points: {e(_cut(r['file'], MAX_NAME))}</p>"
        for r in person.rest
    ]
    name = e(_cut(person.name, MAX_NAME))
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{policy}<title>{name}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{name}: {person.points:g} of {person.of:g} points</h1>\n"
        + "\n".join(parts)
        + f"\n<p><small>{e(FOOTER)}</small></p></body></html>\n"
    )


def as_markdown(person: Student) -> str:
    """The same in Markdown, every character of a student's kept from meaning anything."""
    lines = [f"# {_escaped(_cut(person.name, MAX_NAME))}: {person.points:g} of {person.of:g} points", ""]
    for result in person.counted:
        lines += [f"## {_escaped(_heading(result))}", ""]
        lines += [f"- {_escaped(_cut(trouble))}" for trouble in result["trouble"]]
        for title, state, points, words in _rows(result):
            lines.append(
                f"- **{_escaped(title)}**: {points}, {state}" + (f". {_escaped(words)}" if words else "")
            )
        lines.append("")
    return "\n".join([*lines, FOOTER, ""])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$&])", r"\\\1", text)


def table(people: Sequence[Student]) -> str:
    """The summary on the terminal: one student a line."""
    names = [_cut(p.name, 40) for p in people]
    width = max([len("student"), *map(len, names)])
    lines = [f"{'student':<{width}}  chapters   points"]
    for person, name in zip(people, names, strict=True):
        chapters = " ".join(r["chapter"] or "?" for r in person.counted)
        lines.append(
            f"{name:<{width}}  {chapters:<9}  {person.points:g} of {person.of:g}  {_note(person)[:90]}".rstrip()
        )
    return "\n".join(lines)
