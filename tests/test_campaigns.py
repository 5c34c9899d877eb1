from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.campaigns import CampaignBatch, CampaignBatcher
from connector.piece import Piece
from connector.records import Assignment, CampaignSend, SkipReason
from tests.sent_objects import CAMPAIGNS, trigger

AT = 1_790_000_000.0
OTHER_CAMPAIGNS = Assignment("campaigns", 1, 1)


def batcher(max_age_s: float | None = None, parked_max: int = 1000, recipients_max: int = 50) -> CampaignBatcher:
    return CampaignBatcher(0.25, max_age_s, parked_max, recipients_max)


def take(waiting: CampaignBatcher, now: float = 0.0) -> CampaignBatch | None:
    """What leaves when the quota is idle, nothing having been skipped."""
    batch, skipped = waiting.take(now, AT + now, headroom=1.0)
    assert skipped == []
    return batch


def taken(waiting: CampaignBatcher, now: float = 0.0) -> CampaignBatch:
    batch = take(waiting, now)
    assert batch is not None
    return batch


def sends(pieces: Iterable[Piece]) -> list[CampaignSend]:
    return [record for piece in pieces for record in piece.records if isinstance(record, CampaignSend)]


def offsets(batch: CampaignBatch) -> list[int]:
    return [send.offset for send in sends(batch.pieces)]


def end(waiting: CampaignBatcher, batch: CampaignBatch, now: float = 0.0) -> None:
    waiting.release([piece.lane for piece in batch.pieces], now)


def test_a_request_holds_at_most_fifty_recipients_of_one_campaign() -> None:
    waiting = batcher()
    waiting.add([trigger(f"u{n}", n, f"campaign-{n % 2}") for n in range(120)], 0.0)

    batches = [taken(waiting) for _ in range(4)]

    assert sorted(len(batch.pieces) for batch in batches) == [10, 10, 50, 50]
    assert all({send.campaign_id for send in sends(batch.pieces)} == {batch.campaign_id} for batch in batches)
    assert take(waiting) is None


def test_two_triggers_of_one_user_go_in_separate_requests_and_in_order() -> None:
    waiting = batcher()
    waiting.add([trigger("u", 0), trigger("v", 1), trigger("u", 2)], 0.0)

    first = taken(waiting)
    assert offsets(first) == [0, 1]
    assert take(waiting) is None

    end(waiting, first)
    assert offsets(taken(waiting)) == [2]


def test_a_user_s_campaigns_keep_their_order() -> None:
    waiting = batcher()
    waiting.add([trigger("u", 0, "first"), trigger("u", 1, "second")], 0.0)

    first = taken(waiting)
    assert (first.campaign_id, take(waiting)) == ("first", None)

    end(waiting, first)
    assert taken(waiting).campaign_id == "second"


@pytest.mark.parametrize(
    ("requested_s", "expires_s", "reason"),
    [
        (None, None, None),
        (-3600.0, None, None),
        (-3600.1, None, "too_old"),
        (0.0, 0.0, "expired"),
        (0.0, -1.0, "expired"),
        (0.0, 0.001, None),
        (-9999.0, -1.0, "expired"),
        (None, -1.0, "expired"),
    ],
)
def test_a_trigger_past_its_time_is_skipped(
    requested_s: float | None, expires_s: float | None, reason: SkipReason | None
) -> None:
    waiting = batcher(max_age_s=3600.0)
    requested = None if requested_s is None else round((AT + requested_s) * 1000)
    expires = None if expires_s is None else round((AT + expires_s) * 1000)
    stale = trigger("u", 0, requested_at_ms=requested, expires_at_ms=expires)
    waiting.add([stale, trigger("u", 1)], 0.0)

    batch, skipped = waiting.take(0.0, AT, headroom=1.0)

    assert batch is not None
    assert skipped == ([] if reason is None else [(stale, reason)])
    assert offsets(batch) == ([0] if reason is None else [1])  # whoever came behind is not held up
    assert waiting.waiting == (1 if reason is None else 0)


def test_without_a_rule_nothing_is_too_old() -> None:
    waiting = batcher(max_age_s=None)
    waiting.add([trigger("u", 0, requested_at_ms=1)], 0.0)

    assert offsets(taken(waiting)) == [0]


def test_when_a_batch_leaves() -> None:
    waiting = batcher(recipients_max=3)
    waiting.add([trigger("u", 0), trigger("v", 1)], 10.0)

    assert waiting.take(10.2, AT, headroom=0.0)[0] is None
    assert waiting.next_due(0.0, 10.2) == 10.25
    lingered = waiting.take(10.25, AT, headroom=0.0)[0]
    assert lingered is not None
    assert lingered.closed_by == "linger"

    waiting.add([trigger("w", 2)], 10.0)
    assert taken(waiting, 10.0).closed_by == "idle"

    waiting.add([trigger("x", 3)], 10.0)
    drained = waiting.take(10.0, AT, headroom=0.0, draining=True)[0]
    assert drained is not None
    assert drained.closed_by == "drain"

    waiting.add([trigger(f"y{n}", n) for n in range(4)], 10.0)
    assert waiting.next_due(0.0, 10.0) == 10.0
    full = waiting.take(10.0, AT, headroom=0.0)[0]
    assert full is not None
    assert (full.closed_by, len(full.pieces)) == ("full", 3)


def test_a_campaign_that_is_always_full_starves_no_other() -> None:
    waiting = batcher(recipients_max=2)
    waiting.add([trigger(f"busy{n}", n, "busy") for n in range(2)], 0.0)
    waiting.add([trigger("quiet", 99, "quiet")], 0.0)
    given = []
    for turn in range(4):
        now = turn * 0.2
        waiting.add([trigger(f"busy{turn}-{n}", n, "busy") for n in range(2)], now)
        batch = waiting.take(now, AT, headroom=0.0)[0]
        assert batch is not None
        given.append(batch.campaign_id)

    assert "quiet" in given


# ---- campaigns that braze does not send ------------------------------------------------------------------------------


def parked(waiting: CampaignBatcher, count: int = 3, campaign_id: str = "paused") -> None:
    """A campaign that is parked until 10.0 with so many triggers."""
    waiting.add([trigger(f"p{n}", n, campaign_id) for n in range(count)], 0.0)
    batch = taken(waiting)
    waiting.park(campaign_id, sends(batch.pieces), now=0.0, wait_s=10.0)
    end(waiting, batch)


def test_a_parked_campaign_steps_aside_for_its_users_others() -> None:
    waiting = batcher()
    parked(waiting)
    waiting.add([trigger("u", 10, "paused"), trigger("u", 11, "running")], 1.0)

    batch = taken(waiting, 1.0)

    assert (batch.campaign_id, offsets(batch)) == ("running", [11])
    assert take(waiting, 9.9) is None
    assert (waiting.parked, waiting.parked_campaigns, waiting.waiting) == (4, 1, 4)


def test_a_parked_campaign_is_asked_about_with_one_trigger() -> None:
    waiting = batcher()
    parked(waiting)

    assert waiting.next_due(1.0, 5.0) == 10.0
    probe = taken(waiting, 10.0)

    assert offsets(probe) == [0]
    assert take(waiting, 99.0) is None
    assert waiting.next_due(1.0, 99.0) is None

    waiting.park("paused", sends(probe.pieces), now=100.0, wait_s=10.0)  # no better: twice as long
    end(waiting, probe, 100.0)
    assert waiting.next_due(1.0, 100.0) == 120.0
    assert offsets(taken(waiting, 120.0)) == [0]


def test_a_campaign_that_stays_paused_is_asked_about_ever_more_rarely_but_every_minute() -> None:
    waiting = batcher()
    parked(waiting)
    asked = [0.0]
    for _ in range(6):
        asked.append(waiting.next_due(1.0, asked[-1]) or 0.0)
        probe = taken(waiting, asked[-1])
        waiting.park("paused", sends(probe.pieces), now=asked[-1], wait_s=10.0)
        end(waiting, probe, asked[-1])

    assert [late - early for early, late in pairwise(asked)] == [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]


def test_what_was_on_the_wire_when_a_campaign_was_parked_makes_it_wait_no_longer() -> None:
    waiting = batcher()
    parked(waiting)

    waiting.park("paused", [trigger("late", 9, "paused")], now=1.0, wait_s=10.0)

    assert waiting.next_due(1.0, 1.0) == 11.0


def test_probes_and_batches_take_turns() -> None:
    waiting = batcher()
    for number in range(3):
        parked(waiting, 1, f"paused-{number}")
    waiting.add([trigger(f"r{n}", n, f"running-{n}") for n in range(2)], 20.0)

    order = [taken(waiting, 20.0).campaign_id for _ in range(5)]

    assert order == ["paused-0", "running-0", "paused-1", "running-1", "paused-2"]
    assert take(waiting, 20.0) is None


def test_a_probe_without_an_answer_is_made_again() -> None:
    waiting = batcher()
    parked(waiting)
    probe = taken(waiting, 10.0)
    end(waiting, probe, 11.0)

    assert offsets(taken(waiting, 11.0)) == [1]


def test_a_probe_that_is_still_asking_keeps_its_campaign_parked() -> None:
    # Its user's next trigger of this campaign would overtake it.
    waiting = batcher()
    waiting.add([trigger("u", 0, "paused")], 0.0)
    refused = taken(waiting)
    waiting.park("paused", sends(refused.pieces), now=0.0, wait_s=10.0)
    end(waiting, refused)
    waiting.add([trigger("u", 1, "paused")], 1.0)
    probe = taken(waiting, 10.0)

    waiting.unpark("paused", 11.0)  # another request of the campaign was answered well
    assert take(waiting, 11.0) is None

    end(waiting, probe, 12.0)
    waiting.unpark("paused", 12.0)
    assert offsets(taken(waiting, 12.0)) == [1]


def test_a_cured_campaign_s_triggers_all_leave() -> None:
    waiting = batcher()
    parked(waiting)
    probe = taken(waiting, 10.0)

    end(waiting, probe, 10.5)
    waiting.unpark("paused", 10.5)

    assert offsets(taken(waiting, 10.5)) == [1, 2]
    assert (waiting.parked, waiting.parked_campaigns, waiting.waiting) == (0, 0, 0)


def test_a_cured_campaign_s_triggers_leave_before_the_newer_ones_of_their_user() -> None:
    waiting = batcher()
    waiting.add([trigger("u", 0, "paused"), trigger("v", 1, "running")], 0.0)
    refused = taken(waiting)
    waiting.park("paused", sends(refused.pieces), now=0.0, wait_s=10.0)
    end(waiting, refused)
    waiting.add([trigger("u", 2, "running")], 1.0)
    busy = taken(waiting, 1.0)
    waiting.add([trigger("u", 3, "paused"), trigger("u", 4, "running")], 2.0)
    waiting.unpark("paused", 3.0)
    end(waiting, busy, 4.0)

    given = []
    while batch := take(waiting, 4.0):
        given += [send.offset for send in sends(batch.pieces) if send.user == "u"]
        end(waiting, batch, 4.0)

    assert given == [0, 3, 4]


def test_an_idle_user_s_newer_triggers_wait_for_the_cured_ones_too() -> None:
    waiting = batcher()
    waiting.add([trigger("u", 0, "paused")], 0.0)
    refused = taken(waiting)
    waiting.park("paused", sends(refused.pieces), now=0.0, wait_s=10.0)
    end(waiting, refused)
    waiting.add([trigger("u", 1, "paused")], 1.0)
    waiting.unpark("paused", 1.0)

    first = taken(waiting, 1.0)
    end(waiting, first, 1.0)

    assert [offsets(first), offsets(taken(waiting, 1.0))] == [[0], [1]]


def test_beyond_the_bound_the_newest_parked_trigger_is_given_up() -> None:
    waiting = batcher(parked_max=2)
    parked(waiting, 4)

    assert [send.offset for send in waiting.overflow] == [3, 2]
    assert (waiting.parked, waiting.waiting) == (2, 2)

    waiting.add([trigger("u", 9, "paused")], 1.0)
    assert take(waiting, 1.0) is None
    assert [send.offset for send in waiting.overflow] == [3, 2, 9]
    assert (waiting.parked, waiting.waiting) == (2, 2)


def test_a_parked_trigger_that_expires_is_skipped_wherever_it_stands() -> None:
    waiting = batcher()
    waiting.add([trigger("u", 0, "paused")], 0.0)
    refused = taken(waiting)
    waiting.park("paused", sends(refused.pieces), now=0.0, wait_s=10.0)
    end(waiting, refused)
    short = trigger("v", 1, "paused", expires_at_ms=int((AT + 5) * 1000))
    waiting.add([short], 1.0)
    assert take(waiting, 1.0) is None

    probe, skipped = waiting.take(10.0, AT + 10, headroom=1.0)

    assert skipped == [(short, "expired")]
    assert probe is not None
    assert offsets(probe) == [0]
    assert (waiting.parked, waiting.waiting) == (0, 0)


def test_a_campaign_whose_parked_triggers_all_expired_is_asked_by_the_next_one() -> None:
    waiting = batcher()
    waiting.park("paused", [trigger("u", 0, "paused", expires_at_ms=int((AT + 5) * 1000))], now=0.0, wait_s=10.0)

    assert waiting.take(10.0, AT + 10, headroom=1.0)[0] is None
    assert (waiting.parked_campaigns, waiting.waiting) == (0, 0)
    assert waiting.next_due(1.0, 10.0) is None

    waiting.add([trigger("v", 1, "paused")], 11.0)
    assert offsets(taken(waiting, 11.0)) == [1]


def test_what_waits_for_a_leaving_partition_is_given_back() -> None:
    waiting = batcher()
    parked(waiting)
    waiting.add([trigger("u", 10), trigger("u", 0, stay=OTHER_CAMPAIGNS), trigger("v", 11)], 1.0)

    gone = waiting.withdraw({CAMPAIGNS}, 1.0)

    assert sorted(send.offset for send in gone) == [0, 1, 2, 10, 11]
    assert (waiting.parked, waiting.waiting) == (0, 1)
    batch = taken(waiting, 1.0)
    assert [(send.user, send.stay) for send in sends(batch.pieces)] == [("u", OTHER_CAMPAIGNS)]
    end(waiting, batch, 1.0)
    assert waiting._lanes == {}


def test_a_campaign_of_which_nothing_waits_any_more_is_not_said_to_be_parked() -> None:
    waiting = batcher()
    parked(waiting)

    waiting.withdraw({CAMPAIGNS}, 1.0)

    assert waiting.parked_campaigns == 0
    assert waiting.next_due(1.0, 1.0) is None


def test_a_campaign_whose_probe_is_in_hand_stays_parked_until_that_is_answered() -> None:
    waiting = batcher()
    parked(waiting)
    probe = taken(waiting, 10.0)

    waiting.withdraw({CAMPAIGNS}, 11.0)
    assert waiting.is_parked("paused")

    end(waiting, probe, 12.0)
    assert waiting.next_due(1.0, 12.0) == 10.0, "somebody has to look"
    assert take(waiting, 12.0) is None
    assert waiting.parked_campaigns == 0


def test_a_campaign_of_which_nothing_is_kept_is_remembered_until_it_would_be_asked_about() -> None:
    waiting = batcher(parked_max=0)
    parked(waiting)
    assert (waiting.parked, waiting.parked_campaigns) == (0, 1)
    assert waiting.next_due(1.0, 1.0) == 10.0

    assert take(waiting, 10.0) is None
    assert waiting.parked_campaigns == 0
    assert waiting.next_due(1.0, 10.0) is None


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_batch_is_given_exactly_when_it_is_due(headroom: float, waited: float) -> None:
    waiting = batcher()
    waiting.add([trigger("u", 0)], 0.0)

    due = waiting.next_due(headroom, waited)

    assert due is not None
    assert (waiting.take(waited, AT, headroom=headroom)[0] is not None) == (due <= waited)


# ---- against a naive model -------------------------------------------------------------------------------------------

USERS = ("u", "v", "w")
NAMES = ("one", "two")


class CampaignsAgainstLists(RuleBasedStateMachine):
    """The batcher against the plainest book-keeping: who was added, who is in flight, who is done."""

    @initialize(recipients_max=st.sampled_from([1, 2, 50]), parked_max=st.sampled_from([0, 2, 100]))
    def begin(self, recipients_max: int, parked_max: int) -> None:
        self.batcher = CampaignBatcher(1.0, 30.0, parked_max, recipients_max)
        self.recipients_max, self.parked_max = recipients_max, parked_max
        self.now = 0.0
        self.offset = 0
        self.inside: set[CampaignSend] = set()
        self.in_flight: list[tuple[CampaignBatch, bool]] = []
        self.given: dict[tuple[str, str], list[int]] = {(user, name): [] for user in USERS for name in NAMES}
        self.ended: list[CampaignSend] = []
        self.added: list[CampaignSend] = []

    def stale(self, send: CampaignSend) -> SkipReason | None:
        at_ms = (AT + self.now) * 1000
        if send.expires_at_ms is not None and send.expires_at_ms <= at_ms:
            return "expired"
        return "too_old" if send.requested_at_ms is not None and send.requested_at_ms < at_ms - 30_000 else None

    @rule(
        who=st.lists(
            st.tuples(st.sampled_from(USERS), st.sampled_from(NAMES), st.sampled_from([None, 1, 20]), st.booleans()),
            min_size=1,
            max_size=6,
        )
    )
    def add(self, who: list[tuple[str, str, int | None, bool]]) -> None:
        made = []
        for user, name, lasts_s, second in who:
            self.offset += 1
            at_ms = int((AT + self.now) * 1000)
            expires = None if lasts_s is None else at_ms + lasts_s * 1000
            stay = OTHER_CAMPAIGNS if second else CAMPAIGNS
            made.append(trigger(user, self.offset, name, stay, requested_at_ms=at_ms, expires_at_ms=expires))
        self.batcher.add(made, self.now)
        self.inside |= set(made)
        self.added += made

    @rule(seconds=st.sampled_from([0.2, 1.0, 5.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def fetch_overflow(self) -> None:
        for send in self.batcher.overflow:
            assert self.batcher.is_parked(send.campaign_id)
            self.inside.remove(send)
            self.ended.append(send)
        self.batcher.overflow.clear()

    @rule(headroom=st.sampled_from([0.0, 1.0]), draining=st.booleans())
    def take(self, headroom: float, draining: bool) -> None:
        self.takes(headroom, draining=draining)

    def takes(self, headroom: float, *, draining: bool) -> bool:
        """Whether there was anything to take."""
        due = self.batcher.next_due(headroom, self.now)
        was_parked = {name for name in NAMES if self.batcher.is_parked(name)}
        batch, skipped = self.batcher.take(self.now, AT + self.now, headroom=headroom, draining=draining)
        self.fetch_overflow()
        for send, reason in skipped:
            assert isinstance(send, CampaignSend)
            assert self.stale(send) == reason
            self.inside.remove(send)
            self.ended.append(send)
        if batch is None:
            after = self.batcher.next_due(headroom, self.now)
            assert after is None or after > self.now  # or its caller would spin
            return False
        assert draining or (due is not None and due <= self.now)
        given = sends(batch.pieces)
        users = [send.user for send in given]
        assert 1 <= len(given) <= self.recipients_max
        assert len(set(users)) == len(users)
        is_probe = batch.campaign_id in was_parked and self.batcher.is_parked(batch.campaign_id)
        assert not is_probe or len(given) == 1
        busy = {piece.lane.user for other, probe in self.in_flight if not probe for piece in other.pieces}
        assert is_probe or not busy & set(users)
        for send in given:
            assert send.campaign_id == batch.campaign_id
            assert self.stale(send) is None
            self.inside.remove(send)
            older = [o for o in self.inside if (o.user, o.campaign_id) == (send.user, send.campaign_id)]
            # Of one user and one campaign the oldest leaves first, even after the campaign was parked.
            assert all(o.offset > send.offset for o in older)
            assert all(
                (other.user, other.campaign_id) != (send.user, send.campaign_id)
                for other in sends(piece for on_wire, _ in self.in_flight for piece in on_wire.pieces)
            )
        self.in_flight.append((batch, is_probe))
        return True

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), answer=st.sampled_from(["delivered", "delivered", "unavailable", "withdrawn"]))
    def end_request(self, data: st.DataObject, answer: str) -> None:
        batch, _ = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        given = sends(batch.pieces)
        if answer == "unavailable":
            self.batcher.park(batch.campaign_id, given, self.now, 5.0)
            self.inside |= set(given)
            self.fetch_overflow()
        else:
            self.ended += given
        end(self.batcher, batch, self.now)
        if answer == "delivered":
            self.batcher.unpark(batch.campaign_id, self.now)

    @rule(second=st.booleans())
    def withdraw(self, second: bool) -> None:
        stay = OTHER_CAMPAIGNS if second else CAMPAIGNS
        gone = self.batcher.withdraw({stay}, self.now)
        assert len(gone) == len(set(gone))
        assert set(gone) == {send for send in self.inside if send.stay == stay}
        self.inside -= set(gone)
        self.ended += gone

    @invariant()
    def the_counts_are_right(self) -> None:
        assert self.batcher.waiting == len(self.inside)
        assert self.batcher.parked == sum(len(parked.sends) for parked in self.batcher._parked.values())
        assert self.batcher.parked <= self.parked_max

    @invariant()
    def an_empty_campaign_is_looked_at_again(self) -> None:
        empty = [parked.until for parked in self.batcher._parked.values() if not parked.sends and parked.probe is None]
        due = self.batcher.next_due(1.0, self.now)
        assert not empty or (due is not None and due <= min(empty))

    def teardown(self) -> None:
        if not hasattr(self, "batcher"):
            return
        for _ in range(10 * len(self.added) + 10):
            for batch, _probe in self.in_flight:
                self.ended += sends(batch.pieces)
                end(self.batcher, batch, self.now)
                self.batcher.unpark(batch.campaign_id, self.now)
            self.in_flight.clear()
            self.now += 0.5
            while self.takes(1.0, draining=True):
                pass
            if not self.in_flight and not self.inside:
                break
        assert self.inside == set()
        assert (self.batcher.waiting, self.batcher.parked) == (0, 0)
        assert self.batcher._lanes == {}
        assert not self.batcher._heads
        self.now += 60.0
        assert not self.takes(1.0, draining=True)
        assert self.batcher.parked_campaigns == 0
        assert len(self.ended) == len(self.added)
        assert set(self.ended) == set(self.added)


TestCampaignsAgainstLists = CampaignsAgainstLists.TestCase
TestCampaignsAgainstLists.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
