from __future__ import annotations

from connector.replay.screen import print_account
from connector.replay.verdicts import MEANING, Account, Verdict


def account(*, is_dry: bool = False) -> Account:
    made = Account(is_dry, read=10, foreign=1, not_selected=2, left=1)
    for reason, verdict, count in (
        ("refused", Verdict.REPLAYED, 3),
        ("bad_name", Verdict.REPLAYED, 1),
        ("refused", Verdict.SUPERSEDED, 2),
    ):
        for _ in range(count):
            made.enter(reason, verdict)
    return made


def test_every_verdict_has_its_meaning() -> None:
    assert MEANING.keys() == set(Verdict)


def test_every_letter_has_one_place() -> None:
    of = account()
    assert of.read == of.foreign + of.not_selected + of.left + of.judged
    assert of.total(Verdict.REPLAYED) == 4


def test_the_account_as_json() -> None:
    document = account(is_dry=True).as_json()
    assert document["dry_run"] is True
    assert document["verdicts"]["replayed"] == 4
    assert document["verdicts"]["unknowable"] == 0
    assert document["by_reason"] == {"bad_name": {"replayed": 1}, "refused": {"replayed": 3, "superseded": 2}}


def test_the_account_as_text_counts_by_verdict_and_reason() -> None:
    lines: list[str] = []
    print_account(account(), lines.append, as_json=False)
    assert [line.split()[:2] for line in lines] == [
        ["10", "dead"],
        ["2", "not"],
        ["1", "foreign:"],
        ["4", "replayed:"],
        ["1", "bad_name"],
        ["3", "refused"],
        ["2", "superseded:"],
        ["2", "refused"],
        ["1", "selected"],
    ]


def test_a_dry_run_says_would() -> None:
    lines: list[str] = []
    print_account(account(is_dry=True), lines.append, as_json=False)
    assert any("would be replayed: a dry run" in line for line in lines)
