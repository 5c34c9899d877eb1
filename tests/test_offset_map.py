import zlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.ledger import joined
from connector.offset_map import (
    METADATA_CHARS_MAX,
    ForeignMetadata,
    OffsetMap,
    decode,
    encode,
    settled_chars_most,
)


@st.composite
def maps(draw: st.DrawFn) -> tuple[int, OffsetMap]:
    base = draw(st.integers(0, 2**40))
    at, ranges = base, []
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 3000)), max_size=60)):
        ranges.append((at + gap, at + gap + length))
        at += gap + length
    until = draw(st.integers(0, 2**42))
    epoch = draw(st.none() | st.integers(0, 2**31 - 1))
    claimed, at = [], base - 1
    for gap, length in draw(st.lists(st.tuples(st.integers(1, 300), st.integers(1, 60)), max_size=20)):
        claimed.append((at + gap, at + gap + length))
        at += gap + length
    return base, OffsetMap(tuple(ranges), until, draw(st.booleans()), epoch, tuple(claimed))


@given(maps())
def test_what_is_written_is_read(case: tuple[int, OffsetMap]) -> None:
    base, offsets = case

    encoded = encode(offsets, base)

    assert encoded.cut == 0
    assert decode(encoded.text, base) == offsets


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(2000, 4000))
def test_too_long_a_map_is_cut_from_the_top_and_the_cut_is_counted(seed: int, count: int) -> None:
    rng, at, ranges = Random(seed), 0, []
    for _ in range(count):
        gap, length = rng.randint(1, 40), rng.randint(1, 40)
        ranges.append((at + gap, at + gap + length))
        at += gap + length

    encoded = encode(OffsetMap(tuple(ranges)), 0)
    kept = decode(encoded.text, 0).settled

    assert len(encoded.text) <= METADATA_CHARS_MAX
    assert kept == tuple(ranges[: len(kept)])
    assert encoded.cut == sum(end - start for start, end in ranges[len(kept) :])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from([2, 40, 300, 200_000]), st.sampled_from([2, 40, 300]), st.integers(80, 2500)
)
def test_what_is_kept_fits_and_little_of_the_room_stays_empty(seed: int, gap: int, length: int, room: int) -> None:
    rng, at, ranges = Random(seed), 7, []
    for _ in range(rng.randrange(1, 1500)):
        start = at + rng.randint(1, gap)
        at = start + rng.randint(1, length)
        ranges.append((start, at))

    encoded = encode(OffsetMap(tuple(ranges)), 7, room)
    kept = decode(encoded.text, 7).settled

    assert len(encoded.text) <= room
    assert kept == tuple(ranges[: len(kept)])
    assert encoded.cut == sum(end - start for start, end in ranges[len(kept) :])
    # One range more takes a few characters more, whichever form it has.
    assert not encoded.cut or len(encoded.text) > room * 0.97 - 40


def test_what_is_claimed_is_never_cut() -> None:
    scattered = tuple((offset, offset + 1) for offset in range(0, 600, 3))
    rng = Random(1)
    settled = tuple((1000 + 9 * n + rng.randrange(3), 1004 + 9 * n + rng.randrange(4)) for n in range(9000))

    encoded = encode(OffsetMap(settled, claimed=scattered), 0)

    assert encoded.cut
    assert decode(encoded.text, 0).claimed == scattered


def test_nothing_is_cut_that_a_bitmap_has_room_for() -> None:
    alternating = OffsetMap(tuple((offset, offset + 1) for offset in range(1, 1000, 2)))

    roomy, narrow = encode(alternating, 0), encode(alternating, 0, 200)

    assert ";r=" in roomy.text
    assert ";b=" in narrow.text
    assert narrow.cut == 0
    assert decode(roomy.text, 0) == decode(narrow.text, 0) == alternating


def test_what_is_cut_is_a_bitmap_where_that_keeps_more() -> None:
    rng = Random(1)
    ranges = tuple((offset, offset + 1) for offset in range(1, 80_000, 2) if rng.random() < 0.5)

    encoded = encode(OffsetMap(ranges), 0)

    assert ";b=" in encoded.text
    assert encoded.cut
    assert len(ranges) - encoded.cut > 2 * METADATA_CHARS_MAX * 3 // 4 // 2  # twice what run lengths have room for


def test_a_bitmap_is_chosen_where_it_is_shorter() -> None:
    alternating = OffsetMap(tuple((offset, offset + 1) for offset in range(1, 4000, 2)))

    text = encode(alternating, 0).text

    assert ";b=" in text
    assert decode(text, 0) == alternating


@pytest.mark.parametrize("text", ["", "x", "bWFnaWM=", "AIQB1", "AIQB2;00000000", "AIQB1;r=AQE;00000000", "{'a': 1}"])
def test_foreign_or_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ForeignMetadata):
        decode(text, 0)


@given(st.text(max_size=200))
def test_no_text_does_anything_but_read_or_refuse(text: str) -> None:
    try:
        decode(text, 7)
    except ForeignMetadata:
        return


@given(maps(), st.integers(0, 10_000), st.characters(codec="ascii"))
def test_one_changed_character_is_noticed(case: tuple[int, OffsetMap], where: int, what: str) -> None:
    text = encode(case[1], case[0]).text
    index = where % len(text)
    changed = text[:index] + what + text[index + 1 :]

    if changed != text:
        with pytest.raises(ForeignMetadata):
            decode(changed, case[0])


def test_a_later_version_s_keys_are_passed_over() -> None:
    body = "AIQB1;u=a;z=news;r=AQE"
    text = f"{body};{zlib.crc32(body.encode()):08x}"

    assert decode(text, 100) == OffsetMap(((101, 102),), 10)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("AIQB1;u=a;r=AQE;{}", OffsetMap(((101, 102),), 10)),  # as the first version wrote it
        ("AIQB1;e=3;c=1;r=AQE;{}", OffsetMap(((101, 102),), 0, closed=True, leader_epoch=3)),
        ("AIQB1;e=3;r=AQE;k=AAE;{}", OffsetMap(((101, 102),), leader_epoch=3, claimed=((100, 101),))),
    ],
)
def test_what_some_version_wrote_is_read_by_every_later_one(text: str, meaning: OffsetMap) -> None:
    """Never change a line here: groups hold such texts while one version replaces the other."""
    body = text.removesuffix(";{}")

    assert decode(f"{body};{zlib.crc32(body.encode()):08x}", 100) == meaning
    assert encode(meaning, 100).text.rpartition(";")[0] == body


def ranges_of(settled: list[bool]) -> tuple[tuple[int, int], ...]:
    return tuple(joined((place, place + 1) for place, is_settled in enumerate(settled) if is_settled))


def strewn(rng: Random, size: int, run: int, share: float) -> list[bool]:
    """Runs of about so many alike, of which this share is true."""
    made: list[bool] = []
    while len(made) < size:
        made += [rng.random() < share] * (1 + int(rng.expovariate(1 / run)))
    return made[:size]


patterns = st.tuples(st.sampled_from([1, 5, 150, 3_000]), st.sampled_from([0.02, 0.3, 0.5, 0.9, 1.0]))


@settings(deadline=None, max_examples=300)
@given(
    st.integers(0, 2**32), st.sampled_from([0, 10, 3_000, 20_000]), st.integers(1, 600), patterns, patterns, patterns
)
def test_no_map_takes_more_than_is_reckoned_with(
    seed: int, seen: int, records: int, now: tuple[int, float], holes: tuple[int, float], then: tuple[int, float]
) -> None:
    """Some are settled, more come with holes between them, and then any of both are settled."""
    rng = Random(seed)
    settled = [False, *strewn(rng, seen, *now)]
    before = ranges_of(settled)
    coming = strewn(rng, records, *holes)
    settled += coming
    unsettled = settled.count(False)
    reckoned = settled_chars_most(unsettled, len(before), len(coming), len(settled))

    late = strewn(rng, len(settled), *then)
    whole = [False, *(one or other for one, other in zip(settled, late, strict=True))][1:]
    whole[0] = False  # the committed offset itself
    text = encode(OffsetMap(ranges_of(whole)), 0, 10**6).text

    # Where there is room for everything a few characters more are written sooner than a bitmap is tried.
    assert len(text) - len(encode(OffsetMap(), 0).text) <= max(reckoned, 2_000)


def test_what_is_reckoned_with_is_hardly_more_than_noise_takes() -> None:
    settled = [False, *strewn(Random(1), 14_000, 1, 0.5)]

    written = len(encode(OffsetMap(ranges_of(settled)), 0, 10**6).text)

    assert 0.5 < written / settled_chars_most(len(settled), 0, len(settled), len(settled)) <= 1.0


def test_what_stays_open_at_the_front_is_not_reckoned_with_for_every_offset_behind_it() -> None:
    """Seven hundred triggers of a paused campaign, and a million others delivered behind them."""
    assert settled_chars_most(700, 1, 500, 1_000_000) < 2_000
