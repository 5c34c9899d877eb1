"""A secret from the configuration or from a file, which may be replaced while we run.

An edge: it reads files. What a file may hold is its owner's to say; whatever it holds is never told to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

NO_TEXT: Final = "holds no secret: write it alone, as text in UTF-8"
"""Of a file, as `text_in` judges it."""


def text_in(content: bytes) -> str | None:
    """The secret that a file holds, without the spaces around it. None: it holds none that C could take."""
    try:
        text = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        return None
    return text if text and "\0" not in text else None


def place(path: Path) -> str:
    """A secret's file, as a person may read it: not where it may be the secret itself, put where a path belongs."""
    is_one = path.is_absolute() and path.parent.is_dir()
    return str(path) if is_one else "the file named there (not shown, should it be the secret itself)"


class Secret:
    """A secret as of now.

    Args:
        key: Under which its file stands in the configuration.
        literal: The secret itself, or None.
        file: Where it stands, or None.
        warn: Told what is wrong with the file and what to do, once for each time that it was written badly.
        read: What it is by a file's content; None: there is none in it.
        flaw: What is wrong with such a file, and what to do.
    """

    def __init__(
        self,
        key: str,
        literal: str | None,
        file: Path | None,
        warn: Callable[[str], None],
        read: Callable[[bytes], str | None] = text_in,
        flaw: str = NO_TEXT,
    ) -> None:
        self._key = key
        self._file = file
        self._warn = warn
        self._read = read
        self._flaw = flaw
        self._seen: tuple[int, int, int] | None = None
        self._secret = literal or ""
        self.current()  # else a file that is good now and written badly before anybody asks would leave none in force

    def __repr__(self) -> str:
        """Never the secret."""
        return f"{type(self).__name__}({'file' if self._file is not None else 'literal'})"

    def current(self) -> str:
        """The secret. A file that cannot be read, or holds none, leaves the last one in force."""
        if self._file is not None:
            try:
                stat = self._file.stat()
                seen = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
                if seen != self._seen:
                    self._take(self._file.read_bytes())
                    self._seen = seen
            except OSError:
                return self._secret
        return self._secret

    def _take(self, content: bytes) -> None:
        secret = self._read(content)
        if secret is None:
            self._warn(f"{self._key}: {self._flaw}; until then the last one is used")
        else:
            self._secret = secret
