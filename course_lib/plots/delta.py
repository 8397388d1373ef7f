"""A memory that corrects: two keys that collide, and a state that switches. Chapter 11."""

from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of, set_title

FIRST, SECOND = 1.0, 2.0  # what the two keys of `collision_plot` are bound to
PALE = "#d4d4d4"  # a broad line that shows on either side of a curve on it


def collide(overlap: float, beta: float, rule: str) -> tuple[float, float]:
    """What two unit keys return after k₁ → 1 and k₂ → 2, with k₁ᵀk₂ = overlap. rule: "add" or "delta".

    Computed with two keys in the plane and the rule itself, token by token. Raises ValueError for an overlap beyond
    ±1 or an unknown rule. Chapter 11.
    """
    if abs(overlap) > 1 or rule not in ("add", "delta"):
        raise ValueError(
            f'overlap is {overlap}, rule is {rule!r}; expected −1 … 1, and "add" or "delta": unit keys have no more'
        )
    keys = np.array([[1.0, 0.0], [overlap, np.sqrt(1 - overlap**2)]])
    state = np.zeros(2)
    for key, value in zip(keys, (FIRST, SECOND), strict=True):
        held = state @ key if rule == "delta" else 0.0
        state = state + beta * key * (value - held)
    return float(keys[0] @ state), float(keys[1] @ state)


@matplotlib.style.context(STYLE_FILE)
def collision_plot(overlap: float, beta: float) -> Figure:
    """What each key returns after two writes, over the overlap of the keys; the given overlap is marked.

    The title says for which of the two keys the delta rule ends nearer to the written value than adding does.
    """
    overlaps = np.linspace(-1, 1, 81)
    names = [f"{rule}, key {which}" for rule in ("add", "delta") for which in (1, 2)]
    where = f"overlap {overlap:.1f}".replace("-", "−")
    closer = _closer(overlap, beta)
    fig, ax = axes(f"{where.capitalize()}, β = {beta:g}: delta is nearer to the value of {closer}")
    for value, label in ((FIRST, f"written: {FIRST:g} and {SECOND:g}"), (SECOND, None)):
        ax.axhline(value, label=label, color=PALE, linewidth=5, linestyle="-", marker="")
    for (name, look), (rule, which) in zip(
        looks_of(names).items(), [(r, i) for r in ("add", "delta") for i in (0, 1)], strict=True
    ):
        ax.plot(overlaps, [collide(c, beta, rule)[which] for c in overlaps], label=name, markevery=10, **look)
    ax.axvline(overlap, label=where, color=GREY, linewidth=1, linestyle="-", marker="")
    ax.set(xlabel="overlap of the two keys", ylabel="returned (1, then 2 were written)")
    ax.set_xlim(-1.05, 1.05)
    legend_below(fig, ax)
    return fig


def _closer(overlap: float, beta: float) -> str:
    """The keys whose answer is nearer to what was written with the delta rule than with adding."""
    added, corrected = (collide(overlap, beta, rule) for rule in ("add", "delta"))
    off = [(abs(a - v), abs(c - v)) for a, c, v in zip(added, corrected, (FIRST, SECOND), strict=True)]
    first, second = (corrected < added - 1e-9 for added, corrected in off)
    if first and second:
        return "both keys"
    return "key 1 only" if first else "key 2 only" if second else "neither key"


@matplotlib.style.context(STYLE_FILE)
def switch_plot(bits: Sequence[int], states: Mapping[str, Sequence[float]], *, title: str) -> Figure:
    """A state of one number after each bit, one row a setting; the bits stand below. ValueError if lengths differ."""
    fig = Figure(figsize=(7, 1.1 + 1.25 * len(states)), layout="constrained")
    set_title(fig, title)
    axs = fig.subplots(len(states), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, look) in zip(axs, looks_of(list(states)).items(), strict=True):
        values = [float(value) for value in states[name]]
        if len(values) != len(bits):
            raise ValueError(f"{name} has {len(values)} states; expected {len(bits)}, one per bit")
        ax.step(range(len(bits)), values, where="mid", **look)
        ax.set_title(name, fontweight="normal")
        ax.set(ylim=(-1.35, 1.35), yticks=(-1, 0, 1), ylabel="state")
    axs[-1].set_xticks(range(len(bits)), [str(int(bit)) for bit in bits])
    axs[-1].set_xlabel("bit, in the order of reading")
    return fig
