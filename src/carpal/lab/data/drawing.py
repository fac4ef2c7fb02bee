"""A drawn hand at an age: where its joints lie, which bones show and how wide, and how it all becomes grey as on film.

Everything is in the hand's own frame: origin at the wrist, x towards the thumb, y towards the fingertips, unit = the
distance from the wrist to the third MCP joint. A `Film` knows where each of its pixels lies in that frame; grey is the
thickness of soft tissue and of bone along the ray. The joints are the rounded average of a few hundred hands, moved a
little by chance.

When bones appear, widen and fuse is a timetable in months. Its ages are rounded textbook averages, general knowledge of
the kind that the atlas of Greulich and Pyle and the digital atlas of Gilsanz and Ratib summarise (carpal centres
capitate to pisiform; epiphyses from the proximal phalanges outwards; fusion from the distal phalanges to the radius).
They are not copied from either book, they carry no spread between children, and they are good for drawings only:
nothing here may be used to read an age from a real radiograph.

Letters: H height, W width of the film (already supersampled).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.types import Sex

Array = NDArray[np.float64]
Profile = Callable[[Array], Array]
"""Half width of a bone at u, the share of its length."""


class Film:
    """Two maps of thickness: `bone_HW` adds up, `soft_HW` is a rounded union (so that the palm is one body)."""

    ROUNDNESS = 6

    def __init__(self, height: int, width: int, to_hand_23: Array) -> None:
        """`to_hand_23` is a similarity: (x, y, 1) in pixels to the hand's frame."""
        y, x = np.mgrid[0:height, 0:width] + 0.5
        self._at_HW2 = np.stack([x, y, np.ones_like(x)], axis=-1) @ to_hand_23.T
        self.bone_HW = np.zeros((height, width))
        self._soft_HW = np.zeros((height, width))
        self._to_pixels_22 = np.linalg.inv(to_hand_23[:, :2])
        self._origin_2 = to_hand_23[:, 2]

    @property
    def soft_HW(self) -> Array:
        """Thickness of the soft tissue."""
        return np.asarray(self._soft_HW ** (1 / self.ROUNDNESS))

    def flesh(self, start: Array, end: Array, radius_start: float, radius_end: float, thickness: float = 1.0) -> None:
        """A capsule that tapers; `thickness` flattens it."""
        window = self._window((start + end) / 2, float(np.hypot(*(end - start))) / 2 + max(radius_start, radius_end))
        along, across, length = self._local(window, start, end)
        share = np.clip(along / length, 0, 1)
        radius = radius_start + share * (radius_end - radius_start)
        distance2 = (along - share * length) ** 2 + across**2
        depth = thickness * np.sqrt(np.clip(radius**2 - distance2, 0, None))
        self._soft_HW[window] += depth**self.ROUNDNESS

    def tube(self, start: Array, end: Array, profile: Profile, cortex: float, weight: float = 1.0) -> None:
        """A hollow bone from start to end: bright cortex, thickest in the middle, and spongy ends."""
        length = float(np.hypot(*(end - start)))
        window = self._window((start + end) / 2, length / 2 + 0.2)
        along, across, _ = self._local(window, start, end)
        u = along / length
        outer = np.where((u > 0) & (u < 1), profile(np.clip(u, 0, 1)), 0.0)
        middle = 1 - (2 * np.clip(u, 0, 1) - 1) ** 2
        inner = np.clip(outer - cortex * (0.25 + 0.75 * middle**2), 0, None)
        spongy = 0.46 - 0.3 * middle
        self.bone_HW[window] += weight * (_chord(outer, across) - (1 - spongy) * _chord(inner, across))

    def nodule(
        self, centre: Array, axis: Array, half: tuple[float, float], power: float = 2.4, weight: float = 1.0
    ) -> None:
        """A short bone or an epiphysis: a rounded box, `half` = (along axis, across it), with a thin bright rim."""
        window = self._window(centre, 1.5 * max(half))
        along, across, _ = self._local(window, centre, centre + axis)
        radius = (np.abs(along / half[0]) ** power + np.abs(across / half[1]) ** power) ** (1 / power)
        solid = np.sqrt(np.clip(1 - radius**2, 0, None))
        spongy = np.sqrt(np.clip(1 - (radius / 0.84) ** 2, 0, None))
        self.bone_HW[window] += weight * 2 * min(0.075, float(np.mean(half))) * (solid - 0.45 * spongy)

    def _window(self, centre: Array, radius: float) -> tuple[slice, slice]:
        x, y = self._to_pixels_22 @ (centre - self._origin_2)
        reach = radius * np.sqrt(abs(np.linalg.det(self._to_pixels_22))) + 2
        height, width = self.bone_HW.shape
        return (
            slice(int(np.clip(y - reach, 0, height)), int(np.clip(y + reach, 0, height))),
            slice(int(np.clip(x - reach, 0, width)), int(np.clip(x + reach, 0, width))),
        )

    def _local(self, window: tuple[slice, slice], start: Array, end: Array) -> tuple[Array, Array, float]:
        length = float(np.hypot(*(end - start)))
        axis = (end - start) / length
        offset_HW2 = self._at_HW2[window] - start
        return offset_HW2 @ axis, offset_HW2 @ np.array([-axis[1], axis[0]]), length


def _chord(radius: Array, across: Array) -> Array:
    return np.asarray(2 * np.sqrt(np.clip(radius**2 - across**2, 0, None)))


def shaft(base: float, head: float, waist: float, round_base: float, round_head: float) -> Profile:
    """Profile of a long bone: half widths at both ends, a waist between, ends rounded over a share of the length."""

    def profile(u: Array) -> Array:
        half = (base + (head - base) * u) * (1 - waist * np.sin(np.pi * u) ** 1.3)
        near_base = np.clip(1 - u / round_base, 0, 1)
        near_head = np.clip(1 - (1 - u) / round_head, 0, 1)
        return np.asarray(half * np.sqrt(1 - near_base**2) * np.sqrt(1 - near_head**2))

    return profile


def marker(
    pixels_HW: NDArray[np.uint8], letter: str, corner: tuple[int, int], size: int, grey: int
) -> NDArray[np.uint8]:
    """The film with a lead letter L or R, drawn in strokes so that no font decides how it looks."""
    from PIL import Image, ImageDraw

    strokes: dict[str, list[tuple[float, float]]] = {
        "L": [(0.1, 0.0), (0.1, 1.0), (0.6, 1.0)],
        "R": [(0.1, 1.0), (0.1, 0.0), (0.5, 0.05), (0.6, 0.25), (0.5, 0.48), (0.1, 0.5), (0.6, 1.0)],
    }
    image = Image.fromarray(pixels_HW)
    path = [(corner[0] + size * x, corner[1] + size * y) for x, y in strokes[letter]]
    ImageDraw.Draw(image).line(path, fill=grey, width=max(1, size // 6))
    return np.asarray(image)


def blur(map_HW: NDArray[Any], sigma: float) -> Array:
    """Gaussian blur, edges repeated."""
    reach = max(1, int(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    blurred = np.asarray(map_HW, np.float64)
    for axis in (0, 1):
        size = blurred.shape[axis]
        padded = np.pad(blurred, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        blurred = sum(tap * padded.take(range(i, i + size), axis=axis) for i, tap in enumerate(taps))
    return np.asarray(blurred)


JOINTS: Final[dict[str, tuple[float, float]]] = {
    "MCP1": (0.64, 0.52), "MCP2": (0.31, 0.99), "MCP3": (0.0, 1.0), "MCP4": (-0.26, 0.92), "MCP5": (-0.49, 0.78),
    "PIP1": (0.90, 0.84), "PIP2": (0.44, 1.53), "PIP3": (0.02, 1.62), "PIP4": (-0.36, 1.48), "PIP5": (-0.70, 1.18),
    "DIP2": (0.52, 1.85), "DIP3": (0.03, 1.99), "DIP4": (-0.42, 1.83), "DIP5": (-0.82, 1.42),
    "Radius": (0.06, -0.30), "Ulna": (-0.27, -0.32), "Wrist": (0.0, 0.0),
}  # fmt: skip
BASES: Final = {1: (0.30, 0.19), 2: (0.16, 0.32), 3: (0.03, 0.33), 4: (-0.10, 0.30), 5: (-0.22, 0.25)}
"""The carpometacarpal joints."""
TIP_LENGTH: Final = {1: 0.32, 2: 0.24, 3: 0.26, 4: 0.25, 5: 0.22}
GIRTH: Final = {1: 1.12, 2: 1.0, 3: 1.03, 4: 0.96, 5: 0.88}
"""Half widths of a digit's bones against the mean digit's."""
CARPALS: Final[dict[str, tuple[float, float, float, float, float]]] = {
    "capitate": (0.00, 0.12, 0.165, 0.105, 0),
    "hamate": (-0.165, 0.095, 0.135, 0.110, 15),
    "triquetrum": (-0.245, -0.06, 0.075, 0.095, 25),
    "lunate": (-0.055, -0.135, 0.085, 0.105, 5),
    "scaphoid": (0.145, -0.075, 0.135, 0.085, -38),
    "trapezium": (0.265, 0.085, 0.090, 0.105, -35),
    "trapezoid": (0.150, 0.185, 0.085, 0.075, -10),
    "pisiform": (-0.275, -0.045, 0.070, 0.058, 0),
}
"""Of a grown carpal bone: centre x, y, half length, half breadth, and the tilt of its length in degrees."""


FLAT = 0.6
"""The forearm's bones are this share as deep as they are wide."""


@dataclass(frozen=True)
class Pose:
    """A hand without bones: joints by region name, fingertips and metacarpal bases by digit."""

    joints: dict[str, Array]
    tips: dict[int, Array]
    bases: dict[int, Array]

    def points(self) -> Array:
        """The 17 regions' centres (17, 2) in the order of `anatomy.REGIONS`."""
        return np.array([self.joints[name] for name in REGIONS])

    def chain(self, digit: int) -> list[Array]:
        """Joints of a digit from its carpometacarpal joint to its tip."""
        names = [f"{kind}{digit}" for kind in ("MCP", "PIP", "DIP") if f"{kind}{digit}" in self.joints]
        return [self.bases[digit], *(self.joints[name] for name in names), self.tips[digit]]


def pose(random: np.random.Generator) -> Pose:
    """The mean hand with fingers spread, bent and stretched a little by chance."""
    joints = {name: np.array(at, float) for name, at in JOINTS.items()}
    bases, tips = {digit: np.array(at, float) for digit, at in BASES.items()}, {}
    spread, stretch = random.normal(0, 0.035), random.normal(1, 0.03)
    for digit in range(1, 6):
        chain = [f"{kind}{digit}" for kind in ("MCP", "PIP", "DIP") if f"{kind}{digit}" in joints]
        old = [joints[name].copy() for name in chain]
        old.append(old[-1] + TIP_LENGTH[digit] * _unit(old[-1] - old[-2]))
        turn = spread * (3 - digit) + random.normal(0, 0.09 if digit == 1 else 0.03)
        placed = [old[0] + random.normal(0, 0.008, 2)]
        for before, after in pairwise(old):
            turn += random.normal(0, 0.02)
            placed.append(placed[-1] + stretch * random.normal(1, 0.015) * _turned(after - before, turn))
        joints.update(zip(chain, placed, strict=False))
        tips[digit] = placed[-1]
    return Pose(joints, tips, bases)


def draw_flesh(film: Film, hand: Pose, months: float, sex: Sex) -> None:
    """The soft tissue: fingers, palm, forearm. Small children are plump."""
    plump = 1.18 - 0.2 * growth(months, sex)
    wrist, elbow = np.array([-0.08, -0.25]), np.array([-0.14, -2.6])
    for digit in range(1, 6):
        chain = hand.chain(digit)
        girth = 0.145 * GIRTH[digit] * plump
        for i, (start, end) in enumerate(pairwise(chain[1:])):
            film.flesh(start, end, girth * (1.08 - 0.1 * i), girth * (0.98 - 0.1 * i))
        film.flesh(wrist, chain[1], 0.30, 0.21 if digit > 1 else 0.17, 0.9)
    film.flesh(hand.bases[1], hand.joints["MCP2"], 0.25, 0.15, 0.8)
    film.flesh(np.array([-0.08, -0.1]), wrist, 0.36, 0.34, 0.9)
    film.flesh(wrist, elbow, 0.33 * plump, 0.52 * plump, 0.9)


def draw_bones(film: Film, hand: Pose, months: float, sex: Sex) -> None:
    """Every bone that has ossified at this age."""
    robust = 0.9 + 0.1 * growth(months, sex)
    for digit in range(1, 6):
        kinds = ("metacarpal", "proximal", "distal") if digit == 1 else ("metacarpal", "proximal", "middle", "distal")
        halves = {"metacarpal": 0.098, "proximal": 0.090, "middle": 0.076, "distal": 0.068}
        chain = hand.chain(digit)
        for kind, start, end in zip(kinds, chain, chain[1:], strict=False):
            half = halves[kind] * GIRTH[digit] * robust
            head_first = kind == "metacarpal" and digit > 1  # its growth plate is at the far end
            near, far = (end, start) if head_first else (start, end)
            _long_bone(film, f"{kind}{digit}", near, far, half, months, sex)
    _forearm(film, hand, months, sex)
    _carpals(film, hand, months, sex)
    if has_sesamoid(months, sex):
        at = hand.joints["MCP1"] + [-0.085, 0.01]
        film.nodule(at, np.array([0.0, 1.0]), (0.032, 0.026), power=2)


def _long_bone(film: Film, name: str, near: Array, far: Array, half: float, months: float, sex: Sex) -> None:
    """A bone whose growth plate lies at `near`: epiphysis, plate, shaft; what is fused is drawn as one piece."""
    kind, grown = name.rstrip("12345"), growth(months, sex)
    axis, length = _unit(far - near), float(np.hypot(*(far - near)))
    state = epiphysis(name, months, sex)
    space = 0.012 + 0.008 * (1 - grown)
    thickness = half * (0.9 if kind == "metacarpal" else 0.62)
    gap = 0.022 * (state.gap if state else 1.0)
    far_space = 0.0 if kind == "distal" else space + 0.022 * (1 - grown) ** 2
    fused = state.fused if state else 0.0
    waist = 0.26 + 0.14 * grown
    head = {"distal": 0.62, "metacarpal": 0.95 if name != "metacarpal1" else 1.0}.get(kind, 0.84) * half
    end = far - far_space * axis

    def piece(begin: float, round_base: float, weight: float) -> None:
        if weight > 0:
            size = length - begin - far_space
            profile = shaft(half, head, waist, round_base / size, 0.7 * head / size)
            film.tube(near + begin * axis, end, profile, 0.36 * half, weight)

    piece(space + thickness + gap, 0.25 * half, 1 - fused)
    piece(space, (0.75 if kind == "metacarpal" else 0.3) * half, fused)
    if state and fused < 1:
        deep = thickness * min(1.0, 0.3 + 0.7 * state.width)
        centre = near + (space + thickness / 2) * axis
        power = 2.0 + 0.8 * min(1.0, state.width)
        film.nodule(centre, axis, (deep / 2, half * state.width), power, 1 - fused)


def _forearm(film: Film, hand: Pose, months: float, sex: Sex) -> None:
    grown = growth(months, sex)
    for name, half, lean in (("radius", 0.185, 0.03), ("ulna", 0.105, 0.02)):
        joint = hand.joints[name.capitalize()]
        axis = _unit(np.array([lean if name == "ulna" else -lean, -1.0]))
        state = epiphysis(name, months, sex)
        fused = state.fused if state else 0.0
        thickness = 0.085 if name == "radius" else 0.075
        gap = 0.035 * (state.gap if state else 1.0)
        elbow = joint + 2.6 * axis
        metaphysis = joint + (thickness / 2 + gap) * axis
        narrow = (0.55 + 0.05 * (1 - grown)) * half

        def profile(u: Array, half: float = half, narrow: float = narrow) -> Array:
            flare = np.exp(-u / 0.085)
            end = np.clip(1 - u / 0.012, 0, 1)
            return np.asarray((narrow + (half - narrow) * flare) * np.sqrt(1 - end**2))

        film.tube(metaphysis, elbow, profile, 0.045, FLAT * (1 - fused))
        if fused > 0:
            film.tube(joint - thickness / 2 * axis, elbow, profile, 0.045, FLAT * fused)
        if state and fused < 1:
            deep = thickness * min(1.0, 0.35 + 0.65 * state.width)
            tilt = _turned(axis, 0.12 if name == "radius" else -0.1)
            film.nodule(joint, tilt, (deep / 2, half * min(state.width, 1.05)), 2.0 + min(1.0, state.width), 1 - fused)
        if grown > 0.5:  # the styloid process
            side = half * 0.72 if name == "radius" else -half * 0.7
            size = 0.02 + 0.07 * (grown - 0.5)
            film.nodule(joint + np.array([side, 0.45 * thickness]), axis, (size, 0.7 * size), 2, 0.6)


def _carpals(film: Film, hand: Pose, months: float, sex: Sex) -> None:
    for name, (x, y, long, broad, tilt) in CARPALS.items():
        size = 1.06 * carpal_size(name, months, sex)
        if size > 0:
            axis = _turned(np.array([0.0, 1.0]), np.radians(tilt))
            round_ = (long + broad) / 2 * 0.9
            half = (size * (round_ + (long - round_) * size), size * (round_ + (broad - round_) * size))
            film.nodule(hand.joints["Wrist"] + [x, y], axis, half, 2 + 0.4 * size)


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.hypot(*vector))


def _turned(vector: Array, radians: float) -> Array:
    cos, sin = np.cos(radians), np.sin(radians)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


Months = tuple[float, float]
"""An age in months for girls, then for boys. Girls are never later."""

CARPAL_CENTRES: Final[dict[str, Months]] = {
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
    return tuple(name for name, ages in CARPAL_CENTRES.items() if months >= _at(ages, sex))


def carpal_size(name: str, months: float, sex: Sex) -> float:
    """Diameter of a carpal centre as a share of the adult bone's: 0 before it appears, then 0.25 rising to 1."""
    share = _share(months, _at(CARPAL_CENTRES[name], sex), _at(CARPAL_MATURE, sex))
    return 0.0 if months < _at(CARPAL_CENTRES[name], sex) else 0.25 + 0.75 * share**0.65


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
