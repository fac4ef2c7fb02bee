"""What we ask of peers: C-ECHO, C-STORE of results, N-ACTION for a commitment to them.

The N-EVENT-REPORT that answers a commitment which a peer asked us for goes out here, too.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from carpal.errors import NodeError
from carpal.node.config import NodeConfig, Peer, client_context

COMMITMENT_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known instance of the push model (PS3.4 J.3.5)."""
NO_SUCH_OBJECT: Final = 0x0112
CALLING_UNKNOWN, CALLED_UNKNOWN = (1, 3), (1, 7)
"""Source and reason of a rejection (PS3.8 table 9-21)."""
CONNECT_SECONDS: Final = 5
REPORT_SECONDS: Final = 3
"""How long an association stays open for a report on what was asked in it; later the archive opens one of its own."""


@contextmanager
def association(
    config: NodeConfig, peer: Peer, classes: Sequence[str], as_scp: bool = False, handlers: Sequence[Any] = ()
) -> Iterator[Any]:
    """An open association with a peer. Raises NodeError where there is none, with the reason as far as it is known."""
    entity = AE(config.node.ae_title)
    entity.acse_timeout, entity.connection_timeout = config.limits.message_seconds, CONNECT_SECONDS
    entity.dimse_timeout, entity.network_timeout = config.limits.message_seconds, config.limits.idle_seconds
    for uid in classes:
        entity.add_requested_context(uid, ExplicitVRLittleEndian)
    roles: list[Any] = [build_role(uid, scp_role=True) for uid in classes] if as_scp else []
    security = (client_context(config.tls), peer.host) if peer.tls and config.tls else None
    try:
        opened = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            ext_neg=roles,
            tls_args=security,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once), *handlers],
        )
    except (OSError, UnicodeError):  # the name has no address
        raise NodeError(
            f"{peer.name}: the host {peer.host} is not known here - correct host in its [[peer]], or use its address"
        ) from None
    try:
        if not opened.is_established:
            raise NodeError(f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port}) {_why_not(opened, config)}")
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def _why_not(opened: Any, config: NodeConfig) -> str:
    """Why there is no association, and what to do."""
    ours = config.node.ae_title
    if not opened.is_rejected:
        return f"does not answer - is it running, and does it know {ours}?"
    answer = opened.acceptor.primitive
    if (answer.result_source, answer.diagnostic) == CALLED_UNKNOWN:
        return "refused the association: that is not its AE title - correct ae_title in its [[peer]]"
    if (answer.result_source, answer.diagnostic) == CALLING_UNKNOWN:
        return f"refused the association: it does not know {ours} - enter that AE title and this machine there"
    return f"refused the association ({answer.reason_str}) - is it running, and does it know {ours}?"


def _send_at_once(event: Any) -> None:
    """EVT_CONN_OPEN. By default an object waits, 40 ms, until the peer's system has acknowledged the command before."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def echo(config: NodeConfig, peer: Peer) -> None:
    """C-ECHO. Raises NodeError where the peer does not answer with success, or not take what the file says it takes."""
    with association(config, peer, _asking(peer)) as opened:
        _check(opened.send_c_echo(), peer, "C-ECHO")
        if peer.commitment and not _takes_commitment(opened):
            raise NodeError(_no_commitment(peer))


def _asking(peer: Peer) -> list[str]:
    return [Verification, StorageCommitmentPushModel] if peer.commitment else [Verification]


def _takes_commitment(opened: Any) -> bool:
    return any(context.abstract_syntax == StorageCommitmentPushModel for context in opened.accepted_contexts)


def _no_commitment(peer: Peer) -> str:
    return f"{peer.name} takes no requests for storage commitment - switch it on there, or set commitment = false"


def store(config: NodeConfig, peer: Peer, files: Sequence[Path]) -> Iterator[NodeError | None]:
    """C-STORE of every file in one association: None for each that the peer has, an error for each that it has not.

    Raises NodeError where no association comes about.
    """
    datasets = [dcmread(path) for path in files]  # our own results, never what others sent
    with association(config, peer, sorted({dataset.SOPClassUID for dataset in datasets})) as opened:
        for dataset in datasets:
            try:
                _check(opened.send_c_store(dataset), peer, "C-STORE")
            except NodeError as error:
                yield error
            except (ValueError, RuntimeError):  # no context for this class, or the association ended
                yield NodeError(f"{peer.name} does not take objects of the class {dataset.SOPClassUID.name}")
            else:
                yield None


def ask_commitment(
    config: NodeConfig,
    peer: Peer,
    transaction: str,
    pairs: Sequence[tuple[str, str]],
    take: Callable[[Any], tuple[int, None]],
    heard: threading.Event,
) -> None:
    """N-ACTION: asks the peer to commit to these (class, instance) pairs. Raises NodeError where it does not take it.

    Its report may come in this association, which `take` answers, or in one that the peer opens: stays open until
    `heard` is set, by us or by whoever took the report, but no longer than REPORT_SECONDS.
    """
    asked, answered = Dataset(), threading.Event()
    asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = [_reference(*pair) for pair in pairs]

    def report(event: Any) -> tuple[int, None]:
        answer = take(event)
        answered.set()
        return answer

    def sent(_: Any) -> None:
        if answered.is_set():  # the peer has our answer to its report
            heard.set()

    ends = [(end, lambda _: heard.set()) for end in (evt.EVT_RELEASED, evt.EVT_ABORTED, evt.EVT_CONN_CLOSE)]
    handlers = [(evt.EVT_N_EVENT_REPORT, report), (evt.EVT_PDU_SENT, sent), *ends]
    with association(config, peer, _asking(peer), handlers=handlers) as opened:
        if not _takes_commitment(opened):
            raise NodeError(_no_commitment(peer))
        try:
            status, _ = opened.send_n_action(asked, 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE)
        except (ValueError, RuntimeError):  # the association has ended
            status = Dataset()
        _check(status, peer, "N-ACTION")
        heard.wait(REPORT_SECONDS)


def report_commitment(config: NodeConfig, peer: Peer, transaction: str, held: list[Any], missing: list[Any]) -> None:
    """N-EVENT-REPORT: what we hold and what we do not. Raises NodeError."""
    answer = Dataset()
    answer.TransactionUID = transaction
    answer.ReferencedSOPSequence = [_reference(*pair) for pair in held]
    if missing:
        answer.FailedSOPSequence = [_reference(*pair) for pair in missing]
        for item in answer.FailedSOPSequence:
            item.FailureReason = NO_SUCH_OBJECT
    with association(config, peer, [StorageCommitmentPushModel], as_scp=True) as opened:
        try:
            status, _ = opened.send_n_event_report(
                answer, 2 if missing else 1, StorageCommitmentPushModel, COMMITMENT_INSTANCE
            )
        except (ValueError, RuntimeError):
            raise NodeError(f"{peer.name} does not take reports of storage commitment - set its role") from None
        _check(status, peer, "N-EVENT-REPORT")


def _reference(sop_class: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    return item


def _check(status: Dataset, peer: Peer, asked: str) -> None:
    """Success, or a warning (0xBxxx: stored, with a remark); everything else, and no answer, is an error."""
    code = status.get("Status")
    if code is None:
        raise NodeError(f"{peer.name} did not answer the {asked} - it is sent again")
    if code != 0 and code & 0xF000 != 0xB000:
        raise NodeError(f"{peer.name} answered the {asked} with the status 0x{code:04X} - see its log")
