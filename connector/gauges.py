"""Brings the gauges up to date, a few times a second: a scrape reads them and never computes anything.

An edge over the pure state; called by the pipeline with its commits.
"""

from __future__ import annotations

from connector.books import Books
from connector.braze import Endpoint
from connector.campaigns import CampaignBatcher
from connector.delivery import Delivery
from connector.ports import Commit, Watermarks
from connector.records import Assignment, Kind, TopicPartition
from connector.telemetry import Telemetry

_OF_A_PARTITION = (
    "oldest_unsettled_record_timestamp_seconds",
    "consumer_lag_records",
    "retention_left_records",
    "committed_offset",
    "last_commit_timestamp_seconds",
    "parked_records",
)


def show_books(telemetry: Telemetry, books: Books) -> None:
    """What is in flight, how old, and whether it all adds up."""
    for topic, kind in books.kinds.items():
        telemetry.gauge("records_in_flight", books.in_flight(topic), topic, kind)
    telemetry.gauge("inflight_records", sum(account.ledger.open_count for account in books.accounts.values()))
    for stay, account in books.accounts.items():
        oldest = account.oldest_ms()
        if oldest is None:  # a gauge of 0 would read as fifty years of delay
            telemetry.forget(_OF_A_PARTITION[0], *_labels(stay.name))
        else:
            telemetry.gauge(_OF_A_PARTITION[0], oldest / 1000, *_labels(stay.name))
    imbalance = books.imbalance()
    telemetry.gauge("audit_imbalance_records", imbalance)
    if imbalance:
        telemetry.change("audit", "fault", "error", "audit_imbalance", records=imbalance)


def show_delivery(telemetry: Telemetry, delivery: Delivery, taken: int, now: float) -> None:
    """What waits and for what; `taken` records are out of Kafka and not translated yet."""
    for channel in delivery.channels:
        endpoint, pool = channel.endpoint, channel.pool
        telemetry.gauge("inflight_requests", channel.in_hand, endpoint)
        telemetry.gauge("objects_limit", objects_limit(delivery, endpoint), endpoint)
        if pool.remaining is not None:
            telemetry.gauge("braze_rate_limit_remaining", pool.remaining, endpoint)
        if pool.limit is not None:
            telemetry.gauge("braze_rate_limit_limit", pool.limit, endpoint)
        telemetry.count("throttled_seconds_total", pool.frozen_s(now), endpoint)
        telemetry.count("stage_seconds_total", channel.quota_wait_s(now), "wait_quota")
    telemetry.gauge("queue_records", delivery.batcher.waiting, "track")
    telemetry.gauge("queue_records", delivery.campaigns.waiting, "trigger")
    telemetry.gauge("queue_records", taken, "taken")
    telemetry.gauge("parked_campaigns", delivery.campaigns.parked_campaigns)


def show_parked(telemetry: Telemetry, books: Books, campaigns: CampaignBatcher) -> None:
    """Where triggers of unavailable campaigns wait: their partitions' oldest records say nothing of us."""
    parked = campaigns.parked_by_stay()
    for stay, account in books.accounts.items():
        if account.kind is Kind.CAMPAIGN:
            telemetry.gauge("parked_records", parked[stay], *_labels(stay.name))


def show_commit(telemetry: Telemetry, commit: Commit, at: float) -> None:
    """An acknowledged commit."""
    telemetry.gauge("committed_offset", commit.next_offset, *_labels(commit.stay.name))
    telemetry.gauge("last_commit_timestamp_seconds", at, *_labels(commit.stay.name))


def show_watermarks(telemetry: Telemetry, books: Books, marks: Watermarks) -> None:
    """How far behind the end each partition is, and how far before its beginning retention will reach it."""
    for stay, (low, high) in marks.low_high.items():
        account = books.accounts.get(stay)
        if account is not None:
            at = account.ledger.committable
            telemetry.gauge("consumer_lag_records", max(0, high - at), *_labels(stay.name))
            telemetry.gauge("retention_left_records", max(0, at - low), *_labels(stay.name))


def forget_partition(telemetry: Telemetry, stay: Assignment) -> None:
    """Its series would go stale and be read as news."""
    for name in _OF_A_PARTITION:
        telemetry.forget(name, *_labels(stay.name))


def objects_limit(delivery: Delivery, endpoint: Endpoint) -> int:
    """Objects that a request may carry at present."""
    return delivery.batcher.limit.objects if endpoint is Endpoint.TRACK else delivery.campaigns.recipients_max


def _labels(name: TopicPartition) -> tuple[str, str]:
    return name.topic, str(name.partition)
