"""The stored notebooks of every written chapter, and their solutions run once.

nbval compares each student notebook with its stored outputs; here is what nbval does not look at.
"""

import re
from pathlib import Path

import nbformat
import pytest

from course_lib import course, run
from course_lib.authoring import build, check, outputs, source

ROOT = Path(__file__).parents[2]
COURSE = course.load()
READY = pytest.mark.parametrize("chapter", COURSE.ready, ids=lambda chapter: chapter.name)
LIGHT_BYTES = 600_000
PRINTED_WIDTH = 79  # longer lines of output are broken where two windows share a screen


def stored(chapter: course.Chapter) -> nbformat.NotebookNode:
    path = build.target(ROOT, chapter, solution=False)
    assert path.is_file(), f"chapter {chapter.number} is ready in course.yml, but {path.name} is not built"
    return nbformat.read(path, as_version=4)


def code_cells(chapter: course.Chapter) -> list[nbformat.NotebookNode]:
    return [cell for cell in stored(chapter).cells if cell.cell_type == "code"]


def test_some_chapters_are_ready():
    assert {"00", "01", "08"} <= {chapter.number for chapter in COURSE.ready}


@READY
def test_every_code_cell_was_executed_in_order(chapter):
    counts = [cell.execution_count for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1))


@READY
def test_no_output_holds_an_error_stderr_or_a_dead_widget(chapter):
    for cell in code_cells(chapter):
        assert not [o for o in cell.outputs if o.output_type == "error"], cell.id
        assert not [o for o in cell.outputs if outputs.is_noise(o)], cell.id


@READY
def test_no_output_holds_a_machine_path(chapter):
    assert [(c.id, p) for c in code_cells(chapter) if (p := outputs.path_in_output(c, ROOT))] == []


@READY
def test_metadata_hold_no_widgets_and_a_portable_kernel(chapter):
    metadata = stored(chapter).metadata
    assert set(metadata) == {"course", "kernelspec", "language_info"}
    assert metadata.kernelspec.name == "python3"
    assert "version" not in metadata.language_info


@READY
def test_the_file_is_valid_and_light(chapter):
    nbformat.validate(stored(chapter))
    assert build.target(ROOT, chapter, solution=False).stat().st_size < LIGHT_BYTES


@READY
def test_the_set_up_cell_is_the_same_everywhere(chapter):
    assert stored(chapter).cells[1].source == source.setup_text(COURSE)


@READY
def test_no_cell_may_raise_and_no_cell_is_skipped(chapter):
    tags = {tag for cell in stored(chapter).cells for tag in cell.metadata.get("tags", ())}
    assert tags <= {"exercise", check.IGNORED}


@READY
def test_strict_outputs_hold_no_addresses_of_objects(chapter):
    for cell in code_cells(chapter):
        if check.IGNORED not in cell.metadata.get("tags", ()):
            assert not [t for t in outputs.texts(cell) if re.search(r"\bat 0x[0-9a-f]{6,}", t)], cell.id


def printed_lines(cell: nbformat.NotebookNode) -> list[str]:
    """What is shown as text; the text that stands for a figure or an HTML table is not."""
    lines = []
    for output in cell.outputs:
        data = output.get("data", {})
        lines += output.get("text", "").splitlines()
        lines += data["text/plain"].splitlines() if set(data) == {"text/plain"} else []
    return lines


@READY
def test_no_printed_line_is_broken_in_a_narrow_window(chapter):
    long = [(c.id, x) for c in code_cells(chapter) for x in printed_lines(c) if len(x) > PRINTED_WIDTH]
    assert long == []


@READY
def test_no_solution_line_is_in_the_student_notebook(chapter):
    assert list(check.leaks(source.read(ROOT, chapter), stored(chapter))) == []


@READY
def test_every_solution_passes_its_check(chapter, tmp_path):
    """Executed anew with the small sizes, so a solution that was never built or has aged is caught."""
    chapter_source = source.read(ROOT, chapter)
    fresh = source.assemble(COURSE, chapter_source, solution=True)
    progress = tmp_path / "progress.json"
    env = run.kernel_environment(COURSE_SIZE="ci", COURSE_PROGRESS=str(progress))
    result = run.execute(fresh, folder=ROOT / "notebooks", env=env)
    assert result.failures == []
    states = run.answers(progress)
    asked = {q for c in chapter_source.cells if c.kind == "code" for q in build.CHECKED.findall(c.text)}
    assert asked, "the chapter checks nothing"
    assert {q: states.get(q) for q in asked} == dict.fromkeys(asked, "passed")
