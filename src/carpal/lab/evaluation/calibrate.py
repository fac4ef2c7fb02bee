"""`carpal calibrate`: labelled radiographs -> the intervals of a weights file, or a hospital's own calibration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from carpal.errors import DataError
from carpal.inference.engine import Engine, open_engine
from carpal.inference.weights import write_calibration
from carpal.lab.evaluation import coverage, labels
from carpal.lab.evaluation import coverage as intervals
from carpal.lab.evaluation.run import Readings, read_all
from carpal.quality.intervals import COVERAGE, fit
from carpal.quality.site import Site, check_name, fit_site

MANY: Final = 40
"""Radiographs from which the coverage of a stratum is judged."""
SHORT: Final = 0.05
"""Coverage below the promised one that a stratum may have: 85 % of 90."""


def fit_intervals(
    images: Path,
    table: Path,
    weights: str | Path,
    backend: str = "onnx",
    share: float = COVERAGE,
    precision: str | None = None,
) -> dict[str, Any]:
    """Fits the intervals on radiographs that the network was not trained on and writes them into its sidecar.

    Returns the sidecar's field `calibration`, whose `check` holds the cross-fitted coverage, as `evaluate` reports it.
    Raises DataError on wrong or too few labels, WeightsError where the sidecar cannot be written.
    """
    read = _read(images, table, open_engine(weights, backend, None, precision))
    readings = intervals.to_readings(read.read, read.assessments)
    check = {"nominal": share, "crossfitted": True, **coverage.crossfit(readings, share)}
    calibration = fit(
        readings,
        share,
        data=f"{len(read.read)} labelled radiographs ({table.name})",
        date=_today(),
        ids=intervals.hash_ids(label.id for label in read.read),
        check=check,
    )
    write_calibration(weights, calibration)
    return calibration.as_dict()


def weak(check: Mapping[str, Any]) -> list[str]:
    """A line for each stratum of `MANY` radiographs or more whose coverage is more than `SHORT` below the promised."""
    lowest = check["nominal"] - SHORT
    return [
        f"below {_percent(lowest, 0)}: {name}, coverage {_percent(part['coverage'])}, n {part['n']} - these intervals "
        "are too narrow; say so where the weights are described, or label more radiographs of this kind"
        for name, part in (check["by_sex"] | check["by_stratum"]).items()
        if part["n"] >= MANY and part["coverage"] < lowest
    ]


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def calibrate_site(
    images: Path,
    table: Path,
    name: str,
    weights: str | Path = "alanet",
    backend: str = "onnx",
    precision: str | None = None,
) -> Site:
    """The calibration that a hospital's own readings show. Raises CalibrationRefused, DataError, ConfigError."""
    check_name(name)
    engine = open_engine(weights, backend, None, precision)
    read = _read(images, table, engine)
    return fit_site(
        np.array([label.male for label in read.read], bool),
        np.array([label.boneage for label in read.read], float),
        np.array([assessment.months for assessment in read.assessments], float),
        name=name,
        date=_today(),
        model=engine.model,
    )


def _read(images: Path, table: Path, engine: Engine) -> Readings:
    rows = labels.read_labels(table)
    readings = read_all(rows, labels.find_images(images, rows, table), {}, engine)
    if not readings.read:
        raise DataError(f"None of the {len(rows)} radiographs in {images} gave an age - see the messages above")
    return readings


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
