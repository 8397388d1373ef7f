"""What was handed out: the name that answers each question, the cells that need not run, a teacher's own questions."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
from handed_in import notebook_bytes, released_cells

from course_lib import course
from course_lib.exercises import start_here
from course_lib.grading import release as module
from course_lib.grading.release import chapter_of, check_private, checked, defined, release

READY = [chapter.number for chapter in course.load().ready]
OWN = """
from .question import Case, CodeQuestion, Shapes
from .start_here import mean_reference, values

QUESTIONS = [
    CodeQuestion(
        id="00.9", objective="use-check", title="Mine", points=2, minutes=1, difficulty=1,
        inputs=values, reference=mean_reference, visible=[Case("a", T=4, V=2)], hidden=[Shapes(2)],
    )
]
"""


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A teacher's folder with one question beside the course's, and the notebook that asks it."""
    (tmp_path / "start_here.py").write_text(OWN)
    cells = [*released_cells(), 'def my_mean(v):\n    raise NotImplementedError\n\n\ncheck("00.9", my_mean)']
    (tmp_path / "00_start-here.ipynb").write_bytes(notebook_bytes(cells))
    return tmp_path


@pytest.mark.parametrize("number", READY)
def test_every_question_of_every_chapter_has_a_name_of_its_own(number):
    released = release(number)
    assert list(released.names) == [question.id for question in released.questions]
    assert len(set(released.names.values())) == len(released.names)


@pytest.mark.parametrize("number", READY)
def test_untouched_stubs_and_cells_that_measure_are_skipped_and_no_answer_is(number):
    released = release(number)
    for source in released_cells(number):
        if list(checked(source)):
            assert released.skips(source)
            assert released.skips(f"\n{source}  \n")  # outer white space changes nothing
            assert not released.skips(source + "\nx = 1")
    assert released.idle
    assert not any(released.skips(f"{name} = 1") for name in released.names.values())


def test_cells_that_define_what_later_ones_need_are_run():
    released, kept = release("00"), ["import torch", "values = torch.tensor"]
    for start in kept:
        (source,) = [source for source in released_cells() if source.startswith(start)]
        assert not released.skips(source)


def test_a_chapter_is_known_by_every_one_of_its_notebooks():
    for number in READY:
        assert chapter_of(released_cells(number)) == number
        assert chapter_of([f"{name} = 1" for name in release(number).names.values()]) == number


# ---- cells that are no plain Python -------------------------------------------------------------

ANSWER = 'def f(x):\n    return x\n\ncheck("08.2", f)'


@pytest.mark.parametrize(
    "magic",
    ["%%time\n", "%matplotlib inline\n", "!pip list\n", "files = !ls\n", "t = %time 1\n", "?print\n"],
)
def test_magics_hide_nothing(magic):
    assert "f" in defined(magic + ANSWER)
    assert list(checked(magic + ANSWER)) == [("08.2", "f")]


def test_a_magic_may_be_all_that_a_block_holds():
    assert "f" in defined("if True:\n    !ls\n" + ANSWER)


def test_a_row_that_only_looks_like_magic_is_code():
    assert defined("rest = (7\n    % 4)\nx = 1") == {"rest", "x"}


@pytest.mark.parametrize("source", ["def f(:\n", "x = = 1", "\0", "f(" * 500, "'\ud800"])
def test_what_is_no_python_has_no_names_and_stops_nothing(source):
    assert defined(source) == set()
    assert list(checked(source)) == []


def test_a_students_odd_strings_warn_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert defined("x = '\\d'") == {"x"}


def test_only_calls_of_check_on_a_name_count():
    assert list(checked("check('08.2', 3)\ncheck('8', f)\ncheck(f, '08.2')\nx.check('08.2', f)")) == []
    assert list(checked("if 1:\n    check('08.2', f)")) == [("08.2", "f")]


# ---- a teacher's own questions ------------------------------------------------------------------


def test_private_questions_come_after_the_courses(private):
    released = release("00", private)
    assert [question.id for question in released.questions] == ["00.1", "00.2", "00.3", "00.9"]
    assert released.names["00.9"] == "my_mean"
    assert released.skips('def my_mean(v):\n    raise NotImplementedError\n\n\ncheck("00.9", my_mean)')
    assert [question.id for question in release("00").questions] == ["00.1", "00.2", "00.3"]
    check_private(private)


def test_a_private_question_takes_the_place_of_the_courses(tmp_path):
    (tmp_path / "start_here.py").write_text(OWN.replace("00.9", "00.1"))
    titles = [question.title for question in release("00", tmp_path).questions]
    assert titles == ["Mine", *(question.title for question in start_here.QUESTIONS[1:])]


def test_a_copy_of_a_courses_module_is_a_private_module(tmp_path):
    shutil.copy(start_here.__file__, tmp_path)
    assert len(release("00", tmp_path).questions) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "start_here.py: SyntaxError"),
        ("import no_such_thing", "no_such_thing"),
        ("", "QUESTIONS"),
        (OWN.replace("00.9", "08.9"), "does not belong to chapter 00"),
        (
            OWN.replace("hidden=[Shapes(2)],", "").replace("=values", "=lambda case, rng: (case.T,)"),
            "00.9 has no case",
        ),
    ],
)
def test_a_private_folder_that_cannot_be_used_is_refused_before_grading(tmp_path, text, words):
    (tmp_path / "start_here.py").write_text(text)
    with pytest.raises(ValueError, match=words):
        check_private(tmp_path)


def test_a_private_folder_with_nothing_in_it_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=r"start_here\.py is expected"):
            check_private(place)


def test_names_come_from_the_released_notebook_alone(tmp_path, monkeypatch):
    notebook = tmp_path / "00_start-here.ipynb"
    notebook.write_bytes(notebook_bytes(['check("00.1", something_else)']))
    monkeypatch.setattr(module.course, "notebooks_folder", lambda: tmp_path)
    release.cache_clear()
    assert release("00").names == {"00.1": "something_else"}
    release.cache_clear()
