"""What a decoder carries: caches that keep tokens and states that keep sums, behind one interface.

`CACHES` lists them with the factor of the size formula that each attacks; `CACHES[name].make()` is an empty one.
"""

from course_lib.cache.base import Cache, Snapshot
from course_lib.cache.full import FullCache
from course_lib.cache.linear import LinearState
from course_lib.cache.registry import CACHES, FACTORS, CacheRow, full_bytes, linear_bytes, register

for row in (
    CacheRow(
        name="full",
        make=FullCache,
        attacks="none",
        idea="every key and value of every head",
        nbytes=full_bytes,
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
        nbytes=full_bytes,
        mixer="softmax_attention",
        chapter="04",
        paper="2305.13245",
    ),
    CacheRow(
        name="linear state",
        make=LinearState,
        attacks="all",
        idea="the sums S and z of linear attention",
        nbytes=linear_bytes,
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
    "FullCache",
    "LinearState",
    "Snapshot",
    "register",
]
