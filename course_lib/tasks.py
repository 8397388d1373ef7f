"""Small memory tasks that need no training.

One sentence comes back through the course. Each of its words is a key, and the word that follows is its value:
`(the, safe) (safe, opens) (opens, with) (with, seven) …`. A fixed-size memory holds the sum of the outer
products k vᵀ; reading it with the key of "with" should return the value "seven". Derived in chapter 08.
"""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

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
