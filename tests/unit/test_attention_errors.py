"""Bad calls: each raises the expected error, which names the argument and says what came and what to do."""

import re

import numpy as np
import pytest
import torch

from course_lib.attention import (
    linear_attention,
    linear_attention_step,
    mixer,
    softmax_attention,
    softmax_attention_step,
)

B, T, H, K, V = 2, 5, 4, 3, 6
Q, KEYS, VALUES = torch.ones(B, T, H, K), torch.ones(B, T, H, K), torch.ones(B, T, H, V)
S, Z = torch.zeros(B, H, K, V), torch.zeros(B, H, K)


def call(fn, q=Q, k=KEYS, v=VALUES, **options):
    return lambda: fn(q, k, v, **options)


def linear(*args, **options):
    return call(linear_attention, *args, **options)


def softmax(*args, **options):
    return call(softmax_attention, *args, **options)


def packed(cu_seqlens, fn=linear_attention, **options):
    return call(fn, Q[:1], KEYS[:1], VALUES[:1], cu_seqlens=cu_seqlens, **options)


def token(*shape):
    return torch.ones(*shape)


BAD_CALLS = {
    "numpy": (linear(q=np.ones((B, T, H, K))), TypeError, "q must be a torch.Tensor, got ndarray"),
    "list": (softmax(v=[1.0]), TypeError, "v must be a torch.Tensor, got list"),
    "integers": (linear(k=KEYS.long()), TypeError, "k must be a floating-point tensor, got torch.int64"),
    "mixed dtypes": (softmax(v=VALUES.double()), TypeError, "must have one dtype, got q torch.float32"),
    "device": (linear(k=KEYS.to("meta")), ValueError, "must be on one device, got cpu, meta, cpu"),
    "three axes": (linear(q=Q[0]), ValueError, "q must have 4 axes [B, T, H, K], got 3 axes [5, 4, 3]"),
    "five axes": (softmax(v=VALUES[None]), ValueError, "v must have 4 axes [B, T, H, V], got 5 axes"),
    "batch": (linear(k=KEYS[:1]), ValueError, "must have one batch size B, got 2, 1, 2"),
    "head size": (
        softmax(k=torch.ones(B, T, H, 7)),
        ValueError,
        "k must have the head size K = 3 of q, got 7",
    ),
    "no head size": (linear(q=Q[..., :0], k=KEYS[..., :0]), ValueError, "head size K of at least 1, got 0"),
    "heads of v": (softmax(v=VALUES[:, :, :1]), ValueError, "v must have the 4 heads of k, got 1"),
    "length of v": (linear(v=VALUES[:, :2]), ValueError, "v must have the length T = 5 of k, got 2"),
    "heads first": (
        linear(q=torch.ones(B, H, T, K), k=torch.ones(B, H, T, K)),
        ValueError,
        "v must have the 5 heads of k, got 4",
    ),
    "groups": (
        softmax(k=KEYS[:, :, :3], v=VALUES[:, :, :3]),
        ValueError,
        "k must have a number of heads that divides the 4 heads of q, got 3",
    ),
    "linear groups": (
        linear(k=KEYS[:, :, :2], v=VALUES[:, :, :2]),
        ValueError,
        "share keys with k.repeat_interleave(H // H_kv, dim=-2)",
    ),
    "short query": (
        linear(q=Q[:, -1:]),
        ValueError,
        "q must have the length T = 5 of k, got 1: pass earlier tokens",
    ),
    "long query": (
        softmax(k=KEYS[:, :2], v=VALUES[:, :2]),
        ValueError,
        "q must have at most the 2 tokens of k when causal, got 5",
    ),
    "no key": (
        softmax(k=KEYS[:, :0], v=VALUES[:, :0], causal=False),
        ValueError,
        "k must have at least one token for 5 queries, got 0",
    ),
    "gate": (linear(g=Q), ValueError, "g must be None: linear_attention has no g"),
    "beta": (softmax(beta=Q), ValueError, "beta must be None: softmax_attention has no beta"),
    "mode": (
        linear(mode="fast"),
        ValueError,
        "mode must be one of 'parallel', 'recurrent', 'chunk', got 'fast'",
    ),
    "recurrent softmax": (
        softmax(mode="recurrent"),
        ValueError,
        "mode must be one of 'parallel', 'chunk', 'sdpa'",
    ),
    "no chunk": (linear(chunk_size=0), ValueError, "chunk_size must be at least 1, got 0"),
    "float chunk": (softmax(chunk_size=64.0), TypeError, "chunk_size must be an integer, got float"),
    "negative scale": (linear(scale=-1.0), ValueError, "scale must be a finite number above 0, got -1.0"),
    "infinite scale": (
        linear(scale=float("inf")),
        ValueError,
        "scale must be a finite number above 0, got inf",
    ),
    "nan scale": (softmax(scale=float("nan")), ValueError, "scale must be a finite number above 0, got nan"),
    "tensor scale": (linear(scale=torch.ones(1)), TypeError, "scale must be a number or None, got Tensor"),
    "state without z": (
        linear(initial_state=S),
        TypeError,
        "initial_state must be a tuple (S, z), got a Tensor",
    ),
    "state with z": (
        linear(initial_state=(S, Z), normalize=False),
        TypeError,
        "initial_state: S must be a torch.Tensor, got tuple",
    ),
    "state transposed": (
        linear(initial_state=(S.mT, Z)),
        ValueError,
        "initial_state: S must have the shape [2, 4, 3, 6], got [2, 4, 6, 3]",
    ),
    "state of another batch": (
        linear(initial_state=(S, Z[:1])),
        ValueError,
        "initial_state: z must have the shape [2, 4, 3], got [1, 4, 3]",
    ),
    "state in bfloat16": (
        linear(initial_state=(S.bfloat16(), Z)),
        TypeError,
        "initial_state: S must be torch.float32, got torch.bfloat16",
    ),
    "state elsewhere": (
        linear(initial_state=(S.to("meta"), Z)),
        ValueError,
        "initial_state: S must be on cpu, got meta",
    ),
    "cache of one": (softmax(initial_state=(KEYS,)), TypeError, "must be a tuple (k, v), got a tuple of 1"),
    "cache of other heads": (
        softmax(initial_state=(KEYS[:, :, :2], VALUES[:, :, :2])),
        ValueError,
        "initial_state: k must have the shape [2, any, 4, 3], got [2, 5, 2, 3]",
    ),
    "packed list": (packed([0, 5]), TypeError, "cu_seqlens must be an int32 or int64 tensor, got list"),
    "packed floats": (packed(torch.tensor([0.0, 5.0])), TypeError, "int64 tensor, got torch.float32"),
    "packed matrix": (packed(torch.tensor([[0, 5]])), ValueError, "shape [N + 1] with N ≥ 1, got [1, 2]"),
    "packed batch": (
        linear(cu_seqlens=torch.tensor([0, 5])),
        ValueError,
        "cu_seqlens needs B = 1, got B = 2",
    ),
    "packed short": (packed(torch.tensor([0, 4])), ValueError, "must rise from 0 to T = 5, got [0, 4]"),
    "packed falling": (packed(torch.tensor([0, 4, 2, 5])), ValueError, "must rise from 0 to T = 5"),
    "packed states": (
        packed(torch.tensor([0, 2, 5]), initial_state=(S[:1], Z[:1])),
        ValueError,
        "initial_state: S must have the shape [2, 4, 3, 6], got [1, 4, 3, 6]",
    ),
    "packed cache": (
        packed(torch.tensor([0, 5]), softmax_attention, output_final_state=True),
        ValueError,
        "initial_state and output_final_state must be unset with cu_seqlens",
    ),
    "feature map": (
        linear(feature_map="exp"),
        ValueError,
        "feature_map must be one of 'elu', 'relu', 'identity'",
    ),
    "feature map shape": (
        linear(feature_map=lambda x: x.flatten(2)),
        ValueError,
        "feature_map must keep all axes but the last, got [2, 5, 12] from [2, 5, 4, 3]",
    ),
    "feature map dtype": (
        linear(feature_map=lambda x: x.half()),
        TypeError,
        "feature_map must keep torch.float32 on cpu, got torch.float16",
    ),
    "feature map without a result": (
        linear(feature_map=lambda x: None),
        TypeError,
        "feature_map must return a torch.Tensor, got NoneType",
    ),
    "causal in words": (softmax(causal="no"), TypeError, "causal must be True or False, got 'no'"),
    "no heads": (
        linear(q=Q[:, :, :0], k=KEYS[:, :, :0], v=VALUES[:, :, :0]),
        ValueError,
        "q must have at least one head, got 0",
    ),
    "step with a sequence": (
        call(linear_attention_step),
        ValueError,
        "q must have 3 axes [B, H, K], got 4 axes [2, 5, 4, 3]",
    ),
    "step state": (
        call(linear_attention_step, token(B, H, K), token(B, H, K), token(B, H, V), state=(S[:, :1], Z)),
        ValueError,
        "state: S must have the shape [2, 4, 3, 6], got [2, 1, 3, 6]",
    ),
    "step cache": (
        call(
            softmax_attention_step,
            token(B, H, K),
            token(B, H, K),
            token(B, H, V),
            state=(KEYS, VALUES.half()),
        ),
        TypeError,
        "state: v must be torch.float32, got torch.float16",
    ),
    "mixer": (
        lambda: mixer("mamba0"),
        ValueError,
        "name must be one of 'softmax_attention', 'sliding_window_attention', 'dilated_attention'",
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_call_is_named(name):
    bad, error, message = BAD_CALLS[name]
    with pytest.raises(error, match=re.escape(message)):
        bad()


def test_the_good_call_beside_them_passes():
    """The table varies this call, so each error above comes from the one thing that was changed."""
    for fn in (linear_attention, softmax_attention):
        o, _ = fn(Q, KEYS, VALUES, scale=1, chunk_size=2)
        assert o.shape == (B, T, H, V)
    o, _ = linear_attention(Q, KEYS, VALUES, initial_state=(S, Z))
    assert o.shape == (B, T, H, V)


def test_a_cache_with_more_values_than_keys_is_named():
    q = torch.randn(1, 2, 2, 3)
    cache = torch.randn(1, 3, 2, 3), torch.randn(1, 5, 2, 3)
    with pytest.raises(
        ValueError, match="initial_state must hold as many keys as values, got 3 keys and 5 values"
    ):
        softmax_attention(q, q, q, initial_state=cache)
    with pytest.raises(ValueError, match="state must hold as many keys as values"):
        softmax_attention_step(q[:, 0], q[:, 0], q[:, 0], cache)
