"""`carpal quantize`: released float weights and real radiographs -> an int8 file, written only if it passes its gate.

Which blocks of the network become integers is found on radiographs of the training folds: each block alone is made
int8, and how far the ages and regions then move is measured. Their squares add up, as errors of independent roundings
do; the blocks that move most stay in float32 until the sum is below `AIM`.

The gate compares whole assessments of the two networks on the folds that the weights' trainings held out: may the
second stand in for the first? It says no rather than maybe.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import carpal
from carpal.errors import ConfigError, WeightsError
from carpal.imaging.preprocess import gaussian_blur, pad, preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.assess import assess
from carpal.inference.engine import Engine, open_engine
from carpal.inference.onnx import no_boxes, open_session
from carpal.inference.weights import WeightsInfo, put_in_place, read_info, sidecar_of, update_sidecar
from carpal.lab.data import shared
from carpal.lab.data.prepare import Sample
from carpal.lab.evaluation.age import bootstrap_means, interval
from carpal.lab.evaluation.boxes import hand_length
from carpal.lab.export import int8 as quantise
from carpal.types import Sex

EVERY: Final = 100


class Limits(NamedTuple):
    """The mean absolute error may change by so many months, the regions' centres by this share of the hand's length."""

    months: float
    shift: float


LIMITS: Final = Limits(0.1, 0.003)


class Read(NamedTuple):
    """One radiograph: its reference age, the age that was read, the 17 centres in pixels of the original."""

    boneage: float
    months: float
    centres_R2: NDArray[np.float64]


@dataclass(frozen=True)
class Gate:
    """What the comparison found; ages in months, shifts as shares of the hand's length (DIP3 to wrist, as found)."""

    n: int
    mae_first: float
    mae_second: float
    mae_difference: float
    """Second less first, on the same radiographs; its 95 % bootstrap interval follows."""
    mae_difference_ci95: tuple[float, float]
    bias: float
    mean_absolute: float
    """How far apart the two ages of a radiograph are, on average, and at most."""
    max_absolute: float
    mean_shift: float
    max_shift: float
    passed: bool

    def __str__(self) -> str:
        low, high = self.mae_difference_ci95
        return (
            f"MAE {self.mae_first:.3f} to {self.mae_second:.3f} months on {self.n} radiographs, difference "
            f"{self.mae_difference:+.3f} ({low:+.3f} to {high:+.3f}), ages {self.mean_absolute:.2f} apart on average "
            f"(at most {self.max_absolute:.1f}), regions {100 * self.mean_shift:.3f} % of the hand's length"
        )


def judge(first: Sequence[Read], second: Sequence[Read], limits: Limits = LIMITS) -> Gate:
    """Compares two networks on the same radiographs, in the same order."""
    age_N, first_N = np.array([each.boneage for each in first]), np.array([each.months for each in first])
    second_N = np.array([each.months for each in second])
    paired_N = np.abs(second_N - age_N) - np.abs(first_N - age_N)
    shift_N = np.array(
        [
            np.linalg.norm(a.centres_R2 - b.centres_R2, axis=-1).mean() / hand_length(a.centres_R2)
            for a, b in zip(first, second, strict=True)
        ]
    )
    difference, shift = float(paired_N.mean()), float(shift_N.mean())
    low, high = interval(bootstrap_means(paired_N))
    return Gate(
        n=len(age_N),
        mae_first=round(float(np.abs(first_N - age_N).mean()), 4),
        mae_second=round(float(np.abs(second_N - age_N).mean()), 4),
        mae_difference=round(difference, 4),
        mae_difference_ci95=(round(low, 4), round(high, 4)),
        bias=round(float((second_N - first_N).mean()), 4),
        mean_absolute=round(float(np.abs(second_N - first_N).mean()), 4),
        max_absolute=round(float(np.abs(second_N - first_N).max()), 4),
        mean_shift=round(shift, 6),
        max_shift=round(float(shift_N.max()), 6),
        passed=abs(difference) < limits.months and shift < limits.shift,
    )


def read_samples(engine: Engine, samples: Iterable[Sample], say: Callable[[str], None]) -> list[Read]:
    """Whole assessments, nothing refused, with a line now and then."""
    read: list[Read] = []
    for sample in samples:
        radiograph = read_radiograph(sample.read(), sample.name)
        found = assess(radiograph, Sex.MALE if sample.male else Sex.FEMALE, engine, may_refuse=False)
        assert found.months is not None, "nothing is refused"
        assert sample.boneage is not None, "the folds are of labelled radiographs"
        read.append(Read(sample.boneage, found.months, np.array([region.box.centre for region in found.regions])))
        if len(read) % EVERY == 0:
            say(f"{engine.model.precision} by {engine.model.backend}: {len(read)} radiographs read")
    return read


CALIBRATION, SEARCH = 40, 12
"""Radiographs for the ranges, and others for the choice of blocks; all of the folds that were trained on."""
TRIES: Final = 5
"""After as many failed gates, each with one more block in float32, it is given up."""
MOST_BYTES: Final = 64_000_000


class Effect(NamedTuple):
    """How far one view's answers move: root mean square of months, median over the images of the regions' mean shift.

    The median, because in one of a dozen images two proposals are worth the same, and any change at all swaps them.
    """

    months: float
    shift: float


AIM: Final = Effect(0.6, 0.0025)
"""Where the choice of blocks starts: as few in float32 as may pass. What passes, the gate alone decides."""


def quantize(
    weights: str | Path, data: Path, out: Path, *, default: bool = False, keep: Sequence[str] = ()
) -> WeightsInfo:
    """Writes `out` (.onnx) and its sidecar from an exported float file; `data` is the project's data folder.

    Where `out` lies beside the float file, that one's sidecar names it, so that --precision int8 finds it; `default`
    makes it what is used where nobody asks. `keep` names blocks that stay in float32 in any case. Raises WeightsError
    with what was measured where the gate fails, ConfigError, DataError; then nothing was written.
    """
    info = read_info(weights)
    _check(info, out, default)
    samples = shared.images(data)
    known = spread([s for s in samples if s.fold not in info.held_out], CALIBRATION + SEARCH)
    held_out = [s for s in samples if s.fold in info.held_out]
    model = quantise.float_form(info.path.read_bytes())
    blocks = quantise.blocks(model)
    if unknown := sorted(set(keep) - set(blocks)):
        raise ConfigError(f"--keep {' '.join(unknown)}: no such block - the blocks are {', '.join(blocks)}")
    search = known[:: len(known) // SEARCH][:SEARCH]
    feeds = [_feed(s, info.long_side, bool(i % 2)) for i, s in enumerate(s for s in known if s not in search)]
    _say(f"ranges from {len(feeds)} radiographs outside folds {_list(info.held_out)}")
    histograms = quantise.observe(model, feeds)
    effects = measure_blocks(model, histograms, blocks, [_feed(s, info.long_side) for s in search])
    floats = [*keep, *(name for name in choose(effects) if name not in keep)]
    reference = read_samples(open_engine(info.path, precision="fp32"), held_out, _say)
    for _ in range(TRIES):
        nodes = [node for name, inside in blocks.items() if name not in floats for node in inside]
        content = quantise.quantise(model, histograms, nodes)
        sidecar = _sidecar(info, effects, floats, len(feeds))
        gates = _gates(content, sidecar, reference, held_out)
        if all(gate.passed for gate in gates.values()) and len(content) <= MOST_BYTES:
            return _write(info, out, content, sidecar, gates, default)
        if not (rest := [name for name in harm(effects) if name not in floats]):
            break
        floats = [*floats, rest[0]]
    raise WeightsError(
        f"The int8 network is too far from {info.path.name} - {'; '.join(map(str, gates.values()))}; allowed are "
        f"{LIMITS.months} months and {100 * LIMITS.shift:g} % - nothing was written; keep more blocks with --keep"
    )


def spread(samples: Sequence[Sample], count: int) -> list[Sample]:
    """`count` samples at equal steps through sex and age: every age is there, none twice."""
    ordered = sorted(samples, key=lambda s: (s.male, s.boneage, s.id))
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]


def measure_blocks(
    model: Any, histograms: dict[str, quantise.Histogram], blocks: quantise.Blocks, feeds: Sequence[quantise.Feed]
) -> dict[str, Effect]:
    """The effect of each block alone in int8, on these inputs."""
    wanted = _run(model.SerializeToString(), feeds)
    effects = {}
    for name, nodes in blocks.items():
        effects[name] = effect(wanted, _run(quantise.quantise(model, histograms, nodes), feeds))
        _say(f"{name:<28} {effects[name].months:.3f} months, {100 * effects[name].shift:.3f} %")
    return effects


def effect(wanted: Sequence[tuple[Any, Any]], found: Sequence[tuple[Any, Any]]) -> Effect:
    """From (months, boxes (17, 4)) of the same inputs by two networks."""
    months = [second[0] - first[0] for first, second in zip(wanted, found, strict=True)]
    shifts = []
    for (_, first_R4), (_, second_R4) in zip(wanted, found, strict=True):
        first_R2, second_R2 = (boxes_R4.reshape(-1, 2, 2).mean(1) for boxes_R4 in (first_R4, second_R4))
        length = np.linalg.norm(first_R2[:, None] - first_R2[None], axis=-1).max()
        shifts.append(float(np.linalg.norm(first_R2 - second_R2, axis=-1).mean() / length))
    return Effect(float(np.sqrt(np.mean(np.square(months)))), float(np.median(shifts)))


def harm(effects: dict[str, Effect]) -> list[str]:
    """The blocks, the one that uses up most of `AIM` first."""
    return sorted(effects, key=lambda name: -float(np.square(np.divide(effects[name], AIM)).sum()))


def choose(effects: dict[str, Effect]) -> list[str]:
    """The blocks that stay in float32: as few as bring the root of the sum of squares of the others to `AIM`."""
    order = harm(effects)
    for count in range(len(order)):
        rest = np.array([effects[name] for name in order[count:]])
        if (np.sqrt(np.square(rest).sum(0)) <= AIM).all():
            return order[:count]
    return order


def _feed(sample: Sample, long_side: int, mirrored: bool = False) -> quantise.Feed:
    """What the network gets of a sample: as `inference/tta.py` makes it."""
    grey_HW = gaussian_blur(preprocess(read_radiograph(sample.read(), sample.name).pixels_HW, long_side).grey_HW)
    padded_HW, _ = pad(grey_HW[:, ::-1] if mirrored else grey_HW)
    image_B1HW = np.ascontiguousarray(padded_HW, np.float32)[None, None]
    return {"image": image_B1HW, "male": np.array([sample.male], np.float32), "given_boxes": no_boxes(1)}


def _run(content: bytes, feeds: Iterable[quantise.Feed]) -> list[tuple[Any, Any]]:
    session = open_session(content)
    answers = (session.run(["months", "boxes"], feed) for feed in feeds)
    return [(float(months_1[0]), boxes_1R4[0]) for months_1, boxes_1R4 in answers]


def _gates(content: bytes, sidecar: dict[str, Any], reference: list[Read], samples: list[Sample]) -> dict[str, Gate]:
    """The gate of every runtime that is installed here."""
    gates = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "candidate.onnx"
        put_in_place(path, content, sidecar)
        for backend in ("onnx", "openvino"):
            engine = _open(path, backend)
            if engine is not None:
                gates[backend] = judge(reference, read_samples(engine, samples, _say))
                _say(f"{backend}: {gates[backend]}")
    return gates


def _open(path: Path, backend: str) -> Engine | None:
    from importlib.util import find_spec

    return None if backend == "openvino" and find_spec("openvino") is None else open_engine(path, backend)


def _sidecar(info: WeightsInfo, effects: dict[str, Effect], floats: list[str], count: int) -> dict[str, Any]:
    values = info.as_dict()
    kept = (
        "name",
        "version",
        "long_side",
        "regions",
        "architecture",
        "training",
        "parity",
        "licence",
        "view_scale",
        "flip",
    )
    return {name: values[name] for name in kept} | {
        "sha256": "",
        "precision": "int8",
        "refusal": values["refusal"],
        "calibration": values["calibration"],
        "quantised": {
            "source": info.sha256,
            "float32_blocks": floats,
            "calibration": f"{count} radiographs outside folds {_list(info.held_out)}, {quantise.SHARE} of the values",
            "effects": {
                name: {"months": round(e.months, 4), "shift": round(e.shift, 6)} for name, e in effects.items()
            },
            "carpal": carpal.__version__,
            "date": datetime.now(UTC).date().isoformat(),
        },
    }


def _write(
    info: WeightsInfo, out: Path, content: bytes, sidecar: dict[str, Any], gates: dict[str, Gate], default: bool
) -> WeightsInfo:
    measured = {"folds": list(info.held_out), **{backend: asdict(gate) for backend, gate in gates.items()}}
    sidecar["quantised"]["gate"] = measured
    put_in_place(out, content, sidecar)
    if out.parent.resolve() == info.path.parent.resolve():
        preferred = {"default_precision": "int8"} if default else {}
        update_sidecar(info.path, {"int8": out.name, **preferred})
    return read_info(out, None)


def _check(info: WeightsInfo, out: Path, default: bool) -> None:
    if info.path.suffix != ".onnx" or info.precision != "fp32" or not info.regions:
        raise WeightsError(f"{info.path} cannot be quantised - it is no float32 .onnx file with regions - export one")
    if not info.held_out:
        raise WeightsError(
            f"{info.path} cannot be quantised - its sidecar names no fold that its training held out, and the gate "
            "needs radiographs that it has not seen - train with --set data.holdout=0"
        )
    if out.suffix != ".onnx" or not out.parent.is_dir():
        raise ConfigError(f"{out} cannot be written - it must end in .onnx, in a folder that exists - choose another")
    if out.resolve() == info.path.resolve() or sidecar_of(out).resolve() == sidecar_of(info.path).resolve():
        raise ConfigError(
            f"{out} would overwrite {info.path} - choose another name, such as {info.path.stem}.int8.onnx"
        )
    if default and out.parent.resolve() != info.path.parent.resolve():
        raise ConfigError(f"--default needs --out beside {info.path}, whose sidecar then names it - choose that folder")


def _list(folds: Iterable[int]) -> str:
    return ", ".join(map(str, folds))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
