"""The growth tables as they were collected: frozen in `tests/golden`, and where the project's data folder is, there."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from carpal.types import Sex

GOLDEN = Path(__file__).parent / "golden"
COLLECTED = Path(__file__).parents[2] / "shared" / "data" / "reference"
SEX = {"M": Sex.MALE, "F": Sex.FEMALE}


def lines(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV below its header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def frozen(name: str, sha256: str) -> list[dict[str, str]]:
    """The rows of a frozen table, which nobody has touched."""
    assert hashlib.sha256((GOLDEN / name).read_bytes()).hexdigest() == sha256, f"{name} is not what was frozen"
    return lines(GOLDEN / name)


def is_collected(name: str, rows: list[dict[str, str]]) -> bool:
    """Whether these are the rows of the collected table, in its columns of the same names, in the same order."""
    return [{column: line[column] for column in rows[0]} for line in lines(COLLECTED / name)] == rows
