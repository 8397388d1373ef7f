"""The state of linear attention: S = Σ φ(k_i) v_iᵀ and z = Σ φ(k_i), however long the text.

A query must not see the tokens after its own, and a sum cannot be taken apart again. So `append` keeps its tokens
beside the state until they are attended (or until the next append), and `attend` adds them to the state as it reads:
exactly `linear_attention` from the state before them. Chapter 08 derives the state; arXiv 2006.16236.
"""

from torch import Tensor

from course_lib.attention import linear_attention, linear_attention_step
from course_lib.attention.linear import FeatureMap
from course_lib.cache.base import Cache, tensor_bytes


class LinearState(Cache):
    """Linear attention over all tokens so far in O(K·V) bytes: B·H·K·(V + 1) numbers of float32 or float64.

    Tokens that were appended and not attended yet count too. One attend for each append, of at most its tokens; one key
    head for each query head. `truncate` raises RuntimeError: keep a `snapshot` of a moment you may want back.
    feature_map, normalize, scale, mode, chunk_size: as in `linear_attention`. Chapters 04 and 08.
    """

    def __init__(
        self,
        *,
        scale: float | None = None,
        feature_map: str | FeatureMap = "elu",
        normalize: bool = True,
        mode: str = "chunk",
        chunk_size: int = 64,
    ) -> None:
        super().__init__()
        self._options = {
            "scale": scale,
            "feature_map": feature_map,
            "normalize": normalize,
            "mode": mode,
            "chunk_size": chunk_size,
        }
        self._state: tuple[Tensor, ...] = ()  # (S, z), or (S,) without a normaliser
        self._new: tuple[Tensor, ...] = ()  # k and v that are not in the state yet

    @property
    def nbytes(self) -> int:
        return tensor_bytes(*self._state, *self._new)

    @property
    def reserved(self) -> int:
        return self.nbytes

    @property
    def waiting(self) -> int:
        """Tokens appended and not attended yet."""
        return self._new[0].shape[1] if self._new else 0

    def _write(self, k: Tensor, v: Tensor) -> None:
        self._state = self._state_after(self.waiting)
        self._new = k.clone(), v.clone()

    def _read(self, q: Tensor) -> Tensor:
        if q.shape[1] > self.waiting:
            raise ValueError(
                f"q must have at most the {self.waiting} tokens appended since the last attend, got {q.shape[1]}: "
                f"older tokens are only a sum by now, which no longer knows what it was before them"
            )
        k, v = (x[:, -q.shape[1] :] for x in self._new)
        earlier = self._state_after(self.waiting - q.shape[1])
        o, self._state = self._run(q, k, v, earlier)
        self._new = ()
        return o

    def _state_after(self, tokens: int) -> tuple[Tensor, ...]:
        """The state with the first `tokens` of those waiting."""
        if not tokens:
            return self._state
        k, v = (x[:, :tokens] for x in self._new)
        _, state = self._run(k, k, v, self._state)  # the state does not depend on the queries
        return state

    def _run(
        self, q: Tensor, k: Tensor, v: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        normalize = self._options["normalize"]
        before = None if not state else state if normalize else state[0]
        if q.shape[1] == 1:
            options = {name: self._options[name] for name in ("scale", "feature_map", "normalize")}
            o, after = linear_attention_step(q[:, 0], k[:, 0], v[:, 0], before, **options)
            o = o[:, None]
        else:
            o, after = linear_attention(
                q, k, v, initial_state=before, output_final_state=True, **self._options
            )
        return o, tuple(x.detach() for x in (after if normalize else (after,)))

    def _held(self) -> dict[str, Tensor]:
        return dict(zip("Sz", self._state, strict=False)) | dict(zip("kv", self._new, strict=False))

    def _hold(self, tensors: dict[str, Tensor]) -> None:
        self._state = tuple(tensors[name] for name in "Sz" if name in tensors)
        self._new = tuple(tensors[name] for name in "kv" if name in tensors)

    def _drop_after(self, length: int) -> None:
        raise RuntimeError(
            f"a linear state cannot go back to {length} of its {len(self)} tokens: it is their sum, which does not say "
            f"what each one added, and under gates taking a term away would not undo its write. Keep a snapshot() of "
            f"the moment you may want back and restore() it"
        )
