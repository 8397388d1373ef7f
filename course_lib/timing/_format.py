"""Numbers as people read them, and one table for the terminal and the notebook.

1.3e-05 s is written 13 µs and 67,108,864 bytes 64.0 MiB; a median goes beside what it is compared with.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from html import escape

SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
CAPTION_CHARS = 50  # that a line of a caption holds, however narrow its table


def seconds(value: float) -> str:
    """12.3 ms: three significant digits in the unit that fits."""
    return _scaled(value, SECONDS)


def size(value: float) -> str:
    """64.0 MiB: powers of 1,024."""
    return _scaled(value, BYTES)


def factor(value: float) -> str:
    """× 4, or ÷ 4 for a quarter."""
    return f"× {value:.3g}" if value >= 1 else f"÷ {1 / value:.3g}"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    return "\n".join(_line(row, widths) for row in (header, *rows))


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """The same table as HTML, every cell escaped."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    room = f"text-align: left; min-width: {0.55 * min(len(caption), CAPTION_CHARS):.0f}em"
    title = f'<caption style="{room}">{escape(caption)}</caption>' if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Exported:
    """A result that can be written down: `to_dict` (its own), JSON of that, and CSV of its raw samples."""

    def to_json(self) -> str:
        """Everything in `to_dict`, as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """One line a raw sample, in seconds: what, sample."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["what", "seconds"])
        for name, samples in self.raw_samples().items():
            writer.writerows([name, repr(value)] for value in samples)
        return text.getvalue()

    def to_dict(self) -> dict:
        """Plain numbers and strings."""
        raise NotImplementedError

    def raw_samples(self) -> Mapping[str, Sequence[float]]:
        """Seconds by what was timed."""
        raise NotImplementedError


def _scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    factor, unit = next(((f, u) for f, u in units if abs(value) >= f), units[-1])
    scaled = value / factor
    digits = 0 if abs(scaled) >= 99.95 else 1 if abs(scaled) >= 9.995 else 2
    return f"{scaled:,.{digits}f} {unit}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(w) if i == 0 else cell.rjust(w)
        for i, (cell, w) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
