"""What the double is asked and what it answers: one call, one reply.

Pure. A reply says when and how it is given as well as what it says: late, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import orjson

JsonObject: TypeAlias = dict[str, Any]

TRACK_ARRAYS: Final = ("attributes", "events", "purchases")
"""The arrays of `/users/track`, in the order in which one request's objects are applied."""


class DoubleReply(NamedTuple):
    """What a client gets to see.

    Attributes:
        status: HTTP status; None when the connection is reset instead of answered.
        headers: Names in lower case, as HTTP/2 would deliver them.
        body: The body's bytes, not necessarily JSON.
        delay_s: Seconds between the request's arrival and the reply; may exceed any client's patience.
        connection: `drop`: the connection is closed without an answer.
    """

    status: int | None
    headers: dict[str, str]
    body: bytes
    delay_s: float
    connection: Literal["reply", "drop"]

    @property
    def is_success(self) -> bool:
        """Whether this is a 2xx."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Call:
    """One request past the door: authorised, admitted and parsed.

    Attributes:
        number: The request's number, from 1; every request to the double has one.
        now: Arrival, monotonic seconds.
        at: Arrival, wall clock, seconds since the epoch.
        method: HTTP method, upper case.
        path: Without the query.
        query: First value of each query parameter.
        api_key: The key it was authorised with.
        document: The parsed body; empty for a GET.
        size_bytes: Length of the body.
        refused: What a fault refuses for itself: (array, index) to the error types to report for it.
    """

    number: int
    now: float
    at: float
    method: str
    path: str
    query: Mapping[str, str]
    api_key: str
    document: JsonObject
    size_bytes: int
    refused: dict[tuple[str, int], list[str]] = field(default_factory=dict)

    def arrays(self) -> list[tuple[str, list[Any]]]:
        """The request's objects with the name of their array; what is no array counts as absent."""
        names = TRACK_ARRAYS if self.path == "/users/track" else ("recipients",)
        return [(name, value) for name in names if isinstance(value := self.document.get(name), list)]


def json_reply(status: int, document: JsonObject) -> DoubleReply:
    """An immediate JSON answer."""
    return DoubleReply(status, {"content-type": "application/json"}, orjson.dumps(document), 0.0, "reply")


def message_reply(status: int, message: str) -> DoubleReply:
    """An immediate answer in Braze's usual shape, `{"message": ...}`."""
    return json_reply(status, {"message": message})
