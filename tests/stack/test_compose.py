"""compose.yaml and its files: by the compose schema, and against each other. Docker itself is not to be had here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.demo.workload import TOPICS
from connector.settings import Settings, load
from dashboards import FOLDER
from stack.__main__ import KEY

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
STACK = ROOT / "stack"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def mounts(service: str) -> dict[str, Path]:
    """What lies where in the container."""
    found = {}
    for each in SERVICES[service].get("volumes", ()):
        source, target, mode = each.split(":")
        assert mode == "ro"
        found[target] = ROOT / source
    return found


def settings() -> Settings:
    return load(STACK / "connector.yaml", SERVICES["connector"]["environment"])


def reachable_as(service: str) -> str:
    """The host name under which others find it: its own, or that of whose network it shares."""
    shared = re.fullmatch(r"service:(\w+)", SERVICES[service].get("network_mode", ""))
    return shared[1] if shared else service


def schema_says(path: Path) -> subprocess.CompletedProcess[str]:
    checker = Path(sys.executable).parent / "check-jsonschema"
    command = [checker, "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_schema_of_compose_takes_it(tmp_path: Path) -> None:
    assert schema_says(ROOT / "compose.yaml").returncode == 0

    broken = tmp_path / "compose.yaml"
    broken.write_text(yaml.safe_dump(COMPOSE | {"services": {"kafka": {"imagine": "x"}}}), encoding="utf-8")
    assert schema_says(broken).returncode == 1


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_is_pinned_or_built_here(service: str) -> None:
    image = SERVICES[service]["image"]
    if "build" in SERVICES[service]:
        assert (ROOT / SERVICES[service]["build"]["context"] / "Dockerfile").is_file()
        assert set(SERVICES[service]["build"]["args"]) <= set(
            re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
        )
    else:
        assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", image)


def test_kafka_is_the_one_of_the_tests() -> None:
    pom = (ROOT / "tests" / "kafka" / "pom.xml").read_text(encoding="utf-8")

    for service in ("kafka", "topics"):
        assert f"<version>{SERVICES[service]['image'].partition(':')[2]}</version>" in pom


@pytest.mark.parametrize("service", SERVICES)
def test_every_mounted_file_is_there(service: str) -> None:
    assert all(path.exists() for path in mounts(service).values())


@pytest.mark.parametrize("service", SERVICES)
def test_every_port_is_for_this_machine_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", ()))
    published = [port.split(":")[1] for each in SERVICES.values() for port in each.get("ports", ())]
    assert len(set(published)) == len(published)


@pytest.mark.parametrize("service", SERVICES)
def test_whom_it_waits_for_is_there_and_can_be_waited_for(service: str) -> None:
    needed = SERVICES[service].get("depends_on", {})
    for name in needed:
        assert name in SERVICES
        condition = needed[name]["condition"] if isinstance(needed, dict) else "service_started"
        if condition == "service_healthy":
            assert "healthcheck" in SERVICES[name]


def test_the_configuration_is_valid_and_finds_everybody() -> None:
    made = settings()

    assert made.kafka["bootstrap.servers"].rpartition(":")[0] == reachable_as("kafka")
    assert made.schema_registry is not None
    assert f"//{reachable_as('registry')}:" in made.schema_registry.url
    # Plain http goes to the loopback interface alone: the double's, which is shared.
    assert reachable_as("connector") == "braze"
    words = SERVICES["braze"]["command"]
    assert made.braze.endpoint == f"http://127.0.0.1:{words[words.index('--port') + 1]}"
    assert made.braze.api_key is not None
    assert made.braze.api_key.get_secret_value() == words[words.index("--api-key") + 1] == KEY


def test_kafka_tells_its_clients_addresses_that_they_can_reach() -> None:
    environment = SERVICES["kafka"]["environment"]
    told = dict(each.split("://") for each in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    listens = dict(each.split("://") for each in environment["KAFKA_LISTENERS"].split(","))

    assert told["INSIDE"] == SERVICES["connector"]["environment"]["KAFKA"]
    assert told["INSIDE"].endswith(listens["INSIDE"])
    assert f"127.0.0.1:{told['HOST'].rpartition(':')[2]}{listens['HOST']}" in SERVICES["kafka"]["ports"]
    assert f"1@kafka{listens['CONTROLLER']}" == environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]


def test_the_topics_are_those_that_are_written_and_read() -> None:
    made = SERVICES["topics"]["environment"]["TOPICS"].split()

    assert set(made) == {*settings().topics, settings().dead_letter_topic}
    assert settings().topics.keys() == set(TOPICS.values())
    assert {topic: each.kind for topic, each in settings().topics.items()} == {
        topic: kind for kind, topic in TOPICS.items()
    }


def test_the_connector_runs_as_in_the_chart_and_may_drain() -> None:
    connector, made = SERVICES["connector"], settings()

    assert connector["read_only"] is True
    assert connector["cap_drop"] == ["ALL"]
    grace_s = int(connector["stop_grace_period"].removesuffix("s"))
    assert grace_s >= made.drain_deadline_s + made.braze.request_timeout_s + 10
    assert Path(connector["command"][-1]) in map(Path, mounts("connector"))


def test_what_writes_records_is_given_what_it_reads() -> None:
    read_by_it = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"', (STACK / "records.py").read_text(encoding="utf-8")))

    assert read_by_it == SERVICES["records"]["environment"].keys()
    assert SERVICES["records"]["entrypoint"][-1] in mounts("records")


def test_prometheus_scrapes_the_connector_by_the_chart_s_rules(promtool: Path, tmp_path: Path) -> None:
    inside = mounts("prometheus")
    assert inside["/etc/prometheus/prometheus.yml"] == STACK / "prometheus.yaml"
    document = read(STACK / "prometheus.yaml")
    (job,) = document["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [f"{reachable_as('connector')}:{settings().http.port}"]
    assert settings().http.host == "0.0.0.0"  # noqa: S104  # inside a container, whose port is for this machine alone
    (pattern,) = document["rule_files"]
    rules = inside[str(Path(pattern).parent)]
    assert list(rules.glob(Path(pattern).name))

    document["rule_files"] = [str(rules / Path(pattern).name)]
    config = tmp_path / "prometheus.yaml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    run = subprocess.run([promtool, "check", "config", config], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    inside = mounts("grafana")
    provisioning = Path("/etc/grafana/provisioning")
    (source,) = read(inside[str(provisioning / "datasources" / "aiq-braze.yaml")])["datasources"]
    (provider,) = read(inside[str(provisioning / "dashboards" / "aiq-braze.yaml")])["providers"]
    published = SERVICES["prometheus"]["ports"][0].rpartition(":")[2]

    assert source["type"] == "prometheus"
    assert source["url"] == f"http://prometheus:{published}"
    folder = inside[provider["options"]["path"]]
    assert folder.resolve() == FOLDER.resolve()
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (folder / home.name).is_file()
