"""The values that travel through the package: frozen, valid once constructed, numpy only.

Coordinates are pixels, boxes are (x1, y1, x2, y2); a name says the frame where it is not the original radiograph's.
Ages are months everywhere.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from carpal.anatomy import REGIONS

RANKS = 229
"""K of the paper's eq. 1: the months 0..228. There are K-1 = 228 logits, one for each 1{age > k}."""


class Sex(StrEnum):
    """The patient's sex as it was stated; there is no third value, because it is never guessed."""

    FEMALE = "female"
    MALE = "male"


class Side(StrEnum):
    """Which hand a file says it shows."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Exam:
    """What a DICOM file states of the child and the examination besides pixels and sex; None where it does not say.

    `age_months` is the chronological age on the day of the study, from the two dates or, without them, PatientAge.
    """

    sop_instance_uid: str | None = None
    study_date: date | None = None
    birth_date: date | None = None
    age_months: float | None = None
    side: Side | None = None
    square_scale: tuple[float, float] = (1.0, 1.0)
    """Pixels of the decoded picture, whose pixels are square, for each of the file's, across and down."""


@dataclass(frozen=True)
class Header:
    """What a DICOM file states of patient, study and image, parsed once and made fit for objects that refer to it.

    `dataset` is a pydicom data set without pixels that nobody changes: `copy` gives one to build on. `sha256` is the
    file's. `date` and `time` (DICOM's DA and TM) are the acquisition's, else the content's, the series' or the study's.
    `frame` is the one that was read, where references need its number: the first of a multi-frame image. `assumed`
    lists what was wrong in the file, without its values. `unfit` is the keyword of a UID that nothing can carry: no
    object may refer to the file; "" for all others.
    """

    dataset: Any = field(repr=False, compare=False)
    sha256: str
    date: str
    time: str
    exam: Exam = field(default_factory=Exam, repr=False)
    frame: int | None = None
    assumed: tuple[str, ...] = ()
    unfit: str = ""

    @property
    def sop_instance_uid(self) -> str:
        return str(self.dataset.SOPInstanceUID)

    @property
    def sop_class_uid(self) -> str:
        return str(self.dataset.SOPClassUID)

    @property
    def study_uid(self) -> str:
        return str(self.dataset.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        return str(self.dataset.SeriesInstanceUID)

    @property
    def laterality(self) -> str:
        """Laterality (0020,0060) for objects of the same hand: L, R or, unknown, empty."""
        return "" if self.exam.side is None else str(self.exam.side)[0].upper()

    def copy(self) -> Any:
        """The data set for a writer to build on."""
        return deepcopy(self.dataset)

    def text(self, keyword: str) -> str:
        """A value as the file states it, several with a backslash between them; "" where it is absent or empty."""
        found = self.dataset.get(keyword)
        if found is None or isinstance(found, str):
            return found or ""
        return "\\".join(map(str, found)) if type(found).__name__ == "MultiValue" else str(found)


@dataclass(frozen=True)
class Radiograph:
    """A decoded radiograph: grey, one frame, as stored (no normalisation yet, but MONOCHROME1 already inverted).

    pixels_HW is uint8, uint16 or float32. `sex` is what the file itself states (DICOM), `warnings` what the reader
    had to assume; `exam` and `header` are None for a file that is not DICOM. Reports take the patient from `header`,
    never from the file again.
    """

    pixels_HW: NDArray[Any]
    source: str
    sex: Sex | None = None
    warnings: tuple[str, ...] = ()
    exam: Exam | None = None
    header: Header | None = None

    def __post_init__(self) -> None:
        assert self.pixels_HW.ndim == 2, f"a radiograph is H x W, got shape {self.pixels_HW.shape}"

    @property
    def age_months(self) -> float | None:
        """The chronological age that the file states; None where it does not say."""
        return None if self.exam is None else self.exam.age_months


@dataclass(frozen=True)
class Box:
    """A rectangle, x1 < x2 and y1 < y2, in pixels of the original radiograph."""

    x1: float
    """The left side, from the image's left edge."""
    y1: float
    """The upper side, from the image's upper edge."""
    x2: float
    """The right side."""
    y2: float
    """The lower side."""

    def __post_init__(self) -> None:
        if not (self.x1 < self.x2 and self.y1 < self.y2):
            raise ValueError(f"a box needs x1 < x2 and y1 < y2, got {self}")

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2


@dataclass(frozen=True)
class Region:
    """One anatomical region as the network found it: where, how sure, and the age it shows by itself."""

    name: str
    """One of `anatomy.REGIONS`: "MCP1" to "Wrist"."""
    box: Box
    """Where, in pixels of the original radiograph."""
    score: float
    """How sure the detector is, 0 to 1; a region below 0.3 is named in the assessment's warnings."""
    months: float
    """The age that this region shows by itself, 0 to 228 months."""


@dataclass(frozen=True)
class ModelId:
    """Which weights answered, and how they were computed: the SHA-256 is that of the file."""

    name: str
    """The weights' name, as "alanet"."""
    version: str
    """The weights' version, which is not the package's."""
    sha256: str
    """The file's hash, 64 hexadecimal digits."""
    backend: str = "onnx"
    """The runtime: "onnx" (the reproducible reference), "openvino" or "torch"."""
    precision: str = "fp32"
    """The arithmetic of the convolutions: "fp32" or "int8"."""

    @property
    def identity(self) -> str:
        """What an answer depends on: the file's hash and, where it is not the reference, the runtime."""
        return f"{self.sha256} {self.backend}" if self.backend == "openvino" else self.sha256


@dataclass(frozen=True)
class Interval:
    """From `low` to `high` months: the reference age lies within it with probability `coverage` (0.9 is 90 %)."""

    low: float
    """Months, 0 or more, and not above the age."""
    high: float
    """Months, 228 or less, and not below the age."""
    coverage: float
    """Between 0 and 1; promised for radiographs like those that it was fitted on."""

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high <= RANKS - 1 and 0 < self.coverage < 1):
            raise ValueError(f"an interval needs 0 <= low <= high <= {RANKS - 1} and 0 < coverage < 1, got {self}")


@dataclass(frozen=True)
class Score:
    """How a bone age lies among children of the same sex and chronological age, by the reference that is named.

    `mean` and `sd` of their bone ages are months, `z` is in SD from that mean; all three are None where the reference
    does not hold this age, which `note` then says.
    """

    reference: str
    """The table's name."""
    citation: str
    """Where the table was published."""
    chronological_months: float
    """The child's age on the day of the radiograph."""
    mean: float | None = None
    """Mean bone age of such children, months."""
    sd: float | None = None
    """Its standard deviation, months."""
    z: float | None = None
    """(bone age - mean) / sd."""
    note: str = ""
    """Why there are no numbers, or what to keep in mind."""

    @property
    def numbers(self) -> tuple[float, float, float]:
        """Mean, SD and z, of a score that has them: what `Findings.score` and `Summary.score` hold always has."""
        assert self.mean is not None
        assert self.sd is not None
        assert self.z is not None
        return self.mean, self.sd, self.z


@dataclass(frozen=True)
class Refusal:
    """Why no age was given: a code for machines, a sentence for people.

    A file name in it that is not UTF-8 is escaped, so that every form can hold the sentence.
    """

    code: str
    """One of docs/refusal.md or docs/errors.md, as "not-a-hand"."""
    message: str
    """What was wrong, what was measured, what to do."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", self.message.encode("utf-8", "backslashreplace").decode())


@dataclass(frozen=True)
class Assessment:
    """The result, which every output renders.

    `months` is None exactly where `refused` is set. `probabilities[k]` is P(age > k), k = 0..227, whose sum is the
    network's own age: `months`, or `raw_months` where that is set (paper, eq. 1 and the sentence after it). `regions`
    holds the 17 in the order of `anatomy.REGIONS`, or none for a network without regions.
    """

    image: str
    """The path or address that was read, or what the caller named the bytes."""
    sex: Sex
    """The sex that the age was read for."""
    months: float | None
    """The bone age, 0 to 228 months."""
    regions: tuple[Region, ...]
    """The 17 regions with boxes in pixels of the original radiograph."""
    model: ModelId
    """The weights that answered."""
    probabilities: tuple[float, ...] = field(repr=False, default=())
    """228 of them, or none where refused."""
    warnings: tuple[str, ...] = ()
    """What the result rests on without being certain, as sentences."""
    refused: Refusal | None = None
    """Why no age was given."""
    interval: Interval | None = None
    """Where the reference age lies, and with which probability; None for weights whose sidecar holds no calibration."""
    raw_months: float | None = None
    """The network's own age, where `months` and `interval` are a hospital's calibration of it, which `site` names."""
    site: str | None = None
    """The name of a hospital's calibration, where one was applied."""
    side_in_image: str | None = None
    """ "left", "right", "top" or "bottom" for one of two hands in a frame, as one looks at it; not which hand it is."""
    growth: Score | None = None
    """The comparison with other children; None where the chronological age is not known, or nobody judged the reading
    (`inference.assess.judge`)."""

    def __post_init__(self) -> None:
        if (self.months is None) != (self.refused is not None):
            raise ValueError("an assessment has either an age or a refusal")
        if self.months is not None and not (np.isfinite(self.months) and 0 <= self.months <= RANKS - 1):
            raise ValueError(f"a bone age lies in 0..{RANKS - 1} months, got {self.months}")
        if (self.raw_months is None) != (self.site is None):
            raise ValueError("a calibrated age keeps the raw one and names its calibration")
        names = tuple(region.name for region in self.regions)
        if names not in ((), REGIONS):
            raise ValueError(f"an assessment names all {len(REGIONS)} regions in order, or none; got {names}")


@dataclass(frozen=True)
class BothSexes:
    """A radiograph whose sex nobody knows, read for either: two assessments and no age of its own."""

    female: Assessment
    male: Assessment

    def __post_init__(self) -> None:
        if (self.female.sex, self.male.sex) != (Sex.FEMALE, Sex.MALE):
            raise ValueError("one assessment for each sex is needed")


Result = Assessment | BothSexes
"""What one hand gives: an age, or where nobody knows the sex one for either."""


def each_of(result: Result) -> tuple[Assessment, ...]:
    """The one assessment of a hand, or the girl's and the boy's where the sex is unknown."""
    return (result.female, result.male) if isinstance(result, BothSexes) else (result,)


def has_age(result: Result) -> bool:
    """Whether a hand was given an age, or for an unknown sex at least one."""
    return any(each.months is not None for each in each_of(result))


@dataclass(frozen=True)
class Neighbour:
    """A radiograph that the weights were trained on, by its id: reference age, and how unlike it is (0 is alike)."""

    id: str
    months: float
    sex: Sex
    distance: float


@dataclass(frozen=True)
class Explanation:
    """An assessment, and for each region by how many months the age changes when that region is masked.

    `effects` follows `anatomy.REGIONS`: age with everything seen minus age without the region, so that a positive
    effect makes the hand older. Empty where the assessment is a refusal. `nearest` are the training cases that look
    most alike to the network, the nearest first; none where the weights bring no table of them.
    """

    assessment: Assessment
    effects: tuple[float, ...]
    nearest: tuple[Neighbour, ...] = ()

    def __post_init__(self) -> None:
        if len(self.effects) != (len(REGIONS) if self.assessment.regions else 0):
            raise ValueError(f"an explanation has an effect for each region, got {len(self.effects)}")
