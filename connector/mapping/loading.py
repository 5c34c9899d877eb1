"""Loads what a document's sources name out of the decoded record: paths checked now, statements run per record.

Pure. Used by the mapping's compiler. In the statements `v` is the decoded record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from connector.mapping.document import MappingInvalid, near
from connector.mapping.source import Source
from connector.records import Reason
from connector.schema import AvroType, WriterSchema
from connector.source_code import SourceCode

MISSING: Final = object()
"""Stands for a value that the record does not hold, where null means something of its own."""

UNNAMED: Final = object()
"""What a value map answers to a value that it does not name: null may be an answer of its own."""

_CONSTANTS: Final = {bool: "boolean", int: "long", float: "double", str: "string", type(None): "null"}

_KEYS: Final = {"boolean": bool, "int": int, "long": int, "string": str, "enum": str}
"""What a value map can be asked with, and as what. A bool equals 0 or 1 to a dict, so the types are compared too."""

_BOOLEANS: Final = {"true": True, "false": False}
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")

_TEXTS: Final = frozenset({"string", "enum", "int", "long"})


@dataclass(slots=True)
class Loaded:
    """A value in a variable of the compiled mapping.

    Attributes:
        name: The variable.
        type: What it holds; a union where there are alternatives.
        is_nullable: It may be None, by its type or because something on its path is.
        is_absent: It may be `MISSING` (only where that was asked for).
    """

    name: str
    type: AvroType
    is_nullable: bool = False
    is_absent: bool = False

    @property
    def types(self) -> tuple[AvroType, ...]:
        """The alternatives without null."""
        return tuple(branch for branch in _branches(self.type) if branch.kind != "null")

    @property
    def is_unset(self) -> str:
        """A test for "holds nothing"; empty when it always holds something."""
        tests = ((f"{self.name} is None", self.is_nullable), (f"{self.name} is MISSING", self.is_absent))
        return " or ".join(test for test, is_needed in tests if is_needed)


@dataclass(slots=True)
class Loader:
    """Writes loading statements.

    Attributes:
        code: Where they go.
        schema: What paths are checked against.
        used: Top-level fields that some path begins with.
    """

    code: SourceCode
    schema: WriterSchema
    used: set[str] = field(default_factory=set)

    def load(
        self, source: Source, indent: int, *, unnamed: Reason | None = None, keeps_absence: bool = False
    ) -> Loaded:
        """Loads a source into a new variable.

        Args:
            source: What to load.
            indent: Of the statements.
            unnamed: Reason to refuse a record for a value that the map does not name, a null among them. By default
                such a value is a `bad_value`, and null stays null.
            keeps_absence: Tell a value that is not there (`MISSING`) from a null.

        Raises:
            MappingInvalid: The path does not exist, or the value map fits no value of it.
        """
        if source.template:
            return self._template(source, indent)
        if not source.field:
            kind = AvroType(_CONSTANTS[type(source.constant)])
            return Loaded(self.code.constant(source.constant), kind)
        loaded = self.path(source.word, source.field, indent, keeps_absence=keeps_absence)
        return loaded if source.map is None else self._mapped(source, source.map, loaded, indent, unnamed)

    def path(self, word: str, path: str, indent: int, *, keeps_absence: bool = False) -> Loaded:
        """Loads a field. A null on the way, or a map without the key, means that the value is absent."""
        loaded = Loaded("v", self.schema.root)
        steps = path.split(".")
        self.used.add(steps[0])
        none = "MISSING" if keeps_absence else "None"
        for step in steps:
            inner, is_map = _step(word, path, loaded.type, step)
            key, name = self.code.constant(step), self.code.name("v")
            value = f"{loaded.name}.get({key}, {none})" if is_map else f"{loaded.name}[{key}]"
            unset = loaded.is_unset
            self.code.put(indent, f"{name} = {none} if {unset} else {value}" if unset else f"{name} = {value}")
            may_lack = is_map or bool(unset)
            has_null = any(branch.kind == "null" for branch in _branches(inner))
            loaded = Loaded(name, inner, has_null or (may_lack and not keeps_absence), may_lack and keeps_absence)
        return loaded

    def text(self, source: Source, indent: int) -> str:
        """Loads a source as trimmed text into a variable, None where it is null: for ids and names.

        Raises:
            MappingInvalid: It is neither text nor a whole number.
        """
        loaded = self.load(source, indent)
        kinds = {avro_type.kind for avro_type in loaded.types}
        if not kinds or kinds - _TEXTS or any(avro_type.logical not in {"", "uuid"} for avro_type in loaded.types):
            spelled = " or ".join(avro_type.logical or str(avro_type) for avro_type in loaded.types) or "null"
            raise MappingInvalid(f"{source.word}: must be a string, an enum or an integer; {source.field} is {spelled}")
        if kinds == {"enum"}:
            return loaded.name
        name = self.code.name("v")
        text = f"{loaded.name}.strip()" if "string" in kinds else f"str({loaded.name})"
        if "string" in kinds and kinds & {"int", "long"}:
            text = f"str({loaded.name}).strip()"
        unset = loaded.is_unset
        self.code.put(indent, f"{name} = None if {unset} else {text}" if unset else f"{name} = {text}")
        return name

    def _mapped(
        self, source: Source, table: Mapping[Any, Any], loaded: Loaded, indent: int, unnamed: Reason | None
    ) -> Loaded:
        table = _as_values(table, loaded)
        self.check_keys(f"{source.word}.map", source.field, table, loaded)
        name = self.code.name("v")
        refusal = self.code.constant(
            (unnamed or "bad_value", f"{source.field}: a value that {source.word}.map does not name")
        )
        value = f"{self.code.constant(dict(table))}.get({loaded.name}, UNNAMED)"
        unset = "" if unnamed else loaded.is_unset
        self.code.put(indent, f"{name} = {loaded.name} if {unset} else {value}" if unset else f"{name} = {value}")
        self.code.put(indent, f"if {name} is UNNAMED:", f" raise Rejected(*{refusal})")
        results = AvroType("union")
        results.items = tuple(AvroType(_CONSTANTS[python]) for python in dict.fromkeys(map(type, table.values())))
        return Loaded(name, results, bool(unset) or None in table.values(), loaded.is_absent)

    def check_keys(self, word: str, path: str, keys: Mapping[Any, Any] | list[Any], loaded: Loaded) -> None:
        """Whether the keys can be values of what was loaded. An enum may lack some: older writers know fewer symbols.

        Raises:
            MappingInvalid: One is of another type, or none of them is a symbol of the enum.
        """
        for avro_type in loaded.types:
            if avro_type.kind not in _KEYS or avro_type.logical not in {"", "uuid"}:
                spelled = avro_type.logical or avro_type
                raise MappingInvalid(f"{word}: needs a string, an enum, an integer or a boolean; {path} is {spelled}")
        wanted = {_KEYS[avro_type.kind] for avro_type in loaded.types}
        for key in keys:
            if type(key) not in wanted:
                raise MappingInvalid(
                    f"{word}: {key!r} is no value of {path} (YAML reads a bare yes, no, on, off as boolean)"
                )
        symbols = {symbol for avro_type in loaded.types for symbol in avro_type.symbols}
        if all(avro_type.kind == "enum" for avro_type in loaded.types) and symbols.isdisjoint(keys):
            raise MappingInvalid(f"{word}: names no symbol of {path}{near('', symbols)}")

    def _template(self, source: Source, indent: int) -> Loaded:
        pieces, parts = [], []
        for literal, path in source.template:
            if literal:
                pieces.append(f"{{{self.code.constant(literal)}}}")
            if path:
                part = self.text(Source(f"{source.word}.template", field=path), indent)
                parts.append((part, self.code.constant(("missing_field", f"{path} is empty"))))
                pieces.append(f"{{{part}}}")
        for part, refusal in parts:
            self.code.put(indent, f"if not {part}:", f" raise Rejected(*{refusal})")
        name = self.code.name("v")
        self.code.put(indent, f'{name} = f"{"".join(pieces)}"')
        return Loaded(name, AvroType("string"))


def _as_values(table: Mapping[Any, Any], loaded: Loaded) -> Mapping[Any, Any]:
    """The map with keys of the field's type: JSON has texts alone, in a variable and behind Helm's values."""
    kinds = {_KEYS.get(avro_type.kind) for avro_type in loaded.types}
    if kinds == {bool}:
        return {_BOOLEANS.get(key, key): value for key, value in table.items()}
    if kinds == {int}:
        return {
            int(key) if isinstance(key, str) and _INTEGER.fullmatch(key) else key: value for key, value in table.items()
        }
    return table


def _branches(avro_type: AvroType) -> tuple[AvroType, ...]:
    return avro_type.items if avro_type.kind == "union" else (avro_type,)


def _step(word: str, path: str, outer: AvroType, step: str) -> tuple[AvroType, bool]:
    """The type one step further, and whether a map was stepped into."""
    candidates = [branch for branch in _branches(outer) if branch.kind != "null"]
    if len(candidates) != 1 or candidates[0].kind not in {"record", "map"}:
        spelled = " or ".join(map(str, candidates)) or "null"
        raise MappingInvalid(f"{word}: path {path}: {step} is sought in {spelled}, which is no record and no map")
    (found,) = candidates
    if found.kind == "map":
        return found.items[0], True
    if step not in found.fields:
        raise MappingInvalid(f"{word}: path {path}: {found} has no field {step}{near(step, found.fields)}")
    return found.fields[step].type, False
