"""Times: from what Avro counts to what Braze reads, in integers all the way.

Pure (bounded caches aside). Called by compiled mappings. Always UTC, always milliseconds, always with the offset:
`2026-11-23T21:22:13.123Z`. Finer units are rounded down; a time without a zone is taken as UTC, as Braze takes it.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Final

from connector.records import Rejected

MILLIS_A_DAY: Final = 86_400_000

BUSINESS_FLOOR_MS: Final = 1_262_304_000_000
"""2010-01-01: an earlier business time is a unit gone wrong (seconds read as milliseconds give January 1970)."""

UNIT_OF_LOGICAL: Final = {
    "timestamp-millis": "ms",
    "timestamp-micros": "us",
    "timestamp-nanos": "ns",
    "local-timestamp-millis": "ms",
    "local-timestamp-micros": "us",
    "local-timestamp-nanos": "ns",
    "date": "d",
}

TO_MILLIS: Final = {"s": "{} * 1000", "ms": "{}", "us": "{} // 1000", "ns": "{} // 1000000", "d": "{} * 86400000"}
"""Expressions, since they are compiled into mappings."""

_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017  # one spelling for 3.11's pickles and ours
_CACHE_MAX: Final = 4096
_MILLIS: Final = tuple(f"{millis:03}Z" for millis in range(1000))
_seconds: dict[int, str] = {}
_days: dict[int, str] = {}


def iso_of_millis(millis: int) -> str:
    """Milliseconds since the epoch as ISO 8601.

    Raises:
        Rejected: `bad_value`, outside the years 1 to 9999.
    """
    second, rest = divmod(millis, 1000)
    head = _seconds.get(second)
    if head is None:
        head = _second_text(second)
    return head + _MILLIS[rest]


def iso_of_micros(micros: int) -> str:
    """Microseconds since the epoch, likewise."""
    return iso_of_millis(micros // 1000)


def iso_of_nanos(nanos: int) -> str:
    """Nanoseconds since the epoch, likewise."""
    return iso_of_millis(nanos // 1_000_000)


def iso_of_days(days: int) -> str:
    """Days since the epoch as `YYYY-MM-DD`.

    Raises:
        Rejected: `bad_value`, outside the years 1 to 9999.
    """
    text = _days.get(days)
    if text is None:
        try:
            text = date.fromordinal(_EPOCH_DAY + days).isoformat()
        except (ValueError, OverflowError):
            raise Rejected("bad_value", "a time outside the years 1 to 9999") from None
        if len(_days) >= _CACHE_MAX:
            _days.clear()
        _days[days] = text
    return text


def clock_of_millis(millis: int) -> str:
    """A time of day as `HH:MM:SS.mmm`.

    Raises:
        Rejected: `bad_value`, no time of day.
    """
    if not 0 <= millis < MILLIS_A_DAY:
        raise Rejected("bad_value", "a time of day outside the day")
    return iso_of_millis(millis)[11:-1]


def clock_of_micros(micros: int) -> str:
    """A time of day in microseconds, likewise."""
    return clock_of_millis(micros // 1000)


def millis_of_iso(text: str) -> int:
    """ISO 8601 text as milliseconds since the epoch.

    Raises:
        Rejected: `bad_value`: no ISO 8601.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=_EPOCH.tzinfo)
        return (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        pass  # raised below: the error quotes the text
    raise Rejected("bad_value", "a time that is no ISO 8601")


def _second_text(second: int) -> str:
    day, rest = divmod(second, 86400)
    head = f"{iso_of_days(day)}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}."
    if len(_seconds) >= _CACHE_MAX:
        _seconds.clear()
    _seconds[second] = head
    return head
