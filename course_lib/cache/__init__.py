"""What a decoder carries: caches that keep tokens and states that keep sums, behind one interface.

`CACHES` lists them with the factor of the size formula that each attacks; `CACHES[name].make()` is an empty one.
`DeltaState` is the linear state of another mixer and has no row of its own.
"""

from functools import partial

from course_lib.cache import registry
from course_lib.cache.base import Cache, Snapshot
from course_lib.cache.delta import DeltaState
from course_lib.cache.full import FullCache
from course_lib.cache.heavy import HeavyHitterCache
from course_lib.cache.latent import LatentCache
from course_lib.cache.linear import LinearState
from course_lib.cache.paged import PagedCache, PagePool
from course_lib.cache.quantised import QuantisedCache
from course_lib.cache.registry import CACHES, FACTORS, CacheRow, register
from course_lib.cache.sinks import SinkCache
from course_lib.cache.snapkv import SnapKVCache
from course_lib.cache.window import WindowCache

for row in (
    CacheRow(
        name="full",
        make=FullCache,
        attacks="none",
        idea="every key and value of every head",
        nbytes=registry.full_bytes,
        mixer="softmax_attention",
        chapter="04",
        paper="1911.02150",
        kv_groups=False,
    ),
    CacheRow(
        name="grouped query",
        make=FullCache,
        attacks="2·H_kv·D",
        idea="H / H_kv query heads share a key and a value",
        nbytes=registry.full_bytes,
        mixer="softmax_attention",
        chapter="04",
        paper="2305.13245",
    ),
    CacheRow(
        name="latent",
        make=LatentCache,
        attacks="2·H_kv·D",
        idea="a latent and a turned key that all heads share",
        nbytes=registry.latent_bytes,
        mixer="softmax_attention",
        chapter="05",
        paper="2405.04434",
    ),
    CacheRow(
        name="window",
        make=WindowCache,
        attacks="T",
        idea="the last w tokens",
        nbytes=registry.window_bytes,
        mixer="sliding_window_attention",
        chapter="05",
        paper="2004.05150",
    ),
    CacheRow(
        name="sinks + window",
        make=SinkCache,
        attacks="T",
        idea="the first s tokens and the last w",
        nbytes=registry.window_bytes,
        mixer="softmax_attention",
        chapter="05",
        paper="2309.17453",
        exact=False,
    ),
    CacheRow(
        name="heavy hitters",
        make=HeavyHitterCache,
        attacks="T",
        idea="the newest tokens and those looked at most",
        nbytes=registry.heavy_hitter_bytes,
        mixer="softmax_attention",
        chapter="05",
        paper="2306.14048",
        exact=False,
    ),
    CacheRow(
        name="SnapKV",
        make=SnapKVCache,
        attacks="T",
        idea="the prompt tokens that its last queries choose",
        nbytes=registry.snapkv_bytes,
        mixer="softmax_attention",
        chapter="05",
        paper="2404.14469",
        exact=False,
    ),
    *(
        CacheRow(
            name=f"{bits} bits",
            make=partial(QuantisedCache, bits=bits),
            attacks="bytes",
            idea=f"{bits} bits a number, the newest tokens in full",
            nbytes=partial(registry.quantised_bytes, bits=bits),
            mixer="softmax_attention",
            chapter="05",
            paper="2402.02750",
            exact=False,
        )
        for bits in (8, 4, 2)
    ),
    CacheRow(
        name="paged",
        make=PagedCache,
        attacks="utilisation",
        idea="memory in pages, handed out as the text grows",
        nbytes=registry.full_bytes,
        mixer="softmax_attention",
        chapter="05",
        paper="2309.06180",
    ),
    CacheRow(
        name="prefix sharing",
        make=PagedCache,
        attacks="B",
        idea="sequences that begin alike point to the same pages",
        nbytes=registry.full_bytes,
        mixer="softmax_attention",
        chapter="05",
        paper="2309.06180",
    ),
    CacheRow(
        name="linear state",
        make=LinearState,
        attacks="all",
        idea="the sums S and z of linear attention",
        nbytes=registry.linear_bytes,
        mixer="linear_attention",
        chapter="08",
        paper="2006.16236",
        kv_groups=False,
    ),
):
    register(row)

__all__ = [
    "CACHES",
    "FACTORS",
    "Cache",
    "CacheRow",
    "DeltaState",
    "FullCache",
    "HeavyHitterCache",
    "LatentCache",
    "LinearState",
    "PagePool",
    "PagedCache",
    "QuantisedCache",
    "SinkCache",
    "SnapKVCache",
    "Snapshot",
    "WindowCache",
    "register",
]
