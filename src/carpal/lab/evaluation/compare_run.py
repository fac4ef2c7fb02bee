"""What `carpal compare` does: folders in; tables, a plot and, where asked for, latencies and a page's tables out.

Latency is the time that each network takes for one radiograph on the CPU, all of them in one run. They take turns in an
order that changes every round, which spreads whatever else the machine does over all of them alike.
"""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from carpal.errors import ConfigError
from carpal.inference.engine import open_engine
from carpal.inference.weights import read_info
from carpal.lab.evaluation import compare, compare_plot, compare_tables

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
        measured: dict[str, Any] = measure(paths, rounds)
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


WARM_UP: Final = 2
ASPECT: Final = 0.78


def measure(weights: Mapping[str, Path], rounds: int, threads: int = 1) -> dict[str, Any]:
    """Median and quartiles, in milliseconds, of one forward pass of one prepared image, by name under "rows".

    Every network sees noise of its own long side and the usual aspect; `threads` CPU threads each. Raises
    WeightsError where a file is missing, ConfigError without any.
    """
    if not weights:
        raise ConfigError("There is no latency to measure - no report names its weights - evaluate again.")
    engines = {name: open_engine(path, read_info(path).backend, threads) for name, path in weights.items()}
    images = {name: noise(engine.long_side) for name, engine in engines.items()}
    generator = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(WARM_UP + rounds):
        for name in generator.permutation(list(engines)).tolist():
            start = time.perf_counter()
            engines[name].run(images[name], True)
            if turn >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    rows = {name: _summary(values) for name, values in seconds.items()}
    sides = {name: engine.long_side for name, engine in engines.items()}
    backends = {name: path.suffix for name, path in weights.items()}
    return {"rows": rows, "rounds": rounds, "threads": threads, "machine": platform.machine(), "long_side": sides,
            "files": backends}  # fmt: skip


def noise(long_side: int) -> Any:
    """A prepared image of noise, uint8, sides multiples of 32."""
    width = max(32, round(ASPECT * long_side / 32) * 32)
    return np.random.default_rng(0).integers(0, 255, (long_side, width), np.uint8)


def _summary(seconds: list[float]) -> dict[str, float]:
    low, median, high = np.percentile(np.array(seconds) * 1000, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}
