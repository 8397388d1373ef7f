"""The concept graph laid out as a map, and drawn as a page of links.

A chapter stands one row below the lowest chapter it builds on (its longest path from a start).
An edge that a longer path already implies isn't drawn; one that spans several rows gets a waypoint in each,
so that it passes between chapters and not behind them. Rows are ordered by the mean position of what they
are joined to (the barycentre heuristic), a few times down and up. `plots.concept_map` draws the same layout
as a figure.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from statistics import fmean

from course_lib.course import Chapter, Course

XHTML = "http://www.w3.org/1999/xhtml"
NODE_W, NODE_H = 188, 46  # pixels
ROW_GAP, MARGIN = 78, 14
LEGEND_COLUMNS, LEGEND_W, LEGEND_ROW = 3, 268, 24
NODE_SEP, WAYPOINT_SEP = NODE_W + 12, 26
PLANNED = "dashed: planned"
SWEEPS = 24
PULL = 0.8  # towards the middle, so that the map doesn't sprawl
# One colour-blind-safe tint per part (the shape says the same, so colour is never alone).
TINTS = ("#cfe3f1", "#fbe3c0", "#cdebe0", "#f3d9e8", "#e3e3e3")
INKS = ("#0072b2", "#a86500", "#007a59", "#a8487f", "#4d4d4d")

Point = tuple[float, float]
Key = tuple[str, ...]  # ("08",) is a chapter; ("02", "19", "3") a waypoint of that edge in row 3


@dataclass(frozen=True)
class Node:
    """A chapter on the map: its centre in pixels, from the upper left corner."""

    chapter: Chapter
    part: int
    x: float
    y: float
    faded: bool

    @property
    def lines(self) -> tuple[str, str]:
        """What stands in the node: the number, with the star, and the slug as a short title."""
        return self.chapter.number + (" ★" if self.chapter.star else ""), self.chapter.slug.replace("-", " ")

    @property
    def outline(self) -> list[Point]:
        """The corners of the node: each part has its own shape."""
        return [(self.x + dx, self.y + dy) for dx, dy in outline(self.part)]


@dataclass(frozen=True)
class Edge:
    """From a chapter to one that builds on it, through waypoints."""

    before: str
    after: str
    points: tuple[Point, ...]
    faded: bool


@dataclass(frozen=True)
class Map:
    """Nodes and edges in pixels, and the parts in the order of their shapes."""

    width: float
    height: float
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    parts: tuple[str, ...]


def layout(course: Course, track: str | None = None) -> Map:
    """Place the chapters of `course`; chapters outside `track` are marked as faded.

    Raises ValueError for a track that the course doesn't have.
    """
    if track is not None and track not in course.tracks:
        raise ValueError(f"track is {track!r}; the course has {', '.join(course.tracks)}")
    rows, links = _rows(course)
    xs = _positions(rows, links)
    left = min(x - _room(key) / 2 for key, x in xs.items())
    right = max(x + _room(key) / 2 for key, x in xs.items())
    width = max(right - left, LEGEND_COLUMNS * LEGEND_W) + 2 * MARGIN
    shift, top = (width - (left + right)) / 2, legend_height(len(course.parts)) + MARGIN + NODE_H / 2
    at = {key: (xs[key] + shift, top + i * ROW_GAP) for i, row in enumerate(rows) for key in row}
    on_track = {c.number for c in course.chapters if track is None or track in c.tracks}
    parts = tuple(course.parts)
    nodes = [
        Node(c, parts.index(c.part), *at[(c.number,)], c.number not in on_track) for c in course.chapters
    ]
    edges = [_edge(chain, at, on_track) for chain in _chains(course)]
    names = tuple(f"{part} · {title}" for part, title in course.parts.items())
    height = top + NODE_H / 2 + (len(rows) - 1) * ROW_GAP + MARGIN
    return Map(width, height, tuple(nodes), tuple(edges), names)


def concept_map_html(course: Course, track: str | None = None) -> str:
    """The map as one inline SVG without scripts: every chapter is a link to its notebook beside this one.

    The title of the picture and of each link say in words what the drawing shows; it is a group, since a screen
    reader hides the links of what is an image. A planned chapter has no link.
    """
    plan = layout(course, track)
    ready = sum(node.chapter.ready for node in plan.nodes)
    what = f"{len(plan.nodes)} chapters, {ready} ready; arrows lead to what builds on a chapter"
    body = [*_svg_legend(plan), *map(_svg_edge, plan.edges), *map(_svg_node, plan.nodes)]
    width, height = f"{plan.width:.0f}", f"{plan.height:.0f}"
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="group" font-family="sans-serif" font-size="13">'
    background = '<rect width="100%" height="100%" fill="#ffffff"/>'
    return "\n".join([head, f"<title>Concept map: {escape(what)}</title>", background, *body, "</svg>"])


def outline(part: int, width: float = NODE_W, height: float = NODE_H) -> list[Point]:
    """A part's shape around the origin: rectangle, cut corners, pill, hexagon, parallelogram."""
    w, h = width / 2, height / 2
    cut, slant = min(9.0, h / 2), min(10.0, h)
    shapes = (
        [(-w, -h), (w, -h), (w, h), (-w, h)],
        _mirrored([(w, h - cut), (w - cut, h)]),
        _mirrored([(w - h + h * math.cos(a), h * math.sin(a)) for a in (math.pi * i / 16 for i in range(9))]),
        _mirrored([(w, 0.0), (w - slant, h)]),
        [(slant - w, -h), (w, -h), (w - slant, h), (-w, h)],
    )
    return shapes[part % len(shapes)]


def legend_height(parts: int) -> float:
    """Room for the parts and the line about planned chapters, in rows of three."""
    return math.ceil((parts + 1) / LEGEND_COLUMNS) * LEGEND_ROW + MARGIN / 2


def legend_place(i: int, width: float) -> Point:
    """The centre of the sample in front of the i-th entry of the legend."""
    left = (width - LEGEND_COLUMNS * LEGEND_W) / 2 + 20
    return left + i % LEGEND_COLUMNS * LEGEND_W, MARGIN + 6 + i // LEGEND_COLUMNS * LEGEND_ROW


def curve(points: Iterable[Point]) -> list[tuple[Point, Point, Point]]:
    """Cubic Bézier pieces, vertical at every point: (control, control, end) of each."""
    points = list(points)
    pieces = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        pieces.append(((x0, middle), (x1, middle), (x1, y1)))
    return pieces


def _mirrored(quarter: list[Point]) -> list[Point]:
    """A shape from its lower right quarter, by both axes of symmetry."""
    right = quarter[::-1] + [(x, -y) for x, y in quarter]
    return right + [(-x, y) for x, y in right[::-1]]


def _edges(course: Course) -> list[tuple[str, str]]:
    """The edges that no other path implies."""
    before = {c.number: list(c.learn_before) for c in course.chapters}
    return [
        (a, b) for b in before for a in before[b] if not any(a in _ancestors(c, before) for c in before[b])
    ]


def _ancestors(number: str, before: Mapping[str, list[str]]) -> set[str]:
    return set(before[number]).union(*(_ancestors(n, before) for n in before[number]))


def _depths(course: Course) -> dict[str, int]:
    """The longest path to each chapter; a chapter comes after its prerequisites in the course's order."""
    depth: dict[str, int] = {}
    for chapter in course.chapters:
        depth[chapter.number] = 1 + max((depth[n] for n in chapter.learn_before), default=-1)
    return depth


def _chains(course: Course) -> list[list[Key]]:
    """Every edge as a chain of keys, one in each row from its start to its end."""
    depth = _depths(course)
    waypoints = {
        (a, b): [(a, b, str(row)) for row in range(depth[a] + 1, depth[b])] for a, b in _edges(course)
    }
    return [[(a,), *between, (b,)] for (a, b), between in waypoints.items()]


def _rows(course: Course) -> tuple[list[list[Key]], list[tuple[Key, Key]]]:
    """What stands in each row (chapters, then waypoints), and which keys of neighbouring rows are joined."""
    depth, chains = _depths(course), _chains(course)
    rows: list[list[Key]] = [[] for _ in range(max(depth.values()) + 1)]
    for number, row in depth.items():
        rows[row].append((number,))
    for chain in chains:
        for key in chain[1:-1]:
            rows[int(key[2])].append(key)
    links = [link for chain in chains for link in itertools.pairwise(chain)]
    return rows, links


def _positions(rows: list[list[Key]], links: list[tuple[Key, Key]]) -> dict[Key, float]:
    """Move rows towards their neighbours, downwards and upwards in turn; keep the plan with least bends."""
    above, below = _neighbours(links)
    xs = {key: x for row in rows for key, x in _spaced(row, {k: float(i) for i, k in enumerate(row)}).items()}
    best, best_cost = xs, math.inf
    for i in range(SWEEPS):
        joined, order = (above, rows) if i % 2 == 0 else (below, rows[::-1])
        for row in order:
            wish = {key: PULL * fmean(xs[other] for other in joined.get(key, [key])) for key in row}
            xs = xs | _spaced(row, wish)
        cost = sum((xs[a] - xs[b]) ** 2 for a, b in links) + 1e5 * _crossings(rows, links, xs)
        if cost < best_cost:
            best, best_cost = xs, cost
    return best


def _neighbours(links: list[tuple[Key, Key]]) -> tuple[dict[Key, list[Key]], dict[Key, list[Key]]]:
    above: dict[Key, list[Key]] = {}
    below: dict[Key, list[Key]] = {}
    for upper, lower in links:
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    return above, below


def _crossings(rows: list[list[Key]], links: list[tuple[Key, Key]], xs: Mapping[Key, float]) -> int:
    row_of = {key: i for i, row in enumerate(rows) for key in row}
    pairs = ((p, q) for i, p in enumerate(links) for q in links[:i] if row_of[p[0]] == row_of[q[0]])
    return sum((xs[p[0]] - xs[q[0]]) * (xs[p[1]] - xs[q[1]]) < 0 for p, q in pairs)


def _spaced(row: list[Key], wish: Mapping[Key, float]) -> dict[Key, float]:
    """Positions in the order of the wishes, far enough apart, and on average where they were wished."""
    order = sorted(row, key=lambda key: wish[key])
    xs: list[float] = []
    for i, key in enumerate(order):
        apart = xs[-1] + (_room(order[i - 1]) + _room(key)) / 2 if xs else -math.inf
        xs.append(max(wish[key], apart))
    shift = fmean(wish[key] - x for key, x in zip(order, xs, strict=True))
    return {key: x + shift for key, x in zip(order, xs, strict=True)}


def _room(key: Key) -> float:
    return NODE_SEP if len(key) == 1 else WAYPOINT_SEP


def _edge(chain: list[Key], at: Mapping[Key, Point], on_track: set[str]) -> Edge:
    (x0, y0), (x1, y1) = at[chain[0]], at[chain[-1]]
    # Through a waypoint's row an edge runs straight down, as far as a chapter beside it is high.
    waypoints = [(at[key][0], at[key][1] + dy) for key in chain[1:-1] for dy in (-NODE_H / 2, NODE_H / 2)]
    before, after = chain[0][0], chain[-1][0]
    points = ((x0, y0 + NODE_H / 2), *waypoints, (x1, y1 - NODE_H / 2))
    return Edge(before, after, points, not {before, after} <= on_track)


def _svg_node(node: Node) -> str:
    number, name = node.lines
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in node.outline)
    ready = node.chapter.ready
    look = f'fill="{TINTS[node.part % len(TINTS)]}"' if ready else 'fill="#ffffff" stroke-dasharray="4 3"'
    shape = f'<polygon points="{corners}" {look} stroke="{INKS[node.part % len(INKS)]}" stroke-width="1.6"/>'
    words = (
        f'<text x="{node.x:.1f}" y="{node.y - 4:.1f}" text-anchor="middle" font-weight="bold">{number}</text>'
        f'<text x="{node.x:.1f}" y="{node.y + 13:.1f}" text-anchor="middle">{escape(name)}</text>'
    )
    state = "" if ready else " (planned)"
    title = f"{node.chapter.number} {escape(node.chapter.title)}{state}"
    group = f'<g opacity="{0.3 if node.faded else 1}"><title>{title}</title>{shape}{words}</g>'
    return group + _html_link(node, title) if ready else group


def _html_link(node: Node, title: str) -> str:
    """An HTML link laid over the node: JupyterLab rewrites the address of links, and fails on those of SVG."""
    place = f'x="{node.x - NODE_W / 2:.1f}" y="{node.y - NODE_H / 2:.1f}" width="{NODE_W}" height="{NODE_H}"'
    link = f'href="{escape(node.chapter.notebook)}" title="{title}" style="display: block; height: 100%"'
    return f'<foreignObject {place}><a xmlns="{XHTML}" {link}></a></foreignObject>'


def _svg_edge(edge: Edge) -> str:
    start, pieces = edge.points[0], curve(edge.points)
    path = f"M{start[0]:.1f} {start[1]:.1f}" + "".join(
        "C" + " ".join(f"{x:.1f} {y:.1f}" for x, y in piece) for piece in pieces
    )
    opacity = 0.25 if edge.faded else 1
    x, y = edge.points[-1]
    tip = f"M{x - 4:.1f} {y - 7:.1f}L{x:.1f} {y:.1f}L{x + 4:.1f} {y - 7:.1f}"
    return f'<path d="{path}{tip}" fill="none" stroke="#8a8a8a" stroke-width="1.3" opacity="{opacity}"/>'


def _svg_legend(plan: Map) -> list[str]:
    return [
        _svg_legend_entry(i, name, *legend_place(i, plan.width))
        for i, name in enumerate([*plan.parts, PLANNED])
    ]


def _svg_legend_entry(part: int, name: str, x: float, y: float) -> str:
    text = f'<text x="{x + 22:.1f}" y="{y + 4:.1f}" font-size="12">{escape(name)}</text>'
    if name == PLANNED:
        return f'<path d="M{x - 14:.1f} {y:.1f}h28" stroke="#4d4d4d" stroke-dasharray="4 3"/>{text}'
    corners = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in outline(part, 28, 14))
    tint, ink = TINTS[part % len(TINTS)], INKS[part % len(INKS)]
    return f'<polygon points="{corners}" fill="{tint}" stroke="{ink}"/>{text}'
