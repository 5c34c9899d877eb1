"""Which partitions pause and go on, as a rule and in every order of handing out and settling."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from connector.backpressure import Bounds, Flow, regulate
from connector.records import Assignment

BOUNDS = Bounds(100, 1000)


def flows(count: int) -> list[Flow]:
    return [Flow(Assignment("t", index, 1), 0) for index in range(count)]


def hand(flow: Flow, records: int, size_bytes: int = 0) -> None:
    flow.handed += records
    flow.handed_bytes += size_bytes


def regulated(*own: Flow, held: bool = False, held_back: frozenset[Assignment] = frozenset()) -> list[tuple[str, int]]:
    pause, resume = regulate(own, BOUNDS, held=held, held_back=held_back)
    return [("pause", each.stay.partition) for each in pause] + [("resume", each.stay.partition) for each in resume]


def test_bytes_are_bounded_like_records() -> None:
    (flow,) = flows(1)

    hand(flow, 2, 1000)
    assert regulated(flow) == [("pause", 0)]
    flow.released, flow.released_bytes = 1, 500
    assert regulated(flow) == [("resume", 0)]


def test_a_partition_below_its_equal_share_goes_on_when_others_have_filled_the_bound() -> None:
    greedy, modest = flows(2)

    hand(greedy, 120)
    hand(modest, 10)
    assert regulated(greedy, modest) == [("pause", 0)]
    hand(modest, 40)
    assert regulated(greedy, modest) == [("pause", 1)]


def test_what_is_held_stops_at_once_and_goes_on_at_once() -> None:
    one, other = flows(2)

    assert regulated(one, other, held_back=frozenset({other.stay})) == [("pause", 1)]
    assert regulated(one, other, held=True) == [("pause", 0)]
    assert regulated(one, other, held_back=frozenset({other.stay})) == [("resume", 0)]
    assert regulated(one, other) == [("resume", 1)]


def test_without_a_partition_there_is_nothing_to_do() -> None:
    assert regulated() == []


class Partitions(RuleBasedStateMachine):
    """Polls hand out to whoever is not paused, 20 records at most; anything that is out may be settled."""

    poll = 20

    @initialize(count=st.integers(1, 5))
    def begin(self, count: int) -> None:
        self.flows = flows(count)

    @rule(data=st.data(), records=st.integers(1, poll))
    def consume(self, data: st.DataObject, records: int) -> None:
        going = [flow for flow in self.flows if not flow.paused]
        if going:
            flow = data.draw(st.sampled_from(going))
            hand(flow, records, records * 10)
        self.regulate()

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        flow = data.draw(st.sampled_from(self.flows))
        records = data.draw(st.integers(0, flow.handed - flow.released))
        flow.released += records
        flow.released_bytes += records * 10
        self.regulate()

    def regulate(self) -> None:
        before = [flow.paused for flow in self.flows]
        pause, resume = regulate(self.flows, BOUNDS, held=False, held_back=())
        for flow, was_paused in zip(self.flows, before, strict=True):
            assert flow.paused == ((was_paused or flow in pause) and flow not in resume)

    @invariant()
    def no_more_is_out_than_the_bound_the_shares_and_a_poll_each(self) -> None:
        out = [flow.handed - flow.released for flow in self.flows]
        assert sum(out) <= BOUNDS.records * 2 + len(out) * self.poll

    @invariant()
    def whoever_has_nothing_out_goes_on(self) -> None:
        assert not any(flow.paused for flow in self.flows if flow.handed == flow.released)


TestPartitions = Partitions.TestCase
