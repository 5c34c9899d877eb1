"""What an error of Kafka's means for the consumer that got it, and what to do about it.

An edge, because the errors are the library's; without I/O.
"""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

NOT_TAKEN: Final = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INVALID_SESSION_TIMEOUT,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.GROUP_MAX_SIZE_REACHED,
    }
)
"""Why a group does not take us; it is asked again, and nothing else tells of it."""

TOLD_ASIDE: Final = frozenset({KafkaError._AUTHENTICATION, KafkaError._RESOLVE, KafkaError._SSL})  # noqa: SLF001  # the library's own spelling
"""Why no broker is reached. Only the error callback hears it: a call says `_TRANSPORT`, and then all are down."""

UNREADABLE: Final = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""Why a batch of records is not had. The library goes on behind it, or asks for it for ever; it says so only here."""

_PASSES = "partitions are being shared out anew, which passes; if it does not, check the brokers"
_DAMAGED = "the batch is damaged; make another replica of the partition, which may have it whole, its leader"
_NOT_REACHED = "check kafka.bootstrap.servers, the network, and kafka.sasl.* / kafka.security.protocol"
_REMEDIES: Final = {
    KafkaError.GROUP_AUTHORIZATION_FAILED: "allow this user to read the group",
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow this user to read the topics",
    KafkaError.INVALID_SESSION_TIMEOUT: (
        "set kafka.session.timeout.ms between the brokers' group.min.session.timeout.ms"
        " and group.max.session.timeout.ms"
    ),
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: (
        "another kind of consumer is in this kafka.group.id: give the connector a group of its own"
    ),
    KafkaError.GROUP_MAX_SIZE_REACHED: "raise the brokers' group.max.size, or run fewer replicas",
    KafkaError.OFFSET_METADATA_TOO_LARGE: "raise the brokers' offset.metadata.max.bytes to 4096 or more",
    KafkaError.REBALANCE_IN_PROGRESS: _PASSES,
    KafkaError.ILLEGAL_GENERATION: _PASSES,
    KafkaError.UNKNOWN_MEMBER_ID: _PASSES,
    KafkaError._BAD_MSG: _DAMAGED,  # noqa: SLF001
    KafkaError._BAD_COMPRESSION: _DAMAGED,  # noqa: SLF001
    KafkaError._NOT_IMPLEMENTED: "the batch has a format or a compression that this client does not know",  # noqa: SLF001
    KafkaError.MSG_SIZE_TOO_LARGE: "raise kafka.receive.message.max.bytes",
    KafkaError._AUTHENTICATION: "check kafka.sasl.* and kafka.security.protocol",  # noqa: SLF001
    KafkaError._RESOLVE: "no such name: check kafka.bootstrap.servers and DNS",  # noqa: SLF001
    KafkaError._SSL: "check kafka.ssl.* and kafka.security.protocol",  # noqa: SLF001
    KafkaError._TRANSPORT: _NOT_REACHED,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN: _NOT_REACHED,  # noqa: SLF001
    KafkaError._TIMED_OUT: _NOT_REACHED,  # noqa: SLF001
}


class Rebuild(Exception):
    """The client object is unusable; a new one is made."""


class InstanceTaken(Rebuild):
    """Its predecessor's session has to end first, which is near: to ask ever more rarely would add to it."""


class Refused(Exception):
    """Kafka will not have this process, now or later: only the operator can help."""


def fatal(error: KafkaError) -> Rebuild | Refused:
    """What is to be raised where the library itself gives up."""
    text = error.str().upper()
    if "FENCED" in text and "INSTANCE" in text:
        return Refused("another live process has this kafka.group.instance.id: give each its own")
    if "INSTANCE ID" in text:
        return InstanceTaken("an earlier process with this kafka.group.instance.id has not timed out yet")
    return Rebuild(said(error))


def said(error: KafkaError) -> str:
    """Kafka's name for a fault; its text may hold host names, never records."""
    return f"Kafka says {error.name()}"


def refusal(error: KafkaError) -> str:
    """Why Kafka does not take what we ask, and what to do about it."""
    return f"{said(error)}: {_REMEDIES.get(error.code(), 'check the brokers')}"
