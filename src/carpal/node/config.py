"""The node's one configuration file: TOML to frozen dataclasses, every setting checked where it is read.

`deploy/carpal-node.toml` holds every setting with its meaning. Unknown names are errors, so a typing mistake never
becomes a default; a message names the table, the setting, what it is and what is allowed.

What two of its tables mean stands here, too. `[tls]` is TLS for DICOM (BCP 195): version 1.2 or later, and both sides
show a certificate of the same authority. `[[route]]` says which studies are hands, by a few tags of the header. Headers
are often a little wrong, and a hand must not be lost by that: a modality that is missing follows from the class of the
object, of several the first counts, capitals or not; a body part fits where a wanted one is a word of it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import ssl
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from carpal.errors import ConfigError
from carpal.growth.reference import DEFAULT
from carpal.imaging.header import CAPTURES, IMAGE_STORAGE
from carpal.inference.weights import BACKENDS, PRECISIONS
from carpal.queue.jobs import Limits

OBJECTS: Final = ("sr", "capture", "gsps", "pdf")
UNKNOWN_SEX: Final = ("both", "refuse")
"""What becomes of a radiograph whose sex is O, blank or missing: read for both, or a report that says why not."""
MODALITIES: Final = ("CR", "DX", "RF", "SC", "RG", "OT")


@dataclass(frozen=True)
class Listen:
    """[node]: who we are and where we listen."""

    folder: Path
    ae_title: str = "CARPAL"
    host: str = "127.0.0.1"
    port: int = 11112
    plain_network: bool = False


@dataclass(frozen=True)
class Tls:
    """[tls]: both sides show a certificate of `ca`. Without this table DICOM travels in the clear."""

    certificate: Path
    key: Path
    ca: Path


@dataclass(frozen=True)
class Bounds:
    """[limits]: what one peer, one object and the queue may take."""

    associations: int = 64
    associations_per_address: int = 32
    connections_waiting: int = 256
    max_object_mb: int = 256
    max_waiting: int = 10_000
    min_free_mb: int = 2048
    association_seconds: float = 5
    message_seconds: float = 30
    idle_seconds: float = 60
    keep_days: float = 30


@dataclass(frozen=True)
class Reading:
    """[reading]: the network, what it does where nobody can be asked, and the process that it runs in."""

    weights: str = "alanet"
    backend: str = "onnx"
    precision: str = ""
    calibration: str = ""
    reference: str = DEFAULT
    unknown_sex: str = "both"
    threads: int = 1
    workers: int = 1
    memory_mb: int = 768
    seconds: float = 60


@dataclass(frozen=True)
class Results:
    """[results]: what goes back, and how often it is tried."""

    objects: tuple[str, ...] = ("sr", "capture")
    uid_root: str = ""
    refusals: bool = True
    max_tries: int = 3
    first_delay_seconds: float = 60
    longest_delay_seconds: float = 3600
    give_up_hours: float = 48
    commitment_seconds: float = 600


@dataclass(frozen=True)
class Peer:
    """[[peer]]: a DICOM application. It may send from its `addresses`; it gets results where `results` is set.

    With `commitment` a result is delivered only once the peer has committed to keep it.
    """

    name: str
    ae_title: str
    addresses: tuple[str, ...] = ()
    host: str = ""
    port: int = 0
    results: bool = False
    commitment: bool = False
    tls: bool = False

    def allows(self, address: str) -> bool:
        """Whether this peer may send from that IP address."""
        return any(ipaddress.ip_address(address) in ipaddress.ip_network(network) for network in self.addresses)


@dataclass(frozen=True)
class Web:
    """[[dicomweb]]: one server. It gets results where `results` is set; `pull_seconds` above 0 asks it for studies."""

    name: str
    url: str
    results: bool = False
    pull_seconds: float = 0
    pull_days: int = 1
    user: str = ""
    password_file: Path | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class Folder:
    """[[folder]]: files that appear here are read, then moved to done/ or refused/ inside it."""

    path: Path
    seconds: float = 5


@dataclass(frozen=True)
class Route:
    """[[route]]: a study that fits every setting of one route is read. Empty settings fit everything."""

    modality: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Health:
    """[health]: where /health and /metrics answer; port 0 switches them off."""

    host: str = "127.0.0.1"
    port: int = 9110


DEFAULT_ROUTES: Final = (
    Route(("CR", "DX", "RF", "RG"), ("HAND", "WRIST", "LHAND", "RHAND")),
    Route(("CR", "DX", "RF", "RG"), (), r"bone\s*age|\bhand\b"),
)


@dataclass(frozen=True)
class NodeConfig:
    """The whole file."""

    node: Listen
    tls: Tls | None = None
    limits: Bounds = Bounds()
    reading: Reading = Reading()
    results: Results = Results()
    health: Health = Health()
    peer: tuple[Peer, ...] = ()
    dicomweb: tuple[Web, ...] = ()
    folder: tuple[Folder, ...] = ()
    route: tuple[Route, ...] = field(default=DEFAULT_ROUTES)

    def queue_limits(self) -> Limits:
        """What `Jobs` needs to know."""
        return Limits(
            max_waiting=self.limits.max_waiting,
            max_payload=self.limits.max_object_mb * 2**20,
            min_free=self.limits.min_free_mb * 2**20,
            max_tries=self.results.max_tries,
            first_delay=self.results.first_delay_seconds,
            longest_delay=self.results.longest_delay_seconds,
            give_up_after=self.results.give_up_hours * 3600,
        )

    def destinations(self) -> tuple[str, ...]:
        """Names of those who get results."""
        places: tuple[Peer | Web, ...] = (*self.peer, *self.dicomweb)
        return tuple(place.name for place in places if place.results)

    def peer_named(self, name: str) -> Peer | None:
        """The peer of that name."""
        return next((peer for peer in self.peer if peer.name == name), None)

    def web_named(self, name: str) -> Web | None:
        """The DICOMweb server of that name."""
        return next((web for web in self.dicomweb if web.name == name), None)

    def sender(self, ae_title: str, address: str) -> Peer | None:
        """The peer that may send under this AE title from this address; None for everyone else."""
        fitting = (peer for peer in self.peer if peer.ae_title == ae_title and peer.allows(address))
        return next(fitting, None)


def load(path: Path) -> NodeConfig:
    """Reads and checks the file. Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path} cannot be read - {reason} - start from deploy/carpal-node.toml") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML - {error} - compare it with deploy/carpal-node.toml") from error
    return parse(table)


def parse(table: dict[str, Any]) -> NodeConfig:
    """Checks a table as `tomllib` gives it. Raises ConfigError."""
    config: NodeConfig = _build(NodeConfig, table, "")
    for check in (_check_listen, _check_limits, _check_results, _check_names, _check_peers, _check_routes):
        check(config)
    return config


def _build(kind: Any, table: Any, where: str) -> Any:
    """One dataclass from one table; `where` is "[limits] " or "" for the file itself."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}is no table - got {table!r} - see deploy/carpal-node.toml")
    hints = get_type_hints(kind)
    if unknown := sorted(set(table) - set(hints)):
        raise ConfigError(f"{where}{unknown[0]}: there is no such setting - choose one of {', '.join(sorted(hints))}")
    required = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    if missing := [name for name in required if name not in table]:
        raise ConfigError(f"{where}{missing[0]} is missing - it has no default - see deploy/carpal-node.toml")
    return kind(**{name: _value(hints[name], value, f"{where}{name}") for name, value in table.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    """A TOML value as the type that the dataclass names."""
    options = [option for option in get_args(hint) if option is not type(None)]
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is a list - got {value!r} - write it in square brackets")
        return tuple(_value(options[0], item, where) for item in value)
    hint = options[0] if options else hint
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, f"[{where}] ")
    wanted: Any = {Path: str, float: (int, float)}.get(hint, hint)
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} is a {getattr(hint, '__name__', hint)} - got {value!r}")
    return hint(value)


def _need(condition: bool, where: str, got: object, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"{where} is {allowed} - got {got!r} - see deploy/carpal-node.toml")


def _check_listen(config: NodeConfig) -> None:
    node = config.node
    _need(0 <= node.port < 65536, "[node] port", node.port, "0 to 65535")
    _need(_is_title(node.ae_title), "[node] ae_title", node.ae_title, "1 to 16 characters without a backslash")
    try:
        loopback = ipaddress.ip_address(node.host).is_loopback and ipaddress.ip_address(config.health.host).is_loopback
    except ValueError:
        raise ConfigError(
            f"[node] host and [health] host are IP addresses - got {node.host!r}, {config.health.host!r}"
        ) from None
    if not (loopback or config.tls or node.plain_network):
        raise ConfigError(
            f"[node] host {node.host} can be reached from outside, and there is no [tls] table - AE titles are no "
            "security - add certificates, or set plain_network = true where the network itself is protected"
        )


def _check_limits(config: NodeConfig) -> None:
    for name, value in dataclasses.asdict(config.limits).items():
        _need(value >= 0 if name == "min_free_mb" else value > 0, f"[limits] {name}", value, "above 0")
    backend, precision = config.reading.backend, config.reading.precision
    _need(backend in BACKENDS, "[reading] backend", backend, " or ".join(f'"{name}"' for name in BACKENDS))
    _need(
        precision in ("", *PRECISIONS), "[reading] precision", precision, '"fp32", "int8", or "" for the weights\' own'
    )
    unknown_sex = config.reading.unknown_sex
    _need(unknown_sex in UNKNOWN_SEX, "[reading] unknown_sex", unknown_sex, '"both" or "refuse"')
    _need(config.reading.threads > 0, "[reading] threads", config.reading.threads, "1 or more")
    _need(0 < config.reading.workers <= 64, "[reading] workers", config.reading.workers, "1 to 64")
    _need(config.reading.memory_mb >= 64, "[reading] memory_mb", config.reading.memory_mb, "64 or more")
    _need(config.reading.seconds > 0, "[reading] seconds", config.reading.seconds, "above 0")
    _need(0 <= config.health.port < 65536, "[health] port", config.health.port, "0 to 65535")


def _check_results(config: NodeConfig) -> None:
    results = config.results
    wrong = [kind for kind in results.objects if kind not in OBJECTS]
    _need(not wrong and bool(results.objects), "[results] objects", list(results.objects), f"some of {list(OBJECTS)}")
    _need(results.max_tries > 0, "[results] max_tries", results.max_tries, "1 or more")
    for name in ("first_delay_seconds", "longest_delay_seconds", "give_up_hours"):
        _need(getattr(results, name) >= 0, f"[results] {name}", getattr(results, name), "0 or more")
    seconds = results.commitment_seconds
    _need(0 < seconds <= 7 * 86_400, "[results] commitment_seconds", seconds, "above 0, and a week at most")


def _check_names(config: NodeConfig) -> None:
    names = [*(peer.name for peer in config.peer), *(web.name for web in config.dicomweb)]
    for name in names:
        _need(bool(re.fullmatch(r"[A-Za-z0-9._-]{1,32}", name)), "a name", name, "1 to 32 letters, digits, . _ -")
        _need(names.count(name) == 1, "a name of [[peer]] and [[dicomweb]]", name, "used once")


def _check_peers(config: NodeConfig) -> None:
    for peer in config.peer:
        where = f"[[peer]] {peer.name}"
        _need(_is_title(peer.ae_title), f"{where}: ae_title", peer.ae_title, "1 to 16 characters without a backslash")
        for network in peer.addresses:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ConfigError(f"{where}: addresses holds {network!r} - {error} - write 10.1.2.0/24") from None
        if peer.results:
            _need(
                bool(peer.host) and 0 < peer.port < 65536, f"{where}: host and port", (peer.host, peer.port), "needed"
            )
        _need(not peer.commitment or peer.results, f"{where}: commitment", True, "possible only with results = true")
        _need(not (peer.tls and config.tls is None), f"{where}: tls", True, "possible only with a [tls] table")
    for web in config.dicomweb:
        fits = re.fullmatch(r"https?://[^\s@?#]+", web.url) is not None
        _need(fits, f"[[dicomweb]] {web.name}: url", web.url, "http(s)://host/path, without a user or password")


def _check_routes(config: NodeConfig) -> None:
    for route in config.route:
        wrong = [modality for modality in route.modality if modality not in MODALITIES]
        _need(not wrong, "[[route]] modality", list(route.modality), f"some of {list(MODALITIES)}")
        try:
            re.compile(route.description)
        except re.error as error:
            raise ConfigError(f"[[route]] description {route.description!r} is no pattern - {error}") from None


def _is_title(title: str) -> bool:
    return bool(re.fullmatch(r"[ -\[\]-~]{1,16}", title)) and bool(title.strip())


def server_context(tls: Tls) -> ssl.SSLContext:
    """For those who connect to us; without a certificate of `ca` they get no further. Raises ConfigError."""
    return _context(tls, ssl.PROTOCOL_TLS_SERVER)


def client_context(tls: Tls) -> ssl.SSLContext:
    """For peers that we connect to; their certificate must name the host that we call. Raises ConfigError."""
    return _context(tls, ssl.PROTOCOL_TLS_CLIENT)


def _context(tls: Tls, side: int) -> ssl.SSLContext:
    try:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[tls]: the certificate, its key or the ca cannot be used - {error.strerror or error} - all three are PEM "
            "files, and the key belongs to the certificate"
        ) from error
    return context


TAGS = ("Modality", "BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName", "ViewPosition")
DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName")
ROUTED_MODALITIES: Final = {
    **{
        f"{IMAGE_STORAGE}{end}": modality
        for end, modality in (("1", "CR"), ("1.1", "DX"), ("1.1.1", "DX"), ("12.2", "RF"))
    },
    **dict.fromkeys(CAPTURES, "SC"),
}
"""What an object is by its class, where it does not say so itself."""


def fits(header: Mapping[str, str], routes: Sequence[Route]) -> bool:
    """Whether any route wants this object. `header` maps the keywords of TAGS and SOPClassUID to their values, "" where
    missing, several with a backslash between them."""
    return any(_fits(header, route) for route in routes)


def _fits(header: Mapping[str, str], route: Route) -> bool:
    part = header.get("BodyPartExamined", "")[:256]
    described = [header.get(keyword, "")[:256] for keyword in DESCRIPTIONS]
    return (
        (not route.modality or _modality(header) in route.modality)
        and (not route.body_part or any(_is_word(wanted, part) for wanted in route.body_part))
        and (not route.description or any(re.search(route.description, text, re.IGNORECASE) for text in described))
    )


def _modality(header: Mapping[str, str]) -> str:
    """The first that is stated, in capitals; else the one of its class."""
    stated = (value.strip().upper() for value in header.get("Modality", "").split("\\"))
    return next((value for value in stated if value), ROUTED_MODALITIES.get(header.get("SOPClassUID", ""), ""))


def _is_word(wanted: str, part: str) -> bool:
    """Whether "HAND" is a word of "Left Hand" or "HAND_PA"; not of "HANDLE"."""
    return re.search(rf"(?<![^\W_]){re.escape(wanted)}(?![^\W_])", part, re.IGNORECASE) is not None
