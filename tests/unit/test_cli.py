"""The `course` command: what it parses, what it imports, what it prints, and what it never overwrites."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib import cli, course, doctor, lab

NOTEBOOK = "00_first-steps.ipynb"


@pytest.fixture
def here(built, monkeypatch) -> Path:
    """The built tiny checkout as the one that the command works on."""
    monkeypatch.setattr(course, "checkout", lambda: built)
    monkeypatch.setattr(course, "notebooks_folder", lambda: built / "notebooks")
    monkeypatch.setattr(course, "load", lambda: _tiny_course(built))
    return built


def _tiny_course(root: Path) -> course.Course:
    from course_lib.authoring import graph

    return graph.load(root)


@pytest.fixture
def started(monkeypatch) -> list:
    """What JupyterLab would have been started with; it is not started."""
    calls = []
    monkeypatch.setattr(lab.subprocess, "call", lambda command, cwd: calls.append((command, cwd)) or 0)
    return calls


def python(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


# ---- imports ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module",
    [
        "course_lib.cli",
        "course_lib.lab",
        "course_lib.run",
        "course_lib.doctor",
        "course_lib.authoring.build",
        "course_lib.authoring.check",
        "course_lib.authoring.new",
        "course_lib.authoring.publish",
    ],
)
def test_commands_do_not_import_torch(module):
    program = f"import sys, {module}; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    assert python(program).strip() == "[]"


def test_help_and_lab_and_check_run_without_torch(tmp_path):
    program = (
        "import sys; from course_lib import cli, lab; lab.start = lambda *_: 0\n"
        "lab.update = lambda *_: []\n"
        "assert cli.main(['lab']) == 0 and 'torch' not in sys.modules\n"
        "assert cli.main(['run']) == 1 and 'torch' not in sys.modules\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: print('torch' in sys.modules)\n"
    )
    assert python(program).strip().splitlines()[-1] == "False"


def test_the_command_is_installed():
    found = subprocess.run(
        [sys.executable, "-m", "course_lib.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert all(name in found.stdout for name in ("lab", "run", "build", "doctor", "publish"))


def test_a_missing_extra_is_named_with_the_line_that_mends_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jupytext", None)
    monkeypatch.delitem(sys.modules, "course_lib.authoring.source", raising=False)
    monkeypatch.delitem(sys.modules, "course_lib.authoring.build", raising=False)
    monkeypatch.delattr("course_lib.authoring.build", raising=False)
    monkeypatch.delattr("course_lib.authoring.source", raising=False)
    assert cli.main(["build"]) == 1
    assert 'jupytext is missing; run:  python -m pip install -c constraints.txt -e ".[author]"' in (
        capsys.readouterr().err
    )


def test_unknown_arguments_are_refused_except_for_lab(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "00", "--no-browser"])
    assert "unrecognized arguments: --no-browser" in capsys.readouterr().err


# ---- lab ----------------------------------------------------------------------------------------


def test_lab_copies_and_starts_jupyterlab_with_further_arguments(here, started, capsys):
    assert cli.main(["lab", "--allow-root", "--no-browser", "--port", "8899", "--ServerApp.token=x"]) == 0
    assert (here / "work" / NOTEBOOK).read_bytes() == (here / "notebooks" / NOTEBOOK).read_bytes()
    ((command, folder),) = started
    assert command[1:] == [
        "-m",
        "jupyterlab",
        "--allow-root",
        "--no-browser",
        "--port",
        "8899",
        "--ServerApp.token=x",
    ]
    assert folder == here / "work"
    assert f"new      {NOTEBOOK}" in capsys.readouterr().out


def test_lab_of_a_wheel_works_in_the_current_folder(here, started, monkeypatch, tmp_path):
    monkeypatch.setattr(course, "checkout", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab"]) == 0
    assert (tmp_path / "work" / NOTEBOOK).is_file()


def test_lab_says_when_jupyterlab_is_missing(here, monkeypatch, capsys):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["lab"]) == 1
    assert "JupyterLab is not installed" in capsys.readouterr().err


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """A release of two notebooks, and a work folder that has them."""
    released, work = tmp_path / "released", tmp_path / "work"
    released.mkdir()
    (released / "00_a.ipynb").write_text("release 1 of a")
    (released / "08_b.ipynb").write_text("release 1 of b")
    lab.update(released, work)
    return released, work


def test_nothing_is_said_when_nothing_is_new(folders):
    assert lab.update(*folders) == []


def test_an_untouched_copy_follows_the_release(folders):
    released, work = folders
    (released / "00_a.ipynb").write_text("release 2 of a")
    assert lab.update(released, work) == ["updated  00_a.ipynb (you had not changed it)"]
    assert (work / "00_a.ipynb").read_text() == "release 2 of a"
    assert lab.update(released, work) == []


def test_work_is_never_overwritten(folders):
    released, work = folders
    (work / "08_b.ipynb").write_text("mine")
    assert lab.update(released, work) == ["kept     08_b.ipynb: your work stays as it is"]
    (released / "08_b.ipynb").write_text("release 2 of b")
    (note,) = lab.update(released, work)
    assert "a newer release is there, `course lab --reset 08`" in note
    assert (work / "08_b.ipynb").read_text() == "mine"


@pytest.mark.parametrize("record", [None, "", "{", "[]", "{}"])
def test_work_is_kept_when_the_record_is_lost(folders, record):
    released, work = folders
    (work / "08_b.ipynb").write_text("mine")
    (released / "08_b.ipynb").write_text("release 2 of b")
    (work / ".release.json").unlink()
    if record is not None:
        (work / ".release.json").write_text(record)
    lab.update(released, work)
    assert (work / "08_b.ipynb").read_text() == "mine"


def test_a_file_of_the_students_own_is_left_alone(folders):
    released, work = folders
    (work / "notes.ipynb").write_text("mine")
    lab.update(released, work)
    assert (work / "notes.ipynb").read_text() == "mine"


def test_going_back_to_an_old_release_by_hand_is_kept_too(folders):
    released, work = folders
    (released / "00_a.ipynb").write_text("release 2 of a")
    lab.update(released, work)
    (work / "00_a.ipynb").write_text("release 1 of a")
    lab.update(released, work)
    assert (work / "00_a.ipynb").read_text() == "release 1 of a"


@pytest.mark.parametrize("answer", ["", "n", "no", "maybe"])
def test_reset_without_consent_keeps_the_work(folders, answer):
    released, work = folders
    (work / "08_b.ipynb").write_text("mine")
    assert lab.reset(released, work, "08", ask=lambda _: answer) == "kept     08_b.ipynb"
    assert (work / "08_b.ipynb").read_text() == "mine"


def test_reset_without_a_terminal_keeps_the_work(folders):
    released, work = folders
    (work / "08_b.ipynb").write_text("mine")

    def closed(_: str) -> str:
        raise EOFError

    lab.reset(released, work, "08", ask=closed)
    assert (work / "08_b.ipynb").read_text() == "mine"


def test_reset_keeps_a_dated_backup_every_time(folders):
    released, work = folders
    for text in ("mine", "mine again"):
        (work / "08_b.ipynb").write_text(text)
        note = lab.reset(released, work, "08", ask=lambda _: "yes")
        assert "your version is in backup/08_b.2" in note
        assert (work / "08_b.ipynb").read_text() == "release 1 of b"
    backups = sorted((work / "backup").iterdir())
    assert sorted(p.read_text() for p in backups) == ["mine", "mine again"]
    assert lab.update(released, work) == []


def test_reset_asks_nothing_when_nothing_is_lost(folders):
    released, work = folders

    def never(_: str) -> str:
        raise AssertionError("asked")

    assert "nothing of yours" in lab.reset(released, work, "08", ask=never)
    (work / "08_b.ipynb").unlink()
    lab.reset(released, work, "08", ask=never)
    assert (work / "08_b.ipynb").is_file()


def test_reset_of_an_unknown_chapter_is_refused(folders):
    with pytest.raises(ValueError, match="no chapter '77'"):
        lab.reset(*folders, "77", ask=lambda _: "yes")


def test_lab_resets_from_the_command_line(here, started, monkeypatch, capsys):
    cli.main(["lab"])
    (here / "work" / NOTEBOOK).write_text("mine")
    monkeypatch.setattr("builtins.input", lambda _: "y")
    assert cli.main(["lab", "--reset", "00", "--no-browser"]) == 0
    assert (here / "work" / NOTEBOOK).read_bytes() == (here / "notebooks" / NOTEBOOK).read_bytes()
    assert started[-1][0][-1] == "--no-browser"
    assert "reset    00_first-steps.ipynb" in capsys.readouterr().out


# ---- run ----------------------------------------------------------------------------------------


def row(text: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.startswith("00_first-steps "))


@pytest.fixture
def kernel_path(built, monkeypatch) -> None:
    """The kernel imports the tiny course_lib."""
    monkeypatch.setenv("PYTHONPATH", str(built))


@pytest.mark.usefixtures("kernel_path")
def test_run_reports_an_unsolved_chapter(here, capsys):
    assert cli.main(["run", "00"]) == 0
    _, seconds, megabytes, unit, *counts = row(capsys.readouterr().out)
    assert counts == ["2", "0", "0", "0"], "questions, attempted, passed, errors"
    assert float(seconds) > 0
    assert float(megabytes) > 10
    assert unit == "MB"
    assert (here / "build/run/notebooks" / NOTEBOOK).is_file()


@pytest.mark.usefixtures("kernel_path")
def test_run_reports_the_solutions(here, capsys):
    assert cli.main(["run", "--all", "--solution"]) == 0
    assert row(capsys.readouterr().out)[-4:] == ["2", "2", "2", "0"]


@pytest.mark.usefixtures("kernel_path")
def test_run_exits_1_on_an_error_and_goes_on(here, capsys):
    path = here / "notebooks" / NOTEBOOK
    path.write_text(path.read_text().replace("print(double(21))", "print(1 / 0)"))
    assert cli.main(["run", "00"]) == 1
    out = capsys.readouterr().out
    assert row(out)[-4:] == ["2", "0", "0", "1"]
    assert "ZeroDivisionError: division by zero" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "say --all"), (["01"], "not written yet: 01"), (["77"], "there is no chapter '77'")],
)
def test_run_refuses_what_cannot_be_run(here, capsys, arguments, message):
    assert cli.main(["run", *arguments]) == 1
    assert message in capsys.readouterr().err


# ---- build, publish, doctor ---------------------------------------------------------------------


def test_build_and_check_from_the_command_line(here, capsys):
    assert cli.main(["build"]) == 0
    assert cli.main(["build", "--check"]) == 0
    path = here / "notebooks" / NOTEBOOK
    path.write_text(path.read_text().replace("print(double(21))", "print(double(22))"))
    capsys.readouterr()
    assert cli.main(["build", "--check"]) == 1
    assert "fault: 00_first-steps: cell" in capsys.readouterr().out


def test_build_exits_1_on_a_failed_cell(here, capsys):
    path = here / "notebooks/source/00_first-steps.md"
    path.write_text(path.read_text().replace("print(double(21))", "print(1 / 0)"))
    assert cli.main(["build", "00"]) == 1
    assert "00_first-steps.md:10: ZeroDivisionError" in capsys.readouterr().out


def test_publish_from_the_command_line(here, capsys):
    assert cli.main(["publish", "--repo", "who/what", "--ref", "v1"]) == 0
    assert "stamped who/what at v1" in capsys.readouterr().out
    assert 'ref: "v1"' in (here / "notebooks/course.yml").read_text()


def test_commands_for_a_checkout_refuse_a_wheel(here, monkeypatch, capsys):
    monkeypatch.setattr(course, "checkout", lambda: None)
    assert cli.main(["build", "--check"]) == 1
    assert "installed wheel" in capsys.readouterr().err


def test_doctor_names_what_is_missing_with_the_line_that_mends_it(monkeypatch):
    versions = {"jupyterlab": None, "torch": None}
    monkeypatch.setattr(doctor, "version", lambda name: versions.get(name, "1.0"))
    text, healthy = doctor.report()
    assert not healthy
    assert '! torch is missing; run:  python -m pip install -c constraints.txt -e "."' in text
    assert '! jupyterlab is missing; run:  python -m pip install -c constraints.txt -e ".[lab]"' in text


def test_doctor_is_content_without_what_only_teachers_need(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: None if name in ("jupytext", "pytest") else "1.0")
    monkeypatch.setattr(doctor, "_machine", lambda: [])
    text, healthy = doctor.report()
    assert healthy
    assert "! jupytext is missing" in text


def test_doctor_measures_the_machine(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    rows = ("Python", "torch", "device", "compute capability", "threads", "memory", "GFLOP/s", "GB/s")
    for name in rows:
        assert name in out, f"{name} is not in the report"


@pytest.mark.parametrize("record", ["null", "3", "[1, 2]"])
def test_a_record_that_is_no_record_keeps_every_copy(folders, record):
    released, work = folders
    lab.update(released, work)
    (work / "00_a.ipynb").write_text("mine")
    (work / lab.RELEASE).write_text(record)
    assert any(note.startswith("kept") for note in lab.update(released, work))
    assert (work / "00_a.ipynb").read_text() == "mine"


@pytest.mark.parametrize("number", ["*", "??", "0", ""])
def test_reset_takes_a_number_and_no_pattern(folders, number):
    with pytest.raises(ValueError, match="there is no chapter"):
        lab.reset(*folders, number, ask=lambda _: "y")


def test_output_that_cannot_show_an_arrow_still_says_the_rest():
    program = "from course_lib import cli\n"
    program += "cli.lab = lambda o: print('00 → 01') or 0\ncli.main(['lab'])"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert "00 ? 01" in done.stdout
