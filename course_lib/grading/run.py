"""Many submissions: collected, graded by a pool of processes or by dask's workers, kept one file each.

A result is written whole as soon as it is there, so a run that is stopped goes on with `resume`; the tables are
made from the results at the end, in the order of the names, and so come out alike whatever came first.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import platform
import secrets
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from course_lib.grading import intake, report, sandbox
from course_lib.grading.grade import Result, Terms, grade
from course_lib.grading.intake import Submission
from course_lib.grading.sandbox import Limits
from course_lib.timing.store import write_whole

LOOPBACK = ("tcp://127.0.0.1:", "tcp://localhost:", "tcp://[::1]:")
Grading = Generator[tuple[Submission, dict], None, list[Submission]]  # returns what is to be tried again
WORKER_SETTINGS = {"OMP_NUM_THREADS": "1", "COURSE_PROGRESS_BAR": "0"}


@dataclass(frozen=True)
class Order:
    """What to grade, how, and where the grades go."""

    submissions: Path
    out: Path
    jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    scheduler: str | None = None
    seed_file: Path | None = None
    private: Path | None = None
    resume: bool = False
    students: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    unsafe: bool = False
    limits: Limits = field(default_factory=Limits)


def run(order: Order) -> list[dict]:
    """Grades what is not graded yet and writes the tables. Returns all results, as JSON has them."""
    sandbox.require(order.unsafe)
    terms = _terms(order)
    results = order.out / "results"
    _refuse_to_mix(order, terms, results)
    results.mkdir(parents=True, exist_ok=True)
    found = list(tqdm(intake.collect(order.submissions), desc="reading", unit=" notebooks", disable=quiet()))
    if not found:
        raise ValueError(f"{order.submissions} holds no notebook")
    if strangers := set(order.students) - {s.student for s in found}:
        raise ValueError(f"no submission is of {', '.join(sorted(strangers))}: the summary has the names")
    waiting = [s for s in found if _wanted(s, order) and not _graded(s, order, terms, results)]
    with tqdm(total=len(waiting), desc="grading", unit=" notebooks", disable=quiet()) as bar:
        for submission, result in grade_all(waiting, terms, order):
            _keep(result, submission, terms, order, results)
            bar.update()
    done = [_load(results / f"{s.key}.json") for s in found if (results / f"{s.key}.json").is_file()]
    report.write(order.out, done, _about(order, terms, found))
    return done


def _refuse_to_mix(order: Order, terms: Terms, results: Path) -> None:
    """ValueError where grades would stand beside others that they do not belong to."""
    if order.out.resolve().is_relative_to(order.submissions.resolve()):
        raise ValueError(f"{order.out} lies inside the submissions: name a folder beside them")
    seeds = {_load(path).get("seed") for path in results.glob("*.json")}
    some = order.students or order.questions
    if seeds and not (order.resume or some):
        raise ValueError(
            f"{order.out} holds grades already: say --resume to go on there, or name a new folder"
        )
    if some and seeds - {seed_hash(terms.seed)}:
        raise ValueError(f"{order.out} was graded with another seed: grade all of it again, with --resume")


def quiet() -> bool:
    """Whether progress bars are off."""
    return os.environ.get("COURSE_PROGRESS_BAR") == "0"


def _terms(order: Order) -> Terms:
    """The run's seed: from the file that was named, else from the one that the run keeps, made when there is none."""
    place = order.seed_file or order.out / "seed"
    if not place.is_file():
        if order.seed_file:
            raise ValueError(f"{place} does not exist: a file with a secret line of text is expected")
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(16) + "\n")
    seed = place.read_text(encoding="utf-8").strip()
    if len(seed) < 8:
        raise ValueError(f"the seed in {place} has {len(seed)} characters; 8 or more are expected")
    private = str(order.private.resolve()) if order.private else None
    return Terms(seed, private, order.questions, order.unsafe, order.limits)


def seed_hash(seed: str) -> str:
    """What may be told of a seed: enough to see that two runs share it."""
    return hashlib.sha256(f"course\0{seed}".encode()).hexdigest()[:16]


def _wanted(submission: Submission, order: Order) -> bool:
    chapters = {question[:2] for question in order.questions}
    named = not order.students or submission.student in order.students
    return named and (not chapters or submission.chapter in chapters)


def _graded(submission: Submission, order: Order, terms: Terms, results: Path) -> bool:
    """Whether its result is there, with all questions, from a run with the same seed; naming students or
    questions grades anew.
    """
    path = results / f"{submission.key}.json"
    again = order.students or order.questions
    if again or not path.is_file():
        return False
    result = _load(path)
    asked = {q.id for q in terms.release(submission.chapter).questions} if submission.chapter else set()
    whole = asked <= {question["id"] for question in result["questions"]}
    return whole and result.get("seed") == seed_hash(terms.seed) and "fault" not in result


def _load(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def _keep(result: dict, submission: Submission, terms: Terms, order: Order, results: Path) -> None:
    """Writes a result; of one that was graded for some questions only, the others stay as they were."""
    path = results / f"{submission.key}.json"
    result["seed"] = seed_hash(terms.seed)
    if order.questions and path.is_file():
        old = _load(path)
        new = {question["id"]: question for question in result["questions"]}
        result["questions"] = [new.pop(q["id"], q) for q in old["questions"]] + list(new.values())
    write_whole(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")


# Workers


def work(submission: Submission, terms: Terms) -> dict:
    """One submission, in a worker."""
    return grade(submission, terms).as_json()


def grade_all(waiting: list[Submission], terms: Terms, order: Order) -> Iterator[tuple[Submission, dict]]:
    """Each submission with its result as it comes. A worker that dies costs nobody a grade: what it had is tried
    again one by one, so that a submission that kills its grader is alone with it.
    """
    lost = yield from _together(waiting, terms, order)
    for _ in range(2):
        lost = yield from _one_by_one(lost, terms)
    for job in lost:
        yield job, _fault(job, "the grader's own process ended three times on it")


def _together(jobs: list[Submission], terms: Terms, order: Order) -> Grading:
    """All at once; those whose worker died."""
    lost = []
    with _dask(order.scheduler) if order.scheduler else _processes(order.jobs) as pool:
        futures = {pool.submit(work, job, terms): job for job in jobs}
        for future in as_completed(futures):
            if _died(future):
                lost.append(futures[future])
            else:
                yield futures[future], _outcome(future, futures[future])
    return lost


def _one_by_one(jobs: list[Submission], terms: Terms) -> Grading:
    """Each alone in a process, which is replaced when it dies; those on which it did."""
    waiting, lost = deque(jobs), []
    while waiting:
        with _processes(1) as pool:
            while waiting:
                job = waiting.popleft()
                future = pool.submit(work, job, terms)
                wait([future])
                if _died(future):
                    lost.append(job)
                    break
                yield job, _outcome(future, job)
    return lost


def _died(future: Future) -> bool:
    if future.cancelled():  # dask's way to say that its worker or scheduler has gone
        return True
    error = future.exception()
    return isinstance(error, BrokenProcessPool) or type(error).__name__ in ("KilledWorker", "CancelledError")


def _outcome(future: Future, submission: Submission) -> dict:
    error = future.exception()
    if error is None:
        return future.result()
    return _fault(submission, f"{type(error).__name__}: {error}")


def _fault(submission: Submission, why: str) -> dict:
    """A result without points, which a person must look at: not the student's fault."""
    s = submission
    result = Result(s.key, s.student, s.id, s.file, s.sha256, s.chapter, []).as_json()
    return result | {"fault": why, "trouble": ["it could not be graded; your teacher has been told."]}


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    """Processes of this machine."""
    os.environ.update(WORKER_SETTINGS)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=jobs, mp_context=context, max_tasks_per_child=None) as pool:
        try:
            yield pool
        except BaseException:  # Ctrl-C above all: what has not begun shall not
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """dask.distributed, on this machine or over TLS: its workers unpickle whatever reaches them."""
    if not address.startswith(("tls://", *LOOPBACK)):
        raise ValueError(f"--scheduler {address}: tls://… is expected, or an address of this machine")
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        yield client.get_executor(pure=False)


# About a run


def _about(order: Order, terms: Terms, found: list[Submission]) -> dict:
    packages = ("torch", "numpy", "ipython", "linear-time-models-course")
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "sandbox": "none: --unsafe-no-sandbox" if order.unsafe else "bubblewrap",
        "limits": vars(terms.limits),
        "seed": seed_hash(terms.seed),
        "questions": order.questions or "all",
        "submissions": len(found),
        "students": len({s.student for s in found}),
    }
