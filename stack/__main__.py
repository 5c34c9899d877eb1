"""`make stack`: Apache Kafka, a schema registry, the Braze double, Prometheus, the connector, and records to deliver.

The parts are those of the tests, and are had in the same way: Kafka and the registry by Maven, Prometheus by Go, once,
and kept. Everything listens on the loopback interface, on ports that are free. It prints the addresses and stops all of
it on Ctrl-C, the connector first and in an orderly way.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Final, NoReturn

import pytest
import yaml

from connector.settings import load
from tests.real.apicurio import Apicurio
from tests.real.brokers import ApacheKafka
from tests.real.children import Child, Children, ask, free_port, until
from tests.real.maven import apicurio_jar, kafka_jars
from tests.tools.go import Unavailable, program

HERE: Final = Path(__file__).parent
CONFIG: Final = HERE / "connector.yaml"
KEY: Final = "local-test-key"
PARTITIONS: Final = 4


class Stack:
    """All parts, and their addresses.

    Args:
        children: Where they are started.
        folder: Empty.
    """

    def __init__(self, children: Children, folder: Path) -> None:
        self._children = children
        self._folder = folder
        self._living: dict[str, Child] = {}
        self.addresses: dict[str, str] = {}

    def start(self) -> None:
        """Start one after the other, each when the one before answers."""
        kafka = ApacheKafka(self._children, kafka_jars(), self._made("kafka"))
        kafka.start()
        registry = Apicurio(self._children, apicurio_jar(), self._made("registry"))
        registry.start()
        braze = self._braze()
        port = free_port()
        environment = {
            "KAFKA": kafka.address,
            "REGISTRY": registry.url,
            "BRAZE": braze,
            "BRAZE_API_KEY": KEY,
            "AIQ_BRAZE__HTTP__HOST": "127.0.0.1",
            "AIQ_BRAZE__HTTP__PORT": str(port),
        }
        settings = load(CONFIG, environment)
        for topic in (*settings.topics, settings.dead_letter_topic):
            kafka.create_topic(topic, PARTITIONS)
        connector = self._program("connector", "connector", "run", "--config", CONFIG, environment=environment)
        self._until_answers("the connector is ready", f"http://127.0.0.1:{port}/readyz", connector)
        self._program("records", "stack.records", environment=environment)
        self.addresses = {
            "connector": f"http://127.0.0.1:{port}/",
            "braze double": f"{braze}/_double/state",
            "kafka": kafka.address,
            "registry": registry.url,
            "prometheus": self._prometheus(port),
            "logs": str(self._folder),
        }

    def watch(self) -> NoReturn:
        """Until a signal asks for the end; complain when a part has ended by itself."""
        while True:
            time.sleep(1)
            for name, child in self._living.items():
                if not child.is_alive:
                    sys.exit(f"{name} has ended by itself; its last words: {child.output()[-2000:]}")

    def stop(self) -> None:
        """The connector drains and commits; the others hold nothing that matters."""
        connector = self._living.get("connector")
        if connector is not None and connector.is_alive:
            print(f"the connector has left with code {connector.terminate()}", flush=True)  # noqa: T201

    def _braze(self) -> str:
        words = ("simulate-braze", "--port", "0", "--api-key", KEY)
        child = self._program("double", "connector", *words)

        def address() -> str | None:
            child.must_live()
            line, end, _ = child.output().partition("\n")
            return line if end else None

        return until("the double says its address", address) or ""

    def _prometheus(self, port: int) -> str:
        try:
            server = program("prometheus")
        except Unavailable as error:
            return f"not started: {error}"
        document = yaml.safe_load((HERE / "prometheus.yaml").read_text(encoding="utf-8"))
        document["rule_files"] = [str(HERE.parent / "helm" / "files" / "*.yaml")]
        (job,) = document["scrape_configs"]
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
        config = self._folder / "prometheus.yaml"
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        own = free_port()
        arguments = [f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'series'}"]
        listens = [f"--web.listen-address=127.0.0.1:{own}", "--log.level=error"]
        child = self._started("prometheus", [server, *arguments, *listens])
        self._until_answers("Prometheus answers", f"http://127.0.0.1:{own}/-/ready", child)
        return f"http://127.0.0.1:{own}/api/v1/query?query=aiq_braze_records_settled_total"

    def _program(self, name: str, module: str, *words: str | Path, environment: dict[str, str] | None = None) -> Child:
        return self._started(name, [sys.executable, "-m", module, *words], environment)

    def _started(self, name: str, command: list[str | Path], environment: dict[str, str] | None = None) -> Child:
        child = self._living[name] = self._children.start(command, self._folder / f"{name}.log", environment)
        return child

    def _until_answers(self, what: str, url: str, child: Child) -> None:
        def answers() -> bool:
            child.must_live()
            try:
                return ask(url)[0] == 200
            except OSError:
                return False

        until(what, answers)

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder


def main() -> None:
    """Run it. A second Ctrl-C does not wait for the connector's drain."""
    for asked in (signal.SIGTERM, signal.SIGINT):  # the second is ignored in what a shell starts in the background
        signal.signal(asked, signal.default_int_handler)
    os.environ["REQUIRE_ALL"] = ""  # nobody is tested here: what is missing is said
    with tempfile.TemporaryDirectory(prefix="aiq-braze-stack-") as folder:
        children = Children()
        stack = Stack(children, Path(folder))
        try:
            stack.start()
            for name, address in stack.addresses.items():
                print(f"{name:13}{address}", flush=True)  # noqa: T201  # what the command is for
            print("everything runs; Ctrl-C stops all of it", flush=True)  # noqa: T201
            stack.watch()
        except KeyboardInterrupt:
            stack.stop()
        except pytest.skip.Exception as error:
            sys.exit(f"make stack needs what the tests need: {error.msg}")
        finally:
            children.close()


if __name__ == "__main__":
    main()
