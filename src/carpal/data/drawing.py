"""How a drawn hand becomes grey: thickness of soft tissue and of bone along the ray, as on film.

Everything is in the hand's own frame: origin at the wrist, x towards the thumb, y towards the fingertips, unit = the
distance from the wrist to the third MCP joint. A `Film` knows where each of its pixels lies in that frame.
Letters: H height, W width of the film (already supersampled).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
