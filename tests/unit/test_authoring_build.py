"""What `course build` executes, what it keeps, and how it fails."""

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from course_lib.authoring import build, graph

NOTEBOOK = Path("notebooks/00_first-steps.ipynb")
SOLUTION = Path("build/solutions/00_first-steps.ipynb")
SOURCE = Path("notebooks/source/00_first-steps.md")


def rebuild(root: Path, **options) -> list[str]:
    """Builds and returns the messages, errors included."""
    messages: list[str] = []
    failed = build.build(root, echo=messages.append, **options)
    assert failed == sum(m.startswith("error:") for m in messages)
    return messages


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def output_of(notebook: nbformat.NotebookNode, text: str) -> list:
    return next(c.outputs for c in notebook.cells if c.cell_type == "code" and text in c.source)


@pytest.fixture
def no_kernel(monkeypatch):
    """Any execution is an error."""

    def refuse(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(build, "execute", refuse)


def test_the_student_notebook_runs_unsolved_and_hides_solutions(built):
    notebook = read(built / NOTEBOOK)
    assert output_of(notebook, "def twice")[0].text == "00.1 not attempted\n"
    assert "raise NotImplementedError" in (built / NOTEBOOK).read_text()
    assert "secret" not in (built / NOTEBOOK).read_text()
    assert all(c.execution_count for c in notebook.cells if c.cell_type == "code")
    nbformat.validate(notebook)


def test_the_solution_notebook_passes(built):
    notebook = read(built / SOLUTION)
    assert output_of(notebook, "def twice")[0].text == "00.1 passed\n"
    assert "the whole secret" in (built / SOLUTION).read_text()
    assert "BEGIN SOLUTION" not in (built / SOLUTION).read_text()


def test_stderr_is_dropped_and_stdout_kept(built):
    outputs = output_of(read(built / NOTEBOOK), "noise")
    assert [(o.name, o.text) for o in outputs] == [("stdout", "a measurement\n")]


def test_building_anew_gives_the_same_bytes(built):
    before = (built / NOTEBOOK).read_bytes(), (built / SOLUTION).read_bytes()
    (built / NOTEBOOK).unlink()
    (built / SOLUTION).unlink()
    assert all("executed" in m for m in rebuild(built))
    assert ((built / NOTEBOOK).read_bytes(), (built / SOLUTION).read_bytes()) == before


@pytest.mark.usefixtures("no_kernel")
def test_nothing_changed_nothing_runs_nothing_is_written(built):
    before = (built / NOTEBOOK).stat().st_mtime_ns
    assert all(m.endswith("unchanged") for m in rebuild(built))
    assert (built / NOTEBOOK).stat().st_mtime_ns == before


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (SOURCE, "Doubling is adding", "To double is to add"),
        (Path("notebooks/course.yml"), "title: First steps", "title: The first steps"),
    ],
)
def test_new_prose_keeps_the_outputs(built, path, old, new):
    before = output_of(read(built / NOTEBOOK), "double(21)")
    edit(built / path, old, new)
    assert all(m.endswith("prose rewritten, outputs kept") for m in rebuild(built))
    assert new.removeprefix("title: ") in (built / NOTEBOOK).read_text()
    assert output_of(read(built / NOTEBOOK), "double(21)") == before


@pytest.mark.parametrize(
    ("path", "old", "new", "reason"),
    [
        (SOURCE, "double(21)", "double(22)", "its code changed"),
        (Path("course_lib/steps.py"), "2 * x", "3 * x", "course_lib/steps.py changed"),
        (Path("constraints.txt"), "torch==2.13.0", "torch==2.14.0", "the pinned versions changed"),
    ],
)
def test_what_outputs_depend_on_is_executed_again(built, path, old, new, reason):
    edit(built / path, old, new)
    assert all("executed" in m and reason in m for m in rebuild(built))


def test_a_changed_module_changes_the_output(built):
    edit(built / "course_lib/steps.py", "2 * x", "3 * x")
    rebuild(built)
    assert output_of(read(built / NOTEBOOK), "double(21)")[0].text == "63\n"


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (Path("course_lib/unused.py"), "No chapter", "Truly no chapter"),
        (Path("constraints.txt"), "pytest==9.2.0", "pytest==9.3.0"),
    ],
)
def test_what_outputs_do_not_depend_on_is_ignored(built, path, old, new):
    edit(built / path, old, new)
    assert all(m.endswith("unchanged") for m in rebuild(built))


def test_the_recorded_modules_are_those_the_kernel_imported(built):
    stamp = read(built / NOTEBOOK).metadata.course
    assert list(stamp.modules) == [
        "course_lib/__init__.py",
        "course_lib/exercises/__init__.py",
        "course_lib/steps.py",
    ]
    assert stamp.pins == {"numpy": "2.4.6", "torch": "2.13.0"}


@pytest.mark.parametrize("damage", ["doubled", "stderr", "deleted"])
def test_damaged_outputs_are_made_anew(built, damage):
    notebook = read(built / NOTEBOOK)
    cell = next(c for c in notebook.cells if c.cell_type == "code" and c.outputs)
    noise = nbformat.v4.new_output("stream", name="stderr", text="/home/me was here")
    cell.outputs = {"doubled": [*cell.outputs, *cell.outputs], "stderr": [noise], "deleted": []}[damage]
    nbformat.write(notebook, built / NOTEBOOK)
    messages = rebuild(built)
    assert any("its stored outputs are not those of the last build" in m for m in messages), messages
    assert all("unchanged" in m for m in rebuild(built))


def test_force_executes_what_has_not_changed(built):
    assert all("asked for" in m for m in rebuild(built, force=True))


def row_of(root: Path, text: str) -> int:
    return 1 + next(i for i, row in enumerate((root / SOURCE).read_text().splitlines()) if text in row)


def test_a_failed_cell_names_chapter_cell_and_line_and_leaves_the_notebook(built):
    before = (built / NOTEBOOK).read_bytes()
    edit(built / SOURCE, 'check("00.1", twice)', 'check("00.1", twice)\n1 / 0')
    messages = rebuild(built)
    place = f"cell ex-00-1 failed at {SOURCE.as_posix()}:{row_of(built, '1 / 0')}: ZeroDivisionError"
    assert [place in m and "00_first-steps (" in m for m in messages] == [True, True], messages
    assert (built / NOTEBOOK).read_bytes() == before


def test_a_wrong_solution_is_named(built):
    edit(built / SOURCE, "total = x + x", "total = x + x + 1")
    error = rebuild(built)[-1]
    assert "00_first-steps: the solution of question 00.1 in cell ex-00-1: failed" in error


def test_a_broken_question_is_an_error_and_its_words_are_not_stored(built):
    before = (built / NOTEBOOK).read_bytes()
    said = "the check itself failed; your answer is not to blame.   TypeError: no n"
    edit(built / SOURCE, "print(double(21))", f'print("{said}")')
    messages = rebuild(built)
    assert all("is itself broken: TypeError: no n" in message for message in messages), messages
    assert (built / NOTEBOOK).read_bytes() == before


def test_a_machine_path_in_an_output_is_an_error(built, tmp_path):
    edit(built / SOURCE, "print(double(21))", "import os\nprint(os.getcwd())")
    messages = rebuild(built)
    assert all("holds the machine's path" in m and "00_first-steps" in m for m in messages), messages


def test_a_dead_kernel_is_reported(built):
    edit(built / SOURCE, "print(double(21))", "import os\nos._exit(1)")
    assert "the kernel died" in rebuild(built)[0]


def test_widget_views_and_state_are_dropped(built):
    widget = '{"application/vnd.jupyter.widget-view+json": {"model_id": "a"}, "text/plain": "w"}'
    edit(
        built / SOURCE,
        "print(double(21))",
        f"from IPython.display import display\ndisplay({widget}, raw=True)",
    )
    rebuild(built)
    notebook = read(built / NOTEBOOK)
    assert output_of(notebook, "widget-view") == []
    assert "widgets" not in notebook.metadata


def test_a_heavy_notebook_is_warned_about(built):
    edit(built / SOURCE, "print(double(21))", 'print(("x" * 99 + "\\n") * 7_000)')
    assert "! 7" in rebuild(built)[0]


def test_a_planned_or_unknown_chapter_is_refused(built):
    with pytest.raises(ValueError, match="chapter 01 is planned"):
        build.build(built, ["01"])
    with pytest.raises(ValueError, match="no chapter '77'"):
        build.build(built, ["77"])


def test_course_json_follows_course_yml(built):
    edit(built / "notebooks/course.yml", "title: First steps", "title: Other steps")
    rebuild(built)
    copy = json.loads((built / "course_lib/course.json").read_text())
    assert copy["chapters"][0]["title"] == "Other steps"
    assert "Other steps" in (built / "README.md").read_text()


@pytest.mark.usefixtures("no_kernel")
def test_publishing_stamps_everything_and_executes_nothing(built):
    outputs = output_of(read(built / NOTEBOOK), "double(21)")
    build.publish(built, "who/what", "v1.0")
    course = graph.load(built)
    assert (course.repository, course.ref) == ("who/what", "v1.0")
    notebook = read(built / NOTEBOOK)
    assert 'ADDRESS = "git+https://github.com/who/what@v1.0"' in notebook.cells[1].source
    assert "github/who/what/blob/v1.0/notebooks/00_first-steps.ipynb" in notebook.cells[0].source
    assert output_of(notebook, "double(21)") == outputs
    assert all(m.endswith("unchanged") for m in rebuild(built))


def test_a_write_leaves_no_temporary_file(tmp_path: Path):
    build.write_atomically(tmp_path / "a" / "b.txt", "text\n")
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.txt"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail(*_: object) -> Callable:
        raise OSError("disk full")

    monkeypatch.setattr(build.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        build.write_atomically(path, "new")
    assert path.read_text() == "old"
