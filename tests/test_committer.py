"""What the coordinator's answers do to the books, where the flow as a whole cannot be made to give them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from connector.books import Books
from connector.committer import Committer
from connector.offset_map import OffsetMap, encode
from connector.ports import Commit, StayStart
from connector.records import Assignment, Kind
from connector.simulation.virtual_time import VirtualClock
from connector.telemetry import Telemetry
from connector.troubles import Troubles


async def test_a_partition_that_kafka_refuses_alone_is_counted() -> None:
    first, second = (Assignment("audiences", partition, 1) for partition in (0, 1))
    telemetry = Telemetry(output=None)
    books = Books({"audiences": Kind.AUDIENCE}, 5.0)
    sealed = encode(OffsetMap(closed=True), 7).text
    for stay in (first, second):
        books.open(StayStart(stay, 7, sealed), 0.0, 0)

    class Kafka:
        async def commit(self, commits: Sequence[Commit]) -> Sequence[Commit]:
            return [commit for commit in commits if commit.stay == first]

        def hold_back(self, stays: frozenset[Assignment]) -> None:
            assert not stays

    clock = VirtualClock(asyncio.get_running_loop(), 0.0)
    troubles = Troubles(telemetry, lambda: None)
    committer = Committer(Kafka(), books, 8.0, clock, telemetry, troubles)  # type: ignore[arg-type]  # what it needs of it

    await committer.commit()

    assert [account.is_sealed for account in books.accounts.values()] == [False, True]
    assert telemetry.value("commit_failures_total") == 1
