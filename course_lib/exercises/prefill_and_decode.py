"""Questions of chapter 04: reading at once, writing one by one, and what is kept between the two.

Generation feeds each output back as the next input, so that no answer can compute all tokens in parallel; the cached
keys are returned as well, because a decoder that turns them at every read gives the same outputs.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from course_lib.attention.rope import rope

from .question import (
    Case,
    ChoiceQuestion,
    CodeQuestion,
    Limit,
    NumberQuestion,
    Option,
    Shapes,
    by_dtype_and_length,
)

# --- 04.2 generation with a cache ---------------------------------------------------------------------


def turn(x: Tensor, first: int) -> Tensor:
    """x `[B, T, K]` turned by rotary positions first, first + 1, …"""
    return rope(x[:, :, None], torch.arange(first, first + x.shape[1])).squeeze(2)


def prompt_and_weights(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """A prompt x `[B, P, K]`, three matrices `[K, K]` and the number of tokens to generate, T − P.

    W_v is orthogonal: outputs are averages of vectors that keep their length, so no generation runs away.
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    x, W_q, W_k = draw(case.B, case.P, case.K), draw(case.K, case.K), draw(case.K, case.K)
    W_v, _ = torch.linalg.qr(draw(case.K, case.K))
    weights = W_q / case.K**0.5, W_k / case.K**0.5, W_v
    return x.to(case.dtype), *(W.to(case.dtype) for W in weights), case.T - case.P


def _attend(q: Tensor, keys: Tensor, values: Tensor, *, scale: float, mask: str = "causal") -> Tensor:
    scores = q @ keys.mT * scale
    if mask != "none":
        earlier = 0 if mask == "corner" else keys.shape[1] - q.shape[1]
        earlier -= mask == "late" and earlier > 0
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(earlier + 1)
        scores = scores.masked_fill(future, -torch.inf)
    return scores.softmax(-1) @ values


def _generate(
    x: Tensor,
    W_q: Tensor,
    W_k: Tensor,
    W_v: Tensor,
    n: int,
    *,
    position: Callable[[int, int], int] = lambda seen, prompt: seen,
    scale_power: float = 0.5,
    mask: str = "causal",
    turn_q: bool = True,
    turn_k: bool = True,
    turn_v: bool = False,
    keep: str = "all",
    feed: Callable[[Tensor, Tensor], Tensor] = lambda inputs, o: o[:, -1:],
) -> tuple[Tensor, Tensor]:
    """The reference, and the slips that change one of its parts.

    `keep`: "all", "turn again", "plain", "drop". `mask`: "causal", "corner" (aligned at the top left), "late" (a
    generated token does not see itself), "none".
    """
    keys = values = x[:, :0]
    outputs, new = [], x
    for _ in range(n + 1):
        seen = sum(o.shape[1] for o in outputs)
        first = position(seen, x.shape[1])
        q, k, v = new @ W_q, new @ W_k, new @ W_v
        if turn_q:
            q = turn(q, first)
        if turn_v:
            v = turn(v, first)
        if keep == "drop" and seen == x.shape[1]:
            keys = values = x[:, :0]
        if keep == "turn again":
            keys = turn(torch.cat([keys, k], 1), 0)
        else:
            keys = torch.cat([keys, turn(k, first) if turn_k and keep != "plain" else k], 1)
        values = torch.cat([values, v], 1)
        read = turn(keys, 0) if keep == "plain" else keys
        o = _attend(q, read, values, scale=x.shape[-1] ** -scale_power, mask=mask)
        outputs.append(o)
        new = feed(new, o)
    return torch.cat(outputs, 1), keys


def generate_reference(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Outputs `[B, P + n, K]` of all tokens and their turned keys `[B, P + n, K]`."""
    return _generate(x, W_q, W_k, W_v, n)


def generate_into_buffers(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Prefill by torch's kernel, then one token at a time, written into buffers of the final size."""
    B, P, K = x.shape
    keys, values, out = (x.new_empty(B, P + n, K) for _ in range(3))
    keys[:, :P], values[:, :P] = turn(x @ W_k, 0), x @ W_v
    sdpa = torch.nn.functional.scaled_dot_product_attention
    out[:, :P] = sdpa(turn(x @ W_q, 0), keys[:, :P], values[:, :P], is_causal=True)
    for t in range(P, P + n):
        token = out[:, t - 1 : t]
        keys[:, t : t + 1], values[:, t : t + 1] = turn(token @ W_k, t), token @ W_v
        weights = torch.einsum("bk,btk->bt", turn(token @ W_q, t)[:, 0], keys[:, : t + 1]) * K**-0.5
        out[:, t] = torch.einsum("bt,btk->bk", weights.softmax(-1), values[:, : t + 1])
    return out, keys


def one_position_behind(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, position=lambda seen, prompt: max(seen - 1, 0))


def one_position_ahead(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, position=lambda seen, prompt: seen + (seen > 0))


def positions_restart(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, position=lambda seen, prompt: max(seen - prompt, 0))


def always_at_0(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, position=lambda seen, prompt: 0)


def scaled_twice(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, scale_power=1.0)


def not_scaled(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, scale_power=0.0)


def prompt_sees_the_future(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, mask="none")


def mask_from_the_corner(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, mask="corner")


def attends_before_it_appends(
    x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, mask="late")


def queries_not_turned(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, turn_q=False)


def nothing_turned(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, turn_q=False, turn_k=False)


def values_turned(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, turn_v=True)


def whole_cache_turned_again(
    x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, keep="turn again")


def plain_keys_cached(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, keep="plain")


def prompt_forgotten(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The cache starts empty after the prompt; returned beside the prompt's keys, so only values are wrong."""
    outputs, keys = _generate(x, W_q, W_k, W_v, n, keep="drop")
    if n:
        keys = torch.cat([turn(x @ W_k, 0), keys], 1)
    return outputs, keys


def first_output_fed_back(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, feed=lambda inputs, o: o[:, :1])


def input_repeated(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    return _generate(x, W_q, W_k, W_v, n, feed=lambda inputs, o: inputs[:, -1:])


def everything_again(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Right, but every token computes the attention of all tokens before it anew."""
    for _ in range(n + 1):
        keys = turn(x @ W_k, 0)
        o = _attend(turn(x @ W_q, 0), keys, x @ W_v, scale=x.shape[-1] ** -0.5)
        x = torch.cat([x, o[:, -1:]], 1)
    return o, keys


# --- 04.3 cache size and batch ------------------------------------------------------------------------


def model_sizes(case: Case, rng: torch.Generator) -> tuple[int, ...]:
    """Layers, query heads, key–value heads, head size, bytes a number, bytes of the weights, context, memory."""
    return case.L, case.H, case.kv_heads, case.K, case.itemsize, case.weights, case.T, case.memory


def budget_reference(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    """Bytes that a cached token adds, and how many sequences of T tokens fit beside the weights."""
    per_token = L * H_kv * 2 * D * itemsize
    return per_token, max(0, (memory - weights) // (per_token * T))


def budget_by_counting(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    per_token = sum(itemsize * (D + D) for _ in range(L) for _ in range(H_kv))
    free, batch = memory - weights, 0
    while free >= per_token * T:
        free -= per_token * T
        batch += 1
    return per_token, batch


def keys_only(L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int) -> tuple:
    per_token = L * H_kv * D * itemsize
    return per_token, max(0, (memory - weights) // (per_token * T))


def query_heads_cached(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    return budget_reference(L, H, H, D, itemsize, weights, T, memory)


def layers_forgotten(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    return budget_reference(1, H, H_kv, D, itemsize, weights, T, memory)


def one_head(L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int) -> tuple:
    return budget_reference(L, H, 1, D, itemsize, weights, T, memory)


def group_size_counted(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    return budget_reference(L, H, H // H_kv, D, itemsize, weights, T, memory)


def in_bits(L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int) -> tuple:
    return budget_reference(L, H, H_kv, D, 8 * itemsize, weights, T, memory)


def numbers_not_bytes(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    return budget_reference(L, H, H_kv, D, 1, weights, T, memory)


def weights_ignored(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    return budget_reference(L, H, H_kv, D, itemsize, 0, T, memory)


def weights_for_each(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    per_token, _ = budget_reference(L, H, H_kv, D, itemsize, weights, T, memory)
    return per_token, memory // (weights + per_token * T)


def part_of_a_sequence(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    per_token, _ = budget_reference(L, H, H_kv, D, itemsize, weights, T, memory)
    return per_token, max(0.0, (memory - weights) / (per_token * T))


def rounded_up(L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int) -> tuple:
    per_token, batch = budget_reference(L, H, H_kv, D, itemsize, weights, T, memory)
    return per_token, batch + 1


def below_zero(L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int) -> tuple:
    per_token, _ = budget_reference(L, H, H_kv, D, itemsize, weights, T, memory)
    return per_token, (memory - weights) // (per_token * T)


def below_zero_cut(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    per_token, _ = budget_reference(L, H, H_kv, D, itemsize, weights, T, memory)
    return per_token, int((memory - weights) / (per_token * T))


def bytes_of_a_sequence(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    per_token, batch = budget_reference(L, H, H_kv, D, itemsize, weights, T, memory)
    return per_token * T, batch


def tokens_not_sequences(
    L: int, H: int, H_kv: int, D: int, itemsize: int, weights: int, T: int, memory: int
) -> tuple:
    return budget_reference(L, H, H_kv, D, itemsize, weights, 1, memory)


def _model(
    name: str, L: int, H: int, kv_heads: int, K: int, itemsize: int, weights: float, T: int, memory: float
) -> Case:
    extras = {
        "L": L,
        "kv_heads": kv_heads,
        "itemsize": itemsize,
        "weights": int(weights),
        "memory": int(memory),
    }
    return Case(name, T=T, H=H, K=K, **extras)


# --- the declarations ---------------------------------------------------------------------------------

GROWTH = ChoiceQuestion(
    id="04.1",
    objective="generation-cost",
    title="Does the cache make generation linear?",
    points=2,
    minutes=4,
    difficulty=2,
    question='"With a key–value cache, the attention of a whole generation of T tokens is linear in T." Choose the '
    "verdict together with the reason that decides it.",
    options={
        "A": Option(
            "True: every token passes through the model once, and none is computed again.",
            why="that holds for projections and MLPs, which do become linear in T. In attention a token that is "
            "computed once still reads every token before it.",
        ),
        "B": Option(
            "True: keys that are in the cache were already compared, so a new token only has to meet the last one.",
            why="the cache holds keys and values, not scores. A new query was never compared with anything, and it "
            "meets all cached keys.",
        ),
        "C": Option(
            "False: the new query at step t meets t keys, so twice the tokens cost about four times the scores.",
            why="the steps add up to about T²/2 scores. The cache takes one factor of T from the T³, and "
            "two are left.",
        ),
        "D": Option(
            "False: the cache changes no growth; it saves a constant part of the T³ scores.",
            why="look at the ratio of the two counts: it is (T + 2)/3 and grows with T. A saving that grows is no "
            "constant part.",
        ),
        "E": Option(
            "False: the cache is copied at every step, and those copies cost T³.",
            why="copying a cache that grows to T tokens at every step costs T² at worst, and buffers with room to "
            "spare avoid it. The scores decide, not the copies.",
        ),
    },
    answer="C",
)

KEEP = "what earlier tokens gave never changes: keep their keys and values, and compute the new token only."

GENERATE = CodeQuestion(
    id="04.2",
    objective="cached-decode",
    title="Generate with a cache and positions",
    points=4,
    minutes=15,
    difficulty=3,
    inputs=prompt_and_weights,
    reference=generate_reference,
    visible=[
        Case("prompt of 3, then 2", B=1, T=5, P=3, K=4),
        Case("batch of 2, prompt of 4, then 7", B=2, T=11, P=4, K=6),
        Case("a prompt of one token", B=2, T=5, P=1, K=2),
        Case("prompt only", B=1, T=4, P=4, K=4),
        Limit(
            "400 tokens, 16 sequences",
            B=16,
            T=400,
            P=16,
            K=32,
            V=32,
            dtype=torch.float64,
            cpu_seconds=14,
            gigabytes=0.016,
            hint=KEEP,
        ),
    ],
    hidden=[
        Shapes(6, T=(9, 24), P=(1, 8), K=[2, 4, 8, 16]),
        # Measured from outside the process too, where the right answers' growing caches leave holes of up to 0.2 GB.
        Limit(
            "600 tokens, 128 sequences",
            B=128,
            T=600,
            P=16,
            K=2,
            V=2,
            dtype=torch.float64,
            cpu_seconds=12,
            gigabytes=0.5,
            hint=KEEP,
        ),
    ],
    tolerance=lambda case: (
        100 * by_dtype_and_length(case)
    ),  # each step's error goes into the next step's input
    wrong={
        one_position_behind: "the first generated token is turned as if it stood where the prompt's last one does.",
        one_position_ahead: "the first generated token is turned one position too far: a place in the text is skipped.",
        positions_restart: "after the prompt your positions start again from 0.",
        always_at_0: "every generated token is turned by position 0.",
        scaled_twice: "the scores are too small: 1/√K is applied twice.",
        not_scaled: "the scores are too large: the factor 1/√K is missing.",
        prompt_sees_the_future: "inside the prompt, tokens see later ones: reading at once still needs a mask.",
        mask_from_the_corner: "a generated token sees the first key only: your mask takes the new query for the first "
        "of the text.",
        attends_before_it_appends: "a generated token does not see itself: its key joins the cache after the read.",
        queries_not_turned: "keys are turned and queries are not: a score then knows a place, not a distance.",
        nothing_turned: "neither queries nor keys are turned: that cache is a bag.",
        values_turned: "the values are turned too: positions belong into the scores.",
        whole_cache_turned_again: "cached keys are turned again at every step: a key that is turned twice stands at "
        "the wrong place.",
        plain_keys_cached: "the outputs are right, but the keys you return are not turned: you turn the whole cache "
        "at every step.",
        prompt_forgotten: "generated tokens do not see the prompt: the cache is empty when the first of them comes.",
        first_output_fed_back: "after the prompt you feed back the output of its *first* token.",
        input_repeated: "the next input is the last *output*, not the last input again.",
    },
    accepted=[generate_into_buffers],
    too_big=[everything_again],
    outputs=("outputs [B, T, K]", "keys [B, T, K]"),
)

BUDGET = CodeQuestion(
    id="04.3",
    objective="cache-size",
    title="Bytes per token, and the largest batch",
    points=3,
    minutes=8,
    difficulty=2,
    inputs=model_sizes,
    reference=budget_reference,
    visible=[
        _model("small, every head cached", 4, 6, 6, 32, 4, 20e6, 1000, 60e6),
        _model("grouped queries, 16 bits", 32, 32, 8, 128, 2, 16e9, 8192, 80e9),
        _model("weights too large", 48, 64, 8, 128, 2, 65e9, 4096, 48e9),
    ],
    hidden=[
        _model("hidden 1", 80, 64, 8, 128, 1, 70e9, 32_768, 160e9),
        _model("hidden 2", 2, 9, 3, 40, 4, 3e6, 777, 20e6),
        _model("hidden 3", 12, 12, 1, 64, 2, 2.5e8, 1024, 2.6e8),
        _model("hidden 4", 16, 8, 4, 32, 2, 3e9, 512, 2.9e9),
    ],
    wrong={
        keys_only: "half of a cached token is missing: there is a value beside each key.",
        query_heads_cached: "you count a key for every query head: grouped query heads share theirs.",
        layers_forgotten: "that is the cache of one layer.",
        one_head: "that is the cache of one head.",
        group_size_counted: "you count the query heads that share a key, not the heads that have one of their own.",
        in_bits: "that is in bits: itemsize is a number of bytes already.",
        numbers_not_bytes: "you count numbers: `itemsize` is not used.",
        weights_ignored: "the weights take memory too: the caches get only what is left.",
        weights_for_each: "you load the weights once for every sequence: a batch shares them.",
        part_of_a_sequence: "your batch is not a whole number: a part of a sequence cannot be served.",
        rounded_up: "your batch does not fit: the last sequence is one too many.",
        below_zero: "a batch below 0: what if the weights alone do not fit?",
        below_zero_cut: "your batch falls below 0 where the weights alone are larger than the device.",
        bytes_of_a_sequence: "your first number is what a whole sequence takes.",
        tokens_not_sequences: "that many *tokens* fit: a sequence holds `context` of them.",
    },
    accepted=[budget_by_counting],
    outputs=("bytes per token", "batch"),
)

PARAMETERS, CONTEXT, LAYERS, HEADS, KV_HEADS, D = 8e9, 8192, 32, 32, 8, 128
CACHED = CONTEXT * LAYERS * KV_HEADS * 2 * D * 2  # bytes of one sequence
ATTENTION = CONTEXT * LAYERS * HEADS * 2 * (D + D)  # FLOPs of one token over them


INTENSITY = NumberQuestion(
    id="04.4",
    objective="decode-intensity",
    title="The most that batching can do",
    points=2,
    minutes=8,
    difficulty=3,
    question="A model with 8 billion weights, 32 layers, 32 query heads and 8 key–value heads of size 128 decodes in "
    "16 bits; every sequence has 8,192 tokens of context. Each step reads all weights once for the batch, and every "
    "sequence's own cache; a weight costs 2 FLOPs for each sequence, a cached number what section 5 counts. Which "
    "arithmetic intensity does a decoding step approach as the batch grows without end?",
    answer=lambda: (2 * PARAMETERS + ATTENTION) / CACHED,
    unit="FLOP per byte",
    rtol=0.01,
    wrong={
        lambda: (
            (2 * PARAMETERS + ATTENTION) / (2 * PARAMETERS + CACHED)
        ): "that is a batch of one: what happens to the "
        "bytes of the weights, for each sequence, as the batch grows?",
        lambda: 2 * PARAMETERS / CACHED: "the FLOPs of attention itself are missing.",
        lambda: (
            ATTENTION / CACHED
        ): "that is attention alone: every sequence also passes through all weights.",
        lambda: (
            (2 * PARAMETERS + 4 * ATTENTION) / (4 * CACHED)
        ): "that is for the longer context of the table above.",
        lambda: (PARAMETERS + ATTENTION / 2) / CACHED: "a multiply-add is two FLOPs.",
        lambda: (
            (2 * PARAMETERS + ATTENTION / 2) / CACHED
        ): "half of attention's FLOPs are missing: both numbers of a key–value pair meet every query head.",
        lambda: (
            (2 * PARAMETERS + ATTENTION / 4) / CACHED
        ): "you count FLOPs for the key–value heads: every query head computes scores of its own.",
        lambda: (2 * PARAMETERS + ATTENTION) / (4 * CACHED): "your cache has a key for every query head.",
        lambda: (
            (2 * PARAMETERS + ATTENTION) / (CACHED / 2)
        ): "your cache is too small by a factor of two: keys and values, two bytes each.",
    },
)

GAP = ChoiceQuestion(
    id="04.5",
    objective="decode-intensity",
    title="Explain the gap",
    points=1,
    minutes=5,
    difficulty=2,
    question="On some machine a copy moves 30 GB/s. One decoding step of softmax attention over a cache of T tokens is "
    "predicted from its bytes at that rate, and then measured again and again: T = 64: predicted 9 µs, measured 40 µs. "
    "T = 1,024: 140 µs, 130 µs. T = 65,536: 9.0 ms, 15 ms. Which explanation fits all three rows?",
    options={
        "A": Option(
            "A fixed start rules the first row, the bytes rule the second, and quadratic attention slows the third.",
            why="one query has T scores, so a step is linear in T. From the second row to the third T grows 64 times "
            "and the time 115 times; quadratic would be 4,096 times.",
        ),
        "B": Option(
            "A fixed time to start operations is missing from the prediction, the same for every row.",
            why="the first row asks for about 31 µs more. The second is faster than predicted already, and 6 ms are "
            "missing in the third: no one time added to all rows does that.",
        ),
        "C": Option(
            "The measured bandwidth is wrong by one factor, which a more careful calibration would remove.",
            why="one factor moves all predictions alike, and the rows are off by 4.4, 0.9 and 1.7.",
        ),
        "D": Option(
            "A fixed start rules the first row, near memory helps the second, work beside the reads slows the third.",
            why="each cause has its place: a fixed cost is lost among many bytes, what was read a moment ago still "
            "lies in a fast processor cache, and products and exponentials between the reads keep a step below the "
            "rate of a plain copy.",
        ),
        "E": Option(
            "The cache is copied at every step to make room for the new token, and the prediction leaves that out.",
            why="a copy reads and writes everything once more, so every row would take about three times its "
            "prediction. The second takes less than its prediction.",
        ),
    },
    answer="D",
)


QUESTIONS = [GROWTH, GENERATE, BUDGET, INTENSITY, GAP]
