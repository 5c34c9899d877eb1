"""Sample records of the three kinds, and the shortest way from a plain value through Avro to what Braze would get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from connector.decode import WriterSchema, compile_decoder
from connector.mapping import MappingRules, compile_mapping, default_document, override
from connector.records import CampaignSend, Kind, Outbound, Rejected, Skipped
from tests.avro_bytes import our_schema, written

AT = 1_790_000_100_000  # 2026-09-21T14:15:00Z
THEN = 1_790_000_000_123  # 2026-09-21T14:13:20.123Z
ISO = "2026-09-21T14:13:20.123Z"
INSTANT = ("aiq.export.v1.Instant", {"epoch_millis": THEN})

SCHEMAS = {
    Kind.AUDIENCE: our_schema("AudienceMembership"),
    Kind.EVENT: our_schema("ProfileEvent"),
    Kind.CAMPAIGN: our_schema("CampaignTrigger"),
}
SAMPLES: dict[Kind, dict[str, Any]] = {
    Kind.AUDIENCE: {
        "event_id": "e1",
        "identity": {"external_id": "u1", "braze_id": None},
        "audience_id": "12",
        "split_id": "3",
        "split_role": "TEST",
        "change": "ENTERED",
        "qualified_at": THEN,
        "attributes": {},
    },
    Kind.EVENT: {
        "event_id": "e1",
        "identity": {"external_id": "u1", "braze_id": None},
        "event_name": "bought",
        "occurred_at": THEN,
        "properties": {},
    },
    Kind.CAMPAIGN: {
        "event_id": "e1",
        "identity": {"external_id": "u1", "braze_id": None},
        "campaign_id": "c1",
        "requested_at": THEN,
        "trigger_properties": {},
    },
}
BAGS = {Kind.AUDIENCE: "attributes", Kind.EVENT: "properties", Kind.CAMPAIGN: "trigger_properties"}


def through(
    kind: Kind,
    schema: WriterSchema,
    value: Mapping[str, Any],
    mapping: Mapping[str, Any] | None = None,
    at: int = AT,
    **rules: Any,
) -> Outbound:
    """One record of any schema, written, decoded and mapped."""
    document = override(default_document(kind), mapping or {})
    mapper = compile_mapping(document, schema, MappingRules(**rules))
    data = written(schema, value)
    outbound = mapper(compile_decoder(schema, None)(data, 0), len(data), at)
    assert orjson.loads(orjson.dumps(outbound.object)) == outbound.object
    return outbound


def sent(
    kind: Kind, changes: Mapping[str, Any], mapping: Mapping[str, Any] | None = None, at: int = AT, **rules: Any
) -> Outbound:
    """The kind's sample with some fields changed. `identity` may be given as its two fields."""
    return through(kind, SCHEMAS[kind], {**SAMPLES[kind], **changes}, mapping, at, **rules)


def campaign(
    changes: Mapping[str, Any], mapping: Mapping[str, Any] | None = None, at: int = AT, **rules: Any
) -> CampaignSend:
    outbound = sent(Kind.CAMPAIGN, changes, mapping, at, **rules)
    assert isinstance(outbound, CampaignSend)
    return outbound


def refused(
    kind: Kind, changes: Mapping[str, Any], mapping: Mapping[str, Any] | None = None, at: int = AT, **rules: Any
) -> Rejected:
    with pytest.raises(Rejected) as rejected:
        sent(kind, changes, mapping, at, **rules)
    return rejected.value


def skipped(
    kind: Kind, changes: Mapping[str, Any], mapping: Mapping[str, Any] | None = None, at: int = AT, **rules: Any
) -> str:
    with pytest.raises(Skipped) as why:
        sent(kind, changes, mapping, at, **rules)
    return why.value.reason


def identity(external_id: str | None, braze_id: str | None = None) -> dict[str, Any]:
    return {"identity": {"external_id": external_id, "braze_id": braze_id}}


def bag(kind: Kind, entries: Mapping[str, Any], **more: Any) -> Any:
    """The sent bag of a sample that holds just these entries; for audiences without the flag and the id."""
    outbound = sent(kind, {BAGS[kind]: entries}, **more)
    if kind is Kind.AUDIENCE:
        return {name: value for name, value in outbound.object.items() if name not in {"AIQ_12_3", "external_id"}}
    return outbound.object.get(BAGS[kind], {})


def bag_refusal(kind: Kind, entries: Mapping[str, Any], **more: Any) -> Rejected:
    return refused(kind, {BAGS[kind]: entries}, **more)
