"""A record with a header whose name is no UTF-8, as confluent-kafka's message behaves (measured, 2.16)."""

from __future__ import annotations

import socket
import struct
from typing import Any


class Unreadable:
    """Mixed into a test's record, in front of it."""

    _asked: Any = None

    def headers(self) -> Any:
        assert self._asked != "once", "the list has a hole by now: here the process would end"
        if self._asked is None:
            self._asked = "once"
            broken = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
            raise SystemError("returned a result with an exception set") from broken
        return self._asked

    def set_headers(self, headers: list[Any]) -> None:
        self._asked = headers


def write_with_header(address: str, topic: str, name: bytes) -> None:
    """A record with a header of that name, to partition 0 of the in-process broker: no client would write it."""
    record = bytes([0, 0, 0, 1, 2]) + b"x" + bytes([2, 2 * len(name)]) + name + bytes([2]) + b"v"
    batch = struct.pack(">ibIhiqqqhii", 0, 2, 0, 0, 0, 1, 1, -1, -1, -1, 1) + bytes([2 * len(record)]) + record
    batch = struct.pack(">qi", 0, len(batch)) + batch
    request = struct.pack(">hhihhhiih", 0, 7, 1, -1, -1, -1, 5_000, 1, len(topic)) + topic.encode()
    request += struct.pack(">iii", 1, 0, len(batch)) + batch
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection, connection.makefile("rb") as answers:
        connection.sendall(struct.pack(">i", len(request)) + request)
        answer = answers.read(struct.unpack(">i", answers.read(4))[0])
    assert struct.unpack_from(">h", answer, 18 + len(topic)) == (0,), answer
