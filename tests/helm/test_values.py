"""What is wrong in the values is refused at `helm install`, with the key's path; what is right is taken."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.settings import load
from helm.reference import generated
from tests.helm.chart import CHART, Chart, ChartRefused

WATCHED = {"enabled": True, "prometheusAddress": "http://prometheus:9090"}


@pytest.mark.parametrize("name", generated())
def test_a_generated_file_is_what_its_sources_say(name: str) -> None:
    assert (CHART / name).read_text(encoding="utf-8") == generated()[name], "run `make docs`"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 2}, "'replica' not allowed"),
        ({"replicas": "two"}, "'/replicas': got string, want integer"),
        ({"replicas": -1}, "'/replicas': minimum"),
        ({"image": {"digest": "sha256:short"}}, "'/image/digest'"),
        ({"image": {"pullPolicy": "Sometimes"}}, "'/image/pullPolicy'"),
        ({"workload": {"kind": "DaemonSet"}}, "'/workload/kind'"),
        ({"workload": {"kinds": "Deployment"}}, "'kinds' not allowed"),
        ({"secrets": {"braze": {"existingSecrets": "x"}}}, "'existingSecrets' not allowed"),
        ({"renderMode": "sometimes"}, "'/renderMode'"),
        ({"extraEnv": ["A=B"]}, "'/extraEnv/0': got string, want object"),
        ({"networkPolicy": {"kafkaPorts": ["9092"]}}, "'/networkPolicy/kafkaPorts/0'"),
        ({"config": {"braze": {"settle": 5}}}, "'/config/braze': additional properties 'settle' not allowed"),
        ({"config": {"braze": {"settle_s": "soon"}}}, "'/config/braze/settle_s'"),
        ({"config": {"topics": {"t": {"kind": "people"}}}}, "'/config/topics/t/kind'"),
        ({"config": {"braze": {"rate": {"requests": 0, "per_s": 1}}}}, "'/config/braze/rate'"),
        ({"config": {"kafkas": {}}}, "'kafkas' not allowed"),
        ({"config": {"kafka": {"group.instance.id": "a"}}}, "set workload.kind to StatefulSet"),
        (
            {"workload": {"kind": "StatefulSet"}, "config": {"kafka": {"group.instance.id": "a"}}},
            "group.instance.id is the same in every pod",
        ),
        (
            {"workload": {"kind": "StatefulSet"}, "config": {"kafka": {"group.instance.id": 1}}},
            "group.instance.id is the same in every pod",
        ),
        ({"config": {"drain_deadline_s": "${DRAIN}"}}, "set terminationGracePeriodSeconds yourself"),
        ({"secrets": {"schemaRegistry": {"existingSecret": "x"}}}, "config.schema_registry is not"),
        ({"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}, "every pod would be scraped twice"),
        ({"autoscaling": WATCHED}, "partitions: autoscaling needs to know"),
        ({"autoscaling": {"enabled": True}, "partitions": 8}, "autoscaling.prometheusAddress: say which"),
        (
            {"networkPolicy": {"enabled": True}, "config": {"kafka": {"bootstrap.servers": "kafka"}}},
            "networkPolicy.kafkaPorts: ",
        ),
        (
            {"networkPolicy": {"enabled": True}, "config": {"kafka": {"bootstrap.servers": "a:9093,[::1]"}}},
            "networkPolicy.kafkaPorts: ",
        ),
        *(
            (
                {"networkPolicy": {"enabled": True}, "config": config},
                f"networkPolicy: config.{key} is known in the pod only: write its port out",
            )
            for key, config in (
                ("schema_registry.url", {"schema_registry": {"url": "${REGISTRY}"}}),
                ("schema_registry.proxy", {"schema_registry": {"url": "http://r", "proxy": "http://${PROXY}"}}),
                ("braze.endpoint", {"braze": {"endpoint": "${BRAZE}"}}),
                ("tracing.endpoint", {"tracing": {"endpoint": "${SCHEME}://collector/v1/traces"}}),
            )
        ),
        *(
            ({"config": {"http": {"host": host}}}, f"config.http.host is {host}, which nobody outside")
            for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1")
        ),
        (
            {"podAnnotations": {"sidecar.istio.io/inject": False}},
            "'/podAnnotations/sidecar.istio.io~1inject': got bool",
        ),
        ({"commonLabels": {"cost-center": 4711}}, "'/commonLabels/cost-center': got number, want string"),
        ({"nodeSelector": {"gpu": True}}, "'/nodeSelector/gpu': got boolean, want string"),
        ({"podMonitor": {"additionalLabels": {"release": 1}}}, "'/podMonitor/additionalLabels/release': got number"),
        ({"config": {"http": {"port": 0}}}, "probes need a port that is known"),
        (
            {"autoscaling": WATCHED, "partitions": 8, "config": {"braze": {"rate": {"requests": "${R}", "per_s": 1}}}},
            "config.braze.rate comes from a variable",
        ),
        (
            {"commonLabels": {"app.kubernetes.io/name": "crm"}},
            "commonLabels: app.kubernetes.io/name is set by the chart, whose selectors and upgrades need it",
        ),
        ({"podLabels": {"app.kubernetes.io/component": "x"}}, "podLabels: app.kubernetes.io/component is set by"),
        (
            {"podMonitor": {"enabled": True, "additionalLabels": {"helm.sh/chart": "x"}}},
            "podMonitor.additionalLabels: helm.sh/chart is set by the chart",
        ),
        ({"podMonitor": {"enabled": True}, "renderMode": "failIfMissing"}, "the cluster knows no PodMonitor"),
    ],
)
def test_a_bad_value_is_refused_with_its_path(values: dict[str, Any], said: str, chart: Chart) -> None:
    with pytest.raises(ChartRefused) as refused:
        chart.render(values)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "values",
    [
        {"config": {"http": {"host": "::"}}},
        {"config": {"http": {"host": "127.0.0.1"}}, "existingConfigMap": "mine"},  # then nothing of it is read
        {"global": {"storageClass": "anything", "imageRegistry": "anywhere"}},
        {"config": {"kafka": {"any.librdkafka.property": 1, "ssl.ca.location": "/ca"}}},
        {"config": {"braze": {"settle_s": "${SETTLE}"}}},
        {"workload": {"kind": "StatefulSet"}, "config": {"kafka": {"group.instance.id": "crm-${POD_NAME}"}}},
        {"config": {"braze": {"rate": [{"requests": 1, "per_s": 1}, {"requests": 9, "per_s": 3600}]}}},
        {"config": {"topics": {"aiq.profile-event": {"kind": "event", "mapping": {"name": "kind"}}}}},
        {"terminationGracePeriodSeconds": 300, "topologySpreadConstraints": []},
        {"podDisruptionBudget": {"maxUnavailable": "50%"}},
        {"securityContext": {"runAsUser": 12345}, "startupProbe": {"failureThreshold": 60}},
    ],
)
def test_a_good_value_is_taken(values: dict[str, Any], chart: Chart) -> None:
    assert chart.render(values).workload


@pytest.mark.parametrize(
    "values",
    [{}, {"workload": {"kind": "StatefulSet"}}, {"secrets": {"braze": {"value": "not-a-real-key"}}}],
    ids=["default", "static", "demo"],
)
def test_the_rendered_configuration_is_one_that_the_connector_takes(
    values: dict[str, Any], chart: Chart, tmp_path: Path
) -> None:
    configuration = chart.render(values).configuration
    path = tmp_path / "connector.yaml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")

    settings = load(path, {"POD_NAME": "rel-aiq-braze-0"})

    assert settings.topics.keys() == configuration["topics"].keys()
    assert settings.braze.api_key_file == Path("/etc/aiq-braze/secrets/braze/api-key")
    assert settings.kafka.get("group.instance.id") == ("rel-aiq-braze-0" if "workload" in values else None)


def test_the_chart_may_be_part_of_another(chart: Chart, tmp_path: Path) -> None:
    """Helm then hands it a `global` that a strict schema must let pass, and its values under its name."""
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / "aiq-braze", ignore=shutil.ignore_patterns("__pycache__"))
    (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 0.0.1\n", encoding="utf-8")
    rendered = Chart(chart.helm, parent).render({"global": {"a": 1}, "aiq-braze": {"replicas": 7}})
    assert rendered.workload["spec"]["replicas"] == 7
