"""The small HTTP server beside the pipeline: probes, metrics, status page.

An edge. Probes say what a restart or a roll-out could mend and nothing else: an outage of Kafka's or Braze's does not
make a process unhealthy, a blocked loop or a dead Kafka thread does.
"""

from __future__ import annotations

import asyncio
import html
import logging
import time
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.exposition import choose_encoder

from connector import __version__
from connector.pipeline import Pipeline
from connector.records import Fate
from connector.source import KafkaSource
from connector.telemetry import Telemetry

_STALL_S: Final = 60.0
"""The Kafka thread may be away so long: the longest legal stall is a revoke with its deadline and two calls of 10 s."""

_BEAT_S: Final = 0.5


class HealthServer:
    """`/livez`, `/readyz`, `/metrics`, `/status` and, for people, `/`.

    Args:
        pipeline: Whose health it is.
        source: Its Kafka thread.
        host: Address to listen on.
        port: 0: any free one.
    """

    def __init__(self, pipeline: Pipeline, source: KafkaSource, host: str, port: int) -> None:
        self._pipeline = pipeline
        self._source = source
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._beat: asyncio.Task[None] | None = None
        self._beat_at = time.monotonic()
        self._opened_at = time.monotonic()  # until the Kafka thread's first turn: it may be stuck before it, too

    async def open(self) -> int:
        """Listen; returns the port."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._status),
                web.get("/", self._page),
            ]
        )
        logger = logging.Logger("health")  # noqa: LOG001  # not by getLogger: that would be global
        logger.addHandler(_Teller(self._pipeline.telemetry))
        self._runner = web.AppRunner(app, access_log=None, logger=logger, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True)
        await site.start()
        self._beat = asyncio.create_task(self._keep_time())
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        """Stop listening."""
        if self._beat is not None:
            self._beat.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _keep_time(self) -> None:
        """Measure how late the loop calls us back: that is what every record waits, too."""
        telemetry = self._pipeline.telemetry
        while True:
            before = time.monotonic()
            await asyncio.sleep(_BEAT_S)
            self._beat_at = time.monotonic()
            telemetry.observe("event_loop_lag_seconds", (max(0.0, self._beat_at - before - _BEAT_S),))
            at = time.time()
            ticked_at = at - self._beat_at + self._source.ticked_at if self._source.ticked_at else 0.0
            telemetry.gauge("event_loop_beat_timestamp_seconds", at)
            telemetry.gauge("poll_loop_last_tick_timestamp_seconds", ticked_at)
            telemetry.gauge("partitions_paused", self._source.paused)

    def liveness(self) -> str | None:
        """None, or why a restart would help."""
        stalled_s = time.monotonic() - (self._source.ticked_at or self._opened_at)
        if stalled_s > _STALL_S:
            return f"the Kafka thread has not turned for {stalled_s:.0f} s"
        return None

    def readiness(self) -> list[str]:
        """Empty, or why a roll-out should wait."""
        reasons = [
            f"{trouble.reason}: {trouble.detail}"
            for trouble in self._pipeline.troubles.present.values()
            if trouble.halts
        ]
        if self._pipeline.is_stopping:
            reasons.append("draining")
        if not self._source.has_joined:
            reasons.append("has not joined the group yet")
        return reasons

    async def _livez(self, _request: web.Request) -> web.Response:
        reason = self.liveness()
        return web.json_response({"live": reason is None, "reason": reason}, status=503 if reason else 200)

    async def _readyz(self, _request: web.Request) -> web.Response:
        reasons = self.readiness()
        waits = [f"{reason}: {detail}" for reason, detail in self._pipeline.waits().items()]
        body = {"ready": not reasons, "reasons": reasons, "waiting_for": waits}
        return web.json_response(body, status=503 if reasons else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        try:
            encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        except (TypeError, ValueError):  # the library's own, of a version that is no number
            encode, content_type = choose_encoder("")
        return web.Response(body=encode(self._pipeline.telemetry.registry), headers={"Content-Type": content_type})

    def status(self) -> dict[str, object]:
        """What the page shows, as JSON: counts, troubles, quota; nothing of any record."""
        pipeline = self._pipeline
        books = pipeline.books
        return {
            "version": __version__,
            "ready": not self.readiness(),
            "stopping": pipeline.is_stopping,
            "troubles": {each.reason: each.detail for each in pipeline.troubles.present.values()} | pipeline.waits(),
            "assigned": sorted(str(stay) for stay in books.accounts),
            "paused": self._source.paused,
            "topics": {
                topic: {
                    "consumed": tally.consumed,
                    **{fate.value: tally.settled[fate] for fate in Fate},
                    "returned": tally.returned,
                    "in_flight": books.in_flight(topic),
                }
                for topic, tally in books.tallies.items()
            },
            "imbalance": books.imbalance(),
            "quota": {
                channel.endpoint.value: {
                    "share": channel.pool.share,
                    "remaining": channel.pool.remaining,
                    "in_hand": channel.in_hand,
                }
                for channel in pipeline.delivery.channels
            },
            "waiting": {"track": repr(pipeline.delivery.batcher), "trigger": repr(pipeline.delivery.campaigns)},
        }

    async def _status(self, _request: web.Request) -> web.Response:
        return web.json_response(self.status())

    async def _page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_page(self.status(), self.readiness()), content_type="text/html")


class _Teller(logging.Handler):
    """aiohttp's complaints in our words: its own quote what somebody sent, over many lines."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return  # somebody went before his answer came
        level = "debug" if isinstance(error, HttpProcessingError) else "error"  # theirs, or ours
        self._telemetry.log(level, "http_request_failed", detail=type(error).__name__)


def _page(status: dict[str, object], unready: list[str]) -> str:
    """One page for the person on call: is it ready, what is wrong, where are the records."""
    topics = status["topics"]
    columns = ("consumed", *(fate.value for fate in Fate), "returned", "in_flight")
    rows = ""
    if isinstance(topics, dict):
        for topic, counts in topics.items():
            cells = "".join(f"<td>{counts[column]:,}</td>" for column in columns)
            rows += f"<tr><th scope=row>{html.escape(topic)}</th>{cells}</tr>"
    troubles = status["troubles"]
    wrong = ""
    if isinstance(troubles, dict):
        wrong = "".join(
            f"<li><b>{html.escape(reason)}</b> {html.escape(detail)}</li>" for reason, detail in troubles.items()
        )
    state = "ready" if not unready else "not ready: " + "; ".join(html.escape(reason) for reason in unready)
    heads = "".join(f"<th scope=col>{column.replace('_', ' ')}</th>" for column in columns)
    return f"""<!doctype html>
<html lang=en><head><meta charset=utf-8><meta http-equiv=refresh content=5><title>aiq-braze</title><style>
body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24;background:#fff}}
h1{{font-size:1.4rem}} .ok{{color:#116329}} .bad{{color:#a40e26}}
table{{border-collapse:collapse;width:100%}}
th,td{{padding:.35rem .6rem;border-bottom:1px solid #d0d7de;text-align:right}}
th[scope=row],th:first-child{{text-align:left}} td{{font-variant-numeric:tabular-nums}}
@media (prefers-color-scheme:dark){{
body{{background:#0d1117;color:#e6edf3}} .ok{{color:#56d364}} .bad{{color:#ff7b72}} a{{color:#79c0ff}}}}
</style></head><body><main>
<h1>ActionIQ → Braze <small>{html.escape(str(status["version"]))}</small></h1>
<p class={"ok" if not unready else "bad"}>{state}</p>
{f"<h2>Waiting for</h2><ul>{wrong}</ul>" if wrong else ""}
<h2>Records</h2>
<table><thead><tr><th scope=col>topic</th>{heads}</tr></thead><tbody>{rows}</tbody></table>
<p>Balance: {"<span class=ok>0</span>" if not status["imbalance"] else f"<span class=bad>{status['imbalance']}</span>"}
(consumed less settled, returned and in flight). <a href=/metrics>metrics</a> · <a href=/status>as JSON</a></p>
</main></body></html>
"""
