import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.limits import Pace, Pool, QuotaHeaders, Rate, read_headers

AT = 1_790_000_000.0


def sent(pool: Pool, until: float) -> list[float]:
    """When requests leave a pool that always has more to send."""
    now, times = 0.0, []
    while True:
        now = max(now, pool.ready_at(now, AT + now))
        if now >= until:
            return times
        pool.take(now, AT + now)
        times.append(now)


def most_in_a_window(times: list[float], length: float) -> int:
    most = start = 0
    for end, time in enumerate(times):
        while times[start] <= time - length:
            start += 1
        most = max(most, end - start + 1)
    return most


@settings(deadline=None)
@given(st.integers(1, 400), st.floats(0.5, 10.0))
def test_no_window_of_any_alignment_sees_more_than_the_limit(requests: int, per_s: float) -> None:
    times = sent(Pool([Rate(requests, per_s)]), per_s * 4)

    assert most_in_a_window(times, per_s) <= requests


@pytest.mark.parametrize("requests", [50, 250, 3000])
def test_almost_all_of_the_quota_is_used(requests: int) -> None:
    times = sent(Pool([Rate(requests, 3.0)]), 30.0)

    assert len(times) >= 0.96 * requests * 10


@settings(deadline=None)
@given(st.integers(4, 300), st.lists(st.integers(1, 20), min_size=2, max_size=6))
def test_the_shares_of_a_group_together_stay_within_the_limit(requests: int, partitions: list[int]) -> None:
    everything = sum(partitions)
    if requests * min(partitions) < everything:
        return  # less than one request a window for somebody: documented as the one exception
    times: list[float] = []
    for own in partitions:
        pool = Pool([Rate(requests, 3.0)])
        pool.set_share(own / everything, 0.0, AT)
        times += sent(pool, 12.0)

    assert most_in_a_window(sorted(times), 3.0) <= requests


def test_the_tightest_window_decides() -> None:
    pool = Pool([Rate(100, 1.0), Rate(30, 3.0)])

    assert most_in_a_window(sent(pool, 12.0), 3.0) <= 30


def test_a_clock_window_gives_all_it_has_and_starts_anew_on_the_hour() -> None:
    pool = Pool([Rate(1000, 3600.0)])
    hour = AT - AT % 3600
    counts = [0, 0]
    now = 1800.0  # half of the first hour has passed
    while True:
        now = max(now, pool.ready_at(now, hour + now))
        window = int((hour + now) // 3600 - hour // 3600)
        if window > 1:
            break
        pool.take(now, hour + now)
        counts[window] += 1

    assert counts == [1000, 1000]


def test_a_clock_that_is_set_back_gives_no_hour_twice() -> None:
    pool, hour = Pool([Rate(10, 3600.0)]), AT - AT % 3600

    def spend(requests: int, now: float, at: float) -> None:
        for _ in range(requests):
            pool.take(now, at)

    spend(10, 0.0, hour + 3599.0)
    assert pool.ready_at(1.5, hour + 3600.5) == 1.5
    spend(4, 1.5, hour + 3600.5)

    assert pool.ready_at(2.0, hour + 3598.0) == 4.0  # spent already: the hour has to be over once more
    spend(6, 4.5, hour + 3600.5)
    assert pool.ready_at(5.0, hour + 3601.0) == 3604.0


def test_an_hour_to_which_the_clock_is_set_back_has_no_second_burst() -> None:
    pool, hour = Pool([Rate(10_000, 3600.0)]), AT - AT % 3600
    pool.take(0.0, hour + 1800.0)  # of this hour, so that it is known
    pool.take(1.0, hour + 3600.5)

    at_once = 0
    while pool.ready_at(2.0, hour + 1801.0) <= 2.0:
        pool.take(2.0, hour + 1801.0)
        at_once += 1
    assert at_once < 10  # a whole burst is a thousand


def test_what_braze_says_is_left_bounds_a_clock_window() -> None:
    pool = Pool([Rate(1000, 3600.0)])
    at = AT - AT % 3600 + 10
    pool.set_share(0.5, 0.0, at)

    pool.observe(QuotaHeaders(limit=1000, remaining=20), 0.0, at)
    taken = 0
    now = 0.0
    while pool.ready_at(now, at + now) < 3589:
        now = pool.ready_at(now, at + now)
        pool.take(now, at + now)
        taken += 1

    assert taken == 10


@pytest.mark.parametrize("reset", ["{hour}", "1"], ids=["epoch", "seconds"])
def test_an_answer_that_comes_after_the_hour_does_not_bound_the_new_one(reset: str) -> None:
    """Of a busy hour nothing is left at its end. Taken for the new one's, it would keep us still until the next."""
    pool = Pool([Rate(1000, 3600.0)])
    hour = AT - AT % 3600
    pool.take(0.0, hour - 0.1)
    late = {"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "0", "x-ratelimit-reset": reset.format(hour=hour)}

    pool.observe(read_headers(late, hour + 0.1), 0.2, hour + 0.1)

    assert pool.ready_at(0.2, hour + 0.1) == 0.2
    pool.observe(QuotaHeaders(limit=1000, remaining=0, reset_in_s=3599.0), 0.3, hour + 0.2)
    assert pool.ready_at(0.3, hour + 0.2) > 3599.0


def spent(pool: Pool, since: float, until: float, hour: float) -> int:
    """Requests that leave meanwhile, if there is always more to send."""
    now, taken = since, 0
    while (now := max(now, pool.ready_at(now, hour + now))) < until - 0.001:  # what a float of this century can tell
        pool.take(now, hour + now)
        taken += 1
    return taken


def test_whoever_inherits_partitions_in_mid_hour_does_not_inherit_the_whole_hour_with_them() -> None:
    """Its last owner has used his part; where Braze tells no `Remaining`, nobody knows how much of it."""
    hour = AT - AT % 3600
    gone, heir = Pool([Rate(1000, 3600.0)]), Pool([Rate(1000, 3600.0)])
    for pool in (gone, heir):
        pool.set_share(0.5, 0.0, hour)
    taken = spent(gone, 0.0, 3000.0, hour) + spent(heir, 0.0, 3000.0, hour)
    heir.set_share(1.0, 3000.0, hour + 3000.0)
    taken += spent(heir, 3000.0, 3600.0, hour)

    assert 900 < taken <= 1000
    assert 990 < spent(heir, 3600.0, 7200.0, hour) <= 1000


def test_a_process_that_begins_in_mid_hour_takes_no_more_than_the_rest_of_it() -> None:
    hour = AT - AT % 3600
    pool = Pool([Rate(1000, 3600.0)])
    pool.set_share(0.0, 1800.0, hour + 1800)
    pool.set_share(1.0, 1800.0, hour + 1800)

    assert pool.headroom(1800.0, hour + 1800) == 1.0
    assert pool.ready_at(1800.0, hour + 1800) == 1800.0
    assert 440 < spent(pool, 1800.0, 3600.0, hour) <= 450


def test_what_is_told_to_be_left_is_used_whoever_owned_it_before() -> None:
    hour = AT - AT % 3600
    pool = Pool([Rate(1000, 3600.0)])
    pool.set_share(0.0, 1800.0, hour + 1800)
    pool.set_share(1.0, 1800.0, hour + 1800)
    assert spent(pool, 1800.0, 1800.1, hour) == 1  # no burst: its last owner may have had it
    pool.observe(QuotaHeaders(limit=1000, remaining=900), 1800.1, hour + 1800.1)

    burst = spent(pool, 1800.1, 1801.0, hour)
    assert 80 < burst <= 90
    assert 890 < burst + spent(pool, 1801.0, 3600.0, hour) <= 900


MOVES = st.lists(st.tuples(st.floats(1.0, 900.0), st.integers(0, 2), st.integers(1, 12)), min_size=1, max_size=6)


@settings(deadline=None)
@given(MOVES, st.lists(st.booleans(), min_size=21, max_size=21))
def test_however_partitions_move_within_the_hour_the_group_stays_within_it(
    moves: list[tuple[float, int, int]], has_work: list[bool]
) -> None:
    hour, requests = AT - AT % 3600, 2000
    pools, owned = [Pool([Rate(requests, 3600.0)]) for _ in range(3)], [4, 4, 4]
    for pool in pools:
        pool.set_share(4 / 12, 0.0, hour)
    taken, now, busy = 0, 0.0, iter(has_work)
    for wait, giver, most in [*moves, (3600.0, 0, 0)]:
        until = min(now + wait, 3600.0)
        taken += sum(spent(pool, now, until, hour) for pool in pools if next(busy))
        if until == 3600.0:
            break
        now, moved, taker = until, min(most, owned[giver]), (giver + 1) % 3
        owned[giver] -= moved
        owned[taker] += moved
        pools[giver].set_share(owned[giver] / 12, now, hour + now)
        pools[taker].set_share(owned[taker] / 12, now, hour + now)

    assert taken <= requests + len(moves)  # requests are whole


def test_without_partitions_nothing_leaves() -> None:
    pool = Pool([Rate(10, 1.0)])
    pool.set_share(0.0, 0.0, AT)

    assert pool.ready_at(0.0, AT) == float("inf")
    assert pool.headroom(0.0, AT) == 0.0


def test_a_429_freezes_until_braze_s_time_plus_jitter() -> None:
    pool = Pool([Rate(3000, 3.0)])

    until = pool.throttled(QuotaHeaders(retry_after_s=2.0), jitter=1.0, now=100.0, at=AT)

    assert 102.0 < until <= 102.5
    assert pool.ready_at(101.9, AT) == until


def test_a_429_may_name_a_longer_wait_than_any_window_that_was_configured() -> None:
    # A company-wide hourly limit that nobody told us of; a delta depends on no clock, so it is believed up to an hour.
    pool = Pool([Rate(3000, 3.0)])

    assert pool.throttled(QuotaHeaders(retry_after_s=60.0), jitter=0.0, now=0.0, at=AT) == 60.0
    assert pool.throttled(QuotaHeaders(retry_after_s=1e9), jitter=0.0, now=0.0, at=AT) <= 3600.0


def test_a_clock_that_is_wrong_by_days_stops_us_for_a_window_at_most() -> None:
    pool = Pool([Rate(3000, 3.0)])

    assert pool.throttled(QuotaHeaders(reset_in_s=200_000.0), jitter=0.0, now=0.0, at=AT) == 3.0


def test_after_refusals_the_pace_is_lower_and_grows_back() -> None:
    pool = Pool([Rate(300, 3.0)])
    now = 0.0
    for _ in range(4):
        now = pool.throttled(QuotaHeaders(retry_after_s=1.0), jitter=0.0, now=now + 0.1, at=AT)
    times, until = [], now
    while now < until + 600:
        now = max(now, pool.ready_at(now, AT + now))
        pool.take(now, AT + now)
        times.append(now)

    first = sum(1 for time in times if until + 1 <= time < until + 4)
    last = sum(1 for time in times if until + 590 <= time < until + 593)
    assert 100 < first < last / 2
    assert last in (291, 292)


def test_refusals_that_come_together_count_once() -> None:
    pool, alone = Pool([Rate(300, 3.0)]), Pool([Rate(300, 3.0)])
    for each, times in ((pool, 30), (alone, 1)):
        for _ in range(times):
            each.throttled(QuotaHeaders(retry_after_s=1.0), jitter=0.0, now=1.0, at=AT)
        each.take(9.0, AT)
        each.take(9.0, AT)

    assert [pool.headroom(9.0, AT)] == [alone.headroom(9.0, AT)]


def test_an_unexplained_429_is_asked_about_ever_later_and_never_after_an_hour() -> None:
    pool = Pool([Rate(250_000, 3600.0)])
    waits, now = [], 0.0
    for _ in range(8):
        until = pool.throttled(QuotaHeaders(), jitter=0.0, now=now, at=AT)
        waits.append(until - now)
        now = until

    assert waits[0] <= 2.5
    assert waits == sorted(waits)
    assert 60 <= waits[-1] <= 62


def test_unexplained_429s_that_come_together_are_asked_about_as_soon_as_one() -> None:
    pool, now = Pool([Rate(250_000, 3600.0)]), 5.0
    until = [pool.throttled(QuotaHeaders(), jitter=0.0, now=now + each / 100, at=AT) for each in range(16)]

    assert until[-1] - now <= 2.5


def test_time_spent_frozen_is_told_once() -> None:
    pool = Pool([Rate(10, 1.0)])
    pool.throttled(QuotaHeaders(retry_after_s=1.0), jitter=0.0, now=10.0, at=AT)

    assert pool.frozen_s(10.4) == pytest.approx(0.4)
    assert pool.frozen_s(20.0) == pytest.approx(0.6)
    assert pool.frozen_s(30.0) == 0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-reset": str(AT + 2)}, QuotaHeaders(reset_in_s=2.0)),
        ({"x-ratelimit-reset": "2"}, QuotaHeaders(reset_in_s=2.0)),
        ({"x-ratelimit-reset": str(AT - 9)}, QuotaHeaders(reset_in_s=0.0)),
        ({"x-ratelimit-retry-after": "7"}, QuotaHeaders(retry_after_s=7.0)),
        ({"retry-after": "7"}, QuotaHeaders(retry_after_s=7.0)),
        ({"x-ratelimit-limit": "10", "x-ratelimit-remaining": "3"}, QuotaHeaders(10, 3)),
        ({"x-ratelimit-remaining": "many", "x-ratelimit-reset": "nan", "retry-after": "-1"}, QuotaHeaders()),
        ({}, QuotaHeaders()),
    ],
)
def test_headers_in_both_styles_and_none(headers: dict[str, str], expected: QuotaHeaders) -> None:
    assert read_headers(headers, AT) == expected


# ---- pace ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 20))
def test_what_is_paced_is_never_more_than_the_most_in_any_window(waits: list[float], most: int) -> None:
    pace, now, used = Pace(most, 60.0), 0.0, []
    for wait in waits:
        now += wait
        used.append(pace.reserve(now))
        assert used[-1] >= now

    for index in range(len(used) - most):
        assert used[index + most] - used[index] >= 60.0 - 1e-6


def test_a_pace_lets_a_burst_go_at_once() -> None:
    pace = Pace(10, 60.0)

    assert [pace.reserve(5.0) for _ in range(10)] == [5.0] * 10
    assert pace.reserve(6.0) == 65.0
