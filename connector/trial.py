"""The configuration tried on this machine: its files are read, Kafka clients are made with its properties.

An edge. The text may be right and the machine lack what it names; said here, with its key, it is one line before
anything has begun, and not a traceback or a wait that seems to be the brokers'.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from connector.braze import api_key_in
from connector.braze_client import NO_KEY
from connector.configuration import ConfigurationInvalid
from connector.kafka_log import unheard
from connector.kafka_properties import consumer_properties, producer_properties
from connector.records import Kind
from connector.secret import NO_TEXT, place, text_in
from connector.settings import NO_TRACING, Settings

_SECRET: Final = re.compile(r"password|secret|\.pem$|\.config$")
_WHOSE: Final = re.compile(r"^Failed to create (consumer|producer): ")
_QUOTED_VALUE: Final = re.compile(r'(?i)(invalid value) ".*?"(?= for )', re.DOTALL)


def try_out(settings: Settings) -> None:
    """Read every file and make the Kafka clients once; no broker is waited for, and no group joined.

    Raises:
        ConfigurationInvalid: With every fault that was found.
    """
    has_triggers = any(topic.kind is Kind.CAMPAIGN for topic in settings.topics.values())
    faults = [*_files(settings), *_extras(settings), *_kafka(settings.kafka, beside_triggers=has_triggers)]
    if faults:
        raise ConfigurationInvalid(faults)


def _files(settings: Settings) -> Iterator[str]:
    braze, registry = settings.braze, settings.schema_registry
    looks: list[tuple[str, Path | None, Callable[[Path], str | None]]] = [
        ("braze.api_key_file", braze.api_key_file, _api_key),
        ("braze.ca_file", braze.ca_file, _authorities),
    ]
    if registry is not None:
        looks += [
            ("schema_registry.password_file", registry.password_file, _secret),
            ("schema_registry.ca_file", registry.ca_file, _authorities),
        ]
    for key, path, look in looks:
        if path is None:
            continue
        try:
            fault = look(path)
        except OSError as error:
            named = path if look is _authorities else place(path)
            fault = f"{named} cannot be read: {error.strerror}; is it mounted?"
        if fault is not None:
            yield f"{key}: {fault}"


def _extras(settings: Settings) -> Iterator[str]:
    if settings.tracing is not None:
        try:
            import_module("connector.tracing")
        except ImportError:
            yield NO_TRACING


def _api_key(path: Path) -> str | None:
    return None if api_key_in(path.read_bytes()) is not None else f"{path} {NO_KEY}"


def _secret(path: Path) -> str | None:
    return None if text_in(path.read_bytes()) is not None else f"{path} {NO_TEXT}"


def _authorities(path: Path) -> str | None:
    path.read_bytes()  # says why not; OpenSSL's words for it are others
    try:
        ssl.create_default_context().load_verify_locations(path)
    except ssl.SSLError:
        return f"{path} holds no certificates: give a file of them in PEM"
    return None


def _kafka(kafka: Mapping[str, Any], *, beside_triggers: bool) -> list[str]:
    """What librdkafka refuses of the operator's properties; its sentence is the best that there is to say."""
    faults: dict[str, None] = {}  # in order; both clients mostly say the same
    for make, properties in (
        (Consumer, consumer_properties(kafka, beside_triggers=beside_triggers)),
        (Producer, producer_properties(kafka)),
    ):
        try:
            client = make({**properties, **unheard()})
        except KafkaException as exception:
            error = exception.args[0]
            if error.code() == KafkaError._INVALID_ARG:  # noqa: SLF001  # the library's own spelling
                faults[_refusal(kafka, error.str())] = None
        except (TypeError, ValueError, AttributeError):  # the binding's own, of properties that are Python objects
            faults["kafka: a property has a value of the wrong kind: give texts, numbers, true or false"] = None
        else:
            if isinstance(client, Consumer):
                client.close()
    return list(faults)


def _refusal(kafka: Mapping[str, Any], sentence: str) -> str:
    """One fault: the first key that the sentence names, and the sentence without any value that it quotes."""
    sentence = _QUOTED_VALUE.sub(r"\1", _WHOSE.sub("", sentence)).strip()
    named = {
        found.start(): key
        for key in kafka
        if (found := re.search(rf"(?<![\w.]){re.escape(key)}(?!\.?\w)", sentence)) is not None
    }
    key = named[min(named)] if named else ""
    secrets = {str(value) for name, value in kafka.items() if _SECRET.search(name)} - {""}
    if any(secret in sentence for secret in secrets):
        sentence = "what it says holds a secret and is not shown"
    advice = "correct the key or remove it"
    if key.endswith(".location"):
        advice = f"is {kafka[key]} there, readable and what it should be?"
    return f"{f'kafka.{key}' if key else 'kafka'}: librdkafka refuses it: {sentence}; {advice}"
