import io
import json

from connector.books import Books
from connector.gauges import show_books
from connector.ports import StayStart
from connector.records import Fate, Kind
from connector.telemetry import Telemetry
from tests.sent_objects import EVENTS, Consumed


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
