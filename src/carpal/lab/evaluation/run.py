"""`carpal evaluate`: an engine and labelled radiographs -> predictions.csv, intervals.csv, report.json and plots.

One radiograph that cannot be read costs that radiograph: the rest is evaluated, the failures are listed in the report
and the exit code is 3. A wrong table costs the run, before it starts.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

import carpal
from carpal.errors import BackendError, CarpalError, ConfigError, DataError, InputError
from carpal.imaging.read import read_radiograph
from carpal.lab.evaluation import age, boxes, coverage, labels, plots, proposals
from carpal.lab.evaluation import plots as gallery
from carpal.lab.evaluation.boxes import percent
from carpal.quality.thresholds import REASONS
from carpal.types import Assessment, Sex

if TYPE_CHECKING:
    from carpal.inference.engine import Engine


EXIT_FAILURES: Final = InputError.exit_code
PREDICTIONS, INTERVALS, REPORT = "predictions.csv", "intervals.csv", "report.json"
GALLERY = "largest_errors.png"


class Failure(NamedTuple):
    """A radiograph without an age: the error's or the refusal's code and sentence."""

    id: str
    image: str
    code: str
    message: str


class Manner(NamedTuple):
    """How each radiograph is read; every part is a switch of `carpal evaluate`."""

    may_refuse: bool = True
    """Whether a radiograph may be refused; otherwise each is read."""
    given_regions: bool = False
    """Read only the hands that `regions` knows, with its points in place of the regions that would be found."""
    align: bool = True
    """Whether each hand is aligned before it is read (`assess`)."""

    @property
    def words(self) -> list[str]:
        """The switches that differ from the usual."""
        said = {
            "--no-refusal": not self.may_refuse,
            "--given-regions": self.given_regions,
            "--no-align": not self.align,
        }
        return [word for word, on in said.items() if on]


USUAL: Final = Manner()


@dataclass
class Readings:
    """What the engine made of the radiographs, as far as they could be read."""

    read: list[labels.Label] = field(default_factory=list)
    assessments: list[Assessment] = field(default_factory=list)
    hands: list[boxes.Hand] = field(default_factory=list)
    unnamed: list[boxes.Hand] = field(default_factory=list)
    """Annotated hands as a network without names finds them: boxes in no order."""
    failures: list[Failure] = field(default_factory=list)
    refused: list[Failure] = field(default_factory=list)
    """Read well, but no radiograph that an age may be given for; no failure."""

    @property
    def predictions(self) -> age.Predictions:
        """The table of ages; rounded as it is written, so that predictions.csv reproduces the report."""
        return age.Predictions(
            tuple(label.id for label in self.read),
            np.array([label.male for label in self.read], bool),
            np.array([label.boneage for label in self.read], float),
            np.round(np.array([assessment.months for assessment in self.assessments], float), 4),
        )


def evaluate(
    images: Path,
    table: Path,
    out: Path,
    *,
    regions: Path | None = None,
    weights: str | Path = "alanet",
    backend: str = "onnx",
    precision: str | None = None,
    engine: Engine | None = None,
    manner: Manner = USUAL,
) -> dict[str, Any]:
    """Reads every labelled radiograph and writes predictions.csv, report.json and plots to `out`; returns the report.

    Weights with calibrated intervals also give intervals.csv. `table` has id,boneage,male (or an official file's
    names), `images` the files <id>.png|jpg|jpeg|webp|dcm, `regions` points as in rois17_points.csv. `engine` takes the
    place of `weights`, `backend` and `precision`. `exit_code` of the report says what to return. A radiograph that is
    refused has no line in predictions.csv and counts in `n_refused`. Raises DataError, ConfigError, WeightsError,
    BackendError before anything is read.
    """
    _check_installed(regions is not None)
    rows = labels.read_labels(table)
    files = labels.find_images(images, rows, table)
    references = labels.read_references(regions, files) if regions else {}
    make_folder(out)
    stated: dict[str, Any] = {}
    if engine is None:
        engine, stated = _open(weights, backend, precision)
    if manner.given_regions:
        rows = proposals.need_given(rows, references, engine)
    readings = read_all(rows, files, references, engine, manner)
    command = _command(images, table, out, regions, weights, backend, precision, manner)
    report = _report(readings, engine, regions is not None)
    report |= {"weights": stated, **manner._asdict(), "command": command}
    _write(out, readings, report)
    if readings.read:
        gallery.draw_gallery(readings.read, readings.assessments, files, out / GALLERY)
    return report


def _report(readings: Readings, engine: Engine, with_regions: bool) -> dict[str, Any]:
    """Everything of report.json but the command."""
    return {
        **age.report(readings.predictions),
        "median": coverage.readout_report(readings.predictions, readings.assessments),
        "regions": _regions(readings) if with_regions else None,
        "interval": coverage.report(engine.calibration, readings.read, readings.assessments),
        "largest_errors": gallery.table(readings.read, readings.assessments),
        "model": asdict(engine.model),
        "carpal": carpal.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_refused": len(readings.refused),
        "refused": [failure._asdict() for failure in readings.refused],
        "failures": [failure._asdict() for failure in readings.failures],
    }


def _regions(readings: Readings) -> dict[str, Any]:
    """The scores of the found regions; `agnostic` is that of a network without names where there are such."""
    hands = readings.hands or readings.unnamed
    return boxes.score(readings.hands) | {"n": len(hands), "agnostic": proposals.score(hands)}


def _open(weights: str | Path, backend: str, precision: str | None) -> tuple[Engine, dict[str, Any]]:
    """The engine, and what the sidecar says of how its weights came to be, for `carpal compare`."""
    from carpal.inference.engine import open_engine
    from carpal.inference.weights import read_info

    info = read_info(weights, precision)
    stated = {name: dict(getattr(info, name)) for name in ("architecture", "training", "cost")}
    return open_engine(weights, backend, None, precision), {"path": str(info.path.resolve()), **stated}


def exit_code(report: dict[str, Any]) -> int:
    """0, or 3 where some radiographs could not be read. A refusal is a result, not a failure."""
    return EXIT_FAILURES if report["failures"] else 0


def summary(report: dict[str, Any]) -> str:
    """The report in a few lines for people."""
    lines = [f"{name:<12}{_line(part)}" for name, part in (("all", report), *report["by_sex"].items())]
    lines += [f"{name + ' years':<12}{_line(part)}" for name, part in report["by_age"].items() if part["n"]]
    if regions := report["regions"]:
        lines.append(
            f"{'regions':<12}n {regions['n']}, "
            f"centre error {percent(regions['mean_centre_error'])} of the hand's length, "
            f"{percent(regions['pck'])} within {percent(regions['pck_share'])}, AP {percent(regions['ap'])}, "
            f"AP50 {percent(regions['ap50'])}, AP75 {percent(regions['ap75'])}"
        )
    if report["interval"]:
        lines += coverage.lines(report["interval"])
    if refused := report["n_refused"]:
        lines.append(f"{'refused':<12}{refused}, in no figure above, listed in {REPORT}")
    if failures := report["failures"]:
        lines.append(f"{'failed':<12}{len(failures)}, listed in {REPORT}")
    return "\n".join(lines)


def read_all(
    rows: Sequence[labels.Label],
    files: dict[str, Path],
    references: dict[str, labels.Reference],
    engine: Engine,
    manner: Manner = USUAL,
) -> Readings:
    """Reads every labelled radiograph with a progress line; one that gives no age becomes a failure."""
    readings = Readings()
    for done, row in enumerate(rows, 1):
        path = files[row.id]
        reference = references.get(row.id)
        result = _read(path, Sex.MALE if row.male else Sex.FEMALE, engine, manner, reference)
        if isinstance(result, Failure):
            kind = readings.refused if result.code in REASONS else readings.failures
            kind.append(result._replace(id=row.id))
            print(f"{path}: {result.message}", file=sys.stderr)
        else:
            assessment, width, height = result
            assert assessment.months is not None, "a refusal is a failure"
            readings.read.append(row)
            readings.assessments.append(assessment)
            if reference is not None and assessment.regions:
                readings.hands.append(_hand(reference, _named(assessment), width, height))
            elif reference is not None and (found := proposals.find(engine, path)) is not None:
                readings.unnamed.append(_hand(reference, found, width, height))
        if sys.stderr.isatty():
            print(
                f"\r{done}/{len(rows)} radiographs", end="\n" if done == len(rows) else "", file=sys.stderr, flush=True
            )
    return readings


def _read(
    path: Path, sex: Sex, engine: Engine, manner: Manner, reference: labels.Reference | None
) -> tuple[Assessment, int, int] | Failure:
    """The assessment with the image's width and height. What one file is to blame for becomes a Failure."""
    from carpal.inference.assess import assess

    try:
        radiograph = read_radiograph(path)
    except (CarpalError, OSError) as error:  # a missing DICOM codec too: it concerns this file
        return Failure("", path.name, getattr(error, "code", "unreadable-image"), str(error))
    try:
        given = reference if manner.given_regions else None
        boxes_R4 = None if given is None else proposals.annotated_boxes(given, radiograph.pixels_HW.shape)
        assessment = assess(radiograph, sex, engine, boxes_R4, may_refuse=manner.may_refuse, align=manner.align)
    except InputError as error:
        return Failure("", path.name, error.code, str(error))
    if assessment.refused is not None:
        return Failure("", path.name, assessment.refused.code, assessment.refused.message)
    height, width = radiograph.pixels_HW.shape
    return assessment, width, height


def _hand(reference: labels.Reference, found: proposals.Found, width: int, height: int) -> boxes.Hand:
    """Annotation and found boxes in one frame: the radiograph at long side 512 with the annotation's aspect.

    Both go by their shares of width and height, so the image may have another size than the annotated one.
    """
    annotation = reference.annotation
    annotated = np.array([annotation.width or width, annotation.height or height], float)
    scale = boxes.FRAME / annotated.max()
    frame = annotated * scale
    points_R2 = np.where(annotation.points_R3[:, 2:] > 0, annotation.points_R3[:, :2] * scale, np.nan)
    found_R4 = found.boxes_R4 * np.tile(frame / [width, height], 2)
    return boxes.Hand(points_R2, reference.length * scale, found_R4, found.scores_R, float(frame[0]), float(frame[1]))


def _named(assessment: Assessment) -> proposals.Found:
    """The boxes of an assessment, in the order of `anatomy.REGIONS`."""
    regions = assessment.regions
    return proposals.Found(
        np.array([[r.box.x1, r.box.y1, r.box.x2, r.box.y2] for r in regions]),
        np.array([region.score for region in regions]),
    )


def _write(out: Path, readings: Readings, report: dict[str, Any]) -> None:
    predictions = readings.predictions
    predictions.write(out / PREDICTIONS)
    if report["interval"]:
        coverage.write(out / INTERVALS, readings.read, readings.assessments)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (out / REPORT).write_text(text, encoding="utf-8", errors="backslashreplace")
    if len(predictions):
        plots.draw(predictions, out)


def read_report(folder: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """What an evaluation left in `folder`. Raises DataError where none did, or where its report lacks one of `keys`."""
    try:
        report: dict[str, Any] = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        if not isinstance(report, dict):
            raise ValueError("it holds no report")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is no folder of `carpal evaluate` - {REPORT}: {error} - evaluate again.") from None
    if missing := [key for key in keys if key not in report]:
        raise DataError(
            f"{folder / REPORT} lacks {', '.join(missing)} - it is of an older version, or pooled - evaluate again."
        )
    return report


def _check_installed(with_regions: bool) -> None:
    needed = ("matplotlib", "pycocotools") if with_regions else ("matplotlib",)
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise BackendError(f"An evaluation needs {' and '.join(missing)} - not installed - pip install 'carpal[eval]'.")


def make_folder(out: Path) -> None:
    """Makes the folder for the results. Raises ConfigError where it cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} is no folder to write to - {error.strerror} - name another.") from None


def _command(
    images: Path,
    table: Path,
    out: Path,
    regions: Path | None,
    weights: str | Path,
    backend: str,
    precision: str | None,
    manner: Manner,
) -> str:
    words = ["carpal", "evaluate", "--images", images, "--labels", table, "--out", out]
    words += ["--regions", regions] if regions else []
    words += [*manner.words, "--weights", weights, "--backend", backend]
    words += ["--precision", precision] if precision else []
    return shlex.join(map(str, words))


def _line(part: dict[str, Any]) -> str:
    if not part["n"]:
        return "n 0"
    low, high = part["mae_ci95"]
    return (
        f"n {part['n']}, MAE {part['mae']:.2f} months (95 % interval {low:.2f} to {high:.2f}), "
        f"RMSE {part['rmse']:.2f}, bias {part['bias']:+.2f}"
    )
