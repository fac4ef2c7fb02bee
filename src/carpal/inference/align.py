"""How a hand lies in its radiograph, and the aligned view: the hand in the one pose in which its age is read.

    prepared image -> predict (other polarity, turns where unsure) -> 17 regions -> pose -> aligned view -> predict

The network sees the whole radiograph once, small, to find the hand: where its regions are unsure, the other polarity is
tried, then the other quarter turns and the four between them, and what it is surest of wins. The mean hand
(`anatomy.MEAN_HAND`) is laid over the regions by shift, turn, size and mirror image, and the radiograph is re-sampled
so that the hand stands upright, thumb on the right, at one size: the aligned view, which training sees as well
(`carpal prepare --align`). A right hand is mirrored and found anew before it is aligned, so a left hand and its mirror
image end in the same view and get the same age.

Points are complex numbers x + iy in pixels, y downwards, with (0, 0) the upper left corner of the upper left pixel;
multiplying by exp(i a) turns clockwise by a. Letters: R = 17 regions, H W an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.anatomy import FOUND, MEAN_HAND
from carpal.imaging.intensity import Original, Source, Toned, as_original
from carpal.imaging.preprocess import Prepared, view_size
from carpal.inference.engine import Engine, Reading
from carpal.inference.tta import Boxes, average, mean_confidence, mirror_boxes, predict

USUAL_DEGREES: Final = 4.0
"""How far an upright left hand is turned clockwise from the mean hand."""
USUAL_RADIUS: Final = 0.225
"""The usual size of a hand: root mean square distance of its regions from their middle, over the long side."""
RADIUS: Final = 0.25
"""Its size in a store of aligned hands: fingertips, thumb and 3 cm of the forearm just fit into the image."""
MIDDLE: Final = 0.5 + 0.455j
"""Where the middle of the regions lies in such an image, as shares of width and height."""
ASPECT: Final = 13 / 16
"""Width over height of such an image."""
STEADY: Final = 12.0
"""Degrees from upright within which a hand of a usual size lies as usual."""
SIZES: Final = (0.15, 0.29)
"""Usual sizes, as `USUAL_RADIUS`. 98 % of 55 radiographs of folds 2-4 lie between 0.155 and 0.274 (docs/log.md)."""
SMALL: Final = USUAL_RADIUS / 2
"""A hand of half the usual size or less has smaller regions, too: those of an eighth of the image would meet."""
STRANGE: Final = 0.5
"""`Pose.error` from which the regions do not lie as in a hand, and the image is read unaligned."""
LEAST_SIZE: Final = 0.03
"""A hand smaller than this shows no bones that an age could be read from, however much it is enlarged."""
LEAST_TRUST: Final = 0.02
"""What a region weighs in the pose besides its score, so that no score at all still gives one."""
LEAST_INSIDE: Final = 0.05
"""A view of which the radiograph fills less than this share stays black: no hand lies where it was thought to."""
LARGEST: Final = 8
"""The radiograph is resized to at most so many times the prepared image's sides, to bound the memory."""
SURE: Final = 0.4
"""Mean confidence of the regions from which a hand counts as found as it lies."""
SURE_OF_POLARITY: Final = 0.5
"""Mean confidence below which the negative is tried as well."""
DOUBTFUL: Final = 0.25
"""Mean confidence below which there is no hand to align: re-sampling what is none (text, a cut finger) can only make
the network surer of it."""
ROUNDS: Final = 2
"""So often at most a hand is aligned: as it was found, and better from the aligned view."""


class Similarity(NamedTuple):
    """A map of the plane that keeps shapes: point -> factor * point + offset."""

    factor: complex = 1
    offset: complex = 0

    def points(self, points: NDArray[Any]) -> NDArray[np.complex128]:
        """Complex points, mapped."""
        return np.asarray(self.factor * points + self.offset, np.complex128)

    def boxes(self, boxes_R4: Boxes, sides: float | None = None) -> NDArray[np.float32]:
        """Boxes (x1, y1, x2, y2): middles are mapped, sides scaled; they swap where it turns by more than 45 degrees.

        The box of a turned box would be larger, and larger again on the way back: `inverse().boxes` undoes this one.
        `sides` is what sides are multiplied by in place of the map's own scale.
        """
        x1, y1, x2, y2 = np.asarray(boxes_R4, np.float64).T
        middle_R = self.points((x1 + x2 + 1j * (y1 + y2)) / 2)
        half_R2 = np.stack([x2 - x1, y2 - y1], axis=-1) / 2 * (abs(self.factor) if sides is None else sides)
        if abs(self.factor.imag) > abs(self.factor.real):
            half_R2 = half_R2[:, ::-1]
        middle_R2 = np.stack([middle_R.real, middle_R.imag], axis=-1)
        return np.concatenate([middle_R2 - half_R2, middle_R2 + half_R2], axis=-1).astype(np.float32)

    def inverse(self) -> Similarity:
        """The map back."""
        return Similarity(1 / self.factor, -self.offset / self.factor)

    def after(self, first: Similarity) -> Similarity:
        """The map that does `first` and then this one."""
        return Similarity(self.factor * first.factor, self.factor * first.offset + self.offset)


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
        return (float(np.degrees(np.angle(self.map.factor))) - usual + 180.0) % 360.0 - 180.0

    def mirror_image(self, width: int) -> Pose:
        """The pose of the same hand in the mirror image of its image, which is `width` pixels wide."""
        factor, offset = self.map
        return Pose(Similarity(factor.conjugate(), width - offset.conjugate()), not self.mirrored, self.error)


class AlignedView(NamedTuple):
    """What the network reads of a prepared image, and how to come back from it.

    `image_HW` is the aligned hand, thumb on the right, or, where none could be aligned (`pose` None), the prepared
    image as it is. Before it was aligned, that was mirrored where `mirrored` and inverted where `negative`.
    """

    image_HW: NDArray[Any]
    prepared_shape: tuple[int, int]
    pose: Pose | None = None
    """How the hand lay in the prepared image, mirrored where `mirrored`."""
    to_prepared: Similarity | None = None
    """Pixels of the view into those of the prepared image, mirrored where `mirrored`; None where it is that image."""
    mirrored: bool = False
    negative: bool = False

    @property
    def usual(self) -> bool:
        """Whether the hand lay in the prepared image as usual, or is not known to lie otherwise."""
        return self.pose is None or is_usual(self.pose, max(self.prepared_shape))

    @property
    def degrees(self) -> float:
        """How far the hand was turned clockwise in the prepared image itself; 0 where none was aligned."""
        if self.pose is None:
            return 0.0
        return -self.pose.degrees if self.mirrored else self.pose.degrees

    def boxes_to_prepared(self, boxes_R4: Boxes) -> Boxes:
        """Boxes of the view in the prepared image.

        A region's side is that of a hand of the usual size, whatever the hand's: an eighth of the radiograph's long
        side, as annotated boxes have; it shrinks only with a hand below half the usual size (`SMALL`).
        """
        if self.to_prepared is not None:
            boxes_R4 = self.to_prepared.boxes(boxes_R4, self._sides)
        return mirror_boxes(boxes_R4, self.prepared_shape[1]) if self.mirrored else boxes_R4

    def boxes_to_view(self, boxes_R4: Boxes) -> Boxes:
        """Boxes of the prepared image in the view; NaN stays NaN."""
        if self.mirrored:
            boxes_R4 = mirror_boxes(boxes_R4, self.prepared_shape[1])
        if self.to_prepared is None:
            return boxes_R4
        sides = self._sides
        return self.to_prepared.inverse().boxes(boxes_R4, None if sides is None else 1 / sides)

    @property
    def _sides(self) -> float | None:
        """A region's side in the prepared image over that in the view; None where it goes with the hand's size."""
        long_side = max(self.prepared_shape)
        if self.pose is None or self.to_prepared is None or self.pose.radius < SMALL * long_side:
            return None
        return USUAL_RADIUS * long_side * abs(self.to_prepared.factor) / self.pose.radius


def read_aligned(
    engine: Engine,
    prepared: Prepared,
    male: bool,
    boxes_R4: Boxes | None = None,
    source: Source | None = None,
    align: bool = True,
) -> tuple[Reading, AlignedView]:
    """Aligns the hand of a prepared image and reads it; boxes, given and found, are in pixels of that image.

    `boxes_R4` replaces the regions that the network would find, NaN leaves one to it. `source` is the radiograph that
    the image was prepared from; the view is re-sampled from it, or else from the prepared image. Without `align` the
    prepared image itself is read, and its mirror image, whatever lies in it.
    """
    if not align:
        view = AlignedView(prepared.grey_HW, prepared.grey_HW.shape)
        return predict_view(engine, view, male, boxes_R4), view
    view, seen = align_hand(engine, prepared, male, source)
    given_R4 = None if boxes_R4 is None else view.boxes_to_view(boxes_R4)
    reading = predict_view(engine, view, male, given_R4, seen if given_R4 is None else None)
    if reading.boxes_R4 is None:
        return reading, view
    return reading._replace(boxes_R4=view.boxes_to_prepared(reading.boxes_R4)), view


def predict_view(
    engine: Engine, view: AlignedView, male: bool, boxes_R4: Boxes | None = None, seen: Reading | None = None
) -> Reading:
    """What the network says of a view; boxes, given and found, are in the view's pixels.

    The mean with the mirror image where the weights ask for it (`Engine.flip`), and always where no hand was aligned.
    `seen` is the answer to the view itself, where the network gave it already.
    """
    seen = predict(engine, view.image_HW, male, boxes_R4=boxes_R4) if seen is None else seen
    if view.pose is not None and not engine.flip:
        return seen
    return average(seen, predict(engine, view.image_HW, male, mirrored=True, boxes_R4=boxes_R4))


def align_hand(
    engine: Engine, prepared: Prepared, male: bool, source: Source | None = None
) -> tuple[AlignedView, Reading]:
    """Finds the hand, re-samples it to the pose in which it is read, and gives the network's answer to that view.

    A right hand is found once more in the mirror image, so that a hand and its mirror image end in the same view. A
    hand that lies far from usual is placed better in its aligned view, which is then aligned again. Where no hand is
    found, view and answer are those of the prepared image as it is.
    """
    grey_HW, shape = prepared.grey_HW, prepared.grey_HW.shape
    toned = Toned(grey_HW) if source is None else as_original(source).cut
    toned_by_side = {False: toned, True: toned._replace(pixels_HW=toned.pixels_HW[:, ::-1])}
    dark_bones = source is not None and prepared.inverted
    first, look = _find(engine, grey_HW, toned, male, dark_bones)
    mirrored, pose = False, _pose_of(look.reading, shape)
    if pose is not None and pose.mirrored:
        _, other = _find(engine, grey_HW[:, ::-1], toned_by_side[True], male, dark_bones)
        other_pose = _pose_of(other.reading, shape)
        both_right = other_pose is not None and other_pose.mirrored
        if not both_right or other.confidence > look.confidence:
            mirrored, look, pose = True, other, other_pose
    view, reading = AlignedView(grey_HW, shape), first
    for _ in range(ROUNDS):
        if pose is None:
            break
        if pose.mirrored:
            mirrored, pose = not mirrored, pose.mirror_image(shape[1])
        image_HW, to_prepared = warp_to_pose(
            toned_by_side[mirrored], shape, pose, engine.long_side, engine.view_scale, dark_bones != look.negative
        )
        view = AlignedView(image_HW, shape, pose, to_prepared, mirrored, look.negative)
        reading = predict(engine, image_HW, male)
        pose = _correction(reading, to_prepared, shape, RADIUS * engine.view_scale * engine.long_side)
    return view, reading


class _Look(NamedTuple):
    """What the network says of a whole prepared image, inverted where `negative`; boxes are in that image's pixels."""

    reading: Reading
    negative: bool = False

    @property
    def confidence(self) -> float:
        return mean_confidence(self.reading)


def _find(engine: Engine, grey_HW: NDArray[Any], toned: Toned, male: bool, dark_bones: bool) -> tuple[Reading, _Look]:
    """The answer to the image as it is, and the surest look at it; others are tried only where it is unsure.

    The other polarity is tried before any turn, and turned only in the end: a turned hand is hardly found in either
    polarity, so that it does not say which is right.
    """
    negative_HW = np.float32(255) - np.asarray(grey_HW, np.float32)

    def turned(negative: bool) -> Iterator[_Look]:
        """The other quarter turns, and the four between them."""
        for turns in (1, 2, 3):
            yield _Look(predict(engine, negative_HW if negative else grey_HW, male, turns), negative)
        tilted_HW, to_prepared = tilt(toned, grey_HW.shape, dark_bones != negative)
        for turns in range(4):
            reading = predict(engine, tilted_HW, male, turns)
            if reading.boxes_R4 is not None:
                reading = reading._replace(boxes_R4=to_prepared.boxes(reading.boxes_R4))
            yield _Look(reading, negative)

    looks = [_Look(predict(engine, grey_HW, male))]
    if looks[0].confidence < SURE_OF_POLARITY:
        looks.append(_Look(predict(engine, negative_HW, male), negative=True))
    for negative in (False, True):
        if max(look.confidence for look in looks) < SURE:
            looks.extend(turned(negative))
    return looks[0].reading, max(looks, key=lambda look: look.confidence)


def _pose_of(reading: Reading, shape: tuple[int, ...]) -> Pose | None:
    """How the hand lies in an image of `shape` by a reading of it; None where no hand is seen."""
    if mean_confidence(reading) < DOUBTFUL or reading.boxes_R4 is None or reading.scores_R is None:
        return None
    pose = fit_pose(reading.boxes_R4, reading.scores_R)
    return pose if is_hand(pose, max(shape)) else None


def _correction(reading: Reading, to_prepared: Similarity, shape: tuple[int, ...], radius: float) -> Pose | None:
    """The hand's pose in the prepared image by the reading of its aligned view, where `radius` is a hand's size.

    None where it lies there as aligned hands do, or no hand is seen.
    """
    if reading.boxes_R4 is None or reading.scores_R is None:
        return None
    seen = fit_pose(reading.boxes_R4, reading.scores_R)
    low, high = SIZES
    if abs(seen.degrees) <= STEADY and low / RADIUS <= seen.radius / radius <= high / RADIUS:
        return None
    return _pose_of(reading._replace(boxes_R4=to_prepared.boxes(reading.boxes_R4)), shape)


def align_for_training(
    engine: Engine, source: Source, prepared: Prepared, points_R3: NDArray[np.float32], pseudo: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The aligned image of a store, from which training takes its views, and the points (x, y, v) on it.

    The hand is found at the network's size; the image has the prepared one's long side. With `pseudo` a region that
    nobody annotated is where the network found it, if it is sure of it (v 2). A right hand is mirrored.
    """
    original = as_original(source)
    shrink = engine.long_side / max(prepared.grey_HW.shape)
    seen_HW = prepared.grey_HW
    if shrink != 1:
        size = tuple(max(1, round(side * shrink)) for side in reversed(seen_HW.shape))
        seen_HW = np.asarray(Image.fromarray(seen_HW).resize(size, Image.Resampling.BILINEAR))
    view, reading = align_hand(engine, replace(prepared, grey_HW=seen_HW), False, original)
    if pseudo and reading.boxes_R4 is not None and reading.scores_R is not None:
        boxes_R4 = view.boxes_to_prepared(reading.boxes_R4)
        found_R3 = np.column_stack([(boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2 / shrink, np.full(len(boxes_R4), FOUND)])
        taken_R = (points_R3[:, 2] == 0) & (reading.scores_R >= SURE)
        points_R3 = np.where(taken_R[:, None], found_R3, points_R3).astype(np.float32)
    if view.pose is None:
        return prepared.pixels_HW, points_R3
    shape, toned = prepared.grey_HW.shape, original.cut
    if view.mirrored:
        toned = toned._replace(pixels_HW=toned.pixels_HW[:, ::-1])
        points_R3 = np.where(points_R3[:, 2:] > 0, points_R3 * [-1, 1, 1] + [shape[1], 0, 0], 0)
    pose = view.pose._replace(map=Similarity(view.pose.map.factor / shrink, view.pose.map.offset / shrink))
    image_HW, to_prepared = warp_to_pose(toned, shape, pose, max(shape), 1.0, prepared.inverted != view.negative)
    middle_R = to_prepared.inverse().points(points_R3[:, 0] + 1j * points_R3[:, 1])
    height, width = image_HW.shape
    inside_R = (middle_R.real >= 0) & (middle_R.imag >= 0) & (middle_R.real <= width) & (middle_R.imag <= height)
    known_R = inside_R & (points_R3[:, 2] > 0)
    moved_R3 = np.where(known_R[:, None], np.stack([middle_R.real, middle_R.imag, points_R3[:, 2]], 1), 0)
    return np.rint(image_HW).astype(np.uint8), moved_R3.astype(np.float32)


def fit_pose(boxes_R4: Boxes, scores_R: NDArray[Any]) -> Pose:
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


def is_usual(pose: Pose, long_side: int) -> bool:
    """Whether a hand lies as radiographs usually show it, neither turned nor small nor large in its image."""
    low, high = SIZES
    return abs(pose.degrees) <= STEADY and low <= pose.radius / long_side <= high


def is_hand(pose: Pose, long_side: int) -> bool:
    """Whether the regions lie as in a hand, large enough to be read."""
    return pose.error < STRANGE and pose.radius / long_side > LEAST_SIZE


def aligned_size(long_side: int) -> tuple[int, int]:
    """Height and width of an aligned image, as a store keeps it."""
    return long_side, round(ASPECT * long_side)


def warp_to_pose(
    toned: Toned, shape: tuple[int, ...], pose: Pose, long_side: int, scale: float, dark_bones: bool
) -> tuple[NDArray[np.float32], Similarity]:
    """The view in which a left hand of this pose (in the prepared image of `shape`) is read, and the map of its pixels
    into that image.

    A view of `long_side` is the middle of the aligned image, `scale` times as large as a store of that long side keeps
    it; with a scale of 1 it is that image. Contrast is measured on the whole aligned image. `dark_bones` says that
    bones are dark in `toned`, the radiograph's own pixels or the prepared image.
    """
    whole_height, whole_width = (round(scale * side) for side in aligned_size(long_side))
    factor = complex(pose.map.factor / (RADIUS * scale * long_side * np.exp(1j * math.radians(USUAL_DEGREES))))
    height, width = aligned_size(long_side) if scale == 1 else view_size(long_side)
    top, left = (
        max(0, math.ceil((whole - side) / 2)) for whole, side in ((whole_height, height), (whole_width, width))
    )
    rows, columns = height + 2 * top, width + 2 * left
    middle = complex(columns / 2, rows / 2) + scale * (
        (MIDDLE.real - 0.5) * ASPECT * long_side + 1j * (MIDDLE.imag - 0.5) * long_side
    )
    place = Similarity(factor, complex(pose.map.offset - factor * middle))
    image_HW = resample(toned, shape, place, (rows, columns), dark_bones)[top : top + height, left : left + width]
    return image_HW, place.after(Similarity(1, complex(left, top)))


def tilt(toned: Toned, shape: tuple[int, ...], dark_bones: bool) -> tuple[NDArray[np.float32], Similarity]:
    """The whole prepared image of `shape`, turned by 45 degrees anticlockwise, and the map of its pixels back."""
    height, width = shape
    side = max(shape)
    factor = complex((height + width) / np.sqrt(2) / side * np.exp(1j * np.pi / 4))
    place = Similarity(factor, (width + 1j * height) / 2 - factor * (1 + 1j) * side / 2)
    return resample(toned, shape, place, (side, side), dark_bones), place


def resample(
    toned: Toned, shape: tuple[int, ...], place: Similarity, size: tuple[int, int], dark_bones: bool
) -> NDArray[np.float32]:
    """The image of `size` (height, width) whose pixels `place` maps into the prepared image of `shape`.

    `toned` is the radiograph: its own pixels, or the prepared image. Grey values 0..255, bones bright: contrast is
    measured anew on what the image shows, so that frames around the hand no longer set it. Beyond the radiograph it is
    black.
    """
    enlarged = min(max(1 / abs(place.factor), 1 / LARGEST), LARGEST)
    height, width = (max(1, round(side * enlarged)) for side in shape)
    resized = Image.fromarray(toned.resize((width, height)))
    grow_y, grow_x = height / shape[0], width / shape[1]
    a, b = place.factor.real, place.factor.imag
    across = (grow_x * a, -grow_x * b, grow_x * place.offset.real)
    down = (grow_y * b, grow_y * a, grow_y * place.offset.imag)
    rows, columns = size
    turned_HW = np.asarray(
        resized.transform(
            (columns, rows), Image.Transform.AFFINE, (*across, *down), Image.Resampling.BICUBIC, fillcolor=np.nan
        )
    )
    inside_HW = np.isfinite(turned_HW)
    if inside_HW.mean() < LEAST_INSIDE:
        return np.zeros((rows, columns), np.float32)
    if inside_HW.all():
        return Original(turned_HW).stretched(dark_bones).whole()
    whole_HW = np.where(inside_HW, turned_HW, np.median(turned_HW[inside_HW]))
    return np.where(inside_HW, Original(whole_HW).stretched(dark_bones).whole(), np.float32(0))
