"""A record with a header whose name is no UTF-8, as confluent-kafka's message behaves (measured, 2.16)."""

from __future__ import annotations

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
