"""The pictures of an evaluation: agreement (Bland-Altman), error by age, and the radiographs that were read worst.

The first two are drawn by matplotlib without a display; the last are radiographs side by side, to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from carpal.imaging.read import read_radiograph
from carpal.lab.evaluation.age import BANDS, Predictions, band_of, by_age
from carpal.lab.evaluation.labels import Label
from carpal.report import overlay
from carpal.types import Assessment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


BLAND_ALTMAN, ERROR_BY_AGE = "bland_altman.png", "error_by_age.png"
SEX_COLOURS: Final = {"female": (213, 94, 0), "male": (0, 114, 178)}
"""RGB of the Okabe-Ito palette: told apart by colour-blind readers too."""
INK, FAINT = "#222222", "#8a8a8a"
LIMITS: Final = 1.96
"""Standard deviations from the bias to the limits of agreement (95 % of normal differences)."""


def draw(predictions: Predictions, folder: Path) -> None:
    """Both pictures, under their names in this folder."""
    bland_altman(predictions, folder / BLAND_ALTMAN)
    error_by_age(predictions, folder / ERROR_BY_AGE)


def bland_altman(predictions: Predictions, path: Path) -> None:
    """Difference against mean of both ages, the bias and the 95 % limits of agreement; a PNG at `path`."""
    figure, axes = _figure(8.0, 5.0)
    mean_N, error_N = (predictions.predicted_N + predictions.boneage_N) / 24, predictions.error_N
    bias, spread = float(error_N.mean()), float(error_N.std(ddof=1)) if len(error_N) > 1 else 0.0
    low, high = bias - LIMITS * spread, bias + LIMITS * spread
    axes.axhspan(low, high, color=INK, alpha=0.05, linewidth=0)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    for name, chosen_N in _sexes(predictions):
        axes.scatter(
            mean_N[chosen_N], error_N[chosen_N], s=_size(len(error_N)), color=_rgb(name), alpha=0.55, linewidth=0,
            label=name,
        )  # fmt: skip
    for value, style in ((high, "--"), (bias, "-"), (low, "--")):
        axes.axhline(value, color=INK, linewidth=1.1, linestyle=style)
        axes.annotate(_signed(value), (1.01, value), xycoords=("axes fraction", "data"), va="center", color=INK)
    reach = 1.1 * max(float(np.abs(error_N).max()), abs(low), abs(high), 1.0)
    axes.set(xlim=(0, 19.5), ylim=(-reach, reach), xticks=range(0, 20, 2))
    axes.set(xlabel="Mean of predicted and reference bone age (years)", ylabel="Predicted minus reference (months)")
    limits = f"95 % limits {_signed(low)} to {_signed(high)} months"
    _title(axes, "Agreement with the reference", f"n = {len(error_N)}, mean {_signed(bias)}, {limits}")
    _legend(axes)
    figure.savefig(path)


def error_by_age(predictions: Predictions, path: Path) -> None:
    """MAE of each age band with its 95 % interval, all and by sex, over every absolute error; a PNG at `path`."""
    figure, axes = _figure(8.0, 5.0)
    rows = by_age(predictions)
    band_N, absolute_N = band_of(predictions.boneage_N), np.abs(predictions.error_N)
    jitter_N = np.random.default_rng(0).uniform(-0.09, 0.09, len(absolute_N))
    for offset, (name, chosen_N) in zip((-0.22, 0.22), _sexes(predictions), strict=True):
        axes.scatter(
            band_N[chosen_N] + offset + jitter_N[chosen_N], absolute_N[chosen_N],
            s=_size(len(absolute_N)), color=_rgb(name), alpha=0.22, linewidth=0,
        )  # fmt: skip
        _whiskers(axes, by_age(predictions.where(chosen_N)), offset, _rgb(name), name)
    _whiskers(axes, rows, 0.0, INK, "all")
    axes.set_xticks(range(len(BANDS)), [_tick(name, row) for name, row in rows.items()])
    top = max(1.0, float(np.percentile(absolute_N, 99)), *(row["mae_ci95"][1] for row in rows.values() if row["n"]))
    above = int((absolute_N > 1.15 * top).sum())
    axes.set(xlim=(-0.5, len(BANDS) - 0.5), ylim=(0, 1.15 * top), ylabel="Absolute error (months)")
    axes.set_xlabel("Reference bone age" + (f"; {above} radiographs lie above the picture" if above else ""))
    _title(axes, "Error by age", "MAE with 95 % bootstrap interval; each dot is a radiograph")
    _legend(axes)
    figure.savefig(path)


def _whiskers(axes: Axes, rows: dict[str, dict[str, Any]], offset: float, colour: Any, name: str) -> None:
    kept = [(i, row) for i, row in enumerate(rows.values()) if row["n"]]
    mae = np.array([row["mae"] for _, row in kept])
    low, high = np.array([row["mae_ci95"] for _, row in kept]).reshape(-1, 2).T
    axes.errorbar(
        [i + offset for i, _ in kept], mae, yerr=np.stack([mae - low, high - mae]).clip(0), fmt="o", markersize=6,
        color=colour, capsize=3, linewidth=1.6, markeredgecolor="white", label=name, zorder=3,
    )  # fmt: skip


def _tick(name: str, row: dict[str, Any]) -> str:
    mae = f"\nMAE {row['mae']:.1f}" if row["n"] else ""
    return f"{name} years\nn = {row['n']}{mae}"


def _legend(axes: Axes) -> None:
    legend = axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, ncols=3, handletextpad=0.3)
    for handle in legend.legend_handles:
        if handle is not None:
            handle.set_alpha(1.0)


def _signed(months: float) -> str:
    return f"{months:+.1f}".replace("-", "\N{MINUS SIGN}")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK)
    return figure, axes


def _title(axes: Axes, title: str, subtitle: str) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=22)
    axes.annotate(subtitle, (0, 1), xycoords="axes fraction", xytext=(0, 7), textcoords="offset points", color=FAINT)


def _sexes(predictions: Predictions) -> list[tuple[str, NDArray[np.bool_]]]:
    return [("female", ~predictions.male_N), ("male", predictions.male_N)]


def _rgb(name: str) -> tuple[float, ...]:
    return tuple(value / 255 for value in SEX_COLOURS[name])


def _size(count: int) -> float:
    return float(np.clip(6000 / max(count, 1), 6, 36))


COUNT: Final = 12
COLUMNS: Final = 4
TILE: Final = (400, 460)
"""Width and height of a tile in pixels, its caption included."""
CAPTION: Final = 44
GALLERY_INK, PAPER = (20, 20, 20), (255, 255, 255)


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


def draw_gallery(rows: Sequence[Label], assessments: Sequence[Assessment], files: dict[str, Path], path: Path) -> None:
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
    ImageDraw.Draw(sheet).text(middle, text, fill=GALLERY_INK, font=ImageFont.load_default(16), anchor="mm")
