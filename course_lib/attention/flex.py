"""Sliding-window attention by FlexAttention: a mask written as a function, compiled into one fused kernel.

    o_t = Σ_{t−w<i≤t} p_{ti} v_i,     allowed(t, i) = (0 ≤ t − i < w)

Blocks of pairs in which nothing is allowed are not computed, so it is O(T·w), as the block form in `window` is. The
first call for each length compiles, which pays on a GPU of compute capability 8.0 and above
(`course_lib.runtime.lacks("FlexAttention")` says so); elsewhere `compiled=False` runs the same function uncompiled, in
O(T²). Chapter 06; arXiv 2412.05496.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from course_lib.attention import checks


def flex_window_attention(q: Tensor, k: Tensor, v: Tensor, *, window: int, compiled: bool = True) -> Tensor:
    """Causal softmax attention of q, k [B, T, H, K] and v [B, T, H, V] over the last `window` tokens; o [B, T, H, V].

    Raises ValueError for a window below 1.
    """
    checks.check_count("window", window)
    T, device = q.shape[1], str(q.device)
    attend = _compiled() if compiled else flex_attention
    o = attend(*(x.transpose(1, 2) for x in (q, k, v)), block_mask=_blocks(T, window, device))
    return o.transpose(1, 2)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(flex_attention, dynamic=False)


@lru_cache(maxsize=16)
def _blocks(T: int, window: int, device: str) -> object:
    """Which blocks hold an allowed pair: made once for a length, as a model would."""

    def allowed(b: Tensor, h: Tensor, t: Tensor, i: Tensor) -> Tensor:
        return (t >= i) & (t - i < window)

    return create_block_mask(allowed, None, None, T, T, device=device)
