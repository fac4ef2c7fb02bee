"""`carpal stress` and `carpal explain`: how far ages can be trusted, and where they come from."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from carpal.cli.parser import add_network, command


def add(commands: Any) -> None:
    """Adds both commands."""
    _stress(commands)
    _explain(commands)


def _stress(commands: Any) -> None:
    parser = command(
        commands,
        "stress",
        "distort labelled radiographs and measure how far the ages move",
        "Writes stress.json, stress.md and stress.png, and says whether the certificate is passed.",
        "  carpal stress --images hands --labels hands/labels.csv --out stress\n"
        "  carpal stress --images hands --labels labels.csv --limit 50 --out stress",
        "a wrong table, images that are missing or cannot be read",
    )
    parser.set_defaults(module="trust")
    group = parser.add_argument_group("input")
    group.add_argument("--images", type=Path, metavar="DIR", required=True, help="folder with the images, named by id")
    group.add_argument("--labels", type=Path, metavar="CSV", required=True, help="table with id,boneage,male")
    group.add_argument("--limit", type=int, metavar="N", help="so many of them, chosen with a seed (default: all)")
    group.add_argument("--family", action="append", metavar="NAME", help="only this family; may be repeated")
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")
    add_network(parser)


def _explain(commands: Any) -> None:
    parser = command(
        commands,
        "explain",
        "show which age each region shows and how much it matters",
        "Writes age-map.png and explanation.json: every region's own age, and the change of the result without it.",
        "  carpal explain hand.png --sex female --out explained\n"
        "  carpal explain hand.dcm --out explained        (a DICOM file that states the sex)",
        "an image that cannot be read or is refused, no sex",
    )
    parser.set_defaults(module="trust")
    group = parser.add_argument_group("input")
    group.add_argument("image", metavar="IMAGE", help="PNG, JPEG, TIFF, WebP or DICOM file")
    group.add_argument("--sex", choices=("male", "female"), help="default: what the DICOM file states")
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")
    add_network(parser)


def run_stress(arguments: Namespace) -> int:
    """Runs the certificate and prints its table."""
    from carpal.trust import stress

    report = stress.run(
        arguments.images,
        arguments.labels,
        arguments.out,
        limit=arguments.limit,
        families=arguments.family,
        weights=arguments.weights,
        backend=arguments.backend,
        precision=arguments.precision,
    )
    print(stress.markdown(report))
    return 0


def run_explain(arguments: Namespace) -> int:
    """Explains one radiograph and prints the regions that matter most."""
    from carpal.imaging.read import read_radiograph
    from carpal.inference.assess import choose_sex, to_sex
    from carpal.inference.engine import open_engine
    from carpal.inference.explain import explain
    from carpal.report import age_map

    radiograph = read_radiograph(arguments.image)
    sex = choose_sex(radiograph, to_sex(arguments.sex))
    explanation = explain(radiograph, sex, open_engine(arguments.weights, arguments.backend, None, arguments.precision))
    age_map.write(arguments.out, radiograph, explanation)
    print(age_map.lines(explanation))
    return 0 if explanation.assessment.refused is None else 3
