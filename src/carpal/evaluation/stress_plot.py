"""The stress certificate as a picture: one panel a family, how far ages move at each strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

COLUMNS: Final = 4


COLOURS: Final = {"p99_change": "#9ecae1", "median_change": "#08519c", "mae_change": "#d94801"}


def draw(families: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, limits: Mapping[str, float]) -> None:
    """Writes a PNG: the median and 99th percentile of the change and the MAE's change, in months.

    Strengths of everyday work are marked by a grey band; a strength at which every image was refused has no bar. A
    dashed line of a figure's colour is its limit, where the family is held to it; the coverage stands below the bars.
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
        for key, label in (("p99_change", "99th percentile"), ("median_change", "median")):
            axes.bar(positions, [entry[key] or 0 for entry in entries], 0.7, color=COLOURS[key], label=label)
        errors = [_number(entry["mae_change"]) for entry in entries]
        axes.plot(positions, errors, "o", color=COLOURS["mae_change"], label="MAE")
        for key in held_to(entries):
            axes.axhline(limits[key], color=COLOURS[key], linestyle="--", linewidth=1)
        axes.set_xticks(list(positions), [below(entry) for entry in entries], fontsize=8)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel(entries[0]["unit"] if entries else "", fontsize=8)
        axes.set_ylabel("change, months", fontsize=8)
        if place == 1:
            axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)


def held_to(entries: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The figures that have a limit in a family: the error's in all, the ages' own changes in those that are exact."""
    exact = any(entry["exact"] for entry in entries)
    return ("mae_change", "median_change", "p99_change") if exact else ("mae_change",)


def below(entry: Mapping[str, Any]) -> str:
    """What stands below a bar: the strength and, where weights are calibrated, the coverage of their intervals."""
    covered = "" if entry["coverage"] is None else f"\n{100 * entry['coverage']:.0f} %"
    return f"{entry['strength']:g}{covered}"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
