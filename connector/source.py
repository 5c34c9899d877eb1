"""The thread that owns the Kafka consumer: records out in chunks, commands in through a mailbox.

An edge. Cancelling a Kafka call loses records without a trace, calls on one consumer wait for each other, and offsets
may be sparse, so no later check can see a hole: losslessness is won here. Therefore one thread makes every call, no
call is ever cancelled, and handing over never blocks. Backpressure is arithmetic: what was handed out and not released
is outstanding; past the bound single partitions are paused, and resumed while half of it is still there to work on.

Every partition's stay has an epoch. A command for a stay that is over is dropped; a commit never lowers an offset.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from connector.backpressure import Bounds, Flow, regulate
from connector.complaints import Complaints
from connector.errands import Errands
from connector.first_positions import are_taken, first_positions
from connector.kafka_errors import (
    NOT_TAKEN,
    TOLD_ASIDE,
    UNREADABLE,
    InstanceTaken,
    Rebuild,
    Refused,
    fatal,
    refusal,
    said,
)
from connector.kafka_properties import consumer_properties, first_position
from connector.metrics import Stage
from connector.ports import (
    Assigned,
    Chunk,
    Commit,
    CommitRefused,
    Cured,
    Lost,
    PartitionCounts,
    Revoked,
    SourceEnded,
    SourceEvent,
    StayStart,
    Trouble,
    Watermarks,
)
from connector.records import Assignment, KafkaRecord
from connector.records import TopicPartition as Partition
from connector.sasl import PASSWORD, USER
from connector.standstill import until_it_stands

_POLL_RECORDS: Final = 500
_POLL_S: Final = 0.01
"""The thread looks into its mailbox so often."""

_GATHER_S: Final = 0.002
"""`consume` waits this out for what comes with a first record, unless there is plenty: the price of one turn for many.

Measured at 750 and at 7,500 events a second: no wait takes a fifth more processor time, and 10 ms (with no first record
to end them) cost 5 ms at the median."""

_REVOKE_SLACK_S: Final = 2.0
_LAST_COMMIT_S: Final = 3.0
_COMMIT_AGAIN_S: Final = 0.1

_NO_FAREWELL: Final = (
    "Kafka did not answer while we left: the partitions are free when the session has timed out, and what could not be"
    " committed repeats; check the brokers"
)
_STANDS: Final = (
    "librdkafka does not come back from a call although the group's coordinator answers others: this process ends, so"
    " that a new one takes its place; what was on the wire may repeat. Nothing is to be done, if something restarts it"
)
_UNHEARD: Final = (
    "a broker's answer is longer than kafka.receive.message.max.bytes, or none of Kafka's: raise that, or check that"
    " kafka.security.protocol is the listener's"
)
_REBUILD_S: Final = (1.0, 2.0, 5.0, 10.0)


@dataclass(slots=True)
class _LogInCommand:
    user: str
    password: str = field(repr=False)


@dataclass(slots=True)
class _CommitCommand:
    commits: Sequence[Commit]
    answer: Callable[[Sequence[Commit] | CommitRefused], None]


class KafkaSource:
    """The consumer of one process.

    Args:
        kafka: The operator's librdkafka properties.
        topics: What to subscribe to.
        bounds: How much may be outstanding.
        revoke_deadline_s: How long a revoke may wait for what is on the wire; below `max.poll.interval.ms`.
        logger: Gets librdkafka's own lines; None: they go to standard error.
        spent: Told what a stage took, in processor seconds of the thread; called on it.
        boot: Seconds since boot, time in suspension included.
        beside_triggers: Triggers are among the topics.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topics: Sequence[str],
        bounds: Bounds,
        revoke_deadline_s: float,
        logger: logging.Logger | None = None,
        spent: Callable[[Stage, float], None] = lambda _stage, _seconds: None,
        boot: Callable[[], float] = time.monotonic,
        *,
        beside_triggers: bool = False,
    ) -> None:
        self._kafka = dict(kafka)
        self._beside_triggers = beside_triggers
        self._topics = list(topics)
        self._bounds = bounds
        self._revoke_deadline_s = revoke_deadline_s
        self._logging: dict[str, Any] = {} if logger is None else {"logger": logger}
        self._spent = spent
        self._boot = boot
        self._mailbox: queue.SimpleQueue[_CommitCommand | _LogInCommand] = queue.SimpleQueue()
        self._flows: dict[Partition, Flow] = {}
        self._epochs = 0
        self._held = False
        self._held_back: frozenset[Assignment] = frozenset()
        self._closing = threading.Event()
        self._ended: asyncio.Future[None] | None = None
        self._complaints = Complaints(self._tell)
        self._errands = Errands(self._topics, self._hear_errand)
        self.ticked_at = 0.0
        """When the thread had its last turn, monotonic seconds; 0.0 before its first. Read by the health page."""
        self.has_joined = False
        """The group has given its word on our partitions (none is also a word)."""

    # ---- called on the event loop -----------------------------------------------------------------------------------

    def start(self, listener: Callable[[SourceEvent], None]) -> None:
        """Begin to consume; `listener` is called on this loop's thread."""
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._ended = self._loop.create_future()
        threading.Thread(target=self._live, name="kafka", daemon=True).start()
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        """End the process should the thread stand for ever: it is a daemon, and can be left behind in its call."""
        await until_it_stands(self._kafka, self._topics[0], lambda: self.ticked_at)
        self._listener(SourceEnded(1, _STANDS))

    async def commit(self, commits: Sequence[Commit]) -> Sequence[Commit]:
        """Commit and wait for the coordinator's word."""
        waiting: asyncio.Future[Sequence[Commit]] = self._loop.create_future()

        def answer(word: Sequence[Commit] | CommitRefused) -> None:
            self._call(_resolve, waiting, word)

        self._mailbox.put(_CommitCommand(commits, answer))
        return await waiting

    def log_in_as(self, user: str, password: str) -> None:
        """With the next login, of this consumer and of those that are made after it."""
        self._kafka.update({USER: user, PASSWORD: password})
        self._mailbox.put(_LogInCommand(user, password))

    def release(self, stay: Assignment, records: int, size_bytes: int) -> None:
        """So much is settled."""
        flow = self._flows.get(stay.name)
        if flow is not None and flow.stay == stay:
            flow.released += records
            flow.released_bytes += size_bytes

    def hold(self, *, held: bool) -> None:
        """Stop or go on fetching."""
        self._held = held

    def hold_back(self, stays: frozenset[Assignment]) -> None:
        """Fetch nothing more of these, until they are named no more."""
        self._held_back = stays

    async def close(self) -> None:
        """Leave the group; without a word to it where Kafka does not answer: a commit to no broker takes a minute."""
        self._closing.set()
        if self._ended is None:
            return
        within_s = self._revoke_deadline_s + _REVOKE_SLACK_S + _LAST_COMMIT_S
        _, waiting = await asyncio.wait({self._ended}, timeout=within_s)
        self._watching.cancel()
        if waiting:
            self._listener(Trouble("no_farewell", _NO_FAREWELL, halts=False))
            self._listener(SourceEnded(0, _NO_FAREWELL))

    @property
    def paused(self) -> int:
        """Partitions that are paused for backpressure."""
        return sum(1 for flow in list(self._flows.values()) if flow.paused)

    # ---- the thread -------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        """Run consumers, one after the other, until asked to stop."""
        rebuilds = 0
        ended = SourceEnded(0, "")
        while True:
            try:
                self._consume_until_closing()
                break
            except Refused as refused:
                ended = SourceEnded(3, str(refused))
                break
            except (Rebuild, KafkaException) as cause:
                words = said(cause.args[0]) if isinstance(cause, KafkaException) else str(cause)
                self._complaints.say(
                    "kafka_client", f"{words}; a new consumer is made until one works: check the brokers"
                )
                self._closing.wait(_REBUILD_S[min(rebuilds, len(_REBUILD_S) - 1)])
                rebuilds += not isinstance(cause, InstanceTaken)
                if self._closing.is_set():
                    break
            except BaseException as error:  # the thread's last word; it ends the process
                ended = SourceEnded(1, f"{type(error).__name__} in the Kafka thread")
                self._tell(ended)
                self._call(self._finish)
                raise
        self._tell(ended)
        self._call(self._finish)

    def _finish(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _consume_until_closing(self) -> None:
        self._flows = {}
        properties = consumer_properties(self._kafka, beside_triggers=self._beside_triggers)
        consumer = Consumer({**properties, "error_cb": self._on_error, **self._logging})
        try:
            consumer.subscribe(
                self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )  # fmt: skip
            while not self._closing.is_set():
                # Before the first poll: an assignment asks how many partitions there are.
                self._errands.run(consumer, list(self._flows.values()))
                began = time.thread_time()
                messages = self._poll(consumer)
                self.ticked_at = time.monotonic()
                if messages:
                    self._hand_over(messages)
                    self._spent("poll", time.thread_time() - began)  # one that brought nothing is idling
                self._serve(consumer)
                self._regulate(consumer)
        except (Rebuild, KafkaException):
            self._on_lost(consumer, [])
            raise
        finally:
            consumer.close()

    def _poll(self, consumer: Consumer) -> list[Message]:
        """The first record that comes, and what comes with it. None of a stay that has ended meanwhile.

        librdkafka takes such records, which come again, out of one call's answer; here there are two.
        """
        messages = consumer.consume(1, _POLL_S)
        if not messages:
            return messages
        name = Partition(cast("str", messages[0].topic()), cast("int", messages[0].partition()))
        flow = self._flows.get(name)
        more = consumer.consume(_POLL_RECORDS - 1, _GATHER_S)
        return more if self._flows.get(name) is not flow else messages + more

    def _hand_over(self, messages: list[Message]) -> None:
        """Sort what was polled by stay, in order, and post it. Never blocks: the loop takes what the bounds allow."""
        runs: dict[Partition, list[KafkaRecord]] = {}
        for message in cast("list[Any]", messages):  # the library types a bare Message as if any part could be absent
            error = message.error()
            if error is None:
                runs.setdefault(Partition(message.topic(), message.partition()), []).append(message)
            elif error.code() in UNREADABLE:
                name = Partition(message.topic(), message.partition())
                self._hand_out(name, runs.pop(name, []))
                self._stop_at(name, message.offset(), error)
            else:
                self._judge(error, message)
        for name, records in runs.items():
            self._hand_out(name, records)
        for topic in {name.topic for name in runs}:
            self._complaints.topic_read(topic)
        if runs:
            self._complaints.over("kafka")

    def _hand_out(self, name: Partition, records: list[KafkaRecord]) -> None:
        flow = self._flows.get(name)
        if flow is None or flow.astray or not records:
            return  # revoked in the same call: its next owner reads it
        if records[0].offset() < flow.expected or records[-1].offset() < records[0].offset():
            flow.astray = True
            self._complaints.fallen_back(name)
            return
        flow.expected = records[-1].offset() + 1
        flow.handed += len(records)
        flow.handed_bytes += sum([len(record.value() or b"") for record in records])
        self._tell(Chunk(flow.stay, records))
        self._complaints.read(name)

    def _stop_at(self, name: Partition, offset: int, error: KafkaError) -> None:
        """A batch cannot be read, and what comes behind it must not be read first."""
        flow = self._flows.get(name)
        if flow is None or flow.astray:
            return  # revoked in the same call: its next owner says it
        flow.astray = True
        self._complaints.unreadable(name, offset, error)

    def _judge(self, error: KafkaError, message: Any) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001  # the library's own spelling
            return
        if code in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}:  # noqa: SLF001
            self._errands.count_soon()  # which says what topic, once
        elif code == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001
            if (name := self._read_from(message)) is not None:
                self._complaints.out_of_range(name)
        elif code == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            self._complaints.topic_forbidden(message.topic(), error)
        elif code in NOT_TAKEN:
            self._complaints.say("kafka", refusal(error))
        elif code == KafkaError._FATAL or error.fatal():  # noqa: SLF001
            raise fatal(error)
        else:
            self._on_error(error)
            if (name := self._read_from(message)) is not None:
                self._complaints.not_read(name, error)

    def _read_from(self, message: Any) -> Partition | None:
        """The partition that a word is about, if it may be believed.

        Not where it was revoked in the same call: its next owner says it. Nor after a batch that cannot be read: behind
        a damaged one the library takes any bytes for the next offset, and finds that out of range.
        """
        name = Partition(message.topic(), message.partition())
        flow = self._flows.get(name)
        return None if flow is None or flow.astray else name

    # ---- assignment, in callbacks of consume() ----------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        asked_at = self._boot()
        starts = first_positions(consumer, partitions, first_position(self._kafka), self._errands.counts)
        is_ours = are_taken(consumer, starts)
        placed: list[TopicPartition] = []
        told: list[StayStart] = []
        for topic, partition, offset, metadata, _ in starts:
            self._epochs += 1
            stay = Assignment(topic, partition, self._epochs)
            self._flows[stay.name] = Flow(stay, offset)
            placed.append(TopicPartition(topic, partition, offset))
            told.append(StayStart(stay, offset, metadata))
        consumer.incremental_assign(placed)
        # A partition that was paused when it left us comes back paused: librdkafka remembers that by its name.
        consumer.resume(placed)
        self._regulate(consumer)  # before a record is fetched: full or held means paused from the start
        self._errands.count_soon()
        self.has_joined = True
        self._tell(Assigned(told, asked_at if is_ours else None))
        self._complaints.over("kafka")
        self._complaints.over("kafka_client")

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Serve the mailbox in here until the loop has drained these partitions, or until the deadline."""
        stays = self._stays(partitions)
        if not stays:
            return
        drained: queue.SimpleQueue[Sequence[Commit]] = queue.SimpleQueue()
        self._tell(Revoked(stays, self._revoke_deadline_s, drained.put))
        deadline = time.monotonic() + self._revoke_deadline_s + _REVOKE_SLACK_S
        commits: Sequence[Commit] = ()
        while time.monotonic() < deadline:
            try:
                commits = drained.get(timeout=_POLL_S)
                break
            except queue.Empty:
                self.ticked_at = time.monotonic()
                self._serve(consumer)
        word = self._last_commit(consumer, commits)
        if isinstance(word, CommitRefused):
            detail = f"a leaving partition's last commit was refused, so some of its records repeat: {word}"
            self._complaints.say("last_commit", detail, halts=False)
        self._let_go(stays)

    def _last_commit(self, consumer: Consumer, commits: Sequence[Commit]) -> Sequence[Commit] | CommitRefused:
        """Commit what a leaving partition has to tell, again and again for a while.

        Between two generations of a group the coordinator takes no commit, and that passes.
        """
        deadline = time.monotonic() + _LAST_COMMIT_S
        left = list(commits)
        while True:
            word = self._commit(consumer, left)
            if not isinstance(word, CommitRefused):
                for commit in word:
                    self._flows[commit.stay.name].closed = True
                left = [commit for commit in left if self._may_commit(commit)]
                if not left:
                    return word
            if time.monotonic() >= deadline:
                return (
                    word if isinstance(word, CommitRefused) else CommitRefused("not every partition was acknowledged")
                )
            time.sleep(_COMMIT_AGAIN_S)
            self.ticked_at = time.monotonic()
            self._serve(consumer)  # what stays here is claimed and committed meanwhile

    def _may_commit(self, commit: Commit) -> bool:
        """Whether it is still ours to make, lowers nothing, and is not older than the stay's last one."""
        flow = self._flows.get(commit.stay.name)
        if flow is None or flow.stay != commit.stay or flow.closed:
            return False
        return commit.next_offset >= flow.committed

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:  # noqa: ARG002  # its signature
        stays = self._stays(partitions) if partitions else [flow.stay for flow in self._flows.values()]
        if stays:
            self._tell(Lost(stays))
        self._let_go(stays)

    def _let_go(self, stays: Sequence[Assignment]) -> None:
        """They are not ours any more, and what was wrong with them is their next owner's to say."""
        for stay in stays:
            del self._flows[stay.name]
            self._complaints.left(stay.name)
        for topic in {stay.topic for stay in stays} - {name.topic for name in self._flows}:
            self._complaints.topic_read(topic)

    def _stays(self, partitions: Sequence[TopicPartition]) -> list[Assignment]:
        names = [Partition(partition.topic, partition.partition) for partition in partitions]
        return [self._flows[name].stay for name in names if name in self._flows]

    # ---- commands ---------------------------------------------------------------------------------------------------

    def _serve(self, consumer: Consumer) -> None:
        while True:
            try:
                command = self._mailbox.get_nowait()
            except queue.Empty:
                return
            match command:
                case _CommitCommand():
                    command.answer(self._commit(consumer, command.commits))
                case _LogInCommand():
                    consumer.set_sasl_credentials(command.user, command.password)

    def _commit(self, consumer: Consumer, commits: Sequence[Commit]) -> Sequence[Commit] | CommitRefused:
        """Commit what is still ours to commit; one call, synchronous."""
        current: dict[Partition, Commit] = {}
        for commit in commits:
            if self._may_commit(commit):
                current[commit.stay.name] = commit
        if not current:
            return []
        offsets = [
            TopicPartition(commit.stay.topic, commit.stay.partition, commit.next_offset, commit.metadata)
            for commit in current.values()
        ]
        began = time.thread_time()
        try:
            answers = consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exception:
            return CommitRefused(refusal(exception.args[0]))
        finally:
            self._spent("commit", time.thread_time() - began)
        acknowledged: list[Commit] = []
        refused: dict[Partition, KafkaError] = {}
        for answer in answers:
            name = Partition(answer.topic, answer.partition)
            if answer.error is None:
                self._flows[name].committed = current[name].next_offset
                acknowledged.append(current[name])
                self._complaints.committed(name)
            else:
                refused[name] = answer.error
        if not acknowledged:
            name, error = next(iter(refused.items()))
            return CommitRefused(f"{name}: {refusal(error)}")
        self._complaints.over("kafka")
        self._complaints.over("last_commit")
        for name, error in refused.items():
            self._complaints.commit_refused(name, error)
        return acknowledged

    # ---- backpressure -----------------------------------------------------------------------------------------------

    def _regulate(self, consumer: Consumer) -> None:
        """Pause and resume what the bounds say."""
        flows = list(self._flows.values())
        pause, resume = regulate(flows, self._bounds, held=self._held, held_back=self._held_back)
        if pause:
            consumer.pause([TopicPartition(flow.stay.topic, flow.stay.partition) for flow in pause])
        if resume:
            consumer.resume([TopicPartition(flow.stay.topic, flow.stay.partition) for flow in resume])

    # ---- telling ----------------------------------------------------------------------------------------------------

    def _hear_errand(self, event: PartitionCounts | Watermarks | Trouble | Cured) -> None:
        if isinstance(event, Trouble | Cured):
            self._complaints.hear(event)
        else:
            self._tell(event)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in TOLD_ASIDE or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._complaints.say("kafka", refusal(error))
        elif error.code() == KafkaError._BAD_MSG:  # noqa: SLF001  # of a whole answer; that all brokers are down comes next
            self._complaints.say("kafka", f"{said(error)}: {_UNHEARD}")

    def _tell(self, event: SourceEvent) -> None:
        self._call(self._listener, event)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return  # the loop has ended before us: there is nobody left to tell


def _resolve(waiting: asyncio.Future[Sequence[Commit]], word: Sequence[Commit] | CommitRefused) -> None:
    if waiting.done():
        return
    if isinstance(word, CommitRefused):
        waiting.set_exception(word)
    else:
        waiting.set_result(word)
