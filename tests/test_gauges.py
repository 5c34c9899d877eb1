import io
import json

from connector.books import Books
from connector.campaigns import CampaignBatcher
from connector.gauges import forget_partition, show_books, show_parked, show_watermarks
from connector.ports import StayStart, Watermarks
from connector.records import Fate, Kind
from connector.telemetry import Telemetry
from tests.sent_objects import CAMPAIGNS, EVENTS, Consumed, trigger


def test_books_that_do_not_balance_are_a_fault_that_is_logged_once_and_shown() -> None:
    log = io.StringIO()
    telemetry = Telemetry(output=log)
    books = Books({"events": Kind.EVENT}, 0.0)
    account = books.open(StayStart(EVENTS, 0, ""), 0.0, 0)
    books.admit(account, [Consumed(EVENTS, 0), Consumed(EVENTS, 1)])
    show_books(telemetry, books)
    assert log.getvalue() == ""
    assert telemetry.value("audit_imbalance_records") == 0

    books.tallies["events"].settled[Fate.DELIVERED] += 1  # a record counted that nobody has settled
    show_books(telemetry, books)
    show_books(telemetry, books)

    assert telemetry.value("audit_imbalance_records") == -1
    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (line["event"], line["level"], line["records"]) == ("audit_imbalance", "error", -1)


def test_parked_triggers_are_told_by_partition_so_that_the_others_are_still_watched() -> None:
    telemetry = Telemetry(output=None)
    books = Books({"campaigns": Kind.CAMPAIGN, "events": Kind.EVENT}, 0.0)
    beside = CAMPAIGNS._replace(partition=1)
    for stay in (CAMPAIGNS, beside, EVENTS):
        books.open(StayStart(stay, 0, ""), 0.0, 0)
    campaigns = CampaignBatcher(0.0, None, 100)
    campaigns.park("c", [trigger("u", 0, "c"), trigger("v", 1, "c")], 0.0, 1.0)
    probe, _ = campaigns.take(1.0, 0.0, headroom=1.0)  # one asks: it is parked all the same
    assert probe is not None

    show_parked(telemetry, books, campaigns)

    def told() -> dict[tuple[str, str], float]:
        (family,) = [each for each in telemetry.registry.collect() if each.name == "aiq_braze_parked_records"]
        return {(each.labels["topic"], each.labels["partition"]): each.value for each in family.samples}

    assert told() == {("campaigns", "0"): 2.0, ("campaigns", "1"): 0.0}
    forget_partition(telemetry, beside)
    campaigns.withdraw({CAMPAIGNS}, 0.0)
    campaigns.release([piece.lane for piece in probe.pieces], 0.0)
    books.close([beside])
    show_parked(telemetry, books, campaigns)
    assert told() == {("campaigns", "0"): 0.0}


def test_where_nothing_is_open_there_is_no_oldest_record() -> None:
    telemetry = Telemetry(output=None)
    books = Books({"events": Kind.EVENT}, 0.0)
    account = books.open(StayStart(EVENTS, 0, ""), 0.0, 0)
    name = "aiq_braze_oldest_unsettled_record_timestamp_seconds"

    def told() -> list[float]:
        (family,) = [each for each in telemetry.registry.collect() if each.name == name]
        return [each.value for each in family.samples]

    records = [Consumed(EVENTS, 0)]
    books.admit(account, records)
    show_books(telemetry, books)
    assert told() == [1_790_000_000.0]
    books.settle_one(EVENTS, 0, Fate.DELIVERED)
    show_books(telemetry, books)
    assert told() == [], "0 would be fifty years of delay"


def test_marks_that_are_older_than_our_position_are_no_negative_lag() -> None:
    telemetry = Telemetry(output=None)
    books = Books({"events": Kind.EVENT}, 0.0)
    books.open(StayStart(EVENTS, 7, ""), 0.0, 0)

    for marks, lag, left in (((5, 9), 2, 2), ((8, 6), 0, 0)):
        show_watermarks(telemetry, books, Watermarks({EVENTS: marks}))

        assert telemetry.value("consumer_lag_records", "events", "0") == lag
        assert telemetry.value("retention_left_records", "events", "0") == left
