"""`carpal calibrate`: what can be typed, and the two calls behind it."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError, Namespace
from typing import Any

from carpal.cli.words import add_network, add_path, command


def add(commands: Any) -> None:
    """Registers the command."""
    parser = command(
        commands,
        "calibrate",
        "learn from labelled radiographs: a hospital's calibration, or the intervals of a weights file",
        "A hospital's calibration needs 50 readings and is only written where it helps on readings left out. "
        "Intervals need radiographs that the network was not trained on.",
        "  carpal calibrate --images ours --labels ours.csv --out ours.json\n"
        "  carpal assess hand.png --sex female --calibration ours.json\n"
        "  carpal calibrate --images held-out --labels held-out.csv --interval --weights runs/alanet.onnx",
        "wrong tables or images, too few readings, no gain (nothing is written)",
    )
    group = parser.add_argument_group("input")
    add_path(group, "--images", "DIR", "folder with the images, named <id>.png, .jpg or .dcm", required=True)
    add_path(group, "--labels", "CSV", "table with the columns id,boneage,male (months; 1 or 0)", required=True)
    group = parser.add_argument_group("output")
    either = group.add_mutually_exclusive_group(required=True)
    add_path(either, "--out", "FILE.json", "write a hospital's calibration, for --calibration of `carpal assess`")
    either.add_argument("--interval", action="store_true", help="write intervals into the sidecar of --weights")
    group.add_argument("--name", help="what reports call the hospital's calibration (default: the stem of FILE)")
    group.add_argument(
        "--coverage",
        type=_share,
        default=0.9,
        metavar="SHARE",
        help="how often an interval must hold the reference age (default: 0.9)",
    )
    add_network(parser)
    parser.set_defaults(module="calibrate")


def run_calibrate(arguments: Namespace) -> int:
    """Fits, writes, and prints what was measured on the way."""
    return _intervals(arguments) if arguments.interval else _site(arguments)


def _intervals(arguments: Namespace) -> int:
    from carpal.lab.evaluation.calibrate import fit_intervals, weak
    from carpal.lab.evaluation.coverage import lines

    fitted = fit_intervals(
        arguments.images,
        arguments.labels,
        arguments.weights,
        arguments.backend,
        arguments.coverage,
        precision=arguments.precision,
    )
    for name, cell in fitted["cells"].items():
        print(f"{name} months: quantiles moved by {cell['offset']:+.2f}, n {cell['n']}")
    print("\n".join([*lines(fitted["check"]), *weak(fitted["check"])]))
    return 0


def _site(arguments: Namespace) -> int:
    from carpal.errors import ConfigError
    from carpal.lab.evaluation.calibrate import calibrate_site
    from carpal.report import write_atomically

    if not arguments.out.parent.is_dir():
        raise ConfigError(f"--out {arguments.out} cannot be written - its folder does not exist - choose another")

    site = calibrate_site(
        arguments.images,
        arguments.labels,
        arguments.name or arguments.out.stem,
        arguments.weights,
        arguments.backend,
        arguments.precision,
    )
    write_atomically(arguments.out, site.as_text().encode())
    check = site.check
    print(
        f"{arguments.out}: {site.label}, MAE {check.mae_raw:.2f} to {check.mae_calibrated:.2f} months on readings left "
        f"out, gain {check.gain:.2f} (95 % interval {check.gain_ci95[0]:.2f} to {check.gain_ci95[1]:.2f})"
    )
    return 0


def _share(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0.5 <= value < 1):
        raise ArgumentTypeError(f"a coverage lies from 0.5 to below 1, got {text}")
    return value
