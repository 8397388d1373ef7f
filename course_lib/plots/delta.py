"""A memory that corrects: two keys that collide, and a state that switches. Chapter 11."""

from collections.abc import Mapping, Sequence

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure

from course_lib.plots.base import GREY, STYLE_FILE, axes, legend_below, looks_of, set_title

FIRST, SECOND = 1.0, 2.0  # what the two keys of `collision_plot` are bound to


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
    """What each key returns after two writes, over the overlap of the keys; the given overlap is marked."""
    overlaps = np.linspace(-1, 1, 81)
    names = [f"{rule}, key {which}" for rule in ("add", "delta") for which in (1, 2)]
    answers = [collide(overlap, beta, rule) for rule in ("add", "delta")]
    off = [abs(first - FIRST) + abs(second - SECOND) for first, second in answers]
    closer = "nearer" if off[1] < off[0] - 1e-9 else "no nearer"
    fig, ax = axes(f"Overlap {overlap:.1f}, β = {beta:g}: correcting ends {closer} to what was written")
    for (name, look), (rule, which) in zip(
        looks_of(names).items(), [(r, i) for r in ("add", "delta") for i in (0, 1)], strict=True
    ):
        ax.plot(overlaps, [collide(c, beta, rule)[which] for c in overlaps], label=name, markevery=10, **look)
    for value in (FIRST, SECOND):
        ax.axhline(value, color=GREY, linewidth=1, linestyle=":")
    ax.axvline(overlap, color=GREY, linewidth=1)
    ax.set(xlabel="overlap of the two keys", ylabel="returned (1, then 2 were written)")
    ax.set_xlim(-1, 1)
    legend_below(fig, ax)
    return fig


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
