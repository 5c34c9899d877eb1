"""A schema registry of three schemas: what all contestants are told to ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

SCHEMAS = Path(__file__).parent.parent / "schemas"
FILES = {"audience": "AudienceMembership.avsc", "event": "ProfileEvent.avsc", "campaign": "CampaignTrigger.avsc"}
_IDS = {kind: number for number, kind in enumerate(FILES, 1)}


def text(kind: str) -> str:
    return (SCHEMAS / FILES[kind]).read_text(encoding="utf-8")


def header(kind: str) -> bytes:
    """What stands before a value: magic byte and schema id."""
    return b"\0" + _IDS[kind].to_bytes(4, "big")


@contextmanager
def serving() -> Iterator[str]:
    """Its address, while it answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked = self.path.partition("?")[0].rpartition("/")[2]
        kind = next((kind for kind, number in _IDS.items() if str(number) == asked), None)
        body = json.dumps({"error_code": 40403} if kind is None else {"schema": text(kind)}).encode()
        self.send_response(404 if kind is None else 200)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
