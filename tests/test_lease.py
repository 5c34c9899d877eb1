"""Under what word of the coordinator's anything is sent, by seconds since boot."""

from __future__ import annotations

from connector.lease import PROBATION_S, Lease


def test_it_holds_from_when_the_coordinator_was_asked() -> None:
    lease = Lease(8.0)
    assert not lease.holds(100.0)
    lease.begin(100.0)
    assert lease.holds(107.9)
    assert not lease.holds(108.0)
    lease.renew(104.0, 105.0)
    assert lease.holds(111.9)
    assert not lease.holds(112.0)


def test_an_answer_to_an_older_question_takes_nothing_from_it() -> None:
    lease = Lease(8.0)
    lease.begin(100.0)
    lease.renew(98.0, 101.0)
    assert lease.holds(107.9)


def test_a_third_of_it_is_left_to_ask_again() -> None:
    lease = Lease(9.0)
    assert lease.is_ageing(0.0)
    lease.begin(100.0)
    assert not lease.is_ageing(103.0)
    assert lease.is_ageing(103.1)


def test_after_a_silence_it_does_not_hold_at_once() -> None:
    """librdkafka may be about to give the partitions up, whatever the coordinator says."""
    lease = Lease(8.0)
    lease.begin(100.0)
    lease.renew(107.0, 108.0)  # the answer came late
    assert not lease.holds(108.0 + PROBATION_S - 0.01)
    lease.renew(109.0, 109.1)  # no new silence
    assert lease.holds(108.0 + PROBATION_S)


def test_a_new_assignment_settles_whose_they_are() -> None:
    lease = Lease(8.0)
    lease.begin(100.0)
    lease.renew(120.0, 120.1)
    assert not lease.holds(120.2)
    lease.begin(120.3)
    assert lease.holds(120.4)


def test_the_first_answer_ends_no_silence() -> None:
    lease = Lease(8.0)
    lease.renew(100.0, 100.1)
    assert lease.holds(100.2)
