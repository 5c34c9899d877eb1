"""Where partitions begin, on a group coordinator that knows what it is told here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from connector.first_positions import FirstPosition, are_taken, first_positions
from connector.kafka_errors import Rebuild, Refused
from connector.offset_map import FIRST_METADATA, ForeignMetadata, decode


class Coordinator:
    """What the group committed, by partition of topic t; its records are those from 10 up to 90."""

    def __init__(
        self,
        committed: dict[int, tuple[int, str]],
        faulty: frozenset[int] = frozenset(),
        refusal: int | None = None,
    ) -> None:
        self._committed = committed
        self._faulty = faulty
        self._refusal = refusal
        self.written: list[tuple[int, int, str | None]] = []

    def committed(self, partitions: Sequence[KafkaPartition], timeout: float) -> list[Any]:
        assert timeout > 0
        return [self._answer(each.partition) for each in partitions]

    def _answer(self, number: int) -> Any:
        offset, metadata = self._committed.get(number, (-1001, ""))
        answer = KafkaPartition("t", number, offset, metadata)
        if number not in self._faulty:
            return answer

        class Faulty:
            topic, partition, offset, metadata = "t", number, -1001, None
            error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)

        return Faulty()

    def get_watermark_offsets(self, partition: KafkaPartition, timeout: float) -> tuple[int, int]:  # noqa: ARG002
        assert timeout > 0
        return 10, 90

    def commit(self, *, offsets: Sequence[KafkaPartition], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        if self._refusal is not None:
            raise KafkaException(KafkaError(self._refusal))
        self.written += [(each.partition, each.offset, each.metadata) for each in offsets]
        return [self._answer(each.partition) for each in offsets]


def asked(coordinator: Coordinator, *numbers: int, choice: str = "earliest", count: int | None = 4) -> dict[int, int]:
    """The offset at which each partition begins."""
    partitions = [KafkaPartition("t", number) for number in numbers]
    counts = {} if count is None else {"t": count}
    return {each.partition: each.offset for each in first_positions(coordinator, partitions, choice, counts)}  # type: ignore[arg-type]


def test_nobody_is_asked_of_no_partition() -> None:
    assert first_positions(None, [], "error", {}) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["earliest", "latest", "error"])
def test_what_the_group_committed_is_where_it_goes_on(choice: str) -> None:
    coordinator = Coordinator({0: (17, "map")})
    (start,) = first_positions(coordinator, [KafkaPartition("t", 0)], choice, {"t": 4})  # type: ignore[arg-type]
    assert start == ("t", 0, 17, "map", False)


def test_metadata_that_is_no_text_is_somebody_else_s_and_the_offset_counts() -> None:
    """The library gives it only when it is looked at, and then as this error."""

    class Foreign(Coordinator):
        def _answer(self, number: int) -> Any:
            class Answer:
                topic, partition, offset, error = "t", number, 17, None

                @property
                def metadata(self) -> str:
                    raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")

            return Answer()

    coordinator = Foreign({})
    starts = first_positions(coordinator, [KafkaPartition("t", 0)], "earliest", {"t": 4})  # type: ignore[arg-type]

    assert [(each.offset, each.is_new) for each in starts] == [(17, False)]
    with pytest.raises(ForeignMetadata):
        decode(starts[0].metadata, 17)
    assert are_taken(coordinator, starts)  # type: ignore[arg-type]


def test_what_it_never_committed_begins_at_the_earliest() -> None:
    assert asked(Coordinator({0: (17, "")}), 0, 1) == {0: 17, 1: 10}


def test_latest_holds_where_the_topic_is_wholly_new_to_the_group() -> None:
    assert asked(Coordinator({}), 0, choice="latest") == {0: 90}
    assert asked(Coordinator({3: (5, "")}), 0, choice="latest") == {0: 10}  # another one's: this one came later


def test_a_partition_beyond_the_known_count_is_looked_at_too() -> None:
    assert asked(Coordinator({5: (17, "")}), 4, 5, choice="latest", count=4) == {4: 10, 5: 17}


def test_whether_a_topic_is_new_is_not_known_before_its_partitions_are_counted() -> None:
    with pytest.raises(Rebuild, match="how many partitions t has"):
        asked(Coordinator({}), 0, choice="latest", count=None)


def test_told_to_refuse_it_names_the_topic_and_the_remedy() -> None:
    with pytest.raises(Refused, match=r"no offset for t .* --reset-offsets"):
        asked(Coordinator({}), 0, choice="error")


def test_an_answer_with_an_error_in_it_is_no_position() -> None:
    coordinator = Coordinator({0: (17, "")}, faulty=frozenset({1}))
    with pytest.raises(Rebuild, match="UNSTABLE_OFFSET_COMMIT"):
        asked(coordinator, 0, 1)


# ---- whether they are ours ------------------------------------------------------------------------------------------

KNOWN = FirstPosition("t", 0, 17, "map", is_new=False)
NEW = FirstPosition("t", 1, 10, "", is_new=True)


def taken(coordinator: Coordinator, *starts: FirstPosition) -> bool:
    return are_taken(coordinator, starts)  # type: ignore[arg-type]


def test_of_what_is_new_the_group_is_told_where_it_begins() -> None:
    coordinator = Coordinator({})
    assert taken(coordinator, KNOWN, NEW)
    assert coordinator.written == [(1, 10, FIRST_METADATA)]


def test_where_nothing_is_new_it_is_told_again_of_the_one_of_which_least_is_to_be_told() -> None:
    coordinator = Coordinator({})
    assert taken(coordinator, KNOWN, KNOWN._replace(partition=2, metadata="m"), KNOWN._replace(partition=3))
    assert coordinator.written == [(2, 17, "m")]


def test_of_nothing_nothing_is_confirmed() -> None:
    assert not taken(Coordinator({}))


@pytest.mark.parametrize("code", [KafkaError.ILLEGAL_GENERATION, KafkaError.REBALANCE_IN_PROGRESS])
def test_where_the_group_has_moved_on_they_are_not_surely_ours(code: int) -> None:
    """A process that was frozen when they were given to it, say."""
    assert not taken(Coordinator({}, refusal=code), KNOWN)
    assert not taken(Coordinator({}, faulty=frozenset({0})), KNOWN)


def test_nothing_is_read_of_what_the_group_has_no_offset_of() -> None:
    with pytest.raises(KafkaException):
        taken(Coordinator({}, refusal=KafkaError.ILLEGAL_GENERATION), KNOWN, NEW)
    with pytest.raises(Rebuild, match="UNSTABLE_OFFSET_COMMIT"):
        taken(Coordinator({}, faulty=frozenset({1})), NEW, KNOWN)
