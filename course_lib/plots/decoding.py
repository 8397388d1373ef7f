"""Decoding: what a cache weighs beside the weights, and measured steps beside the bytes they move."""

from collections.abc import Mapping

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of
from course_lib.timing import _format
from course_lib.timing.sweeps import Sweep

TOKENS = 2 ** np.arange(8, 24)  # held by a cache, over all sequences of a batch
GIGABYTE = 1e9


@matplotlib.style.context(STYLE_FILE)
def cache_plot(
    per_token: Mapping[str, float],
    *,
    weights: float,
    memory: float | None = None,
    context: int | None = None,
    title: str = "",
) -> Figure:
    """Bytes of caches over the tokens they hold, on log–log axes, against the bytes of the weights.

    per_token: bytes a cached token, by curve. A hollow ring marks where a cache weighs as much as `weights`. memory: a
    device's bytes; context: a number of tokens to mark, such as one sequence's. Raises ValueError for bytes that are
    not above 0.
    """
    for name, value in {**per_token, "weights": weights, "memory": memory or 1}.items():
        if value <= 0:
            raise ValueError(f"{name} must be above 0 bytes, got {value}")
    fig, ax = axes(title)
    for name, look in looks_of(list(per_token)).items():
        ax.plot(TOKENS, TOKENS * per_token[name] / GIGABYTE, label=name, **look | {"marker": ""})
        ax.plot(
            [weights / per_token[name]],
            [weights / GIGABYTE],
            **look | {"linestyle": "", "marker": "o", "markerfacecolor": "white", "markersize": 9},
        )
    ax.axhline(
        weights / GIGABYTE, color="black", linewidth=1.3, label=f"weights, {weights / GIGABYTE:.3g} GB"
    )
    if memory:
        ax.axhline(
            memory / GIGABYTE,
            color="black",
            linestyle=":",
            linewidth=1.3,
            label=f"memory, {memory / GIGABYTE:.3g} GB",
        )
    if context:
        ax.axvline(context, color=GREY, linewidth=0.9, label=f"one sequence of {context:,}")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlim(TOKENS[0], TOKENS[-1])
    ax.set_xticks(TOKENS[::3])
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.set(xlabel="cached tokens, all sequences together", ylabel="size (GB)")
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def decode_plot(sweep: Sweep, predicted: Mapping[str, Mapping[int, float]], *, title: str = "") -> Figure:
    """Measured decoding steps over the context length as points, and the seconds that their bytes predict as lines.

    predicted: seconds by curve and T; a curve keeps its colour in both. Raises ValueError for a predicted curve that
    was not measured.
    """
    if unknown := [name for name in predicted if name not in sweep.names]:
        raise ValueError(f"{unknown[0]!r} was predicted but not measured; there are {', '.join(sweep.names)}")
    fig, ax = axes(title or sweep.title)
    for name, look in looks_of(sweep.names).items():
        lengths = sweep.lengths(name)
        measured = [sweep.values[name][T] for T in lengths]
        ax.plot(lengths, measured, label=f"{name}, measured", **look | {"linestyle": ""})
        if name in predicted:
            line = dict(sorted(predicted[name].items()))
            ax.plot(line.keys(), line.values(), label=f"{name}, by its bytes", **look | {"marker": ""})
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _round_seconds(value)))
    ax.set(xlabel="context length T", ylabel="time per step")
    legend_below(fig, ax)
    return fig


def _round_seconds(value: float) -> str:
    """10 µs instead of 10.0 µs: ticks are round."""
    number, unit = _format.seconds(value).split()
    return f"{float(number.replace(',', '')):g} {unit}"
