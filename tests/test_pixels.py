"""Stored values as the standard means them: bits that are not theirs, padding, pixels that are not square, and what a
compressed picture says of itself against a header that says otherwise."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from carpal.errors import UnsuitableImage
from carpal.imaging.codestream import describe
from carpal.imaging.dicom import DicomFile
from carpal.imaging.read import read_radiograph
from carpal.report.content import findings
from dicom_kit import CHILD, assessment, encode, pydicom, study

SIDE = 128
JPEG, JPEG_EXTENDED, JPEG_2000 = (f"1.2.840.10008.1.2.4.{end}" for end in ("50", "51", "90"))
HIGH_THROUGHPUT = "1.2.840.10008.1.2.4.203"


def decode(dataset: Any) -> Any:
    return DicomFile(encode(dataset), "hand.dcm").decode()


def hand(top: int = 4095, dtype: Any = np.uint16) -> NDArray[Any]:
    """A bright disc that fades to a dark ground, with noise: smooth, as radiographs are."""
    y, x = np.mgrid[:SIDE, :SIDE]
    disc_HW = np.clip(1.4 - np.hypot(y - SIDE / 2, x - SIDE / 2) / (SIDE / 2), 0.02, 1)
    noise_HW = np.random.default_rng(3).normal(0, 0.004, disc_HW.shape)
    return np.asarray(np.clip(disc_HW + noise_HW, 0, 1) * top).astype(dtype)


def drawing(bit: int) -> NDArray[np.uint16]:
    """A letter and a line in one bit plane."""
    picture = Image.new("L", (SIDE, SIDE))
    pen = ImageDraw.Draw(picture)
    pen.line((5, 5, 120, 90), fill=1, width=2)
    pen.text((60, 60), "R 12", fill=1)
    return np.asarray(picture).astype(np.uint16) << bit


@pytest.mark.parametrize("bits", [(15,), (14, 15), (13,), (12,), (12, 15)])
def test_an_overlay_above_the_stored_bits_is_no_value(bits: tuple[int, ...]) -> None:
    """Nothing in the header declares it. Next to the values it could be one of their bits: then it is told."""
    pixels_HW = hand()
    for bit in bits:
        pixels_HW = pixels_HW | drawing(bit)
    radiograph = decode(study(pixels_HW))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand())
    assert len(radiograph.warnings) == (12 in bits)


@pytest.mark.parametrize("top", [2**13, 2**14, 2**16])
def test_bits_that_the_values_need_are_theirs(top: int) -> None:
    radiograph = decode(study(hand(top - 1)))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand(top - 1))
    assert radiograph.warnings == (f"the header says 12 bits, the pixel data hold {top.bit_length() - 1}",)


def test_too_few_bits_and_an_overlay_are_told_apart() -> None:
    radiograph = decode(study(hand(2**13 - 1) | drawing(15)))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand(2**13 - 1))
    assert radiograph.warnings == ("the header says 12 bits, the pixel data hold 13",)


def test_values_at_the_upper_end_of_their_word_are_read_without_a_warning() -> None:
    radiograph = decode(study(hand() << 4, HighBit=15))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand() << 4)
    assert radiograph.warnings == ()


@pytest.mark.parametrize("extended", [True, False])
@pytest.mark.parametrize("overlay", [True, False])
def test_signed_values_have_their_sign_at_the_stored_bits(extended: bool, overlay: bool) -> None:
    values_HW = hand().astype(np.int16) - 2048
    stored_HW = values_HW.view(np.uint16) if extended else values_HW.view(np.uint16) & np.uint16(0x0FFF)
    stored_HW = stored_HW ^ drawing(15) if overlay else stored_HW
    radiograph = decode(study(stored_HW.view(np.int16)))
    np.testing.assert_array_equal(radiograph.pixels_HW, values_HW)
    assert radiograph.warnings == ()


def test_a_header_of_seven_bits_does_not_halve_eight() -> None:
    radiograph = decode(study(hand(255, np.uint8), bits=7))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand(255, np.uint8))


def padded(values_HW: NDArray[Any], padding: int, wide: int = 20) -> NDArray[Any]:
    return np.pad(values_HW, wide, constant_values=padding)


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_is_as_dark_as_the_picture_gets(vr: str) -> None:
    """Signed pixels, the padding written signed or not; what is within is untouched."""
    values_HW = hand().astype(np.int16)
    dataset = study(padded(values_HW, -32768), bits=16)
    dataset.add_new("PixelPaddingValue", vr, -32768 if vr == "SS" else 32768)
    radiograph = decode(dataset)
    np.testing.assert_array_equal(radiograph.pixels_HW, padded(values_HW, values_HW.min()))
    assert radiograph.warnings == ()


@pytest.mark.parametrize("padding", [-2000, 63536 - 65536, 2096])
def test_padding_within_twelve_signed_bits_is_found_however_it_is_written(padding: int) -> None:
    values_HW = np.maximum(hand().astype(np.int16) - 1500, -1450)
    dataset = study(padded(values_HW, -2000))
    dataset.add_new("PixelPaddingValue", "SS", padding)
    np.testing.assert_array_equal(decode(dataset).pixels_HW, padded(values_HW, values_HW.min()))


def test_a_range_of_padding_is_padding() -> None:
    values_HW = np.pad(padded(hand() // 2, 65000), 10, constant_values=65400)
    dataset = study(values_HW, bits=16, PixelPaddingValue=65500, PixelPaddingRangeLimit=64990)
    expected_HW = padded(hand() // 2, (hand() // 2).min(), 30)
    np.testing.assert_array_equal(decode(dataset).pixels_HW, expected_HW)


def test_padding_of_a_negative_becomes_air_too_and_neither_rescale_nor_window_sees_it() -> None:
    tags = {"RescaleSlope": "-2", "RescaleIntercept": "9000", "WindowCenter": "5000", "WindowWidth": "9000"}
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        plain_HW = decode(study(hand(), PhotometricInterpretation=kind, **tags)).pixels_HW
        framed = study(padded(hand(), 65535), bits=16, PhotometricInterpretation=kind, PixelPaddingValue=65535, **tags)
        np.testing.assert_array_equal(decode(framed).pixels_HW, padded(plain_HW, plain_HW.min()))


def test_a_bone_as_bright_as_the_padding_stays() -> None:
    """Padding with the brightest value: the frame is air, a saturated disc in the middle is not."""
    values_HW = np.minimum(hand().astype(int) * 5 // 4, 4095).astype(np.uint16)
    radiograph = decode(study(padded(values_HW, 4095), PixelPaddingValue=4095))
    np.testing.assert_array_equal(radiograph.pixels_HW, padded(values_HW, values_HW.min()))


@pytest.mark.parametrize(
    "tags", [{"PixelPaddingValue": 7777}, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}]
)
def test_padding_that_is_nowhere_or_everywhere_changes_nothing(tags: dict[str, int]) -> None:
    radiograph = decode(study(hand(), **tags))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand())
    assert len(radiograph.warnings) == ("PixelPaddingRangeLimit" in tags)


def squashed(across: float, down: float) -> NDArray[np.uint16]:
    size = round(SIDE / across), round(SIDE / down)
    small_HW = np.asarray(Image.fromarray(hand().astype(np.float32)).resize(size, Image.Resampling.BOX))
    return np.rint(small_HW).astype(np.uint16)


@pytest.mark.parametrize(
    ("tags", "across", "down"),
    [
        ({"ImagerPixelSpacing": ["0.1", "0.125"]}, 1.25, 1.0),
        ({"PixelSpacing": ["0.2", "0.1"]}, 1.0, 2.0),
        ({"PixelAspectRatio": ["1", "2"]}, 2.0, 1.0),
        ({"PixelAspectRatio": ["5", "4"]}, 1.0, 1.25),
        ({"PixelSpacing": ["", ""], "ImagerPixelSpacing": ["0", "0.1"], "PixelAspectRatio": ["2", "1"]}, 1.0, 2.0),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore")
def test_pixels_that_are_not_square_are_made_square(tags: dict[str, Any], across: float, down: float) -> None:
    radiograph = decode(study(squashed(across, down), **tags))
    assert radiograph.pixels_HW.shape == pytest.approx((SIDE, SIDE), abs=1)
    assert radiograph.pixels_HW.dtype == np.uint16
    height, width = radiograph.pixels_HW.shape
    difference_HW = radiograph.pixels_HW.astype(int) - hand()[:height, :width]
    assert np.abs(difference_HW).mean() < 0.01 * 4095
    assert len(radiograph.warnings) == 1
    assert "not square" in radiograph.warnings[0]


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"PixelSpacing": ["0.139", "0.14"]}, 0),
        ({"PixelSpacing": ["0.1", "0.1"], "PixelAspectRatio": ["1", "2"]}, 0),
        ({"PixelAspectRatio": ["1", "1"]}, 0),
        ({"PixelSpacing": ["0.1", "1.0"]}, 1),
        ({"PixelSpacing": "0.1"}, 0),
        ({"PixelSpacing": ["-0.1", "0.2"]}, 0),
    ],
    ids=str,
)
def test_square_pixels_and_impossible_ones_stay_as_they_are(tags: dict[str, Any], told: int) -> None:
    radiograph = decode(study(hand(), **tags))
    np.testing.assert_array_equal(radiograph.pixels_HW, hand())
    assert len(radiograph.warnings) == told


def test_regions_in_reports_lie_on_the_file_s_own_pixels() -> None:
    square = DicomFile(encode(study(hand(), **CHILD)), "hand.dcm").header
    wide = DicomFile(encode(study(squashed(2, 1), PixelAspectRatio=["1", "2"], **CHILD)), "hand.dcm").header
    for one, other in zip(findings(assessment(), square).regions, findings(assessment(), wide).regions, strict=True):
        assert (other.box.x1, other.box.x2) == pytest.approx((one.box.x1 / 2, one.box.x2 / 2), abs=0.01)
        assert (other.box.y1, other.box.y2) == (one.box.y1, one.box.y2)


def coded(image: Image.Image, kind: str, syntax: str, **tags: Any) -> Any:
    """The header of a 12-bit grey study around a compressed picture of any kind."""
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 98} if kind == "JPEG" else {"no_jp2": True}))
    dataset = study(hand(), syntax=syntax, **tags)
    dataset.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    dataset["PixelData"].VR = "OB"
    return dataset


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_eight_bits_counts_whatever_the_header_allocates(progressive: bool) -> None:
    dataset = coded(Image.fromarray(hand(255, np.uint8)), "JPEG", JPEG)
    if progressive:
        buffer = BytesIO()
        Image.fromarray(hand(255, np.uint8)).save(buffer, "JPEG", quality=98, progressive=True)
        dataset.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    radiograph = decode(dataset)
    assert radiograph.pixels_HW.dtype == np.uint8
    assert np.abs(radiograph.pixels_HW.astype(int) - hand(255, np.uint8)).max() <= 4
    assert radiograph.warnings == ("the header says 12 bits, the compressed picture has 8; the picture counts",)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEG), ("JPEG2000", JPEG_2000)])
@pytest.mark.parametrize("is_grey", [True, False])
def test_samples_are_those_of_the_compressed_picture(kind: str, syntax: str, is_grey: bool) -> None:
    """Grey that the header calls colour, and grey stored three times that it calls grey."""
    image = Image.fromarray(hand(255, np.uint8))
    tags = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0} if is_grey else {}
    dataset = coded(image if is_grey else image.convert("RGB"), kind, syntax, **tags)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    radiograph = decode(dataset)
    assert np.abs(radiograph.pixels_HW.astype(int) - hand(255, np.uint8)).max() <= 4
    assert f"the compressed picture {1 if is_grey else 3}" in radiograph.warnings[0]


def test_jpeg_2000_of_twelve_bits_in_a_header_of_eight_is_whole() -> None:
    dataset = study(hand())
    dataset.compress(JPEG_2000, generate_instance_uid=False)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    radiograph = decode(dataset)
    np.testing.assert_array_equal(radiograph.pixels_HW, hand())
    assert radiograph.warnings == ("the header says 8 bits, the compressed picture has 12; the picture counts",)


def test_run_lengths_of_grey_in_a_header_of_colour_are_grey() -> None:
    dataset = study(hand())
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    np.testing.assert_array_equal(decode(dataset).pixels_HW, hand())


def test_high_throughput_jpeg_2000_is_one_of_its_kind() -> None:
    """The codec reads it as any other; only the header's family was unknown, which gave a false warning."""
    from carpal.imaging.header import family

    assert family(HIGH_THROUGHPUT) == family(JPEG_2000) == "JPEG 2000"
    dataset = study(hand())
    dataset.compress(JPEG_2000, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = HIGH_THROUGHPUT
    assert decode(dataset).warnings == ()
    stream = bytearray(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1).__next__())
    found = describe(bytes(stream))
    stream[6] |= 0x40
    high = describe(bytes(stream))
    assert found is not None
    assert high is not None
    assert (family(found.syntax or ""), high.syntax) == ("JPEG 2000", HIGH_THROUGHPUT)


def palette(entries: list[tuple[int, int, int]], bits: int = 16) -> dict[str, Any]:
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour, values in zip(("Red", "Green", "Blue"), zip(*entries, strict=True), strict=True):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [len(entries), 0, bits]
        tags[f"{colour}PaletteColorLookupTableData"] = np.array(values, "<u2" if bits == 16 else np.uint8).tobytes()
    return tags


def test_a_palette_of_greys_gives_its_greys() -> None:
    greys = [(i * 257, i * 257, i * 257) for i in range(255, -1, -1)]
    index_HW = hand(255, np.uint8)
    radiograph = decode(study(index_HW, 8, **palette(greys)))
    np.testing.assert_array_equal(radiograph.pixels_HW, (255 - index_HW.astype(int)) * 257)
    assert radiograph.warnings == ()


def test_a_coloured_palette_becomes_grey_and_is_told() -> None:
    radiograph = decode(study(hand(255, np.uint8), 8, **palette([(i, 0, 255 - i) for i in range(256)], 8)))
    assert radiograph.pixels_HW.dtype == np.uint8
    assert "coloured" in radiograph.warnings[0]


def test_a_broken_palette_is_refused_by_name() -> None:
    tags = palette([(i, i, i) for i in range(256)]) | {"GreenPaletteColorLookupTableData": b"\0"}
    with pytest.raises(UnsuitableImage, match="PALETTE COLOR"):
        decode(study(hand(255, np.uint8), 8, **tags))


@pytest.mark.parametrize(("kind", "options"), [("BMP", {}), ("JPEG2000", {"no_jp2": True}), ("JPEG2000", {})])
def test_a_bmp_and_a_bare_jpeg_2000_are_read(kind: str, options: dict[str, Any]) -> None:
    buffer = BytesIO()
    Image.fromarray(hand(255, np.uint8)).save(buffer, kind, **options)
    radiograph = read_radiograph(buffer.getvalue(), "hand")
    np.testing.assert_array_equal(radiograph.pixels_HW, hand(255, np.uint8))
    assert radiograph.warnings == ()
