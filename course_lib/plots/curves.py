"""Curves over the sequence length, and what timings look like: measured, predicted and fitted."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib import cost
from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of, set_title, value_ticks
from course_lib.timing import _format
from course_lib.timing.ceilings import Rates
from course_lib.timing.scaling import Scaling
from course_lib.timing.stamp import environment
from course_lib.timing.sweeps import Sweep

AXES = {"time": "time per call", "memory": "peak memory"}
HOLLOW = {"linestyle": "", "markersize": 12, "markerfacecolor": "white", "markeredgewidth": 2.2}
SWEPT = [2**i for i in range(5, 14)]  # T = 32 … 8,192
LABEL_ROW, LABEL_GAP = 0.085, 0.04  # of the axes' height: a row of labels above the curves, the gap beneath
OPERATIONS = {"softmax": 1, "linear": 10}  # that a call starts: one fused kernel, or several small ones


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
    fig, ax = axes(title or sweep.title)
    looks = looks_of(sweep.names)
    if recorded is not None:
        _draw_recorded(ax, recorded, looks)
    for name, values in sweep.values.items():
        _draw_curve(ax, values, label=name, **looks[name])
    _log_axes(ax, sweep.measure, ylabel)
    _draw_guides(ax, guide)
    measured = sweep.crossover(*crossover) if crossover else None
    _mark_crossovers(ax, {"measured": measured, "closed form": closed_form})
    value_ticks(ax, sweep.measure)
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def residual_plot(fits: Mapping[str, Scaling], name: str, *, title: str = "") -> Figure:
    """Measured over fitted at every T, for several power laws through the curve `name`.

    Filled points were fitted, hollow ones were left out. Around 1 without a pattern, the law holds; a bend says that
    it does not.
    """
    fig, ax = axes(title)
    for label, look in looks_of(list(fits)).items():
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
    legend_below(fig, ax)
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
    fig, ax = axes(title)
    for name, look in looks_of(scaling.sweep.names).items():
        slopes = scaling.local_exponents(name)
        _draw_curve(ax, {math.sqrt(a * b): p for (a, b), p in slopes.items()}, label=name, **look)
    for law in (1, 2):
        ax.axhline(law, color=GREY, linewidth=0.9)
    ax.set(xlabel="sequence length T", ylabel="local exponent")
    _length_axis(ax)
    legend_below(fig, ax)
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
    """`predicted_sweep` up to `T` as points on the whole curve (thin), and the power law of its last three to 4 T.

    The crossing is marked where the points show one, beside the closed form.
    """
    seen, whole = (predicted_sweep(longest, D, C, overhead_us) for longest in (T, SWEPT[-1]))
    fig, ax = axes(title or _seen(seen, T))
    for name, look in looks_of(seen.names).items():
        p, last = seen.exponent(name), seen.values[name][T]
        _draw_curve(ax, whole.values[name], color=look["color"], marker="", linestyle="-", linewidth=0.8)
        _draw_curve(ax, seen.values[name], label=name, **look | {"linestyle": ""})
        law = {length: last * (length / T) ** p for length in (T / 4, 4 * T)}
        _draw_curve(ax, law, label=f"∝ T$^{{{p:.2f}}}$", **look | {"marker": ""})
    ax.plot([], [], color=GREY, marker="", linestyle="-", linewidth=0.8, label="the curves themselves")
    ax.set_xlim(0.8 * SWEPT[0], 1.2 * SWEPT[-1])
    _log_axes(ax, "time", "")
    counted = cost.prefill_crossover(C, D, D)
    _mark_crossovers(ax, {"seen": seen.crossover(*seen.names), "closed form": counted})
    value_ticks(ax, "time")
    legend_below(fig, ax)
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
    fig, ax = axes(title or _cheaper(T, meet))
    looks = looks_of(list(curves))
    for name, values in curves.items():
        _draw_curve(ax, values, label=f"{name}, predicted", **looks[name] | {"marker": ""})
        ax.plot(T, values[T], color=looks[name]["color"], marker=looks[name]["marker"], markersize=8)
    for name, seconds in (measured or {}).items():
        ax.plot(T, seconds, label=f"{name}, measured", **looks[name] | HOLLOW)
    measure = "time" if rate else "flops"
    _log_axes(ax, measure, "" if rate else "FLOPs per call")
    ax.axvline(T, color=GREY, linewidth=0.8, label=f"T = {T:,}")
    _mark_crossovers(ax, {"closed form": meet})
    value_ticks(ax, measure)
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def layer_share_plot(
    ds: Sequence[int], *, T: int | None = None, title: str = "", causal: bool = True
) -> Figure:
    """Attention's part of a whole layer's FLOPs over T, for layers of width d; a dot marks half, at
    T = 12 d (6 d if the masked half is computed too), and a grey line the length `T`.
    """
    fig, ax = axes(title or f"Attention overtakes the rest of a layer only at T = {12 if causal else 6} d")
    lengths = [2**i for i in range(5, 20)]
    for d, look in looks_of([str(d) for d in ds]).items():
        shares = [100 * cost.attention_share(T, int(d), causal) for T in lengths]
        meet = cost.layer_crossover(int(d), causal)
        label = f"d = {int(d):,}: half at T = {meet:,.0f}"
        ax.plot(lengths, shares, **look | {"marker": ""})
        ax.plot(meet, 50, color=look["color"], marker=look["marker"], markersize=8, linestyle="")
        ax.plot([], [], label=label, **look)
    if T is not None:
        ax.axvline(T, color="0.5", linewidth=1, label=f"T = {T:,}")
    ax.set(xlabel="sequence length T", ylabel="attention, % of the layer's FLOPs", ylim=(-2, 102))
    _length_axis(ax)
    legend_below(fig, ax)
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
    set_title(fig, title or _who_does_less(T, D, H, H_kv, b_state, b_cache, C))
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
        for name, look in looks_of(list(curves)).items():
            _draw_curve(ax, curves[name], **look | {"marker": "", "label": f"{name}, counted"})
            ax.plot(T, curves[name][T], color=look["color"], marker=look["marker"], markersize=8)
        ax.axvline(T, color=GREY, linewidth=0.8, label=f"T = {T:,}")
        _log_axes(ax, measure, ylabel)
        inside = lengths[0] <= meet <= lengths[-1]
        if inside:
            ax.axvline(meet, color="black", linewidth=1.3, linestyle=":")
        note = "" if inside else " (outside)"
        ax.set_title(f"they meet at T* = {meet:,.0f}{note}", fontweight="normal", loc="center")
    legend_below(fig, ax)
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
    fig, ax = axes(title)
    spread = [*(x for x, _ in points.values()), rates.balance]
    roof = np.geomspace(min(spread) / 4, max(spread) * 4, 200)
    reached = np.minimum(roof * rates.bandwidth_bytes, rates.gemm_flops)
    limits = f"limits: {rates.bandwidth_bytes / 1e9:,.0f} GB/s, {rates.gemm_flops / 1e9:,.0f} GFLOP/s"
    ax.plot(roof, reached, color="black", linestyle="-", marker="", label=limits)
    for name, look in looks_of(list(points)).items():
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
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def samples_plot(samples: Sequence[float], *, title: str = "", usual: float | None = None) -> Figure:
    """A histogram of running times in seconds, with the numbers that could be reported for them.

    Minimum, median and mean are lines, the range from the 20 % to the 80 % quantile is a band; `usual` marks a truth
    that is known. Both axes are logarithmic: interruptions make a long tail of few samples.
    """
    fig, ax = axes(title)
    bins = np.geomspace(min(samples), 1.03 * max(samples), 50)
    ax.hist(samples, bins=bins, color="#c9d8e6", edgecolor="white", linewidth=0.4)
    q20, middle, q80 = np.quantile(samples, [0.2, 0.5, 0.8])
    ax.axvspan(q20, q80, color=GREY, alpha=0.25, linewidth=0, label="20 % to 80 %")
    marks = {"minimum": min(samples), "median": middle, "mean": float(np.mean(samples))}
    for (name, value), look in zip(marks.items(), looks_of(list(marks)).values(), strict=True):
        ax.axvline(
            value,
            color=look["color"],
            linestyle=look["linestyle"],
            label=f"{name}: {_format.seconds(value)}",
        )
    if usual is not None:  # on top, and short: one of the others may lie at the same place
        label = f"usual call: {_format.seconds(usual)}"
        ax.axvline(usual, ymax=0.9, color="black", linestyle=":", linewidth=1.6, label=label)
    ax.set(xscale="log", yscale="log", xlabel="time per call", ylabel="number of samples")
    ax.set_ylim(bottom=0.7)
    subs = (1,) if ax.get_ylim()[1] > 30 else (1, 2, 5)
    ax.yaxis.set_major_locator(ticker.LogLocator(subs=subs, numticks=9))
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(ticker.NullLocator())
    _time_ticks(ax)
    legend_below(fig, ax)
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
    value_ticks(ax, measure)
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: _tick(value, measure)))


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
    run, label = 0.15 * (right - left), (0.125 if 0 in slopes else 0.075) * (right - left)
    x0, x1 = right - label - run, right - label
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


def _mark_crossovers(ax: Axes, marks: Mapping[str, float | None]) -> None:
    """Vertical lines (dotted for a closed form) with their labels above the curves, a row for each.

    What goes past the other line is in the upper row, and the other line ends below it.
    """
    there = sorted((T, name) for name, T in marks.items() if T is not None)
    lines = [
        ax.axvline(T, color="black", linewidth=1.3, linestyle=":" if name == "closed form" else "-")
        for T, name in there
    ]
    _raise_top(ax, LABEL_GAP + LABEL_ROW * len(there))
    sides = [_alignment(ax, T, inner=(T, name) != there[-1]) for T, name in there]
    rows = there if sides[:1] == ["left"] else there[::-1]  # from the upper one
    for (T, name), line, side in zip(there, lines, sides, strict=True):
        top = 1 - LABEL_ROW * rows.index((T, name))
        line.set_ydata([0, top])
        _head_label(ax, T, f"{name}: T = {T:,.0f}", top, side)


def _raise_top(ax: Axes, share: float) -> None:
    """Leaves that share of the axes' height free above the curves."""
    low, top = np.log([ax.get_ylim()[0], ax.dataLim.y1])
    ax.set_ylim(top=max(ax.get_ylim()[1], math.exp(low + (top - low) / (1 - share))))


def _alignment(ax: Axes, T: float, inner: bool) -> str:
    """Of a label at T: "left" puts it right of its line, where it fits; the left one of two goes outside."""
    low, high = np.log(ax.get_xlim())
    return "left" if math.log(T) < low + (0.35 if inner else 0.7) * (high - low) else "right"


def _head_label(ax: Axes, T: float, text: str, top: float, side: str) -> None:
    where = {"xy": (T, top), "xycoords": ax.get_xaxis_transform(), "textcoords": "offset points"}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    ax.annotate(text, xytext=(6 if side == "left" else -6, -2), ha=side, va="top", bbox=box, **where)


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
