"""`course grade` from a folder of notebooks to tables, pages and exports, and everything that a teacher says to it."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from handed_in import MEAN, SOLVED, notebook_bytes, question, released_cells, result

from course_lib.cli import main
from course_lib.grading import run as module
from course_lib.grading import sandbox

SEED = "a secret line for tests"
CLASS = {
    "alice/hw.ipynb": notebook_bytes(SOLVED),
    "bob/hw.ipynb": notebook_bytes(released_cells()),
    "carol/hw.ipynb": notebook_bytes(["import torch", MEAN.replace(" /", " * 0 +"), 'answer_00_2 = "B"']),
    "dave/hw.ipynb": b"no notebook",
}


def write(place: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    return place


def table(out: Path, name: str = "grades.csv") -> dict[str, dict]:
    """Rows by student; of several the last."""
    with (out / name).open(newline="", encoding="utf-8") as file:
        return {row["student"]: row for row in csv.DictReader(file)}


def csvs(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in ("grades.csv", "per-case.csv")]


# ---- with real sandboxes ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the class's submissions, a seed file and the grades of a first run."""
    place = tmp_path_factory.mktemp("class")
    write(place / "in", CLASS)
    (place / "seed").write_text(f"{SEED}\n")
    with (place / "said").open("w") as said, contextlib.redirect_stdout(said):
        assert grade(place / "in", place / "out", "--seed-file", str(place / "seed"), "--jobs", "2") == 0
    return place


def grade(submissions: Path, out: Path, *more: str) -> int:
    return main(["grade", str(submissions), "--out", str(out), *more])


def test_grades_for_everybody(place):
    found = table(place / "out")
    reached = {name: [row[id] for id in ("00.1", "00.2", "00.3")] for name, row in found.items()}
    assert reached["alice"] == ["1", "1", "1"]
    assert reached["bob"] == ["0", "0", "0"]
    assert reached["carol"] == ["0", "1", "0"]
    assert (found["dave"]["points"], reached["dave"]) == ("", ["", "", ""])
    assert "no JSON" in found["dave"]["note"]


def test_a_summary_at_the_end(place):
    lines = (place / "said").read_text().splitlines()
    assert lines[0].split() == ["student", "chapters", "points", "note"]
    assert lines[5] == "4 students, 44 % of the points on average, 1 to look at"
    assert lines[6].startswith(str(place / "out" / "grades.csv"))


def test_a_page_for_everybody_and_a_record_of_the_run(place):
    pages = {path.name for path in (place / "out" / "feedback").iterdir()}
    assert pages == {
        f"{name}.{kind}" for name in ("alice", "bob", "carol", "dave") for kind in ("html", "md")
    }
    text = (place / "out" / "run.json").read_text()
    record = json.loads(text)
    assert record["sandbox"] == "bubblewrap"
    assert record["limits"]["cell_seconds"] == 60
    assert SEED not in text
    assert [len(entry["sha256"]) for entry in record["results"]] == [64] * 4
    assert record["results"][0]["seconds"] > 0


def test_a_killed_run_goes_on_and_ends_alike(place):
    out = place / "killed"
    command = [sys.executable, "-m", "course_lib.cli", "grade", str(place / "in"), "--out", str(out)]
    command += ["--seed-file", str(place / "seed"), "--jobs", "1"]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not list(out.glob("results/*.json")) and process.poll() is None:
            time.sleep(0.01)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("results/*.json")}
    assert 1 <= len(before) < 4
    assert not (out / "grades.csv").exists()
    assert main(["export", str(out), "--to", "canvas"]) == 1  # not finished
    assert grade(place / "in", out, "--seed-file", str(place / "seed"), "--jobs", "1", "--resume") == 0
    assert csvs(out) == csvs(place / "out")
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_one_question_of_one_student_anew(place):
    out = shutil.copytree(place / "out", place / "regraded")
    more = ("--student", "carol", "--question", "00.1", "--seed-file", str(place / "seed"), "--jobs", "1")
    assert grade(place / "in", out, *more) == 0
    assert csvs(out) == csvs(place / "out")


@pytest.mark.parametrize("platform", ["canvas", "moodle", "nbgrader", "gradescope"])
def test_real_grades_are_exported(place, platform, capsys):
    assert main(["export", str(place / "out"), "--to", platform]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths
    assert all(path.is_file() for path in paths)


PRIVATE = """
from .question import Case, CodeQuestion, Shapes
from .start_here import mean_reference, not_divided, values

QUESTIONS = [
    CodeQuestion(
        id="00.9", objective="use-check", title="Mine", points=4, minutes=1, difficulty=1,
        inputs=values, reference=mean_reference, visible=[Case("a", T=4, V=2)], hidden=[Shapes(3, T=(2, 9))],
        wrong={not_divided: "divide."},
    )
]
"""


def test_a_teachers_own_question_and_notebook_without_a_sandbox(place):
    asked = 'def my_mean(v):\n    raise NotImplementedError\n\n\ncheck("00.9", my_mean)'
    own = write(place / "own", {"start_here.py": PRIVATE.encode()})
    write(own, {"00_start-here.ipynb": notebook_bytes([*released_cells(), asked])})
    answers = {
        "alice.ipynb": [
            *SOLVED,
            MEAN.replace("running_mean", "my_mean"),
            asked,
        ],  # the stub below undoes nothing
        "bob.ipynb": [*SOLVED, "def my_mean(v):\n    return v.cumsum(0)"],
    }
    write(place / "own-in", {name: notebook_bytes(cells) for name, cells in answers.items()})
    out = place / "own-out"
    assert grade(place / "own-in", out, "--questions", str(own), "--unsafe-no-sandbox", "--jobs", "1") == 0
    found = table(out)
    assert [found[name]["00.9"] for name in ("alice", "bob")] == ["4", "0"]
    assert [found[name]["points"] for name in ("alice", "bob")] == ["7", "3"]
    assert "divide." in (out / "feedback" / "bob.html").read_text()
    assert json.loads((out / "run.json").read_text())["sandbox"] == "none: --unsafe-no-sandbox"


# ---- with grading that is only pretended --------------------------------------------------------


@pytest.fixture
def pretended(monkeypatch) -> Callable[[], list[str]]:
    """Grading takes no time and gives one point less each time. Returns who was graded since it was last asked."""
    seen: list[str] = []
    times = iter(range(99, 0, -1))

    def grade_all(waiting: list, terms: object, order: module.Order) -> Iterator[tuple]:
        for s in waiting:
            seen.append(s.student)
            asked = [id for id in ("00.1", "00.2", "00.3") if not terms.only or id in terms.only]
            questions = [question(id, points=next(times), of=100) for id in asked]
            kept = {"key": s.key, "sha256": s.sha256}
            yield s, result(s.student, s.file, questions if s.chapter else [], **kept)

    def since() -> list[str]:
        found, seen[:] = list(seen), []
        return found

    monkeypatch.setattr(module, "grade_all", grade_all)
    monkeypatch.setattr(sandbox, "require", lambda unsafe: None)
    return since


@pytest.fixture
def graded(pretended, tmp_path) -> Path:
    """A class that was graded in pretence."""
    write(tmp_path / "in", CLASS)
    assert grade(tmp_path / "in", tmp_path / "out") == 0
    assert pretended() == ["alice", "bob", "carol", "dave"]
    return tmp_path


def again(place: Path, *more: str) -> int:
    return grade(place / "in", place / "out", *more)


def test_a_folder_with_grades_is_not_written_over(graded, pretended, capsys):
    before = csvs(graded / "out")
    assert again(graded) == 1
    assert "holds grades already: say --resume" in capsys.readouterr().err
    assert pretended() == []
    assert csvs(graded / "out") == before


def test_resume_grades_what_is_new_or_changed_and_nothing_else(graded, pretended):
    assert again(graded, "--resume") == 0
    assert pretended() == []
    before = float(table(graded / "out")["bob"]["points"])
    write(graded / "in", {"erin/hw.ipynb": CLASS["alice/hw.ipynb"], "bob/hw.ipynb": CLASS["carol/hw.ipynb"]})
    assert again(graded, "--resume") == 0
    assert pretended() == ["bob", "erin"]
    assert float(table(graded / "out")["bob"]["points"]) < before  # the old one had more: it counts no longer


def test_one_student_anew(graded, pretended):
    before = table(graded / "out")
    assert again(graded, "--student", "bob") == 0
    assert pretended() == ["bob"]
    after = table(graded / "out")
    assert after.pop("bob") != before.pop("bob")
    assert after == before


def test_one_question_anew(graded, pretended):
    before = table(graded / "out")
    assert again(graded, "--question", "00.2") == 0
    assert pretended() == ["alice", "bob", "carol"]
    after = table(graded / "out")
    assert [after[n]["00.1"] for n in ("alice", "bob")] == [before[n]["00.1"] for n in ("alice", "bob")]
    assert all(after[n]["00.2"] != before[n]["00.2"] for n in ("alice", "bob", "carol"))


def test_another_seed_grades_anew_and_never_mixes(graded, pretended, capsys):
    (graded / "seed").write_text("another secret\n")
    assert again(graded, "--resume", "--seed-file", str(graded / "seed")) == 0
    assert pretended() == ["alice", "bob", "carol", "dave"]
    (graded / "seed").write_text("a third secret\n")
    assert again(graded, "--question", "00.2", "--seed-file", str(graded / "seed")) == 1
    assert "another seed" in capsys.readouterr().err


def test_one_student_is_never_graded_with_another_seed_than_the_class(graded, pretended, capsys):
    other = graded / "other-seed"
    other.write_text("another seed of the teacher's")
    assert again(graded, "--student", "alice", "--seed-file", str(other)) == 1
    assert "another seed" in capsys.readouterr().err
    assert pretended() == []


def test_a_student_who_handed_nothing_in_is_named(graded, pretended, capsys):
    assert again(graded, "--student", "nobody") == 1
    assert "no submission is of nobody" in capsys.readouterr().err


def test_the_seed_is_kept_for_the_teacher_alone(graded):
    seed = graded / "out" / "seed"
    assert len(seed.read_text().strip()) == 32
    assert seed.stat().st_mode & 0o077 == 0


def test_a_fault_is_told_and_tried_again(graded, pretended, capsys):
    (path,) = (
        p for p in (graded / "out" / "results").iterdir() if json.loads(p.read_text())["student"] == "bob"
    )
    path.write_text(json.dumps(json.loads(path.read_text()) | {"questions": [], "fault": "KeyError: 3"}))
    copy = shutil.copytree(graded / "out", graded / "copy")
    assert grade(graded / "in", copy, "--student", "alice") == 1
    assert "1 not graded; --resume tries them again" in capsys.readouterr().out
    assert table(copy)["bob"]["points"] == ""
    pretended()
    assert again(graded, "--resume") == 0
    assert pretended() == ["bob"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--seed-file", "nowhere"), "nowhere does not exist: a file with a secret line of text is expected"),
        (("--seed-file", "short"), "has 3 characters; 8 or more are expected"),
        (
            ("--question", "00.9"),
            "there is no question 00.9: chapter 00 has 00.1, 00.2, 00.3",
        ),
        (("--questions", "nowhere"), "nowhere has nothing to grade by"),
    ],
)
def test_what_cannot_be_done_is_refused_at_once(tmp_path, pretended, monkeypatch, capsys, more, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short").write_text("abc\n")
    write(tmp_path / "in", CLASS)
    assert again(tmp_path, *more) == 1
    assert words in capsys.readouterr().err
    assert pretended() == []


def test_an_empty_folder_is_refused(tmp_path, pretended, capsys):
    (tmp_path / "in").mkdir()
    assert again(tmp_path) == 1
    assert "holds no notebook" in capsys.readouterr().err


def test_jobs_and_scheduler_reach_the_workers(tmp_path, pretended, monkeypatch):
    orders, pretend = [], module.grade_all
    monkeypatch.setattr(module, "grade_all", lambda w, t, order: orders.append(order) or pretend(w, t, order))
    write(tmp_path / "in", CLASS)
    again(tmp_path, "--jobs", "3", "--scheduler", "tls://10.0.0.1:8786")
    again(tmp_path, "--resume")
    assert [(o.jobs, o.scheduler) for o in orders] == [(3, "tls://10.0.0.1:8786"), (os.cpu_count(), None)]


@pytest.mark.parametrize(
    ("missing", "words"),
    [("bwrap", "Debian and Ubuntu: apt install bubblewrap"), ("setpriv", "apt install util-linux")],
)
def test_without_a_sandbox_nothing_is_graded(tmp_path, monkeypatch, capsys, missing, words):
    monkeypatch.setattr(sandbox.os, "getuid", lambda: 0)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None if name == missing else f"/usr/bin/{name}")
    write(tmp_path / "in", CLASS)
    assert again(tmp_path) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
