"""`course site`: writes the pages' source, fetches MathJax from npm, runs Sphinx, and looks at every link."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from course_lib import course
from course_lib.authoring.site import links, pages

HERE = Path(__file__).parent
NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme")


def site(root: Path) -> Path:
    """Builds the site of a checkout anew and returns its folder; ValueError lists every warning and broken link."""
    for module in NEEDED:
        importlib.import_module(module)
    build = root / "build"
    source, out = build / "site-source", build / "site"
    packages = vendored(build / "site-packages")
    for folder in (source, out):
        shutil.rmtree(folder, ignore_errors=True)
    pages.write(root, course.load(), source)
    mathjax = source / "_static" / "mathjax"
    mathjax.mkdir(parents=True)
    shutil.copyfile(packages / "mathjax" / "es5" / "tex-svg-full.js", mathjax / "tex-svg-full.js")
    if faults := run_sphinx(source, out) or links.faults(out):
        raise ValueError("\n".join(["the site has faults:", *faults]))
    return out


def run_sphinx(source: Path, out: Path) -> list[str]:
    """Runs Sphinx's HTML builder and returns its warnings."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace, patch_docutils

    warnings = io.StringIO()
    with patch_docutils(str(HERE)), docutils_namespace():
        app = Sphinx(
            source,
            HERE,
            out,
            source / ".doctrees",
            "html",
            confoverrides={"html_static_path": ["static", str(source / "_static")]},
            status=None,
            warning=warnings,
            parallel=os.cpu_count() or 1,
        )
        app.build()
    return re.sub(r"\x1b\[[\d;]*m", "", warnings.getvalue()).splitlines()  # without colours


def vendored(folder: Path) -> Path:
    """The npm packages of package.json, installed below `folder`; returns their `node_modules`."""
    wanted = json.loads((HERE / "package.json").read_text(encoding="utf-8"))
    versions = wanted["dependencies"] | wanted["devDependencies"]
    modules = folder / "node_modules"
    if all(_version(modules / name) == version for name, version in versions.items()):
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(
            "npm is missing, and formulas are shown with a package from it: install Node.js "
            "(on Debian and Ubuntu: apt install npm), then run `course site` again"
        )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(HERE / "package.json", folder / "package.json")
    command = [npm, "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"npm could not fetch {', '.join(versions)}: {done.stderr.strip()}")
    return modules


def _version(package: Path) -> str | None:
    path = package / "package.json"
    return json.loads(path.read_text(encoding="utf-8"))["version"] if path.is_file() else None
