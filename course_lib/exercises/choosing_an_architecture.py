"""Questions of chapter 18: a deployment, its break-even, its recommendation, and what would reverse it.

Timings have no key, so every cost here is supplied: whole nanoseconds in 18.2, coefficients in 18.4, the seconds of a
log in 18.7 and parts of two sums in 18.6. `course_lib.decide` works from ceilings and counted FLOPs instead.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, NumberQuestion, Option, Shapes

# --- 18.2 break-even from coefficients ----------------------------------------------------------------

Line = tuple[int, int]
Parabola = tuple[int, int, int]


def coefficients(case: Case, rng: torch.Generator) -> tuple[Parabola, Line]:
    """x (fixed, per token, per token squared) and y (fixed, per token), as given or drawn, in whole nanoseconds."""
    given = case.extra
    if "x" in given:
        return case.x, case.y

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (1,), generator=rng))

    square = 0 if case.straight else draw(1, 9)
    return (draw(0, 900_000), draw(500, 3_000), square), (draw(0, 900_000), draw(500, 6_000))


def _lead(x: Parabola, y: Line, T: int) -> int:
    """By how much Y is cheaper at T."""
    return x[0] + x[1] * T + x[2] * T * T - y[0] - y[1] * T


def break_even_reference(x: Parabola, y: Line) -> int | None:
    """One more than the last whole T ≥ 1 at which Y is not cheaper; None where there is no last one."""
    square, slope, constant = x[2], x[1] - y[1], x[0] - y[0]
    if square == 0 and slope <= 0:
        return 1 if slope == 0 and constant > 0 else None
    if square == 0:
        last = -constant // slope
    else:
        under_the_root = slope**2 - 4 * square * constant
        last = -1 if under_the_root < 0 else (-slope + math.isqrt(under_the_root)) // (2 * square)
    return last + 1 if last >= 1 and _lead(x, y, last) <= 0 else 1


def break_even_by_halving(x: Parabola, y: Line) -> int | None:
    """Right of the lowest point of the lead: double until Y is cheaper, then halve."""
    square, slope = x[2], x[1] - y[1]
    if square == 0 and (slope < 0 or (slope == 0 and x[0] <= y[0])):
        return None
    lowest = max(1, round(-slope / (2 * square))) if square else 1
    if _lead(x, y, lowest) > 0:
        return 1
    above = 2 * lowest
    while _lead(x, y, above) <= 0:
        above *= 2
    while above - lowest > 1:
        middle = (above + lowest) // 2
        lowest, above = (lowest, middle) if _lead(x, y, middle) > 0 else (middle, above)
    return above


def break_even_by_roots(x: Parabola, y: Line) -> int | None:
    """The real roots by numpy, and a few whole numbers around the larger one."""
    roots = [r.real for r in np.roots([x[2], x[1] - y[1], x[0] - y[0]]) if abs(r.imag) < 1e-9]
    if _lead(x, y, 10**9) <= 0:
        return None
    near = range(max(1, math.floor(max(roots, default=0)) - 2), max(1, math.ceil(max(roots, default=0)) + 2))
    return max((T + 1 for T in near if _lead(x, y, T) <= 0), default=1)


def without_fixed_costs(x: Parabola, y: Line) -> int | None:
    return break_even_reference((0, *x[1:]), (0, y[1]))


def first_lead(x: Parabola, y: Line) -> int | None:
    """The first T at which Y is cheaper."""
    return next((T for T in range(1, 100_000) if _lead(x, y, T) > 0), None)


def growth_alone(x: Parabola, y: Line) -> int | None:
    return math.ceil(y[1] / x[2]) if x[2] else None


def equal_is_cheaper(x: Parabola, y: Line) -> int | None:
    return break_even_reference((x[0] + 1, *x[1:]), y)


def unrounded(x: Parabola, y: Line) -> float | None:
    found = break_even_reference(x, y)
    if found in (None, 1):
        return found
    square, slope, constant = x[2], x[1] - y[1], x[0] - y[0]
    if not square:
        return -constant / slope
    return (-slope + math.sqrt(slope**2 - 4 * square * constant)) / (2 * square)


def never_below_the_root(x: Parabola, y: Line) -> int | None:
    """No crossing, so None: also where Y is cheaper at every length."""
    found = break_even_reference(x, y)
    return None if found == 1 else found


def lower_meeting(x: Parabola, y: Line) -> int | None:
    """From the smaller root on."""
    square, slope, constant = x[2], x[1] - y[1], x[0] - y[0]
    under_the_root = slope**2 - 4 * square * constant
    if square == 0 or under_the_root < 0:
        return break_even_reference(x, y)
    return max(1, (-slope - math.isqrt(under_the_root)) // (2 * square) + 1)


def below_one_token(x: Parabola, y: Line) -> int | None:
    """One more than the last meeting, wherever that lies."""
    square, slope, constant = x[2], x[1] - y[1], x[0] - y[0]
    under_the_root = slope**2 - 4 * square * constant
    if square == 0 or under_the_root < 0:
        return break_even_reference(x, y)
    return (-slope + math.isqrt(under_the_root)) // (2 * square) + 1


def always_a_number(x: Parabola, y: Line) -> int:
    found = break_even_reference(x, y)
    return 0 if found is None else found


# --- 18.4 a recommendation ----------------------------------------------------------------------------

Numbers = Mapping[str, float]


def offer(case: Case, rng: torch.Generator) -> tuple[dict, float, dict]:
    """A workload, the bytes of the machine, and the measured coefficients of three models; drawn where not given."""
    work, memory, recalls = case.work, case.memory, case.recalls
    if work is None:
        pick = torch.rand(5, generator=rng, dtype=torch.float64)
        words = 4 * int(12 * 800 ** pick[0].item())  # times 1.25: whole
        work = (words, 1.25, 1 + int(200 * pick[1]), 1 + int(12 * pick[2]), round(0.98 * pick[3].item(), 2))
        memory = 1e9 * (1 + 30 * pick[4].item())
    workload = dict(zip(("words", "tokens_per_word", "output", "batch", "recall"), work, strict=True))
    models = {
        name: dict(zip(COEFFICIENTS, values, strict=True)) | {"recall": recall}
        for (name, values), recall in zip(MODELS.items(), recalls, strict=True)
    }
    return workload, memory, models


COEFFICIENTS = (
    *("weights", "fixed", "per_token", "per_pair", "step", "step_per_token"),
    *("state", "cache_per_token"),
)
MODELS = {
    "X": (0.8e9, 2e-3, 1.0e-4, 2.0e-8, 0.030, 1.0e-6, 0.0, 16_384.0),
    "Y": (0.8e9, 9e-3, 1.2e-4, 0.0, 0.032, 0.0, 8.4e6, 0.0),
    "Z": (0.8e9, 7e-3, 1.2e-4, 5.0e-9, 0.032, 2.5e-7, 6.3e6, 4_096.0),
}


def _recommend(
    workload: Numbers,
    memory: float,
    models: Mapping[str, Numbers],
    *,
    rate: float | None = None,
    batch: int | None = None,
    batch_held: int | None = None,
    fixed_times: int = 1,
    step_times: int = 1,
    behind: int = 0,
    held_from: int = -1,
    steps_from: int = 1,
    writes: bool = True,
    grows: bool = True,
    reads: bool = True,
    readers: int | None = None,
    weighs: bool = True,
    floor: Callable[[float, float], bool] = lambda recall, least: recall >= least,
    fits: bool = True,
    order: Callable[[str, float], object] = lambda name, seconds: seconds,
) -> tuple[str | None, float | None]:
    """The reference, and the slips that change one of its parts."""
    T = round(workload["words"] * (rate or workload["tokens_per_word"]))
    B, steps = batch or workload["batch"], workload["output"] - steps_from
    found = []
    for name, m in models.items():
        seconds = fixed_times * m["fixed"] + B * (m["per_token"] * T + m["per_pair"] * T * T)
        if writes:
            read = (T - behind) * steps + (steps * (steps + 1) / 2 if grows else 0)
            seconds += step_times * steps * m["step"] + reads * (readers or B) * m["step_per_token"] * read
        held = m["state"] + m["cache_per_token"] * (T + held_from + workload["output"])
        needs = weighs * m["weights"] + (batch_held or B) * held
        if floor(m["recall"], workload["recall"]) and (needs <= memory or not fits):
            found.append((name, seconds))
    return min(found, key=lambda pair: order(*pair), default=(None, None))


def recommend_reference(
    workload: Numbers, memory: float, models: Mapping[str, Numbers]
) -> tuple[str | None, float | None]:
    """(name of the cheapest model that fits and recalls enough, its seconds), or (None, None)."""
    return _recommend(workload, memory, models)


def recommend_step_by_step(
    workload: Numbers, memory: float, models: Mapping[str, Numbers]
) -> tuple[str | None, float | None]:
    """Every decoding step on its own."""
    best: tuple[str | None, float | None] = (None, None)
    T, B = round(workload["words"] * workload["tokens_per_word"]), workload["batch"]
    last = T + workload["output"] - 1
    for name, m in models.items():
        if m["recall"] < workload["recall"]:
            continue
        if m["weights"] + B * m["state"] + B * m["cache_per_token"] * last > memory:
            continue
        total = m["fixed"] + m["per_token"] * B * T + m["per_pair"] * B * T**2
        for n in range(T + 1, last + 1):
            total += m["step"] + m["step_per_token"] * B * n
        if best[1] is None or total < best[1]:
            best = name, total
    return best


def words_as_tokens(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, rate=1)


def prefill_only(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, writes=False)


def floor_ignored(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, floor=lambda recall, least: True)


def batch_ignored(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, batch=1)


def memory_of_one_request(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, batch_held=1)


def weights_not_held(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, weighs=False)


def context_of_one_request(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, readers=1)


def context_not_read(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, reads=False)


def memory_ignored(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, fits=False)


def linear_always(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    """Of the models that will do, the one whose cost grows least."""
    return _recommend(workload, memory, models, order=lambda name, _: models[name]["per_pair"])


def best_recall(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, order=lambda name, _: -models[name]["recall"])


def first_token_twice(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, steps_from=0)


def context_stands_still(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, grows=False)


def one_behind(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, behind=1)


def fixed_for_each(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, fixed_times=int(workload["batch"]))


def step_for_each(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, step_times=int(workload["batch"]))


def memory_after_reading(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, held_from=-int(workload["output"]))


def last_token_held(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, held_from=0)


def above_the_floor(workload: Numbers, memory: float, models: Mapping[str, Numbers]) -> tuple:
    return _recommend(workload, memory, models, floor=lambda recall, least: recall > least)


# --- 18.7 a router ------------------------------------------------------------------------------------


def log_of_requests(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Whole lengths `[N]` and the seconds of both models `[N]`: X grows with the square; N is `case.T`."""
    uniform = torch.rand(3, case.T, generator=rng, dtype=torch.float64)
    lengths = (case.low * (case.high / case.low) ** uniform[0]).round().long()
    noise = 1 + case.noise * (uniform[1:] - 0.5)
    t = lengths.double()
    x = (case.fixed_x + 1e-4 * t + 2e-7 * t**2) * noise[0]
    return lengths, x, (case.fixed_y + 1.5e-4 * t) * noise[1]


def route_reference(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    """Sort by length once; with running sums every threshold costs one addition."""
    order = lengths.argsort()
    ordered = lengths[order]
    x = torch.cat([seconds_x.new_zeros(1), seconds_x[order].cumsum(0)])
    y = torch.cat([seconds_y.new_zeros(1), seconds_y[order].cumsum(0)])
    totals = x + y[-1] - y  # the first i go to X
    cuts = torch.cat([ordered.new_tensor([0]), (ordered[1:] != ordered[:-1]).nonzero()[:, 0] + 1])
    cuts = torch.cat([cuts, cuts.new_tensor([len(ordered)])])
    best = int(cuts[totals[cuts].argmin()])
    threshold = int(ordered[best]) if best < len(ordered) else int(ordered[-1]) + 1
    return threshold, float(totals[best])


def route_in_a_dict(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    """What each length adds if it moves from Y to X, then a walk over the lengths."""
    moved: dict[int, float] = {}
    for length, x, y in zip(lengths.tolist(), seconds_x.tolist(), seconds_y.tolist(), strict=True):
        moved[length] = moved.get(length, 0.0) + x - y
    walk = sorted(moved)
    total = float(seconds_y.sum())
    best = (total, walk[0])
    for length, following in pairwise([*walk, walk[-1] + 1]):
        total += moved[length]
        best = min(best, (total, following))
    return best[1], best[0]


def all_thresholds_at_once(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    """Right, with a matrix of every threshold against every request."""
    thresholds = torch.cat([lengths.unique(), lengths.max()[None] + 1])
    to_x = lengths < thresholds[:, None]
    totals = torch.where(to_x, seconds_x, seconds_y).sum(1)
    return int(thresholds[totals.argmin()]), float(totals.min())


def _sent(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor, threshold: int) -> float:
    return float(torch.where(lengths < threshold, seconds_x, seconds_y).sum())


def each_to_its_cheaper(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    threshold, _ = route_reference(lengths, seconds_x, seconds_y)
    return threshold, float(torch.minimum(seconds_x, seconds_y).sum())


def equal_lengths_parted(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    """Cuts the sorted log anywhere, also between requests of one length; the order of those is that of the log."""
    order = lengths.argsort(stable=True)
    x, y = seconds_x[order], seconds_y[order]
    totals = torch.cat([y.sum()[None], y.sum() + (x - y).cumsum(0)])
    best = int(totals.argmin())
    ordered = lengths[order]
    return int(ordered[best]) if best < len(ordered) else int(ordered[-1]) + 1, float(totals[best])


def threshold_goes_to_x(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    threshold, total = route_reference(lengths, seconds_x, seconds_y)
    below = lengths[lengths < threshold]
    return int(below.max()) if len(below) else int(lengths.min()) - 1, total


def long_ones_to_x(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    return route_reference(lengths, seconds_y, seconds_x)


def both_are_always_used(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    thresholds = lengths.unique()[1:]
    totals = [(_sent(lengths, seconds_x, seconds_y, int(t)), int(t)) for t in thresholds]
    return min(totals)[1], min(totals)[0]


def first_request_that_y_wins(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    """The shortest request that is cheaper with Y."""
    won = lengths[seconds_y < seconds_x]
    threshold = int(won.min()) if len(won) else int(lengths.max()) + 1
    return threshold, _sent(lengths, seconds_x, seconds_y, threshold)


def mean_not_total(lengths: Tensor, seconds_x: Tensor, seconds_y: Tensor) -> tuple[int, float]:
    threshold, total = route_reference(lengths, seconds_x, seconds_y)
    return threshold, total / len(lengths)


def _log(name: str, N: int, seed: int, **options: float) -> Case:
    standard = {"low": 20, "high": 4000, "noise": 0.8, "fixed_x": 0.002, "fixed_y": 0.02}
    return Case(name, T=N, seed=seed, **standard | options)


def _long_log(name: str, N: int, seconds: float) -> Limit:
    return Limit(
        name,
        T=N,
        K=1,
        V=1,
        seed=9,
        cpu_seconds=seconds,
        gigabytes=1e-6 * N,
        low=20,
        high=40_000,
        noise=0.8,
        fixed_x=0.002,
        fixed_y=0.02,
        hint="a table of every threshold against every request has N² entries.",
    )


# --- 18.6 what reverses the choice first --------------------------------------------------------------


def parts_of_costs(case: Case, rng: torch.Generator) -> tuple[dict, float]:
    """assumption -> (its seconds in X, its seconds in Y), as given or drawn; the reach."""
    if case.parts is not None:
        return dict(case.parts), case.reach
    drawn = (10 ** (3 * torch.rand(case.assumptions, 2, generator=rng, dtype=torch.float64) - 1)).tolist()
    names = ("prompt", "output", "bandwidth", "overhead", "batch", "price")
    return {name: (x, y) for name, (x, y) in zip(names, drawn, strict=False)}, case.reach


Parts = Mapping[str, tuple[float, float]]


def _turns(parts: Parts, reach: float, *, one_sided: bool = False) -> dict[str, float]:
    """assumption -> the factor at which both sums are equal, if it is above 0 and within reach."""
    gap = sum(y - x for x, y in parts.values())
    found = {}
    for name, (x, y) in parts.items():
        slope = x if one_sided else x - y
        factor = 1 + gap / slope if slope else math.inf
        if factor > 0 and 1 / reach <= factor <= reach:
            found[name] = factor
    return found


def _pick(found: Mapping[str, float], distance: Callable[[str], float]) -> tuple[str | None, float | None]:
    name = min(found, key=distance, default=None)
    return name, None if name is None else found[name]


def flip_reference(parts: Parts, reach: float) -> tuple[str | None, float | None]:
    """(assumption, factor) nearest to 1 as a ratio, or (None, None)."""
    found = _turns(parts, reach)
    return _pick(found, lambda name: abs(math.log(found[name])))


def flip_from_what_stays(parts: Parts, reach: float) -> tuple[str | None, float | None]:
    """Solve rest_x + f·x = rest_y + f·y for f, and compare max(f, 1/f)."""
    sum_x, sum_y = (sum(values) for values in zip(*parts.values(), strict=True))
    best = (reach * (1 + 1e-12), None, None)
    for name, (x, y) in parts.items():
        if x == y:
            continue
        factor = ((sum_y - y) - (sum_x - x)) / (x - y)
        if factor > 0 and max(factor, 1 / factor) < best[0]:
            best = (max(factor, 1 / factor), name, factor)
    return best[1], best[2]


def nearest_by_difference(parts: Parts, reach: float) -> tuple:
    found = _turns(parts, reach)
    return _pick(found, lambda name: abs(found[name] - 1))


def largest_part(parts: Parts, reach: float) -> tuple:
    name = max(parts, key=lambda name: sum(parts[name]))
    return name, _turns(parts, math.inf).get(name)


def moves_x_alone(parts: Parts, reach: float) -> tuple:
    found = _turns(parts, reach, one_sided=True)
    return _pick(found, lambda name: abs(math.log(found[name])))


def only_upwards(parts: Parts, reach: float) -> tuple:
    found = {name: factor for name, factor in _turns(parts, reach).items() if factor > 1}
    return _pick(found, lambda name: found[name])


def reach_ignored(parts: Parts, reach: float) -> tuple:
    return flip_reference(parts, 1e300)


def lower_reach_ignored(parts: Parts, reach: float) -> tuple:
    found = {name: factor for name, factor in _turns(parts, 1e300).items() if factor <= reach}
    return _pick(found, lambda name: abs(math.log(found[name])))


def change_not_factor(parts: Parts, reach: float) -> tuple:
    name, factor = flip_reference(parts, reach)
    return name, None if factor is None else factor - 1


def its_own_parts(parts: Parts, reach: float) -> tuple:
    """The factor between an assumption's two parts."""
    return _pick(
        {name: y / x for name, (x, y) in parts.items()},
        lambda name: abs(math.log(parts[name][1] / parts[name][0])),
    )


def upside_down(parts: Parts, reach: float) -> tuple:
    name, factor = flip_reference(parts, reach)
    return name, None if factor is None else 1 / factor


def furthest_first(parts: Parts, reach: float) -> tuple:
    found = _turns(parts, reach)
    return _pick(found, lambda name: -abs(math.log(found[name])))


# --- 18.3 an alert's cache against a state ------------------------------------------------------------


def state_over_cache(
    tokens: float = 267 + 30 - 1, kv_heads: int = 4, state_itemsize: int = 4, tensors: int = 2
) -> float:
    """16 query heads of 128 keep a state; `kv_heads` keep keys and values in 2 bytes. Layers cancel."""
    return 16 * 128 * 128 * state_itemsize / (tokens * kv_heads * tensors * 128 * 2)


# --- the declarations ---------------------------------------------------------------------------------

DEPLOY = ChoiceQuestion(
    id="18.1",
    objective="choose-deployment",
    title="Which model for which text?",
    points=2,
    minutes=4,
    difficulty=1,
    question="An agency turns alerts of 200 words into headlines. A law firm asks questions about contracts of 30,000 "
    "words, and a wrong clause is expensive. Both can have X (softmax attention with a cache) or Y (linear attention "
    "with a state), alike in everything else. What do you propose?",
    options={
        "A": Option(
            "Y for both: work that grows with T is less than work that grows with T², for an alert as for a contract.",
            why="T against T² says who wins in the end. At a few hundred tokens the quadratic part is a few percent "
            "of a model's work, and a state may even be larger than the cache.",
        ),
        "B": Option(
            "X for both, on a machine with enough memory for the caches: only a cache keeps every token, and without "
            "that nothing can be answered.",
            why="it ignores the price: at 40,000 tokens the pairs outgrow all other work, and each contract needs a "
            "cache of its own. And whether Y's memory is enough is a measurement, not a principle.",
        ),
        "C": Option(
            "X for alerts. For contracts Y if its cost, measured on the machine that serves, is below that of X; "
            "otherwise X.",
            why="measured costs do change sides. But what a fixed state forgets is not in any of them, and here a "
            "wrong clause is expensive: a cheap model that misses the floor is not a choice.",
        ),
        "D": Option(
            "Y for alerts, because its time for a token is constant and alerts are urgent; X for contracts, because "
            "they need care.",
            why="constant does not mean smaller: with a short context, a step over a cache is cheap as well. And for "
            "contracts it picks the model whose cost explodes, without asking what the other one recalls.",
        ),
        "E": Option(
            "X for alerts. For contracts Y if its recall, measured on such questions, reaches the floor; otherwise "
            "a hybrid that does.",
            why="short texts leave a linear model little to save; long ones a lot, and there its memory has to be "
            "tested first. A few layers with a cache are the middle way, to be tested in the same manner.",
        ),
    },
    answer="E",
)

BREAK_EVEN = CodeQuestion(
    id="18.2",
    objective="break-even",
    title="Break-even from coefficients",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=coefficients,
    reference=break_even_reference,
    visible=[
        Case("Y starts later", x=(100_000, 1_000, 2), y=(400_000, 1_400)),
        Case("Y starts earlier", x=(500_000, 1_000, 1), y=(300_000, 2_000)),
        Case("Y costs less everywhere", x=(300_000, 1_500, 1), y=(200_000, 1_000)),
        Case("Y costs less everywhere, too", x=(300_000, 2_000, 1), y=(200_000, 1_000)),
        Case("X without pairs", x=(50_000, 800, 0), y=(20_000, 900)),
    ],
    hidden=[
        Shapes(6, straight=False),
        Shapes(3, straight=True),
        Case("equal slopes", x=(70_000, 900, 0), y=(60_000, 900)),
        Case("equal everywhere", x=(70_000, 900, 0), y=(70_000, 900)),
        Case("between two whole numbers", x=(1_483, 224, 16), y=(1_000, 400)),
        Case("meeting twice", x=(900_000, 700, 1), y=(400_000, 2_400)),
        Case("equal at a whole number", x=(0, 1_000, 1), y=(600_000, 1_400)),
        Case("far away", x=(0, 1_000, 1), y=(10**16, 500_000)),
    ],
    wrong={
        without_fixed_costs: "the fixed costs are missing: your answer does not change with the first coefficients.",
        first_lead: "Y is cheaper at your T, but not at every longer text: its lead can end.",
        growth_alone: "your T compares b1·T with a2·T²: X has work for each token too, and both have fixed costs.",
        equal_is_cheaper: "at your T both may cost the same: Y has to cost strictly less.",
        unrounded: "that is where the curves meet: a text has a whole number of tokens.",
        never_below_the_root: "curves that do not meet at T ≥ 1 leave two cases, and you answer None in both.",
        lower_meeting: "you take the smaller of the two roots: Y is not cheaper between them.",
        below_one_token: "a text has at least one token: the curves may meet below T = 1.",
        always_a_number: "where X stays cheaper for ever there is no such T: 0 is a length.",
    },
    accepted=[break_even_by_halving, break_even_by_roots],
    outputs=("T*",),
)


def _offer(
    name: str, work: tuple, memory: float = 16e9, recalls: tuple[float, ...] = (0.99, 0.6, 0.95)
) -> Case:
    return Case(name, work=work, memory=memory, recalls=recalls)


RECOMMEND = CodeQuestion(
    id="18.4",
    objective="recommend",
    title="Recommend a model for a workload",
    points=4,
    minutes=15,
    difficulty=3,
    inputs=offer,
    reference=recommend_reference,
    visible=[
        _offer("alerts", (200, 1.25, 21, 8, 0.0)),
        _offer("contracts, a floor", (30_000, 1.25, 201, 8, 0.95)),
        _offer("contracts, no floor", (30_000, 1.25, 201, 8, 0.0)),
        _offer("many at once", (640, 1.25, 2, 200, 0.0), memory=3e9),
        _offer("nothing will do", (30_000, 1.25, 11, 40, 0.97), memory=1.2e9),
        _offer("near the break-even", (900, 1.5, 2_000, 1, 0.5)),
        _offer("much to write", (200, 1.25, 1_001, 1, 0.0), memory=0.815e9),
        _offer("to the last byte", (200, 1.25, 21, 8, 0.0), memory=0.8e9 + 8 * 16_384 * 270),
    ],
    hidden=[
        Shapes(10, work=None, memory=None, recalls=[(0.99, 0.6, 0.95), (0.9, 0.7, 0.8)]),
        _offer("a single output token", (800, 1.25, 1, 3, 0.6)),
        _offer("a cache that grows", (400, 1.25, 801, 1, 0.0), memory=0.82e9),
        _offer("too many at once", (700, 1.25, 3, 150, 0.0), memory=2.6e9),
        _offer("a full memory", (240, 1.25, 31, 4, 0.0), memory=0.8e9 + 4 * 16_384 * 330),
        _offer("at the floor", (20_000, 1.25, 50, 2, 0.95)),
        _offer("too little memory", (30_000, 1.25, 5, 30, 0.97), memory=1.3e9),
    ],
    wrong={
        words_as_tokens: "`tokens_per_word` is not used: a model reads tokens, and a word is more than one.",
        prefill_only: "only reading is counted: every further token of the output takes a step.",
        floor_ignored: "`recall` is not used: a model below the floor is no choice, however cheap it is.",
        batch_ignored: "`batch` is not used: reading, the steps and the memory all grow with it.",
        memory_of_one_request: "you hold the cache and the state of one request: each of the batch has its own.",
        weights_not_held: "`weights` is missing from your sum of the memory.",
        memory_ignored: "`memory` is not used: your choice may not fit.",
        linear_always: "your choice is the model that grows least: at this length another one costs less.",
        best_recall: "you take the best recall: the floor is what is needed, and among those that reach it cost "
        "decides.",
        first_token_twice: "one step too many: reading already gives the first token of the output.",
        context_of_one_request: "a step reads the context of one request in your sum: each of the batch has its own.",
        context_not_read: "`step_per_token` is not used: a step takes longer the more it carries.",
        context_stands_still: "every step reads the same context in your sum: it grows by one token a step.",
        above_the_floor: "a recall that equals the floor is enough.",
        one_behind: "a step also reads its own token: each of your n is one too small.",
        fixed_for_each: "`fixed` is multiplied by `batch`: the requests are read together.",
        step_for_each: "`step` is multiplied by `batch`: the requests take a step together.",
        memory_after_reading: "your memory is that after reading: a cache also grows while the output is written.",
        last_token_held: "a memory that is exactly full is enough, and no step carries the last token of the output.",
    },
    accepted=[recommend_step_by_step],
    outputs=("name", "seconds"),
)

ROUTE = CodeQuestion(
    id="18.7",
    objective="recommend",
    title="A router for 200,000 requests",
    points=3,
    minutes=12,
    difficulty=3,
    inputs=log_of_requests,
    reference=route_reference,
    visible=[
        _log("sixty requests", 60, 1),
        _log("few lengths, many requests", 200, 4, low=240, high=260, fixed_y=0.002, noise=1.9),
        _log("long ones only", 40, 3, low=3000),
        _log("Y is never worth it", 40, 4, high=100),
        _long_log("20,000 requests", 20_000, 4),
    ],
    hidden=[
        _log("hidden 1", 500, 11),
        _log("hidden 2", 300, 12, low=245, high=256, fixed_y=0.002, noise=1.5),
        _log("hidden 3", 1, 13),
        _log("hidden 4", 400, 14, low=246, high=252, fixed_y=0.002, noise=1.9),
        _long_log("200,000 requests", 200_000, 5),
    ],
    wrong={
        each_to_its_cheaper: "your total sends each request to its own cheaper model: the router knows only lengths.",
        equal_lengths_parted: "you part requests of one length: a threshold sends all of them the same way.",
        threshold_goes_to_x: "your threshold is the last length that goes to X: X gets what is *shorter* than it.",
        long_ones_to_x: "your long requests go to X and the short ones to Y.",
        both_are_always_used: "your router always uses both models: one of them may be best for the whole log.",
        first_request_that_y_wins: "your threshold is the first at which Y wins: others of that length and beyond "
        "may lose.",
        mean_not_total: "that is the mean of a request: the total is asked for.",
    },
    accepted=[route_in_a_dict],
    too_big=[all_thresholds_at_once],
    outputs=("threshold", "total seconds"),
)


def _parts(name: str, reach: float = 10.0, **parts: tuple[float, float]) -> Case:
    return Case(name, parts=tuple(parts.items()), reach=reach)


FLIP = CodeQuestion(
    id="18.6",
    objective="test-sensitivity",
    title="Which assumption reverses the choice first?",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=parts_of_costs,
    reference=flip_reference,
    visible=[
        _parts("half or nearly twice", prompt=(5.75, 2.0), output=(1.0, 7.0), overhead=(2.25, 3.0)),
        _parts("downwards", prompt=(9.0, 3.0), output=(3.0, 4.0), overhead=(2.0, 4.0)),
        _parts("a large part in both", weights=(40.0, 40.5), prompt=(6.0, 2.0), output=(3.0, 4.0)),
        _parts(
            "far away",
            reach=2.0,
            weights=(8.0, 8.5),
            prompt=(1.0, 2.0),
            output=(2.0, 9.0),
            overhead=(3.0, 1.0),
        ),
    ],
    hidden=[
        _parts("four", prompt=(11.5, 4.0), output=(2.0, 14.0), overhead=(4.5, 6.0), price=(1.0, 1.0)),
        Shapes(8, parts=None, assumptions=[3, 4, 6], reach=[2.0, 4.0, 100.0]),
    ],
    wrong={
        nearest_by_difference: "yours has the smallest |f − 1|, but 1/2 is as far from 1 as 2 is.",
        largest_part: "you take the largest part: one that weighs alike in both sums moves neither ahead.",
        moves_x_alone: "your assumption moves X alone: Y has a part of it as well.",
        only_upwards: "only growth is tried: an assumption may also turn out smaller.",
        reach_ignored: "`reach` is not used: that factor is further away than it allows.",
        lower_reach_ignored: "`reach` bounds on both sides: 1/f may not exceed it either.",
        change_not_factor: "that is the change: the factor is 1 more.",
        its_own_parts: "your f is the ratio of an assumption's two parts: the *sums* have to become equal.",
        upside_down: "multiplied by your f, the two sums move apart.",
        furthest_first: "that is the last one to reverse it.",
    },
    accepted=[flip_from_what_stays],
    outputs=("assumption", "factor"),
)

MEMORY = NumberQuestion(
    id="18.3",
    objective="weigh-memory",
    title="What an alert leaves in memory",
    points=1,
    minutes=5,
    difficulty=2,
    question="A model with 24 layers and 16 query heads of size 128. X shares 4 key–value heads and caches 2 bytes a "
    "number; Y keeps a D × D state of 4 bytes a number for each query head. An alert of 267 tokens is read and "
    "30 tokens are written; the last of them is not read any more. How many times as much memory as X's cache does "
    "Y's state take?",
    answer=state_over_cache,
    unit="times",
    rtol=0.01,
    wrong={
        lambda: state_over_cache(
            kv_heads=16
        ): "you count as many heads for the cache as for the states: only a cached head is shared by a group.",
        lambda: state_over_cache(tokens=267): "the cache also keeps tokens that were written.",
        lambda: state_over_cache(tokens=200 + 30 - 1): "words are not tokens.",
        lambda: state_over_cache(state_itemsize=2): "a number of the state takes 4 bytes, not 2.",
        lambda: state_over_cache(tensors=1): "a cached token is a key *and* a value.",
        lambda: 1 / state_over_cache(): "that is the cache over the state.",
        lambda: state_over_cache() * 24: "both have 24 layers.",
    },
)

VERDICT = ChoiceQuestion(
    id="18.5",
    objective="choose-deployment",
    title="Constant cost per token",
    points=2,
    minutes=5,
    difficulty=2,
    question='"For alerts of 200 words the linear model is the cheaper choice, because its cost per token is '
    'constant." Choose the verdict together with the reason that decides it.',
    options={
        "A": Option(
            "True: a constant is less than something that grows, and a cache has grown with each of these 270 tokens.",
            why="only from some length on. A quantity that grows from a small value stays below a constant for a "
            "while: in this chapter's model up to about 384 tokens in the arithmetic of reading, up to 512 in memory.",
        ),
        "B": Option(
            "True: with a state no cache has to be read, so each step of writing moves fewer bytes than with X.",
            why="a step reads *and* writes the whole state, whatever was written before. In this chapter's model "
            "that is more than a cache of 270 tokens.",
        ),
        "C": Option(
            "False: here the mixer is a few percent of either model's arithmetic, and the state outweighs the cache.",
            why="constant is a statement about growth; the choice needs the values at 270 tokens. There time and money "
            "differ by less than the comparison's own error, and the memory speaks for X.",
        ),
        "D": Option(
            "False: a linear model's cost per token grows as well, since its state fills up with each token it reads.",
            why="the state has a fixed number of entries, full or empty, and each step touches all of them. What "
            "suffers as it fills is recall, not time.",
        ),
        "E": Option(
            "False: a linear model cannot answer questions about a text at all, so what it costs is of no interest.",
            why="it can keep some facts, and an alert has few. How many come back is a measurement, and the claim "
            "is about cost.",
        ),
    },
    answer="C",
)


QUESTIONS = [DEPLOY, BREAK_EVEN, MEMORY, RECOMMEND, VERDICT, FLIP, ROUTE]
