"""The contract in `schemas/`: sound for every Avro library, shared types alike, versions that read each other."""

from __future__ import annotations

import io
import json
import re
from itertools import permutations
from pathlib import Path
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest

from connector.decode import SchemaUnmappable, WriterSchema, compile_decoder
from tests.avro_bytes import SCHEMAS, branched, encoded, plain, schema_text

KINDS = ("AudienceMembership", "ProfileEvent", "CampaignTrigger")
FILES = sorted(SCHEMAS.glob("**/*.avsc"))
SHARED = ("BrazeIdentity", "Instant")

INSTANT = ("aiq.export.v1.Instant", {"epoch_millis": 1_790_000_000_123})
ANYTHING = {
    "nothing": None,
    "yes": True,
    "count": 2**62,
    "share": 0.5,
    "text": "tür",
    "at": INSTANT,
    "list": [None, True, -1, 1.5, "x", INSTANT],
    "map": {"a": None, "b": False, "c": 3, "d": 2.5, "e": "y", "f": INSTANT},
}
RECORDS: dict[str, dict[str, Any]] = {
    "AudienceMembership": {
        "event_id": "e1",
        "identity": {"external_id": "u1", "braze_id": None},
        "audience_id": "12",
        "split_id": "3",
        "split_role": "TEST",
        "change": "ENTERED",
        "qualified_at": 1_790_000_000_123,
        "exported_at": 1_790_000_000_999,
        "sync_id": "s1",
        "audience_name": "Loyal",
        "attributes": ANYTHING,
    },
    "ProfileEvent": {
        "event_id": "e1",
        "identity": {"external_id": None, "braze_id": "b1"},
        "event_name": "bought",
        "occurred_at": 1_790_000_000_123,
        "properties": ANYTHING,
    },
    "CampaignTrigger": {
        "event_id": "e1",
        "identity": {"external_id": "u1", "braze_id": "b1"},
        "campaign_id": "c1",
        "requested_at": 1_790_000_000_123,
        "expires_at": 1_790_000_009_123,
        "journey_id": "j1",
        "trigger_properties": ANYTHING,
    },
}


def versions(kind: str) -> list[Path]:
    """Every committed version of a kind, `<Kind>.avsc`, `<Kind>.v1.avsc`, `history/<Kind>-1.avsc`."""
    return [path for path in FILES if re.fullmatch(rf"{kind}(\W.*)?\.avsc", path.name)]


def test_there_is_a_schema_for_each_kind() -> None:
    assert {path.name for path in FILES} >= {f"{kind}.avsc" for kind in KINDS}


def test_every_file_is_a_version_of_a_known_kind() -> None:
    assert sorted(path for kind in KINDS for path in versions(kind)) == FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_avro_library_takes_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")

    assert fastavro.parse_schema(json.loads(text))
    assert avro.schema.parse(text).fullname.startswith("aiq.export.v1.")
    assert WriterSchema(text).name == f"aiq.export.v1.{path.name.split('.')[0]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_field_says_what_it_means(path: Path) -> None:
    def undocumented(source: Any) -> list[str]:
        if isinstance(source, list):
            return [name for part in source for name in undocumented(part)]
        if not isinstance(source, dict):
            return []
        here = [source["name"]] if "name" in source and not source.get("doc") else []
        return here + [name for part in source.values() for name in undocumented(part)]

    assert undocumented(json.loads(path.read_text(encoding="utf-8"))) == []


def named_types(source: Any) -> dict[str, Any]:
    """Every definition of a named type inside a schema."""
    found: dict[str, Any] = {}
    if isinstance(source, dict):
        if str(source.get("type")) in {"record", "enum", "fixed"}:
            found[source["name"]] = source
        for part in source.values():
            found |= named_types(part)
    elif isinstance(source, list):
        for part in source:
            found |= named_types(part)
    return found


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_type_is_the_same_in_every_file(name: str) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FILES}
    # To the byte: from the type's opening brace to the one that closes it.
    definitions = set()
    for text in texts.values():
        start = text.index(f'{{"type": "record", "name": "{name}"')
        _, length = json.JSONDecoder().raw_decode(text[start:])
        definitions.add(text[start : start + length])

    assert len(definitions) == 1


def test_a_type_used_by_several_kinds_never_differs() -> None:
    definitions: dict[str, Any] = {}
    for path in FILES:
        for name, source in named_types(json.loads(path.read_text(encoding="utf-8"))).items():
            if name not in KINDS:
                assert definitions.setdefault(name, source) == source


@pytest.mark.parametrize("kind", KINDS)
def test_our_decoder_reads_what_both_libraries_read(kind: str) -> None:
    schema = WriterSchema(schema_text(kind))
    data = encoded(schema.root, branched(schema.root, RECORDS[kind]))
    fast = fastavro.parse_schema(json.loads(schema_text(kind)))
    apache = avro.schema.parse(schema_text(kind))

    decoded = compile_decoder(schema, schema)(data, 0)

    assert decoded == compile_decoder(schema, None)(data, 0)
    stripped = json.loads(re.sub(r', "logicalType": "timestamp-millis"', "", schema_text(kind)))
    assert plain(decoded) == fastavro.schemaless_reader(io.BytesIO(data), fastavro.parse_schema(stripped))
    assert fastavro.schemaless_reader(io.BytesIO(data), fast)
    assert avro.io.DatumReader(apache).read(avro.io.BinaryDecoder(io.BytesIO(data)))


def pairs() -> list[tuple[Path, Path]]:
    return [(writer, reader) for kind in KINDS for writer in versions(kind) for reader in versions(kind)]


@pytest.mark.parametrize(("writer", "reader"), pairs(), ids=lambda path: path.name)
def test_every_version_reads_every_other(writer: Path, reader: Path) -> None:
    schemas = [WriterSchema(path.read_text(encoding="utf-8")) for path in (writer, reader)]
    value = RECORDS[writer.name.split(".")[0]]

    decoded = compile_decoder(*schemas)(encoded(schemas[0].root, branched(schemas[0].root, value)), 0)

    assert decoded.keys() == schemas[1].root.fields.keys()


def evolved(kind: str) -> dict[str, Any]:
    """A next version within the rules: a new optional field in each record, a new symbol in each enum."""
    source = json.loads(schema_text(kind))
    for named in named_types(source).values():
        if named["type"] == "record" and named["name"] != "Instant":
            named["fields"].append({"name": "added", "type": ["null", "string"], "default": None})
        elif named["type"] == "enum":
            named["symbols"].append("ADDED")
    return source


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_version_and_this_one_read_each_other(kind: str) -> None:
    now, then = WriterSchema(schema_text(kind)), WriterSchema(evolved(kind))
    for writer, reader in permutations((now, then)):
        value = RECORDS[kind] if writer is now else {**RECORDS[kind], "added": "news"}
        decoded = compile_decoder(writer, reader)(encoded(writer.root, branched(writer.root, value)), 0)

        assert decoded.get("added") is None
        assert decoded["event_id"] == "e1"
        assert ("added" in decoded["identity"]) == (reader is then)


def test_a_new_symbol_reads_as_unknown() -> None:
    now, then = WriterSchema(schema_text("AudienceMembership")), WriterSchema(evolved("AudienceMembership"))
    value = {**RECORDS["AudienceMembership"], "change": "ADDED", "split_role": "ADDED"}

    decoded = compile_decoder(then, now)(encoded(then.root, branched(then.root, value)), 0)

    assert (decoded["change"], decoded["split_role"]) == ("UNKNOWN", "UNKNOWN")


def test_a_new_kind_of_value_is_refused_before_any_record() -> None:
    source = json.loads(schema_text("ProfileEvent"))
    source["fields"][-1]["type"]["values"].append({"type": "fixed", "name": "Blob", "size": 4})

    with pytest.raises(SchemaUnmappable, match=r"properties\{\}.*Blob"):
        compile_decoder(WriterSchema(source), WriterSchema(schema_text("ProfileEvent")))
