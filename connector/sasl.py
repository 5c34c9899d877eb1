"""Kafka's user and password, where files hold them: read again, and given to clients that live.

An edge. librdkafka takes them for PLAIN and SCRAM and uses them from the next login on; what is connected stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from connector.secret import Secret

USER: Final = "sasl.username"
PASSWORD: Final = "sasl.password"  # noqa: S105  # the property's name

_LOOK_S: Final = 5.0


class SaslCredentials:
    """What the clients were made with, and what the files hold since.

    Args:
        kafka: The operator's librdkafka properties, as they were read at start.
        files: Which of them came from which file.
        warn: Told what is wrong with a file and what to do, once for each time that it was written badly.
    """

    def __init__(self, kafka: Mapping[str, Any], files: Mapping[str, Path], warn: Callable[[str], None]) -> None:
        self.can_change = bool({USER, PASSWORD} & files.keys())
        self._given = (str(kafka.get(USER, "")), str(kafka.get(PASSWORD, "")))
        self._user, self._password = (
            Secret(f"kafka.{key}_file", given, files.get(key), warn)
            for key, given in zip((USER, PASSWORD), self._given, strict=True)
        )

    def renewed(self) -> tuple[str, str] | None:
        """User and password, if they are others than at the last look."""
        now = self._user.current(), self._password.current()
        if now == self._given:
            return None
        self._given = now
        return now

    async def keep_giving(self, give: Callable[[str, str], None]) -> None:
        """Look every few seconds, for ever; `give` gets what is new."""
        while True:
            await asyncio.sleep(_LOOK_S)
            renewed = self.renewed()
            if renewed is not None:
                give(*renewed)
