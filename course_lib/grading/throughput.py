"""How fast one worker grades: a notebook with right answers of each chapter, from start to points.

Right answers take longest: every case of every question runs to its end. The time is wall time with
everything in it but the drawing of cases and their right results, which a worker does once a run.
"""

from __future__ import annotations

import time
from pathlib import Path

from tqdm import tqdm

from course_lib import course
from course_lib.grading import sandbox
from course_lib.grading.grade import Terms, grade
from course_lib.grading.intake import Submission
from course_lib.grading.run import quiet
from course_lib.grading.selftest import submissions
from course_lib.timing.stamp import environment
from course_lib.timing.store import save_sweep
from course_lib.timing.sweeps import Sweep

TITLE = "grading a notebook with right answers in one worker; T is its number of questions"


def record(folder: Path, repeats: int = 5) -> tuple[Sweep, Path]:
    """Measures every chapter that is written, and saves the samples with the stamp of the machine."""
    sandbox.require(unsafe=False)
    terms, samples = Terms("throughput"), {}
    for chapter in tqdm(course.load().ready, desc="grading", unit=" chapters", disable=quiet()):
        notebooks = submissions(chapter.number, terms)
        next(notebooks)  # as it was handed out
        right, trials = next(notebooks)
        grade(right, terms)
        samples[chapter.name] = {len(trials): tuple(_seconds(right, terms) for _ in range(repeats))}
    sweep = Sweep(TITLE, "time", samples, {}, environment(), "wall")
    return sweep, save_sweep(sweep, folder / "grader-cpu.csv")


def _seconds(submission: Submission, terms: Terms) -> float:
    start = time.perf_counter()
    grade(submission, terms)
    return time.perf_counter() - start


def lines(sweep: Sweep) -> list[str]:
    """One line a chapter: questions, the median of seconds, and submissions a minute."""
    found = []
    for name, curve in sweep.values.items():
        for questions, seconds in curve.items():
            found.append(
                f"{name:<26} {questions} questions  {seconds:5.2f} s  {60 / seconds:5.1f} a minute and core"
            )
    return found
