"""Which studies are hands: the routes of the configuration against a few tags of the header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from carpal.service.config import Route

TAGS = ("Modality", "BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName", "ViewPosition")
DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName")


def fits(header: Mapping[str, str], routes: Sequence[Route]) -> bool:
    """Whether any route wants this object. `header` maps the keywords of TAGS to their values, "" where missing."""
    return any(_fits(header, route) for route in routes)


def _fits(header: Mapping[str, str], route: Route) -> bool:
    modality, part = header.get("Modality", "").strip(), header.get("BodyPartExamined", "").strip().upper()
    described = [header.get(keyword, "")[:256] for keyword in DESCRIPTIONS]
    return (
        (not route.modality or modality in route.modality)
        and (not route.body_part or part in {wanted.upper() for wanted in route.body_part})
        and (not route.description or any(re.search(route.description, text, re.IGNORECASE) for text in described))
    )
