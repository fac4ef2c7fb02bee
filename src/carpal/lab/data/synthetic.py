"""Drawn hands of a known age, sex and 17 known regions, for tests and for the tutorial.

A drawing NEVER stands in for real data in a result: no number measured on drawn hands says anything about radiographs
of children, and none may be printed in a table, a model card or a release. What a drawing has right is the order in
which bones appear, widen and fuse (`ossification`, general knowledge); its shapes are simple, and every child of one
age and sex is equally mature.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError
from carpal.lab.data import drawing as hand_shape
from carpal.lab.data.drawing import Array, Film, blur, marker
from carpal.types import RANKS, Sex

ASPECT = 0.78
"""Width / height, the usual one of the radiographs."""
SUPERSAMPLE = 2
MINIMUM_HEIGHT = 64
YOUNGEST, OLDEST = 12, 216
"""Months, the range of `write_dataset`."""
LABELS_CSV, REGIONS_CSV = "labels.csv", "regions.csv"


@dataclass(frozen=True)
class SyntheticHand:
    """A drawing: pixels_HW uint8 (bones bright), points_R2 (x, y) of the regions in pixels, in the order of REGIONS."""

    pixels_HW: NDArray[np.uint8]
    points_R2: NDArray[np.float64]
    months: float
    sex: Sex


def draw_hand(
    months: float, sex: Sex, *, seed: int, height: int = 256, side: str = "left", rotation_deg: float = 0.0
) -> SyntheticHand:
    """Draws one hand, palm down: the thumb of a left hand is on the right. The same arguments give the same bytes.

    `months` is the bone age, 0..228. `rotation_deg` turns the hand clockwise in the picture. The picture is `height`
    pixels high and 0.78 of that wide; the whole hand and the wrist are inside, the forearm runs out. A right hand with
    rotation r is the mirror image of the left hand with rotation -r, apart from the marker. Raises ConfigError.
    """
    _check(months, height, side)
    random = np.random.default_rng(seed)
    width = round(ASPECT * height)
    hand = hand_shape.pose(random)
    clockwise = rotation_deg if side == "left" else -rotation_deg
    to_pixels_23 = _placement(hand, height, width, clockwise, random)
    points_R2 = hand.points() @ to_pixels_23[:, :2].T + to_pixels_23[:, 2]
    pixels_HW = _expose(hand, months, sex, to_pixels_23, (height, width), random)
    if side == "right":
        pixels_HW = np.ascontiguousarray(pixels_HW[:, ::-1])
        points_R2[:, 0] = width - points_R2[:, 0]
    if random.random() < 0.7:
        pixels_HW = _with_marker(pixels_HW, side, random)
    return SyntheticHand(pixels_HW, points_R2, float(months), sex)


def write_dataset(folder: Path, count: int, seed: int, height: int = 256) -> None:
    """Draws `count` hands of 12..216 months, of both sexes and sides, turned by up to 20 degrees, into `folder`.

    Writes `<id>.png`, `labels.csv` (id, boneage in months, male: True or False, as RSNA's) and `regions.csv` in the
    form of RSNA's published points (dataset, id, source, width, height, roi, x, y, v; v = 2 is annotated and visible).
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    labels, regions = [], []
    for number in range(1, count + 1):
        name, months = f"drawn{number:04d}", int(random.integers(YOUNGEST, OLDEST + 1))
        sex = Sex.MALE if random.random() < 0.5 else Sex.FEMALE
        side, rotation = ("left", "right")[int(random.integers(2))], float(random.uniform(-20, 20))
        child = int(random.integers(2**31))
        hand = draw_hand(months, sex, seed=child, height=height, side=side, rotation_deg=rotation)
        Image.fromarray(hand.pixels_HW).save(folder / f"{name}.png")
        labels.append((name, months, sex is Sex.MALE))
        size = hand.pixels_HW.shape[::-1]
        for roi, (x, y) in zip(REGIONS, hand.points_R2, strict=True):
            regions.append(("drawn", name, "synthetic", *size, roi, round(x, 2), round(y, 2), 2))
    _write(folder / LABELS_CSV, ("id", "boneage", "male"), labels)
    _write(folder / REGIONS_CSV, ("dataset", "id", "source", "width", "height", "roi", "x", "y", "v"), regions)


def _check(months: float, height: int, side: str) -> None:
    if not 0 <= months <= RANKS - 1:
        raise ConfigError(f"A drawn hand is 0..{RANKS - 1} months old, got {months}. Pass an age in months.")
    if height < MINIMUM_HEIGHT:
        raise ConfigError(f"A drawn hand needs {MINIMUM_HEIGHT} pixels of height, got {height}. Draw it larger.")
    if side not in ("left", "right"):
        raise ConfigError(f"A hand is 'left' or 'right', got {side!r}. Pass one of the two.")


def _placement(hand: hand_shape.Pose, height: int, width: int, clockwise: float, random: np.random.Generator) -> Array:
    """The affine map (2, 3) from the hand's frame to pixels that keeps hand and wrist inside the picture."""
    angle = np.radians(clockwise)
    cos, sin = np.cos(angle), np.sin(angle)
    turn_22 = np.array([[cos, -sin], [sin, cos]]) @ np.diag([1.0, -1.0])  # y of the hand goes up, of the picture down
    forearm = [[-0.45, -0.72], [0.25, -0.72]]
    outline_N2 = np.concatenate([hand.points(), list(hand.tips.values()), forearm]) @ turn_22.T
    low, high = outline_N2.min(axis=0) - 0.2, outline_N2.max(axis=0) + 0.2
    size = np.array([width, height], float)
    scale = float((size / (high - low)).min()) * random.uniform(0.88, 1.0)
    free = size - scale * (high - low)
    origin = random.uniform(0.2, 0.8, 2) * free - scale * low
    return np.column_stack([scale * turn_22, origin])


def _expose(
    hand: hand_shape.Pose,
    months: float,
    sex: Sex,
    to_pixels_23: Array,
    shape: tuple[int, int],
    random: np.random.Generator,
) -> NDArray[np.uint8]:
    """From thickness to grey: saturating film, a background that is brighter on one side, grain."""
    fine_23 = SUPERSAMPLE * to_pixels_23
    back_22 = np.linalg.inv(fine_23[:, :2])
    film = Film(SUPERSAMPLE * shape[0], SUPERSAMPLE * shape[1], np.column_stack([back_22, -back_22 @ fine_23[:, 2]]))
    hand_shape.draw_flesh(film, hand, months, sex)
    hand_shape.draw_bones(film, hand, months, sex)
    sharpness = 0.004 * shape[0]
    soft_HW = blur(_shrink(film.soft_HW), 2 * sharpness)
    bone_HW = blur(_shrink(film.bone_HW), 0.35 * sharpness)
    texture_HW = 1 + 0.07 * blur(random.standard_normal(shape), 0.8) / 0.35
    absorbed_HW = random.uniform(1.0, 1.4) * soft_HW + random.uniform(5.5, 7.0) * bone_HW * texture_HW
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    slope_x, slope_y = random.uniform(-5, 5, 2)
    air_HW = random.uniform(10, 30) + slope_x * x + slope_y * y
    grey_HW = air_HW + (250 - air_HW) * (1 - np.exp(-absorbed_HW))
    grain_HW = random.standard_normal(shape) * (0.6 + 0.012 * grey_HW)
    return np.asarray(np.clip(np.rint(grey_HW + grain_HW), 0, 255), np.uint8)


def _shrink(fine_HW: Array) -> Array:
    height, width = (side // SUPERSAMPLE for side in fine_HW.shape)
    return np.asarray(fine_HW.reshape(height, SUPERSAMPLE, width, SUPERSAMPLE).mean(axis=(1, 3)))


def _with_marker(pixels_HW: NDArray[np.uint8], side: str, random: np.random.Generator) -> NDArray[np.uint8]:
    """A lead letter in the corner where the picture is darkest."""
    height, width = pixels_HW.shape
    size = int(height * random.uniform(0.05, 0.08))
    edge = max(2, height // 32)
    corners = [(x, y) for x in (edge, width - edge - size) for y in (edge, height - edge - size)]
    means = [pixels_HW[y : y + size, x : x + size].mean() for x, y in corners]
    return marker(pixels_HW, side[0].upper(), corners[int(np.argmin(means))], size, int(random.integers(200, 250)))


def _write(path: Path, header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
