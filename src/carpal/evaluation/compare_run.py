"""What `carpal compare` does: folders in; tables, a plot and, where asked for, latencies and a page's tables out."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from carpal.errors import ConfigError
from carpal.evaluation import compare, compare_latency, compare_plot, compare_tables

MARKDOWN, CSV, PLOT, LATENCY = "tables.md", "tables.csv", "compare.png", "latency.json"
BEGIN, END = "<!-- carpal compare: begin -->", "<!-- carpal compare: end -->"
ONCE: Final = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)


def run(folders: Sequence[Path], out: Path, *, rounds: int = 0, into: Path | None = None) -> str:
    """Writes the tables and the plot to `out` and returns the Markdown.

    `rounds` above 0 measures the latency of all weights, one after the other in turns; without it the figures of an
    earlier measurement in `out` stand. `into` names a page whose marked part the Markdown replaces. Raises DataError,
    ConfigError, WeightsError.
    """
    page = _page(into) if into is not None else ""
    runs = compare.read(folders)
    out.mkdir(parents=True, exist_ok=True)
    tables = compare_tables.build(runs, _latency(runs, out, rounds))
    text = compare_tables.markdown(tables)
    (out / MARKDOWN).write_text(text, encoding="utf-8")
    (out / CSV).write_text(compare_tables.comma_separated(tables), encoding="utf-8")
    if table := compare.rows(runs, compare.TABLE_3):
        compare_plot.forest(table, out / PLOT)
    if into is not None:
        into.write_text(ONCE.sub(lambda _: f"{BEGIN}\n{text}{END}", page), encoding="utf-8")
    if empty := compare_tables.empty_cells(tables):
        text += "\nEmpty cells of ours:\n" + "\n".join(f"  {cell}" for cell in empty) + "\n"
    return text


def _latency(runs: Sequence[compare.Evaluation], out: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds by row: measured now, or as measured before."""
    path = out / LATENCY
    if rounds:
        timed = {*compare.TABLE_1, *compare.TABLE_3}
        paths = {run.row: Path(run.weights["path"]) for run in runs if run.row in timed and run.weights.get("path")}
        measured: dict[str, Any] = compare_latency.measure(paths, rounds)
        path.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": {}}
    rows: dict[str, dict[str, float]] = stored["rows"]
    return rows


def _page(into: Path) -> str:
    """The page's text. Raises ConfigError where it has no place for the tables."""
    text = into.read_text(encoding="utf-8") if into.is_file() else ""
    if len(ONCE.findall(text)) != 1:
        raise ConfigError(f"--into {into} has no place for the tables - put the lines {BEGIN} and {END} there, once.")
    return text
