"""What the operator decided about every mapping: who a user is, who may be written, how decimals travel.

Pure. Filled from the settings, compiled into every mapping. The settings hold the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PLACEHOLDER_IDS: Final = frozenset(
    {"null", "none", "nil", "undefined", "nan", "n/a", "na", "0", "-1", "test", "unknown", "anonymous", "guest"},
)
"""Ids that stand for "nobody". Shared by many records they grow one profile until Braze blocks it (a "dummy user")."""


@dataclass(frozen=True, slots=True)
class MappingRules:
    """Rules beside the documents.

    Attributes:
        prefer: The identifier that is sent when a record has both. A document's `user.prefer` wins over it.
        placeholder_ids: Ids that are refused as `placeholder_identity`, in any casing.
        write_control_splits: False: records that a `control_split` rule names are skipped. True: those rules are off.
        braze_id_recipients: Whether a campaign recipient known by `braze_id` alone is sent or dead-lettered: only the
            newest of Braze's pages takes one.
        unknown_users: `create`: Braze makes a profile for an unknown `external_id`. `ignore`: it updates existing
            profiles only. Campaigns never create one, whatever this says.
        decimal_as: A decimal as a JSON number (a double, so about 15 digits) or as a string (all of them).
        express: Plain records may go by the express lane, where it was compiled (`connector.express`).
    """

    prefer: Literal["external_id", "braze_id"] = "external_id"
    placeholder_ids: frozenset[str] = PLACEHOLDER_IDS
    write_control_splits: bool = False
    braze_id_recipients: Literal["send", "dead_letter"] = "send"
    unknown_users: Literal["create", "ignore"] = "create"
    decimal_as: Literal["number", "string"] = "number"
    express: bool = True
