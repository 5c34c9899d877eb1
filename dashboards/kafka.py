"""Kafka: how far behind, who owns what, how quiet the group is, and whether commits arrive."""

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
    total,
)

_BEHIND = Row(
    "How far behind?",
    (
        Panel(
            "Lag, by partition",
            "Records between the end of each partition and the lowest one that is not settled. One line far above its"
            " neighbours is a hot key or a partition that stands still.",
            "short",
            (Query(greatest("consumer_lag_records", by="topic, partition"), "{{topic}}[{{partition}}]"),),
            width=12,
        ),
        Panel(
            "Age, by partition",
            "Age of the oldest record without a fate. A partition that is caught up has no line.",
            "s",
            (
                Query(
                    nothing_if_absent(
                        f"max by (topic, partition) (time() - {own('oldest_unsettled_record_timestamp_seconds')})"
                    ),
                    "{{topic}}[{{partition}}]",
                ),
            ),
            width=12,
            thresholds=(Threshold(None, "green"), Threshold(60, "red")),
        ),
        Panel(
            "Before retention reaches us",
            "Records between the beginning of each partition at the broker and our lowest one that is not settled. A"
            " line that falls to 0 is data about to be deleted unread: raise the topic's retention.",
            "short",
            (
                Query(
                    f"min by (topic, partition) ({own('retention_left_records')})",
                    "{{topic}}[{{partition}}]",
                ),
            ),
            width=12,
        ),
        Panel(
            "Since the last commit",
            "Age of each partition's last acknowledged commit. Grows where nothing arrives, too: read it with the lag.",
            "s",
            (
                Query(
                    f"time() - {greatest('last_commit_timestamp_seconds', by='topic, partition')}",
                    "{{topic}}[{{partition}}]",
                ),
            ),
            width=12,
        ),
    ),
)

_GROUP = Row(
    "The group",
    (
        Panel(
            "Rebalances",
            "Changes of the assignment a second. A roll-out makes some; a steady rate is a storm: look for restarts and"
            " for members that exceed max.poll.interval.ms.",
            "ops",
            (Query(per_second("rebalances_total", by="event"), "{{event}}"),),
        ),
        Panel(
            "Partitions, by process",
            "Who owns how many. A process with none is idle: there are more processes than partitions.",
            "none",
            (Query(total("assigned_partitions", by="instance"), "{{instance}}"),),
            is_stacked=True,
        ),
        Panel(
            "Paused partitions",
            "Not being fetched because enough is in flight: backpressure.",
            "none",
            (Query(total("partitions_paused", by="instance"), "{{instance}}"),),
        ),
        Panel(
            "Leases lost",
            "Times that sending stopped because the coordinator had not answered for nearly a session.",
            "ops",
            (Query(per_second("lease_lost_total"), "lost"),),
        ),
        Panel(
            "Commits that failed",
            "Not acknowledged by the coordinator; each is tried again. Some during rebalances are normal.",
            "ops",
            (Query(per_second("commit_failures_total"), "failed"),),
        ),
        Panel(
            "Kafka's word",
            "1 while the brokers or the coordinator do not answer, or the dead-letter topic takes nothing.",
            "none",
            (Query(greatest("halted", 'reason=~"kafka.*|dead_letters"', by="reason"), "{{reason}}"),),
            most=1,
        ),
    ),
)

_HANDOVER = Row(
    "Handing over",
    (
        Panel(
            "Given back and taken over",
            "Returned: left unsettled with their partition, its next owner consumes them again. Known: not taken again,"
            " because the last owner's commit says that they are settled. Late: answers for a partition that had left.",
            "cps",
            (
                Query(per_second("records_returned_total"), "returned"),
                Query(per_second("records_known_settled_total"), "known"),
                Query(per_second("late_settlements_total"), "late"),
            ),
        ),
        Panel(
            "Commit metadata",
            "Ignored: not ours, damaged or from before a truncation, so settled records are done again. Cut: settled"
            " records that did not fit, and would be done again after a crash.",
            "cps",
            (
                Query(per_second("offset_map_ignored_total", by="reason"), "ignored: {{reason}}"),
                Query(per_second("offset_map_cut_total"), "cut"),
            ),
        ),
        Panel(
            "Unreadable",
            "Records whose bytes are no record of their schema, and records without a value.",
            "cps",
            (
                Query(per_second("decode_errors_total", by="reason"), "{{reason}}"),
                Query(per_second("tombstones_total", by="topic"), "tombstones of {{topic}}"),
            ),
        ),
    ),
)

KAFKA = Board(
    "kafka",
    "aiq-braze / Kafka",
    "Lag, retention, rebalances, pauses and commits.",
    (_BEHIND, _GROUP, _HANDOVER),
)
