"""All ledgers of one process, and their balance: what was consumed, what became of it, what may be committed.

Pure; `now` is monotonic seconds, `at_ms` wall-clock milliseconds. The pipeline tells the books every admission and
every fate; nothing else moves an offset. Conservation (promise P8) is checked here against independent counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from connector.ledger import Ledger
from connector.offset_map import (
    FIRST_METADATA,
    METADATA_CHARS_MAX,
    SPAN_MAX,
    ForeignMetadata,
    OffsetMap,
    Range,
    decode,
    encode,
    settled_chars_most,
)
from connector.ports import Commit, StayStart
from connector.records import Assignment, Fate, KafkaRecord, Kind, Outbound, TopicPartition

_HEAD_CHARS: int = 100
"""More than a map takes in front of its offsets and behind them."""

_CLAIMED_CHARS_MAX: int = 1_200
"""For the claims in a map: sixteen requests' of the most scattered backlog, or those of a single one, however many."""

SETTLED_CHARS_MAX: dict[Kind, int] = {
    Kind.EVENT: METADATA_CHARS_MAX - _HEAD_CHARS,
    Kind.CAMPAIGN: METADATA_CHARS_MAX - _HEAD_CHARS - _CLAIMED_CHARS_MAX,
}
"""On topics whose map must not be cut, a partition takes only so much that what a commit has to tell of settled offsets
stays shorter than this, whatever is settled first."""

_MARKS_SHARE: float = 1 / 500
"""Of what lies between the oldest open record and a chunk: nearer to the last one, its time is not remembered. Behind a
trigger that is parked for days there would be millions."""

_CLOCKS_DIFFER_MS: int = 1_000
"""The last owner told by his clock until when we wait. Clocks that are kept by NTP differ by less."""

_ASKED_MAX: int = 8
"""Commits that are remembered, the acknowledged one and the latest without an answer: while the coordinator is away one
is tried about every second."""


@dataclass(slots=True)
class Tally:
    """Counts of one topic since the process started."""

    consumed: int = 0
    settled: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    returned: int = 0
    known: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """What this process settled in a stay that is over.

    Attributes:
        commits: Offset and metadata of every commit of ours that may be the last one that Kafka holds.
        settled: All that needed no more work.
        claimed: What may have been sent without our knowing how it ended. A claim that was not acknowledged is none.
        leader_epoch: Of the newest record that was taken.
    """

    commits: tuple[tuple[int, str], ...]
    settled: tuple[Range, ...]
    claimed: tuple[Range, ...]
    leader_epoch: int | None


class Account:
    """One stay's ledger and what goes with it into a commit.

    Attributes:
        stay: Whose it is.
        kind: What its topic holds.
        ledger: Open and settled offsets.
        settle_until_ms: Wall clock until which its last attribute attempts may still be on their way inside Braze.
        hold_until: Monotonic time before which none of its attribute writes is sent, on behalf of an earlier owner.
        inherited_epoch: Leader epoch that the inherited map was written under; None: not known, or nothing inherited.
        leader_epoch: Of the newest record taken, or inherited.
        rejected: Offsets of audience records that could not become an object and whose letters are not written. One
            that comes back may be understood by then, and must not come behind a newer write of its user that is known
            to be settled. Nobody knows whom it is about, so the map is silent above the lowest.
        is_sealed: The last commit says that nothing is on the wire, and must not go on saying so once something is:
            whoever came then would not wait for it. A commit of ours breaks the seal.
    """

    __slots__ = (
        "_asked", "_marks", "hold_until", "inherited_epoch", "is_sealed", "kind", "leader_epoch", "ledger",
        "rejected", "settle_until_ms", "stay",
    )  # fmt: skip

    def __init__(self, start: StayStart, kind: Kind, ledger: Ledger, hold_until: float) -> None:
        self.stay = start.stay
        self.kind = kind
        self.ledger = ledger
        self.hold_until = hold_until
        self.inherited_epoch: int | None = None
        self.leader_epoch: int | None = None
        self.rejected: set[int] = set()
        self.is_sealed = False
        self.settle_until_ms = 0
        # What Kafka holds for this partition is one of these: the last acknowledged commit, or one that had no answer.
        self._asked: deque[tuple[int, str]] = deque([(start.offset, start.metadata or FIRST_METADATA)])
        self._marks: deque[tuple[int, int]] = deque()  # (first offset of a chunk, its timestamp), ascending

    def has_room(self, records: int, end: int) -> bool:
        """Whether a commit can tell of so many records more, however they and those that are open are settled.

        An empty ledger takes anything, or a record behind a wide gap might wait for ever. An audience record that is
        sent again says what it said before, so the map of those may be cut.

        Args:
            records: How many.
            end: One past the offset of the last.
        """
        ledger = self.ledger
        if self.kind is Kind.AUDIENCE or not ledger.open_count:
            return True
        unsettled = ledger.open_count + records
        if ledger.has_inheritance_ahead:  # what is not settled between these is still to come
            unsettled += ledger.inherited_ranges
            end = max(end, ledger.inheritance_top)
        span, coming = end - ledger.committable, end - ledger.next_offset
        if span > SPAN_MAX:
            return False
        return settled_chars_most(unsettled, ledger.ranges_most, coming, span) <= SETTLED_CHARS_MAX[self.kind]

    def offset_map(self, settle_until_ms: int, writer: str, *, closed: bool) -> OffsetMap:
        """What goes beside the committable offset."""
        ledger = self.ledger
        settled = ledger.settled_above()
        if self.rejected:
            lowest = min(self.rejected)
            settled = tuple((first, min(end, lowest)) for first, end in settled if first < lowest)
        return OffsetMap(settled, settle_until_ms, closed, self.leader_epoch, ledger.claimed(), writer)

    def ask(self, commit: Commit) -> None:
        """A commit is on its way to Kafka."""
        asked = (commit.next_offset, commit.metadata)
        if asked == self._asked[-1]:
            return
        self._asked.append(asked)
        if len(self._asked) > _ASKED_MAX:
            # Not the acknowledged one: if Kafka is away, nothing that was asked since has reached it.
            del self._asked[1]

    def acknowledge(self, commit: Commit) -> None:
        """Kafka holds it: no earlier one can be the last."""
        self.is_sealed = False
        said = (commit.next_offset, commit.metadata)
        while self._asked and self._asked[0] != said:
            self._asked.popleft()
        if not self._asked:  # later ones had taken its place
            self._asked.append(said)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to be committed."""
        return self.is_sealed or self.ledger.is_dirty

    def remember(self) -> Memory:
        """For the case that the partition comes back to this very process."""
        return Memory(
            tuple(self._asked), self.ledger.settled(), self.ledger.claimed(acknowledged=True), self.leader_epoch
        )

    def mark(self, offset: int, timestamp_ms: int) -> None:
        """Remember when the chunk that begins at `offset` was written, unless one close to it is remembered."""
        marks = self._marks
        if not marks or offset - marks[-1][0] >= _MARKS_SHARE * (offset - marks[0][0]):
            marks.append((offset, timestamp_ms))

    def oldest_ms(self) -> int | None:
        """Timestamp of the oldest unsettled record, to the chunk or a few; None if nothing is open."""
        if not self.ledger.open_count:
            self._marks.clear()
            return None
        lowest = self.ledger.committable
        while len(self._marks) > 1 and self._marks[1][0] <= lowest:
            self._marks.popleft()
        return self._marks[0][1] if self._marks else None


class Books:
    """Accounts by stay.

    Args:
        kinds: What each topic holds.
        settle_s: How long Braze may take to apply an attribute write; 0: the operator does not wait for it.
        writer: A word that no other process has: letters and digits.
    """

    def __init__(self, kinds: dict[str, Kind], settle_s: float, writer: str = "") -> None:
        self.kinds = kinds
        self._settle_ms = round(settle_s * 1000)
        self.accounts: dict[Assignment, Account] = {}
        self.tallies: dict[str, Tally] = {topic: Tally() for topic in kinds}
        self._writer = writer
        self._stopped: set[str] = set()
        self._memories: dict[TopicPartition, Memory] = {}
        self.ignored_maps = 0
        self.truncated_maps = 0
        self.cut_offsets = 0
        self.late = 0

    def open(self, start: StayStart, now: float, at_ms: int) -> Account:
        """A partition has come: read what its last owner left."""
        kind = self.kinds[start.stay.topic]
        left = OffsetMap()
        if start.metadata:
            try:
                left = decode(start.metadata, start.offset)
            except ForeignMetadata:
                self.ignored_maps += 1
        hold_ms = 0
        if kind is Kind.AUDIENCE:
            # However wrong a clock is, it must not hold us longer than a whole settle time.
            hold_ms = min(max(0, left.settle_until_ms + _CLOCKS_DIFFER_MS - at_ms), self._settle_ms)
            if start.metadata and not left.closed:
                hold_ms = self._settle_ms  # nobody said that nothing was on the wire
        is_sealed = left.closed and kind is Kind.AUDIENCE and self._settle_ms > 0
        left = self._recall(start, left)
        account = Account(start, kind, Ledger(start.stay, start.offset, left), now + hold_ms / 1000)
        account.is_sealed = is_sealed
        account.inherited_epoch = account.leader_epoch = left.leader_epoch
        # Handed on even if nothing is sent in this stay: the next owner must wait for the same writes.
        account.settle_until_ms = at_ms + hold_ms if hold_ms else 0
        self.accounts[start.stay] = account
        return account

    def _recall(self, start: StayStart, left: OffsetMap) -> OffsetMap:
        """What Kafka tells, and what we know besides if nobody has committed since the partition was ours.

        A coordinator that was away longer than the session lasts makes a member lose what it could not commit. Not so
        for attributes: somebody may have sent an older one again since, and been gone before his first commit. Writing
        them again in order costs quota, passing over them would leave the old value.
        """
        memory = self._memories.pop(start.stay.name, None)
        if memory is None or (start.offset, start.metadata) not in memory.commits:
            return left
        # What is left was read in that stay, and it may have been found out to speak of records that are gone: what we
        # remember holds all of it that is still true. Nor is a claim of ours believed that we know was never sent.
        settled = tuple((max(first, start.offset), end) for first, end in memory.settled if end > start.offset)
        return replace(left, settled=settled, claimed=memory.claimed, leader_epoch=memory.leader_epoch)

    def admit(self, account: Account, records: Sequence[KafkaRecord]) -> Sequence[KafkaRecord]:
        """Take records in; returns those that still need work (an earlier life may have settled some)."""
        tally = self.tallies[account.stay.topic]
        ledger = account.ledger
        offsets = [record.offset() for record in records]
        if ledger.has_inheritance_ahead:
            self._disown_what_was_rewritten(account, records)
            fresh = [index for index, offset in enumerate(offsets) if not ledger.inherits(offset)]
            if len(fresh) < len(offsets):
                end = offsets[-1] + 1
                tally.known += len(offsets) - len(fresh)
                records = [records[index] for index in fresh]
                ledger.admit([offsets[index] for index in fresh])
                ledger.skip_to(end)
                offsets = []
        ledger.admit(offsets)
        tally.consumed += len(records)
        if records:
            epoch = records[-1].leader_epoch()
            if epoch is not None and (account.leader_epoch is None or epoch > account.leader_epoch):
                account.leader_epoch = epoch
            account.mark(records[0].offset(), records[0].timestamp()[1])
        return records

    def _disown_what_was_rewritten(self, account: Account, records: Sequence[KafkaRecord]) -> None:
        """After a truncation other records lie where the map says that all is done: they need work."""
        written_under = account.inherited_epoch
        if written_under is None:
            return
        for record in records:
            epoch = record.leader_epoch()
            if epoch is not None and epoch > written_under and record.offset() < account.ledger.inheritance_top:
                account.ledger.disown(record.offset())
                self.truncated_maps += 1
                return

    def settle(self, records: Iterable[Outbound], fate: Fate) -> dict[Assignment, list[Outbound]]:
        """These records have their fate; returns them by stay, those of stays that are over left out."""
        by_stay = grouped(records)
        for stay in list(by_stay):
            account = self.accounts.get(stay)
            settled = by_stay[stay] if account is not None else by_stay.pop(stay)
            closed = account.ledger.settle_all([record.offset for record in settled]) if account is not None else 0
            self.tallies[stay.topic].settled[fate] += closed
            self.late += len(settled) - closed
        return by_stay

    def reject(self, stay: Assignment, offset: int) -> None:
        """This record cannot become an object: it waits for its dead letter."""
        account = self.accounts.get(stay)
        if account is not None and account.kind is Kind.AUDIENCE:
            account.rejected.add(offset)

    def settle_one(self, stay: Assignment, offset: int, fate: Fate) -> bool:
        """One record that never became an object has its fate; False: its partition has left."""
        account = self.accounts.get(stay)
        if account is None or not account.ledger.is_open(offset):
            self.late += 1
            return False
        account.ledger.settle(offset)
        account.rejected.discard(offset)
        self.tallies[stay.topic].settled[fate] += 1
        return True

    def wrote_attributes(self, stays: Iterable[Assignment], at_ms: int) -> None:
        """An attempt to write attributes of these stays has ended; Braze may apply it until the settle time is over."""
        until = at_ms + self._settle_ms
        for stay in stays:
            account = self.accounts.get(stay)
            if account is not None:
                account.settle_until_ms = max(account.settle_until_ms, until)

    @property
    def has_news(self) -> bool:
        """Whether there is anything to be committed."""
        return any(account.has_news for account in self.accounts.values())

    def commits(self, at_ms: int) -> Iterator[Commit]:
        """What is to be committed now, of every account with news; each is true when it is given.

        A long map takes milliseconds to write: between two, others may work, and accounts come and go.
        """
        for account in list(self.accounts.values()):
            if account.has_news and self.accounts.get(account.stay) is account:
                yield self.commit_of(account, at_ms, closed=False)

    def commit_of(self, account: Account, at_ms: int, *, closed: bool) -> Commit:
        """One account's commit as of now."""
        until = account.settle_until_ms if account.settle_until_ms > at_ms else 0
        base = account.ledger.committable
        encoded = encode(account.offset_map(until, self._writer, closed=closed), base)
        self.cut_offsets += encoded.cut
        commit = Commit(account.stay, base, encoded.text)
        account.ask(commit)
        return commit

    # ---- claims ---------------------------------------------------------------------------------------------------

    def claim(self, records: Iterable[Outbound]) -> bool:
        """Claim these for sending; False: a partition has left, or its map has no room, and nothing was claimed."""
        offsets = _by_stay(records)
        if not offsets.keys() <= self.accounts.keys():
            return False
        for stay, claimed in offsets.items():
            self.accounts[stay].ledger.claim(claimed)
        if not all(self._has_room_for_claims(self.accounts[stay], len(claimed)) for stay, claimed in offsets.items()):
            self.unclaim(records)
            return False
        return True

    def _has_room_for_claims(self, account: Account, new: int) -> bool:
        """Whether a commit can tell of an account's claims, and go on to while the rest is settled.

        Args:
            account: Whose.
            new: How many of them were not there before. Where there are no others, what is settled by now decides: if
                nothing could be claimed, nothing could be sent that makes the map shorter.
        """
        ledger, until = account.ledger, 2**42  # of the length that any time will have
        claims = encode(OffsetMap(claimed=ledger.claimed()), ledger.committable)
        if ledger.claim_count > new and len(claims.text) > _CLAIMED_CHARS_MAX:
            return False
        whole = encode(account.offset_map(until, self._writer, closed=True), ledger.committable)
        return not whole.cut and len(whole.text) <= METADATA_CHARS_MAX

    def unclaim(self, records: Iterable[Outbound]) -> None:
        """These surely were not sent: whoever comes next may."""
        for stay, offsets in _by_stay(records).items():
            if stay in self.accounts:
                self.accounts[stay].ledger.unclaim(offsets)

    def holds_claims(self, records: Iterable[Outbound]) -> bool:
        """Whether Kafka has acknowledged the claims of all of these."""
        accounts = self.accounts
        return all(each.stay in accounts and accounts[each.stay].ledger.holds_claim(each.offset) for each in records)

    def stop(self, topic: str) -> None:
        """Take nothing more of a topic."""
        self._stopped.add(topic)

    def held_back(self) -> frozenset[Assignment]:
        """Stays that must take nothing new, because their topic is stopped.

        Not those that have no room: they have it again in a moment, and a partition that is paused and resumed fetches
        nothing for up to a second. What they bring waits in the intake, within the source's bounds.
        """
        return frozenset(stay for stay in self.accounts if stay.topic in self._stopped)

    def close(self, stays: Iterable[Assignment]) -> dict[str, int]:
        """Partitions have left; returns the unsettled records by topic, which their next owner consumes again."""
        returned: dict[str, int] = {}
        for stay in stays:
            account = self.accounts.pop(stay, None)
            if account is not None:
                if account.kind is not Kind.AUDIENCE:  # of attributes `_recall` would believe nothing
                    self._memories[stay.name] = account.remember()
                self.tallies[stay.topic].returned += account.ledger.open_count
                returned[stay.topic] = returned.get(stay.topic, 0) + account.ledger.open_count
        return returned

    def in_flight(self, topic: str) -> int:
        """Records of a topic that are consumed and have no fate yet."""
        return sum(account.ledger.open_count for stay, account in self.accounts.items() if stay.topic == topic)

    def imbalance(self) -> int:
        """Consumed less settled, returned and in flight: 0, or the connector has a fault."""
        consumed = sum(tally.consumed for tally in self.tallies.values())
        settled = sum(sum(tally.settled.values()) for tally in self.tallies.values())
        returned = sum(tally.returned for tally in self.tallies.values())
        return consumed - settled - returned - sum(account.ledger.open_count for account in self.accounts.values())


def grouped(records: Iterable[Outbound]) -> dict[Assignment, list[Outbound]]:
    """By stay, each in the given order. Neighbours mostly share theirs: comparing is cheaper than hashing."""
    by_stay: dict[Assignment, list[Outbound]] = {}
    last: Assignment | None = None
    group: list[Outbound] = []
    for record in records:
        if record.stay is not last:
            last = record.stay
            group = by_stay.setdefault(last, [])
        group.append(record)
    return by_stay


def _by_stay(records: Iterable[Outbound]) -> dict[Assignment, list[int]]:
    return {stay: [record.offset for record in group] for stay, group in grouped(records).items()}
