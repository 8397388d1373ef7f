"""Every page of the site in Chromium: offline, on a desk and on a phone, light and dark, judged by axe.

COURSE_SITE names a folder that `course site` made; without it the site is built once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import axe
import pytest

from course_lib import course
from course_lib.authoring.site import build, links

ROOT = Path(__file__).parents[2]
WIDTHS = (1280, 390)
THEMES = ("light", "dark")


@dataclass
class Visit:
    """What was seen on one page at one width, in both themes."""

    page: str
    width: int
    remote: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    grounds: dict[str, str] = field(default_factory=dict)
    scroll_width: int = 0
    bad_formulas: int = 0
    poor_images: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.page} at {self.width}"


@pytest.fixture(scope="session")
def site() -> Path:
    given = os.environ.get("COURSE_SITE")
    return Path(given).resolve() if given else build.site(ROOT)


@pytest.fixture(scope="session")
def visits(site: Path, chromium: Any) -> list[Visit]:
    """Every page at every width, each loaded once."""
    names = sorted(p.relative_to(site).as_posix() for p in site.rglob("*.html") if "_static" not in p.parts)
    seen = []
    for width in WIDTHS:
        context = chromium.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
        seen += [visit(context, site, name, width) for name in names]
        context.close()
    return seen


def visit(context: Any, site: Path, name: str, width: int) -> Visit:
    tab, record = context.new_page(), Visit(name, width)
    tab.on("request", lambda r: record.remote.append(r.url) if r.url.startswith("http") else None)
    tab.on("requestfailed", lambda r: record.errors.append(f"{r.url} failed"))
    tab.on("pageerror", lambda error: record.errors.append(str(error)))
    tab.on("console", lambda m: record.errors.append(m.text) if m.type == "error" else None)
    tab.emulate_media(color_scheme="light")
    tab.goto((site / name).as_uri())
    tab.evaluate("window.MathJax?.startup?.promise.then(() => 0)")
    record.scroll_width = tab.evaluate("document.documentElement.scrollWidth")
    record.bad_formulas = tab.locator("[data-mjx-error], [data-mml-node=merror]").count()
    record.poor_images = tab.evaluate(
        "[...document.images].filter(i => i.alt.length < 40).map(i => i.outerHTML)"
    )
    tab.evaluate(axe.source())
    for theme in THEMES:
        tab.emulate_media(color_scheme=theme)
        tab.wait_for_function(f"document.documentElement.dataset.theme == '{theme}'")
        record.grounds[theme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        record.violations += [f"{theme}: {line}" for line in axe.grave(tab)]
    tab.close()
    return record


def test_every_kind_of_page_was_seen(visits):
    seen = {v.page for v in visits}
    assert {f"notebooks/{c.name}.html" for c in course.load().ready} <= seen
    assert {"index.html", "map.html", "teachers.html", "CHANGELOG.html", "search.html"} <= seen
    assert "api/course_lib.attention.html" in seen


def test_axe_finds_nothing_serious(visits):
    assert [f"{v}, {line}" for v in visits for line in v.violations] == []


def test_no_page_scrolls_sideways(visits):
    assert [f"{v}: {v.scroll_width}" for v in visits if v.scroll_width > v.width] == []


def test_nothing_is_fetched_and_nothing_fails(visits):
    assert [f"{v}: {line}" for v in visits for line in v.remote + v.errors] == []


def test_every_formula_is_set(visits):
    assert [str(v) for v in visits if v.bad_formulas] == []


def test_every_figure_says_what_it_shows(visits):
    assert [f"{v}: {image}" for v in visits for image in v.poor_images] == []


def test_the_dark_theme_is_dark(visits):
    assert {(v.grounds["light"], v.grounds["dark"]) for v in visits} == {
        ("rgb(255, 255, 255)", "rgb(18, 18, 18)")
    }


def test_every_link_leads_somewhere(site):
    assert links.faults(site) == []


def test_a_formula_is_drawn_offline(site, chromium):
    tab = chromium.new_page()
    tab.goto((site / "notebooks/08_linear-attention.html").as_uri())
    tab.wait_for_selector("mjx-container svg")
    tab.close()


def test_the_map_leads_to_a_chapter(site, chromium):
    tab = chromium.new_page(viewport={"width": 390, "height": 900})
    tab.goto((site / "map.html").as_uri())
    tab.locator(".concept-map a[title^='08 ']").click()
    tab.wait_for_url("**/notebooks/08_linear-attention.html")
    assert tab.title().startswith("08 · Linear attention")
    tab.close()


def test_search_finds_a_chapter_and_a_function(site, chromium):
    tab = chromium.new_page()
    for words, page in (
        ("normaliser", "notebooks/08_linear-attention.html"),
        ("gated_delta_rule", "#course_lib"),
    ):
        tab.goto((site / "search.html").as_uri() + f"?q={words}")
        tab.wait_for_selector(f"#search-results a[href*='{page}']")
    tab.close()
