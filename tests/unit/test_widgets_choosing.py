"""The decision studio, moved without a front end."""

from dataclasses import replace

import ipywidgets

from course_lib import widgets
from course_lib.decide import Architecture, Machine, Recall

X = Architecture("X", 16, 1024, 8, 2, 128, ("softmax",), 4, 2, 4, chunk=64)
Y = replace(X, name="Y", pattern=("linear",))
RECALL = {"X": Recall(1.0, "made up"), "Y": Recall(0.5, "made up")}
MACHINE = Machine("m", flops=9e10, bandwidth=2e10, memory_bytes=16e9, source="made up")


def parts():
    box = widgets.decision_studio([X, Y], RECALL, MACHINE)
    controls, text, figure = box.children
    return controls.children, text, figure


def test_it_opens_with_a_choice_and_its_costs():
    (prompt, output, batch, floor), text, figure = parts()
    assert (prompt.value, output.value, batch.value, floor.value) == (267, 30, 8, 0.0)
    assert text.value.startswith("X. seconds")
    assert "next is Y" in text.value
    assert "base64," in figure.value


def test_every_control_changes_text_and_figure():
    controls, text, figure = parts()
    for control, value in zip(controls, (40_000, 300, 32, 0.95), strict=True):
        before = text.value, figure.value
        control.value = value
        assert text.value != before[0], control.description
        assert figure.value != before[1], control.description


def test_the_floor_and_the_memory_reject():
    (prompt, _, batch, floor), text, _ = parts()
    prompt.value = 40_000
    assert text.value.startswith("Y.")
    floor.value = 0.95
    assert text.value.startswith("X.")
    assert "Y: recall 50% is below the 95%" in text.value
    batch.value = 256
    assert text.value.startswith("none of them")
    assert "X: needs" in text.value


def test_only_widgets_of_colabs_version():
    controls, text, figure = parts()
    assert {type(w) for w in [*controls, text, figure]} <= {ipywidgets.SelectionSlider, ipywidgets.HTML}
