"""Questions of chapter 14: what a memory of fixed size still returns, and how many bytes a target needs.

A memory that corrects itself is filled by a log of writes in which keys come back; the sequences of associative
recall are built from tokens that are given, so that no generator decides what is right; and both sizes, of a state
for a target and of a hybrid's memory, are arithmetic.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes

IGNORED = -100

# --- 14.1 recall by age, with keys that come back -----------------------------------------------------


def log_of_writes(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """keys `[keys, K]` of several lengths, values `[words, V]` of length 1, writes `[T, 2]`: (key, value).

    The last key is never written.
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    directions = torch.nn.functional.normalize(draw(case.keys, case.K), dim=-1)
    lengths = 0.4 + 0.9 * torch.rand(case.keys, 1, generator=rng, dtype=torch.float64).to(case.dtype)
    values = torch.nn.functional.normalize(draw(case.words, case.V), dim=-1)
    written = torch.randint(0, max(1, case.keys - 1), (case.T,), generator=rng)
    return directions * lengths, values, torch.stack([written, _words(case, rng)], 1)


def _words(case: Case, rng: torch.Generator) -> Tensor:
    return torch.randint(0, case.words, (case.T,), generator=rng)


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _filled(keys: Tensor, values: Tensor, writes: Tensor, correct: bool = True) -> Tensor:
    """S `[K, V]` after all writes: the delta rule with β = 1, or plain addition."""
    S = keys.new_zeros(keys.shape[1], values.shape[1])
    for key, word in writes.tolist():
        k = keys[key]
        S = S + torch.outer(k, values[word] - S.T @ k if correct else values[word])
    return S


def _last_writes(writes: Tensor) -> dict[int, tuple[int, int]]:
    """Of each key, the time of its newest write and its value; the oldest of them first."""
    newest: dict[int, tuple[int, int]] = {}
    for t, (key, word) in enumerate(writes.tolist()):
        newest.pop(key, None)
        newest[key] = (t, word)
    return newest


def _ages(times: Sequence[int], T: int) -> Tensor:
    return torch.tensor([T - 1 - t for t in times])


def _asked(
    S: Tensor, keys: Tensor, values: Tensor, live: dict[int, tuple[int, int]], T: int
) -> tuple[Tensor, Tensor]:
    times, words = zip(*live.values(), strict=True)
    answers = (keys[list(live)] @ S @ values.T).argmax(-1)
    return _ages(times, T), answers == torch.tensor(words)


def age_reference(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """Ages `[live]` of the newest bindings, oldest first, and whether each key returns its newest value."""
    keys = _unit(keys)
    return _asked(_filled(keys, values, writes), keys, values, _last_writes(writes), len(writes))


def age_one_key_after_another(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """The same, asked one by one from the newest write back, with the transposed state."""
    T, seen, found = len(writes), set(), []
    memory = keys.new_zeros(values.shape[1], keys.shape[1])  # [V, K]
    for key, word in writes.tolist():
        k = keys[key] / keys[key].norm()
        memory = memory @ (torch.eye(len(k), dtype=k.dtype) - torch.outer(k, k)) + torch.outer(
            values[word], k
        )
    for t in reversed(range(T)):
        key, word = writes[t].tolist()
        if key not in seen:
            seen.add(key)
            found.append((T - 1 - t, int((values @ (memory @ keys[key])).argmax()) == word))
    ages, right = zip(*reversed(found), strict=True)
    return torch.tensor(ages), torch.tensor(right)


def stale_values_counted(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    keys = _unit(keys)
    live, S = _last_writes(writes), _filled(keys, values, writes)
    bound = {key: {word for other, word in writes.tolist() if other == key} for key in live}
    answers = (keys[list(live)] @ S @ values.T).argmax(-1).tolist()
    right = [answer in bound[key] for key, answer in zip(live, answers, strict=True)]
    return _ages([t for t, _ in live.values()], len(writes)), torch.tensor(right)


def every_write_asked(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    keys = _unit(keys)
    answers = (keys[writes[:, 0]] @ _filled(keys, values, writes) @ values.T).argmax(-1)
    return torch.arange(len(writes)).flip(0), answers == writes[:, 1]


def average_only(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    return ages, right.double().mean()


def keys_not_normalised(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    return _asked(_filled(keys, values, writes), keys, values, _last_writes(writes), len(writes))


def added_instead_of_corrected(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    keys = _unit(keys)
    return _asked(_filled(keys, values, writes, False), keys, values, _last_writes(writes), len(writes))


def asked_at_once(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    return ages, torch.ones_like(right)


def newest_first(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    return ages.flip(0), right.flip(0)


def order_of_the_first_writes(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    newest = list(_last_writes(writes))
    places = [newest.index(key) for key in dict.fromkeys(writes[:, 0].tolist())]
    return ages[places], right[places]


def time_for_age(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    return len(writes) - 1 - ages, right


def age_counts_itself(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    return ages + 1, right


def order_of_the_key_numbers(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    ages, right = age_reference(keys, values, writes)
    places = torch.tensor(list(_last_writes(writes))).argsort()
    return ages[places], right[places]


def age_of_the_first_write(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    keys, first = _unit(keys), {}
    for t, key in enumerate(writes[:, 0].tolist()):
        first.setdefault(key, t)
    newest = _last_writes(writes)
    live = {key: (t, newest[key][1]) for key, t in first.items()}
    return _asked(_filled(keys, values, writes), keys, values, live, len(writes))


def every_state_kept(keys: Tensor, values: Tensor, writes: Tensor) -> tuple[Tensor, Tensor]:
    """Right, but keeps one state per write: memory grows as T·K·V."""
    keys = _unit(keys)
    states = [keys.new_zeros(keys.shape[1], values.shape[1])]
    for key, word in writes.tolist():
        states.append(states[-1] + torch.outer(keys[key], values[word] - states[-1].T @ keys[key]))
    return _asked(states[-1], keys, values, _last_writes(writes), len(writes))


# --- 14.3 state for a recall target -------------------------------------------------------------------


def recall_target(case: Case, rng: torch.Generator) -> tuple:
    """n, target, layers, heads, itemsize."""
    return case.n, case.target, case.layers, case.H, case.itemsize


def _lost(sigma: float) -> float:
    """Φ(−1/σ): how often one rival wins."""
    return math.erfc(1 / sigma / math.sqrt(2)) / 2


def _smallest(good: Callable[[int], bool]) -> int:
    D = 1
    while not good(D):
        D += 1
    return D


def _size(
    n: int,
    target: float,
    sigma: Callable[[int], float] | None = None,
    rivals: int | None = None,
) -> int:
    deviation = sigma or (lambda D: math.sqrt((D + 2 * n) / D**2))
    others = n - 1 if rivals is None else rivals
    return _smallest(lambda D: 1 - others * _lost(deviation(D)) >= target)


def target_reference(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    """(smallest D whose estimated recall reaches the target, bytes of all D×D states)."""
    D = _size(n, target)
    return D, layers * heads * D * D * itemsize


def target_by_halving(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    """The same by bisection, with the standard library's normal distribution."""
    low, high = 0, 1

    def reached(D: int) -> bool:
        return (n - 1) * NormalDist().cdf(-D / (D + 2 * n) ** 0.5) <= 1 - target

    while not reached(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high, high**2 * itemsize * layers * heads


def length_of_the_noise(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target, lambda D: math.sqrt(n / D))
    return D, layers * heads * D * D * itemsize


def one_rival(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target, rivals=1)
    return D, layers * heads * D * D * itemsize


def itself_a_rival(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target, rivals=n)
    return D, layers * heads * D * D * itemsize


def others_counted_once(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target, lambda D: math.sqrt(D + n) / D)
    return D, layers * heads * D * D * itemsize


def variance_for_deviation(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target, lambda D: (D + 2 * n) / D**2)
    return D, layers * heads * D * D * itemsize


def rival_is_not_noise(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target, lambda D: math.sqrt(2 * n) / D)
    return D, layers * heads * D * D * itemsize


def powers_of_two(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = 2 ** (_size(n, target) - 1).bit_length()
    return D, layers * heads * D * D * itemsize


def one_direction_a_pair(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    return n, layers * heads * n * n * itemsize


def one_state_only(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target)
    return D, D * D * itemsize


def one_head_a_layer(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target)
    return D, layers * D * D * itemsize


def one_layer(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target)
    return D, heads * D * D * itemsize


def numbers_for_bytes(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target)
    return D, layers * heads * D * D


def vector_instead_of_matrix(
    n: int, target: float, layers: int, heads: int, itemsize: int
) -> tuple[int, int]:
    D = _size(n, target)
    return D, layers * heads * D * itemsize


def one_state_a_pair(n: int, target: float, layers: int, heads: int, itemsize: int) -> tuple[int, int]:
    D = _size(n, target)
    return D, n * layers * heads * D * D * itemsize


def _target(name: str, n: int, target: float, layers: int, heads: int, itemsize: int) -> Case:
    return Case(name, H=heads, n=n, target=target, layers=layers, itemsize=itemsize)


# --- 14.4 sequences of associative recall -------------------------------------------------------------


def recall_tokens(case: Case, rng: torch.Generator) -> tuple[Tensor, ...]:
    """keys, values `[B, P]`, asked, places `[B, Q]`, noise `[B, T]`; keys may repeat, and some asked have no pair.

    Keys are below 100, values and noise are not.
    """
    B, P, Q, T = case.B, case.P, case.Q, case.T
    keys = torch.randint(0, P, (B, P), generator=rng) + 1
    values = 100 + torch.stack([torch.randperm(60, generator=rng)[:P] for _ in range(B)])
    asked = torch.randint(0, P + 1, (B, Q), generator=rng) + 1
    free = (T - 2 * P) // 2
    places = 2 * P + 2 * torch.stack([torch.randperm(free, generator=rng)[:Q] for _ in range(B)])
    return keys, values, asked, places, torch.randint(160, 200, (B, T), generator=rng)


def _build(
    keys: Tensor,
    values: Tensor,
    asked: Tensor,
    places: Tensor,
    noise: Tensor,
    *,
    right: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    shift: int = 0,
    empty: int = IGNORED,
) -> tuple[Tensor, Tensor]:
    inputs = noise.clone()
    inputs[:, : 2 * keys.shape[1]] = torch.stack([keys, values], -1).flatten(1)
    inputs.scatter_(1, places, asked)
    labels = torch.full_like(noise, empty)
    labels.scatter_(1, places + shift, (right or _newest)(keys, values, asked))
    return inputs, labels


def _newest(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
    """The value of each asked key's last pair `[B, Q]`, −100 where it has none."""
    same = asked[:, :, None] == keys[:, None]  # [B, Q, P]
    last = (same * torch.arange(1, keys.shape[1] + 1)).argmax(-1)
    return torch.where(same.any(-1), values.gather(1, last), IGNORED)


def mqar_reference(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """inputs `[B, T]`: pairs, then noise with the asked keys in their places; labels `[B, T]`: newest values."""
    return _build(keys, values, asked, places, noise)


def mqar_with_loops(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Row by row with a dictionary, which keeps the newest value by itself."""
    inputs, labels = noise.clone(), torch.full_like(noise, IGNORED)
    for b in range(len(noise)):
        told = dict(zip(keys[b].tolist(), values[b].tolist(), strict=True))
        for i in range(keys.shape[1]):
            inputs[b, 2 * i], inputs[b, 2 * i + 1] = keys[b, i], values[b, i]
        for key, place in zip(asked[b].tolist(), places[b].tolist(), strict=True):
            inputs[b, place], labels[b, place] = key, told.get(key, IGNORED)
    return inputs, labels


def labels_shifted(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    return _build(keys, values, asked, places, noise, shift=1)


def oldest_binding(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    def oldest(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        same = (asked[:, :, None] == keys[:, None]).long()
        return torch.where(same.any(-1), values.gather(1, same.argmax(-1)), IGNORED)

    return _build(keys, values, asked, places, noise, right=oldest)


def unseen_key_labelled(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    def always(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        found = _newest(keys, values, asked)
        return torch.where(found == IGNORED, values[:, :1], found)

    return _build(keys, values, asked, places, noise, right=always)


def zero_for_an_unseen_key(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    def known(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        found = _newest(keys, values, asked)
        return found.masked_fill(found == IGNORED, 0)

    return _build(keys, values, asked, places, noise, right=known)


def unseen_key_left_out(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    inputs, labels = _build(keys, values, asked, places, noise)
    unknown = labels.gather(1, places) == IGNORED
    return inputs.scatter(1, places, torch.where(unknown, noise.gather(1, places), asked)), labels


def pairs_labelled(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    inputs, labels = _build(keys, values, asked, places, noise)
    labels[:, : 2 * keys.shape[1] : 2] = values
    return inputs, labels


def loss_on_every_position(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    inputs, labels = _build(keys, values, asked, places, noise)
    return inputs, torch.where(labels == IGNORED, inputs, labels)


def zero_where_nothing_is_asked(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    inputs, labels = _build(keys, values, asked, places, noise)
    return inputs, labels.masked_fill(labels == IGNORED, 0)


def answer_in_the_inputs(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    inputs, labels = _build(keys, values, asked, places, noise)
    answers = labels.gather(1, places)
    told = torch.where(answers == IGNORED, inputs.gather(1, places + 1), answers)
    return inputs.scatter(1, places + 1, told), labels


def key_as_label(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    return _build(keys, values, asked, places, noise, right=lambda keys, values, asked: asked)


def value_by_position(
    keys: Tensor, values: Tensor, asked: Tensor, places: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    def in_order(keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        return values[:, torch.arange(asked.shape[1]) % values.shape[1]]

    return _build(keys, values, asked, places, noise, right=in_order)


# --- 14.6 a hybrid's memory ---------------------------------------------------------------------------


def hybrid_sizes(case: Case, rng: torch.Generator) -> tuple:
    """layers (a list of names), B, T, H, kv_heads, D, window, state_itemsize, cache_itemsize."""
    layers = case.pattern.split() * case.periods
    groups = max(1, case.H // 4)
    return layers, case.B, case.T, case.H, groups, case.K, case.window, case.b_state, case.b_cache


def _hybrid(
    layers: list[str],
    B: int,
    T: int,
    H: int,
    H_kv: int,
    D: int,
    window: int,
    b_state: int,
    b_cache: int,
) -> tuple[int, int]:
    kept = sum({"softmax": T, "window": min(T, window), "linear": 0}[layer] for layer in layers)
    return kept * B * H_kv * 2 * D * b_cache, layers.count("linear") * B * H * D * D * b_state


def hybrid_reference(
    layers: list[str],
    B: int,
    T: int,
    H: int,
    kv_heads: int,
    D: int,
    window: int,
    state_itemsize: int,
    cache_itemsize: int,
) -> tuple[int, int]:
    """(bytes cached, bytes of states): softmax keeps T tokens, window at most `window`, linear D×D a head."""
    return _hybrid(layers, B, T, H, kv_heads, D, window, state_itemsize, cache_itemsize)


def hybrid_layer_by_layer(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    """The same, adding up one layer at a time."""
    cached = states = 0
    for layer in layers:
        if layer == "linear":
            states += B * H * D**2 * b_state
        else:
            tokens = T if layer == "softmax" or window > T else window
            cached += tokens * B * (2 * H_kv * D) * b_cache
    return cached, states


def all_layers_cached(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    _, states = _hybrid(layers, B, T, H, H_kv, D, window, b_state, b_cache)
    return _hybrid(["softmax"] * len(layers), B, T, H, H_kv, D, window, b_state, b_cache)[0], states


def window_caches_all(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    return _hybrid(layers, B, T, H, H_kv, D, T, b_state, b_cache)


def window_always_full(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    kept = sum({"softmax": T, "window": window, "linear": 0}[layer] for layer in layers)
    return kept * B * H_kv * 2 * D * b_cache, layers.count("linear") * B * H * D * D * b_state


def state_for_every_token(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    cached, states = _hybrid(layers, B, T, H, H_kv, D, window, b_state, b_cache)
    return cached, states * T


def state_per_kv_head(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    return _hybrid(layers, B, T, H_kv, H_kv, D, window, b_state, b_cache)


def cache_per_query_head(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    return _hybrid(layers, B, T, H, H, D, window, b_state, b_cache)


def state_of_one_sequence(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    cached, states = _hybrid(layers, B, T, H, H_kv, D, window, b_state, b_cache)
    return cached, states // B


def one_sequence(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    return _hybrid(layers, 1, T, H, H_kv, D, window, b_state, b_cache)


def item_sizes_swapped(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    return _hybrid(layers, B, T, H, H_kv, D, window, b_cache, b_state)


def windows_keep_states(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    cached, states = _hybrid(layers, B, T, H, H_kv, D, window, b_state, b_cache)
    return cached, states + layers.count("window") * B * H * D * D * b_state


def keys_only(
    layers: list[str], B: int, T: int, H: int, H_kv: int, D: int, window: int, b_state: int, b_cache: int
) -> tuple[int, int]:
    cached, states = _hybrid(layers, B, T, H, H_kv, D, window, b_state, b_cache)
    return cached // 2, states


def _pattern(name: str, pattern: str, periods: int, **sizes: int) -> Case:
    return Case(name, pattern=pattern, periods=periods, **sizes)


# --- the declarations ---------------------------------------------------------------------------------

BY_AGE = CodeQuestion(
    id="14.1",
    objective="recall-by-age",
    title="Recall by age, when keys come back",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=log_of_writes,
    reference=age_reference,
    visible=[
        Case("a few writes", T=9, K=4, V=4, keys=6, words=5, seed=3),
        Case("many writes", T=40, K=6, V=5, keys=13, words=9, seed=1),
        Case("two keys", T=5, K=3, V=4, keys=3, words=4, seed=2),
        Limit(
            "4,096 writes",
            T=4096,
            K=64,
            V=64,
            keys=96,
            words=48,
            cpu_seconds=20,
            gigabytes=0.05,
            dtype=torch.float64,
            hint="keep one [K, V] state and overwrite it: what it was after each write is asked by nobody.",
        ),
    ],
    hidden=[
        Shapes(8, T=(4, 60), K=(3, 8), V=(3, 8), keys=(4, 14), words=(3, 10)),
        Limit(
            "32,768 writes",
            T=32_768,
            K=64,
            V=64,
            keys=96,
            words=48,
            cpu_seconds=25,
            gigabytes=0.4,
            dtype=torch.float64,
        ),
    ],
    wrong={
        stale_values_counted: "a key that returns a value which is out of date counts as right: only the value it "
        "was bound to last is.",
        every_write_asked: "you ask once for every write: a key that was bound again is asked for one value only, "
        "the newest.",
        average_only: "one average for all: return one answer for each key, so that its age can be seen.",
        keys_not_normalised: "the keys are used as they come: a correction replaces what a key holds only if the key "
        "has length 1.",
        added_instead_of_corrected: "the old value of a key stays in the state: a write must take out what the key "
        "returns so far.",
        asked_at_once: "everything comes back, which looks like asking before later writes arrive: ask after the "
        "last write.",
        newest_first: "the newest binding stands first in your results: the oldest comes first.",
        order_of_the_first_writes: "the keys stand in the order of their *first* write: an old key may hold a young "
        "value.",
        order_of_the_key_numbers: "the keys stand in the order of their row numbers: the log says which was written "
        "last, and when.",
        age_counts_itself: "every age is one too large: a write does not come after itself.",
        time_for_age: "you return the time of each write: an age counts the writes *after* it.",
        age_of_the_first_write: "the ages belong to the first time that a key was bound: what it holds now is "
        "younger.",
    },
    accepted=[age_one_key_after_another],
    too_big=[every_state_kept],
    outputs=("ages [live]", "right [live]"),
)

EXPLAIN = ChoiceQuestion(
    id="14.2",
    objective="size-state",
    title="Explain the gap",
    points=1,
    minutes=5,
    difficulty=2,
    question="Sixteen pairs with random keys of length 1 and K = 16 were written by adding. The noise in a read has "
    "the predicted length √(n/K) ≈ 1, as long as the value itself. Still, about 90 % come back with V = 16, and nearly "
    "all with V = 256, where the noise is just as long. Why is so much more read back "
    "than the length of the noise suggests?",
    options={
        "A": Option(
            "Random keys of length 1 are orthogonal in 16 dimensions, so a read picks up no other value.",
            why="then there would be no noise, but it was measured, and it has the predicted length. Two random keys "
            "overlap by about 1/√16 = 0.25.",
        ),
        "B": Option(
            "The noise points in a random direction of V dimensions; only its part towards a rival causes a mistake.",
            why="of a vector of length 1 in V dimensions, the part along one given direction is about 1/√V. The more "
            "value channels, the smaller that part, at the same length of the noise.",
        ),
        "C": Option(
            "The answer is chosen among the n written values, and lucky guesses lift the share.",
            why="a guess among 16 values is right in 6 % of the cases, which lifts no share to 90 %. And it would "
            "not depend on V.",
        ),
        "D": Option(
            "A 16 × 256 matrix holds sixteen times the bits of a 16 × 16 one, and it is bits that limit recall.",
            why="16 × 16 numbers in float32 are 8,192 bits and the answers to 16 questions need 64, yet pairs are "
            "lost: the bits are there, but reading with one product does not use them.",
        ),
    },
    answer="B",
)

TARGET = CodeQuestion(
    id="14.3",
    objective="size-state",
    title="A state for a recall target",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=recall_target,
    reference=target_reference,
    visible=[
        _target("one head", 12, 0.99, 1, 1, 4),
        _target("a small model", 64, 0.9, 4, 8, 4),
        _target("half precision", 300, 0.999, 12, 2, 2),
    ],
    hidden=[_target("many pairs", 4096, 0.95, 24, 16, 4), _target("few pairs", 5, 0.999, 3, 7, 8)],
    wrong={
        length_of_the_noise: "you use the whole length of the noise, n/D: a rival only meets the part that points "
        "towards it.",
        one_rival: "only one rival is counted: every other pair is one.",
        itself_a_rival: "a pair counts as its own rival: only the others can win against it.",
        others_counted_once: "n enters σ² without its factor: each other value meets a difference of two values.",
        variance_for_deviation: "σ² stands where σ belongs: the formula inside Φ divides by a standard deviation.",
        rival_is_not_noise: "the D beside 2n is missing in σ²: the rival's own weight in the read counts as well.",
        powers_of_two: "your D is one of a few round sizes: every whole number is allowed.",
        one_direction_a_pair: "your D is n, a direction for each pair: the target is about how much pairs may overlap.",
        one_head_a_layer: "the bytes are those of one head in each layer: every head keeps a state.",
        one_layer: "the bytes are those of a single layer.",
        numbers_for_bytes: "these are numbers, not bytes.",
        one_state_only: "that is one head of one layer: every layer and head keeps a state.",
        vector_instead_of_matrix: "a state is a matrix: D numbers are only one row of it.",
        one_state_a_pair: "the bytes grow with n twice: all pairs share one state, n only decides how large it is.",
    },
    accepted=[target_by_halving],
    outputs=("D", "bytes"),
)

MQAR = CodeQuestion(
    id="14.4",
    objective="generate-mqar",
    title="Sequences of associative recall",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=recall_tokens,
    reference=mqar_reference,
    visible=[
        Case("one row", B=1, T=12, P=3, Q=2, seed=5),
        Case("three rows", B=3, T=30, P=6, Q=7, seed=1),
        Case("one pair", B=2, T=6, P=1, Q=2, seed=4),
    ],
    hidden=[Shapes(8, T=(36, 60), P=(2, 9), Q=(3, 8))],
    wrong={
        labels_shifted: "the labels stand one place to the right: the label belongs to the position that asks.",
        oldest_binding: "a key that has two pairs gets its first value: only its last one is up to date.",
        unseen_key_labelled: "a key without a pair gets a value as its label: nobody can know one.",
        zero_for_an_unseen_key: "a key without a pair gets the label 0: that is a token like any other, and the loss "
        "would count it.",
        unseen_key_left_out: "a key without a pair is missing in the inputs: it is asked, it only has no answer.",
        pairs_labelled: "the keys in the pairs have labels: there they tell, and only at `places` they ask.",
        loss_on_every_position: "positions that ask for nothing have labels too: the loss would count random tokens.",
        zero_where_nothing_is_asked: "the label is 0 where nothing is asked: that is a token like any other, and the "
        "loss would count it.",
        answer_in_the_inputs: "the token after a query is its answer: the inputs must not tell it.",
        key_as_label: "the label is the key that asks: it must be the value that the key is bound to.",
        value_by_position: "the values are used up in order: which one is right depends on the key that is asked.",
    },
    accepted=[mqar_with_loops],
    outputs=("inputs [B, T]", "labels [B, T]"),
)

NOT_SUPPORTED = ChoiceQuestion(
    id="14.5",
    objective="judge-ablation",
    title="What the plot does not support",
    points=2,
    minutes=5,
    difficulty=2,
    # The numbers are those of data/training/mqar.csv, which the chapter draws after the question.
    question="A slide shows associative recall: 16 pairs in 64 tokens, 32 values to choose from, two layers, one head "
    "of size 16, 500 steps, four seeds each. Softmax attention ends at 100 %; the delta rule, with SiLU, length-one "
    "queries and keys and an output norm, ends at 82 to 99 %; linear attention, with elu + 1 and none of these parts, "
    "ends at 49 to 66 %. Which conclusion does the slide NOT support?",
    options={
        "A": Option(
            "With this budget, each run of the delta model recalled more than any run of the linear model.",
            why="that only repeats what is drawn: the worst delta run, 82 %, is above the best linear one, 66 %.",
        ),
        "B": Option(
            "In these 500 steps the linear model has learnt to recall pairs: it answers far more than a guess would.",
            why="a guess among 32 values is right in 3 % of the cases, and the worst linear run reaches 49 %.",
        ),
        "C": Option(
            "It is the correction of the delta rule that lifts recall from at most 66 % to at least 82 %.",
            why="two things differ between these models: the rule, and the features with their norm. The slide never "
            "changes one alone, so it cannot say which one did it.",
        ),
        "D": Option(
            "Two layers with one head of size 16 are enough for softmax attention to learn this task in 500 steps.",
            why="it reached 100 % with exactly that, so the slide shows that it is enough.",
        ),
    },
    answer="C",
)

HYBRID = CodeQuestion(
    id="14.6",
    objective="count-hybrid",
    title="A hybrid's memory",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=hybrid_sizes,
    reference=hybrid_reference,
    visible=[
        _pattern(
            "2 linear : 1 softmax",
            "linear linear softmax",
            2,
            B=5,
            T=1000,
            H=8,
            K=16,
            window=128,
            b_state=4,
            b_cache=2,
        ),
        _pattern(
            "with windows",
            "linear window softmax",
            3,
            B=3,
            T=600,
            H=4,
            K=32,
            window=256,
            b_state=4,
            b_cache=2,
        ),
        _pattern("a short text", "window linear", 2, B=2, T=40, H=6, K=8, window=64, b_state=8, b_cache=4),
    ],
    hidden=[
        _pattern("all inside", "window linear", 3, B=3, T=19, H=2, K=12, window=90, b_state=4, b_cache=2),
        _pattern("no state", "window softmax", 4, B=2, T=77, H=4, K=16, window=50, b_state=4, b_cache=1),
        Shapes(
            8,
            B=(2, 4),
            T=(20, 400),
            H=[4, 8, 12],
            K=(4, 32),
            pattern=["linear linear softmax", "linear window softmax", "window linear linear softmax"],
            periods=(1, 4),
            window=(10, 300),
            b_state=[4, 8],
            b_cache=[1, 2],
        ),
    ],
    wrong={
        all_layers_cached: "every layer has a cache of T tokens: linear layers have none, and windows a short one.",
        window_caches_all: "window layers keep all tokens: a token outside the window is never read again.",
        window_always_full: "a window is counted as full although the text is shorter.",
        state_for_every_token: "the states grow with T: a state is overwritten, not kept for each token.",
        state_per_kv_head: "you count states per key-value head. Here every query head keeps its own state; "
        "only the cache is shared by groups.",
        cache_per_query_head: "the cache is counted per query head: a group of them shares one key-value head.",
        state_of_one_sequence: "those are the states of one sequence: each of the B sequences has its own.",
        one_sequence: "all of it is for one sequence: caches and states exist B times.",
        item_sizes_swapped: "the two item sizes are swapped.",
        windows_keep_states: "window layers have a state in your count: they keep tokens and nothing else.",
        keys_only: "a cached token keeps a key *and* a value.",
    },
    accepted=[hybrid_layer_by_layer],
    outputs=("bytes of the caches", "bytes of the states"),
)

QUESTIONS = [BY_AGE, EXPLAIN, TARGET, MQAR, NOT_SUPPORTED, HYBRID]
