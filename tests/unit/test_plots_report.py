"""Figures of the report card: every seed is drawn, fronts are right, and what does not fit is named."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import plots
from course_lib.plots import Axis
from course_lib.plots.base import log_places

AXES = {
    "recall": Axis("right", high=True, percent=True),
    "bytes": Axis("kB\ncarried", high=False, log=True),
    "ms": Axis("ms", high=False, log=True),
}
CARD = {
    "softmax": {"recall": [1.0, 0.98, 0.99], "bytes": [1000.0], "ms": [9.0]},
    "window": {"recall": [0.1, 0.2, 0.15], "bytes": [10.0], "ms": [5.0]},
    "state": {"recall": [0.7, 0.5, 0.6], "bytes": [10.0], "ms": [7.0]},
}


def drawn(fig):
    with plots.style():
        FigureCanvasAgg(fig).draw()
    return fig


def words(fig):
    return " ".join(fig.get_suptitle().split())


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_every_seed_is_a_point_and_the_line_goes_through_the_medians():
    panels = {
        "one": [{0: 0.9, 8: 0.5}, {0: 1.0, 8: 0.1}, {0: 0.8, 8: 0.3}],
        "two": [{0: 0.4, 8: 0.2}],
    }
    fig = drawn(
        plots.seed_points_grid(
            panels, title="Old facts are lost", xlabel="age", ylabel="right", width=8, level=0.06, trained=12
        )
    )
    first, second = fig.axes
    seeds = [line for line in first.get_lines() if line.get_marker() == "o"]
    assert [(list(s.get_xdata()), list(s.get_ydata())) for s in seeds] == [
        ([4, 12], [0.9, 0.5]),
        ([4, 12], [1.0, 0.1]),
        ([4, 12], [0.8, 0.3]),
    ]
    assert all(s.get_linestyle() == "None" for s in seeds)
    assert list(lines(first)["their median"].get_ydata()) == [0.9, 0.3]
    assert set(lines(second)["chance"].get_ydata()) == {0.06}
    assert set(lines(second)["longest text in training"].get_xdata()) == {12}
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["one", "two"]
    assert (first.get_ylabel(), second.get_ylabel(), second.get_xlabel()) == ("right", "", "age")
    assert [t.get_text() for t in fig.legends[0].get_texts()] == [
        "a seed",
        "their median",
        "chance",
        "longest text in training",
    ]


def test_needles_have_depth_downwards_and_a_number_in_each_cell():
    grids = {"one": [[1.0, 0.5, 0.25], [0.75, -0.004, -0.05]]}
    fig = drawn(plots.needle_plot(grids, lengths=[64, 128], depths=[0.0, 0.5, 1.0], title="Deep ones fail"))
    (ax,) = fig.axes
    assert ax.images[0].get_array().tolist() == [[1.0, 0.75], [0.5, -0.004], [0.25, -0.05]]
    shown = {t.get_position(): t.get_text() for t in ax.texts}
    assert shown == {(0, 0): "100%", (1, 0): "75%", (0, 1): "50%", (1, 1): "0%", (0, 2): "25%", (1, 2): "-5%"}
    assert [t.get_text() for t in ax.get_xticklabels()] == ["64", "128"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "0.5", "1"]


def test_the_card_has_a_column_for_each_axis_and_a_row_for_each_mechanism():
    fig = drawn(plots.card_plot(CARD, AXES, title="Nobody wins everywhere"))
    assert len(fig.axes) == 3
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == list(CARD)
    for ax, column in zip(fig.axes, AXES, strict=True):
        assert [list(line.get_xdata()) for line in ax.get_lines()] == [row[column] for row in CARD.values()]
        assert [set(line.get_ydata()) for line in ax.get_lines()] == [{0}, {1}, {2}]
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert ["more is better" in title for title in titles] == [True, False, False]
    assert fig.axes[1].get_xscale() == "log"
    for ax in fig.axes[1:]:
        left, right = ax.get_xlim()
        ticks = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
        assert [t.get_text() for x, t in ticks if left <= x <= right and t.get_text()], (
            "an axis without a number"
        )
    low, high = fig.axes[0].get_ylim()
    assert low > high, "the first mechanism is at the top"


def test_the_front_follows_the_directions_and_keeps_ties():
    assert plots.front_of(CARD, "bytes", "recall", AXES) == ["softmax", "state"]
    assert plots.front_of(CARD, "ms", "recall", AXES) == ["softmax", "window", "state"]
    assert plots.front_of(CARD, "ms", "bytes", AXES) == ["window"]
    assert plots.front_of(CARD | {"twin": CARD["state"]}, "bytes", "recall", AXES) == [
        "softmax",
        "state",
        "twin",
    ]


def test_the_front_is_ringed_and_named():
    fig = drawn(plots.front_plot(CARD, "bytes", "recall", AXES))
    (ax,) = fig.axes
    assert words(fig) == "On the front: softmax; state"
    assert list(lines(ax)["softmax"].get_xdata()) == [1000, 1000, 1000]
    assert list(lines(ax)["softmax"].get_ydata()) == [1.0, 0.98, 0.99]
    (ring,) = (line for line in ax.get_lines() if line.get_markersize() == 20)
    assert list(zip(ring.get_xdata(), ring.get_ydata(), strict=True)) == [(1000, 0.99), (10, 0.6)]
    assert ax.get_xlabel() == "kB carried (less is better)"
    assert words(drawn(plots.front_plot(CARD, "ms", "recall", AXES, title="Mine"))) == "Mine"


def test_a_legend_entry_of_the_front_stays_in_its_line():
    fig = drawn(plots.front_plot(CARD, "bytes", "recall", AXES))
    (legend,) = fig.legends
    ring = legend.legend_handles[-1]
    assert ring.get_markersize() < legend.get_texts()[-1].get_fontsize() * 1.3


def test_a_mechanism_in_the_place_of_another_is_smaller_and_on_top():
    fig = plots.front_plot({"one": CARD["state"], "two": CARD["state"]}, "bytes", "recall", AXES)
    inner, outer = (lines(fig.axes[0])[name] for name in ("one", "two"))
    assert inner.get_markersize() < outer.get_markersize()
    assert inner.get_zorder() > outer.get_zorder()


def test_the_card_goes_on_in_a_second_row():
    axes_of = {f"{name} {i}": axis for i in range(2) for name, axis in AXES.items()}
    card = {name: {f"{a} {i}": row[a] for i in range(2) for a in AXES} for name, row in CARD.items()}
    fig = drawn(plots.card_plot(card, axes_of, title="Six"))
    shown = [ax for ax in fig.axes if ax.axison]
    assert len(shown) == 6
    assert [t.get_text() for t in shown[4].get_yticklabels()] == list(CARD), "each row names the mechanisms"
    assert not shown[0].get_window_extent().overlaps(shown[4].get_window_extent())
    assert {text.get_fontsize() for ax in shown for text in (ax._left_title, *ax.get_xticklabels())} == {10}


@pytest.mark.parametrize(
    ("low", "high"), [(0.8, 1.5), (1.8, 4.4), (0.7, 2.9), (2, 19), (10.2, 57), (0.5, 800), (1e-5, 1e7)]
)
def test_a_short_log_axis_has_a_few_round_numbers(low, high):
    places = log_places(low, high, least=3)
    assert 3 <= len(places) <= 4
    ends = np.log([low, *places, high])
    assert max(np.diff(ends)) < 0.75 * (ends[-1] - ends[0]), "all of them at one end"
    assert all(low <= x <= high and float(f"{x:.3g}") == pytest.approx(x) for x in places)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="at least one mechanism"):
        plots.seed_points_grid({}, title="t", xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="each at least one seed"):
        plots.seed_points_grid({"one": []}, title="t", xlabel="x", ylabel="y")
    with pytest.raises(ValueError, match="'one' must be 2 lengths by 3 depths"):
        plots.needle_plot({"one": [[1, 2]]}, lengths=[1, 2], depths=[0, 0.5, 1], title="t")
    with pytest.raises(ValueError, match="at least one mechanism"):
        plots.needle_plot({}, lengths=[1], depths=[0], title="t")
    with pytest.raises(ValueError, match="'odd' must have values for bytes, ms"):
        plots.card_plot(CARD | {"odd": {"recall": [1]}}, AXES, title="t")
    with pytest.raises(ValueError, match="at least one mechanism"):
        plots.front_of({}, "ms", "bytes", AXES)


@pytest.mark.parametrize(
    "fig",
    [
        plots.card_plot(CARD, AXES, title="A title that is long " * 5),
        plots.front_plot(CARD, "bytes", "recall", AXES, title="A title that is long " * 5),
    ],
)
def test_no_title_is_cut_off(fig):
    page = drawn(fig).bbox.padded(1)
    box = fig._suptitle.get_window_extent()
    assert page.x0 <= box.x0
    assert box.x1 <= page.x1
    assert box.y1 <= page.y1
