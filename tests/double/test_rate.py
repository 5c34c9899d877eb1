from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.double.rate import RateMeter, refusal_headers
from connector.double.settings import HeaderStyle, RatePool, RateWindow

calm = settings(deadline=None, derandomize=True)
BUCKET = RateWindow(3, 3)
CLOCK = RateWindow(3, 60, "clock")


def _meter(
    *windows: RateWindow, style: HeaderStyle = "classic", others_per_s: float = 0.0, headers_on_429: bool = False
) -> RateMeter:
    return RateMeter(RatePool(windows, others_per_s), style, headers_on_429=headers_on_429)


steps = st.lists(st.floats(0, 5, allow_nan=False), max_size=200)


@calm
@given(steps, st.integers(1, 20), st.sampled_from([0.5, 1.0, 3.0]))
def test_a_bucket_admits_no_more_than_its_size_and_what_returned(
    waits: list[float], requests: int, per_s: float
) -> None:
    meter, now, admitted = _meter(RateWindow(requests, per_s)), 0.0, []
    for wait in waits:
        now += wait
        if meter.admit(now, now).is_admitted:
            admitted.append(now)
    for first, since in enumerate(admitted):
        for last, until in enumerate(admitted[first:], first):
            assert last - first + 1 <= requests + (until - since) * requests / per_s + 1e-6


@calm
@given(steps, st.integers(1, 20), st.sampled_from([1.0, 7.0, 60.0]), st.floats(0, 3))
def test_a_clock_window_admits_no_more_than_its_limit_in_each_window(
    waits: list[float], requests: int, per_s: float, others_per_s: float
) -> None:
    meter, at, admitted = _meter(RateWindow(requests, per_s, "clock"), others_per_s=others_per_s), 1e9, []
    for wait in waits:
        at += wait
        if meter.admit(0.0, at).is_admitted:
            admitted.append(int(at // per_s))
    assert all(admitted.count(window) <= requests for window in admitted)


@calm
@given(steps)
def test_whoever_waits_as_told_is_admitted(waits: list[float]) -> None:
    meter, now = _meter(RateWindow(2, 3), RateWindow(5, 60, "clock"), style="mau"), 0.0
    for wait in waits:
        now += wait
        admission = meter.admit(now, now)
        if not admission.is_admitted:
            now += int(admission.headers["x-ratelimit-retry-after"])
            assert meter.admit(now, now).is_admitted


def test_a_bucket_refills_continuously() -> None:
    meter = _meter(BUCKET)
    assert [meter.admit(0.0, 0.0).is_admitted for _ in range(4)] == [True, True, True, False]
    assert not meter.admit(0.9, 0.9).is_admitted
    assert meter.admit(1.0, 1.0).is_admitted
    assert meter.refusals == 2


def test_a_clock_window_starts_anew_on_the_clock_and_not_after_its_length() -> None:
    meter = _meter(CLOCK)
    assert [meter.admit(0.0, 119.0).is_admitted for _ in range(4)] == [True, True, True, False]
    assert meter.admit(0.0, 120.0).is_admitted


def test_a_clock_that_is_set_back_grants_no_window_twice() -> None:
    meter = _meter(CLOCK)
    assert [meter.admit(0.0, 121.0).is_admitted for _ in range(3)] == [True, True, True]
    assert not meter.admit(0.0, 60.0).is_admitted
    assert not meter.admit(0.0, 121.0).is_admitted


def test_a_request_that_one_window_refuses_takes_nothing_from_the_other() -> None:
    meter = _meter(RateWindow(1, 3), RateWindow(10, 3600, "clock"))
    assert meter.admit(0.0, 0.0).headers["x-ratelimit-remaining"] == "9"
    assert not meter.admit(0.0, 0.0).is_admitted
    assert meter.admit(3.0, 3.0).headers["x-ratelimit-remaining"] == "8"


def test_another_tenant_takes_part_of_the_quota() -> None:
    meter = _meter(RateWindow(100, 3600, "clock"), others_per_s=0.5)
    assert meter.admit(0.0, 3600.0).headers["x-ratelimit-remaining"] == "99"
    assert meter.admit(0.0, 3700.0).headers["x-ratelimit-remaining"] == "48"
    assert not meter.admit(0.0, 3900.0).is_admitted


def test_another_tenant_can_take_all_that_a_bucket_gains() -> None:
    meter = _meter(RateWindow(1, 1), style="mau", others_per_s=1.0)
    assert meter.admit(0.0, 0.0).is_admitted
    refused = meter.admit(100.0, 100.0)
    assert not refused.is_admitted
    assert refused.headers == {"x-ratelimit-retry-after": "1"}


def test_classic_headers_give_the_reset_as_epoch() -> None:
    assert _meter(CLOCK).admit(0.0, 1_790_000_000.25).headers == {
        "x-ratelimit-limit": "3",
        "x-ratelimit-remaining": "2",
        "x-ratelimit-reset": "1790000040",
    }


def test_mau_headers_give_the_reset_in_seconds() -> None:
    assert _meter(CLOCK, style="mau").admit(0.0, 1_790_000_000.25).headers["x-ratelimit-reset"] == "40"


def test_the_headers_describe_the_longest_window_so_a_burst_is_refused_with_requests_remaining() -> None:
    meter = _meter(RateWindow(1, 3), RateWindow(1000, 3600, "clock"))
    assert meter.admit(0.0, 0.0).headers["x-ratelimit-remaining"] == "999"
    assert not meter.admit(0.0, 0.0).is_admitted


@pytest.mark.parametrize(
    ("style", "headers_on_429", "names"),
    [
        ("classic", False, set()),
        ("classic", True, {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}),
        ("mau", False, {"x-ratelimit-retry-after"}),
    ],
)
def test_what_a_429_carries_is_a_matter_of_the_contract(
    style: HeaderStyle, headers_on_429: bool, names: set[str]
) -> None:
    meter = _meter(RateWindow(1, 3), style=style, headers_on_429=headers_on_429)
    meter.admit(0.0, 0.0)
    assert meter.admit(0.0, 0.0).headers.keys() == names


def test_without_windows_everything_is_admitted_and_nothing_told() -> None:
    assert _meter().admit(0.0, 0.0) == (True, {})


def test_a_refusal_names_whole_seconds_and_at_least_one() -> None:
    assert refusal_headers("mau", 0.01, 0.0) == {"x-ratelimit-retry-after": "1"}
    assert refusal_headers("mau", 2.1, 0.0) == {"x-ratelimit-retry-after": "3"}
    assert refusal_headers("classic", 2.1, 1000.0)["x-ratelimit-reset"] == "1003"
