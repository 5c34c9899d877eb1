"""What the operator wrote: one YAML file, environment variables over it, and the files of Kafka's secrets; to one tree.

An edge: it reads files. The tree holds keys and values as they were written; what they have to be, `settings` knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from connector.secret import place

ENVIRONMENT_PREFIX: Final = "AIQ_BRAZE__"

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FROM_FILE: Final = "_file"
_DOCUMENT: Final = "mapping"

_DEPTH_MAX: Final = 100
"""No mapping needs a tenth of it. Beyond, whoever walks the tree (we, pydantic, JSON) would run out of stack."""
_TOO_DEEP: Final = f"nests more than {_DEPTH_MAX} deep"


class ConfigurationInvalid(ValueError):
    """What is wrong, one line a fault; each names its key.

    Args:
        faults: `key: what is wrong and what to do`.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class _SaidTwice(Exception):
    """A key stands in a mapping twice: readers of YAML and JSON keep the last one and drop the other without a word."""


class _Reader(yaml.SafeLoader):
    """YAML in which a key stands once."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise _SaidTwice(f"{key.value} stands twice in one place, again at line {key.start_mark.line + 1}")
                seen.add(key.value)
        return node


@dataclass(frozen=True, slots=True)
class Written:
    """What the operator wrote.

    Attributes:
        tree: Keys and values.
        kafka_files: The files from which properties of Kafka were read; they may be written anew.
    """

    tree: dict[str, Any]
    kafka_files: Mapping[str, Path]


def written(path: Path | None, environment: Mapping[str, str]) -> Written:
    """Read it.

    Args:
        path: The YAML file; None: the environment alone.
        environment: What is expanded in the file's values, and written over them.

    Raises:
        ConfigurationInvalid: With every fault that was found.
    """
    faults: list[str] = []
    tree: dict[str, Any] = _expanded({} if path is None else _parsed(path), environment, "", faults)
    _overlay(tree, environment, faults)
    files = _read_kafka_files(tree, faults)
    if faults:
        raise ConfigurationInvalid(faults)
    return Written(tree, files)


def _parsed(path: Path) -> dict[Any, Any]:
    try:
        tree = _shallow(_Reader(path.read_text(encoding="utf-8")).get_single_data())
    except OSError as error:
        raise ConfigurationInvalid([f"--config: {path} cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigurationInvalid([f"--config: {path} is no file of text: write it in UTF-8"]) from None
    except _SaidTwice as error:
        raise ConfigurationInvalid([f"--config: {path}: {error}: give it once"]) from None
    except (yaml.YAMLError, ValueError, AttributeError) as error:  # the last two: dates and the like that are none
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigurationInvalid([f"--config: {path} is no YAML{where}"]) from None
    except RecursionError:
        raise ConfigurationInvalid([f"--config: {path} {_TOO_DEEP}; does an anchor hold itself?"]) from None
    if not isinstance(tree, dict):
        raise ConfigurationInvalid([f"--config: {path} holds no mapping of keys"])
    return tree


def _shallow(tree: Any) -> Any:
    """The tree itself.

    Raises:
        RecursionError: As the readers of YAML and JSON raise it, only sooner: it nests too deep.
    """
    if _nests_deeper(tree, _DEPTH_MAX):
        raise RecursionError
    return tree


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise _SaidTwice(f"{twice} stands twice in one place")
    return tree


def _nests_deeper(node: Any, levels: int) -> bool:
    """Whether sections and lists lie in each other beyond so many; what holds itself does, too."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else None
    return below is not None and (levels == 0 or any(_nests_deeper(each, levels - 1) for each in below))


def _expanded(
    node: Any, environment: Mapping[str, str], where: str, faults: list[str], *, is_document: bool = False
) -> Any:
    """`${VAR}` in values; an unset one is a fault, not an empty string.

    Keys become text, but in a mapping document: its value maps translate numbers and booleans, too.
    """
    if isinstance(node, dict):
        return {
            key if is_document else str(key): _expanded(
                value,
                environment,
                f"{where}.{key}" if where else str(key),
                faults,
                is_document=is_document or key == _DOCUMENT,
            )
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [
            _expanded(value, environment, f"{where}.{index}", faults, is_document=is_document)
            for index, value in enumerate(node)
        ]
    if not isinstance(node, str):
        return node

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            faults.append(f"{where}: the environment variable {name} is not set")
        return environment.get(name, "")

    text = _VARIABLE.sub(value_of, node)
    faults += _flaws(text, where)
    return text


def _flaws(node: Any, where: str) -> Iterator[str]:
    """Texts that nothing beyond us could take.

    Bytes of another encoding in a variable are halves of characters here; YAML and JSON can spell these, and a NUL.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _flaws(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _flaws(value, f"{where}.{index}")
    elif isinstance(node, str):
        if any("\ud800" <= character <= "\udfff" for character in node):
            yield f"{where}: is no text in UTF-8"
        if "\0" in node:
            yield f"{where}: holds a NUL"


def _overlay(tree: dict[str, Any], environment: Mapping[str, str], faults: list[str]) -> None:
    """Environment variables over the file: `AIQ_BRAZE__BRAZE__SETTLE_S=0` is `braze.settle_s: 0`."""
    for name, text in sorted(environment.items()):
        if not name.startswith(ENVIRONMENT_PREFIX):
            continue
        if flaws := list(_flaws(text, name)):
            faults += flaws
            continue
        path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
        if path[0] == "kafka" and len(path) == 2:
            stem = path[1].removesuffix(_FROM_FILE)
            path[1] = stem.replace("_", ".") + path[1].removeprefix(stem)  # librdkafka's own names have dots only
        node = tree
        for part in path[:-1]:
            below = node.setdefault(_key_of(part, node), {})
            if not isinstance(below, dict):
                faults.append(f"{name}: {part} is no section")
                break
            node = below
        else:
            try:
                key = _key_of(path[-1], node)
                node[key] = _value(text, is_property=path[0] == "kafka" and len(path) > 1)
                faults += _flaws(node[key], name)
            except _SaidTwice as error:
                faults.append(f"{name}: {error}: give it once")
            except RecursionError:
                faults.append(f"{name}: {_TOO_DEEP}")


def _key_of(part: str, node: Mapping[str, Any]) -> str:
    """The key of the file that a part of a variable's name spells: a topic's name has dots and dashes."""
    return next((key for key in node if str(key).lower().replace(".", "_").replace("-", "_") == part), part)


def _read_kafka_files(tree: Mapping[str, Any], faults: list[str]) -> dict[str, Path]:
    """`sasl.password_file: /run/password` is `sasl.password` with what the file holds: librdkafka reads none itself."""
    kafka = tree.get("kafka")
    files: dict[str, Path] = {}
    if not isinstance(kafka, dict):
        return files  # said by the model
    for key in [key for key in kafka if str(key).endswith(_FROM_FILE)]:
        name = key.removesuffix(_FROM_FILE)
        path = kafka.pop(key)
        if name in kafka:
            faults.append(f"kafka.{key}: give either {name} or {key}")
            continue
        if any(_flaws(path, "")):
            continue  # said already
        try:
            files[name] = Path(path)
            kafka[name] = files[name].read_text(encoding="utf-8").strip()
        except (OSError, TypeError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no file of text"
            named = place(files[name]) if name in files else "what is given"
            faults.append(f"kafka.{key}: {named} cannot be read: {why}; is the secret mounted?")
    return files


def _value(text: str, *, is_property: bool) -> Any:
    """A variable's text as YAML would read it where it is a list or a section; else the text, which pydantic reads.

    Args:
        text: The variable's.
        is_property: Of librdkafka's: a password may begin with a brace.

    Raises:
        _SaidTwice: A key stands in it twice.
        RecursionError: It nests too deep.
    """
    if is_property or text[:1] not in {"{", "["}:
        return text
    try:
        return _shallow(json.loads(text, object_pairs_hook=_once))
    except ValueError:
        return text
