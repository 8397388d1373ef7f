"""What a memory is asked: a sentence, one matrix without training, and sequences to train on.

word_vectors, nearest_word   the sentence that comes back through the course (`NEEDLE`)
recall_by_age                one matrix filled with random pairs and asked for all of them
TASKS                        token sequences with labels, by name, for `course_lib.training.train`
legal_words, text_bytes      real text that is installed on every machine
"""

from course_lib.tasks.chats import Chat, Retrieval, Told, Turn, chat, only_facts, remembered, retrieval
from course_lib.tasks.documents import TOKENS_PER_WORD, Document, Fact, alert, contract, tokens_in
from course_lib.tasks.memory import (
    DECAY,
    KEY_FAMILIES,
    NEEDLE,
    RULES,
    SENTENCE,
    nearest_word,
    recall_by_age,
    word_vectors,
)
from course_lib.tasks.prose import legal_words, text_bytes
from course_lib.tasks.sequences import (
    IGNORED,
    TASKS,
    Batch,
    induction,
    mqar,
    needle,
    needle_grid,
    parity,
    rebinding,
    selective_copy,
    stream,
    text,
)

__all__ = [
    "DECAY",
    "IGNORED",
    "KEY_FAMILIES",
    "NEEDLE",
    "RULES",
    "SENTENCE",
    "TASKS",
    "TOKENS_PER_WORD",
    "Batch",
    "Chat",
    "Document",
    "Fact",
    "Retrieval",
    "Told",
    "Turn",
    "alert",
    "chat",
    "contract",
    "induction",
    "legal_words",
    "mqar",
    "nearest_word",
    "needle",
    "needle_grid",
    "only_facts",
    "parity",
    "rebinding",
    "recall_by_age",
    "remembered",
    "retrieval",
    "selective_copy",
    "stream",
    "text",
    "text_bytes",
    "tokens_in",
    "word_vectors",
]
