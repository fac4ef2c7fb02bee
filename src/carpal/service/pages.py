"""The reading page: the HTML twins of the API. Rendered here, without a build step; it works without the network.

What a blind reader must not see is not in the HTML at all: `view.study_view` leaves it out.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import carpal
from carpal.report.charts import svg
from carpal.report.language import LANGUAGES, preferred, words_of
from carpal.report.text import signed, years
from carpal.service import decide, rest, view
from carpal.service.access import (
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
)
from carpal.service.agreement import agreement
from carpal.service.api import NotTaken, Problem, ProblemOut, RegionsIn, facts_of
from carpal.service.auth import SESSION_SECONDS, User
from carpal.service.picture import for_viewer
from carpal.service.readings import Decision
from carpal.service.studies import UploadFacts
from carpal.trust.reasons import translated

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
    rows, largest = view.rows(desk, user, language_of(request)), desk.settings.max_upload - FORM_BYTES
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
    return page(request, "study.html", **view.study_view(desk, study, user, language_of(request)))


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
    return page(request, "agreement.html", **view.agreement_view(found, language_of(request)))


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
