"""The state of the delta rule: S moves towards what each key should answer, however long the text.

    S_t = S_{t-1} + β k_t (v_t − S_{t-1}ᵀ k_t)ᵀ

It waits, reads and refuses to go back exactly as the state of linear attention does; only the write differs. A key of
zeros writes nothing, whatever its value: that is how a layer keeps a token out of its state. Chapter 11 derives the
rule, chapter 19 carries it through a chat; arXiv 2102.11174, 2406.06484.
"""

from torch import Tensor

from course_lib.attention import checks, delta_rule, delta_rule_step
from course_lib.cache.linear import LinearState


class DeltaState(LinearState):
    """The delta rule over all tokens so far in B·H·K·V numbers of float32 or float64.

    Keys should have length 1, or 0 for a token that is not to be written. beta: the strength of every write, above 0
    and at most 2. scale: `K ** -0.5` by default. mode, chunk_size: as in `delta_rule`. One attend for each append;
    `truncate` raises RuntimeError. Raises TypeError or ValueError for options that do not fit. Chapter 19.
    """

    def __init__(
        self, *, beta: float = 1.0, scale: float | None = None, mode: str = "chunk", chunk_size: int = 64
    ) -> None:
        super().__init__(scale=scale, normalize=False, mode=mode, chunk_size=chunk_size)
        if isinstance(beta, bool) or not isinstance(beta, int | float):
            raise TypeError(f"beta must be a number, got {type(beta).__name__}")
        if not 0 < beta <= 2:
            raise ValueError(f"beta must be above 0 and at most 2, got {beta}")
        checks.check_scale(scale)
        self.beta = float(beta)

    def _run(
        self, q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        before, scale = (state[0] if state else None), self._options["scale"]
        beta = k.new_full(k.shape[:3], self.beta)
        if q.shape[1] == 1:
            new = (x[:, 0] for x in (q, k, v))
            o, after = delta_rule_step(*new, before, beta=beta[:, 0], scale=scale)
            return o[:, None], (after.detach(),)
        form = {name: self._options[name] for name in ("mode", "chunk_size")}
        o, after = delta_rule(
            q, k, v, beta=beta, scale=scale, initial_state=before, output_final_state=True, **form
        )
        return o, (after.detach(),)
