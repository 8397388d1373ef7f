"""One sentence and one matrix as a memory, without training.

Each word of the sentence is a key, and the word that follows is its value: `(the, safe) (safe, opens) (opens, with)
(with, seven) …`. A fixed-size memory holds the sum of the outer products k vᵀ; reading it with the key of "with" should
return the value "seven". `recall_by_age` fills such a matrix with random pairs and asks for all of them. Chapter 08.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import delta_rule, gated_delta_rule, linear_attention, simple_gla
from course_lib.attention.checks import check_counts, choose

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
    check_counts(n=n, K=K, V=V, trials=trials)
    generator = torch.Generator().manual_seed(seed)
    k = draw(trials, n, K, generator)
    v = _unit(trials, 2 * n if rebound else n, V, generator)
    written = torch.cat([k, k], dim=1) if rebound else k
    S = write(written[:, :, None], v[:, :, None])[:, 0]  # [trials, K, V]
    answers = (k @ S @ v.mT).argmax(-1)  # [trials, n]: which value is nearest
    right = torch.arange(n) + (n if rebound else 0)
    return (answers == right).double().mean(0)
