"""Damaged records, schemas, replies and commit metadata by the million: no crash, no hang, every record accounted for.

`python -m tests.fuzz --cases 1000000 --seed 0` (`make fuzz`) is the nightly form; `tests/test_fuzz.py` plays a slice. A
case is reproduced by its seed alone: `--cases 1 --seed N`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from random import Random
from typing import Any

import orjson

from connector.app import read_schema
from connector.batching import Batcher, TrackLimit
from connector.braze import BODY_BYTES_MAX
from connector.campaigns import CampaignBatcher
from connector.conclusion import Conclusion
from connector.delivery import Delivery, DeliveryPolicy
from connector.demo.workload import Workload
from connector.limits import Pool, Rate
from connector.mapping import MappingInvalid, MappingRules, default_document
from connector.offset_map import ForeignMetadata, OffsetMap, decode, encode
from connector.outcomes import NoReply, Reply, RetryPolicy
from connector.records import Assignment, KafkaRecord, Kind, Outbound
from connector.schema import SchemaInvalid, SchemaUnmappable, WriterSchema
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES
from connector.translation import Translator
from tests.avro_bytes import doubling
from tests.sent_objects import AUDIENCES, CAMPAIGNS, EVENTS, Consumed, attributes, event, trigger

AT_MS = 1_790_000_000_000
STAYS = {Kind.AUDIENCE: AUDIENCES, Kind.EVENT: EVENTS, Kind.CAMPAIGN: CAMPAIGNS}
NASTY = (
    b"\x00",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 12,
    b"\xfe\xff\xff\xff\x0f",
    b"\x00\x00\x00\x00\x07",
    b"{",
    b"\xc3\x28",
)


class Fuzzed(Consumed):
    """A record with a value of the fuzzer's."""

    def __init__(self, stay: Assignment, offset: int, value: bytes | None) -> None:
        super().__init__(stay, offset)
        self._value = value

    def value(self) -> bytes | None:
        return self._value


def damaged(rng: Random, data: bytes) -> bytes:
    """A few bytes changed, cut, doubled, moved or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0 if out:
                out[at % len(out)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[at % len(out)] = rng.randrange(256)
            case 2:
                del out[at : at + rng.randrange(1, 9)]
            case 3:
                out[at:at] = rng.choice(NASTY)
            case 4:
                out[at:at] = out[rng.randrange(len(out) + 1) :][: rng.randrange(1, 40)]
            case _:
                del out[at:]
    return bytes(out)


# ---- records ---------------------------------------------------------------------------------------------------------


@cache
def sound_values() -> dict[Kind, list[bytes]]:
    values: dict[Kind, list[bytes]] = {kind: [] for kind in Kind}
    for made in islice(Workload(2_000, 5, PACKAGED_SCHEMAS, AT_MS), 2_000):
        if made.value is not None and made.expected == "delivered":
            values[made.kind].append(made.value)
    return values


@cache
def translator(kind: Kind, *, framed: bool, express: bool = True) -> Translator:
    schema = read_schema(PACKAGED_SCHEMAS, SCHEMA_FILES[kind])
    rules = MappingRules(express=express)
    made = Translator(STAYS[kind].topic, kind, default_document(kind), rules, {schema.name: schema}, framed=framed)
    made.learn(schema, 7 if framed else 0)
    return made


def fuzz_records(rng: Random) -> None:
    """A chunk of records, most of them damaged: each becomes an object, a dead letter, a skip, or waits.

    And it becomes the same by the express lane as without.
    """
    kind, framed = rng.choice(list(Kind)), rng.random() < 0.3
    values: list[bytes | None] = []
    for sound in rng.choices(sound_values()[kind], k=rng.randrange(1, 6)):
        value = b"\x00\x00\x00\x00\x07" + sound if framed else sound
        values.append(
            rng.choice((value, damaged(rng, value), damaged(rng, value), rng.randbytes(rng.randrange(80)), None))
        )
    records: list[KafkaRecord] = [Fuzzed(STAYS[kind], offset, value) for offset, value in enumerate(values)]
    done = translator(kind, framed=framed).translate(STAYS[kind], records, AT_MS)

    fated = [record.offset() for record, *_ in (*done.rejected, *done.skipped)]
    waiting = [record.offset() for record in done.rest]
    assert sorted([*(each.offset for each in done.outbound), *fated, *waiting]) == list(range(len(records)))
    assert bool(waiting) == (done.missing is not None)
    for out in done.outbound:
        encoded = orjson.dumps(out.object)
        assert len(encoded) < BODY_BYTES_MAX
        identifiers = {"external_id", "external_user_id", "braze_id"} & out.object.keys()
        assert len(identifiers) == 1
    ordinary = translator(kind, framed=framed, express=False).translate(STAYS[kind], records, AT_MS)
    assert [(each.user, each.object) for each in done.outbound] == [
        (each.user, orjson.loads(orjson.dumps(each.object))) for each in ordinary.outbound
    ]
    assert [(record.offset(), str(why)) for record, why in (*done.rejected, *done.skipped)] == [
        (record.offset(), str(why)) for record, why in (*ordinary.rejected, *ordinary.skipped)
    ]


# ---- schemas ---------------------------------------------------------------------------------------------------------


@cache
def schema_texts() -> list[str]:
    return [(PACKAGED_SCHEMAS / file).read_text(encoding="utf-8") for file in SCHEMA_FILES.values()]


TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "many", "type": ["null", "string", {"type": "array", "items": "Tree"}]},
        {"name": "named", "type": {"type": "map", "values": "Tree"}},
    ],
}
TANGLED = (TREE, {"type": "map", "values": TREE}, doubling(40))


def warped(rng: Random, node: Any) -> Any:
    """A schema with a few parts dropped, doubled, swapped for others, or of another type."""
    if rng.random() < 0.03:
        return rng.choice(
            (None, "string", "long", 7, [], {}, ["null", "null"], {"type": "map"}, "aiq.export.v1.Instant")
        )
    if isinstance(node, dict):
        return {key: warped(rng, value) for key, value in node.items() if rng.random() > 0.01}
    if isinstance(node, list):
        items = [warped(rng, item) for item in node if rng.random() > 0.01]
        return [*items, *items[:1]] if rng.random() < 0.02 else items
    return node


def tangled(rng: Random) -> Any:
    """A schema one of whose types holds itself, or another, more than once."""
    schema = json.loads(rng.choice(schema_texts()))
    rng.choice(schema["fields"])["type"] = rng.choice(TANGLED)
    return schema


def fuzz_schemas(rng: Random) -> None:
    """A writer schema that may be anything: it is compiled, or refused in words; and then it meets bytes."""
    text = json.dumps(warped(rng, json.loads(rng.choice(schema_texts()))))
    if rng.random() < 0.1:
        text = damaged(rng, text.encode()).decode("utf-8", "replace")
    kind = rng.choice(list(Kind))
    if rng.random() < 0.05:
        text = json.dumps(tangled(rng))
    made = Translator(
        STAYS[kind].topic,
        kind,
        default_document(kind),
        MappingRules(),
        {
            "aiq.export.v1." + SCHEMA_FILES[kind].removesuffix(".avsc"): read_schema(
                PACKAGED_SCHEMAS, SCHEMA_FILES[kind]
            )
        },
        framed=False,
    )
    try:
        made.learn(WriterSchema(text))
    except (SchemaInvalid, SchemaUnmappable, MappingInvalid):
        return
    values = [rng.choice(sound_values()[kind]), rng.randbytes(rng.randrange(200))]
    records: list[KafkaRecord] = [Fuzzed(STAYS[kind], offset, value) for offset, value in enumerate(values)]
    done = made.translate(STAYS[kind], records, AT_MS)
    assert len(done.outbound) + len(done.rejected) + len(done.skipped) == len(records)


# ---- replies ---------------------------------------------------------------------------------------------------------

BODIES: tuple[Any, ...] = (
    {"message": "success"},
    {"message": "queued"},
    {"message": "success", "dispatch_id": "d"},
    {"message": "success", "attributes_processed": 1, "errors": [{"type": "BAD", "input_array": "events", "index": 0}]},
    {"message": "Valid data must be provided", "errors": [{"input_array": "attributes", "index": 1}]},
    {"message": "Max Input Length Exceeded"},
    {"message": "The campaign is paused."},
    {"errors": "bad"},
    {"errors": [None, 7, "x", {}, {"index": -1, "input_array": "events"}, {"index": 10**30, "input_array": "events"}]},
    {"errors": [{"index": True, "input_array": ["events"]}]},
    [],
    None,
    "success",
)
HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-retry-after", "retry-after")
NUMBERS = ("0", "1", "-1", "3", "nan", "inf", "1e400", "1790000000", "9" * 400, "", "soon", "\x00")


def any_reply(rng: Random) -> Reply | NoReply:
    if rng.random() < 0.1:
        return NoReply(sent=rng.random() < 0.5, cause="x")
    status = rng.choice(
        (200, 201, 201, 202, 204, 301, 400, 401, 403, 404, 408, 413, 415, 422, 423, 429, 500, 503, 599, 999)
    )
    body = json.dumps(rng.choice(BODIES)).encode()
    if rng.random() < 0.3:
        body = damaged(rng, body)
    headers = {name: rng.choice(NUMBERS) for name in HEADERS if rng.random() < 0.3}
    return Reply(status, headers, body)


def fuzz_replies(rng: Random) -> None:
    """Some records, and a Braze that answers anything for a while and then well: each record has one end."""
    delivery = Delivery(
        Batcher(TrackLimit(rng.choice((1, 3, 75)), rng.random() < 0.3), rng.choice((0.0, 1.0)), linger_s=0.0),
        CampaignBatcher(0.0, None, parked_max=rng.choice((1, 100))),
        Pool([Rate(10**6, 1.0)]),
        Pool([Rate(10**6, 3600.0)]),
        DeliveryPolicy(
            track_requests_max=3,
            trigger_requests_max=2,
            ambiguous_events=rng.choice(("retry", "dead_letter")),
            campaigns=rng.choice(("at_least_once", "at_most_once")),
            retry=RetryPolicy(0.5, 4.0),
            probe_s=5.0,
        ),
        rng.random,
    )
    now, users = 0.0, [f"u{n}" for n in range(rng.randrange(1, 6))]
    for stay in STAYS.values():
        delivery.welcome(stay)
    records: list[Outbound] = []
    for offset in range(rng.randrange(1, 12)):
        user = rng.choice(users)
        match rng.randrange(3):
            case 0:
                made: Any = attributes(user, offset)
                delivery.batcher.add_attributes([made], now)
            case 1:
                made = event(user, offset)
                delivery.batcher.add_events([made], now)
            case _:
                made = trigger(user, offset)
                delivery.campaigns.add([made], now)
        records.append(made)
    ended: list[Outbound] = []

    def take(done: Conclusion) -> None:
        ended.extend(done.delivered)
        ended.extend(done.coalesced)
        ended.extend(dead.record for dead in done.dead)
        ended.extend(record for record, _ in done.skipped)

    for turn in range(2_000):
        done = Conclusion()
        request = delivery.departures.next_request(now, AT_MS / 1000 + now, done)
        take(done)
        if request is None:
            due = delivery.departures.next_due(now, AT_MS / 1000 + now)
            if due is None:
                break
            now = max(due, now + 0.001)
            continue
        orjson.loads(request.body())
        answer = any_reply(rng) if turn < 12 else Reply(201, {}, b'{"message":"success"}')
        take(delivery.conclude(request, answer, now, AT_MS / 1000 + now))
    assert sorted(each.offset for each in ended) == list(range(len(records)))


# ---- commit metadata -------------------------------------------------------------------------------------------------


def fuzz_metadata(rng: Random) -> None:
    """What lies beside an offset may be anybody's."""
    at, ranges = 100, []
    for _ in range(rng.randrange(30)):
        start = at + rng.randrange(1, 50)
        at = start + rng.randrange(1, 50)
        ranges.append((start, at))
    offsets = OffsetMap(
        tuple(ranges), rng.randrange(2**41), rng.random() < 0.5, rng.choice((None, 3)), tuple(ranges[:3])
    )
    text = encode(offsets, 100).text
    assert decode(text, 100) == offsets
    harmed = damaged(rng, text.encode()).decode("latin-1")
    try:
        read = decode(harmed, 100)
    except ForeignMetadata:
        return
    assert read == offsets  # damage that a checksum does not see is no damage


FUZZERS: tuple[tuple[int, Callable[[Random], None]], ...] = (
    (8, fuzz_records),
    (1, fuzz_schemas),
    (3, fuzz_replies),
    (2, fuzz_metadata),
)


def fuzz(seed: int) -> str:
    """One case; returns what was tried.

    Raises:
        Exception: Whatever must not be.
    """
    rng = Random(seed)
    (try_,) = rng.choices([each for _, each in FUZZERS], [weight for weight, _ in FUZZERS])
    try_(rng)
    return try_.__name__


def broken(seeds: range) -> Iterator[tuple[int, str]]:
    for seed in seeds:
        try:
            fuzz(seed)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
            yield seed, f"{type(error).__name__}: {error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, found = time.monotonic(), 0
    for seed, what in broken(range(options.seed, options.seed + options.cases)):
        found += 1
        print(f"seed {seed}: {what[:300]}", flush=True)  # noqa: T201
    print(f"{options.cases} cases, {found} broken, {time.monotonic() - began:.0f} s")  # noqa: T201
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
