"""One request in hand: what it carries, and what is known of its attempts.

Pure. Made by `delivery`, sent by the pipeline, kept by a `channel` while it waits to be tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import orjson

from connector.batching import ClosedBy
from connector.braze import Endpoint
from connector.outcomes import Place
from connector.piece import Piece, UserLane
from connector.records import Assignment, Outbound
from connector.suspicion import Shape


class Request:
    """One request in hand: on the wire, or waiting to be tried again.

    Attributes:
        endpoint: Where it goes.
        load: Its objects; those of one user stand together and in order.
        campaign_id: The campaign, for triggers.
        closed_by: Why its batch left; None for what is sent anew, in other company or not.
        suspect: The shape for whose sake it travels apart, while nothing of it was refused.
        attempts: How often it was sent; what was called off does not count.
        may_be_applied: An attempt got no clear answer.
        status: The last HTTP status, 0 if none.
    """

    __slots__ = (
        "attempts", "body_bytes", "campaign_id", "closed_by", "due", "endpoint", "is_paced", "load",
        "may_be_applied", "rest",
        "status", "suspect", "wrote",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        load: list[Piece],
        campaign_id: str | None = None,
        closed_by: ClosedBy | None = None,
        suspect: Shape | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.load = load
        self.campaign_id = campaign_id
        self.closed_by: ClosedBy | None = closed_by
        self.suspect = suspect
        self.rest: list[Piece] = []  # of the same (single) user, to be sent when this has its fate
        self.attempts = 0
        self.may_be_applied = False
        self.status = 0
        self.due = 0.0
        self.is_paced = False
        self.body_bytes = 0
        self.wrote: set[UserLane] = set()  # users whose attributes an attempt carried

    @property
    def records(self) -> list[Outbound]:
        """All records that it carries."""
        return [record for piece in self.load for record in piece.records]

    @property
    def record_count(self) -> int:
        """How many records it carries; most have an object of their own."""
        return sum([len(piece.records) for piece in self.load])

    def stays(self) -> set[Assignment]:
        """Whose records it carries."""
        return _stays(self.load)

    def attribute_stays(self) -> set[Assignment]:
        """Whose attributes it writes."""
        return _stays(piece for piece in self.load if piece.array == "attributes")

    def sizes(self) -> dict[str, int]:
        """Objects per array; arrays that it does not send are absent."""
        arrays = [piece.array for piece in self.load]
        return {array: arrays.count(array) for array in dict.fromkeys(arrays)}

    def named(self, places: Collection[Place]) -> set[Piece]:
        """The objects at these places."""
        found: set[Piece] = set()
        for array in {array for array, _ in places}:
            own = [piece for piece in self.load if piece.array == array]
            found.update([own[index] for each, index in places if each == array])
        return found

    def body(self) -> bytes:
        """The JSON body, assembled from the encoded objects; the same bytes at every attempt."""
        parts: list[bytes] = []
        if self.endpoint is Endpoint.TRIGGER:
            parts.append(b'"campaign_id":' + orjson.dumps(self.campaign_id))
        for array in dict.fromkeys([piece.array for piece in self.load]):
            objects = b",".join([piece.encoded for piece in self.load if piece.array == array])
            parts.append(b'"' + array.encode() + b'":[' + objects + b"]")
        body = b"{" + b",".join(parts) + b"}"
        self.body_bytes = len(body)
        return body


def _stays(load: Iterable[Piece]) -> set[Assignment]:
    """Neighbours mostly share their stay: comparing is cheaper than hashing."""
    stays: set[Assignment] = set()
    last: Assignment | None = None
    for piece in load:
        for record in piece.records:
            if record.stay is not last:
                last = record.stay
                stays.add(last)
    return stays
