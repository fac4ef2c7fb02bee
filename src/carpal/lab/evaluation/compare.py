"""`carpal compare`: evaluations of several systems on the same hands -> the paper's Tables 1, 2 and 3 beside ours.

Every run is a folder that `carpal evaluate` wrote. Runs of one row (several seeds) are averaged hand by hand. What the
intervals cannot separate gets no rank of its own: a row's rank is a range.

A difference has the bootstrap's p-value, and several of them Holm's correction.

Letters: N hands, S resamples, M rows of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import DataError
from carpal.lab.data.tables import few
from carpal.lab.evaluation import age
from carpal.lab.evaluation.run import PREDICTIONS, read_report

ALPHA: Final = 0.05


@dataclass(frozen=True)
class Published:
    """A row of the paper's tables: what it uses, and its figures (AP in per cent; None where there is none)."""

    title: str
    mae: float | None = None
    globally: bool = True
    locally: bool = False
    extraction: bool = False
    patch: bool = False
    ap: tuple[float, float, float] | None = None


ROWS: Final = {
    "human": Published("Human", 7.32, False),
    "larson": Published("Larson", 6.24),
    "ren": Published("Ren", 5.20),
    "iglovikov": Published("Iglovikov", 4.97, locally=True),
    "prsnet": Published("PRSNet", 4.49, locally=True),
    "arcnn": Published("AR-CNN", 4.38, locally=True),
    "bonet": Published("BoNet", 4.14, locally=True),
    "bonet-given": Published("BoNet, points given", None, locally=True),
    "iglovikov-given": Published("Iglovikov, points given", None, locally=True),
    "deeplasia": Published("Deeplasia-like EfficientNet-B0", None),
    "convnext": Published("ConvNeXt-Tiny", None),
    "resnet50": Published("ResNet-50", 4.92),
    "local": Published("with local extraction", 4.53, locally=True, extraction=True),
    "patch": Published("with patch training", 4.49, patch=True),
    "alanet": Published("ALA-Net", 3.91, locally=True, extraction=True, patch=True, ap=(89.2, 98.0, 98.0)),
    "anonymous": Published("ALA-Net, unnamed regions", 3.91, locally=True, extraction=True, patch=True),
    "vanilla_rpn": Published("RPN", None, ap=(86.2, 97.9, 96.2)),
}
TABLE_1: Final = ("resnet50", "local", "patch", "alanet")
TABLE_2: Final = ("vanilla_rpn", "alanet")
TABLE_3: Final = (
    "human", "larson", "ren", "iglovikov", "prsnet", "arcnn", "bonet", "deeplasia", "convnext", "alanet",
)  # fmt: skip
REFERENCE: Final = "alanet"


@dataclass(frozen=True)
class Evaluation:
    """One folder of `carpal evaluate`: which row it belongs to, its ages, and what its report says of the weights."""

    folder: Path
    row: str
    predictions: age.Predictions
    report: dict[str, Any] = field(repr=False)

    @property
    def weights(self) -> dict[str, Any]:
        """Path, architecture, training and cost of the weights, as far as the report states them."""
        return dict(self.report.get("weights") or {})

    @property
    def seed(self) -> int | None:
        """The seed of the training run."""
        seed = self.weights.get("training", {}).get("seed")
        return None if seed is None else int(seed)


@dataclass(frozen=True)
class Row:
    """A system of a table: its runs, and their mean absolute error hand by hand (N), months."""

    name: str
    runs: tuple[Evaluation, ...]
    absolute_N: NDArray[np.float64] = field(repr=False)
    mae: float
    ci95: tuple[float, float]

    @property
    def seeds(self) -> list[float]:
        """The MAE of each run."""
        return [float(np.abs(run.predictions.error_N).mean()) for run in self.runs]


@dataclass(frozen=True)
class Against:
    """A row against the reference on the same hands: its MAE minus the reference's, with Holm's adjusted p."""

    name: str
    difference: float
    ci95: tuple[float, float]
    p: float
    adjusted: float

    @property
    def separated(self) -> bool:
        """Whether the difference stands after the correction."""
        return self.adjusted < ALPHA


def read(folders: Sequence[Path]) -> list[Evaluation]:
    """The evaluations of these folders. Raises DataError where one is none, of an unknown system, or on other hands."""
    runs = [_read_one(folder) for folder in folders]
    aged = [run for run in runs if run.row != "vanilla_rpn" and not run.row.endswith("-given")]
    wanted = next((run for run in aged if run.row == REFERENCE), aged[0] if aged else None)
    for run in aged:
        if wanted is not None and sorted(run.predictions.ids) != sorted(wanted.predictions.ids):
            lonely = sorted(set(run.predictions.ids) ^ set(wanted.predictions.ids))
            raise DataError(
                f"{run.folder} and {wanted.folder} are not about the same hands - only in one: {few(lonely)} - "
                "evaluate all systems on one table of labels with --no-refusal."
            )
    return runs


def _read_one(folder: Path) -> Evaluation:
    report = read_report(folder)
    weights = report.get("weights") or {}
    row = row_of(weights.get("architecture", {}), weights.get("training", {}), bool(report.get("given_regions")))
    if row not in ROWS:
        raise DataError(
            f"{folder} was read by a network that no table has a row for - its report says {row!r} under weights - "
            "evaluate again with this version, with weights of a recipe of the tables."
        )
    return Evaluation(folder, row, age.read_predictions(folder / PREDICTIONS), report)


def row_of(architecture: dict[str, Any], training: dict[str, Any], given: bool = False) -> str:
    """The row that a network belongs to, by what it is and not by what it is called."""
    if "system" in architecture:
        return f"{architecture['system']}{'-given' if given else ''}"
    regions, parts = architecture.get("regions"), (bool(architecture.get("local")), bool(architecture.get("patch")))
    if (trunk := architecture.get("trunk", "resnet50")) != "resnet50":
        return f"trunk {trunk}"
    if regions == "anonymous" and not training.get("data", {}).get("ages", True):
        return "vanilla_rpn"
    names = {
        ("none", (False, False)): "resnet50",
        ("named", (True, False)): "local",
        ("none", (False, True)): "patch",
        ("named", (True, True)): "alanet",
        ("anonymous", (True, True)): "anonymous",
    }
    return names.get((str(regions), parts), f"regions {regions}, local {parts[0]}, patch {parts[1]}")


def rows(runs: Sequence[Evaluation], names: Sequence[str], resamples: int = age.RESAMPLES) -> list[Row]:
    """The rows of a table that there are runs of, in the table's order; hands in the order of the first run."""
    found = []
    first = next((run.predictions.ids for run in runs if run.row in names), ())
    for name in names:
        mine = tuple(run for run in runs if run.row == name)
        if not mine:
            continue
        absolute_N = np.mean([_in_order(run.predictions, first) for run in mine], axis=0)
        interval = age.interval(age.bootstrap_means(absolute_N, resamples))
        found.append(Row(name, mine, absolute_N, float(absolute_N.mean()), interval))
    return found


def _in_order(predictions: age.Predictions, ids: Sequence[str]) -> NDArray[np.float64]:
    place = {name: i for i, name in enumerate(predictions.ids)}
    return np.abs(predictions.error_N)[[place[name] for name in ids]]


def against(table: Sequence[Row], reference: str = REFERENCE, resamples: int = age.RESAMPLES) -> dict[str, Against]:
    """Every other row against the reference by paired bootstrap, corrected by Holm over the table; by name.

    Empty where the table has no such row.
    """
    base = next((row for row in table if row.name == reference), None)
    others = [row for row in table if row.name != reference]
    if base is None or not others:
        return {}
    means_MS = [age.bootstrap_means(row.absolute_N - base.absolute_N, resamples) for row in others]
    raw = [p_value(means_S) for means_S in means_MS]
    return {
        row.name: Against(row.name, row.mae - base.mae, age.interval(means_S), p, adjusted)
        for row, means_S, p, adjusted in zip(others, means_MS, raw, holm(raw), strict=True)
    }


def ranks(table: Sequence[Row], resamples: int = age.RESAMPLES) -> dict[str, tuple[int, int]]:
    """The best and the worst rank that each row can have: rows that no corrected difference separates share ranks.

    Every pair is compared, with Holm's correction over all pairs.
    """
    pairs = [(i, k) for i in range(len(table)) for k in range(i + 1, len(table))]
    means = [age.bootstrap_means(table[i].absolute_N - table[k].absolute_N, resamples) for i, k in pairs]
    adjusted = holm([p_value(means_S) for means_S in means])
    better = {row.name: 0 for row in table}
    worse = {row.name: 0 for row in table}
    for (i, k), p in zip(pairs, adjusted, strict=True):
        if p < ALPHA:
            first, second = (i, k) if table[i].mae < table[k].mae else (k, i)
            worse[table[first].name] += 1
            better[table[second].name] += 1
    return {row.name: (1 + better[row.name], len(table) - worse[row.name]) for row in table}


def p_value(means_S: NDArray[np.float64]) -> float:
    """The two-sided p-value that a mean difference is zero, from its bootstrap means (S,).

    Twice the smaller share of means on either side of zero, by the percentile bootstrap: below 0.05 exactly where the
    95 % percentile interval leaves out zero, but for ties. Never smaller than 2 / (S + 1), which S resamples can show.
    """
    low, high = int((means_S <= 0).sum()), int((means_S >= 0).sum())
    return min(1.0, 2 * (min(low, high) + 1) / (len(means_S) + 1))


def holm(p_M: Sequence[float]) -> list[float]:
    """Adjusted p-values in the same order (Holm 1979): at most a chance of alpha that any true zero is called a
    difference, however the comparisons depend on each other.
    """
    order = np.argsort(p_M, kind="stable")
    adjusted, largest = [0.0] * len(p_M), 0.0
    for place, i in enumerate(order.tolist()):
        largest = max(largest, min(1.0, (len(p_M) - place) * p_M[i]))
        adjusted[i] = largest
    return adjusted
