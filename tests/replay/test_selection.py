from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.records import Reason
from connector.replay.selection import Selection, SelectionInvalid, selection
from tests.replay.letters_made import TOPIC, letter

NOW_MS = 1_800_000_000_000
TOPICS = [TOPIC, "aiq.event"]


def chosen(
    reasons: Any = (), topics: Any = (), since: str | None = None, where: Any = (), now_ms: int = NOW_MS
) -> Selection:
    return selection(reasons, topics, since, where, TOPICS, now_ms)


def faults(**options: Any) -> list[str]:
    with pytest.raises(SelectionInvalid) as raised:
        chosen(**options)
    return raised.value.faults


def test_without_options_every_letter_is_meant() -> None:
    assert chosen().takes(letter())


@pytest.mark.parametrize(
    ("options", "changes", "is_taken"),
    [
        ({"reasons": ["refused"]}, {}, True),
        ({"reasons": ["bad_name", "refused"]}, {}, True),
        ({"reasons": ["bad_name"]}, {}, False),
        ({"topics": [TOPIC]}, {}, True),
        ({"topics": ["aiq.event"]}, {}, False),
        ({"where": ["partition=0", "offset=7"]}, {}, True),
        ({"where": ["partition=0", "offset=8"]}, {}, False),
        ({"where": ["offset=7", "offset=8"]}, {}, True),
        ({"where": ["braze_status="]}, {"braze_status": ""}, True),
        ({"where": ["detail=a=b"]}, {"detail": "a=b"}, True),
        ({"where": ["kind=event"]}, {}, False),
        ({"reasons": ["bad_name"], "where": ["reason=refused"]}, {}, True),
        ({"reasons": ["refused"], "topics": ["aiq.event"]}, {}, False),
    ],
)
def test_values_of_a_field_are_alternatives_and_fields_all_have_to_fit(
    options: Any, changes: Any, is_taken: bool
) -> None:
    assert chosen(**options).takes(letter(**changes)) is is_taken


@pytest.mark.parametrize(
    ("text", "since_ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("2h", NOW_MS - 7_200_000),
        ("1d12h", NOW_MS - 129_600_000),
        ("2026-11-23T14:00:00Z", 1_795_442_400_000),
        ("2026-11-23T14:00:00+02:00", 1_795_435_200_000),
        ("2026-11-23T14:00:00", 1_795_442_400_000),
        ("2026-11-23", 1_795_392_000_000),
    ],
)
def test_since_is_a_time_or_how_long_ago(text: str, since_ms: int) -> None:
    assert chosen(since=text).since_ms == since_ms


def test_since_is_about_when_the_letter_was_written() -> None:
    since = Selection({}, 5000)
    assert since.takes(letter(written_at="5000"))
    assert not since.takes(letter(written_at="4999"))


@pytest.mark.parametrize("text", ["", "2x", "h", "yesterday", "2026-13-01", "-2h", "2h ", "9" * 40 + "s"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    (fault,) = faults(since=text)
    assert fault.startswith(f"--since {text}: must be a time")


def test_a_time_that_is_still_to_come_is_refused() -> None:
    assert faults(since="2099-01-01") == ["--since 2099-01-01: lies in the future"]


def test_every_fault_is_named_with_what_was_probably_meant() -> None:
    assert faults(reasons=["refusd"], topics=["event"], where=["kind", "braze_statu=1", "reason=nope", "topic=x"]) == [
        "--reason refusd: no such reason; did you mean refused?",
        "--topic event: no such topic; did you mean aiq.event?",
        "--where kind: must be FIELD=VALUE",
        "--where braze_statu=1: letters have no such field; did you mean braze_status?",
        "--where reason=nope: no such reason; there are " + ", ".join(sorted(get_args(Reason))[:20]),
        "--where topic=x: no such topic; there are aiq.audience, aiq.event",
    ]


def test_a_reason_is_named_only_if_it_was_asked_for() -> None:
    assert chosen(reasons=["ambiguous"]).names_reason("ambiguous")
    assert chosen(where=["reason=ambiguous"]).names_reason("ambiguous")
    assert not chosen().names_reason("ambiguous")


@given(st.text(max_size=30))
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        chosen(since=text, where=[text])
    except SelectionInvalid as error:
        assert error.faults  # noqa: PT017  # either is fine
