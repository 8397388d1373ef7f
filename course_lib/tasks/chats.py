"""A chat that never ends, with facts told early and asked at the end, and the vectors that a retrieval layer needs.

    turn 1   user   remember the code belrow 4711 for later   …
    …
    turn n   user   …   what was the code belrow

Nothing is trained. As in the sentence of chapter 08, each word is a key, and the word that follows is its value: token
t brings the key of the word before it, its own value, and asks with its own word,

    q_t = e(w_t),   k_t = e(w_{t−1}),   v_t = e(w_t).

So the last word of the chat, "belrow", asks what followed "belrow" before, and a memory that still has turn 1 answers
"4711". Softmax over such keys looks up, a window forgets, and a state adds. Chapter 19.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.attention.checks import check_count, check_counts
from course_lib.cache.base import Cache
from course_lib.tasks.memory import nearest_word, word_vectors


class Turn(NamedTuple):
    """What the user and then the assistant say: words."""

    user: tuple[str, ...]
    assistant: tuple[str, ...]


class Told(NamedTuple):
    """A fact: `turn` (from 1) in which it is told, its name (the key), its code (the value), and the code's position in
    `Chat.words`."""

    turn: int
    name: str
    code: str
    position: int


@dataclass(frozen=True)
class Chat:
    """turns: the transcript. facts: what was told, in order; the first one's name is the chat's last word."""

    turns: tuple[Turn, ...]
    facts: tuple[Told, ...]

    @property
    def words(self) -> list[str]:
        """All words in their order."""
        return [word for turn in self.turns for part in turn for word in part]

    @property
    def starts(self) -> list[int]:
        """Position of the first word of each turn."""
        lengths = [len(turn.user) + len(turn.assistant) for turn in self.turns]
        return [sum(lengths[:i]) for i in range(len(lengths))]


ONSETS = "bel cor dra fen hol jor kes mar nor tar ul wex zan pil rud sil"
ENDINGS = "ba da gan lin mer nik row sted tov van wick zel por fyn cot mo"
NAMES = tuple(onset + ending for onset in ONSETS.split() for ending in ENDINGS.split())
USER = (
    "can you tell me more about the trip to the lake",
    "i would like to know how long the train takes",
    "which of the two books should i read first",
    "please write that again but a little shorter",
    "my sister says that the soup needs more salt",
    "do you think it will rain in the mountains tomorrow",
    "we still need a present for our neighbour",
    "how do i keep the plants alive over the winter",
)
ASSISTANT = (
    "of course here is a plan for the whole day",
    "the fast train takes about two hours and the slow one three",
    "i would start with the older one because it is easier",
    "here is a shorter version of the same text",
    "add a little at a time and taste it after each spoon",
    "the forecast says sun in the morning and clouds later",
    "a good lamp is useful and not too expensive",
    "give them less water and put them near a window",
    "let me know if you want to change anything",
)
TELL = "remember the code {name} {code} for later"
ASK = "what was the code {name}"
SHORTEST = len(TELL.split())


def chat(turns: int = 200, *, user: int = 20, assistant: int = 40, facts: int = 1, seed: int = 0) -> Chat:
    """A chat of `turns` turns in which the user says `user` words and the assistant `assistant`.

    It has (turns − 1) · (user + assistant) + user words: the last turn is the user's question and has no reply.
    `facts` facts are told at the start of turns that are spread evenly from the first on, each with a name and a code
    that occur nowhere else. The chat ends with the name of the first; a chapter can ask for the others by their names.

    The same chat for the same seed. Raises TypeError or ValueError for counts below 1, fewer than 2 turns, a user who
    says fewer words than telling and asking take, or more facts than turns before the last, or than names. Chapter 19.
    """
    check_counts(turns=turns, user=user, assistant=assistant, facts=facts)
    _check_room(turns, user, facts)
    rng = random.Random(seed)
    names, codes = _distinct(rng, NAMES, facts), _distinct(rng, range(1000, 10_000), facts)
    told_in = [1 + i * (turns - 1) // facts for i in range(facts)]
    said, told = [], []
    for turn in range(1, turns + 1):
        words = _talk(rng, USER, user)
        if turn in told_in:
            i = len(told)
            fact = TELL.format(name=names[i], code=codes[i]).split()
            words = [*fact, *words[: user - len(fact)]]
            position = (turn - 1) * (user + assistant) + words.index(str(codes[i]))
            told.append(Told(turn, names[i], str(codes[i]), position))
        said.append(Turn(tuple(words), tuple(_talk(rng, ASSISTANT, assistant))))
    question = ASK.format(name=names[0]).split()
    said[-1] = Turn((*said[-1].user[: user - len(question)], *question), ())
    return Chat(tuple(said), tuple(told))


def _check_room(turns: int, user: int, facts: int) -> None:
    if turns < 2:
        raise ValueError(f"turns must be at least 2, got {turns}: one to tell and one to ask")
    if user < SHORTEST:
        raise ValueError(f"user must be at least {SHORTEST} words, got {user}: a fact has to fit in")
    most = min(turns - 1, len(NAMES))
    if facts > most:
        raise ValueError(
            f"facts must be at most {most}, got {facts}: one a turn before the last, each with a name"
        )


def _distinct(rng: random.Random, options: range | tuple[str, ...], n: int) -> list:
    return sorted(options, key=lambda _: rng.random())[:n]


def _talk(rng: random.Random, sentences: tuple[str, ...], n: int) -> list[str]:
    """n words of sentences in random order; the last one is cut off where it does not fit."""
    words: list[str] = []
    while len(words) < n:
        words += sentences[int(rng.random() * len(sentences))].split()
    return words[:n]


class Retrieval(NamedTuple):
    """q, k `[1, T, 1, K]` and v `[1, T, 1, K]` of a text of T words, and the vector `[K]` of each distinct word."""

    q: Tensor
    k: Tensor
    v: Tensor
    vectors: dict[str, Tensor]


def retrieval(
    words: list[str], K: int = 64, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Retrieval:
    """Queries, keys and values of a text for an attention layer that needs no training, in the layout of the mixers.

    Each distinct word has a random unit vector e(w) of K numbers (`word_vectors`); q_t = v_t = e(w_t) and
    k_t = e(w_{t−1}), with k_0 = 0. Softmax needs a scale that tells 1 from the largest inner product c of two different
    words: it picks one of T tokens for certain where scale · (1 − c) is well above ln T. Read o_t with `nearest_word`.
    Raises TypeError or ValueError for a K below 1, or no words. Chapter 19.
    """
    check_count("K", K)
    if not words:
        raise ValueError("words must hold at least one word, got none")
    vectors = {word: e.to(dtype) for word, e in word_vectors(words, K, seed).items()}
    e = torch.stack([vectors[word] for word in words])[None, :, None]  # [1, T, 1, K]
    k = torch.cat([torch.zeros_like(e[:, :1]), e[:, :-1]], dim=1)
    return Retrieval(e, k, e, vectors)


BEFORE_NAME = TELL.split()[TELL.split().index("{name}") - 1]  # "code"


def only_facts(words: Sequence[str], k: Tensor) -> Tensor:
    """The keys `[1, T, 1, K]` of a text, of which only those of facts stay; the others become zeros and write nothing.

    A token is a fact's code where the word two places before it is "code". A trained model would have to learn such a
    gate; here it is planted. Chapter 19.
    """
    told = torch.tensor([False, False, *(word == BEFORE_NAME for word in words[:-2])][: len(words)])
    return k * told[None, :, None, None].to(k.dtype)


def remembered(
    make: Callable[[], Cache], talks: Sequence[Chat], K: int = 64, *, gate: bool = False
) -> Tensor:
    """Share of the chats that answer with the right code at their end: `[facts]`, the fact told first on the left.

    make: an empty cache or state; it is given all chats at once, chat i with the word vectors of seed i. Each fact is
    asked by "code" and its name, and then the question is taken back. The answer is the nearest of all words of the
    chat. gate: write facts only (`only_facts`), for a state. The chats must have one length and one number of facts.
    Raises ValueError where they do not. Chapter 19.
    """
    if len({(len(talk.words), len(talk.facts)) for talk in talks}) != 1:
        raise ValueError("talks must be at least one, of one length and with one number of facts")
    read = [retrieval(talk.words, K, seed=i) for i, talk in enumerate(talks)]
    keys = [only_facts(talk.words, r.k) if gate else r.k for talk, r in zip(talks, read, strict=True)]
    cache = make()
    cache.append(torch.cat(keys), torch.cat([r.v for r in read]))
    cache.attend(torch.cat([r.q[:, -1:] for r in read]))  # all tokens are settled: a state has added them
    before, right = cache.snapshot(), []
    for facts in zip(*(talk.facts for talk in talks), strict=True):
        key = torch.stack([r.vectors[BEFORE_NAME] for r in read])[:, None, None]
        name = torch.stack([r.vectors[fact.name] for fact, r in zip(facts, read, strict=True)])[:, None, None]
        cache.append(torch.zeros_like(key) if gate else key, name)
        answers = cache.attend(name)[:, 0, 0]
        cache.restore(before)
        said = [nearest_word(o, r.vectors) for o, r in zip(answers, read, strict=True)]
        right.append([word == fact.code for word, fact in zip(said, facts, strict=True)])
    return torch.tensor(right, dtype=torch.float64).mean(1)
