"""Every chapter in JupyterLab, as a student meets it; chapter 08 also answered, wrong and right."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from moving import WIDGET, move_every_control
from notebook_page import TOKEN, NotebookPage, opened, start, write_settings
from playwright.sync_api import Page
from servers import free_port, serving

from course_lib import course
from course_lib.authoring import source

ROOT = Path(__file__).parents[2]
COURSE = course.load()
WIDTHS = (1280, 820)
TALL = 8000  # pixels in one picture
TOO_WIDE = """panel => Array.from(panel.querySelectorAll('.jp-OutputArea-output img, .jp-RenderedHTMLCommon img'))
  .filter(img => img.getBoundingClientRect().right > panel.getBoundingClientRect().right + 1).map(img => img.alt)"""


@pytest.fixture(scope="module")
def address(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `course lab` answers."""
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    base = f"http://127.0.0.1:{port}"
    arguments = ["lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    arguments += [f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]
    settings = {
        "JUPYTERLAB_SETTINGS_DIR": str(write_settings(folder / "settings")),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),  # or tabs of another day are opened again
    }
    with serving(arguments, f"{base}/api/status?token={TOKEN}", checkout, folder / "log", **settings):
        yield base


@pytest.fixture(scope="module")
def lab(chromium, address) -> Iterator[Page]:
    """JupyterLab in a page."""
    page = start(chromium, address)
    yield page
    page.close()


@pytest.mark.parametrize("chapter", COURSE.ready, ids=lambda chapter: chapter.name)
def test_a_chapter_runs_unsolved_and_its_widget_answers(chapter, lab, screenshots):
    with opened(lab, chapter.notebook) as notebook:
        cells = notebook.run_all()
        assert [(cell.id, cell.faults) for cell in cells if cell.faults] == []
        assert [cell.id for cell in cells if cell.count is None] == []
        exercises = [cell for cell in cells if cell.id.startswith("ex-")]
        assert exercises
        assert [cell.id for cell in exercises if "not attempted" not in cell.text] == []
        move_every_control(notebook.panel.locator(WIDGET))
        photograph(notebook, chapter.number, screenshots)


def photograph(notebook: NotebookPage, number: str, folder: Path) -> None:
    """The whole notebook at two widths and in the dark theme; no picture may reach beyond the page."""
    for width in WIDTHS:
        take(notebook, width, folder, f"{number}-{width}")
        assert notebook.panel.evaluate(TOO_WIDE) == []
    notebook.dark(True)
    take(notebook, WIDTHS[0], folder, f"{number}-dark")
    notebook.dark(False)


def take(notebook: NotebookPage, width: int, folder: Path, name: str) -> None:
    """Pictures of at most TALL pixels from the first cell to the last."""
    scroller = notebook.panel.locator(".jp-WindowedPanel-outer")
    notebook.page.set_viewport_size({"width": width, "height": 900})
    height = scroller.evaluate("it => it.scrollHeight")
    notebook.page.set_viewport_size({"width": width, "height": min(height, TALL) + 200})
    for part, top in enumerate(range(0, height, TALL)):
        scroller.evaluate("(it, top) => it.scrollTop = top", top)
        scroller.screenshot(path=folder / f"{name}-{part}.png")
    notebook.page.set_viewport_size({"width": width, "height": 900})


def test_a_wrong_answer_gets_its_hint_and_a_right_one_its_points_which_a_restart_keeps(lab):
    right = solution("08", "ex-08-2")
    wrong = right.replace("z.masked_fill(start[:, None, None], 0) + k_t", "z + k_t")
    assert wrong != right
    with opened(lab, COURSE.chapter("08").notebook) as notebook:
        notebook.run_all()
        hint = notebook.type_and_run("ex-08-2", wrong).text
        assert "✗" in hint
        assert "its normaliser still counts older documents" in hint
        before = points(notebook)
        assert "✓ 4 of 4 cases" in notebook.type_and_run("ex-08-2", right).text
        after = points(notebook)
        assert after > before
        notebook.restart()
        for needed in ("08-setup", "imports-08"):
            assert notebook.run(needed).faults == []
        assert points(notebook) == after


def solution(number: str, cell_id: str) -> str:
    """A cell as the solution notebook has it."""
    cells = source.read(ROOT, COURSE.chapter(number)).cells
    return source.render(next(cell for cell in cells if cell.id == cell_id), solution=True)


def points(notebook: NotebookPage) -> float:
    """What the chapter's last cell counts."""
    found = re.search(r"total\s+([\d.]+) of", notebook.run("score-08").text)
    assert found
    return float(found[1])
