"""Whether the cost of a record grows with its bytes, and with nothing else."""

from __future__ import annotations

from bench import contestants
from bench.comparison import idle_topics, measured
from bench.report import Options, Row
from bench.site import opened
from bench.workload import Workload

_NOTES = (
    "cpu us/record as in the row mixed; ns/byte = that x 1,000 / bytes of a record's value",
    "our contract has one audience a record: 32 attributes stand for 32 audiences",
)


def run(options: Options) -> Row:
    """The usual records; the same about more users, in more partitions; wide ones there."""
    many = {"users": 10_000_000, "partitions": 48}
    lines = []
    for what, workload in (
        ("base", Workload("base", options.records)),
        ("10 M users, 48 partitions", Workload("many", options.records, **many)),
        ("and 32 attributes, 40 properties", Workload("wide", options.records, attributes=32, properties=40, **many)),
    ):
        with opened() as site:
            site.make_topics((contestants.LETTERS, *idle_topics(workload)))
            size = site.write(workload) / workload.records
            figures = measured(site, workload, "connector", "connector")
        cost = figures["cpu us/record"]
        lines.append(
            {
                "workload": what,
                "bytes/record": round(size),
                "cpu us/record": cost,
                "ns/byte": round(cost * 1000 / size, 1),
                **{
                    name: figures[name]
                    for name in ("records/s", "objects/request", "resident MiB", "lost", "backwards")
                },
            }
        )
    base, many_line, wide = lines
    ratios = {
        "ns/byte, wide / base (goal: at most 1.1)": round(wide["ns/byte"] / base["ns/byte"], 2),
        "cpu us/record, 10 M users in 48 partitions / base": round(
            many_line["cpu us/record"] / base["cpu us/record"], 2
        ),
    }
    return Row("bytes", f"the connector on {options.records:,} records each", lines, ratios, notes=_NOTES)
