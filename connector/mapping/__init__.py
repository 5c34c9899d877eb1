"""From a decoded record to what Braze takes: a document, compiled once per writer schema into one plain function.

Pure. The settings hold the documents (`default_document`, `override`), the pipeline compiles them (`compile_mapping`)
and calls the `Mapper`. Our own three kinds go the same way: their documents are `audience.yaml`, `event.yaml` and
`campaign.yaml` beside this file. `topics.<name>.mapping` changes words of one: sections are merged, all else is
replaced whole, and null takes a word away.

A **source** says where a value comes from. Paths are dotted; they lead through records, nullable records and maps.

    identity.external_id                          a field
    {field: state, map: {in: true, out: false}}   a field whose values are translated; any other value is refused
    {field: happened_at, unit: s}                 what an integer counts (s, ms, us, ns), where the schema does not say
    {constant: web}                               always the same
    {template: "AIQ_{audience_id}_{split_id}"}    text around fields, none of which may be empty

The **words** of a document; those with a * are needed:

    user*                     external_id and/or braze_id (sources; text or integers, trimmed; empty is absent),
                              prefer: external_id | braze_id for records that have both. Exactly one is sent.
    skip                      list of {field: path, in: [values], reason: skip_rule | control_split}
    time                      a source of time; * for events. Outside 2010 to a day ahead the record is refused
                              (only checked for audiences, `requested_at_ms` for campaigns)
    audience: attribute*      name* (source of text), value* (a boolean, or a source with a map: a value that the map
                              does not name is `unknown_change`)
    audience: attributes      a bag, and nulls: delete (default: null removes it in Braze) | omit
    event:    name*           source of text
    event:    properties      a bag
    campaign: campaign_id*    source of text
    campaign: event_id        source of text; what a repeat is known by
    campaign: expires_at      a source of time; at or past it the record is skipped, never sent
    campaign: trigger_properties  a bag

A **bag** holds free values under Braze's names, from any of:

    from: path                every entry of a map, or every field of a record
    rest: true                every top-level field that no other word of the document names
    omit: [names]             not these, of the two above
    fields: {name: source}    and these; they win over the two above

What is refused where, and how names are changed, is told by `places`, `names`, `values` and `standard`. An attribute
with the audience's own name refuses the record (`reserved_attribute`) unless it has the very same value: neither the
membership nor the attribute is dropped in silence. A field that is not there (a map without the key, null on the way)
is left out; a null in properties is, too.
"""

from __future__ import annotations

from connector.mapping.compiler import Mapper, compile_mapping
from connector.mapping.document import MappingDocument, MappingInvalid, default_document, override
from connector.mapping.rules import PLACEHOLDER_IDS, MappingRules

__all__ = [
    "PLACEHOLDER_IDS",
    "Mapper",
    "MappingDocument",
    "MappingInvalid",
    "MappingRules",
    "compile_mapping",
    "default_document",
    "override",
]
