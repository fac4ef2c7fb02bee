"""Every number on the page names its source: each card that shows one has a line that says where it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.types import Interval, ModelId

Queue = Callable[..., dict[str, Any]]
HTML = {"Accept": "text/html"}
VOID = {"input", "br", "meta", "link", "img"}


class Cards(HTMLParser):
    """The cards of a page: which of `dd`, `td`, `svg` and `.big` each holds, and the lines that name a source."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cards: list[SimpleNamespace] = []
        self._open: list[tuple[str, SimpleNamespace | None, bool]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        classes = (dict(attributes).get("class") or "").split()
        card = SimpleNamespace(numbers=[], sources=[], text="") if "card" in classes else None
        if card:
            self.cards.append(card)
        self._open.append((tag, card, tag == "figcaption" or "source" in classes))
        for inside in self._inside():
            if tag in ("dd", "td", "svg") or "big" in classes:
                inside.numbers.append(tag)
            if self._open[-1][2]:
                inside.sources.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        for inside in self._inside():
            inside.text += data
            if any(is_source for _, _, is_source in self._open):
                inside.sources[-1] += data

    def _inside(self) -> list[SimpleNamespace]:
        return [card for _, card, _ in self._open if card]


class Sure:
    """A calibration of intervals: a year to either side."""

    def interval(self, sex: Any, months: float, probabilities_K: Any) -> Interval:
        return Interval(months - 12, months + 12, 0.9)


@pytest.fixture
def study(client: TestClient, engine: Any, queue: Queue) -> str:
    """A second reading of a child with everything: interval, velocity, height."""
    engine.calibration, engine.model = Sure(), ModelId("bonnet", "2", "cd" * 32)
    facts = {"birth_date": "2010-01-01", "patient_id": "4711", "height_cm": "140"}
    queue(client, study_date="2018-01-01", **facts)
    engine.months = 132.0
    return f"/studies/{queue(client, study_date='2020-01-01', **facts)['id']}"


def numbered(client: TestClient, path: str, language: str = "en") -> list[SimpleNamespace]:
    """The cards that show a number."""
    page = client.get(path, headers=HTML | {"Accept-Language": language}).text
    return [card for card in Cards(page).cards if card.numbers]


@pytest.mark.parametrize("language", ["en", "de"])
def test_each_card_with_a_number_has_a_source(client: TestClient, study: str, language: str) -> None:
    cards = numbered(client, study, language)
    assert len(cards) == 5, "the age, the chart, the distribution, the height and the regions"
    for card in cards:
        assert card.sources, card.text
        assert all(len(source.strip()) > 30 for source in card.sources), card.sources


def test_interval_regions_scores_and_velocity_have_a_line_each(client: TestClient, study: str) -> None:
    lines = [source.strip() for card in numbered(client, study) for source in card.sources]
    for start, words in {
        "Bone age:": "the network bonnet 2 of carpal, SHA-256 cdcdcdcdcdcd",
        "Interval:": "Romano et al., NeurIPS 2019",
        "Velocity:": "standard error of both readings",
        "Ages of the regions:": "the network bonnet",
        "Scores:": "0 to 1",
        "Mean ± 2 SD:": "Greulich",
        "From 140.0 cm": "Pinneau",
    }.items():
        (line,) = (line for line in lines if line.startswith(start))
        assert words in line


def test_without_an_interval_none_is_explained(client: TestClient, queue: Queue) -> None:
    page = client.get(f"/studies/{queue(client)['id']}", headers=HTML).text
    assert "Romano" not in page
    assert "No interval" in page
    assert 'class="interval"' not in page


def test_the_model_card_is_that_of_the_weights_that_answered(client: TestClient, study: str) -> None:
    page = client.get(study, headers=HTML).text
    assert "docs/cards/bonnet.md" in page
    assert "alanet" not in page


def test_the_dashboard_names_the_definition(client: TestClient, queue: Queue) -> None:
    for months in (126, 132):
        reading = {"decision": "adjust", "months": months, "reason": "x"}
        client.post(f"/api/v1/jobs/{queue(client)['id']}/sign", json=reading)
    cards = numbered(client, "/agreement")
    assert len(cards) == 3
    assert all(card.sources for card in cards)
    assert "Lancet 1986" in cards[0].sources[0]


def test_the_distribution_shows_the_interval_around_the_age(client: TestClient, study: str) -> None:
    page = client.get(study, headers=HTML).text
    (plot,) = (svg for svg in re.findall(r"<svg class=.*?</svg>", page) if 'class="curve"' in svg)
    (band,) = re.findall(r'<polygon class="interval" points="([^"]+)"', plot)
    (age,) = re.findall(r'<polyline class="child" points="([\d.]+),', plot)
    edges = [float(point.partition(",")[0]) for point in band.split()]
    assert min(edges) < float(age) < max(edges)
    assert (min(edges) + max(edges)) / 2 == pytest.approx(float(age), abs=0.2), "a year to either side"
    assert plot.index('class="interval"') < plot.index('class="curve"'), "the curve is drawn above the band"
