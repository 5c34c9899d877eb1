"""Braze: rate, errors and duration of the requests, what is left of the quota, and what is refused."""

from dashboards.board import Board, Panel, Query, Row, Threshold, greatest, mean, own, per_second, quantile, total

_LEFT = f"min by (endpoint) ({own('braze_rate_limit_remaining')})"
_LIMIT = greatest("braze_rate_limit_limit", by="endpoint")
_PACE = per_second("braze_requests_total", by="endpoint")
_NOT_ACCEPTED = per_second("braze_requests_total", 'status_class!="2xx"', by="endpoint")

_REQUESTS = Row(
    "Requests",
    (
        Panel(
            "Requests",
            "Attempts a second.",
            "reqps",
            (Query(_PACE, "{{endpoint}}"),),
        ),
        Panel(
            "Not accepted",
            "Share of the attempts that Braze did not answer with 2xx, whatever the reason; each is tried again or"
            " taken apart, none is lost.",
            "percentunit",
            (
                Query(
                    f"{_NOT_ACCEPTED} / ({_PACE} > 0)",
                    "{{endpoint}}",
                ),
            ),
            most=1,
            empty="no requests",
        ),
        Panel(
            "Duration",
            "One attempt, from its start to the whole answer.",
            "s",
            (
                Query(quantile(0.5, "braze_request_duration_seconds", by="endpoint"), "{{endpoint}} p50"),
                Query(quantile(0.99, "braze_request_duration_seconds", by="endpoint"), "{{endpoint}} p99"),
            ),
        ),
        Panel(
            "Answers",
            "By endpoint and class; none: nobody answered.",
            "reqps",
            (Query(per_second("braze_requests_total", by="endpoint, status_class"), "{{endpoint}} {{status_class}}"),),
            is_stacked=True,
        ),
        Panel(
            "In hand",
            "Requests on the wire or waiting to be tried again. Lines that stay at the configured most"
            " (track_requests_max, trigger_requests_max) mean that Braze is slow or refuses.",
            "none",
            (Query(total("inflight_requests", by="endpoint"), "{{endpoint}}"),),
        ),
        Panel(
            "Tried again",
            "Attempts that did not settle their request, by what the answer meant.",
            "reqps",
            (Query(per_second("braze_retries_total", by="reason"), "{{reason}}"),),
            is_stacked=True,
        ),
    ),
)

_QUOTA = Row(
    "Quota",
    (
        Panel(
            "Left of the limit",
            "What Braze last reported as left, over the limit that it is left of; for the whole workspace, others who"
            " write to it included.",
            "percentunit",
            (Query(f"{_LEFT} / {_LIMIT}", "{{endpoint}}"),),
            most=1,
        ),
        Panel(
            "Hours left at this pace",
            "How long what is left would last if nothing were refilled, at the present pace of requests. Compare with"
            " the time to the limit's next reset: an hourly limit with less than an hour left will be used up.",
            "h",
            (Query(f"{_LEFT} / ({_PACE} > 0) / 3600", "{{endpoint}}"),),
            thresholds=(Threshold(None, "red"), Threshold(1, "green")),
            empty="no requests",
        ),
        Panel(
            "Share of the quota, by process",
            "What each process may use: its partitions over all partitions. Together 1; less while a rebalance lasts.",
            "percentunit",
            (Query(total("quota_share_ratio", by="endpoint, instance"), "{{endpoint}} {{instance}}"),),
            is_stacked=True,
        ),
        Panel(
            "Frozen by 429",
            "Share of the time during which an endpoint waited for the limit. Now and then is normal where others write"
            " to the same workspace; all the time means that the configured rate is above the contract.",
            "percentunit",
            (Query(f"avg by (endpoint) (rate({own('throttled_seconds_total')}[$__rate_interval]))", "{{endpoint}}"),),
        ),
        Panel(
            "Objects in a request",
            "Mean of the first attempts, and the limit. Far below the limit with plenty of quota is right: a record"
            " does not wait without need. A limit that fell: Braze said that it was too much, see the log.",
            "none",
            (
                Query(mean("braze_request_objects", by="endpoint"), "{{endpoint}}"),
                Query(f"min by (endpoint) ({own('objects_limit')})", "{{endpoint}} limit"),
                Query(
                    f"sum by (endpoint) (increase({own('limits_lowered_total')}[$__rate_interval]))",
                    "{{endpoint}} times lowered",
                ),
            ),
        ),
        Panel(
            "Why batches left",
            "full: the limit of objects; idle: nothing else to wait for; linger: the longest wait; suspect: travelling"
            " apart after a refusal.",
            "reqps",
            (Query(per_second("batches_closed_total", by="reason"), "{{reason}}"),),
            is_stacked=True,
        ),
    ),
)

_REFUSALS = Row(
    "Refusals",
    (
        Panel(
            "Refused objects",
            "Objects that Braze refused by name or when they stood alone; each is a dead letter.",
            "cps",
            (Query(per_second("braze_object_errors_total", by="endpoint, reason"), "{{endpoint}} {{reason}}"),),
        ),
        Panel(
            "Refusals, by reason",
            "Records that could not be sent or were refused, by reason.",
            "cps",
            (Query(per_second("records_dead_lettered_total", by="reason"), "{{reason}}"),),
            is_stacked=True,
        ),
        Panel(
            "Refused us",
            "1 while Braze refuses the key, the permission or the endpoint. Everything waits, nothing is lost; mend the"
            " key and it goes on by itself.",
            "none",
            (Query(greatest("halted", 'reason=~"braze.*"', by="reason"), "{{reason}}"),),
            most=1,
        ),
        Panel(
            "Parked campaigns",
            "Campaigns that Braze does not send at present (paused, archived, unknown), and the triggers that wait.",
            "short",
            (
                Query(total("parked_campaigns"), "campaigns"),
                Query(total("parked_records"), "triggers"),
            ),
        ),
        Panel(
            "Possible duplicates",
            "Objects that were sent again, or given up on the wire, though Braze may have applied them: attempts"
            " without an answer.",
            "cps",
            (Query(per_second("possible_duplicates_total"), "objects"),),
        ),
        Panel(
            "Triggers that repeat",
            "Dropped because their event_id was sent already.",
            "cps",
            (Query(per_second("campaign_repeats_dropped_total", by="topic"), "{{topic}}"),),
        ),
    ),
)

BRAZE = Board(
    "braze",
    "aiq-braze / Braze",
    "Requests, quota and refusals at Braze.",
    (_REQUESTS, _QUOTA, _REFUSALS),
)
