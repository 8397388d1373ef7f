"""Every mixer of the registry but softmax: all forms, splits and steps give the answer of a slow oracle.

float64 throughout. An error is relative to the largest number of the expected tensor.
"""

from dataclasses import dataclass, replace
from inspect import signature
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mixer_oracles import ORACLES
from strategies import assert_within
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from course_lib.attention.registry import REGISTRY, Row

NAMES = [name for name in REGISTRY if name != "softmax_attention"]  # it has a file of its own
FIXED_BY_HEAD = {"retention", "lightning_attention"}
PLAIN = {"linear_attention": {"feature_map": "identity", "normalize": False}}
EXACT = 1e-9

STEEP = (0, 1e-3, 1, 50)  # keep all, nearly all, some, next to nothing
MULTIPLIED = {"gate", "step size"}

every_mixer = pytest.mark.parametrize("name", NAMES)


def steepnesses(name: str) -> tuple[float, ...]:
    """What gates and step sizes are multiplied by, if the mixer has any."""
    return STEEP if any(x.kind in MULTIPLIED for x in REGISTRY[name].arguments.values()) else (1,)


every_steepness = pytest.mark.parametrize(
    ("name", "steep"), [(name, steep) for name in NAMES for steep in steepnesses(name)]
)


@dataclass(frozen=True)
class Case:
    """A shape and options. steep and stretch multiply gates and write strengths; past: tokens in a cache.

    blocks: how many BigBird sees in its window, at the start and at random.
    """

    B: int
    T: int
    groups: int
    H_kv: int
    K: int
    V: int
    C: int
    seed: int
    scale: float | None
    carried: bool
    steep: float
    stretch: float
    window: int
    past: int
    layer: int
    stride: int
    global_tokens: tuple[int, ...]
    block_size: int
    blocks: tuple[int, int, int]
    top_k: int

    @property
    def H(self) -> int:
        return self.groups * self.H_kv


def cases(row: Row, min_T: int = 0, max_T: int = 20) -> st.SearchStrategy[Case]:
    """Small shapes with T below, at and above the chunk, and every option of some mixer."""
    return st.builds(
        Case,
        B=st.integers(1, 2),
        T=st.integers(min_T, max_T),
        groups=st.integers(1, 3 if row.kv_groups else 1),
        H_kv=st.integers(1, 2 if row.kv_groups else 3),
        K=st.integers(1, 5),
        V=st.integers(1, 5),
        C=st.integers(1, 9),
        seed=st.integers(0, 2**32),
        scale=st.sampled_from([None, 0.3]),
        carried=st.booleans(),
        steep=st.sampled_from(STEEP),
        stretch=st.sampled_from([1, 2]),
        window=st.integers(1, 8),
        past=st.integers(0, 8),
        layer=st.integers(0, 3),
        stride=st.integers(1, 5),
        global_tokens=st.lists(st.integers(0, 30), max_size=3).map(tuple),
        block_size=st.integers(1, 6),
        blocks=st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3)),
        top_k=st.integers(1, 5),
    )


def inputs(row: Row, case: Case, **changed: int) -> dict[str, Tensor]:
    """Arguments that the mixer accepts, as steep as the case says."""
    case = replace(case, **changed)
    factors = {"rate": case.stretch} | dict.fromkeys(MULTIPLIED, case.steep)
    x = row.example(case.B, case.T, case.H, case.K, case.V, case.H_kv, seed=case.seed, dtype=torch.float64)
    return {name: value * factors.get(row.arguments[name].kind, 1) for name, value in x.items()}


def cached(row: Row) -> bool:
    """Whether it carries keys and values."""
    return row.keeps == "inputs"


def first_state(row: Row, case: Case, **changed: int):
    """A random state to start from, or None."""
    case = replace(case, **changed)
    if not case.carried:
        return None
    rng = torch.Generator().manual_seed(case.seed + 1)
    dtype = torch.complex128 if row.keeps == "complex64" else torch.float64
    shapes = row.shapes(case.B, min(case.past, case.window - 1), case.H, case.K, case.V, case.H_kv)
    drawn = [torch.randn(shape, generator=rng, dtype=dtype) for shape in shapes.values()]
    return tuple(drawn) if cached(row) else drawn[0]


def options(row: Row, case: Case) -> dict:
    """What the mixer, its step and its oracle are told besides tensors."""
    known = {"scale": case.scale, "window": case.window, "layer": case.layer, "layers": 4}
    known |= {"stride": case.stride, "global_tokens": case.global_tokens, "seed": case.seed}
    known |= {"block_size": case.block_size, "top_k": case.top_k}
    known |= dict(zip(("window_blocks", "global_blocks", "random_blocks"), case.blocks, strict=True))
    return {name: value for name, value in known.items() if name in signature(row.fn).parameters}


def oracle(row: Row, case: Case, x: dict[str, Tensor], state=None):
    return ORACLES[row.name](**x, initial_state=state, **options(row, case))


def run(row: Row, case: Case, mode: str, x: dict[str, Tensor], state=None, **more):
    """The mixer in one form: o, and the state unless it is declined."""
    more = {"output_final_state": True, **options(row, case), **PLAIN.get(row.name, {}), **more}
    return row.fn(**x, initial_state=state, mode=mode, chunk_size=case.C, **more)


def tokens(row: Row, x: dict[str, Tensor], part: slice) -> dict[str, Tensor]:
    """The arguments of some tokens; parameters stay."""
    return {name: v[:, part] if "T" in row.arguments[name].axes else v for name, v in x.items()}


def joined(row: Row, x: dict[str, Tensor], y: dict[str, Tensor], cut: int) -> dict[str, Tensor]:
    """x up to `cut`, then y; the parameters of x."""
    past, later = tokens(row, x, slice(cut)), tokens(row, y, slice(cut, None))
    return {n: torch.cat([past[n], later[n]], 1) if "T" in row.arguments[n].axes else x[n] for n in x}


def as_real(x: Tensor) -> Tensor:
    return torch.view_as_real(x) if x.is_complex() else x


def largest(x: Tensor) -> float:
    return float(x.abs().max()) if x.numel() else 0.0


def assert_equal(actual, expected, least_size: float = 0.0) -> None:
    """All tensors of two results, states of whatever kind included."""
    for x, y in zip(tree_leaves(actual), tree_leaves(expected), strict=True):
        assert x.dtype == y.dtype
        x, y = as_real(x), as_real(y)
        assert_within(x, y, EXACT, max(largest(y), least_size))


@every_steepness
@given(st.data())
def test_every_form_is_the_oracle(name, steep, data):
    row = REGISTRY[name]
    case = replace(data.draw(cases(row)), steep=steep)
    x, state = inputs(row, case), first_state(row, case)
    expected = oracle(row, case, x, state)
    for mode in row.forms:
        assert_equal(run(row, case, mode, x, state), expected)


def gradients(call, x, state, seed):
    """Of random weights on all outputs, the state's real and imaginary parts included."""
    x, state = tree_map_only(Tensor, lambda leaf: leaf.detach().requires_grad_(), (x, state))
    rng = torch.Generator().manual_seed(seed)
    loss = torch.zeros((), dtype=torch.float64)
    for out in map(as_real, tree_leaves(call(x, state))):
        loss = loss + (out * torch.randn(out.shape, generator=rng, dtype=torch.float64)).sum()
    leaves = [leaf for leaf in tree_leaves((x, state)) if leaf is not None]
    return torch.autograd.grad(loss, leaves, materialize_grads=True)


@every_steepness
@settings(max_examples=25)
@given(st.data())
def test_gradients_of_every_form_are_the_oracles(name, steep, data):
    """A gate's gradient may be a difference of others that cancel: beside these it is exact to 10⁻¹² at least."""
    row = REGISTRY[name]
    case = replace(data.draw(cases(row, min_T=1, max_T=8)), steep=steep)
    x, state = inputs(row, case), first_state(row, case)
    expected = gradients(lambda x, state: oracle(row, case, x, state), x, state, case.seed)
    for mode in row.forms:
        actual = gradients(lambda x, state, mode=mode: run(row, case, mode, x, state), x, state, case.seed)
        assert_equal(actual, expected, 1e-3 * max(map(largest, expected)))


@every_mixer
@given(st.data())
def test_split_anywhere_with_a_carried_state_is_one_pass(name, data):
    row = REGISTRY[name]
    case = data.draw(cases(row))
    cut = data.draw(st.integers(0, case.T), label="cut")
    first, second, whole = (data.draw(st.sampled_from(row.forms), label="form") for _ in range(3))
    x, state = inputs(row, case), first_state(row, case)
    a, middle = run(row, case, first, tokens(row, x, slice(cut)), state)
    b, end = run(row, case, second, tokens(row, x, slice(cut, None)), middle)
    assert_equal((torch.cat([a, b], dim=1), end), run(row, case, whole, x, state))


@every_mixer
@given(st.data())
def test_step_by_step_is_the_oracle(name, data):
    row = REGISTRY[name]
    case = data.draw(cases(row, min_T=1))
    x, state = inputs(row, case), first_state(row, case)
    expected = oracle(row, case, x, state)
    outputs = []
    for t in range(case.T):
        step = row.token(x, t) | options(row, case) | PLAIN.get(row.name, {})
        o, state = row.step(**step, state=state)
        outputs.append(o)
    assert_equal((torch.stack(outputs, dim=1), state), expected)


@every_mixer
@given(st.data())
def test_packed_sequences_are_separate_calls(name, data):
    row = REGISTRY[name]
    lengths = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=4), label="lengths")
    mode = data.draw(st.sampled_from(row.forms), label="form")
    case = replace(data.draw(cases(row)), B=1, T=sum(lengths))
    if cached(row):
        case = replace(case, carried=False)
    x, starts = inputs(row, case), first_state(row, case, B=len(lengths))
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    keeps = not cached(row)
    packed, ends = run(row, case, mode, x, starts, cu_seqlens=bounds, output_final_state=keeps)
    for n, (i, j) in enumerate(pairwise(bounds.tolist())):
        start = None if starts is None else starts[n : n + 1]
        o, end = oracle(row, case, tokens(row, x, slice(i, j)), start)
        assert_equal(packed[:, i:j], o)
        if keeps:
            assert_equal(ends[n : n + 1], end)


@every_mixer
@given(st.data())
def test_the_future_moves_no_past_output(name, data):
    row = REGISTRY[name]
    case = data.draw(cases(row, min_T=1))
    mode = data.draw(st.sampled_from(row.forms), label="form")
    cut = data.draw(st.integers(0, case.T - 1), label="cut")
    x, state = inputs(row, case), first_state(row, case)
    later = joined(row, x, inputs(row, case, seed=case.seed + 2), cut)
    o, _ = run(row, case, mode, x, state)
    moved, _ = run(row, case, mode, later, state)
    assert_within(moved[:, :cut], o[:, :cut], EXACT, max(largest(o), largest(moved)))


def permuted(x: Tensor, axes: str, letters: str, order: list[int]) -> Tensor:
    """x with every axis that bears one of the letters in another order."""
    for dim, letter in enumerate(axes):
        x = x.index_select(dim, torch.tensor(order)) if letter in letters else x
    return x


def assert_permutes(row: Row, case: Case, mode: str, letters: str, order: list[int]) -> None:
    """Inputs and state in another order give outputs and a state in that order."""

    carried = list(row.state.values())[: 2 if cached(row) else 1]

    def move_state(state):
        moved = [
            permuted(s, axes, letters, order) for s, axes in zip(tree_leaves(state), carried, strict=True)
        ]
        return tuple(moved) if cached(row) else moved[0]

    x, state = inputs(row, case), first_state(row, case)
    o, end = run(row, case, mode, x, state)
    moved = {name: permuted(v, row.arguments[name].axes, letters, order) for name, v in x.items()}
    actual = run(row, case, mode, moved, None if state is None else move_state(state))
    output_axes = "BTHV" if o.dim() == 4 else "BTD"
    assert_equal(actual, (permuted(o, output_axes, letters, order), move_state(end)))


@every_mixer
@given(st.data())
def test_the_order_of_the_batch_does_not_matter(name, data):
    row = REGISTRY[name]
    case = replace(data.draw(cases(row)), B=3)
    mode = data.draw(st.sampled_from(row.forms), label="form")
    assert_permutes(row, case, mode, "B", data.draw(st.permutations(range(3)), label="order"))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIXED_BY_HEAD])
@given(st.data())
def test_the_order_of_heads_or_channels_does_not_matter(name, data):
    row = REGISTRY[name]
    case = replace(data.draw(cases(row)), groups=1, H_kv=3)
    mode = data.draw(st.sampled_from(row.forms), label="form")
    letters = "HG" if any("H" in x.axes for x in row.arguments.values()) else "D"
    count = case.H if letters == "HG" else case.H * case.V
    assert_permutes(row, case, mode, letters, data.draw(st.permutations(range(count)), label="order"))
