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


UNREADABLE: Final = frozenset(
    {
        KafkaError._BAD_MSG,  # noqa: SLF001  # the library's own spelling
        KafkaError._BAD_COMPRESSION,  # noqa: SLF001
        KafkaError._NOT_IMPLEMENTED,  # noqa: SLF001
        KafkaError.MSG_SIZE_TOO_LARGE,
    }
)
"""Why a batch of records is not had. The library goes on behind it, or asks for it for ever; it says so only here."""


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
    return f"{said(error)}: {_remedy(error)}"


def _remedy(error: KafkaError) -> str:
    match error.code():
        case KafkaError.GROUP_AUTHORIZATION_FAILED:
            return "allow this user to read the group"
        case KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return "allow this user to read the topics"
        case KafkaError.INVALID_SESSION_TIMEOUT:
            bounds = "group.min.session.timeout.ms and group.max.session.timeout.ms"
            return f"set kafka.session.timeout.ms between the brokers' {bounds}"
        case KafkaError.INCONSISTENT_GROUP_PROTOCOL:
            return "another kind of consumer is in this kafka.group.id: give the connector a group of its own"
        case KafkaError.GROUP_MAX_SIZE_REACHED:
            return "raise the brokers' group.max.size, or run fewer replicas"
        case KafkaError.OFFSET_METADATA_TOO_LARGE:
            return "raise the brokers' offset.metadata.max.bytes to 4096 or more"
        case KafkaError.REBALANCE_IN_PROGRESS | KafkaError.ILLEGAL_GENERATION | KafkaError.UNKNOWN_MEMBER_ID:
            return "partitions are being shared out anew, which passes; if it does not, check the brokers"
        case KafkaError._BAD_MSG | KafkaError._BAD_COMPRESSION:  # noqa: SLF001
            return "the batch is damaged; make another replica of the partition, which may have it whole, its leader"
        case KafkaError._NOT_IMPLEMENTED:  # noqa: SLF001
            return "the batch has a format or a compression that this client does not know"
        case KafkaError.MSG_SIZE_TOO_LARGE:
            return "raise kafka.receive.message.max.bytes"
        case _:
            return "check the brokers"
