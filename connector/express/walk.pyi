from collections.abc import Callable, Sequence

from connector.records import Assignment, KafkaRecord, Outbound

SOURCE: str

class Lane:
    def __init__(
        self,
        *,
        program: bytes,
        is_event: bool,
        users: tuple[tuple[int, bytes, bool], ...],
        placeholders: frozenset[str],
        placeholder_chars: int,
        name: tuple[bytes | int, ...],
        time_slot: int,
        flag_slot: int,
        flags: tuple[bytes | None, ...],
        skips: tuple[tuple[int, tuple[bool, ...]], ...],
        floor_ms: int,
        ahead_ms: int,
        chars_max: int,
        items_max: int,
        item_bytes_max: int,
        bag_bytes_max: int,
        deletes: bool,
        update_only: bool,
        out_type: type[Outbound],
        judge_bag_name: Callable[[str], bool],
        judge_own_name: Callable[[str], bool],
    ) -> None: ...
    def run(
        self, records: Sequence[KafkaRecord], start: int, frame: int, at_ms: int, stay: Assignment
    ) -> tuple[list[Outbound | None], int]: ...
