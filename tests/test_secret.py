import os
from pathlib import Path

import pytest

from connector.secret import Secret


def of(file: Path, told: list[str] | None = None) -> Secret:
    return Secret("its.key_file", None, file, (told if told is not None else []).append)


def test_one_that_vanishes_leaves_the_last_in_force(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" planted\n", encoding="utf-8")
    secret = of(file)
    assert secret.current() == "planted"

    file.unlink()

    assert secret.current() == "planted"
    assert repr(secret) == "Secret(file)"


def test_one_of_another_length_is_noticed_within_a_tick_of_the_clock(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("short", encoding="utf-8")
    written = file.stat().st_mtime_ns
    secret = of(file)
    assert secret.current() == "short"

    file.write_text("longer-one", encoding="utf-8")
    os.utime(file, ns=(written, written))

    assert secret.current() == "longer-one"


@pytest.mark.parametrize("content", [b"", b" \n", b"a\x00b", "pl\u00e4nted".encode("latin-1")])
def test_a_file_that_holds_none_leaves_the_last_in_force_and_is_told_once(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "secret"
    file.write_text("planted", encoding="utf-8")
    told: list[str] = []
    secret = of(file, told)
    assert secret.current() == "planted"

    file.write_bytes(content)

    assert [secret.current(), secret.current()] == ["planted", "planted"]
    assert told == ["its.key_file: holds no secret: write it alone, as text in UTF-8; until then the last one is used"]


def test_what_stood_there_at_the_beginning_is_in_force_also_where_nobody_had_asked_for_it(tmp_path: Path) -> None:
    """An idle process asks first when something has come to be sent, which may be days later."""
    file = tmp_path / "secret"
    file.write_text("planted", encoding="utf-8")
    told: list[str] = []
    secret = of(file, told)

    file.write_bytes(b"")

    assert secret.current() == "planted"
    assert len(told) == 1


def test_without_a_file_it_is_what_was_written() -> None:
    secret = Secret("its.key_file", " planted ", None, print)

    assert secret.current() == " planted "
    assert repr(secret) == "Secret(literal)"
