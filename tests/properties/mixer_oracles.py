"""Independent answers for every mixer but softmax: one batch element, one head, one token at a time.

They follow the equations with vectors and matrices, use none of the library but the blocks that BigBird draws, and
compute in float64. Nothing is written in place, so autograd gives their gradients.
`ORACLES[name](**arguments, initial_state=None)` returns o and the state after the last token; models with queries also
take `scale`, `K ** -0.5` by default.
"""

import math
from collections.abc import Callable, Sequence
from functools import wraps

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from course_lib.attention.masks import drawn_blocks

ORACLES: dict[str, Callable] = {}


def oracle(function: Callable) -> Callable:
    """Enter the function in `ORACLES`; its tensors arrive in float64 or complex128."""

    def double(x: Tensor) -> Tensor:
        return x.to(torch.promote_types(x.dtype, torch.float64))

    @wraps(function)
    def in_float64(*args, **kwargs):
        args, kwargs = tree_map_only(Tensor, double, (args, kwargs))
        return function(*args, **kwargs)

    ORACLES[function.__name__] = in_float64
    return in_float64


def stack(tensors: Sequence[Tensor], *shape: int) -> Tensor:
    """The tensors behind each other, in a shape that may hold nothing."""
    return torch.stack(list(tensors)).reshape(shape) if tensors else torch.zeros(shape, dtype=torch.float64)


def each_head(q: Tensor, V: int, scale: float | None, initial_state: Tensor | None, token: Callable):
    """S `[K, V]` of one sequence and head, through its tokens: `token(S, (b, t, h)) -> S_t, what is read`."""
    B, T, H, K = q.shape
    scale = 1 / math.sqrt(K) if scale is None else scale
    start = torch.zeros(B, H, K, V, dtype=torch.float64) if initial_state is None else initial_state
    outputs, ends = [], []
    for b in range(B):
        for h in range(H):
            S = start[b, h]
            for t in range(T):
                S, read = token(S, (b, t, h))
                outputs.append(scale * read)
            ends.append(S)
    return stack(outputs, B, H, T, V).transpose(1, 2), stack(ends, B, H, K, V)


def with_decay(q, k, v, decay, scale, initial_state):
    """S_t = diag(decay(b, t, h)) S_{t-1} + k vᵀ, o_t = scale · S_tᵀ q_t; the decay is one number or K."""

    def token(S, i):
        S = torch.diag(decay(*i).expand(k.shape[-1])) @ S + torch.outer(k[i], v[i])
        return S, S.T @ q[i]

    return each_head(q, v.shape[-1], scale, initial_state, token)


@oracle
def linear_attention(q, k, v, scale=None, initial_state=None):
    """S_t = S_{t-1} + k vᵀ: neither features nor a normaliser."""
    return with_decay(q, k, v, lambda b, t, h: q.new_ones(1), scale, initial_state)


@oracle
def retention(q, k, v, scale=None, initial_state=None):
    """S_t = (1 − 2^(−5−h)) S_{t-1} + k vᵀ."""
    return with_decay(q, k, v, lambda b, t, h: q.new_tensor([1 - 2 ** (-5 - h)]), scale, initial_state)


@oracle
def lightning_attention(q, k, v, scale=None, initial_state=None, layer=0, layers=1):
    """S_t = exp(−8h/H · (1 − layer / layers)) S_{t-1} + k vᵀ."""

    def decay(b, t, h):
        return q.new_tensor([math.exp(-8 * h / q.shape[2] * (1 - layer / layers))])

    return with_decay(q, k, v, decay, scale, initial_state)


@oracle
def simple_gla(q, k, v, g, scale=None, initial_state=None):
    """S_t = e^g S_{t-1} + k vᵀ."""
    return with_decay(q, k, v, lambda *i: g[i].exp(), scale, initial_state)


@oracle
def gla(q, k, v, g, scale=None, initial_state=None):
    """S_t = diag(e^g) S_{t-1} + k vᵀ."""
    return with_decay(q, k, v, lambda *i: g[i].exp(), scale, initial_state)


@oracle
def hgrn2(q, v, g, scale=None, initial_state=None):
    """`gla` with the key 1 − e^g."""
    return with_decay(q, 1 - g.exp(), v, lambda *i: g[i].exp(), scale, initial_state)


@oracle
def rwkv6(r, k, v, w, u, scale=None, initial_state=None):
    """o_t = scale · (S_{t-1} + diag(u) k vᵀ)ᵀ r, then S_t = diag(e^w) S_{t-1} + k vᵀ."""

    def token(S, i):
        write = torch.outer(k[i], v[i])
        read = (S + torch.diag(u[i[2]]) @ write).T @ r[i]
        return torch.diag(w[i].exp()) @ S + write, read

    return each_head(r, v.shape[-1], scale, initial_state, token)


@oracle
def delta_rule(q, k, v, beta, scale=None, initial_state=None):
    """S_t = (I − β k kᵀ) S_{t-1} + β k vᵀ."""
    return kda(q, k, v, torch.zeros_like(k), beta, scale, initial_state)


@oracle
def gated_delta_rule(q, k, v, g, beta, scale=None, initial_state=None):
    """S_t = e^g (I − β k kᵀ) S_{t-1} + β k vᵀ."""
    return kda(q, k, v, g.unsqueeze(-1).expand_as(k), beta, scale, initial_state)


@oracle
def kda(q, k, v, g, beta, scale=None, initial_state=None):
    """S_t = (I − β k kᵀ) diag(e^g) S_{t-1} + β k vᵀ."""
    eye = torch.eye(k.shape[-1], dtype=torch.float64)

    def token(S, i):
        correct = eye - beta[i] * torch.outer(k[i], k[i])
        S = correct @ torch.diag(g[i].exp()) @ S + beta[i] * torch.outer(k[i], v[i])
        return S, S.T @ q[i]

    return each_head(q, v.shape[-1], scale, initial_state, token)


@oracle
def rwkv7(r, k, v, w, a, b, scale=None, initial_state=None):
    """S_t = diag(e^w) S_{t-1} + b (aᵀ S_{t-1}) + k vᵀ."""

    def token(S, i):
        S = torch.diag(w[i].exp()) @ S + torch.outer(b[i], a[i] @ S) + torch.outer(k[i], v[i])
        return S, S.T @ r[i]

    return each_head(r, v.shape[-1], scale, initial_state, token)


@oracle
def ssd(x, dt, A, B, C, D, initial_state=None):
    """S_t = e^{Δ A} S_{t-1} + B (Δ x)ᵀ, y_t = S_tᵀ C + D x; a few heads share B and C."""
    heads = [h * B.shape[2] // x.shape[2] for h in range(x.shape[2])]
    B, C = B[:, :, heads], C[:, :, heads]

    def token(S, i):
        h = i[2]
        S = torch.exp(dt[i] * A[h]) * S + torch.outer(B[i], dt[i] * x[i])
        return S, S.T @ C[i] + D[h] * x[i]

    return each_head(B, x.shape[-1], 1.0, initial_state, token)


def each_row(u: Tensor, state: Tensor, token: Callable) -> tuple[Tensor, Tensor]:
    """The state of one sequence, all its channels, through its tokens: `token(h, (b, t)) -> h_t, y_t`."""
    B, T, D = u.shape
    outputs, ends = [], []
    for b in range(B):
        h = state[b]
        for t in range(T):
            h, y = token(h, (b, t))
            outputs.append(y)
        ends.append(h)
    return stack(outputs, B, T, D), stack(ends, *state.shape)


@oracle
def selective_scan(u, delta, A, B, C, D, initial_state=None):
    """h_t[d, n] = exp(Δ_d A_dn) h_{t-1}[d, n] + Δ_d u_d B_n, y_d = Σ_n h[d, n] C_n + D_d u_d."""
    start = u.new_zeros(u.shape[0], *A.shape) if initial_state is None else initial_state

    def token(h, i):
        h = torch.exp(torch.diag(delta[i]) @ A) * h + torch.outer(delta[i] * u[i], B[i])
        return h, h @ C[i] + D * u[i]

    return each_row(u, start, token)


@oracle
def s4d(u, delta, A, B, C, D, initial_state=None):
    """h_t = e^{ΔA} h_{t-1} + (e^{ΔA} − 1) / A · B u_t, y_t = 2 Re(Σ_n C h) + D u."""
    start = A.new_zeros(u.shape[0], *A.shape) if initial_state is None else initial_state
    z = delta[:, None] * A
    write = delta[:, None] * mean_exponential(z) * B

    def token(h, i):
        h = torch.exp(z) * h + write * u[i][:, None]
        return h, 2 * (C * h).sum(-1).real + D * u[i]

    return each_row(u, start, token)


def mean_exponential(z: Tensor) -> Tensor:
    """(e^z − 1) / z, near 0 by its power series Σ z^n / (n + 1)!, so that no digits cancel."""
    near = z.abs() < 1
    small, large = torch.where(near, z, 0), torch.where(near, 1, z)
    series = sum(small**n / math.factorial(n + 1) for n in range(20))
    return torch.where(near, series, (large.exp() - 1) / large)


@oracle
def hgrn(x, g, initial_state=None):
    """h_t = e^g h_{t-1} + x, o_t = h_t."""
    start = x.new_zeros(x.shape[0], x.shape[2]) if initial_state is None else initial_state

    def token(h, i):
        h = g[i].exp() * h + x[i]
        return h, h

    return each_row(x, start, token)


def over_seen(q, k, v, scale, initial_state, seen: Callable, kept: int | None = None):
    """o_t = Σ p_i v_i over the positions i in `seen(t, q_t, keys)`, p = softmax(scale · q_tᵀ k_i).

    t counts from the first token of the past; the cache is the last `kept` tokens.
    """
    B, T, H, K = q.shape
    scale = 1 / math.sqrt(K) if scale is None else scale
    if initial_state is not None:
        k, v = (torch.cat(pair, dim=1) for pair in zip(initial_state, (k, v), strict=True))
    past, shared = k.shape[1] - T, H // k.shape[2]
    outputs = []
    for b in range(B):
        for t in range(T):
            for h in range(H):
                keys, values = k[b, :, h // shared], v[b, :, h // shared]
                at = seen(past + t, q[b, t, h], keys)
                weights = torch.exp(scale * keys[at] @ q[b, t, h])
                outputs.append(weights @ values[at] / weights.sum())
    start = 0 if kept is None else max(0, past + T - kept)
    return stack(outputs, B, T, H, v.shape[-1]), (k[:, start:], v[:, start:])


@oracle
def sliding_window_attention(q, k, v, window, scale=None, initial_state=None):
    """The last `window` tokens; the past is w − 1 tokens."""

    def seen(t, *_):
        return list(range(max(0, t + 1 - window), t + 1))

    return over_seen(q, k, v, scale, initial_state, seen, window - 1)


@oracle
def dilated_attention(q, k, v, window, stride, scale=None, initial_state=None):
    """t, t − s, …, t − (w − 1)s, as far as there are tokens."""

    def seen(t, *_):
        return [t - n * stride for n in range(window) if t - n * stride >= 0]

    return over_seen(q, k, v, scale, initial_state, seen, (window - 1) * stride)


@oracle
def global_window_attention(q, k, v, window, global_tokens, scale=None, initial_state=None):
    """The last `window` tokens and the global ones; everything, if the token is global itself."""

    def seen(t, *_):
        if t in global_tokens:
            return list(range(t + 1))
        return sorted(set(range(max(0, t + 1 - window), t + 1)) | {i for i in global_tokens if i <= t})

    return over_seen(q, k, v, scale, initial_state, seen)


@oracle
def bigbird_attention(
    q,
    k,
    v,
    block_size,
    window_blocks,
    global_blocks,
    random_blocks,
    seed,
    scale=None,
    initial_state=None,
):
    """Blocks: the last, the first, and those that the library draws (a test of its own looks at the draws)."""

    def seen(t, *_):
        own = t // block_size
        drawn = drawn_blocks(seed, own, global_blocks, own - window_blocks + 1, random_blocks)
        return [
            i
            for i in range(t + 1)
            if (n := i // block_size) > own - window_blocks or n < global_blocks or n in drawn
        ]

    return over_seen(q, k, v, scale, initial_state, seen)


@oracle
def moba(q, k, v, block_size, top_k, scale=None, initial_state=None):
    """The query's own block, and those of the others with the largest q · mean key."""

    def seen(t, q_t, keys):
        own = t // block_size
        q_t, keys = q_t.detach(), keys.detach()
        score = [float(q_t @ keys[n * block_size : (n + 1) * block_size].mean(0)) for n in range(own)]
        best = sorted(range(own), key=lambda n: -score[n])[: top_k - 1]
        return [i for i in range(t + 1) if i // block_size in (own, *best)]

    return over_seen(q, k, v, scale, initial_state, seen)
