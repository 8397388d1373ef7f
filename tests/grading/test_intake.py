"""Who handed in what: every layout that a teacher may have, and every file that a student may send."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import nbformat
import pytest
from handed_in import SOLVED, notebook_bytes

from course_lib.grading import intake
from course_lib.grading.intake import collect

GOOD = notebook_bytes(SOLVED)
SOURCES = tuple(SOLVED)


def found(place: Path) -> dict[str, intake.Submission]:
    """The submissions by file."""
    return {submission.file: submission for submission in collect(place)}


def who(place: Path) -> list[tuple[str, str]]:
    """(student, id) of every submission, in the order in which they come."""
    return [(submission.student, submission.id) for submission in collect(place)]


def problem(data: bytes) -> str:
    """Why these bytes cannot be graded; empty when they can."""
    return intake.read("alice", "", "alice.ipynb", data).problem


# ---- layouts ------------------------------------------------------------------------------------


def test_flat_folder(folder):
    place = folder({"bob.ipynb": GOOD, "alice_00_start-here.ipynb": GOOD, "00_start-here-carol.ipynb": GOOD})
    submissions = list(collect(place))
    assert {s.student for s in submissions} == {"alice", "bob", "carol"}
    assert all(s.chapter == "00" and s.sources == SOURCES and not s.problem for s in submissions)


def test_a_notebook_named_after_the_chapter_alone_keeps_that_name(folder):
    assert who(folder({"00_start-here.ipynb": GOOD})) == [("00_start-here", "")]


def test_folder_per_student_with_several_chapters_and_folders_inside(folder):
    place = folder({"alice/a.ipynb": GOOD, "alice/deep/er/b.ipynb": GOOD, "bob/a.ipynb": GOOD})
    assert who(place) == [("alice", ""), ("alice", ""), ("bob", "")]


@pytest.mark.parametrize("top", ["submitted/", ""])
def test_nbgraders_layout_from_its_course_folder_or_from_submitted(folder, top):
    place = folder({f"{top}{student}/ps1/00.ipynb": GOOD for student in ("alice", "bob")})
    assert who(place) == [("alice", ""), ("bob", "")]


def test_nbgraders_layout_with_one_student(folder):
    assert who(folder({"submitted/alice/ps1/00.ipynb": GOOD})) == [("alice", "")]


def test_canvas_zip(packed):
    names = ["doejane_123_9876_hw-1.ipynb", "roerichard_LATE_456_9877_my_work.ipynb"]
    assert who(packed(dict.fromkeys(names, GOOD))) == [("doejane", "123"), ("roerichard", "456")]


def test_moodle_zip(packed):
    names = [
        "Jane Doe_123_assignsubmission_file_/hw.ipynb",
        "Jörg Roe_456_assignsubmission_file/sub folder/hw.ipynb",
    ]
    assert who(packed(dict.fromkeys(names, GOOD))) == [("Jane Doe", "123"), ("Jörg Roe", "456")]


def test_two_people_of_one_name_stay_two_people(packed):
    names = [f"Jane Doe_{i}_assignsubmission_file_/hw.ipynb" for i in (1, 2)]
    submissions = list(collect(packed(dict.fromkeys(names, GOOD))))
    assert [s.id for s in submissions] == ["1", "2"]
    assert submissions[0].key != submissions[1].key


def test_a_zip_made_of_a_folder(packed):
    assert who(packed({f"hw1/{name}.ipynb": GOOD for name in ("alice", "bob")}, name="hw1.zip")) == [
        ("alice", ""),
        ("bob", ""),
    ]
    assert who(packed({f"all/{name}/x.ipynb": GOOD for name in ("alice", "bob")})) == [
        ("alice", ""),
        ("bob", ""),
    ]
    canvas = {f"all/{name}_1{i}_2{i}_x.ipynb": GOOD for i, name in enumerate(("alice", "bob"))}
    assert who(packed(canvas)) == [("alice", "10"), ("bob", "11")]


def test_one_students_folder_stays_that_students(folder):
    assert set(who(folder({"alice/a.ipynb": GOOD, "alice/b.ipynb": GOOD}))) == {("alice", "")}


@pytest.mark.parametrize("inside", ["Bob_7_assignsubmission_file_/x.ipynb", "bob_7_8_x.ipynb", "bob/x.ipynb"])
def test_nobody_hands_in_for_another_by_naming_what_is_inside_their_folder(folder, inside):
    place = folder({f"alice/{inside}": GOOD, "carol/x.ipynb": GOOD})
    assert {student for student, _ in who(place)} == {"alice", "carol"}


def test_hidden_files_and_checkpoints_are_nobodys(folder, packed):
    names = [".ipynb_checkpoints/a-checkpoint.ipynb", "bob/.ipynb_checkpoints/x.ipynb", "._a.ipynb"]
    names += ["__MACOSX/._alice.ipynb"]
    files = {"alice.ipynb": GOOD} | dict.fromkeys(names, b"")
    assert who(folder(files)) == who(packed(files)) == [("alice", "")]


def test_endings_in_capitals_count(folder):
    assert who(folder({"alice.IPYNB": GOOD})) == [("alice", "")]


def test_a_student_without_a_notebook_is_kept_with_the_reason(folder, packed):
    files = {"alice/x.ipynb": GOOD, "bob/work.zip": b"", "bob/a.pdf": b"", "alice/plot.png": b""}
    submissions = found(folder(files))
    assert submissions["bob/a.pdf"].problem == "no notebook was handed in, but a.pdf, work.zip"
    assert submissions["bob/a.pdf"].student == "bob"
    assert len(submissions) == 2
    canvas = found(packed({"doejane_1_2_x.ipynb": GOOD, "roe_3_4_essay.docx": b""}))
    assert canvas["roe_3_4_essay.docx"].id == "3"


def test_moodles_folder_of_online_text_beside_a_notebook_is_no_second_student(packed):
    name = "Jane Doe_1_assignsubmission"
    assert who(packed({f"{name}_file_/x.ipynb": GOOD, f"{name}_onlinetext_/onlinetext.html": b""})) == [
        ("Jane Doe", "1")
    ]


def test_grades_beside_the_submissions_are_no_student(folder):
    files = dict.fromkeys(("grades/seed", "grades/run.json", "grades/feedback/alice.html"), b"")
    assert who(folder({"alice/x.ipynb": GOOD} | files)) == [("alice", "")]


def test_a_teachers_file_beside_a_flat_folder_is_no_student(folder):
    assert who(folder({"alice.ipynb": GOOD, "README.txt": b""})) == [("alice", "")]


def test_what_is_no_place_of_submissions(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        list(collect(tmp_path / "nowhere"))
    (tmp_path / "a.ipynb").write_bytes(GOOD)
    with pytest.raises(ValueError, match="neither a folder"):
        list(collect(tmp_path / "a.ipynb"))


def test_a_zip_that_was_cut_off_is_refused_in_words(packed):
    place = packed({"alice.ipynb": GOOD})
    place.write_bytes(place.read_bytes()[:-20])
    with pytest.raises(ValueError, match="whole zip"):
        list(collect(place))


# ---- hostile files ------------------------------------------------------------------------------


def test_links_in_a_folder_are_not_followed(folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.ipynb").write_bytes(GOOD)
    place = folder({"alice.ipynb": GOOD})
    (place / "bob.ipynb").symlink_to(tmp_path / "secret" / "key.ipynb")
    (place / "carol").symlink_to(tmp_path / "secret")
    (place / "dave.ipynb").symlink_to(place / "nowhere")
    os.mkfifo(place / "eve.ipynb")
    submissions = {s.student: s for s in collect(place)}
    assert not submissions.pop("alice").problem
    assert set(submissions) == {"bob", "carol", "dave", "eve"}
    assert all("no plain file" in s.problem and not s.sources for s in submissions.values())


def test_links_in_a_zip_are_not_followed(packed):
    place = packed({"alice.ipynb": GOOD})
    link = zipfile.ZipInfo("bob.ipynb")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(place, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "no plain file" in found(place)["bob.ipynb"].problem


@pytest.mark.parametrize(
    "name", ["../../alice.ipynb", "/etc/alice.ipynb", "x/../alice.ipynb", "..\\alice.ipynb"]
)
def test_names_that_lead_out_of_a_zip(packed, name):
    (submission,) = collect(packed({name: GOOD}))
    assert "leads out" in submission.problem
    assert ".." not in submission.file
    assert not submission.file.startswith("/")


def test_a_zip_bomb_costs_its_student_alone(packed, monkeypatch):
    monkeypatch.setattr(intake, "MAX_FILE", 100_000)
    bomb = notebook_bytes(["x = 1" + " " * 200_000])
    place = packed({"alice.ipynb": bomb, "bob.ipynb": GOOD})
    assert place.stat().st_size < 5_000
    submissions = found(place)
    assert "larger than" in submissions["alice.ipynb"].problem
    assert not submissions["bob.ipynb"].problem


def test_many_notebooks_together_cost_their_student_alone(packed, monkeypatch):
    monkeypatch.setattr(intake, "MAX_STUDENT", 3 * len(GOOD))
    files = {f"alice/{i}.ipynb": GOOD for i in range(5)} | {"bob/x.ipynb": GOOD}
    submissions = found(packed(files))
    assert [bool(s.problem) for s in submissions.values()] == [False] * 3 + [True] * 2 + [False]
    assert "together" in submissions["alice/4.ipynb"].problem


def test_a_thousand_notebooks_of_one_student_are_not_all_graded(folder, monkeypatch):
    monkeypatch.setattr(intake, "MAX_NOTEBOOKS", 2)
    place = folder({f"alice/{i}.ipynb": GOOD for i in range(3)} | {"bob/x.ipynb": GOOD})
    problems = [s.problem for s in collect(place)]
    assert [bool(p) for p in problems] == [False, False, True, False]


@pytest.mark.parametrize("announced", [10, 50_000_000])
def test_a_zip_that_lies_about_a_size_costs_that_file_alone(packed, announced):
    place = packed({"alice.ipynb": GOOD, "bob.ipynb": GOOD})
    data = bytearray(place.read_bytes())
    entry = data.index(b"PK\x01\x02")  # the first entry of the central directory: alice's
    data[entry + 24 : entry + 28] = struct.pack("<I", announced)
    place.write_bytes(data)
    submissions = found(place)
    assert submissions["alice.ipynb"].problem or submissions["alice.ipynb"].sources == SOURCES
    assert submissions["bob.ipynb"].sources == SOURCES


def test_a_zip_that_announces_less_never_yields_more(packed, monkeypatch):
    monkeypatch.setattr(intake, "MAX_FILE", 1000)
    place = packed({"alice.ipynb": notebook_bytes(["#" * 50_000])})
    data = bytearray(place.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = data.index(signature) + offset
        data[at : at + 4] = struct.pack("<I", 500)
    place.write_bytes(data)
    (submission,) = collect(place)
    assert submission.problem
    assert not submission.sources


def test_a_damaged_member_costs_that_file_alone(packed):
    place = packed({"alice.ipynb": GOOD * 50, "bob.ipynb": GOOD})
    data = bytearray(place.read_bytes())
    start = data.index(b"alice.ipynb") + len("alice.ipynb")
    data[start : start + 40] = b"\xff" * 40
    place.write_bytes(data)
    submissions = found(place)
    assert submissions["alice.ipynb"].problem.startswith("cannot be read")
    assert submissions["bob.ipynb"].sources == SOURCES


def test_an_encrypted_member_says_so(packed):
    place = packed({"alice.ipynb": GOOD})
    data = bytearray(place.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        data[data.index(signature) + offset] |= 1
    place.write_bytes(data)
    (submission,) = collect(place)
    assert submission.problem == "it is encrypted: not read"


def test_a_packing_that_could_ask_for_gigabytes_is_not_read(packed):
    (submission,) = collect(packed({"alice.ipynb": GOOD}, method=zipfile.ZIP_LZMA))
    assert "no learning platform" in submission.problem


def test_a_file_that_cannot_be_opened_costs_itself(folder, monkeypatch):
    place = folder({"alice.ipynb": GOOD, "bob.ipynb": GOOD})
    start = intake._start

    def refused(path: Path, count: int) -> bytes:
        if path.name == "alice.ipynb":
            raise PermissionError
        return start(path, count)

    monkeypatch.setattr(intake, "_start", refused)
    submissions = found(place)
    assert submissions["alice.ipynb"].problem == "cannot be read: PermissionError"
    assert not submissions["bob.ipynb"].problem


def test_names_that_are_no_text_are_made_readable_and_stay_different(folder):
    place = os.fsencode(folder({"alice.ipynb": GOOD}))
    for name in (b"/caf\xe9.ipynb", b"/caf\xe8.ipynb"):
        Path(os.fsdecode(place + name)).write_bytes(GOOD)
    found = [s for s in collect(Path(os.fsdecode(place))) if s.student != "alice"]
    assert {s.student for s in found} == {r"caf\xe9", r"caf\xe8"}
    assert len({s.key for s in found}) == 2


# ---- hostile notebooks --------------------------------------------------------------------------


def test_the_outermost_shape_of_a_notebook():
    assert problem(b"") == "it is no notebook that can be read: the file is empty"
    assert problem(b"{}") == problem(b"[]") == "it is no notebook that can be read: it has no cells"
    assert "no JSON, or was cut off" in problem(GOOD[:-10])
    assert "no JSON" in problem(b"<html>an export</html>")
    assert problem(json.dumps({"cells": 3, "nbformat": 4}).encode())
    assert problem(json.dumps({"cells": ["x"], "nbformat": 4}).encode())
    assert problem(json.dumps({"cells": [], "nbformat": "3"}).encode())


def test_no_code_cells():
    assert problem(notebook_bytes([])) == "it has no code cells"


def test_another_courses_notebook():
    assert "no chapter of the course" in problem(notebook_bytes(["print('hello')"]))


def test_format_3():
    sheet = nbformat.v3.new_worksheet(cells=[nbformat.v3.new_code_cell(input=source) for source in SOLVED])
    sheet.cells[0].outputs = [{"output_type": "pyout", "nonsense": 1}]
    old = nbformat.v3.new_notebook(worksheets=[sheet])
    submission = intake.read("alice", "", "a.ipynb", json.dumps(old).encode())
    assert (submission.chapter, submission.sources) == ("00", SOURCES)


def test_sources_as_lines():
    notebook = json.loads(GOOD)
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    assert intake.read("alice", "", "a.ipynb", json.dumps(notebook).encode()).sources == SOURCES


def test_not_utf_8():
    data = notebook_bytes(["# caf\N{LATIN SMALL LETTER E WITH ACUTE}", *SOLVED])
    latin = data.replace(b"\\u00e9", b"\xe9")
    assert latin != data
    submission = intake.read("alice", "", "a.ipynb", latin)
    assert submission.sources == ("# caf\N{REPLACEMENT CHARACTER}", *SOURCES)


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig"])
def test_other_encodings_that_editors_write(codec):
    assert intake.read("alice", "", "a.ipynb", GOOD.decode().encode(codec)).sources == SOURCES


def test_half_a_character_becomes_a_sign_that_can_be_written():
    submission = intake.read("alice", "", "a.ipynb", notebook_bytes(["x = '\ud800'", *SOLVED]))
    assert submission.sources[0] == "x = '?'"


def test_deep_nesting():
    assert "nested too deeply" in problem(b"[" * 200_000)


def test_deeply_nested_code_does_not_stop_the_reader():
    for source in ("-" * 100_000 + "1", "x" + ".a" * 100_000, "1" + "+1" * 100_000, "(" * 100_000):
        assert intake.read("alice", "", "a.ipynb", notebook_bytes([source, *SOLVED])).chapter == "00"


def test_huge_outputs_are_not_kept():
    output = {"output_type": "stream", "name": "stdout", "text": "x" * 20_000_000}
    submission = intake.read("alice", "", "a.ipynb", notebook_bytes(SOLVED, [output]))
    assert submission.sources == SOURCES


def test_too_much_code():
    assert "too much code" in problem(notebook_bytes(["#" * 5_000_000, *SOLVED]))
    assert "too much code" in problem(notebook_bytes([""] * 6_000))


@pytest.mark.parametrize(("seconds", "nbytes"), [(1, 4 * 10**9), (120, 50 * 2**20)])
def test_a_file_that_exhausts_its_reader_is_given_up(monkeypatch, seconds, nbytes):
    monkeypatch.setattr(intake, "READ_SECONDS", seconds)
    monkeypatch.setattr(intake, "READ_BYTES", nbytes)
    data = io.BytesIO()
    data.write(b'{"cells": [' + b"[[]]," * 6_000_000 + b"[]]}")
    assert "too much time or memory" in problem(data.getvalue()) or "too large" in problem(data.getvalue())


# ---- which chapter ------------------------------------------------------------------------------


def test_chapter_by_ids_in_code_whatever_the_file_is_called(folder):
    (submission,) = collect(folder({"08_linear-attention.ipynb": GOOD}))
    assert submission.chapter == "00"


def test_chapter_by_names_when_every_check_is_deleted():
    cells = ["def running_mean(v):\n    return v", "answer_00_2 = 'B'", "%matplotlib inline\nx ="]
    assert intake.read("alice", "", "a.ipynb", notebook_bytes(cells)).chapter == "00"


def test_ids_in_comments_and_strings_decide_nothing():
    cells = ["text = \"check('08.1', f)\"", "# check('08.1', f)", *SOLVED]
    assert intake.read("alice", "", "a.ipynb", notebook_bytes(cells)).chapter == "00"


def test_two_notebooks_of_one_chapter_by_one_student(folder):
    other = notebook_bytes(SOLVED[:2])
    submissions = list(collect(folder({"alice/a.ipynb": GOOD, "alice/b.ipynb": other})))
    assert [s.chapter for s in submissions] == ["00", "00"]
    assert submissions[0].key != submissions[1].key
