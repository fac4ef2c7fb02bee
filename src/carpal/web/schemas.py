"""What goes over the wire: the types of requests and answers, and the one shape of every error.

{"ok": false, "code": "missing-sex", "error": "one sentence", "errors": ["every sentence"], "status": 422}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal, cast

from fastapi import Form, HTTPException
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from carpal.anatomy import REGIONS
from carpal.errors import CarpalError
from carpal.queue.jobs import Job
from carpal.report.child import HEIGHT_CM
from carpal.types import RANKS, Sex
from carpal.web.review import Decision, Study
from carpal.web.study_store import UploadFacts

STATUS: Final = {
    "bad-input": 422,
    "unreadable-image": 422,
    "unsuitable-image": 422,
    "bad-identity": 422,
    "missing-sex": 422,
    "bad-config": 422,
    "out-of-resources": 507,
    "no-backend": 503,
    "node-error": 503,
}
"""HTTP status of our errors by their code; of all others 500."""
NAMES: Final = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "timeout",
    409: "conflict",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid",
    429: "too-many-requests",
    500: "internal",
    503: "unavailable",
    504: "timeout",
    507: "out-of-resources",
}
"""`code` of errors that come from HTTP itself."""
SENTENCES: Final = {
    401: "This needs a token. Send the header Authorization: Bearer TOKEN, or sign in on the page",
    404: "There is nothing at this address. The addresses are in /api/v1/openapi.json",
    405: "This address does not answer this method. /api/v1/openapi.json says which it does",
    500: "The service made a mistake. Nothing was lost; the log of the service names the place",
}


class Problem(HTTPException):
    """An error that is only known to the service: a status, a code, a sentence."""

    def __init__(self, status: int, error: str, code: str | None = None, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, error, headers)
        self.code = code or NAMES.get(status, "error")


class ProblemOut(BaseModel):
    """The one shape of every error."""

    ok: Literal[False] = False
    code: str
    error: str
    errors: list[str]
    status: int


def problem_of(error: Exception) -> ProblemOut:
    """Every exception as the one shape. Never holds what was sent: it may be a patient's."""
    if isinstance(error, RequestValidationError):
        sentences = [_sentence(detail) for detail in error.errors()] or ["The request is not valid"]
        return ProblemOut(code="invalid", error=sentences[0], errors=sentences, status=422)
    if isinstance(error, CarpalError):
        return _problem(STATUS.get(error.code, 500), error.code, str(error))
    if isinstance(error, Problem):
        return _problem(error.status_code, error.code, error.detail)
    status = int(getattr(error, "status_code", 500))
    detail = SENTENCES.get(status) or str(getattr(error, "detail", "")) or "The request failed"
    return _problem(status, NAMES.get(status, "error"), detail)


def _problem(status: int, code: str, sentence: str) -> ProblemOut:
    return ProblemOut(code=code, error=sentence, errors=[sentence], status=status)


def _sentence(detail: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in detail["loc"][1:]) or str(detail["loc"][0])
    return f"{re.sub(r'[^A-Za-z0-9_.]', '', place)[:80]}: {detail['msg']}"


StatedSex = Literal["female", "male", "unknown"]
"""What can be stated of the sex; "unknown" asks for both ages."""


class IntervalOut(BaseModel):
    """The reference age lies between `low` and `high` months with the probability `coverage`."""

    low: float
    high: float
    coverage: float


class RegionOut(BaseModel):
    """One of the 17 regions: box [x1, y1, x2, y2] in pixels of the original, its own age in months."""

    name: str
    box: tuple[float, float, float, float]
    score: float
    months: float


class RefusalOut(BaseModel):
    """Why there is no age."""

    code: str
    message: str


class ModelOut(BaseModel):
    """The weights that answered, and the runtime and arithmetic that computed them."""

    name: str
    version: str
    sha256: str
    backend: str = "onnx"
    precision: str = "fp32"


class SiteOut(BaseModel):
    """The hospital's calibration that moved `months` and `interval`, and the network's own age."""

    calibration: str
    raw_months: float


class AssessmentOut(BaseModel):
    """The same object that `carpal assess --json` writes. `months` is null without an age, and where there is not one
    age but several: then `by_sex` (the sex is unknown) or `hands` (two in the picture) holds whole objects.
    """

    model_config = ConfigDict(extra="allow")

    image: str
    sex: Sex | None
    months: float | None
    interval: IntervalOut | None
    regions: list[RegionOut]
    warnings: list[str]
    refused: RefusalOut | None
    model: ModelOut
    carpal: str
    site: SiteOut | None
    side_in_image: Literal["left", "right", "top", "bottom"] | None = None
    """Where one of two hands lies, as one looks at the picture; not which hand it is."""
    by_sex: BySexOut | None = None
    hands: list[AssessmentOut] | None = None


class BySexOut(BaseModel):
    """The radiograph read for either sex, because nobody knows which."""

    female: AssessmentOut
    male: AssessmentOut


class JobOut(BaseModel):
    """A radiograph in the queue. `state` is "needs-sex", "queued", "reading", "done", "rejected" or "failed"."""

    id: str
    state: Literal["needs-sex", "queued", "reading", "done", "rejected", "failed"]
    created: str
    file: str
    sex: StatedSex | None
    blind: bool
    committed: bool
    """Whether the one who asks has committed a reading of her own, or nobody has to."""
    code: str | None
    error: str | None


class NotTaken(BaseModel):
    """A file of an upload that was not taken, and why."""

    file: str
    code: str
    error: str


class JobsOut(BaseModel):
    """What became of an upload."""

    jobs: list[JobOut]
    refused: list[NotTaken]


class JobList(BaseModel):
    """A page of the list, the latest first."""

    jobs: list[JobOut]


class CommitIn(BaseModel):
    """A reader's own age, before she sees the machine's."""

    months: float = Field(ge=0, le=RANKS - 1)


class SignIn(BaseModel):
    """A decision: adjust needs the age and the reason, reject needs the reason."""

    decision: Decision
    months: float | None = Field(None, ge=0, le=RANKS - 1)
    reason: str = Field("", max_length=1000)
    hand: Literal["", "left", "right", "top", "bottom"] = ""
    """Of two hands in the picture the one that is meant, as `side_in_image` names it."""


Side = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class RegionsIn(BaseModel):
    """All regions that are put right, by name: [x1, y1, x2, y2] in pixels of the original. None: as the network has it.

    The others stay with the network.
    """

    boxes: dict[Literal[REGIONS], tuple[Side, Side, Side, Side]]  # type: ignore[valid-type]


class ReadingOut(BaseModel):
    """A reader's reading as it stands."""

    reader: str
    committed: str | None
    own_months: float | None
    decision: Decision | None
    months: float | None
    reason: str
    signed: str | None
    hand: str


class HealthOut(BaseModel):
    """Whether radiographs are being read, and how many wait."""

    ok: Literal[True] = True
    waiting: int
    free_bytes: int


class VersionOut(BaseModel):
    """Which program and which weights answer."""

    carpal: str
    api: str
    model: ModelOut
    calibration: str | None
    """The hospital's calibration that every age goes through."""


class AgreementOut(BaseModel):
    """Signed age less machine's age over all signed readings, months (Bland and Altman 1986)."""

    n: int
    bias: float | None
    sd: float | None
    lower: float | None
    upper: float | None
    recent_bias: float | None
    """The bias of the last 20."""


SEX: Final = 'What is stated; left out: taken from the DICOM file. "unknown" gives an age for either'
BLIND: Final = (
    "Blind-first: the answer is withheld until the reader commits. Left out: as the service was started (`--blind`)"
)
EARLIEST: Final = date(1900, 1, 1)


def facts_of(
    sex: Annotated[StatedSex | None, Form(description=SEX)] = None,
    birth_date: Annotated[date | None, Form()] = None,
    study_date: Annotated[date | None, Form(description="The day of the radiograph")] = None,
    height_cm: Annotated[float | None, Form(ge=HEIGHT_CM[0], le=HEIGHT_CM[1], allow_inf_nan=False)] = None,
    patient_name: Annotated[str, Form(max_length=200)] = "",
    patient_id: Annotated[str, Form(max_length=64)] = "",
    blind: Annotated[bool | None, Form(description=BLIND)] = None,
) -> UploadFacts:
    """The facts of a form, checked against each other. Raises Problem."""
    latest = date.today() + timedelta(days=1)
    for day in (birth_date, study_date):
        if day is not None and not EARLIEST <= day <= latest:
            raise Problem(422, f"A date lies between {EARLIEST} and today. Correct the date", "bad-facts")
    if birth_date and study_date and study_date < birth_date:
        raise Problem(422, "The radiograph is older than the child. Correct one of the two dates", "bad-facts")
    return UploadFacts(
        sex=sex,
        birth_date=birth_date.isoformat() if birth_date else None,
        study_date=study_date.isoformat() if study_date else None,
        height_cm=height_cm,
        patient_name=patient_name.strip(),
        patient_id=patient_id.strip(),
        blind=blind,
    )


STATES: Final[dict[str, Any]] = {
    "queued": "queued",
    "leased": "reading",
    "done": "done",
    "delivered": "done",
    "rejected": "rejected",
    "dead": "failed",
}


def job_out(study: Study, job: Job | None, committed: bool) -> JobOut:
    """A study and its job as one object."""
    return JobOut(
        id=study.id,
        state=STATES[job.state] if job else "needs-sex",
        created=study.created,
        file=study.file,
        sex=cast("StatedSex | None", study.sex),
        blind=study.blind,
        committed=committed,
        code=job.code if job else None,
        error=job.message if job else None,
    )


def errors_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: these statuses answer with the one error shape."""
    return {status: {"model": ProblemOut} for status in statuses}


def sentences(problems: Sequence[NotTaken]) -> list[str]:
    """One sentence a file."""
    return [problem.error for problem in problems]
