"""Figures of caches: what is drawn is what was given, and no word is cut off."""

import math

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import cost, plots

ERRORS = {
    "random": {"window": [2.5, 2.4], "sinks": [2.3, 2.6]},
    "planted": {"window": [1.9, 1.8], "sinks": [0.2, 0.1]},
}
SIZES = {"full": {512: 4e6, 64: 5e5}, "state": {64: 2e6, 512: 2e6}}


def lines(fig) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): tuple(map(list, line.get_data())) for line in fig.axes[0].get_lines()}


def legend(fig) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_each_error_is_a_point_in_its_group():
    fig = plots.cache_error_plot(ERRORS, title="A title")
    drawn = lines(fig)
    assert drawn["window"][1] == [2.5, 2.4, 1.9, 1.8]
    assert drawn["sinks"][1] == [2.3, 2.6, 0.2, 0.1]
    for name in ("window", "sinks"):
        assert [round(x) for x in drawn[name][0]] == [0, 0, 1, 1]
    assert max(drawn["window"][0][:2]) < min(drawn["sinks"][0][:2]), "methods stand beside each other"
    assert set(drawn["an output of zeros"][1]) == {1}
    assert [tick.get_text() for tick in fig.axes[0].get_xticklabels()] == ["random", "planted"]
    assert fig.axes[0].get_yscale() == "log"
    assert legend(fig) == ["window", "sinks", "an output of zeros"]
    assert "error" in fig.axes[0].get_ylabel()


def test_a_method_may_be_missing_from_an_input():
    fig = plots.cache_error_plot({"a": {"one": [0.5]}, "b": {"one": [0.4], "two": [0.3]}})
    assert lines(fig)["two"][1] == [0.3]
    assert round(lines(fig)["two"][0][0]) == 1


@pytest.mark.parametrize(
    ("errors", "words"),
    [({}, "at least one kind"), ({"a": {"full": [0.0]}}, "'full' must be above 0, got 0.0")],
)
def test_errors_are_there_and_above_0(errors, words):
    with pytest.raises(ValueError, match=words):
        plots.cache_error_plot(errors)


def test_sizes_are_drawn_over_the_tokens_in_the_largest_unit():
    fig = plots.cache_sizes_plot(SIZES, title="A title")
    assert lines(fig)["full"] == ([64, 512], [0.5, 4])
    assert lines(fig)["state"] == ([64, 512], [2, 2])
    assert "MB" in fig.axes[0].get_ylabel()
    assert "T" in fig.axes[0].get_xlabel()
    assert (fig.axes[0].get_xscale(), fig.axes[0].get_yscale()) == ("log", "log")
    assert legend(fig) == ["full", "state"]
    with pytest.raises(ValueError, match="at least one curve"):
        plots.cache_sizes_plot({})


def test_factors_multiply_one_after_another():
    fig = plots.factors_plot(8e9, {"T": 0.25, "bytes": 0.5}, title="A title")
    ((values, places),) = lines(fig).values()
    assert values == pytest.approx([8, 2, 1])
    assert places == [0, 1, 2]
    assert [text.get_text() for text in fig.axes[0].texts] == ["8 GB", "2 GB", "1 GB"]
    names = [tick.get_text() for tick in fig.axes[0].get_yticklabels()]
    assert names == ["everything kept", "T  × 0.25", "bytes  × 0.5"]
    assert "GB" in fig.axes[0].get_xlabel()
    low, high = fig.axes[0].get_ylim()
    assert low > high, "the first point is on top"


@pytest.mark.parametrize(("start", "factors"), [(0, {}), (1, {"T": 0})])
def test_factors_are_above_0(start, factors):
    with pytest.raises(ValueError, match="must be above 0, got 0"):
        plots.factors_plot(start, factors)


def test_what_is_shrunk_is_counted():
    start, factors = plots.shrunk(groups=4, budget=0.5, bits=4, layers=0.5, utilisation=1.0)
    assert start == 2 * cost.cache_bytes(8, 32_768, 32, 128, 128, layers=32)
    assert list(factors) == ["2·H_kv·D", "T", "bytes", "L", "utilisation"]
    long = 2**20  # so that full tokens are few
    rounded = cost.quantised_bytes(1, long, 1, 128, 128, bits=4) / cost.cache_bytes(1, long, 1, 128, 128)
    assert factors["bytes"] == pytest.approx(rounded, rel=1e-3)
    assert math.prod(factors.values()) == pytest.approx(1 / 32 * factors["bytes"])
    assert plots.shrunk() == (start, {}), "what changes nothing is no factor"


def test_a_size_has_three_digits_and_a_unit():
    assert [plots.size_text(n) for n in (2e12, 3.44e10, 5e6, 1234, 8)] == [
        "2 TB",
        "34.4 GB",
        "5 MB",
        "1.23 kB",
        "8 bytes",
    ]


@pytest.mark.parametrize("which", ["errors", "sizes", "factors"])
def test_no_word_is_cut_off(which):
    title = "A title " * 12
    if which == "errors":
        fig = plots.cache_error_plot(ERRORS, title=title)
    elif which == "sizes":
        fig = plots.cache_sizes_plot(SIZES, title=title)
    else:
        fig = plots.factors_plot(*plots.shrunk(groups=32, budget=1 / 16, bits=2), title=title)
    with plots.style():
        FigureCanvasAgg(fig).draw()
    page, ax = fig.bbox.padded(1), fig.axes[0]
    words = [*fig.texts, *fig.legends, *ax.texts, ax.xaxis.label, ax.yaxis.label]
    words += ax.get_yticklabels() if which == "factors" else []  # on a log axis some are out of sight
    boxes = (word.get_window_extent() for word in words)
    for box in (box for box in boxes if box.width):
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
