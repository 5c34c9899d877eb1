"""Partitions that come and go, with only those parts around them that they touch."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from connector.books import Books
from connector.braze import Endpoint
from connector.intake import Intake
from connector.ports import Assigned, Chunk, Commit, Revoked, StayStart
from connector.records import Assignment, Kind
from connector.repeats import Repeats
from connector.stays import Stays
from connector.telemetry import Telemetry
from tests.sent_objects import EVENTS, Consumed

KINDS = {"audiences": Kind.AUDIENCE, "events": Kind.EVENT, "campaigns": Kind.CAMPAIGN}


class Replica:
    """The stays of one process, and the share of each quota that follows from them."""

    def __init__(self, owned: Mapping[str, Sequence[int]]) -> None:
        self.share: dict[Endpoint, float] = {}
        self.on_wire = 0
        self.unread: list[Chunk] = []
        self.renewed: list[float] = []
        self.work: list[Coroutine[Any, Any, None]] = []
        parts: dict[str, Any] = {
            "delivery": SimpleNamespace(
                channels=[self._channel(each) for each in Endpoint],
                welcome=lambda _: None,
                withdraw=lambda *_: 0,
                on_wire=lambda _: self.on_wire,
            ),
            "committer": SimpleNamespace(renew=self.renewed.append, leaving=set()),
            "settlement": SimpleNamespace(has_open_letters=lambda _: False, news_within=self._hear),
            "clock": SimpleNamespace(now=lambda: 1.0, at=lambda: 1.0, boot=lambda: 1.0),
            "unread": SimpleNamespace(drop=self._drop),
        }
        self.stays = Stays(
            **parts,
            books=Books(KINDS, 0.0),
            repeats=Repeats(10),
            intake=Intake(KINDS),
            wake=lambda: None,
            spawn=self.work.append,
            telemetry=Telemetry(output=None),
        )
        starts = [StayStart(Assignment(topic, each, 1), 0, "") for topic, owns in owned.items() for each in owns]
        self.stays.open(Assigned(starts, asked_at=0.5))

    def _drop(self, stays: Collection[Assignment]) -> None:
        self.unread = [chunk for chunk in self.unread if chunk.stay not in stays]

    async def _hear(self, _within_s: float) -> None:
        """What is on the wire comes home with the loop's next turn."""
        await asyncio.sleep(0)
        self.on_wire = 0

    def _channel(self, endpoint: Endpoint) -> Any:
        def set_share(share: float, _now: float, _at: float) -> None:
            self.share[endpoint] = share

        return SimpleNamespace(endpoint=endpoint, pool=SimpleNamespace(set_share=set_share))

    def told(self, **counts: int) -> dict[Endpoint, float]:
        self.stays.share_quota(counts)
        return self.share


def test_an_assignment_renews_the_lease_from_when_the_coordinator_was_asked_and_not_from_when_it_is_heard() -> None:
    """A process that was frozen in between must not take the group's word of then for one of now."""
    replica = Replica({"events": [0]})
    assert replica.renewed == [0.5]
    replica.stays.open(Assigned([], asked_at=None))
    assert replica.renewed == [0.5]


def test_the_share_of_each_quota_is_that_of_the_partitions_which_use_it() -> None:
    replica = Replica({"audiences": [0, 1, 2], "events": [4], "campaigns": [0]})
    assert replica.told(audiences=10, events=6, campaigns=4) == {Endpoint.TRACK: 0.25, Endpoint.TRIGGER: 0.25}


@pytest.mark.parametrize(
    "counts",
    [
        {"audiences": 10, "events": 10},
        {"audiences": 10},  # of the other topic Kafka has never told
        {"audiences": 10, "events": 6},  # it has grown since it was counted
        {"audiences": 4, "events": 4},
        {},
    ],
)
def test_whatever_is_known_of_the_topics_two_replicas_have_one_quota_together(counts: dict[str, int]) -> None:
    shares = [
        Replica({"audiences": owns, "events": owns}).told(**counts)[Endpoint.TRACK] for owns in (range(5), range(5, 10))
    ]
    assert sum(shares) <= 1


def test_partitions_that_kafka_has_not_told_of_never_raise_the_share() -> None:
    counted = Replica({"audiences": range(5)}).told(audiences=10)[Endpoint.TRACK]
    replica = Replica({"audiences": range(5), "events": range(5)})
    assert replica.told(audiences=10)[Endpoint.TRACK] <= counted
    assert replica.told(audiences=10, events=10)[Endpoint.TRACK] == 0.5


async def test_while_what_is_on_the_wire_is_waited_for_nothing_of_a_leaving_partition_waits_for_a_schema() -> None:
    """It would be sent when the schema came, behind older ones that were given back unsent."""
    replica = Replica({"events": [0, 1]})
    left, stays = (Chunk(EVENTS._replace(partition=each), [Consumed(EVENTS, 5)]) for each in (0, 1))
    replica.unread = [left, stays]
    replica.on_wire = 1
    last: list[Sequence[Commit]] = []

    replica.stays.drain(Revoked([left.stay], 5.0, last.append))
    draining = asyncio.ensure_future(replica.work[0])
    await asyncio.sleep(0)

    assert last == []
    assert replica.unread == [stays]
    await draining
    assert [commit.stay for commit in last[0]] == [left.stay]
