"""What teachers and students read: nothing a stranger wrote runs, computes or hides anything, and faults show."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from pathlib import Path

import pytest
from handed_in import question, result

from course_lib.grading import report

HOSTILE = (
    "<script>alert(1)</script>\" onload='x' & [a](http://evil.example) `code` **b** @all\n# title\n- item"
)


def rows(text: str) -> list[dict]:
    """A CSV as a reader of CSV has it."""
    return list(csv.DictReader(io.StringIO(text)))


def grades(results: list[dict]) -> list[dict]:
    return rows(report.as_csv(report.grades(report.students(results))))


def only(results: list[dict]) -> report.Student:
    (person,) = report.students(results)
    return person


# ---- who counts ---------------------------------------------------------------------------------


def test_the_best_notebook_of_each_chapter_counts():
    results = [
        result("alice", "late.ipynb", [question("00.1", 1), question("00.2", 0)]),
        result("alice", "a.ipynb", [question("00.1", 0), question("00.2", 0)]),
        result("alice", "b.ipynb", [question("08.1", 0.5, 2)]),
    ]
    person = only(results)
    assert [r["file"] for r in person.counted] == ["late.ipynb", "b.ipynb"]
    assert (person.points, person.of) == (1.5, 4)
    assert only(results[::-1]) == person
    for page in (report.as_html(person), report.as_markdown(person).replace("\\", "")):
        assert "another notebook of the chapter has as many points or more: a.ipynb" in page


def test_of_equals_the_first_by_name_counts():
    results = [result("alice", f"{name}.ipynb", [question("00.1")]) for name in "ba"]
    assert only(results).counted[0]["file"] == "a.ipynb"


def test_two_people_of_one_name_are_told_apart_by_their_ids():
    results = [result("Jane Doe", f"{i}.ipynb", [question("00.1", i)], id=str(i)) for i in (0, 1)]
    assert [(row["id"], row["points"]) for row in grades(results)] == [("0", "0"), ("1", "1")]
    names = report.file_names(report.students(results))
    assert len(set(names)) == 2


# ---- tables -------------------------------------------------------------------------------------


def test_grades_are_students_by_questions_in_order():
    results = [
        result("bob", questions=[question("00.10"), question("00.2", 0.25, 2)]),
        result("alice", questions=[question("08.1", 1 / 3)]),
    ]
    text = report.as_csv(report.grades(report.students(results)))
    assert text.splitlines() == [
        "student,id,points,of,00.2,00.10,08.1,note",
        "alice,,0.33,1,,,0.333333,",
        "bob,,1.25,3,0.25,1,,",
    ]


def test_every_case_with_its_state_and_words():
    cases = [{"label": "case 1", "state": "failed", "message": "wrong"}, question("00.1")["cases"][0]]
    person = only(
        [result("alice", questions=[question("00.1", 0.5, cases=cases), question("00.2", cases=[])])]
    )
    found = rows(report.as_csv(report.per_case([person])))
    assert [(r["question"], r["points"], r["case"], r["state"], r["message"]) for r in found] == [
        ("00.1", "0.5", "case 1", "failed", "wrong"),
        ("00.1", "0.5", "case 1", "passed", ""),
        ("00.2", "1", "", "passed", ""),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        " =1+1",
        "\t=1+1",
        "\r=1",
        "\n=1",
        "|x",
        "%x",
        "\uff1d1+1",
        "=cmd|'/c calc'!A1",
    ],
)
def test_no_cell_is_a_formula(name):
    (row,) = grades([result(name, questions=[question("00.1")])])
    assert row["student"].startswith("'")


@pytest.mark.parametrize("name", ["a;=1+1", 'a,=1+1"', "a\n=1+1", "a\r\n=1+1,2"])
def test_no_name_makes_a_cell_of_its_own_in_any_spreadsheet(name):
    text = report.as_csv(report.grades(report.students([result(name, questions=[question("00.1")])])))
    for separator in (",", ";", "\t"):
        cells = [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
        assert not any(cell.startswith("=") for cell in cells)
    assert len(text.splitlines()) == 2


# ---- what a person must look at -----------------------------------------------------------------


def test_a_fault_leaves_points_empty_and_says_so():
    fault = result("alice", chapter="08", fault="KeyError: 3", trouble=["it could not be graded"])
    (row,) = grades([fault, result("alice", "b.ipynb", [question("00.1")])])
    assert (row["points"], row["of"], row["00.1"]) == ("", "", "1")
    assert row["note"] == "not graded: alice.ipynb: KeyError: 3"
    assert "alice: not graded yet" in report.as_html(only([fault]))


def test_a_fault_is_not_hidden_by_another_notebook_of_the_chapter():
    fault = result("alice", "best.ipynb", chapter="00", fault="died")
    results = [fault, result("alice", "b.ipynb", [question("00.1", 0)])]
    (row,) = grades(results)
    assert row["points"] == ""
    assert "best.ipynb: died" in row["note"]
    assert "Not graded yet: best.ipynb" in report.as_html(only(results))


def test_what_could_not_be_read_is_shown_file_by_file():
    unread = [result("alice", f"{name}.ipynb", trouble=["no JSON"]) for name in "ab"]
    (row,) = grades(unread)
    assert (row["points"], row["note"]) == ("", "a.ipynb: no JSON; b.ipynb: no JSON")
    (row,) = grades([*unread, result("alice", "c.ipynb", [question("00.1")])])
    assert (row["points"], row["note"]) == ("1", "a.ipynb: no JSON; b.ipynb: no JSON")
    assert report.as_html(only(unread)).count("<p>no JSON</p>") == 2


def test_the_summary_says_how_many_there_are_and_whom_to_look_at():
    results = [
        result("alice", questions=[question("00.1", 1, 2), question("08.1")]),
        result("alexandra", questions=[question("00.1", 2, 2)]),
        result("bob\x1b[2J", trouble=["no JSON"]),
    ]
    results[0]["questions"] = results[0]["questions"][:1]
    lines = report.table(report.students(results)).splitlines()
    assert lines == [
        "student    chapters  points  note",
        "alexandra  00        2 of 2",
        "alice      00        1 of 2",
        "bob [2J    ?         open    bob\x1b[2J.ipynb: no JSON".replace("\x1b", " "),
        "3 students, 75 % of the points on average, 1 to look at",
    ]
    assert report.table([]).endswith("0 students")


# ---- pages --------------------------------------------------------------------------------------


def hostile() -> report.Student:
    q = question("00.1", 0, message=HOSTILE)
    return only([result(HOSTILE, HOSTILE, [q], trouble=[HOSTILE]), result(HOSTILE, "z" + HOSTILE, [q])])


def harmless() -> report.Student:
    q = question("00.1", 0, message="words")
    return only([result("alice", questions=[q], trouble=["words"])])


def test_nothing_a_student_wrote_is_html():
    page = report.as_html(hostile())
    tags = set(re.findall(r"<[!/]?(\w+)", page))
    assert tags == set(re.findall(r"<[!/]?(\w+)", report.as_html(harmless())))
    assert not re.search(r"<[^>]*(onload|href|script)[^>]*>", page)
    assert html.escape(HOSTILE.split("\n")[0], quote=True) in page
    assert "default-src 'none'" in page


def test_nothing_a_student_wrote_is_markdown():
    page = report.as_markdown(hostile())
    bare = re.sub(r"\\.", "", page)
    assert not re.search(r"[<>`\[\]@&$~|]", bare)
    assert not re.search(r"https?:|www\.", bare)
    assert [line[:3] for line in page.splitlines() if line.startswith("#")] == ["# \\", "## "]


def test_long_words_are_cut_and_control_characters_dropped():
    person = only([result("alice", questions=[question("00.1", 0, message="x" * 5000 + "\x1b[31m")])])
    for page in (report.as_html(person), report.as_markdown(person)):
        assert "x" * report.MAX_WORDS + " …" in page
        assert "x" * (report.MAX_WORDS + 1) not in page
    person = only([result("a\u202eb\x00c", questions=[question("00.1")])])
    assert "a b c" in report.as_html(person)


def test_a_page_says_what_was_reached_and_why_not_more():
    cases = [
        {"label": f"case {i}", "state": s, "message": ""}
        for i, s in enumerate(("passed", "failed", "failed"))
    ]
    q = question("00.1", 1, 3, state="partly", message="row t may use rows 0 … t.", cases=cases)
    page = report.as_html(only([result("alice", questions=[q, question("00.2", 0, state="not attempted")])]))
    assert "<h1>alice: 1 of 4 points</h1>" in page
    assert "Chapter 00 · " in page
    cells = "<td>00.1 A title</td><td>◐ partly (1 of 3 cases)</td><td>1 of 3</td><td>row t may use rows 0 … t.</td>"
    assert cells in page
    assert "<td>– not attempted</td><td>0 of 1</td><td></td>" in page


# ---- files --------------------------------------------------------------------------------------


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_results_in_any_order_give_the_same_bytes(tmp_path):
    results = [
        result("alice", "a.ipynb", [question("00.1")]),
        result("alice", "b.ipynb", [question("00.1")]),
        result("bob", trouble=["no JSON"]),
        result("Bob", questions=[question("08.1", 0.5)]),
    ]
    for folder, order in (("one", results), ("two", results[::-1])):
        (tmp_path / folder).mkdir()
        report.write(tmp_path / folder, order, {"python": "3"})
    one = everything(tmp_path / "one")
    assert one == everything(tmp_path / "two")
    assert {name for name in one if name.endswith((".csv", ".json"))} == {
        "grades.csv",
        "per-case.csv",
        "run.json",
    }
    assert len([name for name in one if name.startswith("feedback/")]) == 6


def test_the_record_of_a_run_names_every_notebook(tmp_path):
    report.write(tmp_path, [result("alice", questions=[question("00.1")])], {"limits": {"cell_seconds": 60}})
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["limits"] == {"cell_seconds": 60}
    (entry,) = record["results"]
    assert (entry["student"], entry["sha256"], entry["seconds"]) == ("alice", "sha of alice ", 1.5)


def test_an_ordinary_name_is_its_file(tmp_path):
    people = report.students([result(name) for name in ("Jane Doe", "jörg", "doejane", "O'Neil, Ann")])
    assert sorted(report.file_names(people)) == ["Jane-Doe", "O-Neil-Ann", "doejane", "jörg"]


def test_hostile_and_equal_names_get_files_of_their_own_inside_the_folder(tmp_path):
    names = [
        "../../etc/passwd",
        "..",
        ".",
        "/",
        "a/b",
        "a b",
        "A b",
        "",
        "😀" * 99,
        "漢" * 300,
        "e\u0301",
        "é",
    ]
    names += ["nul\x00", "con\n", "x" * 5000, "student"]
    people = report.students([result(name, f"{i}.ipynb") for i, name in enumerate(names)])
    (tmp_path / "out").mkdir()
    report.write(tmp_path / "out", [r for person in people for r in person.counted], {})
    pages = [path for path in (tmp_path / "out" / "feedback").rglob("*") if path.suffix == ".html"]
    assert len(pages) == len(names)
    assert len({path.name.casefold() for path in pages}) == len(names)
    assert all(path.parent == tmp_path / "out" / "feedback" for path in pages)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
