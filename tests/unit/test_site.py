"""What the site is made of: the pages written for Sphinx, docstrings as reStructuredText, and the check of links."""

import copy
import importlib
import json
import re
from pathlib import Path

import pytest

from course_lib import cli
from course_lib import course as courses
from course_lib.authoring.site import build, docstrings, links, pages

ROOT = Path(__file__).parents[2]


def chapter(number: str, before: dict[str, str], *, tracks: list[str], ready: bool = True) -> dict:
    return {
        "number": number,
        "slug": f"topic-{number}",
        "title": f"Topic {number}",
        "part": "I",
        "minutes": 60,
        "status": "ready" if ready else "planned",
        "star": False,
        "tracks": tracks,
        "learn_before": before,
        "objectives": {},
    }


@pytest.fixture
def course() -> courses.Course:
    """00 → 01 → 02 on the long track; the short one leaves 01 out, and 02 is planned."""
    both = ["short", "long"]
    return courses.from_dict(
        {
            "title": "Topics",
            "repository": "",
            "ref": "main",
            "parts": {"I": "All"},
            "tracks": {"short": "Without a detour.", "long": "Everything."},
            "chapters": [
                chapter("00", {}, tracks=both),
                chapter("01", {"00": "it starts there"}, tracks=["long"]),
                chapter("02", {"01": "it goes on"}, tracks=both, ready=False),
            ],
        }
    )


def notebook() -> dict:
    figure = {
        "data": {"image/png": "", "text/plain": "Figure"},
        "metadata": {"image/png": {"alt": "a curve"}},
    }
    bare = {"data": {"image/png": ""}, "metadata": {}}
    table = {"data": {"text/html": ['<a href="00_topic-00.ipynb">00</a>', "<b>x</b>"]}, "metadata": {}}
    stream = {"output_type": "stream", "name": "stdout", "text": "1"}
    return {
        "cells": [
            {"cell_type": "markdown", "metadata": {}, "source": ["# 01 · Topic 01\n", "**Learn before**"]},
            {"cell_type": "code", "metadata": {}, "source": "setup", "outputs": []},
            {"cell_type": "code", "metadata": {"tags": ["exercise"]}, "source": "...", "outputs": [figure]},
            {"cell_type": "code", "metadata": {}, "source": "show()", "outputs": [stream, table, bare]},
        ]
    }


# ---- chapters -----------------------------------------------------------------------------------


def test_a_chapter_names_its_neighbours_on_each_track(course):
    first, second, last = (pages.tracks_text(course, c).splitlines() for c in course.chapters)
    assert first[2:] == [
        "- [short](../map.md#short): the first chapter, before 02 Topic 02 (planned)",
        "- [long](../map.md#long): the first chapter, before [01 Topic 01](01_topic-01.ipynb)",
    ]
    assert second[2:] == [
        "- [long](../map.md#long): after [00 Topic 00](00_topic-00.ipynb), before 02 Topic 02 (planned)"
    ]
    assert last[3].endswith("after [01 Topic 01](01_topic-01.ipynb), the last chapter")


def test_a_page_is_the_notebook_with_tracks_and_links_to_pages(course):
    stored = notebook()
    header, setup, exercise, last = pages.chapter_page(course, course.chapter("01"), copy.deepcopy(stored))[
        "cells"
    ]
    assert header["source"].startswith("# 01 · Topic 01\n**Learn before**\n\n**Tracks**")
    assert header["source"].endswith("[install the course](../start.md), open `01_topic-01.ipynb`.")
    assert setup["metadata"]["tags"] == ["hide-input"]
    assert exercise == stored["cells"][2]
    assert last["outputs"][1]["data"]["text/html"] == '<a href="00_topic-00.html">00</a><b>x</b>'


def test_figures_keep_their_alternative_texts_in_order():
    assert pages.alternatives(notebook()) == ["a curve", ""]


@pytest.mark.parametrize("chapter", courses.load().ready, ids=lambda c: c.number)
def test_every_chapter_says_what_to_learn_before_and_after_and_its_tracks(chapter):
    course = courses.load()
    stored = json.loads((ROOT / "notebooks" / chapter.notebook).read_text(encoding="utf-8"))
    page = pages.chapter_page(course, chapter, stored)
    texts = ["".join(page["cells"][i]["source"]) for i in (0, -1)]
    for number in chapter.learn_before:
        assert pages.reference(course.chapter(number)) in texts[0]
    for track in chapter.tracks:
        assert f"[{track}](../map.md#{track})" in texts[0]
    for number in course.learn_after(chapter.number):
        assert f"{number} {course.chapter(number).title}" in texts[1]
    assert all(pages.alternatives(page)), "every figure has an alternative text"


# ---- other pages --------------------------------------------------------------------------------


def test_the_map_links_what_is_written_and_names_what_is_planned(course):
    page = pages.map_page(course)
    assert set(re.findall(r'href="([^"]*)"', page)) == {
        "notebooks/00_topic-00.html",
        "notebooks/01_topic-01.html",
    }
    assert "02 Topic 02 (planned)</title>" in page
    assert (
        "## short\n\nWithout a detour. About 2 hours.\n\n- [00 Topic 00](notebooks/00_topic-00.ipynb)" in page
    )
    assert "- 02 Topic 02 (planned)" in page


def test_links_on_the_map_are_not_hidden_in_a_picture(course):
    (picture,) = re.findall(r"<svg [^>]*>", pages.map_page(course))
    assert 'role="group"' in picture


def test_a_section_ends_before_the_next():
    text = "# T\n\n## A\n\none\n\n### deeper\n\n## B\n\ntwo\n"
    assert pages.section(text, "A") == "## A\n\none\n\n### deeper\n"
    assert pages.section(text, "B") == "## B\n\ntwo\n"
    with pytest.raises(ValueError, match="no section 'C'"):
        pages.section(text, "C")


def test_everything_is_written_and_every_page_is_in_a_table_of_contents(tmp_path):
    course = courses.load()
    pages.write(ROOT, course, tmp_path)
    written = {
        p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.suffix in (".md", ".ipynb")
    }
    assert {f"notebooks/{c.notebook}" for c in course.ready} <= written
    tables = "\n".join((tmp_path / name).read_text(encoding="utf-8") for name in ("index.md", "api/index.md"))
    for name in written - {"index.md"}:
        stem = name.removeprefix("api/") if name != "api/index.md" else name
        assert re.search(rf"^(.*<)?{re.escape(stem.rsplit('.', 1)[0])}>?$", tables, re.M), name


@pytest.mark.parametrize("name", pages.MODULES)
def test_the_reference_lists_public_names_that_say_what_they_are(name):
    module = importlib.import_module(name)
    names = pages.public(module)
    assert names
    assert not any(n.startswith("_") for n in names)
    assert all(f"   {n}\n" in pages.api_page(name) for n in names)


# ---- docstrings ---------------------------------------------------------------------------------


def test_a_docstring_keeps_its_drawings_and_lists_its_arguments():
    text = "State: S_t = |k|²*β, `[B, T]`.\n\n    a  b_\n    c  d\n\nq, k: `[K]`, the\nrest.\nscale: 1.\n\nReturns o."
    assert docstrings.as_rst(text.splitlines()) == [
        r"State: S\_t = \|k\|²\*β, ``[B, T]``.",
        "",
        "::",
        "",
        "        a  b_",
        "        c  d",
        "",
        "- **q, k**: ``[K]``, the",
        "  rest.",
        "- **scale**: 1.",
        "",
        "Returns o.",
        "",
    ]


def test_a_drawing_may_follow_its_sentence_at_once():
    lines = docstrings.as_rst(["Title.", "", "As here:", "    x * y"])
    assert lines[2:] == ["As here:", "", "::", "", "        x * y", ""]


def test_no_docstring_is_no_docstring():
    assert not any(docstrings.as_rst([]))


# ---- links --------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path) -> Path:
    """Two pages that agree with each other."""
    (tmp_path / "a").mkdir()
    (tmp_path / "index.html").write_text('<a href="a/b.html#here">b</a><a href="https://arxiv.org">out</a>')
    (tmp_path / "a/b.html").write_text(
        '<p id="here"></p><a href="../index.html">a</a><script src="b.js"></script>'
    )
    (tmp_path / "a/b.js").write_text("")
    (tmp_path / "style.css").write_text('p { background: url("a.png"); }')
    return tmp_path


def test_a_site_in_order_has_no_faults(site):
    assert links.faults(site) == []


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="gone.html">x</a>', "index.html: gone.html: no such file"),
        ('<a href="a/b.html#gone">x</a>', "index.html: a/b.html#gone: no such anchor"),
        ('<a href="#gone">x</a>', "index.html: #gone: no such anchor"),
        ('<img src="gone.png">', "index.html: gone.png: no such file"),
        (
            '<script src="https://cdn.example/x.js"></script>',
            "loads https://cdn.example/x.js: not in the site",
        ),
        ('<link rel="stylesheet" href="//cdn.example/x.css">', "loads //cdn.example/x.css: not in the site"),
    ],
)
def test_a_broken_link_and_a_remote_asset_are_found(site, html, fault):
    (site / "index.html").write_text(html)
    (found,) = links.faults(site)
    assert found.endswith(fault)


def test_a_style_sheet_that_loads_from_afar_is_found(site):
    (site / "style.css").write_text(
        '@import "https://fonts.example/a.css"; p { background: url(//b.example/c) }'
    )
    assert [f.split(": ")[1] for f in links.faults(site)] == [
        "loads https://fonts.example/a.css",
        "loads //b.example/c",
    ]


# ---- what is missing ----------------------------------------------------------------------------


def test_packages_are_pinned_exactly_and_no_host_is_named():
    text = (ROOT / "course_lib/authoring/site/package.json").read_text(encoding="utf-8")
    wanted = json.loads(text)
    versions = [*wanted["dependencies"].values(), *wanted["devDependencies"].values()]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)
    assert "://" not in text


def test_npm_is_asked_for_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"npm is missing.*install Node.js.*`course site` again"):
        build.vendored(tmp_path)


def test_what_was_fetched_is_not_fetched_again(tmp_path, monkeypatch):
    wanted = json.loads((ROOT / "course_lib/authoring/site/package.json").read_text(encoding="utf-8"))
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        (tmp_path / "node_modules" / name).mkdir(parents=True)
        (tmp_path / "node_modules" / name / "package.json").write_text(json.dumps({"version": version}))
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    assert build.vendored(tmp_path) == tmp_path / "node_modules"


def test_a_missing_extra_is_named(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(build.importlib, "import_module", missing)
    assert cli.main(["site"]) == 1
    assert '-e ".[site]"' in capsys.readouterr().err
