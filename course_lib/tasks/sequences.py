"""Sequences to train on: token batches with labels, drawn from a seed.

`course_lib.training.train` takes them by name.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.attention.checks import check_counts, check_flag, choose
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


def needle(
    B: int,
    T: int = 64,
    *,
    depth: float | None = None,
    distractors: int = 0,
    ask_all: bool = False,
    vocab: int = 64,
    seed: int = 0,
) -> Batch:
    """A needle in a haystack: one fact planted at a relative depth among words that do not matter, asked at the end.

        inputs   .  .  k1 v1 .  k2 v2 .  .  .  k1        . is some word of the haystack
        labels   ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  v1        · is −100

    depth: 0 plants the fact at the start, 1 right before the questions; None draws a place for every row. distractors:
    other facts, with other keys, at random places: (k2, v2). ask_all: ask for them too, each once and before the
    needle, which gives training a label a fact; otherwise only the needle has a label, at T − 1.

    The haystack uses the lower half of the vocabulary, keys the third quarter, values the last: a guess among the
    values is right in 1 of vocab − ⌊3 · vocab / 4⌋ cases (1 of 16 for vocab = 64). Shapes: inputs and labels `[B, T]`.
    Raises TypeError or ValueError for a depth outside 0 … 1, or facts that do not fit in T or the keys. Chapter 17.
    """
    check_counts(B=B, T=T, vocab=vocab)
    facts, asked = _check_needle(T, depth, distractors, ask_all, vocab)
    L = T - asked
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(B)[:, None]
    inputs, labels, keys, values = _haystack_and_facts(B, T, facts, vocab, generator)
    places = _needle_places(B, L, depth, distractors, generator)
    inputs[rows, places], inputs[rows, places + 1] = keys, values
    order = _shuffled(B, facts - 1, generator)[:, : asked - 1] + 1  # the needle is fact 0 and comes last
    order = torch.cat([order, torch.zeros(B, 1, dtype=torch.long)], dim=1)
    inputs[:, L:], labels[:, L:] = keys[rows, order], values[rows, order]
    return Batch(inputs, labels)


def _haystack_and_facts(
    B: int, T: int, facts: int, vocab: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Words that do not matter and no label yet, both `[B, T]`; keys, all different, and their values `[B, facts]`."""
    first_key, first_value = vocab // 2, 3 * vocab // 4
    inputs = torch.randint(0, first_key, (B, T), generator=generator)
    labels = torch.full((B, T), IGNORED)
    keys = first_key + _shuffled(B, first_value - first_key, generator)[:, :facts]
    values = torch.randint(first_value, vocab, (B, facts), generator=generator)
    return inputs, labels, keys, values


def stream(
    B: int,
    T: int = 64,
    *,
    facts: int = 8,
    questions: int = 16,
    told: int | None = None,
    vocab: int = 64,
    seed: int = 0,
) -> Batch:
    """Facts and questions all through a text, so that one batch tells recall by age and by position.

        inputs   k1 v1 .  .  k1 .  k2 v2 .  .  k2 .  k1 .        . is some word of the haystack
        labels   ·  ·  ·  ·  v1 ·  ·  ·  ·  ·  v2 ·  v1 ·        · is −100

    The text is cut into cells of two tokens, and a cell is a fact, a question or haystack. Every fact has a key of its
    own; the first cell is a fact. A question asks for one of the facts before it, each as likely. told: the facts stand
    in the first `told` tokens; None is all of T. The vocabulary is divided as in `needle`, so a model trained here can
    be judged there. Shapes: inputs and labels `[B, T]`. Raises ValueError if the facts do not fit in `told` or the
    keys, or facts and questions not in T. Chapter 17.
    """
    told = T if told is None else told
    check_counts(B=B, T=T, facts=facts, questions=questions, told=told, vocab=vocab)
    first_key, first_value, cells = vocab // 2, 3 * vocab // 4, T // 2
    if facts > first_value - first_key:
        raise ValueError(
            f"facts must be at most {first_value - first_key}, the keys of vocab = {vocab}, got {facts}"
        )
    if facts > told // 2 or told > T or facts + questions > cells:
        raise ValueError(
            f"T must have {facts + questions} cells of two tokens, and told ≤ T {facts} of them, got T = {T} and "
            f"told = {told}"
        )
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(B)[:, None]
    inputs, labels, keys, values = _haystack_and_facts(B, T, facts, vocab, generator)
    score = torch.rand(B, cells, generator=generator)
    score[:, 0] = -1.0
    fact_cells = score[:, : told // 2].argsort(-1)[:, :facts]  # the first one first
    score.scatter_(1, fact_cells, torch.inf)
    asked_cells = score.argsort(-1)[:, :questions]
    inputs[rows, 2 * fact_cells], inputs[rows, 2 * fact_cells + 1] = keys, values
    before = fact_cells[:, None, :] < asked_cells[:, :, None]  # [B, questions, facts]
    chosen = (torch.rand(before.shape, generator=generator) * before).argmax(-1)
    inputs[rows, 2 * asked_cells], labels[rows, 2 * asked_cells] = keys[rows, chosen], values[rows, chosen]
    return Batch(inputs, labels)


def needle_grid(
    B: int, lengths: Sequence[int], depths: Sequence[float], **options: Any
) -> dict[tuple[int, float], Batch]:
    """A batch of `needle` for each length T and depth: (T, depth) -> B sequences. options: the other ones of `needle`.

    The same seed everywhere. For a trained model `course_lib.training.evaluate(net, "needle", T=T, depth=depth)` scores
    one cell of such a grid on sequences of its own. Chapter 17.
    """
    return {(T, depth): needle(B, T, depth=depth, **options) for T in lengths for depth in depths}


def _check_needle(
    T: int, depth: float | None, distractors: int, ask_all: bool, vocab: int
) -> tuple[int, int]:
    """(facts, questions) of a needle test whose arguments fit."""
    check_flag("ask_all", ask_all)
    if isinstance(distractors, bool) or not isinstance(distractors, int):
        raise TypeError(f"distractors must be an integer, got {type(distractors).__name__}")
    most = 3 * vocab // 4 - vocab // 2 - 1
    if vocab < 4 or not 0 <= distractors <= most:
        raise ValueError(
            f"distractors must lie between 0 and {max(most, 0)} for vocab = {vocab}, got {distractors}: each has a key "
            f"from the third quarter of at least 4 tokens"
        )
    if depth is not None and not 0 <= depth <= 1:
        raise ValueError(f"depth must lie between 0 (start) and 1 (end) or be None, got {depth}")
    facts, asked = 1 + distractors, 1 + distractors * ask_all
    if (shortest := 2 * facts + asked + (distractors > 0)) > T:
        raise ValueError(f"T must be at least {shortest} for {facts} facts and {asked} questions, got {T}")
    return facts, asked


def _needle_places(
    B: int, L: int, depth: float | None, distractors: int, generator: torch.Generator
) -> Tensor:
    """`[B, 1 + distractors]`: where each fact starts in L words, the needle's first; no two overlap.

    Distractors keep an even distance from the needle, so that facts of two words fill cells of a row's own grid.
    """
    drawn = torch.randint(0, L - 1, (B,), generator=generator)
    needle = drawn if depth is None else torch.full((B,), round(depth * (L - 2)))
    offset, cells = needle % 2, (L - 1) // 2
    score = torch.rand(B, cells + 1, generator=generator)
    score[:, cells] = torch.inf  # there only if the needle is in it
    score[torch.arange(B), needle // 2] = torch.inf
    others = score.argsort(-1)[:, :distractors]
    return torch.cat([needle[:, None], offset[:, None] + 2 * others], dim=1)


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
    "needle": needle,
    "stream": stream,
    "parity": parity,
    "text": text,
}
