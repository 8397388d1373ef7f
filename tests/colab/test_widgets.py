"""What the widgets use of ipywidgets is there in Colab's version, under which `.ci/colab` runs this."""

import ast
import inspect

import ipywidgets
import pytest

from course_lib import widgets

TREE = ast.parse(inspect.getsource(widgets))
USED = sorted(
    alias.name
    for node in ast.walk(TREE)
    if isinstance(node, ast.ImportFrom) and node.module == "ipywidgets"
    for alias in node.names
)


def test_this_is_the_version_of_colab():
    assert ipywidgets.__version__ == "7.7.1"
    assert USED


@pytest.mark.parametrize("name", USED)
def test_a_widget_takes_the_arguments_that_it_gets(name):
    calls = [node for node in ast.walk(TREE) if isinstance(node, ast.Call) and _name(node) == name]
    given = {keyword.arg for call in calls for keyword in call.keywords}
    assert given <= set(getattr(ipywidgets, name).class_trait_names())


@pytest.mark.parametrize("number", widgets.EXPLORERS)
def test_an_explorer_draws(number):
    _, *_, text, figure = [
        child for child in widgets.EXPLORERS[number]().children if not isinstance(child, ipywidgets.Button)
    ]
    assert text.value
    assert "data:image/png" in figure.value


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""
