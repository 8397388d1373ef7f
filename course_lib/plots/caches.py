"""Caches compared: output errors by kind of input, sizes over the length, and factors applied one after another."""

from collections.abc import Mapping, Sequence

import matplotlib.style
from matplotlib import ticker
from matplotlib.figure import Figure

from course_lib import cost
from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of

UNITS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0))
WIDTH = 0.6  # of a group of points, 1 from group to group


@matplotlib.style.context(STYLE_FILE)
def cache_error_plot(errors: Mapping[str, Mapping[str, Sequence[float]]], *, title: str = "") -> Figure:
    """Output errors on a log axis: a group for each kind of input, in it a marker for each method, a point a seed.

    errors: kind of input -> method -> ‖o − o_full‖ / ‖o_full‖ of each seed. The dotted line at 1 is the error of an
    output of zeros. Raises ValueError for no input, and for an error that is not above 0.
    """
    if not errors:
        raise ValueError("errors must hold at least one kind of input, got none")
    fig, ax = axes(title)
    names = list(dict.fromkeys(name for methods in errors.values() for name in methods))
    for i, (name, look) in enumerate(looks_of(names).items()):
        shift = WIDTH * ((i + 0.5) / len(names) - 0.5)
        points = [(x + shift, e) for x, kind in enumerate(errors) for e in errors[kind].get(name, ())]
        if low := [e for _, e in points if e <= 0]:
            raise ValueError(f"errors of {name!r} must be above 0, got {low[0]}")
        ax.plot(*zip(*points, strict=True), label=name, **look | {"linestyle": ""})
    ax.axhline(1, color=GREY, linestyle=":", linewidth=1, label="an output of zeros")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1.0, decimals=None))
    ax.yaxis.set_minor_formatter(ticker.NullFormatter())
    ax.set_xticks(range(len(errors)), list(errors))
    ax.set_xlim(-0.5, len(errors) - 0.5)
    ax.set(xlabel="what is planted in the input", ylabel="output error / output")
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def cache_sizes_plot(sizes: Mapping[str, Mapping[int, float]], *, title: str = "") -> Figure:
    """Bytes of caches over the tokens they have read, on log–log axes, a curve for each.

    sizes: name -> T -> bytes. Raises ValueError for no curve.
    """
    if not sizes:
        raise ValueError("sizes must hold at least one curve, got none")
    fig, ax = axes(title)
    unit, per = _unit(max(max(curve.values()) for curve in sizes.values()))
    for name, look in looks_of(list(sizes)).items():
        curve = dict(sorted(sizes[name].items()))
        ax.plot(list(curve), [n / per for n in curve.values()], label=name, **look)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.set(xlabel="tokens read T", ylabel=f"size ({unit})")
    legend_below(fig, ax)
    return fig


@matplotlib.style.context(STYLE_FILE)
def factors_plot(start: float, factors: Mapping[str, float], *, title: str = "") -> Figure:
    """A cache of `start` bytes and what is left of it after each factor in turn: points on a log axis, from the top.

    On a log axis a factor is a distance, wherever it is applied.

    factors: name -> what the bytes are multiplied by. Raises ValueError for bytes or a factor that is not above 0.
    """
    for name, value in {"start": start, **factors}.items():
        if value <= 0:
            raise ValueError(f"{name} must be above 0, got {value}")
    sizes = {"everything kept": start}
    for name, factor in factors.items():
        sizes[f"{name}  × {factor:.3g}"] = list(sizes.values())[-1] * factor
    fig, ax = axes(title, figsize=(7.0, 1.6 + 0.42 * len(sizes)))
    unit, per = _unit(start)
    values = [size / per for size in sizes.values()]
    ax.plot(values, range(len(values)), **looks_of(["size"])["size"])
    for y, size in enumerate(sizes.values()):
        ax.annotate(size_text(size), (size / per, y), xytext=(9, -3), textcoords="offset points", va="top")
    ax.grid(visible=False, axis="y")
    ax.set_xscale("log")
    ax.set_xlim(min(values) / 3, max(values) * 6)
    ax.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.set_yticks(range(len(sizes)), [name.replace("H_kv", r"$\mathrm{H_{kv}}$") for name in sizes])
    ax.set_ylim(len(sizes) - 0.3, -0.5)
    ax.set(xlabel=f"size ({unit})")
    return fig


def shrunk(
    *, groups: int = 1, budget: float = 1.0, bits: int = 16, layers: float = 1.0, utilisation: float = 0.5
) -> tuple[int, dict[str, float]]:
    """Bytes that a cache reserves, and what each method leaves of them, where it leaves less. Chapter 05.

    The model: 32 layers with 32 heads of size 128; 8 sequences of 32,768 tokens; half of the room is used. groups:
    query heads that share a key; budget: the part of the tokens kept; bits: of a number; layers: the part of them that
    keeps a cache; utilisation: the part of the room that is used. Fewer bits than 16 come with a low and a step for
    each 32 numbers of a key's channel and for each value: 0.625 bits a number.
    """
    start = 2 * cost.cache_bytes(8, 32_768, 32, 128, 128, layers=32)
    shared = {"2·H_kv·D": 1 / groups, "T": budget, "bytes": (bits + 0.625 * (bits < 16)) / 16, "L": layers}
    factors = shared | {"utilisation": 0.5 / utilisation}
    return start, {name: factor for name, factor in factors.items() if factor != 1}


def size_text(size: float) -> str:
    """`34.4 GB`"""
    unit, per = _unit(size)
    return f"{size / per:.3g} {unit}"


def _unit(size: float) -> tuple[str, float]:
    return next(((name, per) for name, per in UNITS if size >= per), UNITS[-1])
