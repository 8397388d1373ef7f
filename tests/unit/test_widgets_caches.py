"""The factor explorer, moved without a front end."""

import math

from course_lib import plots, widgets


def test_the_factor_explorer_multiplies_what_its_sliders_say():
    box = widgets.factor_explorer()
    controls, text, figure = box.children
    groups, budget, bits, layers, utilisation = controls.children
    start, factors = plots.shrunk(groups=4, budget=0.25, bits=4, utilisation=0.96)
    assert f"leave {plots.size_text(start * math.prod(factors.values()))}" in text.value
    for slider, value in ((groups, 32), (budget, 0.5), (bits, 8), (layers, 0.25), (utilisation, 0.5)):
        before = text.value, figure.value
        slider.value = value
        assert text.value != before[0], slider.description
        assert figure.value != before[1], slider.description
    left = math.prod(plots.shrunk(groups=32, budget=0.5, bits=8, layers=0.25)[1].values())
    assert f"{left:.2%} of it" in text.value
