"""Avro's variable-length integers and Confluent's frame: the bytes that mean the same in every schema.

Pure. Called by compiled decoders where their inlined one-byte case does not hold, and by the pipeline for the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from connector.records import Rejected

FRAME_BYTES: Final = 5
"""Magic byte 0 and a schema id of four bytes, big-endian (Confluent's wire format)."""

_GUID_HEADER: Final = "__value_schema_id"

_LONG_BYTES_MAX: Final = 10
"""ceil(64 bits / 7 bits a byte)."""


def schema_id_of(value: bytes, headers: Sequence[tuple[str, bytes | None]] | None) -> int:
    """The writer schema's id in the registry; the Avro itself starts at `FRAME_BYTES`.

    Args:
        value: A framed Kafka value.
        headers: The record's headers. Only the value's own schema header matters: a key is opaque to the connector, so
            `__key_schema_id` is none of its business.

    Raises:
        Rejected: `bad_framing`, or `header_framing` for the newer form with a GUID in a header.
    """
    if headers:
        for name, _ in headers:
            if name == _GUID_HEADER:
                raise Rejected(
                    "header_framing",
                    f"the schema id travels in the header {_GUID_HEADER}, which is not supported: "
                    "let the producer's serialiser put it in front of the value (schema id serialiser: prefix)",
                )
    if len(value) < FRAME_BYTES:
        raise Rejected("bad_framing", f"{len(value)} bytes, too short for Confluent's frame of {FRAME_BYTES}")
    if value[0]:
        raise Rejected("bad_framing", "the value does not start with Confluent's magic byte 0")
    return int.from_bytes(value[1:FRAME_BYTES], "big")


def long_at(data: bytes, position: int) -> tuple[int, int]:
    """A `long` and the position after it.

    Raises:
        ValueError: The bytes end inside it, or it does not fit 64 bits.
    """
    bits = shift = 0
    for byte in data[position : position + _LONG_BYTES_MAX]:
        bits |= (byte & 127) << shift
        if byte < 128:
            if bits >> 64:
                raise ValueError
            return (bits >> 1) ^ -(bits & 1), position + shift // 7 + 1
        shift += 7
    raise ValueError


def int_at(data: bytes, position: int) -> tuple[int, int]:
    """An `int` and the position after it.

    Raises:
        ValueError: The bytes end inside it, or it does not fit 32 bits.
    """
    number, position = long_at(data, position)
    if not -0x8000_0000 <= number <= 0x7FFF_FFFF:
        raise ValueError
    return number, position
