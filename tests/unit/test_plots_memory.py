"""Figures of what a memory returns: they draw what they are given, and say no where it does not fit."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import plots
from course_lib.tasks import recall_by_age


def drawn(fig):
    with plots.style():
        FigureCanvasAgg(fig).draw()
    return fig


def lines(ax):
    return {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}


def test_the_grid_has_a_panel_for_each_memory_and_a_curve_for_each_rule():
    panels = {
        "unit": {"add": [0.9, 0.8], "delta": [0.3, 1]},
        "positive": {"add": [0.1, 0.2, 0.1], "delta": [0, 0.1, 1]},
        "clustered": {"delta": [0.5]},
    }
    fig = drawn(plots.recall_age_grid(panels, title="Older pairs are lost"))
    first, second, third, empty = fig.axes
    assert [ax.get_title(loc="left") for ax in (first, second, third)] == list(panels)
    assert lines(first) == panels["unit"]
    assert lines(second)["delta"] == [0, 0.1, 1]
    assert first.get_lines()[1].get_color() == third.get_lines()[0].get_color(), "a rule keeps its colour"
    assert first.get_lines()[0].get_linestyle() != first.get_lines()[1].get_linestyle()
    assert first.get_ylabel() == "read back"
    assert second.get_ylabel() == ""
    assert not empty.axison
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["add", "delta"]


def test_the_grid_marks_chance_in_every_panel():
    panels = {"once": {"add": [0.9, 0.8]}, "twice": {"add": [0.4, 0.3]}}
    for ax in drawn(plots.recall_age_grid(panels, title="Above chance", chance=0.25)).axes:
        assert lines(ax)["chance"] == [0.25, 0.25]


def test_the_grid_says_what_does_not_fit():
    with pytest.raises(ValueError, match="at least one"):
        plots.recall_age_grid({}, title="nothing")
    with pytest.raises(ValueError, match=r"unit.*\[1, 2\]"):
        plots.recall_age_grid({"unit": {"add": [1], "delta": [1, 1]}}, title="uneven")


def test_the_memory_plot_draws_the_rule_beside_adding():
    fig = drawn(plots.memory_plot("delta", "unit", 8, rebound=True))
    (ax,) = fig.axes
    expected = recall_by_age("delta", 8, rebound=True, trials=200).tolist()
    assert lines(ax)["delta"] == expected
    assert set(lines(ax)) == {"add", "delta"}
    assert "bound twice" in ax.get_title(loc="left")
    title = " ".join(fig.get_suptitle().split())
    assert f"oldest of 8 pairs comes back in {expected[0]:.0%}" in title
    assert set(lines(drawn(plots.memory_plot("add", "unit", 8, rebound=False)).axes[0])) == {"add"}


def test_the_memory_plot_passes_errors_on():
    with pytest.raises(ValueError, match="orthogonal"):
        plots.memory_plot("add", "orthogonal", 17, rebound=False)


def test_learning_curves_are_one_line_for_each_seed():
    curves = {"softmax": [[(0, 0.0), (100, 1.0)]], "linear": [[(0, 0), (100, 0.5)], [(0, 0.1), (100, 0.7)]]}
    fig = drawn(plots.learning_plot(curves, title="Softmax learns first", chance=0.03))
    (ax,) = fig.axes
    assert [list(line.get_ydata()) for line in ax.get_lines()[:3]] == [[0, 1], [0, 0.5], [0.1, 0.7]]
    colours = [line.get_color() for line in ax.get_lines()[:3]]
    assert colours[1] == colours[2] != colours[0]
    assert [t.get_text() for t in fig.legends[0].get_texts()] == ["softmax", "linear (2 seeds)", "chance"]
    assert ax.get_lines()[3].get_ydata()[0] == 0.03


def test_the_frontier_marks_every_run_and_joins_none():
    points = {"no softmax": [(4096, 0.6), (4096, 0.7)], "all softmax": [(65_536, 1.0)]}
    fig = drawn(plots.frontier_plot(points, title="Recall costs bytes", xlabel="bytes kept"))
    (ax,) = fig.axes
    assert [list(line.get_xdata()) for line in ax.get_lines()] == [[4096, 4096], [65_536]]
    assert all(line.get_linestyle() == "None" for line in ax.get_lines())
    assert len({line.get_marker() for line in ax.get_lines()}) == 2
    assert ax.get_xscale() == "log"
    low, high = ax.get_xlim()
    shown = [
        t.get_text() for t, x in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True) if low <= x <= high
    ]
    assert "10 kB" in shown
    assert "50 kB" in shown


@pytest.mark.parametrize(
    "fig",
    [
        plots.recall_age_grid({"a": {"add": [1]}, "b": {"add": [1]}}, title="A title that is long " * 5),
        plots.frontier_plot({"x": [(10, 1)], "y": [(2e6, 1)]}, title="T", xlabel="bytes"),
    ],
)
def test_no_word_is_cut_off(fig):
    page = drawn(fig).bbox.padded(1)
    boxes = [t.get_window_extent() for t in (fig._suptitle, *fig.legends[0].get_texts())]
    assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)
