"""Micro-batches of triggered campaigns: at most one entry a user, one campaign a request, parked campaigns aside.

Pure; `now` is monotonic seconds, `at` wall-clock epoch seconds. Why it is not the track batcher: a request carries one
campaign; two entries of one user in a request would become one message (Braze keeps the last); nothing coalesces; a
trigger that waited too long must not be sent at all.

A user's triggers leave in the order in which they came, one request at a time. A campaign that Braze refuses (paused,
archived, unknown) is *parked*: its triggers step aside, so that the user's other campaigns go on.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from connector.batching import ClosedBy
from connector.braze import RECIPIENTS_MAX
from connector.piece import Piece, UserLane
from connector.records import Assignment, CampaignSend, SkipReason

_NEVER = float("-inf")

_ASKED_AFTER_S = 60.0
"""A campaign that stays unavailable is asked about ever more rarely, but no more so than this."""


class CampaignLane(UserLane):
    """One user's waiting triggers."""

    __slots__ = ("waiting",)

    def __init__(self, user: str) -> None:
        super().__init__(user)
        self.waiting: deque[CampaignSend] = deque()


@dataclass(slots=True)
class _Parked:
    """A campaign that Braze does not send at present.

    Attributes:
        until: Not asked about before.
        patience: So many times the usual wait until the next probe: twice as many after each that was refused.
        probe: The lane of the one trigger that asks about it now.
        asks: That trigger.
        sends: What waits, oldest first.
    """

    until: float
    patience: float = 1.0
    probe: CampaignLane | None = None
    asks: CampaignSend | None = None
    sends: deque[CampaignSend] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class CampaignBatch:
    """What `take` gives: one campaign and its recipients, no user twice."""

    campaign_id: str
    pieces: list[Piece]
    closed_by: ClosedBy


class CampaignBatcher:
    """The waiting triggers of all users.

    Args:
        linger_s: How long an unfilled batch waits at most when the quota binds.
        max_age_s: A trigger requested longer ago than this is not sent. None: no such rule.
        parked_max: Triggers of unavailable campaigns that are kept; beyond it they go to the dead letters.
        recipients_max: Recipients of one request; lowered for good when Braze says so.
    """

    def __init__(
        self,
        linger_s: float,
        max_age_s: float | None,
        parked_max: int,
        recipients_max: int = RECIPIENTS_MAX,
    ) -> None:
        self.recipients_max = recipients_max
        self._linger_s = linger_s
        self._max_age_s = max_age_s
        self._parked_max = parked_max
        self._lanes: dict[str, CampaignLane] = {}
        self._heads: dict[str, deque[tuple[float, CampaignLane]]] = {}  # campaign -> (ready since, lane), oldest first
        self._parked: dict[str, _Parked] = {}
        self._has_probed = False  # what was taken last was a probe: one of the others has the next turn
        self.waiting = 0
        """Triggers in here, in no request, parked ones included."""
        self.parked = 0
        """Of these, parked."""
        self.overflow: list[CampaignSend] = []
        """Parked beyond the bound: out of here already, to be fetched by the caller for the dead letters."""

    def __repr__(self) -> str:
        """State as text: `waiting=3 campaigns=1 parked=2`."""
        return f"waiting={self.waiting} campaigns={len(self._heads)} parked={self.parked}"

    @property
    def parked_campaigns(self) -> int:
        """Campaigns that are parked."""
        return len(self._parked)

    def add(self, sends: Iterable[CampaignSend], now: float) -> None:
        """Take triggers in."""
        for send in sends:
            lane = self._lanes.get(send.user)
            if lane is None:
                lane = self._lanes[send.user] = CampaignLane(send.user)
            lane.waiting.append(send)
            self.waiting += 1
            if len(lane.waiting) == 1 and not lane.busy:
                self._head(lane, now)

    def next_due(self, headroom: float, now: float) -> float | None:
        """When to call `take`: at `now` or earlier if at once, None if nothing waits for time to pass."""
        due = min((self._due(heads, headroom, now) for heads in self._heads.values()), default=None)
        for parked in self._parked.values():
            if parked.probe is None and (due is None or parked.until < due):
                due = parked.until  # also if nothing of it waits any more: then it is forgotten
        return due

    def take(
        self,
        now: float,
        at: float,
        *,
        headroom: float,
        draining: bool = False,
    ) -> tuple[CampaignBatch | None, list[tuple[CampaignSend, SkipReason]]]:
        """The next batch, its lanes marked busy, and the triggers that a rule settles instead of sending them.

        Probes and batches take turns: many campaigns that are paused must not use up the quota of those that are not.
        """
        expired: list[tuple[CampaignSend, SkipReason]] = []
        batch = None
        if self._has_probed:
            batch = self._take_ready(now, at, expired, headroom=headroom, draining=draining)
        self._has_probed = False
        if batch is None:
            batch = self._probe(now, at, expired)
            self._has_probed = batch is not None
        if batch is None:
            batch = self._take_ready(now, at, expired, headroom=headroom, draining=draining)
        return batch, expired

    def release(self, lanes: Iterable[UserLane], now: float) -> None:
        """A request has ended: its users' next triggers are ready."""
        for lane in lanes:
            if not isinstance(lane, CampaignLane):
                continue
            if self._lanes.get(lane.user) is not lane:
                for parked in self._parked.values():
                    if parked.probe is lane:
                        parked.probe = parked.asks = None
                continue
            lane.busy = False
            if lane.waiting:
                self._head(lane, now)
            else:
                del self._lanes[lane.user]

    def park(self, campaign_id: str, sends: Iterable[CampaignSend], now: float, wait_s: float) -> None:
        """Set a campaign aside with what a request of it carried.

        Until `unpark` every trigger of it steps aside; after `wait_s` one request of it asks again, and after twice as
        long the next one.
        """
        parked = self._parked.get(campaign_id)
        if parked is None:
            parked = self._parked[campaign_id] = _Parked(_NEVER)
        elif parked.until <= now:  # it was asked about, and is still not sent
            parked.patience *= 2
        parked.until = now + min(wait_s * parked.patience, max(wait_s, _ASKED_AFTER_S))
        returned = list(sends)
        parked.sends.extendleft(reversed(returned))
        self.waiting += len(returned)
        self.parked += len(returned)
        self._bound(parked)

    def unpark(self, campaign_id: str, now: float) -> None:
        """Braze sends it again: its triggers go first, being older than whatever else of their users waits.

        While a probe of it is in hand nothing happens, or a newer trigger of the probe's user could overtake it.
        """
        parked = self._parked.get(campaign_id)
        if parked is None or parked.probe is not None:
            return
        del self._parked[campaign_id]
        self.parked -= len(parked.sends)
        fronts: dict[str, list[CampaignSend]] = {}
        for send in parked.sends:
            fronts.setdefault(send.user, []).append(send)
        for user, front in fronts.items():
            lane = self._lanes.get(user)
            if lane is None:
                lane = self._lanes[user] = CampaignLane(user)
            lane.waiting.extendleft(reversed(front))
        self._find_heads(now)

    def parked_by_stay(self) -> Counter[Assignment]:
        """How many triggers of each stay are parked, those that ask about their campaigns included."""
        found = Counter(send.stay for parked in self._parked.values() for send in parked.sends)
        found.update(parked.asks.stay for parked in self._parked.values() if parked.asks is not None)
        return found

    def is_parked(self, campaign_id: str) -> bool:
        """Whether the campaign is set aside."""
        return campaign_id in self._parked

    def withdraw(self, stays: set[Assignment], now: float) -> list[CampaignSend]:
        """Take out all that waits for these stays (their partitions leave) and return it; none of it was sent."""
        gone: list[CampaignSend] = []
        for lane in list(self._lanes.values()):
            leaving = [send for send in lane.waiting if send.stay in stays]
            if leaving:
                gone.extend(leaving)
                lane.waiting = deque(send for send in lane.waiting if send.stay not in stays)
        for parked in self._parked.values():
            leaving = [send for send in parked.sends if send.stay in stays]
            gone.extend(leaving)
            self.parked -= len(leaving)
            parked.sends = deque(send for send in parked.sends if send.stay not in stays)
        # Of one that nothing waits for nothing is to be said; a probe in hand still has its answer to give.
        self._parked = {
            name: parked for name, parked in self._parked.items() if parked.sends or parked.probe is not None
        }
        self.waiting -= len(gone)
        if gone:
            self._find_heads(now)
        return gone

    def stale(self, send: CampaignSend, at: float) -> SkipReason | None:
        """Why a trigger must not be sent any more; None: it may."""
        if send.expires_at_ms is not None and send.expires_at_ms <= at * 1000:
            return "expired"
        if self._max_age_s is not None and send.requested_at_ms is not None:
            return "too_old" if send.requested_at_ms < (at - self._max_age_s) * 1000 else None
        return None

    def _bound(self, parked: _Parked) -> None:
        while self.parked > self._parked_max and parked.sends:
            self.overflow.append(parked.sends.pop())
            self.parked -= 1
            self.waiting -= 1

    def _head(self, lane: CampaignLane, now: float) -> None:
        self._heads.setdefault(lane.waiting[0].campaign_id, deque()).append((now, lane))

    def _find_heads(self, now: float) -> None:
        """List all lanes anew, after their fronts have changed."""
        self._heads.clear()
        self.release([lane for lane in self._lanes.values() if not lane.busy], now)

    def _due(self, heads: deque[tuple[float, CampaignLane]], headroom: float, now: float) -> float:
        return now if len(heads) >= self.recipients_max else heads[0][0] + self._linger_s * (1.0 - headroom)

    def _choose(self, now: float, headroom: float, *, draining: bool) -> tuple[str, ClosedBy] | None:
        """Of the campaigns whose batch may leave the one that has waited longest: none starves behind a busy one."""
        chosen: tuple[float, str, ClosedBy] | None = None
        for campaign_id, heads in self._heads.items():
            since = heads[0][0]
            if chosen is not None and chosen[0] <= since:
                continue
            if len(heads) >= self.recipients_max:
                chosen = since, campaign_id, "full"
            elif draining:
                chosen = since, campaign_id, "drain"
            elif self._due(heads, headroom, now) <= now:
                chosen = since, campaign_id, "idle" if headroom >= 0.5 else "linger"
        return chosen[1:] if chosen is not None else None

    def _take_ready(
        self,
        now: float,
        at: float,
        expired: list[tuple[CampaignSend, SkipReason]],
        *,
        headroom: float,
        draining: bool,
    ) -> CampaignBatch | None:
        while (choice := self._choose(now, headroom, draining=draining)) is not None:
            campaign_id, closed_by = choice
            recipients = self._fill(campaign_id, now, at, expired)
            if recipients:
                return CampaignBatch(campaign_id, recipients, closed_by)
        return None

    def _fill(
        self,
        campaign_id: str,
        now: float,
        at: float,
        expired: list[tuple[CampaignSend, SkipReason]],
    ) -> list[Piece]:
        heads = self._heads[campaign_id]
        parked = self._parked.get(campaign_id)
        recipients: list[Piece] = []
        while heads and len(recipients) < self.recipients_max:
            _, lane = heads.popleft()
            send = lane.waiting.popleft()
            reason = self.stale(send, at)
            if reason is not None:
                expired.append((send, reason))
                self.waiting -= 1
            elif parked is not None:
                parked.sends.append(send)
                self.parked += 1
                self._bound(parked)
            else:
                lane.busy = True
                recipients.append(Piece(lane, "recipients", [send]))
                self.waiting -= 1
                continue
            self.release([lane], now)
        if not heads and self._heads.get(campaign_id) is heads:
            del self._heads[campaign_id]
        return recipients

    def _probe(
        self,
        now: float,
        at: float,
        expired: list[tuple[CampaignSend, SkipReason]],
    ) -> CampaignBatch | None:
        """One trigger of a parked campaign whose time to ask again has come; those past their time step out."""
        for campaign_id, parked in list(self._parked.items()):
            if parked.probe is not None or parked.until > now:
                continue
            waited, parked.sends = parked.sends, deque()
            for send in waited:
                reason = self.stale(send, at)
                if reason is None:
                    parked.sends.append(send)
                else:
                    expired.append((send, reason))
            self.parked -= len(waited) - len(parked.sends)
            self.waiting -= len(waited) - len(parked.sends)
            if not parked.sends:
                del self._parked[campaign_id]  # nothing is left to ask with: the next trigger will find out
                continue
            send = parked.sends.popleft()
            self.parked -= 1
            self.waiting -= 1
            # Its user's lane may be busy with another campaign; a probe has one of its own that nobody waits in.
            parked.probe, parked.asks = CampaignLane(send.user), send
            return CampaignBatch(campaign_id, [Piece(parked.probe, "recipients", [send])], "linger")
        return None
