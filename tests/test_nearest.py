"""The nearest training cases: those that lie nearest by definition, of the sex asked for, from a small table."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carpal.cli import main
from carpal.errors import WeightsError
from carpal.inference import explain as nearest
from carpal.inference.engine import Reading, open_engine
from carpal.inference.explain import Cases, cases_path, open_cases
from carpal.types import ModelId, Sex

COUNT, FEATURES = 1317, 2592


def table(count: int = 200, features: int = FEATURES, sha256: str = "0" * 64) -> tuple[Cases, np.ndarray[Any, Any]]:
    """Cases whose features lie near a plane of three directions, as a network's do, with a little of everything."""
    rng = np.random.default_rng(0)
    features_NF = rng.normal(size=(count, 3)) @ rng.normal(size=(3, features)) + 0.05 * rng.normal(
        size=(count, features)
    )
    ids, ages = [str(1000 + i) for i in range(count)], rng.uniform(0, 228, count).tolist()
    return Cases.of(ids, ages, [i % 2 == 0 for i in range(count)], features_NF, sha256), features_NF


@pytest.fixture
def own_onnx(tiny_onnx: Path, tmp_path: Path) -> Path:
    """A copy of the tiny network, to lay a table beside."""
    for suffix in (".onnx", ".json"):
        shutil.copy(tiny_onnx.with_suffix(suffix), tmp_path / f"own{suffix}")
    return tmp_path / "own.onnx"


def test_the_nearest_are_those_of_the_definition() -> None:
    cases, features_NF = table()
    asked_F = features_NF[7] + 0.02
    found = cases.nearest(asked_F, Sex.FEMALE)
    distance_N = np.linalg.norm(features_NF - asked_F, axis=1)
    females = np.arange(1, 200, 2)
    wanted = females[np.argsort(distance_N[females])][:5]
    assert found[0].id == "1007"
    assert len({case.id for case in found} & {str(1000 + i) for i in wanted}) >= 4  # 8 bits may swap near ones
    assert [case.distance for case in found] == sorted(case.distance for case in found)
    assert {case.sex for case in found} == {Sex.FEMALE}
    assert found[0].months == pytest.approx(float(cases.months_N[7]))


def test_a_distance_of_one_is_the_usual_one() -> None:
    cases, features_NF = table()
    distances = [case.distance for i in range(0, 200, 10) for case in cases.nearest(features_NF[i], Sex.MALE, 100)]
    assert np.sqrt(np.mean(np.square(distances))) == pytest.approx(1, abs=0.15)


def test_the_table_is_small_and_comes_back(tmp_path: Path) -> None:
    cases, features_NF = table(COUNT)
    path = tmp_path / "some.cases.npz"
    cases.save(path)
    assert path.stat().st_size < 1_000_000
    again = Cases.load(path)
    assert again.sha256 == cases.sha256
    assert [case.id for case in again.nearest(features_NF[3], Sex.FEMALE)] == [
        case.id for case in cases.nearest(features_NF[3], Sex.FEMALE)
    ]


def test_a_table_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "some.cases.npz"
    path.write_bytes(b"no table")
    with pytest.raises(WeightsError, match="is no table of training cases"):
        Cases.load(path)
    np.savez(path, id_N=np.array([object()], object))
    with pytest.raises(WeightsError, match="is no table of training cases"):
        Cases.load(path)
    cases, _ = table(20)
    arrays = {name: np.asarray(getattr(cases, name)) for name in nearest.KINDS} | {"code_ND": np.zeros((3, 3), np.int8)}
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(WeightsError, match="do not fit"):
        Cases.load(path)


def test_without_a_table_or_features_there_are_no_cases() -> None:
    cases, features_NF = table(20)
    reading = Reading(100.0, np.zeros(228, np.float32))
    assert nearest.nearest(cases, reading, Sex.MALE) == ()
    assert nearest.nearest(None, reading._replace(features_F=np.float32(features_NF[0])), Sex.MALE) == ()
    assert nearest.nearest(cases, reading._replace(features_F=np.zeros(3, np.float32)), Sex.MALE) == ()
    assert len(nearest.nearest(cases, reading._replace(features_F=np.float32(features_NF[0])), Sex.MALE)) == 5


def test_a_table_of_other_weights_is_not_used(own_onnx: Path) -> None:
    engine = open_engine(own_onnx, threads=1)
    assert open_cases(own_onnx, engine.model) is None
    table(20, sha256=engine.model.sha256)[0].save(cases_path(own_onnx))
    assert open_cases(own_onnx, engine.model) is not None
    assert open_cases(own_onnx, ModelId("other", "1", "f" * 64)) is None


def test_weights_without_features_say_what_to_do(fake_engine: Callable[..., Any]) -> None:
    """Files exported before the output existed still open and read; only the table cannot be made."""
    from carpal.lab.data.prepare import Sample
    from carpal.lab.evaluation import cases

    example = Path(__file__).parents[1] / "examples" / "6456.jpg"
    sample = Sample("6456", example.name, example.read_bytes, 126.0, False)
    with pytest.raises(WeightsError, match="export it again"):
        cases.see(sample, fake_engine())


def test_released_weights_have_features() -> None:
    features_F = open_engine("alanet", threads=1).run(np.zeros((64, 64), np.uint8), True).features_F
    assert features_F is not None
    assert features_F.ndim == 1


def test_explain_names_the_cases(
    own_onnx: Path, hand_png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = open_engine(own_onnx, threads=1)
    reading = engine.run(np.zeros((64, 64), np.uint8), True)
    assert reading.features_F is not None
    table(20, len(reading.features_F), engine.model.sha256)[0].save(cases_path(own_onnx))
    words = ["explain", str(hand_png), "--sex", "male", "--weights", str(own_onnx), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "most alike of the male training cases: 10" in capsys.readouterr().out
    assert (tmp_path / "out" / "explanation.json").read_text().count('"distance"') == 5
