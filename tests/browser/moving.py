"""The controls of a widget, moved one after the other."""

from playwright.sync_api import Locator, expect

WIDGET = ".widget-vbox:has(> .widget-html img)"  # a row of controls or several, a line of text, the figure
ANSWER_MS = 60_000
# The moving parts of a widget; a group of buttons is one.
CONTROLS = (
    ".widget-dropdown select, .widget-slider [role=slider], .widget-toggle-buttons, "
    ".jupyter-button:not(.widget-toggle-button)"
)


def move_every_control(widget: Locator) -> None:
    """By the keyboard alone. The figure under the controls must be another one each time."""
    picture = widget.locator(".widget-html img")
    controls = widget.locator(CONTROLS).all()
    assert controls
    for control in controls:
        before = picture.get_attribute("src")
        move(control)
        expect(picture).not_to_have_attribute("src", before, timeout=ANSWER_MS)


def move(control: Locator) -> None:
    """One step by the keyboard; a drop-down list, whose arrow keys JupyterLab keeps, takes its next option."""
    kind = control.evaluate("it => it.tagName")
    if "widget-toggle-buttons" in (control.get_attribute("class") or ""):
        control.locator("button:not(.mod-active)").first.press("Enter")
    elif kind == "SELECT":
        control.select_option(index=control.evaluate("it => (it.selectedIndex + 1) % it.options.length"))
    elif kind == "BUTTON":
        control.press("Enter")
    else:
        at_end = control.get_attribute("aria-valuenow") == control.get_attribute("aria-valuemax")
        control.press("ArrowLeft" if at_end else "ArrowRight")
