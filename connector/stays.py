"""Partitions come and go: opened with what their last owner left, drained before they leave, forgotten when lost.

Asynchronous, without I/O of its own. Whenever what is ours changes, so does our share of Braze's quota.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from connector import gauges
from connector.books import Books
from connector.braze import Endpoint
from connector.committer import Committer
from connector.delivery import Delivery
from connector.intake import Intake
from connector.ports import Assigned, Chunk, Clock, Lost, Revoked
from connector.records import Assignment, Kind
from connector.repeats import Repeats
from connector.settlement import Settlement
from connector.telemetry import Telemetry
from connector.unread import Unread

_POOLS: Final = {Endpoint.TRACK: (Kind.AUDIENCE, Kind.EVENT), Endpoint.TRIGGER: (Kind.CAMPAIGN,)}
"""What shares each endpoint's quota."""

_FULL_TOLD_S: Final = 30.0
"""In a backlog every partition has no room now and then."""


class Stays:
    """The partitions of this process.

    Args:
        books: Where their records are entered.
        repeats: Triggers that each has sent.
        delivery: What waits of them, and what is on the wire.
        committer: Leaves the last commit of those that leave to whoever drains them.
        settlement: Knows which dead letters are not acknowledged yet.
        intake: What has not been looked at.
        unread: What waits for a schema.
        wake: Called when there may be something to do.
        spawn: Starts a task that the pipeline looks after.
        clock: Time.
        telemetry: Metrics and log.
    """

    def __init__(  # noqa: PLR0913  # everything that has something of a partition
        self,
        *,
        books: Books,
        repeats: Repeats,
        delivery: Delivery,
        committer: Committer,
        settlement: Settlement,
        intake: Intake,
        unread: Unread,
        wake: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._books = books
        self._repeats = repeats
        self._delivery = delivery
        self._committer = committer
        self._settlement = settlement
        self._intake = intake
        self._unread = unread
        self._wake = wake
        self._spawn = spawn
        self._clock = clock
        self._telemetry = telemetry
        self._partitions: Mapping[str, int] = {}
        self._full_since: dict[Assignment, float] = {}  # stays whose next chunk has no room in a commit

    # ---- they come ------------------------------------------------------------------------------------------------

    def open(self, event: Assigned) -> None:
        """Begin where the commit of each says."""
        now, at_ms = self._clock.now(), self._at_ms()
        ignored = self._books.ignored_maps
        for start in event.stays:
            self._books.open(start, now, at_ms)
            self._delivery.welcome(start.stay)
        if self._books.ignored_maps > ignored:
            self._telemetry.count("offset_map_ignored_total", self._books.ignored_maps - ignored, "foreign_or_damaged")
        self._telemetry.count("rebalances_total", 1, "assigned")
        self._telemetry.log("info", "partitions_assigned", partitions=[str(start.stay) for start in event.stays])
        if event.asked_at is not None:
            self._committer.renew(event.asked_at)
        self._share()
        if any(account.is_sealed for account in self._books.accounts.values()):
            self._spawn(self._break_seals())

    async def _break_seals(self) -> None:
        """Have Kafka say that something may be on the wire, at once; else the next commit does."""
        await self._committer.commit()
        self._wake()

    def may_begin(self, chunk: Chunk) -> bool:
        """Whether its stay has broken its seal, and a commit can tell of these records, too."""
        account = self._books.accounts[chunk.stay]
        return not account.is_sealed and account.has_room(len(chunk.records), chunk.records[-1].offset() + 1)

    def bring_back(self) -> None:
        """Give back what was set aside of stays that may go on now."""
        full: dict[Assignment, float] = {}
        for stay in self._intake.aside:
            if self.may_begin(self._intake.first_aside(stay)):
                self._intake.bring_back(stay)
            elif not self._books.accounts[stay].is_sealed:
                full[stay] = self._full_since.get(stay, self._clock.now())
        self._full_since = full

    def waits(self, now: float) -> dict[str, str]:
        """Partitions of which nothing new has begun for long, and why."""
        return {
            f"no_room:{stay.name}": (
                f"{self._books.accounts[stay].ledger.open_count} records of {stay.name} are not settled, and a commit"
                " cannot tell of more: nothing new of it begins until some are; are their campaigns paused in Braze?"
            )
            for stay, since in self._full_since.items()
            if now - since > _FULL_TOLD_S and stay in self._books.accounts
        }

    # ---- they go --------------------------------------------------------------------------------------------------

    def drain(self, event: Revoked) -> None:
        """Let what is on the wire come home, then hand over the last commits; what waits is given back unsent."""
        self._committer.leaving.update(event.stays)
        self._spawn(self._drain(event))

    def lose(self, event: Lost) -> None:
        """They have other owners already, who send again what is on the wire."""
        gone = set(event.stays)
        doubtful = self._delivery.withdraw(gone, self._clock.now()) + self._delivery.on_wire(gone)
        self._telemetry.count("possible_duplicates_total", doubtful)
        self._forget(event.stays, "lost")

    async def _drain(self, event: Revoked) -> None:
        stays = set(event.stays)
        deadline = self._clock.now() + event.deadline_s
        self._intake.drop(stays)
        self._unread.drop(stays)  # a schema that comes meanwhile would send it behind what was given back
        doubtful = self._delivery.withdraw(stays, self._clock.now())
        while self._is_unfinished(stays) and self._clock.now() < deadline:
            await self._settlement.news_within(deadline - self._clock.now())
        doubtful += self._delivery.on_wire(stays)
        at_ms = self._at_ms()
        accounts = [self._books.accounts[stay] for stay in event.stays if stay in self._books.accounts]
        commits = [self._books.commit_of(account, at_ms, closed=not doubtful) for account in accounts]
        if doubtful:
            self._telemetry.count("possible_duplicates_total", doubtful)
        self._committer.leaving -= stays
        self._forget(event.stays, "revoked")
        event.done(commits)

    def _is_unfinished(self, stays: set[Assignment]) -> bool:
        """Whether something of these stays is on its way to Braze or to the dead-letter topic."""
        return bool(self._delivery.on_wire(stays)) or self._settlement.has_open_letters(stays)

    def _forget(self, stays: Sequence[Assignment], how: str) -> None:
        """Nothing of them waits any more; late answers will settle nothing."""
        gone = set(stays)
        for stay in stays:
            gauges.forget_partition(self._telemetry, stay)
        self._repeats.close(stays)
        for topic, returned in self._books.close(stays).items():
            self._telemetry.count("records_returned_total", returned, topic, self._books.kinds[topic])
        self._intake.drop(gone)
        self._unread.drop(gone)
        self._telemetry.count("rebalances_total", 1, how)
        self._telemetry.log("info", f"partitions_{how}", partitions=[str(stay) for stay in stays])
        self._share()
        self._wake()

    # ---- their share ----------------------------------------------------------------------------------------------

    def share_quota(self, partitions: Mapping[str, int]) -> None:
        """Topics have so many partitions now, of the whole group."""
        self._partitions = dict(partitions)
        self._share()

    def _share(self) -> None:
        """Own partitions over all partitions, for each pool: sums to one over the group.

        One that has come before Kafka told of it is in the whole (with all below it) and not yet ours: others may have
        as many that they do not see counted either.
        """
        now, at = self._clock.now(), self._clock.at()
        told, accounts = self._partitions, self._books.accounts
        known = {topic: told.get(topic, 0) for topic in self._books.kinds}
        for stay in accounts:
            known[stay.topic] = max(known[stay.topic], stay.partition + 1)
        for channel in self._delivery.channels:
            topics = {topic for topic, kind in self._books.kinds.items() if kind in _POOLS[channel.endpoint]}
            everything = sum(known[topic] for topic in topics)
            own = sum(1 for stay in accounts if stay.topic in topics and stay.partition < told.get(stay.topic, 0))
            share = own / everything if everything else 0.0
            channel.pool.set_share(share, now, at)
            self._telemetry.gauge("quota_share_ratio", share, channel.endpoint)
        self._telemetry.gauge("assigned_partitions", len(accounts))
        self._wake()

    def _at_ms(self) -> int:
        return int(self._clock.at() * 1000)
