from __future__ import annotations

from random import Random
from typing import Any

import pytest

from connector.double.exchange import Call
from connector.double.faults import FaultPlan, FaultStep, Predicate

EVENT = {"external_id": "u1", "name": "bought", "time": "2020-01-01", "properties": {"level": 3, "a.b": 1}}


def _call(now: float = 0.0, path: str = "/users/track", key: str = "k", **document: Any) -> Call:
    return Call(1, now, 0.0, "POST", path, {}, key, document, 0)


def _plan(*steps: Any, now: float = 0.0, seed: int = 0) -> FaultPlan:
    return FaultPlan(list(steps), now, Random(seed))


def _hits(plan: FaultPlan, calls: list[Call]) -> list[int]:
    return [number for number, call in enumerate(calls) if plan.decide(call) is not None]


DROP = {"do": "drop"}


def test_a_step_fits_once_unless_it_says_how_often() -> None:
    calls = [_call() for _ in range(6)]
    assert _hits(_plan(DROP), calls) == [0]
    assert _hits(_plan(DROP | {"times": 3}), calls) == [0, 1, 2]
    assert _hits(_plan(DROP | {"times": None}), calls) == [0, 1, 2, 3, 4, 5]
    assert _hits(_plan(DROP | {"after": 2, "times": 2}), calls) == [2, 3]


def test_steps_follow_each_other() -> None:
    plan = _plan(DROP | {"times": 2}, {"do": "queued"})
    kinds = [step.kind if (step := plan.decide(_call())) else None for _ in range(4)]
    assert kinds == ["drop", "drop", "queued", None]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({"path": "/users/track"}, [0, 2]),
        ({"path": "/campaigns/trigger/send"}, [1]),
        ({"method": "GET"}, []),
        ({"api_key": "other"}, [2]),
        ({"campaign_id": "c-1"}, [1]),
        ({"path": "/users/track", "api_key": "k"}, [0]),
    ],
)
def test_a_step_fits_the_requests_that_it_matches(match: Any, expected: list[int]) -> None:
    calls = [_call(), _call(path="/campaigns/trigger/send", campaign_id="c-1"), _call(key="other")]
    assert _hits(_plan(DROP | {"match": match, "times": None}), calls) == expected


def test_a_step_holds_for_a_while() -> None:
    plan = _plan(DROP | {"from_s": 5, "until_s": 10}, now=100.0)
    assert _hits(plan, [_call(now) for now in (100, 104.9, 105, 109.9, 110)]) == [2, 3]


def test_chance_comes_from_the_seed_alone() -> None:
    steps = [DROP | {"chance": 0.3}]
    calls = [_call() for _ in range(200)]
    first, again, other = (
        _hits(FaultPlan({"seed": seed, "steps": steps}, 0.0, Random(n)), calls) for n, seed in enumerate((7, 7, 8))
    )
    assert first == again
    assert first != other
    assert 30 < len(first) < 90


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"equals": {"name": "bought"}}, True),
        ({"equals": {"name": "sold"}}, False),
        ({"equals": {"properties.level": 3}}, True),
        ({"equals": {"properties.a.b": 1}}, True),  # a key that holds a dot itself
        ({"equals": {"properties.level.more": 3}}, False),
        ({"has": ["properties.level"]}, True),
        ({"has": ["properties.level", "plan"]}, False),
        ({"array": "events"}, True),
        ({"array": "attributes"}, False),
        ({}, True),
    ],
)
def test_an_object_is_described_by_array_values_and_paths(where: Any, expected: bool) -> None:
    assert Predicate(where).describes("events", EVENT) is expected


def test_what_is_no_object_is_not_described_by_its_inside() -> None:
    assert not Predicate({"has": ["name"]}).describes("events", "bought")


def test_refusals_add_up_and_do_not_hide_another_step() -> None:
    plan = _plan(
        {"do": "refuse_object", "where": {"equals": {"name": "bought"}}, "type": "one"},
        DROP,
        {"do": "refuse_object", "where": {"has": ["name"]}, "type": "two", "repeat": 2},
    )
    call = _call(attributes=[{"external_id": "u1"}], events=[EVENT, EVENT | {"name": "sold"}])
    decided = plan.decide(call)
    assert decided is not None
    assert decided.kind == "drop"
    assert call.refused == {("events", 0): ["one", "two", "two"], ("events", 1): ["two", "two"]}


def test_a_campaign_step_concerns_triggers_and_too_many_concerns_large_requests() -> None:
    campaign = _plan({"do": "campaign", "state": "paused"})
    assert _hits(campaign, [_call(), _call(campaign_id="c-1"), _call(campaign_id="c-1")]) == [1, 2]
    too_many = _plan({"do": "too_many", "over": 1})
    assert _hits(too_many, [_call(events=[EVENT]), _call(events=[EVENT], attributes=[{}])]) == [1]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (DROP, False),
        (DROP | {"apply": True}, True),
        ({"do": "status", "status": 503}, False),
        ({"do": "delay", "delay_s": 60}, True),
        ({"do": "delay", "delay_s": 60, "apply": False}, False),
        ({"do": "queued"}, True),
        ({"do": "error_entry"}, True),
        ({"do": "rate_limit"}, False),
    ],
)
def test_a_step_says_whether_the_request_is_carried_out(step: Any, expected: bool) -> None:
    assert FaultStep(step).is_applying is expected


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("drop", "steps: not an array"),
        ({"steps": []} | {"speed": 1}, "a plan has steps and a seed"),
        (["drop"], "a step must be an object"),
        ([{}], "do: not one of"),
        ([{"do": ["drop"]}], "do: not one of"),
        ([{"do": "explode"}], "do: not one of"),
        ([DROP | {"entry": "bare"}], "drop: does not know entry"),
        ([DROP | {"match": {"host": "x"}}], "match: an object of"),
        ([DROP | {"match": "x"}], "match: an object of"),
        ([DROP | {"where": {"name": "x"}}], "where: an object of"),
        ([DROP | {"times": "often"}], "times: not a number"),
        ([{"do": "status"}], "status: status is required"),
        ([{"do": "refuse_object"}], "refuse_object: where is required"),
        ([{"do": "campaign", "state": "active"}], "state: not one of"),
        ([{"do": "status", "status": 500, "body": "xml"}], "body: not one of"),
        # What was taken, and then broke every request or did nothing:
        ([DROP | {"where": {"equals": ["name"]}}], "where.equals: not an object"),
        ([DROP | {"where": {"has": "name"}}], "where.has: not an array"),
        ([DROP | {"where": {"has": [1]}}], "where.has: not an array"),
        ([DROP | {"where": {"array": "evnets"}}], "where.array: not one of"),
        ([DROP | {"where": {"array": []}}], "where.array: not one of"),
        ([DROP | {"match": {"path": 1}}], "match: not an object of texts"),
        ([{"do": "status", "status": 500, "headers": ["a"]}], "headers: not an object of texts"),
        ([{"do": "status", "status": 500, "headers": {"a": 1}}], "headers: not an object of texts"),
        ([{"do": "status", "status": 99}], "status: not from 100 to 599"),
        ([{"do": "status", "status": 500.5}], "status: not a whole number"),
        ([{"do": "delay", "delay_s": -1}], "delay_s: not 0 or more"),
        ([{"do": "refuse_object", "where": {}, "repeat": 0}], "repeat: not 1 or more"),
        ([{"do": "refuse_object", "where": {}, "type": 1}], "type: not a text"),
        ([{"do": "refuse_request", "message": {}}], "message: not a text"),
        ([{"do": "campaign", "state": 1}], "state: not one of"),
        ([{"do": "rate_limit", "style": None}], "style: not one of"),
        ([DROP | {"times": -1}], "times: not 0 or more"),
        ([DROP | {"times": 1.5}], "times: not a whole number"),
        ([DROP | {"apply": "no"}], "apply: not true or false"),
        ([DROP | {"chance": 2}], "chance: not from 0 to 1"),
        ({"seed": [], "steps": []}, "seed: not a number"),
    ],
)
def test_a_plan_of_another_grammar_is_refused_by_key(plan: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FaultPlan(plan, 0.0, Random(0))
