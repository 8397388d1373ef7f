"""Docstrings as reStructuredText: autodoc reads that, and the course writes plain text with backticks.

`[B, T, H, K]` becomes literal text and an indented drawing a literal block; a line that starts with the name of an
argument and a colon becomes an item of a list. Everything else stands as it is written: stars, bars and underscores
are no markup.
"""

from __future__ import annotations

import itertools
import re

ARGUMENT = re.compile(r"^(\w+(?:, \w+)*): (?=\S)")


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring, its margin already taken off, as lines of reStructuredText."""
    result = [escaped(line) for line in lines[:1]] + [""]
    for blank, group in itertools.groupby(lines[1:], key=lambda line: not line.strip()):
        block = list(group)
        if not blank:
            result += _literal(block) if block[0].startswith("  ") else _paragraph(block)
            result.append("")
    return result


def _literal(block: list[str]) -> list[str]:
    return ["::", "", *("    " + line for line in block)]


def _paragraph(block: list[str]) -> list[str]:
    """Text, and a list where lines name arguments; an indented line after text is part of a drawing."""
    for i, line in enumerate(block):
        if line.startswith("  "):
            return [*_paragraph(block[:i]), "", *_literal(block[i:])] if i else _literal(block)
    result: list[str] = []
    inside = False
    for line in block:
        if match := ARGUMENT.match(line):
            result += [""] if result and not inside else []
            result.append(f"- **{match[1]}**: {escaped(line[match.end() :])}")
            inside = True
        else:
            result.append("  " * inside + escaped(line))
    return result


def escaped(text: str) -> str:
    """Text in which only backticks mark anything."""
    parts = re.split(r"`+([^`]+)`+", text)
    return "".join(
        f"``{part}``" if i % 2 else re.sub(r"([\\*_|])", r"\\\1", part) for i, part in enumerate(parts)
    )
