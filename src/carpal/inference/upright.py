"""Which picture of a radiograph the network reads: the hand upright and at its usual size.

The network is trained on hands turned by up to 30 degrees, and reads them best as radiographs usually show them. Where
its regions are unsure, the other quarter turns are tried, then the four between them, and the one whose regions are
surest wins. Where the hand that it finds is turned, small or large, the radiograph is re-sampled to the usual pose
(`pose`) and read again. A hand that stands as usual is read as it came, and costs nothing more. The chosen picture and
its mirror image are read, and their answers averaged: a left hand, the same hand mirrored and a right hand of the same
bones give the same age.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from carpal.inference import pose
from carpal.inference.engine import Engine, Reading
from carpal.inference.pose import Pose, Similarity
from carpal.inference.views import SURE, average, read_upright, read_view, surety

ROUNDS: Final = 2
"""A hand found far from upright is found better in the picture re-sampled to it, which is then re-sampled again."""

ALWAYS = False
"""Whether hands that stand as usual are re-sampled, too: a run more for each, and ages that frames, shifts and small
turns move less (docs/stress.md). Measure `carpal evaluate` and `carpal stress` before changing it."""
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

    def out_of(self, boxes_R4: Boxes) -> Boxes:
        """Boxes of the picture in the prepared image."""
        return boxes_R4 if self.place is None else self.place.boxes(boxes_R4)

    def into(self, boxes_R4: Boxes) -> Boxes:
        """Boxes of the prepared image in the picture; NaN stays NaN."""
        return boxes_R4 if self.place is None else self.place.inverse().boxes(boxes_R4)


def read_views(
    engine: Engine,
    pixels_HW: NDArray[Any],
    male: bool,
    boxes_R4: Boxes | None = None,
    original_HW: NDArray[Any] | None = None,
) -> tuple[Reading, Stand]:
    """Reads a prepared image; boxes, given and found, are in its own pixels. `Stand` says which picture was read.

    `boxes_R4` replaces the regions that the network would find, NaN leaves one to it. `original_HW` is the radiograph
    that the image was prepared from; a picture is re-sampled from it, or else from the prepared image.
    """
    first, stand = settle(engine, pixels_HW, male, original_HW)
    if boxes_R4 is None:
        both = read_both(engine, stand, male, first=first)
    else:
        both = read_both(engine, stand, male, stand.into(boxes_R4))
    return (both if both.boxes_R4 is None else both._replace(boxes_R4=stand.out_of(both.boxes_R4))), stand


def read_both(
    engine: Engine, stand: Stand, male: bool, boxes_R4: Boxes | None = None, first: Reading | None = None
) -> Reading:
    """The mean of the chosen picture and its mirror image; boxes, given and found, are in the picture's pixels.

    `first` is the reading of the picture itself, where there is one already.
    """
    if first is None:
        first = read_view(engine, stand.picture_HW, male, stand.turns, boxes_R4=boxes_R4)
    return average(first, read_view(engine, stand.picture_HW, male, stand.turns, mirrored=True, boxes_R4=boxes_R4))


def settle(
    engine: Engine, pixels_HW: NDArray[Any], male: bool, source_HW: NDArray[Any] | None = None
) -> tuple[Reading, Stand]:
    """The picture to read and its first reading, boxes in that picture's pixels: the surest turn, then the pose."""
    source_HW = pixels_HW if source_HW is None else source_HW
    first, turns = read_upright(engine, pixels_HW, male)
    as_it_came = best = first, Stand(pixels_HW, turns)
    if surety(first) < SURE:
        tilted_HW, place = pose.tilt(source_HW, pixels_HW.shape)
        reading, turns = read_upright(engine, tilted_HW, male)
        best = max([best, (reading, Stand(tilted_HW, turns, place))], key=lambda each: surety(each[0]))
    if surety(best[0]) < DOUBTFUL:
        return as_it_came
    for _ in range(ROUNDS):
        found = _to_resample(*best, max(pixels_HW.shape))
        if found is None:
            break
        place = pose.to_usual(found, max(pixels_HW.shape))
        again = Stand(pose.resample(source_HW, pixels_HW.shape, place), 0, place, found)
        best = read_view(engine, again.picture_HW, male), again
    return best


def _to_resample(reading: Reading, stand: Stand, long_side: int) -> Pose | None:
    """How the hand lies in the prepared image, whose long side is given; None where the picture is good as it is."""
    if reading.boxes_R4 is None or reading.scores_R is None:
        return None
    found = pose.fit(stand.out_of(reading.boxes_R4), reading.scores_R)
    if stand.place is not None and stand.found is None:  # tilted: the hand is smaller than it has to be
        return found if pose.is_hand(found, long_side) else None
    if ALWAYS and stand.place is None:
        return found if pose.is_hand(found, long_side) else None
    seen = pose.fit(reading.boxes_R4, reading.scores_R)
    return found if pose.is_off(seen, stand.turns, max(stand.picture_HW.shape)) else None
