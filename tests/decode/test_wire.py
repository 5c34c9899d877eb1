"""Confluent's frame and Avro's integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.decode import FRAME_BYTES, schema_id_of
from connector.decode.wire import int_at, long_at
from connector.records import Rejected
from tests.avro_bytes import varint

GUID = ("__value_schema_id", b"\x01" + bytes(16))


@given(schema_id=st.integers(0, 2**32 - 1), rest=st.binary(max_size=9))
def test_the_id_is_four_bytes_after_the_magic_byte(schema_id: int, rest: bytes) -> None:
    value = b"\0" + schema_id.to_bytes(4, "big") + rest

    assert schema_id_of(value, None) == schema_id
    assert schema_id_of(value, [("traceparent", b"x"), ("__key_schema_id", b"\x01" + bytes(16))]) == schema_id
    assert FRAME_BYTES == 5


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\0\0\1", b"\1\0\0\0\1\2\3", b"{}----", b"\1" + bytes(16)])
def test_what_has_no_frame_is_refused(value: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        schema_id_of(value, [])

    assert refused.value.reason == "bad_framing"


@pytest.mark.parametrize("value", [b"", b"\0\0\0\0\1\2", b"\2abc"])
def test_an_id_in_a_header_is_refused_whatever_the_value(value: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        schema_id_of(value, [("other", None), GUID])

    assert refused.value.reason == "header_framing"
    assert "prefix" in refused.value.detail


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_long_is_read_back(number: int) -> None:
    data = b"??" + varint(number) + b"rest"

    assert long_at(data, 2) == (number, len(data) - 4)


@pytest.mark.parametrize("edge", [0, -1, 63, 64, -64, -65, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)])
def test_the_edges_of_a_long(edge: int) -> None:
    assert long_at(varint(edge), 0) == (edge, len(varint(edge)))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 10, b"\xff" * 11, b"\xff" * 9 + b"\x02"])
def test_no_long_of_more_than_64_bits_or_less_than_its_bytes(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        long_at(data, 0)


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_no_int_of_more_than_32_bits(number: int) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        int_at(varint(number), 0)
