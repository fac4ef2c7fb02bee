"""For the tests of the aligned view: hands drawn as boxes or spots, and two engines in place of the network.

`Eye` finds a hand by three spots drawn on it, and `Finder` where it is told.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from carpal.anatomy import MEAN_HAND, REGIONS
from carpal.imaging.intensity import Original, Toned
from carpal.imaging.preprocess import Geometry, Prepared
from carpal.inference import align
from carpal.inference.align import AlignedView, Pose, read_aligned
from carpal.inference.engine import Reading
from carpal.inference.tta import mirror_boxes

SIDE = 128
SHAPE = (128, 96)
HAND_R = np.array([x + 1j * y for x, y in MEAN_HAND])
SPOTS = [REGIONS.index(name) for name in ("DIP3", "MCP1", "Wrist")]
LEVELS = (240.0, 170.0, 110.0)
"""Grey levels by which `Eye` tells the three spots apart."""


def boxes_of(middles_R: np.ndarray, side: float = 8) -> np.ndarray:
    middles_R2 = np.stack([middles_R.real, middles_R.imag], axis=-1)
    return np.concatenate([middles_R2 - side / 2, middles_R2 + side / 2], axis=-1).astype(np.float32)


def middles_of(boxes_R4: np.ndarray) -> np.ndarray:
    x1, y1, x2, y2 = np.asarray(boxes_R4, np.float64).T
    return (x1 + x2 + 1j * (y1 + y2)) / 2


def hand_at(radius: float, degrees: float, offset: complex, mirrored: bool) -> np.ndarray:
    """Region middles of the mean hand, mirrored first if asked, then turned clockwise by `degrees`."""
    hand_R = -HAND_R.conj() if mirrored else HAND_R
    return radius * np.exp(1j * np.radians(degrees)) * hand_R + offset


def hand(degrees: float = 0, size: float = align.USUAL_RADIUS, middle: complex = 48 + 58j) -> np.ndarray:
    """Boxes of a left hand turned clockwise by `degrees` from upright, its radius a share of `SIDE`."""
    return boxes_of(hand_at(size * SIDE, degrees + align.USUAL_DEGREES, middle, mirrored=False))


def pose_of(boxes_R4: np.ndarray) -> Pose:
    return align.fit_pose(boxes_R4, np.ones(17))


def spots(middles_R: np.ndarray, shape: tuple[int, int], sigma: float = 2.0, levels: Any = None) -> np.ndarray:
    """A soft bright spot at each middle."""
    y_HW, x_HW = np.mgrid[0 : shape[0], 0 : shape[1]] + 0.5
    image_HW = np.zeros(shape, np.float32)
    for middle, level in zip(middles_R, levels or [200.0] * len(middles_R), strict=True):
        image_HW += level * np.exp(-((x_HW - middle.real) ** 2 + (y_HW - middle.imag) ** 2) / (2 * sigma**2))
    return image_HW


def noise(shape: tuple[int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.float32)


def plain(grey_HW: np.ndarray, inverted: bool = False) -> Prepared:
    return Prepared(grey_HW, Geometry(1, 1), inverted)


@pytest.fixture
def unstretched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contrast stays as it is, so that grey values can be compared and spots told apart."""

    def stretched(image: Original, inverted: bool) -> Toned:
        return Toned(image.pixels_HW, lambda grey_HW: np.float32(255) - grey_HW if inverted else np.float32(grey_HW))

    monkeypatch.setattr(Original, "stretched", stretched)
    monkeypatch.setattr(Original, "cut", property(lambda image: Toned(image.pixels_HW)))


class Eye:
    """Finds a hand by its three spots, of either side and turned at will; is sure only of a bright and upright one.

    The age says where the spots lie in what it is shown, so that equal ages come from equal views.
    """

    long_side = SIDE

    def __init__(self, view_scale: float = 1.0, flip: bool = True, chance: float = 0.1) -> None:
        self.view_scale, self.flip, self.chance = view_scale, flip, chance
        self.shown: list[np.ndarray] = []
        self.given: list[Any] = []

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        self.shown.append(image_HW)
        self.given.append(boxes_R4)
        negative = np.median(image_HW[image_HW.shape[0] // 2]) > 127
        seen_R, spread = self._see(255 - image_HW if negative else image_HW)
        found = pose_of(boxes_of(seen_R))
        score = self.chance if negative else 0.9 if abs(found.degrees) < 35 else 0.1
        boxes = boxes_of(seen_R, 16) if boxes_R4 is None else np.where(np.isnan(boxes_R4), boxes_of(seen_R), boxes_R4)
        scores_R = np.full(17, score, np.float32)
        months_R = np.zeros(17, np.float32)
        return Reading(100 + spread, np.zeros(228, np.float32), np.float32(boxes), scores_R, months_R)

    @staticmethod
    def _see(image_HW: np.ndarray) -> tuple[np.ndarray, float]:
        """The hand's 17 middles, and where the three spots lie across, on average."""
        rest_HW, seen = np.float64(image_HW), []
        y_HW, x_HW = np.mgrid[0 : rest_HW.shape[0], 0 : rest_HW.shape[1]] + 0.5
        for _ in LEVELS:
            y, x = np.unravel_index(rest_HW.argmax(), rest_HW.shape)
            near_HW = np.hypot(x_HW - x - 0.5, y_HW - y - 0.5) < 9
            weight_HW = np.where(near_HW, rest_HW, 0) + 1e-12
            seen.append(complex(np.average(x_HW, weights=weight_HW), np.average(y_HW, weights=weight_HW)))
            rest_HW = np.where(near_HW, 0, rest_HW)
        best = (np.inf, HAND_R)
        for hand_R in (HAND_R, -HAND_R.conj()):
            system_S2 = np.stack([hand_R[SPOTS], np.ones(3)], axis=-1)
            (factor, offset), *_ = np.linalg.lstsq(system_S2, np.array(seen), rcond=None)
            error = np.abs(system_S2 @ [factor, offset] - seen).sum()
            best = min(best, (error, factor * hand_R + offset), key=lambda each: each[0])
        return best[1], float(np.mean(seen).real)


def drawn(degrees: float = 0, size: float = 0.2, middle: complex = 46 + 58j) -> tuple[np.ndarray, np.ndarray]:
    """An image with the three spots of a left hand, and the boxes that `Eye` finds there."""
    middles_R = middles_of(hand(degrees, size, middle))
    return spots(middles_R[SPOTS], SHAPE, levels=LEVELS), boxes_of(middles_R, 16)


def look(engine: Any, prepared: Prepared, **more: Any) -> tuple[Reading, AlignedView]:
    return read_aligned(engine, prepared, True, **more)


class Finder:
    """Finds hands where it is told, one after the other; the mirror image of what it saw last has the same hand.

    Boxes are told in pixels of the image that `predict` is given, whose margin it finds by its side.
    """

    long_side = SIDE

    def __init__(self, *told: tuple[np.ndarray, float], view_scale: float = 1.2, flip: bool = True) -> None:
        self.told, self.view_scale, self.flip = list(told), view_scale, flip
        self.shown: list[np.ndarray] = []
        self.given: list[Any] = []
        self.looks = 0

    def run(self, image_HW: Any, male: bool, boxes_R4: Any = None) -> Reading:
        mirrored = bool(self.shown) and np.array_equal(image_HW, self.shown[-1][:, ::-1])
        self.looks += not mirrored
        told_R4, score = self.told[min(self.looks, len(self.told)) - 1]
        told_R4 = mirror_boxes(told_R4, image_HW.shape[1]) if mirrored else told_R4
        self.shown.append(image_HW)
        self.given.append(boxes_R4)
        found_R4 = told_R4 if boxes_R4 is None else boxes_R4
        months = 100.0 + len(self.shown)
        scores_R = np.full(17, score, np.float32)
        return Reading(months, np.zeros(228, np.float32), np.float32(found_R4), scores_R, np.zeros(17, np.float32))


MARGIN_4 = np.array([8, 0, 8, 0])
"""A view of 128 x 112 is padded to 128 columns."""


def in_view(there_R4: np.ndarray, view_scale: float = 1.2) -> np.ndarray:
    """Boxes of a hand as the padded view shows them."""
    _, to_prepared = align.warp_to_pose(Toned(noise()), SHAPE, pose_of(there_R4), SIDE, view_scale, dark_bones=False)
    radius = pose_of(there_R4).radius  # a side is that of a hand of the usual size, but for a small hand
    usual = radius / (align.USUAL_RADIUS * SIDE * abs(to_prepared.factor))
    return to_prepared.inverse().boxes(there_R4, None if radius < align.SMALL * SIDE else usual) + MARGIN_4
