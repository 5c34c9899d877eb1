"""One attempt at Braze in, one fate out: the only place that reads Braze's replies.

Pure. `classify` maps every reply of Braze's documentation (and every one that it does not document) to one member of
the closed union `Outcome`; `delivery` matches it exhaustively. Two questions decide: whose fault is it (the record's,
ours, nobody's), and may Braze have applied it? What may have been applied is *ambiguous* and named so.

Braze's text never leaves this module: a 401 echoes the key, and an error sentence may quote a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

import orjson

from connector.braze import Endpoint

Place = tuple[str, int]
"""An object of a request: array, and 0-based index inside that array."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Braze (or something in front of it) answered.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
        body: As received; need not be JSON.
        elapsed_s: From the first byte written to the last byte read.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class NoReply:
    """Nobody answered.

    Attributes:
        sent: Whether any byte of the body may have left. False: Braze surely did not get the request.
        cause: A class of failure in our own words ("connection refused", "time-out"), fit for a log.
        elapsed_s: From the start of the attempt.
    """

    sent: bool
    cause: str
    elapsed_s: float = 0.0


Attempt = Reply | NoReply

CALLED_OFF: Final = "called off"
"""Why nobody answered where nobody was asked: by the time there was a connection, nothing might be sent any more."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Accepted, all of it."""


@dataclass(frozen=True, slots=True)
class PartlyRefused:
    """Braze refuses some objects, and says of some or all of them which.

    Attributes:
        refused: Places of the named ones.
        rest_accepted: Whether the others were accepted (2xx) or must be sent again (400).
        suspects: Arrays of which a 2xx refused more than it named; who else it was must be found out.
    """

    refused: frozenset[Place]
    rest_accepted: bool
    suspects: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TooLarge:
    """More objects or bytes than this workspace may send at once: split, and send less from now on."""

    by: Literal["objects", "bytes"]


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: over the rate. Surely not processed."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Surely not processed, and not the record's fault: try again until it works."""

    cause: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """May have been processed or not: the operator's policy decides what is sent again."""

    cause: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was accepted, and Braze does not say what is bad: halve until the culprit stands alone."""


@dataclass(frozen=True, slots=True)
class CampaignUnavailable:
    """This campaign is paused, archived or unknown. The user is not at fault; other campaigns go on."""


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Braze refuses us, not the record: halt, say so, probe until it is cured.

    Attributes:
        everything: A bad key stops all endpoints; else only the one that answered.
        cause: Bounded word for logs and metrics.
        remedy: What the operator does next.
    """

    everything: bool
    cause: Literal["key_refused", "permission_missing", "not_found", "content_type", "address_refused", "unexpected"]
    remedy: str


Outcome = (
    Delivered
    | PartlyRefused
    | TooLarge
    | Throttled
    | Unreachable
    | Ambiguous
    | Refused
    | CampaignUnavailable
    | Misconfigured
)


class _Wording(StrEnum):
    """Sentences of Braze's that decide a fate, in lower case. Each stands on a page named in its group's comment."""

    # Page "Errors": too many objects for the plan, or recipients for a trigger.
    INPUT_LENGTH = "max input length exceeded"
    MAX_EXTERNAL_IDS = "max number of external_ids"
    MAX_IDS = "max number of ids"
    # Pages "Errors" and "Send transactional emails": the campaign, not the recipients.
    ARCHIVED = "campaign is archived"
    PAUSED = "campaign is paused"
    ABSENT = "campaign does not exist"
    CAMPAIGN_ID_TYPE = "campaign_id must be a string of the campaign api identifier"
    INVALID_CAMPAIGN = "invalid campaign id"
    # The key's IP allowlist.
    ALLOWLIST = "invalid whitelisted ips"


_TOO_MANY: Final = (_Wording.INPUT_LENGTH, _Wording.MAX_EXTERNAL_IDS, _Wording.MAX_IDS)
_NO_CAMPAIGN: Final = (
    _Wording.ARCHIVED,
    _Wording.PAUSED,
    _Wording.ABSENT,
    _Wording.CAMPAIGN_ID_TYPE,
    _Wording.INVALID_CAMPAIGN,
)
_TOO_BIG: Final = ("payload too large", "request entity too large", "body size", "payload size")

_SAID_IN: Final = frozenset({"message", "error", "errors"})
"""Every 400 of Braze's is a JSON object that has one of these (page "Errors", and all that was measured)."""

_NEVER_REACHED: Final = frozenset({502, 503, 521, 522, 523, 525, 526, 530})
"""502: before Braze's server; 503: no capacity (page "Errors"). 521 to 530: Cloudflare could not reach the origin."""

_LATER: Final = frozenset({423, 425})
"""Locked, too early: nobody's fault, surely not processed."""

_REMEDY_KEY: Final = (
    "Braze does not accept the API key: check braze.api_key (or the file in braze.api_key_file) and that"
    " braze.endpoint is this workspace's cluster"
)


def classify(endpoint: Endpoint, sizes: Mapping[str, int], attempt: Attempt) -> Outcome:
    """The fate of one attempt.

    Args:
        endpoint: Where it went.
        sizes: Objects sent, per array; arrays that were not sent are absent.
        attempt: What came of it.
    """
    if isinstance(attempt, NoReply):
        return Ambiguous(attempt.cause) if attempt.sent else Unreachable(attempt.cause)
    status = attempt.status
    if 200 <= status < 300:
        return _accepted(endpoint, sizes, _json(attempt.body))
    if status == 429:
        return Throttled()
    if status in _NEVER_REACHED or status in _LATER:
        return Unreachable(f"status {status}")
    if status >= 500 or status == 408:
        return Ambiguous(f"status {status}")
    if status == 413:
        return TooLarge("bytes")
    if status in {400, 422}:
        return _bad_request(endpoint, sizes, attempt)
    if status == 404 and endpoint is Endpoint.TRIGGER and _names_campaign(_text(_json(attempt.body))):
        return CampaignUnavailable()
    return _not_ours_to_send(endpoint, status)


def _accepted(endpoint: Endpoint, sizes: Mapping[str, int], body: Any) -> Outcome:
    if not isinstance(body, dict):
        return Ambiguous("unreadable answer")
    errors = _errors(body)
    if not errors:
        message = body.get("message")
        if isinstance(message, str) and message.strip().lower() in {"success", "queued"}:
            return Delivered()
        # Another wording must not repeat messages without an end where the rest of the answer says it all.
        told = "dispatch_id" in body if endpoint is Endpoint.TRIGGER else not _short_arrays(sizes, frozenset(), body)
        return Delivered() if told else Ambiguous("unexpected answer")
    named, unplaced = _places(errors, sizes)
    # A trigger's answer has no counts and no word on single recipients: what it does not name was sent.
    suspects = _short_arrays(sizes, named, body) if unplaced and endpoint is Endpoint.TRACK else frozenset()
    return PartlyRefused(named, rest_accepted=True, suspects=suspects) if named or suspects else Delivered()


def _bad_request(endpoint: Endpoint, sizes: Mapping[str, int], reply: Reply) -> Outcome:
    body = _json(reply.body)
    if not isinstance(body, dict) or _SAID_IN.isdisjoint(body):
        # A proxy's or a firewall's words, who knows nothing of records: halving would bury the good ones.
        said = reply.body.decode(errors="replace").lower()
        is_size = any(wording in said for wording in _TOO_BIG)
        return TooLarge("bytes") if is_size else _not_ours_to_send(endpoint, reply.status)
    text = _text(body)
    if any(wording in text for wording in _TOO_MANY):
        return TooLarge("objects")
    if any(wording in text for wording in _TOO_BIG):
        return TooLarge("bytes")
    if _Wording.ALLOWLIST in text:
        return Misconfigured(
            everything=True,
            cause="address_refused",
            remedy="the API key's IP allowlist does not name this address: make a new key, or send from a listed one",
        )
    if endpoint is Endpoint.TRIGGER and _names_campaign(text):
        return CampaignUnavailable()
    named, _ = _places(_errors(body), sizes)
    # An entry that nobody can place needs no thought here: the others are sent again, and Braze asked again.
    return PartlyRefused(named, rest_accepted=False) if named else Refused()


def _not_ours_to_send(endpoint: Endpoint, status: int) -> Misconfigured:
    match status:
        case 401:
            return Misconfigured(everything=True, cause="key_refused", remedy=_REMEDY_KEY)
        case 403:
            permission = "users.track" if endpoint is Endpoint.TRACK else "campaigns.trigger.send"
            return Misconfigured(
                everything=False,
                cause="permission_missing",
                remedy=f"Braze denies {endpoint}: make a new API key that has the permission {permission}"
                " (a key's permissions cannot be edited), and check that the account is active",
            )
        case 404:
            return Misconfigured(
                everything=False,
                cause="not_found",
                remedy=f"nothing answers at {endpoint}: check braze.endpoint (the REST host of the cluster, no path)",
            )
        case 415:
            return Misconfigured(
                everything=False,
                cause="content_type",
                remedy="something between here and Braze changes the Content-Type header: check the proxy",
            )
        case _:
            return Misconfigured(
                everything=False,
                cause="unexpected",
                remedy=f"{endpoint} answered with status {status} in a way that Braze does not document: check"
                " braze.endpoint and what stands in front of it (a proxy, a firewall)",
            )


def _text(body: Any) -> str:
    """What an answer says in words, in lower case."""
    if not isinstance(body, dict):
        return ""
    return " ".join(body[key] for key in ("message", "error") if isinstance(body.get(key), str)).lower()


def _names_campaign(text: str) -> bool:
    return any(wording in text for wording in _NO_CAMPAIGN) or ("campaign with id" in text and "not found" in text)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _errors(body: dict[str, Any]) -> list[Any]:
    errors = body.get("errors")
    if errors is None:
        return []
    return errors if isinstance(errors, list) else [errors]


def _places(errors: list[Any], sizes: Mapping[str, int]) -> tuple[frozenset[Place], bool]:
    """The objects that the entries name, and whether any entry names none. One object may be named twice."""
    named: set[Place] = set()
    unplaced = False
    for entry in errors:
        array = entry.get("input_array") if isinstance(entry, dict) else None
        index = entry.get("index") if isinstance(entry, dict) else None
        if (
            isinstance(array, str)
            and isinstance(index, int)
            and not isinstance(index, bool)
            and 0 <= index < sizes.get(array, 0)
        ):
            named.add((array, index))
        else:
            unplaced = True
    return frozenset(named), unplaced


def _short_arrays(sizes: Mapping[str, int], named: frozenset[Place], body: dict[str, Any]) -> frozenset[str]:
    """Arrays that may hold a refused object which no entry places.

    `*_processed` counts exclude refused objects (measured), so an array whose count covers all that is not named is
    whole. A count that is absent or odd clears nobody.
    """
    suspects = set()
    for array, size in sizes.items():
        processed = body.get(f"{array}_processed")
        refused = sum(1 for place in named if place[0] == array)
        if not isinstance(processed, int) or isinstance(processed, bool) or processed < size - refused:
            suspects.add(array)
    return frozenset(suspects)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Full-jitter exponential backoff without an end.

    Attributes:
        first_s: Upper bound of the first wait.
        longest_s: Upper bound of every wait.
    """

    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, attempts: int, jitter: float) -> float:
        """Seconds to wait after the `attempts`-th attempt failed; `jitter` is uniform in 0 to 1."""
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(attempts - 1, 30))
        return ceiling * jitter
