"""Which picture of a radiograph the network reads: the hand upright, at one size, in the middle.

The radiograph is read as it came, to find the hand: where its regions are unsure, the other quarter turns are tried,
then the four between them, and the one whose regions are surest wins. Then it is re-sampled so that the hand stands as
all hands did that the network learned ages from (`pose`, `carpal prepare --upright`), and read again: the whole
picture, which gives the regions, and its middle closer; the age is the mean of both. Every reading is the mean of a
picture and its mirror image. So turns, shifts, borders and the hand's size in the frame move an age by
little, and a left hand, the same hand mirrored and a right hand of the same bones give the same age.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.anatomy import FOUND
from carpal.imaging.bands import Toned
from carpal.imaging.original import Source, as_original
from carpal.imaging.preprocess import Prepared
from carpal.inference import pose
from carpal.inference.engine import Engine, Reading
from carpal.inference.pose import Pose, Similarity
from carpal.inference.views import SURE, mean_age, read_both, read_upright, surety

ROUNDS: Final = 2
"""A hand found far from upright is found better in the picture re-sampled to it, which is then re-sampled again."""
DOUBTFUL: Final = 0.25
"""Mean score of the regions below which there is no hand to bring upright: re-sampling what is none (text, a cut
finger) can only make the network surer of it. Turned hands scored 0.41 or more in their surest turn (docs/log.md)."""

Boxes = NDArray[Any]


class Stand(NamedTuple):
    """What the network reads of a prepared image: `picture_HW` after `turns` quarter turns anticlockwise."""

    picture_HW: NDArray[Any]
    turns: int = 0
    place: Similarity | None = None
    """Where the picture was re-sampled: the map of its pixels into the prepared image; None where it is that image."""
    found: Pose | None = None
    """How the hand lay in the prepared image, where the picture was re-sampled to it."""

    @property
    def usual(self) -> bool:
        """Whether the hand lay in the prepared image as usual, or is not known to lie otherwise."""
        return self.found is None or pose.is_usual(self.found, max(self.picture_HW.shape))

    def out_of(self, boxes_R4: Boxes) -> Boxes:
        """Boxes of the picture in the prepared image.

        A region's side is an eighth of the long side (the paper's 64 of 512), in the picture and in the radiograph; it
        shrinks only with a hand below half the usual size (`pose.SMALL`).
        """
        return boxes_R4 if self.place is None else self.place.boxes(boxes_R4, scaled=self._scales)

    def into(self, boxes_R4: Boxes) -> Boxes:
        """Boxes of the prepared image in the picture; NaN stays NaN."""
        return boxes_R4 if self.place is None else self.place.inverse().boxes(boxes_R4, scaled=self._scales)

    @property
    def _scales(self) -> bool:
        return self.found is None or self.found.radius < pose.SMALL * max(self.picture_HW.shape)


def read_views(
    engine: Engine,
    pixels_HW: NDArray[Any],
    male: bool,
    boxes_R4: Boxes | None = None,
    original_HW: Source | None = None,
    as_it_came: bool = False,
) -> tuple[Reading, Stand]:
    """Reads a prepared image; boxes, given and found, are in its own pixels. `Stand` says which picture was read.

    `boxes_R4` replaces the regions that the network would find, NaN leaves one to it. `original_HW` is the radiograph
    that the image was prepared from; a picture is re-sampled from it, or else from the prepared image. `as_it_came`
    reads the prepared image itself and its mirror image, whatever lies in it.
    """
    if as_it_came:
        return read_both(engine, pixels_HW, male, boxes_R4=boxes_R4), Stand(pixels_HW)
    found, stand = settle(engine, pixels_HW, male, original_HW)
    given_R4 = None if boxes_R4 is None else stand.into(boxes_R4)
    found = read_stand(engine, stand, male, given_R4, found if given_R4 is None else None)
    return (found if found.boxes_R4 is None else found._replace(boxes_R4=stand.out_of(found.boxes_R4))), stand


def read_stand(
    engine: Engine, stand: Stand, male: bool, boxes_R4: Boxes | None = None, whole: Reading | None = None
) -> Reading:
    """Reads the picture of a stand and, where a hand was brought upright there, its middle closer; boxes in its pixels.

    How much closer, if at all, the weights say (`Engine.closer`). The age is the mean of both; regions and features are
    those of the whole picture, since a thumb that is spread may leave the close-up. `whole` is the whole picture's
    reading, where it was read already.
    """
    whole = read_both(engine, stand.picture_HW, male, stand.turns, boxes_R4) if whole is None else whole
    if stand.found is None or engine.closer == 1:
        return whole
    near_HW, place = pose.close_up(stand.picture_HW, engine.closer)
    near = read_both(engine, near_HW, male, 0, None if boxes_R4 is None else place.inverse().boxes(boxes_R4, False))
    return mean_age(whole, near)


def settle(
    engine: Engine, pixels_HW: NDArray[Any], male: bool, original_HW: Source | None = None
) -> tuple[Reading, Stand]:
    """The picture to read and its reading, boxes in that picture's pixels: the surest turn, then the pose.

    The pose, too, comes from a picture and its mirror image: from one of them alone it would lie half a pixel off in
    the other, and half a pixel can move an age by a month (docs/log.md).
    """
    source = Toned(pixels_HW) if original_HW is None else as_original(original_HW).cut
    first, turns = read_upright(engine, pixels_HW, male)
    as_it_came = best = first, Stand(pixels_HW, turns)
    if surety(first) < SURE:
        tilted_HW, place = pose.tilt(source, pixels_HW.shape)
        reading, turns = read_upright(engine, tilted_HW, male)
        best = max([best, (reading, Stand(tilted_HW, turns, place))], key=lambda each: surety(each[0]))
    if surety(best[0]) < DOUBTFUL:
        return as_it_came
    for _ in range(ROUNDS):
        found = _to_resample(*best, max(pixels_HW.shape))
        if found is None:
            break
        place = pose.to_reading(found, max(pixels_HW.shape))
        again = Stand(pose.resample(source, pixels_HW.shape, place), 0, place, found)
        best = read_both(engine, again.picture_HW, male), again
    return best


def _to_resample(reading: Reading, stand: Stand, long_side: int) -> Pose | None:
    """How the hand lies in the prepared image, whose long side is given; None where the picture is good as it is."""
    if reading.boxes_R4 is None or reading.scores_R is None:
        return None
    found = pose.fit(stand.out_of(reading.boxes_R4), reading.scores_R)
    if not pose.is_hand(found, long_side):
        return None
    seen = pose.fit(reading.boxes_R4, reading.scores_R)
    good = stand.found is not None and pose.is_usual(seen, max(stand.picture_HW.shape))
    return None if good else found


def bring(
    engine: Engine, original_HW: Source, prepared: Prepared, points_R3: NDArray[np.float32], pseudo: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture that would be read and the points (x, y, v) on it: what training learns ages from.

    The hand is found at the network's size; the picture has the prepared one's. With `pseudo` a region that nobody
    annotated is where the network found it, if it is sure of it (v 2).
    """
    original_HW = as_original(original_HW)
    shrink = engine.long_side / max(prepared.grey_HW.shape)
    seen_HW = prepared.grey_HW
    if shrink != 1:
        size = tuple(max(1, round(side * shrink)) for side in reversed(seen_HW.shape))
        seen_HW = np.asarray(Image.fromarray(seen_HW).resize(size, Image.Resampling.BILINEAR))
    reading, stand = settle(engine, seen_HW, False, original_HW)
    if pseudo:
        points_R3 = _with_found(points_R3, reading, stand, shrink)
    if stand.place is None:
        return prepared.pixels_HW, points_R3
    return take(original_HW, prepared, Similarity(stand.place.factor, stand.place.offset / shrink), points_R3)


def _with_found(points_R3: NDArray[np.float32], reading: Reading, stand: Stand, shrink: float) -> NDArray[np.float32]:
    """The points of a prepared image, and where it has none, sure regions' middles, found at `shrink` of its size."""
    if reading.boxes_R4 is None or reading.scores_R is None:
        return points_R3
    boxes_R4 = stand.out_of(reading.boxes_R4)
    found_R3 = np.column_stack([(boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2 / shrink, np.full(len(boxes_R4), FOUND)])
    taken_R = (points_R3[:, 2] == 0) & (reading.scores_R >= SURE)
    return np.where(taken_R[:, None], found_R3, points_R3).astype(np.float32)


def take(
    original_HW: Source, prepared: Prepared, place: Similarity, points_R3: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The picture whose pixels `place` maps into the prepared one, and the points (x, y, v) on it."""
    picture_HW = pose.resample(as_original(original_HW).cut, prepared.grey_HW.shape, place)
    middle_R = place.inverse().points(points_R3[:, 0] + 1j * points_R3[:, 1])
    height, width = picture_HW.shape
    inside_R = (middle_R.real >= 0) & (middle_R.imag >= 0) & (middle_R.real <= width) & (middle_R.imag <= height)
    known_R = inside_R & (points_R3[:, 2] > 0)
    moved_R3 = np.where(known_R[:, None], np.stack([middle_R.real, middle_R.imag, points_R3[:, 2]], 1), 0)
    return np.rint(picture_HW).astype(np.uint8), moved_R3.astype(np.float32)
