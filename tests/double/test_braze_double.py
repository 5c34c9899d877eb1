from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ATTRIBUTES = [{"external_id": "u1", "plan": "gold"}]


@pytest.mark.parametrize(
    ("authorization", "echo"),
    [
        ("", ""),
        ("Bearer wrong", "wrong"),
        ("Basic not-a-real-key", ""),
        ('Bearer "not-a-real-key"', '"not-a-real-key"'),
        ("Bearer NOT-A-REAL-KEY", "NOT-A-REAL-KEY"),
        ("not-a-real-key", ""),
    ],
)
def test_an_unknown_key_is_a_401_that_echoes_it(asked: Any, body: Any, authorization: str, echo: str) -> None:
    reply = asked().post("/users/track", {"attributes": ATTRIBUTES}, Authorization=authorization)
    assert (reply.status, body(reply)) == (401, {"message": f"Invalid API key: {echo}"})


def test_the_scheme_may_have_any_casing(asked: Any, key: str) -> None:
    assert asked().post("/users/track", {"attributes": ATTRIBUTES}, Authorization=f"bearer {key}").status == 201


def test_a_key_without_the_permission_is_a_403(asked: Any, body: Any, key: str) -> None:
    double = asked(api_keys={key: frozenset({"users.track"})})
    reply = double.trigger({"external_user_id": "u1"})
    assert (reply.status, body(reply)) == (403, {"message": "Access Denied"})
    assert double.track(attributes=ATTRIBUTES).status == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/users/track/", 403), ("POST", "/users/trick", 404), ("GET", "/users/track", 404)],
)
def test_another_path_is_a_404_and_a_trailing_slash_a_403(asked: Any, method: str, path: str, status: int) -> None:
    double = asked()
    reply = double.get(path) if method == "GET" else double.post(path, {"attributes": ATTRIBUTES})
    assert reply.status == status


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_another_content_type_is_a_415(asked: Any, content_type: str) -> None:
    reply = asked().post("/users/track", {"attributes": ATTRIBUTES}, Content_Type=content_type)
    assert reply.status == 415


def test_the_content_type_may_name_its_charset(asked: Any) -> None:
    given = {"Content_Type": "Application/JSON; charset=utf-8"}
    assert asked().post("/users/track", {"attributes": ATTRIBUTES}, **given).status == 201


@pytest.mark.parametrize("content", [b"{", b'{"attributes": [NaN]}', b"[]", b"null", b'"x"', b'{"a": "\xff"}'])
def test_what_is_no_json_object_is_a_400_with_an_error_and_no_message(asked: Any, body: Any, content: bytes) -> None:
    reply = asked().post("/users/track", content)
    assert reply.status == 400
    assert body(reply) == {"error": "Error while parsing request body. Please check your syntax."}


@pytest.mark.parametrize("status", [413, 400])
def test_a_body_that_is_too_large_is_refused_whole(asked: Any, status: int) -> None:
    double = asked(body_bytes_max=100, too_large_status=status)
    content = b'{"attributes":[{"external_id":"u1","plan":"gold"}]}'
    assert double.post("/users/track", content.ljust(100)).status == 201
    assert double.post("/users/track", content.ljust(101)).status == status
    assert len(double.applied) <= 1


def test_rate_is_told_on_every_authorised_reply_that_is_no_429(asked: Any) -> None:
    double = asked()
    replies = [double.track(attributes=ATTRIBUTES), double.track(), double.post("/users/track", b"{")]
    replies.append(double.post("/users/track", {}, Content_Type=""))
    assert [reply.status for reply in replies] == [201, 400, 400, 415]
    assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == ["2999", "2998", "2997", "2996"]
    assert "x-ratelimit-limit" not in double.post("/users/track", {}, Authorization="").headers


def test_beyond_the_rate_is_a_429_and_nothing_is_applied(asked: Any, body: Any) -> None:
    settings = asked().double.settings
    pool = type(settings.track_rate)
    window = type(settings.track_rate.windows[0])
    double = asked(track_rate=pool((window(1, 10),)), header_style="mau")
    assert double.track(attributes=ATTRIBUTES).status == 201
    reply = double.track(attributes=[{"external_id": "u2"}])
    assert (reply.status, body(reply)) == (429, {"message": "Rate limited"})
    assert reply.headers == {"content-type": "application/json", "x-ratelimit-retry-after": "10"}
    assert double.trigger({"external_user_id": "u1"}).status == 201  # another pool
    assert list(double.state()["profiles"]) == ["external_id:u1"]
    assert double.state()["rate_refusals"] == {"track": 1, "campaigns": 0, "export": 0}
    double.now += 10
    assert double.track(attributes=ATTRIBUTES).status == 201


def test_triggers_and_the_list_share_one_budget(asked: Any) -> None:
    double = asked()
    first = double.trigger({"external_user_id": "u1"})
    second = double.get("/campaigns/list")
    assert (first.headers["x-ratelimit-remaining"], second.headers["x-ratelimit-remaining"]) == ("249999", "249998")


def test_every_request_is_numbered_also_those_that_fail(asked: Any) -> None:
    double = asked()
    double.track()
    double.post("/nowhere", {})
    double.track(attributes=ATTRIBUTES)
    double.state()
    assert [one.request for one in double.applied] == [3]


def test_what_is_due_is_applied_by_the_next_request(asked: Any) -> None:
    double = asked(apply_tail_chance=0.0)
    double.track(attributes=ATTRIBUTES)
    assert double.applied == []
    double.now += 0.2
    double.get("/campaigns/list")
    assert len(double.applied) == 1


def test_latency_spreads_around_its_median(asked: Any) -> None:
    double = asked(latency_s=0.05, latency_sigma=0.3)
    delays = sorted(double.track(attributes=ATTRIBUTES).delay_s for _ in range(200))
    assert 0.04 < delays[100] < 0.06
    assert delays[0] < delays[-1]
    assert asked(latency_s=0.05, latency_sigma=0.0).track().delay_s == 0.05


def test_other_settings_keep_the_data_and_renew_the_budget(asked: Any, key: str) -> None:
    double = asked()
    double.track(attributes=ATTRIBUTES)
    double.double.reconfigure(
        type(double.double.settings)(
            api_keys={"another": frozenset({"users.track"})}, known_users=frozenset({"external_id:u9"})
        )
    )
    assert double.track(attributes=ATTRIBUTES).status == 401
    reply = double.post("/users/track", {"attributes": ATTRIBUTES}, Authorization="Bearer another")
    assert reply.headers["x-ratelimit-remaining"] == "2999"
    assert list(double.state()["profiles"]) == ["external_id:u9", "external_id:u1"]
    assert key not in repr(double.double.settings)


def test_the_state_counts_requests_objects_and_what_waits(asked: Any) -> None:
    double = asked()
    double.track(attributes=ATTRIBUTES, events=[{"external_id": "u1", "name": "n", "time": "2020-01-01"}])
    double.track(attributes=ATTRIBUTES)
    double.post("/nowhere", {})
    double.faults({"do": "drop", "times": 3})
    state = double.double.state()
    assert state["pending_requests"] == 2
    assert state["faults"] == [{"do": "drop", "times": 3, "times_left": 3}]
    assert state["requests"] == {"/users/track": {"201": 2}, "elsewhere": {"404": 1}}
    spread = state["objects_per_request"]["/users/track"]
    assert (spread["requests"], spread["objects"], spread["mean"]) == (2, 3, 1.5)
    assert double.state()["pending_requests"] == 0


def test_faults_that_are_not_of_the_grammar_leave_the_old_ones_in_force(asked: Any) -> None:
    double = asked()
    double.faults({"do": "drop", "times": None})
    with pytest.raises(ValueError, match="do: not one of"):
        double.faults({"do": "explode"})
    assert double.track(attributes=ATTRIBUTES).connection == "drop"


calls = st.lists(st.tuples(st.floats(0, 2), st.sampled_from(["u1", "u2"]), st.integers(0, 3)), max_size=30)


@settings(deadline=None, derandomize=True)
@given(calls, st.integers(0, 2**32))
def test_the_same_seed_and_calls_give_the_same_everything(asked: Any, calls: Any, seed: int) -> None:
    def run() -> Any:
        double = asked(seed, latency_s=0.05)
        double.faults({"do": "status", "status": 503, "chance": 0.2}, {"do": "drop", "chance": 0.1, "apply": True})
        replies = []
        for wait, user, value in calls:
            double.now += wait
            replies.append(double.track(attributes=[{"external_id": user, "value": value}]))
            replies.append(double.trigger({"external_user_id": user}))
        return replies, double.state(), double.applied

    assert run() == run()


@settings(deadline=None, derandomize=True)
@given(calls, st.integers(0, 2**32))
def test_what_was_answered_with_success_is_applied_exactly_once(asked: Any, calls: Any, seed: int) -> None:
    double = asked(seed)
    double.faults({"do": "status", "status": 503, "chance": 0.3})
    accepted = []
    for number, (wait, user, value) in enumerate(calls, 1):
        double.now += wait
        if double.track(attributes=[{"external_id": user, "value": value}]).is_success:
            accepted.append(number)
    double.state()
    assert sorted(one.request for one in double.applied) == accepted
