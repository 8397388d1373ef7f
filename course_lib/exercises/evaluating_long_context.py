"""Questions of chapter 17: score needles, read losses by position, build fair comparisons, choose from a front.

The reader referees a paper. Nothing that a machine or a training decides has a key: the code questions grade functions
on synthetic results whose truth is known, and the table on trial is printed in the question itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes

# --- 17.2 a needle score ------------------------------------------------------------------------------

LENGTHS = (
    33,
    61,
    103,
)  # haystacks; less 2 for the needle's own tokens: primes, so that no depth lies between bins


def needle_results(case: Case, rng: torch.Generator) -> tuple:
    """places `[N]`, lengths `[N]`, right `[N]`, bins, chance, threshold; every cell has at least two trials."""
    places, lengths = [], []
    for L in LENGTHS[: case.lengths]:
        for n in range(case.bins):
            first = -(-n * (L - 2) // case.bins)
            last = -(-(n + 1) * (L - 2) // case.bins) - 1
            at = torch.randint(first, last + 1, (case.trials,), generator=rng)
            places += [*at.tolist(), *([L - 2] if n == case.bins - 1 else [])]
            lengths += [L] * (case.trials + (n == case.bins - 1))
    places_, lengths_ = torch.tensor(places), torch.tensor(lengths)
    depth = places_ / (lengths_ - 2)
    likely = (1.15 - depth if case.early else 0.25 + depth) * (1.1 - lengths_ / 300)
    right = torch.rand(len(places), generator=rng) < likely
    order = torch.randperm(len(places), generator=rng)
    return places_[order], lengths_[order], right[order], case.bins, case.chance, case.threshold


def _needle_grid(
    places: Tensor,
    lengths: Tensor,
    right: Tensor,
    bins: int,
    chance: float,
    *,
    depth: Callable[[Tensor, Tensor], Tensor] | None = None,
    correct: Callable[[Tensor, float], Tensor] | None = None,
) -> Tensor:
    """Corrected scores `[lengths, bins]`, the shortest length first."""
    at = depth(places, lengths) if depth else places / (lengths - 2)
    cell = (at * bins + 1e-9).long().clamp(0, bins - 1)
    rows = []
    for L in lengths.unique():
        row = [right[(lengths == L) & (cell == n)].double().mean() for n in range(bins)]
        rows.append(torch.stack(row))
    shares = torch.stack(rows)
    return correct(shares, chance) if correct else (shares - chance) / (1 - chance)


def needle_reference(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    """(scores `[lengths, bins]`: 0 is chance and 1 all right; share of the cells that reach the threshold)."""
    grid = _needle_grid(places, lengths, right, bins, chance)
    return grid, (grid >= threshold).double().mean().item()


def needle_with_sums(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    """The same in integers, all cells at once."""
    distinct, row = lengths.unique(return_inverse=True)
    n = torch.minimum(places * bins // (lengths - 2), torch.tensor(bins - 1))
    asked, hits = torch.zeros(2, len(distinct) * bins, dtype=torch.float64).unbind(0)
    asked.index_add_(0, row * bins + n, torch.ones(len(places), dtype=torch.float64))
    hits.index_add_(0, row * bins + n, right.double())
    grid = ((hits / asked - chance) / (1 - chance)).view(len(distinct), bins)
    return grid, sum(score >= threshold for score in grid.flatten().tolist()) / grid.numel()


def position_in_tokens(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    longest = lengths.max() - 2
    grid = _needle_grid(places, lengths, right, bins, chance, depth=lambda at, _: at / longest)
    return grid, (grid >= threshold).double().mean().item()


def depth_reversed(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = needle_reference(places, lengths, right, bins, chance, threshold)[0].flip(1)
    return grid, (grid >= threshold).double().mean().item()


def chance_not_subtracted(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance, correct=lambda share, _: share)
    return grid, (grid >= threshold).double().mean().item()


def chance_only_subtracted(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance, correct=lambda share, c: share - c)
    return grid, (grid >= threshold).double().mean().item()


def averaged_before_thresholding(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance)
    return grid, (grid.mean(1) >= threshold).double().mean().item()


def mean_instead_of_share(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance)
    return grid, grid.mean().item()


def lengths_mixed(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    cell = (places / (lengths - 2) * bins + 1e-9).long().clamp(0, bins - 1)
    row = torch.stack([right[cell == n].double().mean() for n in range(bins)])
    grid = ((row - chance) / (1 - chance)).expand(len(lengths.unique()), bins)
    return grid, (grid >= threshold).double().mean().item()


def clipped_at_zero(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid, share = needle_reference(places, lengths, right, bins, chance, threshold)
    return grid.clamp(min=0), share


def needle_length_forgotten(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance, depth=lambda at, L: at / L)
    return grid, (grid >= threshold).double().mean().item()


def needle_of_one_token(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance, depth=lambda at, L: at / (L - 1))
    return grid, (grid >= threshold).double().mean().item()


def nearest_depth(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    def nearest(at: Tensor, L: Tensor) -> Tensor:
        return (at / (L - 2) * (bins - 1)).round() / bins

    grid = _needle_grid(places, lengths, right, bins, chance, depth=nearest)
    return grid, (grid >= threshold).double().mean().item()


def depth_one_dropped(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    inside = places < lengths - 2
    grid = _needle_grid(places[inside], lengths[inside], right[inside], bins, chance)
    return grid, (grid >= threshold).double().mean().item()


def raw_shares_pass(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid = _needle_grid(places, lengths, right, bins, chance)
    return grid, (grid * (1 - chance) + chance >= threshold).double().mean().item()


def lengths_as_they_come(
    places: Tensor, lengths: Tensor, right: Tensor, bins: int, chance: float, threshold: float
) -> tuple[Tensor, float]:
    grid, share = needle_reference(places, lengths, right, bins, chance, threshold)
    distinct = lengths.unique().tolist()
    return grid[[distinct.index(L) for L in dict.fromkeys(lengths.tolist())]], share


def _needles(name: str, seed: int, lengths: int, bins: int, trials: int, chance: float, early: bool) -> Case:
    # No share of a few trials scores 0.59: a cell on the threshold would hang on a rounding.
    return Case(
        name, seed=seed, lengths=lengths, bins=bins, trials=trials, chance=chance, early=early, threshold=0.59
    )


def _shares_may_be_float32(case: Case) -> float:
    """What comes in are whole numbers and booleans, so either float is as good."""
    return 1e-5


# --- 17.3 how far a model holds ------------------------------------------------------------------------


def losses_by_position(case: Case, rng: torch.Generator) -> tuple:
    """loss `[S, T]` of S seeds, trained, width, slack."""
    at = torch.arange(case.T, dtype=torch.float64)
    starts = torch.randint(case.trained, case.T, (case.seeds,), generator=rng)
    if case.early:
        starts[0] = case.trained  # this seed fails at once
    levels = 0.3 + torch.rand(case.seeds, 1, generator=rng, dtype=torch.float64)
    easy = -0.18 * torch.exp(-at / 30)  # few facts to confuse at the start
    if case.holds:
        starts[-1] = case.T  # this one never fails
    drift = (at - starts[:, None]).clamp(min=0) * case.steep
    noise = 0.02 * torch.randn(case.seeds, case.T, generator=rng, dtype=torch.float64)
    dip = torch.zeros(case.seeds, case.T, dtype=torch.float64)
    if case.recovers:  # a bump that is over again: a mean over all positions does not see it
        dip[-1, case.trained + case.width : case.trained + 2 * case.width] = 0.8
    return levels + easy + drift + noise + dip, case.trained, case.width, case.slack


def _held(
    loss: Tensor, trained: int, width: int, slack: float, level: Tensor, *, first_failure: bool = True
) -> Tensor:
    """Last token of the last window that holds, `[S]`."""
    windows = (loss.shape[1] - trained) // width
    means = loss[:, trained : trained + windows * width].unflatten(1, (windows, width)).mean(2)
    good = means <= level[:, None] + slack
    count = good.long().cumprod(1).sum(1) if first_failure else good.long().sum(1)
    return trained + width * count


def _level(loss: Tensor, trained: int, width: int) -> Tensor:
    return loss[:, trained - width : trained].mean(1)


def held_reference(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    """(held length of each seed `[S]`, the model's: the shortest of them)."""
    held = _held(loss, trained, width, slack, _level(loss, trained, width))
    return held, int(held.min())


def held_with_loops(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    """Seed by seed, window by window."""
    held = []
    for row in loss.tolist():
        allowed = sum(row[trained - width : trained]) / width + slack
        end = trained
        while end + width <= len(row) and sum(row[end : end + width]) / width <= allowed:
            end += width
        held.append(end)
    return torch.tensor(held), min(held)


def seeds_averaged_first(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = held_reference(loss, trained, width, slack)[0]
    mean = loss.mean(0, keepdim=True)
    return held, int(_held(mean, trained, width, slack, _level(mean, trained, width))[0])


def best_seed(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = held_reference(loss, trained, width, slack)[0]
    return held, int(held.max())


def middle_seed(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = held_reference(loss, trained, width, slack)[0]
    return held, int(held.sort().values[len(held) // 2])


def running_mean_from_the_start(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    counts = torch.arange(1, loss.shape[1] + 1)
    running = loss.cumsum(1) / counts
    windows = (loss.shape[1] - trained) // width
    ends = trained + width * torch.arange(1, windows + 1)
    good = running[:, ends - 1] <= _level(loss, trained, width)[:, None] + slack
    held = trained + width * good.long().cumprod(1).sum(1)
    return held, int(held.min())


def level_of_all_trained(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = _held(loss, trained, width, slack, loss[:, :trained].mean(1))
    return held, int(held.min())


def slack_alone(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = _held(loss, trained, width, slack, torch.zeros(len(loss), dtype=loss.dtype))
    return held, int(held.min())


def one_level_for_all(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    level = _level(loss, trained, width).mean().expand(len(loss))
    held = _held(loss, trained, width, slack, level)
    return held, int(held.min())


def good_windows_counted(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = _held(loss, trained, width, slack, _level(loss, trained, width), first_failure=False)
    return held, int(held.min())


def beyond_instead_of_length(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held, shortest = held_reference(loss, trained, width, slack)
    return held - trained, shortest - trained


def _shortest(held: Tensor) -> tuple[Tensor, int]:
    return held, int(held.min())


def windows_from_the_first_position(
    loss: Tensor, trained: int, width: int, slack: float
) -> tuple[Tensor, int]:
    return _shortest(_held(loss, 0, width, slack, _level(loss, trained, width)))


def each_window_against_the_one_before(
    loss: Tensor, trained: int, width: int, slack: float
) -> tuple[Tensor, int]:
    windows = (loss.shape[1] - trained) // width + 1
    first = trained - width
    means = loss[:, first : first + windows * width].unflatten(1, (windows, width)).mean(2)
    good = means[:, 1:] <= means[:, :-1] + slack
    return _shortest(trained + width * good.long().cumprod(1).sum(1))


def relative_slack(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    level = _level(loss, trained, width) * (1 + slack)
    return _shortest(_held(loss, trained, width, 0.0, level))


def level_of_the_last_position(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    return _shortest(_held(loss, trained, width, slack, loss[:, trained - 1]))


def failing_window_included(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = held_reference(loss, trained, width, slack)[0]
    return _shortest((held + width).clamp(max=loss.shape[1]))


def tail_included(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    held = held_reference(loss, trained, width, slack)[0]
    return _shortest(torch.where(held + width > loss.shape[1], loss.shape[1], held))


def overlapping_windows(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    means = loss[:, trained:].unfold(1, width, 1).mean(2)
    good = means <= _level(loss, trained, width)[:, None] + slack
    return _shortest(trained + good.long().cumprod(1).sum(1))


def single_positions(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    good = loss[:, trained:] <= _level(loss, trained, width)[:, None] + slack
    return _shortest(trained + good.long().cumprod(1).sum(1))


def last_good_window(loss: Tensor, trained: int, width: int, slack: float) -> tuple[Tensor, int]:
    windows = (loss.shape[1] - trained) // width
    means = loss[:, trained : trained + windows * width].unflatten(1, (windows, width)).mean(2)
    good = means <= _level(loss, trained, width)[:, None] + slack
    return _shortest(trained + width * (good * torch.arange(1, windows + 1)).amax(1))


def _losses(name: str, seed: int, T: int, **more: Any) -> Case:
    standard = {
        "seeds": 3,
        "trained": 64,
        "width": 16,
        "slack": 0.1,
        "steep": 0.01,
        "early": False,
        "recovers": False,
        "holds": False,
    }
    return Case(name, T=T, seed=seed, **standard | more)


# --- 17.4 a fair baseline ------------------------------------------------------------------------------


def two_specs(case: Case, rng: torch.Generator) -> tuple[dict, dict]:
    """ours and theirs: layers, heads, head_size, batch, T, steps, rates, seeds."""
    keys = ("layers", "heads", "head_size", "batch", "T", "steps", "rates", "seeds")
    return dict(zip(keys, case.ours, strict=True)), dict(zip(keys, case.theirs, strict=True))


def _state(spec: dict[str, int]) -> int:
    return spec["layers"] * spec["heads"] * spec["head_size"] ** 2


def _tokens(spec: dict[str, int]) -> int:
    return spec["batch"] * spec["T"] * spec["steps"]


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def fair_reference(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    """(head size, steps, learning rates) with which the baseline has at least what ours has, and no more than that."""
    size = 1
    while _state(theirs | {"head_size": size}) < _state(ours):
        size += 1
    steps = _ceil(_tokens(ours), theirs["batch"] * theirs["T"])
    return size, steps, _ceil(ours["rates"] * ours["seeds"], theirs["seeds"])


def fair_with_roots(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    """The same by square roots and negative floor division."""
    numbers = math.ceil(_state(ours) / (theirs["layers"] * theirs["heads"]))
    size = math.isqrt(numbers - 1) + 1
    steps = math.ceil(_tokens(ours) / (theirs["batch"] * theirs["T"]))
    return size, steps, math.ceil(ours["rates"] * ours["seeds"] / theirs["seeds"])


def same_steps(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, _, rates = fair_reference(ours, theirs)
    return size, ours["steps"], rates


def same_head_size(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    _, steps, rates = fair_reference(ours, theirs)
    return ours["head_size"], steps, rates


def width_instead_of_state(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    _, steps, rates = fair_reference(ours, theirs)
    width = ours["layers"] * ours["heads"] * ours["head_size"]
    return _ceil(width, theirs["layers"] * theirs["heads"]), steps, rates


def layers_forgotten(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    _, steps, rates = fair_reference(ours, theirs)
    size = fair_reference(ours | {"layers": 1}, theirs | {"layers": 1})[0]
    return size, steps, rates


def heads_forgotten(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    _, steps, rates = fair_reference(ours, theirs)
    size = fair_reference(ours | {"heads": 1}, theirs | {"heads": 1})[0]
    return size, steps, rates


def rounded_down(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size = math.isqrt(_state(ours) // (theirs["layers"] * theirs["heads"]))
    steps = _tokens(ours) // (theirs["batch"] * theirs["T"])
    return size, steps, ours["rates"] * ours["seeds"] // theirs["seeds"]


def batch_forgotten(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, _, rates = fair_reference(ours, theirs)
    return size, _ceil(ours["T"] * ours["steps"], theirs["T"]), rates


def length_forgotten(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, _, rates = fair_reference(ours, theirs)
    return size, _ceil(ours["batch"] * ours["steps"], theirs["batch"]), rates


def one_rate_is_enough(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, steps, _ = fair_reference(ours, theirs)
    return size, steps, theirs["rates"]


def same_number_of_rates(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, steps, _ = fair_reference(ours, theirs)
    return size, steps, ours["rates"]


def runs_instead_of_rates(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, steps, _ = fair_reference(ours, theirs)
    return size, steps, ours["rates"] * ours["seeds"]


def divisions_rounded_down(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    steps = _tokens(ours) // (theirs["batch"] * theirs["T"])
    return fair_reference(ours, theirs)[0], steps, ours["rates"] * ours["seeds"] // theirs["seeds"]


def head_size_rounded_down(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    _, steps, rates = fair_reference(ours, theirs)
    return math.isqrt(_state(ours) // (theirs["layers"] * theirs["heads"])), steps, rates


def root_forgotten(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    _, steps, rates = fair_reference(ours, theirs)
    return _ceil(_state(ours), theirs["layers"] * theirs["heads"]), steps, rates


def one_more_than_enough(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    steps = _tokens(ours) // (theirs["batch"] * theirs["T"]) + 1
    return fair_reference(ours, theirs)[0], steps, ours["rates"] * ours["seeds"] // theirs["seeds"] + 1


def rounded_to_the_nearest(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size = round(math.sqrt(_state(ours) / (theirs["layers"] * theirs["heads"])))
    steps = round(_tokens(ours) / (theirs["batch"] * theirs["T"]))
    return size, steps, round(ours["rates"] * ours["seeds"] / theirs["seeds"])


def never_less_than_before(ours: dict[str, int], theirs: dict[str, int]) -> tuple[int, int, int]:
    size, steps, rates = fair_reference(ours, theirs)
    return max(size, theirs["head_size"]), max(steps, theirs["steps"]), max(rates, theirs["rates"])


def _specs(name: str, ours: Sequence[int], theirs: Sequence[int]) -> Case:
    """layers, heads, head_size, batch, T, steps, rates, seeds."""
    return Case(name, ours=tuple(ours), theirs=tuple(theirs))


def drawn_specs(case: Case, rng: torch.Generator) -> tuple[dict, dict]:
    """Specs as in a named case, or random ones."""
    if "ours" in case.extra:
        return two_specs(case, rng)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=rng))

    def spec() -> dict[str, int]:
        return {
            "layers": draw(1, 6),
            "heads": draw(1, 8),
            "head_size": draw(4, 40),
            "batch": draw(8, 64),
            "T": draw(32, 300),
            "steps": draw(100, 2000),
            "rates": draw(1, 8),
            "seeds": draw(1, 6),
        }

    return spec(), spec()


# --- 17.6 a Pareto front -------------------------------------------------------------------------------


def two_axes(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, bool, bool]:
    """x `[N]`, y `[N]`, more_x, more_y. Small whole numbers, so that ties are common, or one long trade-off."""
    N = case.T
    if isinstance(case, Limit):
        x = torch.rand(N, generator=rng, dtype=torch.float64)
        y = x + 1e-4 * torch.rand(N, generator=rng, dtype=torch.float64)
        return x, y, case.more_x, case.more_y
    x = torch.randint(0, case.distinct, (N,), generator=rng)
    y = torch.randint(0, case.distinct, (N,), generator=rng)
    slope = 1 if case.more_x != case.more_y else -1  # a trade-off: the front is long
    y = (y + 2 * slope * x) if case.trade else y
    if N > 2:
        x[N // 2], y[N // 2] = x[0], y[0]  # one point twice
    return x.double(), y.double(), case.more_x, case.more_y


def _signed(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> tuple[Tensor, Tensor]:
    """Both axes so that less is better."""
    return -x if more_x else x, -y if more_y else y


def _front_mask(a: Tensor, b: Tensor) -> Tensor:
    """Less is better on both: sort by a, then b, and keep what has the lowest b so far."""
    order = torch.argsort(b, stable=True)
    order = order[torch.argsort(a[order], stable=True)]
    a_, b_ = a[order], b[order]
    lowest = torch.cummin(b_, 0).values
    before = torch.cat([torch.full((1,), math.inf, dtype=b.dtype), lowest[:-1]])
    keep = b_ < before
    # A copy of a kept point is kept: equal on both axes to the point before it in the order.
    same = torch.zeros_like(keep)
    same[1:] = (a_[1:] == a_[:-1]) & (b_[1:] == b_[:-1])
    group = torch.cumsum((~same).long(), 0) - 1
    keep = keep[~same][group]
    mask = torch.zeros_like(keep)
    mask[order] = keep
    return mask


def front_reference(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    """Bool `[N]`: no other point is at least as good on both axes and better on one. O(N log N)."""
    return _front_mask(*_signed(x, y, more_x, more_y))


def front_one_by_one(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    """A loop over sorted pairs."""
    pairs = list(zip(*(axis.tolist() for axis in _signed(x, y, more_x, more_y)), strict=True))
    front, lowest = set(), math.inf
    for a, b in sorted(set(pairs)):
        if b < lowest:
            front.add((a, b))
            lowest = b
    return torch.tensor([pair in front for pair in pairs], dtype=torch.bool)


def _dominated(a: Tensor, b: Tensor, strictly: Callable[..., Tensor]) -> Tensor:
    return strictly(a[:, None], a, b[:, None], b).any(1)


def every_pair_compared(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    """Right, but holds N × N comparisons."""
    a, b = _signed(x, y, more_x, more_y)
    beaten = (a <= a[:, None]) & (b <= b[:, None]) & ((a < a[:, None]) | (b < b[:, None]))
    return ~beaten.any(1)


def better_on_both_needed(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    a, b = _signed(x, y, more_x, more_y)
    return ~_dominated(a, b, lambda a, other_a, b, other_b: (other_a < a) & (other_b < b))


def copies_beat_each_other(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    a, b = _signed(x, y, more_x, more_y)
    others = ~torch.eye(len(a), dtype=torch.bool)
    return ~((a <= a[:, None]) & (b <= b[:, None]) & others).any(1)


def one_copy_kept(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    mask = front_reference(x, y, more_x, more_y)
    seen: set[tuple[float, float]] = set()
    for i in mask.nonzero().flatten().tolist():
        point = (float(x[i]), float(y[i]))
        mask[i] = point not in seen
        seen.add(point)
    return mask


def ties_of_the_second_axis_kept(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    a, b = _signed(x, y, more_x, more_y)
    return ~_dominated(a, b, lambda a, other_a, b, other_b: (other_a <= a) & (other_b < b))


def ties_of_the_first_axis_kept(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    a, b = _signed(x, y, more_x, more_y)
    return ~_dominated(a, b, lambda a, other_a, b, other_b: (other_a < a) & (other_b <= b))


def ties_in_the_order_they_come(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    a, b = _signed(x, y, more_x, more_y)
    mask, lowest = torch.zeros(len(a), dtype=torch.bool), math.inf
    for i in torch.argsort(a, stable=True).tolist():
        if b[i] < lowest:
            mask[i], lowest = True, float(b[i])
    return mask


def less_is_always_better(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    return _front_mask(x, y)


def more_is_always_better(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    return _front_mask(-x, -y)


def first_axis_decides_the_direction(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    return front_reference(x, y, more_x, more_x)


def ends_only(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    a, b = _signed(x, y, more_x, more_y)
    mask = front_reference(x, y, more_x, more_y)
    return mask & ((a == a.min()) | (b == b.min()))


def corners_only(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    """Points that win some weighted sum of both axes: the lower convex hull, with what lies on its edges."""
    a, b = _signed(x, y, more_x, more_y)
    mask = _front_mask(a, b)
    pairs = sorted({(float(a[i]), float(b[i])) for i in mask.nonzero().flatten()})
    hull: list[tuple[float, float]] = []
    for p in pairs:
        while len(hull) > 1 and _turn(hull[-2], hull[-1], p) < 0:
            hull.pop()
        hull.append(p)
    return torch.tensor([(float(u), float(v)) in hull for u, v in zip(a, b, strict=True)]) & mask


def _turn(p: tuple[float, float], q: tuple[float, float], r: tuple[float, float]) -> float:
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def the_worst_ones(x: Tensor, y: Tensor, more_x: bool, more_y: bool) -> Tensor:
    return front_reference(x, y, not more_x, not more_y)


def _points(name: str, seed: int, N: int, more_x: bool, more_y: bool, distinct: int, trade: bool) -> Case:
    return Case(name, T=N, seed=seed, more_x=more_x, more_y=more_y, distinct=distinct, trade=trade)


# --- the declarations ---------------------------------------------------------------------------------

AVERAGE = ChoiceQuestion(
    id="17.1",
    objective="see-through-averages",
    title="What one number can hide",
    points=2,
    minutes=5,
    difficulty=2,
    question="Two models, M and N, are tested on the same questions. Both answer 70 % of them right, and N has the "
    "lower mean loss. Half of the questions ask for something told at most 16 tokens ago. Which statement follows?",
    options={
        "A": Option(
            "Both remember old facts about equally well, since their averages are equal.",
            why="an average of 70 % is also 100 % of the recent facts and 40 % of the old ones: it does not say which "
            "questions are right.",
        ),
        "B": Option(
            "N remembers old facts better than M, since a lower loss means more certain right answers everywhere.",
            why="a lower mean loss can come from surer answers to the easy half alone. It says nothing about where.",
        ),
        "C": Option(
            "Nothing about age: one may answer every recent question, and the other be better with old ones.",
            why="the same average fits opposite memories, so recall has to be split by what you want to know: here, by "
            "age.",
        ),
        "D": Option(
            "Neither remembers old facts well, since a model that did would answer more than 70 % of all questions.",
            why="70 % is also what a model gets that answers 70 % of the old and 70 % of the recent questions.",
        ),
    },
    answer="C",
)

NEEDLES = CodeQuestion(
    id="17.2",
    objective="score-needles",
    title="A needle score",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=needle_results,
    reference=needle_reference,
    visible=[
        _needles("two lengths", 2, 2, 3, 9, 0.25, False),
        _needles("three lengths", 5, 3, 4, 11, 0.5, False),
        _needles("early needles are found", 1, 2, 4, 8, 1 / 16, True),
    ],
    hidden=[
        _needles("hidden 1", 11, 3, 5, 7, 1 / 16, False),
        _needles("hidden 2", 12, 1, 6, 8, 0.5, True),
        Shapes(
            6,
            lengths=[2, 3],
            bins=(2, 7),
            trials=(4, 12),
            chance=[0.1, 0.25, 0.5],
            early=[True, False],
            threshold=[0.49, 0.59, 0.79],
        ),
    ],
    wrong={
        position_in_tokens: "short texts have no deep needles in your grid: depth is a fraction of the *own* text.",
        depth_reversed: "your grid runs from the end of the text to its start: depth 0 is the start.",
        chance_not_subtracted: "a model that guesses does not score 0: the grid still holds the raw shares.",
        chance_only_subtracted: "a model that is always right does not score 1: after taking chance away, the scale is "
        "too short.",
        averaged_before_thresholding: "your share counts lengths: the depths were put together before the threshold, "
        "and a cell that fails must stay visible.",
        mean_instead_of_share: "your second number is a mean score; asked is the share of cells that pass.",
        lengths_mixed: "all lengths have the same row: a score belongs to a length and a depth.",
        clipped_at_zero: "your scores stop at 0: a share below chance is a negative score, and noise has both signs.",
        needle_length_forgotten: "at the last place where a needle of two tokens fits, your depth is not 1.",
        needle_of_one_token: "your depth takes the needle for one token: it has two, and its place is the first's.",
        nearest_depth: "you round to the nearest of `bins` depths, so the first and last part are half as wide.",
        depth_one_dropped: "needles at depth 1 are missing in your grid.",
        raw_shares_pass: "your grid is corrected, but the threshold still looks at raw shares.",
        lengths_as_they_come: "the rows are in the order in which the lengths appear.",
    },
    accepted=[needle_with_sums],
    tolerance=_shares_may_be_float32,
    outputs=("scores [lengths, bins]", "share of cells that pass"),
)

HELD = CodeQuestion(
    id="17.3",
    objective="see-through-averages",
    title="How far a model holds",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=losses_by_position,
    reference=held_reference,
    visible=[
        _losses("three seeds", 4, 200),
        _losses("one seed recovers", 7, 250, recovers=True, width=20, trained=60),
        _losses("one fails at once", 3, 180, early=True, steep=0.03, holds=True, trained=70),
    ],
    hidden=[
        _losses("hidden 1", 21, 331, seeds=5, steep=0.005, trained=70),
        _losses("hidden 2", 22, 96, seeds=1, width=16, steep=0.02),
        Shapes(
            6,
            T=(200, 400),
            seeds=(2, 5),
            trained=[48, 64, 80],
            width=[8, 16],
            slack=[0.1, 0.2],
            steep=[0.01, 0.03],
            early=[False, True],
            recovers=[False, True],
            holds=[False, True],
        ),
    ],
    wrong={
        seeds_averaged_first: "the model's number comes from the mean of the losses: one bad seed vanishes in it.",
        best_seed: "the model's number is that of its best seed: what would the next training give?",
        middle_seed: "the model's number is that of its middle seed: a seed that fails earlier is also this model.",
        running_mean_from_the_start: "you compare means over everything so far: good early positions hide the failure "
        "for a long while.",
        level_of_all_trained: "your level is the mean over all trained positions: the first ones, where little was "
        "told, are no measure of the last ones.",
        slack_alone: "your bar lies so low that hardly a window passes: `slack` comes on top of the level of the last "
        "trained positions.",
        one_level_for_all: "all seeds share one level: each has its own.",
        good_windows_counted: "a window behind a failed one still counts in your result: after the first failure it "
        "is over.",
        beyond_instead_of_length: "you count from the end of the training length; asked is the length from the start.",
        relative_slack: "your slack is a share of the level: it is in nats, and comes on top.",
        level_of_the_last_position: "your level is a single position's loss: it is a mean over `width` of them.",
        failing_window_included: "the window that fails still counts in your result.",
        tail_included: "positions behind the last full window count in your result.",
        overlapping_windows: "your windows overlap: each starts where the one before it ends.",
        single_positions: "your result ends at single positions: one noisy loss is enough to stop it.",
        windows_from_the_first_position: "your windows start at position 0, so one may lie across the end of "
        "the trained positions.",
        each_window_against_the_one_before: "you compare each window with the one before it: a slow rise is never "
        "noticed.",
        last_good_window: "you look for the last window that is good: a seed that failed before does not hold it.",
    },
    accepted=[held_with_loops],
    outputs=("held by each seed [S]", "held by the model"),
)

FAIR = CodeQuestion(
    id="17.4",
    objective="fair-comparison",
    title="A baseline with the same chances",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=drawn_specs,
    reference=fair_reference,
    visible=[
        _specs("heads against one head", (2, 4, 16, 32, 64, 1000, 6, 3), (2, 1, 16, 32, 64, 400, 1, 1)),
        _specs("another length", (4, 3, 10, 16, 128, 750, 5, 2), (3, 2, 12, 24, 200, 600, 2, 3)),
        _specs("a deeper baseline", (2, 2, 9, 64, 50, 302, 3, 5), (6, 3, 32, 10, 70, 5000, 9, 2)),
    ],
    hidden=[
        _specs("tokens that come out even", (2, 2, 16, 32, 64, 500, 4, 3), (2, 1, 20, 16, 64, 300, 5, 2)),
        Shapes(8),
    ],
    wrong={
        same_steps: "equal steps are not equal data: batches and texts may differ in size.",
        same_head_size: "equal head sizes are not equal states: the models differ in heads or layers.",
        width_instead_of_state: "you made heads times head size equal, which is the width. A state holds how many "
        "numbers a head?",
        layers_forgotten: "the states are equal within a layer; the models may have different numbers of layers.",
        heads_forgotten: "the states are equal for one head; the models may have different numbers of heads.",
        rounded_down: "you rounded down, so the baseline gets less than ours: what is not a whole number goes to the "
        "baseline.",
        divisions_rounded_down: "you round steps and learning rates down: the baseline gets the better of what is "
        "not a whole number.",
        head_size_rounded_down: "with your head size the baseline's states hold a few numbers less than ours.",
        root_forgotten: "your head size is the count of a head's numbers: a head of that size would hold far more.",
        batch_forgotten: "the batch size is missing in your count of tokens.",
        length_forgotten: "the text length is missing in your count of tokens.",
        one_rate_is_enough: "the baseline keeps its own number of learning rates: then one side was tuned longer.",
        same_number_of_rates: "equal numbers of learning rates are not equal numbers of runs: seeds count too.",
        runs_instead_of_rates: "your last number counts training runs: each learning rate is tried with all seeds.",
        one_more_than_enough: "where a division comes out even, you give one more than is needed.",
        rounded_to_the_nearest: "you round to the nearest whole number: now and then the baseline gets less than ours.",
        never_less_than_before: "you keep what the baseline has already where that is more: asked is what is enough.",
    },
    accepted=[fair_with_roots],
    outputs=("head size", "steps", "learning rates"),
)

FLAWS = ChoiceQuestion(
    id="17.5",
    objective="referee-results",
    title="Referee a table of results",
    points=2,
    minutes=8,
    difficulty=3,
    question="""A submission claims: "our update rule improves recall, and holds at all depths". Its table has two rows.

*Linear attention:* 4 layers with 1 head of size 32 · 10,000 steps of 32 × 512 tokens · 1 learning rate tried · \
one seed · recall 81 % · needle at T = 1,024: 62 %
*Ours:* 4 layers with 4 heads of size 32 · 20,000 steps of 16 × 512 tokens · 10 learning rates tried · \
best of 5 seeds · recall 93 % · needle at T = 1,024: 88 %

Both models have the same features around the mixer, recall is measured at T = 512 on the same texts with 16 possible \
answers, and the needle column is a mean over eleven depths. Which list holds flaws of this table, and nothing that is \
in order?""",
    options={
        "A": Option(
            "Ours saw more data; ours has four times the state; its best seed stands against a single one; a mean over "
            "depths cannot show that it holds at all of them.",
            why="20,000 × 16 × 512 and 10,000 × 32 × 512 are equally many tokens. The data are in order.",
        ),
        "B": Option(
            "Ours has four times the state; ours was tuned with ten learning rates against one; its best seed stands "
            "against a single one; a mean over depths cannot show that it holds at all of them.",
            why="each of the four favours ours or hides a failure, and each can be checked in the table. Tokens, "
            "features and test texts are in order.",
        ),
        "C": Option(
            "The features differ; ours was tuned with ten learning rates against one; its best seed stands against a "
            "single one; a mean over depths cannot show that it holds at all of them.",
            why="the text says that the features are the same, so nothing there is confounded with the rule.",
        ),
        "D": Option(
            "Chance is not subtracted, so the order of the models may be wrong; ours has four times the state; ours "
            "was tuned with ten learning rates against one; its best seed stands against a single one.",
            why="chance is the same for both, 1 in 16: subtracting it changes the distances, never the order.",
        ),
    },
    answer="B",
)

FRONT = CodeQuestion(
    id="17.6",
    objective="choose-pareto",
    title="The Pareto front of many models",
    points=3,
    minutes=15,
    difficulty=3,
    inputs=two_axes,
    reference=front_reference,
    visible=[
        _points("memory and recall", 3, 12, False, True, 8, True),
        _points("two costs", 5, 14, False, False, 6, True),
        _points("two scores", 2, 12, True, True, 7, True),
        Limit(
            "100,000 models",
            T=100_000,
            K=1,
            V=1,
            seed=1,
            dtype=torch.float64,
            cpu_seconds=20,
            gigabytes=0.3,
            hint="Sorted by one axis, a point need not be compared with all others.",
            more_x=False,
            more_y=True,
        ),
    ],
    hidden=[
        _points("hidden 1", 8, 1, True, False, 4, True),
        _points("hidden 2", 9, 40, True, False, 30, True),
        Shapes(
            8, T=(5, 60), more_x=[True, False], more_y=[True, False], distinct=(2, 40), trade=[True, False]
        ),
        Limit(
            "more models",
            T=100_000,
            K=1,
            V=1,
            seed=2,
            dtype=torch.float64,
            cpu_seconds=20,
            gigabytes=0.3,
            hint="Sorted by one axis, a point need not be compared with all others.",
            more_x=False,
            more_y=True,
        ),
    ],
    wrong={
        better_on_both_needed: "a point stays although another is as good on one axis and better on the other.",
        copies_beat_each_other: "two equal points knock each other out: neither is better than the other.",
        one_copy_kept: "of two equal points you keep one: nothing beats the other one either.",
        less_is_always_better: "you take less as better on both axes, whatever `more_x` and `more_y` say.",
        more_is_always_better: "you take more as better on both axes, whatever `more_x` and `more_y` say.",
        first_axis_decides_the_direction: "the second axis follows `more_x`: it has a direction of its own.",
        ends_only: "only the best point of each axis is left: what lies between them is also unbeaten.",
        corners_only: "a point is missing that no other one beats: it need not win a weighted sum of both axes.",
        the_worst_ones: "that is the front of the worst: the directions are turned round.",
        ties_of_the_second_axis_kept: "a point stays although another one is equal on the second axis and better on "
        "the first.",
        ties_of_the_first_axis_kept: "a point stays although another one is equal on the first axis and better on the "
        "second.",
        ties_in_the_order_they_come: "of points that are equal on the axis you sort by, the first to come stays, even "
        "if it is the worse one, and no copy of it does.",
    },
    accepted=[front_one_by_one],
    too_big=[every_pair_compared],
    outputs=("on the front [N]",),
)

CHOOSE = ChoiceQuestion(
    id="17.7",
    objective="choose-pareto",
    title="Choose, and say what was given up",
    points=2,
    minutes=6,
    difficulty=2,
    question="""An assistant must answer from a document of 4,096 tokens. Medians over three seeds \
(memory per text, recall of old facts, prefill):

P · 512 kB · 100 % · 90 ms
Q · 260 kB · 99 % · 60 ms
R · 300 kB · 97 % · 80 ms
S · 4 kB · 71 % · 35 ms
U · 3 kB · 8 % · 30 ms

At least 95 % of old facts must be found, and memory may not pass 400 kB. Which choice is right, with its reason?""",
    options={
        "A": Option(
            "P: it has the best recall, and a report card is read from its quality column.",
            why="512 kB is above the limit. The best on one axis is no choice if it breaks a limit on another.",
        ),
        "B": Option(
            "S: it is on the front, with a hundredth of the allowed memory, and nothing of its size recalls more.",
            why="being on the front does not meet a floor: 71 % is below the 95 % that were asked for.",
        ),
        "C": Option(
            "Q: it meets both limits and beats R on every axis; it gives up a little recall, and what S saves.",
            why="limits first, then the front: Q and R remain, and Q is better than R everywhere.",
        ),
        "D": Option(
            "R: it meets both limits, and being in the middle of every column, it gives up least on each of them.",
            why="R is beaten by Q on memory, recall and time. What is beaten everywhere is never the right compromise.",
        ),
    },
    answer="C",
)

QUESTIONS = [AVERAGE, NEEDLES, HELD, FAIR, FLAWS, FRONT, CHOOSE]
