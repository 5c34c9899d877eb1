"""What is to go wrong: steps that tests script, or that chance throws in, matched against requests as they come.

Pure. Steps are tried in order and the first that fits decides the request, except `refuse_object` steps, which add up.
A step:

```
{"do": "status",               what happens, see `KINDS`
 "match": {"path": "/users/track", "method": "POST", "api_key": "...", "campaign_id": "..."},
                               any of these; all that are given must fit
 "where": {"array": "events", "equals": {"name": "boom", "properties.level": 3}, "has": ["properties.poison"]},
                               fits a request with such an object (for `refuse_object`: the objects that are refused)
 "after": 2,                   lets so many fitting requests pass first
 "times": 3,                   fits so often; null: until cleared. Default: 1, but null for a lasting kind, and
                               where chance or until_s is given
 "chance": 0.01,               fits with this probability
 "from_s": 5, "until_s": 65,   fits only so many seconds after the plan was made
 ...}                          the kind's own keys
```

A plan is a list of steps, or `{"seed": 7, "steps": [...]}`: the seed alone decides what `chance` brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from random import Random
from typing import Any, Final

from connector.double.exchange import TRACK_ARRAYS, Call, JsonObject

KINDS: Final[Mapping[str, frozenset[str]]] = {
    # Any status and body, whether or not the request is applied. body: `json` (default), `html`, `text`, `empty`,
    # `truncated` (broken JSON), or any JSON value. 401, 403, 404, 415, 5xx and unreadable 2xx are all this.
    "status": frozenset({"status", "body", "headers", "apply", "delay_s"}),
    "rate_limit": frozenset({"style", "wait_s", "headers"}),  # a 429; style: mau | classic (Reset as epoch) | bare
    "delay": frozenset({"delay_s", "apply"}),  # late; applied unless told otherwise, and then a 504 when it does come
    "drop": frozenset({"apply", "delay_s"}),  # the connection is reset, before or after applying
    "queued": frozenset(),  # 202 {"message": "queued"}, applied
    # A 2xx with one more error entry. entry: `bare` (type alone), `no_index`, `no_input_array`, `out_of_range`,
    # `string`, or any JSON value.
    "error_entry": frozenset({"entry"}),
    "refuse_object": frozenset({"type", "repeat"}),  # track's objects that fit `where`, each named `repeat` times
    "refuse_request": frozenset({"message"}),  # a 400 that names no object
    "too_many": frozenset({"over"}),  # "Max Input Length Exceeded" for more than `over` objects
    "campaign": frozenset({"state", "message", "status"}),  # paused | archived | unknown
}
LASTING: Final = frozenset({"refuse_object", "refuse_request", "too_many", "campaign"})
"""Kinds that tell of the data or of a campaign: they hold until cleared unless `times` says otherwise."""

_COMMON: Final = frozenset({"do", "match", "where", "after", "times", "chance", "from_s", "until_s"})
_MATCHABLE: Final = frozenset({"path", "method", "api_key", "campaign_id"})
_WHOLE: Final[Mapping[str, tuple[float, float]]] = {
    "after": (0, inf),
    "times": (0, inf),
    "status": (100, 599),
    "repeat": (1, inf),
    "over": (0, inf),
}
_NUMBERS: Final[Mapping[str, tuple[float, float]]] = {
    **_WHOLE,
    "chance": (0, 1),
    "from_s": (0, inf),
    "until_s": (0, inf),
    "delay_s": (0, inf),
    "wait_s": (0, inf),
}
"""Least and greatest."""
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "style": frozenset({"classic", "mau", "bare"}),
    "body": frozenset({"json", "html", "text", "empty", "truncated"}),
    "entry": frozenset({"bare", "no_index", "no_input_array", "out_of_range", "string"}),
    "state": frozenset({"paused", "archived", "unknown"}),
}
_ANY_JSON: Final = frozenset({"body", "entry"})
"""May be a word, or anything else that is no text."""

_TEXTS: Final = frozenset({"type", "message"})
_REQUIRED: Final[Mapping[str, str]] = {
    "status": "status",
    "delay": "delay_s",
    "too_many": "over",
    "campaign": "state",
    "refuse_object": "where",
}


_ABSENT: Final = object()


class FaultStep:
    """One step of a plan, and how often it may still fit.

    Attributes:
        kind: One of `KINDS`.
        document: The step as it was given; the kind's own keys are read from it.

    Raises:
        ValueError: The step is not of the grammar; says which key.
    """

    def __init__(self, document: Any) -> None:
        kind = _checked_kind(document)
        self.kind: str = kind
        self.document: JsonObject = document
        self._match: JsonObject = document.get("match", {})
        self._where = Predicate(document["where"]) if "where" in document else None
        is_lasting = kind in LASTING or "chance" in document or "until_s" in document
        self.left: int | None = document.get("times", None if is_lasting else 1)
        self._to_pass = int(document.get("after", 0))

    def get(self, key: str, default: Any = None) -> Any:
        """One of the kind's own keys."""
        return self.document.get(key, default)

    @property
    def is_applying(self) -> bool:
        """Whether the request is carried out although its answer is spoilt."""
        return bool(self.get("apply", self.kind in {"delay", "queued", "error_entry"}))

    def fits(self, since_s: float, call: Call, rng: Random) -> bool:
        """Whether this request is this step's; if so, it is counted."""
        document = self.document
        is_due = document.get("from_s", 0.0) <= since_s < document.get("until_s", inf)
        if self.left == 0 or not is_due or not self._is_match(call):
            return False
        if self._where is not None and not self.objects(call):
            return False
        if "chance" in document and rng.random() >= document["chance"]:
            return False
        if self._to_pass:
            self._to_pass -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True

    def objects(self, call: Call) -> list[tuple[str, int]]:
        """Where the request's objects lie that `where` describes."""
        where = self._where
        if where is None:
            return []
        return [
            (array, index)
            for array, things in call.arrays()
            for index, thing in enumerate(things)
            if where.describes(array, thing)
        ]

    def _is_match(self, call: Call) -> bool:
        asked = {"path": call.path, "method": call.method, "api_key": call.api_key}
        asked["campaign_id"] = call.document.get("campaign_id", "")
        if any(asked[name] != wanted for name, wanted in self._match.items()):
            return False
        if self.kind == "campaign":
            return "campaign_id" in call.document
        if self.kind == "too_many":
            return sum(len(things) for _, things in call.arrays()) > int(self.document["over"])
        return True


class Predicate:
    """Describes objects: by array, by values at dotted paths, by paths that exist. All that is given must hold."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict) or document.keys() - {"array", "equals", "has"}:
            raise ValueError("where: an object of array, equals and has")
        self._array = document.get("array")
        self._equals: JsonObject = document.get("equals", {})
        self._has: list[str] = document.get("has", [])
        if self._array not in (None, *TRACK_ARRAYS, "recipients"):
            raise ValueError(f"where.array: not one of {', '.join((*TRACK_ARRAYS, 'recipients'))}")
        if not isinstance(self._equals, dict):
            raise ValueError("where.equals: not an object of paths and values")  # noqa: TRY004  # as below
        if not isinstance(self._has, list) or not all(isinstance(path, str) for path in self._has):
            raise ValueError("where.has: not an array of paths")

    def describes(self, array: str, thing: Any) -> bool:
        """Whether this object of this array is meant."""
        return (
            self._array in {None, array}
            and all(_at(thing, path) == wanted for path, wanted in self._equals.items())
            and all(_at(thing, path) is not _ABSENT for path in self._has)
        )


class FaultPlan:
    """The steps in force. An empty plan costs nothing.

    Args:
        document: A list of steps, or an object of `steps` and `seed`.
        now: Monotonic seconds; `from_s` and `until_s` count from here.
        rng: Chance, where the document brings no seed.

    Raises:
        ValueError: The document is not of the grammar.
    """

    def __init__(self, document: Any, now: float, rng: Random) -> None:
        seed, steps = None, document
        if isinstance(document, dict):
            seed, steps = document.get("seed"), document.get("steps")
            if document.keys() - {"seed", "steps"}:
                raise ValueError("a plan has steps and a seed")
            if not isinstance(seed, int | float | str | None):
                raise ValueError("seed: not a number or a text")  # noqa: TRY004  # one exception for whatever is wrong
        if not isinstance(steps, list):
            raise ValueError("steps: not an array")  # noqa: TRY004  # one exception for whatever a plan has wrong
        self.steps = [FaultStep(step) for step in steps]
        self._since = now
        self._rng = rng if seed is None else Random(seed)  # noqa: S311  # a reproducible plan, no secret

    def decide(self, call: Call) -> FaultStep | None:
        """The step that decides this request, if any; objects to be refused are written into `call.refused`."""
        decided: FaultStep | None = None
        for step in self.steps:
            if decided is not None and step.kind != "refuse_object":
                continue
            if not step.fits(call.now - self._since, call, self._rng):
                continue
            if step.kind != "refuse_object":
                decided = step
                continue
            for place in step.objects(call):
                types = [str(step.get("type", "refused by the double"))] * int(step.get("repeat", 1))
                call.refused.setdefault(place, []).extend(types)
        return decided


def _checked_kind(document: Any) -> str:
    """The step's kind, once all its keys are known and of their type."""
    if not isinstance(document, dict):
        raise ValueError("a step must be an object")  # noqa: TRY004  # one exception for whatever a plan has wrong
    kind = document.get("do")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"do: not one of {', '.join(KINDS)}")
    match = document.get("match", {})
    if not isinstance(match, dict) or match.keys() - _MATCHABLE:
        raise ValueError(f"match: an object of {', '.join(sorted(_MATCHABLE))}")
    if unknown := document.keys() - _COMMON - KINDS[kind]:
        raise ValueError(f"{kind}: does not know {', '.join(sorted(unknown))}")
    if kind in _REQUIRED and _REQUIRED[kind] not in document:
        raise ValueError(f"{kind}: {_REQUIRED[kind]} is required")
    _check_numbers(document)
    _check_words(document)
    return kind


def _check_numbers(document: JsonObject) -> None:
    for key in sorted(document.keys() & _NUMBERS.keys()):
        value = document[key]
        if key == "times" and value is None:
            continue
        if type(value) not in {int, float}:
            raise ValueError(f"{key}: not a number")
        if key in _WHOLE and type(value) is float:
            raise ValueError(f"{key}: not a whole number")
        least, greatest = _NUMBERS[key]
        if not least <= value <= greatest:
            raise ValueError(f"{key}: not {f'{least} or more' if greatest == inf else f'from {least} to {greatest}'}")


def _check_words(document: JsonObject) -> None:
    for key, allowed in _WORDS.items():
        value = document.get(key, _ABSENT)
        if value is _ABSENT or (key in _ANY_JSON and not isinstance(value, str)):
            continue
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{key}: not one of {', '.join(sorted(allowed))}")
    for key in sorted(_TEXTS & document.keys()):
        if not isinstance(document[key], str):
            raise ValueError(f"{key}: not a text")  # noqa: TRY004  # one exception for whatever a plan has wrong
    if not isinstance(document.get("apply", False), bool):
        raise ValueError("apply: not true or false")  # noqa: TRY004  # likewise
    for key in ("match", "headers"):
        texts = document.get(key, {})
        if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
            raise ValueError(f"{key}: not an object of texts")


def _at(thing: Any, path: str) -> Any:
    """What lies at a dotted path; a key that itself holds dots is found first."""
    if not isinstance(thing, dict):
        return _ABSENT
    if path in thing:
        return thing[path]
    head, _, rest = path.partition(".")
    return _at(thing[head], rest) if rest and head in thing else _ABSENT
