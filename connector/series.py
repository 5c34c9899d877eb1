"""The series that exist before their first event.

A counter that appears with its first event shows no rise: the first refusal, the first dead letter would be invisible
to every rate. So whatever has labels from a closed list begins at 0. It is also what "no data" means on a dashboard:
no process, never "nothing of the kind has happened yet".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, get_args

from connector.batching import ClosedBy
from connector.braze import Endpoint
from connector.metrics import Stage
from connector.outcomes import Delivered, Outcome, PartlyRefused
from connector.records import OBJECT_ERRORS, Fate, Kind, Reason, SkipReason
from connector.telemetry import Telemetry

_DECODING: Final = ("undecodable", "trailing_bytes", "bad_framing", "header_framing")
_ANSWERS: Final = ("2xx", "3xx", "4xx", "5xx", "none")
_TROUBLES: Final = ("kafka", "kafka_client", "kafka_lease", "dead_letters", "braze_outage")


def start_series(telemetry: Telemetry, kinds: Mapping[str, Kind], *, has_registry: bool) -> None:
    """Make them, all at 0.

    Args:
        telemetry: Where.
        kinds: The kind of each topic that is read.
        has_registry: Whether there is a schema registry to wait for.
    """
    begin = telemetry.start_at_zero
    records = [(topic, kind) for topic, kind in kinds.items()]
    for name in (
        "records_consumed_total",
        "records_returned_total",
        "records_known_settled_total",
        "records_express_total",
    ):
        begin(name, records)
    begin("records_settled_total", [(*record, fate) for record in records for fate in Fate])
    begin("records_in_flight", records)
    begin("records_dead_lettered_total", [(reason,) for reason in get_args(Reason)])
    begin("records_skipped_total", [(reason,) for reason in get_args(SkipReason)])
    begin("decode_errors_total", [(reason,) for reason in _DECODING])
    begin("tombstones_total", [(topic,) for topic in kinds])
    begin("campaign_repeats_dropped_total", [(topic,) for topic, kind in records if kind is Kind.CAMPAIGN])
    begin("delivery_latency_seconds", [(kind,) for kind in dict.fromkeys(kinds.values())])
    begin("rebalances_total", [("assigned",), ("revoked",), ("lost",)])
    begin("offset_map_ignored_total", [("foreign_or_damaged",), ("truncated",)])
    begin(
        "braze_retries_total",
        [(each.__name__,) for each in get_args(Outcome) if each not in {Delivered, PartlyRefused}],
    )
    begin("batches_closed_total", [(reason,) for reason in get_args(ClosedBy)])
    begin("braze_data_points_total", [(Kind.AUDIENCE,), (Kind.EVENT,)])
    begin("stage_seconds_total", [(stage,) for stage in get_args(Stage)])
    for endpoint in Endpoint:
        begin("braze_requests_total", [(endpoint, answer) for answer in _ANSWERS])
        for name in ("braze_request_duration_seconds", "braze_request_objects"):
            begin(name, [(endpoint,)])
        begin("braze_object_errors_total", [(endpoint, reason) for reason in OBJECT_ERRORS])
        begin("throttled_seconds_total", [(endpoint,)])
        begin("limits_lowered_total", [(endpoint,)])
        begin("halted", [(f"braze:{endpoint}",)])
    begin("halted", [(trouble,) for trouble in _TROUBLES])
    begin("halted", [(f"{trouble}:{topic}",) for topic in kinds for trouble in ("schema", "dead_letter_breaker")])
    if has_registry:
        begin("halted", [("schema_registry",)])
        begin("registry_requests_total", [(answer,) for answer in _ANSWERS])
