"""Sequence mixers with one signature, `f(q, k, v, …) -> (o, state)`, and a registry that describes them.

`mixer(name)` finds one, `table()` prints all; `<name>_step` decodes one token from a carried state. A NaN or an
infinity reaches every output that it should; matrix products also hand it to earlier tokens of its chunk (0 · NaN is
NaN).
"""

from course_lib.attention.delta_rules import (
    DELTA_RULE,
    GATED_DELTA_RULE,
    KDA,
    delta_rule,
    delta_rule_step,
    gated_delta_rule,
    gated_delta_rule_step,
    kda,
    kda_step,
)
from course_lib.attention.flex import flex_window_attention
from course_lib.attention.gla import GLA, HGRN2, gla, gla_step, hgrn2, hgrn2_step
from course_lib.attention.hgrn import HGRN, hgrn, hgrn_step
from course_lib.attention.linear import LINEAR, feature_maps, linear_attention, linear_attention_step
from course_lib.attention.mamba import SELECTIVE_SCAN, SSD, selective_scan, selective_scan_step, ssd, ssd_step
from course_lib.attention.masks import (
    bigbird_mask,
    block_sparse_mask,
    causal_mask,
    dilated_mask,
    global_window_mask,
    receptive_field,
    window_mask,
)
from course_lib.attention.moba import MOBA, moba, moba_mask, moba_step
from course_lib.attention.registry import REGISTRY, Row, mixer, register, table
from course_lib.attention.retention import (
    LIGHTNING,
    RETENTION,
    SIMPLE_GLA,
    lightning_attention,
    lightning_attention_step,
    retention,
    retention_step,
    simple_gla,
    simple_gla_step,
)
from course_lib.attention.rwkv import RWKV6, RWKV7, rwkv6, rwkv6_step, rwkv7, rwkv7_step
from course_lib.attention.s4d import S4D, s4d, s4d_step
from course_lib.attention.softmax import SOFTMAX, softmax_attention, softmax_attention_step
from course_lib.attention.sparse import (
    BIGBIRD,
    DILATED,
    GLOBAL_WINDOW,
    bigbird_attention,
    bigbird_attention_step,
    block_sparse_attention,
    dilated_attention,
    dilated_attention_step,
    global_window_attention,
    global_window_attention_step,
)
from course_lib.attention.window import WINDOW, sliding_window_attention, sliding_window_attention_step

for row in (
    SOFTMAX,
    WINDOW,
    DILATED,
    GLOBAL_WINDOW,
    BIGBIRD,
    MOBA,
    LINEAR,
    RETENTION,
    LIGHTNING,
    SIMPLE_GLA,
    GLA,
    HGRN2,
    RWKV6,
    DELTA_RULE,
    GATED_DELTA_RULE,
    KDA,
    RWKV7,
    SSD,
    SELECTIVE_SCAN,
    S4D,
    HGRN,
):
    register(row)

__all__ = [
    "REGISTRY",
    "Row",
    "bigbird_attention",
    "bigbird_attention_step",
    "bigbird_mask",
    "block_sparse_attention",
    "block_sparse_mask",
    "causal_mask",
    "delta_rule",
    "delta_rule_step",
    "dilated_attention",
    "dilated_attention_step",
    "dilated_mask",
    "feature_maps",
    "flex_window_attention",
    "gated_delta_rule",
    "gated_delta_rule_step",
    "gla",
    "gla_step",
    "global_window_attention",
    "global_window_attention_step",
    "global_window_mask",
    "hgrn",
    "hgrn2",
    "hgrn2_step",
    "hgrn_step",
    "kda",
    "kda_step",
    "lightning_attention",
    "lightning_attention_step",
    "linear_attention",
    "linear_attention_step",
    "mixer",
    "moba",
    "moba_mask",
    "moba_step",
    "receptive_field",
    "retention",
    "retention_step",
    "rwkv6",
    "rwkv6_step",
    "rwkv7",
    "rwkv7_step",
    "s4d",
    "s4d_step",
    "selective_scan",
    "selective_scan_step",
    "simple_gla",
    "simple_gla_step",
    "sliding_window_attention",
    "sliding_window_attention_step",
    "softmax_attention",
    "softmax_attention_step",
    "ssd",
    "ssd_step",
    "table",
    "window_mask",
]
