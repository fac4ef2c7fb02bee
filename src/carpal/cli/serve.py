"""`carpal serve`: the reading page and its REST interface; `carpal report`: the one-page PDF of one radiograph."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carpal.cli.words import NOTICE, add_network, add_path, add_reference, command
from carpal.errors import ConfigError, UnsuitableImage

if TYPE_CHECKING:
    from carpal.report.child import Child
    from carpal.types import Radiograph


def add(commands: Any) -> None:
    """Both commands."""
    _add_serve(commands)
    _add_report(commands)


def _add_serve(commands: Any) -> None:
    parser = command(
        commands,
        "serve",
        "serve the reading page and the REST interface",
        "Answers this machine only, unless --host says otherwise; then everybody who asks needs a token.",
        "  carpal serve                                          (then open http://127.0.0.1:8000)\n"
        "  carpal serve --add-token anna --role reader           (prints the token, once)\n"
        "  carpal serve --host 0.0.0.0 --name boneage.example --https",
    )
    group = parser.add_argument_group("service")
    group.add_argument(
        "--data", type=Path, default=Path("carpal-data"), metavar="DIR", help="folder of studies (default: carpal-data)"
    )
    group.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    group.add_argument("--port", type=int, default=8000, help="default: 8000")
    group.add_argument("--name", action="append", default=[], metavar="HOST", help="answer to this host name too")
    group.add_argument("--https", action="store_true", help="a proxy in front speaks HTTPS: mark cookies Secure")
    group.add_argument("--language", choices=("en", "de"), help="of the page (default: the browser's)")
    group.add_argument("--blind", action="store_true", help="new studies are read blind first unless unticked")
    group.add_argument("--max-upload", type=int, default=64, metavar="MIB", help="largest request (default: 64)")
    group.add_argument("--rate", type=int, default=600, metavar="N", help="requests a minute and client (default: 600)")
    group.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of the network (default: one for each core)"
    )
    add_path(group, "--calibration", "FILE.json", "a hospital's calibration, made by `carpal calibrate --out`")
    add_reference(group)
    group = parser.add_argument_group("tokens (the service need not be stopped)")
    group.add_argument("--add-token", metavar="NAME", help="make a token, print it once, and end")
    group.add_argument(
        "--role", choices=("reader", "admin"), default="reader", help="of the new token (default: reader)"
    )
    group.add_argument("--remove-token", metavar="NAME", help="remove a token and its sessions, and end")
    group.add_argument("--tokens", action="store_true", help="list names and roles, and end")
    group = parser.add_argument_group("training (the service need not be stopped)")
    add_path(group, "--export", "DIR", "write what was signed as carpal prepare reads it, and end")
    add_network(parser)
    parser.set_defaults(module="serve")


def run_serve(arguments: Namespace) -> int:
    """Runs the service until it is interrupted, or changes its tokens."""
    from carpal.errors import need

    if arguments.add_token or arguments.remove_token or arguments.tokens:
        return _tokens(arguments)
    if arguments.export is not None:
        return _export(arguments)
    for package in ("fastapi", "uvicorn", "python_multipart", "jinja2"):
        need(package, feature="Serving", extra="serve")
    from carpal.inference.engine import open_engine
    from carpal.quality.site import read_site
    from carpal.web.app import serve
    from carpal.web.settings import MIB, Settings

    settings = Settings(
        data=arguments.data,
        host=arguments.host,
        port=arguments.port,
        names=tuple(arguments.name),
        language=arguments.language,
        blind=arguments.blind,
        https=arguments.https,
        max_upload=arguments.max_upload * MIB,
        rate=arguments.rate,
        reference=arguments.reference,
    )
    engine = open_engine(arguments.weights, arguments.backend, arguments.threads, arguments.precision)
    site = None if arguments.calibration is None else read_site(arguments.calibration).for_model(engine.model)
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"http://{shown}:{settings.port}  {NOTICE} Ctrl-C ends it.", flush=True)
    serve(settings, engine, site)
    return 0


def _tokens(arguments: Namespace) -> int:
    from carpal.web.auth import Role, Tokens

    arguments.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    tokens = Tokens(arguments.data)
    if arguments.add_token:
        print(tokens.add(arguments.add_token, Role(arguments.role)))
    if arguments.remove_token:
        tokens.remove(arguments.remove_token)
    if arguments.tokens:
        for entry in tokens.entries().values():
            print(f"{entry.name}  {entry.role}")
    return 0


def _export(arguments: Namespace) -> int:
    from carpal.web.export import export

    done = export(arguments.data, arguments.export)
    print(
        f"{arguments.export}: {done.radiographs} signed radiographs, {done.with_regions} of them with regions that "
        f"were put right; {done.left_out} left out (rejected, no sex, two hands, or the file is gone)"
    )
    return 0


def _add_report(commands: Any) -> None:
    parser = command(
        commands,
        "report",
        "write the one-page PDF report of a radiograph",
        f"The page has the regions, the comparison with other children and the table of ages. {NOTICE}",
        "  carpal report hand.png --sex female --birth-date 2014-03-02 --study-date 2024-09-01 --out report.pdf\n"
        "  carpal report hand.dcm --language de --out befund.pdf",
        "an image that cannot be read, no sex, a date that is none",
    )
    group = parser.add_argument_group("input")
    group.add_argument("image", metavar="IMAGE", help="PNG, JPEG, TIFF, WebP or DICOM file")
    group.add_argument(
        "--sex",
        choices=("male", "female", "unknown"),
        help="unknown reports both ages (default: what the DICOM file states; it is never guessed)",
    )
    group.add_argument("--birth-date", metavar="YYYY-MM-DD", help="default: what the DICOM file states")
    group.add_argument("--study-date", metavar="YYYY-MM-DD", help="day of the radiograph (default: as above)")
    group.add_argument("--height", type=float, metavar="CM", help="adds the predicted adult height")
    group.add_argument("--name", default="", help="the patient's name, printed as it is given")
    group.add_argument("--id", default="", help="the patient's identifier, printed as it is given")
    add_path(group, "--calibration", "FILE.json", "a hospital's calibration, made by `carpal calibrate --out`")
    add_reference(group)
    group = parser.add_argument_group("output")
    add_path(group, "--out", "FILE.pdf", "the report; two hands in the picture get a page each", required=True)
    group.add_argument("--language", choices=("en", "de"), default="en", help="default: en")
    add_network(parser)
    parser.set_defaults(module="serve")


def run_report(arguments: Namespace) -> int:
    """Reads one radiograph and writes its report."""
    from carpal.imaging.read import read_radiograph
    from carpal.inference.assess import Facts, choose_sex, cut_out, read_hands, to_sex
    from carpal.inference.engine import open_engine
    from carpal.quality.site import read_site
    from carpal.report import pdf, write_atomically
    from carpal.report.text import line_of
    from carpal.types import has_age

    if arguments.out.resolve() == Path(arguments.image).resolve():
        raise ConfigError(f"{arguments.out} is the image - it would be overwritten - choose another name")
    radiograph = read_radiograph(arguments.image)
    child = _child(arguments, radiograph)
    sex = None if arguments.sex == "unknown" else choose_sex(radiograph, to_sex(arguments.sex))
    engine = open_engine(arguments.weights, arguments.backend, None, arguments.precision)
    site = None if arguments.calibration is None else read_site(arguments.calibration).for_model(engine.model)
    results = read_hands(radiograph, sex, engine, Facts(child.months, site, child.reference))
    for result in results:
        print(line_of(result))
    pages = [cut_out(radiograph, result) for result in results]
    if not any(has_age(result) for result in results):
        raise UnsuitableImage(f"{arguments.image}: without an age there is no report - the line above says why")
    write_atomically(arguments.out, pdf.render_hands(pages, child, arguments.language))
    return 0


def _child(arguments: Namespace, radiograph: Radiograph) -> Child:
    from dataclasses import replace

    from carpal.growth.reference import find_reference
    from carpal.report.child import Child

    own = Child.of(radiograph)
    child = Child.with_dates(
        months=own.months,
        birth_date=_day(arguments.birth_date, "--birth-date") or own.birth_date,
        study_date=_day(arguments.study_date, "--study-date") or own.study_date,
        height_cm=arguments.height,
        name=arguments.name,
        identifier=arguments.id,
    )
    return replace(child, reference=find_reference(arguments.reference))


def _day(text: str | None, flag: str) -> Any:
    from datetime import date

    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{flag} {text} is no date - give it as 2014-03-02") from None
