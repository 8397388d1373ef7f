"""The matrix-state engine with a decay: one recurrence, three forms, one step.

    S_t = diag(e^{g_t}) S_{t-1} + k_t v_tᵀ,     o_t = S_tᵀ q_t        (q_t, k_t ∈ R^K, v_t ∈ R^V, S ∈ R^{K×V})

g_t ≤ 0 is one number a head, one a key channel, or absent (no decay). Unrolled, o_t = Σ_{i≤t} (Σ_κ q_tκ k_iκ
e^{g_{i+1,κ} + … + g_tκ}) v_i. **recurrent** follows the equation token by token, **chunk** forms all products
inside a chunk of C tokens and carries the state between chunks: 4C + 4D FLOPs per token, head and channel
(K = V = D), so linear in T; **parallel** is one chunk as long as the sequence. With `strict` token t reads
the state before its own decay and write, o_t = S_{t-1}ᵀ q_t (RWKV-6). Chapters 08 and 10.

Every form takes q, k `[B, T, H, K]`, v `[B, T, H, V]`, g `[B, T, H]`, `[B, T, H, K]` or None, in float32 or
float64, and the state `[B, H, K, V]` before the first token, and returns o `[B, T, H, V]` and the state after
the last. They do no checks: a mixer calls them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import gates
from course_lib.attention.chunks import by_head, by_token, into_chunks
from course_lib.attention.precision import LOG2E, no_autocast

FORMS = ("parallel", "recurrent", "chunk")


def run(
    mode: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    state: Tensor,
    *,
    chunk_size: int,
    strict: bool = False,
) -> tuple[Tensor, Tensor]:
    """The form called `mode`, one of `FORMS`."""
    if mode == "recurrent":
        return recurrent(q, k, v, g, state, strict=strict)
    return chunk(
        q, k, v, g, state, strict=strict, chunk_size=q.shape[1] if mode == "parallel" else chunk_size
    )


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, state: Tensor, *, strict: bool = False
) -> tuple[Tensor, Tensor]:
    """The definition, token by token: linear in T, and only one state is alive unless autograd keeps them."""
    gates_t = [None] * q.shape[1] if g is None else g.unbind(1)
    out = []
    for q_t, k_t, v_t, g_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), gates_t, strict=True):
        o_t, state = step(q_t, k_t, v_t, g_t, state, strict=strict)
        out.append(o_t)
    return torch.stack(out, dim=1) if out else v, state  # T = 0: the empty v has the shape of o


def step(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, state: Tensor, *, strict: bool = False
) -> tuple[Tensor, Tensor]:
    """One token: q, k `[B, H, K]`, v `[B, H, V]`, g `[B, H]` or `[B, H, K]`."""
    kept = state if g is None else decay_of(g, state) * state
    new = kept + k[..., :, None] * v[..., None, :]
    return (q[..., None, :] @ (state if strict else new)).squeeze(-2), new


def decay_of(g: Tensor, state: Tensor) -> Tensor:
    """e^g with as many axes as the state: one gate a head or one a row."""
    return (g[..., None] if g.dim() == state.dim() - 1 else g[..., None, None]).exp()


def chunk(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    state: Tensor,
    *,
    strict: bool = False,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """Chunks of `chunk_size` tokens, or one chunk if there are fewer; T must divide by it (see `in_pieces`).

    Gates that sum to more than −80 in every chunk fold into q and k, and then one loop serves all models;
    steeper ones, and calls traced by `torch.compile` or `torch.func`, take the safe products of `gates.Halved`.
    """
    T = q.shape[1]
    if T == 0:
        return v, state
    C = min(chunk_size, T)
    q, k, v, g = (None if x is None else by_head(x) for x in (q, k, v, g))
    steps = None if g is None else g.unflatten(1, (T // C, C))
    form = _safe if gates.transformed() or not (g is None or gates.gentle(steps)) else _fast
    o, end = form(q, k, v, steps, state.flatten(0, 1), strict, C)
    return by_token(o, state.shape[1]), end.unflatten(0, state.shape[:2])


def _safe(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, state: Tensor, strict: bool, C: int
) -> tuple[Tensor, Tensor]:
    """For any gates, and for whatever torch traces: all chunks side by side, `[B·H, n, C, ·]`."""
    q, k, v = (into_chunks(x, C) for x in (q, k, v))
    decays = gates.Ungated() if g is None else gates.Halved(g.contiguous())
    rows, columns = decays.rows(q, strict), decays.columns(k)
    writes = decays.to_end(columns).mT @ v  # what each chunk leaves in the state: [B·H, n, K, V]
    kept = [None] * q.shape[1] if g is None else decays.over_all.mT.unbind(1)
    before = []
    for write, decay in zip(writes.unbind(1), kept, strict=True):
        before.append(state)
        state = write + (state if decay is None else decay * state)
    read = decays.from_start(rows) @ torch.stack(before, dim=1)
    return decays.products(rows, columns) @ v + read, state


def _fast(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor | None, state: Tensor, strict: bool, C: int
) -> tuple[Tensor, Tensor]:
    """Gates folded into q and k, so that a chunk's products are plain ones.

    From chunk to chunk the loop keeps the state in units of the middle of the chunk that reads it next, e^{middle} S,
    since the rows of `Factorised` start there; 2^{steps[n]} leads from one unit to the next, the last one back to 1.
    """
    steps = None
    if g is not None:
        folded = gates.Factorised(g)
        n = g.shape[1]
        q = folded.rows(q.unflatten(1, (n, C)), strict).x.flatten(1, 2)
        k = folded.columns(k.unflatten(1, (n, C))).flatten(1, 2)
        middle = folded.middle.squeeze(-2)  # [B·H, n, K or 1]
        following = F.pad(middle[:, 1:], (0, 0, 0, 1))
        steps = (folded.total.squeeze(-2) - middle + following).transpose(0, 1)[..., None]
        state = middle[:, 0, :, None].exp2() * state
    inputs = (q, k, v, state, steps)
    if torch.is_grad_enabled() and any(x.requires_grad for x in inputs if x is not None):
        return _Loop.apply(*inputs, strict, C)
    return _loop(*inputs, strict, C)


def _loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    steps: Tensor | None,
    strict: bool,
    chunk_size: int,
    kept: list[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The chunk loop: four matrix products a chunk, S ← 2^step (S + KᵀV).

    `kept` collects S + KᵀV of every chunk for the backward pass.
    """
    out = []
    decays = None if steps is None else steps.exp2()
    chunks = zip(*(x.split(chunk_size, 1) for x in (q, k, v)), strict=True)
    for n, (q_c, k_c, v_c) in enumerate(chunks):
        products = torch.bmm(q_c, k_c.mT).tril_(-1 if strict else 0)
        earlier = torch.bmm(q_c, state)  # all that came before, summed in the state
        out.append(torch.baddbmm(earlier, products, v_c))  # and the pairs within the chunk
        state = torch.baddbmm(state, k_c.mT, v_c)
        if kept is not None:
            kept.append(state)
        if decays is not None:
            state = decays[n] * state
    return torch.cat(out, dim=1), state


class _Loop(torch.autograd.Function):
    """`_loop` with a backward pass of its own: the same loop from the last chunk to the first.

    With P = tril(QKᵀ): dQ = tril(dO Vᵀ) K + dO Sᵀ, dK = tril(dO Vᵀ)ᵀ Q + V dSᵀ, dV = Pᵀ dO + K dS, and going
    back over a chunk dS ← 2^step dS, then dS + Qᵀ dO. Autograd through the loop would keep P and several more
    tensors of every chunk; this keeps the states and takes about three quarters of the time. A second derivative
    does go through autograd.
    """

    @staticmethod
    def forward(ctx, q, k, v, state, steps, strict, chunk_size):
        kept: list[Tensor] = []
        o, final = _loop(q, k, v, state, steps, strict, chunk_size, kept)
        ctx.save_for_backward(q, k, v, state, steps, *kept)
        ctx.strict, ctx.chunk_size = strict, chunk_size
        return o, final

    @staticmethod
    def backward(ctx, d_o, d_state):
        q, k, v, state, steps, *kept = ctx.saved_tensors
        with no_autocast(q):
            if torch.is_grad_enabled():
                run = partial(_loop, strict=ctx.strict, chunk_size=ctx.chunk_size)
                found = differentiable_gradients(run, (q, k, v, state, steps), (d_o, d_state))
            else:
                found = _backward(q, k, v, state, steps, kept, d_o, d_state, ctx.strict, ctx.chunk_size)
        return *found, None, None


def _backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: Tensor,
    steps: Tensor | None,
    kept: list[Tensor],
    d_o: Tensor,
    d_state: Tensor,
    strict: bool,
    chunk_size: int,
) -> tuple[Tensor | None, ...]:
    """Gradients of q, k, v, the state and the steps."""
    found, d_steps = [], []
    diagonal = -1 if strict else 0
    decays = None if steps is None else steps.exp2()
    chunks = list(zip(*(x.split(chunk_size, 1) for x in (q, k, v, d_o)), strict=True))
    for n, (q_c, k_c, v_c, d_o_c) in reversed(list(enumerate(chunks))):
        if decays is not None:
            d_state = decays[n] * d_state  # first, so that large and small factors meet
            d_steps.append((d_state * kept[n]).sum_to_size(steps[n].shape) / LOG2E)
        before = state if n == 0 else kept[n - 1] if decays is None else decays[n - 1] * kept[n - 1]
        products = torch.bmm(q_c, k_c.mT).tril(diagonal)
        d_products = torch.bmm(d_o_c, v_c.mT).tril(diagonal)
        d_q = torch.baddbmm(torch.bmm(d_o_c, before.mT), d_products, k_c)
        d_k = torch.baddbmm(torch.bmm(v_c, d_state.mT), d_products.mT, q_c)
        d_v = torch.baddbmm(torch.bmm(k_c, d_state), products.mT, d_o_c)
        found.append((d_q, d_k, d_v))
        d_state = torch.baddbmm(d_state, q_c.mT, d_o_c)
    d_q, d_k, d_v = (torch.cat(parts, dim=1) for parts in zip(*reversed(found), strict=True))
    return d_q, d_k, d_v, d_state, torch.stack(d_steps[::-1]) if d_steps else None


def differentiable_gradients(
    run: Callable, inputs: Sequence[Tensor | None], incoming: Sequence[Tensor]
) -> list[Tensor | None]:
    """Gradients of `run(*inputs)` that can be differentiated again; None where an input needs none."""
    needed = [x for x in inputs if x is not None and x.requires_grad]
    found = iter(torch.autograd.grad(run(*inputs), needed, incoming, create_graph=True, allow_unused=True))
    return [next(found) if x is not None and x.requires_grad else None for x in inputs]
