"""What a fading memory keeps of each past token."""

from collections.abc import Mapping, Sequence
from math import exp
from typing import NamedTuple

import matplotlib.style
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of


class Kept(NamedTuple):
    """weights: of the tokens 0, 1, 2, … steps back. half_life: the first age at which at most half is left, or None."""

    weights: list[float]
    half_life: int | None


def kept(g: Sequence[float]) -> Kept:
    """What is left of every token when the last one reads: e^{Σ of the gates after it}, the newest first.

    g: the log gates of T tokens, oldest first, each at most 0 (ValueError otherwise). Chapter 10.
    """
    if not len(g) or any(not gate <= 0 for gate in g):
        raise ValueError("g must hold at least one log gate, each at most 0")
    weights, total = [], 0.0
    for gate in reversed(g):
        weights.append(exp(total))
        total += gate
    return Kept(weights, next((age for age, weight in enumerate(weights) if weight <= 0.5), None))


@matplotlib.style.context(STYLE_FILE)
def kept_plot(gates: Mapping[str, Sequence[float]], *, title: str = "") -> Figure:
    """The weight of each past token against its age, a curve for each sequence of log gates (oldest first).

    A vertical line marks the first age at which at most half is left.
    """
    fig, ax = axes(title)
    for name, look in looks_of(list(gates)).items():
        found = kept(gates[name])
        half = "" if found.half_life is None else f", half after {found.half_life}"
        ax.plot(found.weights, label=f"{name}{half}", **(look | {"marker": "."}))
        if found.half_life is not None:
            ax.axvline(found.half_life, ymax=0.5, color=look["color"], linewidth=1, linestyle=":")
    ax.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
    ax.set(
        xlabel="age of the token that was written (tokens)", ylabel="weight that is left", ylim=(-0.03, 1.05)
    )
    legend_below(fig, ax)
    return fig
