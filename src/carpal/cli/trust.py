"""`carpal stress`, `explain`, `limits` and `cases`: how far ages can be trusted, where from, and when not at all."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from carpal.cli.words import add_network, add_path, add_reference, command


def add(commands: Any) -> None:
    """Adds the four commands."""
    _stress(commands)
    _explain(commands)
    _limits(commands)
    _cases(commands)


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
    group.add_argument("--clinical", action="store_true", help="only the strengths that decide: half the time")
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
    add_reference(group)
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder for the results")
    add_network(parser)


def _limits(commands: Any) -> None:
    parser = command(
        commands,
        "limits",
        "fit the limits of a refusal to weights",
        "For who trains weights. Prints the limits and how many hands and other pictures they refuse.",
        "  carpal limits --source shared/data --pictures photographs --kept-out others\n"
        "  carpal limits --source shared/data --weights runs/alanet.onnx --write",
        "a data folder that is incomplete",
    )
    parser.set_defaults(module="trust")
    group = parser.add_argument_group("input")
    add_path(group, "--source", "DIR", "the data folder, with rsna/ and external/brazil/", required=True)
    for flag, text in (
        ("--pictures", "a folder of pictures of no hand, to fit on; may be repeated"),
        ("--kept-out", "such a folder that is only measured; may be repeated"),
    ):
        group.add_argument(flag, type=Path, action="append", default=[], metavar="DIR", help=text)
    group.add_argument("--limit", type=int, default=200, metavar="N", help="hands of each source (default: 200)")
    group.add_argument(
        "--each", type=int, default=5, metavar="N", help="pictures of each drawn and cut kind (default: 5)"
    )
    group = parser.add_argument_group("output")
    group.add_argument("--write", action="store_true", help="write the limits into the weights' sidecar")
    group = parser.add_argument_group("network")
    group.add_argument("--weights", default="alanet", metavar="FILE", help="a released name, or an .onnx file")


def _cases(commands: Any) -> None:
    parser = command(
        commands,
        "cases",
        "tabulate what weights see in the radiographs that they were trained on",
        "For who trains weights. Writes FILE.cases.npz beside them: id, age, sex and a few numbers of each, no pixels. "
        "`carpal explain` then names the training cases that are most alike.",
        "  carpal cases --source shared/data --weights runs/alanet.onnx\n  carpal cases --source shared/data",
        "a data folder that is incomplete",
    )
    parser.set_defaults(module="trust")
    add_path(parser, "--source", "DIR", "the data folder, with rsna/", required=True)
    parser.add_argument("--limit", type=int, metavar="N", help="so many of them (default: all that were trained on)")
    parser.add_argument("--weights", default="alanet", metavar="FILE", help="a released name, or an .onnx file")


def run_cases(arguments: Namespace) -> int:
    """Writes the table and says how large it is."""
    from carpal.lab.evaluation import cases

    path = cases.write(arguments.source, arguments.weights, arguments.limit)
    print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")
    return 0


def run_stress(arguments: Namespace) -> int:
    """Runs the certificate and prints its table."""
    from carpal.lab.evaluation import stress

    report = stress.run(
        arguments.images,
        arguments.labels,
        arguments.out,
        limit=arguments.limit,
        families=arguments.family,
        clinical=arguments.clinical,
        weights=arguments.weights,
        backend=arguments.backend,
        precision=arguments.precision,
    )
    print(stress.markdown(report))
    return 0


def run_explain(arguments: Namespace) -> int:
    """Explains one radiograph and prints the regions that matter most."""
    from dataclasses import replace

    from carpal.growth.reference import find_reference
    from carpal.imaging.read import read_radiograph
    from carpal.inference.assess import Facts, choose_sex, judge, to_sex
    from carpal.inference.engine import open_engine
    from carpal.inference.explain import explain, open_cases
    from carpal.report import overlay

    table = find_reference(arguments.reference)
    radiograph = read_radiograph(arguments.image)
    sex = choose_sex(radiograph, to_sex(arguments.sex))
    engine = open_engine(arguments.weights, arguments.backend, None, arguments.precision)
    explanation = explain(radiograph, sex, engine, open_cases(arguments.weights, engine.model))
    judged = judge(explanation.assessment, Facts(radiograph.age_months, reference=table))
    explanation = replace(explanation, assessment=judged)
    overlay.write(arguments.out, radiograph, explanation)
    print(overlay.lines(explanation))
    return 0 if explanation.assessment.refused is None else 3


def run_limits(arguments: Namespace) -> int:
    """Fits the limits, prints what they refuse, and writes them where asked to."""
    from carpal.lab.evaluation import threshold_fit

    block = threshold_fit.fit(
        arguments.source,
        arguments.weights,
        arguments.pictures,
        arguments.kept_out,
        arguments.limit,
        arguments.each,
    )
    print(json.dumps({key: value for key, value in block.items() if key != "usual"}, indent=2))
    if arguments.write:
        print(threshold_fit.write(arguments.weights, block))
    return 0
