"""What may be wrong in a built site: a link to a page or an anchor that is not there, and anything fetched from afar.

A reader offline sees all of a page only if whatever it loads lies in the folder; that a link leads elsewhere is fine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADING = {"script", "img", "source", "iframe", "audio", "video", "embed"}
REMOTE_CSS = re.compile(r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)""")


class Page(HTMLParser):
    """The anchors of a page, its links, and the addresses it loads."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called for every tag."""
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag in ("a", "area") and values.get("href"):
            self.links.append(values["href"])
        elif tag in LOADING and values.get("src"):
            self.loads.append(values["src"])
        elif tag == "link" and values.get("href") and values.get("rel") not in ("canonical", "author"):
            self.loads.append(values["href"])


def faults(site: Path) -> list[str]:
    """Every fault of the built pages and style sheets, one line each."""
    return [*_page_faults(site), *_style_faults(site)]


def _page_faults(site: Path) -> Iterator[str]:
    for path in sorted(set(site.rglob("*.html")) - set(site.glob("_static/*.html"))):  # the theme's templates
        page, name = _page(path), path.relative_to(site).as_posix()
        for address in dict.fromkeys(page.links + page.loads):
            if why := _fault(path, address):
                yield f"{name}: {address}: {why}"
        yield from (f"{name}: loads {address}: not in the site" for address in page.loads if _remote(address))


def _style_faults(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*.css")):
        for address in REMOTE_CSS.findall(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site).as_posix()}: loads {address}: not in the site"


def _fault(path: Path, address: str) -> str | None:
    """Why an address that should be within the site leads nowhere; None when it does, or leaves the site."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not target.is_file():
        return "no such file"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in _page(target).anchors:
        return "no such anchor"
    return None


def _remote(address: str) -> bool:
    return bool(urlsplit(address).netloc)


@cache
def _page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))
