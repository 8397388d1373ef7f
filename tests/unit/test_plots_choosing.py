"""Figures of a choice: what is drawn is what was given, and no word is cut off."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import plots

CURVES = {"X": {64: 1.0, 1024: 16.0}, "Y": {1024: 8.0, 64: 8.0}}
MARKS = {"alerts": 267}
PANELS = {"floor": [["X", "Y"], ["X", None]], "at once": [["X", "Y"], ["Z", "Z"], ["Z", None]]}
ROWS = {"floor": ["0%", "95%"], "at once": ["1", "8", "32"]}
MAPS = {"names": ["X", "Y", "Z"], "columns": ["128", "4,096"], "rows": ROWS, "xlabel": "tokens"}
FLIPS = {"prompt": (4.0, "Y"), "recall of Z": (0.95, "X"), "memory": (0.125, None)}
COSTS = {
    "X": {"seconds": 12.0, "memory": 4e9, "recall": 1.0},
    "Y": {"seconds": 3.0, "memory": 1e9, "recall": None},
}


def drawn(fig):
    with plots.style():
        FigureCanvasAgg(fig).draw()
    return fig


def test_curves_marks_and_limit_are_drawn():
    fig = plots.lengths_plot(
        CURVES, marks=MARKS, ylabel="memory (MB)", title="A title", limit=("all there is", 12)
    )
    (ax,) = fig.axes
    lines = {line.get_label(): tuple(map(list, line.get_data())) for line in ax.get_lines()}
    assert lines["X"] == ([64, 1024], [1, 16])
    assert lines["Y"] == ([64, 1024], [8, 8]), "sorted by length"
    assert set(lines["all there is"][1]) == {12}
    assert [text.get_text().strip() for text in ax.texts] == ["alerts: 267"]
    assert any(set(line.get_xdata()) == {267} for line in ax.get_lines())
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_ylabel() == "memory (MB)"
    assert "tokens" in ax.get_xlabel()
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["X", "Y", "all there is"]


@pytest.mark.parametrize(
    ("curves", "words"), [({}, "at least one"), ({"Y": {64: 0.0}}, "'Y' must be above 0, got 0")]
)
def test_curves_are_there_and_above_0(curves, words):
    with pytest.raises(ValueError, match=words):
        plots.lengths_plot(curves, marks={}, ylabel="", title="")


def test_each_cell_names_its_choice():
    fig = plots.choice_maps(PANELS, title="A title", **MAPS)
    floor, at_once = fig.axes
    cells = {text.get_position(): text.get_text() for text in floor.texts}
    assert cells == {(0, 0): "X", (1, 0): "Y", (0, 1): "X", (1, 1): "–"}
    assert [text.get_text() for text in at_once.texts] == ["X", "Y", "Z", "Z", "Z", "–"]
    assert (floor.get_ylabel(), at_once.get_ylabel()) == ("floor", "at once")
    assert [tick.get_text() for tick in at_once.get_yticklabels()] == ["1", "8", "32"]
    assert [tick.get_text() for tick in floor.get_xticklabels()] == ["128", "4,096"]
    assert floor.get_xlabel() == "tokens"
    low, high = floor.get_ylim()
    assert low < high, "the first row is at the bottom"


def test_a_name_has_one_colour_in_all_panels_and_others_have_others():
    fig = plots.choice_maps(PANELS, title="A title", **MAPS)
    colours = {}
    for ax in fig.axes:
        (image,) = ax.get_images()
        painted = image.to_rgba(image.get_array())
        for text in ax.texts:
            x, y = text.get_position()
            colours.setdefault(text.get_text(), set()).add(tuple(painted[y, x]))
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == len(colours) == 4


@pytest.mark.parametrize(
    ("panels", "words"),
    [
        ({"floor": [["X", "Y"]]}, "'floor' must have 2 rows of 2"),
        ({"floor": [["X"], ["Y"]]}, "got rows of"),
        ({"floor": [["X", "Q"], ["X", "Y"]]}, "got also Q"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(panels, words):
    with pytest.raises(ValueError, match=words):
        plots.choice_maps(panels, title="", **MAPS)


def test_flips_are_bars_from_1_the_nearest_on_top():
    fig = plots.flip_plot(FLIPS, title="A title", reach=16)
    (ax,) = fig.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["recall of Z", "prompt", "memory"]
    bars = [line.get_xydata().tolist() for line in ax.get_lines()[:3]]
    assert bars == [[[1, 0], [0.95, 0]], [[1, 1], [4, 1]], [[1, 2], [0.125, 2]]]
    assert [text.get_text() for text in ax.texts] == ["÷ 1.05: X", "× 4: Y", "÷ 8: none of them"]
    assert ax.get_xscale() == "log"
    low, high = ax.get_ylim()
    assert low > high, "the first is on top"


def test_a_flip_is_labelled_at_the_end_of_its_bar_inside_the_axes():
    far = {"contracts: memory_bytes": (1 / 16, None), "contracts: recall floor": (16.0, None)}
    (ax,) = drawn(plots.flip_plot(far, title="A title", reach=16)).axes
    frame = ax.get_window_extent()
    ends = [ax.transData.transform((factor, 0))[0] for factor, _ in far.values()]
    left, right = (text.get_window_extent() for text in ax.texts)
    assert frame.x0 < left.x0 < left.x1 < ends[0]
    assert ends[1] < right.x0 < right.x1 < frame.x1
    assert ax.get_yticklabels()[0].get_text() == "contracts: memory bytes"


@pytest.mark.parametrize(("flips", "words"), [({}, "at least one"), ({"a": (20.0, "X")}, "'a' must be")])
def test_flips_are_there_and_within_reach(flips, words):
    with pytest.raises(ValueError, match=words):
        plots.flip_plot(flips, title="", reach=16)


def test_a_decision_shows_costs_limits_and_the_choice():
    fig = plots.decision_plot(COSTS, limits={"memory": 2e9, "recall": 0.9}, choice="Y", title="A title")
    seconds, memory, recall = fig.axes
    assert [line.get_xdata()[0] for line in seconds.get_lines()] == [12, 3]
    assert [line.get_markerfacecolor() == "white" for line in seconds.get_lines()] == [True, False]
    assert [text.get_text() for text in seconds.texts] == ["12.0 s", "3.00 s"]
    assert set(memory.get_lines()[-1].get_xdata()) == {2e9}
    assert set(recall.get_lines()[-1].get_xdata()) == {0.9}
    assert [text.get_text() for text in recall.texts] == ["100%", "not measured", "floor 90%"]
    assert memory.texts[-1].get_text() == "limit 1.86 GiB"
    assert [tick.get_text() for tick in seconds.get_yticklabels()] == ["X", "Y"]
    assert [ax.get_xlabel() for ax in fig.axes] == ["time", "memory", "recall"]


def test_costs_that_hardly_differ_lie_close_together_on_an_axis_with_numbers():
    near = {"X": COSTS["X"] | {"seconds": 94.2}, "Y": COSTS["Y"] | {"seconds": 92.4}}
    seconds, memory, _ = drawn(plots.decision_plot(near, limits={}, choice="Y", title="")).axes
    x, y = (
        seconds.transAxes.inverted().transform(line.get_window_extent().p0) for line in seconds.get_lines()
    )
    assert 0 < x[0] - y[0] < 0.02
    for ax in (seconds, memory):
        low, high = ax.get_xlim()
        assert sum(low < at < high for at in ax.get_xticks()) >= 2
    assert [t.get_text() for t in seconds.get_xticklabels()] == ["50 s", "100 s", "200 s"]


def test_the_name_of_a_limit_covers_no_value():
    costs = dict.fromkeys("ABCDEF", COSTS["X"])
    limits = {"memory": 3.9e9, "recall": 0.95}
    for ax in drawn(plots.decision_plot(costs, limits=limits, choice="A", title="")).axes[1:]:
        *values, limit = (text.get_window_extent() for text in ax.texts)
        assert not any(limit.overlaps(value) for value in values)


def test_a_panel_that_nobody_measured_says_so():
    unknown = {"X": dict.fromkeys(("seconds", "memory", "recall"))}
    fig = drawn(plots.decision_plot(unknown, limits={}, choice=None, title=""))
    assert [[text.get_text() for text in ax.texts] for ax in fig.axes] == [["not measured"]] * 3


def test_nobody_may_be_chosen_but_no_stranger():
    fig = plots.decision_plot(COSTS, limits={}, choice=None, title="")
    assert all(line.get_markerfacecolor() == "white" for line in fig.axes[0].get_lines())
    with pytest.raises(ValueError, match="choice must be one of X, Y, got 'Q'"):
        plots.decision_plot(COSTS, limits={}, choice="Q", title="")


@pytest.mark.parametrize("which", ["lengths", "maps", "flips", "decision"])
def test_no_word_is_cut_off(which):
    title = "A title " * 12
    fig = {
        "lengths": lambda: plots.lengths_plot(CURVES, marks=MARKS, ylabel="memory (MB)", title=title),
        "maps": lambda: plots.choice_maps(PANELS, title=title, **MAPS),
        "flips": lambda: plots.flip_plot(
            FLIPS | {"contracts: recall of Z": (16.0, None)}, title=title, reach=16
        ),
        "decision": lambda: plots.decision_plot(COSTS, limits={}, choice="X", title=title),
    }[which]()
    drawn(fig)
    page = fig.bbox.padded(1)
    words = [*fig.texts, *fig.legends]
    for ax in fig.axes:
        words += [*ax.texts, ax.xaxis.label, ax.yaxis.label]
        words += [] if which == "lengths" else ax.get_yticklabels()
    for box in (word.get_window_extent() for word in words):
        if box.width and math.isfinite(box.width):
            assert page.x0 <= box.x0
            assert box.x1 <= page.x1
            assert page.y0 <= box.y0
            assert box.y1 <= page.y1
