"""What others may ask of us: C-ECHO, C-STORE and storage commitment (N-ACTION). No C-FIND, C-MOVE or C-GET.

Their reports on what we asked them to commit to arrive here, too (N-EVENT-REPORT). An object is on the disk and in the
queue before its sender hears success. Nothing of its data set is parsed here: its identity comes from the command, and
everything else is the reader's business, in a process of its own.

pynetdicom writes what it receives from within its reactor, where an error of the disk would end the association without
an answer. `LandingFile` takes the place of its temporary file: after an error it swallows the rest, and the handler of
the C-STORE answers 0xA700, so that the sender knows that the disk is full.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydicom.uid import (
    JPEG2000,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, _config, dimse_messages, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    StorageCommitmentPushModel,
    Verification,
    XRayRadiofluoroscopicImageStorage,
)

from carpal.errors import NodeError, OutOfResources
from carpal.node.association_guard import MAX_PDU, Gate, GateLimits, GuardedHandler, check_message
from carpal.node.audit import Audit
from carpal.node.committer import Committer
from carpal.node.config import NodeConfig, server_context
from carpal.node.monitoring import Metrics
from carpal.queue import logs
from carpal.queue.jobs import Job, Jobs, State
from carpal.queue.outbox import Outbox

IMAGES: Final = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    XRayRadiofluoroscopicImageStorage,
)
SYNTAXES: Final = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
)
"""Not the deflated one: a small object could unfold to gigabytes."""

MOST_STRANGERS: Final = 64
"""Unknown addresses that the log names."""
SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000
INVALID_INSTANCE, PROCESSING_FAILURE, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0117, 0x0110, 0x0123, 0x0213
PERMANENT, TRANSIENT, BY_USER, BY_PRESENTATION = 1, 2, 1, 3
CALLING_UNKNOWN, LIMIT_EXCEEDED = 3, 2
TOO_MANY: Final = "too-many-associations"
UID: Final = re.compile(r"[0-9.]{1,64}")


class Receiver:
    """Takes what allow-listed peers send, and queues it. `reading` is part of a job's key: new weights read anew."""

    def __init__(
        self,
        config: NodeConfig,
        jobs: Jobs,
        audit: Audit,
        metrics: Metrics,
        reading: str,
        committer: Committer,
    ) -> None:
        self.config, self.jobs, self.audit, self.metrics, self.reading = config, jobs, audit, metrics, reading
        self.outbox, self.committer = Outbox(jobs), committer
        self._strangers: set[str] = set()
        self._server: Any = None

    def start(self) -> int:
        """Listens, in threads of its own, and returns the port. Raises NodeError where the port is taken."""
        node = self.config.node
        _config.STORE_RECV_CHUNKED_DATASET = True  # to a file in the spool's `partial`, not to memory
        dimse_messages.NamedTemporaryFile = LandingFile  # type: ignore[attr-defined, assignment]
        entity = self._entity()
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self.requested),
            (evt.EVT_REJECTED, self.rejected),
            (evt.EVT_C_STORE, self.store),
            (evt.EVT_N_ACTION, self.commit),
            (evt.EVT_N_EVENT_REPORT, self.committer.reported),
            (evt.EVT_PDU_RECV, check_message),
            (evt.EVT_CONN_CLOSE, clean_up),
            (evt.EVT_ABORTED, clean_up),
        ]
        try:
            self._server = entity.make_server(
                (node.host, node.port),
                ssl_context=server_context(self.config.tls) if self.config.tls else None,
                evt_handlers=handlers,
                server_class=Gate,
                request_handler=GuardedHandler,
                admits=self.admits,
                gate_limits=self._gate_limits(),
                refused=self.hung_up,
            )
        except OSError as error:
            raise NodeError(
                f"{node.host} port {node.port} cannot be opened - {error.strerror} - is another program, or another "
                "node, listening there? Choose another [node] port"
            ) from error
        entity._servers.append(self._server)
        self._accept = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="carpal-accept", daemon=True
        )
        self._accept.start()
        return int(self._server.server_address[1])

    def _entity(self) -> AE:
        """Who we are, what we accept, and for how long we wait."""
        bounds = self.config.limits
        entity = AE(self.config.node.ae_title)
        entity.require_called_aet = True
        entity.maximum_pdu_size = MAX_PDU
        entity.maximum_associations = bounds.associations
        entity.acse_timeout, entity.dimse_timeout = bounds.association_seconds, bounds.message_seconds
        entity.network_timeout = bounds.idle_seconds
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        for image in IMAGES:
            entity.add_supported_context(image, list(SYNTAXES))
        return entity

    def _gate_limits(self) -> GateLimits:
        bounds = self.config.limits
        return GateLimits(
            waiting=bounds.connections_waiting,
            per_address=max(bounds.connections_waiting // 4, 1),
            association_seconds=bounds.association_seconds,
            message_seconds=bounds.message_seconds,
            object_bytes=bounds.max_object_mb * 2**20 + MAX_PDU,
        )

    def stop(self) -> None:
        """Closes the door; associations that are open are aborted by the end of the process."""
        if self._server:
            self._server.shutdown()

    def alive(self) -> bool:
        """Whether the door is open."""
        return self._server is not None and self._accept.is_alive() and self._server.alive()

    def open_associations(self) -> int:
        """How many peers talk to us now."""
        return len(self._server.active_associations) if self._server else 0

    def admits(self, address: str) -> bool:
        """Whether any peer may send from this address: asked before a byte is read."""
        if any(peer.allows(address) for peer in self.config.peer):
            return True
        if address not in self._strangers and len(self._strangers) < MOST_STRANGERS:  # a flood must not fill the log
            self._strangers.add(address)
            message = "no [[peer]] has this address - add it to one if it may send (told once)"
            logs.event("hung-up", "warning", address=address, message=message)
        return False

    def requested(self, event: Any) -> None:
        """EVT_REQUESTED: the AE title must belong to the address, and one address may not take every place."""
        association = event.assoc
        title, address = association.requestor.primitive.calling_ae_title, association.requestor.address
        if self.config.sender(title, address) is None:
            self.metrics.count("carpal_refused_total", reason="unknown-peer")
            self.audit.write("association-refused", address=address, ae_title=title)
            message = "no [[peer]] has this AE title at this address - add it, or correct the sender's own title"
            logs.event("association-refused", "warning", address=address, ae_title=title, message=message)
            association.acse.send_reject(PERMANENT, BY_USER, CALLING_UNKNOWN)
            association.kill()
            return
        others = [other for other in self._server.active_associations if other.requestor.address == address]
        if len(others) > self.config.limits.associations_per_address:
            self.metrics.count("carpal_refused_total", reason=TOO_MANY)
            association.acse.send_reject(TRANSIENT, BY_PRESENTATION, LIMIT_EXCEEDED)
            association.kill()

    def rejected(self, event: Any) -> None:
        """EVT_REJECTED, by pynetdicom itself: all places are taken, or another title was called than ours."""
        full = event.assoc.acceptor.primitive.result_source == BY_PRESENTATION
        self.metrics.count("carpal_refused_total", reason=TOO_MANY if full else "called-title")
        if not full:
            asked, ours = event.assoc.requestor.primitive.called_ae_title, self.config.node.ae_title
            message = f"the sender calls us by another AE title - we are {ours}: correct it there"
            logs.event("association-refused", "warning", called=asked, message=message)

    def hung_up(self, reason: str) -> None:
        """The door ended a connection that had not asked for an association."""
        self.metrics.count("carpal_refused_total", reason=reason)

    def store(self, event: Any) -> int:
        """EVT_C_STORE: the object is durable before this returns success."""
        request = event.request
        if request._dataset_file is None:
            return CANNOT_UNDERSTAND
        landed, path = request._dataset_file, Path(request._dataset_file.name)
        sender = f"{event.assoc.requestor.ae_title}@{event.assoc.requestor.address}"
        instance, kind = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        event.assoc.dul.socket.taken = 0
        try:
            if not UID.fullmatch(instance):
                self.metrics.count("carpal_refused_total", reason="bad-uid")
                return INVALID_INSTANCE
            if landed.full:
                raise OutOfResources(f"the disk of {self.config.node.folder} is full - free some space")
            self.take(path, instance, sender, "dimse", {"class": kind})
        except OutOfResources as error:
            self.metrics.count("carpal_refused_total", reason=error.code)
            logs.event("refused", "warning", code=error.code, message=str(error))
            return OUT_OF_RESOURCES
        return SUCCESS

    def take(self, path: Path, instance: str, sender: str, way: str, meta: dict[str, str]) -> Job:
        """Queues one file of the spool's `partial`; the same instance with the same bytes is the same job.

        What comes again is delivered again, or, where it had died, read again.
        """
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        key = f"{instance}:{sha256}:{self.reading[:16]}"
        job = self.jobs.put(path, key, "dicom", sender, {**meta, "instance": instance}, sha256)
        self.audit.write("received", sender=sender, instance=instance, sha256=sha256, job=job.id, new=job.is_new)
        self.metrics.count("carpal_received_total", way=way, new=str(job.is_new).lower())
        if not job.is_new and job.state is State.DEAD:
            self.jobs.retry(job.id)
        elif not job.is_new and job.settled:
            self.outbox.again(job)
        return job

    def commit(self, event: Any) -> tuple[int, None]:
        """EVT_N_ACTION: queues the answer, which goes out as an N-EVENT-REPORT in an association of our own."""
        title = event.assoc.requestor.ae_title
        if event.action_type != 1:
            return NO_SUCH_ACTION, None
        try:
            asked = event.action_information
            transaction = str(asked.TransactionUID)
            pairs = [
                (str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in asked.ReferencedSOPSequence
            ]
        except Exception:  # whatever pydicom meets in a data set that is none
            return PROCESSING_FAILURE, None
        if not all(UID.fullmatch(uid) for uid in (transaction, *(uid for pair in pairs for uid in pair))):
            return PROCESSING_FAILURE, None
        peer = self.config.sender(title, event.assoc.requestor.address)
        payload = json.dumps({"peer": peer.name if peer else "", "transaction": transaction, "pairs": pairs}).encode()
        key = f"commit:{title}:{transaction}:{hashlib.sha256(payload).hexdigest()[:16]}"
        try:
            job = self.jobs.put(payload, key, "commit", title, {})
            self.audit.write("commitment-asked", sender=title, transaction=transaction, objects=len(pairs), job=job.id)
            if job.settled:  # it has not heard our answer
                self.jobs.retry(job.id)
        except OutOfResources:
            return RESOURCE_LIMITATION, None
        return SUCCESS, None


def split_committed(jobs: Jobs, pairs: Sequence[Sequence[str]]) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
    """(class, instance) pairs that we hold, and those that we do not, or no longer."""
    held = [pair for pair in pairs if any(not job.pruned for job in jobs.starting(f"{pair[1]}:"))]
    return held, [pair for pair in pairs if pair not in held]


def clean_up(event: Any) -> None:
    """At the end of an association: removes the object that it had not finished sending."""
    message = event.assoc.dimse.message
    file = getattr(message, "_data_set_file", None)
    if file is not None:
        file.close()
        Path(file.name).unlink(missing_ok=True)


class LandingFile:
    """A new file in `tempfile.tempdir` with what pynetdicom uses of a NamedTemporaryFile; `full` once it failed."""

    def __init__(self, **_: Any) -> None:
        self.full, self.name, self._handle = False, "", -1
        try:
            self._handle, self.name = tempfile.mkstemp(suffix=".dcm")
        except OSError:
            self.full = True

    @property
    def file(self) -> LandingFile:
        """pynetdicom flushes the file below."""
        return self

    def write(self, data: bytes) -> int:
        """Writes all of it, or nothing any more."""
        rest = memoryview(data)
        try:
            while rest and not self.full:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            self.full = True
            with contextlib.suppress(OSError):
                os.truncate(self._handle, 0)  # others may need the room at once
        return len(data)

    def flush(self) -> None:
        """Nothing is held back; `Spool.adopt` brings it to the disk."""

    def close(self) -> None:
        """May be called again."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)
