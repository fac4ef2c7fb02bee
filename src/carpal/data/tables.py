"""CSV tables, read strictly: every complaint names the file, the line and the mend."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from carpal.errors import DataError


class Line(NamedTuple):
    """One line of a table: its number in the file (the header is line 1) and its cells by column name."""

    number: int
    cells: dict[str, str]


def plain(name: str) -> str:
    """A column's name without case, outer spaces and repeated inner ones: " Image  ID" -> "image id"."""
    return " ".join(name.strip().lower().split())


def read_header(path: Path) -> list[str]:
    """The column names of a CSV as `plain` has them, or [] where the file cannot be read as text."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return [plain(name) for name in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def read_table(path: Path, columns: Sequence[str]) -> list[Line]:
    """The lines of a CSV that has at least `columns` (compared by `plain`). Raises DataError, naming file and line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [plain(name) for name in next(reader, [])]
            _check_header(path, header, columns)
            return [
                Line(reader.line_num, _cells(path, reader.line_num, header, row))
                for row in reader
                if any(map(str.strip, row))
            ]
    except FileNotFoundError:
        raise DataError(f"There is no table {path} - check the path, or fetch the file again.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV - {error} - save it as UTF-8 text with commas.") from error


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if plain(name) not in header]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if missing or twice:
        wrong = f"lacks the columns {missing}" if missing else f"has the columns {twice} twice"
        raise DataError(f"{path}, line 1, {wrong} - it has {header} - name the columns {','.join(columns)}.")


def _cells(path: Path, line: int, header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise DataError(
            f"{path}, line {line}, has {len(row)} cells and the header {len(header)} - "
            "the file may be cut off there: fetch it again, or mend the line."
        )
    return {name: cell.strip() for name, cell in zip(header, row, strict=True)}


def number(path: Path, line: Line, column: str, low: float = -math.inf, high: float = math.inf) -> float:
    """The cell as a finite number within low..high. Raises DataError."""
    text = line.cells[plain(column)]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        limits = "" if (low, high) == (-math.inf, math.inf) else f" from {low:g} to {high:g}"
        raise DataError(
            f"{path}, line {line.number}, column {column}, needs a number{limits} - "
            f"got {text!r} - mend or drop the line."
        )
    return value


def truth(path: Path, line: Line, column: str) -> bool:
    """Whether the cell says male: True/False, 1/0, M/F, male/female in any case. Raises DataError."""
    text = line.cells[plain(column)]
    word = text.lower()
    if word in ("true", "1", "m", "male"):
        return True
    if word in ("false", "0", "f", "female"):
        return False
    raise DataError(
        f"{path}, line {line.number}, column {column}, needs True (male) or False (female) - got {text!r} - "
        "sex is never guessed: mend or drop the line."
    )


def few(names: Sequence[str], shown: int = 5) -> str:
    """How many, and the first five of them: "7: a, b, c, d, e, …"."""
    return f"{len(names)}: {', '.join(names[:shown])}" + (", …" if len(names) > shown else "")
