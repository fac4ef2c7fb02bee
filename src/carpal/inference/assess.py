"""Radiograph to assessment: checked, prepared, read, its boxes put back on the original, and judged.

`assess` reads one hand and says what to be careful about; `judge` decides what the reading means by what is known of
the child and the hospital; `read_frame` and `read_hands` see what a frame holds: one hand, or two that are read apart;
a stated sex, or both where nobody knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS
from carpal.errors import ConfigError, MissingSex
from carpal.growth.reference import Reference, reference, score
from carpal.imaging.intensity import Original
from carpal.imaging.preprocess import Geometry, Prepared, preprocess
from carpal.imaging.read import read_radiograph
from carpal.inference.align import USUAL_RADIUS, AlignedView, predict_view, read_aligned
from carpal.inference.engine import Engine, Reading, open_engine
from carpal.quality import sex_check, thresholds, two_hands
from carpal.quality.site import Site
from carpal.quality.thresholds import refuse
from carpal.types import RANKS, Assessment, BothSexes, Box, Interval, Radiograph, Refusal, Region, Result, Sex

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
    """Reads the bone age of the one hand that a radiograph shows.

    For several radiographs open the network once: `engine = carpal.load()`, then `carpal.read(path, sex, engine)`.

    Args:
        source: a path, an address as s3://bucket/hand.png, the bytes of a file (PNG, JPEG, TIFF, WebP, DICOM), or a
            radiograph that is already decoded.
        sex: "female" or "male"; None only where the DICOM file states it. It is never guessed.
        weights: the name of released weights, a file's path, or what `carpal.load` returned; then `backend` and
            `precision` are not looked at.
        backend: "onnx", "openvino" or "torch".
        precision: "fp32" or "int8"; None takes what the weights' sidecar prefers.

    Returns:
        The age in months (0 to 228) with its interval and regions, boxes in pixels of the original, and where the file
        states the chronological age, the z-score by the default reference; or, where no age
        should be read (no hand, two hands, an adult), an assessment whose `refused` says why and that holds no number.

    Raises:
        UnreadableImage: the bytes are no image that can be decoded.
        UnsuitableImage: the image is too small, too large, blank, or has several frames.
        MissingSex: `sex` is None and the file states none.
        ConfigError: no such sex, backend or precision, or an address that cannot be opened.
        WeightsError: no such weights, another hash than their sidecar's, or no int8 form of them.
        BackendError: a runtime or a reader of the file's format is not installed, or the network gives NaN or infinity.
    """
    stated = to_sex(sex)
    radiograph = source if isinstance(source, Radiograph) else read_radiograph(source)
    engine = open_engine(weights, backend, None, precision) if isinstance(weights, (str, Path)) else weights
    return judge(assess(radiograph, choose_sex(radiograph, stated), engine), Facts(radiograph.age_months))


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


@dataclass(frozen=True)
class Facts:
    """What a reading is judged by, besides the radiograph; what is None is not known, and nothing follows from it."""

    age_months: float | None = None
    """The chronological age on the day of the radiograph."""
    site: Site | None = None
    """A hospital's calibration, of the weights that read."""
    reference: Reference | None = None
    """The children to compare with; None for the default ones."""


@overload
def judge(result: Assessment, facts: Facts) -> Assessment: ...
@overload
def judge(result: BothSexes, facts: Facts) -> BothSexes: ...
def judge(result: Result, facts: Facts) -> Result:
    """What a hand's reading means, decided once for every output: age, interval, z-score, or no age at all.

    The site's calibration moves age and interval; an adult's chronological age (`thresholds.ADULT_MONTHS`) takes
    them away; otherwise the age given has its z-score. A refusal stays as it is. Raises ConfigError for a calibration
    of other weights, or of what is calibrated already.
    """
    if isinstance(result, BothSexes):
        return BothSexes(judge(result.female, facts), judge(result.male, facts))
    if result.months is None:
        return result
    if facts.site is not None:
        result = facts.site.apply(result)
    age = facts.age_months
    if age is None or result.months is None:
        return result
    if age >= thresholds.ADULT_MONTHS:
        refused = refuse("adult", result.image, f"the stated age is {thresholds.ADULT_MONTHS // 12} years or more")
        side = result.side_in_image
        return Assessment(result.image, result.sex, None, (), result.model, refused=refused, side_in_image=side)
    return replace(result, growth=score(result.sex, result.months, age, facts.reference or reference()))


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
    frame are refused here; `read_hands` reads them apart. `may_refuse=False` reads any picture,
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
    refused = thresholds.check_stated(radiograph)
    if refused is None and engine.refusal is not None:
        refused = thresholds.check_picture(radiograph, engine.refusal, original)
    if refused is None and not one_hand and two_hands.split(original) is not None:
        return refuse("two-hands", radiograph.source, "two halves with a hand each")
    return refused


def _refuse_reading(reading: Reading, prepared: Prepared, radiograph: Radiograph, engine: Engine) -> Refusal | None:
    limits = engine.refusal
    if limits is None or reading.boxes_R4 is None or reading.scores_R is None or reading.region_months_R is None:
        return None
    height, width = prepared.grey_HW.shape
    regions = reading.boxes_R4, reading.scores_R, reading.region_months_R
    found = thresholds.find(*regions, reading.months, (height, width))
    return thresholds.check_reading(found, limits, radiograph.source)


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
    if age is None or not sex_check.is_unusual(sex, age, months):
        return []
    boxes_R4 = None if given_R4 is None else view.boxes_to_view(given_R4)
    other = predict_view(engine, view, sex is not Sex.MALE, boxes_R4)
    return sex_check.warn(sex, age, months, _inside(other.months))


APART_MONTHS: Final = 12.0
"""Two hands of a child further apart than this are flagged where the weights give no interval."""


def read_hands(
    radiograph: Radiograph, sex: Sex | None, engine: Engine, facts: Facts | None = None
) -> list[Assessment] | list[BothSexes]:
    """One result for each hand in the frame, left (or upper) one first, judged; boxes in pixels of the whole frame.

    `sex` None means that it is unknown: each hand is then read for both sexes, and has two ages instead of one. Each is
    judged by `facts`, None for the chronological age that the file states. Raises what `judge` does.
    """
    facts = facts or Facts(radiograph.age_months)
    original = Original(radiograph.pixels_HW)
    if sex is not None:
        return [judge(one, facts) for one in read_frame(radiograph, sex, engine, original)]
    female, male = (read_frame(radiograph, either, engine, original, stated=False) for either in (Sex.FEMALE, Sex.MALE))
    return [judge(BothSexes(one, other), facts) for one, other in zip(female, male, strict=True)]


def read_frame(
    radiograph: Radiograph, sex: Sex, engine: Engine, original: Original, stated: bool = True
) -> list[Assessment]:
    """One assessment for each hand in the frame. Two hands whose ages differ beyond their intervals are flagged.

    `original` holds the radiograph's pixels. `stated` says that the sex was stated, not tried: only then a warning may
    say that it fits badly.
    """
    halves = two_hands.split(original)
    if halves is None:
        return [assess(radiograph, sex, engine, one_hand=True, stated=stated, original=original)]
    hands = [_read_half(radiograph, half, sex, engine, stated) for half in halves]
    warning = difference(*hands)
    return [replace(hand, warnings=(*hand.warnings, *warning)) for hand in hands]


def _read_half(radiograph: Radiograph, half: two_hands.Half, sex: Sex, engine: Engine, stated: bool) -> Assessment:
    """A half on its own, with its regions moved to where they lie in the frame."""
    hand = assess(replace(radiograph, pixels_HW=half.cut(radiograph.pixels_HW)), sex, engine, stated=stated)
    return replace(_moved(hand, half.left, half.top), side_in_image=half.side_in_image)


def _moved(hand: Assessment, right: int, down: int) -> Assessment:
    def moved(box: Box) -> Box:
        return Box(box.x1 + right, box.y1 + down, box.x2 + right, box.y2 + down)

    regions: tuple[Region, ...] = tuple(replace(region, box=moved(region.box)) for region in hand.regions)
    return replace(hand, regions=regions)


def cut_out(radiograph: Radiograph, result: Result) -> tuple[Radiograph, Result]:
    """One of two hands for a picture of its own: its half of the frame, boxes in pixels of that half.

    A hand that has the frame to itself comes back as it is.
    """
    one = result.female if isinstance(result, BothSexes) else result
    halves = two_hands.split(radiograph.pixels_HW) if one.side_in_image else None
    half = next((half for half in halves or () if half.side_in_image == one.side_in_image), None)
    if half is None:
        return radiograph, result
    alone = replace(radiograph, pixels_HW=half.cut(radiograph.pixels_HW))
    if isinstance(result, BothSexes):
        both = (_moved(each, -half.left, -half.top) for each in (result.female, result.male))
        return alone, BothSexes(*both)
    return alone, _moved(result, -half.left, -half.top)


def difference(first: Assessment, second: Assessment) -> list[str]:
    """A warning where one hand's age lies outside the other's interval; without intervals, where they are a year apart.

    A child has one bone age: each hand's interval should hold what the other shows.
    """
    if first.months is None or second.months is None:
        return []
    apart = abs(first.months - second.months)
    if first.interval is not None and second.interval is not None:
        beyond = not (_holds(first.interval, second.months) and _holds(second.interval, first.months))
    else:
        beyond = apart > APART_MONTHS
    return [f"the two hands in the picture are {apart:.0f} months apart: look at both"] if beyond else []


def _holds(interval: Interval, months: float) -> bool:
    return interval.low <= months <= interval.high
