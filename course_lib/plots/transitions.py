"""The transition table as a picture: one recurrence, S_t = A_t S_{t−1} + k_t v_tᵀ, and what each model puts for A_t.

Every recurrent row of the registry stands in one line of it. The small matrices are examples, drawn for two tokens one
after the other: what depends on the token changes between them. Used in chapters 00, 10, 11 and 12.
"""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course_lib.attention import REGISTRY
from course_lib.plots.base import GREY, STYLE_FILE, set_title

SIZE = 6  # channels of a drawn state
RNG = np.random.default_rng(4)
GATES = RNG.uniform(0.3, 1.0, (2, SIZE))  # e^g of two tokens, per channel
KEYS = np.array([[1.0, 2, 0, 1, 0, -1], [0, 1, -2, 0, 1, 1]])
KEYS /= np.linalg.norm(KEYS, axis=1, keepdims=True)
REMOVED = np.roll(KEYS, 1, axis=1)  # another key, to be removed
BETA, GATE, RATES = (0.9, 0.7), (0.85, 0.45), (0.8, 0.8)
WORDS, FORMULA = 10.5, 12.5  # points: the indices of a formula are small
FAINT = 0.55  # of lines that are another chapter's: still read
MODES = np.exp(-0.25 + 1j * np.pi * np.linspace(0.05, 0.85, 5))  # five eigenvalues of an S4D layer
NAMES = {
    "linear_attention": "linear attention",
    "retention": "RetNet",
    "lightning_attention": "Lightning",
    "simple_gla": "simple GLA",
    "ssd": "Mamba-2",
    "gla": "GLA",
    "hgrn2": "HGRN2",
    "rwkv6": "RWKV-6",
    "delta_rule": "DeltaNet",
    "gated_delta_rule": "Gated DeltaNet",
    "kda": "Kimi Delta",
    "rwkv7": "RWKV-7",
    "selective_scan": "Mamba",
    "s4d": "S4D",
    "hgrn": "HGRN",
}


@dataclass(frozen=True)
class Line:
    """One transition: its formula, what it does to a state, the registry rows that have it, and an example of it.

    example: token 0 or 1 -> the matrix A_t, or the factors of an elementwise one, or complex eigenvalues.
    """

    formula: str
    words: str
    rows: tuple[str, ...]
    example: Callable[[int], np.ndarray]


def _erase(t: int) -> np.ndarray:
    """I − β k kᵀ."""
    return np.eye(SIZE) - BETA[t] * np.outer(KEYS[t], KEYS[t])


LINES = (
    Line("$I$", "keeps everything", ("linear_attention",), lambda t: np.eye(SIZE)),
    Line(
        r"$\gamma$",
        "fades by a fixed factor per head",
        ("retention", "lightning_attention"),
        lambda t: RATES[t] * np.eye(SIZE),
    ),
    Line(
        "$a_t$",
        "fades by a factor that the token chooses",
        ("simple_gla", "ssd"),
        lambda t: GATE[t] * np.eye(SIZE),
    ),
    Line(
        r"$\mathrm{diag}(a_t)$",
        "… with one factor for each key channel",
        ("gla", "hgrn2", "rwkv6"),
        lambda t: np.diag(GATES[t]),
    ),
    Line(
        r"$I - \beta_t k_t k_t^\top$",
        "erases what the key $k_t$ holds",
        ("delta_rule",),
        _erase,
    ),
    Line(
        r"$a_t\,(I - \beta_t k_t k_t^\top)$",
        "fades, and erases along the key",
        ("gated_delta_rule",),
        lambda t: GATE[t] * _erase(t),
    ),
    Line(
        r"$(I - \beta_t k_t k_t^\top)\,\mathrm{diag}(a_t)$",
        "fades channels, then erases along the key",
        ("kda",),
        lambda t: _erase(t) @ np.diag(GATES[t]),
    ),
    Line(
        r"$\mathrm{diag}(w_t) + b_t a_t^\top$",
        "removes along one key, writes along another",
        ("rwkv7",),
        lambda t: np.diag(GATES[t]) - 0.7 * np.outer(REMOVED[t] * GATES[t], REMOVED[t]),
    ),
    Line(
        r"$e^{\Delta A}$, complex",
        "turns and fades, the same for every token",
        ("s4d",),
        lambda t: MODES,
    ),
    Line(
        r"$e^{\Delta_t A}$ or $e^{g_t}$",
        "fades every entry by a factor of its own",
        ("selective_scan", "hgrn"),
        lambda t: np.exp(np.outer(np.log(GATES[t]), (0.5, 1.5, 3.0))),
    ),
)


@matplotlib.style.context(STYLE_FILE)
def transition_table(highlight: str | None = None, title: str = "One recurrence, many transitions") -> Figure:
    """Every transition of the registry as a line: A_t drawn for two tokens, its formula, its models and chapters.

    highlight: number of a chapter, such as "11"; the lines that no model of it has are faint. Raises ValueError for a
    chapter that derives none of them.
    """
    chapters = {REGISTRY[name].chapter for line in LINES for name in line.rows}
    if highlight is not None and highlight not in chapters:
        raise ValueError(f"highlight must be one of {', '.join(sorted(chapters))} or None, got {highlight!r}")
    fig = Figure(figsize=(9.6, 0.62 * len(LINES) + 1.1), layout="constrained")
    set_title(fig, title)
    axs = fig.subplots(len(LINES) + 1, 5, width_ratios=(0.68, 0.68, 3.0, 3.85, 3.2))
    for ax in axs.flat:
        ax.axis("off")
    heads = (
        "$A_t$",
        "$A_{t+1}$",
        r"$S_t = A_t\,S_{t-1} + \beta_t k_t v_t^\top$",
        "what it does to the state",
        "models (chapter)",
    )
    for column, (ax, text) in enumerate(zip(axs[0], heads, strict=True)):
        _say(ax, text, FORMULA if column < 3 else WORDS, centre=column < 2, color=GREY)
    for row, line in zip(axs[1:], LINES, strict=True):
        alpha = 1.0 if highlight in (None, *(REGISTRY[name].chapter for name in line.rows)) else FAINT
        for t in (0, 1):
            _draw(row[t], line.example(t), alpha)
        _say(row[2], line.formula, FORMULA, alpha=alpha)
        _say(row[3], line.words, WORDS, alpha=alpha)
        _say(row[4], models(line), WORDS, alpha=alpha)
    return fig


def models(line: Line) -> str:
    """The models of a line, each with the chapter that derives it."""
    return ",  ".join(f"{NAMES[name]} ({REGISTRY[name].chapter})" for name in line.rows)


def _say(ax: Axes, text: str, size: float, *, centre: bool = False, **look: object) -> None:
    x, side = (0.5, "center") if centre else (0.0, "left")
    ax.text(x, 0.5, text, ha=side, va="center", fontsize=size, transform=ax.transAxes, **look)


def _draw(ax: Axes, example: np.ndarray, alpha: float) -> None:
    if np.iscomplexobj(example):
        circle = np.exp(2j * np.pi * np.linspace(0, 1, 60))
        ax.plot(circle.real, circle.imag, color=GREY, linewidth=0.8, linestyle="-", marker="", alpha=alpha)
        for points in (example, example.conj()):
            ax.plot(points.real, points.imag, linestyle="", marker="o", markersize=3, color="C0", alpha=alpha)
        ax.set_aspect("equal")
        return
    ax.imshow(example, cmap="RdBu", vmin=-1, vmax=1, alpha=alpha, aspect="equal")
    rows, columns = example.shape
    edges = {"color": GREY, "linewidth": 0.8, "linestyle": "-", "marker": "", "alpha": alpha}
    ax.plot(
        np.array([0, columns, columns, 0, 0]) - 0.5,
        np.array([0, 0, rows, rows, 0]) - 0.5,
        clip_on=False,
        **edges,
    )
