"""What the Kafka thread asks the brokers beside polling: how many partitions topics have, and where partitions end.

An edge. While an errand waits nothing is polled and no commit is made; so it waits shortly, and once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from connector.backpressure import Flow
from connector.ports import Cured, PartitionCounts, Trouble, Watermarks
from connector.records import Assignment

_WATERMARKS_S: Final = 5.0
_COUNTS_S: Final = 30.0
_CALL_S: Final = 2.0


class Errands:
    """Run on the Kafka thread, by whoever owns the consumer.

    Args:
        topics: What is subscribed to.
        tell: Told what was found: counts when they change, watermarks, a topic that is not there or is (again).
    """

    def __init__(
        self, topics: Sequence[str], tell: Callable[[PartitionCounts | Watermarks | Trouble | Cured], None]
    ) -> None:
        self._topics = topics
        self._tell = tell
        self._counts: dict[str, int] = {}
        self._counts_at = self._watermarks_at = 0.0
        self._silent: set[Assignment] = set()  # of these the broker did not tell where they end

    @property
    def counts(self) -> Mapping[str, int]:
        """How many partitions each topic has; one that was never described is not in here."""
        return self._counts

    def count_soon(self) -> None:
        """What is known of topics may have changed: ask with the next turn."""
        self._counts_at = 0.0

    def run(self, consumer: Consumer, flows: Iterable[Flow]) -> None:
        """Those whose time has come."""
        now = time.monotonic()
        if now >= self._counts_at:
            # Until it is known how many partitions there are, our share of the quota is none: ask again soon.
            self._counts_at = now + (_COUNTS_S if self._count(consumer) else _WATERMARKS_S)
        if now >= self._watermarks_at:
            self._watermarks_at = now + _WATERMARKS_S
            self._read_watermarks(consumer, flows)

    def _count(self, consumer: Consumer) -> bool:
        """How many partitions each topic has; a topic that is not there is said and waited for. False: no answer.

        One that cannot be described for once keeps the count that it had: others may own its partitions still, and
        with fewer partitions in all everybody's share of the quota would grow.
        """
        counts = dict(self._counts)
        for topic in self._topics:
            reason = f"topic_missing:{topic}"
            try:
                found = consumer.list_topics(topic, timeout=_CALL_S).topics[topic]
            except KafkaException:
                return False  # told by the error callback
            if found.error is None and found.partitions:
                counts[topic] = len(found.partitions)
                self._tell(Cured(reason))
            else:
                detail = f"topic {topic} does not exist (or may not be described): make it; it is waited for"
                self._tell(Trouble(reason, detail, halts=False))
        if counts != self._counts:
            self._counts = counts
            self._tell(PartitionCounts(counts))
        return True

    def _read_watermarks(self, consumer: Consumer, flows: Iterable[Flow]) -> None:
        found: dict[Assignment, tuple[int, int]] = {}
        flows = list(flows)
        self._silent &= {flow.stay for flow in flows}
        # First those of which it is known without asking, and last who did not answer: he must not hide the others.
        for flow in sorted(flows, key=lambda flow: (flow.paused, flow.stay in self._silent)):
            where = TopicPartition(flow.stay.topic, flow.stay.partition)
            try:
                # While paused nothing is fetched, so what is cached grows old: ask the broker.
                low, high = consumer.get_watermark_offsets(where, timeout=_CALL_S, cached=not flow.paused)
            except KafkaException:
                self._silent.add(flow.stay)
                break  # one time-out is enough: the next errand asks again
            self._silent.discard(flow.stay)
            if high >= 0:
                found[flow.stay] = (max(low, 0), high)
        if found:
            self._tell(Watermarks(found))
