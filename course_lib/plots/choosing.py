"""A choice between architectures: what each costs by length, who wins where, what reverses it, what it is made of."""

from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of, set_title
from course_lib.timing import _format

NOBODY = "–"
PALE = 0.45  # of a colour, so that black letters stand out on it
SCALES = {
    "seconds": (_format.seconds, "time"),
    "memory": (_format.size, "memory"),
    "recall": (lambda x: f"{x:.0%}", "recall"),
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

    flips: assumption -> (factor, the choice there). On a log axis halving and doubling are equally far. Raises
    ValueError for no assumption, and for a factor outside 1/reach … reach.
    """
    if not flips:
        raise ValueError("flips must hold at least one assumption, got none")
    fig, ax = axes(title, figsize=(7.0, 1.7 + 0.42 * len(flips)))
    look = looks_of(["moved"])["moved"]
    ordered = sorted(flips.items(), key=lambda item: abs(np.log(item[1][0])))
    for y, (name, (factor, choice)) in enumerate(ordered):
        if not 1 / reach <= factor <= reach:
            raise ValueError(f"the factor of {name!r} must be within {reach:g}, got {factor:g}")
        ax.plot([1, factor], [y, y], **look | {"marker": "", "linewidth": 6, "solid_capstyle": "butt"})
        ax.annotate(
            f"× {factor:.3g}: {choice or 'none of them'}",
            (max(1, factor), y),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
        )
    ax.axvline(1, color=GREY, linewidth=1)
    ax.set_xscale("log", base=2)
    ax.set_xlim(1 / reach / 1.3, reach * 16)
    ax.set_xticks([2.0**i for i in range(-6, 7, 2) if 1 / reach <= 2.0**i <= reach])
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"× {x:g}" if x >= 1 else f"÷ {1 / x:g}"))
    ax.set_yticks(range(len(ordered)), [name for name, _ in ordered])
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
    fig = Figure(figsize=(8.2, 1.7 + 0.4 * len(costs)), layout="constrained")
    set_title(fig, title)
    for i, (ax, (what, (written, label))) in enumerate(zip(fig.subplots(1, 3), SCALES.items(), strict=True)):
        for y, (name, look) in enumerate(looks_of(list(costs)).items()):
            value = costs[name][what]
            if value is None:
                ax.annotate(
                    "not measured", (0.5, y), xycoords=("axes fraction", "data"), ha="center", va="center"
                )
                continue
            filled = {} if name == choice else {"markerfacecolor": "white"}
            ax.plot([value], [y], **look | {"markersize": 9, "markeredgewidth": 1.8} | filled)
            ax.annotate(
                written(value), (value, y), xytext=(0, 8), textcoords="offset points", ha="center", fontsize=9
            )
        if what in limits:
            ax.axvline(limits[what], color=GREY, linestyle="--", linewidth=1.2)
        if what == "recall":
            ax.set_xlim(-0.12, 1.15)
            ax.xaxis.set_major_formatter(ticker.PercentFormatter(1.0))
            ax.set_xticks([0, 0.5, 1])
        else:
            ax.set_xscale("log")
            ax.margins(x=0.3)
            ax.xaxis.set_major_locator(ticker.NullLocator())
            ax.xaxis.set_minor_locator(ticker.NullLocator())
        ax.set_yticks(range(len(costs)), list(costs) if i == 0 else [""] * len(costs))
        ax.set_ylim(len(costs) - 0.4, -0.8)
        ax.set(xlabel=label)
    return fig
