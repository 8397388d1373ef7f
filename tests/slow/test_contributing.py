"""The examples of CONTRIBUTING.md, followed word for word in a copy of the checkout.

A `sh` block is run by bash and a `python` block by Python; the file that the line above a block names gets a
`python` block's text, or has the old lines of a `diff` block replaced by the new ones. A further `diff` block without a
name of its own is for the same file.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from course_lib.attention import REGISTRY
from course_lib.authoring import publish

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:[^\n]*`(?P<path>[^`\n]+/[^`\n]+)`:\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One step: its kind, the file it is for (none for what is run), and its text."""

    kind: str
    path: str | None
    text: str


def blocks(section: str) -> list[Block]:
    """The steps of a section, in order."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (body,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    found, path = [], None
    for match in BLOCK.finditer(body):
        path = match["path"] or (path if match["kind"] == "diff" else None)
        found.append(Block(match["kind"], path, match["text"]))
    return found


def follow(root: Path, section: str) -> str:
    """Does what a section says; returns what its commands printed."""
    return "".join(_step(root, block) for block in blocks(section))


def _step(root: Path, block: Block) -> str:
    if block.kind == "diff":
        return _change(root / block.path, block.text)
    if block.path:
        assert not (root / block.path).exists(), f"{block.path} is there already"
        (root / block.path).write_text(block.text, encoding="utf-8")
        return ""
    return _run(root, ["bash", "-e", "-c"] if block.kind == "sh" else [sys.executable, "-c"], block.text)


def _change(path: Path, diff: str) -> str:
    rows = [(row[:1] or " ", row[1:]) for row in diff.splitlines()]
    old = "".join(f"{text}\n" for mark, text in rows if mark in " -")
    new = "".join(f"{text}\n" for mark, text in rows if mark in " +")
    whole = path.read_text(encoding="utf-8")
    assert whole.count(f"\n{old}") == 1, f"{path.name} should hold these lines once:\n{old}"
    path.write_text(whole.replace(f"\n{old}", f"\n{new}"), encoding="utf-8")
    return ""


def _run(root: Path, shell: list[str], text: str) -> str:
    """The course of the copy, whatever is installed; pytest inside knows nothing of the one outside."""
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "COURSE_PROGRESS"))
    }
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    done = subprocess.run(
        [*shell, text],
        cwd=root,
        env=env | {"PYTHONPATH": str(root), "COURSE_SIZE": "ci"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


@pytest.fixture
def copy(tmp_path) -> Path:
    """The files of this checkout that git tracks, as they are now."""
    for path in publish.tracked(ROOT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, tmp_path / path)
    return tmp_path


def test_a_chapter_and_a_question_in_it(copy):
    before = (copy / "notebooks" / "course.yml").read_text(encoding="utf-8")
    said = follow(copy, "A chapter")
    assert "90_fading-memory (solution): executed" in said
    assert "the notebooks agree with their sources" in said
    assert (copy / "notebooks" / "course.yml").read_text(encoding="utf-8").startswith(before.rstrip())
    _run(copy, ["bash", "-e", "-c"], "ruff check .; ruff format --check .")
    said = follow(copy, "A question")
    assert "90_fading-memory (solution): executed" in said
    assert int(re.findall(r"(\d+) passed", said)[-1]) > 20
    assert 'check(\\"90.4\\", half_life)' in (copy / "notebooks" / "90_fading-memory.ipynb").read_text(
        "utf-8"
    )
    _run(copy, ["bash", "-e", "-c"], "ruff check .; ruff format --check .")


def test_a_mixer(copy):
    rows, forms = re.findall(r"(\d+) passed", follow(copy, "A mixer"))
    assert int(rows) > 45
    assert int(forms) > 12
    _run(copy, ["bash", "-e", "-c"], "ruff format --check course_lib tests")
    assert "rfa_gate" in _run(
        copy, [sys.executable, "-c"], "from course_lib.attention import table; print(table())"
    )


def test_a_measured_machine(copy):
    said = follow(copy, "A measured machine")
    files = sorted((copy / "build" / "first-look").iterdir())
    assert [path.suffix for path in files] == [".csv", ".json"]
    name = files[0].stem
    curves = int(re.search(rf"^{name}: (\d+) curves on .+, 1 thread, torch", said, re.M)[1])
    assert curves == 12 * len(REGISTRY)
    for path in files:  # where `course bench` writes by itself
        path.replace(copy / "data" / "measurements" / path.name)
    known = f"from course_lib.timing import recorded; print(len(recorded({name!r}).names))"
    assert _run(copy, [sys.executable, "-c"], known).strip() == str(curves)


@pytest.mark.parametrize("section", ["A chapter", "A question", "A mixer", "A measured machine"])
def test_every_example_has_steps(section):
    kinds = [block.kind for block in blocks(section)]
    assert "sh" in kinds
    assert set(kinds) <= {"sh", "python", "diff"}


def test_a_line_that_is_not_there_is_said(tmp_path):
    (tmp_path / "a.py").write_text("first\nsecond\n")
    with pytest.raises(AssertionError, match="should hold these lines once"):
        _change(tmp_path / "a.py", "+new\n third\n")
    _change(tmp_path / "a.py", "+new\n second\n")
    assert (tmp_path / "a.py").read_text() == "first\nnew\nsecond\n"


def test_a_commit_is_held_to_what_ci_runs_with_the_tools_that_are_here():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (local,) = yaml.safe_load(text)["repos"]
    assert "://" not in text
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    entries = [hook["entry"].removesuffix(" --force-exclude") for hook in local["hooks"]]
    assert entries == ["ruff check", "ruff format --check", "course build --check"]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace('"$bin/', "").replace('"', "")
    assert all(f"\n{entry}" in ci for entry in entries)
