"""The README's commands, executed in order by a shell: what a new user types must work."""

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from confluent_kafka import Producer

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
TOPICS = ("aiq.audience-membership", "aiq.profile-event", "aiq.campaign-trigger", "aiq.dead-letters")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "aiq-braze").exists(), reason="not installed by `make` into .venv")
def test_every_command_does_what_the_text_says(tmp_path: Path) -> None:
    owner = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "error_cb": lambda _error: None})
    broker = next(iter(owner.list_topics(timeout=10).brokers.values()))
    for topic in TOPICS:
        owner.list_topics(topic, timeout=10)  # asking makes it
    blocks = [block for block in fenced("bash") if not block.startswith("make ")]
    script = "set -euo pipefail\n" + "\n".join(blocks) + "\necho README-DONE\n"
    script = script.replace("8081", str(free_port())).replace("8080", str(free_port()))
    # The in-process broker does not describe its topics, which `check` reports as a warning after its time-out.
    for name in (".venv", "schemas"):
        (tmp_path / name).symlink_to(ROOT / name)

    shell = subprocess.Popen(
        ["bash", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, start_new_session=True,
        env={**os.environ, "KAFKA": f"{broker.host}:{broker.port}"},
    )  # fmt: skip
    try:
        assert shell.stdout is not None
        lines = []
        for line in shell.stdout:
            lines.append(line)
            if line == "README-DONE\n":
                break
        output = "".join(lines)
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.communicate()

    assert '"name":"Viewed Page"' in output, output
    assert "ok      braze: /users/track: the key is accepted and has users.track" in output
    assert output.endswith("README-DONE\n")


def test_the_make_targets_that_are_named_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z]+)", README.read_text(encoding="utf-8")))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert named
    assert named <= targets


def test_the_pages_that_are_linked_exist() -> None:
    for page in re.findall(r"\]\(([a-zA-Z/._-]+)(?:#[^)]*)?\)", README.read_text(encoding="utf-8")):
        assert (ROOT / page).exists(), page
