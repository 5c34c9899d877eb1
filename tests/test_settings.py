from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.configuration import ConfigurationInvalid
from connector.records import Kind
from connector.settings import load

GOOD: dict[str, Any] = {
    "kafka": {"bootstrap.servers": "localhost:9092", "group.id": "aiq-braze"},
    "topics": {"aiq.audience-membership": {"kind": "audience"}},
    "braze": {"endpoint": "https://rest.iad-01.braze.com", "api_key": "not-a-real-key"},
}


def written(directory: Path, tree: Any) -> Path:
    path = directory / "config.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree), encoding="utf-8")
    return path


def changed(**changes: Any) -> dict[str, Any]:
    """`GOOD` with dotted keys set; None removes one."""
    tree: dict[str, Any] = yaml.safe_load(yaml.safe_dump(GOOD))
    for dotted, value in changes.items():
        *path, last = dotted.split("/")
        node = tree
        for part in path:
            node = node[part]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return tree


def test_the_smallest_configuration_needs_nothing_more(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GOOD), {})

    assert settings.topics["aiq.audience-membership"].kind is Kind.AUDIENCE
    assert settings.braze.track_limit.combined == 75
    assert [(rate.requests, rate.per_s) for rate in settings.braze.rate] == [(3000, 3.0)]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"braze/api_keyy": "x"}, "braze.api_keyy: unknown key"),
        ({"http": {"port": True}}, "http.port: true is no value of it (YAML reads a bare yes, no, on, off as boolean)"),
        ({"braze/settle_s": False}, "braze.settle_s: false is no value of it (YAML reads a bare yes, no, on, off"),
        ({"brazee": {}}, "brazee: unknown key"),
        ({"topics/aiq.audience-membership": {"kind": "people"}}, "topics.aiq.audience-membership.kind: "),
        ({"topics/aiq.audience-membership": {"kind": "event", "framin": 1}}, ".framin: unknown key"),
        ({"braze/endpoint": "http://rest.iad-01.braze.com"}, "braze.endpoint: http would send the key in the clear"),
        ({"braze/endpoint": "https://sdk.iad-01.braze.com"}, "braze.endpoint: this is the SDK's host"),
        ({"braze/endpoint": "https://rest.iad-01.braze.com/users"}, "braze.endpoint: scheme and host only"),
        ({"braze/endpoint": "https://rest.iad-01.braze.com:abc"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://rest.iad-01.braze.com:99999"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://[::1"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://rest iad-01.braze.com"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://rest.iad-01.braze.com\n"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": " https://rest.iad-01.braze.com"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://rest.iad\t-01.braze.com"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://rest..braze.com"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": f"https://{'a' * 64}.braze.com"}, "braze.endpoint: give the REST address"),
        ({"braze/endpoint": "https://:word@rest.iad-01.braze.com"}, "braze.endpoint: scheme and host only"),
        ({"braze/proxy": "http://proxy..corp:3128"}, "braze.proxy: must begin with http:// or https://"),
        ({"schema_registry": {"url": "http://registry:8081\n"}}, "schema_registry.url: must be an address"),
        ({"schema_registry": {"url": "http://registry..:8081"}}, "schema_registry.url: must be an address"),
        ({"schema_registry": {"url": "http://registry:8081?tenant=1"}}, "schema_registry.url: must end with the path"),
        ({"schema_registry": {"url": "http://registry:8081/#a"}}, "schema_registry.url: must end with the path"),
        (
            {"schema_registry": {"url": "http://a:planted@registry", "user": "a", "password": "planted"}},
            "schema_registry.user: the address names one, too: name one of the two",
        ),
        (
            {"schema_registry": {"url": "http://r", "password": "planted"}},
            "schema_registry.user: is required beside a password, which would not be sent",
        ),
        (
            {"schema_registry": {"url": "http://r", "password_file": "/run/password"}},
            "schema_registry.user: is required beside a password",
        ),
        (
            {"schema_registry": {"url": "http://r", "user": "u", "password": "planted", "password_file": "/run/p"}},
            "schema_registry.password: give one of password and password_file",
        ),
        ({"http": {"host": "a..b"}}, "http.host: is no name or address"),
        ({"http": {"host": "a" * 64}}, "http.host: is no name or address"),
        ({"braze/proxy": "proxy.corp:3128"}, "braze.proxy: must begin with http:// or https://"),
        ({"braze/proxy": "//proxy.corp:3128"}, "braze.proxy: must begin with http:// or https://"),
        ({"braze/proxy": "socks5://proxy.corp:3128"}, "braze.proxy: must begin with http:// or https://"),
        ({"braze/proxy": "http://"}, "braze.proxy: must begin with http:// or https://"),
        ({"braze/proxy": ""}, "braze.proxy: must begin with http:// or https://"),
        ({"schema_registry": {"url": "registry:8081"}}, "schema_registry.url: must be an address"),
        ({"schema_registry": {"url": "http://registry:80a"}}, "schema_registry.url: must be an address"),
        (
            {"schema_registry": {"url": "http://r", "proxy": "proxy:1"}},
            "schema_registry.proxy: must begin with http://",
        ),
        *(
            ({"braze/proxy": f"http://{planted}@proxy:3128"}, "braze.proxy: names a user or a password that HTTP's")
            for planted in ("planted:\u20ac", "pl\u20acanted", "a%3Aplanted:b", "planted:%FF", "planted:%E2%82%AC")
        ),
        (
            {"schema_registry": {"url": "http://r", "proxy": "http://planted:\u20ac@proxy"}},
            "schema_registry.proxy: names a user or a password that HTTP's",
        ),
        (
            {"schema_registry": {"url": "http://planted:\u20ac@r"}},
            "schema_registry.url: names a user or a password that HTTP's",
        ),
        ({"tracing": {"endpoint": "collector:4318"}}, "tracing.endpoint: must be an address such as http://"),
        ({"kafka/session.timeout.ms": "10s"}, "kafka.session.timeout.ms: must be a whole number, of milliseconds"),
        ({"kafka/session.timeout.ms": ""}, "kafka.session.timeout.ms: must be a whole number"),
        ({"kafka/max.poll.interval.ms": float("inf")}, "kafka.max.poll.interval.ms: must be a whole number"),
        ({"kafka/session.timeout.ms": 2_999}, "kafka.session.timeout.ms: must be 3,000 or more: sending stops two"),
        ({"kafka/bootstrap.servers": ["a:1", "b:1"]}, "kafka.bootstrap.servers: must be one text, number, true or"),
        *(
            ({f"kafka/{key}": value}, f"kafka.{key}: must be a text: put it in quotes, or YAML takes it for a number")
            for key, value in (
                ("sasl.password", 5349),  # which was written 012345
                ("sasl.username", True),  # on
                ("ssl.key.password", 1.5),
                ("group.id", 7),  # 007
                ("group.instance.id", 1),
            )
        ),
        ({"kafka/client.id": {"a": 1}}, "kafka.client.id: must be one text, number, true or false"),
        ({"kafka/auto.offset.reset": ["earliest"]}, "kafka.auto.offset.reset: must be earliest, latest or error"),
        ({"braze/endpoint": None}, "braze.endpoint: is required"),
        ({"braze/api_key": " "}, "braze.api_key: is empty"),
        ({"braze/api_key": "one\nanother"}, "braze.api_key: is no API key: give it alone, in one line of plain ASCII"),
        ({"braze/api_key": "k\u00e9y"}, "braze.api_key: is no API key"),
        ({"braze/api_key": None}, "braze.api_key: give exactly one"),
        ({"braze/settle_s": -1}, "braze.settle_s: "),
        ({"braze/settle_s": "soon"}, "braze.settle_s: "),
        ({"braze/settle_s": float("inf")}, "braze.settle_s: "),
        ({"braze/rate": []}, "braze.rate: "),
        ({"braze/rate": {"requests": 0, "per_s": 1}}, "braze.rate.0.requests: "),
        ({"braze/track_limit": {"combined": 75, "per_array": 75}}, "braze.track_limit"),
        ({"kafka/enable.auto.commit": True}, "kafka.enable.auto.commit: offsets are committed after delivery only"),
        ({"kafka/enable.auto.offset.store": "true"}, "kafka.enable.auto.offset.store: "),
        ({"kafka/enable.auto.commit": 1}, "kafka.enable.auto.commit: offsets are committed after delivery only"),
        ({"kafka/enable.auto.offset.store": "T"}, "kafka.enable.auto.offset.store: "),
        ({"kafka/acks": 1}, "kafka.acks: a dead letter is settled when all in-sync replicas have it"),
        ({"kafka/request.required.acks": "0"}, "kafka.request.required.acks: a dead letter is settled when"),
        ({"kafka/delivery.report.only.error": "1"}, "kafka.delivery.report.only.error: no dead letter would"),
        ({"kafka/transactional.id": "mine"}, "kafka.transactional.id: dead letters are written without"),
        ({"kafka/default.topic.config": {"auto.offset.reset": "latest"}}, "kafka.default.topic.config: what is in"),
        ({"kafka/partition.assignment.strategy": "range"}, "kafka.partition.assignment.strategy: an eager assignor"),
        ({"kafka/group.id": None}, "kafka.group.id: is required"),
        *(
            ({"topics": {name: {"kind": "event"}}}, f"topics.{name}: is no name of a topic: give each by its own")
            for name in ("^aiq.*", "", "a b", "ä", ".", "..", "a/b", "a" * 250, "a\n")
        ),
        ({"dead_letter_topic": "dead letters"}, "dead_letter_topic: is no name of a topic"),
        ({"dead_letter_topic": "aiq.audience-membership"}, "dead_letter_topic: is also a topic to read"),
        ({"revoke_deadline_s": 400}, "revoke_deadline_s: "),
        ({"revoke_deadline_s": 45}, "revoke_deadline_s: "),
        ({"topics": {}}, "topics: "),
    ],
)
def test_what_is_wrong_is_refused_with_the_key_s_path(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refusal:
        load(written(tmp_path, changed(**changes)), {})

    assert any(fault in line for line in refusal.value.faults), refusal.value.faults


def test_a_revoke_may_take_all_but_fifteen_seconds_of_a_poll_s_interval(tmp_path: Path) -> None:
    assert load(written(tmp_path, changed(revoke_deadline_s=44.9)), {}).revoke_deadline_s == 44.9


@pytest.mark.parametrize(
    "harmless", [{"enable.auto.commit": 0}, {"enable.auto.offset.store": "false"}, {"acks": -1}, {"acks": "all"}]
)
def test_what_says_the_same_as_we_do_is_taken(tmp_path: Path, harmless: dict[str, Any]) -> None:
    assert load(written(tmp_path, changed(kafka={**GOOD["kafka"], **harmless})), {}).kafka.items() >= harmless.items()


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy:3128",
        "https://user:word@proxy.corp",
        "http://[::1]:3128/",
        "http://us\u00e9r:a%3Ab%25@proxy",
    ],
)
def test_a_proxy_with_a_scheme_is_taken(tmp_path: Path, proxy: str) -> None:
    settings = load(written(tmp_path, changed(**{"braze/proxy": proxy})), {})

    assert settings.braze.proxy == proxy


def test_a_key_that_is_no_text_is_told_of_its_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        load(written(tmp_path, changed(mapping={True: 1}, topics={"t": {"kind": "event", "mapping": {5: 1}}})), {})

    assert [fault.partition(": a key is no text: quote it")[0] for fault in refused.value.faults] == [
        "topics.t.mapping", "mapping",
    ]  # fmt: skip


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid) as refusal:
        load(written(tmp_path, changed(**{"braze/settle_s": -1, "http": {"port": 99999}, "x": 1})), {})

    assert len(refusal.value.faults) == 3


def test_a_wrong_value_is_never_quoted(tmp_path: Path) -> None:
    tree = changed(
        **{"braze/api_key": ["planted-secret"], "schema_registry": {"url": 1, "password": {"planted-secret": 1}}}
    )

    with pytest.raises(ConfigurationInvalid) as refusal:
        load(written(tmp_path, tree), {})

    assert "planted-secret" not in str(refusal.value)


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = load(
        written(tmp_path, GOOD),
        {
            "AIQ_BRAZE__BRAZE__SETTLE_S": "0",
            "AIQ_BRAZE__KAFKA__BOOTSTRAP_SERVERS": "elsewhere:9092",
            "AIQ_BRAZE__BRAZE__RATE": '[{"requests": 5, "per_s": 1}, {"requests": 9, "per_s": 3600}]',
            "AIQ_BRAZE__HTTP__PORT": "0",
        },
    )

    assert settings.braze.settle_s == 0
    assert settings.kafka["bootstrap.servers"] == "elsewhere:9092"
    assert [rate.requests for rate in settings.braze.rate] == [5, 9]
    assert settings.http.port == 0


def test_the_environment_alone_is_enough() -> None:
    settings = load(
        None,
        {
            "AIQ_BRAZE__KAFKA__BOOTSTRAP_SERVERS": "localhost:9092",
            "AIQ_BRAZE__KAFKA__GROUP_ID": "g",
            "AIQ_BRAZE__TOPICS": '{"t": {"kind": "event"}}',
            "AIQ_BRAZE__BRAZE__ENDPOINT": "https://rest.iad-01.braze.com",
            "AIQ_BRAZE__BRAZE__API_KEY": "not-a-real-key",
        },
    )

    assert settings.topics["t"].kind is Kind.EVENT


def test_an_unknown_variable_of_ours_is_refused_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"braze\.settles: unknown key"):
        load(written(tmp_path, GOOD), {"AIQ_BRAZE__BRAZE__SETTLES": "1"})


def test_the_schemas_lie_relative_to_the_configuration_file(tmp_path: Path) -> None:
    settings = load(written(tmp_path, changed(schemas_dir="mine")), {})

    assert settings.schemas_dir == tmp_path / "mine"


def test_the_fingerprint_tells_configurations_apart_and_knows_no_secret(tmp_path: Path) -> None:
    one = load(written(tmp_path, GOOD), {})
    other_key = load(written(tmp_path, changed(**{"braze/api_key": "another"})), {})
    other_settle = load(written(tmp_path, changed(**{"braze/settle_s": 1})), {})

    assert one.fingerprint() == other_key.fingerprint() != other_settle.fingerprint()


def test_pods_that_differ_in_name_and_secrets_alone_have_one_fingerprint(tmp_path: Path) -> None:
    def of(**kafka: str) -> str:
        tree = changed(kafka={**GOOD["kafka"], **{key.replace("_", "."): value for key, value in kafka.items()}})
        return load(written(tmp_path, tree), {}).fingerprint()

    assert of(group_instance_id="a", client_id="a", sasl_password="a") == of(group_instance_id="b", sasl_password="b")
    assert of(group_instance_id="a") != of(group_instance_id="a", security_protocol="SASL_SSL")
