"""Questions of chapter 11: a memory that corrects itself.

The state S is `[K, V]` with one row for each key channel, and a step replaces what a key holds instead of adding to
it. The chunkwise form must return W and U, which no token loop computes on its way: they tell a solved system from
a slow loop. Neither a lamp that can be switched off nor the eigenvalue under a gate is in course_lib.
"""

from collections.abc import Callable
from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes


def draw(rng: torch.Generator, case: Case, *shape: int) -> Tensor:
    """Normal numbers in the dtype of the case."""
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)


def outer(k: Tensor, v: Tensor) -> Tensor:
    """k vᵀ: `[…, K]` and `[…, V]` to `[…, K, V]`."""
    return k[..., :, None] * v[..., None, :]


def single_precision(case: Case) -> float:
    """rtol 10⁻⁵: a formula may be worked out in float32; the mistakes are far larger."""
    return 1e-5


def read(S: Tensor, k: Tensor) -> Tensor:
    """Sᵀk: `[…, K, V]` and `[…, K]` to `[…, V]`."""
    return (k[..., None, :] @ S).squeeze(-2)


# --- 11.2 two keys collide ----------------------------------------------------------------------------


def two_writes(case: Case, rng: torch.Generator) -> tuple[float, ...]:
    """overlap, beta, first, second: all numbers."""
    if "overlap" in case.extra:
        return case.overlap, case.beta, case.first, case.second
    overlap, beta, first, second = torch.rand(4, generator=rng, dtype=torch.float64).tolist()
    return 0.2 + 0.6 * overlap, 0.2 + 0.6 * beta, 1 + 4 * first, -1 - 4 * second


def collision_reference(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    """After k₁ → first: S = β·first·k₁. The second write adds u = β(second − k₂ᵀS) along k₂."""
    wrote = beta * first
    u = beta * (second - overlap * wrote)
    return wrote + overlap * u, overlap * wrote + u


def collision_in_the_plane(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    """Two keys drawn in the plane, and the step of the chapter run twice."""
    keys = torch.tensor([[1.0, 0.0], [overlap, (1 - overlap**2) ** 0.5]], dtype=torch.float64)
    S = torch.zeros(2, dtype=torch.float64)
    for k, v in zip(keys, (first, second), strict=True):
        S = S + beta * k * (v - S @ k)
    return (keys @ S)[0].item(), (keys @ S)[1].item()


def both_added(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    return beta * (first + overlap * second), beta * (second + overlap * first)


def overlap_forgotten(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    return beta * first, beta * second


def first_unharmed(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    return beta * first, collision_reference(overlap, beta, first, second)[1]


def second_fully_written(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    u = second - overlap * beta * first
    return beta * first + overlap * u, second


def first_fully_written(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    u = beta * (second - overlap * first)
    return first + overlap * u, overlap * first + u


def other_order(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    at_second, at_first = collision_reference(overlap, beta, second, first)
    return at_first, at_second


def beta_not_used(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    return collision_reference(overlap, 1.0, first, second)


def error_without_overlap(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    wrote = beta * first
    u = beta * (second - wrote)
    return wrote + overlap * u, overlap * wrote + u


def second_read_in_full(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    wrote = beta * first
    u = beta * (second - overlap * wrote)
    return wrote + u, overlap * wrote + u


def answers_swapped(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    at_first, at_second = collision_reference(overlap, beta, first, second)
    return at_second, at_first


def same_key(overlap: float, beta: float, first: float, second: float) -> tuple[float, float]:
    answer = (1 - beta) * beta * first + beta * second
    return answer, answer


# --- 11.3 one step of Kimi Delta Attention ------------------------------------------------------------


def one_token(case: Case, rng: torch.Generator) -> tuple[Tensor, ...]:
    """q, k (of length one), v, g (log decay of each channel), beta, and a state that is not empty."""
    q, k, g = (draw(rng, case, case.B, case.H, case.K) for _ in range(3))
    v, S = draw(rng, case, case.B, case.H, case.V), draw(rng, case, case.B, case.H, case.K, case.V)
    beta = torch.rand(case.B, case.H, generator=rng, dtype=torch.float64).to(case.dtype)
    return q, F.normalize(k, dim=-1), v, -g.abs(), 0.2 + 0.7 * beta, S


def kda_reference(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """Decay, ask the decayed state, write the difference, read."""
    S = g.exp()[..., None] * S
    S = S + outer(k, beta[..., None] * (v - read(S, k)))
    return read(S, q), S


def kda_with_the_transition(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with (I − βkkᵀ) diag(e^g) as a matrix."""
    scaled = beta[..., None] * k
    A = (torch.eye(k.shape[-1], dtype=k.dtype) - outer(scaled, k)) @ torch.diag_embed(g.exp())
    S = A @ S + outer(scaled, v)
    return torch.einsum("bhk,bhkv->bhv", q, S), S


def _kda(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor, step: Callable[..., Tensor]
) -> tuple[Tensor, Tensor]:
    S = step(S, g.exp()[..., None], k, v, beta[..., None])
    return read(S, q), S


def correct_then_decay(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * (S + outer(k, b * (v - read(S, k)))))


def correct_then_decay_old(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * (S - outer(k, b * read(S, k))) + outer(k, b * v))


def no_beta_on_write(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * S + outer(k, v - b * read(a * S, k)))


def no_beta_on_erase(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * S + outer(k, b * v - read(a * S, k)))


def no_beta_at_all(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * S + outer(k, v - read(a * S, k)))


def asks_the_undecayed_state(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * S + outer(k, b * (v - read(S, k))))


def transposed(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The outer product the other way round: `[V, K]`, which fits (and passes unseen) only where K = V."""

    def step(S: Tensor, a: Tensor, k: Tensor, v: Tensor, b: Tensor) -> Tensor:
        written = outer(b * (v - read(a * S, k)), k)
        return a * S + written if written.shape == S.shape else written

    return _kda(*tokens, step=step)


def decays_values(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    """The gate on the columns; where V ≠ K it is cut or filled up."""
    g = F.pad(g, (0, max(0, v.shape[-1] - g.shape[-1])))[..., : v.shape[-1]]
    S = S * g.exp()[..., None, :]
    S = S + outer(k, beta[..., None] * (v - read(S, k)))
    return read(S, q), S


def gate_not_exponentiated(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    S = g[..., None] * S
    S = S + outer(k, beta[..., None] * (v - read(S, k)))
    return read(S, q), S


def read_before_write(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    return read(g.exp()[..., None] * S, q), kda_reference(q, k, v, g, beta, S)[1]


def only_adds(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: a * S + outer(k, b * v))


def never_decays(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    return _kda(*tokens, step=lambda S, a, k, v, b: S + outer(k, b * (v - read(S, k))))


def asks_with_the_query(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor, S: Tensor
) -> tuple[Tensor, Tensor]:
    S = g.exp()[..., None] * S
    S = S + outer(k, beta[..., None] * (v - read(S, q)))
    return read(S, q), S


def scaled(*tokens: Tensor) -> tuple[Tensor, Tensor]:
    o, S = kda_reference(*tokens)
    return o / tokens[0].shape[-1] ** 0.5, S


# --- 11.4 chunkwise form with a triangular solve ------------------------------------------------------


def tokens_and_chunk(case: Case, rng: torch.Generator) -> tuple[Tensor | int, ...]:
    """q, k (of length one), v, beta and the chunk size C."""
    head = (case.B, case.T, case.H)
    q, k = (draw(rng, case, *head, case.K) for _ in range(2))
    v, beta = draw(rng, case, *head, case.V), torch.rand(*head, generator=rng, dtype=torch.float64)
    return q, F.normalize(k, dim=-1), v, beta.to(case.dtype), case.C


def _chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    C: int,
    *,
    inverse: Callable[[Tensor, Tensor], Tensor] | None = None,
    diagonal: int = 0,
    carry: bool = True,
    after: bool = True,
) -> tuple[Tensor, ...]:
    """`inverse(KKᵀ, beta)` `[…, c, c]` and `[…, c]` gives what multiplies diag(β)K and diag(β)V."""
    q, k, v, beta = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), beta.transpose(1, 2)
    S = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3])
    collected: list[tuple[Tensor, ...]] = []
    for q_c, k_c, v_c, b_c in zip(*(x.split(C, dim=2) for x in (q, k, v, beta)), strict=True):
        solved = (inverse or _inverse_of_the_system)(k_c @ k_c.mT, b_c)
        W, U = solved @ (b_c[..., None] * k_c), solved @ (b_c[..., None] * v_c)
        P = U - W @ S if carry else U
        o = q_c @ S + (q_c @ k_c.mT).tril(diagonal) @ P
        S_before, S = S, S + k_c.mT @ P
        collected.append((o, W, U, S if after else S_before))
    o, W, U, states = zip(*collected, strict=True)
    return *(torch.cat(x, 2).transpose(1, 2) for x in (o, W, U)), torch.stack(states, 1)


def _inverse_of_the_system(gram: Tensor, beta: Tensor) -> Tensor:
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype).expand_as(gram)
    return torch.linalg.solve_triangular(
        eye + (beta[..., None] * gram).tril(-1), eye, upper=False, unitriangular=True
    )


def chunk_reference(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    """o `[B, T, H, V]`, W `[B, T, H, K]`, U `[B, T, H, V]` and the state after each chunk `[B, N, H, K, V]`."""
    return _chunkwise(q, k, v, beta, C)


def chunk_row_by_row(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    """Forward substitution by hand: row t takes away what the rows before it wrote."""

    def inverse(gram: Tensor, beta: Tensor) -> Tensor:
        rows = torch.eye(gram.shape[-1], dtype=gram.dtype).expand_as(gram).clone()
        for t in range(1, gram.shape[-1]):
            earlier = beta[..., t, None, None] * gram[..., t : t + 1, :t] @ rows[..., :t, :].clone()
            rows[..., t : t + 1, :] = rows[..., t : t + 1, :] - earlier
        return rows

    return _chunkwise(q, k, v, beta, C, inverse=inverse)


def inclusive_triangle(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    def inverse(gram: Tensor, beta: Tensor) -> Tensor:
        return torch.linalg.inv(torch.eye(gram.shape[-1], dtype=gram.dtype) + (beta[..., None] * gram).tril())

    return _chunkwise(q, k, v, beta, C, inverse=inverse)


def minus_instead_of_plus(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    def inverse(gram: Tensor, beta: Tensor) -> Tensor:
        return torch.linalg.inv(
            torch.eye(gram.shape[-1], dtype=gram.dtype) - (beta[..., None] * gram).tril(-1)
        )

    return _chunkwise(q, k, v, beta, C, inverse=inverse)


def beta_on_columns(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(
        q,
        k,
        v,
        beta,
        C,
        inverse=lambda gram, b: _inverse_of_the_system(gram * b[..., None, :], torch.ones_like(b)),
    )


def no_beta_in_the_system(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(
        q, k, v, beta, C, inverse=lambda gram, b: _inverse_of_the_system(gram, torch.ones_like(b))
    )


def no_beta_on_the_right(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(
        q, k, v, beta, C, inverse=lambda gram, b: _inverse_of_the_system(gram, b) / b[..., None, :]
    )


def not_solved(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    def first_order(gram: Tensor, beta: Tensor) -> Tensor:
        return torch.eye(gram.shape[-1], dtype=gram.dtype) - (beta[..., None] * gram).tril(-1)

    return _chunkwise(q, k, v, beta, C, inverse=first_order)


def strict_query_mask(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(q, k, v, beta, C, diagonal=-1)


def no_query_mask(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(q, k, v, beta, C, diagonal=C)


def state_not_asked(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(q, k, v, beta, C, carry=False)


def states_before(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    return _chunkwise(q, k, v, beta, C, after=False)


def one_big_solve(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, C: int) -> tuple[Tensor, ...]:
    """Right, but every matrix is T×T: one system for the whole text, its blocks masked for W and U."""
    o, _, _, S = _chunkwise(q, k, v, beta, C)
    q, k, v, beta = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), beta.transpose(1, 2)
    chunk = torch.arange(k.shape[2]) // C
    system = (beta[..., None] * (k @ k.mT)).tril(-1) * (chunk[:, None] == chunk)
    system = system + torch.eye(k.shape[2], dtype=k.dtype)
    W, U = (
        torch.linalg.solve_triangular(system, beta[..., None] * x, upper=False).transpose(1, 2)
        for x in (k, v)
    )
    return o, W, U, S


# --- 11.6 eigenvalue along an unnormalised key --------------------------------------------------------


def key_beta_gate(case: Case, rng: torch.Generator) -> tuple[Tensor, float, float]:
    """A key `[K]` of any length, β, and the head's log decay g."""
    k = draw(rng, case, case.K)
    if "beta" in case.extra:
        return torch.tensor(case.key, dtype=case.dtype), case.beta, case.g
    beta, g = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
    return k + 0.3 * k.sign(), 0.1 + beta, -0.1 - g


def eigen_reference(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    """Along k: e^g (1 − β|k|²). It is −1 at β = (1 + e^−g) / |k|²."""
    squared = (k @ k).item()
    return exp(g) * (1 - beta * squared), (1 + exp(-g)) / squared


def eigen_by_matrix(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    """The transition as a matrix, applied to k."""
    A = exp(g) * (torch.eye(len(k), dtype=k.dtype) - beta * torch.outer(k, k))
    squared = k.square().sum()
    return (k @ A @ k / squared).item(), (1 / squared + exp(-g) / squared).item()


def without_the_length(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    return exp(g) * (1 - beta), 1 + exp(-g)


def length_not_squared(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    norm = k.norm().item()
    return exp(g) * (1 - beta * norm), (1 + exp(-g)) / norm


def gate_left_out(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    squared = (k @ k).item()
    return 1 - beta * squared, 2 / squared


def limit_without_gate(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    return eigen_reference(k, beta, g)[0], 2 / (k @ k).item()


def limit_at_zero(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    return eigen_reference(k, beta, g)[0], 1 / (k @ k).item()


def limit_with_the_gate_inverted(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    return eigen_reference(k, beta, g)[0], (1 + exp(g)) / (k @ k).item()


def limit_for_unit_keys(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    return eigen_reference(k, beta, g)[0], 1 + exp(-g)


def size_not_value(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    eigenvalue, largest = eigen_reference(k, beta, g)
    return abs(eigenvalue), largest


def gate_on_the_identity_only(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    squared = (k @ k).item()
    return exp(g) - beta * squared, (1 + exp(g)) / squared


def across_the_key(k: Tensor, beta: float, g: float) -> tuple[float, float]:
    return exp(g), eigen_reference(k, beta, g)[1]


# --- 11.7 a lamp with a switch and a master switch ----------------------------------------------------

NOTHING, TOGGLE, MASTER = 0, 1, 2


def lamp_tokens(case: Case, rng: torch.Generator) -> tuple[list[int]]:
    """A list of T events 0, 1 or 2; the first cases name theirs."""
    if "events" in case.extra:
        return (list(case.events),)
    weights = torch.tensor([0.3, 0.6, 0.1], dtype=torch.float64)
    return (torch.multinomial(weights, case.T, replacement=True, generator=rng).tolist(),)


def _lamp(
    events: list[int], rule: Callable[[int], tuple[float, float]], late: bool = False, start: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """The delta rule with K = V = 1 and k = 1, from the state `start`; `rule(event)` gives β and v."""
    S, betas, values, states = start, [], [], []
    for event in events:
        beta, v = rule(event)
        before, S = S, S + beta * (v - S)
        betas.append(beta)
        values.append(v)
        states.append(before if late else S)
    return tuple(torch.tensor(x, dtype=torch.float64) for x in (betas, values, states))


def lamp_reference(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """β, v and the state after each event: +1 is on, −1 is off."""
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, -1.0)}.get)


def lamp_vectorised(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Flips counted since the last master switch, without a loop."""
    x = torch.tensor(events)
    flips = (x == TOGGLE).cumsum(0)
    last = torch.where(x == MASTER, torch.arange(len(x)), -1).cummax(0).values
    since = flips - torch.where(last >= 0, flips[last.clamp(min=0)], 0)
    start = torch.where(last >= 0, -1.0, 1.0).double()
    state = start * (1 - 2 * (since % 2)).double()
    beta = 2.0 * (x == TOGGLE).double() + (x == MASTER).double()
    return beta, -(x == MASTER).double(), state


def beta_is_the_event(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (1.0, 0.0), MASTER: (2.0, 0.0)}.get)


def toggle_erases(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (1.0, 0.0), MASTER: (1.0, -1.0)}.get)


def always_two(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (2.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, -1.0)}.get)


def toggle_writes_off(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (1.0, -1.0), MASTER: (1.0, -1.0)}.get)


def master_empties(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, 0.0)}.get)


def master_toggles(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (2.0, 0.0)}.get)


def master_turns_on(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, 1.0)}.get)


def starts_off(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, -1.0)}.get, start=-1.0)


def starts_empty(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, -1.0)}.get, start=0.0)


def one_event_late(events: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return _lamp(events, {NOTHING: (0.0, 0.0), TOGGLE: (2.0, 0.0), MASTER: (1.0, -1.0)}.get, late=True)


# --- the declarations ---------------------------------------------------------------------------------

CAPACITY = ChoiceQuestion(
    id="11.1",
    objective="collide-keys",
    title="What the delta rule is good for",
    points=1,
    minutes=4,
    difficulty=2,
    question='"The delta rule has more capacity than adding: into the same 16 × 16 state it writes more pairs that '
    'can be read back." In section 2, both memories wrote 16 pairs under random unit keys, with β = 1. What do the '
    "measurements say?",
    options={
        "A": Option(
            "True: each write corrects the error that the keys before it have left, so errors never pile up.",
            why="a write corrects its own key only, and it does so by moving what all the keys before it return: "
            "the oldest pairs came back least often.",
        ),
        "B": Option(
            "False: written once, adding returned more; the delta rule gains where keys are bound again.",
            why="written once, the sum spreads its noise evenly and the delta rule puts it on the oldest; bound "
            "again, only the delta rule takes the old value out before it writes the new one.",
        ),
        "C": Option(
            "False: both states are sums of 16 outer products, so both memories return the same pairs.",
            why="both are sums of outer products, but what the delta rule writes is a difference, not the "
            "value: over age, one memory's recall is flat and the other's climbs.",
        ),
        "D": Option(
            "True: the newest pair is read back every time, and every pair has been the newest once.",
            why="with β = 1 the newest pair is exact, but that says nothing about the one before it: "
            "recall falls with age, and the oldest is the worst.",
        ),
    },
    answer="B",
)


def _writes(name: str, overlap: float, beta: float, first: float, second: float) -> Case:
    return Case(name, overlap=overlap, beta=beta, first=first, second=second)


COLLISION = CodeQuestion(
    id="11.2",
    objective="collide-keys",
    title="Two keys collide",
    points=2,
    minutes=10,
    difficulty=2,
    inputs=two_writes,
    reference=collision_reference,
    visible=[
        _writes("half a step", 0.8, 0.5, 10.0, 20.0),
        _writes("keys that oppose each other", -0.5, 0.25, 2.0, 3.0),
        _writes("a full step", 0.8, 1.0, 10.0, 20.0),
    ],
    hidden=[Shapes(6)],
    wrong={
        both_added: "that is what a memory that only adds would answer: the second write does not look at "
        "what its key already returns.",
        overlap_forgotten: "your two keys do not touch each other: they share a direction, as overlap says.",
        first_unharmed: "reading the second key is right. But the second write also moves what the first key returns.",
        second_fully_written: "the second write closes its gap completely: it should close only the share beta.",
        first_fully_written: "the first write closes its gap completely: it should close only the share beta.",
        beta_not_used: "both writes close their gap completely: beta is not used.",
        error_without_overlap: "the second write takes off all that was written under the first key: its own key "
        "does not return all of that.",
        second_read_in_full: "the first key reads the second write in full: the two keys are not the same.",
        answers_swapped: "both numbers are right, in the wrong order.",
        other_order: "these are the answers after writing the second pair first.",
        same_key: "you overwrite one key twice: these are two keys with an overlap.",
    },
    accepted=[collision_in_the_plane],
    tolerance=single_precision,
    outputs=("answer for the first key", "answer for the second key"),
)


KDA_STEP = CodeQuestion(
    id="11.3",
    objective="delta-step",
    title="One step of Kimi Delta Attention",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=one_token,
    reference=kda_reference,
    visible=[
        Case("tiny", K=2, V=2),
        Case("more values than channels", B=2, H=2, K=3, V=5),
        Case("square", B=2, H=3, K=4, V=4),
    ],
    hidden=[Shapes(6, K=(2, 8), V=(2, 8))],
    wrong={
        correct_then_decay: "everything decays, also what this token has just written.",
        correct_then_decay_old: "the erasing happens before the decay: these two do not commute when each "
        "channel has a decay of its own.",
        no_beta_on_write: "the value arrives at full strength: the step size scales the whole difference.",
        no_beta_on_erase: "the old answer is erased at full strength: the step size scales the whole difference.",
        no_beta_at_all: "beta is not used: your memory always replaces the old answer completely.",
        asks_the_undecayed_state: "the question goes to the state as it was before the decay; what is "
        "taken out is then more than what is there.",
        transposed: "what you write is transposed: rows of the state belong to key channels.",
        decays_values: "the gate fades the columns: it belongs to the key channels.",
        gate_not_exponentiated: "the state is multiplied by g itself, but g is the *logarithm* of the decay.",
        only_adds: "the old answer is never taken out: your memory fades and adds.",
        never_decays: "your state does not fade: g has no effect.",
        asks_with_the_query: "what is taken out is what the *query* returns, but the value belongs to the key.",
        scaled: "the new state is right, but the output is scaled.",
        read_before_write: "the new state is right, but the query reads a state that this token has not "
        "written yet.",
    },
    accepted=[kda_with_the_transition],
    outputs=("o [B, H, V]", "S [B, H, K, V]"),
)


CHUNK = CodeQuestion(
    id="11.4",
    objective="delta-chunk",
    title="A chunk by triangular solve",
    points=4,
    minutes=20,
    difficulty=3,
    inputs=tokens_and_chunk,
    reference=chunk_reference,
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
            gigabytes=0.05,
            hint="every system is C×C; one that spans the whole text is what chunks are there to avoid.",
        ),
    ],
    hidden=[Shapes(8, T=(4, 40), C=(2, 16))],
    wrong={
        inclusive_triangle: "the triangle includes its diagonal: a token would correct against itself.",
        minus_instead_of_plus: "the sign in front of the triangle is wrong: write out a chunk of two tokens.",
        beta_on_columns: "beta scales the columns of the triangle; each *row* is one token's own equation.",
        no_beta_in_the_system: "beta is missing inside the system: it scales the answers that are taken away, too.",
        no_beta_on_the_right: "beta is missing on the right-hand sides: keys and values enter at full strength.",
        not_solved: "that is one round of corrections; earlier corrections change what later tokens must correct.",
        strict_query_mask: "a query misses its own token: o reads the state after the write.",
        no_query_mask: "inside a chunk, queries see later tokens: the product of queries and keys needs a mask.",
        state_not_asked: "W and U are right, but the carried state is not asked: the chunk's writes must also "
        "correct what came in.",
        states_before: "each returned state stands *before* its chunk: it must include the chunk.",
    },
    accepted=[chunk_row_by_row],
    too_big=[one_big_solve],
    outputs=("o [B, T, H, V]", "W [B, T, H, K]", "U [B, T, H, V]", "S [B, N, H, K, V]"),
)


GAP = ChoiceQuestion(
    id="11.5",
    objective="delta-chunk",
    title="Explain the gap",
    points=1,
    minutes=5,
    difficulty=2,
    question="On one processor, forward at T = 4,096, H = 4, K = V = C = 64: chunkwise linear attention without a "
    "feature map takes 7.6 ms, the delta rule 16.5 ms, 2.17 times as long. Counted, the delta rule does 1.83 times the "
    "FLOPs, and the inverse of the triangle is under 5 % of them. Alone, the inverse takes 2.5 ms of the 16.5 ms. What "
    "does this say about the gap between 2.17 and 1.83?",
    options={
        "A": Option(
            "The count must be wrong: a part that takes 15 % of the time must do 15 % of the FLOPs.",
            why="equal FLOPs take equal time only at equal rates: many products of tiny blocks reach far less "
            "than one product of 64 × 64 matrices.",
        ),
        "B": Option(
            "The delta rule is sequential in T, so no chunk can help it.",
            why="within a chunk nothing is sequential once the system is solved, and between chunks linear attention "
            "passes its state on just so.",
        ),
        "C": Option(
            "The few FLOPs of the inverse run at a low rate: it alone is most of the time beyond 1.83.",
            why="1.83 × 7.6 ms is 13.9 ms; the 2.6 ms beyond that are about what the inverse takes, whose blocks "
            "begin at 1 × 1 and whose few FLOPs hardly count in 1.83.",
        ),
        "D": Option(
            "The gap is noise: 2.17 and 1.83 are the same number on a shared machine.",
            why="noise could be a reason if the spread were that large, but a part that was measured alone "
            "already accounts for the difference.",
        ),
    },
    answer="C",
)


def _key(name: str, key: tuple[float, ...], beta: float, g: float) -> Case:
    return Case(name, K=len(key), key=key, beta=beta, g=g)


EIGENVALUE = CodeQuestion(
    id="11.6",
    objective="find-eigenvalue",
    title="The eigenvalue along a key of any length",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=key_beta_gate,
    reference=eigen_reference,
    visible=[
        _key("a long key", (1.0, 2.0, 2.0), 0.5, -0.5),
        _key("a short key", (0.3, 0.4), 1.5, -0.1),
        _key("one channel", (2.0,), 0.75, -1.0),
    ],
    hidden=[Shapes(6, K=(2, 6))],
    wrong={
        without_the_length: "right for keys of length one only: how long is this key?",
        length_not_squared: "the key appears twice in the transition, so its length does, too.",
        gate_left_out: "the gate is missing: it shrinks the state before the correction sees it.",
        limit_without_gate: "the eigenvalue is right, but the limit ignores the gate, which leaves more room.",
        limit_at_zero: "the eigenvalue is right, but your limit is where it reaches 0; a negative one still "
        "does not grow.",
        limit_with_the_gate_inverted: "the eigenvalue is right, but by your limit a stronger gate leaves less room.",
        limit_for_unit_keys: "the eigenvalue is right, but the limit is that of a key of length one.",
        size_not_value: "the limit is right; the eigenvalue itself may be negative.",
        gate_on_the_identity_only: "the gate multiplies the correction, too: what is corrected has decayed.",
        across_the_key: "the limit is right, but your eigenvalue belongs to directions at right angles to the key.",
    },
    accepted=[eigen_by_matrix],
    tolerance=single_precision,
    outputs=("eigenvalue", "largest beta"),
)


LAMP = CodeQuestion(
    id="11.7",
    objective="track-parity",
    title="A lamp with two switches",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=lamp_tokens,
    reference=lamp_reference,
    visible=[
        Case("one of each", T=7, events=(1, 0, 1, 1, 2, 1, 0)),
        Case("off, and off again", T=5, events=(1, 2, 0, 2, 1)),
        Case("40 events", T=40),
        Case("10,000 events", T=10_000, seed=3),
    ],
    hidden=[Shapes(4, T=(10, 60)), Case("10,000 hidden events", T=10_000, seed=11)],
    wrong={
        beta_is_the_event: "beta is the number of the event: at 1 that step forgets what it held.",
        toggle_erases: "after a toggle the state is 0: it has forgotten whether the lamp was on.",
        always_two: "nothing happens, and the lamp still changes: event 0 must leave the state alone.",
        toggle_writes_off: "a toggle always ends with the lamp off: the new state must depend on the old one.",
        master_empties: "after the master switch the state is 0: neither on nor off, and no toggle can bring it back.",
        master_toggles: "the master switch turns on a lamp that was off.",
        master_turns_on: "the master switch leaves the lamp on.",
        starts_off: "beta and v are right, but your lamp is off at first.",
        starts_empty: "beta and v are right, but your lamp is neither on nor off at first.",
        one_event_late: "beta and v are right, but the states stand before their event.",
    },
    accepted=[lamp_vectorised],
    outputs=("beta [T]", "v [T]", "state [T]"),
)


QUESTIONS = [CAPACITY, COLLISION, KDA_STEP, CHUNK, GAP, EIGENVALUE, LAMP]
