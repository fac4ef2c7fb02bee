"""The comparison as a picture: every system's MAE with its interval, seeds as dots, the paper's figure as a diamond."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from carpal.lab.evaluation.compare import ROWS, Row
from carpal.lab.evaluation.compare_tables import NOISE_FLOOR
from carpal.lab.evaluation.plots import FAINT, INK, _figure, _title

OURS, PAPER = "#0072b2", "#d55e00"


def forest(table: Sequence[Row], path: Path) -> None:
    """Rows from the best MAE to the worst; the labels' noise floors as bands. A PNG at `path`."""
    ordered = sorted(table, key=lambda row: row.mae)
    figure, axes = _figure(8.0, 1.8 + 0.42 * len(ordered))
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    axes.grid(axis="y", visible=False)
    axes.axvspan(*NOISE_FLOOR.floor_mae, color=INK, alpha=0.25, linewidth=0, label="noise floor, mean of six readers")
    axes.axvspan(*NOISE_FLOOR.single_report_mae, color=INK, alpha=0.1, linewidth=0, label="noise floor, one report")
    places = np.arange(len(ordered))
    mae = np.array([row.mae for row in ordered])
    ends = np.array([row.ci95 for row in ordered]).reshape(-1, 2)
    spread = np.stack([mae - ends[:, 0], ends[:, 1] - mae]).clip(0)
    axes.errorbar(mae, places, xerr=spread, fmt="o", color=OURS, capsize=3, label="ours, 95 % interval", zorder=3)
    for place, row in enumerate(ordered):
        if len(row.runs) > 1:
            axes.scatter(row.seeds, [place] * len(row.seeds), s=14, color=OURS, alpha=0.45, zorder=2)
    quoted = [(ROWS[row.name].mae, place) for place, row in enumerate(ordered) if ROWS[row.name].mae is not None]
    if quoted:
        x, y = zip(*quoted, strict=True)
        axes.scatter(x, y, marker="D", s=26, color=PAPER, label="the paper's, other budget", zorder=3)
    axes.set_yticks(places, [ROWS[row.name].title for row in ordered])
    axes.invert_yaxis()
    axes.set(xlabel="Mean absolute error (months)", xlim=(0, max(float(ends.max()), 8.0) * 1.08))
    count = len(ordered[0].absolute_N)
    _title(axes, "Systems on the same hands", f"n = {count}; pale dots are single training runs")
    figure.legend(loc="outside lower center", frameon=False, ncols=2, labelcolor=FAINT)
    figure.savefig(path)
