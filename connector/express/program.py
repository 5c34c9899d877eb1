"""What a lane runs: the program that tells how a schema's bytes are walked, node by node, as `walk.c` reads it.

Pure but for one look at the files beside it, when it is imported. A node is `[what, length, arguments, inner nodes]`,
all of them integers; its length counts the inner nodes, so that whoever chooses a branch can step over the others.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from connector.express.walk import Lane

SOURCES: Final = tuple(Path(__file__).with_name(name) for name in ("walk.c", "names.h", "json.h"))
"""The first is compiled and includes the others."""

Node = list[int]


class What(IntEnum):
    """What stands at a place. The numbers are those of the enum in `walk.c`."""

    NUL = 0
    BOOLEAN = 1
    INT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    SKIPPED = 6
    """Text or bytes that nobody reads."""
    STRING = 7
    FIXED = 8
    ENUM = 9
    UNION = 10
    RECORD = 11
    ARRAY = 12
    MAP = 13
    BAG = 14
    """The map whose entries become the object's free values."""
    TIME = 15
    """Milliseconds, a value of the bag."""
    DECLINE = 16
    """A type of value that the ordinary way has to look at."""


UNCAUGHT: Final = -1
"""In place of a slot: nobody asks for this value."""


def node(what: What, *arguments: int, inner: Iterable[Node] = ()) -> Node:
    """One node, with its inner ones behind it."""
    whole = [what, 0, *arguments]
    for each in inner:
        whole += each
    whole[1] = len(whole)
    return whole


def packed(program: Node) -> bytes:
    """As the machine's own 32-bit integers."""
    return array("i", program).tobytes()


def source_digest() -> str:
    """Of the source that is here; a library that was compiled from another one is not used."""
    try:
        return hashlib.sha256(b"".join(source.read_bytes() for source in SOURCES)).hexdigest()
    except OSError:
        return ""


def _compiled() -> ModuleType | None:
    try:
        from connector.express import walk  # noqa: PLC0415  # it may not be there
    except ImportError:
        return None
    return walk if source_digest() == walk.SOURCE else None


_walk: Final = _compiled()


def is_compiled() -> bool:
    """Whether there are lanes at all."""
    return _walk is not None


def lane_type() -> type[Lane] | None:
    """The compiled lane; None where nothing was compiled."""
    return _walk.Lane if _walk is not None else None
