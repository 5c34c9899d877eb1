"""What the coordinator's answers do to the books, where the flow as a whole cannot be made to give them."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Sequence
from random import Random

import pytest

from connector.books import Books
from connector.committer import Committer
from connector.offset_map import OffsetMap, encode
from connector.ports import Commit, CommitRefused, StayStart
from connector.records import Assignment, Fate, Kind
from connector.simulation.virtual_time import VirtualClock, VirtualLoop, run_virtually
from connector.telemetry import Telemetry
from connector.troubles import Troubles
from tests.sent_objects import Consumed

LEASE_S = 8.0


class Kafka:
    """Acknowledges what is of these stays, all of it if none are named."""

    def __init__(self, *stays: Assignment) -> None:
        self._stays = stays
        self.asked: list[Commit] = []
        self.refusal = ""

    async def commit(self, commits: Sequence[Commit]) -> Sequence[Commit]:
        self.asked += commits
        if self.refusal:
            raise CommitRefused(self.refusal)
        taken = [commit for commit in commits if not self._stays or commit.stay in self._stays]
        if not taken:
            raise CommitRefused("Kafka says OFFSET_METADATA_TOO_LARGE")
        return taken

    def hold_back(self, stays: frozenset[Assignment]) -> None:
        assert not stays


def committer(kafka: Kafka, books: Books, telemetry: Telemetry, troubles: Troubles | None = None) -> Committer:
    clock = VirtualClock(asyncio.get_running_loop(), 0.0)
    troubles = troubles or Troubles(telemetry, lambda: None)
    return Committer(kafka, books, LEASE_S, clock, telemetry, troubles)  # type: ignore[arg-type]  # what it needs of it


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


@pytest.mark.parametrize("has_news", [True, False])
def test_a_partition_that_kafka_refuses_alone_lets_no_lease_end(*, has_news: bool) -> None:
    """Nothing would be sent any more, of none: and so no other partition would ever have news that could renew it."""

    async def play() -> list[bool]:
        refused, other = (Assignment("audiences", partition, 1) for partition in (0, 1))
        books = Books({"audiences": Kind.AUDIENCE}, 5.0)
        for stay in (refused, other):
            books.open(StayStart(stay, 0, ""), 0.0, 0)
        if has_news:
            books.admit(books.accounts[refused], [Consumed(refused, 0)])
            books.settle_one(refused, 0, Fate.SKIPPED)
        commits = committer(Kafka(other), books, Telemetry(output=None))
        commits.renew(0.0)
        held: list[bool] = []
        for _ in range(40):
            await asyncio.sleep(0.5)
            await commits.commit()
            held.append(commits.may_send())
        return held

    assert all(run_virtually(VirtualLoop(), play()))


class Refused:
    """A committer whose commits Kafka refuses in these words, one after the other, and takes at the empty one."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self._output = io.StringIO()
        self.troubles = Troubles(Telemetry(output=None), lambda: None)
        self.details: list[str | None] = []
        run_virtually(VirtualLoop(), self._play())

    async def _play(self) -> None:
        stay, kafka = Assignment("audiences", 0, 1), Kafka()
        books = Books({"audiences": Kind.AUDIENCE}, 5.0)
        books.open(StayStart(stay, 0, ""), 0.0, 0)
        commits = committer(kafka, books, Telemetry(output=self._output), self.troubles)
        commits.renew(0.0)
        for kafka.refusal in self._words:
            await asyncio.sleep(LEASE_S / 2)
            await commits.commit()
            commits.may_send()
            trouble = self.troubles.present.get("kafka_lease")
            self.details.append(None if trouble is None else trouble.detail)

    @property
    def said(self) -> list[tuple[str, str | None]]:
        lines = [json.loads(line) for line in self._output.getvalue().splitlines()]
        return [(line["event"], line.get("detail")) for line in lines]


FORBIDDEN = "Kafka says GROUP_AUTHORIZATION_FAILED: allow this user to read the group"
AWAY = "Kafka says COORDINATOR_NOT_AVAILABLE: check the brokers"


def test_why_kafka_takes_no_commit_is_said_when_it_begins_and_stands_where_nothing_is_sent() -> None:
    play = Refused(FORBIDDEN, FORBIDDEN, FORBIDDEN, "", "")

    lease = f"Kafka does not take our commits: {FORBIDDEN}; nothing is sent until it does"
    assert play.details == [None, lease, lease, lease, None]  # taken again: nothing is sent for a moment all the same
    assert play.said == [("commit_refused", FORBIDDEN), ("commits_taken_again", None)]


def test_another_reason_for_a_refusal_is_said_too() -> None:
    play = Refused(AWAY, AWAY, FORBIDDEN, "", AWAY)

    assert [AWAY in (detail or "") for detail in play.details] == [False, True, False, False, False]
    assert FORBIDDEN in (play.details[2] or "")
    assert [detail for _, detail in play.said] == [AWAY, FORBIDDEN, None, AWAY]


async def test_a_coordinator_that_says_nothing_is_said_to_be_silent() -> None:
    books = Books({"audiences": Kind.AUDIENCE}, 5.0)
    books.open(StayStart(Assignment("audiences", 0, 1), 0, ""), 0.0, 0)
    telemetry = Telemetry(output=None)
    troubles = Troubles(telemetry, lambda: None)

    assert not committer(Kafka(), books, telemetry, troubles).may_send()
    assert troubles.present["kafka_lease"].detail.startswith("the Kafka coordinator has not answered")


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
