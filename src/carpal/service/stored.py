"""Results as the queue keeps them: everything, unrounded, so that every form of report can be made of it later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from carpal.types import Assessment, BothSexes, Box, Interval, ModelId, Refusal, Region, Result, Score, Sex


def to_plain(results: Sequence[Result]) -> dict[str, Any]:
    """The results of a frame, one for each hand, as what JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps({"hands": [asdict(result) for result in results]}))
    return plain


def from_plain(plain: dict[str, Any], image: str) -> tuple[Result, ...]:
    """The results that `to_plain` was given, of the image that is called so.

    Keys that this version does not know are left out; what version 0.2.0 kept, one assessment, is read too.
    """
    return tuple(renamed(_result(hand), image) for hand in plain.get("hands", [plain]))


def renamed(result: Result, image: str) -> Result:
    """The result with another name of its image."""
    if isinstance(result, BothSexes):
        return BothSexes(replace(result.female, image=image), replace(result.male, image=image))
    return replace(result, image=image)


def _result(plain: dict[str, Any]) -> Result:
    if "female" in plain:
        return BothSexes(_assessment(plain["female"]), _assessment(plain["male"]))
    return _assessment(plain)


def _assessment(plain: dict[str, Any]) -> Assessment:
    known = {field.name for field in fields(Assessment)}
    values = {name: value for name, value in plain.items() if name in known}
    return Assessment(
        **values
        | {
            "sex": Sex(plain["sex"]),
            "regions": tuple(Region(**region | {"box": Box(**region["box"])}) for region in plain["regions"]),
            "model": ModelId(**plain["model"]),
            "probabilities": tuple(plain["probabilities"]),
            "warnings": tuple(plain["warnings"]),
            "refused": Refusal(**plain["refused"]) if plain["refused"] else None,
            "growth": Score(**plain["growth"]) if plain.get("growth") else None,
            "interval": Interval(**plain["interval"]) if plain["interval"] else None,
        }
    )
