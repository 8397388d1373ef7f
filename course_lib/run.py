"""Run a notebook from top to bottom without a browser, and report what it cost.

`execute` is the one way in which the course runs a notebook: `course run` prints its report, `course build`
keeps its outputs. The kernel is always this very Python, whatever kernels a user has registered. Peak
memory is the largest sum of resident sizes over the kernel and its children, sampled from outside.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

from course_lib.course import Chapter

MEGABYTE = 1e6
SAMPLE_SECONDS = 0.05
ANSI = re.compile(r"\x1b\[[0-9;]*m")
PROBE = (
    "import json, sys\n"
    "print(json.dumps(sorted(m for m in sys.modules if m == 'course_lib' or m.startswith('course_lib.'))))"
)


class ThisPython(AsyncKernelManager):
    """A kernel manager that starts the running interpreter, never a registered kernel of the same name."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(**get_kernel_dict())


@dataclass(frozen=True)
class Failure:
    """A cell that did not finish: its place in the notebook, its line if known, and the reason."""

    index: int
    cell_id: str
    line: int | None
    reason: str


@dataclass
class Execution:
    """An executed notebook and what it cost; `modules` are the course_lib modules its kernel imported."""

    notebook: NotebookNode
    seconds: float = 0.0
    peak_bytes: int = 0
    modules: tuple[str, ...] = ()
    failures: list[Failure] = field(default_factory=list)


class PeakMemory(threading.Thread):
    """Samples the resident memory of a process and its children until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self._stop_sampling = pid, 0, threading.Event()

    def run(self) -> None:
        self._sample()
        while not self._stop_sampling.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        self.peak = max(self.peak, tree_bytes(self.pid))

    def stop(self) -> int:
        """Ends the sampling and returns the peak in bytes."""
        self._stop_sampling.set()
        self.join()
        return self.peak


def tree_bytes(pid: int) -> int:
    """Resident bytes of a process and its descendants; processes that have just ended count as nothing."""
    total = 0
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.Error:
            continue
    return total


def kernel_environment(**extra: str) -> dict[str, str]:
    """This process's environment for a quiet kernel: no bars, and what `extra` adds."""
    return {**os.environ, "COURSE_PROGRESS_BAR": "0", **extra}


def execute(
    notebook: NotebookNode,
    *,
    folder: Path,
    env: dict[str, str],
    keep_going: bool = False,
    timeout: int = 600,
    on_cell: Callable[[], object] = lambda: None,
) -> Execution:
    """Runs every code cell of a copy of `notebook` in `folder`.

    Stops at the first failing cell unless `keep_going`. `timeout` is in seconds per cell. `on_cell` is
    called after each code cell. Never raises for what a cell does: see `Execution.failures`.
    """
    result = Execution(nbformat.from_dict(notebook))
    probe = nbformat.v4.new_code_cell(PROBE)
    cells = result.notebook.cells
    cells.append(probe)
    client = NotebookClient(
        result.notebook,
        timeout=timeout,
        kernel_name="python3",
        kernel_manager_class=ThisPython,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    start = time.perf_counter()
    with client.setup_kernel(env=env):
        memory = PeakMemory(client.km.provisioner.pid)
        memory.start()
        for index, cell in enumerate(cells):
            if cell.cell_type != "code":
                continue
            failure = _execute_cell(client, cell, index)
            if failure:
                result.failures.append(failure)
            if cell is not probe:
                on_cell()
            if failure and (not keep_going or failure.line is None):
                break
        result.seconds = time.perf_counter() - start
        result.peak_bytes = memory.stop()
    cells.remove(probe)
    result.modules = _probed(probe)
    return result


def _execute_cell(client: NotebookClient, cell: NotebookNode, index: int) -> Failure | None:
    try:
        client.execute_cell(cell, index)
    except CellExecutionError as error:
        reason = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
        return Failure(index, cell.id, _failing_line(cell), reason)
    except CellTimeoutError:
        return Failure(index, cell.id, None, f"took longer than {client.timeout} s")
    except DeadKernelError:
        return Failure(index, cell.id, None, "the kernel died (out of memory?)")
    return None


def _failing_line(cell: NotebookNode) -> int:
    """The last line of this cell that its traceback names (1-based); the first line when it names none."""
    text = "\n".join(line for o in cell.outputs if o.output_type == "error" for line in o.traceback)
    pattern = rf"Cell In\[{cell.execution_count}\], line (\d+)"
    lines = re.findall(pattern, ANSI.sub("", text))
    return int(lines[-1]) if lines else 1


def _probed(probe: NotebookNode) -> tuple[str, ...]:
    text = "".join(o.text for o in probe.outputs if o.output_type == "stream" and o.name == "stdout")
    return tuple(json.loads(text)) if text else ()


# ---- course run -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """One row of `course run`'s table."""

    chapter: str
    seconds: float
    peak_bytes: int
    questions: int
    attempted: int
    passed: int
    failures: tuple[Failure, ...]


def answers(progress: Path) -> dict[str, str]:
    """Question id → state, from a progress file; empty when nothing was checked."""
    if not progress.is_file():
        return {}
    entries = json.loads(progress.read_text(encoding="utf-8")).get("answers", {})
    return {question: entry["state"] for question, entry in entries.items()}


def run_chapter(chapter: Chapter, source: Path, target: Path, *, folder: Path) -> Report:
    """Executes the notebook `source`, writes it with its outputs to `target`, and reports."""
    notebook = nbformat.read(source, as_version=4)
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    with (
        tempfile.TemporaryDirectory() as temporary,
        tqdm(total=total, desc=chapter.name) as bar,
    ):
        progress = Path(temporary) / "progress.json"
        env = kernel_environment(COURSE_PROGRESS=str(progress))
        result = execute(notebook, folder=folder, env=env, keep_going=True, on_cell=bar.update)
        states = answers(progress)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(result.notebook, target)
    return Report(
        chapter=chapter.name,
        seconds=result.seconds,
        peak_bytes=result.peak_bytes,
        questions=len(states),
        attempted=sum(state != "not attempted" for state in states.values()),
        passed=sum(state == "passed" for state in states.values()),
        failures=tuple(result.failures),
    )


def table(reports: Iterable[Report]) -> str:
    """The reports as plain text, one chapter a line, the reasons of failures below."""
    reports = list(reports)
    width = max([len("chapter"), *(len(r.chapter) for r in reports)])
    lines = [f"{'chapter':<{width}}  seconds  peak memory  questions  attempted  passed  errors"]
    for r in reports:
        lines.append(
            f"{r.chapter:<{width}}  {r.seconds:7.1f}  {r.peak_bytes / MEGABYTE:8.0f} MB"
            f"  {r.questions:9}  {r.attempted:9}  {r.passed:6}  {len(r.failures):6}"
        )
    for r in reports:
        lines += [f"{r.chapter}: cell {f.cell_id}: {f.reason}" for f in r.failures]
    return "\n".join(lines)


def run_command(chapters: Iterable[Chapter], sources: dict[str, Path], target: Path, folder: Path) -> int:
    """Runs the chapters one after the other and prints the table; 1 when any cell failed, else 0."""
    reports = [run_chapter(c, sources[c.number], target / c.notebook, folder=folder) for c in chapters]
    print(table(reports))
    return int(any(r.failures for r in reports))
