"""The command `carpal`: words to one function call. Heavy imports happen inside the branch that needs them."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from importlib import import_module

from carpal.errors import CarpalError

INTERNAL, INTERRUPTED = 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 0, 2 usage, 3 input, 4 environment. Wrong usage exits by itself."""
    from carpal.cli.parser import build_parser

    for stream in (sys.stdout, sys.stderr):  # a name that the terminal cannot show ends no run: its letters are escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = build_parser().parse_args(argv)
    if arguments.debug:
        return _run(arguments)
    try:
        return _run(arguments)
    except CarpalError as error:
        print(f"carpal: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("carpal: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        sys.stderr.close()
        return 0
    except Exception as error:
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"carpal: error: {message}. This is a mistake of ours: see it whole with --debug", file=sys.stderr)
        return INTERNAL


def _run(arguments: Namespace) -> int:
    commands = import_module(f"carpal.cli.{arguments.module}")
    return int(getattr(commands, f"run_{arguments.command}")(arguments))
