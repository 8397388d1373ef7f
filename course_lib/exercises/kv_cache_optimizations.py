"""Questions of chapter 05: which factor of the cache's size a method attacks, and what that costs.

The budget of 05.1 counts the sinks, its keys are handed over before they are turned, and it returns what is held at
the end: `SinkCache` counts and returns otherwise. The last group of 05.2 may be short, where `QuantisedCache` waits
for a full one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from course_lib.attention.rope import rope

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes

# --- 05.1 sinks and a window in one budget ------------------------------------------------------------


def unturned_tokens(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """q, k `[B, T, H, K]` and v `[B, T, H, V]`, none of them turned; the sinks and the budget."""

    def draw(channels: int) -> Tensor:
        shape = case.B, case.T, case.H, channels
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    return draw(case.K), draw(case.K), draw(case.V), case.sinks, case.budget


def by_place(t: int, held: Sequence[int]) -> tuple[int, list[int]]:
    """Where the query of token t and the keys of the tokens held stand: at their places in the cache."""
    return len(held) - 1, list(range(len(held)))


def _decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    sinks: int,
    budget: int,
    *,
    keep: Callable[[list[int], int, int], list[int]] | None = None,
    stand: Callable[[int, Sequence[int]], tuple[int, list[int]]] = by_place,
    late: bool = False,
    scale_power: float = 0.5,
    turn_values: bool = False,
    turned_back: bool = False,
) -> tuple[Tensor, Tensor]:
    """The reference, and the slips that change one of its parts. `keep` says which tokens stay of those held."""
    keep = keep or _sinks_and_newest
    held: list[int] = []
    outputs = []
    for t in range(q.shape[1]):
        before = [*held, t]
        held = keep(before, sinks, budget)
        read = before if late else held
        place, places = stand(t, read)
        q_t = rope(q[:, t : t + 1], torch.tensor([place]))
        keys, values = rope(k[:, read], torch.tensor(places)), v[:, read]
        values = rope(values, torch.tensor(places)) if turn_values else values
        weights = (torch.einsum("bthk,bnhk->bhtn", q_t, keys) * k.shape[-1] ** -scale_power).softmax(-1)
        outputs.append(torch.einsum("bhtn,bnhv->bthv", weights, values))
    return torch.cat(outputs, 1), keys if turned_back else k[:, held]


def _sinks_and_newest(held: list[int], sinks: int, budget: int) -> list[int]:
    return held if len(held) <= budget else held[:sinks] + held[sinks + 1 :]


def sinks_reference(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Outputs `[B, T, H, V]` and the keys held at the end, oldest first and not turned, `[B, min(T, budget), H, K]`."""
    return _decode(q, k, v, sinks, budget)


def sinks_joined_and_cut(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Two tensors that grow and are cut, softmax written out."""
    keys, values, outputs = k[:, :0], v[:, :0], []
    for q_t, k_t, v_t in zip(*(x.split(1, dim=1) for x in (q, k, v)), strict=True):
        keys, values = torch.cat([keys, k_t], 1), torch.cat([values, v_t], 1)
        if keys.shape[1] > budget:
            keys, values = (torch.cat([x[:, :sinks], x[:, sinks - budget :]], 1) for x in (keys, values))
        place = torch.arange(keys.shape[1])
        scores = (rope(q_t, place[-1:]) * rope(keys, place)).sum(-1, keepdim=True) / k.shape[-1] ** 0.5
        weights = (scores - scores.amax(1, keepdim=True)).exp()
        outputs.append((weights * values).sum(1, keepdim=True) / weights.sum(1, keepdim=True))
    return torch.cat(outputs, 1), keys


def sinks_in_a_ring(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """A buffer of `budget` slots that are overwritten in turn; the slots' places turn with them."""
    B, T, H, _ = k.shape
    keys, values = k.new_zeros(B, budget, H, k.shape[-1]), v.new_zeros(B, budget, H, v.shape[-1])
    token, outputs = torch.full((budget,), -1), []
    for t in range(T):
        slot = t if t < budget else sinks + (t - sinks) % (budget - sinks)
        keys[:, slot], values[:, slot], token[slot] = k[:, t], v[:, t], t
        used = min(t + 1, budget)
        places = token[:used].argsort().argsort()
        sdpa = torch.nn.functional.scaled_dot_product_attention
        parts = (
            rope(q[:, t : t + 1], torch.tensor([used - 1])),
            rope(keys[:, :used], places),
            values[:, :used],
        )
        outputs.append(sdpa(*(x.transpose(1, 2) for x in parts)).transpose(1, 2))
    return torch.cat(outputs, 1), keys[:, token[: min(T, budget)].argsort()]


def original_positions(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, stand=lambda t, held: (t, list(held)))


def query_at_its_position(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, stand=lambda t, held: (t, list(range(len(held)))))


def query_after_its_key(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, stand=lambda t, held: (len(held), list(range(len(held)))))


def turned_on_arrival(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Each key is turned once, by its place when it came, and keeps it while others leave."""
    return _decode(
        q, k, v, sinks, budget, stand=lambda t, held: (len(held) - 1, [min(j, budget - 1) for j in held])
    )


def nothing_turned(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, stand=lambda t, held: (0, [0] * len(held)))


def values_turned(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, turn_values=True)


def turned_keys_returned(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, turned_back=True)


def sinks_evicted(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, keep=lambda held, s, n: held[-n:])


def window_frozen(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, keep=lambda held, s, n: [*held[: n - 1], held[-1]])


def sinks_outside_the_budget(
    q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int
) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget + sinks)


def one_too_few(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget - 1)


def one_too_many(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget + 1)


def evicts_after_it_attends(
    q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int
) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, late=True)


def one_sink_lost(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    def keep(held: list[int], s: int, n: int) -> list[int]:
        return held if len(held) <= n else held[: s - 1] + held[s:]

    return _decode(q, k, v, sinks, budget, keep=keep)


def nothing_evicted(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, keep=lambda held, s, n: held)


def places_of_slots(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """A ring whose slots are taken for places: the newest token stands wherever the oldest one stood."""

    def slot(j: int) -> int:
        return j if j < budget else sinks + (j - sinks) % (budget - sinks)

    return _decode(q, k, v, sinks, budget, stand=lambda t, held: (slot(t), [slot(j) for j in held]))


def turned_again(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """The turned keys are put back into the cache, and turned on from there at the next token."""
    turned = [0] * k.shape[1]

    def stand(t: int, held: Sequence[int]) -> tuple[int, list[int]]:
        for place, j in enumerate(held):
            turned[j] += place
        return len(held) - 1, [turned[j] for j in held]

    return _decode(q, k, v, sinks, budget, stand=stand, turned_back=True)


def query_not_turned(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, stand=lambda t, held: (0, list(range(len(held)))))


def not_scaled(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, scale_power=0.0)


def scaled_twice(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _decode(q, k, v, sinks, budget, scale_power=1.0)


def two_leave_at_once(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    def keep(held: list[int], s: int, n: int) -> list[int]:
        return held if len(held) <= n else held[:s] + held[s - n + 1 :]

    return _decode(q, k, v, sinks, budget, keep=keep)


def full_matrices(q: Tensor, k: Tensor, v: Tensor, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Right, but from T×T scores: those to the sinks, those in the window, and a mask."""
    T, t = k.shape[1], torch.arange(k.shape[1])
    q_late = rope(q, t.clamp(max=budget - 1))
    to_sinks = torch.einsum("bthk,bshk->bhts", q_late, rope(k, t))
    near = torch.einsum("bthk,bshk->bhts", rope(q, t), rope(k, t))
    scores = torch.where(t < sinks, to_sinks, near) / k.shape[-1] ** 0.5
    seen = (t <= t[:, None]) & ((t < sinks) | (t > t[:, None] - (budget - sinks)))
    seen |= (t <= t[:, None]) & (t[:, None] < budget)
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    held = t if budget >= T else torch.cat([t[:sinks], t[sinks - budget :]])
    return torch.einsum("bhts,bshv->bthv", weights, v), k[:, held]


# --- 05.2 keys in few bits, channel by channel --------------------------------------------------------


def keys_to_round(case: Case, rng: torch.Generator) -> tuple[Tensor, int, int]:
    """k `[B, T, H, K]` with a large channel, and one that never changes where `case.flat`; bits and group."""
    k = torch.randn(case.B, case.T, case.H, case.K, generator=rng, dtype=torch.float64)
    k[..., 0] += 9
    if case.flat:
        k[..., -1] = 0.75
    return k.to(case.dtype), case.bits, case.group


def _quantise(
    k: Tensor,
    bits: int,
    group: int,
    *,
    axis: int = 1,
    levels: Callable[[int], int] = lambda bits: 2**bits - 1,
    to_code: Callable[[Tensor], Tensor] = torch.round,
    symmetric: bool = False,
    heads: bool = True,
    batch: bool = True,
    pad: bool = False,
    unsafe: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    parts = []
    n = k.shape[1]
    if pad:
        k = torch.cat([k, k.new_zeros(k.shape[0], -n % group, *k.shape[2:])], 1)
    for x in k.split(group, dim=1):
        low, high = x.amin(axis, keepdim=True), x.amax(axis, keepdim=True)
        if not heads:
            low, high = low.amin(2, keepdim=True).expand_as(low), high.amax(2, keepdim=True).expand_as(high)
        if not batch:
            low, high = low.amin(0, keepdim=True).expand_as(low), high.amax(0, keepdim=True).expand_as(high)
        if symmetric:
            high = torch.maximum(low.abs(), high.abs())
            low = -high
        step = (high - low) / levels(bits)
        divisor = step if unsafe else torch.where(step == 0, 1, step)
        parts.append(((to_code((x - low) / divisor)).long(), step, low))
    codes, step, low = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    return codes[:, :n], step, low


def quantise_reference(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes `[B, T, H, K]`, and of each group and channel the step and the low, `[B, ⌈T/group⌉, H, K]`."""
    return _quantise(k, bits, group)


def quantise_all_at_once(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """The last token repeated until the last group is full: that changes neither low nor high."""
    T = k.shape[1]
    padded = torch.cat([k, k[:, -1:].expand(-1, -T % group, -1, -1)], 1).unflatten(1, (-1, group))
    low, high = padded.aminmax(dim=2)
    step = (high - low) / (2**bits - 1)
    codes = ((padded - low[:, :, None]) / step[:, :, None]).nan_to_num(0).round()
    return codes.flatten(1, 2)[:, :T].to(torch.uint8), step, low


def per_token(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, axis=3)


def per_token_in_groups(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    """One step for all channels of a group, in the right shape."""
    parts = []
    for x in k.split(group, dim=1):
        low, high = x.amin((1, 3), keepdim=True), x.amax((1, 3), keepdim=True)
        step = (high - low) / (2**bits - 1)
        codes = ((x - low) / torch.where(step == 0, 1, step)).round().long()
        parts.append((codes, *(y.expand(-1, -1, -1, k.shape[3]) for y in (step, low))))
    return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))


def one_group_for_all(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, k.shape[1])
    groups = -(-k.shape[1] // group)
    return codes, *(x.expand(-1, groups, -1, -1) for x in (step, low))


def one_level_too_many(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, levels=lambda bits: 2**bits)


def cut_not_rounded(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, to_code=torch.floor)


def symmetric_range(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, symmetric=True)


def heads_share(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, heads=False)


def sequences_share(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, batch=False)


def zeros_in_the_last_group(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, pad=True)


def tail_dropped(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    whole = k.shape[1] // group * group
    return _quantise(k[:, :whole], bits, group)


def divided_by_zero(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, unsafe=True)


def divisor_returned(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, group)
    return codes, torch.where(step == 0, 1, step), low


def tiny_step_added(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, group)
    return codes, step + 1e-8, low


def step_never_zero(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, group)
    return codes, step.clamp(min=1e-8), low


def half_the_levels(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    return _quantise(k, bits, group, levels=lambda bits: 2 ** (bits - 1) - 1)


def signed_bytes(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, group)
    return codes.to(torch.int8), step, low


def rounded_values(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, group)
    steps, lows = (x.repeat_interleave(group, 1)[:, : k.shape[1]] for x in (step, low))
    return lows + steps * codes, step, low


def high_for_low(k: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor, Tensor]:
    codes, step, low = _quantise(k, bits, group)
    return codes, step, low + step * (2**bits - 1)


# --- 05.4 reserved and not used -----------------------------------------------------------------------


def texts(case: Case, rng: torch.Generator) -> tuple[list[int], int, int, int]:
    """Lengths of sequences that all begin with the same `prefix` tokens; the longest allowed; the page size."""
    return list(case.lengths), case.prefix, case.longest, case.page


def _up(n: int, page: int) -> int:
    return -(-n // page) * page


def reserved_reference(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    """Tokens of room: for the longest text each, in pages, and in pages of which the prefix's are shared."""
    paged = sum(_up(n, page) for n in lengths)
    whole = prefix // page * page
    return len(lengths) * longest, paged, paged - (len(lengths) - 1) * whole


def reserved_by_tables(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    """Every page by its name: a shared one is named after its number only."""
    rooms, apart, together = 0, [], set()
    for i, n in enumerate(lengths):
        rooms += longest
        for start in range(0, n, page):
            apart.append((i, start))
            together.add(start if start + page <= prefix else (i, start))
    return rooms, page * len(apart), page * len(together)


def last_page_forgotten(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    paged, whole = sum(n // page * page for n in lengths), prefix // page * page
    return len(lengths) * longest, paged, paged - (len(lengths) - 1) * whole


def pages_without_waste(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    total = sum(lengths)
    return len(lengths) * longest, total, total - (len(lengths) - 1) * prefix


def always_one_more_page(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    paged, whole = sum((n // page + 1) * page for n in lengths), prefix // page * page
    return len(lengths) * longest, paged, paged - (len(lengths) - 1) * whole


def one_long_text(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    paged, whole = _up(sum(lengths), page), prefix // page * page
    return len(lengths) * longest, paged, paged - (len(lengths) - 1) * whole


def half_page_shared(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    rooms, paged, _ = reserved_reference(lengths, prefix, longest, page)
    return rooms, paged, paged - (len(lengths) - 1) * prefix


def page_of_both_shared(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    rooms, paged, _ = reserved_reference(lengths, prefix, longest, page)
    return rooms, paged, paged - (len(lengths) - 1) * _up(prefix, page)


def prefix_apart(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    rooms, paged, _ = reserved_reference(lengths, prefix, longest, page)
    return rooms, paged, _up(prefix, page) + sum(_up(n - prefix, page) for n in lengths)


def prefix_kept_by_nobody(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    rooms, paged, _ = reserved_reference(lengths, prefix, longest, page)
    return rooms, paged, paged - len(lengths) * (prefix // page * page)


def nothing_shared(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    rooms, paged, _ = reserved_reference(lengths, prefix, longest, page)
    return rooms, paged, paged


def longest_of_these(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    _, paged, shared = reserved_reference(lengths, prefix, longest, page)
    return len(lengths) * max(lengths), paged, shared


def waste_not_room(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    return tuple(room - sum(lengths) for room in reserved_reference(lengths, prefix, longest, page))


def pages_not_tokens(lengths: list[int], prefix: int, longest: int, page: int) -> tuple[int, int, int]:
    rooms, paged, shared = reserved_reference(lengths, prefix, longest, page)
    return rooms, paged // page, shared // page


def _texts(name: str, lengths: Sequence[int], prefix: int, longest: int, page: int) -> Case:
    extras = {"lengths": tuple(lengths), "prefix": prefix, "longest": longest, "page": page}
    return Case(name, **extras)


# --- 05.5 ten methods ---------------------------------------------------------------------------------

TEN = {
    "one key head": "2HD",
    "shared latent": "2HD",
    "neighbours share": "L",
    "one in four": "L",
    "looked at least": "T",
    "eight bits": "bytes",
    "one system prompt": "B",
    "no longest text": "utilisation",
    "a matrix": "all",
    "block by block": "none",
}


def ten_reference() -> dict[str, str]:
    """The factor that each of the ten attacks."""
    return dict(TEN)


def ten_from_a_table() -> dict[str, str]:
    by_factor = {
        "2HD": ("one key head", "shared latent"),
        "L": ("neighbours share", "one in four"),
        "T": ("looked at least",),
        "bytes": ("eight bits",),
        "B": ("one system prompt",),
        "utilisation": ("no longest text",),
        "all": ("a matrix",),
        "none": ("block by block",),
    }
    return {name: factor for factor, names in by_factor.items() for name in names}


def flash_attacks_T() -> dict[str, str]:
    return TEN | {"block by block": "T"}


def flash_attacks_utilisation() -> dict[str, str]:
    return TEN | {"block by block": "utilisation"}


def flash_attacks_bytes() -> dict[str, str]:
    return TEN | {"block by block": "bytes"}


def matrix_attacks_layers() -> dict[str, str]:
    return TEN | {"a matrix": "L"}


def matrix_attacks_T() -> dict[str, str]:
    return TEN | {"a matrix": "T"}


def matrix_attacks_heads() -> dict[str, str]:
    return TEN | {"a matrix": "2HD"}


def latent_attacks_bytes() -> dict[str, str]:
    return TEN | {"shared latent": "bytes"}


def latent_attacks_T() -> dict[str, str]:
    return TEN | {"shared latent": "T"}


def looked_attacks_heads() -> dict[str, str]:
    return TEN | {"looked at least": "2HD"}


def eight_bits_attacks_heads() -> dict[str, str]:
    return TEN | {"eight bits": "2HD"}


def matrix_attacks_nothing() -> dict[str, str]:
    return TEN | {"a matrix": "none"}


def hybrid_attacks_T() -> dict[str, str]:
    return TEN | {"one in four": "T"}


def hybrid_attacks_all() -> dict[str, str]:
    return TEN | {"one in four": "all"}


def prefix_attacks_T() -> dict[str, str]:
    return TEN | {"one system prompt": "T"}


def prefix_attacks_utilisation() -> dict[str, str]:
    return TEN | {"one system prompt": "utilisation"}


def paging_attacks_B() -> dict[str, str]:
    return TEN | {"no longest text": "B"}


def paging_attacks_T() -> dict[str, str]:
    return TEN | {"no longest text": "T"}


def neighbours_attack_heads() -> dict[str, str]:
    return TEN | {"neighbours share": "2HD"}


def key_head_attacks_layers() -> dict[str, str]:
    return TEN | {"one key head": "L"}


# --- the declarations ---------------------------------------------------------------------------------

KEEP = "one query needs the scores to the tokens held, never a T × T matrix."

SINKS = CodeQuestion(
    id="05.1",
    objective="sinks-window",
    title="Sinks and a window in one budget",
    points=4,
    minutes=15,
    difficulty=3,
    inputs=unturned_tokens,
    reference=sinks_reference,
    visible=[
        Case("all of it fits", T=4, K=4, V=2, sinks=1, budget=6),
        Case("9 tokens, room for 5", T=9, K=4, V=4, sinks=2, budget=5),
        Case("two heads, ragged", B=2, T=13, H=2, K=8, V=6, sinks=3, budget=7),
        Limit(
            "1,024 tokens",
            T=1024,
            H=2,
            K=16,
            V=16,
            sinks=4,
            budget=32,
            cpu_seconds=12,
            gigabytes=0.005,
            hint=KEEP,
        ),
    ],
    hidden=[
        Shapes(6, T=(10, 24), K=[4, 6, 8], V=[4, 6], sinks=(2, 3), budget=(5, 7)),
        Limit(
            "2,048 tokens, 32 heads",
            T=2048,
            H=32,
            K=2,
            V=2,
            sinks=4,
            budget=32,
            cpu_seconds=20,
            gigabytes=0.3,
            hint=KEEP,
        ),
    ],
    wrong={
        original_positions: "tokens stand at their positions in the *text*: the sinks move ever farther away from "
        "the query.",
        query_at_its_position: "the keys stand at their places in the cache, but the query still at its position in "
        "the text.",
        query_after_its_key: "the query stands one place behind its own key: a token's query and key share a place.",
        turned_on_arrival: "a key keeps the angle it got when it came, though its place changes as others leave.",
        nothing_turned: "neither queries nor keys are turned: that cache is a bag.",
        values_turned: "the values are turned too: positions belong into the scores.",
        turned_keys_returned: "the outputs are right, but the keys you return are turned.",
        sinks_evicted: "the first tokens leave with the others: that is a window without sinks.",
        window_frozen: "after the budget is full, only the newest token changes: the window does not move.",
        sinks_outside_the_budget: "you hold too much: the sinks come on top of the budget.",
        one_too_few: "you hold one token too few: a token leaves before the budget is full.",
        one_too_many: "you hold one token too many once the budget is full.",
        evicts_after_it_attends: "a new query still sees the token that its own arrival pushes out.",
        one_sink_lost: "the last of the sinks leaves with the others.",
        nothing_evicted: "no token ever leaves.",
        places_of_slots: "tokens stand where they happen to lie in a ring: the newest one is not always the last.",
        turned_again: "keys that were turned already are turned once more at every new token.",
        query_not_turned: "the keys are turned and the query is not.",
        not_scaled: "the scores are too large: the factor 1/√K is missing.",
        scaled_twice: "the scores are too small: they are scaled twice.",
        two_leave_at_once: "where one token has to leave, two do.",
    },
    accepted=[sinks_joined_and_cut, sinks_in_a_ring],
    too_big=[full_matrices],
    outputs=("outputs [B, T, H, V]", "keys held [B, n, H, K]"),
)

ROUND = CodeQuestion(
    id="05.2",
    objective="quantize-cache",
    title="Keys in few bits, channel by channel",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=keys_to_round,
    reference=quantise_reference,
    visible=[
        Case("two full groups", T=8, K=4, bits=4, group=4, flat=False),
        Case("a short last group", B=2, T=11, H=2, K=3, bits=2, group=4, flat=False),
        Case("a channel that never changes", B=1, T=6, H=1, K=3, bits=8, group=4, flat=True),
    ],
    hidden=[
        *(
            Case(f"hidden {n}", B=2, T=T, H=2, K=K, seed=n, bits=bits, group=group, flat=flat)
            for n, (T, K, bits, group, flat) in enumerate(
                [(23, 5, 4, 8, True), (17, 4, 2, 16, False), (9, 6, 8, 4, True), (30, 2, 4, 7, False)], 1
            )
        )
    ],
    wrong={
        per_token: "the channels of a token share a step: one large channel then decides for all of them.",
        per_token_in_groups: "all channels of a group share one step: one large channel then decides for all of them.",
        one_group_for_all: "all tokens share a step: every group has its own.",
        one_level_too_many: "your largest code does not fit into the bits: count the codes, and then the steps "
        "between them.",
        cut_not_rounded: "your codes are cut off and not rounded: errors reach a whole step instead of half of one.",
        symmetric_range: "your range is symmetric around 0: a channel that lies far from 0 wastes most of its codes.",
        heads_share: "the heads share a step.",
        sequences_share: "the sequences of the batch share a step.",
        zeros_in_the_last_group: "the last group is filled up with zeros, and they count as its numbers.",
        tail_dropped: "the tokens after the last full group are missing.",
        divided_by_zero: "where a group's numbers are all equal, the step is 0, and you divide by it.",
        divisor_returned: "where a group's numbers are all equal, you return a step of 1.",
        step_never_zero: "where a group's numbers are all equal, you return a step that is tiny and not 0.",
        tiny_step_added: "every step you return has something tiny added to it.",
        half_the_levels: "you use half of the codes that the bits can name.",
        signed_bytes: "your codes are signed: those from 128 on come back negative.",
        rounded_values: "your first result holds the rounded numbers, not the codes.",
        high_for_low: "your third result is the largest number of each group, not the smallest.",
    },
    accepted=[quantise_all_at_once],
    outputs=("codes [B, T, H, K]", "step [B, n, H, K]", "low [B, n, H, K]"),
)

GAP = ChoiceQuestion(
    id="05.3",
    objective="quantize-cache",
    title="Explain the gap",
    points=2,
    minutes=4,
    difficulty=2,
    question="A cache of 16-bit numbers (head size 64) is stored in 4 bits as in section 4: groups of 32 tokens, the "
    "newest 128 or a few more in full. Its bits alone predict 0.25 of the bytes. Measured: T = 256: 0.65. T = 1,024: "
    "0.38. T = 65,536: 0.298. T = 1,048,576: 0.297. Which explanation fits all four?",
    options={
        "A": Option(
            "The tokens that stay in full: they are a part of the cache that fades as the text grows.",
            why="they explain the first two numbers. At a million tokens they are one in eight thousand, and "
            "0.297 is still not 0.25.",
        ),
        "B": Option(
            "The lows and steps that come with the codes: they take the same part of the cache at any length.",
            why="what takes the same part at any length cannot make 0.65 of one text and 0.30 of another.",
        ),
        "C": Option(
            "Full tokens that fade as the text grows, and lows and steps that add 0.75 bits to each number for good.",
            why="a key's low and step (32 bits) serve the 32 numbers of a channel's group, a value's the 64 of a "
            "token: 1 and 0.5 bits more. 4.75 / 16 is 0.297, and the full tokens come on top while the text is short.",
        ),
        "D": Option(
            "Full tokens that fade as the text grows, and codes that take 8 bits of room instead of 4 for good.",
            why="two codes share a byte. If each had its own, the cache could not fall below a half.",
        ),
        "E": Option(
            "Buffers double when they are full, so that up to half of their room is empty.",
            why="that is room reserved and not used, and these are bytes in use. It would also jump up and down with "
            "the length instead of falling.",
        ),
    },
    answer="C",
)

PAGES = CodeQuestion(
    id="05.4",
    objective="paging-waste",
    title="Room that is reserved and not used",
    points=3,
    minutes=8,
    difficulty=2,
    inputs=texts,
    reference=reserved_reference,
    visible=[
        _texts("three texts", [5, 17, 32], 0, 64, 16),
        _texts("a shared beginning", [40, 33, 50, 64], 24, 128, 16),
        _texts("a prefix of whole pages", [20, 16, 31], 16, 100, 8),
    ],
    hidden=[
        _texts("hidden 1", [7, 8, 9, 23], 5, 31, 4),
        _texts("hidden 2", [100], 64, 256, 32),
        _texts("hidden 3", [640, 333, 1000, 512, 97], 95, 2048, 16),
        _texts("hidden 4", [3, 3, 3], 2, 3, 1),
    ],
    wrong={
        last_page_forgotten: "the last, partly filled page of a text is missing.",
        pages_without_waste: "your last two numbers are tokens that are there, not room: a page is fetched whole.",
        always_one_more_page: "a text that fills its pages exactly gets one page too many.",
        one_long_text: "you put all texts into one row of pages: two texts cannot write into the same page.",
        half_page_shared: "a part of a page is shared: a page whose end differs from text to text has to be there for "
        "each.",
        page_of_both_shared: "a page in which the prefix ends is shared as well: what comes after the prefix differs.",
        prefix_apart: "what follows the prefix begins a new page: the pages of a text have no gaps.",
        prefix_kept_by_nobody: "the shared pages are not counted at all: one copy of them is needed.",
        nothing_shared: "the third number shares nothing.",
        longest_of_these: "without pages, nobody knows beforehand how long these texts will become.",
        waste_not_room: "you return what is wasted; asked for is all that is reserved.",
        pages_not_tokens: "you count pages; asked for is their room in tokens.",
    },
    accepted=[reserved_by_tables],
    outputs=("longest", "pages", "shared pages"),
)

CATEGORIES = CodeQuestion(
    id="05.5",
    objective="categorize",
    title="Ten methods, one formula",
    points=3,
    minutes=8,
    difficulty=2,
    inputs=lambda case, rng: (),
    reference=ten_reference,
    visible=[Case("ten methods")],
    hidden=[Case("ten methods again")],
    wrong={
        flash_attacks_T: '"block by block": every token\'s key and value is still there and still read.',
        flash_attacks_utilisation: '"block by block": what is reserved for keys and values stays the same; only the '
        "scores are never stored.",
        flash_attacks_bytes: '"block by block": each number that is kept has as many bits as before.',
        matrix_attacks_layers: '"a matrix": no layer is spared, each keeps one.',
        matrix_attacks_T: '"a matrix": no token is left, so neither is a number of heads, or of sizes of keys and '
        "values *per token*.",
        matrix_attacks_heads: '"a matrix": no token is left, so it cannot be fewer numbers *per token*.',
        latent_attacks_bytes: '"shared latent": each number kept has as many bits as before.',
        latent_attacks_T: '"shared latent": every token is still there.',
        looked_attacks_heads: '"looked at least": every head stays, with all its channels.',
        eight_bits_attacks_heads: '"eight bits": there are as many numbers as before.',
        matrix_attacks_nothing: '"a matrix": at long contexts much less is kept than before.',
        hybrid_attacks_T: '"one in four": a softmax layer of this model still keeps every token.',
        hybrid_attacks_all: '"one in four": the caches that are left are as large as ever, for every token.',
        prefix_attacks_T: '"one system prompt": each sequence still reads all of its tokens.',
        prefix_attacks_utilisation: '"one system prompt": the copies that are saved were not empty room.',
        paging_attacks_B: '"no longest text": it helps a single text as well.',
        paging_attacks_T: '"no longest text": each text keeps as many tokens as it has.',
        neighbours_attack_heads: '"neighbours share": a layer\'s cache has as many heads and channels as before.',
        key_head_attacks_layers: '"one key head": every layer still has a cache of its own.',
    },
    accepted=[ten_from_a_table],
    outputs=(),
)

PLACE = ChoiceQuestion(
    id="05.6",
    objective="place-linear",
    title="Where does a linear-time model belong?",
    points=2,
    minutes=4,
    difficulty=2,
    question='"A linear-time model is one more way to shrink the factor T of the cache." Choose the verdict together '
    "with the reason that decides it.",
    options={
        "A": Option(
            "True: like a window, it keeps only what the newest tokens left behind.",
            why="its sum holds something of every token it has read, unless a gate lets it fade; a window holds a few "
            "tokens whole and nothing of the rest.",
        ),
        "B": Option(
            "True: its bytes do not depend on T, so T is the factor it strikes out, and the others stay as they are.",
            why="after T there is no number per token left either: 2·H_kv·D goes with it, and H matrices K × V "
            "come instead, often in more bytes per number. The product of a layer is replaced and not divided.",
        ),
        "C": Option(
            "False: it replaces what a layer keeps by matrices whose size T does not enter, and computes another "
            "function.",
            why="a window or a quantised cache approximates the attention of a model that is there; a state belongs to "
            "a model that was trained with it. Only B and L are left of the product.",
        ),
        "D": Option(
            "False: the state of a linear layer is always larger than the cache that it replaces.",
            why="the state is larger below some length and smaller beyond it: it stands still and the cache grows.",
        ),
        "E": Option(
            "False: it keeps all keys and values, packed into one matrix, and reads each back as it was.",
            why="a K × V matrix has room for about K pairs: what is read back is mixed with everything else that was "
            "written.",
        ),
    },
    answer="C",
)

QUESTIONS = [SINKS, ROUND, GAP, PAGES, CATEGORIES, PLACE]
