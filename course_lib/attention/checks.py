"""Argument checks shared by every mixer: shapes, dtypes and devices; values only where reading them is free.

A mixer is called thousands of times in a measurement and once a token in decoding, so all its checks together stay
under 25 µs: they read attributes of tensors, which costs nothing and never waits for a GPU, breaks no compiled graph
and works under `torch.func`. The signs of gates are looked at on a CPU in eager mode only. Each error names the
argument, what came, what is expected, and what to do next. The happy path is one line per rule; the words are put
together only when a rule is broken.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from course_lib.attention.gates import transformed

_AXES = {3: ("[B, H, K]", "[B, H, V]"), 4: ("[B, T, H, K]", "[B, T, H, V]")}
Names = tuple[str, str, str]
QKV = ("q", "k", "v")
Option = TypeVar("Option")


def _list(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def check_qkv(
    q: Tensor, k: Tensor, v: Tensor, *, dim: int = 4, kv_groups: bool = False, names: Names = QKV
) -> None:
    """q, k, v are floating tensors of one dtype and device whose shapes fit together.

    `dim` is 4 for a sequence (`[B, T, H, K]`) and 3 for one token of a step (`[B, H, K]`). With
    `kv_groups`, k and v may have fewer heads than q (grouped-query attention). `names` is what the mixer
    calls the three. Raises TypeError or ValueError.
    """
    if not (isinstance(q, Tensor) and isinstance(k, Tensor) and isinstance(v, Tensor)):
        _raise_not_a_tensor(zip(names, (q, k, v), strict=True))
    if not (q.dtype == k.dtype == v.dtype and q.dtype.is_floating_point):
        _raise_dtype(list(zip(names, (q, k, v), strict=True)))
    if not q.device == k.device == v.device:
        raise ValueError(
            f"{', '.join(names)} must be on one device, got {q.device}, {k.device}, {v.device}: "
            f"move them with .to({names[0]}.device)"
        )
    qs, ks, vs = q.shape, k.shape, v.shape
    if not len(qs) == len(ks) == len(vs) == dim:
        _raise_rank(dim, zip(names, (q, k, v), strict=True))
    if not (qs[0] == ks[0] == vs[0] and qs[-1] == ks[-1] > 0 and ks[1:-1] == vs[1:-1]):
        _raise_shape(qs, ks, vs, names)
    if qs[-2] == 0 or (qs[-2] != ks[-2] and not (kv_groups and ks[-2] > 0 and qs[-2] % ks[-2] == 0)):
        _raise_heads(qs[-2], ks[-2], kv_groups, names)


def _raise_not_a_tensor(tensors: Iterable[tuple[str, object]]) -> None:
    for name, x in tensors:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(x).__name__}: wrap it with torch.as_tensor"
            )


def _raise_dtype(tensors: Sequence[tuple[str, Tensor]]) -> None:
    for name, x in tensors:
        if not x.dtype.is_floating_point:
            raise TypeError(
                f"{name} must be a floating-point tensor, got {x.dtype}: convert it with .float()"
            )
    named = dict(tensors)  # HGRN2 has no k
    names = ", ".join(named)
    dtypes = ", ".join(f"{name} {x.dtype}" for name, x in named.items())
    raise TypeError(
        f"{names} must have one dtype, got {dtypes}: convert them with .to({tensors[0][0]}.dtype)"
    )


def _raise_rank(dim: int, tensors: Iterable[tuple[str, Tensor]]) -> None:
    for name, x in tensors:
        if x.dim() != dim:
            axes = _AXES[dim][name == "v"]
            raise ValueError(
                f"{name} must have {dim} axes {axes}, got {x.dim()} axes {_list(x.shape)}: "
                f"add or remove axes with unsqueeze, squeeze or unflatten"
            )


def _raise_shape(qs: Sequence[int], ks: Sequence[int], vs: Sequence[int], names: Names) -> None:
    q, k, v = names
    shapes = f"({q} {_list(qs)}, {k} {_list(ks)}, {v} {_list(vs)})"
    if not qs[0] == ks[0] == vs[0]:
        raise ValueError(f"{q}, {k}, {v} must have one batch size B, got {qs[0]}, {ks[0]}, {vs[0]} {shapes}")
    if qs[-1] != ks[-1]:
        raise ValueError(
            f"{k} must have the head size K = {qs[-1]} of {q}, got {ks[-1]} {shapes}: both are projected to K"
        )
    if qs[-1] == 0:
        raise ValueError(f"{q} and {k} must have a head size K of at least 1, got 0 {shapes}")
    if ks[-2] != vs[-2]:
        raise ValueError(
            f"{v} must have the {ks[-2]} heads of {k}, got {vs[-2]} {shapes}: the layout is [B, T, H, V]"
        )
    raise ValueError(
        f"{v} must have the length T = {ks[1]} of {k}, got {vs[1]} {shapes}: each key carries one value"
    )


def _raise_heads(H: int, H_kv: int, kv_groups: bool, names: Names) -> None:
    q, k, v = names
    if H == 0:
        raise ValueError(f"{q} must have at least one head, got 0: the layout is [B, T, H, K]")
    if kv_groups:
        raise ValueError(f"{k} must have a number of heads that divides the {H} heads of {q}, got {H_kv}")
    raise ValueError(
        f"{k} must have the {H} heads of {q}, got {H_kv}: this mixer keeps one state per query head; "
        f"share keys with {k}.repeat_interleave(H // H_kv, dim=-2), and {v} alike"
    )


def check_same_length(q: Tensor, k: Tensor, names: Names = QKV) -> None:
    """A recurrent mixer reads one query per written key: T of q and k are equal."""
    if q.shape[1] != k.shape[1]:
        raise ValueError(
            f"{names[0]} must have the length T = {k.shape[1]} of {names[1]}, got {q.shape[1]}: "
            f"pass earlier tokens as initial_state instead of as longer keys"
        )


def check_keys_for_queries(T_q: int, T: int, causal: bool) -> None:
    """Every query has a key to look at: the queries are the last of the keys, or there is some key."""
    if causal and T_q > T:
        raise ValueError(
            f"q must have at most the {T} tokens of k when causal, got {T_q}: queries are the last tokens "
            f"of the keys; pass earlier keys as initial_state, or causal=False"
        )
    if T == 0 < T_q:
        raise ValueError(
            f"k must have at least one token for {T_q} queries, got 0: a softmax over nothing is undefined"
        )


def check_no_gates(name: str, **gates: object) -> None:
    """A mixer refuses the gates it has no use for: ignoring one would change the answer silently."""
    for argument, x in gates.items():
        if x is not None:
            raise ValueError(
                f"{argument} must be None: {name} has no {argument}; choose a gated mixer from the table()"
            )


def check_flag(argument: str, x: object) -> None:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(x, bool):
        raise TypeError(f"{argument} must be True or False, got {x!r}")


def check_causal(name: str, causal: bool) -> None:
    """A mixer that forgets or corrects has a direction."""
    check_flag("causal", causal)
    if not causal:
        raise ValueError(f"causal must be True, got {causal}: {name} reads the past in order; see table()")


def check_tensor(argument: str, x: object, dim: int, axes: str) -> None:
    """A floating tensor with that many axes."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{argument} must be a torch.Tensor {axes}, got {type(x).__name__}")
    if not x.dtype.is_floating_point:
        raise TypeError(
            f"{argument} must be a floating-point tensor, got {x.dtype}: convert it with .float()"
        )
    if x.dim() != dim:
        raise ValueError(f"{argument} must have {dim} axes {axes}, got {x.dim()} axes {_list(x.shape)}")


def check_companion(argument: str, x: object, shape: Sequence[int], axes: str, like: Tensor) -> None:
    """An argument beside q, k, v: a floating tensor of that shape on their device; its dtype is free."""
    check_tensor(argument, x, len(shape), axes)
    if x.shape != tuple(shape):
        raise ValueError(f"{argument} must have the shape {axes} = {_list(shape)}, got {_list(x.shape)}")
    if x.device != like.device:
        raise ValueError(
            f"{argument} must be on {like.device}, got {x.device}: move it with .to({like.device})"
        )


def check_gate(argument: str, g: object, shape: Sequence[int], axes: str, like: Tensor) -> None:
    """A log decay: at most 0, so that a state never grows by itself."""
    check_companion(argument, g, shape, axes, like)
    if _readable(g) and (highest := g.detach().amax().item()) > 0:
        raise ValueError(
            f"{argument} must be at most 0, got {highest:g}: it is the log of a decay in (0, 1], as "
            f"F.logsigmoid gives it"
        )


def check_rate(
    argument: str, beta: object, shape: Sequence[int], axes: str, like: Tensor, highest: float = 2.0
) -> None:
    """A write strength from 0 (leave the memory alone) over 1 (replace) to `highest` (overshoot)."""
    check_companion(argument, beta, shape, axes, like)
    if not _readable(beta):
        return
    lowest_seen, highest_seen = (x.item() for x in beta.detach().aminmax())
    if lowest_seen < 0 or highest_seen > highest:
        seen = lowest_seen if lowest_seen < 0 else highest_seen
        raise ValueError(
            f"{argument} must lie between 0 and {highest:g}, got {seen:g}: it is the strength after the sigmoid"
        )


def check_step_size(argument: str, delta: object, shape: Sequence[int], axes: str, like: Tensor) -> None:
    """How far a state-space model moves with a token: never backwards."""
    check_companion(argument, delta, shape, axes, like)
    if _readable(delta) and (lowest := delta.detach().amin().item()) < 0:
        raise ValueError(f"{argument} must be at least 0, got {lowest:g}: it is the step after the softplus")


def _check_same_dtype(argument: str, x: Tensor, other: str, like: Tensor) -> None:
    if x.dtype != like.dtype:
        raise TypeError(f"{argument} must have the dtype of {other}, {like.dtype}, got {x.dtype}")


def check_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dim: int) -> None:
    """The arguments of `selective_scan` fit; `dim` is 3 for a sequence and 2 for one token."""
    lead = "[B, T, " if dim == 3 else "[B, "
    check_tensor("u", u, dim, f"{lead}D]")
    check_step_size("delta", delta, u.shape, f"{lead}D]", u)
    check_tensor("A", A, 2, "[D, N]")
    check_gate("A", A, (u.shape[-1], A.shape[1]), "[D, N]", u)
    for name, x in (("B", B), ("C", C)):
        check_companion(name, x, (*u.shape[:-1], A.shape[1]), f"{lead}N]", u)
        _check_same_dtype(name, x, "u", u)
    if D is not None:
        check_companion("D", D, u.shape[-1:], "[D]", u)


def check_ssd(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dim: int) -> None:
    """The arguments of `ssd` fit; `dim` is 4 for a sequence and 3 for one token."""
    lead = "[B, T, " if dim == 4 else "[B, "
    check_tensor("x", x, dim, f"{lead}H, P]")
    H = x.shape[-2]
    check_step_size("dt", dt, x.shape[:-1], f"{lead}H]", x)
    check_gate("A", A, (H,), "[H]", x)
    check_tensor("B", B, dim, f"{lead}G, N]")
    check_companion("B", B, (*x.shape[:-2], *B.shape[-2:]), f"{lead}G, N]", x)
    check_companion("C", C, B.shape, f"{lead}G, N]", x)
    _check_same_dtype("B", B, "x", x)
    _check_same_dtype("C", C, "x", x)
    if H == 0:
        raise ValueError(f"x must have at least one head, got 0: the layout is {lead}H, P]")
    if B.shape[-2] == 0 or H % B.shape[-2]:
        raise ValueError(f"B must have a number of groups that divides the {H} heads of x, got {B.shape[-2]}")
    if D is not None:
        check_companion("D", D, (H,), "[H]", x)


def check_s4d(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, dim: int) -> None:
    """The arguments of `s4d` fit; `dim` is 3 for a sequence and 2 for one token."""
    check_tensor("u", u, dim, "[B, T, D]" if dim == 3 else "[B, D]")
    check_step_size("delta", delta, u.shape[-1:], "[D]", u)
    for name, x in (("A", A), ("B", B), ("C", C)):
        _check_complex(name, x, u)
    if B.shape != A.shape or C.shape != A.shape:
        raise ValueError(
            f"B and C must have the shape of A, {_list(A.shape)}, got {_list(B.shape)}, {_list(C.shape)}"
        )
    if _readable(A) and (highest := A.detach().real.amax().item()) > 0:
        raise ValueError(f"A must have real parts of at most 0, got {highest:g}: the state would grow")
    if D is not None:
        check_companion("D", D, u.shape[-1:], "[D]", u)


def _check_complex(argument: str, x: object, u: Tensor) -> None:
    if not isinstance(x, Tensor) or not x.is_complex():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{argument} must be a complex tensor [D, N], got {got}: make one with torch.complex")
    if x.dim() != 2 or x.shape[0] != u.shape[-1]:
        raise ValueError(
            f"{argument} must have the shape [D, N] with D = {u.shape[-1]}, got {_list(x.shape)}"
        )
    if x.device != u.device:
        raise ValueError(f"{argument} must be on {u.device}, got {x.device}: move it with .to({u.device})")


def check_count(argument: str, n: object) -> None:
    """A positive integer."""
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"{argument} must be an integer, got {type(n).__name__}")
    if n < 1:
        raise ValueError(f"{argument} must be at least 1, got {n}")


def check_counts(**counts: object) -> None:
    """`check_count` for each argument by its name."""
    for argument, n in counts.items():
        check_count(argument, n)


def _readable(x: Tensor) -> bool:
    """Whether looking at values neither waits for a device nor breaks a traced call."""
    return x.device.type == "cpu" and x.numel() > 0 and not transformed()


def check_layer(layer: int, layers: int) -> None:
    """`layer` counts from 0 to `layers` − 1."""
    for argument, n in (("layer", layer), ("layers", layers)):
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"{argument} must be an integer, got {type(n).__name__}")
    if not 0 <= layer < layers:
        raise ValueError(
            f"layer must be at least 0 and below layers = {layers}, got {layer}: layers count from 0"
        )


def check_scale(scale: float | None) -> None:
    """`scale` is None or a finite number above 0."""
    if scale is None:
        return
    if isinstance(scale, bool) or not isinstance(scale, int | float):
        raise TypeError(
            f"scale must be a number or None, got {type(scale).__name__}: multiply q by a tensor yourself"
        )
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be a finite number above 0, got {scale}: None means K ** -0.5")


def check_form(mode: str, modes: Sequence[str], chunk_size: int) -> None:
    """`mode` is one of the mixer's forms and `chunk_size` a positive integer."""
    if mode not in modes:
        raise ValueError(f"mode must be one of {', '.join(map(repr, modes))}, got {mode!r}")
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int):
        raise TypeError(
            f"chunk_size must be an integer, got {type(chunk_size).__name__}: 64 suits most machines"
        )
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}: 64 suits most machines")


def check_states(
    argument: str,
    states: object,
    expected: dict[str, tuple[int | None, ...]],
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """`states` is a tuple of tensors with the named shapes (None = any length), of one dtype and device."""
    names = ", ".join(expected)
    if not isinstance(states, tuple) or len(states) != len(expected):
        got = (
            f"{type(states).__name__} of {len(states)}"
            if isinstance(states, tuple | list)
            else type(states).__name__
        )
        raise TypeError(f"{argument} must be a tuple ({names}), got a {got}: {_PASS_ON}")
    for x, (name, shape) in zip(states, expected.items(), strict=True):
        _check_state(f"{argument}: {name}", x, shape, dtype, device)


_PASS_ON = "pass on what an earlier call with the same options returned"


def _check_state(
    argument: str, x: object, shape: tuple[int | None, ...], dtype: torch.dtype, device: torch.device
) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{argument} must be a torch.Tensor, got {type(x).__name__}: {_PASS_ON}")
    if len(x.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, x.shape, strict=True)):
        expected = _list(["any" if n is None else n for n in shape])
        raise ValueError(f"{argument} must have the shape {expected}, got {_list(x.shape)}: {_PASS_ON}")
    if x.dtype != dtype:
        raise TypeError(f"{argument} must be {dtype}, got {x.dtype}: {_PASS_ON}")
    if x.device != device:
        raise ValueError(f"{argument} must be on {device}, got {x.device}: move it with .to({str(device)!r})")


def check_features(features: Tensor, x: Tensor) -> None:
    """A feature map may change the last axis only, and neither dtype nor device."""
    if not isinstance(features, Tensor):
        raise TypeError(f"feature_map must return a torch.Tensor, got {type(features).__name__}")
    if features.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"feature_map must keep all axes but the last, got {_list(features.shape)} from {_list(x.shape)}"
        )
    if features.dtype != x.dtype or features.device != x.device:
        raise TypeError(
            f"feature_map must keep {x.dtype} on {x.device}, got {features.dtype} on {features.device}: "
            f"a map with parameters keeps them there too"
        )


def choose(argument: str, name: str, options: Mapping[str, Option], instead: str = "") -> Option:
    """The option called `name`, or an error that lists the names, and what may stand `instead`."""
    if not isinstance(name, str) or name not in options:
        raise ValueError(f"{argument} must be one of {', '.join(map(repr, options))}{instead}, got {name!r}")
    return options[name]
