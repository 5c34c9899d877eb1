"""An audit that cannot fail proves nothing: each of its verdicts is provoked here."""

from typing import Any

import pytest

from connector.decode import WriterSchema, compile_decoder
from connector.demo.audit import NOBODYS, Audit
from connector.demo.workload import Made, Workload
from connector.mapping import MappingRules, compile_mapping, default_document
from connector.records import CampaignSend, Kind, TopicPartition
from connector.settings import PACKAGED_SCHEMAS, SCHEMA_FILES

WHERE = TopicPartition("events", 0)


@pytest.fixture
def audit() -> Audit:
    """Three good events of one user in one partition, and one bad one."""
    audit = Audit()
    for number in range(4):
        audit.made[number] = Made(number, Kind.EVENT, "u", b"", "dead_lettered" if number == 3 else "delivered")
        audit.positions[number] = (WHERE, number)
    return audit


def arrive(audit: Audit, *numbers: int) -> None:
    for request, number in enumerate(numbers):
        audit.applied(request, "events", 0, {"properties": {"number": number}})


def test_all_in_order_is_clean(audit: Audit) -> None:
    arrive(audit, 0, 1, 2)
    audit.dead[WHERE, 3] = 1

    assert (audit.lost(), audit.duplicated(), audit.misjudged(), audit.order_violations()) == ([], [], [], 0)


def test_a_lost_record_is_seen(audit: Audit) -> None:
    arrive(audit, 0, 2)
    audit.dead[WHERE, 3] = 1

    assert audit.lost() == [1]


def test_a_lost_dead_letter_is_seen(audit: Audit) -> None:
    arrive(audit, 0, 1, 2)

    assert audit.lost() == [3]


def test_a_doubled_record_is_seen(audit: Audit) -> None:
    arrive(audit, 0, 1, 1, 2)

    assert audit.duplicated() == [1]


def test_a_record_both_applied_and_set_aside_is_doubled_and_misjudged(audit: Audit) -> None:
    arrive(audit, 0, 1, 2)
    audit.dead[WHERE, 1] = 1

    assert audit.duplicated() == [1]
    assert audit.misjudged() == [1]


def test_a_bad_record_that_is_applied_is_misjudged(audit: Audit) -> None:
    arrive(audit, 0, 1, 2, 3)

    assert audit.misjudged() == [3]


def test_an_overtaken_record_is_a_violation(audit: Audit) -> None:
    arrive(audit, 0, 2, 1)

    assert audit.order_violations() == 1


def test_what_is_coalesced_into_one_object_arrived_together() -> None:
    audit = Audit()
    for number in range(3):
        audit.made[number] = Made(number, Kind.AUDIENCE, "u", b"", "delivered")
        audit.positions[number] = (WHERE, number)
    audit.applied(
        1, "attributes", 0, {"demo_record_1": True, "demo_record_0": True, "demo_record_2": True, "AIQ_1_a": True}
    )

    assert audit.lost() == []
    assert audit.order_violations() == 0


@pytest.mark.parametrize(
    ("sent", "altered"),
    [
        ({"external_id": "u", "AIQ_1_a": False, "demo_record_0": True, "demo_record_1": True}, []),
        ({"external_id": "u", "AIQ_1_a": True, "demo_record_0": True, "demo_record_1": True}, [0, 1]),  # the older won
        ({"external_id": "u", "AIQ_1_a": 0, "demo_record_0": True, "demo_record_1": True}, [0, 1]),
        ({"external_id": "v", "AIQ_1_a": False, "demo_record_0": True, "demo_record_1": True}, [0, 1]),  # another user
        ({"external_id": "u", "AIQ_1_a": True, "demo_record_0": True}, []),  # alone
        ({"external_id": "u", "AIQ_1_a": True, "demo_record_0": True, "plan": "pro"}, [0]),
        ({"external_id": "u", "AIQ_1_a": True}, [NOBODYS]),
        ({"external_id": "u", "AIQ_1_a": True, "demo_record_7": True}, [NOBODYS]),  # of no record that was written
    ],
)
def test_what_says_something_else_than_its_records_is_altered(sent: dict[str, Any], altered: list[int]) -> None:
    audit = Audit()
    for number, is_member in enumerate((True, False)):
        becomes = {"external_id": "u", "AIQ_1_a": is_member, f"demo_record_{number}": True}
        audit.made[number] = Made(number, Kind.AUDIENCE, "u", b"", "delivered", becomes)
        audit.positions[number] = (WHERE, number)

    audit.applied(1, "attributes", 0, sent)

    assert audit.altered() == altered
    assert audit.order_violations() == 0


@pytest.mark.parametrize("kind", Kind)
def test_a_workload_tells_what_its_records_become(kind: Kind) -> None:
    """Told without the mapping, so that the audit notices when that goes wrong; here the two are compared."""
    file = PACKAGED_SCHEMAS / SCHEMA_FILES[kind]
    schema = WriterSchema(file.read_text(encoding="utf-8"))
    decode = compile_decoder(schema, schema)
    mapper = compile_mapping(default_document(kind), schema, MappingRules())
    at_ms = 1_790_000_000_000
    good = [
        made
        for made in Workload(2000, 3, PACKAGED_SCHEMAS, at_ms)
        if made.kind is kind and made.expected == "delivered"
    ]

    for made in good:
        assert made.value is not None
        out = mapper(decode(made.value, 0), len(made.value), at_ms)
        campaign = {"campaign_id": out.campaign_id} if isinstance(out, CampaignSend) else {}
        assert {**out.object, **campaign} == made.becomes
    assert good


def test_a_workload_is_its_seed_s() -> None:
    def made(seed: int) -> list[Made]:
        return list(Workload(300, seed, PACKAGED_SCHEMAS, 1_790_000_000_000))

    assert made(1) == made(1) != made(2)
    assert {each.kind for each in made(1)} == set(Kind)


def test_a_workload_holds_poison_and_repeated_event_ids() -> None:
    made = list(Workload(5000, 3, PACKAGED_SCHEMAS, 1_790_000_000_000))

    share = sum(each.expected != "delivered" for each in made) / len(made)
    assert 0.005 < share < 0.02
    assert {each.expected for each in made} == {"delivered", "dead_lettered", "skipped", "repeated"}
    repeated = [each for each in made if each.expected == "repeated"]
    assert {each.kind for each in repeated} == {Kind.CAMPAIGN}


@pytest.mark.parametrize(("forgets", "doubled"), [(False, [0]), (True, [])])
def test_a_repeated_trigger_may_be_sent_only_where_something_was_forgotten(forgets: bool, doubled: list[int]) -> None:
    audit = Audit(forgets=forgets)
    audit.made[0] = Made(0, Kind.CAMPAIGN, "u", b"", "repeated")
    audit.positions[0] = (TopicPartition("campaigns", 0), 0)
    assert audit.lost() == audit.duplicated() == []

    audit.applied(1, "recipients", 0, {"trigger_properties": {"number": 0}})

    assert audit.duplicated() == doubled
    audit.applied(2, "recipients", 0, {"trigger_properties": {"number": 0}})
    assert audit.duplicated() == [0]
