"""Objects for Braze as mapping would have made them, each with the receipt of an invented record."""

from typing import Any, TypeVar

from connector.records import Assignment, CampaignSend, Outbound

AUDIENCES = Assignment("audiences", 0, 1)
EVENTS = Assignment("events", 0, 1)
CAMPAIGNS = Assignment("campaigns", 0, 1)


T = TypeVar("T", bound=Outbound)


class Consumed:
    """A record as Kafka would have handed it out; only its receipt matters here."""

    def __init__(self, stay: Assignment, offset: int, leader_epoch: int | None = None) -> None:
        self._stay = stay
        self._offset = offset
        self._leader_epoch = leader_epoch

    def topic(self) -> str:
        return self._stay.topic

    def partition(self) -> int:
        return self._stay.partition

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return b"value"

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, 1_790_000_000_000)

    def leader_epoch(self) -> int | None:
        return self._leader_epoch


def _received(made: T, stay: Assignment, offset: int) -> T:
    made.record = Consumed(stay, offset)
    made.stay = stay
    made.offset = offset
    made.size_bytes = len(b"value")
    return made


def attributes(user: str, offset: int, stay: Assignment = AUDIENCES, **values: Any) -> Outbound:
    """An attributes object; without values it writes its own offset as `n<offset>`."""
    return _received(Outbound(user, {"external_id": user} | (values or {f"n{offset}": True})), stay, offset)


def event(user: str, offset: int, stay: Assignment = EVENTS, pad: int = 0) -> Outbound:
    """An event that carries its offset; `pad` makes it heavy."""
    properties = {"n": offset, "pad": "x" * pad} if pad else {"n": offset}
    return _received(Outbound(user, {"external_id": user, "name": "e", "properties": properties}), stay, offset)


def trigger(
    user: str,
    offset: int,
    campaign_id: str = "welcome",
    stay: Assignment = CAMPAIGNS,
    *,
    requested_at_ms: int | None = None,
    expires_at_ms: int | None = None,
) -> CampaignSend:
    """A recipient that carries its offset."""
    made = {"external_user_id": user, "trigger_properties": {"n": offset}}
    return _received(CampaignSend(user, made, campaign_id, None, requested_at_ms, expires_at_ms), stay, offset)
