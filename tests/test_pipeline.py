"""The flow as a whole, in virtual time, where a test wants a situation exactly so; `test_simulation` draws others."""

import asyncio
import io
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any, get_args

import orjson
import pytest

from connector.books import Account
from connector.braze import Endpoint
from connector.delivery import Delivery
from connector.departures import Departures
from connector.exchange import Exchange
from connector.metrics import PREFIX, Stage
from connector.offset_map import decode
from connector.records import Kind, TopicPartition
from connector.simulation.checker import judge
from connector.simulation.kafka import SimulatedSource
from connector.simulation.run import play
from connector.simulation.scenario import Scenario, draw
from connector.simulation.virtual_time import VirtualClock, VirtualLoop, run_virtually
from connector.simulation.world import EPOCH, History, World, Written
from connector.telemetry import Telemetry

LEASE_S = 8.0


def calm(**changes: Any) -> Scenario:
    """One replica, nothing wrong, but for the changes."""
    quiet = replace(
        draw(0),
        records=120, users=10, span_s=20.0, replicas=1, partitions=2, settle_s=0.0, requests=3000, per_s=3.0,
        per_array=False, objects=75, configured_objects=75, poison=0.0, ambiguous_events="retry",
        commit_refusal=0.0, letter_refusal=0.0, buffer=1000, braze_faults=[], happenings=[], breaker_run=0,
        turn_delay_s=0.0, turn_records=500,
    )  # fmt: skip
    return replace(quiet, **changes)


def arrivals(history: History) -> list[float]:
    return sorted(applied.arrived_at - EPOCH for applied in history.applied)


def test_a_calm_day_breaks_nothing() -> None:
    history = play(calm())

    assert judge(history) == []
    assert len(history.written) == 120


def test_without_the_coordinator_s_word_nothing_is_sent_any_more() -> None:
    history = play(calm(commit_refusal=1.0))

    times = arrivals(history)
    assert times, "the assignment itself was the coordinator's word"
    assert times[-1] <= LEASE_S + 0.1
    assert len(times) < 120


def test_without_the_coordinator_s_word_no_dead_letter_is_written_either() -> None:
    history = play(calm(commit_refusal=1.0, poison=1.0))

    times = sorted(at - EPOCH for *_, at in history.letters)
    assert times
    assert times[-1] <= LEASE_S + 1
    assert max(each.written_at - EPOCH for each in history.written) > LEASE_S + 5


def test_who_leaves_commits_before_and_repeats_nothing_when_kafka_refuses_the_last_commit() -> None:
    history = play(calm(records=600, last_commit_refusal=1.0, happenings=[(10.0, "leave"), (13.0, "join")]))

    assert judge(history) == []
    sent = Counter(orjson.dumps(applied.object) for applied in history.applied)
    assert sent.most_common(1)[0][1] == 1


def test_at_low_load_a_record_leaves_at_once() -> None:
    history = play(calm(records=40, span_s=40.0))

    reached = arrivals(history)
    written = sorted(each.written_at - EPOCH for each in history.written)
    assert len(reached) == len(written)
    # Ten milliseconds of polling, and a turn; a user whose last request is still out waits a little more.
    delays = sorted(late - early for early, late in zip(written, reached, strict=True))
    assert delays[len(delays) // 2] < 0.015
    assert delays[-1] < 0.5


def test_an_outage_only_delays() -> None:
    outage = {"do": "status", "status": 503, "from_s": 1.0, "until_s": 15.0}

    history = play(calm(braze_faults=[outage]))

    assert judge(history) == []
    assert not [time for time in arrivals(history) if 1.0 <= time < 15.0]
    assert history.letters == []


def test_a_revoked_key_halts_without_blame_and_is_cured_by_itself() -> None:
    revoked = {"do": "status", "status": 401, "body": {"message": "Invalid API key: simulated-key"},
               "from_s": 1.0, "until_s": 60.0}  # fmt: skip

    history = play(calm(braze_faults=[revoked]))

    assert judge(history) == []
    assert history.letters == []


@pytest.mark.parametrize("path", ["/users/track", "/campaigns/trigger/send"])
@pytest.mark.parametrize("status", [401, 403, 404, 415, 410, 301])
def test_what_braze_refuses_us_for_is_waited_for_and_nobody_is_blamed(status: int, path: str) -> None:
    refusal = {"do": "status", "status": status, "match": {"path": path}, "from_s": 1.0, "until_s": 60.0}

    history = play(calm(braze_faults=[refusal]))

    assert judge(history) == []
    assert history.letters == []
    arrays = {"/users/track": {"attributes", "events"}, "/campaigns/trigger/send": {"recipients"}}
    refused, other = arrays[path], {"attributes", "events", "recipients"} - arrays[path]
    during = {each.array for each in history.applied if 2.0 <= each.arrived_at - EPOCH < 14.0}
    assert not during & refused
    if status != 401:  # a bad key stops everything, anything else the endpoint that answered
        assert during == other


def test_a_full_buffer_bounds_what_is_taken() -> None:
    outage = {"do": "status", "status": 503, "until_s": 15.0}

    history = play(calm(records=1000, span_s=5.0, buffer=50, braze_faults=[outage]))

    assert judge(history) == []
    assert history.outstanding_max <= 50 + 6 * 50  # one poll a partition may already be on its way


# ---- triggers once at most -------------------------------------------------------------------------------------------


def triggers_only(**changes: Any) -> Scenario:
    return calm(campaigns="at_most_once", records=200, span_s=10.0, **changes)


def test_a_trigger_is_told_to_kafka_before_it_is_sent_and_sent_once_whatever_braze_answers() -> None:
    doubtful = [{"do": "drop", "chance": 0.3, "apply": True}, {"do": "status", "status": 503, "chance": 0.2}]

    history = play(triggers_only(braze_faults=doubtful))

    assert judge(history) == []
    assert {reason for _, _, reason, _ in history.letters} == {"ambiguous"}
    sent = [applied for applied in history.applied if applied.array == "recipients"]
    numbers = [applied.object["trigger_properties"]["n"] for applied in sent]
    assert len(numbers) == len(set(numbers)) > 10
    places = {written.number: (written.where, written.offset) for written in history.written}
    for applied in sent:
        where, offset = places[applied.object["trigger_properties"]["n"]]
        told = [
            at
            for at, next_offset, text in history.commits[where]
            if any(start <= offset < end for start, end in decode(text, next_offset).claimed)
        ]
        assert told[0] <= applied.arrived_at


def test_a_claim_that_outlives_its_process_is_never_sent_and_is_counted() -> None:
    slow = {"do": "delay", "delay_s": 20, "match": {"path": "/campaigns/trigger/send"}, "until_s": 1.9, "apply": False}

    history = play(triggers_only(braze_faults=[slow], happenings=[(2.0, "kill")]))

    assert judge(history) == []
    sent = {applied.object["trigger_properties"]["n"] for applied in history.applied if applied.array == "recipients"}
    unsent = [each for each in history.written if each.kind is Kind.CAMPAIGN and each.number not in sent]
    assert unsent
    assert history.skipped["claimed_unknown"] == len(unsent)


def test_a_pipeline_that_has_ended_begins_no_request_any_more() -> None:
    # A killed process leaves a turn in the loop's queue; what it began would be a task that nobody looks after.
    tasks: list[str] = []

    async def whole() -> None:
        await World(
            calm(records=2000, span_s=2.0, requests=100, happenings=[(0.2 + 0.1 * n, "kill") for n in range(15)]), loop
        ).play(cured=True)
        tasks.extend(task.get_coro().__qualname__ for task in asyncio.all_tasks() if task is not asyncio.current_task())

    loop = VirtualLoop()
    run_virtually(loop, whole())

    assert Exchange.attempt.__qualname__ not in tasks


# ---- a deep backlog in one partition ---------------------------------------------------------------------------------


class Backlog(World):
    """All that was written is there at once, in one partition, of more users than a request carries."""

    kind = Kind.EVENT

    async def _write(self) -> None:
        rng, where = Random(1), TopicPartition(f"{self.kind}s", 0)
        for number in range(BACKLOG):
            written = Written(where, 0, self.kind, f"u{rng.randrange(6_000)}", number, good=True)
            record = self._group.append(where, written.user.encode(), self._value(written), 0)
            written.offset, written.written_at = record.offset(), self._clock.at()
            self.history.written.append(written)


class TriggerBacklog(Backlog):
    kind = Kind.CAMPAIGN


BACKLOG = 30_000
"""More than a commit can tell of in any order, and less than `buffer.records` lets in."""


def test_a_chunk_that_has_room_does_not_pass_one_that_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = VirtualLoop()
    seen: set[bool] = set()

    def has_room(self: Account, records: int, end: int) -> bool:  # noqa: ARG001  # its signature
        has = records == 1 or loop.time() % 2.0 > 1.0
        seen.add(has)
        return has

    monkeypatch.setattr(Account, "has_room", has_room)
    history = run_virtually(loop, World(calm(records=2000), loop).play(cured=True))

    assert judge(history) == []
    assert seen == {True, False}


def test_a_partition_that_is_handed_over_in_the_middle_of_a_backlog_repeats_nothing() -> None:
    moves = [(8.0 + 3 * n, "rebalance") for n in range(4)]
    scenario = calm(replicas=2, partitions=1, buffer=100_000, requests=60, per_s=3.0, happenings=moves)
    loop = VirtualLoop()

    history = run_virtually(loop, Backlog(scenario, loop).play(cured=True))

    sent = Counter(applied.object["properties"]["n"] for applied in history.applied)
    assert len(sent) == BACKLOG
    assert max(sent.values()) == 1


def test_a_partition_that_has_no_room_for_long_is_told_of_by_name() -> None:
    """Half of its triggers are of a campaign that is paused: more than a commit could tell of behind them."""
    paused = {"do": "campaign", "state": "paused", "match": {"campaign_id": "campaign-1"}}
    loop = VirtualLoop()
    said: dict[str, str] = {}

    async def whole() -> None:
        world = TriggerBacklog(calm(partitions=1, buffer=100_000, braze_faults=[paused]), loop)
        playing = asyncio.get_running_loop().create_task(world.play(cured=False))
        await asyncio.sleep(60.0)
        said.update(world._replicas[0].pipeline.waits())
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await world._replicas[0].kill(world._group)
        await world._group.close()

    run_virtually(loop, whole())

    assert "are not settled, and a commit cannot tell of more" in said["no_room:campaigns[0]"]
    assert "campaigns_parked" in said


def test_a_backlog_of_triggers_that_are_claimed_is_sent_to_its_end() -> None:
    scenario = calm(partitions=1, buffer=100_000, campaigns="at_most_once")
    loop = VirtualLoop()

    history = run_virtually(loop, TriggerBacklog(scenario, loop).play(cured=True))

    sent = Counter(applied.object["trigger_properties"]["n"] for applied in history.applied)
    assert len(sent) == BACKLOG
    assert max(sent.values()) == 1


# ---- too much is bad -------------------------------------------------------------------------------------------------


def test_a_topic_of_which_too_much_is_bad_halts_with_its_offsets_held_and_the_others_go_on() -> None:
    refused = {"do": "refuse_request", "where": {"array": "events", "equals": {"name": "e"}}}

    history = play(calm(records=300, breaker_run=10, braze_faults=[refused]), cured=False)

    assert len(history.letters) == 10
    assert {where.topic for where, _, _, _ in history.letters} == {"events"}
    assert history.troubles == {"dead_letter_breaker:events"}
    dead = {(where, offset) for where, offset, _, _ in history.letters}
    for where, commits in history.commits.items():
        last = commits[-1][1]
        written = [each for each in history.written if each.where == where]
        if where.topic == "events":
            assert all((where, each.offset) in dead for each in written if each.offset < last)
        else:
            assert all(each.offset < last for each in written)


def test_a_trigger_that_expires_while_kafka_takes_its_claim_is_not_sent() -> None:
    history = play(triggers_only(expires_after_s=0.3, commit_delay_s=(0.4, 0.5)))

    sent = [each for each in history.applied if each.array == "recipients"]
    assert sent == []
    assert judge(history) == []


def test_a_process_that_is_asked_to_stop_before_it_has_begun_ends_in_good_order() -> None:
    async def whole() -> History:
        world = World(calm(records=1, span_s=1.0), loop)
        world._start_replica()
        world._replicas[0].pipeline.stop()
        return await world.play(cured=True)

    loop = VirtualLoop()

    assert judge(run_virtually(loop, whole())) == []


def test_who_leaves_does_not_wait_for_triggers_of_a_paused_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes of them by waiting: their next owner parks them, too."""
    honest, left_at = SimulatedSource.close, []

    async def close(source: SimulatedSource) -> None:
        left_at.append(asyncio.get_running_loop().time())
        await honest(source)

    monkeypatch.setattr(SimulatedSource, "close", close)
    paused = {"do": "campaign", "state": "paused", "match": {"campaign_id": "campaign-1"}}

    play(calm(braze_faults=[paused], happenings=[(25.0, "leave")]), cured=False)

    assert 25.0 <= left_at[0] < 27.0


# ---- a busy loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn_records", [1, 10, 500])
def test_for_what_decides_time_never_goes_back(monkeypatch: pytest.MonkeyPatch, turn_records: int) -> None:
    """An answer waits for its turn. Concluded as of its arrival, a user whose hold ended in between waits for ever."""
    times: list[float] = []

    def noted(whose: type, name: str, place: int) -> None:
        decide = getattr(whose, name)

        def deciding(self: object, *words: Any, **named: Any) -> Any:
            times.append(words[place])
            return decide(self, *words, **named)

        monkeypatch.setattr(whose, name, deciding)

    noted(Departures, "next_request", 0)
    noted(Delivery, "conclude", 2)
    scenario = calm(turn_delay_s=0.3, turn_records=turn_records, span_s=2.0, settle_s=1.0)
    history = play(scenario)

    assert judge(history) == []
    assert len(times) > 50
    assert times == sorted(times)


# ---- what it says while it waits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            {"do": "rate_limit", "style": "mau", "wait_s": 60, "chance": 1.0, "from_s": 1.0, "until_s": 5.0},
            "throttled:/users/track",
        ),
        (
            {"do": "campaign", "state": "paused", "match": {"campaign_id": "campaign-1"}, "until_s": 30.0},
            "campaigns_parked",
        ),
    ],
    ids=["429", "pause"],
)
def test_a_long_wait_for_braze_is_said_when_it_begins_and_when_it_ends(fault: dict[str, Any], reason: str) -> None:
    log = io.StringIO()
    seen: set[str] = set()

    async def look(world: World) -> None:
        while True:
            await asyncio.sleep(1.0)
            seen.update(world._replicas[0].pipeline.waits())

    async def whole() -> History:
        world = World(calm(braze_faults=[fault], span_s=15.0), loop)
        world._start_replica()
        world._replicas[0].pipeline.telemetry = Telemetry(output=log)
        looking = asyncio.get_running_loop().create_task(look(world))
        history = await world.play(cured=True)
        looking.cancel()
        return history

    loop = VirtualLoop()
    assert judge(run_virtually(loop, whole())) == []

    assert reason in seen
    told = [
        (line["event"], line["reason"]) for line in map(orjson.loads, log.getvalue().splitlines()) if "reason" in line
    ]
    assert ("wait_began", reason) in told
    assert ("wait_ended", reason) in told
    assert len(told) == len(set(told))


# ---- where the time goes ---------------------------------------------------------------------------------------------


class TickingClock(VirtualClock):
    """Every look at the processor's time finds one second more of it: a stage's seconds are its intervals."""

    _ticks = 0.0

    def cpu(self) -> float:
        self._ticks += 1.0
        return self._ticks


def stages(scenario: Scenario) -> dict[str, float]:
    """Seconds by stage of the only replica; `sum` is what its requests took by their own measure."""
    loop = VirtualLoop()
    world = World(scenario, loop)
    run_virtually(loop, world.play(cured=True))
    telemetry = world._replicas[0].pipeline.telemetry
    took = {stage: telemetry.value("stage_seconds_total", stage) for stage in get_args(Stage)}
    name = PREFIX + "braze_request_duration_seconds_sum"
    requests = [telemetry.registry.get_sample_value(name, {"endpoint": endpoint}) for endpoint in Endpoint]
    return {**took, "sum": sum(filter(None, requests))}


def test_every_stage_of_the_loop_tells_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.simulation.world.VirtualClock", TickingClock)

    took = stages(calm())

    assert took["decode"] == took["map"] > 10  # one interval a chunk each
    assert took["settle"] > took["decode"]  # what is taken in, and what is answered
    assert took["pack"] > took["decode"]  # each chunk, each turn, each body
    assert took["commit"] > 10
    assert took["poll"] == 0  # the Kafka thread's own, which a play does not have


def test_a_processor_stage_takes_none_of_the_time_that_passes() -> None:
    took = stages(calm())

    assert took["http"] == pytest.approx(took["sum"])
    assert took["http"] > 0
    assert {stage for stage, seconds in took.items() if seconds} == {"http", "sum"}


def test_work_that_only_the_quota_keeps_is_told_as_waiting_for_it() -> None:
    # 240 records at once, ten a request, one request in two seconds: something waits nearly all the time.
    scenario = calm(records=240, users=100, span_s=0.1, requests=1, per_s=2.0, objects=10, configured_objects=10)
    loop = VirtualLoop()
    world = World(scenario, loop)
    run_virtually(loop, world.play(cured=True))

    waited = world._replicas[0].pipeline.telemetry.value("stage_seconds_total", "wait_quota")
    track = [each.arrived_at - EPOCH for each in world.history.applied if each.array != "recipients"]

    lasted = max(track) - min(track)
    assert lasted > 20
    assert 0.9 * lasted < waited < lasted + 0.01


def test_an_hour_that_begins_because_a_clock_is_set_is_used_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """When to look again was reckoned by the clock that was wrong."""
    set_s = 3600 - EPOCH % 3600

    def at(self: VirtualClock) -> float:
        return EPOCH + self.now() + (set_s if self.now() > 6.0 else 0.0)

    monkeypatch.setattr(VirtualClock, "at", at)
    history = play(calm(requests=20, per_s=3600.0, records=200, span_s=2.0, users=40))

    assert judge(history) == []
    assert arrivals(history)[-1] < set_s + 10.0
