"""One topic's records, chunk by chunk: what becomes of each, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from connector.mapping import MappingRules, default_document
from connector.records import Assignment, Kind
from connector.simulation.kafka import SimulatedRecord
from connector.translation import Translator
from tests.avro_bytes import our_schema, written
from tests.hostile_headers import Unreadable
from tests.mapping_samples import AT, SAMPLES, SCHEMAS

STAY = Assignment("events", 0, 1)


def translator(*, framed: bool = False) -> Translator:
    schema = SCHEMAS[Kind.EVENT]
    return Translator(
        "events", Kind.EVENT, default_document(Kind.EVENT), MappingRules(), {schema.name: schema}, framed=framed
    )


def value(number: int, **changes: Any) -> bytes:
    return written(SCHEMAS[Kind.EVENT], {**SAMPLES[Kind.EVENT], "event_name": f"bought {number}", **changes})


def frame(schema_id: int, avro: bytes) -> bytes:
    return b"\0" + schema_id.to_bytes(4, "big") + avro


def records(*values: bytes | None) -> list[Any]:
    return [SimulatedRecord(STAY.name, 10 + index, b"", each, AT) for index, each in enumerate(values)]


def test_letters_are_written_in_the_order_of_the_records_whichever_half_refuses_them() -> None:
    translates = translator()
    translates.learn(our_schema("ProfileEvent"))
    nobody = {"identity": {"external_id": None, "braze_id": None}}
    chunk = records(value(0, **nobody), b"\xff", value(2), value(3, **nobody), None, value(5) + b"x", value(6))

    done = translates.translate(STAY, chunk, AT)

    assert [(record.offset(), rejected.reason) for record, rejected in done.rejected] == [
        (10, "no_identity"),
        (11, "undecodable"),
        (13, "no_identity"),
        (15, "trailing_bytes"),
    ]
    assert [(out.offset, out.object["name"]) for out in done.outbound] == [(12, "bought 2"), (16, "bought 6")]
    assert [(record.offset(), reason) for record, reason in done.skipped] == [(14, "tombstone")]


def test_each_record_is_mapped_as_its_own_schema_wants_it_and_an_unknown_one_ends_the_chunk() -> None:
    translates = translator(framed=True)
    for schema_id in (7, 8):
        translates.learn(our_schema("ProfileEvent"), schema_id)
    chunk = records(*(frame(schema_id, value(index)) for index, schema_id in enumerate((7, 8, 8, 7, 9, 7))))

    done = translates.translate(STAY, chunk, AT)

    assert [(out.offset, out.object["name"], out.stay) for out in done.outbound] == [
        (10 + index, f"bought {index}", STAY) for index in range(4)
    ]
    assert ([record.offset() for record in done.rest], done.missing) == ([14, 15], 9)
    assert [out.size_bytes for out in done.outbound] == [len(record.value()) for record in chunk[:4]]


def test_a_framed_record_whose_headers_cannot_be_read_has_none() -> None:
    """With the express lane and without: nobody may ask twice."""

    class Odd(Unreadable, SimulatedRecord):
        pass

    translates = translator(framed=True)
    translates.learn(our_schema("ProfileEvent"), 7)
    for _ in range(2):  # the second time the lane knows the schema
        chunk: list[Any] = [
            Odd(STAY.name, number, b"", frame(schema_id, value(number)), AT)
            for number, schema_id in enumerate((7, 7, 7))
        ]
        chunk.append(Odd(STAY.name, 3, b"", b"\1", AT))
        assert translates.schema_id(chunk[0]) == 7

        done = translates.translate(STAY, chunk, AT)

        assert [out.offset for out in done.outbound] == [0, 1, 2]
        assert [rejected.reason for _, rejected in done.rejected] == ["bad_framing"]


def test_another_error_of_the_client_s_is_not_taken_for_headers() -> None:
    class Broken(SimulatedRecord):
        def headers(self) -> Any:
            raise SystemError("something else")

    translates = translator(framed=True)
    translates.learn(our_schema("ProfileEvent"), 7)

    with pytest.raises(SystemError):
        translates.translate(STAY, [Broken(STAY.name, 0, b"", frame(7, value(0)), AT)], AT)
