"""Whether an image gets an age: every code of a refusal, its sentence, the checks, and the thresholds that they go by.

Cheap checks of the image come first, then checks of what the network found in it. Every check either passes or names a
code of `REASONS`, the only list of them, with what was measured. The thresholds (`Limits`) depend on the weights, so
they stand in the weights' sidecar (`refusal`), where `carpal limits` writes them; weights without them refuse nothing
but adults and two hands. How well they separate is in docs/refusal.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from gettext import NullTranslations
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.errors import WeightsError
from carpal.imaging.intensity import Original
from carpal.imaging.raster import IN_COLOUR
from carpal.quality import hand_shape
from carpal.quality.ood import Picture, measure
from carpal.types import Radiograph, Refusal

LOOKS = ("air", "bone", "edge_air", "roughness", "peak", "fall")
"""The numbers of `picture.Picture` that `Usual` compares."""


@dataclass(frozen=True)
class Usual:
    """How radiographs of hands look: the mean of `LOOKS` (logarithms of roughness and peak) and their precision."""

    mean: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    """The inverse covariance."""

    def oddness(self, picture: Picture) -> float:
        """The Mahalanobis distance of a picture from the usual one: about 2.4 for a radiograph of a hand."""
        away = looks(picture) - np.array(self.mean)
        return float(np.sqrt(max(away @ np.array(self.precision) @ away, 0.0)))

    @classmethod
    def of(cls, pictures: list[Picture]) -> Usual:
        """Mean and covariance of these pictures; at least as many as numbers are needed."""
        looks_NF = np.array([looks(picture) for picture in pictures])
        covariance_FF = np.cov(looks_NF.T) + 1e-4 * np.eye(len(LOOKS))
        precision_FF = np.linalg.inv(covariance_FF)
        return cls(tuple(looks_NF.mean(0).round(5).tolist()), tuple(map(tuple, precision_FF.round(4).tolist())))


def looks(picture: Picture) -> NDArray[np.float64]:
    """The six numbers of a picture that are compared, those that spread over decades as logarithms."""
    values = picture.as_dict()
    values["roughness"], values["peak"] = (float(np.log(values[name] + 1e-3)) for name in ("roughness", "peak"))
    return np.array([values[name] for name in LOOKS])


@dataclass(frozen=True)
class Limits:
    """Beyond which number an image is refused; `reasons.REASONS` has the codes."""

    long_side: float
    """too-small below it: pixels."""
    levels: float
    """too-dark below it: grey values in use."""
    oddness: float
    """not-a-radiograph above it: `Usual.oddness`."""
    surety: float
    """not-a-hand below it: mean score of the regions."""
    misfit: float
    """implausible-regions above it: `shape.Fit.misfit`."""
    stretch: float
    """implausible-regions above it: `shape.Fit.stretch`."""
    outside: float
    """cropped above it: how far a region's or fingertip's place lies beyond the edge, in radii of the hand."""
    hidden: float
    """hidden-regions above it: regions whose score is below `found`."""
    found: float
    """Score from which a region counts as seen."""
    disagreement: float
    """age-disagreement above it: months between the age and the regions' median."""
    usual: Usual

    @classmethod
    def from_sidecar(cls, block: Mapping[str, Any], source: str) -> Limits | None:
        """The limits of a sidecar's `refusal`; None where it is empty. Raises WeightsError where it is broken."""
        if not block:
            return None
        try:
            usual = block["usual"]
            precision = tuple(tuple(float(value) for value in row) for row in usual["precision"])
            mean = tuple(float(value) for value in usual["mean"])
            numbers = {item.name: float(block[item.name]) for item in fields(cls) if item.name != "usual"}
            if len(mean) != len(LOOKS) or {len(mean), len(precision)} != {len(row) for row in precision} | {len(mean)}:
                raise ValueError(f"usual needs {len(LOOKS)} numbers")
            if not np.isfinite([*numbers.values(), *mean, *sum(precision, ())]).all():
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{source}: the sidecar's refusal limits cannot be used - {error!r} - fit them again with "
                "`carpal limits`"
            ) from error
        return cls(**numbers, usual=Usual(mean, precision))

    def as_dict(self) -> dict[str, Any]:
        """For the sidecar; `from_sidecar` reads it back."""
        numbers = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "usual"}
        return numbers | {"usual": {"mean": list(self.usual.mean), "precision": [*map(list, self.usual.precision)]}}


def N_(text: str) -> str:
    """gettext's name for a mark: the catalogues of `locale/` have this text, too."""
    return text


REASONS: Final = MappingProxyType(
    {
        "too-small": N_("the picture is too small to show growth plates. Give the radiograph itself, not its preview"),
        "too-dark": N_("the picture has almost no contrast. Export the radiograph with its full range of grey values"),
        "not-a-radiograph": N_(
            "this does not look like a radiograph. Give a radiograph of one hand, without photographs of the film, "
            "colour or text pages"
        ),
        "adult": N_("the patient is an adult. Bone age is defined for children only"),
        "two-hands": N_(
            "there is more than one hand in the picture. `carpal assess` reads two hands apart where it can; else crop "
            "the picture to one hand"
        ),
        "not-a-hand": N_("no hand was found. Give a posterior-anterior radiograph of one whole hand"),
        "cropped": N_("a part of the hand lies outside the picture. Give one that shows all fingers and the wrist"),
        "hidden-regions": N_(
            "regions that the age is read from cannot be seen. A cast, a splint or an implant must not cover the hand"
        ),
        "implausible-regions": N_(
            "the regions found do not lie to each other as in a hand. Give a posterior-anterior radiograph of one hand "
            "with its fingers spread"
        ),
        "age-disagreement": N_(
            "the hand as a whole and its single regions show different ages. Look at the radiograph: disease, a wrong "
            "projection or hidden bones can be the cause"
        ),
    }
)
"""Code -> what is wrong and what to do. Codes are for machines and never change."""


def refuse(code: str, name: str, got: str) -> Refusal:
    """The refusal of the image `name`: what is wrong, what was measured, what to do. KeyError for an unknown code."""
    wrong, _, mend = REASONS[code].partition(". ")
    return Refusal(code, f"{name}: {wrong} ({got}). {mend}")


def translated(refusal: Refusal, words: NullTranslations) -> str:
    """What is wrong and what to do, in the language of `words`; empty in English, where the message itself says it."""
    english = REASONS.get(refusal.code, "")
    said = words.gettext(english) if english else ""
    return "" if said == english else f"{said[0].upper()}{said[1:]}."


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
    fit = hand_shape.fit((boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2, scores_R)
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
