"""Blind-first reading, decisions, signatures, export and agreement."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from carpal.web.agreement import Agreement
from carpal.web.auth import Role, Tokens
from carpal.web.review import Reading, Readings, Study

Queue = Callable[..., dict[str, Any]]
Problem = Callable[..., bool]
HTML = {"Accept": "text/html"}


def test_a_blind_answer_is_withheld_on_every_way(client: TestClient, queue: Queue, problem: Problem) -> None:
    job = queue(client, blind="true", birth_date="2010-01-01", study_date="2020-01-01")
    address = f"/api/v1/jobs/{job['id']}"
    assert (job["state"], job["committed"]) == ("done", False)
    for path in ("/result", "/report.json", "/report.pdf", "/report.png"):
        assert problem(client.get(address + path), 403, "blind")
    assert problem(client.post(f"{address}/sign", json={"decision": "accept"}), 403, "blind")
    assert problem(client.put(f"{address}/regions", json={"boxes": {}}), 403, "blind")
    for page in (f"/studies/{job['id']}", "/"):
        html = client.get(page, headers=HTML).text
        assert "10 years" not in html
        assert "120.0" not in html
        assert "MCP1" not in html


def test_after_committing_the_answer_is_open_and_the_commitment_stays(
    client: TestClient, queue: Queue, problem: Problem
) -> None:
    job = queue(client, blind="true")
    address = f"/api/v1/jobs/{job['id']}"
    assert client.post(f"{address}/commit", json={"months": 131}).json()["own_months"] == 131
    assert client.get(f"{address}/result").json()["months"] == 120.0
    assert problem(client.post(f"{address}/commit", json={"months": 120}), 409, "committed")
    signed = client.post(f"{address}/sign", json={"decision": "accept"}).json()
    assert (signed["own_months"], signed["months"], signed["decision"]) == (131, 120.0, "accept")


def test_one_readers_commitment_opens_nothing_for_another(
    build: Callable[..., TestClient], tmp_path: Path, queue: Queue, problem: Problem
) -> None:
    (tmp_path / "data").mkdir()
    tokens = Tokens(tmp_path / "data")
    anna, otto = ({"Authorization": f"Bearer {tokens.add(name, Role.ADMIN)}"} for name in ("anna", "otto"))
    client = build()
    job = queue(client, headers=anna, blind="true")
    address = f"/api/v1/jobs/{job['id']}"
    client.post(f"{address}/commit", json={"months": 131}, headers=anna)
    assert client.get(f"{address}/result", headers=anna).status_code == 200
    assert problem(client.get(f"{address}/result", headers=otto), 403, "blind")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"decision": "adjust", "months": 130}, 422, "missing-reason"),
        ({"decision": "adjust", "reason": "carpals"}, 422, "bad-age"),
        ({"decision": "reject"}, 422, "missing-reason"),
        ({"decision": "maybe"}, 422, "invalid"),
        ({"decision": "adjust", "months": 1000, "reason": "x"}, 422, "invalid"),
    ],
)
def test_decisions_that_lack_something_are_refused(
    client: TestClient, queue: Queue, problem: Problem, body: dict[str, Any], status: int, code: str
) -> None:
    assert problem(client.post(f"/api/v1/jobs/{queue(client)['id']}/sign", json=body), status, code)


def test_a_signed_study_is_never_changed(client: TestClient, queue: Queue, problem: Problem) -> None:
    job = queue(client)
    address = f"/api/v1/jobs/{job['id']}"
    reading = {"decision": "adjust", "months": 130, "reason": "carpals lag behind"}
    assert client.post(f"{address}/sign", json=reading).json()["months"] == 130
    assert problem(client.post(f"{address}/sign", json={"decision": "accept"}), 409, "signed")
    assert problem(client.patch(address, data={"sex": "male"}), 409, "signed")
    assert problem(client.put(f"{address}/regions", json={"boxes": {"Ulna": [1, 2, 30, 40]}}), 409, "signed")
    assert client.get(f"{address}/report.pdf").status_code == 200


def test_what_is_not_blind_cannot_be_committed(client: TestClient, queue: Queue, problem: Problem) -> None:
    answer = client.post(f"/api/v1/jobs/{queue(client)['id']}/commit", json={"months": 100})
    assert problem(answer, 409, "not-blind")


def test_the_export_holds_the_reading_and_no_patient(client: TestClient, queue: Queue) -> None:
    job = queue(client, patient_name="Doe", patient_id="4711", birth_date="2010-01-01", study_date="2020-01-01")
    reading = {"decision": "reject", "reason": '=HYPERLINK("http://evil")'}
    client.post(f"/api/v1/jobs/{job['id']}/sign", json=reading)
    text = client.get("/api/v1/readings.csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["decision"], row["machine_months"], row["signed_months"], row["sex"]) == (
        "reject", "120.0", "", "female",
    )  # fmt: skip
    assert row["reason"].startswith("'="), "a spreadsheet must not run it"
    for word in ("Doe", "4711", "2010"):
        assert word not in text


def test_the_dashboard_counts_what_was_signed(client: TestClient, queue: Queue) -> None:
    assert client.get("/api/v1/agreement").json() == {
        "n": 0, "bias": None, "sd": None, "lower": None, "upper": None, "recent_bias": None,
    }  # fmt: skip
    for months in (126, 132):
        job = queue(client)
        reading = {"decision": "adjust", "months": months, "reason": "x"}
        client.post(f"/api/v1/jobs/{job['id']}/sign", json=reading)
    found = client.get("/api/v1/agreement").json()
    assert (found["n"], found["bias"]) == (2, 9.0)
    assert "+9.0" in client.get("/agreement", headers=HTML).text


@given(st.lists(st.tuples(st.floats(0, 228), st.floats(0, 228)), min_size=2, max_size=40))
def test_limits_of_agreement_are_those_of_the_definition(pairs: list[tuple[float, float]]) -> None:
    found = Agreement(tuple(pairs))
    differences = [second - first for first, second in pairs]
    mean = sum(differences) / len(differences)
    sd = (sum((each - mean) ** 2 for each in differences) / (len(differences) - 1)) ** 0.5
    assert found.limits is not None
    assert found.limits == pytest.approx((mean - 1.96 * sd, mean + 1.96 * sd), abs=1e-6)
    assert (found.recent_bias is None) == (len(pairs) < 20)


def test_the_same_child_is_one_with_the_same_number_sex_and_birthday(tmp_path: Path) -> None:
    readings = Readings(tmp_path / "r.sqlite")
    facts = {"created": "2024", "owner": "a", "file": "f", "sex": "male", "birth_date": "2010-01-01"}
    for name, changed in {
        "a": {}, "b": {}, "c": {"sex": "female"}, "d": {"birth_date": "2011-01-01"}, "e": {"patient_id": "2"},
        "f": {"patient_id": ""},
    }.items():  # fmt: skip
        readings.add(Study(name, **(facts | {"patient_id": "1"} | changed)))  # type: ignore[arg-type]
    first, nameless = readings.study("a"), readings.study("f")
    assert first is not None
    assert nameless is not None
    assert [study.id for study in readings.of_patient(first)] == ["a", "b"]
    assert readings.of_patient(nameless) == []


def test_a_commitment_and_a_signature_are_given_once(tmp_path: Path) -> None:
    readings = Readings(tmp_path / "r.sqlite")
    readings.add(Study("a", "2024", "o", "f"))
    readings.commit("a", "anna", 100)
    with pytest.raises(ValueError, match="committed"):
        readings.commit("a", "anna", 101)
    readings.sign(Reading("a", "anna", decision="accept"))
    with pytest.raises(ValueError, match="signed"):
        readings.sign(Reading("a", "anna", decision="reject"))
