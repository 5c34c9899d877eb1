"""Cost: what is written to Braze and billed there, and what coalescing saves."""

from dashboards.board import Board, Panel, Query, Row, per_second

_DAY_S = 86_400
_SETTLED = "records_settled_total"
_POINTS = per_second("braze_data_points_total")
_PROFILE_WRITES = per_second(_SETTLED, 'kind!="campaign"', 'outcome="delivered"')
_TRIGGERS = per_second(_SETTLED, 'kind="campaign"', 'outcome="delivered"')
_COALESCED = per_second(_SETTLED, 'kind="audience"', 'outcome="coalesced"')
_MEMBERSHIPS = per_second(_SETTLED, 'kind="audience"', 'outcome=~"delivered|coalesced"')

_BILLED = Row(
    "What is billed",
    (
        Panel(
            "Data points a day at this pace",
            "By Braze's published rules: one an attribute, one an event, changed or not. A reckoning, no invoice.",
            "locale",
            (Query(f"{_POINTS} * {_DAY_S}", "data points"),),
            shows="number",
            width=6,
            height=6,
        ),
        Panel(
            "Data points a delivered record",
            "How wide the written objects are. A step up is a new attribute in the mapping or in the export.",
            "none",
            (Query(f"{_POINTS} / ({_PROFILE_WRITES} > 0)", "data points"),),
            shows="number",
            width=6,
            height=6,
            empty="nothing delivered",
        ),
        Panel(
            "Saved by coalescing",
            "Share of the delivered membership records that needed no write of their own, because a newer value of the"
            " same user carried them.",
            "percentunit",
            (Query(f"{_COALESCED} / ({_MEMBERSHIPS} > 0)", "saved"),),
            shows="number",
            width=6,
            height=6,
            empty="nothing delivered",
        ),
        Panel(
            "Messages a day at this pace",
            "Triggers that Braze accepted: each may be a message that is billed.",
            "locale",
            (Query(f"{_TRIGGERS} * {_DAY_S}", "triggers"),),
            shows="number",
            width=6,
            height=6,
        ),
        Panel(
            "Data points",
            "A second, by kind of record.",
            "cps",
            (Query(per_second("braze_data_points_total", by="kind"), "{{kind}}"),),
            width=12,
            is_stacked=True,
        ),
        Panel(
            "Written again",
            "Objects sent twice because an attempt got no answer: they cost twice if both were applied.",
            "cps",
            (Query(per_second("possible_duplicates_total"), "objects"),),
            width=12,
        ),
    ),
)

_WHERE_FROM = Row(
    "Where it comes from",
    (
        Panel(
            "Delivered, by topic",
            "Records that became an object of their own.",
            "cps",
            (Query(per_second(_SETTLED, 'outcome="delivered"', by="topic"), "{{topic}}"),),
            width=12,
            is_stacked=True,
        ),
        Panel(
            "Coalesced, by topic",
            "Records that a newer value of the same user carried.",
            "cps",
            (Query(per_second(_SETTLED, 'outcome="coalesced"', by="topic"), "{{topic}}"),),
            width=12,
            is_stacked=True,
        ),
    ),
)

COST = Board(
    "cost", "aiq-braze / Cost", "What is billed at Braze, and what is saved.", (_BILLED, _WHERE_FROM), "now-24h"
)
