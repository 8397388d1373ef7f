"""Stands in for `course_lib` inside the grader's sandbox: every import succeeds, and nothing is there to use.

A name can be imported and passed on; calling it raises `AbsentError`. So an answer that calls the
library's own version earns nothing, and a cell that measures or draws ends there. What only shows or notes
something does nothing. The few modules that exercises tell students to use are there: see `given`.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import given


class AbsentError(RuntimeError):
    """The course's own functions are not there while answers are graded."""


class Absent:
    """A name of course_lib that can be imported, handed on and nothing else."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self._name}.{name}")

    def __call__(self, *arguments: object, **options: object) -> None:
        raise AbsentError(f"{self._name} is not there while answers are graded")

    def __repr__(self) -> str:
        return f"<{self._name}, absent while grading>"


def nothing(*arguments: object, **options: object) -> None:
    """Takes anything, does nothing."""


def first(**sizes: object) -> object:
    """`pick` at the smallest size."""
    return next(iter(sizes.values()), None)


QUIET = {
    **dict.fromkeys(("check", "ask", "score", "predict", "reveal", "show", "set_seed"), nothing),
    "pick": first,
}


class _Module(ModuleType):
    """A submodule of which every name exists."""

    __path__: list[str] = []  # noqa: RUF012 - a package, so that its submodules can be imported too

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self.__name__}.{name}"
        if own_code(full):
            return importlib.import_module(full)
        return QUIET.get(name) or Absent(full)


def own_code(name: str) -> Path | None:
    """The file of a module that is given, else None."""
    file = "/".join(name.split(".")[1:]) + ".py"
    return Path(os.environ["COURSE_GIVEN"]) / file if file in given.MODULES else None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds every module below course_lib."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        below = name.startswith("course_lib.")
        if below and (file := own_code(name)):
            return importlib.util.spec_from_file_location(name, file)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if below else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


sys.meta_path.insert(0, _Finder())


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    return importlib.import_module(f"course_lib.{name}")
