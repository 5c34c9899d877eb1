"""The chart lints, and what it renders is what Kubernetes from 1.27 to 1.37 and the operators know, field by field."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cache import absent
from tests.helm.chart import CHART, MATRIX, Chart, ChartRefused
from tests.tools.go import Unavailable
from tests.tools.schemas import VERSIONS, crd_schemas, kubernetes_schemas


class Conformity:
    """kubeconform with what it needs."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._kubernetes = kubernetes_schemas()
        try:
            self._crds = crd_schemas()
        except Unavailable as error:
            absent(str(error))

    def faults(self, text: str, version: str) -> list[str]:
        """What is wrong, an object a line."""
        places = (
            f"{self._kubernetes}/v{version}-standalone-strict/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            f"{self._crds}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
        )
        where = [argument for place in places for argument in ("-schema-location", place)]
        run = subprocess.run(
            [self._program, "-strict", "-output", "json", "-kubernetes-version", version, *where],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        found: Sequence[Any] = json.loads(run.stdout)["resources"]
        assert (run.returncode != 0) == bool(found)
        return [f"{each['kind']}: {each['msg']}" for each in found]


@pytest.fixture(scope="session")
def conformity(kubeconform: Path) -> Conformity:
    return Conformity(kubeconform)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_combination_conforms(version: str, chart: Chart, conformity: Conformity) -> None:
    rendered = [chart.render(values, version=version, release=f"r{n}") for n, values in enumerate(MATRIX)]

    assert conformity.faults("\n---\n".join(each.text for each in rendered), version) == []
    assert {each["kind"] for rendering in rendered for each in rendering.objects} >= {
        "Deployment", "StatefulSet", "ConfigMap", "Secret", "Service", "ServiceAccount", "PodDisruptionBudget",
        "NetworkPolicy", "PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject", "Pod",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replicas"), "three"),
        ("Deployment", ("spec", "template", "spec", "automountServiceAcountToken"), False),
        ("PodMonitor", ("spec", "podMetricEndpoints"), []),
        ("PrometheusRule", ("spec", "groups"), [{"name": "a", "rules": [{"alert": "A", "exprr": "1"}]}]),
        ("ScaledObject", ("spec", "minReplicaCount"), "2"),
    ],
)
def test_what_does_not_conform_is_found(
    kind: str, path: tuple[str, ...], value: object, chart: Chart, conformity: Conformity
) -> None:
    broken = chart.render(CHART / "ci" / "everything-values.yaml").one(kind)
    node = broken
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value

    (fault,) = conformity.faults(yaml.safe_dump(broken), "1.31.0")
    assert fault.startswith(f"{kind}: ")
    assert path[-1] in fault or "exprr" in fault


@pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_every_combination_lints(values: Path, chart: Chart) -> None:
    for version in (VERSIONS[0], VERSIONS[-1]):
        chart.lint(values, version)


def test_an_older_kubernetes_is_refused(chart: Chart) -> None:
    with pytest.raises(ChartRefused, match=r"kubeVersion: >=1\.27\.0-0"):
        chart.render(version="1.26.9")
