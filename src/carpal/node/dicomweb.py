"""DICOMweb: results pushed by STOW-RS, new radiographs found by QIDO-RS and fetched by WADO-RS.

Addresses come from the configuration only, never from an object. What is fetched goes to a file as it arrives, bounded,
and is not parsed here: the reader does that, as with everything else that others send.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread

from carpal.errors import ConfigError, NodeError, OutOfResources
from carpal.node.config import NodeConfig, Web
from carpal.node.scp import IMAGES, UID, Receiver
from carpal.queue import logs

SECONDS: Final = 20
PAGE, MOST = 200, 10_000
CHUNK: Final = 1 << 20
HEADER: Final = 4096
"""Bytes that the header of a multipart part may take."""
FIELDS: Final = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
MODALITIES: Final = ("CR", "DX", "RF", "RG")


def session(web: Web) -> requests.Session:
    """Headers, password and certificates for one server. Raises ConfigError where its password cannot be read."""
    opened = requests.Session()
    opened.trust_env = False  # no proxy, no .netrc: only what the configuration says
    if web.user:
        try:
            password = web.password_file.read_text(encoding="utf-8").strip() if web.password_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"[[dicomweb]] {web.name}: password_file cannot be read - {error} - give a file with one line"
            ) from error
        opened.auth = (web.user, password)
    if web.ca:
        opened.verify = str(web.ca)
    return opened


def client(web: Web, opened: requests.Session) -> DICOMwebClient:
    """A client without retries of its own: ours are slower and survive a restart."""
    made = DICOMwebClient(web.url, session=opened, timeout=SECONDS)
    made.set_http_retry_params(retry=False)
    return made


def store(web: Web, files: Sequence[Path]) -> Iterator[NodeError | None]:
    """STOW-RS of every file, one request each: None for each that the server has, an error for each that it has not."""
    with closing(session(web)) as opened:
        server = client(web, opened)
        for path in files:
            try:
                answer = server.store_instances([dcmread(path)])  # our own result
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                yield NodeError(f"{web.name} answered STOW-RS with HTTP {status} - see its log")
                continue
            except requests.RequestException as error:
                raise _no_answer(web, error) from None
            failed = getattr(answer, "FailedSOPSequence", None)
            yield NodeError(f"{web.name} refused the object (FailedSOPSequence) - see its log") if failed else None


def check(web: Web) -> None:
    """Asks for one study, to see that the server answers. Raises NodeError."""
    with closing(session(web)) as opened:
        _search(web, client(web, opened), {}, 0, 1)


def _search(web: Web, server: DICOMwebClient, filters: Mapping[str, str], offset: int, limit: int) -> list[Any]:
    try:
        return server.search_for_instances(
            search_filters=dict(filters), fields=["BodyPartExamined"], limit=limit, offset=offset
        )
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise NodeError(f"{web.name} answered QIDO-RS with HTTP {status} - check url, user and password") from None
    except (requests.RequestException, ValueError) as error:
        raise _no_answer(web, error) from None


def _no_answer(web: Web, error: Exception) -> NodeError:
    return NodeError(f"{web.name} does not answer ({type(error).__name__}) - is it running at the url of [[dicomweb]]?")


class Puller:
    """Asks one server again and again for radiographs that we do not have yet."""

    def __init__(self, config: NodeConfig, web: Web, receiver: Receiver) -> None:
        self.config, self.web, self.receiver = config, web, receiver

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.is_set():
            try:
                self.pull()
            except Exception as error:  # the server may be well again next time
                logs.failure("pull-failed", error, server=self.web.name)
            stop.wait(self.web.pull_seconds)

    def pull(self) -> int:
        """Fetches what is new; returns how many objects. Raises NodeError, OutOfResources."""
        taken = 0
        with closing(session(self.web)) as opened:
            server = client(self.web, opened)
            for uids in self._new(server):
                path = self._fetch(opened, uids)
                self.receiver.take(path, uids["SOPInstanceUID"], f"web:{self.web.name}", "dicomweb", {})
                taken += 1
        return taken

    def _new(self, server: DICOMwebClient) -> Iterator[dict[str, str]]:
        """UIDs of radiographs of the last days that no job has."""
        since = datetime.now(UTC).date() - timedelta(days=self.web.pull_days)
        for modality in MODALITIES:
            filters = {"StudyDate": f"{since:%Y%m%d}-", "Modality": modality}
            for offset in range(0, MOST, PAGE):
                found = _search(self.web, server, filters, offset, PAGE)
                for entry in found:
                    uids = {name: _value(entry, name) for name in FIELDS}
                    is_image = uids["SOPClassUID"] in IMAGES and all(UID.fullmatch(uid) for uid in uids.values())
                    if is_image and not self.receiver.jobs.starting(f"{uids['SOPInstanceUID']}:"):
                        yield uids
                if len(found) < PAGE:
                    break

    def _fetch(self, opened: requests.Session, uids: Mapping[str, str]) -> Path:
        """WADO-RS of one instance into the spool's `partial`."""
        path = "/studies/{StudyInstanceUID}/series/{SeriesInstanceUID}/instances/{SOPInstanceUID}".format(**uids)
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        limit = self.config.limits.max_object_mb * 2**20
        handle, name = tempfile.mkstemp(dir=self.receiver.jobs.spool.partial)
        try:
            with (
                open(handle, "wb") as file,
                opened.get(self.web.url + path, headers={"Accept": accept}, stream=True, timeout=SECONDS) as answer,
            ):
                answer.raise_for_status()
                for chunk in only_part(answer.iter_content(CHUNK), answer.headers.get("Content-Type", "")):
                    if file.tell() + len(chunk) > limit:
                        raise OutOfResources(f"{self.web.name} sends more than [limits] max_object_mb for one object")
                    file.write(chunk)
        except requests.RequestException as error:
            Path(name).unlink(missing_ok=True)
            raise _no_answer(self.web, error) from None
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return Path(name)


def only_part(chunks: Iterator[bytes], content_type: str) -> Iterator[bytes]:
    """The content of the one part of a multipart/related message, as it arrives. Raises NodeError where it has none."""
    boundary = re.search(r'boundary="?([^";,]{1,200})"?', content_type)
    if boundary is None:
        raise NodeError("the server's answer is not multipart/related, as WADO-RS wants it")
    end, held = b"\r\n--" + boundary[1].encode("latin-1", "replace"), b""
    while b"\r\n\r\n" not in held:
        chunk = next(chunks, b"")
        held += chunk
        if not chunk or len(held) > HEADER + CHUNK:
            raise NodeError("the server's answer holds no object")
    held = held.partition(b"\r\n\r\n")[2]
    for chunk in chunks:
        if end in held:
            break
        keep = len(end) - 1  # the boundary may lie across two chunks
        if len(held) > keep:
            yield held[:-keep]
            held = held[-keep:]
        held += chunk
    body, found, _ = held.partition(end)
    if not found:
        raise NodeError("the server's answer broke off")
    yield body


def _value(entry: Mapping[str, Any], keyword: str) -> str:
    """One value of the DICOM JSON model, as text; "" where it is missing."""
    tags = {
        "SOPClassUID": "00080016",
        "SOPInstanceUID": "00080018",
        "StudyInstanceUID": "0020000D",
        "SeriesInstanceUID": "0020000E",
    }
    values = entry.get(tags[keyword], {}).get("Value") or [""]
    return str(values[0])
