"""`carpal compare`, `pool` and `figures`: systems side by side, folds as one, the paper's figures from own data."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from carpal.cli.words import add_network, command


def add(commands: Any) -> None:
    """Adds the three commands."""
    _compare(commands)
    _pool(commands)
    _figures(commands)


def _compare(commands: Any) -> None:
    parser = command(
        commands,
        "compare",
        "put evaluations of several systems side by side, as the paper's tables",
        "Writes tables.md, tables.csv and compare.png. What intervals cannot separate gets no rank.",
        "  carpal compare bench/eval/* --out bench/tables\n"
        "  carpal compare bench/eval/* --out bench/tables --latency 50 --into docs/baselines.md",
        "a folder that `carpal evaluate` did not write, systems on different hands",
    )
    parser.set_defaults(module="compare")
    group = _evaluations(parser)
    group.add_argument(
        "--latency", type=int, default=0, metavar="N", help="time N forward passes of each network, taking turns"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")
    group.add_argument("--into", type=Path, metavar="PAGE.md", help="also put the tables between this page's marks")


def _pool(commands: Any) -> None:
    parser = command(
        commands,
        "pool",
        "put the evaluations of a cross-validation together, each of a network and the fold that it did not see",
        "Writes predictions.csv, report.json and plots of all their radiographs, and prints a summary.",
        "  carpal pool fold0 fold1 fold2 fold3 fold4 --out folds",
        "a folder that `carpal evaluate` did not write, a radiograph in two of them",
    )
    parser.set_defaults(module="compare")
    _evaluations(parser)
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")


def _evaluations(parser: Any) -> Any:
    """The folders that are put together; returns their group of arguments."""
    group = parser.add_argument_group("input")
    group.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders that `carpal evaluate` wrote")
    return group


def _figures(commands: Any) -> None:
    parser = command(
        commands,
        "figures",
        "draw the paper's figures from labelled radiographs",
        "Writes figure1.png (points and boxes), figure3.png (case study), bland_altman.png, error_by_age.png, "
        "calibration.png and region_ages.png, as far as labels, regions and weights allow.",
        "  carpal figures --images hands --labels hands/labels.csv --regions points.csv --out figures\n"
        "  carpal figures --images hands --labels labels.csv --regions points.csv --cases 4 --seed 1 --out figures",
        "a wrong table, images that are missing or cannot be read",
    )
    parser.set_defaults(module="compare")
    group = parser.add_argument_group("input")
    group.add_argument("--images", type=Path, metavar="DIR", required=True, help="folder with the images, named by id")
    group.add_argument("--labels", type=Path, metavar="CSV", required=True, help="table with id,boneage,male")
    group.add_argument("--regions", type=Path, metavar="CSV", help="table of points, as rois17_points.csv")
    group.add_argument("--cases", type=int, default=3, metavar="N", help="hands of the case study (default: 3)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="which hands are drawn by lot (default: 0)")
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the pictures")
    add_network(parser)


def run_compare(arguments: Namespace) -> int:
    """Writes the tables and prints them."""
    from carpal.lab.evaluation import compare_run

    print(compare_run.run(arguments.runs, arguments.out, rounds=arguments.latency, into=arguments.into), end="")
    return 0


def run_pool(arguments: Namespace) -> int:
    """Puts them together and prints each part's error and that of all."""
    from carpal.lab.evaluation import pool

    print(pool.lines(pool.pool(arguments.runs, arguments.out)))
    return 0


def run_figures(arguments: Namespace) -> int:
    """Draws the figures and prints their paths."""
    from carpal.lab.evaluation import figures

    written = figures.run(
        arguments.images,
        arguments.labels,
        arguments.out,
        regions=arguments.regions,
        weights=arguments.weights,
        backend=arguments.backend,
        precision=arguments.precision,
        cases=arguments.cases,
        seed=arguments.seed,
    )
    print("\n".join(map(str, written)))
    return 0
