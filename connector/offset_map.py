"""What one life of the connector leaves for the next in the metadata of a Kafka commit.

Pure. Kafka keeps one number a partition, and a few thousand characters of our choice beside it. The number is the
lowest offset that still needs work; the text says what above it is settled already, so that a crash repeats little.

The text is `AIQB1;key=value;...;crc`:

| key | value |
|---|---|
| `u` | settle-until: wall clock, milliseconds, base 36: no attribute write of this partition before it |
| `e` | leader epoch of the newest record that was taken, base 36: a lower offset of a later epoch was written anew |
| `n` | which process wrote this: two that did the same work must not be taken for one |
| `c` | `1` when the commit closes a stay: nothing of this partition was on the wire any more |
| `r` or `b` | the settled ranges as run lengths or, where these are long, as a compressed bitmap if shorter, base 64 |
| `k` or `l` | the claimed offsets, likewise |

A reader ignores keys that it does not know, so that two versions can share a group; text with another magic or a wrong
checksum is somebody else's, or damaged, and is ignored whole (and counted by the caller).
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MAGIC: Final = "AIQB1"
METADATA_CHARS_MAX: Final = 4_000
"""A broker's `offset.metadata.max.bytes` is 4096 unless changed; some room stays for what a later version adds."""

_CHARS_FEW: Final = 64
"""Runs of so few characters win over any bitmap."""

_CHARS_ROOMY: Final = 2_000
"""Where there is room for everything, runs of so few are written as they are: a bitmap takes twice the time."""

_KEY_CHARS: Final = 3
"""Of `;r=` and its like."""

SPAN_MAX: Final = 50_000_000
"""Offsets that a map may span. A larger claim is damage, and the map is not believed."""

Range = tuple[int, int]
"""Half open: first offset, one past the last."""


class ForeignMetadata(ValueError):
    """The text was not written by this connector, or was damaged on the way."""


_DEFLATE_MOST: Final = 1032
"""Bytes that one byte of deflate can stand for at most."""

_DEFLATE_LEAST: Final = 32
"""Bytes more that some thousands without any pattern take; measured 11."""


@dataclass(frozen=True, slots=True)
class OffsetMap:
    """What is known about a partition above its committed offset.

    Attributes:
        settled: Ranges that need no more work, ascending, disjoint, all above the committed offset.
        settle_until_ms: Wall clock, milliseconds; attribute writes of this partition wait until then. 0: none was sent.
        closed: The writer had nothing of this partition on the wire when it wrote this.
        leader_epoch: Of the newest record that the writer had taken. Epochs never fall along a log, so a record below
            the map's top with a later one was written after the log had been truncated: the map does not mean it.
            None: the broker did not say.
        writer: A word that no other process has; empty: not said.
        claimed: Offsets that the writer was about to send, and that nobody else may send: ascending, disjoint ranges.
    """

    settled: tuple[Range, ...] = ()
    settle_until_ms: int = 0
    closed: bool = False
    leader_epoch: int | None = None
    claimed: tuple[Range, ...] = ()
    writer: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """The text, and what did not fit.

    Attributes:
        text: Goes into the commit's metadata.
        cut: Number of settled offsets that were left out at the top, because the text would have grown too long.
    """

    text: str
    cut: int = 0


def encode(offsets: OffsetMap, base: int, chars_max: int = METADATA_CHARS_MAX) -> Encoded:
    """Write a map relative to the committed offset `base`.

    What is settled is cut from the top, never the middle, if the text grows too long; what is claimed never is.
    """
    ranges = offsets.settled
    settled, claimed = _Lowest(ranges, base, "r", "b"), _Lowest(offsets.claimed, base, "k", "l")
    written, rest = settled.text(len(ranges), _CHARS_ROOMY), claimed.text(len(offsets.claimed))
    if len(text := _text(offsets, written, rest)) <= chars_max:
        return Encoded(text)
    if len(written) <= _CHARS_ROOMY:  # run lengths: a bitmap may be shorter
        written = settled.text(len(ranges))
        if len(text := _text(offsets, written, rest)) <= chars_max:
            return Encoded(text)
    fits = settled.most(chars_max - len(_text(offsets, "", rest)), len(written))
    text = _text(offsets, settled.text(fits), rest)
    return Encoded(text, sum(end - start for start, end in ranges[fits:]))


def settled_chars_most(unsettled: int, ranges: int, coming: int, span: int) -> int:
    """Characters that the settled offsets of a map may come to take, in whichever order the rest of them is settled.

    Settling one offset makes at most one range more, and every range lies behind an offset that is not settled: so
    there are never more of them than half of both together. A length is long only where a range is settled already, or
    where so many offsets are, or become, the same.

    Args:
        unsettled: Offsets in the span that are not settled yet.
        ranges: Of settled offsets, as of now.
        coming: Of the span, what is not admitted yet: there may be holes in it, which count as settled.
        span: From the committed offset to one past the highest.
    """
    lengths = 2 * (min(unsettled, (ranges + unsettled) // 2) + 1)
    runs, long = lengths, 128
    while long <= span:
        runs += min(lengths, ranges + 2 * (unsettled // long) + coming // long + 2)
        long <<= 7
    bitmap = (span + 7) // 8 + _DEFLATE_LEAST
    return _KEY_CHARS + _base64_chars(min(runs, bitmap))


def decode(text: str, base: int) -> OffsetMap:
    """Read a map back.

    Raises:
        ForeignMetadata: Another magic, a wrong checksum, or a claim that no writer of ours makes.
    """
    body, _, checksum = text.rpartition(";")
    magic, *pairs = body.split(";")
    if magic != MAGIC or checksum != _checksum(body):
        raise ForeignMetadata("no offset map of this connector")
    fields = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    try:
        settled = _read_ranges(fields, "r", "b", base)
        claimed = _read_ranges(fields, "k", "l", base)
        epoch = int(fields["e"], 36) if "e" in fields else None
        return OffsetMap(
            settled, int(fields.get("u", "0"), 36), fields.get("c") == "1", epoch, claimed, fields.get("n", "")
        )
    except (ValueError, zlib.error, IndexError) as error:
        raise ForeignMetadata("an offset map that contradicts itself") from error


def _text(offsets: OffsetMap, settled: str, claimed: str) -> str:
    body = MAGIC
    if offsets.settle_until_ms:
        body += f";u={_base36(offsets.settle_until_ms)}"
    if offsets.leader_epoch is not None:
        body += f";e={_base36(offsets.leader_epoch)}"
    if offsets.writer:
        body += f";n={offsets.writer}"
    if offsets.closed:
        body += ";c=1"
    body += settled + claimed
    return f"{body};{_checksum(body)}"


class _Lowest:
    """The texts of the lowest so many of some ranges.

    A map that is too long is so at every commit, and somebody has to find out how much of it fits: the bits are made
    once, and each try costs their compression.
    """

    def __init__(self, ranges: Sequence[Range], base: int, runs_key: str, bitmap_key: str) -> None:
        self._ranges = ranges
        self._base = base
        self._runs_key = runs_key
        self._bitmap_key = bitmap_key
        self._bits = b""

    def text(self, count: int, few: int = _CHARS_FEW) -> str:
        """Run lengths or a bitmap, whichever is shorter; run lengths in any case where `few` characters do for them."""
        if not count:
            return ""
        # A bitmap costs a bit an offset before compression, and deflate shrinks nothing to less than a thousandth:
        # where the span is so wide that the runs win anyway, it would only cost memory.
        span, bitmap = self._ranges[count - 1][1] - self._base, ""
        least = _KEY_CHARS + _base64_chars(2 * count)  # of run lengths: two bytes a range
        if least > few and not _is_wide(span, least):
            bitmap = self._bitmap(count, span)
            if len(bitmap) <= least:
                return bitmap
        runs = f";{self._runs_key}={_base64(_to_runs(self._ranges[:count], self._base))}"
        if len(runs) <= few or _is_wide(span, len(runs)):
            return runs
        return min(runs, bitmap or self._bitmap(count, span), key=len)

    def most(self, room: int, whole: int) -> int:
        """How many have room, or a few less: a fiftieth of it may stay empty.

        Args:
            room: Characters.
            whole: How many all of them would take: more than there is room for.
        """
        fits, fails = 0, len(self._ranges)
        fits_chars, fails_chars = 0, whole
        spare = room // 50
        while fails - fits > 1 and room - fits_chars > spare:
            part = (room - spare // 2 - fits_chars) / max(fails_chars - fits_chars, 1)  # lengths grow nearly evenly
            middle = fits + max(1, int((fails - fits) * min(max(part, 0.1), 0.9)))
            chars = len(self.text(middle))
            if chars <= room:
                fits, fits_chars = middle, chars
            else:
                fails, fails_chars = middle, chars
        return fits

    def _bitmap(self, count: int, span: int) -> str:
        if len(self._bits) * 8 < span:
            self._bits = _bits(self._ranges[:count], self._base)
        bits = bytearray(self._bits[: (span + 7) // 8])
        if span % 8:
            bits[-1] &= (1 << span % 8) - 1
        return f";{self._bitmap_key}={_base64(zlib.compress(bits, 9))}"


def _is_wide(span: int, run_chars: int) -> bool:
    """Whether no bitmap of so many offsets can be shorter than that."""
    return span // 8 // _DEFLATE_MOST > run_chars


def _read_ranges(fields: Mapping[str, str], runs_key: str, bitmap_key: str, base: int) -> tuple[Range, ...]:
    if runs_key in fields:
        return _from_runs(_unbase64(fields[runs_key]), base)
    if bitmap_key in fields:
        return _from_bitmap(_unbase64(fields[bitmap_key]), base)
    return ()


def _to_runs(ranges: Sequence[Range], base: int) -> bytes:
    """Alternating lengths, open first: gap, settled, gap, settled, ... as variable-length integers."""
    out = bytearray()
    at = base
    for start, end in ranges:
        if start - at < 128 and end - start < 128:  # nearly always
            out.append(start - at)
            out.append(end - start)
        else:
            _put_varint(out, start - at)
            _put_varint(out, end - start)
        at = end
    return bytes(out)


def _from_runs(data: bytes, base: int) -> tuple[Range, ...]:
    ranges: list[Range] = []
    at, position = base, 0
    while position < len(data):
        gap, position = _varint(data, position)
        length, position = _varint(data, position)
        if length == 0 or (gap == 0 and ranges) or at + gap + length - base > SPAN_MAX:
            raise ValueError("no run lengths of ours")
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    return tuple(ranges)


def _bits(ranges: Sequence[Range], base: int) -> bytes:
    digits: list[str] = []
    at = base
    for start, end in ranges:
        digits.append("0" * (start - at))
        digits.append("1" * (end - start))
        at = end
    bits = int("".join(digits)[::-1], 2)  # the lowest offset is the lowest bit
    return bits.to_bytes((at - base + 7) // 8, "little")


def _from_bitmap(data: bytes, base: int) -> tuple[Range, ...]:
    reader = zlib.decompressobj()
    raw = reader.decompress(data, SPAN_MAX // 8)
    if reader.unconsumed_tail or not reader.eof:
        raise ValueError("no bitmap of ours")
    ranges: list[Range] = []
    start: int | None = None
    index = 0
    for index, bit in enumerate(format(int.from_bytes(raw, "little"), "b")[::-1]):  # the last one is used
        if bit == "1" and start is None:
            start = index
        elif bit == "0" and start is not None:
            ranges.append((base + start, base + index))
            start = None
    if start is not None:
        ranges.append((base + start, base + index + 1))
    return tuple(ranges)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("no variable-length integer of ours")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _base64_chars(size: int) -> int:
    return (size * 4 + 2) // 3


def _unbase64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _base36(value: int) -> str:
    digits = ""
    while value:
        value, digit = divmod(value, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


def _checksum(body: str) -> str:
    return format(zlib.crc32(body.encode()), "08x")


FIRST_METADATA: Final = encode(OffsetMap(), 0).text
"""Beside a first position that is committed before anything is handed out: not closed, so that a successor of a process
that was killed early knows that something may have been on the wire."""
