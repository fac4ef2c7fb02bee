"""The readings before: each with the interval of the age that stands, the machine's or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.report.child import Earlier
from carpal.types import Interval

Queue = Callable[..., dict[str, Any]]
CHILD = {"birth_date": "2010-01-01", "patient_id": "4711"}
REPORTS = {"accept": {}, "adjust": {"months": 110, "reason": "carpals"}, "reject": {"reason": "a foot"}}


class Sure:
    """A calibration of intervals whose half width can be changed."""

    half = 20.0

    def interval(self, sex: Any, months: float, probabilities_K: Any) -> Interval:
        return Interval(months - self.half, months + self.half, 0.9)


@pytest.fixture
def seen(client: TestClient, engine: Any, queue: Queue) -> Callable[[str | None], tuple[Earlier, ...]]:
    """Reads a hand with a wide interval, decides on it, reads another with a narrow one: what is earlier for that."""

    def run(decision: str | None) -> tuple[Earlier, ...]:
        engine.calibration = Sure()
        first = queue(client, study_date="2018-01-01", **CHILD)
        if decision is not None:
            body = {"decision": decision, **REPORTS[decision]}
            assert client.post(f"/api/v1/jobs/{first['id']}/sign", json=body).status_code == 200
        engine.calibration.half = 5.0
        later = queue(client, study_date="2020-01-01", **CHILD)
        studies = client.app.app.state.desk.studies  # type: ignore[attr-defined]
        found: tuple[Earlier, ...] = studies.child(studies.readings.study(later["id"])).earlier
        return found

    return run


@pytest.mark.parametrize("decision", [None, "accept"])
def test_the_machine_s_age_keeps_its_own_interval(seen: Any, decision: str | None) -> None:
    (before,) = seen(decision)
    assert (before.bone_months, before.interval) == (120.0, Interval(100.0, 140.0, 0.9))


def test_a_reader_s_age_has_none(seen: Any) -> None:
    (before,) = seen("adjust")
    assert (before.bone_months, before.interval) == (110.0, None)


def test_a_rejected_one_is_no_reading(seen: Any) -> None:
    assert seen("reject") == ()
