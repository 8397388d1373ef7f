"""`check` on a system without POSIX: the modules and functions that Windows lacks are taken away, and it still works.

They are taken away after torch, psutil and the standard library's own modules have been imported, which have another
form on the systems without them, and before anything of the course is.
"""

import subprocess
import sys

import pytest

WITHOUT_POSIX = """
import multiprocessing, os, signal, subprocess, sys, tempfile, time
import psutil, torch, torch.utils._python_dispatch

class Absent:
    names = set("curses fcntl grp posix pty pwd readline resource syslog termios tty".split())

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
for name in Absent.names:
    sys.modules.pop(name, None)
for name in "fork forkpty uname sched_getaffinity sched_setaffinity sysconf getloadavg nice getuid geteuid".split():
    delattr(os, name)
for name in "SIGALRM SIGKILL SIGXCPU alarm setitimer getitimer pthread_kill pthread_sigmask".split():
    delattr(signal, name)
delattr(time, "clock_gettime")
torch.set_num_threads(1)
"""


def run(program: str, tmp_path) -> str:
    """What the program prints where POSIX is missing; no answer is noted in the checkout."""
    command = [sys.executable, "-c", WITHOUT_POSIX + program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names_are_really_gone(tmp_path):
    program = "for name in ('resource', 'fcntl'):\n    try:\n        __import__(name)\n"
    program += "        print('there:', name)\n    except ImportError:\n        pass\n"
    program += "print(hasattr(os, 'fork'), hasattr(signal, 'setitimer'), hasattr(signal, 'SIGALRM'))"
    assert run(program, tmp_path) == "False False False\n"


def test_check_judges_and_its_limits_hold(tmp_path):
    program = """
from course_lib.exercises import check
from course_lib.exercises import limits
from course_lib.exercises.question import find

def endless(v):
    while True:
        pass

question = find("00.1")
check("00.1", question.reference)
for wrong in list(question.wrong)[:1]:
    check("00.1", wrong)
limits.WALL_SECONDS = 0.3
check("00.1", endless)

try:
    with limits.MemoryCap(10**6):
        torch.zeros(10**9)
except limits.MemoryLimit as error:
    print("memory", error.nbytes)
"""
    passed, wrong, endless, memory = run(program, tmp_path).strip().splitlines()
    assert passed.startswith("00.1  ✓")
    assert wrong.startswith("00.1  ✗")
    assert endless.startswith("00.1  ✗")
    assert "0.3 s" in endless
    assert memory == "memory 4000000000"


@pytest.mark.parametrize(
    "program",
    [
        "from course_lib import runtime; print(runtime.machine().cores > 0)",
        "from course_lib.timing import bench; print(bench(lambda: sum(range(100)), budget_s=0.05).median_s > 0)",
        "from course_lib import cli; print(bool(cli.parser()))",
    ],
)
def test_the_machine_is_described_and_measured(tmp_path, program):
    assert run(program, tmp_path).strip() == "True"
