"""The transition picture shows every recurrent model once, truly, and points to the chapter that derives it."""

import re
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import course
from course_lib.attention import REGISTRY
from course_lib.plots import transition_table
from course_lib.plots.transitions import GATES, LINES, NAMES, SIZE

RECURRENT = [name for name, row in REGISTRY.items() if row.keeps != "inputs"]
SHOWN = [name for line in LINES for name in line.rows]
DERIVED_IN = {
    "08": {"linear_attention"},
    "10": {"retention", "lightning_attention", "simple_gla", "gla", "hgrn2", "rwkv6", "hgrn"},
    "11": {"delta_rule", "gated_delta_rule", "kda", "rwkv7"},
    "12": {"ssd", "selective_scan", "s4d"},
}


def test_every_recurrent_model_stands_in_one_line():
    assert sorted(SHOWN) == sorted(RECURRENT) == sorted(NAMES)


def test_each_model_points_to_the_chapter_that_derives_it():
    for number, names in DERIVED_IN.items():
        assert names <= {n for n in RECURRENT if REGISTRY[n].chapter == number}


@pytest.mark.parametrize("number", [n for n in DERIVED_IN if course.load().chapter(n).ready])
def test_the_chapter_that_derives_a_model_names_it(number):
    chapter = course.load().chapter(number)
    root = course.checkout()
    text = (root / "notebooks" / "source" / f"{chapter.name}.md").read_text(encoding="utf-8")
    assert [name for name in DERIVED_IN[number] if not re.search(rf"\b{name}\b", text)] == []


def test_what_depends_on_the_token_changes_between_the_two_pictures():
    fixed = {"linear_attention", "retention", "s4d"}
    for line in LINES:
        assert np.array_equal(line.example(0), line.example(1)) == bool(fixed & set(line.rows)), line.rows


def test_the_pictures_are_the_formulas():
    by_row = {name: line.example for line in LINES for name in line.rows}
    erase, gated, kimi = (by_row[name](0) for name in ("delta_rule", "gated_delta_rule", "kda"))
    eigenvalues = np.linalg.eigvalsh(erase)
    assert np.allclose(eigenvalues[1:], 1)  # one direction is erased
    assert np.isclose(eigenvalues[0], 0.1)
    assert np.allclose(gated / gated[2, 2] * erase[2, 2], erase)
    assert np.allclose(kimi, erase @ np.diag(GATES[0]))
    assert not np.allclose(kimi, np.diag(GATES[0]) @ erase)
    assert by_row["gla"](1).shape == (SIZE, SIZE)


def words(fig):
    return {text.get_text(): text for ax in fig.axes for text in ax.texts}


def test_no_column_runs_into_the_next():
    fig = transition_table()
    FigureCanvasAgg(fig).draw()
    for row in np.reshape(fig.axes, (-1, 5)):
        boxes = [text.get_window_extent() for ax in row for text in ax.texts]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
        assert boxes[-1].x1 <= fig.bbox.x1


def test_all_models_can_be_read_and_a_chapter_stands_out():
    plain, marked = words(transition_table()), words(transition_table("11"))
    for name in RECURRENT:
        assert any(f"{NAMES[name]} ({REGISTRY[name].chapter})" in text for text in plain)
    assert marked["DeltaNet (11)"].get_alpha() == 1
    assert marked["RetNet (10),  Lightning (10)"].get_alpha() == pytest.approx(0.55)
    assert plain["RetNet (10),  Lightning (10)"].get_alpha() == 1
    with pytest.raises(ValueError, match="highlight must be one of 08, 10, 11, 12 or None, got '03'"):
        transition_table("03")
