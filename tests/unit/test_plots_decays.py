"""The weights that a fading memory keeps, and their figure."""

from math import log

import pytest

from course_lib import plots


def test_a_constant_gate_gives_powers_of_gamma() -> None:
    found = plots.kept([log(0.8)] * 5)
    assert found.weights == pytest.approx([1, 0.8, 0.64, 0.512, 0.4096])
    assert found.half_life == 4


def test_a_token_fades_by_the_gates_after_it_and_not_by_its_own() -> None:
    found = plots.kept([log(0.1), log(0.5), 0.0, log(0.9)])  # oldest first
    assert found.weights == pytest.approx([1, 0.9, 0.9, 0.45])
    assert found.half_life == 3


def test_no_half_life_where_more_than_half_is_left() -> None:
    assert plots.kept([log(0.9)] * 3).half_life is None
    assert plots.kept([0.0]).weights == [1.0]


@pytest.mark.parametrize("g", [[], [0.1], [-1.0, float("nan")]])
def test_gates_that_are_none_are_refused(g: list[float]) -> None:
    with pytest.raises(ValueError, match="at most 0"):
        plots.kept(g)


def test_the_figure_draws_the_weights_and_marks_the_half_lives() -> None:
    fig = plots.kept_plot({"γ = 0.5": [log(0.5)] * 4, "slow": [log(0.9)] * 4}, title="One halves at once")
    (ax,) = fig.axes
    curves = {line.get_label(): line.get_ydata() for line in ax.lines}
    assert list(curves["γ = 0.5, half after 1"]) == pytest.approx([1, 0.5, 0.25, 0.125])
    assert list(curves["slow"]) == pytest.approx([1, 0.9, 0.81, 0.729])
    assert [list(line.get_xdata()) for line in ax.lines if list(line.get_xdata()) == [1, 1]] == [[1, 1]]
    assert ax.get_xlabel() == "age of the token that was written (tokens)"
    assert ax.get_ylabel() == "weight that is left"
    assert fig._suptitle.get_text() == "One halves at once"
