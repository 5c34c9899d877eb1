"""What to ask Braze next: whom the channels serve, in which order, and when there may be something to serve.

Pure. `now` is monotonic seconds, `at` wall-clock epoch seconds. Somebody else sends, and `delivery` learns from what is
answered.
"""

from __future__ import annotations

from collections.abc import Collection

from connector.batching import Batcher
from connector.braze import Endpoint
from connector.campaigns import CampaignBatcher
from connector.channel import Channel
from connector.conclusion import Conclusion, DeadLetter
from connector.piece import Piece
from connector.records import CampaignSend
from connector.request import Request

_FREEZE_TOLD_S = 5.0
"""A freeze that lasts no longer is an ordinary window's: told by metrics, not by words."""


class Departures:
    """Both channels, fed by their batchers.

    Args:
        track: The channel of attributes and events.
        batcher: What waits for it.
        trigger: The channel of triggers.
        campaigns: What waits for that.
    """

    def __init__(self, track: Channel, batcher: Batcher, trigger: Channel, campaigns: CampaignBatcher) -> None:
        self.track = track
        self.batcher = batcher
        self.trigger = trigger
        self.campaigns = campaigns

    @property
    def channels(self) -> tuple[Channel, Channel]:
        """In the order in which they are served: a campaign never waits behind an audience."""
        return (self.trigger, self.track)

    def feed(self, channel: Channel) -> CampaignBatcher | Batcher:
        """What waits for a channel."""
        return self.campaigns if channel is self.trigger else self.batcher

    @property
    def idle(self) -> set[Channel]:
        """Channels with nothing in hand and nothing waiting."""
        return {channel for channel in self.channels if not (channel.in_hand or self.feed(channel).waiting)}

    def waits(self, now: float) -> dict[str, str]:
        """What is waited for though nobody here has to mend anything: reasons, and what to know of each."""
        found: dict[str, str] = {}
        for channel in self.channels:
            left_s = channel.pool.frozen_left_s(now)
            if left_s > _FREEZE_TOLD_S:
                found[f"throttled:{channel.endpoint}"] = (
                    f"Braze answered 429 and wants to be left alone: nothing is sent there for another {left_s:.0f} s;"
                    " look whether another client of the workspace uses up its limit"
                )
        if self.campaigns.parked_campaigns:
            found["campaigns_parked"] = (
                f"Braze does not send {self.campaigns.parked_campaigns} campaigns, of which {self.campaigns.parked}"
                " triggers wait: resume or unarchive them there, or mend the mapping of the campaign id"
            )
        return found

    def next_request(
        self, now: float, at: float, done: Conclusion, *, draining: bool = False, coming: Collection[Endpoint] = ()
    ) -> Request | None:
        """The next request to put on the wire at once, its budget spent; None if nothing may leave now.

        Args:
            now: Monotonic seconds.
            at: Epoch seconds.
            done: Gets what a rule settles instead of sending it.
            draining: Nothing lingers.
            coming: For these, records are about to be added: an unfilled batch waits for them, whatever the quota.
        """
        for channel in self.channels:
            if channel.pool.ready_at(now, at) > now:
                continue
            is_coming = channel.endpoint in coming
            request = self._choose(channel, now, at, done, draining=draining, more_is_coming=is_coming)
            if request is not None:
                channel.pool.take(now, at)
                channel.on_wire.add(request)
                return request
        return None

    def next_due(
        self, now: float, at: float, *, may_send: bool = True, coming: Collection[Endpoint] = ()
    ) -> float | None:
        """Monotonic time at which `next_request` may have something that it does not have now; None: only on news.

        The channels learn from when and until when the quota alone will have kept something.

        Args:
            now: Monotonic seconds.
            at: Epoch seconds.
            may_send: False: nothing leaves, and the quota is not what keeps it.
            coming: As `next_request` was told, or it would be asked again at once for what still waits for company.
        """
        soonest: float | None = None
        for channel in self.channels:
            due = self._due(channel, now, at, more_is_coming=channel.endpoint in coming) if may_send else None
            if due is None:
                channel.awaits_quota(now, now, now)
                continue
            allowed = channel.pool.ready_at(now, at)
            channel.awaits_quota(due, allowed, now)
            due = max(due, allowed)
            if soonest is None or due < soonest:
                soonest = due
        return soonest

    def _due(self, channel: Channel, now: float, at: float, *, more_is_coming: bool) -> float | None:
        feed = self.feed(channel)
        due = channel.again_due()
        if channel.halt is not None:
            if channel.on_wire:
                return None
            due = now if due is not None else feed.next_due(1.0, now)
            return None if due is None else max(due, channel.halt.probe_at)
        if channel.has_slot:
            batch = feed.next_due(0.0 if more_is_coming else channel.pool.headroom(now, at), now)
            if batch is not None and (due is None or batch < due):
                return batch
        return due

    def _choose(
        self, channel: Channel, now: float, at: float, done: Conclusion, *, draining: bool, more_is_coming: bool
    ) -> Request | None:
        halt = channel.halt
        if halt is not None and (channel.on_wire or halt.probe_at > now):
            return None
        while (due := channel.again_due()) is not None and (halt is not None or due <= now):
            request = channel.pop_again()
            self._skip_stale(request, now, at, done)
            if request.load:
                return request
        if halt is not None:
            return self._fresh(channel, 1.0, now, at, done, draining=True)
        if not channel.has_slot:
            return None
        headroom = 0.0 if more_is_coming else channel.pool.headroom(now, at)
        return self._fresh(channel, headroom, now, at, done, draining=draining)

    def _skip_stale(self, request: Request, now: float, at: float, done: Conclusion) -> None:
        """Take out the triggers whose time has passed while the request waited to be tried again."""
        fresh: list[Piece] = []
        for piece in request.load:
            send = piece.records[0]
            reason = self.campaigns.stale(send, at) if isinstance(send, CampaignSend) else None
            if reason is None:
                fresh.append(piece)
            else:
                done.skipped.append((send, reason))
                self.campaigns.release([piece.lane], now)
        request.load = fresh

    def _fresh(
        self, channel: Channel, headroom: float, now: float, at: float, done: Conclusion, *, draining: bool
    ) -> Request | None:
        if channel is self.track:
            taken = self.batcher.take(now, headroom=headroom, draining=draining)
            if taken is None:
                return None
            return Request(Endpoint.TRACK, taken.pieces, closed_by=taken.closed_by, suspect=taken.suspect)
        batch, stale = self.campaigns.take(now, at, headroom=headroom, draining=draining)
        done.skipped.extend(stale)
        self.give_up_overflow(done)
        if batch is None:
            return None
        return Request(Endpoint.TRIGGER, batch.pieces, batch.campaign_id, batch.closed_by)

    def give_up_overflow(self, done: Conclusion) -> None:
        """Triggers of campaigns that Braze does not send, beyond what is kept of them."""
        for send in self.campaigns.overflow:
            detail = "its campaign is unavailable, and more of its triggers wait than are kept"
            done.dead.append(DeadLetter(send, "campaign_unavailable", detail, 0, 0))
        self.campaigns.overflow.clear()
