"""Sweeps on disk: one line of CSV per raw sample, and a stamp beside it that says where they come from.

NAME.csv   curve,T,value            softmax (naive),1024,0.0256
NAME.json  title, measure (so the unit: seconds or bytes), clock, where curves stopped, environment
Both are written to a temporary file first and then renamed, so a killed run leaves no half file.
"""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import course_lib
from course_lib.timing.stamp import Environment
from course_lib.timing.sweeps import Samples, Sweep

HEADER = ["curve", "T", "value"]


def save_sweep(sweep: Sweep, path: str | Path) -> Path:
    """Write `sweep` to `path` (ending in .csv) and its stamp to the .json beside it; returns the path."""
    path = _checked(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = sweep.to_dict()
    samples = stored.pop("samples")
    write_whole(path.with_suffix(".json"), json.dumps(stored, indent=2, ensure_ascii=False) + "\n")
    write_whole(path, _to_csv(samples))
    return path


def load_sweep(path: str | Path) -> Sweep:
    """Read what `save_sweep` wrote. Raises FileNotFoundError if either file is missing."""
    path = _checked(path)
    stamp = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Sweep(
        title=stamp["title"],
        measure=stamp["measure"],
        samples=_from_csv(path.read_text(encoding="utf-8")),
        stopped={name: (T, reason) for name, (T, reason) in stamp["stopped"].items()},
        environment=Environment.from_dict(stamp["environment"]),
        clock=stamp["clock"],
    )


def recorded(name: str) -> Sweep | None:
    """The sweep recorded under that name (without .csv), in the checkout or the installed course, or None."""
    found = (folder / f"{name}.csv" for folder in _folders())
    return next((load_sweep(path) for path in found if path.is_file()), None)


def recorded_names() -> list[str]:
    """The names that `recorded` knows."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.csv")})


def folders(name: str, packed: str) -> Iterator[Path]:
    """Where recordings are: a checkout has data/`name` beside the package, a wheel a copy inside it, `packed`."""
    package = Path(course_lib.__file__).parent
    yield package.parent / "data" / name
    yield package / packed


def _folders() -> Iterator[Path]:
    return folders("measurements", "recorded")


def _checked(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".csv":
        raise ValueError(f"path is {path.name!r}; expected a name that ends in .csv")
    return path


def _to_csv(samples: dict[str, dict[str, list[float]]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for name, curve in samples.items():
        writer.writerows([name, T, repr(value)] for T, taken in curve.items() for value in taken)
    return text.getvalue()


def _from_csv(text: str) -> Samples:
    samples: dict[str, dict[int, list[float]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        samples.setdefault(row["curve"], {}).setdefault(int(row["T"]), []).append(float(row["value"]))
    return {name: {T: tuple(taken) for T, taken in curve.items()} for name, curve in samples.items()}


def write_whole(path: Path, text: str) -> None:
    """Replace the file by `text` at once: a killed run leaves the old file or the new one."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
