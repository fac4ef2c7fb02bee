"""A thousand damaged DICOM files: each is read, or refused with our error and a reason; nothing else ever gets out.

Also pydicom's own test files, whose makers collected what scanners really write.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from carpal.errors import CarpalError, UnreadableImage, UnsuitableImage
from carpal.imaging.read import open_image, read_radiograph
from carpal.types import Radiograph
from dicom_kit import CHILD, DEFLATED, compress, encode, pydicom, ramp, study

pytestmark = pytest.mark.slow

FILES = 1000
SEEDS = range(10)
PLANTED = re.compile("Zyx|Qwert|4711|ACC-99|House", re.IGNORECASE)
VRS = b"OB OW UN SQ US SS UL DS IS LO PN UI CS DA TM AT FD FL OF UT ??".split()
IMPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
COMPRESSED = ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90")


@cache
def whole_files() -> tuple[bytes, ...]:
    """Valid files of every kind that we read, each a few kilobytes."""
    tables = {"RescaleSlope": "-1", "RescaleIntercept": "4095", "WindowCenter": "2000", "WindowWidth": "3000"}
    files = [encode(study(ramp(), syntax=syntax, **tables)) for syntax in ("1.2.840.10008.1.2.1", DEFLATED)]
    files += [encode(study(ramp(255, np.uint8), 8, PhotometricInterpretation="MONOCHROME1")), encode(study(**CHILD))]
    for syntax in COMPRESSED:
        dataset = study()
        compress(dataset, syntax)
        files.append(encode(dataset))
    bare = study()
    bare.file_meta.TransferSyntaxUID = IMPLICIT
    files.append(encode(bare))
    return tuple(files)


def flipped(data: bytearray, random: np.random.Generator) -> None:
    for position in random.integers(0, len(data), random.integers(1, 12)):
        data[position] = random.integers(256)


def truncated(data: bytearray, random: np.random.Generator) -> None:
    del data[random.integers(1, len(data)) :]


def flipped_in_header(data: bytearray, random: np.random.Generator) -> None:
    for position in random.integers(128, min(700, len(data)), random.integers(1, 6)):
        data[position] = random.integers(256)


def cut_out(data: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(132, len(data)))
    del data[start : start + int(random.integers(1, 40))]


def inserted(data: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(0, min(900, len(data))))
    data[start:start] = random.bytes(int(random.integers(1, 20)))


def relabelled(data: bytearray, random: np.random.Generator) -> None:
    """Another VR for an element: the two letters after a tag of the header."""
    known = [found.start() for found in re.finditer(rb"(?<=[\x00-\x7f]\x00)[A-Z]{2}", bytes(data[:900]))]
    for start in random.choice(known, min(3, len(known)), replace=False) if known else ():
        data[start : start + 2] = VRS[random.integers(len(VRS))]


def revalued(data: bytearray, random: np.random.Generator) -> None:
    """Another value for rows, columns, bits and their like: 16 bits anywhere in the image group."""
    places = [found.start() for found in re.finditer(rb"\x28\x00.[\x00\x01]US\x02\x00", bytes(data), re.DOTALL)]
    for start in places if len(places) < 2 else random.choice(places, 2, replace=False):
        data[start + 8 : start + 10] = int(random.choice([0, 1, 7, 8, 12, 16, 33, 255, 4096, 65535])).to_bytes(
            2, "little"
        )


MUTATIONS = (flipped, truncated, flipped_in_header, cut_out, inserted, relabelled, revalued)


def mutants(seed: int) -> Iterator[tuple[str, bytes]]:
    """A tenth of the files: name and bytes, the same ones each time."""
    random = np.random.default_rng(seed)
    for number in range(FILES // len(SEEDS)):
        data = bytearray(whole_files()[number % len(whole_files())])
        mutation = MUTATIONS[int(random.integers(len(MUTATIONS)))]
        mutation(data, random)
        yield f"{mutation.__name__}-{seed}-{number}.dcm", bytes(data)


def outcome(name: str, data: bytes) -> str:
    """ "read", or the code of our error, whose message begins with the name and shows no planted value."""
    try:
        radiograph = read_radiograph(data, name)
    except CarpalError as error:
        message = str(error)
        assert message.startswith(f"{name}: ")
        assert not PLANTED.search(message.removeprefix(name))
        return error.code
    assert isinstance(radiograph, Radiograph)
    assert radiograph.exam is not None
    assert not PLANTED.search(" ".join(radiograph.warnings))
    return "read"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_hundred_damaged_files_each_have_a_named_outcome(seed: int) -> None:
    outcomes = Counter(outcome(name, data) for name, data in mutants(seed))
    assert sum(outcomes.values()) == FILES // len(SEEDS)
    assert outcomes["read"] > 20
    assert outcomes["unreadable-image"] > 5
    assert set(outcomes) <= {"read", "unreadable-image", "unsuitable-image"}


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_a_damaged_header_gives_a_header_or_our_error(seed: int) -> None:
    read = 0
    for name, data in mutants(seed):
        with contextlib.suppress(UnreadableImage, UnsuitableImage):
            header = open_image(data, name).header
            read += header is not None and bool(header.study_uid and header.sop_instance_uid)
    assert read > 20


def local_files() -> list[Path]:
    """All that pydicom's wheel brings, DICOM or not; it downloads others, which tests never do."""
    root = Path(pydicom.__file__).parent / "data"
    return sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


def test_pydicom_s_own_files_are_read_or_refused_by_name() -> None:
    files = local_files()
    assert len(files) > 150
    outcomes = {str(path): outcome(str(path), path.read_bytes()) for path in files}
    assert set(outcomes.values()) == {"read", "unreadable-image", "unsuitable-image"}
    for name, code in (("CT_small.dcm", "unsuitable-image"), ("image_dfl.dcm", "read"), ("SC_rgb_jpeg.dcm", "read")):
        assert [found for path, found in outcomes.items() if path.endswith(f"/{name}")] == [code]
