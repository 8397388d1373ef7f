"""Questions of chapter 08: one function, three forms, one state.

Throughout, φ(x) = elu(x) + 1 and attention is causal.
The parallel form must return its weights and the chunkwise form its boundary states: their outputs alone
could not be told apart, because all three forms compute the same numbers.
"""

from collections.abc import Callable

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
) -> tuple[Tensor, Tensor]:
    B, T, H, K = q.shape
    S, z = q.new_zeros(B, H, K, v.shape[-1]), q.new_zeros(B, H, K)
    numerators, normalisers = [], []
    for t in range(T):
        keep = (~starts[:, t]).to(q.dtype)
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
    q_scale: float = 1.0,
    padded: bool = False,
) -> tuple[Tensor, Tensor]:
    B, T, H, K = q.shape
    scale = K**-0.5 * q_scale
    if padded:
        q, k, v = (F.pad(x, (0, 0, 0, 0, 0, -T % C)) for x in (q, k, v))
        v = torch.where((torch.arange(v.shape[1]) < T)[:, None, None], v, 1.0)
    S = q.new_zeros(B, H, K, v.shape[-1])
    outputs, states = [], []
    for q_c, k_c, v_c in zip(*(x.split(C, dim=1) for x in (phi(q) * scale, phi(k), v)), strict=True):
        S_next = S + torch.einsum("bthk,bthv->bhkv", k_c, v_c)
        inside = torch.einsum("bthk,bshk->bhts", q_c, k_c).tril(diagonal)
        before = torch.einsum("bthk,bhkv->bthv", q_c, S_next if read_own else S)
        outputs.append(before + torch.einsum("bhts,bshv->bthv", inside, v_c))
        S = S_next
        states.append(S)
    return torch.cat(outputs, 1)[:, :T], torch.stack(states, 1)


def chunkwise_reference(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    """Outputs `[B, T, H, V]` and the state after each chunk `[B, ⌈T/C⌉, H, K, V]`."""
    return _chunkwise(q, k, v, C)


def chunkwise_all_at_once(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    """Pads φ(k) and v with zeros, then computes all chunks in one batched product each."""
    T = q.shape[1]
    q, k = phi(q) * q.shape[-1] ** -0.5, phi(k)
    q, k, v = (F.pad(x, (0, 0, 0, 0, 0, -T % C)).unflatten(1, (-1, C)) for x in (q, k, v))
    after = torch.einsum("bnthk,bnthv->bnhkv", k, v).cumsum(1)
    before = torch.cat([torch.zeros_like(after[:, :1]), after[:, :-1]], 1)
    inside = torch.einsum("bnthk,bnshk->bnhts", q, k).tril()
    o = torch.einsum("bnhts,bnshv->bnthv", inside, v) + torch.einsum("bnthk,bnhkv->bnthv", q, before)
    return o.flatten(1, 2)[:, :T], after


def own_chunk_twice(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    return _chunkwise(q, k, v, C, read_own=True)


def diagonal_lost(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    return _chunkwise(q, k, v, C, diagonal=-1)


def tail_dropped(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    whole = q.shape[1] // C * C
    o, states = _chunkwise(q, k, v, C)
    return F.pad(o[:, :whole], (0, 0, 0, 0, 0, q.shape[1] - whole)), states[:, : whole // C]


def padding_in_the_state(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    return _chunkwise(q, k, v, C, padded=True)


def scaled_twice(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    return _chunkwise(q, k, v, C, q_scale=q.shape[-1] ** -0.5)


def scale_dropped(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    return _chunkwise(q, k, v, C, q_scale=q.shape[-1] ** 0.5)


def state_of_the_chunk_alone(q: Tensor, k: Tensor, v: Tensor, C: int) -> tuple[Tensor, Tensor]:
    o, states = _chunkwise(q, k, v, C)
    return o, torch.cat([states[:, :1], states.diff(dim=1)], 1)


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


def z_forgotten(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _handover(q, k, v, S, torch.zeros_like(z), S, torch.zeros_like(z))


def state_ignored(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return _handover(q, k, v, *(torch.zeros_like(x) for x in (S, z, S, z)))


def old_state_returned(q: Tensor, k: Tensor, v: Tensor, S: Tensor, z: Tensor) -> tuple[Tensor, ...]:
    return handover_reference(q, k, v, S, z)[0], S, z


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
    },
    accepted=[recurrent_with_einsum],
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
    ],
    hidden=[Shapes(8, T=(1, 40), C=(1, 16))],
    wrong={
        own_chunk_twice: "a chunk's own tokens arrive twice: once through the state and once through its own "
        "block. Read the state from *before* the chunk.",
        diagonal_lost: "each token misses its own value: the block inside a chunk includes its diagonal.",
        tail_dropped: "the last, shorter chunk is missing: T need not divide by C.",
        padding_in_the_state: "padded tokens reached the state: φ(0) is 1, not 0.",
        scaled_twice: "the scale K^(-1/2) is applied twice.",
        scale_dropped: "the scale K^(-1/2) is missing.",
        state_of_the_chunk_alone: "each returned state holds its own chunk only: it must hold everything so far.",
    },
    accepted=[chunkwise_all_at_once],
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
        z_forgotten: "S is carried over, but z is not: the first half is in the sum and not in its normaliser.",
        state_ignored: "the second half starts from nothing: the first half's (S, z) is not used.",
        old_state_returned: "the outputs are right, but the state you return ends at the first half.",
        halves_averaged: "the halves are normalised separately and then averaged: add numerators and "
        "normalisers first, and divide once.",
    },
    accepted=[handover_token_by_token],
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
    title="Explain the gap",
    points=1,
    minutes=5,
    difficulty=2,
    question="Counting FLOPs puts the crossover at T = 256. On one laptop the curves cross at T = 310 instead. Near "
    "there, softmax attention (one fused kernel) runs at 85 GFLOP/s and the chunkwise form at 70 GFLOP/s. Which "
    "explanation fits these numbers?",
    options={
        "A": Option(
            "The count is wrong: causal attention skips half of the scores, and 2TD forgets that.",
            why="2TD already contains the half: without the mask it would be 4TD, and the crossover 128.",
        ),
        "B": Option(
            "Softmax attention also computes exponentials that the count leaves out, so its counted FLOPs take longer.",
            why="the exponentials are real and are not counted, but on their own they would make softmax attention "
            "slower and the crossing earlier. The rates say that its FLOPs take *less* time here.",
        ),
        "C": Option(
            "The chunkwise form is many small operations, so a counted FLOP takes it longer than the fused kernel.",
            why="equal FLOPs at a lower rate take more time, so at T = 256 linear attention is still behind. It "
            "needs some more tokens until its smaller count makes up for its lower rate.",
        ),
        "D": Option(
            "Up to T = 256 the chunkwise form has no state to carry yet, so it becomes linear only there.",
            why="the state is carried from the second chunk on, and reading and writing it costs 4D² for each "
            "token, which is in the count.",
        ),
    },
    answer="C",
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
        _sizes("one layer", 1, 1, 1, 32, 4, 2),
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
    },
    accepted=[memory_per_layer],
)


QUESTIONS = [PARALLEL, RECURRENT, CHUNKWISE, HANDOVER, CROSSOVER, EXPLAIN, MEMORY]
