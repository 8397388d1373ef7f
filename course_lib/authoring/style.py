"""The code cells of a chapter source, formatted as ruff formats a notebook.

Notebooks are generated, so a formatter must work on the source: its cells are put into one temporary
notebook, ruff formats that, and the lines go back between their fences. Solutions are formatted with the
cell they stand in.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from course_lib.authoring import source


def formatted(root: Path, text: str) -> str:
    """The source with its code cells formatted by the rules in the checkout's pyproject.toml."""
    rows, spans = text.splitlines(), source.code_spans(text)
    cells = ["\n".join(rows[first - 1 : last]) for first, last in spans]
    for (first, last), cell in zip(reversed(spans), reversed(_ruff(root, cells)), strict=True):
        rows[first - 1 : last] = cell.splitlines()
    return "\n".join(rows) + "\n"


def style_faults(root: Path, path: str, text: str) -> Iterator[str]:
    """The first cell that is not formatted, or is no Python, with its line."""
    if broken := list(syntax_faults(path, text)):
        yield from broken
        return
    rows = zip(text.splitlines(), formatted(root, text).splitlines(), strict=False)
    for number, (old, new) in enumerate(rows, 1):
        if old != new:
            yield f"{path}:{number}: the code is not formatted; run `course build --format`"
            return


def syntax_faults(path: str, text: str) -> Iterator[str]:
    """Each cell that Python cannot read, with its line. IPython's magics are no Python, and pass."""
    rows = text.splitlines()
    for first, last in source.code_spans(text):
        code = TransformerManager().transform_cell("\n".join(rows[first - 1 : last]))
        try:
            ast.parse(code)
        except SyntaxError as error:
            yield f"{path}:{first + (error.lineno or 1) - 1}: {error.msg}"


def _ruff(root: Path, cells: list[str]) -> list[str]:
    """The cells as ruff formats them; ValueError with its message when one is no Python."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=source.notebook_metadata()
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.ipynb"
        nbformat.write(notebook, path)
        command = [
            sys.executable,
            "-m",
            "ruff",
            "format",
            "--quiet",
            "--config",
            str(root / "pyproject.toml"),
        ]
        done = subprocess.run([*command, path.name], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"ruff cannot format a cell: {done.stderr.strip()}")
        return [cell.source for cell in nbformat.read(path, as_version=4).cells]
