"""`carpal quantize`: what can be typed, and the call behind it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from carpal.cli.words import add_path, command


def add(commands: Any) -> None:
    """Registers the command."""
    parser = command(
        commands,
        "quantize",
        "make an int8 file of exported weights, with real radiographs",
        "Ranges come from radiographs of the training folds. Nothing is written unless, on the held-out folds, the "
        "mean absolute error changes by less than 0.1 months and the regions move by less than 0.3 % of the hand's "
        "length.",
        "  carpal quantize alanet --data data --out alanet.int8.onnx\n"
        "  carpal quantize new/alanet.onnx --data data --out new/alanet.int8.onnx --default",
        "a data folder that is incomplete",
    )
    group = parser.add_argument_group("input")
    group.add_argument("weights", metavar="WEIGHTS", help="a released name, or a float32 .onnx file of `carpal export`")
    add_path(group, "--data", "DIR", "the project's data folder, with rsna/ and annotations/", required=True)
    group.add_argument(
        "--keep", nargs="+", default=[], metavar="BLOCK", help="blocks to keep in float32, such as trunk.layer1.0"
    )
    group = parser.add_argument_group("output")
    add_path(group, "--out", "FILE.onnx", "the int8 file; beside WEIGHTS, --precision int8 finds it", required=True)
    group.add_argument("--default", action="store_true", help="use it wherever no --precision is given")
    parser.set_defaults(module="quantize")


def run_quantize(arguments: Namespace) -> int:
    """Quantises, measures, and prints what the gate found."""
    from carpal.errors import need
    from carpal.report.text import facts

    for package in ("onnx", "onnxruntime"):
        need(package, feature="Quantising", extra="export")
    from carpal.lab.export.quantize import quantize

    info = quantize(arguments.weights, arguments.data, arguments.out, default=arguments.default, keep=arguments.keep)
    shown = {name: value for name, value in info.quantised.items() if name != "effects"}
    print(facts({"file": str(info.path), "size": f"{info.bytes / 1e6:.1f} MB", "sha256": info.sha256, **shown}))
    return 0
