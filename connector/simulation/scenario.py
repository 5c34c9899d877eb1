"""What a seed stands for: a workload, the faults of Braze, of Kafka and of the processes, and when each strikes.

Pure. The same seed is the same scenario, always; a scenario that once found a fault is replayed by its number.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final, Literal

Happening = Literal["join", "leave", "kill", "lose", "rebalance", "cut", "mend", "truncate"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One play.

    Attributes:
        seed: Its number.
        records: How many are written.
        users: How many they are about; few means much coalescing and waiting.
        span_s: Over which they are written.
        replicas: At the start.
        partitions: Of each topic.
        settle_s: Of the connector; Braze's slowest application is a little faster.
        requests: Quota of `/users/track`, in any `per_s` seconds.
        per_s: As above.
        per_array: The workspace's object limit is a legacy one.
        objects: Object limit of the workspace.
        configured_objects: What the connector believes it to be.
        poison: Share of records that cannot be delivered.
        ambiguous_events: The operator's policy.
        braze_faults: Steps for the double.
        happenings: (virtual second, what), ascending; everything is cured after the last.
        commit_refusal: Probability.
        last_commit_refusal: Probability, of the commit with which a partition leaves; in the middle of a rebalance the
            coordinator takes none. Not drawn.
        letter_refusal: Probability.
        buffer: Bound of records taken and not settled.
        campaigns: Of the connector.
        repeats: Share of triggers that carry the `event_id` of an earlier one.
        expires_after_s: Of triggers; None: they never do.
        commit_delay_s: Least and greatest time until the coordinator answers a commit.
        breaker_run: Dead letters in a row after which a topic halts; 0: none. When nothing happens any more,
            somebody looks, and starts every process anew without a breaker.
        is_mended: And makes Braze take what it had refused by name.
        track_requests_max: Of the connector, in hand at once. Not drawn.
        turn_delay_s: How late a turn is: a loop that has much else to do.
        turn_records: Bound of what a turn does.
    """

    seed: int
    records: int
    users: int
    span_s: float
    replicas: int
    partitions: int
    settle_s: float
    requests: int
    per_s: float
    per_array: bool
    objects: int
    configured_objects: int
    poison: float
    ambiguous_events: Literal["retry", "dead_letter"]
    commit_refusal: float
    letter_refusal: float
    buffer: int
    campaigns: Literal["at_least_once", "at_most_once"] = "at_least_once"
    repeats: float = 0.0
    expires_after_s: float | None = None
    commit_delay_s: tuple[float, float] = (0.001, 0.02)
    breaker_run: int = 0
    is_mended: bool = False
    track_requests_max: int = 8
    turn_delay_s: float = 0.0
    turn_records: int = 500
    last_commit_refusal: float = 0.0
    braze_faults: list[dict[str, Any]] = field(default_factory=list)
    happenings: list[tuple[float, Happening]] = field(default_factory=list)

    @property
    def may_double(self) -> bool:
        """Whether anything happens after which a record may rightly reach Braze twice."""
        crashing = {"kill", "lose", "leave", "rebalance", "join", "truncate"}
        ambiguous = any(fault["do"] in {"drop", "delay"} or "doubt" in fault for fault in self.braze_faults)
        return ambiguous or self.breaker_run > 0 or any(what in crashing for _, what in self.happenings)


_FAULTS: tuple[dict[str, Any], ...] = (
    {"do": "status", "status": 503, "body": "html", "chance": 0.1},
    {"do": "status", "status": 502, "chance": 0.1},
    {"do": "status", "status": 500, "chance": 0.05, "apply": False, "doubt": True},
    {"do": "status", "status": 504, "chance": 0.05, "apply": True, "doubt": True},
    {"do": "status", "status": 200, "body": "empty", "chance": 0.05, "apply": True, "doubt": True},
    {"do": "rate_limit", "style": "mau", "wait_s": 2, "chance": 0.05},
    {"do": "rate_limit", "style": "bare", "chance": 0.03},
    {"do": "drop", "chance": 0.05, "apply": True},
    {"do": "drop", "chance": 0.05, "apply": False},
    {"do": "delay", "delay_s": 40, "chance": 0.02, "apply": True},
    {"do": "queued", "chance": 0.1},
    {"do": "status", "status": 401, "body": {"message": "Invalid API key: simulated-key"}, "from_s": 3, "until_s": 9},
    {"do": "status", "status": 403, "match": {"path": "/users/track"}, "from_s": 2, "until_s": 7},
    {"do": "refuse_request", "where": {"array": "events", "equals": {"name": "poison-unnamed"}}},
    {"do": "campaign", "state": "paused", "match": {"campaign_id": "campaign-1"}, "until_s": 12},
    {"do": "error_entry", "entry": "bare", "chance": 0.05},
)


_TAKEOVERS_EVERY: Final = 10
"""So many seeds apart are those that kill on purpose."""


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = Random(seed)  # noqa: S311  # reproducible, guards nothing
    poison = rng.choice((0.0, 0.02, 0.2))
    faults = [dict(fault) for fault in rng.sample(_FAULTS, rng.choice((0, 1, 2, 3, 4)))]
    if poison:
        # What Braze queues (202) it refuses without a word later: nobody could blame that on a record.
        faults = [fault for fault in faults if fault["do"] != "queued"]
    happenings = _happenings(rng)
    objects = rng.choice((75, 75, 10, 5))
    drawn = Scenario(
        seed=seed,
        records=rng.choice((60, 120, 200)),
        users=rng.choice((3, 10, 40)),
        span_s=rng.choice((0.5, 5.0, 15.0)),
        replicas=rng.choice((1, 1, 2, 3)),
        partitions=rng.choice((1, 2, 3)),
        settle_s=rng.choice((0.0, 1.0, 5.0)),
        requests=rng.choice((5, 30, 3000)),
        per_s=rng.choice((1.0, 3.0)),
        per_array=rng.random() < 0.2,
        objects=objects,
        configured_objects=rng.choice((objects, 75)),
        poison=poison,
        ambiguous_events=rng.choice(("retry", "retry", "dead_letter")),
        commit_refusal=rng.choice((0.0, 0.0, 0.2)),
        letter_refusal=rng.choice((0.0, 0.0, 0.3)),
        buffer=rng.choice((20, 100_000)),
        braze_faults=faults,
        happenings=happenings,
        # Drawn last: what an older seed stood for stays what it was.
        campaigns=rng.choice(("at_least_once", "at_least_once", "at_most_once")),
        repeats=rng.choice((0.0, 0.0, 0.3)),
        expires_after_s=rng.choice((None, None, None, 0.5, 5.0)),
        commit_delay_s=rng.choice(((0.001, 0.02), (0.001, 0.02), (0.1, 0.8), (0.5, 3.0))),
        breaker_run=rng.choice((0, 0, 0, 1, 3)),
        is_mended=rng.random() < 0.5,
    )
    truncations: list[tuple[float, Happening]] = [
        (rng.uniform(0.1, 20.0), "truncate") for _ in range(rng.choice((0, 0, 0, 1, 2)))
    ]
    drawn = replace(
        drawn,
        happenings=sorted([*happenings, *truncations], key=_moment),
        turn_delay_s=rng.choice((0.0, 0.0, 0.0, 0.02, 0.3)),
        turn_records=rng.choice((500, 500, 10, 1)),
    )
    return _with_takeovers(drawn, rng) if seed % _TAKEOVERS_EVERY == 0 else drawn


def _with_takeovers(drawn: Scenario, rng: Random) -> Scenario:
    """Killed again and again with a user's attributes on the wire, while newer ones wait for the next owner.

    What a successor owes to what its predecessor has sent is rarely put to the test by chance: when settle times last,
    little else holds anybody up, and a few users are written about all the time.
    """
    kinds: tuple[Happening, ...] = ("kill", "kill", "kill", "lose")
    deaths = [(rng.uniform(0.5, 15.0), rng.choice(kinds)) for _ in range(6)]
    return replace(
        drawn,
        records=200,
        users=10,
        span_s=15.0,
        replicas=rng.choice((2, 3)),
        settle_s=5.0,
        requests=3000,
        happenings=sorted(deaths, key=_moment),
        commit_delay_s=(0.001, 0.02),
        turn_delay_s=0.0,
        turn_records=500,
    )


def _happenings(rng: Random) -> list[tuple[float, Happening]]:
    """Up to six, in the first twenty seconds, network cuts with their end."""
    found: list[tuple[float, Happening]] = []
    kinds: tuple[Happening, ...] = ("join", "leave", "kill", "lose", "rebalance", "cut")
    for _ in range(rng.choice((0, 0, 1, 2, 4, 6))):
        when = rng.uniform(0.1, 20.0)
        what = rng.choice(kinds)
        found.append((when, what))
        if what == "cut":
            found.append((when + rng.uniform(0.5, 8.0), "mend"))
    return sorted(found, key=_moment)


def _moment(happening: tuple[float, Happening]) -> float:
    return happening[0]
