from __future__ import annotations

from typing import Any

import pytest

ATTRIBUTES = [{"external_id": "u1", "plan": "gold"}, {"external_id": "u2", "plan": "gold"}]


@pytest.mark.parametrize("status", [401, 403, 404, 415, 500, 502, 503, 504])
@pytest.mark.parametrize("is_applied", [False, True])
def test_any_status_before_or_after_applying(asked: Any, status: int, is_applied: bool) -> None:
    double = asked()
    double.faults({"do": "status", "status": status, "apply": is_applied})
    assert double.track(attributes=ATTRIBUTES).status == status
    assert bool(double.state()["profiles"]) == is_applied
    assert double.track(attributes=ATTRIBUTES).status == 201


@pytest.mark.parametrize(
    ("wanted", "content_type", "content"),
    [
        ("json", "application/json", b'{"message":"Service Unavailable"}'),
        ("text", "text/plain", b"upstream connect error or disconnect/reset before headers"),
        ("empty", "application/json", b""),
        ("truncated", "application/json", b'{"message":"succ'),
        ({"any": 1}, "application/json", b'{"any":1}'),
    ],
)
def test_any_body(asked: Any, wanted: Any, content_type: str, content: bytes) -> None:
    double = asked()
    double.faults({"do": "status", "status": 503, "body": wanted, "headers": {"retry-after": "7"}})
    reply = double.track(attributes=ATTRIBUTES)
    assert (reply.headers, reply.body) == ({"content-type": content_type, "retry-after": "7"}, content)


def test_a_proxys_page_is_html(asked: Any) -> None:
    double = asked()
    double.faults({"do": "status", "status": 502, "body": "html"})
    reply = double.track(attributes=ATTRIBUTES)
    assert reply.headers["content-type"] == "text/html"
    assert reply.body.startswith(b"<html>")


def test_a_revoked_key_is_echoed_until_it_is_cured(asked: Any, body: Any, key: str) -> None:
    double = asked()
    double.faults({"do": "status", "status": 401, "until_s": 60})
    assert body(double.track(attributes=ATTRIBUTES)) == {"message": f"Invalid API key: {key}"}
    double.now += 60
    assert double.track(attributes=ATTRIBUTES).status == 201


@pytest.mark.parametrize("is_applied", [False, True])
def test_a_reset_connection_before_or_after_applying(asked: Any, is_applied: bool) -> None:
    double = asked()
    double.faults({"do": "drop", "apply": is_applied, "delay_s": 2})
    assert double.track(attributes=ATTRIBUTES) == (None, {}, b"", 2.0, "drop")
    assert bool(double.state()["profiles"]) == is_applied
    assert double.state()["requests"] == {"/users/track": {"dropped": 1}}


@pytest.mark.parametrize(("is_applied", "status"), [(False, 504), (True, 201)])
def test_a_late_reply_with_or_without_having_applied(asked: Any, is_applied: bool, status: int) -> None:
    double = asked()
    double.faults({"do": "delay", "delay_s": 90, "apply": is_applied})
    reply = double.track(attributes=ATTRIBUTES)
    assert (reply.status, reply.delay_s) == (status, 90.0)
    assert bool(double.state()["profiles"]) == is_applied


@pytest.mark.parametrize(
    ("settings", "step", "headers"),
    [
        ({}, {}, {}),
        ({"header_style": "mau"}, {"wait_s": 2.5}, {"x-ratelimit-retry-after": "3"}),
        ({}, {"style": "mau"}, {"x-ratelimit-retry-after": "1"}),
        ({"header_style": "mau"}, {"style": "bare"}, {}),
        ({}, {"style": "bare", "headers": {"retry-after": "9"}}, {"retry-after": "9"}),
        ({}, {"style": "classic"}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790000101"}),
        ({"headers_on_429": True}, {}, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1790000101"}),
    ],
)
def test_a_burst_of_429_in_any_style(asked: Any, settings: Any, step: Any, headers: Any) -> None:
    double = asked(**settings)
    double.faults({"do": "rate_limit", "times": 2} | step)
    for _ in range(2):
        reply = double.track(attributes=ATTRIBUTES)
        assert reply.status == 429
        assert reply.headers == {"content-type": "application/json"} | headers
    assert double.track(attributes=ATTRIBUTES).status == 201


def test_queued_is_accepted(asked: Any, body: Any) -> None:
    double = asked()
    double.faults({"do": "queued"})
    reply = double.track(attributes=ATTRIBUTES)
    assert (reply.status, body(reply)) == (202, {"message": "queued"})
    assert len(double.state()["profiles"]) == 2


@pytest.mark.parametrize(
    ("entry", "keys"),
    [
        ("bare", {"type"}),
        ("no_index", {"type", "input_array"}),
        ("no_input_array", {"type", "index"}),
        ("out_of_range", {"type", "input_array", "index"}),
        ({"index": "0"}, {"index"}),
    ],
)
def test_an_error_entry_that_cannot_be_placed(asked: Any, body: Any, entry: Any, keys: set[str]) -> None:
    double = asked()
    double.faults({"do": "error_entry", "entry": entry})
    reply = double.track(attributes=ATTRIBUTES)
    assert reply.status == 201
    (error,) = body(reply)["errors"]
    assert error.keys() == keys


def test_an_error_entry_may_be_a_string_and_joins_the_real_ones(asked: Any, body: Any) -> None:
    double = asked()
    double.faults({"do": "error_entry", "entry": "string"})
    errors = body(double.track(attributes=[*ATTRIBUTES, {}]))["errors"]
    assert [type(one) for one in errors] == [dict, str]


def test_a_success_cannot_be_spoilt_where_there_is_none(asked: Any) -> None:
    double = asked()
    double.faults({"do": "queued"}, {"do": "error_entry"})
    assert [double.track(attributes=[{}]).status for _ in range(2)] == [400, 400]


def test_one_object_is_refused_wherever_it_lies_and_as_often_as_wanted(asked: Any, body: Any) -> None:
    double = asked()
    double.faults({"do": "refuse_object", "where": {"equals": {"external_id": "u2"}}, "type": "no", "repeat": 2})
    reply = double.track(attributes=ATTRIBUTES)
    assert reply.status == 201
    assert body(reply)["errors"] == [{"type": "no", "input_array": "attributes", "index": 1}] * 2
    assert body(reply)["attributes_processed"] == 1
    assert double.track(attributes=ATTRIBUTES[1:]).status == 400
    assert list(double.state()["profiles"]) == ["external_id:u1"]


def test_one_object_fails_the_whole_request_and_is_not_named(asked: Any, body: Any) -> None:
    double = asked()
    double.faults({"do": "refuse_request", "where": {"array": "attributes", "has": ["poison"]}})
    poisoned = double.track(attributes=[*ATTRIBUTES, {"external_id": "u3", "poison": 1}])
    assert (poisoned.status, body(poisoned)) == (400, {"message": "Bad Request"})
    assert double.state()["profiles"] == {}
    assert double.track(attributes=ATTRIBUTES).status == 201


def test_a_lower_object_limit(asked: Any, body: Any) -> None:
    double = asked()
    double.faults({"do": "too_many", "over": 1})
    assert body(double.track(attributes=ATTRIBUTES))["message"] == "Max Input Length Exceeded"
    assert double.track(attributes=ATTRIBUTES[:1]).status == 201


@pytest.mark.parametrize(("state", "words"), [("paused", "paused"), ("archived", "archived"), ("unknown", "not found")])
def test_one_campaign_is_unavailable_until_cured(asked: Any, body: Any, state: str, words: str) -> None:
    double = asked()
    double.faults({"do": "campaign", "match": {"campaign_id": "c-1"}, "state": state})
    reply = double.trigger({"external_user_id": "u1"})
    assert reply.status == 400
    assert words in body(reply)["message"]
    assert double.trigger({"external_user_id": "u1"}, campaign_id="c-2").status == 201
    double.faults()
    assert double.trigger({"external_user_id": "u1"}).status == 201


def test_a_campaigns_words_and_status_may_be_others(asked: Any, body: Any) -> None:
    double = asked()
    double.faults({"do": "campaign", "state": "unknown", "status": 404, "message": "Campaign does not exist"})
    reply = double.trigger({"external_user_id": "u1"})
    assert (reply.status, body(reply)) == (404, {"message": "Campaign does not exist"})
