"""How the peers are had: pinned, built or installed once, kept in the tests' cache; who cannot be had is not run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cache import digest, kept
from tests.tools.go import Unavailable, main_program

FASTSTREAM = ("faststream[confluent]==0.7.8", "confluent-kafka==2.16.1", "aiohttp==3.14.5", "fastavro==1.13.1")
BENTO = ("github.com/warpstreamlabs/bento", "v1.10.0")

_INSTALL_S = 300


def faststream() -> Path:
    """A Python that has it.

    Raises:
        Unavailable: It cannot be installed.
    """

    def install(folder: Path) -> None:
        # Moved once it is whole: scripts in it keep the old path, the interpreter and its packages do not care.
        _run([sys.executable, "-m", "venv", str(folder)])
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, *FASTSTREAM])

    wanted = repr((FASTSTREAM, sys.version_info[:2]))
    return kept(f"faststream-{digest(wanted)}", install) / "bin" / "python"


def bento() -> Path:
    """The program.

    Raises:
        Unavailable: There is no Go, no source, or it does not compile.
    """
    return main_program("bento", *BENTO, Path(__file__).parent / "bento" / "main.go")


def _run(command: list[str]) -> None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_S)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"`{' '.join(command[1:4])}` did not end within {_INSTALL_S} s") from None
    if run.returncode:
        raise Unavailable(f"`{' '.join(command[1:4])}` failed: {run.stderr.strip()[-300:]}")
