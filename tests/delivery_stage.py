"""A delivery with plenty of quota, in front of a Braze that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import orjson

from connector.batching import Batcher, TrackLimit
from connector.campaigns import CampaignBatcher
from connector.conclusion import Conclusion
from connector.delivery import Delivery, DeliveryPolicy
from connector.limits import Pool, Rate
from connector.outcomes import Attempt, NoReply, Reply, RetryPolicy
from connector.records import Assignment, Outbound
from connector.request import Request
from tests.sent_objects import AUDIENCES, CAMPAIGNS, EVENTS, event

AT = 1_790_000_000.0
OTHER_AUDIENCES = Assignment("audiences", 1, 1)
NOT_VALID = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."


def reply(status: int, **body: Any) -> Reply:
    return Reply(status, {}, orjson.dumps(body))


ACCEPTED = reply(201, message="success")
REFUSED = reply(400, message="something in here is bad")
TOO_MANY = reply(400, message="Max Input Length Exceeded")
UNAVAILABLE = reply(503)
KEY_REFUSED = reply(401, message="Invalid API key: x")
DENIED = reply(403, message="Access Denied")
THROTTLED = Reply(429, {"x-ratelimit-retry-after": "2"}, b"")
TIME_OUT = NoReply(sent=True, cause="time-out")
NO_CONNECTION = NoReply(sent=False, cause="connection refused")
PAUSED = reply(400, message="The campaign is paused. Resume the campaign in order for trigger requests to take effect.")


def named(status: int, *places: tuple[str, int], **more: Any) -> Reply:
    errors = [{"type": "BAD", "input_array": array, "index": index} for array, index in places]
    message = "success" if status < 300 else NOT_VALID
    return reply(status, message=message, errors=errors, **more)


class Stage:
    """A delivery with plenty of quota, a clock that the test moves, and what became of every record."""

    def __init__(
        self,
        *,
        ambiguous_events: Literal["retry", "dead_letter"] = "retry",
        campaigns: Literal["at_least_once", "at_most_once"] = "at_least_once",
        halvings_per_min: int = 10**6,
        limit: TrackLimit | None = None,
        settle_s: float = 0.0,
        parked_max: int = 100,
        requests_max: int = 8,
        max_age_s: float | None = None,
        rate: Rate | None = None,
    ) -> None:
        self.delivery = Delivery(
            Batcher(limit or TrackLimit(), settle_s, linger_s=0.0),
            CampaignBatcher(0.0, max_age_s, parked_max),
            Pool([rate or Rate(10**9, 1.0)]),
            Pool([Rate(10**9, 1.0)]),
            DeliveryPolicy(
                track_requests_max=requests_max,
                trigger_requests_max=requests_max,
                ambiguous_events=ambiguous_events,
                campaigns=campaigns,
                halvings_per_min=halvings_per_min,
                retry=RetryPolicy(1.0, 8.0),
                probe_s=10.0,
            ),
            jitter=lambda: 0.5,
        )
        self.now = 100.0
        self.requests = 0
        self.done = Conclusion()
        for stay in (AUDIENCES, OTHER_AUDIENCES, EVENTS, CAMPAIGNS):
            self.delivery.welcome(stay)

    @property
    def at(self) -> float:
        return AT + self.now

    def request(self) -> Request | None:
        """The next request that may leave now, as the transport would send it."""
        request = self.delivery.departures.next_request(self.now, self.at, self.done)
        if request is not None:
            self.requests += 1
            request.body()
        else:
            due = self.delivery.departures.next_due(self.now, self.at)
            assert due is None or due > self.now  # or its caller would spin
        return request

    def sent(self) -> Request:
        request = self.request()
        assert request is not None
        return request

    def answer(self, request: Request, attempt: Attempt) -> Conclusion:
        done = self.delivery.conclude(request, attempt, self.now, self.at)
        self.done.delivered += done.delivered
        self.done.coalesced += done.coalesced
        self.done.dead += done.dead
        self.done.skipped += done.skipped
        self.done.may_double += done.may_double
        return done

    def run(self, braze: Callable[[Request], Attempt], *, longest: int = 500) -> None:
        """Send and answer until nothing is left to be sent."""
        for _ in range(longest):
            request = self.request()
            if request is not None:
                self.answer(request, braze(request))
                continue
            due = self.delivery.departures.next_due(self.now, self.at)
            if due is None:
                return
            self.now = due
        raise AssertionError(f"still sending after {longest} turns")

    @property
    def delivered(self) -> list[int]:
        return [record.offset for record in self.done.delivered]

    @property
    def dead(self) -> list[tuple[int, str]]:
        return [(letter.record.offset, letter.reason) for letter in self.done.dead]


def offsets(request: Request) -> list[int]:
    assert request.record_count == len(request.records)
    return [record.offset for record in request.records]


def culprits(*bad: int) -> Callable[[Request], Attempt]:
    """A Braze that refuses every request with one of these records, without a word on which it is."""
    return lambda request: REFUSED if set(bad) & set(offsets(request)) else ACCEPTED


def distinct(count: int) -> list[Outbound]:
    return [event(f"u{n}", n) for n in range(count)]
