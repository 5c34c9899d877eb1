"""An older value never overwrites a newer one: examples, and a property against a naive reading of the partition."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connector.records import Outbound
from connector.replay.dead_letter import replay_headers
from connector.replay.supersession import Supersession
from connector.replay.verdicts import Verdict
from tests.replay.letters_made import Record, letter, write


def verdict_of(of: Any, its: Outbound, *partition: Outbound, low: int = 0, end: int = 1000) -> Verdict | None:
    supersession = Supersession(low, end)
    supersession.watch(of, its)
    supersession.saw(partition)
    return supersession.verdict(of)


L7 = letter(7)
W7 = write(7, "ann", "city", "plan")


def test_with_nothing_newer_it_goes_back() -> None:
    assert verdict_of(L7, W7) is None
    assert verdict_of(L7, W7, W7, write(6, "ann", "city"), write(9, "bob", "city"), write(9, "ann", "other")) is None


def test_a_newer_write_of_all_its_attributes_supersedes_it() -> None:
    assert verdict_of(L7, W7, write(8, "ann", "city", "plan", "more")) is Verdict.SUPERSEDED
    assert verdict_of(L7, W7, write(8, "ann", "city"), write(9, "ann", "plan")) is Verdict.SUPERSEDED


def test_a_newer_write_of_some_is_enough_to_leave_it_alone() -> None:
    assert verdict_of(L7, W7, write(8, "ann", "plan")) is Verdict.PARTLY_SUPERSEDED


def test_the_words_that_steer_braze_are_no_attributes() -> None:
    newer = write(8, "ann", "_update_existing_only", "_merge_objects")
    assert verdict_of(L7, W7, newer) is None


def test_what_retention_took_leaves_it_unknowable() -> None:
    assert verdict_of(L7, W7, low=8) is None, "only the record itself is gone"
    assert verdict_of(L7, W7, low=9) is Verdict.UNKNOWABLE
    assert verdict_of(L7, W7, write(9, "ann", "city", "plan"), low=9) is Verdict.SUPERSEDED, "that much is known"
    supersession = Supersession(0, 1000)
    supersession.watch(L7, W7)
    supersession.lost_below(8)
    assert supersession.verdict(L7) is None
    supersession.lost_below(9)
    assert supersession.verdict(L7) is Verdict.UNKNOWABLE


def test_a_topic_that_was_made_anew_leaves_it_unknowable() -> None:
    assert verdict_of(L7, W7, end=7) is Verdict.UNKNOWABLE
    supersession = Supersession(0, 1000)
    supersession.watch(L7, W7)
    supersession.saw_at(7, 1000)
    assert supersession.verdict(L7) is None
    supersession.saw_at(7, 1001)
    assert supersession.verdict(L7) is Verdict.UNKNOWABLE


def test_what_cannot_be_read_might_be_newer() -> None:
    for offset, verdict in ((6, None), (8, Verdict.UNKNOWABLE)):
        supersession = Supersession(0, 1000)
        supersession.watch(L7, W7)
        supersession.could_not_read(offset)
        assert supersession.verdict(L7) is verdict


def test_what_cannot_be_mapped_might_be_newer_and_of_the_user_whose_key_it_has() -> None:
    back = replay_headers(letter(5))
    for record, verdict in (
        (Record(8), Verdict.UNKNOWABLE),
        (Record(6), None),
        (Record(8, key=b"another"), None),
        (Record(8, key=None), None),
        (Record(50, back), None),  # 5 put back is older than 7
    ):
        supersession = Supersession(0, 1000)
        supersession.watch(L7, W7)
        supersession.could_not_map([record])
        assert supersession.verdict(L7) is verdict
        supersession.saw([write(60, "ann", "city", "plan")])
        assert supersession.verdict(L7) is Verdict.SUPERSEDED, "that much is known"


def test_a_record_that_was_put_back_is_as_old_as_its_first_failure() -> None:
    back = replay_headers(letter(5))
    assert verdict_of(L7, W7, write(50, "ann", "city", "plan", headers=back)) is None, "5 put back is older than 7"
    again = letter(50, [each for each in back if each[0].startswith("aiq.replay.")])
    assert again.rank == 5
    newer_back = replay_headers(letter(7))
    its = write(50, "ann", "city", "plan")
    assert verdict_of(again, its, write(60, "ann", "city", "plan", headers=newer_back)) is Verdict.SUPERSEDED


def test_reading_starts_at_the_oldest_letter_of_which_something_can_be_known() -> None:
    supersession = Supersession(5, 100)
    assert supersession.start is None
    for offset in (2, 40, 7, 300):
        supersession.watch(letter(offset), write(offset, "ann", "city"))
    assert supersession.start == 7
    supersession.watch(letter(4), write(4, "ann", "city"))
    assert supersession.start == 5


USERS, NAMES = st.sampled_from(["ann", "bob"]), st.frozensets(st.sampled_from("abc"), min_size=1)


@given(st.lists(st.tuples(USERS, NAMES), min_size=1, max_size=30), st.data())
def test_after_a_replay_of_all_that_may_every_attribute_has_its_newest_value(records: Any, data: Any) -> None:
    """The partition's own order decides: some of its records are dead, and put back behind it where that is allowed."""
    dead = sorted(data.draw(st.frozensets(st.integers(0, len(records) - 1))))
    supersession = Supersession(0, len(records))
    for offset in dead:
        supersession.watch(letter(offset), write(offset, records[offset][0], *records[offset][1]))
    start = supersession.start
    assert start == (min(dead) if dead else None)
    cuts = data.draw(st.integers(0, len(records)))
    writes = [write(offset, user, *names) for offset, (user, names) in enumerate(records)]
    supersession.saw(writes[start or 0 : cuts])
    supersession.saw(writes[max(start or 0, cuts) :])
    applied = [offset for offset in range(len(records)) if offset not in dead]
    back = [offset for offset in dead if supersession.verdict(letter(offset)) is None]
    state: dict[tuple[str, str], int] = {}
    for offset in applied + back:
        user, names = records[offset]
        for name in names:
            assert state.get((user, name), -1) < offset, "an older value over a newer one"
            state[user, name] = offset
    for offset in set(dead) - set(back):
        user, names = records[offset]
        later = [names & more for who, more in records[offset + 1 :] if who == user]
        expected = Verdict.SUPERSEDED if frozenset().union(*later) == names else Verdict.PARTLY_SUPERSEDED
        assert supersession.verdict(letter(offset)) is expected
