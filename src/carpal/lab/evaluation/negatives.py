"""Pictures that are no hand, drawn: what the limits of a refusal are fitted on besides real pictures.

Each family is a function of a random generator and returns uint8, H x W. `cut` makes other anatomies out of annotated
hands: one finger, a forearm, a palm without fingers, fingers without a palm.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from carpal.anatomy import INDEX

Grey = NDArray[np.uint8]
WORDS: Final = ("the", "quick", "brown", "fox", "reads", "no", "bone", "age", "from", "a", "page", "0123456789")


def _size(rng: np.random.Generator) -> tuple[int, int]:
    """Height and width, as portrait, square or landscape."""
    long, aspect = int(rng.integers(300, 700)), float(rng.uniform(0.6, 1.0))
    height, width = long, max(64, round(long * aspect))
    return (width, height) if rng.random() < 0.3 else (height, width)


def _to_grey(values_HW: NDArray[Any]) -> Grey:
    low, high = float(values_HW.min()), float(values_HW.max())
    return np.rint((values_HW - low) / max(high - low, 1e-9) * 255).astype(np.uint8)


def white_noise(rng: np.random.Generator) -> Grey:
    """Independent pixels."""
    return _to_grey(rng.normal(size=_size(rng)))


def natural_noise(rng: np.random.Generator) -> Grey:
    """Random phases with the falling spectrum of photographs, amplitude 1/f^a with a from 0.8 to 2."""
    height, width = _size(rng)
    frequency_HW = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency_HW[0, 0] = 1
    shape = frequency_HW.shape
    spectrum_HW = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / frequency_HW ** rng.uniform(0.8, 2.0)
    return _to_grey(np.fft.irfft2(spectrum_HW, s=(height, width)))


def gradient(rng: np.random.Generator) -> Grey:
    """A ramp in any direction, straight or round, with a little noise."""
    height, width = _size(rng)
    y_HW, x_HW = np.mgrid[0:height, 0:width] / max(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    ramp_HW = np.cos(angle) * x_HW + np.sin(angle) * y_HW
    if rng.random() < 0.5:
        ramp_HW = np.hypot(x_HW - rng.uniform(0, 1), y_HW - rng.uniform(0, 1))
    return _to_grey(ramp_HW + rng.normal(scale=0.01, size=ramp_HW.shape))


def stripes(rng: np.random.Generator) -> Grey:
    """A grating or a chessboard."""
    height, width = _size(rng)
    y_HW, x_HW = np.mgrid[0:height, 0:width]
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 120)
    wave_HW = np.sin(2 * np.pi * (x_HW * np.cos(angle) + y_HW * np.sin(angle)) / period)
    if rng.random() < 0.5:
        wave_HW = np.sign(wave_HW * np.sin(2 * np.pi * (y_HW * np.cos(angle) - x_HW * np.sin(angle)) / period))
    return _to_grey(wave_HW + rng.normal(scale=rng.uniform(0, 0.3), size=wave_HW.shape))


def text(rng: np.random.Generator) -> Grey:
    """A page of words, dark on bright or bright on dark."""
    height, width = _size(rng)
    ink, paper = (230, 15) if rng.random() < 0.5 else (20, 240)
    page = Image.new("L", (width, height), paper)
    canvas, size = ImageDraw.Draw(page), int(rng.integers(10, 40))
    for y in range(5, height, round(size * 1.4)):
        line = " ".join(rng.choice(WORDS, 20))
        canvas.text((5, y), line, fill=ink, font=ImageFont.load_default(size))
    return np.asarray(page)


def blobs(rng: np.random.Generator) -> Grey:
    """Soft bright ellipses on a dark ground, as organs in a section or cells under a microscope."""
    height, width = _size(rng)
    page = Image.new("L", (width, height), int(rng.integers(0, 40)))
    canvas = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(1, 25))):
        x, y, a, b = rng.uniform(0, width), rng.uniform(0, height), *rng.uniform(10, width / 3, 2)
        canvas.ellipse((x - a, y - b, x + a, y + b), fill=int(rng.integers(40, 255)))
    soft = page.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 8))))
    return _to_grey(np.asarray(soft) + rng.normal(scale=rng.uniform(1, 12), size=(height, width)))


def tubes(rng: np.random.Generator) -> Grey:
    """Bright tubes with thicker ends on a dark ground, in any direction: long bones, but no hand."""
    height, width = _size(rng)
    page = Image.new("L", (width, height), 8)
    canvas = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(1, 8))):
        ends = rng.uniform(0, [width, height], (2, 2))
        thick = int(rng.integers(12, max(14, width // 6)))
        canvas.line([tuple(map(float, end)) for end in ends], fill=int(rng.integers(110, 230)), width=thick)
        for x, y in ends:
            canvas.ellipse((x - thick, y - thick, x + thick, y + thick), fill=int(rng.integers(110, 240)))
    soft = page.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 6))))
    return _to_grey(np.asarray(soft) + rng.normal(scale=4, size=(height, width)))


def boxes(rng: np.random.Generator) -> Grey:
    """Overlapping rectangles with sharp edges: screens, buildings, diagrams."""
    height, width = _size(rng)
    page_HW = np.full((height, width), rng.integers(0, 255), float)
    for _ in range(int(rng.integers(3, 40))):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        page_HW[y : y + int(rng.integers(5, height)), x : x + int(rng.integers(5, width))] = rng.integers(0, 255)
    return _to_grey(page_HW + rng.normal(scale=rng.uniform(0, 10), size=page_HW.shape))


FAMILIES: Final[dict[str, Callable[[np.random.Generator], Grey]]] = {
    family.__name__: family for family in (white_noise, natural_noise, gradient, stripes, text, blobs, tubes, boxes)
}


def draw(family: str, seed: int) -> Grey:
    """One picture of a family; the same seed gives the same picture."""
    return FAMILIES[family](np.random.default_rng([seed, sorted(FAMILIES).index(family)]))


FINGERS: Final = {digit: (f"MCP{digit}", f"PIP{digit}", f"DIP{digit}") for digit in range(2, 6)}
CUTS: Final = ("finger", "forearm", "palm", "fingers")


def cut(pixels_HW: NDArray[Any], points_R3: NDArray[np.float64], kind: str, digit: int = 3) -> NDArray[Any] | None:
    """Another anatomy out of a hand whose points (x, y, v) stand in its pixels, fingers up; None where points lack."""
    names = {
        "finger": FINGERS[digit],
        "forearm": ("Radius", "Ulna", "Wrist"),
        "palm": ("MCP2", "MCP5", "Wrist", "Radius", "Ulna"),
        "fingers": ("PIP2", "PIP5", "DIP2", "DIP5", "DIP3"),
    }[kind]
    chosen_N3 = points_R3[[INDEX[name] for name in names]]
    visible_N3 = points_R3[points_R3[:, 2] > 0]
    if not (chosen_N3[:, 2] > 0).all():
        return None
    height, width = pixels_HW.shape
    (x1, y1), (x2, y2) = chosen_N3[:, :2].min(0), chosen_N3[:, :2].max(0)
    length = float(np.ptp(visible_N3[:, 1]))
    left, right, top, bottom = {
        "finger": (x1 - 0.07 * length, x2 + 0.07 * length, y1 - 0.12 * length, y2),
        "forearm": (0, width, min(y1, y2) + 0.02 * length, height),
        "palm": (x1 - 0.08 * length, x2 + 0.08 * length, y1, y2),
        "fingers": (x1 - 0.1 * length, x2 + 0.1 * length, 0, y2 + 0.03 * length),
    }[kind]
    piece_HW = pixels_HW[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))]
    return piece_HW if min(piece_HW.shape, default=0) >= 32 else None
