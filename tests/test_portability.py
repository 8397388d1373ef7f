"""What tests/portability.py finds: nothing in this course, under each Python here, and every fault that it is for."""

import subprocess
import sys

import portability
import pytest

PYTHONS = portability.pythons()


@pytest.mark.parametrize("version", PYTHONS)
def test_the_course_fits_each_python_that_is_here(version):
    """A Python of its own, without site-packages: what is installed there plays no part."""
    command = [PYTHONS[version], "-I", "-B", portability.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["no faults"]), done.stdout + done.stderr


def test_this_python_is_among_them():
    assert sys.executable in PYTHONS.values()


def test_everything_of_a_student_is_read_and_nothing_of_a_teacher():
    places = [text.place for text in portability.students()]
    assert {"course_lib/exercises/limits.py", "course_lib/runtime.py", "course_lib/cli.py"} <= set(places)
    assert any(place.startswith("notebooks/08_linear-attention.ipynb#") for place in places)
    assert not any(place.startswith(portability.TEACHERS) for place in places)


def faults(check, code: str) -> list[str]:
    return [fault.removeprefix("x.py:") for fault in check(portability.Text("x.py", code))]


@pytest.mark.parametrize(
    "code",
    [
        "import resource",
        "from resource import getrusage",
        "def f():\n    import fcntl",
        "import os\nos.fork()",
        "import os as system\nsystem.uname()",
        "from os import sched_getaffinity as cores",
        "import signal\nsignal.signal(signal.SIGALRM, None)",
        "from signal import setitimer, ITIMER_REAL",
        "import os\nif hasattr(os, 'fork'):\n    pass\ndef f():\n    return os.fork()",
        "import os\ntry:\n    os.uname()\nexcept OSError:\n    pass",
        "import os\ntry:\n    pass\nexcept AttributeError:\n    os.uname()",
        "import subprocess\nsubprocess.run([], preexec_fn=print)",
    ],
)
def test_a_posix_only_call_is_found(code):
    assert faults(portability.posix_faults, code)


@pytest.mark.parametrize(
    "code",
    [
        "import os\nif hasattr(os, 'fork'):\n    os.fork()",
        "import os\ndef f():\n    if not hasattr(os, 'sysconf'):\n        return 1\n    return os.sysconf('x')",
        "try:\n    import resource\nexcept ImportError:\n    resource = None",
        "import os, sys\nif sys.platform == 'linux':\n    os.sched_getaffinity(0)",
        "import os\nos.cpu_count(), os.path.join('a', 'b')",
        "from course_lib.plots import resource",
        "def fork(): ...\nfork()",
    ],
)
def test_what_is_asked_for_first_and_what_is_everywhere_passes(code):
    assert faults(portability.posix_faults, code) == []


@pytest.mark.parametrize(
    "code",
    [
        "open('f')",
        "open('f', 'w')",
        "open('f', mode)",
        "with open('f', mode='a') as f: pass",
        "path.read_text()",
        "path.write_text('x')",
        "path.open()",
        "path.open('w')",
        "import os\nos.fdopen(3, 'w')",
        "import tempfile\ntempfile.NamedTemporaryFile('w')",
    ],
)
def test_a_text_file_without_an_encoding_is_found(code):
    assert faults(portability.encoding_faults, code)


@pytest.mark.parametrize(
    "code",
    [
        "open('f', encoding='utf-8')",
        "open('f', 'rb')",
        "open('f', **options)",
        "path.read_text('utf-8')",
        "path.write_text('x', encoding='utf-8')",
        "path.open('rb')",
        "path.read_bytes()",
        "import webbrowser\nwebbrowser.open('page')",
        "import tempfile\ntempfile.NamedTemporaryFile()",
    ],
)
def test_a_file_with_an_encoding_and_a_binary_one_pass(code):
    assert faults(portability.encoding_faults, code) == []


@pytest.mark.parametrize(
    "code",
    [
        "import distutils.version",
        "from imp import reload",
        "def f():\n    import telnetlib",
        "import pkgutil\npkgutil.find_loader('x')",
        "from datetime import datetime\ndatetime.utcnow()",
        "import datetime as d\nd.datetime.utcnow()",
        "import locale\nlocale.getdefaultlocale()",
        "import os\nos.never_there()",
        "from json import never_there",
        "import json.never_there",
    ],
)
def test_what_a_python_does_not_have_is_found(code):
    assert faults(portability.gone_faults, code)


@pytest.mark.parametrize(
    "code",
    [
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "import os.path\nos.path.join('a')",
        "from importlib import metadata, resources\nresources.files('x')",
        "from . import imp",
        "import torch\ntorch.never_there",
        "import os\nif hasattr(os, 'new'):\n    os.new()",
    ],
)
def test_what_it_has_passes(code):
    assert faults(portability.gone_faults, code) == []


@pytest.mark.filterwarnings("error")
def test_a_warning_of_the_compiler_is_a_fault():
    assert faults(portability.syntax_faults, "x = 1 is 1")
    assert faults(portability.syntax_faults, "match x:\n    case 1: pass\n") == []


def test_magics_of_a_notebook_are_no_python():
    assert portability._plain("%matplotlib inline\n!ls\nx = 5 % 2") == "pass\npass\nx = 5 % 2"


IMPORTED = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({module.split(".")[0] for module in set(sys.modules) - before})))
"""


def packages(*modules: str) -> set[str]:
    """The packages outside the standard library that these imports bring."""
    command = [sys.executable, "-c", IMPORTED, *modules]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name for name in portability.json.loads(found) if name not in sys.stdlib_module_names}


def test_importing_the_package_brings_nothing_else():
    assert packages("course_lib", "course_lib.course", "course_lib.cli") == {"course_lib"}


def test_mixers_and_questions_bring_torch_and_no_figures_widgets_or_notebooks():
    """What `import torch` brings by itself does not count."""
    heavy = {"matplotlib", "ipywidgets", "IPython", "pandas", "scipy", "yaml", "jupytext", "nbformat"}
    brought = packages(
        "course_lib.attention", "course_lib.cache", "course_lib.exercises", "course_lib.timing"
    )
    assert "torch" in brought
    assert heavy & brought == set()
    assert "ipywidgets" not in packages("course_lib.plots")
