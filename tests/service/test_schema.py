"""Schemathesis sends what the OpenAPI document allows, and what it does not: no answer is a server error."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from starlette.testclient import TestClient

schemathesis = pytest.importorskip("schemathesis")

from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance  # noqa: E402

CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
os.environ.setdefault("SCHEMATHESIS_HOOKS", "")


@pytest.fixture
def schema(client: TestClient) -> object:
    return schemathesis.openapi.from_dict(client.get("/api/v1/openapi.json").json())


lazy = schemathesis.pytest.from_fixture("schema")


@lazy.parametrize()
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_a_server_error(case: schemathesis.Case, client: TestClient) -> None:
    case.call_and_validate(session=client, base_url="http://localhost", checks=CHECKS)
