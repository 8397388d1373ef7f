"""Questions of chapter 16: what a fast mixer can gain under 100 tokens, and what stands in its way.

A timing has no key, so the overhead is read from synthetic samples whose line is known. The other code questions
count: FLOPs for the share of a block that a mixer can save, bytes for the length at which a state pays in decode.
"""

import math

import numpy as np
import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Option

# --- 16.1 bound of a block's speed-up -----------------------------------------------------------------


def block_sizes(case: Case, rng: torch.Generator) -> tuple:
    """T, d, mlp_ratio, causal, speedup of the mixer (may be infinite)."""
    return case.T, case.d, case.mlp_ratio, case.causal, case.speedup


def _share(T: int, d: int, mlp_ratio: int, causal: bool) -> float:
    """Attention's part of a block: (2 or 4)T²d over that plus 8Td² + 4·ratio·Td²."""
    attention = (2 if causal else 4) * T * T * d
    return attention / (attention + (8 + 4 * mlp_ratio) * T * d * d)


def block_reference(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    """Old time over new time: 1 / (1 − share + share / speedup), with the share counted in FLOPs."""
    share = _share(T, d, mlp_ratio, causal)
    return 1 / (1 - share + share / speedup)


def block_per_token(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    """The same from the work of one token, every term divided by 2d."""
    mixer = T if causal else 2 * T
    rest = (4 + 2 * mlp_ratio) * d
    return (rest + mixer) / (rest + mixer / speedup)


def mixers_own_speedup(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return speedup


def share_itself(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return _share(T, d, mlp_ratio, causal)


def one_over_share(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return 1 / _share(T, d, mlp_ratio, causal)


def saving_added_to_one(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return 1 + _share(T, d, mlp_ratio, causal) * (1 - 1 / speedup)


def new_over_old(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return 1 / block_reference(T, d, mlp_ratio, causal, speedup)


def mlp_four_times_too_wide(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return block_reference(T, d, 4 * mlp_ratio, causal, speedup)


def always_infinite(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return 1 / (1 - _share(T, d, mlp_ratio, causal))


def always_unmasked(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return block_reference(T, d, mlp_ratio, False, speedup)


def always_causal(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return block_reference(T, d, mlp_ratio, True, speedup)


def mlp_always_four_times(T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> float:
    return block_reference(T, d, 4, causal, speedup)


def _block(name: str, T: int, d: int, mlp_ratio: int, causal: bool, speedup: float) -> Case:
    return Case(name, T=T, d=d, mlp_ratio=mlp_ratio, causal=causal, speedup=speedup)


# --- 16.2 a fixed overhead from an intercept ----------------------------------------------------------


def noisy_timings(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Lengths `[N]`, seconds `[N, n]` with a little noise and a few interruptions, and the longest T to fit."""
    T = case.first * 2 ** torch.arange(case.points, dtype=torch.float64)
    true = case.overhead + case.per_token * T + case.quadratic * T**2
    noise = torch.randn(case.points, case.samples, generator=rng, dtype=torch.float64).abs()
    seconds = true[:, None] * (1 + 0.02 * noise)
    seconds[:, -1] *= 1 + 4 * torch.rand(
        case.points, generator=rng, dtype=torch.float64
    )  # another program ran
    return T, seconds, case.longest


def overhead_reference(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    """Straight line through the medians at T ≤ longest: (intercept in seconds, slope in seconds per token)."""
    return _line(T, seconds.median(dim=1).values, longest)


def _line(T: Tensor, values: Tensor, longest: float) -> tuple[float, float]:
    short = longest >= T
    slope, intercept = np.polyfit(T[short].numpy(), values[short].numpy(), 1)
    return float(intercept), float(slope)


def overhead_by_hand(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    """The same by the closed form: covariance over variance, and the line through both means."""
    kept = [(float(t), sorted(row.tolist())[len(row) // 2]) for t, row in zip(T, seconds, strict=True)]
    kept = [(t, y) for t, y in kept if t <= longest]
    mean_t, mean_y = (sum(column) / len(kept) for column in zip(*kept, strict=True))
    slope = sum((t - mean_t) * (y - mean_y) for t, y in kept) / sum((t - mean_t) ** 2 for t, _ in kept)
    return mean_y - slope * mean_t, slope


def time_at_the_shortest(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    return float(seconds.median(dim=1).values[0]), overhead_reference(T, seconds, longest)[1]


def log_log_line(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    constant, power = _line(T.log(), seconds.median(dim=1).values.log(), math.log(longest) + 1e-9)
    return math.exp(constant), power


def means_instead(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    return _line(T, seconds.mean(dim=1), longest)


def minima_instead(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    return _line(T, seconds.min(dim=1).values, longest)


def swapped(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    return overhead_reference(T, seconds, longest)[::-1]


def every_length(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    return overhead_reference(T, seconds, int(T.max()))


def through_the_origin(T: Tensor, seconds: Tensor, longest: int) -> tuple[float, float]:
    short, values = longest >= T, seconds.median(dim=1).values
    slope = (T[short] * values[short]).sum() / (T[short] ** 2).sum()
    return 0.0, float(slope)


def _timings(name: str, seed: int, **line: float) -> Case:
    standard = {"first": 8, "points": 6, "samples": 7, "longest": 64, "quadratic": 2e-9}
    return Case(name, seed=seed, **standard | line)


# --- 16.3 the decode crossover ------------------------------------------------------------------------


def decode_sizes(case: Case, rng: torch.Generator) -> tuple[int, ...]:
    """K, V, b_state, b_cache, H, H_kv."""
    return case.K, case.V, case.b_state, case.b_cache, case.H, case.kv_heads


def decode_reference(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    """T·H_kv·(K + V)·b_cache = 2·H·K·V·b_state."""
    return 2 * K * V / (K + V) * (b_state / b_cache) * (H / H_kv)


def decode_from_bytes(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    """The same as one division: bytes of the state's round trip over bytes of one cached token."""
    round_trip = 2 * (H * K * V * b_state)
    return round_trip / (H_kv * (K + V) * b_cache)


def head_size_alone(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    return 2 * K * V / (K + V)


def stored_not_moved(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    return decode_reference(K, V, b_state, b_cache, H, H_kv) / 2


def groups_forgotten(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    return decode_reference(K, V, b_state, b_cache, H, H)


def bytes_upside_down(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    return decode_reference(K, V, b_cache, b_state, H, H_kv)


def heads_upside_down(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    return decode_reference(K, V, b_state, b_cache, H_kv, H)


def keys_only(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    return decode_reference(K, V, b_state, b_cache, H, H_kv) * (K + V) / K


def rounded(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> int:
    return math.ceil(decode_reference(K, V, b_state, b_cache, H, H_kv))


def _heads(name: str, K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> Case:
    return Case(name, K=K, V=V, H=H, b_state=b_state, b_cache=b_cache, kv_heads=H_kv)


# --- the declarations ---------------------------------------------------------------------------------

BOUND = CodeQuestion(
    id="16.1",
    objective="bound-speedup",
    title="What a faster mixer does for a block",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=block_sizes,
    reference=block_reference,
    visible=[
        _block("100 tokens, a mixer that costs nothing", 100, 768, 4, True, math.inf),
        _block("unmasked, eight times as fast", 4096, 512, 4, False, 8.0),
        _block("small MLP, a slower mixer", 64, 128, 2, True, 0.5),
    ],
    hidden=[
        _block("hidden 1", 512, 256, 3, True, 2.5),
        _block("hidden 2", 33, 64, 8, False, math.inf),
        _block("hidden 3", 20_000, 1024, 4, True, 1.0),
    ],
    wrong={
        mixers_own_speedup: "that is the mixer's own speed-up: projections and MLP take as long as before.",
        share_itself: "that is attention's part of the block. A speed-up is the old time over the new one.",
        one_over_share: "the part that stays is divided the wrong way: if attention vanished, what would be left?",
        saving_added_to_one: "you added the time saved to 1. A speed-up is the old time over the *new* time.",
        new_over_old: "that is the new time over the old one: a block that gets faster must give more than 1.",
        mlp_four_times_too_wide: "your MLP is four times too large: a ratio of 4 must give 16Td².",
        always_infinite: "`speedup` is not used: a mixer that is only a little faster still takes some time.",
        always_unmasked: "`causal` is not used: a causal mixer that skips the future computes half the pairs.",
        always_causal: "`causal` is not used: without a mask every token meets every token.",
        mlp_always_four_times: "`mlp_ratio` is not used: a narrower MLP leaves attention a larger part.",
    },
    accepted=[block_per_token],
    outputs=("speed-up of the block",),
)

OVERHEAD = CodeQuestion(
    id="16.2",
    objective="read-overhead",
    title="A fixed overhead, read from an intercept",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=noisy_timings,
    reference=overhead_reference,
    visible=[
        _timings("mostly overhead", 1, overhead=1.4e-4, per_token=1.5e-6),
        _timings("mostly work", 2, overhead=1e-5, per_token=4e-6),
        _timings("four short lengths", 3, overhead=5e-5, per_token=1e-6, first=4, longest=32),
    ],
    hidden=[
        _timings("hidden 1", 4, overhead=2e-5, per_token=7e-7, quadratic=1e-8),
        _timings("hidden 2", 5, overhead=3e-3, per_token=1e-5, samples=11, points=7, longest=128),
    ],
    wrong={
        time_at_the_shortest: "your overhead is the time at the shortest T: the work for those tokens is still in it.",
        log_log_line: "a line on log–log axes has an exponent and a factor. An overhead is what is *added*: fit "
        "the seconds themselves.",
        means_instead: "one interrupted sample moves your line: a mean follows it, another middle does not.",
        minima_instead: "your line follows the fastest samples: take the middle one of each length.",
        swapped: "the two results have changed places: overhead first, then seconds per token.",
        every_length: "the long lengths bend your line: fit those up to `longest` only.",
        through_the_origin: "your line is forced through zero, so no overhead is left to find.",
    },
    accepted=[overhead_by_hand],
    outputs=("overhead in seconds", "seconds per token"),
)

DECODE = CodeQuestion(
    id="16.3",
    objective="decode-crossover",
    title="The decode crossover, with grouped queries",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=decode_sizes,
    reference=decode_reference,
    visible=[
        _heads("one cache head per query head", 64, 64, 4, 4, 8, 8),
        _heads("grouped queries, small cache numbers", 128, 128, 4, 2, 32, 8),
        _heads("values wider than keys", 64, 96, 4, 1, 12, 4),
    ],
    hidden=[
        _heads("hidden 1", 40, 96, 8, 4, 6, 3),
        _heads("hidden 2", 128, 128, 2, 2, 64, 1),
    ],
    wrong={
        head_size_alone: "bytes per number and head counts are missing: state and cache differ in both.",
        stored_not_moved: "a step reads the whole state *and* writes it back: you count one of the two.",
        groups_forgotten: "`H_kv` is not used: the query heads of a group share one cache, but not one state.",
        bytes_upside_down: "the item sizes stand upside down: does a smaller cache make it easier or harder to beat?",
        heads_upside_down: "the head counts stand upside down: does a shared cache make it easier or harder to beat?",
        keys_only: "a cached token is a key *and* a value.",
        rounded: "your number is rounded: leave it as it is.",
    },
    accepted=[decode_from_bytes],
    outputs=("T*",),
)

CHANGE = ChoiceQuestion(
    id="16.4",
    objective="judge-claim",
    title="Which change makes the state win at 64 tokens?",
    points=1,
    minutes=6,
    difficulty=2,
    question="Lines fitted to one decode step on some machine (8 heads of size 64, float32, one sequence): over a "
    "cache 20 µs + 0.1 µs for each cached token; with a state 55 µs at any length, of which 45 µs are fixed overhead "
    "and 10 µs work. Which change, alone, makes the step with a state the faster one at T = 64?",
    options={
        "A": Option(
            "Grouped queries: 2 key–value heads instead of 8, so that four query heads share each cached head.",
            why="that helps the cache: its 0.1 µs a token shrink, and the step with a state stays at 55 µs.",
        ),
        "B": Option(
            "Half the bytes for the state, so that its 10 µs of work become 5 µs.",
            why="50 µs are left, and the cache takes 26.4 µs at T = 64: the work was the small part.",
        ),
        "C": Option(
            "One fused kernel for the step with a state, which cuts its 45 µs of overhead to 15 µs.",
            why="25 µs at any length, against 20 + 6.4 = 26.4 µs at T = 64: the lines now meet at T = 50.",
        ),
        "D": Option(
            "Eight sequences at once: eight times the work on both sides, at the same overhead.",
            why="45 + 80 = 125 µs against 20 + 51.2 = 71.2 µs at T = 64. The crossing comes nearer, from T = 350 to "
            "about 131, but not to 64.",
        ),
        "E": Option(
            "A model with twice as many layers, since each layer saves the same time.",
            why="each layer loses the same time at T = 64: 55 µs against 26.4 µs. More layers repeat it.",
        ),
    },
    answer="C",
)

VERDICT = ChoiceQuestion(
    id="16.5",
    objective="judge-claim",
    title="The verdict",
    points=2,
    minutes=6,
    difficulty=2,
    question='"A linear-time model always offers a significant speed advantage under 100 tokens." Choose the verdict '
    "together with the reason that decides it.",
    options={
        "A": Option(
            "True: T grows more slowly than T², so the linear model does less work at every T above 1.",
            why="growth says who wins in the end, not from where on. Both laws have factors and a constant in front, "
            "and under 100 tokens those decide.",
        ),
        "B": Option(
            "True: a block takes most of its time in attention, so any faster mixer speeds the whole model up.",
            why="at 100 tokens attention is about one percent of the FLOPs of a block of width 768. Projections and "
            "MLP are the rest, and no mixer touches them.",
        ),
        "C": Option(
            "False: under 100 tokens softmax attention is always the faster one, because its kernel is fused.",
            why="that replaces one 'always' by another, and a few cases on one machine cannot carry it. Being fused is "
            "not the only reason either: count where softmax does less arithmetic, and where it does more.",
        ),
        "D": Option(
            "False: in many cases the little T² saved is less than what overheads and the state cost, and in a block "
            "attention is a small part.",
            why="one case without the advantage refutes 'always'; and where the mixer does win, the block bounds "
            "what is left of it.",
        ),
        "E": Option(
            "False: the state of a linear model needs more memory than a machine has.",
            why="a state of D × D numbers a head is small. It is larger than a cache of fewer than D/2 tokens, but "
            "the claim is about speed, and nothing runs out.",
        ),
        "F": Option(
            "Undecided: another machine gives other times, so no measurement can settle it.",
            why="the claim says 'always': one machine on which it fails is enough. And the FLOPs of a block are "
            "the same on every machine.",
        ),
    },
    answer="D",
)


QUESTIONS = [BOUND, OVERHEAD, DECODE, CHANGE, VERDICT]
