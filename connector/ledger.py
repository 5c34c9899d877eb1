"""The ledger of one stay of one partition: which offsets are open, and what may be committed.

Pure. The pipeline keeps one a stay. Offsets are admitted in the order in which Kafka hands them out and settled in any
order; the commit is the lowest open one, so it can never pass a record whose fate is not known. Kafka's offsets may be
sparse (compaction, transaction markers): what lies between two admitted offsets does not exist and counts as settled.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from connector.offset_map import OffsetMap, Range
from connector.records import Assignment, NextOffset

_SETTLED_MAX: Final = 10_000
"""Settled offsets behind an open one that are kept in the order, beside as many as are open."""


class LedgerFault(AssertionError):
    """The books do not balance: a fault of ours, never of a record."""


class Ledger:
    """Open and settled offsets of one stay.

    Args:
        stay: Whose books these are.
        start: The committed offset that the stay began with.
        inherited: What the last owner left in the commit's metadata.
    """

    __slots__ = (
        "_claims", "_committed", "_inherited", "_inherited_claims", "_inherited_ends", "_next", "_open", "_order",
        "_ranges", "_version", "stay",
    )  # fmt: skip

    def __init__(self, stay: Assignment, start: int, inherited: OffsetMap) -> None:
        self.stay = stay
        self._inherited: tuple[Range, ...] = inherited.settled
        self._inherited_ends = [end for _, end in inherited.settled]
        self._inherited_claims: tuple[Range, ...] = inherited.claimed
        self._claims: dict[int, int] = {}  # offset -> version of the ledger at which it was claimed
        self._next = start
        self._order: deque[int] = deque()
        self._open: set[int] = set()
        self._ranges = len(inherited.settled)
        self._version = 0  # rises with everything that a commit has to tell
        self._committed: tuple[int, int] = (start, 0)  # offset and version of the last acknowledged commit

    def __repr__(self) -> str:
        """State as text: `audiences[0]@1 next=12 committable=7 open=3`."""
        return f"{self.stay} next={self._next} committable={self.committable} open={len(self._open)}"

    @property
    def open_count(self) -> int:
        """Records admitted and not settled."""
        return len(self._open)

    @property
    def next_offset(self) -> int:
        """One past the highest admitted offset."""
        return self._next

    @property
    def committable(self) -> NextOffset:
        """The lowest offset that still needs work: the only number to commit."""
        order, still_open = self._order, self._open
        while order and order[0] not in still_open:
            order.popleft()
        if order:
            return NextOffset(order[0])
        return NextOffset(self._next)  # never past what was seen: what is inherited may have been written anew

    @property
    def is_dirty(self) -> bool:
        """Something was settled, claimed or handed back that no acknowledged commit tells yet."""
        return self._committed != (self.committable, self._version)

    @property
    def version(self) -> int:
        """How much there was to tell so far; goes into `committed` with the offset that was committed."""
        return self._version

    def inherits(self, offset: int) -> bool:
        """Whether the last owner settled this offset already."""
        index = bisect_right(self._inherited_ends, offset)
        return index < len(self._inherited) and self._inherited[index][0] <= offset

    @property
    def inheritance_top(self) -> int:
        """One past the highest offset that was inherited as settled or claimed."""
        return max((ranges[-1][1] for ranges in (self._inherited, self._inherited_claims) if ranges), default=0)

    @property
    def ranges_most(self) -> int:
        """No fewer than there are settled ranges above `committable`.

        They are counted when a commit is written; each offset that was settled since may have made one more.
        """
        return self._ranges

    @property
    def inherited_ranges(self) -> int:
        """How many ranges were inherited as settled."""
        return len(self._inherited)

    @property
    def has_inheritance_ahead(self) -> bool:
        """Whether something inherited is still to be met."""
        return self.inheritance_top > self._next

    def disown(self, offset: int) -> None:
        """Inherit nothing from `offset` on: what lies there now is not what the last owner settled."""
        kept = [(start, min(end, offset)) for start, end in self._inherited if start < offset]
        self._inherited = tuple(kept)
        self._inherited_ends = [end for _, end in kept]
        self._inherited_claims = tuple(
            (start, min(end, offset)) for start, end in self._inherited_claims if start < offset
        )

    def admit(self, offsets: Sequence[int]) -> None:
        """Open offsets, ascending and above all that were admitted before.

        Raises:
            LedgerFault: An offset at or below one that was admitted already.
        """
        if not offsets:
            return
        if offsets[0] < self._next:
            raise LedgerFault(f"{self.stay}: offset {offsets[0]} was handed out again, below {self._next}")
        holes = offsets[-1] + 1 - self._next - len(offsets)
        self._ranges += min(holes, len(offsets))
        self._order.extend(offsets)
        self._open.update(offsets)
        self._next = offsets[-1] + 1
        if len(self._order) > 2 * len(self._open) + _SETTLED_MAX:
            # What is settled leaves at the front; one that stays open there for days must not keep all that passes it.
            self._order = deque([offset for offset in self._order if offset in self._open])

    def skip_to(self, next_offset: int) -> None:
        """Note that everything below `next_offset` was seen and needs no work of ours (inherited records)."""
        if next_offset > self._next:
            self._next = next_offset
            self._ranges += 1

    def settle(self, offset: int) -> None:
        """Close one offset.

        Raises:
            LedgerFault: It is not open: unknown, or settled twice.
        """
        try:
            self._open.remove(offset)
        except KeyError:
            raise LedgerFault(f"{self.stay}: offset {offset} was settled but is not open") from None
        self._claims.pop(offset, None)
        self._ranges += 1
        self._version += 1

    def settle_all(self, offsets: Sequence[int]) -> int:
        """Close those of these that are open; returns how many that were."""
        before = len(self._open)
        self._open.difference_update(offsets)
        closed = before - len(self._open)
        self._ranges += closed
        self._version += closed
        if self._claims:
            for offset in offsets:
                self._claims.pop(offset, None)
        return closed

    def is_open(self, offset: int) -> bool:
        """Whether the offset was admitted and has no fate yet."""
        return offset in self._open

    # ---- claims: what is about to be sent, at most once -------------------------------------------------------------

    def claim(self, offsets: Iterable[int]) -> None:
        """Say of open offsets, from the next commit on, that they are about to be sent."""
        self._version += 1
        for offset in offsets:
            self._claims[offset] = self._version

    def unclaim(self, offsets: Iterable[int]) -> None:
        """Take claims back: these surely were not sent. Of no effect on offsets without a claim."""
        taken = [offset for offset in offsets if self._claims.pop(offset, None) is not None]
        self._version += bool(taken)

    @property
    def claim_count(self) -> int:
        """How many claims there are of this life."""
        return len(self._claims)

    def holds_claim(self, offset: int) -> bool:
        """Whether an acknowledged commit tells that the (open) offset is claimed."""
        version = self._claims.get(offset)
        return version is not None and version <= self._committed[1]

    def inherits_claim(self, offset: int) -> bool:
        """Whether an earlier life was about to send this offset: nobody knows whether it did."""
        return any(start <= offset < end for start, end in self._inherited_claims)

    def inherits_claims_from(self, offset: int) -> bool:
        """Whether `inherits_claim` can be true at or above this offset."""
        return bool(self._inherited_claims) and self._inherited_claims[-1][1] > offset

    def claimed(self, *, acknowledged: bool = False) -> tuple[Range, ...]:
        """Claims of this life (or only those that an acknowledged commit tells), and inherited ones not met yet."""
        own = [(offset, offset + 1) for offset in self._claims if not acknowledged or self.holds_claim(offset)]
        ahead = [(max(start, self._next), end) for start, end in self._inherited_claims if end > self._next]
        return tuple(joined(sorted([*own, *ahead])))

    def settled_above(self) -> tuple[Range, ...]:
        """The settled ranges above `committable`: what goes into the commit's metadata."""
        base = self.committable
        ranges = self._settled_between_open()
        ahead = [(max(start, self._next), end) for start, end in self._inherited if end > max(self._next, base)]
        above = tuple(joined([*ranges, *ahead])) if ahead else tuple(ranges)
        self._ranges = len(above)
        return above

    def _settled_between_open(self) -> list[Range]:
        """What was seen above the lowest open offset and is not open, ascending and apart."""
        if not self._order:
            return []
        edge = self._order[0]
        ranges: list[Range] = []
        for offset in sorted(self._open):  # a set of neighbouring numbers lies nearly in order already
            if offset > edge:
                ranges.append((edge, offset))
            edge = offset + 1
        if self._next > edge:
            ranges.append((edge, self._next))
        return ranges

    def settled(self) -> tuple[Range, ...]:
        """All that needs no work of anybody's, from the partition's beginning on."""
        return tuple(joined([(0, self.committable), *self.settled_above()]))

    def committed(self, offset: int, version: int) -> None:
        """Note an acknowledged commit of `offset`, made when the ledger was at `version`."""
        self._committed = (offset, version)


def joined(ranges: Iterable[Range]) -> Iterator[Range]:
    """Ascending ranges, touching or overlapping ones as one."""
    last: Range | None = None
    for start, end in ranges:
        if last is not None and start <= last[1]:
            last = (last[0], max(last[1], end))
            continue
        if last is not None:
            yield last
        last = (start, end)
    if last is not None:
        yield last
