"""What people did with a study: the child's facts, who committed what before seeing the machine, who signed what.

One SQLite file in the data folder. A connection lives as long as one call, so any thread may call; the write-ahead log
lets readers go on while one writes. A signed reading is never changed.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from carpal.report.child import DAYS_A_MONTH

SCHEMA = """
CREATE TABLE IF NOT EXISTS study (
    id TEXT PRIMARY KEY, created TEXT NOT NULL, owner TEXT NOT NULL, file TEXT NOT NULL, sex TEXT, file_sex TEXT,
    birth_date TEXT, study_date TEXT, age_months REAL, height_cm REAL, patient_name TEXT NOT NULL DEFAULT '',
    patient_id TEXT NOT NULL DEFAULT '', blind INTEGER NOT NULL DEFAULT 0, job TEXT, file_birth_date TEXT,
    file_study_date TEXT);
CREATE INDEX IF NOT EXISTS study_patient ON study (patient_id);
CREATE TABLE IF NOT EXISTS reading (
    study TEXT NOT NULL REFERENCES study (id) ON DELETE CASCADE, reader TEXT NOT NULL, committed TEXT,
    own_months REAL, decision TEXT, months REAL, reason TEXT NOT NULL DEFAULT '', signed TEXT, machine_months REAL,
    machine TEXT, hand TEXT NOT NULL DEFAULT '', raw_months REAL, site TEXT, PRIMARY KEY (study, reader));
CREATE TABLE IF NOT EXISTS correction (
    study TEXT PRIMARY KEY REFERENCES study (id) ON DELETE CASCADE, reader TEXT NOT NULL, created TEXT NOT NULL,
    sex TEXT NOT NULL, boxes TEXT NOT NULL, assessment TEXT NOT NULL);
"""
ADDED: Final = {
    "reading": {"hand": "TEXT NOT NULL DEFAULT ''", "raw_months": "REAL", "site": "TEXT"},
    "study": {"file_birth_date": "TEXT", "file_study_date": "TEXT"},
}
"""Columns that a folder of an earlier version gets when it is opened."""


class Decision(StrEnum):
    """What a reader makes of the machine's age."""

    ACCEPT = "accept"
    ADJUST = "adjust"
    REJECT = "reject"


@dataclass(frozen=True)
class Study:
    """One radiograph with what is known of the child. `file` is the name that it was uploaded under."""

    id: str
    created: str
    owner: str
    file: str
    sex: str | None = None
    file_sex: str | None = None
    birth_date: str | None = None
    study_date: str | None = None
    age_months: float | None = None
    """As the file states it, where the two dates are not known."""
    height_cm: float | None = None
    patient_name: str = ""
    patient_id: str = ""
    blind: bool = False
    job: str | None = None
    file_birth_date: str | None = None
    file_study_date: str | None = None
    """As the file states them, whatever a reader puts in their place."""

    @property
    def chronological_months(self) -> float | None:
        """The child's age on the day of the radiograph: from the dates, else what the file states."""
        if self.birth_date and self.study_date:
            days = (date.fromisoformat(self.study_date) - date.fromisoformat(self.birth_date)).days
            return days / DAYS_A_MONTH if days >= 0 else None
        return self.age_months


@dataclass(frozen=True)
class Reading:
    """What one reader committed and signed. `machine` is the SHA-256 of the weights whose age she saw.

    `hand` is the one that she signed where a frame holds two ("left" in the picture and so on), else empty.
    `machine_months` is calibrated where `site` names a calibration; `raw_months` is then the network's own.
    """

    study: str
    reader: str
    committed: str | None = None
    own_months: float | None = None
    decision: str | None = None
    months: float | None = None
    reason: str = ""
    signed: str | None = None
    machine_months: float | None = None
    machine: str | None = None
    hand: str = ""
    raw_months: float | None = None
    site: str | None = None


@dataclass(frozen=True)
class Correction:
    """The age from regions that a reader put right. `boxes` (by name, original pixels) and `assessment` are JSON."""

    study: str
    reader: str
    created: str
    sex: str
    boxes: str
    assessment: str


def now() -> str:
    """This moment, ISO 8601, UTC, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Readings:
    """The table of studies and the table of readings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as connection:
            connection.executescript(SCHEMA)
            for table, columns in ADDED.items():
                found = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
                for name, kind in columns.items():
                    if name not in found:
                        connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=10)
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            with connection:
                yield connection
        finally:
            connection.close()

    def add(self, study: Study) -> Study:
        """Keeps a new study."""
        with self._open() as connection:
            _insert(connection, "study", asdict(study))
        return study

    def study(self, identifier: str) -> Study | None:
        """The study of this id."""
        with self._open() as connection:
            row = connection.execute("SELECT * FROM study WHERE id = ?", (identifier,)).fetchone()
        return _study(row) if row else None

    def studies(self, limit: int = 100, offset: int = 0) -> list[Study]:
        """The latest first."""
        with self._open() as connection:
            query = "SELECT * FROM study ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
            return [_study(row) for row in connection.execute(query, (limit, offset))]

    def update(self, identifier: str, **values: Any) -> Study:
        """Changes facts of a study; KeyError where there is no such study."""
        assert set(values) <= {field.name for field in fields(Study)} - {"id"}
        with self._open() as connection:
            names = ", ".join(f"{name} = ?" for name in values)
            connection.execute(f"UPDATE study SET {names} WHERE id = ?", (*values.values(), identifier))
        study = self.study(identifier)
        if study is None:
            raise KeyError(identifier)
        return study

    def delete(self, identifier: str) -> None:
        """Forgets a study with its readings."""
        with self._open() as connection:
            connection.execute("DELETE FROM study WHERE id = ?", (identifier,))

    def of_patient(self, study: Study) -> list[Study]:
        """All studies of the same child, by date: the same patient ID, sex and birth date. Empty without an ID."""
        if not study.patient_id:
            return []
        query = """SELECT * FROM study WHERE patient_id = ? AND sex IS ? AND birth_date IS ?
                   ORDER BY study_date, created"""
        with self._open() as connection:
            rows = connection.execute(query, (study.patient_id, study.sex, study.birth_date)).fetchall()
        return [_study(row) for row in rows]

    def reading(self, study: str, reader: str) -> Reading:
        """What this reader did with the study so far."""
        with self._open() as connection:
            query = "SELECT * FROM reading WHERE study = ? AND reader = ?"
            row = connection.execute(query, (study, reader)).fetchone()
        return Reading(**dict(row)) if row else Reading(study, reader)

    def signed(self, study: str) -> Reading | None:
        """The latest signed reading of a study."""
        with self._open() as connection:
            query = "SELECT * FROM reading WHERE study = ? AND signed IS NOT NULL ORDER BY signed DESC LIMIT 1"
            row = connection.execute(query, (study,)).fetchone()
        return Reading(**dict(row)) if row else None

    def commit(self, study: str, reader: str, months: float) -> Reading:
        """Keeps a reader's own age, once: ValueError where she has committed before."""
        return self._once("committed", Reading(study, reader, committed=now(), own_months=months))

    def sign(self, reading: Reading) -> Reading:
        """Signs a decision, once: ValueError where it was signed before."""
        return self._once("signed", replace(reading, signed=now()))

    def keep_correction(self, correction: Correction) -> None:
        """Keeps a correction in place of the one before."""
        with self._open() as connection:
            _insert(connection, "correction", asdict(correction), "OR REPLACE")

    def drop_correction(self, study: str) -> None:
        """Goes back to the network's own regions."""
        with self._open() as connection:
            connection.execute("DELETE FROM correction WHERE study = ?", (study,))

    def correction(self, study: Study) -> Correction | None:
        """The correction of a study, if it was made for the sex that is stated now."""
        with self._open() as connection:
            query = "SELECT * FROM correction WHERE study = ? AND sex IS ?"
            row = connection.execute(query, (study.id, study.sex)).fetchone()
        return Correction(**dict(row)) if row else None

    def corrections(self) -> dict[str, Correction]:
        """As `correction`, of all studies that have one."""
        with self._open() as connection:
            query = "SELECT c.* FROM correction c JOIN study s ON s.id = c.study AND s.sex IS c.sex"
            return {row["study"]: Correction(**dict(row)) for row in connection.execute(query)}

    def all_signed(self) -> list[tuple[Study, Reading]]:
        """Every signed reading with its study, the oldest signature first."""
        with self._open() as connection:
            query = "SELECT * FROM reading WHERE signed IS NOT NULL ORDER BY signed, study"
            readings = [Reading(**dict(row)) for row in connection.execute(query)]
            rows = {row["id"]: _study(row) for row in connection.execute("SELECT * FROM study")}
        return [(rows[reading.study], reading) for reading in readings]

    def _once(self, step: str, reading: Reading) -> Reading:
        """Writes a reading unless this step of it was taken before, also where two requests come at once."""
        values = asdict(reading)
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        changes = ", ".join(f"{name} = excluded.{name}" for name in values if name not in ("study", "reader"))
        with self._open() as connection:
            changed = connection.execute(
                f"INSERT INTO reading ({names}) VALUES ({marks}) ON CONFLICT (study, reader) "
                f"DO UPDATE SET {changes} WHERE reading.{step} IS NULL",
                tuple(values.values()),
            ).rowcount
        if changed != 1:
            raise ValueError(f"{step} already")
        return reading


def new_id() -> str:
    """A name for a study that tells nothing and cannot be guessed."""
    return secrets.token_hex(12)


def _insert(connection: sqlite3.Connection, table: str, values: dict[str, Any], how: str = "") -> None:
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT {how} INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))


def _study(row: sqlite3.Row) -> Study:
    return Study(**(dict(row) | {"blind": bool(row["blind"])}))
