"""The memory explorer, moved without a front end."""

import ipywidgets

from course_lib import widgets
from course_lib.tasks import recall_by_age


def parts():
    box = widgets.memory_explorer()
    controls, text, figure = box.children
    return controls.children, text, figure


def test_it_says_what_the_memory_returns():
    (rule, keys, n, bound), text, _ = parts()
    assert (rule.value, keys.value, n.value, bound.value) == ("delta", "unit", 16, False)
    shares = recall_by_age("delta", 16, trials=200)
    assert f"oldest pair comes back in {shares[0]:.0%}" in text.value
    assert f"average pair in {shares.mean():.0%}" in text.value


def test_every_control_changes_text_and_figure():
    controls, text, figure = parts()
    for control, value in zip(controls, ("decay", "clustered", 8, True), strict=True):
        before = text.value, figure.value
        control.value = value
        assert text.value != before[0]
        assert figure.value != before[1]
    shares = recall_by_age("decay", 8, keys="clustered", rebound=True, trials=200)
    assert f"the newest in {shares[-1]:.0%}" in text.value


def test_more_orthogonal_keys_than_directions_are_not_drawn():
    (_, keys, n, _), text, _ = parts()
    keys.value, n.value = "orthogonal", 32
    assert "delta, 16 orthogonal keys" in text.value
    assert "so n = 16" in text.value


def test_only_widgets_of_colabs_version():
    controls, text, figure = parts()
    kinds = {type(w) for w in [*controls, text, figure]}
    assert kinds <= {ipywidgets.Dropdown, ipywidgets.SelectionSlider, ipywidgets.HTML}
