"""Submissions from a folder or a download zip: who handed in what, read without trusting any of it.

Understood are a flat folder of notebooks, a folder per student (nbgrader's too), and the zips of Canvas and
Moodle. Nothing is unpacked to disk and no link is followed; a notebook is parsed by a process of its own.
What cannot be read is kept as a problem beside its student's name, and so is a student who handed in files but
no notebook: nothing disappears.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_lib import course
from course_lib.grading.release import chapter_of

READER = Path(__file__).with_name("inside") / "reader.py"
MAX_FILE = 512 * 2**20
MAX_STUDENT = 2**30  # bytes of all notebooks of one student
MAX_NOTEBOOKS = 100  # of one student: each may take as long as the limits allow
READ_SECONDS, READ_BYTES = 120, 4 * 10**9
SYMLINK, KIND, ENCRYPTED = 0o120000, 0o170000, 0x1
GRADES = {"run.json", "seed"}  # in a folder without a notebook: what the grader itself wrote
LINK = "a link or something else that is no plain file: not read"
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
class _Entry:
    """A file as it was found: `parts` are its folders and its name, `content(n)` reads its first n bytes."""

    parts: tuple[str, ...]
    content: Callable[[int], bytes]
    problem: str = ""
    linked: bool = False  # a folder that is a link: what is behind it may have been notebooks

    @property
    def file(self) -> str:
        """Its place inside the collection."""
        return "/".join(self.parts)

    @property
    def is_notebook(self) -> bool:
        """By its name; whether it is one shows when it is read."""
        return self.linked or self.parts[-1].lower().endswith(".ipynb")

    @property
    def hidden(self) -> bool:
        """.ipynb_checkpoints, the ._names of macOS, and the like."""
        return any(part.startswith(".") for part in self.parts)


def collect(place: Path) -> Iterator[Submission]:
    """Every submission in a folder or a zip, in the order of the names."""
    if not place.exists():
        raise ValueError(
            f"{place} does not exist: a folder of submissions is expected, or the zip of a download"
        )
    if place.is_dir():
        yield from _submissions(_in_folder(place), place.name)
        return
    try:
        with zipfile.ZipFile(place) as archive:
            yield from _submissions(_in_zip(archive), place.stem)
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ValueError(f"{place} is neither a folder of submissions nor a whole zip of them") from error


def _submissions(entries: Sequence[_Entry], collection: str) -> Iterator[Submission]:
    """The notebooks among the files, each with its student; then the students who have files but no notebook."""
    top = _shared_folder([entry.parts for entry in entries], collection)
    taken: dict[tuple[str, str], list[int]] = {}  # bytes of each notebook that was read, by student
    others: dict[tuple[str, str], list[_Entry]] = {}
    for entry in entries:
        who = whose(entry.parts[top:])
        if not entry.is_notebook:
            others.setdefault(who, []).append(entry)
            continue
        sizes = taken.setdefault(who, [])
        data, problem = _content(entry, MAX_STUDENT - sum(sizes), MAX_NOTEBOOKS - len(sizes))
        sizes.append(len(data))
        yield read(*who, entry.file, data, problem)
    for who in sorted(others.keys() - taken.keys()):
        entries = [entry for entry in others[who] if _is_somebodys(entry.parts[top:])]
        if entries and not GRADES & {entry.parts[-1] for entry in entries}:
            names = ", ".join(entry.parts[-1] for entry in entries[:3]) + (", …" if len(entries) > 3 else "")
            yield read(*who, entries[0].file, b"", f"no notebook was handed in, but {names}")


def _content(entry: _Entry, left: int, more: int) -> tuple[bytes, str]:
    """(bytes, problem) of a notebook whose student may still hand in `left` bytes and `more` notebooks."""
    if entry.problem:
        return b"", entry.problem
    if more <= 0:
        return b"", f"more than {MAX_NOTEBOOKS} notebooks of one student: not read"
    limit = min(MAX_FILE, left)
    try:
        data = entry.content(limit + 1)  # what it really holds, whatever a zip says
    except Exception as error:  # noqa: BLE001 - whatever a broken disk or zip can raise costs this file alone
        return b"", f"cannot be read: {type(error).__name__}"
    if len(data) <= limit:
        return data, ""
    if limit < MAX_FILE:
        return b"", f"the student's notebooks are larger than {_mib(MAX_STUDENT)} together: not read"
    return b"", f"larger than {_mib(MAX_FILE)}: not read"


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:g} MiB"


def _shared_folder(places: Sequence[tuple[str, ...]], collection: str) -> int:
    """1 where everything lies in one folder that is no student's, else 0: nbgrader's `submitted`, the folder that a
    zip was made of, or one that holds several folders.
    """
    tops = {parts[0] for parts in places}
    if len(tops) != 1 or any(len(parts) == 1 for parts in places) or MOODLE.fullmatch(min(tops)):
        return 0
    below = {whose(parts[1:]) for parts in places}
    several = len(below) > 1 and all(_is_somebodys(parts[1:]) for parts in places)
    return int(several or min(tops) in ("submitted", collection))


def _is_somebodys(parts: tuple[str, ...]) -> bool:
    """Whether a file lies in a folder of its student's, or has the name that Canvas gives: a file beside the
    notebooks of a flat folder may be the teacher's.
    """
    return len(parts) > 1 or CANVAS.fullmatch(parts[0]) is not None


def whose(parts: tuple[str, ...]) -> tuple[str, str]:
    """(student, platform's id) from where a file lies: its folder, Canvas's name, or its own name.

    Only the outermost folder counts: what is inside it the student has named.
    """
    if len(parts) > 1:
        match = MOODLE.fullmatch(parts[0])
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
    if not problem and not sources:
        problem = "it has no code cells"
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
    return tuple(map(_writable, result.get("sources", ()))), result.get("problem", "")


def _writable(text: str) -> str:
    """Text without lone surrogates, which JSON can hold and no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


# Where the files are


def _in_folder(folder: Path) -> list[_Entry]:
    return sorted((_file(path, folder) for path in _walk(folder)), key=lambda entry: entry.parts)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]  # .ipynb_checkpoints above all
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        yield from (Path(root) / name for name in [*files, *links] if not name.startswith("."))


def _file(path: Path, folder: Path) -> _Entry:
    parts = tuple(map(readable, path.relative_to(folder).parts))
    plain = path.is_file() and not path.is_symlink()
    return _Entry(parts, lambda count: _start(path, count), "" if plain else LINK, linked=path.is_dir())


def _start(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def readable(name: str) -> str:
    """A file's name as text that a table can hold. Bytes that are no UTF-8 are spelled out, so that two names
    stay two.
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _in_zip(archive: zipfile.ZipFile) -> list[_Entry]:
    found = [_member(archive, member) for member in archive.infolist() if not member.is_dir()]
    return sorted((entry for entry in found if not entry.hidden), key=lambda entry: entry.parts)


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Entry:
    parts = PurePosixPath(readable(member.filename).replace("\\", "/")).parts
    safe = tuple(part for part in parts if part not in ("..", "/"))
    return _Entry(
        safe or ("unnamed",), lambda count: _unpacked(archive, member, count), _fault(member, safe != parts)
    )


def _fault(member: zipfile.ZipInfo, leads_out: bool) -> str:
    """Why a member of a zip is not read at all."""
    if leads_out:
        return "its name in the zip leads out of the zip: not read"
    if (member.external_attr >> 16) & KIND == SYMLINK:
        return LINK
    if member.flag_bits & ENCRYPTED:
        return "it is encrypted: not read"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "it is packed in a way that no learning platform uses: not read"
    return ""


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo, count: int) -> bytes:
    with archive.open(member) as stream:
        return stream.read(count)
