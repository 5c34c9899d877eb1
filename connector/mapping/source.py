"""A value source: where a word of a document takes its value from.

Pure. Parsed by the mapping's compiler; `loading` checks it against a schema and writes the statements for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from string import Formatter
from typing import Any, Final

from connector.mapping.document import SOURCE_WORDS, MappingInvalid, near

UNITS: Final = ("s", "ms", "us", "ns")


@dataclass(frozen=True, slots=True)
class Source:
    """One parsed source.

    Attributes:
        word: The document's path to it, for complaints.
        field: Dotted path of a field; empty for the other two forms.
        constant: The value itself; meaningful if neither of the others is set.
        template: Literals and paths, alternating as `string.Formatter` gives them.
        map: Value map; None: none.
        unit: What a plain integer counts; empty: the schema tells.
    """

    word: str
    field: str = ""
    constant: Any = None
    template: tuple[tuple[str, str], ...] = ()
    map: Mapping[Any, Any] | None = None
    unit: str = ""


def parse_source(word: str, text: Any) -> Source:
    """What the document says under `word`.

    Raises:
        MappingInvalid: It is no source.
    """
    if isinstance(text, str):
        return Source(word, field=text)
    form = _form(word, text)
    value = text[form]
    if form != "field" and len(text) > 1:
        raise MappingInvalid(f"{word}: map and unit go with field only")
    if form == "constant":
        if value is None or not _is_json(value):
            raise MappingInvalid(f"{word}.constant: must be a string, a number or a boolean that JSON can hold")
        return Source(word, constant=value)
    if not isinstance(value, str) or not value:
        raise MappingInvalid(f"{word}.{form}: must be a string")
    if form == "template":
        return Source(word, template=_pieces(f"{word}.template", value))
    return Source(word, field=value, map=_value_map(word, text), unit=_unit(word, text))


def _form(word: str, text: Any) -> str:
    """Which of the three forms a mapping of words is."""
    if not isinstance(text, Mapping):
        raise MappingInvalid(f"{word}: must be a field's path, or a mapping of field, constant or template")
    for unknown in text.keys() - SOURCE_WORDS:
        raise MappingInvalid(f"{word}.{unknown}: no such word{near(unknown, SOURCE_WORDS)}")
    forms = text.keys() & {"field", "constant", "template"}
    if len(forms) != 1:
        raise MappingInvalid(f"{word}: needs exactly one of field, constant and template")
    return str(next(iter(forms)))


def _value_map(word: str, text: Mapping[str, Any]) -> Mapping[Any, Any] | None:
    value_map = text.get("map")
    if value_map is None:
        return None
    if not isinstance(value_map, Mapping) or not value_map:
        raise MappingInvalid(f"{word}.map: must be a mapping of values")
    for value in value_map.values():
        if not _is_json(value):
            raise MappingInvalid(f"{word}.map: must map to strings, numbers, booleans or null that JSON can hold")
    return value_map


def _is_json(value: Any) -> bool:
    """Whether it is a single value that can be written: YAML knows infinities, lone surrogates and any integer."""
    match value:
        case None | bool():
            return True
        case int():
            return -(2**63) <= value < 2**64
        case float():
            return isfinite(value)
        case str():
            return value.encode("utf-8", "replace").decode() == value  # a lone surrogate becomes a question mark
        case _:
            return False


def _unit(word: str, text: Mapping[str, Any]) -> str:
    unit = text.get("unit", "")
    if unit and unit not in UNITS:
        raise MappingInvalid(f"{word}.unit: must be one of {', '.join(UNITS)}")
    return str(unit)


def _pieces(word: str, template: str) -> tuple[tuple[str, str], ...]:
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise MappingInvalid(f"{word}: {error}") from None
    if any(spec or conversion or path == "" for _, path, spec, conversion in parsed):
        raise MappingInvalid(f"{word}: only {{path}} is understood between braces")
    if not _is_json(template):
        raise MappingInvalid(f"{word}: holds half a character")
    return tuple((literal, path or "") for literal, path, _, _ in parsed)
