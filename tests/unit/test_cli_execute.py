"""`execute`: which Python runs, what is measured, and how failures are reported."""

import sys
from pathlib import Path

import nbformat
import pytest

from course_lib import run


def notebook(*cells: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(c, id=f"c{i}") for i, c in enumerate(cells)]
    )


def execute(folder: Path, *cells: str, **options) -> run.Execution:
    return run.execute(notebook(*cells), folder=folder, env=run.kernel_environment(), **options)


def text_of(result: run.Execution, index: int = 0) -> str:
    return "".join(o.text for o in result.notebook.cells[index].outputs)


def test_the_kernel_is_this_python_in_the_given_folder(tmp_path):
    result = execute(tmp_path, "import os, sys; print(sys.executable, os.getcwd(), sep='\\n')")
    assert text_of(result).splitlines() == [sys.executable, str(tmp_path)]


def test_a_registered_kernel_of_the_same_name_is_not_used(tmp_path, monkeypatch):
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(
        '{"argv": ["no-such-program"], "display_name": "x", "language": "python"}'
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert text_of(execute(tmp_path, "print(1)")) == "1\n"


def test_the_kernel_draws_no_bars(tmp_path):
    assert text_of(execute(tmp_path, "import os; print(os.environ['COURSE_PROGRESS_BAR'])")) == "0\n"


def test_the_given_notebook_is_not_changed(tmp_path):
    given = notebook("print(1)")
    result = run.execute(given, folder=tmp_path, env=run.kernel_environment())
    assert given.cells[0].outputs == []
    assert len(result.notebook.cells) == 1
    assert "execution" not in result.notebook.cells[0].metadata


def test_peak_memory_sees_an_allocation(tmp_path):
    small = execute(tmp_path, "import time; time.sleep(0.3)")
    large = execute(tmp_path, "import time; x = b'1' * 300_000_000; time.sleep(0.3); del x")
    assert small.peak_bytes > 10_000_000
    assert large.peak_bytes - small.peak_bytes > 250_000_000


def test_peak_memory_sees_child_processes(tmp_path):
    child = "import time; x = b'1' * 300_000_000; time.sleep(1)"
    cell = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    assert execute(tmp_path, cell).peak_bytes > 300_000_000


def test_imported_modules_are_reported(tmp_path):
    assert execute(tmp_path, "import course_lib.course").modules == ("course_lib", "course_lib.course")


def test_it_stops_at_the_first_failure_unless_told_to_go_on(tmp_path):
    cells = ("x = 1", "x = 2\n\nraise ValueError('no')", "print(x)")
    stopped = execute(tmp_path, *cells)
    assert stopped.failures == [run.Failure(1, "c1", 3, "ValueError: no")]
    assert stopped.notebook.cells[2].outputs == []
    went_on = execute(tmp_path, *cells, keep_going=True)
    assert went_on.failures == stopped.failures
    assert text_of(went_on, 2) == "2\n"


def test_the_line_is_that_of_the_failing_cell_not_of_its_helper(tmp_path):
    helper = "def f(x):\n\n\n\n    return 1 / x"
    assert execute(tmp_path, helper, "y = 1\nf(0)").failures[0].line == 2


def test_a_syntax_error_has_its_line(tmp_path):
    failure = execute(tmp_path, "x = 1\ny = (").failures[0]
    assert (failure.line, failure.reason.split(":")[0]) == (2, "SyntaxError")


def test_a_cell_that_takes_too_long_is_reported(tmp_path):
    failures = execute(tmp_path, "import time; time.sleep(60)", timeout=1).failures
    assert [f.reason for f in failures] == ["took longer than 1 s"]


@pytest.mark.parametrize("keep_going", [True, False])
def test_a_dead_kernel_is_reported_once(tmp_path, keep_going):
    result = execute(tmp_path, "import os; os._exit(1)", "print(1)", keep_going=keep_going)
    assert [f.reason for f in result.failures] == ["the kernel died (out of memory?)"]
    assert result.modules == ()


def test_answers_are_read_from_the_progress_file(tmp_path):
    path = tmp_path / "progress.json"
    assert run.answers(path) == {}
    path.write_text('{"answers": {"08.2": {"state": "passed", "points": 3}}, "predictions": {}}')
    assert run.answers(path) == {"08.2": "passed"}
