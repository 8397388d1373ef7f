"""Questions of chapter 01: where T² appears, in time and in memory, and what avoiding it gives up."""

from collections.abc import Callable
from math import isqrt

import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Option, Shapes

# --- 01.1 causal attention, queries last --------------------------------------------------------------


def last_queries(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """q `[B, T_q, H, K]` belongs to the last T_q of the T_k tokens in k `[B, T_k, H, K]` and v `[B, T_k, H, V]`."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    B, T_q, T_k, H = case.B, case.T, case.T + case.past, case.H
    return draw(B, T_q, H, case.K), draw(B, T_k, H, case.K), draw(B, T_k, H, case.V)


def _future(scores: Tensor) -> Tensor:
    T_q, T_k = scores.shape[-2:]
    return torch.ones(T_q, T_k, dtype=torch.bool).triu(T_k - T_q + 1)


def _attention(q: Tensor, k: Tensor, v: Tensor, weigh: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.einsum("bhts,bshv->bthv", weigh(torch.einsum("bthk,bshk->bhts", q, k)), v)


def attention_reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √K) v; query i of T_q may see the keys up to i + T_k − T_q."""

    def weigh(scores: Tensor) -> Tensor:
        return (scores * q.shape[-1] ** -0.5).masked_fill(_future(scores), float("-inf")).softmax(-1)

    return _attention(q, k, v, weigh)


def attention_by_positions(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same with heads first and the mask from explicit positions."""
    T_q, T_k = q.shape[1], k.shape[1]
    positions = torch.arange(T_k - T_q, T_k)
    visible = torch.arange(T_k)[None, :] <= positions[:, None]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    scores = torch.where(visible, q @ k.mT / q.shape[-1] ** 0.5, -torch.inf)
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return (weights @ v / weights.sum(-1, keepdim=True)).transpose(1, 2)


def mask_top_left(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def weigh(scores: Tensor) -> Tensor:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        return (scores * q.shape[-1] ** -0.5).masked_fill(future, float("-inf")).softmax(-1)

    return _attention(q, k, v, weigh)


def masked_after_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attention(q, k, v, lambda s: (s * q.shape[-1] ** -0.5).softmax(-1).masked_fill(_future(s), 0))


def masked_with_zero(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attention(q, k, v, lambda s: (s * q.shape[-1] ** -0.5).masked_fill(_future(s), 0).softmax(-1))


def not_masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return _attention(q, k, v, lambda s: (s * q.shape[-1] ** -0.5).softmax(-1))


def not_scaled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_reference(q * q.shape[-1] ** 0.5, k, v)


def scaled_by_K(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_reference(q * q.shape[-1] ** -0.5, k, v)


def own_token_masked(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def weigh(scores: Tensor) -> Tensor:
        T_q, T_k = scores.shape[-2:]
        hidden = torch.ones(T_q, T_k, dtype=torch.bool).triu(T_k - T_q)
        return (scores * q.shape[-1] ** -0.5).masked_fill(hidden, float("-inf")).softmax(-1)

    return _attention(q, k, v, weigh)


def last_keys_only(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    T_q = q.shape[1]
    return attention_reference(q, k[:, -T_q:], v[:, -T_q:])


def softmax_over_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def weigh(scores: Tensor) -> Tensor:
        scaled = (scores * q.shape[-1] ** -0.5).masked_fill(_future(scores), float("-inf"))
        return scaled.softmax(-2)

    return _attention(q, k, v, weigh)


# --- 01.2 FLOPs of a layer ----------------------------------------------------------------------------


def layer_sizes(case: Case, rng: torch.Generator) -> tuple[int, ...]:
    """T, d, heads, kv_heads, mlp_ratio."""
    return case.T, case.d, case.H, case.kv_heads, case.mlp_ratio


def _layer(linear: float, attention: float, T: int) -> tuple[float, float]:
    """FLOPs `linear`·T + `attention`·T², and the T at which both parts are equal."""
    return linear * T + attention * T * T, linear / attention


def layer_reference(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    """q and o: 4d² a token; k and v: 4d²·H_kv/H; MLP: 4·ratio·d²; causal attention: 2Td."""
    return _layer(4 * d * d * (1 + kv_heads / heads + mlp_ratio), 2 * d, T)


def layer_piece_by_piece(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    """The same, one matrix product at a time, with the head size written out."""
    D = d // heads
    products = [(d, d), (d, kv_heads * D), (d, kv_heads * D), (d, d), (d, mlp_ratio * d), (mlp_ratio * d, d)]
    per_token = sum(2 * rows * columns for rows, columns in products)
    return T * per_token + heads * 2 * (2 * T * T * D) // 2, per_token / (2 * heads * D)


def multiply_adds(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    flops, T_star = layer_reference(T, d, heads, kv_heads, mlp_ratio)
    return flops / 2, T_star


def mlp_forgotten(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    return layer_reference(T, d, heads, kv_heads, 0)


def heads_twice(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    return _layer(4 * d * d * (1 + kv_heads / heads + mlp_ratio), 2 * d * heads, T)


def mask_not_skipped(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    return _layer(4 * d * d * (1 + kv_heads / heads + mlp_ratio), 4 * d, T)


def flops_per_token(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    flops, T_star = layer_reference(T, d, heads, kv_heads, mlp_ratio)
    return flops / T, T_star


def mlp_always_four_times(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    return layer_reference(T, d, heads, kv_heads, 4)


def full_kv_heads(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    return layer_reference(T, d, heads, heads, mlp_ratio)


def one_mlp_product(T: int, d: int, heads: int, kv_heads: int, mlp_ratio: int) -> tuple[float, float]:
    return _layer(4 * d * d * (1 + kv_heads / heads) + 2 * mlp_ratio * d * d, 2 * d, T)


def _layer_case(name: str, T: int, d: int, H: int, kv_heads: int, mlp_ratio: int) -> Case:
    return Case(name, T=T, d=d, H=H, kv_heads=kv_heads, mlp_ratio=mlp_ratio)


# --- 01.3 peak memory ---------------------------------------------------------------------------------


def memory_sizes(case: Case, rng: torch.Generator) -> tuple[int, ...]:
    """B, T, H, itemsize, budget in bytes."""
    return case.B, case.T, case.H, case.itemsize, case.budget


def memory_reference(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    """(peak bytes of the T×T matrices at T, longest T whose peak fits the budget)."""
    per_pair = 2 * B * H * itemsize
    return per_pair * T * T, isqrt(budget // per_pair)


def memory_by_search(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    """The same, finding the longest T by bisection."""
    low, high = 0, budget
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if 2 * B * H * middle**2 * itemsize <= budget else (low, middle - 1)
    return 2 * B * H * T**2 * itemsize, low


def one_matrix_live(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    return B * H * T * T * itemsize, isqrt(budget // (B * H * itemsize))


def heads_forgotten(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    return memory_reference(B, T, 1, itemsize, budget)


def always_four_bytes(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    return memory_reference(B, T, H, 4, budget)


def batch_forgotten(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    return memory_reference(1, T, H, itemsize, budget)


def length_not_whole(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, float]:
    return memory_reference(B, T, H, itemsize, budget)[0], (budget / (2 * B * H * itemsize)) ** 0.5


def length_rounded_up(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    peak, longest = memory_reference(B, T, H, itemsize, budget)
    return peak, longest + 1


def budget_divided_once(B: int, T: int, H: int, itemsize: int, budget: int) -> tuple[int, int]:
    return memory_reference(B, T, H, itemsize, budget)[0], budget // (2 * B * H * itemsize)


def _memory_case(name: str, B: int, T: int, H: int, itemsize: int, budget: int) -> Case:
    return Case(name, B=B, T=T, H=H, itemsize=itemsize, budget=budget)


# --- the declarations ---------------------------------------------------------------------------------

ATTENTION = CodeQuestion(
    id="01.1",
    objective="causal-attention",
    title="Causal attention when the queries come last",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=last_queries,
    reference=attention_reference,
    visible=[
        Case("as many queries as keys", B=1, T=4, H=1, K=2, V=3, past=0),
        Case("three queries, eight keys", B=2, T=3, H=2, K=4, V=5, past=5),
        Case("one query", B=2, T=1, H=2, K=4, V=3, past=6),
    ],
    hidden=[Shapes(6, past=(0, 9))],
    wrong={
        mask_top_left: "your mask starts at the top left corner: query 0 sees only key 0. The queries are the "
        "*last* of the keys, so query 0 already has T_k - T_q keys behind it.",
        masked_after_softmax: "the rows no longer sum to one: the mask comes after the softmax, which has "
        "already shared weight with the future.",
        masked_with_zero: "masked scores are 0, and e⁰ = 1: they still receive weight. Which score has "
        "weight zero after the exponential?",
        not_masked: "every query sees all keys, also the later ones.",
        not_scaled: "the scores are not divided by √K.",
        scaled_by_K: "the scores are divided by K instead of √K.",
        own_token_masked: "each query must see its own token too: mask only what comes *after* it.",
        last_keys_only: "only the last T_q keys are used: the queries also see all that came before them.",
        softmax_over_queries: "the softmax runs over the queries: each *query* shares its weight over the keys.",
    },
    accepted=[attention_by_positions],
)

LAYER = CodeQuestion(
    id="01.2",
    objective="count-cost",
    title="FLOPs of a layer, and where attention overtakes",
    points=2,
    minutes=10,
    difficulty=2,
    inputs=layer_sizes,
    reference=layer_reference,
    visible=[
        _layer_case("as above", 1_000, 768, 12, 12, 4),
        _layer_case("grouped queries", 10_000, 4_096, 32, 8, 4),
        _layer_case("narrow MLP", 300, 64, 8, 2, 2),
    ],
    hidden=[_layer_case("one key-value head", 2_048, 1_024, 16, 1, 3)],
    wrong={
        multiply_adds: "the FLOPs are half of what is expected: a multiply-add is two operations.",
        mlp_forgotten: "attention's own products are there, the MLP's two products are not.",
        heads_twice: "the heads are counted twice: H heads of size d/H make d together.",
        mask_not_skipped: "that is attention without a mask: causal attention skips half of the pairs.",
        full_kv_heads: "keys and values are projected for kv_heads heads only, not for all of them.",
        flops_per_token: "those are the FLOPs of one token: the layer works on T of them.",
        mlp_always_four_times: "the inside of the MLP is mlp_ratio times as wide as d, not always four times.",
        one_mlp_product: "the MLP has two products: up to mlp_ratio·d, and back down to d.",
    },
    accepted=[layer_piece_by_piece],
)

MEMORY = CodeQuestion(
    id="01.3",
    objective="count-memory",
    title="Peak memory, and the longest text that fits",
    points=2,
    minutes=8,
    difficulty=1,
    inputs=memory_sizes,
    reference=memory_reference,
    visible=[
        _memory_case("one head", 1, 10_000, 1, 4, 8_000_000_000),
        _memory_case("a batch in half precision", 4, 2_048, 12, 2, 24_000_000_000),
        _memory_case("double precision", 2, 500, 3, 8, 1_000_000_000),
    ],
    hidden=[_memory_case("many heads", 3, 4_096, 32, 2, 80_000_000_000)],
    wrong={
        one_matrix_live: "that is one full table, or two masked halves. While the softmax runs, its input *and* its "
        "output exist, and the masked half is stored all the same.",
        heads_forgotten: "every head has its own T×T matrix.",
        batch_forgotten: "every sequence of the batch has its own T×T matrices.",
        always_four_bytes: "the numbers are not always four bytes wide: use itemsize.",
        length_not_whole: "the peak is right. A length is a whole number, and its tables must still fit.",
        length_rounded_up: "the peak is right, but the tables of your length are just too large for the budget.",
        budget_divided_once: "the peak is right. The longest text must satisfy a condition on T², not on T.",
    },
    accepted=[memory_by_search],
)

SUMMARIZER = ChoiceQuestion(
    id="01.4",
    objective="name-problem",
    title="The legal summarizer",
    points=1,
    minutes=4,
    difficulty=1,
    question="A law firm's summarizer worked well on 500-token letters. Given contracts of 10,000 tokens, the "
    "same model becomes too slow and runs out of memory. Which statement names the computational problem, and "
    "why an efficient attention mechanism helps?",
    options={
        "A": Option(
            "The model has too many parameters for long texts; efficient attention has fewer weights.",
            why="the weights are the same for a letter and for a contract. What grew is the number of tokens, "
            "and efficient attention does not change the number of weights noticeably.",
        ),
        "B": Option(
            "The MLP works on every token, so it dominates long texts; efficient attention makes it smaller.",
            why="the MLP's cost does grow with every token, but in proportion: 20 times the tokens, 20 times the "
            "work. That is not the part that explodes.",
        ),
        "C": Option(
            "Attention compares every token with every other: 20 times the tokens are 400 times the pairs. "
            "Efficient attention does not form all pairs.",
            why="the pairs are the problem, in operations and in stored scores, and mechanisms that never form "
            "them grow with T, or nearly so.",
        ),
        "D": Option(
            "The summary is written one token at a time, which is slow; efficient attention writes all its "
            "tokens at once, whatever the length of the text.",
            why="writing token by token is true of short letters too, and efficient attention does not change "
            "it. What changed here is the length of the text that is read.",
        ),
        "E": Option(
            "A contract has rarer words than a letter; efficient attention needs a smaller vocabulary.",
            why="the vocabulary and its cost are the same for both texts; a rare word is only a few more tokens.",
        ),
    },
    answer="C",
)

FORGETTING = ChoiceQuestion(
    id="01.5",
    objective="see-tradeoff",
    title="Fast, linear, forgetful",
    points=1,
    minutes=4,
    difficulty=2,
    question="The firm replaces attention by the six lines of section 7. Contracts are now read in time, but a "
    "clause from the first page can no longer be quoted on the last. What did the six lines give up?",
    options={
        "A": Option(
            "Precision: sums over 10,000 tokens are rounded until nothing is left of the first page.",
            why="rounding is real but small: the six lines fail in the same way at double precision, and with a "
            "few hundred tokens.",
        ),
        "B": Option(
            "The start of the text: like a sliding window, the six lines only see the most recent tokens.",
            why="nothing is ever dropped from the sum: the first token counts as much as the last one.",
        ),
        "C": Option(
            "The future: a causal mask hides the first page from the last.",
            why="the mask hides later tokens from earlier ones. The last page may look back at the first one.",
        ),
        "D": Option(
            "A place for each token: all of them are added into one matrix of fixed size, where they overlap.",
            why="softmax attention keeps every key and value and can pick one. One fixed matrix holds the sum of "
            "all of them.",
        ),
    },
    answer="D",
)

QUESTIONS = [ATTENTION, LAYER, MEMORY, SUMMARIZER, FORGETTING]
