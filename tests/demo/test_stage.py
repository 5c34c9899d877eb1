"""What the demonstration tells its audit of Braze."""

from __future__ import annotations

import pytest

from connector.demo.audit import Audit
from connector.demo.stage import note
from connector.demo.workload import Made
from connector.double.application import Applied
from connector.records import Kind, TopicPartition

WHERE = TopicPartition("t", 0)


def applied(sequence: int, request: int, array: str, number: int) -> Applied:
    """The object of one record of the same user."""
    carried = {f"demo_record_{number}": True} if array == "attributes" else {"properties": {"number": number}}
    return Applied(sequence, request, 0.0, 0.0, array, 0, "u", {"external_id": "u"} | carried)


@pytest.mark.parametrize(("array", "violations"), [("attributes", 1), ("events", 0)])
def test_attributes_must_be_applied_in_order_and_events_only_sent_so(array: str, violations: int) -> None:
    audit = Audit()
    for number in range(2):
        audit.made[number] = Made(number, Kind.AUDIENCE if array == "attributes" else Kind.EVENT, "u", b"", "delivered")
        audit.positions[number] = (WHERE, number)

    note(audit, applied(1, 2, array, 1))  # the second request is applied first
    note(audit, applied(2, 1, array, 0))

    assert audit.lost() == []
    assert audit.order_violations() == violations
