"""What the benchmark writes is what it says it writes."""

from __future__ import annotations

import io
from collections import Counter

import orjson
import pytest
from fastavro import parse_schema, schemaless_reader

from bench import registry
from bench.workload import REFUSED, Workload


@pytest.mark.parametrize("kind", ["event", "audience"])
def test_a_value_is_of_its_schema_and_as_wide_as_asked(kind: str) -> None:
    value = Workload("w", 1, kinds=(kind,), attributes=32, properties=40).value(5, 3, 1_700_000_000_000)
    assert value[:5] == registry.header(kind)
    record = schemaless_reader(io.BytesIO(value[5:]), parse_schema(orjson.loads(registry.text(kind))), None)
    assert record["identity"]["external_id"] == "user-00000003"
    bag = record["attributes" if kind == "audience" else "properties"]
    assert (len(bag), bag["score" if kind == "audience" else "count"]) == (32 if kind == "audience" else 40, 5)


def test_users_are_skewed_and_the_same_in_each_run() -> None:
    workload = Workload("w", 50_000)
    ranks = workload.ranks()
    assert ranks == workload.ranks()
    assert 0.11 < Counter(ranks).most_common(1)[0][1] / len(ranks) < 0.14


def test_one_in_a_hundred_records_is_refused() -> None:
    workload = Workload("w", 1_000, refused=100)
    assert sum(workload.is_refused(number) for number in range(1_000)) == 10
    assert REFUSED.encode() in workload.value(200, 0, 0)


def test_kinds_come_in_turn_each_in_a_topic_of_its_own() -> None:
    workload = Workload("w", 4, partitions=3)
    assert [each.topic for each in workload.made()] == ["w-event", "w-audience"] * 2
    assert {topic.partitions for topic in workload.topics} == {3}
