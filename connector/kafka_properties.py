"""librdkafka's properties: ours under the operator's, and the ones that would break a promise refused.

Pure. The operator's `kafka:` section is passed on verbatim; what is set here needs no touching.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SESSION_TIMEOUT_MS: Final = 10_000
"""A dead replica's partitions move after this; measured against 45 s by default, and still three heartbeats long."""

_MAX_POLL_INTERVAL_MS: Final = 60_000
"""librdkafka waits for the answer to a JoinGroup so long and three seconds, and asks again only then (measured: an
answer that was lost on the way costs 33 s with 30). By its default a member would be out for five minutes, and a
coordinator would wait as long for one that hangs. The revoke deadline lies well below it."""

_PORTIONS: Final[dict[str, Any]] = {
    # Asked for again soon after there is room (by default a second later), or one partition could not keep us busy.
    "queued.min.messages": 2_000,
    "fetch.queue.backoff.ms": 20,
    "max.partition.fetch.bytes": 262_144,
}

BESIDE_TRIGGERS: Final[dict[str, Any]] = {
    "queued.min.messages": 500,
    "fetch.queue.backoff.ms": 10,
    "max.partition.fetch.bytes": 65_536,
}
"""The portions where triggers are read, too: one must not wait behind all that audiences have brought. They cost a
tenth more processor time."""

_DEFAULTS: Final[dict[str, Any]] = {
    "client.id": "aiq-braze",
    # A coordinator that does not answer must not keep the thread that owns the consumer for a minute.
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": True,
    "topic.metadata.refresh.interval.ms": 30_000,
    # A cluster that comes back may first say that it has no brokers. librdkafka then forgets those it knew and asks the
    # bootstrap servers after this; by its default it is cut off for five minutes, and a commit waits as long.
    "metadata.recovery.rebootstrap.trigger.ms": 10_000,
    # librdkafka's own buffer in front of ours: enough for a second of work, small enough for a small container.
    "queued.max.messages.kbytes": 16_384,
    # A byte that a disk has changed may well decode, and Braze would get it.
    "check.crcs": True,
    **_PORTIONS,
}

_CONSUMER: Final[dict[str, Any]] = {
    # Never jump: where no offset exists, and where one is out of range, the source decides (promise P1).
    "auto.offset.reset": "error",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
}

_CLASSIC_ONLY: Final[dict[str, Any]] = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": SESSION_TIMEOUT_MS,
    "heartbeat.interval.ms": 2_000,
}
"""Under `group.protocol: consumer` these are the broker's, and librdkafka refuses to hear of them."""

_PRODUCER: Final[dict[str, Any]] = {
    "enable.idempotence": True,
    "linger.ms": 5,
    # A dead letter is its original plus headers: the broker's limit decides, not the client's.
    "message.max.bytes": 20_000_000,
    # Never give up: what is not acknowledged is not settled. After these two we are told, and try again.
    "message.timeout.ms": 30_000,
    "topic.metadata.propagation.max.ms": 5_000,
}

_MEMBERSHIP_PREFIXES: Final = (
    "group.",
    "session.timeout",
    "heartbeat.interval",
    "partition.assignment",
    "max.poll.interval",
    "auto.offset",
    "enable.auto",
)

_CONSUMER_ONLY_PREFIXES: Final = (
    *_MEMBERSHIP_PREFIXES,
    "fetch.",
    "queued.",
    "isolation.level",
    "max.partition.fetch",
    "check.crcs",
    "coordinator.query",
)


_SESSION_MS_MIN: Final = 3_000
"""A lease lasts a second at least (`lease_s`); Kafka's brokers take no session below six seconds unless told to."""

_NO_VALUE: Final = "must be one text, number, true or false; several servers stand in one text, with commas between"
"""Of a list or a section: the binding would write it as Python does, and librdkafka look for a host of that name."""

_TEXTS: Final = ("password", "secret", "username", "group.id", "group.instance.id")
_NO_TEXT: Final = "must be a text: put it in quotes, or YAML takes it for a number and drops a zero in front"

_TRUE: Final = {"true", "t", "1"}
"""As librdkafka reads it, in any case."""

_ALL_REPLICAS: Final = {"all", "-1"}

_NEVER: Final[dict[str, str]] = {
    "transactional.id": "dead letters are written without transactions, and would never be taken: remove the key",
    "default.topic.config": "what is in there comes over what is refused here: give its properties by themselves",
}


def refusals(kafka: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Properties that would break a promise, each with the reason and what to do instead."""
    found = [
        (key, "offsets are committed after delivery only: remove the key")
        for key in ("enable.auto.commit", "enable.auto.offset.store")
        if _is_true(kafka.get(key))
    ]
    found += [
        (key, "a dead letter is settled when all in-sync replicas have it: remove the key")
        for key in ("acks", "request.required.acks")
        if str(kafka.get(key, "all")).strip().lower() not in _ALL_REPLICAS
    ]
    if _is_true(kafka.get("delivery.report.only.error")):
        found.append(("delivery.report.only.error", "no dead letter would ever count as written: remove the key"))
    found += [(key, why) for key, why in _NEVER.items() if key in kafka]
    found += [(key, _NO_VALUE) for key, value in kafka.items() if isinstance(value, list | dict) and key not in _NEVER]
    found += [
        (key, _NO_TEXT)
        for key, value in kafka.items()
        if isinstance(value, int | float) and key.endswith(_TEXTS)  # a bool is an int
    ]
    if int(kafka.get("session.timeout.ms", SESSION_TIMEOUT_MS)) < _SESSION_MS_MIN:
        words = f"must be {_SESSION_MS_MIN:,} or more: sending stops two seconds before a session may end"
        found.append(("session.timeout.ms", words))
    strategy = str(kafka.get("partition.assignment.strategy", "cooperative-sticky"))
    if any(name.strip() != "cooperative-sticky" for name in strategy.split(",")):
        found.append(
            (
                "partition.assignment.strategy",
                "an eager assignor takes every partition away at every rebalance: use cooperative-sticky",
            )
        )
    found.extend((key, "is required") for key in ("bootstrap.servers", "group.id") if not kafka.get(key))
    reset = kafka.get("auto.offset.reset")
    if reset is not None and str(reset) not in {
        "earliest",
        "latest",
        "error",
        "smallest",
        "largest",
        "beginning",
        "end",
    }:
        found.append(("auto.offset.reset", "must be earliest, latest or error"))
    return found


def _is_true(value: object) -> bool:
    return str(value).strip().lower() in _TRUE


def first_position(kafka: Mapping[str, Any]) -> str:
    """Where a group without offsets starts: `earliest` unless the operator chose `latest` or `error`."""
    reset = str(kafka.get("auto.offset.reset", "earliest"))
    return {"smallest": "earliest", "beginning": "earliest", "largest": "latest", "end": "latest"}.get(reset, reset)


def consumer_properties(kafka: Mapping[str, Any], *, beside_triggers: bool = False) -> dict[str, Any]:
    """What the consumer is made with. An `auto.offset.reset` of the operator's also decides what out of range does.

    Args:
        kafka: The operator's properties.
        beside_triggers: Triggers are among what is read.
    """
    classic = str(kafka.get("group.protocol", "classic")).lower() != "consumer"
    portions = BESIDE_TRIGGERS if beside_triggers else {}
    own = {**_DEFAULTS, **portions, **_CONSUMER, "max.poll.interval.ms": max_poll_interval_ms(kafka)}
    return {**own, **(_CLASSIC_ONLY if classic else {}), **kafka}


def max_poll_interval_ms(kafka: Mapping[str, Any]) -> int:
    """How long a rebalance waits for one member: the operator's value, or ours, which is never below his session."""
    session_ms = int(kafka.get("session.timeout.ms", SESSION_TIMEOUT_MS))
    return int(kafka.get("max.poll.interval.ms", max(_MAX_POLL_INTERVAL_MS, session_ms)))


def producer_properties(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """What the dead-letter producer is made with: the operator's connection, nothing of his consumer."""
    shared = {key: value for key, value in kafka.items() if not key.startswith(_CONSUMER_ONLY_PREFIXES)}
    own = {key: value for key, value in _DEFAULTS.items() if not key.startswith(_CONSUMER_ONLY_PREFIXES)}
    return {**own, **_PRODUCER, **shared}


def lease_s(kafka: Mapping[str, Any]) -> float:
    """Seconds for which an answer of the coordinator's allows sending: the session time-out less two seconds.

    Under the `consumer` protocol the time-out is the broker's and unknown here; ours is shorter than its default.
    """
    session_ms = min(float(kafka.get("session.timeout.ms", SESSION_TIMEOUT_MS)), 45_000.0)
    return max(1.0, session_ms / 1000 - 2.0)


def reading_properties(kafka: Mapping[str, Any]) -> dict[str, Any]:
    """What `replay` reads with: partitions that it picks itself, outside of any group, and what is committed only."""
    shared = {key: value for key, value in kafka.items() if not key.startswith((*_MEMBERSHIP_PREFIXES, "fetch.wait"))}
    own = {key: value for key, value in _DEFAULTS.items() if key not in _PORTIONS}
    return {
        **own,
        **shared,
        **_CONSUMER,
        "group.id": kafka.get("group.id"),  # librdkafka wants one; nothing is joined or committed
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,  # the end of a partition is waited for once a transaction
    }


def replaying_properties(kafka: Mapping[str, Any], dead_letter_topic: str) -> dict[str, Any]:
    """What `replay` writes with: transactions of one writer a dead-letter topic."""
    return {
        **producer_properties(kafka),
        "enable.idempotence": True,
        "acks": "all",
        "transactional.id": f"{dead_letter_topic}.replay",
        # A process that dies in a transaction holds readers of the partition up so long, or until the next one begins.
        "transaction.timeout.ms": 30_000,
        "message.timeout.ms": 20_000,
        "linger.ms": 50,  # a chunk is one batch: it leaves when it is flushed
    }
