"""What is known after an answer: of every record in the request its fate, and of the answer itself its meaning.

Pure. `delivery` fills it in, `settlement` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from connector.outcomes import Outcome
from connector.records import Kind, Outbound, Reason, SkipReason


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that Braze refuses, or that the operator's policy gives up.

    Attributes:
        record: The record.
        reason: One of the closed list.
        detail: Our own words.
        status: Braze's HTTP status, 0 if there was none.
        attempts: How often it was sent.
    """

    record: Outbound
    reason: Reason
    detail: str
    status: int
    attempts: int


@dataclass(slots=True)
class Conclusion:
    """What is known after an answer (or after choosing a request).

    Attributes:
        delivered: Accepted by Braze.
        coalesced: Carried by a delivered newer one.
        dead: For the dead-letter topic.
        skipped: Settled by a rule.
        may_double: Objects that are sent again although they may have been applied.
        data_points: What Braze bills for what it accepted, by kind; triggers cost none.
        outcome: What the answer was.
    """

    delivered: list[Outbound] = field(default_factory=list)
    coalesced: list[Outbound] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    skipped: list[tuple[Outbound, SkipReason]] = field(default_factory=list)
    may_double: int = 0
    data_points: dict[Kind, int] = field(default_factory=dict)
    outcome: Outcome | None = None
