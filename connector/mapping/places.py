"""The three places of a Braze object that hold free values, and what Braze's pages allow in each.

Pure data. Read by the mapping's compiler and the value converters. A ceiling stands here only where a page states one:
trigger properties have no documented limit on strings or arrays, only on the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from connector.braze import (
    ARRAY_ITEMS_MAX,
    BODY_BYTES_MAX,
    PROPERTIES_BYTES_MAX,
    STRING_CHARS_MAX,
    TRIGGER_PROPERTIES_BYTES_MAX,
)
from connector.mapping.names import (
    NameRule,
    attribute_name,
    nested_attribute_key,
    nested_property_key,
    property_name,
    trigger_property_name,
)


@dataclass(frozen=True, slots=True)
class Place:
    """What one place takes.

    Attributes:
        noun: How details call an entry.
        name: Rule for an entry's name.
        nested_key: Rule for keys of objects inside an entry.
        string_chars_max: None: no documented limit.
        array_items_max: None: no documented limit.
        has_deletion: A null removes what Braze holds. Elsewhere a null says nothing and is left out.
        wraps_nested_times: Inside objects a time is `{"$time": ...}`, or Braze would store text.
        entry_bytes_max: JSON bytes of one nested entry; None: only the whole is limited.
        bytes_max: JSON bytes of all entries together.
    """

    noun: str
    name: NameRule
    nested_key: NameRule
    string_chars_max: int | None
    array_items_max: int | None
    has_deletion: bool
    wraps_nested_times: bool
    entry_bytes_max: int | None
    bytes_max: int


ATTRIBUTES: Final = Place(
    noun="attribute",
    name=attribute_name,
    nested_key=nested_attribute_key,
    string_chars_max=STRING_CHARS_MAX,
    array_items_max=ARRAY_ITEMS_MAX,
    has_deletion=True,
    wraps_nested_times=True,
    entry_bytes_max=PROPERTIES_BYTES_MAX,
    # Alone in a request: 6 bytes a byte of an id of 987, an audience's name and flag, brackets; 10,000 are ample.
    bytes_max=BODY_BYTES_MAX - 10_000,
)

PROPERTIES: Final = Place(
    noun="property",
    name=property_name,
    nested_key=nested_property_key,
    string_chars_max=STRING_CHARS_MAX,
    array_items_max=None,
    has_deletion=False,
    wraps_nested_times=False,
    entry_bytes_max=None,
    bytes_max=PROPERTIES_BYTES_MAX,
)

TRIGGER_PROPERTIES: Final = Place(
    noun="trigger property",
    name=trigger_property_name,
    nested_key=trigger_property_name,
    string_chars_max=None,
    array_items_max=None,
    has_deletion=False,
    wraps_nested_times=False,
    entry_bytes_max=None,
    bytes_max=TRIGGER_PROPERTIES_BYTES_MAX,
)
