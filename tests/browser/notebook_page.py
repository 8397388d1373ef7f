"""JupyterLab in a page, driven as a student does."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page

TOKEN = "student"
WAIT_MS = 240_000
# No pop-up about news, and every cell drawn, whether in sight or not.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
OPEN = """async path => {
  const app = window.jupyterapp
  const panel = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'})
  await panel.context.ready
  await panel.sessionContext.ready
  app.shell.collapseLeft()
  app.shell.activateById(panel.id)
  return app.shell.currentWidget.context.path
}"""
CLOSE = """async () => {
  const panel = window.jupyterapp.shell.currentWidget
  await panel.context.save()
  await panel.sessionContext.shutdown()
  panel.dispose()
}"""
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
RESTART = "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})"
CELLS = """() => {
  const cells = window.jupyterapp.shell.currentWidget.content.model.cells
  return Array.from({length: cells.length}, (_, i) => cells.get(i)).map((cell, index) => ({
    id: cell.id, index, count: cell.executionCount, outputs: cell.type === 'code' ? cell.outputs.toJSON() : null}))
}"""
WRITE = """([index, text]) => {
  window.jupyterapp.shell.currentWidget.content.model.cells.get(index).sharedModel.setSource(text)
}"""
RUN_ONE = """async index => {
  window.jupyterapp.shell.currentWidget.content.activeCellIndex = index
  await window.jupyterapp.commands.execute('notebook:run-cell')
}"""
RAN = """([index, before]) => {
  const cell = window.jupyterapp.shell.currentWidget.content.model.cells.get(index)
  return cell.executionCount !== null && cell.executionCount !== before
}"""


@dataclass(frozen=True)
class Cell:
    """A code cell after it ran."""

    id: str
    index: int
    count: int | None
    outputs: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """What it printed, and the plain text of what it showed."""
        parts = (out.get("text") or out.get("data", {}).get("text/plain") or "" for out in self.outputs)
        return "".join("".join(part) for part in parts)

    @property
    def faults(self) -> list[str]:
        """Errors, and what went to stderr, which JupyterLab shows in red."""
        errors = [f"{out['ename']}: {out['evalue']}" for out in self.outputs if out["output_type"] == "error"]
        return errors + ["".join(out["text"]) for out in self.outputs if out.get("name") == "stderr"]


class NotebookPage:
    """The notebook that is open in JupyterLab."""

    def __init__(self, page: Page):
        self.page = page
        self.panel = page.locator(".jp-NotebookPanel:visible")

    def run_all(self) -> list[Cell]:
        """Runs the notebook to its end and returns its code cells."""
        self.page.evaluate(RUN_ALL)
        return self.cells()

    def cells(self) -> list[Cell]:
        return [Cell(**cell) for cell in self.page.evaluate(CELLS) if cell["outputs"] is not None]

    def cell(self, cell_id: str) -> Cell:
        return next(cell for cell in self.cells() if cell.id == cell_id)

    def on_page(self, cell_id: str) -> Locator:
        return self.panel.locator(".jp-Notebook .jp-Cell").nth(self.cell(cell_id).index)

    def run(self, cell_id: str) -> Cell:
        self.page.evaluate(RUN_ONE, self.cell(cell_id).index)
        return self.cell(cell_id)

    def write(self, cell_id: str, text: str) -> None:
        """Replaces a cell's text."""
        self.page.evaluate(WRITE, [self.cell(cell_id).index, text])

    def type_and_run(self, cell_id: str, text: str) -> Cell:
        """Clicks into a cell, types over what is there, presses Shift + Enter, and waits for its end."""
        before = self.cell(cell_id)
        self.on_page(cell_id).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(text)
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function(RAN, arg=[before.index, before.count])
        return self.cell(cell_id)

    def restart(self) -> None:
        """A new kernel, as the button makes it."""
        self.page.evaluate(RESTART)

    def dark(self, on: bool) -> None:
        self.page.evaluate(THEME, "JupyterLab Dark" if on else "JupyterLab Light")


def start(browser: Browser, base: str) -> Page:
    """A page with JupyterLab, started."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{base}/lab?token={TOKEN}")
    page.wait_for_function("window.jupyterapp?.restored.then(() => true)")
    return page


@contextmanager
def opened(page: Page, name: str) -> Iterator[NotebookPage]:
    """A notebook in JupyterLab; saved, and its kernel shut down, at the end."""
    assert page.evaluate(OPEN, name) == name
    yield NotebookPage(page)
    page.evaluate(CLOSE)


def write_settings(folder: Path) -> Path:
    """JupyterLab's user settings for a test, in `folder`."""
    for name, values in SETTINGS.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    return folder
