"""State-space models in pictures: a sampled equation, what one token leaves behind, and the tree of a scan."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of, set_title

DONE, PARTIAL = "#0072B2", "#dbe9f4"
EXACT, EULER = "zero-order hold", "Euler"


def sampled(a: float, b: float, delta: float, steps: int, on: int, rule: str = EXACT) -> list[float]:
    """x after 0, 1, …, `steps` steps of x' = a x + b u from x = 0; u is 1 during the first `on` steps, then 0.

    `rule`: "zero-order hold", exact for such an input, or "Euler". a must not be 0. Chapter 12.
    """
    keep = math.exp(a * delta) if rule == EXACT else 1 + a * delta
    write = (keep - 1) / a * b  # (e^{aΔ} − 1)/a · b, and for Euler Δ b
    x = [0.0]
    for step in range(steps):
        x.append(keep * x[-1] + write * (step < on))
    return x


@matplotlib.style.context(STYLE_FILE)
def discretisation_plot(
    a: float, b: float, deltas: Sequence[float], *, on: float, until: float, title: str = ""
) -> Figure:
    """x' = a x + b u, with u = 1 until time `on` and 0 afterwards: the solution, and both samplings of it.

    One panel for each step size; `on` and `until` are multiples of each. Points that leave the panel are far off.
    Chapter 12.
    """
    for delta in deltas:
        if abs(on / delta - round(on / delta)) > 1e-9 or abs(until / delta - round(until / delta)) > 1e-9:
            raise ValueError(f"on and until must be multiples of every step size, got {delta:g}")
    fig = Figure(figsize=(9.2, 3.6), layout="constrained")
    set_title(fig, title)
    panels = fig.subplots(1, len(deltas), sharey=True, squeeze=False)[0]
    for ax, delta in zip(panels, deltas, strict=True):
        _draw_sampled(ax, a, b, delta, on, until)
    top = abs(b / a)
    panels[0].set(ylabel="state x", ylim=(-1.6 * top, 2.5 * top))
    legend_below(fig, panels[0])
    return fig


def _draw_sampled(ax: Axes, a: float, b: float, delta: float, on: float, until: float) -> None:
    fine = 400
    solution = sampled(a, b, until / fine, fine, round(on / until * fine))
    ax.plot(
        np.linspace(0, until, fine + 1), solution, color=GREY, linewidth=1.4, marker="", label="the solution"
    )
    steps = round(until / delta)
    for rule, look in looks_of([EXACT, EULER]).items():
        x = sampled(a, b, delta, steps, round(on / delta), rule)
        line = look | {"linestyle": "" if rule == EXACT else look["linestyle"]}
        ax.plot([delta * n for n in range(steps + 1)], x, label=rule, **line)
    kept = f"Δ = {delta:g}; 1 + aΔ = {1 + a * delta:g}".replace("-", "−")
    ax.set_title(kept, loc="center", fontweight="normal")
    ax.set(xlabel="time")


@matplotlib.style.context(STYLE_FILE)
def impulse_plot(kernels: Mapping[str, Sequence[float]], *, title: str = "") -> Figure:
    """What one token leaves behind: the output 0, 1, 2, … tokens after a single 1 in the input. Chapter 12."""
    fig, ax = axes(title)
    for name, look in looks_of(list(kernels)).items():
        kernel = [float(value) for value in kernels[name]]
        ax.plot(range(len(kernel)), kernel, label=name, **look | {"markersize": 3.5})
    ax.axhline(0, color=GREY, linewidth=0.9)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="tokens since the input", ylabel="left in the output")
    legend_below(fig, ax)
    return fig


def token_trace(delta: float, alpha: float, omega: float = 0.0, T: int = 48) -> list[float]:
    """Impulse response of x' = (−α + iω) x + (α − iω) u, real part, sampled with zero-order hold: `T` numbers.

    `alpha` > 0 is the rate of forgetting. Scaled so that a constant input ends at 1: keep + write = 1. Chapter 12.
    """
    if alpha <= 0 or delta <= 0 or T < 1:
        raise ValueError(f"delta, alpha and T must be above 0, got {delta}, {alpha} and {T}")
    keep = np.exp(delta * complex(-alpha, omega))
    return [float((keep**t * (1 - keep)).real) for t in range(T)]


def trace_plot(delta: float, alpha: float, omega: float = 0.0, T: int = 48, *, title: str = "") -> Figure:
    """`token_trace` beside that of a system without rotation; the title says when half of it is forgotten.

    It calls a trace swinging where one can see it: where it falls below 0 by 3 % of its largest number.
    """
    trace = token_trace(delta, alpha, omega, T)
    if not title:
        swing = ", swinging" if min(trace) < -0.03 * max(trace) else ""
        title = f"What a token left fades by half every {half_life(delta, alpha):.3g} tokens{swing}"
    kernels = {f"Δ = {delta:g}, α = {alpha:g}, ω = {omega:g}": trace}
    if omega:
        kernels["the same without rotation, ω = 0"] = token_trace(delta, alpha, 0.0, T)
    return impulse_plot(kernels, title=title)


def half_life(delta: float, alpha: float) -> float:
    """Tokens until e^{−αΔt} is a half: ln 2 / (αΔ)."""
    return math.log(2) / (alpha * delta)


@matplotlib.style.context(STYLE_FILE)
def scan_tree(T: int, *, title: str = "") -> Figure:
    """An associative scan of `T` tokens by doubling: each box is a run of tokens combined into one pair.

    Round r combines a box with the one 2^(r−1) places to its left; a dark box reaches back to token 0 and is final.
    T from 2 to 16. Chapter 12.
    """
    if not 2 <= T <= 16:
        raise ValueError(f"T must be from 2 to 16 to be drawn, got {T}")
    fig, ax = axes(title, (7.6, 4.2))
    for r in range(rounds(T) + 1):
        for t in range(T):
            _draw_box(ax, t, r)
    ax.set(xlim=(-0.6, T - 0.4), ylim=(-0.5, rounds(T) + 0.5), xlabel="token", ylabel="round")
    ax.set_xticks(range(T))
    ax.set_yticks(range(rounds(T) + 1))
    ax.invert_yaxis()
    ax.grid(False)
    return fig


def rounds(T: int) -> int:
    """Rounds of doubling until every token reaches back to token 0: ⌈log2 T⌉."""
    return (T - 1).bit_length()


def _draw_box(ax: Axes, t: int, r: int) -> None:
    first = max(0, t - 2**r + 1)
    reach = 2 ** (r - 1) if r else 0
    if r and t >= reach:
        for parent in (t, t - reach):
            ax.annotate(
                "",
                (t, r - 0.24),
                (parent, r - 0.76),
                arrowprops={"arrowstyle": "->", "color": GREY, "linewidth": 1},
            )
    elif r:
        ax.plot([t, t], [r - 0.76, r - 0.24], color=GREY, linewidth=0.8, linestyle=":", marker="")
    text = str(t) if first == t else f"{first}–{t}"
    dark = first == 0
    box = {"boxstyle": "round,pad=0.3", "facecolor": DONE if dark else PARTIAL, "edgecolor": DONE}
    ax.text(t, r, text, ha="center", va="center", fontsize=9, color="white" if dark else "black", bbox=box)
