"""Bags of free values (attributes, properties, trigger properties): the statements that check them and make them JSON.

Pure. Used by the mapping's compiler. The statements leave the bag in `o`. A map of the record is checked in place and
reused as it is, unless a name or a value of it has to change: plain strings, numbers and booleans cost no call.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import NoneType
from typing import Any, Final, Literal

from connector.mapping.document import MappingInvalid
from connector.mapping.loading import Loaded, Loader
from connector.mapping.names import Names, shown
from connector.mapping.places import Place
from connector.mapping.sizes import avro_bytes_safe, refuse_larger
from connector.mapping.source import Source, parse_source
from connector.mapping.standard import STANDARD_CHECKS, check_standard
from connector.mapping.times import iso_of_millis
from connector.mapping.values import DOUBLE_MAX, Table, Values, finite, instant_of, same, unsendable
from connector.records import Rejected
from connector.schema import AvroType, Field

NAMESPACE: Final[dict[str, object]] = {
    "Rejected": Rejected,
    "check_standard": check_standard,
    "finite": finite,
    "iso_of_millis": iso_of_millis,
    "refuse_larger": refuse_larger,
    "shown": shown,
}
"""What the statements call."""

_NESTED: Final = (list, dict, tuple)


class Bag:
    """Writes the statements for one bag.

    Args:
        loader: Where paths are looked up; its code gets the statements.
        word: The document's word for the bag.
        place: What Braze allows there.
        decimal_as: The operator's rule.

    Attributes:
        names: The names seen so far.
    """

    def __init__(self, loader: Loader, word: str, place: Place, decimal_as: Literal["number", "string"]) -> None:
        self._loader = loader
        self._code = loader.code
        self._word = word
        self._place = place
        self._values = Values(place, decimal_as)
        self.names = Names(place.name, STANDARD_CHECKS if place.has_deletion else ())

    def write(self, spec: Mapping[str, Any], indent: int) -> None:
        """Leaves the bag in `o`.

        Args:
            spec: What the document says of it.
            indent: Of the statements.

        Raises:
            MappingInvalid: A path does not exist, a name cannot be sent, or a type cannot be told from another.
        """
        code, place = self._code, self._place
        deletes = place.has_deletion and spec.get("nulls", "delete") == "delete"
        omitted = frozenset(spec.get("omit", ()))
        origin = self._origin(spec, indent)
        is_map = origin is not None and origin.types[0].kind == "map"
        # Loaded first: the loop changes the map, and a path may lead into it.
        entries = self._entries(spec, omitted, None if is_map else origin, indent)
        whole = AvroType("record")
        code.put(indent, "k = ''", f"odd = {not STANDARD_CHECKS.keys().isdisjoint(entries)}")
        if origin is not None and is_map:
            whole.fields[""] = Field("", origin.types[0], {})
            code.put(indent, f"o = {origin.name}{' or {}' if origin.is_nullable else ''}")
            for name in sorted(omitted):
                code.put(indent, f"o.pop({code.constant(name)}, None)")
        else:
            code.put(indent, "o = {}")
        code.put(indent, "try:", " pass")
        if origin is not None and is_map:
            self._loop(origin.types[0].items[0], indent + 1, deletes=deletes)
        for name, loaded in entries.items():
            whole.fields[name] = Field(name, loaded.type, {})
            self._entry(name, loaded, indent + 1, deletes=deletes)
        code.put(indent, "except Rejected as e:", f" d = f'{place.noun} {{shown(k)}}: {{e.detail}}' if k else e.detail")
        code.put(indent, " raise Rejected(e.reason, d) from None")
        code.put(
            indent, "except RecursionError:", " raise Rejected('bad_value', shown(k) + ': nested too deeply') from None"
        )
        if place.has_deletion:
            code.put(indent, "if odd:", " check_standard(o)")
        safe, what = avro_bytes_safe(whole, place.bytes_max), code.constant(self._word)
        code.put(indent, f"if size > {safe}:", f" refuse_larger({what}, o, {place.bytes_max})")

    def _origin(self, spec: Mapping[str, Any], indent: int) -> Loaded | None:
        """What `from` names."""
        path = spec.get("from")
        if path is None:
            return None
        loaded = self._loader.path(f"{self._word}.from", path, indent)
        if len(loaded.types) != 1 or loaded.types[0].kind not in {"map", "record"}:
            spelled = " or ".join(map(str, loaded.types)) or "null"
            raise MappingInvalid(f"{self._word}.from: {path} is {spelled}; it must be a map or a record")
        return loaded

    def _entries(
        self, spec: Mapping[str, Any], omitted: frozenset[str], record: Loaded | None, indent: int
    ) -> dict[str, Loaded]:
        """Entries that the document or the schema spells, loaded, by the name to send. `fields` win over the others."""
        fields = {
            self._sent(f"{self._word}.fields", name): parse_source(f"{self._word}.fields.{name}", text)
            for name, text in spec.get("fields", {}).items()
        }
        taken: dict[str, Source] = {}
        if record is not None:
            self._take_over(f"{self._word}.from", record.types[0], f"{spec['from']}.", omitted, taken)
        if spec.get("rest"):
            spoken_for = {source.field.split(".")[0] for source in fields.values()}
            left_out = omitted | self._loader.used | spoken_for
            self._take_over(f"{self._word}.rest", self._loader.schema.root, "", left_out, taken)
        sources = {**taken, **fields}
        return {name: self._loader.load(source, indent, keeps_absence=True) for name, source in sources.items()}

    def _take_over(
        self, word: str, record: AvroType, prefix: str, left_out: Container[str], taken: dict[str, Source]
    ) -> None:
        """Every field of a record under its own name."""
        for name in record.fields:
            if name in left_out:
                continue
            sent = self._sent(word, name)
            if sent in taken:
                raise MappingInvalid(f"{word}: two fields become {sent}; name one of them in {self._word}.omit")
            taken[sent] = Source(word, field=prefix + name)

    def _sent(self, word: str, name: str) -> str:
        try:
            return self.names.settled(name)
        except Rejected as refused:
            raise MappingInvalid(f"{word}: {shown(name)}: {refused.detail}") from None

    def _loop(self, value_type: AvroType, indent: int, *, deletes: bool) -> None:
        code = self._code
        table = self._values.table(value_type, f"{self._word}.from")
        code.put(indent, f"if not o.keys() <= {code.constant(self.names.plain)}:")
        code.put(indent, f" o = {code.constant(self.names)}.refitted(o)", " odd = True")
        has_holes = NoneType in table and not deletes
        if not has_holes and all(converter is same for converter in table.values()):
            return
        code.put(indent, "holes = False", "for k, x in o.items():")
        self._check(table, value_type, "o[k]", indent + 1)
        if has_holes:
            code.put(indent + 1, "if x is None:", " holes = True")
            code.put(indent, "if holes:", " o = {k: x for k, x in o.items() if x is not None}")

    def _entry(self, name: str, loaded: Loaded, indent: int, *, deletes: bool) -> None:
        code = self._code
        key = code.constant(name)
        table = self._values.table(loaded.type, f"{self._word}.{name}")
        if table.get(bytes) is unsendable:
            raise MappingInvalid(f"{self._word}: {name} is bytes, which JSON cannot hold; name it in {self._word}.omit")
        tests = [
            f"x is not {word}"
            for word, is_needed in (("MISSING", loaded.is_absent), ("None", loaded.is_nullable and not deletes))
            if is_needed
        ]
        code.put(indent, f"k, x = {key}, {loaded.name}")
        if tests:
            code.put(indent, f"if {' and '.join(tests)}:")
            indent += 1
        self._check(table, loaded.type, "x", indent)
        code.put(indent, f"o[{key}] = x")

    def _check(self, table: Table, avro_type: AvroType, into: str, indent: int) -> None:
        """Refuses `x` or writes what it becomes into `into`; leaves what JSON has as it is alone."""
        code = self._code
        changed = {python for python, converter in table.items() if converter is not same}
        if not changed:
            return
        code.put(indent, "c = type(x)")
        word = "if"
        if str in changed:
            limit = self._place.string_chars_max
            too_long = f"len(x) > {limit} or " if limit is not None else ""
            code.put(indent, "if c is str:", f" if {too_long}'\\0' in x:", f"  {code.constant(table[str])}(x)")
            word = "elif"
        instant = self._instant(avro_type)
        if instant is not None:
            code.put(indent, f"{word} c is tuple:", f" {into} = iso_of_millis(x[1][{code.constant(instant)}])")
            word = "elif"
        if float in changed:
            code.put(indent, f"{word} c is float:", f" if not {-DOUBLE_MAX!r} <= x <= {DOUBLE_MAX!r}:", "  finite(x)")
            word = "elif"
        others = changed - {str, float} - ({tuple} if instant is not None else set())
        if others:
            # A type nested in an entry is large only if the record is.
            code.put(indent, f"{word} c in {code.constant(frozenset(others))}:")
            code.put(indent + 1, f"{into} = {code.constant(table)}[c](x)")
            limit = self._place.entry_bytes_max
            if limit is not None and not others.isdisjoint(_NESTED):
                safe = avro_bytes_safe(avro_type, limit)
                code.put(indent + 1, f"if size > {safe}:", f" refuse_larger('nested', {into}, {limit})")

    @staticmethod
    def _instant(avro_type: AvroType) -> str | None:
        """The field of the only record of a tagged union, where that is a time in milliseconds: our `Instant`."""
        records = [branch for branch in avro_type.items if branch.kind == "record"]
        found = instant_of(records[0]) if avro_type.is_tagged and len(records) == 1 else None
        return found[0] if found is not None and found[1] is iso_of_millis else None
