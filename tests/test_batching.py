from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.batching import Batcher, Lane, TrackLimit
from connector.braze import ATTRIBUTE_OPERATIONS, BODY_BYTES_MAX, PROPERTIES_BYTES_MAX, Endpoint
from connector.piece import Piece, merged
from connector.records import Assignment, Outbound
from connector.request import Request
from connector.suspicion import shape_of
from tests.sent_objects import AUDIENCES, EVENTS, attributes, event

OTHER_AUDIENCES = Assignment("audiences", 1, 1)
OTHER_EVENTS = Assignment("events", 1, 1)


def batcher(limit: TrackLimit | None = None, settle_s: float = 5.0, linger_s: float = 0.25) -> Batcher:
    return Batcher(limit or TrackLimit(), settle_s, linger_s)


def taken(waiting: Batcher, now: float = 0.0) -> list[Piece]:
    """What leaves when the quota is idle."""
    batch = waiting.take(now, headroom=1.0)
    return batch[0] if batch is not None else []


def offsets(pieces: list[Piece]) -> list[tuple[int, ...]]:
    return [tuple(record.offset for record in piece.records) for piece in pieces]


def end(waiting: Batcher, pieces: list[Piece], now: float) -> None:
    """The request of these pieces was attempted once and has its fate."""
    wrote = {piece.lane for piece in pieces if piece.array == "attributes"}
    waiting.release({piece.lane for piece in pieces}, now, wrote)


# ---- who waits for whom ----------------------------------------------------------------------------------------------


def test_a_user_in_flight_gives_nothing() -> None:
    waiting = batcher()
    waiting.add_events([event("u", 0)], 0.0)
    first = taken(waiting)
    waiting.add_events([event("u", 1)], 0.0)
    waiting.add_attributes([attributes("u", 2)], 0.0)

    assert taken(waiting) == []
    assert waiting.next_due(1.0, 0.0) is None

    end(waiting, first, 1.0)
    assert offsets(taken(waiting, 1.0)) == [(2,), (1,)]


def test_a_later_attribute_write_waits_for_the_settle_time() -> None:
    waiting = batcher(settle_s=5.0)
    waiting.add_attributes([attributes("u", 0)], 0.0)
    first = taken(waiting)
    waiting.add_attributes([attributes("u", 1)], 0.0)
    end(waiting, first, 2.0)

    assert taken(waiting, 6.9) == []
    assert waiting.next_due(1.0, 6.9) == 7.0
    assert offsets(taken(waiting, 7.0)) == [(1,)]


def test_users_whose_settle_time_ends_at_nearly_the_same_time_leave_together() -> None:
    """Each in a request of his own would take the quota of many."""
    waiting = batcher(settle_s=5.0)
    pieces = {}
    for offset, user in enumerate(("u", "v")):
        waiting.add_attributes([attributes(user, offset)], 0.0)
        pieces[user] = taken(waiting)
        waiting.add_attributes([attributes(user, offset + 2)], 0.0)
    end(waiting, pieces["u"], 1.01)
    end(waiting, pieces["v"], 1.09)

    assert waiting.next_due(1.0, 2.0) == pytest.approx(6.1)
    assert taken(waiting, 6.09) == []
    assert offsets(taken(waiting, 6.11)) == [(2,), (3,)]


@given(st.floats(0, 1e9), st.floats(1e-3, 1e3))
def test_a_hold_ends_never_early_and_little_later(now: float, settle_s: float) -> None:
    waiting = batcher(settle_s=settle_s)
    waiting.add_attributes([attributes("u", 0)], now)
    first = taken(waiting, now)
    waiting.add_attributes([attributes("u", 1)], now)
    end(waiting, first, now)

    due = waiting.next_due(1.0, now)
    assert due is not None
    assert now + settle_s <= due <= now + settle_s * 1.03


def test_events_pass_the_settle_time() -> None:
    waiting = batcher(settle_s=5.0)
    waiting.add_attributes([attributes("u", 0)], 0.0)
    end(waiting, taken(waiting), 0.0)
    waiting.add_attributes([attributes("u", 1)], 0.0)
    waiting.add_events([event("u", 2)], 0.0)

    assert offsets(taken(waiting, 0.1)) == [(2,)]


def test_an_event_attempt_holds_nobody() -> None:
    waiting = batcher(settle_s=5.0)
    waiting.add_events([event("u", 0)], 0.0)
    end(waiting, taken(waiting), 0.0)
    waiting.add_attributes([attributes("u", 1)], 0.0)

    assert offsets(taken(waiting)) == [(1,)]


def test_without_a_settle_time_nobody_waits() -> None:
    waiting = batcher(settle_s=0.0)
    waiting.add_attributes([attributes("u", 0)], 0.0)
    end(waiting, taken(waiting), 0.0)
    waiting.add_attributes([attributes("u", 1)], 0.0)

    assert offsets(taken(waiting)) == [(1,)]


def test_an_earlier_owner_s_settle_time_is_waited_for() -> None:
    waiting = batcher()
    waiting.add_attributes([attributes("u", 0)], 0.0, hold_until=3.0)

    assert taken(waiting, 2.9) == []
    assert offsets(taken(waiting, 3.0)) == [(0,)]


def test_an_earlier_owner_s_settle_time_holds_what_was_ready_before() -> None:
    # Both records would leave in one object: it may not leave before the stricter of the two allows.
    waiting = batcher()
    waiting.add_attributes([attributes("u", 0)], 0.0)
    waiting.add_attributes([attributes("u", 0, OTHER_AUDIENCES)], 0.0, hold_until=3.0)

    assert taken(waiting, 2.9) == []
    assert len(taken(waiting, 3.0)) == 1


def test_the_next_write_of_a_user_waits_for_the_letter_of_a_refused_one() -> None:
    waiting = batcher(settle_s=0.0)
    waiting.add_attributes([attributes("u", 0)], 0.0)
    end(waiting, taken(waiting), 0.0)
    waiting.await_letter("u", 0.0)
    waiting.await_letter("u", 0.0)
    waiting.add_attributes([attributes("u", 1), attributes("v", 2)], 0.0)
    waiting.add_events([event("u", 3)], 0.0)

    assert sorted(offsets(taken(waiting))) == [(2,), (3,)]
    waiting.release({waiting._lanes["u"]}, 1.0)
    waiting.letter_written("u", 1.0)
    assert taken(waiting, 100.0) == []
    waiting.letter_written("u", 100.0)
    assert offsets(taken(waiting, 100.0)) == [(1,)]


def test_a_shorter_hold_does_not_lift_a_longer_one() -> None:
    waiting = batcher(settle_s=1.0)
    waiting.add_attributes([attributes("u", 0)], 0.0)
    first = taken(waiting)
    waiting.add_attributes([attributes("u", 0, OTHER_AUDIENCES)], 0.0, hold_until=9.0)
    end(waiting, first, 1.0)

    assert taken(waiting, 8.9) == []
    assert len(taken(waiting, 9.0)) == 1


# ---- coalescing ------------------------------------------------------------------------------------------------------


def test_a_later_write_wins_key_by_key() -> None:
    waiting = batcher()
    waiting.add_attributes(
        [attributes("u", 0, a=1, b=1), attributes("u", 1, b=2, c=None), attributes("u", 2, d={"deep": 1})], 0.0
    )

    (piece,) = taken(waiting)

    assert orjson.loads(piece.encoded) == {"external_id": "u", "a": 1, "b": 2, "c": None, "d": {"deep": 1}}
    assert [record.offset for record in piece.records] == [0, 1, 2]


@pytest.mark.parametrize("by_express", [(), (0,), (1, 2), (0, 1, 2)])
def test_what_came_encoded_merges_as_what_did_not(by_express: tuple[int, ...]) -> None:
    records = [attributes("u", n, **{"a": n, f"only_{n}": None}) for n in range(3)]
    for n in by_express:
        records[n] = encoded_only(records[n])
    waiting = batcher()
    waiting.add_attributes(records, 0.0)

    (piece,) = taken(waiting)

    whole = {"external_id": "u", "a": 2, "only_0": None, "only_1": None, "only_2": None}
    assert (orjson.loads(piece.encoded), piece.points) == (whole, 4)


def test_a_lone_object_that_came_encoded_is_sent_as_it_is() -> None:
    waiting = batcher()
    waiting.add_attributes([encoded_only(attributes("u", 1, a=1))], 0.0)

    (piece,) = taken(waiting)

    assert (piece.encoded, piece.points) == (b'{ "external_id": "u", "a": 1 }', 7)


def encoded_only(record: Outbound) -> Outbound:
    """As the express lane would have made it: with spaces and a price by which it can be told."""
    record.encoded = b"{ " + orjson.dumps(record.object)[1:-1].replace(b":", b": ").replace(b",", b", ") + b" }"
    record.points = 7
    record._object = None
    return record


@pytest.mark.parametrize(
    "operation",
    [
        {"tags": {"$add": [{"id": 1}]}},
        {"tags": {"$remove": [{"$identifier_key": "id", "$identifier_value": 1}]}},
        {"tags": {"$update": [{"$identifier_key": "id", "$identifier_value": 1, "$new_object": {}}]}},
        {"tags": {"add": ["x"]}},
        {"tags": {"remove": ["x"]}},
        {"count": {"inc": 1}},
        {"_merge_objects": True, "tags": {"deep": 1}},
        # Merged into a neighbour that replaces an object, it would turn the replacement into a merge.
        {"_merge_objects": True, "plain": 1},
    ],
)
def test_nothing_merges_across_an_operation(operation: dict[str, Any]) -> None:
    waiting = batcher(settle_s=0.0)
    records = [attributes("u", 0), attributes("u", 1), attributes("u", 2, **operation), attributes("u", 3)]
    waiting.add_attributes([*records, attributes("u", 4, tags={"whole": True})], 0.0)
    given = []
    while pieces := taken(waiting):
        given += offsets(pieces)
        end(waiting, pieces, 0.0)

    assert given == [(0, 1), (2,), (3, 4)]


def test_events_never_merge() -> None:
    waiting = batcher()
    waiting.add_events([event("u", offset) for offset in range(5)], 0.0)

    assert offsets(taken(waiting)) == [(0,), (1,), (2,), (3,), (4,)]


def test_merging_builds_no_object_that_braze_refuses_for_its_size() -> None:
    waiting = batcher(settle_s=0.0)
    waiting.add_attributes([attributes("u", offset, **{f"a{offset}": "x" * 30_000}) for offset in range(9)], 0.0)
    given = []
    while pieces := taken(waiting):
        assert all(len(piece.encoded) <= PROPERTIES_BYTES_MAX for piece in pieces)
        given += [offset for each in offsets(pieces) for offset in each]
        end(waiting, pieces, 0.0)

    assert given == list(range(9))


def test_a_refused_object_is_taken_apart_until_the_culprit_is_alone() -> None:
    waiting = batcher(settle_s=0.0)
    waiting.add_attributes([attributes("u", offset) for offset in range(5)], 0.0)
    given = []
    while pieces := taken(waiting):
        (piece,) = pieces
        given.append(offsets(pieces)[0])
        if 3 in given[-1] and len(piece.records) > 1:
            waiting.take_apart(piece)
            waiting.add_attributes([attributes("u", 10 + len(given))], 0.0)  # newer ones join no suspect
        end(waiting, pieces, 0.0)

    assert given == [(0, 1, 2, 3, 4), (0, 1), (2, 3, 4), (2,), (3, 4), (3,), (4,), (11, 13, 15)]


# ---- how much leaves together ----------------------------------------------------------------------------------------


def test_a_run_that_fits_a_request_is_not_cut_to_fill_a_rest() -> None:
    waiting = batcher()
    waiting.add_events([event(f"u{n}", n) for n in range(40)], 0.0)
    waiting.add_events([event("hot", 100 + n) for n in range(75)], 0.0)
    waiting.add_events([event(f"v{n}", 50 + n) for n in range(20)], 0.0)

    first, second = taken(waiting), taken(waiting)

    assert offsets(first) == [(n,) for n in (*range(40), *range(50, 70))]
    assert offsets(second) == [(100 + n,) for n in range(75)]


def test_a_run_that_was_left_standing_comes_first_the_next_time() -> None:
    waiting = batcher()
    waiting.add_events([event(f"u{n}", n) for n in range(70)], 0.0)
    waiting.add_events([event("hot", 100 + n) for n in range(10)], 0.0)
    waiting.add_events([event(f"v{n}", 200 + n) for n in range(80)], 0.0)

    assert offsets(taken(waiting)) == [(n,) for n in (*range(70), *range(200, 205))]
    assert offsets(taken(waiting))[:10] == [(100 + n,) for n in range(10)]


def test_a_run_longer_than_a_request_leaves_in_order() -> None:
    waiting = batcher()
    waiting.add_events([event("hot", n) for n in range(100)], 0.0)

    first = taken(waiting)
    assert taken(waiting) == []
    end(waiting, first, 0.0)

    assert offsets(first) + offsets(taken(waiting)) == [(n,) for n in range(100)]


def test_a_combined_limit_counts_both_arrays() -> None:
    waiting = batcher(TrackLimit(objects=75))
    waiting.add_attributes([attributes(f"a{n}", n) for n in range(60)], 0.0)
    waiting.add_events([event(f"e{n}", n) for n in range(60)], 0.0)

    assert Request(Endpoint.TRACK, taken(waiting)).sizes() == {"attributes": 60, "events": 15}


def test_a_limit_per_array_counts_each() -> None:
    waiting = batcher(TrackLimit(objects=75, per_array=True))
    waiting.add_attributes([attributes(f"u{n}", n) for n in range(80)], 0.0)
    waiting.add_events([event(f"u{n}", n) for n in range(80)], 0.0)

    assert Request(Endpoint.TRACK, taken(waiting)).sizes() == {"attributes": 75, "events": 75}


def test_a_user_s_attributes_stand_before_his_events_and_beside_them() -> None:
    waiting = batcher()
    waiting.add_events([event("u", 1)], 0.0)
    waiting.add_attributes([attributes("u", 0)], 0.0)

    request = Request(Endpoint.TRACK, taken(waiting))

    assert orjson.loads(request.body()) == {
        "attributes": [{"external_id": "u", "n0": True}],
        "events": [{"external_id": "u", "name": "e", "properties": {"n": 1}}],
    }


def test_a_body_stays_below_four_megabytes() -> None:
    waiting = batcher()
    waiting.add_events([event(f"u{n}", n, pad=99_000) for n in range(60)], 0.0)

    batch = waiting.take(0.0, headroom=1.0)

    assert batch is not None
    assert batch[1] == "bytes"
    assert len(Request(Endpoint.TRACK, batch[0]).body()) <= BODY_BYTES_MAX
    assert len(batch[0]) == 40  # the 41st would pass the bound
    assert waiting.waiting == 20


def test_a_body_keeps_its_bound_to_the_byte() -> None:
    for body_bytes in range(300, 420):
        waiting = batcher(TrackLimit(body_bytes=body_bytes))
        waiting.add_attributes([attributes("a", 0)], 0.0)
        waiting.add_events([event(f"u{n}", n) for n in range(9)], 0.0)

        assert len(Request(Endpoint.TRACK, taken(waiting)).body()) <= body_bytes


def test_a_heavy_run_is_cut_in_order() -> None:
    waiting = batcher(TrackLimit(body_bytes=1000))
    waiting.add_events([event("u", n, pad=300) for n in range(4)], 0.0)
    first = taken(waiting)
    end(waiting, first, 0.0)

    assert (offsets(first), offsets(taken(waiting))) == ([(0,), (1,)], [(2,), (3,)])


def test_one_object_heavier_than_the_bound_leaves_alone() -> None:
    waiting = batcher(TrackLimit(body_bytes=200))
    waiting.add_events([event("u", 0, pad=300), event("v", 1)], 0.0)

    assert [offsets(taken(waiting)), offsets(taken(waiting))] == [[(0,)], [(1,)]]


def test_why_a_batch_leaves() -> None:
    waiting = batcher(TrackLimit(objects=3), linger_s=1.0)

    def reason(count: int, now: float, headroom: float, *, draining: bool = False) -> str | None:
        waiting.add_events([event(f"u{n}", n) for n in range(count)], 10.0)
        batch = waiting.take(now, headroom=headroom, draining=draining)
        while waiting.take(99.0, headroom=1.0):
            pass
        waiting.release([lane for lane in waiting._lanes.values() if lane.busy], 99.0)
        return batch[1] if batch else None

    assert reason(1, 10.0, 1.0) == "idle"
    assert reason(1, 10.0, 0.0) is None
    assert reason(1, 10.9, 0.0) is None
    assert reason(1, 11.0, 0.0) == "linger"
    assert reason(1, 10.25, 0.75) == "idle"
    assert reason(2, 10.0, 0.0, draining=True) == "drain"
    assert reason(3, 10.0, 0.0) == "full"
    assert reason(7, 10.0, 0.0) == "full"


@given(st.floats(0, 1), st.floats(0, 2))
def test_a_batch_is_given_exactly_when_it_is_due(headroom: float, waited: float) -> None:
    waiting = batcher(linger_s=1.0)
    waiting.add_events([event("u", 0)], 0.0)

    due = waiting.next_due(headroom, waited)

    assert due is not None
    assert (waiting.take(waited, headroom=headroom) is not None) == (due <= waited)


def test_a_full_request_is_due_at_once() -> None:
    waiting = batcher(TrackLimit(objects=2), linger_s=1.0)
    waiting.add_events([event("u", 0), event("v", 1)], 5.0)

    assert waiting.next_due(0.0, 5.0) == 5.0


# ---- partitions that leave -------------------------------------------------------------------------------------------


def test_what_waits_for_a_leaving_partition_is_given_back() -> None:
    waiting = batcher()
    waiting.add_attributes([attributes("u", 0), attributes("u", 0, OTHER_AUDIENCES)], 0.0)
    waiting.add_events([event("u", 1), event("v", 2)], 0.0)

    gone = waiting.withdraw({AUDIENCES, EVENTS}, 0.0)

    assert sorted((record.user, record.offset) for record in gone) == [("u", 0), ("u", 1), ("v", 2)]
    assert waiting.waiting == 1
    (piece,) = taken(waiting)
    assert piece.records[0].stay == OTHER_AUDIENCES
    end(waiting, [piece], 0.0)
    assert taken(waiting, 99.0) == []
    assert repr(waiting) == "waiting=0 ready=0 lanes=0 holds=0"


def test_a_flood_of_suspects_does_not_keep_the_others_waiting() -> None:
    waiting = batcher()
    flood = [event(f"s{n}", n) for n in range(500)]
    waiting.suspicions.refused(shape_of(flood[0]))
    waiting.add_events(flood, 0.0)
    taken(waiting)
    waiting.add_attributes([attributes("innocent", 1000)], 0.0)

    batches = [taken(waiting, 1.0) for _ in range(2)]

    assert (1000,) in [offset for batch in batches for offset in offsets(batch)]


def test_a_user_who_is_forgotten_while_listed_gives_nothing_twice() -> None:
    waiting = batcher()
    waiting.add_events([event("u", 0)], 0.0)
    waiting.withdraw({EVENTS}, 0.0)
    waiting.add_events([event("u", 1, OTHER_EVENTS)], 0.0)

    assert offsets(taken(waiting)) == [(1,)]
    assert taken(waiting) == []


# ---- against a naive model -------------------------------------------------------------------------------------------

USERS = ("u", "v", "w")
VALUES: list[dict[str, Any]] = [
    {},
    {"shared": 1},
    {"shared": 2, "nested": {"a": 1}},
    {"nested": {"b": 2}},
    {"_merge_objects": True, "nested": {"c": 3}},
    {"_merge_objects": True, "shared": 3},
    {"shared": {"inc": 1}},
    {"nested": {"$add": [{"d": 4}]}},
]


def applied(profile: dict[str, Any], object_: dict[str, Any]) -> None:
    """What Braze does with one attributes object, as far as the order of things shows."""
    for key, value in object_.items():
        if isinstance(value, dict) and not ATTRIBUTE_OPERATIONS.isdisjoint(value):
            profile[key] = {"then": [profile.get(key), value]}
        elif isinstance(value, dict) and object_.get("_merge_objects"):
            old = profile.get(key)
            profile[key] = {**(old if isinstance(old, dict) else {}), **value}
        elif key != "_merge_objects":
            profile[key] = value


class BatcherAgainstLists(RuleBasedStateMachine):
    """The batcher against lists of records a user: whatever is drawn, nothing is lost, doubled or overtaken."""

    @initialize(
        objects=st.sampled_from([1, 2, 3, 75]),
        per_array=st.booleans(),
        body_bytes=st.sampled_from([300, 900, BODY_BYTES_MAX]),
        settle_s=st.sampled_from([0.0, 2.0]),
    )
    def begin(self, objects: int, per_array: bool, body_bytes: int, settle_s: float) -> None:
        self.limit = TrackLimit(objects, per_array, body_bytes)
        self.settle_s = settle_s
        self.batcher = Batcher(self.limit, settle_s, linger_s=1.0)
        self.now = 0.0
        self.offset = 0
        self.stays = [AUDIENCES, OTHER_AUDIENCES, EVENTS, OTHER_EVENTS]
        self.attributes: dict[str, list[Outbound]] = {user: [] for user in USERS}
        self.events: dict[str, list[Outbound]] = {user: [] for user in USERS}
        self.held_until = dict.fromkeys(USERS, float("-inf"))
        self.letters = dict.fromkeys(USERS, 0)
        self.in_flight: list[list[Piece]] = []
        self.profiles: dict[str, dict[str, Any]] = {user: {} for user in USERS}
        self.expected: dict[str, dict[str, Any]] = {user: {} for user in USERS}
        self.added: set[Outbound] = set()
        self.ended: list[Outbound] = []

    def next_offset(self) -> int:
        self.offset += 1
        return self.offset

    @rule(
        user=st.sampled_from(USERS),
        values=st.lists(st.sampled_from(VALUES), min_size=1, max_size=4),
        second=st.booleans(),
        hold_s=st.sampled_from([None, None, 0.0, 1.0, 3.0]),
    )
    def add_attributes(self, user: str, values: list[dict[str, Any]], second: bool, hold_s: float | None) -> None:
        stay = self.stays[second]
        records = [attributes(user, self.next_offset(), stay, **each) for each in values]
        if hold_s is None:
            self.batcher.add_attributes(records, self.now)
        else:
            self.batcher.add_attributes(records, self.now, self.now + hold_s)
            self.held_until[user] = max(self.held_until[user], self.now + hold_s)
        self.attributes[user] += records
        self.added |= set(records)

    @rule(
        user=st.sampled_from(USERS),
        pads=st.lists(st.sampled_from([0, 0, 100]), min_size=1, max_size=5),
        second=st.booleans(),
    )
    def add_events(self, user: str, pads: list[int], second: bool) -> None:
        records = [event(user, self.next_offset(), self.stays[2 + second], pad) for pad in pads]
        self.batcher.add_events(records, self.now)
        self.events[user] += records
        self.added |= set(records)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def is_ready(self, user: str) -> bool:
        if any(piece.lane.user == user for pieces in self.in_flight for piece in pieces):
            return False
        may_write = not self.letters[user] and self.held_until[user] <= self.now
        return bool(self.events[user] or (self.attributes[user] and may_write))

    @rule(headroom=st.sampled_from([0.0, 0.5, 1.0]), draining=st.booleans())
    def take(self, headroom: float, draining: bool) -> None:
        ready = {user for user in USERS if self.is_ready(user)}
        due = self.batcher.next_due(headroom, self.now)
        batch = self.batcher.take(self.now, headroom=headroom, draining=draining)
        if batch is None:
            assert not ready or not (draining or headroom == 1.0)
            return
        assert draining or (due is not None and due <= self.now)
        pieces = batch[0]
        assert pieces
        if batch.suspect is not None:
            assert len(pieces) <= self.batcher.suspicions.objects(batch.suspect)
        assert {self.batcher.suspicions.find(piece.records) is None for piece in pieces} <= {
            batch.suspect is None,
            True,
        }  # who travels with others is not suspected
        assert {piece.lane.user for piece in pieces} <= ready
        self.check_bounds(pieces)
        for piece in pieces:
            user, records = piece.lane.user, piece.records
            waiting = self.attributes[user] if piece.array == "attributes" else self.events[user]
            assert waiting[: len(records)] == records
            del waiting[: len(records)]
            if piece.array == "attributes":
                assert self.held_until[user] <= self.now
                assert not self.letters[user]
                assert [each.array for each in pieces if each.lane is piece.lane].count("attributes") == 1
                assert orjson.loads(piece.encoded) == merged(records)
            else:
                assert len(records) == 1
        self.in_flight.append(pieces)

    def check_bounds(self, pieces: list[Piece]) -> None:
        request = Request(Endpoint.TRACK, pieces)
        sizes = request.sizes()
        count = max(sizes.values()) if self.limit.per_array else sum(sizes.values())
        assert count <= self.limit.objects
        assert len(request.body()) <= self.limit.body_bytes or len(pieces) == 1

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def end_request(self, data: st.DataObject) -> None:
        pieces = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        attempted = data.draw(st.booleans())
        for piece in reversed(pieces):  # given back from the last to the first, they lie in order again
            fate = data.draw(st.sampled_from(["delivered", "delivered", "returned", "apart"]))
            user = piece.lane.user
            if fate == "delivered" or (fate == "apart" and len(piece.records) < 2):
                self.ended += piece.records
            else:
                if fate == "apart":
                    self.batcher.take_apart(piece)
                else:
                    self.batcher.give_back(piece)
                waiting = self.attributes[user] if piece.array == "attributes" else self.events[user]
                waiting[0:0] = piece.records
                continue
            if piece.array == "attributes":
                applied(self.profiles[user], orjson.loads(piece.encoded))
                for record in piece.records:
                    applied(self.expected[user], record.object)
        wrote = {piece.lane for piece in pieces if piece.array == "attributes"} if attempted else set()
        for lane in wrote:
            if self.settle_s:
                self.held_until[lane.user] = max(self.held_until[lane.user], self.now + self.settle_s)
        self.batcher.release(list(dict.fromkeys(piece.lane for piece in pieces)), self.now, wrote)

    @rule(which=st.sets(st.integers(0, 3), min_size=1, max_size=2))
    def withdraw(self, which: set[int]) -> None:
        stays = {self.stays[index] for index in which}
        gone = self.batcher.withdraw(stays, self.now)
        expected = set()
        for lists in (self.attributes, self.events):
            for user, records in lists.items():
                expected |= {record for record in records if record.stay in stays}
                lists[user] = [record for record in records if record.stay not in stays]
        assert len(gone) == len(expected)
        assert set(gone) == expected
        self.ended += gone

    @rule(user=st.sampled_from(USERS), refused=st.integers(1, 3))
    def suspect(self, user: str, refused: int) -> None:
        """A halving has found a culprit that looks like what waits for this user."""
        for record in [*self.attributes[user][:1], *self.events[user][:1]]:
            for _ in range(refused):
                self.batcher.suspicions.refused(shape_of(record))

    @precondition(lambda self: self.batcher.suspicions)
    @rule(data=st.data())
    def trust_again(self, data: st.DataObject) -> None:
        shapes = list(self.batcher.suspicions._objects)
        self.batcher.suspicions.accepted(data.draw(st.sampled_from(shapes)), data.draw(st.integers(1, 10)))

    @rule(user=st.sampled_from(USERS))
    def await_letter(self, user: str) -> None:
        self.batcher.await_letter(user, self.now)
        self.letters[user] += 1

    @precondition(lambda self: any(self.letters.values()))
    @rule(data=st.data())
    def letter_written(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from([user for user, count in self.letters.items() if count]))
        self.batcher.letter_written(user, self.now)
        self.letters[user] -= 1

    @rule(objects=st.integers(1, 3))
    def lower_the_limit(self, objects: int) -> None:
        self.limit = TrackLimit(min(objects, self.limit.objects), self.limit.per_array, self.limit.body_bytes)
        self.batcher.limit = self.limit

    @invariant()
    def the_count_of_what_waits_is_right(self) -> None:
        waiting = [*self.attributes.values(), *self.events.values()]
        assert self.batcher.waiting == sum(map(len, waiting))
        assert self.batcher.next_due(1.0, self.now) is not None or not any(map(self.is_ready, USERS))

    @invariant()
    def the_counts_of_what_is_ready_are_right(self) -> None:
        lanes: list[Lane] = list(self.batcher._lanes.values())
        assert self.batcher._ready_attributes == sum(lane.ready_attributes for lane in lanes)
        assert self.batcher._ready_events == sum(len(lane.events) for lane in lanes if not lane.busy)

    def teardown(self) -> None:
        if not hasattr(self, "batcher"):
            return
        for user, count in self.letters.items():
            for _ in range(count):
                self.batcher.letter_written(user, self.now)
            self.letters[user] = 0
        while self.in_flight or self.batcher.waiting:
            for pieces in self.in_flight:
                self.ended += [record for piece in pieces for record in piece.records]
                end(self.batcher, pieces, self.now)
            self.in_flight.clear()
            self.now += 10.0
            self.take(headroom=0.0, draining=True)
        self.now += 10.0
        assert self.batcher.take(self.now, headroom=1.0) is None
        assert repr(self.batcher) == "waiting=0 ready=0 lanes=0 holds=0"
        assert len(self.ended) == len(self.added)
        assert set(self.ended) == self.added
        assert self.profiles == self.expected


TestBatcherAgainstLists = BatcherAgainstLists.TestCase
TestBatcherAgainstLists.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
