"""The decay explorer, moved without a front end."""

import base64
import re

from course_lib import plots, widgets


def parts(box):
    controls, text, figure = box.children
    return controls.children, text, figure


def test_it_opens_with_a_figure_and_its_numbers():
    _, text, figure = parts(widgets.decay_explorer())
    assert "γ = 0.95: half-life 13.5 tokens" in text.value
    assert "59.9%, 35.8% and 12.9%" in text.value
    assert base64.b64decode(re.search(r"base64,([^\"]+)", figure.value)[1]).startswith(b"\x89PNG")


def test_every_slider_changes_figure_and_text():
    (gamma, age, closed), text, figure = parts(widgets.decay_explorer())
    for control, value in ((gamma, 0.9), (age, 15), (closed, 0.5)):
        before = text.value, figure.value
        control.value = value
        assert text.value != before[0]
        assert figure.value != before[1]


def test_a_closed_gate_takes_from_what_is_older_only():
    (_, age, closed), text, _ = parts(widgets.decay_explorer())
    age.value, closed.value = 15, 0.1
    assert "15 tokens ago a gate of 0.1" in text.value
    assert "59.9%, 3.8% and 1.4%" in text.value


def test_the_title_says_after_how_many_tokens_half_is_left_with_the_gate(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        plots, "kept_plot", lambda *a, draw=plots.kept_plot, **k: drawn.append(draw(*a, **k)) or drawn[-1]
    )
    (gamma, age, closed), _, _ = parts(widgets.decay_explorer())
    gamma.value, age.value, closed.value = 0.98, 5, 0.3
    (legend,) = drawn[-1].legends
    assert legend.get_texts()[0].get_text() == "this memory, half after 6"
    title = "At γ = 0.98 half is left after 34.3 tokens, with the gate after 6"
    assert drawn[-1].get_suptitle() == title, "in one row"
