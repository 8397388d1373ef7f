"""A guess before the measurement, and both side by side after it.

All guesses are kept in order, and the first one is what a measurement is held against: a guess that is
changed once the answer is known would make a reader look better calibrated than they are.
"""

import math
import numbers

from course_lib.exercises import progress
from course_lib.exercises.display import Message, line, show_safely

MAX_STRING = 80
LARGEST = 1e300  # an int beyond it has no float to be compared with
MAGNITUDES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
Value = float | int | str


def predict(name: str, guess: object, unit: str = "") -> None:
    """Note a guess under `name`: a number where there is a unit, else a number or a few words. `...` is none yet."""
    show_safely(lambda: _predict(str(name), guess, str(unit)))


def reveal(name: str, measured: object, how: str = "measured") -> None:
    """Show the first guess noted under `name` beside what was measured, and keep the measurement too.

    `how` is the word for where the number comes from: "measured", or "counted" for one that was derived.
    """
    show_safely(lambda: _reveal(str(name), measured, str(how)))


def _predict(name: str, guess: object, unit: str) -> Message:
    if guess is ... or guess is None:
        return line(name, "", "no guess yet: replace the ... by your guess, then run the cell again")
    try:
        value = as_number(guess) if unit else plain_value(guess)
    except (TypeError, ValueError) as error:
        return line(name, "", f"not noted: {error}")

    def change(data: progress.Data) -> None:
        entry = data["predictions"].setdefault(name, {})
        guesses = _guesses(entry)
        if not guesses or guesses[-1] != value:
            guesses.append(value)
        entry.update(guesses=guesses, unit=unit)

    _, notes = progress.update(change)
    return line(name, "", f"noted: {_with_unit(value, unit)}", notes=notes)


def _reveal(name: str, measured: object, how: str) -> Message:
    try:
        value = plain_value(measured)
    except (TypeError, ValueError) as error:
        return line(name, "", f"nothing to show: {error}")
    data, notes = progress.load()
    entry = data["predictions"].get(name, {})
    guesses, unit = _guesses(entry), str(entry.get("unit", ""))
    if not guesses:
        return line(name, "", f"no guess was noted; {how} {_with_unit(value, unit)}", notes=notes)

    def change(data: progress.Data) -> None:
        data["predictions"][name]["measured"] = value

    _, more = progress.update(change)
    later = f" (later: {', '.join(map(show_value, guesses[1:]))})" if guesses[1:] else ""
    guessed = f"you guessed {_with_unit(guesses[0], unit)}{later}"
    outcome = f"{how} {_with_unit(value, unit)}{compare_guess(guesses[0], value)}"
    return line(name, "", f"{guessed}; {outcome}", notes=[*notes, *more])


def plain_value(value: object) -> Value:
    """A guess or measurement as JSON keeps it. TypeError or ValueError says what to write instead."""
    if isinstance(value, str):
        if not value.strip() or len(value) > MAX_STRING:
            raise ValueError(f"a few words (at most {MAX_STRING} characters) or a number is expected")
        return value.strip()
    return as_number(value)


def as_number(value: object) -> float | int:
    """An int or float from what Python, numpy and torch call a number. TypeError or ValueError says what to
    do.
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, str):
        raise TypeError("write the number without quotes and without commas: 4096 or 4_096")
    if isinstance(value, tuple) and value and all(isinstance(part, int) for part in value):
        raise TypeError(
            "a comma makes a tuple in Python: write 4096 or 4_096 for four thousand and ninety-six"
        )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"a number is expected, and a value of type {type(value).__name__} came")
    number = int(value) if isinstance(value, numbers.Integral) else float(value)
    if not abs(number) <= LARGEST:  # NaN is not
        raise ValueError("a finite number is expected")
    return number


def compare_guess(guess: Value, measured: Value) -> str:
    """`: 3,125 times as much`, `: within 5 %`, `: as you guessed`; empty where a ratio would say nothing."""
    if guess == measured:
        return ": as you guessed"
    if isinstance(guess, str) or isinstance(measured, str) or guess <= 0 or measured <= 0:
        return ""
    ratio = measured / guess
    if not 0 < ratio < math.inf:  # under- or overflow: too far apart for a ratio
        return ""
    if abs(ratio - 1) <= 0.05:
        return ": within 5 %"
    return f": {_ratio(ratio)} times as much" if ratio > 1 else f": {_ratio(1 / ratio)} times less"


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}"


def show_value(value: Value) -> str:
    """4,096 · 12.8 million · 0.0312 · softmax"""
    if isinstance(value, str):
        return value
    for size, name in MAGNITUDES:
        if size <= abs(value) < size * 1000:
            return f"{value / size:.3g} {name}"
    if isinstance(value, int) and abs(value) < 1e6:
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _with_unit(value: Value, unit: str) -> str:
    return f"{show_value(value)} {unit}".strip()


def _guesses(entry: dict) -> list[Value]:
    """The stored guesses that are numbers or strings: a progress file can be edited by hand."""
    stored = entry.get("guesses", [])
    sound = stored if isinstance(stored, list) else []
    return [g for g in sound if isinstance(g, (int, float, str)) and not isinstance(g, bool)]
