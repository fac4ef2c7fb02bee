"""`carpal figures`: the paper's figures 1 and 3 and four pictures of an evaluation, from one's own radiographs.

What cannot be drawn (no annotated regions, weights without regions) is left out, never drawn empty. Matplotlib draws
without a display. Letters: N hands, R = 17 regions, K the 228 ranks.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import COLOURS, REGIONS, group_of
from carpal.errors import CarpalError, ConfigError
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, open_engine
from carpal.lab.evaluation import age, labels, plots, proposals
from carpal.lab.evaluation.plots import BLAND_ALTMAN, ERROR_BY_AGE, FAINT, INK, _figure, _title
from carpal.types import Assessment, Sex

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    pass


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
            kept.append(Case(row, to_grey(radiograph.pixels_HW), boxes_R4, assessment))
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
        points_and_boxes(max(kept, key=_annotated), out / FIGURE_1)
        written.append(out / FIGURE_1)
    if kept and kept[0].assessment.regions:
        case_study(kept, out / FIGURE_3)
        written.append(out / FIGURE_3)
    if len(predictions):
        plots.draw(predictions, out)
        above_NK = np.array([assessment.probabilities for _, assessment in read])
        calibration(above_NK, predictions.boneage_N, out / CALIBRATION)
        written += [out / BLAND_ALTMAN, out / ERROR_BY_AGE, out / CALIBRATION]
    if read and all(assessment.regions for _, assessment in read):
        region_NR = np.array([[region.months for region in assessment.regions] for _, assessment in read])
        region_ages(region_NR, predictions, out / REGION_AGES)
        written.append(out / REGION_AGES)
    return written


def _annotated(case: Case) -> int:
    """How many of a case's regions are annotated."""
    return 0 if case.annotated_R4 is None else int(np.isfinite(case.annotated_R4[:, 0]).sum())


BINS: Final = 10
"""Bins of probability in the calibration's picture."""


def to_grey(pixels_HW: NDArray[Any]) -> NDArray[np.uint8]:
    """A radiograph as stored, stretched from its 1st to its 99.5th percentile, to look at."""
    low, high = np.percentile(pixels_HW, [1, 99.5])
    unit_HW = (np.asarray(pixels_HW, np.float64) - low) / max(high - low, 1e-9)
    return np.asarray(255 * unit_HW.clip(0, 1), np.uint8)


def points_and_boxes(case: Case, path: Path) -> None:
    """The paper's figure 1: (a) the radiograph, (b) its annotated key points, (c) the boxes around them."""
    assert case.annotated_R4 is not None, "a case is an annotated hand"
    figure, axes = _pictures(1, 3, case.pixels_HW.shape)
    known_R = np.isfinite(case.annotated_R4).all(-1)
    centres_R2 = (case.annotated_R4[:, :2] + case.annotated_R4[:, 2:]) / 2
    for place, title in zip(axes[0], ("(a) radiograph", "(b) key points", "(c) boxes"), strict=True):
        _picture(place, case.pixels_HW, title)
    for r in np.flatnonzero(known_R).tolist():
        x, y = centres_R2[r].tolist()
        axes[0][1].scatter(x, y, s=26, color=_colour(REGIONS[r]), edgecolor="black", linewidth=0.6)
    _boxes(axes[0][2], case.annotated_R4)
    figure.savefig(path)


def case_study(cases: Sequence[Case], path: Path) -> None:
    """The paper's figure 3, a hand a row: (a) the radiograph, (b) sex, reference age, annotated regions, (c) ours."""
    shape = max((case.pixels_HW.shape for case in cases), key=lambda s: s[0] / s[1])
    figure, axes = _pictures(len(cases), 3, shape)
    for row, case in zip(axes, cases, strict=True):
        sex, reference = case.assessment.sex.value, case.label.boneage
        assert case.annotated_R4 is not None, "a case is an annotated hand"
        assert case.assessment.months is not None, "figures refuse nothing"
        _picture(row[0], case.pixels_HW, f"radiograph {case.label.id}")
        _picture(row[1], case.pixels_HW, f"{sex}, reference {reference:.0f} months")
        _picture(row[2], case.pixels_HW, f"predicted {case.assessment.months:.1f} months")
        _boxes(row[1], case.annotated_R4)
        found = [(r.box.x1, r.box.y1, r.box.x2, r.box.y2) for r in case.assessment.regions]
        _boxes(row[2], np.array(found, np.float64))
    figure.savefig(path)


def calibration(above_NK: NDArray[np.float64], boneage_N: NDArray[np.float64], path: Path) -> None:
    """How often the age lay above a rank to which the network gave a probability: all hands and ranks, in ten bins."""
    predicted_B, observed_B, count_B = reliability(above_NK, boneage_N)
    figure, axes = _figure(6.0, 5.6)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--", label="perfect")
    axes.plot(predicted_B, observed_B, marker="o", color="#0072b2", linewidth=1.6, label="the network")
    for x, y, count in zip(predicted_B, observed_B, count_B, strict=True):
        axes.annotate(f"{count:,}", (x, y), xytext=(6, -12), textcoords="offset points", color=FAINT, fontsize=7)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="P(age > k) as predicted")
    axes.set_ylabel("Share of hands whose age was above k")
    _title(axes, "Calibration of the ranks", f"n = {len(boneage_N)} hands x 228 ranks; numbers are hand-rank pairs")
    axes.legend(loc="upper left", frameon=False)
    figure.savefig(path)


def reliability(
    above_NK: NDArray[np.float64], boneage_N: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Mean prediction, observed share and number of hand-rank pairs of each bin that has any."""
    true_NK = boneage_N[:, None] > np.arange(above_NK.shape[1])
    bin_NK = np.minimum((above_NK * BINS).astype(int), BINS - 1)
    count_B = np.bincount(bin_NK.ravel(), minlength=BINS)
    predicted_B = np.bincount(bin_NK.ravel(), above_NK.ravel(), BINS)
    observed_B = np.bincount(bin_NK.ravel(), true_NK.ravel().astype(float), BINS)
    kept_B = count_B > 0
    return predicted_B[kept_B] / count_B[kept_B], observed_B[kept_B] / count_B[kept_B], count_B[kept_B]


def region_ages(region_NR: NDArray[np.float64], predictions: age.Predictions, path: Path) -> None:
    """How far each region's own age lies from the reference: quartiles as boxes, the 5th and 95th percentile."""
    error_NR = region_NR - predictions.boneage_N[:, None]
    figure, axes = _figure(9.0, 5.0)
    drawn = axes.boxplot(error_NR, whis=(5, 95), showfliers=False, patch_artist=True, widths=0.6)
    for name, box in zip(REGIONS, drawn["boxes"], strict=True):
        box.set(facecolor=_colour(name), edgecolor=INK, linewidth=0.8)
    for line in drawn["medians"]:
        line.set(color=INK, linewidth=1.4)
    axes.axhline(0, color=FAINT, linewidth=0.8, linestyle="--")
    mae_R = np.abs(error_NR).mean(0)
    ticks = [f"{name}\n{mae:.1f}" for name, mae in zip(REGIONS, mae_R, strict=True)]
    axes.set_xticks(np.arange(1, len(REGIONS) + 1), ticks, fontsize=8)
    axes.set(ylabel="Region's own age minus reference (months)", xlabel="Region, with its MAE in months")
    hand = float(np.abs(predictions.error_N).mean())
    _title(axes, "The age that each region shows by itself", f"n = {len(error_NR)}; the whole hand has MAE {hand:.1f}")
    figure.savefig(path)


def _pictures(rows: int, columns: int, shape: tuple[int, ...]) -> tuple[Figure, list[list[Axes]]]:
    """A sheet of radiographs of about this shape."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = 2.8
    figure = Figure((width * columns, (width * shape[0] / shape[1] + 0.35) * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [
        [figure.add_subplot(rows, columns, columns * r + c + 1) for c in range(columns)] for r in range(rows)
    ]


def _picture(axes: Axes, pixels_HW: NDArray[np.uint8], title: str) -> None:
    axes.imshow(pixels_HW, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=9, color=INK)
    axes.axis("off")
    axes.set(xlim=(0, pixels_HW.shape[1]), ylim=(pixels_HW.shape[0], 0))


def _boxes(axes: Axes, boxes_R4: NDArray[np.float64]) -> None:
    """The 17 boxes in their groups' colours; NaN ones are left out."""
    from matplotlib.patches import Rectangle

    for name, (x1, y1, x2, y2) in zip(REGIONS, boxes_R4.tolist(), strict=True):
        if np.isfinite([x1, y1, x2, y2]).all():
            colour = _colour(name)
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.1))


def _colour(region: str) -> tuple[float, ...]:
    return tuple(value / 255 for value in COLOURS[group_of(region)])
