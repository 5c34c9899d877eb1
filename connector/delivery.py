"""What an answer of Braze's means for the records that were in the request: what ended, and what is asked again.

Pure: `departures` decides, somebody else sends, `conclude` learns. `now` is monotonic seconds, `at` wall-clock epoch
seconds, jitter a function that is passed in. No await lies between reading and writing this state, so it needs no lock.

A request in hand keeps its users busy until every object in it has its fate. What may not have been processed is sent
again, as it was, from the same budget as everything else and without an end: an outage is never a record's fault. What
Braze refuses without a name is halved, between users first, until the culprit stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Literal, assert_never

from connector.batching import Batcher
from connector.braze import Endpoint
from connector.campaigns import CampaignBatcher
from connector.channel import Channel, Halt
from connector.conclusion import Conclusion, DeadLetter
from connector.departures import Departures
from connector.limits import Pace, Pool, read_headers
from connector.outcomes import (
    CALLED_OFF,
    Ambiguous,
    Attempt,
    CampaignUnavailable,
    Delivered,
    Misconfigured,
    NoReply,
    Outcome,
    PartlyRefused,
    Refused,
    Reply,
    RetryPolicy,
    Throttled,
    TooLarge,
    Unreachable,
    classify,
)
from connector.piece import Array, Piece, UserLane
from connector.records import Assignment, CampaignSend, Kind, Reason
from connector.request import Request


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """What the operator chose.

    Attributes:
        track_requests_max: Requests to `/users/track` in hand at once: on the wire or waiting to be tried again.
        trigger_requests_max: The same for triggers.
        ambiguous_events: Events whose request got no answer: sent again (may double), or to the dead letters.
        campaigns: Triggers whose request got no answer: sent again (a customer may get a message twice), or to the dead
            letters.
        halvings_per_min: Requests a minute that look for a culprit; more of them wait.
        retry: Backoff after what is not the record's fault.
        probe_s: How often a halted endpoint is asked again; a parked campaign at first, and then ever more rarely.
    """

    track_requests_max: int = 96
    trigger_requests_max: int = 16
    ambiguous_events: Literal["retry", "dead_letter"] = "retry"
    campaigns: Literal["at_least_once", "at_most_once"] = "at_least_once"
    halvings_per_min: int = 1_200
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    probe_s: float = 10.0


class Delivery:
    """Both channels, fed by their batchers, and whose records they carry.

    Args:
        batcher: Waiting attributes and events.
        campaigns: Waiting triggers.
        track_pool: Quota of `/users/track`.
        trigger_pool: Quota of `/campaigns/trigger/send`.
        policy: What the operator chose.
        jitter: Uniform in 0 to 1.
    """

    def __init__(
        self,
        batcher: Batcher,
        campaigns: CampaignBatcher,
        track_pool: Pool,
        trigger_pool: Pool,
        policy: DeliveryPolicy,
        jitter: Callable[[], float],
    ) -> None:
        self.batcher = batcher
        self.campaigns = campaigns
        self.track = Channel(Endpoint.TRACK, track_pool, policy.track_requests_max)
        self.trigger = Channel(Endpoint.TRIGGER, trigger_pool, policy.trigger_requests_max)
        self.departures = Departures(self.track, batcher, self.trigger, campaigns)
        self._policy = policy
        self._jitter = jitter
        self._halvings = Pace(policy.halvings_per_min, 60.0)
        self._stays: set[Assignment] = set()

    def must_claim(self, request: Request) -> bool:
        """Whether Kafka must have acknowledged a claim of the request's records before it is sent."""
        return request.endpoint is Endpoint.TRIGGER and self._policy.campaigns == "at_most_once"

    @property
    def channels(self) -> tuple[Channel, Channel]:
        """Both, in the order in which they are served."""
        return self.departures.channels

    def welcome(self, stay: Assignment) -> None:
        """Records of this stay are ours to deliver."""
        self._stays.add(stay)

    def owns(self, stay: Assignment) -> bool:
        """Whether they still are."""
        return stay in self._stays

    # ---- learning -------------------------------------------------------------------------------------------------

    def conclude(self, request: Request, attempt: Attempt, now: float, at: float) -> Conclusion:
        """Take an attempt's answer in: settle, send again, halve, park or halt."""
        channel = self.track if request.endpoint is Endpoint.TRACK else self.trigger
        channel.on_wire.discard(request)
        request.attempts += not (isinstance(attempt, NoReply) and attempt.cause == CALLED_OFF)
        request.closed_by = None
        request.status = attempt.status if isinstance(attempt, Reply) else 0
        outcome = self._judge(request, attempt)
        self._note_writers(request, outcome)
        done = Conclusion(outcome=outcome)
        quota = read_headers(attempt.headers if isinstance(attempt, Reply) else {}, at)
        if isinstance(attempt, Reply) and not isinstance(outcome, Throttled):
            channel.pool.observe(quota, now, at)
        self._cure(channel, outcome, now)
        match outcome:
            case Delivered():
                self._accept(request, now, done)
            case PartlyRefused():
                self._take_blame(request, outcome, now, done)
            case Refused():
                self._halve(request, request.load, now, done, lone="refused")
            case TooLarge():
                self._lower_limit(request, outcome)
                lone: Reason = "object_too_large" if outcome.by == "bytes" else "refused"
                self._halve(request, request.load, now, done, lone=lone)
            case Throttled():
                until = channel.pool.throttled(quota, self._jitter(), now, at)
                self._keep(request, request.load, now, until)
            case Unreachable():
                self._keep(request, request.load, now, now + self._backoff_s(request))
            case Ambiguous():
                self._resolve_doubt(request, now, done)
            case CampaignUnavailable():
                self._park(request, now, done)
            case Misconfigured():
                self._halt(channel, outcome, now)
                self._keep(request, request.load, now, now + self._policy.probe_s)
            case _:
                assert_never(outcome)
        if request.campaign_id is not None and isinstance(outcome, Delivered | PartlyRefused | Refused | TooLarge):
            self.campaigns.unpark(request.campaign_id, now)  # Braze has looked at the recipients: it sends the campaign
        return done

    def _judge(self, request: Request, attempt: Attempt) -> Outcome:
        """What the answer is.

        Where once is the most, a 502 is a doubt: a proxy says so, too, when Braze was gone after taking the request.
        """
        if self.must_claim(request) and request.status == HTTPStatus.BAD_GATEWAY:
            return Ambiguous("status 502")
        return classify(request.endpoint, request.sizes(), attempt)

    def withdraw(self, stays: set[Assignment], now: float) -> int:
        """Forget what is not on the wire of these stays. Returns the objects among it that may have been applied."""
        self._stays -= stays
        self.batcher.withdraw(stays, now)
        self.campaigns.withdraw(stays, now)
        doubtful = 0
        for channel in self.channels:
            for request in channel.waiting_again():
                if request.may_be_applied:
                    doubtful += sum(1 for record in request.records if record.stay in stays)
                self._keep(request, request.load, now, request.due, is_paced=request.is_paced)
        return doubtful

    def forget_halts(self) -> None:
        """End the halts that nothing is left to probe with: whatever comes next finds out. The key is one for all."""
        idle = self.departures.idle
        for channel in idle:
            if channel.halt is not None and (len(idle) == len(self.channels) or not channel.halt.why.everything):
                channel.halt = None

    def on_wire(self, stays: set[Assignment]) -> int:
        """Records of these stays whose request has no answer yet."""
        requests = [request for channel in self.channels for request in channel.on_wire]
        return sum(1 for request in requests for record in request.records if record.stay in stays)

    def _note_writers(self, request: Request, outcome: Outcome) -> None:
        """Users whose attributes Braze may be applying now. What it refused, it surely does not apply."""
        if isinstance(outcome, Refused) or (isinstance(outcome, PartlyRefused) and not outcome.rest_accepted):
            return
        if not isinstance(outcome, PartlyRefused):
            request.wrote.update([piece.lane for piece in request.load if piece.array == "attributes"])
            return
        named = request.named(outcome.refused)
        attributes = [piece for piece in request.load if piece.array == "attributes"]
        request.wrote.update([piece.lane for piece in attributes if piece not in named])

    # ---- fates ----------------------------------------------------------------------------------------------------

    def _accept(self, request: Request, now: float, done: Conclusion) -> None:
        if request.suspect is not None:
            self.batcher.suspicions.accepted(request.suspect, self.batcher.limit.objects)
        self._deliver(request.load, done)
        if request.rest:
            self._keep(request, [], now)
            return
        lanes = dict.fromkeys([piece.lane for piece in request.load])
        request.load = []
        self._release(request, lanes, now)

    def _release(self, request: Request, lanes: Iterable[UserLane], now: float) -> None:
        """These users have nothing left in the request."""
        if request.endpoint is Endpoint.TRACK:
            self.batcher.release(lanes, now, request.wrote)
        else:
            self.campaigns.release(lanes, now)

    def _deliver(self, load: Sequence[Piece], done: Conclusion) -> None:
        done.delivered += [piece.records[-1] for piece in load]
        done.coalesced += [record for piece in load if len(piece.records) > 1 for record in piece.records[:-1]]
        attributes = sum([piece.points for piece in load if piece.array == "attributes"])
        others = sum([piece.points for piece in load]) - attributes  # events: a trigger costs none
        for kind, points in ((Kind.AUDIENCE, attributes), (Kind.EVENT, others)):
            if points:
                done.data_points[kind] = done.data_points.get(kind, 0) + points

    def _bury(self, request: Request, piece: Piece, reason: Reason, detail: str, done: Conclusion) -> None:
        for record in piece.records:
            done.dead.append(DeadLetter(record, reason, detail, request.status, request.attempts))

    def _bury_doubtful(self, request: Request, load: list[Piece], detail: str, done: Conclusion) -> list[Piece]:
        """What is left of `load` once the operator's policies on what must not be doubled were applied."""
        given_up: set[Array] = set()
        if self._policy.ambiguous_events == "dead_letter":
            given_up.add("events")
        if self._policy.campaigns == "at_most_once":
            given_up.add("recipients")
        for piece in load:
            if piece.array in given_up:
                self._bury(request, piece, "ambiguous", detail, done)
        return [piece for piece in load if piece.array not in given_up]

    def _take_blame(self, request: Request, outcome: PartlyRefused, now: float, done: Conclusion) -> None:
        """What Braze names ends, or is taken apart; where it names too few, look for the culprit; the others live."""
        named = request.named(outcome.refused)
        for piece in [piece for piece in request.load if piece in named]:
            if len(piece.records) > 1:
                self._take_apart(piece)
            else:
                self._bury(request, piece, "refused", f"refused by Braze, which named it in {piece.array}", done)
        unnamed = [piece for piece in request.load if piece not in named]
        suspects = [piece for piece in unnamed if piece.array in outcome.suspects]
        others = [piece for piece in unnamed if piece.array not in outcome.suspects] if suspects else unnamed
        if not outcome.rest_accepted:
            self._keep(request, others, now)
            return
        self._deliver(others, done)
        if len(request.load) > 1:
            # Some of the suspects were accepted, and sending those again repeats them.
            detail = "refused or accepted with its neighbours: Braze did not say which"
            suspects = self._bury_doubtful(request, suspects, detail, done)
            done.may_double += sum(piece.may_double for piece in suspects)
        self._halve(request, suspects, now, done, lone="refused")

    def _halve(self, request: Request, load: list[Piece], now: float, done: Conclusion, *, lone: Reason) -> None:
        """Send `load` in two halves, cut between users; one user's run goes one half after the other."""
        if len(load) < 2 <= len(request.load):
            self._keep(request, load, now)  # the one that is left of a larger request has not stood alone yet
            return
        request.suspect = None
        if len(load) < 2:
            for piece in load:
                if lone == "refused" and request.endpoint is Endpoint.TRACK:
                    self.batcher.suspect(piece)
                if len(piece.records) > 1:
                    self._take_apart(piece)
                else:
                    self._bury(request, piece, lone, "refused by Braze when it stood alone", done)
            self._keep(request, [], now)
            return
        cut = _cut_between_users(load)
        if cut is None:
            middle = len(load) // 2
            request.rest = load[middle:] + request.rest
            self._keep(request, load[:middle], now, self._halvings.reserve(now), is_paced=True)
            return
        other = Request(request.endpoint, load[cut:], request.campaign_id)
        other.attempts, other.status, other.wrote = request.attempts, request.status, set(request.wrote)
        other.may_be_applied = request.may_be_applied
        moved = {piece.lane for piece in other.load}
        request.load = [piece for piece in request.load if piece.lane not in moved]
        self._keep(request, load[:cut], now, self._halvings.reserve(now), is_paced=True)
        self._keep(other, other.load, now, self._halvings.reserve(now), is_paced=True)

    def _resolve_doubt(self, request: Request, now: float, done: Conclusion) -> None:
        """Nobody knows whether it was applied: attributes again, events and triggers as the operator chose."""
        request.may_be_applied = True
        load = self._bury_doubtful(request, request.load, "no clear answer: applied or not, nobody knows", done)
        done.may_double += sum(piece.may_double for piece in load)
        self._keep(request, load, now, now + self._backoff_s(request))

    def _park(self, request: Request, now: float, done: Conclusion) -> None:
        ours = [send for send in request.records if isinstance(send, CampaignSend) and send.stay in self._stays]
        wait_s = self._policy.probe_s * (0.75 + self._jitter() / 2)
        self.campaigns.park(request.campaign_id or "", ours, now, wait_s)
        self.departures.give_up_overflow(done)
        self._keep(request, [], now)

    def _take_apart(self, piece: Piece) -> None:
        """A refused object that several records made: its halves are tried, in order, until the culprit is alone."""
        piece.records = [record for record in piece.records if record.stay in self._stays]
        if piece.records:
            self.batcher.take_apart(piece)

    def _lower_limit(self, request: Request, outcome: TooLarge) -> None:
        """This workspace takes less than we thought; it stays so until the process starts anew.

        Half of what was sent, never of what is left: requests that were packed alike are refused alike.
        """
        sent = len(request.load)
        if sent < 2:
            return
        limit = self.batcher.limit
        if request.endpoint is Endpoint.TRIGGER:
            self.campaigns.recipients_max = min(self.campaigns.recipients_max, sent // 2)
        elif outcome.by == "bytes":
            self.batcher.limit = replace(limit, body_bytes=min(limit.body_bytes, request.body_bytes // 2))
        else:
            most = max(request.sizes().values()) if limit.per_array else sent
            self.batcher.limit = replace(limit, objects=min(limit.objects, max(1, most // 2)))

    # ---- keeping --------------------------------------------------------------------------------------------------

    def _backoff_s(self, request: Request) -> float:
        return self._policy.retry.wait_s(request.attempts, self._jitter())

    def _keep(
        self, request: Request, load: list[Piece], now: float, due: float | None = None, *, is_paced: bool = False
    ) -> None:
        """Keep `load` in hand, to be sent at `due` (default: now), and release the users of everything else.

        What belongs to partitions that have left is not kept: its new owner delivers it.
        """
        lanes = dict.fromkeys(piece.lane for piece in (*request.load, *load, *request.rest))
        request.load = self._still_ours(load)
        request.rest = self._still_ours(request.rest)
        if not request.load:
            request.load, request.rest = request.rest, []
        kept = {piece.lane for piece in (*request.load, *request.rest)}
        gone = [lane for lane in lanes if lane not in kept]
        self._release(request, gone, now)
        if request.load:
            due = now if due is None else due
            self._channel(request).again(request, due, is_paced=is_paced and due > now)

    def _still_ours(self, load: list[Piece]) -> list[Piece]:
        ours: list[Piece] = []
        for piece in load:
            records = [record for record in piece.records if record.stay in self._stays]
            if len(records) == len(piece.records):
                ours.append(piece)
            elif records:  # coalesced across partitions, of which one has left
                piece.records = records
                self.batcher.give_back(piece)
        return ours

    def _channel(self, request: Request) -> Channel:
        return self.track if request.endpoint is Endpoint.TRACK else self.trigger

    def _halt(self, channel: Channel, why: Misconfigured, now: float) -> None:
        for each in self.channels if why.everything else (channel,):
            since = each.halt.since if each.halt is not None else now
            each.halt = Halt(why, since, now + self._policy.probe_s * (0.75 + self._jitter() / 2))

    def _cure(self, channel: Channel, outcome: Outcome, now: float) -> None:
        """An answer that is no refusal of ours ends the halt of its channel; a key that works ends both."""
        if isinstance(outcome, Misconfigured):
            return
        if isinstance(outcome, Unreachable | Ambiguous | Throttled):
            if channel.halt is not None:
                channel.halt.probe_at = now + self._policy.probe_s
            return
        for each in self.channels:
            if each.halt is not None and (each is channel or each.halt.why.everything):
                each.halt = None
                for waiting in each.waiting_again():
                    is_paced = waiting.is_paced and waiting.due > now
                    each.again(waiting, waiting.due if is_paced else now, is_paced=is_paced)


def _cut_between_users(load: Sequence[Piece]) -> int | None:
    """The place nearest to the middle where one user ends and another begins; None if there is only one user."""
    middle = len(load) / 2
    cuts = [index for index in range(1, len(load)) if load[index].lane is not load[index - 1].lane]
    return min(cuts, key=lambda index: abs(index - middle), default=None)
