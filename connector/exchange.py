"""A request out and its answer back: claimed where it must be, sent, and heard when the loop has a turn for it.

Asynchronous, without I/O of its own. Answers wait in a queue, because a wave of them must not fill the loop in front of
a trigger; what is no success goes to its head, because it may tell us to stop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from connector import gauges
from connector.books import Books
from connector.braze import Endpoint
from connector.committer import Committer
from connector.delivery import Delivery
from connector.outcomes import CALLED_OFF, Ambiguous, Attempt, Delivered, Misconfigured, NoReply, PartlyRefused, Reply
from connector.ports import Clock, Span, Spans, Transport, Trouble
from connector.records import CampaignSend, Outbound
from connector.request import Request
from connector.settlement import Settlement
from connector.stopwatch import Stopwatch
from connector.telemetry import Telemetry
from connector.troubles import Troubles

_OUTAGE_ATTEMPTS = 5
"""Attempts in a row without an answer of Braze's own, after which it is called an outage."""


class Answer(NamedTuple):
    """What came of a request, and waits for its turn.

    Attributes:
        request: Which.
        attempt: What came.
        is_asked: Whether it was sent, or at least tried to be.
        claimed: Its records, if they had to be claimed before.
        span: Its trace.
        at: When it came, epoch seconds.
    """

    request: Request
    attempt: Attempt
    is_asked: bool
    claimed: Sequence[Outbound]
    span: Span | None
    at: float

    @property
    def is_success(self) -> bool:
        """Whether Braze took the request, at least in part."""
        return isinstance(self.attempt, Reply) and self.attempt.status < 300


class Exchange:
    """What is on the wire, and what came of it.

    Args:
        transport: Braze.
        spans: Traces of the requests; None: there are none.
        committer: Claims triggers, and knows whether anything may be sent.
        delivery: Says what an answer means.
        books: Told which stays wrote attributes, and which claims are handed back.
        settlement: Told what has come to its end.
        wake: Called when an answer waits for its turn.
        clock: Time.
        telemetry: Metrics and log.
        troubles: Told of outages, and of Braze's refusals of us.
    """

    def __init__(  # noqa: PLR0913  # everything that it is wired to, once
        self,
        *,
        transport: Transport,
        spans: Spans | None,
        committer: Committer,
        delivery: Delivery,
        books: Books,
        settlement: Settlement,
        wake: Callable[[], None],
        clock: Clock,
        telemetry: Telemetry,
        troubles: Troubles,
    ) -> None:
        self._transport = transport
        self._spans = spans
        self._committer = committer
        self._delivery = delivery
        self._books = books
        self._settlement = settlement
        self._wake = wake
        self._clock = clock
        self._telemetry = telemetry
        self._troubles = troubles
        self._stopwatch = Stopwatch(clock, telemetry)
        self._failures = 0  # attempts in a row that Braze did not answer
        self.answers: deque[Answer] = deque()
        """Those that wait for their turn: no more than there may be requests in hand."""

    # ---- out ------------------------------------------------------------------------------------------------------

    async def attempt(self, request: Request) -> None:
        """Send it once, if Kafka takes the claim where one is needed, and leave what comes for `hear`."""
        claimed = request.records if self._delivery.must_claim(request) else ()
        attempt: Attempt = NoReply(sent=False, cause="claim not acknowledged")
        is_asked = not claimed or (await self._committer.claim(claimed) and self._is_fresh(request))
        span = self._spans.begin(request) if self._spans is not None and is_asked else None
        if is_asked:
            began = self._stopwatch.begin()
            body = request.body()
            self._stopwatch.spent("pack", began)
            attempt = await self._transport.attempt(request.endpoint, body, lambda: self._may_send(request))
            is_asked = not (isinstance(attempt, NoReply) and attempt.cause == CALLED_OFF)
        answer = Answer(request, attempt, is_asked, claimed, span, self._clock.at())
        if answer.is_success:
            self.answers.append(answer)
        else:
            self.answers.appendleft(answer)
        self._wake()

    def _may_send(self, request: Request) -> bool:
        """Whether it may be written now: a connection may take half a minute to come.

        Meanwhile a partition may have left, whose next owner does not wait for what was never written, and triggers may
        have expired. What still may be sent of it is sent at its next turn.
        """
        owned = all(self._delivery.owns(stay) for stay in request.stays())
        return owned and self._committer.may_send() and self._is_fresh(request)

    def _is_fresh(self, request: Request) -> bool:
        """Whether no trigger of it has passed its time since it was chosen: what has is dropped at its turn."""
        if request.endpoint is not Endpoint.TRIGGER:
            return True
        at = self._clock.at()
        sends = (record for record in request.records if isinstance(record, CampaignSend))
        return not any(self._delivery.campaigns.stale(send, at) for send in sends)

    # ---- and back -------------------------------------------------------------------------------------------------

    def hear(self, records: int) -> None:
        """Conclude the answers that wait, until about so many records are done."""
        heard = 0
        while self.answers and heard < records:
            answer = self.answers.popleft()
            heard += answer.request.record_count
            self._conclude(answer)

    def _conclude(self, answer: Answer) -> None:
        """What an attempt has brought: for the users in it, for the quota, for what is known of Braze.

        As of now: the quota's windows have moved on since it came, and a settle time that begins late is no harm.
        """
        began, now, at = self._stopwatch.begin(), self._clock.now(), self._clock.at()
        request, attempt, endpoint = answer.request, answer.attempt, answer.request.endpoint
        self._books.wrote_attributes(request.attribute_stays(), int(at * 1000))
        limit, bytes_limit = gauges.objects_limit(self._delivery, endpoint), self._delivery.batcher.limit.body_bytes
        done = self._delivery.conclude(request, attempt, now, at)
        if answer.span is not None:
            answer.span.end(attempt, done.outcome)
        if answer.is_asked:
            status = f"{attempt.status // 100}xx" if isinstance(attempt, Reply) else "none"
            self._telemetry.count("braze_requests_total", 1, endpoint, status)
            self._telemetry.observe("braze_request_duration_seconds", (attempt.elapsed_s,), endpoint)
            self._note_answer(attempt)
            if not isinstance(done.outcome, Delivered | PartlyRefused):
                self._telemetry.count("braze_retries_total", 1, type(done.outcome).__name__)
        fewer, lighter = gauges.objects_limit(self._delivery, endpoint), self._delivery.batcher.limit.body_bytes
        if fewer < limit or lighter < bytes_limit:
            detail = f"Braze takes less in a request than configured: see the contract's limits of {endpoint}"
            self._telemetry.count("limits_lowered_total", 1, endpoint)
            self._telemetry.log("warning", "limit_lowered", objects=fewer, body_bytes=lighter, detail=detail)
        self._settlement.conclude(done, answer.at)
        if answer.claimed and not isinstance(done.outcome, Ambiguous):
            self._books.unclaim(answer.claimed)  # what was sent is settled by now; everything else surely was not sent
        self._telemetry.count("stage_seconds_total", attempt.elapsed_s, "http")
        self._tell_halts()
        self._stopwatch.spent("settle", began)

    def _note_answer(self, attempt: Attempt) -> None:
        """An outage of Braze's is said once, after some attempts in a row, and so is its end."""
        answered = isinstance(attempt, Reply) and attempt.status < 500
        self._failures = 0 if answered else self._failures + 1
        if answered:
            self._troubles.end("braze_outage")
        elif self._failures == _OUTAGE_ATTEMPTS:
            why = attempt.cause if isinstance(attempt, NoReply) else f"status {attempt.status}"
            self._troubles.begin(
                Trouble(
                    "braze_outage", f"Braze does not answer ({why}); everything waits and is tried again", halts=False
                )
            )

    def forget_what_was_said(self) -> None:
        """End troubles with Braze where nothing is left that could tell of their end: its partitions have left."""
        self._delivery.forget_halts()
        self._tell_halts()
        if self._failures and len(self._delivery.departures.idle) == len(self._delivery.channels):
            self._failures = 0
            self._troubles.end("braze_outage")

    def _tell_halts(self) -> None:
        """Braze's refusals of us, told once a change."""
        for channel in self._delivery.channels:
            reason = f"braze:{channel.endpoint}"
            halt = channel.halt
            if halt is not None and reason not in self._troubles:
                self._troubles.begin(Trouble(reason, _explain(halt.why)))
            elif halt is None and reason in self._troubles:
                self._troubles.end(reason)


def _explain(why: Misconfigured) -> str:
    return f"{why.cause.replace('_', ' ')}: {why.remedy}"
