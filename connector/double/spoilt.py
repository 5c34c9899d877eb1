"""What a reply turns into when a fault step has taken hold of its request.

Pure. The bodies of real failures are unknown or not Braze's own (a proxy's page), so several shapes are offered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from connector.double.exchange import Call, DoubleReply, json_reply, message_reply
from connector.double.faults import FaultStep
from connector.double.rate import refusal_headers
from connector.double.settings import DoubleSettings
from connector.double.track import TOO_MANY_OBJECTS
from connector.double.trigger import campaign_fault

_MESSAGES: Final[Mapping[int, str]] = {
    403: "Access Denied",
    404: "Not Found",
    415: "Unsupported Media Type",
    429: "Rate limited",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
_BODIES: Final[Mapping[str, tuple[str, bytes]]] = {
    "html": (
        "text/html",
        b"<html><head><title>error</title></head><body><h1>error</h1><hr>cloudflare</body></html>\r\n",
    ),
    "text": ("text/plain", b"upstream connect error or disconnect/reset before headers"),
    "empty": ("application/json", b""),
    "truncated": ("application/json", b'{"message":"succ'),
}
_ENTRIES: Final[Mapping[str, Any]] = {
    "bare": {"type": "an object was not processed"},
    "no_index": {"type": "an object was not processed", "input_array": "attributes"},
    "no_input_array": {"type": "an object was not processed", "index": 0},
    "out_of_range": {"type": "an object was not processed", "input_array": "attributes", "index": 1_000_000},
    "string": "an object was not processed",
}


def spoilt(step: FaultStep, call: Call, honest: DoubleReply | None, settings: DoubleSettings) -> DoubleReply:
    """The reply as the step wants it.

    Args:
        step: What goes wrong.
        call: The request.
        honest: What the double would have answered; None when the step keeps the request from being carried out.
        settings: Tell which rate headers a 429 has, where the step does not.
    """
    delay_s = float(step.get("delay_s", 0.0))
    match step.kind:
        case "drop":
            return DoubleReply(None, {}, b"", delay_s, "drop")
        case "delay":
            return (honest or message_reply(504, _MESSAGES[504]))._replace(delay_s=delay_s)
        case "rate_limit":
            return _rate_limited(step, call, settings)
        case "status":
            return _answer(step, call)._replace(delay_s=delay_s)
        case "queued" | "error_entry" if honest is not None:
            return _told_wrong(step, honest)
        case "refuse_request":
            return message_reply(400, str(step.get("message", "Bad Request")))
        case "too_many":
            return message_reply(400, TOO_MANY_OBJECTS)
        case _:
            fault = campaign_fault(str(call.document["campaign_id"]), step.get("state"))
            return message_reply(int(step.get("status", 400)), str(step.get("message", fault)))


def invalid_key(key: str) -> DoubleReply:
    """Braze's 401, which gives the key back to whoever sent it."""
    return message_reply(401, f"Invalid API key: {key}")


def _rate_limited(step: FaultStep, call: Call, settings: DoubleSettings) -> DoubleReply:
    is_told = settings.header_style == "mau" or settings.headers_on_429
    wanted = step.get("style", settings.header_style if is_told else "bare")
    wait_s = float(step.get("wait_s", 1.0))
    headers = {} if wanted == "bare" else refusal_headers(wanted, wait_s, call.at)
    reply = message_reply(429, _MESSAGES[429])
    return reply._replace(headers=reply.headers | headers | step.get("headers", {}))


def _answer(step: FaultStep, call: Call) -> DoubleReply:
    status, body = int(step.get("status")), step.get("body", "json")
    if isinstance(body, str) and body in _BODIES:
        content_type, content = _BODIES[body]
        reply = DoubleReply(status, {"content-type": content_type}, content, 0.0, "reply")
    elif body != "json":
        reply = DoubleReply(status, {"content-type": "application/json"}, orjson.dumps(body), 0.0, "reply")
    elif status == 401:
        reply = invalid_key(call.api_key)
    else:
        reply = message_reply(status, _MESSAGES.get(status, "success" if status < 300 else "Bad Request"))
    return reply._replace(headers=reply.headers | step.get("headers", {}))


def _told_wrong(step: FaultStep, honest: DoubleReply) -> DoubleReply:
    """A success told otherwise than it should be; what is no success stays what it is."""
    if not honest.is_success:
        return honest
    if step.kind == "queued":
        return json_reply(202, {"message": "queued"})
    entry = step.get("entry", "bare")
    document = orjson.loads(honest.body)
    document.setdefault("errors", []).append(_ENTRIES[entry] if isinstance(entry, str) else entry)
    return honest._replace(body=orjson.dumps(document))
