"""The registry tells the truth: names, forms, shapes and bytes of what is carried."""

import inspect

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


def inputs(row, dtype=torch.float32):
    B, T, H, K, V = SHAPE.values()
    H_kv = H // 2 if row.kv_groups else H
    rng = torch.Generator().manual_seed(0)
    shapes = (B, T, H, K), (B, T, H_kv, K), (B, T, H_kv, V)
    return H_kv, [torch.randn(s, generator=rng).to(dtype) for s in shapes]


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
    assert list(parameters)[: 3 + len(OPTIONS)] == ["q", "k", "v", *OPTIONS]
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name not in ("q", "k", "v"))


def test_every_form_and_causality_it_lists_runs(row):
    _, qkv = inputs(row)
    for causal in row.causal:
        answers = [row.fn(*qkv, mode=mode, causal=causal)[0] for mode in row.forms]
        for o in answers:
            torch.testing.assert_close(o, answers[row.forms.index(row.fast)])


def test_the_default_mode_is_a_form(row):
    assert inspect.signature(row.fn).parameters["mode"].default in row.forms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_it_carries_has_the_shapes_and_bytes_it_says(row, dtype):
    H_kv, qkv = inputs(row, dtype)
    state = carried(row.fn(*qkv, output_final_state=True)[1])
    assert [tuple(x.shape) for x in state] == list(row.state(*SHAPE.values(), H_kv).values())
    measured = sum(x.numel() * x.element_size() for x in state)
    assert row.state_bytes(*SHAPE.values(), H_kv, qkv[0].element_size()) == measured


def test_flops_grow_as_the_family_says(row):
    exponent = {"softmax": 2, "linear": 1}[row.family]
    ratio = row.flops(1, 2**20, 2, 8, 8) / row.flops(1, 2**19, 2, 8, 8)
    assert ratio == 2**exponent


def test_the_text_of_a_row(row):
    assert len(row.paper) == 10
    assert row.paper[4] == "."
    assert len(row.chapter) == 2
    assert row.paper in row.fn.__doc__
    assert "chapter" in row.fn.__doc__


def test_table_prints_every_row_in_text_and_html():
    text, html = repr(table()), table()._repr_html_()
    assert len(text.splitlines()) == 1 + len(REGISTRY)
    assert html.count("<tr>") == 1 + len(REGISTRY)
    for name in REGISTRY:
        assert name in text
        assert f"<td>{name}</td>" in html
    assert "S [B, H, K, V], z [B, H, K]" in text
    assert "chunk*" in text


def test_a_name_is_registered_once(row):
    with pytest.raises(ValueError, match="it is registered already"):
        registry.register(row)
