"""The flame graph, from py-spy's lines to the picture; and the one that lies in the docs."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from bench.flame import KAFKA, LIBRDKAFKA, LOOP, by_stage, draw, read_stacks, scaled, stage_of

SVG = "{http://www.w3.org/2000/svg}"
RUN = "thread (7): MainThread;<module> (connector/__main__.py);Runner.run (asyncio/runners.py)"
DECODE = (
    f"{RUN};Pipeline._turn (connector/pipeline.py);Translator.decode (connector/translation.py)"
    ";decode (<decoder of aiq.export.v1.ProfileEvent>)"
)
CONSUME = "thread (8): kafka;Thread.run (threading.py);KafkaSource._live (connector/source.py)"
RAW = f"""\
thread (7): MainThread;<module> (connector/__main__.py);_find_and_load (<frozen importlib._bootstrap>) 50
{DECODE} 30
{RUN};Pipeline._turn (connector/pipeline.py);SystemClock.cpu (connector/app.py) 9
{RUN};Exchange.attempt (connector/exchange.py);BrazeClient.attempt (connector/braze_client.py);x (/elsewhere/x.py) 5
{RUN};ResponseHandler.data_received (aiohttp/client_proto.py) 5
{RUN} 10
{CONSUME} 90
{CONSUME};KafkaSource._commit (connector/source.py) 10
"""


def test_stacks_begin_at_their_thread_and_hold_no_path() -> None:
    stacks = read_stacks(RAW)

    assert stacks[LOOP,] == 10
    decode = "<decoder of aiq.export.v1.ProfileEvent>:decode"
    assert stacks[LOOP, "connector.pipeline:Pipeline._turn", "connector.translation:Translator.decode", decode] == 30
    assert stacks[LOOP, "connector.exchange:Exchange.attempt", "connector.braze_client:BrazeClient.attempt", "x:x"] == 5
    assert stacks[KAFKA, "connector.source:KafkaSource._live"] == 90
    assert sum(stacks.values()) == 150  # neither the imports nor who stands at the clock


def test_the_stacks_of_a_thread_divide_what_it_used() -> None:
    used = by_stage(scaled(read_stacks(RAW), {LOOP: 10.0, KAFKA: 2.0, LIBRDKAFKA: 0.5}))

    assert used == pytest.approx(
        {
            "poll": 1.8, "decode": 6.0, "map": 0.0, "pack": 0.0, "http": 2.0, "settle": 0.0, "commit": 0.2,
            "loop": 2.0, "librdkafka": 0.5,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("innermost", "stage"),
    [
        ("connector.batching:Batcher.add_events", "pack"),
        ("connector.books:Books.admit", "settle"),
        ("orjson:Unknown", "settle"),
    ],
)
def test_the_innermost_function_that_has_a_stage_decides(innermost: str, stage: str) -> None:
    assert stage_of((LOOP, "connector.pipeline:Pipeline._take_in", innermost)) == stage


def test_the_picture_names_every_share_and_is_no_wider_than_its_whole() -> None:
    text = draw(scaled(read_stacks(RAW), {LOOP: 10.0, KAFKA: 2.0, LIBRDKAFKA: 0.5}), "title", 1_000_000)

    root = ET.fromstring(text)  # noqa: S314  # our own
    titles = [each.text or "" for each in root.iter(f"{SVG}title")]
    assert "connector.translation:Translator.decode: 48.0%, 6.00 µs a record" in titles
    rows: dict[str, list[tuple[float, float]]] = {}
    for box in root.iter(f"{SVG}g"):
        rect = box.find(f"{SVG}rect")
        assert rect is not None
        rows.setdefault(rect.attrib["y"], []).append((float(rect.attrib["x"]), float(rect.attrib["width"])))
    for boxes in rows.values():
        ordered = sorted(boxes)
        assert all(x + width <= after + 0.11 for (x, width), (after, _) in pairwise(ordered))
        assert sum(width for _, width in boxes) <= 1180


def test_the_picture_in_the_docs_is_light_and_tells_nothing_of_the_machine() -> None:
    path = Path(__file__).parents[2] / "docs" / "flame-graph.svg"

    text = path.read_text(encoding="utf-8")

    assert path.stat().st_size < 300_000
    titles = [each.text or "" for each in ET.fromstring(text).iter(f"{SVG}title")]  # noqa: S314
    assert any("Translator.decode" in title for title in titles)
    assert not [title for title in titles if "/" in title or "site-packages" in title]
