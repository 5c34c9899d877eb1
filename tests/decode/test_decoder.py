"""Compiled decoders: they read what fastavro and Apache Avro read, and resolve two schemas as Avro says."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from connector.decode import Decoder, SchemaUnmappable, WriterSchema, compile_decoder
from connector.schema import AvroType
from tests.avro_bytes import encoded, plain, schemas_with_values, varint

KINDS = ("AudienceMembership", "ProfileEvent", "CampaignTrigger")


def record(*fields: tuple[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": field, "type": t} for field, t in fields]}


def decoder(source: Any, reader: Any = None) -> Decoder:
    return compile_decoder(WriterSchema(source), None if reader is None else WriterSchema(reader))


class TestReading:
    @settings(deadline=None)
    @given(schemas_with_values())
    def test_as_fastavro_reads(self, drawn: tuple[str, Any]) -> None:
        text, value = drawn
        schema = WriterSchema(text)
        data = encoded(schema.root, value)

        decoded = compile_decoder(schema, None)(data, 0)

        parsed = fastavro.parse_schema(json.loads(text))
        assert plain(decoded) == fastavro.schemaless_reader(io.BytesIO(data), parsed)

    @settings(deadline=None)
    @given(schemas_with_values())
    def test_as_apache_avro_reads(self, drawn: tuple[str, Any]) -> None:
        text, value = drawn
        schema = WriterSchema(text)
        data = encoded(schema.root, value)

        decoded = compile_decoder(schema, None)(data, 0)

        reader = avro.io.DatumReader(avro.schema.parse(text))
        assert plain(decoded) == reader.read(avro.io.BinaryDecoder(io.BytesIO(data)))

    @settings(deadline=None)
    @given(schemas_with_values(), st.binary(min_size=1, max_size=7))
    def test_from_any_start(self, drawn: tuple[str, Any], frame: bytes) -> None:
        text, value = drawn
        schema = WriterSchema(text)
        data = encoded(schema.root, value)
        decode = compile_decoder(schema, None)

        assert decode(frame + data, len(frame)) == decode(data, 0)

    @settings(deadline=None)
    @given(schemas_with_values())
    def test_resolved_against_itself_nothing_changes(self, drawn: tuple[str, Any]) -> None:
        text, value = drawn
        schema = WriterSchema(text)
        data = encoded(schema.root, value)

        assert compile_decoder(schema, WriterSchema(text))(data, 0) == compile_decoder(schema, None)(data, 0)

    @settings(deadline=None)
    @given(schemas_with_values())
    def test_unknown_fields_are_stepped_over(self, drawn: tuple[str, Any]) -> None:
        text, value = drawn
        inner = json.loads(text)
        writer = WriterSchema(record(("before", inner), ("wanted", "long")))
        data = encoded(writer.root, {"before": value, "wanted": 7})

        assert compile_decoder(writer, WriterSchema(record(("wanted", "long"))))(data, 0) == {"wanted": 7}

    @pytest.mark.parametrize(
        "millis", [0, -1, 63, 64, 2**34, -(2**34), 1_790_000_000_123, 2**41 - 1, 2**41, -(2**41), 2**62]
    )
    def test_times_of_any_length(self, millis: int) -> None:
        schema = WriterSchema(record(("at", {"type": "long", "logicalType": "timestamp-millis"})))

        assert compile_decoder(schema, None)(encoded(schema.root, {"at": millis}), 0) == {"at": millis}

    def test_blocks_with_a_size_and_several_blocks(self) -> None:
        decode = decoder(record(("a", {"type": "array", "items": "long"}), ("m", {"type": "map", "values": "long"})))
        array = varint(-2) + varint(2) + varint(1) + varint(2) + varint(1) + varint(3) + b"\0"
        pairs = varint(1) + varint(1) + b"x" + varint(4) + varint(-1) + varint(3) + varint(1) + b"y" + varint(5) + b"\0"

        assert decode(array + pairs, 0) == {"a": [1, 2, 3], "m": {"x": 4, "y": 5}}

    def test_a_record_beside_a_map_says_its_name(self) -> None:
        inner = record(("x", "long"), name="Inner")
        beside = decoder(record(("v", ["null", inner, {"type": "map", "values": "long"}])))
        alone = decoder(record(("v", ["null", inner])))
        data = varint(1) + varint(5)

        assert beside(data, 0) == {"v": ("Inner", {"x": 5})}
        assert alone(data, 0) == {"v": {"x": 5}}

    def test_a_recursive_record(self) -> None:
        decode = decoder(record(("v", "long"), ("next", ["null", "R"])))

        assert decode(varint(1) + b"\2" + varint(2) + b"\0", 0) == {"v": 1, "next": {"v": 2, "next": None}}

    def test_arrays_nested_deeper_than_python_nests_loops(self) -> None:
        source: Any = "long"
        for _ in range(40):
            source = {"type": "array", "items": source}
        decode = decoder(record(("a", source)))

        value: Any = decode(b"\2" * 40 + varint(7) + b"\0" * 40, 0)["a"]
        for _ in range(40):
            (value,) = value
        assert value == 7

    def test_records_that_double_with_each_level_compile(self) -> None:
        inner: Any = "long"
        for level in range(20):
            fields = [
                {"name": "a", "type": inner},
                {"name": "b", "type": ["null", f"L{level - 1}" if level else "long"]},
            ]
            inner = {"type": "record", "name": f"L{level}", "fields": fields}

        assert decoder(inner)(varint(3) + b"\0" * 20, 0)["b"] is None

    def test_a_union_of_more_than_63_branches(self) -> None:
        branches = ["null", *({"type": "fixed", "name": f"F{size}", "size": size} for size in range(1, 90))]

        assert decoder(record(("v", branches)))(varint(80) + bytes(80), 0) == {"v": bytes(80)}

    def test_names_never_become_code(self) -> None:
        evil = "x': __import__('os').abort(), 'y"
        decode = decoder({"type": "record", "name": "R'}\n", "fields": [{"name": evil, "type": "long"}]})

        assert decode(varint(1), 0) == {evil: 1}


def promotes_within_a_union(avro_type: AvroType, seen: frozenset[int] = frozenset()) -> bool:
    """Whether fastavro would read a value as an earlier branch that it can be promoted to: bytes as a string, 5 as 5.0.

    We read the branch that was written, as Java does.
    """
    if id(avro_type) in seen:
        return False
    seen |= {id(avro_type)}
    kinds = [branch.kind for branch in avro_type.items] if avro_type.kind == "union" else []
    for index, kind in enumerate(kinds):
        earlier = set(kinds[:index])
        if kind in {"string", "bytes"} and earlier & {"string", "bytes"}:
            return True
        if kind in {"int", "long", "float"} and earlier & {"long", "float", "double"} - {kind}:
            return True
    inner = [*avro_type.items, *(field.type for field in avro_type.fields.values())]
    return any(promotes_within_a_union(each, seen) for each in inner)


class TestResolution:
    @pytest.mark.parametrize(
        ("written", "read", "value", "seen"),
        [
            ("int", "long", 5, 5),
            ("int", "double", 5, 5.0),
            ("long", "float", 5, 5.0),
            ("float", "double", 0.5, 0.5),
            ("string", "bytes", "tür", "tür".encode()),
            ("bytes", "string", "tür".encode(), "tür"),
            ("string", ["null", "string"], "x", "x"),
            ("int", ["null", "double", "long"], 5, 5.0),
            (["null", "string"], ["string", "null"], (0, None), None),
            (["string"], "string", (0, "x"), "x"),
            (["int", "long"], "long", (1, 7), 7),
            ({"type": "array", "items": "int"}, {"type": "array", "items": "double"}, [1], [1.0]),
            ({"type": "map", "values": "int"}, {"type": "map", "values": ["null", "long"]}, {"a": 1}, {"a": 1}),
        ],
    )
    def test_a_value_is_read_as_the_readers_type(self, written: Any, read: Any, value: Any, seen: Any) -> None:
        writer = WriterSchema(record(("v", written)))
        decoded = compile_decoder(writer, WriterSchema(record(("v", read))))(encoded(writer.root, {"v": value}), 0)

        assert decoded == {"v": seen}
        assert type(decoded["v"]) is type(seen)

    @pytest.mark.parametrize(
        ("written", "read", "path"),
        [
            ("string", "long", "v"),
            ("double", "long", "v"),
            (["null", "string"], "string", "v"),
            (["null", "bytes"], ["null", "long"], "v"),
            ({"type": "map", "values": "string"}, {"type": "map", "values": "long"}, r"v\{\}"),
            ({"type": "array", "items": "string"}, {"type": "array", "items": "long"}, r"v\[\]"),
            (record(("x", "string"), name="I"), record(("x", "long"), name="I"), r"v\.x"),
            (record(("y", "string"), name="I"), record(("x", "long"), name="I"), r"v\.x: missing"),
            (record(("x", "long"), name="I"), record(("x", "long"), name="J"), "v"),
            ({"type": "fixed", "name": "F", "size": 2}, {"type": "fixed", "name": "F", "size": 3}, "v"),
            (
                {"type": "enum", "name": "E", "symbols": ["A", "B"]},
                {"type": "enum", "name": "E", "symbols": ["A"]},
                "v: symbol B",
            ),
        ],
    )
    def test_what_cannot_be_resolved_is_said_before_any_record(self, written: Any, read: Any, path: str) -> None:
        with pytest.raises(SchemaUnmappable, match=f"^{path}"):
            decoder(record(("v", written)), record(("v", read)))

    @settings(deadline=None)
    @given(schemas_with_values(), st.randoms(use_true_random=False))
    def test_as_fastavro_resolves(self, drawn: tuple[str, Any], random: Random) -> None:
        writer = WriterSchema(drawn[0])
        assume(not promotes_within_a_union(writer.root))
        source = reordered(json.loads(drawn[0]), random)
        data = encoded(writer.root, drawn[1])

        decoded = compile_decoder(writer, WriterSchema(source))(data, 0)

        parsed = [fastavro.parse_schema(schema) for schema in (json.loads(drawn[0]), source)]
        assert plain(decoded) == fastavro.schemaless_reader(io.BytesIO(data), *parsed)

    def test_the_outermost_names_must_agree(self) -> None:
        with pytest.raises(SchemaUnmappable, match=r"^record: written as R"):
            decoder(record(("v", "long")), record(("v", "long"), name="Q"))

    def test_fields_are_found_by_alias_and_in_any_order(self) -> None:
        reader = {
            "type": "record",
            "name": "R",
            "fields": [{"name": "b", "type": "long"}, {"name": "new", "type": "string", "aliases": ["a"]}],
        }

        assert decoder(record(("a", "string"), ("b", "long")), reader)(varint(1) + b"x" + varint(5), 0) == {
            "b": 5,
            "new": "x",
        }

    def test_records_are_found_by_alias(self) -> None:
        reader = {**record(("v", "long"), name="Q"), "aliases": ["R"]}

        assert decoder(record(("v", "long")), reader)(varint(5), 0) == {"v": 5}

    def test_a_default_is_made_anew_for_each_record(self) -> None:
        inner = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "long", "default": 3}]}
        fields = [
            ("m", {"type": "map", "values": "long"}, {"a": 1}),
            ("l", {"type": "array", "items": "double"}, [1]),
            ("i", inner, {}),
            ("b", "bytes", "\u00ff"),
            ("n", ["null", "string"], None),
            ("s", ["string", "null"], "x"),
            ("d", "double", 2),
            ("e", {"type": "enum", "name": "E", "symbols": ["A"]}, "A"),
        ]
        defaults = [{"name": name, "type": t, "default": default} for name, t, default in fields]
        reader = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "long"}, *defaults]}
        decode = decoder(record(("v", "long")), reader)
        expected = {
            "v": 5,
            "m": {"a": 1},
            "l": [1.0],
            "i": {"x": 3},
            "b": b"\xff",
            "n": None,
            "s": "x",
            "d": 2.0,
            "e": "A",
        }

        spoilt = decode(varint(5), 0)
        assert spoilt == expected
        spoilt["m"]["a"], spoilt["i"]["x"] = 9, 9
        spoilt["l"].append(9)
        assert decode(varint(5), 0) == expected

    @pytest.mark.parametrize("source", [{"type": "string"}, ["null", "string"], {"type": "array", "items": "long"}])
    def test_the_outermost_type_is_a_record(self, source: Any) -> None:
        with pytest.raises(SchemaUnmappable, match="outermost"):
            decoder(source)


def reordered(source: Any, random: Random) -> Any:
    """A reader's view: fields moved, dropped and added, integers wider, enums with a default for what they lack."""
    if isinstance(source, list):
        return [reordered(branch, random) if isinstance(branch, dict) else branch for branch in source]
    if source in ("int", "long") and random.random() < 0.5:
        return random.choice(["long", "double"] if source == "int" else ["double"])
    if not isinstance(source, dict):
        return source
    if source["type"] == "record":
        kept = [field for field in source["fields"] if random.random() < 0.8]
        fields = [{**field, "type": reordered(field["type"], random)} for field in kept]
        fields.append({"name": "added", "type": ["null", "string"], "default": None})
        random.shuffle(fields)
        return {**source, "fields": fields}
    if source["type"] == "enum":
        return {**source, "symbols": [*source["symbols"][:1], "OTHER"], "default": "OTHER"}
    inner = {"array": "items", "map": "values"}.get(source["type"])
    return {**source, inner: reordered(source[inner], random)} if inner else source


def test_a_union_of_more_branches_than_python_compiles_is_no_schema_to_read_with() -> None:
    branches = [{"type": "record", "name": f"R{number}", "fields": []} for number in range(3_000)]
    schema = WriterSchema({"type": "record", "name": "Top", "fields": [{"name": "one", "type": branches}]})

    with pytest.raises(SchemaUnmappable, match="nested too deeply, or a union has too many branches"):
        compile_decoder(schema, None)
