"""The processes: versions, processor, memory, the loop and the queues."""

from dashboards.board import Board, Panel, Query, Row, Threshold, greatest, own, per_second, quantile, total

_WHAT_RUNS = Row(
    "What runs",
    (
        Panel(
            "Versions",
            "Processes of each version. Two for longer than a roll-out: it is stuck.",
            "none",
            (Query(f"count by (version, revision) ({own('build_info')})", "{{version}} {{revision}}"),),
            shows="number",
            width=6,
            height=6,
        ),
        Panel(
            "Configurations",
            "Different configurations that run. More than one outside of a roll-out: a pod has not taken the new one.",
            "none",
            (Query(f"count(count by (hash) ({own('config_info')}))", "configurations"),),
            shows="number",
            width=6,
            height=6,
            thresholds=(Threshold(None, "green"), Threshold(2, "yellow")),
        ),
        Panel(
            "Youngest process",
            "How long ago the last one began. Always small: something restarts.",
            "s",
            (Query(f"min(time() - {own('process_start_time_seconds')})", "age"),),
            shows="number",
            width=6,
            height=6,
        ),
        Panel(
            "Schemas",
            "Compiled writer schemas.",
            "none",
            (Query(greatest("schema_cache_entries"), "schemas"),),
            shows="number",
            width=6,
            height=6,
        ),
    ),
)

_USE = Row(
    "Use",
    (
        Panel(
            "Processor",
            "Cores in use. One process works on one core; a line near 1 with a growing lag wants more replicas.",
            "none",
            (Query(per_second("process_cpu_seconds_total", by="instance"), "{{instance}}"),),
        ),
        Panel(
            "Memory",
            "Resident. Bounded by buffer.records and buffer.bytes.",
            "bytes",
            (Query(total("process_resident_memory_bytes", by="instance"), "{{instance}}"),),
        ),
        Panel(
            "Open files",
            "Share of the process's limit.",
            "percentunit",
            (Query(f"max by (instance) ({own('process_open_fds')} / {own('process_max_fds')})", "{{instance}}"),),
            most=1,
        ),
        Panel(
            "Where the time goes",
            "Processor seconds a second, by stage. What the cores in use have beyond it is the HTTP client's, the event"
            " loop's and librdkafka's own threads'.",
            "s",
            (Query(per_second("stage_seconds_total", 'stage!~"http|wait_quota"', by="stage"), "{{stage}}"),),
            is_stacked=True,
        ),
        Panel(
            "By the express lane",
            "Share of the records that went from Avro to JSON in one pass. The others (unusual values, or the lane not"
            " compiled or switched off) take the ordinary way, which costs more and comes to the same.",
            "percentunit",
            (
                Query(
                    f"{per_second('records_express_total', by='topic')}"
                    f" / {per_second('records_consumed_total', by='topic')}",
                    "{{topic}}",
                ),
            ),
            most=1,
        ),
        Panel(
            "What is waited for",
            "Seconds a second: http, all requests added up (it grows with how many are on the wire); wait_quota, work"
            " that was ready and that only the quota kept.",
            "s",
            (Query(per_second("stage_seconds_total", 'stage=~"http|wait_quota"', by="stage"), "{{stage}}"),),
        ),
        Panel(
            "Waiting records, by queue",
            "Each queue is bounded; at its bound partitions are paused.",
            "short",
            (
                Query(total("queue_records", by="queue"), "{{queue}}"),
                Query(total("inflight_records"), "in flight, all"),
            ),
        ),
        Panel(
            "In flight, by topic",
            "Consumed and not settled.",
            "short",
            (Query(total("records_in_flight", by="topic"), "{{topic}}"),),
            is_stacked=True,
        ),
    ),
)

_LIVELINESS = Row(
    "Liveliness",
    (
        Panel(
            "Lateness of the loop",
            "How late the event loop's beat comes. Above a second the probes are late, too.",
            "s",
            (
                Query(quantile(0.5, "event_loop_lag_seconds"), "p50"),
                Query(quantile(0.99, "event_loop_lag_seconds"), "p99"),
            ),
        ),
        Panel(
            "Since the last beat",
            "Age of the event loop's last beat and of the Kafka thread's last turn, as scraped. A process that is"
            " frozen is not scraped either.",
            "s",
            (
                Query(f"max(time() - {own('event_loop_beat_timestamp_seconds')})", "loop"),
                Query(f"max(time() - {own('poll_loop_last_tick_timestamp_seconds')})", "Kafka thread"),
            ),
        ),
        Panel(
            "Dead letters not taken",
            "Attempts to write a dead letter that the broker refused. Nothing new is taken in meanwhile.",
            "ops",
            (Query(per_second("dlq_produce_failures_total"), "failed"),),
        ),
    ),
)

PROCESS = Board(
    "process",
    "aiq-braze / Process",
    "Versions, processor, memory, loop and queues.",
    (_WHAT_RUNS, _USE, _LIVELINESS),
)
