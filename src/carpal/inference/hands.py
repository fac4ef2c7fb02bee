"""What a frame holds: one hand, or two that are read apart; a stated sex, or both where nobody knows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from carpal.inference.assess import assess
from carpal.inference.engine import Engine
from carpal.trust import two_hands
from carpal.types import Assessment, BothSexes, Box, Radiograph, Region, Sex

APART_MONTHS: Final = 12.0
"""Two hands of a child further apart than this are flagged where the weights give no interval."""


def read_hands(radiograph: Radiograph, sex: Sex | None, engine: Engine) -> list[Assessment] | list[BothSexes]:
    """One result for each hand in the frame, left (or upper) one first; boxes in pixels of the whole frame.

    `sex` None means that it is unknown: each hand is then read for both sexes, and has two ages instead of one.
    """
    if sex is not None:
        return read_frame(radiograph, sex, engine)
    female, male = (read_frame(radiograph, either, engine) for either in (Sex.FEMALE, Sex.MALE))
    return [BothSexes(one, other) for one, other in zip(female, male, strict=True)]


def read_frame(radiograph: Radiograph, sex: Sex, engine: Engine) -> list[Assessment]:
    """One assessment for each hand in the frame. Two hands whose ages differ beyond their intervals are flagged."""
    halves = two_hands.split(radiograph.pixels_HW)
    if halves is None:
        return [assess(radiograph, sex, engine, one_hand=True)]
    hands = [_read_half(radiograph, half, sex, engine) for half in halves]
    warning = difference(*hands)
    return [replace(hand, warnings=(*hand.warnings, *warning)) for hand in hands]


def _read_half(radiograph: Radiograph, half: two_hands.Half, sex: Sex, engine: Engine) -> Assessment:
    """A half on its own, with its regions moved to where they lie in the frame."""
    hand = assess(replace(radiograph, pixels_HW=half.cut(radiograph.pixels_HW)), sex, engine)
    regions = tuple(replace(region, box=_moved(region, half)) for region in hand.regions)
    return replace(hand, regions=regions, side_in_image=half.side_in_image)


def _moved(region: Region, half: two_hands.Half) -> Box:
    box = region.box
    return Box(box.x1 + half.left, box.y1 + half.top, box.x2 + half.left, box.y2 + half.top)


def difference(first: Assessment, second: Assessment) -> list[str]:
    """A warning where the two hands' intervals do not overlap; without intervals, where they are a year apart."""
    if first.months is None or second.months is None:
        return []
    apart = abs(first.months - second.months)
    if first.interval is not None and second.interval is not None:
        beyond = first.interval.high < second.interval.low or second.interval.high < first.interval.low
    else:
        beyond = apart > APART_MONTHS
    return [f"the two hands in the picture are {apart:.0f} months apart: look at both"] if beyond else []
