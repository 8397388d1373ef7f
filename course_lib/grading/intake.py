"""Submissions from a folder or a download zip: who handed in what, read without trusting any of it.

Understood are a flat folder of notebooks, a folder per student (nbgrader's too), and the zips of Canvas and
Moodle. Nothing is unpacked to disk and no link is followed; a notebook is parsed by a process of its own.
What cannot be read is kept as a problem beside its student's name: nothing disappears.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_lib import course
from course_lib.grading.release import chapter_of

READER = Path(__file__).with_name("inside") / "reader.py"
MAX_FILE = 512 * 2**20
MAX_ZIP = 8 * 2**30  # bytes of all members together
READ_SECONDS, READ_BYTES = 120, 4 * 10**9
SYMLINK, KIND = 0o120000, 0o170000
CANVAS = re.compile(r"(?P<student>[^_]+)_(?:LATE_)?(?P<id>\d+)_(?P<submission>\d+)_(?P<file>.+)")
MOODLE = re.compile(r"(?P<student>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?")


@dataclass(frozen=True)
class Submission:
    """One notebook of one student. `sources` are its code cells; `problem` says why there are none."""

    student: str
    id: str  # the learning platform's own, where its zip says it
    file: str
    sha256: str
    chapter: str | None
    sources: tuple[str, ...]
    problem: str = ""

    @property
    def key(self) -> str:
        """Names its result: the same file of the same student is the same work."""
        who = hashlib.sha256(f"{self.student}\0{self.file}".encode()).hexdigest()[:12]
        return f"{who}-{self.sha256[:12]}"


@dataclass(frozen=True)
class _File:
    """A file as it was found: `parts` are its folders and its name inside the collection."""

    parts: tuple[str, ...]
    data: bytes = b""
    problem: str = ""


def collect(place: Path) -> Iterator[Submission]:
    """Every submission in a folder or a zip, in the order of the names."""
    if place.is_file() and not zipfile.is_zipfile(place):
        raise ValueError(f"{place} is neither a folder of submissions nor a zip of them")
    if not place.exists():
        raise ValueError(
            f"{place} does not exist: a folder of submissions is expected, or the zip of a download"
        )
    for file in _from_zip(place) if place.is_file() else _from_folder(place):
        student, id = whose(file.parts)
        yield read(student, id, "/".join(file.parts), file.data, file.problem)


def whose(parts: tuple[str, ...]) -> tuple[str, str]:
    """(student, platform's id) from where a file lies: its folder, Moodle's or Canvas's name, or its own name."""
    if len(parts) > 1:
        match = MOODLE.fullmatch(parts[-2]) or MOODLE.fullmatch(parts[0])
        return (match["student"], match["id"]) if match else (parts[0], "")
    if match := CANVAS.fullmatch(parts[0]):
        return match["student"], match["id"]
    stem = PurePosixPath(parts[0]).stem
    for chapter in course.load().chapters:  # alice_08_linear-attention, 08_linear-attention-alice
        stem = stem.replace(chapter.name, "")
    return stem.strip(" _-.") or PurePosixPath(parts[0]).stem, ""


def read(student: str, id: str, file: str, data: bytes, problem: str = "") -> Submission:
    """A submission from its bytes, parsed elsewhere."""
    sources: tuple[str, ...] = ()
    if not problem:
        sources, problem = _sources(data)
    chapter = chapter_of(sources) if sources else None
    if not problem and chapter is None:
        problem = "no chapter of the course is recognised in it: no question's id, and no answer's name"
    return Submission(student, id, file, hashlib.sha256(data).hexdigest(), chapter, sources, problem)


def _sources(data: bytes) -> tuple[tuple[str, ...], str]:
    command = [sys.executable, "-I", "-B", str(READER), str(READ_SECONDS), str(READ_BYTES)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=4 * READ_SECONDS, check=False)
        result = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):  # killed by its limits, it printed nothing
        return (), "the file takes too much time or memory to read"
    return tuple(result.get("sources", ())), result.get("problem", "")


# Where the files are


def _from_folder(folder: Path) -> Iterator[_File]:
    for path in sorted(_walk(folder)):
        parts = path.relative_to(folder).parts
        if path.is_symlink() or not path.is_file():
            yield _File(parts, problem="a link or something else that is no plain file: not read")
        elif path.stat().st_size > MAX_FILE:
            yield _File(parts, problem=f"larger than {MAX_FILE // 2**20} MiB: not read")
        else:
            yield _File(parts, path.read_bytes())


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]  # .ipynb_checkpoints above all
        yield from (
            Path(root) / name for name in files if name.endswith(".ipynb") and not name.startswith(".")
        )


def _from_zip(path: Path) -> Iterator[_File]:
    with zipfile.ZipFile(path) as archive:
        left = MAX_ZIP
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            parts = PurePosixPath(member.filename.replace("\\", "/")).parts
            hidden = any(part.startswith(".") and part != ".." for part in parts)
            if member.is_dir() or hidden or not member.filename.endswith(".ipynb"):
                continue
            file = _member(archive, member, parts, left)
            left -= len(file.data)
            yield file


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, parts: tuple[str, ...], left: int) -> _File:
    safe = tuple(part for part in parts if part not in ("..", "/"))
    if safe != parts:
        return _File(safe, problem="its name in the zip leads out of the zip: not read")
    if (member.external_attr >> 16) & KIND == SYMLINK:
        return _File(parts, problem="a link or something else that is no plain file: not read")
    try:
        with archive.open(member) as stream:
            data = stream.read(min(MAX_FILE, left) + 1)  # what it really holds, whatever the zip says
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        return _File(parts, problem=f"cannot be unpacked: {type(error).__name__}")
    if len(data) > min(MAX_FILE, left):
        return _File(parts, problem=f"unpacks to more than {min(MAX_FILE, left) // 2**20} MiB: not read")
    return _File(parts, data)
