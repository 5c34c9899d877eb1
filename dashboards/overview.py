"""The first page: fresh, delivering, and if not, why. Ten seconds, from the top left."""

from dashboards.board import (
    Board,
    Panel,
    Query,
    Row,
    Threshold,
    greatest,
    nothing_if_absent,
    own,
    per_second,
    quantile,
    total,
)

_AGE = f"time() - {own('oldest_unsettled_record_timestamp_seconds')}"
_IN_TIME = per_second("delivery_latency_seconds_bucket", 'le="60.0"')
_DELIVERED = per_second("delivery_latency_seconds_count")

_IS_IT_FRESH = Row(
    "Is it fresh?",
    (
        Panel(
            "Oldest record that waits",
            "Age of the oldest record that has no fate yet, over all partitions. 0: caught up. Red: an hour behind.",
            "s",
            (Query(nothing_if_absent(f"max({_AGE})"), "oldest"),),
            shows="number",
            width=4,
            height=6,
            thresholds=(Threshold(None, "green"), Threshold(60, "yellow"), Threshold(3600, "red")),
        ),
        Panel(
            "Within 60 s",
            "Share of the records delivered now that took no longer than 60 s from Kafka to Braze's acceptance; the"
            " objective is 99 %. A pipeline that stands still delivers nothing and has no share: look at the oldest"
            " record beside it.",
            "percentunit",
            (Query(f"{_IN_TIME} / ({_DELIVERED} > 0)", "fresh"),),
            shows="number",
            width=4,
            height=6,
            thresholds=(Threshold(None, "red"), Threshold(0.9, "yellow"), Threshold(0.99, "green")),
            empty="nothing delivered",
        ),
        Panel(
            "Halted by",
            "Troubles that are present. More than 0 means that something outside has to be mended or waited for; which"
            " one is shown below, what to do by /readyz and the log.",
            "none",
            (Query(total("halted"), "troubles"),),
            shows="number",
            width=4,
            height=6,
            thresholds=(Threshold(None, "green"), Threshold(1, "red")),
        ),
        Panel(
            "Processes",
            "Connectors that are scraped.",
            "none",
            (Query(f"count({own('build_info')})", "processes"),),
            shows="number",
            width=4,
            height=6,
        ),
        Panel(
            "Books",
            "Consumed less settled, returned and in flight. Anything but 0 is a fault of the connector: keep the pod's"
            " log and report it.",
            "none",
            (Query(f"max(abs({own('audit_imbalance_records')}))", "imbalance"),),
            shows="number",
            width=4,
            height=6,
            thresholds=(Threshold(None, "green"), Threshold(1, "red")),
        ),
        Panel(
            "Dead letters a second",
            "Records written to the dead-letter topic. Each carries its reason in the header aiq.dlq.reason.",
            "cps",
            (Query(per_second("records_dead_lettered_total"), "dead letters"),),
            shows="number",
            width=4,
            height=6,
            thresholds=(Threshold(None, "green"), Threshold(0.000001, "yellow")),
        ),
        Panel(
            "Age of the oldest record, by topic",
            "What the stat above was over time. A line that rises by a second a second is a topic that stands still.",
            "s",
            (Query(nothing_if_absent(f"max by (topic) ({_AGE})"), "{{topic}}"),),
            width=12,
            thresholds=(Threshold(None, "green"), Threshold(60, "red")),
        ),
        Panel(
            "Latency from Kafka to Braze",
            "From a record's timestamp to Braze's acceptance. 60 s is the objective.",
            "s",
            (
                Query(quantile(0.5, "delivery_latency_seconds", by="kind"), "{{kind}} p50"),
                Query(quantile(0.99, "delivery_latency_seconds", by="kind"), "{{kind}} p99"),
            ),
            width=12,
            thresholds=(Threshold(None, "green"), Threshold(60, "red")),
        ),
    ),
)

_IS_IT_DELIVERING = Row(
    "Is it delivering?",
    (
        Panel(
            "Consumed",
            "Records taken from Kafka.",
            "cps",
            (Query(per_second("records_consumed_total", by="topic"), "{{topic}}"),),
            is_stacked=True,
        ),
        Panel(
            "Ends of records",
            "Every record ends in one of these ways; together they follow what is consumed. Coalesced: carried by a"
            " newer value of the same user.",
            "cps",
            (Query(per_second("records_settled_total", by="outcome"), "{{outcome}}"),),
            is_stacked=True,
        ),
        Panel(
            "Behind the end of the topic",
            "Records between the end of each topic and the lowest one that is not settled.",
            "short",
            (Query(total("consumer_lag_records", by="topic"), "{{topic}}"),),
        ),
    ),
)

_IF_NOT_WHY = Row(
    "If not, why?",
    (
        Panel(
            "What is waited for",
            "1 while a trouble is present. braze:...: Braze refuses us (key, permission); braze_outage: it does not"
            " answer; kafka_lease: the coordinator does not answer; dead_letters: the dead-letter topic takes nothing;"
            " schema:...: a schema is missing; dead_letter_breaker:...: too much of a topic is bad.",
            "none",
            (Query(greatest("halted", by="reason"), "{{reason}}"),),
            most=1,
        ),
        Panel(
            "Braze's answers",
            "Attempts by the class of the answer; none: nobody answered. Mostly 4xx: the key, the limit or the records;"
            " 5xx and none: Braze or the way there.",
            "reqps",
            (Query(per_second("braze_requests_total", by="status_class"), "{{status_class}}"),),
            is_stacked=True,
        ),
        Panel(
            "Frozen by 429",
            "Share of the time during which an endpoint waited because Braze said that the limit is used up.",
            "percentunit",
            (
                Query(
                    f"avg by (endpoint) (rate({own('throttled_seconds_total')}[$__rate_interval]))",
                    "{{endpoint}}",
                ),
            ),
        ),
        Panel(
            "Dead letters, by reason",
            "Why records could not be delivered. A step after a roll-out of the producer is a changed schema.",
            "cps",
            (Query(per_second("records_dead_lettered_total", by="reason"), "{{reason}}"),),
            is_stacked=True,
        ),
        Panel(
            "Skipped, by rule",
            "Settled without being sent, by a rule that was chosen in the configuration.",
            "cps",
            (Query(per_second("records_skipped_total", by="reason"), "{{reason}}"),),
            is_stacked=True,
        ),
        Panel(
            "In flight against its bound",
            "Records that wait, by queue, as a share of the queue's bound. At 1 partitions are paused: that is"
            " backpressure and no fault, Braze or the quota is slower than the topic.",
            "percentunit",
            (
                Query(
                    f"max by (queue) ({own('queue_records')} / {own('queue_bound_records')})",
                    "{{queue}}",
                ),
            ),
            most=1,
        ),
    ),
)

OVERVIEW = Board(
    "overview",
    "aiq-braze / Overview",
    "Is it fresh? Is it delivering? If not, why?",
    (_IS_IT_FRESH, _IS_IT_DELIVERING, _IF_NOT_WHY),
)
