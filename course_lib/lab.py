"""`course lab`: the student's copies of the notebooks, and JupyterLab over them.

A copy belongs to the student as soon as it differs from the release it was made from, and is never
overwritten. `work/.release.json` keeps the hash of that release for every copy, so an untouched copy can
follow a newer release.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

RELEASE = ".release.json"
MISSING_LAB = (
    "JupyterLab is not installed. In the course's folder, run:  "
    'python -m pip install -c constraints.txt -e ".[lab]"'
)


def digest(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def update(released: Path, work: Path) -> list[str]:
    """Brings `work` up to date with the released notebooks and says what was done, one line each."""
    notebooks = sorted(released.glob("*.ipynb"))
    if not notebooks:
        raise FileNotFoundError(f"there are no notebooks in {released}; build them with `course build`")
    work.mkdir(parents=True, exist_ok=True)
    records = _records(work)
    notes = [_update_one(source, work / source.name, records) for source in notebooks]
    _write_records(work, records)
    return [note for note in notes if note]


def _update_one(source: Path, copy: Path, records: dict[str, str]) -> str:
    release = digest(source)
    if not copy.exists():
        note = f"new      {copy.name}"
    elif digest(copy) == release:
        records[copy.name] = release
        return ""
    elif digest(copy) == records.get(copy.name):
        note = f"updated  {copy.name} (you had not changed it)"
    else:
        newer = "" if records.get(copy.name) == release else _newer(copy.name)
        return f"kept     {copy.name}: your work stays as it is{newer}"
    _copy(source, copy)
    records[copy.name] = release
    return note


def _newer(name: str) -> str:
    return f"; a newer release is there, `course lab --reset {name[:2]}` takes it and keeps a backup"


def reset(released: Path, work: Path, number: str, *, ask: Callable[[str], str]) -> str:
    """Replaces one chapter's copy by the release, after asking and with a dated backup."""
    source = next((path for path in released.glob("*.ipynb") if path.name.split("_")[0] == number), None)
    if source is None:
        raise ValueError(f"there is no chapter {number!r} among the notebooks in {released.name}/")
    copy = work / source.name
    if copy.exists() and digest(copy) != digest(source):
        if not _agreed(ask, f"Replace {copy.name} by the released one? A backup is kept. [y/N] "):
            return f"kept     {copy.name}"
        backup = _back_up(copy)
        note = f"reset    {copy.name}; your version is in {backup.relative_to(work).as_posix()}"
    else:
        note = f"reset    {copy.name} (nothing of yours was in it)"
    work.mkdir(parents=True, exist_ok=True)
    _copy(source, copy)
    _write_records(work, _records(work) | {copy.name: digest(source)})
    return note


def _agreed(ask: Callable[[str], str], question: str) -> bool:
    """Silence is no consent: without a terminal the answer is no."""
    try:
        return ask(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _back_up(copy: Path) -> Path:
    folder = copy.parent / "backup"
    folder.mkdir(exist_ok=True)
    stem = f"{copy.stem}.{datetime.now():%Y-%m-%d_%H%M%S}"
    backup, serial = folder / f"{stem}.ipynb", 2
    while backup.exists():
        backup, serial = folder / f"{stem}-{serial}.ipynb", serial + 1
    shutil.copy2(copy, backup)
    return backup


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _records(work: Path) -> dict[str, str]:
    """Name → hash of the release; a file that cannot be read counts as empty, so that every copy is kept."""
    try:
        records = json.loads((work / RELEASE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return records if isinstance(records, dict) else {}


def _write_records(work: Path, records: dict[str, str]) -> None:
    temporary = work / f"{RELEASE}.{os.getpid()}"
    temporary.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, work / RELEASE)


def start(work: Path, arguments: Sequence[str]) -> int:
    """Runs JupyterLab in `work` until it ends; its exit status."""
    if importlib.util.find_spec("jupyterlab") is None:
        print(MISSING_LAB, file=sys.stderr)
        return 1
    try:
        return subprocess.call([sys.executable, "-m", "jupyterlab", *arguments], cwd=work)
    except KeyboardInterrupt:
        return 0
