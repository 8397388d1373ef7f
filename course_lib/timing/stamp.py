"""The stamp of a measurement: what someone needs to know to judge a number or to take it again.

Versions, device, cores, threads, memory and the day; no host name, no user name, no path.
"""

import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from course_lib import course, runtime
from course_lib.timing import _format

DISTRIBUTION = "linear-time-models-course"


@dataclass(frozen=True)
class Environment:
    """Where and when a measurement was taken; `str` names the machine in a few words."""

    course: str
    python: str
    torch: str
    numpy: str
    system: str
    device: str  # the GPU's name, else the CPU's
    cores: int
    threads: int
    memory_bytes: int
    capability: tuple[int, int] | None
    date: str  # YYYY-MM-DD, UTC
    commit: str | None = None  # of the checkout, with a + where files differ from it

    def to_dict(self) -> dict:
        """Plain numbers and strings, ready for JSON."""
        return asdict(self) | {"capability": list(self.capability) if self.capability else None}

    @classmethod
    def from_dict(cls, stored: dict) -> "Environment":
        """The inverse of `to_dict`."""
        capability = stored["capability"]
        return cls(**stored | {"capability": tuple(capability) if capability else None})

    def __str__(self) -> str:
        return f"{self.device}, {self.threads} thread{'s' if self.threads != 1 else ''}, torch {self.torch}"

    def _repr_html_(self) -> str:
        rows = [[name, str(value)] for name, value in self.to_dict().items() if value is not None]
        return _format.html_table(["", "here"], rows)


def environment() -> Environment:
    """The stamp of this machine, now."""
    machine = runtime.machine()
    return Environment(
        course=_version(DISTRIBUTION),
        python=platform.python_version(),
        torch=_version("torch"),
        numpy=_version("numpy"),
        system=machine.system,
        device=machine.device,
        cores=machine.cores,
        threads=machine.threads,
        memory_bytes=machine.device_memory_bytes,
        capability=machine.capability,
        date=datetime.now(UTC).date().isoformat(),
        commit=_commit(),
    )


def _commit() -> str | None:
    """The commit of the checkout that course_lib runs from; None for an installed wheel or without git.

    What lies in data/ does not count as a difference: a measurement writes there.
    """
    root = course.checkout()
    try:
        commit = _git(root, "rev-parse", "--short=10", "HEAD") if root else None
        changed = commit and _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!data")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    said = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return said.stdout.strip()


def _version(distribution: str) -> str:
    """On a checkout that was put on the path without being installed, the course has no version."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"
