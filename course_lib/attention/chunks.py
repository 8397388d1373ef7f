"""Cutting a sequence into pieces and chunks, in a way whose backward pass is linear too.

A form is called with a piece of a few chunks of C tokens at a time, and the state is carried from piece to piece.
So temporary tensors stay small enough for the cache whatever T is, and what a piece needs (casts, features, decays)
is made when it is needed. `split` cuts a tensor once; slicing inside the loop (`q[:, i : i + C]`) gives the same
forward, but each slice's gradient is a zero tensor of the full length, so T / C of them make backward quadratic
(chapter 13). A last chunk that is shorter is a piece of its own, so nothing is padded.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CHUNKS = 16  # in a piece

Form = Callable[..., tuple[Tensor, Tensor]]


def in_pieces(
    form: Form, tokens: Sequence[Tensor | None], state: Tensor, chunk_size: int, chunks: int = CHUNKS
) -> tuple[Tensor, Tensor]:
    """`form(*tokens, state) -> (o, state)` for tokens `[B, T, …]`, a piece at a time; None stays None."""
    T = next(x.shape[1] for x in tokens if x is not None)
    whole, tail = T // chunk_size, T % chunk_size  # not divmod: torch.compile traces T as a symbol
    sizes = [min(chunks, whole - n) * chunk_size for n in range(0, whole, chunks)] + [tail] * (tail > 0)
    if len(sizes) < 2:
        return form(*tokens, state)
    out = []
    for piece in zip(
        *([None] * len(sizes) if x is None else x.split(sizes, dim=1) for x in tokens), strict=True
    ):
        o, state = form(*piece, state)
        out.append(o)
    return torch.cat(out, dim=1), state


def by_head(x: Tensor) -> Tensor:
    """[B, T, H, ·] -> `[B·H, T, ·]`; one gate a head, `[B, T, H]`, becomes `[B·H, T, 1]`."""
    return (x[..., None] if x.dim() == 3 else x).transpose(1, 2).flatten(0, 1)


def into_chunks(x: Tensor, C: int) -> Tensor:
    """[B·H, T, ·] -> `[B·H, n, C, ·]`, in memory of its own, since every product would copy a strided one."""
    return x.unflatten(1, (x.shape[1] // C, C)).contiguous()


def by_token(o: Tensor, H: int) -> Tensor:
    """[B·H, …, V] with T tokens on the axes between -> `[B, T, H, V]`."""
    return o.flatten(1, -2).unflatten(0, (o.shape[0] // H, H)).transpose(1, 2)
