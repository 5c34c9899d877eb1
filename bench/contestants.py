"""Who is measured, and how each is started: same topics, same double, 16 requests of 75 where it is theirs to say.

Each is a function of the site, the group, the topics and the double's address.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from bench import peers
from bench.site import KEY, ROOT, Site
from bench.workload import Topic
from tests.real.children import Child

LETTERS = Topic("bench-letters", "letter", 1)
Start = Callable[[Site, str, Sequence[Topic], str], Child]


def connector(site: Site, group: str, topics: Sequence[Topic], url: str, **sections: Any) -> Child:
    """With its defaults, all promises on."""
    settings = {
        "kafka": {"bootstrap.servers": site.address, "group.id": group},
        "schema_registry": {"url": site.registry_url},
        "topics": {topic.name: {"kind": topic.kind} for topic in topics},
        "dead_letter_topic": LETTERS.name,
        "braze": {"endpoint": url, "api_key": KEY},
        "http": {"host": "127.0.0.1", "port": 0},
        **sections,
    }
    path = site.new_file("connector.yaml")
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return site.start([sys.executable, "-m", "connector", "run", "--config", path], site.new_file(f"{group}.log"))


def ordinary(site: Site, group: str, topics: Sequence[Topic], url: str) -> Child:
    """The same without its compiled part: every record is decoded and mapped in Python."""
    return connector(site, group, topics, url, mapping={"express": False})


def loop(site: Site, group: str, topics: Sequence[Topic], url: str) -> Child:
    script = ROOT / "bench" / "loop.py"
    return site.start([sys.executable, script, *_words(site, group, topics, url)], site.new_file(f"{group}.log"))


def faststream(site: Site, group: str, topics: Sequence[Topic], url: str) -> Child:
    script = ROOT / "bench" / "stream.py"
    return site.start([peers.faststream(), script, *_words(site, group, topics, url)], site.new_file(f"{group}.log"))


def bento(site: Site, group: str, topics: Sequence[Topic], url: str) -> Child:
    path = site.new_file("bento.yaml")
    path.write_text(yaml.safe_dump(_pipeline(site, group, topics, url)), encoding="utf-8")
    return site.start([peers.bento(), "-c", path], site.new_file(f"{group}.log"))


ALL: dict[str, Start] = {
    "connector": connector,
    "ordinary": ordinary,
    "loop": loop,
    "faststream": faststream,
    "bento": bento,
}
PEERS = ("loop", "faststream", "bento")


def _words(site: Site, group: str, topics: Sequence[Topic], url: str) -> list[str]:
    return [site.address, group, url, KEY, *(f"{topic.kind}={topic.name}" for topic in topics)]


_OBJECT = """
root = if @kafka_topic.contains("event") {
  {
    "external_id": this.identity.external_id,
    "name": this.event_name,
    "time": (this.occurred_at / 1000).ts_format("2006-01-02T15:04:05.000Z07:00", "UTC"),
    "properties": this.properties,
  }
} else {
  this.attributes.merge({
    "external_id": this.identity.external_id,
    ("AIQ_" + this.audience_id + "_" + this.split_id): this.change != "EXITED",
  })
}
"""
_BODY = 'root = if @kafka_topic.contains("event") { {"events": this} } else { {"attributes": this} }'


def _pipeline(site: Site, group: str, topics: Sequence[Topic], url: str) -> dict[str, Any]:
    return {
        "http": {"enabled": False},
        "logger": {"level": "WARN"},
        "input": {
            "kafka_franz": {
                "seed_brokers": [site.address],
                "topics": [topic.name for topic in topics],
                "consumer_group": group,
                "start_from_oldest": True,
                "commit_period": "1s",
                "checkpoint_limit": 20_000,  # its 1,024 would let no partition fill 16 requests
                "batching": {"count": 75, "period": "100ms"},
            }
        },
        "pipeline": {
            "processors": [
                {"schema_registry_decode": {"url": site.registry_url, "avro_raw_json": True}},
                {"mapping": _OBJECT},
                {"archive": {"format": "json_array"}},
                {"mapping": _BODY},
            ]
        },
        "output": {
            "http_client": {
                "url": f"{url}/users/track",
                "verb": "POST",
                "headers": {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
                "max_in_flight": 16,
            }
        },
    }
