"""One OpenTelemetry span a request to Braze, with links to the traces in which its records were produced.

An edge, and optional: it exists only where `tracing` is configured, and only then is OpenTelemetry imported at all. A
span tells the endpoint, counts, the status and our word for the outcome; never a user, a key, a payload or an address
(promise P9). Of a record nothing is taken but its `traceparent` header, which holds two random numbers.

What is sampled out costs one decision: headers are looked at only for spans that are kept.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Iterable
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from connector import __version__
from connector.outcomes import Attempt, Delivered, Outcome, Reply
from connector.records import KafkaRecord, headers_of
from connector.request import Request
from connector.telemetry import Telemetry

LINKS_MAX: Final = 256
"""Of one span. A request may carry thousands of coalesced records; collectors drop spans that are too large."""

_EXPORT_S: Final = 5.0
"""A collector that does not answer is given up after this, also when the process leaves."""

_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
"""W3C Trace Context; a later version than 00 may say more after it."""

_LOGGERS: Final = ("opentelemetry", "urllib3")


def origin_of(record: KafkaRecord) -> SpanContext | None:
    """The span in which a record was produced; None if its headers name none, or what they name is none."""
    value: bytes | str | None = next((each for name, each in headers_of(record) if name == "traceparent"), None)
    if isinstance(value, str):
        value = value.encode()
    found = _TRACEPARENT.fullmatch(value or b"")
    if found is None or found[1] == b"ff" or (found[1] == b"00" and found[5]):
        return None
    origin = SpanContext(
        int(found[2], 16), int(found[3], 16), is_remote=True, trace_flags=TraceFlags(int(found[4], 16))
    )
    return origin if origin.is_valid else None


class Tracing:
    """The spans of one process.

    Args:
        exporter: Where they go.
        sample: Share of the requests that is kept.
        telemetry: Told when spans cannot be exported.
    """

    def __init__(self, exporter: SpanExporter, sample: float, telemetry: Telemetry) -> None:
        self._provider = TracerProvider(
            sampler=TraceIdRatioBased(sample),
            resource=Resource.create({"service.name": "aiq-braze", "service.version": __version__}),
            span_limits=SpanLimits(max_links=LINKS_MAX),
            shutdown_on_exit=False,  # `close` does it, and does not wait for ever
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("aiq-braze", __version__)
        self._teller = _Teller(telemetry)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._teller)
            logging.getLogger(name).propagate = False

    def begin(self, request: Request) -> RequestSpan:
        """A request is about to be sent (again)."""
        span = self._tracer.start_span(f"POST {request.endpoint}", kind=SpanKind.CLIENT)
        if span.is_recording():
            records = request.records
            span.set_attributes(
                {
                    "http.request.method": "POST",
                    "url.path": str(request.endpoint),
                    "http.request.resend_count": request.attempts,
                    "messaging.system": "kafka",
                    "messaging.batch.message_count": len(records),
                    "aiq_braze.objects": len(request.load),
                }
            )
            for origin in _origins(record.record for record in records):
                span.add_link(origin)
        return RequestSpan(span)

    async def close(self) -> None:
        """Export what is left; a collector that does not answer is not waited for."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _EXPORT_S)
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._teller)


class RequestSpan:
    """One attempt, until its answer is understood."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def end(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """The answer, and what it means."""
        span = self._span
        if span.is_recording():
            if isinstance(attempt, Reply):
                span.set_attribute("http.response.status_code", attempt.status)
            if not isinstance(outcome, Delivered):
                span.set_attribute("error.type", type(outcome).__name__)
                span.set_status(Status(StatusCode.ERROR))
        span.end()


class _Teller(logging.Handler):
    """OpenTelemetry's own complaints, once a change, in our words: theirs hold addresses."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__(logging.WARNING)
        self._telemetry = telemetry

    def emit(self, _record: logging.LogRecord) -> None:
        detail = "spans are lost, nothing else: check tracing.endpoint and the collector"
        self._telemetry.change("tracing", "failing", "warning", "spans_not_exported", detail=detail)


def otlp(endpoint: str, sample: float, telemetry: Telemetry) -> Tracing:
    """Spans to a collector that speaks OTLP over HTTP; `OTEL_EXPORTER_OTLP_HEADERS` and its kin are honoured."""
    return Tracing(OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_S), sample, telemetry)


def _origins(records: Iterable[KafkaRecord]) -> Iterable[SpanContext]:
    """Each once: a producer that writes many records in one span is one link."""
    seen: dict[tuple[int, int], SpanContext] = {}
    for record in records:
        origin = origin_of(record)
        if origin is not None:
            seen.setdefault((origin.trace_id, origin.span_id), origin)
            if len(seen) == LINKS_MAX:
                break
    return seen.values()
