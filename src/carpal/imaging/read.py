"""One door for radiographs: a path, an address or bytes, opened once. The content decides, not the extension.

An address names a radiograph in a store that is no folder, as s3://bucket/hands: SCHEME://HOST/PATH?OPTIONS, with what
pyarrow's file systems understand: s3, gs, hdfs, file. Keys come from where that store's own tools look for them (for S3
the environment or ~/.aws). Names within an address are percent-encoded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from carpal.errors import ConfigError, UnreadableImage, UnsuitableImage, need
from carpal.imaging.raster import MAX_BYTES, check_values, decode_raster
from carpal.types import Header, Radiograph

if TYPE_CHECKING:
    from carpal.imaging.dicom import DicomFile


READABLE = "PNG, JPEG, TIFF, WebP or DICOM"
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".ima", ".tif", ".tiff", ".webp", ".bmp"),
    *(".jp2", ".j2k", ".j2c", ".jpx"),
)
"""Names that promise a radiograph: whatever their content, they are never passed over."""
RASTER_MAGIC = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    *(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
)
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Lengths of the second header of a BMP, at byte 14; its two letters alone may begin any text."""
DICOM_MAGIC = b"DICM"
BARE_DICOM_MAGIC = (
    b"\x02\x00\x00\x00",
    b"\x02\x00\x01\x00",
    b"\x08\x00\x00\x00",
    b"\x08\x00\x05\x00",
    b"\x08\x00\x08\x00",
    b"\x08\x00\x16\x00",
)
"""Old DICOM files may lack the preamble and begin with their first element: group 2, or 8 where that lacks too."""
FOREIGN_PICTURES = {
    b"GIF8": "a GIF",
    b"\xff\x0a": "a JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL",
    b"8BPS": "a Photoshop file",
    b"NRRD": "an NRRD volume",
    b"\x5c\x01\x00\x00": "a NIfTI volume",
}
FOREIGN_MAGIC = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"MZ": "a program",
    b"version https://git-lfs": "a Git LFS pointer, not yet downloaded",
    b"<": "a web page or SVG",
}
BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "a HEIC photograph"),
    **dict.fromkeys((b"avif", b"avis"), "an AVIF picture"),
}
"""Of files in MPEG's container, by the four letters behind "ftyp"; all others are films."""
DICOMDIR = b"1.2.840.10008.1.3.10"
HEAD = 512
"""Bytes from which `recognise` tells what a file is."""


@dataclass(frozen=True)
class ImageFile:
    """A file as `open_image` found it: its bytes, and of a DICOM file the data set, parsed once; None for others."""

    name: str
    data: bytes = field(repr=False)
    dicom: DicomFile | None = field(repr=False)

    @property
    def header(self) -> Header | None:
        """What reports need of a DICOM file, also of one that cannot be decoded. Raises UnreadableImage."""
        return None if self.dicom is None else self.dicom.header

    def decode(self) -> Radiograph:
        """The grey picture, of at least 32 x 32 pixels. Raises what `read_radiograph` does."""
        radiograph = _decode_raster(self.data, self.name) if self.dicom is None else self.dicom.decode()
        check_values(radiograph.pixels_HW, self.name)
        return radiograph


def open_image(source: str | Path | bytes, name: str | None = None, most: int | None = None) -> ImageFile:
    """Opens a file without decoding its pixels: what is told of it does not depend on how it was reached.

    `source` is a path, an address as s3://bucket/hand.png (`read_remote`) or the file's bytes; `name` is what errors
    and the result call it (default: the path or address). A deflated DICOM file of more than `most` bytes is refused
    (default: MAX_BYTES).
    Raises UnreadableImage where the file is not there, empty or a damaged DICOM file, UnsuitableImage where it is too
    large, BackendError for a DICOM file without pydicom; for an address also ConfigError where its store cannot be
    opened, BackendError without pyarrow.
    """
    if name is None:
        name = "the image" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        data = source
    elif isinstance(source, str) and is_remote(source):
        data = read_remote(source)
    else:
        data = read_bytes(Path(source), name)
    if not data:
        raise UnreadableImage(f"{name}: the file is empty (0 bytes). Copy or export it again")
    if not is_dicom(data):
        return ImageFile(name, data, None)
    from carpal.imaging.dicom import DicomFile

    return ImageFile(name, data, DicomFile(data, name, most))


def read_radiograph(source: str | Path | bytes, name: str | None = None) -> Radiograph:
    """Decodes a PNG, JPEG, TIFF, WebP, BMP, JPEG 2000 or DICOM file into a grey picture of at least 32 x 32 pixels.

    `source` and `name` are those of `open_image`. Raises what that raises, UnreadableImage where the bytes are no such
    image, UnsuitableImage where the image is too large, too small or blank. Nothing else, whatever the bytes are.
    """
    return open_image(source, name).decode()


def is_dicom(data: bytes) -> bool:
    """True where the bytes begin as a DICOM file does, with or without preamble."""
    return data[128:132] == DICOM_MAGIC or data.startswith(BARE_DICOM_MAGIC)


def recognise(head: bytes) -> tuple[str, bool]:
    """What the first `HEAD` bytes of a file say that it is, "" for what we read; and whether it is a picture at all."""
    if is_dicom(head):
        return ("the index of a CD (DICOMDIR)", False) if DICOMDIR in head[:HEAD] else ("", True)
    if head.startswith(RASTER_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "", True
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BMP_HEADERS:
        return "", True
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], "a film"), True
    if head[:1] == b"P" and head[1:2] in b"1234567" and head[2:3].isspace():
        return "a PGM or another Netpbm picture", True
    if found := next((kind for magic, kind in FOREIGN_PICTURES.items() if head.startswith(magic)), None):
        return found, True
    found = next((kind for magic, kind in FOREIGN_MAGIC.items() if head.startswith(magic)), "no image that we know")
    return found, False


def read_bytes(path: Path, name: str) -> bytes:
    """A file's content. Raises UnreadableImage where it cannot be opened, UnsuitableImage where it is too large."""
    try:
        if not path.exists():
            raise UnreadableImage(f"{name}: there is no such file. Check the path")
        if not path.is_file():
            raise UnreadableImage(f"{name}: not a file. Give the image itself, for a folder folder/*.png")
        if path.stat().st_size > MAX_BYTES:
            raise UnsuitableImage(
                f"{name}: the file has {path.stat().st_size / 2**20:.0f} MiB, more than {MAX_BYTES // 2**20}. "
                "Export this one radiograph as PNG or DICOM"
            )
        return path.read_bytes()
    except (OSError, ValueError) as error:  # no permission, a disk error, a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise UnreadableImage(f"{name}: the file cannot be opened ({reason}). Check its permissions") from error


def _decode_raster(data: bytes, name: str) -> Radiograph:
    found, _ = recognise(data)
    if not found:
        return decode_raster(data, name)
    raise UnreadableImage(f"{name}: not a radiograph - the content is {found}. Export it as {READABLE}")


class Entry(NamedTuple):
    """One name in a folder; `path` is how the image is called from outside."""

    name: str
    path: str
    is_folder: bool
    is_file: bool


def is_remote(source: str) -> bool:
    """Whether a source is an address and no path."""
    return "://" in source


def file_name(source: str) -> str:
    """The name of a file in its folder, of a path or an address: its options are no part of it."""
    return Path(unquote(urlsplit(source).path) if is_remote(source) else source).name


def list_folder(address: str) -> list[Entry] | None:
    """What a folder of a store holds, in any order; None where the address is a file.

    Raises ConfigError where nothing is there, or the store cannot be reached, BackendError without pyarrow.
    """
    system, path = _place(address)
    fs = need("pyarrow.fs", feature=address, extra="scale")
    try:
        (itself,) = system.get_file_info([path])
        if itself.type == fs.FileType.File:
            return None
        found = system.get_file_info(fs.FileSelector(path))
    except OSError as error:
        raise ConfigError(
            f"{address} cannot be listed - {_reason(error)} - check the address and the keys, or mount the store as a "
            "folder and give its path"
        ) from error
    return [
        Entry(each.base_name, _below(address, each.base_name), each.type == fs.FileType.Directory, each.is_file)
        for each in found
    ]


def read_head(address: str, length: int) -> bytes:
    """The first bytes of a file. Raises UnreadableImage, ConfigError, BackendError."""
    system, path = _place(address)
    try:
        with system.open_input_file(path) as file:
            head: bytes = file.read(length)
            return head
    except OSError as error:
        raise UnreadableImage(
            f"{address}: cannot be read ({_reason(error)}). Check the address and the keys"
        ) from error


def read_remote(address: str) -> bytes:
    """An image's content. Raises UnreadableImage, UnsuitableImage where it is too large, ConfigError, BackendError."""
    system, path = _place(address)
    try:
        with system.open_input_file(path) as file:
            if file.size() > MAX_BYTES:
                raise UnsuitableImage(
                    f"{address}: the file has {file.size() / 2**20:.0f} MiB, more than {MAX_BYTES // 2**20}. "
                    "Export this one radiograph as PNG or DICOM"
                )
            content: bytes = file.read()
            return content
    except OSError as error:
        raise UnreadableImage(
            f"{address}: cannot be read ({_reason(error)}). Check the address and the keys"
        ) from error


def _place(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    parts = urlsplit(address)
    system, root = _system(urlunsplit((parts.scheme, parts.netloc, "/", parts.query, "")))
    return system, root + unquote(parts.path).rstrip("/")


@lru_cache(maxsize=16)
def _system(root: str) -> tuple[Any, str]:
    """A store, opened once for all its images."""
    fs = need("pyarrow.fs", feature=root, extra="scale")
    try:
        system, path = fs.FileSystem.from_uri(root)
    except (OSError, ValueError, NotImplementedError) as error:
        raise ConfigError(
            f"{root} cannot be opened - {_reason(error)} - mount the store as a folder and give its path"
        ) from error
    return system, str(path).rstrip("/")


def _below(address: str, name: str) -> str:
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{quote(name)}", parts.query, ""))


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else repr(error)
