"""Serving costs against sums done by hand, decisions whose answer is known, and errors that name the argument."""

import re
from dataclasses import replace

import pytest

from course_lib import cost, decide
from course_lib.decide import (
    Architecture,
    Machine,
    Recall,
    Workload,
    break_even,
    comparison,
    first_token,
    largest_batch,
    memory,
    mixer_share,
    money,
    per_token,
    reading,
    recommend,
    request_seconds,
    sensitivity,
    step,
    tokens_per_second,
)
from course_lib.timing import Rates

SOFTMAX = Architecture(
    "softmax",
    layers=2,
    d=8,
    heads=4,
    kv_heads=2,
    head_size=2,
    pattern=("softmax",),
    itemsize=2,
    cache_itemsize=2,
    state_itemsize=4,
    parameters=1000,
)
LINEAR = replace(SOFTMAX, name="linear", pattern=("linear",), chunk=4)
DELTA = replace(LINEAR, name="delta", pattern=("delta",))
WINDOW = replace(SOFTMAX, name="window", pattern=("window",), window=4, chunk=4)
HYBRID = replace(LINEAR, name="hybrid", pattern=("linear", "softmax"))
SMALL = Workload("small", prompt=10, output=3, batch=2)
SLOW = Machine("slow", flops=1e6, bandwidth=1e4, memory_bytes=4000, source="made up", price_per_hour=36)

# A model of eight billion parameters: 32 layers, 32 heads of 128 in groups of four, bfloat16, a state in float32.
X = Architecture("X", 32, 4096, 32, 8, 128, ("softmax",), 2, 2, 4, parameters=8 * 10**9)
Y = replace(X, name="Y", pattern=("linear",), chunk=64)
Z = replace(Y, name="Z", pattern=("linear",) * 3 + ("softmax",))
FAST = Machine("fast", flops=4e14, bandwidth=2e12, memory_bytes=80e9, source="made up")
ALERT = Workload("alert", prompt=270, output=1)
CONTRACT = Workload("contract", prompt=40_000, output=200, batch=32)


# --- by hand ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "flops", "moved"),
    [
        # 2 · 1,000 weights · 20 tokens; 2 layers · 8 heads · (10² pairs · 4);  1,000 · 2 + 2 · 8 · 10 · 8 · 2
        (SOFTMAX, 40_000 + 2 * 8 * 400, 2000 + 2 * 8 * 160),
        # chunks of 4, 4, 2: 2 · 16 · 4 + 4 · 4 · 4 = 192, twice, and 32 + 32;  3 states of 4 numbers in and out
        (LINEAR, 40_000 + 2 * 8 * 448, 2000 + 2 * 8 * (160 + 3 * 2 * 4 * 4)),
        # 4c²·4 + 6c·4 + 2·c(c² − 1)/3: 392, twice, and 64 + 48 + 4 = 116
        (DELTA, 40_000 + 2 * 8 * 900, 2000 + 2 * 8 * (160 + 3 * 2 * 4 * 4)),
        # pairs: 4·4 + 4·(4 + 4) + 2·(2 + 4) = 60, 2 · 4 each
        (WINDOW, 40_000 + 2 * 8 * 480, 2000 + 2 * 8 * 160),
        (HYBRID, 40_000 + 8 * (448 + 400), 2000 + 8 * (160 + 96) + 8 * 160),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_reading_a_prompt(a, flops, moved):
    assert reading(a, B=2, T=10) == (flops, moved)
    took = first_token(SMALL, a, SLOW)
    assert (took.compute_s, took.memory_s) == pytest.approx((flops / 1e6, moved / 1e4))
    assert took.bound == "memory"


@pytest.mark.parametrize(
    ("a", "flops", "moved", "carried"),
    [
        # the last step carries 10 + 3 − 1 = 12 tokens: 2 requests · 12 · 2 kv heads · 4 numbers · 2 bytes a layer
        (SOFTMAX, 4000 + 2 * 8 * 2 * 12 * 4, 2000 + 2 * 384, 2 * 384),
        (LINEAR, 4000 + 2 * 8 * 24, 2000 + 2 * 2 * 128, 2 * 128),  # 2 · 4 + 4 · 4 a head; a state in and out
        (DELTA, 4000 + 2 * 8 * 40, 2000 + 2 * 2 * 128, 2 * 128),
        (WINDOW, 4000 + 2 * 8 * 2 * 4 * 4, 2000 + 2 * 128, 2 * 128),
        (HYBRID, 4000 + 8 * (24 + 96), 2000 + 2 * 128 + 384, 128 + 384),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_a_decoding_step_and_what_is_carried(a, flops, moved, carried):
    assert step(a, B=2, n=12) == (flops, moved)
    took = per_token(SMALL, a, SLOW)
    assert (took.compute_s, took.memory_s) == pytest.approx((flops / 1e6, moved / 1e4))
    held = memory(SMALL, a)
    assert (held.weights, held.carried, held.total) == (2000, carried, 2000 + carried)
    assert (held.caches > 0, held.states > 0) == (
        a in (SOFTMAX, WINDOW, HYBRID),
        a in (LINEAR, DELTA, HYBRID),
    )


def test_a_request_and_what_it_costs():
    seconds = 0.456 + 0.2704 + 0.2768  # 4,560 bytes to read; then 2,000 + 64 · 11 and 2,000 + 64 · 12
    assert request_seconds(SMALL, SOFTMAX, SLOW) == pytest.approx(seconds)
    assert tokens_per_second(SMALL, SOFTMAX, SLOW) == pytest.approx(2 * 3 / seconds)
    assert money(SMALL, SOFTMAX, SLOW) == pytest.approx(
        500 * seconds / 100
    )  # 36 an hour: a hundredth a second
    assert money(SMALL, SOFTMAX, SLOW, requests=2) == pytest.approx(seconds / 100)
    assert largest_batch(SMALL, SOFTMAX, SLOW) == 5  # (4,000 − 2,000) // 384
    assert largest_batch(SMALL, SOFTMAX, replace(SLOW, memory_bytes=2383)) == 0
    assert largest_batch(SMALL, SOFTMAX, replace(SLOW, memory_bytes=100)) == 0


def test_turns_are_read_after_what_is_kept():
    talk = Workload("talk", prompt=10, output=5, turns=3, document=100)
    assert [talk.context(turn) for turn in (1, 2, 3)] == [110, 125, 140]
    assert [talk.held(turn) for turn in (1, 2, 3)] == [0, 114, 129]  # the last token of a reply is read later
    assert [talk.read(turn) for turn in (1, 2, 3)] == [110, 11, 11]
    again = replace(talk, keeps=False)
    assert [again.held(turn) for turn in (1, 2, 3)] == [0, 0, 0]
    assert [again.read(turn) for turn in (1, 2, 3)] == [110, 125, 140]
    for w in (talk, again):
        assert memory(w, SOFTMAX).caches == 2 * 144 * 2 * 4 * 2
        assert memory(w, SOFTMAX, turn=1).caches == 2 * 114 * 2 * 4 * 2


def test_reading_after_a_cache_adds_its_pairs_and_its_bytes():
    """8 tokens after 4: 12² − 4² pairs; a window's new block of 4 sees itself and the block before."""
    assert reading(SOFTMAX, 1, 8, P=4).flops == 2 * 1000 * 8 + 2 * 4 * 4 * (144 - 16)
    assert reading(SOFTMAX, 1, 8, P=4).bytes - reading(SOFTMAX, 1, 8).bytes == 2 * 4 * 2 * 4 * 2
    assert reading(WINDOW, 1, 4, P=3).flops == 2 * 1000 * 4 + 2 * 4 * 8 * 4 * (4 + 4)
    assert reading(LINEAR, 1, 8, P=4) == reading(LINEAR, 1, 8)


def test_the_slowest_first_token_is_that_of_the_document_or_of_the_longest_context():
    read_once = Workload("contract", prompt=10, output=5, turns=3, document=4000)
    assert first_token(read_once, SOFTMAX, SLOW) == first_token(read_once, SOFTMAX, SLOW, turn=1)
    chat = Workload("chat", prompt=10, output=5, turns=300)
    assert first_token(chat, SOFTMAX, SLOW) == first_token(chat, SOFTMAX, SLOW, turn=300)


def test_what_binds_is_the_largest_term():
    work = first_token(SMALL, SOFTMAX, replace(SLOW, bandwidth=1e9))
    assert work.bound == "compute"
    assert work.seconds == work.compute_s
    late = first_token(SMALL, SOFTMAX, replace(SLOW, overhead_s=5))
    assert late.bound == "overhead"
    assert late.seconds == late.memory_s + 5
    assert request_seconds(SMALL, SOFTMAX, replace(SLOW, overhead_s=5)) == pytest.approx(15 + 1.0032)


# --- what the chapters say ----------------------------------------------------------------------------


def test_at_270_tokens_a_grouped_cache_is_smaller_than_a_state():
    assert memory(ALERT, X).caches == 270 * 32 * 8 * 256 * 2 == 35_389_440
    assert memory(ALERT, Y).states == 32 * 32 * 128 * 128 * 4 == 67_108_864
    crossing = break_even(X, Y, ALERT, FAST, by="memory")
    assert (crossing.at, crossing.below, crossing.above) == (512, "X", "Y")
    assert crossing.at == cost.memory_crossover(128, 128, b_state=4, b_cache=2, H=32, H_kv=8)


def test_for_alerts_no_mixer_can_matter_much():
    small = Architecture("small", 12, 768, 12, 12, 64, ("softmax",), 4, 4, 4)
    for T in (100, 270):
        share = mixer_share(replace(ALERT, prompt=T), small)
        assert share == pytest.approx(cost.attention_share(T, 768), rel=1e-12)
    assert round(1 / (1 - share), 3) == 1.029
    free = replace(FAST, bandwidth=1e18)  # arithmetic alone
    both = [first_token(ALERT, a, free).seconds for a in (X, Y)]
    assert max(both) / min(both) < 1.01


def test_at_contract_length_the_cache_decides_what_fits():
    assert memory(CONTRACT, X).carried / memory(CONTRACT, Y).carried == pytest.approx(40_199 / 512)
    assert [largest_batch(CONTRACT, a, FAST) for a in (X, Y, Z)] == [12, 953, 46]
    choice = recommend(CONTRACT, [X, Y], FAST, recall={})
    assert choice.choice == "Y"
    assert "12 at once would fit, not 32" in choice.rejected["X"][0]


def test_a_decoding_step_crosses_where_cost_says():
    crossing = break_even(X, Y, ALERT, replace(FAST, flops=1e30), by="per token")
    assert crossing.at == cost.decode_crossover(128, 128, b_state=4, b_cache=2, H=32, H_kv=8) == 1024


def test_reading_crosses_where_cost_says():
    compute = replace(FAST, bandwidth=1e30)
    T = int(cost.prefill_crossover(64, 128, 128))
    at = [first_token(replace(ALERT, prompt=T), a, compute).seconds for a in (X, Y)]
    assert at[0] == at[1]
    crossing = break_even(X, Y, ALERT, compute, by="first token")
    assert T - 64 < crossing.at <= T  # a chunk that is not full costs less than its share
    assert crossing.above == "Y"


def test_formulas_are_those_of_cost():
    assert step(X, 3, 500) == (
        cost.decode_step_flops(3, 500, 32, 128, 128, 8 * 10**9, layers=32),
        cost.decode_step_bytes(3, 500, 8, 128, 128, 8 * 10**9, layers=32),
    )
    one = replace(X, layers=1, d=32 * 128, parameters=None)
    assert reading(one, 1, 777).flops == cost.layer_flops(777, 4096)
    assert one.weights == 12 * 4096**2
    held = memory(replace(CONTRACT, batch=1), X)
    assert cost.cache_outgrows_weights(X.weights, held.caches / 40_199) * held.caches == pytest.approx(
        held.weights * 40_199
    )


def test_no_break_even_in_range():
    assert break_even(X, Y, ALERT, FAST, by="memory", high=512).at == 512
    assert break_even(X, Y, ALERT, FAST, by="memory", high=511) is None
    assert break_even(X, replace(X, name="same"), ALERT, FAST) is None
    assert break_even(X, Y, replace(ALERT, prompt=100), FAST, by="memory", vary="batch", high=1000) is None


def test_a_break_even_over_another_length():
    contract = replace(ALERT, output=200)
    crossing = break_even(Y, X, contract, FAST, by="memory", vary="output")
    assert str(crossing) == "X below 243, Y from there"  # 270 + 243 − 1 = 512 tokens


# --- decisions ----------------------------------------------------------------------------------------

MEASURED = {
    "X": Recall(0.98, "chapter 17, three seeds"),
    "Y": Recall(0.55, "chapter 17, three seeds"),
    "Z": Recall(0.95, "chapter 17, three seeds"),
}


def test_quality_and_memory_leave_the_hybrid():
    found = recommend(replace(CONTRACT, recall=0.9, batch=16), [X, Y, Z], FAST, recall=MEASURED)
    assert found.choice == "Z"
    assert set(found.rejected) == {"X", "Y"}
    assert found.rejected["Y"] == ("recall 55% is below the 90% asked for (chapter 17, three seeds)",)
    assert found.certain
    text = str(found)
    assert text.startswith("contract on fast (made up): Z")
    assert "Z is the only one that will do" in text
    assert "recall 95%, and 90% are asked for (chapter 17, three seeds)" in text
    assert "a ceiling that is off by a factor of 2 does not change it" in text


def test_a_recall_at_the_floor_will_do():
    met = replace(CONTRACT, recall=0.95)
    assert recommend(met, [X, Y, Z], FAST, recall=MEASURED).choice == "Z"
    assert recommend(replace(met, recall=0.951), [X, Y, Z], FAST, recall=MEASURED).choice is None


def test_half_the_memory_changes_it():
    found = recommend(replace(CONTRACT, recall=0.9), [X, Y, Z], FAST, recall=MEASURED)
    assert (found.choice, found.changes, found.close) == ("Z", {"memory_bytes ÷ 2": None}, ())
    assert not found.certain
    assert "changes it: memory_bytes ÷ 2: none of them" in " ".join(str(found).split())


def test_a_recall_that_nobody_measured_does_not_pass_a_floor():
    known = {name: MEASURED[name] for name in ("X", "Y")}
    found = recommend(replace(CONTRACT, recall=0.9), [X, Y, Z], FAST, recall=known)
    assert found.choice is None
    assert found.rejected["Z"] == ("its recall was not measured, and 90% are asked for",)
    assert found.reasons == found.ranking == ()
    assert str(found).startswith("contract on fast (made up): none of them")
    assert recommend(CONTRACT, [X, Y, Z], FAST, recall=known).choice == "Y"  # no floor, nothing to know


def test_limits_of_the_wait_count():
    slow_first = first_token(CONTRACT, Z, FAST).seconds
    late = replace(CONTRACT, first_token_s=slow_first * 0.99)
    found = recommend(late, [Z], FAST, recall={})
    assert found.choice is None
    assert "first token after" in found.rejected["Z"][0]
    assert recommend(replace(late, first_token_s=slow_first), [Z], FAST, recall={}).choice == "Z"
    step_s = per_token(CONTRACT, Z, FAST).seconds
    found = recommend(replace(CONTRACT, per_token_s=step_s * 0.99), [Y, Z], FAST, recall={})
    assert (found.choice, list(found.rejected)) == ("Y", ["Z"])


def test_nearly_equal_costs_are_named_and_bytes_are_certain():
    alerts = replace(ALERT, output=50)
    found = recommend(alerts, [X, Y, Z], FAST, recall={})
    assert set(found.close) == {"Y", "Z"}
    assert not found.certain
    assert "within that factor of the least: Z, Y; measure them" in str(found)
    by_memory = recommend(alerts, [X, Y], FAST, recall={}, by="memory")
    assert by_memory.certain
    assert by_memory.choice == "X"


def test_a_ceiling_that_decides_is_named():
    """A computes more and moves less. In seconds, A: max(4, 3), B: max(3.6, 5.4), as bandwidth is what B lacks."""
    a = replace(SOFTMAX, name="A", parameters=10**6, itemsize=1.5)
    b = replace(a, name="B", parameters=900_000, itemsize=3)
    one = Workload("one", prompt=1, output=1, batch=2)
    machine = Machine("m", flops=1e6, bandwidth=5e5, memory_bytes=1e9, source="made up")
    found = recommend(one, [a, b], machine, recall={})
    assert found.choice == "A"
    assert found.changes == {"flops ÷ 2": "B", "bandwidth × 2": "B"}
    assert "changes it: flops ÷ 2: B, bandwidth × 2: B" in " ".join(str(found).split())
    changed = {change.input: change for change in sensitivity(one, [a, b], machine, recall={})}
    assert changed["bandwidth"].factor == pytest.approx(
        1.35, rel=1e-3
    )  # 5.4 s is 4 s at 1.35 times the bandwidth
    assert changed["flops"].factor == pytest.approx(1 / 1.35, rel=1e-3)
    assert changed["bandwidth"].choice == changed["flops"].choice == "B"


def test_by_decides_what_is_cheap():
    priced = replace(FAST, price_per_hour=3.0)
    long = Workload("long", prompt=2000, output=500)
    for by in ("first token", "per token", "seconds", "money"):
        assert recommend(long, [X, Y], priced, recall={}, by=by).ranking[0][0] == "Y"
    assert "for 1,000 requests" in recommend(long, [X, Y], priced, recall={}, by="money").reasons[0]


def test_sensitivity_finds_what_is_nearest():
    need = memory(CONTRACT, Z).total
    asked = replace(CONTRACT, recall=0.9)
    machine = replace(FAST, memory_bytes=2 * need)
    found = sensitivity(asked, [X, Y, Z], machine, recall=MEASURED, reach=4)
    by_name = {change.input: change for change in found}
    assert found[0].input == "recall floor"
    assert by_name["recall floor"].factor == pytest.approx(0.95 / 0.9, rel=1e-3)
    assert by_name["recall of Z"].factor == pytest.approx(0.9 / 0.95, rel=1e-3)
    assert by_name["recall of Y"].choice == "Y"
    assert by_name["recall of Y"].value == pytest.approx(0.9, rel=1e-3)
    assert by_name["memory_bytes"].factor == pytest.approx(0.5, rel=1e-3)
    assert by_name["memory_bytes"].choice is None
    assert "flops" not in by_name  # nothing else is acceptable, however fast the machine
    assert "document" not in by_name  # 0 times anything is 0
    assert "none of them" in str(by_name["memory_bytes"])


def test_sensitivity_moves_counts_by_whole_numbers():
    found = sensitivity(ALERT, [X, Y], FAST, recall={}, by="memory")
    prompt = next(change for change in found if change.input == "prompt")
    assert prompt.value == 513  # at 512 tokens both take the same, and the first of them is chosen
    assert prompt.factor == 513 / 270


def test_the_table_has_a_line_an_architecture():
    table = comparison(SMALL, [SOFTMAX, LINEAR], SLOW)
    assert [row[0] for row in table.rows] == ["softmax", "linear"]
    assert table.rows[0][1] == "456 ms (memory)"  # breaks into two lines at most
    assert table.rows[0][-1] == "5.02"
    assert comparison(SMALL, [SOFTMAX], replace(SLOW, price_per_hour=None)).rows[0][-1] == "no price"


def test_a_slow_rate_is_not_zero():
    at = list(comparison(SMALL, [SOFTMAX], SLOW).columns).index("tokens/s")
    slower = replace(SLOW, flops=SLOW.flops / 100, bandwidth=SLOW.bandwidth / 100)
    shown = [comparison(SMALL, [SOFTMAX], m).rows[0][at] for m in (SLOW, slower)]
    exact = [tokens_per_second(SMALL, SOFTMAX, m) for m in (SLOW, slower)]
    assert min(exact) < 0.5
    assert [float(text) for text in shown] == pytest.approx(exact, rel=0.06)


def test_a_decision_prints_in_a_narrow_window():
    long = replace(X, name="an architecture with a name of several words")
    found = recommend(replace(CONTRACT, recall=0.9), [X, Y, Z, long], FAST, recall=MEASURED)
    assert max(map(len, str(found).splitlines())) <= 79
    assert found.rejected[long.name][0] in " ".join(str(found).split())


def test_a_change_of_memory_is_in_units():
    changes = sensitivity(replace(CONTRACT, recall=0.9), [X, Y, Z], FAST, recall=MEASURED)
    told = next(str(change) for change in changes if change.input == "memory_bytes")
    assert re.fullmatch(r"memory ÷ [\d.]+ \(to [\d.]+ GiB\): .+", told)


def test_this_machine_has_measured_ceilings():
    rates = Rates(2e9, 1e9, "float32", 1, "a processor")
    here = Machine.here(rates=rates, price_per_hour=1.5)
    assert (here.name, here.flops, here.bandwidth, here.price_per_hour) == ("a processor", 2e9, 1e9, 1.5)
    assert here.memory_bytes > 0
    assert here.source == "measured here by calibrate(): float32, 1 thread"


# --- what does not fit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: replace(SMALL, prompt=0), ValueError, "prompt must be at least 1, got 0"),
        (lambda: replace(SMALL, document=-1), ValueError, "document must be at least 1, got -1"),
        (lambda: replace(SMALL, batch=1.5), TypeError, "batch must be an integer, got float"),
        (
            lambda: replace(SMALL, recall=90),
            ValueError,
            "recall must be a finite number above 0 and at most 1",
        ),
        (
            lambda: replace(SMALL, first_token_s=0),
            ValueError,
            "first_token_s must be a finite number above 0",
        ),
        (lambda: replace(SMALL, keeps=1), TypeError, "keeps must be True or False, got 1"),
        (lambda: replace(SOFTMAX, kv_heads=3), ValueError, "kv_heads must divide the 4 heads, got 3"),
        (lambda: replace(SOFTMAX, pattern="softmax"), ValueError, "pattern must be a sequence such as"),
        (
            lambda: replace(SOFTMAX, pattern=("mamba",)),
            ValueError,
            "pattern must be one of 'softmax', 'window'",
        ),
        (lambda: replace(SOFTMAX, pattern=("linear",)), ValueError, "chunk must be given for linear layers"),
        (
            lambda: replace(WINDOW, window=None),
            ValueError,
            "window must be given for window layers, got None",
        ),
        (lambda: replace(SOFTMAX, itemsize=0), ValueError, "itemsize must be a finite number above 0, got 0"),
        (lambda: replace(SOFTMAX, parameters=1e9), TypeError, "parameters must be an integer, got float"),
        (
            lambda: replace(SLOW, flops=float("inf")),
            ValueError,
            "flops must be a finite number above 0, got inf",
        ),
        (lambda: replace(SLOW, bandwidth="fast"), TypeError, "bandwidth must be a number, got str"),
        (
            lambda: replace(SLOW, source=" "),
            ValueError,
            "source must say where the numbers come from, got ' '",
        ),
        (
            lambda: replace(SLOW, overhead_s=-1),
            ValueError,
            "overhead_s must be a finite number above 0, got -1",
        ),
        (lambda: Recall(0.9, ""), ValueError, "source must say where the numbers come from"),
        (lambda: Recall(True, "x"), TypeError, "value must be a number, got bool"),
        (
            lambda: first_token(SMALL, X, FAST, turn=2),
            ValueError,
            "turn must be at most the 1 of the workload",
        ),
        (lambda: per_token(SMALL, X, FAST, turn=0), ValueError, "turn must be at least 1, got 0"),
        (
            lambda: money(SMALL, X, FAST),
            ValueError,
            "price_per_hour must be given for a sum of money, got None",
        ),
        (lambda: money(SMALL, X, SLOW, requests=0), ValueError, "requests must be a finite number above 0"),
        (lambda: break_even(X, Y, ALERT, FAST, by="speed"), ValueError, "by must be one of 'first token'"),
        (lambda: break_even(X, Y, ALERT, FAST, vary="recall"), ValueError, "vary must be one of 'prompt'"),
        (
            lambda: break_even(X, Y, ALERT, FAST, low=9, high=8),
            ValueError,
            "low must be at most high = 8, got 9",
        ),
        (lambda: recommend(ALERT, [], FAST, recall={}), ValueError, "architectures must be at least one"),
        (lambda: recommend(ALERT, [X, X], FAST, recall={}), ValueError, "each with its own name, got"),
        (
            lambda: recommend(ALERT, [X], FAST, recall=MEASURED),
            ValueError,
            "recall must be one of 'X', got 'Y'",
        ),
        (lambda: recommend(ALERT, [X], FAST, recall={"X": 0.9}), TypeError, "recall of X must be a Recall"),
        (
            lambda: recommend(ALERT, [X], FAST, recall={}, factor=1),
            ValueError,
            "factor must be a finite number",
        ),
        (
            lambda: recommend(ALERT, [X], FAST, recall={}, by="money"),
            ValueError,
            "price_per_hour must be given",
        ),
        (lambda: sensitivity(ALERT, [X], FAST, recall={}, reach=0.5), ValueError, "reach must be a finite"),
    ],
)
def test_what_does_not_fit_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_every_name_is_there():
    assert all(hasattr(decide, name) for name in decide.__all__)
