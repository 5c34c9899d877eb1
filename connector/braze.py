"""What Braze accepts: endpoints, identifiers and documented ceilings.

Pure. Numbers carry the Braze page they come from; whoever changes one reads that page first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Endpoint(StrEnum):
    """The two endpoints that the connector writes to. Paths carry no trailing slash: Braze answers 403 to one."""

    TRACK = "/users/track"
    TRIGGER = "/campaigns/trigger/send"


def api_key_in(content: bytes) -> str | None:
    """The API key that a file or a variable holds: one word of printable ASCII. None: it holds none.

    Two lines, another encoding or a stray NUL would break the header that the key goes into.
    """
    word = content.strip()
    if word and all(0x20 < byte < 0x7F for byte in word):
        return word.decode("ascii")
    return None


EXTERNAL_ID_BYTES_MAX: Final = 987
"""UTF-8 bytes, not characters (page "Track users": `EXTERNAL_USER_ID_TOO_LARGE`)."""

NAME_CHARS_MAX: Final = 255
"""Names of attributes, events and properties (page "Data types")."""

STRING_CHARS_MAX: Final = 255
"""A string value (page "Data types")."""

ARRAY_ITEMS_MAX: Final = 500
"""Items of an array attribute; Braze would drop the oldest without a word (page "User attributes object")."""

PROPERTIES_BYTES_MAX: Final = 102_400
"""All properties of one event, or one nested attribute, as JSON (page "Data types")."""

TRIGGER_PROPERTIES_BYTES_MAX: Final = 51_200
"""Trigger properties of one recipient, as JSON (page "Trigger properties object")."""

BODY_BYTES_MAX: Final = 4_000_000
"""One request's body (page "Rate limits", payload sizes: 4 MB, read as the smaller of its two meanings)."""

TRACK_OBJECTS_MAX: Final = 75
"""Objects of one `/users/track` request: combined today, of each array on legacy contracts (page "Rate limits")."""

RECIPIENTS_MAX: Final = 50
"""Recipients of one `/campaigns/trigger/send` request (page "Send campaign messages via API-triggered delivery")."""

RESERVED_PROPERTIES: Final = frozenset({"time", "event_name"})
"""Event property names that Braze answers with an error (page "Event object")."""

CONTROL_ATTRIBUTES: Final = frozenset(
    {"external_id", "braze_id", "user_alias", "_update_existing_only", "_merge_objects", "push_token_import"},
)
"""Keys of an attributes object that steer Braze rather than describe the user (page "User attributes object")."""

ATTRIBUTE_OPERATIONS: Final = frozenset({"$add", "$remove", "$update", "add", "remove", "inc"})
"""Keys that make a nested value an operation on the stored one: order matters and merging does not commute."""

STEPS: Final = frozenset({"inc", "$add"})
"""Of these operations those that change more when they are applied twice: an array's `add` takes a value once."""

ADDED_TO: Final = frozenset({"subscription_groups", "push_tokens"})
"""Attributes whose list says what changes, entry by entry, and leaves alone what it does not name: one list in place of
another would be less than both (page "User attributes object")."""

NESTED_WORDS: Final = frozenset(
    {
        "$add",
        "$remove",
        "$update",
        "$time",
        "$identifier_key",
        "$identifier_value",
        "$identifier_array_value",
        "$new_object",
    },
)
"""Keys with a `$` that Braze reads inside a nested value; any other is renamed (pages "Nested custom
attributes", "Array of objects")."""
