"""The tasks ask what they say they ask, and one matrix remembers what algebra says it must."""

import pytest
import torch

from course_lib import tasks
from course_lib.tasks import IGNORED, KEY_FAMILIES, RULES, TASKS, recall_by_age


def told_pairs(inputs, pairs):
    """The bindings of a row in the order of writing, newest last."""
    row = inputs.tolist()[: 2 * pairs]
    return list(zip(row[::2], row[1::2], strict=True))


@pytest.mark.parametrize(("task", "bindings"), [("mqar", 1), ("rebinding", 2)])
def test_every_query_asks_for_the_newest_value_of_its_key(task, bindings):
    inputs, labels = TASKS[task](8, 40, pairs=6, vocab=24, seed=3)
    told = 2 * 6 * bindings
    for row, asked in zip(inputs, labels, strict=True):
        newest = dict(told_pairs(row, 6 * bindings))
        assert len(newest) == 6
        assert asked[:told].eq(IGNORED).all()
        assert asked[told:].tolist() == [newest[key] for key in row[told:].tolist()]
        assert set(row[told : told + 6].tolist()) == set(newest)
        assert max(newest) < 12 <= min(newest.values())


def test_rebinding_binds_each_key_twice_and_some_values_change():
    inputs, _ = tasks.rebinding(8, 40, pairs=6, vocab=24)
    for row in inputs:
        first, second = (dict(told_pairs(row[start:], 6)) for start in (0, 12))
        assert first.keys() == second.keys()
        assert first != second


def test_induction_asks_for_what_followed_the_marker():
    inputs, labels = tasks.induction(32, 12, vocab=9, seed=1)
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        assert row.count(0) == 2
        assert row[-1] == 0
        assert asked == [IGNORED] * 11 + [row[row.index(0) + 1]]


def test_selective_copy_repeats_what_is_not_blank():
    inputs, labels = tasks.selective_copy(16, 20, copies=5, vocab=9, seed=2)
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        assert row[-5:] == [1] * 5
        assert asked == [IGNORED] * 15 + [token for token in row[:15] if token]
    assert len({tuple(row.nonzero().flatten().tolist()) for row in inputs[:, :15]}) > 1  # the places differ


def test_parity_counts_ones():
    inputs, labels = tasks.parity(4, 30, seed=1)
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        assert asked == [sum(row[: t + 1]) % 2 for t in range(30)]


def test_text_labels_are_the_next_bytes_and_the_splits_are_apart():
    inputs, labels = tasks.text(4, 50, seed=1)
    assert torch.equal(inputs[:, 1:], labels[:, :-1])
    data = bytes(tasks.text_bytes().numpy())
    cut = len(data) * 9 // 10
    for split, part in (("train", data[:cut]), ("test", data[cut:])):
        rows, _ = tasks.text(4, 50, split=split, seed=2)
        assert all(bytes(row.to(torch.uint8).numpy()) in part for row in rows)


def test_a_needle_without_a_depth_is_found_everywhere():
    inputs, _ = tasks.needle(600, 12, vocab=16, seed=1)
    places = {row.index(row[-1]) for row in inputs.tolist()}
    assert places == set(range(10))
    spread, _ = tasks.needle(600, 13, depth=1.0, distractors=1, vocab=16, seed=1)
    others = {next(i for i in range(10) if 8 <= row[i] < 12) for row in spread.tolist()}
    assert others == {0, 2, 4, 6, 8}


def test_the_grid_has_a_batch_for_each_cell():
    grid = tasks.needle_grid(3, [20, 40], [0.0, 0.5, 1.0], distractors=2, seed=4)
    assert list(grid) == [(T, depth) for T in (20, 40) for depth in (0.0, 0.5, 1.0)]
    assert torch.equal(grid[40, 0.5].inputs, tasks.needle(3, 40, depth=0.5, distractors=2, seed=4).inputs)


def test_a_stream_asks_only_for_facts_told_before():
    inputs, labels = tasks.stream(32, 60, facts=5, questions=20, vocab=32, seed=3)
    asked_ever = set()
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        told, questions = {}, 0
        assert row[0] in range(16, 24)
        for t in range(0, 60, 2):
            if row[t] < 16:
                assert row[t + 1] < 16
                assert asked[t] == IGNORED
            elif asked[t] == IGNORED:
                assert row[t] not in told, "a key is told once"
                told[row[t]] = row[t + 1]
                assert row[t + 1] >= 24
            else:
                questions += 1
                assert asked[t] == told[row[t]]
                asked_ever.add(list(told).index(row[t]))
                assert row[t + 1] < 16, "the answer is not in the inputs"
            assert asked[t + 1] == IGNORED
        assert (len(told), questions) == (5, 20)
    assert asked_ever == set(range(5))


def test_a_stream_tells_its_facts_where_it_is_told_to():
    inputs, labels = tasks.stream(16, 64, facts=6, questions=26, told=16, vocab=32, seed=1)
    facts = (inputs >= 16) & (inputs < 24) & (labels == IGNORED)
    assert facts.sum(1).eq(6).all()
    assert not facts[:, 16:].any()
    assert (labels[:, 16:] != IGNORED).any(0)[::2].all(), "and questions everywhere behind them"


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_decides_the_batch(task):
    one, same, other = (TASKS[task](3, 64, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.labels, same.labels)
    assert not torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize(
    ("task", "given", "words"),
    [
        ("mqar", {"T": 47}, "T must be at least 48 for 16 pairs"),
        ("rebinding", {"T": 39}, "T must be at least 40 for 8 pairs"),
        ("mqar", {"pairs": 33, "T": 200}, "pairs must be at most vocab / 2 = 32, got 33"),
        ("induction", {"T": 2}, "T must be at least 3 and vocab at least 2, got 2 and 64"),
        ("selective_copy", {"T": 15}, "T must be at least 2 · copies = 16, got 15"),
        ("selective_copy", {"vocab": 2}, "vocab must be at least 3, got 2"),
        ("parity", {"T": 0}, "T must be at least 1, got 0"),
        ("text", {"split": "all"}, "split must be one of 'train', 'test', got 'all'"),
        ("text", {"T": 10**9}, "T must be below the"),
        ("needle", {"depth": 1.5}, r"depth must lie between 0 \(start\) and 1 \(end\) or be None, got 1.5"),
        ("needle", {"depth": float("nan")}, "depth must lie between 0"),
        ("needle", {"distractors": 16}, "distractors must lie between 0 and 15 for vocab = 64, got 16"),
        ("stream", {"facts": 17, "T": 200}, "facts must be at most 16, the keys of vocab = 64, got 17"),
        ("stream", {"T": 47}, "T must have 24 cells of two tokens.*got T = 47 and told = 47"),
        ("stream", {"told": 15}, "told ≤ T 8 of them, got T = 64 and told = 15"),
        ("stream", {"told": 65}, "told ≤ T 8 of them, got T = 64 and told = 65"),
        ("needle", {"T": 2}, "T must be at least 3 for 1 facts and 1 questions, got 2"),
        (
            "needle",
            {"T": 24, "distractors": 7, "ask_all": True},
            "T must be at least 25 for 8 facts and 8 questions",
        ),
    ],
)
def test_what_does_not_fit_is_named(task, given, words):
    with pytest.raises(ValueError, match=words):
        TASKS[task](2, **given)


# --- one matrix ---------------------------------------------------------------------------------------


def loop_recall(rule, k, v, right):
    """Token by token: write all pairs, read every distinct key; the share of right answers by place."""
    n = len(right)
    S = torch.zeros(k.shape[-1], v.shape[-1], dtype=torch.float64)
    keep = tasks.DECAY if rule in ("decay", "gated delta") else 1.0
    for key, value in zip(k, v, strict=True):
        S = keep * S
        if rule in ("delta", "gated delta"):
            value = value - S.T @ key
        S = S + torch.outer(key, value)
    return [int((v @ (S.T @ k[i])).argmax() == right[i]) for i in range(n)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rebound", [False, True])
def test_recall_is_what_a_loop_over_pairs_finds(rule, rebound):
    n, trials = 6, 20
    generator = torch.Generator().manual_seed(7)
    k = KEY_FAMILIES["unit"](trials, n, 4, generator)
    v = KEY_FAMILIES["unit"](trials, n * (1 + rebound), 5, generator)
    right = range(n, 2 * n) if rebound else range(n)
    written = torch.cat([k, k], 1) if rebound else k
    expected = [loop_recall(rule, *pair, right) for pair in zip(written, v, strict=True)]
    found = recall_by_age(rule, n, K=4, V=5, rebound=rebound, trials=trials, seed=7)
    assert found.tolist() == pytest.approx(torch.tensor(expected).double().mean(0).tolist(), abs=1e-12)


@pytest.mark.parametrize("keys", KEY_FAMILIES)
def test_keys_have_length_one(keys):
    drawn = KEY_FAMILIES[keys](3, 7, 8, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(3, 7, dtype=torch.float64))


def test_orthogonal_keys_are_never_mixed_up():
    for rule in ("add", "delta"):
        assert recall_by_age(rule, 16, keys="orthogonal").tolist() == [1.0] * 16
    assert recall_by_age("delta", 16, keys="orthogonal", rebound=True).tolist() == [1.0] * 16
    assert recall_by_age("add", 16, keys="orthogonal", rebound=True).mean() < 0.7


def test_the_delta_rule_favours_the_newest_and_adding_has_no_favourite():
    add, delta = (recall_by_age(rule, 16, trials=1000) for rule in ("add", "delta"))
    assert delta[-1] == 1
    assert delta[0] < 0.6 < add[0]
    assert add.max() - add.min() < 0.1


def test_recall_names_what_does_not_fit():
    with pytest.raises(
        ValueError, match="rule must be one of 'add', 'decay', 'delta', 'gated delta', got 'sum'"
    ):
        recall_by_age("sum", 4)
    with pytest.raises(ValueError, match="n must be at most K = 16 for orthogonal keys, got 17"):
        recall_by_age("add", 17, keys="orthogonal")
    with pytest.raises(TypeError, match="trials must be an integer, got float"):
        recall_by_age("add", 4, trials=2.0)
