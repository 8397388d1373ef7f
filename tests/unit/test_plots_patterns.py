"""Masks as text and as figures: they draw what they are given, and answer a sketch without ever raising."""

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from course_lib import plots
from course_lib.attention import causal_mask, dilated_mask, receptive_field, window_mask
from course_lib.plots.patterns import FUTURE, HIDDEN, PATTERNS, SEEN


def drawn(fig):
    with plots.style():
        FigureCanvasAgg(fig).draw()
    return fig


BAND = "■ · · ·\n■ ■ · ·\n· ■ ■ ·\n· · ■ ■"


def test_a_mask_in_text():
    assert plots.pattern_text(window_mask(4, 2)) == BAND
    assert plots.pattern_text(window_mask(4, 2), ...) == BAND + "\nnothing drawn yet"


@pytest.mark.parametrize(
    "sketch", ["x...\nxx..\n.xx.\n..xx", "\n  1 0 0 0\n  1 1 0 0\n  - # # -\n  · · ■ ■\n"]
)
def test_a_right_sketch_is_told_so(sketch):
    assert plots.pattern_text(window_mask(4, 2), sketch) == BAND + "\nas you drew it"


def test_a_wrong_sketch_shows_what_is_missing_and_what_is_too_many():
    text = plots.pattern_text(window_mask(4, 2), "x...\nxx..\nxxx.\n...x")
    assert text.splitlines()[2:] == [
        "– ■ ■ ·",
        "· · + ■",
        "2 of 16 pairs differ: + you left out, – you drew too many",
    ]


@pytest.mark.parametrize(
    ("sketch", "said"),
    [
        ("x..\nxx.", "2 rows, 3 signs in each; 4 rows of 4"),
        ("", "0 rows, 0 signs"),
        ("q...\nxx..\n.xx.\n..xx", "'q'"),
        (7, "lines of text"),
    ],
)
def test_an_unreadable_sketch_is_explained(sketch, said):
    assert said in plots.pattern_text(window_mask(4, 2), sketch)


def test_blocks_compute_from_the_first_key_seen_to_their_own_end():
    assert plots.computed_text(window_mask(5, 2), C=2).splitlines() == [
        "■ □ · · ·",
        "■ ■ · · ·",
        "· ■ ■ □ ·",
        "· □ ■ ■ ·",
        "· · · ■ ■",
    ]


def test_the_grid_tells_seen_hidden_and_future_apart():
    masks = {
        "full": causal_mask(4),
        "window": window_mask(4, 2),
        "comb": dilated_mask(4, 2, 2),
        "one": window_mask(4, 1),
    }
    words = list("abcd")
    fig = drawn(plots.pattern_grid(masks, title="Four patterns", tokens=words, mark=(3, 0)))
    assert fig.get_suptitle() == "Four patterns"
    panels, spare = fig.axes[:4], fig.axes[4:]
    assert [ax.get_title() for ax in panels] == list(masks)
    assert not any(ax.axison for ax in spare)
    for ax, mask in zip(panels, masks.values(), strict=True):
        image = torch.as_tensor(ax.get_images()[0].get_array().data)
        assert torch.equal(image == SEEN, mask)
        assert torch.equal(image == FUTURE, torch.ones(4, 4).triu(1).bool())
        assert torch.equal(image == HIDDEN, ~mask & torch.ones(4, 4).tril().bool())
        (ring,) = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        assert (ring.get_x(), ring.get_y()) == (-0.5, 2.5), "the pair (query 3, key 0)"
    assert [t.get_text() for t in panels[0].get_yticklabels()] == words
    assert [t.get_text() for t in panels[1].get_yticklabels()] == [""] * 4
    assert (panels[0].get_ylabel(), panels[3].get_xlabel()) == ("query t", "key i")


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("tokens", [None, ["words", "of", "any", "length"] * 4])
def test_the_words_of_a_grid_are_whole_and_legible(count, tokens):
    fig = drawn(
        plots.pattern_grid({str(n): window_mask(16, 4) for n in range(count)}, title="A title", tokens=tokens)
    )
    words = [fig._suptitle]
    for ax in fig.axes[:count]:
        words += [ax.title, ax.xaxis.label, ax.yaxis.label]
        words += (
            [*ax.get_xticklabels(), *ax.get_yticklabels()] if tokens else []
        )  # numbers: some out of sight
    shown = [word for word in words if word.get_text()]
    assert min(word.get_fontsize() for word in shown) >= 8
    boxes = [word.get_window_extent() for word in shown]
    assert min(box.y0 for box in boxes) >= 0
    assert not any(boxes[0].overlaps(box) for box in boxes[1:]), "the title stands alone"


def test_the_grid_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\[T, T\]"):
        plots.pattern_grid({"a": window_mask(3, 1), "b": window_mask(4, 1)}, title="two sizes")
    with pytest.raises(ValueError, match=r"\[T, T\]"):
        plots.pattern_grid({"a": torch.ones(2, 3).bool()}, title="no square")


def test_reach_is_drawn_by_layer():
    fig = drawn(plots.reach_plot({"window": [1, 4, 7], "all": [1, 9, 9]}, T=9, title="All at once"))
    (ax,) = fig.axes
    curves = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.get_lines()}
    assert curves == {"window": ([0, 1, 2], [1, 4, 7]), "all": ([0, 1, 2], [1, 9, 9])}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("layers", "tokens of 9 reached")
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        plots.reach_plot({"a": [1, 2], "b": [1, 2, 3]}, T=9, title="uneven")


def test_layers_of_a_pattern():
    mask, field = plots.layered_pattern("window", 12, 3, 1, layers=2)
    assert torch.equal(mask, window_mask(12, 3))
    assert torch.equal(field, window_mask(12, 5))
    _, field = plots.layered_pattern("window + dilated", 12, 2, 2, layers=2)
    assert torch.equal(field, receptive_field(window_mask(12, 2), dilated_mask(12, 2, 2)))
    for name in PATTERNS:
        mask, field = plots.layered_pattern(name, 12, 4, 2, layers=1)
        assert torch.equal(mask, field), "one layer reaches what it sees"
    with pytest.raises(ValueError, match="BigBird"):
        plots.layered_pattern("star", 12, 4, 2, layers=1)
