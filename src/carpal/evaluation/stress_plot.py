"""The stress certificate as a picture: one panel a family, how far ages move at each strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

COLUMNS: Final = 4


def draw(families: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Writes a PNG: the median and 99th percentile of the change and the MAE's change, in months.

    Strengths of everyday work are marked by a grey band; a strength at which every image was refused has no bar.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(families) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 2.8 * max(rows, 1)), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, entries) in enumerate(families.items(), 1):
        axes = figure.add_subplot(max(rows, 1), COLUMNS, place)
        positions = range(len(entries))
        for position in positions:
            if entries[position]["clinical"]:
                axes.axvspan(position - 0.5, position + 0.5, color="0.92", zorder=0)
        for key, colour, label in (
            ("p99_change", "#9ecae1", "99th percentile"),
            ("median_change", "#08519c", "median"),
        ):
            axes.bar(positions, [entry[key] or 0 for entry in entries], 0.7, color=colour, label=label)
        axes.plot(positions, [_number(entry["mae_change"]) for entry in entries], "o", color="#d94801", label="MAE")
        axes.set_xticks(list(positions), [f"{entry['strength']:g}" for entry in entries], fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(entries[0]["unit"] if entries else "", fontsize=8)
        axes.set_ylabel("change, months", fontsize=8)
        if place == 1:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
