"""Every reply that Braze documents has a row here, and every other one has a fate, too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.braze import Endpoint
from connector.outcomes import (
    Ambiguous,
    Attempt,
    CampaignUnavailable,
    Delivered,
    Misconfigured,
    NoReply,
    Outcome,
    PartlyRefused,
    Place,
    Refused,
    Reply,
    RetryPolicy,
    Throttled,
    TooLarge,
    Unreachable,
    classify,
)

# How this list came about: Braze's pages, in the order in which they speak of an answer. "Track users" (response
# shapes, endpoint-specific errors) and the shapes that third parties measured are §3.1 and §3.2 of our notes on the
# contract; "Errors" (the table of fatal errors, each status and each label one row), "Rate limits" (payload size) and
# "Cohort import" (423) are §3.3; "Send campaign messages via API-triggered delivery" is §4.1, with the sentences about
# campaigns that only "Send transactional emails" has. One id a documented row or case. Whoever finds a new row on a
# page writes its id here first: `test_every_documented_row_is_tested` then asks for a case.
DOCUMENTED = frozenset(
    {
        # §3.1 success shapes
        "201 all accepted",
        "201 all accepted, errors an empty list",
        "201 all accepted, errors null",
        "201 some refused",
        "400 all refused",
        "202 queued",
        "index counts inside the named array",
        "errors name one object twice",
        "errors hold an entry without index",
        "errors hold an entry without input_array",
        "errors hold an entry without either",
        "errors are plain strings",
        "processed counts are a cross-check",
        "2xx whose message is not success",
        "minor error message",
        # §3.2 documented codes
        "BAD_DEVICE_ID",
        "BAD_EMAIL_SUBSCRIPTION_STATE",
        "BAD_LOCATION_UPDATE",
        "BAD_PUSH_SUBSCRIPTION_STATE",
        "BAD_PUSH_TOKEN_APP_ID",
        "BAD_PUSH_TOKEN_IMPORT",
        "BAD_PUSH_TOKEN_STRING",
        "BAD_PUSH_TOKEN_VALUE",
        "BAD_SUBSCRIPTION_GROUP_ARRAY",
        "BAD_SUBSCRIPTION_GROUP_HASH",
        "BAD_SUBSCRIPTION_GROUP_ID",
        "BAD_SUBSCRIPTION_GROUP_STATE",
        "BLACKLISTED_EXTERNAL_USER_ID",
        "EMAIL_BAD_FORMAT",
        "EXTERNAL_USER_ID_TOO_LARGE",
        "INVALID_ATTRIBUTE_EMAIL_SUBSCRIPTION_INFO",
        # §3.2 sentences seen instead of codes
        "'external_id' must be fewer than 988 bytes",
        "'email_subscribe' must be one of opted_in, subscribed, unsubscribed",
        "The value provided for the 'email' field is not a valid email.",
        "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required",
        "'quantity' is not valid",
        "provided external_id is blacklisted and disallowed",
        # §3.3 fatal errors
        "400 invalid JSON, valid application/json",
        "400 invalid JSON, error while parsing",
        "400 unparseable send_at",
        "400 max input length exceeded",
        "400 payload",
        "413",
        "400 no recipients",
        "400 invalid campaign id",
        "400 message variant unspecified",
        "400 invalid message variant",
        "400 mismatched message type",
        "400 invalid extra push payload",
        "400 no message to send",
        "400 slideup message length exceeded",
        "400 apple push length exceeded",
        "400 android push length exceeded",
        "400 max number of external_ids",
        "400 max number of ids",
        "401 invalid api key",
        "401 insufficient permissions",
        "403 forbidden",
        "403 access denied",
        "404 invalid url",
        "415",
        "423",
        "429 classic",
        "429 MAU",
        "500",
        "502",
        "503",
        "504",
        "5xx in HTML",
        # §4.1 triggers, and the sentences that the transactional page has on campaigns
        "201 trigger",
        "campaign archived",
        "campaign paused",
        "campaign does not exist",
        "campaign_id no string",
        "campaign with id not found",
        "invalid whitelisted IPs",
        # nobody answered
        "no reply, not sent",
        "no reply, sent",
    }
)

TRACK, TRIGGER = Endpoint.TRACK, Endpoint.TRIGGER
HTML = {"content-type": "text/html"}
SIZES = {"attributes": 2, "events": 3}
RECIPIENTS = {"recipients": 50}
NOT_VALID = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."


def json(status: int, **body: Any) -> Reply:
    return Reply(status, {"content-type": "application/json"}, orjson.dumps(body))


def error(array: str, index: int, text: str = "BAD_DEVICE_ID") -> dict[str, Any]:
    return {"type": text, "input_array": array, "index": index}


def partly(*places: Place, rest_accepted: bool = True, suspects: tuple[str, ...] = ()) -> PartlyRefused:
    return PartlyRefused(frozenset(places), rest_accepted, frozenset(suspects))


@dataclass(frozen=True)
class Case:
    """One documented answer and the fate that it must have; of `Misconfigured` the remedy's words are not compared."""

    documents: str
    attempt: Attempt
    fate: Outcome | tuple[str, bool]
    endpoint: Endpoint = TRACK
    sizes: Mapping[str, int] | None = None


def halt(cause: str, *, everything: bool = False) -> tuple[str, bool]:
    return cause, everything


def success(**more: Any) -> Reply:
    return json(201, message="success", **more)


OBJECT_ERRORS = sorted(text for text in DOCUMENTED if text.isupper() or "'" in text or text.startswith("provided "))

CASES = [
    Case("201 all accepted", success(attributes_processed=2, events_processed=3), Delivered()),
    Case("201 all accepted, errors an empty list", success(attributes_processed=2, errors=[]), Delivered()),
    Case("201 all accepted, errors null", success(attributes_processed=2, errors=None), Delivered()),
    Case(
        "201 some refused",
        success(
            attributes_processed=1,
            events_processed=1,
            errors=[error("attributes", 0), error("events", 1), error("events", 2)],
        ),
        partly(("attributes", 0), ("events", 1), ("events", 2)),
    ),
    Case(
        "400 all refused",
        json(400, message=NOT_VALID, errors=[error("events", index) for index in range(3)]),
        partly(("events", 0), ("events", 1), ("events", 2), rest_accepted=False),
        sizes={"events": 3},
    ),
    Case(
        "400 all refused",
        json(400, message=NOT_VALID, errors=[error("events", 1)]),
        partly(("events", 1), rest_accepted=False),
    ),
    Case("400 all refused", json(400, message=NOT_VALID), Refused()),
    Case("202 queued", json(202, message="queued"), Delivered()),
    Case(
        "index counts inside the named array",
        success(errors=[error("events", 0)]),
        partly(("events", 0)),
    ),
    Case(
        "index counts inside the named array",
        # The request has five objects, but this array only three: nobody can place it.
        json(400, message=NOT_VALID, errors=[error("events", 3)]),
        Refused(),
    ),
    Case(
        "errors name one object twice",
        success(errors=[error("events", 2), error("events", 2, "another reason")]),
        partly(("events", 2)),
    ),
    Case(
        "errors hold an entry without index",
        success(errors=[{"type": "x", "input_array": "events"}], attributes_processed=2, events_processed=2),
        partly(suspects=("events",)),
    ),
    Case(
        "errors hold an entry without index",
        json(400, message=NOT_VALID, errors=[{"type": "x", "input_array": "events"}]),
        Refused(),
    ),
    Case(
        "errors hold an entry without index",
        # The named one ends, the others are sent again: if one more is bad, that answer will say so.
        json(400, message=NOT_VALID, errors=[{"type": "x"}, error("events", 0)]),
        partly(("events", 0), rest_accepted=False),
    ),
    Case(
        "errors hold an entry without index",
        json(400, message=NOT_VALID, errors=[{"type": "x", "input_array": "events", "index": True}]),
        Refused(),
    ),
    Case(
        "errors hold an entry without input_array",
        success(errors=[{"type": "x", "index": 0}], attributes_processed=1, events_processed=3),
        partly(suspects=("attributes",)),
    ),
    Case(
        "errors hold an entry without either",
        # Named in one array, unplaced in the other: the named one must not pass for accepted.
        success(errors=[error("attributes", 0), {"type": "x"}], attributes_processed=1, events_processed=2),
        partly(("attributes", 0), suspects=("events",)),
    ),
    Case(
        "errors hold an entry without either",
        success(errors=[error("attributes", 0), {"type": "x"}]),
        partly(("attributes", 0), suspects=("attributes", "events")),
    ),
    Case("errors are plain strings", success(errors=["bad"]), partly(suspects=("attributes", "events"))),
    Case("errors are plain strings", success(errors="bad", events_processed=3, attributes_processed=2), Delivered()),
    Case(
        "processed counts are a cross-check",
        success(errors=[error("events", 0), {"type": "x"}], attributes_processed=2, events_processed=2),
        partly(("events", 0)),
    ),
    Case(
        "processed counts are a cross-check",
        # Counts alone blame nobody: they are documented as users, not objects.
        success(attributes_processed=1, events_processed=1),
        Delivered(),
    ),
    Case(
        "processed counts are a cross-check",
        success(errors=[{"type": "x"}], attributes_processed=True, events_processed="3"),
        partly(suspects=("attributes", "events")),
    ),
    Case("2xx whose message is not success", json(200, message="failure"), Ambiguous("unexpected answer")),
    Case("2xx whose message is not success", json(200), Ambiguous("unexpected answer")),
    Case("2xx whose message is not success", Reply(200, {}, b""), Ambiguous("unreadable answer")),
    Case("2xx whose message is not success", Reply(201, {}, b"<html>"), Ambiguous("unreadable answer")),
    Case("2xx whose message is not success", Reply(204, {}, b"null"), Ambiguous("unreadable answer")),
    Case(
        "minor error message",
        success(errors=["<minor error message>"], attributes_processed=2, events_processed=2),
        partly(suspects=("events",)),
    ),
    *(Case(text, success(errors=[error("attributes", 1, text)]), partly(("attributes", 1))) for text in OBJECT_ERRORS),
    *(
        Case(
            text,
            json(400, message=NOT_VALID, errors=[error("attributes", 0, text)]),
            partly(("attributes", 0), rest_accepted=False),
            sizes={"attributes": 1},
        )
        for text in OBJECT_ERRORS
    ),
    Case(
        "400 invalid JSON, valid application/json",
        json(400, error="The request body must be valid application/json."),
        Refused(),
    ),
    Case(
        "400 invalid JSON, error while parsing",
        json(400, error="Error while parsing request body. Please check your syntax."),
        Refused(),
    ),
    Case("400 unparseable send_at", json(400, message="send_at could not be parsed"), Refused(), TRIGGER, RECIPIENTS),
    Case("400 max input length exceeded", json(400, message="Max Input Length Exceeded"), TooLarge("objects")),
    Case("400 max input length exceeded", json(400, error="max input length exceeded: 75"), TooLarge("objects")),
    Case("400 payload", json(400, message="Request entity too large"), TooLarge("bytes")),
    Case("400 payload", json(400, message="Payload too large"), TooLarge("bytes")),
    Case("413", Reply(413, {}, b"<html><h1>413 Request Entity Too Large</h1></html>"), TooLarge("bytes")),
    Case("413", Reply(413, {}, b""), TooLarge("bytes"), TRIGGER, RECIPIENTS),
    Case("400 no recipients", json(400, message="No Recipients"), Refused(), TRIGGER, RECIPIENTS),
    Case("400 invalid campaign id", json(400, message="Invalid Campaign ID"), Refused()),  # no campaign in a track
    *(
        Case(f"400 {label.lower()}", json(400, message=label), Refused(), TRIGGER, RECIPIENTS)
        for label in (
            "Message Variant Unspecified",
            "Invalid Message Variant",
            "Mismatched Message Type",
            "Invalid Extra Push Payload",
            "No message to send",
            "Slideup Message Length Exceeded",
            "Apple Push Length Exceeded",
            "Android Push Length Exceeded",
        )
    ),
    Case(
        "400 max number of external_ids",
        json(400, message="The max number of external_ids and aliases per request was exceeded"),
        TooLarge("objects"),
        TRIGGER,
        RECIPIENTS,
    ),
    Case(
        "400 max number of ids",
        json(400, message="The max number of ids per request was exceeded"),
        TooLarge("objects"),
        TRIGGER,
        RECIPIENTS,
    ),
    Case("401 invalid api key", json(401, message="Invalid API key: s3cret"), halt("key_refused", everything=True)),
    Case(
        "401 insufficient permissions",
        json(401, message="insufficient permissions"),
        halt("key_refused", everything=True),
        TRIGGER,
        RECIPIENTS,
    ),
    Case("403 forbidden", json(403, message="Forbidden"), halt("permission_missing")),
    Case("403 access denied", json(403, message="Access Denied"), halt("permission_missing"), TRIGGER, RECIPIENTS),
    Case("404 invalid url", Reply(404, {}, b"<html>"), halt("not_found")),
    Case("415", json(415, message="Unsupported Media Type"), halt("content_type")),
    Case("423", json(423, message="Resource locked"), Unreachable("status 423")),
    Case("429 classic", json(429, message="Rate limited"), Throttled()),
    Case("429 MAU", Reply(429, {"x-ratelimit-retry-after": "2"}, b""), Throttled(), TRIGGER, RECIPIENTS),
    # 502: before Braze's server. 503: no capacity. The others may have got as far as to be processed.
    Case("500", json(500, message="Internal Server Error"), Ambiguous("status 500")),
    Case("502", Reply(502, {}, b""), Unreachable("status 502")),
    Case("503", Reply(503, {}, b""), Unreachable("status 503")),
    Case("504", Reply(504, {}, b""), Ambiguous("status 504")),
    Case("5xx in HTML", Reply(503, HTML, b"<html>cloudflare</html>"), Unreachable("status 503")),
    Case("5xx in HTML", Reply(520, HTML, b"<html>cloudflare</html>"), Ambiguous("status 520")),
    # A body that reads like a verdict about objects changes nothing: the status says whose fault it is.
    Case("500", json(500, message=NOT_VALID, errors=[error("events", 0)]), Ambiguous("status 500")),
    Case("429 classic", json(429, message=NOT_VALID, errors=[error("events", 0)]), Throttled()),
    Case("201 trigger", json(201, message="success", dispatch_id="5d7f"), Delivered(), TRIGGER, RECIPIENTS),
    Case("202 queued", json(202, message="queued"), Delivered(), TRIGGER, RECIPIENTS),
    *(
        Case(row, json(400, message=sentence), CampaignUnavailable(), TRIGGER, RECIPIENTS)
        for row, sentence in (
            (
                "campaign archived",
                "The campaign is archived. Unarchive the campaign in order for trigger requests to take effect.",
            ),
            (
                "campaign paused",
                "The campaign is paused. Resume the campaign in order for trigger requests to take effect.",
            ),
            ("campaign does not exist", "Campaign does not exist"),
            ("400 invalid campaign id", "Invalid Campaign ID"),
            ("campaign_id no string", "campaign_id must be a string of the campaign api identifier"),
            ("campaign with id not found", "Campaign with id 1f0a not found"),
        )
    ),
    Case(
        "invalid whitelisted IPs",
        json(400, message="Invalid whitelisted IPs"),
        halt("address_refused", everything=True),
    ),
    Case("no reply, not sent", NoReply(sent=False, cause="connection refused"), Unreachable("connection refused")),
    Case("no reply, sent", NoReply(sent=True, cause="time-out"), Ambiguous("time-out")),
]


def test_every_documented_row_is_tested() -> None:
    assert {case.documents for case in CASES} == DOCUMENTED


@pytest.mark.parametrize("case", [pytest.param(case, id=f"{n}: {case.documents}") for n, case in enumerate(CASES)])
def test_a_documented_answer_has_its_fate(case: Case) -> None:
    outcome = classify(case.endpoint, case.sizes or SIZES, case.attempt)

    if isinstance(case.fate, tuple):
        assert isinstance(outcome, Misconfigured)
        assert (outcome.cause, outcome.everything) == case.fate
        assert outcome.remedy
    else:
        assert outcome == case.fate


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_no_text_of_braze_s_leaves_the_classifier(case: Case) -> None:
    outcome = classify(case.endpoint, case.sizes or SIZES, case.attempt)

    assert "s3cret" not in repr(outcome)
    if isinstance(case.attempt, Reply):
        assert case.attempt.body.decode() not in repr(outcome) or not case.attempt.body


@pytest.mark.parametrize(
    ("status", "fate"),
    [
        (100, Misconfigured),
        (301, Misconfigured),
        (402, Misconfigured),
        (408, Ambiguous),  # a time-out between here and Braze says nothing about what Braze did
        (409, Misconfigured),
        (422, Misconfigured),
        (425, Unreachable),
        (521, Unreachable),  # Cloudflare could not reach Braze
        (524, Ambiguous),  # Cloudflare reached it and got no answer
        (599, Ambiguous),
    ],
)
def test_a_status_that_no_page_names_has_a_fate_that_loses_nothing(status: int, fate: type[Outcome]) -> None:
    assert isinstance(classify(TRACK, SIZES, Reply(status, {}, b"")), fate)


def test_a_missing_permission_is_named_after_the_endpoint() -> None:
    for endpoint, permission in ((TRACK, "users.track"), (TRIGGER, "campaigns.trigger.send")):
        outcome = classify(endpoint, {"recipients": 1}, Reply(403, {}, b""))

        assert isinstance(outcome, Misconfigured)
        assert permission in outcome.remedy


# Bodies close to what Braze says are worth more than noise; both are drawn.
scalars = st.none() | st.booleans() | st.integers(-3, 80) | st.floats(allow_nan=False) | st.text(max_size=9)
entries = scalars | st.fixed_dictionaries(
    {},
    optional={
        "type": scalars,
        "input_array": scalars | st.sampled_from(["attributes", "events", "recipients"]),
        "index": scalars | st.integers(0, 3),
    },
)
sentences = scalars | st.sampled_from(
    ["success", "queued", NOT_VALID, "Max Input Length Exceeded", "campaign is paused"]
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "message": sentences,
        "error": sentences,
        "errors": scalars | st.lists(entries, max_size=4) | entries,
        "attributes_processed": scalars,
        "events_processed": scalars,
    },
).map(orjson.dumps)
bodies = (
    st.binary(max_size=60) | answers | st.sampled_from([b"[" * 3000, b"{}", b"[]", b"1e999", b'{"message":' * 2000])
)
sizes = st.dictionaries(st.sampled_from(["attributes", "events", "recipients"]), st.integers(1, 75), min_size=1)
headers = st.dictionaries(st.text(max_size=12), st.text(max_size=12), max_size=3)
attempts = st.builds(Reply, st.integers(100, 599), headers, bodies) | st.builds(
    NoReply, sent=st.booleans(), cause=st.just("time-out")
)
NOT_THE_RECORDS_FAULT = {401, 403, 404, 415, 429, *range(500, 600)}


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(Endpoint), sizes, attempts)
def test_whatever_comes_has_one_fate(endpoint: Endpoint, sizes: dict[str, int], attempt: Attempt) -> None:
    outcome = classify(endpoint, sizes, attempt)

    assert isinstance(outcome, get_args(Outcome))
    if isinstance(outcome, PartlyRefused):
        assert all(0 <= index < sizes[array] for array, index in outcome.refused)
        assert outcome.suspects <= set(sizes)
        assert outcome.refused or outcome.suspects
        assert outcome.rest_accepted or not outcome.suspects


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Endpoint), sizes, st.sampled_from(sorted(NOT_THE_RECORDS_FAULT)), headers, bodies)
def test_what_is_not_the_record_s_fault_never_blames_one(
    endpoint: Endpoint, sizes: dict[str, int], status: int, headers: dict[str, str], body: bytes
) -> None:
    outcome = classify(endpoint, sizes, Reply(status, headers, body))

    assert isinstance(outcome, Throttled | Unreachable | Ambiguous | Misconfigured)


@given(st.sampled_from(Endpoint), sizes, st.booleans())
def test_silence_never_blames_a_record(endpoint: Endpoint, sizes: dict[str, int], sent: bool) -> None:
    outcome = classify(endpoint, sizes, NoReply(sent=sent, cause="reset"))

    assert outcome == (Ambiguous("reset") if sent else Unreachable("reset"))


@given(
    st.integers(1, 10_000),
    st.floats(0, 1),
    st.floats(0.01, 5.0),
    st.floats(5.0, 600.0),
)
def test_backoff_is_full_jitter_below_a_doubling_ceiling(
    attempts: int, jitter: float, first_s: float, longest_s: float
) -> None:
    policy = RetryPolicy(first_s, longest_s)

    wait = policy.wait_s(attempts, jitter)

    assert 0 <= wait <= longest_s
    assert wait <= first_s * 2.0 ** min(attempts - 1, 60)
    assert policy.wait_s(attempts, 0.0) == 0
    assert policy.wait_s(attempts, 1.0) <= policy.wait_s(attempts + 1, 1.0)


def test_backoff_starts_at_the_first_wait_and_ends_at_the_longest() -> None:
    policy = RetryPolicy(first_s=0.5, longest_s=30.0)

    assert [policy.wait_s(attempts, 1.0) for attempts in (1, 2, 3, 7, 1000)] == [0.5, 1.0, 2.0, 30.0, 30.0]


@pytest.mark.parametrize(
    ("endpoint", "sizes", "body", "outcome"),
    [
        (TRIGGER, {"recipients": 2}, b'{"message":"accepted","dispatch_id":"d"}', Delivered),
        (TRIGGER, {"recipients": 2}, b'{"message":"accepted"}', Ambiguous),
        (Endpoint.TRACK, {"events": 2}, b'{"message":"accepted","events_processed":2}', Delivered),
        (Endpoint.TRACK, {"events": 2}, b'{"message":"accepted","events_processed":1}', Ambiguous),
        (Endpoint.TRACK, {"events": 2}, b'{"message":"accepted"}', Ambiguous),
    ],
)
def test_another_wording_of_success_is_no_reason_to_send_again_where_the_answer_says_the_rest(
    endpoint: Endpoint, sizes: dict[str, int], body: bytes, outcome: type
) -> None:
    assert isinstance(classify(endpoint, sizes, Reply(201, {}, body)), outcome)


@pytest.mark.parametrize("endpoint", list(Endpoint))
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    "body", [b"<html><h1>400 Bad Request</h1>cloudflare</html>", b"", b"Bad Request", b"[]", b"{}", b'{"code":400}']
)
def test_a_400_in_another_form_than_braze_s_says_nothing_of_a_record(
    endpoint: Endpoint, status: int, body: bytes
) -> None:
    """Something in front of Braze speaks: halving would make dead letters of all that is good."""
    outcome = classify(endpoint, {"events": 2}, Reply(status, {}, body))

    assert isinstance(outcome, Misconfigured)
    assert (outcome.cause, outcome.everything) == ("unexpected", False)


def test_a_400_of_a_proxy_s_that_finds_the_body_too_large_is_believed() -> None:
    body = b"<html><h1>Request Entity Too Large</h1></html>"

    assert classify(Endpoint.TRACK, {"events": 2}, Reply(400, {}, body)) == TooLarge("bytes")


def test_a_404_that_names_the_campaign_parks_the_campaign_and_halts_nobody() -> None:
    named = Reply(404, {}, b'{"message":"Campaign does not exist"}')

    assert isinstance(classify(TRIGGER, {"recipients": 1}, named), CampaignUnavailable)
    assert isinstance(classify(TRIGGER, {"recipients": 1}, Reply(404, {}, b"<html>")), Misconfigured)
