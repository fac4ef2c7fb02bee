"""A hospital's own calibration: how its readers differ from the network, learnt from 50 to 150 of their readings.

For each sex the difference reader - network is a straight line in the network's age, shrunk towards none: both its mean
and its slope are estimated as if ten more readings had shown no difference. Beyond the ages that were labelled the
difference stays what it is at their edge. Whether it helps is decided by leaving each reading out once: the mean
absolute error must fall, and the bootstrap interval of the gain must lie above zero, or there is no calibration.

The network's own age is never lost: a calibrated assessment keeps it in `raw_months` and names the calibration.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.errors import CalibrationRefused, ConfigError
from carpal.types import RANKS, Assessment, Interval, ModelId, Sex

Array = NDArray[np.float64]

KIND: Final = "carpal site calibration"
FORMAT: Final = 1
SMALLEST: Final = 50
SMALLEST_SEX: Final = 20
SHRINK: Final = 10.0
"""Readings without any difference that are imagined beside the real ones."""
STEEPEST: Final = 0.5
"""Months of difference per month of age, at most, so that an older hand is never read as a younger one."""
LONGEST_NAME: Final = 40
DIGITS: Final = 8
RESAMPLES, SEED = 10_000, 0


class Line(NamedTuple):
    """Reader - network of one sex: `shift` at the age `centre`, `slope` months more for each month, constant beyond
    `low` and `high`, the network's youngest and oldest age among the `n` readings."""

    shift: float
    slope: float
    centre: float
    low: float
    high: float
    n: int

    def apply(self, months: float) -> float:
        """The reader's age for an age of the network, within 0..228."""
        inside = min(max(months, self.low), self.high)
        return min(max(months + self.shift + self.slope * (inside - self.centre), 0.0), RANKS - 1.0)


class Check(NamedTuple):
    """The calibration on readings it was not fitted on: mean absolute errors, and the gain with its 95 % interval."""

    mae_raw: float
    mae_calibrated: float
    gain: float
    gain_ci95: tuple[float, float]


@dataclass(frozen=True)
class Site:
    """A calibration for one file of weights."""

    name: str
    date: str
    model: ModelId
    lines: Mapping[Sex, Line]
    check: Check

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def label(self) -> str:
        """What reports call it: name, date, n, and the first digits of the file's SHA-256: two of one day differ."""
        digest = hashlib.sha256(self.as_text().encode()).hexdigest()[:DIGITS]
        return f"{self.name} ({self.date}, n = {sum(line.n for line in self.lines.values())}, {digest})"

    def for_model(self, model: ModelId) -> Site:
        """This calibration, if it is one of these weights. Raises ConfigError for others."""
        if model.sha256 == self.model.sha256:
            return self
        raise ConfigError(
            f"The calibration {self.name} belongs to {self.model.name} {self.model.version} "
            f"({self.model.sha256[:12]}…) and these weights are {model.name} {model.version} ({model.sha256[:12]}…)"
            " - make one for these weights"
        )

    def apply(self, assessment: Assessment) -> Assessment:
        """The calibrated assessment: age and interval moved, the raw age kept, a warning that says so.

        Region ages and probabilities stay the network's. A refusal passes through. Raises ConfigError for an
        assessment of other weights, or one that is calibrated already.
        """
        if assessment.months is None:
            return assessment
        self.for_model(assessment.model)
        if assessment.site is not None:
            raise ConfigError(f"The age is calibrated by {assessment.site} already - calibrate the raw age")
        line, raw = self.lines[assessment.sex], assessment.months
        months = line.apply(raw)
        interval = assessment.interval and Interval(
            line.apply(assessment.interval.low), line.apply(assessment.interval.high), assessment.interval.coverage
        )
        said = f"calibrated by {self.label}: the network read {raw:.1f} months, {months:.1f} are given"
        warnings = (*assessment.warnings, said)
        return replace(assessment, months=months, interval=interval, raw_months=raw, site=self.label, warnings=warnings)

    def as_text(self) -> str:
        """The file's content."""
        values = {
            "kind": KIND,
            "format": FORMAT,
            "name": self.name,
            "date": self.date,
            "weights": asdict(self.model),
            "n": sum(line.n for line in self.lines.values()),
            "lines": {str(sex): line._asdict() for sex, line in self.lines.items()},
            "check": self.check._asdict(),
        }
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def check_name(name: str) -> None:
    """Raises ConfigError for a name that reports cannot hold."""
    if not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
        raise ConfigError(
            f"A calibration's name has 1 to {LONGEST_NAME} printable characters - got {len(name)} - "
            "it stands in every report: choose another with --name"
        )


def fit_site(
    male_N: NDArray[np.bool_], reader_N: Array, months_N: Array, *, name: str, date: str, model: ModelId
) -> Site:
    """The calibration of N readings: sex, the reader's age, the network's age.

    Raises CalibrationRefused where they are too few, or where it does not help on readings left out.
    """
    counts = {str(sex): int((male_N == (sex is Sex.MALE)).sum()) for sex in Sex}
    if len(male_N) < SMALLEST or min(counts.values()) < SMALLEST_SEX:
        got = ", ".join(f"{count} {sex}" for sex, count in counts.items())
        raise CalibrationRefused(
            f"A calibration needs {SMALLEST} readings or more, {SMALLEST_SEX} of each sex - got {got} - label more"
        )
    check = cross_validate(male_N, reader_N, months_N)
    if not check.gain_ci95[0] > 0:
        raise CalibrationRefused(
            f"A calibration shows no gain on readings left out: MAE {check.mae_raw:.2f} months without and "
            f"{check.mae_calibrated:.2f} with it, gain {check.gain:.2f} (95 % interval {check.gain_ci95[0]:.2f} to "
            f"{check.gain_ci95[1]:.2f}) - use the network as it is, or label more"
        )
    lines = {sex: fit_line(reader_N[mine_N], months_N[mine_N]) for sex, mine_N in _sexes(male_N)}
    return Site(name, date, model, lines, check)


def fit_line(reader_N: Array, months_N: Array) -> Line:
    """The shrunk line of one sex: ridge regression of reader - network on the standardised age of the network."""
    centre, spread = float(months_N.mean()), max(float(months_N.std()), 1.0)
    difference_N, standard_N = reader_N - months_N, (months_N - centre) / spread
    shift = float(difference_N.sum() / (len(difference_N) + SHRINK))
    steepness = float((difference_N * standard_N).sum() / ((standard_N**2).sum() + SHRINK))
    slope = min(max(steepness / spread, -STEEPEST), STEEPEST)
    return Line(
        shift=round(shift, 6),
        slope=round(slope, 6),
        centre=round(centre, 6),
        low=float(months_N.min()),
        high=float(months_N.max()),
        n=len(months_N),
    )


def cross_validate(male_N: NDArray[np.bool_], reader_N: Array, months_N: Array) -> Check:
    """Each reading judged by the lines of all others; the gain's interval is a paired bootstrap over readings."""
    calibrated_N = np.empty(len(months_N))
    for _, mine_N in _sexes(male_N):
        for i in np.flatnonzero(mine_N):
            others_N = mine_N.copy()
            others_N[i] = False
            calibrated_N[i] = fit_line(reader_N[others_N], months_N[others_N]).apply(float(months_N[i]))
    raw_N, left_N = np.abs(months_N - reader_N), np.abs(calibrated_N - reader_N)
    draws = np.random.default_rng(SEED).integers(0, len(raw_N), (RESAMPLES, len(raw_N)))
    low, high = np.percentile((raw_N - left_N)[draws].mean(axis=1), [2.5, 97.5])
    gain = float((raw_N - left_N).mean())
    return Check(
        round(float(raw_N.mean()), 4), round(float(left_N.mean()), 4), round(gain, 4), (round(low, 4), round(high, 4))
    )


def read_site(path: Path) -> Site:
    """The calibration that `Site.as_text` wrote. Raises ConfigError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (values["kind"], values["format"]) != (KIND, FORMAT):
            raise ValueError(f"it is {values['kind']!r}, format {values['format']!r}")
        lines = {sex: _read_line(values["lines"][str(sex)]) for sex in Sex}
        check = values["check"]
        low, high = map(float, check["gain_ci95"])
        raw, calibrated, gain = (float(check[key]) for key in ("mae_raw", "mae_calibrated", "gain"))
        weights = {"backend": "onnx", "precision": "fp32"} | values["weights"]
        model = ModelId(*(str(weights[field.name]) for field in fields(ModelId)))
        return Site(str(values["name"]), str(values["date"]), model, lines, Check(raw, calibrated, gain, (low, high)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise ConfigError(
            f"{path} is no site calibration - {error} - give a file that `carpal calibrate --out` wrote"
        ) from None


def _read_line(values: Mapping[str, Any]) -> Line:
    shift, slope, centre, low, high = (float(values[key]) for key in Line._fields[:-1])
    line = Line(shift, slope, centre, low, high, int(values["n"]))
    if not all(map(math.isfinite, line)) or abs(line.slope) > STEEPEST or line.low > line.high:
        raise ValueError(f"the line {line} is none")
    return line


def _sexes(male_N: NDArray[np.bool_]) -> list[tuple[Sex, NDArray[np.bool_]]]:
    return [(sex, male_N == (sex is Sex.MALE)) for sex in Sex]
