"""What may stay of a cell's outputs in a stored notebook.

Kept: results, figures, text on stdout. Dropped: stderr, widget views (they are dead without a kernel, and
their state stops a forge from rendering the page), and everything a front end adds. A path of the machine
that built the notebook is an error, never silently rewritten: the cell should not print it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

WIDGET = "application/vnd.jupyter.widget-view+json"
ABSOLUTE = re.compile(
    r"(?<![\w/.:])/(?:home|root|tmp|Users|var|usr|opt|mnt)/[\w./-]+|\b[A-Za-z]:\\Users\\[^\s'\"]+"
)

BROKEN_CHECK = re.compile(r"the check itself failed; your answer is not to blame\.\s*([^\n<]*)")


def clean(cell: NotebookNode) -> None:
    """Drops from a code cell what must not be stored, in place."""
    if cell.cell_type != "code":
        return
    cell.outputs = [o for o in cell.outputs if not is_noise(o)]
    cell.metadata.pop("execution", None)


def is_noise(output: NotebookNode) -> bool:
    """Whether an output is one that no stored notebook holds."""
    if output.output_type == "stream":
        return output.name == "stderr"
    return WIDGET in output.get("data", {})


def texts(cell: NotebookNode) -> Iterator[str]:
    """Every text in a cell's outputs; images are no text."""
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join([output.ename, output.evalue, *output.traceback])
        else:
            yield from (str(v) for kind, v in output.data.items() if not kind.startswith("image/"))


def broken_check(cell: NotebookNode) -> str | None:
    """Why a question of the cell could not be asked or judged, as its output says; None when all could."""
    found = BROKEN_CHECK.search("\n".join(texts(cell)))
    return found and (found[1].strip() or "no reason is given")


def path_in_output(cell: NotebookNode, root: Path) -> str | None:
    """The first machine path in a cell's outputs, or None."""
    known = {str(root), str(Path.home()), sys.prefix, tempfile.gettempdir()} - {"/"}
    for text in texts(cell):
        if match := ABSOLUTE.search(text):
            return match[0]
        for path in sorted(known, key=len, reverse=True):
            if path in text:
                return path
    return None
