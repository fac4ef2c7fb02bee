"""Two networks' assessments of the same radiographs, compared: may the second stand in for the first?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carpal.data.prepare import Sample
from carpal.evaluation.age import bootstrap_means, interval
from carpal.evaluation.boxes import hand_length
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine
from carpal.types import Sex

EVERY: Final = 100


class Limits(NamedTuple):
    """The mean absolute error may change by so many months, the regions' centres by this share of the hand's length."""

    months: float
    shift: float


LIMITS: Final = Limits(0.1, 0.003)


class Read(NamedTuple):
    """One radiograph: its reference age, the age that was read, the 17 centres in pixels of the original."""

    boneage: float
    months: float
    centres_R2: NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """What the comparison found; ages in months, shifts as shares of the hand's length (DIP3 to wrist, as found)."""

    n: int
    mae_first: float
    mae_second: float
    mae_difference: float
    """Second less first, on the same radiographs; its 95 % bootstrap interval follows."""
    mae_difference_ci95: tuple[float, float]
    bias: float
    mean_absolute: float
    """How far apart the two ages of a radiograph are, on average, and at most."""
    max_absolute: float
    mean_shift: float
    max_shift: float
    passed: bool

    def __str__(self) -> str:
        low, high = self.mae_difference_ci95
        return (
            f"MAE {self.mae_first:.3f} to {self.mae_second:.3f} months on {self.n} radiographs, difference "
            f"{self.mae_difference:+.3f} ({low:+.3f} to {high:+.3f}), ages {self.mean_absolute:.2f} apart on average "
            f"(at most {self.max_absolute:.1f}), regions {100 * self.mean_shift:.3f} % of the hand's length"
        )


def judge(first: Sequence[Read], second: Sequence[Read], limits: Limits = LIMITS) -> Gate:
    """Compares two networks on the same radiographs, in the same order."""
    age_N, first_N = np.array([each.boneage for each in first]), np.array([each.months for each in first])
    second_N = np.array([each.months for each in second])
    paired_N = np.abs(second_N - age_N) - np.abs(first_N - age_N)
    shift_N = np.array(
        [
            np.linalg.norm(a.centres_R2 - b.centres_R2, axis=-1).mean() / hand_length(a.centres_R2)
            for a, b in zip(first, second, strict=True)
        ]
    )
    difference, shift = float(paired_N.mean()), float(shift_N.mean())
    low, high = interval(bootstrap_means(paired_N))
    return Gate(
        n=len(age_N),
        mae_first=round(float(np.abs(first_N - age_N).mean()), 4),
        mae_second=round(float(np.abs(second_N - age_N).mean()), 4),
        mae_difference=round(difference, 4),
        mae_difference_ci95=(round(low, 4), round(high, 4)),
        bias=round(float((second_N - first_N).mean()), 4),
        mean_absolute=round(float(np.abs(second_N - first_N).mean()), 4),
        max_absolute=round(float(np.abs(second_N - first_N).max()), 4),
        mean_shift=round(shift, 6),
        max_shift=round(float(shift_N.max()), 6),
        passed=abs(difference) < limits.months and shift < limits.shift,
    )


def read_samples(engine: Engine, samples: Iterable[Sample], say: Callable[[str], None]) -> list[Read]:
    """Whole assessments, nothing refused, with a line now and then."""
    read: list[Read] = []
    for sample in samples:
        radiograph = read_radiograph(sample.read(), sample.name)
        found = assess(radiograph, Sex.MALE if sample.male else Sex.FEMALE, engine, may_refuse=False)
        assert found.months is not None, "nothing is refused"
        assert sample.boneage is not None, "the folds are of labelled radiographs"
        read.append(Read(sample.boneage, found.months, np.array([region.box.centre for region in found.regions])))
        if len(read) % EVERY == 0:
            say(f"{engine.model.precision} by {engine.model.backend}: {len(read)} radiographs read")
    return read
