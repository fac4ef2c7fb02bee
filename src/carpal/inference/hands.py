"""What a frame holds: one hand, or two that are read apart; a stated sex, or both where nobody knows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from carpal.imaging.original import Original
from carpal.inference.assess import Facts, assess, judge
from carpal.inference.engine import Engine
from carpal.trust import two_hands
from carpal.types import Assessment, BothSexes, Box, Interval, Radiograph, Region, Result, Sex

APART_MONTHS: Final = 12.0
"""Two hands of a child further apart than this are flagged where the weights give no interval."""


def read_hands(
    radiograph: Radiograph, sex: Sex | None, engine: Engine, facts: Facts | None = None
) -> list[Assessment] | list[BothSexes]:
    """One result for each hand in the frame, left (or upper) one first, judged; boxes in pixels of the whole frame.

    `sex` None means that it is unknown: each hand is then read for both sexes, and has two ages instead of one. Each is
    judged by `facts`, None for the chronological age that the file states. Raises what `judge` does.
    """
    facts = facts or Facts(radiograph.age_months)
    original = Original(radiograph.pixels_HW)
    if sex is not None:
        return [judge(one, facts) for one in read_frame(radiograph, sex, engine, original)]
    female, male = (read_frame(radiograph, either, engine, original, stated=False) for either in (Sex.FEMALE, Sex.MALE))
    return [judge(BothSexes(one, other), facts) for one, other in zip(female, male, strict=True)]


def read_frame(
    radiograph: Radiograph, sex: Sex, engine: Engine, original: Original, stated: bool = True
) -> list[Assessment]:
    """One assessment for each hand in the frame. Two hands whose ages differ beyond their intervals are flagged.

    `original` holds the radiograph's pixels. `stated` says that the sex was stated, not tried: only then a warning may
    say that it fits badly.
    """
    halves = two_hands.split(original)
    if halves is None:
        return [assess(radiograph, sex, engine, one_hand=True, stated=stated, original=original)]
    hands = [_read_half(radiograph, half, sex, engine, stated) for half in halves]
    warning = difference(*hands)
    return [replace(hand, warnings=(*hand.warnings, *warning)) for hand in hands]


def _read_half(radiograph: Radiograph, half: two_hands.Half, sex: Sex, engine: Engine, stated: bool) -> Assessment:
    """A half on its own, with its regions moved to where they lie in the frame."""
    hand = assess(replace(radiograph, pixels_HW=half.cut(radiograph.pixels_HW)), sex, engine, stated=stated)
    return replace(_moved(hand, half.left, half.top), side_in_image=half.side_in_image)


def _moved(hand: Assessment, right: int, down: int) -> Assessment:
    def moved(box: Box) -> Box:
        return Box(box.x1 + right, box.y1 + down, box.x2 + right, box.y2 + down)

    regions: tuple[Region, ...] = tuple(replace(region, box=moved(region.box)) for region in hand.regions)
    return replace(hand, regions=regions)


def cut_out(radiograph: Radiograph, result: Result) -> tuple[Radiograph, Result]:
    """One of two hands for a picture of its own: its half of the frame, boxes in pixels of that half.

    A hand that has the frame to itself comes back as it is.
    """
    one = result.female if isinstance(result, BothSexes) else result
    halves = two_hands.split(radiograph.pixels_HW) if one.side_in_image else None
    half = next((half for half in halves or () if half.side_in_image == one.side_in_image), None)
    if half is None:
        return radiograph, result
    alone = replace(radiograph, pixels_HW=half.cut(radiograph.pixels_HW))
    if isinstance(result, BothSexes):
        both = (_moved(each, -half.left, -half.top) for each in (result.female, result.male))
        return alone, BothSexes(*both)
    return alone, _moved(result, -half.left, -half.top)


def difference(first: Assessment, second: Assessment) -> list[str]:
    """A warning where one hand's age lies outside the other's interval; without intervals, where they are a year apart.

    A child has one bone age: each hand's interval should hold what the other shows.
    """
    if first.months is None or second.months is None:
        return []
    apart = abs(first.months - second.months)
    if first.interval is not None and second.interval is not None:
        beyond = not (_holds(first.interval, second.months) and _holds(second.interval, first.months))
    else:
        beyond = apart > APART_MONTHS
    return [f"the two hands in the picture are {apart:.0f} months apart: look at both"] if beyond else []


def _holds(interval: Interval, months: float) -> bool:
    return interval.low <= months <= interval.high
