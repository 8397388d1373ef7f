"""`course new chapter`: what it writes into the tiny course, what it refuses, and that it writes all or nothing.

That its chapter passes every check is shown in a copy of the real course: tests/slow/test_contributing.py.
"""

import os
from pathlib import Path

import pytest

from course_lib import cli, course
from course_lib.authoring import build, check, graph, new

WHY = 'a "total" is where it starts: 1 + 1'


def tree(root: Path) -> dict[str, str]:
    return {
        p.relative_to(root).as_posix(): p.read_text()
        for p in root.rglob("*")
        if p.suffix != ".pyc" and p.is_file()
    }


def yml(root: Path) -> str:
    return (root / "notebooks" / "course.yml").read_text()


def test_a_new_chapter_comes_last_and_the_text_before_it_stays(built):
    before, old = yml(built), graph.load(built)
    new.chapter(built, "fading-memory")
    assert yml(built).startswith(before.rstrip())
    known = graph.load(built)
    assert known.chapters[:-1] == old.chapters
    chapter = known.chapter("02")
    assert (chapter.slug, chapter.title, chapter.part) == ("fading-memory", "Fading memory", "I")
    assert (chapter.ready, chapter.star, chapter.tracks) == (True, False, ("core",))
    assert chapter.learn_before == {"00": new.FIRST_STEPS}


def test_what_is_asked_for_is_taken(built):
    new.chapter(built, "short", number="07", title='Short: "a" & b', part="I", learn_before={"01": WHY})
    chapter = graph.load(built).chapter("07")
    assert (chapter.title, chapter.learn_before) == ('Short: "a" & b', {"01": WHY})


def test_a_number_in_between_stands_in_between(built):
    new.chapter(built, "last", number="07")
    before = yml(built)
    new.chapter(built, "between", number="05")
    assert [c.number for c in graph.load(built).chapters] == ["00", "01", "05", "07"]
    head, tail = before.split('  - number: "07"')
    assert yml(built).startswith(head)
    assert yml(built).endswith(tail)


def test_source_and_questions_bear_the_number(built):
    new.chapter(built, "fading-memory")
    source = (built / "notebooks/source/02_fading-memory.md").read_text()
    questions = (built / "course_lib/exercises/fading_memory.py").read_text()
    assert 'check("02.1", fading_memory)' in source
    assert 'id="02.1"' in questions
    assert new.PLACE not in source + questions


def test_the_pages_around_it_are_renewed(built):
    """Its prerequisite's footer, course.json and the README: only its own notebook is left to be built."""
    new.chapter(built, "fading-memory", learn_before={"00": WHY})
    faults, notes = check.check(built, ["00"])
    assert (len(faults), notes) == (2, [])
    assert all("broken link" in fault and "02_fading-memory.ipynb" in fault for fault in faults)
    assert "| 02 | [Fading memory]" in (built / "README.md").read_text()
    assert WHY in build.read_notebook(built / "notebooks" / "00_first-steps.ipynb").cells[-1].source


@pytest.mark.parametrize(
    ("slug", "options", "message"),
    [
        ("first-steps", {}, "chapter 00 has the slug 'first-steps' already; it is ready"),
        ("next-steps", {}, "chapter 01 has the slug 'next-steps' already; it is planned"),
        ("Fading_Memory", {}, "the slug is 'Fading_Memory'"),
        ("../up", {}, "the slug is '../up'"),
        ("lambda", {}, "the slug is 'lambda'"),
        ("mine", {"number": "00"}, "chapter 00 is there twice"),
        ("mine", {"number": "2"}, "the number is '2'"),
        ("mine", {"number": '2"'}, "the number is '2\"'"),
        ("mine", {"part": "IX"}, "unknown part 'IX'"),
        ("mine", {"learn_before": {"09": "why"}}, "unknown prerequisite '09'"),
        ("mine", {"learn_before": {"00": " "}}, "no reason given for prerequisite 00"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(built, slug, options, message):
    before = tree(built)
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        new.chapter(built, slug, **options)
    assert tree(built) == before


@pytest.mark.parametrize(
    "path", ["notebooks/source/02_mine.md", "notebooks/02_mine.ipynb", "course_lib/exercises/mine.py"]
)
def test_a_file_that_exists_is_never_overwritten(built, path):
    (built / path).write_text("somebody's")
    before = tree(built)
    with pytest.raises(ValueError, match=f"{path} exists already"):
        new.chapter(built, "mine")
    assert tree(built) == before


@pytest.mark.parametrize("failing", ["02_mine.md", "mine.py", "course.yml"])
def test_an_error_on_the_way_leaves_nothing_behind(built, monkeypatch, failing):
    before, replace = tree(built), os.replace

    def full(source, target):
        if Path(target).name == failing:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(build.os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        new.chapter(built, "mine")
    assert tree(built) == before


def test_from_the_command_line(built, monkeypatch, capsys):
    monkeypatch.setattr(course, "checkout", lambda: built)
    assert cli.main(["new", "chapter", "mine", "--title", "Mine", "--learn-before", "01", WHY]) == 0
    assert graph.load(built).chapter("02").learn_before == {"01": WHY}
    assert "next: course build 02" in capsys.readouterr().out
    assert cli.main(["new", "chapter", "mine"]) == 1
    assert "already; it is ready" in capsys.readouterr().err
