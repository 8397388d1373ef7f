"""Bad calls of the gated, correcting and state-space mixers: the error names the argument, what came, what to do."""

import re

import pytest
import torch

from course_lib.attention import REGISTRY, block_sparse_attention, causal_mask, mixer, receptive_field
from course_lib.models import Block, interleave

B, T, H, K, V = 2, 5, 4, 3, 6


def good(name, **changes):
    """A call that works, with the changes that should break it."""
    row = mixer(name)
    tensors = row.example(B, T, H, K, V, H // 2 if row.kv_groups else None)
    return lambda: row.fn(**(tensors | changes))


def step(name, **changes):
    row = mixer(name)
    tensors = row.example(B, T, H, K, V, H // 2 if row.kv_groups else None)
    return lambda: row.step(**(row.token(tensors, 0) | changes))


def blocks(mask):
    """Block-sparse attention with this mask of blocks of 2."""
    tensors = mixer("moba").example(B, T, H, K, V)
    return lambda: block_sparse_attention(**tensors, block_mask=mask, block_size=2)


S = torch.zeros(B, H, K, V)
TOKENS, HEADS = torch.zeros(B, T, H, K), torch.zeros(B, T, H)
BAD_CALLS = {
    "no g": (good("simple_gla", g=None), TypeError, "g must be a torch.Tensor [B, T, H], got NoneType"),
    "channel gates": (
        good("simple_gla", g=TOKENS),
        ValueError,
        "g must have 3 axes [B, T, H], got 4 axes [2, 5, 4, 3]",
    ),
    "head gates": (good("gla", g=HEADS), ValueError, "g must have 4 axes [B, T, H, K], got 3 axes [2, 5, 4]"),
    "gates of another length": (
        good("gla", g=TOKENS[:, :4]),
        ValueError,
        "g must have the shape [B, T, H, K] = [2, 5, 4, 3], got [2, 4, 4, 3]",
    ),
    "gates above 0": (
        good("gla", g=TOKENS + 0.5),
        ValueError,
        "g must be at most 0, got 0.5: it is the log of a decay",
    ),
    "one gate above 0": (
        good("hgrn2", g=TOKENS.index_fill(1, torch.tensor(3), 2.0)),
        ValueError,
        "at most 0, got 2",
    ),
    "integer gates": (
        good("kda", g=TOKENS.long()),
        TypeError,
        "g must be a floating-point tensor, got torch.int64",
    ),
    "gates elsewhere": (good("gla", g=TOKENS.to("meta")), ValueError, "g must be on cpu, got meta"),
    "gates of retention": (good("retention", g=HEADS), ValueError, "g must be None: retention has no g"),
    "gates of lightning": (
        good("lightning_attention", g=HEADS),
        ValueError,
        "g must be None: lightning_attention",
    ),
    "gates of the delta rule": (
        good("delta_rule", g=HEADS),
        ValueError,
        "g must be None: delta_rule has no g",
    ),
    "beta of gla": (good("gla", beta=HEADS), ValueError, "beta must be None: gla has no beta"),
    "beta of simple gla": (
        good("simple_gla", beta=HEADS),
        ValueError,
        "beta must be None: simple_gla has no beta",
    ),
    "no beta": (
        good("delta_rule", beta=None),
        TypeError,
        "beta must be a torch.Tensor [B, T, H], got NoneType",
    ),
    "beta below 0": (good("kda", beta=HEADS - 0.1), ValueError, "beta must lie between 0 and 2, got -0.1"),
    "beta above 2": (
        good("gated_delta_rule", beta=HEADS + 2.5),
        ValueError,
        "beta must lie between 0 and 2, got 2.5",
    ),
    "beta per channel": (
        good("delta_rule", beta=TOKENS),
        ValueError,
        "beta must have 3 axes [B, T, H], got 4 axes",
    ),
    "not causal": (
        good("gla", causal=False),
        ValueError,
        "causal must be True, got False: gla reads the past in order",
    ),
    "window not causal": (good("sliding_window_attention", causal=False), ValueError, "causal must be True"),
    "no window": (good("sliding_window_attention", window=0), ValueError, "window must be at least 1, got 0"),
    "float window": (
        good("sliding_window_attention", window=8.0),
        TypeError,
        "window must be an integer, got float",
    ),
    "cache wider than the window": (
        good(
            "sliding_window_attention",
            window=4,
            initial_state=(torch.zeros(B, 4, 2, K), torch.zeros(B, 4, 2, V)),
        ),
        ValueError,
        "initial_state must hold at most window − 1 = 3 tokens, got 4",
    ),
    "no stride": (good("dilated_attention", stride=0), ValueError, "stride must be at least 1, got 0"),
    "cache wider than the dilated window": (
        step(
            "dilated_attention", window=3, stride=2, state=(torch.zeros(B, 5, 2, K), torch.zeros(B, 5, 2, V))
        ),
        ValueError,
        "state must hold at most (window − 1) · stride = 4 tokens, got 5",
    ),
    "a global mask": (
        good("global_window_attention", global_tokens=torch.ones(T)),
        TypeError,
        "global_tokens must be a sequence of integers such as (0, 1), got Tensor",
    ),
    "one global token": (
        good("global_window_attention", global_tokens=0),
        TypeError,
        "global_tokens must be a sequence of integers such as (0, 1), got int",
    ),
    "global tokens from the end": (
        good("global_window_attention", global_tokens=(0, -1)),
        ValueError,
        "global_tokens must be positions from 0 on, got -1",
    ),
    "half a global token": (
        good("global_window_attention", global_tokens=(0.5,)),
        TypeError,
        "global_tokens must hold integers, got float",
    ),
    "no window of blocks": (
        good("bigbird_attention", window_blocks=0),
        ValueError,
        "window_blocks must be at least 1, got 0",
    ),
    "fewer than no random blocks": (
        good("bigbird_attention", random_blocks=-1),
        ValueError,
        "random_blocks must be at least 0, got -1",
    ),
    "a seed in words": (good("bigbird_attention", seed="x"), TypeError, "seed must be an integer, got str"),
    "no blocks to choose": (good("moba", top_k=0), ValueError, "top_k must be at least 1, got 0"),
    "half a block": (good("moba", block_size=0.5), TypeError, "block_size must be an integer, got float"),
    "moba not causal": (good("moba", causal=False), ValueError, "causal must be True, got False: moba"),
    "gates of bigbird": (
        good("bigbird_attention", g=HEADS),
        ValueError,
        "g must be None: bigbird_attention has no g",
    ),
    "moba with a step of a sequence": (
        step("moba", q=torch.zeros(B, T, H, K)),
        ValueError,
        "q must have 3 axes [B, H, K], got 4 axes",
    ),
    "a mask of numbers": (
        blocks(torch.ones(3, 3)),
        TypeError,
        "block_mask must be boolean [N, N], got torch.float32",
    ),
    "a mask that is no square": (
        blocks(torch.ones(3, 4, dtype=torch.bool)),
        ValueError,
        "block_mask must have the shape [N, N]",
    ),
    "a mask that is too short": (
        blocks(torch.eye(2, dtype=torch.bool)),
        ValueError,
        "block_mask must cover T = 5 tokens, got 2 blocks of block_size = 2",
    ),
    "a mask of the future": (
        blocks(torch.ones(3, 3, dtype=torch.bool)),
        ValueError,
        "block_mask must be False above its diagonal, got True",
    ),
    "a mask that shows nothing": (
        blocks(torch.eye(3, dtype=torch.bool) & (torch.arange(3) != 1)),
        ValueError,
        "block_mask must show every block of queries some block of keys, got none in row 1",
    ),
    "no layers": (receptive_field, ValueError, "masks must be at least one boolean [T, T] tensor, got none"),
    "layers of two lengths": (
        lambda: receptive_field(causal_mask(3), causal_mask(4)),
        ValueError,
        "masks must have the shape [T, T], one for all, got [4, 4] beside [3, 3]",
    ),
    "a mask of half a token": (lambda: causal_mask(0.5), TypeError, "T must be an integer, got float"),
    "a mask of fewer than no tokens": (lambda: causal_mask(-1), ValueError, "T must be at least 0, got -1"),
    "window of packed caches": (
        lambda: mixer("sliding_window_attention").fn(
            *mixer("sliding_window_attention").example(1, T, H, K, V).values(),
            cu_seqlens=torch.tensor([0, T]),
            output_final_state=True,
        ),
        ValueError,
        "initial_state and output_final_state must be unset with cu_seqlens",
    ),
    "layer": (
        good("lightning_attention", layer=6, layers=6),
        ValueError,
        "layer must be at least 0 and below layers = 6",
    ),
    "mode": (
        good("kda", mode="fast"),
        ValueError,
        "mode must be one of 'parallel', 'recurrent', 'chunk', got 'fast'",
    ),
    "mode of s4d": (
        good("s4d", mode="parallel"),
        ValueError,
        "mode must be one of 'recurrent', 'chunk', 'convolution'",
    ),
    "chunk": (good("gla", chunk_size=0), ValueError, "chunk_size must be at least 1, got 0"),
    "state of another head": (
        good("gla", initial_state=S[:, :1]),
        ValueError,
        "initial_state: S must have the shape [2, 4, 3, 6], got [2, 1, 3, 6]",
    ),
    "state in bfloat16": (
        good("delta_rule", initial_state=S.bfloat16()),
        TypeError,
        "initial_state: S must be torch.float32, got torch.bfloat16",
    ),
    "state of a tuple": (
        good("rwkv7", initial_state=(S, S)),
        TypeError,
        "initial_state: S must be a torch.Tensor, got tuple",
    ),
    "state of mamba": (
        good("selective_scan", initial_state=S),
        ValueError,
        "initial_state: h must have the shape [2, 24, 3], got [2, 4, 3, 6]",
    ),
    "real state of s4d": (
        good("s4d", initial_state=torch.zeros(B, H * V, K)),
        TypeError,
        "initial_state: h must be torch.complex64, got torch.float32",
    ),
    "receptance of another head size": (
        good("rwkv6", r=torch.ones(B, T, H, 7)),
        ValueError,
        "k must have the head size K = 7 of r, got 3",
    ),
    "receptance that is no tensor": (good("rwkv7", r=[1.0]), TypeError, "r must be a torch.Tensor, got list"),
    "decay of rwkv": (good("rwkv7", w=TOKENS + 1), ValueError, "w must be at most 0, got 1"),
    "bonus": (good("rwkv6", u=torch.ones(H)), ValueError, "u must have 2 axes [H, K], got 1 axes [4]"),
    "removal": (
        good("rwkv7", a=TOKENS[..., :2]),
        ValueError,
        "a must have the shape [B, T, H, K] = [2, 5, 4, 3]",
    ),
    "write of the answer": (
        good("rwkv7", b=None),
        TypeError,
        "b must be a torch.Tensor [B, T, H, K], got NoneType",
    ),
    "heads of hgrn2": (
        good("hgrn2", v=torch.ones(B, T, 2, V)),
        ValueError,
        "v must have the 4 heads of q, got 2",
    ),
    "gates of hgrn": (
        good("hgrn", g=torch.zeros(B, T, 1)),
        ValueError,
        "g must have the shape [B, T, D] = [2, 5, 24]",
    ),
    "x of hgrn": (
        good("hgrn", x=torch.ones(B, 24)),
        ValueError,
        "x must have 3 axes [B, T, D], got 2 axes [2, 24]",
    ),
    "negative step": (
        good("ssd", dt=HEADS - 1),
        ValueError,
        "dt must be at least 0, got -1: it is the step after the softplus",
    ),
    "growing A of ssd": (good("ssd", A=torch.ones(H)), ValueError, "A must be at most 0, got 1"),
    "A of other heads": (
        good("ssd", A=torch.zeros(3)),
        ValueError,
        "A must have the shape [H] = [4], got [3]",
    ),
    "groups of ssd": (
        good("ssd", B=torch.ones(B, T, 3, K), C=torch.ones(B, T, 3, K)),
        ValueError,
        "B must have a number of groups that divides the 4 heads of x, got 3",
    ),
    "C unlike B": (
        good("ssd", C=torch.ones(B, T, 1, K)),
        ValueError,
        "C must have the shape [B, T, G, N] = [2, 5, 2, 3]",
    ),
    "skip of ssd": (good("ssd", D=torch.ones(3)), ValueError, "D must have the shape [H] = [4], got [3]"),
    "negative delta": (
        good("selective_scan", delta=-torch.ones(B, T, H * V)),
        ValueError,
        "delta must be at least 0, got -1",
    ),
    "A of mamba": (
        good("selective_scan", A=torch.zeros(3, K)),
        ValueError,
        "A must have the shape [D, N] = [24, 3], got [3, 3]",
    ),
    "B of mamba": (
        good("selective_scan", B=torch.ones(B, T, 9)),
        ValueError,
        "B must have the shape [B, T, N] = [2, 5, 3]",
    ),
    "real A of s4d": (
        good("s4d", A=torch.zeros(24, K)),
        TypeError,
        "A must be a complex tensor [D, N], got torch.float32",
    ),
    "growing A of s4d": (
        good("s4d", A=torch.ones(24, K, dtype=torch.complex64)),
        ValueError,
        "A must have real parts of at most 0, got 1",
    ),
    "C of other modes": (
        good("s4d", C=torch.ones(24, 9, dtype=torch.complex64)),
        ValueError,
        "B and C must have the shape of A, [24, 3], got [24, 3], [24, 9]",
    ),
    "channels of s4d": (
        good("s4d", B=torch.ones(9, K, dtype=torch.complex64)),
        ValueError,
        "B must have the shape [D, N] with D = 24, got [9, 3]",
    ),
    "step gate": (
        step("gla", g=HEADS[:, 0] + 0.0),
        ValueError,
        "g must have 3 axes [B, H, K], got 2 axes [2, 4]",
    ),
    "step beta": (step("kda", beta=3 + HEADS[:, 0]), ValueError, "beta must lie between 0 and 2, got 3"),
    "step state": (
        step("ssd", state=S[:1]),
        ValueError,
        "state: S must have the shape [2, 4, 3, 6], got [1, 4, 3, 6]",
    ),
    "step of a sequence": (
        step("hgrn", x=torch.ones(B, T, 24)),
        ValueError,
        "x must have 2 axes [B, D], got 3 axes",
    ),
    "packed gates": (
        good("gla", cu_seqlens=torch.tensor([0, 2, 5])),
        ValueError,
        "cu_seqlens needs B = 1, got B = 2",
    ),
    "output_final_state in words": (
        good("gla", output_final_state="no"),
        TypeError,
        "output_final_state must be True or False, got 'no'",
    ),
    "qk_norm in words": (good("kda", qk_norm="no"), TypeError, "qk_norm must be True or False, got 'no'"),
    "normalize in words": (
        good("linear_attention", normalize=1),
        TypeError,
        "normalize must be True or False, got 1",
    ),
    "feature map in a list": (
        good("linear_attention", feature_map=["elu"]),
        ValueError,
        "feature_map must be one of 'elu', 'relu', 'identity', 'taylor' or a callable, got ['elu']",
    ),
    "layer in words": (
        good("lightning_attention", layer="a"),
        TypeError,
        "layer must be an integer, got str",
    ),
    "receptance of another length": (
        good("rwkv6", r=torch.ones(B, 3, H, K), w=torch.zeros(B, 3, H, K)),
        ValueError,
        "r must have the length T = 5 of k, got 3",
    ),
    "v of hgrn2 in another precision": (
        good("hgrn2", v=torch.ones(B, T, H, V).double()),
        TypeError,
        "q, v must have one dtype, got q torch.float32, v torch.float64",
    ),
    "B of ssd in another precision": (
        good("ssd", B=torch.ones(B, T, 2, K).double()),
        TypeError,
        "B must have the dtype of x, torch.float32, got torch.float64",
    ),
    "C of mamba in another precision": (
        good("selective_scan", C=torch.ones(B, T, K).half()),
        TypeError,
        "C must have the dtype of u, torch.float32, got torch.float16",
    ),
    "ssd without heads": (
        good(
            "ssd",
            x=torch.ones(B, T, 0, V),
            dt=torch.ones(B, T, 0),
            A=torch.zeros(0),
            D=torch.ones(0),
        ),
        ValueError,
        "x must have at least one head, got 0",
    ),
    "layers of a pattern": (
        lambda: interleave({"gla": 1}, -1),
        ValueError,
        "layers must be at least 0, got -1",
    ),
    "negative convolution": (
        lambda: Block(8, 2, mixer="gla", conv=-1),
        ValueError,
        "conv must be a width of at least 1, or 0 for none, got -1",
    ),
    "pattern": (
        lambda: interleave({"gla": 0}, 4),
        ValueError,
        "pattern must hold at least one layer, got {'gla': 0}",
    ),
    "pattern below 0": (
        lambda: interleave({"gla": -1}, 4),
        ValueError,
        "pattern must count layers from 0 up, got -1 of gla",
    ),
    "pattern of strangers": (lambda: interleave({"mamba9": 1}, 4), ValueError, "name must be one of"),
    "block of strangers": (lambda: Block(8, 2, mixer="mamba9"), ValueError, "name must be one of"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_call_is_named(name):
    bad, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=re.escape(message)):
        bad()


@pytest.mark.parametrize("name", REGISTRY)
def test_the_good_call_beside_them_passes(name):
    """The table varies these calls, so each error above comes from the one thing that was changed."""
    good(name)()
    step(name)()


def test_values_are_not_looked_at_where_torch_traces():
    row = mixer("gla")
    given = row.example(1, 4, 1, 2, 2)
    steep = given | {"g": given["g"] + 9}
    torch.vmap(lambda g: row.fn(**(given | {"g": g}))[0])(steep["g"][None])
    with pytest.raises(ValueError, match="at most 0"):
        row.fn(**steep)
