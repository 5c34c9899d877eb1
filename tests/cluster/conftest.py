from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.cluster.control_plane import ControlPlane
from tests.real.children import Children
from tests.tools.go import BUILD_S


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They are started by `make test-cluster`, and whoever starts them by hand may have to compile Kubernetes first."""
    for item in items:
        if "control_plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.timeout(BUILD_S))


@pytest.fixture(scope="session")
def control_plane(children: Children, tmp_path_factory: pytest.TempPathFactory) -> ControlPlane:
    cluster = ControlPlane(children, tmp_path_factory.mktemp("cluster"))
    cluster.start()
    return cluster


@pytest.fixture
def namespace(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of one's own that enforces Pod Security "restricted"."""
    name = re.sub(r"[^a-z0-9]+", "-", str(request.node.name).removeprefix("test_"))[-60:].strip("-")
    control_plane.kubectl("create", "namespace", name)
    for mode in ("enforce", "warn"):
        control_plane.kubectl("label", "namespace", name, f"pod-security.kubernetes.io/{mode}=restricted")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
