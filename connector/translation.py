"""One topic's records to objects for Braze: framing, decoding and mapping, chunk by chunk.

Pure. The pipeline keeps one `Translator` a topic. This is the hot path: plain loops over lists, one compiled decoder
and one compiled mapper per writer schema, nothing per record but what flows on. Decoding and mapping are two passes
over a chunk, so that whoever calls can take the time of each; one pass for both was no faster. Where there is an
express lane, the first pass sends all through it, and both see only what it declines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.decode import FRAME_BYTES, Decoder, compile_decoder, schema_id_of
from connector.express import compile_lane
from connector.mapping import MappingDocument, MappingRules, compile_mapping
from connector.records import Assignment, KafkaRecord, Kind, Outbound, Rejected, Skipped, SkipReason, headers_of
from connector.schema import WriterSchema

if TYPE_CHECKING:
    from connector.express.walk import Lane

OUR_NAMESPACE = "aiq.export.v1."
"""Records of this namespace are resolved against our reader schema; any other is read as it was written."""

_UNFRAMED = 0
"""Stands for the schema id where values carry none."""

_ANY_FRAME = -1
"""Stands for the schema id where frames are only stripped."""

Mapper = Callable[[dict[str, Any], int, int], Outbound]
"""(decoded record, bytes of its value, now in milliseconds) -> the object for Braze."""


@dataclass(slots=True)
class Decoded:
    """What a chunk's bytes hold, in order.

    Attributes:
        express: What came by the express lane, with None in place of every other record; None: there is no lane.
        by_express: How many those are.
        values: Index, record, bytes of its value, what they hold, and what maps that.
        rejected: For the dead letters, each with its reason.
        skipped: Settled by a rule.
        rest: Not decoded yet, because `missing` is not known.
        missing: The schema id that the first of `rest` needs.
    """

    express: list[Outbound | None] | None = None
    by_express: int = 0
    values: list[tuple[int, KafkaRecord, int, dict[str, Any], Mapper]] = field(default_factory=list)
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
        self._lanes: dict[int, Lane] = {}
        self._latest = _UNFRAMED  # schema id of the newest record that was read: the next ones will mostly have it, too
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
        lane = compile_lane(self._document, schema, reader, self._rules)
        if lane is not None:
            self._lanes[schema_id] = lane
        self.fixed = self.fixed or schema_id == _UNFRAMED

    def schema_id(self, record: KafkaRecord) -> int | None:
        """The id in the record's frame; None where values carry none, or this one does not."""
        value = record.value()
        if not self.framed or value is None:
            return None
        try:
            return schema_id_of(value, headers_of(record))
        except Rejected:
            return None

    def translate(self, stay: Assignment, records: Sequence[KafkaRecord], at_ms: int) -> Translated:
        """Translate records of one stay, until one needs a schema that is not known."""
        return self.map(stay, self.decode(stay, records, at_ms), at_ms)

    def decode(self, stay: Assignment, records: Sequence[KafkaRecord], at_ms: int) -> Decoded:
        """The first half: read records, until one needs a schema that is not known."""
        done = Decoded()
        start = FRAME_BYTES if self.framed else 0
        lane = self._lanes.get(_UNFRAMED if self.fixed else self._latest)
        if lane is not None:
            frame = self._latest if self.framed and not self.fixed else _ANY_FRAME
            done.express, declined = lane.run(records, start, frame, at_ms, stay)
            done.by_express = len(records) - declined
            if not declined:
                return done
        self._read(records, start, done)
        return done

    def _read(self, records: Sequence[KafkaRecord], start: int, done: Decoded) -> None:
        """The ordinary way of all that did not go by the express lane."""
        values, express = done.values, done.express
        compiled = self._compiled.get(_UNFRAMED)
        schema_id: int | None = _UNFRAMED if compiled is not None else None
        for index, record in enumerate(records):
            if express is not None and express[index] is not None:
                continue
            value = record.value()
            if value is None:
                done.skipped.append((record, "tombstone"))
                continue
            try:
                if self.framed:
                    framed_id = schema_id_of(value, headers_of(record))
                    if not self.fixed and framed_id != schema_id:
                        schema_id = framed_id
                        compiled = self._compiled.get(framed_id)
                if compiled is None:
                    done.rest, done.missing = records[index:], schema_id
                    if express is not None:
                        del express[index:]  # they come again, once it is known
                        done.by_express = index - express.count(None)
                    break
                decode, mapper = compiled
                values.append((index, record, len(value), decode(value, start), mapper))
            except Rejected as rejected:
                done.rejected.append((record, rejected))
        if schema_id is not None:
            self._latest = schema_id

    def map(self, stay: Assignment, decoded: Decoded, at_ms: int) -> Translated:
        """The second half: what was decoded to objects for Braze."""
        express = decoded.express
        done = Translated([], decoded.rejected, decoded.skipped, decoded.rest, decoded.missing)
        if express is not None and not decoded.values:
            done.outbound = [out for out in express if out is not None]
            return done
        outbound = done.outbound
        unread = len(done.rejected)
        for index, record, size, value, mapper in decoded.values:
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
            if express is None:
                outbound.append(out)
            else:
                express[index] = out
        if express is not None:
            done.outbound = [out for out in express if out is not None]
        if 0 < unread < len(done.rejected):
            done.rejected.sort(key=_offset)  # letters are written in the records' order, whichever half refused them
        return done


def _offset(rejected: tuple[KafkaRecord, Rejected]) -> int:
    return rejected[0].offset()
