"""What the rules make of the quota, in virtual time: short plays of the rows that `make bench-policy` prints."""

import pytest

from bench.policy import Measured, Row


@pytest.mark.parametrize(
    ("row", "used_at_least", "refused_at_most"),
    [
        (Row("backlog everywhere", 4, "clock", lasts_s=9.0), 97, 0),
        (Row("backlog everywhere", 2, "bucket", lasts_s=9.0), 97, 0),
        (Row("another client takes half", 1, others=0.5, settled_after_s=30.0), 97, 1),
    ],
    ids=str,
)
def test_the_quota_is_used_and_hardly_anything_refused(row: Row, used_at_least: float, refused_at_most: float) -> None:
    measured = Measured(row)

    assert measured.used_percent >= used_at_least
    assert measured.refused_percent <= refused_at_most
