"""Questions of chapter 10: memories that fade.

A decay γ between 0 and 1 multiplies the state before a token is written; its logarithm g = log γ is never above 0.
No question scales the queries.
"""

from collections.abc import Callable
from functools import partial
from math import ceil, floor, log, log2, log10

import torch
import torch.nn.functional as F
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes


def draw(case: Case, rng: torch.Generator, *shape: int) -> Tensor:
    """Random normal numbers in the dtype of the case."""
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)


def qkv(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random q, k `[B, T, H, K]` and v `[B, T, H, V]`."""
    head = (case.B, case.T, case.H)
    return draw(case, rng, *head, case.K), draw(case, rng, *head, case.K), draw(case, rng, *head, case.V)


def carried(case: Case, rng: torch.Generator) -> Tensor:
    """A state `[B, H, K, V]` that somebody hands over."""
    return draw(case, rng, case.B, case.H, case.K, case.V)


# --- 10.1 retention after a silence -------------------------------------------------------------------


def retention_inputs(case: Case, rng: torch.Generator) -> tuple:
    """q, k, v, γ `[H]` between 0.5 and 0.95, a state, and how many silent tokens lie in between."""
    q, k, v = qkv(case, rng)
    gamma = 0.5 + 0.45 * torch.rand(case.H, generator=rng, dtype=torch.float64).to(case.dtype)
    return q, k, v, gamma, carried(case, rng), case.gap


def retention_reference(
    q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, S: Tensor, gap: int
) -> tuple[Tensor, Tensor]:
    """Token by token: the state fades `gap` times, then fades and takes in every token. o and the last state."""
    keep = gamma[:, None, None]
    S = keep**gap * S
    out = []
    for q_t, k_t, v_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True):
        S = keep * S + k_t[..., :, None] * v_t[..., None, :]
        out.append((q_t[..., None, :] @ S).squeeze(-2))
    return torch.stack(out, 1), S


def _retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gamma: Tensor,
    S: Tensor,
    gap: int,
    *,
    late: int = 0,
    first: int = 1,
    state_fades: bool = True,
    writes_fade: bool = True,
) -> tuple[Tensor, Tensor]:
    """The parallel form; `late` more powers on every pair, the first token reads γ^(gap + first) of the state."""
    T = q.shape[1]
    t = torch.arange(T)
    age = (t[:, None] - t).clamp(min=0)
    pairs = (gamma[:, None, None] ** (age + late)).tril()  # [H, T, T]
    read = gamma[:, None] ** (gap + t + first) if state_fades else torch.ones(len(gamma), T).to(q)
    o = torch.einsum("bthk,bshk,hts,bshv->bthv", q, k, pairs, v)
    o = o + torch.einsum("bthk,bhkv,ht->bthv", q, S, read)
    left = pairs[:, -1] if writes_fade else torch.ones_like(pairs[:, -1])
    kept = (gamma ** (gap + T - 1 + first))[:, None, None] * S if state_fades else S
    return o, kept + torch.einsum("hs,bshk,bshv->bhkv", left, k, v)


def retention_parallel(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, gap)


def just_written_fades(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, gap, late=1)


def silence_ignored(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, 0)


def first_gate_skipped(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, gap, first=0)


def state_stays(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, gap, state_fades=False)


def final_writes_stay(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, gap, writes_fade=False)


def heads_share(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma[:1].expand_as(gamma), S, gap)


def state_lost(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, torch.zeros_like(S), gap)


def silence_fades_once(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, min(gap, 1))


def faded_too_often(q, k, v, gamma, S, gap):
    return _retention(q, k, v, gamma, S, gap, first=2)


def _in_order(order: str, q: Tensor, k: Tensor, v: Tensor, gamma: Tensor, S: Tensor, gap: int):
    """Token by token, with read, decay and write in the order of their initials."""
    keep, out = gamma[:, None, None], []
    S = keep**gap * S
    for q_t, k_t, v_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True):
        for action in order:
            if action == "r":
                out.append((q_t[..., None, :] @ S).squeeze(-2))
            else:
                S = keep * S if action == "d" else S + k_t[..., :, None] * v_t[..., None, :]
    return torch.stack(out, 1), S


def read_decay_write(q, k, v, gamma, S, gap):
    return _in_order("rdw", q, k, v, gamma, S, gap)


def decay_read_write(q, k, v, gamma, S, gap):
    return _in_order("drw", q, k, v, gamma, S, gap)


def write_read_decay(q, k, v, gamma, S, gap):
    return _in_order("wrd", q, k, v, gamma, S, gap)


# --- 10.2 half-life -----------------------------------------------------------------------------------


def logits(case: Case, rng: torch.Generator) -> tuple[Tensor, float]:
    """Logits `[H, K]` of the gates and the temperature that divides their logarithm."""
    return 1.5 * draw(case, rng, case.H, case.K), case.temperature


def half_life_reference(x: Tensor, temperature: float) -> Tensor:
    """Tokens until e^{g n} = 1/2, with g = log sigmoid(x) / temperature."""
    return log(2) * temperature / -F.logsigmoid(x)


def half_life_by_log2(x, temperature):
    return -1 / torch.log2(torch.sigmoid(x) ** (1 / temperature))


def mean_life(x, temperature):
    return 1 / (1 - torch.sigmoid(x) ** (1 / temperature))


def e_folding(x, temperature):
    return temperature / -F.logsigmoid(x)


def common_logarithm(x, temperature):
    return torch.log10(torch.tensor(2.0, dtype=x.dtype)) * temperature / -F.logsigmoid(x)


def temperature_inside(x, temperature):
    return log(2) / -F.logsigmoid(x / temperature)


def temperature_forgotten(x, temperature):
    return log(2) / -F.logsigmoid(x)


def logit_as_factor(x, temperature):
    return log(2) * temperature / x.abs()


def rounded_half_life(x, temperature):
    return half_life_reference(x, temperature).round()


def negative_half_life(x, temperature):
    return -half_life_reference(x, temperature)


def temperature_multiplies(x, temperature):
    return log(2) / -(F.logsigmoid(x) * temperature)


def gate_as_its_logarithm(x, temperature):
    return log(2) / -(torch.sigmoid(x) / temperature)


def rule_of_thumb(x, temperature):
    return log(2) / (1 - torch.sigmoid(x) ** (1 / temperature))


# --- 10.3 RWKV-6's read -------------------------------------------------------------------------------


def rwkv_inputs(case: Case, rng: torch.Generator) -> tuple[Tensor, ...]:
    """r, k, v, w `[B, T, H, K]` at most 0, u `[H, K]` and a carried state."""
    r, k, v = qkv(case, rng)
    w = F.logsigmoid(draw(case, rng, case.B, case.T, case.H, case.K))
    return r, k, v, w, draw(case, rng, case.H, case.K), carried(case, rng)


def _rwkv(
    r: Tensor,
    k: Tensor,
    v: Tensor,
    w: Tensor,
    u: Tensor,
    S: Tensor,
    *,
    read: Callable = lambda S, new, kv, decay, u: S + u * kv,
    write: Callable = lambda S, kv, decay, u: decay * S + kv,
) -> tuple[Tensor, Tensor]:
    out = []
    for r_t, k_t, v_t, w_t in zip(*(x.unbind(1) for x in (r, k, v, w)), strict=True):
        kv, decay, bonus = k_t[..., :, None] * v_t[..., None, :], w_t.exp()[..., None], u[..., None]
        new = write(S, kv, decay, bonus)
        out.append((r_t[..., None, :] @ read(S, new, kv, decay, bonus)).squeeze(-2))
        S = new
    return torch.stack(out, 1), S


def rwkv_reference(r: Tensor, k: Tensor, v: Tensor, w: Tensor, u: Tensor, S: Tensor) -> tuple[Tensor, Tensor]:
    """o_t = (S_{t−1} + diag(u) k_t v_tᵀ)ᵀ r_t, then S_t = diag(e^{w_t}) S_{t−1} + k_t v_tᵀ."""
    return _rwkv(r, k, v, w, u, S)


def rwkv_with_a_number(r, k, v, w, u, S):
    """The bonus as a number, r·(u ⊙ k), that multiplies v."""
    out = []
    for t in range(r.shape[1]):
        bonus = (r[:, t] * u * k[:, t]).sum(-1, keepdim=True) * v[:, t]
        out.append(torch.einsum("bhk,bhkv->bhv", r[:, t], S) + bonus)
        S = torch.einsum("bhk,bhkv->bhkv", w[:, t].exp(), S) + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
    return torch.stack(out, 1), S


def read_after_write(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, read=lambda S, new, kv, decay, u: new)


def read_after_write_with_bonus(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, read=lambda S, new, kv, decay, u: new + u * kv)


def bonus_missing(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, read=lambda S, new, kv, decay, u: S)


def faded_before_read(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, read=lambda S, new, kv, decay, u: decay * S + u * kv)


def bonus_in_the_state(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, write=lambda S, kv, decay, u: decay * S + u * kv)


def new_pair_fades(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, write=lambda S, kv, decay, u: decay * (S + kv))


def bonus_of_one(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, read=lambda S, new, kv, decay, u: S + kv)


def bonus_on_all(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, read=lambda S, new, kv, decay, u: u * (S + kv))


def log_gate_as_factor(r, k, v, w, u, S):
    return _rwkv(r, k, v, w, u, S, write=lambda S, kv, decay, u: decay.log() * S + kv)


def query_scaled(r, k, v, w, u, S):
    return _rwkv(r * r.shape[-1] ** -0.5, k, v, w, u, S)


# --- 10.4 gated chunks --------------------------------------------------------------------------------


def chunk_inputs(case: Case, rng: torch.Generator) -> tuple:
    """q, k, v, g `[B, T, H]` (steeper where the case says so), a carried state and the chunk size."""
    q, k, v = qkv(case, rng)
    g = case.steep * F.logsigmoid(draw(case, rng, case.B, case.T, case.H))
    return q, k, v, g, carried(case, rng), case.C


def _masked(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    future = torch.ones(G.shape[-1], G.shape[-1], dtype=torch.bool).triu(1)
    return (q @ k.mT) * (G[..., :, None] - G[..., None, :]).masked_fill(future, float("-inf")).exp()


def _two_factors(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return ((q * G.exp()[..., None]) @ (k * (-G).exp()[..., None]).mT).tril()


def _differences(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return ((q @ k.mT) * (G[..., :, None] - G[..., None, :])).tril()


def _clamped(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return ((q * G.exp()[..., None]) @ (k * (-G).clamp(max=80).exp()[..., None]).mT).tril()


def _turned(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    future = torch.ones(G.shape[-1], G.shape[-1], dtype=torch.bool).triu(1)
    return (q @ k.mT) * (G[..., None, :] - G[..., :, None]).masked_fill(future, float("-inf")).exp()


def _unmasked(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return (q @ k.mT) * (G[..., :, None] - G[..., None, :]).exp()


def _times_mask(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return (q @ k.mT).tril() * (G[..., :, None] - G[..., None, :]).exp()


def _quotients(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return (q @ k.mT) * (G.exp()[..., :, None] / G.exp()[..., None, :]).tril()


def _ungated(q: Tensor, k: Tensor, G: Tensor) -> Tensor:
    return (q @ k.mT).tril()


def _gated_chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    S: Tensor,
    C: int,
    *,
    block: Callable = _masked,
    power: Callable = torch.exp,
    read: Callable = lambda G, g: G,
    to_end: Callable = lambda G: G[..., -1:] - G,
    late: bool = False,
    padded: bool = False,
    state_fades: bool = True,
    restart: bool = True,
    read_after: bool = False,
    states_before: bool = False,
) -> tuple[Tensor, Tensor]:
    """Chunk by chunk; every keyword but the defaults is a mistake somebody makes."""
    q, k, v, g = (x.transpose(1, 2) for x in (q, k, v, g))  # heads before time
    so_far = g.cumsum(-1)
    out, states = [], []
    for start in range(0, q.shape[2], C):
        q_c, k_c, v_c, g_c = (x[:, :, start : start + C] for x in (q, k, v, g))
        G = g_c.cumsum(-1) if restart else so_far[:, :, start : start + C]
        before = S
        weights, left = block(q_c, k_c, G), power(to_end(G))
        if late:  # products that count the writer's own gate
            own = g_c.exp()
            weights, left = weights * own[..., None, :], left * own
        S = (power(G[..., -1])[..., None, None] * S if state_fades else S) + (k_c * left[..., None]).mT @ v_c
        carried = q_c @ (S if read_after else before)
        out.append(weights @ v_c + power(read(G, g_c))[..., None] * carried)
        if padded:
            S = (g_c[..., -1] * (C - g_c.shape[-1])).exp()[..., None, None] * S
        states.append(before if states_before else S)
    return torch.cat(out, 2).transpose(1, 2), torch.stack(states, 1)


def chunk_reference(q: Tensor, k: Tensor, v: Tensor, g: Tensor, S: Tensor, C: int) -> tuple[Tensor, Tensor]:
    """o `[B, T, H, V]` and the state after every chunk `[B, N, H, K, V]`; no exponent is ever above 0."""
    return _gated_chunks(q, k, v, g, S, C)


def chunk_token_by_token(q, k, v, g, S, C):
    """The definition, keeping the states at the boundaries only."""
    T, out, states = q.shape[1], [], []
    for t in range(T):
        S = g[:, t].exp()[..., None, None] * S + torch.einsum("bhk,bhv->bhkv", k[:, t], v[:, t])
        out.append(torch.einsum("bhk,bhkv->bhv", q[:, t], S))
        if (t + 1) % C == 0 or t + 1 == T:
            states.append(S)
    return torch.stack(out, 1), torch.stack(states, 1)


def one_big_block(q, k, v, g, S, C):
    """Right, but every pair of tokens has an entry."""
    o, _ = _gated_chunks(q, k, v, g, S, q.shape[1])
    return o, _gated_chunks(q, k, v, g, S, C)[1]


def factorised(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_two_factors)


def exp_missing(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_differences, power=lambda G: G)


def own_gate_skipped(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, read=lambda G, g: G - g)


def writers_gate_counted(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, late=True)


def padding_fades(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, padded=True)


def writes_stay(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, to_end=torch.zeros_like)


def carried_stays(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, state_fades=False)


def sums_never_restart(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, restart=False)


def states_before(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, states_before=True)


def exponent_clamped(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_clamped)


def mask_times_infinity(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_times_mask)


def quotient_of_products(q, k, v, g, S, C):
    return _gated_chunks(
        q, k, v, g, S, C, block=_quotients, to_end=lambda G: (G[..., -1:].exp() / G.exp()).log()
    )


def sign_turned(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_turned)


def mask_missing(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_unmasked)


def inside_ungated(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, block=_ungated)


def read_in_full(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, read=lambda G, g: torch.zeros_like(G))


def all_read_alike(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, read=lambda G, g: G[..., -1:].expand_as(G))


def writes_fade_from_the_start(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, to_end=lambda G: G)


def chunk_read_twice(q, k, v, g, S, C):
    return _gated_chunks(q, k, v, g, S, C, read_after=True)


# --- 10.5 the largest safe chunk ----------------------------------------------------------------------


def gate_and_format(case: Case, rng: torch.Generator) -> tuple[float, torch.dtype]:
    """A gate below 0 that every token has, and the format of the factors."""
    return case.g, case.format


def largest_chunk_reference(g: float, dtype: torch.dtype) -> int:
    """The largest C for which e^{−C g} is still a number of the format."""
    return floor(log(torch.finfo(dtype).max) / -g)


def largest_chunk_by_search(g, dtype):
    """Longer and longer chunks until the format overflows."""
    C = 0
    while torch.tensor(-(C + 1) * g, dtype=torch.float64).exp().to(dtype).isfinite():
        C += 1
    return C


def largest_chunk_by_exponent(g, dtype):
    return int(log2(torch.finfo(dtype).max) * log(2) // -g)


def always_64(g, dtype):
    return 64


def always_float32(g, dtype):
    return floor(log(torch.finfo(torch.float32).max) / -g)


def sixteen_bits_alike(g, dtype):
    return largest_chunk_reference(g, torch.float16 if dtype.itemsize == 2 else dtype)


def one_too_many(g, dtype):
    return ceil(log(torch.finfo(dtype).max) / -g)


def powers_of_two(g, dtype):
    return floor(log2(torch.finfo(dtype).max) / -g)


def from_the_middle(g, dtype):
    return floor(2 * log(torch.finfo(dtype).max) / -g)


def gate_ignored(g, dtype):
    return floor(log(torch.finfo(dtype).max))


def rounded_to_nearest(g, dtype):
    return round(log(torch.finfo(dtype).max) / -g)


def not_whole(g, dtype):
    return log(torch.finfo(dtype).max) / -g


def below_zero(g, dtype):
    return floor(log(torch.finfo(dtype).max) / g)


def powers_of_ten(g, dtype):
    return floor(log10(torch.finfo(dtype).max) / -g)


# --- declarations -------------------------------------------------------------------------------------

TINY = partial(Case, "tiny", B=1, T=4, H=1, K=2, V=3)
RAGGED = partial(Case, "ragged", B=2, T=13, H=2, K=4, V=6)

RETENTION = CodeQuestion(
    id="10.1",
    objective="retention",
    title="Retention after a silence",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=retention_inputs,
    reference=retention_reference,
    visible=[
        TINY(gap=3),
        RAGGED(gap=2),
        Case("no silence", B=2, T=5, H=2, K=4, V=3, gap=0),
        Case("one token", B=2, T=1, H=2, K=4, V=3, gap=4),
    ],
    hidden=[Shapes(6, gap=(1, 6)), Case("hidden heads", B=2, T=7, H=3, K=4, V=5, gap=1, seed=71)],
    wrong={
        just_written_fades: "a value that was written just now is already faded when its own token reads it.",
        silence_ignored: "the silent tokens are not counted: the memory fades through them, too.",
        first_gate_skipped: "the carried state has faded one time too few, already at the first new token.",
        state_stays: "the carried state is as strong at the end as at the start: it never fades.",
        final_writes_stay: "the outputs are right, but in the state you return all new pairs have the same strength.",
        heads_share: "every head fades at the rate of head 0.",
        state_lost: "the carried state is not used.",
        silence_fades_once: "the memory fades once in the whole silence, however long it is.",
        faded_too_often: "the carried state has faded one time too often, already at the first new token.",
        read_decay_write: "a token does not see what it has written itself.",
        decay_read_write: "a token finds the old state, faded by its gate, and nothing of what it has written itself.",
        write_read_decay: "the decay comes last: a read finds the old state too fresh, and the state that you return "
        "has faded behind its last token.",
    },
    accepted=[retention_parallel],
    outputs=("o [B, T, H, V]", "S [B, H, K, V]"),
)

HALF_LIFE = CodeQuestion(
    id="10.2",
    objective="log-space",
    title="Half-lives of a GLA layer",
    points=2,
    minutes=6,
    difficulty=1,
    inputs=logits,
    reference=half_life_reference,
    visible=[
        Case("one channel", H=1, K=1, temperature=16.0),
        Case("a layer", H=2, K=4, temperature=16.0),
        Case("no temperature", H=2, K=3, temperature=1.0),
    ],
    hidden=[Shapes(4, temperature=[4.0, 8.0, 16.0])],
    wrong={
        mean_life: "that is 1/(1 − γ), what the weights of all ages add up to, and not when they halve.",
        e_folding: "after that many tokens the weight is 1/e ≈ 0.37, not one half.",
        common_logarithm: "two different logarithms meet: g is a natural one.",
        temperature_inside: "the temperature divides the logit: it should divide the logarithm of the gate.",
        temperature_forgotten: "the temperature is not used.",
        logit_as_factor: "the logit is taken for the gate: a sigmoid and a logarithm lie between them.",
        rounded_half_life: "your half-lives are rounded: leave them as they are.",
        negative_half_life: "your half-lives are below 0: a sign is lost, since g itself is negative.",
        temperature_multiplies: "the temperature makes your half-lives shorter: it should keep gates near 1.",
        gate_as_its_logarithm: "the sigmoid is taken for g, which is a logarithm.",
        rule_of_thumb: "you divide by 1 − γ, the rule for mental arithmetic: close, but not exact.",
    },
    accepted=[half_life_by_log2],
    outputs=("half-life [H, K]",),
)


def _format(name: str, g: float, dtype: torch.dtype) -> Case:
    return Case(name, g=g, format=dtype)


RWKV = CodeQuestion(
    id="10.3",
    objective="retention",
    title="RWKV-6 reads first",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=rwkv_inputs,
    reference=rwkv_reference,
    visible=[TINY(), RAGGED(), Case("one token", B=2, T=1, H=2, K=4, V=3)],
    hidden=[Shapes(6)],
    wrong={
        read_after_write: "your outputs are those of GLA: the state is read after the write, and u is not used.",
        read_after_write_with_bonus: "the present pair arrives twice, through the write and through the bonus.",
        bonus_missing: "a token sees nothing of itself: the bonus is missing.",
        faded_before_read: "the state has already faded by the present token's decay when it is read.",
        bonus_in_the_state: "the bonus has got into the state: it belongs to the read of its own token alone.",
        new_pair_fades: "the pair that is written fades at once: a token's decay acts on what was there before.",
        bonus_of_one: "a token sees itself with weight 1, whatever u is.",
        bonus_on_all: "the bonus weighs the old state as well: it is for the present pair alone.",
        log_gate_as_factor: "the state is multiplied by w itself, which is a logarithm.",
        query_scaled: "your outputs are scaled by 1/√K: the equations have no such factor.",
    },
    accepted=[rwkv_with_a_number],
    outputs=("o [B, T, H, V]", "S [B, H, K, V]"),
)

CHUNKS = CodeQuestion(
    id="10.4",
    objective="gated-chunk",
    title="Gated chunks, for any gates",
    points=4,
    minutes=18,
    difficulty=3,
    inputs=chunk_inputs,
    reference=chunk_reference,
    visible=[
        Case("two whole chunks", B=1, T=6, H=1, K=2, V=3, C=3, steep=1.0),
        Case("ragged tail", B=2, T=13, H=2, K=4, V=6, C=4, steep=1.0),
        Case("shorter than a chunk", B=2, T=3, H=2, K=4, V=3, C=8, steep=1.0),
        Case("steep gates", B=1, T=21, H=2, K=4, V=3, C=8, steep=60.0, dtype=torch.float32),
        Limit(
            "4,096 tokens",
            T=4096,
            K=64,
            V=64,
            C=64,
            steep=0.05,
            cpu_seconds=20,
            gigabytes=0.04,
            hint="a block of weights is C×C; a T×T table, or a state for every token, is too much.",
        ),
    ],
    hidden=[
        Shapes(8, T=(1, 40), C=(2, 16), steep=1.0),
        Case("hidden tail", B=2, T=11, H=2, K=3, V=4, C=4, steep=1.0, seed=72),
        Case("hidden steep", B=2, T=30, H=2, K=3, V=4, C=7, steep=70.0, seed=73, dtype=torch.float32),
        Limit("131,072 tokens", T=131_072, K=64, V=64, C=64, steep=0.05, cpu_seconds=25, gigabytes=3),
    ],
    wrong={
        mask_times_infinity: "you get NaN in a chunk's first token, too: zeros of the mask meet infinities.",
        quotient_of_products: "you get NaN: products of gates have shrunk to 0, and 0/0 is no number.",
        factorised: "you get NaN: somewhere a growing exponential meets one that has shrunk to 0.",
        exp_missing: "the sums of g weigh the pairs themselves: g is a logarithm.",
        own_gate_skipped: "a token reads the carried state before its own gate has closed on it.",
        writers_gate_counted: "a pair also fades by the gate of the token that wrote it.",
        padding_fades: "the state goes on fading behind the last token: padding must leave it alone.",
        writes_stay: "pairs enter the state at full strength, whether they stand first or last in their chunk.",
        carried_stays: "the state from before the chunk is carried on without fading.",
        sums_never_restart: "the running sum of g goes on across chunks: the carried state has already faded that far.",
        states_before: "each returned state stands before its chunk: it must include the chunk.",
        exponent_clamped: "all numbers are finite, but where gates are steep a clamped exponent gives wrong ones.",
        sign_turned: "inside a chunk an old pair weighs more than a new one: a difference has its sign turned.",
        mask_missing: "inside a chunk tokens read pairs that come after them.",
        inside_ungated: "inside a chunk nothing fades: an old pair weighs as much as a new one.",
        read_in_full: "all tokens of a chunk find the carried state at full strength.",
        all_read_alike: "all tokens of a chunk find the carried state equally faded, the first like the last.",
        writes_fade_from_the_start: "in the state, a chunk's newest pairs are its weakest.",
        chunk_read_twice: "a chunk's own pairs arrive twice: its tokens also read them through the state.",
    },
    accepted=[chunk_token_by_token],
    too_big=[one_big_block],
    outputs=("o [B, T, H, V]", "S [B, N, H, K, V]"),
)

LARGEST = CodeQuestion(
    id="10.5",
    objective="log-space",
    title="The largest safe chunk",
    points=2,
    minutes=6,
    difficulty=2,
    inputs=gate_and_format,
    reference=largest_chunk_reference,
    visible=[
        _format("float32, gentle", -0.6, torch.float32),
        _format("float32, steep", -4.0, torch.float32),
        _format("bfloat16", -2.0, torch.bfloat16),
        _format("float16", -1.0, torch.float16),
    ],
    hidden=[
        _format("hidden float64", -3.0, torch.float64),
        _format("hidden bfloat16", -0.7, torch.bfloat16),
        _format("hidden float16", -0.3, torch.float16),
    ],
    wrong={
        always_64: "64 whatever the gates are: with some of these gates the factors overflow, with others more fits.",
        always_float32: "the answer is the same for every format, but their largest numbers differ.",
        sixteen_bits_alike: "bfloat16 has 16 bits, but not the range of float16: it has as many exponent bits as "
        "float32.",
        one_too_many: "at that C the factor is already infinite: one token too many.",
        powers_of_two: "you count powers of two, but the factor is a power of e.",
        from_the_middle: "that is safe for sums that start in the middle of a chunk; here G starts at its first token.",
        gate_ignored: "the gate is not used: a steeper one leaves room for fewer tokens.",
        rounded_to_nearest: "a number rounded to the nearest can be one token too many.",
        not_whole: "a chunk holds whole tokens, and your number is not whole.",
        below_zero: "your C is below 0: look at the signs.",
        powers_of_ten: "you count powers of ten, but the factor is a power of e.",
    },
    accepted=[largest_chunk_by_search, largest_chunk_by_exponent],
    outputs=("C",),
)

GAP = ChoiceQuestion(
    id="10.6",
    objective="predict-cost",
    title="Explain the gap",
    points=1,
    minutes=5,
    difficulty=2,
    question="At C = K = V = 64 the four products of a chunk take 32,768 FLOPs a token and head, and gates for every "
    "channel, on the fast path, about 770 more, 2.3 %. But on the machine in data/measurements, at T = 4,096, the "
    "forward pass of GLA takes 1.3 times as long as without gates. Its matrices have the same sizes. What explains "
    "the gap?",
    options={
        "A": Option(
            "The gates make the matrix products irregular, so the library multiplies more slowly.",
            why="gates are folded into q and k first, and what is multiplied are ordinary dense matrices of the "
            "same sizes: a product takes as long whatever its numbers are.",
        ),
        "B": Option(
            "Elementwise work does little with each number that it moves, unlike the products.",
            why="every running sum, exponential and product with a gate is a pass over [T, K] numbers that loads each, "
            "does one thing with it and stores it. Counting FLOPs puts 2.3 % where the clock finds 30 %.",
        ),
        "C": Option(
            "With gates, the chunkwise form is quadratic in T, which the count leaves out.",
            why="the gates act inside the same chunks and on the same state: both forms stay linear in T.",
        ),
        "D": Option(
            "A gated state needs to be kept once per token, so more memory is moved.",
            why="the state is still kept once per chunk, and only the last one is alive in a forward pass.",
        ),
    },
    answer="B",
)

FORGET = ChoiceQuestion(
    id="10.7",
    objective="limits-of-decay",
    title="Forget one fact",
    points=1,
    minutes=4,
    difficulty=2,
    question="A GLA layer has stored (door, green) and, with orthogonal keys, nine other pairs. Now the text says "
    "that the door has been painted red. “The gate is learned from the input, so the layer can close it and forget "
    "exactly the old colour.” True or false, and why?",
    options={
        "A": Option(
            "True: the gate depends on the token, so it can tell which fact is meant.",
            why="the gate depends on the token that arrives, but it multiplies the whole state: old pairs are not told "
            "apart by what they are about.",
        ),
        "B": Option(
            "True: there is a gate for every channel, and each fact lives in a channel of its own.",
            why="a key is a direction, usually spread over all channels; closing one channel takes a part of every "
            "pair. It would be true only for keys that are axes.",
        ),
        "C": Option(
            "False: a gate scales rows of the state, and each row holds a part of nearly every pair.",
            why="diag(e^g) acts on channels, not on keys, so the other nine fade with the old colour. Erasing along "
            "one key takes a transition that depends on the key.",
        ),
        "D": Option(
            "False: a gate is never above 1, so it can only make older pairs weaker, never remove them.",
            why="a gate close to 0 does remove what is there, practically at once; the trouble is that it "
            "removes other pairs as well.",
        ),
    },
    answer="C",
)

QUESTIONS = [RETENTION, HALF_LIFE, RWKV, CHUNKS, LARGEST, GAP, FORGET]
