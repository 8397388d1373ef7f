"""The figures of chapter 12: the numbers they draw, and that their words neither overlap nor leave the page."""

import math

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from course_lib import plots
from course_lib.attention import s4d
from course_lib.attention.scan import associative_scan
from course_lib.plots import state_space

DELTAS = (0.25, 1.0, 1.5)
DRAWINGS = {
    "sampled": lambda: plots.discretisation_plot(
        -1.5, 1.5, DELTAS, on=3, until=9, title="Euler explodes " * 4
    ),
    "trace": lambda: plots.trace_plot(0.3, 0.5, 2.0),
    "impulse": lambda: plots.impulse_plot(
        {"one mode": [1, 0.5, 0.25], "two": [0, 1, 0]}, title="Two kernels"
    ),
    "tree": lambda: plots.scan_tree(8, title="Eight tokens in three rounds"),
    "widest tree": lambda: plots.scan_tree(16),
}


def drawn_words(fig):
    with plots.style():
        FigureCanvasAgg(fig).draw()
    ticks = {label for ax in fig.axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())}
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in ticks]


@pytest.mark.parametrize("name", DRAWINGS)
def test_no_words_overlap_or_are_cut_off(name):
    fig = DRAWINGS[name]()
    boxes = [(t.get_text(), t.get_window_extent().padded(-1)) for t in drawn_words(fig)]
    assert [(a, b) for i, (a, x) in enumerate(boxes) for b, y in boxes[:i] if x.overlaps(y)] == []
    page = fig.bbox.padded(1)
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 for _, box in boxes)
    assert fig.get_figwidth() <= 9.6


# --- a sampled equation ------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", DELTAS)
def test_zero_order_hold_lies_on_the_solution_and_euler_does_not(delta):
    n = round(3 / delta)
    exact = state_space.sampled(-1.5, 1.5, delta, n, on=n)
    assert exact == pytest.approx([1 - math.exp(-1.5 * delta * i) for i in range(n + 1)])
    euler = state_space.sampled(-1.5, 1.5, delta, n, on=n, rule="Euler")
    assert euler[1] == pytest.approx(1.5 * delta)
    assert max(abs(x - y) for x, y in zip(exact, euler, strict=True)) > 0.05


def test_a_panel_for_each_step_size_with_both_samplings():
    fig = DRAWINGS["sampled"]()
    assert len(fig.axes) == 3
    for ax, delta in zip(fig.axes, DELTAS, strict=True):
        lines = {line.get_label(): line for line in ax.get_lines()}
        assert set(lines) == {"the solution", "zero-order hold", "Euler"}
        steps = round(9 / delta)
        expected = state_space.sampled(-1.5, 1.5, delta, steps, round(3 / delta), "Euler")
        assert list(lines["Euler"].get_ydata()) == pytest.approx(expected)
        assert len(lines["zero-order hold"].get_xdata()) == steps + 1
        assert lines["zero-order hold"].get_linestyle() == "None"
        assert f"Δ = {delta:g}" in ax.get_title()
    assert fig.axes[0].get_ylabel() == "state x"


def test_the_growth_of_euler_is_seen_to_its_last_point():
    """The chapter's figure: its title says that Euler explodes."""
    fig = DRAWINGS["sampled"]()
    lines = {line.get_label(): line for line in fig.axes[-1].get_lines()}
    low, high = fig.axes[-1].get_ylim()
    assert low < min(lines["Euler"].get_ydata())
    assert max(lines["Euler"].get_ydata()) < high
    assert "1 + aΔ = −1.25" in fig.axes[-1].get_title()


def test_step_sizes_that_miss_the_switch_are_named():
    with pytest.raises(ValueError, match=r"multiples of every step size, got 0\.7"):
        plots.discretisation_plot(-1.5, 1.5, (0.7,), on=3, until=9)


# --- what one token leaves behind --------------------------------------------------------------------


def test_a_trace_is_what_s4d_answers_to_a_single_one():
    delta, a, omega = 0.3, 0.5, 2.0
    u = torch.zeros(1, 12, 1, dtype=torch.float64)
    u[0, 0] = 1
    mode = torch.tensor([[complex(-a, omega)]], dtype=torch.complex128)
    y, _ = s4d(u, torch.tensor([delta], dtype=torch.float64), mode, -mode, torch.full_like(mode, 0.5))
    assert state_space.token_trace(delta, a, omega, 12) == pytest.approx(y[0, :, 0].tolist())


def test_the_trace_halves_after_its_half_life():
    trace = state_space.token_trace(0.1, math.log(2), 0.0, 31)
    assert state_space.half_life(0.1, math.log(2)) == pytest.approx(10)
    assert trace[10] == pytest.approx(trace[0] / 2)
    assert trace[30] == pytest.approx(trace[0] / 8)


def test_a_trace_plot_compares_rotation_with_none_and_says_its_half_life():
    fig = DRAWINGS["trace"]()
    lines = fig.axes[0].get_lines()
    assert list(lines[0].get_ydata()) == pytest.approx(state_space.token_trace(0.3, 0.5, 2.0))
    assert list(lines[1].get_ydata()) == pytest.approx(state_space.token_trace(0.3, 0.5, 0.0))
    assert "4.62 tokens" in fig.get_suptitle()
    assert (
        len([line for line in plots.trace_plot(0.3, 0.5).axes[0].get_lines() if len(line.get_xdata()) > 2])
        == 1
    )


@pytest.mark.parametrize(
    ("delta", "alpha", "omega", "seen"),
    [(0.3, 0.5, 4.0, True), (0.1, 0.5, 2.0, True), (1.0, 1.0, 0.5, False), (0.3, 0.5, 0.0, False)],
)
def test_a_title_says_swinging_where_one_can_see_it(delta, alpha, omega, seen):
    fig = plots.trace_plot(delta, alpha, omega)
    assert ("swinging" in fig.get_suptitle()) == seen
    depth = -min(fig.axes[0].get_lines()[0].get_ydata()) / max(fig.axes[0].get_lines()[0].get_ydata())
    assert (depth > 0.02) == seen
    assert f"α = {alpha:g}" in fig.axes[0].get_lines()[0].get_label()


@pytest.mark.parametrize(("delta", "alpha", "T"), [(0, 1, 4), (1, -1, 4), (1, 1, 0)])
def test_numbers_without_a_trace_are_named(delta, alpha, T):
    with pytest.raises(ValueError, match="must be above 0"):
        state_space.token_trace(delta, alpha, T=T)


# --- the tree ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("T", "expected"), [(2, 1), (3, 2), (8, 3), (9, 4), (16, 4)])
def test_rounds_grow_with_the_logarithm(T, expected):
    assert state_space.rounds(T) == expected


def test_the_boxes_are_what_the_scan_has_combined():
    fig = plots.scan_tree(8)
    texts = [t.get_text() for t in fig.axes[0].texts if t.get_text()]
    assert texts[:8] == [str(t) for t in range(8)]
    assert texts[16:24] == ["0", "0–1", "0–2", "0–3", "1–4", "2–5", "3–6", "4–7"]
    assert texts[24:] == ["0", *(f"0–{t}" for t in range(1, 8))]
    arrows = [t for t in fig.axes[0].texts if not t.get_text()]
    assert len(arrows) == 2 * (7 + 6 + 4), "two parents for each combination"


def test_the_library_combines_in_as_many_rounds(monkeypatch):
    calls = []
    monkeypatch.setattr(
        torch, "cat", lambda parts, dim, cat=torch.cat: calls.append(1) or cat(parts, dim=dim)
    )
    associative_scan(torch.ones(1, 8, 1), torch.ones(1, 8, 1), torch.zeros(1, 1))
    assert len(calls) == 1 + 2 * state_space.rounds(8)


@pytest.mark.parametrize("T", [1, 17])
def test_a_tree_that_cannot_be_drawn_is_refused(T):
    with pytest.raises(ValueError, match="from 2 to 16"):
        plots.scan_tree(T)
