"""An archive for tests that commits to what it is asked for: at once, elsewhere, not to everything, or never."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, StorageCommitmentPushModel

import node_kit as kit

INSTANCE = "1.2.840.10008.1.20.1.1"


class Archive(kit.Pacs):
    """`how`: "same" association, an "other" one, "never", or "refuse" the request; `reason` says why an instance fails.

    It can be changed while it runs. `asked` holds (transaction UID, instance UIDs) of every request.
    """

    def __init__(self, how: str = "same", reason: Callable[[str], int] = lambda _: 0, node_port: int = 0) -> None:
        self.how, self.reason, self.node_port = how, reason, node_port
        self.asked: list[tuple[str, list[str]]] = []
        self.answers: list[int | None] = []
        super().__init__()

    def contexts(self) -> list[str]:
        return [*super().contexts(), StorageCommitmentPushModel]

    def handlers(self) -> list[Any]:
        return [*super().handlers(), (evt.EVT_N_ACTION, self._asked)]

    def _asked(self, event: Any) -> tuple[int, None]:
        asked = event.action_information
        transaction = str(asked.TransactionUID)
        instances = [str(item.ReferencedSOPInstanceUID) for item in asked.ReferencedSOPSequence]
        self.asked.append((transaction, instances))
        if self.how == "refuse":
            return 0x0110, None
        if self.how in ("same", "other"):
            report = threading.Thread(target=self._report, args=(event.assoc, self.how, transaction, instances))

            def answered(_: Any) -> None:  # our answer to the request goes first
                event.assoc.unbind(evt.EVT_PDU_SENT, answered)
                report.start()

            event.assoc.bind(evt.EVT_PDU_SENT, answered)
        return 0, None

    def _report(self, association: Any, how: str, transaction: str, instances: list[str]) -> None:
        if how == "same":
            dataset, kind = self.report_of(transaction, instances)
            status, _ = association.send_n_event_report(dataset, kind, StorageCommitmentPushModel, INSTANCE)
            self.answers.append(status.get("Status"))
        else:
            self.answers.append(self.report(transaction, instances))

    def report_of(self, transaction: str, instances: list[str]) -> tuple[Dataset, int]:
        """The data set of a report and its event type."""
        dataset = Dataset()
        failed: list[Dataset] = []
        dataset.TransactionUID, dataset.ReferencedSOPSequence = transaction, []
        for instance in instances:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ComprehensiveSRStorage, instance
            if reason := self.reason(instance):
                item.FailureReason = reason
            (failed if reason else dataset.ReferencedSOPSequence).append(item)
        if failed:
            dataset.FailedSOPSequence = failed
        return dataset, 2 if failed else 1

    def report(self, transaction: str, instances: list[str]) -> int | None:
        """Reports in an association of the archive's own; the node's status."""
        return send_report(self.node_port, *self.report_of(transaction, instances))


def send_report(port: int, dataset: Dataset, kind: int) -> int | None:
    """An N-EVENT-REPORT to the node, as the peer PACS; its status, or None where it does not answer."""
    entity = AE("PACS")
    entity.add_requested_context(StorageCommitmentPushModel, ExplicitVRLittleEndian)
    roles: Any = [build_role(StorageCommitmentPushModel, scp_role=True)]
    association = entity.associate("127.0.0.1", port, ae_title="CARPAL", ext_neg=roles)
    if not association.is_established:  # the node has been stopped
        return None
    [context] = association.accepted_contexts
    assert context.as_scp, "the node lets the archive be the one that commits"
    status, _ = association.send_n_event_report(dataset, kind, StorageCommitmentPushModel, INSTANCE)
    association.release()
    return int(status.Status) if "Status" in status else None
