"""What the double may be told to be: contract, limits, timing, and how unknown territory is read.

Pure. Defaults are Braze's documented defaults; where the documentation leaves a question open, the field's words say so
and both readings can be had. `read_settings` builds it from JSON and refuses what it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, Literal, get_args

HeaderStyle = Literal["classic", "mau"]
CampaignState = Literal["active", "paused", "archived", "unknown"]
ForcedType = Literal["boolean", "number", "string", "time", "array", "object"]

ALL_PERMISSIONS: Final = frozenset({"users.track", "users.export.ids", "campaigns.trigger.send", "campaigns.list"})
"""Everything that the double's endpoints ask for."""


@dataclass(frozen=True, slots=True)
class RateWindow:
    """One limit on the number of requests.

    Attributes:
        requests: How many.
        per_s: In how many seconds.
        kind: `bucket`: refilled continuously, full at the start, so a burst of `requests` and then `requests / per_s` a
            second. `clock`: counted anew from every multiple of `per_s` on the wall clock (3600: on the hour).
    """

    requests: int
    per_s: float
    kind: Literal["bucket", "clock"] = "bucket"

    def __post_init__(self) -> None:
        is_whole = type(self.requests) is int and type(self.per_s) in {int, float}
        if not is_whole or self.requests < 1 or self.per_s <= 0 or self.kind not in {"bucket", "clock"}:
            raise ValueError(f"not a rate window: {self}")


@dataclass(frozen=True, slots=True)
class RatePool:
    """The limits that a group of endpoints shares.

    Attributes:
        windows: All must admit a request. None at all: unlimited, and no rate headers.
        others_per_s: Requests per second that another client of the same workspace takes from every window.
    """

    windows: tuple[RateWindow, ...] = ()
    others_per_s: float = 0.0

    def __post_init__(self) -> None:
        if type(self.others_per_s) not in {int, float} or self.others_per_s < 0:
            raise ValueError("others_per_s: not 0 or more")


@dataclass(frozen=True, slots=True)
class ObjectsMax:
    """How many objects `/users/track` takes: `combined` over the three arrays, or `per_array` (legacy contracts)."""

    combined: int | None = 75
    per_array: int | None = None

    def __post_init__(self) -> None:
        if (self.combined is None) == (self.per_array is None):
            raise ValueError("give either combined or per_array")
        most = self.combined if self.per_array is None else self.per_array
        if type(most) is not int or most < 1:
            raise ValueError("not a whole number of objects, one at least")


@dataclass(frozen=True, slots=True)
class DoubleSettings:
    """One Braze workspace, as the double plays it.

    Attributes:
        api_keys: Key to its permissions.
        objects_max: Object limit of `/users/track`.
        body_bytes_max: Greatest body; one byte more is refused.
        too_large_status: With 413 or with 400; Braze does either.
        track_rate: Limits of `/users/track`.
        campaign_rate: Limits shared by `/campaigns/trigger/send` and `/campaigns/list`.
        export_rate: Limits of `/users/export/ids`.
        header_style: `classic`: the three headers, Reset as epoch. `mau`: Reset in seconds, and a 429 carries
            `x-ratelimit-retry-after` instead of them.
        headers_on_429: A classic 429 carries the three headers as well (undocumented; clients in the wild rely on it).
        apply_delay_s: Least and greatest usual seconds between acceptance and application.
        apply_tail_s: Greatest unusual delay.
        apply_tail_chance: Share of requests whose delay is drawn from the tail.
        reorder: Requests may be applied in another order than accepted.
        forced_types: Attribute to its type in the dashboard; what mismatches is ignored without a word.
        blocked_attributes: Dropped without a word.
        blocked_events: Dropped without a word.
        blacklisted_external_ids: Refused with an error.
        known_users: Keys (`external_id:u1`, `braze_id:b1`) of profiles that exist from the start.
        sends_to_strangers: A trigger for an id that no profile has is sent all the same. Not what Braze does, but
            without it a workspace would have to be filled before sends can be counted.
        over_long: Names and strings beyond 255 characters: `drop` the value, or `refuse` the object.
        unknown_braze_id: `drop` the object without a word, or `create` a profile.
        campaigns: Campaign id to its state; an id outside the table does not exist. None: every id is active.
        event_names_max: A profile with more distinct event names (or products) takes no more data.
        latency_s: Median seconds to a reply.
        latency_sigma: Sigma of the reply time's log-normal spread; 0 is constant.
        keep_events: Keep every event in the state; otherwise they are only counted.
    """

    api_keys: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    objects_max: ObjectsMax = ObjectsMax()
    body_bytes_max: int = 4_000_000
    too_large_status: Literal[413, 400] = 413
    track_rate: RatePool = RatePool((RateWindow(3000, 3),))
    campaign_rate: RatePool = RatePool((RateWindow(250_000, 3600, "clock"),))
    export_rate: RatePool = RatePool((RateWindow(250, 60),))
    header_style: HeaderStyle = "classic"
    headers_on_429: bool = False
    apply_delay_s: tuple[float, float] = (0.01, 0.1)
    apply_tail_s: float = 5.0
    apply_tail_chance: float = 0.01
    reorder: bool = True
    forced_types: Mapping[str, ForcedType] = field(default_factory=dict)
    blocked_attributes: frozenset[str] = frozenset()
    blocked_events: frozenset[str] = frozenset()
    blacklisted_external_ids: frozenset[str] = frozenset()
    known_users: frozenset[str] = frozenset()
    sends_to_strangers: bool = True
    over_long: Literal["drop", "refuse"] = "drop"
    unknown_braze_id: Literal["drop", "create"] = "drop"
    campaigns: Mapping[str, CampaignState] | None = None
    event_names_max: int = 20_000
    latency_s: float = 0.03
    latency_sigma: float = 0.3
    keep_events: bool = True


def read_settings(document: Any, base: DoubleSettings | None = None) -> DoubleSettings:
    """Settings from JSON: the fields' own names, sets as arrays, a pool as `{"windows": [...], "others_per_s": n}`.

    `api_keys` maps a key to its permissions, or is an array of keys that may do everything. What the document does not
    name is as in `base`.

    Raises:
        ValueError: An unknown key or a value that it cannot have; names the key.
    """
    if not isinstance(document, dict):
        raise ValueError("settings must be an object")  # noqa: TRY004  # one exception for whatever is wrong with them
    known = {one.name for one in fields(DoubleSettings)}
    values: dict[str, Any] = {}
    for name, value in document.items():
        if name not in known:
            raise ValueError(f"{name}: no such setting")
        try:
            values[name] = _READERS.get(name, _plain)(value)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"{name}: {error}") from error
    settings = replace(base or DoubleSettings(), **values)
    _check(settings)
    return settings


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    raise ValueError("not a number, a string or a boolean")


def _strings(value: Any) -> frozenset[str]:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return frozenset(value)
    raise ValueError("not an array of strings")


def _keys(value: Any) -> dict[str, frozenset[str]]:
    keys = (
        {key: _strings(permissions) for key, permissions in value.items()}
        if isinstance(value, dict)
        else dict.fromkeys(_strings(value), ALL_PERMISSIONS)
    )
    if "" in keys:
        raise ValueError("an empty key lets in whoever has none")
    if unknown := frozenset[str]().union(*keys.values()) - ALL_PERMISSIONS:
        raise ValueError(f"no such permission as {', '.join(sorted(unknown))}")
    return keys


def _pool(value: dict[str, Any]) -> RatePool:
    windows = tuple(RateWindow(**window) for window in value.get("windows", ()))
    return RatePool(windows, **{name: one for name, one in value.items() if name != "windows"})


def _range(value: Any) -> tuple[float, float]:
    least, greatest = map(float, value)
    if not 0 <= least <= greatest:
        raise ValueError("not two numbers of seconds, the smaller one first")
    return least, greatest


def _one_of(literal: Any, *, of: Literal["value", "map"]) -> Callable[[Any], Any]:
    allowed = get_args(literal)

    def read(value: Any) -> Any:
        for one in value.values() if of == "map" else (value,):
            if one not in allowed:
                raise ValueError(f"not one of {', '.join(map(str, allowed))}")
        return value

    return read


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "api_keys": _keys,
    "objects_max": lambda value: ObjectsMax(**{"combined": None} | value),
    "too_large_status": _one_of(Literal[413, 400], of="value"),
    "track_rate": _pool,
    "campaign_rate": _pool,
    "export_rate": _pool,
    "header_style": _one_of(HeaderStyle, of="value"),
    "apply_delay_s": _range,
    "forced_types": _one_of(ForcedType, of="map"),
    "blocked_attributes": _strings,
    "blocked_events": _strings,
    "blacklisted_external_ids": _strings,
    "known_users": _strings,
    "over_long": _one_of(Literal["drop", "refuse"], of="value"),
    "unknown_braze_id": _one_of(Literal["drop", "create"], of="value"),
    "campaigns": lambda value: None if value is None else _one_of(CampaignState, of="map")(value),
}


def _check(settings: DoubleSettings) -> None:
    for one in fields(settings):
        wanted, value = type(one.default), getattr(settings, one.name)
        if wanted in {bool, int, float} and type(value) is not wanted and (wanted, type(value)) != (float, int):
            raise ValueError(f"{one.name}: not a {wanted.__name__}")
        if wanted in {int, float} and value < 0:
            raise ValueError(f"{one.name}: not 0 or more")
    if settings.apply_tail_chance > 1:
        raise ValueError("apply_tail_chance: not from 0 to 1")
