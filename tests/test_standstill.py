"""A Kafka thread that stands is told from one that waits for Kafka."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

from connector import standstill
from connector.backpressure import Bounds
from connector.source import KafkaSource
from connector.standstill import until_it_stands
from tests.real.brokers import InProcessBroker

WAIT_S = 60
LONG_AGO = 1.0

Look = Callable[..., int | str]


class Coordinator:
    """Answers or does not, one word a question, and the last for ever; each look takes five seconds."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.now = 1000.0

    def __call__(self, _kafka: object, topic: str) -> bool:
        assert topic == "t"
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now > 2000:
            raise TimeoutError


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Looks, in time of its own, and says how many questions it took, or that it never returned."""

    def looking(coordinator: Coordinator, *ticked_at: float) -> int | str:
        monkeypatch.setattr(standstill, "_answers", coordinator)
        monkeypatch.setattr(standstill.time, "monotonic", lambda: coordinator.now)
        monkeypatch.setattr(standstill.asyncio, "sleep", coordinator.sleep)

        async def at_once(function: object, *arguments: object) -> object:
            return function(*arguments)  # type: ignore[operator]

        monkeypatch.setattr(standstill.asyncio, "to_thread", at_once)
        ticks = list(ticked_at)
        work = until_it_stands({}, "t", lambda: ticks.pop(0) if len(ticks) > 1 else ticks[0])
        try:
            work.send(None)
        except StopIteration:
            return coordinator.asked
        except TimeoutError:
            return "never"
        raise AssertionError

    return looking


def test_a_thread_that_stands_while_the_coordinator_answers_others_is_noticed(look: Look) -> None:
    assert look(Coordinator(True), LONG_AGO) == 5  # at 0, 5, 10, 15 and 20 s


def test_a_coordinator_that_is_away_or_has_just_come_back_is_waited_for(look: Look) -> None:
    assert look(Coordinator(False), LONG_AGO) == "never"
    assert look(Coordinator(True, True, True, False, True), LONG_AGO) == 9  # from the fifth question on


def test_a_thread_that_turns_or_has_not_begun_is_left_alone(look: Look) -> None:
    coordinator = Coordinator(True)
    assert look(coordinator, 0.0) == "never"
    assert coordinator.asked == 0
    assert look(Coordinator(True), LONG_AGO, LONG_AGO, 1014.0, LONG_AGO) == 7  # it had turned: from the start again


def test_the_coordinator_is_asked_by_a_client_of_its_own() -> None:
    broker = InProcessBroker()
    broker.create_topic("asked-of")
    kafka = {"bootstrap.servers": broker.address, "group.id": "g", "group.instance.id": "one"}
    assert standstill._answers(kafka, "asked-of")


def test_brokers_that_are_not_there_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standstill, "_CALL_S", 0.2)
    assert not standstill._answers({"bootstrap.servers": "127.0.0.1:1", "group.id": "g"}, "t")


def test_a_client_that_cannot_be_made_knows_nothing_of_the_coordinator() -> None:
    assert not standstill._answers({"bootstrap.servers": "127.0.0.1:1", "group.id": "g", "no.such.property": 1}, "t")


_PROCESS = """
    import asyncio, threading
    from connector import source, standstill
    from connector.backpressure import Bounds
    from tests.real.brokers import InProcessBroker

    standstill.STANDS_S, standstill._AGAIN_S, standstill._LOOK_S = 0.1, 0.1, 0.1
    broker = InProcessBroker()
    broker.create_topic("t")

    async def live():
        ended = asyncio.get_running_loop().create_future()
        kafka = {"bootstrap.servers": broker.address, "group.id": "g", "log_level": 0}
        one = source.KafkaSource(kafka, ["t"], Bounds(), 1.0)
        one._regulate = lambda consumer: threading.Event().wait()  # as in a call that has no end
        one.start(lambda event: isinstance(event, source.SourceEnded) and not ended.done() and ended.set_result(event))
        return await ended

    print(asyncio.run(live()))
"""


def test_a_process_whose_thread_stands_ends_and_says_why() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PROCESS)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env=environment,
    )
    assert "SourceEnded(exit_code=1" in ended.stdout, ended.stderr
    assert "librdkafka does not come back from a call" in ended.stdout
    assert ended.returncode == 0


async def test_a_source_that_is_closed_watches_no_longer() -> None:

    broker = InProcessBroker()
    broker.create_topic("watched")
    source = KafkaSource(
        {"bootstrap.servers": broker.address, "group.id": "watched", "log_level": 0}, ["watched"], Bounds(), 1.0
    )
    source.start(lambda _event: None)
    async with asyncio.timeout(WAIT_S):
        await source.close()
        await asyncio.wait({source._watching})
    assert source._watching.cancelled()
