"""Argument checks shared by every mixer: shapes, dtypes and devices, never values.

A mixer is called thousands of times in a measurement and once a token in decoding, so all its checks together
stay under 25 µs: they read attributes of tensors, which costs nothing and never waits for a GPU, breaks no
compiled graph and works under `torch.func`. Each error names the argument, what came, what is expected, and
what to do next. The happy path is one line per rule; the words are put together only when a rule is broken.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

_AXES = {3: ("[B, H, K]", "[B, H, V]"), 4: ("[B, T, H, K]", "[B, T, H, V]")}


def _list(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def check_qkv(q: Tensor, k: Tensor, v: Tensor, *, dim: int = 4, kv_groups: bool = False) -> None:
    """q, k, v are floating tensors of one dtype and device whose shapes fit together.

    `dim` is 4 for a sequence (`[B, T, H, K]`) and 3 for one token of a step (`[B, H, K]`). With
    `kv_groups`, k and v may have fewer heads than q (grouped-query attention). Raises TypeError or
    ValueError.
    """
    if not (isinstance(q, Tensor) and isinstance(k, Tensor) and isinstance(v, Tensor)):
        _raise_not_a_tensor(q=q, k=k, v=v)
    if not (q.dtype == k.dtype == v.dtype and q.dtype.is_floating_point):
        _raise_dtype(q=q, k=k, v=v)
    if not q.device == k.device == v.device:
        raise ValueError(
            f"q, k, v must be on one device, got {q.device}, {k.device}, {v.device}: "
            f"move them with .to(q.device)"
        )
    qs, ks, vs = q.shape, k.shape, v.shape
    if not len(qs) == len(ks) == len(vs) == dim:
        _raise_rank(dim, q=q, k=k, v=v)
    if not (qs[0] == ks[0] == vs[0] and qs[-1] == ks[-1] > 0 and ks[1:-1] == vs[1:-1]):
        _raise_shape(qs, ks, vs)
    if qs[-2] != ks[-2] and not (kv_groups and ks[-2] > 0 and qs[-2] % ks[-2] == 0):
        _raise_heads(qs[-2], ks[-2], kv_groups)


def _raise_not_a_tensor(**tensors: object) -> None:
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{name} must be a torch.Tensor, got {type(x).__name__}: wrap it with torch.as_tensor"
            )


def _raise_dtype(**tensors: Tensor) -> None:
    for name, x in tensors.items():
        if not x.dtype.is_floating_point:
            raise TypeError(
                f"{name} must be a floating-point tensor, got {x.dtype}: convert it with .float()"
            )
    dtypes = ", ".join(f"{name} {x.dtype}" for name, x in tensors.items())
    raise TypeError(f"q, k, v must have one dtype, got {dtypes}: convert them with .to(q.dtype)")


def _raise_rank(dim: int, **tensors: Tensor) -> None:
    for name, x in tensors.items():
        if x.dim() != dim:
            axes = _AXES[dim][name == "v"]
            raise ValueError(
                f"{name} must have {dim} axes {axes}, got {x.dim()} axes {_list(x.shape)}: "
                f"add or remove axes with unsqueeze, squeeze or unflatten"
            )


def _raise_shape(qs: Sequence[int], ks: Sequence[int], vs: Sequence[int]) -> None:
    shapes = f"(q {_list(qs)}, k {_list(ks)}, v {_list(vs)})"
    if not qs[0] == ks[0] == vs[0]:
        raise ValueError(f"q, k, v must have one batch size B, got {qs[0]}, {ks[0]}, {vs[0]} {shapes}")
    if qs[-1] != ks[-1]:
        raise ValueError(
            f"k must have the head size K = {qs[-1]} of q, got {ks[-1]} {shapes}: both are projected to K"
        )
    if qs[-1] == 0:
        raise ValueError(f"q and k must have a head size K of at least 1, got 0 {shapes}")
    if ks[-2] != vs[-2]:
        raise ValueError(
            f"v must have the {ks[-2]} heads of k, got {vs[-2]} {shapes}: the layout is [B, T, H, V]"
        )
    raise ValueError(
        f"v must have the length T = {ks[1]} of k, got {vs[1]} {shapes}: each key carries one value"
    )


def _raise_heads(H: int, H_kv: int, kv_groups: bool) -> None:
    if kv_groups:
        raise ValueError(f"k must have a number of heads that divides the {H} heads of q, got {H_kv}")
    raise ValueError(
        f"k must have the {H} heads of q, got {H_kv}: this mixer keeps one state per query head; "
        f"share keys with k.repeat_interleave(H // H_kv, dim=-2), and v alike"
    )


def check_same_length(q: Tensor, k: Tensor) -> None:
    """A recurrent mixer reads one query per written key: T of q and k are equal."""
    if q.shape[1] != k.shape[1]:
        raise ValueError(
            f"q must have the length T = {k.shape[1]} of k, got {q.shape[1]}: "
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


def check_no_gates(name: str, g: Tensor | None, beta: Tensor | None) -> None:
    """A mixer without gates refuses them: ignoring one would change the answer silently."""
    for argument, x in (("g", g), ("beta", beta)):
        if x is not None:
            raise ValueError(
                f"{argument} must be None: {name} has no {argument}; choose a gated mixer from the table()"
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
    if features.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"feature_map must keep all axes but the last, got {_list(features.shape)} from {_list(x.shape)}"
        )
    if features.dtype != x.dtype or features.device != x.device:
        raise TypeError(
            f"feature_map must keep {x.dtype} on {x.device}, got {features.dtype} on {features.device}: "
            f"a map with parameters keeps them there too"
        )


def choose(argument: str, name: str, options: Mapping[str, Callable]) -> Callable:
    """The option called `name`, or an error that lists the names."""
    if name not in options:
        raise ValueError(
            f"{argument} must be one of {', '.join(map(repr, options))} or a callable, got {name!r}"
        )
    return options[name]
