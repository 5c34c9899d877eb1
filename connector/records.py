"""What travels from Kafka to Braze: the words that every other module speaks.

Pure. Imported by everyone, imports nobody. A record keeps its receipt (topic, partition, epoch, offset) from the moment
Kafka hands it out until its fate is known, so that an offset can never be settled for another record's sake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from operator import methodcaller
from typing import Any, Final, Literal, NamedTuple, NewType, Protocol, cast

import orjson

Offset = NewType("Offset", int)
"""Where a record lies in its partition."""

NextOffset = NewType("NextOffset", int)
"""One past the last record that needs no more work: the only kind of number that is ever committed."""


class Kind(StrEnum):
    """The three kinds of ActionIQ record; a topic holds exactly one of them."""

    AUDIENCE = "audience"
    EVENT = "event"
    CAMPAIGN = "campaign"


class KafkaRecord(Protocol):
    """One consumed record, in the shape of `confluent_kafka.Message`, so that none is copied on the hot path."""

    def topic(self) -> str: ...  # noqa: D102  # Kafka's own words
    def partition(self) -> int: ...  # noqa: D102
    def offset(self) -> int: ...  # noqa: D102
    def key(self) -> bytes | None: ...  # noqa: D102
    def value(self) -> bytes | None: ...  # noqa: D102
    def headers(self) -> list[tuple[str, bytes | None]] | None: ...  # noqa: D102
    def timestamp(self) -> tuple[int, int]:
        """Timestamp type and milliseconds since the epoch; type 0 means that there is none."""
        ...

    def leader_epoch(self) -> int | None:
        """Under which leader it was written: never falls along a partition; None: the broker does not say."""
        ...


Header = tuple[str, bytes | None]
"""Of a record."""


class _Mendable(Protocol):
    """What a client's message has besides."""

    def set_headers(self, headers: list[Header]) -> None: ...


_headers: Final[Callable[[KafkaRecord], list[Header] | None]] = methodcaller("headers")
"""Not `record.headers()`: when that has run some times, the interpreter calls the library directly and looks for no
error behind its answer; so the list with the hole would come at the first asking."""


def headers_of(record: KafkaRecord) -> Sequence[Header]:
    """A record's headers; none at all where the name of one is no UTF-8, as Kafka lets it be.

    Of such a record confluent-kafka gives an error, and when it is asked again a list with a hole, at which the process
    ends without a word (measured, 2.16). So whoever wants headers asks here, and the record has none from then on.
    """
    try:
        return _headers(record) or ()
    except (SystemError, UnicodeDecodeError) as error:
        if not isinstance(error.__cause__ or error, UnicodeDecodeError):
            raise
    cast("_Mendable", record).set_headers([])
    return ()


class TopicPartition(NamedTuple):
    """A partition's name; says nothing about who owns it."""

    topic: str
    partition: int

    def __str__(self) -> str:
        """`topic[3]`, as Kafka's own tools write it."""
        return f"{self.topic}[{self.partition}]"


class Assignment(NamedTuple):
    """One stay of a partition with this process. A partition that leaves and returns gets a new epoch."""

    topic: str
    partition: int
    epoch: int

    @property
    def name(self) -> TopicPartition:
        """The partition without the stay."""
        return TopicPartition(self.topic, self.partition)

    def __str__(self) -> str:
        """`topic[3]@7`: partition 3, seventh epoch."""
        return f"{self.topic}[{self.partition}]@{self.epoch}"


class Fate(StrEnum):
    """How a record ended. Every consumed record gets exactly one."""

    DELIVERED = "delivered"
    COALESCED = "coalesced"
    DEAD_LETTERED = "dead_lettered"
    SKIPPED = "skipped"


Reason = Literal[
    # decoding
    "undecodable",  # the bytes are no record of the schema
    "trailing_bytes",  # a whole record, and something after it
    "bad_framing",  # no Confluent header where one was promised
    "header_framing",  # the schema id travels in a header (GUID framing), which is not supported
    # identity
    "no_identity",
    "placeholder_identity",
    "identity_too_long",
    "braze_id_recipient",  # by option: campaign recipients known by braze_id alone are refused
    # the record's own fields
    "unknown_change",  # a value that the value map does not name
    "missing_field",
    "bad_name",
    "absurd_time",
    # values that Braze is known to refuse
    "bad_value",
    "value_too_long",
    "object_too_large",
    "reserved_attribute",
    # Braze's word, once it was asked
    "refused",
    "ambiguous",
    "campaign_unavailable",
]
"""Why a record went to the dead letters. A closed list: it is a metric's label."""

OBJECT_ERRORS: Final[tuple[Reason, ...]] = ("refused", "object_too_large")
"""Why Braze sets one object aside."""

SkipReason = Literal[
    "tombstone",
    "control_split",
    "skip_rule",  # a mapping document's own rule, other than the one about control splits
    "expired",
    "too_old",
    "repeated",  # a trigger whose event_id was sent already
    "claimed_unknown",  # an earlier life was about to send it, once at most: nobody knows whether it did
]
"""Why a record was settled without being sent, by a rule that the operator chose. A closed list: a metric's label."""


class Rejected(Exception):
    """A record that cannot be delivered as it is. Raised while decoding or mapping; its end is the dead-letter topic.

    Args:
        reason: One of the closed list.
        detail: Our own words and at most a field's name; never a value, an id or Braze's text.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Reason = reason
        self.detail = detail


class Skipped(Exception):
    """A record that a rule settles without sending it."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason: SkipReason = reason


class Outbound:
    """One object for Braze together with the receipt of the record it came from.

    Attributes:
        user: Ordering lane: the `external_id` itself, or NUL + the `braze_id`. Never logged.
        encoded: Its JSON, where it came by the express lane; None: `object` is still to be encoded.
        points: Data points that Braze bills for what is encoded.
        record: The Kafka record, kept whole for the dead-letter topic.
        stay: The assignment under which the record was consumed.
        offset: The record's offset.
        size_bytes: Of its value.
        group: Merged with neighbours of the same group only. A refused object that several records made is taken apart
            into two groups, and those again, until the culprit stands alone.
    """

    __slots__ = ("_object", "encoded", "group", "offset", "points", "record", "size_bytes", "stay", "user")

    group: int | None

    encoded: bytes | None
    points: int
    record: KafkaRecord
    stay: Assignment
    offset: int
    size_bytes: int

    def __init__(self, user: str, object: dict[str, Any]) -> None:  # noqa: A002  # Braze's own word
        self.user = user
        self._object: dict[str, Any] | None = object
        self.encoded = None
        self.points = 0
        self.group = None

    @property
    def object(self) -> dict[str, Any]:
        """The JSON object to send, identifier included."""
        if self._object is None:
            self._object = orjson.loads(self.encoded or b"{}")
        return self._object


class CampaignSend(Outbound):
    """One recipient of one triggered campaign.

    Attributes:
        campaign_id: Braze's id of the API-triggered campaign.
        event_id: ActionIQ's id of the trigger; a repeat carries the same one. None if the mapping names none.
        requested_at_ms: When ActionIQ asked for it, milliseconds since the epoch. None if the mapping names none.
        expires_at_ms: Never sent at or after this instant. None: it does not expire.
    """

    __slots__ = ("campaign_id", "event_id", "expires_at_ms", "requested_at_ms")

    def __init__(  # one argument a field
        self,
        user: str,
        object: dict[str, Any],  # noqa: A002
        campaign_id: str,
        event_id: str | None,
        requested_at_ms: int | None,
        expires_at_ms: int | None,
    ) -> None:
        super().__init__(user, object)
        self.campaign_id = campaign_id
        self.event_id = event_id
        self.requested_at_ms = requested_at_ms
        self.expires_at_ms = expires_at_ms
