"""The REST interface: /api/v1. Every route documents its errors, which all have one shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated, Final

import anyio
from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse
from prometheus_client import generate_latest

import carpal
from carpal.errors import CarpalError
from carpal.queue.jobs import State
from carpal.report import results as as_json
from carpal.web import agreement, decide, reports
from carpal.web.access import Administrator, Asking, Desk, Desked, OneStudy, OpenStudy, may_see
from carpal.web.auth import User
from carpal.web.middleware import Gate
from carpal.web.review import Reading, Study
from carpal.web.schemas import (
    SEX,
    AgreementOut,
    AssessmentOut,
    CommitIn,
    HealthOut,
    JobList,
    JobOut,
    JobsOut,
    ModelOut,
    NotTaken,
    Problem,
    ReadingOut,
    RegionsIn,
    SignIn,
    StatedSex,
    VersionOut,
    errors_of,
    facts_of,
    job_out,
)
from carpal.web.study_store import UploadFacts

VERSION: Final = "1"
ALWAYS: Final = errors_of(400, 401, 403, 404, 405, 408, 413, 422, 429, 500, 503, 507)

router = APIRouter(prefix="/api/v1", responses=ALWAYS)
public = APIRouter(prefix="/api/v1", responses=errors_of(400, 405, 429, 500, 503))

FormFacts = Annotated[UploadFacts, Depends(facts_of)]


@public.get("/health")
def health(desk: Desked) -> HealthOut:
    """Whether the service reads radiographs; 503 where it does not."""
    counts, free = desk.studies.jobs.counts(), desk.studies.jobs.spool.free()
    if not desk.studies.working:
        raise Problem(503, "Radiographs are not being read: the worker has ended. Restart the service", "unhealthy")
    if free <= 0:
        raise Problem(503, "The disk of the data folder is full. Free some of it", "unhealthy")
    return HealthOut(waiting=counts[State.QUEUED] + counts[State.LEASED], free_bytes=free)


@public.get("/version")
def version(desk: Desked) -> VersionOut:
    """Which program and which weights answer."""
    site = desk.studies.site
    label = site.label if site else None
    return VersionOut(carpal=carpal.__version__, api=VERSION, model=_model(desk), calibration=label)


@router.get("/metrics", response_class=PlainTextResponse)
def counters(request: Request, desk: Desked, user: Administrator) -> PlainTextResponse:
    """Counters in the text format of Prometheus."""
    gate: Gate = request.app.state.gate
    for state, count in desk.studies.jobs.counts().items():
        gate.jobs.labels(str(state)).set(count)
    return PlainTextResponse(generate_latest(gate.numbers), media_type="text/plain; version=0.0.4")


@router.post("/assess", responses=errors_of(504), response_model_exclude_unset=True)
async def assess(
    desk: Desked,
    user: Asking,
    file: Annotated[UploadFile, File(description="PNG, JPEG, TIFF, WebP or DICOM")],
    sex: Annotated[StatedSex | None, Form(description=SEX)] = None,
) -> AssessmentOut:
    """Reads one radiograph while you wait. Nothing is kept."""
    read, name, seconds = desk.studies.read_now, file.filename or "", desk.settings.assess_timeout
    try:
        with anyio.fail_after(seconds):
            results = await anyio.to_thread.run_sync(
                read, file.file, name, sex, seconds, abandon_on_cancel=True, limiter=desk.readers
            )
    except TimeoutError:
        raise Problem(504, "The radiograph was not read in time. Queue it with POST /api/v1/jobs") from None
    return AssessmentOut.model_validate(as_json.frame(results))


@router.post("/jobs", status_code=202)
def add_jobs(
    desk: Desked,
    user: Asking,
    files: Annotated[list[UploadFile], File(description="One or many, all with the same facts")],
    facts: FormFacts,
) -> JobsOut:
    """Queues radiographs. One that cannot be read does not stop the others; where none can, the answer is an error."""
    taken, refused = take(desk, user, files, facts)
    return JobsOut(jobs=[_job(desk, study, user) for study in taken], refused=refused)


def take(desk: Desk, user: User, files: list[UploadFile], facts: UploadFacts) -> tuple[list[Study], list[NotTaken]]:
    """Keeps and queues the files of an upload. Raises the first error where not one of them could be taken."""
    if len(files) > desk.settings.max_files:
        raise Problem(413, f"{len(files)} files are more than {desk.settings.max_files}. Send them in several requests")
    facts = facts if facts.blind is not None else replace(facts, blind=desk.settings.blind)
    taken, refused, first = [], [], None
    for file in files:
        name = file.filename or ""
        try:
            taken.append(desk.studies.receive(file.file, name, facts, user.name))
        except CarpalError as error:
            first = first or error
            refused.append(NotTaken(file=name, code=error.code, error=str(error)))
    if first is not None and not taken:
        raise first
    return taken, refused


@router.get("/jobs")
def list_jobs(
    desk: Desked,
    user: Asking,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> JobList:
    """The studies, the latest first."""
    return JobList(jobs=[_job(desk, study, user) for study in desk.studies.readings.studies(limit, offset)])


@router.get("/jobs/{identifier}")
def get_job(desk: Desked, user: Asking, study: OneStudy) -> JobOut:
    """How far a study has come."""
    return _job(desk, study, user)


@router.patch("/jobs/{identifier}", responses=errors_of(409))
def change_job(desk: Desked, user: Asking, study: OneStudy, facts: FormFacts) -> JobOut:
    """Adds or corrects facts; a study without sex is queued when it gets one. Signed studies stay as they are."""
    return _job(desk, change(desk, study, facts), user)


def change(desk: Desk, study: Study, facts: UploadFacts) -> Study:
    """Writes the facts that are given into the study, and queues it where the sex is new."""
    if desk.studies.readings.signed(study.id) is not None:
        raise Problem(409, "The study is signed. Its facts cannot be changed any more", "signed")
    names = ("sex", "birth_date", "study_date", "height_cm", "patient_name", "patient_id")
    given = {name: getattr(facts, name) for name in names if getattr(facts, name)}
    after = desk.studies.readings.update(study.id, **given) if given else study
    if after.birth_date and after.study_date and after.study_date < after.birth_date:
        desk.studies.readings.update(study.id, birth_date=study.birth_date, study_date=study.study_date)
        raise Problem(422, "The radiograph is older than the child. Correct one of the two dates", "bad-facts")
    return desk.studies.queue(after) if after.sex and (after.sex != study.sex or study.job is None) else after


@router.delete("/jobs/{identifier}", status_code=204)
def delete_job(desk: Desked, user: Administrator, study: OneStudy) -> Response:
    """Deletes the radiograph and all that is known of the child."""
    desk.studies.delete(study)
    return Response(status_code=204)


@router.get("/jobs/{identifier}/result", responses=errors_of(409), response_model_exclude_unset=True)
def result(desk: Desked, study: OpenStudy) -> AssessmentOut:
    """The machine's answer, as `carpal assess --json` gives it."""
    return AssessmentOut.model_validate(as_json.frame(reports.answer_of(desk.studies, study)))


@router.get("/jobs/{identifier}/report.{form}", responses=errors_of(409), response_class=Response)
def report(
    desk: Desked, study: OpenStudy, form: reports.FormName, language: Annotated[str, Query(pattern="^(en|de)$")] = "en"
) -> Response:
    """The report in one of its forms; those of DICOM and FHIR exist for DICOM files only (404 otherwise)."""
    made = reports.make(desk.studies, study, form, language)
    return Response(made.content, media_type=made.media_type, headers=made.headers)


@router.put("/jobs/{identifier}/regions", responses=errors_of(409), response_model_exclude_unset=True)
def correct(desk: Desked, user: Asking, study: OpenStudy, body: RegionsIn) -> AssessmentOut:
    """Reads again with regions that were put right: send all of them; none goes back to the network's."""
    return AssessmentOut.model_validate(as_json.entry(decide.correct(desk, study, user, body.boxes)))


@router.post("/jobs/{identifier}/commit", responses=errors_of(409))
def commit(desk: Desked, user: Asking, study: OneStudy, body: CommitIn) -> ReadingOut:
    """Blind-first: commits the reader's own age; from then on she may see the machine's."""
    return _reading(decide.commit(desk, study, user, body.months))


@router.post("/jobs/{identifier}/sign", responses=errors_of(409))
def sign(desk: Desked, user: Asking, study: OneStudy, body: SignIn) -> ReadingOut:
    """Signs a decision on the machine's answer: accept, adjust or reject."""
    return _reading(decide.sign(desk, study, user, body.decision, body.months, body.reason, body.hand))


@router.get("/readings.csv", response_class=PlainTextResponse)
def export(desk: Desked, user: Administrator) -> PlainTextResponse:
    """All signed readings, without name, identifier and dates of the child."""
    return PlainTextResponse(agreement.as_csv(desk.studies.readings), media_type="text/csv")


@router.get("/agreement")
def agree(desk: Desked, user: Asking) -> AgreementOut:
    """How far signed readings lie from the machine's ages."""
    found = agreement.agreement(desk.studies.readings)
    lower, upper = found.limits or (None, None)
    return AgreementOut(
        n=len(found.pairs), bias=found.bias, sd=found.sd, lower=lower, upper=upper, recent_bias=found.recent_bias
    )


def _job(desk: Desk, study: Study, user: User) -> JobOut:
    return job_out(study, desk.studies.job(study), may_see(desk, study, user))


def _model(desk: Desk) -> ModelOut:
    model = desk.studies.engine.model
    return ModelOut(**asdict(model))


def _reading(reading: Reading) -> ReadingOut:
    names = ReadingOut.model_fields
    return ReadingOut.model_validate({name: getattr(reading, name) for name in names})


def routes() -> Iterator[APIRouter]:
    """The routers of this module."""
    yield public
    yield router
