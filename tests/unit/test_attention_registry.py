"""The registry tells the truth: names, forms, shapes and bytes of what is carried."""

import inspect
import pickle

import pytest
import torch

from course_lib.attention import REGISTRY, mixer, registry, table

SHAPE = {"B": 2, "T": 7, "H": 4, "K": 3, "V": 5}
OPTIONS = (
    "g",
    "beta",
    "scale",
    "causal",
    "initial_state",
    "output_final_state",
    "cu_seqlens",
    "mode",
    "chunk_size",
)
# Models with arguments of their own, named as their papers name them.
EXCEPTIONS = {
    "hgrn2": ["q", "v"],
    "rwkv6": ["r", "k", "v"],
    "rwkv7": ["r", "k", "v"],
    "ssd": ["x", "dt", "A", "B", "C"],
    "selective_scan": ["u", "delta", "A", "B", "C"],
    "s4d": ["u", "delta", "A", "B", "C"],
    "hgrn": ["x"],
}
KEPT = ("initial_state", "output_final_state", "cu_seqlens", "mode", "chunk_size")  # in the exceptions too


def inputs(row, dtype=torch.float32):
    H_kv = SHAPE["H"] // 2 if row.kv_groups else SHAPE["H"]
    return H_kv, row.example(*SHAPE.values(), H_kv, dtype=dtype)


def carried(state):
    return [state] if isinstance(state, torch.Tensor) else list(state)


@pytest.fixture(params=REGISTRY)
def row(request):
    return REGISTRY[request.param]


def test_a_row_bears_the_name_of_its_functions(row):
    assert row.fn.__name__ == row.name
    assert row.step.__name__ == f"{row.name}_step"
    assert mixer(row.name) is row


def test_the_signature_is_the_common_one(row):
    parameters = inspect.signature(row.fn).parameters
    positional = EXCEPTIONS.get(row.name, ["q", "k", "v"])
    assert [name for name, p in parameters.items() if p.kind is not p.KEYWORD_ONLY] == positional
    keywords = list(parameters)[len(positional) :]
    if row.name in EXCEPTIONS:
        assert [name for name in keywords if name in KEPT] == list(KEPT)
    else:
        assert keywords[: len(OPTIONS)] == list(OPTIONS)


def test_a_row_names_every_tensor_that_its_function_takes(row):
    """All arguments without a default are in the row, and the row has no other names."""
    parameters = inspect.signature(row.fn).parameters
    required = {name for name, p in parameters.items() if p.default is p.empty}
    assert required <= set(row.arguments) <= set(parameters)


def test_every_form_and_causality_it_lists_runs(row):
    _, given = inputs(row)
    for causal in row.causal:
        options = {} if row.causal == (True,) else {"causal": causal}
        answers = [row.fn(**given, mode=mode, **options)[0] for mode in row.forms]
        for o in answers:
            torch.testing.assert_close(o, answers[row.forms.index(row.fast)])


def test_the_default_mode_is_a_form(row):
    assert inspect.signature(row.fn).parameters["mode"].default in row.forms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_it_carries_has_the_shapes_and_bytes_it_says(row, dtype):
    H_kv, given = inputs(row, dtype)
    state = carried(row.fn(**given, output_final_state=True)[1])
    assert [tuple(x.shape) for x in state] == list(row.shapes(*SHAPE.values(), H_kv).values())
    measured = sum(x.numel() * x.element_size() for x in state)
    assert row.state_bytes(*SHAPE.values(), H_kv, next(iter(given.values())).element_size()) == measured


def test_flops_grow_as_the_family_says(row):
    T, expected = {"softmax": (2**20, 4), "routed": (2**24, 4)}.get(row.family, (2**20, 2))
    ratio = row.flops(1, T, 2, 8, 8) / row.flops(1, T // 2, 2, 8, 8)
    assert ratio == pytest.approx(expected, rel=1e-2 if row.family == "routed" else 1e-3)


def test_an_example_is_what_the_seed_says(row):
    first, same, other = (row.example(1, 3, 2, 4, 5, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], same[name]) for name in row.arguments)
    assert not any(torch.equal(first[name], other[name]) for name in row.arguments)


def test_a_row_can_be_stored(row):
    assert pickle.loads(pickle.dumps(row)) == row


def test_the_text_of_a_row(row):
    assert len(row.paper) == 10
    assert row.paper[4] == "."
    assert len(row.chapter) == 2
    assert row.paper in row.fn.__doc__
    assert "chapter" in row.fn.__doc__
    assert row.step.__doc__


def test_table_prints_every_row_in_text_and_html():
    text, html = repr(table()), table()._repr_html_()
    assert len(text.splitlines()) == 1 + len(REGISTRY)
    assert html.count("<tr>") == 1 + len(REGISTRY)
    for name in REGISTRY:
        assert f"\n{name} " in text
        assert f"<td>{name}</td>" in html
    assert "S [B, H, K, V], z [B, H, K]" in text
    assert "chunk*" in text


def test_a_name_is_registered_once(row):
    with pytest.raises(ValueError, match="it is registered already"):
        registry.register(row)
