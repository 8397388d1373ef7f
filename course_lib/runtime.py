"""What this machine is, and how large a run it should be given.

Everything in the course runs on a CPU with two cores; a GPU makes it faster and larger, never different.
A chapter therefore asks `device()` where to put its tensors, and `pick(ci=…, laptop=…, gpu=…)` how large
they are. The size comes from the environment variable COURSE_SIZE, or else from what is there. Chapter 00
prints `machine()`.
"""

import os
import platform
import random
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from tqdm import tqdm

SIZES = ("ci", "laptop", "gpu")
# A container may use less than its host has; version 2 and version 1 of the kernel's control groups.
MEMORY_LIMIT_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

AMPERE = (8, 0)
# What not every GPU can do: the compute capability that it takes, and what is wrong below it.
FEATURES = {
    "bfloat16": (AMPERE, "bfloat16 is emulated, without matrix units, and no faster than float32"),
    "FlexAttention": (AMPERE, "FlexAttention's kernels do not compile"),
    "Triton's tl.dot": (AMPERE, "Triton no longer compiles products of blocks"),
}

Value = TypeVar("Value")


def device() -> torch.device:
    """The device of the course's tensors: the CUDA GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def size() -> str:
    """How large a run should be: "ci", "laptop" (the default) or "gpu" (the default where there is one)."""
    named = os.environ.get("COURSE_SIZE")
    if named is None:
        return "gpu" if device().type == "cuda" else "laptop"
    if named not in SIZES:
        raise ValueError(
            f"COURSE_SIZE is {named!r}; expected one of {', '.join(SIZES)}. Unset it or correct it."
        )
    return named


def pick(*, ci: Value, laptop: Value, gpu: Value | None = None) -> Value:
    """The value meant for this run's `size()`; without a value for a GPU, the laptop's is used there."""
    values = {"ci": ci, "laptop": laptop, "gpu": laptop if gpu is None else gpu}
    return values[size()]


def lacks(feature: str) -> str:
    """Why `feature` of FEATURES cannot be used here, in words for the reader; empty where it can.

    By compute capability: `torch.cuda.is_bf16_supported()` also says True where bfloat16 is emulated (a T4).
    """
    if feature not in FEATURES:
        raise ValueError(f"feature is {feature!r}; expected one of {', '.join(FEATURES)}")
    if device().type != "cuda":
        return "there is no CUDA GPU here"
    needed, reason = FEATURES[feature]
    found = torch.cuda.get_device_capability()
    if found >= needed:
        return ""
    return f"{reason}; this GPU has compute capability {found[0]}.{found[1]}, and it takes {needed[0]}.{needed[1]}"


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch (CPU and GPU), so that a cell prints the same numbers again."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@dataclass(frozen=True)
class Machine:
    """What a measurement ran on: no host name, no user, no path."""

    system: str  # "Linux x86_64"
    processor: str  # the CPU's model name
    cores: int  # logical cores this process may use
    threads: int  # threads that torch uses for one operation
    memory_bytes: int  # main memory, or the container's limit
    gpu: str | None = None
    gpu_memory_bytes: int | None = None
    capability: tuple[int, int] | None = None  # CUDA compute capability

    @property
    def device(self) -> str:
        """The name of what computes: the GPU's, else the CPU's."""
        return self.gpu or self.processor

    @property
    def device_memory_bytes(self) -> int:
        """The memory that holds the tensors: the GPU's, else the main memory."""
        return self.gpu_memory_bytes or self.memory_bytes

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        text = f"{self.processor}, {self.cores} cores, {threads}, {self.memory_bytes / 2**30:.0f} GiB"
        if self.gpu is None:
            return f"{text} ({self.system}, no GPU)"
        capability = ".".join(map(str, self.capability or ()))
        return f"{self.gpu} ({(self.gpu_memory_bytes or 0) / 2**30:.0f} GiB, capability {capability}); {text}"


def machine() -> Machine:
    """Describe this machine now (torch's number of threads can change while a notebook runs)."""
    gpu = None
    if device().type == "cuda":
        found = torch.cuda.get_device_properties(0)
        gpu = (found.name, found.total_memory, (found.major, found.minor))
    name, memory, capability = gpu or (None, None, None)
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=_cores(),
        threads=torch.get_num_threads(),
        memory_bytes=_memory_bytes(),
        gpu=name,
        gpu_memory_bytes=memory,
        capability=capability,
    )


def progress(total: int, what: str) -> tqdm:
    """A plain text bar for a person at a terminal or in a notebook; none with COURSE_PROGRESS_BAR=0.

    It goes to stdout: a notebook shows stderr in red.
    """
    wanted = os.environ.get("COURSE_PROGRESS_BAR") != "0" and (
        sys.stdout.isatty() or "ipykernel" in sys.modules
    )
    return tqdm(total=total, desc=what, file=sys.stdout, leave=False, ncols=80, disable=not wanted)


def _cores() -> int:
    """Logical cores this process may use; macOS and Windows only say how many there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache(maxsize=1)
def _processor() -> str:
    """The CPU's model name; each system keeps it elsewhere."""
    readers = {"Linux": _processor_linux, "Darwin": _processor_macos}
    name = readers.get(platform.system(), platform.processor)()
    return " ".join(name.split()) or platform.machine() or "unknown processor"


def _processor_linux() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")


def _processor_macos() -> str:
    asked = subprocess.run(
        ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
    )
    return asked.stdout


def _memory_bytes() -> int:
    """Main memory, or the container's limit if that is less (on a shared host it often is)."""
    limits = (_container_limit(Path(path)) for path in MEMORY_LIMIT_FILES)
    return min([_physical_memory(), *(limit for limit in limits if limit is not None)])


def _physical_memory() -> int:
    """From psutil, which comes with ipykernel, so with every notebook; else from POSIX (not on Windows)."""
    try:
        import psutil
    except ImportError:
        if not hasattr(os, "sysconf"):
            raise RuntimeError(
                "the size of the memory is unknown here; run `python -m pip install psutil`"
            ) from None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return psutil.virtual_memory().total


def _container_limit(path: Path) -> int | None:
    """The limit in one control-group file; None if there is no such file or no limit ("max")."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
