"""Writer schemas for a command that ends: the registry is asked in the same way as by `run`, and not for ever.

An edge.
"""

from __future__ import annotations

import asyncio
from typing import Final

from connector.app import schema_registry
from connector.ports import Cured, SchemaUnknown, Trouble
from connector.settings import Settings

_WAIT_S: Final = 30.0


class RegistryAway(Exception):
    """The registry has not answered in time, or refuses us; with what to do."""


class Schemas:
    """The registry, if one is configured.

    Args:
        settings: The configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._trouble = "the registry does not answer: check schema_registry.url"
        self._registry = schema_registry(settings, self._tell, lambda _status: None, lambda: 0.5)
        self._runner = asyncio.Runner()
        if self._registry is not None:
            self._runner.run(self._registry.open())

    def close(self) -> None:
        """Close all connections."""
        if self._registry is not None:
            self._runner.run(self._registry.close())
        self._runner.close()

    def fetch(self, schema_id: int) -> str:
        """The schema's JSON.

        Raises:
            SchemaUnknown: There is none of that id.
            RegistryAway: No answer within half a minute.
        """
        if self._registry is None:
            raise SchemaUnknown("no schema registry is configured")
        try:
            return self._runner.run(asyncio.wait_for(self._registry.fetch(schema_id), _WAIT_S))
        except TimeoutError:
            raise RegistryAway(self._trouble) from None

    def _tell(self, event: Trouble | Cured) -> None:
        if isinstance(event, Trouble):
            self._trouble = event.detail.partition(";")[0]
