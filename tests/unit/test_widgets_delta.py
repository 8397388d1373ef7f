"""The collision explorer of chapter 11, moved without a front end."""

from course_lib import plots, widgets


def test_the_collision_explorer_says_and_draws_what_its_sliders_ask_for() -> None:
    box = widgets.collision_explorer()
    (overlap, beta), text, figure = box.children[0].children, *box.children[1:]
    assert (overlap.value, beta.value) == (0.8, 1)
    for slider, value in ((overlap, -0.4), (beta, 0.5)):
        before = text.value, figure.value
        slider.value = value
        assert text.value != before[0]
        assert figure.value != before[1]
    one, two = plots.collide(-0.4, 0.5, "delta")
    assert f"delta: {one:.2f} and {two:.2f}" in text.value
    assert f"overlap {overlap.value:.1f} and β = 0.5" in figure.value
