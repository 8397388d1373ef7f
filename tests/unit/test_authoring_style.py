"""Formatting the code inside a chapter source, and nothing else of it."""

import pytest

from course_lib.authoring import build, style

UGLY = """Prose  with  two  spaces and `f( x )`.

```{code-cell} python
:name: ex-1
:tags: [exercise]

def f(x):   # aligned
    ### BEGIN SOLUTION
    return x+1
    ### END SOLUTION
f( 1 )
```

```python
shown( as_it_is )
```

```{code-cell} python
%time x=1
```
"""
NEAT = """Prose  with  two  spaces and `f( x )`.

```{code-cell} python
:name: ex-1
:tags: [exercise]

def f(x):  # aligned
    ### BEGIN SOLUTION
    return x + 1
    ### END SOLUTION


f(1)
```

```python
shown( as_it_is )
```

```{code-cell} python
%time x=1
```
"""


def test_code_cells_are_formatted_and_nothing_else(tiny):
    assert style.formatted(tiny, UGLY) == NEAT
    assert style.formatted(tiny, NEAT) == NEAT


def test_the_first_ugly_line_is_named(tiny):
    assert list(style.style_faults(tiny, "x.md", UGLY)) == [
        "x.md:7: the code is not formatted; run `course build --format`"
    ]
    assert list(style.style_faults(tiny, "x.md", NEAT)) == []


def test_a_cell_that_is_no_python_is_an_error(tiny):
    with pytest.raises(ValueError, match="ruff cannot format a cell"):
        style.formatted(tiny, "```{code-cell} python\nx = (\n```\n")


def test_the_line_length_is_the_projects(tiny):
    long = "```{code-cell} python\nx = f(" + ", ".join(["argument"] * 9) + ")\n```\n"
    project = tiny / "pyproject.toml"
    before = project.read_text()
    assert style.formatted(tiny, long) != long
    project.write_text(before + "\n[tool.ruff]\nline-length = 110\n")
    assert style.formatted(tiny, long) == long


def test_build_formats_sources_in_place(tiny):
    path = tiny / "notebooks/source/00_first-steps.md"
    text = path.read_text()
    path.write_text(text.replace("double(21)", "double( 21 )"))
    build.format_sources(tiny)
    assert path.read_text() == text


def test_a_cell_that_is_no_python_is_named_with_its_line(tiny):
    broken = NEAT.replace("return x + 1", "return (x + 1")
    assert list(style.style_faults(tiny, "x.md", broken)) == ["x.md:9: '(' was never closed"]
