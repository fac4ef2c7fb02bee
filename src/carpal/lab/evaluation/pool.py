"""`carpal pool`: the evaluations of a cross-validation, each of a network and the fold that it did not see, as one.

Every radiograph counts once, with the age that a network gave which had not been trained on it. What comes out has the
form of an evaluation (`run.py`) without regions and intervals, which belong to one network.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

import carpal
from carpal.checkout import held_out
from carpal.errors import DataError
from carpal.lab.data.tables import few
from carpal.lab.evaluation import age, plots, run

KEYS: Final = ("model", "weights", "refused", "failures", "date")


def pool(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Writes predictions.csv, report.json and plots to `out`; returns the report, whose `parts` are the evaluations.

    `folders` are those that `carpal evaluate` wrote. Raises DataError where one is none, or where two read the same
    radiograph; ConfigError for `out`.
    """
    parts = [(run.read_report(folder, KEYS), age.read_predictions(folder / run.PREDICTIONS)) for folder in folders]
    predictions = joined([table for _, table in parts])
    refused = [each for report, _ in parts for each in report["refused"]]
    words = map(str, [*folders, "--out", out])
    report = {
        **age.report(predictions),
        "parts": [_part(report, table) for report, table in parts],
        "regions": None,
        "interval": None,
        "carpal": carpal.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "n_refused": len(refused),
        "refused": refused,
        "failures": [each for report, _ in parts for each in report["failures"]],
        "command": shlex.join(["carpal", "pool", *words]),
    }
    run.make_folder(out)
    predictions.write(out / run.PREDICTIONS)
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (out / run.REPORT).write_text(text, encoding="utf-8", errors="backslashreplace")
    if len(predictions):
        plots.draw(predictions, out)
    return report


def joined(tables: Sequence[age.Predictions]) -> age.Predictions:
    """All lines of all tables. Raises DataError where an id occurs in two of them."""
    ids = [name for table in tables for name in table.ids]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise DataError(
            f"Radiographs were read by more than one network - {few(twice)} - in a cross-validation each is read once, "
            "by the network that did not see it; evaluate each network on its own fold."
        )
    return age.Predictions(
        tuple(ids),
        np.concatenate([table.male_N for table in tables]),
        np.concatenate([table.boneage_N for table in tables]),
        np.concatenate([table.predicted_N for table in tables]),
    )


def lines(report: dict[str, Any]) -> str:
    """The report for people: each part's network and error, then what `carpal evaluate` prints."""
    told = [
        f"{part['model']['name']} {part['model']['sha256'][:12]}, which held out folds "
        f"{', '.join(map(str, part['held_out'])) or 'none that its sidecar names'}: n {part['n']}"
        + (f", MAE {part['mae']:.2f}" if part["n"] else "")
        for part in report["parts"]
    ]
    return "\n".join([*told, run.summary(report)])


def _part(report: dict[str, Any], table: age.Predictions) -> dict[str, Any]:
    """One evaluation: its network, the folds that this was not trained on, and its own figures."""
    held = list(held_out(report["weights"].get("training", {})))
    return {"model": report["model"], "held_out": held, "date": report["date"], **age.summary(table)}
