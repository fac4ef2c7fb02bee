"""What a picture shows before any network reads it: eight numbers that tell radiographs of a hand from other pictures.

They are measured on a copy of at most 128 pixels, stretched and with bones bright as the network sees it, so that
polarity and contrast do not count; only `levels` looks at the grey values as they are stored.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from carpal.imaging.intensity import Source, as_original, different

SIDE: Final = 128
DARK, BRIGHT = 40, 170
"""Of 255 after the stretch: air lies below, bone above."""


@dataclass(frozen=True)
class Picture:
    """Shares and ratios without unit, of one picture."""

    long_side: float
    """Of the original, in pixels."""
    levels: float
    """Different grey values between the 1st and 99th percentile of the stored pixels."""
    air: float
    """Share of dark pixels."""
    bone: float
    """Share of bright pixels."""
    edge_air: float
    """Share of dark pixels along the left and right edge: a hand does not fill the picture's width."""
    roughness: float
    """Mean difference of neighbours over the standard deviation: noise is rough, gradients are smooth."""
    peak: float
    """99th percentile of the slope over its mean: text and diagrams are all edges or none."""
    fall: float
    """Exponent with which the spectrum's amplitude falls with frequency: 0 noise, about 1 photographs, 2 smooth."""

    def as_dict(self) -> dict[str, float]:
        """Names and values."""
        return asdict(self)


def measure(source: Source) -> Picture:
    """The numbers of a grey picture of any size and depth."""
    original = as_original(source)
    grey_HW = original.bright.thumbnail(SIDE, Image.Resampling.BILINEAR).astype(np.float64)
    slope_HW = np.hypot(*np.gradient(grey_HW))
    steps = [np.abs(np.diff(grey_HW, axis=axis)).mean() for axis in (0, 1)]
    rim = max(1, grey_HW.shape[1] // 20)
    edge = np.concatenate([grey_HW[:, :rim], grey_HW[:, -rim:]], axis=1)
    return Picture(
        long_side=float(max(original.pixels_HW.shape)),
        levels=float(different(original.pixels_HW, original.counts_L)),
        air=float((grey_HW < DARK).mean()),
        bone=float((grey_HW > BRIGHT).mean()),
        edge_air=float((edge < DARK).mean()),
        roughness=float(np.mean(steps) / max(grey_HW.std(), 1e-6)),
        peak=float(np.percentile(slope_HW, 99) / max(slope_HW.mean(), 1e-6)),
        fall=_fall(grey_HW),
    )


def _fall(grey_HW: NDArray[np.float64]) -> float:
    """Minus the slope of log amplitude over log frequency, by least squares 4 periods a side to half of Nyquist."""
    height, width = grey_HW.shape
    window_HW = np.outer(np.hanning(height), np.hanning(width))
    amplitude_HW = np.abs(np.fft.rfft2((grey_HW - grey_HW.mean()) * window_HW))
    frequency_HW = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    kept_HW = (frequency_HW > 4 / max(height, width)) & (frequency_HW < 0.25)
    if kept_HW.sum() < 8:
        return 0.0
    slope, _ = np.polyfit(np.log(frequency_HW[kept_HW]), np.log(amplitude_HW[kept_HW] + 1e-6), 1)
    return float(-slope)
