from __future__ import annotations

from connector.double.exchange import DoubleReply, message_reply
from connector.double.tally import Tally


def test_replies_are_counted_by_path_and_status() -> None:
    tally = Tally()
    for status in (201, 201, 429):
        tally.replied("/a", message_reply(status, ""))
    tally.replied("/b", DoubleReply(None, {}, b"", 0.0, "drop"))
    assert tally.state() == {
        "requests": {"/a": {"201": 2, "429": 1}, "/b": {"dropped": 1}},
        "objects_per_request": {},
    }


def test_sizes_are_summed_up_by_path() -> None:
    tally = Tally()
    for objects in (75, 75, 30):
        tally.carried("/a", objects)
    assert tally.state()["objects_per_request"] == {
        "/a": {
            "requests": 3,
            "objects": 180,
            "mean": 60.0,
            "least": 30,
            "greatest": 75,
            "histogram": {"30": 1, "75": 2},
        }
    }
