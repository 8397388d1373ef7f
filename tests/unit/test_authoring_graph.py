"""Faults of the concept graph, and the words made from it."""

from dataclasses import replace

import pytest

from course_lib.authoring import graph
from course_lib.course import Course, from_dict


@pytest.fixture
def course(tiny) -> Course:
    return from_dict(graph.read(tiny))


def spoilt(course: Course, number: str, /, **changes) -> Course:
    chapters = [replace(c, **changes) if c.number == number else c for c in course.chapters]
    return replace(course, chapters=tuple(chapters))


def test_the_fixture_has_no_faults(course):
    assert list(graph.graph_faults(course)) == []


@pytest.mark.parametrize(
    ("number", "changes", "fault"),
    [
        ("00", {"learn_before": {"01": "why"}}, "form a cycle: 00 → 01 → 00|form a cycle: 01 → 00 → 01"),
        ("01", {"learn_before": {"07": "why"}}, "chapter 01: unknown prerequisite '07'"),
        ("01", {"learn_before": {"00": " "}}, "chapter 01: no reason given for prerequisite 00"),
        ("01", {"number": "00"}, "chapter 00 is there twice"),
        ("00", {"part": "IX"}, "chapter 00: unknown part 'IX'"),
        ("00", {"status": "done"}, "status is 'done'"),
        ("00", {"tracks": ("core", "fast")}, "unknown track fast"),
        ("00", {"objectives": ()}, "0 objectives"),
    ],
)
def test_every_fault_is_named(course, number, changes, fault):
    found = list(graph.graph_faults(spoilt(course, number, **changes)))
    assert any(part in text for text in found for part in fault.split("|")), found


def test_an_order_that_is_not_topological(course):
    reversed_course = replace(course, chapters=course.chapters[::-1])
    assert list(graph.graph_faults(reversed_course)) == [
        "chapter 01 stands before its prerequisite 00: no topological order"
    ]


def test_load_refuses_a_faulty_graph(tiny):
    path = tiny / "notebooks" / "course.yml"
    path.write_text(path.read_text().replace('"00": doubling', '"09": doubling'))
    with pytest.raises(ValueError, match="unknown prerequisite '09'"):
        graph.load(tiny)


def test_header_says_what_the_chapter_needs_and_gives(course):
    text = graph.header(course, course.chapter("01"))
    assert text.startswith("# 01 · Next steps\n")
    assert "*Part I · The only part · about 5 minutes*" in text
    assert "- [00 First steps](00_first-steps.ipynb): doubling is the step that is repeated here" in text
    assert "- repeat a step" in text
    assert "★" in graph.header(course, course.chapter("00"))


def test_footer_is_the_inverse(course):
    text = graph.footer(course, course.chapter("00"))
    assert "- 01 Next steps (planned): doubling is the step that is repeated here" in text
    assert "last chapter" in graph.footer(course, course.chapter("01"))


def test_badges_only_for_a_github_address(course):
    chapter = course.chapter("00")
    assert "colab" not in graph.header(course, chapter)
    published = graph.header(replace(course, repository="who/what", ref="v1"), chapter)
    assert "github/who/what/blob/v1/notebooks/00_first-steps.ipynb" in published
    assert "mybinder.org/v2/gh/who/what/v1" in published
    assert "colab" not in graph.header(replace(course, repository="file:///srv/x"), chapter)


def test_the_readme_table_is_put_between_its_marks(course):
    readme = "before\n<!-- chapters:begin -->\nold\n<!-- chapters:end -->\nafter\n"
    once = graph.with_table(readme, course)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert "| 00 ★ | [First steps](notebooks/00_first-steps.ipynb) | I | 5 | – | ready |" in once
    assert graph.with_table(once, course) == once


def test_a_readme_without_marks_is_refused(course):
    with pytest.raises(ValueError, match="chapters:begin"):
        graph.with_table("no marks", course)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title:", "title: [", r"notebooks/course.yml:\d+: "),
        ("minutes:", "minuten:", "chapter 00: minutes is missing"),
    ],
)
def test_a_course_that_cannot_be_read_says_where(tiny, old, new, said):
    path = tiny / "notebooks/course.yml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=said):
        graph.load(tiny)


def test_an_empty_course_says_what_is_expected(tiny):
    (tiny / "notebooks/course.yml").write_text("")
    with pytest.raises(ValueError, match="title, parts, tracks and chapters are expected"):
        graph.load(tiny)
