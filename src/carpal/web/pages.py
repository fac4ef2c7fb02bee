"""The reading page: the HTML twins of the API. Rendered here, without a build step; it works without the network.

What the pages show is prepared as plain values (`study_view`, `agreement_view`); what must be withheld from a blind
reader is not among them, so it is not in the HTML at all. A radiograph goes to the viewer as grey values in 16 bit, so
that the window is set in the browser without loss.
"""

from __future__ import annotations

import gzip
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import carpal
from carpal.anatomy import group_of
from carpal.imaging.preprocess import is_inverted
from carpal.quality.thresholds import translated
from carpal.report import charts
from carpal.report.charts import svg
from carpal.report.content import Summary, summarise
from carpal.report.language import LANGUAGES, Words, preferred, words_of
from carpal.report.text import as_sex, for_sex, hand_name, signed, spoken, years
from carpal.types import Radiograph, Region, Result, each_of, has_age
from carpal.web import decide, reports, rest
from carpal.web.access import (
    FORM,
    SESSION,
    Administrator,
    Asking,
    Desk,
    Desked,
    OneStudy,
    OpenStudy,
    desk_of,
    find_user,
    may_see,
)
from carpal.web.agreement import RECENT, Agreement, agreement
from carpal.web.auth import SESSION_SECONDS, User
from carpal.web.reports import signature_of
from carpal.web.review import Decision, Study
from carpal.web.schemas import STATES, NotTaken, Problem, ProblemOut, RegionsIn, facts_of
from carpal.web.study_store import UploadFacts, single

TEMPLATES: Final = Path(__file__).parent / "templates"
LANGUAGE: Final = "carpal_language"
SOON: Final = 2.0
"""Seconds for which the answer to an upload may wait for the age."""
FORM_BYTES: Final = 16 * 1024
"""Of a request, what the form has beside its file."""


def checked_form(request: Request, form_token: Annotated[str, Form()] = "") -> None:
    """A form that changes something must carry the token that its page was given in this session. Raises Problem."""
    form, session = (request.cookies.get(name, "") for name in (FORM, SESSION))
    if not desk_of(request).tokens.form_token_is(form_token, form, session):
        raise Problem(403, "The form is too old, or from elsewhere. Load the page again and repeat", "bad-form")


router = APIRouter(include_in_schema=False)
Checked = Depends(checked_form)
FormFacts = Annotated[UploadFacts, Depends(facts_of)]


@cache
def environment(language: str) -> Environment:
    """The templates in one language."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    words = words_of(language)
    found.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined]
    found.filters["years"] = lambda months: years(months, words)
    found.filters["reason"] = lambda refusal: translated(refusal, words)
    found.filters["signed"] = signed
    found.filters["svg"] = lambda chart: Markup(svg(chart))
    return found


def compile_all(language: str) -> None:
    """Compiles every template, which the first page of each kind would do otherwise."""
    for name in environment(language).list_templates():
        environment(language).get_template(name)


def language_of(request: Request) -> str:
    """What the service was started with, else what was chosen here, else what the browser prefers."""
    chosen = desk_of(request).settings.language or request.cookies.get(LANGUAGE, "")
    return chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))


def wants_html(request: Request) -> bool:
    """Whether a person with a browser asks."""
    return not request.url.path.startswith("/api/") and "text/html" in request.headers.get("accept", "")


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A rendered page; sets the cookie that its forms are bound to."""
    desk, language = desk_of(request), language_of(request)
    cookie = request.cookies.get(FORM) or secrets.token_urlsafe(24)
    user = find_user(request)
    html = (
        environment(language)
        .get_template(template)
        .render(
            language=language,
            languages=LANGUAGES,
            form_token=desk.tokens.form_token(cookie, request.cookies.get(SESSION, "")),
            user=user,
            signed_in=SESSION in request.cookies and user is not None,
            path=request.url.path,
            version=carpal.__version__,
            model=desk.studies.engine.model,
            calibration=desk.studies.site.label if desk.studies.site else "",
            **values,
        )
    )
    response = HTMLResponse(html, status)
    _cookie(response, desk, FORM, cookie)
    return response


def _cookie(response: Response, desk: Desk, name: str, value: str) -> None:
    response.set_cookie(
        name, value, max_age=SESSION_SECONDS, httponly=True, samesite="strict", secure=desk.settings.https
    )


def error_page(request: Request, problem: ProblemOut, headers: dict[str, str] | None = None) -> HTMLResponse:
    """An error for people."""
    response = page(request, "error.html", problem.status, problem=problem)
    response.headers.update(headers or {})
    return response


@router.get("/")
def home(request: Request, desk: Desked, user: Asking) -> HTMLResponse:
    """Where radiographs are dropped, and the list of studies."""
    return _home(request, desk, user)


def _home(request: Request, desk: Desk, user: User, refused: Sequence[NotTaken] = ()) -> HTMLResponse:
    rows, largest = study_rows(desk, user, language_of(request)), desk.settings.max_upload - FORM_BYTES
    return page(request, "home.html", rows=rows, blind=desk.settings.blind, largest=largest, refused=refused)


@router.post("/studies", dependencies=[Checked])
def upload(
    request: Request,
    desk: Desked,
    user: Asking,
    files: Annotated[list[UploadFile], File()],
    facts: FormFacts,
    alone: Annotated[bool, Form()] = False,
) -> Response:
    """Takes radiographs and leads to the study, or to the list where there are several.

    Of one that is `alone` it answers when it is read, if that is soon: its page then has the age at once.
    """
    taken, refused = rest.take(desk, user, files, facts)
    if alone and taken:
        desk.studies.wait_for(taken[0], SOON)
    location = f"/studies/{taken[0].id}" if len(taken) == 1 and not refused else "/"
    if not wants_html(request):
        return JSONResponse({"location": location, "refused": [entry.model_dump() for entry in refused]})
    if refused:
        return _home(request, desk, user, refused)
    return RedirectResponse(location, 303)


@router.get("/studies/{identifier}")
def study_page(request: Request, desk: Desked, user: Asking, study: OneStudy) -> HTMLResponse:
    """One study: the question for the sex, the progress, the blind reading, or the answer."""
    return page(request, "study.html", **study_view(desk, study, user, language_of(request)))


@router.get("/studies/{identifier}/pixels")
def pixels(desk: Desked, study: OneStudy) -> Response:
    """The radiograph's grey values for the viewer."""
    picture = for_viewer(desk.studies.radiograph(study))
    return Response(picture.gzipped, media_type="application/octet-stream", headers=picture.headers)


@router.post("/studies/{identifier}/facts", dependencies=[Checked])
def facts(desk: Desked, user: Asking, study: OneStudy, given: FormFacts) -> RedirectResponse:
    """Adds or corrects what is known of the child."""
    rest.change(desk, study, given)
    return _back_to(study.id)


@router.post("/studies/{identifier}/commit", dependencies=[Checked])
def commit(
    desk: Desked,
    user: Asking,
    study: OneStudy,
    own_years: Annotated[int, Form()],
    own_months: Annotated[int, Form()] = 0,
) -> RedirectResponse:
    """Commits a blind reader's own age."""
    decide.commit(desk, study, user, 12 * own_years + own_months)
    return _back_to(study.id)


@router.post("/studies/{identifier}/sign", dependencies=[Checked])
def sign(
    desk: Desked,
    user: Asking,
    study: OneStudy,
    decision: Annotated[Decision, Form()],
    own_years: Annotated[int | None, Form()] = None,
    own_months: Annotated[int | None, Form()] = None,
    reason: Annotated[str, Form(max_length=1000)] = "",
    hand: Annotated[str, Form(pattern="^(left|right|top|bottom)?$")] = "",
) -> RedirectResponse:
    """Signs a decision."""
    given = None if own_years is None and own_months is None else 12.0 * (own_years or 0) + (own_months or 0)
    decide.sign(desk, study, user, decision, given, reason, hand)
    return _back_to(study.id)


@router.post("/studies/{identifier}/regions", dependencies=[Checked])
def regions(desk: Desked, user: Asking, study: OpenStudy, boxes: Annotated[str, Form(max_length=20_000)]) -> Response:
    """Reads again with the regions that the page sends as JSON."""
    try:
        given = RegionsIn.model_validate_json(f'{{"boxes": {boxes}}}')
    except ValueError:
        raise Problem(422, "The regions are not readable. Load the page again and repeat", "bad-regions") from None
    decide.correct(desk, study, user, given.boxes)
    return _back_to(study.id)


@router.post("/studies/{identifier}/delete", dependencies=[Checked])
def delete(desk: Desked, user: Administrator, study: OneStudy) -> RedirectResponse:
    """Forgets a study."""
    desk.studies.delete(study)
    return RedirectResponse("/", 303)


@router.get("/agreement")
def agreement_page(request: Request, desk: Desked, user: Asking) -> HTMLResponse:
    """The dashboard."""
    found = agreement(desk.studies.readings)
    return page(request, "agreement.html", **agreement_view(found, language_of(request)))


@router.get("/login")
def login_page(request: Request) -> HTMLResponse:
    """Where a token is shown."""
    return page(request, "login.html", wrong=False)


@router.post("/login", dependencies=[Checked])
def login(request: Request, desk: Desked, token: Annotated[str, Form(max_length=200)] = "") -> Response:
    """Exchanges a token for a session."""
    user = desk.tokens.user_of(token)
    if user is None:
        return page(request, "login.html", 401, wrong=True)
    response = RedirectResponse("/", 303)
    _cookie(response, desk, SESSION, desk.tokens.session(user))
    return response


@router.post("/logout", dependencies=[Checked])
def logout() -> RedirectResponse:
    """Ends the session of this browser."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION)
    return response


@router.post("/language", dependencies=[Checked])
def choose_language(
    desk: Desked, language: Annotated[str, Form(pattern="^(en|de)$")], back: Annotated[str, Form()] = "/"
) -> RedirectResponse:
    """Keeps the language in a cookie and goes back to the page."""
    inside = back.startswith("/") and not back.startswith(("//", "/\\"))
    response = RedirectResponse(back if inside else "/", 303)
    _cookie(response, desk, LANGUAGE, language)
    return response


def _back_to(identifier: str) -> RedirectResponse:
    return RedirectResponse(f"/studies/{identifier}", 303)


@dataclass(frozen=True)
class Row:
    """A line of the list; `age` is empty where there is none, or none to be seen yet.

    `refused`: it was read, and no hand in it has an age.
    """

    study: Study
    state: str
    age: str
    withheld: bool
    signed: bool
    refused: bool


@dataclass(frozen=True)
class Hand:
    """One hand of a picture: its summary, or a girl's and a boy's where the sex is unknown.

    `side` and `title` are empty for a hand that has the picture to itself.
    """

    side: str
    title: str
    result: Result
    summaries: tuple[Summary, ...]
    words: Words

    @property
    def unknown(self) -> bool:
        """Whether nobody knows the sex."""
        return len(self.summaries) > 1

    @property
    def aged(self) -> bool:
        """Whether there is an age."""
        return has_age(self.result)

    @property
    def spoken(self) -> str:
        """The age or ages in words."""
        return spoken(self.result, self.words)

    @property
    def regions(self) -> list[tuple[Region, ...]]:
        """The 17, each with one age of its own, or with two where it depends on the sex."""
        found = [each.regions for each in each_of(self.result) if each.regions]
        apart = len({tuple(region.months for region in regions) for regions in found}) > 1
        return list(zip(*(found if apart else found[:1]), strict=True))

    def title_of(self, summary: Summary) -> str:
        """What stands above one of its ages."""
        if self.unknown:
            return as_sex(summary.assessment.sex, self.words)
        return self.words.gettext("Bone age") if self.aged else self.words.gettext("No bone age")

    def for_sex(self, summary: Summary) -> str:
        """ "As a girl" above what holds for one sex only, and the hand where there are two; empty for a plain one."""
        sex = for_sex(summary.assessment.sex, self.words) if self.unknown else ""
        return ", ".join(part for part in (self.title, sex) if part)

    def key(self, name: str) -> str:
        """The region's name, unique in a picture of two hands."""
        return f"{self.side}-{name}" if self.side else name


def study_rows(desk: Desk, user: User, language: str) -> list[Row]:
    """The latest hundred studies."""
    found, words = [], words_of(language)
    for study in desk.studies.readings.studies():
        job, signed = desk.studies.job(study), desk.studies.readings.signed(study.id)
        seen = may_see(desk, study, user)
        results = desk.studies.results(study) if seen else ()
        refused = bool(results) and not any(has_age(result) for result in results)
        age = "" if refused else "; ".join(_line(result, len(results) > 1, words) for result in results)
        if seen and signed is not None:
            age = "" if signed.months is None else years(signed.months, words)
        found.append(Row(study, STATES[job.state] if job else "needs-sex", age, not seen, signed is not None, refused))
    return found


def _line(result: Result, several: bool, words: Words) -> str:
    side = each_of(result)[0].side_in_image
    age = spoken(result, words)
    return f"{hand_name(side, words)}: {age}" if several and side else age


def study_view(desk: Desk, study: Study, user: User, language: str) -> dict[str, Any]:
    """Everything that study.html asks for."""
    job, words = desk.studies.job(study), words_of(language)
    results = desk.studies.results(study) if may_see(desk, study, user) else ()
    corrected = desk.studies.corrected(study) if results else None
    machine = single(results)
    machine_months = machine.months if machine and corrected else None
    results = desk.studies.shown(study) if results else ()
    hands = _hands(desk, study, user, results, words)
    return {
        "study": study,
        "job": job,
        "state": STATES[job.state] if job else "needs-sex",
        "hands": hands,
        "unknown": any(hand.unknown for hand in hands),
        "correctable": machine is not None and bool(hands[0].regions),
        "signed": signature_of(desk.studies, study) if hands else None,
        "signed_hand": _signed_hand(desk, study, words) if hands else "",
        "forms_made": reports.forms_of(desk.studies, study, results) if results else (),
        "corrected": corrected[1] if corrected else None,
        "adult": any(each.refused and each.refused.code == "adult" for hand in hands for each in each_of(hand.result)),
        "corrected_dates": _corrected_dates(study, words),
        "machine_months": machine_months,
        "data": _data(hands, desk, study, words) | {"corrected": json.loads(corrected[1].boxes) if corrected else {}},
    }


def _hands(desk: Desk, study: Study, user: User, results: tuple[Result, ...], words: Words) -> list[Hand]:
    if not results:
        return []
    own, child = desk.studies.readings.reading(study.id, user.name).own_months, desk.studies.child(study)
    hands = []
    for result in results:
        side = (each_of(result)[0].side_in_image or "") if len(results) > 1 else ""
        summaries = tuple(summarise(each, child, words, own) for each in each_of(result))
        hands.append(Hand(side, hand_name(side, words) if side else "", result, summaries, words))
    return hands


def _corrected_dates(study: Study, words: Words) -> list[str]:
    """What the file states in place of the dates that a reader gave."""
    pairs = (
        (words.gettext("born %(day)s"), study.file_birth_date, study.birth_date),
        (words.gettext("radiograph of %(day)s"), study.file_study_date, study.study_date),
    )
    return [text % {"day": stated} for text, stated, used in pairs if stated is not None and stated != used]


def _signed_hand(desk: Desk, study: Study, words: Words) -> str:
    signature = signature_of(desk.studies, study)
    return hand_name(signature.hand, words) if signature and signature.hand else ""


def _data(hands: list[Hand], desk: Desk, study: Study, words: Words) -> dict[str, Any]:
    """What the viewer needs: the original's size, and the regions where they may be seen."""
    height, width = desk.studies.radiograph(study).pixels_HW.shape
    regions = [_region(hand, region, words) for hand in hands for region in hand.regions]
    return {"width": width, "height": height, "regions": regions}


def _region(hand: Hand, ages: tuple[Region, ...], words: Words) -> dict[str, Any]:
    region = ages[0]
    spoken_ages = [years(each.months, words) for each in ages]
    if len(ages) > 1:
        titles = (for_sex(summary.assessment.sex, words) for summary in hand.summaries)
        spoken_ages = [f"{title} {age}" for title, age in zip(titles, spoken_ages, strict=True)]
    return {
        "key": hand.key(region.name),
        "name": region.name,
        "group": group_of(region.name),
        "label": f"{region.name} {region.months:.0f}" if len(ages) == 1 else region.name,
        "age": ", ".join(spoken_ages),
        "box": [region.box.x1, region.box.y1, region.box.x2, region.box.y2],
    }


def agreement_view(found: Agreement, language: str) -> dict[str, Any]:
    """Everything that agreement.html asks for."""
    words = words_of(language)
    if found.bias is None:
        return {"found": found, "bland_altman": None, "drift": None}
    return {
        "found": found,
        "bland_altman": charts.bland_altman(found.pairs, found.bias, found.limits, words),
        "drift": charts.drift(found.differences, RECENT, words),
    }


LONG_SIDE: Final = 2048
"""Larger radiographs are reduced to this for the viewer."""
PERCENTILES: Final = (0.5, 99.5)


@dataclass(frozen=True)
class Picture:
    """`gzipped` is uint16, little-endian, row by row; `low` and `high` are the window to begin with."""

    gzipped: bytes
    width: int
    height: int
    low: int
    high: int
    inverted: bool

    @property
    def headers(self) -> dict[str, str]:
        """What the viewer needs besides the values."""
        return {
            "Content-Encoding": "gzip",
            "X-Width": str(self.width),
            "X-Height": str(self.height),
            "X-Window": f"{self.low},{self.high}",
            "X-Inverted": str(int(self.inverted)),
        }


def for_viewer(radiograph: Radiograph) -> Picture:
    """The radiograph at most 2048 pixels long; values that are no uint8 or uint16 are spread over 16 bits."""
    grey_HW = radiograph.pixels_HW
    inverted = is_inverted(grey_HW)
    values = grey_HW.astype(np.float32)
    if grey_HW.dtype not in (np.uint8, np.uint16):
        values = (values - values.min()) * np.float32(65535 / max(float(np.ptp(values)), 1e-12))
    picture = Image.fromarray(values)
    picture.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BOX)
    shown_HW = np.clip(np.rint(np.asarray(picture)), 0, 65535).astype("<u2")
    low, high = np.percentile(shown_HW, PERCENTILES)
    return Picture(
        gzip.compress(shown_HW.tobytes(), 1, mtime=0),
        shown_HW.shape[1],
        shown_HW.shape[0],
        int(low),
        max(int(high), int(low) + 1),
        inverted,
    )
