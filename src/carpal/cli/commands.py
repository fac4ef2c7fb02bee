"""One function for each command: reads the parsed words, calls the package, prints, returns the exit code."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carpal.cli.reports import Reports, plan_reports
from carpal.errors import CarpalError, ConfigError, InputError

if TYPE_CHECKING:
    from carpal.inference.assess import Facts
    from carpal.inference.engine import Engine
    from carpal.lab.data.prepare import Align
    from carpal.types import Radiograph, Result, Sex


def run_assess(arguments: Namespace) -> int:
    """Reads every image; one that fails leaves its error in the JSON and does not stop the others."""
    if arguments.out is not None or arguments.ray is not None:
        from carpal.cli import batch

        return batch.run(arguments)
    from carpal.growth.reference import find_reference
    from carpal.inference.assess import Facts, to_sex
    from carpal.inference.engine import open_engine
    from carpal.quality.site import read_site
    from carpal.report import results as as_json

    table = find_reference(arguments.reference)
    reports = plan_reports(arguments, table)
    overlays = overlay_paths(arguments.overlay, arguments.images)
    json_path = None if arguments.json in (None, "-") else Path(arguments.json)
    _check_outputs([*overlays, json_path], arguments.images)
    engine = open_engine(arguments.weights, arguments.backend, None, arguments.precision)
    site = None if arguments.calibration is None else read_site(arguments.calibration).for_model(engine.model)
    facts = Facts(site=site, reference=table)
    lines = sys.stderr if arguments.json == "-" else sys.stdout
    unknown = arguments.sex == "unknown"
    stated = None if unknown else to_sex(arguments.sex)
    entries = []
    for image, overlay in zip(arguments.images, overlays, strict=True):
        for entry, line in _assess_one(image, stated, engine, overlay, facts, reports, unknown):
            entries.append(entry)
            if line is not None:
                print(line, file=lines, flush=True)
    if arguments.json == "-":
        print(as_json.document(entries, ascii_only=True), end="")  # whatever the terminal's encoding, it is JSON
    elif json_path is not None:
        as_json.write(json_path, entries)
    failed = any(entry["refused"] for entry in entries) or (reports is not None and reports.failed)
    return InputError.exit_code if failed else 0


def _assess_one(
    image: str,
    stated: Sex | None,
    engine: Engine,
    overlay: Path | None,
    facts: Facts,
    reports: Reports | None,
    unknown: bool,
) -> list[tuple[dict[str, Any], str | None]]:
    """The JSON entry and the line of each hand in an image; the line is None where an error was printed instead."""
    from dataclasses import replace

    from carpal.imaging.read import open_image
    from carpal.inference.assess import choose_sex, read_hands
    from carpal.report import results as as_json

    sex, header = stated, None
    try:
        file = open_image(image)
        header = file.header
        radiograph = file.decode()
        sex = stated or radiograph.sex
        facts = replace(facts, age_months=radiograph.age_months)
        wanted = None if unknown else choose_sex(radiograph, stated)
        results: list[Result] = [*read_hands(radiograph, wanted, engine, facts)]
    except CarpalError as error:
        print(f"carpal: error: {error}", file=sys.stderr, flush=True)
        if reports is not None:
            reports.write_refusal(image, header, error, engine.model, sex)
        return [(as_json.refused_entry(image, sex, error, engine.model), None)]
    for number, result in enumerate(results):
        picture = overlay if len(results) == 1 or overlay is None else _numbered(overlay, number)
        _say_and_draw(result, radiograph, picture)
    if reports is not None:
        reports.write(image, radiograph, results)
    return [rendered(result) for result in results]


def _numbered(overlay: Path, number: int) -> Path:
    return overlay.with_name(f"{overlay.stem}-hand{number + 1}{overlay.suffix}")


def _say_and_draw(result: Result, radiograph: Radiograph, overlay: Path | None) -> None:
    """Prints the warnings and writes the picture."""
    from carpal.types import BothSexes

    one = result.female if isinstance(result, BothSexes) else result
    for warning in one.warnings:
        print(f"carpal: warning: {one.image}: {warning}", file=sys.stderr, flush=True)
    if overlay is not None:
        from carpal.report.overlay import save

        save(overlay, radiograph, result)


def rendered(result: Result) -> tuple[dict[str, Any], str]:
    """The JSON entry and the line of a result."""
    from carpal.report import results as as_json
    from carpal.report import text

    return as_json.entry_of(result), text.line_of(result)


def overlay_paths(overlay: Path | None, images: Sequence[str]) -> list[Path | None]:
    """Where each image's picture goes: FILE.png for one; FILE-<stem>.png for several, numbered where stems repeat."""
    if overlay is None or len(images) == 1:
        return [overlay] * len(images)
    from carpal.imaging.read import file_name

    paths: list[Path | None] = []
    for image in images:
        stem, number = Path(file_name(image)).stem, 1
        path = overlay.with_name(f"{overlay.stem}-{stem}{overlay.suffix}")
        while path in paths:
            number += 1
            path = overlay.with_name(f"{overlay.stem}-{stem}-{number}{overlay.suffix}")
        paths.append(path)
    return paths


def _check_outputs(outputs: Sequence[Path | None], images: Sequence[str]) -> None:
    """Before anything is read: every file to write has a folder, and is none of the radiographs."""
    inputs = {Path(image).resolve() for image in images}
    for path in outputs:
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir():
            raise ConfigError(
                f"{path} cannot be written - it is a folder, or its folder does not exist - choose another"
            )
        if path.resolve() in inputs:
            raise ConfigError(f"{path} is one of the images - it would be overwritten - choose another name")
    for path in outputs[: len(images)]:
        if path is not None and path.suffix.lower() != ".png":
            raise ConfigError(f"--overlay {path}: the picture is a PNG - name it FILE.png")


def run_evaluate(arguments: Namespace) -> int:
    """Measures the errors on labelled radiographs."""
    from carpal.lab.evaluation import run

    report = run.evaluate(
        arguments.images,
        arguments.labels,
        arguments.out,
        regions=arguments.regions,
        weights=arguments.weights,
        backend=arguments.backend,
        precision=arguments.precision,
        manner=run.Manner(not arguments.no_refusal, arguments.given_regions, not arguments.no_align),
    )
    print(run.summary(report))
    return run.exit_code(report)


def run_prepare(arguments: Namespace) -> int:
    """Prepares a store."""
    from carpal.lab.data.sources import prepare_from
    from carpal.report.text import facts

    if arguments.pseudo_regions and not arguments.align:
        raise ConfigError("--pseudo-regions are those that weights find - give the weights, as --align alanet")
    manifest = prepare_from(
        arguments.source,
        arguments.out,
        long_side=arguments.long_side,
        kind=arguments.kind,
        regions=arguments.regions,
        labels=arguments.labels,
        order=arguments.order.split(",") if arguments.order else None,
        overwrite=arguments.overwrite,
        annotated=arguments.annotated,
        align=_aligner(arguments.align, arguments.pseudo_regions) if arguments.align else None,
    )
    print(facts({"store": str(arguments.out), "long_side": manifest.long_side, **manifest.counts}))
    return 0


def _aligner(weights: str, pseudo: bool) -> Align:
    """What re-samples a hand into the pose in which it is read, by the regions that `weights` find and may leave."""
    from carpal.inference.align import align_for_training
    from carpal.inference.engine import open_engine

    backend = "torch" if weights.endswith(".safetensors") else "onnx"
    return partial(align_for_training, open_engine(weights, backend, threads=1), pseudo=pseudo)  # one radiograph a core


def run_train(arguments: Namespace) -> int:
    """Trains a recipe, or continues its run."""
    from dataclasses import replace

    from carpal.errors import need

    for package in ("torch", "safetensors"):
        need(package, feature="Training", extra="torch")
    from carpal.lab.training import checkpoint, config, loop, recipes

    run = recipes.get(arguments.recipe)
    run = replace(run, data=replace(run.data, stores=tuple(arguments.data)))
    run = config.override(run, arguments.settings)
    if (arguments.out / checkpoint.NAME).exists() and not arguments.resume:
        raise ConfigError(f"{arguments.out} holds a run already - add --resume to continue it, or choose another --out")
    weights = loop.train(run, arguments.out)
    if os.environ.get("RANK", "0") == "0":
        print(weights)
    return 0


def run_export(arguments: Namespace) -> int:
    """Writes the ONNX file and says how close it is to PyTorch."""
    from carpal.errors import need
    from carpal.report.text import facts

    for package in ("torch", "safetensors", "onnx", "onnxscript", "onnxruntime"):
        need(package, feature="Exporting", extra="export")
    from carpal.lab.export.export import export

    info = export(
        arguments.source,
        arguments.out,
        arguments.name,
        arguments.model_version,
        arguments.storage,
        arguments.view_scale,
        not arguments.no_flip,
    )
    size = f"{info.bytes / 1e6:.1f} MB"
    print(facts({"file": str(info.path), "size": size, "sha256": info.sha256, "difference from PyTorch": info.parity}))
    return 0


def run_info(arguments: Namespace) -> int:
    """Prints what the sidecar says, after the hash was checked."""
    from carpal.inference.weights import read_info
    from carpal.report.text import facts

    values = read_info(arguments.weights).as_dict()
    print(json.dumps(values, indent=2) if arguments.json else facts(values))
    return 0
