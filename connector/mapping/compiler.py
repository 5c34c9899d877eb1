"""Compiles a document and a schema into one plain function from a decoded record to what Braze takes.

Pure. Called once per writer schema of a topic. Order of the questions asked of a record: skip rules, expiry, identity,
times, names, values; the first that has an answer decides. Exactly one identifier is ever put into an object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from connector.braze import EXTERNAL_ID_BYTES_MAX
from connector.mapping.bags import NAMESPACE, Bag
from connector.mapping.document import MappingDocument, MappingInvalid, near
from connector.mapping.loading import MISSING, UNNAMED, Loaded, Loader
from connector.mapping.names import Names, event_name
from connector.mapping.places import ATTRIBUTES, PROPERTIES, TRIGGER_PROPERTIES, Place
from connector.mapping.rules import MappingRules
from connector.mapping.source import Source, parse_source
from connector.mapping.times import BUSINESS_FLOOR_MS, MILLIS_A_DAY, TO_MILLIS, UNIT_OF_LOGICAL, millis_of_iso
from connector.mapping.values import instant_of
from connector.records import CampaignSend, Kind, Outbound, Skipped
from connector.schema import AvroType, WriterSchema
from connector.source_code import SourceCode

Mapper = Callable[[dict[str, Any], int, int], Outbound]
"""(decoded record, bytes of its Avro, wall clock in milliseconds) -> what to send. Raises `Rejected` or `Skipped`.

The record is used up: its dicts go into the answer, whose `record`, `stay` and `offset` are the caller's to set.
"""

_UTF8_BYTES_MAX: Final = 4
"""Of one character."""


def compile_mapping(document: MappingDocument, schema: WriterSchema, rules: MappingRules) -> Mapper:
    """The function that maps records decoded as `schema` tells: the reader's where there is one, else the writer's.

    Raises:
        MappingInvalid: The document names what the schema does not have, or a type that cannot be what the word needs.
            Names the document's word and the path.
    """
    if schema.root.kind != "record":
        raise MappingInvalid(f"the schema's outermost type is {schema.root.kind}; it must be a record")
    compiler = _Compiler(document, schema, rules)
    try:
        return compiler.build()
    except RecursionError:
        raise MappingInvalid("the schema is nested too deeply") from None


class _Compiler:
    """Writes the function. `v` the record, `i` the identifier, `w` its key, `u` the lane, `o` the bag."""

    def __init__(self, document: MappingDocument, schema: WriterSchema, rules: MappingRules) -> None:
        self._document = document
        self._rules = rules
        self._code = SourceCode(
            **NAMESPACE,
            CampaignSend=CampaignSend,
            MISSING=MISSING,
            Outbound=Outbound,
            Skipped=Skipped,
            UNNAMED=UNNAMED,
            millis_of_iso=millis_of_iso,
        )
        self._loader = Loader(self._code, schema)

    def build(self) -> Mapper:
        """The compiled function."""
        self._code.put(0, "def mapped(v, size, at):")
        self._skips()
        match self._document.kind:
            case Kind.AUDIENCE:
                self._audience()
            case Kind.EVENT:
                self._event()
            case Kind.CAMPAIGN:
                self._campaign()
        mapper: Mapper = self._code.build("mapped", f"mapping of {self._loader.schema.root} as {self._document.kind}")
        return mapper

    def _audience(self) -> None:
        code = self._code
        self._user()
        self._business_time("time")
        name = self._required_text("attribute.name")
        value = self._flag()
        bag = self._bag("attributes", ATTRIBUTES)
        clash = code.constant(("reserved_attribute", "an attribute has the audience's own name, and another value"))
        flag = value.name
        self._settle(name, bag.names, "attribute.name")
        code.put(1, f"if k in o and (type(o[k]) is not type({flag}) or o[k] != {flag}):", f" raise Rejected(*{clash})")
        code.put(1, f"o[k] = {flag}", "o[w] = i")
        self._updates_only("o")
        code.put(1, "return Outbound(u, o)")

    def _flag(self) -> Loaded:
        """What the audience's attribute becomes. A null is no answer, unless the map gives it as one."""
        source = self._source("attribute.value")
        value = self._loader.load(source, 1, unnamed="unknown_change")
        if source.map is None:
            if source.template or (source.field and {avro_type.kind for avro_type in value.types} != {"boolean"}):
                raise MappingInvalid("attribute.value: needs a map, unless its field is a boolean")
            if value.is_unset:
                self._refuse_unset(value, "unknown_change", "attribute.value")
        return value

    def _event(self) -> None:
        code = self._code
        self._user()
        name = self._required_text("name")
        time = self._business_time("time")
        self._bag("properties", PROPERTIES)
        self._settle(name, Names(event_name), "name")
        code.put(1, f"r = {{w: i, 'name': k, 'time': iso_of_millis({time})}}", "if o:", " r['properties'] = o")
        self._updates_only("r")
        code.put(1, "return Outbound(u, r)")

    def _campaign(self) -> None:
        code = self._code
        expires = self._time("expires_at")
        if expires is not None:
            unset = expires.is_unset
            code.put(
                1, f"if {f'not ({unset}) and ' if unset else ''}{expires.name} <= at:", " raise Skipped('expired')"
            )
        self._user()
        campaign_id = self._required_text("campaign_id")
        event_id = self._optional_text("event_id")
        time = self._business_time("time")
        self._bag("trigger_properties", TRIGGER_PROPERTIES)
        code.put(1, "r = {w: i}", "if o:", " r['trigger_properties'] = o")
        code.put(
            1, f"return CampaignSend(u, r, {campaign_id}, {event_id}, {time}, {expires.name if expires else None})"
        )

    def _source(self, word: str) -> Source:
        return parse_source(word, self._document.at(word))

    def _bag(self, word: str, place: Place) -> Bag:
        bag = Bag(self._loader, word, place, self._rules.decimal_as)
        bag.write(self._document.at(word) or {}, 1)
        return bag

    def _skips(self) -> None:
        rules = self._document.at("skip") or []
        if not isinstance(rules, list):
            raise MappingInvalid("skip: must be a list of rules")
        for place, rule in enumerate(rules):
            word = f"skip.{place}"
            if (
                not isinstance(rule, Mapping)
                or not isinstance(rule.get("field"), str)
                or not isinstance(rule.get("in"), list)
            ):
                raise MappingInvalid(f"{word}: a rule is a field's path and `in`, a list of values")
            for unknown in rule.keys() - {"field", "in", "reason"}:
                raise MappingInvalid(f"{word}.{unknown}: no such word{near(unknown, ('field', 'in', 'reason'))}")
            reason = rule.get("reason", "skip_rule")
            if reason not in {"skip_rule", "control_split"}:
                raise MappingInvalid(f"{word}.reason: must be skip_rule or control_split")
            loaded = self._loader.path(f"{word}.field", rule["field"], 1)
            self._loader.check_keys(f"{word}.in", rule["field"], rule["in"], loaded)
            if reason == "control_split" and self._rules.write_control_splits:
                continue
            values = self._code.constant(frozenset(rule["in"]))
            self._code.put(1, f"if {loaded.name} in {values}:", f" raise Skipped('{reason}')")

    def _user(self) -> None:
        """Leaves the identifier in `i`, the key to send it under in `w` and the ordering lane in `u`."""
        code, rules, is_campaign = self._code, self._rules, self._document.kind is Kind.CAMPAIGN
        wants_external = is_campaign and rules.braze_id_recipients == "dead_letter"
        preferred = "external_id" if wants_external else self._document.at("user.prefer") or rules.prefer
        known = [key for key in ("external_id", "braze_id") if self._document.at(f"user.{key}") is not None]
        known.sort(key=lambda key: key != preferred)
        for rank, key in enumerate(known):
            indent = 1 + rank
            if rank:
                code.put(indent - 1, "if not i:")
            sent = "external_user_id" if is_campaign and key == "external_id" else key
            code.put(indent, f"i = {self._loader.text(self._source(f'user.{key}'), indent)}")
            code.put(indent, f"w = '{sent}'", "u = i" if key == "external_id" else "u = '\\0' + (i or '')")
        nobody = code.constant(("no_identity", f"{' and '.join(f'user.{key}' for key in known)}: empty"))
        code.put(1, "if not i:", f" raise Rejected(*{nobody})")
        if wants_external:
            alone = code.constant(("braze_id_recipient", "the recipient is known by braze_id alone"))
            code.put(1, "if w == 'braze_id':", f" raise Rejected(*{alone})")
        placeholders = frozenset(name.casefold() for name in rules.placeholder_ids)
        longest = max(map(len, placeholders), default=0)
        code.put(1, f"if len(i) <= {longest} and i.casefold() in {code.constant(placeholders)}:")
        code.put(1, " raise Rejected('placeholder_identity', w + ' is a placeholder, not a user')")
        most = EXTERNAL_ID_BYTES_MAX
        code.put(1, f"if len(i) > {most // _UTF8_BYTES_MAX} and len(i.encode()) > {most}:")
        code.put(1, f" raise Rejected('identity_too_long', w + ' has more than {most} bytes')")
        code.put(1, "if '\\0' in i:", " raise Rejected('bad_value', w + ' holds a NUL')")

    def _required_text(self, word: str) -> str:
        name = self._loader.text(self._source(word), 1)
        refusal = self._code.constant(("missing_field", f"{word}: empty"))
        self._code.put(1, f"if not {name}:", f" raise Rejected(*{refusal})")
        return name

    def _settle(self, name: str, names: Names, word: str) -> None:
        """Leaves the name to send in `k`. The complaint about a bad one does not quote it: it is a value."""
        code = self._code
        code.put(1, f"k = {name}", f"if k not in {code.constant(names.plain)}:", " try:")
        code.put(1, f"  k = {code.constant(names)}.settled(k)", " except Rejected as e:")
        code.put(1, f"  raise Rejected(e.reason, '{word}: ' + e.detail) from None")

    def _optional_text(self, word: str) -> str:
        if self._document.at(word) is None:
            return "None"
        return f"({self._loader.text(self._source(word), 1)} or None)"

    def _refuse_unset(self, loaded: Loaded, reason: str, word: str) -> None:
        refusal = self._code.constant((reason, f"{word}: null"))
        self._code.put(1, f"if {loaded.is_unset}:", f" raise Rejected(*{refusal})")

    def _business_time(self, word: str) -> str:
        """The variable of a time that must be there and be in reason, or `None` if the document names none."""
        time = self._time(word)
        if time is None:
            return "None"
        if time.is_unset:
            self._refuse_unset(time, "missing_field", word)
        field = self._source(word).field
        absurd = self._code.constant(
            ("absurd_time", f"{field}: before 2010 or more than a day ahead; its unit may be wrong")
        )
        self._code.put(1, f"if not {BUSINESS_FLOOR_MS} <= {time.name} <= at + {MILLIS_A_DAY}:")
        self._code.put(1, f" raise Rejected(*{absurd})")
        return time.name

    def _time(self, word: str) -> Loaded | None:
        """Milliseconds since the epoch in a new variable; nothing if the document names no such time."""
        if self._document.at(word) is None:
            return None
        source, code = self._source(word), self._code
        if not source.field or source.map is not None:
            raise MappingInvalid(f"{word}: must be a field, without a map")
        loaded = self._loader.path(word, source.field, 1)
        if len(loaded.types) != 1:
            raise MappingInvalid(
                f"{word}: {source.field} is {' or '.join(map(str, loaded.types)) or 'null'}, not a time"
            )
        time = Loaded(code.name("t"), loaded.type, loaded.is_nullable)
        unset = loaded.is_unset
        code.put(1, f"{time.name} = {loaded.name}")
        indent = 1
        if unset:
            code.put(1, f"if not ({unset}):")
            indent = 2
        (avro_type,) = loaded.types
        if avro_type.kind == "string":
            detail = code.constant(f"{source.field}: a time that is no ISO 8601")
            code.put(indent, "try:", f" {time.name} = millis_of_iso({loaded.name})", "except Rejected as e:")
            code.put(indent, f" raise Rejected(e.reason, {detail}) from None")
        else:
            code.put(indent, f"{time.name} = {self._millis(source, avro_type, loaded.name)}")
        return time

    def _millis(self, source: Source, avro_type: AvroType, name: str) -> str:
        """The expression that makes milliseconds of a counted time."""
        if instant_of(avro_type) is not None:
            ((field, inner),) = avro_type.fields.items()
            return self._millis(source, inner.type, f"{name}[{self._code.constant(field)}]")
        told = UNIT_OF_LOGICAL.get(avro_type.logical, "")
        if avro_type.kind not in {"int", "long"} or (avro_type.logical and not told):
            spelled = avro_type.logical or avro_type
            raise MappingInvalid(
                f"{source.word}: {source.field} is {spelled}; a time is an integer, ISO 8601 text or an Instant"
            )
        if source.unit and told not in {"", source.unit}:
            raise MappingInvalid(f"{source.word}.unit: the schema says that {source.field} is {avro_type.logical}")
        if not (told or source.unit):
            raise MappingInvalid(
                f"{source.word}: the schema does not say what {source.field} counts; add unit: s, ms, us or ns"
            )
        return TO_MILLIS[told or source.unit].format(name)

    def _updates_only(self, name: str) -> None:
        if self._rules.unknown_users == "ignore":
            self._code.put(1, f"{name}['_update_existing_only'] = True")
