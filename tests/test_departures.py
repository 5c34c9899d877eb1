"""What is asked of Braze next, and when."""

from __future__ import annotations

import pytest

from connector.braze import Endpoint
from connector.conclusion import Conclusion
from connector.limits import Rate
from connector.outcomes import Attempt
from tests.delivery_stage import (
    ACCEPTED,
    AT,
    DENIED,
    KEY_REFUSED,
    NO_CONNECTION,
    PAUSED,
    THROTTLED,
    TIME_OUT,
    UNAVAILABLE,
    Stage,
    distinct,
    offsets,
)
from tests.sent_objects import EVENTS, attributes, trigger


def test_what_is_ready_waits_for_the_quota_until_it_is_allowed_and_no_longer() -> None:
    stage = Stage(rate=Rate(1, 10.0))
    stage.delivery.batcher.add_events(distinct(80), stage.now)
    stage.sent()
    assert stage.request() is None

    stage.now += 4
    assert stage.request() is None  # looked at again meanwhile, for whatever reason
    stage.now += 6.5  # half a second late, which is not the quota's fault
    assert len(stage.sent().load) == 5

    assert stage.delivery.track.quota_wait_s(stage.now) == pytest.approx(10)
    assert stage.request() is None
    stage.now += 100
    assert stage.delivery.track.quota_wait_s(stage.now) == 0  # there is nothing to be sent
    assert stage.delivery.trigger.quota_wait_s(stage.now) == 0


def test_what_may_not_leave_for_another_reason_does_not_wait_for_the_quota() -> None:
    stage = Stage(rate=Rate(1, 10.0))
    stage.delivery.batcher.add_events(distinct(80), stage.now)
    stage.sent()
    stage.delivery.departures.next_due(stage.now, stage.at)

    stage.now += 1
    assert stage.delivery.departures.next_due(stage.now, stage.at, may_send=False) is None
    stage.now += 20

    assert stage.delivery.track.quota_wait_s(stage.now) == pytest.approx(1)


def test_work_that_lingers_waits_for_the_quota_from_its_own_time_on() -> None:
    track = Stage().delivery.track

    track.awaits_quota(due=103, allowed=110, now=100)

    assert [track.quota_wait_s(now) for now in (102, 105, 108, 120)] == [0, 2, 3, 2]


def test_campaigns_are_served_before_audiences() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("u", 0)], stage.now)
    stage.delivery.campaigns.add([trigger("u", 1)], stage.now)

    assert [stage.sent().endpoint, stage.sent().endpoint] == [Endpoint.TRIGGER, Endpoint.TRACK]


@pytest.mark.parametrize("attempt", [NO_CONNECTION, THROTTLED, TIME_OUT, KEY_REFUSED])
def test_a_trigger_past_its_time_is_never_sent_again(attempt: Attempt) -> None:
    stage = Stage(max_age_s=3600.0)
    expires = int((stage.at + 1) * 1000)
    old = int((stage.at - 3595) * 1000)
    stage.delivery.campaigns.add(
        [trigger("u", 0, expires_at_ms=expires), trigger("v", 1), trigger("w", 2, requested_at_ms=old)], stage.now
    )
    stage.answer(stage.sent(), attempt)
    stage.delivery.campaigns.add([trigger("u", 3)], stage.now)
    stage.now += 60.0

    again = stage.sent()

    assert offsets(again) == [1]
    assert [(record.offset, reason) for record, reason in stage.done.skipped] == [(0, "expired"), (2, "too_old")]
    stage.answer(again, ACCEPTED)
    assert offsets(stage.sent()) == [3]


def test_a_request_of_which_all_expired_is_not_sent() -> None:
    stage = Stage()
    stage.delivery.campaigns.add([trigger("u", 0, expires_at_ms=int((stage.at + 1) * 1000))], stage.now)
    stage.answer(stage.sent(), NO_CONNECTION)
    stage.now += 60.0

    assert stage.request() is None
    assert len(stage.done.skipped) == 1
    assert stage.delivery.trigger.in_hand == 0
    assert stage.delivery.campaigns._lanes == {}


def test_an_expired_probe_makes_room_for_the_next() -> None:
    stage = Stage()
    soon = int((stage.at + 20) * 1000)
    stage.delivery.campaigns.add([trigger("u", 0, expires_at_ms=soon), trigger("v", 1)], stage.now)
    stage.answer(stage.sent(), PAUSED)
    stage.now += 15.0
    stage.answer(stage.sent(), NO_CONNECTION)
    stage.now += 15.0

    assert offsets(stage.sent()) == [1]


def test_a_halted_channel_is_asked_with_one_request_at_a_time() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(75 * 3), stage.now)
    requests = [stage.sent() for _ in range(3)]
    for request in requests[:2]:
        stage.answer(request, DENIED)
    stage.now += 11.0
    assert stage.request() is None  # what was on the wire before the halt will tell, too

    stage.answer(requests[2], DENIED)
    assert stage.request() is None
    stage.now += 11.0
    probe = stage.sent()
    stage.now += 99.0
    assert stage.request() is None

    stage.answer(probe, UNAVAILABLE)  # says nothing about the cure
    assert stage.request() is None
    assert stage.delivery.track.halt is not None
    stage.now += 11.0
    stage.answer(stage.sent(), ACCEPTED)
    assert stage.delivery.track.halt is None
    stage.run(lambda _: ACCEPTED)
    assert sorted(stage.delivered) == list(range(75 * 3))


def test_a_halted_channel_with_nothing_to_ask_with_waits_for_news() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    request = stage.sent()
    stage.answer(request, KEY_REFUSED)
    assert stage.delivery.withdraw({EVENTS}, stage.now) == 0
    stage.now += 60.0

    assert stage.request() is None
    assert stage.delivery.departures.next_due(stage.now, stage.at) is None

    stage.delivery.campaigns.add([trigger("v", 5)], stage.now)
    assert stage.sent().endpoint is Endpoint.TRIGGER


def test_new_batches_wait_for_a_slot() -> None:
    stage = Stage(requests_max=2)
    stage.delivery.batcher.add_events(distinct(75 * 4), stage.now)
    first, _ = stage.sent(), stage.sent()
    assert stage.request() is None

    stage.answer(first, UNAVAILABLE)
    assert stage.request() is None  # it is still in hand
    stage.now += 10.0
    assert stage.sent() is first
    stage.answer(first, ACCEPTED)
    assert offsets(stage.sent()) == list(range(150, 225))


def test_draining_and_more_to_come_decide_about_an_unfilled_batch() -> None:
    stage = Stage()
    stage.delivery.batcher._linger_s = 1.0
    stage.delivery.batcher.add_events(distinct(1), stage.now)

    assert stage.delivery.departures.next_request(stage.now, stage.at, stage.done, coming={Endpoint.TRACK}) is None
    assert (
        stage.delivery.departures.next_due(stage.now, stage.at, coming={Endpoint.TRACK}) == stage.now + 1.0
    )  # not at once
    # What comes for the other endpoint is not waited for: a trigger does not linger for a backlog of audiences.
    campaigns = Stage()
    campaigns.delivery.campaigns._linger_s = 1.0
    campaigns.delivery.campaigns.add([trigger("u", 0)], campaigns.now)
    asked = campaigns.delivery.departures.next_request(
        campaigns.now, campaigns.at, campaigns.done, coming={Endpoint.TRACK}
    )
    assert asked is not None
    assert asked.endpoint is Endpoint.TRIGGER
    assert stage.delivery.departures.next_request(stage.now, stage.at, stage.done) is not None


def test_paused_campaigns_do_not_use_up_the_quota_of_the_others() -> None:
    """One of ten replicas may make seven requests a second; a hundred paused campaigns would want ten."""
    stage = Stage()
    stage.delivery.trigger.pool.set_share(0.1, stage.now, AT + stage.now)
    stage.delivery.campaigns.add([trigger(f"u{n}", n, f"paused-{n}") for n in range(100)], stage.now)
    began, asked, done = stage.now, 0, Conclusion()
    while stage.now < began + 3000:
        request = stage.delivery.departures.next_request(stage.now, AT + stage.now, done)
        if request is not None:
            asked += 1
            stage.delivery.conclude(request, PAUSED, stage.now, AT + stage.now)
        else:
            due = stage.delivery.departures.next_due(stage.now, AT + stage.now)
            assert due is not None
            stage.now = max(stage.now + 0.001, due)

    assert asked <= 100 * (3000 / 60 + 5)
    stage.delivery.campaigns.add([trigger("somebody", 1000, "running")], stage.now)
    sent = [stage.delivery.departures.next_request(stage.now, AT + stage.now, done) for _ in range(2)]
    assert "running" in [request.campaign_id for request in sent if request is not None]
