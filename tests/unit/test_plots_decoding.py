"""Figures of decoding: the drawn numbers are the given ones, and no word is cut off."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import plots, timing
from course_lib.timing.sweeps import Sweep

MEASURED = {"cache": {64: (1e-5, 2e-5, 3e-5), 1024: (3e-4,)}, "state": {64: (5e-5,), 1024: (5e-5,)}}
PER_TOKEN = {"32 kv heads": 2**19, "8 kv heads": 2**17}


def swept() -> Sweep:
    return Sweep("steps", "time", MEASURED, {}, timing.environment(), "process_time")


def lines(fig) -> dict[str, dict[float, float]]:
    """x → y of every line with a label."""
    return {
        line.get_label(): dict(zip(*line.get_data(), strict=True))
        for line in fig.axes[0].get_lines()
        if not line.get_label().startswith("_")
    }


def legend(fig) -> list[str]:
    return [text.get_text() for text in fig.legends[0].get_texts()]


def test_a_cache_grows_with_its_tokens_and_meets_the_weights_where_it_must():
    fig = plots.cache_plot(PER_TOKEN, weights=16e9, memory=80e9, context=8192, title="A title")
    assert lines(fig)["8 kv heads"][2**20] == pytest.approx(2**37 / 1e9)
    rings = [line for line in fig.axes[0].get_lines() if line.get_markerfacecolor() == "white"]
    assert [line.get_xdata()[0] * bytes for line, bytes in zip(rings, PER_TOKEN.values(), strict=True)] == [
        16e9,
        16e9,
    ]
    assert {line.get_ydata()[0] for line in rings} == {16}
    assert {"weights, 16 GB", "memory, 80 GB", "one sequence of 8,192"} <= set(legend(fig))
    assert "GB" in fig.axes[0].get_ylabel()
    assert "tokens" in fig.axes[0].get_xlabel()


def test_what_is_not_given_is_not_drawn():
    assert legend(plots.cache_plot({"c": 100}, weights=1e9)) == ["c", "weights, 1 GB"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"per_token": {"c": 0}, "weights": 1}, "c must be above 0 bytes, got 0"),
        ({"per_token": {"c": 1}, "weights": -1}, "weights must be above 0 bytes, got -1"),
        ({"per_token": {"c": 1}, "weights": 1, "memory": -5}, "memory must be above 0"),
    ],
)
def test_sizes_are_above_0(given, words):
    with pytest.raises(ValueError, match=words):
        plots.cache_plot(given.pop("per_token"), **given)


def test_measured_steps_are_points_and_predicted_ones_lines_of_the_same_colour():
    fig = plots.decode_plot(swept(), {"cache": {1024: 2e-4, 64: 1e-5}}, title="A title")
    drawn = lines(fig)
    assert drawn["cache, measured"] == {64: 2e-5, 1024: 3e-4}
    assert drawn["state, measured"] == {64: 5e-5, 1024: 5e-5}
    assert list(drawn["cache, by its bytes"].items()) == [(64, 1e-5), (1024, 2e-4)]
    assert "state, by its bytes" not in drawn
    measured, predicted = fig.axes[0].get_lines()[:2]
    assert measured.get_color() == predicted.get_color()
    assert (measured.get_linestyle(), predicted.get_marker()) == ("None", "")
    assert (fig.axes[0].get_xscale(), fig.axes[0].get_yscale()) == ("log", "log")


def test_what_was_not_measured_cannot_be_predicted():
    with pytest.raises(ValueError, match="'window' was predicted but not measured; there are cache, state"):
        plots.decode_plot(swept(), {"window": {64: 1.0}})


@pytest.mark.parametrize("which", ["cache", "decode"])
def test_no_label_is_cut_off(which):
    fig = (
        plots.cache_plot(PER_TOKEN, weights=16e9, memory=80e9, context=8192, title="A title " * 12)
        if which == "cache"
        else plots.decode_plot(swept(), {"cache": {64: 1e-5, 1024: 2e-4}}, title="A title " * 12)
    )
    with plots.style():
        FigureCanvasAgg(fig).draw()
    page = fig.bbox.padded(1)
    for box in [fig.legends[0].get_window_extent(), *(t.get_window_extent() for t in fig.texts)]:
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
