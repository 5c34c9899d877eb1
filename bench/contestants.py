"""Who is measured, and how each is started."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from bench.site import KEY, ROOT, Double, Site
from bench.topics import LETTERS
from tests.real.children import Child


def start(contestant: str, site: Site, double: Double, *, idle: bool) -> Child:
    group = f"{contestant}{'-idle' if idle else ''}"
    suffix = "-idle" if idle else ""
    if contestant == "loop":
        log = site.folder / f"{group}.log"
        arguments = [ROOT / "bench" / "loop.py", site.address, group, double.url, KEY, *([suffix] if suffix else [])]
        return site.children.start([sys.executable, *arguments], log)
    topics = {f"bench-audiences{suffix}": {"kind": "audience"}, f"bench-events{suffix}": {"kind": "event"}}
    return connector(group, topics, site, double)


def connector(group: str, topics: dict[str, Any], site: Site, double: Double) -> Child:
    settings = {
        "kafka": {"bootstrap.servers": site.address, "group.id": group},
        "topics": topics,
        "dead_letter_topic": LETTERS,
        "braze": {"endpoint": double.url, "api_key": KEY},
        "http": {"host": "127.0.0.1", "port": 0},
    }
    path = site.folder / f"{group}.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [sys.executable, "-m", "connector", "run", "--config", path]
    return site.children.start(command, site.folder / f"{group}.log")
