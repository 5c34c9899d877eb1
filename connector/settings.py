"""The settings: every key with its type, its default and its bounds, in one frozen tree.

An edge: what the operator wrote (`configuration`) is read here, once, at start. Whatever is wrong is said with the
key's path, all of it at once, before anything is connected. Units stand last in a key's name. The reference in the docs
is generated from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from connector.address import LOOPBACK, NO_CREDENTIALS, can_log_in, check_proxy, may_be_host, web_address
from connector.braze import api_key_in
from connector.configuration import ConfigurationInvalid, written
from connector.kafka_properties import max_poll_interval_ms, refusals
from connector.records import Kind

_NO_KEY: Final = "a key is no text: quote it (YAML reads a bare yes, no, on, off as boolean, and digits as a number)"
NO_TRACING: Final = "tracing: OpenTelemetry is not installed: pip install 'aiq-braze[tracing]', or remove this section"

_NOT_SHARED: Final = re.compile(r"password|secret|\.pem$|^group\.instance\.id$|^client\.(id|rack)$")
_TOPIC: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,249}")
"""As Kafka has them. What begins with ^ is a pattern to librdkafka, which brings records of topics unknown to us."""
_NO_TOPIC: Final = "is no name of a topic: give each by its own, in letters, digits, dots, dashes and underscores"
PACKAGED_SCHEMAS: Final = next(
    (
        directory
        for directory in (Path(__file__).parent / "_schemas", Path(__file__).parent.parent / "schemas")
        if directory.is_dir()
    ),
    Path("schemas"),
)
"""The three schemas that come with the package (installed, or in a checkout)."""

SCHEMA_FILES: Final = {
    Kind.AUDIENCE: "AudienceMembership.avsc",
    Kind.EVENT: "ProfileEvent.avsc",
    Kind.CAMPAIGN: "CampaignTrigger.avsc",
}


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, protected_namespaces=(), allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        """Python takes true for 1: a time-out of a second, where `on` was meant to be something else."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError(f"{str(value).lower()} is no value of it (YAML reads a bare yes, no, on, off as boolean)")
        return value


class RegistrySettings(_Section):
    """Absent: each topic's writer schema is read from `schemas_dir`."""

    url: str = Field(description="Address of a Confluent-compatible Schema Registry, path included.")
    user: str | None = Field(None, description="For basic authentication.")
    password: SecretStr | None = Field(None, description="For basic authentication.")
    password_file: Path | None = Field(None, description="The same from a file, which is read again when it changes.")
    ca_file: Path | None = Field(None, description="Certificate authorities beside the system's.")
    proxy: str | None = Field(None, description="URL of an HTTP proxy.")
    timeout_s: float = Field(10.0, gt=0, description="Of one request.")

    @model_validator(mode="after")
    def _reachable(self) -> RegistrySettings:
        parts = web_address(self.url)
        if parts is None:
            raise ValueError("url: must be an address such as https://registry:8081; is the port a number?")
        if parts.query or parts.fragment:
            raise ValueError(
                "url: must end with the path: what stands behind ? or # would come before what is asked for"
            )
        if "@" in parts.netloc and self.user is not None:
            raise ValueError("user: the address names one, too: name one of the two")
        if not can_log_in(self.url):
            raise ValueError(f"url: {NO_CREDENTIALS}")
        check_proxy(self.proxy)
        passwords = [each for each in (self.password, self.password_file) if each is not None]
        if len(passwords) > 1:
            raise ValueError("password: give one of password and password_file")
        if passwords and self.user is None:
            raise ValueError("user: is required beside a password, which would not be sent")
        return self


class TopicSettings(_Section):
    """One topic holds one kind."""

    kind: Kind = Field(description="`audience`, `event` or `campaign`; decides the mapping.")
    schema_file: str | None = Field(
        None, alias="schema", description="Writer schema in `schemas_dir`; default: the kind's own."
    )
    framing: Literal["plain", "confluent"] | None = Field(
        None,
        description="`confluent`: magic byte and schema id first. Default: `confluent` with a registry, else `plain`.",
    )
    mapping: dict[str, Any] = Field(
        default_factory=dict, description="Overrides of the kind's mapping document (see the mapping page)."
    )


class TrackLimitSettings(_Section):
    """Objects of one `/users/track` request; exactly one of the two."""

    combined: int | None = Field(None, ge=1, le=1000, description="Over all arrays: today's contracts (75).")
    per_array: int | None = Field(None, ge=1, le=1000, description="In each array: legacy contracts (75).")

    @model_validator(mode="after")
    def _one_of_two(self) -> TrackLimitSettings:
        if (self.combined is None) == (self.per_array is None):
            raise ValueError("give exactly one of combined and per_array")
        return self


class RateSettings(_Section):
    """A limit: so many requests in a window of so many seconds."""

    requests: int = Field(ge=1, description="Requests of the whole workspace (or company).")
    per_s: float = Field(gt=0, description="Length of the window; from an hour up it is aligned to the clock.")


class RetrySettings(_Section):
    """Full-jitter exponential backoff, without an end."""

    first_s: float = Field(0.5, gt=0, description="Upper bound of the first wait.")
    longest_s: float = Field(30.0, gt=0, description="Upper bound of every wait.")


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, dict) else value


Rates = Annotated[list[RateSettings], BeforeValidator(_one_or_many), Field(min_length=1)]


class BrazeSettings(_Section):
    """Braze: one workspace a process."""

    endpoint: str = Field(
        description="REST address of the workspace's cluster: https://rest.iad-01.braze.com and the like."
    )
    api_key: SecretStr | None = Field(None, description="REST API key with `users.track` and `campaigns.trigger.send`.")
    api_key_file: Path | None = Field(None, description="The same from a file, which is read again when it changes.")
    track_limit: TrackLimitSettings = Field(
        TrackLimitSettings(combined=75), description="Objects of one request, by contract."
    )
    rate: Rates = Field([RateSettings(requests=3000, per_s=3)], description="Limits of `/users/track`; one or a list.")
    trigger_rate: Rates = Field(
        [RateSettings(requests=250_000, per_s=3600)], description="Limits of `/campaigns/trigger/send`."
    )
    settle_s: float = Field(
        5.0, ge=0, description="A user's further attribute writes wait so long after one; 0: they do not."
    )
    linger_s: float = Field(0.25, ge=0, description="How long an unfilled batch waits at most when the quota binds.")
    track_requests_max: int = Field(96, ge=1, description="Requests to `/users/track` in hand at once.")
    trigger_requests_max: int = Field(16, ge=1, description="Requests to `/campaigns/trigger/send` in hand at once.")
    request_timeout_s: float = Field(30.0, gt=0, description="Of one attempt.")
    connect_timeout_s: float = Field(5.0, gt=0, description="Of connecting, TLS included.")
    retry: RetrySettings = Field(RetrySettings(), description="Backoff after what is not the record's fault.")
    probe_s: float = Field(
        10.0,
        gt=0,
        description="How often a halted endpoint is asked again. A parked campaign: later every minute.",
    )
    halvings_per_min: int = Field(
        1_200, ge=1, description="Requests a minute that look for an object which Braze refuses without naming it."
    )
    ambiguous_events: Literal["retry", "dead_letter"] = Field(
        "retry", description="Events whose request got no answer: `retry` may double them, `dead_letter` may lose them."
    )
    campaign_delivery: Literal["at_least_once", "at_most_once"] = Field(
        "at_least_once",
        description="`at_most_once`: a trigger is marked in Kafka before it is sent; one whose fate a crash hides is"
        " skipped, one without an answer becomes a dead letter.",
    )
    campaign_max_age_s: float | None = Field(
        None, gt=0, description="Triggers older than this are skipped; null: none."
    )
    campaign_repeat_window_records: int = Field(
        10_000,
        ge=0,
        description="Triggers with an `event_id` among so many that their partition saw last are skipped; 0: none is."
        " In memory: best effort across a restart.",
    )
    parked_campaign_records_max: int = Field(
        10_000,
        ge=0,
        description="Triggers kept for campaigns that Braze does not send at present; more are dead letters.",
    )
    proxy: str | None = Field(None, description="URL of an HTTP proxy.")
    ca_file: Path | None = Field(None, description="Certificate authorities beside the system's.")

    @model_validator(mode="after")
    def _reachable(self) -> BrazeSettings:
        parts = web_address(self.endpoint)
        if parts is None or parts.hostname is None:
            raise ValueError("endpoint: give the REST address of your cluster, such as https://rest.iad-01.braze.com")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise ValueError("endpoint: http would send the key in the clear: use https")
        if parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError("endpoint: scheme and host only, no path, query or user")
        if parts.hostname.startswith("sdk."):
            raise ValueError("endpoint: this is the SDK's host; use the cluster's rest. host")
        if (self.api_key is None) == (self.api_key_file is None):
            raise ValueError("api_key: give exactly one of api_key and api_key_file")
        if self.api_key is not None:
            text = self.api_key.get_secret_value()
            if not text.strip():
                raise ValueError("api_key: is empty; is the variable that it comes from set?")
            if api_key_in(text.encode("utf-8", "surrogatepass")) is None:
                raise ValueError("api_key: is no API key: give it alone, in one line of plain ASCII")
        check_proxy(self.proxy)
        return self


class MappingSettings(_Section):
    """Choices that every topic's mapping shares."""

    prefer: Literal["external_id", "braze_id"] = Field("external_id", description="Which one, when a record has both.")
    placeholder_ids: list[str] | None = Field(
        None, description="Ids that stand for nobody, refused in any case; null: the built-in list."
    )
    write_control_splits: bool = Field(default=False, description="Write members of control splits, too.")
    braze_id_recipients: Literal["send", "dead_letter"] = Field(
        "send", description="Campaign recipients known by braze_id only: Braze's newest page accepts them."
    )
    unknown_users: Literal["create", "ignore"] = Field(
        "create", description="Users whom Braze does not know: `ignore` sends `_update_existing_only`."
    )
    decimal_as: Literal["number", "string"] = Field("number", description="How Avro decimals are written.")
    express: bool = Field(
        default=True,
        description="Plain records go from bytes to JSON in one compiled step, where the connector was built with a C"
        " compiler; the result is the same without, at more processor time.",
    )


class BreakerSettings(_Section):
    """Too many dead letters of a topic halt it, with its offsets held, instead of draining it."""

    share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Of the records that are sent or become dead letters (what a rule skips does not count); 1: never"
        " by share.",
    )
    records_min: int = Field(1_000, ge=1, description="Fewer than this within the window say nothing about a share.")
    window_s: float = Field(60.0, gt=0, description="Over how long the share is taken.")
    run: int = Field(1_000, ge=0, description="Dead letters with nothing delivered in between; 0: never by a run.")


class BufferSettings(_Section):
    """How much may be taken from Kafka and not settled; past it partitions are paused."""

    records: int = Field(100_000, ge=100, description="Records, over all partitions.")
    bytes: int = Field(16_777_216, ge=1_000_000, description="Bytes of their values.")


class HttpSettings(_Section):
    """Where probes, metrics and the status page are served."""

    host: str = Field("0.0.0.0", description="Address to listen on.")  # noqa: S104  # a pod's probes come from outside
    port: int = Field(8080, ge=0, le=65535, description="Port; 0: any free one, said in the log.")

    @model_validator(mode="after")
    def _reachable(self) -> HttpSettings:
        if not may_be_host(self.host):
            raise ValueError("host: is no name or address: give one, or 0.0.0.0 for all of them")
        return self


class LogSettings(_Section):
    """The log goes to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is written.")
    format: Literal["json", "text"] = Field("json", description="One JSON object a line, or text for people.")


class TracingSettings(_Section):
    """Absent: nothing is traced, and OpenTelemetry is not even loaded. Needs the extra `tracing`."""

    endpoint: str = Field(description="Of a collector, OTLP over HTTP: http://collector:4318/v1/traces and the like.")
    sample: float = Field(0.01, gt=0, le=1, description="Share of the requests to Braze that get a span.")

    @model_validator(mode="after")
    def _reachable(self) -> TracingSettings:
        if web_address(self.endpoint) is None:
            raise ValueError("endpoint: must be an address such as http://collector:4318/v1/traces")
        return self


class Settings(_Section):
    """Everything."""

    kafka: dict[str, Any] = Field(
        description="Any librdkafka property; passed on verbatim. `PROPERTY_file` reads its value from a file;"
        " `sasl.username` and `sasl.password` are read again when theirs change."
    )
    schema_registry: RegistrySettings | None = Field(None, description="Where writer schemas come from.")
    schemas_dir: Path = Field(
        PACKAGED_SCHEMAS, description="Schema files; relative to the configuration file. Default: the packaged ones."
    )
    topics: dict[str, TopicSettings] = Field(min_length=1, description="What to read, by topic.")
    dead_letter_topic: str = Field(
        "aiq.dead-letters", min_length=1, description="Where records go that cannot be delivered."
    )
    dead_letter_breaker: BreakerSettings = Field(
        BreakerSettings(), description="When a topic halts because too much of it is bad."
    )
    braze: BrazeSettings = Field(description="Where everything goes.")
    mapping: MappingSettings = Field(MappingSettings(), description="Choices that all mappings share.")
    buffer: BufferSettings = Field(BufferSettings(), description="What may be in flight.")
    commit_interval_s: float = Field(
        0.5, gt=0, le=10, description="A commit starts at the latest so long after a settlement."
    )
    drain_deadline_s: float = Field(20.0, ge=0, description="How long a shutdown waits for what is in flight.")
    revoke_deadline_s: float = Field(
        10.0, ge=0, description="How long a leaving partition waits for what is on the wire."
    )
    http: HttpSettings = Field(HttpSettings(), description="Probes, metrics, status page.")
    log: LogSettings = Field(LogSettings(), description="The log.")
    tracing: TracingSettings | None = Field(
        None, description="OpenTelemetry: one span a request, linked to the `traceparent` headers of its records."
    )

    _kafka_files: Mapping[str, Path] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Keep which of Kafka's properties stand in files: no key of its own, and known to `load` alone."""
        self._kafka_files = dict(context or {})

    @property
    def kafka_files(self) -> Mapping[str, Path]:
        """The files from which properties of Kafka were read; they may be written anew."""
        return self._kafka_files

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        for name in self.topics:
            if not _TOPIC.fullmatch(name):
                raise ValueError(f"topics.{name}: {_NO_TOPIC}")
        if not _TOPIC.fullmatch(self.dead_letter_topic):
            raise ValueError(f"dead_letter_topic: {_NO_TOPIC}")
        if self.dead_letter_topic in self.topics:
            raise ValueError("dead_letter_topic: is also a topic to read: its letters would go round for ever")
        for name, topic in self.topics.items():
            if topic.framing == "plain" and self.schema_registry is not None:
                raise ValueError(
                    f"topics.{name}.framing: plain values carry no schema id; with a registry all are framed"
                )
        for key in ("session.timeout.ms", "max.poll.interval.ms"):
            if not _is_whole(self.kafka.get(key, 0)):
                raise ValueError(f"kafka.{key}: must be a whole number, of milliseconds")
        # Two seconds of slack, three for the last commit, and that one's own time-out.
        if (self.revoke_deadline_s + 15) * 1000 >= max_poll_interval_ms(self.kafka):
            raise ValueError("revoke_deadline_s: must stay 15 s below kafka.max.poll.interval.ms (60,000 unless set)")
        return self

    def fingerprint(self) -> str:
        """A short hash that differs between pods whose configuration differs.

        Neither secrets enter it nor what is meant to differ from pod to pod, or a static group would always seem to
        drift.
        """
        plain = self.model_dump(mode="json", exclude={"braze": {"api_key"}, "schema_registry": {"password"}})
        plain["kafka"] = {key: value for key, value in plain["kafka"].items() if not _NOT_SHARED.search(key)}
        return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _is_whole(value: object) -> bool:
    """Whether it can be read as librdkafka will read it: 10000 and "10000" can, "10s" cannot."""
    return re.fullmatch(r"\s*\d+\s*", str(value)) is not None


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration.

    Args:
        path: The YAML file; None: the environment alone.
        environment: Default: the process's.

    Raises:
        ConfigurationInvalid: With every fault that was found.
    """
    read = written(path, os.environ if environment is None else environment)
    tree = read.tree
    if path is not None and "schemas_dir" in tree:
        tree["schemas_dir"] = path.parent / str(tree["schemas_dir"])
    try:
        settings = Settings.model_validate(tree, context=read.kafka_files)
    except ValidationError as error:
        raise ConfigurationInvalid([_fault(each) for each in error.errors()]) from None
    broken = [f"kafka.{key}: {reason}" for key, reason in refusals(settings.kafka)]
    if broken:
        raise ConfigurationInvalid(broken)
    return settings


def _fault(error: Any) -> str:
    path = [str(part) for part in error["loc"]]
    if error["type"] == "invalid_key" or path[-1:] == ["[key]"]:  # named by a value that YAML made of it
        return f"{'.'.join(path[: -1 if error['type'] == 'invalid_key' else -2])}: {_NO_KEY}"
    where = ".".join(path)
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        message = "unknown key"
    elif error["type"] == "missing":
        message = "is required"
    if error["type"] == "value_error":
        key, separator, rest = message.partition(": ")
        if separator:  # a validator of a whole section names the key itself
            return f"{where}.{key}: {rest}" if where else f"{key}: {rest}"
    return f"{where}: {message}" if where else message
