"""The store: what goes in comes out, and a broken one is neither written nor opened."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from carpal.anatomy import INDEX
from carpal.errors import DataError
from carpal.imaging.preprocess import preprocess
from carpal.lab.data.annotations import Annotation
from carpal.lab.data.prepare import Sample, open_store, prepare


def picture(height: int = 120, width: int = 90, seed: int = 0) -> bytes:
    """A PNG with a bright textured blob on a dark smooth ground."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    blob = np.hypot(x - width / 2, y - height / 2) < min(height, width) / 3
    file = io.BytesIO()
    Image.fromarray((20 + blob * random.integers(80, 220, (height, width))).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def reader(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def regions(width: float | None = 180, height: float | None = 240) -> Annotation:
    points = np.zeros((17, 3))
    points[INDEX["PIP3"]] = 90, 60, 1
    return Annotation("1", "test", width, height, points)


def samples() -> list[Sample]:
    return [
        Sample("1", "1.png", reader(picture(seed=1)), 100.5, True, fold=3, regions=regions()),
        Sample("2", "2.png", reader(picture(60, 200, seed=2)), None, None),
        Sample("1", "1.webp", reader(picture(100, 100, seed=3)), 100.5, True, kind="thumb", aspect=0.5),
    ]


def test_a_store_gives_back_rows_pixels_and_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = prepare(samples(), tmp_path / "store", long_side=64)
    store = open_store(tmp_path / "store", verify=True)
    assert len(store) == 3
    assert store.manifest == manifest
    assert manifest.long_side == 64
    assert [(row.id, row.boneage, row.male, row.kind, row.fold) for row in store.rows] == [
        ("1", 100.5, True, "image", 3),
        ("2", None, None, "image", -1),
        ("1", 100.5, True, "thumb", -1),
    ]
    assert [store.pixels(i).shape for i in range(3)] == [(64, 48), (19, 64), (64, 32)]
    for i, sample in enumerate(samples()):
        image = np.asarray(Image.open(io.BytesIO(sample.read())))
        np.testing.assert_array_equal(store.pixels(i), preprocess(image, 64, sample.aspect).pixels_HW)
    assert store.points.shape == (3, 17, 3)
    assert store.points[0, INDEX["PIP3"]].tolist() == [24, 16, 1]
    assert store.points[..., 2].sum() == 1
    counts = {"images": 2, "thumbs": 1, "with_age": 2, "with_sex": 2, "with_regions": 1, "points": 1, "points_found": 0}
    assert manifest.counts == counts
    assert "3/3" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["store"], "no temporary folder stays"


def test_the_same_samples_give_the_same_files(tmp_path: Path) -> None:
    first, second = (prepare(samples(), tmp_path / name, long_side=64) for name in "ab")
    assert first == second
    other = samples()[:1]
    assert prepare(other, tmp_path / "c", long_side=64).sources_sha256 != first.sources_sha256


def test_points_without_a_frame_are_in_pixels_of_the_file(tmp_path: Path) -> None:
    sample = Sample("1", "1.png", reader(picture()), regions=regions(None, None))
    prepare([sample], tmp_path / "store", long_side=60)
    assert open_store(tmp_path / "store").points[0, INDEX["PIP3"]].tolist() == [45, 30, 1]


@pytest.mark.parametrize(
    ("sample", "word"),
    [
        (Sample("1", "bad.png", reader(picture()[:300])), r"Of 4 files.*1: bad\.png"),
        (Sample("3", "bad.png", reader(b"")), r"bad\.png"),
        (Sample("3", "bad.png", reader(picture()), regions=regions(240, 180)), r"bad\.png.*frame of 240 x 180"),
    ],
)
def test_files_that_fail_are_all_named_and_nothing_is_written(tmp_path: Path, sample: Sample, word: str) -> None:
    renamed = Sample("9", sample.name, sample.read, regions=sample.regions)
    with pytest.raises(DataError, match=word):
        prepare([*samples(), renamed], tmp_path / "store", long_side=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ([Sample("2", "2.jpg", reader(picture()))], "more than once - 1: 2"),
        ([Sample("5", "5.png", reader(picture()), float("nan"), True)], r"0\.\.228 months - 1: 5 \(nan\)"),
        ([Sample("5", "5.png", reader(picture()), 300, True)], r"5 \(300\)"),
        ([Sample("4360", "a.png", reader(picture()), 12, True)], "RSNA test set"),
        ([Sample("4559", "a.png", reader(picture()), 12, True)], "RSNA test set"),
    ],
)
def test_wrong_samples_are_refused_before_any_is_decoded(tmp_path: Path, more: list[Sample], word: str) -> None:
    def never() -> bytes:
        raise AssertionError("decoded too early")

    with pytest.raises(DataError, match=word):
        prepare([Sample("2", "2.png", never), *more], tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_the_test_sets_neighbours_and_its_images_without_ages_pass(tmp_path: Path) -> None:
    rows = [("4359", 12.0), ("4560", 12.0), ("4400", None)]
    prepare([Sample(name, name, reader(picture()), age) for name, age in rows], tmp_path / "store", long_side=64)
    assert len(open_store(tmp_path / "store")) == 3


def test_no_samples_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to prepare"):
        prepare([], tmp_path / "store")


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "store"
    prepare(samples(), out, long_side=64)
    with pytest.raises(DataError, match="store already"):
        prepare(samples(), out, long_side=32)
    prepare(samples()[:1], out, long_side=32, overwrite=True)
    assert len(open_store(out)) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="not a store"):
        prepare(samples(), tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_damaged_store_does_not_open(tmp_path: Path) -> None:
    out = tmp_path / "store"
    prepare(samples(), out, long_side=64)
    pixels = (out / "pixels.npy").read_bytes()
    (out / "pixels.npy").write_bytes(pixels[:-1])
    with pytest.raises(DataError, match=r"pixels\.npy.*bytes, the manifest says"):
        open_store(out)
    (out / "pixels.npy").write_bytes(pixels[:-1] + bytes([pixels[-1] ^ 1]))
    with pytest.raises(DataError, match="SHA-256"):
        open_store(out, verify=True)
    (out / "points.npy").unlink()
    with pytest.raises(DataError, match=r"points\.npy.*missing"):
        open_store(out)


@pytest.mark.parametrize("change", [{"format": 0}, {"preprocess": {"low": 5.0}}])
def test_a_stale_store_does_not_open(tmp_path: Path, change: dict[str, object]) -> None:
    out = tmp_path / "store"
    prepare(samples(), out, long_side=64)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(DataError, match="stale"):
        open_store(out)


@pytest.mark.parametrize("text", ["{}", "[1]", "{"])
def test_what_is_no_store_says_so(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match="carpal prepare"):
        open_store(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match="no manifest of a store"):
        open_store(tmp_path)
