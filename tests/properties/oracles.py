"""Independent answers: one token, one head, one sum at a time, written without any of the library.

They are slow and follow the equations with vectors. Everything is computed in float64.
"""

import math

import torch
from torch import Tensor


def softmax_oracle(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True, scale: float | None = None
) -> Tensor:
    """o_t = Σ_i exp(s_ti) v_i / Σ_i exp(s_ti). Queries are the last keys; heads share k, v in groups."""
    q, k, v = q.double(), k.double(), v.double()
    B, T_q, H, K = q.shape
    T, H_kv = k.shape[1:3]
    scale = 1 / math.sqrt(K) if scale is None else scale
    o = torch.zeros(B, T_q, H, v.shape[-1], dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            keys, values = k[b, :, h * H_kv // H], v[b, :, h * H_kv // H]
            for t in range(T_q):
                seen = T - T_q + t + 1 if causal else T
                weights = [math.exp(scale * torch.dot(q[b, t, h], keys[i])) for i in range(seen)]
                o[b, t, h] = sum(w * values[i] for i, w in enumerate(weights)) / sum(weights)
    return o


def linear_oracle(
    q: Tensor, k: Tensor, v: Tensor, *, phi, normalize: bool, causal: bool = True, scale: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum over i itself, per token: o `[B, T, H, V]`, and S `[B, H, K, V]`, z `[B, H, K]` at the end."""
    q, k, v = phi(q.double()), phi(k.double()), v.double()
    B, T, H, K = q.shape
    scale = 1 / math.sqrt(K) if scale is None else scale
    o = torch.zeros(B, T, H, v.shape[-1], dtype=torch.float64)
    S = torch.zeros(B, H, K, v.shape[-1], dtype=torch.float64)
    z = torch.zeros(B, H, K, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            for i in range(T):
                S[b, h] += torch.outer(k[b, i, h], v[b, i, h])
                z[b, h] += k[b, i, h]
            for t in range(T):
                weights = [torch.dot(q[b, t, h], k[b, i, h]) for i in range(t + 1 if causal else T)]
                total = sum(w * v[b, i, h] for i, w in enumerate(weights))
                o[b, t, h] = total / sum(weights) if normalize else total * scale
    return o, S, z


def elu_plus_one(x: Tensor) -> Tensor:
    return torch.where(x > 0, x + 1, x.exp())
