from hypothesis import given
from hypothesis import strategies as st

from connector.breaker import Breaker, BreakerPolicy


def test_a_run_of_bad_ones_trips_it_and_one_good_one_ends_the_run() -> None:
    breaker = Breaker(BreakerPolicy(share=1, run=3))

    assert [breaker.bad(0.0) for _ in range(3)] == [True, True, True]
    breaker.good(1, 0.0)
    assert [breaker.bad(0.0) for _ in range(5)] == [True, True, True, False, False]
    assert breaker.is_tripped


def test_a_share_of_bad_ones_trips_it_once_enough_have_ended() -> None:
    breaker = Breaker(BreakerPolicy(share=0.5, records_min=10, run=0))

    for _ in range(4):
        assert breaker.bad(0.0)
    breaker.good(5, 0.0)
    assert breaker.bad(1.0)  # five of ten are not more than half
    assert not breaker.bad(1.0)


def test_what_is_older_than_the_window_counts_no_more() -> None:
    breaker = Breaker(BreakerPolicy(share=0.5, records_min=4, window_s=12.0, run=0))
    for _ in range(3):
        breaker.bad(0.5)

    assert breaker.bad(12.5)
    assert breaker.bad(12.6)


def test_it_can_be_switched_off() -> None:
    breaker = Breaker(BreakerPolicy(share=1, records_min=1, run=0))

    assert all(breaker.bad(0.0) for _ in range(5000))


def test_it_stays_tripped_whatever_is_delivered() -> None:
    breaker = Breaker(BreakerPolicy(run=1, share=1))
    breaker.bad(0.0)
    breaker.bad(0.0)
    breaker.good(1000, 1.0)

    assert breaker.is_tripped
    assert not breaker.bad(1000.0)
    assert repr(breaker).endswith("tripped")


@given(st.lists(st.booleans(), max_size=300), st.floats(0.1, 0.9), st.integers(1, 50))
def test_it_trips_exactly_when_the_share_is_passed(ends: list[bool], share: float, least: int) -> None:
    breaker = Breaker(BreakerPolicy(share=share, records_min=least, run=0))
    good = bad = 0
    for is_bad in ends:
        if not is_bad:
            good += 1
            breaker.good(1, 0.0)
            continue
        bad += 1
        passed = good + bad >= least and bad > share * (good + bad)
        assert breaker.bad(0.0) == (not passed)
        if passed:
            return
