"""One chunk of records by the express lane and by the ordinary way: whatever the first one gives must be the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from connector.cost import EVENT_POINTS, attribute_points
from connector.mapping import MappingDocument, MappingRules
from connector.records import Assignment, Kind, Outbound
from connector.schema import WriterSchema
from connector.simulation.kafka import SimulatedRecord
from connector.translation import Translated, Translator
from tests.mapping_samples import AT

STAY = Assignment("topic", 0, 1)


class Ways:
    """Two translators of one topic, one without an express lane."""

    def __init__(
        self, kind: Kind, document: MappingDocument, rules: MappingRules, readers: Mapping[str, WriterSchema]
    ) -> None:
        self.kind = kind
        self.express, self.ordinary = (
            Translator("topic", kind, document, replace(rules, express=express), readers, framed=False)
            for express in (True, False)
        )

    def learn(self, schema: WriterSchema) -> None:
        self.ordinary.learn(schema)
        self.express.learn(schema)

    def compare(self, values: Sequence[bytes | None], at_ms: int = AT) -> int:
        """Translate them both ways; returns how many went by the express lane."""
        records: list[Any] = [
            SimulatedRecord(STAY.name, 10 + index, b"", value, at_ms) for index, value in enumerate(values)
        ]
        ours, theirs = (way.translate(STAY, records, at_ms) for way in (self.express, self.ordinary))
        assert _fates(ours) == _fates(theirs)
        assert len(ours.outbound) == len(theirs.outbound)
        for quick, slow in zip(ours.outbound, theirs.outbound, strict=True):
            assert (quick.user, quick.offset, quick.stay) == (slow.user, slow.offset, slow.stay)
            assert (quick.size_bytes, quick.group, quick.record) == (slow.size_bytes, slow.group, slow.record)
            if quick.encoded is not None:
                self._same(quick, slow)
        return sum(out.encoded is not None for out in ours.outbound)

    def _same(self, quick: Outbound, slow: Outbound) -> None:
        assert quick.encoded is not None
        read = orjson.loads(quick.encoded)
        assert _typed(read) == _typed(orjson.loads(orjson.dumps(slow.object)))
        assert quick.object == read
        assert quick.points == (EVENT_POINTS if self.kind is Kind.EVENT else attribute_points(slow.object))
        assert quick.encoded.count(b'":') >= len(read)


def _fates(done: Translated) -> list[Any]:
    rejected = [(record.offset(), why.reason, why.detail) for record, why in done.rejected]
    skipped = [(record.offset(), reason) for record, reason in done.skipped]
    return [rejected, skipped, [record.offset() for record in done.rest], done.missing]


def _typed(value: Any) -> Any:
    """With the types beside the values: 1, 1.0 and true are equal to Python, and so are 0.0 and -0.0."""
    if isinstance(value, dict):
        return [(name, _typed(inner)) for name, inner in sorted(value.items())]
    if isinstance(value, list):
        return [_typed(inner) for inner in value]
    return type(value), repr(value)
