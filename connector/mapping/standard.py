"""Braze's standard attributes whose bad values refuse the whole object: found here, before a request carries them.

Pure. Called by compiled mappings for records that hold one of these names. Only what Braze's pages say is refused
(`EMAIL_BAD_FORMAT`, `BAD_EMAIL_SUBSCRIPTION_STATE`, `BAD_LOCATION_UPDATE`, `BAD_PUSH_TOKEN_*`,
`BAD_SUBSCRIPTION_GROUP_*`); a value that Braze would merely ignore passes. A null removes the attribute and passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from connector.records import Rejected

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
"""The least that every address has. Braze judges finer, and is asked."""

_SUBSCRIPTION_STATES: Final = ("opted_in", "subscribed", "unsubscribed")
_GROUP_STATES: Final = ("subscribed", "unsubscribed")


def _is_email(value: Any) -> bool:
    return isinstance(value, str) and _EMAIL.fullmatch(value.strip()) is not None


def _is_subscription(value: Any) -> bool:
    return value in _SUBSCRIPTION_STATES


def _is_location(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(degrees := value.get(axis), int | float) and not isinstance(degrees, bool) and abs(degrees) <= limit
        for axis, limit in (("longitude", 180), ("latitude", 90))
    )


def _is_groups(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(group, dict)
        and isinstance(group.get("subscription_group_id"), str)
        and group.get("subscription_state") in _GROUP_STATES
        for group in value
    )


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(token, dict) and isinstance(token.get("app_id"), str) and isinstance(token.get("token"), str)
        for token in value
    )


STANDARD_CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "email": (_is_email, "is no email address"),
    "email_subscribe": (_is_subscription, f"must be one of {', '.join(_SUBSCRIPTION_STATES)}"),
    "push_subscribe": (_is_subscription, f"must be one of {', '.join(_SUBSCRIPTION_STATES)}"),
    "current_location": (_is_location, "must be an object of a longitude and a latitude, in degrees"),
    "subscription_groups": (_is_groups, "must be a list of subscription_group_id and subscription_state"),
    "push_tokens": (_is_tokens, "must be a list of app_id and token"),
}
"""Attribute -> whether Braze takes the value, and what to say when not."""


def check_standard(attributes: dict[str, Any]) -> None:
    """Refuses an object that Braze would refuse for a standard attribute's value.

    Raises:
        Rejected: `bad_value`, naming the attribute.
    """
    for name, (is_fine, words) in STANDARD_CHECKS.items():
        value = attributes.get(name)
        if value is not None and not is_fine(value):
            raise Rejected("bad_value", f"attribute {name} {words}")
