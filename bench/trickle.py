"""Records that keep coming while something else is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Event, Thread
from typing import Self

from confluent_kafka import KafkaError, Message, Producer

from bench.workload import Record

_PAUSE_S = 0.005
"""Thousands of wake-ups a second would take a good part of the core that broker and double have, too."""

_TIMED_PER_S = 25
"""To hear of each acknowledgement as it comes would be thousands of wake-ups again."""


class Trickle:
    """Writes so many records a second, as long as the block lasts: each when it is due, or a few milliseconds after.

    The timestamp that a record has in Kafka is when it is written, not when it was due.

    Args:
        address: The broker's.
        per_s: How many.
        make: Makes the record of a number and a time in milliseconds.

    Attributes:
        written_at: When each record was written, by its number: the timestamp that it has in Kafka, in seconds.
        taken_s: When some of the records were written, and how long Kafka took until it said that it has them.
    """

    def __init__(self, address: str, per_s: float, make: Callable[[int, int], Record]) -> None:
        self.written_at: dict[int, float] = {}
        self.taken_s: list[tuple[float, float]] = []
        self._make = make
        self._per_s = per_s
        self._nth = max(1, int(per_s // _TIMED_PER_S))
        properties = {"bootstrap.servers": address, "linger.ms": 0, "acks": "all"}
        self._producer, self._timed = Producer(properties), Producer(properties)
        self._stopping = Event()
        self._threads = [Thread(target=work, daemon=True) for work in (self._run, self._listen)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._producer.flush(30)
        self._timed.flush(30)

    def _run(self) -> None:
        began = time.monotonic()
        number = 0
        while not self._stopping.wait(_PAUSE_S):
            for _ in range(int((time.monotonic() - began) * self._per_s) - number):
                at = int(time.time() * 1000)
                record = self._make(number, at)
                if number % self._nth:
                    self._producer.produce(record.topic, record.value, record.key, timestamp=at)
                else:
                    self._timed.produce(
                        record.topic, record.value, record.key, timestamp=at, on_delivery=partial(self._hear, number)
                    )
                self.written_at[number] = at / 1000
                number += 1
            self._producer.poll(0)

    def _listen(self) -> None:
        """Hear of acknowledgements as they come: their time is taken by whoever hears of them."""
        while not self._stopping.is_set():
            self._timed.poll(0.1)

    def _hear(self, number: int, error: KafkaError | None, message: Message) -> None:
        assert error is None, "Kafka takes what is written"
        self.taken_s.append((self.written_at[number], message.latency() or 0.0))
