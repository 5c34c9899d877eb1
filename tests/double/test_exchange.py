from __future__ import annotations

import pytest

from connector.double.exchange import Call, DoubleReply, message_reply


@pytest.mark.parametrize(("status", "expected"), [(200, True), (202, True), (199, False), (300, False), (429, False)])
def test_a_success_is_a_2xx(status: int, expected: bool) -> None:
    assert message_reply(status, "").is_success is expected


def test_a_reset_connection_is_no_success() -> None:
    assert not DoubleReply(None, {}, b"", 0.0, "drop").is_success


@pytest.mark.parametrize(
    ("path", "names"), [("/users/track", ["attributes", "purchases"]), ("/campaigns/trigger/send", ["recipients"])]
)
def test_a_call_tells_its_arrays_in_the_order_of_application(path: str, names: list[str]) -> None:
    document = {"purchases": [], "attributes": [], "events": None, "recipients": []}
    call = Call(1, 0.0, 0.0, "POST", path, {}, "k", document, 0)
    assert [name for name, _ in call.arrays()] == names
