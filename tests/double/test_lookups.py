from __future__ import annotations

from typing import Any

import pytest

MIXED = {
    "external_ids": [f"u{n}" for n in range(26)],
    "user_aliases": [{"alias_name": f"a{n}", "alias_label": "l"} for n in range(25)],
}
"""One more than fifty, of two kinds."""


def _ids(body: Any, reply: Any) -> list[str]:
    return [one["id"] for one in body(reply)["campaigns"]]


def test_campaigns_come_in_pages_of_a_hundred_until_an_empty_one(asked: Any, body: Any) -> None:
    double = asked(campaigns={f"c-{n}": "active" for n in range(150)})
    pages = [_ids(body, double.get(f"/campaigns/list?page={page}")) for page in range(3)]
    assert [len(page) for page in pages] == [100, 50, 0]
    assert pages[0][0] == "c-0"
    assert _ids(body, double.get("/campaigns/list?sort_direction=desc"))[0] == "c-149"


def test_archived_campaigns_are_shown_on_demand_and_unknown_ones_never(asked: Any, body: Any) -> None:
    double = asked(campaigns={"a": "active", "p": "paused", "x": "archived", "u": "unknown"})
    assert _ids(body, double.get("/campaigns/list")) == ["a", "p"]
    assert _ids(body, double.get("/campaigns/list?include_archived=true")) == ["a", "p", "x"]


def test_campaigns_can_be_asked_for_by_their_last_edit(asked: Any, body: Any) -> None:
    double = asked(campaigns={"a": "active"})
    assert _ids(body, double.get("/campaigns/list?last_edit.time[gt]=2025-01-01T00:00:00")) == ["a"]
    assert _ids(body, double.get("/campaigns/list?last_edit.time[gt]=2026-06-01T00:00:00")) == []


@pytest.mark.parametrize("query", ["page=first", "page=-1", "last_edit.time[gt]=lately"])
def test_a_bad_query_is_a_400(asked: Any, query: str) -> None:
    assert asked().get(f"/campaigns/list?{query}").status == 400


def test_export_gives_what_was_applied_and_names_whom_it_does_not_know(asked: Any, body: Any) -> None:
    double = asked()
    double.track(attributes=[{"external_id": "u1", "plan": "gold", "first_name": "Ann"}])
    question = {"external_ids": ["u1", "nope"], "fields_to_export": ["external_id", "custom_attributes", "dob"]}
    assert body(double.post("/users/export/ids", question))["users"] == []  # accepted is not applied
    double.state()
    reply = double.post("/users/export/ids", question)
    assert reply.status == 201
    assert body(reply) == {
        "message": "success",
        "users": [{"external_id": "u1", "custom_attributes": {"plan": "gold"}, "dob": None}],
        "invalid_user_ids": ["nope"],
    }


def test_export_finds_by_any_identifier(asked: Any, body: Any) -> None:
    double = asked()
    alias = {"alias_name": "a", "alias_label": "l"}
    double.track(
        attributes=[
            {"external_id": "u1", "email": "someone@example.com"},
            {"user_alias": alias, "_update_existing_only": False},
            {"phone": "+4915112345678"},
        ],
        events=[{"external_id": "u1", "name": "bought", "time": "2020-01-01"}],
    )
    braze_id = double.profile()["braze_id"]
    for question in ({"email_address": "someone@example.com"}, {"braze_id": braze_id}):
        (user,) = body(double.post("/users/export/ids", question))["users"]
        assert user["external_id"] == "u1"
        assert user["custom_events"] == [{"name": "bought", "count": 1}]
    for question in ({"user_aliases": [alias]}, {"phone": "+4915112345678"}):
        (user,) = body(double.post("/users/export/ids", question))["users"]
        assert user["external_id"] is None


@pytest.mark.parametrize(
    "question", [{}, {"external_ids": "u1"}, {"external_ids": [f"u{n}" for n in range(51)]}, MIXED]
)
def test_an_export_of_nobody_or_of_too_many_is_a_400(asked: Any, question: Any) -> None:
    assert asked().post("/users/export/ids", question).status == 400
