"""When the bones of the hand appear, widen and fuse: a timetable in months, for the drawn hands of `synthetic`.

The ages are rounded textbook averages, general knowledge of the kind that the atlas of Greulich and Pyle and the
digital atlas of Gilsanz and Ratib summarise (carpal centres capitate to pisiform; epiphyses from the proximal phalanges
outwards; fusion from the distal phalanges to the radius). They are not copied from either book, they carry no spread
between children, and they are good for drawings only: nothing here may be used to read an age from a real radiograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from carpal.types import Sex

Months = tuple[float, float]
"""An age in months for girls, then for boys. Girls are never later."""

CARPALS: Final[dict[str, Months]] = {
    "capitate": (2, 3),
    "hamate": (3, 4),
    "triquetrum": (21, 29),
    "lunate": (31, 49),
    "scaphoid": (49, 68),
    "trapezium": (50, 70),
    "trapezoid": (51, 74),
    "pisiform": (102, 126),
}
"""The eight carpal centres by age of appearance."""
CARPAL_MATURE: Final[Months] = (150, 174)
SESAMOID: Final[Months] = (132, 156)
"""The adductor sesamoid at the thumb's MCP joint."""

EPIPHYSES: Final[dict[str, Months]] = {
    **dict(
        zip(
            (f"proximal{digit}" for digit in range(1, 6)),
            ((20, 35), (11, 17), (10, 16), (11, 18), (14, 22)),
            strict=True,
        )
    ),
    **dict(
        zip(
            (f"metacarpal{digit}" for digit in range(1, 6)),
            ((19, 31), (13, 19), (14, 21), (15, 24), (17, 27)),
            strict=True,
        )
    ),
    **dict(zip((f"middle{digit}" for digit in range(2, 6)), ((16, 26), (15, 24), (15, 25), (23, 42)), strict=True)),
    **dict(
        zip(
            (f"distal{digit}" for digit in range(1, 6)), ((12, 18), (24, 38), (18, 29), (18, 29), (24, 39)), strict=True
        )
    ),
    "radius": (10, 13),
    "ulna": (65, 85),
}
"""The 21 epiphyses of the hand by age of appearance; a digit counts from the thumb."""

AS_WIDE_AS_SHAFT: Final[dict[str, Months]] = {
    "proximal": (84, 108),
    "middle": (90, 114),
    "distal": (88, 112),
    "metacarpal": (96, 120),
    "radius": (98, 122),
    "ulna": (126, 150),
}
CAPPING: Final[Months] = (144, 168)
FUSION: Final[dict[str, tuple[Months, Months]]] = {
    "distal": ((156, 180), (168, 192)),
    "metacarpal": ((160, 185), (174, 198)),
    "proximal": ((162, 187), (176, 200)),
    "middle": ((164, 189), (178, 202)),
    "ulna": ((174, 198), (194, 214)),
    "radius": ((180, 204), (206, 226)),
}
"""Fusion of the growth plate, (begins, done), in the order in which the kinds of bone close."""

CAP_WIDTH = 1.12
GAP_AT_FUSION = 0.4


@dataclass(frozen=True)
class Epiphysis:
    """One epiphysis that has appeared.

    width: its breadth as a share of the metaphysis, above 1 when it caps. gap: thickness of the growth plate as a share
    of a small child's, 0 when fused. fused: how much of the plate is bridged, 0..1.
    """

    width: float
    gap: float
    fused: float


def carpals(months: float, sex: Sex) -> tuple[str, ...]:
    """The carpal centres that are visible at this age, in their order of appearance."""
    return tuple(name for name, ages in CARPALS.items() if months >= _at(ages, sex))


def carpal_size(name: str, months: float, sex: Sex) -> float:
    """Diameter of a carpal centre as a share of the adult bone's: 0 before it appears, then 0.25 rising to 1."""
    share = _share(months, _at(CARPALS[name], sex), _at(CARPAL_MATURE, sex))
    return 0.0 if months < _at(CARPALS[name], sex) else 0.25 + 0.75 * share**0.65


def epiphysis(name: str, months: float, sex: Sex) -> Epiphysis | None:
    """The state of the epiphysis of a bone ("proximal3", "metacarpal1", "radius" ...), None before it appears."""
    appears, kind = _at(EPIPHYSES[name], sex), name.rstrip("12345")
    if months < appears:
        return None
    wide, capping = _at(AS_WIDE_AS_SHAFT[kind], sex), _at(CAPPING, sex)
    begins, done = (_at(ages, sex) for ages in FUSION[kind])
    width = 0.25 + 0.75 * _share(months, appears, wide) + (CAP_WIDTH - 1) * _share(months, wide, capping)
    fused = _share(months, begins, done)
    gap = (1 - (1 - GAP_AT_FUSION) * _share(months, appears, begins)) * (1 - fused)
    return Epiphysis(width, gap, fused)


def growth(months: float, sex: Sex) -> float:
    """How much of the way from birth to the adult skeleton is done, 0..1: for proportions that change slowly."""
    return _share(months, 0, FUSION["radius"][1][_column(sex)])


def has_sesamoid(months: float, sex: Sex) -> bool:
    """Whether the thumb's sesamoid shows."""
    return months >= _at(SESAMOID, sex)


def _column(sex: Sex) -> int:
    return 0 if sex is Sex.FEMALE else 1


def _at(ages: Months, sex: Sex) -> float:
    return ages[_column(sex)]


def _share(months: float, start: float, end: float) -> float:
    return min(1.0, max(0.0, (months - start) / (end - start)))
