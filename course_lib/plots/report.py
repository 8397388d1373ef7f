"""A report card of mechanisms, every seed a point: by age, position, depth and length, and on two axes with a front."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, log_places, looks_of, set_title

COLUMNS = 4  # of small multiples
HOLLOW = {"linestyle": "", "markersize": 6, "markerfacecolor": "none", "markeredgewidth": 1.4}


class Axis(NamedTuple):
    """A column of the report card. label: with its unit.  high: more is better.  log: draw it on a log axis."""

    label: str
    high: bool
    log: bool = False
    percent: bool = False


Seeds = Sequence[float]
Card = Mapping[str, Mapping[str, Seeds]]


@matplotlib.style.context(STYLE_FILE)
def seed_points_grid(
    panels: Mapping[str, Sequence[Mapping[float, float]]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    width: float = 0,
    level: float | None = None,
    level_label: str = "chance",
    trained: float | None = None,
    percent: bool = True,
) -> Figure:
    """Small multiples: a panel for each mechanism, in it a point for each seed and bin, and a line through the medians.

    panels: mechanism -> for each seed, first token of the bin -> value. width: of a bin; points stand in its middle.
    level: a horizontal line, such as chance. trained: a vertical line at the training length. All panels share both
    scales. Raises ValueError without a panel or without a seed.
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels must hold at least one mechanism, and each at least one seed")
    fig, axs = _small_multiples(len(panels), title, sharex=True, sharey=True)
    for ax, (name, seeds) in zip(axs, panels.items(), strict=False):
        for i, seed in enumerate(seeds):
            xs = [x + width / 2 for x in seed]
            ax.plot(
                xs, list(seed.values()), color="C0", marker="o", label="a seed" if i == 0 else None, **HOLLOW
            )
        bins = [x for x in seeds[0] if all(x in seed for seed in seeds)]
        middle = [median(seed[x] for seed in seeds) for x in bins]
        ax.plot(
            [x + width / 2 for x in bins], middle, color="C0", linewidth=1, label="their median", marker=""
        )
        if level is not None:
            ax.axhline(level, color=GREY, linestyle=":", linewidth=1.2, label=level_label)
        if trained is not None:
            ax.axvline(trained, color="C1", linestyle="--", linewidth=1.2, label="longest text in training")
        ax.set_title(name, fontweight="normal", fontsize=10)
        if percent:
            ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
            ax.set_ylim(-0.04, 1.06)
    _label_outside(axs, len(panels), xlabel, ylabel)
    legend_below(fig, axs[0])
    return fig


@matplotlib.style.context(STYLE_FILE)
def needle_plot(
    grids: Mapping[str, Sequence[Sequence[float]]],
    *,
    lengths: Sequence[int],
    depths: Sequence[float],
    title: str,
) -> Figure:
    """Heat maps of needle scores, a panel for each mechanism: depth downwards, length to the right, a number a cell.

    grids: mechanism -> `[lengths][depths]` scores, 0 is chance and 1 all right. Raises ValueError for another shape.
    """
    if not grids:
        raise ValueError("grids must hold at least one mechanism, got none")
    fig, axs = _small_multiples(len(grids), title, sharex=True, sharey=True)
    for ax, (name, grid) in zip(axs, grids.items(), strict=False):
        cells = np.array(grid, dtype=float).T  # [depths, lengths]
        if cells.shape != (len(depths), len(lengths)):
            raise ValueError(
                f"the grid of {name!r} must be {len(lengths)} lengths by {len(depths)} depths, got "
                f"{list(cells.T.shape)}"
            )
        ax.imshow(cells, vmin=0, vmax=1, cmap="cividis", aspect="auto")
        for (y, x), value in np.ndenumerate(cells):
            shown = f"{max(value, 0) if round(100 * value) == 0 else value:.0%}"
            ax.text(
                x, y, shown, ha="center", va="center", fontsize=8, color="black" if value > 0.5 else "white"
            )
        ax.set_xticks(range(len(lengths)), [f"{T}" for T in lengths])
        ax.set_yticks(range(len(depths)), [f"{depth:g}" for depth in depths])
        ax.grid(visible=False)
        ax.set_title(name, fontweight="normal", fontsize=10)
    _label_outside(axs, len(grids), "text length T (tokens)", "depth (0 = start)")
    return fig


@matplotlib.style.context(STYLE_FILE)
def card_plot(card: Card, axes_of: Mapping[str, Axis], *, title: str) -> Figure:
    """The report card: a panel for each axis, four side by side; in it a row for each mechanism, a point for each seed.

    card: mechanism -> axis -> values of the seeds. Each panel's name says which way is better. Raises ValueError for an
    empty card or a mechanism that lacks an axis.
    """
    _check_card(card, axes_of)
    names, columns = list(card), list(axes_of)
    fig, axs = _small_multiples(len(columns), title, height=0.8 + 0.27 * len(names), sharey=True)
    looks = looks_of(names)
    for ax, column in zip(axs, columns, strict=False):
        what = axes_of[column]
        for y, name in enumerate(names):
            values = list(card[name][column])
            ax.plot(values, [y] * len(values), **looks[name] | HOLLOW)
        ax.margins(x=0.15)
        _scale(ax.xaxis, ax.set_xscale, what)
        if what.percent:
            ax.set_xlim(-0.1, 1.1)
            ax.set_xticks([0, 0.5, 1])
        direction = "more" if what.high else "less"
        ax.set_title(
            f"{' '.join(what.label.split())}\n{direction} is better", fontweight="normal", fontsize=10
        )
    axs[0].set_yticks(range(len(names)), names)
    axs[0].set_ylim(len(names) - 0.5, -0.5)
    return fig


@matplotlib.style.context(STYLE_FILE)
def front_plot(card: Card, x: str, y: str, axes_of: Mapping[str, Axis], *, title: str = "") -> Figure:
    """Two columns of a card against each other: a point for each seed, and a ring around the medians on the front.

    A mechanism is on the front if no other one is at least as good on both axes and better on one, by medians. Without
    a title it names them. Raises ValueError for an empty card or a missing axis.
    """
    on_front = front_of(card, x, y, axes_of)
    fig, ax = axes(title or f"On the front: {'; '.join(on_front)}")
    for i, (name, look) in enumerate(looks_of(list(card)).items()):
        pairs = _seeds(card[name][x], card[name][y])
        nested = {"markersize": (6.5, 9.5)[i % 2], "zorder": 3 - i / 100}  # small ones on top
        ax.plot(*zip(*pairs, strict=True), label=name, **look | HOLLOW | nested)
    medians = [(median(card[name][x]), median(card[name][y])) for name in on_front]
    ring = {"color": GREY, "marker": "o", "linestyle": "", "markerfacecolor": "none"}
    ax.plot(*zip(*medians, strict=True), markersize=20, **ring)
    ax.plot([], [], label="on the front (median)", markersize=11, **ring)  # fits a line of the legend
    ax.margins(0.12)
    for axis, scale, column in ((ax.xaxis, ax.set_xscale, x), (ax.yaxis, ax.set_yscale, y)):
        _scale(axis, scale, axes_of[column])
    ax.set(xlabel=_with_direction(axes_of[x]), ylabel=_with_direction(axes_of[y]))
    legend_below(fig, ax)
    return fig


def front_of(card: Card, x: str, y: str, axes_of: Mapping[str, Axis]) -> list[str]:
    """The mechanisms that no other one beats: at least as good on both axes and better on one, by medians.

    Compares every pair: for cards, not for thousands of points. Raises ValueError for an empty card or a missing axis.
    """
    _check_card(card, {name: axes_of[name] for name in (x, y)})
    score = {
        name: tuple(median(row[a]) * (1 if axes_of[a].high else -1) for a in (x, y))
        for name, row in card.items()
    }
    return [
        name
        for name, (own_x, own_y) in score.items()
        if not any(a >= own_x and b >= own_y and (a, b) != (own_x, own_y) for a, b in score.values())
    ]


def _seeds(xs: Seeds, ys: Seeds) -> list[tuple[float, float]]:
    """Pairs by seed; what is counted or timed once stands beside every seed of the other."""
    n = max(len(xs), len(ys))
    return list(zip(_spread(xs, n), _spread(ys, n), strict=True))


def _spread(values: Seeds, n: int) -> list[float]:
    return list(values) * n if len(values) == 1 else list(values)


def _check_card(card: Card, axes_of: Mapping[str, Axis]) -> None:
    if not card:
        raise ValueError("card must hold at least one mechanism, got none")
    for name, row in card.items():
        if missing := [axis for axis in axes_of if not row.get(axis)]:
            raise ValueError(f"{name!r} must have values for {', '.join(missing)}")


def _with_direction(axis: Axis) -> str:
    return f"{' '.join(axis.label.split())} ({'more' if axis.high else 'less'} is better)"


def _scale(axis, set_scale, what: Axis) -> None:
    if what.log:
        set_scale("log")
        axis.set_major_locator(ticker.FixedLocator(log_places(*axis.get_view_interval(), least=3)))
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    if what.percent:
        axis.set_major_formatter(ticker.PercentFormatter(1.0))


def _small_multiples(n: int, title: str, height: float = 2.2, **shared: bool) -> tuple[Figure, list[Axes]]:
    """Panels of that height in rows of four; the places after the last one stay empty."""
    columns = min(n, COLUMNS)
    rows = -(-n // columns)
    fig = Figure(figsize=(9.2 if columns > 2 else 7, 1.2 + height * rows), layout="constrained")
    set_title(fig, title)
    axs = list(fig.subplots(rows, columns, squeeze=False, **shared).flatten())
    for ax in axs[n:]:
        ax.set_axis_off()
    return fig, axs


def _label_outside(axs: Sequence[Axes], n: int, xlabel: str, ylabel: str) -> None:
    """x under the lowest panel of each column, y beside the first one of each row."""
    columns = min(n, COLUMNS)
    for i, ax in enumerate(axs[:n]):
        if i % columns == 0:
            ax.set_ylabel(ylabel)
        if i + columns >= n:
            ax.set_xlabel(xlabel, fontsize=9)
            ax.tick_params(labelbottom=True)
