"""The command as its users meet it: words, exit codes, what is printed."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.request import Request, urlopen

import pytest
import yaml
from confluent_kafka import Producer
from typer.testing import CliRunner

from connector import __version__
from connector.cli import app

KEY = "not-a-real-key"
COMMAND = [sys.executable, "-m", "connector"]


@pytest.fixture
def broker() -> Iterator[str]:
    """librdkafka's in-process broker, with the topics made."""
    owner = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "error_cb": lambda _error: None})
    metadata = owner.list_topics(timeout=10)
    first = next(iter(metadata.brokers.values()))
    yield f"{first.host}:{first.port}"
    del owner


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def double() -> Iterator[str]:
    with started(["simulate-braze", "--port", "0", "--api-key", KEY]) as process:
        assert process.stdout is not None
        match = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert match is not None, "the address is the first line"
        yield match.group()


def configuration(directory: Path, broker: str, endpoint: str, **changes: Any) -> Path:
    tree = {
        "kafka": {"bootstrap.servers": broker, "group.id": "cli"},
        "topics": {"events": {"kind": "event"}},
        "braze": {"endpoint": endpoint, "api_key": KEY},
        "http": {"host": "127.0.0.1", "port": 0},
        "dead_letter_topic": "letters",
    } | changes
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def test_the_version_is_said() -> None:
    result = CliRunner().invoke(app, ["--version"])

    assert result.exit_code == 0
    assert result.output == f"aiq-braze {__version__}\n"


def test_a_command_that_does_not_exist_yet_is_absent() -> None:
    assert CliRunner().invoke(app, ["plan"]).exit_code == 2


@pytest.mark.parametrize("command", ["run", "check", "replay"])
def test_a_wrong_configuration_is_one_line_a_fault_and_exit_code_2(tmp_path: Path, command: str) -> None:
    path = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1", http={"port": -1}, surprise=1)

    result = CliRunner().invoke(app, [command, "--config", str(path)])

    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "http.port: Input should be greater than or equal to 0",
        "surprise: unknown key",
    ]


@pytest.mark.parametrize("command", ["run", "check", "replay"])
def test_what_the_machine_lacks_is_one_line_a_fault_and_exit_code_2(tmp_path: Path, command: str) -> None:
    absent = tmp_path / "absent"
    kafka = {"bootstrap.servers": "127.0.0.1:1", "group.id": "cli", "foo.bar": 1}
    braze = {"endpoint": "http://127.0.0.1:1", "api_key_file": str(absent)}
    path = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1", kafka=kafka, braze=braze)

    result = CliRunner().invoke(app, [command, "--config", str(path)])

    assert result.exit_code == 2
    files, properties = result.stderr.splitlines()
    assert files == f"braze.api_key_file: {absent} cannot be read: No such file or directory; is it mounted?"
    assert properties.startswith("kafka.foo.bar: librdkafka refuses it: ")


def test_a_port_in_use_is_a_wrong_configuration(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        http = {"host": "127.0.0.1", "port": port}
        path = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1", http=http)
        process = subprocess.run(
            [*COMMAND, "run", "--config", str(path)], capture_output=True, text=True, timeout=60, check=False
        )

    assert process.returncode == 2
    assert f"http.port: {port} is in use: " in process.stderr
    assert "Traceback" not in process.stderr


def test_what_the_double_cannot_have_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    journal = tmp_path / "absent" / "journal"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, fault in (
            (["--api-key", KEY, "--port", str(port)], f"--port: {port} is not to be had: Address already in use"),
            (["--api-key", KEY, "--journal", str(journal)], f"--journal: {journal} cannot be written: No such file"),
            (["--api-key", ""], "--api-key: is empty"),
        ):
            process = subprocess.run(
                [*COMMAND, "simulate-braze", *arguments], capture_output=True, text=True, timeout=60, check=False
            )

            assert process.returncode == 2, process.stderr
            (line,) = process.stderr.splitlines()
            assert line.startswith(fault)


@pytest.mark.parametrize("rate", ["inf", "nan", "0", "-1"])
def test_a_rate_that_is_none_is_refused(tmp_path: Path, rate: str) -> None:
    path = configuration(tmp_path, "127.0.0.1:1", "http://127.0.0.1:1")

    result = CliRunner().invoke(app, ["replay", "--config", str(path), "--dry-run", "--rate", rate])

    assert result.exit_code == 2
    assert result.stderr.startswith("--rate: must be a number above 0")


def test_a_mapping_that_the_schema_does_not_bear_is_named_at_start(tmp_path: Path) -> None:
    topics = {"events": {"kind": "event", "mapping": {"name": "event_nam"}}}

    result = CliRunner().invoke(
        app, ["run", "--config", str(configuration(tmp_path, "x:1", "http://127.0.0.1:1", topics=topics))]
    )

    assert result.exit_code == 2
    assert "topics.events.mapping" in result.stderr
    assert "event_nam" in result.stderr
    assert "event_name" in result.stderr, "the near field is named"


def test_check_says_what_is_fine_and_what_is_missing(
    tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.check._CALL_S", 1.0)  # the in-process broker does not describe configurations
    with double() as endpoint:
        Producer({"bootstrap.servers": broker}).list_topics("events", timeout=10)  # asking makes it
        path = configuration(tmp_path, broker, endpoint)

        missing = CliRunner().invoke(app, ["check", "--config", str(path)])
        Producer({"bootstrap.servers": broker}).list_topics("letters", timeout=10)
        fine = CliRunner().invoke(app, ["check", "--config", str(path)])
        refused = CliRunner().invoke(
            app, ["check", "--config", str(path)], env={"AIQ_BRAZE__BRAZE__API_KEY": "another-key"}
        )

    assert missing.exit_code == 3
    assert "refused letters: the dead-letter topic does not exist: make it" in missing.output
    assert fine.exit_code == 0, fine.output
    assert "ok      events: 4 partitions" in fine.output
    assert "ok      braze: /users/track: the key is accepted and has users.track" in fine.output
    assert refused.exit_code == 3
    assert "Braze does not accept the API key" in refused.output
    assert "another-key" not in refused.output


def test_check_names_a_missing_permission(tmp_path: Path, broker: str) -> None:
    with double() as endpoint:
        fault = [{"do": "status", "status": 403, "body": {"message": "Access Denied"}, "times": None}]
        _post(f"{endpoint}/_double/faults", fault)

        result = CliRunner().invoke(app, ["check", "--config", str(configuration(tmp_path, broker, endpoint))])

    assert result.exit_code == 3
    assert "users.track" in result.output


def test_check_says_that_kafka_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("connector.check._CALL_S", 0.5)

    result = CliRunner().invoke(
        app, ["check", "--config", str(configuration(tmp_path, "127.0.0.1:1", "http://[::1]:1"))]
    )

    assert result.exit_code == 3
    assert "refused kafka: no answer" in result.output
    assert "refused braze: no answer" in result.output
    assert "no host of Braze's" not in result.stdout, "it is ours, by its other name"
    assert capfd.readouterr() == ("", ""), "librdkafka tells of every try beside the findings"


def test_the_demo_prints_one_clean_audit(tmp_path: Path) -> None:
    process = subprocess.run(
        [*COMMAND, "demo", "--json", "--records", "3000", "--seed", "7"],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert process.returncode == 0, process.stderr
    audit = json.loads(process.stdout.splitlines()[-1])
    assert audit["produced"] == 3000
    assert audit["delivered"] + audit["coalesced"] + audit["dead_lettered"] + audit["skipped"] == 3000
    assert audit["dead_lettered"] > 0
    assert [audit[name] for name in ("lost", "duplicated", "order_violations", "quota_refusals")] == [0, 0, 0, 0]


def test_run_serves_its_probes_and_leaves_well_on_sigterm(tmp_path: Path, broker: str) -> None:
    Producer({"bootstrap.servers": broker}).list_topics("events", timeout=10)
    with double() as endpoint, started(["run", "--config", str(configuration(tmp_path, broker, endpoint))]) as process:
        assert process.stderr is not None
        port = _logged(process.stderr, "connector_started")["http_port"]
        _logged(process.stderr, "partitions_assigned")

        assert _get(f"http://127.0.0.1:{port}/readyz")["ready"] is True
        assert _get(f"http://127.0.0.1:{port}/livez")["live"] is True
        metrics = urlopen(f"http://127.0.0.1:{port}/metrics").read()
        assert b"aiq_braze_records_consumed_total" in metrics
        assert b"process_resident_memory_bytes" in metrics
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert "partitions_revoked" in process.stderr.read()


def _logged(stream: IO[str], event: str) -> dict[str, Any]:
    """The log line of an event; the stream ends if the process does."""
    deadline = time.monotonic() + 60
    for line in stream:
        if f'"{event}"' in line:
            found: dict[str, Any] = json.loads(line)
            return found
        assert time.monotonic() < deadline
    raise AssertionError(f"{event} was never logged")


def _get(url: str) -> dict[str, Any]:
    with urlopen(url) as answer:
        found: dict[str, Any] = json.loads(answer.read())
        return found


def _post(url: str, document: Any) -> None:
    urlopen(Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})).close()


def test_without_standard_streams_no_socket_gets_their_numbers() -> None:
    script = "import os, connector.cli as cli; cli.app = lambda: print(os.open(os.devnull, os.O_RDONLY)); cli.main()"
    shell = ["sh", "-c", 'exec "$0" -c "$1" <&- 2>&-', sys.executable, script]

    process = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=True, timeout=60)

    assert int(process.stdout) > 2


def test_a_buffer_of_more_records_than_a_collector_counts_to_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends
        http = {"host": "127.0.0.1", "port": taken.getsockname()[1]}
        path = configuration(
            tmp_path, "127.0.0.1:1", "http://127.0.0.1:1", buffer={"records": 1_000_000_000}, http=http
        )

        ended = subprocess.run([*COMMAND, "run", "--config", path], capture_output=True, text=True, check=False)

    assert ended.returncode == 2, ended.stderr
    assert "http.port" in ended.stderr.splitlines()[-1]
