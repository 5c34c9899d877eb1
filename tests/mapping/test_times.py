"""Times in integers, held against `datetime`."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from connector.mapping.times import (
    BUSINESS_FLOOR_MS,
    clock_of_micros,
    iso_of_days,
    iso_of_micros,
    iso_of_millis,
    iso_of_nanos,
    millis_of_iso,
)
from connector.records import Rejected

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)
LAST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)


@given(st.integers(FIRST, LAST))
@example(0)
@example(-1)
@example(FIRST)
@example(LAST)
@example(951_782_399_999)  # the last of 28 February 2000, which a 29th follows
def test_iso_as_datetime_writes_it(millis: int) -> None:
    expected = (EPOCH + timedelta(milliseconds=millis)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    assert iso_of_millis(millis) == expected
    assert iso_of_micros(millis * 1000 + 999) == expected
    assert iso_of_nanos(millis * 1_000_000) == expected


@given(st.integers(FIRST, LAST))
def test_there_and_back(millis: int) -> None:
    assert millis_of_iso(iso_of_millis(millis)) == millis


@given(st.integers(-1_000_000, 4_000_000))
def test_days(days: int) -> None:
    try:
        expected = (date(1970, 1, 1) + timedelta(days=days)).isoformat()
    except OverflowError:
        with pytest.raises(Rejected, match="years"):
            iso_of_days(days)
    else:
        assert iso_of_days(days) == expected


@pytest.mark.parametrize("millis", [FIRST - 1, LAST + 1, 2**63 - 1, -(2**63)])
def test_no_year_before_1_or_after_9999(millis: int) -> None:
    with pytest.raises(Rejected) as rejected:
        iso_of_millis(millis)

    assert rejected.value.reason == "bad_value"


def test_many_different_times_do_not_fill_the_memory() -> None:
    texts = {iso_of_millis(second * 1000) for second in range(20_000)} | {iso_of_days(day) for day in range(20_000)}

    assert len(texts) == 40_000


def test_a_time_of_day() -> None:
    assert clock_of_micros(0) == "00:00:00.000"
    assert clock_of_micros(86_399_999_999) == "23:59:59.999"


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("2026-09-21T14:13:20.123Z", 1_790_000_000_123),
        (" 2026-09-21T14:13:20.123+00:00 ", 1_790_000_000_123),
        ("2026-09-21T16:13:20.1239+02:00", 1_790_000_000_123),
        ("2026-09-21 14:13:20", 1_790_000_000_000),
        ("2026-09-21", 1_789_948_800_000),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_text_to_time(text: str, millis: int) -> None:
    assert millis_of_iso(text) == millis


@pytest.mark.parametrize("text", [" ", "yesterday", "1790000000", "2026-13-01", "2026-09-21T25:00"])
def test_text_that_is_no_time(text: str) -> None:
    with pytest.raises(Rejected) as rejected:
        millis_of_iso(text)

    assert rejected.value.reason == "bad_value"
    assert rejected.value.__context__ is None
    assert text == " " or text not in rejected.value.detail


def test_the_first_moment_of_the_calendar_elsewhere() -> None:
    assert millis_of_iso("0001-01-01T00:00:00+23:59") < BUSINESS_FLOOR_MS


def test_the_floor_is_2010() -> None:
    assert iso_of_millis(BUSINESS_FLOOR_MS) == "2010-01-01T00:00:00.000Z"
