"""`POST /campaigns/trigger/send`: one campaign to up to fifty recipients, all of them or none.

Pure. The answer carries one dispatch id and nothing about single recipients; who is unknown is silently passed over.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

import orjson

from connector.double.exchange import Call, DoubleReply, JsonObject, json_reply, message_reply
from connector.double.profiles import recipient_key
from connector.double.settings import CampaignState, DoubleSettings
from connector.double.track import Schedule
from connector.double.validation import attributes_fault, email_fault, external_id_fault
from connector.double.workspace import Origin, Workspace

RECIPIENTS_MAX: Final = 50
TOO_MANY_RECIPIENTS: Final = "The max number of external_ids and aliases per request was exceeded"
CAMPAIGN_ID_MISSING: Final = "campaign_id must be a string of the campaign api identifier"

_PROPERTIES_BYTES_MAX: Final = 51_200
_ADDRESSES: Final = ("external_user_id", "user_alias", "email", "braze_id")


def campaign_fault(campaign_id: str, state: CampaignState) -> str | None:
    """What Braze says about a campaign that cannot be sent; None when it can.

    The words for paused and archived are documented for the transactional sibling only; the status here is unknown.
    """
    return {
        "active": None,
        "paused": "The campaign is paused. Resume the campaign in order for trigger requests to take effect.",
        "archived": "The campaign is archived. Unarchive the campaign in order for trigger requests to take effect.",
        "unknown": f"Campaign with id {campaign_id} not found",
    }[state]


def trigger(call: Call, settings: DoubleSettings, workspace: Workspace, schedule: Schedule, rng: Random) -> DoubleReply:
    """Answers one request and schedules its sends."""
    document = call.document
    fault = _request_fault(document, settings)
    if fault is not None:
        return message_reply(400, fault)
    campaign = {
        "campaign_id": document["campaign_id"],
        "dispatch_id": f"{rng.getrandbits(128):032x}",
        "send_id": document.get("send_id"),
        "request": call.number,
        "trigger_properties": document.get("trigger_properties") or {},
    }
    # The same recipient twice is one message, with the last entry's properties (page "Recipients object").
    last = {recipient_key(one): (index, one) for index, one in enumerate(document.get("recipients") or ())}

    def apply(at: float) -> None:
        if not last:  # a broadcast: to whom is decided in the dashboard
            workspace.sends.append(campaign | {"user": "broadcast", "sent_at": at})
        origin = Origin(call.number, call.at, at, "recipients")
        for index, recipient in last.values():
            workspace.send(origin, index, recipient, campaign)

    schedule(apply)
    return json_reply(201, {"dispatch_id": campaign["dispatch_id"], "message": "success"})


def _request_fault(document: JsonObject, settings: DoubleSettings) -> str | None:
    campaign_id = document.get("campaign_id")
    if type(campaign_id) is not str or not campaign_id:
        return CAMPAIGN_ID_MISSING
    state = "active" if settings.campaigns is None else settings.campaigns.get(campaign_id, "unknown")
    return (
        campaign_fault(campaign_id, state)
        or _recipients_fault(document, settings)
        or _properties_fault(document.get("trigger_properties"))
    )


def _recipients_fault(document: JsonObject, settings: DoubleSettings) -> str | None:
    recipients = document.get("recipients") or []
    is_broadcast = document.get("broadcast") is True
    if type(recipients) is not list:
        return "'recipients' must be an array"
    if len(recipients) > RECIPIENTS_MAX:
        return TOO_MANY_RECIPIENTS
    if not recipients and not is_broadcast:
        return "No Recipients"
    if recipients and is_broadcast:
        return "'broadcast' cannot be true when 'recipients' are given"
    return next((fault for one in recipients if (fault := _recipient_fault(one, settings))), None)


def _recipient_fault(recipient: Any, settings: DoubleSettings) -> str | None:
    if type(recipient) is not dict or sum(bool(recipient.get(name)) for name in _ADDRESSES) != 1:
        return "each recipient must have exactly one of 'external_user_id', 'user_alias', 'email' or 'braze_id'"
    external_id, alias, attributes = (recipient.get(name) for name in ("external_user_id", "user_alias", "attributes"))
    if external_id and (fault := external_id_fault(external_id, settings)):
        return fault
    if recipient.get("braze_id") and type(recipient["braze_id"]) is not str:
        return "'braze_id' must be a string"
    if alias and not (type(alias) is dict and {"alias_name", "alias_label"} <= alias.keys()):
        return "'user_alias' must have an 'alias_name' and an 'alias_label'"
    if alias and recipient.get("send_to_existing_only") is False:
        return "'send_to_existing_only' cannot be used with 'user_alias'"
    if recipient.get("email") and (email_fault(recipient["email"]) or not recipient.get("prioritization")):
        return "'prioritization' and a valid address are required with 'email'"
    if attributes is not None and type(attributes) is not dict:
        return "'attributes' must be an object"
    if attributes and (fault := attributes_fault(attributes, settings)):
        return fault
    return _properties_fault(recipient.get("trigger_properties"))


def _properties_fault(properties: Any) -> str | None:
    if properties is None:
        return None
    if type(properties) is not dict:
        return "'trigger_properties' must be an object"
    return (
        "'trigger_properties' must be smaller than 50 KB"
        if len(orjson.dumps(properties)) > _PROPERTIES_BYTES_MAX
        else None
    )
