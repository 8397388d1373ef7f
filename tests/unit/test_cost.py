"""The formulas of cost.py against counts made without them, and the closed forms that the chapters quote."""

from functools import partial

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from course_lib import cost
from course_lib.attention import (
    REGISTRY,
    bigbird_attention,
    block_sparse_attention,
    dilated_attention,
    global_window_attention,
    linear_attention,
    moba,
    sliding_window_attention,
    softmax_attention,
)
from course_lib.models import Block

B, T, H, K, V, C = 2, 23, 3, 4, 6, 5


def qkv(B=B, T=T, H=H, K=K, V=V):
    return [torch.ones(B, T, H, n) for n in (K, K, V)]


def counted_flops(fn):
    with FlopCounterMode(display=False) as counter:
        fn()
    return counter.get_total_flops()


class CountBytes(TorchDispatchMode):
    """Bytes that operations read and write, views free: nothing is kept between two operations."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [x for x in tree_leaves((args, out)) if isinstance(x, torch.Tensor)]
            self.total += sum(x.numel() * x.element_size() for x in tensors)
        return out


class PeakBytes(TorchDispatchMode):
    """Peak bytes of living storages that were made inside."""

    def __init__(self):
        super().__init__()
        self.alive, self.peak = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {
            x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)
        }
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            storage = x.untyped_storage() if isinstance(x, torch.Tensor) else None
            if storage is not None and storage._cdata not in given:
                self.alive[storage._cdata] = (
                    StorageWeakRef(storage),
                    len(storage),
                )
        self.alive = {key: (ref, n) for key, (ref, n) in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(n for _, n in self.alive.values()))
        return out


def peak_bytes(fn, *inputs, **options):
    with torch.no_grad(), PeakBytes() as mode:
        fn(*inputs, **options)
    return mode.peak


def test_softmax_flops_of_the_definition():
    counted = counted_flops(lambda: softmax_attention(*qkv(), mode="parallel", causal=False))
    assert counted == cost.softmax_flops(B, T, H, K, V, causal=False)


def test_causal_flops_are_the_pairs_that_are_seen_but_for_the_diagonal():
    pairs = sum(1 for t in range(T) for i in range(T) if i <= t)
    exact = B * H * pairs * 2 * (K + V)
    assert exact - cost.softmax_flops(B, T, H, K, V) == B * H * T * (K + V)


@pytest.mark.parametrize("T", [1, C, T, 4 * C])
def test_linear_flops_of_the_chunk_form(T):
    plain = counted_flops(lambda: linear_attention(*qkv(T=T), chunk_size=C, normalize=False))
    assert plain == cost.linear_flops(B, T, H, K, V, C)
    normalised = counted_flops(lambda: linear_attention(*qkv(T=T), chunk_size=C))
    assert normalised == cost.linear_flops(B, T, H, K, V + 1, C)


@pytest.mark.parametrize("T", [1, C, T, 4 * C])
@pytest.mark.parametrize(
    ("name", "predicted"),
    [
        ("gla", cost.linear_flops),
        ("delta_rule", cost.delta_flops),
        ("kda", cost.delta_flops),
        ("rwkv7", cost.rwkv7_flops),
    ],
)
def test_flops_of_the_other_chunk_forms(name, predicted, T):
    row = REGISTRY[name]
    counted = counted_flops(lambda: row.fn(**row.example(B, T, H, K, V), chunk_size=C))
    assert counted == predicted(B, T, H, K, V, C)


@pytest.mark.parametrize("window", [1, 2, C, C + 2, T])
@pytest.mark.parametrize("T", [1, C, T, 4 * C])
def test_flops_of_the_window(T, window):
    counted = counted_flops(lambda: sliding_window_attention(*qkv(T=T), window=window, chunk_size=C))
    assert counted == cost.window_flops(B, T, H, K, V, window, C)


@pytest.mark.parametrize("options", [{"window": 4, "stride": 3}, {"window": 1, "stride": 2}, {}])
@pytest.mark.parametrize("T", [1, C, T, 4 * C])
def test_flops_of_the_dilated_window(T, options):
    counted = counted_flops(lambda: dilated_attention(*qkv(T=T), chunk_size=C, **options))
    assert counted == cost.dilated_flops(B, T, H, K, V, C=C, **options)


@pytest.mark.parametrize(
    "options", [{"window": 4, "global_tokens": (0, 1, 9, 22, 30)}, {"window": 1, "global_tokens": ()}, {}]
)
@pytest.mark.parametrize("T", [1, C, T, 4 * C])
def test_flops_of_global_tokens_and_a_window(T, options):
    counted = counted_flops(lambda: global_window_attention(*qkv(T=T), chunk_size=C, **options))
    assert counted == cost.global_window_flops(B, T, H, K, V, C=C, **options)


@pytest.mark.parametrize("counts", [(2, 1, 1), (1, 0, 0), (2, 2, 9), (3, 0, 2)])
@pytest.mark.parametrize("T", [1, C, T, 4 * C])
def test_flops_of_bigbird(T, counts):
    options = dict(zip(("window_blocks", "global_blocks", "random_blocks"), counts, strict=True))
    counted = counted_flops(lambda: bigbird_attention(*qkv(T=T), block_size=C, **options))
    assert counted == cost.bigbird_flops(B, T, H, K, V, C, **options)


def test_flops_of_given_blocks():
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    mask[3, 1] = False
    counted = counted_flops(lambda: block_sparse_attention(*qkv(T=4 * C), block_mask=mask, block_size=C))
    assert counted == cost.block_sparse_flops(B, 4 * C, H, K, V, marked=9, block_size=C)


@pytest.mark.parametrize("options", [{"block_size": 4, "top_k": 3}, {"block_size": 7, "top_k": 1}, {}])
@pytest.mark.parametrize("T", [1, C, T, 4 * C, 70])
def test_flops_of_moba(T, options):
    counted = counted_flops(lambda: moba(*qkv(T=T), chunk_size=C, **options))
    assert counted == cost.moba_flops(B, T, H, K, V, C=C, **options)


def test_choosing_blocks_is_quadratic_with_a_small_constant():
    T, block = 2**16, 64
    routing = cost.moba_routing_flops(1, T, 1, 64, block)
    assert routing == pytest.approx(64 * T**2 / block, rel=1e-2)
    assert cost.softmax_flops(1, T, 1, 64, 64) / routing == pytest.approx(2 * block, rel=1e-2)
    share = [
        cost.moba_routing_flops(1, T, 1, 64) / cost.moba_flops(1, T, 1, 64, 64) for T in (2**12, 2**16, 2**20)
    ]
    assert share == sorted(share)
    assert share[0] < 0.1
    assert share[2] > 0.8


def test_flops_that_no_matrix_product_makes():
    assert cost.scan_flops(2, 10, 3, 4, 5) == 6 * (2 * 10 * 15 * 4)
    assert cost.elementwise_flops(2, 10, 3, 4, 5) == 2 * (2 * 10 * 15)
    assert cost.s4d_flops(2, 10, 3, 4, 5) == 14 * (2 * 10 * 15 * 4)


def test_bytes_moved_by_the_definition():
    q, k, v = (x.transpose(1, 2).contiguous().flatten(0, 1) for x in qkv())
    with torch.no_grad(), CountBytes() as count:
        torch.bmm(torch.bmm(q, k.mT).softmax(-1), v)
    assert count.total == cost.softmax_bytes_moved(B, T, H, K, V)
    saved = count.total - cost.softmax_bytes_moved(B, T, H, K, V, fused=True)
    assert saved == 4 * T * T * B * H * 4


@pytest.mark.parametrize("T", [1, C, T])
def test_bytes_moved_by_the_chunk_form(T):
    """An ideal kernel: a chunk loads its q, k, v and the state, and stores its o and the state."""
    tokens = [torch.ones(B, H, T, n).split(C, dim=2) for n in (K, K, V, V)]
    state = torch.ones(B, H, K, V)
    numbers = sum(sum(x.numel() for x in chunk) + 2 * state.numel() for chunk in zip(*tokens, strict=True))
    assert cost.linear_bytes_moved(B, T, H, K, V, C) == 4 * numbers
    halved = cost.linear_bytes_moved(B, T, H, K, V, C, itemsize=2)
    assert halved == 2 * numbers + 2 * 2 * state.numel() * -(-T // C)


def test_peak_of_the_definition_grows_with_two_square_matrices():
    """The rest (scaled q; q, k, v laid out for products) is linear in T: a second difference removes it."""

    def second_difference(f):
        return f(300) - 2 * f(200) + f(100)

    measured = second_difference(lambda T: peak_bytes(softmax_attention, *qkv(T=T), mode="parallel"))
    assert measured == second_difference(lambda T: cost.naive_peak_bytes(B, T, H))
    assert cost.naive_peak_bytes(B, 300, H) == 2 * cost.scores_bytes(B, 300, H) == 2 * 4 * B * H * 300 * 300


def test_peak_of_one_pass_softmax_grows_with_T():
    """For T·V ≫ C², KV the peak is at the joining of the output. The rest: C-row pieces."""
    B, H, K, V, C = 2, 1, 32, 48, 32
    shapes = [(B, T, H, K, V) for T in (512, 1024)]
    measured = [peak_bytes(softmax_attention, *qkv(*shape), chunk_size=C) for shape in shapes]
    predicted = [cost.online_peak_bytes(*shape) for shape in shapes]
    assert measured[1] - measured[0] == predicted[1] - predicted[0]
    assert 0 <= measured[0] - predicted[0] <= 4 * B * H * (2 * K + 2 * C) * (V + 1)


def test_peak_of_linear_attention_grows_with_the_output_alone():
    """The rest is one piece of 16 chunks: features, values, products, states."""
    B, H, K, V, C = 2, 1, 32, 48, 4
    measured = [peak_bytes(linear_attention, *qkv(B, T, H, K, V), chunk_size=C) for T in (512, 1024)]
    predicted = [cost.linear_peak_bytes(B, T, H, V) for T in (512, 1024)]
    assert measured[1] - measured[0] == predicted[1] - predicted[0]
    assert 0 <= measured[0] - predicted[0] <= 4 * B * H * 16 * C * (4 * K + 4 * V)


def test_carried_bytes_are_the_bytes_of_what_is_carried():
    _, cache = softmax_attention(*qkv(), output_final_state=True)
    assert cost.cache_bytes(B, T, H, K, V, itemsize=4) == sum(x.nbytes for x in cache)
    _, state = linear_attention(*qkv(), output_final_state=True)
    assert cost.state_bytes(B, H, K, V) == sum(x.nbytes for x in state)
    _, S = linear_attention(*qkv(), output_final_state=True, normalize=False)
    assert cost.state_bytes(B, H, K, V, layers=12, normalize=False) == 12 * S.nbytes


@pytest.mark.parametrize("mlp_ratio", [2, 4])
def test_layer_flops_of_a_real_block(mlp_ratio):
    block = Block(24, 4, mode="parallel", mlp_ratio=mlp_ratio)
    counted = counted_flops(lambda: block(torch.ones(1, T, 24)))
    assert counted == cost.layer_flops(T, 24, causal=False, mlp_ratio=mlp_ratio)


def test_layer_flops_as_written():
    for d in (64, 768, 4096):
        assert cost.layer_flops(100, d) == 24 * 100 * d * d + 2 * 100 * 100 * d
        assert cost.layer_flops(100, d, causal=False) == 24 * 100 * d * d + 4 * 100 * 100 * d


@pytest.mark.parametrize(("causal", "factor"), [(True, 12), (False, 6)])
def test_attention_is_half_of_the_layer_where_they_cross(causal, factor):
    assert cost.layer_crossover(768, causal) == factor * 768
    assert cost.attention_share(factor * 768, 768, causal) == 0.5


def test_figures_that_the_chapters_quote():
    assert round(100 * cost.attention_share(10_000, 4096)) == 17
    assert round(100 * cost.attention_share(100, 768), 1) == 1.1
    assert cost.scores_bytes(1, 10_000, 1) == 400_000_000
    assert cost.prefill_crossover(64, 64, 64) == 256
    assert cost.decode_crossover(128, 128, b_state=4, b_cache=2, H=8, H_kv=1) == 2048
    assert cost.memory_crossover(128, 128, b_state=4, b_cache=2, H=8, H_kv=1) == 1024


@pytest.mark.parametrize(("C", "K", "V"), [(64, 64, 64), (32, 48, 96), (16, 16, 48)])
def test_prefill_crossover_is_where_the_counts_are_equal(C, K, V):
    T = cost.prefill_crossover(C, K, V)
    assert T % C == 0  # so that no rest of a chunk blurs the comparison
    T = int(T)
    assert cost.softmax_flops(1, T, 1, K, V) == cost.linear_flops(1, T, 1, K, V, C)


@pytest.mark.parametrize(("H", "H_kv", "b_cache"), [(8, 8, 4), (8, 1, 2), (32, 8, 1)])
@pytest.mark.parametrize("normalize", [True, False])
def test_memory_and_decode_cross_where_the_bytes_are_equal(H, H_kv, b_cache, normalize):
    K, V = 48, 96
    sizes = partial(cost.cache_bytes, B=1, H_kv=H_kv, K=K, V=V, itemsize=b_cache)
    state = cost.state_bytes(1, H, K, V, normalize=normalize)
    assert sizes(T=cost.memory_crossover(K, V, 4, b_cache, H, H_kv, normalize)) == pytest.approx(state)
    moved = 2 * cost.state_bytes(1, H, K, V, normalize=False)
    assert sizes(T=cost.decode_crossover(K, V, 4, b_cache, H, H_kv)) == pytest.approx(moved)


def test_no_tokens_cost_nothing():
    assert cost.softmax_flops(1, 0, 1, 8, 8) == cost.linear_flops(1, 0, 1, 8, 8) == 0
    assert cost.attention_share(0, 64) == 0


def test_the_cache_of_a_model_is_its_tokens_together():
    per_token = cost.cache_bytes_per_token(8, 128, 128, layers=32)
    assert per_token == 2**17
    assert cost.cache_bytes(3, 100, 8, 128, 128, layers=32) == 300 * per_token
    assert cost.cache_outgrows_weights(8e9, per_token) * per_token == 16e9


def test_sizes_of_smaller_caches_by_hand():
    """Two layers of two sequences with 8 heads of 128 in 16 bits: a token of all takes 2·2·8·256·2 bytes."""
    model = {"B": 2, "H_kv": 8, "K": 128, "V": 128, "layers": 2}
    token = 2 * 2 * 8 * 256 * 2
    assert cost.kept_cache_bytes(T=1000, budget=100, **model) == 100 * token
    assert cost.kept_cache_bytes(T=50, budget=100, **model) == 50 * token
    assert cost.heavy_hitter_bytes(T=1000, budget=100, **model) == 100 * (token + 2 * 2 * 8 * (4 + 4))
    assert cost.snapkv_bytes(prompt=1000, generated=7, budget=100, **model) == 107 * token
    groups = (1000 - 128) // 32
    one_group = 32 * 256 // 2 + 2 * 2 * (128 + 32)  # codes of half a byte; low and step in two bytes
    quantised = 2 * 2 * 8 * groups * one_group + (1000 - 32 * groups) * token
    assert cost.quantised_bytes(T=1000, bits=4, **model) == quantised
    assert cost.latent_bytes(1, 1, d_c=512, d_rope=64, layers=60) == 60 * 576 * 2
    assert cost.paged_bytes(T=1000, page_size=16, **model) == 63 * 16 * token
    assert cost.paged_bytes(T=1000, page_size=16, shared=100, **model) == (6 + 2 * 57) * 16 * token // 2


def test_utilisation_by_hand():
    assert cost.utilisation([10, 30], longest=100) == 0.2
    assert cost.utilisation([10, 30], page_size=16) == 40 / 48
    for arguments, words in (
        ({}, "either page_size or longest"),
        ({"page_size": 4, "longest": 40}, "either page_size or longest"),
        ({"longest": 20}, "longest must be at least 30"),
    ):
        with pytest.raises(ValueError, match=words):
            cost.utilisation([10, 30], **arguments)
    with pytest.raises(ValueError, match="lengths must be at least one length"):
        cost.utilisation([], page_size=4)


def test_a_decoding_step_is_a_matrix_product_and_a_read_of_the_cache():
    """Counted by torch: one weight matrix, one layer of attention over T cached tokens, for B sequences."""
    W, x = torch.ones(7, 9), torch.ones(B, 7)
    q, k, v = torch.ones(B, 1, H, K), torch.ones(B, T, H, K), torch.ones(B, T, H, V)

    def step():
        x @ W
        softmax_attention(q, k, v, mode="parallel")

    assert counted_flops(step) == cost.decode_step_flops(B, T, H, K, V, parameters=W.numel())
    held = sum(tensor.numel() * 4 for tensor in (W, k, v))
    assert held == cost.decode_step_bytes(B, T, H, K, V, parameters=W.numel(), itemsize=4)
