"""The stress certificate: how far ages move when radiographs are distorted (`distortions.FAMILIES`).

Every image is read as it is and then under every strength of every family. A picture that is refused counts in the
refusal rate and in nothing else. `carpal stress` writes stress.json, stress.md and stress.png.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import carpal
from carpal.errors import ConfigError
from carpal.evaluation import labels, stress_plot
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, open_engine
from carpal.trust.distortions import FAMILIES, Family
from carpal.types import Assessment, Radiograph, Sex

MAE_LIMIT: Final = 0.3
"""Months that a family may raise the MAE by at its clinical strengths."""
MEDIAN_LIMIT, P99_LIMIT = 0.5, 2.0
"""Months by which the age may change (median, 99th percentile) where the picture holds the same as before."""
SEED: Final = 0
REPORT, TABLE, PLOT = "stress.json", "stress.md", "stress.png"


class Answer(NamedTuple):
    """The age of one reading, NaN where it was refused; `covered` is NaN without an interval."""

    months: float
    covered: float


def run(
    images: Path,
    table: Path,
    out: Path,
    *,
    limit: int | None = None,
    families: Sequence[str] | None = None,
    weights: str | Path = "alanet",
    backend: str = "onnx",
    precision: str | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Reads `limit` labelled radiographs (all where None, else a seeded choice) under every distortion.

    Writes the report, a Markdown table and a plot to `out`; returns the report. Raises DataError, ConfigError,
    WeightsError, BackendError, and UnreadableImage for an image that cannot be read.
    """
    chosen = _families(families)
    rows = labels.read_labels(table)
    if limit is not None and limit < len(rows):
        picked = np.random.default_rng(SEED).permutation(len(rows))[:limit]
        rows = [rows[index] for index in sorted(picked)]
    files = labels.find_images(images, rows, table)
    _make_folder(out)
    engine = engine or open_engine(weights, backend, None, precision)
    cases = [(read_radiograph(files[row.id]), Sex.MALE if row.male else Sex.FEMALE, row.boneage) for row in rows]
    report = {
        "n": len(cases),
        **certificate(cases, chosen, engine, _progress),
        "model": asdict(engine.model),
        "carpal": carpal.__version__,
        "command": f"carpal stress --images {images} --labels {table}" + (f" --limit {limit}" if limit else ""),
        "date": datetime.now(UTC).date().isoformat(),
    }
    (out / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / TABLE).write_text(markdown(report), encoding="utf-8")
    stress_plot.draw(report["families"], out / PLOT)
    return report


def certificate(
    cases: Sequence[tuple[Radiograph, Sex, float]],
    families: dict[str, Family],
    engine: Engine,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """The report's figures: `as_it_is`, `families` (a list of strengths for each), and `passed`."""
    reference_N = np.array([months for _, _, months in cases])
    plain = [_answer(radiograph, sex, months, engine) for radiograph, sex, months in cases]
    results: dict[str, list[dict[str, Any]]] = {}
    for name, family in families.items():
        results[name] = []
        for strength in family.strengths:
            progress(f"{name} {strength:g}")
            answers = [
                _answer(_distorted(radiograph, family, strength), sex, months, engine)
                for radiograph, sex, months in cases
            ]
            results[name].append(compare(plain, answers, reference_N, family, strength))
    judged = [entry["passed"] for entries in results.values() for entry in entries if entry["clinical"]]
    return {"as_it_is": _summary(plain, reference_N), "families": results, "passed": all(judged)}


def _distorted(radiograph: Radiograph, family: Family, strength: float) -> Radiograph:
    return Radiograph(family.apply(radiograph.pixels_HW, strength), radiograph.source)


def _answer(radiograph: Radiograph, sex: Sex, months: float, engine: Engine) -> Answer:
    assessment: Assessment = assess(radiograph, sex, engine)
    if assessment.months is None:
        return Answer(np.nan, np.nan)
    interval = assessment.interval
    covered = np.nan if interval is None else float(interval.low <= months <= interval.high)
    return Answer(assessment.months, covered)


def compare(
    plain: Sequence[Answer],
    answers: Sequence[Answer],
    reference_N: NDArray[np.float64],
    family: Family,
    strength: float,
) -> dict[str, Any]:
    """One line of the table. Changes and MAE are over the images that give an age both times."""
    before_N, after_N = (np.array([answer.months for answer in each]) for each in (plain, answers))
    both_N = np.isfinite(before_N) & np.isfinite(after_N)
    covered = [answer.covered for answer in answers if np.isfinite(answer.covered)]
    entry: dict[str, Any] = {
        "strength": strength,
        "unit": family.unit,
        "clinical": strength in family.clinical,
        "exact": family.exact,
        "n": int(both_N.sum()),
        "refused": round(float(1 - np.isfinite(after_N).sum() / max(np.isfinite(before_N).sum(), 1)), 4),
        "coverage": round(float(np.mean(covered)), 4) if covered else None,
        "median_change": None,
        "p99_change": None,
        "mae_change": None,
        "passed": False,
    }
    if both_N.any():
        change_N = np.abs(after_N - before_N)[both_N]
        errors = [np.abs(months_N - reference_N)[both_N].mean() for months_N in (before_N, after_N)]
        entry["median_change"] = round(float(np.median(change_N)), 3)
        entry["p99_change"] = round(float(np.percentile(change_N, 99)), 3)
        entry["mae_change"] = round(float(errors[1] - errors[0]), 3)
        entry["passed"] = _passes(entry)
    return entry


def _passes(entry: dict[str, Any]) -> bool:
    if entry["exact"]:
        return bool(entry["median_change"] < MEDIAN_LIMIT and entry["p99_change"] < P99_LIMIT)
    return bool(entry["mae_change"] <= MAE_LIMIT)


def _summary(plain: Sequence[Answer], reference_N: NDArray[np.float64]) -> dict[str, Any]:
    months_N = np.array([answer.months for answer in plain])
    read_N = np.isfinite(months_N)
    covered = [answer.covered for answer in plain if np.isfinite(answer.covered)]
    return {
        "refused": int((~read_N).sum()),
        "mae": round(float(np.abs(months_N - reference_N)[read_N].mean()), 3) if read_N.any() else None,
        "coverage": round(float(np.mean(covered)), 4) if covered else None,
    }


def markdown(report: dict[str, Any]) -> str:
    """The certificate as a page: what was run, one line a strength, whether it passes."""
    plain, model = report["as_it_is"], report["model"]
    lines = [
        f"`{report['command']}`, {report['date']}, {model['name']} {model['version']}, "
        f"SHA-256 {model['sha256'][:12]}: {report['n']} radiographs, {plain['refused']} refused as they are, "
        f"MAE {_cell(plain['mae'])} months.",
        "",
        "| family | strength | clinical | refused | median change | 99th percentile | MAE change | coverage | passes |",
        "|---|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, entries in report["families"].items():
        for entry in entries:
            cells = [f"{entry['strength']:g} ({entry['unit']})", "yes" if entry["clinical"] else ""]
            cells += [f"{100 * entry['refused']:.1f} %", *(_cell(entry[k]) for k in _FIGURES)]
            cells += ["" if entry["coverage"] is None else f"{100 * entry['coverage']:.0f} %"]
            verdict = ("yes" if entry["passed"] else "**no**") if entry["clinical"] else ""
            lines.append(f"| {name} | {' | '.join([*cells, verdict])} |")
    lines += ["", f"At the clinical strengths: {'passed' if report['passed'] else '**not passed**'}.", ""]
    return "\n".join(lines)


_FIGURES: Final = ("median_change", "p99_change", "mae_change")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _families(names: Iterable[str] | None) -> dict[str, Family]:
    if names is None:
        return FAMILIES
    chosen = list(names)
    if unknown := [name for name in chosen if name not in FAMILIES]:
        raise ConfigError(f"{unknown[0]!r} is no family of distortions - choose from {', '.join(FAMILIES)}")
    return {name: FAMILIES[name] for name in chosen}


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} is no folder to write to - {error.strerror} - name another.") from None


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{what:<40}", end="", file=sys.stderr, flush=True)
