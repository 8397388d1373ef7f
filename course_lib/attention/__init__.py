"""Sequence mixers with one signature, `f(q, k, v, …) -> (o, state)`, and a registry that describes them.

`mixer(name)` finds one, `table()` prints all; `<name>_step` decodes one token from a carried state.
"""

from course_lib import cost
from course_lib.attention import decay, softmax
from course_lib.attention.linear import feature_maps, linear_attention, linear_attention_step
from course_lib.attention.registry import REGISTRY, Row, mixer, register, table
from course_lib.attention.softmax import softmax_attention, softmax_attention_step

register(
    Row(
        name="softmax_attention",
        fn=softmax_attention,
        step=softmax_attention_step,
        family="softmax",
        transition="none: keeps every token",
        state=lambda B, T, H, K, V, H_kv: {"k": (B, T, H_kv, K), "v": (B, T, H_kv, V)},
        causal=(True, False),
        kv_groups=True,
        forms=softmax.FORMS,
        fast="sdpa",
        paper="1706.03762",
        chapter="01",
        flops=cost.softmax_flops,
        state_bytes=lambda B, T, H, K, V, H_kv, itemsize: cost.cache_bytes(B, T, H_kv, K, V, 1, itemsize),
    )
)
register(
    Row(
        name="linear_attention",
        fn=linear_attention,
        step=linear_attention_step,
        family="linear",
        transition="I",
        state=lambda B, T, H, K, V, H_kv: {"S": (B, H, K, V), "z": (B, H, K)},
        causal=(True, False),
        kv_groups=False,
        forms=decay.FORMS,
        fast="chunk",
        paper="2006.16236",
        chapter="08",
        flops=cost.linear_flops,
        state_bytes=lambda B, T, H, K, V, H_kv, itemsize: cost.state_bytes(B, H, K, V, 1, max(itemsize, 4)),
    )
)

__all__ = [
    "REGISTRY",
    "Row",
    "feature_maps",
    "linear_attention",
    "linear_attention_step",
    "mixer",
    "softmax_attention",
    "softmax_attention_step",
    "table",
]
