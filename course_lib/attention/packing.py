"""Several sequences packed behind each other in one row of a batch, without padding and without mixing.

`cu_seqlens = [0, 3, 8]` says that `[1, 8, H, K]` holds two sequences, tokens 0–2 and 3–7. Nothing may cross
a boundary, so the answer is that of separate calls, put back behind each other. The boundaries are read as
Python integers: on a GPU that waits for the device, and under `torch.compile` it breaks the graph.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor


def sequence_lengths(cu_seqlens: Tensor | None, B: int, T: int) -> list[int] | None:
    """Lengths of the packed sequences; checks that the boundaries tile the T tokens of a batch of one.

    cu_seqlens: integer tensor `[N + 1]` that starts at 0, never falls, and ends at T; None (nothing is packed)
    gives None. Raises TypeError, ValueError.
    """
    if cu_seqlens is None:
        return None
    if not isinstance(cu_seqlens, Tensor) or cu_seqlens.dtype not in (torch.int32, torch.int64):
        got = cu_seqlens.dtype if isinstance(cu_seqlens, Tensor) else type(cu_seqlens).__name__
        raise TypeError(f"cu_seqlens must be an int32 or int64 tensor, got {got}: torch.tensor([0, …, T])")
    if cu_seqlens.dim() != 1 or len(cu_seqlens) < 2:
        raise ValueError(f"cu_seqlens must have the shape [N + 1] with N ≥ 1, got {list(cu_seqlens.shape)}")
    if B != 1:
        raise ValueError(f"cu_seqlens needs B = 1, got B = {B}: pack the sequences along T, or pass none")
    bounds = cu_seqlens.tolist()
    lengths = [after - before for before, after in pairwise(bounds)]
    if bounds[0] != 0 or bounds[-1] != T or min(lengths) < 0:
        raise ValueError(
            f"cu_seqlens must rise from 0 to T = {T}, got {bounds}: it holds the sequences' boundaries"
        )
    return lengths


def run_packed(
    run: Callable, tokens: Sequence[Tensor | None], lengths: list[int], states: Sequence
) -> tuple[Tensor, Sequence]:
    """`run(*tokens, state) -> (o, state)` per sequence: outputs behind each other, one state per sequence."""
    pieces = zip(
        *([None] * len(lengths) if x is None else x.split(lengths, dim=1) for x in tokens), strict=True
    )
    results = [run(*piece, state) for piece, state in zip(pieces, states, strict=True)]
    outputs, finals = zip(*results, strict=True)
    return torch.cat(outputs, dim=1), finals
