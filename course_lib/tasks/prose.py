"""Real text that is already on every machine: the licence texts that installed Python packages bring."""

from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor


def legal_words(n: int) -> list[str]:
    """The first n words of the licence texts that the installed Python packages bring: real legal prose.

    Its words differ from machine to machine, so no output that is compared may show them.
    ValueError when fewer than n words are installed. Used in chapter 01.
    """
    words: list[str] = []
    for text in _licence_texts():
        words += text.split()
        if len(words) >= n:
            return words[:n]
    raise ValueError(
        f"n is {n:,}, but the licence texts installed here have {len(words):,} words: ask for fewer"
    )


def _licence_texts() -> Iterator[str]:
    for distribution in sorted(metadata.distributions(), key=lambda d: d.name or ""):
        for file in distribution.files or []:
            if file.name.upper().startswith(("LICEN", "COPYING")) and file.suffix in ("", ".txt", ".md"):
                path = Path(str(file.locate()))
                if path.is_file():
                    yield path.read_text(encoding="utf-8", errors="replace")


@cache
def text_bytes() -> Tensor:
    """All licence texts installed here, one after the other, each distinct one once: uint8 `[bytes]`."""
    distinct = dict.fromkeys(_licence_texts())
    return torch.frombuffer(bytearray("\n".join(distinct).encode()), dtype=torch.uint8)
