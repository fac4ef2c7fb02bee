"""The radiographs that were read worst, side by side, to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from carpal.evaluation.labels import Label
from carpal.imaging.read import read_radiograph
from carpal.report import overlay
from carpal.types import Assessment

COUNT: Final = 12
COLUMNS: Final = 4
TILE: Final = (400, 460)
"""Width and height of a tile in pixels, its caption included."""
CAPTION: Final = 44
INK, PAPER = (20, 20, 20), (255, 255, 255)


def largest(rows: Sequence[Label], assessments: Sequence[Assessment], count: int = COUNT) -> list[int]:
    """Indices of the readings furthest from their reference, worst first."""
    error_N = [abs((assessment.months or 0.0) - row.boneage) for row, assessment in zip(rows, assessments, strict=True)]
    return [int(i) for i in np.argsort(error_N, kind="stable")[::-1][:count]]


def table(rows: Sequence[Label], assessments: Sequence[Assessment]) -> list[dict[str, Any]]:
    """The worst readings for report.json: id, sex, both ages, the least sure region and all warnings."""
    return [_line(rows[i], assessments[i]) for i in largest(rows, assessments)]


def _line(row: Label, assessment: Assessment) -> dict[str, Any]:
    weakest = min(assessment.regions, key=lambda region: region.score, default=None)
    return {
        "id": row.id,
        "sex": str(assessment.sex),
        "boneage": row.boneage,
        "predicted": None if assessment.months is None else round(assessment.months, 2),
        "weakest_region": None if weakest is None else {"name": weakest.name, "score": round(weakest.score, 3)},
        "warnings": list(assessment.warnings),
    }


def draw(rows: Sequence[Label], assessments: Sequence[Assessment], files: dict[str, Path], path: Path) -> None:
    """Writes the worst readings as one picture: each radiograph with its regions, and both ages below."""
    chosen = largest(rows, assessments)
    lines = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE[0], max(lines, 1) * TILE[1]), PAPER)
    for place, i in enumerate(chosen):
        corner = (place % COLUMNS * TILE[0], place // COLUMNS * TILE[1])
        _tile(sheet, corner, rows[i], assessments[i], files[rows[i].id])
    sheet.save(path)


def _tile(sheet: Image.Image, corner: tuple[int, int], row: Label, assessment: Assessment, file: Path) -> None:
    picture = overlay.draw(read_radiograph(file), assessment)
    picture.thumbnail((TILE[0] - 8, TILE[1] - CAPTION - 4), Image.Resampling.LANCZOS)
    sheet.paste(picture, (corner[0] + (TILE[0] - picture.width) // 2, corner[1]))
    months = assessment.months or 0.0
    text = f"{row.id}, {assessment.sex}: reference {row.boneage:.0f}, read {months:.0f} ({months - row.boneage:+.0f})"
    middle = (corner[0] + TILE[0] / 2, corner[1] + TILE[1] - CAPTION / 2)
    ImageDraw.Draw(sheet).text(middle, text, fill=INK, font=ImageFont.load_default(16), anchor="mm")
