"""What the tests on real parts share, whichever folder they lie in; `tests/conftest.py` makes pytest know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.brokers import ApacheKafka, InProcessBroker
from tests.real.children import Children
from tests.real.maven import kafka_jars
from tests.real.stage import Stage


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    children = Children()
    yield children
    children.close()


@pytest.fixture(scope="session")
def apache_kafka(children: Children, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """One broker for all tests that need Apache Kafka: they stay on one worker."""
    broker = ApacheKafka(children, kafka_jars(), tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def in_process_broker() -> InProcessBroker:
    return InProcessBroker()


@pytest.fixture
def stage(
    request: pytest.FixtureRequest, apache_kafka: ApacheKafka, children: Children, tmp_path: Path
) -> Iterator[Stage]:
    """An empty stage around Apache Kafka."""
    stage = Stage(apache_kafka, children, tmp_path, _name(request))
    yield stage
    stage.close()


def _name(request: pytest.FixtureRequest) -> str:
    """The test's name as Kafka takes it."""
    name: str = request.node.name
    return name.replace("[", ".").replace("]", "").removeprefix("test_")
