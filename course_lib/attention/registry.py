"""One row per mixer: what it is, what it carries, what it costs, and where it is derived.

The name of a row is the name of its function. A new mixer is one file with a function and a step, and one
`register(...)` line in `course_lib.attention`; the tests walk over all rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Row:
    """What the course knows about one mixer.

    name: the function's name.  fn: the function.  step: the same for one token of decoding.
    family: "softmax" (carries the past), "linear" (carries a state), …
    transition: A_t of S_t = A_t S_{t-1} + k_t v_tᵀ, or what stands in its place.
    state: (B, T, H, K, V, H_kv) -> name -> shape of what is carried after T tokens.
    causal: values that the argument `causal` may take.  kv_groups: k and v may have fewer heads than q.
    forms: values of `mode`.  fast: the one to use when only the answer matters.
    paper: arXiv id.  chapter: number of the chapter that derives it.
    flops: (B, T, H, K, V) -> FLOPs of the causal forward in the form the family is known for (multiply-add
    = 2).
    state_bytes: (B, T, H, K, V, H_kv, itemsize) -> bytes carried after T tokens of `itemsize`-byte inputs.
    """

    name: str
    fn: Callable
    step: Callable
    family: str
    transition: str
    state: Callable[[int, int, int, int, int, int], Shapes]
    causal: tuple[bool, ...]
    kv_groups: bool
    forms: tuple[str, ...]
    fast: str
    paper: str
    chapter: str
    flops: Callable[[int, int, int, int, int], int]
    state_bytes: Callable[[int, int, int, int, int, int, int], int]


REGISTRY: dict[str, Row] = {}


def register(row: Row) -> Row:
    """Add a row. Raises ValueError for a name that is taken, or a fast form that is not one of the forms."""
    if row.name in REGISTRY:
        raise ValueError(f"name must be new, got {row.name!r}: it is registered already")
    if row.name != row.fn.__name__ or row.fast not in row.forms:
        raise ValueError(
            f"row {row.name!r} must bear its function's name and have its fast form among its forms"
        )
    REGISTRY[row.name] = row
    return row


def mixer(name: str) -> Row:
    """The row called `name`. Raises ValueError that lists the names."""
    if name not in REGISTRY:
        raise ValueError(f"name must be one of {', '.join(map(repr, REGISTRY))}, got {name!r}: see table()")
    return REGISTRY[name]


COLUMNS = ("name", "family", "transition", "carries", "forms", "paper", "chapter")


@dataclass(frozen=True)
class Table:
    """The registry as a table: text in a terminal, HTML in a notebook; the fast form is marked with *."""

    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        lines = [COLUMNS, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(line.rstrip() for line in padded)

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><thead>{line(COLUMNS, 'th')}</thead><tbody>{body}</tbody></table>"


def table() -> Table:
    """All rows, in the order in which they were registered."""
    return Table(tuple(map(_cells, REGISTRY.values())))


def _cells(row: Row) -> tuple[str, ...]:
    letters = ("B", "T", "H", "K", "V", "H_kv")
    carried = row.state(*letters)
    shapes = ", ".join(f"{name} [{', '.join(shape)}]" for name, shape in carried.items())
    forms = ", ".join(form + "*" * (form == row.fast) for form in row.forms)
    return row.name, row.family, row.transition, shapes, forms, row.paper, row.chapter
