"""What the chart makes: secure by default, told of every secret as a file, and each option where it belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector import __version__
from tests.helm.chart import CHART, MATRIX, Chart

EVERYTHING = CHART / "ci" / "everything-values.yaml"


def test_the_chart_and_the_connector_have_one_version() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert about["appVersion"] == __version__


@pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_every_pod_is_restricted_and_has_no_token(values: Path, chart: Chart) -> None:
    rendered = chart.render(values)
    pods = [rendered.pod, *(each["spec"] for each in rendered.all("Pod"))]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        ours = [each for each in pod["containers"] if each["name"] in {"connector", "check"}]
        assert [each["securityContext"]["readOnlyRootFilesystem"] for each in ours] == [True]
    assert all(each["automountServiceAccountToken"] is False for each in rendered.all("ServiceAccount"))
    assert not [each for each in rendered.objects if "Role" in each["kind"]]


@pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.name.removesuffix("-values.yaml"))
def test_the_helm_test_pod_sees_what_the_connector_sees(values: Path, chart: Chart) -> None:
    rendered = chart.render(values)
    for pod in rendered.all("Pod"):
        (check,) = pod["spec"]["containers"]
        assert check["args"] == ["check"]
        for key in ("image", "env", "envFrom", "volumeMounts", "securityContext"):
            assert check.get(key) == rendered.container.get(key), key
        assert pod["spec"]["volumes"] == rendered.pod["volumes"]
        selector = rendered.workload["spec"]["selector"]["matchLabels"]
        assert not selector.items() <= pod["metadata"]["labels"].items(), "the Deployment would adopt it"


def test_every_secret_is_a_mounted_file_and_none_is_an_environment_variable(chart: Chart) -> None:
    rendered = chart.render(EVERYTHING)
    mounted = {each["secret"]["secretName"]: each["name"] for each in rendered.pod["volumes"] if "secret" in each}
    places = {each["name"]: each["mountPath"] for each in rendered.container["volumeMounts"]}

    assert mounted.keys() == {"aiq-braze", "kafka-user", "kafka-tls", "registry-user"}
    assert not [each for each in rendered.container["env"] if "secretKeyRef" in str(each)]
    configuration = rendered.configuration
    kafka = configuration["kafka"]
    assert configuration["braze"]["api_key_file"] == f"{places[mounted['aiq-braze']]}/api-key"
    assert kafka["sasl.username_file"] == f"{places[mounted['kafka-user']]}/username"
    assert kafka["sasl.password_file"] == f"{places[mounted['kafka-user']]}/password"
    assert kafka["ssl.ca.location"] == f"{places[mounted['kafka-tls']]}/ca.crt"
    assert kafka["ssl.key.password_file"] == f"{places[mounted['kafka-tls']]}/password"
    assert configuration["schema_registry"]["password_file"] == f"{places[mounted['registry-user']]}/password"


def test_the_grace_period_is_drain_request_and_slack(chart: Chart) -> None:
    def grace(**config: Any) -> int:
        return int(chart.render({"config": config}).pod["terminationGracePeriodSeconds"])

    assert grace() == 20 + 30 + 10
    assert grace(drain_deadline_s=45.5, braze={"request_timeout_s": 12}) == 46 + 12 + 10
    # A leaving partition waits for its dead letters, too, longer than for a request.
    assert grace(revoke_deadline_s=40, braze={"request_timeout_s": 5}) == 20 + 40 + 10


def test_a_change_of_configuration_rolls_the_pods(chart: Chart) -> None:
    def checksum(values: dict[str, Any]) -> object:
        return chart.render(values).workload["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum({}) == checksum({"replicas": 5}) != checksum({"config": {"commit_interval_s": 1}})


def test_a_deployment_rolls_without_a_surge(chart: Chart) -> None:
    workload = chart.render().workload
    assert workload["kind"] == "Deployment"
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "group.instance.id" not in chart.render().configuration["kafka"]


def test_a_statefulset_is_a_static_membership(chart: Chart) -> None:
    rendered = chart.render(CHART / "ci" / "static-values.yaml")
    spec = rendered.workload["spec"]
    assert (rendered.workload["kind"], spec["podManagementPolicy"]) == ("StatefulSet", "Parallel")
    assert spec["serviceName"] == rendered.one("Service")["metadata"]["name"]
    assert rendered.one("Service")["spec"]["clusterIP"] == "None"
    assert rendered.configuration["kafka"]["group.instance.id"] == "${POD_NAME}"
    assert rendered.configuration["kafka"]["session.timeout.ms"] == 90_000
    assert "pod-template-hash" not in rendered.text
    consumer = chart.render(CHART / "ci" / "static-consumer-values.yaml").configuration["kafka"]
    assert "session.timeout.ms" not in consumer, "under this protocol it is the broker's"
    shouted = {"workload": {"kind": "StatefulSet"}, "config": {"kafka": {"group.protocol": "CONSUMER"}}}
    assert "session.timeout.ms" not in chart.render(shouted).configuration["kafka"]


def test_what_the_operator_says_of_kafka_wins_over_what_the_chart_knows(chart: Chart) -> None:
    own = {"session.timeout.ms": 33_000, "ssl.ca.location": "/own"}
    values = {"workload": {"kind": "StatefulSet"}, "config": {"kafka": own}}
    kafka = chart.render({**values, "secrets": {"kafkaTls": {"existingSecret": "tls"}}}).configuration["kafka"]
    assert own.items() <= kafka.items()


@pytest.mark.parametrize(("replicas", "budgets"), [(0, 0), (1, 0), (2, 1), (5, 1)])
def test_a_disruption_budget_is_for_two_and_more(replicas: int, budgets: int, chart: Chart) -> None:
    assert len(chart.render({"replicas": replicas}).all("PodDisruptionBudget")) == budgets


def test_keda_owns_the_replicas(chart: Chart) -> None:
    rendered = chart.render(EVERYTHING)
    assert "replicas" not in rendered.workload["spec"]
    assert rendered.one("ScaledObject")["spec"]["scaleTargetRef"]["name"] == rendered.workload["metadata"]["name"]


@pytest.mark.parametrize(("partitions", "requests", "most"), [(24, 3000, 8), (6, 3000, 6), (24, 5, 5), (1, 3000, 2)])
def test_scaling_ends_at_the_partitions_and_at_the_quota(
    partitions: int, requests: int, most: int, chart: Chart
) -> None:
    values = {
        "partitions": partitions,
        "config": {"braze": {"rate": {"requests": requests, "per_s": 3}}},
        "autoscaling": {"enabled": True, "prometheusAddress": "http://prometheus:9090"},
    }
    spec = chart.render(values).one("ScaledObject")["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (2, most)


def test_the_network_is_open_to_what_the_configuration_names(chart: Chart) -> None:
    policy = chart.render(EVERYTHING).one("NetworkPolicy")["spec"]
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["egress"]]
    assert ports == [[53, 53], [9093], [3128], [8443], [4317]]
    traced = {
        "networkPolicy": {"enabled": True},
        "config": {"tracing": {"endpoint": "http://collector:4318/v1/traces"}},
    }
    egress = chart.render(traced).one("NetworkPolicy")["spec"]["egress"]
    assert egress[-1] == {"ports": [{"protocol": "TCP", "port": 4318}]}
    assert chart.render(CHART / "ci" / "static-values.yaml").one("NetworkPolicy")["spec"]["ingress"] == []
    by_address = {
        "networkPolicy": {"enabled": True},
        "config": {"kafka": {"bootstrap.servers": "[::1]:9092, SASL_SSL://[2001:db8::9093]:9094 ,kafka:9092,"}},
    }
    by_variable = {
        "networkPolicy": {"enabled": True, "brazePorts": [443]},
        "config": {
            "braze": {"endpoint": "${BRAZE}"},
            "schema_registry": {"url": "http://${HOST}:8081/${PATH}"},
            "tracing": {"endpoint": "HTTPS://me:${WORD}@[2001:db8::1]/v1?a:1"},
        },
    }
    egress = chart.render(by_variable).one("NetworkPolicy")["spec"]["egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in egress[2:]] == [[443], [8081], [443]]
    brokers = chart.render(by_address).one("NetworkPolicy")["spec"]["egress"][1]["ports"]
    assert [port["port"] for port in brokers] == [9092, 9094]
    pods = chart.render(EVERYTHING)
    for labels in (pods.workload["spec"]["template"]["metadata"]["labels"], pods.one("Pod")["metadata"]["labels"]):
        assert policy["podSelector"]["matchLabels"].items() <= labels.items()


def test_an_object_of_an_operator_is_skipped_only_when_asked_for(chart: Chart) -> None:
    enabled = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}
    known = ("--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    assert chart.render(enabled).one("PodMonitor")
    skipping = {**enabled, "renderMode": "skipIfMissing"}
    assert not chart.render(skipping).all("PodMonitor")
    assert chart.render(skipping, arguments=known).one("PodMonitor")
    assert not chart.render(skipping, arguments=known).all("PrometheusRule")


def test_the_digest_wins_over_the_tag(chart: Chart) -> None:
    assert chart.render().container["image"] == f"aiq-braze:{__version__}"
    assert chart.render({"image": {"tag": "x"}}).container["image"] == "aiq-braze:x"
    assert "@sha256:" in chart.render(EVERYTHING).container["image"]


def test_of_a_label_or_an_annotation_that_is_said_twice_the_nearer_one_holds(chart: Chart) -> None:
    near, own = {"team": "crm"}, {"own": "1"}
    rendered = chart.render(
        {
            "commonLabels": {"team": "all", "grafana_dashboard": "0"},
            "commonAnnotations": {
                "helm.sh/hook-delete-policy": "hook-failed",
                "kubectl.kubernetes.io/default-container": "all",
            },
            "podLabels": near | own,
            "podAnnotations": {"kubectl.kubernetes.io/default-container": "sidecar"},
            "podMonitor": {"enabled": True, "additionalLabels": near},
            "prometheusRule": {"enabled": True, "additionalLabels": near},
            "dashboards": {"enabled": True},
        }
    )
    labels = rendered.workload["spec"]["template"]["metadata"]["labels"]
    annotations = rendered.workload["spec"]["template"]["metadata"]["annotations"]
    dashboards = [each for each in rendered.all("ConfigMap") if "-dashboard-" in each["metadata"]["name"]]

    assert labels.items() >= {"team": "crm", "own": "1"}.items()
    assert annotations["kubectl.kubernetes.io/default-container"] == "sidecar"
    assert "hook-succeeded" in rendered.one("Pod")["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
    for kind in ("PodMonitor", "PrometheusRule"):
        assert rendered.one(kind)["metadata"]["labels"]["team"] == "crm"
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in dashboards} == {"1"}


def test_selectors_find_the_pods(chart: Chart) -> None:
    for values in MATRIX:
        rendered = chart.render(values)
        labels = rendered.workload["spec"]["template"]["metadata"]["labels"].items()
        for kind in ("PodMonitor", "PodDisruptionBudget", "Deployment", "StatefulSet"):
            for each in rendered.all(kind):
                assert each["spec"]["selector"]["matchLabels"].items() <= labels, kind
        for service in rendered.all("Service"):
            assert service["spec"]["selector"].items() <= labels
        for monitor in rendered.all("ServiceMonitor"):
            selected = monitor["spec"]["selector"]["matchLabels"].items()
            assert selected <= rendered.one("Service")["metadata"]["labels"].items()


def test_a_release_and_a_namespace_may_be_numbers(chart: Chart) -> None:
    rendered = chart.render(EVERYTHING, release="007", arguments=["--namespace", "42"])
    ours = [each["metadata"] for each in rendered.objects if "helm.sh/chart" in each["metadata"].get("labels", {})]
    assert {(each["namespace"], each["labels"]["app.kubernetes.io/instance"]) for each in ours} == {("42", "007")}
    assert rendered.workload["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"] == "007"
    assert rendered.one("PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["42"]}


def test_what_the_operator_names_may_look_like_numbers(chart: Chart) -> None:
    names = {"fullnameOverride": "42", "existingConfigMap": "1", "existingSchemasConfigMap": "2"}
    rendered = chart.render(
        {**names, "secrets": {"braze": {"existingSecret": "3"}}, "workload": {"kind": "StatefulSet"}}
    )
    volumes = {each["name"]: each for each in rendered.pod["volumes"]}

    assert rendered.pod["serviceAccountName"] == rendered.workload["spec"]["serviceName"] == "42"
    assert {each["metadata"]["name"] for each in rendered.objects} == {"42", "42-check"}
    assert (volumes["config"]["configMap"]["name"], volumes["schemas"]["configMap"]["name"]) == ("1", "2")
    assert volumes["secret-braze"]["secret"]["secretName"] == "3"
    demo = chart.render({"secrets": {"braze": {"value": "k", "key": "on"}}})
    assert demo.one("Secret")["data"].keys() == {"on"}


def test_long_names_stay_names(chart: Chart) -> None:
    for each in chart.render(EVERYTHING, release="r" * 53).objects:
        assert len(each["metadata"]["name"]) <= 63


@pytest.mark.parametrize(
    ("values", "warning"),
    [
        ({}, "create secret generic aiq-braze --from-file=api-key="),
        ({"secrets": {"braze": {"value": "not-a-real-key"}}}, "secrets.braze.value lies in Helm's release record"),
        ({"secrets": {"braze": {"existingSecret": ""}}}, "there is no API key"),
        ({"config": {"braze": {"api_key": "not-a-real-key"}}}, "config.braze.api_key lies in a ConfigMap"),
        ({"config": {"kafka": {"sasl.password": "not-a-real-key"}}}, "config.kafka.sasl.password lies in a ConfigMap"),
        ({"config": {"kafka": {"ssl.key.pem": "not-a-real-key"}}}, "config.kafka.ssl.key.pem lies in a ConfigMap"),
        (
            {"config": {"schema_registry": {"url": "http://r:1", "password": "not-a-real-key"}}},
            "config.schema_registry.password lies in a ConfigMap",
        ),
        ({"replicas": 9, "partitions": 6}, "9 replicas for 6 partitions: 3 will be idle"),
        ({"replicas": 1}, "with 1 replica nothing is delivered while"),
        ({"workload": {"kind": "StatefulSet"}}, "waits for the session timeout (60 s"),
        ({"prometheusRule": {"enabled": True}}, "set prometheusRule.runbookBaseUrl"),
    ],
)
def test_the_notes_warn(values: dict[str, Any], warning: str, chart: Chart) -> None:
    assert warning in chart.notes(values)
    assert "not-a-real-key" not in chart.notes(values)


def test_the_notes_of_a_sound_release_warn_of_nothing(chart: Chart) -> None:
    assert "WARNING" not in chart.notes({"podMonitor": {"enabled": True}, "partitions": 24})


def test_every_dashboard_is_a_config_map_that_grafana_s_sidecar_finds(chart: Chart) -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "dashboards").glob("*.json")}
    assert files
    rendered = chart.render(EVERYTHING)
    maps = [each for each in rendered.all("ConfigMap") if "grafana_dashboard" in each["metadata"].get("labels", {})]

    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == {
        name: json.loads(text) for name, text in files.items()
    }
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps} == {"1"}
    assert {each["metadata"]["annotations"]["grafana_folder"] for each in maps} == {"Connectors"}
    assert max(len(text) for text in files.values()) < 1_000_000, "a ConfigMap holds a mebibyte"
    assert not [each for each in chart.render().all("ConfigMap") if "grafana" in str(each)]


def test_the_rules_of_a_release_are_the_rules_that_promtool_checks(chart: Chart) -> None:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((CHART / "files").glob("*.yaml"))]
    told = {"prometheusRule": {"enabled": True}}
    assert chart.render(told).one("PrometheusRule")["spec"]["groups"] == [
        group for file in files for group in file["groups"]
    ]
    changed = {
        "disabled": ["AiqBrazeThrottled"],
        "alertLabels": {"team": "crm"},
        "runbookBaseUrl": "https://r.example/",
    }
    groups = chart.render({"prometheusRule": {**told["prometheusRule"], **changed}}).one("PrometheusRule")["spec"][
        "groups"
    ]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    assert "AiqBrazeThrottled" not in alerts
    assert {rule["labels"]["team"] for rule in alerts.values()} == {"crm"}
    assert alerts["AiqBrazeRefused"]["annotations"]["runbook_url"] == "https://r.example/docs/runbooks/braze-refused.md"
