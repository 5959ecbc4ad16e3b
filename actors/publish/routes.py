"""What a subscription asks for, checked (spec 01 section 9, spec 02 section 4)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from actors.publish import formats
from actors.publish.formats.compression import COMPRESSIONS
from actors.readings.filters import check_filter
from actors.readings.interest import Interest
from actors.system.failure import Refusal

EVENTS = "events/"
QUALITIES = ("GOOD", "BAD", "UNCERTAIN")


class Route(msgspec.Struct, frozen=True):
    """A checked subscription.

    `topic` is trimmed; None when there is none. `buffer_size` polls of one endpoint are published
    together, or fewer once the first has waited `buffer_time_ms` (0: no limit).
    `max_points_per_message` and `min_interval_ms` are off at 0; an empty tuple filters nothing.
    `compression` None is the agent's own default.
    """

    topics: tuple[str, ...]
    topic: str | None
    payload_format: str
    compression: str | None
    include_devices: tuple[str, ...] = ()
    exclude_devices: tuple[str, ...] = ()
    include_metrics: tuple[str, ...] = ()
    exclude_metrics: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    min_interval_ms: int = 0
    max_points_per_message: int = 0
    buffer_size: int = 1
    buffer_time_ms: int = 60_000

    @property
    def interest(self) -> Interest:
        """What of it the router goes by."""
        return Interest(
            self.topics,
            self.include_devices,
            self.exclude_devices,
            self.include_metrics,
            self.exclude_metrics,
        )

    @property
    def events(self) -> tuple[str, ...]:
        """Only who asks for events by name gets them: they are not what other receivers expect."""
        return tuple(wanted for wanted in self.topics if wanted.startswith(EVENTS))


def check_subscription(filters: Any, route_json: Any, payload_format: Any, compression: Any) -> Route:
    """The route of a subscription as the client sent it; raises `Refusal`.

    Unknown keys of `route_json` are left alone. Whether the destination can do with that topic is the
    destination type's to say.
    """
    if payload_format not in formats.NAMES:
        raise Refusal(f"Invalid payload_format: {payload_format}", "payload_format")
    if route_json is not None and not isinstance(route_json, dict):
        raise Refusal("route_json must be an object", "route_json")
    route = route_json or {}
    return Route(
        topics=_filters(filters),
        topic=_topic(route.get("topic")),
        payload_format=payload_format,
        compression=_compression(compression),
        include_devices=_strings(route, "includeDevices"),
        exclude_devices=_strings(route, "excludeDevices"),
        include_metrics=_strings(route, "includeMetrics"),
        exclude_metrics=_strings(route, "excludeMetrics"),
        qualities=_qualities(route),
        min_interval_ms=_integer(route, "minIntervalMs", 0, 60_000, default=0),
        max_points_per_message=_integer(route, "maxPointsPerMessage", 0, 1000, default=0),
        buffer_size=_integer(route, "bufferSize", 1, 10_000, default=1),
        buffer_time_ms=_integer(route, "bufferTimeMs", 0, 60_000, default=60_000),
    )


def _filters(filters: Any) -> tuple[str, ...]:
    given = _list_of_strings(filters, "topics")
    return tuple(check_filter(one, f"topics[{index}]") for index, one in enumerate(given))


def _topic(topic: Any) -> str | None:
    if topic is not None and not isinstance(topic, str):
        raise Refusal("route_json.topic must be a string", "route_json.topic")
    return (topic or "").strip() or None


def _compression(compression: Any) -> str | None:
    if compression is not None and compression not in COMPRESSIONS:
        supported = ", ".join(COMPRESSIONS)
        raise Refusal(f"Invalid compression: {compression}. Supported: {supported}", "compression")
    found: str | None = compression
    return found


def _qualities(route: dict[str, Any]) -> tuple[str, ...]:
    qualities = _strings(route, "qualities")
    for index, quality in enumerate(qualities):
        if quality not in QUALITIES:
            field = f"route_json.qualities[{index}]"
            raise Refusal(f"{field} must be one of {', '.join(QUALITIES)}", field)
    return qualities


def _strings(route: dict[str, Any], key: str) -> tuple[str, ...]:
    value = route.get(key)
    return () if value is None else tuple(_list_of_strings(value, f"route_json.{key}"))


def _list_of_strings(value: Any, field: str) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise Refusal(f"{field} must be an array of strings", field)
    return value


def _integer(route: dict[str, Any], key: str, lowest: int, highest: int, default: int) -> int:
    value = route.get(key)
    if value is None:
        return default
    # JSON's true is an int to Python; 5.0 is an integer to JavaScript clients.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        field = f"route_json.{key}"
        raise Refusal(f"{field} must be an integer from {lowest} to {highest}", field)
    return value
