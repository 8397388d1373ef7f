"""axe-core's judgement of a page, as far as it is serious."""

from pathlib import Path
from typing import Any

from course_lib.authoring.site import build

ROOT = Path(__file__).parents[2]
# axe's preload reads style sheets anew, which a page opened as a file may not do.
RUN = "axe.run(document, {resultTypes: ['violations'], preload: false})"


def source() -> str:
    """axe itself, fetched once by npm."""
    vendored = build.vendored(ROOT / "build" / "site-packages")
    return (vendored / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def grave(page: Any) -> list[str]:
    """What is serious or critical on a page that `source()` was evaluated in."""
    return [
        f"{found['id']} × {len(found['nodes'])}: {found['nodes'][0]['html'][:200]}"
        for found in page.evaluate(RUN)["violations"]
        if found["impact"] in ("serious", "critical")
    ]
