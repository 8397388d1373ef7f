"""A chat that goes on: costs by turn, recall by the turn in which a fact was told, and both for one memory."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_lib import cost
from course_lib.attention.checks import choose
from course_lib.cache import Cache, DeltaState, FullCache, QuantisedCache, SinkCache, WindowCache
from course_lib.plots.base import GREY, STYLE_FILE, legend_below, looks_of, set_title, value_ticks
from course_lib.plots.caches import size_text
from course_lib.tasks import chat, remembered

Curve = Mapping[int, float]
CHAT = {"turns": 60, "facts": 30}  # of the widget: 3,560 words
CHATS, K, SHARP = 3, 64, 30.0
TOKEN = 2 * K * 4  # bytes of a cached token, in float32
PINNED = 4  # sinks of the widget
STRIP = 0.86  # of a row's height


@matplotlib.style.context(STYLE_FILE)
def turns_plot(panels: Mapping[str, Mapping[str, Curve]], *, title: str) -> Figure:
    """Panels side by side, in each a curve over the turns of a chat for each strategy, on a log axis.

    panels: quantity with its unit -> strategy -> turn -> number above 0. A curve on which a later one lies is
    drawn wider, so that it shows beneath. Raises ValueError without a panel or a curve, and for a number
    that is not above 0.
    """
    if not panels or not all(panels.values()):
        raise ValueError("panels must hold at least one curve each, got none")
    fig = Figure(figsize=(7.0 if len(panels) == 1 else 9.0, 4.6), layout="constrained")
    set_title(fig, title)
    names = [name for curves in panels.values() for name in curves]
    axs = fig.subplots(1, len(panels), squeeze=False)[0]
    for ax, (quantity, curves) in zip(axs, panels.items(), strict=True):
        _draw_turns(ax, quantity, curves, looks_of(names))
    legend_below(fig, axs[0])
    return fig


def _draw_turns(ax: Axes, quantity: str, curves: Mapping[str, Curve], looks: Mapping[str, dict]) -> None:
    later = list(curves.values())
    for name, curve in curves.items():
        if low := [y for y in curve.values() if y <= 0]:
            raise ValueError(f"{quantity} of {name!r} must be above 0, got {low[0]}")
        later.remove(curve)
        wide = {"linewidth": 4.5, "markersize": 10} if curve in later else {}
        ax.plot(*zip(*sorted(curve.items()), strict=True), label=name, **looks[name] | {"alpha": 0.85} | wide)
    _log_numbers(ax)
    ax.set(xlabel="turn", ylabel=quantity)


def _log_numbers(ax: Axes) -> None:
    """A log y axis of plain numbers, several of them however short it is."""
    ax.set_yscale("log")
    value_ticks(ax, "time")
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))


@matplotlib.style.context(STYLE_FILE)
def told_plot(recall: Mapping[str, Curve], *, title: str) -> Figure:
    """A strip for each strategy: dark where a fact told in that turn comes back at the end, white where not.

    recall: strategy -> turn in which a fact was told -> share of chats that answered right (0 … 1). At the right edge
    stands the average. Raises ValueError without a strategy, and for strategies with other turns than the first.
    """
    if not recall:
        raise ValueError("recall must hold at least one strategy, got none")
    turns = sorted(next(iter(recall.values())))
    for name, shares in recall.items():
        if sorted(shares) != turns:
            raise ValueError(f"the turns of {name!r} must be those of the first strategy, got others")
    fig = Figure(figsize=(8.2, 1.9 + 0.38 * len(recall)), layout="constrained")
    set_title(fig, title)
    ax = fig.subplots()
    rows = np.array([[shares[turn] for turn in turns] for shares in recall.values()])
    image = ax.imshow(
        rows,
        aspect="auto",
        cmap="Blues",
        vmin=0,
        vmax=1,
        extent=(-0.5, len(turns) - 0.5, len(rows) - 0.5, -0.5),
    )
    ax.set_yticks(range(len(rows)), list(recall))
    _frame_strips(ax, rows.shape)
    shown = np.unique(np.linspace(0, len(turns) - 1, min(8, len(turns))).round().astype(int))
    ax.set_xticks(shown, [str(turns[i]) for i in shown])
    ax.set_xlabel("told in turn")
    for y, row in enumerate(rows):
        ax.annotate(
            f"{row.mean():.0%}",
            (1.01, y),
            xycoords=("axes fraction", "data"),
            va="center",
            annotation_clip=False,
        )
    fig.colorbar(
        image, ax=ax, label="comes back", format=ticker.PercentFormatter(1.0), ticks=[0, 0.5, 1], pad=0.08
    )
    return fig


def _frame_strips(ax: Axes, shape: tuple[int, int]) -> None:
    """White between the rows of an image, and a thin frame around each: a row of zeros is nearly white itself."""
    height, width = shape
    ax.grid(False)
    ax.spines[:].set_visible(False)
    gap = (1 - STRIP) / 2
    for y in range(height):
        for edge in (y - 0.5, y + 0.5 - gap):
            ax.add_patch(Rectangle((-0.5, edge), width, gap, facecolor="white", edgecolor="none"))
        frame = {"fill": False, "edgecolor": GREY, "linewidth": 0.8, "clip_on": False}
        ax.add_patch(Rectangle((-0.5, y - STRIP / 2), width, STRIP, **frame))


class Memory(NamedTuple):
    """make: an empty one.  K: size of its vectors.  nbytes: tokens -> bytes of one chat.  gate: writes facts only."""

    make: Callable[[], Cache]
    K: int
    nbytes: Callable[[int], int]
    gate: bool = False


class Conversation(NamedTuple):
    """nbytes: turn -> bytes after it.  recall: turn in which a fact was told -> share of the chats that return it."""

    nbytes: dict[int, int]
    recall: dict[int, float]


def _full(budget: int) -> Memory:
    return Memory(partial(FullCache, scale=SHARP), K, partial(_kept, budget=None))


def _window(budget: int) -> Memory:
    w = budget // TOKEN
    return Memory(partial(WindowCache, window=w, scale=SHARP), K, partial(_kept, budget=w))


def _sinks(budget: int) -> Memory:
    w = budget // TOKEN
    make = partial(SinkCache, sinks=PINNED, window=w - PINNED, scale=SHARP)
    return Memory(make, K, partial(_kept, budget=w))


def _rounded(budget: int) -> Memory:
    return Memory(
        partial(QuantisedCache, bits=4, scale=SHARP),
        K,
        lambda T: cost.quantised_bytes(1, T, 1, K, K, bits=4, itemsize=4),
    )


def _state(budget: int, gate: bool) -> Memory:
    size = int((budget / 4) ** 0.5)
    return Memory(DeltaState, size, lambda _: 4 * size**2, gate)


def _kept(T: int, budget: int | None) -> int:
    return cost.kept_cache_bytes(1, T, 1, K, K, T if budget is None else budget, itemsize=4)


# name -> (bytes it may take -> Memory). The first and the fourth take what they need.
STRATEGIES: dict[str, Callable[[int], Memory]] = {
    "full cache": _full,
    "window": _window,
    "sinks + window": _sinks,
    "4 bits": _rounded,
    "delta state": partial(_state, gate=False),
    "delta state, gated": partial(_state, gate=True),
}


def conversation(strategy: str, budget: int) -> Conversation:
    """What one head carries through a chat of 60 turns and what it still knows at the end, in three chats.

    strategy: one of `STRATEGIES`. budget: bytes, at least 4,096; windows and states are as large as it allows, the full
    cache and 4 bits grow whatever it says. Raises ValueError. Chapter 19.
    """
    if budget < 4096:
        raise ValueError(f"budget must be at least 4,096 bytes, got {budget}")
    memory = choose("strategy", strategy, STRATEGIES)(budget)
    talks = [chat(seed=seed, **CHAT) for seed in range(CHATS)]
    ends = [*talks[0].starts[1:], len(talks[0].words)]
    shares = remembered(memory.make, talks, memory.K, gate=memory.gate)
    told = [fact.turn for fact in talks[0].facts]
    nbytes = {turn: memory.nbytes(T) for turn, T in enumerate(ends, 1)}
    return Conversation(nbytes, dict(zip(told, shares.tolist(), strict=True)))


@matplotlib.style.context(STYLE_FILE)
def conversation_plot(strategy: str, budget: int) -> Figure:
    """Bytes by turn beside recall by the turn in which a fact was told. Arguments as `conversation`. Chapter 19."""
    nbytes, recall = conversation(strategy, budget)
    last, share = list(nbytes.values())[-1], sum(recall.values()) / len(recall)
    fig = Figure(figsize=(9.0, 3.9), layout="constrained")
    set_title(
        fig,
        f"{strategy}: {size_text(last)} after {len(nbytes)} turns, and {share:.0%} of the facts come back",
    )
    left, right = fig.subplots(1, 2)
    look = looks_of([strategy])[strategy]
    left.plot(list(nbytes), [n / 1e3 for n in nbytes.values()], **look | {"marker": ""}, label="carried")
    left.axhline(budget / 1e3, color=GREY, linestyle=":", linewidth=1.2, label="budget")
    _log_numbers(left)
    left.set(xlabel="turn", ylabel="carried (kB)")
    right.plot(list(recall), list(recall.values()), **look)
    right.set(xlabel="told in turn", ylabel="comes back at the end", ylim=(-0.04, 1.06))
    right.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    legend_below(fig, left)
    return fig
