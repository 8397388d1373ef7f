"""Figures of a chat: what is drawn is what was given, and what a memory carries is what its cache weighs."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from course_lib import plots
from course_lib.plots.conversations import CHAT, STRATEGIES, TOKEN
from course_lib.tasks import chat, retrieval

PANELS = {
    "first (ms)": {"full": {10: 4.0, 1: 1.0}, "state": {1: 2.0, 10: 2.0}},
    "later (ms)": {"full": {1: 0.5, 10: 0.7}, "state": {1: 0.1, 10: 0.1}},
}
TOLD = {"full": {1: 1.0, 9: 1.0, 5: 1.0}, "window": {1: 0.0, 5: 0.0, 9: 1.0}}


def lines(ax) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): tuple(map(list, line.get_data())) for line in ax.get_lines()}


def test_each_quantity_has_a_panel_and_each_strategy_a_curve_by_turn():
    fig = plots.turns_plot(PANELS, title="A title")
    first, later = fig.axes
    assert lines(first)["full"] == ([1, 10], [1, 4])
    assert lines(later)["state"] == ([1, 10], [0.1, 0.1])
    assert (first.get_ylabel(), later.get_ylabel()) == ("first (ms)", "later (ms)")
    assert {ax.get_yscale() for ax in fig.axes} == {"log"}
    assert {ax.get_xlabel() for ax in fig.axes} == {"turn"}
    looks = [
        {line.get_label(): (line.get_color(), line.get_marker()) for line in ax.get_lines()}
        for ax in fig.axes
    ]
    assert looks[0] == looks[1], "a strategy looks the same in every panel"
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["full", "state"]


@pytest.mark.parametrize(
    ("panels", "words"),
    [
        ({}, "at least one curve"),
        ({"ms": {}}, "at least one curve"),
        ({"ms": {"full": {1: 0.0}}}, "above 0, got 0.0"),
    ],
)
def test_what_cannot_be_drawn_over_turns_is_named(panels, words):
    with pytest.raises(ValueError, match=words):
        plots.turns_plot(panels, title="")


def test_a_curve_under_another_is_wider_than_it():
    over, apart = {1: 1, 10: 4}, {1: 2, 10: 2}
    fig = plots.turns_plot({"carried (kB)": {"full": over, "prefix": dict(over), "state": apart}}, title="")
    full, prefix, state = (line.get_linewidth() for line in fig.axes[0].get_lines())
    assert full > prefix == state


def test_a_strip_has_a_cell_for_each_fact_and_its_average_beside_it():
    fig = plots.told_plot(TOLD, title="A title")
    ax = fig.axes[0]
    (image,) = ax.get_images()
    assert image.get_array().tolist() == [[1, 1, 1], [0, 0, 1]]
    assert image.get_clim() == (0, 1)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["full", "window"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "5", "9"]
    assert [text.get_text() for text in ax.texts] == ["100%", "33%"]
    assert ax.get_xlabel() == "told in turn"


def test_a_strip_of_nothing_shows_where_it_is():
    ax = plots.told_plot(TOLD, title="A title").axes[0]
    frames = [patch.get_bbox() for patch in ax.patches if not patch.get_fill()]
    assert [(box.x0, box.x1) for box in frames] == [(-0.5, 2.5)] * 2
    assert frames[0].y0 < 0 < frames[0].y1 < frames[1].y0 < 1 < frames[1].y1


@pytest.mark.parametrize(
    "curve", [{1: 0.05, 40: 0.47}, {1: 30.7, 60: 262.0}, {1: 3.2, 9: 4.1}, {1: 0.1, 9: 900.0}]
)
def test_an_axis_of_numbers_shows_more_than_one(curve):
    ax = plots.turns_plot({"ms": {"full": curve}}, title="").axes[0]
    low, high = ax.get_ylim()
    assert 3 <= sum(low <= tick <= high for tick in ax.get_yticks()) <= 7


@pytest.mark.parametrize(
    ("told", "words"),
    [({}, "at least one strategy"), (TOLD | {"other": {1: 1.0}}, "turns of 'other' must be")],
)
def test_strips_need_the_same_turns(told, words):
    with pytest.raises(ValueError, match=words):
        plots.told_plot(told, title="")


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("budget", [4_096, 262_144])
def test_the_formula_of_a_memory_is_what_its_cache_weighs(strategy, budget):
    memory = STRATEGIES[strategy](budget)
    talk = chat(seed=0, **CHAT)
    q, k, v, _ = retrieval(talk.words, memory.K)
    cache = memory.make()
    for end, start in ((talk.starts[9], 0), (len(talk.words), talk.starts[9])):
        cache.append(k[:, start:end], v[:, start:end])
        cache.attend(q[:, end - 1 : end])
        assert cache.nbytes == memory.nbytes(end)
    if strategy not in ("full cache", "4 bits"):
        assert cache.nbytes <= budget


def test_a_conversation_knows_what_its_memory_can():
    full, window = (plots.conversation(name, 262_144) for name in ("full cache", "window"))
    assert set(full.recall.values()) == {1.0}
    assert list(full.nbytes) == list(range(1, 61))
    seen = 60 - 262_144 // TOKEN / 60  # the turn in which the window begins
    assert all(share == (turn > seen) for turn, share in window.recall.items())
    assert window.recall[1] == 0
    plain, gated = (plots.conversation(f"delta state{name}", 16_384).recall for name in ("", ", gated"))
    assert sum(plain.values()) < 3 < 28 < sum(gated.values())


@pytest.mark.parametrize(
    ("strategy", "budget", "words"), [("full", 4096, "strategy"), ("window", 100, "got 100")]
)
def test_a_conversation_that_cannot_be_is_named(strategy, budget, words):
    with pytest.raises(ValueError, match=words):
        plots.conversation(strategy, budget)


def test_the_picture_shows_bytes_beside_recall():
    fig = plots.conversation_plot("window", 65_536)
    nbytes, recall = plots.conversation("window", 65_536)
    left, right = fig.axes
    assert lines(left)["carried"][1] == [n / 1e3 for n in nbytes.values()]
    assert set(lines(left)["budget"][1]) == {65.536}
    assert next(iter(lines(right).values())) == (list(recall), list(recall.values()))
    assert "65.5 kB after 60 turns" in fig.get_suptitle()


@pytest.mark.parametrize("which", ["turns", "told", "conversation"])
def test_no_word_is_cut_off(which):
    title = "A title " * 14
    if which == "turns":
        fig = plots.turns_plot(PANELS, title=title)
    else:
        fig = (
            plots.told_plot(TOLD, title=title)
            if which == "told"
            else plots.conversation_plot("4 bits", 4_096)
        )
    with plots.style():
        FigureCanvasAgg(fig).draw()
    page = fig.bbox.padded(1)
    words = [*fig.texts, *fig.legends]
    words += [word for ax in fig.axes for word in (*ax.texts, ax.xaxis.label, ax.yaxis.label)]
    for box in (box for box in (word.get_window_extent() for word in words) if box.width):
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1
