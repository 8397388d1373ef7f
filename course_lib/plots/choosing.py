"""A choice between architectures: what each costs by length, who wins where, what reverses it, what it is made of."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, log_places, looks_of, set_title
from course_lib.timing import _format

NOBODY = "–"
PALE = 0.45  # of a colour, so that black letters stand out on it
SPAN = 4.0  # of a log axis, at least: what differs by a few percent lies close together
ROOM = 40  # factor on the axis beyond the longest bar, where its label stands


class Panel(NamedTuple):
    """written: value -> text.  label: of the axis.  limit: name of its line.  base: of a log axis, or None."""

    written: Callable[[float], str]
    label: str
    limit: str
    base: int | None


PANELS = {
    "seconds": Panel(_format.seconds, "time", "limit", 10),
    "memory": Panel(_format.size, "memory", "limit", 2),
    "recall": Panel(lambda x: f"{x:.0%}", "recall", "floor", None),
}


@matplotlib.style.context(STYLE_FILE)
def lengths_plot(
    curves: Mapping[str, Mapping[int, float]],
    *,
    marks: Mapping[str, int],
    ylabel: str,
    title: str,
    limit: tuple[str, float] | None = None,
) -> Figure:
    """A quantity over the tokens of a text, on log–log axes: a curve for each architecture, a mark for each workload.

    curves: name -> T -> value above 0.  marks: workload -> T, a vertical line each.  limit: (name, value), a horizontal
    line. Raises ValueError for no curve, and for a value that is not above 0.
    """
    if not curves:
        raise ValueError("curves must hold at least one architecture, got none")
    fig, ax = axes(title)
    for name, look in looks_of(list(curves)).items():
        curve = dict(sorted(curves[name].items()))
        if low := [y for y in curve.values() if y <= 0]:
            raise ValueError(f"the values of {name!r} must be above 0, got {low[0]}")
        ax.plot(list(curve), list(curve.values()), label=name, **look)
    lengths = [T for curve in curves.values() for T in curve]
    middle = (
        min(lengths) * max(lengths)
    ) ** 0.5  # of a log axis; beyond it a name stands to the left of its line
    for name, T in marks.items():
        ax.axvline(T, color=GREY, linestyle=":", linewidth=1.2)
        ax.annotate(
            f"{name}: {T:,}",
            (T, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-5 if middle < T else 5, -2),
            textcoords="offset points",
            ha="right" if middle < T else "left",
            va="top",
            fontsize=9,
        )
    if limit is not None:
        ax.axhline(limit[1], color=GREY, linestyle="--", linewidth=1.2, label=limit[0])
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.margins(y=0.18)
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.yaxis.set_minor_formatter(ticker.NullFormatter())
    ax.set(xlabel="tokens of the text T", ylabel=ylabel)
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def choice_maps(
    panels: Mapping[str, Sequence[Sequence[str | None]]],
    *,
    names: Sequence[str],
    columns: Sequence[str],
    rows: Mapping[str, Sequence[str]],
    xlabel: str,
    title: str,
) -> Figure:
    """Who is chosen where: a panel for each second quantity, a cell for each pair of values, a letter in each cell.

    panels: what varies from row to row -> a row of names for each of its values, the first row at the bottom; None
    where nobody will do.  names: all architectures, in the order of their colours.  columns: the values along x, as
    words.  rows: panel -> its values along y, as words. Raises ValueError where sizes do not fit, and for a name that
    is not in `names`.
    """
    fig = Figure(
        figsize=(8.2, 1.7 + 0.42 * max((len(grid) for grid in panels.values()), default=1)),
        layout="constrained",
    )
    set_title(fig, title)
    axs = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (ylabel, grid) in zip(axs, panels.items(), strict=True):
        shape = [len(row) for row in grid]
        if shape != [len(columns)] * len(rows[ylabel]):
            expected = f"{len(rows[ylabel])} rows of {len(columns)}"
            raise ValueError(f"the panel {ylabel!r} must have {expected}, got rows of {shape}")
        _map(ax, grid, names)
        ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=9)
        ax.set_yticks(range(len(grid)), rows[ylabel], fontsize=9)
        ax.set(xlabel=xlabel, ylabel=ylabel)
    return fig


def _map(ax: Axes, grid: Sequence[Sequence[str | None]], names: Sequence[str]) -> None:
    known = [None, *names]
    if unknown := {name for row in grid for name in row} - set(known):
        raise ValueError(f"names must hold every choice, got also {', '.join(map(str, sorted(unknown)))}")
    colours = ["#e8e8e8", *(_pale(look["color"]) for look in looks_of(names).values())]
    numbers = np.array([[known.index(name) for name in row] for row in grid])
    ax.imshow(
        numbers, cmap=ListedColormap(colours), vmin=0, vmax=len(known) - 1, origin="lower", aspect="auto"
    )
    ax.grid(visible=False)
    for y, row in enumerate(grid):
        for x, name in enumerate(row):
            ax.text(x, y, name or NOBODY, ha="center", va="center", fontsize=10)


def _pale(colour: str) -> tuple[float, ...]:
    rgb = np.array(matplotlib.colors.to_rgb(colour if colour.startswith("#") else f"#{colour}"))
    return tuple(1 - PALE * (1 - rgb))


@matplotlib.style.context(STYLE_FILE)
def flip_plot(flips: Mapping[str, tuple[float, str | None]], *, title: str, reach: float) -> Figure:
    """By what factor each assumption must move before another choice is made: a bar from 1, the nearest on top.

    flips: assumption -> (factor, the choice there); a factor below 1 is written as what divides. On a log axis halving
    and doubling are equally far. Raises ValueError for no assumption, and for a factor outside 1/reach … reach.
    """
    if not flips:
        raise ValueError("flips must hold at least one assumption, got none")
    fig, ax = axes(title, figsize=(8.2, 1.7 + 0.42 * len(flips)))
    look = looks_of(["moved"])["moved"]
    ordered = sorted(flips.items(), key=lambda item: abs(np.log(item[1][0])))
    for y, (name, (factor, choice)) in enumerate(ordered):
        if not 1 / reach <= factor <= reach:
            raise ValueError(f"the factor of {name!r} must be within {reach:g}, got {factor:g}")
        ax.plot([1, factor], [y, y], **look | {"marker": "", "linewidth": 6, "solid_capstyle": "butt"})
        grows = factor >= 1
        ax.annotate(
            f"{_format.factor(factor)}: {choice or 'none of them'}",
            (factor, y),
            xytext=(7 if grows else -7, 0),
            textcoords="offset points",
            ha="left" if grows else "right",
            va="center",
            fontsize=10,
        )
    ax.axvline(1, color=GREY, linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_xlim(1 / reach / ROOM, reach * ROOM)
    ax.set_xticks([2.0**i for i in range(-6, 7, 2) if 1 / reach <= 2.0**i <= reach])
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: _format.factor(x)))
    ax.set_yticks(range(len(ordered)), [name.replace("_", " ") for name, _ in ordered])
    ax.grid(visible=False, axis="y")  # through the labels
    ax.set_ylim(len(ordered) - 0.5, -0.5)
    ax.set(xlabel="factor at which the choice changes")
    return fig


@matplotlib.style.context(STYLE_FILE)
def decision_plot(
    costs: Mapping[str, Mapping[str, float | None]],
    *,
    limits: Mapping[str, float],
    choice: str | None,
    title: str,
) -> Figure:
    """Three panels, time and memory and recall: a point for each architecture, the limits as lines, the choice filled.

    costs: name -> {"seconds", "memory", "recall"} -> value, None where nobody measured.  limits: "memory" (at most) and
    "recall" (at least), where there are any. Raises ValueError for a choice that has no costs.
    """
    if choice is not None and choice not in costs:
        raise ValueError(f"choice must be one of {', '.join(costs)}, got {choice!r}")
    fig = Figure(figsize=(8.2, 2.0 + 0.4 * len(costs)), layout="constrained")
    set_title(fig, title)
    axs = fig.subplots(1, len(PANELS), sharey=True)
    for ax, (what, panel) in zip(axs, PANELS.items(), strict=True):
        limit = limits.get(what)
        _draw_values(ax, {name: row[what] for name, row in costs.items()}, panel, choice)
        if panel.base is None:
            ax.set_xlim(-0.12, 1.15)
            ax.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"])
        else:
            _log_axis(ax, [row[what] for row in costs.values()] + [limit], panel)
        if limit is not None:
            _draw_limit(ax, limit, panel)
        ax.set(xlabel=panel.label)
    axs[0].set_yticks(range(len(costs)), list(costs))
    axs[0].set_ylim(len(costs) - 0.4, -1.2)  # the names of the limits stand above the first row
    return fig


def _draw_values(ax: Axes, values: Mapping[str, float | None], panel: Panel, choice: str | None) -> None:
    """A point for each architecture, its value on white above it, so that no line runs through the number."""
    white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for y, (name, look) in enumerate(looks_of(list(values)).items()):
        value = values[name]
        if value is None:
            middle = {"xycoords": ("axes fraction", "data"), "ha": "center", "va": "center", "bbox": white}
            ax.annotate("not measured", (0.5, y), **middle)
            continue
        filled = {} if name == choice else {"markerfacecolor": "white"}
        ax.plot([value], [y], **look | {"markersize": 9, "markeredgewidth": 1.8, "zorder": 4} | filled)
        above = {
            "xytext": (0, 8),
            "textcoords": "offset points",
            "ha": "center",
            "fontsize": 9,
            "bbox": white,
        }
        ax.annotate(panel.written(value), (value, y), **above)


def _draw_limit(ax: Axes, limit: float, panel: Panel) -> None:
    """A dashed line with its name at the top, on the side where there is more room."""
    ax.axvline(limit, color=GREY, linestyle="--", linewidth=1.2)
    place = ax.transAxes.inverted().transform(ax.transData.transform((limit, 0)))[0]
    side = -1 if place > 0.5 else 1
    ax.annotate(
        f"{panel.limit} {panel.written(limit)}",
        (limit, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4 * side, -2),
        textcoords="offset points",
        ha="right" if side < 0 else "left",
        va="top",
        fontsize=9,
        color=GREY,
    )


def _round(text: str) -> str:
    """10 s of 10.0 s."""
    return re.sub(r"\.0+(?= )", "", text)


def _log_axis(ax: Axes, values: Sequence[float | None], panel: Panel) -> None:
    """A log axis around the values that spans a factor of 4 at least, with a few round numbers."""
    there = [x for x in values if x is not None] or [1.0]
    low, high = min(there), max(there)
    middle, half = math.sqrt(low * high), max(math.sqrt(high / low), math.sqrt(SPAN)) ** 1.4
    ax.set_xscale("log")
    ax.set_xlim(middle / half, middle * half)
    ax.xaxis.set_major_locator(ticker.FixedLocator(log_places(*ax.get_xlim(), base=panel.base)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _round(panel.written(value))))
    ax.tick_params(axis="x", labelsize=9)
