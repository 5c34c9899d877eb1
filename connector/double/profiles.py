"""Who is who: profiles, and which of them an object means.

Pure. A profile's key says how it became known (`external_id:u1`, `braze_id:...`, `user_alias:<label>:<name>`,
`email:...`, `phone:...`) and never changes. Every profile has a braze_id; ours is derived from the key, so that it is
the same in every run.
"""

from __future__ import annotations

from collections import Counter
from hashlib import blake2b
from typing import Any

from connector.double.exchange import JsonObject
from connector.double.settings import DoubleSettings


class Profile:
    """One user's profile.

    Attributes:
        key: How it became known.
        braze_id: Braze's own id.
        attributes: Standard attributes.
        custom: Custom attributes.
        groups: Subscription group id to state.
        events: Event name to how often it happened.
        purchases: Product id to how often it was bought.
        touched: Grows with every update; the greatest is the most recently updated profile.
    """

    __slots__ = ("attributes", "braze_id", "custom", "events", "groups", "key", "purchases", "touched")

    def __init__(self, key: str, braze_id: str) -> None:
        self.key = key
        self.braze_id = braze_id
        self.attributes: dict[str, Any] = {}
        self.custom: dict[str, Any] = {}
        self.groups: dict[str, str] = {}
        self.events: dict[str, int] = {}
        self.purchases: dict[str, int] = {}
        self.touched = 0

    def state(self) -> JsonObject:
        """The profile as JSON."""
        return {
            "braze_id": self.braze_id,
            "attributes": self.attributes,
            "custom_attributes": self.custom,
            "subscription_groups": self.groups,
            "custom_events": self.events,
            "purchases": self.purchases,
        }


class Profiles:
    """All profiles, found by identifier.

    Attributes:
        by_key: Every profile.
        drops: Why objects were dropped without a word, and how often.
    """

    def __init__(self, settings: DoubleSettings) -> None:
        self.by_key: dict[str, Profile] = {}
        self.drops: Counter[str] = Counter()
        self._by_braze_id: dict[str, Profile] = {}
        self._by_address: dict[str, set[str]] = {}
        self._touches = 0
        self.reconfigure(settings)

    def reconfigure(self, settings: DoubleSettings) -> None:
        """Puts other settings in force; their known users join those that there are."""
        self.settings = settings
        for key in sorted(settings.known_users - self.by_key.keys()):
            self._made(key)

    def of_object(self, thing: JsonObject) -> Profile | None:
        """The profile that an object of `/users/track` means, made if Braze would make it. None: dropped, counted."""
        external_id = thing.get("external_id")
        if external_id is not None and external_id != "":
            key = f"external_id:{external_id}"
            profile = self.by_key.get(key) or self._unless_update_only(key, thing.get("_update_existing_only") is True)
        elif thing.get("braze_id"):
            profile = self._of_braze_id(thing["braze_id"])
        elif thing.get("user_alias") is not None:
            key = _alias_key(thing["user_alias"])
            # Aliases are update-only unless told otherwise (page "Event object", its note).
            profile = self.by_key.get(key) or self._unless_update_only(
                key, thing.get("_update_existing_only") is not False
            )
        else:
            profile = self._of_address(thing)
        if profile is None:
            return None
        if max(len(profile.events), len(profile.purchases)) > self.settings.event_names_max:
            self.drops["blocked profile"] += 1  # a "dummy user": Braze takes nothing more from it
            return None
        self._touches += 1
        profile.touched = self._touches
        return profile

    def existing(self, recipient: JsonObject) -> list[Profile]:
        """The profiles that a recipient of a trigger names; several only for an address."""
        for kind in ("email", "phone"):
            if recipient.get(kind):
                keys = self._by_address.get(f"{kind}:{str(recipient[kind]).lower()}", ())
                return [self.by_key[key] for key in sorted(keys)]
        if recipient.get("braze_id"):
            found = self._by_braze_id.get(recipient["braze_id"])
        else:
            found = self.by_key.get(recipient_key(recipient))
        return [] if found is None else [found]

    def set_address(self, profile: Profile, kind: str, address: str | None) -> None:
        """Keeps the look-up by `email` or `phone` true when a profile's address changes."""
        old = profile.attributes.get(kind)
        if old is not None:
            self._by_address[f"{kind}:{old}"].discard(profile.key)
        if address is None:
            profile.attributes.pop(kind, None)
        else:
            profile.attributes[kind] = address
            self._by_address.setdefault(f"{kind}:{address}", set()).add(profile.key)

    def _unless_update_only(self, key: str, is_update_only: bool) -> Profile | None:
        if is_update_only:
            self.drops["update only, unknown user"] += 1
            return None
        return self._made(key)

    def _of_braze_id(self, braze_id: str) -> Profile | None:
        profile = self._by_braze_id.get(braze_id)
        if profile is None and self.settings.unknown_braze_id == "create":
            return self._made(f"braze_id:{braze_id}")
        if profile is None:
            self.drops["unknown braze_id"] += 1
        return profile

    def _of_address(self, thing: JsonObject) -> Profile | None:
        kind = "email" if thing.get("email") else "phone"
        address = thing[kind].lower()
        keys = self._by_address.get(f"{kind}:{address}")
        if keys:
            # An identified profile wins, then the most recently updated (page "Track users").
            return max((self.by_key[key] for key in keys), key=lambda one: (one.key.startswith("ext"), one.touched))
        profile = self._unless_update_only(f"{kind}:{address}", thing.get("_update_existing_only") is True)
        if profile is not None:
            self.set_address(profile, kind, address)
        return profile

    def _made(self, key: str) -> Profile:
        kind, _, name = key.partition(":")
        braze_id = name if kind == "braze_id" else blake2b(key.encode(), digest_size=12).hexdigest()
        profile = self.by_key[key] = self._by_braze_id[braze_id] = Profile(key, braze_id)
        return profile


def recipient_key(recipient: JsonObject) -> str:
    """The key under which a recipient of a trigger is addressed: the same recipient twice has the same one."""
    if recipient.get("external_user_id"):
        return f"external_id:{recipient['external_user_id']}"
    if recipient.get("braze_id"):
        return f"braze_id:{recipient['braze_id']}"
    if recipient.get("user_alias"):
        return _alias_key(recipient["user_alias"])
    return f"email:{str(recipient.get('email')).lower()}"


def _alias_key(alias: JsonObject) -> str:
    return f"user_alias:{alias['alias_label']}:{alias['alias_name']}"
