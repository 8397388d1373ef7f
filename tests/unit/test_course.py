"""The course's own graph: complete, consistent with course.yml, and readable without torch or YAML."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from course_lib import course
from course_lib.authoring import graph

ROOT = Path(__file__).parents[2]
CORE = ["00", "01", "04", "08", "10", "11", "14", "15", "16", "18"]
SYSTEMS = sorted([*CORE, "02", "03", "05", "13", "20"])
STARS = ["01", "05", "06", "08", "15", "16", "17", "18", "19"]


def numbers(predicate) -> list[str]:
    return [c.number for c in course.load().chapters if predicate(c)]


def test_every_chapter_of_the_curriculum_is_there_in_order():
    """A chapter of your own comes after them, or between them with a number of its own."""
    assert [f"{i:02}" for i in range(22)] == numbers(lambda c: c.number < "22")
    assert numbers(lambda c: True) == sorted(set(numbers(lambda c: True)))


def test_the_graph_has_no_faults():
    assert list(graph.graph_faults(course.load())) == []


def test_json_is_the_copy_of_yaml():
    text = (ROOT / "notebooks" / "course.yml").read_text(encoding="utf-8")
    copy = (ROOT / "course_lib" / "course.json").read_text(encoding="utf-8")
    assert json.loads(copy) == yaml.safe_load(text)


def test_tracks_and_stars_are_those_of_the_curriculum():
    assert numbers(lambda c: "core" in c.tracks) == CORE
    assert numbers(lambda c: "systems" in c.tracks) == SYSTEMS
    assert numbers(lambda c: "complete" in c.tracks) == numbers(lambda c: True)
    assert numbers(lambda c: c.star) == STARS


def test_learn_after_is_the_inverse_of_learn_before():
    known = course.load()
    before = {(a, c.number) for c in known.chapters for a in c.learn_before}
    after = {(c.number, b) for c in known.chapters for b in known.learn_after(c.number)}
    assert before == after
    assert known.learn_after("01")["08"] == known.chapter("08").learn_before["01"]


def test_prerequisites_are_those_of_the_curriculum():
    known = course.load()
    assert list(known.chapter("08").learn_before) == ["01", "04"]
    assert list(known.chapter("21").learn_before) == ["14", "17", "18", "19"]


def test_names_of_files_and_modules():
    chapter = course.load().chapter("08")
    assert (chapter.name, chapter.notebook) == ("08_linear-attention", "08_linear-attention.ipynb")
    assert chapter.module == "linear_attention"


def test_an_unknown_chapter_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no chapter '99'.*00, 01"):
        course.load().chapter("99")
    with pytest.raises(ValueError, match="no chapter '99'"):
        course.load().learn_after("99")


def test_reading_the_course_imports_neither_torch_nor_yaml():
    program = (
        "import sys; from course_lib import course; course.load(); "
        "print([m for m in ('torch', 'yaml', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
