"""`course explore` in a browser: every widget is there and answers, screen readers can name its controls, and nothing
is fetched from elsewhere.
"""

import axe
from moving import move_every_control
from playwright.sync_api import expect
from servers import free_port, serving

from course_lib.course import load
from course_lib.widgets import EXPLORERS


def test_every_widget_is_on_the_page_and_answers(checkout, chromium, screenshots, tmp_path):
    base = f"http://127.0.0.1:{(port := free_port())}"
    with serving(
        ["explore", "--no-browser", f"--port={port}"], f"{base}/favicon.ico", checkout, tmp_path / "log"
    ):
        page = chromium.new_page()
        page.set_default_timeout(120_000)
        elsewhere = []
        page.on(
            "requestfinished",
            lambda request: elsewhere.append(request.url) if _is_elsewhere(request.url, base) else None,
        )
        page.goto(base)
        widgets = page.locator(".widget-vbox:has(> .widget-html img)")
        expect(widgets).to_have_count(len(EXPLORERS))
        for number, widget in zip(EXPLORERS, widgets.all(), strict=True):
            assert load().chapter(number).title in page.content()
            move_every_control(widget)
        page.evaluate(axe.source())
        assert axe.grave(page) == []
        page.locator("#rendered_cells").screenshot(path=screenshots / "explore.png")
        page.close()
    assert elsewhere == []


def _is_elsewhere(url: str, base: str) -> bool:
    return not url.startswith((base, base.replace("http", "ws"), "data:", "blob:"))
