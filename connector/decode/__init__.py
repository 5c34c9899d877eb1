"""From the bytes of a Kafka value to the record that Avro holds: framing, schema resolution, compiled decoders.

Pure. The pipeline asks `schema_id_of` for the id, gets a `Decoder` compiled once per writer schema, and hands its dict
to `mapping`. Nothing but `Rejected` ever comes out of a decoder, whatever the bytes; its detail holds none of them.
What a whole topic halts with: `SchemaInvalid` (no Avro) and `SchemaUnmappable` (not ours to resolve, not safe to read).
"""

from __future__ import annotations

from connector.decode.compiler import Decoder, compile_decoder
from connector.decode.wire import FRAME_BYTES, schema_id_of
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema

__all__ = [
    "FRAME_BYTES",
    "Decoder",
    "SchemaInvalid",
    "SchemaUnmappable",
    "WriterSchema",
    "compile_decoder",
    "schema_id_of",
]
