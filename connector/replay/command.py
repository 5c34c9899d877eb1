"""`aiq-braze replay`: its words in, an exit code out; everything wired.

An edge.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from connector.app import SystemClock, translators
from connector.configuration import ConfigurationInvalid
from connector.replay.kafka import KafkaRefused, PartitionReader, TransactionalWriter
from connector.replay.schemas import RegistryAway, Schemas
from connector.replay.screen import ReplayScreen, print_account
from connector.replay.selection import SelectionInvalid, selection
from connector.replay.session import Replay, ReplayOptions
from connector.settings import Settings


@dataclass(frozen=True, slots=True)
class ReplayWords:
    """The command's options as they were typed."""

    reasons: Sequence[str] = ()
    topics: Sequence[str] = ()
    since: str | None = None
    where: Sequence[str] = ()
    is_dry: bool = False
    rate: float | None = None
    limit: int | None = None
    as_json: bool = False


class WaitingClock(SystemClock):
    """The machine's clocks, and waiting: `--rate` spaces transactions out, and nothing else runs meanwhile."""

    def at_ms(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.at() * 1000)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def replay(
    settings: Settings, words: ReplayWords, say: Callable[[str], object], complain: Callable[[str], object]
) -> int:
    """One run; returns the exit code.

    Args:
        settings: The configuration.
        words: What was typed.
        say: Writes a line to standard output.
        complain: Writes a line to standard error.

    Raises:
        ConfigurationInvalid: A schema, a mapping or an option is wrong; nothing was connected.
    """
    known = translators(settings)
    options = _options(settings, words)
    with ReplayScreen(Console(stderr=True)) as screen:
        session = None
        letters = originals = writer = None
        schemas = Schemas(settings)
        refused = ""
        try:
            letters, originals = PartitionReader(settings.kafka), PartitionReader(settings.kafka)
            # Before anything is read: from here on nobody else puts letters of this topic back.
            writer = None if options.is_dry else TransactionalWriter(settings.kafka, settings.dead_letter_topic)
            session = Replay(options, known, schemas.fetch, letters, originals, writer, screen, WaitingClock())
            session.run()
        except (KafkaRefused, RegistryAway) as error:
            refused = str(error)
        finally:
            for each in (writer, letters, originals, schemas):
                if each is not None:
                    each.close()
    if session is not None:
        print_account(session.account, say, as_json=words.as_json)
    if refused:
        complain(refused)
    return 3 if refused else 0


def _options(settings: Settings, words: ReplayWords) -> ReplayOptions:
    faults = []
    isolation = settings.kafka.get("isolation.level", "read_committed")
    if isolation != "read_committed" and not words.is_dry:
        faults.append("kafka.isolation.level: replay writes in transactions, which `run` must not see before their end")
    if words.rate is not None and not 0 < words.rate < math.inf:
        faults.append("--rate: must be a number above 0: so many records a second; leave it out for no bound")
    try:
        chosen = selection(
            words.reasons, words.topics, words.since, words.where, list(settings.topics), WaitingClock().at_ms()
        )
    except SelectionInvalid as error:
        raise ConfigurationInvalid(faults + error.faults) from None
    if faults:
        raise ConfigurationInvalid(faults)
    return ReplayOptions(settings.dead_letter_topic, chosen, words.is_dry, words.rate, words.limit)
