"""Radiograph to assessment: prepare, run, put the boxes back on the original, say what to be careful about."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError, MissingSex
from carpal.imaging.original import Original
from carpal.imaging.preprocess import Geometry, Prepared, preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.align import USUAL_RADIUS, AlignedView, predict_view, read_aligned
from carpal.inference.engine import Engine, Reading, open_engine
from carpal.trust import refusal, sex_fit, two_hands
from carpal.trust.reasons import refuse
from carpal.types import RANKS, Assessment, Box, Interval, Radiograph, Refusal, Region, Sex

LOW_SCORE: Final = 0.3
"""A region that the network finds with less than this is named in a warning."""
SMALL_SIDE: Final = 256
"""A radiograph with a shorter long side than this was enlarged to twice its size or more."""
TOLERANCE: Final = 0.01
"""Months that rounding may lead outside 0..228 without a word."""


def read(
    source: str | Path | bytes | Radiograph,
    sex: str | Sex | None = None,
    weights: str | Path | Engine = "alanet",
    backend: str = "onnx",
    precision: str | None = None,
) -> Assessment:
    """Reads one radiograph: a path, the bytes of a file, or one that is already decoded.

    `sex` is "female" or "male"; it may be left out where the DICOM file states it. For several radiographs open the
    network once: `engine = carpal.load()`, then `carpal.read(path, sex, engine)`. Raises CarpalError.
    """
    stated = to_sex(sex)
    radiograph = source if isinstance(source, Radiograph) else read_radiograph(source)
    engine = open_engine(weights, backend, None, precision) if isinstance(weights, (str, Path)) else weights
    return assess(radiograph, choose_sex(radiograph, stated), engine)


def to_sex(sex: str | Sex | None) -> Sex | None:
    """ "female" or "male" as a Sex. Raises ConfigError for any other word."""
    try:
        return None if sex is None else Sex(sex)
    except ValueError:
        raise ConfigError(
            f'Sex is "female" or "male" - got {sex!r} - pass one of the two, or None for a DICOM file'
        ) from None


def choose_sex(radiograph: Radiograph, stated: Sex | None) -> Sex:
    """What the caller stated, else what the file states. Raises MissingSex where neither does."""
    sex = stated or radiograph.sex
    if sex is None:
        raise MissingSex(
            f"{radiograph.source}: sex is needed to read a bone age and the file does not state it. "
            "Pass --sex male or --sex female"
        )
    return sex


class Switches(TypedDict, total=False):
    """The keywords of `examine`, for those that pass them on."""

    may_refuse: bool
    one_hand: bool
    align: bool
    stated: bool
    original: Original | None


class Examined(NamedTuple):
    """An assessment, with what the network read and answered; None where the picture itself was refused."""

    assessment: Assessment
    reading: Reading | None = None
    view: AlignedView | None = None


def assess(
    radiograph: Radiograph,
    sex: Sex,
    engine: Engine,
    boxes_original_R4: NDArray[np.float64] | None = None,
    **switches: Unpack[Switches],
) -> Assessment:
    """The bone age of one radiograph and its 17 regions in original pixels, or a refusal and no age at all.

    `boxes_original_R4` replaces the regions that the network would find; NaN leaves one to it.
    Warns, in `Assessment.warnings`, of everything that the result rests on without being certain. Two hands in one
    frame are refused here; `hands.read_hands` reads them apart. `may_refuse=False` reads any picture,
    `one_hand` says that two hands were looked for already. `align=False` reads the prepared image itself:
    networks with and without regions are then compared on the same images. `stated=False` says that the sex is one of
    two that the image is read for: whether it fits is then not asked. `original` holds the radiograph's pixels, where
    something was measured on them already.
    """
    return examine(radiograph, sex, engine, boxes_original_R4, **switches).assessment


def examine(
    radiograph: Radiograph,
    sex: Sex,
    engine: Engine,
    boxes_original_R4: NDArray[np.float64] | None = None,
    *,
    may_refuse: bool = True,
    one_hand: bool = False,
    align: bool = True,
    stated: bool = True,
    original: Original | None = None,
) -> Examined:
    """`assess`, with the network's own answer beside the assessment."""
    original = original or Original(radiograph.pixels_HW)
    refused = _refuse_picture(radiograph, engine, original, one_hand) if may_refuse else None
    if refused is not None:
        return Examined(_refused(radiograph, sex, engine, refused))
    prepared = preprocess(original, engine.long_side)
    given_R4 = None if boxes_original_R4 is None else prepared.geometry.to_prepared(boxes_original_R4)
    male = sex is Sex.MALE
    reading, view = read_aligned(engine, prepared, male, given_R4, original, align)
    refused = _refuse_reading(reading, prepared, radiograph, engine) if may_refuse else None
    if refused is not None:
        return Examined(_refused(radiograph, sex, engine, refused), reading, view)
    regions = _regions(reading, prepared.geometry, radiograph.pixels_HW.shape)
    said = _lay(view) + _warnings(radiograph, sex, prepared.inverted != view.negative, reading, regions)
    if stated:
        said += _other_sex(radiograph, sex, engine, reading, view, given_R4)
    assessment = Assessment(
        image=radiograph.source,
        sex=sex,
        months=_inside(reading.months),
        regions=regions,
        model=engine.model,
        probabilities=tuple(float(p) for p in reading.probabilities_K),
        interval=_interval(engine, sex, reading),
        warnings=(*radiograph.warnings, *said),
    )
    return Examined(assessment, reading, view)


def _interval(engine: Engine, sex: Sex, reading: Reading) -> Interval | None:
    if engine.calibration is None:
        return None
    return engine.calibration.interval(sex, _inside(reading.months), reading.probabilities_K)


def _refuse_picture(radiograph: Radiograph, engine: Engine, original: Original, one_hand: bool) -> Refusal | None:
    """Checks that need no network; those of the looks need limits, which come with the weights."""
    refused = refusal.check_stated(radiograph)
    if refused is None and engine.refusal is not None:
        refused = refusal.check_picture(radiograph, engine.refusal, original)
    if refused is None and not one_hand and two_hands.split(original) is not None:
        return refuse("two-hands", radiograph.source, "two halves with a hand each")
    return refused


def _refuse_reading(reading: Reading, prepared: Prepared, radiograph: Radiograph, engine: Engine) -> Refusal | None:
    limits = engine.refusal
    if limits is None or reading.boxes_R4 is None or reading.scores_R is None or reading.region_months_R is None:
        return None
    height, width = prepared.grey_HW.shape
    found = refusal.find(reading.boxes_R4, reading.scores_R, reading.region_months_R, reading.months, (height, width))
    return refusal.check_reading(found, limits, radiograph.source)


def _refused(radiograph: Radiograph, sex: Sex, engine: Engine, refused: Refusal) -> Assessment:
    """No age in any form: neither months nor probabilities nor regions with ages of their own."""
    return Assessment(radiograph.source, sex, None, (), engine.model, warnings=radiograph.warnings, refused=refused)


def _lay(view: AlignedView) -> list[str]:
    """How the hand lay in the radiograph, where it lay otherwise than usual."""
    if view.pose is not None and not view.usual:
        degrees, size = round(view.degrees), view.pose.radius / USUAL_RADIUS / max(view.prepared_shape)
        return [f"the hand stands {degrees:+d} degrees from upright, {size:.1f} times as large as usual: read upright"]
    return []


def _regions(reading: Reading, geometry: Geometry, shape: tuple[int, ...]) -> tuple[Region, ...]:
    if reading.boxes_R4 is None or reading.scores_R is None or reading.region_months_R is None:
        return ()
    boxes_R4 = clip_boxes(geometry.to_original(reading.boxes_R4), *shape)
    values = zip(REGIONS, boxes_R4.tolist(), reading.scores_R, reading.region_months_R, strict=True)
    return tuple(Region(name, Box(*box), float(score), _inside(float(age))) for name, box, score, age in values)


def clip_boxes(boxes_R4: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Boxes cut to the image; one that lies outside it shrinks to one pixel on the border."""
    x1, y1, x2, y2 = np.asarray(boxes_R4, np.float64).T
    x1, y1 = np.clip(x1, 0, width - 1), np.clip(y1, 0, height - 1)
    return np.stack([x1, y1, np.clip(x2, x1 + 1, width), np.clip(y2, y1 + 1, height)], axis=-1)


def _inside(months: float) -> float:
    return min(max(months, 0.0), float(RANKS - 1))


def _warnings(
    radiograph: Radiograph, sex: Sex, inverted: bool, reading: Reading, regions: tuple[Region, ...]
) -> list[str]:
    found = []
    if radiograph.sex not in (None, sex):
        found.append(f"the file states the sex {radiograph.sex}, the age was read for {sex}, as asked")
    if inverted:
        found.append("the background is bright: the radiograph was read inverted")
    height, width = radiograph.pixels_HW.shape
    if max(height, width) < SMALL_SIDE:
        found.append(f"the image is small ({width} x {height} pixels) and was enlarged: details are missing")
    unsure = [region.name for region in regions if region.score < LOW_SCORE]
    if unsure:
        found.append(f"found with a score below {LOW_SCORE}: {', '.join(unsure)}")
    if abs(reading.months - _inside(reading.months)) > TOLERANCE:
        found.append(f"the network answered {reading.months:.1f} months, outside its scale of 0 to {RANKS - 1}")
    return found


def _other_sex(
    radiograph: Radiograph,
    sex: Sex,
    engine: Engine,
    reading: Reading,
    view: AlignedView,
    given_R4: NDArray[np.float64] | None,
) -> list[str]:
    """Reads the same picture for the other sex where the stated one fits the file's age badly: only for a warning."""
    age = None if radiograph.exam is None else radiograph.exam.age_months
    months = _inside(reading.months)
    if age is None or not sex_fit.is_unusual(sex, age, months):
        return []
    boxes_R4 = None if given_R4 is None else view.boxes_to_view(given_R4)
    other = predict_view(engine, view, sex is not Sex.MALE, boxes_R4)
    return sex_fit.warn(sex, age, months, _inside(other.months))
