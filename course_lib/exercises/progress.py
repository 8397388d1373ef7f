"""Where a student's answers and guesses are kept: progress.json beside the notebook (or where COURSE_PROGRESS
says).

{"answers": {"08.2": {"state": "passed", "points": 3, "of": 3}},
 "predictions": {"state size": {"guesses": [4096], "unit": "numbers", "measured": 12800000}}}
Every change is written at once, to a second file that then takes the first one's place, so that a crash
leaves the old file or the new one. A file that cannot be read is set aside, a folder that cannot be written
to is said so: neither breaks a notebook.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

Data = dict[str, dict[str, dict]]
SECTIONS = ("answers", "predictions")


def path() -> Path:
    """The progress file of this kernel."""
    return Path(os.environ.get("COURSE_PROGRESS") or "progress.json")


def load() -> tuple[Data, list[str]]:
    """What is stored, and notes for the student about what went wrong on the way."""
    try:
        data = json.loads(path().read_text(encoding="utf-8"))
    except FileNotFoundError:
        data = {}
    except (OSError, ValueError, RecursionError):  # RecursionError: brackets nested without end
        data = None
    if not _is_sound(data):
        return {section: {} for section in SECTIONS}, [_set_aside()]
    return data | {section: data.get(section, {}) for section in SECTIONS}, []


def update(change: Callable[[Data], None]) -> tuple[Data, list[str]]:
    """Load, change, save; returns the changed data and notes."""
    data, notes = load()
    change(data)
    return data, notes + _save(data)


def record(id: str, state: str, points: float, of: float) -> list[str]:
    """Keep a question's latest state; returns notes."""

    def change(data: Data) -> None:
        data["answers"][id] = {"state": state, "points": points, "of": of}

    return update(change)[1]


def _is_sound(data: object) -> bool:
    if not isinstance(data, dict):
        return False
    sections = [data.get(section, {}) for section in SECTIONS]
    return all(isinstance(s, dict) and all(isinstance(entry, dict) for entry in s.values()) for s in sections)


def _set_aside() -> str:
    broken = _free_name(path())
    try:
        os.replace(path(), broken)
    except OSError:
        return f"{path().name} could not be read nor moved aside: remove it to begin a new one."
    return f"{path().name} could not be read; it is kept as {broken.name}, and a new one begins here."


def _free_name(file: Path) -> Path:
    """progress.broken.json, or the first progress.broken-2.json, -3, … that does not exist yet."""
    candidate, n = file.with_name(f"{file.stem}.broken{file.suffix}"), 1
    while candidate.exists():
        n += 1
        candidate = file.with_name(f"{file.stem}.broken-{n}{file.suffix}")
    return candidate


def _save(data: Data) -> list[str]:
    target, draft = path(), None
    try:
        handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=".tmp")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1, sort_keys=True)
            file.write("\n")
        os.replace(draft, target)
    except OSError:
        if draft is not None:
            with contextlib.suppress(OSError):
                os.unlink(draft)
        return [f"{target.name} could not be written here, so this result is not saved."]
    return []
