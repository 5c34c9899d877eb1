"""Micro-batches by ready users: who may be sent now, and what of his leaves together.

Pure; `now` is monotonic seconds. A *lane* is one user's waiting work. Its invariants are promise P2:

- a lane with a request in flight gives nothing (one replica never has two track requests of one user in flight);
- what a lane gives leaves in the order in which it came, attributes merged into one object, events one by one;
- after an attribute write was attempted, the lane's attributes wait `settle_s` (Braze may apply separate requests in
  any order); its events do not;
- after one was refused, they wait until its dead letter is written: a crash before that brings it back, and should
  Braze take it then, it must not come behind a newer one that is known to be settled.

A topic holds one kind, so the order of one user's records in one partition never spans attributes and events.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from connector.braze import BODY_BYTES_MAX, PROPERTIES_BYTES_MAX, TRACK_OBJECTS_MAX
from connector.piece import Piece, UserLane, mergeable
from connector.records import Assignment, Outbound
from connector.suspicion import Shape, Suspicions, shape_of

ClosedBy = Literal["full", "bytes", "idle", "linger", "drain", "suspect"]
"""Why a batch left: it was full, it was heavy, the quota was idle, it had waited long enough, all is to leave, or it
travels apart because Braze has refused something that looks like it."""

_NEVER = float("-inf")

_SETTLE_STEPS = 50
"""Into so many parts the settle time is divided; holds end at their edges only."""

_PASSED_MAX = 8
"""Lanes that may be left standing in front of a batch because their run does not fit into the rest of it."""

_ENVELOPE_BYTES = 64
"""`{"attributes":[...],"events":[...]}` around the objects, rounded up."""


@dataclass(frozen=True, slots=True)
class TrackLimit:
    """Objects of one `/users/track` request.

    Attributes:
        objects: The most that one request may carry.
        per_array: False: of all arrays together (today's contracts); True: of each array (legacy ones).
        body_bytes: The most that its body may weigh.
    """

    objects: int = TRACK_OBJECTS_MAX
    per_array: bool = False
    body_bytes: int = BODY_BYTES_MAX


class Lane(UserLane):
    """One user's waiting attributes and events."""

    __slots__ = ("attributes", "events", "held_until", "letters", "listed", "ready_attributes", "since")

    def __init__(self, user: str) -> None:
        super().__init__(user)
        self.attributes: list[Outbound] = []
        self.events: list[Outbound] = []
        self.held_until = _NEVER  # his attributes wait until then
        self.letters = 0  # and until so many dead letters are written
        self.listed = False  # stands in the queue of ready lanes
        self.since = 0.0  # when he was listed
        self.ready_attributes = 0  # what they add to the batcher's count: 1 if they may leave; events always may


class TrackBatch(NamedTuple):
    """What `take` gives.

    Attributes:
        pieces: The objects; those of one user stand together and in order.
        closed_by: Why it left.
        suspect: The shape for whose sake it travels apart; None: it is an ordinary batch.
    """

    pieces: list[Piece]
    closed_by: ClosedBy
    suspect: Shape | None = None


class Batcher:
    """The waiting work of all users, for `/users/track`.

    Args:
        limit: Objects a request may carry; lowered for good when Braze says so.
        settle_s: How long attributes of a user wait after an attempt to write some. 0: they do not.
        linger_s: How long an unfilled batch waits at most when the quota binds.
    """

    def __init__(self, limit: TrackLimit, settle_s: float, linger_s: float) -> None:
        self.limit = limit
        self._settle_s = settle_s
        self._linger_s = linger_s
        self._lanes: dict[str, Lane] = {}
        self._ready: deque[Lane] = deque()
        self._suspect: deque[Lane] = deque()  # ready, too, but apart
        self._suspects_turn = True
        self.suspicions = Suspicions()
        self._ready_attributes = 0
        self._ready_events = 0
        self._holds: list[tuple[float, int, Sequence[Lane]]] = []  # one entry for all who begin to wait at once
        self._hold_number = 0
        self.holds = 0
        """Attribute writes that users still have to wait for."""
        self._group_number = 0
        self.waiting = 0
        """Records in here, in no request."""

    def __repr__(self) -> str:
        """State as text: `waiting=3 ready=2 lanes=2 holds=0`."""
        ready = len(self._ready) + len(self._suspect)
        return f"waiting={self.waiting} ready={ready} lanes={len(self._lanes)} holds={self.holds}"

    def add_attributes(self, records: Sequence[Outbound], now: float, hold_until: float = _NEVER) -> None:
        """Take attribute writes in; none leaves before `hold_until` (an earlier owner's settle time)."""
        if hold_until > now:
            self._hold([self._lane(record.user) for record in records], hold_until)
        lanes = self._lanes
        for record in records:
            lane = lanes.get(record.user)
            if lane is None:
                lane = lanes[record.user] = Lane(record.user)
            lane.attributes.append(record)
            if not (lane.ready_attributes or lane.busy or lane.letters or lane.held_until > now):
                self._refresh(lane, now)
        self.waiting += len(records)

    def add_events(self, records: Sequence[Outbound], now: float) -> None:
        """Take events in."""
        lanes = self._lanes
        ready = 0
        for record in records:
            lane = lanes.get(record.user)
            if lane is None:
                lane = lanes[record.user] = Lane(record.user)
            lane.events.append(record)
            if not lane.busy:
                ready += 1
                if not lane.listed:
                    self._list(lane, now)
        self._ready_events += ready
        self.waiting += len(records)

    def is_full(self) -> bool:
        """Whether what is ready fills a request."""
        if self.limit.per_array:
            return max(self._ready_attributes, self._ready_events) >= self.limit.objects
        return self._ready_attributes + self._ready_events >= self.limit.objects

    def next_due(self, headroom: float, now: float) -> float | None:
        """When to call `take`: at `now` or earlier if at once, None if nothing waits for time to pass.

        An unfilled batch waits the longer the less quota there is: not at all when idle, `linger_s` when spent.
        """
        due: float | None = None
        if self._suspect:
            due = now
        elif self._ready:
            due = now if self.is_full() else self._lingers_until(headroom)
        if self._holds and (due is None or self._holds[0][0] < due):
            due = self._holds[0][0]
        return due

    def take(self, now: float, *, headroom: float, draining: bool = False) -> TrackBatch | None:
        """The next batch, its lanes marked busy; None if nothing is ready, or waiting is wiser.

        Args:
            now: Monotonic seconds.
            headroom: How idle the quota is, 0 to 1.
            draining: Everything is to leave; nothing lingers.
        """
        self._wake(now)
        batch: TrackBatch | None = None
        # In turns: a flood of suspects must not keep the others waiting. Twice, since either may find lanes that belong
        # to the other.
        for is_suspects in (self._suspects_turn, not self._suspects_turn) * 2:
            batch = self._take_suspect() if is_suspects else self._take_ready(now, headroom, draining=draining)
            if batch is not None:
                break
        if batch is not None:
            self._suspects_turn = batch.suspect is None
        return batch

    def _take_ready(self, now: float, headroom: float, *, draining: bool) -> TrackBatch | None:
        if not self._ready:
            return None
        if self.is_full():
            closed_by: ClosedBy = "full"
        elif draining:
            closed_by = "drain"
        elif self._lingers_until(headroom) > now:
            return None
        else:
            closed_by = "idle" if headroom >= 0.5 else "linger"
        pieces, heavy = self._pack(self._ready, self.limit, None)
        return TrackBatch(pieces, "bytes" if heavy else closed_by) if pieces else None

    def _take_suspect(self) -> TrackBatch | None:
        """A small batch of lanes that look alike; those of whom nobody thinks ill any more go back to the others."""
        while self._suspect:
            shape = self._suspected(self._suspect[0])
            if shape is None:
                self._ready.append(self._suspect.popleft())
                continue
            objects = min(self.suspicions.objects(shape), self.limit.objects)
            limit = TrackLimit(objects, per_array=False, body_bytes=self.limit.body_bytes)
            pieces, _ = self._pack(self._suspect, limit, shape)
            return TrackBatch(pieces, "suspect", shape) if pieces else None
        return None

    def _suspected(self, lane: Lane) -> Shape | None:
        """The shape for whose sake what this lane would give travels apart."""
        if not self.suspicions:
            return None
        attributes = lane.attributes[: mergeable(lane.attributes)] if lane.ready_attributes else []
        return self.suspicions.find([*attributes, *lane.events[: self.limit.objects]])

    def suspect(self, piece: Piece) -> None:
        """Braze has refused this object when it stood alone, after a halving."""
        for record in piece.records:
            self.suspicions.refused(shape_of(record))

    def give_back(self, piece: Piece) -> None:
        """Return what a request did not settle to the front of its (busy) lane, in order."""
        lane = self._lanes[piece.lane.user]
        waiting = lane.attributes if piece.array == "attributes" else lane.events
        waiting[0:0] = piece.records
        self.waiting += len(piece.records)

    def take_apart(self, piece: Piece) -> None:
        """Return a refused object of several records as two groups, each to be tried by itself, in order."""
        middle = len(piece.records) // 2
        for half in (piece.records[:middle], piece.records[middle:]):
            self._group_number += 1
            for record in half:
                record.group = self._group_number
        self.give_back(piece)

    def release(self, lanes: Iterable[UserLane], now: float, wrote: Collection[UserLane] = ()) -> None:
        """A request has ended: its lanes may give again; those in `wrote` hold attributes back for the settle time."""
        released = [lane for lane in lanes if isinstance(lane, Lane)]
        for lane in released:
            lane.busy = False
            if lane.events:
                self._ready_events += len(lane.events)
        if self._settle_s > 0:
            self._hold([lane for lane in released if lane in wrote], self._settled_from(now))
        self._take_up(released, now)

    def await_letter(self, user: str, now: float) -> None:
        """An attribute write of this user was refused: his next one waits until `letter_written`."""
        lane = self._lane(user)
        lane.letters += 1
        self._refresh(lane, now)

    def letter_written(self, user: str, now: float) -> None:
        """The dead letter of a refused one is in Kafka."""
        lane = self._lanes[user]
        lane.letters -= 1
        self._take_up([lane], now)

    def withdraw(self, stays: set[Assignment], now: float) -> list[Outbound]:
        """Take out all that waits for these stays (their partitions leave) and return it; none of it was sent."""
        gone: list[Outbound] = []
        for lane in self._lanes.values():
            leaving = [record for record in (*lane.attributes, *lane.events) if record.stay in stays]
            if leaving:
                gone.extend(leaving)
                self._ready_events -= 0 if lane.busy else len(lane.events)
                lane.attributes = [record for record in lane.attributes if record.stay not in stays]
                lane.events = [record for record in lane.events if record.stay not in stays]
                self._ready_events += 0 if lane.busy else len(lane.events)
                self._refresh(lane, now)
        self._take_up(list(self._lanes.values()), now)
        self.waiting -= len(gone)
        return gone

    def _lane(self, user: str) -> Lane:
        lane = self._lanes.get(user)
        if lane is None:
            lane = self._lanes[user] = Lane(user)
        return lane

    def _lingers_until(self, headroom: float) -> float:
        return self._ready[0].since + self._linger_s * (1.0 - headroom)

    def _pack(self, ready: deque[Lane], limit: TrackLimit, suspect: Shape | None) -> tuple[list[Piece], bool]:
        """Fill one request from ready lanes, oldest first; the second value says whether bytes were the bound.

        Args:
            ready: Where to take from.
            limit: What the request can take.
            suspect: Only lanes that travel apart for this shape's sake; None: only those that do not travel apart.
        """
        pieces: list[Piece] = []
        passed: list[Lane] = []
        is_wary = bool(self.suspicions)
        heavy = False
        size = _ENVELOPE_BYTES
        attributes_room = events_room = limit.objects
        while ready and not heavy and (events_room or attributes_room) and len(passed) < _PASSED_MAX:
            lane = ready.popleft()
            attributes, events = lane.ready_attributes, len(lane.events)
            if not (attributes or events):
                lane.listed = False  # emptied, or held, since it was listed
                continue
            if is_wary and self._suspected(lane) != suspect:
                (self._suspect if suspect is None else passed).append(lane)
                continue
            # A run that fits a request whole is not cut to fill a rest: the hottest user must not set the pace.
            run_room = events_room if limit.per_array else events_room - attributes
            if run_room < events <= self.limit.objects and pieces:
                passed.append(lane)
                continue
            own = self._give(lane, attributes_room, run_room)
            for piece in own:
                size += len(piece.encoded) + 1
            heavy = size > limit.body_bytes
            while size > limit.body_bytes and len(pieces) + len(own) > 1:  # alone it goes, however heavy
                piece = own.pop()
                size -= len(piece.encoded) + 1
                self.give_back(piece)
            if not own:
                passed.append(lane)
                continue
            if attributes:
                self._ready_attributes -= 1
                lane.ready_attributes = 0
            self._ready_events -= events
            lane.listed = False
            lane.busy = True
            pieces += own
            if not limit.per_array:
                attributes_room = events_room = events_room - len(own)
            elif own[0].array == "attributes":
                attributes_room -= 1
                events_room -= len(own) - 1
            else:
                events_room -= len(own)
        ready.extendleft(reversed(passed))
        return pieces, heavy

    def _give(self, lane: Lane, attributes_room: int, events_room: int) -> list[Piece]:
        """Take a lane's share of one request out of it."""
        own: list[Piece] = []
        if lane.ready_attributes and attributes_room > 0:
            count = mergeable(lane.attributes)
            piece = Piece(lane, "attributes", lane.attributes[:count])
            while count > 1 and len(piece.encoded) > PROPERTIES_BYTES_MAX:
                count //= 2  # merging must not build an object that Braze refuses for its size
                piece = Piece(lane, "attributes", lane.attributes[:count])
            del lane.attributes[:count]
            self.waiting -= count
            own.append(piece)
        if lane.events and events_room > 0:
            run = lane.events[:events_room]
            del lane.events[:events_room]
            self.waiting -= len(run)
            own += [Piece(lane, "events", [record]) for record in run]
        return own

    def _settled_from(self, now: float) -> float:
        """When what was written until now is settled: a little later, so that many wake up together.

        Each by himself would leave in a request of his own where the quota is idle.
        """
        step = self._settle_s / _SETTLE_STEPS
        return max(now + self._settle_s, math.ceil((now + self._settle_s) / step) * step)

    def _refresh(self, lane: Lane, now: float) -> None:
        """Count anew whether its attributes may leave, and list it if it could give something."""
        may_write = lane.attributes and not (lane.busy or lane.letters) and lane.held_until <= now
        attributes = 1 if may_write else 0
        self._ready_attributes += attributes - lane.ready_attributes
        lane.ready_attributes = attributes
        if (attributes or lane.events) and not (lane.busy or lane.listed):
            self._list(lane, now)

    def _list(self, lane: Lane, now: float) -> None:
        lane.listed = True
        lane.since = now
        self._ready.append(lane)

    def _take_up(self, lanes: Iterable[Lane], now: float) -> None:
        """List those that could give something; forget those that have nothing left: busy or held they counted 0."""
        for lane in lanes:
            if lane.attributes or lane.events:
                self._refresh(lane, now)
            # A hold may outlive its lane, and the user have a new one by then.
            elif lane.held_until <= now and not (lane.busy or lane.letters) and self._lanes.get(lane.user) is lane:
                del self._lanes[lane.user]

    def _hold(self, lanes: Iterable[Lane], until: float) -> None:
        """Keep their attributes back until then."""
        held = [lane for lane in lanes if lane.held_until < until]
        for lane in held:
            lane.held_until = until
            self._ready_attributes -= lane.ready_attributes
            lane.ready_attributes = 0
        if held:
            self.holds += len(held)
            self._hold_number += 1
            heapq.heappush(self._holds, (until, self._hold_number, held))

    def _wake(self, now: float) -> None:
        """List the lanes whose hold has ended; forget those that have nothing left."""
        holds = self._holds
        while holds and holds[0][0] <= now:
            until, _, lanes = heapq.heappop(holds)
            self.holds -= len(lanes)
            self._take_up([lane for lane in lanes if lane.held_until <= until], now)  # the others are held anew since
