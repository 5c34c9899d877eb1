import pytest

from connector.braze import Endpoint
from connector.intake import Intake
from connector.ports import Chunk
from connector.records import Assignment, Kind
from tests.sent_objects import AUDIENCES, CAMPAIGNS, EVENTS, Consumed

KINDS = {"audiences": Kind.AUDIENCE, "events": Kind.EVENT, "campaigns": Kind.CAMPAIGN}


def chunk(stay: Assignment, offset: int = 0) -> Chunk:
    return Chunk(stay, [Consumed(stay, offset)])


def drained(intake: Intake) -> list[tuple[str, int]]:
    taken = []
    while intake:
        each = intake.pop()
        taken.append((each.stay.topic, each.records[0].offset()))
    return taken


def holding(*chunks: Chunk) -> Intake:
    intake = Intake(KINDS)
    for each in chunks:
        intake.add(each)
    return intake


def test_campaigns_come_first_and_everything_else_in_its_order() -> None:
    intake = holding(
        chunk(AUDIENCES, 1), chunk(EVENTS, 1), chunk(CAMPAIGNS, 1), chunk(AUDIENCES, 2), chunk(CAMPAIGNS, 2)
    )

    assert len(list(intake)) == 5
    assert drained(intake) == [
        ("campaigns", 1), ("campaigns", 2), ("audiences", 1), ("events", 1), ("audiences", 2)
    ]  # fmt: skip
    with pytest.raises(IndexError):
        intake.pop()


@pytest.mark.parametrize("stay", [AUDIENCES, CAMPAIGNS])
def test_what_is_set_aside_comes_back_in_front_in_its_order(stay: Assignment) -> None:
    intake = holding(chunk(stay, 3))

    intake.set_aside(chunk(stay, 1))
    intake.set_aside(chunk(stay, 2))

    assert intake.aside == (stay,)
    assert len(list(intake)) == 3
    assert drained(intake) == [(stay.topic, 3)]
    intake.add(chunk(stay, 3))
    intake.bring_back(stay)
    assert intake.aside == ()
    assert [offset for _, offset in drained(intake)] == [1, 2, 3]


def test_what_has_left_is_forgotten() -> None:
    intake = holding(chunk(AUDIENCES, 1), chunk(CAMPAIGNS, 1), chunk(EVENTS, 1))
    intake.set_aside(chunk(AUDIENCES, 0))
    intake.set_aside(chunk(EVENTS, 0))

    intake.drop({AUDIENCES, CAMPAIGNS})

    assert intake.aside == (EVENTS,)
    assert drained(intake) == [("events", 1)]


def test_it_tells_where_its_records_will_go() -> None:
    assert holding().endpoints() == frozenset()
    assert holding(chunk(EVENTS)).endpoints() == {Endpoint.TRACK}
    assert holding(chunk(EVENTS), chunk(CAMPAIGNS)).endpoints() == {Endpoint.TRACK, Endpoint.TRIGGER}


def test_what_is_set_aside_is_waited_for_but_not_by_triggers() -> None:
    intake = holding()

    intake.set_aside(chunk(CAMPAIGNS))
    assert intake.endpoints() == frozenset()
    intake.set_aside(chunk(EVENTS))
    assert intake.endpoints() == {Endpoint.TRACK}
