from dataclasses import replace
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.books import _HEAD_CHARS, Account, Books
from connector.offset_map import FIRST_METADATA, METADATA_CHARS_MAX, SPAN_MAX, OffsetMap, decode, encode
from connector.ports import Commit, StayStart
from connector.records import Assignment, Fate, Kind, Outbound
from tests.sent_objects import AUDIENCES, CAMPAIGNS, EVENTS, Consumed, attributes, event, trigger

KINDS = {"audiences": Kind.AUDIENCE, "events": Kind.EVENT, "campaigns": Kind.CAMPAIGN}
AT_MS = 1_790_000_000_000
NOW = 50.0


def opened(books: Books, stay: Assignment = AUDIENCES, offset: int = 0, left: OffsetMap | str | None = None) -> Account:
    """A stay that begins where its last owner (of whom `left` tells) had committed."""
    metadata = encode(left, offset).text if isinstance(left, OffsetMap) else left or ""
    return books.open(StayStart(stay, offset, metadata), NOW, AT_MS)


def consumed(stay: Assignment, *offsets: int) -> list[Consumed]:
    return [Consumed(stay, offset) for offset in offsets]


def told(commit: Commit) -> OffsetMap:
    return decode(commit.metadata, commit.next_offset)


# ---- what the last owner left ----------------------------------------------------------------------------------------


def test_what_an_earlier_life_settled_needs_no_more_work() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, offset=10, left=OffsetMap(((11, 13), (15, 16)), closed=True))

    fresh = books.admit(account, consumed(AUDIENCES, 10, 11, 12, 13))
    assert [record.offset() for record in fresh] == [10, 13]
    assert books.admit(account, consumed(AUDIENCES, 15)) == []

    tally = books.tallies["audiences"]
    assert (tally.consumed, tally.known) == (2, 3)
    for offset in (10, 13):
        books.settle_one(AUDIENCES, offset, Fate.DELIVERED)
    assert books.commit_of(account, AT_MS, closed=False).next_offset == 16
    assert books.imbalance() == 0


def test_above_an_audience_record_that_waits_for_its_letter_the_map_is_silent() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books)
    books.admit(account, consumed(AUDIENCES, 0, 1, 2, 3))
    books.reject(AUDIENCES, 2)
    for offset in (1, 3):
        books.settle_one(AUDIENCES, offset, Fate.DELIVERED)

    assert told(books.commit_of(account, AT_MS, closed=False)).settled == ((1, 2),)
    books.settle_one(AUDIENCES, 2, Fate.DEAD_LETTERED)
    assert told(books.commit_of(account, AT_MS, closed=False)).settled == ((1, 4),)


@pytest.mark.parametrize("stay", [EVENTS, CAMPAIGNS])
def test_above_other_records_that_wait_for_their_letters_it_is_not(stay: Assignment) -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, stay)
    books.admit(account, consumed(stay, 0, 1))
    books.reject(stay, 0)
    books.settle_one(stay, 1, Fate.DELIVERED)

    assert told(books.commit_of(account, AT_MS, closed=False)).settled == ((1, 2),)


def test_foreign_metadata_is_ignored_and_counted() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, offset=10, left="bWFnaWM=")

    assert [record.offset() for record in books.admit(account, consumed(AUDIENCES, 10, 11))] == [10, 11]
    assert books.ignored_maps == 1


def settled_all_but(books: Books, account: Account, *still_open: int, of: int) -> None:
    books.admit(account, consumed(account.stay, *range(of)))
    for offset in set(range(of)) - set(still_open):
        books.settle_one(account.stay, offset, Fate.DELIVERED)


def back(books: Books, offset: int, metadata: str, stay: Assignment = EVENTS) -> Account:
    return books.open(StayStart(stay._replace(epoch=2), offset, metadata), NOW, AT_MS)


def test_what_a_lost_stay_settled_and_could_not_commit_is_not_done_again_when_it_comes_back() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, left=FIRST_METADATA)
    settled_all_but(books, account, 4, 7, of=10)
    books.commit_of(account, AT_MS, closed=False)  # nobody answered, and then the session was over
    books.close([EVENTS])

    account = back(books, 0, FIRST_METADATA)

    assert [r.offset() for r in books.admit(account, consumed(account.stay, *range(12)))] == [4, 7, 10, 11]
    assert account.ledger.committable == 4


@pytest.mark.parametrize(("stay", "is_kept"), [(AUDIENCES, False), (EVENTS, True), (CAMPAIGNS, True)])
def test_of_a_stay_that_is_over_only_what_would_be_believed_is_kept(stay: Assignment, *, is_kept: bool) -> None:
    books = Books(KINDS, 5.0)
    opened(books, stay)

    books.close([stay])

    assert (stay.name in books._memories) is is_kept


def test_a_commit_that_had_no_answer_may_be_the_one_that_kafka_holds() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, left=FIRST_METADATA)
    settled_all_but(books, account, 4, 7, of=10)
    unanswered = books.commit_of(account, AT_MS, closed=False)
    books.settle_one(EVENTS, 4, Fate.DELIVERED)
    books.close([EVENTS])

    account = back(books, unanswered.next_offset, unanswered.metadata)

    assert [r.offset() for r in books.admit(account, consumed(account.stay, *range(4, 10)))] == [7]


def test_however_often_kafka_takes_no_commit_it_may_hold_the_last_that_it_took() -> None:
    """A coordinator that is away until the session is over is asked more often than all that is asked can be kept."""
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, left=FIRST_METADATA)
    books.admit(account, consumed(EVENTS, *range(30)))
    for offset in range(1, 30):
        books.settle_one(EVENTS, offset, Fate.DELIVERED)
        last = books.commit_of(account, AT_MS, closed=False)
        if offset == 5:
            account.acknowledge(last)
            taken = last
    books.close([EVENTS])

    account = back(books, taken.next_offset, taken.metadata)

    assert [r.offset() for r in books.admit(account, consumed(account.stay, *range(30)))] == [0]


def test_to_ask_the_same_again_makes_nothing_forgotten_that_was_asked_before() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, left=FIRST_METADATA)
    settled_all_but(books, account, 4, of=10)
    before = books.commit_of(account, AT_MS, closed=False)
    books.settle_one(EVENTS, 4, Fate.DELIVERED)
    for _ in range(30):
        books.commit_of(account, AT_MS, closed=False)
    books.close([EVENTS])

    account = back(books, before.next_offset, before.metadata)

    assert not books.admit(account, consumed(account.stay, *range(4, 10)))


@pytest.mark.parametrize("committed", [(0, ""), (3, FIRST_METADATA), (0, encode(OffsetMap(((1, 2),)), 0).text)])
def test_once_somebody_else_has_committed_nothing_is_remembered(committed: tuple[int, str]) -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, left=FIRST_METADATA)
    acknowledged = books.commit_of(account, AT_MS, closed=False)
    account.acknowledge(acknowledged)
    settled_all_but(books, account, 4, of=10)
    books.close([EVENTS])

    account = back(books, *committed)

    assert len(books.admit(account, consumed(account.stay, *range(3, 10)))) == 7


def test_a_memory_serves_once() -> None:
    books = Books(KINDS, 5.0)
    settled_all_but(books, opened(books, EVENTS, left=FIRST_METADATA), of=3)
    books.close([EVENTS])
    back(books, 5, FIRST_METADATA)
    books.close([EVENTS._replace(epoch=2)])

    account = back(books, 0, FIRST_METADATA)

    assert len(books.admit(account, consumed(account.stay, 0, 1, 2))) == 3


def test_attributes_of_a_lost_stay_are_written_again_lest_somebody_wrote_older_ones_since() -> None:
    """Another owner may have sent 100 again, and been gone before he committed: to pass over 101 would leave 100."""
    books = Books(KINDS, 5.0)
    account = opened(books, AUDIENCES, 100, left=FIRST_METADATA)
    books.admit(account, consumed(AUDIENCES, 100, 101))
    for offset in (100, 101):
        books.settle_one(AUDIENCES, offset, Fate.DELIVERED)
    books.close([AUDIENCES])

    account = back(books, 100, FIRST_METADATA, AUDIENCES)

    assert len(books.admit(account, consumed(account.stay, 100, 101))) == 2


@pytest.mark.parametrize("written_under", [7, None])
def test_what_was_written_anew_after_a_truncation_is_work_whatever_the_map_says(written_under: int | None) -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, offset=10, left=OffsetMap(((11, 15), (16, 20)), leader_epoch=written_under))

    records = [Consumed(AUDIENCES, offset, leader_epoch=7 if offset < 13 else 8) for offset in range(10, 20)]
    taken = [record.offset() for record in books.admit(account, records)]

    assert taken == ([10, *range(13, 20)] if written_under == 7 else [10, 15])
    assert books.truncated_maps == (1 if written_under == 7 else 0)


@pytest.mark.parametrize(
    ("left", "claims"),
    [
        (OffsetMap(claimed=((10, 12),), leader_epoch=7), []),  # no settled range that could be met first
        (OffsetMap(((11, 20),), claimed=((10, 11),), leader_epoch=7), []),  # a claim below the first settled range
    ],
)
def test_what_was_written_anew_is_nobody_s_claim(left: OffsetMap, claims: list[int]) -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, CAMPAIGNS, 10, left)

    taken = books.admit(account, [Consumed(CAMPAIGNS, offset, leader_epoch=8) for offset in range(10, 14)])

    assert len(taken) == 4
    assert [offset for offset in range(10, 14) if account.ledger.inherits_claim(offset)] == claims
    assert books.truncated_maps == 1


def test_a_commit_never_passes_what_was_not_seen_whatever_the_map_says_of_it() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, 10, OffsetMap(((11, 20),), leader_epoch=7))
    books.admit(account, [Consumed(EVENTS, 10, leader_epoch=7)])
    books.settle_one(EVENTS, 10, Fate.DELIVERED)

    commit = books.commit_of(account, AT_MS, closed=False)
    assert commit.next_offset == 11
    assert told(commit).settled == ((11, 20),)


@pytest.mark.parametrize(
    "left", [OffsetMap(((11, 14),), leader_epoch=7), OffsetMap(claimed=((11, 14),), leader_epoch=7)]
)
def test_what_a_truncation_belied_is_not_believed_again_when_a_lost_stay_comes_back(left: OffsetMap) -> None:
    books = Books(KINDS, 5.0, "us")
    metadata = encode(replace(left, writer="them"), 10).text
    account = opened(books, CAMPAIGNS, 10, metadata)
    books.admit(account, [Consumed(CAMPAIGNS, 10, leader_epoch=7), Consumed(CAMPAIGNS, 12, leader_epoch=8)])
    books.close([CAMPAIGNS])

    again = books.open(StayStart(CAMPAIGNS._replace(epoch=2), 10, metadata), NOW, AT_MS)

    assert [offset for offset in range(10, 15) if again.ledger.inherits(offset)] == [11]  # which does not exist
    assert [offset for offset in range(10, 15) if again.ledger.inherits_claim(offset)] == []


def test_the_newest_record_s_leader_epoch_goes_into_the_commit() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, left=OffsetMap(leader_epoch=3))
    assert told(books.commit_of(account, AT_MS, closed=False)).leader_epoch == 3
    books.admit(account, [Consumed(AUDIENCES, 0, 4), Consumed(AUDIENCES, 1, 5)])
    assert told(books.commit_of(account, AT_MS, closed=False)).leader_epoch == 5


@pytest.mark.parametrize(
    ("left", "settle_s", "held_s"),
    [
        (None, 5.0, 0.0),  # nobody was there before
        (OffsetMap(closed=True), 5.0, 0.0),
        (OffsetMap(settle_until_ms=AT_MS + 1999, closed=True), 5.0, 2.999),  # and a second, as clocks may differ
        (OffsetMap(settle_until_ms=AT_MS + 1001, closed=True), 5.0, 2.001),  # to the millisecond
        (OffsetMap(settle_until_ms=AT_MS - 999, closed=True), 5.0, 0.001),  # over, or our clock is a second ahead
        (OffsetMap(settle_until_ms=AT_MS - 1000, closed=True), 5.0, 0.0),
        (OffsetMap(settle_until_ms=AT_MS + 1999, closed=True), 2.0, 2.0),
        (OffsetMap(settle_until_ms=AT_MS + 3_600_000, closed=True), 5.0, 5.0),  # a clock far ahead of ours
        (OffsetMap(settle_until_ms=AT_MS + 1), 5.0, 5.0),  # no closing commit: something may have been on the wire
        (FIRST_METADATA, 5.0, 5.0),
        ("somebody else's", 5.0, 5.0),
        (OffsetMap(settle_until_ms=AT_MS + 1999), 0.0, 0.0),  # the operator does not wait
    ],
)
def test_attribute_writes_wait_for_what_the_last_owner_sent(
    left: OffsetMap | str | None, settle_s: float, held_s: float
) -> None:
    books = Books(KINDS, settle_s)
    account = opened(books, left=left)

    assert account.hold_until == pytest.approx(NOW + held_s)
    # Handed on, even if this stay sends nothing: until the same instant, for the next owner.
    handed_on = told(books.commit_of(account, AT_MS, closed=True)).settle_until_ms
    assert handed_on == (AT_MS + round(held_s * 1000) if held_s else 0)


@pytest.mark.parametrize(
    ("topic", "left", "settle_s", "is_sealed"),
    [
        ("audiences", OffsetMap(closed=True), 5.0, True),
        ("audiences", OffsetMap(), 5.0, False),  # whoever comes next waits anyway
        ("audiences", OffsetMap(closed=True), 0.0, False),  # nobody waits at all
        ("events", OffsetMap(closed=True), 5.0, False),
    ],
)
def test_the_word_that_nothing_is_on_the_wire_is_taken_back_by_a_commit_before_anything_is(
    topic: str, left: OffsetMap, settle_s: float, *, is_sealed: bool
) -> None:
    books = Books(KINDS, settle_s)
    account = opened(books, Assignment(topic, 0, 1), offset=7, left=left)
    assert account.is_sealed is is_sealed
    assert books.has_news is is_sealed

    commits = list(books.commits(AT_MS))

    assert [commit.next_offset for commit in commits] == [7] * is_sealed
    for commit in commits:
        assert not told(commit).closed
        assert account.is_sealed  # until Kafka has answered
        account.acknowledge(commit)
    assert not account.is_sealed
    assert not books.has_news


@pytest.mark.parametrize("topic", ["events", "campaigns"])
def test_only_attributes_wait(topic: str) -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, Assignment(topic, 0, 1), left=OffsetMap(settle_until_ms=AT_MS + 4000))

    assert account.hold_until == NOW
    assert account.settle_until_ms == 0


def test_a_write_s_settle_time_is_handed_on_until_it_is_over() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books)
    books.wrote_attributes({AUDIENCES, Assignment("audiences", 9, 9)}, AT_MS + 1000)
    books.wrote_attributes({AUDIENCES}, AT_MS + 500)  # answers come in any order

    assert told(books.commit_of(account, AT_MS + 5999, closed=True)).settle_until_ms == AT_MS + 6000
    assert told(books.commit_of(account, AT_MS + 6000, closed=True)).settle_until_ms == 0


# ---- claims ----------------------------------------------------------------------------------------------------------


def campaigns_opened(books: Books, *offsets: int, left: OffsetMap | None = None) -> tuple[Account, list[Outbound]]:
    account = opened(books, CAMPAIGNS, left=left)
    books.admit(account, consumed(CAMPAIGNS, *offsets))
    return account, [trigger(f"u{offset}", offset) for offset in offsets]


def test_a_claim_goes_into_the_commit_and_holds_when_that_is_acknowledged() -> None:
    books = Books(KINDS, 5.0)
    account, sends = campaigns_opened(books, 0, 1, 2)
    assert books.claim(sends[1:])
    version = account.ledger.version
    commit = books.commit_of(account, AT_MS, closed=False)

    assert told(commit).claimed == ((1, 3),)
    assert not books.holds_claims(sends[1:])
    account.ledger.committed(commit.next_offset, version)
    assert books.holds_claims(sends[1:])
    assert not books.holds_claims(sends)

    books.unclaim(sends)
    assert told(books.commit_of(account, AT_MS, closed=True)).claimed == ()


def test_what_has_left_cannot_be_claimed() -> None:
    books = Books(KINDS, 5.0)
    _, sends = campaigns_opened(books, 0)
    books.close([CAMPAIGNS])

    assert not books.claim(sends)
    books.unclaim(sends)
    assert not books.holds_claims(sends)


def test_nothing_is_claimed_where_the_map_has_no_room_for_it() -> None:
    books = Books(KINDS, 5.0)
    rng = Random(4)
    offsets = sorted(rng.sample(range(200_000), 8_000))
    account, sends = campaigns_opened(books, *offsets)
    for send in sends[1:]:
        if rng.random() < 0.5:
            books.settle_one(CAMPAIGNS, send.offset, Fate.DELIVERED)
    still_open = [send for send in sends if account.ledger.is_open(send.offset)]

    assert not books.claim(still_open[:50])
    assert account.ledger.claimed() == ()


def test_a_stay_that_comes_back_knows_which_claims_were_never_sent() -> None:
    books = Books(KINDS, 5.0, "a")
    account, sends = campaigns_opened(books, 0, 1)
    books.claim(sends[:1])
    acknowledged = books.commit_of(account, AT_MS, closed=False)
    account.acknowledge(acknowledged)
    account.ledger.committed(acknowledged.next_offset, account.ledger.version)
    books.claim(sends[1:])
    unanswered = books.commit_of(account, AT_MS, closed=False)
    books.close([CAMPAIGNS])

    again = books.open(StayStart(CAMPAIGNS._replace(epoch=2), 0, unanswered.metadata), NOW, AT_MS)

    assert told(unanswered).claimed == ((0, 2),)
    assert [offset for offset in range(2) if again.ledger.inherits_claim(offset)] == [0]


def test_another_process_s_claim_is_believed_although_ours_would_have_read_alike() -> None:
    """Both begin at one position and claim the same trigger; ours had no answer, theirs was acknowledged and sent."""
    ours, theirs = Books(KINDS, 5.0, "a"), Books(KINDS, 5.0, "b")
    account, sends = campaigns_opened(ours, 0, left=OffsetMap())
    ours.claim(sends)
    unanswered = ours.commit_of(account, AT_MS, closed=False)
    ours.unclaim(sends)
    ours.close([CAMPAIGNS])
    account, sends = campaigns_opened(theirs, 0, left=OffsetMap())
    theirs.claim(sends)
    sent = theirs.commit_of(account, AT_MS, closed=False)

    again = ours.open(StayStart(CAMPAIGNS._replace(epoch=2), sent.next_offset, sent.metadata), NOW, AT_MS)

    assert sent.metadata != unanswered.metadata
    assert again.ledger.inherits_claim(0)


def test_no_claim_is_granted_that_would_not_fit_into_a_commit() -> None:
    books = Books(KINDS, 5.0)
    account, sends = campaigns_opened(books, *range(40_000))
    picked = Random(1).sample(sends[1:], 5_000)

    granted = sum(books.claim(picked[first : first + 50]) for first in range(0, 5_000, 50))

    assert granted < 100
    assert len(books.commit_of(account, AT_MS, closed=True).metadata) <= METADATA_CHARS_MAX


# ---- fates -----------------------------------------------------------------------------------------------------------


def test_a_closing_commit_says_so_and_an_open_one_does_not() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books)

    assert told(books.commit_of(account, AT_MS, closed=True)).closed
    assert not told(books.commit_of(account, AT_MS, closed=False)).closed


def test_only_accounts_with_news_are_committed() -> None:
    books = Books(KINDS, 5.0)
    audiences, events = opened(books), opened(books, EVENTS)
    books.admit(audiences, consumed(AUDIENCES, 0, 1))
    books.admit(events, consumed(EVENTS, 0))
    assert list(books.commits(AT_MS)) == []

    books.settle_one(AUDIENCES, 1, Fate.DELIVERED)
    (commit,) = books.commits(AT_MS)
    assert (commit.stay, commit.next_offset) == (AUDIENCES, 0)
    assert told(commit).settled == ((1, 2),)

    audiences.ledger.committed(commit.next_offset, audiences.ledger.version)
    assert list(books.commits(AT_MS)) == []


def test_a_late_fate_is_counted_and_settles_nothing() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books)
    books.admit(account, consumed(AUDIENCES, 0, 1))
    late = [attributes("u", 0), attributes("u", 0, Assignment("audiences", 0, 2)), attributes("u", 7)]
    books.settle(late[:1], Fate.DELIVERED)

    books.settle(late, Fate.DELIVERED)  # settled already, of another stay, never handed out
    assert not books.settle_one(AUDIENCES, 0, Fate.SKIPPED)
    assert books.late == 4
    assert books.tallies["audiences"].settled[Fate.DELIVERED] == 1

    assert books.close([AUDIENCES]) == {"audiences": 1}
    books.settle([attributes("u", 1)], Fate.DELIVERED)
    assert not books.settle_one(AUDIENCES, 1, Fate.DEAD_LETTERED)
    assert books.late == 6
    assert books.imbalance() == 0


def test_closing_what_is_not_open_returns_nothing() -> None:
    books = Books(KINDS, 5.0)

    assert books.close([AUDIENCES, EVENTS]) == {}


def test_the_oldest_unsettled_record_is_known_to_the_chunk() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books)
    for first, millis in ((0, 100), (2, 200), (4, 300)):
        books.admit(account, consumed(AUDIENCES, first, first + 1))
        account._marks[-1] = (first, millis)
    assert account.oldest_ms() == 100

    for offset in (0, 1, 4):
        books.settle_one(AUDIENCES, offset, Fate.DELIVERED)
    assert account.oldest_ms() == 200

    for offset in (2, 3, 5):
        books.settle_one(AUDIENCES, offset, Fate.DELIVERED)
    assert account.oldest_ms() is None


def test_of_chunks_that_pass_an_old_record_so_many_are_remembered_that_ages_are_nearly_right() -> None:
    account = opened(Books(KINDS, 5.0), CAMPAIGNS)
    for offset in range(20_000):  # one a second, say
        account.ledger.admit([offset])
        account.mark(offset, offset)
        if offset not in {0, 15_000}:
            account.ledger.settle(offset)

    assert len(account._marks) < 2_500
    assert account.oldest_ms() == 0
    account.ledger.settle(0)
    oldest = account.oldest_ms()
    assert oldest is not None
    assert 14_960 <= oldest <= 15_000  # rather too old than too young


# ---- maps that grow too long -----------------------------------------------------------------------------------------


def scattered(stay: Assignment) -> tuple[Books, Account]:
    """Books of a stay of which a random half is settled: the map is long."""
    books = Books(KINDS, 5.0)
    account = opened(books, stay)
    books.admit(account, consumed(stay, *range(40_000)))
    rng = Random(7)
    for offset in range(1, 40_000):
        if rng.random() < 0.5:
            books.settle_one(stay, offset, Fate.DELIVERED)
    return books, account


def test_an_attribute_map_is_cut_and_the_cut_counted() -> None:
    books, account = scattered(AUDIENCES)

    commit = books.commit_of(account, AT_MS, closed=False)

    assert len(commit.metadata) <= METADATA_CHARS_MAX
    assert books.cut_offsets > 0
    assert account.stay not in books.held_back()


def filled(stay: Assignment) -> tuple[Books, Account, Random]:
    """As much taken in as there is room for, a poll at a time."""
    books = Books(KINDS, 5.0, "writer")
    account = opened(books, stay)
    take_in(books, account)
    return books, account, Random(7)


def take_in(books: Books, account: Account, most: int = 100_000) -> int:
    """Polls of 500 while there is room; returns how many records that were."""
    taken = 0
    while taken < most and account.has_room(500, account.ledger.next_offset + 500):
        first = account.ledger.next_offset
        books.admit(account, consumed(account.stay, *range(first, first + 500)))
        taken += 500
    return taken


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.98])
@pytest.mark.parametrize("stay", [EVENTS, CAMPAIGNS])
def test_a_map_that_must_not_be_cut_is_not_whatever_is_settled_first(stay: Assignment, share: float) -> None:
    """A cut offset is an event, or a message, that whoever comes next sends again."""
    books, account, rng = filled(stay)

    assert account.ledger.open_count >= 10_000
    for _ in range(20):
        still_open = [each for each in range(account.ledger.next_offset) if account.ledger.is_open(each)]
        for offset in rng.sample(still_open[1:], int(len(still_open[1:]) * share)):
            books.settle_one(stay, offset, Fate.DELIVERED)
        commit = books.commit_of(account, AT_MS, closed=False)
        assert books.cut_offsets == 0
        assert len(commit.metadata) <= METADATA_CHARS_MAX
        books.settle_one(stay, account.ledger.committable, Fate.DELIVERED)
        take_in(books, account)


@pytest.mark.parametrize(("parked", "behind"), [(1, 300_000), (60, 150_000), (700, 60_000), (1_400, 20_000)])
def test_what_stays_open_does_not_stop_what_comes_behind_it(parked: int, behind: int) -> None:
    """Triggers of a paused campaign may wait for hours, and everything else goes on."""
    books = Books(KINDS, 5.0, "writer")
    account = opened(books, CAMPAIGNS)
    account.ledger.admit(range(parked))

    for first in range(parked, parked + behind, 500):
        books.commit_of(account, AT_MS, closed=False)
        assert account.has_room(500, first + 500)
        account.ledger.admit(range(first, first + 500))
        account.ledger.settle_all(range(first, first + 500))

    assert account.ledger.committable == 0


@pytest.mark.parametrize("requests", [1, 16, 64])
def test_what_is_settled_while_many_triggers_are_claimed_still_has_room(requests: int) -> None:
    """Thousands may expire at once. What was cut would be sent again, and once is the most."""
    books, account, rng = filled(CAMPAIGNS)
    waiting = rng.sample(range(account.ledger.next_offset), account.ledger.next_offset)

    granted = 0
    for _ in range(requests):
        if books.claim([trigger(f"u{offset}", offset) for offset in waiting[-50:]]):
            del waiting[-50:]
            granted += 1
    for offset in waiting[::2]:
        books.settle_one(CAMPAIGNS, offset, Fate.SKIPPED)
    books.commit_of(account, AT_MS, closed=False)

    assert granted >= min(requests, 16)
    assert books.cut_offsets == 0


def test_however_full_a_map_is_a_trigger_can_be_claimed() -> None:
    """Or nothing could be sent any more that would make it shorter."""
    books, account, rng = filled(CAMPAIGNS)
    for offset in range(1, account.ledger.next_offset):
        if rng.random() < 0.5:
            books.settle_one(CAMPAIGNS, offset, Fate.DELIVERED)
    still_open = [each for each in range(account.ledger.next_offset) if account.ledger.is_open(each)]

    assert books.claim([trigger(f"u{offset}", offset) for offset in rng.sample(still_open, 50)])


def test_there_is_room_again_as_soon_as_the_lowest_are_settled_and_nothing_is_paused_meanwhile() -> None:
    """Who is paused and resumed fetches nothing for up to a second."""
    books, account, _ = filled(EVENTS)
    assert take_in(books, account) == 0
    assert books.held_back() == frozenset()

    for offset in range(1000):
        books.settle_one(EVENTS, offset, Fate.DELIVERED)

    assert take_in(books, account) > 0


def test_behind_any_gap_there_is_room_when_nothing_else_is_open() -> None:
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS)

    assert account.has_room(1500, 10**12)
    books.admit(account, consumed(EVENTS, 0))
    assert not account.has_room(1500, 10**12)


def test_no_more_is_taken_than_a_map_may_span() -> None:
    """Whoever comes next takes a wider one for damaged, and does all of it again."""
    books = Books(KINDS, 5.0, "writer")
    account = opened(books, EVENTS)
    books.admit(account, consumed(EVENTS, 0))

    assert not account.has_room(1, SPAN_MAX + 1)
    assert account.has_room(1, SPAN_MAX)
    books.admit(account, consumed(EVENTS, SPAN_MAX - 1))
    books.settle_one(EVENTS, SPAN_MAX - 1, Fate.DELIVERED)

    assert told(books.commit_of(account, AT_MS, closed=False)).settled == ((1, SPAN_MAX),)


def test_a_map_s_frame_takes_less_than_is_kept_for_it() -> None:
    frame = OffsetMap((), 2**42, closed=True, leader_epoch=2**31 - 1, writer="w" * 8)

    assert len(encode(frame, 0).text) <= _HEAD_CHARS


def test_what_is_inherited_ahead_takes_room_too() -> None:
    """A map of an earlier version may be as long as there is room for."""
    settled = tuple((offset, offset + 1) for offset in range(101, 40_000, 20))
    books = Books(KINDS, 5.0)
    account = opened(books, EVENTS, 100, OffsetMap(settled))

    assert account.has_room(500, 600)
    books.admit(account, consumed(EVENTS, *range(100, 600)))
    assert not account.has_room(500, 1100)


# ---- against a naive model -------------------------------------------------------------------------------------------


class BooksAgainstSets(RuleBasedStateMachine):
    """Partitions come, are worked on, are handed over or lost; nothing is told as settled that was not."""

    @initialize(settle_s=st.sampled_from([0.0, 5.0]))
    def begin(self, settle_s: float) -> None:
        self.books = Books(KINDS, settle_s)
        self.epoch = 0
        self.stays: dict[str, Assignment] = {}
        self.kafka: dict[str, Commit | None] = dict.fromkeys(KINDS)  # what is committed
        self.next: dict[str, int] = dict.fromkeys(KINDS, 0)  # where the next record will be read
        self.written: dict[str, set[int]] = {topic: set() for topic in KINDS}
        self.open: dict[str, set[int]] = {topic: set() for topic in KINDS}
        self.settled: dict[str, set[int]] = {topic: set() for topic in KINDS}
        self.past: list[Outbound] = []
        self.fates = 0

    topics = st.sampled_from(sorted(KINDS))

    @rule(topic=topics)
    def assign(self, topic: str) -> None:
        if topic in self.stays:
            return
        self.epoch += 1
        stay = self.stays[topic] = Assignment(topic, 0, self.epoch)
        commit = self.kafka[topic]
        offset, metadata = (commit.next_offset, commit.metadata) if commit is not None else (0, "")
        self.books.open(StayStart(stay, offset, metadata), NOW, AT_MS)
        self.next[topic] = offset

    @rule(topic=topics, gaps=st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def consume(self, topic: str, gaps: list[int]) -> None:
        stay = self.stays.get(topic)
        if stay is None:
            return
        # What is written stays written; beyond it new records come, with holes between them.
        again = sorted(offset for offset in self.written[topic] if offset >= self.next[topic])[: len(gaps)]
        at = max(self.written[topic], default=-1) + 1
        for gap in gaps[len(again) :]:
            again.append(at + gap)
            at = again[-1] + 1
        self.written[topic] |= set(again)
        self.next[topic] = again[-1] + 1
        fresh = {record.offset() for record in self.books.admit(self.books.accounts[stay], consumed(stay, *again))}
        assert set(again) - fresh <= self.settled[topic]
        self.open[topic] |= fresh

    @rule(topic=topics, fate=st.sampled_from(Fate), data=st.data())
    def settle(self, topic: str, fate: Fate, data: st.DataObject) -> None:
        if topic in self.stays and self.open[topic]:
            offset = data.draw(st.sampled_from(sorted(self.open[topic])))
            record = event("u", offset, self.stays[topic])
            if data.draw(st.booleans()):
                self.books.settle([record], fate)
            else:
                assert self.books.settle_one(record.stay, offset, fate)
            self.open[topic].remove(offset)
            self.settled[topic].add(offset)
            self.past.append(record)
            self.fates += 1

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        record = data.draw(st.sampled_from(self.past))
        late = self.books.late
        if self.stays.get(record.stay.topic) == record.stay:
            self.books.settle([record], Fate.DELIVERED)
            assert self.books.late == late + 1

    def commit(self, topic: str, *, closed: bool) -> None:
        account = self.books.accounts[self.stays[topic]]
        commit = self.books.commit_of(account, AT_MS, closed=closed)
        self.kafka[topic] = commit
        account.acknowledge(commit)
        account.ledger.committed(commit.next_offset, account.ledger.version)
        map_ = told(commit)
        told_settled = {offset for low, high in map_.settled for offset in range(low, high)}
        done = {offset for offset in self.written[topic] if offset < commit.next_offset or offset in told_settled}
        assert done == self.settled[topic]
        assert map_.closed == closed

    @rule(topic=topics)
    def commit_now(self, topic: str) -> None:
        if topic in self.stays:
            self.commit(topic, closed=False)
            assert self.stays[topic] not in [commit.stay for commit in self.books.commits(AT_MS)]

    @rule(topic=topics, graceful=st.booleans())
    def leave(self, topic: str, graceful: bool) -> None:
        stay = self.stays.pop(topic, None)
        if stay is None:
            return
        self.stays[topic] = stay
        if graceful:
            self.commit(topic, closed=True)
        del self.stays[topic]
        assert self.books.close([stay]) == {topic: len(self.open[topic])}
        self.open[topic].clear()
        commit = self.kafka[topic]
        kept = told(commit).settled if commit is not None else ()
        base = commit.next_offset if commit is not None else 0
        # What no commit tells of is forgotten, and will be done again.
        self.settled[topic] = {
            offset for offset in self.settled[topic] if offset < base or any(low <= offset < high for low, high in kept)
        }

    @invariant()
    def the_books_balance(self) -> None:
        assert self.books.imbalance() == 0
        for topic, still_open in self.open.items():
            assert self.books.in_flight(topic) == len(still_open)
        assert sum(sum(tally.settled.values()) for tally in self.books.tallies.values()) == self.fates


TestBooksAgainstSets = BooksAgainstSets.TestCase
TestBooksAgainstSets.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
