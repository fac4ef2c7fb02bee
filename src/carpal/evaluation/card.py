"""The model card of released weights, rendered from an evaluation's report.json and the weights' sidecar.

Numbers in the card come from those two files and nowhere else, so the card cannot drift from what was measured.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from carpal.errors import DataError
from carpal.evaluation.boxes import percent

REPORT_KEYS: Final = ("n", "mae", "mae_ci95", "rmse", "bias", "by_sex", "by_age", "regions", "model", "command", "date")
SIDECAR_KEYS: Final = ("name", "version", "sha256", "training")

USE: Final = """\
For research: to estimate the skeletal age of children from a radiograph of one hand and wrist (posterior-anterior),
with the patient's sex stated. It gives months (0 to 228) and, where the network has regions, 17 named regions.

**Not a medical device.** Not for diagnosis or treatment, and never alone: a physician reads the radiograph. Not for
other views or body parts, for hands with dysplasia, fractures or implants, for adults, or to decide whether a person
is of legal age. It was not tested on any of these."""

DATA: Final = """\
Radiographs and ages of the RSNA Pediatric Bone Age Challenge 2017 (rsna.org), for non-commercial research and education
only. Cite Halabi SS et al., *The RSNA Pediatric Bone Age Machine Learning Challenge*, Radiology 2019;290(2):498-503.
Weights trained on them are for research, non-commercial. Two hospitals of one country; scanners and the patients'
origins are not stated, so differences between populations were not measured."""


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
    sections = {
        "Details": _details(sidecar),
        "Intended use": USE,
        "Data": DATA,
        "Training": _listing(sidecar["training"]) or "Not stated in the sidecar.",
        "Results": _results(report),
        "Intervals": _intervals(report.get("interval")),
        "Regions": _regions(report["regions"]),
        "Largest errors": _largest(report.get("largest_errors", [])),
        "How to get started": f"```\ncarpal assess hand.png --sex female --weights {sidecar['name']}\n```",
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# Model card: {sidecar['name']} {sidecar['version']}\n\n{body}\n"


def _details(sidecar: dict[str, Any]) -> str:
    known = {key: value for key, value in sidecar.items() if key not in ("training", "calibration")}
    return _listing(known)


def _results(report: dict[str, Any]) -> str:
    parts = {"all": report, **report["by_sex"], **{f"{band} years": row for band, row in report["by_age"].items()}}
    table = ["| | n | MAE (95 % interval) | RMSE | bias |", "|---|---:|---:|---:|---:|"]
    table += [_row(name, part) for name, part in parts.items()]
    failures = len(report.get("failures", []))
    return "\n".join(
        [
            "Months; bias is predicted minus reference; intervals are percentile bootstrap over radiographs.",
            "",
            *table,
            "",
            f"{failures} radiographs gave no age. Measured {report['date']} with `{report['command']}`.",
        ]
    )


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


def _listing(values: dict[str, Any], indent: str = "") -> str:
    """A nested mapping as a Markdown list."""
    lines = []
    for key, value in values.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            lines += [f"{indent}- {name}", _listing(value, indent + "  ")] if value else []
        else:
            lines.append(f"{indent}- {name}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return "\n".join(lines)


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable JSON file - {error} - write it again.") from None
    missing = [key for key in keys if not isinstance(values, dict) or key not in values]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)} - it is another file or cut off - write it again.")
    return dict(values)
