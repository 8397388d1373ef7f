"""Each export, read back by what the platform itself asks of a file.

The headers were recorded from the platforms: Canvas's gradebook, Moodle's grading worksheet, nbgrader's export
plug-in, Gradescope's description of results.json.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from handed_in import question, result

from course_lib import course
from course_lib.grading import report
from course_lib.grading.export import export

CANVAS = "Student,ID,SIS User ID,SIS Login ID,Section,Essay (12)\n    Points Possible,,,,,10\nDoe,1,,,A,9\n"
MOODLE = (
    'Identifier,"Full name","Email address",Status,Grade,"Maximum grade","Grade can be changed",'
    '"Last modified (submission)","Last modified (grade)","Feedback comments"\n'
)
NBGRADER = (
    "assignment,duedate,timestamp,student_id,last_name,first_name,email,raw_score,late_submission_penalty,"
    "score,max_score\nps1,,2015-02-02 15:58:23,bitdiddle,Bitdiddle,Ben,,1.5,0.0,1.5,7.0\n"
)
CHAPTERS = {number: course.load().chapter(number).name for number in ("00", "08")}


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """A folder of grades: two chapters, a student with a fault, one unread, one older notebook that was replaced."""
    results = [
        result("doejane", "doejane_1_10_x.ipynb", [question("00.1", 0.5), question("00.2")], id="1"),
        result("doejane", "doejane_1_11_y.ipynb", [question("08.1", 2, 3, message="<b>why</b>\x1b")], id="1"),
        result("=roe;Points Possible", "roe_2_20_x.ipynb", [question("00.1", 0), question("00.2")], id="2"),
        result(
            "poe", "poe_3_30_x.ipynb", chapter="00", fault="died", trouble=["your teacher was told"], id="3"
        ),
        result("zoe", "zoe_4_40_x.ipynb", trouble=["no JSON"], id="4"),
    ]
    report.write(tmp_path, results, {})
    (tmp_path / "results").mkdir()
    replaced = result("doejane", "doejane_1_9_x.ipynb", [question("00.1"), question("00.2")], id="1")
    for i, entry in enumerate([*results, replaced]):
        (tmp_path / "results" / f"{i}.json").write_text(json.dumps(entry))
    return tmp_path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def header(recorded: str) -> list[str]:
    return next(csv.reader([recorded.splitlines()[0]]))


def test_canvas(graded):
    (path,) = export(graded, "canvas")
    head, possible, *people = rows(path)
    assert head[:5] == header(CANVAS)[:5]
    assert head[5:] == list(CHAPTERS.values())
    assert "Points Possible" in possible[0]
    assert possible[5:] == ["2", "3"]
    assert [len(row) for row in people] == [7] * 4
    grades = {row[1]: row[5:] for row in people}  # matched by Canvas's own id
    assert grades == {"1": ["1.5", "2"], "2": ["1", ""], "3": ["", ""], "4": ["", ""]}
    assert not any("Points Possible" in row[0] for row in people)  # such a row would change every assignment
    assert not any(row[0].startswith("=") for row in people)


def test_moodle(graded):
    (path,) = export(graded, "moodle")
    head, *people = rows(path)
    assert head == header(MOODLE)
    assert {"Identifier", "Grade", "Last modified (grade)"} <= set(head)  # without these it refuses the file
    found = {row[0].removeprefix("Participant "): dict(zip(head, row, strict=True)) for row in people}
    assert sorted(found) == ["1", "2", "3", "4"]
    assert (found["1"]["Grade"], found["1"]["Maximum grade"]) == ("3.5", "5")
    assert (found["3"]["Grade"], found["3"]["Maximum grade"]) == ("", "")
    feedback = found["1"]["Feedback comments"]  # Moodle shows it as HTML
    assert "<table>" in feedback
    assert "&lt;b&gt;why&lt;/b&gt;" in feedback
    assert "\n" not in feedback
    assert "your teacher was told" in found["3"]["Feedback comments"]


def test_nbgrader(graded):
    (path,) = export(graded, "nbgrader")
    head, *people = rows(path)
    assert head == header(NBGRADER)
    found = [dict(zip(head, row, strict=True)) for row in people]
    scores = [(r["assignment"], r["student_id"], float(r["score"]), float(r["max_score"])) for r in found]
    assert scores == [
        (CHAPTERS["00"], "2", 1, 2),
        (CHAPTERS["00"], "1", 1.5, 2),
        (CHAPTERS["08"], "1", 2, 3),
    ]
    assert all(
        float(r["raw_score"]) - float(r["late_submission_penalty"]) == float(r["score"]) for r in found
    )


def test_gradescope(graded):
    paths = export(graded, "gradescope")
    assert {path.parent.name for path in paths} == {"gradescope"}
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    assert len(found) == 4
    for entry in found.values():
        schema(entry)
    jane = found["doejane"]
    assert jane["score"] == sum(test["score"] for test in jane["tests"]) == 3.5
    assert jane["tests"][2]["output"] == "<b>why</b> "
    assert "score" not in found["poe"]
    assert found["poe"]["tests"] == []
    assert found["poe"]["output"] == "your teacher was told"


def schema(entry: dict) -> None:
    """What Gradescope accepts in results.json."""
    assert entry.keys() <= {"score", "execution_time", "output", "visibility", "stdout_visibility", "tests"}
    assert entry["visibility"] in ("hidden", "after_due_date", "after_published", "visible")
    assert isinstance(entry.get("score", 0), (int, float))
    for test in entry["tests"]:
        fields = {"score", "max_score", "status", "name", "number", "output", "output_format", "visibility"}
        assert test.keys() <= fields
        assert 0 <= test["score"] <= test["max_score"]
        assert test["output_format"] in ("text", "html", "simple_format", "md", "ansi")


@pytest.mark.parametrize("platform", ["canvas", "moodle", "nbgrader", "gradescope"])
def test_the_same_grades_give_the_same_bytes(graded, platform):
    first = [path.read_bytes() for path in export(graded, platform)]
    for path in sorted((graded / "results").glob("*.json")):
        path.rename(path.with_name("z" + str(9 - int(path.stem)) + ".json"))
    assert [path.read_bytes() for path in export(graded, platform)] == first


def test_what_was_handed_in_before_and_replaced_is_not_exported(graded):
    (path,) = export(graded, "canvas")
    table = {row["id"]: row for row in csv.DictReader((graded / "grades.csv").open(encoding="utf-8"))}
    assert table["1"]["points"] == "3.5"
    assert rows(path)[3][5:] == ["1.5", "2"]


def test_grades_that_are_not_finished_are_not_exported(graded):
    (graded / "run.json").unlink()
    with pytest.raises(ValueError, match="--resume"):
        export(graded, "canvas")
