"""Questions of chapter 08: one function, three forms, one state.

Throughout, φ(x) = elu(x) + 1 and attention is causal.
The parallel form must return its weights and the chunkwise form its boundary states: their outputs alone
could not be told apart, because all three forms compute the same numbers.
"""

from collections.abc import Callable
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, NumberQuestion, Option, Shapes


def phi(x: Tensor) -> Tensor:
    """The positive feature map elu(x) + 1."""
    return F.elu(x) + 1


def qkv(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Random q, k `[B, T, H, K]` and v `[B, T, H, V]`."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    head = (case.B, case.T, case.H)
    return draw(*head, case.K), draw(*head, case.K), draw(*head, case.V)


# --- 08.1 parallel form -------------------------------------------------------------------------------


def parallel_reference(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Weights `[B, H, T, T]` from φ(q)·φ(k), masked, each row divided by its sum; outputs `[B, T, H, V]`."""
    scores = torch.einsum("bthk,bshk->bhts", phi(q), phi(k)).tril()
    weights = scores / scores.sum(-1, keepdim=True)
    return torch.einsum("bhts,bshv->bthv", weights, v), weights


def parallel_with_matmul(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The same with heads moved in front of time and a boolean mask."""
    q, k, v = (x.transpose(1, 2) for x in (phi(q), phi(k), v))
    future = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    scores = (q @ k.mT).masked_fill(future, 0)
    weights = scores / scores.sum(-1, keepdim=True)
    return (weights @ v).transpose(1, 2), weights


def _parallel(q: Tensor, k: Tensor, v: Tensor, weigh: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    weights = weigh(torch.einsum("bthk,bshk->bhts", q, k))
    return torch.einsum("bhts,bshv->bthv", weights, v), weights


def sees_the_future(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _parallel(phi(q), phi(k), v, lambda a: a / a.sum(-1, keepdim=True))


def masked_after_normalising(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _parallel(phi(q), phi(k), v, lambda a: (a / a.sum(-1, keepdim=True)).tril())


def not_normalised(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _parallel(phi(q), phi(k), v, lambda a: a.tril())


def raw_keys(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _parallel(phi(q), k, v, lambda a: a.tril() / a.tril().sum(-1, keepdim=True))


def softmax_instead(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    def weigh(a: Tensor) -> Tensor:
        future = torch.ones_like(a, dtype=torch.bool).triu(1)
        return a.masked_fill(future, float("-inf")).softmax(-1)

    return _parallel(phi(q), phi(k), v, weigh)


def columns_normalised(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _parallel(phi(q), phi(k), v, lambda a: a.tril() / a.tril().sum(-2, keepdim=True))


# --- 08.2 recurrent form with document resets ---------------------------------------------------------


def qkv_and_starts(case: Case, rng: torch.Generator) -> tuple[Tensor, ...]:
    """q, k, v and `starts` `[B, T]`: True where a new document begins (always at t = 0)."""
    q, k, v = qkv(case, rng)
    starts = torch.rand(case.B, case.T, generator=rng) < 0.3
    starts[:, :1] = True
    return q, k, v, starts


def _recurrent(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    starts: Tensor,
    *,
    reset: str = "Sz",
    z_map: Callable[[Tensor], Tensor] = phi,
    read_first: bool = False,
    late: bool = False,
) -> tuple[Tensor, Tensor]:
    B, T, H, K = q.shape
    S, z = q.new_zeros(B, H, K, v.shape[-1]), q.new_zeros(B, H, K)
    numerators, normalisers = [], []
    for t in range(T):
        keep = (~starts[:, t - 1 if late and t else t]).to(q.dtype)
        S = S * keep[:, None, None, None] if "S" in reset else S
        z = z * keep[:, None, None] if "z" in reset else z
        S_next = S + phi(k[:, t])[..., :, None] * v[:, t][..., None, :]
        z_next = z + z_map(k[:, t])
        S_read, z_read = (S, z) if read_first else (S_next, z_next)
        numerators.append((phi(q[:, t])[..., None, :] @ S_read).squeeze(-2))
        normalisers.append((phi(q[:, t]) * z_read).sum(-1))
        S, z = S_next, z_next
    return torch.stack(numerators, 1), torch.stack(normalisers, 1)


def recurrent_reference(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Numerator `[B, T, H, V]` and normaliser `[B, T, H]`, both empty again at every start."""
    return _recurrent(q, k, v, starts)


def recurrent_with_einsum(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """The normaliser as one more column of values; states chosen with torch.where."""
    values = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    state = torch.zeros_like(torch.einsum("bhk,bhv->bhkv", k[:, 0], values[:, 0]))
    reads = []
    for q_t, k_t, v_t, start in zip(*(x.unbind(1) for x in (phi(q), phi(k), values, starts)), strict=True):
        state = torch.where(start[:, None, None, None], 0, state) + torch.einsum("bhk,bhv->bhkv", k_t, v_t)
        reads.append(torch.einsum("bhk,bhkv->bhv", q_t, state))
    read = torch.stack(reads, 1)
    return read[..., :-1], read[..., -1]


def z_not_reset(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return _recurrent(q, k, v, starts, reset="S")


def S_not_reset(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return _recurrent(q, k, v, starts, reset="z")


def nothing_reset(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return _recurrent(q, k, v, starts, reset="")


def read_before_write(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return _recurrent(q, k, v, starts, read_first=True)


def normaliser_without_phi(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return _recurrent(q, k, v, starts, z_map=lambda k_t: k_t)


def reset_one_token_late(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    return _recurrent(q, k, v, starts, late=True)


def already_divided(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    numerator, normaliser = _recurrent(q, k, v, starts)
    return numerator / normaliser[..., None], normaliser


def divided_by_t(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    numerator, _ = _recurrent(q, k, v, starts)
    count = []
    for t in range(q.shape[1]):
        previous = count[-1] if count else torch.zeros(q.shape[0], dtype=q.dtype)
        count.append(torch.where(starts[:, t], 1.0, previous + 1))
    return numerator, torch.stack(count, 1)[..., None].expand(q.shape[:3]).to(q.dtype)


def all_states_at_once(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Right, but keeps one state per token: memory grows as T·K·V."""
    document = starts.cumsum(1)
    first = torch.stack([starts[b].nonzero().squeeze(-1)[document[b] - 1] for b in range(len(starts))])

    def running(x: Tensor) -> Tensor:
        total = x.cumsum(1)
        before = torch.cat([torch.zeros_like(total[:, :1]), total], 1)
        index = first.view(*first.shape, *[1] * (x.ndim - 2)).expand_as(x)
        return total - before.gather(1, index)

    S = running(phi(k)[..., :, None] * v[..., None, :])
    return torch.einsum("bthk,bthkv->bthv", phi(q), S), (phi(q) * running(phi(k))).sum(-1)


def full_matrix(q: Tensor, k: Tensor, v: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Right, but quadratic: a T×T matrix masked by document."""
    document = starts.cumsum(1)
    same = (document[:, :, None] == document[:, None, :]).tril()
    scores = torch.einsum("bthk,bshk->bhts", phi(q), phi(k)) * same[:, None]
    return torch.einsum("bhts,bshv->bthv", scores, v), scores.sum(-1).transpose(1, 2)


# --- 08.3 chunkwise form with boundary states ---------------------------------------------------------


def qkv_and_chunk(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    """q, k, v and the chunk size C."""
    return (*qkv(case, rng), case.C)


def _chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    C: int,
    *,
    diagonal: int = 0,
    read_own: bool = False,
    carry_z: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """The normaliser is the last value column, so S and z are one tensor `[B, H, K, V + 1]`."""
    v = torch.cat([v, torch.ones_like(v[..., :1])], -1)
    S = q.new_zeros(q.shape[0], q.shape[2], q.shape[3], v.shape[3])
    outputs, states = [], []
    for q_c, k_c, v_c in zip(*(x.split(C, dim=1) for x in (phi(q), phi(k), v)), strict=True):
        S_next = S + torch.einsum("bthk,bthv->bhkv", k_c, v_c)
        S_read = S_next if read_own else S
        S_read = S_read if carry_z else torch.cat([S_read[..., :-1], torch.zeros_like(S_read[..., -1:])], -1)
        inside = torch.einsum("bthk,bshk->bhts", q_c, k_c).tril(diagonal)
        before = torch.einsum("bthk,bhkv->bthv", q_c, S_read)
        outputs.append(before + torch.einsum("bhts,bshv->bthv", inside, v_c))
        S = S_next
        states.append(S)
    o, S = torch.cat(outputs, 1), torch.stack(states, 1)
    return o[..., :-1] / o[..., -1:], S[..., :-1], S[..., -1]


def chunkwise_reference(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs `[B, T, H, V]` and, after each chunk, S `[B, ⌈T/C⌉, H, K, V]` and z `[B, ⌈T/C⌉, H, K]`."""
    return _chunkwise(q, k, v, C)


def chunkwise_all_at_once(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pads φ(k) and v with zeros, then computes all chunks in one batched product each."""
    T = q.shape[1]
    q, k, v = (F.pad(x, (0, 0, 0, 0, 0, -T % C)).unflatten(1, (-1, C)) for x in (phi(q), phi(k), v))
    S, z = torch.einsum("bnthk,bnthv->bnhkv", k, v).cumsum(1), k.sum(2).cumsum(1)
    S_before, z_before = (torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1) for x in (S, z))
    inside = torch.einsum("bnthk,bnshk->bnhts", q, k).tril()
    o = torch.einsum("bnhts,bnshv->bnthv", inside, v) + torch.einsum("bnthk,bnhkv->bnthv", q, S_before)
    normaliser = inside.sum(-1).transpose(2, 3) + torch.einsum("bnthk,bnhk->bnth", q, z_before)
    return (o / normaliser[..., None]).flatten(1, 2)[:, :T], S, z


def own_chunk_twice(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    return _chunkwise(q, k, v, C, read_own=True)


def diagonal_lost(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    return _chunkwise(q, k, v, C, diagonal=-1)


def future_inside_the_chunk(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    return _chunkwise(q, k, v, C, diagonal=C)


def z_not_carried(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    return _chunkwise(q, k, v, C, carry_z=False)


def tail_dropped(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    whole = q.shape[1] // C
    o, S, z = _chunkwise(q, k, v, C)
    return o[:, : whole * C], S[:, :whole], z[:, :whole]


def padding_in_the_state(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pads q, k and v themselves; φ then turns the padded zeros of k into ones, and they reach z."""
    padded = (F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % C)) for x in (q, k, v))
    o, S, z = _chunkwise(*padded, C)
    return o[:, : q.shape[1]], S, z


def states_before_the_chunk(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    o, *after = _chunkwise(q, k, v, C)
    return o, *(torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1) for x in after)


def states_of_the_chunk_alone(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    o, *after = _chunkwise(q, k, v, C)
    return o, *(torch.cat([x[:, :1], x.diff(dim=1)], 1) for x in after)


def one_big_block(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor, Tensor]:
    """Right, but the outputs come from a T×T matrix; only the states know of chunks."""
    o, _ = parallel_reference(q, k, v)
    return o, *chunkwise_reference(q, k, v, C)[1:]


# --- 08.4 state hand-over -----------------------------------------------------------------------------


def second_half(case: Case, rng: torch.Generator) -> tuple[Tensor, ...]:
    """q, k, v of a second half and (S, z) of a first half of five tokens."""
    _, k, v = qkv(Case("first half", B=case.B, T=5, H=case.H, K=case.K, V=case.V, dtype=case.dtype), rng)
    S = torch.einsum("bthk,bthv->bhkv", phi(k), v)
    return (*qkv(case, rng), S, phi(k).sum(1))


def _handover(
    q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor, S_read: Tensor, z_read: Tensor
) -> tuple[Tensor, ...]:
    scores = torch.einsum("bthk,bshk->bhts", phi(q), phi(k)).tril()
    numerator = torch.einsum("bhts,bshv->bthv", scores, v) + torch.einsum("bthk,bhkv->bthv", phi(q), S_read)
    normaliser = scores.sum(-1).transpose(1, 2) + torch.einsum("bthk,bhk->bth", phi(q), z_read)
    S_end = S + torch.einsum("bthk,bthv->bhkv", phi(k), v)
    return numerator / normaliser[..., None], S_end, z + phi(k).sum(1)


def handover_reference(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """Outputs of the second half, and the state (S, z) after both halves."""
    return _handover(q, k, v, S, z, S, z)


def handover_token_by_token(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    outputs = []
    for q_t, k_t, v_t in zip(*(x.unbind(1) for x in (phi(q), phi(k), v)), strict=True):
        S, z = S + torch.einsum("bhk,bhv->bhkv", k_t, v_t), z + k_t
        outputs.append(torch.einsum("bhk,bhkv->bhv", q_t, S) / (q_t * z).sum(-1, keepdim=True))
    return torch.stack(outputs, 1), S, z


def z_not_read(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _handover(q, k, v, S, z, S, torch.zeros_like(z))


def z_not_returned(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    o, S_end, z_end = handover_reference(q, k, v, S, z)
    return o, S_end, z_end - z


def state_ignored(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _handover(q, k, v, *(torch.zeros_like(x) for x in (S, z, S, z)))


def old_state_returned(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return handover_reference(q, k, v, S, z)[0], S, z


def whole_text_at_once(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    """Every token reads the final state, and with it the tokens after it."""
    _, S_end, z_end = handover_reference(q, k, v, S, z)
    read = torch.einsum("bthk,bhkv->bthv", phi(q), S_end)
    return read / torch.einsum("bthk,bhk->bth", phi(q), z_end)[..., None], S_end, z_end


def halves_averaged(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    here = handover_reference(q, k, v, torch.zeros_like(S), torch.zeros_like(z))[0]
    there = torch.einsum("bthk,bhkv->bthv", phi(q), S) / torch.einsum("bthk,bhk->bth", phi(q), z)[..., None]
    return (here + there) / 2, *handover_reference(q, k, v, S, z)[1:]


# --- 08.7 state bytes against a cache -----------------------------------------------------------------


def model_sizes(case: Case, rng: torch.Generator) -> tuple[int, ...]:
    """layers, heads, kv_heads, D, state_itemsize, cache_itemsize."""
    return case.layers, case.H, case.kv_heads, case.K, case.state_itemsize, case.cache_itemsize


def memory_reference(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    """(bytes of all normalised states, number of cached tokens that weigh as much)."""
    state = L * H * (D * D + D) * b_state
    return state, state / (L * H_kv * 2 * D * b_cache)


def memory_per_layer(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    """The same, one layer at a time: the number of layers cancels in the second answer."""
    per_head = D * (D + 1) * b_state
    return L * H * per_head, (D + 1) / 2 * (b_state / b_cache) * (H / H_kv)


def normaliser_forgotten(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    return L * H * D * D * b_state, D / 2 * (b_state / b_cache) * (H / H_kv)


def layers_forgotten(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    state, tokens = memory_reference(L, H, H_kv, D, b_state, b_cache)
    return state // L, tokens


def heads_forgotten(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    state, tokens = memory_reference(L, H, H_kv, D, b_state, b_cache)
    return state // H, tokens / H


def state_per_kv_head(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    return memory_reference(L, H_kv, H_kv, D, b_state, b_cache)


def one_dtype_for_both(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    return memory_reference(L, H, H_kv, D, b_cache, b_cache)


def keys_only(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    state, tokens = memory_reference(L, H, H_kv, D, b_state, b_cache)
    return state, tokens * 2


def rounded_up(L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> tuple[int, float]:
    state, tokens = memory_reference(L, H, H_kv, D, b_state, b_cache)
    return state, ceil(tokens)


def _sizes(name: str, L: int, H: int, H_kv: int, D: int, b_state: int, b_cache: int) -> Case:
    return Case(name, H=H, K=D, layers=L, kv_heads=H_kv, state_itemsize=b_state, cache_itemsize=b_cache)


# --- the declarations ---------------------------------------------------------------------------------

TINY = Case("tiny", B=1, T=4, H=1, K=2, V=3)
RAGGED = Case("ragged", B=2, T=13, H=2, K=4, V=6)
ONE_TOKEN = Case("one token", B=2, T=1, H=2, K=4, V=3)

PARALLEL = CodeQuestion(
    id="08.1",
    objective="reassociate",
    title="Parallel form, with its weights",
    points=2,
    minutes=8,
    difficulty=1,
    inputs=qkv,
    reference=parallel_reference,
    visible=[TINY, RAGGED, ONE_TOKEN],
    hidden=[Shapes(6)],
    wrong={
        sees_the_future: "every row gives weight to later tokens: the sum over j must stop at i.",
        masked_after_normalising: "the rows no longer sum to one: the future is removed, but it is still "
        "counted in the sum that you divide by.",
        not_normalised: "the weights of a row do not sum to one: what do you divide each row by?",
        raw_keys: "the keys skip the feature map: both q and k go through φ.",
        softmax_instead: "your rows come out of a softmax: here positive features take its place.",
        columns_normalised: "the columns sum to one instead of the rows: normalise over the keys of each query.",
    },
    accepted=[parallel_with_matmul],
    outputs=("o [B, T, H, V]", "weights [B, H, T, T]"),
)

RECURRENT = CodeQuestion(
    id="08.2",
    objective="recurrent-form",
    title="Recurrent form, with document resets",
    points=3,
    minutes=12,
    difficulty=2,
    inputs=qkv_and_starts,
    reference=recurrent_reference,
    visible=[
        Case("tiny", B=1, T=6, H=1, K=2, V=3),
        RAGGED,
        ONE_TOKEN,
        Limit(
            "4,096 tokens",
            T=4096,
            H=1,
            K=64,
            V=64,
            cpu_seconds=20,
            gigabytes=0.04,
            hint="keep one [K, V] state and overwrite it; a T×T matrix or one state per token is too much.",
        ),
    ],
    hidden=[
        Shapes(6),
        Limit("131,072 tokens", T=131_072, H=1, K=64, V=64, cpu_seconds=25, gigabytes=3),
    ],
    wrong={
        z_not_reset: "a new document starts with an empty S, but its normaliser still counts older documents.",
        S_not_reset: "the normaliser starts anew with each document, but S still holds older documents.",
        nothing_reset: "documents leak into each other: empty the state where `starts` is True.",
        read_before_write: "your result equals a state that is read *before* the token is written.",
        normaliser_without_phi: "the normaliser adds up raw keys: z sums φ(k).",
        divided_by_t: "the normaliser counts tokens; it must weigh them: φ(q)·z, with z the sum of φ(k).",
        reset_one_token_late: "the state is emptied one token late: a document's *first* token must find it empty.",
        already_divided: "your first result is already divided: return the numerator and the normaliser separately.",
    },
    accepted=[recurrent_with_einsum],
    outputs=("numerator [B, T, H, V]", "normaliser [B, T, H]"),
    too_big=[all_states_at_once, full_matrix],
)

CHUNKWISE = CodeQuestion(
    id="08.3",
    objective="chunkwise-form",
    title="Chunkwise form, with boundary states",
    points=4,
    minutes=15,
    difficulty=3,
    inputs=qkv_and_chunk,
    reference=chunkwise_reference,
    visible=[
        Case("two whole chunks", B=1, T=6, H=1, K=2, V=3, C=3),
        Case("ragged tail", B=2, T=13, H=2, K=4, V=6, C=4),
        Case("shorter than a chunk", B=2, T=3, H=2, K=4, V=3, C=8),
        Limit(
            "4,096 tokens",
            T=4096,
            H=1,
            K=64,
            V=64,
            C=64,
            cpu_seconds=20,
            gigabytes=0.04,
            hint="a block of scores is C×C: a T×T matrix is what chunks are there to avoid.",
        ),
    ],
    hidden=[Shapes(8, T=(1, 40), C=(1, 16))],
    wrong={
        own_chunk_twice: "a chunk's own tokens arrive twice: once through the state and once through its own "
        "block. Read the state from *before* the chunk.",
        diagonal_lost: "each token misses its own value: the block inside a chunk includes its diagonal.",
        future_inside_the_chunk: "inside a chunk, tokens see later ones: the block needs a mask.",
        z_not_carried: "the normaliser counts the chunk's own tokens only: earlier chunks are in z.",
        tail_dropped: "the last, shorter chunk is missing: T need not divide by C.",
        padding_in_the_state: "padded tokens reached z: φ(0) is 1, not 0.",
        states_before_the_chunk: "each returned state stands *before* its chunk: it must include the chunk.",
        states_of_the_chunk_alone: "each returned state holds its own chunk only: it must hold everything so far.",
    },
    accepted=[chunkwise_all_at_once],
    too_big=[one_big_block],
    outputs=("o [B, T, H, V]", "S [B, N, H, K, V]", "z [B, N, H, K]"),
)

HANDOVER = CodeQuestion(
    id="08.4",
    objective="carry-state",
    title="Hand the state over",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=second_half,
    reference=handover_reference,
    visible=[TINY, RAGGED, ONE_TOKEN],
    hidden=[Shapes(6)],
    wrong={
        z_not_read: "S is carried over, but z is not: the first half is in the sum and not in its normaliser.",
        z_not_returned: "the z you return starts at the second half: it must count both halves, as S does.",
        whole_text_at_once: "every token reads the state after the *last* token: token t may only see up to t.",
        state_ignored: "the second half starts from nothing: the first half's (S, z) is not used.",
        old_state_returned: "the outputs are right, but the state you return ends at the first half.",
        halves_averaged: "the halves are normalised separately and then averaged: add numerators and "
        "normalisers first, and divide once.",
    },
    accepted=[handover_token_by_token],
    outputs=("o [B, T, H, V]", "S [B, H, K, V]", "z [B, H, K]"),
)

CROSSOVER = NumberQuestion(
    id="08.5",
    objective="predict-cost",
    title="Move the crossover",
    points=1,
    minutes=4,
    difficulty=1,
    question="For each token and head, causal softmax attention costs 2TD FLOPs and the chunkwise form "
    "4CD + 4D². With C = D = 64 they are equal at T = 256. Keep D = 64 and double the chunk to C = 128: "
    "at which T are they equal now?",
    answer=384,
    unit="tokens",
    wrong={
        256: "that is the crossover of C = 64: put C = 128 into 4CD + 4D².",
        512: "only one of the two terms of 4CD + 4D² doubles with C.",
        192: "half of it: causal attention costs 2TD, not 4TD, because it skips the future.",
    },
)

EXPLAIN = ChoiceQuestion(
    id="08.6",
    objective="predict-cost",
    title="Explain the agreement",
    points=1,
    minutes=5,
    difficulty=2,
    question="On one laptop, with C = D = 64, the curves cross at T = 250, very near the 256 that counting predicts. "
    "Up to 512 tokens its causal softmax kernel takes as long as the one without a mask. Counted without the mask, it "
    "runs at 88 GFLOP/s; the chunkwise form runs at 45 GFLOP/s. What explains the agreement with the count?",
    options={
        "A": Option(
            "The count is confirmed: both mixers do the FLOPs that were counted, at the same rate.",
            why="look at the numbers: the rates differ by a factor of two, and a kernel that takes as long as one "
            "without a mask does not skip the masked half.",
        ),
        "B": Option(
            "Two errors cancel: the kernel does twice the FLOPs that were counted, but nearly twice as fast.",
            why="the true count is 4TD for softmax attention, so T* would be C + D = 128 at equal rates; the "
            "small products of the chunkwise form run at about half the rate, which moves it back to about 250.",
        ),
        "C": Option(
            "Below T = 256 the chunkwise form has no state yet, so the curves must part at 256.",
            why="with C = 64 the state is carried from the second chunk on, and nothing happens at 256 itself.",
        ),
        "D": Option(
            "The exponentials, which no formula counts, take exactly as long as the skipped half would have.",
            why="the kernel skips nothing here: with and without a mask it takes the same time, and both contain "
            "the exponentials.",
        ),
    },
    answer="B",
)

MEMORY = CodeQuestion(
    id="08.7",
    objective="predict-cost",
    title="A state against a cache, in bytes",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=model_sizes,
    reference=memory_reference,
    visible=[
        _sizes("small model", 4, 4, 4, 64, 4, 4),
        _sizes("grouped queries", 32, 32, 8, 128, 4, 2),
        _sizes("double precision", 2, 6, 3, 16, 8, 4),
    ],
    hidden=[
        _sizes("one layer", 1, 6, 4, 32, 4, 2),
        _sizes("one key-value head", 48, 64, 1, 128, 4, 1),
    ],
    wrong={
        normaliser_forgotten: "S is counted, but z is not: D more numbers a head.",
        layers_forgotten: "that is one layer's state: every layer keeps its own.",
        heads_forgotten: "that is one head's state: every head keeps its own.",
        state_per_kv_head: "you count states per key-value head. Here every query head keeps its own state; "
        "only the cache is shared by groups.",
        one_dtype_for_both: "state and cache have different item sizes: the state stays in the wider one.",
        keys_only: "a cached token keeps a key *and* a value.",
        rounded_up: "your number of tokens is rounded: leave it as it is.",
    },
    accepted=[memory_per_layer],
)


QUESTIONS = [PARALLEL, RECURRENT, CHUNKWISE, HANDOVER, CROSSOVER, EXPLAIN, MEMORY]
