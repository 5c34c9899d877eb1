from __future__ import annotations

from pathlib import Path

import orjson

from connector.double.application import Applied
from connector.double.journal import JournalFile


def _applied(sequence: int) -> Applied:
    return Applied(sequence, 7, 1.0, 2.0, "attributes", 3, "external_id:ü", {"external_id": "ü"})


def test_each_applied_object_is_one_line_of_json(tmp_path: Path) -> None:
    journal = JournalFile(tmp_path / "journal")
    journal.append(_applied(1))
    journal.append(_applied(2))
    journal.flush()
    lines = [orjson.loads(line) for line in (tmp_path / "journal").read_bytes().splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2]
    assert lines[0] == {
        "sequence": 1,
        "request": 7,
        "arrived_at": 1.0,
        "applied_at": 2.0,
        "array": "attributes",
        "index": 3,
        "user": "external_id:ü",
        "object": {"external_id": "ü"},
        "campaign_id": None,
        "dispatch_id": None,
    }
    journal.close()


def test_a_journal_that_is_there_is_continued(tmp_path: Path) -> None:
    for sequence in (1, 2):
        journal = JournalFile(tmp_path / "journal")
        journal.append(_applied(sequence))
        journal.close()
    assert len((tmp_path / "journal").read_bytes().splitlines()) == 2
