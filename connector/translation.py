"""One topic's records to objects for Braze: framing, decoding and mapping, chunk by chunk.

Pure. The pipeline keeps one `Translator` a topic. This is the hot path: plain loops over lists, one compiled decoder
and one compiled mapper per writer schema, nothing per record but what flows on. Decoding and mapping are two passes
over a chunk, so that whoever calls can take the time of each; one pass for both was no faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.decode import FRAME_BYTES, Decoder, compile_decoder, schema_id_of
from connector.mapping import MappingDocument, MappingRules, compile_mapping
from connector.records import Assignment, KafkaRecord, Kind, Outbound, Rejected, Skipped, SkipReason
from connector.schema import WriterSchema

OUR_NAMESPACE = "aiq.export.v1."
"""Records of this namespace are resolved against our reader schema; any other is read as it was written."""

_UNFRAMED = 0
"""Stands for the schema id where values carry none."""

Mapper = Callable[[dict[str, Any], int, int], Outbound]
"""(decoded record, bytes of its value, now in milliseconds) -> the object for Braze."""


@dataclass(slots=True)
class Decoded:
    """What a chunk's bytes hold, in order.

    Attributes:
        values: Record, bytes of its value, what they hold, and what maps that.
        rejected: For the dead letters, each with its reason.
        skipped: Settled by a rule.
        rest: Not decoded yet, because `missing` is not known.
        missing: The schema id that the first of `rest` needs.
    """

    values: list[tuple[KafkaRecord, int, dict[str, Any], Mapper]] = field(default_factory=list)
    rejected: list[tuple[KafkaRecord, Rejected]] = field(default_factory=list)
    skipped: list[tuple[KafkaRecord, SkipReason]] = field(default_factory=list)
    rest: Sequence[KafkaRecord] = ()
    missing: int | None = None


@dataclass(slots=True)
class Translated:
    """What a chunk became, in order.

    Attributes:
        outbound: For the batchers.
        rejected: For the dead letters, each with its reason.
        skipped: Settled by a rule.
        rest: Not translated yet, because `missing` is not known.
        missing: The schema id that the first of `rest` needs.
    """

    outbound: list[Outbound] = field(default_factory=list)
    rejected: list[tuple[KafkaRecord, Rejected]] = field(default_factory=list)
    skipped: list[tuple[KafkaRecord, SkipReason]] = field(default_factory=list)
    rest: Sequence[KafkaRecord] = ()
    missing: int | None = None


class Translator:
    """One topic's way from bytes to objects.

    Args:
        topic: Its name.
        kind: What it holds.
        document: Its mapping.
        rules: The operator's choices that every mapping shares.
        readers: Our own reader schemas by full name.
        framed: Every value carries Confluent's header; else all are plain Avro of one schema, taught without an id.
    """

    def __init__(
        self,
        topic: str,
        kind: Kind,
        document: MappingDocument,
        rules: MappingRules,
        readers: Mapping[str, WriterSchema],
        *,
        framed: bool,
    ) -> None:
        self.topic = topic
        self.kind = kind
        self.framed = framed
        self._document = document
        self._rules = rules
        self._readers = readers
        self._compiled: dict[int, tuple[Decoder, Mapper]] = {}
        self.fixed: bool = False
        """The schema is given by configuration; a frame is only checked and stripped."""

    @property
    def schemas(self) -> int:
        """Writer schemas that are compiled."""
        return len(self._compiled)

    def learn(self, schema: WriterSchema, schema_id: int = _UNFRAMED) -> None:
        """Compile what is needed for records written with this schema.

        Args:
            schema: The writer's.
            schema_id: Its id in the registry; 0 where the schema is given by configuration.

        Raises:
            SchemaUnmappable: Its records cannot become ours. The topic halts; no record is to blame.
            MappingInvalid: The mapping names what the schema does not have.
        """
        reader = self._readers.get(schema.name) if schema.name.startswith(OUR_NAMESPACE) else None
        decoder = compile_decoder(schema, reader)
        mapper = compile_mapping(self._document, reader if reader is not None else schema, self._rules)
        self._compiled[schema_id] = (decoder, mapper)
        self.fixed = self.fixed or schema_id == _UNFRAMED

    def schema_id(self, record: KafkaRecord) -> int | None:
        """The id in the record's frame; None where values carry none, or this one does not."""
        value = record.value()
        if not self.framed or value is None:
            return None
        try:
            return schema_id_of(value, record.headers())
        except Rejected:
            return None

    def translate(self, stay: Assignment, records: Sequence[KafkaRecord], at_ms: int) -> Translated:
        """Translate records of one stay, until one needs a schema that is not known."""
        return self.map(stay, self.decode(records), at_ms)

    def decode(self, records: Sequence[KafkaRecord]) -> Decoded:
        """The first half: read records, until one needs a schema that is not known."""
        done = Decoded()
        values = done.values
        start = FRAME_BYTES if self.framed else 0
        compiled = self._compiled.get(_UNFRAMED)
        schema_id: int | None = _UNFRAMED if compiled is not None else None
        for index, record in enumerate(records):
            value = record.value()
            if value is None:
                done.skipped.append((record, "tombstone"))
                continue
            try:
                if self.framed:
                    framed_id = schema_id_of(value, record.headers())
                    if not self.fixed and framed_id != schema_id:
                        schema_id = framed_id
                        compiled = self._compiled.get(framed_id)
                if compiled is None:
                    done.rest, done.missing = records[index:], schema_id
                    return done
                decode, mapper = compiled
                values.append((record, len(value), decode(value, start), mapper))
            except Rejected as rejected:
                done.rejected.append((record, rejected))
        return done

    def map(self, stay: Assignment, decoded: Decoded, at_ms: int) -> Translated:
        """The second half: what was decoded to objects for Braze."""
        done = Translated([], decoded.rejected, decoded.skipped, decoded.rest, decoded.missing)
        outbound = done.outbound
        unread = len(done.rejected)
        for record, size, value, mapper in decoded.values:
            try:
                out = mapper(value, size, at_ms)
            except Rejected as rejected:
                done.rejected.append((record, rejected))
                continue
            except Skipped as skipped:
                done.skipped.append((record, skipped.reason))
                continue
            out.record = record
            out.stay = stay
            out.offset = record.offset()
            out.size_bytes = size
            outbound.append(out)
        if 0 < unread < len(done.rejected):
            done.rejected.sort(key=_offset)  # letters are written in the records' order, whichever half refused them
        return done


def _offset(rejected: tuple[KafkaRecord, Rejected]) -> int:
    return rejected[0].offset()
