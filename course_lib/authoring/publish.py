"""`course publish`: stamp where the course can be fetched from, or write a tree for a class.

The student tree hides the chapter sources, the solution notebooks, the authoring and grading code, and the
tests that read any of them. It does not hide the reference answers in `course_lib/exercises`: a student's
own `check()` compares with them, on the student's machine. Whoever reads them has read an answer; marks
come from the grader, which draws other inputs and runs elsewhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from course_lib.authoring import build
from course_lib.authoring.source import BEGIN

HIDDEN = (
    "notebooks/source/",
    "course_lib/authoring/",
    "course_lib/grading/",
    "tests/grading/",
    "tests/slow/",
    "tests/unit/fixtures/",
    ".ci/",
    ".github/",
    "build/",
    "work/",
)
# The mark alone on its line, in a source or inside a notebook's JSON; prose may speak of it.
SOLUTION = re.compile(rb'^[\s"]*' + BEGIN.encode() + rb'(\\n)?[\s",]*$', re.M)
TELLTALE = ("course_lib.authoring", "course_lib.grading", "notebooks/source", BEGIN)


def stamp(root: Path, repository: str, ref: str) -> str:
    """Writes the address into course.yml, badges and set-up cells; outputs stay. Says what it did."""
    build.publish(root, repository, ref)
    return f"stamped {repository} at {ref}"


def remote(root: Path) -> str:
    """The checkout's `origin`, as OWNER/NAME when it is on GitHub; ValueError when there is none."""
    asked = subprocess.run(
        ["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise ValueError("git knows no remote `origin` here: say --repo OWNER/NAME")
    return repository_of(asked.stdout.strip())


def repository_of(url: str) -> str:
    """OWNER/NAME for a GitHub address in any of its spellings, else the address without credentials."""
    if match := re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url):
        return match[1]
    if match := re.match(r"^[\w.-]+@([\w.-]+):(.+)$", url):
        return f"ssh://{url.split('@')[0]}@{match[1]}/{match[2]}"
    return re.sub(r"^(https?://)[^/@]*@", r"\1", url)


def student_tree(root: Path, folder: Path) -> str:
    """Copies the checkout to an empty `folder` without what a class must not see. Says what it did."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder")
    shown = [path for path in tracked(root) if not hidden(root, path)]
    if telling := [path for path in shown if SOLUTION.search((root / path).read_bytes())]:
        raise ValueError(f"these files hold a solution and would be seen: {', '.join(telling)}")
    for path in shown:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, folder / path)
    return f"wrote {len(shown)} files to {folder}; no sources, solution notebooks or authoring among them"


def tracked(root: Path) -> list[str]:
    """The files that git tracks, as POSIX paths: what merely lies there (grades, drafts) is nobody's to see."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ValueError(f"--student-tree needs a git checkout: {asked.stderr.strip()}")
    return sorted({path for path in asked.stdout.split("\0") if path and (root / path).is_file()})


def hidden(root: Path, path: str) -> bool:
    """Whether a class must not see this file: by its folder, or as a test that reads solutions."""
    if path.startswith(HIDDEN):
        return True
    if not path.startswith(("tests/", "conftest")) or not path.endswith(".py"):
        return False
    return any(word in (root / path).read_text(encoding="utf-8") for word in TELLTALE)
