"""What a memory of fixed size returns: by age, while it is trained, and against the bytes it keeps."""

from collections.abc import Mapping, Sequence

import matplotlib.style
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib import tasks
from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of, set_title

Shares = Mapping[str, Sequence[float]]
Curve = Sequence[tuple[float, float]]
ALONE = {"linestyle": "", "markersize": 8, "markerfacecolor": "none", "markeredgewidth": 1.8}
UNITS = (("MB", 1e6), ("kB", 1e3), ("bytes", 1))


@matplotlib.style.context(STYLE_FILE)
def recall_age_grid(panels: Mapping[str, Shares], *, title: str, chance: float | None = None) -> Figure:
    """Small multiples: a panel for each kind of memory, in it a curve `[n]` of recall for each rule.

    The oldest pair is on the left. Panels may differ in n, and all share the scale of recall (0 … 1). chance: what
    guessing reaches. Raises ValueError without a panel, and for curves of different lengths in one panel.
    """
    if not panels:
        raise ValueError("panels must hold at least one memory, got none")
    rows = -(-len(panels) // 2)
    fig = Figure(figsize=(8.2 if len(panels) > 1 else 7, 1.5 + 2.4 * rows), layout="constrained")
    set_title(fig, title)
    axs = fig.subplots(rows, min(2, len(panels)), sharey=True, squeeze=False).flatten()
    names = [name for shares in panels.values() for name in shares]
    for ax, (panel, shares) in zip(axs, panels.items(), strict=False):
        _draw_ages(ax, panel, shares, looks_of(names))
        if chance is not None:
            ax.axhline(chance, color=GREY, linewidth=1, linestyle=":", label="chance")
    for ax in axs[len(panels) :]:
        ax.set_axis_off()
    for ax in axs[:: min(2, len(panels))]:
        ax.set_ylabel("read back")
    legend_below(fig, axs[0])
    return fig


def _draw_ages(ax: Axes, panel: str, shares: Shares, looks: Mapping[str, dict]) -> None:
    lengths = {len(share) for share in shares.values()}
    if len(lengths) != 1:
        raise ValueError(f"the curves of {panel!r} must have one length, got {sorted(lengths)}")
    (n,) = lengths
    for name, share in shares.items():
        ax.plot(range(1, n + 1), [float(x) for x in share], label=name, **looks[name])
    ax.set_title(panel, fontweight="normal")
    ax.set(xlabel="pair, oldest first", ylim=(-0.03, 1.06))
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))


def memory_plot(rule: str, keys: str, n: int, rebound: bool) -> Figure:
    """Recall by age of one rule on one family of keys (K = V = 16), beside adding; the title gives both ends.

    rule, keys and rebound as in `tasks.recall_by_age`, whose ValueErrors pass through. Chapter 14.
    """
    names = list(dict.fromkeys(["add", rule]))
    shares = {
        name: tasks.recall_by_age(name, n, keys=keys, rebound=rebound, trials=200).tolist() for name in names
    }
    oldest, newest = shares[rule][0], shares[rule][-1]
    what = f"{n} {keys} keys, each bound twice" if rebound else f"{n} {keys} keys"
    title = f"{rule}: the oldest of {n} pairs comes back in {oldest:.0%} of the memories, the newest in {newest:.0%}"
    return recall_age_grid({what: shares}, title=title)


@matplotlib.style.context(STYLE_FILE)
def learning_plot(
    curves: Mapping[str, Sequence[Curve]], *, title: str, chance: float | None = None
) -> Figure:
    """Accuracy (0 … 1) over training steps: one line for each seed, one colour for each model.

    curves: of each model, one list of (step, accuracy) for each seed. `chance` is what guessing reaches.
    """
    fig, ax = axes(title)
    for name, look in looks_of(list(curves)).items():
        for i, curve in enumerate(curves[name]):
            steps, shares = zip(*curve, strict=True)
            label = f"{name} ({len(curves[name])} seeds)" if len(curves[name]) > 1 else name
            ax.plot(
                steps, shares, label=label if i == 0 else None, **look | {"linewidth": 1.4, "markersize": 4}
            )
    if chance is not None:
        ax.axhline(chance, color=GREY, linewidth=1, linestyle=":", label="chance")
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    ax.set(xlabel="training steps", ylabel="answers right", ylim=(-0.03, 1.06))
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def frontier_plot(points: Mapping[str, Sequence[tuple[float, float]]], *, title: str, xlabel: str) -> Figure:
    """Recall (0 … 1) against bytes kept: a mark for each run, so that few seeds look like few.

    points: of each model, one (bytes, recall) for each seed. The bytes are on a log axis.
    """
    fig, ax = axes(title)
    for name, look in looks_of(list(points)).items():
        kept, recall = zip(*points[name], strict=True)
        ax.plot(kept, recall, label=name, **look | ALONE)
    ax.set_xscale("log")
    largest = max(kept for runs in points.values() for kept, _ in runs)
    ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: _bytes(x, largest)))
    ax.margins(x=0.12)
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    ax.set(xlabel=xlabel, ylabel="answers right", ylim=(-0.03, 1.06))
    legend_below(fig, ax)
    return fig


def _bytes(n: float, largest: float) -> str:
    """In the unit that the largest number on the axis takes."""
    unit, size = next((unit, size) for unit, size in UNITS if largest >= size or size == 1)
    return f"{n / size:,.3g} {unit}"
