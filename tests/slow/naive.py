"""A grader as courses really write them: it judges in the student's own process. Attacks must succeed against it.

It grades FOLDER/submission.ipynb (chapter 00) by a habit, prints `score: N` last, and writes FOLDER/feedback.html
and grades.csv. A habit is a way of comparing, or of letting a result come back. `Grader` does that in a process of
its own for each notebook, and takes the last score that is printed, or none.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from course_lib.exercises import start_here
from course_lib.exercises.start_here import RUNNING_MEAN, mean_reference
from course_lib.grading import attacks, secret

CHOICES = {"answer_00_2": start_here.WHAT_LIMITS.answer, "answer_00_3": start_here.READ_THE_MAP.answer}
ADDRESS_SPACE = 24 * 10**9  # an attack may ask for 6 GB that it never touches
FILE, CPU_SECONDS = 12 * 10**9, 30
SCORE = re.compile(r"score: ?(\d+(?:\.\d+)?)|\"score\": ?(\d+)")
KERNEL = """
import json, sys
sys.path[:0] = {path!r}
from naive import points
total = points(globals(), "allclose")
"""


# From outside


@dataclass(frozen=True)
class Outcome:
    """What a naive grader delivered; `score` is None when it delivered none."""

    score: float | None
    feedback: str
    table: str


class Grader:
    """A process that has imported everything and grades in copies of itself. `with` it, so that it ends."""

    def __enter__(self) -> Grader:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=pipe, stdout=pipe, env=environment, text=True
        )
        return self

    def __exit__(self, *error: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def grade(self, habit: str, folder: Path, seconds: float) -> Outcome:
        """Grades FOLDER/submission.ipynb within some seconds and a limited address space."""
        print(json.dumps([habit, str(folder), seconds]), file=self.process.stdin, flush=True)
        ended = json.loads(self.process.stdout.readline())
        found = SCORE.findall((folder / "printed").read_text(errors="replace"))
        files = [folder / "feedback.html", folder / "grades.csv"]
        texts = [file.read_text(encoding="utf-8") if file.is_file() else "" for file in files]
        return Outcome(float("".join(found[-1])) if ended and found else None, *texts)


def serve() -> None:
    """Grades what each line of the input names, and says of each whether its process ended as it should."""
    for line in sys.stdin:
        habit, folder, seconds = json.loads(line)
        if (pid := os.fork()) == 0:
            os.setsid()
            for fd, place in enumerate((os.devnull, f"{folder}/printed", os.devnull)):
                os.dup2(os.open(place, os.O_RDWR | os.O_CREAT), fd)
            main(habit, Path(folder))
            sys.exit()
        print(json.dumps(_ends(pid, seconds)), flush=True)


def _ends(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))


# Inside


def main(habit: str, folder: Path) -> None:
    """Grades by a habit."""
    _limit()
    torch.set_num_threads(1)
    os.chdir(folder)
    sys.path.insert(0, "")
    Path("reference.py").write_text("from course_lib.exercises.start_here import mean_reference")
    ways = {"kernel": by_kernel, "displayed": by_kernel, "pipe": by_pipe, "second": by_second}
    ways |= {"pickle": by_pickle, "npload": by_pickle}
    ways.get(habit, in_process)(habit)


def notebook() -> dict:
    return json.loads(Path("submission.ipynb").read_text(encoding="utf-8"))


def executed(habit: str, words: list[str]) -> dict:
    """The names of the notebook after all its cells; words about those that fail."""
    scope: dict = {"check": lambda *arguments: None}
    scope["score"] = lambda *arguments: print(f"score: {points(scope, 'allclose'):g}")
    for cell in notebook()["cells"]:
        if habit == "alarm":
            signal.signal(signal.SIGALRM, _late)
            signal.alarm(2)
        try:
            exec(cell["source"], scope)
        except Exception as error:  # noqa: BLE001
            words.append(f"<p>{cell['source']}</p><p>{error}</p>")
        words += [output.get("text", "") for output in cell["outputs"]]
    return scope


def _late(*arguments: object) -> None:
    raise TimeoutError("a cell takes too long")


def in_process(habit: str) -> None:
    """Cells, tests and score in one process, and a page of feedback."""
    words, printed = [], io.StringIO()
    with redirect_stdout(printed) if habit == "captured" else nullcontext():
        scope = executed(habit, words)
    if habit == "score":
        scope["score"]("00")
        return
    total = points(scope, habit, words)
    print(f"score: {total:g}")
    name = Path("student").read_text(encoding="utf-8")
    page = f"<h1>{name}: {total}</h1>{''.join(words)}<p>{printed.getvalue()}</p>"
    Path("feedback.html").write_text(page, encoding="utf-8")
    Path("grades.csv").write_text(f"student,points\n{name},{total:g}\n", encoding="utf-8")


def points(scope: dict, habit: str, words: list[str] | None = None) -> float:
    """The points of what a notebook has defined."""
    words = [] if words is None else words
    if habit == "course":
        names = {"running_mean": RUNNING_MEAN, "answer_00_2": start_here.WHAT_LIMITS}
        return sum(
            importlib.import_module("course_lib.exercises.check").evaluate(question, scope.get(name)).points
            for name, question in names.items()
        )
    total = sum(scope.get(name) == letter for name, letter in CHOICES.items())
    return total + passes(scope.get("running_mean"), habit, words)


def cases(habit: str) -> list:
    found = list(RUNNING_MEAN.visible)
    if habit == "hidden":
        found += [entry.case for entry in secret.graded_cases(RUNNING_MEAN, attacks.SEED)]
    return [RUNNING_MEAN.arguments(case)[0] for case in found]


def passes(answer: Callable, habit: str, words: list[str]) -> bool:
    """Whether a function passes every case; words about where it does not."""
    pairs = [(v, mean_reference(v)) for v in cases(habit)]
    try:
        results = []
        for pair in pairs:
            v, expected = pair
            came = answer(v)
            if habit == "afterwards":
                expected = mean_reference(v)
            if habit == "reference":
                expected = importlib.import_module("reference").mean_reference(v)
            results.append((came, expected))
    except Exception as error:  # noqa: BLE001
        words.append(f"<p>{type(error).__name__}: {error}</p>")
        return False
    if habit == "json":
        texts = [
            json.dumps(came.tolist() if hasattr(came, "tolist") else listed(came)) for came, _ in results
        ]
        return texts == [json.dumps(expected.tolist()) for _, expected in results]
    try:
        return all(COMPARES.get(habit, allclose)(came, expected) for came, expected in results)
    except Exception as error:  # noqa: BLE001
        kinds = {type(came).__name__ for came, _ in results}
        words.append(f"<p>{kinds}: {error}</p>")
        return False


def listed(value: object) -> object:
    return dict(value.items()) if isinstance(value, dict) else value


def allclose(came: object, expected: torch.Tensor) -> bool:
    return torch.allclose(came, expected)


def asserted(came: object, expected: torch.Tensor) -> bool:
    torch.testing.assert_close(came, expected)
    return True


def equals(came: object, expected: torch.Tensor) -> bool:
    return bool((came == expected).all())


def difference(came: object, expected: torch.Tensor) -> bool:
    return float((came - expected).abs().max()) < 1e-6


def few_rows(came: object, expected: torch.Tensor) -> bool:
    return torch.allclose(came[0], expected[0]) and torch.allclose(came[-1], expected[-1])


def saved(came: object, expected: torch.Tensor) -> bool:
    np.save("expected.npy", expected.numpy())
    np.save("answer.npy", came.numpy())
    return np.array_equal(np.load("expected.npy"), np.load("answer.npy"))


COMPARES = {
    "assert_close": asserted,
    "equals": equals,
    "difference": difference,
    "few rows": few_rows,
    "npsave": saved,
}


def by_kernel(habit: str) -> None:
    """The notebook in a Jupyter kernel, with a cell at its end whose output is the score."""
    import nbformat
    from nbclient import NotebookClient

    book = nbformat.read("submission.ipynb", as_version=4)
    last = KERNEL.format(path=sys.path)
    shows = "f'score: {total:g}'" if habit == "displayed" else "print(f'score: {total:g}')"
    book.cells.append(nbformat.v4.new_code_cell(last + shows))
    NotebookClient(book, timeout=8, allow_errors=True).execute()
    print(json.dumps([o for o in book.cells[-1].outputs if o["output_type"] != "error"]))


def _child(work: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def by_pickle(habit: str) -> None:
    """Cells in a child with no environment; its results come back as pickles, or as arrays of objects."""

    def work() -> None:
        os.environ.clear()
        scope = executed(habit, [])
        values = {name: scope.get(name) for name in CHOICES}
        if habit == "npload":
            np.savez("values.npz", **values)
            return
        values["running_mean"] = (
            [scope["running_mean"](v) for v in cases(habit)] if "running_mean" in scope else []
        )
        Path("values").write_bytes(pickle.dumps(values))

    _child(work)
    values = (
        np.load("values.npz", allow_pickle=True)
        if habit == "npload"
        else pickle.loads(Path("values").read_bytes())
    )
    total = sum(str(values[name]) == letter for name, letter in CHOICES.items())
    came = [] if habit == "npload" else values["running_mean"]
    right = [mean_reference(v) for v in cases(habit)]
    passed = len(came) == len(right) and all(map(torch.allclose, came, right))
    print(f"score: {total + passed:g}")


def by_pipe(habit: str) -> None:
    """Cells and tests in a child that reports its score on a pipe; the last line counts."""
    ours, theirs = os.pipe()

    def work() -> None:
        os.close(ours)
        line = json.dumps({"score": points(executed(habit, []), "allclose")})
        os.write(theirs, f"\n{line}\n".encode())
        sys.exit()

    if (pid := os.fork()) == 0:
        work()
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        lines = [line for line in pipe.read().splitlines() if line.startswith(b'{"score"')]
    os.waitpid(pid, 0)
    print(f"score: {json.loads(lines[-1])['score']}")


def by_second(habit: str) -> None:
    """Cells in a child; its numbers are judged by a second Python, started in the same folder."""

    def work() -> None:
        scope = executed(habit, [])
        values = [scope["running_mean"](v).tolist() for v in cases(habit)]
        Path("values.json").write_text(json.dumps(values))

    _child(work)
    right = json.dumps([mean_reference(v).tolist() for v in cases(habit)])
    code = f"import json; print('score:', int(json.load(open('values.json')) == {right}))"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "."}, check=True)


if __name__ == "__main__":
    serve()
