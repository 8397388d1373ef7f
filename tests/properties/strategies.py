"""Shapes and inputs that hypothesis draws, and the error bounds that dtype and length allow.

The bound. A dot product of n terms, summed in any order with unit round-off u, is off by at most n·u·Σ|terms|
to first order (Higham, Accuracy and Stability of Numerical Algorithms, chapter 3). A mixer chains sums over
K and over T, so with positive weights that sum to 1 an output is off by at most about (K + T + a few)·u times
the largest |v|, in either form. Unnormalised outputs replace max|v| by Σ|weight|·|v|, which `mass` computes.
"""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    B: int
    T: int
    H: int
    K: int
    V: int
    C: int
    seed: int

    def qkv(
        self, dtype: torch.dtype = torch.float64, H_kv: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        rng = torch.Generator().manual_seed(self.seed)
        heads = (self.H, H_kv or self.H, H_kv or self.H)
        widths = (self.K, self.K, self.V)
        return tuple(
            torch.randn(self.B, self.T, h, n, generator=rng, dtype=torch.float64).to(dtype)
            for h, n in zip(heads, widths, strict=True)
        )


def shapes(max_T: int = 40, min_T: int = 1) -> st.SearchStrategy[Shape]:
    """Small shapes with T below, at and above the chunk, T = 1, K ≠ V, chunks that do not divide T."""
    return st.builds(
        Shape,
        B=st.integers(1, 3),
        T=st.integers(min_T, max_T),
        H=st.integers(1, 3),
        K=st.integers(1, 6),
        V=st.integers(1, 6),
        C=st.integers(1, 17),
        seed=st.integers(0, 2**32),
    )


def bound(shape: Shape, dtype: torch.dtype) -> float:
    """Two forms chain sums over K and over T, and round a handful of times in between."""
    return 2 * (shape.K + shape.T + 8) * torch.finfo(dtype).eps


def mass(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Σ_i |q_t|ᵀ|k_i| |v_i|: no partial sum of an unnormalised output is larger. `[B, T, H, V]`."""
    return torch.einsum("bthk,bihk,bihv->bthv", q.abs(), k.abs(), v.abs())


def assert_within(actual: Tensor, expected: Tensor, tolerance: float, size: Tensor | float) -> None:
    """|actual − expected| ≤ tolerance · size, elementwise, and the same shape."""
    assert actual.shape == expected.shape
    error = (actual.double() - expected.double()).abs()
    assert bool((error <= tolerance * size).all()), (
        f"off by {(error / size).max():.2e}, allowed {tolerance:.2e}"
    )
