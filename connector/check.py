"""`aiq-braze check`: is everything there that `run` will need? One line a finding, with the remedy.

An edge. It changes nothing outside: Kafka is asked for metadata, the registry for its subjects, and Braze gets one
request without objects, which it must refuse as empty if it knows the key and the permission.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # the stub's own gap

from connector.address import LOOPBACK
from connector.app import braze_client, schema_registry, translators
from connector.braze import Endpoint
from connector.configuration import ConfigurationInvalid
from connector.kafka_errors import TOLD_ASIDE, refusal
from connector.kafka_log import unheard
from connector.kafka_properties import producer_properties
from connector.outcomes import Ambiguous, Misconfigured, NoReply, Reply, TooLarge, classify
from connector.ports import SchemaUnknown
from connector.registry import RegistryRefused
from connector.schema import WriterSchema
from connector.settings import Settings
from connector.troubles import one_line

_CALL_S = 10.0
_HEADERS_BYTES = 8_192
"""Room that a dead letter's own headers may need beside the original."""

_DEFAULT_MESSAGE_BYTES = 1_048_588
"""Kafka's `message.max.bytes` unless changed."""

_BRAZE_HOSTS = (".braze.com", ".braze.eu")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        verdict: `refused` is an outside system's word (exit code 3), `warning` does not keep `run` from working.
        subject: What was looked at.
        text: What was found and, unless it is fine, what to do.
    """

    verdict: Literal["ok", "warning", "wrong", "refused"]
    subject: str
    text: str


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything in turn."""
    for finding in _configuration(settings):
        yield finding
    for finding in await asyncio.to_thread(_kafka, settings):
        yield finding
    async for finding in _registry(settings):
        yield finding
    async for finding in _braze(settings):
        yield finding


def _configuration(settings: Settings) -> list[Finding]:
    findings = []
    try:
        translators(settings)
    except ConfigurationInvalid as error:
        return [Finding("wrong", "mapping", fault) for fault in error.faults]
    known = "the schemas are learnt from the registry" if settings.schema_registry is not None else "schemas map"
    findings.append(Finding("ok", "configuration", f"{len(settings.topics)} topics; {known}"))
    host = urlsplit(settings.braze.endpoint).hostname or ""
    if not host.endswith(_BRAZE_HOSTS) and host not in LOOPBACK:
        text = f"{host} is no host of Braze's that is known (…braze.com, …braze.eu): make sure that it is yours"
        findings.append(Finding("warning", "braze.endpoint", text))
    return findings


def _kafka(settings: Settings) -> list[Finding]:
    properties = {key: value for key, value in producer_properties(settings.kafka).items() if key not in _PRODUCER_ONLY}
    heard: list[KafkaError] = []
    admin = AdminClient(properties | unheard() | {"error_cb": heard.append})
    try:
        cluster = admin.list_topics(timeout=_CALL_S)
    except KafkaException as error:
        admin.poll(0)  # errors are heard in it
        return [Finding("refused", "kafka", _no_answer(error.args[0], heard))]
    findings = [Finding("ok", "kafka", f"{len(cluster.brokers)} brokers answer")]
    for topic in settings.topics:
        found = cluster.topics.get(topic)
        if found is None or found.error is not None:
            findings.append(Finding("refused", topic, "does not exist, or may not be described: make it, or allow it"))
        else:
            findings.append(Finding("ok", topic, f"{len(found.partitions)} partitions"))
    findings.append(_dead_letter_topic(admin, settings, cluster.topics.get(settings.dead_letter_topic) is not None))
    return findings


def _no_answer(answer: KafkaError, heard: Sequence[KafkaError]) -> str:
    """Why no broker answers, and what to do."""
    return f"no answer: {refusal(next((error for error in heard if error.code() in TOLD_ASIDE), answer))}"


_PRODUCER_ONLY = {"enable.idempotence", "linger.ms", "message.timeout.ms"}


def _dead_letter_topic(admin: AdminClient, settings: Settings, exists: bool) -> Finding:
    """It must exist, be able to hold the largest original plus our headers, and keep letters of old records."""
    name = settings.dead_letter_topic
    if not exists:
        return Finding("refused", name, "the dead-letter topic does not exist: make it; `run` halts without it")
    topics = _configurations(admin, [name, *settings.topics])
    sizes = {topic: int(values["max.message.bytes"]) for topic, values in topics.items()}
    if name not in sizes:
        text = (
            "its configuration cannot be read: see that its max.message.bytes exceeds the topics' by 8 KiB, and that"
            " its message.timestamp.type is LogAppendTime"
        )
        return Finding("warning", name, text)
    needed = max((sizes.get(topic, _DEFAULT_MESSAGE_BYTES) for topic in settings.topics), default=0) + _HEADERS_BYTES
    if sizes[name] < needed:
        text = (
            f"max.message.bytes is {sizes[name]}, too small for the largest record plus its headers:"
            f" set it to {needed} or more; a letter that does not fit halts `run`"
        )
        return Finding("refused", name, text)
    if "compact" in topics[name].get("cleanup.policy", ""):
        text = (
            "it is compacted: of two letters with one key Kafka keeps the newer one alone, and takes none without"
            " a key. Set its cleanup.policy to delete"
        )
        return Finding("refused", name, text)
    keeps_ms = int(topics[name].get("retention.ms", "-1"))
    if keeps_ms >= 0 and topics[name].get("message.timestamp.type") == "CreateTime":
        text = (
            f"a letter keeps its record's timestamp, from which retention.ms ({keeps_ms}) counts: letters of older"
            " records are deleted within minutes. Set message.timestamp.type to LogAppendTime"
        )
        return Finding("warning", name, text)
    return Finding("ok", name, f"holds records of up to {sizes[name]} bytes")


def _configurations(admin: AdminClient, topics: list[str]) -> dict[str, dict[str, str]]:
    """The configuration of each topic that may be asked, `max.message.bytes` in it."""
    found: dict[str, dict[str, str]] = {}
    asked = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics])
    for resource, answer in asked.items():
        try:
            entries = answer.result(timeout=_CALL_S)
        except (KafkaException, TimeoutError):
            continue  # an old broker, or no permission: told by whoever needs it
        if "max.message.bytes" in entries:
            found[resource.name] = {name: str(entry.value) for name, entry in entries.items()}
    return found


async def _registry(settings: Settings) -> AsyncIterator[Finding]:
    registry = schema_registry(settings, lambda _event: None, lambda _status: None, lambda: 0.5)
    if registry is None:
        return
    await registry.open()
    try:
        for topic, chosen in settings.topics.items():
            if chosen.schema_file is not None:
                continue
            subject = f"{topic}-value"
            try:
                text = await registry.latest(subject)
                fresh = translators(settings)
                fresh[topic].learn(WriterSchema(text), 1)
                yield Finding("ok", subject, "its latest schema can be mapped")
            except SchemaUnknown as unknown:
                if str(unknown):  # the subject is there
                    yield Finding("wrong", subject, one_line(f"its latest schema cannot be read: {unknown}"))
                    continue
                text = "the registry has no such subject yet: nothing was produced, or another naming strategy is used"
                yield Finding("warning", subject, text)
            except RegistryRefused as error:
                yield Finding("refused", "schema_registry", str(error))
                return
            except (aiohttp.ClientError, TimeoutError, OSError):
                yield Finding(
                    "refused", "schema_registry", "does not answer: check schema_registry.url and the network"
                )
                return
            except ValueError as error:
                yield Finding("wrong", subject, one_line(f"its latest schema cannot be mapped: {error}"))
    finally:
        await registry.close()


async def _braze(settings: Settings) -> AsyncIterator[Finding]:
    client = braze_client(settings)
    await client.open()
    try:
        kinds = {topic.kind.value for topic in settings.topics.values()}
        probes = [(Endpoint.TRACK, b'{"attributes":[],"events":[]}', "users.track")] if kinds - {"campaign"} else []
        if "campaign" in kinds:
            # No recipients and no broadcast: Braze has nobody to send to, whatever the campaign.
            probes.append((Endpoint.TRIGGER, b'{"campaign_id":"check","recipients":[]}', "campaigns.trigger.send"))
        for endpoint, body, permission in probes:
            attempt = await client.attempt(endpoint, body, lambda: True)
            yield _braze_finding(endpoint, permission, attempt)
    finally:
        await client.close()


def _braze_finding(endpoint: Endpoint, permission: str, attempt: Reply | NoReply) -> Finding:
    if isinstance(attempt, NoReply):
        return Finding(
            "refused", "braze", f"no answer ({attempt.cause}): check braze.endpoint, the network and braze.proxy"
        )  # fmt: skip
    outcome = classify(endpoint, {}, attempt)
    if isinstance(outcome, Misconfigured):
        return Finding("refused", "braze", outcome.remedy)
    if attempt.status in {400, 422} and not isinstance(outcome, TooLarge):
        return Finding("ok", "braze", f"{endpoint}: the key is accepted and has {permission}")
    if attempt.status >= 300:
        return Finding("warning", "braze", f"{endpoint} answers {attempt.status}: busy or down; the key is not judged")
    # Braze refuses what has no objects; who does not may be anybody, and takes any key.
    said = f"{endpoint} answers {attempt.status} to a request without objects, as Braze does not"
    verdict: Literal["refused", "warning"] = "refused" if isinstance(outcome, Ambiguous) else "warning"
    return Finding(verdict, "braze", f"{said}: check braze.endpoint and braze.proxy; the key is not judged")


def exit_code(findings: list[Finding]) -> int:
    """0 fine, 2 the configuration is wrong, 3 an outside system refused."""
    verdicts = {finding.verdict for finding in findings}
    return 2 if "wrong" in verdicts else 3 if "refused" in verdicts else 0
