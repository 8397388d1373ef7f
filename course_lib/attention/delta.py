"""The matrix-state engine that corrects: what a token writes depends on what the memory already says.

    p_t = r_t − S*ᵀ a_t,     S_t = diag(e^{g_t}) S_{t-1} + b_t p_tᵀ [+ k_t v_tᵀ],     o_t = S_tᵀ q_t

a_t asks the memory, and b_t writes the difference p_t back. S* is the state after its decay, diag(e^{g_t}) S_{t-1},
or with `strict` the undecayed S_{t-1}. The delta rule asks with a = βk and writes with b = k the difference to
r = βv, so S_t = (I − βkkᵀ) diag(e^g) S_{t-1} + βkvᵀ: decay first, then correct. RWKV-7 asks the undecayed
state, takes the answer out along another key b, and adds an ordinary write k vᵀ. The transition is no longer diagonal.

In a chunk of C tokens the differences depend on one another: P = R − A S − tril(ABᵀ, −1) P [− tril(AKᵀ, −1) V],
with every product decayed (`gates`). That is a triangular system for all C of them at once; then
O = Q S + tril(QBᵀ) P [+ tril(QKᵀ) V]. Linear in T, about 8C + 6D FLOPs per token, head and channel. Chapter 11;
arXiv 2406.06484.

q, a, b, k `[B, T, H, K]`, r, v `[B, T, H, V]`, g `[B, T, H]`, `[B, T, H, K]` or None, the state `[B, H, K, V]`;
r may be None, and so may the pair k, v, which comes with `strict` only. The forms do no checks: a mixer calls them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import gates
from course_lib.attention.chunks import by_head, by_token, into_chunks
from course_lib.attention.decay import decay_of

FORMS = ("parallel", "recurrent", "chunk")
Tokens = tuple[Tensor | None, ...]  # q, a, b, r, k, v, g


def run(
    mode: str,
    q: Tensor,
    a: Tensor,
    b: Tensor,
    r: Tensor | None,
    k: Tensor | None,
    v: Tensor | None,
    g: Tensor | None,
    state: Tensor,
    *,
    chunk_size: int,
    strict: bool = False,
) -> tuple[Tensor, Tensor]:
    """The form called `mode`, one of `FORMS`."""
    tokens, T = (q, a, b, r, k, v, g), q.shape[1]
    if T == 0:
        return r if v is None else v, state
    if mode == "recurrent":
        return _recurrent(tokens, state, strict)
    return _chunk(tokens, state, strict, T if mode == "parallel" else min(T, chunk_size))


def step(
    q: Tensor,
    a: Tensor,
    b: Tensor,
    r: Tensor | None,
    k: Tensor | None,
    v: Tensor | None,
    g: Tensor | None,
    state: Tensor,
    *,
    strict: bool = False,
) -> tuple[Tensor, Tensor]:
    """One token: decay, ask, write, read."""
    decayed = state if g is None else decay_of(g, state) * state
    answer = (a[..., None, :] @ (state if strict else decayed)).squeeze(-2)
    p = -answer if r is None else r - answer
    state = decayed + b[..., :, None] * p[..., None, :]
    if k is not None:
        state = state + k[..., :, None] * v[..., None, :]
    return (q[..., None, :] @ state).squeeze(-2), state


def _recurrent(tokens: Tokens, state: Tensor, strict: bool) -> tuple[Tensor, Tensor]:
    """The definition, token by token."""
    T = tokens[0].shape[1]
    out = []
    for t in zip(*([None] * T if x is None else x.unbind(1) for x in tokens), strict=True):
        o_t, state = step(*t, state, strict=strict)
        out.append(o_t)
    return torch.stack(out, dim=1), state


def _chunk(tokens: Tokens, state: Tensor, strict: bool, C: int) -> tuple[Tensor, Tensor]:
    """Chunks of C tokens side by side, `[B·H, n, C, ·]`, but for what depends on the state; T divides by C."""
    q, a, b, r, k, v, g = (None if x is None else into_chunks(by_head(x), C) for x in tokens)
    decays = gates.choose(g)
    reads, asks, writes = decays.rows(q), decays.rows(a, strict), decays.columns(b)
    said = added = None  # by the ordinary writes k vᵀ, if there are any: to later rows, and to the state
    if k is not None:
        ordinary = decays.columns(k)
        answered = decays.products(asks, ordinary) @ v
        r = -answered if r is None else r - answered
        said, added = decays.products(reads, ordinary) @ v, decays.to_end(ordinary).mT @ v
    parts = (
        decays.from_start(asks),
        r,
        _inverse(decays.products(asks, writes)),
        decays.from_start(reads),
        decays.products(reads, writes),
        decays.to_end(writes).mT,
    )
    o, end = _carry(parts, said, added, decays.over_all, state.flatten(0, 1))
    return by_token(o, state.shape[1]), end.unflatten(0, state.shape[:2])


def _carry(
    parts: tuple[Tensor, ...],
    said: Tensor | None,
    added: Tensor | None,
    over_all: Tensor | None,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """From chunk to chunk: all differences of a chunk at once, its outputs, the state behind it."""
    n = parts[0].shape[1]
    optional = ([None] * n if x is None else x.unbind(1) for x in (said, added, over_all))
    out = []
    for ask, r, inverse, read, among, write, said_c, added_c, kept in zip(
        *(x.unbind(1) for x in parts), *optional, strict=True
    ):
        p = inverse @ torch.baddbmm(r, ask, state, alpha=-1)
        o = torch.baddbmm(read @ state, among, p)
        out.append(o if said_c is None else o + said_c)
        state = torch.baddbmm(state if kept is None else kept.mT * state, write, p)
        if added_c is not None:
            state = state + added_c
    return torch.stack(out, dim=1), state


def _inverse(L: Tensor) -> Tensor:
    """(I + L)^−1 from what lies below the diagonal of L `[…, C, C]`, by halves of halves.

    The inverse of [[A, 0], [M, B]] is [[A⁻¹, 0], [−B⁻¹ M A⁻¹, B⁻¹]]: from 1×1 blocks up, log2 C rounds of two
    products each, which beat a triangular solver on small matrices (2.5 ms against 4.3 ms for 256 of 64 × 64).
    """
    C = L.shape[-1]
    levels = (C - 1).bit_length()
    L = F.pad(L, (0, 2**levels - C, 0, 2**levels - C))
    blocks = torch.ones_like(L[..., :1, None])  # [..., C, 1, 1]
    for s in range(levels):
        upper_left, lower_right = blocks.unflatten(-3, (-1, 2)).unbind(-3)
        cut = L.unflatten(-1, (-1, 2, 2**s)).unflatten(-4, (-1, 2, 2**s))  # [..., n, 2, 2^s, n, 2, 2^s]
        M = cut[..., :, 1, :, :, 0, :].diagonal(dim1=-4, dim2=-2).movedim(-1, -3)  # [..., n, 2^s, 2^s]
        across = -(lower_right @ M @ upper_left)
        upper = torch.cat([upper_left, torch.zeros_like(upper_left)], dim=-1)
        blocks = torch.cat([upper, torch.cat([across, lower_right], dim=-1)], dim=-2)
    return blocks.squeeze(-3)[..., :C, :C]
