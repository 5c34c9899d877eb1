"""What answers mean: who is delivered, who dies, what is asked again, what halts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.batching import TrackLimit
from connector.braze import Endpoint
from connector.conclusion import Conclusion
from connector.outcomes import CALLED_OFF, Attempt, NoReply, Reply
from connector.records import Assignment, Outbound
from connector.request import Request
from tests.cycles import found_by_the_collector
from tests.delivery_stage import (
    ACCEPTED,
    DENIED,
    KEY_REFUSED,
    NO_CONNECTION,
    OTHER_AUDIENCES,
    PAUSED,
    REFUSED,
    THROTTLED,
    TIME_OUT,
    TOO_MANY,
    UNAVAILABLE,
    Stage,
    culprits,
    distinct,
    named,
    offsets,
    reply,
)
from tests.sent_objects import AUDIENCES, CAMPAIGNS, EVENTS, attributes, event, trigger

# ---- accepted --------------------------------------------------------------------------------------------------------


def test_what_is_accepted_is_delivered_and_the_older_of_an_object_are_coalesced() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("u", n) for n in range(3)], stage.now)

    done = stage.answer(stage.sent(), ACCEPTED)

    assert [record.offset for record in done.delivered] == [2]
    assert [record.offset for record in done.coalesced] == [0, 1]
    assert stage.delivery.track.in_hand == 0


# ---- exact blame -----------------------------------------------------------------------------------------------------


def test_named_objects_of_a_201_die_and_the_rest_is_delivered() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("a", 0), attributes("b", 1)], stage.now)
    stage.delivery.batcher.add_events([event("a", 10), event("c", 11)], stage.now)
    request = stage.sent()
    assert offsets(request) == [0, 10, 1, 11]  # an index counts inside its array, not over the request

    stage.answer(request, named(201, ("attributes", 1), ("events", 0)))

    assert stage.delivered == [0, 11]
    assert stage.dead == [(10, "refused"), (1, "refused")]
    assert stage.request() is None


def test_named_objects_of_a_400_die_and_the_rest_is_sent_again() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(4), stage.now)
    stage.answer(stage.sent(), named(400, ("events", 1), ("events", 3)))
    assert stage.delivered == []

    again = stage.sent()
    assert offsets(again) == [0, 2]

    stage.answer(again, ACCEPTED)
    assert stage.delivered == [0, 2]
    assert stage.dead == [(1, "refused"), (3, "refused")]


def test_one_named_and_one_unplaced_error_blame_the_right_two() -> None:
    # The named attributes object lies in an array that the counts clear of anything more.
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("a", 0), attributes("b", 1)], stage.now)
    stage.delivery.batcher.add_events([event("c", 10), event("d", 11)], stage.now)
    errors = [{"type": "BAD", "input_array": "attributes", "index": 0}, {"type": "BAD"}]
    request = stage.sent()
    stage.answer(request, reply(201, message="success", errors=errors, attributes_processed=1, events_processed=1))

    assert (stage.delivered, stage.dead) == ([1], [(0, "refused")])
    stage.run(culprits(11))
    assert sorted(stage.delivered) == [1, 10]
    assert stage.dead == [(0, "refused"), (11, "refused")]
    assert stage.done.may_double == 2


def test_who_is_left_by_exclusion_is_asked_about_before_it_dies() -> None:
    # The unplaced entry may be about the named object once more: a good record must not die for it.
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(2), stage.now)
    errors = [{"type": "BAD", "input_array": "events", "index": 0}, {"type": "and again"}]
    stage.answer(stage.sent(), reply(201, message="success", errors=errors))
    stage.run(culprits(0))

    assert (stage.delivered, stage.dead) == ([1], [(0, "refused")])


def test_an_unplaced_error_about_a_lone_object_is_about_it() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    stage.answer(stage.sent(), reply(201, message="success", errors=["bad"]))

    assert stage.dead == [(0, "refused")]
    assert stage.done.may_double == 0


def test_events_that_may_have_been_accepted_with_a_culprit_are_the_operator_s_choice() -> None:
    stage = Stage(ambiguous_events="dead_letter")
    stage.delivery.batcher.add_attributes([attributes("a", 0), attributes("b", 1)], stage.now)
    stage.delivery.batcher.add_events([event("c", 10), event("d", 11)], stage.now)
    stage.answer(stage.sent(), reply(201, message="success", errors=["bad"]))
    stage.run(culprits(1))

    assert sorted(stage.dead) == [(1, "refused"), (10, "ambiguous"), (11, "ambiguous")]
    assert stage.delivered == [0]


@pytest.mark.parametrize("culprit", range(75))
def test_one_culprit_among_75_users_costs_at_most_14_more_requests(culprit: int) -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(75), stage.now)
    stage.run(culprits(culprit))

    assert stage.dead == [(culprit, "refused")]
    assert sorted(stage.delivered) == [n for n in range(75) if n != culprit]
    assert stage.requests - 1 <= 14


@given(st.sets(st.integers(0, 74), min_size=1, max_size=75))
def test_each_culprit_costs_at_most_14_more_requests(bad: set[int]) -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(75), stage.now)
    stage.run(culprits(*bad), longest=2000)

    assert sorted(offset for offset, _ in stage.dead) == sorted(bad)
    assert stage.requests - 1 <= 14 * len(bad)


def test_the_thousandth_of_a_kind_that_is_always_refused_costs_no_halving() -> None:
    stage = Stage()
    for first in range(0, 1200, 60):
        good = [event(f"u{n}", n) for n in range(first, first + 45)]
        bad = [event(f"u{n}", n) for n in range(first + 45, first + 60)]
        for each in bad:
            each.object["name"] = "always refused"
        stage.delivery.batcher.add_events([*good, *bad], stage.now)
        before = stage.requests
        stage.run(lambda request: REFUSED if any(r.offset % 60 >= 45 for r in request.records) else ACCEPTED)
        asked = stage.requests - before

    assert asked <= 15 + 2  # one each, and what the good ones need
    assert len(stage.dead) == 300
    assert len(stage.delivered) == 900


def test_who_looks_like_a_culprit_travels_apart_and_is_delivered_all_the_same() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(75), stage.now)
    stage.run(culprits(3))
    stage.delivery.batcher.add_events([event(f"v{n}", 100 + n) for n in range(20)], stage.now)
    other = [event(f"w{n}", 200 + n) for n in range(20)]
    for each in other:
        each.object["name"] = "unlike"
    stage.delivery.batcher.add_events(other, stage.now)

    loads = []
    while (request := stage.request()) is not None:
        loads.append((request.suspect is not None, offsets(request)))
        stage.answer(request, ACCEPTED)

    apart = [each for suspect, each in loads if suspect]
    assert [len(each) for each in apart] == [8, 10, 2]  # a little more after each acceptance
    assert [each for suspect, each in loads if not suspect] == [list(range(200, 220))]
    assert stage.dead == [(3, "refused")]


def test_looking_for_culprits_is_bounded_by_the_minute_and_loses_nobody() -> None:
    stage = Stage(halvings_per_min=20)
    stage.delivery.batcher.add_events(distinct(75), stage.now)
    began = stage.now
    stage.run(culprits(*range(0, 75, 5)))

    assert sorted(offset for offset, _ in stage.dead) == list(range(0, 75, 5))
    assert stage.requests - 1 <= 20 * (2 + (stage.now - began) / 60)
    assert stage.now > began + 60


def with_halves_that_wait() -> Stage:
    """For the next minute; somebody else has something to send."""
    stage = Stage(halvings_per_min=2, requests_max=2, limit=TrackLimit(8))
    bad = distinct(16)
    for each in bad:
        each.object["name"] = f"unlike-{each.offset}"
    stage.delivery.batcher.add_events(bad, stage.now)
    while (request := stage.request()) is not None:
        stage.answer(request, REFUSED)
    stage.delivery.batcher.add_attributes([attributes("innocent", 100)], stage.now)
    return stage


def test_halves_that_wait_for_their_minute_keep_no_others_waiting() -> None:
    stage = with_halves_that_wait()
    assert offsets(stage.sent()) == [100]


def test_halves_wait_for_their_minute_also_when_a_halt_ends() -> None:
    stage = with_halves_that_wait()
    stage.answer(stage.sent(), DENIED)
    stage.now += 15.0
    probe = stage.sent()
    assert offsets(probe) == [100]
    stage.answer(probe, ACCEPTED)

    assert stage.request() is None
    stage.delivery.batcher.add_attributes([attributes("another", 101)], stage.now)
    assert offsets(stage.sent()) == [101]


@pytest.mark.parametrize("campaigns", ["at_least_once", "at_most_once"])
def test_a_502_is_a_doubt_where_once_is_the_most(campaigns: Literal["at_least_once", "at_most_once"]) -> None:
    stage = Stage(campaigns=campaigns)
    stage.delivery.campaigns.add([trigger("u", 0)], stage.now)
    stage.answer(stage.sent(), reply(502))

    assert stage.dead == ([(0, "ambiguous")] if campaigns == "at_most_once" else [])


def test_halves_of_different_users_leave_side_by_side() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(4), stage.now)
    stage.answer(stage.sent(), REFUSED)

    assert [offsets(stage.sent()), offsets(stage.sent())] == [[0, 1], [2, 3]]


def test_a_cut_falls_between_users() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event("a", 0), event("b", 1), event("b", 2), event("b", 3)], stage.now)
    stage.answer(stage.sent(), REFUSED)

    assert [offsets(stage.sent()), offsets(stage.sent())] == [[0], [1, 2, 3]]


def test_a_run_of_one_user_is_halved_in_order() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event("u", n) for n in range(8)], stage.now)
    stage.answer(stage.sent(), REFUSED)

    first = stage.sent()
    assert offsets(first) == [0, 1, 2, 3]
    assert stage.request() is None  # the other half waits for it
    stage.answer(first, UNAVAILABLE)
    assert stage.request() is None

    stage.run(culprits(5))
    assert stage.delivered == [0, 1, 2, 3, 4, 6, 7]
    assert stage.dead == [(5, "refused")]


def test_a_coalesced_culprit_is_found_by_halving_its_records() -> None:
    stage = Stage(settle_s=5.0)
    stage.delivery.batcher.add_attributes([attributes("u", n) for n in range(8)], stage.now)
    stage.delivery.batcher.add_attributes([attributes("v", 20)], stage.now)

    def braze(request: Request) -> Attempt:
        bad = [n for n, piece in enumerate(request.load) if 5 in {record.offset for record in piece.records}]
        return named(201 if len(request.load) > 1 else 400, *(("attributes", n) for n in bad)) if bad else ACCEPTED

    stage.run(braze)

    assert stage.dead == [(5, "refused")]
    ended = sorted(stage.delivered + [record.offset for record in stage.done.coalesced])
    assert ended == [0, 1, 2, 3, 4, 6, 7, 20]
    assert [n for n in stage.delivered if n != 20] == sorted(n for n in stage.delivered if n != 20)


# ---- too large -------------------------------------------------------------------------------------------------------


def test_too_many_objects_lower_the_limit_for_good() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(150), stage.now)
    stage.run(lambda request: TOO_MANY if len(request.load) > 50 else ACCEPTED)

    assert stage.delivery.batcher.limit.objects == 37
    assert sorted(stage.delivered) == list(range(150))

    stage.delivery.batcher.add_events(distinct(75), stage.now)
    assert len(stage.sent().load) == 37


def test_requests_that_were_refused_side_by_side_lower_the_limit_once() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(8 * 75), stage.now)
    on_wire = [stage.sent() for _ in range(8)]
    for request in on_wire:
        stage.answer(request, TOO_MANY)

    assert stage.delivery.batcher.limit.objects == 37


def test_a_limit_per_array_is_lowered_by_the_larger_array() -> None:
    stage = Stage(limit=TrackLimit(objects=75, per_array=True))
    stage.delivery.batcher.add_attributes([attributes(f"u{n}", n) for n in range(75)], stage.now)
    stage.delivery.batcher.add_events(distinct(40), stage.now)
    stage.answer(stage.sent(), TOO_MANY)

    assert stage.delivery.batcher.limit == TrackLimit(objects=37, per_array=True)


def test_too_many_recipients_lower_their_limit_once() -> None:
    stage = Stage()
    stage.delivery.campaigns.add([trigger(f"u{n}", n) for n in range(100)], stage.now)
    for request in [stage.sent(), stage.sent()]:
        stage.answer(request, TOO_MANY)

    assert stage.delivery.campaigns.recipients_max == 25


def test_too_heavy_bodies_lower_the_bound_on_bytes_once() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event(f"u{n}", n, pad=500) for n in range(150)], stage.now)
    requests = [stage.sent(), stage.sent()]
    for request in requests:
        stage.answer(request, Reply(413, {}, b""))

    assert stage.delivery.batcher.limit.body_bytes == min(request.body_bytes for request in requests) // 2
    assert stage.delivery.batcher.limit.objects == 75
    stage.run(lambda _: ACCEPTED)
    assert sorted(stage.delivered) == list(range(150))


def test_an_object_that_is_too_large_alone_is_the_culprit() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event("u", 0, pad=900), event("v", 1)], stage.now)
    stage.run(lambda request: Reply(413, {}, b"") if request.body_bytes > 900 else ACCEPTED)

    assert (stage.delivered, stage.dead) == ([1], [(0, "object_too_large")])


# ---- not the record's fault ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attempt", [UNAVAILABLE, NO_CONNECTION, THROTTLED, KEY_REFUSED, DENIED, reply(404), reply(415)]
)
def test_what_was_surely_not_processed_is_sent_again_as_it_was_without_end(attempt: Attempt) -> None:
    stage = Stage(ambiguous_events="dead_letter")
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("u", 1)], stage.now)
    stage.delivery.batcher.add_events([event("u", 10)], stage.now)
    bodies = set()
    for _ in range(40):
        request = stage.sent()
        bodies.add(request.body())
        stage.answer(request, attempt)
        stage.delivery.batcher.add_attributes([attributes("u", 2)], stage.now)  # nothing newer joins it
        assert stage.request() is None
        due = stage.delivery.departures.next_due(stage.now, stage.at)
        assert due is not None
        stage.now = due

    assert len(bodies) == 1
    assert (stage.delivered, stage.dead, stage.done.may_double) == ([], [], 0)


def test_backoff_grows_and_is_bounded() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    waits = []
    for _ in range(6):
        stage.answer(stage.sent(), NO_CONNECTION)
        due = stage.delivery.departures.next_due(stage.now, stage.at)
        assert due is not None
        waits.append(due - stage.now)
        stage.now = due

    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]  # half (the jitter) of 1, 2, 4, 8, 8, 8


def test_a_429_freezes_its_channel_alone() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    stage.answer(stage.sent(), THROTTLED)
    stage.delivery.batcher.add_events([event("v", 9)], stage.now)
    stage.delivery.campaigns.add([trigger("u", 5)], stage.now)

    assert stage.sent().endpoint is Endpoint.TRIGGER
    assert stage.request() is None
    due = stage.delivery.departures.next_due(stage.now, stage.at)
    assert due is not None
    assert 102.0 <= due <= 102.5


def test_an_attribute_request_without_an_answer_is_repeated_byte_for_byte() -> None:
    stage = Stage(ambiguous_events="retry")
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("u", 1), attributes("v", 2)], stage.now)
    stage.delivery.batcher.add_events([event("w", 10)], stage.now)
    request = stage.sent()
    body = request.body()
    stage.answer(request, TIME_OUT)
    stage.delivery.batcher.add_attributes([attributes("u", 3)], stage.now)
    stage.now += 60

    again = stage.sent()
    assert again.body() == body
    stage.answer(again, ACCEPTED)
    assert stage.done.may_double == 1  # the event; an attribute written twice is written once
    assert (stage.dead, sorted(stage.delivered)) == ([], [1, 2, 10])


def test_events_without_an_answer_die_if_the_operator_says_so_and_attributes_never() -> None:
    stage = Stage(ambiguous_events="dead_letter")
    stage.delivery.batcher.add_attributes([attributes("u", 0)], stage.now)
    stage.delivery.batcher.add_events([event("u", 10), event("v", 11)], stage.now)
    stage.answer(stage.sent(), TIME_OUT)
    stage.run(lambda _: ACCEPTED)

    assert stage.dead == [(10, "ambiguous"), (11, "ambiguous")]
    assert stage.delivered == [0]
    assert stage.done.may_double == 0


@pytest.mark.parametrize(
    "value", [{"inc": 1}, {"$add": [{"id": 1}]}, {"add": ["a"]}, {"inc": 1, "add": []}, {"a": 1}, 1]
)
def test_a_step_of_an_attribute_without_an_answer_is_counted_as_what_may_double(value: Any) -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("u", 0, visits=value, plain=True)], stage.now)
    stage.answer(stage.sent(), TIME_OUT)

    assert stage.done.may_double == (isinstance(value, dict) and not value.keys().isdisjoint({"inc", "$add"}))


def test_triggers_without_an_answer_are_sent_again_and_counted() -> None:
    stage = Stage(ambiguous_events="dead_letter")
    stage.delivery.campaigns.add([trigger("u", 0), trigger("v", 1)], stage.now)
    stage.answer(stage.sent(), TIME_OUT)
    stage.run(lambda _: ACCEPTED)

    assert (stage.delivered, stage.dead, stage.done.may_double) == ([0, 1], [], 2)


@pytest.mark.parametrize("attempt", [TIME_OUT, Reply(500, {}, b""), reply(200)])
def test_a_trigger_that_is_sent_once_at_most_dies_of_an_unclear_answer(attempt: Attempt) -> None:
    stage = Stage(campaigns="at_most_once")
    stage.delivery.campaigns.add([trigger("u", 0), trigger("v", 1)], stage.now)
    request = stage.sent()
    assert stage.delivery.must_claim(request)
    stage.answer(request, attempt)

    assert stage.dead == [(0, "ambiguous"), (1, "ambiguous")]
    assert stage.done.may_double == 0
    assert stage.request() is None


@pytest.mark.parametrize("attempt", [NO_CONNECTION, UNAVAILABLE, THROTTLED, DENIED])
def test_a_trigger_that_surely_was_not_sent_is_tried_again_also_when_once_is_the_most(attempt: Attempt) -> None:
    stage = Stage(campaigns="at_most_once")
    stage.delivery.campaigns.add([trigger("u", 0)], stage.now)
    stage.answer(stage.sent(), attempt)
    stage.run(culprits())

    assert stage.delivered == [0]


def test_only_triggers_are_claimed_and_only_if_the_operator_says_so() -> None:
    careful, usual = Stage(campaigns="at_most_once"), Stage()
    careful.delivery.batcher.add_events([event("u", 0)], careful.now)
    usual.delivery.campaigns.add([trigger("u", 0)], usual.now)

    assert not careful.delivery.must_claim(careful.sent())
    assert not usual.delivery.must_claim(usual.sent())


def test_the_settle_time_runs_from_the_end_of_the_last_attempt() -> None:
    stage = Stage(settle_s=5.0)
    stage.delivery.batcher.add_attributes([attributes("u", 0)], stage.now)
    stage.answer(stage.sent(), TIME_OUT)
    stage.delivery.batcher.add_attributes([attributes("u", 1)], stage.now)
    stage.now = 200.0
    again = stage.sent()
    stage.now = 230.0
    stage.answer(again, ACCEPTED)

    assert stage.request() is None
    assert stage.delivery.departures.next_due(stage.now, stage.at) == 235.0


def test_what_braze_refused_as_a_whole_starts_no_settle_time() -> None:
    stage = Stage(settle_s=5.0)
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("v", 1)], stage.now)
    stage.answer(stage.sent(), named(400, ("attributes", 0)))
    stage.delivery.batcher.add_attributes([attributes("u", 2), attributes("v", 3)], stage.now)

    alone = stage.sent()
    assert offsets(alone) == [1]
    assert offsets(stage.sent()) == [2]
    stage.answer(alone, REFUSED)
    assert offsets(stage.sent()) == [3]


def test_what_braze_refused_by_name_starts_no_settle_time() -> None:
    stage = Stage(settle_s=5.0)
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("u", 1), attributes("v", 2)], stage.now)
    stage.answer(stage.sent(), named(201, ("attributes", 0)))
    stage.delivery.batcher.add_attributes([attributes("v", 3)], stage.now)

    assert offsets(stage.sent()) == [0]  # the first half of what was taken apart; v waits
    assert stage.request() is None


@pytest.mark.parametrize("earlier", [TIME_OUT, UNAVAILABLE])
def test_a_settle_time_once_begun_outlives_the_halving(earlier: Attempt) -> None:
    stage = Stage(settle_s=5.0)
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("v", 1)], stage.now)
    stage.answer(stage.sent(), earlier)
    stage.now += 60.0
    stage.answer(stage.sent(), REFUSED)
    halves = [stage.sent(), stage.sent()]
    for half in halves:
        stage.answer(half, REFUSED)
    assert len(stage.dead) == 2
    stage.delivery.batcher.add_attributes([attributes("u", 2), attributes("v", 3)], stage.now)

    assert stage.request() is None
    stage.now += 5.0
    assert offsets(stage.sent()) == [2, 3]


# ---- halts -----------------------------------------------------------------------------------------------------------


def both_kinds(stage: Stage) -> tuple[Request, Request]:
    """A trigger and an event, each on the wire."""
    stage.delivery.campaigns.add([trigger("u", 5)], stage.now)
    stage.delivery.batcher.add_events([event("u", 0)], stage.now)
    return stage.sent(), stage.sent()


def test_a_refused_key_halts_both_channels() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    stage.answer(stage.sent(), KEY_REFUSED)
    stage.delivery.campaigns.add([trigger("v", 5)], stage.now)

    assert stage.request() is None
    assert [channel.halt is not None for channel in stage.delivery.channels] == [True, True]


@pytest.mark.parametrize("good", [ACCEPTED, REFUSED, named(201, ("events", 0)), TOO_MANY])
def test_any_answer_that_is_no_refusal_of_ours_cures_a_key_on_both_channels(good: Reply) -> None:
    stage = Stage()
    campaign, track = both_kinds(stage)
    stage.answer(campaign, KEY_REFUSED)
    stage.answer(track, good)

    assert [channel.halt for channel in stage.delivery.channels] == [None, None]
    assert stage.sent().endpoint is Endpoint.TRIGGER  # at once


def test_a_paused_campaign_proves_that_the_key_works() -> None:
    stage = Stage()
    campaign, track = both_kinds(stage)
    stage.answer(track, KEY_REFUSED)
    stage.answer(campaign, PAUSED)

    assert [channel.halt for channel in stage.delivery.channels] == [None, None]


def test_a_halt_of_which_nothing_is_left_to_ask_with_is_forgotten_and_no_other() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event("u", 0)], stage.now)
    stage.answer(stage.sent(), DENIED)
    stage.delivery.forget_halts()
    assert stage.delivery.track.halt is not None

    stage.delivery.withdraw({EVENTS}, stage.now)
    stage.delivery.forget_halts()
    assert stage.delivery.track.halt is None

    stage.delivery.campaigns.add([trigger("u", 0)], stage.now)
    stage.answer(stage.sent(), KEY_REFUSED)
    stage.delivery.forget_halts()
    assert [channel.halt is not None for channel in stage.delivery.channels] == [True, True]  # the key is one


def test_a_missing_permission_halts_one_endpoint_and_its_cure_is_its_own() -> None:
    stage = Stage()
    campaign, track = both_kinds(stage)
    stage.answer(campaign, DENIED)
    stage.answer(track, ACCEPTED)

    assert stage.delivery.trigger.halt is not None
    assert stage.delivery.track.halt is None
    stage.now += 15.0
    stage.answer(stage.sent(), ACCEPTED)
    assert stage.delivery.trigger.halt is None


def test_a_new_key_that_lacked_a_permission_first_cures_both_channels_in_the_end() -> None:
    """The other one may have nothing to ask with, and would be halted for as long as this one is busy."""
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    for refusal in (KEY_REFUSED, DENIED):
        stage.answer(stage.sent(), refusal)
        stage.now += 15.0
    stage.answer(stage.sent(), ACCEPTED)

    assert [channel.halt for channel in stage.delivery.channels] == [None, None]


def test_a_halt_remembers_when_it_began() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(1), stage.now)
    for _ in range(3):
        stage.answer(stage.sent(), DENIED)
        stage.now += 15.0

    assert stage.delivery.track.halt is not None
    assert stage.delivery.track.halt.since == 100.0


# ---- campaigns that braze does not send ------------------------------------------------------------------------------


def test_an_unavailable_campaign_is_parked_alone_and_never_halved() -> None:
    stage = Stage()
    stage.delivery.campaigns.add([trigger(f"u{n}", n, "paused") for n in range(4)], stage.now)
    stage.answer(stage.sent(), PAUSED)
    stage.delivery.campaigns.add([trigger("u0", 9, "running")], stage.now)

    running = stage.sent()
    assert (running.campaign_id, offsets(running)) == ("running", [9])
    stage.answer(running, ACCEPTED)
    assert stage.request() is None

    stage.now += 15.0
    probe = stage.sent()
    assert offsets(probe) == [0]
    stage.answer(probe, ACCEPTED)
    assert offsets(stage.sent()) == [1, 2, 3]
    assert stage.dead == []


def test_replicas_that_were_refused_together_do_not_ask_together() -> None:
    stage = Stage()
    stage.delivery._jitter = lambda: 1.0
    stage.delivery.campaigns.add([trigger("u", 0)], stage.now)
    stage.answer(stage.sent(), PAUSED)

    assert stage.delivery.departures.next_due(stage.now, stage.at) == stage.now + 12.5


def test_triggers_beyond_the_bound_of_a_parked_campaign_die() -> None:
    stage = Stage(parked_max=2)
    stage.delivery.campaigns.add([trigger(f"u{n}", n) for n in range(4)], stage.now)
    stage.answer(stage.sent(), PAUSED)

    assert sorted(stage.dead) == [(2, "campaign_unavailable"), (3, "campaign_unavailable")]


def test_a_bad_recipient_of_a_probe_is_no_reason_to_stay_parked() -> None:
    stage = Stage()
    stage.delivery.campaigns.add([trigger("u", 0), trigger("v", 1)], stage.now)
    stage.answer(stage.sent(), PAUSED)
    stage.now += 15.0
    stage.answer(stage.sent(), REFUSED)

    assert stage.dead == [(0, "refused")]
    assert offsets(stage.sent()) == [1]


# ---- partitions that leave -------------------------------------------------------------------------------------------


def test_what_waits_to_be_sent_again_is_withdrawn_with_its_partition() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("v", 1, OTHER_AUDIENCES)], stage.now)
    stage.delivery.batcher.add_events([event("u", 10)], stage.now)
    stage.answer(stage.sent(), NO_CONNECTION)

    assert stage.delivery.withdraw({AUDIENCES, EVENTS}, stage.now) == 0
    stage.now += 60.0

    again = stage.sent()
    assert offsets(again) == [1]
    stage.answer(again, ACCEPTED)
    assert stage.request() is None
    assert (stage.delivered, stage.dead) == ([1], [])


def test_what_may_have_been_applied_is_told_when_its_partition_leaves() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("v", 1, OTHER_AUDIENCES)], stage.now)
    stage.answer(stage.sent(), TIME_OUT)

    assert stage.delivery.withdraw({AUDIENCES}, stage.now) == 1


def test_what_may_have_been_applied_stays_so_when_it_is_halved() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes([attributes("u", 0), attributes("v", 1)], stage.now)
    stage.answer(stage.sent(), TIME_OUT)
    stage.now += 60.0
    stage.answer(stage.sent(), REFUSED)

    assert stage.delivery.withdraw({AUDIENCES}, stage.now) == 2


def test_an_object_of_two_partitions_goes_on_without_the_one_that_left() -> None:
    stage = Stage()
    stage.delivery.batcher.add_attributes(
        [attributes("u", 0), attributes("u", 1, OTHER_AUDIENCES), attributes("u", 2)], stage.now
    )
    stage.answer(stage.sent(), NO_CONNECTION)
    stage.delivery.withdraw({AUDIENCES}, stage.now)

    again = stage.sent()
    assert orjson.loads(again.body()) == {"attributes": [{"external_id": "u", "n1": True}]}
    stage.answer(again, ACCEPTED)
    assert (stage.delivered, stage.done.coalesced) == ([1], [])


def test_what_is_on_the_wire_when_its_partition_leaves_still_gets_its_fate() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(3), stage.now)
    request = stage.sent()
    stage.delivery.withdraw({EVENTS}, stage.now)
    assert stage.delivery.on_wire({EVENTS}) == 3

    stage.answer(request, named(201, ("events", 1)))

    assert (stage.delivered, stage.dead) == ([0, 2], [(1, "refused")])
    assert stage.delivery.on_wire({EVENTS}) == 0


@pytest.mark.parametrize("attempt", [NO_CONNECTION, TIME_OUT, REFUSED, TOO_MANY, DENIED, THROTTLED])
def test_what_comes_home_undone_after_its_partition_left_is_not_sent_again(attempt: Attempt) -> None:
    stage = Stage()
    stage.delivery.batcher.add_events(distinct(4), stage.now)
    stage.delivery.campaigns.add([trigger("u", 7), trigger("v", 8)], stage.now)
    requests = [stage.sent(), stage.sent()]
    stage.delivery.withdraw({EVENTS, CAMPAIGNS}, stage.now)
    for request in requests:
        stage.answer(request, attempt)
    stage.now += 600.0

    assert stage.request() is None
    assert [channel.in_hand for channel in stage.delivery.channels] == [0, 0]
    assert (stage.delivered, stage.dead) == ([], [])


def test_the_rest_of_a_halved_run_leaves_with_its_partition() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event("u", n) for n in range(4)], stage.now)
    stage.answer(stage.sent(), REFUSED)
    half = stage.sent()
    stage.delivery.withdraw({EVENTS}, stage.now)
    stage.answer(half, ACCEPTED)

    assert stage.request() is None
    assert stage.delivered == [0, 1]
    assert stage.delivery.batcher._lanes == {}


@pytest.mark.parametrize(
    "answers",
    [
        [ACCEPTED],
        [named(201, ("attributes", 0), ("events", 3)), ACCEPTED],
        [REFUSED, ACCEPTED],
        [TOO_MANY, ACCEPTED],
        [UNAVAILABLE, THROTTLED, TIME_OUT, NO_CONNECTION, KEY_REFUSED, ACCEPTED],
    ],
)
def test_what_flows_holds_no_cycles(answers: list[Attempt]) -> None:
    stage = Stage()

    with found_by_the_collector() as found:
        for turn in range(5):
            stage.delivery.batcher.add_attributes([attributes(f"u{n}", turn * 100 + n) for n in range(50)], stage.now)
            stage.delivery.batcher.add_events([event(f"u{n}", turn * 100 + n) for n in range(50)], stage.now)
            coming = iter(answers)
            stage.run(lambda _request, coming=coming: next(coming, ACCEPTED))  # type: ignore[misc]

    assert not {"Outbound", "Piece", "Request", "Lane", "Conclusion", "DeadLetter"} & found.keys()


# ---- against a braze that answers anything ---------------------------------------------------------------------------

USERS = ("u", "v", "w", "x")
NAMES = ("one", "two")
SETTLE_S = 2.0
ANSWERS: dict[str, Attempt] = {
    "too many": TOO_MANY,
    "heavy": Reply(413, {}, b""),
    "503": UNAVAILABLE,
    "429": THROTTLED,
    "401": KEY_REFUSED,
    "403": DENIED,
    "no connection": NO_CONNECTION,
    "500": Reply(500, {}, b"<html>"),
    "504 applied": Reply(504, {}, b""),
    "unreadable, applied": Reply(200, {}, b""),
    "lost": TIME_OUT,
    "lost, applied": TIME_OUT,
}


class DeliveryAgainstAnyBraze(RuleBasedStateMachine):
    """Whatever a Braze answers, as long as it does not lie, every record gets one right end, in order."""

    @initialize(
        ambiguous_events=st.sampled_from(["retry", "dead_letter"]),
        limit=st.sampled_from([TrackLimit(1), TrackLimit(4), TrackLimit(75), TrackLimit(3, per_array=True)]),
        parked_max=st.sampled_from([1, 100]),
    )
    def begin(self, ambiguous_events: Literal["retry", "dead_letter"], limit: TrackLimit, parked_max: int) -> None:
        self.stage = Stage(
            ambiguous_events=ambiguous_events, limit=limit, parked_max=parked_max, settle_s=SETTLE_S, requests_max=2
        )
        self.delivery = self.stage.delivery
        self.objects_max = max(limit.objects * (2 if limit.per_array else 1), 50)
        self.ambiguous_events = ambiguous_events
        self.offset = 0
        self.alive: dict[Outbound, str] = {}  # and whether Braze finds it good, bad with a name, or bad without
        self.nature: dict[Outbound, str] = {}
        self.on_wire: list[Request] = []
        self.applied: dict[tuple[Any, ...], list[int]] = {}  # lane -> offsets in the order in which Braze applied them
        self.accepted: set[Outbound] = set()
        self.paused: set[str] = set()
        self.attempted: dict[str, tuple[float, set[Outbound]]] = {}  # user -> end of his last write, and of what
        self.fated = Conclusion()

    def made(self, record: Outbound, nature: str) -> Outbound:
        self.alive[record] = self.nature[record] = nature
        return record

    def number(self) -> int:
        self.offset += 1
        return self.offset

    natures = st.sampled_from(["good", "good", "good", "named", "unnamed"])
    crowds = st.lists(st.tuples(st.sampled_from(USERS), natures), min_size=1, max_size=6)

    @rule(who=crowds, second=st.booleans(), hold_s=st.sampled_from([0.0, 1.0]))
    def add_attributes(self, who: list[tuple[str, str]], second: bool, hold_s: float) -> None:
        stay = OTHER_AUDIENCES if second else AUDIENCES
        if self.delivery.owns(stay):
            records = [self.made(attributes(user, self.number(), stay), nature) for user, nature in who]
            self.delivery.batcher.add_attributes(records, self.stage.now, self.stage.now + hold_s)

    @rule(who=crowds)
    def add_events(self, who: list[tuple[str, str]]) -> None:
        if self.delivery.owns(EVENTS):
            records = [self.made(event(user, self.number()), nature) for user, nature in who]
            self.delivery.batcher.add_events(records, self.stage.now)

    @rule(who=crowds, name=st.sampled_from(NAMES), lasts_s=st.sampled_from([None, None, 5]))
    def add_triggers(self, who: list[tuple[str, str]], name: str, lasts_s: int | None) -> None:
        if not self.delivery.owns(CAMPAIGNS):
            return
        expires = None if lasts_s is None else int((self.stage.at + lasts_s) * 1000)
        sends = [trigger(user, self.number(), name, expires_at_ms=expires) for user, _ in who]
        for send, (_, nature) in zip(sends, who, strict=True):
            self.made(send, nature)
        self.delivery.campaigns.add(sends, self.stage.now)

    @rule(seconds=st.sampled_from([0.3, 1.0, 3.0, 13.0]))
    def wait(self, seconds: float) -> None:
        self.stage.now += seconds

    @rule(name=st.sampled_from(NAMES))
    def pause_or_resume(self, name: str) -> None:
        self.paused ^= {name}

    @rule()
    def send(self) -> None:
        self.sends()

    def sends(self) -> bool:
        """Whether there was anything to send."""
        request = self.stage.request()
        self.take_fates(self.stage.done)
        if request is None:
            return False
        assert request.load
        busy = self.lanes_of(self.on_wire)
        assert not busy & self.lanes_of([request])
        for piece in request.load:
            assert all(record in self.alive for record in piece.records)
            if piece.array == "attributes" and piece.lane.user in self.attempted:
                ended_at, written = self.attempted[piece.lane.user]
                assert set(piece.records) <= written or self.stage.now >= ended_at + SETTLE_S
        self.on_wire.append(request)
        return True

    def lanes_of(self, requests: Iterable[Request]) -> set[tuple[Any, ...]]:
        """Who is in these requests: a user for a track request, a user and a campaign for a trigger."""
        return {(piece.lane.user, request.campaign_id) for request in requests for piece in request.load}

    def is_bad(self, record: Outbound) -> bool:
        return self.nature[record] != "good"

    def apply(self, request: Request) -> None:
        """Braze takes what is good: objects that no bad record is part of."""
        for piece in request.load:
            if not any(map(self.is_bad, piece.records)):
                for record in piece.records:
                    lane = (piece.array, record.user, record.stay, request.campaign_id)
                    if record not in self.accepted:
                        self.applied.setdefault(lane, []).append(record.offset)
                    self.accepted.add(record)

    def honest(self, request: Request) -> Reply:
        """What Braze says when nothing is wrong with itself."""
        if request.campaign_id in self.paused:
            return PAUSED
        bad: list[tuple[str, int]] = []
        unnamed = False
        index = dict.fromkeys(request.sizes(), 0)
        for piece in request.load:
            if any(map(self.is_bad, piece.records)):
                bad.append((piece.array, index[piece.array]))
                unnamed |= any(self.nature[record] == "unnamed" for record in piece.records)
            index[piece.array] += 1
        if unnamed:
            return REFUSED
        if len(bad) == len(request.load):
            return named(400, *bad)
        self.apply(request)
        return named(201, *bad)

    def partly_placed(self, request: Request, *, counted: bool) -> Reply:
        """A 201 that names some of the bad ones and only says that there are others."""
        errors: list[dict[str, Any]] = []
        counts: dict[str, int] = {}
        for array, size in request.sizes().items():
            pieces = [piece for piece in request.load if piece.array == array]
            bad = [n for n, piece in enumerate(pieces) if any(map(self.is_bad, piece.records))]
            errors += [{"input_array": array, "index": n} if n % 2 else {"type": "BAD"} for n in bad]
            counts[f"{array}_processed"] = size - len(bad)
        self.apply(request)
        return reply(201, message="success", errors=errors, **(counts if counted else {}))

    @precondition(lambda self: self.on_wire)
    @rule(
        data=st.data(),
        how=st.sampled_from([*["honest"] * 6, "partly placed", "partly counted", *ANSWERS]),
    )
    def answer(self, data: st.DataObject, how: str) -> None:
        self.answers(self.on_wire.pop(data.draw(st.integers(0, len(self.on_wire) - 1))), how)

    def answers(self, request: Request, how: str) -> None:
        if how in {"too many", "heavy"} and len(request.load) < 2:
            how = "honest"  # one object is never too many
        # What holds an unnamed culprit is refused before anything is applied, whatever becomes of the answer.
        if how.endswith("applied") and not any(self.nature[record] == "unnamed" for record in request.records):
            self.apply(request)
        if how.startswith("partly") and request.endpoint is Endpoint.TRACK:
            attempt: Attempt = self.partly_placed(request, counted=how == "partly counted")
        else:
            attempt = ANSWERS.get(how) or self.honest(request)
        spoke = attempt.status if isinstance(attempt, Reply) and how not in ANSWERS else None
        for piece in request.load:
            # What Braze refuses, as a whole or by name, it does not apply: nobody need wait for that.
            refused = spoke == 400 or (spoke == 201 and any(map(self.is_bad, piece.records)))
            if piece.array == "attributes" and not refused:
                self.attempted[piece.lane.user] = (self.stage.now, set(piece.records))
        self.take_fates(self.delivery.conclude(request, attempt, self.stage.now, self.stage.at))

    def take_fates(self, done: Conclusion) -> None:
        for record in [*done.delivered, *done.coalesced]:
            assert record in self.accepted
            self.end(record)
        for letter in done.dead:
            record, nature = letter.record, self.nature[letter.record]
            if letter.reason == "ambiguous":
                assert self.ambiguous_events == "dead_letter"
                assert record.stay == EVENTS
            elif letter.reason != "campaign_unavailable":
                assert nature != "good"
            self.end(record)
        for record, reason in done.skipped:
            assert reason == "expired"
            self.end(record)
        done.delivered.clear()
        done.coalesced.clear()
        done.dead.clear()
        done.skipped.clear()

    def end(self, record: Outbound) -> None:
        """Once, and only once; what its partition took along may still get a fate here, which nobody counts."""
        if self.delivery.owns(record.stay):
            del self.alive[record]

    @rule(stay=st.sampled_from([AUDIENCES, OTHER_AUDIENCES, EVENTS, CAMPAIGNS]))
    def withdraw(self, stay: Assignment) -> None:
        if self.delivery.owns(stay):
            self.delivery.withdraw({stay}, self.stage.now)
            on_wire = {record for request in self.on_wire for record in request.records}
            for record in [record for record in self.alive if record.stay == stay and record not in on_wire]:
                del self.alive[record]

    @invariant()
    def requests_in_hand_are_bounded(self) -> None:
        for channel in self.delivery.channels:
            waiting = [request for _, _, request in channel._again]
            objects = sum(len(request.load) + len(request.rest) for request in (*waiting, *channel.on_wire))
            assert objects <= channel.requests_max * self.objects_max
            assert channel.on_wire == {request for request in self.on_wire if request.endpoint is channel.endpoint}

    @invariant()
    def users_are_served_in_order(self) -> None:
        for lane, applied in self.applied.items():
            assert applied == sorted(applied), lane

    def teardown(self) -> None:
        if not hasattr(self, "stage"):
            return
        self.paused.clear()
        for _ in range(3000):
            while self.sends():
                self.answers(self.on_wire.pop(), "honest")
            while self.on_wire:
                self.answers(self.on_wire.pop(), "honest")
            due = self.delivery.departures.next_due(self.stage.now, self.stage.at)
            if due is None:
                break
            self.stage.now = max(due, self.stage.now)
        self.users_are_served_in_order()
        assert not [record for record in self.alive if self.delivery.owns(record.stay)]
        assert repr(self.delivery.batcher) == "waiting=0 ready=0 lanes=0 holds=0"
        assert repr(self.delivery.campaigns) == "waiting=0 campaigns=0 parked=0"
        assert self.delivery.campaigns._lanes == {}
        assert [channel.in_hand for channel in self.delivery.channels] == [0, 0]


TestDeliveryAgainstAnyBraze = DeliveryAgainstAnyBraze.TestCase
TestDeliveryAgainstAnyBraze.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


def test_what_was_called_off_counts_as_no_attempt() -> None:
    stage = Stage()
    stage.delivery.batcher.add_events([event("u", 0)], stage.now)
    request = stage.sent()
    for _ in range(5):
        stage.answer(request, NoReply(sent=False, cause=CALLED_OFF))
        assert request.attempts == 0
        assert request.closed_by is None  # its batch is counted once
        stage.now += 1.0  # the first wait is the longest
        assert stage.sent() is request

    [dead] = stage.answer(request, REFUSED).dead

    assert dead.attempts == 1
