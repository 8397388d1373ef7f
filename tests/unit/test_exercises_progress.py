"""Progress and predictions: nothing is lost, the first guess stays first, a bad file breaks nothing."""

import json
import os
from pathlib import Path

import pytest
import torch

from course_lib.exercises import predict, progress, reveal
from course_lib.exercises.predict import compare_guess, show_value


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The progress file of the test."""
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))
    return tmp_path / "progress.json"


def predictions(file: Path) -> dict:
    return json.loads(file.read_text())["predictions"]


def test_without_the_variable_the_file_lies_beside_the_notebook(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("COURSE_PROGRESS")
    monkeypatch.chdir(tmp_path)
    progress.record("08.2", "passed", 3, 3)
    assert json.loads((tmp_path / "progress.json").read_text())["answers"]["08.2"]["points"] == 3


def test_records_are_added_and_the_latest_state_counts(file: Path) -> None:
    progress.record("08.2", "passed", 3, 3)
    progress.record("08.3", "raised", 0, 4)
    assert progress.record("08.2", "failed", 0, 3) == []
    answers = json.loads(file.read_text())["answers"]
    assert answers == {
        "08.2": {"state": "failed", "points": 0, "of": 3},
        "08.3": {"state": "raised", "points": 0, "of": 4},
    }


def test_what_others_keep_in_the_file_stays(file: Path) -> None:
    file.write_text(json.dumps({"settings": {"theme": "dark"}, "answers": {"01.1": {"state": "passed"}}}))
    progress.record("08.2", "passed", 3, 3)
    data = json.loads(file.read_text())
    assert data["settings"] == {"theme": "dark"}
    assert set(data["answers"]) == {"01.1", "08.2"}


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"null", b"\xff\xfe", b"", b'{"answers": []}', b'{"answers": {"08.2": 3}}', b"[" * 100_000],
)
def test_a_broken_file_is_kept_aside_and_said_so(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    notes = progress.record("08.2", "passed", 3, 3)
    said = "progress.json could not be read; it is kept as progress.broken.json, and a new one begins here."
    assert notes == [said]
    assert file.with_name("progress.broken.json").read_bytes() == content
    assert json.loads(file.read_text())["answers"]["08.2"]["state"] == "passed"


def test_a_second_broken_file_does_not_replace_the_first(file: Path) -> None:
    for content in ("{first", "{second"):
        file.write_text(content)
        progress.record("08.2", "passed", 3, 3)
    assert file.with_name("progress.broken.json").read_text() == "{first"
    assert file.with_name("progress.broken-2.json").read_text() == "{second"


def test_a_folder_that_cannot_be_written_to_is_said_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "nowhere" / "progress.json"))
    note = "progress.json could not be written here, so this result is not saved."
    assert progress.record("08.2", "passed", 3, 3) == [note]
    predict("size", 5)
    assert capsys.readouterr().out == f"size  noted: 5\n{note}\n"


def test_a_crash_while_writing_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    progress.record("08.2", "passed", 3, 3)
    before = file.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full_disk)
    assert len(progress.record("08.2", "failed", 0, 3)) == 1
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["progress.json"]


# Predictions


def test_a_guess_and_its_measurement(file: Path, capsys: pytest.CaptureFixture) -> None:
    predict("state size", 4096, "numbers")
    reveal("state size", 12_800_000)
    assert capsys.readouterr().out == (
        "state size  noted: 4,096 numbers\n"
        "state size  you guessed 4,096 numbers; measured 12.8 million numbers: 3,125 times as much\n"
    )
    assert predictions(file) == {"state size": {"guesses": [4096], "unit": "numbers", "measured": 12_800_000}}


def test_no_guess_yet(file: Path, capsys: pytest.CaptureFixture) -> None:
    predict("size", ...)
    reveal("size", 5)
    assert capsys.readouterr().out == (
        "size  no guess yet: replace the ... by your guess, then run the cell again\n"
        "size  no guess was noted; measured 5\n"
    )
    assert not file.exists()


def test_the_first_guess_is_what_counts(file: Path, capsys: pytest.CaptureFixture) -> None:
    for guess in (10, 10, 100, 400):
        predict("size", guess, "ms")
    capsys.readouterr()
    reveal("size", 400)
    assert (
        capsys.readouterr().out
        == "size  you guessed 10 ms (later: 100, 400); measured 400 ms: 40 times as much\n"
    )
    assert predictions(file)["size"]["guesses"] == [10, 100, 400]


@pytest.mark.parametrize(
    ("guess", "said"),
    [
        (torch.tensor(3.5), "noted: 3.5"),
        ("softmax wins", "noted: softmax wins"),
        ("\ud800", "noted: "),
        ("", "not noted: a few words"),
        ("x" * 81, "not noted: a few words"),
        ((4, 96), "not noted: a comma makes a tuple"),
        ([1], "not noted: a number is expected, and a value of type list came"),
        (True, "not noted: a number is expected"),
        (float("nan"), "not noted: a finite number is expected"),
        (10**400, "not noted: a finite number is expected"),
    ],
)
def test_every_kind_of_guess(guess: object, said: str, capsys: pytest.CaptureFixture) -> None:
    predict("size", guess)
    assert said in capsys.readouterr().out
    reveal("size", guess)
    assert capsys.readouterr().out.startswith("size  ")


def test_a_file_edited_by_hand_gives_no_guess(file: Path, capsys: pytest.CaptureFixture) -> None:
    file.write_text(json.dumps({"predictions": {"size": {"guesses": "many", "unit": 3}}}))
    reveal("size", 5)
    assert "no guess was noted; measured 5 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("guess", "measured", "said"),
    [
        (4096, 12_800_000, ": 3,125 times as much"),
        (100, 40, ": 2.5 times less"),
        (100, 104, ": within 5 %"),
        (100, 100, ": as you guessed"),
        ("linear", "linear", ": as you guessed"),
        ("linear", "softmax", ""),
        (0, 5, ""),
        (-2, 5, ""),
    ],
)
def test_how_far_off_a_guess_was(guess: object, measured: object, said: str) -> None:
    assert compare_guess(guess, measured) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (4096, "4,096"),
        (999_999, "999,999"),
        (12_800_000, "12.8 million"),
        (3.2e9, "3.2 billion"),
        (5e12, "5 trillion"),
        (0.03125, "0.0312"),
        (12345.6, "12,346"),
        (-2e6, "-2 million"),
        (0, "0"),
        (1e18, "1e+18"),
        ("softmax", "softmax"),
    ],
)
def test_numbers_are_written_for_people(value: object, said: str) -> None:
    assert show_value(value) == said


@pytest.mark.parametrize(("guess", "measured"), [(1e300, 1e-300), (1e-300, 1e300)])
def test_numbers_too_far_apart_for_a_ratio_are_shown_without_one(guess: float, measured: float) -> None:
    assert compare_guess(guess, measured) == ""
