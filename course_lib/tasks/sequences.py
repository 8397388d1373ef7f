"""Sequences to train on: token batches with labels, drawn from a seed.

`course_lib.training.train` takes them by name.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.attention.checks import check_counts, choose
from course_lib.tasks.prose import text_bytes


class Batch(NamedTuple):
    """inputs `[B, T]`: tokens. labels `[B, T]`: the right answer at each position, or −100 where nothing is asked."""

    inputs: Tensor
    labels: Tensor


IGNORED = -100  # torch's cross_entropy leaves such labels out


def mqar(B: int, T: int = 64, *, pairs: int = 16, vocab: int = 64, seed: int = 0) -> Batch:
    """Multi-query associative recall: pairs of a key and a value, then the keys again, in another order.

        inputs   k1 v1 k2 v2 k3 v3 k2 k1 k3
        labels    ·  ·  ·  ·  ·  · v2 v1 v3        · is −100

    Keys are drawn without repetition from the lower half of the vocabulary, values (with repetition) from the upper
    half. After the pairs every key is asked for; queries go on in new orders until T. Shapes: inputs and labels
    `[B, T]`. Raises ValueError if the pairs and their queries do not fit in T, or the keys in half the vocabulary.
    Chapter 14; arXiv 2312.04927.
    """
    return _recall_batch(B, T, pairs, vocab, seed, bindings=1)


def rebinding(B: int, T: int = 64, *, pairs: int = 8, vocab: int = 64, seed: int = 0) -> Batch:
    """`mqar` in which every key is bound twice, and only its newest value is right.

        inputs   k1 v1 k2 v2 k2 v4 k1 v3 k2 k1
        labels    ·  ·  ·  ·  ·  ·  ·  · v4 v3

    Otherwise as `mqar`. Chapter 14.
    """
    return _recall_batch(B, T, pairs, vocab, seed, bindings=2)


def _recall_batch(B: int, T: int, pairs: int, vocab: int, seed: int, bindings: int) -> Batch:
    check_counts(B=B, T=T, pairs=pairs, vocab=vocab)
    half, told = vocab // 2, 2 * pairs * bindings
    if pairs > half:
        raise ValueError(f"pairs must be at most vocab / 2 = {half}, got {pairs}: every key is drawn once")
    if told + pairs > T:
        raise ValueError(f"T must be at least {told + pairs} for {pairs} pairs and as many queries, got {T}")
    generator = torch.Generator().manual_seed(seed)
    keys = _shuffled(B, half, generator)[:, :pairs]
    rows = torch.arange(B)[:, None]
    inputs = torch.randint(half, vocab, (B, T), generator=generator)
    labels = torch.full((B, T), IGNORED)
    for binding in range(bindings):
        order = _shuffled(B, pairs, generator)
        start = 2 * pairs * binding
        inputs[:, start : start + 2 * pairs : 2] = keys[rows, order]
        values = torch.empty_like(order)
        values[rows, order] = inputs[:, start + 1 : start + 2 * pairs : 2]
    for start in range(told, T, pairs):
        order = _shuffled(B, pairs, generator)[:, : T - start]
        asked = slice(start, start + order.shape[1])
        inputs[:, asked], labels[:, asked] = keys[rows, order], values[rows, order]
    return Batch(inputs, labels)


def _shuffled(B: int, n: int, generator: torch.Generator) -> Tensor:
    """`[B, n]`: the numbers 0 … n − 1 of each row in an order of its own."""
    return torch.rand(B, n, generator=generator).argsort(-1)


def induction(B: int, T: int = 64, *, vocab: int = 64, seed: int = 0) -> Batch:
    """Induction: random tokens, and at the end the marker that stood once among them: what came after it?

        inputs   a  b  !  c  d  e  f  !        ! is token 0
        labels   ·  ·  ·  ·  ·  ·  ·  c

    Shapes: inputs and labels `[B, T]`. Raises ValueError for T < 3 or vocab < 2. Chapter 14; arXiv 2209.11895.
    """
    check_counts(B=B, T=T, vocab=vocab)
    if T < 3 or vocab < 2:
        raise ValueError(f"T must be at least 3 and vocab at least 2, got {T} and {vocab}")
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(1, vocab, (B, T), generator=generator)
    place = torch.randint(0, T - 2, (B,), generator=generator)
    labels = torch.full((B, T), IGNORED)
    labels[:, -1] = inputs[torch.arange(B), place + 1]
    inputs[torch.arange(B), place] = inputs[:, -1] = 0
    return Batch(inputs, labels)


def selective_copy(B: int, T: int = 64, *, copies: int = 8, vocab: int = 16, seed: int = 0) -> Batch:
    """Selective copying: `copies` tokens scattered among blanks, to be repeated in their order at the end.

        inputs   .  a  .  .  b  .  c  .  >  >  >       . is token 0, > is token 1
        labels   ·  ·  ·  ·  ·  ·  ·  ·  a  b  c

    The last `copies` of T positions ask. Where the tokens stand differs from row to row: no fixed convolution can
    line them up. Shapes: inputs and labels `[B, T]`. Raises ValueError if T < 2 · copies. Chapter 12; arXiv 2312.00752.
    """
    check_counts(B=B, T=T, copies=copies, vocab=vocab)
    before = T - copies
    if before < copies:
        raise ValueError(
            f"T must be at least 2 · copies = {2 * copies}, got {T}: first to read, then to repeat"
        )
    if vocab < 3:
        raise ValueError(f"vocab must be at least 3, got {vocab}: a blank, a question and something to copy")
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(2, vocab, (B, copies), generator=generator)
    places = _shuffled(B, before, generator)[:, :copies].sort(-1).values
    inputs, labels = torch.zeros(B, T, dtype=torch.long), torch.full((B, T), IGNORED)
    inputs.scatter_(1, places, tokens)
    inputs[:, before:], labels[:, before:] = 1, tokens
    return Batch(inputs, labels)


def parity(B: int, T: int = 24, *, seed: int = 0) -> Batch:
    """Parity: after every bit, is the number of ones so far odd?

        inputs   1  0  1  1
        labels   1  1  0  1

    Shapes: inputs and labels `[B, T]`, all 0 or 1. Chapter 11; arXiv 2411.12537.
    """
    check_counts(B=B, T=T)
    inputs = torch.randint(0, 2, (B, T), generator=torch.Generator().manual_seed(seed))
    return Batch(inputs, inputs.cumsum(1) % 2)


def text(B: int, T: int = 128, *, split: str = "train", seed: int = 0) -> Batch:
    """Bytes of the licence texts that are installed here: `B` stretches of T, each labelled with its next byte.

    inputs and labels `[B, T]`, 0 … 255. split: "train" is the first nine tenths of the text, "test" the rest. Content
    differs from machine to machine. Raises ValueError for another split, or a text of fewer than T + 1 bytes.
    Chapters 14 and 21.
    """
    check_counts(B=B, T=T)
    data = text_bytes()
    cut = len(data) * 9 // 10
    part = choose("split", split, {"train": data[:cut], "test": data[cut:]})
    if len(part) <= T:
        raise ValueError(f"T must be below the {len(part):,} bytes of text installed here, got {T:,}")
    starts = torch.randint(0, len(part) - T, (B,), generator=torch.Generator().manual_seed(seed))
    pieces = torch.stack([part[start : start + T + 1] for start in starts.tolist()]).long()
    return Batch(pieces[:, :-1], pieces[:, 1:])


TASKS: dict[str, Callable[..., Batch]] = {
    "mqar": mqar,
    "rebinding": rebinding,
    "induction": induction,
    "selective_copy": selective_copy,
    "parity": parity,
    "text": text,
}
