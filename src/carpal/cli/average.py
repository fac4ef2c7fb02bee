"""`carpal average`: what can be typed, and the call behind it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from carpal.cli.words import add_path, command


def add(commands: Any) -> None:
    """Registers the command."""
    parser = command(
        commands,
        "average",
        "write the mean of several networks that grew from one start",
        "Their batch norms are measured anew, with training pictures as they are read.",
        "  carpal average mixed runs/1/mixed.safetensors alanet.onnx --data hands256 --out mean.safetensors",
        "a store that is broken or missing",
    )
    group = parser.add_argument_group("input")
    group.add_argument("recipe", metavar="RECIPE", help="what network they are, as for `carpal train`")
    group.add_argument("weights", nargs="+", type=Path, metavar="WEIGHTS", help=".safetensors, or exported .onnx files")
    group.add_argument("--data", nargs="+", metavar="STORE", help="folders that `carpal prepare` wrote", required=True)
    group.add_argument(
        "--set", action="append", default=[], dest="settings", metavar="SECTION.FIELD=VALUE", help="of the recipe"
    )
    group = parser.add_argument_group("output")
    add_path(group, "--out", "FILE.safetensors", "the mean; its sidecar is written beside it", required=True)
    parser.set_defaults(module="average")


def run_average(arguments: Namespace) -> int:
    """Writes the mean and prints its path."""
    from dataclasses import replace

    from carpal.optional import need

    for package in ("torch", "safetensors"):
        need(package, feature="Averaging", extra="torch")
    from carpal.training import config, recipes
    from carpal.training.average import average

    run = recipes.get(arguments.recipe)
    calm = config.Augment(flip=run.augment.flip, scale=run.augment.scale / 2, rotate=run.augment.rotate / 2)
    run = replace(run, data=replace(run.data, stores=tuple(arguments.data)), augment=calm)
    print(average(config.override(run, arguments.settings), arguments.weights, arguments.out))
    return 0
