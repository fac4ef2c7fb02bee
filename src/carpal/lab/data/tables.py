"""CSV tables as spreadsheets write them, read strictly: every complaint names the file, the line and the mend."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from carpal.errors import DataError

SEPARATORS: Final = ",;\t|"
STATED_SEPARATOR: Final = re.compile(r"\s*\"?sep=(.)\"?\s*", re.IGNORECASE)
"""Excel's own first line, which is no header."""
BYTE_ORDERS: Final = {
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
"""The bytes that an encoding begins with."""
MALE: Final = {"true", "1", "m", "male", "wahr", "männlich", "maennlich", "mann", "junge", "boy"}
FEMALE: Final = {"false", "0", "f", "w", "female", "falsch", "weiblich", "frau", "mädchen", "maedchen", "girl"}
PICTURE_ENDINGS: Final = re.compile(r"\.(png|jpe?g|dcm|dicom|ima|tiff?|webp|bmp|jp2)$", re.IGNORECASE)


class Line(NamedTuple):
    """One line of a table: its number in the file, the cells by column name, and what its decimals are written with."""

    number: int
    cells: dict[str, str]
    decimal: str = "."


def plain(name: str) -> str:
    """A column's name without case, outer spaces and repeated inner ones: " Image  ID" -> "image id"."""
    return " ".join(name.strip().lower().split())


def read_header(path: Path) -> list[str]:
    """The column names of a CSV as `plain` has them, or [] where the file cannot be read as text."""
    try:
        text, separator, _ = _open(path)
        return [plain(name) for name in next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def read_table(path: Path, columns: Sequence[str]) -> list[Line]:
    """The lines of a CSV that has at least `columns` (compared by `plain`). Raises DataError, naming file and line.

    Separated by commas, semicolons, tabs or bars, as the header or a first line `sep=;` says; UTF-8, UTF-16 or, where
    it is neither, Windows' Latin 1.
    """
    try:
        text, separator, skipped = _open(path)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header = [plain(name) for name in next(reader, [])]
        while header and not header[-1]:  # Excel's empty columns
            header.pop()
        _check_header(path, header, columns)
        decimal = "." if separator == "," else ","
        return [
            Line(reader.line_num + skipped, _cells(path, reader.line_num + skipped, header, row), decimal)
            for row in reader
            if any(map(str.strip, row))
        ]
    except FileNotFoundError:
        raise DataError(f"There is no table {path} - check the path, or fetch the file again.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a readable CSV - {error} - save it as UTF-8 text with commas.") from error


def _open(path: Path) -> tuple[str, str, int]:
    """The text of a table, its separator, and how many lines stood above the header."""
    text = _decoded(path.read_bytes())
    first, _, rest = text.partition("\n")
    if stated := STATED_SEPARATOR.fullmatch(first):
        return rest, stated[1], 1
    header = re.sub(r'"[^"]*"', "", first)
    return text, max(SEPARATORS, key=header.count), 0


def _decoded(data: bytes) -> str:
    """The text of bytes in one of the encodings that spreadsheets write. Raises UnicodeDecodeError."""
    known = next((name for start, name in BYTE_ORDERS.items() if data.startswith(start)), None)
    if known is None and len(data) > 1 and 0 in data[:2]:  # UTF-16 without its mark: an ASCII letter has one zero
        known = "utf-16-be" if data[0] == 0 else "utf-16-le"
    if known is not None:
        return data.decode(known)
    if b"\0" in data:
        raise UnicodeDecodeError("utf-8", data, data.index(b"\0"), data.index(b"\0") + 1, "a NUL byte")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _check_header(path: Path, header: list[str], columns: Sequence[str]) -> None:
    missing = [name for name in columns if plain(name) not in header]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if missing or twice:
        wrong = f"lacks the columns {missing}" if missing else f"has the columns {twice} twice"
        raise DataError(f"{path}, line 1, {wrong} - it has {header} - name the columns {','.join(columns)}.")


def _cells(path: Path, line: int, header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) > len(header) and not any(map(str.strip, row[len(header) :])):
        row = row[: len(header)]
    if len(row) != len(header):
        raise DataError(
            f"{path}, line {line}, has {len(row)} cells and the header {len(header)} - the file may be cut off there, "
            "or its decimals are written with the comma that separates the cells: fetch it again, or mend the line."
        )
    return {name: cell.strip() for name, cell in zip(header, row, strict=True)}


def number(path: Path, line: Line, column: str, low: float = -math.inf, high: float = math.inf) -> float:
    """The cell as a finite number within low..high, with the table's decimal sign or a point. Raises DataError."""
    text = line.cells[plain(column)]
    try:
        value = float(text.replace(",", ".") if line.decimal == "," else text)
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
    """Whether the cell says male: True/False, 1/0, 1.0/0.0, M/F, M/W, male/female in any case. Raises DataError."""
    text = line.cells[plain(column)]
    word = re.sub(r"[.,]0+$", "", text.lower())
    if word in MALE:
        return True
    if word in FEMALE:
        return False
    raise DataError(
        f"{path}, line {line.number}, column {column}, needs True (male) or False (female) - got {text!r} - "
        "sex is never guessed: mend or drop the line."
    )


def match_ids(path: Path, ids: Iterable[str], names: Collection[str]) -> dict[str, str]:
    """Which of `names`, those of images without ending, each id of a table means; ids that mean none are left out.

    Itself where it is there. Otherwise what a spreadsheet made of it: 12382.0, 12382.jpg, or zeros in front that it
    dropped or added. Raises DataError where several names, or two ids for one name, are possible.
    """
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[bare_id(name)].append(name)
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    for each in ids:
        candidates = [each] if each in names else alike[bare_id(each)]
        if len(candidates) > 1:
            raise DataError(f"{path}: the id {each!r} may mean {' or '.join(sorted(candidates))} - write it as there.")
        for name in candidates:
            if name in taken:
                raise DataError(f"{path} has {name} twice - as {taken[name]!r} and {each!r} - keep one of them.")
            found[each], taken[name] = name, each
    return found


def bare_id(name: str) -> str:
    """What a spreadsheet cannot change: an id without a picture's ending, a number's .0, and zeros in front."""
    bare = PICTURE_ENDINGS.sub("", name.strip())
    bare = re.sub(r"^(\d+)[.,]0+$", r"\1", bare)
    return bare.lstrip("0") or "0" if bare.isdecimal() else bare


def few(names: Sequence[str], shown: int = 5) -> str:
    """How many, and the first five of them: "7: a, b, c, d, e, …"."""
    return f"{len(names)}: {', '.join(names[:shown])}" + (", …" if len(names) > shown else "")
