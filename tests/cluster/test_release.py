"""The chart on a real Kubernetes that enforces "restricted": installed, changed, tested, removed without a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.cluster.control_plane import ClusterRefused, ControlPlane
from tests.helm.chart import CHART, MATRIX
from tests.real.children import until
from tests.tools.schemas import crd_files

EVERYTHING = CHART / "ci" / "everything-values.yaml"


class Release:
    """One release in a namespace."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace

    def helm(self, command: str, *arguments: Any) -> str:
        name = ("rel", CHART) if command in {"install", "upgrade"} else ("rel",)
        return self._cluster.helm(command, *name, "--namespace", self._namespace, *arguments)

    def get(self, *arguments: str) -> list[Any]:
        return self._cluster.get("--namespace", self._namespace, *arguments)

    def pods(self) -> list[Any]:
        return self.get("pods", "--selector", "app.kubernetes.io/component=connector")

    def names(self) -> set[str]:
        """Everything in the namespace, whatever its kind, that Kubernetes did not put there."""
        kinds = self._cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output", "name").split()
        kinds = [kind for kind in kinds if not kind.startswith(("events", "pods.metrics"))]
        listed = self._cluster.kubectl("get", ",".join(kinds), "--namespace", self._namespace, "--output", "name")
        return {each for each in listed.split() if each not in {"serviceaccount/default", "configmap/kube-root-ca.crt"}}


@pytest.fixture
def release(control_plane: ControlPlane, namespace: str) -> Release:
    return Release(control_plane, namespace)


@pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_install_change_test_and_remove(values: Any, release: Release) -> None:
    told = release.helm("install", "--wait", "--timeout", "5m", "--values", values)
    assert "helm test rel" in told
    (workload,) = release.get("deployments,statefulsets")
    first = {pod["metadata"]["uid"] for pod in release.pods()}
    assert len(first) == workload["status"]["readyReplicas"] == workload["spec"]["replicas"]

    changed = ("--values", values, "--set", "podAnnotations.rolled=yes")
    release.helm("upgrade", "--wait", "--timeout", "5m", *changed)
    until("the old pods are gone", lambda: not first & {pod["metadata"]["uid"] for pod in release.pods()})
    assert {pod["metadata"]["annotations"]["rolled"] for pod in release.pods()} == {"yes"}

    if yaml.safe_load(values.read_text(encoding="utf-8")).get("test", {}).get("enabled", True):
        assert "Phase:          Succeeded" in release.helm("test", "--timeout", "5m")

    release.helm("uninstall", "--wait", "--timeout", "5m")
    assert until("nothing is left", lambda: not release.names()), release.names()


def test_every_optional_object_is_made(release: Release) -> None:
    release.helm("install", "--wait", "--timeout", "5m", "--values", EVERYTHING)
    kinds = {name.partition("/")[0] for name in release.names()}
    assert kinds >= {
        "configmap", "deployment.apps", "networkpolicy.networking.k8s.io", "pod", "podmonitor.monitoring.coreos.com",
        "poddisruptionbudget.policy", "prometheusrule.monitoring.coreos.com", "scaledobject.keda.sh", "service",
        "serviceaccount",
    }  # fmt: skip
    (budget,) = release.get("poddisruptionbudgets")
    until("the budget has seen the pods", lambda: release.get("poddisruptionbudgets")[0]["status"]["expectedPods"])
    assert budget["spec"]["maxUnavailable"] == 1


def test_a_rollout_never_takes_more_than_one_pod(control_plane: ControlPlane, release: Release) -> None:
    release.helm("install", "--wait", "--timeout", "5m", "--set", "replicas=4")
    release.helm("upgrade", "--set", "replicas=4", "--set", "config.commit_interval_s=1")

    def is_done() -> bool:
        (deployment,) = release.get("deployments")
        status = deployment["status"]
        assert status.get("unavailableReplicas", 0) <= 1
        assert status["replicas"] <= 4, "a surge: one rebalance more a pod"
        observed = status["observedGeneration"] == deployment["metadata"]["generation"]
        return bool(observed and status.get("updatedReplicas") == 4 and status.get("readyReplicas") == 4)

    until("the roll-out is done", is_done)
    (config,) = release.get("configmaps", "--selector", "app.kubernetes.io/instance=rel")
    assert yaml.safe_load(config["data"]["connector.yaml"])["commit_interval_s"] == 1
    assert control_plane.helm("history", "rel", "--namespace", config["metadata"]["namespace"]).count("\n") == 3


def test_a_node_is_drained_one_pod_at_a_time(release: Release, control_plane: ControlPlane) -> None:
    release.helm("install", "--wait", "--timeout", "5m", "--set", "replicas=2")
    nodes = {pod["spec"]["nodeName"] for pod in release.pods()}
    assert nodes == {"node-a", "node-b"}, "spread over zones and nodes"
    until(
        "one may be evicted",
        lambda: release.get("poddisruptionbudgets")[0]["status"].get("disruptionsAllowed") == 1,
    )
    first, second = release.pods()
    control_plane.kubectl("cordon", *nodes)  # or the next pod would be there before one has looked
    try:
        _evict(control_plane, first)
        with pytest.raises(ClusterRefused, match="disruption budget"):
            _evict(control_plane, second)
    finally:
        control_plane.kubectl("uncordon", *nodes)


def test_pods_that_are_not_restricted_are_refused(release: Release) -> None:
    release.helm("install", "--set", "podSecurityContext.runAsNonRoot=false", "--set", "replicas=1")
    told = until(
        "the refusal is told",
        lambda: [each["message"] for each in release.get("events") if "violates PodSecurity" in each["message"]],
    )
    assert "runAsNonRoot != true" in told[0]
    assert not release.pods()


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("podmonitors", {"selector": {}, "podMetricEndpoints": []}),
        ("prometheusrules", {"groups": [{"name": "a", "rules": [{"alert": "A", "expr": "1", "for": "soon"}]}]}),
        ("scaledobjects", {"scaleTargetRef": {"name": "a"}, "minReplicaCount": "two", "triggers": []}),
    ],
)
def test_the_operators_kinds_are_checked_here_too(
    kind: str, spec: dict[str, Any], control_plane: ControlPlane, namespace: str
) -> None:
    """Or what the chart renders of them would be accepted whatever it is."""
    crd = next(yaml.safe_load(path.read_text(encoding="utf-8")) for path in crd_files() if kind in path.name)["spec"]
    document = {
        "apiVersion": f"{crd['group']}/{crd['versions'][0]['name']}",
        "kind": crd["names"]["kind"],
        "metadata": {"name": "bad", "namespace": namespace},
        "spec": spec,
    }
    with pytest.raises(ClusterRefused, match=r"(unknown field|Invalid value|invalid)"):
        control_plane.kubectl("create", "--validate=strict", "--filename", "-", given=json.dumps(document))


def _evict(control_plane: ControlPlane, pod: Any) -> None:
    place = {key: pod["metadata"][key] for key in ("name", "namespace")}
    document = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": place})
    path = f"/api/v1/namespaces/{place['namespace']}/pods/{place['name']}/eviction"
    control_plane.kubectl("create", "--raw", path, "--filename", "-", given=document)
