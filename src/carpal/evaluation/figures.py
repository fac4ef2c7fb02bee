"""`carpal figures`: the paper's figures 1 and 3 and four pictures of an evaluation, from one's own radiographs.

What cannot be drawn (no annotated regions, weights without regions) is left out, never drawn empty.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import CarpalError, ConfigError
from carpal.evaluation import age, figure_drawings, labels, plots, proposals
from carpal.evaluation.plots import BLAND_ALTMAN, ERROR_BY_AGE
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, open_engine
from carpal.types import Assessment, Sex

FIGURE_1, FIGURE_3, CALIBRATION, REGION_AGES = "figure1.png", "figure3.png", "calibration.png", "region_ages.png"
MOST_CASES: Final = 8


@dataclass(frozen=True)
class Case:
    """A hand that was read: its label, picture, annotated boxes (NaN where unknown) and assessment."""

    label: labels.Label
    pixels_HW: NDArray[np.uint8]
    annotated_R4: NDArray[np.float64] | None
    assessment: Assessment


def run(
    images: Path,
    table: Path,
    out: Path,
    *,
    regions: Path | None = None,
    weights: str | Path = "alanet",
    backend: str = "onnx",
    precision: str | None = None,
    cases: int = 3,
    seed: int = 0,
) -> list[Path]:
    """Reads every labelled radiograph, refusing none, and returns the pictures written to `out`.

    `cases` hands of the case study are drawn by lot from the annotated ones, as the paper's are "randomly sampled".
    Raises DataError, ConfigError, WeightsError before anything is read.
    """
    if not 1 <= cases <= MOST_CASES:
        raise ConfigError(f"--cases is {cases} - a figure has room for 1 to {MOST_CASES} hands - choose fewer.")
    rows = labels.read_labels(table)
    files = labels.find_images(images, rows, table)
    references = labels.read_references(regions, files) if regions else {}
    engine = open_engine(weights, backend, None, precision)
    known = [row for row in rows if row.id in references]
    order = np.random.default_rng(seed).permutation(len(known))[:cases]
    shown = {known[i].id for i in sorted(order.tolist())}
    out.mkdir(parents=True, exist_ok=True)
    read, kept = _read_all(rows, files, references, engine, shown)
    return _draw(read, kept, out)


def _read_all(
    rows: Sequence[labels.Label],
    files: dict[str, Path],
    references: dict[str, labels.Reference],
    engine: Engine,
    shown: set[str],
) -> tuple[list[tuple[labels.Label, Assessment]], list[Case]]:
    """Label and assessment of every hand, and the cases that are shown, with their pictures."""
    read, kept = [], []
    for row in rows:
        try:
            radiograph = read_radiograph(files[row.id])
            assessment = assess(radiograph, Sex.MALE if row.male else Sex.FEMALE, engine, may_refuse=False)
        except CarpalError as error:
            print(f"{files[row.id]}: {error}", file=sys.stderr)
            continue
        read.append((row, assessment))
        if row.id in shown:
            boxes_R4 = proposals.annotated_boxes(references[row.id], radiograph.pixels_HW.shape)
            kept.append(Case(row, figure_drawings.to_grey(radiograph.pixels_HW), boxes_R4, assessment))
    return read, kept


def _draw(read: Sequence[tuple[labels.Label, Assessment]], kept: Sequence[Case], out: Path) -> list[Path]:
    predictions = age.Predictions(
        tuple(label.id for label, _ in read),
        np.array([label.male for label, _ in read], bool),
        np.array([label.boneage for label, _ in read], float),
        np.array([assessment.months for _, assessment in read], float),
    )
    written = []
    if kept:
        figure_drawings.points_and_boxes(max(kept, key=_annotated), out / FIGURE_1)
        written.append(out / FIGURE_1)
    if kept and kept[0].assessment.regions:
        figure_drawings.case_study(kept, out / FIGURE_3)
        written.append(out / FIGURE_3)
    if len(predictions):
        plots.draw(predictions, out)
        above_NK = np.array([assessment.probabilities for _, assessment in read])
        figure_drawings.calibration(above_NK, predictions.boneage_N, out / CALIBRATION)
        written += [out / BLAND_ALTMAN, out / ERROR_BY_AGE, out / CALIBRATION]
    if read and all(assessment.regions for _, assessment in read):
        region_NR = np.array([[region.months for region in assessment.regions] for _, assessment in read])
        figure_drawings.region_ages(region_NR, predictions, out / REGION_AGES)
        written.append(out / REGION_AGES)
    return written


def _annotated(case: Case) -> int:
    """How many of a case's regions are annotated."""
    return 0 if case.annotated_R4 is None else int(np.isfinite(case.annotated_R4[:, 0]).sum())
