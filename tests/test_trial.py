"""What the machine lacks is said with its key, and nothing of what a secret holds."""

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from connector.configuration import ConfigurationInvalid
from connector.settings import Settings
from connector.trial import try_out

PLANTED = "planted-secret"


def settings(**sections: dict[str, Any]) -> Settings:
    """A small configuration; what a section is given is added to it."""
    tree: dict[str, Any] = {
        "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
        "topics": {"audiences": {"kind": "audience"}},
        "braze": {"endpoint": "http://127.0.0.1:9", "api_key": "not-a-real-key"},
    }
    for name, section in sections.items():
        tree[name] = tree.get(name, {}) | section
    return Settings.model_validate(tree)


def faults(tried: Settings) -> list[str]:
    with pytest.raises(ConfigurationInvalid) as refused:
        try_out(tried)
    return refused.value.faults


@pytest.mark.parametrize(
    "kafka",
    [
        {},
        {"group.protocol": "consumer"},
        {"session.timeout.ms": "45000", "client.rack": "a", "isolation.level": "read_committed"},
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "u",
            "sasl.password": PLANTED,
        },
    ],
)
def test_what_librdkafka_takes_passes_without_a_broker_and_at_once(kafka: dict[str, Any]) -> None:
    began = time.monotonic()

    try_out(settings(kafka=kafka))

    assert time.monotonic() - began < 2


def test_nothing_is_written_beside_the_faults(capfd: pytest.CaptureFixture[str]) -> None:
    try_out(settings(kafka={"debug": "all", "log_level": 7}))
    faults(settings(kafka={"debug": "all", "foo.bar": 1}))

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kafka", "begins"),
    [
        ({"foo.bar": 1}, 'kafka.foo.bar: librdkafka refuses it: No such configuration property: "foo.bar"; correct'),
        ({"session.timeout.ms": 5_000_000}, "kafka.session.timeout.ms: "),
        (
            {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"},
            "kafka: librdkafka refuses it: sasl.username and sasl.password must be set; ",
        ),
        ({"max.poll.interval.ms": 30_000, "session.timeout.ms": 40_000}, "kafka.max.poll.interval.ms: "),
        ({"group.protocol": "consumer", "session.timeout.ms": 9000}, "kafka.session.timeout.ms: "),
        ({"acks": "1"}, "kafka.acks: librdkafka refuses it: `acks` must be set to `all`"),
        ({"stats_cb": "x"}, "kafka: a property has a value of the wrong kind: "),
    ],
)
def test_what_librdkafka_refuses_is_one_fault_with_the_key_and_its_own_words(
    kafka: dict[str, Any], begins: str
) -> None:
    found = faults(settings(kafka=kafka))

    assert len(found) == 1
    assert found[0].startswith(begins)


@pytest.mark.parametrize(
    "kafka",
    [
        {"security.protocol": PLANTED},
        {"security.protocol": 'a "b" ' + PLANTED},
        {"plugin.library.paths": PLANTED, "sasl.password": PLANTED},
        {"security.protocol": "ssl", "ssl.certificate.pem": PLANTED},
    ],
)
def test_a_value_is_not_quoted(kafka: dict[str, Any]) -> None:
    (found,) = faults(settings(kafka=kafka))

    assert found.startswith("kafka")
    assert PLANTED not in found


def test_a_certificate_file_that_librdkafka_cannot_read_is_named_with_its_path() -> None:
    (found,) = faults(settings(kafka={"security.protocol": "ssl", "ssl.ca.location": "/nowhere/ca.pem"}))

    assert found.startswith("kafka.ssl.ca.location: librdkafka refuses it: ssl.ca.location failed")
    assert found.endswith("; is /nowhere/ca.pem there, readable and what it should be?")


def test_a_file_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    registry = {"url": "http://127.0.0.1:1", "user": "u", "password_file": str(absent), "ca_file": str(absent)}

    found = faults(
        settings(braze={"api_key": None, "api_key_file": str(absent), "ca_file": str(absent)}, schema_registry=registry)
    )

    assert found == [
        f"{key}: {absent} cannot be read: No such file or directory; is it mounted?"
        for key in ("braze.api_key_file", "braze.ca_file", "schema_registry.password_file", "schema_registry.ca_file")
    ]


@pytest.mark.parametrize("secret", ["planted-secret", "planted/secret", "/planted/secret", "planted" * 100])
def test_a_secret_put_where_its_file_belongs_is_not_shown(secret: str) -> None:
    registry = {"url": "http://127.0.0.1:1", "user": "u", "password_file": secret}

    found = faults(settings(braze={"api_key": None, "api_key_file": secret}, schema_registry=registry))

    assert [each.partition(":")[0] for each in found] == ["braze.api_key_file", "schema_registry.password_file"]
    assert "planted" not in "".join(found)


@pytest.mark.parametrize("content", [b"", b"a\nb", b"planted-secret\x00", "planted".encode("utf-16"), b"k\xe9y"])
def test_a_file_that_holds_no_key_is_refused_without_what_it_holds(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)

    (found,) = faults(settings(braze={"api_key": None, "api_key_file": str(file)}))

    assert found == f"braze.api_key_file: {file} holds no API key: write it alone, in one line of plain ASCII"


@pytest.mark.parametrize("content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_that_holds_no_certificates_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)

    assert faults(settings(braze={"ca_file": str(file)})) == [
        f"braze.ca_file: {file} holds no certificates: give a file of them in PEM"
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"", b" \n"])
def test_a_password_s_file_that_holds_none_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)

    assert faults(settings(schema_registry={"url": "http://127.0.0.1:1", "user": "u", "password_file": str(file)})) == [
        f"schema_registry.password_file: {file} holds no secret: write it alone, as text in UTF-8"
    ]


def test_files_that_are_there_pass(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("not-a-real-key\n", encoding="utf-8")
    (tmp_path / "password").write_text("a word\n", encoding="utf-8")

    try_out(
        settings(
            braze={"api_key": None, "api_key_file": str(tmp_path / "key")},
            schema_registry={"url": "http://127.0.0.1:1", "user": "u", "password_file": str(tmp_path / "password")},
        )
    )


def test_an_extra_that_is_configured_and_not_installed_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = settings(tracing={"endpoint": "http://127.0.0.1:1"})
    try_out(traced)
    monkeypatch.delitem(sys.modules, "connector.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    (found,) = faults(traced)

    assert found.startswith("tracing: OpenTelemetry is not installed: pip install 'aiq-braze[tracing]'")
