"""Latent attention: one small vector a token, from which every head makes its own key and value.

    k_h = [W_h^UK c ; r],     v_h = W_h^UV c           c: the latent [d_c],  r: a key turned by RoPE [d_rope]

Only c and r are kept, d_c + d_rope numbers a token for all heads together. And the keys need not be made to be used:

    q_h · k_h = (W_h^UKᵀ q_h^C) · c + q_h^R · r,       o_h = W_h^UV Σ_i p_i c_i

With the up-projections absorbed into query and output, all heads share one key [c ; r] and one value c: grouped
queries with a single group. r stands apart because a position between W^UK and q would not let them be multiplied.
Chapter 05; MLA of DeepSeek-V2, arXiv 2405.04434.
"""

import torch
from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.cache.base import Cache
from course_lib.cache.buffers import Buffers
from course_lib.cache.full import attend_to, softmax_options


class LatentCache(Cache):
    """Softmax attention over keys and values made from a latent: B·T·(d_c + d_rope)·itemsize bytes, whatever H.

    append takes, as k and v, what the token has one of for all heads: the turned shared key `[B, T, 1, d_rope]` and
    the latent `[B, T, 1, d_c]`. attend takes q `[B, T_q, H, D + d_rope]`, the part for the latent's keys first and the
    turned part last, and returns `[B, T_q, H, V]`.

    up_keys: W^UK `[H, d_c, D]`; up_values: W^UV `[H, d_c, V]`. Both or neither: without them the queries come absorbed,
    `[B, T_q, H, d_c + d_rope]`, and the outputs stay latent, `[B, T_q, H, d_c]`. They are weights of the model and do
    not count as cache. scale: the last size of q to the −1/2 by default; give it for absorbed queries, whose size is
    another. mode, chunk_size: as in `FullCache`. Chapter 05; arXiv 2405.04434.
    """

    def __init__(
        self,
        up_keys: Tensor | None = None,
        up_values: Tensor | None = None,
        *,
        scale: float | None = None,
        mode: str = "sdpa",
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        self._options = softmax_options(scale, mode, chunk_size)
        _check_projections(up_keys, up_values)
        self._up = None if up_keys is None else (up_keys.detach(), up_values.detach())
        self._buffers = Buffers()  # [c ; r]

    @property
    def nbytes(self) -> int:
        return self._buffers.nbytes

    @property
    def reserved(self) -> int:
        return self._buffers.reserved

    def expanded(self) -> tuple[Tensor, Tensor]:
        """Every head's keys `[B, T, H, D + d_rope]` and values `[B, T, H, V]`: what this cache saves storing.

        Attention over them is the definition. Raises ValueError without up-projections or while empty.
        """
        if self._up is None or not self._buffers.used:
            raise ValueError("expanded needs the up-projections and at least one token")
        up_keys, up_values = self._up
        c, r = self._latent()
        r = r[:, :, None].expand(-1, -1, up_keys.shape[0], -1)
        return torch.cat([_up(c, up_keys), r], dim=-1), _up(c, up_values)

    def _latent(self) -> tuple[Tensor, Tensor]:
        """c `[B, T, d_c]` and r `[B, T, d_rope]`."""
        r, c = self._like
        return self._buffers.tensors[0].squeeze(1).split([c.shape[-1], r.shape[-1]], dim=-1)

    def _write(self, k: Tensor, v: Tensor) -> None:
        if k.shape[2] != 1:
            raise ValueError(
                f"k and v must have one head, got {k.shape[2]}: all heads share the turned key k and the latent v"
            )
        if self._up is not None:
            _check_latent(v, self._up[0])
        self._buffers.extend(torch.cat([v, k], dim=-1).transpose(1, 2))

    def _read(self, q: Tensor) -> Tensor:
        self._check_query(q)
        keys = self._buffers.tensors[0].transpose(1, 2)  # [B, T, 1, d_c + d_rope]
        values = keys[..., : self._like[1].shape[-1]]
        options = self._options
        if options["scale"] is None:
            options = options | {"scale": q.shape[-1] ** -0.5}
        if self._up is None:
            return attend_to(q, keys, values, **options)
        up_keys, up_values = self._up
        for_latent, turned = q.split([up_keys.shape[-1], q.shape[-1] - up_keys.shape[-1]], dim=-1)
        absorbed = torch.cat([_up(for_latent, up_keys.mT, by_head=True), turned], dim=-1)
        return _up(attend_to(absorbed, keys, values, **options), up_values, by_head=True)

    def _check_query(self, q: Tensor) -> None:
        r, c = self._like
        parts = c.shape[-1] if self._up is None else self._up[0].shape[-1]
        key = r.new_empty(*r.shape[:3], parts + r.shape[-1])
        checks.check_qkv(q, key, key, kv_groups=True)
        if self._up is not None and q.shape[2] != self._up[0].shape[0]:
            raise ValueError(f"q must have the {self._up[0].shape[0]} heads of up_keys, got {q.shape[2]}")

    def _held(self) -> dict[str, Tensor]:
        return dict(zip(("latent",), self._buffers.tensors, strict=False))

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._buffers.replace(tuple(tensors.values()))

    def _drop_after(self, length: int) -> None:
        self._buffers.used = length


def _up(x: Tensor, W: Tensor, *, by_head: bool = False) -> Tensor:
    """x `[B, T, m]`, or `[B, T, H, m]` where each head has its own, times W `[H, m, n]`: `[B, T, H, n]`."""
    with no_autocast(x):
        x_up, W_up = cast_up(x, W, dtype=working_dtype(x))
        return torch.einsum("bthm,hmn->bthn" if by_head else "btm,hmn->bthn", x_up, W_up).to(x.dtype)


def _check_projections(up_keys: object, up_values: object) -> None:
    if (up_keys is None) != (up_values is None):
        raise ValueError("up_keys and up_values must both be given or both be None: one model has both")
    if up_keys is None:
        return
    checks.check_tensor("up_keys", up_keys, 3, "[H, d_c, D]")
    checks.check_tensor("up_values", up_values, 3, "[H, d_c, V]")
    if up_keys.shape[:2] != up_values.shape[:2]:
        raise ValueError(
            f"up_values must have the shape [H, d_c, ·] = {list(up_keys.shape[:2])} of up_keys, got "
            f"{list(up_values.shape[:2])}"
        )


def _check_latent(v: Tensor, up_keys: Tensor) -> None:
    if v.shape[-1] != up_keys.shape[1]:
        raise ValueError(
            f"v must have the latent size d_c = {up_keys.shape[1]} of up_keys, got {v.shape[-1]}"
        )
    if v.dtype != up_keys.dtype:
        raise TypeError(f"v must have the dtype of up_keys, {up_keys.dtype}, got {v.dtype}")
    if v.device != up_keys.device:
        raise ValueError(f"v must be on {up_keys.device}, got {v.device}: move it with .to({up_keys.device})")
