"""Questions of chapter 12: sample an equation, combine two steps, select, and see the attention inside.

Letters of the chapter: D channels with N numbers of state each; in a case, D is V and N is K.
A scan gives the same numbers however it is grouped, so the scan is graded on its operator, with matrices that do
not commute; and the duality is graded on the T×T matrix, which a recurrence does not have.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention.scan import associative_scan

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, Option, Shapes

Pair = tuple[Tensor, Tensor]

# --- 12.1 discretise --------------------------------------------------------------------------------------


def modes(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A, B `[D, N]` complex and delta `[D]`; `still` puts modes at 0 or very near it."""
    real, imaginary, b, c = torch.randn(4, case.V, case.K, generator=rng, dtype=torch.float64)
    A = torch.complex(-real.abs() - 0.1, 3 * imaginary)
    if "still" in case.extra:
        A[:, 0] = case.still
    delta = 0.1 + torch.rand(case.V, generator=rng, dtype=torch.float64)
    return A, torch.complex(b, c), delta


def _held(z: Tensor, delta: Tensor) -> Tensor:
    """(e^{zΔ} − 1) / z, and Δ where z is 0."""
    still = z == 0
    return torch.where(still, delta.to(z.dtype), torch.expm1(z * delta) / torch.where(still, 1.0, z))


def discretise_reference(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    """Ā = e^{ΔA} and B̄ = (e^{ΔA} − 1)/A · B, its limit ΔB where A is 0; both `[D, N]`."""
    step = delta[:, None]
    return (step * A).exp(), _held(A, step) * B


def discretise_by_matrix_exponential(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    """e^{ΔM} of M = [[A, B], [0, 0]]: the held input is one more state that does not change."""
    zero = torch.zeros_like(A)
    M = torch.stack([torch.stack([A, B], -1), torch.stack([zero, zero], -1)], -2)
    whole = torch.linalg.matrix_exp(delta[:, None, None, None] * M)
    return whole[..., 0, 0], whole[..., 0, 1]


def discretise_by_series(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    """(e^z − 1)/z as its power series where z is small."""
    z = delta[:, None] * A
    small = z.abs() < 1e-2
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6 * (1 + z / 7)))))
    quotient = ((z).exp() - 1) / torch.where(small, 1.0, z)
    return z.exp(), torch.where(small, series, quotient) * delta[:, None] * B


def euler(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    return 1 + delta[:, None] * A, delta[:, None] * B


def input_by_euler(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    return (delta[:, None] * A).exp(), delta[:, None] * B


def bilinear(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    half = delta[:, None] * A / 2
    return (1 + half) / (1 - half), delta[:, None] * B / (1 - half)


def sign_turned(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    step = delta[:, None]
    return (-step * A).exp(), _held(-A, step) * B


def rotation_lost(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    return discretise_reference(torch.complex(A.real, torch.zeros_like(A.real)), B, delta)


def step_lost_in_the_input(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    step = delta[:, None]
    return (step * A).exp(), _held(A, step) / step * B


def not_divided(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    growth = torch.expm1(delta[:, None] * A)
    return growth + 1, growth * B


def zero_over_zero(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    kept = (delta[:, None] * A).exp()
    return kept, (kept - 1) / A * B


def digits_lost(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    kept = (delta[:, None] * A).exp()
    still = A == 0
    return kept, torch.where(still, delta[:, None], (kept - 1) / torch.where(still, 1.0, A)) * B


def limit_without_step(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    kept, written = discretise_reference(A, B, delta)
    return kept, torch.where(A == 0, B, written)


def nothing_at_zero(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    kept, written = zero_over_zero(A, B, delta)
    return kept, torch.where(A == 0, 0.0, written)


def step_twice(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    kept, written = discretise_reference(A, B, delta)
    return kept, delta[:, None] * written


def divisor_shifted(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    step = delta[:, None]
    return (step * A).exp(), torch.expm1(step * A) / (A + 1e-8) * B


def limit_around_zero(A: Tensor, B: Tensor, delta: Tensor) -> Pair:
    kept, written = discretise_reference(A, B, delta)
    return kept, torch.where(A.abs() < 1e-6, delta[:, None] * B, written)


# --- 12.2 combine -----------------------------------------------------------------------------------------


def two_steps(case: Case, rng: torch.Generator) -> tuple[Pair, Pair]:
    """earlier and later, each (A `[B, N, N]`, b `[B, N]`)."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(case.B, *shape, generator=rng, dtype=torch.float64)

    N = case.K
    return (draw(N, N), draw(N)), (draw(N, N), draw(N))


def _apply(A: Tensor, x: Tensor) -> Tensor:
    return (A @ x[..., None]).squeeze(-1)


def combine_reference(earlier: Pair, later: Pair) -> Pair:
    """later ∘ earlier: h → A2 (A1 h + b1) + b2 = (A2 A1) h + (A2 b1 + b2)."""
    (A1, b1), (A2, b2) = earlier, later
    return A2 @ A1, _apply(A2, b1) + b2


def combine_as_one_matrix(earlier: Pair, later: Pair) -> Pair:
    """A step as the matrix [[A, b], [0, 1]], and two steps as a product."""

    def whole(A: Tensor, b: Tensor) -> Tensor:
        last = torch.zeros_like(A[..., :1, :])
        return torch.cat([torch.cat([A, b[..., None]], -1), F.pad(last, (0, 1), value=1.0)], -2)

    product = torch.bmm(whole(*later), whole(*earlier))
    return product[:, :-1, :-1], product[:, :-1, -1]


def combine_with_einsum(earlier: Pair, later: Pair) -> Pair:
    (A1, b1), (A2, b2) = earlier, later
    return torch.einsum("bij,bjk->bik", A2, A1), torch.einsum("bij,bj->bi", A2, b1) + b2


def order_reversed(earlier: Pair, later: Pair) -> Pair:
    return combine_reference(later, earlier)


def matrices_reversed(earlier: Pair, later: Pair) -> Pair:
    return earlier[0] @ later[0], combine_reference(earlier, later)[1]


def vector_from_the_left(earlier: Pair, later: Pair) -> Pair:
    (A1, b1), (A2, b2) = earlier, later
    return A2 @ A1, _apply(A2.mT, b1) + b2


def inputs_only_added(earlier: Pair, later: Pair) -> Pair:
    return later[0] @ earlier[0], earlier[1] + later[1]


def later_input_carried(earlier: Pair, later: Pair) -> Pair:
    (A1, b1), (A2, b2) = earlier, later
    return A2 @ A1, _apply(A2, b1 + b2)


def own_matrix_applied(earlier: Pair, later: Pair) -> Pair:
    (A1, b1), (A2, b2) = earlier, later
    return A2 @ A1, _apply(A1, b1) + b2


def elementwise(earlier: Pair, later: Pair) -> Pair:
    return later[0] * earlier[0], combine_reference(earlier, later)[1]


# --- 12.3 selective scan with snapshots -------------------------------------------------------------------


def selective(case: Case, rng: torch.Generator) -> tuple:
    """u, delta `[B, T, D]`, A `[D, N]`, B, C `[B, T, N]`, and the positions `after` which the state is wanted."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    Bs, T, D, N = case.B, case.T, case.V, case.K
    after = (torch.rand(T, generator=rng) < 0.3).nonzero().flatten().tolist()[:3] or [T - 1]
    A = -draw(D, N).abs() - 0.1
    return draw(Bs, T, D), F.softplus(draw(Bs, T, D)), A, draw(Bs, T, N), draw(Bs, T, N), after


Step = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _mamba(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
    return (d[..., None] * A).exp() * h + (d * u)[..., None] * B[:, None]


def _scanned(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    after: list[int],
    *,
    step: Step = _mamba,
    read_first: bool = False,
    early: bool = False,
) -> tuple[Tensor, Tensor]:
    h = u.new_zeros(u.shape[0], *A.shape)
    out, kept = [], []
    for t in range(u.shape[1]):
        new = step(h, u[:, t], delta[:, t], A, B[:, t])
        out.append(((h if read_first else new) * C[:, t][:, None]).sum(-1))
        if t in after:
            kept.append(h if early else new)
        h = new
    return torch.stack(out, 1), torch.stack(kept, 1)


def selective_reference(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    """y `[B, T, D]` and the states `[B, len(after), D, N]` after those positions."""
    return _scanned(u, delta, A, B, C, after)


def selective_with_einsum(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]
) -> Pair:
    h = torch.zeros(*u[:, 0].shape, A.shape[1], dtype=u.dtype)
    y = torch.empty_like(u)
    kept = {}
    for t, (u_t, d_t, B_t, C_t) in enumerate(zip(*(x.unbind(1) for x in (u, delta, B, C)), strict=True)):
        h = torch.exp(torch.einsum("bd,dn->bdn", d_t, A)) * h + torch.einsum("bd,bn->bdn", d_t * u_t, B_t)
        y[:, t] = torch.einsum("bdn,bn->bd", h, C_t)
        kept[t] = h
        kept = {s: state for s, state in kept.items() if s in after}
    return y, torch.stack([kept[t] for t in after], dim=1)


def all_states_kept(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    """Right, but holds T states: the associative scan over the whole sequence."""
    a = (delta[..., None] * A).exp()
    b = (delta * u)[..., None] * B[:, :, None]
    h = associative_scan(a, b, torch.zeros_like(b[:, 0]))
    return (h * C[:, :, None]).sum(-1), h[:, after]


def input_not_scaled(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return (d[..., None] * A).exp() * h + u[..., None] * B[:, None]

    return _scanned(u, delta, A, B, C, after, step=step)


def not_exponentiated(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return d[..., None] * A * h + (d * u)[..., None] * B[:, None]

    return _scanned(u, delta, A, B, C, after, step=step)


def euler_for_the_state(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return (1 + d[..., None] * A) * h + (d * u)[..., None] * B[:, None]

    return _scanned(u, delta, A, B, C, after, step=step)


def sign_of_a_turned(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    return _scanned(u, delta, -A, B, C, after)


def writes_what_is_not_kept(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]
) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        keep = (d[..., None] * A).exp()
        return keep * h + (1 - keep) * u[..., None] * B[:, None]

    return _scanned(u, delta, A, B, C, after, step=step)


def decay_without_step(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return A.exp() * h + (d * u)[..., None] * B[:, None]

    return _scanned(u, delta, A, B, C, after, step=step)


def input_held_exactly(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return (d[..., None] * A).exp() * h + _held(A, d[..., None]) * u[..., None] * B[:, None]

    return _scanned(u, delta, A, B, C, after, step=step)


def fades_what_it_writes(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    def step(h: Tensor, u: Tensor, d: Tensor, A: Tensor, B: Tensor) -> Tensor:
        return (d[..., None] * A).exp() * (h + (d * u)[..., None] * B[:, None])

    return _scanned(u, delta, A, B, C, after, step=step)


def reads_before_writing(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    return _scanned(u, delta, A, B, C, after, read_first=True)


def state_before_the_token(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]
) -> Pair:
    return _scanned(u, delta, A, B, C, after, early=True)


def snapshots_overwritten(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]
) -> Pair:
    """One tensor, changed in place: every entry of the list shows its last content."""
    y, _ = _scanned(u, delta, A, B, C, after)
    _, last = _scanned(u, delta, A, B, C, [u.shape[1] - 1])
    return y, last.expand(-1, len(after), -1, -1)


def roles_swapped(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    return _scanned(u, delta, A, C, B, after)


def one_step_for_all(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    return _scanned(u, delta[..., :1].expand_as(delta), A, B, C, after)


def state_transposed(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, after: list[int]) -> Pair:
    y, h = _scanned(u, delta, A, B, C, after)
    return y, h.mT


# --- 12.4 the matrix of Mamba-2 ---------------------------------------------------------------------------


def mamba_two(case: Case, rng: torch.Generator) -> tuple[Tensor, ...]:
    """dt `[B, T, H]`, A, D `[H]`, B, C `[B, T, G, N]` with H = G · case.H heads; `strength` multiplies A."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    H = case.G * case.H
    A = -case.extra.get("strength", 1.0) * (draw(H).abs() + 0.1)
    B, C = draw(2, case.B, case.T, case.G, case.K)
    return F.softplus(draw(case.B, case.T, H)), A, B, C, draw(H)


def _segments(dt: Tensor, A: Tensor) -> Tensor:
    """log of the decay from token i to token t, `[B, H, T, T]`: the sum of ΔA after i and up to t."""
    total = (dt * A).cumsum(1).transpose(1, 2)
    return total[..., :, None] - total[..., None, :]


def _kernel(B: Tensor, C: Tensor, H: int) -> Tensor:
    """C_t · B_i for each head, `[B, H, T, T]`."""
    products = torch.einsum("btgn,bsgn->bgts", C, B)
    return products.repeat_interleave(H // B.shape[2], 1)


def _with_skip(M: Tensor, D: Tensor) -> Tensor:
    return M + torch.diag_embed(D[:, None].expand(-1, M.shape[-1]))


def _decayed(logs: Tensor) -> Tensor:
    future = torch.ones(logs.shape[-2:], dtype=torch.bool).triu(1)
    return logs.masked_fill(future, float("-inf")).exp()


def matrix_reference(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """M `[B, H, T, T]`: M_ti = e^{sum of ΔA from i+1 to t} (C_t · B_i) Δ_i for i ≤ t, and D on the diagonal."""
    M = _decayed(_segments(dt, A)) * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :]
    return _with_skip(M, D)


def matrix_by_loops(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Entry by entry, the decay multiplied up token by token."""
    Bs, T, H = dt.shape
    M = dt.new_zeros(Bs, H, T, T)
    for h in range(H):
        g = h // (H // B.shape[2])
        for i in range(T):
            kept = torch.ones(Bs, dtype=dt.dtype)
            for t in range(i, T):
                kept = kept * (dt[:, t, h] * A[h]).exp() if t > i else kept
                M[:, h, t, i] = kept * (C[:, t, g] * B[:, i, g]).sum(-1) * dt[:, i, h]
            M[:, h, i, i] += D[h]
    return M


def step_missing(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return _with_skip(_decayed(_segments(dt, A)) * _kernel(B, C, len(A)), D)


def step_of_the_reader(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    M = _decayed(_segments(dt, A)) * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., :, None]
    return _with_skip(M, D)


def fades_at_once(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    logs = _segments(dt, A) + (dt * A).transpose(1, 2)[..., None, :]
    return _with_skip(_decayed(logs) * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :], D)


def last_fading_missing(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    own = (dt * A).transpose(1, 2)
    logs = _segments(dt, A) - own[..., :, None]
    logs = logs + torch.diag_embed(own)
    return _with_skip(_decayed(logs) * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :], D)


def decay_without_dt(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    M = _decayed(_segments(torch.ones_like(dt), A)) * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :]
    return _with_skip(M, D)


def future_read(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    M = _segments(dt, A).exp() * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :]
    return _with_skip(M, D)


def reader_and_writer_swapped(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return matrix_reference(dt, A, C, B, D)


def groups_in_turn(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    repeat = len(A) // B.shape[2]
    kernel = torch.einsum("btgn,bsgn->bgts", C, B).repeat(1, repeat, 1, 1)
    return _with_skip(_decayed(_segments(dt, A)) * kernel * dt.transpose(1, 2)[..., None, :], D)


def transposed(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return matrix_reference(dt, A, B, C, D).mT


def skip_everywhere(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return matrix_reference(dt, A, B, C, torch.zeros_like(D)) + D[:, None, None]


def skip_missing(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    return matrix_reference(dt, A, B, C, torch.zeros_like(D))


def quotient_of_products(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    kept = (dt * A).cumsum(1).transpose(1, 2).exp()
    L = (kept[..., :, None] / kept[..., None, :]).tril()
    return _with_skip(L * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :], D)


def masked_by_multiplying(dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    logs = _segments(dt, A)
    L = logs.exp() * torch.ones_like(logs).tril()
    return _with_skip(L * _kernel(B, C, len(A)) * dt.transpose(1, 2)[..., None, :], D)


# --- the declarations -------------------------------------------------------------------------------------

DISCRETISE = CodeQuestion(
    id="12.1",
    objective="discretize",
    title="Discretise complex modes, exactly",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=modes,
    reference=discretise_reference,
    visible=[
        Case("two channels", K=3, V=2),
        Case("a mode at 0", K=3, V=2, seed=1, still=0.0),
        Case("a mode near 0", K=3, V=2, seed=2, still=1e-9),
    ],
    hidden=[Shapes(4), Shapes(2, still=[0.0]), Shapes(4, still=[1e-9, -1e-7])],
    wrong={
        euler: "both results are Euler's: they leave the solution as soon as Δ|A| is not small.",
        input_by_euler: "Ā is exact, but B̄ is Euler's: the state also fades *while* the input is held.",
        bilinear: "this is the bilinear rule: stable, but it is not on the solution.",
        sign_turned: "your state grows where it should fade: look at the sign in the exponent.",
        rotation_lost: "your modes fade but do not turn: the imaginary part of A is lost.",
        step_lost_in_the_input: "B̄ does not grow with the step: a Δ is lost on the way to it.",
        step_twice: "B̄ is multiplied by a Δ too many: the one in the exponent is enough.",
        not_divided: "B̄ is right only for A = 1 (up to sign): something is not divided.",
        zero_over_zero: "a mode at 0 gives 0/0: such a mode only adds up its input, and has a limit.",
        nothing_at_zero: "a mode at 0 writes nothing in your answer, but it does add up its input: take the limit.",
        limit_without_step: "at 0 your limit does not know Δ: an input that is held longer writes more.",
        digits_lost: "a mode very near 0 comes out inexact: a difference of two nearly equal numbers loses digits.",
        divisor_shifted: "a small number in the divisor shifts every mode, and most of all those near 0.",
        limit_around_zero: "you take the limit around 0 as well: it is exact at 0, and near it only close.",
    },
    accepted=[discretise_by_matrix_exponential, discretise_by_series],
    outputs=("Ā [D, N]", "B̄ [D, N]"),
)

COMBINE = CodeQuestion(
    id="12.2",
    objective="combine-scan",
    title="Combine two steps",
    points=2,
    minutes=8,
    difficulty=2,
    inputs=two_steps,
    reference=combine_reference,
    visible=[
        Case("one number", B=1, K=1),
        Case("2×2 matrices", B=1, K=2),
        Case("a batch", B=3, K=4, seed=1),
    ],
    hidden=[Shapes(6, K=(2, 6))],
    wrong={
        order_reversed: "you apply the later step first: which of the two meets the state first?",
        matrices_reversed: "the matrices are multiplied in the wrong order; with single numbers it would not show.",
        vector_from_the_left: "the vector meets a transposed matrix: it belongs on the other side.",
        inputs_only_added: "the earlier input passes through the later step unchanged: does it not fade there?",
        later_input_carried: "the later input is carried as well, by the very step in which it arrives.",
        own_matrix_applied: "the earlier input is multiplied by the matrix of its own step.",
        elementwise: "the matrices are multiplied entry by entry.",
    },
    accepted=[combine_as_one_matrix, combine_with_einsum],
    outputs=("A [B, N, N]", "b [B, N]"),
)

SCAN = CodeQuestion(
    id="12.3",
    objective="selective-scan",
    title="Selective scan, with snapshots",
    points=3,
    minutes=15,
    difficulty=2,
    inputs=selective,
    reference=selective_reference,
    visible=[
        Case("tiny", B=1, T=5, K=2, V=3),
        Case("two sequences", B=2, T=12, K=4, V=3, seed=1),
        Case("one token", B=2, T=1, K=3, V=2),
        Limit(
            "4,096 tokens",
            T=4096,
            K=16,
            V=64,
            cpu_seconds=20,
            gigabytes=0.01,
            hint="one state [B, D, N] is enough, and the few that are asked for.",
        ),
    ],
    hidden=[
        Shapes(6, T=(2, 30)),
        Limit("16,384 tokens", T=16_384, K=16, V=64, cpu_seconds=35, gigabytes=0.04),
    ],
    wrong={
        input_not_scaled: "a token writes as much at a small Δ as at a large one: what it writes has a Δ too.",
        not_exponentiated: "the state is multiplied by ΔA itself: a negative number, not a share that is kept.",
        euler_for_the_state: "the state fades by Euler's rule, which rings and explodes at large Δ.",
        sign_of_a_turned: "your state grows from token to token: A is negative already.",
        writes_what_is_not_kept: "a token writes the share that is not kept: that was section 4, with a = −1; Mamba is "
        "coarser, see the formula above.",
        decay_without_step: "the state fades equally at every token: the decay does not know Δ.",
        input_held_exactly: "the input is sampled as in exercise 12.1; Mamba is coarser there, see the formula above.",
        fades_what_it_writes: "a token's own input has already faded when it arrives.",
        reads_before_writing: "token t does not see its own input: it reads before it writes.",
        state_before_the_token: "each snapshot stands *before* its token: it must include it.",
        snapshots_overwritten: "every snapshot shows the state after the *last* token: is it one tensor that you go on "
        "changing?",
        roles_swapped: "B reads and C writes in your answer.",
        one_step_for_all: "all channels use the Δ of the first one.",
        state_transposed: "your states are [N, D]; they should be [D, N].",
    },
    accepted=[selective_with_einsum],
    too_big=[all_states_kept],
    outputs=("y [B, T, D]", "h [B, S, D, N]"),
)

DUALITY = CodeQuestion(
    id="12.4",
    objective="show-duality",
    title="Mamba-2 as a matrix",
    points=4,
    minutes=15,
    difficulty=3,
    inputs=mamba_two,
    reference=matrix_reference,
    visible=[
        Case("one head", B=1, T=4, H=1, K=2, G=1),
        Case("groups", B=2, T=7, H=2, K=3, G=2, seed=1),
        Case("strong decay", B=1, T=8, H=1, K=2, G=1, seed=2, strength=600.0),
    ],
    hidden=[Shapes(6, T=(2, 24), G=(1, 3)), Shapes(2, T=(20, 30), G=2, strength=[400.0])],
    wrong={
        step_missing: "Δ is in the decay, but not in what is written.",
        step_of_the_reader: "each row has the Δ of the token that reads; the one that writes has another.",
        fades_at_once: "a token's own input has already faded on the diagonal: the decay starts one token too early.",
        last_fading_missing: "the decay stops one token before the reader.",
        decay_without_dt: "the decay depends on the distance alone: Δ is missing there.",
        future_read: "tokens read later ones, with weights above 1.",
        reader_and_writer_swapped: "B and C have changed places: one belongs to the row, the other to the column.",
        groups_in_turn: "heads take the groups in turn; the heads of a group stand side by side.",
        transposed: "rows and columns have changed places: token t reads in row t.",
        skip_everywhere: "the skip D is added to every entry, also between different tokens.",
        skip_missing: "the skip D is missing: a token also sees its own input directly.",
        masked_by_multiplying: "above the diagonal stood infinities before they were multiplied by 0, which is NaN.",
        quotient_of_products: "a quotient of two products leaves the range of the numbers where the decay is strong.",
    },
    accepted=[matrix_by_loops],
    outputs=("M",),
)

CONVOLUTION = ChoiceQuestion(
    id="12.5",
    objective="selective-scan",
    title="Mamba and the FFT",
    points=1,
    minutes=5,
    difficulty=2,
    question="A colleague says: “Mamba is a state-space model, and a state-space model is a convolution. So I train "
    "Mamba with an FFT.” Which answer is right, and for the right reason?",
    options={
        "A": Option(
            "Right: every linear recurrence is a convolution, and Mamba's recurrence is linear in its state.",
            why="linear in the state is not enough: a kernel that depends on the distance alone needs the same "
            "decay, B and C at every token.",
        ),
        "B": Option(
            "Right in training, where the whole input is known in advance; only decoding needs the recurrence.",
            why="knowing all tokens in advance gives you all Δ, B and C, but they still differ from token to token.",
        ),
        "C": Option(
            "Wrong: Mamba's output does not move along when its whole input is moved by a few tokens.",
            why="the verdict fits and the reason does not: the gates move with their tokens, and section 4 showed "
            "that the output does too.",
        ),
        "D": Option(
            "Wrong: what a token leaves behind depends on the tokens after it, so no kernel holds for all inputs.",
            why="the decay from i to t is a product of the gates between them; a kernel would know the distance "
            "only. A scan, or chunks, take the place of the FFT.",
        ),
        "E": Option(
            "Wrong: an FFT needs T log T operations, more than the T of a scan, so nobody would want it.",
            why="T log T was S4D's price as well, and was paid gladly; for Mamba the FFT is not dear, but gives "
            "other numbers.",
        ),
    },
    answer="D",
)

GAP = ChoiceQuestion(
    id="12.6",
    objective="explain-cost",
    title="What would make the scan fast?",
    points=1,
    minutes=5,
    difficulty=2,
    question="On one machine, over 1,024 tokens with 4,096 numbers of state, Mamba-2's chunks need 1.8 ms for "
    "59 MFLOP, and Mamba's scan 11 ms for 25 MFLOP: 2.2 ms to fill its tables (1.2 of them for exponentials), 3.9 to "
    "step through them (2.6 with a single channel), 3.2 to read, and the rest to cut and join. Matrix products reach "
    "97 GFLOP/s there. Which change could bring the scan down to 1.8 ms?",
    options={
        "A": Option(
            "Exponentials for nothing: they are the work that the 25 MFLOP leave out.",
            why="only 1.2 ms go away, and almost 10 are left.",
        ),
        "B": Option(
            "Matrix units ten times as fast: 25 MFLOP then need a tenth of the time.",
            why="at 97 GFLOP/s 25 MFLOP would take 0.3 ms already; multiplying is not what takes the 11 ms.",
        ),
        "C": Option(
            "One compiled loop: each number goes through all three parts in one go.",
            why="no call a token and no table is left; what stays are the exponentials and the FLOPs. Written in C, "
            "such a loop took 1.7 ms on that machine; Mamba's own kernel for GPUs does all in one go, too.",
        ),
        "D": Option(
            "A tree of ten rounds: nothing then waits for 1,024 steps in a row.",
            why="stepping for nothing would still leave 7 ms; and every round passes over all tables, so that the "
            "tree took more than 60 ms on that machine.",
        ),
    },
    answer="C",
)


QUESTIONS = [DISCRETISE, COMBINE, SCAN, DUALITY, CONVOLUTION, GAP]
