"""What the coordinator's answers do to the books, where the flow as a whole cannot be made to give them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

from connector.books import Books
from connector.committer import Committer
from connector.offset_map import OffsetMap, encode
from connector.ports import Commit, StayStart
from connector.records import Assignment, Kind
from connector.simulation.virtual_time import VirtualClock
from connector.telemetry import Telemetry
from connector.troubles import Troubles
from tests.sent_objects import Consumed


class Kafka:
    """Acknowledges what is of these stays, all of it if none are named."""

    def __init__(self, *stays: Assignment) -> None:
        self._stays = stays
        self.asked: list[Commit] = []

    async def commit(self, commits: Sequence[Commit]) -> Sequence[Commit]:
        self.asked += commits
        return [commit for commit in commits if not self._stays or commit.stay in self._stays]

    def hold_back(self, stays: frozenset[Assignment]) -> None:
        assert not stays


def committer(kafka: Kafka, books: Books, telemetry: Telemetry) -> Committer:
    clock = VirtualClock(asyncio.get_running_loop(), 0.0)
    troubles = Troubles(telemetry, lambda: None)
    return Committer(kafka, books, 8.0, clock, telemetry, troubles)  # type: ignore[arg-type]  # what it needs of it


async def test_a_partition_that_kafka_refuses_alone_is_counted() -> None:
    first, second = (Assignment("audiences", partition, 1) for partition in (0, 1))
    telemetry = Telemetry(output=None)
    books = Books({"audiences": Kind.AUDIENCE}, 5.0)
    sealed = encode(OffsetMap(closed=True), 7).text
    for stay in (first, second):
        books.open(StayStart(stay, 7, sealed), 0.0, 0)

    await committer(Kafka(first), books, telemetry).commit()

    assert [account.is_sealed for account in books.accounts.values()] == [False, True]
    assert telemetry.value("commit_failures_total") == 1


def books_with_long_maps(*stays: Assignment) -> Books:
    books = Books({"audiences": Kind.AUDIENCE}, 0.0)
    for stay in stays:
        account = books.open(StayStart(stay, 0, ""), 0.0, 0)
        books.admit(account, [Consumed(stay, offset) for offset in range(20_000)])
        account.ledger.settle_all(Random(1).sample(range(1, 20_000), 10_000))
    return books


async def test_between_two_long_maps_others_work_and_each_commit_tells_what_is_true_of_it() -> None:
    stays = [Assignment("audiences", partition, 1) for partition in (0, 1, 2)]
    books = books_with_long_maps(*stays)
    kafka = Kafka()
    first, second, third = (books.accounts[stay] for stay in stays)

    def work() -> None:
        assert kafka.asked == []
        first.ledger.settle(next(filter(first.ledger.is_open, range(1, 20_000))))  # only its version tells
        second.ledger.settle(0)
        books.close([stays[2]])

    asyncio.get_running_loop().call_soon(work)
    await committer(kafka, books, Telemetry(output=None)).commit()

    assert [commit.stay for commit in kafka.asked] == stays[:2]
    assert [commit.next_offset for commit in kafka.asked] == [0, second.ledger.committable]
    assert first.has_news, "what was settled after its commit was written is still to be told"
    assert not second.has_news
    assert third.ledger.open_count


async def test_what_leaves_between_two_long_maps_is_committed_by_whoever_drains_it() -> None:
    gone, leaving, other = stays = [Assignment("audiences", partition, 1) for partition in (0, 1, 2)]
    books = books_with_long_maps(*stays)
    kafka = Kafka()
    commits = committer(kafka, books, Telemetry(output=None))

    def work(turns: int = 2) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(work, turns - 1)
        else:
            books.close([gone])
            commits.leaving.add(leaving)

    work()
    await commits.commit()

    assert [commit.stay for commit in kafka.asked] == [other]
