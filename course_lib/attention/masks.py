"""The patterns of sparse attention drawn out: boolean `[T, T]` masks, True where query t (row) sees key i (column).

They are definitions, to look at and to test against: a mask has T² entries whatever it hides, so no fast form makes
one. `receptive_field` says what several layers of them reach. Chapter 06.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.attention import checks

DEFAULT_BLOCK = 64  # tokens of a block in BigBird's and MoBA's patterns


def causal_mask(T: int) -> Tensor:
    """i ≤ t, `[T, T]`."""
    t, i = _positions(T)
    return i <= t


def window_mask(T: int, window: int) -> Tensor:
    """The last `window` tokens, the token itself included: t − w < i ≤ t. `[T, T]`; arXiv 2004.05150."""
    checks.check_count("window", window)
    t, i = _positions(T)
    return (i <= t) & (t - i < window)


def dilated_mask(T: int, window: int, stride: int) -> Tensor:
    """Every `stride`-th token back, `window` of them: t − i = 0, s, 2s, …, (w − 1)s. `[T, T]`; arXiv 1904.10509."""
    checks.check_count("window", window)
    checks.check_count("stride", stride)
    t, i = _positions(T)
    return (i <= t) & ((t - i) % stride == 0) & (t - i < window * stride)


def global_window_mask(T: int, window: int, global_tokens: Sequence[int]) -> Tensor:
    """A window, and tokens that all later ones see and that see all before them. `[T, T]`; arXiv 2004.05150."""
    seen = window_mask(T, window)
    t, i = _positions(T)
    for position in check_positions(global_tokens):
        seen = seen | (i == position) | (t == position)
    return seen & causal_mask(T)


def bigbird_mask(
    T: int,
    *,
    block_size: int = DEFAULT_BLOCK,
    window_blocks: int = 2,
    global_blocks: int = 1,
    random_blocks: int = 1,
    seed: int = 0,
) -> Tensor:
    """Blocks: the last few, the first few, and a few at random in between. `[T, T]`; arXiv 2007.14062."""
    checks.check_count("block_size", block_size)
    check_bigbird(block_size, window_blocks, global_blocks, random_blocks, seed)
    blocks = torch.zeros(-(-T // block_size), -(-T // block_size), dtype=torch.bool)
    for n in range(len(blocks)):
        blocks[n, max(0, n - window_blocks + 1) : n + 1] = True
        blocks[n, : min(global_blocks, n + 1)] = True
        blocks[n, drawn_blocks(seed, n, global_blocks, n - window_blocks + 1, random_blocks)] = True
    return block_sparse_mask(T, blocks, block_size=block_size)


def block_sparse_mask(T: int, block_mask: Tensor, *, block_size: int = DEFAULT_BLOCK) -> Tensor:
    """The pairs of the blocks that `block_mask` `[N, N]` marks, N·block_size ≥ T, but not the future. `[T, T]`."""
    check_block_mask(block_mask, block_size)
    check_covers(block_mask, block_size, T)
    grown = block_mask.repeat_interleave(block_size, 0).repeat_interleave(block_size, 1)
    return grown[:T, :T] & causal_mask(T).to(block_mask.device)


def drawn_blocks(seed: int, n: int, start: int, stop: int, count: int) -> list[int]:
    """`count` of the blocks start … stop − 1, or all if they are fewer, drawn for query block n and in rising order.

    They depend on the arguments alone and not on how long the text is, so a decoder meets the same blocks. Floyd's
    way: `count` draws without repetition, whatever the range.
    """
    size = max(stop - start, 0)
    drawn: set[int] = set()
    for place, top in enumerate(range(max(size - count, 0), size)):
        at = _hash(seed, n, place) % (top + 1)
        drawn.add(top if at in drawn else at)
    return sorted(start + at for at in drawn)


def _hash(*numbers: int) -> int:
    """A number of 64 bits in which every bit of the numbers counts (SplitMix64's finaliser after each)."""
    x = 0
    for number in numbers:
        x = (x + number + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        x ^= x >> 31
    return x


def receptive_field(*masks: Tensor) -> Tensor:
    """Which tokens reach which through layers with these masks, the first layer first. `[T, T]`, True: i reaches t.

    Token t of a layer's output depends on what its mask shows it and, over the residual connection, on itself; so
    layer after layer the paths multiply: R_n = (M_n ∨ I) · R_{n−1}, in the algebra of "or" and "and". Two layers of
    the same mask are `receptive_field(mask, mask)`. A window of w reaches L(w − 1) tokens back through L layers.
    masks: boolean `[T, T]`. Raises TypeError or ValueError. Chapter 06.
    """
    if not masks:
        raise ValueError("masks must be at least one boolean [T, T] tensor, got none: give one a layer")
    for mask in masks:
        _check_mask(mask, masks[0])
    reached = torch.eye(len(masks[0]), dtype=torch.bool, device=masks[0].device)
    for mask in masks:
        reached = reached | (mask.float() @ reached.float() > 0)
    return reached


def _positions(T: int) -> tuple[Tensor, Tensor]:
    """t `[T, 1]` of queries and i `[T]` of keys."""
    if isinstance(T, bool) or not isinstance(T, int):
        raise TypeError(f"T must be an integer, got {type(T).__name__}")
    if T < 0:
        raise ValueError(f"T must be at least 0, got {T}")
    at = torch.arange(T)
    return at[:, None], at


def check_positions(global_tokens: Sequence[int]) -> tuple[int, ...]:
    """Positions from 0 on, each once, in rising order."""
    if isinstance(global_tokens, Tensor | str) or not isinstance(global_tokens, Sequence):
        raise TypeError(
            f"global_tokens must be a sequence of integers such as (0, 1), got {type(global_tokens).__name__}"
        )
    for at in global_tokens:
        if isinstance(at, bool) or not isinstance(at, int):
            raise TypeError(f"global_tokens must hold integers, got {type(at).__name__}")
        if at < 0:
            raise ValueError(
                f"global_tokens must be positions from 0 on, got {at}: count from the first token"
            )
    return tuple(sorted(set(global_tokens)))


def check_bigbird(
    block_size: int, window_blocks: int, global_blocks: int, random_blocks: int, seed: int
) -> None:
    """A window of at least its own block, and counts from 0 of the others."""
    checks.check_count("block_size", block_size)
    checks.check_count("window_blocks", window_blocks)
    for argument, n in (("global_blocks", global_blocks), ("random_blocks", random_blocks), ("seed", seed)):
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"{argument} must be an integer, got {type(n).__name__}")
        if n < 0:
            raise ValueError(f"{argument} must be at least 0, got {n}")


def check_block_mask(block_mask: object, block_size: int) -> None:
    """A boolean `[N, N]` that looks at no later block and leaves no query without a key."""
    checks.check_count("block_size", block_size)
    _check_mask(block_mask, block_mask, "block_mask", "[N, N]")
    if block_mask.triu(1).any():
        raise ValueError(
            "block_mask must be False above its diagonal, got True: a block there lies in the future"
        )
    if not block_mask.any(1).all():
        empty = (~block_mask.any(1)).nonzero()[0].item()
        raise ValueError(
            f"block_mask must show every block of queries some block of keys, got none in row {empty}: a softmax over "
            f"nothing is undefined"
        )


def check_covers(block_mask: Tensor, block_size: int, T: int) -> None:
    """The mask has a row for every token."""
    if len(block_mask) * block_size < T:
        raise ValueError(
            f"block_mask must cover T = {T} tokens, got {len(block_mask)} blocks of block_size = {block_size}: the "
            f"tokens of initial_state count"
        )


def _check_mask(mask: object, like: object, argument: str = "masks", axes: str = "[T, T]") -> None:
    """A square of booleans, as large as the other."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{argument} must be boolean {axes}, got {got}")
    if mask.dim() != 2 or mask.shape[0] != mask.shape[1] or mask.shape != like.shape:
        raise ValueError(
            f"{argument} must have the shape {axes}, one for all, got {list(mask.shape)} beside {list(like.shape)}"
        )
