"""Traces: one span a request, linked to where its records were produced; quiet, optional, and no cost when off."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from connector.app import Connector
from connector.configuration import ConfigurationInvalid
from connector.outcomes import Delivered, NoReply, Unreachable
from connector.records import Kind
from connector.settings import Settings
from connector.telemetry import Telemetry
from connector.tracing import LINKS_MAX, Tracing, origin_of
from tests.delivery_stage import ACCEPTED, UNAVAILABLE
from tests.delivery_stage import Stage as Sending
from tests.real.brokers import InProcessBroker
from tests.real.children import Children, free_port, until
from tests.real.stage import API_KEY, Stage
from tests.sent_objects import AUDIENCES, Consumed, attributes, event

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


class Produced(Consumed):
    """A record with headers."""

    def __init__(self, *headers: tuple[str, bytes | None]) -> None:
        super().__init__(AUDIENCES, 0)
        self._headers = list(headers)

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers


def traced(value: bytes | None) -> Any:
    return origin_of(Produced(("other", b"x"), ("traceparent", value)))


# ---- where a record was produced ------------------------------------------------------------------------------------


def test_the_traceparent_names_the_span_in_which_a_record_was_produced() -> None:
    origin = traced(f"00-{TRACE}-{SPAN}-01".encode())

    assert f"{origin.trace_id:032x}" == TRACE
    assert f"{origin.span_id:016x}" == SPAN
    assert origin.is_remote


def test_a_later_version_may_say_more_and_this_one_may_not() -> None:
    assert traced(f"01-{TRACE}-{SPAN}-01-more".encode()) is not None
    assert traced(f"00-{TRACE}-{SPAN}-01-more".encode()) is None
    assert traced(f"ff-{TRACE}-{SPAN}-01".encode()) is None


@pytest.mark.parametrize(
    "value",
    [
        None, b"", b"00", f"00-{TRACE}-{SPAN}".encode(), f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(), f"00-{TRACE.upper()}-{SPAN}-01".encode(), b"\xff" * 55,
    ],
)  # fmt: skip
def test_what_names_no_span_is_no_origin(value: bytes | None) -> None:
    assert traced(value) is None


@given(st.binary(max_size=80))
def test_no_header_whatever_is_in_it_does_any_harm(value: bytes) -> None:
    origin = traced(value)

    assert origin is None or origin.is_valid


def test_a_record_without_headers_has_no_origin() -> None:
    assert origin_of(Consumed(AUDIENCES, 0)) is None


# ---- one span a request ---------------------------------------------------------------------------------------------


class Traced:
    """A tracing whose spans can be read, and requests to trace."""

    def __init__(self, sample: float = 1.0) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracing = Tracing(self.exporter, sample, Telemetry(output=None))
        self.sending = Sending()

    def spans(self) -> Any:
        self.tracing._provider.force_flush()
        return self.exporter.get_finished_spans()


def parent(number: int) -> tuple[str, bytes]:
    return "traceparent", f"00-{TRACE}-{number:016x}-01".encode()


def test_an_attempt_is_a_span_with_a_link_to_each_origin_and_a_retry_is_another() -> None:
    traced = Traced()
    records = [attributes("u", 0), attributes("u", 1), attributes("v", 2), attributes("w", 3)]
    for record, number in zip(records, (1, 2, 2, None), strict=True):  # the last one has none
        record.record = Produced(*([parent(number)] if number else []))
    traced.sending.delivery.batcher.add_attributes(records, traced.sending.now)
    request = traced.sending.sent()

    first = traced.tracing.begin(request)
    done = traced.sending.answer(request, UNAVAILABLE)
    first.end(UNAVAILABLE, done.outcome)
    second = traced.tracing.begin(request)
    second.end(ACCEPTED, Delivered())

    failed, accepted = traced.spans()
    assert [f"{link.context.span_id:x}" for link in failed.links] == ["1", "2"]
    assert failed.name == "POST /users/track"
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.attributes["error.type"] == "Unreachable"
    assert failed.attributes["http.response.status_code"] == 503
    assert (failed.attributes["messaging.batch.message_count"], failed.attributes["aiq_braze.objects"]) == (4, 3)
    assert failed.attributes["http.request.resend_count"] == 0
    assert accepted.attributes["http.request.resend_count"] == 1
    assert accepted.status.status_code is StatusCode.UNSET
    assert "error.type" not in accepted.attributes


def test_an_attempt_without_an_answer_has_no_status() -> None:
    traced = Traced()
    traced.sending.delivery.batcher.add_events([event("u", 0)], traced.sending.now)

    traced.tracing.begin(traced.sending.sent()).end(NoReply(sent=False, cause="no connection"), Unreachable("x"))

    (span,) = traced.spans()
    assert "http.response.status_code" not in span.attributes
    assert span.attributes["error.type"] == "Unreachable"


def test_a_request_of_many_records_has_so_many_links_and_no_more() -> None:
    traced = Traced()
    records = [attributes("u", number) for number in range(LINKS_MAX + 50)]
    for number, record in enumerate(records):
        record.record = Produced(parent(number + 1))
    traced.sending.delivery.batcher.add_attributes(records, traced.sending.now)

    traced.tracing.begin(traced.sending.sent()).end(ACCEPTED, Delivered())

    (span,) = traced.spans()
    assert len(span.links) == LINKS_MAX


def test_of_a_request_that_is_sampled_out_no_header_is_read() -> None:
    class Untouchable(Consumed):
        def headers(self) -> Any:
            raise AssertionError("was read")

    traced = Traced(sample=1e-300)
    record = attributes("u", 0)
    record.record = Untouchable(AUDIENCES, 0)
    traced.sending.delivery.batcher.add_attributes([record], traced.sending.now)

    traced.tracing.begin(traced.sending.sent()).end(ACCEPTED, Delivered())

    assert traced.spans() == ()


# ---- optional -------------------------------------------------------------------------------------------------------


def settings(**more: Any) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
            "topics": {"events": {"kind": "event"}},
            "braze": {"endpoint": "http://127.0.0.1:1", "api_key": API_KEY},
            **more,
        }
    )


def test_off_is_the_default_and_nothing_of_it_is_loaded() -> None:
    code = """
import sys
from connector.app import Connector
from connector.cli import app
from connector.settings import Settings
from connector.telemetry import Telemetry
Connector(Settings.model_validate({
    "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
    "topics": {"events": {"kind": "event"}},
    "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
}), Telemetry(output=None))
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout == "[]\n"


def test_without_the_extra_it_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "connector.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(ConfigurationInvalid, match=r"tracing: .*aiq-braze\[tracing\]"):
        Connector(settings(tracing={"endpoint": "http://127.0.0.1:1"}), Telemetry(output=None))


async def test_a_collector_that_is_not_there_is_told_once_and_waited_for_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("connector.tracing._EXPORT_S", 0.5)
    log = io.StringIO()
    connector = Connector(
        settings(tracing={"endpoint": f"http://127.0.0.1:{free_port()}/v1/traces", "sample": 1}), Telemetry(output=log)
    )
    tracing = connector._tracing
    assert tracing is not None
    sending = Sending()
    for number in range(3):
        sending.delivery.batcher.add_events([event(f"planted-user-{number}", number)], sending.now)
        tracing.begin(sending.sent()).end(ACCEPTED, Delivered())
        tracing._provider.force_flush(100)

    await tracing.close()

    events = [json.loads(line)["event"] for line in log.getvalue().splitlines()]
    assert events == ["spans_not_exported"]


# ---- all together ---------------------------------------------------------------------------------------------------


class Collector:
    """What a collector of OpenTelemetry's is to an exporter: a POST that it says 200 to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                bodies.append(body if self.headers.get("Content-Encoding") is None else b"compressed")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def spans(self) -> list[Any]:
        sent = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for each in sent
            for resource in each.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_a_running_connector_sends_a_span_a_request_and_nothing_that_tells_of_anybody(
    collector: Collector, in_process_broker: InProcessBroker, children: Children, tmp_path: Path
) -> None:
    stage = Stage(in_process_broker, children, tmp_path, tmp_path.name)
    try:
        stage.make_topics()
        replica = stage.replica(tracing={"endpoint": collector.url, "sample": 1})
        records = [made for made in stage.made(60, [Kind.EVENT]) if made.expected == "delivered"]
        for number, made in enumerate(records, 1):
            stage.write_raw(stage.topics[Kind.EVENT], made.value or b"", headers=[parent(number)])

        def delivered() -> bool:
            return replica.total("delivered") == len(records)

        until("all are delivered", delivered)
        replica.leave()

        spans = collector.spans()
        assert len(spans) == sum(stage.braze.state()["requests"]["/users/track"].values())
        linked = {link.span_id.hex() for span in spans for link in span.links}
        assert linked == {f"{number:016x}" for number in range(1, len(records) + 1)}
        told = b"".join(collector.bodies)
        for secret in (API_KEY.encode(), b"demo-user", b"Viewed", stage.braze.url.removeprefix("http://").encode()):
            assert secret not in told
    finally:
        stage.close()
