"""An assessment or an explanation as an image: the radiograph with its 17 regions.

The overlay names the regions, with the age above and the warning below. Names stand beside their boxes, never on one:
each looks for the nearest free place and is tied to its box by a line.

The age map colours each region by how far its own age lies from the hand's: blue regions show a younger age than the
hand, orange ones an older. The ring around a region is as thick as the age changes when the region is masked.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import carpal
from carpal.anatomy import COLOURS, group_of
from carpal.errors import ConfigError
from carpal.imaging.intensity import Original
from carpal.report import results, write_atomically
from carpal.report.text import details, one_line, span, years, z_score
from carpal.types import Assessment, BothSexes, Explanation, Radiograph, Region, Result

LONG_SIDE: Final = 1200
"""Long side of the radiograph in the picture, in pixels, whatever the file's own size."""
MARGIN: Final = 0.12
"""Black on the left and right, as a share of the long side: room for names."""
MIN_WIDTH: Final = 1140
"""Room for the longest header."""
TEXT_SIZE, TITLE_SIZE, SMALL_SIZE = 20, 34, 20
LETTER: Final = 20
"""Width of a letter of the title, at most, on average."""
STRIP: Final = 64
"""Height of the strips above and below; the one above grows by a row for each further line of small letters."""
SMALL_ROW, EDGE = 24, 20
BACKGROUND, STRIP_COLOUR, WHITE, GREY = (0, 0, 0), (24, 28, 34), (245, 245, 245), (170, 176, 184)
MISTAKABLE: Final = 60
"""What a place costs, in pixels of distance, that is nearer to another region's box than to its own."""
NOTICE: Final = "Research only, not a medical device"

Rectangle = tuple[float, float, float, float]


class Label(NamedTuple):
    """A name, where its box is, and where the name goes."""

    text: str
    colour: tuple[int, int, int]
    box: Rectangle
    place: Rectangle


def draw(radiograph: Radiograph, result: Result, strips: bool = True) -> Image.Image:
    """The picture (RGB), with the radiograph's long side at 1200 pixels.

    Where the sex is unknown it has both ages above, and no ages beside the names. Without `strips` only the radiograph
    and its regions, for a page that says the rest itself.
    """
    pixels_HW = radiograph.pixels_HW
    grey = Image.fromarray(Original(pixels_HW).bright.whole().astype("uint8"))
    scale = LONG_SIDE / max(grey.size)
    grey = grey.resize(
        (max(1, round(grey.width * scale)), max(1, round(grey.height * scale))), Image.Resampling.LANCZOS
    )
    margin = round(MARGIN * LONG_SIDE)
    field = Image.new("RGB", (max(grey.width + 2 * margin, MIN_WIDTH), grey.height), BACKGROUND)
    left = (field.width - grey.width) // 2
    field.paste(grey, (left, 0))
    _draw_labels(ImageDraw.Draw(field), _labels(result, scale, left, field.size))
    return _with_strips(field, result) if strips else field


def beside(pictures: Sequence[Image.Image], text: str = "") -> Image.Image:
    """Pictures next to each other, the first on the left, aligned at the top, with what they are above them all."""
    width, height = sum(each.width for each in pictures), max(each.height for each in pictures)
    lines = textwrap.wrap(_plain(text), width // LETTER)
    whole = Image.new("RGB", (width, height + STRIP * len(lines)), STRIP_COLOUR)
    whole.paste(BACKGROUND, (0, STRIP * len(lines), *whole.size))
    canvas = ImageDraw.Draw(whole)
    for row, line in enumerate(lines):
        canvas.text((20, STRIP * (row + 0.5)), line, fill=WHITE, font=_font(TITLE_SIZE), anchor="lm")
    left = 0
    for each in pictures:
        whole.paste(each, (left, STRIP * len(lines)))
        left += each.width
    return whole


def save(path: Path, radiograph: Radiograph, result: Result) -> None:
    """Writes the picture as PNG, whole or not at all. Raises ConfigError where that is not possible."""
    buffer = io.BytesIO()
    draw(radiograph, result).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())


def _labels(result: Result, scale: float, left: int, size: tuple[int, int]) -> list[Label]:
    both = isinstance(result, BothSexes)
    regions = _with_regions(result).regions
    boxes = [(r.box.x1 * scale + left, r.box.y1 * scale, r.box.x2 * scale + left, r.box.y2 * scale) for r in regions]
    font = _font(TEXT_SIZE)
    labels: list[Label] = []
    for region, box in zip(regions, boxes, strict=True):
        text = region.name if both else f"{region.name} {region.months:.0f}"
        width, height = font.getlength(text) + 8, TEXT_SIZE * 1.3
        place = find_place(box, (width, height), boxes, [label.place for label in labels], size)
        labels.append(Label(text, COLOURS[group_of(region.name)], box, place))
    return labels


def find_place(
    box: Rectangle, text: tuple[float, float], boxes: list[Rectangle], taken: list[Rectangle], size: tuple[int, int]
) -> Rectangle:
    """The nearest place for a text of (width, height) beside `box`, inside the picture, clear of boxes and of `taken`.

    Where everything is covered, the place that covers least.
    """
    width, height = text
    middle_x, middle_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_x, half_y = (box[2] - box[0] + width) / 2 + 4, (box[3] - box[1] + height) / 2 + 3
    best, best_cost = (0.0, 0.0, width, height), math.inf
    for ring, turn in itertools.product(range(12), range(24)):
        angle = 2 * math.pi * turn / 24
        cos, sin = math.cos(angle), math.sin(angle)
        reach = min(half_x / max(abs(cos), 1e-6), half_y / max(abs(sin), 1e-6)) + ring * 14
        x = min(max(middle_x + reach * cos - width / 2, 2), size[0] - width - 2)
        y = min(max(middle_y + reach * sin - height / 2, 2), size[1] - height - 2)
        place = (x, y, x + width, y + height)
        distance = math.hypot(x + width / 2 - middle_x, y + height / 2 - middle_y)
        if distance >= best_cost:
            continue
        covered = sum(_overlap(place, other) for other in boxes) + 4 * sum(_overlap(place, other) for other in taken)
        mistakable = any(_gap(place, other) < _gap(place, box) for other in boxes)
        cost = distance + covered + MISTAKABLE * mistakable
        if cost < best_cost:
            best, best_cost = place, cost
    return best


def _overlap(a: Rectangle, b: Rectangle) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0)


def _gap(a: Rectangle, b: Rectangle) -> float:
    """The distance between two rectangles, 0 where they touch."""
    return math.hypot(max(a[0] - b[2], b[0] - a[2], 0), max(a[1] - b[3], b[1] - a[3], 0))


def _draw_labels(canvas: ImageDraw.ImageDraw, labels: list[Label]) -> None:
    font = _font(TEXT_SIZE)
    for label in labels:
        canvas.rectangle(label.box, outline=label.colour, width=3)
    for label in labels:
        start, end = _leader(label)
        if math.dist(start, end) > 8:
            canvas.line((start, end), fill=label.colour, width=2)
            canvas.circle(end, 5, fill=label.colour)
    for label in labels:
        canvas.rounded_rectangle(label.place, 4, fill=(0, 0, 0))
        middle = (label.place[0] + label.place[2]) / 2, (label.place[1] + label.place[3]) / 2
        canvas.text(middle, label.text, fill=label.colour, font=font, anchor="mm")


def _leader(label: Label) -> tuple[tuple[float, float], tuple[float, float]]:
    """From the name's edge to the nearest point of its box."""
    box, place = label.box, label.place
    middle = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    end = min(max(middle[0], box[0]), box[2]), min(max(middle[1], box[1]), box[3])
    return (min(max(end[0], place[0]), place[2]), min(max(end[1], place[1]), place[3])), end


def _with_strips(field: Image.Image, result: Result) -> Image.Image:
    assessment, title, below = _with_regions(result), *_title(result)
    lines = _wrapped(below, field.width - 2 * EDGE)
    top = STRIP + SMALL_ROW * max(len(lines) - 1, 0)
    picture = Image.new("RGB", (field.width, field.height + top + STRIP), STRIP_COLOUR)
    picture.paste(field, (0, top))
    canvas = ImageDraw.Draw(picture)
    middle_top, middle_bottom, edge = STRIP / 2, picture.height - STRIP / 2, EDGE
    canvas.text((edge, 22 if lines else middle_top), title, fill=WHITE, font=_font(TITLE_SIZE), anchor="lm")
    for row, line in enumerate(lines):
        canvas.text((edge, STRIP - 13 + SMALL_ROW * row), line, fill=GREY, font=_font(SMALL_SIZE), anchor="lm")
    if assessment.regions and not isinstance(result, BothSexes):
        note = "beside each name: its own age in months"
        canvas.text((picture.width - edge, middle_top), note, fill=GREY, font=_font(SMALL_SIZE), anchor="rm")
    canvas.text((edge, middle_bottom), NOTICE, fill=WHITE, font=_font(SMALL_SIZE), anchor="lm")
    model = f"{assessment.model.name} {assessment.model.version}, carpal {carpal.__version__}"
    canvas.text((picture.width - edge, middle_bottom), model, fill=GREY, font=_font(SMALL_SIZE), anchor="rm")
    return picture


def _wrapped(parts: Sequence[str], width: float) -> list[str]:
    """The parts with commas between them, in as many lines of small letters as `width` pixels need."""
    font, lines = _font(SMALL_SIZE), list[str]()
    for part in map(_plain, parts):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _title(result: Result) -> tuple[str, list[str]]:
    """The age or ages, and what stands smaller below."""
    if isinstance(result, BothSexes):
        ages = [
            "no age" if each.months is None else f"{years(each.months)} as {each.sex}"
            for each in (result.female, result.male)
        ]
        parts = ["the sex is unknown, so both ages", *_side(result.female)]
        for each in (result.female, result.male):
            facts = [*([span(each.interval)] if each.interval else []), *z_score(each)]
            parts += [f"{fact} as {each.sex}" for fact in facts]
        return ", ".join(ages), [*parts, *_site(result.female)]
    age = "no age" if result.months is None else f"{years(result.months)} ({result.months:.1f} months)"
    return f"{age}, {result.sex}", [*_side(result), *details(result)]


def _plain(text: str) -> str:
    """What Pillow's own font has, ASCII: an accented letter loses its accent, others become "?".

    JSON and PDF hold the name in full.
    """
    letters = unicodedata.normalize("NFKD", text)
    return "".join("?" if ord(each) > 126 else each for each in letters if not unicodedata.combining(each))


def _side(assessment: Assessment) -> list[str]:
    return [f"the hand on the {assessment.side_in_image} of the image"] if assessment.side_in_image else []


def _site(assessment: Assessment) -> list[str]:
    return [f"calibrated by {assessment.site}"] if assessment.site else []


def _with_regions(result: Result) -> Assessment:
    """The assessment whose boxes are drawn: they do not depend on the sex."""
    if isinstance(result, BothSexes):
        return result.female if result.female.regions else result.male
    return result


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


MAP_LONG_SIDE: Final = 1100
MAP_STRIP: Final = 104
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


def draw_age_map(radiograph: Radiograph, explanation: Explanation) -> Image.Image:
    """The picture (RGB). A refused image is drawn without regions, with the reason above."""
    assessment, pixels_HW = explanation.assessment, radiograph.pixels_HW
    grey = Image.fromarray(Original(pixels_HW).bright.whole().astype("uint8"))
    scale = MAP_LONG_SIDE / max(grey.size)
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
    picture = Image.new("RGB", (width, field.height + MAP_STRIP), (24, 28, 34))
    picture.paste(field, ((width - field.width) // 2, MAP_STRIP))
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
    return results.entry(assessment) | {"effects": effects, "nearest": near}


def lines(explanation: Explanation) -> str:
    """The assessment's line, and below it the regions, the one that matters most first."""
    assessment = explanation.assessment
    order = sorted(zip(assessment.regions, explanation.effects, strict=True), key=lambda pair: -abs(pair[1]))
    rows = [f"  {r.name:<7} own age {r.months:6.1f}   adds to the result {e:+.2f}" for r, e in order]
    near = [f"{case.id} ({case.months:.0f} months)" for case in explanation.nearest]
    rows += [f"  most alike of the {assessment.sex} training cases: {', '.join(near)}"] if near else []
    return "\n".join([one_line(assessment), *rows])


def write(out: Path, radiograph: Radiograph, explanation: Explanation) -> None:
    """Writes age-map.png and explanation.json into the folder `out`, made where it lacks. Raises ConfigError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {out} is no folder to write to - {error.strerror} - name another") from None
    buffer = io.BytesIO()
    draw_age_map(radiograph, explanation).save(buffer, format="PNG")
    write_atomically(out / PICTURE, buffer.getvalue())
    text = json.dumps(values(explanation), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / VALUES, text.encode())
