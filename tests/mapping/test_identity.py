"""Who a record is about: exactly one identifier is sent, and never one that stands for nobody."""

from __future__ import annotations

from typing import Any

import pytest

from connector.decode import WriterSchema
from connector.mapping import PLACEHOLDER_IDS
from connector.records import Kind, Outbound, Rejected
from tests.mapping_samples import THEN, campaign, identity, refused, sent, through

KINDS = pytest.mark.parametrize("kind", list(Kind))
EXTERNAL = {Kind.AUDIENCE: "external_id", Kind.EVENT: "external_id", Kind.CAMPAIGN: "external_user_id"}
IDENTIFIERS = {"external_id", "external_user_id", "braze_id"}


def who(kind: Kind, external_id: str | None, braze_id: str | None = None, **more: Any) -> tuple[str, dict[str, Any]]:
    outbound = sent(kind, identity(external_id, braze_id), **more)
    return outbound.user, {key: value for key, value in outbound.object.items() if key in IDENTIFIERS}


@KINDS
def test_the_external_id_is_the_user(kind: Kind) -> None:
    assert who(kind, "u1") == ("u1", {EXTERNAL[kind]: "u1"})


@KINDS
def test_the_braze_id_is_the_user_where_there_is_no_other(kind: Kind) -> None:
    assert who(kind, None, "b1") == ("\0b1", {"braze_id": "b1"})
    assert who(kind, "  ", "b1") == ("\0b1", {"braze_id": "b1"})


@KINDS
def test_of_two_the_external_id_is_sent_unless_told_otherwise(kind: Kind) -> None:
    assert who(kind, "u1", "b1") == ("u1", {EXTERNAL[kind]: "u1"})
    assert who(kind, "u1", "b1", prefer="braze_id") == ("\0b1", {"braze_id": "b1"})
    assert who(kind, "u1", None, prefer="braze_id") == ("u1", {EXTERNAL[kind]: "u1"})


@KINDS
def test_the_documents_preference_wins(kind: Kind) -> None:
    mapping = {"user": {"prefer": "external_id"}}

    assert who(kind, "u1", "b1", prefer="braze_id", mapping=mapping) == ("u1", {EXTERNAL[kind]: "u1"})


@KINDS
def test_ids_are_trimmed(kind: Kind) -> None:
    assert who(kind, " \tu1\n") == ("u1", {EXTERNAL[kind]: "u1"})


@KINDS
@pytest.mark.parametrize(("external_id", "braze_id"), [(None, None), ("", " "), (" ", None)])
def test_nobody_is_refused(kind: Kind, external_id: str | None, braze_id: str | None) -> None:
    rejected = refused(kind, identity(external_id, braze_id))

    assert rejected.reason == "no_identity"
    assert "user.external_id" in rejected.detail


@KINDS
@pytest.mark.parametrize("placeholder", [*sorted(PLACEHOLDER_IDS), "NULL", " Undefined ", "NaN"])
def test_an_id_that_stands_for_nobody_is_refused(kind: Kind, placeholder: str) -> None:
    assert refused(kind, identity(placeholder)).reason == "placeholder_identity"
    assert refused(kind, identity(None, placeholder)).reason == "placeholder_identity"


@KINDS
def test_which_ids_stand_for_nobody_is_the_operators_choice(kind: Kind) -> None:
    assert (
        refused(kind, identity("Acme-Kiosk"), placeholder_ids=frozenset({"ACME-kiosk"})).reason
        == "placeholder_identity"
    )
    assert who(kind, "test", placeholder_ids=frozenset()) == ("test", {EXTERNAL[kind]: "test"})


@KINDS
def test_the_length_is_counted_in_bytes(kind: Kind) -> None:
    for fitting in ("x" * 987, "ü" * 493, "😀" * 246):
        assert who(kind, fitting)[0] == fitting
    for long in ("x" * 988, "ü" * 494, "😀" * 247):
        assert refused(kind, identity(long)).reason == "identity_too_long"


@KINDS
def test_a_nul_is_refused_since_it_marks_the_other_lane(kind: Kind) -> None:
    assert refused(kind, identity("\0b1")).reason == "bad_value"
    assert refused(kind, identity("u\0")).reason == "bad_value"


def test_braze_id_recipients_may_be_dead_lettered() -> None:
    assert campaign(identity(None, "b1")).object == {"braze_id": "b1"}
    assert (
        refused(Kind.CAMPAIGN, identity(None, "b1"), braze_id_recipients="dead_letter").reason == "braze_id_recipient"
    )


def test_then_a_recipient_with_both_is_known_by_the_other() -> None:
    chosen = campaign(identity("u1", "b1"), prefer="braze_id", braze_id_recipients="dead_letter")

    assert chosen.object == {"external_user_id": "u1"}


@pytest.mark.parametrize("kind", [Kind.AUDIENCE, Kind.EVENT])
def test_the_option_about_recipients_is_about_campaigns(kind: Kind) -> None:
    assert who(kind, None, "b1", braze_id_recipients="dead_letter")[0] == "\0b1"


@pytest.mark.parametrize("kind", [Kind.AUDIENCE, Kind.EVENT])
def test_unknown_users_may_be_ignored(kind: Kind) -> None:
    assert "_update_existing_only" not in sent(kind, {}).object
    assert sent(kind, {}, unknown_users="ignore").object["_update_existing_only"] is True


def test_campaigns_never_create_a_profile_anyway() -> None:
    assert campaign({}, unknown_users="ignore").object == {"external_user_id": "u1"}


@pytest.mark.parametrize(
    ("avro_type", "value", "user"),
    [
        ("long", 4711, "4711"),
        ("int", -7, "-7"),
        (["null", "long"], 4711, "4711"),
        (["null", "long", "string"], " x ", "x"),
        (["null", "long", "string"], 12, "12"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "A", "A"),
        ({"type": "string", "logicalType": "uuid"}, "0f8fad5b-d9cb-469f-a165-70867728950e", None),
    ],
)
def test_ids_of_other_types_become_text(avro_type: Any, value: Any, user: str | None) -> None:
    assert identified(avro_type, value).user == (value if user is None else user)


def test_zero_as_a_number_stands_for_nobody_too() -> None:
    with pytest.raises(Rejected, match="placeholder_identity"):
        identified("long", 0)


def identified(avro_type: Any, value: Any) -> Outbound:
    """An event of a schema whose id has the type."""
    time = {"type": "long", "logicalType": "timestamp-millis"}
    fields = [{"name": "id", "type": avro_type}, {"name": "at", "type": time}]
    mapping = {
        "user": {"external_id": "id", "braze_id": None},
        "name": {"constant": "seen"},
        "time": "at",
        "properties": None,
    }
    schema = WriterSchema({"type": "record", "name": "R", "fields": fields})
    return through(Kind.EVENT, schema, {"id": value, "at": THEN}, mapping)
