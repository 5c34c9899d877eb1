"""What Braze lets itself be asked: `GET /campaigns/list` and `POST /users/export/ids`.

Pure. Both read what has been applied, never what was merely accepted.
"""

from __future__ import annotations

from typing import Any, Final

from connector.double.exchange import Call, DoubleReply, JsonObject, json_reply, message_reply
from connector.double.profiles import Profile, Profiles
from connector.double.settings import DoubleSettings
from connector.double.validation import instant

PAGE_LENGTH: Final = 100
IDS_MAX: Final = 50
LAST_EDITED: Final = "2026-01-01T00:00:00+00:00"
"""Campaigns of the double are never edited."""


def campaigns_list(call: Call, settings: DoubleSettings) -> DoubleReply:
    """A page of the campaigns in the settings' table; empty when there is no table and beyond the last page."""
    query = call.query
    edited_after = instant(query.get("last_edit.time[gt]", "1970-01-01"))
    page = query.get("page", "0")
    if edited_after is None or not page.isdecimal():
        return message_reply(400, "'page' or 'last_edit.time[gt]' is not valid")
    shown = {"active", "paused"} | ({"archived"} if query.get("include_archived") == "true" else set())
    last_edited = instant(LAST_EDITED)
    campaigns = [
        {"id": one, "last_edited": LAST_EDITED, "name": f"Campaign {one}", "is_api_campaign": False, "tags": []}
        for one, state in (settings.campaigns or {}).items()
        if state in shown and last_edited is not None and last_edited > edited_after
    ]
    if query.get("sort_direction") == "desc":
        campaigns.reverse()
    first = int(page) * PAGE_LENGTH
    return json_reply(200, {"message": "success", "campaigns": campaigns[first : first + PAGE_LENGTH]})


def users_export(call: Call, profiles: Profiles) -> DoubleReply:
    """The profiles of up to fifty ids, or of one address; ids that nobody has are named."""
    document = call.document
    external_ids, aliases = document.get("external_ids") or [], document.get("user_aliases") or []
    single = [{name: document[name]} for name in ("braze_id", "email", "phone") if document.get(name)]
    if document.get("email_address"):
        single.append({"email": document["email_address"]})
    if type(external_ids) is not list or type(aliases) is not list or not (external_ids or aliases or single):
        return message_reply(400, "one of 'external_ids', 'user_aliases', 'braze_id' or 'email_address' is required")
    if len(external_ids) + len(aliases) > IDS_MAX:
        return message_reply(400, "The max number of ids per request was exceeded")
    users: list[JsonObject] = []
    invalid: list[Any] = []
    asked = [*({"external_user_id": one} for one in external_ids), *({"user_alias": one} for one in aliases), *single]
    for one in asked:
        found = profiles.existing(one)
        users.extend(_exported(profile, document.get("fields_to_export")) for profile in found)
        if not found and "external_user_id" in one:
            invalid.append(one["external_user_id"])
    return json_reply(201, {"message": "success", "users": users} | ({"invalid_user_ids": invalid} if invalid else {}))


def _exported(profile: Profile, fields: Any) -> JsonObject:
    kind, _, name = profile.key.partition(":")
    exported: JsonObject = {
        "external_id": name if kind == "external_id" else None,
        "braze_id": profile.braze_id,
        **profile.attributes,
        "custom_attributes": profile.custom,
        "custom_events": [{"name": event, "count": count} for event, count in profile.events.items()],
        "purchases": [{"name": product, "count": count} for product, count in profile.purchases.items()],
    }
    return {name: exported.get(name) for name in fields} if isinstance(fields, list) else exported
