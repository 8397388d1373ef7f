"""How every test runs: small sizes, one thread, no bars, and nothing written into the checkout.

A test file, notebooks included, has its own progress file, so that no answer travels to another. With
COURSE_REQUIRE_ALL=1 a skipped test fails: in CI nothing may be missing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ENVIRONMENT = {"COURSE_SIZE": "ci", "COURSE_PROGRESS_BAR": "0", "OMP_NUM_THREADS": "1"}


def pytest_configure(config: pytest.Config) -> None:
    """Before torch or a kernel starts. Sizes and threads given from outside are kept."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    config.course_progress = Path(tempfile.mkdtemp(prefix="course-tests-"))


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.course_progress, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before the kernel of a notebook starts: a progress file of its own for every test file."""
    name = hashlib.sha256(str(item.path).encode()).hexdigest()[:16]
    os.environ["COURSE_PROGRESS"] = str(item.config.course_progress / f"{name}.json")


def _require(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and os.environ.get("COURSE_REQUIRE_ALL") == "1" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but COURSE_REQUIRE_ALL=1: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    report = yield
    _require(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    report = yield
    _require(report)
    return report
