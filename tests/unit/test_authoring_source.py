"""From a chapter source to cells: ids, lines, stripped solutions, and faults that name their line."""

from textwrap import dedent

import pytest

from course_lib.authoring import graph, source


def chapter_source(tiny, text: str | None = None) -> source.Source:
    chapter = graph.load(tiny).chapter("00")
    if text is not None:
        source.source_path(tiny, chapter).write_text(dedent(text), encoding="utf-8")
    return source.read(tiny, chapter)


def cell(text: str) -> source.Cell:
    return source.Cell("code", "c", dedent(text).strip("\n"), (), 1)


def student(text: str) -> str:
    return source.render(cell(text), solution=False)


FUNCTION = """
    def f(x):
        y = x
        ### BEGIN SOLUTION
        z = y + 1
        return z
        ### END SOLUTION


    f(1)
    """


def test_a_block_in_a_function_becomes_a_stub():
    assert student(FUNCTION) == "def f(x):\n    y = x\n    raise NotImplementedError\n\n\nf(1)"


def test_the_solution_keeps_everything_but_the_marks():
    text = source.render(cell(FUNCTION), solution=True)
    assert text == "def f(x):\n    y = x\n    z = y + 1\n    return z\n\n\nf(1)"


def test_a_block_at_the_top_level_disappears():
    text = """
        a = ...  # "A" or "B"
        ### BEGIN SOLUTION
        a = "B"
        ### END SOLUTION

        check("00.2", a)
        """
    assert student(text) == 'a = ...  # "A" or "B"\n\ncheck("00.2", a)'


def test_a_top_level_block_after_a_function_is_no_part_of_it():
    text = """
        def f():
            return 1


        a = ...
        ### BEGIN SOLUTION
        a = f()
        ### END SOLUTION
        """
    assert "raise" not in student(text)


def test_two_blocks_and_a_method_and_a_long_signature():
    text = """
        class A:
            def f(
                self,
                x,
            ):
                ### BEGIN SOLUTION
                return x
                ### END SOLUTION

            async def g(self):
                ### BEGIN SOLUTION
                return 2
                ### END SOLUTION
        """
    assert student(text).count("        raise NotImplementedError") == 2
    assert "return" not in student(text)


def test_ids_come_from_names_and_hashes_and_are_stable(tiny):
    first, second = chapter_source(tiny), chapter_source(tiny)
    ids = [c.id for c in first.cells]
    assert ids == [c.id for c in second.cells]
    assert len(set(ids)) == len(ids)
    assert {"ex-00-1", "ex-00-2"} <= set(ids)
    assert all(i.startswith(("00-", "ex-00-")) for i in ids)


def test_equal_cells_have_different_ids(tiny):
    same = [c.id for c in chapter_source(tiny).cells if c.text == "The same text stands here twice."]
    assert len(same) == 2
    assert same[1] == f"{same[0]}-2"


def test_an_edit_moves_no_other_id(tiny):
    before = {c.id for c in chapter_source(tiny).cells}
    path = source.source_path(tiny, graph.load(tiny).chapter("00"))
    after = {
        c.id for c in chapter_source(tiny, path.read_text().replace("Doubling is", "To double is")).cells
    }
    assert len(before - after) == len(after - before) == 1


def test_every_code_cell_knows_its_line(tiny):
    found = chapter_source(tiny)
    rows = (tiny / found.path).read_text().splitlines()
    for c in found.cells:
        if c.kind == "code":
            assert rows[c.line - 1] == c.text.splitlines()[0]


def test_a_line_of_the_stripped_cell_is_found_in_the_source(tiny):
    found = chapter_source(tiny)
    rows = (tiny / found.path).read_text().splitlines()
    text = next(source.render(c, solution=False) for c in found.cells if c.id == "ex-00-1")
    at = text.splitlines().index('check("00.1", twice)') + 1
    assert rows[found.line("ex-00-1", at, solution=False) - 1] == 'check("00.1", twice)'
    assert found.line("no-such-cell", 1, solution=False) is None


CELL = "```{{code-cell}} python\n{options}\n{body}\n```\n"


def code_cell(body: str, options: str = "") -> str:
    return CELL.format(options=options, body=dedent(body).strip("\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (code_cell("### BEGIN SOLUTION\nx = 1"), ":3: ### BEGIN SOLUTION without its partner"),
        (code_cell("x = 1\n### END SOLUTION"), ":4: ### END SOLUTION without its partner"),
        (code_cell("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION"), ":4: ### BEGIN"),
        (code_cell("#BEGIN SOLUTION\nx = 1"), ":3: write the mark as"),
        (
            code_cell("for i in range(2):\n    ### BEGIN SOLUTION\n    i\n    ### END SOLUTION"),
            ":4: an indented solution must stand inside a function",
        ),
        (code_cell("x = (\n### BEGIN SOLUTION\n### END SOLUTION"), "must be plain Python"),
        (code_cell("x = 1", ":name: ex-00.1\n"), "may hold only"),
        (code_cell("x = 1", ":name: a\n") + code_cell("y = 1", ":name: a\n"), "'a' is there twice"),
    ],
)
def test_faults_name_path_and_line(tiny, text, message):
    with pytest.raises(source.SourceError) as caught:
        chapter_source(tiny, text)
    assert "notebooks/source/00_first-steps.md:" in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_source_is_named(tiny):
    source.source_path(tiny, graph.load(tiny).chapter("00")).unlink()
    with pytest.raises(source.SourceError, match="has no source"):
        chapter_source(tiny)


def test_header_set_up_and_footer_frame_the_cells(tiny):
    course = graph.load(tiny)
    notebook = source.assemble(course, chapter_source(tiny), solution=False)
    ids = [c.id for c in notebook.cells]
    assert ids[:2] == ["00-header", "00-setup"]
    assert ids[-1] == "00-footer"
    assert notebook.cells[1].source == source.setup_text(course)
    assert next(c for c in notebook.cells if c.id == "ex-00-1").metadata == {"tags": ["exercise"]}


def test_the_address_is_stamped_into_the_set_up_cell(tiny):
    path = tiny / "notebooks" / "course.yml"
    path.write_text(path.read_text().replace('repository: ""', "repository: who/what"))
    assert 'ADDRESS = "git+https://github.com/who/what@main"' in source.setup_text(graph.load(tiny))
    path.write_text(path.read_text().replace("repository: who/what", "repository: file:///srv/x"))
    assert 'ADDRESS = "git+file:///srv/x@main"' in source.setup_text(graph.load(tiny))


def test_broken_options_of_a_cell_name_the_source(tiny):
    with pytest.raises(
        source.SourceError, match=r"notebooks/source/00_.*: jupytext cannot read it: .* line 1 .*YAML"
    ):
        chapter_source(tiny, "```{code-cell} python\n:tags: [oops\n\n1\n```\n")
