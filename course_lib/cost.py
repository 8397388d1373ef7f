"""What attention costs, as formulas: FLOPs, bytes, and the lengths at which one model overtakes the other.

Letters: B sequences of T tokens, H heads (H_kv key–value heads) of K key and V value channels, chunks of C
tokens, model width d. A multiply-add is 2 FLOPs, so a product [m, k] @ [k, n] costs 2mkn; exponentials,
divisions and additions of matrices are left out, as are the feature maps. Softmax attention grows with T²,
linear attention with T; where they meet depends on C, K and V alone. Chapters 01 and 08 derive the
formulas.
"""

from collections.abc import Sequence


def softmax_flops(B: int, T: int, H: int, K: int, V: int, causal: bool = True) -> int:
    """FLOPs of softmax attention forward.

    QKᵀ costs 2T²K and PV costs 2T²V a head; causal work that skips the masked half costs half of that
    (the diagonal's extra T/2 entries a row of blocks are left out: relative 1/T).
    """
    return B * H * T * T * (K + V) * (1 if causal else 2)


def linear_flops(B: int, T: int, H: int, K: int, V: int, C: int = 64) -> int:
    """FLOPs of the causal chunk form of linear attention forward.

    A chunk of c tokens: scores and their product with V inside, 2c²(K + V) (the mask is applied, not
    skipped); reading and writing the state, 2cKV each. There are T // C full chunks and a rest of T mod C
    tokens.
    The normaliser counts as one more value column: pass V + 1 to include it.
    """

    def one_chunk(c: int) -> int:
        return 2 * c * c * (K + V) + 4 * c * K * V

    return B * H * (T // C * one_chunk(C) + one_chunk(T % C))


def window_flops(B: int, T: int, H: int, K: int, V: int, window: int = 256, C: int = 64) -> int:
    """FLOPs of sliding-window attention forward: a block of C queries meets itself and the blocks its window touches.

    2(K + V) per pair of a query and a key of those blocks, whether or not the window hides the pair; so about
    2T(w + C)(K + V) a head.
    """
    reach = -(-(window - 1) // C)  # whole blocks before its own
    full, rest = divmod(T, C)
    young = min(
        full, reach + 1
    )  # blocks that have fewer than `reach` before them, and the first that has them all
    before = (
        young * (young - 1) // 2 + (full - young) * reach
    )  # the sum of min(n, reach) over the full blocks
    pairs = C * C * (full + before) + rest * (rest + C * min(full, reach))
    return 2 * B * H * pairs * (K + V)


def dilated_flops(
    B: int, T: int, H: int, K: int, V: int, window: int = 256, stride: int = 4, C: int = 64
) -> int:
    """FLOPs of dilated attention forward: `stride` classes of ⌈T / stride⌉ tokens, each with a plain window.

    As many as a plain window of the same number of keys, but for the edges: the stride buys reach, not time.
    """
    return window_flops(B, -(-T // stride), H * stride, K, V, window, C)


def global_window_flops(
    B: int,
    T: int,
    H: int,
    K: int,
    V: int,
    window: int = 256,
    global_tokens: Sequence[int] = (0,),
    C: int = 64,
) -> int:
    """FLOPs of global + window attention forward: the window's, and two products for each global token.

    Later blocks of queries meet its key, 2C(K + V) each, and its own query meets all keys up to the last global
    token: O(T·(w + G)) for G of them.
    """
    inside = [at for at in global_tokens if at < T]
    besides = 0
    for n in range(-(-T // C)):
        first_listed = max(0, (n * C - window + 1) // C) * C
        besides += min(C, T - n * C) * sum(at < first_listed for at in inside)
    pairs = besides + len(inside) * (max(inside, default=-1) + 1)
    return window_flops(B, T, H, K, V, window, C) + 2 * B * H * pairs * (K + V)


def bigbird_flops(
    B: int,
    T: int,
    H: int,
    K: int,
    V: int,
    block_size: int = 64,
    window_blocks: int = 2,
    global_blocks: int = 1,
    random_blocks: int = 1,
) -> int:
    """FLOPs of BigBird's pattern forward: 2(K + V) per pair of a query and a key of the blocks that its block meets.

    All of the first blocks, and window + global + random of them later on; the own block counts in full.
    """
    many = window_blocks + global_blocks + random_blocks
    sizes = [block_size] * (T // block_size) + [T % block_size] * (T % block_size > 0)
    pairs = sum(c * (c + block_size * min(n, many - 1)) for n, c in enumerate(sizes))
    return 2 * B * H * pairs * (K + V)


def block_sparse_flops(B: int, T: int, H: int, K: int, V: int, marked: int, block_size: int = 64) -> int:
    """FLOPs of block-sparse attention forward with `marked` blocks: 2·block²·(K + V) each, where block divides T."""
    return 2 * B * H * marked * block_size**2 * (K + V)


def moba_routing_flops(
    B: int, T: int, H: int, K: int, block_size: int = 64, top_k: int = 4, C: int = 64
) -> int:
    """FLOPs of MoBA's choice: a query and each mean key of the blocks before, 2K per pair, so ≈ K·T² / block a head.

    Quadratic, but block · (1 + V / K) times less than causal softmax. C queries are scored together, against the
    blocks before the own one of the last of them, and against as many as are chosen where those are fewer.
    """
    least = min(top_k - 1, (T - 1) // block_size)
    if least < 1:
        return 0  # nothing to choose
    starts = range(0, T, C)
    pairs = sum(min(C, T - at) * max(least, (min(at + C, T) - 1) // block_size) for at in starts)
    return 2 * B * H * K * pairs


def moba_flops(
    B: int, T: int, H: int, K: int, V: int, block_size: int = 64, top_k: int = 4, C: int = 64
) -> int:
    """FLOPs of MoBA forward: the choice, each query's own block, and the chosen blocks in tiles of C queries.

    A tile costs 2·C·block·(K + V), filled or not, and for each block of keys one may be short of queries. Where T is
    large the choice, which is quadratic, is most of the cost (`moba_routing_flops`).
    """
    sizes = [block_size] * (T // block_size) + [T % block_size] * (T % block_size > 0)
    pairs = sum(c * min(top_k - 1, n) for n, c in enumerate(sizes))
    tiles = (pairs + (len(sizes) - 1) * (C - 1)) // C if pairs else 0
    read = sum(c * c for c in sizes) + tiles * C * block_size
    return moba_routing_flops(B, T, H, K, block_size, top_k, C) + 2 * B * H * read * (K + V)


def delta_flops(B: int, T: int, H: int, K: int, V: int, C: int = 64) -> int:
    """FLOPs of the causal chunk form of the delta rule forward.

    A chunk of c tokens: products of keys with keys and of queries with keys, 4c²K; the inverse of a triangular c × c
    matrix by halves, 2c³/3 (c rounded up to a power of two); its product with the right-hand side and that of the
    query–key products with the solution, 4c²V; asking, reading and writing the state, 2cKV each.
    """

    def one_chunk(c: int) -> int:
        full = 1 << (c - 1).bit_length() if c else 0
        return 4 * c * c * (K + V) + 6 * c * K * V + 2 * full * (full * full - 1) // 3

    return B * H * (T // C * one_chunk(C) + one_chunk(T % C))


def rwkv7_flops(B: int, T: int, H: int, K: int, V: int, C: int = 64) -> int:
    """FLOPs of the causal chunk form of RWKV-7 forward: the delta rule's, and those of the separate write.

    The key of the write is not the key of the correction, so a chunk of c tokens needs two more products of keys,
    4c²K, their products with the values, 4c²V, and one more write to the state, 2cKV.
    """

    def one_chunk(c: int) -> int:
        return 4 * c * c * (K + V) + 2 * c * K * V

    return delta_flops(B, T, H, K, V, C) + B * H * (T // C * one_chunk(C) + one_chunk(T % C))


def scan_flops(B: int, T: int, H: int, K: int, V: int) -> int:
    """FLOPs of a selective scan over D = HV channels with N = K numbers of state each.

    Per number and token: ΔA, Δu·B, one multiply-add, and one multiply-add to read, 6 in all; exp is left out.
    """
    return 6 * B * T * (H * V) * K


def s4d_flops(B: int, T: int, H: int, K: int, V: int) -> int:
    """FLOPs of S4D's recurrence over D = HV channels with N = K modes each.

    Per mode and token, in complex numbers: one multiply-add, 8; B̄u, 2; and the real part of Ch added up, 4.
    """
    return 14 * B * T * (H * V) * K


def elementwise_flops(B: int, T: int, H: int, K: int, V: int) -> int:
    """FLOPs of HGRN over D = HV channels: one multiply-add per channel and token."""
    return 2 * B * T * H * V


def softmax_bytes_moved(
    B: int, T: int, H: int, K: int, V: int, itemsize: int = 4, fused: bool = False
) -> int:
    """Bytes between memory and processor for softmax attention forward.

    q, k, v are read and o is written: T(2K + 2V) numbers a head. The definition also writes the scores,
    reads them
    for the softmax, writes the probabilities and reads them for PV: 4T². A fused kernel keeps both on the
    chip.
    """
    return B * H * (T * (2 * K + 2 * V) + (0 if fused else 4 * T * T)) * itemsize


def linear_bytes_moved(
    B: int, T: int, H: int, K: int, V: int, C: int = 64, itemsize: int = 4, state_itemsize: int = 4
) -> int:
    """Bytes between memory and processor for the chunk form of linear attention forward.

    q, k, v are read and o is written: T(2K + 2V) numbers a head. Each of the ⌈T/C⌉ chunks reads the state and
    writes it back: 2KV numbers of `state_itemsize` bytes.
    """
    chunks = -(-T // C)
    return B * H * (T * (2 * K + 2 * V) * itemsize + chunks * 2 * K * V * state_itemsize)


def scores_bytes(B: int, T: int, H: int, itemsize: int = 4) -> int:
    """Bytes of the T×T scores of all heads: 400 MB a head at T = 10,000 in float32."""
    return B * H * T * T * itemsize


def naive_peak_bytes(B: int, T: int, H: int, itemsize: int = 4) -> int:
    """Peak bytes above the inputs of the definition: scores and probabilities live together, 2T² a head."""
    return 2 * scores_bytes(B, T, H, itemsize)


def online_peak_bytes(B: int, T: int, H: int, K: int, V: int, itemsize: int = 4) -> int:
    """Peak bytes above the inputs of one-pass softmax, T(K + 2V) a head: scaled q, and the output twice.

    The output is there twice because its blocks are joined. Scores of C × C come and go; they do not grow.
    """
    return B * H * T * (K + 2 * V) * itemsize


def linear_peak_bytes(B: int, T: int, H: int, V: int, itemsize: int = 4) -> int:
    """Peak bytes above the inputs of the chunk form, 2TV a head: the output twice, because its pieces are joined.

    Features, chunk products and the state come and go a piece at a time; they do not grow with T.
    """
    return 2 * B * H * T * V * itemsize


def cache_bytes(B: int, T: int, H_kv: int, K: int, V: int, layers: int = 1, itemsize: int = 2) -> int:
    """Bytes of a key–value cache: each layer keeps K + V numbers per token and key–value head."""
    return layers * B * T * H_kv * (K + V) * itemsize


def cache_bytes_per_token(H_kv: int, K: int, V: int, layers: int = 1, itemsize: int = 2) -> int:
    """Bytes that one more token of one sequence adds to the key–value cache of a model."""
    return cache_bytes(1, 1, H_kv, K, V, layers, itemsize)


def kept_cache_bytes(
    B: int, T: int, H_kv: int, K: int, V: int, budget: int, layers: int = 1, itemsize: int = 2
) -> int:
    """Bytes of a cache that keeps at most `budget` tokens: a window's w, or s sinks and a window's s + w."""
    return cache_bytes(B, min(T, budget), H_kv, K, V, layers, itemsize)


def heavy_hitter_bytes(
    B: int, T: int, H_kv: int, K: int, V: int, budget: int, layers: int = 1, itemsize: int = 2
) -> int:
    """Bytes of a cache of heavy hitters: `budget` tokens a head, each with its summed weight and its position.

    The sum takes 4 bytes, or 8 beside numbers of 8, and the position 4.
    """
    extra = max(itemsize, 4) + 4
    return kept_cache_bytes(B, T, H_kv, K, V, budget, layers, itemsize) + (
        layers * B * min(T, budget) * H_kv * extra
    )


def snapkv_bytes(
    B: int,
    prompt: int,
    generated: int,
    H_kv: int,
    K: int,
    V: int,
    budget: int,
    layers: int = 1,
    itemsize: int = 2,
) -> int:
    """Bytes of a cache that keeps `budget` tokens of its prompt and everything generated after it."""
    return cache_bytes(B, min(prompt, budget) + generated, H_kv, K, V, layers, itemsize)


def quantised_bytes(
    B: int,
    T: int,
    H_kv: int,
    K: int,
    V: int,
    bits: int,
    group: int = 32,
    residual: int = 128,
    layers: int = 1,
    itemsize: int = 2,
    per_channel: bool = True,
) -> int:
    """Bytes of a cache whose tokens have `bits` bits but for the newest `residual` to `residual + group − 1`.

    A group of tokens takes group·(K + V)·bits / 8 bytes a head, and two numbers of `itemsize` bytes, low and step, for
    each of its values and for each channel of its keys (`per_channel`) or each of its keys.
    """
    groups = max(T - residual, 0) // group
    steps = group + (K if per_channel else group)
    one_group = group * (K + V) * bits // 8 + 2 * steps * itemsize
    full = cache_bytes(B, T - groups * group, H_kv, K, V, layers, itemsize)
    return layers * B * H_kv * groups * one_group + full


def latent_bytes(B: int, T: int, d_c: int, d_rope: int, layers: int = 1, itemsize: int = 2) -> int:
    """Bytes of latent attention's cache: d_c + d_rope numbers per token and layer for all heads together."""
    return layers * B * T * (d_c + d_rope) * itemsize


def paged_bytes(
    B: int,
    T: int,
    H_kv: int,
    K: int,
    V: int,
    page_size: int = 16,
    shared: int = 0,
    layers: int = 1,
    itemsize: int = 2,
) -> int:
    """Bytes that pages reserve for B sequences of T tokens, the first `shared` of which lie in pages of them all.

    Only whole pages stay shared once every sequence has gone on from there.
    """
    own = -(-T // page_size) - shared // page_size
    pages = shared // page_size + B * own
    return cache_bytes(pages, page_size, H_kv, K, V, layers, itemsize)


def utilisation(lengths: Sequence[int], *, page_size: int | None = None, longest: int | None = None) -> float:
    """Tokens in use over tokens reserved, for sequences of these lengths.

    page_size: each has whole pages. longest: each has room for that many, and none is longer. Exactly one of them is
    given. Raises ValueError.
    """
    if (page_size is None) == (longest is None):
        raise ValueError(
            "give either page_size or longest: tokens are reserved by pages or up to a longest text"
        )
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths must be at least one length of at least 1, got {list(lengths)}")
    if longest is not None and max(lengths) > longest:
        raise ValueError(
            f"longest must be at least {max(lengths)}, the longest of the lengths, got {longest}"
        )
    reserved = (longest if page_size is None else -(-n // page_size) * page_size for n in lengths)
    return sum(lengths) / sum(reserved)


def cache_outgrows_weights(parameters: float, per_token: float, itemsize: int = 2) -> float:
    """Cached tokens, over all sequences of a batch, that weigh as much as the weights."""
    return parameters * itemsize / per_token


def decode_step_flops(B: int, T: int, H: int, K: int, V: int, parameters: int, layers: int = 1) -> int:
    """FLOPs of one decoding step of B sequences: 2 a weight and token, and 2T(K + V) a head over T cached tokens."""
    return B * (2 * parameters + layers * H * 2 * T * (K + V))


def decode_step_bytes(
    B: int, T: int, H_kv: int, K: int, V: int, parameters: int, layers: int = 1, itemsize: int = 2
) -> int:
    """Bytes that a decoding step reads: every weight once for the whole batch, and each sequence's own cache."""
    return parameters * itemsize + cache_bytes(B, T, H_kv, K, V, layers, itemsize)


def state_bytes(
    B: int, H: int, K: int, V: int, layers: int = 1, itemsize: int = 4, normalize: bool = True
) -> int:
    """Bytes of a linear model's state, whatever T: K×V numbers a head and layer, and K for the normaliser."""
    return layers * B * H * (K * V + (K if normalize else 0)) * itemsize


def layer_flops(T: int, d: int, causal: bool = True, mlp_ratio: int = 4) -> int:
    """FLOPs of a Transformer layer on T tokens: 24Td² + 2T²d (4T²d where the masked half is not skipped).

    Four d×d projections cost 8Td²; an MLP of width rd costs 4rTd², so 16Td² for r = 4. Attention is
    `softmax_flops` with H·K = H·V = d.
    """
    return (8 + 4 * mlp_ratio) * T * d * d + softmax_flops(1, T, 1, d, d, causal)


def attention_share(T: int, d: int, causal: bool = True, mlp_ratio: int = 4) -> float:
    """Part of a layer's FLOPs that attention takes, T / (T + 12d): 1.1 % at T = 100, d = 768.

    No mixer, however fast, can save more than this part.
    """
    return softmax_flops(1, T, 1, d, d, causal) / layer_flops(T, d, causal, mlp_ratio) if T else 0.0


def layer_crossover(d: int, causal: bool = True, mlp_ratio: int = 4) -> float:
    """Length at which attention costs what the rest of the layer costs: 24Td² = 2T²d, so T* = 12d.

    6d where the masked half is not skipped (4T²d)."""
    return (8 + 4 * mlp_ratio) * d / (2 if causal else 4)


def prefill_crossover(C: int, K: int, V: int) -> float:
    """Length at which causal softmax and the chunk form cost the same FLOPs.

    Per token and head T(K + V) = 2C(K + V) + 4KV, so T* = 2C + 4KV / (K + V), which is 2(C + D) for K = V =
    D.
    """
    return 2 * C + 4 * K * V / (K + V)


def decode_crossover(K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int) -> float:
    """Length at which a decoding step moves the same bytes with a cache as with a state.

    A step reads T·H_kv·(K + V) cached numbers of `b_cache` bytes, or reads and writes H·K·V of `b_state`
    bytes: T* = 2KV / (K + V) · (b_state / b_cache) · (H / H_kv), and 2KV / (K + V) = D for K = V = D.
    """
    return 2 * memory_crossover(K, V, b_state, b_cache, H, H_kv)


def memory_crossover(
    K: int, V: int, b_state: int, b_cache: int, H: int, H_kv: int, normalize: bool = False
) -> float:
    """Length at which the cache is as large as the state: T·H_kv·(K + V)·b_cache = H·K·V·b_state.

    Half of `decode_crossover`, since a state is stored once but moved twice. `normalize` adds the
    normaliser's K numbers a head to the state.
    """
    numbers = K * V + (K if normalize else 0)
    return numbers / (K + V) * (b_state / b_cache) * (H / H_kv)
