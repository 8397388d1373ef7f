"""Is this the right result? One rule for tensors, numbers, strings, and tuples, lists and dicts of them.

A float output is right when max|answer − expected| ≤ rtol · max|expected|, per output: never element by
element, where a value near zero would fail for nothing. Two orders of adding n terms differ by at most
2·n·eps·Σ|terms|, so rtol grows with T + K and shrinks with the dtype's eps; strings, booleans and whole
numbers must be equal.
"""

import math
import numbers
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from course_lib.exercises.cases import Case

# Why 8: answer and reference each carry an error (2), and each output passes through about four roundings
# that the sums do not count (scale, feature or exp, division by the normaliser, cast of the result).
ROUNDINGS = 8
# A Python float is a formula's value: regrouping its factors costs a few eps, a mistake costs far more.
FORMULA_RTOL = 1e-9
LAYOUTS = ("BTHK", "BTHV", "BTH", "BHKV", "BHK", "BHTT", "THK", "THV", "TK", "TV", "KV")


def by_dtype_and_length(case: Case) -> float:
    """rtol = 8 · eps(dtype) · (T + K): a sum over up to T tokens of inner products over K channels."""
    return ROUNDINGS * torch.finfo(case.dtype).eps * (case.T + case.K)


@dataclass(frozen=True)
class Difference:
    """The first thing wrong with a result. `kind`: structure, shape, precision, nonfinite or value."""

    kind: str
    message: str


def compare(
    answer: object, expected: object, rtol: float, case: Case | None = None, outputs: tuple[str, ...] = ()
) -> Difference | None:
    """None when `answer` equals `expected`, else what is wrong and where, never what the value should be.

    `outputs` names the results and their axes: ("o [B, T, H, V]", "state [B, H, K, V]").
    """
    for path, came, wanted in _leaves(answer, expected, ()):
        label = Label.of(path, _count(expected), outputs, case)
        if isinstance(came, Difference):
            return Difference(came.kind, label.lead + came.message)
        difference = _compare_leaf(came, wanted, rtol, label)
        if difference is not None:
            return difference
    return None


@dataclass(frozen=True)
class Label:
    """How one output is called in a message, and the letters of its axes where they are known."""

    name: str
    letters: tuple[str, ...]
    case: Case | None

    @classmethod
    def of(cls, path: tuple, count: int, outputs: tuple[str, ...], case: Case | None) -> "Label":
        position = path[0] if path and isinstance(path[0], int) else 0
        one_of_them = len(path) == 1 or (not path and count == 1)
        declared = outputs[position] if position < len(outputs) and one_of_them else ""
        name, _, axes = declared.partition("[")
        letters = tuple(axis.strip() for axis in axes.rstrip("] ").split(",") if axis.strip())
        return cls(_call(path, count, name.strip()), letters, case)

    @property
    def lead(self) -> str:
        return f"{self.name}: " if self.name else ""

    def axes(self, shape: torch.Size) -> tuple[str, ...]:
        """Declared letters, or the one layout of the course that these sizes fit; else none."""
        if self.letters:
            return self.letters if len(self.letters) == len(shape) else ()
        sizes = self.case.sizes() if self.case is not None else {}
        fitting = [layout for layout in LAYOUTS if [sizes.get(letter) for letter in layout] == list(shape)]
        return tuple(fitting[0]) if len(fitting) == 1 else ()

    def time_axis(self, shape: torch.Size) -> int | None:
        """Axis of t: the first one lettered T; without letters the second, as the course lays tensors out."""
        axes = self.axes(shape)
        if axes or self.letters:
            return axes.index("T") if "T" in axes else None
        fits = self.case is not None and len(shape) >= 3 and shape[1] == self.case.T
        return 1 if fits else None


def _call(path: tuple, count: int, name: str) -> str:
    if not path:
        return name
    numbered = f"output {path[0] + 1} of {count}" if isinstance(path[0], int) else f"output {path[0]!r}"
    return (name or numbered) + "".join(f"[{key!r}]" for key in path[1:])


def _count(expected: object) -> int:
    return len(expected) if isinstance(expected, (tuple, list, Mapping)) else 1


# Structure


def _leaves(answer: object, expected: object, path: tuple) -> Iterator[tuple[tuple, object, object]]:
    """Pairs of leaves in order; a Difference in the place of the answer where the structure does not fit."""
    children = _children(expected)
    if children is None:
        if _children(answer) is not None or describe(answer)[0] != describe(expected)[0]:
            answer = _structure(answer, expected)
        yield path, answer, expected
        return
    mine = _children(answer)
    if mine is None or _container(answer) != _container(expected) or list(mine) != list(children):
        yield path, _structure(answer, expected), expected
        return
    for key, child in children.items():
        yield from _leaves(mine[key], child, (*path, key))


def _children(value: object) -> dict | None:
    if isinstance(value, Mapping):
        return {key: value[key] for key in sorted(value, key=repr)}
    return dict(enumerate(value)) if isinstance(value, (tuple, list)) else None


def _container(value: object) -> str:
    return "dict" if isinstance(value, Mapping) else "sequence"  # tuple or list: no reason to insist


def _structure(answer: object, expected: object) -> Difference:
    came, wanted = describe(answer)[1], describe(expected)[1]
    if came == wanted:
        came, wanted = _keys(answer), _keys(expected)
    return Difference("structure", f"{came} came back, {wanted} is expected.")


def _keys(value: object) -> str:
    return f"a dict with the keys {', '.join(map(repr, _children(value) or ()))}"


def describe(value: object) -> tuple[str, str]:
    """(kind, words) of any value: ("tensor", "a tensor"), ("sequence", "a tuple of 2"), …"""
    if isinstance(value, numbers.Number) or _is_scalar(value):
        return "number", "a single number"
    if isinstance(value, torch.Tensor):
        return "tensor", "a tensor"
    if isinstance(value, (tuple, list)):
        return "sequence", f"a {'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
    if isinstance(value, Mapping):
        return "dict", f"a dict of {len(value)}"
    words = {type(None): "None", str: "a string", type(...): "..."}
    return _kind_name(value), words.get(type(value), f"a value of type {_kind_name(value)}")


def _is_scalar(value: object) -> bool:
    """A tensor without axes, or one of numpy's scalars."""
    return getattr(value, "ndim", None) == 0 and hasattr(value, "item")


def _kind_name(value: object) -> str:
    return type(value).__name__


def loosen(rtol: float, value: object, dtype: torch.dtype) -> float:
    """rtol for a value with parts coarser than `dtype`: float32 results agree to float32's accuracy only."""
    parts = [value] if isinstance(value, torch.Tensor) else (_children(value) or {}).values()
    floats = [part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()]
    return rtol * max([1.0, *(torch.finfo(part.dtype).eps / torch.finfo(dtype).eps for part in floats)])


# Leaves


def _compare_leaf(came: object, wanted: object, rtol: float, label: Label) -> Difference | None:
    if describe(wanted)[0] in ("tensor", "number"):
        if not isinstance(wanted, torch.Tensor):
            rtol = max(rtol, FORMULA_RTOL)
        return _compare_tensors(_tensor(came), _tensor(wanted), rtol, label)
    if came == wanted:
        return None
    return Difference("value", f"{label.lead}not the expected {describe(wanted)[1].removeprefix('a ')}.")


def _tensor(value: object) -> torch.Tensor:
    if not isinstance(value, torch.Tensor):
        return _scalar(value.item() if _is_scalar(value) else value)
    tensor = value.detach()
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    return tensor.cpu().resolve_conj().resolve_neg()


def _scalar(value: numbers.Number) -> torch.Tensor:
    if isinstance(value, numbers.Integral) and abs(int(value)) < 2**63:  # beyond that a count becomes a float
        return torch.tensor(int(value))
    return torch.tensor(complex(value) if isinstance(value, complex) else float(value), dtype=_wide(value))


def _wide(value: object) -> torch.dtype:
    is_complex = value.is_complex() if isinstance(value, torch.Tensor) else isinstance(value, complex)
    return torch.complex128 if is_complex else torch.float64


def _compare_tensors(
    came: torch.Tensor, wanted: torch.Tensor, rtol: float, label: Label
) -> Difference | None:
    if came.shape != wanted.shape:
        return _shape_difference(came.shape, wanted.shape, label)
    if wanted.numel() == 0 or _exactly_equal(came, wanted):
        return None
    wide = torch.promote_types(_wide(came), _wide(wanted))
    a, e = came.to(wide), wanted.to(wide)
    alike = (a == e) | (a.isnan() & e.isnan())
    broken = ~a.isfinite() & ~alike
    if broken.any():
        return _nonfinite(a, broken, label)
    error = torch.where(alike, 0.0, (a - e).abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    scale = e.abs()[e.isfinite()].max().item() if e.isfinite().any() else 0.0
    exact = not (wanted.is_floating_point() or wanted.is_complex())
    allowed = 0.0 if exact else rtol * _coarser(wanted, label.case) * scale
    if error.max().item() <= allowed:
        return None
    if wanted.ndim == 0:
        return Difference("value", f"{label.lead}not the expected number.")
    return _precision(came, wanted, error, scale, rtol, label) or _value(error, scale, allowed, label)


def _exactly_equal(came: torch.Tensor, wanted: torch.Tensor) -> bool:
    return came.dtype == wanted.dtype and torch.equal(came, wanted)


def _coarser(wanted: torch.Tensor, case: Case | None) -> float:
    """How much coarser the expected output is than the case's dtype (a float32 state of float64 inputs)."""
    if case is None or not wanted.is_floating_point():
        return 1.0
    return max(1.0, torch.finfo(wanted.dtype).eps / torch.finfo(case.dtype).eps)


def _shape_difference(came: torch.Size, wanted: torch.Size, label: Label) -> Difference:
    axes = label.axes(wanted)
    letters = f" = [{', '.join(axes)}]" if axes else ""
    message = f"{label.lead}shape {list(came)} came back, {list(wanted)}{letters} is expected."
    return Difference("shape", message)


def _nonfinite(a: torch.Tensor, broken: torch.Tensor, label: Label) -> Difference:
    index = _first(broken, label.time_axis(broken.shape))
    what = "NaN" if a[index].isnan() else "an infinity"
    place = _place(index, broken.shape, label)
    return Difference("nonfinite", f"{label.lead}{what} came back, first at {place}.")


def _precision(
    came: torch.Tensor, wanted: torch.Tensor, error: torch.Tensor, scale: float, rtol: float, label: Label
) -> Difference | None:
    """Right to float32 but not to float64: somewhere on the way the numbers were rounded to float32."""
    if wanted.dtype != torch.float64 or label.case is None or label.case.dtype != torch.float64:
        return None
    widened = rtol * torch.finfo(torch.float32).eps / torch.finfo(torch.float64).eps
    if error.max().item() > min(widened, 1e-4) * scale:
        return None
    how = "your result is float32" if came.dtype == torch.float32 else "something on the way is float32"
    return Difference(
        "precision",
        f"{label.lead}right to float32 accuracy only, and the inputs are float64: {how}. "
        "Does a new tensor take its dtype from the inputs?",
    )


def _value(error: torch.Tensor, scale: float, allowed: float, label: Label) -> Difference:
    size = f"off by {_relative(error.max().item(), scale)}"
    index = _first(error > allowed, label.time_axis(error.shape))
    return Difference("value", f"{label.lead}{size}; first wrong at {_place(index, error.shape, label)}.")


def _relative(error: float, scale: float) -> str:
    if scale == 0 or not math.isfinite(error / scale):
        return "more than rounding"
    ratio = error / scale
    if ratio >= 10:
        return "more than ten times the largest right value"
    part = f"{100 * ratio:.0f} %" if ratio >= 0.01 else f"{ratio:.0e}"
    return f"{part} of the largest right value"


def _first(wrong: torch.Tensor, axis: int | None) -> tuple[int, ...]:
    """Index of the first wrong element: earliest in time where there is a time axis, else in row order."""
    indices = wrong.nonzero()
    row = indices[:, axis].argmin() if axis is not None else 0
    return tuple(indices[row].tolist())


def _place(index: tuple[int, ...], shape: torch.Size, label: Label) -> str:
    axis = label.time_axis(shape)
    inside = f"index {list(index)}"
    return inside if axis is None else f"t = {index[axis]} of {shape[axis]} ({inside})"
