"""`carpal deidentify IN... --out DIR`: radiographs for research, without what identifies a child."""

from __future__ import annotations

import os
import secrets
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from carpal.cli.words import add_path, command
from carpal.errors import ConfigError, InputError


def add(commands: Any) -> None:
    """The command's words."""
    parser = command(
        commands,
        "deidentify",
        "write copies of DICOM radiographs without what identifies the child",
        "By PS3.15 Annex E, Basic Profile. Text that is burnt into the pixels is not removed: look at the pictures.",
        "  carpal deidentify study --out research --key secret.key --keep-characteristics",
        "a file that is no radiograph, or says that text is burnt in (the others are still written)",
    )
    parser.set_defaults(module="deidentify")
    group = parser.add_argument_group("input")
    group.add_argument("files", nargs="+", type=Path, metavar="IN", help="DICOM file, or a folder with its subfolders")
    group.add_argument(
        "--accept-burned-in", action="store_true", help="also files that say that text is burnt in: you have looked"
    )
    group = parser.add_argument_group("output")
    add_path(group, "--out", "DIR", "folder for the copies, each named by its new UID; made if needed", required=True)
    add_path(
        group, "--key", "FILE", "secret that makes the new UIDs, made where it does not exist (default: forgotten)"
    )
    group.add_argument(
        "--keep-characteristics", action="store_true", help="keep sex, age in months, size and weight (option 113108)"
    )


def run_deidentify(arguments: Namespace) -> int:
    """Copies every file; one that cannot be copied is told and does not stop the others."""
    from carpal.imaging.deidentify import deidentify
    from carpal.imaging.read import read_bytes
    from carpal.report import write_atomically

    files = list(_files(arguments.files))
    key = _key(arguments.key)
    try:
        arguments.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{arguments.out} cannot be made - {error.strerror} - choose another folder") from error
    written = 0
    for path in files:
        name = str(path)
        try:
            made = deidentify(
                read_bytes(path, name), name, key, arguments.keep_characteristics, arguments.accept_burned_in
            )
        except InputError as error:
            print(f"carpal: error: {error}", file=sys.stderr, flush=True)
            continue
        for warning in made.warnings:
            print(f"carpal: warning: {path}: {warning}", file=sys.stderr, flush=True)
        write_atomically(arguments.out / f"{made.sop_instance_uid}.dcm", made.content)
        written += 1
    print(f"{written} of {len(files)} files written to {arguments.out}")
    return 0 if written == len(files) else InputError.exit_code


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """The files given, and those in the folders given, in order of their names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(inner for inner in path.rglob("*") if inner.is_file())
        else:
            yield path


def _key(path: Path | None) -> bytes:
    """The key in a file, made where there is none; without a file one that is forgotten. Raises ConfigError."""
    from carpal.imaging.deidentify import KEY_BYTES

    if path is None:
        return secrets.token_bytes(KEY_BYTES)
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(KEY_BYTES) + "\n")
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        found = type(error).__name__
    else:
        if len(key) >= KEY_BYTES:
            return key
        found = f"{len(key)} bytes, and {KEY_BYTES} are needed"
    raise ConfigError(f"{path} is no key - {found} - name a file that --key made, or a new one")
