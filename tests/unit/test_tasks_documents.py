"""Documents and chats: of the length asked for, the same for a seed, and with every answer where it is said to be."""

import re
from collections import Counter

import pytest
import torch

from course_lib.attention import linear_attention, sliding_window_attention, softmax_attention
from course_lib.cache import DeltaState, FullCache, WindowCache
from course_lib.tasks import (
    TOKENS_PER_WORD,
    alert,
    chat,
    contract,
    nearest_word,
    only_facts,
    remembered,
    retrieval,
    tokens_in,
)

DOCUMENTS = {"alert": alert, "contract": contract}


@pytest.mark.parametrize(("write", "words"), [(alert, 200), (alert, 500), (contract, 3000)])
@pytest.mark.parametrize("seed", range(5))
def test_every_answer_stands_where_the_fact_says(write, words, seed):
    document = write(words, seed=seed)
    text = document.text.split()
    assert len(text) == document.words
    assert document.facts
    for question, answer, position in document.facts:
        assert text[position] == answer
        assert question.endswith("?")
    positions = [fact.position for fact in document.facts]
    assert positions == sorted(positions)
    assert len({fact.question for fact in document.facts}) == len(document.facts)


@pytest.mark.parametrize("seed", range(20))
def test_an_alert_fills_its_words_and_has_six_facts(seed):
    document = alert(seed=seed)
    assert 190 <= document.words <= 200
    assert len(document.facts) == 6
    assert document.facts[0].position < 20  # it opens with the event
    sentences = re.split(r"(?<=[.])\s", document.text)
    assert len(set(sentences)) == len(sentences)


def test_a_contract_fills_its_words_and_spreads_its_facts():
    document = contract(seed=2)
    assert 30_000 - 100 <= document.words <= 30_000
    gaps = [b.position - a.position for a, b in zip(document.facts, document.facts[1:], strict=False)]
    assert document.facts[0].position < 100
    assert document.words - document.facts[-1].position < 100
    assert max(gaps) < 150
    numbers = re.findall(r"Clause (\d+\.\d+)\.", document.text)
    assert len(numbers) == len(set(numbers)) == len(document.facts)
    assert numbers[:10] == [f"1.{n}" for n in range(1, 10)] + ["2.1"]
    for number, fact in zip(numbers, document.facts, strict=True):
        assert f"clause {number}" in fact.question


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_seed_decides_the_document(name):
    write = DOCUMENTS[name]
    assert write(400, seed=3) == write(400, seed=3)
    assert write(400, seed=3) != write(400, seed=4)


def test_a_text_is_the_same_on_every_machine():
    """Its generator is one that Python promises to keep; these words pin it."""
    assert alert(seed=0).text.startswith(
        "Ulvane: an incident at the warehouse of Jorlin was reported at 07:50"
    )
    assert contract(100, seed=0).facts[0] == ("How many years are documents of clause 1.1 kept?", "13", 23)


def test_tokens_of_words():
    assert (tokens_in(200), tokens_in(30_000)) == (267, 40_000)
    assert tokens_in(200, TOKENS_PER_WORD["licence texts, counted"]) == 284


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: alert(50), ValueError, r"words must be at least \d\d for the facts of this alert, got 50"),
        (lambda: contract(20), ValueError, r"words must be at least \d\d for one clause, got 20"),
        (lambda: alert(2.5), TypeError, "words must be an integer, got float"),
        (lambda: tokens_in(0), ValueError, "words must be at least 1, got 0"),
        (lambda: tokens_in(10, 0.0), ValueError, "per_word must be above 0, got 0.0"),
        (lambda: chat(1), ValueError, "turns must be at least 2, got 1"),
        (lambda: chat(5, user=6), ValueError, "user must be at least 7 words, got 6"),
        (lambda: chat(5, facts=5), ValueError, "facts must be at most 4, got 5"),
        (lambda: chat(400, facts=300), ValueError, "facts must be at most 256, got 300"),
        (lambda: chat(5, assistant=0), ValueError, "assistant must be at least 1, got 0"),
        (lambda: retrieval([]), ValueError, "words must hold at least one word, got none"),
        (lambda: retrieval(["a"], K=0), ValueError, "K must be at least 1, got 0"),
    ],
)
def test_what_does_not_fit_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_least_number_of_words_is_enough():
    for write in (alert, contract):
        with pytest.raises(ValueError, match="words must be at least") as raised:
            write(10)
        least = int(re.search(r"at least (\d+)", str(raised.value)).group(1))
        assert write(least).words == least


# --- chats --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("turns", "user", "assistant", "facts"), [(2, 7, 1, 1), (9, 20, 40, 8), (50, 8, 30, 5)]
)
def test_a_chat_has_its_lengths_and_tells_each_fact_once(turns, user, assistant, facts):
    talk = chat(turns, user=user, assistant=assistant, facts=facts, seed=3)
    words = talk.words
    assert len(words) == (turns - 1) * (user + assistant) + user
    assert talk.starts == [i * (user + assistant) for i in range(turns)]
    assert talk.facts[0].turn == 1
    assert [fact.turn for fact in talk.facts] == sorted({fact.turn for fact in talk.facts})
    assert len(talk.facts) == facts
    seen = Counter(words)
    for fact in talk.facts:
        assert words[fact.position] == fact.code
        assert words[fact.position - 1] == fact.name
        assert talk.starts[fact.turn - 1] <= fact.position < talk.starts[fact.turn - 1] + user
        assert seen[fact.code] == 1
        assert seen[fact.name] == 1 + (fact is talk.facts[0])
    assert words[-1] == talk.facts[0].name


def test_the_seed_decides_the_chat():
    assert chat(6, seed=1) == chat(6, seed=1)
    assert chat(6, seed=1) != chat(6, seed=2)


def test_a_key_is_the_word_before():
    q, k, v, vectors = retrieval(["a", "b", "a", "c"], K=8, dtype=torch.float64)
    assert q.shape == k.shape == v.shape == (1, 4, 1, 8)
    assert torch.equal(q, v)
    assert not k[0, 0].any()
    for t, word in enumerate(["a", "b", "a"]):
        assert torch.equal(k[0, t + 1, 0], vectors[word])
        assert torch.equal(v[0, t, 0], vectors[word])


def answers(talk, mixer, **options):
    q, k, v, vectors = retrieval(talk.words)
    o, _ = mixer(q, k, v, **options)
    return nearest_word(o[0, -1, 0], vectors)


def test_a_full_cache_remembers_turn_1_and_bounded_memories_do_not():
    """Eight chats of 30 turns: what softmax finds, a window never saw and a state of 64 × 64 has written over."""
    talks = [chat(30, seed=seed) for seed in range(8)]
    right = [talk.facts[0].code for talk in talks]
    assert [answers(talk, softmax_attention, scale=30.0) for talk in talks] == right
    window = [answers(talk, sliding_window_attention, scale=30.0, window=256) for talk in talks]
    assert not set(window) & set(right)
    added = [answers(talk, linear_attention, feature_map="identity", normalize=False) for talk in talks]
    assert sum(a == b for a, b in zip(added, right, strict=True)) <= 4


def test_what_comes_back_is_asked_fact_by_fact_and_taken_back():
    talks = [chat(20, facts=6, seed=seed) for seed in range(2)]
    made = []

    def make(cache=FullCache, **options):
        made.append(cache(**options))
        return made[-1]

    full = remembered(lambda: make(scale=30.0), talks)
    assert full.tolist() == [1.0] * 6
    assert len(made[-1]) == len(talks[0].words), "no question stays in the cache"
    window = remembered(lambda: make(WindowCache, window=400, scale=30.0), talks)
    begins = len(talks[0].words) - 400
    assert 0 < window.mean() < 1
    assert window.tolist() == [float(fact.position > begins) for fact in talks[0].facts]


def test_a_gate_keeps_small_talk_out_of_a_state():
    talk = chat(20, facts=6, seed=0)
    k = retrieval(talk.words).k
    written = only_facts(talk.words, k)[0, :, 0].any(-1).nonzero().squeeze(-1).tolist()
    assert written == [fact.position for fact in talk.facts]
    assert torch.equal(only_facts(talk.words, k)[:, written], k[:, written])
    assert remembered(DeltaState, [talk]).mean() < 0.5 < remembered(DeltaState, [talk], gate=True).mean()


@pytest.mark.parametrize("talks", [[], [chat(5), chat(6)], [chat(5, facts=1), chat(5, facts=2)]])
def test_chats_that_are_asked_together_are_alike(talks):
    with pytest.raises(ValueError, match="of one length and with one number of facts"):
        remembered(FullCache, talks)
