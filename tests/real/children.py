"""Processes that the tests start: none outlives them, and waiting is for a condition, never for a time."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")

# Reads process ids, one a line (negative: has ended). When the pipe closes, be it because the tests were killed, it
# kills whatever is left.
_GUARD = """
import os, signal, sys
wards = set()
for line in sys.stdin:
    pid = int(line)
    wards.add(pid) if pid > 0 else wards.discard(-pid)
for pid in wards:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


_WORKERS_MAX = 8
_GIVEN: set[int] = set()


def until(what: str, look: Callable[[], Found], within_s: float = 120.0) -> Found:
    """Look until what is found is true, or not empty, and return it."""
    deadline = time.monotonic() + within_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"within {within_s:.0f} s it did not come to this: {what}")
        time.sleep(0.03)


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections.

    Nobody else is given it before it is listened on, which may be minutes later: not in this process, and not by
    another worker of the same run, which has ports of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS_MAX
    while True:
        port = random.randrange(12_000, 30_000, _WORKERS_MAX) + worker
        if port in _GIVEN:
            continue
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
        _GIVEN.add(port)
        return port


def ask(url: str, method: str = "GET", document: Any = None, timeout_s: float = 30) -> tuple[int, str]:
    """One HTTP request on the loopback interface.

    Raises:
        OSError: Nobody answers.
    """
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=timeout_s)
    try:
        body = None if document is None else json.dumps(document)
        connection.request(method, f"/{path}", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except http.client.HTTPException as error:
        raise ConnectionError(type(error).__name__) from error
    finally:
        connection.close()


class Child:
    """One process; its output goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, gone: Callable[[], None]) -> None:
        self._process = process
        self._gone = gone
        self.log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def must_live(self) -> None:
        code = self._process.poll()
        assert code is None, f"ended with {code}: {self.output()[-2000:]}"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, within_s: float = 120.0) -> int:
        """Wait for its end; returns the exit code."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end within {within_s:.0f} s: {self.output()[-2000:]}") from None
        self._gone()
        return code

    def terminate(self, within_s: float = 120.0) -> int:
        """Ask it to end; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within_s)

    def kill(self) -> None:
        """`kill -9`; of no effect if it has ended."""
        self._process.kill()
        self.wait()


class Children:
    """All processes that one test process started."""

    def __init__(self) -> None:
        self._guard = subprocess.Popen([sys.executable, "-c", _GUARD], stdin=subprocess.PIPE, start_new_session=True)
        self._living: dict[int, Child] = {}

    def start(self, arguments: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> Child:
        """Start one; standard output and error are appended to `log`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # what is typed at the terminal is for the tests alone
            )
        self._tell(process.pid)
        child = self._living[process.pid] = Child(process, log, lambda: self._forget(process.pid))
        return child

    def close(self) -> None:
        """Kill what is left."""
        for child in list(self._living.values()):
            child.kill()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _forget(self, pid: int) -> None:
        if self._living.pop(pid, None) is not None:
            self._tell(-pid)

    def _tell(self, pid: int) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{pid}\n".encode())
        self._guard.stdin.flush()
