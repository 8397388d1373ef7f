"""The figures of chapter 11 draw the numbers that they are given."""

import numpy as np
import pytest
import torch

from course_lib import plots
from course_lib.attention import delta_rule


@pytest.mark.parametrize(("overlap", "beta"), [(0.8, 1.0), (-0.3, 0.5), (1.0, 2.0)])
def test_colliding_keys_return_what_the_library_returns(overlap: float, beta: float) -> None:
    keys = torch.tensor([[1.0, 0.0], [overlap, (1 - overlap**2) ** 0.5]], dtype=torch.float64)
    k, v = keys[None, :, None], torch.tensor([1.0, 2.0], dtype=torch.float64)[None, :, None, None]
    strength = torch.full((1, 2, 1), beta, dtype=torch.float64)
    S = delta_rule(k, k, v, beta=strength, output_final_state=True)[1][0, 0, :, 0]
    assert plots.collide(overlap, beta, "delta") == pytest.approx((keys @ S).tolist())
    added = beta * (keys.T @ torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert plots.collide(overlap, beta, "add") == pytest.approx((keys @ added).tolist())


@pytest.mark.parametrize(("overlap", "rule"), [(1.1, "add"), (0.5, "ad")])
def test_no_unit_keys_overlap_by_more_than_one(overlap: float, rule: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        plots.collide(overlap, 1.0, rule)


def test_the_collision_marks_the_overlap_and_names_every_curve() -> None:
    fig = plots.collision_plot(0.8, 1.0)
    (ax,) = fig.axes
    curves = {line.get_label(): line for line in ax.lines}
    assert {"add, key 1", "add, key 2", "delta, key 1", "delta, key 2"} < set(curves)
    x, y = curves["delta, key 1"].get_data()
    assert np.interp(0.8, x, y) == pytest.approx(plots.collide(0.8, 1.0, "delta")[0], abs=1e-3)
    assert list(curves["overlap 0.8"].get_xdata()) == [0.8, 0.8]
    assert list(curves["written: 1 and 2"].get_ydata()) == [1, 1]
    (legend,) = fig.legends
    assert {"written: 1 and 2", "overlap 0.8"} < {text.get_text() for text in legend.get_texts()}
    low, high = ax.get_xlim()
    assert low < -1.01, "no marker at the end is cut in half"
    assert high > 1.01


def test_a_curve_on_a_reference_line_leaves_some_of_it_to_be_seen() -> None:
    lines = {line.get_label(): line for line in plots.collision_plot(0.8, 1.0).axes[0].lines}
    reference, curve = lines["written: 1 and 2"], lines["delta, key 2"]
    assert reference.get_linewidth() > 2 * curve.get_linewidth()
    assert reference.get_color() != curve.get_color()


@pytest.mark.parametrize(
    ("overlap", "beta", "expected"),
    [(0.8, 1.0, "both keys"), (-0.5, 1.0, "key 2 only"), (0.0, 1.0, "neither key")],
)
def test_the_title_names_the_keys_that_correcting_serves(overlap, beta, expected) -> None:
    fig = plots.collision_plot(overlap, beta)
    assert fig.get_suptitle().endswith(f"delta is nearer to the value of {expected}"), "in one row"
    served = [
        abs(plots.collide(overlap, beta, "delta")[key] - value)
        < abs(plots.collide(overlap, beta, "add")[key] - value)
        for key, value in ((0, 1), (1, 2))
    ]
    assert served == [expected == "both keys", expected != "neither key"]


def test_the_switch_draws_one_row_a_setting() -> None:
    fig = plots.switch_plot([1, 0, 1], {"flips": [-1, -1, 1], "erases": [0, 0, 0]}, title="Flip")
    assert [ax.get_title("left") for ax in fig.axes] == ["flips", "erases"]
    assert list(fig.axes[0].lines[0].get_ydata()) == [-1, -1, 1]
    assert [label.get_text() for label in fig.axes[1].get_xticklabels()] == ["1", "0", "1"]
    with pytest.raises(ValueError, match="2 states; expected 3"):
        plots.switch_plot([1, 0, 1], {"short": [1, 1]}, title="")
