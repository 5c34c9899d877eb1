"""Records that keep coming while something else is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Self

from confluent_kafka import Producer

from bench.workload import Record


class Trickle:
    """Writes so many records a second, each at once, as long as the block lasts.

    Args:
        address: The broker's.
        per_s: How many.
        make: Makes the record of a number and a time in milliseconds.

    Attributes:
        written_at: When each record was written, by its number: the timestamp that it has in Kafka, in seconds.
    """

    def __init__(self, address: str, per_s: float, make: Callable[[int, int], Record]) -> None:
        self.written_at: dict[int, float] = {}
        self._make = make
        self._pause_s = 1 / per_s
        self._producer = Producer({"bootstrap.servers": address, "linger.ms": 0, "acks": "all"})
        self._stopping = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(30)

    def _run(self) -> None:
        due = time.monotonic()
        number = 0
        while not self._stopping.wait(max(due - time.monotonic(), 0)):
            at = int(time.time() * 1000)
            record = self._make(number, at)
            self._producer.produce(record.topic, record.value, record.key, timestamp=at)
            self._producer.poll(0)
            self.written_at[number] = at / 1000
            number += 1
            due += self._pause_s
