"""What the Kafka thread finds wrong: said once, in words that name the remedy, and taken back when it is over.

An edge, because the errors are the library's; without I/O. What is wrong with one partition or topic is said by who has
it: when it leaves, it is the next owner's to say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaError

from connector.kafka_errors import refusal
from connector.ports import Cured, Trouble
from connector.records import TopicPartition

_FALLEN_BACK: Final = (
    "the committed offset lies beyond the end (the log was truncated, or restored from elsewhere), and by"
    " kafka.auto.offset.reset reading has fallen back; nothing was skipped or sent again. Stop the group and set the"
    " offset with kafka-consumer-groups --reset-offsets"
)
_OUT_OF_RANGE: Final = (
    "the committed offset does not exist any more (retention passed it, the log was truncated, or the topic was made"
    " anew); nothing was skipped. Stop the group and set the offset with kafka-consumer-groups --reset-offsets, or set"
    " kafka.auto.offset.reset"
)
_UNREADABLE: Final = (
    "Nothing was skipped. When it is mended, restart this process; if it cannot be, write down what is lost, stop the"
    " group and set the offset behind it with kafka-consumer-groups --reset-offsets"
)


class Complaints:
    """Those that stand.

    Args:
        tell: Told of each when it begins and when it ends.
    """

    def __init__(self, tell: Callable[[Trouble | Cured], None]) -> None:
        self._tell = tell
        self._standing: set[str] = set()

    def say(self, reason: str, detail: str, *, halts: bool = True) -> None:
        """Something is wrong; while it is, it is not said again.

        Args:
            reason: What, from a closed list, with the topic or partition that it is about.
            detail: In words, with the remedy.
            halts: Somebody has to mend it; False: it may pass by itself.
        """
        if reason not in self._standing:
            self._standing.add(reason)
            self._tell(Trouble(reason, detail, halts))

    def over(self, reason: str) -> None:
        """It is not wrong any more, if it was."""
        if reason in self._standing:
            self._standing.discard(reason)
            self._tell(Cured(reason))

    def hear(self, event: Trouble | Cured) -> None:
        """What somebody else found."""
        if isinstance(event, Trouble):
            self.say(event.reason, event.detail, halts=event.halts)
        else:
            self.over(event.reason)

    def out_of_range(self, name: TopicPartition) -> None:
        """The next record to read does not exist."""
        self.say(_out_of_range(name), f"{name}: {_OUT_OF_RANGE}")

    def fallen_back(self, name: TopicPartition) -> None:
        """The same, and the library has gone back to what does exist."""
        self.say(_out_of_range(name), f"{name}: {_FALLEN_BACK}")

    def unreadable(self, name: TopicPartition, offset: int, error: KafkaError) -> None:
        """The batch at an offset cannot be had, and the partition must not go on without it."""
        self.over(_unreadable(name))  # what was said until now was a fault that passes
        self.say(_unreadable(name), f"{name}: at offset {offset}: {refusal(error)}. {_UNREADABLE}")

    def not_read(self, name: TopicPartition, error: KafkaError) -> None:
        """Nothing of a partition is had at present; the library asks again."""
        self.say(_unreadable(name), f"{name}: {refusal(error)}", halts=False)

    def read(self, name: TopicPartition) -> None:
        """Something of it came."""
        self.over(_unreadable(name))

    def topic_forbidden(self, topic: str, error: KafkaError) -> None:
        """Nothing of a topic is fetched, which is said once; that it is over is known when a record comes."""
        self.say(_topic_forbidden(topic), refusal(error), halts=False)

    def topic_read(self, topic: str) -> None:
        """Something of it came, or it is nobody's here any more."""
        self.over(_topic_forbidden(topic))

    def commit_refused(self, name: TopicPartition, error: KafkaError) -> None:
        """Of a commit that was taken, this partition's part was not."""
        detail = f"{name}: {refusal(error)}; what is settled of it meanwhile repeats when it leaves"
        self.say(_commit_refused(name), detail, halts=False)

    def committed(self, name: TopicPartition) -> None:
        """Its part was taken."""
        self.over(_commit_refused(name))

    def left(self, name: TopicPartition) -> None:
        """A partition is not ours any more."""
        for reason in (_out_of_range(name), _unreadable(name), _commit_refused(name)):
            self.over(reason)


def _out_of_range(name: TopicPartition) -> str:
    return f"offset_out_of_range:{name}"


def _unreadable(name: TopicPartition) -> str:
    return f"unreadable:{name}"


def _topic_forbidden(topic: str) -> str:
    return f"topic_forbidden:{topic}"


def _commit_refused(name: TopicPartition) -> str:
    return f"commit_refused:{name}"
