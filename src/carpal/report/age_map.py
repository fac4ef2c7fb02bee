"""An explanation as a picture: the radiograph, each region coloured by how far its own age lies from the hand's.

Blue regions show a younger age than the hand, orange ones an older; the ring around a region is as thick as the age
changes when the region is masked.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from carpal.errors import ConfigError
from carpal.imaging.original import Original
from carpal.report import as_json, write_atomically
from carpal.report.text import details, line, years
from carpal.types import Explanation, Radiograph, Region

LONG_SIDE: Final = 1100
STRIP: Final = 104
YOUNGER, SAME, OLDER = (0, 114, 178), (235, 235, 235), (230, 159, 0)
"""Okabe-Ito colours: told apart by colour-blind readers too."""
FULL_COLOUR: Final = 24.0
"""Months of difference from which the colour does not change any more."""
THICKEST: Final = 14
MONTHS_A_PIXEL: Final = 0.5
CIRCLE: Final = 0.36
"""Radius of a region's circle as a share of its box: less than half, so that neighbours overlap less."""
PICTURE, VALUES = "age-map.png", "explanation.json"


def colour(difference: float) -> tuple[int, int, int]:
    """Blue for a region that is younger than the hand by 24 months or more, orange for an older one, white between."""
    share = min(abs(difference) / FULL_COLOUR, 1.0)
    end = OLDER if difference > 0 else YOUNGER
    mixed = [round(same + share * (full - same)) for same, full in zip(SAME, end, strict=True)]
    return mixed[0], mixed[1], mixed[2]


class _Mark:
    """A region's circle and text in pixels of the picture."""

    def __init__(self, region: Region, effect: float, scale: float) -> None:
        x, y = region.box.centre
        self.middle = x * scale, y * scale
        reach = CIRCLE * scale * (region.box.x2 - region.box.x1)
        self.circle = x * scale - reach, y * scale - reach, x * scale + reach, y * scale + reach
        self.thick = min(THICKEST, 2 + round(abs(effect) / MONTHS_A_PIXEL))
        self.months = region.months
        self.text = f"{region.name}\n{region.months:.0f} ({effect:+.1f})"


def draw(radiograph: Radiograph, explanation: Explanation) -> Image.Image:
    """The picture (RGB). A refused image is drawn without regions, with the reason above."""
    assessment, pixels_HW = explanation.assessment, radiograph.pixels_HW
    grey = Image.fromarray(Original(pixels_HW).bright.whole().astype("uint8"))
    scale = LONG_SIDE / max(grey.size)
    size = round(grey.width * scale), round(grey.height * scale)
    field = grey.resize((max(1, size[0]), max(1, size[1])), Image.Resampling.LANCZOS).convert("RGBA")
    tint = Image.new("RGBA", field.size, (0, 0, 0, 0))
    canvas = ImageDraw.Draw(tint)
    marks = [
        _Mark(region, effect, scale) for region, effect in zip(assessment.regions, explanation.effects, strict=True)
    ]
    for mark in marks:
        shade = colour(mark.months - (assessment.months or 0.0))
        canvas.ellipse(mark.circle, fill=(*shade, 90), outline=(*shade, 255), width=mark.thick)
    for mark in marks:
        font, black = ImageFont.load_default(15), (0, 0, 0, 255)
        canvas.text(mark.middle, mark.text, (255, 255, 255, 255), font, "mm", stroke_width=2, stroke_fill=black)
    return _with_title(Image.alpha_composite(field, tint).convert("RGB"), explanation)


def _with_title(field: Image.Image, explanation: Explanation) -> Image.Image:
    assessment = explanation.assessment
    width = max(field.width, 1040)
    picture = Image.new("RGB", (width, field.height + STRIP), (24, 28, 34))
    picture.paste(field, ((width - field.width) // 2, STRIP))
    canvas = ImageDraw.Draw(picture)
    if assessment.months is None:
        title = f"No age: {assessment.refused.code}" if assessment.refused else "No age"
    else:
        title = f"{years(assessment.months)} ({assessment.months:.1f} months), {assessment.sex}"
    note = (
        "region's own age in months (how much it adds to the result); blue younger, orange older than the hand. "
        "Not a medical device"
    )
    canvas.text((16, 22), title, fill=(245, 245, 245), font=ImageFont.load_default(28), anchor="lm")
    for y, text in ((56, ", ".join(details(assessment))), (84, note)):
        canvas.text((16, y), text, fill=(170, 176, 184), font=ImageFont.load_default(17), anchor="lm")
    return picture


def values(explanation: Explanation) -> dict[str, Any]:
    """The assessment's JSON entry with `effects`: region -> months that the age changes by when it is masked.

    `nearest` lists the training cases that are most alike.
    """
    assessment = explanation.assessment
    names = [region.name for region in assessment.regions]
    effects = dict(zip(names, np.round(explanation.effects, 3).tolist(), strict=True))
    near = [
        {"id": case.id, "months": case.months, "sex": str(case.sex), "distance": round(case.distance, 3)}
        for case in explanation.nearest
    ]
    return as_json.entry(assessment) | {"effects": effects, "nearest": near}


def lines(explanation: Explanation) -> str:
    """The assessment's line, and below it the regions, the one that matters most first."""
    assessment = explanation.assessment
    order = sorted(zip(assessment.regions, explanation.effects, strict=True), key=lambda pair: -abs(pair[1]))
    rows = [f"  {r.name:<7} own age {r.months:6.1f}   adds to the result {e:+.2f}" for r, e in order]
    near = [f"{case.id} ({case.months:.0f} months)" for case in explanation.nearest]
    rows += [f"  most alike of the {assessment.sex} training cases: {', '.join(near)}"] if near else []
    return "\n".join([line(assessment), *rows])


def write(out: Path, radiograph: Radiograph, explanation: Explanation) -> None:
    """Writes age-map.png and explanation.json into the folder `out`, made where it lacks. Raises ConfigError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} is no folder to write to - {error.strerror} - name another") from None
    buffer = io.BytesIO()
    draw(radiograph, explanation).save(buffer, format="PNG")
    write_atomically(out / PICTURE, buffer.getvalue())
    text = json.dumps(values(explanation), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / VALUES, text.encode())
