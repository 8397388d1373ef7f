"""A sandbox's ordinary life, and what it refuses: each limit on its own, short enough to wait for."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from course_lib.grading import filter, sandbox
from course_lib.grading.inside import wire
from course_lib.grading.sandbox import MEGABYTE, Limits, RefusedError, Sandbox, SandboxError

LIMITS = Limits(cell_seconds=10, folder_bytes=24 * MEGABYTE, file_bytes=8 * MEGABYTE, files=64, threads=24)
SECRET = "COURSE_TEST_SECRET"


@pytest.fixture(scope="module")
def uid() -> Iterator[int | None]:
    with sandbox.user() as found:
        yield found


@pytest.fixture(scope="module")
def box(uid: int | None) -> Iterator[Sandbox]:
    """One for all tests that leave it as it was."""
    os.environ[SECRET] = "of the host"
    with Sandbox(LIMITS, uid) as found:
        yield found


@pytest.fixture
def fresh(uid: int | None) -> Iterator[Sandbox]:
    """One that a test may ruin."""
    with Sandbox(LIMITS, uid) as found:
        yield found


def cell(box: Sandbox, source: str, seconds: float = 10, **options: object) -> dict:
    return box.ask({"op": "cell", "what": textwrap.dedent(source)}, seconds, **options)[0]


def value(box: Sandbox, source: str) -> object:
    """What a cell leaves in `out`; an OSError in it counts as its number."""
    body = textwrap.indent(textwrap.dedent(source), "    ")
    reply = cell(box, f"try:\n{body}\nexcept OSError as error:\n    out = error.errno")
    assert reply["state"] == "returned", reply
    box.ask({"op": "name", "what": "out"}, 10)
    fetched, data = box.ask({"op": "fetch"}, 10)
    return wire.unpack(fetched["value"], data)


def call(box: Sandbox, name: str, *arguments: object, keep: bool = True) -> object:
    """A function's value, or the reply that says why there is none."""
    node, buffers = wire.pack(arguments)
    box.ask({"op": "load", "arguments": node, "keep": keep}, 10, buffers)
    ran, _ = box.ask({"op": "run", "what": name}, 10)
    if ran["state"] != "returned":
        return ran
    fetched, data = box.ask({"op": "fetch"}, 10)
    return wire.unpack(fetched["value"], data)


def ends(box: Sandbox, source: str, seconds: float = 10, **options: object) -> str:
    """The reason for which a cell ends the sandbox."""
    with pytest.raises(SandboxError) as error:
        cell(box, source, seconds, **options)
    return error.value.reason


# Its ordinary life


def test_a_function_of_a_cell_gets_tensors_and_gives_tensors(box: Sandbox) -> None:
    assert cell(box, "import torch\ndef double(x, n):\n    return 2 * x, [n, 'a']")["state"] == "returned"
    came, (n, text) = call(box, "double", torch.arange(6.0).reshape(2, 3), 7)
    assert torch.equal(came, 2 * torch.arange(6.0).reshape(2, 3))
    assert (n, text) == (7, "a")


def test_what_keeps_a_function_from_being_judged_is_said(box: Sandbox) -> None:
    cell(
        box,
        """
        import torch
        todo, number = ..., 3
        def unsolved(x):
            raise NotImplementedError
        def fails(x):
            y = 0
            return 1 / y
        def leaves(x):
            raise SystemExit
        def changes(x):
            return x.add_(1)
        def lazy(x):
            yield x
        """,
    )
    x = torch.ones(2)
    assert call(box, "nowhere", x)["state"] == "missing"
    assert call(box, "todo", x)["state"] == "not attempted"
    assert call(box, "unsolved", x)["state"] == "not attempted"
    assert "int stands where the function" in call(box, "number", x)["text"]
    assert call(box, "fails", x)["error"] == "ZeroDivisionError"
    assert call(box, "fails", x)["line"] == "line 3 of fails: return 1 / y"
    assert call(box, "leaves", x)["error"] == "SystemExit"
    assert "in place" in call(box, "changes", x)["text"]
    assert "runs nothing" in call(box, "lazy", x)["text"]


def test_the_arguments_of_two_calls_share_nothing(box: Sandbox) -> None:
    cell(box, "kept = []\ndef keeps(x):\n    kept.append(x)\n    kept[0].zero_()\n    return x")
    call(box, "keeps", torch.ones(3), keep=False)
    assert torch.equal(call(box, "keeps", torch.ones(3), keep=False), torch.ones(3))


def test_course_lib_is_a_stand_in(box: Sandbox) -> None:
    source = """
    from course_lib import attention
    from course_lib.exercises import check, linear_attention
    check("08.2", None)
    try:
        attention.linear_attention(1)
        out = "called"
    except Exception as error:
        out = type(error).__name__
    """
    assert value(box, source) == "AbsentError"


# What is not there


def test_nothing_of_the_host_can_be_read(box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "answer"
    secret.write_text("42")
    places = [
        str(secret),
        str(Path(sandbox.__file__)),
        "/etc/passwd",
        "/etc/hostname",
        "/home",
        "/var",
        "/work",
    ]
    assert value(box, f"import os\nout = [p for p in {places} if os.path.exists(p)]") == []
    source = """
    import os
    out = [os.path.join(root, name) for root, _, names in os.walk("/") for name in names
           if not root.startswith("/proc") and "course_lib" in root and name.endswith((".py", ".pyc"))]
    """
    given = {"/grader/inside/course_lib/__init__.py"}
    assert {path for path in value(box, source) if "/__pycache__/" not in path} == given


def test_the_environment_and_processes_are_its_own(box: Sandbox) -> None:
    names = set(value(box, "import os\nout = list(os.environ)"))
    assert SECRET not in names
    assert names <= {*sandbox._environment(False), "PWD"}
    assert value(box, "out = [p for p in os.listdir('/proc') if p.isdigit()]") == ["1", "2"]
    assert value(box, "out = open('/proc/1/environ').read()") in ("", 13)


def test_only_the_private_folder_can_be_written(box: Sandbox) -> None:
    source = """
    import os
    out = [root for root, _, _ in os.walk("/") if not root.startswith("/proc/") and os.access(root, os.W_OK)]
    """
    assert {place for place in value(box, source) if not place.startswith("/tmp/.")} == {"/tmp"}
    for path in ("/proc/self/clear_refs", "/proc/self/oom_score_adj", "/dev/shm/x", "/grader/inside/wire.py"):
        assert value(box, f"out = open({path!r}, 'w').write('5')") == 30, path  # EROFS


def test_it_has_no_rights(box: Sandbox, uid: int | None) -> None:
    source = "out = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)"
    status = {key: text.strip() for key, text in value(box, source).items()}
    assert {int(status[key], 16) for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert set(map(int, status["Uid"].split())) == {os.getuid() if uid is None else uid}
    assert uid != 0


@pytest.mark.parametrize(
    "source",
    [
        "socket.create_connection(('127.0.0.1', 22), 2)",
        "socket.create_connection(('192.0.2.1', 80), 2)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(socket.AF_VSOCK)",
        "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "socket.socket(socket.AF_ALG)",
        "os.fork()",
        "subprocess.run(['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "os.memfd_create('x')",
        "native(libc.shmget(0, 4096, 0o1600))",
        "native(libc.unshare(0x10000000 | 0x20000))",
        "native(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))",
        "native(libc.ptrace(0, 0, 0, 0))",
        "os.kill(1, 9) if os.getuid() else None; os.setuid(0)",
    ],
)
def test_it_is_refused(box: Sandbox, source: str) -> None:
    given = """
    import ctypes, os, socket, subprocess
    libc = ctypes.CDLL(None, use_errno=True)
    def native(result):
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")
    """
    cell(box, given)
    assert isinstance(value(box, f"{source}\nout = 'done'"), int)


def test_the_filter_lets_threads_through(box: Sandbox) -> None:
    source = """
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.append(1))
    thread.start()
    thread.join()
    out = found
    """
    assert value(box, source) == [1]


def test_a_machine_without_a_filter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter.platform, "machine", lambda: "sparc")
    with pytest.raises(RefusedError, match="sparc"):
        sandbox.require(unsafe=False)


# Limits


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", "time"),
        ("import time\nwhile True: time.sleep(60)", "time"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", "time"),
        ("import ctypes\nctypes.string_at(0)", "died"),
    ],
)
def test_a_cell_that_does_not_return_ends_the_sandbox(fresh: Sandbox, source: str, reason: str) -> None:
    assert ends(fresh, source, seconds=0.5) == reason


def test_threads_count_and_so_does_what_goes_on_behind_a_reply(fresh: Sandbox) -> None:
    source = """
    import threading, time
    def turn():
        while True: pass
    threading.Thread(target=turn, daemon=True).start()
    time.sleep(0.5)
    """
    before = fresh.spent
    cell(fresh, source)
    assert fresh.spent - before > 0.2
    time.sleep(1)  # a grader that is busy with something else
    assert ends(fresh, "import time\ntime.sleep(0.2)", seconds=0.3) == "time"


def test_sleeping_is_charged(fresh: Sandbox) -> None:
    before = fresh.spent
    cell(fresh, "import time\ntime.sleep(1)")
    assert fresh.spent - before > 0.5


def test_memory_is_read_from_outside(fresh: Sandbox) -> None:
    limit = fresh.memory() + 100 * MEGABYTE
    source = "import torch, time\nx = torch.ones(300_000_000, dtype=torch.uint8)\ntime.sleep(5)"
    assert ends(fresh, source, memory=limit) == "memory"


def test_files_in_memory_count(uid: int | None) -> None:
    with Sandbox(Limits(), uid) as box:
        before = box.memory()
        cell(box, "for i in range(4): open(f'/tmp/{i}', 'wb').write(bytes(50_000_000))")
        assert box.memory() - before > 150 * MEGABYTE


def test_a_peak_is_remembered_until_it_is_forgotten(fresh: Sandbox) -> None:
    before = fresh.forget_peak()
    cell(fresh, "import torch\nx = torch.ones(200_000_000, dtype=torch.uint8)\ndel x")
    assert fresh.memory() - before < 100 * MEGABYTE < 190 * MEGABYTE < fresh.peak() - before
    fresh.forget_peak()
    assert fresh.peak() - before < 100 * MEGABYTE


def test_an_allocation_beyond_the_limits_is_refused(box: Sandbox) -> None:
    assert cell(box, "import torch\ntorch.empty(4_000_000_000, dtype=torch.uint8)")["state"] == "raised"
    assert value(box, "import mmap\nout = len(mmap.mmap(-1, 20_000_000_000))") == 12  # ENOMEM


def test_a_python_in_a_folder_of_ones_own_is_readable(tmp_path: Path) -> None:
    """As `mktemp -d` makes it: the sandbox's user may not enter it, so its contents are shown one by one."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "pyvenv.cfg").touch()
    tmp_path.chmod(0o755)
    assert sandbox._entered(str(tmp_path)) == [str(tmp_path)]
    tmp_path.chmod(0o700)
    assert sandbox._entered(str(tmp_path)) == [str(tmp_path / "lib"), str(tmp_path / "pyvenv.cfg")]


def test_the_hosts_files_never_count(box: Sandbox) -> None:
    """Until a starting sandbox has changed its root, that is the host's, with whatever lies in its /tmp."""
    assert os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize > LIMITS.folder_bytes + MEGABYTE
    assert box._files([os.getpid()]) == 0


def test_files_are_limited_in_size_and_number(fresh: Sandbox) -> None:
    assert value(fresh, "out = open('/tmp/a', 'wb', 0).write(bytes(20_000_000))") == 8 * MEGABYTE
    fill = "for i in range(9): open(f'/tmp/{i}', 'wb').write(bytes(7_000_000))\nout = 'written'"
    assert value(fresh, fill) == 28  # ENOSPC
    assert value(fresh, "files = []\nfor i in range(99): files.append(open('/dev/null'))\nout = 1") == 24


def test_threads_are_limited_in_number(fresh: Sandbox, uid: int | None) -> None:
    source = """
    import threading, time
    out = 0
    try:
        for _ in range(3000):
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
            out += 1
    except (RuntimeError, MemoryError):
        pass
    """
    assert value(fresh, source) < (LIMITS.threads if uid is not None else 2000)


def test_a_flood_of_prints_is_read_by_nobody(box: Sandbox) -> None:
    flood = "import sys, os\nfor i in range(200): print('x' * 100_000); sys.stderr.write('y' * 100_000)\nout = 'done'"
    assert value(box, flood) == "done"


# Replies

CHANNEL = """
import json, os, socket, struct, sys, time
channel = socket.socket(fileno=os.dup(json.loads(sys.argv[1])["fd"]))
"""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("channel.send(struct.pack('>IQ', 2**32 - 1, 2**63))", "protocol"),
        ("channel.send(struct.pack('>IQ', 60_000, 0) + b'[' * 60_000)", "protocol"),
        ("channel.shutdown(socket.SHUT_RDWR)", "died"),
        (
            "channel.send(struct.pack('>IQ', 2**20, 0))\nwhile True: channel.send(b' '); time.sleep(0.005)",
            "time",
        ),
    ],
)
def test_a_forged_reply_costs_the_sandbox(fresh: Sandbox, source: str, reason: str) -> None:
    assert ends(fresh, CHANNEL + source, seconds=0.7) == reason


def test_a_second_reply_is_no_reply_to_the_next_request(fresh: Sandbox) -> None:
    cell(fresh, CHANNEL + 'text = b\'{"state": "returned", "nonce": "0"}\'')
    late = "import threading\nthreading.Timer(0.2, channel.send, [struct.pack('>IQ', len(text), 0) + text]).start()"
    cell(fresh, late)
    time.sleep(0.5)
    assert ends(fresh, "pass") == "protocol"


# Beginning and end


def test_a_sandbox_that_does_not_start_is_refused_and_gone(
    monkeypatch: pytest.MonkeyPatch, uid: int | None
) -> None:
    monkeypatch.setattr(sandbox.sys, "executable", "/usr/bin/nowhere")
    started = []
    monkeypatch.setattr(sandbox.Sandbox, "close", lambda self: started.append(self.process.wait(10)))
    with pytest.raises(RefusedError, match="nowhere"):
        Sandbox(LIMITS, uid)
    assert started


def living(pids: list[int]) -> list[int]:
    """Those that are there still and have not ended."""
    found = []
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
            found.append(pid)
    return found


def gone(pids: list[int]) -> bool:
    """Whether all end, which the kernel does in its own time."""
    for _ in range(200):
        if not living(pids):
            return True
        time.sleep(0.05)
    return False


def test_close_ends_every_process(uid: int | None) -> None:
    box = Sandbox(LIMITS, uid)
    cell(box, "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()")
    family = sandbox._family(box.process.pid)
    assert len(living(family)) == 3  # bubblewrap twice, and the harness
    box.close()
    assert gone(family)


def test_a_sandbox_ends_with_its_grader() -> None:
    program = """
    import time
    from course_lib.grading import sandbox
    with sandbox.user() as uid, sandbox.Sandbox(sandbox.Limits(), uid) as box:
        print(*sandbox._family(box.process.pid), flush=True)
        time.sleep(99)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as grader:
        family = list(map(int, grader.stdout.readline().split()))
        assert len(living(family)) == 3
        grader.send_signal(signal.SIGKILL)
    assert gone(family)


def test_two_sandboxes_are_two_users() -> None:
    with sandbox.user() as one, sandbox.user() as other:
        users = {one, other}
    assert users == {None} if os.getuid() else len(users - {0, None}) == 2
