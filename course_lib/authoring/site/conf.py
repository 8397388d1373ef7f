"""Sphinx's settings for the course's site; `build` hands over where the source lies."""

import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

from course_lib import course
from course_lib.authoring.site import docstrings, pages

project = course.load().title
language = "en"
smartquotes = False
highlight_language = "none"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax"]
exclude_patterns = ["_static"]
html_copy_source = False
html_domain_indices = False

# Stored outputs only. Notebooks hold no widget state, so no page needs a widget manager.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autosummary_generate = False
add_module_names = False
maximum_signature_line_length = 88

html_theme = "sphinx_book_theme"
html_title = project
html_css_files = ["course.css"]
html_js_files = ["course.js"]
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],
    "use_download_button": False,
    "show_toc_level": 2,
    "footer_content_items": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# One file that holds its fonts and all extensions; the menu would load more from elsewhere.
mathjax_path = "mathjax/tex-svg-full.js"
mathjax3_config = {"options": {"enableMenu": False}}


def _plain_docstring(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """A module's own docstring already stands above the table of its names."""
    lines[:] = [] if what == "module" else docstrings.as_rst(lines)


def _plain_signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """A default that is no expression, such as `<factory>`, would spoil the whole signature."""
    return signature and re.sub(r"<[^<>]+>", "...", signature), returns


def _alternative_texts(app: Sphinx, doctree: nodes.document) -> None:
    """Hands each figure of a notebook the text stored with it, which myst-nb drops."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix == ".ipynb":
        texts = pages.alternatives(json.loads(path.read_text(encoding="utf-8")))
        outputs = [box for box in doctree.findall(nodes.container) if "cell_output" in box["classes"]]
        images = [image for output in outputs for image in output.findall(nodes.image)]
        for image, text in zip(images, texts, strict=True):
            image["alt"] = text


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", _plain_docstring)
    app.connect("autodoc-process-signature", _plain_signature)
    app.connect("doctree-read", _alternative_texts, priority=100)
