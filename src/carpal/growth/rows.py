"""The package's growth tables, read as they lie in `growth/tables/`: CSV with its provenance in `#` lines on top."""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final

from carpal.errors import ConfigError
from carpal.types import Sex

TABLES: Final = Path(__file__).parent / "tables"


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The lines below the header as dictionaries. Raises ConfigError where the file or one of `columns` is missing."""
    reader = csv.DictReader([line for line in _lines(path) if line.strip() and not line.startswith("#")])
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise ConfigError(
            f"The growth table {path} lacks the columns {', '.join(missing)} - it has "
            f"{', '.join(reader.fieldnames or ['none'])} - name them {','.join(columns)}"
        )
    return list(reader)


def read_notes(path: Path) -> dict[str, str]:
    """What lines `# key: value` above the header say. Raises ConfigError where the file cannot be read."""
    above = takewhile(lambda line: line.startswith("#") or not line.strip(), _lines(path))
    pairs = (line.lstrip("# ").partition(":") for line in above)
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The growth table {path} cannot be read - {error} - check the path") from None


def number(path: Path, row: dict[str, str], column: str) -> float:
    """A finite number of a row. Raises ConfigError."""
    try:
        value = float(row[column] or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"The growth table {path} needs a number as {column} - got {row[column]!r} - mend that line")
    return value


def sex_of(path: Path, row: dict[str, str]) -> Sex:
    """The row's sex. Raises ConfigError where it is neither female nor male."""
    try:
        return Sex(row["sex"])
    except ValueError:
        raise ConfigError(
            f"The growth table {path} needs female or male as sex - got {row['sex']!r} - mend that line"
        ) from None


def interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """The value at x on the straight line between its two neighbours; a row itself gives its own value exactly.

    xs rise; x lies within them (the caller's business).
    """
    assert xs[0] <= x <= xs[-1], f"{x} is outside {xs[0]} to {xs[-1]}"
    right = bisect_right(xs, x)
    if xs[right - 1] == x:
        return ys[right - 1]
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])
