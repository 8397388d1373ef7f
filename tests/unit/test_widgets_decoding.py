"""The cache explorer, moved without a front end."""

from course_lib import cost, widgets


def test_the_cache_explorer_counts_with_its_sliders():
    box = widgets.cache_explorer()
    controls, text, figure = box.children
    layers, kv_heads, D, T, itemsize, parameters, memory = controls.children
    assert "131,072 bytes a token" in text.value
    assert "59 of them fit into 80 GB" in text.value
    for slider, value in ((layers, 80), (kv_heads, 64), (D, 64), (T, 131072), (itemsize, 1), (memory, 24e9)):
        before = text.value, figure.value
        slider.value = value
        assert text.value != before[0], slider.description
        assert figure.value != before[1], slider.description
    assert f"{cost.cache_bytes_per_token(64, 64, 64, 80, 1):,} bytes a token" in text.value
    parameters.value = 70e9
    assert "0 of them fit into 24 GB" in text.value, "weights alone are too large"
    assert "140 GB of weights" in text.value
