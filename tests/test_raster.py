"""PNG, JPEG, TIFF and WebP: every depth and mode becomes the right grey, with a warning where something was assumed."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from carpal.errors import UnreadableImage, UnsuitableImage
from carpal.imaging.raster import decode_raster

HEIGHT, WIDTH = 48, 40


def ramp(top: int = 255, dtype: Any = np.uint8) -> NDArray[Any]:
    """A picture whose every row and column differs, so that a turn or a swap cannot go unseen."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((y * 0.7 + x * 0.3) / (HEIGHT * 0.7 + WIDTH * 0.3) * top).astype(dtype)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def header_only_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_eight_bits_arrive_unchanged(kind: str) -> None:
    radiograph = decode_raster(encode(Image.fromarray(ramp()), kind), "hand")
    assert radiograph.pixels_HW.dtype == np.uint8
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert (radiograph.source, radiograph.sex, radiograph.warnings) == ("hand", None, ())


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 98}), ("WEBP", {"lossless": True})])
def test_lossy_formats_arrive_almost_unchanged(kind: str, options: dict[str, Any]) -> None:
    radiograph = decode_raster(encode(Image.fromarray(ramp()), kind, **options), "hand")
    assert np.abs(radiograph.pixels_HW.astype(int) - ramp()).max() <= 3
    assert radiograph.warnings == ()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_stay_sixteen_bits(kind: str) -> None:
    pixels_HW = ramp(60_000, np.uint16)
    radiograph = decode_raster(encode(Image.fromarray(pixels_HW), kind), "hand")
    assert radiograph.pixels_HW.dtype == np.uint16
    np.testing.assert_array_equal(radiograph.pixels_HW, pixels_HW)


def test_big_endian_sixteen_bits_come_in_native_order() -> None:
    pixels_HW = ramp(60_000, np.uint16)
    image = Image.frombytes("I;16B", (WIDTH, HEIGHT), pixels_HW.astype(">u2").tobytes())
    radiograph = decode_raster(encode(image, "TIFF"), "hand")
    assert radiograph.pixels_HW.dtype == np.dtype(np.uint16)
    np.testing.assert_array_equal(radiograph.pixels_HW, pixels_HW)


@pytest.mark.parametrize(("low", "expected"), [(0, np.uint16), (-5, np.float32), (70_000, np.float32)])
def test_thirty_two_bits_take_the_smallest_type_that_holds_them(low: int, expected: Any) -> None:
    pixels_HW = ramp(900, np.int32) + low
    radiograph = decode_raster(encode(Image.fromarray(pixels_HW), "TIFF"), "hand")
    assert radiograph.pixels_HW.dtype == expected
    np.testing.assert_array_equal(radiograph.pixels_HW, pixels_HW)


def test_float_tiff_keeps_its_values() -> None:
    pixels_HW = ramp(1, np.float32)
    radiograph = decode_raster(encode(Image.fromarray(pixels_HW), "TIFF"), "hand")
    np.testing.assert_array_equal(radiograph.pixels_HW, pixels_HW)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_stored_as_colour_is_the_same_grey_and_no_warning(mode: str) -> None:
    image = Image.fromarray(ramp())
    radiograph = decode_raster(encode(image.convert(mode)), "hand")
    np.testing.assert_array_equal(radiograph.pixels_HW, ramp())
    assert radiograph.warnings == ()


def test_cmyk_is_brought_back_to_grey() -> None:
    radiograph = decode_raster(encode(Image.fromarray(ramp()).convert("CMYK"), "JPEG", quality=98), "hand")
    assert np.abs(radiograph.pixels_HW.astype(int) - ramp()).max() <= 4


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_real_colour_is_told(mode: str) -> None:
    colour_HWC = np.stack([ramp(), 255 - ramp(), ramp() // 2], axis=2)
    radiograph = decode_raster(encode(Image.fromarray(colour_HWC).convert(mode)), "hand")
    assert radiograph.pixels_HW.shape == (HEIGHT, WIDTH)
    assert any("coloured" in warning for warning in radiograph.warnings)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_lie_on_black_and_are_told(mode: str) -> None:
    image = Image.fromarray(np.full((HEIGHT, WIDTH), 200, np.uint8)).convert(mode)
    alpha_HW = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha_HW[:, 30:] = 0
    image.putalpha(Image.fromarray(alpha_HW))
    radiograph = decode_raster(encode(image), "hand")
    assert (radiograph.pixels_HW[:, :30] == 200).all()
    assert (radiograph.pixels_HW[:, 30:] == 0).all()
    assert any("transparent" in warning for warning in radiograph.warnings)


def test_one_bit_is_read_and_told() -> None:
    radiograph = decode_raster(encode(Image.fromarray(ramp() > 128)), "hand")
    assert set(np.unique(radiograph.pixels_HW)) == {0, 255}
    assert any("1 bit" in warning for warning in radiograph.warnings)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP"])
def test_of_several_pages_the_first_is_read_and_the_count_told(kind: str) -> None:
    pages = [Image.fromarray(ramp()), Image.fromarray(255 - ramp()), Image.fromarray(ramp()[::-1].copy())]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    radiograph = decode_raster(encode(pages[0], kind, save_all=True, append_images=pages[1:], **options), "hand")
    np.testing.assert_allclose(radiograph.pixels_HW, ramp(), atol=1)
    assert "3 pages" in radiograph.warnings[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    upright_HW = ramp()
    # What a camera stores, so that showing it by its orientation gives the upright picture (EXIF 2.3, tag 274).
    stored_HW = {
        1: upright_HW,
        2: upright_HW[:, ::-1],
        3: upright_HW[::-1, ::-1],
        4: upright_HW[::-1],
        5: upright_HW.T,
        6: np.rot90(upright_HW),
        7: upright_HW[::-1, ::-1].T,
        8: np.rot90(upright_HW, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    fine: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98}}
    options = fine.get(kind, {})
    radiograph = decode_raster(
        encode(Image.fromarray(np.ascontiguousarray(stored_HW)), kind, exif=exif, **options), "x"
    )
    np.testing.assert_allclose(radiograph.pixels_HW, upright_HW, atol=3)
    assert bool(radiograph.warnings) == (orientation != 1)


@pytest.mark.parametrize("size", [(20_000, 20_000), (8_001, 8_000), (9_500, 9_500), (65_500, 65_500)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(UnsuitableImage, match=r"^bomb\.png: too large - .*64 megapixels.* scale it"):
        decode_raster(header_only_png(*size), "bomb.png")


def test_sixty_four_megapixels_pass_the_header_check() -> None:
    with pytest.raises(UnreadableImage, match="damaged or incomplete"):  # the limit itself is fine; there are no pixels
        decode_raster(header_only_png(8_000, 8_000), "large.png")


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (400, 31)])
def test_a_tiny_picture_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UnsuitableImage, match=rf"^icon: too small - {size[0]} x {size[1]} pixels.*32"):
        decode_raster(encode(Image.new("L", size, 9)), "icon")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_truncated_file_is_named_with_the_mend(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    data = encode(Image.fromarray(noise), kind)
    with pytest.raises(
        UnreadableImage, match=r"^cut\.img: the image is damaged or incomplete .*Copy or export it again"
    ):
        decode_raster(data[: len(data) // 2], "cut.img")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "AVIF"])
def test_no_other_decoder_is_ever_asked(kind: str) -> None:
    with pytest.raises(UnreadableImage):
        decode_raster(encode(Image.fromarray(ramp()), kind), "other")
