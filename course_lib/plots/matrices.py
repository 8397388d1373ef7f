"""Small matrices with their numbers, a state as a heat-map, attention weights, and what can be read back."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure

from course_lib.plots.base import (
    FUTURE_GREY,
    STYLE_FILE,
    TITLE_CHARS,
    axes,
    legend_below,
    looks_of,
    set_title,
)


@matplotlib.style.context(STYLE_FILE)
def matrix_plot(
    matrices: Mapping[str, object],
    *,
    numbers: bool = True,
    title: str = "",
    row_labels: Sequence[str] | None = None,
    col_labels: Sequence[str] | None = None,
) -> Figure:
    """Small matrices (tensors, arrays or lists `[rows, columns]`) side by side, with their numbers in the
    cells.

    Masked scores (−∞) are grey. All share one colour scale, diverging around 0 if any number is negative; without
    numbers a line below the matrices says what the colours mean.
    """
    arrays = {name: _array(name, matrix) for name, matrix in matrices.items()}
    cmap, low, high = _scale(list(arrays.values()))
    fig, axs = _row_of_axes(list(arrays.values()), title)
    if not numbers:
        fig.set_figheight(fig.get_figheight() + 0.3)
        fig.supxlabel(_in_words(low, high), x=0.01, ha="left", fontsize=10)
    for ax, (name, array) in zip(axs, arrays.items(), strict=True):
        ax.imshow(np.ma.masked_invalid(array), cmap=cmap, vmin=low, vmax=high)
        ax.set_title(name, fontweight="normal", loc="center")
        _cell_labels(ax, array.shape, row_labels, col_labels)
        if numbers:
            _write_numbers(ax, array, cmap, low, high)
    return fig


@matplotlib.style.context(STYLE_FILE)
def memory_heatmap(
    state: object, *, title: str, keys: str = "key channel", values: str = "value channel"
) -> Figure:
    """A state S `[K, V]` (say 16×16) as a heat-map with diverging colours, symmetric around 0."""
    array = _array("state", state)
    limit = float(np.abs(array).max()) or 1.0
    fig, ax = axes(title, (5.4, 4.6))
    image = ax.imshow(array, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xlabel=values, ylabel=keys, xticks=range(0, array.shape[1], 3), yticks=range(0, array.shape[0], 3))
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="stored value")
    return fig


@matplotlib.style.context(STYLE_FILE)
def weights_plot(weights: Mapping[str, object], tokens: Sequence[str], *, title: str = "") -> Figure:
    """Attention weights `[T, T]` side by side: a row is a token that reads, a column one that is read.

    The future is grey where no token reads it.
    """
    arrays = {name: _array(name, matrix) for name, matrix in weights.items()}
    for name, array in arrays.items():
        if array.shape != (len(tokens), len(tokens)):
            raise ValueError(
                f"{name} is {array.shape}; expected {len(tokens)} rows and columns, one per token"
            )
    fig, axs = _row_of_axes(list(arrays.values()), title, cell=0.34, beside=0.6)
    cmap = plt.get_cmap("Blues").with_extremes(bad=FUTURE_GREY)
    darkest = max(float(array.max()) for array in arrays.values())
    for ax, (name, array) in zip(axs, arrays.items(), strict=True):
        image = ax.imshow(_without_future(array), cmap=cmap, vmin=0, vmax=darkest)
        ax.set_title(name, fontweight="normal", loc="center")
        _cell_labels(ax, array.shape, tokens if ax is axs[0] else [""] * len(tokens), tokens)
        ax.tick_params(axis="x", labelrotation=90)
        ax.set(
            xlabel="key: the word that is read", ylabel="query: the word that reads" if ax is axs[0] else ""
        )
    fig.colorbar(image, ax=axs, label="weight", shrink=0.8)
    return fig


@matplotlib.style.context(STYLE_FILE)
def recall_plot(
    counts: Sequence[int],
    recalls: Mapping[str, Sequence[float]],
    *,
    title: str = "",
    what: str = "things stored",
) -> Figure:
    """Share of things that can be read back (0 … 1) against how many were stored; `what` names them."""
    fig, ax = axes(title)
    for name, look in looks_of(list(recalls)).items():
        if len(recalls[name]) != len(counts):
            raise ValueError(f"{name} has {len(recalls[name])} shares; expected {len(counts)}, one per count")
        ax.plot(counts, recalls[name], label=name, **look)
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [f"{count:,}" for count in counts])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    ax.set(xlabel=f"number of {what}", ylabel="read back", ylim=(-0.03, 1.05))
    legend_below(fig, ax)
    return fig


def _array(name: str, matrix: object) -> np.ndarray:
    """Tensors (also on a GPU, also with gradients), arrays and lists, as a two-dimensional array."""
    detached = matrix.detach().cpu() if hasattr(matrix, "detach") else matrix
    array = np.asarray(detached, dtype=float)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; expected a matrix [rows, columns]")
    return array


def _without_future(weights: np.ndarray) -> np.ndarray:
    """Weights with what lies above the diagonal masked, if all of it is 0."""
    future = ~np.tri(len(weights), dtype=bool)
    return weights if weights[future].any() else np.ma.masked_where(future, weights)


def _in_words(low: float, high: float) -> str:
    """What the colours of `_scale` mean."""
    return (
        f"red is above 0, blue below; darkest at ±{high:.2g}"
        if low < 0
        else f"white is 0; darkest at {high:.2g}"
    )


def _scale(arrays: Sequence[np.ndarray]) -> tuple[Colormap, float, float]:
    """One colour scale for all: diverging and symmetric if anything is negative, else from 0 upwards."""
    finite = np.concatenate([array[np.isfinite(array)] for array in arrays])
    limit = float(np.abs(finite).max()) if finite.size and np.abs(finite).max() > 0 else 1.0
    diverging = bool((finite < 0).any())
    cmap = plt.get_cmap("RdBu_r" if diverging else "Blues").with_extremes(bad="#c9c9c9")
    return cmap, -limit if diverging else 0.0, limit


def _row_of_axes(
    arrays: Sequence[np.ndarray], title: str, cell: float = 0.62, beside: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Axes side by side, wide enough for `cell` inches a column, within what a page shows.

    beside: inches that labels and a colour bar take.
    """
    width = min(9.5, max(4.0, cell * sum(array.shape[1] for array in arrays) + 1.1 * len(arrays)))
    widest = (width - beside - 0.9 * len(arrays)) / sum(array.shape[1] for array in arrays)
    title_lines = len(textwrap.wrap(title, int(TITLE_CHARS * width)))
    height = min(cell, widest) * max(array.shape[0] for array in arrays) + 1.3 + 0.25 * title_lines
    fig = Figure(figsize=(width, height), layout="constrained")
    ratios = [array.shape[1] for array in arrays]
    axs = fig.subplots(1, len(arrays), squeeze=False, width_ratios=ratios)[0]
    set_title(fig, title)
    return fig, list(axs)


def _cell_labels(
    ax: Axes, shape: tuple[int, int], rows: Sequence[str] | None, columns: Sequence[str] | None
) -> None:
    ax.set_yticks(range(shape[0]), rows if rows is not None else range(shape[0]))
    ax.set_xticks(range(shape[1]), columns if columns is not None else range(shape[1]))
    ax.tick_params(length=0)
    ax.grid(False)


def _write_numbers(ax: Axes, array: np.ndarray, cmap: Colormap, low: float, high: float) -> None:
    """Black on light cells, white on dark ones."""
    for (row, column), value in np.ndenumerate(array):
        red, green, blue, _ = (
            cmap((value - low) / (high - low)) if np.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
        )
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
        ax.text(column, row, _number(value), ha="center", va="center", color="black" if light else "white")


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "–∞" if value < 0 else "∞" if value > 0 else "?"
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.2f}".replace("-", "–")
