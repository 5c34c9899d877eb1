import io
import json

from connector.ports import Cured, Trouble
from connector.telemetry import Telemetry
from connector.troubles import Troubles, one_line


def test_a_trouble_is_present_from_its_beginning_to_its_end() -> None:
    ended: list[bool] = []
    log = io.StringIO()
    troubles = Troubles(Telemetry(output=log), lambda: ended.append(True))

    for event in (Trouble("kafka", "away", halts=False), Trouble("kafka", "away", halts=False)):
        troubles.take(event)
    assert "kafka" in troubles
    assert not troubles.is_halted
    troubles.take(Cured("kafka"))
    troubles.take(Cured("kafka"))

    assert troubles.present == {}
    assert ended == [True]
    assert [json.loads(line)["event"] for line in log.getvalue().splitlines()] == ["trouble_began", "trouble_ended"]


def test_what_a_registry_says_of_itself_is_told_in_one_short_line() -> None:
    log = io.StringIO()
    troubles = Troubles(Telemetry(output=log, text=True), lambda: None)

    troubles.take(Trouble("schema:t", "it is of type \x1b[2J\nforged line\u202e" + "x" * 5_000_000))

    (line,) = log.getvalue().splitlines()
    assert "forged line" in line
    assert len(line) < 2_000
    assert troubles.present["schema:t"].detail == "it is of type ?[2J?forged line?" + "x" * 469 + "…"


def test_our_own_words_are_left_alone() -> None:
    words = "Kafka says _X: raise message.max.bytes (the source topic's plus 8 KiB) → 20_000 · été"
    assert one_line(words) == words
