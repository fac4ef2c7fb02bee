"""Start-up and the table of routes: the application, wrapped in its gate."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException

import carpal
from carpal.errors import CarpalError, ConfigError, need
from carpal.growth.reference import find_reference
from carpal.inference.engine import Engine
from carpal.quality.site import Site
from carpal.queue import logs
from carpal.report.language import LANGUAGES
from carpal.web import pages, rest
from carpal.web.access import Desk
from carpal.web.auth import Tokens
from carpal.web.middleware import Gate
from carpal.web.schemas import problem_of
from carpal.web.settings import Settings
from carpal.web.study_store import Studies

STATIC: Final = Path(__file__).parent / "static"
ABOUT: Final = (
    "Bone age and 17 named regions from a radiograph of the hand. Research only, not a medical device. "
    "Ages are months, boxes are x1, y1, x2, y2 in pixels of the original."
)


def create_app(settings: Settings, engine: Engine, site: Site | None = None) -> Gate:
    """The service over one data folder and one engine; the worker runs from start-up to shutdown.

    Every age goes through the calibration `site`. Raises ConfigError for a service that others can reach and that asks
    nobody for a token, and for a calibration of other weights.
    """
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = Tokens(settings.data)
    if not settings.loopback and not tokens.entries():
        raise ConfigError(
            f"the service on {settings.host} can be reached by others and nobody has a token - "
            "run carpal serve --add-token NAME first, or leave --host out"
        )
    studies = Studies(settings.data, engine, site, find_reference(settings.reference))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        studies.start()
        yield
        studies.close()

    app = FastAPI(
        title="carpal",
        version=carpal.__version__,
        description=ABOUT,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.desk = Desk(studies, tokens, settings)
    for router in rest.routes():
        app.include_router(router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for kind in (StarletteHTTPException, RequestValidationError, CarpalError, Exception):
        app.add_exception_handler(kind, answer_error)
    app.state.gate = Gate(app, settings)
    gate: Gate = app.state.gate
    return gate


async def answer_error(request: Request, error: Exception) -> Response:
    """The one error shape; for people with a browser, the page that says the same."""
    problem = problem_of(error)
    headers = getattr(error, "headers", None)
    if pages.wants_html(request):
        if problem.status == 401:
            return RedirectResponse("/login", 303)
        return pages.error_page(request, problem, headers)
    return JSONResponse(problem.model_dump(), problem.status, headers)


def serve(settings: Settings, engine: Engine, site: Site | None = None) -> None:
    """Runs until it is interrupted. Libraries are silent in this process; what comes in waits in the data folder."""
    import uvicorn

    app = create_app(settings, engine, site)
    logs.silence_libraries()
    warnings.simplefilter("ignore")  # in all threads: what decoders warn of quotes the patient's values
    tempfile.tempdir = str((settings.data / "partial").resolve())  # the form parser spools uploads there
    threading.Thread(target=warm_up, args=(engine,), name="warm-up", daemon=True).start()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        h11_max_incomplete_event_size=32 * 1024,
        timeout_graceful_shutdown=30,
    )


def warm_up(engine: Engine) -> None:
    """What the first page and radiograph would wait for: templates, a first run of the network, the DICOM reader.

    What fails here fails again, with its own message, when a radiograph comes.
    """
    with contextlib.suppress(Exception):
        for language in LANGUAGES:
            pages.compile_all(language)
        engine.run(np.zeros((engine.long_side, engine.long_side), np.uint8), True)
        for module in ("carpal.imaging.dicom", "pydicom.pixels"):
            need(module, feature="Reading DICOM", extra="dicom")
