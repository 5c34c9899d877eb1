"""What Braze finds wrong with one object of `/users/track`.

Pure. Each check gives the error's `type` as Braze words it (sentences seen live where there are any, else the
documented code, else our own words), or None. What Braze drops without a word is no error and not found here: see
`workspace`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from connector.double.exchange import JsonObject
from connector.double.settings import DoubleSettings

IDENTIFIER_REQUIRED: Final = "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
EXTERNAL_ID_TOO_LARGE: Final = "'external_id' must be fewer than 988 bytes"
BLACKLISTED: Final = "provided external_id is blacklisted and disallowed"
EMAIL_INVALID: Final = "The value provided for the 'email' field is not a valid email."
PROPERTIES_INVALID: Final = "Invalid 'properties' field"

TEXT_CHARS_MAX: Final = 255
NESTED_BYTES_MAX: Final = 102_400

_EXTERNAL_ID_BYTES_MAX: Final = 987
_EXTERNAL_ID_CHARS_SAFE: Final = 246  # four bytes a character at most: 246 * 4 < 987
_PURCHASE_PROPERTIES_BYTES_MAX: Final = 51_200
_SUBSCRIPTIONS: Final = frozenset({"opted_in", "subscribed", "unsubscribed"})
_RESERVED: Final[Mapping[str, frozenset[str]]] = {
    "events": frozenset({"time", "event_name"}),
    "purchases": frozenset({"time", "event_name", "product_id", "quantity", "price", "currency"}),
}
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", re.ASCII)
_PHONE: Final = re.compile(r"\+?[\d\s().-]{5,24}")
_CURRENCY: Final = re.compile(r"[A-Z]{3}")
_MILLIS_AFTER_COLON: Final = re.compile(r"(T\d\d:\d\d:\d\d):(\d+)")  # Braze's own yyyy-MM-dd'T'HH:mm:ss:SSSZ


def instant(text: Any) -> datetime | None:
    """A time as Braze reads it: ISO 8601, or milliseconds after a colon; without an offset it is UTC. None: no time."""
    if type(text) is not str:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(_MILLIS_AFTER_COLON.sub(r"\1.\2", text))
        except ValueError:
            return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def object_fault(array: str, thing: Any, settings: DoubleSettings, *, may_be_large: bool) -> str | None:
    """Why Braze refuses this object of this array, or None.

    Args:
        array: `attributes`, `events` or `purchases`.
        thing: The parsed element.
        settings: The workspace.
        may_be_large: False when the whole body is smaller than any size limit, which spares the measuring.
    """
    if type(thing) is not dict:
        return "each element must be an object"
    return _identifier_fault(thing, settings) or _FAULTS[array](thing, settings, may_be_large)


def _identifier_fault(thing: JsonObject, settings: DoubleSettings) -> str | None:
    external_id, braze_id, alias = thing.get("external_id"), thing.get("braze_id"), thing.get("user_alias")
    given = (external_id not in {None, ""}) if type(external_id) is str or external_id is None else True
    primaries = given + bool(braze_id) + (alias is not None)
    if primaries > 1:
        return "only one of 'external_id', 'braze_id' or 'user_alias' may be given"
    if given:
        return external_id_fault(external_id, settings)
    if alias is not None:
        names = (alias.get("alias_name"), alias.get("alias_label")) if type(alias) is dict else ()
        is_whole = len(names) == 2 and all(type(name) is str and name for name in names)
        return None if is_whole else "'user_alias' must have an 'alias_name' and an 'alias_label'"
    if braze_id:
        return None if type(braze_id) is str else "'braze_id' must be a string"
    if thing.get("email"):
        return email_fault(thing["email"])
    phone = thing.get("phone")
    if phone:
        return None if type(phone) is str and _PHONE.fullmatch(phone) else "'phone' is not valid"
    return IDENTIFIER_REQUIRED


def external_id_fault(external_id: Any, settings: DoubleSettings) -> str | None:
    """Why this is no external id, or None."""
    if type(external_id) is not str:
        return None if type(external_id) in {int, float} else "'external_id' must be a string"
    too_large = len(external_id) > _EXTERNAL_ID_CHARS_SAFE and len(external_id.encode()) > _EXTERNAL_ID_BYTES_MAX
    if too_large:
        return EXTERNAL_ID_TOO_LARGE
    return BLACKLISTED if external_id in settings.blacklisted_external_ids else None


def email_fault(email: Any) -> str | None:
    """Why this is no email address, or None."""
    return None if type(email) is str and _EMAIL.fullmatch(email) else EMAIL_INVALID


def attributes_fault(thing: JsonObject, settings: DoubleSettings, may_be_large: bool = False) -> str | None:  # noqa: ARG001  # one signature for the three arrays
    """Why these attributes are refused, or None; whose they are is not looked at."""
    if not _CHECKED.keys().isdisjoint(thing):
        for name, check in _CHECKED.items():
            value = thing.get(name)
            if value is not None and (fault := check(value)):
                return fault
    if "push_token_import" in thing and thing["push_token_import"] is True:
        has_primary = thing.get("external_id") or thing.get("braze_id")
        if has_primary or not thing.get("push_tokens"):
            return "BAD_PUSH_TOKEN_IMPORT"
    if settings.over_long == "refuse":
        for name, value in thing.items():
            if len(name) > TEXT_CHARS_MAX or (name != "external_id" and is_over_long(value)):
                return f"'{name[:TEXT_CHARS_MAX]}' is too long"
    return None


def is_over_long(value: Any) -> bool:
    """Whether this is a string of more than 255 characters."""
    return type(value) is str and len(value) > TEXT_CHARS_MAX


def _subscription_fault(name: str) -> Callable[[Any], str | None]:
    fault = f"'{name}' must be one of 'opted_in', 'subscribed' or 'unsubscribed'"
    return lambda value: None if type(value) is str and value in _SUBSCRIPTIONS else fault


def _groups_fault(groups: Any) -> str | None:
    if type(groups) is not list:
        return "BAD_SUBSCRIPTION_GROUP_ARRAY"
    for group in groups:
        if type(group) is not dict:
            return "BAD_SUBSCRIPTION_GROUP_HASH"
        if type(group.get("subscription_group_id")) is not str:
            return "BAD_SUBSCRIPTION_GROUP_ID"
        if group.get("subscription_state") not in ("subscribed", "unsubscribed"):
            return "BAD_SUBSCRIPTION_GROUP_STATE"
    return None


def _location_fault(location: Any) -> str | None:
    axes = [location.get("longitude"), location.get("latitude")] if type(location) is dict else [None]
    return None if all(type(axis) in {int, float} for axis in axes) else "BAD_LOCATION_UPDATE"


def _tokens_fault(tokens: Any) -> str | None:
    if type(tokens) is not list or not all(type(token) is dict for token in tokens):
        return "BAD_PUSH_TOKEN_VALUE"
    for token in tokens:
        if type(token.get("app_id")) is not str:
            return "BAD_PUSH_TOKEN_APP_ID"
        if type(token.get("token")) is not str:
            return "BAD_PUSH_TOKEN_STRING"
        device_id = token.get("device_id", "12345678")
        if type(device_id) is not str or not 8 <= len(device_id.encode()) <= 255:
            return "BAD_DEVICE_ID"
    return None


_CHECKED: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "email": email_fault,
    "email_subscribe": _subscription_fault("email_subscribe"),
    "push_subscribe": _subscription_fault("push_subscribe"),
    "subscription_groups": _groups_fault,
    "current_location": _location_fault,
    "push_tokens": _tokens_fault,
}


def _event_fault(thing: JsonObject, settings: DoubleSettings, may_be_large: bool) -> str | None:
    name = thing.get("name")
    if type(name) is not str or not name or len(name) > TEXT_CHARS_MAX or name[0] == "$":
        return "'name' is not valid"
    if instant(thing.get("time")) is None:
        return "'time' is not valid"
    return _properties_fault("events", thing.get("properties"), settings, NESTED_BYTES_MAX if may_be_large else None)


def _purchase_fault(thing: JsonObject, settings: DoubleSettings, may_be_large: bool) -> str | None:  # noqa: ARG001  # purchases have a smaller limit, so they are always measured
    product_id, currency, quantity = thing.get("product_id"), thing.get("currency"), thing.get("quantity", 1)
    faults = {
        "'product_id' is not valid": type(product_id) is str and 0 < len(product_id) <= TEXT_CHARS_MAX,
        "'currency' is not valid": type(currency) is str and _CURRENCY.fullmatch(currency),
        "'price' is not valid": type(thing.get("price")) in {int, float},
        "'quantity' is not valid": type(quantity) is int and quantity > 0,
        "'time' is not valid": instant(thing.get("time")) is not None,
    }
    fault = next((fault for fault, is_sound in faults.items() if not is_sound), None)
    return fault or _properties_fault("purchases", thing.get("properties"), settings, _PURCHASE_PROPERTIES_BYTES_MAX)


def _properties_fault(array: str, properties: Any, settings: DoubleSettings, bytes_max: int | None) -> str | None:
    if not properties:
        return None
    if type(properties) is not dict or not _RESERVED[array].isdisjoint(properties):
        return PROPERTIES_INVALID
    for name in properties:
        if not name or name[0] == "$":
            return PROPERTIES_INVALID
    if settings.over_long == "refuse":
        for name, value in properties.items():
            if len(name) > TEXT_CHARS_MAX or is_over_long(value):
                return PROPERTIES_INVALID
    if bytes_max is not None and len(orjson.dumps(properties)) > bytes_max:
        return f"'properties' must be smaller than {bytes_max // 1024} KB"
    return None


_FAULTS: Final[Mapping[str, Callable[[JsonObject, DoubleSettings, bool], str | None]]] = {
    "attributes": attributes_fault,
    "events": _event_fault,
    "purchases": _purchase_fault,
}
