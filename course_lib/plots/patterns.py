"""Which keys a query may see: patterns drawn as text and as figures, and how far they reach over several layers.

A pattern is a boolean mask `[T, T]`, True where query t (row) sees key i (column); `course_lib.attention` has their
definitions. Chapter 06.
"""

from collections.abc import Mapping, Sequence
from types import EllipsisType

import matplotlib.style
import numpy as np
import torch
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_lib.attention import bigbird_mask, dilated_mask, global_window_mask, receptive_field, window_mask
from course_lib.plots.base import FUTURE_GREY, STYLE_FILE, axes, legend_below, looks_of, set_title

FUTURE, HIDDEN, SEEN = range(3)
COLOURS = (FUTURE_GREY, "white", "#0072b2")
RING = "#d55e00"
MARKS, BLANKS = "■x#1", "·.-0"
PANELS, WORDY_PANELS = 3, 2  # in a row; words are legible in larger ones
PATTERNS = ("window", "dilated", "window + dilated", "global + window", "BigBird")


def pattern_text(mask: torch.Tensor, sketch: str | EllipsisType | None = None) -> str:
    """The mask `[T, T]` in text, `■` seen and `·` not; held against a reader's sketch of it, where there is one.

    sketch: T lines of T marks (`■`, `x`, `#` or `1`) and blanks (`·`, `.`, `-` or `0`), spaces at will. A pair that
    the sketch lacks becomes `+`, one that it has too many `–`. Never raises for a sketch: it says what it cannot read.
    """
    seen = mask.tolist()
    if sketch is None or sketch is ...:
        lines = [" ".join("■" if one else "·" for one in row) for row in seen]
        return "\n".join(lines + (["nothing drawn yet"] if sketch is ... else []))
    if not isinstance(sketch, str):
        return "your drawing is expected as lines of text, between triple quotes"
    drawn = _read(sketch)
    T = len(seen)
    if isinstance(drawn, str):
        return drawn
    if [len(row) for row in drawn] != [T] * T:
        widths = ", ".join(map(str, sorted({len(row) for row in drawn})))
        return (
            f"your drawing has {len(drawn)} rows, {widths or 0} signs in each; {T} rows of {T} are expected"
        )
    signs = {(True, True): "■", (False, False): "·", (True, False): "+", (False, True): "–"}
    pairs = [
        [(one, other) for one, other in zip(*rows, strict=True)] for rows in zip(seen, drawn, strict=True)
    ]
    wrong = sum(one != other for row in pairs for one, other in row)
    verdict = (
        f"{wrong} of {T * T} pairs differ: + you left out, – you drew too many" if wrong else "as you drew it"
    )
    return "\n".join([*(" ".join(signs[pair] for pair in row) for row in pairs), verdict])


def computed_text(mask: torch.Tensor, C: int) -> str:
    """The mask `[T, T]` as blocks of C queries compute it: `■` is used, `□` computed and hidden, `·` never computed.

    A block computes all keys from the first that one of its queries sees to its own last token.
    """
    lines = []
    for start in range(0, len(mask), C):
        rows = mask[start : start + C]
        first, stop = int(rows.any(0).nonzero()[0]), start + len(rows)
        for row in rows.tolist():
            lines.append(
                " ".join("■" if seen else "□" if first <= i < stop else "·" for i, seen in enumerate(row))
            )
    return "\n".join(lines)


def _read(sketch: str) -> list[list[bool]] | str:
    """Rows of booleans, or what could not be read."""
    rows = [line.replace(" ", "") for line in sketch.strip().splitlines()]
    unknown = sorted(set("".join(rows)) - set(MARKS + BLANKS))
    if unknown:
        return f"your drawing holds {', '.join(map(repr, unknown))}; use x for a pair that is seen and . for the others"
    return [[sign in MARKS for sign in row] for row in rows]


@matplotlib.style.context(STYLE_FILE)
def pattern_grid(
    masks: Mapping[str, torch.Tensor],
    *,
    title: str,
    tokens: Sequence[str] | None = None,
    mark: tuple[int, int] | None = None,
) -> Figure:
    """Masks `[T, T]` as small multiples: dark is seen, white is not, grey is the future.

    tokens: T words for the axes. mark: a pair (query, key) that is ringed in every panel. Raises ValueError for masks
    that are not square, or not of one size.
    """
    sizes = {tuple(mask.shape) for mask in masks.values()}
    if len(sizes) != 1 or len(set(next(iter(sizes)))) != 1:
        raise ValueError(f"masks must be [T, T], one size for all; got {sorted(sizes)}")
    (T, _), columns = sizes.pop(), min(PANELS if tokens is None else WORDY_PANELS, len(masks))
    rows = -(-len(masks) // columns)
    fig = Figure(figsize=(0.5 + 3.0 * columns, 1.2 + 3.0 * rows), layout="constrained")
    set_title(fig, title)
    axs = fig.subplots(rows, columns, squeeze=False).flatten()
    for n, (ax, (name, mask)) in enumerate(zip(axs, masks.items(), strict=False)):
        _draw_pattern(ax, name, mask)
        _word_axes(ax, T, tokens, left=n % columns == 0, below=n + columns >= len(masks))
        if mark is not None:
            ax.add_patch(
                Rectangle(
                    (mark[1] - 0.5, mark[0] - 0.5), 1, 1, fill=False, edgecolor=RING, linewidth=2.2, zorder=3
                )
            )
    for ax in axs[len(masks) :]:
        ax.set_axis_off()
    return fig


def _draw_pattern(ax: Axes, name: str, mask: torch.Tensor) -> None:
    seen = mask.cpu().numpy()
    drawn = np.where(seen, SEEN, np.where(np.tri(len(seen), dtype=bool), HIDDEN, FUTURE))
    ax.imshow(drawn, cmap=ListedColormap(COLOURS), vmin=FUTURE, vmax=SEEN)
    ax.set_title(name, fontweight="normal", loc="center")
    ax.grid(False)


def _word_axes(ax: Axes, T: int, tokens: Sequence[str] | None, *, left: bool, below: bool) -> None:
    if tokens is None:
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    else:
        ax.set_yticks(range(T), tokens if left else [""] * T, fontsize=9)
        ax.set_xticks(range(T), tokens if below else [""] * T, fontsize=9, rotation=90)
        ax.tick_params(length=0)
    ax.set(ylabel="query t" if left else "", xlabel="key i" if below else "")


@matplotlib.style.context(STYLE_FILE)
def reach_plot(reached: Mapping[str, Sequence[int]], *, T: int, title: str) -> Figure:
    """How many of T tokens the last one may depend on, itself included, after 0, 1, 2, … layers of each pattern.

    Raises ValueError for curves of different lengths.
    """
    lengths = {len(counts) for counts in reached.values()}
    if len(lengths) != 1:
        raise ValueError(f"the curves must have one length, got {sorted(lengths)}")
    fig, ax = axes(title)
    for name, look in looks_of(list(reached)).items():
        ax.plot(range(len(reached[name])), reached[name], label=name, **look)
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.set(xlabel="layers", ylabel=f"tokens of {T} reached", ylim=(0, 1.05 * T))
    legend_below(fig, ax)
    return fig


def layered_pattern(
    name: str, T: int, window: int, extra: int, layers: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mask of the first layer and what `layers` of them reach, `[T, T]` each, for a name of PATTERNS.

    extra: the stride of a dilated window, the position of the global token, or the number of random blocks (BigBird:
    blocks of 2 tokens). "window + dilated" takes them in turns. Raises ValueError for another name.
    """
    makers = {
        "window": lambda n: window_mask(T, window),
        "dilated": lambda n: dilated_mask(T, window, extra),
        "window + dilated": lambda n: dilated_mask(T, window, extra) if n % 2 else window_mask(T, window),
        "global + window": lambda n: global_window_mask(T, window, (extra,)),
        "BigBird": lambda n: bigbird_mask(
            T, block_size=2, window_blocks=-(-window // 2), global_blocks=1, random_blocks=extra, seed=n
        ),
    }
    if name not in makers:
        raise ValueError(f"name must be one of {', '.join(PATTERNS)}; got {name!r}")
    masks = [makers[name](n) for n in range(layers)]
    return masks[0], receptive_field(*masks)
