"""`course explore`: the widgets of the course as one web page, without the notebooks around them.

Voilà runs a notebook of one cell a widget and shows what the cells show, not their code. It serves on this machine
only, and the page may fetch from nowhere else, so it is whole where there is no internet.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.course import Course
from course_lib.widgets import EXPLORERS

INTRODUCTION = (
    "Each figure answers its controls at once; the tab key and the arrow keys move them too. The numbers are computed "
    "here, on this machine. What a figure shows, and why, is in the chapter that its heading names."
)
# Voilà's page asks another host for icons that no widget of ours has.
HEADERS = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"}

# ipywidgets writes a slider's name beside it and does not give it to the handle, which is what a screen reader reads.
NAME_SLIDERS = """
const name = () => document.querySelectorAll('.widget-slider [role=slider]:not([aria-label])').forEach(handle => {
  const label = handle.closest('.widget-slider').querySelector('.widget-label').textContent
  if (label) handle.setAttribute('aria-label', label)
})
new MutationObserver(name).observe(document.body, {childList: true, subtree: true})
name()
"""


def notebook(course: Course) -> dict[str, Any]:
    """A notebook with each chapter's widget under the chapter's title."""
    naming = f'display({{"application/javascript": {NAME_SLIDERS!r}}}, raw=True)'
    cells = [_markdown(f"# {course.title}: explore\n\n{INTRODUCTION}"), _code(naming)]
    for number in EXPLORERS:
        cells.append(_markdown(f"## {number} · {course.chapter(number).title}"))
        cells.append(_code(f'from course_lib.widgets import EXPLORERS\n\nEXPLORERS["{number}"]()'))
    for serial, cell in enumerate(cells):
        cell["id"] = f"explore-{serial}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def _code(text: str) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": text, "outputs": [], "execution_count": None}


def start(course: Course, arguments: Sequence[str]) -> int:
    """Serves the page until it is interrupted; `arguments` go to Voilà. Its exit status."""
    import voila  # noqa: F401  # so that it is missing here, with a remedy, and not in another process

    with tempfile.TemporaryDirectory(prefix="course-explore-") as folder:
        page = Path(folder) / "explore.ipynb"
        page.write_text(json.dumps(notebook(course)), encoding="utf-8")
        settings = f"--Voila.tornado_settings={{'headers': {HEADERS!r}}}"
        command = [sys.executable, "-m", "voila", str(page), "--Voila.ip=127.0.0.1", settings, *arguments]
        try:
            return subprocess.call(command, env=os.environ | {"COURSE_PROGRESS_BAR": "0"})
        except KeyboardInterrupt:
            return 0
