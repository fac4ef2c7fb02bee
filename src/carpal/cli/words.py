"""What every subcommand is built with: its help, its exit codes, and the flags that several of them share."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

Group = Any
"""argparse's group of options, which has no public type."""

REFERENCE = "greulich-pyle-brush"
NOTICE = "Research only, not a medical device."
WIDTH = 100


class Help(argparse.RawDescriptionHelpFormatter):
    """Keeps our line breaks; a column wide enough for our longest options."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=WIDTH)


def command(
    commands: Any, name: str, summary: str, more: str, examples: str, bad_input: str = "", table: str = ""
) -> argparse.ArgumentParser:
    """A subcommand: what it does, a table if it needs one, options (added by the caller), examples, exit codes.

    It is run by `run_NAME` of `cli/commands.py`, or of the module in `cli/` that `set_defaults(module=...)` names.
    """
    sentence = textwrap.fill(f"{summary[0].upper()}{summary[1:]}. {more}", WIDTH - 2)
    codes = {
        0: "done",
        2: "the command is wrong: an unknown option, a setting outside its range",
        3: f"the input is wrong: {bad_input}" if bad_input else "",
        4: "the installation is wrong: weights, a package that is missing",
    }
    listed = "\n".join(f"  {code}  {meaning}" for code, meaning in codes.items() if meaning)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{sentence}\n\n{table}".strip(),
        epilog=f"examples:\n{examples}\n\nexit codes:\n{listed}",
        formatter_class=Help,
    )
    parser.add_argument("--debug", action="store_true", help="show the stack trace of an error")
    parser.set_defaults(module="commands")
    return parser


def add_network(parser: argparse.ArgumentParser) -> None:
    """The flags that choose weights and runtime."""
    group = parser.add_argument_group("network")
    group.add_argument(
        "--weights", default="alanet", metavar="FILE", help="a released name, or a weights file (default: alanet)"
    )
    group.add_argument(
        "--backend",
        choices=("onnx", "openvino", "torch"),
        default="onnx",
        help="onnx and openvino read .onnx files, torch reads .safetensors files (default: onnx, the reference)",
    )
    group.add_argument(
        "--precision",
        choices=("fp32", "int8"),
        help="fp32 is the reference; int8 is faster, where it was released (default: what the weights' sidecar says)",
    )


def add_reference(group: Group) -> None:
    """The flag that chooses the children to compare with."""
    group.add_argument(
        "--reference",
        default=REFERENCE,
        metavar="NAME|FILE.csv",
        help="children to compare with where the age is known: a name, or a table sex,age_months,mean_months,sd_months "
        f"(default: {REFERENCE})",
    )


def add_path(group: Group, flag: str, metavar: str, text: str, required: bool = False) -> None:
    """A flag that takes a file or folder."""
    group.add_argument(flag, type=Path, metavar=metavar, help=text, required=required)
