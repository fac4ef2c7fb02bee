"""What can be typed after `carpal`, and what `--help` says of it. Imports nothing of ours, to be quick."""

from __future__ import annotations

import argparse
import ast
import textwrap
from pathlib import Path
from typing import Any

import carpal
from carpal.cli import batch, calibrate, compare, deidentify, node, quantize, reports, serve, trust
from carpal.cli.words import NOTICE, WIDTH, Help, add_network, add_path, add_reference, command


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="carpal",
        description=f"Bone age and 17 named regions from a radiograph of the hand. {NOTICE}",
        epilog="`carpal COMMAND --help` has the options, examples and exit codes of a command.",
        formatter_class=Help,
    )
    parser.add_argument("--version", action="version", version=f"carpal {carpal.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, title="commands")
    for add in (_assess, _evaluate, _prepare, _train, _export, _info):
        add(commands)
    for module in (quantize, calibrate, compare, deidentify, trust, serve, node):
        module.add(commands)
    return parser


def _assess(commands: Any) -> None:
    parser = command(
        commands,
        "assess",
        "read the bone age and 17 named regions of each radiograph",
        f"Prints one line an image; warnings go to the error output. {NOTICE}",
        "  carpal assess hand.png --sex female --overlay hand-read.png\n"
        "  carpal assess hand.dcm --sr --capture --pdf --fhir --hl7 reports   (DICOM that states the sex)",
        "an image that cannot be read (the others are still read), no sex",
    )
    group = parser.add_argument_group("input")
    group.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, TIFF, WebP or DICOM file")
    group.add_argument(
        "--sex",
        choices=("male", "female", "unknown"),
        help="of every image given; unknown reads both (default: what the DICOM file states; it is never guessed)",
    )
    add_path(group, "--calibration", "FILE.json", "a hospital's calibration, made by `carpal calibrate --out`")
    add_reference(group)
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", metavar="FILE", help="write the results as JSON; - writes them to the output, and the lines elsewhere"
    )
    group.add_argument(
        "--overlay",
        type=Path,
        metavar="FILE.png",
        help="draw the regions and the age; with several images, FILE-<image's name>.png for each",
    )
    batch.add(parser)
    reports.add(parser)
    add_network(parser)


def _evaluate(commands: Any) -> None:
    parser = command(
        commands,
        "evaluate",
        "read labelled radiographs and measure the errors",
        "Writes predictions.csv, report.json and plots, and prints a summary.",
        "  carpal evaluate --images hands --labels hands/labels.csv --out report\n"
        "  carpal evaluate --images hands --labels labels.csv --regions points.csv --out report",
        "a wrong table, images that are missing or cannot be read",
    )
    group = parser.add_argument_group("input")
    add_path(group, "--images", "DIR", "folder with the images, named <id>.png, .jpg or .dcm", required=True)
    add_path(group, "--labels", "CSV", "table with the columns id,boneage,male (months; 1 or 0)", required=True)
    add_path(group, "--regions", "CSV", "table of points, as rois17_points.csv: also measure the regions")
    group.add_argument("--no-refusal", action="store_true", help="read the images that would be refused, too")
    group.add_argument(
        "--given-regions", action="store_true", help="read the annotated hands alone, with the regions of --regions"
    )
    group.add_argument(
        "--no-align",
        "--as-it-came",
        action="store_true",
        help="align no hand first, to compare with networks that find none",
    )
    group = parser.add_argument_group("output")
    add_path(group, "--out", "DIR", "folder for the results", required=True)
    add_network(parser)


def _prepare(commands: Any) -> None:
    parser = command(
        commands,
        "prepare",
        "decode radiographs once into a store that training reads",
        "Says exactly what is missing, and writes nothing unless all is there.",
        "  carpal prepare boneage-training-dataset --labels boneage-training-dataset.csv --out rsna512\n"
        "  carpal prepare hands --labels labels.csv --long-side 256 --align alanet --out hands256",
        "missing or broken images, wrong columns, duplicate ids",
    )
    group = parser.add_argument_group("input")
    group.add_argument("source", type=Path, metavar="SOURCE", help="folder with the images, named by id")
    add_path(group, "--labels", "CSV", "table of ages (default: the one table in SOURCE)")
    add_path(group, "--regions", "FILE", "points or boxes (.csv), key points (.json) or a folder of VOC files")
    group.add_argument("--order", metavar="NAME,…", help="region names of the key points, where the file has none")
    group.add_argument(
        "--kind",
        choices=("images", "more", "squashed"),
        default="images",
        help="which radiographs of our own data folder (default: images; squashed are all, at 299 pixels)",
    )
    group.add_argument("--annotated", action="store_true", help="only the hands that have regions")
    group.add_argument(
        "--align",
        "--upright",
        metavar="WEIGHTS",
        help="re-sample each hand to the pose in which it is read, by the regions that these weights find",
    )
    group.add_argument(
        "--pseudo-regions",
        action="store_true",
        help="keep sure regions that --align found, where nobody annotated them, to train the detector on",
    )
    group = parser.add_argument_group("output")
    add_path(group, "--out", "DIR", "the store", required=True)
    group.add_argument(
        "--long-side", type=int, metavar="PIXELS", help="of the prepared images (default: 512; squashed 320)"
    )
    group.add_argument("--overwrite", action="store_true", help="replace the store at --out")


def _train(commands: Any) -> None:
    known = recipes()
    column = max(map(len, known), default=0) + 2
    listed = "\n".join(
        textwrap.fill(f"  {name:<{column}}{summary}", WIDTH - 2, subsequent_indent=" " * (column + 2))
        for name, summary in known.items()
    )
    parser = command(
        commands,
        "train",
        "train a recipe on prepared stores",
        "Writes checkpoints, metrics.jsonl and, at the end, the weights.",
        "  carpal train alanet --data rsna512 --out runs/alanet\n"
        "  carpal train alanet --data rsna512 --out runs --set optim.batch=8 --set data.holdout=0,1 --resume",
        "a store that is broken or missing",
        f"recipes:\n{listed}",
    )
    group = parser.add_argument_group("run")
    group.add_argument("recipe", metavar="RECIPE", help="a name from the list above")
    group.add_argument(
        "--data", nargs="+", default=[], metavar="STORE", help="folders that `carpal prepare` wrote", required=True
    )
    add_path(group, "--out", "DIR", "folder of the run", required=True)
    group.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="SECTION.FIELD=VALUE",
        help="change a setting of the recipe; may be repeated",
    )
    group.add_argument("--resume", action="store_true", help="continue the run at --out (start it where there is none)")


def _export(commands: Any) -> None:
    parser = command(
        commands,
        "export",
        "write trained weights as one ONNX file",
        "Nothing is written unless ONNX Runtime gives the same ages and boxes as PyTorch.",
        "  carpal export runs/alanet --out alanet.onnx\n"
        "  carpal export runs/alanet/alanet.safetensors --out full.onnx --storage float32",
    )
    group = parser.add_argument_group("input")
    group.add_argument("source", type=Path, metavar="RUN_OR_WEIGHTS", help="a run's folder, or a .safetensors file")
    group = parser.add_argument_group("output")
    add_path(group, "--out", "FILE.onnx", "the file; its sidecar is written beside it as FILE.json", required=True)
    group.add_argument("--name", help="the model's name (default: the stem of FILE)")
    group.add_argument("--model-version", metavar="VERSION", help="the model's version (default: that of the run)")
    group.add_argument(
        "--storage",
        choices=("float16", "float32"),
        default="float16",
        help="how weights are stored; arithmetic is float32 in both (default: float16)",
    )
    group.add_argument(
        "--view-scale",
        "--closer",
        type=float,
        default=1.0,
        metavar="TIMES",
        help="the view that is read is the aligned image's middle, so many times as large, up to 1.5 (default: 1)",
    )
    group.add_argument("--no-flip", action="store_true", help="read the view alone, not its mirror image as well")


def _info(commands: Any) -> None:
    parser = command(
        commands,
        "info",
        "say what a weights file is, and check its hash",
        "Needs neither PyTorch nor ONNX Runtime.",
        "  carpal info alanet\n  carpal info runs/alanet/alanet.safetensors --json",
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a released name, or a .onnx or .safetensors file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def recipes() -> dict[str, str]:
    """The recipes' names and the first sentences of their docstrings, read as text: importing them needs PyTorch."""
    source = Path(__file__).parents[1] / "lab" / "training" / "recipes.py"
    functions = [
        node for node in ast.parse(source.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    ]
    public = [f for f in functions if f.returns and ast.unparse(f.returns) == "Run" and not f.args.args]
    return {f.name: (ast.get_docstring(f) or "").splitlines()[0] for f in public}
