"""Hands that are cut or covered: what is done to them lies where it should, and no limit or rate counts them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from carpal.anatomy import INDEX, MEAN_HAND
from carpal.lab.evaluation import negatives, threshold_fit
from carpal.types import Radiograph


@pytest.fixture
def points_R3() -> NDArray[np.float64]:
    return np.column_stack([np.array(MEAN_HAND) * 80 + [200, 220], np.ones(17)])


@pytest.fixture
def hand_HW() -> NDArray[np.uint8]:
    """Smooth dark air around a rough grey hand that is no brighter than 120, with one bright pixel."""
    rng = np.random.default_rng(0)
    hand_HW = rng.integers(8, 12, (400, 400)).astype(np.uint8)
    hand_HW[110:390, 110:310] = rng.integers(40, 120, (280, 200))
    hand_HW[300, 140] = 255
    return hand_HW


def test_a_cut_hand_is_the_rest_of_it(hand_HW: NDArray[np.uint8], points_R3: NDArray[np.float64]) -> None:
    upper_HW = threshold_fit.spoil(hand_HW, points_R3, "cut wrist")
    lower_HW = threshold_fit.spoil(hand_HW, points_R3, "cut fingertips")
    assert upper_HW is not None
    assert lower_HW is not None
    assert np.array_equal(upper_HW, hand_HW[: len(upper_HW)])
    assert np.array_equal(lower_HW, hand_HW[-len(lower_HW) :])
    assert points_R3[INDEX["MCP3"], 1] < len(upper_HW) < points_R3[INDEX["Wrist"], 1]
    assert points_R3[INDEX["DIP3"], 1] < 400 - len(lower_HW) < points_R3[INDEX["MCP3"], 1]


@pytest.mark.parametrize(
    ("kind", "under", "free"),
    [("cast", "Radius", "MCP3"), ("splint", "PIP4", "PIP2"), ("metal", "Radius", "Ulna"), ("metal", "PIP4", "DIP2")],
)
def test_what_covers_a_hand_lies_where_it_should(
    kind: str, under: str, free: str, hand_HW: NDArray[np.uint8], points_R3: NDArray[np.float64]
) -> None:
    before_HW = hand_HW.copy()
    covered_HW = threshold_fit.spoil(hand_HW, points_R3, kind, digit=4)
    assert covered_HW is not None
    assert (covered_HW.dtype, covered_HW.shape) == (hand_HW.dtype, hand_HW.shape)
    assert np.array_equal(hand_HW, before_HW)
    brighter_HW = covered_HW.astype(int) - hand_HW > 60
    (x, y), (x0, y0) = (points_R3[INDEX[name], :2].round().astype(int) for name in (under, free))
    assert brighter_HW[y - 3 : y + 4, x - 3 : x + 4].any()
    assert not brighter_HW[y0 - 3 : y0 + 4, x0 - 3 : x0 + 4].any()
    dark_HW = threshold_fit.spoil(255 - hand_HW, points_R3, kind, digit=4)
    assert dark_HW is not None
    assert np.abs(255 - dark_HW.astype(int) - covered_HW).max() < 40  # of a negative the same, but for the grain


def test_points_that_lack_make_none(hand_HW: NDArray[np.uint8], points_R3: NDArray[np.float64]) -> None:
    points_R3[INDEX["Ulna"], 2] = 0
    assert all(threshold_fit.spoil(hand_HW, points_R3, kind) is None for kind in threshold_fit.KINDS)


def test_they_are_counted_apart(
    hand_HW: NDArray[np.uint8],
    points_R3: NDArray[np.float64],
    fake_engine: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read by the network and judged by limits that they took no part in."""
    lacking_R3 = points_R3 * [1, 1, 0]
    points = [lacking_R3, points_R3, lacking_R3, points_R3, points_R3]
    annotated = [(SimpleNamespace(id=str(n), name="", male=True), hand_HW, each) for n, each in enumerate(points)]
    chosen = lambda _, folds, each=None: iter(annotated[:each] if 0 in folds else [])  # noqa: E731
    monkeypatch.setattr(threshold_fit, "_annotated", chosen)
    assert [case.name for case in threshold_fit.spoils(Path("data"), [0], 2)] == ["1"] * 5 + ["3"] * 5
    monkeypatch.setattr(threshold_fit, "cuts", lambda *_, **__: iter(()))
    empty: Callable[..., Any] = lambda *_, **__: iter(())  # noqa: E731
    monkeypatch.setattr(threshold_fit, "radiographs", empty)
    monkeypatch.setattr(threshold_fit, "brazilians", empty)
    drawn = [threshold_fit.Case("drawn text", str(n), Radiograph(negatives.draw("text", n), "t")) for n in range(2)]
    monkeypatch.setattr(threshold_fit, "others", lambda *_: iter(drawn))
    monkeypatch.setattr(threshold_fit, "open_engine", lambda *_, **__: fake_engine())
    fitted_on: list[str] = []
    limits = SimpleNamespace(as_dict=dict)
    fit_limits = lambda seen: (fitted_on.extend(case.kind for case in seen), limits)[1]  # noqa: E731
    monkeypatch.setattr(threshold_fit, "fit_limits", fit_limits)
    monkeypatch.setattr(threshold_fit, "judge", lambda case, _: "cropped" if case.kind == "cut wrist" else "")
    block = threshold_fit.fit(Path("data"), each=2)
    assert fitted_on == ["drawn text"] * 2
    assert block["spoiled"].keys() == set(threshold_fit.KINDS)
    assert block["spoiled"]["cut wrist"] == {"n": 2, "read_by_network": 2, "refused": 2, "codes": {"cropped": 2}}
    assert block["spoiled"]["cast"]["refused"] == 0
    assert not {*block["fitted_on"], *block["kept_out"]} & set(threshold_fit.KINDS)
