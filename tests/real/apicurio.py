"""Apicurio Registry, which speaks Confluent's API, as a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.real.children import Child, Children, ask, free_port, until


class Apicurio:
    """One registry on the loopback interface; it keeps its port and its schemas over a restart."""

    def __init__(self, children: Children, jar: Path, folder: Path) -> None:
        self._children = children
        self._jar = jar
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}/apis/ccompat/v7"
        self._process: Child | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = process = self._children.start(
            ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", self._jar],
            self._folder / "registry.log",
            {
                "QUARKUS_HTTP_HOST": "127.0.0.1",
                "QUARKUS_HTTP_PORT": str(self._port),
                "APICURIO_DATASOURCE_URL": f"jdbc:h2:file:{self._folder / 'schemas'}",
            },
        )

        def answers() -> bool:
            process.must_live()
            try:
                return ask(f"{self.url}/subjects")[0] == 200
            except OSError:
                return False

        until("Apicurio Registry answers", answers)

    def stop(self) -> None:
        """Stop as an operator would."""
        assert self._process is not None
        self._process.terminate()

    def register(self, subject: str, schema: Any, references: Sequence[Mapping[str, Any]] = ()) -> int:
        """Register a schema; returns its id."""
        document = {"schema": json.dumps(schema), "references": list(references)}
        status, answer = ask(f"{self.url}/subjects/{subject}/versions", "POST", document)
        assert status == 200, answer
        return int(json.loads(answer)["id"])
