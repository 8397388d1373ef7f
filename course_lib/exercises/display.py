"""What a notebook shows: one object with a plain-text and an HTML form, the same words in both.

HTML takes its colours from the page (dark themes too), says everything in words and symbols, and escapes what
a student wrote. `code`, *emphasis* and $formulas$ are marked up in HTML and stay as written in plain text.
Outside IPython the plain text is printed. No times, addresses or paths: the same notebook shows the same
output on every machine.
"""

import html
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

BOX = "border-left: 3px solid currentColor; padding: 0.2em 0.8em; margin: 0.4em 0"
GAP = "margin: 0.6em 0 0"  # above a paragraph or a list
# A letter beside its text, whatever the page's own style says.
TERM = "float: left; clear: left; width: 2em; margin: 0"
TEXT = "float: none; width: auto; margin: 0 0 0 2em"
CELL = "text-align: left; padding: 0.15em 0.9em; border-bottom: 1px solid currentColor"
ONE_LINE = 16  # a cell of a table as short as that is not broken
MESSAGE_LENGTH = 300
MARKUP = re.compile(r"(\$[^$\n]+\$)|`([^`\n]+)`|(?<![\w*])\*([^*\s](?:[^*\n]*[^*\s])?)\*(?![\w*])")


@dataclass(frozen=True)
class Message:
    """Something to show. IPython asks for `_repr_mimebundle_`, print for `text`."""

    text: str
    html: str

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        return {"text/plain": self.text, "text/html": self.html}


def show(message: Message) -> None:
    """Display under IPython, print elsewhere."""
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from IPython.display import display

        display(message)
        return
    try:
        print(message.text)
    except UnicodeEncodeError:  # a console that knows no ✓
        encoding = sys.stdout.encoding or "ascii"
        print(message.text.encode(encoding, "replace").decode(encoding))


def show_safely(make: Callable[[], Message]) -> None:
    """Show what `make` returns. What goes wrong in it becomes a line of text; only Ctrl-C gets out."""
    try:
        message = make()
    except LookupError as error:  # how `find` says that there is no such question
        message = line("", "", error_text(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - neither a bug of ours nor SystemExit may stop a notebook
        text = f"{type(error).__name__}: {error_text(error)}"
        message = line("", "", "the check itself failed; your answer is not to blame.", text)
    show(message)


def error_text(error: BaseException) -> str:
    """An exception's message on one line, without addresses, however badly its class is written."""
    try:
        text = str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 - a student's own exception class
        return ""
    text = re.sub(r"0x[0-9a-fA-F]{4,}", "0x…", " ".join(text.split()))
    return text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + " …"


def markup(text: str) -> str:
    """Escaped HTML of a line of text."""
    return MARKUP.sub(_mark, html.escape(text, quote=False)).replace("\n", "<br>")


def _mark(match: re.Match) -> str:
    formula, code, emphasis = match.groups()
    if formula:
        return formula
    return f"<code>{code}</code>" if code else f"<em>{emphasis}</em>"


def line(label: str, symbol: str, status: str, text: str = "", notes: Iterable[str] = ()) -> Message:
    """`08.2  ✗ 1 of 3 cases   ragged: …`, with notes on lines of their own."""
    head = "  ".join(filter(None, (label, " ".join(filter(None, (symbol, status))))))
    plain = "\n".join([f"{head}   {text}" if text else head, *notes])
    strong = f"<strong>{html.escape(label)}</strong>" if label else ""
    rest = markup(" ".join(filter(None, (symbol, status))))
    body = "".join(f"<br>{markup(part)}" for part in (text, *notes) if part)
    return Message(plain, f'<div role="status" style="{BOX}">{strong} {rest}{body}</div>')


def card(
    title: str, meta: str, paragraphs: Sequence[str], options: Sequence[tuple[str, str]] = ()
) -> Message:
    """A question: its title, a line of facts, its text, and lettered options."""
    lines = (f"  {key}  {text}" for key, text in options)
    plain = "\n".join([title, meta, *(f"\n{p}" for p in paragraphs), *lines])
    rows = "".join(
        f'<dt style="{TERM}"><strong>{html.escape(key)}</strong></dt><dd style="{TEXT}">{markup(text)}</dd>'
        for key, text in options
    )
    lettered = f'<dl style="{GAP}">{rows}</dl>' if rows else ""
    body = "".join(f'<p style="{GAP}">{markup(p)}</p>' for p in paragraphs) + lettered
    head = f"<strong>{markup(title)}</strong><br><em>{markup(meta)}</em>"
    return Message(plain, f'<div style="{BOX}">{head}{body}</div>')


def table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> Message:
    """Aligned columns in plain text, a table in HTML."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in (header, *rows)
    ]
    plain = "\n".join([title, *lines, *notes])
    head = "".join(f'<th scope="col" style="{CELL}">{markup(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    caption = f'<caption style="text-align: left"><strong>{markup(title)}</strong></caption>'
    tail = "".join(f"<br>{markup(note)}" for note in notes)
    grid = f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return Message(plain, f"<div>{grid}{tail}</div>")


def _cell(text: str) -> str:
    style = f"{CELL}; white-space: nowrap" if len(text) <= ONE_LINE else CELL
    return f'<td style="{style}">{markup(text)}</td>'
