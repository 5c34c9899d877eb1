"""What the double's workspace holds and how accepted objects change it.

Pure. Every object that takes effect is reported to the journal exactly once; what Braze drops without a word (forced
types, block lists, unknown users, over-long strings) is counted and not reported, unless something of it took effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from connector.double.application import Applied
from connector.double.exchange import JsonObject
from connector.double.profiles import Profile, Profiles, recipient_key
from connector.double.settings import DoubleSettings
from connector.double.validation import TEXT_CHARS_MAX, instant, is_over_long
from connector.double.values import DROPPED, coerced, is_nested, is_storable, spoils_nested, updated

Journal = Callable[[Applied], None]

CONTROLS: Final = frozenset(
    {"external_id", "braze_id", "user_alias", "_update_existing_only", "_merge_objects", "push_token_import", "app_id"},
)
STANDARD: Final = frozenset(
    {
        *("alias_name", "alias_label", "country", "current_location", "date_of_first_session", "date_of_last_session"),
        *("dob", "email_subscribe", "email_open_tracking_disabled", "email_click_tracking_disabled", "facebook"),
        *("first_name", "gender", "home_city", "image_url", "language", "last_name", "marked_email_as_spam_at"),
        *("push_subscribe", "push_tokens", "time_zone", "twitter"),
    },
)
_UNBILLED: Final = frozenset({"email_subscribe", "push_subscribe", "alias_name", "alias_label"})
_ADDRESSES: Final = frozenset({"email", "phone"})
_SPECIAL: Final = CONTROLS | STANDARD | _ADDRESSES | {"subscription_groups"}


@dataclass(slots=True)
class Origin:
    """Where objects came from: their request, when that arrived and when it is applied, and their array."""

    request: int
    arrived_at: float
    applied_at: float
    array: str


class Workspace:
    """Profiles, events and sends.

    Attributes:
        settings: May be replaced while running.
        profiles: Who is known.
        sends: One entry for every message that went out.
        data_points: What Braze would bill.
        counts: Applied objects by array.
    """

    def __init__(self, settings: DoubleSettings, journal: Journal) -> None:
        self.settings = settings
        self.profiles = Profiles(settings)
        self.sends: list[JsonObject] = []
        self.data_points = 0
        self.counts = {"attributes": 0, "events": 0, "purchases": 0, "recipients": 0}
        self._journal = journal
        self._events: list[bytes] = []
        self._sequence = 0

    def events(self) -> list[JsonObject]:
        """Events and purchases in the order of application, each with an id of its own; empty unless they are kept."""
        return [
            {
                "id": number,
                "array": array,
                "user": user,
                "name": thing["name" if array == "events" else "product_id"],
                "time": _clamped(thing["time"], arrived_at),
                "properties": _kept_properties(thing.get("properties")),
            }
            for number, (user, array, thing, arrived_at) in enumerate(map(orjson.loads, self._events), 1)
        ]

    def apply(self, origin: Origin, index: int, thing: JsonObject, *, is_nested_dropped: bool) -> None:
        """Applies one object of `/users/track`; with `is_nested_dropped`, without its nested attributes."""
        profile = self.profiles.of_object(thing)
        if profile is None:
            return
        if origin.array == "attributes":
            took_effect = self.set_attributes(profile, thing, is_nested_dropped=is_nested_dropped)
        else:
            took_effect = self._append(profile, origin, thing)
        if took_effect:
            self._report(origin, index, profile.key, thing)

    def set_attributes(self, profile: Profile, thing: JsonObject, *, is_nested_dropped: bool) -> bool:
        """Writes attributes, the last write winning. False when all of them were dropped."""
        is_merge = thing.get("_merge_objects") is True
        took_effect, drops, custom = len(thing) < 2, self.profiles.drops, profile.custom
        is_free = not self.settings.forced_types and not self.settings.blocked_attributes
        for sent_name, sent_value in thing.items():
            name, kind = sent_name.strip(), type(sent_value)
            is_small = kind is bool or kind is int or (kind is str and len(sent_value) <= TEXT_CHARS_MAX)
            if is_free and is_small and name not in _SPECIAL and len(name) <= TEXT_CHARS_MAX:
                # Nearly all there is goes this way; what follows says the same in full.
                custom[name] = sent_value
                self.data_points += 1
                took_effect = True
                continue
            if name in CONTROLS:
                continue
            value = self._admitted(name, sent_value, is_nested_dropped=is_nested_dropped)
            if value is DROPPED:
                drops["attribute"] += 1
                continue
            if name in _ADDRESSES:
                took_effect = True
                self.profiles.set_address(profile, name, None if value is None else str(value).lower())
                self.data_points += 1
            elif name == "subscription_groups":
                took_effect = True
                profile.groups.update(
                    {group["subscription_group_id"]: group["subscription_state"] for group in value or ()},
                )
            elif self._set(profile, name, value, is_merge=is_merge):
                took_effect = True
            else:
                drops["attribute"] += 1
        return took_effect

    def send(self, origin: Origin, index: int, recipient: JsonObject, campaign: JsonObject) -> None:
        """Writes a recipient's attributes and sends the message, if there is somebody to send it to."""
        found = self.profiles.existing(recipient)
        attributes = recipient.get("attributes")
        if not found and attributes and recipient.get("send_to_existing_only") is False:
            named = {"external_id": recipient.get("external_user_id"), "email": recipient.get("email")}
            made = self.profiles.of_object(attributes | {name: one for name, one in named.items() if one})
            found = [] if made is None else [made]
        if attributes and len(found) == 1:
            self.set_attributes(found[0], attributes, is_nested_dropped=spoils_nested(attributes))
        is_stranger = not found and bool(recipient.get("external_user_id") or recipient.get("braze_id"))
        if len(found) != 1 and not (is_stranger and self.settings.sends_to_strangers):
            self.profiles.drops["nobody to send to"] += 1
            return
        user = found[0].key if found else recipient_key(recipient)
        self.sends.append(
            campaign
            | {
                "user": user,
                "sent_at": origin.applied_at,
                "trigger_properties": campaign["trigger_properties"] | (recipient.get("trigger_properties") or {}),
            },
        )
        self._report(origin, index, user, recipient, campaign)

    def _admitted(self, name: str, value: Any, *, is_nested_dropped: bool) -> Any:
        settings = self.settings
        if name in settings.blocked_attributes or len(name) > TEXT_CHARS_MAX:
            return DROPPED
        kind = type(value)
        if kind is str:
            if len(value) > TEXT_CHARS_MAX:
                return DROPPED
        elif (kind is dict or kind is list) and is_nested(value) and (is_nested_dropped or not is_storable(value)):
            return DROPPED
        forced = settings.forced_types.get(name)
        return value if forced is None or value is None else coerced(forced, value)

    def _set(self, profile: Profile, name: str, value: Any, *, is_merge: bool) -> bool:
        holder = profile.attributes if name in STANDARD else profile.custom
        if value is None:
            holder.pop(name, None)
            points = 1
        elif type(value) is dict or type(value) is list:
            value, points = updated(holder.get(name), value, is_merge=is_merge)
            if value is DROPPED:
                return False
            holder[name] = value
        else:
            holder[name] = value
            points = 1
        self.data_points += points if name not in _UNBILLED else 0
        return True

    def _append(self, profile: Profile, origin: Origin, thing: JsonObject) -> bool:
        is_event = origin.array == "events"
        name = thing["name" if is_event else "product_id"]
        counts = profile.events if is_event else profile.purchases
        if is_event and name in self.settings.blocked_events:
            self.profiles.drops["blocked event"] += 1
            return False
        counts[name] = counts.get(name, 0) + 1
        self.data_points += 1
        if self.settings.keep_events:
            # As bytes: a million kept dicts would make every garbage collection walk them.
            self._events.append(orjson.dumps((profile.key, origin.array, thing, origin.arrived_at)))
        return True

    def _report(
        self, origin: Origin, index: int, user: str, thing: JsonObject, campaign: JsonObject | None = None
    ) -> None:
        self._sequence += 1
        self.counts[origin.array] += 1
        self._journal(
            Applied(
                self._sequence,
                origin.request,
                origin.arrived_at,
                origin.applied_at,
                origin.array,
                index,
                user,
                thing,
                None if campaign is None else campaign["campaign_id"],
                None if campaign is None else campaign["dispatch_id"],
            ),
        )


def _clamped(time: str, arrived_at: float) -> str:
    """An event's time; one in the future becomes the present (page "Event object")."""
    found = instant(time)
    is_future = found is not None and found.timestamp() > arrived_at
    return datetime.fromtimestamp(arrived_at, UTC).isoformat() if is_future else time


def _kept_properties(properties: JsonObject | None) -> JsonObject:
    """Without the over-long, which Braze drops."""
    if not properties:
        return {}
    return {
        name: value for name, value in properties.items() if len(name) <= TEXT_CHARS_MAX and not is_over_long(value)
    }
