"""How far signed readings lie from the machine's ages: the table for export, and Bland and Altman's limits over time.

Source: Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical measurement.
Lancet 1986;327:307-310. Limits are bias ± 1.96 SD.
"""

from __future__ import annotations

import csv
import io
import statistics
from dataclasses import dataclass
from typing import Final

from carpal.web.review import Correction, Reading, Readings, Study

COLUMNS: Final = (
    "study", "reader", "sex", "chronological_months", "machine_months", "machine_sha256", "blind", "own_months",
    "committed", "decision", "signed_months", "reason", "signed", "hand", "raw_months", "calibration",
    "corrected_boxes",
)  # fmt: skip
RECENT: Final = 20


@dataclass(frozen=True)
class Agreement:
    """`pairs` are (machine's months, signed months) in the order of signature."""

    pairs: tuple[tuple[float, float], ...]

    @property
    def differences(self) -> list[float]:
        """Signed less machine's, months."""
        return [signed - machine for machine, signed in self.pairs]

    @property
    def bias(self) -> float | None:
        """The mean difference."""
        return statistics.fmean(self.differences) if self.pairs else None

    @property
    def sd(self) -> float | None:
        """The standard deviation of the differences; None for fewer than two."""
        return statistics.stdev(self.differences) if len(self.pairs) > 1 else None

    @property
    def limits(self) -> tuple[float, float] | None:
        """Between these lie 95 % of differences, if they are normally distributed."""
        if self.bias is None or self.sd is None:
            return None
        return self.bias - 1.96 * self.sd, self.bias + 1.96 * self.sd

    @property
    def recent_bias(self) -> float | None:
        """The mean of the last 20 differences, once there are so many: it moves when the machine or the readers do."""
        return statistics.fmean(self.differences[-RECENT:]) if len(self.pairs) >= RECENT else None


def agreement(readings: Readings) -> Agreement:
    """Over all signed readings that give an age; a blind reader's own age counts, it was given unswayed."""
    pairs = []
    for _, reading in readings.all_signed():
        given = reading.own_months if reading.own_months is not None else reading.months
        if given is not None and reading.machine_months is not None:
            pairs.append((reading.machine_months, given))
    return Agreement(tuple(pairs))


def as_csv(readings: Readings) -> str:
    """All signed readings, one a row, without name, identifier or dates of the child."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    corrections = readings.corrections()
    for study, reading in readings.all_signed():
        writer.writerow([_safe(value) for value in _row(study, reading, corrections.get(study.id))])
    return buffer.getvalue()


def _row(study: Study, reading: Reading, correction: Correction | None) -> tuple[object, ...]:
    """`corrected_boxes` is JSON: {"Radius": [x1, y1, x2, y2]} in pixels of the original, for what was put right."""
    age = study.chronological_months
    return (
        study.id, reading.reader, study.sex, None if age is None else round(age, 2), reading.machine_months,
        reading.machine, int(study.blind), reading.own_months, reading.committed, reading.decision, reading.months,
        reading.reason, reading.signed, reading.hand, reading.raw_months, reading.site,
        correction.boxes if correction else None,
    )  # fmt: skip


def _safe(value: object) -> object:
    """A text that a spreadsheet would run as a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
