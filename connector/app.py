"""The composition root: settings in, a running connector out. Builds and wires; decides nothing.

An edge. `run` of the command line, the demo and the tests all start here.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from connector import __version__
from connector.backpressure import Bounds
from connector.batching import Batcher, TrackLimit
from connector.braze_client import ApiKey, BrazeClient, ClientPolicy
from connector.breaker import BreakerPolicy
from connector.campaigns import CampaignBatcher
from connector.configuration import ConfigurationInvalid
from connector.dead_letters import DeadLetterTopic
from connector.delivery import Delivery, DeliveryPolicy
from connector.health import HealthServer
from connector.kafka_log import kafka_logger
from connector.kafka_properties import lease_s
from connector.limits import Pool, Rate
from connector.mapping import MappingInvalid, MappingRules, default_document, override
from connector.outcomes import RetryPolicy
from connector.pipeline import Pipeline, PipelinePolicy
from connector.ports import Cured, Trouble
from connector.records import Kind
from connector.registry import RegistryPolicy, SchemaRegistry
from connector.sasl import SaslCredentials
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema
from connector.secret import Secret
from connector.series import start_series
from connector.settings import NO_TRACING, PACKAGED_SCHEMAS, SCHEMA_FILES, RateSettings, Settings
from connector.source import KafkaSource
from connector.telemetry import Telemetry
from connector.translation import Translator

if TYPE_CHECKING:
    from connector.tracing import Tracing


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def at(self) -> float:
        """Epoch seconds."""
        return time.time()

    def boot(self) -> float:
        """Seconds since boot, suspension included (where the system knows it)."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    def cpu(self) -> float:
        """Processor seconds of the calling thread."""
        return time.thread_time()


def read_schema(directory: Path, name: str) -> WriterSchema:
    """A schema file.

    Raises:
        SchemaInvalid: Absent, unreadable, or no Avro schema.
    """
    path = directory / name
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SchemaInvalid(f"{path.name} in {directory} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SchemaInvalid(f"{path.name} in {directory} is no file of text: write it in UTF-8") from None
    return WriterSchema(text)


def mapping_rules(settings: Settings) -> MappingRules:
    """The operator's choices as the mapping wants them."""
    chosen = settings.mapping.model_dump(exclude_none=True)
    if "placeholder_ids" in chosen:
        chosen["placeholder_ids"] = frozenset(chosen["placeholder_ids"])
    return MappingRules(**chosen)


def translators(settings: Settings) -> dict[str, Translator]:
    """One a topic, with the mapping checked against the schema where that is known already.

    Raises:
        ConfigurationInvalid: A schema file or a mapping is wrong; each fault names its key.
    """
    faults: list[str] = []
    made: dict[str, Translator] = {}
    rules = mapping_rules(settings)
    readers = {}
    for name in SCHEMA_FILES.values():
        reader = read_schema(PACKAGED_SCHEMAS, name)
        readers[reader.name] = reader
    for topic, chosen in settings.topics.items():
        framed = (chosen.framing or ("confluent" if settings.schema_registry is not None else "plain")) == "confluent"
        try:
            document = override(default_document(chosen.kind), chosen.mapping)
        except MappingInvalid as error:
            faults.append(f"topics.{topic}.mapping: {error}")
            continue
        translator = made[topic] = Translator(topic, chosen.kind, document, rules, readers, framed=framed)
        if settings.schema_registry is not None and chosen.schema_file is None:
            continue  # learnt from the registry, id by id
        file = chosen.schema_file or SCHEMA_FILES[chosen.kind]
        try:
            translator.learn(read_schema(settings.schemas_dir, file))
        except (SchemaInvalid, SchemaUnmappable) as error:
            faults.append(f"topics.{topic}.schema: {file}: {error}")
        except MappingInvalid as error:
            faults.append(f"topics.{topic}.mapping: {error}")
    if faults:
        raise ConfigurationInvalid(faults)
    return made


def braze_client(settings: Settings, warn: Callable[[str], None] = lambda _words: None) -> BrazeClient:
    """The client for the workspace; `warn` is told when its key's file is written badly."""
    braze = settings.braze
    policy = ClientPolicy(
        endpoint=braze.endpoint,
        timeout_s=braze.request_timeout_s,
        connect_timeout_s=braze.connect_timeout_s,
        connections_max=braze.track_requests_max + braze.trigger_requests_max,
        proxy=braze.proxy,
        ca_file=braze.ca_file,
    )
    literal = braze.api_key.get_secret_value() if braze.api_key is not None else None
    return BrazeClient(policy, ApiKey(literal, braze.api_key_file, warn))


def schema_registry(
    settings: Settings,
    tell: Callable[[Trouble | Cured], None],
    count: Callable[[str], None],
    jitter: Callable[[], float],
    warn: Callable[[str], None] = lambda _words: None,
) -> SchemaRegistry | None:
    """The registry, if one is configured; `warn` is told when its password's file is written badly."""
    registry = settings.schema_registry
    if registry is None:
        return None
    literal = registry.password.get_secret_value() if registry.password is not None else None
    policy = RegistryPolicy(
        url=registry.url,
        user=registry.user,
        password=Secret("schema_registry.password_file", literal, registry.password_file, warn),
        ca_file=registry.ca_file,
        proxy=registry.proxy,
        timeout_s=registry.timeout_s,
    )
    return SchemaRegistry(policy, tell, count, jitter)


def tracing(settings: Settings, telemetry: Telemetry) -> Tracing | None:
    """The traces, if they are configured.

    Raises:
        ConfigurationInvalid: They are, and OpenTelemetry is not installed.
    """
    chosen = settings.tracing
    if chosen is None:
        return None
    try:
        from connector.tracing import otlp  # noqa: PLC0415  # an extra, and no cost to whoever does not want it
    except ImportError:
        raise ConfigurationInvalid([NO_TRACING]) from None
    return otlp(chosen.endpoint, chosen.sample, telemetry)


class Connector:
    """One process: everything that it consists of, wired.

    Args:
        settings: The configuration.
        telemetry: Metrics and log.
        seed: For jitter; None: from the system.

    Raises:
        ConfigurationInvalid: A schema or a mapping is wrong.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry, seed: int | None = None) -> None:
        jitter = random.Random(seed).random  # noqa: S311  # spreads retries; guards nothing
        clock = SystemClock()
        braze = settings.braze
        self.settings = settings
        self.telemetry = telemetry
        self.source = KafkaSource(
            settings.kafka,
            list(settings.topics),
            Bounds(settings.buffer.records, settings.buffer.bytes),
            settings.revoke_deadline_s,
            kafka_logger(telemetry),
            lambda stage, seconds: telemetry.count("stage_seconds_total", seconds, stage),
            clock.boot,
            beside_triggers=any(topic.kind is Kind.CAMPAIGN for topic in settings.topics.values()),
        )
        self._client = braze_client(
            settings, lambda words: telemetry.log("warning", "api_key_file_ignored", detail=words)
        )
        self._tracing = tracing(settings, telemetry)
        self._registry = schema_registry(
            settings,
            self._tell,
            lambda status: telemetry.count("registry_requests_total", 1, status),
            jitter,
            lambda words: telemetry.log("warning", "secret_file_ignored", detail=words),
        )
        limit = braze.track_limit
        delivery = Delivery(
            Batcher(
                TrackLimit(limit.combined or limit.per_array or 75, limit.per_array is not None),
                braze.settle_s,
                braze.linger_s,
            ),
            CampaignBatcher(braze.linger_s, braze.campaign_max_age_s, braze.parked_campaign_records_max),
            _pool(braze.rate),
            _pool(braze.trigger_rate),
            DeliveryPolicy(
                track_requests_max=braze.track_requests_max,
                trigger_requests_max=braze.trigger_requests_max,
                ambiguous_events=braze.ambiguous_events,
                campaigns=braze.campaign_delivery,
                halvings_per_min=braze.halvings_per_min,
                retry=RetryPolicy(braze.retry.first_s, braze.retry.longest_s),
                probe_s=braze.probe_s,
            ),
            jitter,
        )
        self._dead_letters = DeadLetterTopic(
            settings.kafka,
            settings.dead_letter_topic,
            self._tell,
            lambda: telemetry.count("dlq_produce_failures_total"),
            kafka_logger(telemetry),
        )
        self._sasl = SaslCredentials(
            settings.kafka,
            settings.kafka_files,
            lambda words: telemetry.log("warning", "secret_file_ignored", detail=words),
        )
        self.pipeline = Pipeline(
            source=self.source,
            transport=self._client,
            dead_letters=self._dead_letters,
            schemas=self._registry,
            clock=clock,
            translators=translators(settings),
            delivery=delivery,
            settle_s=braze.settle_s,
            policy=PipelinePolicy(
                settings.commit_interval_s,
                settings.drain_deadline_s,
                lease_s(settings.kafka),
                braze.probe_s,
                braze.campaign_repeat_window_records,
                BreakerPolicy(**settings.dead_letter_breaker.model_dump()),
                writer=secrets.token_hex(4),
            ),
            telemetry=telemetry,
            spans=self._tracing,
        )
        self.health = HealthServer(self.pipeline, self.source, settings.http.host, settings.http.port)
        self.port = 0
        """Where the health server listens, once `run` has begun."""

    def _log_in_as(self, user: str, password: str) -> None:
        self.source.log_in_as(user, password)
        self._dead_letters.log_in_as(user, password)
        self.telemetry.log("info", "sasl_credentials_renewed")

    def _tell(self, event: Trouble | Cured) -> None:
        self.pipeline.troubles.take(event)

    async def run(self, *, handle_signals: bool = True) -> int:
        """Run until SIGTERM or SIGINT (a second one leaves at once); returns the exit code.

        Raises:
            ConfigurationInvalid: Nobody can listen at the address for probes; nothing was consumed.
        """
        self._announce()
        await self._client.open()
        if self._registry is not None:
            await self._registry.open()
        renewing = asyncio.create_task(self._sasl.keep_giving(self._log_in_as)) if self._sasl.can_change else None
        if renewing is not None:
            renewing.add_done_callback(self.pipeline.reap)
        try:
            self.port = await self._listen()
            self.telemetry.log("info", "connector_started", version=__version__, http_port=self.port)
            if handle_signals:
                loop = asyncio.get_running_loop()
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, self._on_signal)
            return await self.pipeline.run()
        finally:
            if renewing is not None:
                renewing.cancel()
            await self.health.close()
            await self._client.close()
            self._dead_letters.close()
            if self._registry is not None:
                await self._registry.close()
            if self._tracing is not None:
                await self._tracing.close()
            self.telemetry.log("info", "connector_ended")

    async def _listen(self) -> int:
        host, port = self.settings.http.host, self.settings.http.port
        try:
            return await self.health.open()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                fault = f"http.port: {port} is in use: choose another (0: any free one), or end what listens there"
            elif error.errno == errno.EACCES:
                fault = f"http.port: {port} may not be used by this user: choose one above 1023"
            elif error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                fault = f"http.host: {host} is no address of this machine: give one, or 0.0.0.0 for all of them"
            else:
                raise
            raise ConfigurationInvalid([fault]) from None

    def _on_signal(self) -> None:
        if self.pipeline.is_stopping:
            self.telemetry.log("warning", "shutdown_forced", detail="second signal: what is in flight may repeat")
            os._exit(1)
        self.pipeline.stop()

    def _announce(self) -> None:
        telemetry = self.telemetry
        telemetry.gauge("build_info", 1, __version__, os.environ.get("AIQ_BRAZE_REVISION", ""))
        telemetry.gauge("config_info", 1, self.settings.fingerprint())
        telemetry.gauge("queue_bound_records", self.settings.buffer.records, "taken")
        telemetry.gauge("queue_bound_records", self.settings.buffer.records, "track")
        telemetry.gauge("queue_bound_records", self.settings.buffer.records, "trigger")
        kinds = {topic: each.kind for topic, each in self.settings.topics.items()}
        start_series(telemetry, kinds, has_registry=self.settings.schema_registry is not None)


def _pool(rates: list[RateSettings]) -> Pool:
    return Pool([Rate(rate.requests, rate.per_s) for rate in rates])
