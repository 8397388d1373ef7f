"""A window: the last w tokens and no others, in a ring of w slots.

What a query does not see any more need not be kept: exactly sliding-window attention, in bytes that stop growing at
token w. What was said before the window is gone, for this layer. Chapter 05; arXiv 2004.05150, 1904.10509.
"""

from torch import Tensor

from course_lib.attention import sliding_window_attention
from course_lib.attention.registry import DEFAULT_WINDOW
from course_lib.cache.ring import RingCache


class WindowCache(RingCache):
    """Softmax attention over the last `window` tokens, its own included: B·min(T, window)·H_kv·(K + V)·itemsize bytes.

    A piece of several tokens that has not been attended yet lies beside them. Several queries at once must be among
    the tokens appended since the last attend, unless nothing has left the window yet; `truncate` works until then.
    window: at least 1. scale, chunk_size: as in `sliding_window_attention`, whose outputs these are. Chapter 05.
    """

    def __init__(
        self, *, window: int = DEFAULT_WINDOW, scale: float | None = None, chunk_size: int = 64
    ) -> None:
        super().__init__(window, 0, scale, chunk_size)

    def _read_piece(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        T_q = q.shape[1]
        start = max(k.shape[1] - T_q - self.window + 1, 0)
        before = k[:, start:-T_q], v[:, start:-T_q]
        o, _ = sliding_window_attention(
            q,
            k[:, -T_q:],
            v[:, -T_q:],
            initial_state=before,
            window=self.window,
            scale=self._scale,
            chunk_size=self._chunk_size,
        )
        return o
