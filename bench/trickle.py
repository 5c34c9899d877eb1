"""Records that keep coming while something else is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Self

from confluent_kafka import Producer

from bench.workload import Record

_PAUSE_S = 0.005
"""Thousands of wake-ups a second would take a good part of the core that broker and double have, too."""


class Trickle:
    """Writes so many records a second, as long as the block lasts: each when it is due, or a few milliseconds after.

    The timestamp that a record has in Kafka is when it is written, not when it was due.

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
        self._per_s = per_s
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
        began = time.monotonic()
        number = 0
        while not self._stopping.wait(_PAUSE_S):
            for _ in range(int((time.monotonic() - began) * self._per_s) - number):
                at = int(time.time() * 1000)
                record = self._make(number, at)
                self._producer.produce(record.topic, record.value, record.key, timestamp=at)
                self.written_at[number] = at / 1000
                number += 1
            self._producer.poll(0)
