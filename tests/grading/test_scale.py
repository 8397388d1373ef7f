"""Many submissions: workers that die, and two schedulers, lose no grade and double none."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from distributed import LocalCluster

from course_lib.grading import run as runner
from course_lib.grading.grade import Terms
from course_lib.grading.intake import Submission
from course_lib.grading.run import Order

MEAN = "def running_mean(v):\n    return v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]"
WRONG = "def running_mean(v):\n    return v"
COUNT = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """COUNT notebooks of chapter 00, every second one right."""
    place = tmp_path / "submissions"
    place.mkdir()
    for i in range(COUNT):
        sources = ["import torch", MEAN if i % 2 else WRONG, 'check("00.1", running_mean)']
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), place / f"student-{i}.ipynb")
    return place


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """A seed that several runs share."""
    path = tmp_path / "seed"
    path.write_text("a seed for tests")
    return path


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Does `act` once, in a thread, as soon as `condition` holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_one(pids: list[int]) -> None:
    """As a machine that is switched off would."""
    os.kill(pids[0], signal.SIGKILL)


def tables(out: Path) -> tuple[str, str]:
    """What must not depend on how the grading went."""
    return (out / "grades.csv").read_text(), (out / "per-case.csv").read_text()


def test_dask_with_a_killed_worker_gives_the_grades_of_a_pool(
    tmp_path: Path, folder: Path, seed: Path
) -> None:
    pool, dask = tmp_path / "pool", tmp_path / "dask"
    runner.run(Order(folder, pool, jobs=2, seed_file=seed))
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        pids = [worker.process.pid for worker in cluster.workers.values()]
        killer = when(lambda: any((dask / "results").glob("*.json")), lambda: kill_one(pids))
        results = runner.run(Order(folder, dask, scheduler=cluster.scheduler_address, seed_file=seed))
        killer.join(timeout=10)
    assert not killer.is_alive(), "no worker was killed: the test tested nothing"
    assert sorted(r["student"] for r in results) == [f"student-{i}" for i in range(COUNT)]
    assert sum(r["questions"][0]["points"] > 0 for r in results) >= COUNT // 2
    assert not any(r.get("fault") for r in results)
    assert tables(dask) == tables(pool)


def test_only_this_machine_or_tls_may_schedule(tmp_path: Path, folder: Path, seed: Path) -> None:
    with pytest.raises(ValueError, match="tls://"):
        runner.run(Order(folder, tmp_path / "out", scheduler="tcp://192.0.2.1:8786", seed_file=seed))


def dies_on(name: str, flag: Path) -> Callable[[Submission, Terms], dict]:
    """`work` that takes its process with it on one student's notebook."""
    return _Dying(name, flag)


class _Dying:
    """Can be sent to another process; `flag`: only as long as this file is there."""

    def __init__(self, name: str, flag: Path) -> None:
        self.name, self.flag = name, flag

    def __call__(self, submission: Submission, terms: Terms) -> dict:
        if submission.student == self.name and self.flag.exists():
            os._exit(9)
        return {
            **{"key": submission.key, "student": submission.student, "id": "", "file": submission.file},
            **{"sha256": "", "chapter": "00", "questions": [], "trouble": ["graded"], "seconds": 0},
        }


def test_a_submission_that_kills_its_grader_is_alone_with_it(
    tmp_path: Path, folder: Path, seed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag, out = tmp_path / "flag", tmp_path / "out"
    flag.touch()
    monkeypatch.setattr(runner, "work", dies_on("student-3", flag))
    results = {r["student"]: r for r in runner.run(Order(folder, out, jobs=2, seed_file=seed))}
    assert len(results) == COUNT
    assert [name for name, result in results.items() if result.get("fault")] == ["student-3"]
    assert "not graded" in (out / "grades.csv").read_text()

    flag.unlink()  # what made it die is mended: a resumed run tries it again, and it alone
    again = runner.run(Order(folder, out, jobs=2, seed_file=seed, resume=True))
    assert not any(result.get("fault") for result in again)
