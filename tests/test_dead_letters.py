"""Dead letters on librdkafka's in-process broker, and on a producer that fails as it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from connector import dead_letters
from connector.dead_letters import DeadLetterTopic
from connector.ports import Cured, Trouble
from tests.hostile_headers import Unreadable
from tests.real.brokers import InProcessBroker

TOPIC = "aiq.dead-letters"
HEADERS = [("aiq.dlq.reason", b"undecodable"), ("aiq.dlq.offset", b"7")]


class Record:
    """A consumed record."""

    def __init__(
        self, value: bytes | None, key: bytes | None = None, headers: Any = None, timestamp: tuple[int, int] = (0, 0)
    ) -> None:
        self._parts = (value, key, headers, timestamp)

    def value(self) -> bytes | None:
        return self._parts[0]

    def key(self) -> bytes | None:
        return self._parts[1]

    def headers(self) -> Any:
        return self._parts[2]

    def timestamp(self) -> tuple[int, int]:
        return self._parts[3]


class Topic(DeadLetterTopic):
    """The topic under test, and what it has told."""

    def __init__(self, kafka: dict[str, Any]) -> None:
        self.told: list[Trouble | Cured] = []
        self.failures = 0
        self.is_ours = True
        super().__init__(kafka, TOPIC, self.told.append, self._fail)

    def _fail(self) -> None:
        self.failures += 1

    def letter(self, value: bytes = b"value") -> asyncio.Task[bool]:
        return asyncio.create_task(self.write(Record(value), HEADERS, lambda: self.is_ours))


# ---- on a broker ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> InProcessBroker:
    broker = InProcessBroker()
    broker.create_topic(TOPIC)
    return broker


@pytest.fixture
def read(broker: InProcessBroker) -> Iterator[Callable[[], Any]]:
    """Reads the newest letter of all partitions."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "read", "log_level": 0})

    def newest() -> Any:
        found = []
        for partition in range(4):
            place = KafkaPartition(TOPIC, partition)
            _, high = consumer.get_watermark_offsets(place, timeout=10)
            if high:
                consumer.assign([KafkaPartition(TOPIC, partition, high - 1)])
                message = consumer.poll(30)
                assert message is not None
                assert message.error() is None
                found.append(message)
        return max(found, key=lambda message: dict(message.headers())["number"])

    yield newest
    consumer.close()


@pytest.mark.parametrize(
    ("number", "value", "key", "timestamp"),
    [
        (b"1", b"\x00\xff", b"\x01key", (1, 1_700_000_000_123)),
        (b"2", None, b"tombstone", (2, 1_700_000_000_124)),
        (b"3", b"", None, (1, 1)),
    ],
)
async def test_a_letter_is_the_original_byte_for_byte_with_more_headers(
    broker: InProcessBroker, read: Any, number: bytes, value: Any, key: Any, timestamp: tuple[int, int]
) -> None:
    topic = Topic({"bootstrap.servers": broker.address, "group.id": "g", "session.timeout.ms": 6000})
    own = [("number", number), ("twice", b"a"), ("twice", b"\xff"), ("null", None)]
    await topic.write(
        Record(value, key, [*own, ("aiq.dlq.reason", b"of an earlier life")], timestamp), HEADERS, lambda: True
    )
    topic.close()
    letter = await asyncio.to_thread(read)
    assert (letter.value(), letter.key(), letter.timestamp()[1]) == (value, key, timestamp[1])
    assert letter.headers() == [*own, *HEADERS]
    assert topic.told == []


async def test_a_record_whose_headers_cannot_be_read_is_a_letter_without_them(
    broker: InProcessBroker, read: Any
) -> None:
    class Odd(Unreadable, Record):
        pass

    topic = Topic({"bootstrap.servers": broker.address})
    own = [("number", b"3a")]  # by which the letter is found
    await topic.write(Odd(b"x"), [*own, *HEADERS], lambda: True)
    topic.close()
    letter = await asyncio.to_thread(read)
    assert (letter.value(), letter.headers()) == (b"x", [*own, *HEADERS])


async def test_a_record_without_a_timestamp_gets_the_present(broker: InProcessBroker, read: Any) -> None:
    topic = Topic({"bootstrap.servers": broker.address})
    before = int(time.time() * 1000)
    await topic.write(Record(b"x", headers=[("number", b"4")]), HEADERS, lambda: True)
    topic.close()
    assert (await asyncio.to_thread(read)).timestamp()[1] >= before


async def test_many_letters_at_a_time_are_all_written(broker: InProcessBroker) -> None:
    topic = Topic({"bootstrap.servers": broker.address})
    await asyncio.gather(*(topic.letter(str(each).encode()) for each in range(500)))
    topic.close()
    assert topic.told == []


async def test_a_letter_too_large_for_us_to_send_waits_and_says_what_to_raise(broker: InProcessBroker) -> None:
    topic = Topic({"bootstrap.servers": broker.address, "message.max.bytes": 2000})
    letter = topic.letter(b"x" * 3000)
    while not topic.told:
        await asyncio.sleep(0)
    (trouble,) = topic.told
    assert isinstance(trouble, Trouble)
    assert trouble.halts
    assert "MSG_SIZE_TOO_LARGE" in trouble.detail
    assert "max.message.bytes" in trouble.detail
    letter.cancel()
    topic.close()


# ---- on a producer that fails ---------------------------------------------------------------------------------------


class Failing:
    """Stands where a Producer would: answers when it is told, and as it is told."""

    made: list[Failing]

    def __init__(self, _properties: dict[str, Any]) -> None:
        self.held: list[tuple[bytes, Callable[[KafkaError | None, None], None]]] = []
        self.refusal: BaseException | None = None
        self._answers: list[Callable[[], None]] = []
        Failing.made.append(self)

    def produce(self, _topic: str, **parts: Any) -> None:
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise refusal
        self.held.append((parts["value"], parts["on_delivery"]))

    def answer(self, error: KafkaError | None = None, count: int = 1) -> None:
        """Of the oldest letters; the callback comes with the next poll."""
        for _ in range(count):
            _, delivered = self.held.pop(0)
            self._answers.append(lambda delivered=delivered: delivered(error, None))  # type: ignore[misc]

    def poll(self, timeout: float) -> None:
        assert timeout == 0
        while self._answers:
            self._answers.pop(0)()


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    Failing.made = []
    monkeypatch.setattr(dead_letters, "Producer", Failing)
    monkeypatch.setattr(dead_letters, "_AGAIN_S", (0.0,))
    return Topic({"bootstrap.servers": "none"})


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0)


def error(code: int, *, fatal: bool = False) -> KafkaError:
    return KafkaError(code, "said by a broker", fatal)


async def test_a_letter_is_written_once_the_broker_says_so_and_not_before(topic: Topic) -> None:
    letter = topic.letter()
    await until(lambda: Failing.made and Failing.made[0].held)
    assert not letter.done()
    Failing.made[0].answer()
    await letter


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (KafkaError._UNKNOWN_TOPIC, "make the dead-letter topic"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "make the dead-letter topic"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "allow this user to write"),
        (KafkaError.INVALID_TIMESTAMP, "set its message.timestamp.type to LogAppendTime"),
        (KafkaError.INVALID_RECORD, "set its cleanup.policy to delete"),
        (KafkaError._MSG_TIMED_OUT, "check the brokers"),
    ],
)
async def test_a_letter_that_is_not_taken_is_written_again_until_it_is(topic: Topic, code: int, remedy: str) -> None:
    letter = topic.letter()
    for tries in range(1, 4):
        await until(lambda: Failing.made and Failing.made[0].held)
        Failing.made[0].answer(error(code))
        await until(lambda tries=tries: topic.failures == tries)
    assert all(isinstance(each, Trouble) and remedy in each.detail and each.halts for each in topic.told)
    assert "said by a broker" not in repr(topic.told)
    await until(lambda: Failing.made[0].held)
    Failing.made[0].answer()
    await letter
    assert topic.told[-1] == Cured("dead_letters")
    assert len(Failing.made) == 1


@pytest.mark.parametrize("refusal", [BufferError("queue full"), KafkaException(error(KafkaError.MSG_SIZE_TOO_LARGE))])
async def test_a_letter_that_the_producer_will_not_queue_is_tried_again(topic: Topic, refusal: BaseException) -> None:
    first = topic.letter()
    await until(lambda: Failing.made and Failing.made[0].held)
    Failing.made[0].answer()
    await first
    Failing.made[0].refusal = refusal
    second = topic.letter()
    await until(lambda: Failing.made[0].held)
    Failing.made[0].answer()
    await second
    assert topic.failures == 1


async def test_the_trouble_is_over_only_when_no_letter_has_it_any_more(topic: Topic) -> None:
    letters = [topic.letter(b"one"), topic.letter(b"two")]
    await until(lambda: Failing.made and len(Failing.made[0].held) == 2)
    producer = Failing.made[0]
    producer.answer(error(KafkaError._MSG_TIMED_OUT), 2)
    await until(lambda: len(producer.held) == 2)
    producer.answer()
    await until(lambda: any(letter.done() for letter in letters))
    assert Cured("dead_letters") not in topic.told
    producer.answer()
    await asyncio.gather(*letters)
    assert topic.told[-1] == Cured("dead_letters")


async def test_a_producer_that_lost_its_state_is_made_anew_and_all_its_letters_with_it(topic: Topic) -> None:
    letters = [topic.letter(str(each).encode()) for each in range(3)]
    await until(lambda: Failing.made and len(Failing.made[0].held) == 3)
    Failing.made[0].answer(error(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, fatal=True))  # the others are never answered
    await until(lambda: len(Failing.made) == 2 and len(Failing.made[1].held) == 3)
    assert {value for value, _ in Failing.made[1].held} == {b"0", b"1", b"2"}
    Failing.made[1].answer(count=3)
    await asyncio.gather(*letters)
    assert len(Failing.made) == 2
    assert topic.told[-1] == Cured("dead_letters")


async def test_a_letter_given_up_while_it_is_in_trouble_does_not_keep_the_trouble_alive(topic: Topic) -> None:
    gone, stays = topic.letter(b"gone"), topic.letter(b"stays")
    await until(lambda: Failing.made and len(Failing.made[0].held) == 2)
    producer = Failing.made[0]
    producer.answer(error(KafkaError._MSG_TIMED_OUT), 2)
    await until(lambda: len(producer.held) == 2)
    gone.cancel()
    producer.answer(count=2)
    await stays
    assert topic.told[-1] == Cured("dead_letters")


async def test_a_letter_that_waits_is_left_to_the_next_owner_of_its_partition_and_so_is_the_trouble(
    topic: Topic,
) -> None:
    """Or there are two letters for one record; and nothing would be left that could find out that it is over."""
    letter = topic.letter()
    await until(lambda: Failing.made and Failing.made[0].held)
    topic.is_ours = False
    Failing.made[0].answer(error(KafkaError._MSG_TIMED_OUT))

    assert not await letter
    assert Failing.made[0].held == []
    assert topic.told[-1] == Cured("dead_letters")
    assert not await topic.letter()
    assert Failing.made[0].held == []


async def test_while_one_letter_is_given_up_another_keeps_the_trouble(topic: Topic) -> None:
    is_ours = True
    gone = asyncio.create_task(topic.write(Record(b"gone"), HEADERS, lambda: is_ours))
    stays = topic.letter(b"stays")
    await until(lambda: Failing.made and len(Failing.made[0].held) == 2)
    producer = Failing.made[0]
    is_ours = False
    producer.answer(error(KafkaError._MSG_TIMED_OUT), 2)
    assert not await gone
    assert Cured("dead_letters") not in topic.told
    await until(lambda: producer.held)
    producer.answer()
    assert await stays
    assert topic.told[-1] == Cured("dead_letters")
