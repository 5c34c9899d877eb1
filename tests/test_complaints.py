"""What the Kafka thread finds wrong is said once while it lasts, and taken back when it is over."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from connector.complaints import Complaints
from connector.ports import Cured, Trouble
from connector.records import TopicPartition

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)
DAMAGED = KafkaError(KafkaError._BAD_MSG)
FORBIDDEN = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)


@pytest.fixture
def told() -> list[Trouble | Cured]:
    return []


@pytest.fixture
def complaints(told: list[Trouble | Cured]) -> Complaints:
    return Complaints(told.append)


def brief(told: list[Trouble | Cured]) -> list[str]:
    return [("+" if isinstance(each, Trouble) else "-") + each.reason for each in told]


def test_what_stands_is_said_once_and_what_does_not_is_not_taken_back(
    complaints: Complaints, told: list[Trouble | Cured]
) -> None:
    complaints.over("kafka")
    complaints.say("kafka", "it does not answer")
    complaints.say("kafka", "it still does not")
    complaints.over("kafka")
    complaints.over("kafka")
    complaints.say("kafka", "again")
    assert brief(told) == ["+kafka", "-kafka", "+kafka"]


def test_what_somebody_else_found_is_heard_once_too(complaints: Complaints, told: list[Trouble | Cured]) -> None:
    for event in (Cured("topic_missing:t"), *[Trouble("topic_missing:t", "make it", halts=False)] * 2):
        complaints.hear(event)
    assert told == [Trouble("topic_missing:t", "make it", halts=False)]


def test_when_a_partition_leaves_all_that_is_wrong_with_it_is_over_and_nothing_else(
    complaints: Complaints, told: list[Trouble | Cured]
) -> None:
    for name in (HERE, THERE):
        complaints.out_of_range(name)
        complaints.unreadable(name, 7, DAMAGED)
        complaints.commit_refused(name, DAMAGED)
    complaints.topic_forbidden("t", FORBIDDEN)
    told.clear()

    complaints.left(HERE)
    assert brief(told) == ["-offset_out_of_range:t[0]", "-unreadable:t[0]", "-commit_refused:t[0]"]


def test_what_passed_by_itself_until_now_is_said_anew_when_it_does_not(
    complaints: Complaints, told: list[Trouble | Cured]
) -> None:
    complaints.not_read(HERE, KafkaError(KafkaError.UNKNOWN))
    complaints.unreadable(HERE, 7, DAMAGED)
    assert brief(told) == ["+unreadable:t[0]", "-unreadable:t[0]", "+unreadable:t[0]"]
    assert [each.halts for each in told if isinstance(each, Trouble)] == [False, True]


def test_each_says_what_to_do(complaints: Complaints, told: list[Trouble | Cured]) -> None:
    complaints.out_of_range(HERE)
    complaints.fallen_back(THERE)
    complaints.unreadable(HERE, 7, DAMAGED)
    complaints.topic_forbidden("t", FORBIDDEN)
    complaints.commit_refused(HERE, KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE))

    details = [each.detail for each in told if isinstance(each, Trouble)]
    remedies = ["--reset-offsets", "--reset-offsets", "its leader", "allow this user", "offset.metadata.max.bytes"]
    assert len(details) == len(remedies)
    for detail, remedy in zip(details, remedies, strict=True):
        assert remedy in detail
    assert all("t[" in detail for detail in details if "allow" not in detail)
