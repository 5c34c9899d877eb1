"""The programs as fixtures: each is a path, and a test that asks for one it cannot have is skipped with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cache import absent
from tests.tools.go import BUILD_S, Unavailable, program

_PROGRAMS = {"helm", "actionlint", "kubeconform", "promtool", "prometheus"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever comes first may have to compile: `make test` does that beforehand, plain `pytest` does not."""
    for item in items:
        if _PROGRAMS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.timeout(BUILD_S))


def _program(name: str) -> Path:
    try:
        return program(name)
    except Unavailable as error:
        absent(str(error))


@pytest.fixture(scope="session")
def helm() -> Path:
    return _program("helm")


@pytest.fixture(scope="session")
def actionlint() -> Path:
    return _program("actionlint")


@pytest.fixture(scope="session")
def kubeconform() -> Path:
    return _program("kubeconform")


@pytest.fixture(scope="session")
def promtool() -> Path:
    return _program("promtool")


@pytest.fixture(scope="session")
def prometheus() -> Path:
    """The server; it has the whole API and no pages."""
    return _program("prometheus")
