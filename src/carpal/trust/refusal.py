"""Whether an image gets an age: cheap checks of the picture first, then checks of what the network found in it.

Every check either passes or names a code of `reasons.REASONS` with what was measured. The limits come with the weights
(`limits.Limits`); how well they separate is in docs/refusal.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.imaging.original import Original
from carpal.imaging.raster import IN_COLOUR
from carpal.trust import shape
from carpal.trust.limits import Limits
from carpal.trust.picture import Picture, measure
from carpal.trust.reasons import refuse
from carpal.types import Radiograph, Refusal

ADULT_MONTHS: Final = 20 * 12
"""Chronological age from which a stated age refuses: the atlas ends at 19 years for boys, 18 for girls."""


@dataclass(frozen=True)
class Found:
    """What a refusal asks of a reading: five numbers, and the scores that `hidden` is counted from."""

    surety: float
    misfit: float
    stretch: float
    outside: float
    disagreement: float
    scores_R: tuple[float, ...]

    def hidden(self, found: float) -> int:
        """How many regions score below `found`."""
        return sum(score < found for score in self.scores_R)


def find(
    boxes_R4: NDArray[Any], scores_R: NDArray[Any], region_months_R: NDArray[Any], months: float, size: tuple[int, int]
) -> Found:
    """The numbers of a reading whose boxes lie in a prepared image of `size` (height, width)."""
    fit = shape.fit((boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2, scores_R)
    height, width = size
    places_N2 = np.concatenate([fit.places_R2, fit.tips_D2])
    beyond_N = np.max(np.concatenate([-places_N2, places_N2 - [width, height]], axis=1), axis=1)
    return Found(
        surety=float(np.mean(scores_R)),
        misfit=fit.misfit,
        stretch=fit.stretch,
        outside=float(beyond_N.max() / max(fit.radius, 1e-6)),
        disagreement=abs(months - float(np.median(region_months_R))),
        scores_R=tuple(float(score) for score in scores_R),
    )


def check_stated(radiograph: Radiograph) -> Refusal | None:
    """adult, by the age that the file states. Needs no limits."""
    age = None if radiograph.exam is None else radiograph.exam.age_months
    if age is not None and age >= ADULT_MONTHS:
        return refuse("adult", radiograph.source, f"the file states {ADULT_MONTHS // 12} years or more")
    return None


def check_picture(radiograph: Radiograph, limits: Limits, original: Original | None = None) -> Refusal | None:
    """too-small, too-dark, not-a-radiograph. `original` holds the radiograph's pixels where it is there already."""
    if IN_COLOUR in radiograph.warnings:
        return refuse("not-a-radiograph", radiograph.source, "most of it is coloured")
    picture = measure(original or radiograph.pixels_HW)
    code, got = judge_picture(picture, limits)
    return refuse(code, radiograph.source, got) if code else None


def judge_picture(picture: Picture, limits: Limits) -> tuple[str, str]:
    """The first code that applies and what was measured; ("", "") where none does."""
    oddness = limits.usual.oddness(picture)
    if picture.long_side < limits.long_side:
        return "too-small", f"{picture.long_side:.0f} pixels on the long side, {limits.long_side:.0f} are needed"
    if picture.levels < limits.levels:
        return "too-dark", f"{picture.levels:.0f} grey values in use, {limits.levels:.0f} are needed"
    if oddness > limits.oddness:
        return "not-a-radiograph", f"its looks are {oddness:.1f} from the usual, at most {limits.oddness:.1f} pass"
    return "", ""


def judge_reading(found: Found, limits: Limits) -> tuple[str, str]:
    """The first code that applies to a reading and what was measured; ("", "") where none does."""
    hidden = found.hidden(limits.found)
    if found.surety < limits.surety:
        return "not-a-hand", f"mean score {found.surety:.2f}, at least {limits.surety:.2f} is needed"
    if found.misfit > limits.misfit:
        return "implausible-regions", f"misfit {found.misfit:.1f}, at most {limits.misfit:.1f} passes"
    if found.stretch > limits.stretch:
        return "implausible-regions", f"stretched {found.stretch:.1f} times, at most {limits.stretch:.1f} passes"
    if found.outside > limits.outside:
        return "cropped", "the wrist or fingertips would lie beyond the edge"
    if hidden > limits.hidden:
        return "hidden-regions", f"{hidden} of {len(found.scores_R)} regions not seen, at most {limits.hidden:.0f} pass"
    if found.disagreement > limits.disagreement:
        return (
            "age-disagreement",
            f"{found.disagreement:.0f} months apart, at most {limits.disagreement:.0f} pass",
        )
    return "", ""


def check_reading(found: Found, limits: Limits, name: str) -> Refusal | None:
    """not-a-hand, implausible-regions, cropped, hidden-regions, age-disagreement."""
    code, got = judge_reading(found, limits)
    return refuse(code, name, got) if code else None
