"""Whether an attribute's dead letter has been overtaken: what its partition says of that user since.

Pure. One `Supersession` a partition, shown every record that the partition holds behind the oldest letter, once, in
order. It remembers the letters alone, so its size is theirs, however long the partition is.

Who is a user and what is an attribute is told by the mapping that the connector uses. A newer write of *some* of the
letter's attributes is enough to leave it alone: a record goes back byte for byte or not at all, and a newer value is
never overwritten. What counts is what the partition says, not what Braze has taken: a newer write that is a dead letter
itself is still the newer one, and the one to put back. One that cannot be mapped puts the letters of its key in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from connector.braze import CONTROL_ATTRIBUTES
from connector.records import KafkaRecord, Outbound
from connector.replay.dead_letter import DeadLetter, Failed, rank_of
from connector.replay.verdicts import Verdict


class Supersession:
    """The letters of one partition, and what has overtaken them.

    Args:
        low: Offset at which the partition begins at present: what lay before is gone.
        end: Offset at which it ends.
    """

    def __init__(self, low: int, end: int) -> None:
        self._low = low
        self._end = end
        self._letters: dict[Failed, _Watched] = {}
        self._at: dict[int, list[_Watched]] = {}
        self._by_user: dict[str, list[_Watched]] = {}
        self._by_key: dict[bytes, list[_Watched]] = {}
        self._readable_below = -1  # everything behind a record that cannot be read is in doubt

    @property
    def start(self) -> int | None:
        """Where to begin reading; None: there is nothing to find out."""
        offsets = [watched.offset for watched in self._letters.values() if watched.is_knowable]
        return max(min(offsets), self._low) if offsets else None

    def watch(self, letter: DeadLetter, write: Outbound) -> None:
        """Take a letter in, with what it writes."""
        offset = letter.origin.offset
        # Beyond the end: the topic was made anew, or lost its tail; nothing that it holds is about this letter.
        is_knowable = self._low <= offset + 1 and offset < self._end
        watched = _Watched(offset, letter.rank, letter.failed.timestamp_ms, _attributes(write.object), is_knowable)
        self._letters[letter.failed] = watched
        self._at.setdefault(offset, []).append(watched)
        self._by_user.setdefault(write.user, []).append(watched)
        key = letter.record.key()
        if key:
            self._by_key.setdefault(key, []).append(watched)

    def saw(self, writes: Iterable[Outbound]) -> None:
        """These are in the partition."""
        for write in writes:
            overtaken = self._by_user.get(write.user)
            if overtaken is None:
                continue
            names, rank = _attributes(write.object), rank_of(write.record)
            for letter in overtaken:
                if write.offset > letter.offset and rank > letter.rank:
                    letter.left -= names

    def saw_at(self, offset: int, timestamp_ms: int) -> None:
        """A record with this Kafka timestamp lies there. If it is not the letter's, the topic was made anew."""
        for letter in self._at.get(offset, ()):
            letter.is_knowable = letter.is_knowable and letter.timestamp_ms == timestamp_ms

    def could_not_read(self, offset: int) -> None:
        """Nobody knows what the record there says: its schema is not to be had."""
        self._readable_below = max(self._readable_below, offset)

    def could_not_map(self, records: Iterable[KafkaRecord]) -> None:
        """The mapping refuses these: what they write is not known, and whose they are is told by their key alone.

        Letters of another key, or of none, are not in doubt, or a few such records would keep back all letters.
        """
        for record in records:
            key = record.key()
            same = self._by_key.get(key) if key else None
            if same is None:
                continue
            rank = rank_of(record)
            for letter in same:
                if record.offset() > letter.offset and rank > letter.rank:
                    letter.is_knowable = False

    def lost_below(self, low: int) -> None:
        """Retention has passed meanwhile: the partition begins there now."""
        for letter in self._letters.values():
            letter.is_knowable = letter.is_knowable and low <= letter.offset + 1

    def verdict(self, letter: DeadLetter) -> Verdict | None:
        """What stands against putting the letter back; None: nothing."""
        watched = self._letters[letter.failed]
        if not watched.left and watched.names:
            return Verdict.SUPERSEDED  # whatever else cannot be known
        if not watched.is_knowable or watched.offset < self._readable_below:
            return Verdict.UNKNOWABLE
        return None if watched.left == watched.names else Verdict.PARTLY_SUPERSEDED


class _Watched:
    """One letter: its record's offset, rank and timestamp, what it writes, and what of it nobody wrote since."""

    __slots__ = ("is_knowable", "left", "names", "offset", "rank", "timestamp_ms")

    def __init__(self, offset: int, rank: int, timestamp_ms: int, names: frozenset[str], is_knowable: bool) -> None:
        self.offset = offset
        self.rank = rank
        self.timestamp_ms = timestamp_ms
        self.names = names
        self.left = names
        self.is_knowable = is_knowable


def _attributes(attributes_object: Mapping[str, Any]) -> frozenset[str]:
    """The names that it writes."""
    return frozenset(attributes_object.keys() - CONTROL_ATTRIBUTES)
