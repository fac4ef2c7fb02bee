"""How a found hand lies in its picture, and the picture re-sampled so that the hand stands upright and fills it.

The mean hand (`model.mean_hand`) is laid over the found regions by shift, turn, size and, where that fits better,
mirror image. Every hand is read from a picture re-sampled to one pose and one size: from the original pixels, resized
so that the turn itself neither enlarges nor reduces them, with polarity and contrast of what is then in the picture.

Points are complex numbers x + iy in pixels, y downwards, with (0, 0) the upper left corner of the upper left pixel;
multiplying by exp(i a) turns clockwise by a. Letters: R = 17 regions.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.bands import Toned
from carpal.imaging.original import Original
from carpal.model.mean_hand import MEAN_HAND

USUAL_DEGREES: Final = 4.0
"""How far an upright left hand is turned clockwise from the mean hand, and a right hand anticlockwise."""
USUAL_RADIUS: Final = 0.225
"""The usual size of a hand: root mean square distance of its regions from their middle, over the long side."""
RADIUS: Final = 0.25
"""The size at which it is read: fingertips, thumb and 3 cm of the forearm just fit into the picture."""
MIDDLE: Final = 0.5 + 0.455j
"""Where the middle of the regions lies in the picture that is read, as shares of width and height."""
ASPECT: Final = 13 / 16
"""Width over height of the picture that is read: at 256 pixels the canvas of training (`augment.canvas_size`)."""
STEADY: Final = 12.0
"""Degrees from upright within which a hand of a usual size lies as usual."""
SIZES: Final = (0.15, 0.29)
"""Usual sizes, as `USUAL_RADIUS`. 98 % of 55 radiographs of folds 2-4 lie between 0.155 and 0.274 (docs/log.md)."""
SMALL: Final = USUAL_RADIUS / 2
"""A hand of half the usual size or less has smaller regions, too: those of an eighth of the picture would meet."""
STRANGE: Final = 0.5
"""`Pose.error` from which the regions do not lie as in a hand, and the picture is read as it came."""
LEAST_SIZE: Final = 0.03
"""A hand smaller than this shows no bones that an age could be read from, however much it is enlarged."""
LEAST_TRUST: Final = 0.02
LEAST_INSIDE: Final = 0.05
"""A picture of which the radiograph fills less than this share stays black: no hand lies where it was thought to."""
LARGEST: Final = 8
"""The radiograph is resized to at most so many times the prepared picture's sides, to bound the memory."""


class Similarity(NamedTuple):
    """A map of the plane that keeps shapes: point -> factor * point + offset."""

    factor: complex = 1
    offset: complex = 0

    def points(self, points: NDArray[Any]) -> NDArray[np.complex128]:
        """Complex points, mapped."""
        return np.asarray(self.factor * points + self.offset, np.complex128)

    def boxes(self, boxes_R4: NDArray[Any], scaled: bool = True) -> NDArray[np.float32]:
        """Boxes (x1, y1, x2, y2): middles are mapped, sides scaled; they swap where it turns by more than 45 degrees.

        The box of a turned box would be larger, and larger again on the way back: `inverse().boxes` undoes this one.
        `scaled=False` leaves the sides as long as they are.
        """
        x1, y1, x2, y2 = np.asarray(boxes_R4, np.float64).T
        middle_R = self.points((x1 + x2 + 1j * (y1 + y2)) / 2)
        half_R2 = np.stack([x2 - x1, y2 - y1], axis=-1) / 2 * (abs(self.factor) if scaled else 1.0)
        if abs(self.factor.imag) > abs(self.factor.real):
            half_R2 = half_R2[:, ::-1]
        middle_R2 = np.stack([middle_R.real, middle_R.imag], axis=-1)
        return np.concatenate([middle_R2 - half_R2, middle_R2 + half_R2], axis=-1).astype(np.float32)

    def inverse(self) -> Similarity:
        """The map back."""
        return Similarity(1 / self.factor, -self.offset / self.factor)


class Pose(NamedTuple):
    """How a hand lies: its mean hand is `map` of the mean hand, mirrored first where `mirrored`."""

    map: Similarity
    mirrored: bool
    error: float
    """What the map leaves over: root mean square distance of regions from their places, in radii of the hand."""

    @property
    def radius(self) -> float:
        """The hand's size in pixels: root mean square distance of the regions from their middle."""
        return abs(self.map.factor)

    @property
    def degrees(self) -> float:
        """How far the hand is turned clockwise from upright, -180..180; 0 is as a hand usually stands."""
        usual = -USUAL_DEGREES if self.mirrored else USUAL_DEGREES
        return _within_half_a_turn(float(np.degrees(np.angle(self.map.factor))) - usual)


def fit(boxes_R4: NDArray[Any], scores_R: NDArray[Any]) -> Pose:
    """The pose that leaves the smallest squared distances between region middles, weighted by how sure they are."""
    weight_R = np.asarray(scores_R, np.float64) + LEAST_TRUST
    weight_R /= weight_R.sum()
    x1, y1, x2, y2 = np.asarray(boxes_R4, np.float64).T
    found_R = (x1 + x2 + 1j * (y1 + y2)) / 2
    middle = weight_R @ found_R
    tries = []
    for mirror in (1, -1):
        hand_R = np.array([mirror * x + 1j * y for x, y in MEAN_HAND])
        middle_of_hand = weight_R @ hand_R
        hand_R, away_R = hand_R - middle_of_hand, found_R - middle
        factor = complex(weight_R @ (hand_R.conj() * away_R)) / float(weight_R @ np.abs(hand_R) ** 2)
        error = float(weight_R @ np.abs(away_R - factor * hand_R) ** 2)
        tries.append((error, mirror, Similarity(factor, complex(middle - factor * middle_of_hand))))
    error, mirror, best = min(tries, key=lambda each: each[0])
    return Pose(best, mirror < 0, float(np.sqrt(error)) / max(abs(best.factor), 1e-9))


def to_reading(pose: Pose, long_side: int) -> Similarity:
    """Pixels of a picture of `canvas(long_side)`, where the hand stands to be read -> pixels where it has this pose."""
    height, width = canvas(long_side)
    middle = MIDDLE.real * width + 1j * MIDDLE.imag * height
    usual = -USUAL_DEGREES if pose.mirrored else USUAL_DEGREES
    factor = pose.map.factor / (RADIUS * long_side * np.exp(1j * np.radians(usual)))
    return Similarity(complex(factor), complex(pose.map.offset - factor * middle))


def is_usual(pose: Pose, long_side: int) -> bool:
    """Whether a hand lies as radiographs usually show it, neither turned nor small nor large in its picture."""
    low, high = SIZES
    return abs(pose.degrees) <= STEADY and low <= pose.radius / long_side <= high


def is_hand(pose: Pose, long_side: int) -> bool:
    """Whether the regions lie as in a hand, large enough to be read."""
    return pose.error < STRANGE and pose.radius / long_side > LEAST_SIZE


def tilt(source: Toned, shape: tuple[int, ...]) -> tuple[NDArray[np.float32], Similarity]:
    """The whole prepared picture of `shape`, turned by 45 degrees anticlockwise, and the map of its pixels back."""
    height, width = shape
    side = max(shape)
    factor = complex((height + width) / np.sqrt(2) / side * np.exp(1j * np.pi / 4))
    place = Similarity(factor, (width + 1j * height) / 2 - factor * (1 + 1j) * side / 2)
    return resample(source, shape, place, (side, side)), place


def canvas(long_side: int) -> tuple[int, int]:
    """Height and width of a re-sampled picture."""
    return long_side, round(ASPECT * long_side)


def resample(
    source: Toned, shape: tuple[int, ...], place: Similarity, size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """The picture of `size` whose pixels `place` maps into the prepared picture of `shape`; grey 0..255, bones bright.

    `source` is the radiograph: its original pixels, or the prepared picture. Polarity and contrast are measured anew
    on what the picture shows, so that frames around the hand no longer set them; beyond the radiograph it is black.
    `size` is `canvas(max(shape))` by default.
    """
    enlarged = min(max(1 / abs(place.factor), 1 / LARGEST), LARGEST)
    height, width = (max(1, round(side * enlarged)) for side in shape)
    resized = Image.fromarray(source.resize((width, height)))
    grow_y, grow_x = height / shape[0], width / shape[1]
    a, b = place.factor.real, place.factor.imag
    across = (grow_x * a, -grow_x * b, grow_x * place.offset.real)
    down = (grow_y * b, grow_y * a, grow_y * place.offset.imag)
    rows, columns = canvas(max(shape)) if size is None else size
    turned_HW = np.asarray(
        resized.transform(
            (columns, rows), Image.Transform.AFFINE, (*across, *down), Image.Resampling.BICUBIC, fillcolor=np.nan
        )
    )
    inside_HW = np.isfinite(turned_HW)
    if inside_HW.mean() < LEAST_INSIDE:
        return np.zeros((rows, columns), np.float32)
    if inside_HW.all():
        return Original(turned_HW).bright.whole()
    whole_HW = np.where(inside_HW, turned_HW, np.median(turned_HW[inside_HW]))
    return np.where(inside_HW, Original(whole_HW).bright.whole(), np.float32(0))


def close_up(picture_HW: NDArray[Any], closer: float) -> tuple[NDArray[np.float32], Similarity]:
    """The middle of a picture, `closer` times as large, and the map of its pixels into the picture.

    Enlarged and not re-sampled from the radiograph, so that polarity and contrast stay those of the whole hand.
    """
    height, width = picture_HW.shape
    share, corner = 1 / closer, (1 - 1 / closer) / 2 * complex(width, height)
    rows = (share, 0, corner.real, 0, share, corner.imag)
    picture = Image.fromarray(np.asarray(picture_HW, np.float32))
    near = picture.transform((width, height), Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC)
    return np.clip(np.asarray(near), 0, 255), Similarity(share, corner)


def _within_half_a_turn(degrees: float) -> float:
    return (degrees + 180.0) % 360.0 - 180.0
