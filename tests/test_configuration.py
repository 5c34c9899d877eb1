from pathlib import Path

import pytest

from connector.configuration import ConfigurationInvalid, written


def saved(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_variables_are_expanded_and_an_unset_one_is_a_fault(tmp_path: Path) -> None:
    path = saved(tmp_path, "braze: {api_key: 'a${KEY_OF_TEST}', rate: [{requests: '${KEY_OF_TEST}'}]}")

    assert written(path, {"KEY_OF_TEST": "k"}).tree == {"braze": {"api_key": "ak", "rate": [{"requests": "k"}]}}
    with pytest.raises(ConfigurationInvalid) as refused:
        written(path, {})
    assert refused.value.faults == [
        "braze.api_key: the environment variable KEY_OF_TEST is not set",
        "braze.rate.0.requests: the environment variable KEY_OF_TEST is not set",
    ]


def test_keys_of_a_mapping_document_stay_what_they_are(tmp_path: Path) -> None:
    """A value map may translate numbers and booleans; everywhere else a key is a name."""
    text = "topics: {2024: {mapping: {name: {field: level, map: {2: '${WORD}', yes: b, 'no': c}}}}}"

    tree = written(saved(tmp_path, text), {"WORD": "a"}).tree

    assert tree == {
        "topics": {"2024": {"mapping": {"name": {"field": "level", "map": {2: "a", True: "b", "no": "c"}}}}}
    }


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    """Bytes of another encoding in a variable come to us as halves of characters; a file can write them, too."""
    other = {"WORD": "p\udce4", "AIQ_BRAZE__KAFKA__SASL_PASSWORD": "p\udce4"}
    with pytest.raises(ConfigurationInvalid) as refused:
        written(saved(tmp_path, 'kafka: {client.id: "a${WORD}"}\nbraze: {api_key: "\\udce4"}'), other)

    assert refused.value.faults == [
        "kafka.client.id: is no text in UTF-8",
        "braze.api_key: is no text in UTF-8",
        "AIQ_BRAZE__KAFKA__SASL_PASSWORD: is no text in UTF-8",
    ]


def test_what_yaml_and_json_can_spell_and_nobody_can_take_is_named(tmp_path: Path) -> None:
    """Whoever opens a file of such a name ends with a fault of ours."""
    text = 'kafka: {sasl.password_file: "a\\0b"}\nschemas_dir: "c\\0"'
    with pytest.raises(ConfigurationInvalid) as refused:
        written(saved(tmp_path, text), {"AIQ_BRAZE__TOPICS": '{"e": [{"schema": "\\u0000"}, "\\ud800"]}'})

    assert refused.value.faults == [
        "kafka.sasl.password_file: holds a NUL",
        "schemas_dir: holds a NUL",
        "AIQ_BRAZE__TOPICS.e.0.schema: holds a NUL",
        "AIQ_BRAZE__TOPICS.e.1: is no text in UTF-8",
    ]


def test_variables_of_ours_come_over_the_file(tmp_path: Path) -> None:
    tree = written(
        saved(tmp_path, "kafka: {bootstrap.servers: a:9092, group.id: g}\nbraze: {settle_s: 1}"),
        {
            "AIQ_BRAZE__BRAZE__SETTLE_S": "0",
            "AIQ_BRAZE__BRAZE__RATE": '[{"requests": 5, "per_s": 1}]',
            "AIQ_BRAZE__KAFKA__BOOTSTRAP_SERVERS": "elsewhere:9092",
            "AIQ_BRAZE_CONFIG": "not a key",
        },
    ).tree

    assert tree == {
        "kafka": {"bootstrap.servers": "elsewhere:9092", "group.id": "g"},
        "braze": {"settle_s": "0", "rate": [{"requests": 5, "per_s": 1}]},
    }


def test_a_variable_finds_a_topic_of_the_file_whose_name_it_cannot_spell(tmp_path: Path) -> None:
    read = written(
        saved(tmp_path, "topics: {Aiq.profile-event: {kind: event}, a.b: {kind: event}}"),
        {
            "AIQ_BRAZE__TOPICS__AIQ_PROFILE_EVENT__FRAMING": "confluent",
            "AIQ_BRAZE__TOPICS__A_B": '{"kind": "audience"}',
        },
    )

    assert read.tree == {
        "topics": {"Aiq.profile-event": {"kind": "event", "framing": "confluent"}, "a.b": {"kind": "audience"}}
    }


def test_kafka_may_be_given_as_json_like_any_section_and_its_properties_are_texts() -> None:
    read = written(
        None,
        {
            "AIQ_BRAZE__KAFKA": '{"bootstrap.servers": "a:1", "group.id": "g"}',
            "AIQ_BRAZE__KAFKA__GROUP_ID": "other",
            "AIQ_BRAZE__KAFKA__SASL_PASSWORD": "{braces}",
        },
    )

    assert read.tree == {"kafka": {"bootstrap.servers": "a:1", "group.id": "other", "sasl.password": "{braces}"}}


@pytest.mark.parametrize("text", ['{"t": {"kind": "event"}, "t": {}}', '{"t": {"kind": "event", "kind": "audience"}}'])
def test_a_key_stands_once_in_a_variable_too(text: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"AIQ_BRAZE__TOPICS: (t|kind) stands twice in one place: give it"):
        written(None, {"AIQ_BRAZE__TOPICS": text})


def test_a_variable_below_what_is_no_section_is_named() -> None:
    with pytest.raises(ConfigurationInvalid, match="AIQ_BRAZE__HTTP__PORT: http is no section"):
        written(None, {"AIQ_BRAZE__HTTP": "8080", "AIQ_BRAZE__HTTP__PORT": "8080"})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kafka: [", "is no YAML at line"),
        ("- a", "holds no mapping"),
        ("", "holds no mapping"),
        ("kafka: 2026-99-99", "is no YAML"),  # read as a date
        ("braze: {}\nkafka: {}\nbraze: {}\n", "braze stands twice in one place, again at line 3: give it once"),
        ("kafka: {group.id: a, 'group.id': b}", r"group\.id stands twice in one place, again at line 1"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=fault):
        written(saved(tmp_path, text), {})


@pytest.mark.parametrize(
    "text",
    [
        "topics: &x [*x]",
        "topics: &x {a: {b: *x}}",
        "topics: &x [*x, *x]",
        f"topics: {'[' * 101}{']' * 101}",
        f"topics: {'[' * 5_000}{']' * 5_000}",
        f"topics: {'{a: ' * 5_000}{'}' * 5_000}",
    ],
)
def test_what_nests_without_end_or_sense_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        ConfigurationInvalid, match=r"config\.yaml nests more than 100 deep; does an anchor hold itself"
    ):
        written(saved(tmp_path, text), {})


@pytest.mark.parametrize("depth", [101, 900, 100_000])
def test_a_variable_that_nests_without_sense_is_refused(depth: int) -> None:
    with pytest.raises(ConfigurationInvalid, match="AIQ_BRAZE__TOPICS: nests more than 100 deep"):
        written(None, {"AIQ_BRAZE__TOPICS": "[" * depth + "]" * depth})


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("braze: {proxy: 'http://pröxy:3128'}".encode("latin-1"))

    with pytest.raises(ConfigurationInvalid, match=r"config\.yaml is no file of text: write it in UTF-8"):
        written(path, {})


def test_what_is_merged_into_a_section_may_be_said_otherwise_there(tmp_path: Path) -> None:
    text = "shared: &shared {bootstrap.servers: a:9092, group.id: a}\nkafka: {<<: *shared, group.id: b}\n"

    assert written(saved(tmp_path, text), {}).tree["kafka"] == {"bootstrap.servers": "a:9092", "group.id": "b"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"absent\.yaml cannot be read"):
        written(tmp_path / "absent.yaml", {})


def test_a_kafka_property_is_read_from_a_file(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("planted\n", encoding="utf-8")
    path = saved(tmp_path, f"kafka: {{sasl.password_file: {password}}}")

    for read in (written(path, {}), written(None, {"AIQ_BRAZE__KAFKA__SASL_PASSWORD_FILE": str(password)})):
        assert read.tree == {"kafka": {"sasl.password": "planted"}}
        assert read.kafka_files == {"sasl.password": password}


def test_a_password_put_where_its_file_belongs_is_not_shown(tmp_path: Path) -> None:
    path = saved(tmp_path, "kafka: {sasl.password_file: planted-secret}")
    with pytest.raises(ConfigurationInvalid, match=r"kafka\.sasl\.password_file: the file named there") as refused:
        written(path, {})
    assert "planted" not in str(refused.value)


def test_a_file_of_a_kafka_property_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    absent = f"sasl.password_file: {tmp_path / 'absent'}"
    with pytest.raises(
        ConfigurationInvalid, match=r"kafka\.sasl\.password_file: .*absent cannot be read: No such file"
    ):
        written(saved(tmp_path, f"kafka: {{{absent}}}"), {})

    with pytest.raises(ConfigurationInvalid, match=r"give either sasl\.password or sasl\.password_file") as refused:
        written(saved(tmp_path, f"kafka: {{{absent}, sasl.password: planted}}"), {})
    assert "planted" not in str(refused.value)
