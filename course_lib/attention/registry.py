"""One row per mixer: what it takes, what it carries, what it costs, and where it is derived.

The name of a row is the name of its function. A new mixer is one file with a function, a step and a row, and one
line in `course_lib.attention`; tests, measurements and blocks walk over all rows.

Shapes are written with the field's letters, so "BTHK" is `[B, T, H, K]`; beside them stand G key–value heads
(H where a mixer does not share them), D = H·V channels of models without heads, their N = K numbers of state,
P = V, W tokens in a window's cache, and R in that of a dilated window.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape

import torch
import torch.nn.functional as F
from torch import Tensor

DEFAULT_WINDOW = 256  # keys that a window shows, the token itself included
DEFAULT_STRIDE = 4  # between the keys of a dilated window


def _complex(real: Tensor, imaginary: Tensor) -> Tensor:
    """There are no complex numbers in half precision: at least complex64."""
    dtype = torch.promote_types(real.dtype, torch.float32)
    return torch.complex(real.to(dtype), imaginary.to(dtype))


def _modes(x: Tensor) -> Tensor:
    """The complex eigenvalues −1/2 + iπn of S4D-Lin, moved a little: `[D, N]`."""
    n = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
    return _complex(-0.5 * F.softplus(x), math.pi * n.expand_as(x))


# From numbers without limits, as a projection or a random generator gives them, to what an argument may hold.
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "signal": lambda x: x,
    "key": lambda x: F.normalize(x, dim=-1),
    "gate": F.logsigmoid,
    "rate": torch.sigmoid,
    "step size": lambda x: F.softplus(x - 2),
    "negative": lambda x: -F.softplus(x),
    "modes": _modes,
    "complex": lambda x: _complex(x, x.roll(1, -1)),
}


@dataclass(frozen=True)
class Argument:
    """axes: its letters; with T it is given for every token, otherwise it is a parameter. kind: see `KINDS`."""

    axes: str
    kind: str = "signal"


def qkv(**more: Argument) -> dict[str, Argument]:
    """q, k, v with one head each, and what else a mixer takes."""
    return {"q": Argument("BTHK"), "k": Argument("BTHK"), "v": Argument("BTHV"), **more}


@dataclass(frozen=True)
class Row:
    """What the course knows about one mixer.

    name: the function's name.  fn: the function.  step: the same for one token of decoding.
    family: "softmax", "window", "sparse", "routed", "decay", "delta" or "ssm": the engine.
    transition: A_t of S_t = A_t S_{t-1} + k_t v_tᵀ, or what stands in its place.
    arguments: every tensor it needs, in order.  couple: turns arguments of their kinds into ones that belong
    together, where a model wants that (RWKV-7's a and b).
    state: name -> axes of what is carried.  keeps: its dtype: "inputs", "float32" or "complex64" (float32 and
    complex64 are float64 and complex128 for float64 inputs).
    causal: values that the argument `causal` may take.  kv_groups: k and v may have fewer heads than q.
    forms: values of `mode`.  fast: the one to use when only the answer matters.
    transforms: what works through the fast form: "compile" (fullgraph), "vmap", "grad" (`torch.func`).
    paper: arXiv id.  chapter: number of the chapter that derives it.
    flops: (B, T, H, K, V) -> FLOPs of the causal forward in the form the family is known for (multiply-add
    = 2).
    """

    name: str
    fn: Callable
    step: Callable
    family: str
    transition: str
    arguments: Mapping[str, Argument]
    state: Mapping[str, str]
    forms: tuple[str, ...]
    fast: str
    paper: str
    chapter: str
    flops: Callable[[int, int, int, int, int], int]
    causal: tuple[bool, ...] = (True,)
    kv_groups: bool = False
    keeps: str = "float32"
    transforms: tuple[str, ...] = ("compile", "vmap", "grad")
    couple: Callable[[dict[str, Tensor]], dict[str, Tensor]] = field(default=dict)

    def shapes(self, B: int, T: int, H: int, K: int, V: int, H_kv: int) -> dict[str, tuple[int, ...]]:
        """What is carried after T tokens: name -> shape."""
        size = sizes(B, T, H, K, V, H_kv)
        return {name: tuple(size[letter] for letter in axes) for name, axes in self.state.items()}

    def state_bytes(self, B: int, T: int, H: int, K: int, V: int, H_kv: int, itemsize: int) -> int:
        """Bytes carried after T tokens of `itemsize`-byte inputs."""
        width = itemsize if self.keeps == "inputs" else max(itemsize, 4) * (1 + (self.keeps == "complex64"))
        return width * sum(math.prod(shape) for shape in self.shapes(B, T, H, K, V, H_kv).values())

    def example(
        self,
        B: int,
        T: int,
        H: int,
        K: int,
        V: int,
        H_kv: int | None = None,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> dict[str, Tensor]:
        """Random arguments that this mixer accepts: name -> tensor, the same for the same seed and shape."""
        size = sizes(B, T, H, K, V, H_kv or H)
        generator = torch.Generator().manual_seed(seed)

        def draw(axes: str) -> Tensor:
            shape = [size[letter] for letter in axes]
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)

        raw = {name: KINDS[x.kind](draw(x.axes)) for name, x in self.arguments.items()}
        return self.couple(raw)

    def token(self, given: Mapping[str, Tensor], t: int) -> dict[str, Tensor]:
        """What `step` takes at position t of the arguments `given`: `[B, T, …]` -> `[B, …]`, parameters as they are."""
        return {name: x[:, t] if "T" in self.arguments[name].axes else x for name, x in given.items()}


def sizes(B: int, T: int, H: int, K: int, V: int, H_kv: int) -> dict[str, int]:
    """What the letters of `Argument.axes` and `Row.state` stand for."""
    plain = {"B": B, "T": T, "H": H, "K": K, "V": V, "G": H_kv}
    reach = DEFAULT_WINDOW - 1
    return plain | {"D": H * V, "N": K, "P": V, "W": min(T, reach), "R": min(T, reach * DEFAULT_STRIDE)}


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


COLUMNS = ("name", "family", "transition", "carries", "forms", "transforms", "paper", "chapter")


@dataclass(frozen=True)
class Table:
    """A registry as a table: text in a terminal, HTML in a notebook."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        padded = ("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in lines)
        return "\n".join(line.rstrip() for line in padded)

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line(row, "td") for row in self.rows)
        return f"<table><thead>{line(self.columns, 'th')}</thead><tbody>{body}</tbody></table>"


def table() -> Table:
    """All rows, in the order in which they were registered; the fast form is marked with *."""
    return Table(COLUMNS, tuple(map(_cells, REGISTRY.values())))


def _cells(row: Row) -> tuple[str, ...]:
    carried = ", ".join(f"{name} [{', '.join(axes)}]" for name, axes in row.state.items())
    forms = ", ".join(form + "*" * (form == row.fast) for form in row.forms)
    transforms = ", ".join(row.transforms)
    return row.name, row.family, row.transition, carried, forms, transforms, row.paper, row.chapter
