"""Errors of predicted ages: MAE, RMSE and bias, by sex and by age, with bootstrap intervals.

Letters: N hands, S resamples. Ages and errors are months; an error is predicted minus reference, so a positive bias
means that the network reads too old. Intervals are 95 % percentile intervals over hands (Efron), seeded: the same
table gives the same interval.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.errors import DataError
from carpal.lab.data.tables import few, number, read_table, truth
from carpal.types import RANKS

COLUMNS: Final = ("id", "male", "boneage", "predicted")
BANDS: Final = ((0, 2), (2, 5), (5, 10), (10, 14), (14, 19))
"""Years of reference age. A band holds its lower end and not its upper one, but the last holds both."""
RESAMPLES: Final = 10_000
SEED: Final = 0
_CHUNK: Final = 4_000_000
"""Random numbers drawn at once: 32 MB."""


@dataclass(frozen=True)
class Predictions:
    """One line for each hand: id, sex, reference age and predicted age in months."""

    ids: tuple[str, ...]
    male_N: NDArray[np.bool_] = field(repr=False)
    boneage_N: NDArray[np.float64] = field(repr=False)
    predicted_N: NDArray[np.float64] = field(repr=False)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.male_N) == len(self.boneage_N) == len(self.predicted_N):
            raise ValueError("the columns of a table of predictions have one length")
        if not (np.isfinite(self.boneage_N).all() and np.isfinite(self.predicted_N).all()):
            raise ValueError("ages are finite")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an id occurs once")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def error_N(self) -> NDArray[np.float64]:
        """Predicted minus reference."""
        return self.predicted_N - self.boneage_N

    def where(self, keep_N: NDArray[np.bool_]) -> Predictions:
        """The lines for which `keep_N` is true."""
        ids = tuple(name for name, kept in zip(self.ids, keep_N, strict=True) if kept)
        return Predictions(ids, self.male_N[keep_N], self.boneage_N[keep_N], self.predicted_N[keep_N])

    def write(self, path: Path) -> None:
        """Writes the CSV id,male,boneage,predicted, ages to a ten-thousandth of a month."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            rows = zip(self.ids, self.male_N, self.boneage_N, self.predicted_N, strict=True)
            writer.writerows([name, bool(male), f"{age:g}", f"{found:.4f}"] for name, male, age, found in rows)


class Difference(NamedTuple):
    """Two models on the same hands: first MAE minus second, so that below zero the first is better."""

    n: int
    mae_first: float
    mae_second: float
    difference: float
    ci95: tuple[float, float]


def read_predictions(path: Path) -> Predictions:
    """The table that `Predictions.write` wrote. Raises DataError, naming file and line."""
    lines = read_table(path, COLUMNS)
    ids = tuple(line.cells["id"] for line in lines)
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise DataError(f"{path} has ids more than once - {few(twice)} - keep one line of each.")
    return Predictions(
        ids,
        np.array([truth(path, line, "male") for line in lines], bool),
        np.array([number(path, line, "boneage", 0, RANKS - 1) for line in lines], float),
        np.array([number(path, line, "predicted", 0, RANKS - 1) for line in lines], float),
    )


def summary(predictions: Predictions) -> dict[str, Any]:
    """n, mae, mae_ci95, rmse and bias in months; all but n are None for an empty table."""
    error_N = predictions.error_N
    if not len(error_N):
        return {"n": 0, "mae": None, "mae_ci95": None, "rmse": None, "bias": None}
    return {
        "n": len(error_N),
        "mae": float(np.abs(error_N).mean()),
        "mae_ci95": list(interval(bootstrap_means(np.abs(error_N)))),
        "rmse": float(np.sqrt(np.square(error_N).mean())),
        "bias": float(error_N.mean()),
    }


def by_sex(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """`summary` for each sex."""
    return {
        "female": summary(predictions.where(~predictions.male_N)),
        "male": summary(predictions.where(predictions.male_N)),
    }


def by_age(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """`summary` for each age band, named after its years: "0-2", "2-5", ..."""
    band_N = band_of(predictions.boneage_N)
    return {f"{low}-{high}": summary(predictions.where(band_N == i)) for i, (low, high) in enumerate(BANDS)}


def report(predictions: Predictions) -> dict[str, Any]:
    """`summary`, with `by_sex` and `by_age`: what report.json says of ages."""
    return {**summary(predictions), "by_sex": by_sex(predictions), "by_age": by_age(predictions)}


def band_of(boneage_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """The index in BANDS of each reference age (months)."""
    starts = [12.0 * low for low, _ in BANDS[1:]]
    return np.searchsorted(starts, boneage_N, side="right").astype(np.int64)


def bootstrap_means(values_N: NDArray[np.float64], resamples: int = RESAMPLES, seed: int = SEED) -> NDArray[np.float64]:
    """The means (S,) of `resamples` samples of N values, drawn with replacement from the N given."""
    count = len(values_N)
    assert count > 0, "nothing to resample"
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK // count)
    chunks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([values_N[generator.integers(0, count, (chunk, count))].mean(1) for chunk in chunks])


def interval(means_S: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5th and the 97.5th percentile."""
    low, high = np.percentile(means_S, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(
    first: Predictions, second: Predictions, resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """The difference of two MAEs on the same hands, by paired bootstrap: a resample takes a hand from both tables.

    The tables may be in different order. Raises DataError where they are not about the same hands and ages.
    """
    if not first.ids:
        raise DataError("There is nothing to compare - the tables are empty - evaluate some radiographs first.")
    place = {name: i for i, name in enumerate(second.ids)}
    if lonely := sorted(set(first.ids) ^ set(place)):
        raise DataError(f"A paired difference needs the same hands - in one table only {few(lonely)} - drop them.")
    order_N = np.array([place[name] for name in first.ids])
    differ_N = first.boneage_N != second.boneage_N[order_N]
    if differ_N.any():
        names = [name for name, differs in zip(first.ids, differ_N, strict=True) if differs]
        raise DataError(f"A paired difference needs the same reference ages - they differ for {few(names)}.")
    first_N, second_N = np.abs(first.error_N), np.abs(second.error_N[order_N])
    means_S = bootstrap_means(first_N - second_N, resamples, seed)
    mae_first, mae_second = float(first_N.mean()), float(second_N.mean())
    return Difference(len(first), mae_first, mae_second, mae_first - mae_second, interval(means_S))
