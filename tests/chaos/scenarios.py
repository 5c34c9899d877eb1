"""Everything that is done to the connector, each in two lengths: a few rounds in the tests, many in `make chaos`.

Traffic never stops. Moments are drawn: mostly a number of deliveries to wait for, so that they fall into the middle of
work on a quick machine and on a slow one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.ordeal import (
    BEAT_S,
    GONE_S,
    ONE_REQUEST_EACH,
    QUICK_SESSION_S,
    SAFE_SESSION_S,
    Abandonment,
    Ordeal,
    Verdict,
)
from tests.chaos.proxy import Proxy
from tests.real.children import until

PROTOCOLS = ("classic", "consumer")


def kills(ordeal: Ordeal, rounds: int, *, instance: str | None = None, is_early: bool = True) -> Verdict:
    """One replica, killed and started again, sometimes before it has delivered anything."""
    kafka = {} if instance is None else {"group.instance.id": instance}
    replica = ordeal.join(kafka=kafka)
    started = time.time()
    death: Abandonment | None = None
    with ordeal.traffic():
        ordeal.until_deliveries(1, started)
        for _ in range(rounds):
            chance = ordeal.rng.random()
            if is_early and chance < 0.2:  # as it starts, or joins
                _until_clock(started + ordeal.rng.uniform(0, 2))
            else:
                ordeal.until_deliveries(ordeal.some(40), started)
                if chance > 0.6:  # not in its first hurry
                    _until_clock(time.time() + ordeal.rng.uniform(0, 4))
            if death is not None:
                # One that never came so far has sent nothing, and any moment will do.
                death.until = replica.started_at or time.time()
            death = ordeal.kill(replica)
            started = time.time()
            replica = ordeal.join(kafka=kafka)
        ordeal.until_deliveries(1, started)
    if death is not None:
        death.until = replica.started_at or time.time()
    return ordeal.finish()


def kills_of_a_static_member(ordeal: Ordeal, rounds: int) -> Verdict:
    """The same with `group.instance.id`: a restarted process need not wait for its predecessor's session to end."""
    return kills(ordeal, rounds, instance="one")


def takeovers(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; one is killed, the other takes over, a new one joins."""
    ordeal.join()
    ordeal.join()
    with ordeal.traffic():
        for left in reversed(range(rounds)):
            ordeal.until_shared()
            ordeal.until_deliveries(ordeal.some(40), time.time())
            victim = ordeal.rng.choice(ordeal.live)
            theirs = ordeal.owned(victim)
            death = ordeal.kill(victim, theirs)
            ordeal.until_deliveries(1, death.until, theirs)
            if left:
                ordeal.join()
    return ordeal.finish()


def rolling_restarts(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; one after the other is asked to leave and replaced, as a roll-out does. Nothing may be repeated."""
    ordeal.join()
    ordeal.join()
    with ordeal.traffic():
        ordeal.until_shared()
        for _ in range(rounds):
            for replica in list(ordeal.live):
                ordeal.until_deliveries(ordeal.some(20), time.time())
                ordeal.leave(replica)
                ordeal.join()
                ordeal.until_shared()
    return ordeal.finish()


def comings_and_goings(ordeal: Ordeal, rounds: int) -> Verdict:
    """One to three replicas; they come and go and no rebalance is waited for. Nothing may be repeated."""
    ordeal.join()
    with ordeal.traffic():
        for _ in range(rounds):
            if len(ordeal.live) == 1 or (len(ordeal.live) < 3 and ordeal.rng.random() < 0.5):
                ordeal.join().until_ready()
            else:
                ordeal.leave(ordeal.rng.choice(ordeal.live))
            ordeal.until_deliveries(ordeal.some(20), time.time())
        ordeal.until_shared()
    return ordeal.finish()


def broker_restarts(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; the broker stops and comes back.

    The bound counts from the last commit before it was asked to stop. Whoever keeps his partitions repeats nothing.
    """
    ordeal.join()
    ordeal.join()
    with ordeal.traffic():
        for _ in range(rounds):
            ordeal.until_shared()
            ordeal.until_deliveries(ordeal.some(20), time.time())
            at, marks = time.time(), ordeal.stage.marks()
            ordeal.broker.stop()
            leases_end = time.time() + ordeal.lease_s
            ordeal.broker.start()
            until_at = max(time.time(), leases_end)
            back = ordeal.abandoned(at, until_at, {where: marks[where] for where in ordeal.everything})
            ordeal.until_ready()
            for where in ordeal.everything:
                ordeal.until_deliveries(1, back.until, {where})
        ordeal.until_shared()
    return ordeal.finish()


def frozen_broker(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; the broker hangs for longer than their sessions: partitions are lost, and come back."""
    assert ordeal.session_s is not None
    ordeal.join()
    ordeal.join()
    with ordeal.traffic():
        for _ in range(rounds):
            ordeal.until_shared()
            ordeal.until_deliveries(ordeal.some(20), time.time())
            at, marks = time.time(), ordeal.stage.marks()
            ordeal.broker.signal(signal.SIGSTOP)
            try:
                _until_clock(at + ordeal.session_s + 1 + ordeal.rng.uniform(0, 3))
                until_at = time.time()
            finally:
                ordeal.broker.signal(signal.SIGCONT)
            ordeal.abandoned(at, until_at, {where: marks[where] for where in ordeal.everything})
            for where in ordeal.everything:
                ordeal.until_deliveries(1, until_at, {where})
        ordeal.until_shared()
    return ordeal.finish()


def zombies(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; one hangs beyond its session with its hands full, the other takes over, the first wakes up."""
    assert ordeal.session_s is not None
    ordeal.join(braze=ONE_REQUEST_EACH)
    ordeal.join(braze=ONE_REQUEST_EACH)
    with ordeal.traffic():
        for _ in range(rounds):
            ordeal.until_shared()
            ordeal.until_deliveries(ordeal.some(20), time.time())
            victim = ordeal.rng.choice(ordeal.live)
            theirs = ordeal.owned(victim)
            with ordeal.backlog(victim), ordeal.frozen(victim) as at:
                ordeal.abandoned(at, at + GONE_S, ordeal.marks(theirs))
                ordeal.until_deliveries(ordeal.some(10), at + GONE_S, theirs)
            ordeal.until_shared()
            ordeal.until_deliveries(1, time.time(), theirs)
    return ordeal.finish()


def braze_cut_off(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; one's way to Braze falls silent, and it keeps its partitions. The other goes on."""
    proxy = Proxy(ordeal.stage.braze.port)
    try:
        braze = {"endpoint": f"http://127.0.0.1:{proxy.port}", "request_timeout_s": 1}
        victim = ordeal.join(braze=braze)
        other = ordeal.join()
        with ordeal.traffic():
            for _ in range(rounds):
                ordeal.until_shared()
                theirs = ordeal.owned(victim)
                ordeal.until_deliveries(ordeal.some(20), time.time(), theirs)
                at = time.time()
                proxy.cut()
                # Its last answers are in; what it had on the wire at the cut stays open and is sent again.
                marks = ordeal.marks_at_rest(theirs)
                until("it tries again and again", lambda: proxy.tries > 3)
                ordeal.until_deliveries(1, time.time(), ordeal.owned(other))
                ordeal.abandoned(at, time.time(), marks)
                proxy.mend()
                ordeal.until_deliveries(1, time.time(), theirs)
        return ordeal.finish()
    finally:
        proxy.close()


def kafka_cut_off(ordeal: Ordeal, rounds: int) -> Verdict:
    """Two replicas; one's way to Kafka falls silent while it has its hands full and Braze hears it well.

    What the first may send is bounded by its lease: it ends two seconds before the session can. So nothing of its own
    arrives once the session, less a heartbeat, is over; and nothing of the other's before.
    """
    assert ordeal.session_s is not None
    proxy = Proxy(ordeal.broker.cut, ordeal.broker.proxied)
    try:
        victim = ordeal.join(kafka={"bootstrap.servers": f"127.0.0.1:{proxy.port}"}, braze=ONE_REQUEST_EACH)
        ordeal.join()
        with ordeal.traffic():
            for _ in range(rounds):
                ordeal.until_shared()
                theirs = ordeal.owned(victim)
                ordeal.until_deliveries(ordeal.some(20), time.time(), theirs)
                with ordeal.backlog(victim):
                    proxy.cut()
                    at = time.time()
                    marks = ordeal.marks(theirs)
                    until_at = at + ordeal.session_s - BEAT_S
                    ordeal.abandoned(at, until_at, marks)
                    ordeal.until_deliveries(1, until_at, theirs)
                proxy.mend()
                ordeal.until_shared()
                ordeal.until_deliveries(1, time.time(), theirs)
        return ordeal.finish()
    finally:
        proxy.close()


def lost_answers(ordeal: Ordeal, rounds: int) -> Verdict:
    """Braze applies requests and drops their connections; each drop repeats one request, to the letter."""
    braze = ordeal.stage.braze
    ordeal.join()
    drops = 0
    with ordeal.traffic():
        for _ in range(rounds):
            braze.fault({"do": "drop", "apply": True, "times": 5, "chance": 0.3})
            drops += 5
            until("the drops have happened", lambda: _dropped(ordeal) >= drops)  # noqa: B023  # called at once
    ordeal.stage.until_all_committed()
    braze.open()
    verdict = ordeal.finish()
    repeated = ordeal.repeated_requests()
    # What is repeated beyond the bound of abandonments, of which there is none, is what was dropped.
    verdict.broken.pop("repeated beyond the bound", None)
    if len(repeated) > drops:
        verdict.broken["more requests repeated than dropped"] = (len(repeated), drops)
    for numbers in repeated:
        verdict.bound.update(ordeal.stage.audit.made[number].kind for number in numbers)
    return verdict


@dataclass(frozen=True)
class Scenario:
    """One way to be hard on the connector.

    Attributes:
        play: Does it, so many rounds.
        short: Rounds in the tests.
        long: Rounds in `make chaos`; None: a share of the kills that were asked for.
        protocols_in_short: In the tests; `make chaos` plays all.
        leans_on_lease: Somebody goes on without the coordinator's word: the session must outlast the lease.
    """

    play: Callable[[Ordeal, int], Verdict]
    short: int
    long: int | None
    protocols_in_short: tuple[str, ...] = PROTOCOLS
    leans_on_lease: bool = False

    @property
    def name(self) -> str:
        return self.play.__name__

    def session_s(self, protocol: str) -> int:
        return SAFE_SESSION_S if self.leans_on_lease and protocol == "consumer" else QUICK_SESSION_S


SCENARIOS = (
    Scenario(kills, 1, None, ("consumer",)),
    Scenario(kills_of_a_static_member, 3, None, ("classic",)),
    Scenario(takeovers, 1, None),
    Scenario(rolling_restarts, 1, 5, ("classic",)),
    Scenario(comings_and_goings, 4, 20),
    Scenario(broker_restarts, 1, 4, ("classic",), leans_on_lease=True),
    Scenario(frozen_broker, 1, 4, ("classic",), leans_on_lease=True),
    Scenario(zombies, 1, 4, leans_on_lease=True),
    Scenario(braze_cut_off, 1, 6, ("consumer",)),
    Scenario(kafka_cut_off, 1, 4, ("classic",), leans_on_lease=True),
    Scenario(lost_answers, 2, 10, ("classic",)),
)


def _dropped(ordeal: Ordeal) -> int:
    requests = ordeal.stage.braze.state()["requests"]
    return sum(int(statuses.get("dropped", 0)) for statuses in requests.values())


def _until_clock(moment: float) -> None:
    """Nothing but time makes a session end."""
    until("it has lasted long enough", lambda: time.time() >= moment)
