from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from connector.books import Books
from connector.breaker import BreakerPolicy
from connector.offset_map import FIRST_METADATA
from connector.ports import StayStart
from connector.records import Kind, Rejected
from connector.repeats import Repeats
from connector.settlement import Settlement
from connector.telemetry import Telemetry
from connector.troubles import Troubles
from tests.delivery_stage import Stage, named
from tests.sent_objects import AUDIENCES, Consumed, attributes

Work = Coroutine[Any, Any, None]


def settlement(
    stage: Stage,
    books: Books,
    run: int,
    spawn: Callable[[Work], None] = lambda work: work.close(),
    wake: Callable[[], None] = lambda: None,
) -> tuple[Settlement, Troubles]:
    """One whose letters are acknowledged when `spawn` says; its halts take a topic out of the stage's delivery."""
    telemetry = Telemetry(output=None)
    troubles = Troubles(telemetry, lambda: None)
    anything: Any = SimpleNamespace(release=lambda *_: None)
    made = Settlement(
        books=books,
        source=anything,
        dead_letters=Letters(),
        breaker=BreakerPolicy(share=1, run=run),
        schema_id_of=lambda *_: None,
        repeats=Repeats(0),
        batcher=stage.delivery.batcher,
        wake=wake,
        clock=anything_that_tells(0.0),
        telemetry=telemetry,
        troubles=troubles,
        halted=lambda topic: stage.delivery.withdraw({s for s in books.accounts if s.topic == topic}, stage.now),
        spawn=spawn,
    )
    return made, troubles


class Letters:
    async def write(self, _record: Any, _headers: Any, is_ours: Callable[[], bool]) -> bool:
        return is_ours()


def anything_that_tells(moment: float) -> Any:
    return SimpleNamespace(now=lambda: moment, at=lambda: moment)


def test_a_halted_topic_gives_nothing_more_of_a_user_whose_older_record_stays_open() -> None:
    """Or the next process would send the older one last, and the map would pass over the newer one."""
    stage, books = Stage(), Books({"audiences": Kind.AUDIENCE}, 0.0)
    account = books.open(StayStart(AUDIENCES, 0, FIRST_METADATA), 0.0, 0)
    records = [attributes("x", 0), attributes("y", 1), attributes("u", 2, AIQ=True), attributes("u", 3, AIQ=False)]
    records[2].group, records[3].group = 1, 2  # not merged: as after an object of both was refused
    books.admit(account, [Consumed(AUDIENCES, record.offset) for record in records])
    stage.delivery.batcher.add_attributes(records, stage.now)
    ends, troubles = settlement(stage, books, run=1)

    refused = [("attributes", index) for index in range(3)]
    ends.conclude(stage.answer(stage.sent(), named(400, *refused)), 0.0)

    assert "dead_letter_breaker:audiences" in troubles
    assert ends.has_halted("audiences")
    assert stage.request() is None
    assert account.ledger.open_count == 4
    assert books.held_back() == {AUDIENCES}


def test_a_user_s_next_attributes_leave_when_the_letter_of_a_refused_one_is_written() -> None:
    """A crash before that brings the refused one back; should Braze take it then, nothing newer may be settled."""
    stage, books = Stage(), Books({"audiences": Kind.AUDIENCE}, 0.0)
    account = books.open(StayStart(AUDIENCES, 0, FIRST_METADATA), 0.0, 0)
    records = [attributes("u", 0, AIQ=True), attributes("u", 1, AIQ=False)]
    records[0].group, records[1].group = 1, 2
    books.admit(account, [Consumed(AUDIENCES, record.offset) for record in records])
    stage.delivery.batcher.add_attributes(records, stage.now)
    letters: list[Work] = []
    woken: list[None] = []
    ends, _ = settlement(stage, books, run=0, spawn=letters.append, wake=lambda: woken.append(None))

    ends.conclude(stage.answer(stage.sent(), named(400, ("attributes", 0))), 0.0)

    assert stage.request() is None
    [letter] = letters
    with pytest.raises(StopIteration):
        letter.send(None)
    assert woken
    request = stage.request()
    assert request is not None
    assert [record.offset for record in request.records] == [1]


def test_a_letter_whose_partition_has_left_is_its_next_owner_s_to_write() -> None:
    stage, books = Stage(), Books({"audiences": Kind.AUDIENCE}, 0.0)
    account = books.open(StayStart(AUDIENCES, 0, FIRST_METADATA), 0.0, 0)
    books.admit(account, [Consumed(AUDIENCES, 0)])
    letters: list[Work] = []
    ends, _ = settlement(stage, books, run=0, spawn=letters.append)
    ends.reject(AUDIENCES, Consumed(AUDIENCES, 0), Rejected("undecodable", "no record"))

    books.close([AUDIENCES])
    with pytest.raises(StopIteration):
        letters[0].send(None)

    assert not ends.has_open_letters({AUDIENCES})
    assert books.late == 0
