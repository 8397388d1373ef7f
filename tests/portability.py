"""Whether course_lib fits other Pythons and other systems, found by reading it: only a bare Python is needed.

    python tests/portability.py            this Python
    python tests/portability.py --each     every Python 3.11 to 3.13 that is found here, one after the other

For a Python: each file compiles without a warning, each name taken from the standard library is there and will stay
there, and each module can be imported, with stand-ins for torch and all that is not in the standard library. For
Windows and macOS, in what a student runs: nothing that only POSIX has unless it is asked for first, and no text file
opened in the system's own encoding. Each fault is one line, `path:line: what`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import re
import shutil
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = ("3.11", "3.12", "3.13")
TEACHERS = ("course_lib/authoring", "course_lib/grading")
SCRIPTS = (
    "course_lib/authoring/setup_cell.py",
    "course_lib/grading/inside",
)  # run as they are, never imported

# Module → its names, "" for modules themselves: what 3.12 or 3.13 removed, or warn about because a later Python will.
GONE_NAMES = {
    "": "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib nis nntplib "
    "ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib",
    "ast": "Bytes Ellipsis NameConstant Num Str",
    "collections.abc": "ByteString",
    "configparser": "SafeConfigParser",
    "datetime.datetime": "utcfromtimestamp utcnow",
    "importlib": "find_loader",
    "importlib.resources": "contents is_resource open_binary open_text path read_binary read_text",
    "locale": "getdefaultlocale resetlocale",
    "logging": "warn",
    "pkgutil": "ImpImporter ImpLoader find_loader get_loader",
    "re": "template",
    "ssl": "RAND_pseudo_bytes match_hostname wrap_socket",
    "typing": "ByteString io re",
    "unittest": "findTestCases makeSuite",
}
# What Windows does not have; some of it is missing on macOS too.
POSIX_NAMES = {
    "": "crypt curses fcntl grp nis ossaudiodev posix pty pwd readline resource spwd syslog termios tty",
    "os": "chown chroot confstr fchown fork forkpty fstatvfs getegid geteuid getgid getgroups getloadavg getpgid "
    "getpgrp getpriority getsid getuid getxattr killpg lchown memfd_create mkfifo mknod nice openpty posix_spawn pread "
    "pwrite register_at_fork sched_getaffinity sched_setaffinity sendfile setegid seteuid setgid setgroups setpgid "
    "setpriority setsid setuid setxattr statvfs sync sysconf ttyname uname wait wait3 wait4",
    "select": "epoll kqueue poll",
    "signal": "ITIMER_PROF ITIMER_REAL ITIMER_VIRTUAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP "
    "SIGUSR1 SIGUSR2 SIGXCPU alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigwait",
    "socket": "AF_UNIX",
    "time": "clock_gettime clock_settime pthread_getcpuclockid tzset",
}
ASKED_SYSTEM = {"sys.platform", "os.name", "platform.system", "platform.uname"}
MISSING_ERRORS = {"ImportError", "ModuleNotFoundError", "AttributeError"}


def _full_names(names: dict[str, str]) -> set[str]:
    return {f"{module}.{name}".lstrip(".") for module, row in names.items() for name in row.split()}


GONE, POSIX = _full_names(GONE_NAMES), _full_names(POSIX_NAMES)


@dataclass(frozen=True)
class Text:
    """A piece of Python and where it stands."""

    place: str
    code: str


@dataclass(frozen=True)
class Use:
    """A name of a module, such as os.fork, where a text uses it. `guarded`: only after asking whether it is there."""

    name: str
    line: int
    guarded: bool


# ---- what is read -----------------------------------------------------------------------------


def library(root: Path = ROOT) -> Iterator[Text]:
    """Every file of course_lib."""
    for path in sorted((root / "course_lib").rglob("*.py")):
        yield Text(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))


def students(root: Path = ROOT) -> Iterator[Text]:
    """What runs on a student's machine: course_lib without the teacher's parts, and the notebooks' code cells."""
    yield from (text for text in library(root) if not text.place.startswith(TEACHERS))
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield Text(f"notebooks/{path.name}#{cell['id']}", _plain("".join(cell["source"])))


def _plain(cell: str) -> str:
    """A cell without IPython's magics, which are no Python."""
    return re.sub(r"^\s*[%!].*$", "pass", cell, flags=re.M)


# ---- names ------------------------------------------------------------------------------------


class Names(ast.NodeVisitor):
    """Collects a text's uses of the names of modules, in full (`from os import fork as f` makes f os.fork)."""

    def __init__(self, tree: ast.Module) -> None:
        self.full: dict[str, str] = {}  # a local name -> what it stands for
        self.uses: list[Use] = []
        self.guards = 0
        self.asked: list[set[str]] = [_asked_for(tree)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    self.full[alias.asname or first] = alias.name if alias.asname else first
            elif isinstance(node, ast.ImportFrom) and not node.level:
                self.full.update((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level:
            self._note(str(node.module), node.lineno)
            for alias in node.names:
                self._note(f"{node.module}.{alias.name}", node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if name := self.name_of(node):
            self._note(name, node.lineno)
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.asked.append(_asked_for(node))
        self.generic_visit(node)
        self.asked.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Try(self, node: ast.Try) -> None:
        caught = {n.id for h in node.handlers if h.type for n in ast.walk(h.type) if isinstance(n, ast.Name)}
        self._visit_guarded(node.body, bool(caught & MISSING_ERRORS))
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        names = {self.name_of(n) for n in ast.walk(node.test) if isinstance(n, ast.Attribute)}
        self._visit_guarded([*node.body, *node.orelse], bool(names & ASKED_SYSTEM))

    def name_of(self, node: ast.expr) -> str | None:
        """The full name of `a.b.c` where a comes from an import."""
        if isinstance(node, ast.Name):
            return self.full.get(node.id)
        inner = self.name_of(node.value) if isinstance(node, ast.Attribute) else None
        return f"{inner}.{node.attr}" if inner else None

    def _visit_guarded(self, body: Iterable[ast.stmt], guarded: bool) -> None:
        self.guards += guarded
        for statement in body:
            self.visit(statement)
        self.guards -= guarded

    def _note(self, name: str, line: int) -> None:
        asked = name.rpartition(".")[2] in self.asked[-1]
        self.uses.append(Use(name, line, bool(self.guards) or asked))


def _asked_for(scope: ast.AST) -> set[str]:
    """The names that a function, or a module outside its functions, asks for with `hasattr` or `getattr`."""
    found, waiting = set(), list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("hasattr", "getattr")
        ):
            found |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
        waiting += ast.iter_child_nodes(node)
    return found


def uses(text: Text) -> list[Use]:
    """Every use of a module's name in the text."""
    return Names(ast.parse(text.code, text.place)).uses


def posix_faults(text: Text) -> Iterator[str]:
    """What Windows does not have, used without asking whether it is there."""
    for use in uses(text):
        if use.name in POSIX and not use.guarded:
            yield f"{text.place}:{use.line}: {use.name} is not there on every system; ask with hasattr first"
    for node in ast.walk(ast.parse(text.code)):
        if isinstance(node, ast.keyword) and node.arg == "preexec_fn":
            yield f"{text.place}:{node.value.lineno}: preexec_fn is not there on every system"


def gone_faults(text: Text) -> Iterator[str]:
    """What a newer Python removes, and what this one does not have."""
    for use in uses(text):
        if use.name in GONE or use.name.split(".")[0] in GONE:
            yield f"{text.place}:{use.line}: {use.name} is removed, or will be, in a Python after 3.11"
        elif (
            not use.guarded and use.name.split(".")[0] in sys.stdlib_module_names and not _is_there(use.name)
        ):
            yield f"{text.place}:{use.line}: Python {sys.version.split()[0]} has no {use.name}"


def _is_there(name: str) -> bool:
    """Whether a name of the standard library exists here. What an object does not tell before it is made, passes."""
    parts = name.split(".")
    value: object = importlib.import_module(parts[0])
    for depth, part in enumerate(parts[1:], 2):
        if not hasattr(value, part):
            try:
                importlib.import_module(".".join(parts[:depth]))
            except ImportError:
                return not isinstance(value, types.ModuleType)
        value = getattr(value, part)
    return True


# ---- encodings --------------------------------------------------------------------------------


def encoding_faults(text: Text) -> Iterator[str]:
    """Text files opened in the system's own encoding, which on Windows is not UTF-8."""
    names = Names(tree := ast.parse(text.code))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if not any(keyword.arg in ("encoding", None) for keyword in call.keywords) and _opens_text(
            names, call
        ):
            yield f'{text.place}:{call.lineno}: a text file is opened without encoding="utf-8"'


def _opens_text(names: Names, call: ast.Call) -> bool:
    """Whether the call opens a text file and names no encoding by position either."""
    method = call.func.attr if isinstance(call.func, ast.Attribute) else None
    function = names.name_of(call.func) or (call.func.id if isinstance(call.func, ast.Name) else None)
    if method in ("read_text", "write_text"):
        return len(call.args) < (1 if method == "read_text" else 2)
    if function in ("open", "io.open", "os.fdopen"):
        return "b" not in _mode(call, 1, "r") and len(call.args) < 4
    if function in ("tempfile.NamedTemporaryFile", "tempfile.TemporaryFile"):
        return "b" not in _mode(call, 0, "w+b")
    if method == "open" and function is None:  # of a Path; webbrowser.open and the like have a full name
        return "b" not in _mode(call, 0, "r") and len(call.args) < 3
    return False


def _mode(call: ast.Call, position: int, default: str) -> str:
    """The mode of an open call; unknown until it runs counts as a text mode."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[
        position : position + 1
    ]
    if not given:
        return default
    return str(given[0].value) if isinstance(given[0], ast.Constant) else "r"


# ---- imports ----------------------------------------------------------------------------------


class StandIn(type):
    """The type of classes that are whatever a module asks of them at its import: base, decorator, number, list."""

    def __getattr__(cls, name: str) -> StandIn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return stand_in(name)

    def __call__(cls, *arguments: object, **options: object) -> object:
        if not cls.__dict__.get("stands_in"):
            return super().__call__(*arguments, **options)  # a class of ours with a stand-in for its base
        decorates = (
            len(arguments) == 1 and not options and isinstance(arguments[0], types.FunctionType | type)
        )
        return arguments[0] if decorates else cls

    def __getitem__(cls, _: object) -> StandIn:
        return cls

    def __iter__(cls) -> Iterator[object]:
        return iter(())

    def __len__(cls) -> int:
        return 0

    def __enter__(cls) -> StandIn:
        return cls

    def __exit__(cls, *_: object) -> None:
        """Nothing was opened."""

    def __add__(cls, _: object) -> StandIn:
        return cls

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __pow__ = __rpow__ = (
        __add__
    )


def stand_in(name: str) -> StandIn:
    """A new stand-in of that name."""
    return StandIn(name, (), {"stands_in": True})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a module of stand-ins for every name that is neither of the standard library nor the course's."""

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        own = name.split(".")[0] in ("course_lib", *sys.stdlib_module_names)
        return None if own else importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = stand_in
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


def modules(root: Path = ROOT) -> Iterator[str]:
    """The modules of course_lib that can be imported."""
    for text in library(root):
        if not text.place.startswith(SCRIPTS):
            yield text.place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def import_faults(root: Path = ROOT) -> Iterator[str]:
    """Every module of course_lib that this Python cannot import, whatever other packages are installed."""
    sys.path.insert(0, str(root))
    sys.meta_path.insert(0, StandIns())
    for name in modules(root):
        try:
            found = importlib.import_module(name).__file__ or ""
            if not Path(found).is_relative_to(root):
                yield f"{name.replace('.', '/')}: is imported from {found}"
        except Exception as error:  # noqa: BLE001 - whatever an import may raise is the finding
            yield f"{name.replace('.', '/')}: cannot be imported: {type(error).__name__}: {error}"


def syntax_faults(text: Text) -> Iterator[str]:
    """What this Python's compiler refuses or warns about."""
    try:
        compile(text.code, text.place, "exec")
    except (SyntaxError, Warning) as error:
        yield f"{text.place}:{getattr(error, 'lineno', 1)}: {error}"


def faults() -> Iterator[str]:
    """Everything under this Python."""
    yield from _read(library(), gone_faults)
    yield from _read(students(), posix_faults, encoding_faults)
    yield from import_faults()


def _read(texts: Iterable[Text], *checks: Callable[[Text], Iterator[str]]) -> Iterator[str]:
    """The faults of each text; what the compiler refuses is not looked into."""
    for text in texts:
        yield from list(syntax_faults(text)) or (fault for check in checks for fault in check(text))


# ---- Pythons ----------------------------------------------------------------------------------


def pythons() -> dict[str, str]:
    """Version → command, of the Pythons that are found on the PATH and in pyenv, and that run."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {own: sys.executable} if own in VERSIONS else {}
    for version in VERSIONS:
        kept = sorted(str(path) for path in pyenv.glob(f"{version}.*/bin/python"))
        for command in filter(None, (shutil.which(f"python{version}"), *kept)):
            if version not in found and _version(command) == version:
                found[version] = command
    return found


def _version(command: str) -> str:
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run(
        [command, "-c", program], capture_output=True, text=True, check=False
    ).stdout.strip()


def each() -> int:
    """Runs this file under every Python that is found; the number of those with faults."""
    failed = 0
    for version, command in pythons().items():
        print(f"Python {version}", flush=True)
        failed += bool(subprocess.run([command, "-I", "-B", __file__], check=False).returncode)
    return failed


def main() -> int:
    """Prints the faults; 1 if there are any."""
    if "--each" in sys.argv[1:]:
        return int(bool(each()))
    warnings.simplefilter("error")
    found = list(dict.fromkeys(faults()))
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(found)} faults" if found else "no faults")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
