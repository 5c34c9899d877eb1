from __future__ import annotations

from typing import Any

import pytest

U1 = {"external_user_id": "u1"}


def _sent(double: Any) -> list[str]:
    return [one["user"] for one in double.state()["sends"]]


def test_a_trigger_is_a_201_with_one_dispatch_id_and_a_send_for_each_recipient(asked: Any, body: Any) -> None:
    double = asked()
    reply = double.trigger(U1, {"external_user_id": "u2"}, send_id="s-1")
    assert reply.status == 201
    assert body(reply)["message"] == "success"
    sends = double.state()["sends"]
    assert [one["user"] for one in sends] == ["external_id:u1", "external_id:u2"]
    assert {one["dispatch_id"] for one in sends} == {body(reply)["dispatch_id"]}
    assert {(one["campaign_id"], one["send_id"], one["request"]) for one in sends} == {("c-1", "s-1", 1)}


def test_every_call_is_another_dispatch_so_a_repeat_is_seen(asked: Any) -> None:
    double = asked()
    double.trigger(U1)
    double.trigger(U1)
    assert _sent(double) == ["external_id:u1", "external_id:u1"]
    assert len({one["dispatch_id"] for one in double.state()["sends"]}) == 2


def test_the_same_recipient_twice_is_one_send_with_the_last_entry(asked: Any) -> None:
    double = asked()
    double.trigger(
        U1 | {"trigger_properties": {"n": 1}},
        {"external_user_id": "u2"},
        U1 | {"trigger_properties": {"n": 2}},
        trigger_properties={"n": 0, "shared": True},
    )
    sends = {one["user"]: one["trigger_properties"] for one in double.state()["sends"]}
    assert sends == {"external_id:u1": {"n": 2, "shared": True}, "external_id:u2": {"n": 0, "shared": True}}
    assert sorted((one.array, one.index) for one in double.applied) == [("recipients", 1), ("recipients", 2)]


def test_a_send_is_journaled_with_campaign_and_dispatch(asked: Any, body: Any) -> None:
    double = asked()
    reply = double.trigger(U1)
    double.state()
    (one,) = double.applied
    assert (one.campaign_id, one.dispatch_id, one.object) == ("c-1", body(reply)["dispatch_id"], U1)


@pytest.mark.parametrize(("count", "status"), [(50, 201), (51, 400)])
def test_fifty_recipients_are_the_most(asked: Any, body: Any, count: int, status: int) -> None:
    reply = asked().trigger(*({"external_user_id": f"u{n}"} for n in range(count)))
    assert reply.status == status
    words = "The max number of external_ids and aliases per request was exceeded"
    assert (body(reply)["message"] == words) == (status == 400)


@pytest.mark.parametrize(("size_bytes", "status"), [(51_200, 201), (51_201, 400)])
def test_fifty_kilobytes_of_properties_are_the_most(asked: Any, size_bytes: int, status: int) -> None:
    properties = {"a": "x" * (size_bytes - len(b'{"a":""}'))}
    assert asked().trigger(U1 | {"trigger_properties": properties}).status == status


ALIAS = {"user_alias": {"alias_name": "a", "alias_label": "l"}}


@pytest.mark.parametrize(
    "document",
    [
        {"campaign_id": None},
        {"campaign_id": 7},
        {"recipients": []},
        {"recipients": {}, "broadcast": True, "campaign_id": ""},
        {"recipients": "u1"},
        {"recipients": ["u1"]},
        {"recipients": [{}]},
        {"recipients": [U1 | {"braze_id": "b1"}]},
        {"recipients": [{"user_alias": {"alias_name": "a"}}]},
        {"recipients": [ALIAS | {"send_to_existing_only": False}]},
        {"recipients": [{"email": "someone@example.com"}]},
        {"recipients": [{"email": "someone", "prioritization": ["identified"]}]},
        {"recipients": [{"external_user_id": "é" * 494}]},  # 988 bytes
        {"recipients": [{"external_user_id": ["u1"]}]},
        {"recipients": [{"braze_id": {"b": 1}}]},
        {"recipients": [U1 | {"attributes": []}]},
        {"recipients": [U1 | {"send_to_existing_only": False, "attributes": {"subscription_groups": "g"}}]},
        {"recipients": [U1 | {"send_to_existing_only": False, "attributes": {"email": 5}}]},
        {"recipients": [U1 | {"trigger_properties": []}]},
        {"recipients": [U1 | {"trigger_properties": {"a": "x" * 51_200}}]},
        {"recipients": [U1], "trigger_properties": {"a": "x" * 51_200}},
        {"recipients": [U1], "broadcast": True},
    ],
)
def test_a_malformed_request_is_refused_whole_and_names_nobody(asked: Any, body: Any, document: Any) -> None:
    double = asked()
    reply = double.trigger(**document)
    assert reply.status == 400
    assert body(reply).keys() == {"message"}
    assert _sent(double) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [("paused", "The campaign is paused"), ("archived", "The campaign is archived"), ("unknown", "not found")],
)
def test_a_campaign_that_cannot_be_sent_is_a_400(asked: Any, body: Any, state: str, words: str) -> None:
    double = asked(campaigns={"c-1": state, "c-2": "active"})
    reply = double.trigger(U1)
    assert reply.status == 400
    assert words in body(reply)["message"]
    assert double.trigger(U1, campaign_id="c-2").status == 201
    assert double.trigger(U1, campaign_id="c-3").status == 400


def test_strangers_are_sent_to_only_where_the_double_is_told_to_pretend(asked: Any) -> None:
    real = asked(sends_to_strangers=False, known_users=frozenset({"external_id:u1", "braze_id:b1"}))
    real.trigger(U1, {"external_user_id": "u2"}, {"braze_id": "b1"}, {"braze_id": "b2"}, ALIAS)
    assert _sent(real) == ["external_id:u1", "braze_id:b1"]
    assert real.state()["silent_drops"] == {"nobody to send to": 3}
    pretending = asked()
    pretending.trigger(U1, {"braze_id": "b2"}, ALIAS)
    assert _sent(pretending) == ["external_id:u1", "braze_id:b2"]


def test_attributes_are_written_before_the_send_and_make_the_user_if_allowed(asked: Any) -> None:
    double = asked(sends_to_strangers=False)
    double.trigger(
        U1 | {"send_to_existing_only": False, "attributes": {"plan": "gold"}},
        {"external_user_id": "u2", "attributes": {"plan": "gold"}},
        {"external_user_id": "u3", "send_to_existing_only": False},
    )
    assert _sent(double) == ["external_id:u1"]
    assert double.profile()["custom_attributes"] == {"plan": "gold"}


def test_an_existing_users_attributes_are_written(asked: Any) -> None:
    double = asked(known_users=frozenset({"external_id:u1"}))
    double.trigger(U1 | {"attributes": {"plan": "gold", "address": {"city": None}}})
    assert double.profile()["custom_attributes"] == {"plan": "gold"}


def test_an_email_is_sent_to_only_if_it_means_one_profile(asked: Any) -> None:
    double = asked(reorder=False)
    double.track(
        attributes=[
            {"external_id": "u1", "email": "one@example.com"},
            {"external_id": "u2", "email": "two@example.com"},
            {"external_id": "u3", "email": "two@example.com"},
        ]
    )
    recipients = ({"email": one, "prioritization": ["identified"]} for one in ("one@example.com", "two@example.com"))
    double.trigger(*recipients)
    assert _sent(double) == ["external_id:u1"]


def test_a_broadcast_is_logged_once(asked: Any) -> None:
    double = asked()
    assert double.trigger(broadcast=True).status == 201
    assert _sent(double) == ["broadcast"]
