"""Assessments as JSON: a list of objects with fixed keys, one for each image, refused ones included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import carpal
from carpal.errors import CarpalError
from carpal.growth.reference import classify
from carpal.report import write_atomically
from carpal.types import Assessment, BothSexes, Interval, ModelId, Refusal, Region, Result, Score, Sex

KEYS: Final = (
    "image",
    "sex",
    "months",
    "interval",
    "regions",
    "warnings",
    "refused",
    "model",
    "carpal",
    "site",
    "growth",
)
"""The keys of an entry, in their order. Others rely on them: never rename one.

`side_in_image` follows for one of two hands in a frame, `by_sex` where the sex is unknown, and in `frame` `hands` where
there are two.
"""


def frame(results: Sequence[Result]) -> dict[str, Any]:
    """One image as one object: the hand's entry, or for two hands an object without an age, whose `hands` have them."""
    entries = [entry_of(result) for result in results]
    if len(entries) == 1:
        return entries[0]
    first = entries[0]
    refusals = [each["refused"] for each in entries]
    empty: dict[str, Any] = {"months": None, "interval": None, "regions": [], "site": None, "growth": None}
    warnings = list(dict.fromkeys(warning for each in entries for warning in each["warnings"]))
    refused = refusals[0] if all(refusals) else None
    whole = {key: first[key] for key in KEYS} | empty
    return whole | {"warnings": warnings, "refused": refused, "hands": entries}


def entry_of(result: Result) -> dict[str, Any]:
    """One hand's object, whether its sex is known or not."""
    return entry_of_both(result) if isinstance(result, BothSexes) else entry(result)


def entry(assessment: Assessment) -> dict[str, Any]:
    """One image's object. Boxes are [x1, y1, x2, y2] in pixels of the original, ages are months."""
    side = {} if assessment.side_in_image is None else {"side_in_image": assessment.side_in_image}
    values = _entry(
        image=assessment.image,
        sex=assessment.sex,
        months=None if assessment.months is None else round(assessment.months, 3),
        interval=_interval(assessment.interval),
        regions=[_region(region) for region in assessment.regions],
        warnings=list(assessment.warnings),
        refused=assessment.refused,
        model=assessment.model,
        site=_site(assessment),
        growth=_growth(assessment.growth),
    )
    return values | side


def entry_of_both(both: BothSexes) -> dict[str, Any]:
    """One image's object where the sex is unknown: `sex` and `months` are null, `by_sex` has an entry for either."""
    female, male = entry(both.female), entry(both.male)
    return female | {
        "sex": None,
        "months": None,
        "interval": None,
        "regions": [],
        "refused": female["refused"] and male["refused"],
        "site": None,
        "growth": None,
        "by_sex": {"female": female, "male": male},
    }


def refused_entry(image: str, sex: Sex | None, error: CarpalError, model: ModelId) -> dict[str, Any]:
    """The object of an image that could not be read: why, and no age. `sex` is None where nobody stated it."""
    refused = Refusal(error.code, str(error))
    return _entry(
        image=image, sex=sex, months=None, interval=None, regions=[], warnings=[], refused=refused, model=model
    )


def document(entries: Sequence[dict[str, Any]], ascii_only: bool = False) -> str:
    r"""The whole list as text, one line end at its end; bytes of a file name that are no UTF-8 as \udcfc and the like.

    `ascii_only` escapes all letters beyond ASCII, for an output whose encoding nobody knows.
    """
    text = json.dumps(list(entries), indent=2, ensure_ascii=ascii_only, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # only such bytes fail, and JSON escapes them alike


def write(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes the list to a file, whole or not at all. Raises ConfigError where that is not possible."""
    write_atomically(path, document(entries).encode())


def _entry(
    *,
    image: str,
    sex: Sex | None,
    months: float | None,
    interval: dict[str, float] | None,
    regions: list[dict[str, Any]],
    warnings: list[str],
    refused: Refusal | None,
    model: ModelId,
    site: dict[str, Any] | None = None,
    growth: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "image": image,
        "sex": None if sex is None else str(sex),
        "months": months,
        "interval": interval,
        "regions": regions,
        "warnings": warnings,
        "refused": None if refused is None else {"code": refused.code, "message": refused.message},
        "model": asdict(model),
        "carpal": carpal.__version__,
        "site": site,
        "growth": growth,
    }


def _site(assessment: Assessment) -> dict[str, Any] | None:
    """The hospital's calibration that gave `months` and `interval`, and the network's own age."""
    if assessment.raw_months is None:
        return None
    return {"calibration": assessment.site, "raw_months": round(assessment.raw_months, 3)}


def _growth(growth: Score | None) -> dict[str, Any] | None:
    """The comparison with children of the same age; its numbers are null outside the reference, `note` says why."""
    if growth is None:
        return None
    return {
        "reference": growth.reference,
        "citation": growth.citation,
        "chronological_months": growth.chronological_months,
        "mean_months": growth.mean,
        "sd_months": growth.sd,
        "z_score": growth.z,
        "maturity": None if growth.z is None else classify(growth.z),
        "note": growth.note or None,
    }


def _interval(interval: Interval | None) -> dict[str, float] | None:
    if interval is None:
        return None
    return {"low": round(interval.low, 3), "high": round(interval.high, 3), "coverage": interval.coverage}


def _region(region: Region) -> dict[str, Any]:
    box = region.box
    return {
        "name": region.name,
        "box": [round(side, 2) for side in (box.x1, box.y1, box.x2, box.y2)],
        "score": round(region.score, 4),
        "months": round(region.months, 3),
    }
