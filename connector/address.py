"""An address of the operator's, taken apart: what is none is found out at start, not by the library that connects.

Pure.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
"""Hosts to which a key may go in the clear."""

NO_CREDENTIALS: Final = (
    "names a user or a password that HTTP's basic authentication cannot carry: a user has no colon, and both are"
    " Latin-1 (where they hold %, it is written %25)"
)
"""Of an address, as `can_log_in` judges it."""

_PROXY_LOOKS: Final = "must begin with http:// or https:// and name host and port, such as http://proxy:3128"
_HOST: Final = re.compile(r"[\w.:-]+")
_WHITE: Final = re.compile(r"[\s\x00-\x1f\x7f]")


def web_address(text: str) -> SplitResult | None:
    """An address taken apart; None if it is none: no http or https, no host, or a port that cannot be.

    Nor is it one with white space, which `urlsplit` takes off or out without a word, and a connection does not.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    host = parts.hostname or ""
    is_one = parts.scheme in {"https", "http"} and _HOST.fullmatch(host) and may_be_host(host)
    return parts if is_one and not _WHITE.search(text) else None


def can_log_in(address: str) -> bool:
    """Whether user and password in an address can be sent: aiohttp would find out with a request, and quote them."""
    parts = urlsplit(address)
    try:
        text = unquote(parts.username or "", errors="strict") + unquote(parts.password or "", errors="strict")
        text.encode("latin-1")
    except UnicodeError:
        return False
    return ":" not in unquote(parts.username or "")


def may_be_host(text: str) -> bool:
    """Whether it can be looked up at all: no label of it is empty or too long."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return True


def check_proxy(address: str | None) -> None:
    """Look at a section's `proxy`; None: there is none.

    Raises:
        ValueError: It is no address of a proxy.
    """
    if address is None:
        return
    if web_address(address) is None:
        raise ValueError(f"proxy: {_PROXY_LOOKS}")
    if not can_log_in(address):
        raise ValueError(f"proxy: {NO_CREDENTIALS}")
