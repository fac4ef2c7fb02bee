"""The stress certificate: how far ages move when radiographs are distorted (`distortions.FAMILIES`).

Every image is read as it is and then under every strength of every family. Changes and errors are over the images
that give an age both times; those that are refused only when distorted count as newly refused, and too many of them
fail the strength. `carpal stress` writes stress.json, stress.md and stress.png: one panel a family, how far ages move
at each strength.

What the network was shown before for the same radiograph, it is not shown again: flips and quarter turns come down to
the same views. Several radiographs are read at the same time, each on one core.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import carpal
from carpal.checkout import commit, without_machine
from carpal.errors import ConfigError
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, Reading, open_engine
from carpal.lab.evaluation import labels
from carpal.lab.evaluation.distortions import FAMILIES, Family
from carpal.lab.evaluation.run import make_folder
from carpal.types import Assessment, Radiograph, Sex

MAE_LIMIT: Final = 0.3
"""Months that a family may raise the MAE by at its clinical strengths."""
MEDIAN_LIMIT, P99_LIMIT = 0.5, 2.0
"""Months by which the age may change (median, 99th percentile) where the picture holds the same as before."""
REFUSED_LIMIT: Final = 0.02
"""Share of the radiographs read as they are that a clinical strength may refuse; one is always allowed."""
LIMITS: Final = {"mae_change": MAE_LIMIT, "median_change": MEDIAN_LIMIT, "p99_change": P99_LIMIT}
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
    clinical: bool = False,
    weights: str | Path = "alanet",
    backend: str = "onnx",
    precision: str | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Reads `limit` labelled radiographs (all where None, else a seeded choice) under every distortion.

    `clinical` leaves out the strengths that do not decide. Writes the report, a Markdown table and a plot to `out`;
    returns the report. Raises DataError, ConfigError, WeightsError, BackendError, and UnreadableImage for an image that
    cannot be read.
    """
    chosen = _families(families, clinical)
    rows = _choose(labels.read_labels(table), limit)
    files = labels.find_images(images, rows, table)
    make_folder(out)
    started = time.monotonic()
    engine = engine or open_engine(weights, backend, 1, precision)
    cases = [(read_radiograph(files[row.id]), Sex.MALE if row.male else Sex.FEMALE, row.boneage) for row in rows]
    report = {
        "n": len(cases),
        **certificate(cases, chosen, engine, _progress, jobs=len(os.sched_getaffinity(0))),
        "model": asdict(engine.model),
        "carpal": carpal.__version__,
        "command": _command(images, table, out, limit, families, clinical, weights, engine),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(time.monotonic() - started),
    }
    (out / REPORT).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (out / TABLE).write_text(markdown(report), encoding="utf-8")
    draw(report["families"], out / PLOT, LIMITS)
    return report


def _choose(rows: list[labels.Label], limit: int | None) -> list[labels.Label]:
    if limit is None or limit >= len(rows):
        return rows
    picked = np.random.default_rng(SEED).permutation(len(rows))[:limit]
    return [rows[index] for index in sorted(picked)]


def certificate(
    cases: Sequence[tuple[Radiograph, Sex, float]],
    families: dict[str, Family],
    engine: Engine,
    progress: Callable[[str], None] = lambda _: None,
    jobs: int = 1,
) -> dict[str, Any]:
    """The report's figures: `as_it_is`, `families` (a list of strengths for each), `runs`, and `passed`.

    `jobs` radiographs are read at the same time; `runs` counts how often the network was.
    """
    steps = [(name, strength) for name, family in families.items() for strength in family.strengths]

    def read(case: tuple[Radiograph, Sex, float]) -> tuple[list[Answer], int]:
        radiograph, sex, months = case
        remembering = Remembering(engine)
        answers = [_answer(radiograph, sex, months, remembering)]
        for name, strength in steps:
            distorted = _distorted(radiograph, families[name], strength)
            answers.append(_answer(distorted, sex, months, remembering))
        progress(radiograph.source)
        return answers, remembering.runs

    with ThreadPoolExecutor(jobs) as pool:
        read_N = list(pool.map(read, cases))
    reference_N = np.array([months for _, _, months in cases])
    plain = [answers[0] for answers, _ in read_N]
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in families}
    for place, (name, strength) in enumerate(steps, 1):
        after = [answers[place] for answers, _ in read_N]
        results[name].append(compare(plain, after, reference_N, families[name], strength))
    judged = [entry["passed"] for entries in results.values() for entry in entries if entry["clinical"]]
    runs = sum(runs for _, runs in read_N)
    return {"as_it_is": _summary(plain, reference_N), "families": results, "runs": runs, "passed": all(judged)}


class Remembering:
    """An engine that answers what it was asked before from memory. For one radiograph: it forgets nothing."""

    def __init__(self, engine: Engine) -> None:
        self.model, self.long_side = engine.model, engine.long_side
        self.view_scale, self.flip = engine.view_scale, engine.flip
        self.calibration, self.refusal = engine.calibration, engine.refusal
        self.runs = 0
        self._engine = engine
        self._answers: dict[bytes, Reading] = {}

    def run(self, image_HW: NDArray[Any], male: bool, boxes_R4: NDArray[np.float32] | None = None) -> Reading:
        """As the engine answers; boxes are not given in a certificate."""
        assert boxes_R4 is None, "a certificate leaves the regions to the network"
        key = hashlib.sha256(repr((image_HW.shape, male)).encode() + image_HW.tobytes()).digest()
        if key not in self._answers:
            self.runs += 1
            self._answers[key] = self._engine.run(image_HW, male)
        return self._answers[key]


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
    read_N = np.isfinite(before_N)
    both_N = read_N & np.isfinite(after_N)
    newly = int(read_N.sum() - both_N.sum())
    covered = [answer.covered for answer in answers if np.isfinite(answer.covered)]
    entry: dict[str, Any] = {
        "strength": strength,
        "unit": family.unit,
        "clinical": strength in family.clinical,
        "exact": family.exact,
        "n": int(both_N.sum()),
        "newly_refused": newly,
        "refused": round(newly / max(int(read_N.sum()), 1), 4),
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
    """Few newly refused and no larger error; an exact family leaves each age where it was besides."""
    kept = entry["newly_refused"] <= max(1.0, REFUSED_LIMIT * (entry["n"] + entry["newly_refused"]))
    still = entry["median_change"] < MEDIAN_LIMIT and entry["p99_change"] < P99_LIMIT
    return bool(kept and entry["mae_change"] <= MAE_LIMIT and (still or not entry["exact"]))


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
        f"`{report['command']}`, {report['date']}, commit {report['commit'] or 'unknown'}, "
        f"{model['name']} {model['version']}, SHA-256 {model['sha256'][:12]}: {report['n']} radiographs, "
        f"{plain['refused']} refused as they are, MAE {_cell(plain['mae'])} months; "
        f"{report['runs']} runs of the network in {report['seconds']} s.",
        "",
        "| family | strength | clinical | newly refused | median change | 99th percentile | MAE change | coverage "
        "| passes |",
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


def _families(names: Iterable[str] | None, clinical: bool = False) -> dict[str, Family]:
    chosen = list(FAMILIES if names is None else names)
    if unknown := [name for name in chosen if name not in FAMILIES]:
        raise ConfigError(f"{unknown[0]!r} is no family of distortions - choose from {', '.join(FAMILIES)}")
    found = {name: FAMILIES[name] for name in chosen}
    return {name: replace(each, strengths=each.clinical) for name, each in found.items()} if clinical else found


def _command(
    images: Path,
    table: Path,
    out: Path,
    limit: int | None,
    families: Sequence[str] | None,
    clinical: bool,
    weights: str | Path,
    engine: Engine,
) -> str:
    """What to type for the same certificate; a path that is absolute is only its last part."""
    names = {"--images": images, "--labels": table, "--out": out, "--weights": weights}
    words = [word for flag, path in names.items() for word in (flag, without_machine(path))]
    words += ["--backend", engine.model.backend, "--precision", engine.model.precision]
    words += ["--limit", str(limit)] if limit is not None else []
    words += [word for name in families or () for word in ("--family", name)]
    return shlex.join(["carpal", "stress", *words, *(["--clinical"] if clinical else [])])


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{what:<40}", end="", file=sys.stderr, flush=True)


COLUMNS: Final = 4


COLOURS: Final = {"p99_change": "#9ecae1", "median_change": "#08519c", "mae_change": "#d94801"}


def draw(families: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, limits: Mapping[str, float]) -> None:
    """Writes a PNG: the median and 99th percentile of the change and the MAE's change, in months.

    Strengths of everyday work are marked by a grey band; a strength at which every image was refused has no bar. A
    dashed line of a figure's colour is its limit, where the family is held to it; the coverage stands below the bars.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(families) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.8 * max(rows, 1)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, entries) in enumerate(families.items(), 1):
        axes = figure.add_subplot(max(rows, 1), COLUMNS, place)
        positions = range(len(entries))
        for position in positions:
            if entries[position]["clinical"]:
                axes.axvspan(position - 0.5, position + 0.5, color="0.92", zorder=0)
        for key, label in (("p99_change", "99th percentile"), ("median_change", "median")):
            axes.bar(positions, [entry[key] or 0 for entry in entries], 0.7, color=COLOURS[key], label=label)
        errors = [_number(entry["mae_change"]) for entry in entries]
        axes.plot(positions, errors, "o", color=COLOURS["mae_change"], label="MAE")
        for key in held_to(entries):
            axes.axhline(limits[key], color=COLOURS[key], linestyle="--", linewidth=1)
        axes.set_xticks(list(positions), [below(entry) for entry in entries], fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(entries[0]["unit"] if entries else "", fontsize=8)
        axes.set_ylabel("change, months", fontsize=8)
        if place == 1:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)


def held_to(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The figures that have a limit in a family: the error's in all, the ages' own changes in those that are exact."""
    exact = any(entry["exact"] for entry in entries)
    return ("mae_change", "median_change", "p99_change") if exact else ("mae_change",)


def below(entry: Mapping[str, Any]) -> str:
    """What stands below a bar: the strength and, where weights are calibrated, the coverage of their intervals."""
    covered = "" if entry["coverage"] is None else f"\n{100 * entry['coverage']:.0f} %"
    return f"{entry['strength']:g}{covered}"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
