"""Values between grader and sandbox: they come back as they were, and whatever is malformed is a WireError."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.grading.inside import wire
from course_lib.grading.inside.wire import WireError

DTYPES = sorted(wire.DTYPES)


def there_and_back(value: object) -> object:
    """Packed, framed, sent as bytes, parsed and unpacked."""
    node, buffers = wire.pack(value)
    pieces = [bytes(piece) for piece in wire.frame({"value": node}, buffers)]
    text, total = wire.lengths(pieces[0])
    assert (len(pieces[1]), sum(map(len, pieces[2:]))) == (text, total)
    return wire.unpack(wire.parse(pieces[1])["value"], b"".join(pieces[2:]))


def same(a: object, b: object) -> bool:
    """Equal in type and value, NaN included."""
    if isinstance(a, torch.Tensor):
        plain = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return plain and torch.equal(raw(a), raw(b))
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


def raw(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of its numbers in order."""
    return torch.empty(tensor.numel(), dtype=tensor.dtype).copy_(tensor.reshape(-1)).view(torch.uint8)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Any dtype, 0 to 4 axes, any size from 0, strided, expanded, transposed or plain."""
    dtype, shape = wire.DTYPES[draw(st.sampled_from(DTYPES))], draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    values = torch.randint(-9, 9, [2 * n for n in shape], generator=generator)
    tensor = (values > 0) if dtype == torch.bool else values.to(dtype)
    tensor = tensor[tuple(slice(None, None, 2) for _ in shape)]
    if shape and draw(st.booleans()):
        tensor = tensor.transpose(0, -1)
    if draw(st.booleans()):
        tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
    return tensor


KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none())
LEAVES = st.one_of(
    st.none(),
    st.just(...),
    st.booleans(),
    st.integers(),
    st.integers(-(10**60), 10**60),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(), max_size=20),
    st.sampled_from([torch.float64, torch.bfloat16, torch.bool]),
    tensors(),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_a_value_comes_back_as_it_was(value):
    assert same(value, there_and_back(value))


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_with_its_extremes(name):
    dtype = wire.DTYPES[name]
    if dtype.is_floating_point:
        info = torch.finfo(dtype)
        values = [info.min, info.max, info.tiny, -0.0, math.inf, math.nan]
    elif dtype == torch.bool:
        values = [True, False]
    else:
        values = [1, 2] if dtype.is_complex else [torch.iinfo(dtype).min, torch.iinfo(dtype).max]
    for tensor in (torch.tensor(values, dtype=dtype), torch.tensor(values[0], dtype=dtype)):
        assert same(tensor, there_and_back(tensor))


def test_conjugates_negatives_sparse_and_gradients_become_plain_tensors():
    z = torch.tensor([1 + 2j, 3 - 1j])
    assert torch.equal(there_and_back(z.conj()), torch.tensor([1 - 2j, 3 + 1j]))
    assert torch.equal(there_and_back(z.conj().imag), torch.tensor([-2.0, 1.0]))
    assert torch.equal(there_and_back(torch.eye(2).to_sparse()), torch.eye(2))
    assert not there_and_back(torch.ones(2, requires_grad=True)).requires_grad


def test_numpys_scalars_become_pythons_and_its_arrays_are_named():
    assert there_and_back(np.float64(0.5)) == 0.5
    assert there_and_back(np.int32(3)) == 3
    assert type(there_and_back(np.ones(3))).__name__ == "ndarray"


def test_tensors_share_no_memory_with_what_came():
    node, buffers = wire.pack(torch.arange(4))
    data = bytearray(b"".join(map(bytes, buffers)))
    value = wire.unpack(node, data)
    data[:] = bytes(len(data))
    assert value.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "value",
    [
        [None] * 300_000,
        dict.fromkeys(range(wire.MAX_KEYS + 1)),
        torch.empty(1).expand(wire.MAX_BYTES),
        eval("[" * 30 + "]" * 30),
    ],
    ids=["parts", "keys", "bytes", "depth"],
)
def test_what_is_too_large_is_not_packed(value):
    with pytest.raises(WireError):
        wire.pack(value)


def test_keys_that_collide_cannot_keep_the_grader_busy():
    prime = 2**61 - 1  # the hash of each multiple of it is 0
    node = ["dict", [[["int", str(i * prime)], ["none"]] for i in range(wire.MAX_KEYS + 1)]]
    with pytest.raises(WireError, match="keys"):
        wire.unpack(node, b"")


# ---- malformed ----------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from([*wire.LEAVES, "tensor", "list", "tuple", "dict", *DTYPES]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=15,
)
TAGGED = st.tuples(st.sampled_from([*wire.LEAVES, "tensor", "list", "tuple", "dict"]), JSON, JSON).map(list)


def survives(read, *arguments: object) -> None:
    """It returns, or raises WireError; anything else escapes and fails the test."""
    with contextlib.suppress(WireError):
        read(*arguments)


@settings(max_examples=300, deadline=None)
@given(st.one_of(JSON, TAGGED), st.binary(max_size=40))
def test_a_malformed_value_raises_wire_error_and_nothing_else(node, data):
    survives(wire.unpack, node, data)


@settings(max_examples=150, deadline=None)
@given(VALUES, st.data())
def test_a_spoiled_value_raises_wire_error_and_nothing_else(value, data):
    node, buffers = wire.pack(value)
    text, raw = bytearray(json.dumps(node).encode()), b"".join(map(bytes, buffers))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(32, 126))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    survives(lambda: wire.unpack(wire.parse(b'{"value": ' + bytes(text) + b"}")["value"], raw))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100))
def test_bytes_that_are_no_message_raise_wire_error_and_nothing_else(data):
    survives(wire.parse, data)
    if len(data) >= wire.HEADER.size:
        survives(wire.lengths, data[: wire.HEADER.size])


@pytest.mark.parametrize(
    "node",
    [
        ["tensor", "float64", [2**62, 2**62, 0]],
        ["tensor", "float64", [0] * 30],
        ["tensor", "float64", [2**40]],
        ["tensor", "float64", [-1]],
        ["tensor", "float64", [True]],
        ["tensor", "object", [1]],
        ["tensor", "float64", "12"],
        ["int", "9" * 5000],
        ["float", "0x1p99999"],
        ["dict", [[["list", []], ["none"]]]],
        ["dict", 3],
        ["dict", [[["none"]]]],
        [["list"], []],
        [],
        "none",
        ["none", 1],
    ],
)
def test_named_malformed_values(node):
    with pytest.raises(WireError):
        wire.unpack(node, b"")


def test_a_bool_is_true_or_false_whatever_byte_came():
    value = wire.unpack(["tensor", "bool", [3]], b"\x00\x01\x02")
    assert value.to(torch.int64).tolist() == [0, 1, 1]
    assert value.view(torch.uint8).tolist() == [0, 1, 1]


def test_bytes_that_nobody_claims():
    with pytest.raises(WireError, match="no tensor claims"):
        wire.unpack(["none"], b"12345678")


@pytest.mark.parametrize("text", [b"[" * 100_000, b"3", b"\xff\xfe", b"{", b'{"a": ' + b"9" * 5000 + b"}"])
def test_json_that_is_no_message(text):
    with pytest.raises(WireError):
        wire.parse(text)


def test_an_announced_size_is_refused_before_anything_is_allocated():
    for text, total in ((wire.MAX_JSON + 1, 0), (0, wire.MAX_BYTES + 1), (2**32 - 1, 2**64 - 1)):
        with pytest.raises(WireError):
            wire.lengths(wire.HEADER.pack(text, total))


def test_a_stand_in_carries_the_name_alone():
    assert type(wire.unpack(["other", "Tricky<b>\n" + "x" * 100], b"")).__name__ == "Trickyb" + "x" * 30
    assert type(wire.unpack(["other", "\0"], b"")).__name__ == "unknown"


def test_messages_over_a_socket_and_its_end():
    ours, theirs = socket.socketpair()
    value = torch.arange(300_000.0)
    node, buffers = wire.pack(value)
    sender = threading.Thread(target=wire.send, args=(ours, {"value": node}, buffers))
    sender.start()
    message, data = wire.receive(theirs)
    sender.join()
    assert torch.equal(wire.unpack(message["value"], data), value)
    ours.sendall(b"half")
    ours.close()
    with pytest.raises(EOFError):
        wire.receive(theirs)
    theirs.close()
