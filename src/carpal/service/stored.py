"""An assessment as the queue keeps it: everything, unrounded, so that every form of report can be made of it later."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import Any

from carpal.types import Assessment, Box, Interval, ModelId, Refusal, Region, Sex


def to_plain(assessment: Assessment) -> dict[str, Any]:
    """An assessment as what JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(assessment)))
    return plain


def from_plain(plain: dict[str, Any]) -> Assessment:
    """The assessment that `to_plain` was given. Keys that this version does not know are left out."""
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
            "interval": Interval(**plain["interval"]) if plain["interval"] else None,
        }
    )
