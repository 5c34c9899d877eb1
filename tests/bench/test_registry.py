"""The registry of the benchmark answers for its schemas, and for no other."""

from __future__ import annotations

import json

from bench import registry
from tests.real.children import ask


def test_a_schema_is_found_under_the_id_in_the_header() -> None:
    with registry.serving() as url:
        for kind in registry.FILES:
            number = int.from_bytes(registry.header(kind)[1:], "big")
            status, body = ask(f"{url}/schemas/ids/{number}")
            assert (status, json.loads(body)["schema"]) == (200, registry.text(kind))
        assert ask(f"{url}/schemas/ids/99")[0] == 404
