"""Hands that lack a part or have something over it: still hands, but none whose age should be trusted as another's.

They are made from annotated radiographs, fingers up, to see what a refusal makes of them. No limit is fitted on them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from carpal.anatomy import INDEX
from carpal.imaging.preprocess import is_inverted
from carpal.trust.negatives import FINGERS

KINDS: Final = ("cut wrist", "cut fingertips", "cast", "splint", "metal")
OPACITY: Final = {"cast": 0.5, "splint": 0.8, "metal": 1.0}
SMALLEST: Final = 32
Line = tuple[NDArray[np.float64], NDArray[np.float64]]


def spoil(pixels_HW: NDArray[Any], points_R3: NDArray[np.float64], kind: str, digit: int = 3) -> NDArray[Any] | None:
    """The hand after one of `KINDS`; None where points (x, y, v, in its pixels) lack or too little would be left.

    "cut wrist" ends above the carpals, "cut fingertips" begins below the longest finger's DIP. A cast lies around the
    forearm from the carpals down, half transparent; a splint along finger `digit`; metal is a plate along the radius
    and a pin through that finger. Type and range stay.
    """
    names = ("Radius", "Ulna", "Wrist", "DIP3", *FINGERS[digit])
    chosen_N3 = points_R3[[INDEX[name] for name in names]]
    if not (chosen_N3[:, 2] > 0).all():
        return None
    at = dict(zip(names, chosen_N3[:, :2], strict=True))
    length = float(np.ptp(points_R3[points_R3[:, 2] > 0, 1]))
    wrist = max(0, round(min(float(at[name][1]) for name in ("Radius", "Ulna", "Wrist")) - 0.04 * length))
    if kind in ("cut wrist", "cut fingertips"):
        below_tips = max(0, round(float(at["DIP3"][1]) + 0.03 * length))
        left_HW = pixels_HW[:wrist] if kind == "cut wrist" else pixels_HW[below_tips:]
        return left_HW if min(left_HW.shape) >= SMALLEST else None
    mcp, pip, dip = (at[name] for name in FINGERS[digit])
    down = np.array([0, length])
    lines: dict[str, list[Line]] = {
        "cast": [],
        "splint": [(mcp, dip - 0.08 * down)],
        "metal": [(at["Radius"] - 0.06 * down, at["Radius"] + 0.25 * down), (mcp, pip)],
    }
    covered = Image.new("L", pixels_HW.shape[::-1], 0)
    canvas = ImageDraw.Draw(covered)
    if kind == "cast":
        sides = [float(at[name][0]) + way * 0.2 * length for name in ("Radius", "Ulna") for way in (-1, 1)]
        canvas.rectangle((min(sides), wrist, max(sides), pixels_HW.shape[0]), fill=255)
    for start, end in lines[kind]:
        ends = [(float(x), float(y)) for x, y in (start, end)]
        canvas.line(ends, fill=255, width=max(2, round((0.03 if kind == "metal" else 0.07) * length)))
    return cover(pixels_HW, np.asarray(covered.filter(ImageFilter.GaussianBlur(1))) / 255, OPACITY[kind])


def cover(pixels_HW: NDArray[Any], share_HW: NDArray[np.float64], opacity: float) -> NDArray[Any]:
    """Something opaque to X-rays over a share (0 to 1) of each pixel, as bright as the brightest bone, a little grainy.

    Of a negative it is the darkest.
    """
    low, high = float(pixels_HW.min()), float(pixels_HW.max())
    grain_HW = np.random.default_rng(0).normal(0, 0.02 * (high - low), pixels_HW.shape)
    opaque = low if is_inverted(pixels_HW) else high
    laid_HW = share_HW * opacity
    mixed_HW = np.clip((1 - laid_HW) * pixels_HW + laid_HW * (opaque + grain_HW), low, high)
    covered_HW: NDArray[Any] = (mixed_HW if pixels_HW.dtype.kind == "f" else np.rint(mixed_HW)).astype(pixels_HW.dtype)
    return covered_HW
