"""Who asks, what she may do, and what is withheld from her: the dependencies that routes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final

import anyio
from fastapi import Depends, Path, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from carpal.web import middleware
from carpal.web.auth import LOCAL, Role, Tokens, User
from carpal.web.review import Study
from carpal.web.schemas import Problem
from carpal.web.settings import Settings
from carpal.web.study_store import Studies

SESSION: Final = "carpal_session"
FORM: Final = "carpal_form"
"""Cookies: a session, and a random value of this browser. Form tokens are bound to both."""

READERS: Final = middleware.AT_ONCE
"""Requests that may wait for their turn: as many as the gate lets in at the same time."""

bearer = HTTPBearer(auto_error=False, description="A token that `carpal serve --add-token NAME` printed")


@dataclass(frozen=True)
class Desk:
    """Everything that a route needs."""

    studies: Studies
    tokens: Tokens
    settings: Settings
    readers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(READERS), compare=False)
    """Threads of POST /assess, where each waits for its turn: apart from those that answer everything else."""


def desk_of(request: Request) -> Desk:
    """The desk of this application."""
    desk: Desk = request.app.state.desk
    return desk


def find_user(request: Request, token: str | None = None) -> User | None:
    """Who asks: by token, by session, or, on a loopback service without tokens, whoever sits at this machine."""
    desk = desk_of(request)
    if token is not None:
        return desk.tokens.user_of(token)
    if not desk.tokens.entries() and desk.settings.loopback:
        return LOCAL
    return desk.tokens.user_of_session(request.cookies.get(SESSION, ""))


def reader(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)] = None
) -> User:
    """A known user, or Problem 401."""
    user = find_user(request, credentials.credentials if credentials else None)
    if user is None:
        raise Problem(
            401,
            "This needs a token. Send the header Authorization: Bearer TOKEN, or sign in on the page",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return user


def admin(user: Annotated[User, Depends(reader)]) -> User:
    """A user with the role admin, or Problem 403."""
    if user.role is not Role.ADMIN:
        raise Problem(403, "This needs the role admin. Ask who runs the service")
    return user


def study_of(
    request: Request,
    identifier: Annotated[str, Path(pattern=r"^[0-9a-f]{24}$", description="As POST /api/v1/jobs answered")],
    user: Annotated[User, Depends(reader)],
) -> Study:
    """The study that the address names, or Problem 404."""
    study = desk_of(request).studies.readings.study(identifier)
    if study is None:
        raise Problem(404, "There is no such study. It was deleted, or the address is wrong")
    return study


def may_see(desk: Desk, study: Study, user: User) -> bool:
    """Whether the machine's answer is shown to this user: in a blind study only after she has committed hers."""
    return not study.blind or desk.studies.readings.reading(study.id, user.name).committed is not None


def open_study(
    request: Request, study: Annotated[Study, Depends(study_of)], user: Annotated[User, Depends(reader)]
) -> Study:
    """A study whose answer this user may see, or Problem 403."""
    if not may_see(desk_of(request), study, user):
        raise Problem(403, "This study is read blind first. Commit your own reading, then ask again", "blind")
    return study


Asking = Annotated[User, Depends(reader)]
Administrator = Annotated[User, Depends(admin)]
Desked = Annotated[Desk, Depends(desk_of)]
OneStudy = Annotated[Study, Depends(study_of)]
OpenStudy = Annotated[Study, Depends(open_study)]
