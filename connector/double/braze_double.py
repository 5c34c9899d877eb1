"""The double itself: every request goes through one door, in Braze's order of judgement.

Pure: no I/O, no clock, no chance of its own. Whoever hosts it calls `request` for each request and `advance` when
`next_due` has come; time must not run backwards, and all calls come from one thread. The same seed, settings, faults
and calls give the same answers and the same journal.

A request is judged by path, key, permission, rate, content type, size and syntax; then faults have their say; then its
endpoint answers. Rate is taken from every authorised request, whatever becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

import orjson

from connector.double.application import ApplyQueue
from connector.double.exchange import Call, DoubleReply, JsonObject, json_reply, message_reply
from connector.double.faults import FaultPlan
from connector.double.lookups import campaigns_list, users_export
from connector.double.rate import RateMeter
from connector.double.settings import DoubleSettings
from connector.double.spoilt import invalid_key, spoilt
from connector.double.tally import Tally
from connector.double.track import track
from connector.double.trigger import trigger
from connector.double.workspace import Journal, Workspace


class _Endpoint(NamedTuple):
    method: str
    permission: str
    pool: str


ENDPOINTS: Final[Mapping[str, _Endpoint]] = {
    "/users/track": _Endpoint("POST", "users.track", "track"),
    "/campaigns/trigger/send": _Endpoint("POST", "campaigns.trigger.send", "campaigns"),
    "/campaigns/list": _Endpoint("GET", "campaigns.list", "campaigns"),
    "/users/export/ids": _Endpoint("POST", "users.export.ids", "export"),
}
_UNREADABLE: Final = "Error while parsing request body. Please check your syntax."


class BrazeDouble:
    """One workspace of Braze behind its REST API.

    Args:
        settings: What it is.
        rng: All of its chance.
        journal: Called with every object that takes effect, in the order of application.
    """

    def __init__(self, settings: DoubleSettings, rng: Random, journal: Journal | None = None) -> None:
        self.settings = settings
        self._rng = rng
        self._workspace = Workspace(settings, journal or (lambda _applied: None))
        self._queue = ApplyQueue(settings, rng)
        self._faults = FaultPlan([], 0.0, rng)
        self._tally = Tally()
        self._meters = _meters(settings)

    def request(
        self, now: float, at: float, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> DoubleReply:
        """Answers one request, and schedules what it changes.

        Args:
            now: Monotonic seconds; what is due by then is applied first.
            at: Wall clock, seconds since the epoch.
            method: HTTP method.
            path: With the query, if any.
            headers: Names in any casing.
            body: As received.
        """
        self.advance(now)
        self._tally.received += 1
        bare_path, _, query = path.partition("?")
        lower = {name.lower(): value for name, value in headers.items()}
        reply = self._judged(now, at, method.upper(), bare_path, query, lower, body)
        self._tally.replied(bare_path if bare_path in ENDPOINTS else "elsewhere", reply)
        return reply._replace(delay_s=reply.delay_s or self._latency_s())

    def advance(self, now: float) -> None:
        """Applies what is due at `now`, monotonic seconds; `math.inf` applies everything."""
        self._queue.advance(now)

    def next_due(self) -> float | None:
        """When `advance` has something to do next; None when all that was accepted is applied."""
        return self._queue.next_due()

    def set_faults(self, now: float, plan: Any) -> None:
        """Replaces what is to go wrong; see `connector.double.faults`. An empty list clears it.

        Raises:
            ValueError: The plan is not of the grammar; the old one stays.
        """
        self._faults = FaultPlan(plan, now, self._rng)

    def reconfigure(self, settings: DoubleSettings) -> None:
        """Puts other settings in force. Data stays; rate budgets start afresh; known users join."""
        self.settings = self._workspace.settings = self._queue.settings = settings
        self._workspace.profiles.reconfigure(settings)
        self._meters = _meters(settings)

    def state(self) -> JsonObject:
        """Everything applied so far and everything counted, as JSON."""
        workspace = self._workspace
        return {
            "profiles": {key: profile.state() for key, profile in workspace.profiles.by_key.items()},
            "events": workspace.events(),
            "sends": workspace.sends,
            "applied": workspace.counts,
            "data_points": workspace.data_points,
            "silent_drops": dict(workspace.profiles.drops),
            "pending_requests": len(self._queue),
            "rate_refusals": {name: meter.refusals for name, meter in self._meters.items()},
            "faults": [step.document | {"times_left": step.left} for step in self._faults.steps],
            **self._tally.state(),
        }

    def _judged(
        self, now: float, at: float, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> DoubleReply:
        endpoint = ENDPOINTS.get(path)
        if endpoint is None or endpoint.method != method:
            # A trailing slash is another path to Braze, but its 403 misleads (page "Errors").
            return message_reply(403, "Forbidden") if path.endswith("/") else message_reply(404, "Not Found")
        key = _bearer(headers.get("authorization", ""))
        permissions = self.settings.api_keys.get(key)
        if permissions is None:
            return invalid_key(key)
        if endpoint.permission not in permissions:
            return message_reply(403, "Access Denied")
        admission = self._meters[endpoint.pool].admit(now, at)
        if not admission.is_admitted:
            reply = message_reply(429, "Rate limited")
            return reply._replace(headers=reply.headers | admission.headers)
        document = self._read(headers, body) if method == "POST" else {}
        if isinstance(document, DoubleReply):
            return document._replace(headers=document.headers | admission.headers)
        number, parameters = self._tally.received, dict(parse_qsl(query))
        call = Call(number, now, at, method, path, parameters, key, document, len(body))
        return self._carried_out(call, admission.headers)

    def _read(self, headers: Mapping[str, str], body: bytes) -> JsonObject | DoubleReply:
        """The body's document, or what Braze says to a body that it does not read. No body is an empty document."""
        content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            return message_reply(415, "Unsupported Media Type")
        if len(body) > self.settings.body_bytes_max:
            return message_reply(self.settings.too_large_status, "Request Entity Too Large")
        try:
            document = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError:
            document = None
        return document if isinstance(document, dict) else json_reply(400, {"error": _UNREADABLE})

    def _carried_out(self, call: Call, rate_headers: dict[str, str]) -> DoubleReply:
        if call.method == "POST":
            self._tally.carried(call.path, sum(len(things) for _, things in call.arrays()))
        step = self._faults.decide(call) if self._faults.steps else None
        if step is None:
            return self._answered(call, rate_headers)
        honest = self._answered(call, rate_headers) if step.is_applying else None
        return spoilt(step, call, honest, self.settings)

    def _answered(self, call: Call, rate_headers: dict[str, str]) -> DoubleReply:
        def schedule(apply: Callable[[float], None]) -> None:
            self._queue.schedule(call.now, call.at, apply)

        match call.path:
            case "/users/track":
                reply = track(call, self.settings, self._workspace, schedule)
            case "/campaigns/trigger/send":
                reply = trigger(call, self.settings, self._workspace, schedule, self._rng)
            case "/campaigns/list":
                reply = campaigns_list(call, self.settings)
            case _:
                reply = users_export(call, self._workspace.profiles)
        return reply._replace(headers=reply.headers | rate_headers)

    def _latency_s(self) -> float:
        settings = self.settings
        if not settings.latency_s:
            return 0.0
        return settings.latency_s * self._rng.lognormvariate(0.0, settings.latency_sigma)


def _meters(settings: DoubleSettings) -> dict[str, RateMeter]:
    pools = {"track": settings.track_rate, "campaigns": settings.campaign_rate, "export": settings.export_rate}
    return {
        name: RateMeter(pool, settings.header_style, headers_on_429=settings.headers_on_429)
        for name, pool in pools.items()
    }


def _bearer(authorization: str) -> str:
    """The key of an `Authorization` header; the scheme in any casing, the key to the letter."""
    scheme, _, key = authorization.partition(" ")
    return key if scheme.lower() == "bearer" else ""
