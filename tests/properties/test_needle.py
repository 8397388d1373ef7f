"""The needle test over lengths, depths and distractors: every question has one answer, in one known place."""

from hypothesis import given
from hypothesis import strategies as st

from course_lib import tasks
from course_lib.tasks import IGNORED


def pairs_told(row, L, vocab):
    """Place and value of each key among the first L tokens of a needle test; what follows a key is its value."""
    keys = range(vocab // 2, 3 * vocab // 4)
    return {token: (place, row[place + 1]) for place, token in enumerate(row[:L]) if token in keys}


@given(
    T=st.integers(13, 60),
    depth=st.none() | st.floats(0, 1),
    distractors=st.integers(0, 3),
    ask_all=st.booleans(),
    vocab=st.integers(16, 40),
    seed=st.integers(0, 2**20),
)
def test_the_needle_is_where_it_should_be_and_every_question_has_its_answer(
    T, depth, distractors, ask_all, vocab, seed
):
    inputs, labels = tasks.needle(
        4, T, depth=depth, distractors=distractors, ask_all=ask_all, vocab=vocab, seed=seed
    )
    L = T - 1 - distractors * ask_all
    for row, asked in zip(inputs.tolist(), labels.tolist(), strict=True):
        told = pairs_told(row, L, vocab)
        assert len(told) == 1 + distractors
        assert all(value >= 3 * vocab // 4 for _, value in told.values())
        assert sum(token >= vocab // 2 for token in row[:L]) == 2 * (1 + distractors)  # facts do not overlap
        assert asked[:L] == [IGNORED] * L
        assert asked[L:] == [told[key][1] for key in row[L:]]
        assert len(set(row[L:])) == T - L
        if depth is not None:
            assert told[row[-1]][0] == round(depth * (L - 2))
