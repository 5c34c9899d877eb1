"""What ActionIQ would write: three kinds of record, skewed users, repeated event ids, one percent poison.

Pure but for encoding; everything follows from the seed. Every record carries a number of its own to where Braze applies
it (an attribute key, an event property, a trigger property), so that an audit can tell each one apart.
"""

from __future__ import annotations

import io
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from fastavro import parse_schema, schemaless_writer

from connector.records import Kind
from connector.settings import SCHEMA_FILES

TOPICS: Final = {
    Kind.AUDIENCE: "aiq.audience-membership",
    Kind.EVENT: "aiq.profile-event",
    Kind.CAMPAIGN: "aiq.campaign-trigger",
}

NUMBER_PREFIX: Final = "demo_record_"
REFUSED_BY_BRAZE: Final = "Demo Refused"
"""Name of the event (and of the attribute's audience) that the double is told to refuse."""

_USERS: Final = 5_000
_POISON: Final = 0.01
_REPEATED: Final = 0.01
_REPEATED_TRIGGERS: Final = 0.05
_SHARES: Final = {Kind.AUDIENCE: 0.48, Kind.EVENT: 0.48, Kind.CAMPAIGN: 0.04}

Expectation = Literal["delivered", "dead_lettered", "skipped", "repeated"]


@dataclass(frozen=True, slots=True)
class Made:
    """One record to produce.

    Attributes:
        number: Its own, from 0.
        kind: Which topic it goes to.
        user: Its key, and who it is about.
        value: Avro bytes, or None for a tombstone.
        expected: What must become of it. A delivered one may also be coalesced; a repeated one (a trigger with the
            `event_id` of an earlier one) is skipped, unless a restart or a rebalance made its partition forget.
        becomes: What Braze must get of it, the campaign's id within; empty: that is not looked at.
    """

    number: int
    kind: Kind
    user: str
    value: bytes | None
    expected: Expectation
    becomes: Mapping[str, Any] = field(default_factory=dict)


class Workload:
    """A reproducible stream of records.

    Args:
        records: How many.
        seed: Decides everything.
        schemas: Directory of the schema files.
        at_ms: The wall clock that the records pretend to be written at.
    """

    def __init__(self, records: int, seed: int, schemas: Path, at_ms: int) -> None:
        self._records = records
        self._rng = random.Random(seed)  # noqa: S311  # reproducible, guards nothing
        self._at_ms = at_ms
        self._schemas = {
            kind: parse_schema(orjson.loads((schemas / file).read_bytes())) for kind, file in SCHEMA_FILES.items()
        }
        # Zipf with exponent 1.1: the first user has about a tenth of everything.
        self._weights = list(accumulate(1 / rank**1.1 for rank in range(1, _USERS + 1)))
        self._event_ids: list[str] = []
        self._triggers: deque[tuple[str, str]] = deque(maxlen=100)  # user and id of the last good ones

    def __iter__(self) -> Iterator[Made]:
        """The records, in order."""
        users = range(_USERS)
        kinds, shares = list(_SHARES), list(_SHARES.values())
        for number in range(self._records):
            user = f"demo-user-{self._rng.choices(users, cum_weights=self._weights)[0]:05d}"
            kind = self._rng.choices(kinds, shares)[0]
            if self._rng.random() < _POISON:
                yield self._poison(number, kind, user)
            elif kind is Kind.CAMPAIGN and self._triggers and self._rng.random() < _REPEATED_TRIGGERS:
                user, event_id = self._rng.choice(self._triggers)
                record = self._record(number, kind, user) | {"event_id": event_id}
                yield Made(number, kind, user, self._encode(kind, record), "repeated", _becomes(kind, record))
            elif kind is Kind.CAMPAIGN:
                record = self._record(number, kind, user) | {"event_id": f"demo-{number}"}
                self._triggers.append((user, f"demo-{number}"))
                yield Made(number, kind, user, self._encode(kind, record), "delivered", _becomes(kind, record))
            else:
                record = self._record(number, kind, user)
                yield Made(number, kind, user, self._encode(kind, record), "delivered", _becomes(kind, record))

    def _event_id(self, number: int) -> str:
        if self._event_ids and self._rng.random() < _REPEATED:
            return self._rng.choice(self._event_ids)
        event_id = f"demo-{number}"
        if len(self._event_ids) < 1000:
            self._event_ids.append(event_id)
        return event_id

    def _record(self, number: int, kind: Kind, user: str) -> dict[str, Any]:
        at = self._at_ms - self._rng.randrange(60_000)
        common: dict[str, Any] = {
            "event_id": self._event_id(number),
            "identity": {"external_id": user, "braze_id": None},
        }
        properties: dict[str, Any] = {
            "plan": self._rng.choice(("free", "plus", "pro")),
            "spend": round(self._rng.random() * 100, 2),
        }
        match kind:
            case Kind.AUDIENCE:
                return common | {
                    "audience_id": str(self._rng.randrange(20)),
                    "split_id": "a",
                    "change": self._rng.choice(("ENTERED", "EXITED", "CURRENT")),
                    "qualified_at": at,
                    "attributes": {f"{NUMBER_PREFIX}{number}": True, **properties},
                }
            case Kind.EVENT:
                return common | {
                    "event_name": self._rng.choice(("Viewed", "Added", "Bought")),
                    "occurred_at": at,
                    "properties": {"number": number, "first": True, "count": self._rng.randrange(9), **properties},
                }
            case Kind.CAMPAIGN:
                return common | {
                    "campaign_id": f"demo-campaign-{self._rng.randrange(4)}",
                    "requested_at": at,
                    "trigger_properties": {"number": number, **properties},
                }

    def _poison(self, number: int, kind: Kind, user: str) -> Made:
        """One of the ways in which a record is no good (or not meant to be sent)."""
        record = self._record(number, kind, user)
        ways = ["bytes", "tail", "nobody", "time", "tombstone", "refused" if kind is not Kind.CAMPAIGN else "expired"]
        way = self._rng.choice([*ways, "control"] if kind is Kind.AUDIENCE else ways)
        expected: Expectation = "dead_lettered"
        match way:
            case "bytes":
                return Made(number, kind, user, self._rng.randbytes(7), expected)
            case "tail":
                return Made(number, kind, user, self._encode(kind, record) + b"\x00", expected)
            case "tombstone":
                return Made(number, kind, user, None, "skipped")
            case "nobody":
                record["identity"] = {"external_id": "null", "braze_id": None}
            case "time":
                time_field = {Kind.AUDIENCE: "qualified_at", Kind.EVENT: "occurred_at", Kind.CAMPAIGN: "requested_at"}
                record[time_field[kind]] //= 1000  # seconds where milliseconds belong
            case "refused" if kind is Kind.EVENT:
                record["event_name"] = REFUSED_BY_BRAZE
            case "refused":
                # Not for the busiest users: the culprit among hundreds of coalesced writes is found by halving, with a
                # settle time between halves, which would make the demonstration long rather than clear.
                record["identity"]["external_id"] = user = f"demo-user-{self._rng.randrange(500, _USERS):05d}"
                record["attributes"][REFUSED_BY_BRAZE] = True
            case "expired":
                record["expires_at"] = self._at_ms - 1
                expected = "skipped"
            case _:
                record["split_role"] = "CONTROL"
                expected = "skipped"
        return Made(number, kind, user, self._encode(kind, record), expected)

    def _encode(self, kind: Kind, record: Mapping[str, Any]) -> bytes:
        out = io.BytesIO()
        schemaless_writer(out, self._schemas[kind], dict(record))
        return out.getvalue()


def _becomes(kind: Kind, record: Mapping[str, Any]) -> dict[str, Any]:
    """What Braze must get of a good record, told without the connector's mapping."""
    user = record["identity"]["external_id"]
    match kind:
        case Kind.AUDIENCE:
            membership = f"AIQ_{record['audience_id']}_{record['split_id']}"
            return {"external_id": user, membership: record["change"] != "EXITED", **record["attributes"]}
        case Kind.EVENT:
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=record["occurred_at"])
            time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            return {
                "external_id": user,
                "name": record["event_name"],
                "time": time,
                "properties": record["properties"],
            }
        case Kind.CAMPAIGN:
            return {
                "external_user_id": user,
                "campaign_id": record["campaign_id"],
                "trigger_properties": record["trigger_properties"],
            }
