"""Schemathesis sends what the OpenAPI document allows, and what it does not: no answer is a server error.

Its pytest plugin does not know pytest 9.2, so its strategies are run here by hand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from carpal.types import Radiograph
from node_kit import as_bytes, radiograph

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
BOUNDED = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
STOPPED_BEFORE = {"unauthenticated", "not-found", "method-not-allowed", "invalid", "unsupported-media-type"}
"""Codes of answers that were given without a look at the study."""


def fuzz(operation: Any, change: Callable[[schemathesis.Case], None], check: Callable[[Any], None]) -> None:
    """Sends valid and invalid cases of an operation, each changed before, and checks every answer."""
    for mode in schemathesis.GenerationMode:

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: schemathesis.Case) -> None:
            change(case)
            check(case.call_and_validate(checks=CHECKS, timeout=60))

        try:
            run()
        except Unsatisfiable:  # an operation that takes nothing has nothing that could be wrong
            assert mode is schemathesis.GenerationMode.NEGATIVE


def operations(address: str) -> list[Any]:
    schema = schemathesis.openapi.from_url(f"{address}/api/v1/openapi.json")
    return [result.ok() for result in schema.get_all_operations()]


def test_no_answer_is_a_server_error(address: str) -> None:
    found = operations(address)
    assert len(found) == 16
    for operation in found:
        fuzz(operation, lambda case: None, lambda answer: None)


@pytest.fixture
def client(address: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{address}/api/v1", timeout=60) as found:
        yield found


@pytest.fixture
def seed(client: httpx2.Client, drawn_hand: Radiograph) -> Callable[[bool], str]:
    """Queues a DICOM file, blind or not, and waits until it is read; gives its id."""
    pixels_HW = drawn_hand.pixels_HW
    shape = {"Rows": pixels_HW.shape[0], "Columns": pixels_HW.shape[1]}
    data = as_bytes(radiograph(1, **shape, PatientBirthDate="20160101", PixelData=pixels_HW.tobytes()))

    def run(blind: bool) -> str:
        answer = client.post("/jobs", files={"files": ("hand.dcm", data)}, data={"blind": str(blind)})
        identifier = str(answer.json()["jobs"][0]["id"])
        while client.get(f"/jobs/{identifier}").json()["state"] != "done":
            time.sleep(0.02)
        return identifier

    return run


@pytest.mark.parametrize("blind", [False, True], ids=["read", "blind"])
def test_no_operation_on_a_study_is_a_server_error(address: str, seed: Callable[[bool], str], blind: bool) -> None:
    """Each operation gets a study of its own, for some of them end or close it; every case is sent to it."""
    found = [operation for operation in operations(address) if "{identifier}" in operation.path]
    assert len(found) == 8
    for operation in found:
        identifier, outcomes = seed(blind), set()

        def aim(case: schemathesis.Case, identifier: str = identifier) -> None:
            case.path_parameters = {**case.path_parameters, "identifier": identifier}
            case.headers = {name: value for name, value in case.headers.items() if name.lower() != "authorization"}

        def note(answer: Any, outcomes: set[str] = outcomes) -> None:
            outcomes.add("ok" if answer.status_code < 300 else answer.json()["code"])

        fuzz(operation, aim, note)
        assert outcomes - STOPPED_BEFORE, f"{operation.method.upper()} {operation.path} never met the study: {outcomes}"
        withheld = operation.path.endswith(("/result", "/report.{form}", "/regions", "/sign"))
        assert ("blind" in outcomes) == (blind and withheld), (operation.path, outcomes)
        assert not (blind and withheld and "ok" in outcomes), operation.path
