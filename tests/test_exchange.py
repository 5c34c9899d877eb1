"""A request's answer in the flow as a whole, in virtual time: when it is heard, and what it hands back."""

import asyncio
from typing import Any

import pytest

from connector.braze import Endpoint
from connector.exchange import Exchange
from connector.metrics import PREFIX
from connector.pipeline import Pipeline
from connector.ports import Lost
from connector.records import Kind
from connector.simulation.braze import SimulatedTransport
from connector.simulation.checker import judge
from connector.simulation.run import play
from connector.simulation.virtual_time import VirtualLoop, run_virtually
from connector.simulation.world import EPOCH, World
from tests.test_pipeline import calm, triggers_only


def test_a_claim_of_what_surely_was_not_sent_is_handed_back_and_whoever_comes_next_sends_it() -> None:
    refused = {"do": "status", "status": 503, "match": {"path": "/campaigns/trigger/send"}, "until_s": 6.0}

    history = play(triggers_only(braze_faults=[refused], happenings=[(4.7, "kill")]))

    assert judge(history) == []
    waiting = [each for each in history.written if each.kind is Kind.CAMPAIGN and each.written_at - EPOCH < 4.0]
    assert len(waiting) > 10
    assert history.skipped.get("claimed_unknown", 0) == 0
    sent = {applied.object["trigger_properties"]["n"] for applied in history.applied if applied.array == "recipients"}
    assert {each.number for each in waiting} <= sent


def test_no_answer_is_left_without_a_turn_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    turn = Pipeline._turn

    def turning(self: Pipeline) -> None:
        turn(self)
        left.append(len(self._exchange.answers))
        assert self._turn_due or not self._exchange.answers

    monkeypatch.setattr(Pipeline, "_turn", turning)
    answer = SimulatedTransport.attempt

    async def answering(self: SimulatedTransport, *words: Any) -> Any:
        given = await answer(self, *words)
        await asyncio.sleep(2.0 - asyncio.get_running_loop().time() % 2.0)  # all that are due come at once
        return given

    monkeypatch.setattr(SimulatedTransport, "attempt", answering)
    history = play(calm(turn_records=1, span_s=0.1, objects=1, configured_objects=1))

    assert judge(history) == []
    assert max(left) > 0


def test_a_latency_ends_with_the_answer_and_not_with_its_turn() -> None:
    loop = VirtualLoop()
    world = World(calm(turn_delay_s=3.0, records=20, span_s=0.1), loop)
    run_virtually(loop, world.play(cured=True))

    registry = world._replicas[0].pipeline.telemetry.registry
    name = PREFIX + "delivery_latency_seconds"
    total = [registry.get_sample_value(f"{name}_sum", {"kind": kind}) or 0.0 for kind in Kind]
    count = [registry.get_sample_value(f"{name}_count", {"kind": kind}) or 0.0 for kind in Kind]
    assert sum(count) > 0
    assert sum(total) / sum(count) < 3.5  # a turn until it is sent; with the one that concludes it twice as much


def test_what_is_no_success_is_heard_before_the_successes_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 429 may not wait behind a hundred answers while more is sent."""
    statuses: list[int] = []
    conclude = Exchange._conclude

    def concluding(self: Exchange, answer: Any) -> None:
        statuses.append(answer.attempt.status)
        assert not answer.is_success or all(each.is_success for each in self.answers)
        conclude(self, answer)

    monkeypatch.setattr(Exchange, "_conclude", concluding)
    faults = [{"do": "status", "status": 503, "chance": 0.2}, {"do": "rate_limit", "style": "mau", "chance": 0.1}]
    history = play(calm(turn_delay_s=0.3, turn_records=5, objects=5, configured_objects=5, braze_faults=faults))

    assert judge(history) == []
    assert {201, 429, 503} <= set(statuses)


def connect_slowly(monkeypatch: pytest.MonkeyPatch, from_s: float, until_s: float, takes_s: float) -> None:
    """Requests that begin in this time get their connection late, and write only then."""
    answer = SimulatedTransport.attempt

    async def connecting(self: SimulatedTransport, *words: Any) -> Any:
        if from_s <= asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(takes_s)
        return await answer(self, *words)

    monkeypatch.setattr(SimulatedTransport, "attempt", connecting)


def test_a_trigger_that_expires_while_its_connection_is_made_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    connect_slowly(monkeypatch, 3.0, 6.0, 4.0)

    history = play(triggers_only(expires_after_s=2.0))

    assert judge(history) == []
    assert any(applied.arrived_at - EPOCH >= 3.0 for applied in history.applied)


def test_what_has_another_owner_is_not_written_when_its_connection_is_there_at_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new owner has waited for what was on the wire, and written newer values since. Nor is it Braze's fault."""
    connect_slowly(monkeypatch, 4.0, 5.0, 25.0)
    loop = VirtualLoop()
    world = World(calm(records=400, span_s=40.0, settle_s=1.0, happenings=[(5.0, "join")]), loop)

    history = run_virtually(loop, world.play(cured=True))

    assert judge(history) == []
    telemetry = world._replicas[0].pipeline.telemetry
    assert [telemetry.value("braze_requests_total", endpoint, "none") for endpoint in Endpoint] == [0, 0]


@pytest.mark.parametrize(
    ("fault", "why"), [({"do": "status", "status": 503}, "status 503"), ({"do": "drop"}, "connection broke")]
)
def test_an_outage_is_said_with_what_came_of_the_last_attempt(fault: dict[str, Any], why: str) -> None:
    loop = VirtualLoop()
    world = World(calm(records=40, span_s=4.0), loop)

    async def fail() -> None:
        world._double.set_faults(0.0, {"seed": 0, "steps": [fault | {"times": None}]})
        world._start_replica()
        await world._write()
        await asyncio.sleep(20.0)
        (replica,) = world._replicas
        (outage,) = replica.pipeline.troubles.present.values()
        assert outage.reason == "braze_outage"
        assert f"Braze does not answer ({why})" in outage.detail
        await replica.kill(world._group)
        await world._group.close()

    run_virtually(loop, fail())


def test_a_limit_that_braze_lowers_is_counted_for_the_alert() -> None:
    loop = VirtualLoop()
    too_many = {"do": "too_many", "over": 2, "match": {"path": "/users/track"}}
    world = World(calm(records=200, span_s=1.0, braze_faults=[too_many]), loop)

    history = run_virtually(loop, world.play(cured=False))

    telemetry = world._replicas[0].pipeline.telemetry
    lowered = {endpoint: telemetry.value("limits_lowered_total", endpoint) for endpoint in Endpoint}
    assert judge(history) == []
    assert lowered[Endpoint.TRACK] > 0
    assert lowered[Endpoint.TRIGGER] == 0
    assert telemetry.value("objects_limit", Endpoint.TRACK) <= 2


@pytest.mark.parametrize(("status", "reason"), [(503, "braze_outage"), (401, "braze:/users/track")])
def test_what_braze_said_last_is_no_news_where_nothing_is_left_to_ask_with(status: int, reason: str) -> None:
    """Its partitions have left: nobody here would ever hear that Braze answers again."""
    loop = VirtualLoop()
    world = World(calm(records=40, span_s=4.0), loop)
    told: list[bool] = []

    async def leave() -> None:
        world._double.set_faults(0.0, {"seed": 0, "steps": [{"do": "status", "status": status, "times": None}]})
        world._start_replica()
        await world._write()
        await asyncio.sleep(20.0)
        (replica,) = world._replicas
        pipeline = replica.pipeline
        told.append(reason in pipeline.troubles)
        pipeline.on_event(Lost(list(pipeline.books.accounts)))
        await asyncio.sleep(60.0)
        told.append(reason in pipeline.troubles)
        await replica.kill(world._group)
        await world._group.close()

    run_virtually(loop, leave())

    assert told == [True, False]
