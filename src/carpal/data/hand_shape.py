"""Where the joints of a drawn hand lie, and the bones between them at a given age. Frame: see `drawing`.

The joints are the rounded average of a few hundred hands, moved a little by chance; the bones' states come from
`ossification`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from carpal.anatomy import REGIONS
from carpal.data import ossification as oss
from carpal.data.drawing import Array, Film, shaft
from carpal.types import Sex

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
    plump = 1.18 - 0.2 * oss.growth(months, sex)
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
    robust = 0.9 + 0.1 * oss.growth(months, sex)
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
    if oss.has_sesamoid(months, sex):
        at = hand.joints["MCP1"] + [-0.085, 0.01]
        film.nodule(at, np.array([0.0, 1.0]), (0.032, 0.026), power=2)


def _long_bone(film: Film, name: str, near: Array, far: Array, half: float, months: float, sex: Sex) -> None:
    """A bone whose growth plate lies at `near`: epiphysis, plate, shaft; what is fused is drawn as one piece."""
    kind, grown = name.rstrip("12345"), oss.growth(months, sex)
    axis, length = _unit(far - near), float(np.hypot(*(far - near)))
    state = oss.epiphysis(name, months, sex)
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
    grown = oss.growth(months, sex)
    for name, half, lean in (("radius", 0.185, 0.03), ("ulna", 0.105, 0.02)):
        joint = hand.joints[name.capitalize()]
        axis = _unit(np.array([lean if name == "ulna" else -lean, -1.0]))
        state = oss.epiphysis(name, months, sex)
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
        size = 1.06 * oss.carpal_size(name, months, sex)
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
