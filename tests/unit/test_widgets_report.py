"""The report-card explorer, moved without a front end."""

import ipywidgets

from course_lib import widgets
from course_lib.plots import Axis

AXES = {
    "recall": Axis("right,\nold facts", high=True, percent=True),
    "bytes": Axis("kB", high=False, log=True),
    "ms": Axis("ms", high=False, log=True),
}
CARD = {
    "softmax": {"recall": [1.0, 0.98], "bytes": [1000.0], "ms": [9.0]},
    "window": {"recall": [0.1, 0.2], "bytes": [10.0], "ms": [5.0]},
    "state": {"recall": [0.7, 0.5], "bytes": [10.0], "ms": [7.0]},
}


def parts():
    controls, text, figure = widgets.report_explorer(CARD, AXES).children
    return controls.children, text, figure


def test_it_starts_with_a_cost_against_a_quality_and_names_the_front():
    (x, y), text, _ = parts()
    assert (x.value, y.value) == ("bytes", "recall")
    assert text.value == "kB against right, old facts: on the front, by medians: softmax; state"


def test_both_columns_can_be_chosen():
    (x, y), text, figure = parts()
    before = figure.value
    x.value = "ms"
    assert text.value.endswith("softmax; window; state")
    assert figure.value != before
    y.value = "bytes"
    assert text.value == "ms against kB: on the front, by medians: window"


def test_only_widgets_of_colabs_version():
    controls, text, figure = parts()
    assert {type(w) for w in [*controls, text, figure]} == {ipywidgets.Dropdown, ipywidgets.HTML}
