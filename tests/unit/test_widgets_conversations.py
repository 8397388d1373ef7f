"""The conversation explorer, moved without a front end."""

import ipywidgets

from course_lib import plots, widgets


def test_the_conversation_explorer_says_what_is_carried_and_what_comes_back():
    box = widgets.conversation_explorer()
    controls, text, figure = box.children
    strategy, budget = controls.children
    assert (strategy.value, budget.value) == ("window", 65_536)
    assert "65.5 kB after turn 60" in text.value
    for control, value in ((budget, 262_144), (strategy, "delta state, gated")):
        before = text.value, figure.value
        control.value = value
        assert text.value != before[0]
        assert figure.value != before[1]
    nbytes, recall = plots.conversation("delta state, gated", 262_144)
    half = list(recall.values())[:15]
    assert f"{sum(half) / 15:.0%} come back" in text.value
    assert plots.size_text(nbytes[60]) in text.value
    assert {type(w) for w in (*controls.children, text, figure)} <= {
        ipywidgets.Dropdown,
        ipywidgets.SelectionSlider,
        ipywidgets.HTML,
    }
