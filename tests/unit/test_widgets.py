"""The cost explorer, moved and pressed without a front end."""

import base64
import re
from statistics import fmean, median

import ipywidgets
import pytest
import torch

from course_lib import cost, course, widgets
from course_lib.timing.pretend import noisy_samples


@pytest.fixture
def explorer():
    calls = []

    def measure(T, K, C):
        calls.append((T, K, C))
        return widgets.Measured(1e11, {"softmax": 3e-3, "linear": 1e-3})

    box = widgets.cost_explorer(measure)
    box.calls = calls
    return box


def parts(box):
    (sliders, text, figure, button) = box.children
    return sliders.children, text, figure, button


def test_it_opens_with_a_figure_and_the_predicted_numbers(explorer):
    (T, K, C), text, figure, _ = parts(explorer)
    assert (T.value, K.value, C.value) == (1024, 64, 64)
    assert base64.b64decode(re.search(r"base64,([^\"]+)", figure.value)[1]).startswith(b"\x89PNG")
    assert f"{cost.softmax_flops(1, 1024, 1, 64, 64) / 1e6:,.1f} MFLOP" in text.value
    assert "T* = 256" in text.value
    assert explorer.calls == [], "nothing is measured unasked"


def test_the_sliders_cover_what_they_should(explorer):
    ranges = [[value for _, value in slider.options] for slider in parts(explorer)[0]]
    assert [(r[0], r[-1], len(r)) for r in ranges] == [(32, 8192, 9), (16, 128, 4), (16, 256, 5)]


@pytest.mark.parametrize(("which", "value"), [(0, 8192), (1, 128), (2, 16)])
def test_every_slider_changes_figure_and_text(explorer, which, value):
    sliders, text, figure, _ = parts(explorer)
    before = text.value, figure.value
    sliders[which].value = value
    assert text.value != before[0]
    assert figure.value != before[1]
    T, K, C = (slider.value for slider in sliders)
    ratio = cost.softmax_flops(1, T, 1, K, K) / cost.linear_flops(1, T, 1, K, K, C)
    assert f"softmax / linear = {ratio:.2f}" in text.value


def test_the_button_adds_what_was_measured_at_these_sliders(explorer):
    sliders, _, figure, button = parts(explorer)
    sliders[0].value = 2048
    before = figure.value
    button.click()
    assert explorer.calls == [(2048, 64, 64)]
    assert figure.value != before
    assert "measured at T = 2048: softmax 3 ms, linear 1 ms" in figure.value
    assert button.disabled is False
    sliders[0].value = 512
    assert "measured" not in figure.value
    sliders[0].value = 2048
    assert "measured" in figure.value
    assert len(explorer.calls) == 1


def test_an_error_is_shown_and_the_button_comes_back():
    def fails(T, K, C):
        raise RuntimeError("no <memory>")

    box = widgets.cost_explorer(fails)
    _, text, _, button = parts(box)
    button.click()
    assert text.value == "nothing measured: no &lt;memory&gt;"
    assert button.disabled is False


def test_it_prints_nothing(capfd, explorer):
    parts(explorer)[0][0].value = 64
    assert capfd.readouterr() == ("", "")


def test_it_measures_this_machine():
    with torch.no_grad():
        rate, seconds = widgets.measure_here(64, 16, 16)
    assert rate > 0
    assert set(seconds) == {"softmax", "linear"}
    assert all(value > 0 for value in seconds.values())


def test_only_widgets_of_colabs_version(explorer):
    """ipywidgets 7.7.1 has these; newer ones, such as TagsInput and Stack, it has not."""
    kinds = {type(w) for w in [explorer, *explorer.children, *parts(explorer)[0]]}
    assert kinds <= {
        ipywidgets.VBox,
        ipywidgets.HBox,
        ipywidgets.HTML,
        ipywidgets.Button,
        ipywidgets.SelectionSlider,
    }


def test_the_layer_explorer_says_and_draws_what_its_sliders_ask_for():
    box = widgets.layer_explorer()
    (T, d), text, figure = box.children[0].children, *box.children[1:]
    for slider, value in ((T, 128), (d, 4096)):
        before = figure.value.partition("alt=")[0]
        slider.value = value
        assert figure.value.partition("alt=")[0] != before
    assert f"{cost.attention_share(128, 4096):.1%}" in text.value


def test_the_scaling_explorer_moves_with_every_slider():
    box = widgets.scaling_explorer()
    (T, D, C, overhead), text, figure = box.children[0].children, *box.children[1:]
    assert "exponents 1.94 (softmax) and 0.81 (linear)" in text.value
    assert "they cross at T = 301; FLOPs alone say 256" in text.value
    for slider, value in ((overhead, 0), (C, 128), (D, 32), (T, 128)):
        before = text.value, figure.value
        slider.value = value
        assert text.value != before[0]
        assert figure.value != before[1]
    assert "no crossing within the measured range; FLOPs alone say 320" in text.value


def test_the_map_explorer_lists_the_chapters_of_the_chosen_track():
    the_course = course.load()
    box = widgets.map_explorer(the_course)
    (buttons,), text, figure = box.children[0].children, *box.children[1:]
    before = figure.value
    buttons.value = "systems"
    assert "13" in text.value
    assert "19" not in text.value
    assert figure.value != before


def test_the_trial_explorer_counts_with_its_sliders():
    box = widgets.trial_explorer()
    controls, text, figure = box.children
    T, D, C, H, H_kv, item_sizes = controls.children
    assert "T* = 256 in prefill" in text.value
    assert "T* = 64 in decode" in text.value
    for slider, value in ((T, 128), (D, 32), (C, 16), (H, 16), (H_kv, 2), (item_sizes, (4, 2))):
        before = text.value, figure.value
        slider.value = value
        assert text.value != before[0] or figure.value != before[1]
    assert f"T* = {cost.prefill_crossover(16, 32, 32):,.0f} in prefill" in text.value
    assert f"T* = {cost.decode_crossover(32, 32, 4, 2, 16, 2):,.0f} in decode" in text.value
    H.value, H_kv.value = 1, 64
    assert "1 in the cache" in text.value


def test_the_timing_explorer_says_how_far_each_summary_is_off():
    box = widgets.timing_explorer()
    (n, interrupted, again), text, figure = box.children[0].children, *box.children[1:]
    before = figure.value
    n.value, interrupted.value, again.value = 100, 30, 3
    samples = noisy_samples(100, 0.3, 3)
    assert f"median {median(samples) / 1e-3 - 1:+.1%}, mean {fmean(samples) / 1e-3 - 1:+.1%}" in text.value
    assert figure.value != before


def test_every_written_chapter_has_an_explorer_and_shows_it():
    notebooks = {
        chapter.number: (course.notebooks_folder() / chapter.notebook) for chapter in course.load().ready
    }
    assert list(widgets.EXPLORERS) == list(notebooks)
    shown = {number: path.read_text(encoding="utf-8") for number, path in notebooks.items()}
    assert [number for number, text in shown.items() if not re.search(r"\w+_(explorer|studio)\(", text)] == []


@pytest.mark.parametrize("number", widgets.EXPLORERS)
def test_controls_go_on_in_the_next_row_of_a_narrow_window_and_none_shrinks(number):
    rows = [row for row in widgets.EXPLORERS[number]().children if isinstance(row, ipywidgets.HBox)]
    assert [row.layout.flex_flow for row in rows] == ["row wrap"]
    for control in rows[0].children:
        if not isinstance(control, ipywidgets.ToggleButtons):  # which wrap by themselves
            assert (control.layout.flex, control.layout.width) == ("0 0 auto", widgets.CONTROL_WIDTH)


@pytest.mark.parametrize("number", widgets.EXPLORERS)
def test_every_control_changes_the_figure_and_not_only_its_words(number):
    box = widgets.EXPLORERS[number]()
    *_, figure = [child for child in box.children if isinstance(child, ipywidgets.HTML)]
    controls = [
        control for row in box.children if isinstance(row, ipywidgets.HBox) for control in row.children
    ]
    assert controls
    for control in controls:
        values = [option[1] if isinstance(option, tuple) else option for option in control.options]
        before = figure.value.partition('" alt=')[0]
        control.value = values[(values.index(control.value) + 1) % len(values)]
        assert figure.value.partition('" alt=')[0] != before, control.description
