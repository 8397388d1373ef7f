"""What a memory is asked: a sentence, one matrix without training, and sequences to train on.

One sentence comes back through the course. Each of its words is a key, and the word that follows is its value:
`(the, safe) (safe, opens) (opens, with) (with, seven) …`. A fixed-size memory holds the sum of the outer
products k vᵀ; reading it with the key of "with" should return the value "seven". Derived in chapter 08.

`recall_by_age` fills such a matrix with random pairs and asks for all of them. The tasks (`TASKS`) draw token
sequences with labels; `course_lib.training.train` takes them by name.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import delta_rule, gated_delta_rule, linear_attention, simple_gla
from course_lib.attention.checks import check_count, choose

SENTENCE = "the safe opens with seven but the door is green and the cat is asleep now"
NEEDLE = SENTENCE.split()


def word_vectors(words: list[str], K: int = 16, seed: int = 0) -> dict[str, Tensor]:
    """One random unit vector `[K]` (float64) for each distinct word, the same at every call.

    Shapes: K numbers a word. Random directions are only nearly orthogonal, and at most K of them can be
    exactly so. Derived in chapter 08.
    """
    generator = torch.Generator().manual_seed(seed)
    distinct = list(dict.fromkeys(words))
    vectors = torch.randn(len(distinct), K, generator=generator, dtype=torch.float64)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    return dict(zip(distinct, vectors, strict=True))


def nearest_word(value: Tensor, vectors: dict[str, Tensor]) -> str:
    """The word whose vector `[V]` has the largest inner product with `value` `[V]`. Used in chapter 08."""
    return max(vectors, key=lambda word: float(vectors[word] @ value))


def legal_words(n: int) -> list[str]:
    """The first n words of the licence texts that the installed Python packages bring: real legal prose.

    Its words differ from machine to machine, so no output that is compared may show them.
    ValueError when fewer than n words are installed. Used in chapter 01.
    """
    words: list[str] = []
    for text in _licence_texts():
        words += text.split()
        if len(words) >= n:
            return words[:n]
    raise ValueError(
        f"n is {n:,}, but the licence texts installed here have {len(words):,} words: ask for fewer"
    )


def _licence_texts() -> Iterator[str]:
    for distribution in sorted(metadata.distributions(), key=lambda d: d.name or ""):
        for file in distribution.files or []:
            if file.name.upper().startswith(("LICEN", "COPYING")) and file.suffix in ("", ".txt", ".md"):
                path = Path(str(file.locate()))
                if path.is_file():
                    yield path.read_text(encoding="utf-8", errors="replace")


# --- one matrix as a memory, without training ---------------------------------------------------------


def _orthogonal(trials: int, n: int, K: int, generator: torch.Generator) -> Tensor:
    if n > K:
        raise ValueError(
            f"n must be at most K = {K} for orthogonal keys, got {n}: no more directions are free"
        )
    basis, _ = torch.linalg.qr(_normal(trials, K, K, generator=generator))
    return basis[:, :n]


def _unit(trials: int, n: int, K: int, generator: torch.Generator) -> Tensor:
    return F.normalize(_normal(trials, n, K, generator=generator), dim=-1)


def _positive(trials: int, n: int, K: int, generator: torch.Generator) -> Tensor:
    return F.normalize(F.elu(_normal(trials, n, K, generator=generator)) + 1, dim=-1)


def _clustered(trials: int, n: int, K: int, generator: torch.Generator) -> Tensor:
    """Each key leans towards one of four directions."""
    centres = _unit(trials, 4, K, generator)
    return F.normalize(centres[:, torch.arange(n) % 4] + _unit(trials, n, K, generator), dim=-1)


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


KEY_FAMILIES: dict[str, Callable[[int, int, int, torch.Generator], Tensor]] = {
    "orthogonal": _orthogonal,
    "unit": _unit,
    "positive": _positive,
    "clustered": _clustered,
}
DECAY = 0.9  # kept of every entry, per pair written, by the rules that decay


def _decays(k: Tensor) -> Tensor:
    return torch.full_like(k[..., 0], math.log(DECAY))


# (k, v) `[B, T, H, ·]` -> the state S `[B, H, K, V]` after T pairs.
RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda k, v: _last_state(linear_attention, k, v, feature_map="identity", normalize=False),
    "decay": lambda k, v: _last_state(simple_gla, k, v, g=_decays(k)),
    "delta": lambda k, v: _last_state(delta_rule, k, v, beta=torch.ones_like(k[..., 0])),
    "gated delta": lambda k, v: _last_state(
        gated_delta_rule, k, v, g=_decays(k), beta=torch.ones_like(k[..., 0])
    ),
}


def _last_state(mixer: Callable, k: Tensor, v: Tensor, **given: object) -> Tensor:
    _, state = mixer(k, k, v, output_final_state=True, **given)
    return state


def recall_by_age(
    rule: str,
    n: int,
    *,
    K: int = 16,
    V: int = 16,
    keys: str = "unit",
    rebound: bool = False,
    trials: int = 400,
    seed: int = 0,
) -> Tensor:
    """Share of `trials` memories that return the right value of each pair: `[n]`, the oldest pair first.

    Every trial writes n pairs of a key `[K]` and a random unit value `[V]` into an empty state `[K, V]`, then reads
    it with every key; the answer is the value, of all that were written, nearest to what comes back (largest inner
    product). rule: "add" (S + k vᵀ), "decay" (0.9 S + k vᵀ), "delta" (S + k (v − Sᵀk)ᵀ) or "gated delta" (both).
    keys: "orthogonal", "unit" (random directions), "positive" (elu + 1 of random numbers) or "clustered" (around four
    directions), all of length 1. rebound: bind every key twice, to a value that is out of date afterwards and then,
    in the same order, to the one that counts.

    The same numbers for the same seed. Raises ValueError for a rule, a family or a count that does not exist, and for
    more orthogonal keys than K. Used in chapters 11 and 14; the delta rule: arXiv 2102.11174.
    """
    write, draw = choose("rule", rule, RULES), choose("keys", keys, KEY_FAMILIES)
    _check_counts(n=n, K=K, V=V, trials=trials)
    generator = torch.Generator().manual_seed(seed)
    k = draw(trials, n, K, generator)
    v = _unit(trials, 2 * n if rebound else n, V, generator)
    written = torch.cat([k, k], dim=1) if rebound else k
    S = write(written[:, :, None], v[:, :, None])[:, 0]  # [trials, K, V]
    answers = (k @ S @ v.mT).argmax(-1)  # [trials, n]: which value is nearest
    right = torch.arange(n) + (n if rebound else 0)
    return (answers == right).double().mean(0)


# --- sequences to train on ----------------------------------------------------------------------------


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
    _check_counts(B=B, T=T, pairs=pairs, vocab=vocab)
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


def _check_counts(**counts: int) -> None:
    for argument, n in counts.items():
        check_count(argument, n)


def _shuffled(B: int, n: int, generator: torch.Generator) -> Tensor:
    """`[B, n]`: the numbers 0 … n − 1 of each row in an order of its own."""
    return torch.rand(B, n, generator=generator).argsort(-1)


def induction(B: int, T: int = 64, *, vocab: int = 64, seed: int = 0) -> Batch:
    """Induction: random tokens, and at the end the marker that stood once among them: what came after it?

        inputs   a  b  !  c  d  e  f  !        ! is token 0
        labels   ·  ·  ·  ·  ·  ·  ·  c

    Shapes: inputs and labels `[B, T]`. Raises ValueError for T < 3 or vocab < 2. Chapter 14; arXiv 2209.11895.
    """
    _check_counts(B=B, T=T, vocab=vocab)
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
    _check_counts(B=B, T=T, copies=copies, vocab=vocab)
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
    _check_counts(B=B, T=T)
    inputs = torch.randint(0, 2, (B, T), generator=torch.Generator().manual_seed(seed))
    return Batch(inputs, inputs.cumsum(1) % 2)


def text(B: int, T: int = 128, *, split: str = "train", seed: int = 0) -> Batch:
    """Bytes of the licence texts that are installed here: `B` stretches of T, each labelled with its next byte.

    inputs and labels `[B, T]`, 0 … 255. split: "train" is the first nine tenths of the text, "test" the rest. Content
    differs from machine to machine. Raises ValueError for another split, or a text of fewer than T + 1 bytes.
    Chapters 14 and 21.
    """
    _check_counts(B=B, T=T)
    data = text_bytes()
    cut = len(data) * 9 // 10
    part = choose("split", split, {"train": data[:cut], "test": data[cut:]})
    if len(part) <= T:
        raise ValueError(f"T must be below the {len(part):,} bytes of text installed here, got {T:,}")
    starts = torch.randint(0, len(part) - T, (B,), generator=torch.Generator().manual_seed(seed))
    pieces = torch.stack([part[start : start + T + 1] for start in starts.tolist()]).long()
    return Batch(pieces[:, :-1], pieces[:, 1:])


@cache
def text_bytes() -> Tensor:
    """All licence texts installed here, one after the other, each distinct one once: uint8 `[bytes]`."""
    distinct = dict.fromkeys(_licence_texts())
    return torch.frombuffer(bytearray("\n".join(distinct).encode()), dtype=torch.uint8)


TASKS: dict[str, Callable[..., Batch]] = {
    "mqar": mqar,
    "rebinding": rebinding,
    "induction": induction,
    "selective_copy": selective_copy,
    "parity": parity,
    "text": text,
}
