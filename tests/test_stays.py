"""Partitions that come and go, with only those parts around them that they touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from connector.books import Books
from connector.braze import Endpoint
from connector.intake import Intake
from connector.ports import Assigned, StayStart
from connector.records import Assignment, Kind
from connector.stays import Stays
from connector.telemetry import Telemetry

KINDS = {"audiences": Kind.AUDIENCE, "events": Kind.EVENT, "campaigns": Kind.CAMPAIGN}


class Replica:
    """The stays of one process, and the share of each quota that follows from them."""

    def __init__(self, owned: Mapping[str, Sequence[int]]) -> None:
        self.share: dict[Endpoint, float] = {}
        books = Books(KINDS, 0.0)
        parts: dict[str, Any] = {
            "delivery": SimpleNamespace(channels=[self._channel(each) for each in Endpoint], welcome=lambda _: None),
            "committer": SimpleNamespace(renew=lambda _: None),
            "clock": SimpleNamespace(now=lambda: 1.0, at=lambda: 1.0, boot=lambda: 1.0),
        }
        self._stays = Stays(
            **parts,
            books=books,
            repeats=None,  # type: ignore[arg-type]  # nothing leaves here
            settlement=None,  # type: ignore[arg-type]
            intake=Intake(KINDS),
            unread=None,  # type: ignore[arg-type]
            wake=lambda: None,
            spawn=lambda _: None,
            telemetry=Telemetry(output=None),
        )
        starts = [StayStart(Assignment(topic, each, 1), 0, "") for topic, owns in owned.items() for each in owns]
        self._stays.open(Assigned(starts))

    def _channel(self, endpoint: Endpoint) -> Any:
        def set_share(share: float, _now: float) -> None:
            self.share[endpoint] = share

        return SimpleNamespace(endpoint=endpoint, pool=SimpleNamespace(set_share=set_share))

    def told(self, **counts: int) -> dict[Endpoint, float]:
        self._stays.share_quota(counts)
        return self.share


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
