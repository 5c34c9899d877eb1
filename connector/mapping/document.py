"""Mapping documents: which field of a record becomes what, as data.

Pure (the defaults are read from the package). Read by the settings, which lay a topic's overrides over its kind's
default, and by the mapping's compiler. Here a document is checked for its words; whether its paths exist, only a schema
can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

import yaml

from connector.records import Kind

SOURCE_WORDS: Final = frozenset({"field", "constant", "template", "map", "unit"})
_BAGS: Final = frozenset({"attributes", "properties", "trigger_properties"})
_BAG_WORDS: Final = frozenset({"from", "fields", "rest", "omit"})

_WORDS: Final[Mapping[Kind, Mapping[str, frozenset[str] | None]]] = {
    Kind.AUDIENCE: {
        "user": frozenset({"external_id", "braze_id", "prefer"}),
        "time": None,
        "skip": None,
        "attribute": frozenset({"name", "value"}),
        "attributes": _BAG_WORDS | {"nulls"},
    },
    Kind.EVENT: {
        "user": frozenset({"external_id", "braze_id", "prefer"}),
        "time": None,
        "skip": None,
        "name": None,
        "properties": _BAG_WORDS,
    },
    Kind.CAMPAIGN: {
        "user": frozenset({"external_id", "braze_id", "prefer"}),
        "time": None,
        "skip": None,
        "campaign_id": None,
        "event_id": None,
        "expires_at": None,
        "trigger_properties": _BAG_WORDS,
    },
}
"""Words of each kind; None: a value source, or the list of skip rules."""

_SECTIONS: Final = frozenset(
    f"{word}{inner}"
    for words in _WORDS.values()
    for word, known in words.items()
    if known is not None
    for inner in ("", ".fields")
)
"""What is merged word by word; anything else is replaced whole."""

_CHOICES: Final = {"user.prefer": ("external_id", "braze_id"), "attributes.nulls": ("delete", "omit")}

_REQUIRED: Final = {
    Kind.AUDIENCE: ("user", "attribute.name", "attribute.value"),
    Kind.EVENT: ("user", "name", "time"),
    Kind.CAMPAIGN: ("user", "campaign_id"),
}


class MappingInvalid(ValueError):
    """The document says what it may not, or what the schema has nothing for. Halts the topic, or the start."""


@dataclass(frozen=True, slots=True)
class MappingDocument:
    """One topic's mapping.

    Attributes:
        kind: Which kind of record it maps.
        tree: The words, as `connector.mapping` explains them. Never changed.
    """

    kind: Kind
    tree: Mapping[str, Any]

    def at(self, path: str) -> Any:
        """What stands under a dotted path of words; None where nothing does."""
        found: Any = self.tree
        for word in path.split("."):
            found = found.get(word) if isinstance(found, Mapping) else None
        return found


def default_document(kind: Kind) -> MappingDocument:
    """The mapping of our own schema of that kind."""
    text = files(__package__).joinpath(f"{kind}.yaml").read_text(encoding="utf-8")
    return _checked(kind, yaml.safe_load(text))


def override(document: MappingDocument, overrides: Mapping[str, Any]) -> MappingDocument:
    """A document with some words changed: mappings are merged, anything else replaces, null takes the word away.

    A value source is replaced whole: half of the old one would not go with half of the new.

    Raises:
        MappingInvalid: An unknown word, a missing one, or a value of the wrong form. Names the word's path.
    """
    return _checked(document.kind, _merged(document.tree, overrides, ""))


def near(word: object, known: Iterable[str]) -> str:
    """The end of a complaint: what was probably meant, or all that there is."""
    names = sorted(known)
    close = get_close_matches(str(word), names, n=3)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    return f"; there are {', '.join(names[:20])}" if names else ""


def _merged(under: Mapping[str, Any], over: Any, path: str) -> dict[str, Any]:
    if not isinstance(over, Mapping):
        raise MappingInvalid(f"{path or 'mapping'}: must be a mapping of words, not {type(over).__name__}")
    merged = dict(under)
    for word, value in over.items():
        below, inner = merged.get(word), f"{path}.{word}" if path else str(word)
        if value is None:
            merged.pop(word, None)
        elif inner in _SECTIONS and isinstance(below, Mapping):
            merged[word] = _merged(below, value, inner)
        else:
            merged[word] = value
    return merged


def _checked(kind: Kind, tree: Mapping[str, Any]) -> MappingDocument:
    words = _WORDS[kind]
    for word, value in tree.items():
        if word not in words:
            raise MappingInvalid(f"{word}: a mapping of kind {kind} has no such word{near(word, words)}")
        _check_words(word, value, words[word])
    document = MappingDocument(kind, MappingProxyType(dict(tree)))
    for word in _BAGS & words.keys():
        _check_bag(word, document)
    for path, choices in _CHOICES.items():
        if document.at(path) not in (None, *choices):
            raise MappingInvalid(f"{path}: must be {' or '.join(choices)}")
    for path in _REQUIRED[kind]:
        if document.at(path) is None:
            raise MappingInvalid(f"{path}: missing; a mapping of kind {kind} needs it")
    if document.at("user.external_id") is None and document.at("user.braze_id") is None:
        raise MappingInvalid("user: needs external_id or braze_id")
    return document


def _check_words(word: str, value: Any, known: frozenset[str] | None) -> None:
    if known is None:
        return
    if not isinstance(value, Mapping):
        raise MappingInvalid(f"{word}: must be a mapping of {', '.join(sorted(known))}")
    for unknown in value.keys() - known:
        raise MappingInvalid(f"{word}.{unknown}: no such word{near(unknown, known)}")


def _check_bag(word: str, document: MappingDocument) -> None:
    forms = {
        "from": (str, "a field's path"),
        "fields": (Mapping, "a mapping from Braze's names to sources"),
        "rest": (bool, "true or false"),
        "omit": (list, "a list of names"),
    }
    for inner, (form, spelled) in forms.items():
        value = document.at(f"{word}.{inner}")
        if value is not None and not isinstance(value, form):
            raise MappingInvalid(f"{word}.{inner}: must be {spelled}")
    for name in [*(document.at(f"{word}.fields") or ()), *(document.at(f"{word}.omit") or ())]:
        if not isinstance(name, str):
            raise MappingInvalid(f"{word}: the name {name!r} is no string; quote it")
