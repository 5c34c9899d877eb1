"""Reading a letter back, and the headers that its record carries from life to life."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.letters import letter_headers
from connector.records import Assignment, Kind
from connector.replay.dead_letter import (
    CONTEXT,
    CONTEXT_BYTES_MAX,
    REASONS_MAX,
    DeadLetter,
    Failed,
    Position,
    mark_headers,
    original_headers,
    rank_of,
    read_letter,
    replay_headers,
)
from tests.hostile_headers import Unreadable
from tests.replay.letters_made import TOPIC, Record, context, letter

OWN = [("trace", b"\x00\xff"), ("trace", b"twice"), ("null", None)]


def fail_again(record_headers: Any, offset: int, reason: str = "refused", at: int = 200) -> DeadLetter:
    """What the connector's dead-letter writer makes of a record with these headers that fails at `offset`."""
    record = Record(offset, record_headers, timestamp_ms=9_000)
    kept = [each for each in record_headers if not each[0].startswith("aiq.dlq.")]
    added = letter_headers(
        record, Assignment(TOPIC, 0, 1), Kind.AUDIENCE, reason, "again", written_at_ms=9_500  # type: ignore[arg-type]
    )  # fmt: skip
    found = read_letter(Record(at, [*kept, *added], "aiq.dead-letters", timestamp_ms=9_000))
    assert isinstance(found, DeadLetter)
    return found


def test_every_field_that_the_connector_writes_is_known_here() -> None:
    written = letter_headers(Record(1), Assignment("t", 0, 0), Kind.EVENT, "refused", "", written_at_ms=0)
    assert tuple(name.removeprefix("aiq.dlq.") for name, _ in written) == CONTEXT


def test_a_letter_says_where_its_record_failed_and_when() -> None:
    found = letter(7, OWN, at=100)
    assert found.at == ("aiq.dead-letters", 0, 100)
    assert found.origin == (TOPIC, 0, 7)
    assert found.failed.timestamp_ms == 1000
    assert (found.reason, found.written_at_ms, found.rank) == ("refused", 5000, 7)
    assert str(found.origin) == f"{TOPIC}[0]:7"


def test_without_the_time_of_writing_the_letters_own_timestamp_stands_for_it() -> None:
    headers = [each for each in context() if each[0] != "aiq.dlq.written_at"]
    found = read_letter(Record(1, headers, timestamp_ms=4321))
    assert isinstance(found, DeadLetter)
    assert found.written_at_ms == 4321


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        [("trace", b"1")],
        [each for each in context() if each[0] != "aiq.dlq.topic"],
        [each for each in context() if each[0] != "aiq.dlq.partition"],
        [each for each in context() if each[0] != "aiq.dlq.offset"],
        context(partition="-1"),
        context(partition="one"),
        context(topic="no topic"),
        context(topic=""),
        context(reason=""),
        context(timestamp="now"),
        [*context(), ("aiq.dlq.offset", b"\xff")][1:],
        [*context()[:4], ("aiq.dlq.offset", None)],
        context(offset=10**30),
    ],
)
def test_what_is_not_whole_is_foreign(headers: Any) -> None:
    assert read_letter(Record(1, headers)) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([f"aiq.dlq.{name}" for name in CONTEXT]) | st.text(max_size=20),
            st.none() | st.binary(max_size=20) | st.integers().map(lambda number: str(number).encode()),
        )
    )
)
def test_no_headers_whatever_make_it_fail(headers: Any) -> None:
    found = read_letter(Record(1, headers))
    if isinstance(found, DeadLetter):
        replay_headers(found)


def test_a_mark_is_read_as_the_record_that_it_is_of() -> None:
    of = letter(7)
    assert read_letter(Record(300, mark_headers(of), value=None)) == of.failed
    assert of.failed == Failed(Position(TOPIC, 0, 7), 1000)


def test_a_record_with_a_value_is_no_mark_whatever_its_headers_say() -> None:
    assert isinstance(read_letter(Record(300, [*mark_headers(letter(7)), *context(8)])), DeadLetter)


@pytest.mark.parametrize("text", [b"", b"x", b"a[0]", b"a[0]:-1", b"a[x]:1", b"\xff"])
def test_a_damaged_mark_is_foreign(text: bytes) -> None:
    headers = [("aiq.replay.done", text), ("aiq.replay.timestamp", b"1")]
    assert read_letter(Record(1, headers, value=None)) is None


def test_a_record_put_back_has_its_own_headers_and_where_it_has_been() -> None:
    headers = replay_headers(letter(7, OWN, at=100))
    assert headers[:3] == OWN
    assert dict(headers[3:7]) == {
        "aiq.replay.of": f"{TOPIC}[0]:7".encode(),
        "aiq.replay.letter": b"aiq.dead-letters[0]:100",
        "aiq.replay.count": b"1",
        "aiq.replay.reasons": b"refused",
    }
    first = {name.removeprefix("aiq.replay.first."): value for name, value in headers[7:]}
    assert first == {name.removeprefix("aiq.dlq."): value for name, value in context(7)}


def test_the_second_failure_adds_to_the_history_and_the_first_is_kept_whole() -> None:
    again = fail_again(replay_headers(letter(7, OWN)), 50, "bad_value")
    assert (again.origin.offset, again.reason, again.context["detail"]) == (50, "bad_value", "again")
    assert (again.history.count, again.history.reasons) == (1, ("refused",))
    assert again.rank == 7
    headers = dict(replay_headers(again))
    assert headers["aiq.replay.of"] == f"{TOPIC}[0]:50".encode()
    assert headers["aiq.replay.count"] == b"2"
    assert headers["aiq.replay.reasons"] == b"refused,bad_value"
    assert headers["aiq.replay.first.offset"] == b"7"
    assert headers["aiq.replay.first.detail"] == b"in our words"


@given(
    st.integers(1, 40), st.lists(st.tuples(st.text("ab.", min_size=1, max_size=9), st.binary(max_size=9)), max_size=4)
)
def test_headers_stay_bounded_and_the_own_ones_untouched_however_often_it_fails(lives: int, own: Any) -> None:
    headers = replay_headers(letter(7, own, detail="x" * 2000))
    names = [name for name, _ in headers]
    size = sum(len(name) + len(value or b"") for name, value in headers)
    for life in range(2, lives + 2):
        headers = replay_headers(fail_again(headers, 7 + life, at=100 + life))
        found = dict(headers)
        assert [name for name, _ in headers] == names
        assert headers[: len(own)] == own
        assert found["aiq.replay.count"] == str(life).encode()
        assert found["aiq.replay.reasons"] == b",".join([b"refused"] * min(life, REASONS_MAX))
        assert len(found["aiq.replay.first.detail"] or b"") == CONTEXT_BYTES_MAX
    assert sum(len(name) + len(value or b"") for name, value in headers) < size + 200


@pytest.mark.parametrize(
    "foreign",
    [
        [("aiq.replay.count", b"many")],
        [("aiq.replay.count", b"3")],
        [("aiq.replay.count", b"0"), ("aiq.replay.reasons", b"refused"), ("aiq.replay.first.offset", b"1")],
        [("aiq.replay.reasons", b"\xff"), ("aiq.replay.first.offset", b"1")],
        [("aiq.replay.first.surprise", b"x" * 100_000), ("aiq.replay.more", b"y" * 100_000)],
    ],
)
def test_a_history_that_is_not_ours_is_replaced(foreign: Any) -> None:
    assert replay_headers(letter(7, [*OWN, *foreign])) == replay_headers(letter(7, OWN))


def test_a_history_that_somebody_made_too_long_is_cut() -> None:
    history = [
        ("aiq.replay.count", b"3"),
        ("aiq.replay.reasons", b",".join([b"refused"] * 1000)),
        ("aiq.replay.first.detail", b"x" * 100_000),
    ]

    headers = dict(replay_headers(letter(7, history)))

    assert headers["aiq.replay.first.detail"] == b"x" * CONTEXT_BYTES_MAX
    assert headers["aiq.replay.reasons"] == b",".join([b"refused"] * REASONS_MAX)
    assert headers["aiq.replay.count"] == b"4"


def test_the_age_of_a_record_is_where_it_failed_first_in_this_partition() -> None:
    back = replay_headers(letter(7))
    assert rank_of(Record(50, back)) == 7
    assert rank_of(Record(50)) == 50
    assert rank_of(Record(50, [("trace", b"1")])) == 50
    assert rank_of(Record(50, back, partition=1)) == 50, "copied from another partition"
    assert rank_of(Record(50, back, topic="another")) == 50
    assert rank_of(Record(5, back)) == 5, "nothing is younger than its place"
    assert rank_of(Record(50, [*back[:-12], ("aiq.replay.first.offset", b"x")])) == 50


def test_headers_that_cannot_be_read_are_none() -> None:
    class Odd(Unreadable, Record):
        pass

    assert read_letter(Odd(3)) is None
    assert rank_of(Odd(3)) == 3
    assert original_headers(Odd(3)) == []
