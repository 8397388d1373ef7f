"""Rotary position embedding: a query and a key are turned by their positions, so their product knows the distance.

    (x_i, x_{i+K/2})  ←  turned by the angle  position · base^(−2i/K),     i = 0 … K/2 − 1

Two vectors turned by angles a and b have the product that one of them, turned by a − b, has with the other:
rope(q, t)·rope(k, j) depends on t − j alone. Each channel is paired with the one half a head away (`rotate_half`,
as in Llama and Transformers), not with its neighbour. Chapter 04; Su et al., arXiv 2104.09864.
"""

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.precision import no_autocast, working_dtype


def rope(x: Tensor, positions: Tensor, *, base: float = 10_000.0) -> Tensor:
    """x `[B, T, H, K]` turned by `positions` `[T]`, or `[B, T]` where sequences stand at different places.

    K is even. positions: whole numbers, counted from the start of the text and not from the start of this call: a
    decoder that has seen n tokens turns the next one by n. A cached key is turned once, before it is stored.
    base: how slowly the last pair of channels turns.

    Returns a tensor of the shape and dtype of x; angles are float64 and the rotation is float32 (float64 for float64
    inputs). Raises TypeError or ValueError. Chapter 04; arXiv 2104.09864.
    """
    checks.check_tensor("x", x, 4, "[B, T, H, K]")
    if x.shape[-1] % 2:
        raise ValueError(f"x must have an even head size K, got {x.shape[-1]}: channels are turned in pairs")
    _check_positions(positions, x)
    if isinstance(base, bool) or not isinstance(base, int | float):
        raise TypeError(f"base must be a number, got {type(base).__name__}")
    if base <= 1:
        raise ValueError(f"base must be above 1, got {base}: 10,000 is usual")
    half = x.shape[-1] // 2
    exponents = torch.arange(half, dtype=torch.float64, device=x.device) / half
    angles = positions.to(torch.float64)[..., None] * base**-exponents  # [T, K/2] or [B, T, K/2]
    with no_autocast(x):
        cos, sin = (f(angles)[..., None, :].to(working_dtype(x)) for f in (torch.cos, torch.sin))
        first, second = x.to(working_dtype(x)).split(half, dim=-1)
        turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(x.dtype)


def _check_positions(positions: object, x: Tensor) -> None:
    """Whole numbers, one a token."""
    if not isinstance(positions, Tensor):
        raise TypeError(
            f"positions must be a torch.Tensor [T] or [B, T], got {type(positions).__name__}: "
            f"torch.arange(first, first + T) makes them"
        )
    if positions.dtype.is_floating_point or positions.dtype.is_complex or positions.dtype == torch.bool:
        raise TypeError(f"positions must be whole numbers, got {positions.dtype}: convert them with .long()")
    if tuple(positions.shape) not in ((x.shape[1],), tuple(x.shape[:2])):
        raise ValueError(
            f"positions must have the shape [T] = [{x.shape[1]}] or [B, T] = [{x.shape[0]}, {x.shape[1]}], "
            f"got {list(positions.shape)}: one position a token of x"
        )
    if positions.device != x.device:
        raise ValueError(
            f"positions must be on {x.device}, got {positions.device}: move them with .to({x.device})"
        )
