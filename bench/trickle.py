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


class Trickle:
    """Writes so many records a second, as long as the block lasts: each when it is due, or a few milliseconds after.

    The timestamp that a record has in Kafka is when it is written, not when it was due.

    Args:
        address: The broker's.
        per_s: How many.
        make: Makes the record of a number and a time in milliseconds.

    Attributes:
        written_at: When each record was written, by its number: the timestamp that it has in Kafka, in seconds.
        taken_s: How long Kafka took until it said that it has the record, by its number.
    """

    def __init__(self, address: str, per_s: float, make: Callable[[int, int], Record]) -> None:
        self.written_at: dict[int, float] = {}
        self.taken_s: dict[int, float] = {}
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
        while not self._stopping.is_set():
            self._listen(_PAUSE_S)
            for _ in range(int((time.monotonic() - began) * self._per_s) - number):
                at = int(time.time() * 1000)
                record = self._make(number, at)
                self._producer.produce(
                    record.topic, record.value, record.key, timestamp=at, on_delivery=partial(self._hear, number)
                )
                self.written_at[number] = at / 1000
                number += 1

    def _listen(self, lasts_s: float) -> None:
        """Hear of acknowledgements when they come: their time is taken by whoever hears of them."""
        ends = time.monotonic() + lasts_s
        while (left_s := ends - time.monotonic()) > 0:
            self._producer.poll(left_s)

    def _hear(self, number: int, error: KafkaError | None, message: Message) -> None:
        assert error is None, "Kafka takes what is written"
        self.taken_s[number] = message.latency() or 0.0
