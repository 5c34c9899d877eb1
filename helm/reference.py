"""The chart's generated files: `values.schema.json` and the table of `README.md`. A test keeps them true.

A tool: `make docs` runs it (`python -m helm.reference`). `values.yaml` is where every key is told; the schema of
`config` is the connector's own, so that a misspelt key fails at `helm install` and not in a pod.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from connector.settings import Settings

CHART: Final = Path(__file__).parent

_TOLD: Final = "# -- "
_SCHEMA: Final = "# @schema "
_VARIABLE: Final = {"type": "string", "pattern": r"\$\{"}
"""A number may come from the environment: `${NAME}`."""

_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True)
class Key:
    """One key of `values.yaml`.

    Attributes:
        path: From the root.
        default: As it stands there.
        text: What the comment above it says; empty for a section that only holds others.
        schema: What the comment adds to the type of the default.
        keys: Below it, where they are told one by one.
    """

    path: tuple[str, ...]
    default: Any
    text: str
    schema: dict[str, Any]
    keys: list[Key] = field(default_factory=list)


def read_keys(text: str) -> list[Key]:
    """Every key, with its comment."""
    return list(_keys(yaml.compose(text), text.splitlines(), ()))


def _keys(node: yaml.Node, lines: list[str], path: tuple[str, ...]) -> Iterator[Key]:
    assert isinstance(node, yaml.MappingNode)  # noqa: S101  # a tool over one file of ours
    for name, value in node.value:
        where = (*path, name.value)
        told, schema = _comment(lines, name.start_mark.line, name.start_mark.column)
        is_section = isinstance(value, yaml.MappingNode) and not value.flow_style and not told
        below = list(_keys(value, lines, where)) if is_section else []
        default = yaml.safe_load(yaml.serialize(value))
        yield Key(where, default, told, schema, below)


def _comment(lines: list[str], line: int, column: int) -> tuple[str, dict[str, Any]]:
    """The comment right above a key: from `# --` on, and what `# @schema` says."""
    block: list[str] = []
    while line > 0 and lines[line - 1].startswith(" " * column + "#"):
        line -= 1
        block.insert(0, lines[line].strip())
    told: list[str] = []
    schema: dict[str, Any] = {}
    for each in block:
        if each.startswith(_SCHEMA):
            schema = json.loads(each.removeprefix(_SCHEMA))
        elif each.startswith(_TOLD):
            told = [each.removeprefix(_TOLD)]
        elif told:
            told.append(each.removeprefix("#").strip())
    return " ".join(told), schema


def values_schema(keys: list[Key]) -> dict[str, Any]:
    """The whole of `values.schema.json`: strict everywhere but in what is Kubernetes' own, and in `global`."""
    settings = Settings.model_json_schema(by_alias=True)
    schema = _object(keys, "")
    schema["properties"]["config"] |= _with_variables(
        {k: v for k, v in settings.items() if k not in {"$defs", "title"}}
    )
    definitions = {name: _with_variables(each) for name, each in settings["$defs"].items()}
    for name in ("rate", "trigger_rate"):
        many = definitions["BrazeSettings"]["properties"][name]
        definitions["BrazeSettings"]["properties"][name] = {"anyOf": [many, many["items"]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": definitions, **schema}


def _object(keys: list[Key], text: str) -> dict[str, Any]:
    told = {"description": text} if text else {}
    properties = {key.path[-1]: _schema(key) for key in keys}
    return {"type": "object", **told, "additionalProperties": False, "properties": properties}


def _schema(key: Key) -> dict[str, Any]:
    if key.keys:
        return _object(key.keys, key.text)
    kind = {} if key.default is None else {"type": _TYPES[type(key.default)]}
    return {**kind, "description": key.text, **key.schema}


def _with_variables(schema: Any) -> Any:
    """The connector's schema, in which whatever is no text may also be a variable; without titles and defaults."""
    if isinstance(schema, list):
        return [_with_variables(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: value for key, value in schema.items() if key not in {"title", "default", "format", "writeOnly"}}
    for holder in ("properties", "additionalProperties", "items", "anyOf"):
        if isinstance(plain.get(holder), dict) and holder == "properties":
            plain[holder] = {name: _with_variables(each) for name, each in plain[holder].items()}
        elif holder in plain:
            plain[holder] = _with_variables(plain[holder])
    if plain.get("type") in {"integer", "number", "boolean"}:
        told = {"description": plain.pop("description")} if "description" in plain else {}
        return {**told, "anyOf": [plain, _VARIABLE]}
    return plain


def values_table(keys: list[Key]) -> str:
    """One row a key."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    rows += [f"| `{'.'.join(key.path)}` | {_default(key.default)} | {_cell(key.text)} |" for key in _leaves(keys)]
    return "\n".join(rows)


def _leaves(keys: list[Key]) -> Iterator[Key]:
    for key in keys:
        if key.keys:
            yield from _leaves(key.keys)
        else:
            yield key


def _default(value: Any) -> str:
    if value is None:
        return "derived"
    shown = json.dumps(value)
    return f"`{shown}`" if len(shown) <= 60 else "see values.yaml"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def generated() -> dict[str, str]:
    """The generated files by name."""
    keys = read_keys((CHART / "values.yaml").read_text(encoding="utf-8"))
    told = (CHART / "README.template.md").read_text(encoding="utf-8")
    note = "<!-- Generated by `make docs` from README.template.md and values.yaml; a test compares them. -->\n\n"
    return {
        "values.schema.json": json.dumps(values_schema(keys), indent=2) + "\n",
        "README.md": note + told.replace("{{ values }}", values_table(keys)),
    }


if __name__ == "__main__":
    for name, text in generated().items():
        (CHART / name).write_text(text, encoding="utf-8")
