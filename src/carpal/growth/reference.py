"""How a bone age compares with other children's: named references of bone age by chronological age and sex.

A reference holds the mean and standard deviation (SD) of the bone age of healthy children at printed chronological
ages. A z-score is centred on that mean, not on the chronological age: at 120 months the boys of the Brush study had a
mean bone age of 125.7 months, so a bone age of 120 is below the mean, not on it. Between rows, mean and SD lie on a
straight line; outside the table there is no z-score.

The package's growth tables, those of `height.py` too, are read as they lie in `growth/tables/`: CSV with its provenance
in `#` lines on top.
"""

from __future__ import annotations

import csv
import hashlib
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Final, Literal, NamedTuple

from carpal.errors import ConfigError, GrowthError
from carpal.types import Score, Sex

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


DEFAULT: Final = "greulich-pyle-brush"
LIMIT: Final = 2.0
"""SD from the mean up to which a bone age counts as normal."""
LONGEST_NAME, LONGEST_CITATION = 40, 200
COLUMNS: Final = ("sex", "age_months", "mean_months", "sd_months")

Maturity = Literal["delayed", "normal", "advanced"]


class Expected(NamedTuple):
    """Mean and SD of the bone age at one chronological age, months."""

    mean: float
    sd: float


class Row(NamedTuple):
    """A printed row: chronological age, mean and SD of the bone age, months."""

    age: float
    mean: float
    sd: float


@dataclass(frozen=True)
class Reference:
    """A named table of bone ages. Build one of your own population with `read_reference`."""

    name: str
    citation: str
    rows: Mapping[Sex, tuple[Row, ...]] = field(repr=False)

    def __post_init__(self) -> None:
        for sex in Sex:
            rows = self.rows.get(sex, ())
            rising = all(first.age < second.age for first, second in pairwise(rows))
            if len(rows) < 2 or not rising or any(row.sd <= 0 for row in rows):
                raise ConfigError(
                    f"The reference {self.name} needs two or more {sex} rows, by rising age, with an SD above 0"
                    f" - it has {len(rows)} - mend its table"
                )

    def span(self, sex: Sex) -> tuple[float, float]:
        """The youngest and the oldest chronological age in the table."""
        rows = self.rows[sex]
        return rows[0].age, rows[-1].age

    def curve(self, sex: Sex) -> tuple[Row, ...]:
        """The printed rows, youngest first: what a chart draws."""
        return self.rows[sex]

    def expected(self, sex: Sex, age_months: float) -> Expected:
        """Mean and SD of the bone age at a chronological age. Raises GrowthError outside the table."""
        youngest, oldest = self.span(sex)
        if not youngest <= age_months <= oldest:
            raise GrowthError(
                f"The reference {self.name} holds {sex} children of {youngest:g} to {oldest:g} months"
                f" - got {age_months:g} - there is no z-score at this age"
            )
        ages, means, sds = zip(*self.rows[sex], strict=True)
        return Expected(interpolate(age_months, ages, means), interpolate(age_months, ages, sds))

    def z_score(self, sex: Sex, age_months: float, bone_months: float) -> float:
        """How many SD the bone age lies above the mean bone age of this age and sex. Raises GrowthError."""
        mean, sd = self.expected(sex, age_months)
        return (bone_months - mean) / sd


def score(sex: Sex, bone_months: float, age_months: float, table: Reference) -> Score:
    """The bone age of a child of this chronological age against a reference; without numbers outside the table.

    The z-score is that of the bone age in tenths of a month, as every report prints it, and has two decimals.
    """
    try:
        mean, sd = table.expected(sex, age_months)
        z = table.z_score(sex, age_months, round(bone_months, 1))
    except GrowthError as error:
        return Score(table.name, table.citation, round(age_months, 1), note=str(error))
    return Score(table.name, table.citation, round(age_months, 1), round(mean, 2), round(sd, 2), round(z, 2))


def classify(z: float) -> Maturity:
    """More than 2 SD below the reference mean is delayed, more than 2 above advanced. Raises ConfigError for NaN."""
    if not math.isfinite(z):
        raise ConfigError(f"A z-score is a finite number - got {z} - check the bone age")
    if abs(z) <= LIMIT:
        return "normal"
    return "advanced" if z > 0 else "delayed"


def read_reference(path: Path, name: str, citation: str) -> Reference:
    """A reference from a CSV `sex,age_months,mean_months,sd_months`, by rising age. Raises ConfigError."""
    rows: dict[Sex, list[Row]] = {sex: [] for sex in Sex}
    for line in read_rows(path, COLUMNS):
        rows[sex_of(path, line)].append(Row(*(number(path, line, column) for column in COLUMNS[1:])))
    return Reference(name, citation, {sex: tuple(found) for sex, found in rows.items()})


def reference(name: str = DEFAULT) -> Reference:
    """A reference by its name. Raises ConfigError for an unknown one."""
    try:
        return REFERENCES[name]
    except KeyError:
        raise ConfigError(
            f"{name!r} is no reference - choose one of {', '.join(REFERENCES)}, or name a FILE.csv with the columns "
            f"{','.join(COLUMNS)}"
        ) from None


def find_reference(text: str) -> Reference:
    """A reference by its name, or that of a file NAME.csv. Raises ConfigError.

    The file has the columns of `read_reference`. Lines `# name: ...` and `# citation: ...` on top say what reports call
    it and where its numbers are from; without them the file's name and hash do.
    """
    path = Path(text)
    if text in REFERENCES or path.suffix.lower() != ".csv":
        return reference(text)
    said = read_notes(path)
    name = said.get("name", path.stem)
    citation = said.get("citation") or f"{path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    for what, value, longest in (("name", name, LONGEST_NAME), ("citation", citation, LONGEST_CITATION)):
        if not (0 < len(value) <= longest and value.isprintable()):
            raise ConfigError(
                f"The {what} of the growth table {path} has 1 to {longest} printable characters - got {len(value)} - "
                f"it stands in every report: give another by a line `# {what}: ...` above the header"
            )
    if name in REFERENCES:
        raise ConfigError(
            f"The growth table {path} is called {name}, as a reference of carpal's own is - "
            "give it another name by a line `# name: ...` above the header"
        )
    return read_reference(path, name, citation)


REFERENCES: Final[dict[str, Reference]] = {
    DEFAULT: read_reference(
        TABLES / "greulich_pyle_brush.csv",
        DEFAULT,
        "Greulich WW, Pyle SI. Radiographic Atlas of Skeletal Development of the Hand and Wrist, 2nd ed. Stanford "
        "University Press 1959: Brush Foundation Study, mean and SD of skeletal age",
    )
}
