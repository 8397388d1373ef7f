"""Questions of chapter 06: draw the mask, compute without it, and say what it cannot see.

Row t of a mask is a query, column i a key; everything is causal. A window counts the token itself.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .question import Case, ChoiceQuestion, CodeQuestion, Limit, NumberQuestion, Option, Shapes

# --- 06.1 BigBird's mask ------------------------------------------------------------------------------

Blocks = Sequence[int]


def bigbird_inputs(case: Case, rng: torch.Generator) -> tuple[int, int, int, list[int], Tensor]:
    """T, C, window_blocks, the numbers of the global blocks, and the r blocks `[N, r]` that each block drew."""
    N = -(-case.T // case.C)
    global_blocks = torch.randperm(N, generator=rng)[: case.G].sort().values.tolist()
    random_blocks = torch.randint(0, N, (N, case.r), generator=rng)
    return case.T, case.C, case.w, global_blocks, random_blocks


def _bigbird(
    T: int,
    C: int,
    window_blocks: int,
    global_blocks: Blocks,
    random_blocks: Tensor,
    *,
    rows: bool = True,
    columns: bool = True,
    causal: str = "tokens",
    own: bool = True,
    as_tokens: bool = False,
    drawn: bool = True,
) -> Tensor:
    n = torch.arange(T) // C
    at = torch.arange(T) if as_tokens else n
    distance = n[:, None] - n[None, :]
    seen = (distance >= 0) & (distance < window_blocks + (not own))
    chosen = torch.isin(at, torch.tensor(list(global_blocks), dtype=torch.long))
    seen = seen | chosen[None, :] if columns else seen
    seen = seen | chosen[:, None] if rows else seen
    if drawn:
        seen = seen | (random_blocks[n][:, :, None] == n).any(1)
    return seen & {"tokens": torch.ones(T, T).tril().bool(), "blocks": distance >= 0, "": True}[causal]


def bigbird_reference(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    """Boolean `[T, T]`: window, global and drawn blocks, without the future."""
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks)


def bigbird_block_by_block(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    """The same with a loop over blocks of queries and slices of keys."""
    mask = torch.zeros(T, T, dtype=torch.bool)
    for n in range(-(-T // C)):
        seen = {*range(max(0, n - window_blocks + 1), n + 1), *global_blocks, *random_blocks[n].tolist()}
        for m in range(n + 1) if n in global_blocks else seen:
            mask[n * C : (n + 1) * C, m * C : (m + 1) * C] = True
    return mask.tril()


def future_of_the_block(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, causal="blocks")


def not_causal_mask(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, causal="")


def window_alone_is_causal(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    window = _bigbird(T, C, window_blocks, [], random_blocks, drawn=False)
    return window | _bigbird(T, C, 0, global_blocks, random_blocks, causal="")


def globals_are_only_read(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, rows=False)


def globals_only_read(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, columns=False)


def globals_forgotten(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, [], random_blocks)


def own_block_not_counted(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, own=False)


def globals_as_tokens(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, as_tokens=True)


def draws_forgotten(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    return _bigbird(T, C, window_blocks, global_blocks, random_blocks, drawn=False)


def band_of_tokens(
    T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor
) -> Tensor:
    """The window moves with the token instead of the block."""
    back = torch.arange(T)[:, None] - torch.arange(T)
    band = (back >= 0) & (back < window_blocks * C)
    return _bigbird(T, C, 0, global_blocks, random_blocks) | band


def keys_in_rows(T: int, C: int, window_blocks: int, global_blocks: Blocks, random_blocks: Tensor) -> Tensor:
    return bigbird_reference(T, C, window_blocks, global_blocks, random_blocks).T


# --- 06.2 banded attention, a window for each head ----------------------------------------------------


def banded_inputs(case: Case, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor, list[int], int]:
    """q, k `[B, T, H, K]`, v `[B, T, H, V]`, H windows between 1 and `case.w`, and the block size C."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(case.dtype)

    head = (case.B, case.T, case.H)
    windows = torch.randint(1, case.w + 1, (case.H,), generator=rng)
    windows[torch.randint(0, case.H, (1,), generator=rng)] = case.w
    return draw(*head, case.K), draw(*head, case.K), draw(*head, case.V), windows.tolist(), case.C


def _distance(T: int) -> Tensor:
    return torch.arange(T)[:, None] - torch.arange(T)


def _window_of(windows: Sequence[int]) -> Tensor:
    return torch.tensor(list(windows))[:, None, None]


def _banded(
    q: Tensor, k: Tensor, v: Tensor, hidden: Tensor, *, scale: bool = True, fill: float = float("-inf")
) -> Tensor:
    scores = torch.einsum("bthk,bshk->bhts", q, k) * (q.shape[-1] ** -0.5 if scale else 1)
    return torch.einsum("bhts,bshv->bthv", scores.masked_fill(hidden, fill).softmax(-1), v)


def whole_table(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    """Right, but from all T×T scores."""
    d = _distance(q.shape[1])
    return _banded(q, k, v, (d < 0) | (d >= _window_of(windows)))


def banded_reference(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    """A block of C queries beside the keys that its widest window touches."""
    T, reach, out = q.shape[1], max(windows) - 1, []
    for start in range(0, T, C):
        stop, first = min(start + C, T), max(0, start - reach)
        d = torch.arange(start, stop)[:, None] - torch.arange(first, stop)
        hidden = (d < 0) | (d >= _window_of(windows))
        out.append(_banded(q[:, start:stop], k[:, first:stop], v[:, first:stop], hidden))
    return torch.cat(out, dim=1)


def banded_by_unfolding(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    """Every query beside a copy of its own keys: O(T·w·K) memory."""
    w = max(windows)
    keys, values = (F.pad(x, (0, 0, 0, 0, w - 1, 0)).unfold(1, w, 1) for x in (k, v))  # [B, T, H, K, w]
    scores = torch.einsum("bthk,bthkw->bthw", q, keys) * q.shape[-1] ** -0.5
    back = torch.arange(w - 1, -1, -1)
    hidden = (back >= torch.tensor(list(windows))[:, None]) | (
        back > torch.arange(q.shape[1])[:, None, None]
    )  # [T, H, w]
    return torch.einsum("bthw,bthvw->bthv", scores.masked_fill(hidden, float("-inf")).softmax(-1), values)


def banded_token_by_token(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    out = torch.empty_like(v)
    for h, w in enumerate(windows):
        for t in range(q.shape[1]):
            seen = slice(max(0, t - w + 1), t + 1)
            weights = (k[:, seen, h] @ q[:, t, h, :, None] * q.shape[-1] ** -0.5).softmax(1)
            out[:, t, h] = (weights * v[:, seen, h]).sum(1)
    return out


def one_too_many(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d = _distance(q.shape[1])
    return _banded(q, k, v, (d < 0) | (d > _window_of(windows)))


def one_too_many_but_first(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    """As `one_too_many`, where the keys beside a block are the right ones, so that its first query is right."""
    d, start = _distance(q.shape[1]), torch.arange(q.shape[1]) // C * C
    beside = start[:, None] - torch.arange(q.shape[1]) < max(windows)
    return _banded(q, k, v, (d < 0) | (d > _window_of(windows)) | ~beside)


def one_too_few(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    return banded_reference(q, k, v, [max(w - 1, 1) for w in windows], C)


def widest_for_all_heads(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    return banded_reference(q, k, v, [max(windows)] * len(windows), C)


def first_heads_window(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    return banded_reference(q, k, v, [windows[0]] * len(windows), C)


def block_edge(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d, n = _distance(q.shape[1]), torch.arange(q.shape[1]) // C
    return _banded(q, k, v, (d < 0) | (d >= _window_of(windows)) | (n[:, None] != n))


def one_block_before(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d, n = _distance(q.shape[1]), torch.arange(q.shape[1]) // C
    return _banded(q, k, v, (d < 0) | (d >= _window_of(windows)) | (n[:, None] - n > 1))


def both_sides(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    return _banded(q, k, v, _distance(q.shape[1]).abs() >= _window_of(windows))


def future_in_the_block(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d, n = _distance(q.shape[1]), torch.arange(q.shape[1]) // C
    return _banded(q, k, v, (n[:, None] < n) | (d >= _window_of(windows)))


def whole_blocks(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    T = q.shape[1]
    d, start = _distance(T), torch.arange(T) // C * C
    return _banded(q, k, v, (d < 0) | (start[:, None] - torch.arange(T) >= _window_of(windows)))


def banded_without_scale(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d = _distance(q.shape[1])
    return _banded(q, k, v, (d < 0) | (d >= _window_of(windows)), scale=False)


def masked_with_zero(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d = _distance(q.shape[1])
    return _banded(q, k, v, (d < 0) | (d >= _window_of(windows)), fill=0.0)


def padding_is_seen(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    """Zeros stand before the first token, and the first queries give them weight."""
    before = max(windows) - 1
    keys, values = (F.pad(x, (0, 0, 0, 0, before, 0)) for x in (k, v))
    d = torch.arange(q.shape[1])[:, None] - torch.arange(-before, q.shape[1])
    return _banded(q, keys, values, (d < 0) | (d >= _window_of(windows)))


def scaled_by_size(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    return banded_reference(q * q.shape[-1] ** -0.5, k, v, windows, C)


def masked_after_softmax(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    d = _distance(q.shape[1])
    weights = (torch.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5).softmax(-1)
    hidden = (d < 0) | (d >= _window_of(windows))
    return torch.einsum("bhts,bshv->bthv", weights.masked_fill(hidden, 0), v)


def counted_within_the_slice(q: Tensor, k: Tensor, v: Tensor, windows: Sequence[int], C: int) -> Tensor:
    """Queries and keys of a block are both numbered from 0, though the keys begin earlier."""
    T, reach, out = q.shape[1], max(windows) - 1, []
    for start in range(0, T, C):
        stop, first = min(start + C, T), max(0, start - reach)
        d = torch.arange(stop - start)[:, None] - torch.arange(stop - first)
        hidden = (d < 0) | (d >= _window_of(windows))
        out.append(_banded(q[:, start:stop], k[:, first:stop], v[:, first:stop], hidden))
    return torch.cat(out, dim=1)


# --- 06.4 what several layers reach -------------------------------------------------------------------

Layers = Sequence[tuple[int, int]]


def reach_inputs(case: Case, rng: torch.Generator) -> tuple[list[tuple[int, int]], int]:
    """Layers as (window, stride), the first layer first, and T."""
    return list(case.layers), case.T


def _reached(T: int, distances: set[int]) -> Tensor:
    return torch.tensor([T - 1 - i in distances for i in range(T)])


def _distances(layers: Layers, step: Callable[[int, int], Sequence[int]]) -> set[int]:
    distances = {0}
    for w, s in layers:
        distances = {d + back for d in distances for back in step(w, s)}
    return distances


def reach_reference(layers: Layers, T: int) -> Tensor:
    """Distances add up from layer to layer: d + 0, d + s, …, d + (w − 1)s."""
    return _reached(T, _distances(layers, lambda w, s: range(0, w * s, s)))


def reach_with_masks(layers: Layers, T: int) -> Tensor:
    """The same by products of masks, one row at a time."""
    t = torch.arange(T)
    seen = F.one_hot(torch.tensor(T - 1), T).bool()
    for w, s in layers:
        back = t[:, None] - t
        mask = (back >= 0) & (back < w * s) & (back % s == 0)
        seen = (mask & seen[:, None]).any(0)
    return seen


def window_without_itself(layers: Layers, T: int) -> Tensor:
    return _reached(T, _distances(layers, lambda w, s: range(0, (w + 1) * s, s)))


def one_key_short(layers: Layers, T: int) -> Tensor:
    return _reached(T, _distances(layers, lambda w, s: range(0, max(w - 1, 1) * s, s)))


def wrapped_around(layers: Layers, T: int) -> Tensor:
    """Indices below 0 count from the end."""
    return _reached(T, {d % T for d in _distances(layers, lambda w, s: range(0, w * s, s))})


def stride_ignored(layers: Layers, T: int) -> Tensor:
    return _reached(T, _distances(layers, lambda w, s: range(w)))


def window_in_tokens(layers: Layers, T: int) -> Tensor:
    return _reached(T, _distances(layers, lambda w, s: range(0, w, s)))


def holes_filled(layers: Layers, T: int) -> Tensor:
    furthest = max(_distances(layers, lambda w, s: range(0, w * s, s)))
    return _reached(T, set(range(furthest + 1)))


def layers_side_by_side(layers: Layers, T: int) -> Tensor:
    return _reached(T, {0, *(back for w, s in layers for back in range(0, w * s, s))})


def never_stays(layers: Layers, T: int) -> Tensor:
    return _reached(T, _distances(layers, lambda w, s: range(s, w * s, s)))


def strides_filled(layers: Layers, T: int) -> Tensor:
    return _reached(T, _distances(layers, lambda w, s: range(w * s)))


def last_token_missing(layers: Layers, T: int) -> Tensor:
    return reach_reference(layers, T + 1)[:T]


def by_distance(layers: Layers, T: int) -> Tensor:
    return reach_reference(layers, T).flip(0)


# --- the declarations ---------------------------------------------------------------------------------

BIGBIRD = CodeQuestion(
    id="06.1",
    objective="build-mask",
    title="BigBird's mask",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=bigbird_inputs,
    reference=bigbird_reference,
    visible=[
        Case("whole blocks", T=12, C=2, w=1, G=1, r=1, seed=0),
        Case("ragged tail", T=29, C=4, w=2, G=1, r=2, seed=11),
        Case("no global block", T=10, C=3, w=1, G=0, r=1, seed=1),
        Case("one block", T=3, C=4, w=2, G=1, r=1),
    ],
    hidden=[Shapes(8, T=(9, 40), C=(2, 5), w=(1, 2), G=(0, 2), r=(1, 2))],
    wrong={
        future_of_the_block: "inside a block, tokens see later ones: whole blocks are causal, tokens are not yet.",
        not_causal_mask: "some queries see blocks that come after them: what a block drew may lie in its future.",
        window_alone_is_causal: "only your window hides the future: global and drawn blocks may lie there too.",
        globals_are_only_read: "everybody reads the global blocks, but their own queries do not read everything "
        "before them.",
        globals_only_read: "the queries of a global block read everything before them, but not everybody reads its "
        "keys.",
        globals_forgotten: "the global blocks are missing, or marked only where two of them meet.",
        own_block_not_counted: "your window is one block too long: what does it count?",
        globals_as_tokens: "you take the global numbers for positions of tokens: they are numbers of blocks.",
        draws_forgotten: "the blocks that were drawn at random are missing.",
        band_of_tokens: "your window moves with each token: what is it counted in?",
        keys_in_rows: "your mask lies on its side: which of the two is the row?",
    },
    accepted=[bigbird_block_by_block],
    outputs=("mask [T, T]",),
)

BANDED = CodeQuestion(
    id="06.2",
    objective="banded-attention",
    title="Banded attention, a window for each head",
    points=4,
    minutes=15,
    difficulty=3,
    inputs=banded_inputs,
    reference=banded_reference,
    visible=[
        Case("tiny", T=7, H=1, K=2, V=3, w=3, C=3),
        Case("two windows, ragged", B=2, T=13, H=2, K=4, V=6, w=6, C=4, seed=2),
        Case("block longer than the window", B=1, T=20, H=3, K=4, V=3, w=4, C=8, seed=5),
        Case("window longer than the text", B=2, T=5, H=2, K=4, V=3, w=9, C=2, seed=1),
        Limit(
            "4,096 tokens",
            T=4096,
            H=2,
            K=8,
            V=8,
            w=64,
            C=64,
            cpu_seconds=20,
            gigabytes=0.06,
            hint="C queries need a few keys each: a T×T table, of scores or of booleans, is too much.",
        ),
    ],
    hidden=[
        Shapes(8, T=(1, 40), w=(1, 12), C=(1, 9)),
        Limit("131,072 tokens", T=131_072, H=2, K=8, V=8, w=64, C=64, cpu_seconds=60, gigabytes=2.5),
    ],
    wrong={
        one_too_many: "each query sees one key too many: a window of w counts the token itself.",
        one_too_many_but_first: "most queries of a block see one key too many: a window of w counts the token "
        "itself.",
        one_too_few: "each query sees one key too few: how many are a window of w?",
        widest_for_all_heads: "all heads use the widest window: each has its own.",
        first_heads_window: "all heads use the first head's window: each has its own.",
        block_edge: "queries at the start of a block see too little: their window reaches over the block's edge.",
        one_block_before: "you take one block of keys before the queries' own; a window may be longer than a block.",
        both_sides: "your band reaches to both sides: no query may see later keys.",
        future_in_the_block: "inside a block, tokens see later ones: taking the right keys is not enough.",
        whole_blocks: "every query of a block sees as far back as the first one: the window moves with the query.",
        banded_without_scale: "the scores lack a factor.",
        masked_with_zero: "hidden keys still get weight: a score of 0 does not hide a key.",
        scaled_by_size: "the scores are scaled down too far.",
        masked_after_softmax: "the weights of the keys that are seen no longer add up to 1: what has the softmax "
        "counted?",
        counted_within_the_slice: "from the second block on you hide the wrong keys: where does your slice of keys "
        "begin in the text, and where the queries?",
        padding_is_seen: "the first queries give weight to zeros before the text: padding is no key.",
    },
    accepted=[banded_by_unfolding, banded_token_by_token],
    too_big=[whole_table],
    outputs=("o [B, T, H, V]",),
)

GAP = ChoiceQuestion(
    id="06.3",
    objective="count-cost",
    title="Explain the gap",
    points=1,
    minutes=5,
    difficulty=2,
    question="On one server, at T = 8,192 with four heads, D = 64, w = 256 and blocks of 64, full attention needs "
    "461 ms and window attention 70 ms. Counted, the window does 13 times fewer FLOPs (hidden pairs inside its blocks "
    "included, the future half of full attention not). Without a mask the fused kernel of full attention takes "
    "almost twice as long. Counted in this way, full attention runs at 75 GFLOP/s and the window at 38. Why is it "
    "6.6 times as fast, and not 13?",
    options={
        "A": Option(
            "The window's blocks compute pairs that they then hide, and these double its work.",
            why="the count includes those pairs already, and they are a quarter on top of the band: no factor of 2.",
        ),
        "B": Option(
            "The window consists of many small operations, and each of its FLOPs takes twice as long.",
            why="13 × 38 / 75 = 6.6: the count and the two rates together give the measured ratio. Nothing is left for "
            "the other reasons to explain.",
        ),
        "C": Option(
            "The fused kernel computes the masked half as well, so full attention does twice the counted work.",
            why="that would make full attention slower than counted and the gap larger, not smaller; and a kernel that "
            "takes twice as long without its mask does skip the half.",
        ),
        "D": Option(
            "At 8,192 tokens window attention has not yet reached its exponent of 1.",
            why="an exponent says how a time grows, not how long it is: a window that has reached 1 can still run at "
            "half the rate.",
        ),
    },
    answer="B",
)

REACH = CodeQuestion(
    id="06.4",
    objective="receptive-field",
    title="What several layers reach",
    points=3,
    minutes=10,
    difficulty=2,
    inputs=reach_inputs,
    reference=reach_reference,
    visible=[
        Case("two windows", T=12, layers=((4, 1), (5, 1))),
        Case("one dilated layer", T=12, layers=((3, 3),)),
        Case("dilated, then a window", T=20, layers=((3, 4), (2, 1))),
        Case("two strides", T=30, layers=((3, 6), (2, 2), (2, 2))),
        Case("no layer", T=4, layers=()),
        Case("longer than the text", T=7, layers=((4, 3),)),
    ],
    hidden=[
        Shapes(
            8,
            T=(12, 40),
            layers=[
                ((3, 5), (2, 2)),
                ((2, 4), (3, 3), (2, 1)),
                ((4, 2), (2, 2)),
                ((2, 3), (2, 7)),
                ((5, 3),),
            ],
        ),
        Shapes(2, T=(6, 9), layers=[((4, 5),)]),
    ],
    wrong={
        window_without_itself: "each layer reaches one key too far: its window counts the token itself.",
        one_key_short: "each layer reaches one key too little: how many does it see, itself included?",
        wrapped_around: "what lies before the text comes back at its end: what does a negative index mean?",
        stride_ignored: "you count keys as if they stood side by side: a stride sets them apart.",
        window_in_tokens: "your layers reach too little: w counts keys, not the tokens between them.",
        holes_filled: "you mark everything up to the furthest token: what stands between may be out of reach.",
        layers_side_by_side: "each layer starts from the last token again: what the layer below has reached is lost.",
        never_stays: "your layers always move back: may a token not read itself?",
        strides_filled: "a layer with a stride does not see every token of its stretch.",
        last_token_missing: "your result leaves the last token out, and everything else is one place off.",
        by_distance: "your result is indexed by distance: entry i belongs to token i, and the last one is itself.",
    },
    accepted=[reach_with_masks],
    outputs=("reached [T]",),
)

BLIND = ChoiceQuestion(
    id="06.5",
    objective="find-blind-spot",
    title="What two layers cannot see",
    points=1,
    minutes=4,
    difficulty=2,
    question="Two layers, both dilated with w = 4 and s = 2. Which change of a long text leaves the last token's "
    "output exactly as it was, whatever the weights are?",
    options={
        "A": Option(
            "Another word 12 tokens before the last one.",
            why="each layer reaches back up to 6 tokens, and 6 + 6 = 12: this word is the furthest that two see.",
        ),
        "B": Option(
            "Another word right before the last one.",
            why="every step goes back by an even number of tokens, so no number of such layers ever reaches an odd "
            "distance, the smallest one included.",
        ),
        "C": Option(
            "Another word 8 tokens before the last one.",
            why="no single layer sees it, but 2 + 6 = 8: one layer carries it to a token that the next one sees.",
        ),
        "D": Option(
            "None of these three: two layers see everything up to 12 tokens back.",
            why="12 is the furthest, but not all that is nearer is seen: list the distances that two steps can make.",
        ),
    },
    answer="B",
)

ROUTING = NumberQuestion(
    id="06.6",
    objective="count-cost",
    title="When choosing costs as much as reading",
    points=1,
    minutes=4,
    difficulty=1,
    question="For each token and head, choosing among blocks of m tokens costs D·T/m FLOPs on average over a text of T "
    "tokens, and reading k blocks costs 4D·k·m. With m = 64 and k = 4 they are equal at T = 65,536. Keep k = 4 and "
    "take blocks of m = 32: at which T are they equal now?",
    answer=16_384,
    unit="tokens",
    wrong={
        65_536: "that is the length for m = 64: put m = 32 into both terms.",
        4_096: "reading has lost a factor: a 4 stands in it, and k is 4 as well.",
        512: "an m has been lost: it stands on both sides, and not in the same place.",
        32_768: "only one of the two terms has been changed: m stands in both.",
        131_072: "smaller blocks are more blocks: choosing gets dearer, and reading cheaper.",
        262_144: "smaller blocks are more blocks: choosing gets dearer and reading cheaper, not the other way round.",
    },
)

VERDICT = ChoiceQuestion(
    id="06.7",
    objective="count-cost",
    title="The verdict on routed blocks",
    points=2,
    minutes=5,
    difficulty=2,
    question='"MoBA reads a fixed number of blocks for each token, so the time and the memory that one more token '
    'needs do not depend on how long the text is." Choose the verdict together with the reason that decides it.',
    options={
        "A": Option(
            "True: the products with the chosen blocks have the same size for every token.",
            why="that is so for reading, and it is not all that a token does: something decides which blocks are read.",
        ),
        "B": Option(
            "True: blocks that are not chosen can be deleted from the cache.",
            why="this token does not read them, but the next may: what is chosen depends on the query.",
        ),
        "C": Option(
            "False: a token may choose blocks that stand far away, and reading those takes longer.",
            why="a block is as large wherever it stands, and the products with it take the same FLOPs.",
        ),
        "D": Option(
            "False: every token scores all the earlier blocks, and any of these may be chosen later.",
            why="choosing compares T/m pairs for each token, and the cache holds T tokens: both have small constants, "
            "and both grow.",
        ),
        "E": Option(
            "False: in the worst case all tokens choose all blocks, which is full attention.",
            why="k is fixed beforehand, whatever the tokens say: no token reads more than its k blocks.",
        ),
    },
    answer="D",
)


QUESTIONS = [BIGBIRD, BANDED, GAP, REACH, BLIND, ROUTING, VERDICT]
