"""The matrix-state engine: one recurrence, three forms, one step.

    S_t = S_{t-1} + k_t v_tᵀ,     o_t = S_tᵀ q_t          (q_t, k_t ∈ R^K, v_t ∈ R^V, S ∈ R^{K×V})

Unrolled, o_t = Σ_{i≤t} (q_tᵀ k_i) v_i. **parallel** forms all T×T products, **recurrent** follows the
equation token by token, **chunk** is parallel inside a chunk of C tokens and recurrent between chunks: 4C +
4D FLOPs per token, head and channel (K = V = D), so linear in T. Chapter 08 derives the forms.

Every form takes q, k `[B, T, H, K]`, v `[B, T, H, V]` in float32 or float64 and the state `[B, H, K, V]`
before the first token, and returns o `[B, T, H, V]` and the state after the last. They do no checks: a
mixer calls them. Without `causal`, every token reads the state after the last one.
"""

import torch
from torch import Tensor


def parallel(q: Tensor, k: Tensor, v: Tensor, state: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """(QKᵀ ⊙ M) V + Q S: quadratic in T."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [B, H, T, ·]
    weights = q @ k.mT
    if causal:
        weights = weights.tril()
    o = weights @ v + q @ state
    return o.transpose(1, 2), state + k.mT @ v


def recurrent(q: Tensor, k: Tensor, v: Tensor, state: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """The definition, token by token: linear in T, and only one state is alive unless autograd keeps them."""
    out = []
    for q_t, k_t, v_t in zip(*(x.unbind(1) for x in (q, k, v)), strict=True):
        o_t, state = step(q_t, k_t, v_t, state)
        out.append(o_t)
    if not causal:
        return _read_all(q, state), state
    return torch.stack(out, dim=1) if out else v, state  # T = 0: the empty v has the shape of o


def chunk(
    q: Tensor, k: Tensor, v: Tensor, state: Tensor, *, causal: bool, chunk_size: int
) -> tuple[Tensor, Tensor]:
    """Linear in T, forward and backward, with matrix products of C rows; T need not divide by C.

    `split` cuts the sequence once. Slicing inside the loop (`q[:, i : i + C]`) gives the same forward, but
    each slice's gradient is a zero tensor of the full length, which makes backward quadratic. A shorter
    last chunk needs no padding, so nothing can leak from padded keys into the state.
    """
    if not causal:
        state = state + k.transpose(1, 2).mT @ v.transpose(1, 2)
        return _read_all(q, state), state
    out = []
    for q_c, k_c, v_c in zip(*(x.transpose(1, 2).split(chunk_size, dim=2) for x in (q, k, v)), strict=True):
        inside = (q_c @ k_c.mT).tril() @ v_c  # pairs within the chunk
        before = q_c @ state  # everything earlier, summed in the state
        out.append((inside + before).transpose(1, 2))
        state = state + k_c.mT @ v_c
    return torch.cat(out, dim=1), state


def step(q: Tensor, k: Tensor, v: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token: q, k `[B, H, K]`, v `[B, H, V]`. Writes, then reads: a token sees itself."""
    state = state + k[..., :, None] * v[..., None, :]
    return (q[..., None, :] @ state).squeeze(-2), state


def _read_all(q: Tensor, state: Tensor) -> Tensor:
    return (q.transpose(1, 2) @ state).transpose(1, 2)


def run(
    mode: str, q: Tensor, k: Tensor, v: Tensor, state: Tensor, *, causal: bool, chunk_size: int
) -> tuple[Tensor, Tensor]:
    """The form called `mode`, one of `FORMS`."""
    if mode == "chunk":
        return chunk(q, k, v, state, causal=causal, chunk_size=chunk_size)
    return (parallel if mode == "parallel" else recurrent)(q, k, v, state, causal=causal)


FORMS = ("parallel", "recurrent", "chunk")
