import pytest

from connector.app import Connector
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
