"""The pattern explorer, moved without a front end."""

import ipywidgets

from course_lib import widgets
from course_lib.attention import global_window_mask, receptive_field, window_mask
from course_lib.plots.patterns import PATTERNS


def parts():
    box = widgets.pattern_explorer()
    controls, text, figure = box.children
    return controls.children, text, figure


def test_it_says_what_a_layer_scores_and_what_the_layers_reach():
    (name, window, _, layers), text, _ = parts()
    assert (name.value, window.value, layers.value) == ("window", 4, 2)
    assert f"{window_mask(32, 4).sum() / 32:.1f} pairs a token" in text.value
    assert "7 of 32, the furthest 6 back" in text.value


def test_every_control_changes_text_and_figure():
    controls, text, figure = parts()
    for control, value in zip(controls, ("global + window", 3, 12, 3), strict=True):
        before = text.value, figure.value
        control.value = value
        assert figure.value != before[1]
        assert text.value != before[0]
    reached = receptive_field(*[global_window_mask(32, 3, (12,))] * 3)[-1].sum()
    assert f"may depend on {reached} of 32" in text.value


def test_every_pattern_can_be_drawn():
    (name, *_), text, _ = parts()
    for pattern in PATTERNS:
        name.value = pattern
        assert text.value.startswith(pattern)


def test_only_widgets_of_colabs_version():
    controls, text, figure = parts()
    kinds = {type(w) for w in [*controls, text, figure]}
    assert kinds <= {ipywidgets.Dropdown, ipywidgets.SelectionSlider, ipywidgets.HTML}
