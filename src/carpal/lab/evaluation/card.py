"""The model card of released weights, rendered from an evaluation's report.json and the weights' sidecar.

    python -m carpal.lab.evaluation.card folds01/report.json src/carpal/released/alanet.json docs/cards/alanet.md

Numbers in the card come from those two files and nowhere else, so the card cannot drift from what was measured. What
it is for, what not, the data, the results and the limits come first and fit one screen; thresholds, parity and every
setting stay in the sidecar.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from carpal.checkout import held_out
from carpal.errors import DataError
from carpal.lab.evaluation.boxes import percent

REPORT_KEYS: Final = ("n", "mae", "mae_ci95", "rmse", "bias", "by_sex", "by_age", "regions", "model", "command", "date")
SIDECAR_KEYS: Final = ("name", "version", "sha256", "training")

USE: Final = """\
Research and education: the skeletal age of a child, in months (0 to 228), from a radiograph of one hand and wrist
(posterior-anterior) and the child's sex; where the network has regions, also 17 named regions with ages of their own.
A physician reads the radiograph besides."""

NOT_FOR: Final = """\
**Not a medical device**: not for diagnosis or treatment, and never alone. Not for other views or body parts, for hands
with dysplasia, fractures or implants, for adults, or to decide whether a person is of legal age. It was not tested on
any of these."""

DATA: Final = """\
Radiographs and ages of the RSNA Pediatric Bone Age Challenge 2017 (rsna.org), for non-commercial research and education
only; so are weights trained on them. Cite Halabi SS et al., *The RSNA Pediatric Bone Age Machine Learning Challenge*,
Radiology 2019;290(2):498-503. Two hospitals of one country; scanners and the patients' origins are not stated."""

LIMITS: Final = """\
- Differences between populations, scanners and hospitals were not measured. The reference ages are readings with errors
  of their own.
- What is no readable hand is mostly [refused](../refusal.md); small turns, borders, noise and contrast move single ages
  by some months ([stress certificate](../stress.md))."""


TABLE: Final = ("| | n | MAE (95 % interval) | RMSE | bias |", "|---|---:|---:|---:|---:|")
"""The head of the tables of errors, in months; the interval is a percentile bootstrap over radiographs."""


def write_card(report: Path, sidecar: Path, out: Path) -> None:
    """Writes the card to `out` (docs/cards/<name>.md). Raises DataError on a broken file, or one of other weights."""
    text = render(_read(report, REPORT_KEYS), _read(sidecar, SIDECAR_KEYS))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")


def render(report: dict[str, Any], sidecar: dict[str, Any]) -> str:
    """The card as Markdown. Raises DataError where the two are about different weights, or nothing was read."""
    if report["model"]["sha256"] != sidecar["sha256"]:
        raise DataError(
            f"The report is about weights {report['model']['sha256'][:12]} and the sidecar about "
            f"{sidecar['sha256'][:12]} - a card needs both of one file - evaluate these weights again."
        )
    if not report["n"]:
        raise DataError("The report has no radiograph in it - n is 0 - a card needs an evaluation that read some.")
    first = {
        "Use": USE,
        "Not for": NOT_FOR,
        "Data": DATA,
        "Results": _results(report),
        "Limits": f"{LIMITS}\n{_limits(report)}",
    }
    details = {
        "By age": "\n".join([*TABLE, *(_row(f"{band} years", row) for band, row in report["by_age"].items())]),
        "Intervals": _intervals(report.get("interval")),
        "Regions": _regions(report["regions"]),
        "Largest errors": _largest(report.get("largest_errors", [])),
        "Training": _training(sidecar["training"]),
        "Everything else": (
            "Architecture, parity with PyTorch, the thresholds of refusal and how they were fitted, the intervals' "
            f"offsets and\nevery setting of every training: `carpal info {sidecar['name']}` prints the sidecar."
        ),
    }
    parts = [f"# Model card: {sidecar['name']} {sidecar['version']}", f"SHA-256 `{sidecar['sha256']}`"]
    parts += [f"## {title}\n\n{text}" for title, text in first.items()]
    parts += ["## Details", *(f"### {title}\n\n{text}" for title, text in details.items())]
    return "\n\n".join(parts) + "\n"


def _results(report: dict[str, Any]) -> str:
    """The table of the first screen, what else was measured in a sentence each, and with what."""
    rows = [_row(name, part) for name, part in ({"all": report} | report["by_sex"]).items()]
    refused, failures = report.get("n_refused", 0), len(report.get("failures", []))
    lines = [
        *TABLE,
        *rows,
        "",
        f"Months; bias is read minus reference. Without an age, left out: {refused} refused, {failures} unreadable.",
    ]
    if found := report.get("interval"):
        low, high = map(percent, found["coverage_ci95"])
        lines.append(
            f"Intervals of {percent(found['nominal'])} hold {percent(found['coverage'])} of the reference ages "
            f"({low} to {high}), {found['mean_width']:.1f} months wide on average."
        )
    if regions := report["regions"]:
        lines.append(
            f"Regions of {regions['n']} annotated hands: centres {percent(regions['mean_centre_error'])} of the hand's "
            f"length off, AP50 of named boxes {percent(regions['ap50'])}."
        )
    return "\n".join([*lines, "", f"Measured {report['date']} with\n`{report['command']}`."])


def _limits(report: dict[str, Any]) -> str:
    """What the measurement says against the network: bias by age, and the largest error."""
    bands = [(band, row) for band, row in report["by_age"].items() if row["n"]]
    by_age = ", ".join(f"{row['bias']:+.2f} at {band} (n {row['n']})" for band, row in bands)
    lines = [f"- Months of bias by years of reference age: {by_age}."]
    if worst := report.get("largest_errors"):
        largest = max(abs(row["predicted"] - row["boneage"]) for row in worst)
        lines.append(f"- Single hands are read wrong by up to {largest:.0f} months ([the largest](#largest-errors)).")
    return "\n".join(lines)


def _training(training: dict[str, Any]) -> str:
    """One line for each training that led to the weights, the last one first."""
    rows = []
    for stage in _stages(training):
        data, optim, schedule = (stage.get(part, {}) for part in ("data", "optim", "schedule"))
        cells = (
            stage.get("name"), stage.get("start"), ", ".join(data.get("stores", [])) or None,
            stage.get("model", {}).get("long_side"), schedule.get("steps"), optim.get("batch"), stage.get("epochs"),
            stage.get("hours"), stage.get("hardware"), stage.get("commit"),
        )  # fmt: skip
        rows.append("| " + " | ".join("-" if cell is None else str(cell) for cell in cells) + " |")
    if not rows:
        return "Not stated in the sidecar."
    folds = ", ".join(map(str, held_out(training)))
    head = [
        f"Folds that none of these trainings read: {folds or 'none'}. The last training stands first.",
        "",
        "| name | started from | stores | long side | steps | batch | epochs | hours | hardware | commit |",
        "|---|---|---|---:|---:|---:|---:|---:|---|---|",
    ]
    return "\n".join([*head, *rows])


def _stages(training: Any) -> Iterator[dict[str, Any]]:
    """The training and all that it started from; a start may come from several trainings, one for each part."""
    if not isinstance(training, dict) or not training:
        return
    yield training
    start = training.get("started_from", {})
    for part in [start, *start.values()]:
        if isinstance(part, dict):
            yield from _stages(part.get("training"))


def _row(name: str, part: dict[str, Any]) -> str:
    if not part["n"]:
        return f"| {name} | 0 | | | |"
    low, high = part["mae_ci95"]
    mae = f"{part['mae']:.2f} ({low:.2f}-{high:.2f})"
    return f"| {name} | {part['n']} | {mae} | {part['rmse']:.2f} | {part['bias']:+.2f} |"


def _intervals(found: dict[str, Any] | None) -> str:
    if found is None:
        return "None: these weights have no calibration."
    how = "fitted on other radiographs of this table, dealt into folds" if found["crossfitted"] else "fitted elsewhere"
    rows = {"all": found, **found["by_sex"], **{f"{name} years": row for name, row in found["by_stratum"].items()}}
    return "\n".join(
        [
            f"Promised coverage {percent(found['nominal'])}; {how}. Ages are reference ages.",
            "",
            "| | n | coverage (95 % interval) | mean width, months |",
            "|---|---:|---:|---:|",
            *(_interval_row(name, row) for name, row in rows.items() if row["n"]),
        ]
    )


def _interval_row(name: str, row: dict[str, Any]) -> str:
    low, high = map(percent, row["coverage_ci95"])
    return f"| {name} | {row['n']} | {percent(row['coverage'])} ({low} to {high}) | {row['mean_width']:.1f} |"


def _regions(regions: dict[str, Any] | None) -> str:
    if regions is None:
        return "Not measured."
    by_region = [(name, row) for name, row in regions["by_region"].items() if row["n"]]
    return "\n".join(
        [
            f"{regions['n']} annotated hands. Centre error: mean {percent(regions['mean_centre_error'])} of the hand's"
            f" length (DIP joints to wrist); {percent(regions['pck'])} within {percent(regions['pck_share'])}.",
            "",
            "| boxes of 64 x 64 px at long side 512 | AP | AP50 | AP75 |",
            "|---|---:|---:|---:|",
            _precision("17 classes", regions),
            _precision("without classes", regions["agnostic"]),
            "",
            "| region | points | mean centre error |",
            "|---|---:|---:|",
            *(f"| {name} | {row['n']} | {percent(row['mean_centre_error'])} |" for name, row in by_region),
        ]
    )


def _largest(worst: list[dict[str, Any]]) -> str:
    if not worst:
        return "Not listed."
    rows = (
        f"| {row['id']} | {row['sex']} | {row['boneage']:g} | {row['predicted']:.1f} "
        f"| {row['predicted'] - row['boneage']:+.1f} | {'; '.join(row['warnings']) or '-'} |"
        for row in worst
    )
    head = ["| radiograph | sex | reference | read | error, months | warnings |", "|---|---|---:|---:|---:|---|"]
    return "\n".join([*head, *rows])


def _precision(name: str, values: dict[str, Any]) -> str:
    return f"| {name} | {percent(values['ap'])} | {percent(values['ap50'])} | {percent(values['ap75'])} |"


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable JSON file - {error} - write it again.") from None
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)} - it is another file or cut off - write it again.")
    return dict(values)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m carpal.lab.evaluation.card REPORT.json SIDECAR.json CARD.md")
    write_card(*map(Path, sys.argv[1:]))
