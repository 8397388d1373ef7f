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
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from course_lib import course
from course_lib.timing.store import write_whole

MAX_NAME, MAX_WORDS = 100, 600
FORMULA = ("=", "+", "-", "@", "\t", "\r", "|", "%", "＝", "＋", "－", "＠")
SECOND_CELL = re.compile(
    r";(?=\s*[" + re.escape("".join(FORMULA)) + "])"
)  # where ; separates, = would follow
MAX_FILE_NAME = 150  # bytes: with an ending, a mark, and what is appended while writing, well below 255
SYMBOLS = {"passed": "✓", "partly": "◐", "not attempted": "–"}
STYLE = (
    "body{font-family:system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em;line-height:1.45}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #8888;padding:.4em .7em;"
    "text-align:left;vertical-align:top}td:nth-child(3){white-space:nowrap}"
)


@dataclass(frozen=True)
class Student:
    """A student's counted results: the best notebook of each chapter, and every one that could not be read.
    `rest` were handed in beside them.
    """

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
    def open(self) -> bool:
        """Whether a person must look first: the grader failed, or nothing could be read."""
        faults = any(result.get("fault") for result in (*self.counted, *self.rest))
        return faults or not any(result["questions"] for result in self.counted)

    @property
    def points(self) -> float | None:
        """Reached in all; None while that is open."""
        return None if self.open else round(sum(q["points"] for q in self.questions), 2)

    @property
    def of(self) -> float:
        """What could be reached in the chapters handed in."""
        return round(sum(q["of"] for q in self.questions), 2)


def students(results: Iterable[dict]) -> list[Student]:
    """The results by student, in the order of the names. Two people of one name are told apart by their ids."""
    by_person: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        by_person.setdefault((result["student"], result["id"]), []).append(result)
    return [_student(*person, by_person[person]) for person in sorted(by_person)]


def _student(name: str, id: str, results: list[dict]) -> Student:
    ordered = sorted(results, key=lambda r: (-_points(r), r["file"]))
    best: dict[str, dict] = {}
    for result in ordered:
        best.setdefault(result["chapter"] or f"unread {result['file']}", result)
    counted = [best[place] for place in sorted(best)]
    rest = sorted((r for r in ordered if r not in counted), key=lambda r: r["file"])
    return Student(name, id, tuple(counted), tuple(rest))


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
                "" if person.open else person.of,
                *(reached.get(i, "") for i in ids),
                _note(person),
            ]
        )
    return rows


def _in_order(question: str) -> tuple[int, ...]:
    return tuple(int(part) for part in question.split("."))


def _note(person: Student) -> str:
    """What a teacher must know: which notebooks were not graded, and why."""
    faults = [
        f"not graded: {r['file']}: {r['fault']}" for r in (*person.counted, *person.rest) if r.get("fault")
    ]
    unread = [f"{r['file']}: {t}" for r in person.counted if not r["chapter"] for t in r["trouble"]]
    return shown("; ".join([*faults, *unread]))


def per_case(people: Sequence[Student]) -> list[list[object]]:
    """Every case of every counted question; points are the question's."""
    head = ("student", "id", "chapter", "file", "question", "points", "of", "case", "state", "message")
    rows: list[list[object]] = [list(head)]
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
                        q["points"],
                        q["of"],
                        c["label"],
                        c["state"],
                        shown(c["message"]),
                    ]
                    for c in q["cases"] or [{"label": "", "state": q["state"], "message": q["message"]}]
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
    text = SECOND_CELL.sub(",", _printable(" ".join(cell.split())))
    return f"'{text}" if text.startswith(FORMULA) or cell.startswith(FORMULA) else text


def file_names(people: Sequence[Student]) -> list[str]:
    """A file name for each student, from letters and digits of the name; alike ones are told apart by a mark."""
    names = [_file_name(person.name) for person in people]
    alike = Counter(name.casefold() for name in names)
    return [
        f"{name}-{_mark(person)}" if alike[name.casefold()] > 1 else name
        for name, person in zip(names, people, strict=True)
    ]


def _file_name(name: str) -> str:
    letters = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).strip("-.")
    return letters.encode()[:MAX_FILE_NAME].decode(errors="ignore") or "student"


def _mark(person: Student) -> str:
    """Eight characters that follow from who it is."""
    return sha256(f"{person.name}\0{person.id}".encode()).hexdigest()[:8]


# Feedback


def shown(text: str, length: int = MAX_WORDS) -> str:
    """A stranger's words as text that may be shown: no control characters, and not too many."""
    text = _printable(text)
    return text if len(text) <= length else text[:length] + " …"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _heading(result: dict) -> str:
    known = {c.number: c.title for c in course.load().chapters}
    chapter = result["chapter"]
    return f"Chapter {chapter} · {known.get(chapter, '')}" if chapter else shown(result["file"], MAX_NAME)


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
        yield f"{q['id']} {q['title']}", state, f"{q['points']:g} of {q['of']:g}", shown(q["message"])


FOOTER = (
    "Each case that passes earns its share of a question's points. The cases are not those of the notebook: they "
    "have other numbers, which nobody has seen."
)


def as_html(person: Student) -> str:
    """A page that runs nothing: text only, escaped."""
    title = html.escape(_title(person))
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{policy}<title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{html_body(person)}</body></html>\n"
    )


def html_body(person: Student) -> str:
    """What stands in that page below its title."""
    parts = []
    for result in person.counted:
        parts.append(f"<h2>{html.escape(_heading(result))}</h2>")
        parts += [f"<p>{html.escape(shown(trouble))}</p>" for trouble in result["trouble"]]
        rows = [
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in _rows(result)
        ]
        if rows:
            head = "<tr><th>question</th><th>result</th><th>points</th><th>what was found</th></tr>"
            parts.append(f"<table>{head}{''.join(rows)}</table>")
    parts += [f"<p>{html.escape(line)}</p>" for line in _uncounted(person)]
    return "\n".join([*parts, f"<p><small>{html.escape(FOOTER)}</small></p>\n"])


def _title(person: Student) -> str:
    reached = "not graded yet" if person.open else f"{person.points:g} of {person.of:g} points"
    return f"{shown(person.name, MAX_NAME)}: {reached}"


def _uncounted(person: Student) -> list[str]:
    """A line for each notebook beside those that count."""
    return [
        f"Not graded yet: {shown(result['file'], MAX_NAME)}"
        if result.get("fault")
        else f"Not counted, since another notebook of the chapter has as many points or more: "
        f"{shown(result['file'], MAX_NAME)}"
        for result in person.rest
    ]


def as_markdown(person: Student) -> str:
    """The same in Markdown, every character of a student's kept from meaning anything."""
    lines = [f"# {_escaped(_title(person))}", ""]
    for result in person.counted:
        lines += [f"## {_escaped(_heading(result))}", ""]
        lines += [f"- {_escaped(shown(trouble))}" for trouble in result["trouble"]]
        for title, state, points, words in _rows(result):
            lines.append(
                f"- **{_escaped(title)}**: {points}, {state}" + (f". {_escaped(words)}" if words else "")
            )
        lines.append("")
    lines += [part for line in _uncounted(person) for part in (_escaped(line), "")]
    return "\n".join([*lines, FOOTER, ""])


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>~$&:@])", r"\\\1", text)


def table(people: Sequence[Student]) -> str:
    """The summary on the terminal: one student a line, and a line for all."""
    rows = [
        (
            shown(person.name, 40),
            " ".join(result["chapter"] or "?" for result in person.counted),
            "open" if person.open else f"{person.points:g} of {person.of:g}",
            _note(person)[:90],
        )
        for person in people
    ]
    head = ("student", "chapters", "points", "note")
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(3)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in (head, *rows)]
    shares = [person.points / person.of for person in people if not person.open]
    mean = f", {100 * sum(shares) / len(shares):.0f} % of the points on average" if shares else ""
    look = f", {len(people) - len(shares)} to look at" if len(shares) < len(people) else ""
    return "\n".join([*lines, f"{len(people)} student{'s' * (len(people) != 1)}{mean}{look}"])
