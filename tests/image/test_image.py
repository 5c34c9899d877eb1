"""The image itself: built, then run as its user on a read-only root. `make test-image`."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector import __version__
from tests.image.buildah import PACKAGES, Image, base_image
from tests.real.brokers import InProcessBroker
from tests.real.children import Children, until
from tests.real.stage import API_KEY, Stage

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

REVISION = "0123abc"


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    base_image(PACKAGES)  # or skip before there is anything to clean up
    with tempfile.TemporaryDirectory() as folder:
        built = Image(Path(folder), __version__, REVISION)
        yield built
        built.close()


@pytest.fixture
def stage(image: Image, in_process_broker: InProcessBroker, children: Children, tmp_path: Path) -> Iterator[Stage]:
    """A stage whose connectors run inside the image."""
    tmp_path.chmod(0o755)  # the image's user reads the configuration there
    stage = Stage(in_process_broker, children, tmp_path, tmp_path.name, command=image.command(tmp_path))
    stage.make_topics()
    yield stage
    stage.close()


def told(image: Image, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What a program in the image says; the entry point, if the words are only its arguments."""
    return subprocess.run([*map(str, image.command(folder)), *words], capture_output=True, text=True, check=False)


def python(image: Image, folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    command = image.command(folder, "/opt/aiq-braze/bin/python", "-c", code)
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


def test_it_says_its_version(image: Image, tmp_path: Path) -> None:
    run = told(image, tmp_path, "--version")

    assert (run.returncode, run.stdout) == (0, f"aiq-braze {__version__}\n"), run.stderr


def test_what_it_says_of_itself(image: Image) -> None:
    config = image.config

    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][0].startswith("/")
    assert config["Cmd"] == ["run"]
    assert config["StopSignal"] == "SIGTERM"
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items() if "opencontainers" in name}
    assert (labels["title"], labels["version"], labels["revision"]) == ("aiq-braze", __version__, REVISION)
    assert labels["licenses"] == "Apache-2.0"
    assert image.layers == 2  # the base's, and ours


def test_it_holds_the_connector_and_nothing_that_installs_or_tests(image: Image) -> None:
    ours = image.mount / "opt" / "aiq-braze"

    assert sorted(path.name for path in (ours / "src").iterdir()) == ["connector", "schemas"]
    assert not list(ours.rglob("pip")), "what can install is what an intruder would use"
    assert not list(ours.rglob("_pytest"))
    sources = {path.relative_to(ours / "src") for path in (ours / "src" / "connector").rglob("*.py")}
    compiled = list((ours / "src" / "connector").rglob("*.pyc"))
    assert len(compiled) == len(sources) > 50


def test_plain_records_have_their_express_lane_without_a_compiler_in_the_image(image: Image, tmp_path: Path) -> None:
    run = python(image, tmp_path, "from connector.express import is_compiled; print(is_compiled())")

    assert run.stdout == "True\n", run.stderr
    assert not (image.mount / "usr" / "bin" / "gcc").exists()


def test_its_user_can_write_nowhere_but_to_tmp(image: Image, tmp_path: Path) -> None:
    code = """
import os, pathlib
print(os.getuid(), os.getgid())
for place in ("/opt/aiq-braze/src/x", "/etc/x", "/var/tmp/x", "/x", "/tmp/x"):
    try:
        pathlib.Path(place).touch()
        print(place, "written")
    except OSError as error:
        print(place, os.strerror(error.errno))
"""
    lines = python(image, tmp_path, code).stdout.splitlines()

    assert lines[0] == "10001 10001"
    assert [line.rpartition("x ")[2] for line in lines[1:]] == ["Read-only file system"] * 4 + ["written"]


def test_nothing_in_it_could_be_changed_by_its_user_on_a_root_that_can_be_written(image: Image) -> None:
    loose = [
        path
        for path in (image.mount / "opt" / "aiq-braze").rglob("*")
        if not path.is_symlink() and (path.stat().st_uid or path.stat().st_mode & 0o022)
    ]

    assert loose == []


def test_check_finds_everything_there(image: Image, stage: Stage) -> None:
    running = stage.replica()
    running.until_ready()

    # The in-process broker does not describe configurations; what is asked of it beyond that is there.
    command = [*image.command(stage.config.parent), "check", "--config", stage.config]
    environment = {**os.environ, "TEST_BRAZE_KEY": API_KEY}
    run = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "the key is accepted and has users.track" in run.stdout
    assert API_KEY not in run.stdout + run.stderr
    running.leave()


def test_a_wrong_configuration_is_said_and_ends_with_code_2(image: Image, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "wrong.yaml").write_text("surprise: 1\n", encoding="utf-8")

    run = told(image, tmp_path, "run", "--config", str(tmp_path / "wrong.yaml"))

    assert run.returncode == 2
    assert "surprise: unknown key" in run.stderr


def test_it_delivers_drains_on_sigterm_and_commits(stage: Stage) -> None:
    stage.produce(2000)
    stage.braze.wall(after=5)
    replica = stage.replica(buffer={"records": 600})
    until("Braze has an outage", lambda: stage.braze.requests(503) > 0)
    replica.child.signal(signal.SIGTERM)
    until("it is leaving", lambda: replica.events("shutdown_started"))
    stage.braze.open()
    assert replica.child.wait() == 0
    assert stage.settled()
    assert stage.ended() <= stage.settled()

    successor = stage.replica()
    stage.until_all_committed()
    assert successor.metric("build_info", revision=REVISION) == 1
    successor.leave()
    assert stage.faults() == {}
