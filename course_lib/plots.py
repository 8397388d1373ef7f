"""Every figure of the course as a pure function: numbers in, `Figure` out; `show` puts it into the notebook.

One style (style.mplstyle): white, Okabe–Ito colours that colour-blind readers tell apart, and for every
curve its own dash and marker as well. A figure answers one question and its title states the answer, so
the caller writes it. Nothing here measures or trains; give a figure what `course_lib.timing` or a model
returned.
"""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Outline

from course_lib import cost
from course_lib.concept_map import (
    INKS,
    NODE_H,
    PLANNED,
    TINTS,
    Edge,
    Map,
    Node,
    concept_map_html,
    curve,
    layout,
    legend_place,
    outline,
)
from course_lib.course import Course
from course_lib.timing import _format
from course_lib.timing.ceilings import Rates
from course_lib.timing.scaling import Scaling
from course_lib.timing.stamp import environment
from course_lib.timing.sweeps import Sweep

STYLE_FILE = Path(__file__).with_name("style.mplstyle")
MAX_DPI = 100  # a stored notebook stays small
MIN_ALT = 40  # characters: enough to state a finding
TITLE_CHARS = 10  # of a title, per inch of the figure
LEGEND_CHARS = 82  # in one row, each entry with 6 for its sample
GREY = "#777777"
AXES = {"time": "time per call", "memory": "peak memory"}
HOLLOW = {"linestyle": "", "markersize": 12, "markerfacecolor": "white", "markeredgewidth": 2.2}
SWEPT = [2**i for i in range(5, 14)]  # T = 32 … 8,192
OPERATIONS = {"softmax": 1, "linear": 10}  # that a call starts: one fused kernel, or several small ones

__all__ = [
    "concept_map",
    "concept_map_html",
    "cost_plot",
    "extrapolation_plot",
    "layer_share_plot",
    "local_exponent_plot",
    "matrix_plot",
    "memory_heatmap",
    "png",
    "predicted_sweep",
    "recall_by_position",
    "recall_plot",
    "residual_plot",
    "roofline_plot",
    "samples_plot",
    "show",
    "style",
    "sweep_plot",
    "trial_plot",
    "weights_plot",
]


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


# --- curves over T --------------------------------------------------------------------------------


@matplotlib.style.context(STYLE_FILE)
def sweep_plot(
    sweep: Sweep,
    *,
    recorded: Sweep | None = None,
    crossover: tuple[str, str] | None = None,
    closed_form: float | None = None,
    guide: Sequence[int] = (1, 2),
    title: str = "",
    ylabel: str = "",
) -> Figure:
    """The curves of a sweep on log–log axes, where c·T^p is a straight line of slope p.

    `recorded`: another machine's sweep; its curves of the same names are drawn faint and dashed in the same
    colours, with that machine's name. `crossover=(a, b)`: mark the T where these two meet; `closed_form`: the T that a
    formula predicts for it. `guide`: slopes shown in the corner for comparison.
    """
    fig, ax = _axes(title or sweep.title)
    looks = _looks(sweep.names)
    if recorded is not None:
        _draw_recorded(ax, recorded, looks)
    for name, values in sweep.values.items():
        _draw_curve(ax, values, label=name, **looks[name])
    _log_axes(ax, sweep.measure, ylabel)
    _draw_guides(ax, guide)
    _mark_crossovers(ax, sweep.crossover(*crossover) if crossover else None, closed_form)
    _legend(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def residual_plot(fits: Mapping[str, Scaling], name: str, *, title: str = "") -> Figure:
    """Measured over fitted at every T, for several power laws through the curve `name`.

    Filled points were fitted, hollow ones were left out. Around 1 without a pattern, the law holds; a bend says that
    it does not.
    """
    fig, ax = _axes(title)
    for label, look in _looks(list(fits)).items():
        residuals = fits[label].residuals(name)
        fitted = list(residuals)[-fits[label].last :] if fits[label].last else list(residuals)
        ax.plot([], [], label=label, **look)
        _draw_curve(ax, residuals, **look | {"markerfacecolor": "white"})
        _draw_curve(ax, {T: residuals[T] for T in fitted}, **look | {"linestyle": ""})
    ax.axhline(1, color=GREY, linewidth=0.9)
    ax.set_yscale("log", base=2)
    ax.set(xlabel="sequence length T", ylabel="measured / fitted time")
    _ratio_ticks(ax)
    _length_axis(ax)
    _legend(fig, ax)
    return fig


def _ratio_ticks(ax: Axes) -> None:
    """1, 2, 5, 10, … times; where the ratios span less than a factor of 3, round numbers between them."""
    low, high = ax.get_ylim()
    narrow = high < 3 * low
    ax.yaxis.set_major_locator(
        ticker.MaxNLocator(6) if narrow else ticker.LogLocator(subs=(1, 2, 5), numticks=9)
    )
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g} ×"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())


@matplotlib.style.context(STYLE_FILE)
def local_exponent_plot(scaling: Scaling, *, title: str = "") -> Figure:
    """The slope of each curve of a sweep between every length and the next, drawn halfway between them on the T axis.

    A power law is a level line; thin lines mark 1 and 2.
    """
    fig, ax = _axes(title)
    for name, look in _looks(scaling.sweep.names).items():
        slopes = scaling.local_exponents(name)
        _draw_curve(ax, {math.sqrt(a * b): p for (a, b), p in slopes.items()}, label=name, **look)
    for law in (1, 2):
        ax.axhline(law, color=GREY, linewidth=0.9)
    ax.set(xlabel="sequence length T", ylabel="local exponent")
    _length_axis(ax)
    _legend(fig, ax)
    return fig


def predicted_sweep(T: int, D: int, C: int, overhead_us: float) -> Sweep:
    """What a noiseless machine would measure from T = 32 up to `T`: counted FLOPs at 50 GFLOP/s, and overhead.

    Four heads of size D, chunks of C. Starting an operation takes `overhead_us` microseconds; fused softmax starts
    one and linear attention ten.
    """
    lengths = [length for length in SWEPT if length <= T]
    curves = _predicted(lengths, D, C, H=4, rate=50e9)
    samples = {
        name: {
            length: (seconds + OPERATIONS[name] * overhead_us * 1e-6,) for length, seconds in curve.items()
        }
        for name, curve in curves.items()
    }
    return Sweep("predicted", "time", samples, {}, environment(), "counted")


@matplotlib.style.context(STYLE_FILE)
def extrapolation_plot(T: int, D: int, C: int, overhead_us: float, *, title: str = "") -> Figure:
    """`predicted_sweep` up to `T` as points on the whole curve, and the power law of its last three out to 4 T.

    The crossing is marked where the points show one, beside the closed form.
    """
    seen, whole = (predicted_sweep(longest, D, C, overhead_us) for longest in (T, SWEPT[-1]))
    fig, ax = _axes(title or _seen(seen, T))
    for name, look in _looks(seen.names).items():
        p, last = seen.exponent(name), seen.values[name][T]
        _draw_curve(ax, whole.values[name], color=look["color"], marker="", linestyle="-", linewidth=0.8)
        _draw_curve(ax, seen.values[name], label=name, **look | {"linestyle": ""})
        law = {length: last * (length / T) ** p for length in (T / 4, 4 * T)}
        _draw_curve(ax, law, label=f"∝ T$^{{{p:.2f}}}$", **look | {"marker": ""})
    ax.set_xlim(0.8 * SWEPT[0], 1.2 * SWEPT[-1])
    _log_axes(ax, "time", "")
    _mark_crossovers(ax, None, cost.prefill_crossover(C, D, D))
    if crossing := seen.crossover(*seen.names):
        ax.axvline(crossing, color="black", linewidth=1.3)
        _head_label(ax, crossing, f"seen: T = {crossing:,.0f}", height=0.90)
    _legend(fig, ax)
    return fig


def _seen(sweep: Sweep, T: int) -> str:
    softmax, linear = (sweep.exponent(name) for name in sweep.names)
    crossing = sweep.crossover(*sweep.names)
    where = f"they cross at {crossing:,.0f}" if crossing else "no crossing was seen"
    return f"Measured up to T = {T:,}: exponents {softmax:.2f} and {linear:.2f}, {where}"


@matplotlib.style.context(STYLE_FILE)
def cost_plot(
    T: int,
    K: int,
    C: int,
    *,
    rate: float | None = None,
    measured: Mapping[str, float] | None = None,
    H: int = 4,
    title: str = "",
) -> Figure:
    """Predicted cost of causal softmax and chunkwise linear attention over T (B = 1, V = K), marked at `T`.

    Without `rate` the axis shows FLOPs; with `rate` in FLOP/s (`calibrate().gemm_flops`) the seconds they
    would take at full speed. `measured` maps "softmax" and "linear" to seconds at `T`, and needs a rate to
    be compared with.
    """
    if measured and rate is None:
        raise ValueError(
            "measured is given without rate; expected rate in FLOP/s, as calibrate().gemm_flops returns"
        )
    curves = _predicted(sorted({*SWEPT, T}), K, C, H, rate or 1.0)
    meet = cost.prefill_crossover(C, K, K)
    fig, ax = _axes(title or _cheaper(T, meet))
    looks = _looks(list(curves))
    for name, values in curves.items():
        _draw_curve(ax, values, label=f"{name}, predicted", **looks[name] | {"marker": ""})
        ax.plot(T, values[T], color=looks[name]["color"], marker=looks[name]["marker"], markersize=8)
    for name, seconds in (measured or {}).items():
        ax.plot(T, seconds, label=f"{name}, measured", **looks[name] | HOLLOW)
    _log_axes(ax, "time" if rate else "flops", "" if rate else "FLOPs per call")
    ax.axvline(T, color=GREY, linewidth=0.8)
    _mark_crossovers(ax, None, meet)
    _legend(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def layer_share_plot(ds: Sequence[int], *, title: str = "", causal: bool = True) -> Figure:
    """Attention's part of a whole layer's FLOPs over T, for layers of width d; a dot marks half, at
    T = 12 d (6 d if the masked half is computed too).
    """
    fig, ax = _axes(title or f"Attention overtakes the rest of a layer only at T = {12 if causal else 6} d")
    lengths = [2**i for i in range(5, 20)]
    for d, look in _looks([str(d) for d in ds]).items():
        shares = [100 * cost.attention_share(T, int(d), causal) for T in lengths]
        meet = cost.layer_crossover(int(d), causal)
        label = f"d = {int(d):,}: half at T = {meet:,.0f}"
        ax.plot(lengths, shares, color=look["color"], linestyle=look["linestyle"])
        ax.plot(meet, 50, color=look["color"], marker=look["marker"], markersize=8, linestyle="")
        ax.plot([], [], label=label, **look)
    ax.set(xlabel="sequence length T", ylabel="attention, % of the layer's FLOPs", ylim=(0, 100))
    _length_axis(ax)
    _legend(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def trial_plot(
    T: int,
    D: int,
    *,
    H: int = 8,
    H_kv: int = 8,
    b_state: int = 4,
    b_cache: int = 4,
    C: int = 64,
    title: str = "",
) -> Figure:
    """What both sides do at short lengths: FLOPs to read T tokens (left), bytes to write one more (right).

    Left causal softmax against chunks of C; right a cache of H_kv heads with `b_cache` bytes a number against H
    states with `b_state`. A dotted line marks where they meet, a grey one marks `T`. Batch 1, K = V = D; overheads
    are in neither.
    """
    fig = Figure(figsize=(9.5, 4.6), layout="constrained")
    _title(fig, title or _who_does_less(T, D, H, H_kv, b_state, b_cache, C))
    lengths = sorted({*(2**i for i in range(3, 11)), T})
    round_trip = 2 * cost.state_bytes(1, H, D, D, itemsize=b_state, normalize=False)
    panels = {
        "flops": (_predicted(lengths, D, C, H, 1.0), cost.prefill_crossover(C, D, D)),
        "memory": (
            {
                "softmax": {n: cost.cache_bytes(1, n, H_kv, D, D, itemsize=b_cache) for n in lengths},
                "linear": dict.fromkeys(lengths, round_trip),
            },
            cost.decode_crossover(D, D, b_state, b_cache, H, H_kv),
        ),
    }
    ylabels = ("prefill: FLOPs for T tokens", "decode: bytes moved after T tokens")
    for ax, (measure, (curves, meet)), ylabel in zip(
        fig.subplots(1, 2), panels.items(), ylabels, strict=True
    ):
        for name, look in _looks(list(curves)).items():
            _draw_curve(ax, curves[name], **look | {"marker": "", "label": f"{name}, counted"})
            ax.plot(T, curves[name][T], color=look["color"], marker=look["marker"], markersize=8)
        ax.axvline(T, color=GREY, linewidth=0.8)
        _log_axes(ax, measure, ylabel)
        inside = lengths[0] <= meet <= lengths[-1]
        if inside:
            ax.axvline(meet, color="black", linewidth=1.3, linestyle=":")
        note = "" if inside else " (outside)"
        ax.set_title(f"they meet at T* = {meet:,.0f}{note}", fontweight="normal", loc="center")
    _legend(fig, ax)
    return fig


def _who_does_less(T: int, D: int, H: int, H_kv: int, b_state: int, b_cache: int, C: int) -> str:
    prefill = _less(T, cost.prefill_crossover(C, D, D))
    decode = _less(T, cost.decode_crossover(D, D, b_state, b_cache, H, H_kv))
    both = f"{prefill} does less in prefill and in decode"
    apart = f"{prefill} does less in prefill, {decode} in decode"
    return f"Counted at T = {T:,}: {both if prefill == decode else apart}"


def _less(T: int, meet: float) -> str:
    return "neither" if meet == T else "linear" if meet < T else "softmax"


@matplotlib.style.context(STYLE_FILE)
def roofline_plot(rates: Rates, points: Mapping[str, tuple[float, float]], *, title: str = "") -> Figure:
    """The two ceilings of a machine, and where operations stand under them.

    `points` maps a name to (FLOPs per byte moved, FLOP/s reached). Left of the corner, at `rates.balance`,
    memory is the limit; right of it, arithmetic.
    """
    fig, ax = _axes(title)
    spread = [*(x for x, _ in points.values()), rates.balance]
    roof = np.geomspace(min(spread) / 4, max(spread) * 4, 200)
    reached = np.minimum(roof * rates.bandwidth_bytes, rates.gemm_flops)
    limits = f"limits: {rates.bandwidth_bytes / 1e9:,.0f} GB/s, {rates.gemm_flops / 1e9:,.0f} GFLOP/s"
    ax.plot(roof, reached, color="black", linestyle="-", marker="", label=limits)
    for name, look in _looks(list(points)).items():
        ax.plot(
            *points[name], color=look["color"], marker=look["marker"], linestyle="", markersize=9, label=name
        )
    ax.axvline(
        rates.balance,
        color=GREY,
        linewidth=0.9,
        linestyle=":",
        label=f"balance: {rates.balance:.2g} FLOPs a byte",
    )
    ax.set(xscale="log", yscale="log", xlabel="FLOPs per byte moved", ylabel="FLOP/s")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_formatter(ticker.EngFormatter(unit="FLOP/s", places=0))
    ax.minorticks_off()
    _legend(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def samples_plot(samples: Sequence[float], *, title: str = "", usual: float | None = None) -> Figure:
    """A histogram of running times in seconds, with the numbers that could be reported for them.

    Minimum, median and mean are lines, the range from the 20 % to the 80 % quantile is a band; `usual` marks a truth
    that is known. Both axes are logarithmic: interruptions make a long tail of few samples.
    """
    fig, ax = _axes(title)
    low, high = 0.97 * min(samples), 1.03 * max(samples)
    ax.hist(samples, bins=np.geomspace(low, high, 50), color="#c9d8e6", edgecolor="white", linewidth=0.4)
    q20, middle, q80 = np.quantile(samples, [0.2, 0.5, 0.8])
    ax.axvspan(q20, q80, color=GREY, alpha=0.25, linewidth=0, label="20 % to 80 %")
    if usual is not None:
        label = f"usual call: {_format.seconds(usual)}"
        ax.axvline(usual, color="black", alpha=0.25, linewidth=7, label=label)
    marks = {"minimum": min(samples), "median": middle, "mean": float(np.mean(samples))}
    for (name, value), look in zip(marks.items(), _looks(list(marks)).values(), strict=True):
        ax.axvline(
            value,
            color=look["color"],
            linestyle=look["linestyle"],
            label=f"{name}: {_format.seconds(value)}",
        )
    ax.set(xscale="log", yscale="log", xlabel="time per call", ylabel="number of samples")
    ax.set_ylim(bottom=0.7)
    subs = (1,) if ax.get_ylim()[1] > 30 else (1, 2, 5)
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=subs, numticks=9))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    _time_ticks(ax)
    _legend(fig, ax)
    return fig


def _time_ticks(ax: Axes) -> None:
    """Round times along a logarithmic axis, however short it is."""
    low, high = ax.get_xlim()
    places = ticker.LogLocator(base=10, subs=(1, 2, 5), numticks=9).tick_values(low, high)
    inside = [place for place in places if low <= place <= high]
    if len(inside) < 2:
        inside = [place for place in ticker.MaxNLocator(4).tick_values(low, high) if low <= place <= high]
    ax.set_xticks(inside, [_tick(place, "time") for place in inside])
    ax.xaxis.set_minor_locator(ticker.NullLocator())


def _axes(title: str, figsize: tuple[float, float] | None = None) -> tuple[Figure, Axes]:
    fig = Figure(figsize=figsize, layout="constrained")
    _title(fig, title)
    return fig, fig.subplots()


def _title(fig: Figure, title: str) -> None:
    """At the left edge, wrapped to the width of the figure."""
    wrapped = textwrap.fill(title, int(TITLE_CHARS * fig.get_figwidth()))
    size, weight = plt.rcParams["axes.titlesize"], plt.rcParams["axes.titleweight"]
    fig.suptitle(wrapped, x=0.01, ha="left", fontsize=size, fontweight=weight)


def _legend(fig: Figure, ax: Axes) -> None:
    """Below the axes, where it covers no curve."""
    handles, labels = ax.get_legend_handles_labels()
    fitting = (n for n in range(len(labels), 1, -1) if _legend_chars(labels, n) <= LEGEND_CHARS)
    fig.legend(handles, labels, loc="outside lower center", ncols=next(fitting, 1))


def _legend_chars(labels: Sequence[str], columns: int) -> int:
    """Width of a legend that is filled column by column, each as wide as its longest entry and the sample."""
    filled = np.array_split([len(label) for label in labels], columns)
    return sum(6 + int(max(column)) for column in filled)


def _looks(names: Sequence[str]) -> dict[str, dict]:
    """Colour, dash and marker of each curve, by its place among the names."""
    cycle = list(plt.rcParams["axes.prop_cycle"])
    return {name: dict(cycle[i % len(cycle)]) for i, name in enumerate(dict.fromkeys(names))}


def _draw_curve(ax: Axes, values: Mapping[int, float], **look: object) -> None:
    lengths = sorted(values)
    ax.plot(lengths, [values[T] for T in lengths], **look)


def _draw_recorded(ax: Axes, recorded: Sweep, looks: Mapping[str, dict]) -> None:
    """Small hollow points without a line: a line's dash already says which curve it is."""
    faint = {"linestyle": "", "markersize": 5, "markerfacecolor": "none", "alpha": 0.7}
    for name, look in looks.items():
        _draw_curve(ax, recorded.values.get(name, {}), **look | faint)
    ax.plot([], [], label=f"points: recorded on {recorded.environment}", color=GREY, marker="o", **faint)


def _log_axes(ax: Axes, measure: str, ylabel: str) -> None:
    ax.set_yscale("log", base=2 if measure == "memory" else 10)
    ax.set(xlabel="sequence length T", ylabel=ylabel or AXES[measure])
    _length_axis(ax)
    _value_ticks(ax, measure)
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value, measure)))


def _value_ticks(ax: Axes, measure: str) -> None:
    """Powers of 10 (of 4 for bytes); where those are fewer than three, round numbers between them as well."""
    base, between = (4, (1, 2)) if measure == "memory" else (10, (1, 2, 5))
    low, high = ax.get_ylim()
    subs = (1,) if math.log(high / low, base) > 3 else between
    ax.yaxis.set_major_locator(ticker.LogLocator(base=base, subs=subs, numticks=9))
    ax.yaxis.set_minor_locator(ticker.NullLocator())


def _tick(value: float, measure: str) -> str:
    """A round number without needless digits: 100 µs, 64 MiB, 10 GFLOP."""
    if measure == "flops":
        return ticker.EngFormatter(unit="FLOP", places=0)(value)
    number, unit = {"time": _format.seconds, "memory": _format.size}[measure](value).split()
    return f"{float(number.replace(',', '')):g} {unit}"


def _length_axis(ax: Axes) -> None:
    """T doubles from tick to tick; of many, every other one."""
    ax.set_xscale("log", base=2)
    low, high = ax.get_xlim()
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    ax.set_xticks([2**i for i in powers if len(powers) <= 10 or i % 2 == powers[-1] % 2])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_guides(ax: Axes, slopes: Sequence[int]) -> None:
    """Thin lines of known slope in the lower right corner, with room made beneath the curves."""
    if not slopes:
        return
    (left, right), (low, high) = np.log(ax.get_xlim()), np.log(ax.get_ylim())
    run = 0.15 * (right - left)
    x0, x1 = right - 1.5 * run, right - 0.5 * run
    rise = max(slopes) * run
    lowest = min(_log_values_between(ax, x0 - 0.5 * run, right), default=high)
    foot = min(low, lowest - 1.2 * rise - 0.1 * (high - lowest))
    ax.set_ylim(math.exp(foot - 0.05 * (high - foot)), math.exp(high))
    for slope in slopes:
        tip = (math.exp(x1), math.exp(foot + slope * run))
        ax.plot([math.exp(x0), tip[0]], [math.exp(foot), tip[1]], color=GREY, lw=0.9, ls="-", marker="")
        ax.text(*tip, f" {_law(slope)}", color=GREY, va="center", fontsize=10)


def _law(slope: int) -> str:
    return {0: "constant", 1: "∝ T"}.get(slope, f"∝ T$^{slope}$")


def _log_values_between(ax: Axes, left: float, right: float) -> list[float]:
    points = (
        point for line in ax.get_lines() for point in np.log(np.asarray(line.get_xydata(), dtype=float))
    )
    return [y for x, y in points if left <= x <= right]


def _mark_crossovers(ax: Axes, measured: float | None, closed_form: float | None) -> None:
    """Vertical lines with their labels at the top, one above the other, outside the pair where there is room."""
    marks = [(measured, "measured", "-"), (closed_form, "closed form", ":")]
    there = sorted(mark for mark in marks if mark[0] is not None)
    for i, (T, what, dash) in enumerate(there):
        ax.axvline(T, color="black", linewidth=1.3, linestyle=dash)
        inner = len(there) == 2 and i == 0
        _head_label(ax, T, f"{what}: T = {T:,.0f}", height=0.98 - 0.08 * i, room_from=0.35 if inner else 0.7)


def _head_label(ax: Axes, T: float, text: str, height: float, room_from: float = 0.7) -> None:
    """A label right of its line, or left of it from that part of the axis on."""
    low, high = np.log(ax.get_xlim())
    side = "left" if math.log(T) < low + room_from * (high - low) else "right"
    where = {"xy": (T, height), "xycoords": ax.get_xaxis_transform(), "textcoords": "offset points"}
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
    ax.annotate(text, xytext=(6 if side == "left" else -6, 0), ha=side, va="top", bbox=box, **where)


def _predicted(lengths: Sequence[int], K: int, C: int, H: int, rate: float) -> dict[str, dict[int, float]]:
    return {
        "softmax": {T: cost.softmax_flops(1, T, H, K, K) / rate for T in lengths},
        "linear": {T: cost.linear_flops(1, T, H, K, K, C) / rate for T in lengths},
    }


def _cheaper(T: int, meet: float) -> str:
    if meet == T:
        return f"At T = {T:,} softmax and linear attention need the same FLOPs"
    first = "Linear" if meet < T else "Softmax"
    return f"{first} attention needs fewer FLOPs at T = {T:,}: they meet at {meet:,.0f}"


# --- matrices -------------------------------------------------------------------------------------


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

    Masked scores (−∞) are grey. All share one colour scale, diverging around 0 if any number is negative.
    """
    arrays = {name: _array(name, matrix) for name, matrix in matrices.items()}
    cmap, low, high = _scale(list(arrays.values()))
    fig, axs = _row_of_axes(list(arrays.values()), title)
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
    fig, ax = _axes(title, (5.4, 4.6))
    image = ax.imshow(array, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(xlabel=values, ylabel=keys, xticks=range(0, array.shape[1], 3), yticks=range(0, array.shape[0], 3))
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="stored value")
    return fig


@matplotlib.style.context(STYLE_FILE)
def weights_plot(weights: Mapping[str, object], tokens: Sequence[str], *, title: str = "") -> Figure:
    """Attention weights `[T, T]` side by side: a row is a token that reads, a column one that is read."""
    arrays = {name: _array(name, matrix) for name, matrix in weights.items()}
    for name, array in arrays.items():
        if array.shape != (len(tokens), len(tokens)):
            raise ValueError(
                f"{name} is {array.shape}; expected {len(tokens)} rows and columns, one per token"
            )
    fig, axs = _row_of_axes(list(arrays.values()), title, cell=0.34)
    for ax, (name, array) in zip(axs, arrays.items(), strict=True):
        image = ax.imshow(array, cmap="Blues", vmin=0, vmax=max(float(a.max()) for a in arrays.values()))
        ax.set_title(name, fontweight="normal", loc="center")
        _cell_labels(ax, array.shape, tokens if ax is axs[0] else [""] * len(tokens), tokens)
        ax.tick_params(axis="x", labelrotation=90)
        ax.set(
            xlabel="key: the word that is read", ylabel="query: the word that reads" if ax is axs[0] else ""
        )
    fig.colorbar(image, ax=axs, label="weight", shrink=0.8)
    return fig


@matplotlib.style.context(STYLE_FILE)
def recall_by_position(
    scores: Mapping[str, Sequence[float]],
    tokens: Sequence[str],
    *,
    title: str = "",
    chance: float | None = None,
) -> Figure:
    """How well each token can be read back (0 … 1), oldest on the left; `chance` is what guessing reaches."""
    fig, ax = _axes(title)
    places = range(len(tokens))
    for name, look in _looks(list(scores)).items():
        if len(scores[name]) != len(tokens):
            raise ValueError(f"{name} has {len(scores[name])} scores; expected {len(tokens)}, one per token")
        ax.plot(places, [float(score) for score in scores[name]], label=name, **look)
    if chance is not None:
        ax.axhline(chance, color=GREY, linewidth=1, linestyle=":", label="chance")
    ax.set_xticks(places, tokens, rotation=90 if len(tokens) > 8 else 0)
    ax.set(xlabel="token, in the order of writing", ylabel="recall", ylim=(-0.03, 1.05))
    _legend(fig, ax)
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
    fig, ax = _axes(title)
    for name, look in _looks(list(recalls)).items():
        if len(recalls[name]) != len(counts):
            raise ValueError(f"{name} has {len(recalls[name])} shares; expected {len(counts)}, one per count")
        ax.plot(counts, recalls[name], label=name, **look)
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [f"{count:,}" for count in counts])
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    ax.set(xlabel=f"number of {what}", ylabel="read back", ylim=(-0.03, 1.05))
    _legend(fig, ax)
    return fig


def _array(name: str, matrix: object) -> np.ndarray:
    """Tensors (also on a GPU, also with gradients), arrays and lists, as a two-dimensional array."""
    detached = matrix.detach().cpu() if hasattr(matrix, "detach") else matrix
    array = np.asarray(detached, dtype=float)
    if array.ndim != 2:
        raise ValueError(f"{name} has shape {array.shape}; expected a matrix [rows, columns]")
    return array


def _scale(arrays: Sequence[np.ndarray]) -> tuple[Colormap, float, float]:
    """One colour scale for all: diverging and symmetric if anything is negative, else from 0 upwards."""
    finite = np.concatenate([array[np.isfinite(array)] for array in arrays])
    limit = float(np.abs(finite).max()) if finite.size and np.abs(finite).max() > 0 else 1.0
    diverging = bool((finite < 0).any())
    cmap = plt.get_cmap("RdBu_r" if diverging else "Blues").with_extremes(bad="#c9c9c9")
    return cmap, -limit if diverging else 0.0, limit


def _row_of_axes(arrays: Sequence[np.ndarray], title: str, cell: float = 0.62) -> tuple[Figure, list[Axes]]:
    """Axes side by side, wide enough for `cell` inches a column, within what a page shows."""
    width = min(9.5, max(4.0, cell * sum(array.shape[1] for array in arrays) + 1.1 * len(arrays)))
    widest = (width - 0.9 * len(arrays)) / sum(array.shape[1] for array in arrays)
    title_lines = len(textwrap.wrap(title, int(TITLE_CHARS * width)))
    height = min(cell, widest) * max(array.shape[0] for array in arrays) + 1.3 + 0.25 * title_lines
    fig = Figure(figsize=(width, height), layout="constrained")
    ratios = [array.shape[1] for array in arrays]
    axs = fig.subplots(1, len(arrays), squeeze=False, width_ratios=ratios)[0]
    _title(fig, title)
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


# --- the concept map ------------------------------------------------------------------------------


@matplotlib.style.context(STYLE_FILE)
def concept_map(course: Course, *, track: str | None = None) -> Figure:
    """The chapters and what each builds on: colour and shape say the part, a dashed outline "planned".

    Chapters outside `track` are faint. An edge that a longer path implies is left out.
    `concept_map_html` gives the same map with links.
    """
    plan = layout(course, track)
    fig = Figure(figsize=(plan.width / 100, plan.height / 100))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, plan.width), ylim=(plan.height, 0))
    ax.axis("off")
    for edge in plan.edges:
        _draw_edge(ax, edge)
    for node in plan.nodes:
        _draw_node(ax, node)
    _draw_legend(ax, plan)
    return fig


def _draw_edge(ax: Axes, edge: Edge) -> None:
    points = [edge.points[0], *(point for piece in curve(edge.points) for point in piece)]
    codes = [Outline.MOVETO] + [Outline.CURVE4] * (len(points) - 1)
    look = {"edgecolor": "#8a8a8a", "linewidth": 1.2, "alpha": 0.25 if edge.faded else 1.0}
    ax.add_patch(PathPatch(Outline(points, codes), facecolor="none", **look))
    x, y = edge.points[-1]
    ax.add_patch(PathPatch(Outline([(x - 4, y - 7), (x, y), (x + 4, y - 7)]), facecolor="none", **look))


def _draw_node(ax: Axes, node: Node) -> None:
    ready, alpha = node.chapter.ready, 0.3 if node.faded else 1.0
    number, name = node.lines
    fill = TINTS[node.part % len(TINTS)] if ready else "white"
    look = {
        "facecolor": fill,
        "edgecolor": INKS[node.part % len(INKS)],
        "linestyle": "-" if ready else (0, (3, 2)),
    }
    ax.add_patch(Polygon(node.outline, linewidth=1.3, alpha=alpha, zorder=2, **look))
    text = {"ha": "center", "va": "center", "alpha": alpha, "zorder": 3}
    ax.text(node.x, node.y - NODE_H / 5, number, fontweight="bold", fontsize=9, **text)
    ax.text(node.x, node.y + NODE_H / 5, name, fontsize=9, **text)


def _draw_legend(ax: Axes, plan: Map) -> None:
    for i, name in enumerate([*plan.parts, PLANNED]):
        x, y = legend_place(i, plan.width)
        if name == PLANNED:
            ax.plot([x - 14, x + 14], [y, y], color="#4d4d4d", linestyle=(0, (3, 2)), marker="")
        else:
            corners = [(x + dx, y + dy) for dx, dy in outline(i, 28, 14)]
            ax.add_patch(Polygon(corners, facecolor=TINTS[i % len(TINTS)], edgecolor=INKS[i % len(INKS)]))
        ax.text(x + 22, y, name, va="center", fontsize=9)
