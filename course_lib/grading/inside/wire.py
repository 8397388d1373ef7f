"""Values as JSON and raw bytes, framed on a socket: all that passes between the grader and a sandbox.

A message is one JSON object and the concatenated bytes of the tensors that it describes. Nothing is pickled,
sizes are checked before anything is allocated, and what does not fit the format raises `WireError`. The
module runs on both sides and imports only torch.
"""

import json
import socket
import struct
from collections.abc import Callable, Iterable, Mapping

import torch

HEADER = struct.Struct(">IQ")  # bytes of JSON, bytes of tensors
MAX_JSON = 8 * 2**20
MAX_BYTES = 512 * 2**20
MAX_NODES = 200_000
MAX_DEPTH = 20
MAX_KEYS = 1_000  # of one dict: keys can be chosen that all meet in one place of its table
MAX_TEXT = 100_000
DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.complex64),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}


class WireError(Exception):
    """Not a message of this format, or one beyond its sizes."""


# Values


def pack(value: object) -> tuple[list, list[memoryview]]:
    """A value as nested lists for JSON, and the bytes of its tensors in order."""
    buffers: list[memoryview] = []
    return _Packer(buffers).node(value, 0), buffers


class _Packer:
    def __init__(self, buffers: list[memoryview]) -> None:
        self.buffers, self.nodes, self.nbytes = buffers, 0, 0

    def node(self, value: object, depth: int) -> list:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise WireError("the value has too many parts")
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # numpy's scalars
            value = value.item()
        if isinstance(value, (tuple, list)):
            tag = "list" if isinstance(value, list) else "tuple"
            return [tag, [self.node(item, depth + 1) for item in value]]
        if isinstance(value, Mapping):
            if len(value) > MAX_KEYS:
                raise WireError("the value has too many keys")
            return ["dict", [[self.node(k, depth + 1), self.node(v, depth + 1)] for k, v in value.items()]]
        return _leaf(value)

    def _tensor(self, value: torch.Tensor) -> list:
        plain = value.detach()
        plain = plain.to_dense() if plain.layout != torch.strided else plain
        plain = plain.cpu().resolve_conj().resolve_neg()
        name, shape = str(plain.dtype).removeprefix("torch."), list(plain.shape)
        if name not in DTYPES:
            return ["other", f"tensor of {name}"]
        self.nbytes += plain.numel() * plain.element_size()
        if self.nbytes > MAX_BYTES:
            raise WireError("the value has too many bytes")
        plain = torch.view_as_real(plain) if plain.is_complex() else plain
        flat = torch.empty(plain.numel(), dtype=plain.dtype).copy_(plain.reshape(-1))
        self.buffers.append(memoryview(flat.view(torch.uint8).numpy()))
        return ["tensor", name, shape]


def _leaf(value: object) -> list:
    if value is None or value is ...:
        return ["none" if value is None else "ellipsis"]
    if isinstance(value, bool):
        return ["bool", bool(value)]
    if isinstance(value, int):
        return ["int", str(int(value))]
    if isinstance(value, float):
        return ["float", float(value).hex()]
    if isinstance(value, complex):
        return ["complex", float(value.real).hex(), float(value.imag).hex()]
    if isinstance(value, str):
        return ["str", str(value)[:MAX_TEXT]]
    if isinstance(value, torch.dtype):
        return ["dtype", str(value).removeprefix("torch.")]
    return ["other", type(value).__name__]


def unpack(node: object, data: memoryview | bytes) -> object:
    """The value that `pack` described; WireError for anything else. Tensors get memory of their own."""
    reader = _Unpacker(memoryview(data))
    try:
        value = reader.node(node, 0)
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        OverflowError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise WireError(f"malformed value: {type(error).__name__}") from error
    if reader.at != len(reader.data):
        raise WireError("bytes that no tensor claims")
    return value


class _Unpacker:
    def __init__(self, data: memoryview) -> None:
        self.data, self.at, self.nodes = data, 0, 0

    def node(self, node: list, depth: int) -> object:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH or not isinstance(node, list):
            raise WireError("malformed value")
        tag, *rest = node
        if tag in ("tuple", "list"):
            items = [self.node(item, depth + 1) for item in rest[0]]
            return items if tag == "list" else tuple(items)
        if tag == "dict":
            if len(rest[0]) > MAX_KEYS:
                raise WireError("malformed value")
            return {self.node(k, depth + 1): self.node(v, depth + 1) for k, v in rest[0]}
        return self._tensor(*rest) if tag == "tensor" else LEAVES[tag](*rest)

    def _tensor(self, name: str, shape: list) -> torch.Tensor:
        dtype = DTYPES[name]
        if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > MAX_DEPTH:
            raise WireError("malformed shape")
        count = 1
        for n in shape:
            count *= n
        end = self.at + count * dtype.itemsize
        if end > len(self.data):
            raise WireError("a tensor of more bytes than came")
        raw = torch.frombuffer(bytearray(self.data[self.at : end]), dtype=torch.uint8) if count else None
        self.at = end
        if raw is None:
            return torch.empty(shape, dtype=dtype)
        return (raw.ne(0) if dtype == torch.bool else raw.view(dtype)).reshape(shape)


def _other(name: str) -> object:
    """A stand-in whose type has the name of what could not be sent, for the message that says so."""
    word = "".join(c for c in str(name)[:40] if c.isalnum() or c in " _") or "unknown"
    return type(word, (), {})()


LEAVES: dict[str, Callable] = {
    "none": lambda: None,
    "ellipsis": lambda: ...,
    "bool": bool,
    "int": int,
    "float": float.fromhex,
    "complex": lambda re, im: complex(float.fromhex(re), float.fromhex(im)),
    "str": lambda text: text if isinstance(text, str) else str(text),
    "dtype": lambda name: DTYPES[name],
    "other": _other,
}


# Frames


def frame(message: Mapping, buffers: Iterable[memoryview] = ()) -> list[bytes | memoryview]:
    """The pieces of a message in the order in which they are sent."""
    text = json.dumps(message).encode()
    buffers = list(buffers)
    total = sum(len(buffer) for buffer in buffers)
    if len(text) > MAX_JSON or total > MAX_BYTES:
        raise WireError("the message is too large")
    return [HEADER.pack(len(text), total), text, *buffers]


def parse(text: bytes) -> dict:
    """The JSON object of a message; WireError when it is none."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WireError(f"malformed message: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise WireError("malformed message")
    return message


def lengths(header: bytes) -> tuple[int, int]:
    """The two lengths that a header announces; WireError when they are too large."""
    text, total = HEADER.unpack(header)
    if text > MAX_JSON or total > MAX_BYTES:
        raise WireError("the message is too large")
    return text, total


def send(channel: socket.socket, message: Mapping, buffers: Iterable[memoryview] = ()) -> None:
    """Sends a message, waiting as long as it takes: the sandbox's side."""
    for piece in frame(message, buffers):
        channel.sendall(piece)


def receive(channel: socket.socket) -> tuple[dict, bytearray]:
    """Waits for a message: the sandbox's side. EOFError when the grader has gone."""
    text, total = lengths(_exactly(channel, HEADER.size))
    return parse(_exactly(channel, text)), _exactly(channel, total)


def _exactly(channel: socket.socket, count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    while view:
        got = channel.recv_into(view, min(len(view), 2**24))
        if not got:
            raise EOFError
        view = view[got:]
    return data
