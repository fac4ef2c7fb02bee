"""The comparison's tables, written: Markdown, CSV, JSON. Numbers and words are decided once, here."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from carpal.lab.evaluation import age, compare
from carpal.lab.evaluation.compare import REFERENCE, ROWS, Against, Evaluation, Row

NONE: Final = "-"


class NoiseFloor(NamedTuple):
    """The labels' own error in months, lowest and highest estimate.

    What a perfect system would score against the mean of six readers whose single readings scatter by `reader_sd`, and
    against a single report.
    """

    source: str
    floor_mae: tuple[float, float]
    reader_sd: tuple[float, float]
    single_report_mae: tuple[float, float]


NOISE_FLOOR: Final = NoiseFloor(
    "estimated from published errors of single readers", (1.95, 2.37), (6.00, 7.27), (4.79, 5.80)
)


class Table(NamedTuple):
    """A table as words: a title, the columns' names, the rows, and sentences below it."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]


def build(runs: Sequence[Evaluation], latency: dict[str, dict[str, float]] | None = None) -> list[Table]:
    """Tables 1 to 3. `latency` has a median and quartiles in milliseconds by row, as `compare_latency` measures."""
    return [_ablation(runs), _regions(runs), _systems(runs, latency or {})]


def _ablation(runs: Sequence[Evaluation]) -> Table:
    table = compare.rows(runs, compare.TABLE_1)
    versus, found = compare.against(table), {row.name: row for row in table}
    rows = [
        (ROWS[name].title, _mark(ROWS[name].extraction), _mark(ROWS[name].patch), f"{ROWS[name].mae:.2f}",
         *_ours(found.get(name), versus.get(name)))
        for name in compare.TABLE_1
    ]  # fmt: skip
    columns = ("Network", "Local extraction", "Patch training", "MAE, paper", *_OURS)
    return Table("table1", "Table 1. Ablation of the bone age", columns, rows, _words(table, versus))


def _regions(runs: Sequence[Evaluation]) -> Table:
    rows = []
    for name in compare.TABLE_2:
        mine = [run.report["regions"] for run in runs if run.row == name and run.report.get("regions")]
        paper = ROWS[name].ap or ()
        rows.append((ROWS[name].title, *(f"{value:.1f}" for value in paper), *_average_precision(mine)))
    columns = ("Method", "AP, paper", "AP50, paper", "AP75, paper", "AP, ours", "AP50", "AP75", "Hands", "Runs")
    notes = [
        "Ours without names, for both: a box counts wherever it meets a region, which is all that unnamed proposals "
        "can be asked for. Boxes at regions that nobody annotated count for nothing."
    ]
    return Table("table2", "Table 2. Detection of the regions (%)", columns, rows, notes)


def _average_precision(reports: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    if not reports:
        return (NONE,) * 5
    values = [[report["agnostic"][key] for report in reports] for key in ("ap", "ap50", "ap75")]
    means = tuple(NONE if None in each else f"{100 * sum(each) / len(each):.1f}" for each in values)
    return (*means, str(reports[0]["n"]), str(len(reports)))


def _systems(runs: Sequence[Evaluation], latency: dict[str, dict[str, float]]) -> Table:
    table = compare.rows(runs, compare.TABLE_3)
    versus, ranks = compare.against(table), compare.ranks(table)
    found = {row.name: row for row in table}
    rows = []
    for name in compare.TABLE_3:
        row, paper = found.get(name), ROWS[name]
        figures = ("quoted", *(NONE,) * (len(_OURS) - 1)) if name == "human" else _ours(row, versus.get(name))
        rank = (
            NONE if row is None else "{}-{}".format(*ranks[name]) if len(set(ranks[name])) > 1 else str(ranks[name][0])
        )
        quoted = NONE if paper.mae is None else f"{paper.mae:.2f}"
        rows.append(
            (
                paper.title,
                _mark(paper.globally),
                _mark(paper.locally),
                quoted,
                *figures,
                rank,
                *_cost(row, latency.get(name)),
            )
        )
    columns = ("Method", "Global", "Local", "MAE, paper", *_OURS, "Rank", *_COST)
    return Table(
        "table3",
        "Table 3. Comparison of systems",
        columns,
        rows,
        [*_words(table, versus), *_given(runs), *_floor(table)],
    )


_OURS: Final = ("MAE, ours (95 % interval)", "Against ALA-Net (95 % interval)", "p (Holm)", "Seeds: MAE of each")
_COST: Final = ("Parameters (M)", "FLOPs (G)", "Training (h)", "CPU latency (ms, quartiles)")


def _ours(row: Row | None, versus: Against | None) -> tuple[str, ...]:
    if row is None:
        return (NONE,) * len(_OURS)
    seeds = ", ".join(f"{value:.2f}" for value in row.seeds)
    difference = NONE if versus is None else f"{_signed(versus.difference)} ({_range(versus.ci95, signed=True)})"
    p = NONE if versus is None else "< 0.001" if versus.adjusted < 0.001 else f"{versus.adjusted:.3f}"
    return f"{row.mae:.2f} ({_range(row.ci95)})", difference, p, f"{len(row.runs)}: {seeds}"


def _cost(row: Row | None, latency: dict[str, float] | None) -> tuple[str, ...]:
    if row is None:
        return (NONE,) * len(_COST)
    cost = row.runs[0].weights.get("cost", {})
    hours = [run.weights.get("training", {}).get("hours") for run in row.runs]
    trained = NONE if None in hours else f"{sum(hours) / len(hours):.2f}"
    return (
        f"{cost['parameters'] / 1e6:.1f}" if "parameters" in cost else NONE,
        f"{cost['flops'] / 1e9:.2f}" if "flops" in cost else NONE,
        trained,
        NONE if latency is None else "{median:.1f} ({low:.1f}-{high:.1f})".format(**latency),
    )


def _words(table: Sequence[Row], versus: dict[str, Against]) -> list[str]:
    """What may be said of a table: who is better or worse than ALA-Net, and whom the intervals do not tell apart."""
    if not versus:
        return ["There is no run of ALA-Net, or nothing beside it: nothing is compared."]
    count = len(table[0].absolute_N)
    kinds = {
        "Better than ALA-Net": [a for a in versus.values() if a.separated and a.difference < 0],
        "Worse than ALA-Net": [a for a in versus.values() if a.separated and a.difference > 0],
        "Not told apart from ALA-Net": [a for a in versus.values() if not a.separated],
    }
    said = ". ".join(f"{kind}: {', '.join(ROWS[a.name].title for a in some)}" for kind, some in kinds.items() if some)
    single = [ROWS[row.name].title for row in table if len(row.runs) == 1]
    notes = [f"{said}. Paired bootstrap over {count} hands, Holm's correction, alpha {compare.ALPHA:g}."]
    if single:
        notes.append(f"One training run only, so that its own chance is not in the interval: {', '.join(single)}.")
    return notes


def _given(runs: Sequence[Evaluation]) -> list[str]:
    """A system with key points, told the annotated ones, against itself with detected ones, on the annotated hands."""
    notes = []
    for given in (run for run in runs if run.row.endswith("-given")):
        own = next((run for run in runs if f"{run.row}-given" == given.row and run.seed == given.seed), None)
        title = ROWS[given.row].title
        if own is None:
            notes.append(f"{title}: there is no run with detected points to compare it with.")
            continue
        kept_N = np.isin(own.predictions.ids, given.predictions.ids)
        versus = age.paired_difference(given.predictions, own.predictions.where(kept_N))
        low, high = age.interval(age.bootstrap_means(np.abs(given.predictions.error_N)))
        notes.append(
            f"{title}: MAE {versus.mae_first:.2f} ({_range((low, high))}) on the {versus.n} annotated hands, with "
            f"detected points {versus.mae_second:.2f} on the same; difference {_signed(versus.difference)} "
            f"({_range(versus.ci95, signed=True)})."
        )
    return notes


def _floor(table: Sequence[Row]) -> list[str]:
    floor = NOISE_FLOOR
    (low, high), (one, other), (sd, more) = floor.floor_mae, floor.single_report_mae, floor.reader_sd
    best = min((row.mae for row in table), default=None)
    notes = [
        f"Noise floor of the labels: readers scatter by {sd:.2f} to {more:.2f} months (standard deviation), so a "
        f"perfect system would score {low} to {high} months against the mean of six readers, as in the official test "
        f"set, and {one:.2f} to {other:.2f} against single reports, as in the training set ({floor.source}).",
        "Ranks that are ranges share what no corrected difference of two rows tells apart. The paper's figures come "
        "from full-size training and its own test set, ours from a reduced budget: compare within a column.",
    ]
    if best is not None and best < other:
        notes.append(
            f"The best MAE here, {best:.2f}, lies within the noise of single reports: it cannot be judged by them."
        )
    return notes


def markdown(tables: Sequence[Table]) -> str:
    """The tables for a page of documentation."""
    parts = []
    for table in tables:
        lines = [f"### {table.title}", "", "| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in table.rows]
        parts.append("\n".join([*lines, "", *(f"{note}\n" for note in table.notes)]).rstrip())
    return "\n\n".join(parts) + "\n"


def comma_separated(tables: Sequence[Table]) -> str:
    """All tables as one CSV: table, row, column, value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("table", "row", "column", "value"))
    for table in tables:
        for row in table.rows:
            writer.writerows(
                (table.key, row[0], name, value) for name, value in zip(table.columns[1:], row[1:], strict=True)
            )
    return file.getvalue()


def empty_cells(tables: Sequence[Table]) -> list[str]:
    """Which cells of ours hold nothing: "table: row, column". ALA-Net against itself is none of them."""
    found = []
    for table in tables:
        for row in table.rows:
            for name, value in zip(table.columns, row, strict=True):
                itself = row[0] == ROWS[REFERENCE].title and name in (_OURS[1], _OURS[2])
                quoted = row[0] == ROWS["human"].title or "paper" in name
                if value == NONE and not (itself or quoted):
                    found.append(f"{table.key}: {row[0]}, {name}")
    return found


def _mark(yes: bool) -> str:
    return "X" if yes else ""


def _signed(months: float) -> str:
    return f"{months:+.2f}"


def _range(ends: tuple[float, float], signed: bool = False) -> str:
    return f"{ends[0]:+.2f} to {ends[1]:+.2f}" if signed else f"{ends[0]:.2f}-{ends[1]:.2f}"
