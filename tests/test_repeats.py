from hypothesis import given
from hypothesis import strategies as st

from connector.letters import REPLAY_COUNT
from connector.records import Assignment, CampaignSend
from connector.repeats import Repeats
from tests.hostile_headers import Unreadable
from tests.sent_objects import CAMPAIGNS, Consumed, trigger

OTHER = Assignment("campaigns", 1, 1)


def made(event_id: str | None, offset: int, stay: Assignment = CAMPAIGNS) -> CampaignSend:
    send = trigger("u", offset, stay=stay)
    send.event_id = event_id
    return send


def offsets(sends: list[CampaignSend]) -> list[int]:
    return [send.offset for send in sends]


def test_the_second_of_one_id_is_a_repeat_and_one_without_an_id_never_is() -> None:
    repeats = Repeats(10)

    fresh, repeated = repeats.sift([made("a", 0), made("b", 1), made("a", 2), made(None, 3), made(None, 4)])

    assert (offsets(fresh), offsets(repeated)) == ([0, 1, 3, 4], [2])
    assert offsets(repeats.sift([made("b", 5)])[1]) == [5]
    assert repr(repeats) == "ids=2 partitions=1"


def test_each_partition_has_a_window_of_its_own() -> None:
    repeats = Repeats(10)
    repeats.sift([made("a", 0)])

    assert offsets(repeats.sift([made("a", 0, OTHER)])[0]) == [0]


def test_what_was_not_sent_after_all_may_come_again() -> None:
    repeats = Repeats(10)
    first, second = made("a", 0), made("a", 1)
    repeats.sift([first, second])

    repeats.forget(second)  # a repeat that was skipped: the first one was sent
    assert offsets(repeats.sift([made("a", 2)])[1]) == [2]
    repeats.forget(first)
    assert offsets(repeats.sift([made("a", 3)])[0]) == [3]


def test_what_an_operator_puts_back_is_sent_although_it_may_have_been() -> None:
    class PutBack(Consumed):
        def headers(self) -> list[tuple[str, bytes | None]] | None:
            return [("traceparent", b"x"), (REPLAY_COUNT, b"1")]

    repeats = Repeats(10)
    repeats.sift([made("a", 0)])
    again = made("a", 7)
    again.record = PutBack(CAMPAIGNS, 7)

    assert offsets(repeats.sift([again])[0]) == [7]


def test_what_comes_again_with_its_partition_is_no_repeat_of_itself() -> None:
    repeats = Repeats(10)
    repeats.sift([made("a", 0)])
    repeats.close([CAMPAIGNS, OTHER])

    assert offsets(repeats.sift([made("a", 0)])[0]) == [0]


def test_without_a_window_nothing_is_a_repeat() -> None:
    assert offsets(Repeats(0).sift([made("a", 0), made("a", 1)])[0]) == [0, 1]


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_just_the_newest_ids_are_remembered(ids: list[int], size: int) -> None:
    repeats = Repeats(size)
    window: list[int] = []
    for offset, each in enumerate(ids):
        fresh, repeated = repeats.sift([made(str(each), offset)])
        assert bool(repeated) == (each in window)
        if fresh:
            window = [*window, each][-size:]


def test_what_has_headers_that_cannot_be_read_was_not_put_back() -> None:
    class Odd(Unreadable, Consumed):
        pass

    repeats = Repeats(10)
    repeats.sift([made("a", 0)])
    again = made("a", 7)
    again.record = Odd(CAMPAIGNS, 7)

    assert offsets(repeats.sift([again])[1]) == [7]
    assert again.record.headers() == [], "whoever asks next gets an answer"
