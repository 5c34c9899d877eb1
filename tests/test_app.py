import io
import json
from pathlib import Path

import pytest

from connector.app import Connector
from connector.braze import Endpoint
from connector.settings import Settings
from connector.telemetry import Telemetry


@pytest.mark.parametrize("kind", ["audience", "event", "campaign"])
async def test_the_source_knows_whether_triggers_are_among_its_topics(kind: str) -> None:
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
            "topics": {"audiences": {"kind": "audience"}, "more": {"kind": kind}},
            "braze": {"endpoint": "http://127.0.0.1:1", "api_key": "not-a-real-key"},
        }
    )

    assert Connector(settings, Telemetry(output=None)).source._beside_triggers is (kind == "campaign")


async def test_a_key_file_that_is_written_badly_at_a_rotation_is_logged_without_what_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("planted-secret\nplanted-secret", encoding="utf-8")
    settings = Settings.model_validate(
        {
            "kafka": {"bootstrap.servers": "127.0.0.1:1", "group.id": "g"},
            "topics": {"audiences": {"kind": "audience"}},
            "braze": {"endpoint": "http://127.0.0.1:9", "api_key_file": str(file)},
        }
    )
    log = io.StringIO()
    client = Connector(settings, Telemetry(output=log))._client
    await client.open()

    for _ in range(2):
        await client.attempt(Endpoint.TRACK, b"{}", lambda: True)
    await client.close()

    (line,) = log.getvalue().splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"]) == ("api_key_file_ignored", "warning")
    assert told["detail"].startswith("braze.api_key_file: holds no API key")
    assert "planted" not in line
