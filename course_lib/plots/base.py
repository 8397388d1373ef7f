"""What every figure shares: the style, the title, the legend below the axes, and `show`.

One style (style.mplstyle): white, Okabe–Ito colours that colour-blind readers tell apart, and for every
curve its own dash and marker as well. A title states what the figure shows, so the caller writes it.
"""

import io
import math
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE_FILE = Path(__file__).parents[1] / "style.mplstyle"
MAX_DPI = 100  # a stored notebook stays small
MIN_ALT = 40  # characters: enough to state a finding
TITLE_CHARS = 10  # of a title, per inch of the figure
LEGEND_CHARS = 82  # in one row, each entry with 6 for its sample
GREY = "#777777"
FUTURE_GREY = "#dddddd"  # of pairs that a causal mask hides


def style() -> AbstractContextManager[None]:
    """The course's style for a figure drawn by hand: `with style(): …`. The functions here always use it."""
    return matplotlib.style.context(STYLE_FILE)


def show(fig: Figure, alt: str) -> None:
    """Display `fig` as a PNG of at most 100 dpi with its alternative text, and close it.

    `alt` says in words what the figure shows: it is read aloud, and it stands in for the picture where
    there is none. Raises ValueError if it has fewer than 40 characters.
    """
    from IPython.display import display  # only notebooks need it

    alt = " ".join(alt.split())
    if len(alt) < MIN_ALT:
        raise ValueError(
            f"alt has {len(alt)} characters; expected {MIN_ALT} or more that state the finding: {alt!r}"
        )
    data = {"image/png": png(fig), "text/plain": f"Figure: {alt}"}
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)
    plt.close(fig)


def png(fig: Figure) -> bytes:
    """The figure as a PNG of at most 100 dpi; the same bytes for the same figure: no version inside."""
    buffer = io.BytesIO()
    with style():
        fig.savefig(buffer, format="png", dpi=min(fig.dpi, MAX_DPI), metadata={"Software": None})
    return buffer.getvalue()


def axes(title: str, figsize: tuple[float, float] | None = None) -> tuple[Figure, Axes]:
    fig = Figure(figsize=figsize, layout="constrained")
    set_title(fig, title)
    return fig, fig.subplots()


def set_title(fig: Figure, title: str) -> None:
    """At the left edge, wrapped to the width of the figure."""
    wrapped = textwrap.fill(title, int(TITLE_CHARS * fig.get_figwidth()))
    size, weight = plt.rcParams["axes.titlesize"], plt.rcParams["axes.titleweight"]
    fig.suptitle(wrapped, x=0.01, ha="left", fontsize=size, fontweight=weight)


def legend_below(fig: Figure, ax: Axes) -> None:
    """Below the axes, where it covers no curve."""
    handles, labels = ax.get_legend_handles_labels()
    fitting = (n for n in range(len(labels), 1, -1) if _legend_chars(labels, n) <= LEGEND_CHARS)
    fig.legend(handles, labels, loc="outside lower center", ncols=next(fitting, 1))


def _legend_chars(labels: Sequence[str], columns: int) -> int:
    """Width of a legend that is filled column by column, each as wide as its longest entry and the sample."""
    filled = np.array_split([len(label) for label in labels], columns)
    return sum(6 + int(max(column)) for column in filled)


def looks_of(names: Sequence[str]) -> dict[str, dict]:
    """Colour, dash and marker of each curve, by its place among the names."""
    cycle = list(plt.rcParams["axes.prop_cycle"])
    return {name: dict(cycle[i % len(cycle)]) for i, name in enumerate(dict.fromkeys(names))}


def value_ticks(ax: Axes, measure: str) -> None:
    """Powers of 10 (of 4 for bytes); where those are fewer than three, round numbers between them as well."""
    base, between, more = (
        (4, (1, 2), (1, 2)) if measure == "memory" else (10, (1, 2, 5), (1, 1.5, 2, 3, 5, 7))
    )
    low, high = ax.get_ylim()
    powers = math.log(high / low, base)
    subs = (1,) if powers > 3 else between if powers > 1 else more
    ax.yaxis.set_major_locator(ticker.LogLocator(base=base, subs=subs, numticks=9))
    ax.yaxis.set_minor_locator(ticker.NullLocator())


def log_places(low: float, high: float, base: int = 10, least: int = 2) -> list[float]:
    """At most four round numbers for a short log axis: 1, 2, 5 a decade, or 1, 3, or powers of the base alone.

    Where those are fewer than `least`, equally spaced ones.
    """
    for subs in ((1, 2, 5), (1, 3), (1,)) if base == 10 else ((1,),):
        places = ticker.LogLocator(base, subs, numticks=4 if subs == (1,) else 99).tick_values(low, high)
        inside = [float(place) for place in places if low <= place <= high]
        if len(inside) <= 4:
            break
    if len(inside) < least:
        inside = [float(x) for x in ticker.MaxNLocator(4).tick_values(low, high) if low <= x <= high]
    return inside
