"""Fits the thresholds of a refusal to weights, and writes them into their sidecar: `carpal limits`.

Hands are the project's radiographs of the folds that the weights were trained on and the Brazilian ones; no hands are
drawn pictures, other anatomies cut from annotated hands, and the pictures of the folders given. Some are measured and
fit nothing: a folder that is kept out, the hands of the folds that the weights' trainings held out and what is cut from
them, and hands that lack a part or have a cast, a splint or metal over it. The last are made here from annotated
radiographs, fingers up (`spoil`, `cover`), and counted apart: still hands, but none whose age should be trusted as
another's.

The rules, for each number of which hands have one end:

- `surety`: half-way (geometric mean) between the hands' 0.1 % quantile and the others' 99 % quantile, where these lie
  apart; else the hands' 0.2 % quantile.
- `levels`: half of the hands' 0.1 % quantile. `long_side`: `SMALLEST`, which is a judgement; the
  row "down-sampling" of the stress certificate says what it costs.
- `hidden`: `MISSED`, since one region can be missed by chance; `found`: the score that at most 0.5 % of the hands miss
  with a region more.
- the others: a quarter further from the hands' median than their 99.9 % quantile; `outside` at least 0, the edge.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

import carpal
from carpal.anatomy import INDEX
from carpal.checkout import commit, without_machine
from carpal.errors import CarpalError
from carpal.imaging.preprocess import is_inverted, preprocess
from carpal.imaging.raster import IN_COLOUR
from carpal.imaging.read import read_radiograph
from carpal.inference.align import read_aligned
from carpal.inference.engine import Engine, open_engine
from carpal.inference.weights import read_info, resolve, sidecar_of
from carpal.lab.data import shared
from carpal.lab.data.prepare import Sample
from carpal.lab.evaluation import negatives
from carpal.lab.evaluation.negatives import FINGERS
from carpal.quality import thresholds, two_hands
from carpal.quality.ood import Picture, measure
from carpal.quality.thresholds import LOOKS, Found, Limits, Usual
from carpal.types import Radiograph

SMALLEST: Final = 96.0
MISSED: Final = 1
FURTHER: Final = 1.25
HANDS: Final = ("rsna", "brazil")
AT_ONCE: Final = 64


class Case(NamedTuple):
    """A picture whose kind is known: "rsna" and "brazil" are hands, nothing else is."""

    kind: str
    name: str
    radiograph: Radiograph
    male: bool = False


class Seen(NamedTuple):
    """What was measured of a case."""

    kind: str
    name: str
    coloured: bool
    picture: Picture
    found: Found | None
    two_hands: bool = False
    """A hand that would be taken for two."""


def radiographs(source: Path, folds: Collection[int], limit: int | None = None, start: int = 0) -> Iterator[Case]:
    """Hands of these folds of the data folder in a fixed random order, from `start` up to `limit`; None gives all."""
    samples = [sample for sample in shared.images(source) if sample.fold in folds]
    for index in np.random.default_rng(0).permutation(len(samples))[start:limit]:
        sample = samples[index]
        yield Case("rsna", sample.id, read_radiograph(sample.read(), sample.name), bool(sample.male))


def brazilians(source: Path, limit: int | None = None, start: int = 0) -> Iterator[Case]:
    """The Brazilian hands, as `radiographs` gives those of the folds."""
    files = sorted((source / "external" / "brazil").glob("*.jpg"))
    for index in np.random.default_rng(0).permutation(len(files))[start:limit]:
        yield Case("brazil", files[index].name, read_radiograph(files[index]))


def others(source: Path, folds: Collection[int], each: int) -> Iterator[Case]:
    """`each` drawn pictures of every family, and `cuts`."""
    for family in negatives.FAMILIES:
        for seed in range(each):
            yield Case(f"drawn {family}", str(seed), Radiograph(negatives.draw(family, seed), f"{family} {seed}"))
    yield from cuts(source, folds, each)


def cuts(source: Path, folds: Collection[int], each: int | None = None) -> Iterator[Case]:
    """Other anatomies cut from `each` annotated hands of these folds (None: all)."""
    for place, (sample, pixels_HW, points_R3) in enumerate(_annotated(source, folds, each)):
        for kind in negatives.CUTS:
            piece_HW = negatives.cut(pixels_HW, points_R3, kind, 2 + place % 4)
            if piece_HW is not None:
                yield Case(f"cut {kind}", sample.id, Radiograph(piece_HW, sample.name), bool(sample.male))


def spoils(source: Path, folds: Collection[int], each: int) -> Iterator[Case]:
    """`each` hands of these folds, after every one of `spoiled.KINDS`.

    Only hands that are annotated down to the ulna; fewer where there are fewer.
    """
    done = 0
    for sample, pixels_HW, points_R3 in _annotated(source, folds):
        made = {kind: spoil(pixels_HW, points_R3, kind, 2 + done % 4) for kind in KINDS}
        whole = {kind: spoiled_HW for kind, spoiled_HW in made.items() if spoiled_HW is not None}
        if len(whole) < len(made):
            continue
        if done == each:
            return
        done += 1
        for kind, spoiled_HW in whole.items():
            yield Case(kind, sample.id, Radiograph(spoiled_HW, sample.name), bool(sample.male))


def _annotated(
    source: Path, folds: Collection[int], each: int | None = None
) -> Iterator[tuple[Sample, NDArray[Any], NDArray[np.float64]]]:
    """Samples with regions in a fixed random order, their pixels, and the regions (x, y, v) in these."""
    annotated = [s for s in shared.images(source) if s.fold in folds and s.regions is not None]
    for index in np.random.default_rng(1).permutation(len(annotated))[:each]:
        sample = annotated[index]
        assert sample.regions is not None
        pixels_HW = read_radiograph(sample.read(), sample.name).pixels_HW
        height, width = pixels_HW.shape
        yield sample, pixels_HW, sample.regions.fractions(width, height) * [width, height, 1]


def pictures(folder: Path) -> Iterator[Case]:
    """Every file below a folder that decodes as an image."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                yield Case(folder.name, path.name, read_radiograph(path))
            except CarpalError:
                continue


def look(case: Case, engine: Engine | None = None) -> Seen:
    """Measures a case: its looks, and what the network finds in it, where one is given."""
    pixels_HW = case.radiograph.pixels_HW
    two = case.kind in HANDS and two_hands.split(pixels_HW) is not None
    seen = Seen(case.kind, case.name, IN_COLOUR in case.radiograph.warnings, measure(pixels_HW), None, two)
    if engine is None:
        return seen
    prepared = preprocess(pixels_HW, engine.long_side)
    reading, _ = read_aligned(engine, prepared, case.male, source=pixels_HW)
    if reading.boxes_R4 is None or reading.scores_R is None or reading.region_months_R is None:
        return seen
    height, width = prepared.grey_HW.shape
    values = reading.boxes_R4, reading.scores_R, reading.region_months_R
    return seen._replace(found=thresholds.find(*values, reading.months, (height, width)))


def fit_limits(seen: Sequence[Seen]) -> Limits:
    """The limits by the rules above. AssertionError without hands or without others: a mistake of the caller."""
    hands = [case for case in seen if case.kind in HANDS]
    found = [case.found for case in hands if case.found is not None]
    strange = [case.found.surety for case in seen if case.kind not in HANDS and case.found is not None]
    assert len(found) > len(LOOKS), "more hands are needed to fit limits"
    assert strange, "pictures of no hand are needed to fit limits"
    usual = Usual.of([case.picture for case in hands])
    return Limits(
        long_side=SMALLEST,
        levels=float(np.floor(np.quantile([case.picture.levels for case in hands], 0.001) / 2)),
        oddness=_beyond([usual.oddness(case.picture) for case in hands]),
        surety=between([f.surety for f in found], strange),
        misfit=_beyond([f.misfit for f in found]),
        stretch=_beyond([f.stretch for f in found]),
        outside=max(0.0, _beyond([f.outside for f in found])),
        hidden=float(MISSED),
        found=_down(np.quantile([sorted(f.scores_R)[MISSED] for f in found], 0.005, method="lower")),
        disagreement=_beyond([f.disagreement for f in found]),
        usual=usual,
    )


def between(hands: Sequence[float], strange: Sequence[float]) -> float:
    """A lower limit half-way between both, where they lie apart; else one that costs 0.2 % of the hands."""
    low, high = float(np.quantile(hands, 0.001)), float(np.quantile(strange, 0.99))
    return round(float(np.sqrt(low * high)) if 0 < high < low else float(np.quantile(hands, 0.002)), 4)


def _beyond(values: Sequence[float]) -> float:
    median, far = np.quantile(values, [0.5, 0.999])
    return round(float(median + FURTHER * (far - median)), 3)


def _down(value: float) -> float:
    """With four decimals and not larger, so that the hand it comes from passes."""
    return float(np.floor(value * 1e4) / 1e4)


def judge(case: Seen, limits: Limits) -> str:
    """The code that a case is refused with, in the order of `assess`; "" where it passes.

    Only hands are refused as two hands: `carpal assess` reads the halves of any other picture apart.
    """
    code = "not-a-radiograph" if case.coloured else thresholds.judge_picture(case.picture, limits)[0]
    code = code or ("two-hands" if case.two_hands else "")
    return code or ("" if case.found is None else thresholds.judge_reading(case.found, limits)[0])


def table(seen: Iterable[Seen], limits: Limits) -> dict[str, Any]:
    """For each kind: how many there were, how many of them the network read, how many were refused, with which codes.

    Those that the network did not read passed or failed the checks of the picture alone.
    """
    kinds: defaultdict[str, list[Seen]] = defaultdict(list)
    for case in seen:
        kinds[case.kind].append(case)
    counted = {}
    for kind, cases in kinds.items():
        codes = Counter(code for case in cases if (code := judge(case, limits)))
        read = sum(case.found is not None for case in cases)
        counted[kind] = {"n": len(cases), "read_by_network": read, "refused": codes.total(), "codes": dict(codes)}
    return counted


def fit(
    source: Path,
    weights: str = "alanet",
    pictures_of: Sequence[Path] = (),
    kept_out: Sequence[Path] = (),
    limit: int = 200,
    each: int = 5,
) -> dict[str, Any]:
    """The sidecar's field `refusal`: the limits, and how many of each kind of picture they refuse. "spoiled" is apart.

    `source` is the data folder; `limit` hands of each source and `each` pictures of every drawn and cut kind are read
    by the network, the other hands go through the checks of the picture alone (`read_by_network` of the table); a limit
    beyond the largest source reads all. Raises DataError, WeightsError, BackendError.
    """
    engine = open_engine(weights, threads=1)
    held_out = read_info(weights).held_out
    known = set(range(shared.FOLDS)).difference(held_out)
    hands = radiographs(source, known, limit), brazilians(source, limit)
    fitted = [*hands, others(source, known, each), *map(pictures, pictures_of)]
    seen = look_at(chain.from_iterable(fitted), engine)
    seen += look_at(chain(radiographs(source, known, start=limit), brazilians(source, start=limit)))
    limits = fit_limits(seen)
    tests = [*map(pictures, kept_out), radiographs(source, held_out, limit), cuts(source, held_out)]
    kept = look_at(chain.from_iterable(tests), engine)
    kept += look_at(radiographs(source, held_out, start=limit))
    words: list[tuple[str, str | Path]] = [("--source", source), ("--weights", weights)]
    words += [("--pictures", folder) for folder in pictures_of] + [("--kept-out", folder) for folder in kept_out]
    named = [f"{flag} {without_machine(path)}" for flag, path in words]
    return limits.as_dict() | {
        "fitted_on": table(seen, limits),
        "kept_out": table(kept, limits),
        "spoiled": table(look_at(spoils(source, held_out, each), engine), limits),
        "held_out": list(held_out),
        "command": " ".join(["carpal limits", *named, f"--limit {limit} --each {each}"]),
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "carpal": carpal.__version__,
    }


def write(weights: str, block: Mapping[str, Any]) -> Path:
    """Puts the field into the weights' sidecar, and returns its path."""
    sidecar = sidecar_of(resolve(weights))
    values = json.loads(sidecar.read_text(encoding="utf-8")) | {"refusal": block}
    sidecar.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return sidecar


def look_at(cases: Iterable[Case], engine: Engine | None = None) -> list[Seen]:
    """`look` at each, as many at the same time as there are cores; `AT_ONCE` at most are in memory."""
    waiting = iter(cases)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        parts = iter(lambda: list(islice(waiting, AT_ONCE)), [])
        return list(_progress(one for part in parts for one in pool.map(lambda case: look(case, engine), part)))


def _progress(seen: Iterable[Seen]) -> Iterator[Seen]:
    for done, one in enumerate(seen, 1):
        yield one
        if sys.stderr.isatty() or done % 50 == 0:
            print(f"\r{done} pictures", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


KINDS: Final = ("cut wrist", "cut fingertips", "cast", "splint", "metal")
OPACITY: Final = {"cast": 0.5, "splint": 0.8, "metal": 1.0}
SMALLEST_COVER: Final = 32
Line = tuple[NDArray[np.float64], NDArray[np.float64]]


def spoil(pixels_HW: NDArray[Any], points_R3: NDArray[np.float64], kind: str, digit: int = 3) -> NDArray[Any] | None:
    """The hand after one of `KINDS`; None where points (x, y, v, in its pixels) lack or too little would be left.

    "cut wrist" ends above the carpals, "cut fingertips" begins below the longest finger's DIP. A cast lies around the
    forearm from the carpals down, half transparent; a splint along finger `digit`; metal is a plate along the radius
    and a pin through that finger. Type and range stay.
    """
    names = ("Radius", "Ulna", "Wrist", "DIP3", *FINGERS[digit])
    chosen_N3 = points_R3[[INDEX[name] for name in names]]
    if not (chosen_N3[:, 2] > 0).all():
        return None
    at = dict(zip(names, chosen_N3[:, :2], strict=True))
    length = float(np.ptp(points_R3[points_R3[:, 2] > 0, 1]))
    wrist = max(0, round(min(float(at[name][1]) for name in ("Radius", "Ulna", "Wrist")) - 0.04 * length))
    if kind in ("cut wrist", "cut fingertips"):
        below_tips = max(0, round(float(at["DIP3"][1]) + 0.03 * length))
        left_HW = pixels_HW[:wrist] if kind == "cut wrist" else pixels_HW[below_tips:]
        return left_HW if min(left_HW.shape) >= SMALLEST_COVER else None
    mcp, pip, dip = (at[name] for name in FINGERS[digit])
    down = np.array([0, length])
    lines: dict[str, list[Line]] = {
        "cast": [],
        "splint": [(mcp, dip - 0.08 * down)],
        "metal": [(at["Radius"] - 0.06 * down, at["Radius"] + 0.25 * down), (mcp, pip)],
    }
    covered = Image.new("L", pixels_HW.shape[::-1], 0)
    canvas = ImageDraw.Draw(covered)
    if kind == "cast":
        sides = [float(at[name][0]) + way * 0.2 * length for name in ("Radius", "Ulna") for way in (-1, 1)]
        canvas.rectangle((min(sides), wrist, max(sides), pixels_HW.shape[0]), fill=255)
    for start, end in lines[kind]:
        ends = [(float(x), float(y)) for x, y in (start, end)]
        canvas.line(ends, fill=255, width=max(2, round((0.03 if kind == "metal" else 0.07) * length)))
    return cover(pixels_HW, np.asarray(covered.filter(ImageFilter.GaussianBlur(1))) / 255, OPACITY[kind])


def cover(pixels_HW: NDArray[Any], share_HW: NDArray[np.float64], opacity: float) -> NDArray[Any]:
    """Something opaque to X-rays over a share (0 to 1) of each pixel, as bright as the brightest bone, a little grainy.

    Of a negative it is the darkest.
    """
    low, high = float(pixels_HW.min()), float(pixels_HW.max())
    grain_HW = np.random.default_rng(0).normal(0, 0.02 * (high - low), pixels_HW.shape)
    opaque = low if is_inverted(pixels_HW) else high
    laid_HW = share_HW * opacity
    mixed_HW = np.clip((1 - laid_HW) * pixels_HW + laid_HW * (opaque + grain_HW), low, high)
    covered_HW: NDArray[Any] = (mixed_HW if pixels_HW.dtype.kind == "f" else np.rint(mixed_HW)).astype(pixels_HW.dtype)
    return covered_HW
