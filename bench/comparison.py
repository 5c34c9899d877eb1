"""One contestant on one workload: processor time, speed, requests, memory, and what became of the records."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from bench import contestants, usage
from bench.report import Lines, Options, Row
from bench.site import Site, opened
from bench.stages import exposition_of, stage_rows
from bench.verdict import arrival, judge
from bench.workload import Topic, Workload
from connector.express import is_compiled
from tests.real.children import Child, until
from tests.tools.go import Unavailable

FORMULAS = (
    (
        "cpu us/record = (user + system seconds of process, threads and children until its group has committed all,"
        " less those of an idle run of equal length) / records; it runs on one core, broker and double on the others"
    ),
    "records/s = records / (last arrival at Braze - first arrival); resident MiB = at the end",
    (
        "backwards = objects that Braze applied behind a later one of the same user and kind; a request is applied"
        " within 2 ms of its arrival, in any order with others, and before it is answered"
    ),
    (
        "lost = committed events that were never applied, less dead letters; doubled = events that were applied again;"
        " stale = users whose last applied attributes are not the newest"
    ),
)


def mixed(options: Options) -> Row:
    """Half audiences, half events, one record in a hundred refused by its index inside a 201."""
    return _compared(
        "mixed",
        f"{options.records:,} records, half audiences (2 attributes), half events (6 properties), 1 % refused in a 201",
        Workload("mixed", options.records, refused=100),
        options.rounds,
        "loop",
        {"connector": 0.65, "ordinary": 0.85},
    )


def events(options: Options) -> Row:
    """The workload on which the peers were first measured."""
    return _compared(
        "events",
        f"{options.events:,} events of 6 properties, one user with 12 % of them",
        Workload("events", options.events, kinds=("event",)),
        options.rounds,
        "bento",
        {"connector": 0.45, "ordinary": 0.6},
    )


def _compared(name: str, title: str, workload: Workload, times: int, rival: str, goals: Mapping[str, float]) -> Row:
    with opened() as site:
        rounds = compare(site, workload, list(contestants.ALL), times)
    lines = [dict(_middle([lines[index] for lines in rounds])) for index in range(len(contestants.ALL))]
    stages = lines[0].pop("stages", [])
    lane = "connector takes plain records by the express lane" if is_compiled() else "the express lane is not compiled"
    notes = (*FORMULAS, f"{lane}; ordinary has it switched off")
    if times > 1:
        notes += (f"{times} rounds: a line is its median round by cpu, a ratio is the median of the rounds' ratios",)
    row = Row(name, f"{title}; {workload.partitions} partitions a topic", lines, stages=stages, notes=notes)
    for one, goal in goals.items():
        row.ratio(f"cpu us/record, {one} / {rival} (goal: at most {goal})", rounds, "cpu us/record", one, rival)
    for other in contestants.PEERS:
        row.ratio(f"records/s, connector / {other} (goal: above 1)", rounds, "records/s", "connector", other)
    return row


def _middle(lines: Lines) -> Mapping[str, Any]:
    """The round with the median cost."""
    run = sorted((line for line in lines if "not run" not in line), key=lambda line: line["cpu us/record"])
    return run[len(run) // 2] if run else lines[0]


def compare(site: Site, workload: Workload, names: Sequence[str], times: int) -> list[list[dict[str, Any]]]:
    """By round, one line a contestant; one that cannot be had, or comes to no end, has the reason for its figures.

    The contestants take turns: a machine whose speed drifts is unfair to none of them.
    """
    site.make_topics((contestants.LETTERS, *idle_topics(workload)))
    site.write(workload)
    rounds = []
    for number in range(times):
        lines = []
        for name in names:
            try:
                lines.append({"contestant": name, **measured(site, workload, name, f"{name}-{number}")})
            except (Unavailable, AssertionError) as reason:
                lines.append({"contestant": name, "not run": " ".join(str(reason).split())[:300]})
        rounds.append(lines)
    return rounds


def measured(site: Site, workload: Workload, name: str, group: str) -> dict[str, Any]:
    """Its figures; of the connector also `stages`, in which its time went by its own account."""
    start = contestants.ALL[name]
    letters = site.count(contestants.LETTERS)
    with site.double() as double:
        if workload.refused:
            double.refuse()
        child = start(site, group, workload.topics, double.url)
        began = time.monotonic()  # not before: a contestant may have to be built first
        until_committed(site, child, group, workload)
        wall_s, cpu_s, resident = time.monotonic() - began, usage.cpu_s(child.pid), usage.resident_mib(child.pid)
        exposition = exposition_of(child) if name == "connector" else None
        child.kill()
        state = double.state()
        verdict = judge(workload, map(arrival, double.journal()))
    spent_s = cpu_s - _idle_s(site, workload, name, group, wall_s)
    sizes = state["objects_per_request"]["/users/track"]
    cpu_us = spent_s / workload.records * 1e6
    stages = {} if exposition is None else {"stages": stage_rows(exposition, workload.records, cpu_us)}
    return stages | {
        "cpu us/record": round(cpu_us, 1),
        "records/s": round(workload.records / (verdict.last_at - verdict.first_at)),
        "requests": sizes["requests"],
        "objects/request": round(sizes["mean"], 1),
        "429s": sum(state["rate_refusals"].values()),
        "resident MiB": round(resident),
        "backwards": verdict.backwards,
        "lost": verdict.lost - (site.count(contestants.LETTERS) - letters),
        "doubled": verdict.doubled,
        "stale": verdict.stale,
    }


def until_committed(site: Site, child: Child, group: str, workload: Workload, within_s: float = 300) -> None:
    def is_done() -> bool:
        child.must_live()
        return site.committed(group, workload.topics) >= workload.records

    until(f"the {group} has committed all", is_done, within_s)


def idle_topics(workload: Workload) -> list[Topic]:
    return [topic._replace(name=f"{topic.name}-idle") for topic in workload.topics]


def _idle_s(site: Site, workload: Workload, name: str, group: str, lasts_s: float) -> float:
    """What it uses when there is nothing to do."""
    with site.double(journal=False) as double:
        child = contestants.ALL[name](site, f"{group}-idle", idle_topics(workload), double.url)
        ends = time.monotonic() + lasts_s
        while time.monotonic() < ends:
            child.must_live()
            time.sleep(0.1)
        idle_s = usage.cpu_s(child.pid)
        child.kill()
    return idle_s
