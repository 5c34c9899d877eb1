"""The file of applied objects: one JSON line each, in the order of application.

Owns a file. A line is in the operating system's hands after `flush`: a killed double loses nothing that was flushed.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from connector.double.application import Applied

_BUFFER_BYTES = 1 << 18


class JournalFile:
    """Appends to `path`, which is made if need be."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=_BUFFER_BYTES)

    def append(self, applied: Applied) -> None:
        """Takes one object down."""
        self._file.write(orjson.dumps(applied.document(), option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Hands all lines to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and closes; appending afterwards is an error."""
        self._file.close()
