"""What describes the project agrees: its requirements, and its version."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

ROOT = Path(__file__).parents[2]
RUNTIME = {"torch", "numpy", "matplotlib", "ipywidgets", "tqdm"}
EXTRAS = {"lab", "explore", "author", "grade", "site", "test", "browser"}
CONDA_NAMES = {"pytorch": "torch"}
CONDA_ONLY = {"python", "pip"}
COURSE = "linear-time-models-course"


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pinned() -> dict[str, str]:
    rows = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [row.split("==") for row in rows if row and not row.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def required(*extras: str) -> dict[str, Requirement]:
    """Name → requirement, of the runtime and these extras, extras of extras included."""
    entries, waiting, seen = list(project()["dependencies"]), list(extras), set()
    while waiting:
        extra = waiting.pop()
        seen.add(extra)
        for text in project()["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if requirement.name == COURSE:
                waiting += requirement.extras - seen
            else:
                entries.append(text)
    return {canonicalize_name(r.name): r for r in map(Requirement, entries)}


def conda() -> dict[str, MatchSpec]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    specs = [MatchSpec(entry) for entry in entries if isinstance(entry, str)]
    return {CONDA_NAMES.get(spec.name.normalized, spec.name.normalized): spec for spec in specs}


def lower_bound(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == ">=", f"{requirement}: a lower bound and nothing else"
    return specifier.version


def test_the_student_needs_five_packages():
    assert set(required()) == RUNTIME


def test_the_extras_are_there():
    assert set(project()["optional-dependencies"]) == EXTRAS


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_requirements_are_lower_bounds_only(extra):
    for requirement in required(extra).values():
        lower_bound(requirement)


@pytest.mark.parametrize("extra", ["lab", "author", "grade", "site", "test"])
def test_everything_the_extras_need_is_pinned_within_its_bounds(extra):
    versions = pinned()
    for name, requirement in required(extra).items():
        assert name in versions, f"{name} is not in constraints.txt"
        assert requirement.specifier.contains(versions[name]), f"{requirement}, pinned {versions[name]}"


def test_pins_are_exact_and_public():
    assert pinned()["torch"] == "2.13.0"
    for name, version in pinned().items():
        assert re.fullmatch(r"[\w.]+", version), f"{name}=={version}: no local suffix, no range"


def test_conda_brings_what_the_lab_needs():
    assert set(required("lab")) | {"nbval"} | CONDA_ONLY == set(conda())


def test_conda_has_the_bounds_of_pip():
    for name, requirement in required("test").items():
        if name in conda():
            bound = VersionSpec(f">={lower_bound(requirement)}")
            assert VersionSpec(conda()[name].version) == bound, f"{name}: {conda()[name]}"


def test_conda_accepts_the_pinned_versions():
    for name, spec in conda().items():
        if name not in CONDA_ONLY:
            assert VersionSpec(spec.version).matches(Version(pinned()[name])), f"{spec}, {pinned()[name]}"


def test_conda_and_pip_want_the_same_python():
    spec = VersionSpec(conda()["python"].version)
    assert project()["requires-python"] == ">=3.11"
    assert [spec.matches(Version(v)) for v in ("3.10.9", "3.11.0", "3.13.9")] == [False, True, True]


def test_conda_installs_the_course_itself_through_pip():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert [entry["pip"] for entry in entries if isinstance(entry, dict)] == [["-e ."]]


# ---- version, citation ------------------------------------------------------------------------------


def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def newest_heading() -> tuple[str, str]:
    """The version and the date, or "unreleased", of the changelog's first heading."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.search(r"^## (\d+\.\d+\.\d+) \((unreleased|\d{4}-\d\d-\d\d)\)$", text, re.M).groups()


def test_one_version_everywhere():
    version, _ = newest_heading()
    assert project()["version"] == citation()["version"] == version


def test_a_release_has_one_date_and_what_is_unreleased_has_none():
    released = str(citation().get("date-released", "unreleased"))
    assert released == newest_heading()[1]


def test_the_citation_says_what_the_project_says():
    wanted = citation()
    assert set(wanted) >= {"cff-version", "message", "title", "authors", "license"}
    assert wanted["keywords"] == project()["keywords"]
    assert " AND ".join(wanted["license"]) == project()["license"]
    assert wanted["title"] == yaml.safe_load((ROOT / "notebooks/course.yml").read_text("utf-8"))["title"]
    (author,) = wanted["authors"]
    assert author["name"].lower() in (ROOT / "LICENSE").read_text(encoding="utf-8").lower()


# ---- conftest.py --------------------------------------------------------------------------------

SKIPPING = """
import os
import pytest

def test_skips():
    pytest.skip("a tool is missing")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    raise AssertionError

def test_environment():
    assert os.environ["COURSE_SIZE"] == "ci"
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert os.path.isdir(os.path.dirname(os.environ["COURSE_PROGRESS"]))
"""
MODULE_SKIP = "import pytest\n\npytest.importorskip('no_such_module')\n"


def pytest_in(folder: Path, **env: str) -> str:
    """The closing line of a pytest run in `folder` under this project's conftest."""
    shutil.copy(ROOT / "conftest.py", folder)
    unset = ("COURSE_SIZE", "COURSE_PROGRESS", "COURSE_REQUIRE_ALL", "OMP_NUM_THREADS")
    clean = {k: v for k, v in os.environ.items() if k not in unset and not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)]
    ran = subprocess.run(command, cwd=folder, env=clean | env, capture_output=True, text=True, check=False)
    return ran.stdout.strip().splitlines()[-1]


def test_a_skip_is_a_skip_by_default(tmp_path):
    (tmp_path / "test_a.py").write_text(SKIPPING)
    (tmp_path / "test_b.py").write_text(MODULE_SKIP)
    assert "1 passed, 2 skipped, 1 xfailed" in pytest_in(tmp_path)


def test_a_skip_fails_where_everything_is_required(tmp_path):
    (tmp_path / "test_a.py").write_text(SKIPPING)
    assert "1 failed, 1 passed, 1 xfailed" in pytest_in(tmp_path, COURSE_REQUIRE_ALL="1")


def test_a_skipped_module_fails_where_everything_is_required(tmp_path):
    (tmp_path / "test_b.py").write_text(MODULE_SKIP)
    assert "1 error" in pytest_in(tmp_path, COURSE_REQUIRE_ALL="1")
