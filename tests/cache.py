"""What tests fetch or build once: kept in the user's cache, whole or not at all, whichever process comes first."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aiq-braze-tests"


def absent(reason: str) -> NoReturn:
    """The test cannot run here; where everything is required, it fails instead."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of that name; made by whoever comes first, while the others wait."""
    folder = FOLDER / name
    if folder.is_dir():
        return folder
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=FOLDER) as making:
                make(Path(making) / "whole")
                (Path(making) / "whole").rename(folder)
    return folder


def digest(text: str) -> str:
    """Changes with what is to be kept, so that an old one is never taken for the new one."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
