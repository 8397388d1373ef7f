"""Places that hold submissions, for the tests of the grader."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes files into a folder of submissions."""

    def write(files: dict[str, bytes]) -> Path:
        for name, data in files.items():
            path = tmp_path / "hand-in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "hand-in"

    return write


@pytest.fixture
def packed(tmp_path: Path) -> Callable[..., Path]:
    """Writes files into a zip."""

    def write(
        files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, name: str = "download.zip"
    ) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", method) as archive:
            for member, data in files.items():
                archive.writestr(member, data)
        return tmp_path / name

    return write
