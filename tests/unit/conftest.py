"""A tiny course of its own, so that the pipeline is tested without the real chapters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from course_lib.authoring import build

TINY = Path(__file__).parent / "fixtures" / "tiny"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkout of its own: one written chapter, one planned, and a course_lib of three modules."""
    return Path(shutil.copytree(TINY, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkout with its two notebooks, built once by each worker."""
    root = tmp_path_factory.mktemp("built") / "tiny"
    shutil.copytree(TINY, root)
    messages: list[str] = []
    assert build.build(root, echo=messages.append) == 0, messages
    return root


@pytest.fixture
def built(built_once: Path, tmp_path: Path) -> Path:
    """A copy of the built tiny checkout, to be spoiled by one test."""
    return Path(shutil.copytree(built_once, tmp_path / "tiny"))
