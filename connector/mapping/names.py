"""Names as Braze takes them: of attributes, events and properties, and of the keys inside nested values.

Pure (bounded caches aside). Called by compiled mappings and, for names that a document spells, by their compiler.

One rule renames: leading `$`s are dropped and `aiq_` is put in front, and likewise in front of the property names that
Braze reserves, so `$price` becomes `aiq_price` and `time` becomes `aiq_time`. Two names of one record that become one
refuse the record: which of the values should win is nobody's guess. Trigger properties are Liquid's and not renamed.

A rule's complaint never quotes the name: an event's name is a value of the record, and so are an audience's ids. Only
the keys of a map are shown, cut short, by whoever knows that they are such.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, Final

from connector.braze import CONTROL_ATTRIBUTES, NAME_CHARS_MAX, NESTED_WORDS, RESERVED_PROPERTIES
from connector.records import Rejected

NameRule = Callable[[str], str]
"""A name as it comes -> as it is sent. Raises `Rejected`: `bad_name` or `reserved_attribute`."""

_PREFIX: Final = "aiq_"

_PLAIN_MAX: Final = 10_000
"""Names remembered as fine. Real exports have dozens; a stream of invented ones must not fill the memory."""


def shown(name: str) -> str:
    """A name for a detail: short, and harmless in a header and a log."""
    return repr(name if len(name) <= 64 else name[:63] + "…")


def attribute_name(name: str) -> str:
    """Of a custom or standard attribute. Never one that steers Braze rather than describes the user."""
    name = _renamed(_sound(name.strip()))
    if name in CONTROL_ATTRIBUTES:
        raise Rejected("reserved_attribute", f"{name} steers Braze and cannot be an attribute")
    return name


def event_name(name: str) -> str:
    """Of a custom event."""
    return _renamed(_sound(name.strip()))


def property_name(name: str) -> str:
    """Of an event's property."""
    name = _renamed(_sound(name.strip()))
    return _sound(_PREFIX + name) if name in RESERVED_PROPERTIES else name


def trigger_property_name(name: str) -> str:
    """Of a trigger property, at any depth: Liquid finds it under just this name."""
    return _sound(name)


def nested_attribute_key(name: str) -> str:
    """Of an object inside an attribute. Braze's own operators pass (`$add`, `$identifier_key`...)."""
    name = name.strip()
    if name in NESTED_WORDS:
        return name
    if " " in name:
        raise Rejected("bad_name", "a nested key that holds a space")
    return _renamed(_sound(name))


def nested_property_key(name: str) -> str:
    """Of an object inside an event's property."""
    return _renamed(_sound(name.strip()))


def _sound(name: str) -> str:
    if not name:
        raise Rejected("bad_name", "an empty name")
    if len(name) > NAME_CHARS_MAX:
        raise Rejected("bad_name", f"a name of more than {NAME_CHARS_MAX} characters")
    if "\0" in name:
        raise Rejected("bad_name", "a name that holds a NUL")
    return name


def _renamed(name: str) -> str:
    return _sound(_PREFIX + _sound(name.lstrip("$"))) if name[0] == "$" else name


class Names:
    """The names of one place, remembered once they were found sound.

    Args:
        rule: What makes a name sound.
        special: Names whose values need a look, so that they are never plain.

    Attributes:
        plain: Names that may be sent as they are and need no look at their value. Bounded; asked with `<=` in C.
    """

    def __init__(self, rule: NameRule, special: Container[str] = ()) -> None:
        self._rule = rule
        self._special = special
        self.plain: set[str] = set()

    def settled(self, name: str) -> str:
        """The name to send.

        Raises:
            Rejected: `bad_name` or `reserved_attribute`.
        """
        sent = self._rule(name)
        if sent == name and name not in self._special:
            if len(self.plain) >= _PLAIN_MAX:
                self.plain.clear()
            self.plain.add(name)
        return sent

    def refitted(self, bag: dict[str, Any]) -> dict[str, Any]:
        """The same values under the names to send.

        Raises:
            Rejected: As `settled`, and `bad_name` for two that become one.
        """
        refitted: dict[str, Any] = {}
        for name, value in bag.items():
            try:
                sent = name if name in self.plain else self.settled(name)
            except Rejected as rejected:
                raise Rejected(rejected.reason, f"{shown(name)}: {rejected.detail}") from None
            if sent in refitted:
                raise Rejected("bad_name", f"two names become {shown(sent)}")
            refitted[sent] = value
        return refitted
