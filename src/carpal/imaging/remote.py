"""Radiographs in a store that is no folder, as s3://bucket/hands: listed and read through pyarrow's file systems.

An address is SCHEME://HOST/PATH?OPTIONS, with what pyarrow understands: s3, gs, hdfs, file. Keys come from where that
store's own tools look for them (for S3 the environment or ~/.aws). Names within an address are percent-encoded.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from carpal.errors import ConfigError, UnreadableImage, UnsuitableImage
from carpal.imaging.limits import MAX_BYTES
from carpal.optional import need


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


def read_bytes(address: str) -> bytes:
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
