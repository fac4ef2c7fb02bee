"""How well 17 found places fit a hand: the mean hand under an affine map, where its fingertips lie, and what remains.

The mean hand's numbers are `carpal.anatomy`'s; how far each region strays from it was measured on the 323 fully
annotated RSNA hands outside fold 0 after the same map (`SPREAD`). Letters: R = 17 regions, D = digits 2 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import INDEX, MEAN_HAND

SPREAD: Final = (
    *(0.085, 0.061, 0.058, 0.052, 0.067),  # MCP1-5
    *(0.111, 0.048, 0.044, 0.039, 0.057),  # PIP1-5
    *(0.075, 0.060, 0.065, 0.094),  # DIP2-5
    *(0.061, 0.066, 0.060),  # Radius, Ulna, Wrist
)
"""Root mean square distance of each region from its place, in units of the mean hand (`tests/test_shape.py`)."""
ROUNDS: Final = 3
DISTAL: Final = 2 / 3
"""About how long a finger's distal phalanx is for its middle one (PIP to DIP)."""


@dataclass(frozen=True)
class Fit:
    """The affine map (3 x 2: the mean hand with ones -> pixels) and how the found places lie about it."""

    affine_32: NDArray[np.float64]
    places_R2: NDArray[np.float64]
    """Where the mean hand's regions lie after the map, in pixels."""
    tips_D2: NDArray[np.float64]
    """Where the tips of its fingers 2 to 5 would lie: no region lies there, so a hand may lack them unnoticed."""
    misfit: float
    """Median distance of a found region from its place, in units of its usual spread; about 1 for a hand."""
    stretch: float
    """The map's longer axis over its shorter one; 1 keeps the mean hand's proportions."""

    @property
    def radius(self) -> float:
        """The hand's size in pixels: the root mean square distance of its regions from their middle."""
        return float(np.sqrt(abs(np.linalg.det(self.affine_32[:2]))))


def fit(centres_R2: NDArray[Any], weights_R: NDArray[Any]) -> Fit:
    """Fits the mean hand to the found centres, weighted by how sure they are; strays lose weight in three rounds."""
    hand_R3 = np.column_stack([MEAN_HAND, np.ones(len(MEAN_HAND))])
    points_R2 = np.asarray(centres_R2, np.float64)
    trust_R = np.asarray(weights_R, np.float64) + 0.02
    weight_R = trust_R
    for _ in range(ROUNDS):
        root_R1 = np.sqrt(weight_R)[:, None]
        affine_32, *_ = np.linalg.lstsq(hand_R3 * root_R1, points_R2 * root_R1, rcond=None)
        distance_R = _distance(points_R2 - hand_R3 @ affine_32, affine_32)
        weight_R = trust_R / (1 + distance_R**2)
    longer, shorter = np.linalg.svd(affine_32[:2], compute_uv=False)
    misfit, stretch = float(np.median(distance_R)), float(longer / max(shorter, 1e-9))
    return Fit(affine_32, hand_R3 @ affine_32, _with_ones(_tips()) @ affine_32, misfit, stretch)


def _tips() -> NDArray[np.float64]:
    """The mean hand's fingertips: each middle phalanx, prolonged by the distal one."""
    hand_R2 = np.array(MEAN_HAND)
    pip_D2, dip_D2 = (hand_R2[[INDEX[f"{joint}{digit}"] for digit in range(2, 6)]] for joint in ("PIP", "DIP"))
    return np.asarray(dip_D2 + DISTAL * (dip_D2 - pip_D2))


def _with_ones(points_N2: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([points_N2, np.ones(len(points_N2))])


def _distance(error_R2: NDArray[np.float64], affine_32: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances in the mean hand's units over each region's spread; a collapsed map makes them large."""
    back_22 = np.linalg.pinv(affine_32[:2], rcond=1e-6)
    distance_R: NDArray[np.float64] = np.linalg.norm(error_R2 @ back_22, axis=1) / np.array(SPREAD)
    return distance_R
