"""The numbers that a refusal goes by. They depend on the weights, so they stand in the weights' sidecar (`refusal`).

`carpal limits` measures them. Weights without them refuse nothing but adults and two hands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.errors import WeightsError
from carpal.trust.picture import Picture

LOOKS = ("air", "bone", "edge_air", "roughness", "peak", "fall")
"""The numbers of `picture.Picture` that `Usual` compares."""


@dataclass(frozen=True)
class Usual:
    """How radiographs of hands look: the mean of `LOOKS` (logarithms of roughness and peak) and their precision."""

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    """The inverse covariance."""

    def oddness(self, picture: Picture) -> float:
        """The Mahalanobis distance of a picture from the usual one: about 2.4 for a radiograph of a hand."""
        away = looks(picture) - np.array(self.mean)
        return float(np.sqrt(max(away @ np.array(self.precision) @ away, 0.0)))

    @classmethod
    def of(cls, pictures: list[Picture]) -> Usual:
        """Mean and covariance of these pictures; at least as many as numbers are needed."""
        looks_NF = np.array([looks(picture) for picture in pictures])
        covariance_FF = np.cov(looks_NF.T) + 1e-4 * np.eye(len(LOOKS))
        precision_FF = np.linalg.inv(covariance_FF)
        return cls(tuple(looks_NF.mean(0).round(5).tolist()), tuple(map(tuple, precision_FF.round(4).tolist())))


def looks(picture: Picture) -> NDArray[np.float64]:
    """The six numbers of a picture that are compared, those that spread over decades as logarithms."""
    values = picture.as_dict()
    values["roughness"], values["peak"] = (float(np.log(values[name] + 1e-3)) for name in ("roughness", "peak"))
    return np.array([values[name] for name in LOOKS])


@dataclass(frozen=True)
class Limits:
    """Beyond which number an image is refused; `reasons.REASONS` has the codes."""

    long_side: float
    """too-small below it: pixels."""
    levels: float
    """too-dark below it: grey values in use."""
    oddness: float
    """not-a-radiograph above it: `Usual.oddness`."""
    surety: float
    """not-a-hand below it: mean score of the regions."""
    misfit: float
    """implausible-regions above it: `shape.Fit.misfit`."""
    stretch: float
    """implausible-regions above it: `shape.Fit.stretch`."""
    outside: float
    """cropped above it: how far a region's or fingertip's place lies beyond the edge, in radii of the hand."""
    hidden: float
    """hidden-regions above it: regions whose score is below `found`."""
    found: float
    """Score from which a region counts as seen."""
    disagreement: float
    """age-disagreement above it: months between the age and the regions' median."""
    usual: Usual

    @classmethod
    def from_sidecar(cls, block: Mapping[str, Any], source: str) -> Limits | None:
        """The limits of a sidecar's `refusal`; None where it is empty. Raises WeightsError where it is broken."""
        if not block:
            return None
        try:
            usual = block["usual"]
            precision = tuple(tuple(float(value) for value in row) for row in usual["precision"])
            mean = tuple(float(value) for value in usual["mean"])
            numbers = {item.name: float(block[item.name]) for item in fields(cls) if item.name != "usual"}
            if len(mean) != len(LOOKS) or {len(mean), len(precision)} != {len(row) for row in precision} | {len(mean)}:
                raise ValueError(f"usual needs {len(LOOKS)} numbers")
            if not np.isfinite([*numbers.values(), *mean, *sum(precision, ())]).all():
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{source}: the sidecar's refusal limits cannot be used - {error!r} - fit them again with "
                "`carpal limits`"
            ) from error
        return cls(**numbers, usual=Usual(mean, precision))

    def as_dict(self) -> dict[str, Any]:
        """For the sidecar; `from_sidecar` reads it back."""
        numbers = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "usual"}
        return numbers | {"usual": {"mean": list(self.usual.mean), "precision": [*map(list, self.usual.precision)]}}
