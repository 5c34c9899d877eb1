"""Commits and the lease that they renew: what Kafka's coordinator hears of us, and what we may do by its word.

Asynchronous, without I/O of its own. One commit at a time; whoever wants one while another is on its way joins the
next. Every acknowledged commit renews the lease under which anything is sent; when nothing is there to be committed (or
nothing that Kafka takes), an ageing lease is renewed by saying the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from connector import gauges
from connector.books import Books
from connector.lease import Lease
from connector.ports import Clock, Commit, CommitRefused, Source, Trouble
from connector.records import Assignment, Outbound
from connector.stopwatch import Stopwatch
from connector.telemetry import Telemetry
from connector.troubles import Troubles

_LONG_CHARS: Final = 1_000
"""A map of so many characters takes milliseconds to write."""


class Committer:
    """Commits of one process.

    Args:
        source: Kafka.
        books: What is to be committed.
        lease_s: Nothing is sent when the coordinator has not answered for so long.
        clock: Time.
        telemetry: Metrics and log.
        troubles: Told when the lease is over, and when it is renewed.
    """

    def __init__(
        self, source: Source, books: Books, lease_s: float, clock: Clock, telemetry: Telemetry, troubles: Troubles
    ) -> None:
        self._source = source
        self._books = books
        self._lease = Lease(lease_s)
        self._lease_lost = False
        self._refusal = ""
        self._not_taken: set[Assignment] = set()  # stays of which Kafka did not take the last commit
        self._clock = clock
        self._telemetry = telemetry
        self._troubles = troubles
        self._stopwatch = Stopwatch(clock, telemetry)
        self._turn = asyncio.Lock()
        self._wanted = 0
        self._begun = 0
        self.leaving: set[Assignment] = set()
        """Stays whose last commit is made by whoever drains them."""

    # ---- commits --------------------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit what there is to tell; returns when a commit that began after this call has ended, well or not."""
        self._wanted += 1
        number = self._wanted
        async with self._turn:
            if self._begun < number:  # else another one who waited has committed for us, too
                before, self._begun = self._begun, self._wanted
                try:
                    await self._round()
                except asyncio.CancelledError:
                    self._begun = before  # whoever joined us has not been committed for
                    raise

    async def claim(self, records: Sequence[Outbound]) -> bool:
        """Write into Kafka that these are about to be sent; False: they must not be, and nothing was claimed.

        Who inherits a claim never sends its record: nobody can know whether it was sent.
        """
        if not self._books.claim(records):
            return False
        await self.commit()
        if self._books.holds_claims(records) and self.may_send():
            return True
        self._books.unclaim(records)
        return False

    async def _round(self) -> None:
        commits, versions = await self._to_tell()
        if not commits:
            return
        asked = self._clock.boot()
        try:
            acknowledged = await self._source.commit(commits)
        except CommitRefused as refusal:
            self._not_taken.update(commit.stay for commit in commits)
            self._telemetry.count("commit_failures_total")
            self._refuse(str(refusal))
            return
        began = self._stopwatch.begin()
        if acknowledged:
            self._take(asked)
        taken = {commit.stay for commit in acknowledged}
        refused = {commit.stay for commit in commits} - taken
        self._not_taken = (self._not_taken - taken | refused) & self._books.accounts.keys()
        if not refused.isdisjoint(self._books.accounts):
            self._telemetry.count("commit_failures_total")  # of one partition; the others' went well
        self._acknowledge(acknowledged, versions)
        self._stopwatch.spent("commit", began)

    def _refuse(self, words: str) -> None:
        """Kafka does not take what we commit: said once, and again should it be for another reason."""
        self._refusal = words
        self._telemetry.change("commits", words, "warning", "commit_refused", detail=words)
        if self._lease_lost:
            self._troubles.begin(self._lease_trouble())  # by now we know why

    def _take(self, asked: float) -> None:
        """It does (again)."""
        if self._refusal:
            self._refusal = ""
            self._telemetry.change("commits", "taken", "info", "commits_taken_again")
        self._lease.renew(asked, self._clock.boot())
        self.may_send()

    async def _to_tell(self) -> tuple[list[Commit], dict[Assignment, int]]:
        """What Kafka does not know yet, and the version of each ledger that it tells of."""
        began, at_ms = self._stopwatch.begin(), int(self._clock.at() * 1000)
        books = self._books
        cut = books.cut_offsets
        written: list[Commit] = []
        versions: dict[Assignment, int] = {}
        for commit in books.commits(at_ms):
            written.append(commit)
            versions[commit.stay] = books.accounts[commit.stay].ledger.version
            if len(commit.metadata) > _LONG_CHARS:  # it took milliseconds, for which a trigger may have waited
                self._stopwatch.spent("commit", began)
                await asyncio.sleep(0)
                began = self._stopwatch.begin()
        commits = [each for each in written if each.stay in books.accounts and each.stay not in self.leaving]
        told = {commit.stay for commit in commits}
        if told <= self._not_taken and (told or self._lease.is_ageing(self._clock.boot())):
            # With what Kafka may not take for its own sake goes what it takes: or one partition ends the lease of all.
            idle = [account for stay, account in books.accounts.items() if stay not in told | self.leaving]
            for account in sorted(idle, key=lambda account: account.stay in self._not_taken)[:1]:
                commits.append(books.commit_of(account, at_ms, closed=False))
                versions[account.stay] = account.ledger.version
        self._source.hold_back(books.held_back())
        if books.cut_offsets > cut:
            self._telemetry.count("offset_map_cut_total", books.cut_offsets - cut)
        self._stopwatch.spent("commit", began)
        return commits, versions

    def _acknowledge(self, commits: Sequence[Commit], versions: Mapping[Assignment, int]) -> None:
        for commit in commits:
            account = self._books.accounts.get(commit.stay)
            if account is not None:
                account.acknowledge(commit)
                account.ledger.committed(commit.next_offset, versions[commit.stay])
                gauges.show_commit(self._telemetry, commit, self._clock.at())

    # ---- lease ----------------------------------------------------------------------------------------------------

    def renew(self, asked_at: float) -> None:
        """The coordinator has confirmed an assignment, of which it was asked then (seconds since boot)."""
        self._lease.begin(asked_at)
        self.may_send()

    def may_send(self) -> bool:
        """Whether the coordinator has confirmed lately enough that the partitions are ours."""
        if self._lease.holds(self._clock.boot()):
            if self._lease_lost:
                self._lease_lost = False
                self._troubles.end("kafka_lease")
            return True
        if self._books.accounts and not self._lease_lost:
            self._lease_lost = True
            self._telemetry.count("lease_lost_total")
            self._troubles.begin(self._lease_trouble())
        return False

    def _lease_trouble(self) -> Trouble:
        if self._refusal:
            detail = f"Kafka does not take our commits: {self._refusal}; nothing is sent until it does"
        else:
            detail = "the Kafka coordinator has not answered: nothing is sent until it does (check the brokers)"
        return Trouble("kafka_lease", detail)

    async def watch(self) -> None:
        """Say that the coordinator is silent (or no more), also while a commit waits and there is nothing to send."""
        while True:
            await asyncio.sleep(1.0)
            self.may_send()
