"""The trace explorer of chapter 12, moved without a front end."""

import math

import pytest

from course_lib import widgets


@pytest.fixture
def explorer():
    box = widgets.trace_explorer()
    sliders, text, figure = box.children
    return sliders.children, text, figure


def test_it_opens_with_a_figure_and_the_numbers_of_its_sliders(explorer):
    (delta, alpha, omega), text, figure = explorer
    assert (delta.value, alpha.value, omega.value) == (0.1, 0.5, 0.0)
    assert f"keeps {math.exp(-0.05):.3f}" in text.value
    assert f"writes {1 - math.exp(-0.05):.3f}" in text.value
    assert "after 13.9 tokens" in text.value
    assert "base64," in figure.value


@pytest.mark.parametrize(("which", "value"), [(0, 3.0), (1, 2.0), (2, 4.0)])
def test_every_slider_changes_the_figure(explorer, which, value):
    sliders, _, figure = explorer
    before = figure.value
    sliders[which].value = value
    assert figure.value != before


def test_the_words_speak_of_the_rotation_that_is_set(explorer):
    (delta, _, omega), text, _ = explorer
    delta.value, omega.value = 1.0, 0.5
    assert f"turned by {math.degrees(0.5):.3g}°" in text.value
    assert "writes" not in text.value, "with rotation, what is written is no longer 1 − keep"


def test_the_ends_of_delta_ignore_and_overwrite(explorer):
    sliders, text, _ = explorer
    sliders[1].value = 2.0
    sliders[0].value = 10.0
    assert "keeps 0.000 of the state and writes 1.000" in text.value
    sliders[0].value = 0.01
    assert "keeps 0.980 of the state and writes 0.020" in text.value
