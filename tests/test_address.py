"""What is an address, and what only looks like one."""

from __future__ import annotations

import pytest

from connector.address import can_log_in, check_proxy, may_be_host, web_address


@pytest.mark.parametrize("text", ["https://rest.iad-01.braze.com", "http://localhost:1/a?b", "http://[::1]:8080"])
def test_an_address_is_taken_apart(text: str) -> None:
    parts = web_address(text)
    assert parts is not None
    assert parts.geturl() == text


@pytest.mark.parametrize(
    "text",
    ["", "rest.iad-01.braze.com", "ftp://a", "http://", "http://a:b", "http://a:99999", "http://a b", "https://a\n", "http://a..b"],
)  # fmt: skip
def test_what_only_looks_like_an_address_is_none(text: str) -> None:
    assert web_address(text) is None


@pytest.mark.parametrize(
    ("host", "may"), [("localhost", True), ("::1", True), ("a" * 63, True), ("a" * 64, False), ("a..b", False)]
)
def test_a_host_has_labels_that_can_be_looked_up(host: str, may: bool) -> None:  # a column
    assert may_be_host(host) is may


@pytest.mark.parametrize(
    ("address", "can"),
    [
        ("http://proxy:1", True),
        ("http://user:p%C3%A9@proxy:1", True),
        ("http://user:%E2%82%AC@proxy:1", False),  # no Latin-1
        ("http://us%3Aer:planted@proxy:1", False),
        ("http://user:%ff@proxy:1", False),
    ],
)
def test_who_logs_in_has_no_colon_and_is_latin_1(address: str, can: bool) -> None:  # a column
    assert can_log_in(address) is can


def test_a_proxy_is_refused_with_its_key_and_without_what_it_holds() -> None:
    check_proxy(None)
    check_proxy("http://user:planted@proxy:3128")
    with pytest.raises(ValueError, match=r"^proxy: must begin with http://"):
        check_proxy("proxy:3128")
    with pytest.raises(ValueError, match=r"^proxy: names a user") as refused:
        check_proxy("http://us%3Aer:planted@proxy:1")
    assert "planted" not in str(refused.value)
