"""Every metric's name, type, labels and meaning, in one table: the reference in the docs is generated from it.

Pure. Units are seconds, bytes, records, objects; labels are closed lists or what the operator named (topics). Users,
keys, audiences and event names are never labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "aiq_braze_"

Stage = Literal["poll", "decode", "map", "pack", "wait_quota", "http", "settle", "commit"]
"""What a record goes through, in order. A closed list: it is a metric's label."""

LATENCY_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0,
)  # fmt: skip
"""60 is the freshness objective; the rest is about equally spaced on a logarithm."""

REQUEST_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
OBJECT_BUCKETS: Final = (1, 2, 5, 10, 20, 30, 40, 50, 60, 74, 75)
LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table; `name` is without the prefix."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_RECORD = ("topic", "kind")
_PARTITION = ("topic", "partition")

TABLE: Final[tuple[Metric, ...]] = (
    # Is it fresh, is it delivered?
    Metric("records_consumed_total", "counter", "Records taken from Kafka to be settled.", _RECORD),
    Metric(
        "records_settled_total",
        "counter",
        "Records with a fate: delivered, coalesced into a delivered one, dead-lettered, skipped by a rule.",
        (*_RECORD, "outcome"),
    ),
    Metric(
        "records_returned_total",
        "counter",
        "Records that left unsettled with their partition; its next owner consumes them again.",
        _RECORD,
    ),
    Metric(
        "records_express_total",
        "counter",
        "Records that went by the express lane; the others of consumed were decoded and mapped the ordinary way.",
        _RECORD,
    ),
    Metric("records_in_flight", "gauge", "Records consumed and not settled yet.", _RECORD),
    Metric("inflight_records", "gauge", "The same over all topics."),
    Metric(
        "audit_imbalance_records",
        "gauge",
        "Consumed less settled, returned and in flight. Anything but 0 is a fault of the connector.",
    ),
    Metric("records_skipped_total", "counter", "Records settled by a rule without being sent.", ("reason",)),
    Metric("records_dead_lettered_total", "counter", "Records written to the dead-letter topic.", ("reason",)),
    Metric(
        "records_known_settled_total",
        "counter",
        "Records not taken again: an earlier life had settled them, says the commit's metadata.",
        _RECORD,
    ),
    Metric("tombstones_total", "counter", "Records without a value, skipped.", ("topic",)),
    Metric("decode_errors_total", "counter", "Records whose bytes are no record of their schema.", ("reason",)),
    Metric(
        "delivery_latency_seconds",
        "histogram",
        "From the record's timestamp in Kafka to Braze's acceptance.",
        ("kind",),
        LATENCY_BUCKETS,
    ),
    Metric(
        "oldest_unsettled_record_timestamp_seconds",
        "gauge",
        "Timestamp of the oldest record that is not settled; absent when there is none. Age is time() less this.",
        _PARTITION,
    ),
    # Kafka
    Metric("consumer_lag_records", "gauge", "High watermark less the lowest unsettled offset.", _PARTITION),
    Metric("committed_offset", "gauge", "Last offset whose commit was acknowledged.", _PARTITION),
    Metric("last_commit_timestamp_seconds", "gauge", "When that was.", _PARTITION),
    Metric(
        "retention_left_records",
        "gauge",
        "From the broker's low watermark to our lowest unsettled offset: at 0 retention deletes unread data.",
        _PARTITION,
    ),
    Metric("rebalances_total", "counter", "Changes of the assignment.", ("event",)),
    Metric("assigned_partitions", "gauge", "Partitions that this process owns."),
    Metric("partitions_paused", "gauge", "Of these, not being fetched because enough is buffered."),
    Metric(
        "commit_failures_total", "counter", "Commits that the coordinator did not acknowledge; each is tried again."
    ),
    Metric("offset_map_ignored_total", "counter", "Commit metadata that was not ours, or damaged.", ("reason",)),
    Metric("offset_map_cut_total", "counter", "Settled offsets that did not fit into the commit's metadata."),
    Metric(
        "late_settlements_total",
        "counter",
        "Answers for records of a partition that had left meanwhile; they settle nothing here.",
    ),
    Metric(
        "lease_lost_total", "counter", "Times that sending stopped because the coordinator had not answered for long."
    ),
    # Braze
    Metric("braze_requests_total", "counter", "Attempts, by what answered.", ("endpoint", "status_class")),
    Metric(
        "braze_request_duration_seconds",
        "histogram",
        "One attempt, from start to the whole answer.",
        ("endpoint",),
        REQUEST_BUCKETS,
    ),
    Metric(
        "braze_request_objects",
        "histogram",
        "Objects in a request at its first attempt.",
        ("endpoint",),
        OBJECT_BUCKETS,
    ),
    Metric("braze_retries_total", "counter", "Attempts that did not settle their request, by outcome.", ("reason",)),
    Metric("braze_object_errors_total", "counter", "Objects that Braze refused.", ("endpoint", "reason")),
    Metric(
        "braze_data_points_total",
        "counter",
        "Data points that Braze bills for what it accepted, by its published rules: one an attribute, one an event.",
        ("kind",),
    ),
    Metric(
        "braze_rate_limit_remaining",
        "gauge",
        "What Braze last reported as left, for the whole workspace.",
        ("endpoint",),
    ),
    Metric("braze_rate_limit_limit", "gauge", "The limit that this is left of.", ("endpoint",)),
    Metric("quota_share_ratio", "gauge", "Share of the quota that this process may use.", ("endpoint",)),
    Metric("throttled_seconds_total", "counter", "Time during which a 429 kept an endpoint frozen.", ("endpoint",)),
    Metric(
        "objects_limit",
        "gauge",
        "Objects a request may carry; falls when Braze says that it is too many.",
        ("endpoint",),
    ),
    Metric(
        "limits_lowered_total",
        "counter",
        "Times that Braze took less in a request than was sent, and the limit of objects or bytes fell for good.",
        ("endpoint",),
    ),
    Metric("batches_closed_total", "counter", "Why batches left.", ("reason",)),
    Metric(
        "possible_duplicates_total",
        "counter",
        "Objects sent again, or given up on the wire, that Braze may have applied.",
    ),
    Metric(
        "campaign_repeats_dropped_total",
        "counter",
        "Triggers skipped because their event_id was sent already.",
        ("topic",),
    ),
    Metric("parked_campaigns", "gauge", "Campaigns that Braze does not send at present."),
    Metric("parked_records", "gauge", "Triggers that wait for them.", _PARTITION),
    # Inside
    Metric("inflight_requests", "gauge", "Requests in hand: on the wire or waiting to be tried again.", ("endpoint",)),
    Metric("queue_records", "gauge", "Records waiting, by queue; each queue is bounded.", ("queue",)),
    Metric("queue_bound_records", "gauge", "The bound of each queue.", ("queue",)),
    Metric("halted", "gauge", "1 while something outside keeps us from going on.", ("reason",)),
    Metric("schema_cache_entries", "gauge", "Writer schemas that are compiled."),
    Metric("registry_requests_total", "counter", "Requests to the schema registry.", ("status_class",)),
    Metric("dlq_produce_failures_total", "counter", "Dead letters that the broker did not take; each is tried again."),
    Metric(
        "stage_seconds_total",
        "counter",
        "Time by stage. Processor time: poll and commit (the Kafka thread's; commit also what the loop writes for it),"
        " decode, map, pack (into batches and bodies), settle (the books, before and after). Time passed: http (from"
        " each request's start to its answer, all added up), wait_quota (an endpoint's work was ready and only the"
        " quota kept it). The rest of process_cpu_seconds_total: HTTP client, event loop, librdkafka's own threads.",
        ("stage",),
    ),
    Metric("event_loop_lag_seconds", "histogram", "How late the event loop's beat came.", (), LAG_BUCKETS),
    Metric("event_loop_beat_timestamp_seconds", "gauge", "The event loop's last beat."),
    Metric("poll_loop_last_tick_timestamp_seconds", "gauge", "The Kafka thread's last turn."),
    Metric("build_info", "gauge", "1, labelled with the version.", ("version", "revision")),
    Metric("config_info", "gauge", "1, labelled with a hash of the configuration without its secrets.", ("hash",)),
)
