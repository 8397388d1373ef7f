"""The concept map of the course as a figure."""

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Polygon
from matplotlib.path import Path as Outline

from course_lib.concept_map import (
    INKS,
    NODE_H,
    PLANNED,
    TINTS,
    Edge,
    Map,
    Node,
    curve,
    layout,
    legend_place,
    outline,
)
from course_lib.course import Course
from course_lib.plots.base import STYLE_FILE


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
