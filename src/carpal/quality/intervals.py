"""A calibrated interval for every bone age: conformalised quantiles of the rank distribution.

The network gives P(age > k) for every month k, which is a whole distribution of ages. Its outer quantiles are the raw
interval. How far these miss on labelled radiographs that the network was not trained on says by how much they must
move outwards (or inwards) to hold the reference age as often as promised: conformalised quantile regression (Romano,
Patterson, Candès, NeurIPS 2019), here for each sex and band of the predicted age apart (Mondrian conformal prediction),
because an error of six months is small at 14 years and large at one.

Letters: N readings, K = 228 ranks. Everything is in months.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.errors import ConfigError, DataError, WeightsError
from carpal.types import RANKS, Interval, Sex

Array = NDArray[np.float64]

COVERAGE: Final = 0.9
BANDS: Final = ((0, 24), (24, 60), (60, 120), (120, 168), (168, RANKS - 1))
"""Bands of the predicted age: 0-2, 2-5, 5-10, 10-14 and 14-19 years. Each holds its lower end, the last both."""
SMALLEST: Final = 40
"""A cell of fewer readings is merged with the smaller of its neighbours of the same sex, until none is smaller."""
STEPS: Final = 10_000
"""To a month: offsets and ends are rounded outwards to such a step, so that no reading at the edge falls out."""
METHOD: Final = "conformalised quantiles of the rank distribution, by sex and band of the predicted age"


class Readings(NamedTuple):
    """Labelled radiographs as the network read them: sex, reference age, predicted age and P(age > k)."""

    male_N: NDArray[np.bool_]
    boneage_N: Array
    months_N: Array
    probabilities_NK: Array

    def where(self, keep_N: NDArray[np.bool_]) -> Readings:
        """Those for which `keep_N` is true."""
        return Readings(
            self.male_N[keep_N], self.boneage_N[keep_N], self.months_N[keep_N], self.probabilities_NK[keep_N]
        )


@dataclass(frozen=True)
class Cell:
    """The readings of one sex with predicted ages from `low` to below `high`: by how much their quantiles move."""

    sex: Sex
    low: float
    high: float
    offset: float
    n: int

    @property
    def name(self) -> str:
        """ "female 24-60" (months)."""
        return f"{self.sex} {self.low:g}-{self.high:g}"


@dataclass(frozen=True)
class Calibration:
    """What turns a reading into an interval; `data` and `date` say from which radiographs and when, `readings` hashes
    their ids, `check` holds the cross-fitted coverage by stratum."""

    coverage: float
    cells: tuple[Cell, ...]
    data: str = ""
    date: str = ""
    readings: str = ""
    check: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 0.5 <= self.coverage < 1:
            raise ConfigError(f"A coverage lies from 0.5 to below 1 - got {self.coverage:g} - 0.9 is usual")
        for sex in Sex:
            ends = [(cell.low, cell.high) for cell in self.cells if cell.sex is sex]
            joined = [0.0, *(high for _, high in ends)] == [*(low for low, _ in ends), RANKS - 1.0]
            if not joined or not all(math.isfinite(cell.offset) for cell in self.cells):
                raise ConfigError(f"A calibration's {sex} cells must cover 0 to {RANKS - 1} months - fit it again")

    def interval(self, sex: Sex, months: float, probabilities: Sequence[float] | NDArray[Any]) -> Interval:
        """The interval of one reading. It always holds the predicted age and stays within 0..228."""
        lows, highs = self.intervals(np.array([sex is Sex.MALE]), np.array([months]), np.asarray(probabilities)[None])
        return Interval(float(lows[0]), float(highs[0]), self.coverage)

    def intervals(
        self, male_N: NDArray[np.bool_], months_N: Array, probabilities_NK: NDArray[Any]
    ) -> tuple[Array, Array]:
        """Lower and upper ends (N,) of many readings, rounded outwards to a ten-thousandth of a month."""
        low_N, high_N = raw_interval(probabilities_NK, self.coverage)
        offset_N = np.array([self._offset(male, months) for male, months in zip(male_N, months_N, strict=True)])
        low_N = np.minimum(np.floor((low_N - offset_N) * STEPS) / STEPS, months_N)
        high_N = np.maximum(np.ceil((high_N + offset_N) * STEPS) / STEPS, months_N)
        return np.clip(low_N, 0.0, RANKS - 1.0), np.clip(high_N, 0.0, RANKS - 1.0)

    def _offset(self, male: bool, months: float) -> float:
        sex = Sex.MALE if male else Sex.FEMALE
        return [cell.offset for cell in self.cells if cell.sex is sex and cell.low <= months][-1]

    def as_dict(self) -> dict[str, Any]:
        """For the weights' sidecar, field `calibration`."""
        return {
            "method": METHOD,
            "coverage": self.coverage,
            "data": self.data,
            "date": self.date,
            "readings": self.readings,
            "n": sum(cell.n for cell in self.cells),
            "cells": {
                cell.name: {
                    "sex": str(cell.sex),
                    "low": cell.low,
                    "high": cell.high,
                    "offset": cell.offset,
                    "n": cell.n,
                }
                for cell in self.cells
            },
            "check": dict(self.check),
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Calibration:
        """What `as_dict` wrote. Raises WeightsError where it is broken, or of a method that we do not know."""
        try:
            if values["method"] != METHOD:
                raise ValueError(f"its method is {values['method']!r}")
            return Calibration(
                coverage=float(values["coverage"]),
                cells=tuple(
                    Cell(
                        Sex(cell["sex"]), float(cell["low"]), float(cell["high"]), float(cell["offset"]), int(cell["n"])
                    )
                    for cell in values["cells"].values()
                ),
                data=str(values["data"]),
                date=str(values["date"]),
                readings=str(values["readings"]),
                check=dict(values["check"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
            raise WeightsError(
                f"The sidecar's calibration cannot be used - {error} - fit it again with `carpal calibrate --interval`"
            ) from error


def fit(
    readings: Readings,
    coverage: float = COVERAGE,
    *,
    data: str = "",
    date: str = "",
    ids: str = "",
    check: Mapping[str, Any] | None = None,
) -> Calibration:
    """The calibration of labelled readings. Raises DataError where a sex has too few of them."""
    smallest = smallest_cell(coverage)
    low_N, high_N = raw_interval(readings.probabilities_NK, coverage)
    score_N = np.maximum(low_N - readings.boneage_N, readings.boneage_N - high_N)
    cells = []
    for sex in Sex:
        mine_N = readings.male_N == (sex is Sex.MALE)
        if mine_N.sum() < smallest:
            raise DataError(
                f"An interval of {coverage:.0%} coverage needs {smallest} labelled radiographs of each sex"
                f" - got {mine_N.sum()} {sex} - label more"
            )
        months_N, scores_N = readings.months_N[mine_N], score_N[mine_N]
        for low, high in merged(months_N, smallest):
            inside_N = in_band(months_N, low, high)
            offset = conformal_quantile(scores_N[inside_N], coverage)
            cells.append(Cell(sex, low, high, math.ceil(offset * STEPS) / STEPS, int(inside_N.sum())))
    return Calibration(coverage, tuple(cells), data, date, ids, check or {})


def smallest_cell(coverage: float) -> int:
    """How many readings a cell needs: SMALLEST, or more where a high coverage has no conformal rank among so few."""
    return max(SMALLEST, math.ceil(coverage / (1 - coverage) - 1e-9))


def raw_interval(probabilities_NK: NDArray[Any], coverage: float) -> tuple[Array, Array]:
    """The central quantiles (N,) of the rank distributions, before any calibration."""
    tail = (1 - coverage) / 2
    return rank_quantile(probabilities_NK, tail), rank_quantile(probabilities_NK, 1 - tail)


def rank_quantile(probabilities_NK: NDArray[Any], q: float) -> Array:
    """The age (N,) below which a rank distribution has the share q, linear within a month.

    P(age > k) must not rise with k; where the network's does, it is sorted (rearranged: Chernozhukov, Fernández-Val,
    Galichon, Econometrica 2010), which keeps its sum, the predicted age.
    """
    survival_NK = -np.sort(-np.clip(np.asarray(probabilities_NK, np.float64), 0.0, 1.0), axis=-1)
    below_NK = np.concatenate([1 - survival_NK, np.ones((len(survival_NK), 1))], axis=-1)  # P(age <= k), k = 0..228
    right_N = (below_NK < q).sum(axis=-1)
    left_N = np.maximum(right_N - 1, 0)
    rows = np.arange(len(below_NK))
    step_N = np.where(right_N > 0, below_NK[rows, right_N] - below_NK[rows, left_N], 1.0)
    return np.where(right_N > 0, left_N + (q - below_NK[rows, left_N]) / step_N, 0.0)


def conformal_quantile(scores_N: Array, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest score: a new score is at most that with probability `coverage` or more.

    The caller sees to n >= coverage / (1 - coverage), from which on that rank exists.
    """
    rank = math.ceil((len(scores_N) + 1) * coverage - 1e-9)
    assert 1 <= rank <= len(scores_N), f"{len(scores_N)} scores cannot support a coverage of {coverage}"
    return float(np.sort(scores_N)[rank - 1])


def merged(months_N: Array, smallest: int = SMALLEST) -> list[tuple[float, float]]:
    """The bands of one sex after merging: none has fewer than `smallest` predicted ages, unless it is the only one.

    The smallest band is merged first, with the smaller of its neighbours (the younger one where they tie).
    """
    bands: list[tuple[float, float]] = [(float(low), float(high)) for low, high in BANDS]
    while len(bands) > 1:
        counts = [int(in_band(months_N, *band).sum()) for band in bands]
        i = int(np.argmin(counts))
        if counts[i] >= smallest:
            break
        left = i - 1 if i + 1 == len(bands) or (i > 0 and counts[i - 1] <= counts[i + 1]) else i
        bands[left : left + 2] = [(bands[left][0], bands[left + 1][1])]
    return bands


def in_band(months_N: Array, low: float, high: float) -> NDArray[np.bool_]:
    """Whether each age lies in the band: its lower end is in, its upper only where it ends the scale."""
    return (months_N >= low) & ((months_N < high) | (high >= RANKS - 1))
