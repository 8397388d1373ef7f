"""Serving costs over drawn models, machines and workloads: they grow, add up, and cross where they are said to."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from course_lib.decide import (
    QUANTITIES,
    Architecture,
    Machine,
    Workload,
    break_even,
    first_token,
    largest_batch,
    memory,
    recommend,
    request_seconds,
    sensitivity,
    step,
    tokens_per_second,
)

COUNTS = ("prompt", "output", "turns", "batch", "document")


@st.composite
def architectures(draw, name="drawn"):
    kv_heads = draw(st.integers(1, 4))
    return Architecture(
        name,
        layers=draw(st.integers(1, 6)),
        d=draw(st.integers(1, 64)),
        heads=kv_heads * draw(st.integers(1, 4)),
        kv_heads=kv_heads,
        head_size=draw(st.integers(1, 16)),
        pattern=draw(
            st.lists(st.sampled_from(["softmax", "window", "linear", "delta"]), min_size=1, max_size=4)
        ),
        itemsize=draw(st.sampled_from([0.5, 1, 2, 4])),
        cache_itemsize=draw(st.sampled_from([0.5, 1, 2, 4])),
        state_itemsize=draw(st.sampled_from([2, 4])),
        parameters=draw(st.none() | st.integers(1, 10**6)),
        window=draw(st.integers(1, 20)),
        chunk=draw(st.integers(1, 20)),
    )


@st.composite
def workloads(draw):
    return Workload(
        "drawn",
        prompt=draw(st.integers(1, 60)),
        output=draw(st.integers(1, 20)),
        turns=draw(st.integers(1, 5)),
        document=draw(st.integers(0, 100)),
        batch=draw(st.integers(1, 9)),
        keeps=draw(st.booleans()),
    )


@st.composite
def machines(draw):
    return Machine(
        "drawn",
        flops=draw(st.floats(1e3, 1e12)),
        bandwidth=draw(st.floats(1e3, 1e12)),
        memory_bytes=draw(st.floats(1e2, 1e9)),
        source="drawn by hypothesis",
        price_per_hour=draw(st.floats(0.01, 100)),
        overhead_s=draw(st.sampled_from([0, 1e-3])),
    )


def no_less(more, less):
    """Up to the rounding of a sum."""
    return more >= less * (1 - 1e-12)


@given(architectures(), workloads(), machines(), st.sampled_from(COUNTS), st.integers(1, 40))
def test_more_work_never_costs_less(a, w, m, field, more):
    """Money is for so many requests: a larger batch may make that cheaper, and nothing else does."""
    larger = replace(w, **{field: getattr(w, field) + more})
    for by in set(QUANTITIES) - ({"money"} if field == "batch" else set()):
        assert no_less(QUANTITIES[by](larger, a, m), QUANTITIES[by](w, a, m)), by
    if field != "batch":
        assert largest_batch(larger, a, m) <= largest_batch(w, a, m)


@given(architectures(), workloads(), machines())
def test_a_larger_batch_never_gives_fewer_tokens_a_second(a, w, m):
    assert no_less(tokens_per_second(replace(w, batch=2 * w.batch), a, m), tokens_per_second(w, a, m))


@given(architectures(), workloads(), machines())
def test_a_request_is_the_sum_of_its_passes(a, w, m):
    total = 0.0
    for turn in range(1, w.turns + 1):
        total += first_token(w, a, m, turn).seconds
        for token in range(1, w.output):
            work = step(a, w.batch, w.context(turn) + token)
            total += max(work.flops / m.flops, work.bytes / m.bandwidth) + m.overhead_s
    assert abs(request_seconds(w, a, m) - total) <= 1e-9 * total


@given(architectures(), workloads())
def test_every_token_is_read_once_where_it_is_kept(a, w):
    """The turns of a conversation read it all but for the last reply's last token; steps read the other ones."""
    kept = replace(w, keeps=True)
    read = sum(kept.read(turn) for turn in range(1, w.turns + 1)) + w.turns * (w.output - 1)
    assert read == w.document + w.turns * (w.prompt + w.output) - 1
    again = replace(w, keeps=False)
    assert all(again.read(turn) == again.context(turn) for turn in range(1, w.turns + 1))


@given(architectures(), workloads(), machines())
def test_the_largest_batch_fits_and_one_more_does_not(a, w, m):
    most = largest_batch(w, a, m)
    if most:
        assert memory(replace(w, batch=most), a).total <= m.memory_bytes * (1 + 1e-12)
    assert memory(replace(w, batch=most + 1), a).total >= m.memory_bytes * (1 - 1e-12)


@given(
    architectures("first"),
    architectures("second"),
    workloads(),
    machines(),
    st.sampled_from(list(QUANTITIES)),
)
def test_a_break_even_is_where_the_order_changes(first, second, w, m, by):
    """All values of a short range are looked at, so nothing can hide."""
    w = replace(w, turns=1)

    def lead(n):
        there = replace(w, prompt=n)
        return QUANTITIES[by](there, second, m) - QUANTITIES[by](there, first, m)

    leads = [lead(n) for n in range(1, 41)]
    ahead = next((x for x in leads if x), 0)
    start = leads.index(ahead) if ahead else 0
    expected = next((n for n, x in enumerate(leads, 1) if n > start and x * ahead <= 0), None)
    found = break_even(first, second, w, m, by=by, high=40)
    assert (found and found.at) == (expected if ahead else None)
    if found:
        assert found.below == ("first" if ahead > 0 else "second")


@given(
    st.lists(architectures(), min_size=1, max_size=3),
    workloads(),
    machines(),
    st.sampled_from(list(QUANTITIES)),
)
def test_the_choice_is_the_cheapest_of_those_that_will_do(drawn, w, m, by):
    named = [replace(a, name=str(i)) for i, a in enumerate(drawn)]
    fitting = {a.name: QUANTITIES[by](w, a, m) for a in named if memory(w, a).total <= m.memory_bytes}
    found = recommend(w, named, m, recall={}, by=by)
    assert set(found.rejected) == {a.name for a in named} - set(fitting)
    assert dict(found.ranking) == fitting
    assert found.choice == (min(fitting, key=fitting.get) if fitting else None)
    for change in sensitivity(w, named, m, recall={}, by=by, reach=4)[:3]:
        assert change.choice != found.choice
