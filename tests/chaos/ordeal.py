"""What is done to the connector, and what that may cost: the bound on repeats, reckoned from outside.

Promise P4 says that a crash repeats at most what was in flight and what settled since the last commit. All of this is
seen without asking the connector:

- the double's journal says which request brought a record, and when that request arrived;
- the group's commits, offset and map, say what the next owner is told;
- the broker says who owns which partition.

A process that goes without handing over (killed, frozen beyond its session, cut off from Kafka) is an *abandonment* of
its partitions. Of each, two facts are taken down: the last commit, which cannot change until the next owner makes one,
and a moment `until` which lies after the last thing that the old owner may send and before the first that the new one
can. Between two such moments lies one *life* of a partition. What a life sent and its last commit does not call settled
is what the next life must send again, and nothing else:

    a record may arrive 1 + (lives that sent it without committing it) times

The sum of these over all records is the bound; a run with one process at a time meets it to the record where a commit
was read after the broker had the last one. A dead letter does not say when it was written (its timestamp is the
original's), and a process cut off from Kafka may write one when it is back: every poison record that lay in the topic
at an abandonment and is not called settled may have one letter more.

Leaving, joining and rolling restarts are no abandonments: they may repeat nothing.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from connector.demo.audit import numbers_in
from connector.records import Kind, TopicPartition
from tests.real.brokers import ApacheKafka
from tests.real.children import until
from tests.real.stage import Mark, Replica, Stage

QUICK_SESSION_S = 6
SAFE_SESSION_S = 11
"""Under the `consumer` protocol our lease is 8 s whatever the broker's session: it must be longer where that counts.
"""
BEAT_S = 1
"""A heartbeat's interval in tests: a session may have begun to run out so long before the silence did."""

GONE_S = 2
"""By then what a process had sent has arrived, and no other can have its partitions: no session is so short."""

COMMITS_REST_S = 1.5
"""With a commit interval of half a second, whoever has been able to commit for so long has nothing more to commit."""

ONE_REQUEST_EACH = {"track_requests_max": 1, "trigger_requests_max": 1}

_LATENCY_S = 0.05
"""Of the double's answers: so that something is on the wire at any moment."""

_SLOW_S = 1.0
_BURST = 2000

_OLDEST_REPEAT_S = 15.0
"""A commit starts half a second after a settlement. Some seconds more are the machine's; many would be a fault."""

_NOTHING = Mark(0, ())

STANDS = "librdkafka does not come back from a call"


@dataclass
class Abandonment:
    """Partitions that their owner left without handing over.

    Attributes:
        at: When, wall clock.
        until: A moment after the old owner's last sending and before the new one's first, wall clock.
        marks: The last commit of each partition that was abandoned, and of no other.
        made: Records with a lower number lay in the topics.
        is_death: The old owner sends nothing after `at`.
    """

    at: float
    until: float
    marks: Mapping[TopicPartition, Mark]
    made: int
    is_death: bool


@dataclass
class Verdict:
    """What came out.

    Attributes:
        broken: Promise to what broke it; empty when all were kept.
        records: How many were produced.
        requests: How many of the double's requests applied something.
        abandonments: How many there were.
        deaths: How many of these were kills.
        repeats: Arrivals beyond the first, by kind.
        bound: How many there might have been.
        restarts: How many ended because librdkafka had forgotten a call, and were started again.
        oldest_repeat_s: How long before a death the oldest record had arrived that was not committed.
        first_delivery_s: From each death to the next delivery in one of its partitions, where nothing came between.
    """

    broken: dict[str, Any]
    records: int
    requests: int
    abandonments: int
    deaths: int = 0
    restarts: int = 0
    repeats: Counter[Kind] = field(default_factory=Counter)
    bound: Counter[Kind] = field(default_factory=Counter)
    oldest_repeat_s: float = 0.0
    first_delivery_s: list[float] = field(default_factory=list)


class Ordeal:
    """One stage, its replicas, steady traffic, and a list of what was done to them.

    Args:
        stage: Empty.
        protocol: Of the group.
        rng: Decides moments and victims.
        session_s: How long a silent member is waited for; under `consumer` the broker is told.
    """

    def __init__(
        self, stage: Stage, protocol: str, rng: random.Random, session_s: int | None = QUICK_SESSION_S
    ) -> None:
        self.stage = stage
        self.protocol = protocol
        self.rng = rng
        self.session_s = session_s
        self.abandonments: list[Abandonment] = []
        self.live: list[Replica] = []
        self.restarts = 0
        self._instances = 0
        self._burst = 0
        stage.make_topics()
        stage.braze.behave(latency_s=_LATENCY_S, keep_events=False)
        if protocol == "consumer" and session_s is not None:
            self.broker.set_session_timeout(stage.group, session_s)

    @property
    def lease_s(self) -> float:
        """How long a replica may send after the coordinator's last word."""
        assert self.session_s is not None
        return self.session_s - 2 if self.protocol == "classic" else 8

    @property
    def broker(self) -> ApacheKafka:
        assert isinstance(self.stage.broker, ApacheKafka)
        return self.stage.broker

    @property
    def everything(self) -> frozenset[TopicPartition]:
        return frozenset(TopicPartition(place.topic, place.partition) for place in self.stage.partitions())

    # ---- replicas ---------------------------------------------------------------------------------------------------

    def join(self, *, kafka: Mapping[str, Any] | None = None, **sections: Any) -> Replica:
        """One more replica."""
        session = {}
        if self.protocol == "classic" and self.session_s is not None:
            session = {"session.timeout.ms": self.session_s * 1000, "heartbeat.interval.ms": BEAT_S * 1000}
        properties = {"group.protocol": self.protocol, **session, **(kafka or {})}
        # The connector's own commit interval, of which the promise speaks.
        replica = self.stage.replica(kafka=properties, commit_interval_s=0.5, **sections)
        self.live.append(replica)
        return replica

    def leave(self, replica: Replica) -> None:
        """SIGTERM, once it can take one; it must balance and end well."""
        assert replica.status()["imbalance"] == 0
        replica.leave()
        self.live.remove(replica)

    def owned(self, replica: Replica) -> frozenset[TopicPartition]:
        """What the broker says that a replica has."""
        return frozenset(TopicPartition(*place) for place in self.broker.owned(self.stage.group).get(replica.name, ()))

    def until_shared(self, *others: Replica) -> None:
        """Wait until the broker has divided all partitions evenly among those that live, and they have started."""
        wanted = [replica for replica in self.live if replica not in others]
        share = len(self.everything) // len(wanted)

        def is_shared() -> bool:
            wanted[:] = [self._restarted(replica) for replica in wanted]
            for replica in wanted:
                replica.child.must_live()
            return all(len(self.owned(replica)) == share for replica in wanted)

        until("the partitions are shared evenly", is_shared)

    def until_ready(self) -> None:
        """Wait until all that live are ready, another in the place of one whose Kafka client stood."""

        def are_ready() -> bool:
            for replica in [self._restarted(each) for each in list(self.live)]:
                replica.child.must_live()
                try:
                    if replica.readiness()[0] != 200:
                        return False
                except OSError:
                    return False  # it ends as we ask; the next look tells of what
            return True

        until("all are ready", are_ready)

    def _restarted(self, replica: Replica) -> Replica:
        """Itself; or, as a supervisor would do, another in its place if it ended because its Kafka client stood.

        It has sent nothing since its lease was over, so whatever let the client stand is the abandonment.
        """
        if replica.child.is_alive or not any(STANDS in line["detail"] for line in replica.events("source_ended")):
            return replica
        self.live.remove(replica)
        self.restarts += 1
        return self.join()

    # ---- traffic ----------------------------------------------------------------------------------------------------

    @contextmanager
    def traffic(self) -> Iterator[None]:
        """All three kinds, 250 records a second, for as long as the block lasts."""
        ending = threading.Event()
        failures: list[BaseException] = []

        def produce() -> None:
            try:
                while not ending.wait(0.1):
                    burst, self._burst = self._burst, 0
                    self.stage.produce(25 + burst)
            except BaseException as error:  # noqa: BLE001  # told by whoever has started it
                failures.append(error)

        producing = threading.Thread(target=produce, name="traffic")
        producing.start()
        try:
            yield
        finally:
            ending.set()
            producing.join()
        assert not failures, failures

    @contextmanager
    def backlog(self, replica: Replica) -> Iterator[None]:
        """More than it can send before the block ends: Braze is slow, and it has `ONE_REQUEST_EACH`."""
        made = len(self.stage.audit.made)
        self.stage.braze.behave(latency_s=_SLOW_S)
        self._burst = _BURST
        until("the burst is written", lambda: len(self.stage.audit.made) > made + _BURST)
        until("it has taken it in", lambda: replica.total("in_flight") > _BURST / 10)
        try:
            yield
        finally:
            self.stage.braze.behave(latency_s=_LATENCY_S)

    def deliveries(self, since: float, partitions: Collection[TopicPartition] | None = None) -> int:
        """Requests that arrived after that moment and applied something, of these partitions."""
        positions = self.stage.audit.positions
        requests = set()
        for line in reversed(self.stage.braze.journal()):
            # Arrival and application differ by milliseconds; nothing older than a second can be new.
            if line["arrived_at"] < since - 1:
                break
            if line["arrived_at"] > since and (
                partitions is None
                or any(number in positions and positions[number][0] in partitions for number in numbers_of(line))
            ):
                requests.add(line["request"])
        return len(requests)

    def until_deliveries(self, count: int, since: float, partitions: Collection[TopicPartition] | None = None) -> None:
        until(f"{count} deliveries", lambda: self.deliveries(since, partitions) >= count)

    def some(self, most: int) -> int:
        """A random number of deliveries to wait for."""
        return self.rng.randint(1, most)

    # ---- abandonments -----------------------------------------------------------------------------------------------

    def kill(self, replica: Replica, partitions: frozenset[TopicPartition] | None = None) -> Abandonment:
        """`kill -9`. `partitions`: what it owned; None: all of them."""
        at = time.time()
        replica.child.kill()
        self.live.remove(replica)
        marks = self.marks(partitions)
        return self.abandoned(at, at + GONE_S, marks, is_death=True)

    def abandoned(
        self, at: float, until_at: float, marks: Mapping[TopicPartition, Mark], *, is_death: bool = False
    ) -> Abandonment:
        """Take an abandonment down."""
        abandonment = Abandonment(at, until_at, marks, len(self.stage.audit.made), is_death)
        self.abandonments.append(abandonment)
        return abandonment

    def marks(self, partitions: Collection[TopicPartition] | None = None) -> dict[TopicPartition, Mark]:
        """The last commits of these partitions, whose owner is gone: read until two readings agree."""
        wanted = self.everything if partitions is None else partitions

        def read() -> dict[TopicPartition, Mark]:
            known = self.stage.marks()
            return {where: known.get(where, _NOTHING) for where in wanted}

        last = read()
        while (marks := read()) != last:
            last = marks
        return marks

    def marks_at_rest(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, Mark]:
        """The last commits of these partitions, whose owner lives and has no more answers to expect."""
        seen: list[tuple[float, dict[TopicPartition, Mark]]] = []

        def is_at_rest() -> bool:
            marks = self.marks(partitions)
            if not seen or seen[-1][1] != marks:
                seen.append((time.monotonic(), marks))
            return time.monotonic() - seen[-1][0] > COMMITS_REST_S

        until("there is nothing more to commit", is_at_rest)
        return seen[-1][1]

    @contextmanager
    def frozen(self, replica: Replica) -> Iterator[float]:
        """SIGSTOP, as a machine that hangs; SIGCONT at the end of the block."""
        replica.child.signal(signal.SIGSTOP)
        try:
            yield time.time()
        finally:
            replica.child.signal(signal.SIGCONT)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> Verdict:
        """Everything is committed, everybody leaves, and it is judged what happened."""
        self.stage.until_all_committed()
        for replica in list(self.live):
            self.leave(replica)
        return self.judge()

    def judge(self) -> Verdict:
        audit = self.stage.read_both_ends()
        arrived_at = {line["request"]: line["arrived_at"] for line in self.stage.braze.journal()}
        verdict = Verdict({}, len(audit.made), len(arrived_at), len(self.abandonments))
        verdict.restarts = self.restarts
        verdict.deaths = sum(abandonment.is_death for abandonment in self.abandonments)
        lives = self._lives()
        too_often: dict[int, Any] = {}
        for number, made in audit.made.items():
            where, offset = audit.positions[number]
            places = audit.arrivals.get(number, [])
            times = len(places) + audit.dead.get((where, offset), 0)
            allowed = 0
            for began, abandonment in lives[where]:
                if abandonment.marks[where].covers(offset):
                    continue
                if made.expected == "dead_lettered":
                    allowed += number < abandonment.made
                    continue
                sent = [moment for place in places if began < (moment := arrived_at[place[0]]) <= abandonment.until]
                allowed += bool(sent)
                if sent and abandonment.is_death:
                    verdict.oldest_repeat_s = max(verdict.oldest_repeat_s, abandonment.at - min(sent))
            verdict.repeats[made.kind] += max(times - 1, 0)
            verdict.bound[made.kind] += allowed
            if times > (0 if made.expected == "skipped" else 1 + allowed):
                too_often[number] = (made.expected, times, allowed, where, offset, [arrived_at[p[0]] for p in places])
        verdict.first_delivery_s = self._first_deliveries(arrived_at)
        verdict.broken = {
            name: found
            for name, found in {
                "lost": {number: audit.positions[number] for number in audit.lost()},
                "misjudged": {number: audit.positions[number] for number in audit.misjudged()},
                "repeated beyond the bound": too_often,
                "misordered": self._misordered(),
                "committed too late": verdict.oldest_repeat_s > _OLDEST_REPEAT_S and verdict.oldest_repeat_s,
            }.items()
            if found
        }
        return verdict

    def repeated_requests(self) -> list[set[int]]:
        """Numbers in each request that brought something again; each must be an earlier request, to the letter.

        Whoever got no answer repeats what he said: a retry joined by something newer could undo its order.
        """
        requests: dict[int, set[int]] = defaultdict(set)
        for line in self.stage.braze.journal():
            requests[line["request"]].update(numbers_of(line))
        known: set[int] = set()
        said: list[set[int]] = []
        repeated: list[set[int]] = []
        for request in sorted(requests):
            numbers = requests[request]
            if numbers & known:
                assert numbers in said, numbers
                repeated.append(numbers)
            known |= numbers
            said.append(numbers)
        return repeated

    def _lives(self) -> dict[TopicPartition, list[tuple[float, Abandonment]]]:
        """By partition: when each life began that ended in an abandonment, and the abandonment."""
        lives: dict[TopicPartition, list[tuple[float, Abandonment]]] = defaultdict(list)
        for abandonment in self.abandonments:
            for where in abandonment.marks:
                began = lives[where][-1][1].until if lives[where] else 0.0
                lives[where].append((began, abandonment))
        return lives

    def _misordered(self) -> dict[str, Any]:
        """By first arrivals (nobody overtakes what was never sent), and by last ones (what stays is the newest).

        A trigger whose `event_id` came before is skipped by one owner, and may be sent by the next one, who knows
        nothing of that: its first arrival says nothing.
        """
        found = {}
        for name, choose, exempt in (("by first arrivals", min, "repeated"), ("by last arrivals", max, None)):
            late = self._late(choose, exempt)
            if late:
                found[name] = late
        return found

    def _late(
        self, choose: Callable[[list[tuple[int, int, int]]], tuple[int, int, int]], exempt: str | None
    ) -> dict[int, Any]:
        """Records that arrived after a later one of the same user and partition, by number."""
        audit = self.stage.audit
        lanes: dict[Any, list[tuple[tuple[int, int, int], int, int]]] = defaultdict(list)
        for number, places in audit.arrivals.items():
            if places and audit.made[number].expected != exempt:
                where, offset = audit.positions[number]
                lanes[audit.made[number].user, where].append((choose(places), offset, number))
        late: dict[int, Any] = {}
        for (_, where), lane in lanes.items():
            highest = -1
            for place, offset, number in sorted(lane):  # what is coalesced shares a place, and sorts by offset
                if offset < highest:
                    late[number] = (audit.made[number].expected, where, offset, highest, place)
                highest = max(highest, offset)
        return late

    def _first_deliveries(self, arrived_at: Mapping[int, float]) -> list[float]:
        audit = self.stage.audit
        moments: dict[TopicPartition, list[float]] = defaultdict(list)
        for number, places in audit.arrivals.items():
            moments[audit.positions[number][0]].extend(arrived_at[place[0]] for place in places)
        found = []
        deaths = [abandonment for abandonment in self.abandonments if abandonment.is_death]
        for index, death in enumerate(deaths):
            next_at = deaths[index + 1].at if index + 1 < len(deaths) else float("inf")
            after = [moment for where in death.marks for moment in moments[where] if death.until < moment < next_at]
            if after:
                found.append(min(after) - death.at)
        return found


def numbers_of(line: Mapping[str, Any]) -> list[int]:
    """The records that a line of the journal tells of."""
    return numbers_in(line["array"], line["object"])
