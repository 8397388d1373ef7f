"""SnapKV: the end of the prompt votes which of its tokens stay.

The last queries of a prompt, where the question usually stands, look at what the answer will look at. Their attention
weights, added up and max-pooled over neighbours so that a clue stays with its surroundings, choose for each head the
prompt tokens to keep; the observing tokens stay too. What is generated afterwards is kept in full, so this cache
shortens a prompt and not a conversation: a later question finds what the first one chose. Chapter 05; arXiv
2404.14469.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import checks
from course_lib.attention.precision import cast_up, no_autocast, working_dtype
from course_lib.cache.base import check_newest
from course_lib.cache.full import FullCache
from course_lib.cache.heavy import causal_weights, take


class SnapKVCache(FullCache):
    """Softmax attention over `budget` tokens of the prompt a head, and everything after it.

    The prompt is what has been appended before the first attend, whose outputs are exact: its queries see all of it.
    Then the last `observation` of these queries choose (with grouped queries, the heads of a group together); the last
    `observation` tokens stay in any case, and of equal votes the earlier token stays. Later queries must come after
    the prompt; `truncate` cannot go back into it. A prompt of `budget` tokens or fewer is kept whole.

    budget: above `observation`. pool: how many neighbours are pooled, odd. scale, mode, chunk_size: as in `FullCache`.
    Chapter 05; arXiv 2404.14469.
    """

    def __init__(
        self,
        *,
        budget: int = 256,
        observation: int = 32,
        pool: int = 7,
        scale: float | None = None,
        mode: str = "sdpa",
        chunk_size: int = 64,
    ) -> None:
        super().__init__(scale=scale, mode=mode, chunk_size=chunk_size)
        for name, n in (("budget", budget), ("observation", observation), ("pool", pool)):
            checks.check_count(name, n)
        if budget <= observation:
            raise ValueError(
                f"budget must be above the {observation} observing tokens, which all stay, got {budget}"
            )
        if pool % 2 == 0:
            raise ValueError(f"pool must be odd, so that it has a middle, got {pool}")
        self.budget, self.observation, self.pool = budget, observation, pool
        self._prompt = 0  # tokens of the prompt, once it has been attended
        self._kept: Tensor | None = None  # once something has been dropped

    @property
    def kept(self) -> Tensor | None:
        """Positions of the prompt tokens each head holds, int64 `[B, H_kv, budget]`; None if all are.

        For looking at; reading does not need it, and `nbytes` leaves it out.
        """
        return self._kept

    def _read(self, q: Tensor) -> Tensor:
        if self._kept is not None:
            check_newest(
                q, len(self) - self._prompt, "that came after the prompt, of which only a part is left"
            )
        o = super()._read(q)
        if not self._prompt:
            self._prompt = len(self)
            if self._prompt > self.budget:
                self._kept = self._chosen(q[:, -self.observation :])
                self._buffers.replace(tuple(take(x, self._kept) for x in self._buffers.tensors))
        return o

    def _chosen(self, q: Tensor) -> Tensor:
        """The positions that the observing queries choose: `[B, H_kv, budget]`, ascending."""
        k, T = self._buffers.tensors[0], len(self)
        with no_autocast(q):
            q_up, k_up = cast_up(q, k, dtype=working_dtype(q))
            t, position = (torch.arange(first, T, device=q.device) for first in (T - q.shape[1], 0))
            weights = causal_weights(q_up, k_up, t, position, self._options["scale"])
        votes = weights[..., : T - self.observation].sum((2, 3))  # [B, H_kv, T − observation]
        pooled = F.max_pool1d(votes, self.pool, stride=1, padding=self.pool // 2)
        best = pooled.argsort(descending=True, stable=True)[..., : self.budget - self.observation]
        newest = position[-self.observation :].expand(*best.shape[:2], -1)
        return torch.cat([best.sort(-1).values, newest], dim=-1)

    def _held(self) -> dict[str, Tensor]:
        kept = {} if self._kept is None else {"kept": self._kept}
        return super()._held() | kept | {"prompt": torch.tensor(self._prompt)}

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        super()._hold(tensors)
        self._kept, self._prompt = tensors.get("kept"), int(tensors["prompt"])

    def _drop_after(self, length: int) -> None:
        if length < self._prompt and self._kept is not None:
            raise RuntimeError(
                f"this cache cannot go back to {length} of its {len(self)} tokens: of the first {self._prompt}, the "
                f"prompt, only those that its end chose are left. Keep a snapshot() of the moment you may want back "
                f"and restore() it"
            )
        self._buffers.used -= len(self) - length
        if length < self._prompt:
            self._prompt = 0
