"""`course doctor`: what this machine can do, what is missing, and the line that mends it.

The two rates are measured, not looked up: a large matrix multiplication gives FLOP/s, a large copy gives
bytes/s. Their ratio, in FLOPs a byte, is where an operation stops being limited by memory.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata

from course_lib.course import checkout

NEEDED = ("torch", "numpy", "matplotlib", "ipywidgets", "tqdm")
OPTIONAL = {"jupyterlab": "lab", "nbclient": "lab", "jupytext": "author", "pytest": "test"}
OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Missing:
    """A package that is not there and the line that brings it; `fatal` when no chapter runs without it."""

    package: str
    mend: str
    fatal: bool


def version(package: str) -> str | None:
    """The installed version of a package, None when it is not there; the package is not imported."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def missing() -> list[Missing]:
    """What is not installed."""
    lost = [Missing(p, _install(p, ""), fatal=True) for p in NEEDED if version(p) is None]
    return lost + [Missing(p, _install(p, e), fatal=False) for p, e in OPTIONAL.items() if version(p) is None]


def _install(package: str, extra: str) -> str:
    """In a checkout the pinned versions are beside us; a wheel's user takes the newest."""
    if checkout():
        part = f"[{extra}]" if extra else ""
        return f'python -m pip install -c constraints.txt -e ".{part}"'
    return f"python -m pip install {package}"


def report() -> tuple[str, bool]:
    """The whole report as text, and whether the chapters can run here."""
    lost = missing()
    healthy = sys.version_info >= OLDEST_PYTHON and not any(entry.fatal for entry in lost)
    rows = _versions()
    if version("torch") and version("numpy"):
        rows += _machine()
    lines = [f"{name:<18} {value}" for name, value in rows]
    if sys.version_info < OLDEST_PYTHON:
        lines.append("! Python is too old: install 3.11 or newer and make the virtual environment with it")
    lines += [f"! {entry.package} is missing; run:  {entry.mend}" for entry in lost]
    return "\n".join(lines or ["nothing is missing"]), healthy


def _versions() -> list[tuple[str, str]]:
    rows = [("Python", platform.python_version()), ("system", f"{platform.system()} {platform.machine()}")]
    return rows + [(package, found) for package in (*NEEDED, *OPTIONAL) if (found := version(package))]


def _machine() -> list[tuple[str, str]]:
    """Device, memory and measured rates; imports torch."""
    from course_lib import runtime
    from course_lib.timing import calibrate

    machine, rates = runtime.machine(), calibrate()
    capability = ".".join(map(str, machine.capability)) if machine.capability else "no CUDA device"
    features = [(name, runtime.lacks(name) or "yes") for name in runtime.FEATURES] if machine.gpu else []
    return [
        ("device", machine.device),
        ("compute capability", capability),
        *features,
        ("cores, threads", f"{machine.cores}, {machine.threads}"),
        ("memory", f"{machine.device_memory_bytes / 2**30:.1f} GiB"),
        ("size of a run", runtime.size()),
        ("matrix multiply", f"{rates.gemm_flops / 1e9:.0f} GFLOP/s (measured)"),
        ("memory bandwidth", f"{rates.bandwidth_bytes / 1e9:.0f} GB/s (measured)"),
        ("balance", f"{rates.gemm_flops / rates.bandwidth_bytes:.0f} FLOPs a byte"),
    ]
