"""One sandboxed process: bubblewrap around the harness, a socket to it, and its limits watched from outside.

Inside there is no network, no host process, no environment variable of the host, and nothing writable but one
small private folder in memory. As root each sandbox runs as a user of its own that nobody else is; otherwise
it runs as the one who grades, in a user namespace. CPU seconds and memory are read by the grader from the
kernel's books, so nothing inside can lie about them; what those books would not show is refused, see `filter`.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import pwd
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from course_lib import course
from course_lib.grading import filter
from course_lib.grading.inside import given, wire

INSIDE = Path(__file__).with_name("inside")
FIRST_UID, UIDS = 61_300, 256  # no distribution gives these to a person; each sandbox takes one that is free
POLL_SECONDS = 0.05
MEGABYTE, GIGABYTE = 10**6, 10**9
SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
INSTALL = "bubblewrap is missing. Debian and Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap"


@dataclass(frozen=True)
class Limits:
    """What one sandbox may take. Seconds are of CPU, and of sleeping; `wall_per_cpu` is for a machine that is
    too busy to give a sandbox its turn.
    """

    cell_seconds: float = 60
    case_seconds: float = 20
    submission_seconds: float = 900
    wall_per_cpu: float = 10
    start_seconds: float = 180
    memory_bytes: int = 4 * GIGABYTE  # of all its processes together
    data_bytes: int = 3 * GIGABYTE
    address_bytes: int = 16 * GIGABYTE  # whatever happens between two looks at the books
    folder_bytes: int = 256 * MEGABYTE
    file_bytes: int = 64 * MEGABYTE
    threads: int = 64
    files: int = 256


class SandboxError(Exception):
    """The sandbox ended, or had to be ended. `reason`: died, time, memory or protocol."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RefusedError(ValueError):
    """Grading cannot begin safely here; the message says what to do."""


def require(unsafe: bool) -> None:
    """RefusedError, with the remedy, where there is no sandbox to be had."""
    if unsafe:
        return
    if not sys.platform.startswith("linux"):
        raise RefusedError("the grader's sandbox needs Linux (in WSL or a virtual machine will do)")
    if shutil.which("bwrap") is None:
        raise RefusedError(f"{INSTALL}. Your own notebooks only: --unsafe-no-sandbox")
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        raise RefusedError(
            "setpriv is missing, without which root cannot give up its rights: apt install util-linux"
        )
    if not filter.known():
        raise RefusedError(f"no filter of system calls is known for {platform.machine()} processors")
    with user() as uid, Sandbox(Limits(), uid):
        pass


@contextlib.contextmanager
def user() -> Iterator[int | None]:
    """As root: a user id that belongs to nobody and runs nothing, for as long as the context lasts. Else None."""
    if os.getuid() != 0:
        yield None
        return
    for uid in _unlocked():
        if not _is_somebody(uid):
            yield uid
            return
    raise RefusedError(
        f"every user id from {FIRST_UID} to {FIRST_UID + UIDS - 1} is taken, and root must not run submissions"
    )


def abandoned() -> list[int]:
    """As root: user ids that no sandbox holds and that yet run something. There should be none."""
    return [uid for uid in _unlocked() if _is_somebody(uid)] if os.getuid() == 0 else []


def _unlocked() -> Iterator[int]:
    """User ids for sandboxes that no grader holds; each is held until the next one is asked for."""
    folder = Path(tempfile.gettempdir()) / "course-grader-users"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != 0:
        raise RefusedError(f"{folder} is not root's: remove it")
    for uid in range(FIRST_UID, FIRST_UID + UIDS):
        with (folder / str(uid)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield uid


def _is_somebody(uid: int) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwuid(uid))
    return any(_owner(entry) == uid for entry in os.scandir("/proc") if entry.name.isdigit())


def _owner(entry: os.DirEntry) -> int | None:
    with contextlib.suppress(OSError):
        return entry.stat().st_uid
    return None


@dataclass(frozen=True)
class _Bounds:
    """Where a request ends."""

    cpu_end: float
    idle_end: float
    wall_end: float
    memory: int


class Sandbox:
    """A running harness. `with` it, so that its processes end."""

    def __init__(
        self, limits: Limits, uid: int | None, *, unsafe: bool = False, sparing: bool = False
    ) -> None:
        self.limits, self.unsafe = limits, unsafe
        self.spent = 0.0
        self._used, self._idle, self._looked, self._highest = 0.0, 0.0, time.monotonic(), 0
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.channel = ours
        nonce = secrets.token_hex(16)
        options = {"fd": theirs.fileno(), "nonce": nonce, "limits": _rlimits(limits, unsafe)}
        inside = _environment(sparing) | ({} if unsafe else {"HOME": "/tmp", "COURSE_GIVEN": "/grader/given"})
        with theirs, _filter(unsafe) as rules, _pipe() as (heard, complaints):
            command = _python(options) if unsafe else _bubblewrap(limits, uid, rules[0], options, inside)
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), *rules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,  # of a start that fails: nobody listens once the harness is there
                env=inside if unsafe else {},  # where bubblewrap is the same user, its own can be read inside
                start_new_session=True,
            )
            theirs.close()
            try:
                self._expect(nonce, self._bounds(limits.start_seconds))
            except SandboxError as error:  # no code of a student's has run
                self.close()
                said = (heard.read() or b"").decode(errors="replace").strip()
                why = said[-300:] or error.reason
                raise RefusedError(f"the sandbox does not start here: {why}") from None
            except BaseException:
                self.close()
                raise
        self.spent = self._charged()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process inside: with bubblewrap its process 1, and the kernel then ends the others."""
        family = _family(self.process.pid) if self.unsafe else []
        self.process.kill()
        for pid in family:  # without a sandbox nothing else ends what the notebook started
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        self.process.wait()
        self.channel.close()

    def ask(
        self, request: dict, seconds: float, buffers: list = (), memory: int | None = None
    ) -> tuple[dict, bytearray]:
        """Sends a request and waits for its reply, within `seconds` of CPU and `memory` bytes in all.

        What was used since the last reply counts too: a thread may go on behind it. SandboxError when the
        sandbox dies, takes too much, or says what is not in the format.
        """
        nonce = secrets.token_hex(16)
        self._looked = time.monotonic()
        bounds = self._bounds(seconds, memory)
        try:
            self._send(wire.frame(request | {"nonce": nonce}, buffers), bounds)
            return self._expect(nonce, bounds)
        finally:
            self.spent = self._charged()

    def _bounds(self, seconds: float, memory: int | None = None) -> _Bounds:
        """`seconds` of CPU after the last reply, as many of sleeping, and wall time for a machine that is busy."""
        wall_end = time.monotonic() + 30 + self.limits.wall_per_cpu * seconds
        return _Bounds(
            self._used + seconds, self._idle + seconds, wall_end, memory or self.limits.memory_bytes
        )

    def _charged(self) -> float:
        """CPU seconds so far, and those that were slept while the grader waited."""
        self._used = max(self._used, self.cpu())
        return self._used + self._idle

    def _send(self, pieces: list, bounds: _Bounds) -> None:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            while view:
                self._wait(select.POLLOUT, bounds)
                with contextlib.suppress(BlockingIOError):
                    view = view[self._io(self.channel.send, view) :]

    def _expect(self, nonce: str, bounds: _Bounds) -> tuple[dict, bytearray]:
        try:
            text, total = wire.lengths(self._read(wire.HEADER.size, bounds))
            message = wire.parse(bytes(self._read(text, bounds)))
        except wire.WireError as error:
            raise SandboxError("protocol") from error
        data = self._read(total, bounds)
        if message.get("nonce") != nonce or not isinstance(message.get("state"), str):
            raise SandboxError("protocol")
        self._look(bounds)
        return message, data

    def _read(self, count: int, bounds: _Bounds) -> bytearray:
        """Grows with what arrives, so that an announced size costs nothing."""
        data = bytearray()
        while len(data) < count:
            self._wait(select.POLLIN, bounds)
            with contextlib.suppress(BlockingIOError):
                piece = self._io(self.channel.recv, min(count - len(data), 2**20))
                if not piece:
                    raise SandboxError("died")
                data += piece
        return data

    def _wait(self, event: int, bounds: _Bounds) -> None:
        """Until the channel is ready, looking at the books every POLL_SECONDS, also where it is never silent."""
        poll = select.poll()
        poll.register(self.channel, event)
        ready = False
        while not ready:
            ready = bool(poll.poll(1000 * POLL_SECONDS))
            if time.monotonic() - self._looked >= POLL_SECONDS:
                self._look(bounds)
            if not ready and self.process.poll() is not None:
                raise SandboxError("died")

    def _look(self, bounds: _Bounds) -> None:
        """Reads the books and ends what takes too much."""
        now, used, held = time.monotonic(), self.cpu(), self.memory()
        if used <= self._used and not _wants_to_run(self.process.pid):
            self._idle += now - self._looked
        self._looked, self._used = now, max(used, self._used)
        self._highest = max(self._highest, held)
        if now > bounds.wall_end or used > bounds.cpu_end or self._idle > bounds.idle_end:
            raise SandboxError("time")
        if held > bounds.memory:
            raise SandboxError("memory")

    @staticmethod
    def _io(operation, argument: object) -> object:
        try:
            return operation(argument)
        except (BrokenPipeError, ConnectionError) as error:
            raise SandboxError("died") from error

    # The kernel's books

    def cpu(self) -> float:
        """CPU seconds of every process inside so far, ended ones included."""
        return sum(map(_cpu_seconds, _family(self.process.pid)))

    def memory(self) -> int:
        """Bytes of every process inside now, with their page tables, and of the files in memory."""
        family = _family(self.process.pid)
        return sum(_memory(pid, "VmRSS") for pid in family) + self._files(family)

    def _files(self, family: list[int]) -> int:
        """Bytes of the private folder, which is the innermost process's /tmp. 1 KiB for each file's own entry."""
        with contextlib.suppress(OSError):
            if not self.unsafe:
                folder = os.statvfs(f"/proc/{family[-1]}/root/tmp")
                blocks, entries = folder.f_blocks - folder.f_bfree, folder.f_files - folder.f_ffree
                # While a sandbox starts, its root is for a moment still the host's.
                private = folder.f_blocks * folder.f_frsize <= self.limits.folder_bytes + MEGABYTE
                return blocks * folder.f_frsize + 1024 * entries if private else 0
        return 0

    def forget_peak(self) -> int:
        """Starts the measuring of a peak anew; the bytes that are held now."""
        for pid in _family(self.process.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")
        self._highest = 0
        return self.memory()

    def peak(self) -> int:
        """The largest number of bytes held since `forget_peak`: by the kernel's mark, or as it was seen."""
        family = _family(self.process.pid)
        return max(self._highest, sum(_memory(pid, "VmHWM") for pid in family) + self._files(family))


def _family(pid: int) -> list[int]:
    """A process and all its descendants. One that leaves its parent inside becomes a child of bubblewrap's first."""
    found, waiting = [], [pid]
    while waiting:
        found.append(parent := waiting.pop())
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{parent}/task"):
                with contextlib.suppress(OSError):
                    children = Path(f"/proc/{parent}/task/{task}/children").read_text()
                    waiting += map(int, children.split())
    return found


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf(
            "SC_CLK_TCK"
        )  # user, system, and those of ended children
    return 0.0


def _memory(pid: int, field: str) -> int:
    """VmRSS or VmHWM, with what has been swapped out, and the page tables, which a process can make large alone."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in (field, "VmSwap", "VmPTE"):
                found[key] = 1024 * int(value.split()[0])
    return sum(found.values())


def _wants_to_run(pid: int) -> bool:
    """Whether any thread inside runs, waits for its turn, or for a disk."""
    for member in _family(pid):
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{member}/task"):
                state = Path(f"/proc/{member}/task/{task}/stat").read_text().rpartition(")")[2].split()[0]
                if state in "RD":
                    return True
    return False


# The command


def _rlimits(limits: Limits, unsafe: bool) -> dict[str, int]:
    found = {
        "RLIMIT_DATA": limits.data_bytes,
        "RLIMIT_AS": limits.address_bytes,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NOFILE": limits.files,
        "RLIMIT_CORE": 0,
    }
    if unsafe:
        return {"RLIMIT_CORE": 0}
    # The limit counts a user's processes; a spare user has none. One who grades as themself may have many.
    others = (
        0
        if os.getuid() == 0
        else sum(_owner(e) == os.getuid() for e in os.scandir("/proc") if e.name.isdigit())
    )
    threads = 0 if os.getuid() == 0 else 1000
    return found | {"RLIMIT_NPROC": limits.threads + others + threads}


def _environment(sparing: bool) -> dict[str, str]:
    """All that a submission sees of an environment.

    Ordinarily freed blocks stay with the process, in holes that small tensors keep open: quick, but resident
    memory may be many times what is in use. `sparing` hands blocks of a page or more back at once: the memory
    is then what is in use, at about twice the CPU time.
    """
    found = {
        "HOME": str(Path.home()),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "USER": "student",
        "LOGNAME": "student",
        "MPLBACKEND": "Agg",
        "COURSE_GIVEN": str(INSIDE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "COURSE_SIZE": "ci",
        "MALLOC_ARENA_MAX": "1",
    }
    return found | ({"MALLOC_MMAP_THRESHOLD_": "16384"} if sparing else {})


def _python(options: dict) -> list[str]:
    return [sys.executable, "-I", "-B", str(INSIDE / "harness.py"), json.dumps(options)]


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Both ends of a pipe: what is read, without waiting, and what is written."""
    source, target = os.pipe()
    os.set_blocking(source, False)
    with open(source, "rb", buffering=0) as reader, open(target, "wb", buffering=0) as writer:
        yield reader, writer


@contextlib.contextmanager
def _filter(unsafe: bool) -> Iterator[list[int]]:
    """A file descriptor from which bubblewrap reads the filter of system calls; none without a sandbox."""
    if unsafe:
        yield []
        return
    with _pipe() as (source, target):
        target.write(filter.program())
        target.close()
        yield [source.fileno()]


def _bubblewrap(
    limits: Limits, uid: int | None, rules: int, options: dict, environment: dict[str, str]
) -> list[str]:
    """The sandbox: nothing of the host but the system's programs and this Python, read-only."""
    command = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    command += ["--seccomp", str(rules)]
    command += ["--die-with-parent", "--new-session", "--hostname", "grader", "--chdir", "/tmp"]
    if uid is None:
        command += ["--unshare-user", "--cap-drop", "ALL"]
    command += ["--clearenv"]
    for key, value in environment.items():
        command += ["--setenv", key, value]
    command += ["--size", str(limits.folder_bytes), "--perms", "1777", "--tmpfs", "/tmp"]
    for path in _readable():
        command += _parents(path)
        command += (
            ["--symlink", os.readlink(path), path] if os.path.islink(path) else ["--ro-bind", path, path]
        )
    for path in _hidden():
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--perms", "0755", "--dir", "/grader", "--ro-bind", str(INSIDE), "/grader/inside"]
    for module in given.MODULES:
        target = Path("/grader/given") / module
        command += [*_parents(str(target)), "--ro-bind", str(INSIDE.parents[1] / module), str(target)]
    command += ["--proc", "/proc", "--remount-ro", "/proc"]  # else its peak could be reset inside
    command += ["--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]
    if uid is not None:
        command += ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
        command += ["--inh-caps=-all", "--bounding-set=-all", "--"]
    return [*command, sys.executable, "-I", "-B", "/grader/inside/harness.py", json.dumps(options)]


def _readable() -> list[str]:
    """The system's programs and libraries, and this Python with its packages."""
    system = [
        p
        for p in ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
        if os.path.exists(p)
    ]
    python = {sys.base_prefix, sys.prefix, os.path.realpath(sys.base_prefix), os.path.realpath(sys.prefix)}
    inside = [p for p in sorted(python) if not any(_within(p, s) for s in system)]
    outermost = [p for p in inside if not any(p != other and _within(p, other) for other in inside)]
    return system + [entry for path in outermost for entry in _entered(path)]


def _entered(path: str) -> list[str]:
    """A folder, or what is in it where only its owner may enter: the sandbox's user gets a folder of its own."""
    if os.stat(path).st_mode & 0o005 == 0o005:
        return [path]
    return sorted(entry.path for entry in os.scandir(path))


def _hidden() -> list[str]:
    """Where the course itself lies inside what is readable: its references, sources and bytecode."""
    spec = importlib.util.find_spec("course_lib")
    places = {os.path.realpath(p) for p in (spec.submodule_search_locations if spec else ())}
    if (root := course.checkout()) is not None:
        places |= {
            os.path.realpath(root / name) for name in ("course_lib", "notebooks", "build", ".git", "tests")
        }
    shown = [os.path.realpath(p) for p in _readable()]
    return sorted(p for p in places if os.path.isdir(p) and any(_within(p, s) for s in shown))


def _parents(path: str) -> list[str]:
    """bubblewrap makes missing folders for its own user alone; the sandbox's user must pass through them."""
    found = []
    for parent in reversed(Path(path).parents):
        if str(parent) not in ("/", "/tmp"):
            found += ["--perms", "0755", "--dir", str(parent)]
    return found


def _within(path: str, folder: str) -> bool:
    return Path(path).is_relative_to(folder)
