"""Figures: nothing cut off, nothing on top of anything else, no curve told apart by colour alone."""

import dataclasses
import struct
import xml.etree.ElementTree as ET
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from course_lib import concept_map as maps
from course_lib import cost, plots, timing
from course_lib.course import Course, from_dict, load
from course_lib.plots import base
from course_lib.timing.pretend import noisy_samples
from course_lib.timing.sweeps import Sweep

LENGTHS = [2**i for i in range(5, 14)]
ALT = "Softmax time grows with the square of T, linear attention with T; they meet near 256."
TITLE = "Linear attention passes fused softmax near the predicted 256 tokens and stays ahead from there on"
TOKENS = ["the", "needle", "is", "hidden", "in", "the", "hay", "stack", "near", "Delft", "today"]
RATES = timing.Rates(1e11, 4e10, "float32", 1, "A processor")
SVG = "{http://www.w3.org/2000/svg}"


def swept(device: str = "A processor", measure: str = "time", factor: float = 1.0) -> Sweep:
    laws = {"softmax": lambda T: 1e-8 * T**2, "linear": lambda T: 256e-8 * T, "constant": lambda T: 1e-3}
    samples = {name: {T: (factor * law(T),) for T in LENGTHS} for name, law in laws.items()}
    stamp = timing.environment()
    return Sweep(
        "a sweep", measure, samples, {}, type(stamp)(**stamp.to_dict() | {"device": device}), "process_time"
    )


def fits() -> dict[str, timing.Scaling]:
    return {"all lengths": timing.Scaling(swept(), last=None), "last three": timing.Scaling(swept(), last=3)}


def drawings() -> dict[str, Callable[[], Figure]]:
    torch.manual_seed(0)
    weights = torch.randn(11, 11).softmax(-1)
    scores = torch.randn(4, 4).masked_fill(torch.triu(torch.ones(4, 4), 1) > 0, -torch.inf)
    marks = {"crossover": ("softmax", "linear"), "closed_form": 256.0}
    measured = {"softmax": 2e-3, "linear": 1e-3}
    return {
        "sweep": lambda: plots.sweep_plot(swept(), recorded=swept("Another processor"), title=TITLE, **marks),
        "long name": lambda: plots.sweep_plot(
            swept(), recorded=swept("Some 3900X 12-Core Processor"), title=TITLE
        ),
        "memory": lambda: plots.sweep_plot(swept(measure="memory", factor=1e9), title="Memory"),
        "late crossover": lambda: plots.sweep_plot(swept(), closed_form=7000, title="Late"),
        "residuals": lambda: plots.residual_plot(fits(), "softmax", title=TITLE),
        "local exponents": lambda: plots.local_exponent_plot(timing.Scaling(swept()), title=TITLE),
        "extrapolated": lambda: plots.extrapolation_plot(512, 64, 64, 15),
        "not far enough": lambda: plots.extrapolation_plot(128, 128, 256, 150),
        "flops": lambda: plots.cost_plot(1024, 64, 64),
        "cost": lambda: plots.cost_plot(128, 64, 256, rate=1e11, measured=measured),
        "share": lambda: plots.layer_share_plot([256, 768, 4096]),
        "trial": lambda: plots.trial_plot(64, 64),
        "trial, outside": lambda: plots.trial_plot(1024, 128, H=64, H_kv=8, b_cache=1, C=16),
        "matrices": lambda: plots.matrix_plot({"scores": scores, "weights": scores.softmax(-1)}, title=TITLE),
        "no numbers": lambda: plots.matrix_plot({"S": scores, "S'": scores}, numbers=False, title=TITLE),
        "one matrix": lambda: plots.matrix_plot({"S": torch.eye(3)}, title="Short"),
        "state": lambda: plots.memory_heatmap(
            torch.randn(16, 16), title="Twelve facts lie on top of each other in one 16×16 matrix"
        ),
        "attention": lambda: plots.weights_plot({"softmax": weights, "linear": weights}, TOKENS, title=TITLE),
        "recall": lambda: plots.recall_age_grid(
            {"once": {"softmax": [1] * 11, "linear": [0.5] * 11}}, title=TITLE, chance=0.1
        ),
        "crowd": lambda: plots.recall_plot([4, 16, 64], {"a": [1, 1, 1], "b": [1, 0.5, 0.1]}, title=TITLE),
        "roof": lambda: plots.roofline_plot(RATES, {"sum": (0.1, 3e9), "product": (170, 9e10)}, title=TITLE),
        "samples": lambda: plots.samples_plot(noisy_samples(200), usual=1e-3, title=TITLE),
        "quiet samples": lambda: plots.samples_plot(noisy_samples(20, interrupted=0), title=TITLE),
        "decode": lambda: plots.sweep_plot(swept(), guide=(0, 1), title=TITLE),
        "map": lambda: plots.concept_map(load()),
        "track": lambda: plots.concept_map(load(), track="core"),
    }


@pytest.fixture(scope="module", params=list(drawings()))
def figure(request) -> Figure:
    fig = drawings()[request.param]()
    with plots.style():
        FigureCanvasAgg(fig).draw()
    return fig


def words(fig: Figure) -> list[Text]:
    """What is drawn: matplotlib also keeps tick labels outside the limits and of axes switched off."""
    hidden = {label for ax in fig.axes for label in undrawn_labels(ax)}
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]


def undrawn_labels(ax) -> list[Text]:
    axes = [(ax.get_xticklabels(), ax.get_xlim(), 0), (ax.get_yticklabels(), ax.get_ylim(), 1)]
    return [
        label
        for labels, limits, i in axes
        for label in labels
        if not ax.axison or not min(limits) <= label.get_position()[i] <= max(limits)
    ]


# --- all figures -------------------------------------------------------------------------------------


def test_no_word_is_cut_off(figure):
    page = figure.bbox.padded(1)
    cut = [t.get_text() for t in words(figure) if not contains(page, t.get_window_extent())]
    assert cut == []


def test_no_legend_is_cut_off(figure):
    page = figure.bbox.padded(1)
    assert all(contains(page, legend.get_window_extent()) for legend in figure.legends)


def test_no_two_words_overlap(figure):
    texts = [(t.get_text(), t.get_window_extent().padded(-1)) for t in words(figure)]
    clashes = [(a, b) for i, (a, box) in enumerate(texts) for b, other in texts[:i] if box.overlaps(other)]
    assert clashes == []


def test_words_are_large_enough(figure):
    assert min(t.get_fontsize() for t in words(figure)) >= 9


def test_the_page_is_white_and_fits_a_notebook(figure):
    assert figure.get_facecolor() == (1, 1, 1, 1)
    width, height = png_size(plots.png(figure))
    assert width <= 960
    assert height <= 800


def test_the_same_figure_gives_the_same_bytes():
    first, second = (plots.png(plots.cost_plot(512, 64, 64)) for _ in range(2))
    assert first == second
    assert b"Software" not in first


def contains(page, box) -> bool:
    return page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1


def png_size(data: bytes) -> tuple[int, int]:
    return struct.unpack(">II", data[16:24])


# --- show --------------------------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    calls = []
    monkeypatch.setattr("IPython.display.display", lambda data, **options: calls.append((data, options)))
    return calls


def test_show_stores_the_alt_text_and_closes(shown):
    fig = plt.figure(figsize=(4, 3), dpi=250)
    plots.show(fig, alt=f"  {ALT}\n")
    ((data, options),) = shown
    assert data["text/plain"] == f"Figure: {ALT}"
    assert options == {"metadata": {"image/png": {"alt": ALT}}, "raw": True}
    assert png_size(data["image/png"]) == (400, 300), "at most 100 dpi"
    assert not plt.fignum_exists(fig.number)


def test_show_wants_a_finding(shown):
    with pytest.raises(ValueError, match="10 characters"):
        plots.show(plots.cost_plot(512, 64, 64), alt="  a   figure  !  ")
    assert shown == []


def test_the_style_ends_with_its_block():
    before = plt.rcParams["figure.figsize"]
    with plots.style():
        assert plt.rcParams["figure.figsize"] == [7.0, 4.3]
    plots.cost_plot(512, 64, 64)
    assert plt.rcParams["figure.figsize"] == before


# --- curves ------------------------------------------------------------------------------------------


def test_no_two_curves_differ_by_colour_alone():
    with plots.style():
        looks = list(base.looks_of([str(i) for i in range(7)]).values())
    for part in ("color", "linestyle", "marker"):
        assert len({str(look[part]) for look in looks}) == 7


def test_a_sweep_is_drawn_as_it_was_measured():
    sweep = swept()
    ax = plots.sweep_plot(sweep).axes[0]
    line = next(line for line in ax.get_lines() if line.get_label() == "linear")
    assert list(line.get_xdata()) == LENGTHS
    assert list(line.get_ydata()) == [sweep.values["linear"][T] for T in LENGTHS]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_a_recorded_sweep_is_faint_points_and_named():
    fig = plots.sweep_plot(swept("Mine"), recorded=swept("Another processor", factor=2))
    labels = [t.get_text() for t in fig.legends[0].get_texts()]
    assert any("recorded on Another processor" in label for label in labels)
    doubled = [line for line in fig.axes[0].get_lines() if len(line.get_xdata()) == 9 and line.get_alpha()]
    assert len(doubled) == 3
    own = {line.get_label(): line for line in fig.axes[0].get_lines()}
    assert doubled[1].get_color() == own["linear"].get_color()
    assert {line.get_linestyle() for line in doubled} == {"None"}
    assert own["linear"].get_alpha() is None


def test_measured_and_predicted_crossover_stand_side_by_side():
    fig = plots.sweep_plot(swept(), crossover=("softmax", "linear"), closed_form=300)
    text = " ".join(t.get_text() for t in words(fig))
    assert "measured: T = 256" in text
    assert "closed form: T = 300" in text
    marked = [line.get_xdata()[0] for line in fig.axes[0].get_lines() if len(set(line.get_xdata())) == 1]
    assert sorted(marked) == pytest.approx([256, 300])


@pytest.mark.parametrize("lengths", [[64], [64, 128], [32, 64, 128]])
@pytest.mark.parametrize("measure", ["time", "memory"])
def test_a_short_sweep_still_has_numbers_on_both_axes(lengths, measure):
    sweep = swept(measure=measure, factor=1e9 if measure == "memory" else 1)
    samples = {name: {T: curve[T] for T in lengths} for name, curve in sweep.samples.items()}
    fig = plots.sweep_plot(dataclasses.replace(sweep, samples=samples | {"stopped at once": {}}))
    FigureCanvasAgg(fig).draw()
    shown = {t.get_text() for t in words(fig)}
    assert len({t.get_text() for t in fig.axes[0].get_yticklabels()} & shown) >= 3
    assert {t.get_text() for t in fig.axes[0].get_xticklabels()} & shown


def test_fitted_points_are_filled_and_the_others_hollow():
    lines = plots.residual_plot(fits(), "softmax").axes[0].get_lines()
    filled = [line for line in lines if line.get_linestyle() == "None" and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in filled] == [LENGTHS, LENGTHS[-3:]]
    hollow = [line for line in lines if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata() for line in hollow] == [pytest.approx([1.0] * len(LENGTHS))] * 2


def test_local_exponents_of_power_laws_are_level():
    lines = plots.local_exponent_plot(timing.Scaling(swept())).axes[0].get_lines()
    levels = {
        line.get_label(): line.get_ydata() for line in lines if len(line.get_xdata()) == len(LENGTHS) - 1
    }
    assert {name: y == pytest.approx([y[0]] * 8, abs=1e-9) for name, y in levels.items()} == dict.fromkeys(
        ("softmax", "linear", "constant"), True
    )
    assert levels["softmax"][0] == pytest.approx(2)


def test_a_prediction_without_overhead_crosses_at_the_closed_form():
    seen = plots.predicted_sweep(1024, 64, 64, overhead_us=0)
    assert seen.lengths("linear") == LENGTHS[:6]
    assert seen.crossover("softmax", "linear") == pytest.approx(cost.prefill_crossover(64, 64, 64))
    slower = plots.predicted_sweep(1024, 64, 64, overhead_us=15)
    assert slower.crossover("softmax", "linear") > 256
    assert slower.exponent("linear") < seen.exponent("linear")


@pytest.mark.parametrize(("T", "expected"), [(512, "they cross at 301"), (128, "no crossing was seen")])
def test_an_extrapolation_says_what_was_seen(T, expected):
    fig = plots.extrapolation_plot(T, 64, 64, overhead_us=15)
    text = " ".join(t.get_text() for t in words(fig)).replace("\n", " ")
    assert expected in text
    assert ("seen: T = 301" in text) == (T == 512)


def heads_of(fig: Figure) -> list[Annotation]:
    with plots.style():
        FigureCanvasAgg(fig).draw()
    return fig.findobj(Annotation)


@pytest.mark.parametrize("name", ["sweep", "late crossover", "extrapolated", "flops", "cost"])
def test_the_label_of_a_crossover_stands_above_the_curves(name):
    fig = drawings()[name]()
    heads, ax = heads_of(fig), fig.axes[0]
    top = ax.transData.transform((1, ax.dataLim.y1))[1]
    assert heads
    for head in heads:
        box = head.get_window_extent()
        assert top < box.y0
        assert ax.bbox.x0 <= box.x0
        assert box.x1 <= ax.bbox.x1
        assert box.y1 <= ax.bbox.y1


@pytest.mark.parametrize(("turn", "closed_form"), [(256, 300), (256, 40), (4000, 2000), (60, 45)])
def test_no_line_runs_through_the_label_of_another(turn, closed_form):
    laws = {"softmax": lambda T: 1e-8 * T**2, "linear": lambda T: turn * 1e-8 * T}
    samples = {name: {T: (law(T),) for T in LENGTHS} for name, law in laws.items()}
    sweep = dataclasses.replace(swept(), samples=samples)
    fig = plots.sweep_plot(sweep, crossover=("softmax", "linear"), closed_form=closed_form)
    heads = heads_of(fig)
    lines = [line for line in fig.axes[0].get_lines() if len(set(line.get_xdata())) == 1]
    assert (len(heads), len(lines)) == (2, 2)
    for head in heads:
        assert not any(head.get_window_extent().overlaps(line.get_window_extent()) for line in lines)


def test_a_curve_of_a_narrow_range_has_three_ticks_beside_its_mark():
    sweep = swept()
    flat = {"a": {16: (26e-6,), 256: (93e-6,)}, "b": {16: (140e-6,), 256: (138e-6,)}}
    fig = plots.sweep_plot(dataclasses.replace(sweep, samples=flat), closed_form=64, guide=(0, 1))
    heads_of(fig)
    shown = {t.get_text() for t in words(fig)}
    assert len({t.get_text() for t in fig.axes[0].get_yticklabels()} & shown) >= 3


def test_curves_that_never_meet_get_no_mark():
    text = " ".join(t.get_text() for t in words(plots.sweep_plot(swept(), crossover=("linear", "linear"))))
    assert "measured" not in text


def guides_of(fig: Figure) -> list:
    return [line for line in fig.axes[0].get_lines() if line.get_color() == base.GREY]


def test_the_guides_have_their_slopes():
    guides = guides_of(plots.sweep_plot(swept(), guide=(0, 1, 2)))
    slopes = [np.ptp(np.log(g.get_ydata())) / np.ptp(np.log(g.get_xdata())) for g in guides]
    assert slopes == pytest.approx([0, 1, 2])
    assert guides_of(plots.sweep_plot(swept(), guide=())) == []


def test_the_words_of_the_guides_end_inside_the_axes():
    fig = plots.sweep_plot(swept(), guide=(0, 1))
    with plots.style():
        FigureCanvasAgg(fig).draw()
    (constant,) = [t for t in fig.axes[0].texts if "constant" in t.get_text()]
    assert constant.get_window_extent().x1 <= fig.axes[0].bbox.x1


def test_the_guides_lie_below_even_a_flat_curve():
    sweep = swept()
    flat = {"constant": dict.fromkeys(LENGTHS, (1e-05,))}
    fig = plots.sweep_plot(dataclasses.replace(sweep, samples=sweep.samples | flat))
    assert max(g.get_ydata()[-1] for g in guides_of(fig)) < 1e-5
    assert fig.axes[0].get_ylim()[0] < min(g.get_ydata()[0] for g in guides_of(fig))


def test_predicted_cost_comes_from_the_cost_model():
    ax = plots.cost_plot(1000, 32, 16, H=2).axes[0]
    lines = {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in ax.get_lines()}
    assert lines["softmax, predicted"][1000] == cost.softmax_flops(1, 1000, 2, 32, 32)
    assert lines["linear, predicted"][1000] == cost.linear_flops(1, 1000, 2, 32, 32, 16)
    timed = plots.cost_plot(1000, 32, 16, H=2, rate=1e9, measured={"linear": 0.5}).axes[0]
    lines = {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in timed.get_lines()}
    assert lines["softmax, predicted"][1000] == cost.softmax_flops(1, 1000, 2, 32, 32) / 1e9
    assert lines["linear, measured"] == {1000: 0.5}


def test_the_title_names_the_cheaper_one():
    titles = [plots.cost_plot(T, 64, 64).get_suptitle() for T in (128, 256, 1024)]
    assert [title.split()[0] for title in titles] == ["Softmax", "At", "Linear"]


def test_measured_points_need_a_rate():
    with pytest.raises(ValueError, match="rate"):
        plots.cost_plot(128, 64, 64, measured={"linear": 1.0})


def test_the_roof_has_its_corner_at_the_balance():
    ax = plots.roofline_plot(RATES, {"sum": (0.1, 3e9)}).axes[0]
    roof = ax.get_lines()[0]
    x, y = np.array(roof.get_xdata()), np.array(roof.get_ydata())
    assert RATES.balance == 2.5
    assert y[x < 2.5] == pytest.approx(4e10 * x[x < 2.5])
    assert y[x > 2.5] == pytest.approx(1e11)
    assert ("sum", [0.1], [3e9]) in [
        (p.get_label(), list(p.get_xdata()), list(p.get_ydata())) for p in ax.get_lines()
    ]


def test_samples_are_counted_and_their_summaries_marked():
    samples = [1e-3, 1e-3, 2e-3, 3e-3, 13e-3]
    ax = plots.samples_plot(samples, usual=1e-3).axes[0]
    marks = {line.get_label(): line.get_xdata()[0] for line in ax.get_lines()}
    expected = {"minimum: 1.00 ms": 1e-3, "median: 2.00 ms": 2e-3, "mean: 4.00 ms": 4e-3}
    assert marks == pytest.approx(expected | {"usual call: 1.00 ms": 1e-3})
    band = ax.patches[-1].get_extents().transformed(ax.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((1e-3, 5e-3))
    assert sum(bar.get_height() for bar in ax.containers[0]) == len(samples)
    assert min(bar.get_x() for bar in ax.containers[0]) == min(samples), "no bar left of the minimum"
    assert max(line.get_linewidth() for line in ax.get_lines()) < 2


def test_half_of_a_layer_is_marked_where_the_formula_says():
    ax = plots.layer_share_plot([100]).axes[0]
    marks = [
        (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.get_lines() if len(line.get_xdata()) == 1
    ]
    assert marks == [(1200, 50)]
    assert cost.attention_share(1200, 100) == pytest.approx(0.5)


# --- matrices ----------------------------------------------------------------------------------------


def test_a_trial_counts_what_the_formulas_count_and_marks_where_they_meet():
    fig = plots.trial_plot(100, 64, H=8, H_kv=4, b_state=4, b_cache=2, C=16)
    prefill, decode = fig.axes
    at = {
        ax: [float(line.get_ydata()[0]) for line in ax.get_lines() if len(line.get_xdata()) == 1]
        for ax in fig.axes
    }
    assert at[prefill] == [cost.softmax_flops(1, 100, 8, 64, 64), cost.linear_flops(1, 100, 8, 64, 64, 16)]
    assert at[decode] == [100 * 4 * 128 * 2, 2 * 8 * 64 * 64 * 4]
    assert [ax.get_title() for ax in fig.axes] == ["they meet at T* = 160", "they meet at T* = 256"]
    assert "softmax does less in prefill and in decode" in fig.get_suptitle().replace("\n", " ")
    assert "neither does less in prefill, linear in decode" in plots.trial_plot(256, 64).get_suptitle()
    assert "linear does less in prefill and in decode" in plots.trial_plot(512, 64).get_suptitle()


def test_cells_show_their_numbers_and_masked_ones_infinity():
    fig = plots.matrix_plot(
        {"scores": [[0.25, -np.inf], [3.0, -2.5]]}, row_labels=["a", "b"], col_labels=["c", "d"]
    )
    cells = [t.get_text() for t in fig.axes[0].texts]
    assert cells == ["0.25", "–∞", "3", "–2.50"]
    assert fig.axes[0].images[0].get_clim() == (-3, 3)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["a", "b"]
    assert plots.matrix_plot({"S": [[1.0]]}, numbers=False).axes[0].texts[:] == []


def test_numbers_are_readable_on_their_cells():
    fig = plots.matrix_plot({"S": [[0.0, 10.0]]})
    assert [t.get_color() for t in fig.axes[0].texts] == ["black", "white"]


def test_matrices_without_numbers_say_what_their_colours_mean():
    assert "red is above 0, blue below; darkest at ±3" in drawn_words(
        plots.matrix_plot({"S": [[1.0, -3.0]]}, numbers=False)
    )
    assert "white is 0; darkest at 2" in drawn_words(plots.matrix_plot({"S": [[1.0, 2.0]]}, numbers=False))
    assert "above 0" not in drawn_words(plots.matrix_plot({"S": [[1.0, -3.0]]}))


def drawn_words(fig: Figure) -> str:
    return " ".join(t.get_text() for t in words(fig))


def test_the_future_is_no_weight_of_0():
    def masked(weights: torch.Tensor) -> np.ndarray:
        image = plots.weights_plot({"w": weights}, ["a", "b", "c"]).axes[0].images[0]
        return np.ma.getmaskarray(image.get_array())

    assert np.array_equal(masked(torch.ones(3, 3).tril()), np.triu(np.ones((3, 3), bool), 1))
    assert not masked(torch.ones(3, 3)).any()


def test_a_state_is_coloured_symmetrically():
    state = torch.tensor([[1.0, -3.0], [0.0, 2.0]], requires_grad=True)
    image = plots.memory_heatmap(state, title="t").axes[0].images[0]
    assert image.get_clim() == (-3, 3)
    assert plots.memory_heatmap(torch.zeros(2, 2), title="t").axes[0].images[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.memory_heatmap(torch.zeros(2, 2, 2), title="t"), r"state has shape \(2, 2, 2\)"),
        (lambda: plots.weights_plot({"w": torch.zeros(2, 3)}, ["a", "b"]), r"w is \(2, 3\)"),
        (lambda: plots.recall_plot([4, 8], {"w": [1, 2, 3]}), "w has 3 shares"),
        (lambda: plots.concept_map(load(), track="scenic"), "'scenic'"),
    ],
)
def test_wrong_shapes_are_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


# --- the concept map ---------------------------------------------------------------------------------


def small_course(**before: list[str]) -> Course:
    """Chapters a, b, … with the chapters they build on; only "a" is ready."""

    def chapter(number: str, earlier: list[str]) -> dict:
        return {
            "number": number,
            "slug": f"slug-{number}",
            "title": f"Title <{number}>",
            "part": "I",
            "minutes": 45,
            "status": "ready" if number == "a" else "planned",
            "star": number == "a",
            "tracks": ["core"] if number != "c" else [],
            "learn_before": dict.fromkeys(earlier, "why"),
            "objectives": {},
        }

    return from_dict(
        {
            "title": "t",
            "repository": "",
            "ref": "",
            "parts": {"I": "One"},
            "tracks": {"core": "short"},
            "chapters": [chapter(number, earlier) for number, earlier in before.items()],
        }
    )


def test_a_chapter_stands_below_everything_it_builds_on():
    plan = maps.layout(load())
    y = {node.chapter.number: node.y for node in plan.nodes}
    assert all(y[n] < y[c.number] for c in load().chapters for n in c.learn_before)


def test_an_edge_that_a_path_implies_is_left_out():
    plan = maps.layout(small_course(a=[], b=["a"], c=["a", "b"]))
    assert {(e.before, e.after) for e in plan.edges} == {("a", "b"), ("b", "c")}


def test_no_edge_is_lost():
    """Whoever follows the drawn arrows passes every prerequisite."""
    plan = maps.layout(load())
    parents = {c.number: {e.before for e in plan.edges if e.after == c.number} for c in load().chapters}

    def above(number: str) -> set[str]:
        return parents[number].union(*map(above, parents[number]))

    assert all(set(c.learn_before) <= above(c.number) for c in load().chapters)


def test_chapters_do_not_touch_and_edges_keep_clear_of_them():
    plan = maps.layout(load())
    nodes = [(n.x, n.y) for n in plan.nodes]
    assert all(
        abs(x - u) >= maps.NODE_W or abs(y - v) >= maps.NODE_H
        for i, (x, y) in enumerate(nodes)
        for u, v in nodes[:i]
    )
    bends = [p for e in plan.edges for p in e.points[1:-1]]
    assert not [
        (x, y)
        for x, y in bends
        for u, v in nodes
        if abs(x - u) < maps.NODE_W / 2 and abs(y - v) <= maps.NODE_H / 2
    ]
    assert all(maps.NODE_W / 2 <= x <= plan.width - maps.NODE_W / 2 for x, _ in nodes)


def test_every_part_has_its_own_shape_as_large_as_a_node():
    shapes = [maps.outline(part) for part in range(5)]
    assert len({str(shape) for shape in shapes}) == 5
    for shape in shapes:
        assert max(abs(x) for x, _ in shape) == pytest.approx(maps.NODE_W / 2)
        assert max(abs(y) for _, y in shape) == pytest.approx(maps.NODE_H / 2)


def test_names_fit_into_their_chapters():
    fig = plots.concept_map(load())
    with plots.style():
        FigureCanvasAgg(fig).draw()
    names = {c.slug.replace("-", " ") for c in load().chapters}
    widths = {t.get_text(): t.get_window_extent().width for t in words(fig) if t.get_text() in names}
    assert set(widths) == names
    assert max(widths.values()) < maps.NODE_W - 25  # room for slanted sides


def test_the_figure_shows_every_chapter_and_what_is_planned():
    fig = plots.concept_map(small_course(a=[], b=["a"], c=["a"]), track="core")
    text = [t.get_text() for t in words(fig)]
    assert {"a ★", "slug a", "b", "slug b"} <= set(text)
    outlines = [patch for patch in fig.axes[0].patches if patch.get_zorder() == 2]
    assert [patch.get_linestyle() == "-" for patch in outlines] == [True, False, False]
    assert [patch.get_alpha() for patch in outlines] == [1.0, 1.0, 0.3]


def test_the_page_links_every_chapter_that_is_ready_and_no_other():
    root = ET.fromstring(maps.concept_map_html(load()))
    links = [a.get("href") for a in root.iter("{http://www.w3.org/1999/xhtml}a")]
    assert links == [c.notebook for c in load().ready]
    assert not list(root.iter(f"{SVG}a")), "JupyterLab shows an error instead of a link in SVG"
    titles = [t.text for t in root.iter(f"{SVG}title")]
    assert len(titles) == 1 + len(load().chapters)
    assert sum(title.endswith("(planned)") for title in titles) == len(load().chapters) - len(links)
    assert not list(root.iter(f"{SVG}script"))


def test_titles_are_escaped():
    assert "Title &lt;a&gt;" in plots.concept_map_html(small_course(a=[]))
