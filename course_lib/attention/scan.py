"""The elementwise engine: h_t = a_t ⊙ h_{t-1} + b_t, for states whose numbers never mix.

**recurrent** is that equation, token by token, with everything a model does per token inside the loop: the
definition. **chunk** computes a and b of C tokens at once and then needs one multiply-add a token. **parallel**
is the associative scan: the pairs (a, b) compose, (a', b') ∘ (a, b) = (a'a, a'b + b'), in any grouping, so log2 T
rounds of whole-sequence products give all h_t, with T log T work. Nothing is divided, so any |a| ≤ 1 is safe.
Chapter 12; Blelloch 1990, arXiv 2312.00752.

a, b `[B, T, …]` (a may have T = 1: the same at every token), the state `[B, …]` before the first token.
"""

import torch
from torch import Tensor

from course_lib.attention.decay import differentiable_gradients
from course_lib.attention.gates import transformed


def scan(a: Tensor, b: Tensor, state: Tensor) -> Tensor:
    """All h_t `[B, T, …]`: one multiply-add a token, or the associative scan where torch traces the call."""
    if transformed():
        return associative_scan(a, b, state)
    tracked = torch.is_grad_enabled() and any(x.requires_grad for x in (a, b, state))
    return (_Scan.apply if tracked else _scan)(a.expand_as(b), b, state)


def associative_scan(a: Tensor, b: Tensor, state: Tensor) -> Tensor:
    """All h_t by doubling: after round n, (a, b)_t composes the last 2^n tokens up to t."""
    a = a.expand_as(b)
    b = torch.cat(
        [b[:, :1] + a[:, :1] * state[:, None], b[:, 1:]], dim=1
    )  # the state enters at the first token
    reach = 1
    while reach < b.shape[1]:
        earlier = a[:, reach:]
        b = torch.cat([b[:, :reach], b[:, reach:] + earlier * b[:, :-reach]], dim=1)
        a = torch.cat([a[:, :reach], earlier * a[:, :-reach]], dim=1)
        reach *= 2
    return b


def _scan(a: Tensor, b: Tensor, state: Tensor) -> Tensor:
    out = []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        state = torch.addcmul(b_t, a_t, state)
        out.append(state)
    return torch.stack(out, dim=1)


class _Scan(torch.autograd.Function):
    """`_scan` with its own backward, which is the same scan from the end: dh_t = do_t + a_{t+1} dh_{t+1}."""

    @staticmethod
    def forward(ctx, a, b, state):
        h = _scan(a, b, state)
        ctx.save_for_backward(a, b, h, state)
        return h

    @staticmethod
    def backward(ctx, d_h):
        a, b, h, state = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative
            return tuple(differentiable_gradients(lambda *x: (associative_scan(*x),), (a, b, state), (d_h,)))
        a = a.conj().resolve_conj()
        later = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
        d_b = scan(later.flip(1), d_h.flip(1), torch.zeros_like(state)).flip(1)
        before = torch.cat([state[:, None], h[:, :-1]], dim=1)
        return d_b * before.conj(), d_b, a[:, 0] * d_b[:, 0]
