"""Questions of chapter 19: bounded memory, places in a ring, snapshots, and what a chat reads.

In 19.1 the window comes beside the sinks, and keys and values are made from small inputs, so that holding those of all
tokens can be seen in the memory. Chapter 05 asks for the turned keys of one budget; 19.5 asks where they lie.
"""

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes

# --- 19.1 a stream in bounded memory ------------------------------------------------------------------


def a_stream(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, int, int]:
    """x `[B, T, d]`, W_q and W_k `[d, K]`, W_v `[d, V]`; the sinks and the window."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    x = draw(case.B, case.T, case.d)
    return x, draw(case.d, case.K), draw(case.d, case.K), draw(case.d, case.V), case.sinks, case.window


Held = Callable[[int, int, int], Sequence[int]]


def _sinks_and_window(t: int, s: int, w: int) -> list[int]:
    return [*range(min(s, t + 1)), *range(max(s, t - w + 1), t + 1)]


def _stream(
    x: Tensor,
    W_q: Tensor,
    W_k: Tensor,
    W_v: Tensor,
    s: int,
    w: int,
    *,
    held: Held = _sinks_and_window,
    scale_power: float = 0.5,
    empty_slots: bool = False,
) -> Tensor:
    """Keys and values of the tokens held, made anew for each token: slow, and nothing is kept."""
    outputs = []
    for t in range(x.shape[1]):
        tokens = x[:, list(held(t, s, w))]
        keys, values = tokens @ W_k, tokens @ W_v
        if empty_slots:
            room = (x.shape[0], s + w - keys.shape[1])
            keys, values = (torch.cat([y, y.new_zeros(*room, y.shape[2])], 1) for y in (keys, values))
        scores = (keys @ (x[:, t] @ W_q)[:, :, None]).squeeze(-1) * W_k.shape[1] ** -scale_power
        outputs.append((scores.softmax(-1)[:, None] @ values).squeeze(1))
    return torch.stack(outputs, 1)


def stream_reference(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """Outputs `[B, T, V]` from a ring of s + w slots, of which the last w are written in turn."""
    B, T, _ = x.shape
    keys, values = x.new_zeros(B, s + w, W_k.shape[1]), x.new_zeros(B, s + w, W_v.shape[1])
    outputs = x.new_empty(B, T, W_v.shape[1])
    for t in range(T):
        slot = t if t < s else s + (t - s) % w
        keys[:, slot], values[:, slot] = x[:, t] @ W_k, x[:, t] @ W_v
        used = min(t + 1, s + w)
        query = (x[:, t] @ W_q) / W_k.shape[1] ** 0.5
        weights = torch.bmm(keys[:, :used], query[:, :, None]).softmax(1)  # [B, used, 1]
        outputs[:, t] = torch.bmm(weights.mT, values[:, :used]).squeeze(1)
    return outputs


def stream_joined_and_cut(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """Two tensors that grow by a token and are cut back."""
    keys, values, outputs = x[:, :0] @ W_k, x[:, :0] @ W_v, []
    for x_t in x.split(1, dim=1):
        keys, values = torch.cat([keys, x_t @ W_k], 1), torch.cat([values, x_t @ W_v], 1)
        if keys.shape[1] > s + w:
            keys, values = (torch.cat([y[:, :s], y[:, s + 1 :]], 1) for y in (keys, values))
        weights = ((x_t @ W_q) @ keys.mT / W_k.shape[1] ** 0.5).softmax(-1)
        outputs.append(weights @ values)
    return torch.cat(outputs, 1)


def stream_in_two_queues(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """A list for the sinks and a queue that forgets by itself."""
    first, newest, outputs = [], deque(maxlen=w), []
    for t in range(x.shape[1]):
        (first if t < s else newest).append((x[:, t] @ W_k, x[:, t] @ W_v))
        keys, values = (torch.stack(y, 1) for y in zip(*first, *newest, strict=True))
        weights = torch.einsum("bk,bnk->bn", x[:, t] @ W_q, keys) / keys.shape[2] ** 0.5
        outputs.append(torch.einsum("bn,bnv->bv", weights.softmax(-1), values))
    return torch.stack(outputs, 1)


def sinks_evicted(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q, W_k, W_v, s, w, held=lambda t, s, w: range(max(0, t - w + 1), t + 1))


def sinks_take_room(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q, W_k, W_v, s, w - s)


def sinks_written_over(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """Slot t % (s + w): the ring turns over the sinks as well."""
    return _stream(x, W_q, W_k, W_v, s, w, held=lambda t, s, w: range(max(0, t - s - w + 1), t + 1))


def one_too_many(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q, W_k, W_v, s, w + 1)


def one_too_few(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q, W_k, W_v, s, w - 1)


def reads_before_it_writes(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    def held(t: int, s: int, w: int) -> list[int]:
        return _sinks_and_window(t - 1, s, w) if t else []

    return _stream(x, W_q, W_k, W_v, s, w, held=held)


def empty_slots_read(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q, W_k, W_v, s, w, empty_slots=True)


def window_frozen(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    def held(t: int, s: int, w: int) -> list[int]:
        return [*range(min(t, s + w - 1)), t]

    return _stream(x, W_q, W_k, W_v, s, w, held=held)


def starts_over_when_full(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    def held(t: int, s: int, w: int) -> list[int]:
        return [*range(min(s, t + 1)), *range(s + max(t - s, 0) // w * w, t + 1)]

    return _stream(x, W_q, W_k, W_v, s, w, held=held)


def sinks_counted_twice(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """The window takes in the sinks as well, as long as they are among the newest."""

    def held(t: int, s: int, w: int) -> list[int]:
        return [*range(min(s, t + 1)), *range(max(0, t - w + 1), t + 1)]

    return _stream(x, W_q, W_k, W_v, s, w, held=held)


def slices_overlap(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """After each token the first s and the last w of what is held, whether these are different ones or not."""

    def held(t: int, s: int, w: int) -> list[int]:
        tokens: list[int] = []
        for j in range(t + 1):
            tokens.append(j)
            tokens = tokens[:s] + tokens[-w:]
        return tokens

    return _stream(x, W_q, W_k, W_v, s, w, held=held)


def ring_starts_late(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """Slot s + t % w: the ring does not begin at its first slot, which is read while it is still empty."""
    B, T, _ = x.shape
    keys, values = x.new_zeros(B, s + w, W_k.shape[1]), x.new_zeros(B, s + w, W_v.shape[1])
    outputs = []
    for t in range(T):
        slot, used = t if t < s else s + t % w, min(t + 1, s + w)
        keys[:, slot], values[:, slot] = x[:, t] @ W_k, x[:, t] @ W_v
        scores = torch.einsum("bk,bnk->bn", x[:, t] @ W_q, keys[:, :used]) * W_k.shape[1] ** -0.5
        outputs.append(torch.einsum("bn,bnv->bv", scores.softmax(-1), values[:, :used]))
    return torch.stack(outputs, 1)


def not_scaled(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q, W_k, W_v, s, w, scale_power=0.0)


def scaled_by_the_input(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    return _stream(x, W_q * (W_k.shape[1] / W_k.shape[0]) ** 0.5, W_k, W_v, s, w)


def projected_all_at_once(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """Right, but the keys and values of all tokens are there from the first step on."""
    keys, values, outputs = x @ W_k, x @ W_v, []
    for t in range(x.shape[1]):
        late = slice(max(s, t - w + 1), t + 1)
        k_t, v_t = (torch.cat([y[:, : min(s, t + 1)], y[:, late]], 1) for y in (keys, values))
        weights = (x[:, t : t + 1] @ W_q @ k_t.mT / keys.shape[2] ** 0.5).softmax(-1)
        outputs.append(weights @ v_t)
    return torch.cat(outputs, 1)


def every_token_kept(x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, s: int, w: int) -> Tensor:
    """Right, but nothing ever leaves the lists; only the newest part is read."""
    keys, values, outputs = [], [], []
    for x_t in x.split(1, dim=1):
        keys.append(x_t @ W_k)
        values.append(x_t @ W_v)
        k_t, v_t = (torch.cat([*y[:s], *y[s:][-w:]], 1) for y in (keys, values))
        outputs.append((x_t @ W_q @ k_t.mT / W_k.shape[1] ** 0.5).softmax(-1) @ v_t)
    return torch.cat(outputs, 1)


# --- 19.5 where the tokens of a ring stand ------------------------------------------------------------


def a_ring(case: Case, rng: torch.Generator) -> tuple[int, int, int]:
    """T, sinks, budget."""
    return case.T, case.sinks, case.budget


def _ring_slot(t: int, sinks: int, budget: int) -> int:
    return t if t < budget else sinks + (t - sinks) % (budget - sinks)


def _rank(tokens: list[int]) -> list[int]:
    """The place of each token among those held, oldest first."""
    return [sorted(x for x in tokens if x >= 0).index(j) if j >= 0 else -1 for j in tokens]


def _tables(
    T: int,
    sinks: int,
    budget: int,
    *,
    slot: Callable[[int, int, int], int] = _ring_slot,
    stand: Callable[[list[int]], list[int]] = _rank,
) -> tuple[Tensor, Tensor]:
    tokens, held, places = [-1] * budget, [], []
    for t in range(T):
        tokens[slot(t, sinks, budget)] = t
        held.append(list(tokens))
        places.append(stand(tokens))
    return torch.tensor(held), torch.tensor(places)


def ring_reference(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """After each token, what lies in each slot and where it stands: two `[T, budget]`, −1 for an empty slot."""
    return _tables(T, sinks, budget)


def ring_by_formula(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Without a loop: which token a slot got last, and how many tokens lie before it."""
    t, slot, w = torch.arange(T)[:, None], torch.arange(budget)[None], budget - sinks
    newest = slot + (t - slot).clamp(min=0) // w * w
    tokens = torch.where(slot < sinks, slot, newest)
    tokens = torch.where(slot > t, -1, tokens)
    places = torch.where(slot < sinks, slot, tokens - (t - budget + 1).clamp(min=0))
    return tokens, torch.where(tokens < 0, -1, places)


def ring_by_sorting(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Two sorts give the ranks; empty slots are sorted behind all others."""
    tokens = torch.full((T, budget), -1)
    for t in range(T):
        tokens[t:, t if t < budget else sinks + (t - budget) % (budget - sinks)] = t
    ranks = torch.where(tokens < 0, T, tokens).argsort(dim=1, stable=True).argsort(dim=1)
    return tokens, torch.where(tokens < 0, -1, ranks)


def positions_in_the_text(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget, stand=list)


def slots_for_places(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget, stand=lambda tokens: [i if j >= 0 else -1 for i, j in enumerate(tokens)])


def place_of_arrival(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget, stand=lambda tokens: [min(j, budget - 1) for j in tokens])


def counted_from_the_newest(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    def stand(tokens: list[int]) -> list[int]:
        return [max(_rank(tokens)) - place if place >= 0 else -1 for place in _rank(tokens)]

    return _tables(T, sinks, budget, stand=stand)


def counted_from_one(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget, stand=lambda tokens: [p + 1 if p >= 0 else -1 for p in _rank(tokens)])


def sinks_not_counted(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """The window's places start at 0 again, so two tokens stand at one place."""

    def stand(tokens: list[int]) -> list[int]:
        return [p - sinks if j >= sinks else p for j, p in zip(tokens, _rank(tokens), strict=True)]

    return _tables(T, sinks, budget, stand=stand)


def sinks_leave(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget, slot=lambda t, s, n: t % n)


def sinks_on_top(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget + sinks)


def wrong_slot_at_the_wrap(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """One slot too late after the first round: the second-oldest leaves first."""

    def slot(t: int, s: int, n: int) -> int:
        return t if t < n else s + (t - s + 1) % (n - s)

    return _tables(T, sinks, budget, slot=slot)


def ring_out_of_step(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Slot sinks + t % (budget − sinks): the round is counted from token 0, not from the first after the sinks."""
    return _tables(T, sinks, budget, slot=lambda t, s, n: t if t < n else s + t % (n - s))


def tokens_move_up(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Joined and cut: when one leaves, all later tokens move a slot forward."""
    held = [[*range(min(sinks, t + 1)), *range(max(sinks, t - budget + sinks + 1), t + 1)] for t in range(T)]
    padding = [[-1] * (budget - len(row)) for row in held]
    tokens = torch.tensor([row + rest for row, rest in zip(held, padding, strict=True)])
    return tokens, torch.where(tokens < 0, -1, torch.arange(budget))


def empty_slots_ranked(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """Two sorts of all slots: an empty one sorts before the first token and moves every place up."""

    def stand(tokens: list[int]) -> list[int]:
        return torch.tensor(tokens).argsort(stable=True).argsort().tolist()

    return _tables(T, sinks, budget, stand=stand)


def order_for_places(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    """One argsort: which slot stands at each place, where the place of each slot was asked for."""

    def stand(tokens: list[int]) -> list[int]:
        used = [i for i, j in enumerate(tokens) if j >= 0]
        return sorted(used, key=tokens.__getitem__) + [-1] * (len(tokens) - len(used))

    return _tables(T, sinks, budget, stand=stand)


def always_the_last_slot(T: int, sinks: int, budget: int) -> tuple[Tensor, Tensor]:
    return _tables(T, sinks, budget, slot=lambda t, s, n: min(t, n - 1))


# --- 19.6 regenerate from a snapshot ------------------------------------------------------------------

Reply = tuple[Tensor, Tensor, Tensor, Tensor]


def prompt_and_replies(
    case: Case, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, list[tuple[Tensor, ...]]]:
    """k, v and the gates a `[B, T, H]` of a prompt, and `case.replies` replies (q, k, v, a) of `case.words` tokens."""

    def draw(T: int) -> Reply:
        head = (case.B, T, case.H)
        q, k = (torch.randn(*head, case.K, generator=rng, dtype=torch.float64) for _ in range(2))
        v = torch.randn(*head, case.V, generator=rng, dtype=torch.float64)
        a = 0.3 + 0.7 * torch.rand(*head, generator=rng, dtype=torch.float64)
        return tuple(x.to(case.dtype) for x in (q, k, v, a))

    prompt, replies = draw(case.T), [draw(case.words) for _ in range(case.replies)]
    if case.closed:  # the last token of each reply closes the gate of the first head
        for reply in replies:
            reply[3][:, -1, 0] = 0
    return (*prompt[1:], replies)


def _one_reply(S: Tensor, reply: Reply, *, read_first: bool = False) -> tuple[Tensor, Tensor]:
    outputs = []
    for q, k, v, a in zip(*(x.unbind(1) for x in reply), strict=True):
        before, S = S, S * a[..., None, None] + k[..., :, None] * v[..., None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q, before if read_first else S))
    return torch.stack(outputs, 1), S


def _read_prompt(k: Tensor, v: Tensor, a: Tensor) -> Tensor:
    S = k.new_zeros(k.shape[0], k.shape[2], k.shape[3], v.shape[3])
    for k_t, v_t, a_t in zip(*(x.unbind(1) for x in (k, v, a)), strict=True):
        S = S * a_t[..., None, None] + k_t[..., :, None] * v_t[..., None, :]
    return S


def _regenerate(
    k: Tensor,
    v: Tensor,
    a: Tensor,
    replies: Sequence[Reply],
    *,
    back: Callable[[Tensor, Tensor, Reply], Tensor],
    read_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """`back(snapshot, state after a reply, the reply)` is where the next reply starts."""
    snapshot = S = _read_prompt(k, v, a)
    outputs = []
    for i, reply in enumerate(replies):
        S = back(snapshot, S, replies[i - 1]) if i else S
        o, S = _one_reply(S, reply, read_first=read_first)
        outputs.append(o)
    return torch.stack(outputs), S


def regenerate_reference(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """Outputs `[R, B, n, H, V]` of the replies, each right after the prompt, and the state after the last one."""
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: snapshot)


def regenerate_in_place(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """One buffer that is changed in place, and a copy of it."""
    S = torch.zeros_like(torch.einsum("bhk,bhv->bhkv", k[:, 0], v[:, 0]))
    for t in range(k.shape[1]):
        S.mul_(a[:, t, :, None, None]).add_(torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t]))
    kept, outputs = S.clone(), []
    for q, k_r, v_r, a_r in replies:
        S.copy_(kept)
        for t in range(q.shape[1]):
            S.mul_(a_r[:, t, :, None, None]).add_(torch.einsum("bhk,bhv->bhkv", k_r[:, t], v_r[:, t]))
            outputs.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S))
    return torch.stack(outputs, 1).unflatten(1, (len(replies), -1)).transpose(0, 1), S


def regenerate_side_by_side(
    k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]
) -> tuple[Tensor, Tensor]:
    """All replies as one batch, each with its own copy of the state."""
    S = _read_prompt(k, v, a).repeat(len(replies), 1, 1, 1)
    o, S = _one_reply(S, tuple(torch.cat(x) for x in zip(*replies, strict=True)))
    return o.unflatten(0, (len(replies), -1)), S.unflatten(0, (len(replies), -1))[-1]


def polluted(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: S)


def from_zero(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: torch.zeros_like(S))


def last_write_subtracted(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    def back(snapshot: Tensor, S: Tensor, reply: Reply) -> Tensor:
        return S - torch.einsum("bhk,bhv->bhkv", reply[1][:, -1], reply[2][:, -1])

    return _regenerate(k, v, a, replies, back=back)


def all_writes_subtracted(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    def back(snapshot: Tensor, S: Tensor, reply: Reply) -> Tensor:
        return S - torch.einsum("bthk,bthv->bhkv", reply[1], reply[2])

    return _regenerate(k, v, a, replies, back=back)


def faded_writes_subtracted(
    k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]
) -> tuple[Tensor, Tensor]:
    """What is left of the reply is taken out exactly; the prompt stays faded."""
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: S - _read_prompt(*reply[1:]))


def divided_by_the_gates(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """Right as long as no gate is closed: what a closed gate took is gone."""

    def back(snapshot: Tensor, S: Tensor, reply: Reply) -> Tensor:
        for k_t, v_t, a_t in reversed(list(zip(*(x.unbind(1) for x in reply[1:]), strict=True))):
            S = (S - torch.einsum("bhk,bhv->bhkv", k_t, v_t)) / a_t.clamp(min=1e-3)[..., None, None]
        return S

    return _regenerate(k, v, a, replies, back=back)


def snapshot_too_late(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """The copy is taken when the first reply has written its first token."""
    late = _one_reply(_read_prompt(k, v, a), tuple(x[:, :1] for x in replies[0]))[1]
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: late)


def snapshot_too_early(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """The copy is taken before the prompt's last token."""
    early = _read_prompt(k[:, :-1], v[:, :-1], a[:, :-1])
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: early)


def reply_reads_late(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    return _regenerate(k, v, a, replies, back=lambda snapshot, S, reply: snapshot, read_first=True)


def prompt_state_returned(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    return regenerate_reference(k, v, a, replies)[0], _read_prompt(k, v, a)


def prompt_read_again(k: Tensor, v: Tensor, a: Tensor, replies: Sequence[Reply]) -> tuple[Tensor, Tensor]:
    """Right, but the whole prompt is read for every reply."""
    runs = [_one_reply(_read_prompt(k, v, a), reply) for reply in replies]
    return torch.stack([o for o, _ in runs]), runs[-1][1]


# --- 19.2 tokens read in a chat -----------------------------------------------------------------------


def a_chat(case: Case, rng: torch.Generator) -> tuple[int, int, int, int]:
    """turns, and the tokens of the system prompt, of a message and of a reply."""
    return case.turns, case.system, case.user, case.reply


def read_reference(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    """Tokens that pass through the model: every turn from its beginning, and with what is known kept."""
    again = sum(system + i * (user + reply) + user + reply - 1 for i in range(turns))
    return again, system + turns * (user + reply) - 1


def read_by_walking(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    """A transcript that grows, and how much of it is known."""
    text, known, again, kept = system, 0, 0, 0
    for _ in range(turns):
        text += user
        again, kept, known = again + text, kept + text - known, text
        for _ in range(reply - 1):  # the first token of the reply came with the prompt
            text, known, again, kept = text + 1, known + 1, again + 1, kept + 1
        text += 1  # written, and not read in this turn
    return again, kept


def user_tokens_only(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    return sum(system + i * user for i in range(1, turns + 1)), system + turns * user


def replies_not_read_again(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again = sum(system + i * user + reply - 1 for i in range(1, turns + 1))
    return again, read_reference(turns, system, user, reply)[1]


def read_again_each_turn(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, _ = read_reference(turns, system, user, reply)
    return again, again


def system_read_once(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again - (turns - 1) * system, kept


def system_read_each_turn(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again, kept + (turns - 1) * system


def last_token_read(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again + turns, kept + 1


def replies_end_unread(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    """The last token of every reply is never read, not even with the next message."""
    again, kept = read_reference(turns, system, user, reply)
    return again - turns * (turns - 1) // 2, kept - (turns - 1)


def kept_messages_only(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    """Right from nothing; with a cache only what the user says."""
    return read_reference(turns, system, user, reply)[0], system + turns * user


def kept_replies_end_unread(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again, kept - (turns - 1)


def last_token_read_when_kept(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again, kept + 1


def one_turn_too_early(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    """range(1, turns + 1) where range(turns) is meant: a whole turn lies before the first."""
    again, kept = read_reference(turns, system, user, reply)
    return again + turns * (user + reply), kept


def text_read_for_each_token(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    """No cache within a turn either: each token of a reply costs the text before it."""
    _, kept = read_reference(turns, system, user, reply)
    return sum((system + i * (user + reply) + user) * reply for i in range(turns)), kept


def writing_is_free(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again - turns * (reply - 1), kept - turns * (reply - 1)


def prompts_only_from_nothing(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again - turns * (reply - 1), kept


def system_never_read(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    again, kept = read_reference(turns, system, user, reply)
    return again, kept - system


def every_turn_as_the_last(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    _, kept = read_reference(turns, system, user, reply)
    return turns * kept, kept


def the_last_turn_alone(turns: int, system: int, user: int, reply: int) -> tuple[int, int]:
    kept = read_reference(turns, system, user, reply)[1]
    return kept, kept


def _chat(name: str, turns: int, system: int, user: int, reply: int) -> Case:
    return Case(name, turns=turns, system=system, user=user, reply=reply)


# --- the declarations ---------------------------------------------------------------------------------

ROOM = (
    "what a token may still see fits into sinks + window slots; keys and queries of others need not be there."
)

STREAM = CodeQuestion(
    id="19.1",
    objective="stream-bounded",
    title="A stream in bounded memory",
    points=4,
    minutes=15,
    difficulty=2,
    inputs=a_stream,
    reference=stream_reference,
    visible=[
        Case("all of it fits", T=5, K=4, V=3, d=3, sinks=2, window=4),
        Case("14 tokens, 2 sinks, 4 newest", T=14, K=4, V=4, d=3, sinks=2, window=4),
        Case("two sequences, ragged", B=2, T=23, K=6, V=5, d=4, sinks=3, window=5),
        Limit(
            "1,024 tokens",
            T=1024,
            K=512,
            V=4,
            d=8,
            sinks=4,
            window=28,
            cpu_seconds=8,
            gigabytes=0.001,
            hint=ROOM,
        ),
    ],
    hidden=[
        Shapes(6, T=(12, 24), K=(2, 8), V=(2, 6), d=(2, 4), sinks=(1, 2), window=(3, 6)),
        Limit(
            "8,192 tokens",
            T=8192,
            K=4096,
            V=4,
            d=8,
            sinks=4,
            window=12,
            cpu_seconds=50,
            gigabytes=0.02,
            hint=ROOM,
        ),
    ],
    wrong={
        sinks_evicted: "the first tokens leave like all others: that is a window without sinks.",
        sinks_take_room: "the sinks take their room from the window: here it holds `window` tokens beside them.",
        sinks_written_over: "once the slots are full, your ring turns over the sinks' slots as well.",
        one_too_many: "a token stays one step too long in the window.",
        one_too_few: "a token leaves the window one step too early.",
        reads_before_it_writes: "a query reads before its own token has been written.",
        empty_slots_read: "slots that hold nothing yet are read: a score of 0 still gets a weight.",
        window_frozen: "once the slots are full, only the newest token changes: the window does not move.",
        starts_over_when_full: "when the window is full you empty it, instead of letting one token go.",
        sinks_counted_twice: "as long as the sinks are among the newest tokens, you hold them twice.",
        ring_starts_late: "while your ring fills, it writes into a later slot than the next empty one, and reads one "
        "that is empty: which token takes the ring's first slot?",
        slices_overlap: "while few tokens are there, your first and your newest ones overlap, and some are held twice.",
        not_scaled: "the scores are too large: the factor 1/√K is missing.",
        scaled_by_the_input: "your scores are scaled by the size of an input vector, not by that of a key.",
    },
    accepted=[stream_joined_and_cut, stream_in_two_queues],
    too_big=[projected_all_at_once, every_token_kept],
    outputs=("outputs [B, T, V]",),
)

PLACES = CodeQuestion(
    id="19.5",
    objective="position-sinks",
    title="What lies where, and where it stands",
    points=3,
    minutes=12,
    difficulty=3,
    inputs=a_ring,
    reference=ring_reference,
    visible=[
        Case("9 tokens, room for 5, 2 sinks", T=9, sinks=2, budget=5),
        Case("two rounds, 1 sink", T=12, sinks=1, budget=5),
        Case("all of it fits", T=4, sinks=2, budget=6),
    ],
    hidden=[Shapes(6, T=(14, 30), sinks=(1, 3), budget=(6, 9))],
    wrong={
        positions_in_the_text: "your places are positions in the *text*: they grow beyond anything the cache holds.",
        slots_for_places: "your places are the slots' own numbers: once the ring has wrapped, the oldest token no "
        "longer lies first.",
        place_of_arrival: "a token keeps the place it had when it came, although others before it have left since.",
        counted_from_the_newest: "your places count from the newest token backwards.",
        counted_from_one: "your places start at 1: the first sink stands at 0.",
        sinks_not_counted: "the window's places start at 0 again, so that two tokens stand at the same place.",
        sinks_leave: "a new token overwrites a sink.",
        sinks_on_top: "you hold too many tokens: the sinks are a part of the budget.",
        wrong_slot_at_the_wrap: "where the ring wraps, the token that is overwritten is not the oldest one.",
        ring_out_of_step: "your rounds start at the wrong token: which one took the first slot after the sinks?",
        tokens_move_up: "your tokens move from slot to slot: a token stays in its slot until another one takes it.",
        empty_slots_ranked: "empty slots take part in your ranking: they hold −1, which sorts before every token.",
        order_for_places: "you say which slot comes first, which second, …: that is the order, not each slot's place.",
        always_the_last_slot: "once the budget is full, every new token overwrites the one just before it.",
    },
    accepted=[ring_by_formula, ring_by_sorting],
    outputs=("tokens [T, budget]", "places [T, budget]"),
)

REREAD = "the prompt is the same for every reply: what reading it leaves behind need not be computed twice."

SNAPSHOT = CodeQuestion(
    id="19.6",
    objective="restore-snapshot",
    title="Regenerate the last reply",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=prompt_and_replies,
    reference=regenerate_reference,
    visible=[
        Case("two replies", T=5, K=3, V=2, words=3, replies=2, closed=False),
        Case("a closed gate", T=6, H=2, K=3, V=3, words=2, replies=3, closed=True),
        Case("two sequences", B=2, T=9, H=2, K=4, V=3, words=4, replies=3, closed=False),
        Limit(
            "64 replies to one prompt of 4,096 tokens",
            T=4096,
            K=16,
            V=16,
            words=4,
            replies=64,
            closed=False,
            cpu_seconds=2.5,
            gigabytes=0.2,
            hint=REREAD,
        ),
    ],
    hidden=[
        Shapes(6, T=(3, 12), K=(2, 6), V=(2, 6), words=(2, 5), replies=(2, 4), closed=[True]),
        Limit(
            "a long prompt, many replies",
            T=4096,
            K=24,
            V=8,
            words=4,
            replies=80,
            closed=False,
            cpu_seconds=2.5,
            gigabytes=0.2,
            hint=REREAD,
        ),
    ],
    wrong={
        polluted: "each reply starts from the state that the one before it left: rejected words are still in it. If "
        "you did keep the state, is it a copy, or the same tensor that you went on writing into?",
        from_zero: "the first reply is right, but the next starts from an empty state: the prompt is gone.",
        last_write_subtracted: "you subtract only the last token's k vᵀ.",
        all_writes_subtracted: "you subtract the reply's k vᵀ: the gates have also shrunk what was there before it, "
        "and that is not undone.",
        faded_writes_subtracted: "you take out what is left of the reply, but its gates have also shrunk the prompt's "
        "part, and that is not undone.",
        divided_by_the_gates: "you undo the reply token by token: what a closed gate has taken cannot be divided back.",
        snapshot_too_late: "you go back to a state that already holds the first token of the first reply.",
        snapshot_too_early: "you go back to a state that does not hold the last token of the prompt.",
        reply_reads_late: "each token of a reply reads before it has written.",
        prompt_state_returned: "the outputs are right, but the state you return is that of the prompt: the last reply "
        "is the one that stays.",
    },
    accepted=[regenerate_in_place, regenerate_side_by_side],
    too_big=[prompt_read_again],
    outputs=("outputs [R, B, n, H, V]", "state [B, H, K, V]"),
)

COUNT = CodeQuestion(
    id="19.2",
    objective="count-tokens",
    title="Tokens read in a chat of 1,000 turns",
    points=3,
    minutes=8,
    difficulty=2,
    inputs=a_chat,
    reference=read_reference,
    visible=[
        _chat("one turn", 1, 5, 3, 4),
        _chat("four turns", 4, 10, 2, 5),
        _chat("1,000 turns", 1000, 500, 20, 40),
    ],
    hidden=[
        _chat("hidden 1", 2, 0, 1, 1),
        _chat("hidden 2", 37, 100, 9, 13),
        _chat("hidden 3", 1000, 1200, 64, 350),
    ],
    wrong={
        writing_is_free: "a token that has just been written is read to write the next one; those reads are missing.",
        user_tokens_only: "you count what the user says: replies pass through the model too.",
        replies_not_read_again: "without a cache, earlier *replies* are part of the text that is read again.",
        read_again_each_turn: "your second number reads the whole chat again in every turn, as the first does.",
        system_read_once: "without a cache the system prompt is read in every turn.",
        system_read_each_turn: "with a cache the system prompt is read once.",
        last_token_read: "the last token of a reply is written and not read in that turn: nothing follows it yet.",
        prompts_only_from_nothing: "without a cache, the tokens of the reply itself are read too, in the "
        "turn that writes it.",
        system_never_read: "with a cache the system prompt is read as well, if only once.",
        replies_end_unread: "the last token of a reply is missing from later turns: it is read with the next message.",
        kept_messages_only: "with a cache you count messages only: the tokens of a reply are read as well, one by one.",
        kept_replies_end_unread: "with a cache the last token of a reply is read too, with the next message.",
        last_token_read_when_kept: "the last token of the chat is written, and nothing follows that would read it.",
        one_turn_too_early: "before the first message there is the system prompt and nothing else.",
        text_read_for_each_token: "within a turn each token is read once; 'from nothing' is meant of the turns.",
        every_turn_as_the_last: "your first number reads the finished chat in every turn: earlier ones were shorter.",
        the_last_turn_alone: "your first number is that of one turn, the last: earlier turns were read in their time.",
    },
    accepted=[read_by_walking],
    outputs=("without a cache", "with a cache"),
)

KEEPS = ChoiceQuestion(
    id="19.4",
    objective="choose-memory",
    title="Which one still knows, and for what price?",
    points=2,
    minutes=5,
    difficulty=2,
    question="A support chat of 200 turns. At its end somebody asks for one detail of turn 1, and nobody knows "
    "beforehand for which. The full cache of the chat is 3 GB; 1 GB is free. Which plan "
    "answers, and which price is named rightly?",
    options={
        "A": Option(
            "Sinks + window: the sinks hold the beginning of the chat, so turn 1 is safe, at a fixed size.",
            why="sinks are a few tokens that the softmax leans on. Four of them are four words of turn 1, and a detail "
            "is hardly among them.",
        ),
        "B": Option(
            "A window of 1 GB with a prefix cache: what the window drops is still in the prefix cache.",
            why="a prefix cache keeps what the decoder holds from turn to turn. What the window dropped is not held, "
            "and keeping it would need the bytes that are not there.",
        ),
        "C": Option(
            "The whole cache in 4 bits: every token is still there, a little wrong; its bytes grow on, more slowly.",
            why="about a third of the bytes or less, and any detail can still be asked for. It buys a factor and no "
            "bound: some turn later the 1 GB is full again.",
        ),
        "D": Option(
            "A delta-rule state: it has read every token and so holds every detail, at a fixed size.",
            why="it has added something of every token and overwritten most of it: keys that overlap share the room.",
        ),
        "E": Option(
            "A state with a write gate: it stores the important details only, so that turn 1 stays, at a fixed size.",
            why="that works where the gate knows what will be asked. Here nobody does, and what was not written does "
            "not come back.",
        ),
    },
    answer="C",
)

PREFIX = ChoiceQuestion(
    id="19.3",
    objective="count-tokens",
    title="Cheap in memory?",
    points=2,
    minutes=4,
    difficulty=2,
    question='"A prefix cache makes a chat of n turns cheap in memory." Choose the verdict together with the reason '
    "that decides it.",
    options={
        "A": Option(
            "True: a turn then reads only its new tokens, so only these have to be held.",
            why="the new tokens still attend to all earlier ones, whose keys and values must therefore be there.",
        ),
        "B": Option(
            "True: all turns of a chat share one prefix, so its pages are stored once instead of n times.",
            why="without the cache nothing is stored between turns, so nothing is stored n times. Sharing saves "
            "memory between *different* chats that begin alike.",
        ),
        "C": Option(
            "False: it saves reading old tokens again, but their keys and values are held all the same.",
            why="time to first token falls from the whole chat to the new message. The bytes are those of the full "
            "cache, and now they also wait while the user thinks.",
        ),
        "D": Option(
            "False: it saves neither memory nor time, since each new token attends to the whole chat either way.",
            why="attending to the chat from 20 new tokens is 20 rows of scores; reading it again is all rows, and all "
            "projections.",
        ),
        "E": Option(
            "False: kept keys and values go stale, so that old turns must be read again whenever a new one comes.",
            why="a causal token does not see later ones, so its key and value never change.",
        ),
    },
    answer="C",
)

QUESTIONS = [STREAM, COUNT, PREFIX, KEEPS, PLACES, SNAPSHOT]
