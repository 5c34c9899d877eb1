import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from connector.ledger import Ledger, LedgerFault
from connector.offset_map import OffsetMap
from connector.records import Assignment

STAY = Assignment("topic", 0, 1)


def ledger(start: int = 0, *settled: tuple[int, int]) -> Ledger:
    return Ledger(STAY, start, OffsetMap(tuple(settled)))


def test_the_lowest_open_offset_is_what_is_committed() -> None:
    books = ledger(10)
    books.admit([10, 11, 12])

    books.settle(11)
    assert books.committable == 10

    books.settle(10)
    assert books.committable == 12

    books.settle(12)
    assert books.committable == 13


def test_holes_in_the_log_count_as_settled() -> None:
    books = ledger(0)
    books.admit([0, 5, 9])

    books.settle(5)

    assert books.committable == 0
    assert books.settled_above() == ((1, 9),)


def test_what_is_settled_above_is_told_in_ranges() -> None:
    books = ledger(0)
    books.admit(range(10))
    for offset in (1, 2, 3, 7):
        books.settle(offset)

    assert books.settled_above() == ((1, 4), (7, 8))


def test_an_inherited_range_is_skipped_and_handed_on() -> None:
    books = ledger(5, (6, 9), (11, 12))

    assert [offset for offset in range(5, 13) if books.inherits(offset)] == [6, 7, 8, 11]
    assert books.settled_above() == ((6, 9), (11, 12))


def test_a_commit_passes_an_inherited_range_once_what_is_below_is_settled() -> None:
    books = ledger(5, (6, 9))
    books.admit([5])
    books.skip_to(9)

    books.settle(5)

    assert books.committable == 9


def test_settling_twice_or_what_is_not_open_is_a_fault() -> None:
    books = ledger(0)
    books.admit([0])
    books.settle(0)

    with pytest.raises(LedgerFault, match="not open"):
        books.settle(0)


def test_an_offset_handed_out_again_is_a_fault() -> None:
    books = ledger(0)
    books.admit([0, 1])

    with pytest.raises(LedgerFault, match="again"):
        books.admit([1])


def test_what_passes_an_offset_that_stays_open_for_long_is_not_kept() -> None:
    """A trigger of a paused campaign waits for days, and millions pass it."""
    books = ledger(0)
    books.admit([0])

    for first in range(1, 100_001, 100):
        books.admit(list(range(first, first + 100)))
        books.settle_all(range(first, first + 100))

    assert len(books._order) < 20_000
    assert books.committable == 0
    assert books.settled_above() == ((1, 100_001),)
    books.settle(0)
    assert books.committable == 100_001


def test_it_is_dirty_from_a_settlement_until_its_commit_is_acknowledged() -> None:
    books = ledger(0)
    books.admit([0, 1])
    assert not books.is_dirty

    books.settle(1)
    assert books.is_dirty

    books.committed(books.committable, books.version)
    assert not books.is_dirty


def test_its_state_reads_as_text() -> None:
    books = ledger(3)
    books.admit([3, 4])

    assert repr(books) == "topic[0]@1 next=5 committable=3 open=2"


def test_a_claim_holds_once_a_commit_that_tells_of_it_is_acknowledged() -> None:
    books = ledger(0)
    books.admit([0, 1, 2])
    asked = books.version
    books.claim([1])
    assert books.is_dirty
    assert books.claimed() == ((1, 2),)

    books.committed(books.committable, asked)  # one that had left before
    assert not books.holds_claim(1)
    assert books.claimed(acknowledged=True) == ()
    books.committed(books.committable, books.version)
    assert books.holds_claim(1)
    assert not books.holds_claim(0)
    assert books.claimed(acknowledged=True) == ((1, 2),)


def test_what_was_surely_not_sent_is_handed_back_and_what_is_settled_is_claimed_no_more() -> None:
    books = ledger(0)
    books.admit([0, 1, 2])
    books.claim([0, 1, 2])
    books.committed(books.committable, books.version)

    books.unclaim([1, 7])
    assert books.is_dirty
    books.settle(0)
    assert books.claimed() == ((2, 3),)


def test_claims_of_an_earlier_life_are_handed_on_until_they_are_met() -> None:
    books = Ledger(STAY, 5, OffsetMap(claimed=((5, 7), (9, 10))))
    assert books.inherits_claims_from(9)
    assert not books.inherits_claims_from(10)
    assert [offset for offset in range(12) if books.inherits_claim(offset)] == [5, 6, 9]
    assert books.claimed() == ((5, 7), (9, 10))

    books.admit([5, 6, 7])
    assert books.claimed() == ((9, 10),)


@pytest.mark.parametrize("together", [True, False])
def test_what_is_settled_since_they_were_counted_may_each_have_made_a_range_more(*, together: bool) -> None:
    books = ledger(0)
    books.admit(range(10))
    assert books.settled_above() == ()

    if together:
        books.settle_all([1, 3, 5])
    else:
        for offset in (1, 3, 5):
            books.settle(offset)

    assert books.ranges_most == 3 == len(books.settled_above())


class LedgerAgainstSets(RuleBasedStateMachine):
    """The ledger against the plainest model: a set of what is open."""

    @initialize(start=st.integers(0, 50), gaps=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), max_size=4))
    def begin(self, start: int, gaps: list[tuple[int, int]]) -> None:
        at, inherited = start, []
        for gap, length in gaps:
            inherited.append((at + gap, at + gap + length))
            at += gap + length
        self.inherited = {offset for low, high in inherited for offset in range(low, high)}
        self.books = ledger(start, *inherited)
        self.start = start
        self.next = start
        self.open: set[int] = set()
        self.exists: set[int] = set()

    @rule(gaps=st.lists(st.integers(0, 3), min_size=1, max_size=6))
    def consume(self, gaps: list[int]) -> None:
        offsets, at = [], self.next
        for gap in gaps:
            offsets.append(at + gap)
            at = offsets[-1] + 1
        fresh = [offset for offset in offsets if not self.books.inherits(offset)]
        assert set(offsets) - set(fresh) == set(offsets) & self.inherited
        self.books.admit(fresh)
        self.books.skip_to(at)
        self.next = at
        self.open |= set(fresh)
        self.exists |= set(fresh)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.open)))
        self.books.settle(offset)
        self.open.discard(offset)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def settle_several(self, data: st.DataObject) -> None:
        offsets = data.draw(st.lists(st.sampled_from(sorted(self.open)), min_size=1, unique=True))
        assert self.books.settle_all(offsets) == len(offsets)
        self.open -= set(offsets)

    @rule()
    def count_ranges(self) -> None:
        """Not after each step: counting makes it exact."""
        most = self.books.ranges_most
        assert most >= len(self.books.settled_above())
        assert self.books.ranges_most == len(self.books.settled_above())

    @invariant()
    def nothing_open_lies_below_the_commit(self) -> None:
        assert self.books.open_count == len(self.open)
        committable = self.books.committable
        assert all(offset >= committable for offset in self.open)
        if self.open:
            assert committable == min(self.open)
        else:
            assert committable >= self.next

    @invariant()
    def the_map_names_nothing_open_and_forgets_nothing_settled(self) -> None:
        committable = self.books.committable
        told = {offset for low, high in self.books.settled_above() for offset in range(low, high)}
        assert not told & self.open
        settled = (self.exists - self.open) | self.inherited
        assert {offset for offset in settled if offset >= committable} <= told
        # What was never seen and is not inherited may not be called settled.
        assert all(offset < self.next or offset in self.inherited for offset in told)


TestLedgerAgainstSets = LedgerAgainstSets.TestCase
TestLedgerAgainstSets.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
