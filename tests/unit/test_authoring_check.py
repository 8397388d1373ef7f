"""`course build --check`: every fault that it knows turns it red, and a clean checkout is green."""

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from course_lib.authoring import build, check

NOTEBOOK = Path("notebooks/00_first-steps.ipynb")
SOURCE = Path("notebooks/source/00_first-steps.md")
COURSE = Path("notebooks/course.yml")
QUESTIONS = Path("course_lib/exercises/first_steps.py")
ALT = "The measured time grows in proportion to the length."


def faults(root: Path) -> list[str]:
    return check.check(root)[0]


def assert_red(root: Path, fault: str) -> None:
    found = faults(root)
    assert any(fault in text for text in found), found


def edit(root: Path, path: Path, old: str, new: str) -> None:
    text = (root / path).read_text(encoding="utf-8")
    assert old in text
    (root / path).write_text(text.replace(old, new, 1), encoding="utf-8")


def edit_notebook(root: Path, change: Callable[[nbformat.NotebookNode], object]) -> None:
    notebook = nbformat.read(root / NOTEBOOK, as_version=4)
    change(notebook)
    nbformat.write(notebook, root / NOTEBOOK)


def code_cell(notebook: nbformat.NotebookNode, text: str = "double(21)") -> nbformat.NotebookNode:
    return next(c for c in notebook.cells if c.cell_type == "code" and text in c.source)


def png(dpi: int) -> str:
    """A PNG of one pixel that states its resolution."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    dots = round(dpi / 0.0254)
    resolution = chunk(b"pHYs", struct.pack(">IIB", dots, dots, 1))
    pixel = chunk(b"IDAT", zlib.compress(b"\0\0"))
    raw = b"\x89PNG\r\n\x1a\n" + header + resolution + pixel + chunk(b"IEND", b"")
    return base64.b64encode(raw).decode()


def add_figure(notebook: nbformat.NotebookNode, alt: str, dpi: int = 100) -> None:
    metadata = {"image/png": {"alt": alt}} if alt else {}
    output = nbformat.v4.new_output("display_data", {"image/png": png(dpi)}, metadata=metadata)
    code_cell(notebook).outputs.append(output)


def test_a_built_checkout_is_green(built):
    assert check.check(built) == ([], [])


# ---- notebooks against sources ------------------------------------------------------------------

NOTEBOOK_EDITS = {
    "edited code": (
        lambda n: code_cell(n).update(source="print(double(1))"),
        "differs from its source",
    ),
    "edited prose": (lambda n: n.cells[2].update(source="Other words."), "differs from its source"),
    "edited tags": (lambda n: code_cell(n).metadata.update(tags=["exercise"]), "differs from its source"),
    "deleted cell": (lambda n: n.cells.pop(3), "is missing"),
    "added cell": (
        lambda n: n.cells.append(nbformat.v4.new_markdown_cell("mine", id="mine")),
        "the prose 'mine' is not in the source",
    ),
    "a broken question": (
        lambda n: code_cell(n).outputs.append(
            nbformat.v4.new_output(
                "stream", text="the check itself failed; your answer is not to blame.   TypeError: no n\n"
            )
        ),
        "holds a question that is itself broken: TypeError: no n",
    ),
    "moved cells": (lambda n: n.cells.append(n.cells.pop(2)), "another order"),
    "edited metadata": (lambda n: n.metadata.update(widgets={}), "its metadata were changed"),
    "foreign outputs": (lambda n: n.metadata.course.update(code="0"), "made by other code"),
    "never executed": (lambda n: code_cell(n).update(execution_count=None), "was not executed"),
    "an error": (
        lambda n: code_cell(n).outputs.append(
            nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])
        ),
        "holds an error",
    ),
    "stderr": (
        lambda n: code_cell(n).outputs.append(nbformat.v4.new_output("stream", name="stderr", text="x")),
        "holds stderr",
    ),
    "a path": (
        lambda n: code_cell(n).outputs.append(nbformat.v4.new_output("stream", text="/home/me/x\n")),
        "holds the machine's path '/home/me/x'",
    ),
    "a leak in prose": (
        lambda n: n.cells[2].update(source="try total = x + x  # the whole secret"),
        "a line of the solution in cell ex-00-1 leaked",
    ),
    "a leak in an output": (
        lambda n: code_cell(n).outputs.append(nbformat.v4.new_output("stream", text='answer_00_2 = "B"')),
        "a line of the solution in cell ex-00-2 leaked",
    ),
    "a leak in metadata": (
        lambda n: code_cell(n).metadata.update(hint='answer_00_2 = "B"'),
        "a line of the solution in cell ex-00-2 leaked",
    ),
    "no alt text": (lambda n: add_figure(n, ""), "a figure has no alt text"),
    "a short alt text": (lambda n: add_figure(n, "A plot."), "an alt text of 7 characters"),
    "a fine figure": (lambda n: add_figure(n, ALT, dpi=300), "a figure has 300 dpi"),
}


@pytest.mark.parametrize("name", NOTEBOOK_EDITS)
def test_an_edited_notebook_is_red(built, name):
    change, fault = NOTEBOOK_EDITS[name]
    edit_notebook(built, change)
    assert_red(built, fault)
    assert all(text.startswith("00_first-steps: ") for text in faults(built))


def test_a_good_figure_is_green(built):
    edit_notebook(built, lambda n: add_figure(n, ALT))
    assert faults(built) == []


def test_a_missing_notebook_is_red(built):
    (built / NOTEBOOK).unlink()
    assert_red(built, "there is no notebook; run `course build 00`")


@pytest.mark.parametrize("name", ["notebooks/05_stray.ipynb", "notebooks/source/05_stray.md"])
def test_a_file_of_no_chapter_is_red(built, name):
    (built / name).write_text("{}")
    assert_red(built, f"{name} belongs to no chapter")


# ---- sources ------------------------------------------------------------------------------------

SOURCE_EDITS = {
    "prose": ("Doubling is", "To double is", "the prose 'To double is"),
    "code": ("double(21)", "double(22)", "is not in the source"),
    "solution only": ("total = x + x", "total = 2 * x", None),
    "format": ("double(21)", "double( 21 )", "00_first-steps.md:10: the code is not formatted"),
    "marks": ("    ### END SOLUTION\n", "", "without its partner"),
    "unchecked question": ('check("00.2", answer_00_2)', "answer_00_2", "00.2 is declared but never checked"),
    "undeclared question": (
        'check("00.1", twice)',
        'check("00.9", twice)',
        "00.9 is checked but not declared",
    ),
    "a dollar before code": (
        "Doubling is",
        "Of `$` and $x$`y` one\nis $x$ `z`. Doubling is",
        "00_first-steps.md: a $ stands directly before `y`",
    ),
    "strictness": (
        "print(double(21))\n```",
        "print(double(21))\n```\n"
        + "\n```{code-cell} python\n:tags: [nbval-ignore-output]\n\nprint(1)\n```\n" * 2,
        "3 of 6 code cells are compared strictly, fewer than 60%",
    ),
}


@pytest.mark.parametrize("name", SOURCE_EDITS)
def test_an_edited_source_is_red(built, name):
    old, new, fault = SOURCE_EDITS[name]
    edit(built, SOURCE, old, new)
    if fault:
        assert_red(built, fault)
    else:
        assert faults(built) == [], "a student notebook does not depend on how an answer is written"


def test_a_solution_line_beside_its_stub_leaks(built):
    edit(
        built,
        SOURCE,
        '    """Two times x."""',
        '    """Two times x."""\n    # total = x + x  # the whole secret',
    )
    build.build(built, echo=lambda _: None)
    assert_red(built, "a line of the solution in cell ex-00-1 leaked: 'total = x + x  # the whole secret'")


def test_a_line_shown_before_the_exercise_is_no_leak(built):
    edit(built, SOURCE, "print(double(21))", "x = 1\ntotal = x + x  # the whole secret\nprint(double(21))")
    build.build(built, echo=lambda _: None)
    assert faults(built) == []


def test_a_broken_link_is_red(built):
    edit(built, SOURCE, "(../README.md)", "(../NOWHERE.md)")
    build.build(built, echo=lambda _: None)
    assert faults(built) == [text for text in faults(built) if "broken link ../NOWHERE.md" in text] != []


def test_a_broken_link_in_a_page_is_red(built):
    edit(built, Path("README.md"), "# A tiny course", "# A tiny course\n\n[x](gone.md)")
    assert_red(built, "README.md: broken link gone.md")


@pytest.mark.parametrize("image", ["![short](../README.md)", '<img src="../README.md" alt="short">'])
def test_an_image_in_prose_needs_alt_text(built, image):
    edit(built, SOURCE, "Doubling is", f"{image}\n\nDoubling is")
    build.build(built, echo=lambda _: None)
    assert_red(built, "an alt text of 5 characters")


# ---- graph and questions ------------------------------------------------------------------------

GRAPH_EDITS = {
    "cycle": ("learn_before: {}", 'learn_before: {"01": why}', "the prerequisites form a cycle"),
    "unknown prerequisite": ('"00": doubling', '"07": doubling', "unknown prerequisite '07'"),
    "order": ("learn_before: {}", 'learn_before: {"01": why}', "no topological order"),
    "title": ("title: First steps", "title: Steps", "course_lib/course.json differs"),
    "table": ("title: First steps", "title: Steps", "README.md: the chapter table differs"),
    "header": ("title: First steps", "title: Steps", "cell 00-header differs"),
    "footer": ("doubling is the step", "it is the step", "cell 00-footer differs"),
    "objective without a question": ("say-why: say", "say-how: say", "objective say-how has no question"),
    "question without an objective": (
        "say-why: say",
        "say-how: say",
        "question 00.2 names no objective of its chapter: 'say-why'",
    ),
}


@pytest.mark.parametrize("name", GRAPH_EDITS)
def test_a_faulty_graph_is_red(built, name):
    old, new, fault = GRAPH_EDITS[name]
    edit(built, COURSE, old, new)
    assert_red(built, fault)


def test_missing_questions_are_red(built):
    (built / QUESTIONS).unlink()
    assert_red(built, "objective double has no question")


def test_questions_that_cannot_be_read_are_an_error(built):
    (built / QUESTIONS).write_text("import no_such_module\n")
    with pytest.raises(ValueError, match=r"first_steps\.py:1: ModuleNotFoundError: .*no_such_module"):
        faults(built)


def test_stale_outputs_are_noted_not_red(built):
    edit(built, Path("course_lib/steps.py"), "One step.", "A step.")
    found, notes = check.check(built)
    assert found == []
    assert notes == ["00_first-steps: outputs are older than what made them: course_lib/steps.py changed"]


# ---- parts --------------------------------------------------------------------------------------


def test_links_in_code_and_addresses_are_not_files(tmp_path):
    text = "[a](https://x.org/y) [b](#part) `[c](gone.md)` [d](mailto:a@b.c)\n```\n[e](gone.md)\n```\n"
    assert list(check.broken_links(text, tmp_path)) == []
    assert list(check.broken_links("[a](gone.md#part) <a href='lost.md'>", tmp_path)) == [
        "gone.md#part",
        "lost.md",
    ]


def test_resolution_of_a_png():
    assert check.png_dots_per_metre(png(100)) == 3937
