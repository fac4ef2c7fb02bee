"""Which studies are hands: the routes of the configuration against a few tags of the header.

Headers are often a little wrong, and a hand must not be lost by that: a modality that is missing follows from the class
of the object, of several the first counts, capitals or not; a body part fits where a wanted one is a word of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from carpal.imaging.header import CAPTURES, IMAGE_STORAGE
from carpal.service.config import Route

TAGS = ("Modality", "BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName", "ViewPosition")
DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName")
MODALITIES: Final = {
    **{
        f"{IMAGE_STORAGE}{end}": modality
        for end, modality in (("1", "CR"), ("1.1", "DX"), ("1.1.1", "DX"), ("12.2", "RF"))
    },
    **dict.fromkeys(CAPTURES, "SC"),
}
"""What an object is by its class, where it does not say so itself."""


def fits(header: Mapping[str, str], routes: Sequence[Route]) -> bool:
    """Whether any route wants this object. `header` maps the keywords of TAGS and SOPClassUID to their values, "" where
    missing, several with a backslash between them."""
    return any(_fits(header, route) for route in routes)


def _fits(header: Mapping[str, str], route: Route) -> bool:
    part = header.get("BodyPartExamined", "")[:256]
    described = [header.get(keyword, "")[:256] for keyword in DESCRIPTIONS]
    return (
        (not route.modality or _modality(header) in route.modality)
        and (not route.body_part or any(_is_word(wanted, part) for wanted in route.body_part))
        and (not route.description or any(re.search(route.description, text, re.IGNORECASE) for text in described))
    )


def _modality(header: Mapping[str, str]) -> str:
    """The first that is stated, in capitals; else the one of its class."""
    stated = (value.strip().upper() for value in header.get("Modality", "").split("\\"))
    return next((value for value in stated if value), MODALITIES.get(header.get("SOPClassUID", ""), ""))


def _is_word(wanted: str, part: str) -> bool:
    """Whether "HAND" is a word of "Left Hand" or "HAND_PA"; not of "HANDLE"."""
    return re.search(rf"(?<![^\W_]){re.escape(wanted)}(?![^\W_])", part, re.IGNORECASE) is not None
